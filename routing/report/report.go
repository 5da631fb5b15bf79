package report

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// Report is the weekly report. Every number in it is a sum over Facts; owners,
// vacancies and advice are those of the catalog as it is now. Lists are never
// nil and have an order of their own, so that the same facts make the same report.
type Report struct {
	Period Period `json:"period"`
	Quiet  bool   `json:"quiet"` // no alert met weak ownership, no risk was recorded

	Totals      Cost              `json:"totals"`
	Before      Cost              `json:"before"` // the week before
	Assessments []AssessmentCount `json:"assessments"`
	Recorded    []NameCount       `json:"recorded"` // alerts that opened no incident, by reason

	NotOwned       []Service `json:"not_owned"`  // partially owned or unowned when an alert hit them; by tier, then alerts
	GoneQuiet      []string  `json:"gone_quiet"` // services that were not fully owned the week before and had no alert now
	UnknownService []Unknown `json:"unknown_service"`
	Unmapped       []Unknown `json:"unmapped"`
	Decommissioned []Service `json:"decommissioned"`
	Owned          []Service `json:"owned"` // the other services that had alerts

	Heroics      []Heroics    `json:"heroics"` // by the team of who answered
	SinglePerson SinglePerson `json:"single_person"`
	Vacancies    []Vacancy    `json:"vacancies"` // of the catalog, whether they had alerts or not
	Legacy       []Legacy     `json:"legacy"`    // likewise: unowned services that were found
	Products     []Product    `json:"product_management"`
	Risks        []RiskKind   `json:"risks"` // every kind
	Shadow       Shadow       `json:"shadow"`
}

// Cost is what alerts cost people.
type Cost struct {
	Alerts      int `json:"alerts"` // episodes
	Incidents   int `json:"incidents"`
	Pages       int `json:"pages"`
	Escalations int `json:"escalations"`
	Answers     int `json:"answers"`
	// From the first page to the answer, in seconds; nil without an answer.
	MedianAck *int `json:"ack_median_seconds"`
	WorstAck  *int `json:"ack_worst_seconds"`
}

// AssessmentCount is how many alerts hit subjects that were owned so well.
type AssessmentCount struct {
	Assessment catalog.Assessment `json:"assessment"`
	Alerts     int                `json:"alerts"`
	Before     int                `json:"before"`
}

// NameCount counts a name; "" stands for further ones that were not kept apart.
type NameCount struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// Answerer is somebody who acknowledged.
type Answerer struct {
	Person string `json:"person"`
	Team   string `json:"team"` // "" if none is known
	Count  int    `json:"count"`
}

// Service is one service that had alerts.
type Service struct {
	Service string `json:"service"`
	Tier    int    `json:"tier"`  // 0 if the catalog has it no more
	Known   bool   `json:"known"` // the catalog still has it

	HitAs        catalog.Assessment `json:"hit_as"` // the worst assessment that an alert met
	State        config.State       `json:"state"`  // now
	Assessment   catalog.Assessment `json:"assessment"`
	MissingRoles []config.Role      `json:"missing_roles"`
	KeptRoles    []KeptRole         `json:"kept_roles"` // filled all the same

	Cost
	Before     Cost        `json:"before"`
	AnsweredBy []Answerer  `json:"answered_by"`
	AlertNames []NameCount `json:"alert_names"`
	Advice     Advice      `json:"advice"`
}

// KeptRole is a role that somebody fills although the service is not fully owned.
type KeptRole struct {
	Role config.Role `json:"role"`
	Team string      `json:"team"` // "" if a director holds it vacant
	// Director holds the role vacant; "" if a team fills it.
	Director string `json:"director"`
}

// Unknown is a subject that is no service of the catalog: a name that it lacks,
// a team, or nothing at all.
type Unknown struct {
	Subject string `json:"subject"`
	Named   string `json:"named"` // "" if no service was named
	Team    string `json:"team"`
	Cure    string `json:"cure"`

	Cost
	Before     Cost         `json:"before"`
	AnsweredBy []Answerer   `json:"answered_by"`
	LabelSets  []UnknownSet `json:"label_sets"` // most alerts first
}

// UnknownSet is a label set that led to no service. Without labels it stands for
// alerts whose label sets were not kept.
type UnknownSet struct {
	Labels map[string]string `json:"labels"`
	Alerts int               `json:"alerts"`
	Before int               `json:"before"`
	Rule   string            `json:"rule"` // a line for routing.rules; "" where another cure is better
}

// Heroics are answers by people who owned nothing of it.
type Heroics struct {
	Team     string     `json:"team"` // "" for people in no team
	Answers  int        `json:"answers"`
	People   []Answerer `json:"people"`
	Subjects []string   `json:"subjects"`
}

// SinglePerson are the services whose whole chain rested on one person.
type SinglePerson struct {
	Number   int      `json:"number"`
	Before   int      `json:"before"`
	Services []string `json:"services"`
}

// Vacancy is a contingency role that a director holds vacant.
type Vacancy struct {
	Service  string `json:"service"`
	Director string `json:"director"`
	Reason   string `json:"reason"`
}

// Legacy is a service that was unowned when it was found, and still is.
type Legacy struct {
	Service string `json:"service"`
	Since   string `json:"since"` // 2014-03-01
	Reason  string `json:"reason"`
}

// Product is what the services of one product management owner cost.
type Product struct {
	Owner       string        `json:"owner"`   // a team or a person; "" if nobody
	Kind        string        `json:"kind"`    // team, manager, director, none
	Manager     string        `json:"manager"` // who answers for it in person; "" if nobody
	Alerts      int           `json:"alerts"`
	Before      int           `json:"before"` // alerts of the week before
	Pages       int           `json:"pages"`
	Escalations int           `json:"escalations"`
	Services    []ServiceCost `json:"services"` // those that had alerts, most pages first
}

// ServiceCost is what one service cost.
type ServiceCost struct {
	Service     string             `json:"service"`
	Assessment  catalog.Assessment `json:"assessment"`
	Alerts      int                `json:"alerts"`
	Before      int                `json:"before"`
	Pages       int                `json:"pages"`
	Escalations int                `json:"escalations"`
}

// RiskKind is how often a kind of risk was recorded, and of what.
type RiskKind struct {
	Kind     routing.Risk  `json:"kind"`
	Count    int           `json:"count"`
	Before   int           `json:"before"`
	Subjects []RiskSubject `json:"subjects"` // most first
}

// RiskSubject is a subject at risk.
type RiskSubject struct {
	Subject   string   `json:"subject"`
	Count     int      `json:"count"`
	Incidents []string `json:"incidents"` // as many as are kept, oldest first
}

// Shadow is whom callchain would have paged.
type Shadow struct {
	Pages  int         `json:"pages"`
	People []Answerer  `json:"people"`
	Teams  []NameCount `json:"teams"`
}

// Build makes the report of a week. The facts may be of any days: those of the
// period and of the week before it are used. One day and subject may come in
// several pieces.
func Build(period Period, week, before []Facts, cat *catalog.Catalog) Report {
	b := builder{cat: cat, now: gather(week, period, cat), then: gather(before, period.Previous(), cat)}
	r := Report{
		Period: period,
		Totals: b.now.all.cost(), Before: b.then.all.cost(),
		Assessments: b.assessments(), Recorded: names(b.now.all.recorded),
		NotOwned: []Service{}, UnknownService: []Unknown{}, Unmapped: []Unknown{}, Decommissioned: []Service{}, Owned: []Service{},
		GoneQuiet: []string{}, Heroics: b.heroics(), SinglePerson: b.singlePerson(), Vacancies: vacancies(cat), Legacy: legacy(cat),
		Risks: b.risks(), Shadow: b.shadow(),
	}
	for _, t := range b.now.sorted() {
		switch {
		case t.service == "" && t.named != "":
			r.UnknownService = append(r.UnknownService, b.unknown(t))
		case t.service == "":
			r.Unmapped = append(r.Unmapped, b.unknown(t))
		case t.assessment == catalog.Decommissioned:
			r.Decommissioned = append(r.Decommissioned, b.service(t))
		case weak(t.worst):
			r.NotOwned = append(r.NotOwned, b.service(t))
		default:
			r.Owned = append(r.Owned, b.service(t))
		}
	}
	for _, t := range b.then.sorted() {
		if t.service != "" && weak(t.worst) && b.now.subjects[t.subject] == nil {
			r.GoneQuiet = append(r.GoneQuiet, t.service)
		}
	}
	for _, list := range [][]Service{r.NotOwned, r.Decommissioned, r.Owned} {
		slices.SortFunc(list, func(a, b Service) int {
			return cmp.Or(cmp.Compare(tierOrder(a.Tier), tierOrder(b.Tier)), cmp.Compare(b.Alerts, a.Alerts), cmp.Compare(a.Service, b.Service))
		})
	}
	for _, list := range [][]Unknown{r.UnknownService, r.Unmapped} {
		slices.SortFunc(list, func(a, b Unknown) int {
			return cmp.Or(cmp.Compare(b.Alerts, a.Alerts), cmp.Compare(a.Subject, b.Subject))
		})
	}
	r.Products = b.products(r)
	r.Quiet = len(r.NotOwned)+len(r.UnknownService)+len(r.Unmapped)+len(r.Decommissioned)+len(r.Heroics) == 0 &&
		!slices.ContainsFunc(r.Risks, func(k RiskKind) bool { return k.Count > 0 })
	return r
}

// weak ownership is what the report is about.
func weak(a catalog.Assessment) bool { return a == catalog.Partial || a == catalog.Unowned }

// tierOrder puts what the catalog does not know last.
func tierOrder(tier int) int {
	if tier < 1 {
		return 1 << 30
	}
	return tier
}

type builder struct {
	cat       *catalog.Catalog
	now, then week
}

// previous is what a subject cost the week before.
func (b builder) previous(subject string) *tally {
	if t := b.then.subjects[subject]; t != nil {
		return t
	}
	return &tally{}
}

func (b builder) assessments() []AssessmentCount {
	out := []AssessmentCount{}
	for _, a := range assessments {
		out = append(out, AssessmentCount{a, b.now.assessed[a], b.then.assessed[a]})
	}
	return out
}

func (b builder) service(t *tally) Service {
	out := Service{
		Service: t.service, HitAs: t.worst, State: t.state, Assessment: t.assessment,
		MissingRoles: notNil(slices.Clone(t.missing)), KeptRoles: []KeptRole{},
		Cost: t.cost(), Before: b.previous(t.subject).cost(),
		AnsweredBy: b.answerers(t.answers()), AlertNames: names(t.names),
		Advice: Advice{Options: []Option{}, Agree: []string{}},
	}
	s := b.cat.Service(t.service)
	if s == nil {
		return out
	}
	out.Known, out.Tier, out.State, out.Assessment = true, s.Tier, s.State, s.Assessment
	out.MissingRoles = notNil(slices.Clone(s.MissingRoles))
	if weak(s.Assessment) {
		out.KeptRoles = kept(s)
		out.Advice = Advise(s)
	}
	return out
}

func kept(s *catalog.Service) []KeptRole {
	out := []KeptRole{}
	for _, r := range config.Roles {
		switch t := s.Owners[r]; {
		case t != nil:
			out = append(out, KeptRole{Role: r, Team: t.Name})
		case r == config.ContingencyDevelopment && s.VacancyHeld != nil:
			out = append(out, KeptRole{Role: r, Director: s.VacancyHeld.Handle})
		}
	}
	return out
}

func (b builder) unknown(t *tally) Unknown {
	before := b.previous(t.subject)
	out := Unknown{
		Subject: t.subject, Named: t.named, Team: t.team, Cure: b.cure(t),
		Cost: t.cost(), Before: before.cost(), AnsweredBy: b.answerers(t.answers()), LabelSets: []UnknownSet{},
	}
	rest := t.alerts
	for key, l := range t.labels {
		u := UnknownSet{Labels: maps.Clone(l.Labels), Alerts: l.Count}
		if old, ok := before.labels[key]; ok {
			u.Before = old.Count
		}
		if t.named == "" {
			u.Rule = Rule(l.Labels)
		}
		out.LabelSets = append(out.LabelSets, u)
		rest -= l.Count
	}
	slices.SortFunc(out.LabelSets, func(a, b UnknownSet) int {
		return cmp.Or(cmp.Compare(b.Alerts, a.Alerts), cmp.Compare(labelText(a.Labels), labelText(b.Labels)))
	})
	if rest > 0 {
		out.LabelSets = append(out.LabelSets, UnknownSet{Labels: map[string]string{}, Alerts: rest})
	}
	return out
}

func (b builder) cure(t *tally) string {
	switch {
	case t.named == "":
		return "Give the alerts a service label, or add a rule to routing.rules."
	case b.cat.Service(t.named) != nil:
		return "The catalog knows this name now; there is nothing left to do."
	}
	return "Add the service to the catalog with an owner for each role, or the name to the aliases of the service it is."
}

func (b builder) answerers(counts map[string]answered) []Answerer {
	out := []Answerer{}
	for handle, a := range counts {
		team := a.team
		if team == "" {
			team = b.teamOf(handle)
		}
		out = append(out, Answerer{Person: handle, Team: team, Count: a.count})
	}
	slices.SortFunc(out, func(a, b Answerer) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Person, b.Person))
	})
	return out
}

func (b builder) teamOf(handle string) string {
	if t := b.cat.TeamOf(handle); t != nil {
		return t.Name
	}
	return ""
}

func (b builder) heroics() []Heroics {
	byTeam := map[string]*Heroics{}
	people := map[string]map[string]answered{}
	for _, t := range b.now.sorted() {
		for _, a := range t.acks {
			if !a.Heroics {
				continue
			}
			team := cmp.Or(a.Team, b.teamOf(a.By))
			h := byTeam[team]
			if h == nil {
				h = &Heroics{Team: team, Subjects: []string{}}
				byTeam[team], people[team] = h, map[string]answered{}
			}
			h.Answers++
			people[team][a.By] = answered{people[team][a.By].count + 1, team}
			if !slices.Contains(h.Subjects, t.subject) {
				h.Subjects = append(h.Subjects, t.subject) // sorted, as the subjects are
			}
		}
	}
	out := []Heroics{}
	for team, h := range byTeam {
		h.People = b.answerers(people[team])
		out = append(out, *h)
	}
	slices.SortFunc(out, func(a, b Heroics) int {
		return cmp.Or(cmp.Compare(b.Answers, a.Answers), cmp.Compare(a.Team, b.Team))
	})
	return out
}

func (b builder) singlePerson() SinglePerson {
	out := SinglePerson{Services: []string{}}
	for _, t := range b.now.sorted() {
		if t.restsOnOne() {
			out.Services = append(out.Services, t.service)
		}
	}
	for _, t := range b.then.subjects {
		if t.restsOnOne() {
			out.Before++
		}
	}
	out.Number = len(out.Services)
	return out
}

// restsOnOne tells whether one person is all that a service has. That only the
// fallback team is asked about a decommissioned one is no want of owners.
func (t *tally) restsOnOne() bool {
	return t.service != "" && t.risks[routing.RiskSinglePerson] > 0 && t.assessment != catalog.Decommissioned
}

func legacy(cat *catalog.Catalog) []Legacy {
	out := []Legacy{}
	for _, s := range cat.Services() {
		if s.State == config.Unowned && s.Entry != nil && s.Entry.Legacy != nil {
			out = append(out, Legacy{Service: s.Name, Since: s.Entry.Legacy.Since.V.Format(civil), Reason: s.Entry.Legacy.Reason.V})
		}
	}
	return out
}

func vacancies(cat *catalog.Catalog) []Vacancy {
	out := []Vacancy{}
	for _, s := range cat.Services() {
		if s.VacancyHeld == nil {
			continue
		}
		v := Vacancy{Service: s.Name, Director: s.VacancyHeld.Handle}
		if s.Entry != nil {
			if held := s.Entry.Owners.Roles[config.ContingencyDevelopment].Vacant; held != nil {
				v.Reason = held.Reason.V
			}
		}
		out = append(out, v)
	}
	return out
}

// The kinds of product management owners.
const (
	byTeam     = "team"
	byManager  = "manager"
	byDirector = "director"
	byNobody   = "none"
)

// productOwner is who has to be told what a service costs: a Product without numbers.
func (b builder) productOwner(service string) Product {
	key := Product{Kind: byNobody}
	s := b.cat.Service(service)
	if s == nil {
		return key
	}
	if p := s.ProductManager(); p != nil {
		key.Manager = p.Handle
	}
	switch t := s.Owners[config.ProductManagement]; {
	case t != nil:
		key.Owner, key.Kind = t.Name, byTeam
	case key.Manager != "" && s.Owners[config.ContingencyDevelopment] != nil:
		key.Owner, key.Kind = key.Manager, byManager
	case key.Manager != "":
		key.Owner, key.Kind = key.Manager, byDirector
	}
	return key
}

func (b builder) products(r Report) []Product {
	type owner struct{ kind, name string }
	owners := map[owner]*Product{}
	for _, list := range [][]Service{r.NotOwned, r.Owned} {
		for _, row := range list {
			key := b.productOwner(row.Service)
			p := owners[owner{key.Kind, key.Owner}]
			if p == nil {
				p = &key
				owners[owner{key.Kind, key.Owner}] = p
			}
			p.Alerts += row.Alerts
			p.Before += row.Before.Alerts
			p.Pages += row.Pages
			p.Escalations += row.Escalations
			p.Services = append(p.Services, ServiceCost{row.Service, row.Assessment, row.Alerts, row.Before.Alerts, row.Pages, row.Escalations})
		}
	}
	// What had alerts the week before only is part of what it cost then.
	for _, t := range b.then.subjects {
		if t.service == "" || t.assessment == catalog.Decommissioned || b.now.subjects[t.subject] != nil {
			continue
		}
		key := b.productOwner(t.service)
		if p := owners[owner{key.Kind, key.Owner}]; p != nil {
			p.Before += t.alerts
		}
	}
	out := []Product{}
	for _, p := range owners {
		slices.SortFunc(p.Services, func(a, b ServiceCost) int {
			return cmp.Or(cmp.Compare(b.Pages, a.Pages), cmp.Compare(b.Alerts, a.Alerts), cmp.Compare(a.Service, b.Service))
		})
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b Product) int {
		return cmp.Or(cmp.Compare(b.Pages, a.Pages), cmp.Compare(b.Alerts, a.Alerts), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Owner, b.Owner))
	})
	return out
}

func (b builder) risks() []RiskKind {
	out := []RiskKind{}
	for _, kind := range Kinds {
		k := RiskKind{Kind: kind, Count: b.now.all.risks[kind], Before: b.then.all.risks[kind], Subjects: []RiskSubject{}}
		for _, t := range b.now.sorted() {
			if n := t.risks[kind]; n > 0 {
				k.Subjects = append(k.Subjects, RiskSubject{t.subject, n, t.incidents(kind)})
			}
		}
		slices.SortStableFunc(k.Subjects, func(a, b RiskSubject) int { return cmp.Compare(b.Count, a.Count) })
		out = append(out, k)
	}
	return out
}

func (b builder) shadow() Shadow {
	out := Shadow{Teams: []NameCount{}}
	people, teams := map[string]answered{}, map[string]int{}
	for handle, n := range b.now.all.shadow {
		out.Pages += n
		people[handle] = answered{count: n}
		teams[b.teamOf(handle)] += n
	}
	out.People, out.Teams = b.answerers(people), names(teams)
	return out
}

// names are the counts of a map, largest first.
func names(counts map[string]int) []NameCount {
	out := []NameCount{}
	for name, n := range counts {
		out = append(out, NameCount{name, n})
	}
	slices.SortFunc(out, func(a, b NameCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// labelText shows labels in an order of their own: the alert's name first.
func labelText(labels map[string]string) string {
	var parts []string
	for _, name := range slices.SortedFunc(maps.Keys(labels), func(a, b string) int {
		if (a == "alertname") != (b == "alertname") {
			if a == "alertname" {
				return -1
			}
			return 1
		}
		return cmp.Compare(a, b)
	}) {
		parts = append(parts, name+"="+labels[name])
	}
	return strings.Join(parts, " ")
}
