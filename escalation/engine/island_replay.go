package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/internal/fault"
	"callchain/routing"
)

// errUnborn is an answer to an incident that is not in the store, or not yet: it
// may have been born on the island of another process.
var errUnborn = errors.New("there is no such incident")

// unbornFor is how long an answer waits for its incident.
const unbornFor = 10 * time.Minute

// replay goes through what was kept for a partition, in the order in which it
// came. What a full store refuses is left, with all that builds on it.
func (i *island) replay(ctx context.Context, p uint8) {
	part := &i.parts[p]
	deadline := time.Now().Add(landing)
	refused := map[string]bool{} // groups, and incidents of them
	full := false
	for next := uint64(0); ctx.Err() == nil; {
		// What the island is just sending has an outcome to tell.
		for i.flying[p].Load() > 0 && time.Now().Before(deadline) && ctx.Err() == nil {
			pause(ctx, 20*time.Millisecond)
		}
		i.mu.Lock()
		n, _ := slices.BinarySearch(part.waiting, next)
		if n == len(part.waiting) {
			switch {
			case len(part.waiting) > 0 && len(refused) > 0:
				part.away, part.full, part.since, part.back, part.landed = false, true, time.Now(), false, !full
			case len(part.waiting)+part.coming == 0:
				part.away, part.full, part.since, part.unborn, part.results = false, false, time.Time{}, time.Time{}, nil
			}
			i.mu.Unlock()
			return
		}
		seq := part.waiting[n]
		next = seq + 1
		i.mu.Unlock()
		fault.Here("replay.before")

		ev, err := i.read(seq)
		switch {
		case err != nil:
		case refused[ev.group()]:
			err = store.ErrFull
		default:
			err = i.again(ctx, p, ev)
		}
		switch {
		case err == nil:
		case errors.Is(err, store.ErrFull), errors.Is(err, errUnborn) && part.patient():
			refused[ev.group()] = true
			full = full || errors.Is(err, store.ErrFull) && ev.Webhook != nil
			for _, id := range ev.Born {
				refused[id] = true
			}
			continue
		case isAway(err), ctx.Err() != nil, errors.Is(err, store.ErrClosed), errors.Is(err, errNewer):
			i.mu.Lock()
			part.away, part.since, part.back = true, time.Time{}, false
			i.mu.Unlock()
			return
		default:
			i.e.log.Error("an entry of the journal cannot be gone through and is left out: look after its incident by hand", "entry", seq, "source", ev.Source, "incident", ev.Incident, "err", err)
		}
		fault.Here("replay.before_mark")
		if err := i.journal.Done(seq); err != nil {
			i.e.log.Warn("the journal does not take it that an entry is done; it comes up again at the next start", "entry", seq, "err", err)
		}
		i.mu.Lock()
		if n, ok := slices.BinarySearch(part.waiting, seq); ok {
			part.waiting = slices.Delete(part.waiting, n, n+1)
		}
		i.mu.Unlock()
	}
}

// patient tells whether an answer still waits for its incident. Only the replay of
// the partition calls it.
func (p *part) patient() bool {
	if p.unborn.IsZero() {
		p.unborn = time.Now()
	}
	return time.Since(p.unborn) < unbornFor
}

// again does what was kept, as of when it came.
func (i *island) again(ctx context.Context, p uint8, ev event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			i.e.metrics.panics.Inc()
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if ev.Webhook != nil {
		i.mu.Lock()
		results := make(map[string][]result, len(ev.Born))
		for _, id := range ev.Born {
			results[id] = slices.Clone(i.parts[p].results[id])
		}
		i.mu.Unlock()
		ids, err := i.unborn(ctx, p, ev.Born)
		if err != nil {
			return err
		}
		gid, _ := escalation.GroupID(ev.Source, ev.Webhook.GroupLabels)
		in := intake{source: ev.Source, w: *ev.Webhook, again: &again{island: i, at: ev.At.Time(), born: ids, results: results}}
		if err := i.e.take(ctx, in); err != nil {
			return err
		}
		i.known.learn(gid, *ev.Webhook)
		return nil
	}
	if ev.Beat != "" {
		h := configured(i.e.snap.Load(), store.Key{Partition: p, ID: ev.Beat})
		if h == nil {
			return nil // it is not configured any more
		}
		return i.e.beat(ctx, *h, ev.At.Time())
	}
	if ev.Act == ackAll {
		return i.againAll(ctx, ev)
	}
	do := ev.act()
	if ev.Result != nil {
		do = *ev.Result
	}
	if do == nil {
		return fmt.Errorf("the act %q is not known", ev.Act)
	}
	var then []result
	if ev.Act != "" {
		// Since then it may have ended, in time or by somebody's hand.
		if cur, err := i.e.load(ctx, ev.Incident); err == nil && ev.done(&cur.Incident) {
			return nil
		}
		i.mu.Lock()
		then = slices.Clone(i.parts[p].results[ev.Incident])
		i.mu.Unlock()
	}
	answer, err := i.doAt(ctx, ev.Incident, do, ev.At.Time(), then...)
	switch {
	case errors.Is(err, ErrNotFound) && ev.Act != "":
		return fmt.Errorf("%s by %s: %w", ev.Act, ev.By.Handle, errUnborn)
	case errors.Is(err, ErrNotFound):
		return nil
	case err == nil && ev.Act != "" && answer.Kind != escalation.Done:
		i.e.log.Warn("what was answered while the store was away changed nothing", "incident", ev.Incident, "by", ev.By.Handle, "answer", string(answer.Kind))
	}
	return err
}

// doAt does what somebody did at an instant. Whoever was paged may; the chain may have
// changed since.
func (i *island) doAt(ctx context.Context, id string, do escalation.Event, at time.Time, then ...result) (escalation.Answer, error) {
	inc, answer, err := i.e.applyAt(ctx, id, do, nil, false, at, then...)
	if ack, is := do.(escalation.Acknowledge); is && err == nil && answer.Kind == escalation.NotInChain && !ack.TakeOver &&
		slices.ContainsFunc(inc.Paged, func(p escalation.Paged) bool { return p.Handle == ack.By.Handle }) {
		ack.TakeOver = true
		_, answer, err = i.e.applyAt(ctx, id, ack, nil, false, at, then...)
	}
	return answer, err
}

// againAll acknowledges what a digest showed when somebody pressed.
func (i *island) againAll(ctx context.Context, ev event) error {
	l, err := i.e.load(ctx, ev.Incident)
	if err == nil && l.Many == nil {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("acknowledge what a digest showed: %w", err)
	}
	ids, known := l.Many.AskedFor(ev.Rev)
	if !known {
		return ErrOldDigest
	}
	ack := escalation.Acknowledge{By: ev.By, TakeOver: ev.TakeOver, Stranger: ev.Stranger}
	for _, id := range ids {
		if _, err := i.doAt(ctx, id, ack, ev.At.Time()); err != nil && !lost(err) {
			return err
		}
	}
	return nil
}

// unborn are the ids of which the store has no record: a webhook that is gone
// through for the second time has made its incidents already.
func (i *island) unborn(ctx context.Context, p uint8, born map[string]string) (map[string]string, error) {
	left := map[string]string{}
	for _, subject := range slices.Sorted(maps.Keys(born)) {
		id := born[subject]
		_, err := i.e.load(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound):
			left[subject] = id
		case err != nil && isAway(err):
			return nil, err
		}
	}
	return left, nil
}

// forget drops from the scratch store what is in the real one by now.
func (i *island) forget(ctx context.Context, parts []uint8) {
	done := map[uint8]bool{}
	i.mu.Lock()
	for _, p := range parts {
		if part := &i.parts[p]; part.back && len(part.waiting) == 0 || part.landed {
			done[p] = true
		}
	}
	i.mu.Unlock()
	if len(done) == 0 {
		return
	}
	var recs []store.Record
	_ = i.inner.store.Scan(ctx, "", func(rec store.Record) bool {
		if done[rec.Key.Partition] {
			recs = append(recs, rec)
		}
		return true
	})
	for _, rec := range recs {
		// Who changes it meanwhile has sent something: that is kept.
		_ = i.inner.store.Commit(ctx, store.Txn{Partition: rec.Key.Partition, Mark: mark(), Writes: []store.Write{{ID: rec.Key.ID, Expect: rec.Version}}})
	}
	i.mu.Lock()
	for id := range i.adopted {
		if p, _ := escalation.Partition(id); done[p] {
			delete(i.adopted, id)
		}
	}
	for p := range done {
		i.parts[p].back, i.parts[p].landed = false, false
	}
	i.mu.Unlock()
}

// again is a webhook that was taken in on the island.
type again struct {
	island  *island
	at      time.Time
	born    map[string]string // ids that are not in the store, by subject
	results map[string][]result
}

// as tells when the webhook came, and the ids that its incidents have.
func (a *again) as(now time.Time) (time.Time, map[string]string) {
	switch {
	case a == nil:
		return now, nil
	case a.at.Before(now):
		return a.at, a.born
	}
	return now, a.born // the clock was set back
}

// settle takes incidents through what came of their pages on the island, so that
// those which the webhook brings are not sent again, and leads from the ids that
// turned out to be others to those.
func (a *again) settle(e *Engine, t *txn, w routing.Webhook, incs []loaded, out *escalation.Ingested, now time.Time, env escalation.Env) {
	if a == nil {
		return
	}
	for n := range out.Incidents {
		inc, was := &out.Incidents[n], escalation.Incident{}
		if n < len(incs) {
			was = incs[n].Incident
		}
		if results, ours := a.results[inc.ID]; ours {
			for _, r := range results {
				*inc, _ = escalation.Step(*inc, r.Result, a.at, env)
			}
			var doubtful []string
			*inc, doubtful = escalation.Doubt(*inc, was)
			a.island.mu.Lock()
			for _, id := range doubtful {
				a.island.doubtful[id] = true
			}
			a.island.mu.Unlock()
		}
		if n >= len(incs) || inc.StepAt != was.StepAt {
			*inc = escalation.Resume(*inc, a.at, now)
		}
	}
	for _, subject := range slices.Sorted(maps.Keys(a.born)) {
		id := a.born[subject]
		to := ""
		for n := range out.Incidents {
			if inc := &out.Incidents[n]; inc.Subject == subject && (to == "" || inc.Open()) {
				to = inc.ID
			}
		}
		// The catalog of whoever opened it may have been another one: then it is about
		// something else, and has the same alerts.
		same := func(inc *escalation.Incident) bool {
			return slices.ContainsFunc(w.Alerts, func(al routing.WebhookAlert) bool { return al.Firing && inc.Episodes.Firing(al.Fingerprint) })
		}
		for n := 0; to == "" && n < 2*len(out.Incidents); n++ { // rather an open one
			if inc := &out.Incidents[n%len(out.Incidents)]; (inc.Open() || n >= len(out.Incidents)) && same(inc) {
				to = inc.ID
			}
		}
		if to == "" || to == id {
			continue
		}
		t.urgent = true
		t.writes = append(t.writes, store.Write{ID: "a/" + id, Data: []byte(to), Wake: now.Add(escalation.ClosedRetention)})
		for _, r := range a.results[id] {
			if r.page {
				e.metrics.duplicatePages.WithLabelValues(byIsland).Inc()
			}
		}
	}
}

// bornIn are the ids of open incidents by their subject.
func bornIn(incs []escalation.Incident) map[string]string {
	ids := map[string]string{}
	for i := range incs {
		if incs[i].Open() {
			ids[incs[i].Subject] = incs[i].ID
		}
	}
	return ids
}
