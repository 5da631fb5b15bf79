package escalation

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"

	"callchain/config"
	_ "callchain/internal/testbench/seed"
	"callchain/routing"
)

func commonEnv(t testing.TB) Env {
	t.Helper()
	ar, err := txtar.ParseFile("testdata/common.txtar")
	if err != nil {
		t.Fatal(err)
	}
	return compile(t, ar)
}

// anything draws one event for an incident, sensible or not.
func anything(t *rapid.T, inc Incident, now time.Time) Event {
	who := func() Actor {
		return Actor{Handle: rapid.SampledFrom([]string{"ana", "ben", "chen", "vic", "slack:U9", ""}).Draw(t, "who"), Via: "slack"}
	}
	seq := func() int { return inc.LastSeq - rapid.IntRange(0, 1).Draw(t, "old look") }
	target := func() string {
		return rapid.SampledFrom([]string{"incident_response", "development", "contingency_development", "engineering_manager", "director", "fallback", "team:content", "team:helpers", "person:gus", "person:vic", "team:?", ""}).Draw(t, "to")
	}
	yes := func(what string) bool { return rapid.Bool().Draw(t, what) }
	switch rapid.IntRange(0, 20).Draw(t, "event") {
	case 13:
		return Unacknowledge{By: who()}
	case 14:
		return StillOn{By: who()}
	case 15:
		return EscalateTo{By: who(), To: target()}
	case 16:
		return Reassign{By: who(), To: target(), TakeOver: yes("take over"), Stranger: yes("stranger")}
	case 17:
		return Snooze{By: who(), TakeOver: yes("take over"), Until: At(now).plus(time.Duration(rapid.IntRange(-10, 1500).Draw(t, "minutes")) * time.Minute)}
	case 18:
		return Declare{By: who(), Urgency: rapid.SampledFrom(append([]config.Urgency{"?"}, config.Urgencies...)).Draw(t, "declared")}
	case 19:
		return Remark{By: who(), Text: rapid.SampledFrom([]string{"", " x\n y\x00", "it is the database"}).Draw(t, "text")}
	case 20:
		ev := Disown{By: who(), Right: target(), Reason: "not ours"}
		if p := inc.Place(); yes("from") {
			if yes("old press") {
				p.Step--
			}
			ev.From = &p
		}
		return ev
	case 0:
		return Tick{}
	case 8, 9:
		ev := Held{Seq: seq(), Inhibited: rapid.Bool().Draw(t, "inhibited"), Until: At(now).plus(time.Duration(rapid.IntRange(-1, 10).Draw(t, "minutes")) * time.Minute)}
		if rapid.Bool().Draw(t, "silenced") {
			ev.Silences = []Silence{{By: rapid.SampledFrom([]string{"ana", "ben"}).Draw(t, "by"), Ends: ev.Until}}
		}
		return ev
	case 10:
		return Released{Seq: seq()}
	case 11:
		ev := Vanished{Seq: seq(), Alerts: []uint64{7}}
		for _, e := range inc.Episodes {
			if rapid.Bool().Draw(t, "gone") {
				ev.Alerts = append(ev.Alerts, e.Fingerprint)
			}
		}
		return ev
	case 12:
		return Heard{}
	case 7:
		return Abandoned{Before: At(now)}
	case 1:
		return Acknowledge{By: who(), TakeOver: rapid.Bool().Draw(t, "take over"), Stranger: rapid.Bool().Draw(t, "stranger")}
	case 2:
		p := inc.Place()
		if rapid.Bool().Draw(t, "old press") {
			p.Step--
		}
		return Escalate{By: who(), From: &p}
	case 3:
		return ResolveByHand{By: who()}
	case 4:
		id, attempt := "?", 1
		if len(inc.Deliveries) > 0 {
			d := rapid.SampledFrom(inc.Deliveries).Draw(t, "delivery")
			id, attempt = d.ID, d.Attempt-rapid.IntRange(0, 1).Draw(t, "late")
		}
		return Result{Delivery: id, Attempt: attempt, Verdict: Verdict(rapid.IntRange(0, 5).Draw(t, "verdict")), Ref: Ref{"C", fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "ts"))}, Error: "x"}
	default:
		if inc.Kind != Alerts {
			return Tick{} // no webhook speaks of it
		}
		var ob Observe
		for instance := range rapid.IntRange(0, 3).Draw(t, "alerts") {
			u := rapid.SampledFrom([]string{"warning", "page", "emergency"}).Draw(t, "severity")
			firing := rapid.Bool().Draw(t, "firing")
			a := alert(firing, []string{"A", "service=parsoid", "severity=" + u, "instance=" + fmt.Sprint(instance)}, now.Add(-time.Duration(rapid.IntRange(0, 100).Draw(t, "age"))*time.Second), now)
			seen := Seen{Alert: keep(&a), Urgency: urgencyOfRank(rapid.IntRange(1, 3).Draw(t, "urgency"))}
			if firing {
				ob.Firing = append(ob.Firing, seen)
			} else {
				ob.Resolved = append(ob.Resolved, seen)
			}
		}
		return ob
	}
}

// encode is what a store would keep: two states are the same if it is.
func encode(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Step is idempotent, does not change what it was given, keeps its bounds,
// never falls back within a round, is silent once somebody acknowledged, and
// wakes up whenever something is left to be done.
func TestStepProperties(t *testing.T) {
	env := commonEnv(t)
	rapid.Check(t, func(rt *rapid.T) {
		now := epoch
		a := alert(true, []string{"A", "service=" + rapid.SampledFrom([]string{"parsoid", "maps", "oldbot", "gone", "what"}).Draw(rt, "service"), "severity=page"}, now, time.Time{})
		out := Ingest(Group{}, nil, "main", routing.Webhook{Alerts: []routing.WebhookAlert{a}}, now, env, nil)
		inc := out.Incidents[0]
		by, target := Actor{Handle: "gus"}, routing.Target{Subject: "team:content", Team: "content"}
		switch rapid.IntRange(0, 9).Draw(rt, "kind") {
		case 0:
			inc = NewByHand("00-hand", target, config.UnbreakNow, "look", by, now, env)
		case 1:
			inc = NewDrill("00-drill", target, config.Page, by, now, env)
		case 2:
			inc = NewTest("00-test", "hana", by, now, env)
		}
		for range rapid.IntRange(1, 40).Draw(rt, "events") {
			pass := 20 * time.Minute
			if rapid.IntRange(0, 5).Draw(rt, "long") == 0 {
				pass = 25 * time.Hour
			}
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(pass)).Draw(rt, "pass")))
			ev := anything(rt, inc, now)
			before := encode(t, inc)
			next, answer := Step(inc, ev, now, env)
			if encode(t, inc) != before {
				rt.Fatalf("%T changed its argument", ev)
			}
			twice, again := Step(next, ev, now, env)
			if diff := cmp.Diff(encode(t, next), encode(t, twice)); diff != "" {
				rt.Fatalf("%T twice is not once (%v, %v):\n%s", ev, answer, again, diff)
			}
			if len(next.Shown) > MaxShown || len(next.Timeline) > MaxTimeline {
				rt.Fatalf("bounds: %d shown, %d lines", len(next.Shown), len(next.Timeline))
			}
			if inc.Run == next.Run && inc.Round == next.Round && next.Step < inc.Step {
				rt.Fatalf("fell back from step %d to %d", inc.Step, next.Step)
			}
			if next.State == Triggered && next.Urgency.Pages() && next.NextStepAt() == 0 && (!next.Held || next.Wake() == 0) {
				rt.Fatalf("nothing will happen any more: %s", next.Summary())
			}
			if next.Held != (next.Hold != nil) || next.Held && (next.State != Triggered || next.NextStepAt() != 0 || next.RemindAt != 0) {
				rt.Fatalf("held, and %s with a timer at %d", next.State, next.NextStepAt())
			}
			switch ev.(type) {
			case Held, Heard, Vanished:
				ended := inc.unpaused(At(now))
				if next.Place() != inc.Place() && !ended || next.Woken != inc.Woken || inc.State == Acknowledged && next.State == Triggered && !ended {
					rt.Fatalf("%T paged somebody or took an acknowledgement back", ev)
				}
			case Released:
				if next.Place() != inc.Place() || next.Woken != inc.Woken {
					rt.Fatal("a release paged before its time")
				}
			}
			if next.Open() && next.Kind == Alerts && next.StaleAt == 0 && !next.Stale {
				rt.Fatal("it may be forgotten: it will never be stale")
			}
			if next.State == Acknowledged && next.Urgency.Pages() && next.Ack.Expires == 0 || next.State == Snoozed && next.SnoozedUntil == 0 {
				rt.Fatalf("%s for ever", next.State)
			}
			if next.Open() && next.Declared.Rank() > next.Urgency.Rank() {
				rt.Fatalf("declared %s, and %s", next.Declared, next.Urgency)
			}
			if (next.Detour != nil || next.Deadline != 0) && next.State != Triggered || next.Beside != nil && (!next.Open() || next.Wake() == 0) {
				rt.Fatalf("what is left of a chain in state %s", next.State)
			}
			if next.State != Triggered && next.NextStepAt() != 0 {
				rt.Fatalf("a timer runs in state %s", next.State)
			}
			if next.Open() && next.Urgency.Rank() < inc.Urgency.Rank() && inc.Open() {
				rt.Fatalf("urgency fell from %s to %s", inc.Urgency, next.Urgency)
			}
			if next.State != Triggered {
				for _, d := range next.Deliveries {
					asked := next.Beside.asks(d.To) && d.Hand != 0 && next.Open()
					if d.Status == Pending && d.Ref == (Ref{}) && !asked && (d.Kind == PageDelivery || d.Kind == ReminderDelivery) {
						rt.Fatalf("a %s is still to be sent although it is %s", d.Kind, next.State)
					}
				}
			}
			if _, ack := ev.(Acknowledge); ack && next.State == Acknowledged && answer.Kind == Done && next.Beside != nil && answer.At == 0 {
				rt.Fatal("somebody is asked besides although it was just acknowledged")
			}
			late := func(at Instant) bool { return at != 0 && (next.Wake() == 0 || next.Wake() > at) }
			if next.State == Acknowledged && late(next.Ack.Expires) || next.State == Snoozed && late(next.SnoozedUntil) {
				rt.Fatalf("it sleeps past the end of being %s", next.State)
			}
			taken, sends := Take(next, now, func(_ Delivery, n Instant) Instant { return n })
			if none, more := Take(taken, now, func(_ Delivery, n Instant) Instant { return n }); len(more) != 0 {
				rt.Fatalf("taken twice: %v of %s", more, none.Summary())
			}
			if wake := taken.Wake(); len(sends) > 0 && wake == 0 {
				rt.Fatal("a process that dies now is not noticed")
			}
			inc = roundTrip(taken)
		}
	})
}

// Whatever nobody answers to ends exhausted, with everybody of the chain asked.
func TestChainEnds(t *testing.T) {
	env := commonEnv(t)
	for _, service := range []string{"parsoid", "maps", "oldbot", "gone", "what", ""} {
		for _, severity := range []string{"page", "emergency"} {
			w := newWorld(env)
			w.webhook(routing.Webhook{Alerts: []routing.WebhookAlert{alert(true, []string{"A", "service=" + service, "severity=" + severity}, epoch, time.Time{})}})
			w.wait(5 * time.Hour)
			for _, inc := range w.incs {
				if !inc.Exhausted || len(inc.Paged) == 0 {
					t.Errorf("%q %s: %s, paged %v", service, severity, inc.Summary(), inc.Paged)
				}
			}
			if len(w.incs) != 1 {
				t.Errorf("%q %s: %d incidents", service, severity, len(w.incs))
			}
		}
	}
}

// Any order and repetition of the same webhooks within the minute ends in the
// same alerts firing in the same incidents.
func TestOrderDoesNotMatter(t *testing.T) {
	env := commonEnv(t)
	rapid.Check(t, func(rt *rapid.T) {
		// Episodes of three alerts, each firing and perhaps resolved, one after another.
		var hooks []routing.Webhook
		want := map[uint64]bool{}
		for inst := range 3 {
			clock := epoch.Add(-time.Hour)
			words := []string{"A", "service=parsoid", "severity=page", fmt.Sprint("instance=", inst)}
			for range rapid.IntRange(0, 2).Draw(rt, "episodes") {
				clock = clock.Add(time.Minute)
				starts := clock
				hooks = append(hooks, routing.Webhook{Alerts: []routing.WebhookAlert{alert(true, words, starts, time.Time{})}})
				fp := hooks[len(hooks)-1].Alerts[0].Fingerprint
				want[fp] = true
				if rapid.Bool().Draw(rt, "resolved") {
					clock = clock.Add(time.Minute)
					hooks = append(hooks, routing.Webhook{Alerts: []routing.WebhookAlert{alert(false, words, starts, clock)}})
					want[fp] = false
				} else {
					break
				}
			}
		}
		for _, h := range slices.Clone(hooks) {
			if rapid.Bool().Draw(rt, "twice") {
				hooks = append(hooks, h)
			}
		}
		hooks = rapid.Permutation(hooks).Draw(rt, "order")
		w := newWorld(env)
		for _, h := range hooks {
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 50_000/max(1, len(hooks))).Draw(rt, "ms")) * time.Millisecond)
			w.webhook(h)
		}
		firing := map[uint64]bool{}
		for _, inc := range w.incs {
			for _, e := range inc.Episodes {
				if inc.Open() {
					firing[e.Fingerprint] = true
				}
			}
		}
		for fp, on := range want {
			if on != firing[fp] {
				rt.Fatalf("alert %x: firing is %v, want %v", fp, firing[fp], on)
			}
		}
	})
}

func TestEpisodesRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var es Episodes
		for range rapid.IntRange(0, 300).Draw(rt, "n") {
			fp := rapid.Uint64().Draw(rt, "fp")
			if i, ok := es.find(fp); !ok {
				es = slices.Insert(es, i, Episode{fp, clampInstant(Instant(rapid.Int64().Draw(rt, "starts"))), urgencyOfRank(rapid.IntRange(0, 3).Draw(rt, "u"))})
			}
		}
		if got := roundTrip(es); !cmp.Equal(got, es) && len(es) > 0 {
			rt.Fatal(cmp.Diff(es, got))
		}
		if n := len(encode(t, es)); n > 2+len(es)*20+2 {
			rt.Fatalf("%d episodes take %d bytes", len(es), n)
		}
	})
}

// Records come from a disk: whatever is in them, decoding does not panic.
func FuzzIncident(f *testing.F) {
	f.Add([]byte(`{"z":1,"id":"3f-a","st":"triggered","u":"page","ep":"AAAAAAAAAAEAAAAAAAAC","de":[{"i":"x","k":"page","c":"slack","s":"p","t":1}]}`))
	env := commonEnv(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		var inc Incident
		if json.Unmarshal(data, &inc) != nil {
			return
		}
		_ = inc.Wake()
		next, _ := Step(inc, Tick{}, epoch, env)
		twice, _ := Step(next, Tick{}, epoch, env)
		_ = encode(t, twice)
	})
}
