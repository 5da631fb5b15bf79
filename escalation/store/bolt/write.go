package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"

	bbolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"callchain/escalation/store"
)

// The most that is written with one sync. Beyond it a larger batch gains
// nothing and keeps its first waiting.
const (
	maxBatch      = 1024
	maxBatchBytes = 16 << 20
)

// request is a Txn on its way to the writer, laid out as it will be stored: the
// caller's memory is not touched any more.
type request struct {
	ctx    context.Context
	mark   [8]byte
	writes []write
	size   int
	grows  bool
	strays [][]byte // of the index of wake-ups, to be removed
	done   chan error
}

type write struct {
	key    []byte
	expect uint64
	wake   int64
	value  []byte // nil: delete
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, txn store.Txn) error {
	if err := txn.Check(); err != nil {
		return err
	}
	if err := s.usable(ctx, "commit"); err != nil {
		return err
	}
	if len(txn.Writes) == 0 {
		return nil
	}
	r := &request{ctx: ctx, mark: txn.Mark, grows: txn.Grows(), writes: make([]write, len(txn.Writes)), done: make(chan error, 1)}
	for i, w := range txn.Writes {
		key := boltKey(txn.Partition, w.ID)
		r.writes[i] = write{key: key, expect: w.Expect}
		if w.Data != nil {
			wake := store.Millis(w.Wake)
			r.writes[i].wake = wake
			r.writes[i].value = encode(key, w.Expect+1, txn.Mark, wake, w.Data)
		}
		r.size += len(r.writes[i].value)
	}
	select {
	case s.requests <- r:
	case <-s.closing:
		return store.ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("commit: %w", ctx.Err())
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("commit: %w", ctx.Err())
	}
}

// write is the only goroutine that changes the file.
func (s *Store) write() {
	defer close(s.written)
	var batch []*request
	for {
		select {
		case <-s.closing:
			return
		case r := <-s.requests:
			batch = s.gather(append(batch[:0], r))
			s.apply(batch)
			clear(batch)
		}
	}
}

// gather adds the requests that wait already. It gives way to other goroutines
// until none of them brings another one: those that were answered a moment ago
// come back within microseconds, and would else wait for a sync of their own.
func (s *Store) gather(batch []*request) []*request {
	size := batch[0].size
	for idle := 0; idle < 2 && len(batch) < maxBatch && size < maxBatchBytes; {
		select {
		case r := <-s.requests:
			batch = append(batch, r)
			size += r.size
			idle = 0
		default:
			runtime.Gosched()
			idle++
		}
	}
	return batch
}

// apply writes a batch and answers it. When the disk is full, those that grow
// the store are refused and the others tried once more: bbolt writes changes
// into pages that are free, so they often still pass.
func (s *Store) apply(batch []*request) {
	results, err := s.try(batch)
	if isFull(err) {
		var known []*request
		for _, r := range batch {
			if r.grows {
				r.done <- fmt.Errorf("commit: %w: %w", store.ErrFull, err)
			} else {
				known = append(known, r)
			}
		}
		if batch = known; len(batch) == 0 {
			return
		}
		if results, err = s.try(batch); isFull(err) {
			err = fmt.Errorf("%w: %w", store.ErrFull, err)
		}
	}
	if errors.Is(err, store.ErrCorrupt) && len(batch) > 1 {
		// A page of the file makes no sense: only those that need it must fail.
		for i := range batch {
			s.apply(batch[i : i+1])
		}
		return
	}
	for i, r := range batch {
		switch {
		case results[i] != nil:
			r.done <- results[i]
		case err != nil:
			r.done <- fmt.Errorf("commit: %w", err)
		default:
			r.done <- nil
		}
	}
}

// errNothing rolls a transaction back that has nothing to write.
var errNothing = errors.New("nothing to write")

// try applies a batch in one transaction. results tells which requests were
// refused; err, what became of the others. An error that isFull means that
// nothing was changed.
func (s *Store) try(batch []*request) (results []error, err error) {
	results = make([]error, len(batch))
	gone := make(map[string][8]byte)
	var changed []*request
	var id int
	err = s.update(func(tx *bbolt.Tx) error {
		id = tx.ID()
		records, wakes := tx.Bucket(recordsBucket), tx.Bucket(wakesBucket)
		for i, r := range batch {
			if results[i] = r.ctx.Err(); results[i] != nil {
				continue
			}
			done, err := r.apply(records, wakes, func(key []byte) [8]byte {
				if mark, ok := gone[string(key)]; ok {
					return mark
				}
				return s.gone.of(key)
			})
			switch {
			case errors.Is(err, store.ErrConflict):
				results[i] = err
			case err != nil:
				return err
			case done:
				changed = append(changed, r)
				for _, w := range r.writes {
					if w.value == nil {
						gone[string(w.key)] = r.mark
					}
				}
			}
		}
		if len(changed) == 0 && !s.repeat {
			return errNothing
		}
		return nil
	})
	if errors.Is(err, errNothing) {
		return results, nil
	}
	if err != nil {
		if id == 0 || !s.visible(id) {
			return results, err
		}
		// The page that makes the transaction count was written, but syncing it
		// failed. Whoever tries again must not be told "done" before a later
		// transaction, which carries this one along, is synced.
		s.repeat = true
		err = fmt.Errorf("the disk did not confirm: %w", err)
	} else {
		s.repeat = false
	}
	for key, mark := range gone {
		s.gone.add(key, mark)
	}
	s.claims.Lock()
	for _, r := range changed {
		for _, w := range r.writes {
			delete(s.leases, string(w.key))
		}
	}
	s.claims.Unlock()
	return results, err
}

// visible reports whether readers see the transaction.
func (s *Store) visible(id int) bool {
	seen := true
	if err := s.view(func(tx *bbolt.Tx) error { seen = tx.ID() >= id; return nil }); err != nil {
		return true
	}
	return seen
}

// apply changes the buckets, or nothing at all when it returns ErrConflict or
// was applied before. gone gives the mark of a deleted record.
func (r *request) apply(records, wakes *bbolt.Bucket, gone func([]byte) [8]byte) (changed bool, err error) {
	for _, stray := range r.strays {
		if err := removeStray(records, wakes, stray); err != nil {
			return false, err
		}
	}
	if len(r.writes) == 0 {
		return len(r.strays) > 0, nil
	}

	current := make([]stored, len(r.writes))
	for i, w := range r.writes {
		if value := records.Get(w.key); value != nil {
			current[i] = decode(w.key, value)
		}
	}
	mark := current[0].mark
	if current[0].version == 0 {
		mark = gone(r.writes[0].key)
	}
	if r.mark != [8]byte{} && mark == r.mark {
		return false, nil
	}
	for i, w := range r.writes {
		if current[i].version != w.expect {
			return false, fmt.Errorf("commit %q: version %d, not %d: %w", w.key[1:], current[i].version, w.expect, store.ErrConflict)
		}
	}

	for i, w := range r.writes {
		was := current[i]
		if was.wake != 0 && was.wake != w.wake {
			// For a damaged record this may miss; Claim finds what is left.
			if err := wakes.Delete(wakeKey(was.wake, w.key)); err != nil {
				return false, err
			}
		}
		if w.wake != 0 && (was.wake != w.wake || was.damaged) {
			if err := wakes.Put(wakeKey(w.wake, w.key), []byte{}); err != nil {
				return false, err
			}
		}
		if w.value == nil {
			err = records.Delete(w.key)
		} else {
			err = records.Put(w.key, w.value)
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// removeStray removes an entry of the index, if it still has no record that
// wakes then.
func removeStray(records, wakes *bbolt.Bucket, entry []byte) error {
	c := fromIndex(entry)
	if value := records.Get(c.key); value != nil {
		if r := decode(c.key, value); r.damaged || r.wake == c.at {
			return nil
		}
	}
	return wakes.Delete(entry)
}

// fromIndex takes an entry of the index apart.
func fromIndex(entry []byte) candidate {
	return candidate{at: int64(binary.BigEndian.Uint64(entry)), key: entry[8:]}
}

// isFull reports whether the disk, or the file's limit, has no room. bbolt hands
// some of these on as text only.
func isFull(err error) bool {
	if err == nil {
		return false
	}
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, bolterrors.ErrMaxSizeReached} {
		if errors.Is(err, full) || strings.Contains(err.Error(), full.Error()) {
			return true
		}
	}
	return false
}

// marks remembers those of the last deletions; the oldest makes room.
type marks struct {
	known map[string]numbered
	order []string // a ring of keys, by number
	last  int
}

type numbered struct {
	mark   [8]byte
	number int
}

func newMarks() marks {
	return marks{known: make(map[string]numbered), order: make([]string, store.MarksKept)}
}

func (m *marks) of(key []byte) [8]byte { return m.known[string(key)].mark }

func (m *marks) add(key string, mark [8]byte) {
	m.last++
	slot := &m.order[m.last%len(m.order)]
	if m.known[*slot].number == m.last-len(m.order) { // not deleted again since
		delete(m.known, *slot)
	}
	*slot = key
	m.known[key] = numbered{mark, m.last}
}
