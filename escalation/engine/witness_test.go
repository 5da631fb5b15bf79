package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/notifiers"
	"callchain/routing"
)

// alertmanagers are a source's, as a test wants them.
type alertmanagers struct {
	mu     sync.Mutex
	look   escalation.Look
	err    error
	takes  time.Duration
	asked  int
	groups []routing.Webhook
	wanted []string // receivers that were asked for
	during func()   // comes between what they know and their answer
}

func (a *alertmanagers) Look(ctx context.Context) (escalation.Look, error) {
	a.mu.Lock()
	a.asked++
	look, err, takes, during := a.look, a.err, a.takes, a.during
	a.mu.Unlock()
	if during != nil {
		during()
	}
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return escalation.Look{}, ctx.Err()
		}
	}
	return look, err
}

func (a *alertmanagers) Groups(_ context.Context, receivers []string) ([]routing.Webhook, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wanted = receivers
	var out []routing.Webhook
	for _, g := range a.groups {
		g.Alerts = slices.Clone(g.Alerts)
		out = append(out, g)
	}
	return out, nil
}

func (a *alertmanagers) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

func (a *alertmanagers) questions() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

// say is what all of them know, long up: by fingerprint "", a silence's id, or inhibited.
func (a *alertmanagers) say(alerts map[uint64]string, silences map[string]escalation.Silence) {
	l := escalation.Look{Heard: true, Whole: true, Up: time.Hour, Alerts: map[uint64]escalation.Sight{}, Silences: silences}
	for fp, quiet := range alerts {
		s := escalation.Sight{Active: quiet == "", Inhibited: quiet == "inhibited", Receivers: []string{"callchain"}}
		if quiet != "" && quiet != "inhibited" {
			s.Silenced = []string{quiet}
		}
		l.Alerts[fp] = s
	}
	a.set(func() { a.look, a.err, a.takes = l, nil, 0 })
}

func startWitnessed(t *testing.T, st store.Store, am *alertmanagers) *bench {
	t.Helper()
	b := start(t, st, &fake{}, &fake{})
	snap := *b.Snapshot()
	snap.Witnesses = map[string]Witness{"main": am}
	b.Reload(&snap)
	return b
}

func from(receiver string, w routing.Webhook) routing.Webhook {
	w.Receiver = receiver
	return w
}

func fingerprint(w routing.Webhook) uint64 { return w.Alerts[0].Fingerprint }

// A silence in Alertmanager stops the chain before its next step, everybody paged
// is told whose it is, and when it is over the chain goes on.
func TestSilenceHoldsTheChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := &alertmanagers{}
		b := startWitnessed(t, mem.New(), am)
		w := from("callchain", webhook("Slow", "parsoid", "page", true, time.Now()))
		am.say(map[uint64]string{fingerprint(w): "s1"}, map[string]escalation.Silence{
			"s1": {By: "femi", Comment: "<!channel> deploying", Ends: escalation.At(time.Now().Add(time.Hour))},
		})
		if err := b.Webhook(t.Context(), "main", w); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if first := b.slack.all()[0]; len(first.Incident.Notes) > 0 && strings.Contains(first.Incident.Notes[0], "does not stop") {
			t.Errorf("the page says %q although Alertmanager is asked", first.Incident.Notes)
		}
		time.Sleep(45 * time.Minute)
		inc := only(t, b.Engine)
		if !inc.Held || inc.State != escalation.Triggered || inc.NextStepAt() != 0 {
			t.Fatalf("silenced, but held is %v, %s, next step at %d", inc.Held, inc.State, inc.NextStepAt())
		}
		if got := b.slack.pages(); !slices.Equal(got, []string{"ana"}) {
			t.Fatalf("paged %v while it was silenced", got)
		}
		told := b.email.all()
		last := told[len(told)-1]
		if held := string(last.Incident.Held); last.Kind != notifiers.Told || last.You.Handle != "ana" || !strings.Contains(held, "femi") || !strings.Contains(held, "UTC") || !strings.Contains(held, "deploying") {
			t.Errorf("ana was told %q (%s to %v)", held, last.Kind, last.You)
		}
		if word := notifiers.StateWord(last.Message); word != "ON HOLD" {
			t.Errorf("the state is called %q", word)
		}
		edits := b.slack.all()
		if i := slices.IndexFunc(edits, func(d delivered) bool {
			return d.Edit && d.You != nil && strings.Contains(string(d.Incident.Held), "femi")
		}); i < 0 {
			t.Error("ana's page does not say that it is on hold")
		}

		am.say(map[uint64]string{fingerprint(w): ""}, nil)
		time.Sleep(26 * time.Minute)
		if inc := only(t, b.Engine); inc.Held {
			t.Error("still held after the silence was over")
		}
		if got := b.slack.pages(); !slices.Equal(got, []string{"ana", "ben"}) && !slices.Equal(got[:2], []string{"ana", "ben"}) {
			t.Errorf("paged %v after the silence was over", got)
		}
	})
}

// A witness that fails, hangs, or answers nonsense neither holds a chain nor
// delays a step by more than a moment; and an old hold does not outlive it.
func TestWitnessThatFails(t *testing.T) {
	for name, fails := range map[string]func(*alertmanagers){
		"refused": func(a *alertmanagers) { a.err, a.look = errors.New("connection refused"), escalation.Look{} },
		"hangs":   func(a *alertmanagers) { a.takes = time.Hour },
		"empty":   func(a *alertmanagers) { a.look = escalation.Look{} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				am := &alertmanagers{}
				am.set(func() { fails(am) })
				b := startWitnessed(t, mem.New(), am)
				begin := time.Now()
				w := webhook("Slow", "parsoid", "page", true, begin)
				if err := b.Webhook(t.Context(), "main", w); err != nil {
					t.Fatal(err)
				}
				time.Sleep(25*time.Minute + 2*time.Second)
				if got := b.slack.pages(); !slices.Equal(got, []string{"ana", "ben"}) {
					t.Fatalf("2 s after the step was due: paged %v", got)
				}
				// It works for a while, and says that all is silenced.
				am.say(map[uint64]string{fingerprint(w): "s"}, nil)
				time.Sleep(5 * time.Minute)
				if !only(t, b.Engine).Held {
					t.Fatal("silenced, and not held")
				}
				am.set(func() { fails(am) })
				time.Sleep(11 * time.Minute)
				if only(t, b.Engine).Held {
					t.Error("a hold outlived its witness")
				}
			})
		})
	}
}

// However many incidents are due at once, Alertmanager is asked once; and a step
// that is not silenced is not late for it.
func TestOneQuestionServesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := &alertmanagers{}
		b := startWitnessed(t, mem.New(), am)
		known := map[uint64]string{}
		for i := range 200 {
			w := webhook("Slow", "parsoid", "page", true, time.Now())
			w.GroupLabels = map[string]string{"alertname": "Slow", "n": fmt.Sprint(i)}
			w.Alerts[0].Fingerprint = uint64(1000 + i)
			known[uint64(1000+i)] = ""
			if err := b.Webhook(t.Context(), "main", w); err != nil {
				t.Fatal(err)
			}
		}
		am.say(known, nil)
		am.set(func() { am.takes = 300 * time.Millisecond })
		time.Sleep(24*time.Minute + 50*time.Second)
		before := am.questions()
		time.Sleep(15 * time.Second)
		if n := am.questions() - before; n == 0 || n > 4 {
			t.Errorf("asked %d times for 200 incidents within 15 s", n)
		}
		list, _, err := b.Incidents(t.Context(), Filter{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, inc := range list {
			if late := inc.StepAt.Time().Sub(inc.OpenedAt.Time()) - 25*time.Minute; inc.Position < 2 || late > 2*time.Second {
				t.Fatalf("%s is at step %d, %v late", inc.ID, inc.Position, late)
			}
		}
	})
}

// Three rounds without the alert, of all of them, long up: it is over. Anything
// less says nothing.
func TestVanishedAlert(t *testing.T) {
	for name, test := range map[string]struct {
		look escalation.Look
		over bool
	}{
		"all of them, long up": {escalation.Look{Heard: true, Whole: true, Up: time.Hour}, true},
		"one is away":          {escalation.Look{Heard: true, Whole: false, Up: time.Hour}, false},
		"one just started":     {escalation.Look{Heard: true, Whole: true, Up: 5 * time.Minute}, false},
		"none answers":         {escalation.Look{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				am := &alertmanagers{look: test.look}
				b := startWitnessed(t, mem.New(), am)
				if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
					t.Fatal(err)
				}
				inc := only(t, b.Engine)
				if _, answer, err := b.Do(t.Context(), inc.ID, escalation.Acknowledge{By: escalation.Actor{Handle: "ana"}}); err != nil || answer.Kind != escalation.Done {
					t.Fatal(answer, err)
				}
				time.Sleep(3 * time.Minute)
				if inc := only(t, b.Engine); !inc.Open() {
					t.Fatal("over after one round")
				}
				time.Sleep(12 * time.Minute)
				inc = only(t, b.Engine)
				if inc.Open() == test.over {
					t.Fatalf("after seven rounds it is %s", inc.State)
				}
				repairs := testutil.ToFloat64(b.metrics.witnessRepairs.WithLabelValues("lost_resolve"))
				if test.over != (repairs == 1) {
					t.Errorf("%v repairs", repairs)
				}
				if last := inc.Timeline[len(inc.Timeline)-1].Text; test.over && !strings.Contains(last, "Alertmanager no longer knows it") {
					t.Errorf("the timeline ends with %q", last)
				}
			})
		})
	}
}

// What Alertmanager has for callchain's receiver and never told is taken in; what
// it has for others, what is known, and heartbeats are not.
func TestLostFiring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := &alertmanagers{}
		st := mem.New()
		b := startWitnessed(t, st, am)
		known := from("callchain", webhook("Known", "parsoid", "page", true, time.Now()))
		recorded := from("callchain", webhook("Recorded!", "parsoid", "info", true, time.Now()))
		closed := from("callchain", webhook("Closed??", "parsoid", "page", true, time.Now()))
		for _, w := range []routing.Webhook{known, recorded, closed} {
			w.ExternalURL = "http://am.example.org"
			if err := b.Webhook(t.Context(), "main", w); err != nil {
				t.Fatal(err)
			}
		}
		list, _, _ := b.Incidents(t.Context(), Filter{})
		for _, inc := range list {
			if inc.GroupLabels["alertname"] == "Closed??" {
				if _, _, err := b.Do(t.Context(), inc.ID, escalation.ResolveByHand{By: escalation.Actor{Handle: "ana"}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(time.Second)
		b.stop() // what was learnt is in the store

		b = startWitnessed(t, st, am)
		snap := *b.Snapshot()
		cfg := *snap.Config
		cfg.Alertmanager.Heartbeats = snapshotOf(t, strings.Replace(configuration, "anonymous: true}]", "anonymous: true}]\n  , heartbeats: [{source: main, match: ['alertname=\"Beat\"'], every: 5m}]", 1), catalogue, nil).Config.Alertmanager.Heartbeats
		snap.Config = &cfg
		b.Reload(&snap)
		lost := webhook("Lost", "parsoid", "page", true, time.Now().Add(-time.Hour))
		beat := webhook("Beat", "parsoid", "page", true, time.Now().Add(-time.Hour))
		foreign := webhook("Foreign", "parsoid", "page", true, time.Now().Add(-time.Hour))
		all := map[uint64]string{}
		for _, w := range []routing.Webhook{known, recorded, closed, lost, beat, foreign} {
			all[fingerprint(w)] = ""
			w.GroupKey, w.Receiver, w.ExternalURL = "", "", ""
			am.set(func() { am.groups = append(am.groups, w) })
		}
		am.say(all, nil)
		am.set(func() {
			am.look.Alerts[fingerprint(foreign)] = escalation.Sight{Active: true, Receivers: []string{"somebody"}}
		})
		time.Sleep(7 * time.Minute)
		if list, _, _ := b.Incidents(t.Context(), Filter{}); len(list) != 2 {
			t.Fatalf("%d incidents after three rounds: it had no time to come by itself", len(list))
		}
		time.Sleep(20 * time.Minute)
		list, _, _ = b.Incidents(t.Context(), Filter{})
		var names []string
		for _, inc := range list {
			names = append(names, inc.GroupLabels["alertname"])
			if name := inc.GroupLabels["alertname"]; name == "Lost" && inc.ExternalURL != "http://am.example.org" {
				t.Errorf("its Alertmanager is at %q", inc.ExternalURL)
			}
		}
		slices.Sort(names)
		if !slices.Equal(names, []string{"Closed??", "Known", "Lost"}) {
			t.Errorf("incidents of %v", names)
		}
		if n := testutil.ToFloat64(b.metrics.witnessRepairs.WithLabelValues("lost_firing")); n != 1 {
			t.Errorf("%v repairs", n)
		}
		am.set(func() {
			if !slices.Equal(am.wanted, []string{"callchain"}) {
				t.Errorf("asked for the receivers %v", am.wanted)
			}
		})
	})
}

// Several replicas ask as often as one; and one that has no api_url in its
// configuration does not keep the others from asking.
func TestReplicasAskInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := &alertmanagers{look: escalation.Look{Heard: true, Whole: true, Up: time.Hour}}
		st := mem.New()
		first, second := startWitnessed(t, st, am), startWitnessed(t, st, am)
		time.Sleep(20*time.Minute + 10*time.Second)
		if n := am.questions(); n < 9 || n > 11 {
			t.Errorf("two replicas asked %d times in 20 minutes", n)
		}
		first.stop()
		_ = start(t, st, &fake{}, &fake{}) // without
		before := am.questions()
		time.Sleep(2 * time.Hour)
		if n := am.questions() - before; n < 10 {
			t.Errorf("%d rounds in two hours beside a replica without api_url", n)
		}
		second.stop()
	})
}

// An alert that fires again just while the witness is asked is not taken for over
// by an answer that is older than the webhook.
func TestFiresAgainWhileItIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := &alertmanagers{}
		b := startWitnessed(t, mem.New(), am)
		w := from("callchain", webhook("Slow", "parsoid", "page", true, time.Now()))
		am.say(nil, nil)
		if err := b.Webhook(t.Context(), "main", w); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.Do(t.Context(), only(t, b.Engine).ID, escalation.Acknowledge{By: ana}); err != nil {
			t.Fatal(err)
		}
		for am.questions() < 2 {
			time.Sleep(time.Second)
		}
		am.set(func() {
			am.during = func() {
				time.Sleep(time.Millisecond)
				if err := b.Webhook(t.Context(), "main", w); err != nil {
					t.Error(err)
				}
			}
		})
		for am.questions() < 3 {
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		if inc := only(t, b.Engine); inc.State != escalation.Acknowledged {
			t.Errorf("it is %s although it fires", inc.State)
		}
	})
}
