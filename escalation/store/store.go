// Package store is the contract between the engine and whatever keeps its
// records: mem (the reference, for tests), bolt (one machine) and, behind the
// same contract, Redis.
//
// A record is a key, opaque bytes, a version and an optional wake-up. Records
// live in one of Partitions partitions; a Txn changes records of one partition
// and is applied as a whole or not at all. That is all the engine needs: an
// incident, its group record, its timers and its outbox change in one Txn.
//
// Every implementation passes storetest.Run.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Partitions is the number of partitions, fixed for the life of a store. With
// Redis each is one hash tag, so that a Txn touches one slot only.
const Partitions = 256

// What one Write may carry. Both are far above what callchain writes: they
// keep a mistake from becoming a store that cannot be opened.
const (
	MaxID   = 1024     // bytes of an ID
	MaxData = 32 << 20 // bytes of a record
)

// Key names a record. ID is unique within its partition; its first letters, up
// to the first "/", are its kind: "i/" incidents, "g/" groups, "f/" facts. To
// the store it is 1 to MaxID bytes of any value.
type Key struct {
	Partition uint8
	ID        string
}

// Record is one stored record. Version 0 means that it does not exist.
type Record struct {
	Key     Key
	Version uint64
	// Data must not be changed by the caller. It is nil when the record does
	// not exist or is damaged, and only then.
	Data []byte
	// Wake is the wake-up that the last Commit set, in UTC. Claims do not show
	// in it: in what Claim returns it tells when the record was to be woken.
	Wake time.Time
}

// Write changes one record of a Txn.
type Write struct {
	ID     string
	Expect uint64    // the version that was read; 0: the record must not exist
	Data   []byte    // nil deletes the record and its wake-up; empty is a record without data
	Wake   time.Time // zero: none; kept as Millis
}

// Txn is an atomic change. All its writes are in one partition and have
// different IDs; a Write with Data equal to what is stored still counts as a
// change (its version rises). A Write that neither expects nor brings anything
// (Expect 0, Data nil) only demands that the record be absent.
type Txn struct {
	Partition uint8
	Writes    []Write
	// Mark makes a lost reply harmless: a Txn whose Mark is that of the last
	// Txn applied to its first record answers Applied and changes nothing, also
	// when that Txn deleted the record. Choose it at random for every new Txn
	// and keep it when trying again. The zero Mark protects nothing.
	//
	// The marks of records that exist are as durable as they are. Those of
	// deleted records are kept for the last MarksKept deletions. A Txn that is
	// tried again after another one changed its first record answers
	// ErrConflict: load, and see that it is done.
	Mark [8]byte
	// Urgent: it creates records, but only along with a change that must not wait
	// for room, such as an acknowledgement.
	Urgent bool
}

// Grows tells whether a store that is full refuses the Txn: it creates records,
// and neither deletes any (one that moves makes no more of them) nor is urgent.
func (t Txn) Grows() bool {
	grows := false
	for _, w := range t.Writes {
		if w.Data == nil && w.Expect != 0 {
			return false
		}
		grows = grows || w.Data != nil && w.Expect == 0
	}
	return grows && !t.Urgent
}

// MarksKept is for how many deletions a store remembers the mark at least.
const MarksKept = 4096

// Check reports what makes a Txn one that no store can apply; the error is
// ErrInvalid. Every store calls it first.
func (t Txn) Check() error {
	for i, w := range t.Writes {
		switch {
		case w.ID == "" || len(w.ID) > MaxID:
			return fmt.Errorf("write %d has an id of %d bytes, 1 to %d are legal: %w", i, len(w.ID), MaxID, ErrInvalid)
		case len(w.Data) > MaxData:
			return fmt.Errorf("write %q has %d bytes of data, at most %d are legal: %w", w.ID, len(w.Data), MaxData, ErrInvalid)
		}
		for _, earlier := range t.Writes[:i] {
			if earlier.ID == w.ID {
				return fmt.Errorf("two writes of %q: %w", w.ID, ErrInvalid)
			}
		}
	}
	return nil
}

// Errors that callers decide on. Everything else means: outcome unknown, the
// Txn may or may not have been applied, try again with the same Mark.
var (
	// ErrConflict: some record has another version than expected; nothing changed.
	ErrConflict = errors.New("a record was changed meanwhile")
	// ErrFull: the store takes no Txn that grows it; all others still pass where
	// the store can make room for them. Nothing changed.
	ErrFull = errors.New("the store is full")
	// ErrInvalid: the Txn can never be applied; nothing changed. A mistake in
	// the program: trying again does not help.
	ErrInvalid = errors.New("the transaction is malformed")
	// ErrCorrupt: a record does not carry the checksum it was written with.
	ErrCorrupt = errors.New("a record is damaged")
	// ErrPartial: a part of the store is away; what was shown is the rest.
	ErrPartial = errors.New("a part of the store is away")
	// ErrClosed: the store was closed; nothing changed.
	ErrClosed = errors.New("the store is closed")
)

// Due is what Claim found.
type Due struct {
	// Records are ordered by wake-up, earliest first, where a claim that lapsed
	// counts with the end of its lease: a record that nobody manages to handle
	// does not stand in the way of the others.
	Records []Record
	// Next is the earliest wake-up that is left, those moved by claims included;
	// it is not after now when more is due than was asked for. Zero: none.
	Next time.Time
}

// Store keeps records. All methods are safe for concurrent use and return
// promptly when ctx is done.
type Store interface {
	// Commit applies a Txn: durable when it returns nil. It returns ErrConflict,
	// ErrFull, ErrInvalid or ErrClosed when nothing changed, any other error
	// when the outcome is unknown, the context's among them. Versions rise by
	// one per applied write and never repeat for a key while the record exists;
	// a record created after a deletion starts at 1. A Txn without writes does
	// nothing. The caller may reuse the Txn's memory once Commit returned.
	//
	// A damaged record has the Version that Load reports, so that it can be
	// replaced or deleted by whoever has seen that it is damaged.
	Commit(ctx context.Context, txn Txn) error

	// Load returns one record per id, in order; absent ones have Version 0.
	// It sees every Commit that returned before it was called. The records of
	// one call are of one instant. A damaged record is returned with its
	// Version, without Data, and ErrCorrupt joined into the error; the other
	// records of the call are good.
	Load(ctx context.Context, partition uint8, ids ...string) ([]Record, error)

	// Claim returns at most max records whose wake-up is not after the store's
	// now, and moves their wake-ups to now+lease, so that nobody else gets them
	// meanwhile. It is a hint, no lock: a claim changes no version. A Commit to
	// a claimed record replaces the moved wake-up. Claims that are not followed
	// by a Commit come back after the lease, or earlier when the store was
	// opened anew. Damaged records are not returned, and stop no others; nor does a
	// part of a store of several servers that is away: it is an error only when all
	// of it is.
	Claim(ctx context.Context, max int, lease time.Duration) (Due, error)

	// Scan calls yield for every record whose ID begins with prefix, in every
	// partition, in no promised order, until yield returns false. Records that
	// existed throughout are seen exactly once; the whole is not of one instant.
	// yield may call the store. Damaged records are passed over, and ErrCorrupt
	// is joined into the error that is returned at the end. When a part of a store
	// of several servers is away, the rest is shown, and the error is ErrPartial.
	Scan(ctx context.Context, prefix string, yield func(Record) bool) error

	// Now is the store's clock: the only one that timers are compared with. It
	// never runs backwards within one Store.
	Now() time.Time

	// Close ends every method with ErrClosed, also those under way. It may be
	// called more than once.
	Close() error
}

// maxMillis is the greatest wake-up: exact as a float64 too, which is how Redis
// keeps scores.
const maxMillis = 1 << 52

// Millis is a wake-up as stores keep it: milliseconds since 1970, rounded up so
// that nothing wakes early. 0 stands for the zero time, none; instants before
// 1970 are 1.
func Millis(wake time.Time) int64 {
	if wake.IsZero() {
		return 0
	}
	ms := wake.UnixMilli()
	if wake.Nanosecond()%int(time.Millisecond) != 0 {
		ms++
	}
	return min(max(ms, 1), maxMillis)
}

// Instant is the time of what Millis returned.
func Instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// Lane says for whom a call is made. A store of another machine keeps connections
// for each, so that those who call much leave room for the others.
type Lane uint8

// The lanes.
const (
	Work   Lane = iota // timers, outcomes of messages, lists
	Intake             // webhooks: most of all in a storm
	People             // presses and actions: somebody is waiting
	Lanes              // how many there are
)

type laneKey struct{}

// In makes calls with the context take a lane.
func In(ctx context.Context, l Lane) context.Context { return context.WithValue(ctx, laneKey{}, l) }

// LaneOf is the lane of a context.
func LaneOf(ctx context.Context) Lane {
	l, _ := ctx.Value(laneKey{}).(Lane)
	return l
}

// Settler is a store of another machine that may lose what it committed when it
// dies: who has to be sure that a change is elsewhere too asks for that afterwards.
// What has to go out because of the change does not wait for it.
type Settler interface {
	// Epoch names the server that holds a partition, for Settle of what is
	// committed after it was asked.
	Epoch(partition uint8) string
	// Settle returns when what was committed to a partition since epoch is as safe
	// as it has to be. ErrMoved: another server holds it now, which may lack it; so
	// make the change again and settle that. ErrBehind: it is less safe than
	// it should be, and may be relied on all the same. ErrUnsettled: it may not.
	Settle(ctx context.Context, partition uint8, epoch string) error
}

// What Settle answers.
var (
	ErrMoved     = errors.New("another server holds it now")
	ErrBehind    = errors.New("it is on one server only")
	ErrUnsettled = errors.New("it is not safe yet")
)
