package catalog

import "callchain/config"

// Need is what the ownership policy says about a role in a state.
type Need int

// The needs.
const (
	NotApplicable Need = iota // an owner there is an error
	Optional                  // used when it is filled
	Required                  // missing when it is not filled
)

func (n Need) String() string {
	return [...]string{"n/a", "optional", "required"}[n]
}

// requirements is the ownership policy's table; roles that are not listed are
// n/a. In maintenance the contingency role may be held vacant by a director, and
// product management is never missing: it falls to the contingency team's
// manager or to that director. An unowned service requires nothing, but what it
// has is used.
var requirements = map[config.State]map[config.Role]Need{
	config.Active: {
		config.Development:             Required,
		config.ConfigurationDeployment: Required,
		config.IncidentResponse:        Required,
		config.ProductManagement:       Required,
	},
	config.Community: {
		config.ContingencyDevelopment:  Required,
		config.ConfigurationDeployment: Required,
		config.IncidentResponse:        Required,
		config.ProductManagement:       Required,
	},
	config.Maintenance: {
		config.ContingencyDevelopment:  Required,
		config.ConfigurationDeployment: Required,
		config.IncidentResponse:        Required,
		config.ProductManagement:       Optional,
	},
	config.ThirdParty: {
		config.Development:             Optional,
		config.ContingencyDevelopment:  Optional,
		config.ConfigurationDeployment: Required,
		config.IncidentResponse:        Required,
		config.ProductManagement:       Optional,
	},
	config.Unowned: {
		config.Development:             Optional,
		config.ContingencyDevelopment:  Optional,
		config.ConfigurationDeployment: Optional,
		config.IncidentResponse:        Optional,
		config.ProductManagement:       Optional,
	},
	config.Decommissioned: {},
}

// Requirement tells whether a state asks for a role.
func Requirement(s config.State, r config.Role) Need { return requirements[s][r] }

// wanted tells whether a role counts as missing when it is not filled. An
// unowned service lacks what maintenance, the nearest owned state, would ask for.
func wanted(s config.State, r config.Role) bool {
	if s == config.Unowned {
		s = config.Maintenance
	}
	return Requirement(s, r) == Required
}

// assess fills in Assessment and MissingRoles.
func (s *Service) assess() {
	s.MissingRoles = []config.Role{}
	filled := 0
	for _, r := range config.Roles {
		switch {
		case !wanted(s.State, r):
		case s.Filled(r):
			filled++
		default:
			s.MissingRoles = append(s.MissingRoles, r)
		}
	}
	switch {
	case s.State == config.Decommissioned:
		s.Assessment = Decommissioned
	case s.State == config.Unowned || filled == 0:
		s.Assessment = Unowned
	case len(s.MissingRoles) > 0:
		s.Assessment = Partial
	default:
		s.Assessment = Owned
	}
}

// Filled tells whether a role has an owner, or is properly held vacant.
func (s *Service) Filled(r config.Role) bool {
	return s.Owners[r] != nil || r == config.ContingencyDevelopment && s.VacancyHeld != nil
}

// Owner is the team that answers in a role: the owner, or in a third-party
// service without a contingency team the configuration_deployment owner. Nil if
// there is none.
func (s *Service) Owner(r config.Role) *Team {
	if t := s.Owners[r]; t != nil {
		return t
	}
	if r == config.ContingencyDevelopment && s.State == config.ThirdParty {
		return s.Owners[config.ConfigurationDeployment]
	}
	return nil
}

// ProductManager is who answers for the product in person: the product
// management owner's manager; in maintenance without such an owner the manager of
// the contingency team, or the director who holds that role vacant. Nil if nobody.
func (s *Service) ProductManager() *Person {
	if t := s.Owners[config.ProductManagement]; t != nil {
		return t.Manager
	}
	if s.State != config.Maintenance {
		return nil
	}
	if t := s.Owners[config.ContingencyDevelopment]; t != nil {
		return t.Manager
	}
	return s.VacancyHeld
}
