package escalation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"callchain/routing"
)

// Detour is a step out of the chain's order: somebody is asked in place of the
// step that the chain has reached. Without an answer that step begins anew.
type Detour struct {
	People []string `json:"p,omitempty"`
	As     string   `json:"a,omitempty"` // as a step's notify
	Why    string   `json:"w,omitempty"`
	Wait   Instant  `json:"d,omitempty"` // milliseconds that they have
	Asked  bool     `json:"k,omitempty"` // they were paged: their wait runs
	Again  []string `json:"g,omitempty"` // who was asked at the step: they are again when it begins anew
}

// Beside are people who were asked by hand where the chain's own timer does not
// run: it is acknowledged, snoozed, held, exhausted or pages nobody. They have a
// timer of their own.
type Beside struct {
	To       string   `json:"o,omitempty"` // as it was asked for
	People   []string `json:"p,omitempty"`
	Until    Instant  `json:"u,omitempty"`
	RemindAt Instant  `json:"m,omitempty"`
}

func (b *Beside) asks(handle string) bool { return b != nil && slices.Contains(b.People, handle) }

// aside puts a detour before the step that the chain has reached. The next
// advance takes it.
func (s *stepper) aside(d Detour) {
	s.endHold()
	s.Run++ // presses for the step are old from now on
	s.Detour = &d
}

// detour asks the people of a detour, and tells whether there is anybody to ask.
func (s *stepper) detour(by string) bool {
	d := s.Detour
	people := s.reachables(d.People)
	if d.Asked || len(people) == 0 {
		return false
	}
	s.endHold()
	d.Asked = true
	s.StepAt = s.now
	s.Deadline = s.now.plus(max(time.Duration(d.Wait)*time.Millisecond, time.Millisecond))
	s.armReminder(s.chain(0, nil).RemindEvery)
	s.Asked = people
	for _, h := range people {
		s.page(h, d.As, d.Why, s.now)
	}
	s.note(fmt.Sprintf("paged %s (%s)", strings.Join(people, ", "), d.Why), by)
	s.Rev++
	s.skipUnreachable()
	return true
}

// reachables are those of some people whom a channel that is configured reaches.
func (s *stepper) reachables(people []string) []string {
	var out []string
	for _, h := range people {
		if len(s.env.contact(h)) > 0 {
			out = append(out, h)
		}
	}
	return out
}

// Ahead is from which place of the policy the chain goes on without an answer,
// and who counts as paged in the round by then.
func (inc *Incident) Ahead() (from int, paged []string) {
	if inc.Detour == nil {
		return inc.Through + 1, inc.RoundPaged
	}
	for _, h := range inc.RoundPaged {
		if !slices.Contains(inc.Detour.Again, h) {
			paged = append(paged, h)
		}
	}
	return inc.Step, paged
}

// target finds whom somebody means who asks by hand.
func (s *stepper) target(to string) (routing.Step, Answer) {
	step := s.env.Router.Whom(s.Target, to, s.Urgency, s.at)
	if len(step.People) == 0 {
		return step, Answer{Kind: NoTarget, Why: step.Reason}
	}
	people := s.reachables(step.People)
	if len(people) == 0 {
		return step, Answer{Kind: NoTarget, Why: "no channel that is configured reaches " + strings.Join(step.People, ", ")}
	}
	step.People = people
	return step, Answer{Kind: Done}
}

func (s *stepper) escalateTo(ev EscalateTo) Answer {
	switch {
	case s.State == Resolved:
		return Answer{Kind: Closed, At: s.ClosedAt}
	case s.practice():
		return Answer{Kind: Practice}
	}
	step, found := s.target(ev.To)
	if found.Kind != Done {
		return found
	}
	if s.State == Acknowledged && s.Ack != nil { // who has it need not be asked
		step.People = slices.DeleteFunc(slices.Clone(step.People), func(h string) bool { return h == s.Ack.Handle })
		if len(step.People) == 0 {
			return Answer{Kind: NoTarget, Why: s.Ack.String() + " has acknowledged it already"}
		}
	}
	did := ev.By.String() + " escalated to " + ev.To
	text := fmt.Sprintf("%s%s: paged %s (%s)", did, via(ev.By.Via), strings.Join(step.People, ", "), step.Reason)
	if s.said(text, ev.By.Handle) {
		return Answer{Kind: Unchanged}
	}
	s.note(text, ev.By.Handle)
	for _, h := range step.People {
		s.page(h, step.Notify, did+": "+step.Reason, s.now)
	}
	s.Rev++
	if s.State == Triggered && s.Deadline != 0 {
		// The chain's timer runs on; those who were asked are reminded with its step.
		s.Asked = union(s.Asked, step.People)
		return Answer{Kind: Done}
	}
	b := Beside{To: ev.To, People: step.People, Until: s.now.plus(max(step.AckWithin, time.Millisecond))}
	if s.Beside != nil {
		b.People = union(s.Beside.People, step.People)
		if s.Beside.To != b.To {
			b.To = s.Beside.To + ", " + b.To
		}
	}
	s.Beside = &b
	s.remindBeside()
	return Answer{Kind: Done}
}

func (s *stepper) remindBeside() {
	s.Beside.RemindAt = 0
	every := s.chain(0, nil).RemindEvery
	if at := s.now.plus(every); every > 0 && at < s.Beside.Until {
		s.Beside.RemindAt = at
	}
}

// beside does what is due for people who were asked by hand.
func (s *stepper) beside() bool {
	b := s.Beside
	switch {
	case b == nil || !s.Open():
		return false
	case b.Until.due(s.now):
		s.Beside = nil
		text := "nobody answered who was asked by escalating to " + b.To
		if s.State == Acknowledged && s.Ack != nil {
			text += "; it stays with " + s.Ack.String()
		}
		s.note(text, "").Ring = true
		s.Rev++
	case b.RemindAt.due(s.now):
		for _, h := range b.People {
			s.remind(h)
		}
		s.remindBeside()
	default:
		return false
	}
	return true
}

func (s *stepper) reassign(ev Reassign) Answer {
	switch {
	case s.State == Resolved:
		return Answer{Kind: Closed, At: s.ClosedAt}
	case s.practice():
		return Answer{Kind: Practice}
	}
	if _, refused := s.may(ev.By, ev.Stranger, ev.TakeOver); refused != "" {
		return Answer{Kind: refused}
	}
	step, found := s.target(ev.To)
	if found.Kind != Done {
		return found
	}
	did := ev.By.String() + " reassigned it to " + ev.To
	text := did + via(ev.By.Via)
	if s.said(text, ev.By.Handle) {
		return Answer{Kind: Unchanged}
	}
	d := Detour{People: step.People, As: step.Notify, Why: did + ": " + step.Reason, Wait: Instant(step.AckWithin.Milliseconds())}
	if steps := s.chain(s.Step, nil).Steps; s.Round > 0 && len(steps) > 0 {
		d.Wait = Instant(steps[0].AckWithin.Milliseconds())
		d.Again = steps[0].People
	}
	if s.State != Triggered {
		s.RoundPaged = nil // pages that were under way were taken back: they are paged anew
	}
	s.State, s.Ack, s.SnoozedUntil, s.SnoozedBy, s.Exhausted = Triggered, nil, 0, nil, false
	s.stopTimers()
	s.note(text, ev.By.Handle)
	s.aside(d)
	s.advance(ev.By.Handle)
	return Answer{Kind: Done}
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, h := range b {
		if !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}
