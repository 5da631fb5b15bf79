package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// chains looks at whom an alert of each service would reach over the next 28
// days. The fallback team is left out of what a service's own chain is: it stands
// in for everybody, and knows each service no better than anybody does.
func (l *linter) chains() {
	policies := []config.Policy{}
	var fallback *catalog.Team
	if c := l.in.Config; c != nil {
		policies = c.Escalation.Policies
		fallback = l.cat.Team(c.Routing.FallbackTeam.V)
		l.hasty(policies)
	}
	look := chainLook{
		linter:   l,
		own:      routing.NewPlans(l.cat, policies, nil),
		whole:    routing.NewPlans(l.cat, policies, fallback),
		spans:    map[string][]time.Time{},
		fallback: fallback,
		known:    map[string]*reach{},
		zones:    map[string]*time.Location{},
	}
	for _, p := range l.raw.People {
		if p.Timezone.Set() && p.Timezone.V != nil {
			look.zones[p.Name.V] = p.Timezone.V
		}
	}
	for _, s := range l.cat.Services() {
		if s.State != config.Decommissioned && slices.Contains(config.States, s.State) {
			look.service(s)
		}
	}
}

// hasty warns of steps that hardly give anybody the time to find their phone.
func (l *linter) hasty(policies []config.Policy) {
	for _, p := range policies {
		for _, s := range p.Steps {
			check := func(d config.At[config.Duration]) {
				if d.Set() && d.V > 0 && time.Duration(d.V) < time.Minute {
					l.add(CodeHasty, d.Pos, "policy %s gives %s %s to answer, so the next step is woken before anybody can; allow a minute at least", p.Name.V, s.Notify.V, time.Duration(d.V))
				}
			}
			check(s.AckWithin.All)
			for _, u := range config.Urgencies {
				check(s.AckWithin.By[u])
			}
		}
	}
}

// chainLook carries the look at all chains. Services with the same owners, state
// and policy have the same chain, which is looked at once.
type chainLook struct {
	*linter
	own, whole routing.Plans
	fallback   *catalog.Team
	spans      map[string][]time.Time // a schedule's changes, by its name
	known      map[string]*reach
	zones      map[string]*time.Location // of the people who say where they are
}

// reach is whom a chain reaches over the next 28 days.
type reach struct {
	single   string    // who is alone in it at some time; "" if nobody ever is
	since    time.Time // the first time
	until    time.Time
	always   bool
	urgency  config.Urgency  // of the two that wake people; "" for both
	nobody   bool            // at some time its own steps reach nobody
	deaf     bool            // at some time no channel reaches anybody of the whole chain
	everyone map[string]bool // of the whole chain, at any time and urgency
	rota     bool            // a schedule says who is to wake up
}

func (k *chainLook) service(s *catalog.Service) {
	r := k.reach(s)
	pos := at(s.Entry.Name, s.Entry.Pos)
	volunteers := slices.ContainsFunc(s.Volunteers, func(t *catalog.Team) bool { return len(t.Members) > 0 })
	switch {
	case r.deaf && k.in.Config != nil && k.fallbackAnswers():
		k.add(CodeNobody, pos, "an alert of service %s would page nobody: no channel that callchain.yml configures (%s) reaches anybody in its chain; give those people %s, or add a step {notify: fallback} to its policy",
			s.Name, k.channels(), k.address())
	case r.nobody && volunteers:
		k.add(CodeVolunteerOnly, pos, "an alert of service %s reaches nobody but volunteers, who are told but never waited for, so nobody has to answer; name a staff or affiliate team under owners", s.Name)
	case r.nobody && k.in.Config == nil && !k.wrongly(s.Entry.Owners):
		k.add(CodeNobodyOwn, pos, "an alert of service %s reaches nobody but the fallback team; name a team with members under owners, as incident_response at least", s.Name)
	case r.nobody && k.in.Config != nil && !r.deaf && len(s.OwningTeams()) > 0:
		k.add(CodeNobodyOwn, pos, "an alert of service %s reaches nobody but the fallback team, although it has owners (%s); give their people %s, or the service a policy that asks them",
			s.Name, some(teamNames(s.OwningTeams())), k.address())
	}
	if r.single != "" {
		when := "however long one waits"
		if !r.always {
			when = "from " + clock(r.since) + " to " + clock(r.until)
		}
		worst := ""
		if r.urgency != "" {
			worst = "at urgency " + string(r.urgency) + " "
		}
		k.add(CodeSinglePerson, pos, "service %s rests on %s alone: %sno step of its chain reaches anybody else%s, %s; add a second member to the owning team, or give it an engineering manager",
			s.Name, r.single, worst, k.butFallback(), when)
	}
	if s.Tier <= 2 && !r.rota {
		k.asleep(s, r, pos)
	}
}

// wrongly tells whether an owner was told to be wrong: then that the chain is
// empty only follows from it.
func (l *linter) wrongly(o config.Owners) bool {
	places := []config.Pos{o.Pos, o.All.Pos}
	for _, r := range o.Roles {
		places = append(places, r.Pos, r.Team.Pos)
		if v := r.Vacant; v != nil {
			places = append(places, v.Pos, v.Director.Pos)
		}
	}
	return slices.ContainsFunc(places, func(p config.Pos) bool { return l.misowned[p] })
}

func teamNames(teams []*catalog.Team) []string {
	var names []string
	for _, t := range teams {
		names = append(names, t.Name)
	}
	return names
}

func (k *chainLook) butFallback() string {
	if k.fallback == nil {
		return ""
	}
	return " but the fallback team"
}

func (k *chainLook) fallbackAnswers() bool { return k.fallback != nil && k.fallback.MayOwn() }

// reach looks at a chain at every instant at which one of its schedules changes.
func (k *chainLook) reach(s *catalog.Service) *reach {
	var id strings.Builder
	fmt.Fprintf(&id, "%s|%s|%v", s.State, s.Policy, s.VacancyHeld != nil)
	if s.VacancyHeld != nil {
		id.WriteString(s.VacancyHeld.Handle)
	}
	for _, role := range config.Roles {
		id.WriteByte('|')
		if t := s.Owners[role]; t != nil {
			id.WriteString(t.Name)
		}
	}
	if r := k.known[id.String()]; r != nil {
		return r
	}
	r := &reach{everyone: map[string]bool{}, always: true}
	k.known[id.String()] = r

	teams := k.teams(s)
	r.rota = slices.ContainsFunc(teams, func(t *catalog.Team) bool { return t.Schedule != nil })
	if k.fallback != nil && !slices.Contains(teams, k.fallback) {
		teams = append(teams, k.fallback)
	}
	instants := k.instants(teams)
	seen := map[string]outcome{}
	for i, now := range instants {
		until := k.in.Now.Add(horizon)
		if i+1 < len(instants) {
			until = instants[i+1]
		}
		cover := k.cover(teams, now)
		o, ok := seen[cover]
		if !ok {
			o = k.at(s, now, r)
			seen[cover] = o
		}
		switch {
		case o.single == "":
			r.always = false
		case r.single == "":
			r.single, r.urgency, r.since, r.until = o.single, o.urgency, now, until
			r.always = r.always && i == 0
		case r.single == o.single && r.until.Equal(now):
			r.until = until
		case r.single != o.single:
			r.always = false
		}
	}
	return r
}

// outcome is what a chain is while the same people are on call.
type outcome struct {
	single  string
	urgency config.Urgency // "" for both
}

func (k *chainLook) at(s *catalog.Service, now time.Time, r *reach) outcome {
	var o outcome
	target := routing.Target{Service: s.Name, Subject: "service:" + s.Name}
	for _, u := range []config.Urgency{config.UnbreakNow, config.Page} {
		own := slices.DeleteFunc(members(k.own.Chain(target, u, now)), func(h string) bool { return !k.reaches(h) })
		r.nobody = r.nobody || len(own) == 0
		switch {
		case len(own) != 1:
		case own[0] == o.single:
			o.urgency = ""
		default:
			o = outcome{own[0], u}
		}
		all := own
		if k.fallback != nil {
			all = members(k.whole.Chain(target, u, now))
			r.deaf = r.deaf || !slices.ContainsFunc(all, k.reaches)
		}
		for _, h := range all {
			r.everyone[h] = true
		}
	}
	return o
}

func (k *chainLook) reaches(handle string) bool {
	p := k.cat.Person(handle)
	return p != nil && k.reachable(p)
}

// members are all people of a chain, each once.
func members(c routing.Chain) []string {
	var out []string
	for _, s := range c.Steps {
		for _, h := range s.People {
			if !slices.Contains(out, h) {
				out = append(out, h)
			}
		}
	}
	return out
}

// teams are those that steps of the service's chain may ask.
func (k *chainLook) teams(s *catalog.Service) []*catalog.Team {
	teams := s.OwningTeams()
	for _, step := range k.own.Policy(s.Policy).Steps {
		if kind, name, _ := strings.Cut(step.Notify.V, ":"); kind == "team" {
			if t := k.cat.Team(name); t != nil && !slices.Contains(teams, t) {
				teams = append(teams, t)
			}
		}
	}
	return teams
}

// instants are now and all times at which somebody of the teams' schedules takes
// over, in the next 28 days.
func (k *chainLook) instants(teams []*catalog.Team) []time.Time {
	all := []time.Time{k.in.Now}
	for _, t := range teams {
		if t.Schedule == nil {
			continue
		}
		name := t.Schedule.Name()
		changes, ok := k.spans[name]
		if !ok {
			for _, iv := range t.Schedule.Cover(k.in.Now, k.in.Now.Add(horizon)) {
				changes = append(changes, iv.From)
			}
			k.spans[name] = changes
		}
		all = append(all, changes...)
	}
	slices.SortFunc(all, time.Time.Compare)
	return slices.CompactFunc(all, time.Time.Equal)
}

// cover is the same text while the same people are on call.
func (k *chainLook) cover(teams []*catalog.Team, now time.Time) string {
	var b strings.Builder
	for _, t := range teams {
		if t.Schedule != nil {
			b.WriteString(strings.Join(t.Schedule.OnCall(now), ","))
		}
		b.WriteByte('|')
	}
	return b.String()
}

// The hours in which people are taken to sleep, by their own clocks.
const (
	asleepFrom = 22 * 60
	asleepTo   = 7 * 60
)

// asleep finds an hour at which everybody of a chain sleeps. It is told of the
// two worst tiers only, and not where a schedule says whose night it is: there
// somebody has agreed to be woken. Who does not say in which zone they live may
// be awake.
func (k *chainLook) asleep(s *catalog.Service, r *reach, pos config.Pos) {
	if len(r.everyone) == 0 {
		return
	}
	var zones []*time.Location
	for h := range r.everyone {
		zone := k.zones[h]
		if zone == nil {
			return
		}
		zones = append(zones, zone)
	}
	const step = 30 * time.Minute
	day := k.in.Now.UTC().Truncate(24 * time.Hour)
	night := func(i int) bool { // everybody's, in the i-th half hour of the day
		return !slices.ContainsFunc(zones, func(z *time.Location) bool {
			local := day.Add(time.Duration(i%48) * step).In(z)
			minute := local.Hour()*60 + local.Minute()
			return asleepTo <= minute && minute < asleepFrom
		})
	}
	asked := "the owning team"
	if t := s.Owner(config.IncidentResponse); t != nil {
		asked = "team " + t.Name
	}
	for i := range 48 {
		if night(i) || !night(i+1) {
			continue
		}
		end := i + 1
		for night(end) {
			end++
		}
		clock := func(i int) string { return day.Add(time.Duration(i) * step).Format("15:04") }
		k.add(CodeAsleep, cmp.Or(s.Entry.Tier.Pos, pos), "service %s is tier %d, but from %s to %s UTC everybody in its chain sleeps (it is between 22:00 and 07:00 for all of them) and no schedule says who is to wake up; give %s on_call: SCHEDULE, or add somebody in another time zone",
			s.Name, s.Tier, clock(i+1), clock(end), asked)
		return
	}
}
