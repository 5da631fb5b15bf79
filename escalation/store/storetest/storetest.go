// Package storetest is the conformance suite of store.Store: every store passes
// Run, and what a store promises beyond it is its own test's business.
package storetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"callchain/escalation/store"
)

// Options tell what the store under test can do.
type Options struct {
	// Bubble runs every case in a synctest bubble: for stores that follow
	// package time and wait for no network.
	Bubble bool
	// Advance moves the store's clock; nil waits for it to pass.
	Advance func(d time.Duration)
	// Reopen ends a store, gently or by a crash, and opens what is left of it:
	// all that was committed. nil: nothing is left.
	Reopen func(t *testing.T, s store.Store) store.Store
	// Damage changes a byte of a record, behind the store's back. It may return
	// another Store when s had to be opened anew for it. nil: cannot be done.
	Damage func(t *testing.T, s store.Store, k store.Key) store.Store
	// Records is for how many the large case is; 0: 10,000.
	Records int
}

// tick is the unit of waits: with a real clock it must be longer than a few
// calls take.
const tick = 40 * time.Millisecond

// lease is longer than any case takes.
const lease = time.Hour

type suite struct {
	*testing.T
	store.Store
	o Options
}

// Run holds the stores that open returns, each new and empty, against the
// contract. open closes them by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) store.Store, o Options) {
	if o.Advance == nil {
		o.Advance = time.Sleep // in a bubble this takes no time
	}
	if o.Records == 0 {
		o.Records = 10_000
	}
	cases := []struct {
		name string
		run  func(*suite)
		when bool
	}{
		{"missing records", (*suite).missing, true},
		{"create, change, delete", (*suite).lifecycle, true},
		{"stale and wrong versions", (*suite).versions, true},
		{"equal value is a change", (*suite).equalValue, true},
		{"a transaction is one", (*suite).atomic, true},
		{"partitions are apart", (*suite).partitions, true},
		{"malformed transactions", (*suite).malformed, true},
		{"memory of the caller", (*suite).memory, true},
		{"replay after a write", (*suite).replayWrite, true},
		{"replay after a deletion", (*suite).replayDelete, true},
		{"replay after others", (*suite).replayLate, true},
		{"zero mark protects nothing", (*suite).zeroMark, true},
		{"claim at the boundary", (*suite).boundary, true},
		{"claim in order", (*suite).order, true},
		{"claim and lease", (*suite).lease, true},
		{"commit after claim", (*suite).commitAfterClaim, true},
		{"conflict and replay leave a claim", (*suite).claimKept, true},
		{"delete removes the wake-up", (*suite).deleteWake, true},
		{"scan", (*suite).scan, true},
		{"scan while writing", (*suite).scanWriting, true},
		{"data and ids of all bytes", (*suite).bytes, true},
		{"writers on one key", (*suite).writers, true},
		{"writers on crossing keys", (*suite).crossing, true},
		{"claimers", (*suite).claimers, true},
		{"cancelled context", (*suite).cancelled, true},
		{"many records", (*suite).many, true},
		{"clock", (*suite).clock, true},
		{"closed", (*suite).closed, true},
		{"open anew", (*suite).reopen, o.Reopen != nil},
		{"damage", (*suite).damage, o.Damage != nil},
	}
	for _, c := range cases {
		if !c.when {
			continue
		}
		body := func(t *testing.T) { c.run(&suite{T: t, Store: open(t), o: o}) }
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			if o.Bubble {
				synctest.Test(t, body)
			} else {
				body(t)
			}
		})
	}
}

var lastMark atomic.Uint64

func mark() (m [8]byte) {
	binary.BigEndian.PutUint64(m[:], lastMark.Add(1))
	return m
}

func put(id string, expect uint64, data string) store.Write {
	return store.Write{ID: id, Expect: expect, Data: []byte(data)}
}

func wake(id string, expect uint64, data string, at time.Time) store.Write {
	return store.Write{ID: id, Expect: expect, Data: []byte(data), Wake: at}
}

func del(id string, expect uint64) store.Write { return store.Write{ID: id, Expect: expect} }

func txn(partition uint8, writes ...store.Write) store.Txn {
	return store.Txn{Partition: partition, Writes: writes, Mark: mark()}
}

func (s *suite) commit(partition uint8, writes ...store.Write) {
	s.Helper()
	s.apply(txn(partition, writes...), nil)
}

func (s *suite) apply(x store.Txn, want error) {
	s.Helper()
	if err := s.Commit(s.Context(), x); !errors.Is(err, want) || (err == nil) != (want == nil) {
		s.Fatalf("Commit = %v, want %v", err, want)
	}
}

// want is what a record should be: "version data", or "" when absent.
func (s *suite) want(partition uint8, id, want string) {
	s.Helper()
	if got := s.show(partition, id); got != want {
		s.Fatalf("%q of partition %d is %q, want %q", id, partition, got, want)
	}
}

func (s *suite) show(partition uint8, id string) string {
	s.Helper()
	r := s.load(partition, id)[0]
	if r.Version == 0 {
		if r.Data != nil || !r.Wake.IsZero() {
			s.Fatalf("absent record is not empty: %+v", r)
		}
		return ""
	}
	if r.Data == nil {
		s.Fatalf("record %q has nil Data", id)
	}
	return fmt.Sprintf("%d %s", r.Version, r.Data)
}

func (s *suite) load(partition uint8, ids ...string) []store.Record {
	s.Helper()
	rs, err := s.Load(s.Context(), partition, ids...)
	if err != nil {
		s.Fatalf("Load: %v", err)
	}
	if len(rs) != len(ids) {
		s.Fatalf("Load of %d ids returned %d records", len(ids), len(rs))
	}
	for i, r := range rs {
		if r.Key != (store.Key{Partition: partition, ID: ids[i]}) {
			s.Fatalf("Load(%q)[%d] has key %v", ids, i, r.Key)
		}
	}
	return rs
}

func (s *suite) claim(max int, lease time.Duration) store.Due {
	s.Helper()
	due, err := s.Claim(s.Context(), max, lease)
	if err != nil {
		s.Fatalf("Claim: %v", err)
	}
	now := s.Now()
	if len(due.Records) > max {
		s.Fatalf("Claim(%d) returned %d records", max, len(due.Records))
	}
	for _, r := range due.Records {
		if r.Wake.IsZero() || r.Wake.After(now) {
			s.Fatalf("claimed %v, which wakes at %v, at %v", r.Key, r.Wake, now)
		}
	}
	return due
}

// claimed claims and compares the ids.
func (s *suite) claimed(max int, lease time.Duration, want ...string) store.Due {
	s.Helper()
	due := s.claim(max, lease)
	if diff := cmp.Diff(want, ids(due.Records)); diff != "" {
		s.Fatalf("claimed (-want +got):\n%s", diff)
	}
	return due
}

func ids(rs []store.Record) (ids []string) {
	for _, r := range rs {
		ids = append(ids, r.Key.ID)
	}
	return ids
}

func (s *suite) scanAll(prefix string) map[store.Key]store.Record {
	s.Helper()
	all := make(map[store.Key]store.Record)
	err := s.Scan(s.Context(), prefix, func(r store.Record) bool {
		if _, ok := all[r.Key]; ok {
			s.Errorf("Scan showed %v twice", r.Key)
		}
		all[r.Key] = r
		return true
	})
	if err != nil {
		s.Fatalf("Scan: %v", err)
	}
	return all
}

// at is a wake-up n ticks from now, in whole milliseconds.
func (s *suite) at(n int) time.Time {
	return s.Now().Truncate(time.Millisecond).Add(time.Duration(n) * tick)
}

func (s *suite) missing() {
	s.want(0, "i/none", "")
	s.want(255, "i/none", "")
	s.commit(3, put("i/b", 0, "b"))
	got := s.load(3, "i/a", "i/b", "i/c", "i/b")
	if versions := []uint64{got[0].Version, got[1].Version, got[2].Version, got[3].Version}; !slices.Equal(versions, []uint64{0, 1, 0, 1}) {
		s.Errorf("versions = %v", versions)
	}
	if got := s.load(3); len(got) != 0 {
		s.Errorf("Load of nothing = %v", got)
	}
	if due := s.claim(10, lease); due.Records != nil || !due.Next.IsZero() {
		s.Errorf("Claim of nothing = %+v", due)
	}
	if all := s.scanAll("x/"); len(all) != 0 {
		s.Errorf("Scan of nothing = %v", all)
	}
}

func (s *suite) lifecycle() {
	at := s.at(100)
	s.commit(1, wake("i/a", 0, "one", at))
	s.want(1, "i/a", "1 one")
	if got := s.load(1, "i/a")[0].Wake; !got.Equal(at) {
		s.Errorf("Wake = %v, want %v", got, at)
	}
	later := at.Add(1) // wakes are never earlier than asked for
	s.commit(1, wake("i/a", 1, "two", later))
	s.want(1, "i/a", "2 two")
	if got := s.load(1, "i/a")[0].Wake; !got.Equal(at.Add(time.Millisecond)) {
		s.Errorf("Wake = %v, want %v rounded up", got, later)
	}
	s.commit(1, put("i/a", 2, ""))
	s.want(1, "i/a", "3 ")
	if got := s.load(1, "i/a")[0].Wake; !got.IsZero() {
		s.Errorf("Wake = %v, want none", got)
	}
	s.commit(1, del("i/a", 3))
	s.want(1, "i/a", "")
	s.commit(1, put("i/a", 0, "again"))
	s.want(1, "i/a", "1 again")
}

func (s *suite) versions() {
	s.commit(1, put("i/a", 0, "1"))
	s.commit(1, put("i/a", 1, "2"))
	for name, w := range map[string]store.Write{
		"create twice":   put("i/a", 0, "x"),
		"stale":          put("i/a", 1, "x"),
		"future":         put("i/a", 3, "x"),
		"change missing": put("i/b", 1, "x"),
		"delete stale":   del("i/a", 1),
		"delete missing": del("i/b", 1),
		"must be absent": del("i/a", 0),
	} {
		if err := s.Commit(s.Context(), txn(1, w)); !errors.Is(err, store.ErrConflict) {
			s.Errorf("%s: Commit = %v, want ErrConflict", name, err)
		}
	}
	s.want(1, "i/a", "2 2")
	s.want(1, "i/b", "")
	s.commit(1, del("i/b", 0), put("i/c", 0, "c"))
	s.want(1, "i/b", "")
	s.want(1, "i/c", "1 c")
}

func (s *suite) equalValue() {
	at := s.at(100)
	for v := range uint64(5) {
		s.commit(1, wake("i/a", v, "same", at))
		s.want(1, "i/a", fmt.Sprintf("%d same", v+1))
	}
	if due := s.claim(1, lease); !due.Next.Equal(at) {
		s.Errorf("Next = %v, want %v", due.Next, at)
	}
}

func (s *suite) atomic() {
	s.commit(9, put("i/a", 0, "a"), put("i/b", 0, "b"), put("i/c", 0, "c"))
	// The bad write in every place.
	for bad := range 4 {
		writes := []store.Write{put("i/a", 1, "A"), del("i/b", 1), wake("i/n", 0, "N", s.at(0))}
		s.apply(txn(9, slices.Insert(writes, bad, put("i/c", 7, "C"))...), store.ErrConflict)
		s.want(9, "i/a", "1 a")
		s.want(9, "i/b", "1 b")
		s.want(9, "i/c", "1 c")
		s.want(9, "i/n", "")
	}
	if due := s.claim(10, lease); len(due.Records) > 0 || !due.Next.IsZero() {
		s.Errorf("a refused transaction left a wake-up: %+v", due)
	}
	s.commit(9, put("i/a", 1, "A"), del("i/b", 1), put("i/n", 0, "N"), put("i/c", 1, "C"))
	s.want(9, "i/a", "2 A")
	s.want(9, "i/b", "")
	s.want(9, "i/c", "2 C")
	s.want(9, "i/n", "1 N")
	s.apply(txn(9), nil)
}

func (s *suite) partitions() {
	for _, p := range []uint8{0, 1, 127, 128, 255} {
		s.commit(p, put("i/same", 0, fmt.Sprint(p)))
	}
	s.commit(1, del("i/same", 1))
	s.commit(128, put("i/same", 1, "changed"))
	s.want(0, "i/same", "1 0")
	s.want(1, "i/same", "")
	s.want(127, "i/same", "1 127")
	s.want(128, "i/same", "2 changed")
	s.want(255, "i/same", "1 255")

	// The same mark elsewhere is another transaction.
	x := txn(3, put("i/m", 0, "m"))
	s.apply(x, nil)
	x.Partition = 4
	s.apply(x, nil)
	s.want(4, "i/m", "1 m")
}

func (s *suite) malformed() {
	s.commit(1, put("i/a", 0, "a"))
	for name, writes := range map[string][]store.Write{
		"no id":      {put("", 0, "x")},
		"long id":    {put(strings.Repeat("i", store.MaxID+1), 0, "x")},
		"same twice": {put("i/a", 1, "x"), put("i/b", 0, "x"), put("i/a", 2, "x")},
	} {
		if err := s.Commit(s.Context(), txn(1, writes...)); !errors.Is(err, store.ErrInvalid) {
			s.Errorf("%s: Commit = %v, want ErrInvalid", name, err)
		}
	}
	s.want(1, "i/a", "1 a")
	s.want(1, "i/b", "")
}

func (s *suite) memory() {
	data := []byte("kept")
	x := store.Txn{Partition: 1, Mark: mark(), Writes: []store.Write{{ID: "i/a", Data: data}}}
	s.apply(x, nil)
	copy(data, "lost")
	x.Writes[0].ID = "i/b"
	s.want(1, "i/a", "1 kept")
	before := s.load(1, "i/a")[0]
	s.commit(1, put("i/a", 1, "next"))
	if string(before.Data) != "kept" {
		s.Errorf("a record that was loaded changed to %q", before.Data)
	}
}

func (s *suite) replayWrite() {
	create := txn(2, put("i/a", 0, "a"), put("g/a", 0, "g"))
	s.apply(create, nil)
	s.apply(create, nil)
	s.want(2, "i/a", "1 a")

	change := txn(2, wake("i/a", 1, "b", s.at(-1)), del("g/a", 1), put("f/a", 0, "f"))
	s.apply(change, nil)
	due := s.claimed(10, lease, "i/a")
	for range 3 {
		s.apply(change, nil)
	}
	s.want(2, "i/a", "2 b")
	s.want(2, "g/a", "")
	s.want(2, "f/a", "1 f")
	s.claimed(10, lease)
	if next := s.claim(10, lease).Next; next.Before(due.Next) {
		s.Errorf("a replay moved the wake-up from %v to %v", due.Next, next)
	}

	// The first record decides, even when others moved on.
	s.commit(2, put("f/a", 1, "moved on"))
	s.apply(change, nil)
	s.want(2, "f/a", "2 moved on")
}

func (s *suite) replayDelete() {
	s.commit(2, put("i/a", 0, "a"), put("g/a", 0, "g"))
	x := txn(2, del("i/a", 1), put("g/a", 1, "gone"))
	s.apply(x, nil)
	s.apply(x, nil)
	s.want(2, "i/a", "")
	s.want(2, "g/a", "2 gone")

	absent := txn(2, del("i/never", 0), put("i/b", 0, "b"))
	s.apply(absent, nil)
	s.apply(absent, nil)
	s.want(2, "i/b", "1 b")

	// Others' deletions do not wash it away at once.
	for i := range 100 {
		s.commit(2, put(fmt.Sprint("f/", i), 0, "f"))
		s.commit(2, del(fmt.Sprint("f/", i), 1))
	}
	s.apply(x, nil)
	s.want(2, "g/a", "2 gone")

	s.commit(2, put("i/a", 0, "new"))
	s.commit(2, put("i/a", 1, "newer"))
	s.apply(x, store.ErrConflict)
	s.want(2, "i/a", "2 newer")
}

func (s *suite) replayLate() {
	x := txn(2, put("i/a", 0, "a"), put("i/b", 0, "b"))
	s.apply(x, nil)
	// The first record's last transaction is another one, in which it was not first.
	y := txn(2, put("i/b", 1, "B"), put("i/a", 1, "A"))
	s.apply(y, nil)
	s.apply(x, store.ErrConflict)
	s.apply(y, nil)
	s.want(2, "i/a", "2 A")
	s.want(2, "i/b", "2 B")

	// A conflict is not an application: the mark may be tried with fresh versions.
	z := txn(2, put("i/a", 1, "z"))
	s.apply(z, store.ErrConflict)
	z.Writes[0].Expect = 2
	s.apply(z, nil)
	s.want(2, "i/a", "3 z")
}

func (s *suite) zeroMark() {
	x := store.Txn{Partition: 2, Writes: []store.Write{put("i/a", 0, "a")}}
	s.apply(x, nil)
	s.apply(x, store.ErrConflict)
	x.Writes[0].Expect, x.Writes[0].Data = 1, []byte("b")
	s.apply(x, nil)
	s.want(2, "i/a", "2 b")
	s.apply(store.Txn{Partition: 2, Writes: []store.Write{del("i/a", 2)}}, nil)
	s.apply(store.Txn{Partition: 2, Writes: []store.Write{del("i/a", 2)}}, store.ErrConflict)
	s.apply(store.Txn{Partition: 2, Writes: []store.Write{put("i/never", 3, "x")}}, store.ErrConflict)
}

func (s *suite) boundary() {
	now := s.at(0)
	s.commit(1, wake("i/now", 0, "", now), wake("i/past", 0, "", now.Add(-time.Hour)), wake("i/1970", 0, "", time.Unix(-1, 0)))
	s.claimed(10, lease, "i/1970", "i/past", "i/now")

	at := s.at(5)
	s.commit(1, wake("i/soon", 0, "", at))
	if due := s.claimed(10, lease); !due.Next.Equal(at) {
		s.Errorf("Next = %v, want %v", due.Next, at)
	}
	// The claim checks itself that nothing comes early. Creep up to the edge.
	for s.Now().Before(at.Add(-time.Millisecond)) {
		s.o.Advance(min(tick, max(time.Millisecond, at.Add(-time.Millisecond).Sub(s.Now()))))
		if due := s.claim(10, lease); len(due.Records) > 0 {
			return // a real clock passed it meanwhile
		}
	}
	if d := at.Sub(s.Now()); d > 0 {
		s.o.Advance(d)
	}
	s.claimed(10, lease, "i/soon")
}

func (s *suite) order() {
	now := s.at(0)
	var want []string
	for i := range 20 {
		// Two partitions, so that the order is not that of keys.
		id := fmt.Sprintf("i/%02d", i)
		s.commit(uint8(200-i*10), wake(id, 0, "", now.Add(time.Duration(i-20)*time.Second)))
		want = append(want, id)
	}
	s.commit(7, wake("i/future", 0, "", now.Add(time.Hour)), put("i/none", 0, ""))
	if due := s.claimed(3, lease, want[:3]...); !due.Next.Equal(now.Add(-17 * time.Second)) {
		s.Errorf("Next = %v, want the fourth's wake-up", due.Next)
	}
	if due := s.claimed(0, lease); !due.Next.Equal(now.Add(-17 * time.Second)) {
		s.Errorf("Next = %v after a claim of none", due.Next)
	}
	if due := s.claimed(100, 2*lease, want[3:]...); due.Next.After(now.Add(time.Hour + time.Minute)) {
		s.Errorf("Next = %v, want the first lease or the future wake-up", due.Next)
	}
}

func (s *suite) lease() {
	was := s.at(-10)
	s.commit(1, wake("i/a", 0, "a", was))
	before := s.Now()
	due := s.claimed(10, 5*tick, "i/a")
	after := s.Now()
	if r := due.Records[0]; r.Version != 1 || string(r.Data) != "a" || !r.Wake.Equal(was) {
		s.Errorf("claimed %+v, want version 1, data a, the wake-up as it was", r)
	}
	if due.Next.Before(before.Add(5*tick)) || due.Next.After(after.Add(5*tick+time.Millisecond)) {
		s.Errorf("Next = %v, want the end of the lease, 5 ticks after %v", due.Next, before)
	}
	if r := s.load(1, "i/a")[0]; r.Version != 1 || !r.Wake.Equal(was) {
		s.Errorf("a claim changed the record: %+v", r)
	}
	s.claimed(10, 5*tick)

	// While the first is leased, one with a later wake-up comes; after the lease
	// the order is that of the moved wake-ups.
	s.commit(1, wake("i/b", 0, "b", s.at(-5)))
	s.claimed(10, lease, "i/b")
	s.commit(1, wake("i/c", 0, "c", due.Next.Add(-time.Millisecond)))
	s.o.Advance(due.Next.Sub(s.Now()))
	s.claimed(1, lease, "i/c")
	s.claimed(10, lease, "i/a")
	s.claimed(10, lease)
}

func (s *suite) commitAfterClaim() {
	s.commit(1, wake("i/a", 0, "a", s.at(-1)), wake("i/b", 0, "b", s.at(-1)), wake("i/c", 0, "c", s.at(-1)))
	s.claimed(10, lease, "i/a", "i/b", "i/c")
	at := s.at(3)
	s.commit(1, wake("i/a", 1, "a", at), put("i/b", 1, "b"))
	if due := s.claimed(10, lease); !due.Next.Equal(at) {
		s.Errorf("Next = %v, want %v", due.Next, at)
	}
	s.o.Advance(at.Sub(s.Now()))
	s.claimed(10, lease, "i/a")
	// At once again, though just claimed.
	past := s.at(-2)
	s.commit(1, wake("i/a", 2, "a", past))
	s.claimed(10, lease, "i/a")
	// The same wake-up as before the claim is due as well.
	s.commit(1, wake("i/a", 3, "a", past))
	s.claimed(10, lease, "i/a")
}

func (s *suite) claimKept() {
	x := txn(1, wake("i/a", 0, "a", s.at(-1)))
	s.apply(x, nil)
	s.claimed(10, lease, "i/a")
	s.apply(txn(1, wake("i/a", 7, "x", s.at(-1))), store.ErrConflict)
	s.apply(x, nil)
	s.claimed(10, lease)
}

func (s *suite) deleteWake() {
	s.commit(1, wake("i/a", 0, "a", s.at(-1)), wake("i/b", 0, "b", s.at(-1)), wake("i/c", 0, "c", s.at(1000)))
	s.claimed(1, lease, "i/a")
	s.commit(1, del("i/a", 1), del("i/b", 1), del("i/c", 1))
	if due := s.claimed(10, lease); !due.Next.IsZero() {
		s.Errorf("Next = %v, want none", due.Next)
	}
	// A new life has its own wake-up only.
	at := s.at(500)
	s.commit(1, wake("i/a", 0, "a", at), put("i/b", 0, "b"))
	if due := s.claimed(10, lease); !due.Next.Equal(at) {
		s.Errorf("Next = %v, want %v", due.Next, at)
	}
}

func (s *suite) scan() {
	want := make(map[store.Key]store.Record)
	for i := range 600 {
		p, id := uint8(i*7), fmt.Sprintf("i/%03d", i)
		w := wake(id, 0, fmt.Sprint(i), s.at(i))
		s.commit(p, w)
		want[store.Key{Partition: p, ID: id}] = store.Record{
			Key: store.Key{Partition: p, ID: id}, Version: 1, Data: w.Data, Wake: w.Wake,
		}
	}
	for _, id := range []string{"i", "h/000", "j/000", "I/000", "i\xff"} {
		s.commit(5, put(id, 0, "other"))
	}
	if diff := cmp.Diff(want, s.scanAll("i/")); diff != "" {
		s.Errorf("Scan (-want +got):\n%s", diff)
	}
	if got := len(s.scanAll("")); got != 605 {
		s.Errorf("Scan of all saw %d records, want 605", got)
	}
	if got := len(s.scanAll("i/59")); got != 10 {
		s.Errorf("Scan of i/59 saw %d records, want 10", got)
	}
	n := 0
	if err := s.Scan(s.Context(), "i/", func(store.Record) bool { n++; return n < 7 }); err != nil || n != 7 {
		s.Errorf("Scan that is stopped saw %d records: %v", n, err)
	}
	ctx, cancel := context.WithCancel(s.Context())
	n = 0
	err := s.Scan(ctx, "i/", func(store.Record) bool { n++; cancel(); return true })
	if !errors.Is(err, context.Canceled) || n == 600 {
		s.Errorf("Scan that is cancelled saw %d records: %v", n, err)
	}
}

// scanWriting changes what is being scanned, from within and beside.
func (s *suite) scanWriting() {
	for i := range 40 {
		var writes []store.Write
		for j := range 20 {
			writes = append(writes, put(fmt.Sprintf("i/%03d", i*20+j), 0, "old"))
		}
		s.commit(uint8(i%2), writes...)
	}
	seen := make(map[store.Key]int)
	err := s.Scan(s.Context(), "i/", func(r store.Record) bool {
		seen[r.Key]++
		n := len(seen)
		if n%50 == 0 {
			s.commit(r.Key.Partition, put(r.Key.ID, r.Version, "new and much longer than before"), put(fmt.Sprintf("i/x%03d", n), 0, "born"))
			s.want(r.Key.Partition, r.Key.ID, "2 new and much longer than before")
		}
		return true
	})
	if err != nil {
		s.Fatal(err)
	}
	for i := range 800 {
		k := store.Key{Partition: uint8(i / 20 % 2), ID: fmt.Sprintf("i/%03d", i)}
		if seen[k] != 1 {
			s.Fatalf("Scan saw %v %d times", k, seen[k])
		}
	}
}

func (s *suite) bytes() {
	var every [256]byte
	for i := range every {
		every[i] = byte(i)
	}
	at := s.at(-1)
	var writes []store.Write
	for i := range every {
		writes = append(writes, wake("i/"+string(every[i:i+1]), 0, string(every[i:]), at), put(string(every[i:i+1]), 0, ""))
	}
	s.commit(0, writes...)
	s.commit(255, writes...)
	for i := range every {
		s.want(0, "i/"+string(every[i:i+1]), "1 "+string(every[i:]))
		s.want(255, string(every[i:i+1]), "1 ")
	}
	if got := len(s.scanAll("i/")); got != 512 {
		s.Errorf("Scan saw %d records, want 512", got)
	}
	if got := len(s.scanAll("\xff")); got != 2 {
		s.Errorf("Scan of \\xff saw %d records, want 2", got)
	}
	if got := len(s.claim(1000, lease).Records); got != 512 {
		s.Errorf("claimed %d records, want 512", got)
	}

	long := strings.Repeat("\xff", store.MaxID)
	big := bytes.Repeat(every[:], 256) // 64 KB
	s.commit(7, store.Write{ID: long, Data: big, Wake: at})
	for v := range uint64(3) {
		for _, n := range []int{len(big), 0, 1, 4095, 4096, 4097} {
			id := fmt.Sprint("b/", n)
			s.commit(7, store.Write{ID: id, Expect: v, Data: big[:n]})
			if got := s.load(7, id)[0].Data; !bytes.Equal(got, big[:n]) {
				s.Fatalf("%d bytes came back as %d", n, len(got))
			}
		}
	}
	if got := s.load(7, long)[0].Data; !bytes.Equal(got, big) {
		s.Errorf("64 KB under a long id came back as %d bytes", len(got))
	}
	s.claimed(10, lease, long)
}

func (s *suite) writers() {
	const writers, each = 8, 40
	var wg sync.WaitGroup
	got := make([][]uint64, writers)
	for n := range writers {
		wg.Go(func() {
			for len(got[n]) < each {
				rs, err := s.Load(s.Context(), 6, "i/one")
				if err != nil {
					s.Error(err)
					return
				}
				var count uint64
				if len(rs[0].Data) > 0 {
					count = binary.BigEndian.Uint64(rs[0].Data)
				}
				x := txn(6, store.Write{ID: "i/one", Expect: rs[0].Version, Data: binary.BigEndian.AppendUint64(nil, count+1)})
				switch err := s.Commit(s.Context(), x); {
				case err == nil:
					got[n] = append(got[n], rs[0].Version+1)
				case !errors.Is(err, store.ErrConflict):
					s.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	all := make(map[uint64]bool)
	for _, versions := range got {
		for _, v := range versions {
			if all[v] {
				s.Errorf("two writers made version %d", v)
			}
			all[v] = true
		}
	}
	r := s.load(6, "i/one")[0]
	if count := binary.BigEndian.Uint64(r.Data); count != writers*each || r.Version != writers*each {
		s.Errorf("count %d, version %d after %d successes", count, r.Version, writers*each)
	}
}

// crossing: transactions over two of four keys keep their sum equal in any view.
func (s *suite) crossing() {
	names := []string{"i/0", "i/1", "i/2", "i/3"}
	var writes []store.Write
	for _, id := range names {
		writes = append(writes, put(id, 0, "\x64"))
	}
	s.commit(6, writes...)
	var wg sync.WaitGroup
	for n := range 6 {
		wg.Go(func() {
			for done := 0; done < 30; {
				rs, err := s.Load(s.Context(), 6, names...)
				if err != nil {
					s.Error(err)
					return
				}
				sum := 0
				for _, r := range rs {
					sum += int(int8(r.Data[0]))
				}
				if sum != 400 {
					s.Errorf("the sum is %d, want 400: half a transaction is visible", sum)
					return
				}
				from, to := rs[(n+done)%4], rs[(n*3+done+1+n%3)%4]
				if from.Key == to.Key {
					done++
					continue
				}
				x := txn(6,
					store.Write{ID: from.Key.ID, Expect: from.Version, Data: []byte{from.Data[0] - 1}},
					store.Write{ID: to.Key.ID, Expect: to.Version, Data: []byte{to.Data[0] + 1}})
				switch err := s.Commit(s.Context(), x); {
				case err == nil:
					done++
				case !errors.Is(err, store.ErrConflict):
					s.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func (s *suite) claimers() {
	const records = 500
	at := s.at(-1)
	for p := range 10 {
		var writes []store.Write
		for i := range records / 10 {
			writes = append(writes, wake(fmt.Sprintf("i/%d-%d", p, i), 0, "x", at))
		}
		s.commit(uint8(p), writes...)
	}
	var mu sync.Mutex
	seen := make(map[store.Key]int)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for {
				due, err := s.Claim(s.Context(), 3+n, lease)
				if err != nil {
					s.Error(err)
					return
				}
				if len(due.Records) == 0 {
					return
				}
				for _, r := range due.Records {
					mu.Lock()
					seen[r.Key]++
					mu.Unlock()
					// Half of them are committed, without a new wake-up.
					if len(r.Key.ID)%2 == 0 {
						if err := s.Commit(s.Context(), txn(r.Key.Partition, put(r.Key.ID, r.Version, "y"))); err != nil {
							s.Errorf("commit after claim: %v", err)
						}
					}
				}
			}
		})
	}
	wg.Wait()
	for k, n := range seen {
		if n != 1 {
			s.Errorf("%v was claimed %d times within the lease", k, n)
		}
	}
	if len(seen) != records {
		s.Errorf("claimed %d of %d records", len(seen), records)
	}
}

func (s *suite) cancelled() {
	s.commit(1, wake("i/a", 0, "a", s.at(-1)))
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	if err := s.Commit(ctx, txn(1, put("i/a", 1, "b"))); !errors.Is(err, context.Canceled) {
		s.Errorf("Commit = %v", err)
	}
	if _, err := s.Load(ctx, 1, "i/a"); !errors.Is(err, context.Canceled) {
		s.Errorf("Load = %v", err)
	}
	if _, err := s.Claim(ctx, 1, lease); !errors.Is(err, context.Canceled) {
		s.Errorf("Claim = %v", err)
	}
	if err := s.Scan(ctx, "", func(store.Record) bool { return true }); !errors.Is(err, context.Canceled) {
		s.Errorf("Scan = %v", err)
	}
	s.claimed(10, lease, "i/a")

	// Cancelled on the way: the outcome is unknown, but whole, and a replay tells.
	for i := range 50 {
		ctx, cancel := context.WithCancel(s.Context())
		x := txn(2, put(fmt.Sprint("i/a", i), 0, "a"), put(fmt.Sprint("i/b", i), 0, "b"))
		done := make(chan error)
		go func() { done <- s.Commit(ctx, x) }()
		if i%2 == 0 {
			cancel()
		}
		err := <-done
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			s.Fatalf("Commit = %v", err)
		}
		s.apply(x, nil)
		s.want(2, fmt.Sprint("i/a", i), "1 a")
		s.want(2, fmt.Sprint("i/b", i), "1 b")
	}
}

func (s *suite) many() {
	const perTxn = 50
	at := s.at(-1)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := n * perTxn; i < s.o.Records; i += 8 * perTxn {
				x := txn(uint8(i/perTxn), make([]store.Write, 0, perTxn)...)
				for j := i; j < min(i+perTxn, s.o.Records); j++ {
					x.Writes = append(x.Writes, wake(fmt.Sprintf("i/%06d", j), 0, fmt.Sprint(j), at.Add(-time.Duration(j)*time.Millisecond)))
				}
				if err := s.Commit(s.Context(), x); err != nil {
					s.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	count := 0
	if err := s.Scan(s.Context(), "i/", func(store.Record) bool { count++; return true }); err != nil || count != s.o.Records {
		s.Fatalf("Scan saw %d of %d records: %v", count, s.o.Records, err)
	}
	last := time.Time{}
	count = 0
	for {
		due := s.claim(1000, lease)
		if len(due.Records) == 0 {
			break
		}
		for _, r := range due.Records {
			if r.Wake.Before(last) {
				s.Fatalf("%v came after one that wakes at %v", r.Wake, last)
			}
			last = r.Wake
		}
		count += len(due.Records)
	}
	if count != s.o.Records {
		s.Errorf("claimed %d of %d records", count, s.o.Records)
	}
}

func (s *suite) clock() {
	last := s.Now()
	for range 1000 {
		now := s.Now()
		if now.Before(last) {
			s.Fatalf("the clock went back from %v to %v", last, now)
		}
		last = now
	}
	s.o.Advance(tick)
	if d := s.Now().Sub(last); d < tick-time.Millisecond {
		s.Errorf("the clock moved by %v, want at least %v", d, tick)
	}
}

func (s *suite) closed() {
	s.commit(1, wake("i/a", 0, "a", s.at(-1)))
	scanned := s.Scan(s.Context(), "", func(store.Record) bool {
		if err := s.Close(); err != nil {
			s.Errorf("Close = %v", err)
		}
		return true
	})
	if scanned != nil && !errors.Is(scanned, store.ErrClosed) {
		s.Errorf("Scan that was closed = %v", scanned)
	}
	ctx := s.Context()
	_, load := s.Load(ctx, 1, "i/a")
	_, claim := s.Claim(ctx, 1, lease)
	for name, err := range map[string]error{
		"Commit": s.Commit(ctx, txn(1, put("i/a", 1, "b"))),
		"Load":   load,
		"Claim":  claim,
		"Scan":   s.Scan(ctx, "", func(store.Record) bool { return true }),
	} {
		if !errors.Is(err, store.ErrClosed) {
			s.Errorf("%s = %v, want ErrClosed", name, err)
		}
	}
	if err := s.Close(); err != nil {
		s.Errorf("Close again = %v", err)
	}
}

func (s *suite) reopen() {
	at := s.at(-1)
	s.commit(1, wake("i/a", 0, "a", at), put("g/a", 0, "g"))
	s.commit(1, wake("i/a", 1, "b", at))
	s.commit(2, wake("i/gone", 0, "x", at))
	s.commit(2, del("i/gone", 1))
	last := txn(3, wake("i/c", 0, "c", s.at(1000)), put("g/c", 0, "g"))
	s.apply(last, nil)
	before := s.scanAll("")
	s.Store = s.o.Reopen(s.T, s.Store)
	if diff := cmp.Diff(before, s.scanAll("")); diff != "" {
		s.Fatalf("records after opening anew (-before +after):\n%s", diff)
	}
	s.apply(last, nil)
	s.want(3, "i/c", "1 c")
	s.apply(txn(1, put("i/a", 1, "stale")), store.ErrConflict)
	s.claimed(10, lease, "i/a")
	if got := slices.Sorted(maps.Keys(s.idsOf(s.scanAll("i/")))); !slices.Equal(got, []string{"i/a", "i/c"}) {
		s.Errorf("records are %q", got)
	}
}

func (s *suite) idsOf(all map[store.Key]store.Record) map[string]bool {
	m := make(map[string]bool)
	for k := range all {
		m[k.ID] = true
	}
	return m
}

func (s *suite) damage() {
	at := s.at(-10)
	s.commit(1, wake("i/a", 0, "alpha", at), wake("i/b", 0, "bravo", at), wake("i/c", 0, "charlie", at))
	s.Store = s.o.Damage(s.T, s.Store, store.Key{Partition: 1, ID: "i/a"})

	rs, err := s.Load(s.Context(), 1, "i/a", "i/b")
	if !errors.Is(err, store.ErrCorrupt) || len(rs) != 2 {
		s.Fatalf("Load = %v, %v, want both records and ErrCorrupt", rs, err)
	}
	if rs[0].Version == 0 || rs[0].Data != nil || string(rs[1].Data) != "bravo" {
		s.Errorf("Load = %+v, want a version without data, and bravo", rs)
	}
	seen := make(map[string]bool)
	err = s.Scan(s.Context(), "i/", func(r store.Record) bool { seen[r.Key.ID] = true; return true })
	if !errors.Is(err, store.ErrCorrupt) || len(seen) != 2 || seen["i/a"] {
		s.Errorf("Scan saw %v: %v, want the two good ones and ErrCorrupt", seen, err)
	}
	s.claimed(2, 5*tick, "i/b", "i/c")
	due := s.claimed(2, 5*tick)
	if !due.Next.After(s.Now()) {
		s.Errorf("Next = %v: the damaged record would be tried without a pause", due.Next)
	}
	s.commit(1, del("i/b", 1), del("i/c", 1))

	// Whoever has seen it can replace it.
	s.apply(txn(1, put("i/a", 0, "x")), store.ErrConflict)
	s.commit(1, wake("i/a", rs[0].Version, "healed", at))
	if got := s.load(1, "i/a")[0]; string(got.Data) != "healed" {
		s.Errorf("the replaced record is %+v", got)
	}
	s.claimed(10, lease, "i/a")
	s.claimed(10, lease)
}
