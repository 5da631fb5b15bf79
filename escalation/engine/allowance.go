package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"callchain/escalation"
	"callchain/escalation/record"
	"callchain/escalation/store"
	"callchain/notifiers"
)

// What Slack takes from a workspace and from a conversation, with some room left.
// It promises more than 50 edits a minute, and some hundred messages. A
// conversation has a little more than the turns of one process use.
var (
	postRate = escalation.Rate{Every: 300 * time.Millisecond, Burst: 40}
	editRate = escalation.Rate{Every: 1500 * time.Millisecond, Burst: 10}
	talkRate = escalation.Rate{Every: 900 * time.Millisecond, Burst: burst + 1}
)

// The buckets of the workspace; those of conversations have their names.
const (
	posts = "posts"
	edits = "edits"
)

// weight is how much of a bucket has to be left when a delivery takes of it: what
// is less important stops first.
type weight struct {
	bucket  string
	rate    escalation.Rate
	urgent  bool // it takes what is not there as well: Slack itself says when that is too much
	reserve int
	least   time.Duration // how long it is put off at least when it has to wait
}

// weigh tells how important a delivery is.
func weigh(inc *escalation.Incident, d *escalation.Delivery) weight {
	if d.Ref != (escalation.Ref{}) {
		w := weight{bucket: edits, rate: editRate}
		switch answered := inc.State != escalation.Triggered; {
		case answered && d.Kind != escalation.BoardDelivery: // it says that nothing need be done any more
		case answered, d.Kind == escalation.DigestDelivery:
			w.reserve = 3
		default: // it counts alerts, or says who else is paged
			w.reserve, w.least = 6, 45*time.Second
		}
		return w
	}
	w := weight{bucket: posts, rate: postRate}
	switch d.Kind {
	case escalation.DigestDelivery, escalation.PageDelivery:
		// Slack does not say where its limit is. Nobody sleeps on for our guess of it.
		w.urgent = true
	case escalation.ReminderDelivery, escalation.ToldDelivery, escalation.QuestionDelivery:
		w.reserve = 4
	case escalation.BoardDelivery, escalation.NoticeDelivery, escalation.ReportDelivery:
		w.reserve = 12
	case escalation.ThreadDelivery:
		w.reserve = 24
	}
	return w
}

// allowance is what this process knows of what Slack takes from all of them.
type allowance struct {
	mu     sync.Mutex
	known  escalation.Allowance          // of all, as read last, with what we spent since
	spent  map[string]spending           // since it was told to the others
	holds  map[string]escalation.Instant // likewise
	spends chan struct{}                 // something was spent
}

type spending struct {
	n    int
	rate escalation.Rate
}

// take takes what a delivery needs, or tells how long it has to wait for that.
func (a *allowance) take(inc *escalation.Incident, d *escalation.Delivery, now escalation.Instant) time.Duration {
	w := weigh(inc, d)
	talk := conversation(*d)
	a.mu.Lock()
	defer a.mu.Unlock()
	wait := a.known.Held(w.bucket, now)
	if !w.urgent {
		wait = a.known.Wait(w.bucket, w.rate, w.reserve, now)
	}
	if w.bucket == posts {
		wait = max(wait, a.known.Wait(talk, talkRate, 0, now))
	}
	if wait > 0 {
		return max(wait, w.least)
	}
	a.spend(w.bucket, w.rate, now)
	if w.bucket == posts {
		a.spend(talk, talkRate, now)
	}
	return 0
}

func (a *allowance) spend(bucket string, rate escalation.Rate, now escalation.Instant) {
	a.known = a.known.Spend(bucket, rate, 1, now)
	if a.spent == nil {
		a.spent = map[string]spending{}
	}
	a.spent[bucket] = spending{a.spent[bucket].n + 1, rate}
	a.tell()
}

func (a *allowance) tell() {
	select {
	case a.spends <- struct{}{}:
	default:
	}
}

// longestHold is how long we let a channel silence us.
const longestHold = 5 * time.Minute

// hold notes that Slack wants to hear nothing of the like for a while: of a
// conversation; of all of them when it says so of a second one; or no edits.
func (a *allowance) hold(d *escalation.Delivery, wait time.Duration, now escalation.Instant) {
	until := now + escalation.Instant(min(wait, longestHold).Milliseconds())
	bucket := conversation(*d)
	a.mu.Lock()
	defer a.mu.Unlock()
	if d.Ref != (escalation.Ref{}) {
		bucket = edits
	}
	held := []string{bucket}
	for other, at := range a.known.Holds {
		if bucket != edits && other != edits && other != bucket && at > now {
			held = append(held, posts)
			break
		}
	}
	if a.holds == nil {
		a.holds = map[string]escalation.Instant{}
	}
	for _, b := range held {
		a.known = a.known.Hold(b, until)
		a.holds[b] = max(a.holds[b], until)
	}
	a.tell()
}

// How soon processes tell each other what they spent, and how often they listen.
const (
	tellEvery = 100 * time.Millisecond
	hearEvery = 15 * time.Second // who spends hears at once
)

// runSharing tells the other processes what was spent, and hears what they have,
// beside what is being sent, until ctx is done.
func (e *Engine) runSharing(ctx context.Context) {
	if x, ok := e.store.(exclusive); ok && x.Exclusive() || e.shore != nil {
		return // there is nobody to tell
	}
	wait := func(d time.Duration, more <-chan struct{}) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-more:
		case <-ctx.Done():
		}
	}
	for ctx.Err() == nil {
		if e.island == nil || !e.island.on(0) {
			if err := e.account(ctx); err != nil && ctx.Err() == nil {
				e.log.Warn("what Slack takes could not be shared with other processes; each keeps to it by itself", "err", err)
			}
		}
		wait(hearEvery, e.allowance.spends)
		wait(tellEvery, nil) // what else is spent right now is told along
	}
}

// allowanceKey is where it is kept, in partition 0.
const allowanceKey = "t/slack"

// account adds what was spent to the record, and learns what others have.
func (e *Engine) account(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	a := e.allowance
	recs, err := e.loadAny(ctx, 0, allowanceKey)
	if err != nil {
		return fmt.Errorf("load %s: %w", allowanceKey, err)
	}
	var of escalation.Allowance
	if recs[0].Data != nil {
		if err := record.Decode(recs[0].Data, &of); err != nil || of.Schema > escalation.Schema {
			of = escalation.Allowance{} // it is worth no more than some seconds
		}
	}
	now := escalation.At(e.store.Now())
	of = of.Tidy(now)
	a.mu.Lock()
	spent, holds := a.spent, a.holds
	a.spent, a.holds = nil, nil
	a.mu.Unlock()
	for bucket, s := range spent {
		of = of.Spend(bucket, s.rate, s.n, now)
	}
	for bucket, until := range holds {
		of = of.Hold(bucket, until)
	}
	if len(spent)+len(holds) > 0 {
		var data []byte
		if data, err = record.Encode(&of); err == nil {
			err = e.store.Commit(ctx, store.Txn{Partition: 0, Mark: mark(), Urgent: true, Writes: []store.Write{{ID: allowanceKey, Expect: recs[0].Version, Data: data}}})
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil { // it is told the next time
		for bucket, s := range spent {
			if a.spent == nil {
				a.spent = map[string]spending{}
			}
			a.spent[bucket] = spending{a.spent[bucket].n + s.n, s.rate}
		}
		for bucket, until := range holds {
			if a.holds == nil {
				a.holds = map[string]escalation.Instant{}
			}
			a.holds[bucket] = max(a.holds[bucket], until)
		}
		if errors.Is(err, store.ErrConflict) {
			a.tell()
			return nil
		}
		return err
	}
	for bucket, s := range a.spent { // meanwhile
		of = of.Spend(bucket, s.rate, s.n, now)
	}
	for bucket, until := range a.holds {
		of = of.Hold(bucket, until)
	}
	a.known = of
	return nil
}

// turn is how much longer an attempt has to wait for its turn. Pages ask for one
// only now: those that a digest names need none.
func (e *Engine) turn(inc *escalation.Incident, d *escalation.Delivery) time.Duration {
	now := escalation.At(e.store.Now())
	if d.FirstPage() && !d.Slot {
		if at := e.turns.next(*d, now); at > now {
			return time.Duration(at-now) * time.Millisecond
		}
	}
	if wait := e.turns.wait(*d, now); wait > 0 || d.Channel != notifiers.Slack {
		return wait
	}
	return e.allowance.take(inc, d, now)
}
