package report

import (
	"slices"
	"strings"

	"callchain/config"
	"callchain/routing/catalog"
)

// Advice is what the ownership policy would have a service do: one or more ways
// out, the usual one first. The zero Advice: it may stay as it is.
type Advice struct {
	Text    string   `json:"text"`
	Options []Option `json:"options"`
	Agree   []string `json:"agree"` // teams that hold a role now; new owners must agree as well
}

// Option is one way out.
type Option struct {
	To     config.State  `json:"to"`     // the state to move to; the present one: only fill roles
	Fill   []config.Role `json:"fill"`   // roles to fill for it
	Vacant bool          `json:"vacant"` // a director may hold contingency_development vacant instead of filling it
	Rare   bool          `json:"rare"`   // the policy takes it for unusual: it needs a reason
}

// Advise tells what the policy would have a service do that is not fully owned.
// A service never becomes unowned, and never leaves decommissioned: the policy
// knows no such transition.
func Advise(s *catalog.Service) Advice {
	a := Advice{Options: []Option{}, Agree: []string{}}
	if s.Assessment != catalog.Partial && s.Assessment != catalog.Unowned {
		return a
	}
	for _, t := range s.OwningTeams() {
		a.Agree = append(a.Agree, t.Name)
	}
	add := func(to config.State, rare bool) {
		o := Option{To: to, Fill: lacking(s, to), Rare: rare}
		o.Vacant = to == config.Maintenance && slices.Contains(o.Fill, config.ContingencyDevelopment)
		a.Options = append(a.Options, o)
	}
	switch s.State {
	case config.Active, config.Community:
		add(s.State, false)
		if eased(s.MissingRoles) {
			add(config.Maintenance, false)
		}
		if s.Assessment == catalog.Unowned {
			add(config.Decommissioned, true)
		}
	case config.Maintenance, config.ThirdParty:
		add(s.State, false)
		add(config.Decommissioned, false)
	case config.Unowned:
		add(config.Maintenance, false)
		add(config.Decommissioned, true)
	}
	a.Text = a.sentence(s.State)
	return a
}

// eased tells whether moving to maintenance helps: there a director may hold the
// developers' role vacant, and product management falls to a manager. The other
// roles it asks for as well.
func eased(missing []config.Role) bool {
	return slices.ContainsFunc(missing, func(r config.Role) bool {
		return r == config.Development || r == config.ContingencyDevelopment || r == config.ProductManagement
	})
}

// lacking are the roles that a state requires and the service has not filled.
func lacking(s *catalog.Service, in config.State) []config.Role {
	out := []config.Role{}
	for _, r := range config.Roles {
		if catalog.Requirement(in, r) == catalog.Required && !s.Filled(r) {
			out = append(out, r)
		}
	}
	return out
}

func (a Advice) sentence(now config.State) string {
	var ways []string
	for _, o := range a.Options {
		ways = append(ways, o.words(now))
	}
	text := strings.Join(ways, "; or ")
	if len(a.Agree) > 0 {
		return text + ". To agree: " + listed(a.Agree) + ", and whoever takes a role on."
	}
	return text + ". To agree: whoever takes a role on."
}

func (o Option) words(now config.State) string {
	fill := ""
	if len(o.Fill) > 0 {
		fill = "fill " + listed(roles(o.Fill))
		switch {
		case o.Vacant && len(o.Fill) == 1:
			fill += " (a director may hold it vacant, with a reason)"
		case o.Vacant:
			fill += " (a director may hold contingency development vacant, with a reason)"
		}
	}
	switch {
	case o.To == now:
		return fill
	case o.To == config.Decommissioned && o.Rare:
		return "decommission it, if nobody needs it (rare: say why)"
	case o.To == config.Decommissioned:
		return "decommission it"
	case fill == "":
		return "move to " + stateWord(o.To) + ", whose roles are all filled"
	}
	return "move to " + stateWord(o.To) + " and " + fill
}

// roles speaks of roles as people do.
func roles(in []config.Role) []string {
	var out []string
	for _, r := range in {
		out = append(out, strings.ReplaceAll(string(r), "_", " "))
	}
	return out
}

func stateWord(s config.State) string { return strings.ReplaceAll(string(s), "_", " ") }

// listed is "a", "a and b", "a, b and c".
func listed(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
