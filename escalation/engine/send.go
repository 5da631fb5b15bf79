package engine

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"callchain/escalation"
	"callchain/notifiers"
)

// dispatch sends what was taken, each attempt on its own, so that no target and
// no channel delays another.
func (e *Engine) dispatch(taken []attempt, received time.Time) {
	for _, a := range taken {
		e.work.Go(func() {
			defer e.contain("send", a.incident)
			e.send(a, received)
		})
	}
}

// attemptTimeout is how long one attempt may take; it ends well before the lease does.
func attemptTimeout(channel string) time.Duration {
	return escalation.Lease(channel) - 4*time.Second
}

// send makes one attempt at a delivery and records the outcome. received is when
// the webhook that caused it arrived; zero for others.
func (e *Engine) send(a attempt, received time.Time) {
	d := a.delivery
	ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout(d.Channel))
	defer cancel()

	// The wait for a free place counts against the attempt: who gets none in
	// time leaves it to the next lease.
	select {
	case e.slots[d.Channel] <- struct{}{}:
		defer func() { <-e.slots[d.Channel] }()
	case <-ctx.Done():
		return
	}

	// Somebody may have answered since the intent was committed.
	cur, err := e.load(ctx, a.incident)
	if err != nil {
		e.log.Error("a message cannot be sent before its incident can be read; it is tried again", "incident", a.incident, "err", err)
		return
	}
	if escalation.Moot(&cur.Incident, d.ID, d.Attempt) {
		e.drop(a)
		return
	}

	snap := e.snap.Load()
	ch := snap.Channels[d.Channel]
	var res notifiers.Result
	key := conversation(d)
	hold := e.turns.wait(key, d, escalation.At(e.store.Now()))
	switch down := e.health[d.Channel].why(); {
	case ch == nil:
		res = notifiers.Result{Verdict: notifiers.Refused, Err: errors.New(d.Channel + " is not configured any more")}
	case down != "":
		res = notifiers.Result{Verdict: notifiers.Down, Err: errors.New(down)}
	case hold > 0:
		res = notifiers.Result{Verdict: notifiers.Retry, After: hold, Err: errWait}
	default:
		msg := e.message(snap, &cur.Incident, d)
		if !received.IsZero() && d.Kind == escalation.PageDelivery && d.Attempt == 1 {
			e.metrics.webhookToPage.Observe(time.Since(received).Seconds())
		}
		res = ch.Deliver(ctx, msg)
		if res.Verdict == notifiers.Retry && res.After > 0 && d.Channel == notifiers.Slack {
			e.turns.hold(key, escalation.At(e.store.Now().Add(res.After)))
		}
		e.judge(d.Channel, res)
	}
	e.record(a, res)
}

// record commits the outcome of an attempt. When the store fails for longer than
// the lease, the attempt is made again by whoever takes it up.
func (e *Engine) record(a attempt, res notifiers.Result) {
	d := a.delivery
	text := ""
	if res.Err != nil {
		text = res.Err.Error()
	}
	ev := escalation.Result{
		Delivery: d.ID, Attempt: d.Attempt, Verdict: escalation.Verdict(res.Verdict),
		Ref: escalation.Ref{Channel: res.Ref.Channel, TS: res.Ref.TS}, After: res.After.Milliseconds(), Error: text,
	}
	if d.Kind == escalation.PageDelivery && d.Ref == (escalation.Ref{}) {
		e.metrics.pages.WithLabelValues(d.Channel, res.Verdict.String()).Inc()
		if d.Maybe > 0 && res.Verdict == notifiers.Sent {
			e.metrics.duplicatePages.WithLabelValues("unknown_outcome").Inc()
		}
	}
	if res.Verdict != notifiers.Sent && !errors.Is(res.Err, errWait) {
		e.log.Warn("message not delivered", "incident", a.incident, "notifier", d.Channel, "kind", string(d.Kind), "attempt", d.Attempt, "verdict", res.Verdict.String(), "err", text)
	}
	for try := range 4 {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		_, _, err := e.apply(ctx, a.incident, ev, nil)
		cancel()
		if err == nil || errors.Is(err, ErrNotFound) {
			return
		}
		e.log.Error("the outcome of a message could not be stored; it may be sent twice", "incident", a.incident, "notifier", d.Channel, "attempt", try+1, "err", err)
	}
}

// drop takes back an attempt that turned out to be needless.
func (e *Engine) drop(a attempt) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	cur, err := e.load(ctx, a.incident)
	if err != nil {
		return // its lease runs out
	}
	next := escalation.Drop(cur.Incident, a.delivery.ID, a.delivery.Attempt)
	t := txn{partition: cur.partition}
	if t.incident(e, &cur, next, e.store.Now(), false) == nil && e.commit(ctx, &t) == nil {
		e.dispatch(t.taken, time.Time{})
	}
}

// errWait is why an attempt was put off: not a failure of anything.
var errWait = errors.New("it is not its turn in the conversation yet")

// turns paces conversations: one message a second each. New messages do not
// queue behind edits of older ones: when many incidents end, somebody's next
// page must not wait for all their messages to say so.
type turns struct {
	mu     sync.Mutex
	at     map[string]escalation.Instant // the next free turn of new messages
	edits  map[string]escalation.Instant // the next free turn of edits
	edited map[string]escalation.Instant // the last edit that was made
	holds  map[string]escalation.Instant // until when the channel wants to hear nothing more there
	pruned escalation.Instant
}

func newTurns() *turns {
	return &turns{
		at: map[string]escalation.Instant{}, edits: map[string]escalation.Instant{},
		edited: map[string]escalation.Instant{}, holds: map[string]escalation.Instant{},
	}
}

const turnEvery = escalation.Instant(1000)

// next gives a delivery its turn. Mail is not paced.
func (t *turns) next(d escalation.Delivery, now escalation.Instant) escalation.Instant {
	if d.Channel != notifiers.Slack {
		return now
	}
	key := conversation(d)
	t.mu.Lock()
	defer t.mu.Unlock()
	if now > t.pruned+60_000 {
		for _, m := range []map[string]escalation.Instant{t.at, t.edits, t.edited, t.holds} {
			maps.DeleteFunc(m, func(_ string, at escalation.Instant) bool { return at+turnEvery <= now })
		}
		t.pruned = now
	}
	at := max(now, t.at[key], t.holds[key])
	if d.Ref != (escalation.Ref{}) {
		at = max(at, t.edits[key])
		t.edits[key] = at + turnEvery
		return at
	}
	if last := t.edited[key]; last != 0 {
		at = max(at, last+turnEvery)
	}
	t.at[key] = at + turnEvery
	return at
}

// conversation is where a delivery is heard, for pacing.
func conversation(d escalation.Delivery) string {
	if d.Kind == escalation.PageDelivery || d.Kind == escalation.ReminderDelivery {
		return d.Channel + " person " + d.To
	}
	return d.Channel + " " + d.Address
}

// hold keeps a conversation quiet until an instant: what else is due there
// would only be refused as well.
func (t *turns) hold(key string, until escalation.Instant) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holds[key] = max(t.holds[key], until)
}

// wait is how much longer a delivery whose turn has come must not be made: the
// channel asked to be left alone, or new messages came in between.
func (t *turns) wait(key string, d escalation.Delivery, now escalation.Instant) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if until := t.holds[key]; until > now {
		return time.Duration(until-now) * time.Millisecond
	}
	if d.Channel != notifiers.Slack || d.Ref == (escalation.Ref{}) {
		return 0
	}
	if next := t.at[key]; next > now && d.Attempt == 1 {
		// Put off once, to a turn of its own: an edit must come through at last.
		next = max(next, now+turnEvery)
		t.at[key] = next + turnEvery
		return time.Duration(next-now) * time.Millisecond
	}
	t.edited[key] = now
	return 0
}

// health is what is known of a channel as a whole.
type health struct {
	mu   sync.Mutex
	down string // why; "" while it works
	row  int    // failures in a row that were nobody's fault in particular
}

func (h *health) why() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.down
}

// outageAfter failures in a row, of different messages, mean that the channel is
// down and not some target.
const outageAfter = 5

// judge learns about the channel from an answer.
func (e *Engine) judge(channel string, res notifiers.Result) {
	h := e.health[channel]
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case res.Verdict == notifiers.Down:
		h.row = outageAfter
	case (res.Verdict == notifiers.Retry || res.Verdict == notifiers.Ambiguous) && res.After == 0:
		h.row++
	default:
		h.row = 0
	}
	if h.row < outageAfter || h.down != "" {
		return
	}
	h.down = "the channel does not answer"
	if res.Err != nil {
		h.down = res.Err.Error()
	}
	e.metrics.channelUp.WithLabelValues(channel).Set(0)
	e.log.Error("a channel is down: people are paged over the other one", "notifier", channel, "err", h.down)
	why := h.down
	e.work.Go(func() {
		defer e.contain("tell about a channel", channel)
		e.tellDown(channel, why)
	})
}

func (e *Engine) tellDown(channel, why string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := e.Notice(ctx, Notice{
		Key:   "down/" + channel + "/" + e.Now().UTC().Format("2006-01-02T15"),
		Title: "callchain cannot deliver over " + channel,
		Body: "The channel answers: " + why + "\nPeople are paged over their other channel meanwhile. callchain tries " + channel +
			" every 10 s and sends what is still due when it works again.",
		Without: channel,
	})
	if err != nil {
		e.log.Error("the team that looks after callchain could not be told", "notifier", channel, "err", err)
	}
}

// RunProbes asks channels that are down whether they work again, until ctx is done.
func (e *Engine) RunProbes(ctx context.Context) error {
	ticker := time.NewTicker(10 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for name, h := range e.health {
			ch := e.snap.Load().Channels[name]
			if h.why() == "" || ch == nil {
				continue
			}
			probe, cancel := context.WithTimeout(ctx, 8*time.Second)
			err := ch.Probe(probe)
			cancel()
			if err != nil {
				continue
			}
			h.mu.Lock()
			h.down, h.row = "", 0
			h.mu.Unlock()
			e.metrics.channelUp.WithLabelValues(name).Set(1)
			e.log.Info("a channel works again", "notifier", name)
		}
	}
}
