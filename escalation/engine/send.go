package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"callchain/escalation"
	"callchain/internal/fault"
	"callchain/notifiers"
)

// dispatch sends what was taken, each attempt on its own, so that no target and
// no channel delays another.
func (e *Engine) dispatch(taken []attempt, received time.Time) {
	for _, a := range taken {
		flown := e.takeOff(a.incident)
		e.work.Go(func() {
			defer flown()
			defer e.containSend(a)
			e.begin("send " + a.delivery.ID)
			e.send(a, received)
		})
	}
}

// attemptTimeout is how long one attempt may take. Slack's ends well before the
// lease does; a smarthost may take its time over a mail, and adding up a report
// its own: then the lease is renewed.
func attemptTimeout(d escalation.Delivery) time.Duration {
	if d.Channel == notifiers.Email || d.Kind == escalation.ReportDelivery {
		return 36 * time.Second
	}
	return escalation.Lease - 4*time.Second
}

// send makes one attempt at a delivery and records the outcome. received is when
// the webhook that caused it arrived; zero for others.
func (e *Engine) send(a attempt, received time.Time) {
	d := a.delivery
	ctx, cancel := context.WithTimeout(e.sending, attemptTimeout(d))
	defer cancel()
	stop := e.renewing(ctx, a)
	defer stop()

	snap := e.snap.Load()
	ch := snap.Channels[d.Channel]
	crowded, in, err := notifiers.Result{}, false, error(nil)
	if ch != nil && !snap.Config.Shadow.V && e.health[d.Channel].why() == "" && asksDesk(&a.as.Incident, &d) {
		crowded, in, err = e.crowded(ctx, &a.as.Incident, &d)
	}

	// The wait for a free place counts against the attempt.
	select {
	case e.slots[d.Channel] <- struct{}{}:
	case <-e.stopping.Done():
		stop()
		e.release(a)
		return
	case <-ctx.Done():
		stop()
		e.record(a, nil, notifiers.Result{Verdict: notifiers.Retry, After: time.Second, Err: errWait})
		return
	}

	// Not while the outcome is recorded: with a store that fails that takes a minute.
	leave := sync.OnceFunc(func() { <-e.slots[d.Channel] })
	defer leave()

	fault.Here("send.before")
	// Somebody may have answered since the intent was committed. Nothing that takes
	// time comes between this look and the message.
	cur := loaded{}
	if err == nil {
		cur, err = e.look(ctx, a.as)
	}
	if err != nil && e.island != nil && e.island.adopt(a, received, err) {
		return
	}
	if err != nil {
		e.log.Error("a message cannot be sent before its incident can be read; it is tried again", "incident", a.incident, "err", err)
		return
	}
	if escalation.Moot(&cur.Incident, d.ID, d.Attempt) {
		e.drop(a)
		return
	}
	if e.shore != nil && e.shore.late(a, &cur.Incident) {
		stop()
		e.shore.leave(a)
		return
	}
	if e.stopping.Err() != nil {
		stop()
		e.release(a)
		return
	}

	var res notifiers.Result
	switch down := e.health[d.Channel].why(); {
	case snap.Config.Shadow.V:
		res = notifiers.Result{Ref: notifiers.Ref{Channel: shadowRef, TS: d.ID}}
	case d.Ref.Channel == shadowRef:
		// From the time in the shadow: there is no message to edit.
		res = notifiers.Result{Verdict: notifiers.Gone, Err: errors.New("it was not sent in shadow mode")}
	case ch == nil:
		res = notifiers.Result{Verdict: notifiers.Refused, Err: errors.New(d.Channel + " is not configured any more")}
	case down != "":
		res = notifiers.Result{Verdict: notifiers.Down, Err: errors.New(down)}
	case late(ctx, d) || left(&cur.Incident, d, e.store.Now()) < enough(d):
		// What is left of the attempt, or of its lease, is too little to be sure of
		// an answer: this process stood still, or waited too long for a place.
		res = notifiers.Result{Verdict: notifiers.Retry, After: time.Second, Err: errWait}
	case in:
		res = crowded
	default:
		if page := cur.Delivery(d.Parent); d.Kind == escalation.ReminderDelivery && page != nil && page.In != "" {
			var rang bool
			if res, rang = e.ringAgain(ctx, page.In, cur.ID); rang {
				break
			}
		}
		if wait := e.turn(&cur.Incident, &d); wait > 0 {
			res = notifiers.Result{Verdict: notifiers.Retry, After: wait, Err: errWait}
			break
		}
		msg := e.message(snap, &cur.Incident, d)
		if cur.Kind == escalation.Digest {
			if err := e.list(ctx, snap, &cur.Incident, d, &msg); err != nil {
				res = notifiers.Result{Verdict: notifiers.Retry, Err: err}
				break
			}
		}
		if d.Kind == escalation.ReportDelivery {
			if msg.Report, err = e.paper(ctx, snap, cur.Title, d.Channel); err != nil {
				e.log.Error("the weekly report could not be written; it is tried again", "period", cur.Title, "err", err)
				res = notifiers.Result{Verdict: notifiers.Retry, Err: err}
				break
			}
		}
		if !received.IsZero() && d.Kind == escalation.PageDelivery && d.Attempt == 1 {
			e.metrics.webhookToPage.Observe(time.Since(received).Seconds())
		}
		fault.Here("send.fenced")
		res = ch.Deliver(ctx, msg)
		fault.Here("send.after_read")
		if res.Verdict == notifiers.Retry && res.After > 0 && d.Channel == notifiers.Slack {
			now := escalation.At(e.store.Now())
			e.turns.hold(d, now+escalation.Instant(res.After.Milliseconds()))
			e.allowance.hold(&d, res.After, now)
		}
		if e.sending.Err() != nil && res.Verdict != notifiers.Sent {
			res.After = time.Second // we stop: that is nobody's failure
		} else {
			e.judge(d, res)
		}
	}
	stop()
	leave()
	known := &cur
	if !a.alone {
		known = nil // the others change it as well: asking is cheaper than being wrong
	}
	e.record(a, known, res)
}

// renewing keeps the lease of an attempt alive while it is made. When that
// fails the attempt goes on: at worst it is made twice, under the same id.
func (e *Engine) renewing(ctx context.Context, a attempt) (stop func()) {
	if attemptTimeout(a.delivery) < escalation.Lease {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(escalation.Lease / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			ev := escalation.Renew{Delivery: a.delivery.ID, Attempt: a.delivery.Attempt}
			if _, _, err := e.apply(ctx, a.incident, ev, nil, false); err != nil && ctx.Err() == nil {
				e.log.Warn("the lease of a slow attempt could not be renewed", "incident", a.incident, "notifier", a.delivery.Channel, "err", err)
			}
		}
	}()
	return sync.OnceFunc(func() { cancel(); <-done })
}

// late tells whether less than half of an attempt's time is left.
func late(ctx context.Context, d escalation.Delivery) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < attemptTimeout(d)/2
}

// enough is how much of a lease has to be left for an attempt to begin.
func enough(d escalation.Delivery) time.Duration { return min(attemptTimeout(d), escalation.Lease) / 2 }

// left is what is left of the lease of an attempt. Once it is over, somebody else
// may make the attempt as well.
func left(inc *escalation.Incident, d escalation.Delivery, now time.Time) time.Duration {
	if cur := inc.Delivery(d.ID); cur != nil {
		return cur.Until.Time().Sub(now)
	}
	return 0
}

// shadowRef is where messages are that were not sent because of shadow mode.
const shadowRef = "shadow"

// record commits the outcome of an attempt. When the store fails for longer than
// the lease, the attempt is made again by whoever takes it up.
// known is the incident as it was when the attempt began, nil if it has probably
// changed since.
func (e *Engine) record(a attempt, known *loaded, res notifiers.Result) {
	d := a.delivery
	text := ""
	if res.Err != nil {
		text = res.Err.Error()
	}
	ev := escalation.Result{
		Delivery: d.ID, Attempt: d.Attempt, Verdict: escalation.Verdict(res.Verdict),
		Ref: escalation.Ref{Channel: res.Ref.Channel, TS: res.Ref.TS}, After: res.After.Milliseconds(), Error: text, Found: res.Found, Cure: res.Cure,
	}
	if res.Cure && d.Ref == (escalation.Ref{}) {
		e.tellCure(d, text)
	}
	if d.Kind == escalation.ReportDelivery && res.Verdict == notifiers.Sent {
		e.metrics.reportSuccess.SetToCurrentTime()
	}
	if errors.Is(res.Err, errWait) {
		ev.Verdict = escalation.VerdictWait
	}
	switch {
	case !d.FirstPage() || res.Ref.Channel == shadowRef || errors.Is(res.Err, errWait):
	case res.Ref.Channel == escalation.DigestRef:
		e.metrics.pages.WithLabelValues(d.Channel, inDigest).Inc()
	default:
		e.metrics.pages.WithLabelValues(d.Channel, res.Verdict.String()).Inc()
		if d.Maybe > 0 && res.Verdict == notifiers.Sent && !res.Found {
			e.metrics.duplicatePages.WithLabelValues(e.island.cause(d.ID)).Inc()
		}
	}
	if res.Verdict != notifiers.Sent && !errors.Is(res.Err, errWait) {
		e.log.Warn("message not delivered", "incident", a.incident, "notifier", d.Channel, "kind", string(d.Kind), "attempt", d.Attempt, "verdict", res.Verdict.String(), "err", text)
	}
	// What a digest of the island names is gone through anew: its desk is forgotten.
	if e.shore != nil && d.Ref == (escalation.Ref{}) && d.Kind != escalation.ThreadDelivery && d.Kind != escalation.DigestDelivery && res.Ref.Channel != escalation.DigestRef {
		once := ev
		once.Attempt, once.Of = -1, &d // it is none of those that are counted in the store
		e.shore.keepResult(a.incident, once, d.Kind == escalation.PageDelivery)
	}
	fault.Here("result.before")
	defer fault.Here("result.after")
	// What is known is worth a minute of trying: without it the message is sent again.
	for begin := time.Now(); ; {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		_, _, err := e.apply(ctx, a.incident, ev, known, false)
		known = nil
		cancel()
		if err == nil || errors.Is(err, ErrNotFound) {
			return
		}
		if isAway(err) && e.island != nil && e.island.keepResult(a.incident, ev, d.Kind == escalation.PageDelivery && d.Ref == (escalation.Ref{})) {
			return
		}
		if time.Since(begin) > time.Minute || e.sending.Err() != nil {
			e.log.Error("the outcome of a message could not be stored; it may be sent twice", "incident", a.incident, "notifier", d.Channel, "err", err)
			return
		}
		select {
		case <-e.sending.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// release gives back an attempt that was not begun, for another process.
func (e *Engine) release(a attempt) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	ev := escalation.Unsent{Delivery: a.delivery.ID, Attempt: a.delivery.Attempt}
	if _, _, err := e.apply(ctx, a.incident, ev, nil, false); err != nil && !errors.Is(err, ErrNotFound) {
		e.log.Warn("a message that was not begun could not be given back; it is sent when its lease is over", "incident", a.incident, "err", err)
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

// health is what is known of a channel as a whole.
type health struct {
	mu     sync.Mutex
	down   string          // why; "" while it works
	failed map[string]bool // addresses that failed since one was reached, for no fault of their own
}

func (h *health) why() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.down
}

// outageAfter addresses that fail, and none that is reached in between, mean that
// the channel is down and not some target.
const outageAfter = 5

// judge learns about the channel from an answer.
func (e *Engine) judge(d escalation.Delivery, res notifiers.Result) {
	channel := d.Channel
	h := e.health[channel]
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case res.Verdict == notifiers.Down:
	case (res.Verdict == notifiers.Retry || res.Verdict == notifiers.Ambiguous) && res.After == 0:
		if h.failed == nil {
			h.failed = map[string]bool{}
		}
		h.failed[d.To+" "+d.Address] = true
	default:
		h.failed = nil
	}
	if h.down != "" || res.Verdict != notifiers.Down && len(h.failed) < outageAfter {
		return
	}
	h.down = "the channel does not answer"
	if res.Err != nil {
		h.down = res.Err.Error()
	}
	e.metrics.channelUp.WithLabelValues(channel).Set(0)
	e.log.Error("a channel is down; where there is another one, people are paged over it", "notifier", channel, "err", h.down)
	why := h.down
	e.work.Go(func() {
		defer e.contain("tell about a channel", channel)
		e.begin("tell " + channel)
		e.tellDown(channel, why)
	})
}

func (e *Engine) tellDown(channel, why string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := e.Notice(ctx, Notice{
		Key:   "down/" + channel + "/" + e.Now().UTC().Format("2006-01-02T15"),
		Title: "callchain cannot deliver over " + channel,
		Body: "The channel answers: " + why + "\nPeople who have another channel are paged over that one meanwhile. callchain tries " + channel +
			" every 10 s and sends what is still due when it works again.",
		Without: channel,
	})
	if err != nil {
		e.log.Error("the team that looks after callchain could not be told", "notifier", channel, "err", err)
	}
}

// RunProbes asks channels that are down whether they work again, until ctx is
// done; each on its own, so that one that hangs delays no other.
func (e *Engine) RunProbes(ctx context.Context) error {
	var probes sync.WaitGroup
	for name, h := range e.health {
		probes.Go(func() { e.probe(ctx, name, h) })
	}
	probes.Wait()
	return nil
}

func (e *Engine) probe(ctx context.Context, name string, h *health) {
	ticker := time.NewTicker(10 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		ch := e.snap.Load().Channels[name]
		if h.why() == "" || ch == nil {
			continue
		}
		attempt, cancel := context.WithTimeout(ctx, 8*time.Second)
		err := ch.Probe(attempt)
		cancel()
		if err != nil {
			continue
		}
		h.mu.Lock()
		h.down, h.failed = "", nil
		h.mu.Unlock()
		e.metrics.channelUp.WithLabelValues(name).Set(1)
		e.log.Info("a channel works again", "notifier", name)
	}
}
