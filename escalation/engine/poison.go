package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"callchain/escalation"
	"callchain/escalation/record"
	"callchain/escalation/store"
	"callchain/notifiers"
)

// errUnreadable is a record that holds what no callchain has written. It will not
// become better by being read again.
var errUnreadable = errors.New("the record cannot be read")

// undecodable says of a record that cannot be decoded whether that is errUnreadable,
// or whether a newer callchain wrote it: then it waits for that one.
func (e *Engine) undecodable(rec store.Record, err error) error {
	var of struct {
		Schema int `json:"z"`
	}
	if errors.Is(err, record.ErrNewer) || record.Decode(rec.Data, &of) == nil && of.Schema > e.schema {
		return fmt.Errorf("decode %s: %w: %w", rec.Key.ID, errNewer, err)
	}
	return fmt.Errorf("decode %s: %w: %w", rec.Key.ID, errUnreadable, err)
}

// quarantined is how long a record that cannot be read is kept for somebody to look at.
const quarantined = 90 * 24 * time.Hour

// quarantine puts a record that cannot be read out of the way: nobody claims it
// again, nothing of it is lost, and people are told.
func (e *Engine) quarantine(ctx context.Context, rec store.Record, why error) error {
	key := "q/" + rec.Key.ID
	old, err := e.loadAny(ctx, rec.Key.Partition, key)
	if err != nil {
		return fmt.Errorf("load %s: %w", key, err)
	}
	err = e.store.Commit(ctx, store.Txn{Partition: rec.Key.Partition, Mark: mark(), Writes: []store.Write{
		{ID: rec.Key.ID, Expect: rec.Version},
		{ID: key, Expect: old[0].Version, Data: rec.Data, Wake: e.store.Now().Add(quarantined)},
	}})
	if err != nil {
		return fmt.Errorf("quarantine %s: %w", rec.Key.ID, err)
	}
	e.metrics.repairs.WithLabelValues("unreadable").Inc()
	e.log.Error("a record that cannot be read is quarantined", "record", rec.Key.ID, "kept", key, "bytes", len(rec.Data), "err", why)
	e.tell(Notice{
		Key:   "quarantine/" + rec.Key.ID,
		Title: "callchain cannot read one of its records",
		Body: "The record " + rec.Key.ID + " holds what callchain cannot read: an incident in it pages nobody any more. " +
			"It was put aside as " + key + " and is kept for 90 days; everything else goes on. " +
			"Look in Alertmanager whether something fires that nobody answers: it pages anew when Alertmanager repeats it. The log says more.",
	})
	return nil
}

// tell says something to those who look after callchain, beside the work that
// came upon it.
func (e *Engine) tell(n Notice) {
	e.work.Go(func() {
		defer e.contain("tell about a record", n.Key)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := e.Notice(ctx, n); err != nil {
			e.log.Error("the team that looks after callchain could not be told", "notice", n.Title, "err", err)
		}
	})
}

// After so many panics in a row a record is left alone for a while: a minute at
// first, an hour at last. It is never given up.
const (
	parkAfter = 5
	parkFirst = time.Minute
	parkLast  = time.Hour
)

// poison counts the panics of records.
type poison struct {
	mu    sync.Mutex
	times map[store.Key]int
}

func (p *poison) add(key store.Key) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.times == nil || len(p.times) > 10_000 {
		p.times = map[store.Key]int{}
	}
	p.times[key]++
	return p.times[key]
}

func (p *poison) clear(key store.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.times, key)
}

// parkFor is how long a record is left alone after its n-th panic in a row.
func parkFor(n int) time.Duration {
	if n < parkAfter {
		return 0
	}
	return min(parkLast, parkFirst<<min(n-parkAfter, 10))
}

// containDue keeps a panic to the record that was due. Its claim runs out, so that
// it is tried again; one that panics again and again is parked.
func (e *Engine) containDue(rec store.Record) {
	p := recover()
	if p == nil {
		return
	}
	n := e.poison.add(rec.Key)
	e.panicked("handle a due record", rec.Key.ID, p)
	wait := parkFor(n)
	if wait == 0 {
		return
	}
	defer e.contain("park a record", rec.Key.ID)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := e.store.Commit(ctx, store.Txn{Partition: rec.Key.Partition, Mark: mark(), Urgent: true, Writes: []store.Write{
		{ID: rec.Key.ID, Expect: rec.Version, Data: rec.Data, Wake: e.store.Now().Add(wait)},
	}})
	if err != nil {
		e.log.Error("a record that panics again and again could not be parked; it is tried again", "record", rec.Key.ID, "err", err)
		return
	}
	e.log.Error("a record that panics again and again is parked", "record", rec.Key.ID, "panics", n, "for", wait)
	_, id, _ := cutKind(rec.Key.ID)
	e.tell(Notice{
		Key:   "parked/" + rec.Key.ID,
		Title: "callchain makes a mistake with " + id,
		Body: "Each time callchain looks at " + id + " it stumbles over a mistake of its own, so its escalation does not go on. " +
			"Look at it by hand: callchain incidents show " + id + ". Everything else goes on; this is tried again, more and more seldom. " +
			"Please report the log lines \"panic contained\".",
	})
}

// cutKind splits a key into its kind and the id after it.
func cutKind(key string) (kind, id string, ok bool) {
	for i := range len(key) {
		if key[i] == '/' {
			return key[:i], key[i+1:], true
		}
	}
	return "", key, false
}

// errPanic is the outcome of an attempt that a mistake of ours ended.
var errPanic = errors.New("callchain made a mistake with this message; its log says more")

// containSend keeps a panic to the message that was being sent. It counts as a
// failure of it, so that the person's other channel and the next step follow; after
// a few the address is taken for one that refuses.
func (e *Engine) containSend(a attempt) {
	p := recover()
	if p == nil {
		return
	}
	e.panicked("send", a.incident, p)
	defer e.contain("record a panic", a.incident)
	res := notifiers.Result{Verdict: notifiers.Retry, Err: errPanic}
	if a.delivery.Tries+1 >= parkAfter {
		res.Verdict = notifiers.Refused
		if a.delivery.Kind != escalation.NoticeDelivery { // else a notice would lead to the next one
			e.tell(Notice{
				Key:   "unsendable/" + a.incident,
				Title: "callchain makes a mistake with a message of " + a.incident,
				Body: "A " + string(a.delivery.Kind) + " over " + a.delivery.Channel + " could not be made, by a mistake of callchain's own. People's other channels and the next step follow. " +
					"Look at the incident by hand: callchain incidents show " + a.incident + ". Please report the log lines \"panic contained\".",
				Without: a.delivery.Channel,
			})
		}
	}
	e.record(a, nil, res)
}

func (e *Engine) panicked(what, id string, p any) {
	e.metrics.panics.Inc()
	e.log.Error("panic contained", "doing", what, "record", id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
}

// contain keeps a panic to the unit of work it happened in.
func (e *Engine) contain(what, id string) {
	if p := recover(); p != nil {
		e.panicked(what, id, p)
	}
}
