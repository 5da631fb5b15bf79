package engine

import (
	"math/rand/v2"
	"testing"

	"callchain/escalation"
	"callchain/notifiers"
)

// What every turn has to keep to, whatever was asked before: a new message is a
// second away from all other new ones, an edit from edits too, and neither is
// later than it has to be.
func TestTurnsKeepTheirDistance(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 1))
		turns := newTurns()
		now := escalation.Instant(1_795_165_200_000)
		for i := range burst { // these go at once, see TestEditsComeThrough
			turns.next(escalation.Delivery{ID: string(rune('0' + i)), Kind: escalation.PageDelivery, Channel: notifiers.Slack, To: "ana"}, now)
		}
		now += turnEvery
		kept := map[string]escalation.Instant{} // of those that wait
		edits := map[string]bool{}
		for i := range 200 {
			d := escalation.Delivery{ID: string(rune('a'+rng.IntN(26))) + string(rune('a'+i%26)), Kind: escalation.PageDelivery, Channel: notifiers.Slack, To: "ana"}
			if edits[d.ID] = rng.IntN(3) == 0; edits[d.ID] {
				d.Ref = escalation.Ref{Channel: "D1", TS: "1"}
			}
			delete(kept, d.ID)
			turns.free(d)
			at := turns.next(d, now)
			apart := func(at escalation.Instant) bool {
				for id, other := range kept {
					if (edits[d.ID] || !edits[id]) && at-other < turnEvery && other-at < turnEvery {
						return false
					}
				}
				return true
			}
			if at < now || !apart(at) {
				t.Fatalf("seed %d: turn %d of %s (edit %v) is at +%d, too near to another", seed, i, d.ID, edits[d.ID], at-now)
			}
			for earlier := now; earlier < at; earlier += 97 {
				if apart(earlier) {
					t.Fatalf("seed %d: turn %d of %s (edit %v) is at +%d, where +%d is free", seed, i, d.ID, edits[d.ID], at-now, earlier-now)
				}
			}
			kept[d.ID] = at
			if rng.IntN(4) == 0 {
				for id := range kept {
					turns.free(escalation.Delivery{ID: id, Kind: escalation.PageDelivery, Channel: notifiers.Slack, To: "ana"})
					delete(kept, id)
					break
				}
			}
			now += escalation.Instant(rng.IntN(300))
			for id, at := range kept {
				if at < now-turnEvery {
					delete(kept, id) // too long ago to be in anybody's way
				}
			}
		}
	}
}

// BenchmarkTurns reserves turns for one person for whom 10,000 wait already.
func BenchmarkTurns(b *testing.B) {
	turns := newTurns()
	now := escalation.Instant(1_795_165_200_000)
	d := func(i int) escalation.Delivery {
		return escalation.Delivery{ID: string(rune(i)), Kind: escalation.PageDelivery, Channel: notifiers.Slack, To: "ana"}
	}
	for i := range 10_000 {
		turns.next(d(i), now)
	}
	for b.Loop() {
		turns.next(d(10_000), now)
		turns.free(d(10_000))
	}
}
