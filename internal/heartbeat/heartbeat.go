// Package heartbeat tells a service outside, every minute, that callchain is able
// to page; when the calls stop, that service raises the alarm. It works like a
// ping of healthchecks.io: a GET of a secret URL.
//
// It decides nothing: whether callchain is able is asked of whoever runs it.
package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// How often it calls, and how soon again when it could not.
const (
	every    = time.Minute
	lookOver = 5 * time.Second
	again    = 10 * time.Second
	within   = 10 * time.Second // an answer
)

// Config is what a Heart needs.
type Config struct {
	// URL is what to call now; "" when nothing is configured. It may change.
	URL func() (string, error)
	// Able tells whether people would be paged right now, and if not why not.
	Able       func(context.Context) error
	Transport  http.RoundTripper // nil: the usual one
	Version    string
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Heart calls.
type Heart struct {
	cfg    Config
	client http.Client
	calls  *prometheus.CounterVec
	last   prometheus.Gauge
	state  string // what was logged last
}

// The outcomes of a look, as the metric has them.
const (
	sent     = "sent"
	failed   = "failed"
	withheld = "withheld"
)

// New makes a Heart. It does nothing by itself until Run.
func New(cfg Config) *Heart {
	h := &Heart{
		cfg: cfg,
		client: http.Client{
			Transport: cfg.Transport, Timeout: within,
			// Somewhere else is not where the alarm is.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "callchain_self_heartbeats_total", Help: "Calls of self.heartbeat_url_file by outcome: sent, failed, withheld (callchain could not page; looked at every 5 s).",
		}, []string{"outcome"}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "callchain_self_heartbeat_last_success_timestamp_seconds", Help: "When self.heartbeat_url_file was last called with success; 0: not since the start.",
		}),
	}
	cfg.Registerer.MustRegister(h.calls, h.last)
	for _, outcome := range []string{sent, failed, withheld} {
		h.calls.WithLabelValues(outcome)
	}
	return h
}

// Run calls until ctx is done.
func (h *Heart) Run(ctx context.Context) error {
	ticker := time.NewTicker(lookOver)
	defer ticker.Stop()
	next := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			if now.Before(next) {
				continue
			}
			switch h.beat(ctx) {
			case sent:
				next = now.Add(every)
			case failed:
				next = now.Add(again)
			}
		}
	}
}

// beat looks and, if callchain is able to page, calls.
func (h *Heart) beat(ctx context.Context) string {
	target, err := h.cfg.URL()
	if target == "" && err == nil {
		h.state = ""
		return ""
	}
	outcome := sent
	if err != nil {
		outcome, err = failed, fmt.Errorf("read self.heartbeat_url_file: %w", err)
	} else if err = h.able(ctx); err != nil {
		outcome = withheld
	} else if err = h.call(ctx, target); err != nil {
		outcome = failed
	}
	if ctx.Err() != nil {
		return "" // we stop: that is nobody's failure
	}
	h.calls.WithLabelValues(outcome).Inc()
	if outcome == sent {
		h.last.SetToCurrentTime()
	}
	if outcome != h.state { // not every time: the log has better to say
		switch outcome {
		case sent:
			h.cfg.Logger.Info("own heartbeat is sent")
		case failed:
			h.cfg.Logger.Warn("own heartbeat fails; it is tried again", "err", err)
		case withheld:
			h.cfg.Logger.Warn("own heartbeat is withheld: nobody would be paged", "err", err)
		}
		h.state = outcome
	}
	return outcome
}

func (h *Heart) able(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return h.cfg.Able(ctx)
}

// call makes one call. Its errors do not hold the URL.
func (h *Heart) call(ctx context.Context, target string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return errors.New("the file does not hold a URL")
	}
	req.Header.Set("User-Agent", "callchain/"+h.cfg.Version)
	resp, err := h.client.Do(req)
	if err != nil {
		return errors.New(hide(err, req.URL))
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // for the connection's sake
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("answered HTTP %d", resp.StatusCode)
	}
	return nil
}

// hide is an error without the URL that it is about.
func hide(err error, u *url.URL) string {
	if of, ok := errors.AsType[*url.Error](err); ok {
		err = of.Err
	}
	text := err.Error()
	for _, part := range []string{u.String(), u.RequestURI(), u.Path, u.RawQuery, u.Host, u.Hostname()} {
		if len(part) > 1 {
			text = strings.ReplaceAll(text, part, "…")
		}
	}
	return text
}
