package alertmanager

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"callchain/escalation"
	"callchain/internal/testbench"
)

const setup = `
route:
  receiver: callchain
  group_by: [alertname]
  group_wait: 100ms
  group_interval: 1s
  repeat_interval: 1h
  routes:
    - {matchers: ['service="night"'], receiver: callchain, mute_time_intervals: [always]}
    - {matchers: ['service="theirs"'], receiver: somebody}
time_intervals: [{name: always, time_intervals: [{years: ['2000:2100']}]}]
inhibit_rules: [{source_matchers: ['alertname="Down"'], target_matchers: ['alertname="Slow"'], equal: [service]}]
receivers:
  - {name: callchain, webhook_configs: [{url: 'http://127.0.0.1:1/'}]}
  - {name: somebody}
`

func fires(name, service string) testbench.Alert {
	return testbench.Alert{Labels: map[string]string{"alertname": name, "service": service}, Annotations: map[string]string{"summary": "it is slow"}}
}

func look(t *testing.T, c *Client) escalation.Look {
	t.Helper()
	l, err := c.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// only is the one alert that is known.
func only(t *testing.T, l escalation.Look) escalation.Sight {
	t.Helper()
	if len(l.Alerts) != 1 {
		t.Fatalf("%d alerts; want one", len(l.Alerts))
	}
	return slices.Collect(maps.Values(l.Alerts))[0]
}

// A real Alertmanager says what keeps an alert quiet, who made the silence and
// until when, and forgets what is over.
func TestRealAlertmanager(t *testing.T) {
	t.Parallel()
	am := testbench.StartAlertmanager(t, testbench.AlertmanagerConfig{YAML: setup})
	c := New([]string{am.URL + "/"})
	if l := look(t, c); !l.Heard || !l.Whole || l.Up < 0 || l.Up > time.Minute || len(l.Alerts) != 0 {
		t.Fatalf("an empty one says %+v", l)
	}
	am.PostAlerts(t, fires("Slow", "parsoid"))
	if s := only(t, look(t, c)); !s.Active || len(s.Silenced) > 0 || s.Inhibited || !slices.Equal(s.Receivers, []string{"callchain"}) {
		t.Errorf("an alert that fires is %+v", s)
	}

	id := am.Silence(t, map[string]string{"service": "parsoid"}, time.Hour, "a <!channel>\ndeployment")
	var l escalation.Look
	testbench.Eventually(t, 10*time.Second, "the silence", func() bool { l = look(t, c); return !only(t, l).Active })
	s := l.Silences[id]
	if got := only(t, l).Silenced; !slices.Equal(got, []string{id}) {
		t.Errorf("silenced by %v; want %s", got, id)
	}
	if left := time.Until(s.Ends.Time()); s.By != "test" || s.Comment != "a <!channel>\ndeployment" || left < 50*time.Minute || left > time.Hour {
		t.Errorf("the silence is %+v", s)
	}
	am.Unsilence(t, id)
	testbench.Eventually(t, 10*time.Second, "the end of the silence", func() bool { return only(t, look(t, c)).Active })

	am.PostAlerts(t, fires("Down", "parsoid"))
	testbench.Eventually(t, 10*time.Second, "the inhibition", func() bool {
		for _, s := range look(t, c).Alerts {
			if s.Inhibited && !s.Active && len(s.Silenced) == 0 {
				return true
			}
		}
		return false
	})

	over := fires("Down", "parsoid")
	over.StartsAt, over.EndsAt = time.Now().Add(-time.Minute), time.Now().Add(-time.Second)
	am.PostAlerts(t, over)
	testbench.Eventually(t, 10*time.Second, "the end of one", func() bool { return len(look(t, c).Alerts) == 1 })
}

// What Alertmanager would send comes as the webhooks that would bring it, without
// what time intervals mute and without what goes to others.
func TestRealGroups(t *testing.T) {
	t.Parallel()
	am := testbench.StartAlertmanager(t, testbench.AlertmanagerConfig{YAML: setup})
	c := New([]string{am.URL})
	am.PostAlerts(t, fires("Slow", "parsoid"), fires("Slow", "maps"), fires("Late", "night"), fires("Slow", "theirs"), fires("Hush", "parsoid"))
	am.Silence(t, map[string]string{"alertname": "Hush"}, time.Hour, "x")
	var got []string
	testbench.Eventually(t, 10*time.Second, "the groups", func() bool {
		hooks, err := c.Groups(t.Context(), []string{"callchain", "or.other"})
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		for _, w := range hooks {
			for _, a := range w.Alerts {
				if !a.Firing || a.Fingerprint == 0 || a.StartsAt.IsZero() || a.Annotations["summary"] != "it is slow" {
					t.Fatalf("the alert is %+v", a)
				}
				got = append(got, w.GroupLabels["alertname"]+" "+a.Labels["service"])
			}
		}
		slices.Sort(got)
		return slices.Equal(got, []string{"Slow maps", "Slow parsoid"})
	})
}

// Of two peers one is killed: what the other says counts, but no absence; and one
// that was just started says since when.
func TestRealPair(t *testing.T) {
	t.Parallel()
	one := testbench.StartAlertmanager(t, testbench.AlertmanagerConfig{YAML: setup, Cluster: true})
	two := testbench.StartAlertmanager(t, testbench.AlertmanagerConfig{YAML: setup, Join: one})
	c, half := New([]string{one.URL, two.URL}), New([]string{one.URL})
	testbench.Eventually(t, 20*time.Second, "the cluster", func() bool { return look(t, c).Whole && !look(t, half).Whole })
	one.PostAlerts(t, fires("Slow", "parsoid")) // two has not heard of it: it is known all the same
	one.Silence(t, map[string]string{"service": "parsoid"}, time.Hour, "x")
	testbench.Eventually(t, 10*time.Second, "the silence", func() bool { return !only(t, look(t, c)).Active })
	two.PostAlerts(t, fires("Slow", "parsoid")) // the silence was told to it
	testbench.Eventually(t, 10*time.Second, "the silence at the other peer", func() bool { return !only(t, look(t, c)).Active })
	testbench.Eventually(t, 20*time.Second, "some seconds of age", func() bool { return look(t, c).Up > 4*time.Second })

	two.Kill9(t)
	l, err := c.Look(t.Context())
	if err == nil || !l.Heard || l.Whole || len(l.Alerts) != 1 {
		t.Errorf("with a peer killed: %+v, %v", l, err)
	}
	begin := time.Now()
	two.Restart(t)
	testbench.Eventually(t, 20*time.Second, "the cluster again", func() bool { l, _ := c.Look(t.Context()); return l.Whole })
	if again, since := look(t, c).Up, time.Since(begin); again > since+time.Second {
		t.Errorf("%v after a restart of one all are said to be up for %v", since, again)
	}
}

const good = `{"cluster":{"name":"a","peers":[],"status":"ready"},"config":{"original":"x"},"uptime":"%s"}`

// peer is a stand-in that answers as told.
func peer(t *testing.T, status string, alerts func(http.ResponseWriter)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/am/api/v2/status":
			w.Header().Set("Date", time.Now().Add(48*time.Hour).UTC().Format(http.TimeFormat)) // its clock is ahead
			fmt.Fprint(w, status)
		case "/am/api/v2/alerts":
			alerts(w)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL + "/am"
}

// Whatever answers in Alertmanager's place, it says nothing; how long one is up
// is told by its own clock.
func TestOddAnswers(t *testing.T) {
	t.Parallel()
	started := time.Now().Add(48*time.Hour - 7*time.Minute).UTC().Format(time.RFC3339)
	none := func(w http.ResponseWriter) { fmt.Fprint(w, "[]") }
	l, err := New([]string{peer(t, fmt.Sprintf(good, started), none)}).Look(t.Context())
	if err != nil || !l.Settled() || l.Up > 8*time.Minute {
		t.Errorf("up for %v, settled %v, %v; want 7m by its own clock", l.Up, l.Settled(), err)
	}
	for name, test := range map[string]struct {
		status string
		alerts func(http.ResponseWriter)
	}{
		"html":       {"<html>", none},
		"other":      {`{"status":"success"}`, none},
		"error":      {fmt.Sprintf(good, started), func(w http.ResponseWriter) { http.Error(w, "no", http.StatusInternalServerError) }},
		"no list":    {fmt.Sprintf(good, started), func(w http.ResponseWriter) { fmt.Fprint(w, "{}") }},
		"broken off": {fmt.Sprintf(good, started), func(w http.ResponseWriter) { fmt.Fprint(w, `[{"fingerprint":"01",`) }},
		"endless": {fmt.Sprintf(good, started), func(w http.ResponseWriter) {
			fmt.Fprint(w, `[{"fingerprint":"`)
			chunk := strings.Repeat("0", 1<<20)
			for range maxAnswer>>20 + 1 {
				fmt.Fprint(w, chunk)
			}
		}},
	} {
		l, err := New([]string{peer(t, test.status, test.alerts)}).Look(t.Context())
		if err == nil || l.Heard || l.Settled() || len(l.Alerts) > 0 {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err = New([]string{peer(t, fmt.Sprintf(good, started), func(http.ResponseWriter) { <-ctx.Done() })}).Look(ctx)
	if took := time.Since(begin); err == nil || took > 2*time.Second {
		t.Errorf("one that hangs: %v after %v", err, took)
	}
	_, err = New([]string{"http://user:pass-word@127.0.0.1:1/?token=pass-word"}).Look(t.Context())
	if err == nil || strings.Contains(err.Error(), "pass-word@") || strings.Contains(err.Error(), "user:pass") {
		t.Errorf("the error shows the password: %v", err)
	}
}

// Before 0.28 Alertmanager does not say what its time intervals mute: then
// nothing is taken for lost.
func TestMutedUnknown(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]int{"route: {}": 1, "route: {routes: [{mute_time_intervals: [night]}]}": 0} {
		mux := http.NewServeMux()
		mux.HandleFunc("/api/v2/status", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"config":{"original":%q}}`, config) })
		mux.HandleFunc("/api/v2/alerts/groups", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `[{"labels":{"alertname":"A"},"receiver":{"name":"callchain"},"alerts":[{"fingerprint":"00000000000000ff","labels":{"alertname":"A"},"status":{"state":"active"}}]}]`)
		})
		s := httptest.NewServer(mux)
		t.Cleanup(s.Close)
		hooks, err := New([]string{s.URL}).Groups(t.Context(), []string{"callchain"})
		if err != nil || len(hooks) != want {
			t.Errorf("%s: %d webhooks, %v; want %d", config, len(hooks), err, want)
		}
	}
}
