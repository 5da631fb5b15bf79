package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/notifiers"
)

// inDigest is the outcome of a page that is named in a digest.
const inDigest = "digest"

// dueDigest sees a digest through that is due: its attempts, and when it is time a
// look at the incidents that it names.
func (e *Engine) dueDigest(ctx context.Context, rec store.Record) error {
	l, err := e.decodeIncident(rec)
	if err != nil {
		return err
	}
	if l.Expired(e.store.Now()) {
		return e.store.Commit(ctx, store.Txn{Partition: rec.Key.Partition, Mark: mark(), Writes: []store.Write{{ID: rec.Key.ID, Expect: rec.Version}}})
	}
	if l.Many == nil || l.State != escalation.Triggered || l.Many.LookAt.Time().After(e.store.Now()) {
		_, _, err = e.apply(ctx, l.ID, escalation.Tick{}, &l, true)
		return err
	}
	return e.lookAt(ctx, &l, false)
}

// lookAt brings a digest up to date.
func (e *Engine) lookAt(ctx context.Context, l *loaded, soon bool) error {
	snap := e.snap.Load()
	roll, err := e.rollCall(ctx, snap, &l.Incident)
	if err != nil {
		return fmt.Errorf("look at what the digest %s names: %w", l.ID, err)
	}
	roll.Soon = soon
	_, _, err = e.apply(ctx, l.ID, roll, l, true)
	return err
}

// rollCall asks the members of a digest what they are like.
func (e *Engine) rollCall(ctx context.Context, snap *Snapshot, digest *escalation.Incident) (roll escalation.RollCall, err error) {
	now := e.store.Now()
	digest.Unlooked(func(id string) (open bool) {
		inc, ok, failed := e.member(ctx, id)
		if failed != nil {
			err = errors.Join(err, failed)
			return true
		}
		st := escalation.MemberState{Incident: id, Over: !ok || !inc.Awaits(digest.Person)}
		if ok {
			n := named(snap, &inc)
			st.By = inc.AcknowledgedBy()
			st.Gist = fmt.Sprint(id, n.Title, n.Urgent, n.State, n.By)
			if next := next(snap, &inc, now); next != nil {
				st.Gist += fmt.Sprint(next.At.Unix(), next.Names)
			}
		}
		roll.States = append(roll.States, st)
		return !st.Over
	})
	return roll, err
}

// member reads an incident that a digest names; false when it is not kept any more.
func (e *Engine) member(ctx context.Context, id string) (escalation.Incident, bool, error) {
	l, err := e.load(ctx, id)
	switch {
	case err == nil:
		return l.Incident, true, nil
	case lost(err):
		return l.Incident, false, nil
	}
	return l.Incident, false, err
}

// named is what a digest says of an incident.
func named(snap *Snapshot, inc *escalation.Incident) notifiers.Named {
	v := view(snap, inc, inc.OpenedAt.Time())
	return notifiers.Named{ID: inc.ID, Title: notifiers.Untrusted(notifiers.Title(v)), Urgent: inc.Urgency.Rank() > config.Page.Rank(), State: v.State, By: v.By}
}

// list makes the message of a digest: what it names as of its revision, in the
// state that each has now.
func (e *Engine) list(ctx context.Context, snap *Snapshot, digest *escalation.Incident, d escalation.Delivery, msg *notifiers.Message) error {
	now := e.store.Now()
	many := digest.Many
	storm := &notifiers.Storm{
		Limit: snap.Config.Notifiers.MaxPagesPerMinute.V,
		Total: len(many.Members), Open: many.Open(), Over: digest.State != escalation.Triggered,
	}
	if u := snap.Config.ExternalURL.V; u != "" {
		storm.Page = strings.TrimSuffix(u, "/") + "/"
	}
	for _, m := range many.Named() {
		inc, ok, err := e.member(ctx, m.Incident)
		if err != nil {
			return fmt.Errorf("read %s, which the digest names: %w", m.Incident, err)
		}
		n := notifiers.Named{ID: m.Incident, Title: "not kept any more", State: notifiers.Resolved}
		if ok {
			n = named(snap, &inc)
			if at := next(snap, &inc, now); at != nil && (storm.Next == nil || at.At.Before(storm.Next.At)) {
				storm.Next, storm.NextID = at, inc.ID
			}
		}
		n.Apart = m.Over && n.State == notifiers.Triggered
		n.New = d.Parent != "" && max(m.Seq, m.New) > d.Done
		if n.New {
			storm.New++
		}
		storm.Named = append(storm.Named, n)
	}
	storm.Again = d.Kind == escalation.DigestDelivery && d.Parent != "" && storm.New == 0
	if n := len(many.Gens); n > 0 && !storm.Over {
		storm.Asks = len(many.Gens[n-1].Open)
		storm.Token = escalation.DigestToken(digest.ID, many.Gens[n-1].Rev)
		if msg.You != nil && d.Channel == notifiers.Email && snap.Link != nil {
			msg.You.AckURL = snap.Link(storm.Token, d.To, now.Add(7*24*time.Hour))
		}
	}
	msg.Kind, msg.Digest = notifiers.Digest, storm
	return nil
}

// ringAgain lets a digest ring for one of its incidents that reminds; false when the
// digest does not ask for it any more, so that it has to ring by itself.
func (e *Engine) ringAgain(ctx context.Context, digest, incident string) (res notifiers.Result, ok bool) {
	l, err := e.load(ctx, digest)
	switch {
	case lost(err), err == nil && !l.AsksFor(incident):
		return res, false
	case err == nil:
		_, _, err = e.apply(ctx, digest, escalation.Again{}, &l, false)
	}
	if err != nil {
		return notifiers.Result{Verdict: notifiers.Retry, After: 2 * time.Second, Err: errWait}, true
	}
	return notifiers.Result{Ref: notifiers.Ref{Channel: escalation.DigestRef, TS: digest}}, true
}

// lost tells whether a record is gone, or as good as gone.
func lost(err error) bool {
	return errors.Is(err, ErrNotFound) || errors.Is(err, errUnreadable) || errors.Is(err, store.ErrCorrupt)
}

// ErrOldDigest is returned for a list that is not kept any more.
var ErrOldDigest = errors.New("this list of a digest is not kept any more")

// Acknowledged is what acknowledging one incident of a digest did.
type Acknowledged struct {
	Incident escalation.Incident
	Answer   escalation.Answer
	Err      error // ErrNotFound: it is not kept any more; others: it is not stored
}

// AcknowledgeAll acknowledges the incidents that a revision of a digest asked for,
// no more and no fewer: each as if it were pressed by itself. may tells whether
// somebody who is not in an incident's chain any more may take it over. While the
// store is away it is not known which they are: the one answer is the digest's then,
// Recorded.
func (e *Engine) AcknowledgeAll(ctx context.Context, digest string, rev uint64, ev escalation.Acknowledge, may func(escalation.Incident) bool) ([]Acknowledged, error) {
	ctx = store.In(ctx, store.People)
	l, err := e.load(ctx, digest)
	if err != nil && e.island != nil {
		on, missing := e.island.inner.load(ctx, digest)
		switch {
		case missing == nil:
			l, err = on, nil
		case isAway(err):
			return e.island.keepAll(digest, rev, ev, err)
		}
	}
	if err == nil && l.Many == nil {
		err = ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	ids, known := l.Many.AskedFor(rev)
	if !known {
		return nil, ErrOldDigest
	}
	out := make([]Acknowledged, len(ids))
	var wg sync.WaitGroup
	lanes := make(chan struct{}, 8)
	for i, id := range ids {
		wg.Go(func() {
			lanes <- struct{}{}
			defer func() { <-lanes }()
			o := &out[i]
			o.Incident, o.Answer, o.Err = e.Do(ctx, id, ev)
			if o.Err == nil && o.Answer.Kind == escalation.NotInChain && may(o.Incident) {
				again := ev
				again.TakeOver = true
				o.Incident, o.Answer, o.Err = e.Do(ctx, id, again)
			}
			o.Incident.ID = id
		})
	}
	wg.Wait()
	if slices.ContainsFunc(out, func(o Acknowledged) bool { return o.Answer.Kind == escalation.Done }) {
		e.work.Go(func() { // the message says so as soon as it may be edited
			defer e.contain("look at a digest", digest)
			ctx, cancel := context.WithTimeout(e.sending, 5*time.Second)
			defer cancel()
			if l, err := e.load(ctx, digest); err == nil && l.Many != nil {
				if err := e.lookAt(ctx, &l, true); err != nil && ctx.Err() == nil {
					e.log.Warn("a digest could not be looked at after its incidents were acknowledged; that comes by itself", "digest", digest, "err", err)
				}
			}
		})
	}
	return out, nil
}
