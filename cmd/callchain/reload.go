package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"callchain/config"
	"callchain/escalation/engine"
	"callchain/internal/acklink"
	"callchain/internal/alertmanager"
	"callchain/internal/server"
	"callchain/notifiers"
	"callchain/notifiers/email"
	"callchain/notifiers/slack"
)

// wiring makes snapshots. A channel whose settings did not change stays: it
// remembers what the far side told it.
type wiring struct {
	slackSettings slackSettings
	slack         *slack.Notifier
	emailSettings emailSettings
	email         *email.Notifier
	witnesses     map[string]*alertmanager.Client // by the addresses that they ask

	current atomic.Pointer[slack.Notifier] // that of the snapshot in force
	sockets atomic.Pointer[socketSettings] // nil: no Socket Mode
}

type socketSettings struct {
	url   string
	token func() (string, error)
}

type slackSettings struct{ url, token, channel string }

type emailSettings struct {
	smarthost, from, username, password string
	tls                                 bool
}

// snapshot builds what is in force from what was loaded.
func (w *wiring) snapshot(l *loaded, log *slog.Logger) (*engine.Snapshot, error) {
	c := l.cfg
	snap := &engine.Snapshot{Config: c, Catalog: l.cat, Router: l.router, Channels: map[string]engine.Channel{}}
	var app *slack.Notifier
	var sockets *socketSettings
	if s := c.Notifiers.Slack; s != nil {
		if s.AppTokenFile.V != "" {
			sockets = &socketSettings{s.APIURL.V, first(c.Secret(s.AppTokenFile))}
		}
		settings := slackSettings{s.APIURL.V, s.BotTokenFile.V, s.Channel.V}
		if w.slack == nil || w.slackSettings != settings {
			w.slack, w.slackSettings = slack.New(slack.Config{APIURL: s.APIURL.V, Token: first(c.Secret(s.BotTokenFile)), Channel: s.Channel.V}, log), settings
		}
		app = w.slack
		snap.Channels[notifiers.Slack] = app
	}
	if m := c.Notifiers.Email; m != nil {
		settings := emailSettings{m.Smarthost.V, m.From.V, m.AuthUsername.V, m.AuthPasswordFile.V, m.RequireTLS.V}
		if w.email == nil || w.emailSettings != settings {
			n, err := email.New(email.Config{
				Smarthost: m.Smarthost.V, From: m.From.V, Username: m.AuthUsername.V,
				Password: first(c.Secret(m.AuthPasswordFile)), RequireTLS: m.RequireTLS.V,
			}, log)
			if err != nil {
				return nil, err
			}
			w.email, w.emailSettings = n, settings
		}
		snap.Channels[notifiers.Email] = w.email
		snap.Link = links(c, log)
	}
	snap.Witnesses = w.witness(c)
	w.current.Store(app)
	w.sockets.Store(sockets)
	return snap, nil
}

// socketMode tells where Slack's sockets are opened now, and with which token.
func (w *wiring) socketMode() (apiURL, token string, err error) {
	s := w.sockets.Load()
	if s == nil {
		return "", "", nil
	}
	token, err = s.token()
	return s.url, token, err
}

// witness makes the clients that ask the sources' Alertmanagers.
func (w *wiring) witness(c *config.Config) map[string]engine.Witness {
	out, kept := map[string]engine.Witness{}, map[string]*alertmanager.Client{}
	for _, s := range c.Alertmanager.Sources {
		var peers []string
		for _, u := range s.APIURL {
			peers = append(peers, u.V)
		}
		if len(peers) == 0 {
			continue
		}
		key := strings.Join(peers, "\n")
		if kept[key] == nil {
			if kept[key] = w.witnesses[key]; kept[key] == nil {
				kept[key] = alertmanager.New(peers)
			}
		}
		out[s.Name.V] = kept[key]
	}
	for key, old := range w.witnesses {
		if kept[key] == nil {
			old.Close()
		}
	}
	w.witnesses = kept
	return out
}

// first asks for the secret at every use, so that a changed file is seen. No
// file: no secret.
func first(s *config.Secret) func() (string, error) {
	if s == nil {
		return func() (string, error) { return "", errors.New("no file is configured for it") }
	}
	return s.First
}

// links signs the links in mails; nil without a key.
func links(c *config.Config, log *slog.Logger) func(incident, person string, expires time.Time) string {
	secret := c.Secret(c.Notifiers.Email.LinkKeyFile)
	if secret == nil || c.ExternalURL.V == "" {
		return nil
	}
	keys := acklink.Keys(func() ([][]byte, error) {
		lines, err := secret.Lines()
		if err != nil {
			return nil, err
		}
		out := make([][]byte, len(lines))
		for i, line := range lines {
			out[i] = []byte(line)
		}
		return out, nil
	})
	base := strings.TrimRight(c.ExternalURL.V, "/")
	return func(incident, person string, expires time.Time) string {
		token, err := keys.Sign(incident, person, expires, base)
		if err != nil {
			log.Error("acknowledgement link not made", "incident", incident, "err", err)
			return ""
		}
		return base + "/ack/" + token
	}
}

// app is the Slack app in force, for the server.
func (w *wiring) app() server.Slack {
	if n := w.current.Load(); n != nil {
		return n
	}
	return nil
}

// reloader puts changed files in force, as a whole or not at all.
type reloader struct {
	file    string
	opts    config.Options
	engine  *engine.Engine
	wires   *wiring
	good    lastGood
	store   config.Store // in force until the end
	metrics loadMetrics
	log     *slog.Logger

	mu sync.Mutex
}

func (r *reloader) reload(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := load(r.file, r.opts)
	ps := l.problems()
	report(r.log, ps)
	err := ps.Err()
	var snap *engine.Snapshot
	if err == nil {
		snap, err = r.wires.snapshot(l, r.log)
	}
	if err != nil {
		r.metrics.successful.Set(0)
		r.log.Error("not reloaded, the old configuration stays in force", "config", r.file, "errors", len(ps.Errors()))
		return err
	}
	if storeChanged(l.cfg.Store, r.store) {
		r.log.Warn("store changed: that needs a restart", "type", r.store.Type.V, "path", r.store.Path.V)
	}
	r.engine.Reload(snap)
	r.metrics.good(l)
	if err := r.good.write(l.files); err != nil {
		r.log.Error("catalog not kept for the next start", "err", err)
	}
	tellMissing(ctx, r.engine, r.log, l)
	r.log.Info("reloaded", "config", r.file, "services", len(l.cat.Services()), "teams", len(l.cat.Teams()), "people", len(l.cat.People()))
	return nil
}

// loadMetrics tell what is in force.
type loadMetrics struct {
	successful prometheus.Gauge
	timestamp  prometheus.Gauge
	services   *prometheus.GaugeVec
}

func newLoadMetrics(reg prometheus.Registerer) loadMetrics {
	m := loadMetrics{
		successful: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "callchain_config_last_reload_successful", Help: "Whether the last attempt to load configuration and catalog succeeded.",
		}),
		timestamp: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "callchain_config_last_reload_success_timestamp_seconds", Help: "When configuration and catalog were last loaded with success.",
		}),
		services: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "callchain_catalog_services", Help: "Services of the catalog by lifecycle state and assessment.",
		}, []string{"state", "assessment"}),
	}
	reg.MustRegister(m.successful, m.timestamp, m.services)
	return m
}

func (m loadMetrics) good(l *loaded) {
	m.successful.Set(1)
	m.timestamp.SetToCurrentTime()
	type cell struct{ state, assessment string }
	counts := map[cell]float64{}
	for _, svc := range l.cat.Services() {
		counts[cell{cmp.Or(string(svc.State), "active"), string(svc.Assessment)}]++
	}
	m.services.Reset()
	for c, n := range counts {
		m.services.WithLabelValues(c.state, c.assessment).Set(n)
	}
}
