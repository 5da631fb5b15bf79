package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"time"

	"callchain/escalation/store"
)

// errNewer is a record that this callchain must not touch.
var errNewer = errors.New("a newer callchain wrote it")

// How a record that a newer callchain wrote is left to it. While old and new run
// side by side, one of the new takes it up within moments. When none does for
// unclaimed, there is none: then people are told.
const (
	// handedOver is when it is due again, at first, then more and more seldom:
	// later than idle, so that everybody knows by then when that is.
	handedOver     = idle + 100*time.Millisecond
	handedOverMost = 10 * time.Second
	unclaimed      = time.Minute
	forgetNewer    = 5 * time.Minute
)

// newer remembers what a newer callchain wrote, by its key, and since when it
// stands there unchanged.
type newer struct {
	mu   sync.Mutex
	seen map[store.Key]encounter
	last time.Time // when something was handed over
}

type encounter struct {
	data         uint64
	times        int
	first, again time.Time
}

var seed = maphash.MakeSeed()

// look notes that a record is there.
func (n *newer) look(rec store.Record, now time.Time) encounter {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen == nil || len(n.seen) > 10_000 {
		n.seen = map[store.Key]encounter{}
	}
	// Handing it over changes its version, and nothing else does that nobody new is behind.
	s, data := n.seen[rec.Key], maphash.Bytes(seed, rec.Data)
	if s.data != data || now.Sub(s.again) > forgetNewer {
		s = encounter{data: data, first: now}
	}
	s.again = now
	s.times++
	n.seen[rec.Key] = s
	return s
}

// wait tells of a record that could not be read whether it is left to a newer callchain.
func (n *newer) wait(rec store.Record, err error, arrived bool, now time.Time) bool {
	return errors.Is(err, errNewer) && (!arrived || now.Sub(n.look(rec, now).first) < unclaimed)
}

// polite is how long to hold back before claiming: who is newer comes first to what
// was handed over.
func (n *newer) polite(now time.Time) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last.IsZero() || now.Sub(n.last) > unclaimed {
		return 0
	}
	return 50*time.Millisecond + rand.N(100*time.Millisecond)
}

func (n *newer) handed(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = now
}

// stuck tells whether something waits for a newer callchain that does not come.
func (n *newer) stuck(now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.seen {
		if s.again.Sub(s.first) >= unclaimed && now.Sub(s.again) < 2*handedOverMost {
			return true
		}
	}
	return false
}

// handOver gives a record that was claimed back as it was, for somebody newer.
func (e *Engine) handOver(ctx context.Context, rec store.Record, why error) error {
	now := e.store.Now()
	s := e.newer.look(rec, now)
	wake := now.Add(min(handedOver<<min(s.times-1, 10), handedOverMost))
	e.newer.handed(now)
	if err := e.giveBack(ctx, rec, wake); err != nil {
		return err
	}
	if s.times == 1 {
		e.log.Warn("a record of a newer callchain is left to it", "record", rec.Key.ID, "err", why)
	}
	if now.Sub(s.first) < unclaimed {
		return nil
	}
	e.tell(Notice{
		Key:   "newer/" + now.UTC().Format("2006-01-02T15"),
		Title: "Incidents wait for a newer version of callchain",
		Body: "A newer callchain wrote the record " + rec.Key.ID + ", this one must not change it, and no newer one takes it up: its timers stand still and pages in it do not go out. " +
			"Start the newer version again. Until then look in Alertmanager for what fires, and call by hand who has to know. The log names all such records, \"left to it\".",
	})
	return nil
}

// giveBack ends a claim before its lease does.
func (e *Engine) giveBack(ctx context.Context, rec store.Record, wake time.Time) error {
	err := e.store.Commit(ctx, store.Txn{Partition: rec.Key.Partition, Mark: mark(), Urgent: true, Writes: []store.Write{
		{ID: rec.Key.ID, Expect: rec.Version, Data: rec.Data, Wake: wake},
	}})
	if err != nil {
		return fmt.Errorf("give %s back: %w", rec.Key.ID, err)
	}
	return nil
}
