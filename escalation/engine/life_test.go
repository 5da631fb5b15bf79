package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/notifiers"
	"callchain/routing"
)

func (f *fake) of(kind notifiers.Kind) []delivered {
	return slices.DeleteFunc(f.all(), func(d delivered) bool { return d.Kind != kind || d.Edit })
}

// An acknowledgement is asked about and ends although the process was restarted
// meanwhile, and was not there when it was to be asked.
func TestAcknowledgementEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		b := start(t, st, &fake{}, &fake{})
		began := time.Now()
		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, began)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		id := only(t, b.Engine).ID
		ana := escalation.Actor{Handle: "ana"}
		if _, _, err := b.Do(t.Context(), id, escalation.Acknowledge{By: ana}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(19 * time.Hour)
		if got := b.slack.of(notifiers.Question); len(got) > 0 {
			t.Errorf("asked too early: %+v", got)
		}
		b.stop()
		time.Sleep(time.Hour) // it would have been asked

		b = start(t, st, &fake{}, &fake{})
		time.Sleep(time.Second)
		asked, mailed := b.slack.of(notifiers.Question), b.email.of(notifiers.Question)
		if len(asked) != 1 || asked[0].Address != "U01ANA" || asked[0].Ref == (notifiers.Ref{}) || asked[0].Incident.AckExpires.IsZero() {
			t.Fatalf("asked %+v; want ana, in the thread of her page", asked)
		}
		if len(mailed) != 1 || mailed[0].You.AckURL == "" {
			t.Errorf("mailed %+v; want one mail with her link", mailed)
		}
		if _, a, err := b.Do(t.Context(), id, escalation.Acknowledge{By: ana}); err != nil || a.Kind != escalation.Done {
			t.Fatalf("acknowledged again: %v %v", a, err)
		}
		renewed := time.Now()
		time.Sleep(24*time.Hour - time.Second)
		if got := b.slack.pages(); len(got) > 0 {
			t.Errorf("paged before it ended: %v", got)
		}
		time.Sleep(2 * time.Second)
		if got := b.slack.pages(); !slices.Equal(got, []string{"ana"}) || time.Since(renewed) < 24*time.Hour {
			t.Errorf("at the end: %v; want ana first", got)
		}
		time.Sleep(50 * time.Minute) // hers, and her team's
		if got := b.slack.pages(); len(got) < 2 || got[1] != "ben" {
			t.Errorf("without an answer: %v; want ana, ben", got)
		}
	})
}

// Whoever acknowledged and is not in the catalog is asked by their member id.
func TestStrangersAreAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		zoe := escalation.Actor{Handle: "slack:U9ZOE", Name: "zoe"}
		if _, _, err := b.Do(t.Context(), only(t, b.Engine).ID, escalation.Acknowledge{By: zoe, Stranger: true, TakeOver: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Hour)
		asked := b.slack.of(notifiers.Question)
		if len(asked) != 1 || asked[0].Address != "U9ZOE" || asked[0].Ref != (notifiers.Ref{}) || asked[0].You.Name != "zoe" {
			t.Errorf("asked %+v; want zoe, by a direct message", asked)
		}
	})
}

// A page by hand goes through the chain like any other; the same key within a day
// is the same page, also when it comes twice at once.
func TestPageByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		parsoid := routing.Target{Subject: "service:parsoid", Service: "parsoid"}
		page := func(text, key string) (escalation.Incident, error) {
			return b.PageByHand(t.Context(), parsoid, config.Page, text, escalation.Actor{Handle: "gus"}, key)
		}
		time.Sleep(23 * time.Hour) // the day changes in between
		var ids [2]string
		var wg sync.WaitGroup
		for i := range ids {
			wg.Go(func() {
				inc, err := page("<@U01GUS> look", "k")
				if ids[i] = inc.ID; err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		time.Sleep(5 * time.Hour)
		again, err := page("<@U01GUS> look", "k")
		if err != nil || ids[0] != ids[1] || again.ID != ids[0] {
			t.Fatalf("one key: %v, then %s, %v", ids, again.ID, err)
		}
		inc := only(t, b.Engine)
		first := b.slack.of(notifiers.Page)
		if len(first) < 2 || first[0].You.Handle != "ana" || first[1].You.Handle != "ben" {
			t.Fatalf("paged %v; want the chain of parsoid", b.slack.pages())
		}
		if said := first[0].Incident; said.Summary != "<@U01GUS> look" || !strings.Contains(string(said.AlertName), "gus") || len(said.Alerts) > 0 || said.Silence != "" {
			t.Errorf("the page says %+v", said)
		}
		if _, err := page("something else", "k"); !errors.Is(err, ErrKeyReused) {
			t.Errorf("another text under the key: %v", err)
		}
		if n := facts(t, b.Engine); n > 0 {
			t.Errorf("%d facts of the report are of a page by hand", n)
		}
		for _, ev := range []escalation.Event{escalation.Acknowledge{By: escalation.Actor{Handle: "ben"}}, escalation.ResolveByHand{By: escalation.Actor{Handle: "ben"}}} {
			if _, a, err := b.Do(t.Context(), inc.ID, ev); err != nil || a.Kind != escalation.Done {
				t.Errorf("%T: %v, %v", ev, a, err)
			}
		}
		time.Sleep(24 * time.Hour)
		if next, err := page("something else", "k"); err != nil || next.ID == inc.ID {
			t.Errorf("a day later: %s, %v; want a new incident", next.ID, err)
		}
		if none, err := page("x", ""); err != nil || none.ID == inc.ID {
			t.Errorf("without a key: %s, %v", none.ID, err)
		}
	})
}

// What cannot be kept while Redis is away is refused, and says so.
func TestOnlyAnswersAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &outage{Store: mem.New()}
		c := startCastaway(t, st, t.TempDir())
		defer c.stop()
		c.Reload(snapshotOf(t, configuration+"escalation: {ack_expires: 1h}\n", catalogue, c.Snapshot().Channels))
		c.fire(t, "Slow", true, time.Now())
		time.Sleep(time.Second)
		id := only(t, c.Engine).ID
		st.away.Store(true)
		time.Sleep(5 * time.Second)
		c.fire(t, "Late", true, time.Now())
		time.Sleep(time.Second)
		late := ""
		_ = c.island.inner.scan(t.Context(), "i/", func(rec store.Record) bool {
			late = strings.TrimPrefix(rec.Key.ID, "i/")
			return true
		})
		by := escalation.Actor{Handle: "ana"}
		for _, on := range []string{id, late} {
			for _, ev := range []escalation.Event{
				escalation.Unacknowledge{By: by}, escalation.StillOn{By: by}, escalation.EscalateTo{By: by, To: "director"},
				escalation.Reassign{By: by, To: "team:sre"}, escalation.Snooze{By: by, Until: escalation.At(time.Now().Add(time.Hour))},
				escalation.Declare{By: by, Urgency: config.UnbreakNow}, escalation.Remark{By: by, Text: "x"}, escalation.Disown{By: by},
			} {
				if _, _, err := c.Do(t.Context(), on, ev); !errors.Is(err, ErrNotKept) {
					t.Errorf("%T of %s: %v; want that it cannot be kept", ev, on, err)
				}
			}
		}
		if _, err := c.PageByHand(t.Context(), routing.Target{Subject: "team:sre", Team: "sre"}, config.Page, "x", by, "k"); err == nil {
			t.Error("a page by hand is taken in although its store is away")
		}
		if inc, a, err := c.Do(t.Context(), late, escalation.Acknowledge{By: by}); err != nil || a.Kind != escalation.Recorded {
			t.Errorf("acknowledged on the island: %s %v %v", inc.Summary(), a, err)
		}
		time.Sleep(90 * time.Minute) // longer than it would last
		if got := pagesOf(c.slack, "Late"); len(got) != 1 {
			t.Errorf("paged %d times on the island", len(got))
		}
		st.away.Store(false)
		time.Sleep(time.Minute)
		inc, err := c.Incident(t.Context(), late)
		if err != nil || inc.State == escalation.Acknowledged && inc.Ack.Expires == 0 {
			t.Errorf("back: %s, %v; want an acknowledgement that ends", inc.Summary(), err)
		}
	})
}

// A wrong owner from a terminal is for the step that is current when it comes: when
// somebody else is faster, it does not skip one more.
func TestDisownIsForItsStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &rival{Store: mem.New()}
		b := start(t, st, &fake{}, &fake{})
		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "emergency", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		inc := only(t, b.Engine)
		st.first = func() {
			if _, _, err := b.Do(context.Background(), inc.ID, escalation.Escalate{By: escalation.Actor{Handle: "ben"}}); err != nil {
				t.Error(err)
			}
		}
		st.once.Store(true)
		if _, _, err := b.Do(t.Context(), inc.ID, escalation.Disown{By: escalation.Actor{Handle: "ana"}}); err != nil {
			t.Fatal(err)
		}
		if after := only(t, b.Engine); after.Moves != inc.Moves+1 || !slices.Contains(after.Risks, routing.RiskWrongOwner) {
			t.Errorf("%d steps were taken, risks %v; want one step and the risk", after.Moves-inc.Moves, after.Risks)
		}
	})
}

// rival is a store in which somebody else is faster, once.
type rival struct {
	*mem.Store
	once  atomic.Bool
	first func()
}

func (s *rival) Commit(ctx context.Context, txn store.Txn) error {
	if store.LaneOf(ctx) == store.People && s.once.CompareAndSwap(true, false) {
		s.first()
	}
	return s.Store.Commit(ctx, txn)
}
