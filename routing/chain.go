package routing

import (
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing/catalog"
)

// How long the fallback team has when no step of the policy says so, and anybody
// has whose step does not say.
const (
	fallbackUnbreakNow = 15 * time.Minute
	fallbackPage       = 30 * time.Minute
	defaultAckWithin   = 15 * time.Minute
)

// Chain plans whom to ask, in which order, for a target at an instant: a pure
// function of the router and the arguments.
//
// from is the Index in the policy from which to plan. From 0 it is the whole
// round, and Steps is never empty. From a later place the steps before count only
// for what depends on them (Position, After, whose manager and director are
// meant); no Steps then means that the round is over. paged are the people paged
// in this round before; nil for a fresh plan.
//
// A step that adds nobody new is merged into the step before, which then waits
// for both. When nothing was planned before it, it is skipped and its wait
// dropped, unless all that is left adds nobody new: then the first such step
// stands, with the waits of the others, so that the people asked keep their time.
//
// Position and After count as if the whole round were planned now; they are exact
// unless ownership or on-call changed while the round runs. For notify and
// record, which page nobody, it is the chain of page.
//
// A decommissioned service and a test page have one step outside the policy, at
// the Index behind its last step.
func (r *Router) Chain(t Target, u config.Urgency, now time.Time, from int, paged map[string]bool) Chain {
	in := chainInput{catalog: r.catalog, policies: r.policies, fallback: r.fallback}
	return in.chain(t, u, now, from, paged)
}

// chainInput is all that a chain depends on besides its arguments.
type chainInput struct {
	catalog  *catalog.Catalog
	policies map[string]*config.Policy // by name; always has "default"
	fallback *catalog.Team
}

func (in chainInput) chain(t Target, u config.Urgency, now time.Time, from int, paged map[string]bool) Chain {
	p := planner{chainInput: in, urgency: u, wait: u, now: now}
	if !u.Pages() {
		p.wait = config.Page
	}
	p.out = Chain{Steps: []Step{}, Skipped: []Skip{}, Risks: []Risk{}}
	if t.Service != "" {
		p.service = in.catalog.Service(t.Service)
		if p.service == nil || p.service.MissingReference {
			p.risk(RiskMissingReference)
		}
	}
	p.policy = p.choosePolicy(t)
	p.out.Policy = p.policy.Name.V
	p.out.RemindEvery = p.policy.RemindEvery.For(p.wait)
	p.out.Rounds = p.policy.Repeat.V
	if p.out.Rounds < 1 {
		p.out.Rounds = 2
	}
	switch {
	case t.Person != "":
		p.testPage(t.Person, from)
	case p.service != nil && p.service.State == config.Decommissioned:
		p.out.Rounds = 1
		p.alone(p.askFallback(p.service.Name+" is decommissioned, so this is probably a stale rule"), from)
	default:
		p.standIn(t)
		p.round(from, paged)
	}
	return p.out
}

// Plans plans chains from a catalog and policies alone: for those who look at a
// catalog without its configuration, or at what is left of a chain when the
// fallback team does not stand in.
type Plans struct{ in chainInput }

// NewPlans takes the policies that there are besides the built-in one. Without a
// fallback team the steps that ask it are skipped, and a chain may be empty.
func NewPlans(cat *catalog.Catalog, policies []config.Policy, fallback *catalog.Team) Plans {
	builtIn := config.DefaultPolicy()
	in := chainInput{catalog: cat, policies: map[string]*config.Policy{config.DefaultPolicyName: &builtIn}, fallback: fallback}
	for i := range policies {
		in.policies[policies[i].Name.V] = &policies[i]
	}
	return Plans{in}
}

// Chain is one round of the chain, from its first step.
func (p Plans) Chain(t Target, u config.Urgency, now time.Time) Chain {
	return p.in.chain(t, u, now, 0, nil)
}

// Policy is the policy of that name, else the default one.
func (p Plans) Policy(name string) *config.Policy {
	if policy := p.in.policies[name]; policy != nil {
		return policy
	}
	return p.in.policies[config.DefaultPolicyName]
}

// planner carries one plan.
type planner struct {
	chainInput
	urgency config.Urgency // as given, for the texts
	wait    config.Urgency // page for those that page nobody
	now     time.Time
	policy  *config.Policy

	service   *catalog.Service // nil: stand answers in place of every role, once
	stand     *catalog.Team
	standAs   string // notify of the step that stands for the roles
	standWhy  string
	standUsed bool

	last *catalog.Team // of the last role step that was not skipped and has a team
	out  Chain
}

// The ways to pick people of a team; also those of the steps that name a person.
const (
	onCall     = "on_call"
	nextOnCall = "next_on_call"
	wholeTeam  = "team"
	lead       = "lead"
	manager    = "manager"
	director   = "director"
	person     = "person"
)

// asked is what a step comes to before it is placed: people, or why there are none.
type asked struct {
	notify, whom, team string
	people             []string
	reason             string // why these people, or why not
	risks              []Risk
}

func no(reason string, risks ...Risk) asked { return asked{reason: reason, risks: risks} }

func (p *planner) risk(r Risk) {
	if !slices.Contains(p.out.Risks, r) {
		p.out.Risks = append(p.out.Risks, r)
	}
}

func (p *planner) choosePolicy(t Target) *config.Policy {
	name := t.Policy
	if name == "" && p.service != nil {
		name = p.service.Policy
	}
	if name == "" {
		name = config.DefaultPolicyName
	}
	if pol := p.policies[name]; pol != nil {
		return pol
	}
	p.risk(RiskMissingReference)
	return p.policies[config.DefaultPolicyName]
}

// standIn chooses the team that is asked once in place of every role when no
// service is known.
func (p *planner) standIn(t Target) {
	if p.service != nil {
		return
	}
	why := "no service is known"
	if t.Service != "" {
		why = "the catalog no longer has the service " + t.Service
	} else if t.Team != "" {
		team := p.catalog.Team(t.Team)
		switch {
		case team == nil:
			p.risk(RiskMissingReference)
			why = "the catalog has no team " + t.Team
		case !team.MayOwn():
			why = team.Name + " are volunteers, who are told but never paged"
		case len(p.ask(team, onCall, "").people) == 0:
			why = team.Name + " reaches nobody"
		default:
			p.stand, p.standAs, p.standWhy = team, "team:"+team.Name, "the team that the alert names"
			return
		}
	} else if t.Named != "" {
		why = "the catalog has no service " + t.Named
	}
	p.stand, p.standAs, p.standWhy = p.fallback, "fallback", "the fallback team: "+why
}

// round walks the policy from its first step; what lies before from only
// prepares what follows.
func (p *planner) round(from int, paged map[string]bool) {
	everybody := map[string]bool{} // of the whole round
	earlier := map[string]bool{}   // asked in steps that lie before from
	seen := map[string]bool{}      // asked in the steps planned, or before this plan
	for h := range paged {
		seen[h] = true
	}
	position, after := 0, time.Duration(0)
	var idle []Step // the steps from `from` on that add nobody new and have no step before them
	for i := range p.policy.Steps {
		c := &p.policy.Steps[i]
		a := p.resolve(c)
		if i >= from {
			p.risks(a.risks)
		}
		if len(a.people) == 0 {
			if i >= from {
				p.out.Skipped = append(p.out.Skipped, Skip{a.notify, a.reason})
			}
			continue
		}
		add(everybody, a.people)
		wait := c.AckWithin.For(p.wait)
		if wait <= 0 {
			wait = defaultAckWithin
		}
		if i < from {
			if addsTo(earlier, a.people) {
				position++
			}
			after += wait
			add(earlier, a.people)
			continue
		}
		step := Step{
			Position: position + 1, Index: i, Through: i, After: after, AckWithin: wait,
			Notify: a.notify, Whom: a.whom, Team: a.team, People: a.people, Reason: a.reason,
		}
		n := len(p.out.Steps)
		switch {
		case addsTo(seen, a.people):
			position++
			after += wait
			add(seen, a.people)
			p.out.Steps = append(p.out.Steps, step)
		case n > 0:
			after += wait
			before := &p.out.Steps[n-1]
			before.merge(step)
			p.out.Skipped = append(p.out.Skipped, Skip{a.notify, "merged: " + names(a.people) + " " +
				were(a.people) + " asked before in this round; its " + minutes(wait) + " are added to the step before (" + before.Notify + ")"})
		default:
			idle = append(idle, step)
			p.out.Skipped = append(p.out.Skipped, Skip{a.notify, names(a.people) + " " + were(a.people) + " asked before in this round"})
		}
	}
	if len(p.out.Steps) == 0 && len(idle) > 0 {
		p.keep(idle)
	}
	if len(p.out.Steps) == 0 && len(everybody) == 0 {
		p.alone(p.askFallback("no step of policy "+p.out.Policy+" reaches anybody"), from)
		return
	}
	if len(everybody) == 1 {
		p.risk(RiskSinglePerson)
	}
}

// merge adds the wait of a step that adds nobody new.
func (s *Step) merge(later Step) {
	s.AckWithin += later.AckWithin
	s.Through = later.Index
}

// keep lets the first of the steps that add nobody new stand for all of them,
// because nothing else is left of the round.
func (p *planner) keep(idle []Step) {
	first := idle[0]
	for _, s := range idle[1:] {
		first.merge(s)
	}
	first.Reason += "; asked again, because nobody new is left in this round"
	p.out.Steps = []Step{first}
	for i, s := range p.out.Skipped {
		if s.Notify == first.Notify && strings.HasSuffix(s.Reason, "asked before in this round") {
			p.out.Skipped = slices.Delete(p.out.Skipped, i, i+1)
			break
		}
	}
}

// alone is the one step of a chain that does not come from a step of the policy.
func (p *planner) alone(a asked, from int) {
	index := len(p.policy.Steps)
	if len(a.people) == 0 || from > index {
		return
	}
	p.risks(a.risks)
	p.out.Steps = []Step{{
		Position: 1, Index: index, Through: index, AckWithin: p.fallbackWait(),
		Notify: a.notify, Whom: a.whom, Team: a.team, People: a.people, Reason: a.reason,
	}}
	if a.notify == "fallback" && len(a.people) == 1 {
		p.risk(RiskSinglePerson)
	}
}

// fallbackWait is that of the policy's own fallback step, if it has one.
func (p *planner) fallbackWait() time.Duration {
	for _, s := range p.policy.Steps {
		if s.Notify.V == "fallback" {
			if d := s.AckWithin.For(p.wait); d > 0 {
				return d
			}
		}
	}
	if p.wait == config.UnbreakNow {
		return fallbackUnbreakNow
	}
	return fallbackPage
}

func (p *planner) testPage(handle string, from int) {
	p.out.Rounds = 1
	who := p.catalog.Person(handle)
	if who == nil {
		p.risk(RiskMissingReference)
		p.alone(p.askFallback("the catalog has no person "+handle), from)
		return
	}
	a := asked{notify: "person:" + handle, whom: person, people: []string{handle}, reason: "a test page for " + handle}
	if t := p.catalog.TeamOf(handle); t != nil {
		a.team = t.Name
	}
	p.alone(a, from)
}

// askFallback picks people of the fallback team, who stand in for everybody.
func (p *planner) askFallback(why string) asked {
	a := p.ask(p.fallback, onCall, "the fallback team: "+why)
	a.notify = "fallback"
	return a
}

func (p *planner) risks(rs []Risk) {
	for _, r := range rs {
		p.risk(r)
	}
}

func addsTo(seen map[string]bool, people []string) bool {
	for _, h := range people {
		if !seen[h] {
			return true
		}
	}
	return false
}

func add(seen map[string]bool, people []string) {
	for _, h := range people {
		seen[h] = true
	}
}

// minutes drops the zero seconds of a duration: 15m, 1h30m.
func minutes(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func names(people []string) string { return strings.Join(people, ", ") }

func were(people []string) string {
	if len(people) == 1 {
		return "was"
	}
	return "were"
}
