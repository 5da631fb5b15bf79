package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/record"
	"callchain/escalation/store"
	"callchain/routing"
)

// Witness asks the Alertmanagers of one source what they know. Both methods
// return promptly when ctx is done.
type Witness interface {
	// Look returns what those know that answered, and an error about the others.
	// It does not set At.
	Look(ctx context.Context) (escalation.Look, error)
	// Groups returns the firing alerts that Alertmanager sends to any of the
	// receivers, each group of them as the webhook that would bring it.
	Groups(ctx context.Context, receivers []string) ([]routing.Webhook, error)
}

// witnessPrefix begins the key of the record by which one replica at a time asks
// a source's Alertmanagers: escalation.Watch.
const witnessPrefix = "p/witness/"

// How the witnesses are asked: all incidents of a source are served by one
// answer. Before a step it must not be old, and nobody waits long for it.
const (
	witnessEvery  = 2 * time.Minute         // rounds
	witnessTime   = 10 * time.Second        // a round waits so long for an answer
	stepLookTime  = 1500 * time.Millisecond // a step does
	lookKept      = 5 * time.Second
	lookKeptShort = 30 * time.Second // one that lacks somebody: not every step waits for who is away
)

// witnesses is what a process remembers of them.
type witnesses struct {
	every time.Duration

	mu      sync.Mutex
	glances map[string]*glance           // by source
	learnt  map[string]map[string]learnt // by source: receivers that are in its record, or about to be
	failing map[string]bool
}

// glance is one answer, or the wait for it.
type glance struct {
	of    Witness
	done  chan struct{}
	look  escalation.Look
	until escalation.Instant // it serves until then; 0: not there yet
}

func newWitnesses(every time.Duration) *witnesses {
	if every == 0 {
		every = witnessEvery
	}
	return &witnesses{every: every, glances: map[string]*glance{}, learnt: map[string]map[string]learnt{}, failing: map[string]bool{}}
}

// witnessed takes an incident that is about to wake somebody through what its
// Alertmanagers say, if they say it at once. It returns the incident to go on
// with; nil: it was changed, or is not known any more.
func (e *Engine) witnessed(ctx context.Context, l *loaded) *loaded {
	now := e.store.Now()
	w := e.snap.Load().Witnesses[l.Source]
	if w == nil || !l.Rings(now) {
		return l
	}
	look, ok := e.glance(ctx, l.Source, w)
	if !ok {
		return l
	}
	ev := l.Heed(look, e.store.Now())
	if ev == nil {
		return l
	}
	if _, _, err := e.apply(ctx, l.ID, ev, l, false); err != nil {
		e.log.Error("what Alertmanager says of an incident could not be stored; it goes on without", "incident", l.ID, "err", err)
	}
	return nil
}

// glance is what the source's Alertmanagers said a moment ago, or say now.
// Whoever asks while somebody else does shares the answer.
func (e *Engine) glance(ctx context.Context, source string, w Witness) (escalation.Look, bool) {
	e.witness.mu.Lock()
	g := e.witness.glances[source]
	if g == nil || g.of != w || g.until != 0 && escalation.At(e.store.Now()) >= g.until {
		g = &glance{of: w, done: make(chan struct{})}
		e.witness.glances[source] = g
		e.work.Go(func() {
			defer e.contain("ask Alertmanager", source)
			ctx, cancel := context.WithTimeout(e.sending, stepLookTime)
			defer cancel()
			_ = e.askWitness(ctx, g) // who waits for it sees what is missing
		})
	}
	e.witness.mu.Unlock()
	select {
	case <-g.done:
		return g.look, g.look.Heard
	case <-e.stopping.Done():
		return escalation.Look{}, false
	case <-ctx.Done():
		return escalation.Look{}, false
	}
}

// askWitness asks, and lets all know who wait for the answer.
func (e *Engine) askWitness(ctx context.Context, g *glance) error {
	at := e.store.Now()
	var look escalation.Look
	err := errors.New("asking it failed")
	defer func() {
		kept := lookKept
		if err != nil {
			kept = lookKeptShort
		}
		e.witness.mu.Lock()
		g.look, g.until = look, escalation.At(e.store.Now().Add(kept))
		e.witness.mu.Unlock()
		close(g.done)
	}()
	look, err = g.of.Look(ctx)
	look.At = escalation.At(at)
	return err
}

// learnt is what a webhook told of the receiver by which it came.
type learnt struct {
	at          escalation.Instant
	externalURL string
}

// planWitness makes sure that every source with a witness is asked, and that its
// record has what was learnt: a store that forgets, forgets that too.
func (e *Engine) planWitness(ctx context.Context) error {
	for source := range e.snap.Load().Witnesses {
		recs, err := e.loadAny(ctx, 0, witnessPrefix+source)
		if err != nil {
			return fmt.Errorf("load the watch of source %s: %w", source, err)
		}
		watch := escalation.Watch{Schema: e.schema, Source: source}
		if recs[0].Data == nil {
			err = e.saveWatch(ctx, recs[0].Version, watch, e.store.Now().Add(e.witness.every))
			if err != nil && !errors.Is(err, store.ErrConflict) {
				return err
			}
		} else if watch, err = e.watch(recs[0]); err != nil {
			continue // a newer callchain wrote it, and asks
		}
		e.witness.mu.Lock()
		missing := map[string]learnt{}
		for name, l := range e.witness.learnt[source] {
			if _, ok := watch.Receivers[name]; !ok {
				missing[name] = l
			}
		}
		e.witness.mu.Unlock()
		if len(missing) == 0 {
			continue
		}
		err = e.rewatch(ctx, source, func(w escalation.Watch) (next escalation.Watch, changed bool) {
			next = w
			for _, name := range slices.Sorted(maps.Keys(missing)) {
				var news bool
				next, news = next.Learn(name, missing[name].externalURL, e.store.Now())
				changed = changed || news
			}
			return next, changed
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) saveWatch(ctx context.Context, version uint64, w escalation.Watch, wake time.Time) error {
	data, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("encode the watch of source %s: %w", w.Source, err)
	}
	err = e.store.Commit(ctx, store.Txn{Mark: mark(), Urgent: version != 0, Writes: []store.Write{{ID: witnessPrefix + w.Source, Expect: version, Data: data, Wake: wake}}})
	if err != nil {
		return fmt.Errorf("store the watch of source %s: %w", w.Source, err)
	}
	e.wakeUp()
	return nil
}

// watch reads the record of a source; one that cannot be read is begun anew.
func (e *Engine) watch(rec store.Record) (escalation.Watch, error) {
	source := strings.TrimPrefix(rec.Key.ID, witnessPrefix)
	var w escalation.Watch
	_, err := e.read(rec, &w, &w.Schema)
	if errors.Is(err, errNewer) {
		return w, err
	}
	if err != nil {
		e.log.Error("the watch of a source cannot be read and is begun anew", "source", source, "err", err)
		w = escalation.Watch{}
	}
	w.Schema, w.Source = e.schema, source
	return w, nil
}

// rewatch changes the record of a source, whoever else does, and leaves its wake-up alone.
func (e *Engine) rewatch(ctx context.Context, source string, change func(escalation.Watch) (escalation.Watch, bool)) error {
	for {
		recs, err := e.loadAny(ctx, 0, witnessPrefix+source)
		if err != nil {
			return fmt.Errorf("load the watch of source %s: %w", source, err)
		}
		wake := recs[0].Wake
		if wake.IsZero() {
			wake = e.store.Now().Add(e.witness.every)
		}
		w := escalation.Watch{Schema: e.schema, Source: source}
		if recs[0].Data != nil {
			if w, err = e.watch(recs[0]); err != nil {
				return err
			}
		}
		next, changed := change(w)
		if !changed {
			return nil
		}
		if err := e.saveWatch(ctx, recs[0].Version, next, wake); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

// dueWitness begins a round. The record is written first: whoever does that has
// the round, and the next one is some minutes away.
func (e *Engine) dueWitness(ctx context.Context, rec store.Record) error {
	watch, err := e.watch(rec)
	if err != nil {
		return err
	}
	err = e.saveWatch(ctx, rec.Version, watch, e.store.Now().Add(e.witness.every))
	w := e.snap.Load().Witnesses[watch.Source]
	if err != nil || w == nil { // nil: another replica's configuration may have it
		return err
	}
	e.work.Go(func() {
		defer e.contain("ask Alertmanager", rec.Key.ID)
		ctx, cancel := context.WithTimeout(e.sending, time.Minute)
		defer cancel()
		if err := e.round(ctx, watch, w); err != nil && ctx.Err() == nil {
			e.log.Error("a round of asking Alertmanager was not finished; the next one is", "source", watch.Source, "err", err)
		}
	})
	return nil
}

// member is what a round has to know of an incident before it is read whole.
type member struct {
	ID       string              `json:"id"`
	Kind     escalation.Kind     `json:"k"`
	Source   string              `json:"src"`
	State    escalation.State    `json:"st"`
	Urgency  config.Urgency      `json:"u"`
	SeenAt   escalation.Instant  `json:"sa"`
	Episodes escalation.Episodes `json:"ep"`
}

// round holds what callchain knows of a source against what its Alertmanagers do.
func (e *Engine) round(ctx context.Context, watch escalation.Watch, w Witness) error {
	// First what we know: what comes in later cannot be missing in the answer.
	firing, closed := map[uint64]bool{}, map[uint64]bool{}
	var open []member
	err := e.scan(ctx, "i/", func(rec store.Record) bool {
		var m member
		if record.Decode(rec.Data, &m) != nil || m.Kind != escalation.Alerts || m.Source != watch.Source {
			return true
		}
		into := closed
		if m.State != escalation.Resolved {
			into, open = firing, append(open, m)
		}
		for _, ep := range m.Episodes {
			into[ep.Fingerprint] = true
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("read open incidents: %w", err)
	}
	g := &glance{of: w, done: make(chan struct{})}
	asking, cancel := context.WithTimeout(ctx, witnessTime)
	err = e.askWitness(asking, g)
	cancel()
	e.heardOf(watch.Source, err)
	look := g.look
	if look.Heard {
		e.witness.mu.Lock()
		if old := e.witness.glances[watch.Source]; old == nil || old.until != 0 {
			e.witness.glances[watch.Source] = g
		}
		e.witness.mu.Unlock()
	}
	noted, err := e.noted(ctx, watch, look, firing, closed)
	if err != nil {
		return err
	}
	next, absent, lost := watch.Round(look, firing, noted)
	err = e.rewatch(ctx, watch.Source, func(w escalation.Watch) (escalation.Watch, bool) {
		w.Absent, w.Unknown = next.Absent, next.Unknown
		return w, len(next.Absent)+len(next.Unknown)+len(watch.Absent)+len(watch.Unknown) > 0
	})
	if err != nil {
		return err
	}
	if !look.Heard {
		return nil
	}
	for _, m := range open {
		if err := e.heed(ctx, m, look, absent); err != nil {
			return err
		}
	}
	if len(lost) > 0 {
		return e.fetch(ctx, next, w, lost)
	}
	return nil
}

// heardOf says in the log when a witness fails, and when it is back.
func (e *Engine) heardOf(source string, err error) {
	e.witness.mu.Lock()
	was := e.witness.failing[source]
	e.witness.failing[source] = err != nil
	e.witness.mu.Unlock()
	switch {
	case err != nil && !was:
		e.log.Warn("asking Alertmanager fails; escalation goes on without", "source", source, "err", err)
	case err == nil && was:
		e.log.Info("asking Alertmanager works again", "source", source)
	}
}

// noted are the alerts that callchain knows besides those of open incidents. They
// are looked for only if there is an alert that might be one of them.
func (e *Engine) noted(ctx context.Context, watch escalation.Watch, look escalation.Look, firing, closed map[uint64]bool) (map[uint64]bool, error) {
	if _, _, lost := watch.Round(look, firing, closed); len(lost) == 0 {
		return closed, nil
	}
	err := e.scan(ctx, "g/", func(rec store.Record) bool {
		var g struct {
			Source   string              `json:"src"`
			Recorded escalation.Episodes `json:"rc"`
		}
		if record.Decode(rec.Data, &g) == nil && g.Source == watch.Source {
			for _, ep := range g.Recorded {
				closed[ep.Fingerprint] = true
			}
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("read recorded alerts: %w", err)
	}
	return closed, nil
}

// heed brings an answer to one incident.
func (e *Engine) heed(ctx context.Context, m member, look escalation.Look, absent map[uint64]bool) error {
	worth := m.State == escalation.Triggered && m.Urgency.Pages() || e.store.Now().Sub(m.SeenAt.Time()) > time.Hour ||
		slices.ContainsFunc(m.Episodes, func(ep escalation.Episode) bool { return absent[ep.Fingerprint] })
	if !worth {
		return nil
	}
	l, err := e.load(ctx, m.ID)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	// A webhook that spoke of it since the question may have told that it fires again.
	if ev := l.Vanish(absent); ev != nil && l.SeenAt < look.At {
		after, answer, err := e.apply(ctx, l.ID, ev, &l, false)
		if err != nil {
			return err
		}
		if answer.Kind == escalation.Done {
			gone := len(l.Episodes) - len(after.Episodes)
			e.metrics.witnessRepairs.WithLabelValues("lost_resolve").Add(float64(gone))
			e.log.Info("alerts that fired are not known to Alertmanager any more", "incident", l.ID, "alerts", gone, "state", string(after.State))
		}
		if l, err = e.load(ctx, m.ID); err != nil {
			return err
		}
	}
	ev := l.Heed(look, e.store.Now())
	if ev == nil {
		return nil
	}
	_, _, err = e.apply(ctx, l.ID, ev, &l, false)
	return err
}

// fetch takes in alerts that Alertmanager has and never told, as if it had now.
func (e *Engine) fetch(ctx context.Context, watch escalation.Watch, w Witness, lost map[uint64]bool) error {
	hooks, err := w.Groups(ctx, slices.Sorted(maps.Keys(watch.Receivers)))
	if err != nil {
		e.log.Warn("not all could be read about alerts that Alertmanager has and that are not known here; it is asked again", "source", watch.Source, "alerts", len(lost), "err", err)
	}
	for _, hook := range hooks {
		gid, partition := escalation.GroupID(watch.Source, hook.GroupLabels)
		group, incs, err := e.loadGroup(ctx, partition, gid, false)
		if err != nil {
			return err
		}
		hook.Alerts = slices.DeleteFunc(hook.Alerts, func(a routing.WebhookAlert) bool {
			return !lost[a.Fingerprint] || e.isBeat(watch.Source, &a) || group.Recorded.Firing(a.Fingerprint) ||
				slices.ContainsFunc(incs, func(l loaded) bool { return l.Episodes.Firing(a.Fingerprint) })
		})
		if len(hook.Alerts) == 0 {
			continue
		}
		hook.ExternalURL = watch.ExternalURL
		if err := e.Webhook(ctx, watch.Source, hook); err != nil {
			return err
		}
		e.metrics.witnessRepairs.WithLabelValues("lost_firing").Add(float64(len(hook.Alerts)))
		e.log.Warn("alerts that Alertmanager has and whose webhooks did not arrive were taken in", "source", watch.Source, "alerts", len(hook.Alerts))
	}
	return nil
}

// isBeat tells whether the alert is a heartbeat: that it is there says nothing,
// it has to come.
func (e *Engine) isBeat(source string, a *routing.WebhookAlert) bool {
	return slices.ContainsFunc(e.snap.Load().Config.Alertmanager.Heartbeats, func(h config.Heartbeat) bool {
		return escalation.IsBeat(h, source, a)
	})
}

// learn remembers by which receivers a source's Alertmanagers send here: only
// what they would send to one of them can have been lost.
func (e *Engine) learn(source string, w routing.Webhook) {
	const again = escalation.Instant(12 * 60 * 60 * 1000)
	if w.Receiver == "" || e.snap.Load().Witnesses[source] == nil {
		return
	}
	now := e.store.Now()
	e.witness.mu.Lock()
	known := e.witness.learnt[source]
	if known == nil || len(known) > 1000 {
		known = map[string]learnt{}
		e.witness.learnt[source] = known
	}
	last, ok := known[w.Receiver]
	news := !ok || escalation.At(now) >= last.at+again
	if news {
		known[w.Receiver] = learnt{escalation.At(now), w.ExternalURL}
	}
	e.witness.mu.Unlock()
	if !news {
		return
	}
	e.work.Go(func() {
		defer e.contain("remember a receiver", source)
		ctx, cancel := context.WithTimeout(e.sending, 5*time.Second)
		defer cancel()
		err := e.rewatch(ctx, source, func(watch escalation.Watch) (escalation.Watch, bool) {
			return watch.Learn(w.Receiver, w.ExternalURL, now)
		})
		if err != nil {
			e.witness.mu.Lock()
			delete(e.witness.learnt[source], w.Receiver) // by the next webhook
			e.witness.mu.Unlock()
		}
	})
}
