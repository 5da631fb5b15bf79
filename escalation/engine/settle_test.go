package engine

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/escalation/store/mem"
)

// spread is a store whose changes are settled as a test wants.
type spread struct {
	*mem.Store
	settle func() error
}

func (s *spread) Epoch(uint8) string { return "" }

func (s *spread) Settle(context.Context, uint8, string) error { return s.settle() }

// An answer waits until the change is settled; its page does not.
func TestPagesDoNotWaitToBeSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &spread{Store: mem.New(), settle: func() error { time.Sleep(2 * time.Second); return nil }}
		b := start(t, st, &fake{}, &fake{})
		began := time.Now()
		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, began)); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(began); got != 2*time.Second {
			t.Errorf("answered after %v", got)
		}
		if got := b.email.all(); len(got) == 0 || got[0].at != began {
			t.Errorf("the page waited: %v", got)
		}
	})
}

// What could not be settled is no answer; what is behind is one, and counted.
func TestUnsettledIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settled := error(nil)
		st := &spread{Store: mem.New(), settle: func() error { return settled }}
		b := start(t, st, &fake{}, &fake{})
		w := webhook("Slow", "parsoid", "page", true, time.Now())
		ack := escalation.Acknowledge{By: escalation.Actor{Handle: "ana"}}

		settled = store.ErrUnsettled
		for range 2 { // the second changes nothing, and is no answer either
			if err := b.Webhook(t.Context(), "main", w); !errors.Is(err, store.ErrUnsettled) {
				t.Errorf("a webhook that is not settled is answered %v", err)
			}
		}
		id := only(t, b.Engine).ID
		if _, _, err := b.Do(t.Context(), id, ack); !errors.Is(err, store.ErrUnsettled) {
			t.Errorf("an acknowledgement that is not settled is answered %v", err)
		}
		settled = store.ErrBehind
		if err := b.Webhook(t.Context(), "main", w); err != nil {
			t.Error(err)
		}
		if _, answer, err := b.Do(t.Context(), id, ack); err != nil || answer.Kind != escalation.Already {
			t.Errorf("pressed again: %v, %v", answer, err)
		}
		if got := testutil.ToFloat64(b.metrics.behind); got != 2 {
			t.Errorf("%v answers are counted, want 2", got)
		}
	})
}

// When the server that took a change is gone, the change is made again where it is
// missing, and people are told once what they did.
func TestMovedIsDoneAgain(t *testing.T) {
	for _, lost := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			st := &spread{Store: mem.New(), settle: func() error { return nil }}
			b := start(t, st, &fake{}, &fake{})
			if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			id := only(t, b.Engine).ID
			before, err := st.Load(t.Context(), partitionOf(t, id), "i/"+id)
			if err != nil {
				t.Fatal(err)
			}
			moves := 0
			st.settle = func() error {
				if moves++; moves > 1 {
					return nil
				}
				if lost {
					overwrite(t, st, partitionOf(t, id), "i/"+id, before[0].Data, before[0].Wake)
				}
				return store.ErrMoved
			}
			inc, answer, err := b.Do(t.Context(), id, escalation.Acknowledge{By: escalation.Actor{Handle: "ana"}})
			if err != nil || answer.Kind != escalation.Done || inc.AcknowledgedBy() != "ana" || moves != 2 {
				t.Errorf("lost %v: %v, %v, %s, settled %d times", lost, answer, err, inc.Summary(), moves)
			}
			time.Sleep(time.Hour)
			if got := b.slack.pages(); !slices.Equal(got, []string{"ana"}) || only(t, b.Engine).State != escalation.Acknowledged {
				t.Errorf("lost %v: paged %v, %s", lost, got, only(t, b.Engine).State)
			}
		})
	}
}
