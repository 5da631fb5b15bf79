package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"callchain/escalation"
	"callchain/escalation/store"
)

// How the auditor goes about it. A pass reads every record once and decodes next to
// none: far less than counting open incidents for the metrics takes in that time.
const (
	auditEvery = 10 * time.Minute
	auditGrace = 5 * time.Minute // overdue by more is not late but forgotten
	auditPiece = 256             // records, and then
	auditPause = 20 * time.Millisecond
	auditMost  = 1000 // repairs of one pass: more of them are no lost timers but an overload
)

// RunAudit looks, every ten minutes or so, for records that want to be woken and
// will not be, and sees to it that they are, until ctx is done. None should ever
// be found: it is there for the day on which somebody edits Redis by hand, a key is
// evicted, or we were wrong.
func (e *Engine) RunAudit(ctx context.Context) error {
	// Replicas take turns: they did not begin in the same millisecond.
	dice := rand.New(rand.NewPCG(uint64(e.began), 0))
	wait := time.Minute + time.Duration(dice.Int64N(int64(time.Minute)))
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		e.auditOnce(ctx)
		wait = auditEvery - time.Minute + time.Duration(dice.Int64N(int64(2*time.Minute)))
	}
}

func (e *Engine) auditOnce(ctx context.Context) {
	defer e.contain("audit", "")
	if err := e.audit(ctx); err != nil && ctx.Err() == nil {
		e.log.Warn("the records could not be audited; that is tried again", "err", err)
	}
}

// finding is a record that nobody would wake.
type finding struct {
	store.Record
	kind string
}

// The kinds of finding.
const (
	noWake    = "no_wake"   // it wants to be woken, and has no wake-up
	forgotten = "forgotten" // it was to be woken long ago, and nobody did
)

func (e *Engine) audit(ctx context.Context) error {
	now := e.store.Now()
	// After an outage, or a start, what is overdue is being caught up with.
	settled := e.hearing.lasted(now) > auditGrace
	var found []finding
	var broken []store.Record
	var damage error
	seen := 0
	for _, prefix := range []string{"i/", "g/", "m/", "n/", "r/", "b/"} {
		err := e.store.Scan(ctx, prefix, func(rec store.Record) bool {
			if seen++; seen%auditPiece == 0 {
				pause(ctx, auditPause) // pages come before this
			}
			late := !rec.Wake.IsZero() && now.Sub(rec.Wake) > auditGrace
			if rec.Data == nil || !rec.Wake.IsZero() && !(late && settled) {
				return true
			}
			needs, err := e.needsWake(rec)
			switch {
			case errors.Is(err, errUnreadable):
				broken = append(broken, rec)
			case err != nil: // a newer callchain's: it looks after it
			case late:
				found = append(found, finding{rec, forgotten})
			case needs:
				found = append(found, finding{rec, noWake})
			}
			return len(found)+len(broken) < auditMost
		})
		switch {
		case errors.Is(err, store.ErrCorrupt):
			damage = errors.Join(damage, err)
		case err != nil && !errors.Is(err, store.ErrPartial):
			return fmt.Errorf("scan %s: %w", prefix, err)
		}
	}
	for _, rec := range broken {
		if err := e.quarantine(ctx, rec, errUnreadable); err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	if damage != nil {
		e.tellDamage(damage, now)
	}
	return e.repair(ctx, found, now)
}

// needsWake tells whether a record has to have a wake-up.
func (e *Engine) needsWake(rec store.Record) (bool, error) {
	switch kind, _, _ := cutKind(rec.Key.ID); kind {
	case "i", "m", "n", "r":
		l, err := e.decodeIncident(rec)
		return err == nil && l.Wake() != 0, err
	case "b":
		var h escalation.Heartbeat
		_, err := e.read(rec, &h, &h.Schema)
		return err == nil && h.LookAt != 0, err
	}
	return true, nil // a group has one always; one that cannot be read is begun anew when it is woken
}

// repair gives what was found a wake-up of now: the usual way goes on from there.
func (e *Engine) repair(ctx context.Context, found []finding, now time.Time) error {
	var ids []string
	for _, f := range found {
		err := e.store.Commit(ctx, store.Txn{Partition: f.Key.Partition, Mark: mark(), Urgent: true, Writes: []store.Write{
			{ID: f.Key.ID, Expect: f.Version, Data: f.Data, Wake: now},
		}})
		switch {
		case errors.Is(err, store.ErrConflict):
			continue // somebody looks after it
		case err != nil:
			return fmt.Errorf("repair %s: %w", f.Key.ID, err)
		}
		e.metrics.repairs.WithLabelValues(f.kind).Inc()
		e.log.Error("a record that nobody would have woken is woken", "record", f.Key.ID, "found", f.kind, "wake", f.Wake)
		ids = append(ids, f.Key.ID)
	}
	if len(ids) == 0 {
		return nil
	}
	e.wakeUp()
	shown := ids[:min(len(ids), 20)]
	more := ""
	if n := len(ids) - len(shown); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	e.tell(Notice{
		Key:   "audit/" + now.UTC().Format(time.DateOnly),
		Title: "callchain found timers that had been lost",
		Body: "Nobody would have woken these records; they go on now: " + strings.Join(shown, ", ") + more + ". Pages of theirs may come late. " +
			"With Redis look whether it evicts keys or was changed by hand; else please report it. Of more that are found today only the log and callchain_auditor_repairs_total tell.",
	})
	return nil
}

// tellDamage says that records do not carry the checksum that they were written with.
func (e *Engine) tellDamage(damage error, now time.Time) {
	e.log.Error("records are damaged and passed over", "err", damage)
	which := damage.Error()
	if len(which) > 1000 {
		which = strings.ToValidUTF8(which[:1000], "") + " …"
	}
	e.tell(Notice{
		Key:   "damaged/" + now.UTC().Format(time.DateOnly),
		Title: "Records of callchain's store are damaged",
		Body: "The disk, or somebody, changed what callchain wrote:\n" + which + "\nIncidents among them page nobody until Alertmanager repeats their alerts. " +
			"Look at the machine's disk and memory; callchain store backup copies what is good.",
	})
}
