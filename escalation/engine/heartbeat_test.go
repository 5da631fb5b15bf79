package engine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/notifiers"
	"callchain/routing"
)

var heartbeats = strings.Replace(configuration, "anonymous: true}]}", `anonymous: true}], heartbeats: [{source: main, match: ['alertname="Watchdog"'], every: 5m, team: ops}]}`, 1)

// startWith runs an engine with a configuration of its own.
func startWith(t *testing.T, st store.Store, configuration string, slack, email Channel) *bench {
	t.Helper()
	e := New(Config{Store: st, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))},
		snapshotOf(t, configuration, catalogue, map[string]Channel{notifiers.Slack: slack, notifiers.Email: email}))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = e.Run(ctx) })
	b := &bench{Engine: e, stop: func() { cancel(); wg.Wait() }}
	b.slack, _ = slack.(*fake)
	b.email, _ = email.(*fake)
	t.Cleanup(b.stop)
	return b
}

func watchdog(t *testing.T, e *Engine) {
	t.Helper()
	if err := e.Webhook(t.Context(), "main", webhook("Watchdog", "parsoid", "page", true, time.Now())); err != nil {
		t.Fatal(err)
	}
}

func listed(t *testing.T, e *Engine) []escalation.Incident {
	t.Helper()
	list, _, err := e.Incidents(t.Context(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func facts(t *testing.T, e *Engine) int {
	t.Helper()
	now := time.Now().UTC()
	all, err := e.Facts(t.Context(), now.AddDate(0, 0, -7).Format(time.DateOnly), now.Format(time.DateOnly))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// A heartbeat comes, stops, and comes again: by two replicas one page, which
// escalates until it is answered and ends by itself.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		slack, email := &fake{}, &fake{}
		a, b := startWith(t, st.Open(), heartbeats, slack, email), startWith(t, st.Open(), heartbeats, slack, email)
		time.Sleep(time.Hour)
		if n := len(slack.pages()); n > 0 {
			t.Fatalf("%d pages before the first beat: it was never there to be missed", n)
		}
		for range 10 {
			watchdog(t, a.Engine)
			watchdog(t, b.Engine)
			time.Sleep(3 * time.Minute)
		}
		if n, m := len(slack.all()), len(listed(t, a.Engine)); n+m > 0 {
			t.Fatalf("beats made %d messages and %d incidents", n, m)
		}
		if n := facts(t, a.Engine); n > 0 {
			t.Errorf("beats are in %d facts of the report", n)
		}

		// It stops. The last beat was three minutes ago; its end is no beat.
		if err := a.Webhook(t.Context(), "main", webhook("Watchdog", "parsoid", "page", false, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2*time.Minute - time.Second)
		if n := len(slack.pages()); n > 0 {
			t.Fatal("missed before its time")
		}
		time.Sleep(time.Minute + 3*time.Second)
		if got := slack.pages(); !slices.Equal(got, []string{"ana"}) {
			t.Fatalf("missed, and paged are %v; want ana of ops, once", got)
		}
		inc := only(t, a.Engine)
		if inc.Subject != "team:ops" || inc.Kind != escalation.Missed || inc.Urgency != "page" || inc.Source != "main" {
			t.Errorf("incident %s of kind %q, source %q", inc.Summary(), inc.Kind, inc.Source)
		}
		var page notifiers.Message
		for _, d := range slack.all() {
			if d.Kind == notifiers.Page {
				page = d.Message
			}
		}
		if page.Incident.AlertName != "HeartbeatMissed" || !strings.Contains(string(page.Incident.Summary), "Alertmanager main was last heard at") || len(page.Incident.Missing) > 0 {
			t.Errorf("the page says %q, %q, %q", page.Incident.AlertName, page.Incident.Summary, page.Incident.Missing)
		}
		time.Sleep(26 * time.Minute)
		if got := slack.pages(); !slices.Equal(got, []string{"ana", "ben"}) {
			t.Errorf("nobody answered, and paged are %v; want ana, then ben", got)
		}
		if n := facts(t, a.Engine); n > 0 {
			t.Errorf("a missed heartbeat is in %d facts of the report", n)
		}

		watchdog(t, b.Engine)
		time.Sleep(5 * time.Second)
		if inc = only(t, a.Engine); inc.State != escalation.Resolved || !strings.Contains(inc.Timeline[len(inc.Timeline)-1].Text, "heartbeat is back") {
			t.Errorf("it beats again: %s, %q", inc.Summary(), inc.Timeline[len(inc.Timeline)-1].Text)
		}

		// It stops once more, not long after: the same incident.
		time.Sleep(7 * time.Minute)
		if again := only(t, a.Engine); again.ID != inc.ID || again.State != escalation.Triggered {
			t.Errorf("missed again: %s; want %s, triggered", again.Summary(), inc.ID)
		}
		if _, _, err := b.Do(t.Context(), inc.ID, escalation.Acknowledge{By: escalation.Actor{Handle: "ana"}}); err != nil {
			t.Fatal(err)
		}
		n := len(slack.pages())
		time.Sleep(3 * time.Hour)
		if got := slack.pages(); len(got) != n {
			t.Errorf("paged after the acknowledgement: %v", got[n:])
		}

		// Long after: another one.
		watchdog(t, a.Engine)
		time.Sleep(time.Second)
		if again := only(t, a.Engine); again.State != escalation.Resolved {
			t.Errorf("it beats again: %s", again.Summary())
		}
		for range 5 {
			watchdog(t, a.Engine)
			time.Sleep(3 * time.Minute)
		}
		time.Sleep(15 * time.Minute)
		if list := listed(t, a.Engine); len(list) != 2 {
			t.Errorf("%d incidents; want a second one", len(list))
		}
	})
}

// What nobody could hear is not missed: callchain was down, its store was away, or
// the machine stood still.
func TestHeartbeatAfterAGap(t *testing.T) {
	for _, test := range []struct {
		name string
		gap  func(t *testing.T, st *mem.Store, b *bench) *bench
	}{
		{"down", func(t *testing.T, st *mem.Store, b *bench) *bench {
			b.stop()
			time.Sleep(time.Hour)
			return startWith(t, st.Open(), heartbeats, b.slack, b.email)
		}},
		{"without its store", func(_ *testing.T, st *mem.Store, b *bench) *bench {
			st.Inject(func(string) (bool, error) { return false, errors.New("away") })
			time.Sleep(time.Hour)
			st.Inject(nil)
			return b
		}},
		{"for a moment, just then", func(_ *testing.T, st *mem.Store, b *bench) *bench {
			time.Sleep(5*time.Minute + 30*time.Second)
			st.Inject(func(string) (bool, error) { return false, errors.New("away") })
			time.Sleep(time.Minute)
			st.Inject(nil)
			return b
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := mem.New()
				b := startWith(t, st, heartbeats, &fake{}, &fake{})
				watchdog(t, b.Engine)
				b = test.gap(t, st, b)
				time.Sleep(5 * time.Minute)
				if got := b.slack.pages(); len(got) > 0 {
					t.Fatalf("paged %v for beats that nobody could hear", got)
				}
				time.Sleep(2 * time.Minute)
				if got := b.slack.pages(); !slices.Equal(got, []string{"ana"}) {
					t.Errorf("then it stays away, and paged are %v; want ana", got)
				}
			})
		})
	}
}

// A heartbeat that is taken out of the configuration leaves nothing, and ends what
// it began.
func TestHeartbeatIsNotConfiguredAnyMore(t *testing.T) {
	for _, test := range []struct {
		name   string
		missed time.Duration
	}{{"beating", 0}, {"missed", 10 * time.Minute}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := mem.New()
				b := startWith(t, st, heartbeats, &fake{}, &fake{})
				watchdog(t, b.Engine)
				time.Sleep(test.missed)
				b.Reload(snapshotOf(t, configuration, catalogue, b.Snapshot().Channels))
				time.Sleep(15 * time.Minute)
				err := st.Scan(t.Context(), "b/", func(rec store.Record) bool {
					t.Errorf("left: %s", rec.Key.ID)
					return true
				})
				if err != nil {
					t.Fatal(err)
				}
				for _, inc := range listed(t, b.Engine) {
					if last := inc.Timeline[len(inc.Timeline)-1].Text; inc.Open() || last != "resolved: the heartbeat is not configured any more" {
						t.Errorf("left: %s, %q", inc.Summary(), last)
					}
				}
				if n := len(b.slack.pages()); (n > 0) != (test.missed > 0) {
					t.Errorf("%d pages", n)
				}
			})
		})
	}
}

// Alerts beside a beat in one webhook go their way.
func TestBeatAmongAlerts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startWith(t, mem.New(), heartbeats, &fake{}, &fake{})
		w := webhook("Watchdog", "parsoid", "page", true, time.Now())
		w.Alerts = append(w.Alerts, webhook("Slow", "parsoid", "page", true, time.Now()).Alerts...)
		if err := b.Webhook(t.Context(), "main", w); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		inc := only(t, b.Engine)
		if inc.Firing() != 1 || inc.Shown[0].Labels["alertname"] != "Slow" {
			t.Errorf("the incident has %d alerts, first %v", inc.Firing(), inc.Shown[0].Labels)
		}
		if err := b.Webhook(t.Context(), "main", routing.Webhook{GroupKey: "k"}); err != nil {
			t.Error("a webhook without alerts:", err)
		}
	})
}

// A beat that cannot be stored is not said to be.
func TestBeatOfAStoreThatIsAway(t *testing.T) {
	st := mem.New()
	e := New(Config{Store: st, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)}, snapshotOf(t, heartbeats, catalogue, nil))
	st.Inject(func(string) (bool, error) { return false, errors.New("away") })
	if err := e.Webhook(t.Context(), "main", webhook("Watchdog", "", "", true, time.Now())); err == nil {
		t.Error("stored, it says")
	}
}

// What is committed wakes an engine that has its store for itself, and so sleeps
// long, also when it is due in some seconds only.
func TestWakesForWhatItCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startWith(t, alone{mem.New()}, strings.Replace(heartbeats, "every: 5m", "every: 5s", 1), &fake{}, &fake{})
		time.Sleep(time.Second)
		watchdog(t, b.Engine)
		time.Sleep(7 * time.Second)
		if got := b.slack.pages(); !slices.Equal(got, []string{"ana"}) {
			t.Errorf("paged %v; want ana, in time", got)
		}
	})
}
