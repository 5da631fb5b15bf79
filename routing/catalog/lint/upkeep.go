package lint

import (
	"slices"
	"strconv"
	"time"

	"callchain/config"
)

// upkeep looks at what is forgotten about a service over time.
func (l *linter) upkeep() {
	today := l.in.Now.UTC().Truncate(24 * time.Hour)
	for i := range l.raw.Services {
		s := &l.raw.Services[i]
		if s.Name.V == "" || s.State.V == config.Decommissioned {
			continue
		}
		pos := at(s.Name, s.Pos)
		if s.State.V != config.Unowned && s.SLO == nil {
			l.add(CodeNoSLO, pos, "%s", s.Name.V)
		}
		v := s.Verified
		if v == nil {
			if s.State.V != config.Unowned { // nobody is there who could
				l.unverified = append(l.unverified, s)
			}
			continue
		}
		for _, by := range v.By {
			if by.V != "" && l.cat.Team(by.V) == nil && l.cat.Person(by.V) == nil {
				l.add(CodeVerifiedBy, by.Pos, "service %s was verified by %q, whom the catalog no longer has; let those who own it now read the entry, and name them", s.Name.V, by.V)
			}
		}
		on := v.On.V.Time
		switch {
		case on.IsZero():
		case on.After(today.AddDate(0, 0, 1)): // a day of grace for zones that are ahead
			l.add(CodeVerifiedBy, v.On.Pos, "service %s is verified on %s, which is yet to come; write the day on which the owners read the entry", s.Name.V, on.Format(time.DateOnly))
		case on.AddDate(1, 0, 0).Before(today):
			l.add(CodeStale, v.On.Pos, "service %s was last verified on %s, more than a year ago; let the owners read the entry and write today's date", s.Name.V, on.Format(time.DateOnly))
		}
	}
}

// schedules looks for times at which nobody is on call, and for schedules that
// no team uses.
func (l *linter) schedules() {
	users := map[string][]string{}
	for _, t := range l.raw.Teams {
		if name := t.OnCall.V; name != "" && !slices.Contains(users[name], t.Name.V) {
			users[name] = append(users[name], t.Name.V)
		}
	}
	done := map[string]bool{}
	for _, s := range l.raw.Schedules {
		name := s.Name.V
		compiled := l.cat.Schedule(name)
		if compiled == nil || done[name] {
			continue
		}
		done[name] = true
		pos := at(s.Name, s.Pos)
		if len(users[name]) == 0 {
			l.add(CodeUnusedRota, pos, "no team has on_call: %s, so nobody is ever asked by this schedule; name it in a team, or remove it", name)
			continue
		}
		if s.ICalFile.V != "" {
			continue // who is on call stands elsewhere
		}
		gaps, total, first := 0, time.Duration(0), [2]time.Time{}
		before := false
		for _, iv := range compiled.Cover(l.in.Now, l.in.Now.Add(horizon)) {
			open := !slices.ContainsFunc(iv.Members, func(h string) bool { return l.cat.Person(h) != nil })
			if open {
				total += iv.To.Sub(iv.From)
				if !before {
					gaps++
				}
				if gaps == 1 {
					if first[0].IsZero() {
						first[0] = iv.From
					}
					first[1] = iv.To
				}
			}
			before = open
		}
		if gaps == 0 {
			continue
		}
		times := "once"
		if gaps > 1 {
			times = strconv.Itoa(gaps) + " times, first"
		}
		l.add(CodeGap, pos, "in the next 28 days nobody is on call in schedule %s for %s: %s from %s to %s; then the lead of %s is asked, or without one the whole team. Add a rotation below that covers the rest, or accept it with a comment",
			name, hours(total), times, clock(first[0]), clock(first[1]), some(users[name]))
	}
}

// clock is an instant as the schedule's people read it.
func clock(t time.Time) string { return t.Format("Mon 2006-01-02 15:04 MST") }
