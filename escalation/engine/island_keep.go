package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/record"
	"callchain/escalation/store"
	"callchain/internal/fault"
	"callchain/routing"
	"callchain/routing/catalog"
)

// ErrNotKept is returned for what cannot be done while the store is away.
var ErrNotKept = errors.New("only an acknowledgement or a resolve can be recorded while the store is away")

// event is an entry of the journal: one of a webhook, a heartbeat's beat, an act
// and an outcome.
type event struct {
	At escalation.Instant `json:"at"`

	Source  string            `json:"source,omitempty"`
	Webhook *routing.Webhook  `json:"webhook,omitempty"`
	Born    map[string]string `json:"born,omitempty"` // ids of what is open on the island, by subject

	Beat string `json:"beat,omitempty"` // the key of the heartbeat's record

	Incident string             `json:"incident,omitempty"`
	Act      string             `json:"act,omitempty"` // ack, resolve, escalate; ack_all: Incident is a digest
	Rev      uint64             `json:"rev,omitempty"` // ack_all: the digest's
	By       escalation.Actor   `json:"by,omitzero"`
	TakeOver bool               `json:"take_over,omitempty"`
	Stranger bool               `json:"stranger,omitempty"`
	From     *escalation.Place  `json:"from,omitempty"`
	Result   *escalation.Result `json:"result,omitempty"`
	Page     bool               `json:"page,omitempty"` // the result is that of a page's first arrival
}

// partition is where the records are that the event is for.
func (ev *event) partition() (uint8, bool) {
	if ev.Webhook != nil {
		_, p := escalation.GroupID(ev.Source, ev.Webhook.GroupLabels)
		return p, true
	}
	if ev.Beat != "" {
		return beatPartition(ev.Beat)
	}
	return escalation.Partition(ev.Incident)
}

// group is what the event builds on: the group of its alerts, or its incident.
func (ev *event) group() string {
	if ev.Webhook != nil {
		gid, _ := escalation.GroupID(ev.Source, ev.Webhook.GroupLabels)
		return gid
	}
	return ev.Beat + ev.Incident
}

// act is what somebody did; nil if the event is none.
func (ev *event) act() escalation.Event {
	switch ev.Act {
	case "ack":
		return escalation.Acknowledge{By: ev.By, TakeOver: ev.TakeOver, Stranger: ev.Stranger}
	case "resolve":
		return escalation.ResolveByHand{By: ev.By}
	case "escalate":
		return escalation.Escalate{By: ev.By, From: ev.From}
	}
	return nil
}

// done tells whether the act is in the incident's timeline: an entry may come up a
// second time.
func (ev *event) done(inc *escalation.Incident) bool {
	return slices.ContainsFunc(inc.Timeline, func(line escalation.Entry) bool { return line.At == ev.At && line.By == ev.By.Handle })
}

// actOf is the event of an act that can be kept: one that a second time does nothing.
func actOf(id string, ev escalation.Event, at time.Time) (event, bool) {
	out := event{Incident: id, At: escalation.At(at)}
	switch ev := ev.(type) {
	case escalation.Acknowledge:
		out.Act, out.By, out.TakeOver, out.Stranger = "ack", ev.By, ev.TakeOver, ev.Stranger
	case escalation.ResolveByHand:
		out.Act, out.By = "resolve", ev.By
	case escalation.Escalate:
		out.Act, out.By, out.From = "escalate", ev.By, ev.From
		return out, ev.From != nil
	default:
		return out, false
	}
	return out, true
}

const ackAll = "ack_all"

// keepAll keeps that somebody acknowledged what a digest in the store showed.
func (i *island) keepAll(digest string, rev uint64, ev escalation.Acknowledge, why error) ([]Acknowledged, error) {
	p, ok := escalation.Partition(digest)
	if !ok {
		return nil, ErrNotFound
	}
	i.lose(p, why)
	kept, _ := actOf(digest, ev, i.e.store.Now())
	kept.Act, kept.Rev = ackAll, rev
	if err := i.keep(p, kept); err != nil {
		return nil, fmt.Errorf("keep what was answered while the store is away: %w", err)
	}
	i.show()
	return []Acknowledged{{
		Incident: escalation.Incident{ID: digest, Kind: escalation.Digest},
		Answer:   escalation.Answer{Kind: escalation.Recorded, By: kept.By, At: kept.At},
	}}, nil
}

// result is what came of a delivery of an incident.
type result struct {
	escalation.Result
	page bool
}

// expect adds an entry to those that wait.
func (p *part) expect(seq uint64, ev event) {
	n, _ := slices.BinarySearch(p.waiting, seq)
	p.waiting = slices.Insert(p.waiting, n, seq)
	if ev.Result != nil {
		if p.results == nil {
			p.results = map[string][]result{}
		}
		p.results[ev.Incident] = append(p.results[ev.Incident], result{*ev.Result, ev.Page})
	}
}

func (i *island) read(seq uint64) (ev event, err error) {
	data, err := i.journal.Read(seq)
	if err == nil {
		err = json.Unmarshal(data, &ev)
	}
	return ev, err
}

// keep makes an event durable.
func (i *island) keep(p uint8, ev event) error {
	data, err := json.Marshal(ev)
	if err != nil {
		return fmt.Errorf("encode for the journal: %w", err)
	}
	part := &i.parts[p]
	i.mu.Lock()
	part.coming++
	i.mu.Unlock()
	fault.Here("journal.before")
	seq, err := i.journal.Append(data)
	fault.Here("journal.after")
	i.mu.Lock()
	defer i.mu.Unlock()
	part.coming--
	if err == nil {
		part.expect(seq, ev)
	}
	return err
}

// webhook takes a webhook to the store or, when that does not take it, to the journal.
func (i *island) webhook(ctx context.Context, in intake) error {
	gid, p := escalation.GroupID(in.source, in.w.GroupLabels)
	if !i.on(p) {
		switch err := i.e.take(ctx, in); {
		case err == nil:
			i.known.learn(gid, in.w)
			return nil
		case isAway(err):
			i.lose(p, err)
		case errors.Is(err, store.ErrFull):
			i.fill(p, err)
		default:
			return err
		}
	}
	select {
	case i.taking[p] <- struct{}{}:
		defer func() { <-i.taking[p] }()
	case <-ctx.Done():
		return fmt.Errorf("keep the webhook while the store is away: %w", ctx.Err())
	}
	at := i.e.store.Now()
	w := in.w
	in.w = i.known.unknown(gid, w)
	in.keep = func(ids map[string]string) error {
		return i.keep(p, event{At: escalation.At(at), Source: in.source, Webhook: &w, Born: ids})
	}
	if err := i.inner.take(ctx, in); err != nil {
		return fmt.Errorf("keep the webhook while the store is away: %w", err)
	}
	i.show()
	return nil
}

// beat takes a heartbeat's beat to the store or, when that is away, to the
// journal: another replica, which never lost the store, misses it otherwise.
func (i *island) beat(ctx context.Context, h config.Heartbeat, at time.Time) error {
	p, key := heartbeatKey(h)
	if !i.on(p) {
		err := i.e.beat(ctx, h, at)
		if !isAway(err) {
			return err
		}
		i.lose(p, err)
	}
	defer i.show()
	return i.keep(p, event{At: escalation.At(at), Beat: key})
}

// do takes what a person did to the store or, when that is away, to the journal.
// What is only on the island changes there as well.
func (i *island) do(ctx context.Context, id string, ev escalation.Event) (escalation.Incident, escalation.Answer, error) {
	p, ok := escalation.Partition(id)
	if !ok {
		return escalation.Incident{}, escalation.Answer{}, ErrNotFound
	}
	here, errHere := i.inner.load(ctx, id)
	if !i.on(p) {
		switch inc, answer, err := i.e.do(ctx, id, ev); {
		case isAway(err):
			i.lose(p, err)
		case errors.Is(err, ErrNotFound) && (errHere == nil || i.lately()):
		default:
			return inc, answer, err
		}
	}
	now := i.e.store.Now()
	kept, ok := actOf(id, ev, now)
	if esc, is := ev.(escalation.Escalate); is && esc.From == nil && errHere == nil {
		place := here.Place()
		esc.From = &place
		kept, ok = actOf(id, esc, now)
	}
	if !ok {
		return escalation.Incident{}, escalation.Answer{}, ErrNotKept
	}
	said := fmt.Sprintf("%s is recorded for %s; Redis is away, the escalation may still happen", kept.Act, kept.By.String())
	// One that cannot be read is not acknowledged yet, as far as anybody knows.
	inc := escalation.Incident{ID: id, State: escalation.Triggered, Assessment: catalog.Unknown, Timeline: []escalation.Entry{{Seq: 1, At: kept.At, Text: said, By: kept.By.Handle}}}
	if errHere == nil {
		inc = here.Incident
		if kept.Act != "escalate" {
			next, answer := escalation.Step(inc, ev, now, i.e.snap.Load().env())
			if answer.Kind != escalation.Done {
				answer.Kept = answer.Kind == escalation.Already
				return next, answer, nil
			}
		}
	}
	if err := i.keep(p, kept); err != nil {
		return inc, escalation.Answer{}, fmt.Errorf("keep what was answered while the store is away: %w", err)
	}
	i.show()
	if errHere == nil && kept.Act != "escalate" {
		next, _, err := i.inner.do(ctx, id, ev)
		if err != nil {
			i.e.log.Warn("what was answered is kept, and not shown until the store is back", "incident", id, "err", err)
		} else {
			inc = next
		}
	}
	return inc, escalation.Answer{Kind: escalation.Recorded, By: kept.By, At: kept.At}, nil
}

// incident is one that is only here.
func (i *island) incident(ctx context.Context, id string) (escalation.Incident, bool) {
	l, err := i.inner.load(ctx, id)
	return l.Incident, err == nil
}

// adopt sends a first page here whose incident cannot be read any more: it was
// committed, and answered 200, just before the store went away. If others reach the
// store they send it when its lease is over, and know who has answered by then:
// until then it is tried here, and no longer. Later pages are theirs alone.
func (i *island) adopt(a attempt, received time.Time, why error) bool {
	p, ok := escalation.Partition(a.incident)
	if !ok || !isAway(why) || a.as == nil || !escalation.First(&a.as.Incident, &a.delivery) {
		return false
	}
	i.lose(p, why)
	i.mu.Lock()
	i.adopted[a.incident] = a.delivery.Until
	i.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		cur, err := i.inner.load(ctx, a.incident)
		var inc escalation.Incident
		switch {
		case err == nil: // with another page of it
			inc = cur.Incident
			if d := inc.Delivery(a.delivery.ID); d != nil && d.Reached == 0 && d.Attempt <= a.delivery.Attempt {
				*d = a.delivery
			}
		case errors.Is(err, ErrNotFound):
			inc = escalation.Calm(escalation.Apart(a.as.Incident, a.delivery))
		default:
			return false
		}
		data, err := record.Encode(&inc)
		if err != nil {
			return false
		}
		err = i.inner.store.Commit(ctx, store.Txn{Partition: p, Mark: mark(), Writes: []store.Write{{ID: keyOf(&inc), Expect: cur.version, Data: data, Wake: inc.Wake().Time()}}})
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err == nil {
			i.inner.dispatch([]attempt{a}, received)
		}
		return err == nil
	}
}

// late tells whether it is too late to begin an attempt here, and others may make it.
func (i *island) late(a attempt, inc *escalation.Incident) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	until, ok := i.adopted[a.incident]
	return ok && escalation.First(inc, &a.delivery) && until.Time().Sub(i.e.store.Now()) < enough(a.delivery)
}

// leave gives up the pages of an incident that was adopted. If the alerts come
// again, nobody may have sent them: they are paged here as if they were new.
func (i *island) leave(a attempt) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		cur, err := i.inner.load(ctx, a.incident)
		if err != nil {
			return
		}
		t := txn{partition: cur.partition}
		if t.incident(i.inner, &cur, escalation.Leave(cur.Incident), i.e.store.Now(), false) != nil {
			return
		}
		switch err := i.inner.commit(ctx, &t); {
		case errors.Is(err, store.ErrConflict):
			continue
		case err == nil:
			i.inner.dispatch(t.taken, time.Time{})
			i.known.unlearn(&cur.Incident)
			i.e.log.Error("a page could not be sent in time while the store is away: whoever reaches the store sends it", "incident", a.incident, "notifier", a.delivery.Channel)
		}
		return
	}
}

// keepResult keeps what came of a delivery, as far as that saves somebody a
// second message. It tells whether it is kept.
func (i *island) keepResult(incident string, r escalation.Result, page bool) bool {
	p, ok := escalation.Partition(incident)
	if !ok || r.Verdict != escalation.VerdictSent {
		return false
	}
	err := i.keep(p, event{At: escalation.At(i.e.store.Now()), Incident: incident, Result: &r, Page: page})
	if err != nil {
		i.e.log.Warn("what became of a message could not be kept; it may come twice", "incident", incident, "err", err)
	}
	i.show()
	return err == nil
}
