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
	"time"
)

// Partitions is the number of partitions, fixed for the life of a store. With
// Redis each is one hash tag, so that a Txn touches one slot only.
const Partitions = 256

// Key names a record. ID is unique within its partition; its first letters, up
// to the first "/", are its kind: "i/" incidents, "g/" groups, "f/" facts.
type Key struct {
	Partition uint8
	ID        string
}

// Record is one stored record. Version 0 means that it does not exist.
type Record struct {
	Key     Key
	Version uint64
	Data    []byte // the caller must not change it
	Wake    time.Time
}

// Write changes one record of a Txn.
type Write struct {
	ID     string
	Expect uint64    // the version that was read; 0: the record must not exist
	Data   []byte    // nil deletes the record and its wake-up
	Wake   time.Time // zero: none; millisecond precision
}

// Txn is an atomic change. All its writes are in one partition and have
// different IDs; a Write with Data equal to what is stored still counts as a
// change (its version rises).
type Txn struct {
	Partition uint8
	Writes    []Write
	// Mark makes a lost reply harmless: a Txn whose Mark is that of the last
	// Txn applied to its first record answers Applied and changes nothing.
	Mark [8]byte
}

// Errors that callers decide on. Everything else means: outcome unknown, the
// Txn may or may not have been applied, try again.
var (
	// ErrConflict: some record has another version than expected; nothing changed.
	ErrConflict = errors.New("a record was changed meanwhile")
	// ErrFull: the store takes no new records; changes to known ones still pass.
	ErrFull = errors.New("the store is full")
	// ErrCorrupt: a record does not carry the checksum it was written with.
	ErrCorrupt = errors.New("a record is damaged")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("the store is closed")
)

// Due is what Claim found.
type Due struct {
	Records []Record  // by wake-up, earliest first
	Next    time.Time // the earliest wake-up that is left; zero: none
}

// Store keeps records. All methods are safe for concurrent use and return
// promptly when ctx is done.
type Store interface {
	// Commit applies a Txn: durable when it returns nil. It returns ErrConflict
	// or ErrFull when nothing changed, any other error when the outcome is
	// unknown. Versions rise by one per applied write and never repeat for a
	// key while the record exists; a record created after a deletion starts at 1.
	Commit(ctx context.Context, txn Txn) error

	// Load returns one record per id, in order; absent ones have Version 0.
	// It sees every Commit that returned before it was called. A damaged
	// record is returned with its Version and ErrCorrupt joined into the error.
	Load(ctx context.Context, partition uint8, ids ...string) ([]Record, error)

	// Claim returns at most max records whose wake-up is not after the store's
	// now, and moves their wake-ups to now+lease, so that nobody else gets them
	// meanwhile. It is a hint, no lock: a claim changes no version. A Commit to
	// a claimed record replaces the moved wake-up. Claims that are not followed
	// by a Commit come back after the lease.
	Claim(ctx context.Context, max int, lease time.Duration) (Due, error)

	// Scan calls yield for every record whose ID begins with prefix, in every
	// partition, in no promised order, until yield returns false. Records that
	// existed throughout are seen exactly once.
	Scan(ctx context.Context, prefix string, yield func(Record) bool) error

	// Now is the store's clock: the only one that timers are compared with. It
	// never runs backwards within one Store.
	Now() time.Time

	Close() error
}
