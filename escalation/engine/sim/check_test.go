package sim

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/escalation/record"
	"callchain/escalation/store"
	"callchain/notifiers"
	"callchain/routing"
)

// Bounds of what must be done when nothing is in trouble.
const (
	timely   = time.Second                                        // a timer that is due
	takeover = escalation.Lease + 2*time.Second                   // one that somebody died over
	reached  = escalation.Lease + 10*time.Second + 20*time.Second // a person: a lease, a probe or a wait, then their turn
	skipped  = 25 * time.Second                                   // a step of people whom nothing reaches
	slowest  = 36 * time.Second                                   // an attempt over a smarthost that does not answer
	lateCopy = escalation.LateCopy + 15*time.Second
)

// history is what was committed of one incident.
type history struct {
	id       string
	versions []version
}

type version struct {
	at  time.Time
	by  *process
	n   uint64 // of the record
	key string
	inc escalation.Incident
}

func (h *history) last() *version { return &h.versions[len(h.versions)-1] }

// attempt is one call of a channel.
type attempt struct {
	id       string
	n        int
	p        *process
	incident string
	began    time.Time
	ended    time.Time // zero while it goes on
	res      notifiers.Result
	accepted bool
	ashore   bool // made on an island, of what the store did not have
}

// lease is what a commit allowed: one attempt at a delivery.
type lease struct {
	n  int
	at time.Time // taken or renewed
	p  *process
}

// owed is something that must happen by when all is calm for long enough.
type owed struct {
	invariant string
	what      string
	since     time.Time
	done      time.Time // zero: never
	channels  []string  // by which it may happen; none: by daemon and store alone
	instead   []string  // of these only after an attempt over another one
	within    time.Duration
	strict    time.Duration // if it was calm before, too
	ashore    *process      // whose island owes it; nil: the store
}

// judge holds what the checks have to remember.
type judge struct {
	tries      map[string][]*attempt
	leases     map[string]lease
	pages      map[string]*owed // by incident and person, and by delivery too
	steps      map[string]*owed // by incident: deadlines
	hopeless   map[string]*owed // by incident: steps that reach nobody
	settled    []*owed
	escalating map[string]int // presses under way or without an answer
	undoing    map[string]int // the same of those that may end an acknowledgement
	resolves   map[uint64]time.Time
	sent       map[uint64]time.Time // fired, answered with 200
	over       map[uint64]bool      // resolved after that
	taken      map[uint64]bool      // fires, and that was answered with 200
	kept       map[uint64]bool      // and is in a journal only
	ashore     map[uint64]bool      // it ever was in one
	lost       map[uint64]*owed     // fires, and the store forgot it
	recorded   []recorded
}

func (j *judge) init() {
	*j = judge{tries: map[string][]*attempt{}, leases: map[string]lease{}, pages: map[string]*owed{}, steps: map[string]*owed{},
		hopeless: map[string]*owed{}, escalating: map[string]int{}, undoing: map[string]int{}, resolves: map[uint64]time.Time{}, sent: map[uint64]time.Time{}, over: map[uint64]bool{},
		taken: map[uint64]bool{}, kept: map[uint64]bool{}, ashore: map[uint64]bool{}, lost: map[uint64]*owed{}}
}

func (j *judge) settle(m map[string]*owed, key string, done time.Time) {
	if o := m[key]; o != nil {
		o.done = done
		j.settled = append(j.settled, o)
		delete(m, key)
	}
}

// committed looks at a transaction that was applied. w.mu is held.
func (w *world) committed(p *process, txn store.Txn) {
	w.count.commits++
	for _, wr := range txn.Writes {
		w.event("%s commits %s version %d wake %d data %x", p.id, wr.ID, wr.Expect+1, store.Millis(wr.Wake), fingerprint(wr.Data))
		kind, id, _ := strings.Cut(wr.ID, "/")
		if strings.HasPrefix(wr.ID, "p/witness/") {
			w.receivers = bytes.Contains(wr.Data, []byte(`"callchain"`))
		}
		if kind == "a" {
			w.alias[id] = string(wr.Data)
			w.judge.escalating[string(wr.Data)] += w.judge.escalating[id]
			w.judge.undoing[string(wr.Data)] += w.judge.undoing[id]
			w.count.aliases++
		}
		if kind != "i" && kind != "c" || wr.Data == nil {
			continue
		}
		var inc escalation.Incident
		if err := record.Decode(wr.Data, &inc); err != nil {
			w.violate("I31", "%s does not decode: %v", wr.ID, err)
			continue
		}
		next := version{at: w.now(), by: p, n: wr.Expect + 1, key: wr.ID, inc: inc}
		h := w.histories[inc.ID]
		if h == nil {
			h = &history{id: inc.ID}
			w.histories[inc.ID] = h
			w.order = append(w.order, inc.ID)
			h.versions = append(h.versions, version{at: next.at, by: p, key: wr.ID})
		}
		prev := h.last()
		h.versions = append(h.versions, next)
		if prev.key == next.key && prev.n+1 != next.n {
			w.violate("I7", "%s goes from version %d to %d", wr.ID, prev.n, next.n)
		}
		w.moved(prev, h.last())
	}
}

func placeOf(inc *escalation.Incident) [4]int {
	return [4]int{inc.Run, inc.Round, inc.Step, inc.Exhausts}
}

// moved compares two versions of an incident that follow each other.
func (w *world) moved(prev, next *version) {
	a, b, j, id, now := &prev.inc, &next.inc, &w.judge, next.inc.ID, next.at
	born := a.ID == ""
	from, to := a.Place(), b.Place()
	before := slices.Compare([]int{from.Run, from.Round, from.Step}, []int{to.Run, to.Round, to.Step})
	if before > 0 && to.Round != 0 { // one that fires again for less has no chain
		w.violate("I6", "%s goes back from step %v to %v", id, from, to)
	}
	answered := a.State == escalation.Acknowledged && b.State != escalation.Resolved && b.Urgency.Rank() <= a.Urgency.Rank()
	switch {
	case born:
	case answered && j.undoing[id] > 0:
	case answered && a.Ack.Expires != 0 && a.Ack.Expires <= escalation.At(now):
	case answered && b.State != escalation.Acknowledged:
		w.violate("I2", "%s was acknowledged by %s and is %s again without a reason", id, a.AcknowledgedBy(), b.State)
	case answered && (a.Ack.Handle != b.Ack.Handle || a.Ack.At != b.Ack.At) && !besides(a, b.Ack.Handle):
		w.violate("I12", "%s was acknowledged by %s, and then by %s", id, a.Ack.Handle, b.Ack.Handle)
	case answered && before != 0:
		w.violate("I2", "%s goes from step %v to %v although it is acknowledged", id, from, to)
	case a.State == escalation.Resolved && b.State != escalation.Resolved && b.Opens != a.Opens+1:
		w.violate("I13", "%s was resolved and is %s again", id, b.State)
	}
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		var was escalation.Delivery
		if o := a.Delivery(d.ID); o != nil {
			was = *o
		}
		if was.ID == "" && d.Kind == escalation.PageDelivery {
			asked := d.Hand != 0 && besides(b, d.To)
			if b.State != escalation.Triggered && !asked {
				w.violate("I2", "%s pages %s while it is %s", id, d.To, b.State)
			}
			if b.State == escalation.Triggered && d.Reached == 0 { // else it came from an island
				w.owePage(b, d, now, nil)
			}
		}
		if was.ID != "" && (was.To != d.To || was.Channel != d.Channel || was.Run != d.Run || was.Round != d.Round || was.Position != d.Position) {
			w.violate("I6", "%s: delivery %s changes what it is", id, d.ID)
		}
		if was.Attempt > d.Attempt {
			w.violate("I6", "%s: delivery %s goes back to attempt %d", id, d.ID, d.Attempt)
		}
		w.leased(next, &was, d)
	}

	for _, ep := range b.Episodes {
		if o := j.lost[ep.Fingerprint]; o != nil {
			o.done = now
			j.settled = append(j.settled, o)
			delete(j.lost, ep.Fingerprint)
		}
	}

	// The timers.
	due := func(inc *escalation.Incident) escalation.Instant {
		switch {
		case inc.State == escalation.Acknowledged && inc.Ack != nil:
			return inc.Ack.Expires
		case inc.State == escalation.Snoozed:
			return inc.SnoozedUntil
		case inc.State != escalation.Triggered:
			return 0
		}
		if inc.Deadline != 0 {
			return inc.Deadline
		}
		return inc.ExhaustAt
	}
	old, new := due(a), due(b)
	stepped := placeOf(a) != placeOf(b) || a.Exhausted != b.Exhausted
	w.witnessed(a, b, stepped && !born)
	if old != 0 && (new != old || stepped) {
		lawful := b.State != escalation.Triggered || b.Run != a.Run || j.escalating[id] > 0
		if stepped && !lawful && escalation.At(now) < old {
			w.violate("I4", "%s moves on %v before its step is over", id, old.Time().Sub(now))
		}
		j.settle(j.steps, id, now)
		if stepped && !lawful && now.After(old.Time()) {
			w.count.lateness = max(w.count.lateness, now.Sub(old.Time()))
		}
	}
	if new != 0 && (new != old || stepped) {
		j.steps[id] = &owed{invariant: "I4", what: "the next step of " + id, since: new.Time(), within: takeover, strict: timely}
	}

	// Steps of people whom nothing reaches.
	asked := stepped || !slices.Equal(a.Asked, b.Asked) // also by hand, in place of the step
	if asked || b.State != escalation.Triggered {
		j.settle(j.hopeless, id, now)
	}
	if b.Held {
		delete(j.hopeless, id) // until it is over
	}
	if (asked || a.Held) && !b.Held && b.State == escalation.Triggered && len(b.Asked) > 0 && !slices.ContainsFunc(b.Asked, w.reachable) {
		j.hopeless[id] = &owed{invariant: "I11", what: "going on from a step of " + id + " that reaches nobody (" + strings.Join(b.Asked, ", ") + ")",
			since: now, within: skipped, channels: []string{"slack+email"}}
	}
	if b.State != escalation.Triggered {
		for _, key := range j.keysOf(id) {
			delete(j.pages, key)
		}
	}
	for i := range a.Deliveries { // newer pages take the place of those that did not arrive
		if d := &a.Deliveries[i]; b.Delivery(d.ID) == nil {
			delete(j.pages, id+" "+d.To+" "+d.ID)
		}
	}
}

// besides tells whether somebody was asked by hand besides who has an incident.
func besides(inc *escalation.Incident, who string) bool {
	return inc.Beside != nil && slices.Contains(inc.Beside.People, who)
}

func (w *world) reachable(who string) bool { return !w.deaf["slack "+who] || !w.deaf["email "+who] }

// owePage notes that a person has to hear of an incident, over any channel and
// over this one.
func (w *world) owePage(inc *escalation.Incident, d *escalation.Delivery, now time.Time, ashore *process) {
	var hears, instead []string
	owe := func(key, what string, channels ...string) {
		if o := w.judge.pages[key]; o != nil && o.ashore != nil && ashore == nil {
			o.ashore, o.since = nil, now // the store has it now
		} else if o == nil && len(channels) > 0 {
			w.judge.pages[key] = &owed{invariant: "I1", what: what, since: now, within: reached, channels: channels, instead: instead, ashore: ashore}
		}
	}
	for _, ch := range []string{"slack", "email"} {
		if !w.deaf[ch+" "+d.To] {
			hears = append(hears, ch)
		}
		if !slices.ContainsFunc(inc.Deliveries, func(o escalation.Delivery) bool {
			return o.Kind == escalation.PageDelivery && o.To == d.To && o.Run == d.Run && o.Channel == ch
		}) {
			instead = append(instead, ch)
		}
	}
	if slices.ContainsFunc(inc.Deliveries, func(o escalation.Delivery) bool {
		return o.Kind == escalation.PageDelivery && o.To == d.To && o.Run == d.Run && o.Round == d.Round && o.Position == d.Position && o.Reached != 0
	}) {
		hears = nil // over the other channel, on an island
	}
	owe(inc.ID+" "+d.To, "the page of "+inc.ID+" to "+d.To, hears...)
	if slices.Contains(hears, d.Channel) {
		owe(inc.ID+" "+d.To+" "+d.ID, "the page of "+inc.ID+" to "+d.To+" over "+d.Channel, d.Channel)
	}
}

// keysOf are the keys of what is owed for an incident, in order.
func (j *judge) keysOf(id string) (keys []string) {
	for key := range j.pages {
		if strings.HasPrefix(key, id+" ") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// leased checks that nobody takes a delivery from somebody who may be sending it.
func (w *world) leased(v *version, was, is *escalation.Delivery) {
	j := &w.judge
	l, known := j.leases[is.ID]
	// Its outcome and the next attempt may come in one commit.
	ended := slices.ContainsFunc(j.tries[is.ID], func(a *attempt) bool { return a.n == l.n && !a.ended.IsZero() })
	// So may that of an attempt before, whose outcome was kept on an island.
	ended = ended || was.Reached == 0 && is.Reached != 0
	taken := was.Status == escalation.InFlight && !ended && (is.Attempt > was.Attempt || is.Status != escalation.InFlight && is.Maybe > was.Maybe)
	if known && taken && l.n == was.Attempt {
		held := v.at.Sub(l.at)
		if held < escalation.Lease-time.Second && l.p.diedAt.IsZero() && !w.stalled(l.p, l.at.Add(-30*time.Second), v.at) && !w.stalled(v.by, l.at.Add(-30*time.Second), v.at) {
			w.violate("I9", "%s takes delivery %s attempt %d of %s %v after it was taken", v.by.id, is.ID, l.n, l.p.id, held)
		}
	}
	switch {
	case is.Status != escalation.InFlight:
	case is.Attempt > was.Attempt, is.Until > was.Until:
		j.leases[is.ID] = lease{is.Attempt, v.at, v.by}
	}
}

func (w *world) stalled(p *process, from, to time.Time) bool {
	return slices.ContainsFunc(p.stalls, func(s span) bool { return s.from.Before(to) && s.to.After(from) })
}

// attempting looks at an attempt that begins; nil if its process is dead.
func (w *world) attempting(p *process, channel string, msg notifiers.Message) *attempt {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead {
		if p.drained {
			w.violate("I27", "%s sends %s after it has stopped", p.id, msg.ID)
		}
		return nil
	}
	j, id := &w.judge, msg.Incident.ID
	a := &attempt{id: msg.ID, n: msg.Attempt, p: p, incident: id, began: w.now()}
	asks := msg.Kind == notifiers.Page || msg.Kind == notifiers.Reminder
	if asks && !msg.Edit {
		switch look, ok := p.looks[id]; {
		case !ok || !look.returned.Equal(w.now()):
			w.violate("I3", "%s sends %s without having looked at %s just before", p.id, msg.ID, id)
		case look.version < 0:
			w.violate("I3", "%s sends %s of %s, which was not there when it looked", p.id, msg.ID, id)
		default:
			seen := &look.of.versions[look.version].inc
			switch s := seen.State; s {
			case escalation.Triggered:
			case escalation.Resolved:
				w.violate("I13", "%s sends %s of %s, which was resolved when it looked", p.id, msg.ID, id)
			default:
				if msg.You != nil && besides(seen, msg.You.Handle) {
					break
				}
				w.violate("I3", "%s sends %s of %s, which was %s when it looked", p.id, msg.ID, id, s)
			}
		}
	}
	if look, ok := p.looks[id]; ok && look.version >= 0 && !msg.Edit {
		if d := look.of.versions[look.version].inc.Delivery(msg.ID); d != nil && d.Status == escalation.InFlight && d.Attempt == msg.Attempt && escalation.At(w.now()) > d.Until {
			w.violate("I9", "%s begins %s attempt %d %v after its lease was over", p.id, msg.ID, msg.Attempt, w.now().Sub(d.Until.Time()))
		}
	}
	for _, o := range j.tries[msg.ID] {
		l := j.leases[msg.ID]
		if o.ended.IsZero() && o.n == l.n && o.n != a.n && !o.p.dead && w.now().Sub(l.at) < escalation.Lease-time.Second {
			w.violate("I9", "%s sends %s while %s does and holds its lease", p.id, msg.ID, o.p.id)
		}
	}
	if here, there := w.ashore[id], w.histories[id]; asks && !msg.Edit && here != nil && there != nil && p.looks[id].of == here && there.versions[0].at.Before(here.versions[0].at) {
		w.adopted(p, msg, here, there)
	}
	a.ashore = p.looks[id].of != nil && p.looks[id].of == w.ashore[id] && w.histories[id] == nil
	j.tries[msg.ID] = append(j.tries[msg.ID], a)
	w.event("%s: %s begins %s attempt %d of %s", channel, p.id, msg.ID, msg.Attempt, id)
	return a
}

// adopted looks at a page that is sent from an island though the store has its
// incident: only first pages may be, and only until others send them. w.mu is held.
func (w *world) adopted(p *process, msg notifiers.Message, here, there *history) {
	inc := &here.last().inc
	if d := inc.Delivery(msg.ID); d != nil && !escalation.First(inc, d) {
		w.violate("I2", "%s sends %s, the page of a later step of %s, from its island", p.id, msg.ID, inc.ID)
	}
	var until escalation.Instant
	for i := range there.versions {
		if v := &there.versions[i]; v.by == p {
			for _, d := range v.inc.Deliveries {
				until = max(until, d.Until)
			}
		}
	}
	if escalation.At(w.now()) > until {
		w.violate("I9", "%s sends %s of %s from its island %v after its lease was over", p.id, msg.ID, inc.ID, w.now().Sub(until.Time()))
	}
}

func (w *world) attempted(a *attempt, res notifiers.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a.ended, a.res = w.now(), res
}

// accepted looks at a message that a channel took. w.mu is held.
func (w *world) accepted(v *provider, p post, msg notifiers.Message) {
	if msg.Edit {
		w.count.edits++
		return
	}
	w.count.posts++
	p.attempt.accepted = true
	if msg.Kind != notifiers.Thread {
		v.posts[msg.ID] = append(v.posts[msg.ID], p)
		if n := len(v.posts[msg.ID]); n > 1 {
			// All of them but one need a reason; whose came last says nothing.
			var causes []string
			for _, o := range v.posts[msg.ID] {
				if cause := w.cause(o.attempt); cause != "" {
					causes = append(causes, cause)
				}
			}
			if len(causes) >= n-1 {
				w.count.duplicates[causes[min(n-2, len(causes)-1)]]++
			} else {
				w.violate("I5", "%s comes %d times over %s, and nothing explains it", msg.ID, n, v.name)
			}
		}
	}
	if msg.Kind == notifiers.Page {
		w.count.pages++
		key := msg.Incident.ID + " " + msg.You.Handle
		if o := w.judge.pages[key]; o != nil {
			w.count.pageDelay = max(w.count.pageDelay, p.at.Sub(o.since))
		}
		w.judge.settle(w.judge.pages, key, p.at)
		w.judge.settle(w.judge.pages, key+" "+msg.ID, p.at)
		w.react(msg.You.Handle, msg.Incident.ID, v.name, msg.ID)
	}
}

// cause is why a message that arrived is sent again; "" if there is no reason.
func (w *world) cause(a *attempt) string {
	switch {
	case !a.ended.IsZero() && a.res.Verdict == notifiers.Ambiguous && a.p.diedAt.IsZero():
		return "ambiguous answer"
	case !a.p.diedAt.IsZero() && a.p.drained:
		return "cut by a stop"
	case !a.p.diedAt.IsZero():
		return "process killed"
	case w.stalled(a.p, a.began.Add(-30*time.Second), w.now()):
		return "process stood still"
	case a.ashore && (a.ended.IsZero() || a.ended.Sub(a.began) > 10*time.Second): // longer than is waited for it
		return "under way when the store was back"
	case a.ashore && !slices.ContainsFunc(a.p.refusals, func(at time.Time) bool { return at.After(a.began) }):
		return "" // what came of it is in the journal
	case len(a.p.losses) > 0 && a.p.losses[len(a.p.losses)-1].After(a.began):
		return "store failed"
	case w.lapses[a.incident].After(a.began), w.lapses[a.id].After(a.began):
		return "store forgot"
	}
	return ""
}

// sending notes what an Alertmanager is about to say. w.mu is held.
func (j *judge) sending(w *world, wh routing.Webhook) {
	for _, a := range wh.Alerts {
		if !a.Firing {
			j.resolves[a.Fingerprint] = w.now().Add(6 * time.Second)
		}
	}
}

// answered checks what a 200 promises: the alerts are stored. w.mu is held.
func (j *judge) answered(w *world, wh routing.Webhook, err error) {
	for _, a := range wh.Alerts {
		if !a.Firing {
			j.resolves[a.Fingerprint] = w.now()
			j.over[a.Fingerprint] = j.over[a.Fingerprint] || err == nil
			j.taken[a.Fingerprint], j.kept[a.Fingerprint] = false, false
			continue
		}
		j.taken[a.Fingerprint] = j.taken[a.Fingerprint] || err == nil
		s := a.Labels["severity"]
		if err != nil || s != "critical" && s != "emergency" || a.Labels["service"] == "gone" || w.now().Sub(j.resolves[a.Fingerprint]) < lateCopy {
			continue
		}
		found := false
		for _, id := range w.order {
			h := w.histories[id]
			// Somebody may have resolved it since, or archived it.
			for i := len(h.versions) - 1; i >= 0 && !found; i-- {
				v := &h.versions[i]
				found = v.inc.Episodes.Firing(a.Fingerprint)
				if v.at.Before(w.now().Add(-6 * time.Second)) {
					break
				}
			}
		}
		j.ashore[a.Fingerprint] = j.ashore[a.Fingerprint] || len(w.away) > 0
		if kept := slices.ContainsFunc(w.daemons, func(d *daemon) bool { return d.disk.has(a.Fingerprint) }); kept && !found {
			j.kept[a.Fingerprint], found = true, true
		}
		if !found && w.now().Sub(w.forgotAt) > 6*time.Second {
			which := "I1"
			if w.island && len(w.away) > 0 {
				which = "I19"
			}
			if j.over[a.Fingerprint] {
				which = "I13"
			}
			w.violate(which, "alert %d of %v was answered with 200 and is in no incident", a.Fingerprint, wh.GroupLabels)
		}
	}
}

// told checks what a person was told. w.mu is held.
func (j *judge) told(w *world, id string, ev escalation.Event, answer escalation.Answer, asked time.Time) {
	ack, acks := ev.(escalation.Acknowledge)
	if answer.Kind == escalation.Recorded {
		if _, closes := ev.(escalation.ResolveByHand); acks {
			j.recorded = append(j.recorded, recorded{id, &ack, asked})
		} else if closes {
			j.recorded = append(j.recorded, recorded{id, nil, asked})
		}
		return
	}
	if w.histories[id] == nil && w.ashore[id] == nil && w.alias[id] == "" {
		w.violate("I12", "an answer about %s, which never was", id)
		return
	}
	some := func(f func(v *version) bool) bool {
		for _, h := range []*history{w.histories[id], w.ashore[id], w.histories[w.alias[id]]} {
			for i := 0; h != nil && i < len(h.versions); i++ {
				if f(&h.versions[i]) {
					return true
				}
			}
		}
		return false
	}
	lie := func() {
		w.violate("I12", "%T of %s was answered with %s (%s), which is not so", ev, id, answer.Kind, answer.By.Handle)
	}
	since := escalation.At(asked)
	switch {
	case answer.Kind == escalation.Done && acks && answer.At != 0: // it runs anew
		if !some(func(v *version) bool {
			return v.inc.Ack != nil && v.inc.Ack.Handle == ack.By.Handle && v.inc.Ack.At == answer.At && v.inc.Ack.Expires > since
		}) {
			lie()
		}
	case answer.Kind == escalation.Done && acks:
		if !some(func(v *version) bool {
			return v.inc.Ack != nil && v.inc.Ack.Handle == ack.By.Handle && v.inc.Ack.At >= since && v.inc.State == escalation.Acknowledged
		}) {
			lie()
		}
	case answer.Kind == escalation.Already:
		if !some(func(v *version) bool {
			return v.inc.Ack != nil && v.inc.Ack.Handle == answer.By.Handle && v.inc.Ack.At == answer.At
		}) {
			lie()
		}
	case answer.Kind == escalation.Closed:
		if !some(func(v *version) bool { return v.inc.State == escalation.Resolved && v.inc.ClosedAt == answer.At }) {
			lie()
		}
	case answer.Kind == escalation.Done:
		if _, closes := ev.(escalation.ResolveByHand); closes && !some(func(v *version) bool {
			return v.inc.State == escalation.Resolved && v.inc.ClosedBy != nil && v.inc.ClosedAt >= since
		}) {
			lie()
		}
	}
}

// checkReload checks that a configuration that is put in force reaches somebody
// for every open incident.
func (w *world) checkReload(snap *engine.Snapshot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range w.order {
		v := w.histories[id].last()
		if v.inc.State == escalation.Triggered && v.inc.Urgency.Pages() {
			w.leadsOn(&v.inc, snap)
		}
	}
}

// leadsOn checks that an incident has somebody to go to.
func (w *world) leadsOn(inc *escalation.Incident, snap *engine.Snapshot) {
	for _, step := range snap.Router.Chain(inc.Target, inc.Urgency, w.now(), 0, nil).Steps {
		for _, who := range step.People {
			if p := snap.Catalog.Person(who); p != nil && (snap.Channels["slack"] != nil && p.Slack != "" || snap.Channels["email"] != nil && p.Email != "") {
				return
			}
		}
	}
	w.violate("I15", "%s reaches nobody with the configuration in force", inc.ID)
}

// verdict is what can be said only when all is over. w.mu is held.
func (w *world) verdict() {
	now := w.now()
	for _, id := range w.order {
		for _, o := range []*owed{w.judge.steps[id], w.judge.hopeless[id]} {
			if o != nil {
				w.judge.settled = append(w.judge.settled, o)
			}
		}
		for _, key := range w.judge.keysOf(id) {
			w.judge.settled = append(w.judge.settled, w.judge.pages[key])
		}
	}
	for _, g := range w.groups {
		for _, a := range g.alerts {
			if o := w.judge.lost[a.fp]; o != nil && w.receivers {
				w.judge.settled = append(w.judge.settled, o)
			}
		}
	}
	for _, o := range w.judge.settled {
		w.due(o, now)
	}
	w.keptAnswers()
	// What is stored is what is true.
	stored := map[uint64]*escalation.Incident{}
	all, _ := snapshots()
	for _, id := range w.order {
		v := w.histories[id].last()
		if v.inc.ID == "" {
			continue // forgotten, or overwritten
		}
		for _, e := range v.inc.Episodes {
			if o := stored[e.Fingerprint]; o != nil && o.Open() {
				continue
			}
			stored[e.Fingerprint] = &v.inc
		}
		open := false
		for _, e := range v.inc.Episodes {
			open = open || !v.inc.Urgency.Pages() || e.Urgency.Pages()
		}
		if open != v.inc.Open() && v.inc.ClosedBy == nil {
			w.violate("I14", "%s is %s with %d alerts firing", id, v.inc.State, len(v.inc.Episodes))
		}
		if v.inc.State == escalation.Triggered && v.inc.Urgency.Pages() {
			if v.inc.NextStepAt() == 0 {
				w.violate("I15", "%s waits for nobody", id)
			}
			w.leadsOn(&v.inc, &engine.Snapshot{Router: all[w.daemons[0].catalog].Router, Catalog: all[w.daemons[0].catalog].Catalog,
				Channels: map[string]engine.Channel{"slack": &line{}}})
		}
		partition, _ := escalation.Partition(id)
		recs, err := w.store.Load(context.Background(), partition, v.key)
		if err != nil || recs[0].Version != v.n {
			w.violate("I7", "%s has version %d, not %d", v.key, recs[0].Version, v.n)
		} else if store.Millis(recs[0].Wake) != int64(v.inc.Wake()) {
			w.violate("I21", "%s wakes at %v, not at %v", v.key, recs[0].Wake, v.inc.Wake().Time())
		}
	}
	for _, g := range w.groups {
		for _, a := range g.alerts {
			inc := stored[a.fp]
			switch {
			case !a.firing && inc != nil && !inc.Open() && w.witness: // whose resolve was lost may stay in a closed one
			case !a.firing && inc != nil && w.judge.ashore[a.fp] && !w.witness:
				// A copy of its firing lay in a journal for longer than late copies are known as such.
			case !a.firing && inc != nil:
				w.violate("I14", "alert %d is over and fires in %s", a.fp, inc.ID)
			case a.firing && a.pages() && inc == nil && w.judge.kept[a.fp]:
				w.violate("I18", "alert %d was kept in a journal, and is in no incident", a.fp)
			case a.firing && a.pages() && inc == nil && w.witness && !w.receivers:
				// Neither the store nor any process knows what is sent here.
			case a.firing && a.pages() && inc == nil:
				w.violate("I14", "alert %d fires and is in no incident", a.fp)
			case a.firing && a.pages() && !inc.Open() && inc.ClosedBy == nil:
				w.violate("I14", "alert %d fires and %s is resolved", a.fp, inc.ID)
			}
		}
	}
	_ = w.store.Scan(context.Background(), "i/", func(rec store.Record) bool {
		var inc escalation.Incident
		if record.Decode(rec.Data, &inc) != nil {
			w.violate("I31", "%s cannot be read, and is not quarantined", rec.Key.ID)
		}
		return true
	})
	w.count.incidents = len(w.order)
	w.count.virtual = now.Sub(w.began)
}

// due checks that something happened in time.
func (w *world) due(o *owed, now time.Time) {
	by := time.Time{}
	ways := o.channels
	if len(ways) == 0 {
		ways = []string{""}
	}
	for _, ch := range ways { // any of them is enough
		within, what := o.within, append([]string{"", "store"}, strings.Split(ch, "+")...)
		switch {
		case o.ashore != nil:
			what = append([]string{""}, strings.Split(ch, "+")...)
		case w.island:
			within += settling
		}
		if slices.Contains(o.instead, ch) {
			within += slowest
		}
		if o.invariant == "I8" {
			what = append(what, "alertmanager", "restart")
		}
		end := w.calmBy(o.since, within, what...)
		if by.IsZero() || end.Before(by) {
			by = end
		}
	}
	before := takeover
	if w.island {
		before += settling
	}
	if o.strict != 0 && w.quiet(o.since.Add(-before), o.since.Add(o.strict), "", "store", "alertmanager") {
		by = o.since.Add(o.strict)
		w.count.calmLateness = max(w.count.calmLateness, o.done.Sub(o.since))
	}
	done := o.done
	if done.IsZero() {
		done = now
	}
	if done.After(by) {
		w.violate(o.invariant, "%s was due at %v, had to come by %v, and came at %v (never: %v)", o.what, o.since.Sub(w.began), by.Sub(w.began), done.Sub(w.began), o.done.IsZero())
	}
}
