package escalation

import (
	"fmt"
	"slices"

	"callchain/routing"
	"callchain/routing/catalog"
)

func (s *stepper) acknowledge(ev Acknowledge) Answer {
	switch {
	case s.State == Resolved && s.practice() && s.Ack != nil:
		return Answer{Kind: Already, By: s.Ack.Actor, At: s.Ack.At}
	case s.State == Resolved:
		return Answer{Kind: Closed, At: s.ClosedAt}
	case s.State == Acknowledged && s.Ack != nil && s.Ack.Handle == ev.By.Handle && s.Ack.Asked != 0:
		return s.stillOn(StillOn{By: ev.By})
	case s.State == Acknowledged && s.Ack != nil && (s.Ack.Handle == ev.By.Handle || !s.Beside.asks(ev.By.Handle)):
		return Answer{Kind: Already, By: s.Ack.Actor, At: s.Ack.At}
	}
	member, refused := s.may(ev.By, ev.Stranger, ev.TakeOver)
	if refused != "" {
		return Answer{Kind: refused}
	}
	s.Ack = &Ack{Actor: ev.By, At: s.now, TookOver: !member}
	s.lasts(s.Ack)
	s.State, s.Exhausted = Acknowledged, false
	s.SnoozedUntil, s.SnoozedBy = 0, nil
	s.stopTimers()
	text := "acknowledged by " + ev.By.String() + via(ev.By.Via)
	if !member {
		text += ", who is not in the chain"
	}
	s.note(text, ev.By.Handle)
	s.Rev++
	if s.Ack.Heroic = s.heroic(ev.By.Handle, member); s.Ack.Heroic {
		s.risk(routing.RiskHeroics)
	}
	if s.practice() {
		s.close()
		if s.Kind == Drill {
			s.note("it is over", "")
			s.tell("resolved", ev.By.Handle)
		}
		return Answer{Kind: Done}
	}
	s.tell(fmt.Sprint("acknowledged ", s.now), ev.By.Handle)
	return Answer{Kind: Done}
}

// inChain tells whether the person may answer: they are in the chain, or were paged.
func (s *stepper) inChain(handle string) bool {
	if slices.ContainsFunc(s.Paged, func(p Paged) bool { return p.Handle == handle }) {
		return true
	}
	for _, step := range s.chain(0, nil).Steps {
		if slices.Contains(step.People, handle) {
			return true
		}
	}
	return false
}

// practice tells whether nothing is broken: an answer ends it.
func (inc *Incident) practice() bool { return inc.Kind == Test || inc.Kind == Drill }

// heroic tells whether somebody answered for whom ownership should have
// answered: neither in an owning team nor in the chain, or of the fallback team
// although the service has owners. It does not make them an owner.
func (s *stepper) heroic(handle string, member bool) bool {
	cat := s.env.Router.Catalog()
	svc := cat.Service(s.Service)
	in := func(t *catalog.Team) bool {
		return t != nil && slices.ContainsFunc(t.Members, func(p *catalog.Person) bool { return p.Handle == handle })
	}
	owner := false
	if svc != nil {
		for _, t := range svc.Owners {
			owner = owner || in(t)
		}
	}
	if owner || s.practice() {
		return false
	}
	if !member {
		return true
	}
	return svc != nil && len(svc.Owners) > 0 && in(s.env.Router.Fallback())
}

func (s *stepper) escalate(ev Escalate) Answer {
	switch {
	case s.State == Resolved:
		return Answer{Kind: Closed, At: s.ClosedAt}
	case s.State == Acknowledged && s.Ack != nil:
		return Answer{Kind: Already, By: s.Ack.Actor, At: s.Ack.At}
	case ev.From != nil && *ev.From != s.Place():
		return Answer{Kind: MovedOn}
	case s.Round == 0 || s.Exhausted || s.Kind == Test || !s.left():
		return Answer{Kind: NobodyLeft}
	}
	s.State, s.SnoozedUntil, s.SnoozedBy = Triggered, 0, nil
	s.note(ev.By.String()+" escalated"+via(ev.By.Via), ev.By.Handle)
	s.advance(ev.By.Handle)
	return Answer{Kind: Done}
}

// Place is the step that the chain has reached.
func (inc *Incident) Place() Place { return Place{inc.Run, inc.Round, inc.Step} }

func (s *stepper) resolveByHand(ev ResolveByHand) Answer {
	if !s.Open() {
		return Answer{Kind: Closed, At: s.ClosedAt}
	}
	s.resolve(&ev.By, "resolved by "+ev.By.String()+via(ev.By.Via))
	return Answer{Kind: Done}
}

// resolve closes the incident; by is nil when its alerts did.
func (s *stepper) resolve(by *Actor, why string) {
	s.close()
	s.ClosedBy, s.Exhausted, s.Stale, s.ReviewAt = by, false, false, 0
	s.stopTimers()
	skip := ""
	if by != nil {
		skip = by.Handle
	}
	s.note(why, skip)
	s.Rev++
	s.tell("resolved", skip)
}

func (s *stepper) close() {
	s.State, s.ClosedAt = Resolved, s.now
	s.ArchiveAt = s.now.plus(max(s.env.reopenWithin(), LateCopy))
}

// tell mails everybody who was paged by mail what became of it. In Slack their
// page is edited instead; a digest speaks for what it names.
func (s *stepper) tell(what string, except ...string) {
	told := map[string]bool{}
	for _, h := range except {
		told[h] = true
	}
	for _, d := range slices.Clone(s.Deliveries) {
		if d.Kind != PageDelivery || d.Channel != "email" || d.In != "" || told[d.To] || d.Reached == 0 && d.Status != InFlight && d.Maybe == 0 {
			continue
		}
		told[d.To] = true
		s.add(Delivery{
			ID: deliveryID(s.ID, "told", what, s.Run, s.Opens, d.To), Kind: ToldDelivery, Channel: "email",
			To: d.To, Address: d.Address, Parent: d.ID,
		})
	}
}
