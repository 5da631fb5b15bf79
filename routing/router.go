package routing

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/timeinterval"

	"callchain/config"
	"callchain/routing/catalog"
)

// Router answers for one configuration and one catalog. It never changes and
// may be used by many goroutines at once. What an alert costs does not depend
// on the number of services, and hardly on the number of rules.
type Router struct {
	catalog  *catalog.Catalog
	policies map[string]*config.Policy // by name; always has "default"
	fallback *catalog.Team

	rules   []rule
	ruleIdx *index

	own    []ownSet // in the order in which they win
	ownIdx *index

	serviceLabels, teamLabels []string
	except                    *index
	exceptText                []string

	urgencies  []urgencyRule
	urgencyIdx *index

	confidential *index
}

// rule is a compiled routing rule; its matchers are in the index.
type rule struct {
	name    string
	service *name // nil: the rule names no service
	split   string
	team    string
	policy  string
}

// ownSet is one of a service's own matcher sets.
type ownSet struct {
	service *catalog.Service
	size    int
	text    string
}

// New compiles a router. Errors among the problems refuse the configuration;
// then the Router is nil. Warnings are lived with, and show at run time as
// risks of the alerts they concern.
func New(cfg *config.Config, cat *catalog.Catalog) (*Router, config.Problems) {
	r := &Router{catalog: cat, policies: map[string]*config.Policy{}}
	var ps config.Problems
	r.compilePolicies(cfg, &ps)
	r.compileFallback(cfg, &ps)
	r.compileRules(cfg.Routing.Rules, &ps)
	r.compileServices(&ps)
	r.compileUrgency(cfg, &ps)
	for _, l := range cfg.Routing.ServiceLabels {
		r.serviceLabels = append(r.serviceLabels, l.V)
	}
	for _, l := range cfg.Routing.TeamLabels {
		r.teamLabels = append(r.teamLabels, l.V)
	}
	r.except = indexOf(cfg.Routing.ServiceLabelsExcept)
	for _, set := range cfg.Routing.ServiceLabelsExcept {
		r.exceptText = append(r.exceptText, setText(set))
	}
	r.confidential = indexOf(cfg.Routing.Confidential)
	ps.Sort()
	if len(ps.Errors()) > 0 {
		return nil, ps
	}
	return r, ps
}

func indexOf(sets []config.MatcherSet) *index {
	compiled := make([]matcherSet, len(sets))
	for i, s := range sets {
		compiled[i] = compileSet(s)
	}
	return newIndex(compiled)
}

// setText is a matcher set as people write it.
func setText(set config.MatcherSet) string {
	parts := make([]string, len(set))
	for i, m := range set {
		parts[i] = m.V.String()
	}
	return strings.Join(parts, ", ")
}

func (r *Router) compilePolicies(cfg *config.Config, ps *config.Problems) {
	builtIn := config.DefaultPolicy()
	r.policies[config.DefaultPolicyName] = &builtIn
	for i := range cfg.Escalation.Policies {
		p := &cfg.Escalation.Policies[i]
		r.policies[p.Name.V] = p
		for _, s := range p.Steps {
			kind, who, named := strings.Cut(s.Notify.V, ":")
			switch {
			case named && kind == "team" && r.catalog.Team(who) == nil:
				ps.Warnc(CodeReference, s.Notify.Pos, "escalation.policies.steps.notify: the catalog has no team %q, so this step is skipped; %s", who, r.orTeam(who))
			case named && kind == "person" && r.catalog.Person(who) == nil:
				ps.Warnc(CodeReference, s.Notify.Pos, "escalation.policies.steps.notify: the catalog has no person %q, so this step is skipped; add the person or correct the name", who)
			}
		}
	}
}

// orTeam is what to do about a team that the catalog lacks.
func (r *Router) orTeam(name string) string {
	var names []string
	for _, t := range r.catalog.Teams() {
		names = append(append(names, t.Name), t.Aliases...)
	}
	return config.Meant("add the team or correct the name", name, names)
}

// orService is what to do about a service that the catalog lacks.
func (r *Router) orService(name string) string {
	var names []string
	for _, s := range r.catalog.Services() {
		names = append(append(names, s.Name), s.Aliases...)
	}
	return config.Meant("add the service or correct the name", name, names)
}

func (r *Router) compileFallback(cfg *config.Config, ps *config.Problems) {
	at := cfg.Routing.FallbackTeam
	r.fallback = r.catalog.Team(at.V)
	switch {
	case at.V == "":
		ps.Errorc(CodeFallback, cmp.Or(at.Pos, cfg.Routing.Pos), "routing.fallback_team is missing; name the team that is asked when nobody else is left")
	case r.fallback == nil:
		ps.Errorc(CodeFallback, at.Pos, "routing.fallback_team: the catalog has no team %q; %s", at.V, r.orTeam(at.V))
	case r.fallback.Kind == config.Volunteer:
		ps.Errorc(CodeFallback, at.Pos, "routing.fallback_team: %s is a team of volunteers, who are told but never waited for; name a staff team", r.fallback.Name)
	case !reachesSomebody(r.fallback, cfg.Notifiers):
		what := "an e-mail address or a Slack id"
		if cfg.Notifiers.Slack == nil {
			what = "an e-mail address"
		}
		ps.Errorc(CodeFallback, at.Pos, "routing.fallback_team: %s reaches nobody; give the team a member with %s", r.fallback.Name, what)
	}
	if t := cfg.Self.Team; t.Set() && r.catalog.Team(t.V) == nil {
		ps.Warnc(CodeReference, t.Pos, "self.team: the catalog has no team %q, the fallback team is told instead; %s", t.V, r.orTeam(t.V))
	}
	for _, h := range cfg.Alertmanager.Heartbeats {
		if h.Team.V != "" && r.catalog.Team(h.Team.V) == nil {
			ps.Warnc(CodeReference, h.Team.Pos, "alertmanager.heartbeats.team: the catalog has no team %q, the fallback team is paged instead; %s", h.Team.V, r.orTeam(h.Team.V))
		}
	}
}

// reachesSomebody tells whether a team has anybody whom a configured channel
// could reach: Slack also finds people by their e-mail address, mail needs one.
// Without any channel (a shadow's) an address of either kind will do.
func reachesSomebody(t *catalog.Team, n config.Notifiers) bool {
	people := t.Members
	if t.Lead != nil {
		people = append(slices.Clip(people), t.Lead)
	}
	bySlack := n.Slack != nil || n.Email == nil
	return slices.ContainsFunc(people, func(p *catalog.Person) bool {
		return p.Email != "" || bySlack && p.Slack != ""
	})
}

func (r *Router) compileRules(rules []config.Rule, ps *config.Problems) {
	sets := make([]config.MatcherSet, len(rules))
	for i, c := range rules {
		sets[i] = c.Match
		title := cmp.Or(c.Name.V, "#"+strconv.Itoa(i+1))
		out := rule{name: title, split: c.Split.V, team: c.Team.V, policy: c.Policy.V}
		if c.Service.V == "" && c.Team.V == "" && c.Policy.V == "" {
			ps.Errorc(config.CodeMissing, c.Pos, "routing.rules: rule %q decides nothing; give it a service, a team or a policy", title)
		}
		if c.Service.V != "" {
			n, err := compileName(c.Service.V, c.Match)
			if err != nil {
				ps.Errorc(config.CodeValue, cmp.Or(c.Service.Pos, c.Pos), "routing.rules.service: rule %q: want a name or a template like '{{ .svc }}', got %q: %v", title, c.Service.V, err)
			} else if n.literal() {
				for _, given := range splitNames(c.Service.V, out.split) {
					if r.catalog.Service(given) == nil {
						ps.Warnc(CodeYield, cmp.Or(c.Service.Pos, c.Pos), "routing.rules.service: rule %q names %q, which the catalog lacks; %s", title, given, r.orService(given))
					}
				}
			}
			out.service = n
		}
		if c.Team.V != "" && r.catalog.Team(c.Team.V) == nil {
			ps.Warnc(CodeReference, cmp.Or(c.Team.Pos, c.Pos), "routing.rules.team: rule %q names team %q, which the catalog lacks; %s", title, c.Team.V, r.orTeam(c.Team.V))
		}
		if c.Policy.V != "" && r.policies[c.Policy.V] == nil {
			ps.Warnc(CodePolicy, cmp.Or(c.Policy.Pos, c.Pos), "routing.rules.policy: rule %q names policy %q, which does not exist, so default is used; add it to escalation.policies or correct the name", title, c.Policy.V)
		}
		r.rules = append(r.rules, out)
	}
	r.ruleIdx = indexOf(sets)
}

// compileServices puts the services' own sets in the order in which they win:
// more matchers first, then by the service's name.
func (r *Router) compileServices(ps *config.Problems) {
	type entry struct {
		ownSet
		set config.MatcherSet
		key string
	}
	var all []entry
	for _, s := range r.catalog.Services() {
		if s.Policy != "" && r.policies[s.Policy] == nil {
			ps.Warnc(CodePolicy, s.Entry.Policy.Pos, "services.policy: service %s names policy %q, which does not exist, so default is used; add it to escalation.policies or correct the name", s.Name, s.Policy)
		}
		for _, set := range s.Alerts {
			if len(set) == 0 {
				ps.Warnc(config.CodeValue, s.Pos, "services.alerts: service %s has an empty list of matchers, which is passed over; it would take every alert", s.Name)
				continue
			}
			all = append(all, entry{ownSet{s, len(set), setText(set)}, set, setKey(set)})
		}
	}
	slices.SortStableFunc(all, func(a, b entry) int {
		return cmp.Or(b.size-a.size, strings.Compare(a.service.Name, b.service.Name))
	})
	seen := map[string]*catalog.Service{}
	sets := make([]config.MatcherSet, len(all))
	for i, e := range all {
		if first, ok := seen[e.key]; !ok {
			seen[e.key] = e.service
		} else if first != e.service {
			ps.Warnc(CodeTie, e.set[0].Pos, "services.alerts: services %s and %s claim the same alerts (%s), so %s gets them; remove them from one, or add a matcher", first.Name, e.service.Name, e.text, first.Name)
		}
		sets[i] = e.set
		r.own = append(r.own, e.ownSet)
	}
	r.ownIdx = indexOf(sets)
}

// setKey is the same for sets of the same matchers, in whatever order.
func setKey(set config.MatcherSet) string {
	parts := make([]string, len(set))
	for i, m := range set {
		parts[i] = m.V.String()
	}
	slices.Sort(parts)
	return strings.Join(parts, "\x00")
}

func (r *Router) compileUrgency(cfg *config.Config, ps *config.Problems) {
	named := map[string][]timeinterval.TimeInterval{}
	for _, ti := range cfg.TimeIntervals {
		named[ti.Name.V] = ti.Intervals
	}
	sets := make([]config.MatcherSet, len(cfg.Routing.Urgency))
	for i, u := range cfg.Routing.Urgency {
		sets[i] = u.Match
		out := urgencyRule{urgency: u.Urgency.V, always: len(u.ActiveTimeIntervals) == 0}
		for _, a := range u.ActiveTimeIntervals {
			if a.Inline != nil {
				out.active = append(out.active, *a.Inline)
				continue
			}
			intervals, ok := named[a.Name.V]
			if !ok {
				ps.Errorc(config.CodeValue, cmp.Or(a.Name.Pos, a.Pos, u.Pos), "routing.urgency.active_time_intervals: there is no time interval %q; add it to time_intervals or correct the name", a.Name.V)
			}
			out.active = append(out.active, intervals...)
		}
		r.urgencies = append(r.urgencies, out)
	}
	r.urgencyIdx = indexOf(sets)
}

// Route answers what an alert is about, how well that is owned, and what the
// alert may cost people at an instant. It always answers: what nothing decides
// is the fallback team's.
func (r *Router) Route(a Alert, now time.Time) Resolution {
	s := search{r: r, a: a}
	s.trace, s.risks = make([]string, 0, 8), []Risk{}
	s.run()
	res := Resolution{
		Target:       s.target,
		AlsoAffected: s.also,
		Assessment:   catalog.Unknown,
		MissingRoles: []config.Role{},
		MatchedBy:    s.matchedBy,
		Reason:       s.reason,
		Confidential: r.confidential.first(a) >= 0,
	}
	if svc := s.service; svc != nil {
		res.State = svc.State
		res.Assessment = svc.Assessment
		res.MissingRoles = append(res.MissingRoles, svc.MissingRoles...)
		switch svc.Assessment {
		case catalog.Unowned:
			s.risk(RiskUnowned)
		case catalog.Partial:
			s.risk(RiskPartial)
		case catalog.Decommissioned:
			s.risk(RiskDecommissioned)
		}
		if policy := cmp.Or(s.target.Policy, svc.Policy); svc.MissingReference || policy != "" && r.policies[policy] == nil {
			s.risk(RiskMissingReference)
		}
	} else {
		if s.target.Named != "" {
			s.risk(RiskUnknownService)
		} else {
			s.risk(RiskUnmapped)
		}
		if s.target.Policy != "" && r.policies[s.target.Policy] == nil {
			s.risk(RiskMissingReference)
		}
	}
	res.Urgency, res.ReviewAt = r.urgency(a, now, &s.trace)
	res.Risks, res.Trace = s.risks, s.trace
	return res
}

func (r *Router) urgency(a Alert, now time.Time, trace *[]string) (config.Urgency, time.Time) {
	if i := r.urgencyIdx.first(a); i >= 0 {
		rule := r.urgencies[i]
		u, review := rule.at(now)
		text := "urgency " + string(u) + ": by urgency rule " + strconv.Itoa(i+1)
		if !review.IsZero() {
			text += ", one lower than " + string(rule.urgency) + " outside its active hours; looked at again at " + review.Format("2006-01-02 15:04 UTC")
		}
		*trace = append(*trace, text)
		return u, review
	}
	severity := a.label("severity")
	u := builtInUrgency(severity)
	if severity == "" {
		*trace = append(*trace, "urgency "+string(u)+": no urgency rule matched and there is no severity label")
	} else {
		*trace = append(*trace, "urgency "+string(u)+": no urgency rule matched; by the label severity="+strconv.Quote(severity))
	}
	return u, time.Time{}
}

// search is one walk from an alert to its subject.
type search struct {
	r *Router
	a Alert

	target    Target
	service   *catalog.Service
	also      []string
	matchedBy string
	reason    string
	risks     []Risk
	trace     []string

	team     *catalog.Team // the first that a rule gave
	teamRule string
}

func (s *search) say(parts ...string) { s.trace = append(s.trace, strings.Join(parts, "")) }

func (s *search) risk(k Risk) {
	if !slices.Contains(s.risks, k) {
		s.risks = append(s.risks, k)
	}
}

// keep remembers the first name that was given but that the catalog lacks.
func (s *search) keep(name string) {
	if s.target.Named == "" {
		s.target.Named = name
	}
}

func (s *search) run() {
	if s.byRules() || s.byOwnAlerts() || s.byServiceLabels() {
		s.target.Service = s.service.Name
		s.target.Subject = "service:" + s.service.Name
		return
	}
	named := "No service was named; "
	if s.target.Named != "" {
		named = strconv.Quote(s.target.Named) + " was named, but the catalog lacks it; "
	}
	if s.byTeam(named) {
		return
	}
	s.matchedBy = "fallback"
	s.target.Subject = "unmapped"
	if s.target.Named != "" {
		s.target.Subject = "name:" + s.target.Named
	}
	s.reason = named + "nothing names a team, so it goes to the fallback team " + s.r.fallback.Name + "."
	s.say("fallback: team ", s.r.fallback.Name)
}

func (s *search) byRules() bool {
	matched := 0
	s.r.ruleIdx.each(s.a, func(i int) bool {
		matched++
		s.applyRule(&s.r.rules[i])
		return s.service == nil
	})
	if matched == 0 && len(s.r.rules) > 0 {
		s.say("rules: none of ", strconv.Itoa(len(s.r.rules)), " matched")
	}
	return s.service != nil
}

// maxLacking bounds the names of one rule that the trace lists although the
// catalog lacks them: a label may hold any number.
const maxLacking = 10

func (s *search) applyRule(rule *rule) {
	if rule.policy != "" && s.target.Policy == "" {
		s.target.Policy = rule.policy
		if s.r.policies[rule.policy] == nil {
			s.say("rule ", rule.name, ": matched; sets policy ", rule.policy, ", which does not exist: default is used")
		} else {
			s.say("rule ", rule.name, ": matched; sets policy ", rule.policy)
		}
	}
	if rule.team != "" && s.team == nil {
		if s.team = s.r.catalog.Team(rule.team); s.team != nil {
			s.teamRule = rule.name
			s.say("rule ", rule.name, ": matched; gives it to team ", s.team.Name, " unless a service is found")
		} else {
			s.risk(RiskMissingReference)
			s.say("rule ", rule.name, ": matched, but names team ", rule.team, ", which the catalog lacks")
		}
	}
	if rule.service == nil {
		return
	}
	given, err := rule.service.of(s.a)
	if err != nil {
		s.say("rule ", rule.name, ": matched, but its template failed: ", err.Error())
		return
	}
	found := ""
	names := splitNames(given, rule.split)
	lacking := 0
	for _, n := range names {
		svc := s.r.catalog.Service(n)
		switch {
		case svc == nil && lacking == maxLacking:
			s.say("rule ", rule.name, ": matched and gives further names; those that the catalog lacks are not listed")
			lacking++
		case svc == nil && lacking > maxLacking:
		case svc == nil:
			lacking++
			s.keep(n)
			s.say("rule ", rule.name, ": matched and gives ", strconv.Quote(n), ", which the catalog lacks")
		case s.service == nil:
			s.service, found = svc, n
			s.say("rule ", rule.name, ": matched and gives ", strconv.Quote(n), ": service ", svc.Name)
		case svc != s.service && !slices.Contains(s.also, svc.Name):
			s.also = append(s.also, svc.Name)
			s.say("rule ", rule.name, ": also affected: service ", svc.Name)
		}
	}
	if len(names) == 0 {
		s.say("rule ", rule.name, ": matched, but gives no name")
	}
	if s.service != nil {
		s.matchedBy = "rule:" + rule.name
		s.reason = "Rule " + rule.name + " says that it is " + called(s.service, found) + "."
	}
}

// splitNames are the names in what a rule gave.
func splitNames(given, sep string) []string {
	if sep == "" {
		if given = strings.TrimSpace(given); given == "" {
			return nil
		}
		return []string{given}
	}
	var names []string
	for _, n := range strings.Split(given, sep) {
		if n = strings.TrimSpace(n); n != "" {
			names = append(names, n)
		}
	}
	return names
}

// called is the service, and the name that led to it when it is an alias.
func called(svc *catalog.Service, by string) string {
	if svc.Name == by {
		return "service " + svc.Name
	}
	return "service " + svc.Name + " (alias " + strconv.Quote(by) + ")"
}

func (s *search) byOwnAlerts() bool {
	var best *ownSet
	tie := ""
	s.r.ownIdx.each(s.a, func(i int) bool {
		set := &s.r.own[i]
		switch {
		case best == nil:
			best = set
		case set.size < best.size:
			return false
		case set.service != best.service:
			tie = set.service.Name
			return false
		}
		return true
	})
	if best == nil {
		if len(s.r.own) > 0 {
			s.say("services' own alerts: none matched")
		}
		return false
	}
	s.service, s.matchedBy = best.service, "service_alerts"
	s.reason = "It matches service " + best.service.Name + "'s own alerts: " + best.text + "."
	s.say("services' own alerts: service ", best.service.Name, " by ", best.text)
	if tie != "" {
		s.risk(RiskAmbiguousMatch)
		s.say("services' own alerts: service ", tie, " matches with as many matchers; the first by name gets it")
	}
	return true
}

func (s *search) byServiceLabels() bool {
	if len(s.r.serviceLabels) == 0 {
		return false
	}
	if i := s.r.except.first(s.a); i >= 0 {
		s.say("service labels: passed over, the alert matches service_labels_except: ", s.r.exceptText[i])
		return false
	}
	some := false
	try := func(by, whose string, of map[string]string) bool {
		for _, l := range s.r.serviceLabels {
			v := of[l]
			if v == "" {
				continue
			}
			some = true
			svc := s.r.catalog.Service(v)
			if svc == nil {
				s.keep(v)
				s.say(whose, l, "=", strconv.Quote(v), ": the catalog has no such service")
				continue
			}
			s.service, s.matchedBy = svc, by+l
			s.say(whose, l, "=", strconv.Quote(v), ": service ", svc.Name)
			s.reason = "The " + whose + l + " names " + called(svc, v) + "."
			return true
		}
		return false
	}
	if try("route_label:", "route's label ", s.a.RouteLabels) || try("label:", "label ", s.a.Labels) {
		return true
	}
	if !some {
		s.say("service labels: the alert has none of ", strings.Join(s.r.serviceLabels, ", "))
	}
	return false
}

func (s *search) byTeam(named string) bool {
	if s.team != nil {
		s.setTeam(s.team, "rule:"+s.teamRule, named+"rule "+s.teamRule+" gives it to team "+s.team.Name+".")
		s.say("team ", s.team.Name, ": given by rule ", s.teamRule)
		return true
	}
	some := false
	for _, from := range []struct {
		whose string
		of    map[string]string
	}{{"route's label ", s.a.RouteLabels}, {"label ", s.a.Labels}} {
		for _, l := range s.r.teamLabels {
			v := from.of[l]
			if v == "" {
				continue
			}
			some = true
			team := s.r.catalog.Team(v)
			if team == nil {
				s.say(from.whose, l, "=", strconv.Quote(v), ": the catalog has no such team")
				continue
			}
			s.say(from.whose, l, "=", strconv.Quote(v), ": team ", team.Name)
			s.setTeam(team, "team_label:"+l, named+"the "+from.whose+l+" names team "+team.Name+".")
			return true
		}
	}
	if !some && len(s.r.teamLabels) > 0 {
		s.say("team labels: the alert has none of ", strings.Join(s.r.teamLabels, ", "))
	}
	return false
}

func (s *search) setTeam(t *catalog.Team, matchedBy, reason string) {
	s.target.Team, s.target.Subject = t.Name, "team:"+t.Name
	s.matchedBy, s.reason = matchedBy, reason
}
