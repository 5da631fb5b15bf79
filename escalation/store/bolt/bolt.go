package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"time"

	bbolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"callchain/escalation/store"
)

var _ store.Store = (*Store)(nil)

// scanChunk is how many records Scan reads in one transaction. Between them the
// writer may grow the file and reuse pages.
const scanChunk = 256

// Exclusive tells that no other process uses the store: the file is locked. What
// a process before was doing when it ended, nobody is doing any more.
func (s *Store) Exclusive() bool { return true }

// Installation is the random name that the file got when it was made.
func (s *Store) Installation() string { return s.installation }

// Now implements store.Store.
func (s *Store) Now() time.Time {
	return s.base.Add(time.Since(s.base)).Round(0).UTC()
}

// Load implements store.Store.
func (s *Store) Load(ctx context.Context, partition uint8, ids ...string) ([]store.Record, error) {
	if err := s.usable(ctx, "load"); err != nil {
		return nil, err
	}
	found := make([]store.Record, len(ids))
	var damaged []error
	err := s.view(func(tx *bbolt.Tx) error {
		records := tx.Bucket(recordsBucket)
		for i, id := range ids {
			key := boltKey(partition, id)
			value := records.Get(key)
			if value == nil {
				found[i].Key = store.Key{Partition: partition, ID: id}
				continue
			}
			r := decode(key, value)
			found[i] = r.public(key)
			if r.damaged {
				damaged = append(damaged, corrupt(key))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return found, errors.Join(damaged...)
}

// Scan implements store.Store.
func (s *Store) Scan(ctx context.Context, prefix string, yield func(store.Record) bool) error {
	var damaged []error
	for partition := range store.Partitions {
		begin := boltKey(uint8(partition), prefix)
		for from := begin; from != nil; {
			if err := s.usable(ctx, "scan"); err != nil {
				return err
			}
			var chunk []store.Record
			err := s.view(func(tx *bbolt.Tx) error {
				c := tx.Bucket(recordsBucket).Cursor()
				k, v := c.Seek(from)
				for n := 0; ; n++ {
					if k == nil || !bytes.HasPrefix(k, begin) {
						from = nil
						return nil
					}
					if n == scanChunk {
						from = bytes.Clone(k)
						return nil
					}
					if r := decode(k, v); r.damaged {
						damaged = append(damaged, corrupt(k))
					} else {
						chunk = append(chunk, r.public(k))
					}
					k, v = c.Next()
				}
			})
			if err != nil {
				return fmt.Errorf("scan: %w", err)
			}
			for _, r := range chunk {
				if !yield(r) {
					return nil
				}
			}
		}
	}
	return errors.Join(damaged...)
}

// Claim implements store.Store. It writes nothing to the file.
func (s *Store) Claim(ctx context.Context, max int, lease time.Duration) (store.Due, error) {
	if err := s.usable(ctx, "claim"); err != nil {
		return store.Due{}, err
	}
	due, strays, err := s.claim(max, lease)
	if err != nil {
		return store.Due{}, fmt.Errorf("claim: %w", err)
	}
	if len(strays) > 0 {
		s.log.Error("index of wake-ups is damaged, entries without their record are removed", "entries", len(strays))
		select {
		case s.requests <- &request{ctx: context.Background(), strays: strays, done: make(chan error, 1)}:
		default: // the writer is busy: a later Claim comes by them again
		}
	}
	return due, nil
}

// candidate is a record that is due: from the index, or because its lease ended.
type candidate struct {
	at     int64
	key    []byte
	lapsed bool
}

func (c candidate) before(d candidate) bool {
	if c.at != d.at {
		return c.at < d.at
	}
	return bytes.Compare(c.key, d.key) < 0
}

// claim merges the index of wake-ups, leaving out what is leased, with the
// leases that ended. It also returns entries of the index that have no record.
func (s *Store) claim(max int, lease time.Duration) (due store.Due, strays [][]byte, err error) {
	s.claims.Lock()
	defer s.claims.Unlock()

	now := s.Now()
	until := store.Millis(now.Add(lease))
	var lapsed []candidate
	for key, end := range s.leases {
		if end <= now.UnixMilli() {
			lapsed = append(lapsed, candidate{end, []byte(key), true})
		}
	}
	slices.SortFunc(lapsed, func(a, b candidate) int {
		if a.before(b) {
			return -1
		}
		return 1
	})

	var taken []string
	var next int64 // of the index: the first entry that is left
	err = s.view(func(tx *bbolt.Tx) error {
		records := tx.Bucket(recordsBucket)
		index := tx.Bucket(wakesBucket).Cursor()
		entry, _ := index.First()
		for {
			// Leases hold a small part of the index: what is being worked on.
			for entry != nil && s.leased(entry[8:]) {
				entry, _ = index.Next()
			}
			var head candidate
			if entry != nil {
				head = fromIndex(entry)
			}
			next = head.at
			if len(lapsed) > 0 && (entry == nil || lapsed[0].before(head)) {
				head = lapsed[0]
			}
			if len(due.Records) >= max || head.key == nil || head.at > now.UnixMilli() {
				return nil
			}

			value := records.Get(head.key)
			r := decode(head.key, value)
			switch {
			case head.lapsed && (value == nil || !r.damaged && (r.wake == 0 || r.wake > now.UnixMilli())):
				// A commit that is visible already; the writer is about to end the lease.
			case value == nil, !head.lapsed && !r.damaged && r.wake != head.at:
				strays = append(strays, wakeKey(head.at, head.key))
			case r.damaged:
				s.log.Error("damaged record is due and passed over", "partition", head.key[0], "id", string(head.key[1:]))
				taken = append(taken, string(head.key))
			default:
				due.Records = append(due.Records, r.public(head.key))
				taken = append(taken, string(head.key))
			}
			if head.lapsed {
				lapsed = lapsed[1:]
			} else {
				entry, _ = index.Next()
			}
		}
	})
	if err != nil {
		return store.Due{}, nil, err
	}
	for _, key := range taken {
		s.leases[key] = until
	}
	for _, end := range s.leases {
		if next == 0 || end < next {
			next = end
		}
	}
	due.Next = store.Instant(next)
	return due, strays, nil
}

func (s *Store) leased(key []byte) bool {
	_, ok := s.leases[string(key)]
	return ok
}

// Backup writes a copy of the whole file, as of one instant, while the store is
// in use.
func (s *Store) Backup(ctx context.Context, w io.Writer) (int64, error) {
	if err := s.usable(ctx, "backup"); err != nil {
		return 0, err
	}
	var n int64
	err := s.view(func(tx *bbolt.Tx) (err error) {
		n, err = tx.WriteTo(contextWriter{ctx, w})
		return err
	})
	if err != nil {
		return n, fmt.Errorf("back up store: %w", err)
	}
	return n, nil
}

type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c contextWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}

// Close implements store.Store. It waits for the batch that is being written.
func (s *Store) Close() error {
	s.once.Do(func() {
		close(s.closing)
		<-s.written
		if err := guard(s.db.Close); err != nil {
			s.closeErr = fmt.Errorf("close store: %w", err)
		}
	})
	return s.closeErr
}

func (s *Store) usable(ctx context.Context, op string) error {
	select {
	case <-s.closing:
		return store.ErrClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

func (s *Store) view(read func(*bbolt.Tx) error) error {
	return guard(func() error { return s.db.View(read) })
}

func (s *Store) update(change func(*bbolt.Tx) error) error {
	return guard(func() error { return s.db.Update(change) })
}

// guard makes errors of what bbolt does to a damaged file: it panics on pages
// that make no sense, and a file that was cut short faults in the mapping.
func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file of the store is damaged (%v): %w", p, store.ErrCorrupt)
		}
	}()
	err = do()
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return store.ErrClosed
	}
	return err
}
