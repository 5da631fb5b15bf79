package escalation

import (
	"fmt"
	"slices"
	"time"

	"callchain/config"
)

func (s *stepper) observe(ev Observe) Answer {
	born := s.Rev == 0 && s.LastSeq == 0
	wasOpen := s.Open()
	var added, resolved int
	var paging bool // one of the added would page
	var over []Gone
	for _, seen := range ev.Resolved {
		i, ok := s.Episodes.find(seen.Fingerprint)
		if !ok || (seen.EndsAt != 0 && seen.EndsAt < s.Episodes[i].StartsAt) {
			continue
		}
		ends := seen.EndsAt
		if ends == 0 {
			ends = s.now
		}
		s.Episodes = slices.Delete(s.Episodes, i, i+1)
		over = append(over, Gone{seen.Fingerprint, ends, s.now})
		s.Over++
		resolved++
		for j := range s.Shown {
			if s.Shown[j].Fingerprint == seen.Fingerprint {
				s.Shown[j].EndsAt = ends
			}
		}
	}
	if len(over) > 0 {
		s.Gone = bury(fresh(s.Gone, s.now), over)
	}
	for _, seen := range ev.Firing {
		if seen.ReviewAt != 0 && (s.ReviewAt == 0 || seen.ReviewAt < s.ReviewAt) {
			s.ReviewAt = seen.ReviewAt
		}
		for _, r := range seen.Risks {
			s.risk(r)
		}
		if seen.Confidential && !s.Confidential {
			s.Confidential = true
			s.Rev++
		}
		i, known := s.Episodes.find(seen.Fingerprint)
		if known {
			e := &s.Episodes[i]
			e.StartsAt = max(e.StartsAt, seen.StartsAt)
			if seen.Urgency.Rank() > e.Urgency.Rank() {
				e.Urgency = seen.Urgency
			}
			continue
		}
		s.Episodes = slices.Insert(s.Episodes, i, Episode{seen.Fingerprint, seen.StartsAt, seen.Urgency})
		s.Gone = slices.DeleteFunc(s.Gone, func(g Gone) bool { return g.Fingerprint == seen.Fingerprint })
		seen.Alert.ReviewAt = seen.ReviewAt
		s.show(seen.Alert)
		added++
		paging = paging || seen.Urgency.Pages()
	}
	truncated := ev.Truncated != s.Truncated
	s.Truncated = ev.Truncated
	again := false
	if len(ev.Firing)+len(ev.Resolved) > 0 {
		s.spoken(wasOpen && added == 0 && resolved == 0)
		again = wasOpen && s.notStale()
	}

	switch {
	case !wasOpen && added > 0:
		s.reopen()
	case !wasOpen:
		return Answer{Kind: Unchanged}
	case born:
		s.FactDay = s.env.Day(s.at)
		s.note("opened: "+s.alertWords(added)+" for "+s.Subject, "")
		s.setUrgency(s.Episodes.highest())
		s.boards()
		s.start()
	case s.Episodes.highest().Rank() > s.Urgency.Rank():
		s.rise("an alert of higher urgency fires", "")
	case added > 0 && paging && s.doubled(added):
		s.grown(fmt.Sprintf("%d more %s: %d in all, at least twice as many as were paged for", added, fires(added), s.Firing()))
	case added > 0:
		if s.Held && paging {
			s.release("another alert fires")
		}
		e := s.note(fmt.Sprintf("%d more %s: %d in all", added, fires(added), s.Firing()), "")
		if s.State == Acknowledged && s.Ack != nil {
			e.Mention = s.Ack.Handle
		}
		s.Rev++
	case resolved > 0 && s.still() > 0:
		s.note(fmt.Sprintf("%d resolved, %d still firing", resolved, s.Firing()), "")
		s.Rev++
	case truncated:
		s.Rev++
	}
	if s.Open() && s.still() == 0 {
		why := "all its alerts are over"
		if ev.Because != "" {
			why = ev.Because
		}
		s.resolve(nil, "resolved: "+why)
	}
	if added+resolved == 0 && !truncated && !again {
		return Answer{Kind: Unchanged}
	}
	return Answer{Kind: Done}
}

// doubled tells whether so many alerts were added that people are to be paged
// again. Who snoozed it decided that they are not.
func (s *stepper) doubled(added int) bool {
	size := s.Size
	if size == 0 {
		size = s.Firing() - added
	}
	return s.env.Settings.NewAlerts.V == "repage" && s.Urgency.Pages() && s.State != Snoozed && s.Firing() >= 2*size
}

// grown pages again. A chain that runs is not put back to its beginning for it:
// those who are asked now are rung.
func (s *stepper) grown(why string) {
	if s.State == Acknowledged || s.Exhausted {
		s.restart(why, "")
		return
	}
	if s.Held {
		s.release("another alert fires")
	}
	s.Size = s.Firing()
	s.note(why, "")
	for _, h := range s.Asked {
		s.remind(h)
	}
	s.Rev++
}

// still is the number of alerts that keep the incident open: in an incident that
// pages, only those that would page.
func (s *stepper) still() int {
	if s.Urgency.Pages() {
		return s.Episodes.paging()
	}
	return len(s.Episodes)
}

// show keeps an alert to be shown; when there are too many, one makes room that is
// resolved, or that need not be looked at again when this one has to.
func (s *stepper) show(a Alert) {
	for i := range s.Shown {
		if s.Shown[i].Fingerprint == a.Fingerprint {
			s.Shown[i] = a
			return
		}
	}
	if len(s.Shown) < MaxShown {
		s.Shown = append(s.Shown, a)
		return
	}
	for i := range s.Shown {
		// One that is to be looked at again has to be known by its labels.
		if s.Shown[i].EndsAt != 0 || a.ReviewAt != 0 && s.Shown[i].ReviewAt == 0 {
			s.Shown[i] = a
			return
		}
	}
}

// flappingAfter is how many times an incident may fire again and page at once.
const flappingAfter = 5

// Flapping tells whether it fired again so often that firing again pages nobody
// at once any more.
func (inc *Incident) Flapping() bool { return inc.Opens >= flappingAfter }

// reopen goes on where the incident was: with whoever had acknowledged it not
// long ago, snoozed if it was, else at the step that the chain had reached.
func (s *stepper) reopen() {
	was := s.Urgency
	s.State, s.ClosedAt, s.ArchiveAt, s.ClosedBy = Triggered, 0, 0, nil
	s.Opens++
	s.FactDay = s.env.Day(s.at)
	s.uphold()
	s.Urgency = s.Episodes.highest()
	s.setUrgency(s.Declared)
	if !s.Urgency.Pages() {
		s.Round = 0 // it fires for less than it did: no chain
	}
	again := "fires again: " + s.alertWords(s.Firing())
	worse := s.Urgency.Rank() > was.Rank()
	if s.Ack != nil && !worse && s.holds(s.Ack) {
		s.State = Acknowledged
		s.note(again+"; it stays with "+s.Ack.String(), s.Ack.Handle).Mention = s.Ack.Handle
		s.Rev++
		return
	}
	if s.SnoozedUntil > s.now && !worse {
		s.State = Snoozed
		s.note(again+"; it is snoozed until "+clock(s.SnoozedUntil), "")
		s.Rev++
		return
	}
	s.Ack, s.SnoozedUntil, s.SnoozedBy = nil, 0, nil
	flapping := s.Opens > flappingAfter
	switch {
	case flapping:
		again += "; it flaps, so that pages nobody at once"
	case s.Flapping():
		again += "; it flaps: from now on firing again pages nobody at once"
	}
	s.note(again, "")
	s.boards()
	switch {
	case worse || !s.Urgency.Pages() && !flapping:
		s.start()
	case s.Urgency.Pages():
		s.resume(flapping)
	default:
		s.Rev++
	}
}

// resume begins the step that the chain had reached anew. A flapping incident
// pages nobody for that: only when it goes on for the step's whole wait the
// next step is paged.
func (s *stepper) resume(quietly bool) {
	c := s.chain(s.Step, nil)
	if s.Round == 0 || len(c.Steps) == 0 {
		s.start()
		return
	}
	s.Rev++
	s.Run++
	s.FiredAt = s.now
	if !quietly {
		s.RoundPaged = nil
		s.enter(c, "")
		return
	}
	s.StepAt = s.now
	s.Deadline = s.now.plus(max(c.Steps[0].AckWithin, time.Millisecond))
}

// rise starts the chain anew because the urgency is higher than it was, also
// when somebody has acknowledged the lower one.
func (s *stepper) rise(why, by string) {
	old := s.Urgency
	s.setUrgency(s.Episodes.highest())
	s.restart(fmt.Sprintf("urgency rises from %s to %s: %s", old, s.Urgency, why), by)
}

// restart begins anew at step 1, whoever has acknowledged or snoozed it.
func (s *stepper) restart(why, by string) {
	s.note(why, by)
	s.State, s.Ack, s.SnoozedUntil, s.SnoozedBy = Triggered, nil, 0, nil
	s.boards()
	s.start()
}

func (s *stepper) setUrgency(u config.Urgency) {
	if u.Rank() > s.Urgency.Rank() || s.Urgency == "" {
		s.Urgency = u
	}
}

// start begins what the urgency asks for.
func (s *stepper) start() {
	s.Rev++
	s.FiredAt = s.now
	s.Size = s.Firing()
	if s.Urgency.Pages() {
		s.startChain()
		return
	}
	s.stopTimers()
	s.Round = 0
	s.mailTeam()
}
