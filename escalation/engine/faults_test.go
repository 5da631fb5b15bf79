package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/notifiers"
)

// alone is a store that one process has for itself.
type alone struct{ *mem.Store }

func (alone) Exclusive() bool { return true }

// What this process has begun to send before its loops run is not taken for what
// the process before left behind.
func TestOwnAttemptsAreNotTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slack, email := &fake{takes: 200 * time.Millisecond}, &fake{takes: 200 * time.Millisecond}
		e := New(Config{Store: alone{mem.New()}, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))},
			snapshot(t, map[string]Channel{notifiers.Slack: slack, notifiers.Email: email}))
		if err := e.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = e.Run(ctx) }()
		time.Sleep(5 * time.Second)
		cancel()
		<-done
		if s, m := slack.pages(), email.pages(); len(s) != 1 || len(m) != 1 {
			t.Errorf("paged %v over Slack and %v by mail; want once each", s, m)
		}
	})
}

// full is a store that refuses what stores refuse when they are full.
type full struct{ *mem.Store }

func (s full) Commit(ctx context.Context, txn store.Txn) error {
	if txn.Grows() {
		return store.ErrFull
	}
	return s.Store.Commit(ctx, txn)
}

// A full store refuses a new incident and nothing of those that are open: they are
// acknowledged, escalated, resolved and filed away, and take further alerts, also
// when these are the first that are counted on a new day.
func TestFullStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		b := start(t, st, &fake{}, &fake{})
		began := time.Now()
		for _, name := range []string{"SlowA", "SlowB"} {
			if err := b.Webhook(t.Context(), "main", webhook(name, "parsoid", "page", true, began)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		b.stop()

		b = start(t, full{st}, &fake{}, &fake{})
		if err := b.Webhook(t.Context(), "main", webhook("SlowC", "parsoid", "page", true, began)); !errors.Is(err, store.ErrFull) {
			t.Errorf("a new incident = %v, want ErrFull", err)
		}
		_ = b.Webhook(t.Context(), "main", webhook("SlowD", "parsoid", "page", true, began))
		time.Sleep(time.Minute)
		if got := b.email.notices(); !slices.Equal(got, []string{"callchain's store is full"}) {
			t.Errorf("the team that looks after callchain is told %q; want once that the store is full", got)
		}
		time.Sleep(25*time.Hour - time.Minute)
		if got := b.slack.pages(); !slices.Contains(got, "ben") {
			t.Errorf("paged %v; want that it escalates to ben", got)
		}
		more := webhook("SlowA", "parsoid", "page", true, time.Now())
		more.Alerts[0].Fingerprint, more.Alerts[0].Labels["instance"] = 7, "two"
		if err := b.Webhook(t.Context(), "main", more); err != nil {
			t.Errorf("another alert of a known incident, the first of its day: %v", err)
		}
		more.Alerts[0].Firing, more.Alerts[0].EndsAt = false, time.Now()
		if err := b.Webhook(t.Context(), "main", more); err != nil {
			t.Errorf("its resolve: %v", err)
		}
		list, _, err := b.Incidents(t.Context(), Filter{})
		if err != nil || len(list) != 2 {
			t.Fatalf("incidents: %d, %v", len(list), err)
		}
		for _, inc := range list {
			if _, _, err := b.Do(t.Context(), inc.ID, escalation.Acknowledge{By: escalation.Actor{Handle: "ben", Via: "slack"}}); err != nil {
				t.Errorf("acknowledge: %v", err)
			}
		}
		for _, name := range []string{"SlowA", "SlowB"} {
			if err := b.Webhook(t.Context(), "main", webhook(name, "parsoid", "page", false, began)); err != nil {
				t.Errorf("resolve: %v", err)
			}
		}
		time.Sleep(time.Hour)
		for _, inc := range list {
			rs, err := st.Load(t.Context(), partitionOf(t, inc.ID), "i/"+inc.ID, "c/"+inc.ID)
			if err != nil || rs[0].Version != 0 || rs[1].Version == 0 {
				t.Errorf("%s is not filed away: %+v, %v", inc.ID, rs, err)
			}
		}
	})
}

// partly is a store of which only the partitions from an index on answer.
type partly struct {
	*mem.Store
	from int
}

func (s partly) Load(ctx context.Context, partition uint8, ids ...string) ([]store.Record, error) {
	if int(partition) < s.from {
		return nil, errors.New("it is away")
	}
	return s.Store.Load(ctx, partition, ids...)
}

// A part of the store that is away takes no replica out of service.
func TestReadyWithAPart(t *testing.T) {
	t.Parallel()
	for from, ready := range map[int]bool{0: true, 1: true, store.Partitions * 2 / 3: true, store.Partitions: false} {
		e := New(Config{Store: partly{mem.New(), from}, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)}, snapshot(t, nil))
		if err := e.Ready(t.Context()); (err == nil) != ready {
			t.Errorf("without the first %d partitions: %v", from, err)
		}
	}
}

func partitionOf(t *testing.T, id string) uint8 {
	t.Helper()
	p, ok := escalation.Partition(id)
	if !ok {
		t.Fatalf("%s has no partition", id)
	}
	return p
}

// A process that is told to stop ends within seconds although a channel hangs,
// sends nothing new, and the next one sends what was cut.
func TestStopsWhileAChannelHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := alone{mem.New()}
		hangs := &fake{takes: time.Hour}
		a := start(t, st, hangs, hangs)
		if err := a.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		began := time.Now()
		a.stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("stopping took %v", took)
		}
		b := start(t, st, &fake{}, &fake{})
		time.Sleep(5 * time.Second)
		if got := b.slack.pages(); !slices.Equal(got, []string{"ana"}) {
			t.Errorf("paged %v by the next process; want ana", got)
		}
	})
}

// deaf is a channel that does not even notice when its time is over.
type deaf struct{ woken chan struct{} }

func (d deaf) Deliver(context.Context, notifiers.Message) notifiers.Result {
	<-d.woken
	return notifiers.Result{Verdict: notifiers.Ambiguous}
}

func (deaf) Probe(context.Context) error { return nil }

// A stop waits for nothing longer than it promises: what does not end is left to
// its lease, and another process sends it.
func TestStopsWhileAnAttemptDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		channel := deaf{make(chan struct{})}
		e := New(Config{Store: st.Open(), Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))},
			snapshot(t, map[string]Channel{notifiers.Slack: channel, notifiers.Email: channel}))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = e.Run(ctx) }()
		if err := e.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		stop()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Error("it has not stopped after 5 s")
		}
		b := start(t, st.Open(), &fake{}, &fake{})
		time.Sleep(11 * time.Second)
		if got := b.slack.pages(); !slices.Equal(got, []string{"ana"}) {
			t.Errorf("after the lease: %v; want ana paged by the other process", got)
		}
		close(channel.woken)
		<-ended
	})
}

func TestOneBadAddressIsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slack, email := &fake{}, &fake{}
		b := start(t, mem.New(), slack, email)
		email.fails(func(m notifiers.Message) notifiers.Result {
			if m.Address == "ana@example.org" {
				return notifiers.Result{Verdict: notifiers.Retry, Err: errors.New("450 greylisted")}
			}
			return notifiers.Result{}
		})
		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if why := b.health["email"].why(); why != "" {
			t.Error("one greylisted address took the whole channel down:", why)
		}
	})
}

// What is not needed any more gives its turn to what is.
func TestTurnsOfResolvedIncidentsAreFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		for i := range 60 {
			if err := b.Webhook(t.Context(), "main", webhook(fmt.Sprint("Slow", string(rune('A'+i))), "parsoid", "page", true, time.Now())); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		list, _, _ := b.Incidents(t.Context(), Filter{})
		for _, inc := range list {
			if _, _, err := b.Do(t.Context(), inc.ID, escalation.ResolveByHand{By: escalation.Actor{Handle: "ana"}}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		before := len(b.slack.pages())
		began := time.Now()
		if err := b.Webhook(t.Context(), "main", webhook("Fresh", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		for len(b.slack.pages()) == before && time.Since(began) < time.Minute {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the page of the only open incident left after %v", took)
		}
	})
}

// A damaged record costs what it held, not its neighbours and not the next page.
func TestDamagedRecordsAreContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		b := start(t, st, &fake{}, &fake{})
		w := webhook("Slow", "parsoid", "page", true, time.Now())
		if err := b.Webhook(t.Context(), "main", w); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		inc := only(t, b.Engine)
		partition, _ := escalation.Partition(inc.ID)
		if !st.Damage(store.Key{Partition: partition, ID: "i/" + inc.ID}) {
			t.Fatal("no such record")
		}
		before := len(b.slack.pages())
		if err := b.Webhook(t.Context(), "main", w); err != nil {
			t.Error("webhook of a group with a damaged incident:", err)
		}
		time.Sleep(2 * time.Second)
		if len(b.slack.pages()) != before+1 {
			t.Error("the alert of the damaged incident pages nobody")
		}
		gid, _ := escalation.GroupID("main", w.GroupLabels)
		st.Damage(store.Key{Partition: partition, ID: "g/" + gid})
		if err := b.Webhook(t.Context(), "main", w); err != nil {
			t.Error("webhook of a damaged group:", err)
		}
		if _, _, err := b.Incidents(t.Context(), Filter{}); err != nil {
			t.Error("list:", err)
		}
	})
}

// In shadow mode nothing leaves, and what would have is recorded.
func TestShadow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		snap := *b.Snapshot()
		cfg := *snap.Config
		cfg.Shadow.V = true
		snap.Config = &cfg
		b.Reload(&snap)
		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if n := len(b.slack.all()) + len(b.email.all()); n != 0 {
			t.Errorf("%d messages were sent in shadow mode", n)
		}
		today := b.Now().UTC().Format(time.DateOnly)
		facts, err := b.Facts(t.Context(), today, today)
		if err != nil || len(facts) != 1 || facts[0].Shadow["ana"] != 1 || facts[0].Shadow["ben"] == 0 || facts[0].Pages != 0 {
			t.Errorf("recorded %+v, %v; want ana and ben who would have been paged", facts, err)
		}
	})
}

// A link lives for a week from the mail, however old the incident is.
func TestLinksOfOldIncidentsLive(t *testing.T) {
	snap := snapshot(t, nil)
	var until time.Time
	snap.Link = func(_, _ string, expires time.Time) string { until = expires; return "x" }
	now := time.Now()
	inc := escalation.Incident{ID: "aa-b", State: escalation.Triggered, OpenedAt: escalation.At(now.Add(-8 * 24 * time.Hour))}
	you(snap, &inc, escalation.Delivery{Channel: "email", To: "ana"}, now)
	if until.Before(now.Add(24 * time.Hour)) {
		t.Errorf("a mail sent now carries a link that ends at %v", until)
	}
}

// What is recorded of an incident's life is counted once, and right.
func TestFacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		w := webhook("Slow", "parsoid", "page", true, time.Now())
		for range 3 { // repeats count nothing
			if err := b.Webhook(t.Context(), "main", w); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(26 * time.Minute) // ana, then ben
		if _, _, err := b.Do(t.Context(), only(t, b.Engine).ID, escalation.Acknowledge{By: escalation.Actor{Handle: "ben", Via: "api"}}); err != nil {
			t.Fatal(err)
		}
		if err := b.Webhook(t.Context(), "main", webhook("Odd", "nobody-knows", "task", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		today := b.Now().UTC().Format(time.DateOnly)
		facts, err := b.Facts(t.Context(), today, today)
		if err != nil || len(facts) != 2 {
			t.Fatalf("%d facts, %v", len(facts), err)
		}
		for _, f := range facts {
			switch f.Subject {
			case "service:parsoid":
				if f.Alerts != 1 || f.Names["Slow"] != 1 || f.Incidents != 1 || f.Pages != 2 || f.Escalations != 1 ||
					f.AckCount != 1 || f.Acks[0].By != "ben" || f.Acks[0].Seconds != 26*60 {
					t.Errorf("recorded %+v", f)
				}
			case "name:nobody-knows":
				if f.Alerts != 1 || len(f.Recorded) != 1 || len(f.Labels) != 1 || f.RiskCounts["unknown_service"] != 1 || f.Incidents != 0 {
					t.Errorf("recorded %+v", f)
				}
			default:
				t.Errorf("recorded %+v", f)
			}
		}
	})
}

// A smarthost that takes its time is not given a second copy meanwhile; one whose
// client died is, within the lease.
func TestSlowMailKeepsItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		slow := &fake{takes: 25 * time.Second}
		a := start(t, st.Open(), &fake{}, slow)
		start(t, st.Open(), &fake{}, slow) // another replica that watches
		if err := a.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if got := slow.pages(); !slices.Equal(got, []string{"ana"}) {
			t.Errorf("mailed %v; want ana once", got)
		}
	})
}

// Between the intent and the first byte somebody answers: nothing is sent any more.
func TestAnsweredBeforeItIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		for range cap(b.slots[notifiers.Slack]) {
			b.slots[notifiers.Slack] <- struct{}{} // all places are taken
		}
		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, a, err := b.Do(t.Context(), only(t, b.Engine).ID, escalation.Acknowledge{By: escalation.Actor{Handle: "ana", Via: "email"}}); err != nil || a.Kind != escalation.Done {
			t.Fatal(a, err)
		}
		for range cap(b.slots[notifiers.Slack]) {
			<-b.slots[notifiers.Slack]
		}
		time.Sleep(time.Minute)
		if got := b.slack.pages(); len(got) != 0 {
			t.Errorf("paged %v after the acknowledgement was confirmed", got)
		}
	})
}

// Somebody else was faster: it is decided again, nothing is answered for nothing.
func TestConflictsAreDecidedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		e := New(Config{Store: st, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)},
			snapshot(t, map[string]Channel{notifiers.Slack: &fake{}, notifiers.Email: &fake{}}))
		once := func() {
			left := 1
			st.Inject(func(op string) (bool, error) {
				if op != "commit" || left == 0 {
					return false, nil
				}
				left--
				return false, store.ErrConflict
			})
		}
		once()
		if err := e.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		id := only(t, e).ID
		e.work.Wait()
		once()
		if inc, _, err := e.Do(t.Context(), id, escalation.Acknowledge{By: escalation.Actor{Handle: "ana"}}); err != nil || inc.AcknowledgedBy() != "ana" {
			t.Fatal(inc.Summary(), err)
		}
		if inc := only(t, e); inc.AcknowledgedBy() != "ana" {
			t.Error("an acknowledgement was confirmed and not stored:", inc.Summary())
		}
	})
}

// A step some seconds away is taken in time, also when the record was claimed for
// something else just before and the loop would sleep until that lease is over.
func TestStepsOfSecondsAreInTime(t *testing.T) {
	for _, wait := range []time.Duration{2 * time.Second, 4 * time.Second, 9 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			slack := &fake{}
			snap := snapshotOf(t, configuration+fmt.Sprintf("escalation: {policies: [{name: default, repeat: 1, steps: [{notify: incident_response, ack_within: %v}, {notify: development, ack_within: 1h}]}]}\n", wait),
				catalogue, map[string]Channel{notifiers.Slack: slack, notifiers.Email: &fake{}})
			e := New(Config{Store: alone{mem.New()}, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}, snap)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); _ = e.Run(ctx) }()
			time.Sleep(time.Minute)
			if err := e.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
				t.Fatal(err)
			}
			time.Sleep(wait + 100*time.Millisecond)
			if inc := only(t, e); inc.Position != 2 {
				t.Errorf("%v and a moment after the page it is at step %d", wait, inc.Position)
			}
			cancel()
			<-done
		})
	}
}

// A process that has its store for itself asks it only once a minute by itself: a
// wake-up that is committed while it sleeps ends the sleep in time, also one that
// is some seconds ahead.
func TestWakeUpsThatAreCommittedDuringASleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slack, email := &fake{}, &fake{}
		b := start(t, alone{mem.New()}, slack, email)
		time.Sleep(3 * time.Second)
		began := time.Now()
		slack.fails(func(notifiers.Message) notifiers.Result {
			if time.Since(began) < 5*time.Second {
				return notifiers.Result{Verdict: notifiers.Retry, After: 7 * time.Second, Err: errors.New("rate limited")}
			}
			return notifiers.Result{}
		})
		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, began)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		if got := slack.pages(); !slices.Equal(got, []string{"ana"}) {
			t.Errorf("paged %v 9 s after Slack asked for 7; want ana", got)
		}
	})
}

// A process that stood still between the intent and the first byte sends nothing
// once its lease is over: by then it may be somebody else's.
func TestNothingIsSentAfterTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slack, email := &fake{}, &fake{}
		e := New(Config{Store: mem.New(), Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
			Begin: func(string) {
				if len(slack.all()) == 0 {
					time.Sleep(escalation.Lease + time.Second)
				}
			}}, snapshot(t, map[string]Channel{notifiers.Slack: slack, notifiers.Email: email}))
		if err := e.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		e.work.Wait() // nobody else takes it up: nothing runs
		if got := append(slack.pages(), email.pages()...); len(got) != 0 {
			t.Errorf("paged %v after the lease", got)
		}
		if d := only(t, e).Deliveries[0]; d.Status != escalation.Pending || d.Maybe != 0 {
			t.Errorf("the delivery is %+v; want it to be made again", d)
		}
	})
}
