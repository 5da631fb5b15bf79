package catalog

import (
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
type Catalog struct{}

// New checks a catalog against the ownership policy and indexes it. Errors
// among the problems refuse it; then the Catalog is nil.
func New(*config.Catalog) (*Catalog, config.Problems) { return nil, nil }

// Service finds a service by name or alias; nil if there is none.
func (c *Catalog) Service(name string) *Service { return nil }

// Team finds a team by name or alias; nil if there is none.
func (c *Catalog) Team(name string) *Team { return nil }

// Person finds a person by handle; nil if there is none.
func (c *Catalog) Person(handle string) *Person { return nil }

// Services are all services, by name.
func (c *Catalog) Services() []*Service { return nil }

// Teams are all teams, by name.
func (c *Catalog) Teams() []*Team { return nil }

// People are all people, by handle.
func (c *Catalog) People() []*Person { return nil }

// Person is a member of teams.
type Person struct {
	Handle, Email, Slack string
	Timezone             *time.Location // never nil
	Contact              []string       // as written, or slack and email; never empty
	Pos                  config.Pos
}

// Team owns services.
type Team struct {
	Name                    string
	Kind                    config.TeamKind
	Members                 []*Person
	Lead, Manager, Director *Person          // nil if none
	Schedule                *oncall.Schedule // nil: the whole team is on call
	SlackChannel            string
	SlackUsergroup          string
	Email                   string
	Webhooks                []string
	Pos                     config.Pos
}

// Service is the unit of ownership.
type Service struct {
	Name         string
	State        config.State
	Tier         int
	Owners       map[config.Role]*Team // filled roles
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
}
