package engine

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"callchain/escalation"
	"callchain/escalation/store/mem"
	"callchain/internal/alertmanager"
	"callchain/internal/testbench"
	"callchain/notifiers"
	"callchain/routing"
)

// aged is a witness whose Alertmanagers pass for older than they are: nobody
// waits five minutes in a test.
type aged struct {
	*alertmanager.Client
	mu  sync.Mutex
	by  time.Duration
	ask int
}

func (a *aged) Look(ctx context.Context) (escalation.Look, error) {
	l, err := a.Client.Look(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	l.Up += a.by
	a.ask++
	return l, err
}

// rounds lets so many answers come.
func (a *aged) rounds(t *testing.T, n int) {
	t.Helper()
	count := func() int { a.mu.Lock(); defer a.mu.Unlock(); return a.ask }
	end := count() + n
	testbench.Eventually(t, 30*time.Second, "rounds of asking", func() bool { return count() >= end })
}

func (a *aged) age(by time.Duration) { a.mu.Lock(); defer a.mu.Unlock(); a.by = by }

// Two real Alertmanagers in one cluster: a silence holds the chain and an
// inhibition does; an alert that ends while it is silenced is noticed, but not
// while one of the two is dead, nor when it was just started; an alert whose
// webhook was lost is taken in.
func TestRealWitnesses(t *testing.T) {
	t.Parallel()
	drop := make(chan struct{}) // closed: webhooks are taken in again
	var e *Engine
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), `"lost"`) {
			select {
			case <-drop:
			default:
				return // 200, and forgotten
			}
		}
		wh, err := routing.Decode(body)
		if err == nil {
			err = e.Webhook(r.Context(), "main", wh)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	}))
	setup := `
route: {receiver: callchain, group_by: [alertname], group_wait: 100ms, group_interval: 1s, repeat_interval: 1h}
inhibit_rules: [{source_matchers: ['severity="emergency"'], target_matchers: ['severity="page"'], equal: [service]}]
receivers: [{name: callchain, webhook_configs: [{url: "` + hook.URL + `"}]}]
`
	one := testbench.StartAlertmanager(t, testbench.AlertmanagerConfig{YAML: setup, Cluster: true})
	two := testbench.StartAlertmanager(t, testbench.AlertmanagerConfig{YAML: setup, Join: one})
	t.Cleanup(hook.Close)
	witness := &aged{Client: alertmanager.New([]string{one.URL, two.URL}), by: time.Hour}
	snap := snapshotOf(t, configuration+"escalation: {policies: [{name: default, repeat: 1, steps: [{notify: incident_response, ack_within: 4s}, {notify: development, ack_within: 1h}, {notify: fallback, ack_within: 1h}]}]}\n",
		catalogue, map[string]Channel{notifiers.Slack: &fake{}, notifiers.Email: &fake{}})
	snap.Witnesses = map[string]Witness{"main": witness}
	e = New(Config{Store: mem.New(), Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), WitnessEvery: 300 * time.Millisecond}, snap)
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { _ = e.Run(ctx) })
	t.Cleanup(func() { cancel(); run.Wait() })
	slack := snap.Channels[notifiers.Slack].(*fake)

	post := func(name, service, severity string, over bool) {
		a := testbench.Alert{Labels: map[string]string{"alertname": name, "service": service, "severity": severity}, StartsAt: time.Now().Add(-time.Minute)}
		if over {
			a.EndsAt = time.Now()
		}
		for _, am := range []*testbench.Alertmanager{one, two} {
			if am.Running() {
				am.PostAlerts(t, a)
			}
		}
	}
	because := func(inc escalation.Incident) string { return inc.HeldBecause() }
	incident := func(name string) (found escalation.Incident) {
		t.Helper()
		list, _, err := e.Incidents(t.Context(), Filter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, inc := range list {
			if inc.GroupLabels["alertname"] == name {
				return inc
			}
		}
		return found
	}
	await := func(what, name string, ok func(escalation.Incident) bool) {
		t.Helper()
		testbench.Eventually(t, 30*time.Second, what, func() bool { return ok(incident(name)) })
	}
	held := func(inc escalation.Incident) bool { return inc.Held }
	loud := func(inc escalation.Incident) bool { return inc.ID != "" && !inc.Held }

	// Silenced before the second step, which is not taken until it is over.
	post("Slow", "parsoid", "page", false)
	await("the incident", "Slow", loud)
	silence := one.Silence(t, map[string]string{"alertname": "Slow"}, time.Hour, "deploying")
	await("the hold", "Slow", held)
	if because := because(incident("Slow")); !strings.Contains(because, "by test until") || !strings.Contains(because, "(deploying)") {
		t.Errorf("held because it is %s", because)
	}
	witness.rounds(t, 20)
	if inc := incident("Slow"); inc.Position != 1 || !inc.Held {
		t.Errorf("silenced, and at step %d, held is %v", inc.Position, inc.Held)
	}
	two.Unsilence(t, silence)
	await("the next step after the silence", "Slow", func(inc escalation.Incident) bool { return !inc.Held && inc.Position == 2 })

	// Inhibited by a worse alert.
	post("Worse", "parsoid", "emergency", false)
	await("the inhibition", "Slow", held)
	if because := because(incident("Slow")); !strings.Contains(because, "inhibited") {
		t.Errorf("held because it is %s", because)
	}
	post("Worse", "parsoid", "emergency", true)
	await("its end", "Slow", loud)

	// It ends while it is silenced: no webhook tells. With one peer dead nobody knows.
	one.Silence(t, map[string]string{"alertname": "Slow"}, time.Hour, "deploying again")
	await("the second hold", "Slow", held)
	two.Kill9(t)
	post("Slow", "parsoid", "page", true)
	witness.rounds(t, 10)
	if inc := incident("Slow"); !inc.Open() {
		t.Fatalf("%s although a peer was dead: %q", inc.State, inc.Timeline[len(inc.Timeline)-1].Text)
	}
	witness.age(0)
	two.Restart(t)
	testbench.Eventually(t, 20*time.Second, "the cluster", func() bool { l, err := witness.Look(t.Context()); return err == nil && l.Whole })
	witness.rounds(t, 10)
	if inc := incident("Slow"); !inc.Open() {
		t.Fatalf("%s although a peer was just started", inc.State)
	}
	witness.age(time.Hour)
	await("the end", "Slow", func(inc escalation.Incident) bool { return !inc.Open() })
	inc := incident("Slow")
	if last := inc.Timeline[len(inc.Timeline)-1].Text; last != "resolved: Alertmanager no longer knows it" {
		t.Errorf("the timeline ends with %q", last)
	}
	testbench.Eventually(t, 10*time.Second, "the count of lost resolves", func() bool {
		return testutil.ToFloat64(e.metrics.witnessRepairs.WithLabelValues("lost_resolve")) == 1
	})

	// Alertmanager had its 200, and callchain lost it.
	post("Gone", "lost", "page", false)
	await("the alert that was lost", "Gone", func(inc escalation.Incident) bool { return inc.ID != "" })
	testbench.Eventually(t, 10*time.Second, "the count of lost firings", func() bool {
		return testutil.ToFloat64(e.metrics.witnessRepairs.WithLabelValues("lost_firing")) == 1
	})
	if n := len(slack.pages()); n < 3 {
		t.Errorf("%d pages", n)
	}
	close(drop)
	post("Gone", "lost", "page", true)
	await("the ordinary end of it", "Gone", func(inc escalation.Incident) bool { return !inc.Open() })
}
