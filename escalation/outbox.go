package escalation

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"callchain/routing"
	"callchain/routing/catalog"
)

// How deliveries are paced. The channel's own wish (Retry-After) always wins.
const (
	retryMax      = 10 * time.Second // 1 s, 2 s, 4 s, 8 s, then every 10 s for as long as it matters
	probeEvery    = 10 * time.Second // a channel that is down as a whole
	longWait      = 30 * time.Second // a wait this long is as good as a failure: the other channel is used too
	coalesceEdits = time.Second      // a message just sent is left alone; lines within it are one thread message
	maxAttempts   = 30               // of what asks nobody for an answer
)

// Lease is how long an attempt may take, from Take to the commit of its result,
// before somebody else makes another. An attempt that takes longer renews it.
const Lease = 10 * time.Second

// contact is one way to reach a person.
type contact struct{ channel, address string }

// contact lists the channels on which a person is paged: theirs, as far as they
// are configured and have an address; else whatever else there is.
func (e Env) contact(handle string) []contact {
	p := e.Router.Catalog().Person(handle)
	if p == nil {
		// A member of the workspace whom the catalog lacks, and who took over.
		if id, ok := strings.CutPrefix(handle, "slack:"); ok && id != "" && e.Channels["slack"] {
			return []contact{{"slack", id}}
		}
		return nil
	}
	var out []contact
	for _, name := range p.Contact {
		if c, ok := e.reach(p, name); ok {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		for _, name := range []string{"slack", "email"} {
			if c, ok := e.reach(p, name); ok {
				out = append(out, c)
			}
		}
	}
	return out
}

// reach is how a person is reached over one channel. A Slack address of "" is
// looked up by e-mail.
func (e Env) reach(p *catalog.Person, channel string) (contact, bool) {
	if !e.Channels[channel] {
		return contact{}, false
	}
	switch {
	case channel == "slack" && (p.Slack != "" || p.Email != ""):
		return contact{"slack", p.Slack}, true
	case channel == "email" && p.Email != "":
		return contact{"email", p.Email}, true
	}
	return contact{}, false
}

func (s *stepper) add(d Delivery) {
	if s.delivery(d.ID) != nil {
		return
	}
	if d.Kind != ThreadDelivery {
		d.Status, d.At = Pending, s.now
	} else {
		d.Status = Sent // until there are lines to bring
	}
	if len(s.Deliveries) >= MaxDeliveries {
		// The oldest message that is there and done with makes room: it is not edited any more.
		if i := slices.IndexFunc(s.Deliveries, func(d Delivery) bool { return d.Status == Sent && d.Kind == PageDelivery }); i >= 0 {
			s.Deliveries = slices.Delete(s.Deliveries, i, i+1)
		}
	}
	if s.Deliveries == nil {
		s.Deliveries = make([]Delivery, 0, 4) // board, thread, and a page over two channels
	}
	s.Deliveries = append(s.Deliveries, d)
}

// over tells whether a message that is not there yet need not be sent any more:
// nobody is asked who need not answer, no board hears first of what has ended.
func (inc *Incident) over(d *Delivery) bool {
	switch d.Kind {
	case DigestDelivery:
		return inc.State != Triggered
	case PageDelivery, ReminderDelivery:
		return inc.State != Triggered && !(d.Hand != 0 && inc.Open() && inc.Beside.asks(d.To))
	case QuestionDelivery:
		return inc.State != Acknowledged || inc.Ack == nil || inc.Ack.Asked == 0 || inc.Ack.Handle != d.To
	case BoardDelivery:
		return inc.State == Resolved
	}
	return false
}

func (s *stepper) delivery(id string) *Delivery { return s.Delivery(id) }

// Delivery finds a delivery by its id; nil if it is not there (any more).
func (inc *Incident) Delivery(id string) *Delivery {
	for i := range inc.Deliveries {
		if inc.Deliveries[i].ID == id {
			return &inc.Deliveries[i]
		}
	}
	return nil
}

// refresh ends every step. It drops what is not sent yet and need not be any
// more, and marks what shows an older state than the record's: messages to edit
// and threads with new lines. What is in flight may arrive; then it is edited.
func (s *stepper) refresh() {
	s.Deliveries = slices.DeleteFunc(s.Deliveries, func(d Delivery) bool {
		return d.Status == Pending && d.Ref == (Ref{}) && s.over(&d)
	})
	for i := range s.Deliveries {
		d := &s.Deliveries[i]
		if d.Status == Pending && d.Waits > 0 && d.Ref != (Ref{}) && s.State != Triggered && d.Sending < s.Rev {
			// It was put off as a small change, and has become a great one.
			d.At, d.Slot, d.Sending = s.now, false, s.Rev
			if d.Kind == DigestDelivery {
				d.At = max(d.At, d.Edited.plus(digestEvery))
			}
		}
		if d.Status != Sent {
			continue
		}
		switch {
		case d.editable() && d.Ref != (Ref{}) && d.Rev < s.Rev:
			d.Status, d.Tries, d.Slot = Pending, 0, false
			d.At = s.now
			if s.now < d.Reached.plus(coalesceEdits) {
				d.At = d.Reached.plus(coalesceEdits)
			}
			if d.Kind == DigestDelivery {
				d.At = max(d.At, d.Edited.plus(digestEvery))
			}
		case d.Kind == ThreadDelivery && d.Done < s.LastSeq:
			d.Status, d.Tries, d.Slot = Pending, 0, false
			d.At = s.now.plus(coalesceEdits)
		}
	}
}

// result records the outcome of one attempt.
func (s *stepper) result(r Result) Answer {
	d := s.delivery(r.Delivery)
	if d == nil {
		d = s.instead(r)
	}
	if d == nil {
		return Answer{Kind: Unchanged}
	}
	if d.Attempt != r.Attempt || d.Status != InFlight {
		// From somebody whose lease was over. If it arrived after all, that is
		// worth knowing: it is not sent again, and edited where that is possible.
		if r.Verdict == VerdictSent && d.Reached == 0 && d.Kind != ThreadDelivery {
			d.Until, d.Sending = 0, 0
			s.arrived(d, r.Ref)
			return Answer{Kind: Done}
		}
		return Answer{Kind: Unchanged}
	}
	d.Until, d.Slot = 0, false
	switch r.Verdict {
	case VerdictSent:
		if r.Found { // it shows what was known when it was sent: it is edited
			d.Maybe, d.Sending = 0, 0
		}
		s.arrived(d, r.Ref)
	case VerdictWait:
		s.putOff(d, r)
	case VerdictRetry, VerdictAmbiguous:
		if r.Verdict == VerdictAmbiguous {
			d.Maybe++
		}
		d.Status, d.Error = Pending, r.Error
		d.Tries++
		wait := max(backoff(d.Tries), time.Duration(r.After)*time.Millisecond)
		d.At = s.now.plus(wait)
		id := d.ID
		s.abandon(d)
		if r.After == 0 || wait >= longWait {
			s.otherChannel(id)
		}
	case VerdictDown:
		d.Status, d.Error = Pending, r.Error
		d.At = s.now.plus(probeEvery)
		s.otherChannel(d.ID)
	case VerdictRefused:
		s.refused(d, r.Error, r.Cure)
	case VerdictGone:
		s.gone(d, r.Error)
	}
	return Answer{Kind: Done}
}

// putOff records that an attempt was not made, for no fault of anything.
func (s *stepper) putOff(d *Delivery, r Result) {
	d.Status, d.Waits = Pending, d.Waits+1
	d.At = s.now.plus(max(time.Duration(r.After)*time.Millisecond, time.Millisecond))
	if r.Ref.Channel != DigestRef {
		d.Slot = d.FirstPage() // At is its turn
		return
	}
	if d.In != r.Ref.TS && !slices.ContainsFunc(s.Deliveries, func(o Delivery) bool { return o.In == r.Ref.TS && o.Nr == d.Nr }) {
		s.note("too many incidents page "+d.To+" at once: a digest names this one", "")
	}
	d.In = r.Ref.TS
}

// unsent gives an attempt up that nobody began.
func (s *stepper) unsent(ev Unsent) Answer {
	d := s.delivery(ev.Delivery)
	if d == nil || d.Status != InFlight || d.Attempt != ev.Attempt {
		return Answer{Kind: Unchanged}
	}
	d.Status, d.At, d.Until, d.Slot, d.Sending = Pending, s.now, 0, false, 0
	return Answer{Kind: Done}
}

// instead adds a page that arrived over a person's other channel; nil if it is none
// that the incident would have come to.
func (s *stepper) instead(r Result) *Delivery {
	if r.Of == nil || r.Verdict != VerdictSent || !s.Open() {
		return nil
	}
	for i := range s.Deliveries {
		d := s.Deliveries[i]
		if d.Kind == PageDelivery && deliveryID(d.ID, "instead", r.Of.Channel) == r.Of.ID {
			d.ID, d.Channel, d.Address = r.Of.ID, r.Of.Channel, r.Of.Address
			d.Status, d.At, d.Slot, d.Until, d.Attempt, d.Tries, d.Waits, d.Maybe, d.Reached, d.Ref, d.Error, d.In = Pending, s.now, false, 0, 0, 0, 0, 0, 0, Ref{}, "", ""
			s.add(d)
			return s.delivery(d.ID)
		}
	}
	return nil
}

func backoff(tries int) time.Duration {
	if tries > 4 {
		return retryMax
	}
	return min(retryMax, time.Second<<max(0, tries-1))
}

func (s *stepper) arrived(d *Delivery, ref Ref) {
	d.Status, d.Error, d.Tries, d.Waits = Sent, "", 0, 0
	if d.Reached == 0 {
		d.Reached = s.now
	}
	if d.Kind == PageDelivery { // it may have been in a digest that is lost
		if d.In = ""; ref.Channel == DigestRef {
			d.In = ref.TS
		}
	}
	switch {
	case d.Kind == ThreadDelivery:
		d.Done = int(d.Sending)
	case d.Kind == DigestDelivery:
		s.named(d)
		if d.Ref == (Ref{}) { // not an edit: it rang
			s.Many.RungAt = max(s.Many.RungAt, s.now)
		}
		if d.Parent != "" {
			s.forget(d.ID)
			return
		}
		d.Ref, d.Rev, d.Edited = cmp.Or(ref, d.Ref), d.Sending, s.now
	case d.editable():
		if ref != (Ref{}) {
			d.Ref = ref
		}
		d.Rev = d.Sending
	case d.Kind == PageDelivery:
		d.Ref = ref
	default:
		// Sent once, never edited: nothing more to remember.
		s.forget(d.ID)
		return
	}
	d.Sending = 0
	if d.Kind == PageDelivery {
		for i := range s.Paged {
			if s.Paged[i].Handle == d.To && s.Paged[i].Failed != "" {
				s.Paged[i].Failed = ""
				s.Rev++
			}
		}
	}
}

// abandon gives up, after many tries, what nobody waits for. A page, a board and
// its thread are tried for as long as the incident needs them.
func (s *stepper) abandon(d *Delivery) {
	needed := d.Kind == PageDelivery || d.Kind == BoardDelivery || d.Kind == ThreadDelivery || d.Kind == DigestDelivery && d.Parent == ""
	switch {
	case d.Kind == ReportDelivery || d.Kind == NoticeDelivery:
		// For as long as the record is kept, only more and more seldom.
		if d.Tries > maxAttempts {
			d.At = s.now.plus(10 * time.Minute)
		}
	case d.Tries < maxAttempts || needed && d.Ref == (Ref{}) && s.Open():
	case d.Ref != (Ref{}) || d.Kind == ThreadDelivery:
		d.Status, d.Rev, d.Done, d.Tries = Sent, s.Rev, s.LastSeq, 0 // it shows an old state for ever
	default:
		s.forget(d.ID)
	}
}

// forget drops a delivery that will not be needed again.
func (s *stepper) forget(id string) {
	s.Deliveries = slices.DeleteFunc(s.Deliveries, func(d Delivery) bool { return d.ID == id })
}

// refused records that an address will never take the message; wrong: because the
// catalog's address is none, or none any more.
func (s *stepper) refused(d *Delivery, why string, wrong bool) {
	d.Error = why
	if d.Ref != (Ref{}) { // an edit: the message itself is there
		d.Status, d.Rev = Sent, s.Rev
		return
	}
	d.Status = Failed
	switch d.Kind {
	case PageDelivery:
		handle, channel := d.To, d.Channel
		s.note(channel+" did not take the page to "+handle+": "+why, "")
		if !s.otherChannel(d.ID) && !s.reachable(handle) {
			s.unreached(handle, why)
			s.skipUnreachable()
		}
	case BoardDelivery:
		s.boardRefused(*d, why, wrong)
	case DigestDelivery:
		s.otherChannel(d.ID)
	case NoticeDelivery:
		// What callchain says about itself must not be lost with the channel it is about.
		if address := s.env.Channel; d.Channel == "slack" && address != "" && address != d.Address {
			s.add(Delivery{ID: deliveryID(s.ID, "notice", address), Kind: NoticeDelivery, Channel: "slack", To: d.To, Address: address})
		}
	}
}

// boardRefused falls back from a team's channel to the common one.
func (s *stepper) boardRefused(d Delivery, why string, wrong bool) {
	if wrong {
		s.risk(routing.RiskMissingReference)
	}
	s.note("the board "+d.Address+" did not take the message: "+why, "")
	address := s.env.Channel
	if d.Channel != "slack" || d.ReadOnly || address == "" || address == d.Address {
		return
	}
	id := deliveryID(s.ID, "board", address)
	if s.delivery(id) != nil {
		return
	}
	s.add(Delivery{ID: id, Kind: BoardDelivery, Channel: "slack", To: d.To, Address: address})
	s.add(Delivery{ID: deliveryID(s.ID, "thread", address), Kind: ThreadDelivery, Channel: "slack", To: d.To, Address: address, Parent: id})
}

// gone handles an edit whose message is not there any more: while it still asks
// for something it is sent anew.
func (s *stepper) gone(d *Delivery, why string) {
	d.Error = why
	if d.Kind == ThreadDelivery {
		d.Status, d.Done = Sent, int(d.Sending)
		return
	}
	if !s.Open() || d.Kind == PageDelivery && s.over(d) {
		d.Status, d.Rev = Sent, s.Rev
		return
	}
	d.Ref, d.Status, d.Tries = Ref{}, Pending, 0
	d.At = s.now
}

// otherChannel uses a person's other channel at the first failure of the only
// one they are paged on, also when they do not list it. It tells whether there
// is another one under way.
func (s *stepper) otherChannel(id string) bool {
	found := s.delivery(id)
	if found == nil {
		return false
	}
	d := *found
	if d.Kind != PageDelivery && (d.Kind != DigestDelivery || d.Parent != "") || d.Ref != (Ref{}) || s.over(&d) {
		return false
	}
	for i := range s.Deliveries {
		o := &s.Deliveries[i]
		if o.Kind == d.Kind && o.To == d.To && o.Channel != d.Channel && o.Run == d.Run && o.Round == d.Round && o.Position == d.Position {
			return o.Status != Failed
		}
	}
	p := s.env.Router.Catalog().Person(d.To)
	if p == nil {
		return false
	}
	for _, name := range []string{"slack", "email"} {
		if name == d.Channel {
			continue
		}
		if c, ok := s.env.reach(p, name); ok {
			nd := d
			nd.ID = deliveryID(d.ID, "instead", name)
			nd.Channel, nd.Address = c.channel, c.address
			nd.Status, nd.At, nd.Slot, nd.Until, nd.Attempt, nd.Tries, nd.Waits, nd.Maybe, nd.Error, nd.In = Pending, s.now, false, 0, 0, 0, 0, 0, "", ""
			if d.Kind == DigestDelivery {
				nd.ID, nd.Done = deliveryID(s.ID, name), 0
				s.Many.Contacts[name] = cmp.Or(c.address, lookedUp)
			}
			s.add(nd)
			s.note(d.Channel+" fails for "+d.To+" ("+cut(d.Error, 200)+"): "+name+" is used as well", "")
			return true
		}
	}
	return false
}

// ready tells whether a delivery could be sent if it were time: one that joins a
// thread waits until the thread is there.
func (inc *Incident) ready(d *Delivery) bool {
	if d.Status != Pending {
		return false
	}
	if d.Parent == "" || d.Channel != "slack" {
		return true
	}
	parent := inc.Delivery(d.Parent)
	// A question can stand alone, when the page is not kept any more.
	return parent != nil && parent.Ref != (Ref{}) || d.Kind == QuestionDelivery
}

// Take marks what is due as being sent, by whoever commits the returned
// incident, and returns copies of it. pace gives a delivery its turn in its
// conversation: one that is not yet to be sent waits for it.
func Take(inc Incident, now time.Time, pace func(d Delivery, now Instant) Instant) (Incident, []Delivery) {
	at := At(now)
	var taken []Delivery
	cloned := false
	// New messages first: who is woken must not wait for older ones to be edited.
	var order []int
	for _, edits := range []bool{false, true} {
		for i := range inc.Deliveries {
			if d := &inc.Deliveries[i]; inc.ready(d) && d.At.due(at) && edits == (d.Ref != (Ref{})) {
				order = append(order, i)
			}
		}
	}
	for _, i := range order {
		if !cloned {
			inc.Deliveries, cloned = slices.Clone(inc.Deliveries), true
		}
		d := &inc.Deliveries[i]
		// A page asks first whether it may be sent at all, then for its turn.
		if !d.Slot && !d.FirstPage() {
			d.Slot = true
			if turn := pace(*d, at); turn > at {
				d.At = turn
				continue
			}
		}
		d.Status, d.Until = InFlight, at.plus(Lease)
		d.Attempt++
		d.Sending = inc.Rev
		if d.Kind == ThreadDelivery {
			d.Sending = uint64(inc.LastSeq)
		}
		taken = append(taken, *d)
	}
	return inc, taken
}

// Moot tells whether an attempt that was taken need not be made any more,
// because the incident changed since. Drop takes it back.
func Moot(inc *Incident, id string, attempt int) bool {
	d := inc.Delivery(id)
	if d == nil || d.Status != InFlight || d.Attempt != attempt {
		return true
	}
	return d.Ref == (Ref{}) && inc.over(d)
}

// Drop takes back an attempt that was not made because it is moot.
func Drop(inc Incident, id string, attempt int) Incident {
	d := inc.Delivery(id)
	if d == nil || d.Status != InFlight || d.Attempt != attempt || !Moot(&inc, id, attempt) {
		return inc
	}
	inc.Deliveries = slices.DeleteFunc(slices.Clone(inc.Deliveries), func(d Delivery) bool { return d.ID == id })
	return inc
}

// Wake is when the incident wants to be looked at again; 0: never.
func (inc *Incident) Wake() Instant {
	var wake Instant
	consider := func(i Instant) {
		if i != 0 && (wake == 0 || i < wake) {
			wake = i
		}
	}
	if inc.State == Triggered {
		consider(inc.Deadline)
		consider(inc.RemindAt)
		consider(inc.ExhaustAt)
		consider(inc.holdUntil())
	}
	if inc.State == Acknowledged && inc.Ack != nil {
		consider(inc.Ack.Expires)
		if inc.Ack.Asked == 0 {
			consider(inc.Ack.AskAt)
		}
	}
	if inc.State == Snoozed {
		consider(inc.SnoozedUntil)
	}
	if inc.Open() && inc.Beside != nil {
		consider(inc.Beside.Until)
		consider(inc.Beside.RemindAt)
	}
	if inc.Open() {
		consider(inc.ReviewAt)
		consider(inc.StaleAt)
	} else if inc.ArchiveAt != 0 {
		consider(inc.ArchiveAt)
	} else {
		consider(inc.ClosedAt.plus(retention(inc.Kind)))
	}
	if inc.Many != nil {
		consider(inc.Many.LookAt)
	}
	for i := range inc.Deliveries {
		d := &inc.Deliveries[i]
		switch {
		case d.Status == InFlight:
			consider(d.Until)
		case inc.ready(d):
			consider(d.At)
		}
	}
	return wake
}

// Expired tells whether the record can be deleted.
func (inc *Incident) Expired(now time.Time) bool {
	return !inc.Open() && At(now) >= inc.ClosedAt.plus(retention(inc.Kind))
}

func retention(k Kind) time.Duration {
	switch k {
	case Notice:
		return 24 * time.Hour
	case Report:
		return 8 * 7 * 24 * time.Hour // longer than any catch-up: a period is sent once
	case Digest:
		return DigestRetention
	}
	return ClosedRetention
}

// Summary is one line about the incident, for logs and tests.
func (inc *Incident) Summary() string {
	parts := []string{inc.ID, string(inc.State), string(inc.Urgency), inc.Subject}
	if inc.Exhausted {
		parts = append(parts, "exhausted")
	}
	return strings.Join(parts, " ")
}

// Team is the name of the team that an incident is listed under: the one whose
// board it is on.
func (e Env) Team(inc *Incident) string {
	s := stepper{Incident: *inc, env: e}
	if t := s.boardTeam(inc.Service); t != nil {
		return t.Name
	}
	return ""
}
