package escalation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

func (s *stepper) startChain() {
	s.Run++
	s.stopTimers()
	s.Exhausted = false
	s.Round, s.RoundPaged = 1, nil
	s.enter(s.chain(0, nil), "")
}

// enter takes the first step of the chain that is left.
func (s *stepper) enter(c routing.Chain, by string) {
	if len(c.Steps) == 0 { // a test page to somebody who left the catalog meanwhile
		s.exhaust()
		return
	}
	s.endHold()
	s.Detour = nil
	step := c.Steps[0]
	for _, r := range c.Risks {
		s.risk(r)
	}
	s.Rounds = c.Rounds
	s.Step, s.Through = step.Index, step.Through
	s.Position, s.Positions = step.Position, step.Position+len(c.Steps)-1
	s.StepAt = s.now
	s.Deadline = s.now.plus(max(step.AckWithin, time.Millisecond))
	s.armReminder(c.RemindEvery)
	s.Asked = step.People
	if len(s.Asked) > 1 { // who just said that it is not theirs is not rung again
		s.Asked = slices.DeleteFunc(slices.Clone(s.Asked), func(h string) bool { return h == s.spare })
	}
	var reminded, paged []string
	for _, h := range s.Asked {
		if slices.Contains(s.RoundPaged, h) {
			reminded = append(reminded, h)
			s.remind(h)
			continue
		}
		paged = append(paged, h)
		s.page(h, step.Notify, step.Reason, 0)
	}
	var what []string
	if len(paged) > 0 {
		what = append(what, "paged "+strings.Join(paged, ", "))
	}
	if len(reminded) > 0 {
		what = append(what, "reminded "+strings.Join(reminded, ", "))
	}
	where := fmt.Sprintf("step %d of %d", s.Position, s.Positions)
	if s.Round > 1 {
		where += fmt.Sprintf(" (round %d of %d)", s.Round, s.Rounds)
	}
	s.note(fmt.Sprintf("%s: %s (%s)", where, strings.Join(what, "; "), step.Reason), by)
	s.Rev++
	s.skipUnreachable()
}

func (s *stepper) armReminder(every time.Duration) {
	s.RemindAt = 0
	if s.Assessment == catalog.Decommissioned {
		return // a stale rule asks once, it does not nag
	}
	if at := s.now.plus(every); every > 0 && at < s.Deadline {
		s.RemindAt = at
	}
}

// page asks one person, on all their channels at once. as is a step's notify;
// hand is now when they are asked out of the chain's order, else 0.
func (s *stepper) page(handle, as, why string, hand Instant) {
	s.RoundPaged = union(s.RoundPaged, []string{handle})
	if !slices.ContainsFunc(s.Paged, func(p Paged) bool { return p.Handle == handle }) {
		s.Paged = append(s.Paged, Paged{Handle: handle, As: as, At: s.now, Step: s.Position})
	}
	channels := s.env.contact(handle)
	if len(channels) == 0 {
		s.unreached(handle, "the catalog has no address of theirs on a channel that is configured")
	}
	if len(channels) > 0 {
		s.Woken++
		s.supersede(handle)
	}
	for _, ch := range channels {
		s.add(s.pageDelivery(handle, ch, as, why, hand))
	}
}

// supersede makes room for a new page to somebody: of older ones those that have
// not arrived need not any more, and the last few are enough to be edited.
func (s *stepper) supersede(handle string) {
	const kept = 3
	there := map[string]int{}
	for i := len(s.Deliveries) - 1; i >= 0; i-- {
		d := &s.Deliveries[i]
		if d.Kind != PageDelivery || d.To != handle || d.Status == InFlight {
			continue
		}
		if d.Reached != 0 {
			there[d.Channel]++
		}
		if d.Reached == 0 || there[d.Channel] > kept {
			s.Deliveries = slices.Delete(s.Deliveries, i, i+1)
		}
	}
}

func (s *stepper) pageDelivery(handle string, ch contact, as, why string, hand Instant) Delivery {
	d := Delivery{
		ID:   deliveryID(s.ID, s.Run, s.Round, s.Exhausts, s.Step, handle, ch.channel),
		Kind: PageDelivery, Channel: ch.channel, To: handle, Address: ch.address,
		As: as, Why: why, Run: s.Run, Round: s.Round, Position: s.Position, Hand: hand,
	}
	if hand != 0 {
		d.ID = deliveryID(d.ID, "hand", hand)
	}
	return d
}

// remind rings again in the thread of the person's last page.
func (s *stepper) remind(handle string) {
	for _, ch := range []string{"slack", "email"} {
		page := s.lastPage(handle, ch)
		if page == nil || page.Reached == 0 {
			continue // the page itself is still under way, or never arrived
		}
		s.add(Delivery{
			ID:   deliveryID(s.ID, "reminder", s.now, handle, ch),
			Kind: ReminderDelivery, Channel: ch, To: handle, Address: page.Address, Parent: page.ID,
			As: page.As, Why: page.Why, Run: s.Run, Round: s.Round, Position: s.Position, Hand: page.Hand,
		})
	}
}

func (s *stepper) lastPage(handle, channel string) *Delivery {
	for i := len(s.Deliveries) - 1; i >= 0; i-- {
		if d := &s.Deliveries[i]; d.Kind == PageDelivery && d.To == handle && d.Channel == channel {
			return d
		}
	}
	return nil
}

// advance takes the next step, the next round, or ends the chain.
func (s *stepper) advance(by string) {
	if s.Detour != nil && s.detour(by) {
		return
	}
	from, paged := s.Ahead()
	if s.Detour != nil {
		s.Detour = nil
		s.Run++
	}
	if !s.Urgency.Pages() { // it was reassigned; by itself it pages nobody
		s.stopTimers()
		s.note("nobody answered who was asked", "")
		s.Rev++
		return
	}
	c := s.chain(from, paged)
	if len(c.Steps) == 0 {
		if s.Round >= c.Rounds {
			s.exhaust()
			return
		}
		s.Round++
		s.RoundPaged = nil
		c = s.chain(0, nil)
	}
	s.Moves++
	s.enter(c, by)
}

// left tells whether advance would page somebody.
func (s *stepper) left() bool {
	if s.Detour != nil {
		return true
	}
	c := s.chain(s.Through+1, s.RoundPaged)
	return len(c.Steps) > 0 || s.Round < c.Rounds
}

func (s *stepper) exhaust() {
	s.Deadline, s.RemindAt, s.Asked = 0, 0, nil
	s.Rev++
	if s.Kind == Test {
		s.close()
		s.note("nobody pressed Acknowledge: the test is over", "")
		return
	}
	if s.Kind == Drill {
		s.close()
		s.note("nobody answered: it is over", "").Ring = true
		return
	}
	s.Exhausted = true
	s.risk(routing.RiskExhausted)
	s.ExhaustAt = s.now.plus(s.exhaustedEvery())
	rounds := "in one round"
	if s.Rounds > 1 {
		rounds = fmt.Sprintf("in %d rounds", s.Rounds)
	}
	e := s.note("nobody answered "+rounds+": the incident stays open", "")
	e.Ring = true
}

func (s *stepper) exhaustedEvery() time.Duration {
	if s.Assessment == catalog.Decommissioned {
		return 24 * time.Hour // nearly always a stale rule: once a day
	}
	return time.Duration(s.env.Settings.ExhaustedEvery.V)
}

// exhaustedAgain asks the fallback team again: pages it for an unbreak now, tells its board otherwise.
func (s *stepper) exhaustedAgain() {
	s.forget(deliveryID(s.ID, "exhausted", s.Run, s.Exhausts)) // the last one is enough to look at
	s.Exhausts++
	s.ExhaustAt = s.now.plus(s.exhaustedEvery())
	s.Rev++
	fallback := s.env.Router.Fallback()
	since := model.Duration(s.at.Sub(s.OpenedAt.Time()).Round(time.Minute))
	if s.Urgency == config.UnbreakNow {
		c := s.env.Router.Chain(routing.Target{Subject: "unmapped"}, s.Urgency, s.at, 0, nil)
		step := c.Steps[0]
		step.Reason = fmt.Sprintf("nobody has answered for %v, so the fallback team is asked again", since)
		s.RoundPaged = nil
		for _, h := range step.People {
			s.page(h, step.Notify, step.Reason, 0)
		}
		s.note("still nobody: paged "+strings.Join(step.People, ", ")+" of the fallback team again", "").Ring = true
		return
	}
	channel := fallback.SlackChannel
	if channel == "" {
		channel = s.env.Channel
	}
	if channel != "" && s.env.Channels["slack"] {
		s.add(Delivery{ID: deliveryID(s.ID, "exhausted", s.Run, s.Exhausts), Kind: BoardDelivery, Channel: "slack", To: fallback.Name, Address: channel})
	} else if fallback.Email != "" && s.env.Channels["email"] {
		s.add(Delivery{ID: deliveryID(s.ID, "exhausted", s.Run, s.Exhausts, "email"), Kind: BoardDelivery, Channel: "email", To: fallback.Name, Address: fallback.Email})
	}
	s.note(fmt.Sprintf("still nobody after %v: told the fallback team", since), "")
}

func (s *stepper) stopTimers() {
	s.Deadline, s.RemindAt, s.ExhaustAt, s.Asked = 0, 0, 0, nil
	s.Detour, s.Beside = nil, nil
	s.endHold()
}

// skipUnreachable ends a step at once when no channel can reach any of its
// people: the next follows within seconds.
func (s *stepper) skipUnreachable() {
	if s.State != Triggered || len(s.Asked) == 0 {
		return
	}
	for _, h := range s.Asked {
		if s.reachable(h) {
			return
		}
	}
	said := "no channel reaches " + strings.Join(s.Asked, ", ") + ": not waiting for them"
	switch {
	case s.Held && s.Hold != nil && s.Hold.Left > 0:
		h := *s.Hold
		h.Left = 0 // it goes on at once when the hold ends
		s.Hold = &h
		s.note(said, "")
	case s.Deadline > s.now:
		s.Deadline, s.RemindAt = s.now, 0
		s.note(said, "")
	}
}

// reachable tells whether some page to the person has arrived or may yet arrive.
func (s *stepper) reachable(handle string) bool {
	for i := range s.Deliveries {
		d := &s.Deliveries[i]
		if d.Kind == PageDelivery && d.To == handle && d.Status != Failed {
			return true
		}
	}
	return false
}

func (s *stepper) unreached(handle, why string) {
	s.risk(routing.RiskUnreachable)
	for i := range s.Paged {
		if s.Paged[i].Handle == handle {
			s.Paged[i].Failed = why
		}
	}
	s.note("could not reach "+handle+": "+why, "")
	s.Rev++
}

func (s *stepper) tick() Answer {
	changed := s.takeBack(func(d *Delivery) bool { return d.Until.due(s.now) }).Kind == Done
	if !s.Open() && s.ArchiveAt.due(s.now) {
		s.ArchiveAt, s.Archived, s.Gone = 0, true, nil
		changed = true
	}
	if s.Open() && s.ReviewAt.due(s.now) {
		s.review()
		changed = true
	}
	if s.Open() && s.StaleAt.due(s.now) && s.now >= s.SeenAt.plus(s.staleAfter()) {
		s.markStale()
		changed = true
	}
	if s.beside() {
		changed = true
	}
	switch {
	case s.unpaused(s.now):
		s.unpause()
		changed = true
	case s.State == Acknowledged && s.Ack != nil && s.Ack.Asked == 0 && s.Ack.AskAt.due(s.now):
		s.ask()
		changed = true
	case s.State == Triggered && s.holdUntil().due(s.now):
		s.release("Alertmanager does not say any more that it is silenced or inhibited")
		changed = true
	case s.State == Triggered && s.Deadline.due(s.now):
		s.advance("")
		changed = true
	case s.State == Triggered && s.RemindAt.due(s.now):
		for _, h := range s.Asked {
			s.remind(h)
		}
		s.armReminder(s.chain(0, nil).RemindEvery)
		changed = true
	case s.State == Triggered && s.ExhaustAt.due(s.now):
		s.exhaustedAgain()
		changed = true
	}
	if changed {
		return Answer{Kind: Done}
	}
	return Answer{Kind: Unchanged}
}

// renew gives an attempt that is still being made more time.
func (s *stepper) renew(ev Renew) Answer {
	d := s.delivery(ev.Delivery)
	if d == nil || d.Status != InFlight || d.Attempt != ev.Attempt {
		return Answer{Kind: Unchanged} // somebody else makes it by now
	}
	d.Until = s.now.plus(Lease)
	return Answer{Kind: Done}
}

// takeBack makes attempts pending again whose sender is gone: perhaps they
// arrived, perhaps not.
func (s *stepper) takeBack(gone func(*Delivery) bool) Answer {
	answer := Answer{Kind: Unchanged}
	for i := range s.Deliveries {
		if d := &s.Deliveries[i]; d.Status == InFlight && gone(d) {
			d.Status, d.At, d.Slot, d.Until = Pending, s.now, false, 0
			d.Maybe++
			d.Tries++
			answer.Kind = Done
		}
	}
	return answer
}

// review looks again at alerts whose urgency was lowered for a time of the day.
func (s *stepper) review() {
	s.ReviewAt = 0
	for _, a := range s.Shown {
		i, ok := s.Episodes.find(a.Fingerprint)
		if !ok {
			continue
		}
		r := s.env.Router.Route(routing.Alert{Labels: a.Labels}, s.at)
		if r.Urgency.Rank() > s.Episodes[i].Urgency.Rank() {
			s.Episodes[i].Urgency = r.Urgency
		}
		if at := At(r.ReviewAt); at != 0 && (s.ReviewAt == 0 || at < s.ReviewAt) {
			s.ReviewAt = at
		}
	}
	if s.Episodes.highest().Rank() > s.Urgency.Rank() {
		s.rise("the hours in which it counts for more have begun", "")
	}
}
