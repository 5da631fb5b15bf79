// Package catalog is the ownership policy: which services there are, who owns
// them in which role, what each lifecycle state requires, and how well a service
// is owned.
//
// It is built once from the decoded catalog files and never changes. What would
// make the catalog ambiguous or give a role to somebody who cannot own refuses
// it; what is merely missing is loaded as unfilled, with a warning, because a
// pager must come up.
package catalog

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing/oncall"
)

// Assessment says how well a service, or an alert's subject, is owned.
type Assessment string

// The assessments.
const (
	Owned          Assessment = "owned"
	Partial        Assessment = "partial"        // some required role is filled, some is not
	Unowned        Assessment = "unowned"        // no required role is filled, or the state says so
	Unknown        Assessment = "unknown"        // no service of the catalog matched
	Decommissioned Assessment = "decommissioned" // the service is gone; the rule is stale
)

// Catalog is the indexed, checked catalog. It never changes.
type Catalog struct {
	services  map[string]*Service // by name and alias
	teams     map[string]*Team    // by name and alias
	people    map[string]*Person
	schedules map[string]*oncall.Schedule

	byService []*Service
	byTeam    []*Team
	byPerson  []*Person

	bySlack, byEmail map[string]*Person
	teamsOf          map[string][]*Team
}

// Person is a member of teams.
type Person struct {
	Handle, Email, Slack string
	Phone                string
	Timezone             *time.Location // never nil
	Contact              []string       // as written, or slack and email; never empty
	Pos                  config.Pos
}

// Team owns services.
type Team struct {
	Name                    string
	Aliases                 []string
	Kind                    config.TeamKind
	Members                 []*Person
	Lead, Manager, Director *Person          // nil if none
	Schedule                *oncall.Schedule // nil: the whole team is on call
	SlackChannel            string
	SlackUsergroup          string
	Email                   string
	Webhooks                []string
	// MissingReference is set when a member, contact or schedule named something
	// the catalog lacks: loaded as absent, with a risk.
	MissingReference bool
	Pos              config.Pos
}

// Service is the unit of ownership.
type Service struct {
	Name         string
	Aliases      []string
	State        config.State
	Tier         int
	Owners       map[config.Role]*Team // filled roles; Owner applies the derived ones
	VacancyHeld  *Person               // the director who holds the contingency role vacant; nil otherwise
	Volunteers   []*Team
	Assessment   Assessment
	MissingRoles []config.Role // required and unfilled; never nil
	Policy       string        // "" if none is named
	Alerts       []config.MatcherSet
	Runbook      string
	Dashboard    string
	// MissingReference is set when an owner, policy or contact named something
	// the catalog lacks: loaded as unfilled, with a risk.
	MissingReference bool
	Pos              config.Pos

	// Entry is the service as it was written: description, SLO, links and the
	// places of its values.
	Entry *config.Service
}

// Service finds a service by name or alias; nil if there is none.
func (c *Catalog) Service(name string) *Service { return c.services[name] }

// Team finds a team by name or alias; nil if there is none.
func (c *Catalog) Team(name string) *Team { return c.teams[name] }

// Person finds a person by handle; nil if there is none.
func (c *Catalog) Person(handle string) *Person { return c.people[handle] }

// Schedule finds a schedule by name; nil if there is none.
func (c *Catalog) Schedule(name string) *oncall.Schedule { return c.schedules[name] }

// Services are all services, by name.
func (c *Catalog) Services() []*Service { return c.byService }

// Teams are all teams, by name.
func (c *Catalog) Teams() []*Team { return c.byTeam }

// People are all people, by handle.
func (c *Catalog) People() []*Person { return c.byPerson }

// PersonBySlack finds a person by Slack member id; nil if there is none. When
// two people share an id, which is warned about, it is the first by handle.
func (c *Catalog) PersonBySlack(id string) *Person { return c.bySlack[id] }

// PersonByEmail finds a person by e-mail address in any spelling of case; nil if
// there is none. When two people share one it is the first by handle.
func (c *Catalog) PersonByEmail(address string) *Person {
	return c.byEmail[strings.ToLower(address)]
}

// TeamsOf are the teams that a person is in, by name.
func (c *Catalog) TeamsOf(handle string) []*Team { return c.teamsOf[handle] }

// TeamOf is the team a person answers with: the first by name that may own, else
// the first by name; nil for somebody in no team.
func (c *Catalog) TeamOf(handle string) *Team {
	teams := c.teamsOf[handle]
	for _, t := range teams {
		if t.MayOwn() {
			return t
		}
	}
	if len(teams) > 0 {
		return teams[0]
	}
	return nil
}

// OnCall are the people of the catalog who cover an instant for the team: by its
// schedule, or without one the whole team. Empty when nobody is on call.
func (c *Catalog) OnCall(t *Team, at time.Time) []*Person {
	if t.Schedule == nil {
		return t.Members
	}
	return c.known(t.Schedule.OnCall(at))
}

// NextOnCall are the people of the catalog who take over next for the team, and
// when. Without a schedule, or without a take-over in sight, there is nobody.
func (c *Catalog) NextOnCall(t *Team, after time.Time) ([]*Person, time.Time) {
	if t.Schedule == nil {
		return nil, time.Time{}
	}
	handles, at := t.Schedule.Next(after)
	people := c.known(handles)
	if len(people) == 0 {
		return nil, time.Time{}
	}
	return people, at
}

// known drops the handles that the catalog lacks: a warning at load told of them.
func (c *Catalog) known(handles []string) []*Person {
	var out []*Person
	for _, h := range handles {
		if p := c.people[h]; p != nil {
			out = append(out, p)
		}
	}
	return out
}

// MayOwn tells whether the team may fill a role and be paged: volunteers may not.
func (t *Team) MayOwn() bool { return t.Kind != config.Volunteer }

// Has tells whether a person is in the team, as a member or its lead.
func (t *Team) Has(handle string) bool {
	return t.Lead != nil && t.Lead.Handle == handle ||
		slices.ContainsFunc(t.Members, func(p *Person) bool { return p.Handle == handle })
}

// OwnedBy tells whether a person is in a team that owns the service in any role.
func (s *Service) OwnedBy(handle string) bool {
	for _, t := range s.Owners {
		if t.Has(handle) {
			return true
		}
	}
	return false
}

// OwningTeams are the teams that own the service in any role, each once, in the
// policy's order of roles.
func (s *Service) OwningTeams() []*Team {
	var out []*Team
	for _, r := range config.Roles {
		if t := s.Owners[r]; t != nil && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// index fills in the lists and the indices that follow from the maps.
func (c *Catalog) index() {
	c.byService = distinct(c.services, func(a, b *Service) int { return cmp.Compare(a.Name, b.Name) })
	c.byTeam = distinct(c.teams, func(a, b *Team) int { return cmp.Compare(a.Name, b.Name) })
	c.byPerson = distinct(c.people, func(a, b *Person) int { return cmp.Compare(a.Handle, b.Handle) })
	for _, p := range slices.Backward(c.byPerson) {
		if p.Slack != "" {
			c.bySlack[p.Slack] = p
		}
		if p.Email != "" {
			c.byEmail[strings.ToLower(p.Email)] = p
		}
	}
	for _, t := range c.byTeam {
		in := t.Members
		if t.Lead != nil && !slices.Contains(in, t.Lead) {
			in = append(slices.Clip(in), t.Lead)
		}
		for _, p := range in {
			c.teamsOf[p.Handle] = append(c.teamsOf[p.Handle], t)
		}
	}
}

func distinct[T comparable](byName map[string]T, compare func(a, b T) int) []T {
	out := make([]T, 0, len(byName))
	for _, v := range byName {
		out = append(out, v)
	}
	slices.SortFunc(out, compare)
	return slices.Compact(out)
}
