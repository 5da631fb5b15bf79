package engine

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/record"
	"callchain/escalation/store"
	"callchain/routing"
)

// beats takes the beats of heartbeats out of a webhook and notes them. What is
// left of it is as if they had never been there.
func (e *Engine) beats(ctx context.Context, source string, w routing.Webhook) (routing.Webhook, error) {
	hs := e.snap.Load().Config.Alertmanager.Heartbeats
	if len(hs) == 0 {
		return w, nil
	}
	heard := make([]bool, len(hs))
	var rest []routing.WebhookAlert
	for i := range w.Alerts {
		beat := false
		for j, h := range hs {
			if escalation.IsBeat(h, source, &w.Alerts[i]) {
				heard[j], beat = true, true
			}
		}
		if !beat {
			rest = append(rest, w.Alerts[i])
		}
	}
	w.Alerts = rest
	for j, h := range hs {
		if !heard[j] {
			continue
		}
		e.metrics.heartbeats.WithLabelValues(source).Inc()
		note := e.beat
		if e.island != nil {
			note = e.island.beat
		}
		if err := note(ctx, h, e.store.Now()); err != nil {
			return w, fmt.Errorf("note a heartbeat: %w", err)
		}
	}
	return w, nil
}

// beat notes a beat that came at an instant, and ends the incident of one that was
// missed.
func (e *Engine) beat(ctx context.Context, h config.Heartbeat, at time.Time) error {
	partition, key := heartbeatKey(h)
	for {
		rec, had, err := e.loadHeartbeat(ctx, partition, key)
		if err != nil {
			return err
		}
		if escalation.At(at) < had.SeenAt {
			return nil // it was kept on the island, and others came since
		}
		now := e.store.Now()
		was := had
		had.Source, had.Match = h.Source.V, escalation.HeartbeatMatch(h)
		next, changed := had.Beat(at, time.Duration(h.Every.V))
		if !changed && rec.Version != 0 {
			return nil
		}
		t := txn{partition: partition}
		before, after, err := e.back(ctx, &t, was, "the heartbeat is back", now)
		if err != nil {
			return err
		}
		switch err := e.commitHeartbeat(ctx, &t, rec, next); {
		case errors.Is(err, store.ErrConflict):
			continue
		case err != nil:
			return err
		}
		if after != nil {
			e.changed(before, after, now)
			e.log.Info("a heartbeat is back", "source", h.Source.V, "incident", after.ID)
		}
		e.dispatch(t.taken, time.Time{})
		return nil
	}
}

// back adds the end of the incident by which a heartbeat is missed, if it is.
func (e *Engine) back(ctx context.Context, t *txn, h escalation.Heartbeat, why string, now time.Time) (before, after *escalation.Incident, err error) {
	if h.MissedAt == 0 || h.Incident == "" {
		return nil, nil, nil
	}
	last, err := e.lastMissed(ctx, h)
	if err != nil || last == nil {
		return nil, nil, err
	}
	inc := h.Back(last.Incident, why, now, e.snap.Load().env())
	return &last.Incident, &inc, t.incident(e, last, inc, now, false)
}

// lastMissed is the incident by which a heartbeat was missed last; nil if there is
// none that can be read.
func (e *Engine) lastMissed(ctx context.Context, h escalation.Heartbeat) (*loaded, error) {
	if h.Incident == "" {
		return nil, nil
	}
	l, err := e.load(ctx, h.Incident)
	switch {
	case err == nil:
		return &l, nil
	case errors.Is(err, ErrNotFound), errors.Is(err, store.ErrCorrupt), errors.Is(err, errUnreadable):
		return nil, nil
	}
	return nil, err
}

func (e *Engine) loadHeartbeat(ctx context.Context, partition uint8, key string) (store.Record, escalation.Heartbeat, error) {
	var h escalation.Heartbeat
	recs, err := e.loadAny(ctx, partition, key)
	if err != nil {
		return store.Record{}, h, fmt.Errorf("load a heartbeat: %w", err)
	}
	if recs[0].Data != nil {
		_, err := e.read(recs[0], &h, &h.Schema)
		if errors.Is(err, errNewer) {
			return store.Record{}, h, err
		}
		if err != nil {
			e.log.Error("a heartbeat's record cannot be read and is begun anew", "record", key, "err", err)
			h = escalation.Heartbeat{}
		}
	}
	return recs[0], h, nil
}

func (e *Engine) commitHeartbeat(ctx context.Context, t *txn, from store.Record, h escalation.Heartbeat) error {
	h.Schema = e.schema
	foreign, _ := record.Read(from.Data, &escalation.Heartbeat{}) // one that cannot be read is begun anew
	data, err := encode(foreign, from.Data, &h)
	if err != nil {
		return fmt.Errorf("encode a heartbeat: %w", err)
	}
	wake := h.LookAt.Time()
	t.writes = append(t.writes, store.Write{ID: from.Key.ID, Expect: from.Version, Data: data, Wake: wake})
	if t.wake.IsZero() || wake.Before(t.wake) {
		t.wake = wake
	}
	t.urgent = true
	return e.commit(ctx, t)
}

// dueHeartbeat looks at a heartbeat that ought to have come. The page and the
// record that it was paged are one write: however many replicas look, it is one.
func (e *Engine) dueHeartbeat(ctx context.Context, claimed store.Record) error {
	var h escalation.Heartbeat
	if _, err := e.read(claimed, &h, &h.Schema); err != nil {
		return err
	}
	snap, now := e.snap.Load(), e.store.Now()
	conf := configured(snap, claimed.Key)
	every := time.Duration(0)
	if conf != nil {
		every = time.Duration(conf.Every.V)
	}
	next, pulse := h.Look(now, every, e.hearing.from())
	t := txn{partition: claimed.Key.Partition}
	var before, after *escalation.Incident
	var err error
	switch pulse {
	case escalation.NotWanted:
		if before, after, err = e.back(ctx, &t, h, "the heartbeat is not configured any more", now); err != nil {
			return err
		}
		t.writes = append(t.writes, store.Write{ID: claimed.Key.ID, Expect: claimed.Version})
		if err := e.commit(ctx, &t); err != nil {
			return err
		}
		e.log.Info("a heartbeat is not configured any more", "source", h.Source, "match", h.Match)
	case escalation.JustMissed:
		last, err := e.lastMissed(ctx, h)
		if err != nil {
			return err
		}
		var from *loaded
		if last != nil {
			before = &last.Incident
		}
		id := missedID(claimed.Key, now)
		inc := h.Page(before, id, heartbeatTeam(snap, conf), now, snap.env())
		if inc.ID == id {
			before = nil
		} else {
			from = last
		}
		next.Incident, after = inc.ID, &inc
		if err := t.incident(e, from, inc, now, false); err != nil {
			return err
		}
		if err := e.commitHeartbeat(ctx, &t, claimed, next); err != nil {
			return err
		}
		e.log.Error("a heartbeat is missed", "source", h.Source, "match", h.Match, "heard", h.SeenAt.Time(), "incident", inc.ID)
	case escalation.Beating, escalation.StillMissed:
		if err := e.commitHeartbeat(ctx, &t, claimed, next); err != nil {
			return err
		}
	}
	if after != nil {
		e.changed(before, after, now)
	}
	e.dispatch(t.taken, time.Time{})
	return nil
}

// configured is the heartbeat of the configuration that a record is of; nil if
// there is none.
func configured(snap *Snapshot, key store.Key) *config.Heartbeat {
	for i := range snap.Config.Alertmanager.Heartbeats {
		h := &snap.Config.Alertmanager.Heartbeats[i]
		if p, id := heartbeatKey(*h); (store.Key{Partition: p, ID: id}) == key {
			return h
		}
	}
	return nil
}

// heartbeatTeam is who is paged: the heartbeat's team, that which looks after
// callchain, or the fallback team.
func heartbeatTeam(snap *Snapshot, h *config.Heartbeat) string {
	for _, name := range []string{h.Team.V, snap.Config.Self.Team.V} {
		if t := snap.Catalog.Team(name); name != "" && t != nil {
			return t.Name
		}
	}
	return snap.Router.Fallback().Name
}

// heartbeatKey is where a heartbeat's record is: known by its source and
// matchers, whatever else the configuration says of it.
func heartbeatKey(h config.Heartbeat) (partition uint8, key string) {
	sum := sha256.Sum256([]byte(h.Source.V + "\x00" + escalation.HeartbeatMatch(h)))
	return sum[0], "b/" + hex.EncodeToString(sum[:10])
}

// beatPartition is the partition of a heartbeat's record.
func beatPartition(key string) (uint8, bool) {
	b, err := hex.DecodeString(strings.TrimPrefix(key, "b/"))
	if err != nil || len(b) == 0 {
		return 0, false
	}
	return b[0], true
}

// missedID is an incident's id in the partition of the heartbeat's record.
func missedID(key store.Key, now time.Time) string {
	sum := sha256.Sum256([]byte(key.ID + "\x00" + now.UTC().Format(time.RFC3339Nano)))
	return fmt.Sprintf("%02x-", key.Partition) + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:10]
}

// hearing knows since when this process has been up and the store there without a
// gap: what was not heard before that may have been said.
type hearing struct {
	mu          sync.Mutex
	since, last escalation.Instant
}

// deafAfter without a look at the store, the process was not really running.
const deafAfter = 2 * time.Minute

// well says that timers were read just now.
func (h *hearing) well(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := escalation.At(now)
	if h.last == 0 || at-h.last > escalation.Instant(deafAfter.Milliseconds()) {
		h.since = at
	}
	h.last = at
}

// badly says that they could not be.
func (h *hearing) badly() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = 0
}

// lasted is for how long timers have been read without a gap.
func (h *hearing) lasted(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last == 0 {
		return 0
	}
	return now.Sub(h.since.Time())
}

func (h *hearing) from() escalation.Instant {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.since
}
