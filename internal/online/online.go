// Package online holds a configuration against the world it names: whether
// Alertmanager sends callchain what it needs, whether Slack knows the people and
// channels, whether the smarthost and the store can be used. It is what
// check-config --online does.
//
// It looks and tells. Nothing is sent to anybody and nothing is changed: neither
// in Alertmanager, nor in Slack, nor in a store, nor in a mailbox.
//
// Each channel and store says what it finds in its own package; this one asks
// them side by side and turns the answers into problems with the place in the
// configuration that they are about. What makes pages, presses or resolves get
// lost is an error, everything else a warning.
package online

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"callchain/config"
	"callchain/escalation/store/redis"
	"callchain/notifiers"
	"callchain/notifiers/email"
	"callchain/notifiers/slack"
)

// World is a configuration that passed its own checks, and the far sides that it
// names, wired as the daemon would wire them.
type World struct {
	Config  *config.Config
	Catalog *config.Catalog
	Slack   *slack.Notifier // nil: not configured
	Email   *email.Notifier // nil: not configured
	Redis   *redis.Options  // nil: the store is embedded
}

// Report is what came of a check.
type Report struct {
	Problems config.Problems // in the order of their places
	Checked  []string        // what answered, and what could not be seen, in words
}

// section is the part of a report that one far side gives.
type section struct {
	problems config.Problems
	checked  []string
}

func (s *section) errorf(pos config.Pos, format string, args ...any) {
	s.problems.Errorf(pos, "%s", line(fmt.Sprintf(format, args...)))
}

func (s *section) warnf(pos config.Pos, format string, args ...any) {
	s.problems.Warnf(pos, "%s", line(fmt.Sprintf(format, args...)))
}

func (s *section) notef(format string, args ...any) {
	s.checked = append(s.checked, line(fmt.Sprintf(format, args...)))
}

// line makes one line of what strangers wrote a part of.
func line(s string) string { return notifiers.Clean(s, 2000) }

// Check asks everybody at once, until ctx ends.
func Check(ctx context.Context, w World) Report {
	var asks []func(context.Context) section
	asks = append(asks, w.externalURL, w.store)
	if len(w.Config.Alertmanager.Sources) > 0 {
		asks = append(asks, w.alertmanagers)
	}
	if w.Slack != nil {
		asks = append(asks, w.slack, w.unseen)
	}
	if w.Email != nil {
		asks = append(asks, w.email)
	}
	found := make([]section, len(asks))
	var all sync.WaitGroup
	for i, ask := range asks {
		all.Go(func() { found[i] = ask(ctx) })
	}
	all.Wait()

	r := Report{Checked: []string{}}
	for _, s := range found {
		r.Problems = append(r.Problems, s.problems...)
		r.Checked = append(r.Checked, s.checked...)
	}
	r.Problems.Sort()
	return r
}

// Slack asks Slack alone. The world must have it.
func Slack(ctx context.Context, w World) Report {
	s := w.slack(ctx)
	s.problems.Sort()
	return Report{Problems: s.problems, Checked: append([]string{}, s.checked...)}
}

// requestTimeout is for one HTTP request.
const requestTimeout = 10 * time.Second

// client asks over HTTP. It goes where it is sent, unless the caller is to hear of that.
func client(follow bool) *http.Client {
	c := &http.Client{Timeout: requestTimeout, Transport: http.DefaultTransport.(*http.Transport).Clone()}
	if !follow {
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return c
}

// why says in few words why somebody was not reached.
func why(ctx context.Context, err error) string {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the URL, which may hold a password
	}
	if errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return "no answer in time"
	}
	return err.Error()
}

// externalURL asks for callchain itself where people and Slack will look for it.
func (w World) externalURL(ctx context.Context) (s section) {
	at := w.Config.ExternalURL
	if at.V == "" {
		return s
	}
	const meaning = "links in mails and Slack's callbacks go there; if only this machine cannot reach it, or callchain does not run yet, all is well"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.V+"/-/healthy", nil)
	if err != nil {
		s.warnf(at.Pos, "external_url: %v", err)
		return s
	}
	c := client(false)
	c.Timeout = requestTimeout / 2
	resp, err := c.Do(req)
	if err != nil {
		s.warnf(at.Pos, "external_url: %s/-/healthy: %s; %s", at.V, why(ctx, err), meaning)
		return s
	}
	resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK:
		s.notef("external_url: %s answers", at.V)
	case resp.StatusCode/100 == 3:
		s.warnf(at.Pos, "external_url: %s/-/healthy is redirected to %s; Slack follows no redirect, and a login in front of /ack/ and /slack/ keeps acknowledgements out: let them pass",
			at.V, cmp.Or(resp.Header.Get("Location"), "elsewhere"))
	default:
		s.warnf(at.Pos, "external_url: %s/-/healthy answers HTTP %d instead of 200; %s", at.V, resp.StatusCode, meaning)
	}
	return s
}

// together names things: "a", "a and b", "a, b and c"; more than a few are counted.
func together(names []string) string {
	const shown = 8
	if len(names) > shown {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func unique(names []string) []string {
	var out []string
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}
