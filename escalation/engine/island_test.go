package engine

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"callchain/escalation"
	"callchain/escalation/journal"
	"callchain/escalation/record"
	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/notifiers"
)

// outage is a store that can be away: its calls hang until their context ends,
// as with a server that is stopped.
type outage struct {
	*mem.Store
	away atomic.Bool
	full atomic.Bool
}

var errAway = errors.New("connection refused")

func (s *outage) hang(ctx context.Context) error {
	if !s.away.Load() {
		return nil
	}
	select {
	case <-ctx.Done():
	case <-time.After(4 * time.Second):
	}
	return errAway
}

func (s *outage) Load(ctx context.Context, p uint8, ids ...string) ([]store.Record, error) {
	if err := s.hang(ctx); err != nil {
		return nil, err
	}
	return s.Store.Load(ctx, p, ids...)
}

func (s *outage) Commit(ctx context.Context, txn store.Txn) error {
	if err := s.hang(ctx); err != nil {
		return err
	}
	if s.full.Load() && txn.Grows() {
		return store.ErrFull
	}
	return s.Store.Commit(ctx, txn)
}

func (s *outage) Claim(ctx context.Context, n int, lease time.Duration) (store.Due, error) {
	if s.away.Load() {
		time.Sleep(time.Second)
		return store.Due{}, errAway
	}
	return s.Store.Claim(ctx, n, lease)
}

func (s *outage) Scan(ctx context.Context, prefix string, yield func(store.Record) bool) error {
	if err := s.hang(ctx); err != nil {
		return err
	}
	return s.Store.Scan(ctx, prefix, yield)
}

// castaway is an engine with a journal over a store that can be away.
type castaway struct {
	*Engine
	slack, email *fake
	journal      *journal.Journal
	registry     *prometheus.Registry
	stop         func()
}

func startCastaway(t *testing.T, st store.Store, dir string) *castaway {
	t.Helper()
	return startCastawayWith(t, st, mem.New(), dir)
}

func startCastawayWith(t *testing.T, st, scratch store.Store, dir string) *castaway {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	j, err := journal.Open(dir, 1<<20, log)
	if err != nil {
		t.Fatal(err)
	}
	c := &castaway{slack: &fake{}, email: &fake{}, journal: j, registry: prometheus.NewRegistry()}
	c.Engine = New(Config{Store: st, Registerer: c.registry, Logger: log, Island: &Island{Journal: j, Scratch: scratch}},
		snapshot(t, map[string]Channel{notifiers.Slack: c.slack, notifiers.Email: c.email}))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(ctx) })
	wg.Go(func() { _ = c.RunGauges(ctx) })
	c.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(c.stop)
	return c
}

func (c *castaway) fire(t *testing.T, name string, firing bool, starts time.Time) {
	t.Helper()
	begin := time.Now()
	if err := c.Webhook(t.Context(), "main", webhook(name, "parsoid", "page", firing, starts)); err != nil {
		t.Fatalf("webhook of %s: %v", name, err)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("webhook of %s took %v", name, took)
	}
}

// the first page of an alert, on the island and after it.
func pagesOf(f *fake, alert string) (first []delivered) {
	for _, d := range f.all() {
		if d.Kind == notifiers.Page && !d.Edit && string(d.Incident.AlertName) == alert {
			first = append(first, d)
		}
	}
	return first
}

var ana = escalation.Actor{Handle: "ana", Name: "ana", Via: "slack"}

// What arrives while the store is away is paged at once, once, and is an
// incident like any other when the store is back.
func TestIsland(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &outage{Store: mem.New()}
		c := startCastaway(t, st, t.TempDir())
		began := time.Now()
		c.fire(t, "Before", true, began)
		time.Sleep(20 * time.Second)
		before := only(t, c.Engine)

		st.away.Store(true)
		if got := testutil.ToFloat64(c.metrics.island); got != 0 {
			t.Errorf("on the island %v before anything was asked", got)
		}
		lost := time.Now()
		c.fire(t, "Before", true, began) // Alertmanager repeats it
		c.fire(t, "During", true, lost)
		c.fire(t, "Brief", true, lost)
		time.Sleep(2 * time.Second)
		if got := pagesOf(c.slack, "Before"); len(got) != 1 {
			t.Errorf("%d pages of an alert that was known; want the one of before", len(got))
		}
		during := pagesOf(c.slack, "During")
		if len(during) != 1 || during[0].at.Sub(lost) > 2*time.Second || !during[0].You.MayCome2 || !slices.Contains(during[0].Incident.Notes, islandNote) {
			t.Fatalf("new alert on the island: %+v; want one page within 2 s that says that it may come twice, and why", during)
		}
		if err := c.Ready(t.Context()); err != nil {
			t.Errorf("not ready although the journal takes everything: %v", err)
		}
		if got := testutil.ToFloat64(c.metrics.island); got != 1 {
			t.Errorf("callchain_island = %v, want 1", got)
		}

		// Nothing escalates, however long it takes; answers are recorded.
		time.Sleep(time.Hour)
		if got := c.slack.pages(); slices.Contains(got, "ben") {
			t.Errorf("paged %v: somebody was escalated to on the island", got)
		}
		id := during[0].Incident.ID
		for _, id := range []string{id, before.ID} {
			inc, answer, err := c.Do(t.Context(), id, escalation.Acknowledge{By: ana})
			if err != nil || answer.Kind != escalation.Recorded {
				t.Errorf("acknowledge %s = %+v, %v; want it recorded", id, answer, err)
			}
			if want := map[bool]escalation.State{true: escalation.Triggered, false: escalation.Acknowledged}[id == before.ID]; inc.State != want {
				t.Errorf("%s is said to be %q, want %s", id, inc.State, want)
			}
		}
		acked := time.Now()
		c.fire(t, "Brief", false, lost)
		if got := testutil.ToFloat64(c.metrics.journalBacklog); got < 6 {
			t.Errorf("callchain_journal_backlog = %v; want what was kept", got)
		}
		time.Sleep(10 * time.Minute)

		st.away.Store(false)
		time.Sleep(10 * time.Second)
		for _, id := range []string{id, before.ID} {
			inc, err := c.Incident(t.Context(), id)
			if err != nil || inc.State != escalation.Acknowledged || inc.Ack.Handle != "ana" || inc.Ack.At.Time().Sub(acked).Abs() > time.Millisecond {
				t.Errorf("%s after the outage: %v %+v, %v; want it acknowledged by ana, when she said so", id, inc.State, inc.Ack, err)
			}
		}
		brief, err := c.Incident(t.Context(), pagesOf(c.slack, "Brief")[0].Incident.ID)
		if err != nil || brief.State != escalation.Resolved || brief.OpenedAt.Time().Sub(lost) > 2*time.Second {
			t.Errorf("an alert that came and went = %v, opened %v, %v", brief.State, brief.OpenedAt.Time(), err)
		}
		time.Sleep(time.Hour)
		for _, name := range []string{"Before", "During", "Brief"} {
			if got := pagesOf(c.slack, name); len(got) != 1 {
				t.Errorf("%d first pages of %s over Slack, want 1", len(got), name)
			}
			if got := pagesOf(c.email, name); len(got) != 1 {
				t.Errorf("%d first pages of %s by mail, want 1", len(got), name)
			}
		}
		if got := c.slack.pages(); slices.Contains(got, "ben") {
			t.Errorf("paged %v: an acknowledgement did not hold", got)
		}
		if n := c.journal.Backlog(); n != 0 {
			t.Errorf("%d entries are left in the journal", n)
		}
		if up, island := testutil.ToFloat64(c.metrics.storeUp), testutil.ToFloat64(c.metrics.island); up != 1 || island != 0 {
			t.Errorf("store up %v, island %v after the outage", up, island)
		}
		// The messages of the island follow the incident.
		var last notifiers.Message
		for _, d := range c.slack.all() {
			if d.Kind == notifiers.Page && d.Incident.ID == id {
				last = d.Message
			}
		}
		if !last.Edit || last.Incident.State != notifiers.Acknowledged || slices.Contains(last.Incident.Notes, islandNote) {
			t.Errorf("the page shows %v (edit %v, notes %q)", last.Incident.State, last.Edit, last.Incident.Notes)
		}
	})
}

// The wait of a step begins when the store is back, and then goes on as ever.
func TestIslandEscalatesAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &outage{Store: mem.New()}
		c := startCastaway(t, st, t.TempDir())
		st.away.Store(true)
		c.fire(t, "During", true, time.Now())
		time.Sleep(time.Hour)
		st.away.Store(false)
		back := time.Now()
		time.Sleep(5 * time.Minute)
		if got := c.slack.pages(); slices.Contains(got, "ben") {
			t.Errorf("paged %v five minutes after the outage; the wait begins anew", got)
		}
		time.Sleep(25 * time.Minute)
		got := pagesOf(c.slack, "During")
		if len(got) != 2 || got[1].You.Handle != "ben" || got[1].at.Sub(back) > 26*time.Minute || got[1].You.MayCome2 {
			t.Errorf("pages %+v; want ben's when the wait is over that began with the store, which does not come twice", got)
		}
	})
}

// A process that is killed on the island leaves all of it to the next start:
// what was answered is an incident, and the page that arrived is not sent again.
func TestIslandSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared, dir := mem.New(), t.TempDir()
		st := &outage{Store: shared.Open()}
		c := startCastaway(t, st, dir)
		st.away.Store(true)
		c.fire(t, "Arrived", true, time.Now())
		time.Sleep(3 * time.Second)
		c.slack.fails(func(notifiers.Message) notifiers.Result {
			return notifiers.Result{Verdict: notifiers.Retry, Err: errors.New("busy")}
		})
		c.fire(t, "Pending", true, time.Now())
		time.Sleep(time.Second)
		arrived := pagesOf(c.slack, "Arrived")[0].Incident.ID
		if _, _, err := c.Do(t.Context(), arrived, escalation.Acknowledge{By: ana}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		c.stop()

		c = startCastaway(t, &outage{Store: shared.Open()}, dir)
		time.Sleep(10 * time.Second)
		list, _, err := c.Incidents(t.Context(), Filter{})
		if err != nil || len(list) != 2 {
			t.Fatalf("%d incidents, %v; want both", len(list), err)
		}
		if inc, err := c.Incident(t.Context(), arrived); err != nil || inc.State != escalation.Acknowledged {
			t.Errorf("%s is %v, %v; want the acknowledgement", arrived, inc.State, err)
		}
		if got := pagesOf(c.slack, "Arrived"); len(got) != 0 {
			t.Errorf("a page that had arrived came again %d times", len(got))
		}
		if got := pagesOf(c.slack, "Pending"); len(got) != 1 || !got[0].You.MayCome2 {
			t.Errorf("a page of which nothing is known: %+v; want it once, marked", got)
		}
		if got := testutil.ToFloat64(c.metrics.duplicatePages.WithLabelValues(byIsland)); got != 1 {
			t.Errorf("%v duplicates by the island are counted, want 1", got)
		}
		time.Sleep(time.Hour)
		c.stop()
		c = startCastaway(t, &outage{Store: shared.Open()}, dir)
		if n := c.journal.Backlog(); n != 0 {
			t.Errorf("%d entries came up again", n)
		}
	})
}

// Another replica, which reaches the store, had the same alert: then there is one
// incident, and the buttons of the island's page lead to it.
func TestIslandOfOneReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := mem.New()
		other := startCastaway(t, &outage{Store: shared.Open()}, t.TempDir())
		st := &outage{Store: shared.Open()}
		c := startCastaway(t, st, t.TempDir())
		st.away.Store(true)
		began := time.Now()
		c.fire(t, "Both", true, began)
		time.Sleep(time.Second)
		other.fire(t, "Both", true, began)
		time.Sleep(time.Second)
		there, here := only(t, other.Engine), pagesOf(c.slack, "Both")[0].Incident.ID
		if there.ID == here {
			t.Fatal("the two replicas gave one id: the test shows nothing")
		}
		if _, answer, err := c.Do(t.Context(), here, escalation.Acknowledge{By: ana}); err != nil || answer.Kind != escalation.Recorded {
			t.Errorf("acknowledge = %+v, %v", answer, err)
		}
		if _, answer, err := c.Do(t.Context(), here, escalation.Acknowledge{By: ana}); err != nil || answer.Kind != escalation.Already || !answer.Kept {
			t.Errorf("acknowledge again = %+v, %v; want it said that it is recorded only", answer, err)
		}
		st.away.Store(false)
		time.Sleep(10 * time.Second)
		inc := only(t, c.Engine)
		if inc.ID != there.ID || inc.State != escalation.Acknowledged {
			t.Errorf("%s is %v; want %s acknowledged through the button of %s", inc.ID, inc.State, there.ID, here)
		}
		if inc, err := c.Incident(t.Context(), here); err != nil || inc.ID != there.ID {
			t.Errorf("%s leads to %q, %v", here, inc.ID, err)
		}
		if got := testutil.ToFloat64(c.metrics.duplicatePages.WithLabelValues(byIsland)); got != 2 {
			t.Errorf("%v duplicates counted, want those over Slack and by mail", got)
		}
	})
}

// The store goes away just after a webhook was answered: its page does not wait
// for it, and is not repeated when it is back.
func TestIslandAdoptsPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &outage{Store: mem.New()}
		c := startCastaway(t, st, t.TempDir())
		began := time.Now()
		busy := 2
		c.slack.fails(func(notifiers.Message) notifiers.Result {
			if busy--; busy < 0 {
				return notifiers.Result{}
			}
			return notifiers.Result{Verdict: notifiers.Retry, Err: errors.New("busy")}
		})
		c.fire(t, "Cut", true, began)
		st.away.Store(true)
		time.Sleep(time.Minute)
		if got := pagesOf(c.slack, "Cut"); len(got) != 1 || got[0].at.Sub(began) > escalation.Lease {
			t.Fatalf("pages %+v; want one soon", got)
		}
		st.away.Store(false)
		time.Sleep(time.Minute)
		if got := pagesOf(c.slack, "Cut"); len(got) != 1 {
			t.Errorf("%d pages after the outage, want 1", len(got))
		}
		inc := only(t, c.Engine)
		if d := inc.Deliveries[0]; d.Status != escalation.Sent || d.Reached == 0 {
			t.Errorf("its page is recorded as %+v", d)
		}
	})
}

// Who is cut off cannot know that somebody has answered: it tries a page that was
// committed for as long as nobody else may send it, and leaves it to them then. If
// nobody reaches the store, the alert pages here when it comes again.
func TestAdoptedPagesEndWithTheirLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := mem.New()
		other := startCastaway(t, &outage{Store: shared.Open()}, t.TempDir())
		st := &outage{Store: shared.Open()}
		c := startCastaway(t, st, t.TempDir())
		down := func(notifiers.Message) notifiers.Result {
			return notifiers.Result{Verdict: notifiers.Retry, Err: errors.New("busy")}
		}
		began, tried := time.Now(), time.Time{}
		c.slack.fails(func(m notifiers.Message) notifiers.Result {
			tried = time.Now()
			return down(m)
		})
		c.email.fails(down)
		c.fire(t, "Cut", true, began)
		st.away.Store(true)
		time.Sleep(escalation.Lease + 2*time.Second)
		inc := only(t, other.Engine)
		if got := pagesOf(other.slack, "Cut"); len(got) != 1 {
			t.Fatalf("%d pages by who reaches the store, want one when the lease is over", len(got))
		}
		if _, answer, err := other.Do(t.Context(), inc.ID, escalation.Acknowledge{By: ana}); err != nil || answer.Kind != escalation.Done {
			t.Fatalf("acknowledge = %+v, %v", answer, err)
		}
		c.slack.fails(nil)
		c.email.fails(nil)
		time.Sleep(5 * time.Minute)
		if got := append(pagesOf(c.slack, "Cut"), pagesOf(c.email, "Cut")...); len(got) != 0 {
			t.Errorf("%d pages after the acknowledgement, by who is cut off", len(got))
		}
		if d := tried.Sub(began); d < 3*time.Second || d > escalation.Lease {
			t.Errorf("last tried after %v, want it tried for as long as its lease lasts", d)
		}
		c.fire(t, "Cut", true, began) // Alertmanager repeats it
		time.Sleep(time.Second)
		if got := pagesOf(c.slack, "Cut"); len(got) != 1 || !got[0].You.MayCome2 {
			t.Errorf("pages %+v of an alert that comes again, want one that says that it may come twice", got)
		}
		st.away.Store(false)
		time.Sleep(time.Minute)
		if inc := only(t, other.Engine); inc.State != escalation.Acknowledged {
			t.Errorf("it is %s after the outage", inc.State)
		}
	})
}

// cutOff is a store that goes away with the commit of a step.
type cutOff struct {
	*outage
	step int
}

func (s *cutOff) Commit(ctx context.Context, txn store.Txn) error {
	err := s.outage.Commit(ctx, txn)
	for _, w := range txn.Writes {
		var inc escalation.Incident
		if strings.HasPrefix(w.ID, "i/") && record.Decode(w.Data, &inc) == nil && inc.Position == s.step {
			s.step = 0
			s.away.Store(true)
		}
	}
	return err
}

// A later step is paged by whoever can look whether somebody has answered.
func TestLaterPagesAreNotAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &cutOff{&outage{Store: mem.New()}, 2}
		c := startCastaway(t, st, t.TempDir())
		c.fire(t, "Slow", true, time.Now())
		time.Sleep(30 * time.Minute)
		if !st.away.Load() {
			t.Fatal("no second step was taken: the test shows nothing")
		}
		if got := pagesOf(c.slack, "Slow"); len(got) != 1 {
			t.Errorf("%d pages on the island, want that of the first step", len(got))
		}
		st.away.Store(false)
		time.Sleep(time.Minute)
		if got := pagesOf(c.slack, "Slow"); len(got) < 2 {
			t.Errorf("%d pages after it, want that of the second step too", len(got))
		}
	})
}

// far is a store whose commits take their time.
type far struct{ *outage }

func (s far) Commit(ctx context.Context, txn store.Txn) error {
	time.Sleep(50 * time.Millisecond)
	return s.outage.Commit(ctx, txn)
}

// What is sent from the island for an incident that it has already is known when
// the webhook that caused it is gone through.
func TestOutcomesOfASecondWebhook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &outage{Store: mem.New()}
		c := startCastaway(t, far{st}, t.TempDir())
		st.away.Store(true)
		w := webhook("Worse", "parsoid", "page", true, time.Now())
		if err := c.Webhook(t.Context(), "main", w); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		id := pagesOf(c.slack, "Worse")[0].Incident.ID
		if _, _, err := c.Do(t.Context(), id, escalation.Acknowledge{By: ana}); err != nil {
			t.Fatal(err)
		}
		a := w.Alerts[0]
		a.Fingerprint++
		a.Labels = map[string]string{"alertname": "Worse", "service": "parsoid", "severity": "emergency"}
		w.Alerts = append(w.Alerts, a)
		if err := c.Webhook(t.Context(), "main", w); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if n := len(pagesOf(c.email, "Worse")); n != 2 {
			t.Fatalf("%d mails, want one for each urgency: the test shows nothing", n)
		}
		st.away.Store(false)
		time.Sleep(20 * time.Second)
		for _, f := range []*fake{c.slack, c.email} {
			if n := len(pagesOf(f, "Worse")); n != 2 {
				t.Errorf("%d pages after it was gone through, 2 before", n)
			}
		}
	})
}

// An acknowledgement that was gone through, and has ended since, does not begin
// again when its entry comes up a second time.
func TestEndedAcknowledgementStaysEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared, dir, copied := mem.New(), t.TempDir(), t.TempDir()
		st := &outage{Store: shared.Open()}
		c := startCastaway(t, st, dir)
		c.fire(t, "Slow", true, time.Now())
		time.Sleep(time.Second)
		inc := only(t, c.Engine)
		st.away.Store(true)
		if _, answer, err := c.Do(t.Context(), inc.ID, escalation.Acknowledge{By: ana}); err != nil || answer.Kind != escalation.Recorded {
			t.Fatalf("acknowledge = %+v, %v", answer, err)
		}
		if err := os.CopyFS(filepath.Join(copied, "journal"), os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		st.away.Store(false)
		time.Sleep(20 * time.Second)
		if _, answer, err := c.Do(t.Context(), inc.ID, escalation.Unacknowledge{By: ana}); err != nil || answer.Kind != escalation.Done {
			t.Fatalf("unacknowledge = %+v, %v", answer, err)
		}
		c.stop()
		c = startCastaway(t, &outage{Store: shared.Open()}, filepath.Join(copied, "journal"))
		if c.journal.Backlog() != 1 {
			t.Fatal("the copy of the journal lacks it: the test shows nothing")
		}
		time.Sleep(20 * time.Second)
		if inc := only(t, c.Engine); inc.State != escalation.Triggered || c.journal.Backlog() != 0 {
			t.Errorf("it is %s again, %d entries left", inc.State, c.journal.Backlog())
		}
	})
}

// A store that is full refuses new incidents only: those are paged from the
// island, all else goes on as ever.
func TestIslandOfAFullStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &outage{Store: mem.New()}
		c := startCastaway(t, st, t.TempDir())
		c.fire(t, "Before", true, time.Now())
		time.Sleep(time.Second)
		known := only(t, c.Engine)
		st.full.Store(true)
		c.fire(t, "New", true, time.Now())
		time.Sleep(2 * time.Second)
		page := pagesOf(c.slack, "New")
		if len(page) != 1 {
			t.Fatalf("%d pages of a new alert, want 1", len(page))
		}
		if _, answer, err := c.Do(t.Context(), known.ID, escalation.Acknowledge{By: ana}); err != nil || answer.Kind != escalation.Done {
			t.Errorf("acknowledge what is in the store = %+v, %v", answer, err)
		}
		if _, answer, err := c.Do(t.Context(), page[0].Incident.ID, escalation.Acknowledge{By: ana}); err != nil || answer.Kind != escalation.Recorded {
			t.Errorf("acknowledge what is on the island = %+v, %v", answer, err)
		}
		time.Sleep(time.Minute)
		st.full.Store(false)
		time.Sleep(10 * time.Second)
		if inc, err := c.Incident(t.Context(), page[0].Incident.ID); err != nil || inc.State != escalation.Acknowledged {
			t.Errorf("the new one is %v, %v", inc.State, err)
		}
		if got := pagesOf(c.slack, "New"); len(got) != 1 {
			t.Errorf("%d pages of it, want 1", len(got))
		}
	})
}

// When neither takes it, it is not answered as if it was kept.
func TestNeitherStoreNorJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &outage{Store: mem.New()}
		c := startCastaway(t, st, t.TempDir())
		st.away.Store(true)
		time.Sleep(5 * time.Second)
		if err := c.journal.Close(); err != nil {
			t.Fatal(err)
		}
		err := c.Webhook(t.Context(), "main", webhook("Lost", "parsoid", "page", true, time.Now()))
		if !errors.Is(err, journal.ErrClosed) {
			t.Errorf("webhook = %v, want an error", err)
		}
		time.Sleep(time.Second)
		if got := pagesOf(c.slack, "Lost"); len(got) != 1 {
			t.Errorf("%d pages; somebody is woken all the same", len(got))
		}
		if err := c.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "journal") {
			t.Errorf("ready = %v", err)
		}
		if _, _, err := c.Do(t.Context(), "aa-aaaaaaaaaa", escalation.Acknowledge{By: ana}); err == nil {
			t.Error("an acknowledgement that nobody keeps was confirmed")
		}
	})
}

// Blips, and a store that hangs for a moment, make no island.
func TestShortOutageIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &outage{Store: mem.New()}
		st.Inject(func(string) (bool, error) { time.Sleep(300 * time.Millisecond); return false, nil })
		c := startCastaway(t, st, t.TempDir())
		c.fire(t, "Slow", true, time.Now())
		time.Sleep(5 * time.Second)
		if got := pagesOf(c.slack, "Slow"); len(got) != 1 || got[0].You.MayCome2 {
			t.Errorf("pages %+v; want one, from the store", got)
		}
		if n := c.journal.Backlog(); n != 0 || testutil.ToFloat64(c.metrics.island) != 0 {
			t.Errorf("%d entries in the journal, on the island: %v", n, testutil.ToFloat64(c.metrics.island))
		}
	})
}

// A process that dies after it went through the journal, and before any of the
// marks came to the disk, goes through it again: nothing changes by that, and
// nobody is paged.
func TestJournalTwiceIsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared, dir := mem.New(), t.TempDir()
		st := &outage{Store: shared.Open()}
		c := startCastaway(t, st, dir)
		st.away.Store(true)
		began := time.Now()
		for _, name := range []string{"OpenA", "AckedB", "OverC"} {
			c.fire(t, name, true, began)
		}
		time.Sleep(5 * time.Second)
		if _, _, err := c.Do(t.Context(), pagesOf(c.slack, "AckedB")[0].Incident.ID, escalation.Acknowledge{By: ana}); err != nil {
			t.Fatal(err)
		}
		c.fire(t, "OverC", false, began)
		time.Sleep(5 * time.Minute)
		c.stop()
		copied := t.TempDir()
		if err := os.CopyFS(filepath.Join(copied, "journal"), os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}

		states := func(c *castaway) map[string]escalation.State {
			list, _, err := c.Incidents(t.Context(), Filter{})
			if err != nil {
				t.Fatal(err)
			}
			all := map[string]escalation.State{}
			for _, inc := range list {
				all[inc.ID] = inc.State
			}
			return all
		}
		c = startCastaway(t, &outage{Store: shared.Open()}, dir)
		time.Sleep(10 * time.Second)
		once := states(c)
		c.stop()
		if len(once) != 3 || c.journal.Backlog() != 0 {
			t.Fatalf("after the first time: %v, %d entries left", once, c.journal.Backlog())
		}
		time.Sleep(5 * time.Minute) // longer than a late copy is known as one
		c = startCastaway(t, &outage{Store: shared.Open()}, filepath.Join(copied, "journal"))
		if c.journal.Backlog() < 5 {
			t.Fatal("the copy of the journal is empty: the test shows nothing")
		}
		time.Sleep(10 * time.Second)
		if twice := states(c); !maps.Equal(once, twice) {
			t.Errorf("the second time %v, the first %v", twice, once)
		}
		for _, f := range []*fake{c.slack, c.email} {
			if got := f.pages(); len(got) > 0 {
				t.Errorf("paged %v by going through it again", got)
			}
		}
		if n := c.journal.Backlog(); n != 0 {
			t.Errorf("%d entries are left", n)
		}
	})
}

// Beats that come while the store is away are taken, in good time, and the time
// without a store counts as no silence.
func TestBeatsOnTheIsland(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &outage{Store: mem.New()}
		c := startCastaway(t, st, t.TempDir())
		c.Reload(snapshotOf(t, heartbeats, catalogue, map[string]Channel{notifiers.Slack: c.slack, notifiers.Email: c.email}))
		c.fire(t, "Watchdog", true, time.Now())
		time.Sleep(time.Minute)
		st.away.Store(true)
		for range 10 {
			c.fire(t, "Watchdog", true, time.Now())
			time.Sleep(2 * time.Minute)
		}
		st.away.Store(false)
		time.Sleep(time.Minute)
		c.fire(t, "Watchdog", true, time.Now())
		time.Sleep(4 * time.Minute)
		if got := c.slack.pages(); len(got) > 0 {
			t.Errorf("paged %v for a heartbeat that never stopped", got)
		}
	})
}

// wedge lets something happen between the journal and the scratch store, once.
type wedge struct {
	*mem.Store
	between atomic.Pointer[func(store.Txn)]
}

func (s *wedge) Commit(ctx context.Context, txn store.Txn) error {
	if len(txn.Writes) > 2 {
		if between := s.between.Swap(nil); between != nil {
			(*between)(txn)
		}
	}
	return s.Store.Commit(ctx, txn)
}

// The ids that people see on a page are those in the journal, also when the
// webhook had to be decided again because somebody else was faster: else their
// acknowledgement is for nothing when the store is back.
func TestIslandKeepsTheIDsItTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &outage{Store: mem.New()}
		scratch := &wedge{Store: mem.New()}
		c := startCastawayWith(t, st, scratch, t.TempDir())
		st.away.Store(true)
		began := time.Now()
		w := webhook("Slow", "parsoid", "page", true, began)
		if err := c.Webhook(t.Context(), "main", w); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		known := pagesOf(c.slack, "Slow")[0].Incident.ID
		// The same group brings more of the one subject, and another one.
		for i, service := range []string{"parsoid", "search"} {
			a := w.Alerts[0]
			a.Fingerprint += uint64(i) + 1
			a.Labels = map[string]string{"alertname": "Slow", "service": service, "severity": "page", "n": service}
			w.Alerts = append(w.Alerts, a)
		}
		between := func(store.Txn) {
			time.Sleep(time.Second)
			if _, _, err := c.island.inner.Do(t.Context(), known, escalation.Acknowledge{By: ana}); err != nil {
				t.Error(err)
			}
		}
		scratch.between.Store(&between)
		if err := c.Webhook(t.Context(), "main", w); err != nil {
			t.Fatal(err)
		}
		if scratch.between.Load() != nil {
			t.Fatal("nobody was faster: the test shows nothing")
		}
		time.Sleep(2 * time.Second)
		var other string
		for _, page := range pagesOf(c.slack, "Slow") {
			if page.Incident.ID != known {
				other = page.Incident.ID
			}
		}
		if _, answer, err := c.Do(t.Context(), other, escalation.Acknowledge{By: ana, TakeOver: true}); err != nil || answer.Kind != escalation.Recorded {
			t.Fatalf("acknowledge %q = %+v, %v", other, answer, err)
		}
		st.away.Store(false)
		time.Sleep(time.Minute)
		if inc, err := c.Incident(t.Context(), other); err != nil || inc.State != escalation.Acknowledged {
			t.Errorf("%s after the outage: %v, %v; want it acknowledged", other, inc.State, err)
		}
		for _, f := range []*fake{c.slack, c.email} {
			if n := len(pagesOf(f, "Slow")); n != 2 {
				t.Errorf("%d first pages, want one for each subject", n)
			}
		}
	})
}

// partOf is a store of which one partition can be away; claims go on.
type partOf struct {
	*mem.Store
	gone atomic.Int32 // the partition; -1: none
}

func (s *partOf) Load(ctx context.Context, p uint8, ids ...string) ([]store.Record, error) {
	if s.gone.Load() == int32(p) {
		return nil, errAway
	}
	return s.Store.Load(ctx, p, ids...)
}

func (s *partOf) Commit(ctx context.Context, txn store.Txn) error {
	if s.gone.Load() == int32(txn.Partition) {
		return errAway
	}
	return s.Store.Commit(ctx, txn)
}

// What was answered while a part of the store was away comes before the steps
// that are due when it is back.
func TestTimersWaitForAnswersOfAPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &partOf{Store: mem.New()}
		st.gone.Store(-1)
		c := startCastaway(t, st, t.TempDir())
		c.fire(t, "Slow", true, time.Now())
		inc := only(t, c.Engine)
		p, _ := escalation.Partition(inc.ID)
		time.Sleep(inc.Deadline.Time().Sub(c.Now()) - 20*time.Second)
		st.gone.Store(int32(p))
		if _, answer, err := c.Do(t.Context(), inc.ID, escalation.Acknowledge{By: ana}); err != nil || answer.Kind != escalation.Recorded {
			t.Fatalf("acknowledge = %+v, %v", answer, err)
		}
		time.Sleep(30 * time.Second)
		st.gone.Store(-1)
		time.Sleep(30 * time.Second)
		if got := c.slack.pages(); slices.Contains(got, "ben") {
			t.Errorf("paged %v although ana had answered before", got)
		}
		if inc := only(t, c.Engine); inc.State != escalation.Acknowledged {
			t.Errorf("it is %v", inc.State)
		}
	})
}

// A beat that came while one part of the store was away for a moment was heard.
func TestBeatsOfAPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &partOf{Store: mem.New()}
		st.gone.Store(-1)
		c := startCastaway(t, st, t.TempDir())
		snap := snapshotOf(t, heartbeats, catalogue, map[string]Channel{notifiers.Slack: c.slack, notifiers.Email: c.email})
		c.Reload(snap)
		c.fire(t, "Watchdog", true, time.Now())
		time.Sleep(5 * time.Minute)
		p, _ := heartbeatKey(snap.Config.Alertmanager.Heartbeats[0])
		st.gone.Store(int32(p))
		c.fire(t, "Watchdog", true, time.Now())
		time.Sleep(time.Second)
		st.gone.Store(-1)
		time.Sleep(5*time.Minute - time.Second)
		c.fire(t, "Watchdog", true, time.Now())
		time.Sleep(time.Minute)
		if got := c.slack.pages(); len(got) > 0 {
			t.Errorf("paged %v for a heartbeat that never stopped", got)
		}
		time.Sleep(6 * time.Minute)
		if got := c.slack.pages(); !slices.Equal(got, []string{"ana"}) {
			t.Errorf("then it stops, and paged are %v; want ana", got)
		}
	})
}

// A process that starts with something in the journal counts what the store has
// first: that is no news while it goes through it.
func TestStartWithAJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared, dir := mem.New(), t.TempDir()
		st := &outage{Store: shared.Open()}
		c := startCastaway(t, st, dir)
		began := time.Now()
		c.fire(t, "Before", true, began)
		time.Sleep(20 * time.Second)
		st.away.Store(true)
		c.fire(t, "Before", true, began)
		time.Sleep(2 * time.Second)
		c.stop()
		c = startCastaway(t, &outage{Store: shared.Open()}, dir)
		time.Sleep(2 * time.Second)
		if !c.island.holds() {
			t.Fatal("the journal is done with: the test shows nothing")
		}
		c.fire(t, "Before", true, began)
		time.Sleep(20 * time.Second)
		for _, f := range []*fake{c.slack, c.email} {
			if got := pagesOf(f, "Before"); len(got) > 0 {
				t.Errorf("an alert that was known is paged again by %+v", got[0].Incident.ID)
			}
		}
	})
}

// Outcomes that cannot be recorded while the store is away keep no page of the
// island waiting for a free place.
func TestOutcomesTakeNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &outage{Store: mem.New()}
		c := startCastaway(t, st, t.TempDir())
		c.slots[notifiers.Slack] = make(chan struct{}, 1)
		c.slack.fails(func(notifiers.Message) notifiers.Result {
			st.away.Store(true)
			return notifiers.Result{Verdict: notifiers.Retry, Err: errors.New("busy")}
		})
		c.fire(t, "Stuck", true, time.Now())
		time.Sleep(time.Second)
		c.slack.fails(nil)
		begin := time.Now()
		c.fire(t, "New", true, begin)
		time.Sleep(30 * time.Second)
		if got := pagesOf(c.slack, "New"); len(got) != 1 || got[0].at.Sub(begin) > 5*time.Second {
			t.Errorf("pages %+v; want one within 5 s", got)
		}
	})
}

// A page over the other channel, which only the island came to, is not sent again
// when the store is back.
func TestIslandUsesTheOtherChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &outage{Store: mem.New()}
		c := startCastaway(t, st, t.TempDir())
		c.Reload(snapshotOf(t, configuration, strings.Replace(catalogue, "name: ana,", "name: ana, contact: [email],", 1), map[string]Channel{notifiers.Slack: c.slack, notifiers.Email: c.email}))
		c.email.fails(func(notifiers.Message) notifiers.Result {
			return notifiers.Result{Verdict: notifiers.Refused, Err: errors.New("no such mailbox")}
		})
		st.away.Store(true)
		c.fire(t, "New", true, time.Now())
		time.Sleep(20 * time.Second)
		if got := pagesOf(c.slack, "New"); len(got) != 1 {
			t.Fatalf("%d pages over Slack on the island, want 1", len(got))
		}
		st.away.Store(false)
		time.Sleep(time.Minute)
		if got := pagesOf(c.slack, "New"); len(got) != 1 {
			t.Errorf("%d pages over Slack after it, want the one", len(got))
		}
	})
}

// An answer that another replica took than the one whose island paged waits until
// that one is back as well.
func TestAnswerToAnotherIsland(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := mem.New()
		there, here := &outage{Store: shared.Open()}, &outage{Store: shared.Open()}
		a, b := startCastaway(t, there, t.TempDir()), startCastaway(t, here, t.TempDir())
		there.away.Store(true)
		here.away.Store(true)
		a.fire(t, "New", true, time.Now())
		time.Sleep(2 * time.Second)
		id := pagesOf(a.slack, "New")[0].Incident.ID
		if _, answer, err := b.Do(t.Context(), id, escalation.Acknowledge{By: ana}); err != nil || answer.Kind != escalation.Recorded {
			t.Fatalf("acknowledge = %+v, %v", answer, err)
		}
		here.away.Store(false)
		time.Sleep(time.Minute)
		b.fire(t, "Other", true, time.Now())
		if n := b.journal.Backlog(); n != 1 {
			t.Errorf("%d entries, want the answer alone: the store takes everything else", n)
		}
		there.away.Store(false)
		time.Sleep(20 * time.Second)
		if inc, err := b.Incident(t.Context(), id); err != nil || inc.State != escalation.Acknowledged {
			t.Errorf("%s is %v, %v; want it acknowledged", id, inc.State, err)
		}
		if n := b.journal.Backlog(); n != 0 {
			t.Errorf("%d entries are left", n)
		}
		// As it may be just after the outage, when the other one still goes through it.
		if _, answer, err := b.Do(t.Context(), "aa-aaaaaaaaab", escalation.Acknowledge{By: ana}); err != nil || answer.Kind != escalation.Recorded {
			t.Errorf("acknowledge what is not known yet = %+v, %v; want it recorded", answer, err)
		}
		// One that never comes is given up.
		here.away.Store(true)
		if _, _, err := b.Do(t.Context(), "aa-aaaaaaaaaa", escalation.Acknowledge{By: ana}); err != nil {
			t.Fatal(err)
		}
		here.away.Store(false)
		time.Sleep(11 * time.Minute)
		if n := b.journal.Backlog(); n != 0 {
			t.Errorf("%d entries wait for ever", n)
		}
		time.Sleep(time.Minute)
		if _, _, err := b.Do(t.Context(), "aa-aaaaaaaaab", escalation.Acknowledge{By: ana}); !errors.Is(err, ErrNotFound) {
			t.Errorf("acknowledge what never was = %v", err)
		}
	})
}
