package escalation

import (
	"fmt"
	"slices"
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// An acknowledgement and a snooze pause the chain, and both end by themselves.

// MaxSnooze is how far away the end of a snooze may be.
const MaxSnooze = 24 * time.Hour

// lasts lets an acknowledgement begin to run now. That of something that pages
// nobody, and of practice, does not end by itself.
func (s *stepper) lasts(a *Ack) {
	a.Expires, a.AskAt, a.Asked = 0, 0, 0
	d := s.env.Settings.AckExpires.For(s.Urgency)
	if d <= 0 || s.practice() || !s.Urgency.Pages() {
		return
	}
	a.Expires, a.AskAt = s.now.plus(d), s.now.plus(d/5*4)
}

// holds tells whether an acknowledgement has not ended yet, for an incident that
// fires again.
func (s *stepper) holds(a *Ack) bool {
	if a.Expires != 0 {
		return s.now < a.Expires
	}
	return s.now < a.At.plus(s.env.Settings.AckExpires.For(s.Urgency))
}

// ask asks the acknowledger whether they still are on it: in the thread of their
// page where they have one.
func (s *stepper) ask() {
	s.Ack.Asked = s.now
	h := s.Ack.Handle
	for _, ch := range s.env.contact(h) {
		d := Delivery{
			ID:   deliveryID(s.ID, "question", s.Ack.Expires, h, ch.channel),
			Kind: QuestionDelivery, Channel: ch.channel, To: h, Address: ch.address,
		}
		if page := s.lastPage(h, ch.channel); page != nil && page.Reached != 0 {
			d.Parent, d.As, d.Why, d.Position = page.ID, page.As, page.Why, page.Position
			d.Run, d.Round, d.Hand = page.Run, page.Round, page.Hand
		}
		s.add(d)
	}
	s.note("asked "+s.Ack.String()+" whether they still are on it; the acknowledgement ends at "+clock(s.Ack.Expires), "")
}

func (s *stepper) stillOn(ev StillOn) Answer {
	switch {
	case s.State == Resolved:
		return Answer{Kind: Closed, At: s.ClosedAt}
	case s.State != Acknowledged || s.Ack == nil:
		return Answer{Kind: NotAcked}
	case s.Ack.Handle != ev.By.Handle:
		return Answer{Kind: Already, By: s.Ack.Actor, At: s.Ack.At}
	}
	was := *s.Ack
	if s.lasts(s.Ack); *s.Ack == was {
		return Answer{Kind: Unchanged} // pressed twice, or it does not end at all
	}
	s.note(ev.By.String()+" still is on it"+via(ev.By.Via), ev.By.Handle)
	s.Rev++
	return Answer{Kind: Done, At: s.Ack.At}
}

// lapse ends an acknowledgement that nobody renewed: the acknowledger is paged
// first, then the chain from step 1.
func (s *stepper) lapse() {
	who := *s.Ack
	s.note("the acknowledgement of "+who.String()+" has ended and it still fires: the chain starts again", "")
	s.State, s.Ack, s.Exhausted = Triggered, nil, false
	s.stopTimers()
	s.FiredAt = s.now
	s.Round, s.RoundPaged, s.Step, s.Through = 1, nil, 0, 0
	s.aside(Detour{
		People: []string{who.Handle}, As: s.pagedAs(who.Handle), Wait: s.waitOf(who.Handle),
		Why: "your acknowledgement of " + clock(who.At) + " has ended and it still fires",
	})
}

// pagedAs is what somebody was paged as.
func (s *stepper) pagedAs(handle string) string {
	for _, p := range s.Paged {
		if p.Handle == handle {
			return p.As
		}
	}
	return "person:" + handle
}

// waitOf is how long somebody has to answer: as long as at their step of the
// chain, else as at the first.
func (s *stepper) waitOf(handle string) Instant {
	steps := s.chain(0, nil).Steps
	if len(steps) == 0 {
		return Instant(time.Minute.Milliseconds())
	}
	wait := steps[0].AckWithin
	for _, step := range steps {
		if slices.Contains(step.People, handle) {
			wait = step.AckWithin
			break
		}
	}
	return Instant(wait.Milliseconds())
}

func (s *stepper) snooze(ev Snooze) Answer {
	switch {
	case s.State == Resolved:
		return Answer{Kind: Closed, At: s.ClosedAt}
	case s.practice():
		return Answer{Kind: Practice}
	case ev.Until <= s.now:
		return Answer{Kind: BadTime, Why: "the end of the snooze is past; give an instant that is still to come"}
	case ev.Until > s.now.plus(MaxSnooze):
		return Answer{Kind: BadTime, Why: "a snooze ends within 24 hours; give an earlier instant, and snooze again then"}
	case s.State == Snoozed && s.SnoozedUntil == ev.Until:
		return Answer{Kind: Unchanged}
	}
	if _, refused := s.may(ev.By, ev.Stranger, ev.TakeOver); refused != "" {
		return Answer{Kind: refused}
	}
	s.State, s.Ack, s.Exhausted = Snoozed, nil, false
	s.stopTimers()
	s.SnoozedUntil, s.SnoozedBy = ev.Until, &ev.By
	s.note("snoozed until "+clock(ev.Until)+" by "+ev.By.String()+via(ev.By.Via), ev.By.Handle)
	s.Rev++
	s.tell(fmt.Sprint("snoozed ", s.now), ev.By.Handle)
	return Answer{Kind: Done}
}

// unacknowledge ends what somebody said, an acknowledgement or a snooze.
func (s *stepper) unacknowledge(ev Unacknowledge) Answer {
	switch {
	case s.State == Resolved:
		return Answer{Kind: Closed, At: s.ClosedAt}
	case s.State == Snoozed:
		s.note(ev.By.String()+" ended the snooze"+via(ev.By.Via), ev.By.Handle)
	case s.State == Acknowledged && s.Ack != nil && s.Ack.Handle != ev.By.Handle:
		s.note(ev.By.String()+" took the acknowledgement of "+s.Ack.String()+" back"+via(ev.By.Via), ev.By.Handle)
	case s.State == Acknowledged:
		s.note(ev.By.String()+" took the acknowledgement back"+via(ev.By.Via), ev.By.Handle)
	default:
		return Answer{Kind: NotAcked}
	}
	s.goOn()
	s.tell(fmt.Sprint("unacknowledged ", s.now), append([]string{ev.By.Handle}, s.Asked...)...)
	return Answer{Kind: Done}
}

// goOn ends a pause: the step that the chain had reached begins anew.
func (s *stepper) goOn() {
	s.stopTimers()
	s.State, s.Ack, s.SnoozedUntil, s.SnoozedBy = Triggered, nil, 0, nil
	if s.Urgency.Pages() {
		s.resume(false)
		return
	}
	s.Round = 0 // it fires for less than it did: no chain
	s.Rev++
}

// unpaused tells whether a pause ends by itself now.
func (inc *Incident) unpaused(now Instant) bool {
	switch inc.State {
	case Acknowledged:
		return inc.Ack != nil && inc.Ack.Expires.due(now)
	case Snoozed:
		return inc.SnoozedUntil.due(now)
	}
	return false
}

// unpause ends a pause whose time is over.
func (s *stepper) unpause() {
	if s.State == Acknowledged {
		s.lapse()
		s.advance("")
		return
	}
	s.note("the snooze is over and it still fires", "")
	s.goOn()
}

// unpauseQuietly is unpause of an incident that is about to be held: what it
// would begin with is left for when the hold is over.
func (s *stepper) unpauseQuietly() {
	if s.State == Acknowledged {
		s.lapse()
	} else {
		s.stopTimers()
		s.State, s.SnoozedUntil, s.SnoozedBy = Triggered, 0, nil
		s.note("the snooze is over", "")
		s.Run++
		s.RoundPaged = nil
		s.Detour = &Detour{}
	}
	s.StepAt, s.Deadline = s.now, s.now
}

// may tells whether somebody is in the chain, and why they may not decide; "" if they may.
func (s *stepper) may(by Actor, stranger, takeOver bool) (member bool, refused AnswerKind) {
	member = !stranger && s.inChain(by.Handle)
	switch {
	case member, s.env.Settings.AckPolicy.V == "anyone":
		return member, ""
	case !stranger && s.volunteer(by.Handle):
		return member, Volunteer
	case !takeOver:
		return member, NotInChain
	}
	return member, ""
}

// volunteer tells whether all teams that somebody is in, leads or manages are of
// volunteers: they are told, and nobody may rely on them.
func (s *stepper) volunteer(handle string) bool {
	is := func(p *catalog.Person) bool { return p != nil && p.Handle == handle }
	some := false
	for _, t := range s.env.Router.Catalog().Teams() {
		if !t.Has(handle) && !is(t.Lead) && !is(t.Manager) && !is(t.Director) {
			continue
		}
		if t.MayOwn() {
			return false
		}
		some = true
	}
	return some
}

// declare raises the urgency because somebody says so.
func (s *stepper) declare(ev Declare) Answer {
	switch rank := ev.Urgency.Rank(); {
	case s.State == Resolved:
		return Answer{Kind: Closed, At: s.ClosedAt}
	case s.practice():
		return Answer{Kind: Practice}
	case rank < s.Urgency.Rank():
		return Answer{Kind: NotHigher}
	case rank == s.Urgency.Rank():
		return Answer{Kind: Unchanged}
	}
	old := s.Urgency
	s.Urgency, s.Declared = ev.Urgency, ev.Urgency
	s.uphold()
	s.restart(fmt.Sprintf("%s declared it %s (it was %s)%s", ev.By, plain(s.Urgency), plain(old), via(ev.By.Via)), ev.By.Handle)
	return Answer{Kind: Done}
}

// uphold keeps an incident open that is declared to be worth a page although no
// alert of it would page: then it is about all that fire.
func (s *stepper) uphold() {
	if !s.Declared.Pages() || s.Episodes.paging() > 0 {
		return
	}
	for i := range s.Episodes {
		s.Episodes[i].Urgency = s.Declared
	}
}

func plain(u config.Urgency) string {
	if u == config.UnbreakNow {
		return "unbreak now"
	}
	return string(u)
}

// clock is an instant as a timeline says it.
func clock(i Instant) string { return i.Time().Format("2006-01-02 15:04 UTC") }

func (s *stepper) remark(ev Remark) Answer {
	text := oneLine(ev.Text, MaxRemark)
	if text == "" {
		return Answer{Kind: Unchanged}
	}
	if text = ev.By.String() + ": " + text; s.said(text, ev.By.Handle) {
		return Answer{Kind: Unchanged}
	}
	s.note(text, ev.By.Handle)
	return Answer{Kind: Done}
}

// MaxRemark is how many characters of a note are kept.
const MaxRemark = 2000

// said tells whether a line is in the timeline already, of this very instant: the
// same event came twice.
func (s *stepper) said(text, by string) bool {
	if s.Kind == Drill {
		text = drillLine(text)
	}
	return slices.ContainsFunc(s.Timeline, func(e Entry) bool { return e.At == s.now && e.By == by && e.Text == text })
}

// disown takes the next step because somebody says that it is not theirs.
func (s *stepper) disown(ev Disown) Answer {
	switch {
	case s.State == Resolved:
		return Answer{Kind: Closed, At: s.ClosedAt}
	case s.practice():
		return Answer{Kind: Practice}
	}
	text := ev.By.String() + " says that the owner is wrong" + via(ev.By.Via)
	if right := oneLine(ev.Right, 120); right != "" {
		text += "; it belongs to " + right
	}
	if reason := oneLine(ev.Reason, 500); reason != "" {
		text += ": " + reason
	}
	if s.said(text, ev.By.Handle) {
		return Answer{Kind: Unchanged}
	}
	s.note(text, ev.By.Handle)
	s.risk(routing.RiskWrongOwner)
	s.Rev++
	s.spare = ev.By.Handle
	switch theirs := s.State == Acknowledged && s.Ack != nil && s.Ack.Handle == ev.By.Handle; {
	case theirs && s.Round > 0 && s.Urgency.Pages() && s.left():
		s.State, s.Ack = Triggered, nil
		s.advance(ev.By.Handle)
	case theirs:
		s.goOn() // nobody comes after them: it must not stay without anybody
	case s.State != Triggered || ev.From != nil && *ev.From != s.Place():
		// Somebody else has it, or it moved on: what was said stands.
	case s.Round > 0 && !s.Exhausted && s.left():
		s.advance(ev.By.Handle)
	}
	return Answer{Kind: Done}
}
