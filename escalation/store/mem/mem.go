// Package mem is the reference Store: records in a map, behind one mutex. Tests
// and simulations run on it, and the other stores are compared with it. Nothing
// survives the process.
//
// It reads package time's clock, so in a synctest bubble it lives in the
// bubble's time.
package mem

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"callchain/escalation/store"
)

// Fault decides what becomes of one call. op is "commit", "load", "claim" or
// "scan". A nil error lets it pass. With an error the call answers that error:
// a commit or claim after having been applied when apply is true, as if only
// the reply was lost; else nothing happens. It is called without locks, so it
// may also take its time.
type Fault func(op string) (apply bool, err error)

// Store is one handle on a set of records.
type Store struct {
	records *records

	mu     sync.Mutex
	fault  Fault
	closed bool
}

var _ store.Store = (*Store)(nil)

// New returns a handle on a new, empty set of records.
func New() *Store {
	return &Store{records: &records{
		base:  time.Now(),
		byKey: make(map[store.Key]*record),
		gone:  make(map[store.Key][8]byte),
	}}
}

// Open returns another handle on the same records: what a second replica has,
// or one that starts again. Closing one handle leaves the others open.
func (s *Store) Open() *Store { return &Store{records: s.records} }

// Inject makes f decide over the calls of this handle from now on; nil ends it.
func (s *Store) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Damage makes a record fail its checksum until it is written again. It reports
// whether there was one.
func (s *Store) Damage(k store.Key) bool {
	s.records.mu.Lock()
	defer s.records.mu.Unlock()
	r := s.records.byKey[k]
	if r != nil {
		r.damaged = true
	}
	return r != nil
}

// enter is the start of every call: may it go on, and is its answer lost?
func (s *Store) enter(ctx context.Context, op string) (apply bool, lost, err error) {
	s.mu.Lock()
	closed, fault := s.closed, s.fault
	s.mu.Unlock()
	if closed {
		return false, nil, store.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return false, nil, fmt.Errorf("%s: %w", op, err)
	}
	if fault == nil {
		return true, nil, nil
	}
	apply, lost = fault(op)
	return apply || lost == nil, lost, nil
}

func (s *Store) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, txn store.Txn) error {
	if err := txn.Check(); err != nil {
		return err
	}
	apply, lost, err := s.enter(ctx, "commit")
	if err != nil {
		return err
	}
	if apply {
		if err := s.records.commit(txn); err != nil && lost == nil {
			return err
		}
	}
	return lost
}

// Load implements store.Store.
func (s *Store) Load(ctx context.Context, partition uint8, ids ...string) ([]store.Record, error) {
	if _, lost, err := s.enter(ctx, "load"); err != nil || lost != nil {
		return nil, cmp.Or(err, lost)
	}
	return s.records.load(partition, ids)
}

// Claim implements store.Store.
func (s *Store) Claim(ctx context.Context, max int, lease time.Duration) (store.Due, error) {
	apply, lost, err := s.enter(ctx, "claim")
	if err != nil {
		return store.Due{}, err
	}
	var due store.Due
	if apply {
		due = s.records.claim(max, lease)
	}
	if lost != nil {
		return store.Due{}, lost
	}
	return due, nil
}

// Scan implements store.Store.
func (s *Store) Scan(ctx context.Context, prefix string, yield func(store.Record) bool) error {
	if _, lost, err := s.enter(ctx, "scan"); err != nil || lost != nil {
		return cmp.Or(err, lost)
	}
	found, damaged := s.records.scan(prefix)
	for _, r := range found {
		if s.isClosed() {
			return store.ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("scan: %w", err)
		}
		if !yield(r) {
			return nil
		}
	}
	return damaged
}

// Now implements store.Store.
func (s *Store) Now() time.Time { return s.records.now() }

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

type records struct {
	base time.Time

	mu    sync.Mutex
	byKey map[store.Key]*record
	wakes wakes
	gone  map[store.Key][8]byte // marks of the Txns that deleted
}

type record struct {
	key     store.Key
	version uint64
	data    []byte
	mark    [8]byte
	wake    int64 // what Commit set
	due     int64 // wake, or the end of the lease; 0: none
	index   int   // in wakes; -1: not there
	damaged bool
}

// now is the wall clock at the start, then monotonic: it never runs backwards.
func (d *records) now() time.Time {
	return d.base.Add(time.Since(d.base)).Round(0).UTC()
}

func (d *records) commit(txn store.Txn) error {
	if len(txn.Writes) == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()

	if txn.Mark != [8]byte{} && d.mark(store.Key{Partition: txn.Partition, ID: txn.Writes[0].ID}) == txn.Mark {
		return nil
	}
	for _, w := range txn.Writes {
		var version uint64
		if r := d.byKey[store.Key{Partition: txn.Partition, ID: w.ID}]; r != nil {
			version = r.version
		}
		if version != w.Expect {
			return fmt.Errorf("commit %q: version %d, not %d: %w", w.ID, version, w.Expect, store.ErrConflict)
		}
	}
	for _, w := range txn.Writes {
		key := store.Key{Partition: txn.Partition, ID: w.ID}
		r := d.byKey[key]
		if w.Data == nil {
			if r != nil {
				d.setDue(r, 0)
				delete(d.byKey, key)
			}
			d.gone[key] = txn.Mark
			continue
		}
		if r == nil {
			r = &record{key: key, index: -1}
			d.byKey[key] = r
			delete(d.gone, key)
		}
		r.version, r.mark, r.damaged = w.Expect+1, txn.Mark, false
		r.data = append([]byte{}, w.Data...)
		r.wake = store.Millis(w.Wake)
		d.setDue(r, r.wake)
	}
	return nil
}

// mark is that of the last Txn applied to a record.
func (d *records) mark(k store.Key) [8]byte {
	if r := d.byKey[k]; r != nil {
		return r.mark
	}
	return d.gone[k]
}

func (d *records) setDue(r *record, ms int64) {
	r.due = ms
	switch {
	case ms == 0 && r.index >= 0:
		heap.Remove(&d.wakes, r.index)
	case ms != 0 && r.index >= 0:
		heap.Fix(&d.wakes, r.index)
	case ms != 0:
		heap.Push(&d.wakes, r)
	}
}

func (d *records) load(partition uint8, ids []string) ([]store.Record, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := make([]store.Record, len(ids))
	var damaged []error
	for i, id := range ids {
		key := store.Key{Partition: partition, ID: id}
		found[i] = store.Record{Key: key}
		if r := d.byKey[key]; r != nil {
			found[i] = r.public()
			if r.damaged {
				damaged = append(damaged, corrupt(key))
			}
		}
	}
	return found, errors.Join(damaged...)
}

func (d *records) claim(max int, lease time.Duration) store.Due {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	until := store.Millis(now.Add(lease))
	var due store.Due
	var taken []*record
	for len(due.Records) < max && len(d.wakes) > 0 && d.wakes[0].due <= now.UnixMilli() {
		r := d.wakes[0]
		d.setDue(r, 0)
		taken = append(taken, r)
		if !r.damaged {
			due.Records = append(due.Records, r.public())
		}
	}
	// Only now: a lease of nothing would bring the same record again.
	for _, r := range taken {
		d.setDue(r, until)
	}
	if len(d.wakes) > 0 {
		due.Next = store.Instant(d.wakes[0].due)
	}
	return due
}

func (d *records) scan(prefix string) ([]store.Record, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []store.Record
	var damaged []error
	for _, r := range d.byKey {
		switch {
		case !strings.HasPrefix(r.key.ID, prefix):
		case r.damaged:
			damaged = append(damaged, corrupt(r.key))
		default:
			found = append(found, r.public())
		}
	}
	slices.SortFunc(found, func(a, b store.Record) int { return compareKeys(a.Key, b.Key) })
	return found, errors.Join(damaged...)
}

func (r *record) public() store.Record {
	data := r.data
	if r.damaged {
		data = nil
	}
	return store.Record{Key: r.key, Version: r.version, Data: data, Wake: store.Instant(r.wake)}
}

func corrupt(k store.Key) error {
	return fmt.Errorf("record %q of partition %d: %w", k.ID, k.Partition, store.ErrCorrupt)
}

func compareKeys(a, b store.Key) int {
	return cmp.Or(cmp.Compare(a.Partition, b.Partition), strings.Compare(a.ID, b.ID))
}

// wakes is a heap of records by due time; equal ones by key, so that every run
// of a simulation takes them in the same order.
type wakes []*record

func (w wakes) Len() int { return len(w) }
func (w wakes) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(w[i].due, w[j].due), compareKeys(w[i].key, w[j].key)) < 0
}
func (w wakes) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}
func (w *wakes) Push(x any) {
	r := x.(*record)
	r.index = len(*w)
	*w = append(*w, r)
}
func (w *wakes) Pop() any {
	old := *w
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	r.index = -1
	return r
}
