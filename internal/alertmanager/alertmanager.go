// Package alertmanager asks the Alertmanagers of one source what they know:
// which alerts there are, what keeps them quiet, and since when each of them is
// up. It reads only, over their API v2, and brings their answers together; what
// follows from them escalation decides.
package alertmanager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"callchain/escalation"
	"callchain/routing"
)

// maxAnswer bounds what is read of one answer: some hundred thousand alerts.
const maxAnswer = 128 << 20

// Client asks the Alertmanagers of one source.
type Client struct {
	peers []string
	http  *http.Client
}

// New makes a client for the addresses of all peers of a cluster.
func New(peers []string) *Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost, t.IdleConnTimeout = 4, 5*time.Minute
	return &Client{peers: peers, http: &http.Client{Transport: t}}
}

// Close gives up idle connections. The client may be used on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// answer is what one peer says.
type answer struct {
	status   status
	up       time.Duration
	alerts   []alert
	silences []silence
}

type status struct {
	Cluster struct {
		Name   string            `json:"name"`
		Status string            `json:"status"`
		Peers  []json.RawMessage `json:"peers"`
	} `json:"cluster"`
	Uptime time.Time `json:"uptime"` // when it was started
	Config struct {
		Original string `json:"original"`
	} `json:"config"`
}

type alert struct {
	Fingerprint string `json:"fingerprint"`
	Receivers   []name `json:"receivers"`
	Status      struct {
		State       string    `json:"state"`
		SilencedBy  []string  `json:"silencedBy"`
		InhibitedBy []string  `json:"inhibitedBy"`
		MutedBy     *[]string `json:"mutedBy"` // of a group's alert, by time intervals; absent before 0.28
	} `json:"status"`
}

// quiet tells whether Alertmanager would not send it.
func (a *alert) quiet() bool { return a.Status.State == "suppressed" }

type name struct {
	Name string `json:"name"`
}

type silence struct {
	ID        string    `json:"id"`
	CreatedBy string    `json:"createdBy"`
	Comment   string    `json:"comment"`
	EndsAt    time.Time `json:"endsAt"`
}

// Look asks every peer at once, until ctx is done. What did not answer is in the
// error; the rest counts all the same.
func (c *Client) Look(ctx context.Context) (escalation.Look, error) {
	answers, errs := make([]answer, len(c.peers)), make([]error, len(c.peers))
	var all sync.WaitGroup
	for i, peer := range c.peers {
		all.Go(func() { answers[i], errs[i] = c.ask(ctx, peer) })
	}
	all.Wait()
	l := escalation.Look{Whole: true, Alerts: map[uint64]escalation.Sight{}, Silences: map[string]escalation.Silence{}}
	names := map[string]bool{}
	for i := range answers {
		names[answers[i].status.Cluster.Name] = errs[i] == nil
	}
	for i := range answers {
		if errs[i] != nil {
			l.Whole = false
			continue
		}
		a := &answers[i]
		if !l.Heard || a.up < l.Up {
			l.Up = a.up
		}
		l.Heard = true
		// One of the cluster that is not listed may know what the others do not.
		if cluster := a.status.Cluster; len(cluster.Peers) > len(names) || cluster.Status == "settling" {
			l.Whole = false
		}
		for j := range a.alerts {
			merge(l.Alerts, &a.alerts[j])
		}
		for _, s := range a.silences {
			ends := escalation.At(s.EndsAt)
			if old, ok := l.Silences[s.ID]; !ok || old.Ends < ends {
				l.Silences[s.ID] = escalation.Silence{By: s.CreatedBy, Comment: s.Comment, Ends: ends}
			}
		}
	}
	return l, errors.Join(errs...)
}

// merge adds what one peer says of an alert: if one of them would send it, it fires.
func merge(into map[uint64]escalation.Sight, a *alert) {
	fp, err := strconv.ParseUint(a.Fingerprint, 16, 64)
	if err != nil {
		return
	}
	s := into[fp]
	if !a.quiet() {
		s.Active = true
	}
	for _, id := range a.Status.SilencedBy {
		if !slices.Contains(s.Silenced, id) {
			s.Silenced = append(s.Silenced, id)
		}
	}
	s.Inhibited = s.Inhibited || len(a.Status.InhibitedBy) > 0
	for _, r := range a.Receivers {
		if !slices.Contains(s.Receivers, r.Name) {
			s.Receivers = append(s.Receivers, r.Name)
		}
	}
	into[fp] = s
}

// ask asks one peer.
func (c *Client) ask(ctx context.Context, peer string) (answer, error) {
	var a answer
	var alertsErr error
	var alerts sync.WaitGroup
	alerts.Go(func() {
		_, alertsErr = c.get(ctx, peer, "alerts", url.Values{"active": {"true"}, "silenced": {"true"}, "inhibited": {"true"}, "unprocessed": {"true"}}, &a.alerts)
	})
	date, err := c.get(ctx, peer, "status", nil, &a.status)
	alerts.Wait()
	if err := errors.Join(err, alertsErr); err != nil {
		return a, err
	}
	if a.status.Uptime.IsZero() || a.status.Config.Original == "" {
		return a, fmt.Errorf("ask %s: what answers there is not Alertmanager", redacted(peer))
	}
	a.up = max(0, date.Sub(a.status.Uptime)) // both by its own clock, which tells seconds
	if slices.ContainsFunc(a.alerts, func(a alert) bool { return len(a.Status.SilencedBy) > 0 }) {
		// Who made them is worth knowing, but that they are there counts.
		if _, err := c.get(ctx, peer, "silences", nil, &a.silences); err != nil {
			a.silences = nil
		}
	}
	return a, nil
}

// group is what Alertmanager sends as one webhook.
type group struct {
	Labels      map[string]string `json:"labels"`
	RouteLabels map[string]string `json:"routeLabels"`
	Receiver    name              `json:"receiver"`
	Alerts      []struct {
		alert
		Labels       map[string]string `json:"labels"`
		Annotations  map[string]string `json:"annotations"`
		StartsAt     time.Time         `json:"startsAt"`
		GeneratorURL string            `json:"generatorURL"`
	} `json:"alerts"`
}

// Groups returns the alerts that would be sent to any of the receivers, grouped
// as they would be sent. What time intervals mute is left out; an Alertmanager
// that has such and does not say what they mute (before 0.28) is left out whole.
func (c *Client) Groups(ctx context.Context, receivers []string) ([]routing.Webhook, error) {
	q := url.Values{"active": {"true"}, "silenced": {"false"}, "inhibited": {"false"}, "muted": {"false"}}
	var quoted []string
	for _, r := range receivers {
		quoted = append(quoted, regexp.QuoteMeta(r))
	}
	if pattern := strings.Join(quoted, "|"); len(pattern) < 4000 {
		q.Set("receiver", pattern) // Alertmanager anchors it
	}
	var out []routing.Webhook
	var errs []error
	for _, peer := range c.peers {
		var s status
		var groups []group
		_, err := c.get(ctx, peer, "status", nil, &s)
		if err == nil {
			_, err = c.get(ctx, peer, "alerts/groups", q, &groups)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		intervals := strings.Contains(s.Config.Original, "_time_intervals:")
		for i := range groups {
			if w := groups[i].webhook(intervals); len(w.Alerts) > 0 && slices.Contains(receivers, groups[i].Receiver.Name) {
				out = append(out, w)
			}
		}
	}
	return out, errors.Join(errs...)
}

func (g *group) webhook(intervals bool) routing.Webhook {
	w := routing.Webhook{GroupLabels: maps.Clone(g.Labels), RouteLabels: g.RouteLabels}
	for i := range g.Alerts {
		a := &g.Alerts[i]
		fp, err := strconv.ParseUint(a.Fingerprint, 16, 64)
		muted := a.Status.MutedBy == nil && intervals || a.Status.MutedBy != nil && len(*a.Status.MutedBy) > 0
		if err != nil || len(a.Labels) == 0 || a.quiet() || muted {
			continue
		}
		w.Alerts = append(w.Alerts, routing.WebhookAlert{
			Firing: true, Labels: a.Labels, Annotations: a.Annotations, StartsAt: a.StartsAt.UTC(), GeneratorURL: a.GeneratorURL, Fingerprint: fp,
		})
	}
	return w
}

// get reads one endpoint, and tells what time it is there.
func (c *Client) get(ctx context.Context, peer, path string, q url.Values, into any) (time.Time, error) {
	u, err := url.Parse(peer)
	if err != nil {
		return time.Time{}, errors.New("ask Alertmanager: its api_url is none")
	}
	at := u.JoinPath("api/v2", path)
	at.RawQuery = q.Encode()
	fail := func(err error) (time.Time, error) {
		var broken *url.Error // it repeats the whole address
		if errors.As(err, &broken) {
			err = broken.Err
		}
		return time.Time{}, fmt.Errorf("ask %s for %s: %w", redacted(peer), path, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return fail(err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fail(fmt.Errorf("it answers HTTP %d", resp.StatusCode))
	}
	body := &io.LimitedReader{R: resp.Body, N: maxAnswer}
	if err := json.NewDecoder(body).Decode(into); err != nil {
		if body.N <= 0 {
			err = fmt.Errorf("the answer is longer than %d MiB", maxAnswer>>20)
		}
		return fail(err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(body, 1<<10)) // for the connection's sake
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		date = time.Now()
	}
	return date, nil
}

// redacted is an address without its password.
func redacted(peer string) string {
	u, err := url.Parse(peer)
	if err != nil {
		return "Alertmanager"
	}
	return u.Redacted()
}
