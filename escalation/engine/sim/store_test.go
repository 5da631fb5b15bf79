package sim

import (
	"bytes"
	"context"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"callchain/escalation"
	"callchain/escalation/record"
	"callchain/escalation/store"
)

var (
	errAway = errors.New("the store is away")
	errLost = errors.New("no answer from the store")
)

// link is a process's connection to the store that all share. Each call takes
// time on its way and on its way back; either may fail.
type link struct{ p *process }

// exclusive is the store of a process that has it for itself.
type exclusive struct{ *link }

// Exclusive tells the engine so.
func (exclusive) Exclusive() bool { return true }

var _ store.Store = (*link)(nil)

func latency(r *rand.Rand) time.Duration {
	if r.IntN(100) == 0 {
		return between(r, 10*time.Millisecond, 150*time.Millisecond)
	}
	return between(r, 50*time.Microsecond, 3*time.Millisecond)
}

// call makes one call. Where there is an island it is made again for a while when
// it fails, as the store in Redis does.
func (l *link) call(ctx context.Context, op string, partition int, content uint64, apply func(r *rand.Rand) error) error {
	p, w := l.p, l.p.w
	patience, pause := 4*time.Second, 4*time.Millisecond
	if op == "claim" {
		patience = time.Second
	}
	for begin := w.now(); ; {
		err := l.once(ctx, op, partition, content, apply)
		if !w.island || !errors.Is(err, errAway) && !errors.Is(err, errLost) || w.now().Sub(begin) > patience {
			return err
		}
		if errors.Is(err, errAway) {
			pause = 400 * time.Millisecond
		}
		r := w.dice("again", op, p.id, w.ns(), content)
		if err := p.wait(ctx, between(r, pause/2, pause)); err != nil {
			return err
		}
		pause = min(2*pause, 400*time.Millisecond)
	}
}

// once makes one attempt. apply is what it does at the instant at which it arrives.
func (l *link) once(ctx context.Context, op string, partition int, content uint64, apply func(r *rand.Rand) error) error {
	p, w := l.p, l.p.w
	r := w.dice(op, p.id, w.ns(), content)
	there, back := latency(r), latency(r)
	if w.alone { // a file: nothing is on its way when the process dies
		there, back = there/4, back/4
	}
	if !p.alive() {
		return errKilled
	}
	wired := !w.alone && op == "commit" && r.IntN(2) == 0
	if err := p.wait(ctx, there); errors.Is(err, errKilled) && wired {
		time.Sleep(there / 3)
	} else if err != nil {
		return err
	}
	w.mu.Lock()
	if p.dead && !wired {
		w.mu.Unlock()
		return errKilled
	}
	now := w.now()
	fail, lost := error(nil), false
	if o, away := w.gone(p, partition); away {
		fail = errAway
		if o.from.UnixNano()%2 == 0 {
			back += 2 * time.Second // packets vanish
		}
	} else if w.faults && r.Float64() < w.lossy {
		if lost = r.IntN(2) == 0; !lost {
			fail = errLost
		}
	}
	if fail != nil || lost {
		p.losses = append(p.losses, now)
		if !errors.Is(fail, errAway) { // else it is known
			w.disturb("store", now, now)
		}
		w.event("%s: %s of the store fails, lost reply %v", p.id, op, lost)
	}
	if fail == nil {
		fail = apply(r)
	}
	w.mu.Unlock()
	if err := p.wait(ctx, back); err != nil {
		w.mu.Lock()
		p.losses = append(p.losses, w.now())
		w.mu.Unlock()
		return err
	}
	if lost {
		return errLost
	}
	return fail
}

func fingerprint(parts ...[]byte) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = h.Write(p)
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64()
}

// Commit implements store.Store.
func (l *link) Commit(ctx context.Context, txn store.Txn) error {
	var parts [][]byte // all but the mark, which is random
	for _, w := range txn.Writes {
		parts = append(parts, []byte(w.ID), w.Data)
	}
	return l.call(ctx, "commit", int(txn.Partition), fingerprint(parts...), func(r *rand.Rand) error {
		w := l.p.w
		txn, pretend := w.mutateCommit(r, txn)
		if pretend {
			return nil
		}
		before := w.remember(txn)
		err := w.store.Commit(context.Background(), txn)
		if errors.Is(err, store.ErrConflict) {
			w.count.conflicts++
			txn, err = w.mutateConflict(txn, err)
		}
		if err == nil && !w.marks[txn.Mark] { // else it was our own, whose answer was lost
			w.marks[txn.Mark] = true
			if w.forgets {
				w.undos = append(w.undos[max(0, len(w.undos)-20):], before)
			}
			w.committed(l.p, txn)
		}
		return err
	})
}

// Load implements store.Store.
func (l *link) Load(ctx context.Context, partition uint8, ids ...string) (recs []store.Record, err error) {
	w, p := l.p.w, l.p
	asked := w.now()
	var seen []look
	err = l.call(ctx, "load", int(partition), fingerprint([]byte{partition}, []byte(strings.Join(ids, " "))), func(*rand.Rand) error {
		var err error
		recs, err = w.store.Load(context.Background(), partition, ids...)
		w.mutateLoad(p, asked, recs)
		seen = seen[:0]
		for _, id := range ids {
			n, h := -1, w.histories[strings.TrimPrefix(id, "i/")]
			if h != nil {
				n = len(h.versions) - 1
			}
			seen = append(seen, look{of: h, version: n})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, id := range ids {
		if name, ok := strings.CutPrefix(id, "i/"); ok {
			seen[i].returned = w.now()
			p.looks[name] = seen[i]
		}
	}
	return recs, nil
}

// Claim implements store.Store.
func (l *link) Claim(ctx context.Context, max int, lease time.Duration) (due store.Due, err error) {
	err = l.call(ctx, "claim", -1, 0, func(*rand.Rand) error {
		var err error
		due, err = l.p.w.store.Claim(context.Background(), max, lease)
		due.Records = slices.DeleteFunc(due.Records, func(rec store.Record) bool {
			_, away := l.p.w.gone(l.p, int(rec.Key.Partition))
			return away
		})
		for _, rec := range due.Records {
			l.p.w.event("%s claims %s", l.p.id, rec.Key.ID)
		}
		return err
	})
	if err != nil {
		return store.Due{}, err
	}
	return due, nil
}

// Scan implements store.Store.
func (l *link) Scan(ctx context.Context, prefix string, yield func(store.Record) bool) error {
	var found []store.Record
	missing := false
	err := l.call(ctx, "scan", -1, fingerprint([]byte(prefix)), func(*rand.Rand) error {
		found, missing = nil, false
		return l.p.w.store.Scan(context.Background(), prefix, func(rec store.Record) bool {
			if _, away := l.p.w.gone(l.p, int(rec.Key.Partition)); away {
				missing = true
			} else {
				found = append(found, rec)
			}
			return true
		})
	})
	if err != nil {
		return err
	}
	for _, rec := range found {
		if !yield(rec) {
			return nil
		}
	}
	if missing {
		return store.ErrPartial
	}
	return nil
}

// remember is what a transaction is about to overwrite. w.mu is held.
func (w *world) remember(txn store.Txn) undo {
	u := undo{partition: txn.Partition}
	if !w.forgets {
		return u
	}
	for _, wr := range txn.Writes {
		if recs, err := w.store.Load(context.Background(), txn.Partition, wr.ID); err == nil {
			u.before = append(u.before, recs[0])
		}
	}
	return u
}

// revert makes a record what it was. w.mu is held.
func (w *world) revert(was store.Record) {
	recs, err := w.store.Load(context.Background(), was.Key.Partition, was.Key.ID)
	if err != nil || recs[0].Version == 0 && was.Data == nil {
		return
	}
	if strings.HasPrefix(was.Key.ID, "p/witness/") {
		w.receivers = bytes.Contains(was.Data, []byte(`"callchain"`))
	}
	var told escalation.Incident
	if kind := was.Key.ID[:2]; (kind == "n/" || kind == "r/") && record.Decode(recs[0].Data, &told) == nil {
		for _, d := range told.Deliveries {
			w.lapses[d.ID] = w.now()
		}
	}
	w.n++
	err = w.store.Commit(context.Background(), store.Txn{Partition: was.Key.Partition, Mark: [8]byte{0xff, 1, byte(w.n), byte(w.n >> 8), byte(w.n >> 16)},
		Writes: []store.Write{{ID: was.Key.ID, Expect: recs[0].Version, Data: was.Data, Wake: was.Wake}}})
	if err != nil {
		w.violate("I0", "revert %s: %v", was.Key.ID, err)
	}
}

// Now implements store.Store.
func (l *link) Now() time.Time { return l.p.w.mutateNow(l.p, l.p.w.store.Now()) }

// Close implements store.Store.
func (l *link) Close() error { return nil }
