// Package whois answers who somebody or something is: a service with its owners
// and its chain, a team with what it owns, a person with the teams that own.
//
// It stands beside the router, whose catalog and chains it reads, and like it
// is pure: the instant is an argument. Every field of an answer is always
// present in JSON; no list is null.
package whois

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// Answers are all that a name may mean: a service, a team and a person may share one.
type Answers struct {
	Services []Service `json:"services"`
	Teams    []Team    `json:"teams"`
	People   []Person  `json:"people"`
}

// Service is a service of the catalog.
type Service struct {
	Name         string            `json:"name"`
	Aliases      []string          `json:"aliases"`
	Description  string            `json:"description"`
	State        string            `json:"state"`
	Tier         int               `json:"tier"`
	Assessment   string            `json:"assessment"`
	MissingRoles []string          `json:"missing_roles"`
	Roles        []Role            `json:"roles"` // all five, in the policy's order
	Volunteers   []string          `json:"volunteers"`
	Runbook      string            `json:"runbook"`
	Dashboard    string            `json:"dashboard"`
	SLO          string            `json:"slo"` // "99.9 % over 28d, URL"; "" without
	Links        map[string]string `json:"links"`
	Alerts       []string          `json:"alerts"` // matcher sets
	Legacy       string            `json:"legacy"` // since when and why it is unowned; "" unless it was found so
	VerifiedOn   string            `json:"verified_on"`
	VerifiedBy   []string          `json:"verified_by"`
	Place        string            `json:"place"`

	Urgency string                  `json:"urgency"` // that of the chain
	Steps   []routing.ExplainedStep `json:"steps"`
	Skipped []routing.ExplainedSkip `json:"skipped"`
	Risks   []string                `json:"risks"` // of the chain

	chain string
}

// Role is one of the five roles of a service.
type Role struct {
	Role   string `json:"role"`
	Need   string `json:"need"`    // required, optional or n/a in the service's state
	Team   string `json:"team"`    // "" if nobody fills it
	HeldBy string `json:"held_by"` // the director who holds it vacant
	Note   string `json:"note"`    // what a reader must know, in words
	Place  string `json:"place"`   // where it is written; "" if it is not
}

// Team is a team of the catalog.
type Team struct {
	Name         string     `json:"name"`
	Aliases      []string   `json:"aliases"`
	Kind         string     `json:"kind"`
	Members      []string   `json:"members"`
	Lead         string     `json:"lead"`
	Manager      string     `json:"manager"`
	Director     string     `json:"director"`
	SlackChannel string     `json:"slack_channel"`
	Email        string     `json:"email"`
	Schedule     string     `json:"schedule"`      // "": the whole team is on call
	OnCall       []string   `json:"on_call"`       // at the instant
	OnCallUntil  *time.Time `json:"on_call_until"` // null if it does not end in four weeks
	Next         []string   `json:"next"`          // who takes over
	NextFrom     *time.Time `json:"next_from"`
	Owns         []Holding  `json:"owns"`
	ToldOf       []string   `json:"told_of"` // services whose volunteers they are
	Place        string     `json:"place"`
}

// Holding is a service and what a team answers for in it.
type Holding struct {
	Service    string   `json:"service"`
	State      string   `json:"state"`
	Tier       int      `json:"tier"`
	Assessment string   `json:"assessment"`
	Roles      []string `json:"roles"`
}

// Person is a person of the catalog. People never own; their teams do.
type Person struct {
	Name     string   `json:"name"`
	Email    string   `json:"email"`
	Slack    string   `json:"slack"`
	Phone    string   `json:"phone"`
	Timezone string   `json:"timezone"`
	Local    string   `json:"local_time"` // at the instant, where they are
	Contact  []string `json:"contact"`
	Teams    []string `json:"teams"`   // as a member or lead
	Leads    []string `json:"leads"`   // teams
	Manages  []string `json:"manages"` // teams
	Directs  []string `json:"directs"` // teams
	Holds    []string `json:"holds"`   // services whose contingency role they hold vacant
	Duties   []Duty   `json:"duties"`  // on call at the instant, or next
	Owns     []string `json:"owns"`    // services that their teams own
	Chains   []Place  `json:"chains"`  // where they stand at the instant if a page went out
	Place    string   `json:"place"`
}

// Duty is a turn on call.
type Duty struct {
	Team  string     `json:"team"`
	Now   bool       `json:"now"`
	From  *time.Time `json:"from"`  // null when it has begun
	Until *time.Time `json:"until"` // null if it does not end in four weeks
}

// Place is a step of a service's chain.
type Place struct {
	Service  string `json:"service"`
	Position int    `json:"position"`
	Notify   string `json:"notify"`
}

// horizon is how far ahead turns on call are looked for.
const horizon = 28 * 24 * time.Hour

// Ask looks a name up: a service's or team's name or alias, a person's handle,
// e-mail address or Slack member id. The chain is that of an urgency at an instant.
func Ask(r *routing.Router, name string, at time.Time, u config.Urgency) Answers {
	c := r.Catalog()
	out := Answers{Services: []Service{}, Teams: []Team{}, People: []Person{}}
	if s := c.Service(name); s != nil {
		out.Services = append(out.Services, service(r, s, at, u))
	}
	if t := c.Team(name); t != nil {
		out.Teams = append(out.Teams, team(c, t, at))
	}
	handle := strings.TrimPrefix(name, "@")
	for _, p := range []*catalog.Person{c.Person(handle), c.PersonBySlack(name), c.PersonByEmail(name)} {
		if p != nil {
			out.People = append(out.People, person(r, p, at))
			break
		}
	}
	return out
}

// WithoutChains are the answers for a reader who has seen the chain already.
func (a Answers) WithoutChains() Answers {
	a.Services = slices.Clone(a.Services)
	for i := range a.Services {
		a.Services[i].chain, a.Services[i].Risks = "", nil
	}
	return a
}

// None tells whether the catalog knows nobody and nothing of that name.
func (a Answers) None() bool { return len(a.Services)+len(a.Teams)+len(a.People) == 0 }

// Similar are names of the catalog that were perhaps meant.
func Similar(c *catalog.Catalog, name string) []string {
	var names []string
	for _, s := range c.Services() {
		names = append(append(names, s.Name), s.Aliases...)
	}
	for _, t := range c.Teams() {
		names = append(append(names, t.Name), t.Aliases...)
	}
	for _, p := range c.People() {
		names = append(names, p.Handle)
	}
	out := []string{}
	if near := config.Nearest(name, names); near != "" {
		out = append(out, near)
	}
	if len(name) < 3 {
		return out // every other name holds two letters
	}
	const most = 5
	for _, n := range names {
		if len(out) < most && strings.Contains(strings.ToLower(n), strings.ToLower(name)) && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

func service(r *routing.Router, s *catalog.Service, at time.Time, u config.Urgency) Service {
	e := s.Entry
	out := Service{
		Name: s.Name, Aliases: list(s.Aliases), Description: e.Description.V,
		State: string(s.State), Tier: s.Tier, Assessment: string(s.Assessment), MissingRoles: []string{},
		Roles: []Role{}, Volunteers: []string{}, Runbook: s.Runbook, Dashboard: s.Dashboard,
		Links: map[string]string{}, Alerts: []string{}, VerifiedBy: []string{}, Place: s.Pos.String(), Urgency: string(u),
	}
	for _, role := range s.MissingRoles {
		out.MissingRoles = append(out.MissingRoles, string(role))
	}
	for _, role := range config.Roles {
		out.Roles = append(out.Roles, roleOf(s, role))
	}
	for _, t := range s.Volunteers {
		out.Volunteers = append(out.Volunteers, t.Name)
	}
	if e.SLO != nil {
		out.SLO = sloText(e.SLO)
	}
	for name, l := range e.Links {
		out.Links[name] = l.V
	}
	for _, set := range s.Alerts {
		out.Alerts = append(out.Alerts, matchers(set))
	}
	if e.Legacy != nil {
		out.Legacy = e.Legacy.Since.V.Format(time.DateOnly) + ": " + e.Legacy.Reason.V
	}
	if e.Verified != nil {
		out.VerifiedOn = e.Verified.On.V.Format(time.DateOnly)
		for _, by := range e.Verified.By {
			out.VerifiedBy = append(out.VerifiedBy, by.V)
		}
	}
	res := routing.Resolution{Target: routing.Target{Subject: "service:" + s.Name, Service: s.Name}, Urgency: u}
	why := routing.Explain(res, r.Chain(res.Target, u, at, 0, nil))
	out.Steps, out.Skipped, out.Risks, out.chain = why.Steps, why.Skipped, why.Risks, why.ChainText()
	return out
}

func roleOf(s *catalog.Service, role config.Role) Role {
	out := Role{Role: string(role), Need: catalog.Requirement(s.State, role).String()}
	if owner, ok := s.Entry.Owners.Roles[role]; ok {
		out.Place = owner.Pos.String()
	}
	switch t := s.Owners[role]; {
	case t != nil:
		out.Team = t.Name
		if out.Place == "" { // the short form
			out.Place = s.Entry.Owners.Pos.String()
		}
	case role == config.ContingencyDevelopment && s.VacancyHeld != nil:
		out.HeldBy = s.VacancyHeld.Handle
		out.Note = "held vacant by director " + out.HeldBy
		if o := s.Entry.Owners.Roles[role]; o.Vacant != nil && o.Vacant.Reason.V != "" {
			out.Note += ": " + o.Vacant.Reason.V
		}
	case role == config.ProductManagement && s.State == config.Maintenance && s.ProductManager() != nil:
		out.Note = s.ProductManager().Handle + " answers for it while it is in maintenance"
	case role == config.ContingencyDevelopment && s.Owner(role) != nil:
		out.Note = s.Owner(role).Name + " stands in, as the configuration_deployment owner"
	case slices.Contains(s.MissingRoles, role):
		out.Note = "nobody, and somebody must be found"
	case out.Need == "n/a":
		out.Note = "not a role of this state"
	default:
		out.Note = "nobody"
	}
	return out
}

func team(c *catalog.Catalog, t *catalog.Team, at time.Time) Team {
	out := Team{
		Name: t.Name, Aliases: list(t.Aliases), Kind: string(t.Kind), Members: handles(t.Members),
		Lead: handle(t.Lead), Manager: handle(t.Manager), Director: handle(t.Director),
		SlackChannel: t.SlackChannel, Email: t.Email, OnCall: handles(c.OnCall(t, at)),
		Next: []string{}, Owns: []Holding{}, ToldOf: []string{}, Place: t.Pos.String(),
	}
	if t.Schedule != nil {
		out.Schedule = t.Schedule.Name()
		out.OnCallUntil = until(t, at)
		if next, from := c.NextOnCall(t, at); len(next) > 0 {
			out.Next, out.NextFrom = handles(next), &from
		}
	}
	for _, s := range c.Services() {
		h := Holding{Service: s.Name, State: string(s.State), Tier: s.Tier, Assessment: string(s.Assessment), Roles: []string{}}
		for _, role := range config.Roles {
			if s.Owners[role] == t {
				h.Roles = append(h.Roles, string(role))
			}
		}
		if len(h.Roles) > 0 {
			out.Owns = append(out.Owns, h)
		}
		if slices.Contains(s.Volunteers, t) {
			out.ToldOf = append(out.ToldOf, s.Name)
		}
	}
	slices.SortStableFunc(out.Owns, func(a, b Holding) int { return cmp.Compare(a.Tier, b.Tier) })
	return out
}

func person(r *routing.Router, p *catalog.Person, at time.Time) Person {
	c := r.Catalog()
	out := Person{
		Name: p.Handle, Email: p.Email, Slack: p.Slack, Phone: p.Phone, Timezone: p.Timezone.String(),
		Local: at.In(p.Timezone).Format("Mon 2006-01-02 15:04 MST"), Contact: list(p.Contact),
		Teams: []string{}, Leads: []string{}, Manages: []string{}, Directs: []string{}, Holds: []string{},
		Duties: []Duty{}, Owns: []string{}, Chains: []Place{}, Place: p.Pos.String(),
	}
	for _, t := range c.Teams() {
		for _, post := range []struct {
			who *catalog.Person
			in  *[]string
		}{{t.Lead, &out.Leads}, {t.Manager, &out.Manages}, {t.Director, &out.Directs}} {
			if post.who == p {
				*post.in = append(*post.in, t.Name)
			}
		}
		if t.Has(p.Handle) {
			out.Teams = append(out.Teams, t.Name)
		}
		out.Duties = append(out.Duties, duties(t, p.Handle, at)...)
	}
	for _, s := range c.Services() {
		if s.OwnedBy(p.Handle) {
			out.Owns = append(out.Owns, s.Name)
		}
		if s.VacancyHeld == p {
			out.Holds = append(out.Holds, s.Name)
		}
		target := routing.Target{Subject: "service:" + s.Name, Service: s.Name}
		for _, step := range r.Chain(target, config.UnbreakNow, at, 0, nil).Steps {
			if slices.Contains(step.People, p.Handle) {
				out.Chains = append(out.Chains, Place{s.Name, step.Position, step.Notify})
				break
			}
		}
	}
	return out
}

// duties are the turn somebody has now for a team and the next one they will have.
func duties(t *catalog.Team, handle string, at time.Time) []Duty {
	if !t.MayOwn() {
		return nil // volunteers are told, nobody waits for them
	}
	if t.Schedule == nil {
		if slices.ContainsFunc(t.Members, func(p *catalog.Person) bool { return p.Handle == handle }) {
			return []Duty{{Team: t.Name, Now: true}}
		}
		return nil
	}
	var out []Duty
	for _, turn := range t.Schedule.Cover(at, at.Add(horizon)) {
		switch last := len(out) - 1; {
		case !slices.Contains(turn.Members, handle):
			continue
		case last >= 0 && out[last].Until.Equal(turn.From): // with somebody else beside them
			out[last].Until = &turn.To
		case last >= 0 && !out[last].Now:
			continue // one turn ahead is enough
		case turn.From.After(at):
			out = append(out, Duty{Team: t.Name, From: &turn.From, Until: &turn.To})
		default:
			out = append(out, Duty{Team: t.Name, Now: true, Until: &turn.To})
		}
	}
	for i := range out {
		if !out[i].Until.Before(at.Add(horizon)) {
			out[i].Until = nil
		}
	}
	return out
}

func until(t *catalog.Team, at time.Time) *time.Time {
	if turns := t.Schedule.Cover(at, at.Add(horizon)); len(turns) > 1 {
		return &turns[0].To
	}
	return nil
}

func list(in []string) []string { return append([]string{}, in...) }

func handle(p *catalog.Person) string {
	if p == nil {
		return ""
	}
	return p.Handle
}

func handles(people []*catalog.Person) []string {
	out := []string{}
	for _, p := range people {
		out = append(out, p.Handle)
	}
	return out
}

func matchers(set config.MatcherSet) string {
	var parts []string
	for _, m := range set {
		parts = append(parts, m.V.String())
	}
	return strings.Join(parts, ", ")
}
