package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/notifiers"
)

// remote is a store that is a network away: a caller that does not wait any more
// does not hear what became of its call.
type remote struct{ *mem.Store }

func newRemote(st *mem.Store) remote {
	st.Inject(func(string) (bool, error) {
		time.Sleep(time.Duration(20+rand.IntN(20)) * time.Millisecond)
		return false, nil
	})
	return remote{st}
}

func (r remote) Claim(ctx context.Context, most int, lease time.Duration) (store.Due, error) {
	due, err := r.Store.Claim(ctx, most, lease)
	if ctx.Err() != nil {
		return store.Due{}, ctx.Err()
	}
	return due, err
}

// One of two processes is stopped just when a hundred steps are due: whatever it
// had claimed or was about to send, the other one takes over at once.
func TestStopUnderLoadDelaysNothing(t *testing.T) {
	for after := time.Duration(0); after <= 300*time.Millisecond; after += 30 * time.Millisecond {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const incidents, wait = 100, 25 * time.Minute
				st := mem.New()
				slow := &fake{takes: 100 * time.Millisecond}
				// The first one's messages take their time, so that some still wait for a place.
				first, second := &fake{takes: 400 * time.Millisecond}, slow
				a := start(t, newRemote(st.Open()), &fake{}, first)
				var wg sync.WaitGroup
				for n := range incidents {
					wg.Go(func() {
						if err := a.Webhook(t.Context(), "main", webhook(fmt.Sprint("Slow", n), "parsoid", "page", true, time.Now())); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				list, _, err := a.Incidents(t.Context(), Filter{})
				if err != nil || len(list) != incidents {
					t.Fatalf("%d incidents, %v", len(list), err)
				}
				time.Sleep(wait - 3*time.Second)
				b := start(t, newRemote(st.Open()), &fake{}, second)
				earliest := list[0].Deadline.Time()
				for _, inc := range list {
					if d := inc.Deadline.Time(); d.Before(earliest) {
						earliest = d
					}
				}
				time.Sleep(time.Until(earliest) + after)
				stopped := time.Now()
				a.stop()
				if took := time.Since(stopped); took > 5*time.Second {
					t.Errorf("stopping took %v", took)
				}
				time.Sleep(20 * time.Second)

				begun := map[string]time.Time{}
				for _, f := range []*fake{first, second} {
					for _, d := range f.all() {
						if d.Kind == notifiers.Page && d.You.Step == 2 {
							begun[d.Incident.ID] = d.at.Add(-f.takes)
							if f == first && begun[d.Incident.ID].After(stopped) {
								t.Errorf("the one that stops began to send %v later", begun[d.Incident.ID].Sub(stopped))
							}
						}
					}
				}
				for _, was := range list {
					inc, err := b.Incident(t.Context(), was.ID)
					if err != nil {
						t.Fatal(err)
					}
					due := was.Deadline.Time()
					if late := inc.StepAt.Time().Sub(due); inc.Position != 2 || late > time.Second {
						t.Errorf("%s is at step %d, which it took %v late", inc.ID, inc.Position, late)
					}
					switch at, ok := begun[was.ID]; {
					case !ok:
						t.Errorf("%s: nobody was paged", was.ID)
					case at.Sub(due) > 1500*time.Millisecond: // a place is free within half a second
						t.Errorf("%s: the page left %v late", was.ID, at.Sub(due))
					}
				}
				if a, b := len(first.pages()), len(second.pages()); a+b > 2*incidents {
					t.Errorf("%d and %d pages, some twice", a, b)
				}
			})
		})
	}
}

// The only process there is gives back what it had claimed, too: the next start
// waits for no lease.
func TestStopLeavesNothingClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := alone{mem.New()}
		a := start(t, st, &fake{}, &fake{})
		if err := a.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		inc := only(t, a.Engine)
		due, err := st.Load(t.Context(), partitionOf(t, inc.ID), "i/"+inc.ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Claim(t.Context(), 10, escalation.Lease); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(inc.Deadline.Time()))
		a.unbegun(due[0])
		a.stop()
		again, err := st.Load(t.Context(), partitionOf(t, inc.ID), "i/"+inc.ID)
		if err != nil || again[0].Wake.After(time.Now()) {
			t.Errorf("it is due at %v, %v; want now", again[0].Wake, err)
		}
	})
}
