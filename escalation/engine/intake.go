package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/internal/fault"
	"callchain/routing"
)

// Webhook keeps what an Alertmanager said: durable when it returns nil.
func (e *Engine) Webhook(ctx context.Context, source string, w routing.Webhook) error {
	received := time.Now()
	ctx = store.In(ctx, store.Intake)
	w, err := e.beats(ctx, source, w)
	switch {
	case len(w.Alerts) == 0:
		return err
	case err != nil: // the alerts beside them are worth more
		e.log.Error("a heartbeat could not be noted", "source", source, "err", err)
	}
	in := intake{source: source, w: w, received: received}
	if e.island != nil {
		return e.island.webhook(ctx, in)
	}
	return e.take(ctx, in)
}

// intake is a webhook on its way into the store.
type intake struct {
	source   string
	w        routing.Webhook
	received time.Time // by the wall clock; zero: when does not matter any more
	again    *again    // it was taken in before, on the island
	keep     func(ids map[string]string) error
}

// take commits a webhook, and sends what is due by it.
func (e *Engine) take(ctx context.Context, in intake) error {
	gid, partition := escalation.GroupID(in.source, in.w.GroupLabels)
	quiet := map[escalation.StaleRule]bool{}
	var given map[string]string // ids that are kept already
	for {
		snap, epoch := e.snap.Load(), e.epoch(partition)
		group, incs, err := e.loadGroup(ctx, partition, gid, true)
		if err != nil {
			return err
		}
		now := e.store.Now()
		at, born := in.again.as(now)
		if given != nil {
			born = given
		}
		out := escalation.IngestBorn(group.Group, incidentsOf(incs), in.source, in.w, at, snap.env(), quiet, born)
		more := false
		for _, rule := range out.StaleRules {
			mine, err := e.claimDay(ctx, rule, gid, now)
			if err != nil {
				return err
			}
			if !mine {
				quiet[rule], more = true, true
			}
		}
		if more {
			continue
		}
		t := txn{partition: partition}
		in.again.settle(e, &t, in.w, incs, &out, now, snap.env())
		if err := t.group(e, group, out.Group); err != nil {
			return err
		}
		if err := e.ingested(ctx, &t, incs, out, at, now, snap.env()); err != nil {
			return err
		}
		var kept error
		if in.keep != nil {
			// Who cannot be told that it is kept is told again; the page goes out.
			kept, in.keep = in.keep(bornIn(out.Incidents)), nil
			given = bornIn(out.Incidents[len(incs):]) // also if somebody is faster now
		}
		switch err := e.commit(ctx, &t); {
		case errors.Is(err, store.ErrConflict) && kept == nil:
			continue
		case err != nil:
			return errors.Join(kept, fmt.Errorf("store the webhook: %w", err))
		}
		if e.shore == nil {
			e.learn(in.source, in.w)
			e.metrics.resolutions(out.Resolutions)
			e.metrics.recorded(out.Facts)
		}
		fault.Here("ingest.after_commit")
		e.ingestDone(incs, out.Incidents, now)
		e.dispatch(t.taken, in.received)
		if in.again != nil {
			return kept // the journal is gone through: nobody waits for an answer
		}
		if err := e.settle(ctx, partition, epoch); errors.Is(err, store.ErrMoved) {
			continue // the server that took it is gone, and maybe what it took
		} else if err != nil {
			return errors.Join(kept, err)
		}
		return kept
	}
}

// ingested gathers the writes of the incidents that a webhook touched, and of
// its facts. It was taken in at an instant, and what is due is sent now.
func (e *Engine) ingested(ctx context.Context, t *txn, incs []loaded, out escalation.Ingested, at, now time.Time, env escalation.Env) error {
	facts := out.Facts
	for i := range out.Incidents {
		var from *loaded
		var before *escalation.Incident
		if i < len(incs) {
			from, before = &incs[i], &incs[i].Incident
		}
		if err := t.incident(e, from, out.Incidents[i], now, false); err != nil {
			return err
		}
		facts = append(facts, escalation.Facts(before, &out.Incidents[i], at, env)...)
	}
	return e.facts(ctx, t, facts)
}

// ingestDone counts and logs what a committed webhook did to incidents.
func (e *Engine) ingestDone(before []loaded, after []escalation.Incident, now time.Time) {
	for i := range after {
		var was *escalation.Incident
		if i < len(before) {
			was = &before[i].Incident
		}
		e.changed(was, &after[i], now)
	}
}
