package routing

import (
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing/catalog"
)

// resolve finds the people of one step of the policy, or the reason why it is
// not taken, and remembers whose manager and director later steps mean.
func (p *planner) resolve(c *config.Step) asked {
	notify := c.Notify.V
	a := p.people(c)
	if a.notify == "" {
		a.notify = notify
	}
	if len(a.people) > 0 && isRole(notify) && a.team != "" {
		p.last = p.catalog.Team(a.team)
	}
	return a
}

func isRole(notify string) bool { return slices.Contains(config.Roles, config.Role(notify)) }

// spoken is a role as people say it.
func spoken(r config.Role) string { return strings.ReplaceAll(string(r), "_", " ") }

func (p *planner) people(c *config.Step) asked {
	notify, whom := c.Notify.V, c.Whom.V
	if whom == "" {
		whom = onCall
	}
	// The state's reason comes first: it holds for every urgency.
	if r := config.Role(notify); isRole(notify) && p.service != nil && !p.applies(r) {
		return no(spoken(r) + " does not apply to " + p.service.Name + ", which is " + string(p.service.State))
	}
	// Whatever the policy says: contingency work is an emergency's.
	if notify == string(config.ContingencyDevelopment) && p.wait != config.UnbreakNow {
		return no("a contingency development owner is woken only for unbreak_now; this is " + string(p.urgency))
	}
	if c.Only.V != "" && c.Only.V != p.wait {
		return no(notify + " is asked only for " + string(c.Only.V) + "; this is " + string(p.urgency))
	}
	if kind, name, ok := strings.Cut(notify, ":"); ok {
		return p.named(kind, name, whom)
	}
	switch {
	case isRole(notify):
		return p.role(config.Role(notify), whom)
	case notify == "engineering_manager":
		return p.above(manager, "engineering manager", func(t *catalog.Team) *catalog.Person { return t.Manager })
	case notify == director:
		return p.above(director, "director", func(t *catalog.Team) *catalog.Person { return t.Director })
	case notify == "fallback":
		return p.ask(p.fallback, whom, "the fallback team")
	}
	return no("callchain knows no step "+notify, RiskMissingReference)
}

// role finds the people of an owner role.
func (p *planner) role(r config.Role, whom string) asked {
	if p.service == nil {
		if p.standUsed {
			return no("no service is known, so the team is asked once in place of every role")
		}
		a := p.ask(p.stand, whom, p.standWhy)
		a.notify = p.standAs
		p.standUsed = len(a.people) > 0
		return a
	}
	s := p.service
	if r == config.ContingencyDevelopment && s.VacancyHeld != nil {
		return asked{
			whom: director, people: []string{s.VacancyHeld.Handle},
			reason: s.VacancyHeld.Handle + " is the director who holds the contingency development role of " + s.Name + " vacant",
		}
	}
	t := s.Owner(r)
	if pm := s.ProductManager(); t == nil && r == config.ProductManagement && pm != nil {
		return asked{
			whom: person, people: []string{pm.Handle},
			reason: pm.Handle + " answers for the product of " + s.Name + " while it is in maintenance",
		}
	}
	if t == nil {
		return no("nobody fills " + spoken(r) + " for " + s.Name + " (" + string(s.State) + ")")
	}
	what := "the " + spoken(r) + " owner of " + s.Name
	if s.Owners[r] == nil {
		what = "the configuration deployment owner of " + s.Name + ", which has no contingency team of its own"
	}
	return p.ask(t, whom, what)
}

// named finds the people of a step that names a team or a person.
func (p *planner) named(kind, name, whom string) asked {
	switch kind {
	case "team":
		if t := p.catalog.Team(name); t != nil {
			return p.ask(t, whom, "the team that policy "+p.out.Policy+" names")
		}
	case person:
		if who := p.catalog.Person(name); who != nil {
			a := asked{whom: person, people: []string{who.Handle}, reason: who.Handle + " is named by policy " + p.out.Policy}
			if t := p.catalog.TeamOf(who.Handle); t != nil {
				if !t.MayOwn() {
					return no(who.Handle + " is a volunteer, who is told but never paged")
				}
				a.team = t.Name
			}
			return a
		}
	}
	return no("the catalog has no "+kind+" "+name, RiskMissingReference)
}

// above finds the manager or the director of the team that was asked last.
func (p *planner) above(whom, title string, of func(*catalog.Team) *catalog.Person) asked {
	t := p.last
	if t == nil {
		return no("no role step before it reached a team whose " + title + " could be asked")
	}
	who := of(t)
	if who == nil {
		return no(t.Name + " names no " + title)
	}
	return asked{whom: whom, team: t.Name, people: []string{who.Handle}, reason: title + " of " + t.Name + askedBefore}
}

const askedBefore = ", the team asked before"

// ask picks people of a team. what says what the team is to the alert.
func (p *planner) ask(t *catalog.Team, whom, what string) asked {
	if t == nil {
		return no("there is no such team")
	}
	a := asked{whom: whom, team: t.Name}
	if t.MissingReference {
		a.risks = append(a.risks, RiskMissingReference)
	}
	team := t.Name + ", " + what
	if !t.MayOwn() {
		a.reason = t.Name + " are volunteers, who are told but never paged"
		return a
	}
	one := func(who *catalog.Person, title string) asked {
		if who == nil {
			a.reason = t.Name + " names no " + title
			return a
		}
		a.people, a.reason = []string{who.Handle}, title+" of "+team
		return a
	}
	everybody := func(why string) asked {
		if len(t.Members) == 0 {
			a.reason = t.Name + " has no members"
			return a
		}
		a.people, a.reason = handlesOf(t.Members), "all of "+team+why
		return a
	}
	switch whom {
	case wholeTeam:
		return everybody("")
	case lead:
		return one(t.Lead, "lead")
	case manager:
		return one(t.Manager, "engineering manager")
	case nextOnCall:
		if t.Schedule == nil {
			return everybody(" (the team has no schedule)")
		}
		next, at := p.catalog.NextOnCall(t, p.now)
		if len(next) == 0 {
			a.reason = "nobody takes over next in schedule " + t.Schedule.Name() + " of " + t.Name
			return a
		}
		a.people = handlesOf(next)
		a.reason = "next on call for " + team + " (schedule " + t.Schedule.Name() + ", from " + at.UTC().Format(time.RFC3339) + ")"
		return a
	}
	if t.Schedule == nil && len(t.Members) > 0 {
		return everybody(" (the team has no schedule)")
	}
	why := " (the team has no schedule and no members)"
	if t.Schedule != nil {
		if people := p.catalog.OnCall(t, p.now); len(people) > 0 {
			a.people = handlesOf(people)
			a.reason = "on call for " + team + " (schedule " + t.Schedule.Name() + ")"
			return a
		}
		why = " (nobody is on call in schedule " + t.Schedule.Name() + ")"
	}
	a.risks = append(a.risks, RiskNobodyOnCall)
	if t.Lead != nil {
		a = one(t.Lead, "lead")
		a.reason += why
		return a
	}
	return everybody(why)
}

func handlesOf(people []*catalog.Person) []string {
	out := make([]string, len(people))
	for i, p := range people {
		out[i] = p.Handle
	}
	return out
}
