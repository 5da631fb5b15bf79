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
	"sync/atomic"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/record"
	"callchain/escalation/store"
	"callchain/notifiers"
)

// desks ask, for every person, whether a page may be sent by itself or is named in
// a digest. Questions that come while one is being answered share the next answer:
// in a storm thousands ask for a few people, and each answer is one commit.
type desks struct {
	mu sync.Mutex
	of map[string]*desk // by handle: one for each person of the catalog who was paged
}

type desk struct {
	mu    sync.Mutex
	busy  bool
	queue []question
	known *loadedDesk     // as it was committed last; nil: not known
	doubt atomic.Bool     // whether what is known is in the store
	blind escalation.Desk // what was let through while the store could not be asked

	reading sync.Mutex
	seen    *loaded // a digest as it was read last
	seenAt  time.Time
}

type question struct {
	escalation.Ask
	answer chan answered
}

type answered struct {
	digest string // "": the page may be sent
	err    error
}

// loadedDesk is a desk as it was read, with its digest.
type loadedDesk struct {
	escalation.Desk
	version uint64
	digest  *loaded // nil: there is none that still counts
}

func (d *desks) at(handle string) *desk {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of = map[string]*desk{}
	}
	k := d.of[handle]
	if k == nil {
		k = &desk{}
		d.of[handle] = k
	}
	return k
}

// admit asks whether a page to a person may be sent. It returns the id of the
// digest that names it if not.
func (e *Engine) admit(ctx context.Context, handle string, ask escalation.Ask) (digest string, err error) {
	k := e.desks.at(handle)
	q := question{ask, make(chan answered, 1)}
	k.mu.Lock()
	k.queue = append(k.queue, q)
	first := !k.busy
	k.busy = true
	k.mu.Unlock()
	if first && e.answer(ctx, handle, k) {
		e.work.Go(func() { // others have come meanwhile: they must not wait for us, nor we for them
			for e.answer(e.sending, handle, k) {
			}
		})
	}
	select {
	case a := <-q.answer:
		return a.digest, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// answer answers the questions that wait. It tells whether more have come.
func (e *Engine) answer(ctx context.Context, handle string, k *desk) (more bool) {
	k.mu.Lock()
	batch := k.queue
	k.queue = nil
	k.mu.Unlock()
	answers := make([]answered, len(batch))
	err := errPanic
	defer func() {
		if p := recover(); p != nil {
			e.panicked("ask whether a page may be sent", handle, p)
		}
		for i, q := range batch {
			if err != nil {
				answers[i] = answered{err: err}
			}
			q.answer <- answers[i]
		}
		k.mu.Lock()
		more = len(k.queue) > 0
		k.busy = more
		k.mu.Unlock()
	}()
	err = e.decide(ctx, handle, k, batch, answers)
	return more
}

// decide answers a batch of questions with one commit at most.
func (e *Engine) decide(ctx context.Context, handle string, k *desk, batch []question, answers []answered) error {
	limit := e.snap.Load().Config.Notifiers.MaxPagesPerMinute.V
	known := k.known // only whoever is busy answering touches it
	k.known = nil
	if k.doubt.Swap(false) {
		known = nil
	}
	for {
		if known == nil {
			var err error
			if known, err = e.loadDesk(ctx, handle); err != nil {
				return err
			}
		}
		now := e.store.Now()
		next := *known
		var digest *escalation.Incident
		if known.digest != nil {
			digest = &known.digest.Incident
		}
		was := digest
		asks := make([]escalation.Ask, len(batch))
		for i, q := range batch {
			asks[i] = q.Ask
		}
		var in []string
		next.Desk, digest, in = next.Desk.Admit(digest, asks, now, limit, digestID(handle, asks[0], now))
		for i := range in {
			answers[i] = answered{digest: in[i]}
		}
		opened := digest != nil && (was == nil || was.ID != digest.ID)
		committed, err := e.commitDesk(ctx, known, &next, digest, opened, now)
		switch {
		case errors.Is(err, store.ErrConflict):
			known = nil
			continue
		case err != nil:
			return err
		}
		k.known = committed
		if opened {
			e.metrics.digests.Inc()
			e.log.Warn("somebody is paged for too many incidents at once: a digest names the rest", "person", handle, "digest", digest.ID, "limit", limit)
		}
		return nil
	}
}

// commitDesk writes what changed of a desk and its digest, in one transaction.
func (e *Engine) commitDesk(ctx context.Context, from, next *loadedDesk, digest *escalation.Incident, opened bool, now time.Time) (*loadedDesk, error) {
	partition, key := deskKey(next.Handle)
	t := txn{partition: partition}
	if digest != nil {
		was := from.digest
		if opened {
			was = nil
		}
		if err := t.incident(e, was, *digest, now, false); err != nil {
			return nil, err
		}
		next.digest = was
		if len(t.writes) > 0 {
			w := t.writes[0]
			next.digest = &loaded{Incident: *digest, partition: partition, key: w.ID, version: w.Expect + 1, data: w.Data, foreign: was != nil && was.foreign}
		}
	}
	before, err := record.Encode(&from.Desk)
	if err != nil {
		return nil, fmt.Errorf("encode the desk of %s: %w", next.Handle, err)
	}
	data, err := record.Encode(&next.Desk)
	if err != nil {
		return nil, fmt.Errorf("encode the desk of %s: %w", next.Handle, err)
	}
	if from.version == 0 || string(data) != string(before) {
		t.writes = append(t.writes, store.Write{ID: key, Expect: from.version, Data: data, Wake: now.Add(escalation.DigestRetention)})
		next.version = from.version + 1
	}
	t.urgent = true // a page waits for it
	if err := e.commit(ctx, &t); err != nil {
		return nil, err
	}
	e.dispatch(t.taken, time.Time{})
	if len(t.taken) > 0 {
		next.digest = nil // its attempts change it: it is read again
		return nil, nil
	}
	return next, nil
}

func (e *Engine) loadDesk(ctx context.Context, handle string) (*loadedDesk, error) {
	partition, key := deskKey(handle)
	recs, err := e.loadAny(ctx, partition, key)
	if err != nil {
		return nil, fmt.Errorf("load the desk of %s: %w", handle, err)
	}
	k := &loadedDesk{version: recs[0].Version}
	if recs[0].Data != nil {
		err := record.Decode(recs[0].Data, &k.Desk)
		if err != nil || k.Schema > escalation.Schema {
			e.log.Error("what is kept of how often somebody was paged cannot be read and is begun anew", "record", key, "schema", k.Schema, "err", err)
			k.Desk = escalation.Desk{}
		}
	}
	k.Handle = handle
	if k.Digest == "" {
		return k, nil
	}
	switch l, err := e.load(ctx, k.Digest); {
	case err == nil && l.Kind == escalation.Digest:
		k.digest = &l
	case err == nil, lost(err):
	default:
		return nil, err
	}
	return k, nil
}

// deskKey is where a person's desk is; their digests are in the same partition.
func deskKey(handle string) (partition uint8, key string) {
	sum := sha256.Sum256([]byte("desk\x00" + handle))
	return sum[0], "k/" + hex.EncodeToString(sum[:10])
}

func digestID(handle string, a escalation.Ask, now time.Time) string {
	partition, _ := deskKey(handle)
	sum := sha256.Sum256([]byte(handle + "\x00" + a.Incident + "\x00" + now.UTC().Format(time.RFC3339Nano)))
	return fmt.Sprintf("%02x-", partition) + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:10]
}

// asksDesk tells whether a delivery has to ask the desk: pages do that nobody asked
// for as a test.
func asksDesk(inc *escalation.Incident, d *escalation.Delivery) bool {
	return d.FirstPage() && inc.Kind != escalation.Test && inc.Kind != escalation.Drill
}

// blindly lets a page through when the store cannot be asked: one page too many is
// better than one that is lost, but a process lets no more through than a desk.
func (e *Engine) blindly(handle string, ask escalation.Ask) bool {
	k := e.desks.at(handle)
	k.mu.Lock()
	defer k.mu.Unlock()
	var in []string
	k.blind, _, in = k.blind.Admit(nil, []escalation.Ask{ask}, e.store.Now(), e.snap.Load().Config.Notifiers.MaxPagesPerMinute.V, "blind")
	return in[0] == ""
}

// crowded asks whether a page is named in a digest, and tells what became of it
// there; ok is false when the page is to be sent by itself. An error is a store
// that is away.
func (e *Engine) crowded(ctx context.Context, inc *escalation.Incident, d *escalation.Delivery) (res notifiers.Result, ok bool, _ error) {
	wait := notifiers.Result{Verdict: notifiers.Retry, After: 2 * time.Second, Err: errWait}
	ask := escalation.Ask{
		Incident: inc.ID, Page: d.Nr, Channel: d.Channel, Address: d.Address,
		Urgent: inc.Urgency.Rank() > config.Page.Rank(),
	}
	id := d.In
	if id != "" {
		digest, err := e.digestOf(ctx, d.To, id)
		if err == nil {
			switch outcome, why := digest.Outcome(ask); outcome {
			case escalation.Named:
				return notifiers.Result{Ref: notifiers.Ref{Channel: escalation.DigestRef, TS: id}}, true, nil
			case escalation.Unnamed:
				return notifiers.Result{Verdict: notifiers.Refused, Err: errors.New(why)}, true, nil
			case escalation.Underway:
				wait.After = digestPoll
				return wait, true, nil
			case escalation.Strange:
			}
		} else if !lost(err) {
			e.log.Warn("what became of a page in a digest cannot be read; it is asked again", "incident", inc.ID, "digest", id, "err", err)
			return wait, true, nil
		} else {
			e.desks.at(d.To).doubt.Store(true)
		}
	}
	id, err := e.admit(ctx, d.To, ask)
	e.begin("go on with " + d.ID)
	switch {
	case err != nil && isAway(err):
		return res, false, err
	case err != nil:
		e.log.Warn("it is not known how often somebody was paged lately", "incident", inc.ID, "person", d.To, "err", err)
		return wait, !e.blindly(d.To, ask), nil
	case id == "":
		return res, false, nil
	}
	wait.After, wait.Ref = digestPoll, notifiers.Ref{Channel: escalation.DigestRef, TS: id}
	return wait, true, nil
}

// digestOf reads a digest for those who ask what became of their pages. In a storm
// they are many: for a moment they share an answer.
func (e *Engine) digestOf(ctx context.Context, handle, id string) (*loaded, error) {
	k := e.desks.at(handle)
	k.reading.Lock()
	defer k.reading.Unlock()
	if k.seen != nil && k.seen.ID == id && time.Since(k.seenAt) < time.Second {
		return k.seen, nil
	}
	l, err := e.load(ctx, id)
	if err != nil {
		return nil, err
	}
	k.seen, k.seenAt = &l, time.Now()
	return &l, nil
}

// digestPoll is how often a page asks what became of the digest that names it.
const digestPoll = 5 * time.Second
