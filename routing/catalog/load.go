package catalog

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing/oncall"
)

// New checks a catalog against the ownership policy and indexes it. Errors
// among the problems refuse it; then the Catalog is nil.
func New(in *config.Catalog) (*Catalog, config.Problems) {
	c, ps := Readable(in)
	if ps.Err() != nil {
		return nil, ps
	}
	return c, ps
}

// Readable is New for those who only look: what could be made of the catalog is
// there also when errors refuse it. Of two entries with one name it has the first,
// what may not own fills no role, and a service whose state is none has neither
// owners nor an assessment. Nobody may be paged by it.
func Readable(in *config.Catalog) (*Catalog, config.Problems) {
	if in == nil {
		in = &config.Catalog{}
	}
	l := loader{c: &Catalog{
		services: map[string]*Service{}, teams: map[string]*Team{},
		people: map[string]*Person{}, schedules: map[string]*oncall.Schedule{},
		bySlack: map[string]*Person{}, byEmail: map[string]*Person{}, teamsOf: map[string][]*Team{},
	}, lame: map[string]bool{}}
	// Each kind needs the kinds before it.
	l.loadPeople(in.People)
	l.loadSchedules(in.Schedules)
	l.loadTeams(in.Teams)
	l.loadServices(in.Services)
	l.ps.Sort()
	l.c.index()
	return l.c, l.ps
}

type loader struct {
	c    *Catalog
	ps   config.Problems
	lame map[string]bool // schedules that name people the catalog lacks
}

// person is what to do about a handle that the catalog lacks.
func (l *loader) person(handle string) string {
	return config.Meant("add the person or correct the name", handle, names(l.c.people))
}

// team is what to do about a team that the catalog lacks.
func (l *loader) team(name string) string {
	return config.Meant("add the team or correct the name", name, names(l.c.teams))
}

// names are those of one kind, in an order that does not change.
func names[T any](of map[string]T) []string { return slices.Sorted(maps.Keys(of)) }

// namespace keeps the names of one kind, and where each was first given.
type namespace struct {
	kind  string
	given map[string]config.Pos
}

// claim checks a name or alias. It tells whether the name is the entry's now.
func (l *loader) claim(ns namespace, name config.At[string], pos config.Pos) bool {
	at := place(name, pos)
	if name.V == "" {
		l.ps.Errorc(config.CodeMissing, at, "%s has no name; add a unique name", ns.kind)
		return false
	}
	if first, taken := ns.given[name.V]; taken {
		l.ps.Errorc(CodeName, at, "%s %q is already named at %s; names and aliases are unique, so rename or remove one of the two", ns.kind, name.V, first)
		return false
	}
	ns.given[name.V] = at
	return true
}

// place is the value's own place, or that of the entry around it.
func place[T any](v config.At[T], around config.Pos) config.Pos {
	if v.Set() {
		return v.Pos
	}
	return around
}

func plain(list []config.At[string]) []string {
	var out []string
	for _, v := range list {
		out = append(out, v.V)
	}
	return out
}

func (l *loader) loadPeople(in []config.Person) {
	ns := namespace{"person", map[string]config.Pos{}}
	slack, email := map[string]string{}, map[string]string{}
	for _, p := range in {
		ok := l.claim(ns, p.Name, p.Pos)
		webhook := slices.ContainsFunc(p.Contact, func(c config.At[string]) bool { return strings.HasPrefix(c.V, "webhook:") })
		if p.Email.V == "" && p.Slack.V == "" && !webhook {
			l.ps.Errorc(config.CodeMissing, place(p.Name, p.Pos), "person %s has neither email nor slack, so no page could reach them; add one of the two", p.Name.V)
		}
		l.shared(slack, "Slack id", p.Slack, p.Slack.V, p.Name.V)
		l.shared(email, "e-mail address", p.Email, strings.ToLower(p.Email.V), p.Name.V)
		if !ok {
			continue
		}
		person := &Person{
			Handle: p.Name.V, Email: p.Email.V, Slack: p.Slack.V, Phone: p.Phone.V,
			Timezone: p.Timezone.V, Contact: plain(p.Contact), Pos: place(p.Name, p.Pos),
		}
		if person.Timezone == nil {
			person.Timezone = time.UTC
		}
		if len(person.Contact) == 0 {
			person.Contact = []string{"slack", "email"}
		}
		l.c.people[person.Handle] = person
	}
}

// shared warns of two people behind one address: an answer from there could be
// either's.
func (l *loader) shared(seen map[string]string, what string, at config.At[string], key, handle string) {
	if key == "" {
		return
	}
	if first, taken := seen[key]; taken {
		l.ps.Warnc(CodeShared, at.Pos, "%s and %s share the %s %s, so an answer counts as that of the first by name; give each their own", first, handle, what, at.V)
		return
	}
	seen[key] = handle
}

func (l *loader) loadSchedules(in []config.Schedule) {
	ns := namespace{"schedule", map[string]config.Pos{}}
	for _, s := range in {
		if !l.claim(ns, s.Name, s.Pos) {
			continue
		}
		check := func(who config.At[string], around config.Pos) {
			if who.V != "" && l.c.people[who.V] == nil {
				l.lame[s.Name.V] = true
				l.ps.Warnc(CodePerson, place(who, around), "schedule %s names %q, whom the catalog lacks, so nobody is on call in their place; %s", s.Name.V, who.V, l.person(who.V))
			}
		}
		for _, r := range s.Rotations {
			for _, turn := range r.Members {
				for _, who := range turn {
					check(who, r.Pos)
				}
			}
		}
		for _, sh := range s.Shifts {
			for _, who := range sh.Members {
				check(who, sh.Pos)
			}
		}
		for _, o := range s.Overrides {
			check(o.Member, o.Pos)
		}
		l.c.schedules[s.Name.V] = oncall.New(s)
	}
}

func (l *loader) loadTeams(in []config.Team) {
	ns := namespace{"team", map[string]config.Pos{}}
	for _, t := range in {
		pos := place(t.Name, t.Pos)
		team := &Team{
			Name: t.Name.V, Kind: cmp.Or(t.Kind.V, config.Staff), Aliases: plain(t.Aliases),
			SlackChannel: t.SlackChannel.V, SlackUsergroup: t.SlackUsergroup.V, Email: t.Email.V,
			Webhooks: plain(t.Webhooks), Pos: pos,
		}
		if l.claim(ns, t.Name, t.Pos) {
			l.c.teams[t.Name.V] = team
		}
		for _, a := range t.Aliases {
			if l.claim(ns, a, pos) {
				l.c.teams[a.V] = team
			}
		}
		switch team.Kind {
		case config.Staff, config.Affiliate, config.Volunteer:
		default:
			l.ps.Errorc(config.CodeValue, place(t.Kind, pos), "team %s has the unknown kind %q; want staff, affiliate or volunteer", team.Name, team.Kind)
		}
		person := func(what string, who config.At[string]) *Person {
			if who.V == "" {
				return nil
			}
			p := l.c.people[who.V]
			if p == nil {
				team.MissingReference = true
				l.ps.Warnc(CodePerson, place(who, pos), "team %s: %s %q is not in the catalog and is left out; %s", team.Name, what, who.V, l.person(who.V))
			}
			return p
		}
		for _, m := range t.Members {
			if p := person("member", m); p != nil && !slices.Contains(team.Members, p) {
				team.Members = append(team.Members, p)
			}
		}
		team.Lead = person("lead", t.Lead)
		team.Manager = person("manager", t.Manager)
		team.Director = person("director", t.Director)
		if name := t.OnCall.V; name != "" {
			team.Schedule = l.c.schedules[name]
			if team.Schedule == nil {
				team.MissingReference = true
				l.ps.Warnc(CodeSchedule, place(t.OnCall, pos), "team %s: schedule %q is not in the catalog, so the whole team is on call; %s", team.Name, name, config.Meant("add the schedule or correct the name", name, names(l.c.schedules)))
			}
			team.MissingReference = team.MissingReference || l.lame[name]
		}
	}
}

func (l *loader) loadServices(in []config.Service) {
	ns := namespace{"service", map[string]config.Pos{}}
	for i := range in {
		s := &in[i]
		pos := place(s.Name, s.Pos)
		svc := &Service{
			Name: s.Name.V, Aliases: plain(s.Aliases), State: s.State.V, Tier: cmp.Or(s.Tier.V, 4),
			Owners: map[config.Role]*Team{}, Policy: s.Policy.V, Alerts: s.Alerts,
			Runbook: s.Runbook.V, Dashboard: s.Dashboard.V, Pos: pos, Entry: s,
		}
		if l.claim(ns, s.Name, s.Pos) {
			l.c.services[s.Name.V] = svc
		}
		for _, a := range s.Aliases {
			if l.claim(ns, a, pos) {
				l.c.services[a.V] = svc
			}
		}
		if !slices.Contains(config.States, svc.State) {
			if svc.State == "" {
				l.ps.Errorc(config.CodeMissing, place(s.State, cmp.Or(s.Pos, pos)), "service %s has no state; add state: active, community, maintenance, third_party, unowned or decommissioned", svc.Name)
			} else {
				l.ps.Errorc(config.CodeValue, place(s.State, pos), "service %s has the unknown state %q; want active, community, maintenance, third_party, unowned or decommissioned", svc.Name, svc.State)
			}
			continue // nothing can be said about its roles
		}
		l.owners(svc, s, pos)
		l.volunteers(svc, s, pos)
		svc.assess()
	}
}

func (l *loader) owners(svc *Service, s *config.Service, pos config.Pos) {
	around := pos
	if s.Owners.Pos.Line != 0 {
		around = s.Owners.Pos
	}
	given := map[config.Role]bool{}
	if s.Owners.All.V != "" {
		if svc.State == config.Decommissioned {
			l.ps.Errorc(CodeNotApplicable, place(s.Owners.All, around), "service %s is decommissioned, where every role is n/a; remove its owners", svc.Name)
			return
		}
		team, ok := l.owner(svc, "every role", s.Owners.All, around)
		for _, r := range config.Roles {
			if Requirement(svc.State, r) != NotApplicable {
				given[r] = ok
				if team != nil {
					svc.Owners[r] = team
				}
			}
		}
		if !ok {
			return
		}
	}
	for _, r := range config.Roles {
		o, written := s.Owners.Roles[r]
		if !written {
			continue
		}
		given[r] = true
		at := around
		if o.Pos.Line != 0 {
			at = o.Pos
		}
		if Requirement(svc.State, r) == NotApplicable {
			l.ps.Errorc(CodeNotApplicable, at, "service %s: %s is n/a in state %s; %s", svc.Name, r, svc.State, applicable(svc.State))
			continue
		}
		if o.Vacant != nil {
			l.vacancy(svc, r, o.Vacant, at)
			continue
		}
		if team, _ := l.owner(svc, string(r), o.Team, at); team != nil {
			svc.Owners[r] = team
		}
	}
	for _, r := range config.Roles {
		if !given[r] && Requirement(svc.State, r) == Required {
			l.ps.Warnc(CodeUnfilled, around, "service %s is %s and has no %s owner, so planning treats it as unowned; name a staff or affiliate team", svc.Name, svc.State, r)
		}
	}
}

// applicable says which roles may be written instead.
func applicable(s config.State) string {
	var roles []string
	for _, r := range config.Roles {
		if Requirement(s, r) != NotApplicable {
			roles = append(roles, string(r))
		}
	}
	if len(roles) == 0 {
		return "remove it, or correct the state"
	}
	return "remove it, or use " + strings.Join(roles, ", ")
}

// owner resolves the name of an owner. A nil team leaves the role unfilled; ok
// tells whether the name itself was legal.
func (l *loader) owner(svc *Service, role string, name config.At[string], around config.Pos) (team *Team, ok bool) {
	at := place(name, around)
	team = l.c.teams[name.V]
	switch {
	case name.V == "":
		l.ps.Errorc(config.CodeMissing, at, "service %s: %s names no team; name a staff or affiliate team, or remove the role", svc.Name, role)
		return nil, false
	case team == nil && l.c.people[name.V] != nil:
		l.ps.Errorc(CodePersonOwns, at, "service %s: %s is owned by the person %s; people never own, so name one of their teams", svc.Name, role, name.V)
		return nil, false
	case team == nil:
		svc.MissingReference = true
		l.ps.Warnc(CodeOwner, at, "service %s: %s names team %q, which the catalog lacks, so the role is unfilled; %s", svc.Name, role, name.V, l.team(name.V))
		return nil, true
	case !team.MayOwn():
		l.ps.Errorc(CodeVolunteerOwns, at, "service %s: %s is owned by the volunteer team %s; volunteers never own, so name a staff or affiliate team and list them under volunteers", svc.Name, role, team.Name)
		return nil, false
	case len(team.Members) == 0:
		svc.MissingReference = svc.MissingReference || team.MissingReference
		l.ps.Warnc(CodeEmptyTeam, at, "service %s: %s is owned by %s, a team without members, so the role is unfilled; add members or name another team", svc.Name, role, team.Name)
		return nil, true
	}
	return team, true
}

// vacancy checks a role that is held vacant.
func (l *loader) vacancy(svc *Service, r config.Role, v *config.Vacancy, around config.Pos) {
	at := around
	if v.Pos.Line != 0 {
		at = v.Pos
	}
	switch {
	case !v.Vacant.V:
		l.ps.Errorc(CodeVacancy, at, "service %s: %s is neither a team nor vacant; name a team, or write vacant: true", svc.Name, r)
		return
	case svc.State != config.Maintenance || r != config.ContingencyDevelopment:
		l.ps.Errorc(CodeVacancy, at, "service %s: %s cannot be held vacant in state %s; only contingency_development in maintenance can, so name a team or leave the role out", svc.Name, r, svc.State)
		return
	case v.Director.V == "":
		l.ps.Errorc(CodeVacancyUnheld, at, "service %s: the vacancy of %s names no director; add director: the person who holds it", svc.Name, r)
	}
	if v.Reason.V == "" {
		l.ps.Errorc(CodeVacancyUnheld, at, "service %s: the vacancy of %s gives no reason; add reason: why nobody fills it", svc.Name, r)
	}
	if v.Director.V == "" {
		return
	}
	svc.VacancyHeld = l.c.people[v.Director.V]
	if svc.VacancyHeld == nil {
		svc.MissingReference = true
		l.ps.Warnc(CodeVacancyUnheld, place(v.Director, at), "service %s: director %q, who holds %s vacant, is not in the catalog, so the role is unfilled; %s", svc.Name, v.Director.V, r, l.person(v.Director.V))
	}
}

func (l *loader) volunteers(svc *Service, s *config.Service, pos config.Pos) {
	for _, v := range s.Volunteers {
		team := l.c.teams[v.V]
		if team == nil {
			svc.MissingReference = true
			l.ps.Warnc(CodeVolunteers, place(v, pos), "service %s: the volunteers %q are not a team of the catalog and are not told; %s", svc.Name, v.V, l.team(v.V))
			continue
		}
		if !slices.Contains(svc.Volunteers, team) {
			svc.Volunteers = append(svc.Volunteers, team)
		}
	}
}
