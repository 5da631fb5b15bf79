package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/internal/fault"
)

// Ready tells whether a webhook could be kept: in the store, if only in a part
// of it (a replica that is taken out of service because another part is away helps
// nobody), or on the island.
func (e *Engine) Ready(ctx context.Context) error {
	if e.island != nil {
		return e.island.ready(ctx)
	}
	return e.answers(ctx)
}

// answers tells whether some part of the store does.
func (e *Engine) answers(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	const parts = 8 // of a Cluster's servers each holds one of them, as good as surely
	answers := make(chan error, parts)
	for i := range parts {
		go func() {
			_, err := e.store.Load(ctx, uint8(i*store.Partitions/parts), "ready")
			answers <- err
		}()
	}
	var err error
	for range parts {
		if err = <-answers; err == nil {
			return nil
		}
	}
	return err
}

// idle is how long Run sleeps at most: others may have committed something that is
// due earlier than what it knows of.
const idle = 500 * time.Millisecond

// Run claims what is due and sees it through, until ctx is done; then it waits
// some seconds for the attempts that are under way and records them.
func (e *Engine) Run(ctx context.Context) error {
	defer e.drain()
	defer context.AfterFunc(ctx, e.stop)()
	if e.island != nil {
		var own sync.WaitGroup
		own.Go(func() {
			e.begin("island")
			e.island.run(ctx)
		})
		defer own.Wait()
	}
	e.work.Go(func() {
		defer e.contain("share what a channel takes", allowanceKey)
		e.begin("share what a channel takes")
		e.runSharing(ctx)
	})
	idle := idle
	if x, ok := e.store.(exclusive); ok && x.Exclusive() {
		idle = time.Minute // what we commit ourselves wakes us
		// Beside the loop: with many incidents it takes seconds, and timers do not wait.
		e.work.Go(func() {
			defer e.contain("take up attempts", "")
			if err := e.takeBack(ctx); err != nil && ctx.Err() == nil {
				e.log.Error("attempts of the process before could not be taken up; their leases run out instead", "err", err)
			}
		})
	}
	planned, watched := time.Time{}, time.Now()
	for ctx.Err() == nil {
		// A plan that could not be made is made later; a reload may change it.
		// Once an hour in any case: the store may have lost it.
		if snap := e.snap.Load(); (e.planned.Load() != snap || time.Since(planned) > time.Hour) && time.Since(planned) > 5*time.Second {
			planned = time.Now()
			if err := errors.Join(e.planWeekly(ctx), e.planWitness(ctx)); err == nil {
				e.planned.Store(snap)
			} else if ctx.Err() == nil {
				e.log.Error("the weekly report, or asking Alertmanager, could not be planned; it is tried again", "err", err)
			}
		}
		if time.Since(watched) > e.witness.every {
			watched = time.Now()
			if err := e.planWitness(ctx); err != nil && ctx.Err() == nil {
				e.log.Warn("it is not known whether Alertmanager is asked; that is looked at again", "err", err)
			}
		}
		if e.island != nil && e.island.holds() {
			e.sleep(ctx, 200*time.Millisecond)
			continue
		}
		if d := e.newer.polite(e.store.Now()); d > 0 {
			pause(ctx, d)
		}
		e.asleep.Store(math.MaxInt64)
		due, err := e.claim(ctx)
		if err != nil {
			e.hearing.badly()
			if ctx.Err() == nil {
				if e.island != nil {
					e.island.loseAll(err)
				}
				e.metrics.storeUp.Set(0)
				e.log.Error("timers cannot be read from the store", "err", err)
			}
			e.sleep(ctx, 500*time.Millisecond)
			continue
		}
		if len(due.Records) > 0 {
			fault.Here("claim.after")
		}
		e.metrics.storeUp.Set(1)
		e.hearing.well(e.store.Now())
		for _, rec := range due.Records {
			if e.island != nil && e.island.waits(rec.Key.Partition) {
				continue
			}
			select {
			case e.ticks <- struct{}{}:
			case <-ctx.Done():
				e.work.Go(func() { e.unbegun(rec) })
				continue
			}
			e.work.Go(func() {
				defer func() { <-e.ticks }()
				e.begin("due " + rec.Key.ID)
				e.due(rec)
			})
		}
		wait := idle
		if len(due.Records) > 0 {
			wait = 0 // there may be more
		} else if !due.Next.IsZero() {
			wait = min(wait, max(0, due.Next.Sub(e.store.Now())))
		}
		e.asleep.Store(e.store.Now().Add(wait).UnixMilli())
		e.sleep(ctx, wait)
	}
	return nil
}

// claim asks for what is due. A stop does not cut it off at once: records whose
// claim went through and whose answer is not heard would wait for their leases.
func (e *Engine) claim(ctx context.Context) (store.Due, error) {
	asking, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(500*time.Millisecond, cancel) })()
	return e.store.Claim(asking, 256, escalation.Lease)
}

// unbegun gives back what was claimed and is not begun any more.
func (e *Engine) unbegun(rec store.Record) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := e.giveBack(ctx, rec, e.store.Now()); err != nil && !errors.Is(err, store.ErrConflict) {
		e.log.Warn("what was claimed could not be given back; it is taken up when its lease is over", "record", rec.Key.ID, "err", err)
	}
}

// At the end attempts that are under way may take drainFor, and their records
// recordFor after that: together less than main waits, which has ten seconds for
// everything. An attempt that is cut is made again, by another process or at the
// next start; so is one that does not even end then, when its lease is over.
const (
	drainFor  = 3 * time.Second
	recordFor = 1500 * time.Millisecond
)

// drain ends the sending: nothing new is taken, what is under way is recorded.
func (e *Engine) drain() {
	e.stop()
	if e.island != nil {
		var own sync.WaitGroup
		own.Go(e.island.inner.drain)
		defer own.Wait()
	}
	done := make(chan struct{})
	go func() { e.work.Wait(); close(done) }()
	ended := func(limit time.Duration) bool {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		select {
		case <-done:
			return true
		case <-timer.C:
			return false
		}
	}
	inTime := ended(drainFor)
	e.cut()
	if !inTime && !ended(recordFor) {
		e.log.Warn("attempts that do not end are left behind; they are made again when their leases are over")
	}
}

// exclusive is a store that one process has for itself: attempts that it finds
// under way when it starts are those of a process that is gone.
type exclusive interface{ Exclusive() bool }

// takeBack makes the attempts of the process before again.
func (e *Engine) takeBack(ctx context.Context) error {
	var ids []string
	collect := func(rec store.Record) bool {
		l, err := e.decodeIncident(rec)
		if err == nil && slices.ContainsFunc(l.Deliveries, func(d escalation.Delivery) bool { return d.Status == escalation.InFlight }) {
			ids = append(ids, l.ID)
		}
		return true
	}
	err := errors.Join(e.scan(ctx, "i/", collect), e.scan(ctx, "m/", collect))
	for _, id := range ids {
		if _, _, err := e.apply(ctx, id, escalation.Abandoned{Before: e.began}, nil, false); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return err
}

func (e *Engine) sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-e.nudge:
	case <-timer.C:
	}
}

func (e *Engine) wakeUp() {
	select {
	case e.nudge <- struct{}{}:
	default:
	}
}

// due sees one claimed record through. An error leaves it to the next claim,
// after the lease.
func (e *Engine) due(rec store.Record) {
	defer e.containDue(rec)
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	var err error
	switch kind, _, _ := cutKind(rec.Key.ID); kind {
	case "i", "c", "n", "r":
		err = e.dueIncident(ctx, rec)
	case "m":
		err = e.dueDigest(ctx, rec)
	case "g":
		err = e.dueGroup(ctx, rec)
	case "b":
		err = e.dueHeartbeat(ctx, rec)
	case "p":
		if strings.HasPrefix(rec.Key.ID, witnessPrefix) {
			err = e.dueWitness(ctx, rec)
			break
		}
		err = e.dueWeekly(ctx, rec)
	case "a", "d", "f", "k", "q": // they are kept for a time, and that is over
		err = e.store.Commit(ctx, store.Txn{Partition: rec.Key.Partition, Mark: mark(), Writes: []store.Write{{ID: rec.Key.ID, Expect: rec.Version}}})
	default:
		err = fmt.Errorf("look at %s: %w: its kind is not known", rec.Key.ID, errNewer)
	}
	switch {
	case errors.Is(err, errUnreadable):
		err = e.quarantine(ctx, rec, err)
	case errors.Is(err, errNewer):
		err = e.handOver(ctx, rec, err)
	}
	e.poison.clear(rec.Key) // it was handled without a panic
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, store.ErrConflict) {
		e.log.Error("a due record could not be handled; it is tried again", "record", rec.Key.ID, "err", err)
	}
}

func (e *Engine) dueIncident(ctx context.Context, rec store.Record) error {
	l, err := e.decodeIncident(rec)
	if err != nil {
		return err
	}
	now := e.store.Now()
	if l.Expired(now) {
		return e.store.Commit(ctx, store.Txn{Partition: rec.Key.Partition, Mark: mark(), Writes: []store.Write{{ID: rec.Key.ID, Expect: rec.Version}}})
	}
	if l.State == escalation.Triggered && l.Deadline != 0 && l.Deadline.Time().Before(now) {
		e.metrics.timerLateness.Observe(now.Sub(l.Deadline.Time()).Seconds())
	}
	known := e.witnessed(ctx, &l)
	if e.stopping.Err() != nil {
		return e.giveBack(ctx, rec, e.store.Now()) // somebody else asks Alertmanager
	}
	fault.Here("tick.before_commit")
	_, _, err = e.apply(ctx, l.ID, escalation.Tick{}, known, true)
	fault.Here("tick.after_commit")
	return err
}

func (e *Engine) dueGroup(ctx context.Context, rec store.Record) error {
	gid := strings.TrimPrefix(rec.Key.ID, "g/")
	for {
		group, incs, err := e.loadGroup(ctx, rec.Key.Partition, gid, false)
		if err != nil || group.version == 0 {
			return err
		}
		now := e.store.Now()
		next, w, gone := escalation.TickGroup(group.Group, incidentsOf(incs), now, e.snap.Load().env())
		t := txn{partition: rec.Key.Partition}
		var after []escalation.Incident
		switch {
		case gone:
			t.writes = []store.Write{{ID: rec.Key.ID, Expect: group.version}}
		case len(w.Alerts) > 0:
			// As if Alertmanager had said it again now; the deferred alert is
			// taken off the group only with that.
			out := escalation.Ingest(next, incidentsOf(incs), next.Source, w, now, e.snap.Load().env(), nil)
			if err := t.group(e, group, out.Group); err != nil {
				return err
			}
			after = out.Incidents
			if err := e.ingested(ctx, &t, incs, out, now, now, e.snap.Load().env()); err != nil {
				return err
			}
		default:
			next.TouchedAt = escalation.At(now)
			if err := t.group(e, group, next); err != nil {
				return err
			}
		}
		if err := e.commit(ctx, &t); errors.Is(err, store.ErrConflict) {
			continue
		} else if err != nil {
			return err
		}
		e.ingestDone(incs, after, now)
		e.dispatch(t.taken, time.Time{})
		return nil
	}
}
