package routing

import (
	"strings"
	"time"

	"callchain/config"
	"callchain/routing/catalog"
)

// Whom tells whom somebody means who asks by hand for to: a role,
// engineering_manager, director, fallback, team:NAME or person:NAME. Of the step
// that is returned Notify, Whom, Team, People, Reason and AckWithin are set; when
// nobody is there People is empty and Reason says why, with what to do.
//
// The manager and the director are those that the target's chain would ask. A
// contingency development owner is woken only for unbreak_now, by hand as well.
func (r *Router) Whom(t Target, to string, u config.Urgency, now time.Time) Step {
	in := chainInput{catalog: r.catalog, policies: r.policies, fallback: r.fallback}
	p := planner{chainInput: in, urgency: u, wait: u, now: now}
	if !u.Pages() {
		p.wait = config.Page
	}
	if t.Service != "" {
		p.service = in.catalog.Service(t.Service)
	}
	p.policy = p.choosePolicy(t)
	p.out.Policy = p.policy.Name.V
	p.standIn(t)

	step := Step{Notify: to}
	for i := range p.policy.Steps { // as far as managers and directors depend on it
		c := &p.policy.Steps[i]
		if c.Notify.V == to && (c.Whom.V == "" || c.Whom.V == onCall) {
			step.AckWithin = c.AckWithin.For(p.wait)
			break
		}
		p.resolve(c)
	}
	if step.AckWithin <= 0 && len(p.policy.Steps) > 0 {
		step.AckWithin = p.policy.Steps[0].AckWithin.For(p.wait)
	}
	if step.AckWithin <= 0 {
		step.AckWithin = defaultAckWithin
	}
	p.standUsed = false
	asked := config.Step{}
	asked.Notify.V, asked.Whom.V = to, onCall
	a := p.resolve(&asked)
	kind, _, _ := strings.Cut(to, ":")
	switch {
	case to == string(config.ContingencyDevelopment) && p.wait != config.UnbreakNow && p.applies(config.ContingencyDevelopment):
		a.reason += "; if it is an emergency, declare it unbreak_now first"
	case len(a.people) == 0:
	case kind == "team":
		a.reason = strings.Replace(a.reason, "the team that policy "+p.out.Policy+" names", "the team that was asked for", 1)
	case kind == person:
		a.reason = "the person who was asked for"
	}
	a.reason = strings.TrimSuffix(a.reason, askedBefore)
	if a.notify != "" {
		step.Notify = a.notify
	}
	step.Whom, step.Team, step.People, step.Reason = a.whom, a.team, a.people, a.reason
	return step
}

// applies tells whether the service's state has a role at all.
func (p *planner) applies(r config.Role) bool {
	return p.service != nil && catalog.Requirement(p.service.State, r) != catalog.NotApplicable
}
