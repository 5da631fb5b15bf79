package lint

import (
	"slices"
	"strings"

	"callchain/config"
	"callchain/routing/catalog"
)

// people looks at people and teams that nobody uses or that lack somebody.
func (l *linter) people() {
	teams, persons := l.used()
	owning := map[*catalog.Team][]string{}
	for _, s := range l.cat.Services() {
		for _, t := range s.OwningTeams() {
			owning[t] = append(owning[t], s.Name)
		}
	}
	seen := map[*catalog.Team]bool{}
	for _, t := range l.raw.Teams {
		team := l.cat.Team(t.Name.V)
		if team == nil || seen[team] {
			continue
		}
		seen[team] = true
		pos := at(t.Name, t.Pos)
		if services := owning[team]; len(services) > 0 && t.Manager.V == "" {
			l.add(CodeNoManager, pos, "team %s owns %s but names no engineering manager, so an alert that its people do not answer has one step less to go to; add manager: PERSON",
				t.Name.V, some(services))
		}
		if !teams[team] {
			if !team.MayOwn() {
				l.add(CodeUnusedTeam, pos, "no service lists the volunteer team %s, so it is told of nothing; list it under a service's volunteers, or remove it", t.Name.V)
			} else if l.in.Config == nil {
				l.add(CodeUnusedTeam, pos, "team %s owns no service and nothing in these files names it; give it what it owns, or remove it. If callchain.yml names it (as fallback team, in rules or policies), give --config.file too", t.Name.V)
			} else {
				l.add(CodeUnusedTeam, pos, "team %s owns no service and nothing names it; give it what it owns, or remove it", t.Name.V)
			}
		}
	}
	done := map[string]bool{}
	for _, p := range l.raw.People {
		if p.Name.V == "" || done[p.Name.V] {
			continue
		}
		done[p.Name.V] = true
		person := l.cat.Person(p.Name.V)
		switch {
		case person == nil:
		case !persons[p.Name.V]:
			l.add(CodeUnusedPerson, at(p.Name, p.Pos), "%s is in no team and no schedule, and nothing else names them; add them to their team, or remove them if they have left", p.Name.V)
		case l.in.Config != nil && !l.reachable(person) && (p.Email.V != "" || p.Slack.V != "" || hasWebhook(person)):
			l.add(CodeNoChannel, at(p.Name, p.Pos), "no channel that callchain.yml configures (%s) reaches %s; add %s, or configure the channel that does", l.channels(), p.Name.V, l.address())
		}
	}
}

// used are the teams that something names, and the people.
func (l *linter) used() (teams map[*catalog.Team]bool, people map[string]bool) {
	teams, people = map[*catalog.Team]bool{}, map[string]bool{}
	team := func(name string) {
		if t := l.cat.Team(name); t != nil {
			teams[t] = true
		}
	}
	for _, s := range l.raw.Services {
		team(s.Owners.All.V)
		for _, o := range s.Owners.Roles {
			team(o.Team.V)
			if o.Vacant != nil {
				people[o.Vacant.Director.V] = true
			}
		}
		for _, v := range s.Volunteers {
			team(v.V)
		}
	}
	for _, t := range l.raw.Teams {
		for _, m := range t.Members {
			people[m.V] = true
		}
		people[t.Lead.V], people[t.Manager.V], people[t.Director.V] = true, true, true
	}
	for _, s := range l.raw.Schedules {
		for _, r := range s.Rotations {
			for _, turn := range r.Members {
				for _, m := range turn {
					people[m.V] = true
				}
			}
		}
		for _, sh := range s.Shifts {
			for _, m := range sh.Members {
				people[m.V] = true
			}
		}
		for _, o := range s.Overrides {
			people[o.Member.V] = true
		}
	}
	if c := l.in.Config; c != nil {
		team(c.Routing.FallbackTeam.V)
		team(c.Self.Team.V)
		for _, h := range c.Alertmanager.Heartbeats {
			team(h.Team.V)
		}
		for _, r := range c.Routing.Rules {
			team(r.Team.V)
		}
		for _, p := range c.Escalation.Policies {
			for _, s := range p.Steps {
				kind, name, _ := strings.Cut(s.Notify.V, ":")
				switch kind {
				case "team":
					team(name)
				case "person":
					people[name] = true
				}
			}
		}
	}
	return teams, people
}

// reachable tells whether a channel reaches the person: Slack also finds people
// by their e-mail address, mail needs one. Without a configuration, or without a
// channel in it, an address of any kind will do.
func (l *linter) reachable(p *catalog.Person) bool {
	n := config.Notifiers{}
	if l.in.Config != nil {
		n = l.in.Config.Notifiers
	}
	if n.Slack == nil && n.Email == nil {
		return p.Email != "" || p.Slack != "" || hasWebhook(p)
	}
	return p.Email != "" || n.Slack != nil && p.Slack != ""
}

func hasWebhook(p *catalog.Person) bool {
	return slices.ContainsFunc(p.Contact, func(c string) bool { return strings.HasPrefix(c, "webhook:") })
}

func (l *linter) channels() string {
	n := l.in.Config.Notifiers
	switch {
	case n.Slack == nil && n.Email == nil:
		return "none"
	case n.Slack == nil:
		return "email"
	case n.Email == nil:
		return "slack"
	}
	return "slack and email"
}

func (l *linter) address() string {
	if l.in.Config.Notifiers.Slack == nil {
		return "their email"
	}
	return "their email or slack"
}

// some are a few of many names.
func some(names []string) string {
	const most = 3
	if len(names) > most {
		names = append(slices.Clone(names[:most]), "...")
	}
	return strings.Join(names, ", ")
}
