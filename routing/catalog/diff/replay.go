package diff

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/pkg/labels"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// Replay is what recorded alerts tell about a change: whom they would have woken
// before, and whom they would wake now. Every alert (a fingerprint) counts once,
// as in a backtest, by whom its first page goes to.
type Replay struct {
	Alerts      int     `json:"alerts"`
	PagesBefore int     `json:"pages_before"` // alerts that page somebody
	PagesAfter  int     `json:"pages_after"`
	Teams       []Pages `json:"teams"` // every team that is paged on either side, by name
	Moved       []Moved `json:"moved"` // alerts that change their subject, most first
}

// Pages are the first pages to one team. At night they wake at least one person
// between 22:00 and 07:00 where that person lives.
type Pages struct {
	Team        string `json:"team"`
	Before      int    `json:"before"`
	After       int    `json:"after"`
	NightBefore int    `json:"night_before"`
	NightAfter  int    `json:"night_after"`
}

// Moved are alerts whose subject changes from one to another.
type Moved struct {
	From       string   `json:"from"`
	To         string   `json:"to"`
	Alerts     int      `json:"alerts"`
	AlertNames []string `json:"alert_names"` // sorted; at most ten
}

// standIn is the fallback team of a side whose catalog does not have the one that
// is configured, or for which none is configured.
const standIn = "(fallback team)"

// Router compiles a side for asking where alerts go. Without a configuration, or
// where its fallback team is not in this catalog, a team stands in for the
// fallback. The problems are those of the configuration with this catalog; a nil
// Router means that the configuration cannot be used at all.
func (s *Side) Router(cfg *config.Config) (*routing.Router, config.Problems) {
	var ps config.Problems
	if cfg != nil {
		var r *routing.Router
		if r, ps = routing.New(cfg, s.Catalog); r != nil {
			return r, ps
		}
	} else {
		cfg = bare()
	}
	with := *s.raw
	with.People = append(slices.Clip(with.People), config.Person{Name: written(standIn), Email: written("fallback@invalid")})
	with.Teams = append(slices.Clip(with.Teams), config.Team{Name: written(standIn), Members: []config.At[string]{written(standIn)}})
	cat, _ := catalog.Readable(&with)
	other := *cfg
	other.Routing.FallbackTeam.V = standIn
	r, again := routing.New(&other, cat)
	if r == nil {
		return nil, again
	}
	return r, ps
}

func written(s string) config.At[string] { return config.At[string]{V: s} }

// bare is the configuration of those who give none: the defaults of routing.
func bare() *config.Config {
	c := &config.Config{}
	c.Routing.ServiceLabels = []config.At[string]{written("service")}
	c.Routing.TeamLabels = []config.At[string]{written("team")}
	job := labels.Matcher{Type: labels.MatchEqual, Name: "job", Value: "kube-state-metrics"}
	c.Routing.ServiceLabelsExcept = []config.MatcherSet{{{V: &job}}}
	c.Escalation.Policies = []config.Policy{config.DefaultPolicy()}
	return c
}

// Fit adds what a configuration says against NEW and did not say against OLD:
// teams, people and policies that it names and that are gone, alerts that two
// services claim.
func (r *Report) Fit(before, after config.Problems) {
	said := map[string]bool{}
	for _, p := range before {
		said[p.Text] = true
	}
	for _, p := range after {
		if said[p.Text] {
			continue
		}
		f := Finding{
			Code: CodeReference, Severity: Warning, In: inConfig, Text: p.Text,
			Reason: "the configuration and the new catalog do not fit together; with the old one they did",
			File:   p.Pos.File, Line: max(p.Pos.Line, 1), Column: max(p.Pos.Col, 1),
		}
		if p.Severity == config.Error {
			f.Severity = Error
		}
		if r.isCatalogFile(p.Pos.File) {
			f.In = inNew
		}
		f.complete()
		r.Findings = append(r.Findings, f)
	}
	r.sort()
}

func (r *Report) isCatalogFile(name string) bool { return slices.Contains(r.newFiles, name) }

// Chains adds the services that lose everybody but the fallback team: a page
// reached an owner before, and no longer does. What has an error already is not
// named twice.
func (r *Report) Chains(from, to *Side, before, after *routing.Router, now time.Time) {
	if r.Summary.First {
		return
	}
	told := map[string]bool{}
	for _, f := range r.Findings {
		if f.Severity == Error || f.Code == CodeLastOwner {
			told[f.Service] = true
			for _, h := range f.HandOver {
				told[h.Service] = true
			}
		}
	}
	c := comparison{old: from, new: to}
	c.match()
	for _, o := range from.services {
		n := c.services.to[o]
		if n == nil || told[n.Name] || !known(n.State) || n.State == config.Decommissioned || o.State == config.Decommissioned {
			continue
		}
		if !reachesOwner(before, o, now) || reachesOwner(after, n, now) {
			continue
		}
		f := Finding{
			Code: CodeChain, Severity: Warning, In: inNew, Service: n.Name,
			Text:   n.Name + ": a page goes to the fallback team alone now",
			Reason: "its owners could be reached before, and nobody of them can now",
			Remedy: "name owners with people whom a page can reach",
			File:   n.Pos.File, Line: max(n.Pos.Line, 1), Column: max(n.Pos.Col, 1),
		}
		f.complete()
		r.Findings = append(r.Findings, f)
	}
	r.sort()
}

func reachesOwner(r *routing.Router, s *catalog.Service, now time.Time) bool {
	chain := r.Chain(routing.Target{Subject: "service:" + s.Name, Service: s.Name}, config.Page, now, 0, nil)
	return slices.ContainsFunc(chain.Steps, func(s routing.Step) bool { return s.Notify != "fallback" })
}

// Replayer routes recorded alerts by both sides.
type Replayer struct {
	c             comparison
	before, after *routing.Router
	seen          map[uint64]struct{}
	out           Replay
	teams         map[string]*Pages
	moved         map[[2]string]*Moved
	names         map[[2]string]map[string]bool
	lost          map[loss]*Moved
}

// loss is what recorded alerts lose: the service or team that they found in OLD,
// or a service that answers for them, which is decommissioned in NEW.
type loss struct {
	service *catalog.Service // of NEW if it is there, else of OLD; nil: a team is lost
	team    string           // the name of a team of OLD
	to      string           // the subject now; "" if the service is decommissioned now
}

// NewReplayer begins to replay.
func NewReplayer(from, to *Side, before, after *routing.Router) *Replayer {
	p := &Replayer{
		c: comparison{old: from, new: to}, before: before, after: after, seen: map[uint64]struct{}{},
		teams: map[string]*Pages{}, moved: map[[2]string]*Moved{}, names: map[[2]string]map[string]bool{}, lost: map[loss]*Moved{},
	}
	p.c.match()
	return p
}

// Add routes a webhook's alerts that were not seen before, each at the instant at
// which it began, or at now when it does not say.
func (p *Replayer) Add(w routing.Webhook, now time.Time) {
	for i, a := range w.Alerts {
		if _, known := p.seen[a.Fingerprint]; known {
			continue
		}
		p.seen[a.Fingerprint] = struct{}{}
		at := a.StartsAt
		if at.IsZero() {
			at = now
		}
		p.out.Alerts++
		alert := w.Alert(i)
		was, is := p.before.Route(alert, at), p.after.Route(alert, at)
		if from, to := p.subject(was), is.Subject; from != to {
			p.move(from, to, a.Labels["alertname"])
		}
		p.lose(was, is, a.Labels["alertname"])
		if team, night, pages := firstPage(p.before, was, p.c.old, at); pages {
			p.out.PagesBefore++
			t := p.team(p.c.named(team))
			t.Before++
			t.NightBefore += night
		}
		if team, night, pages := firstPage(p.after, is, p.c.new, at); pages {
			p.out.PagesAfter++
			t := p.team(team)
			t.After++
			t.NightAfter += night
		}
	}
}

// subject is the subject that OLD gives, under the name that it has in NEW.
func (p *Replayer) subject(res routing.Resolution) string {
	if res.Service != "" {
		if o := p.c.old.Catalog.Service(res.Service); o != nil && !p.c.services.merged[o] {
			if n := p.c.services.to[o]; n != nil {
				return "service:" + n.Name
			}
		}
	} else if team, ok := strings.CutPrefix(res.Subject, "team:"); ok {
		return "team:" + p.c.named(team)
	}
	return res.Subject
}

func (p *Replayer) move(from, to, alertname string) {
	key := [2]string{from, to}
	m := p.moved[key]
	if m == nil {
		m = &Moved{From: from, To: to}
		p.moved[key], p.names[key] = m, map[string]bool{}
	}
	m.Alerts++
	if alertname != "" {
		p.names[key][alertname] = true
	}
}

// lose notes an alert that finds less than it did.
func (p *Replayer) lose(was, is routing.Resolution, alertname string) {
	var key loss
	o, n := p.c.old.Catalog.Service(was.Service), p.c.new.Catalog.Service(is.Service)
	switch {
	case n != nil && o != nil && p.c.services.to[o] == nil:
		key = loss{service: o, to: is.Subject} // its entry is deleted
	case n != nil:
		if n.State != config.Decommissioned || o != nil && o.State == config.Decommissioned {
			return
		}
		key = loss{service: n}
	case o != nil:
		key = loss{service: cmp.Or(p.c.services.to[o], o), to: is.Subject}
	case strings.HasPrefix(was.Subject, "team:") && !strings.HasPrefix(is.Subject, "team:"):
		key = loss{team: strings.TrimPrefix(was.Subject, "team:"), to: is.Subject}
	default:
		return
	}
	m := p.lost[key]
	if m == nil {
		m = &Moved{}
		p.lost[key] = m
	}
	m.Alerts++
	if alertname != "" && !slices.Contains(m.AlertNames, alertname) {
		m.AlertNames = append(m.AlertNames, alertname)
	}
}

// Replayed adds what recorded alerts tell: the numbers, and a finding for all that
// find less than before. A service that is refused for another reason is not
// named twice.
func (r *Report) Replayed(p *Replayer) {
	r.Replay = p.Result()
	refused := map[string]bool{}
	for _, f := range r.Findings {
		if f.Severity == Error {
			refused[f.Service] = true
		}
	}
	for key, m := range p.lost {
		f := Finding{Code: CodeAlertsLost, Severity: Warning, In: inNew, To: key.to}
		f.Reason = "the page cannot say any more who owns what fires"
		f.Remedy = "keep the matchers, and old names as aliases; or say in the review why these alerts will not come again"
		what := plural(m.Alerts, "recorded alert") + " (" + listed(m.firstNames()) + ")"
		var at config.Pos
		switch s := key.service; {
		case s == nil:
			t := p.c.old.Catalog.Team(key.team)
			f.Team, f.From, at = key.team, "team:"+key.team, t.Pos
			f.Text = what + " went to team " + key.team + " and " + goTo(m.Alerts, key.to) + " now"
			f.Reason = "their labels name no team of the catalog any more"
			f.Remedy = "keep the old name as an alias of the team that takes them, or change the label in the alerting rules first"
			if n := p.c.teams.to[t]; n != nil {
				f.Team, at = n.Name, n.Pos
			} else {
				f.In = inOld
			}
		case key.to == "":
			if refused[s.Name] {
				continue
			}
			f.Code, f.Service, at = CodeStillAlerting, s.Name, s.Pos
			f.Text = s.Name + " is decommissioned, and " + what + " would still be about it"
			f.Reason = "their rules outlive it, and ask the fallback team once a day"
			f.Remedy = "remove the alerting rules first, or say in the review that they are gone; if something else raises them, give them to it"
		default:
			if refused[s.Name] {
				continue
			}
			f.Service, f.From, at = s.Name, "service:"+s.Name, s.Pos
			f.Text = s.Name + ": " + what + " " + goTo(m.Alerts, key.to) + " now"
			if p.c.new.Catalog.Service(s.Name) != s {
				f.In = inOld
			}
		}
		f.File, f.Line, f.Column = at.File, max(at.Line, 1), max(at.Col, 1)
		f.complete()
		r.Findings = append(r.Findings, f)
	}
	r.sort()
}

// goTo is "go to team:sre", or says that nothing is found.
func goTo(alerts int, subject string) string {
	verb := "go"
	if alerts == 1 {
		verb = "goes"
	}
	if subject == "unmapped" {
		return verb + " to the fallback team"
	}
	return verb + " to " + subject
}

// firstNames are the names of the alerts, sorted, the first few of them.
func (m *Moved) firstNames() []string {
	slices.Sort(m.AlertNames)
	const most = 5
	if more := len(m.AlertNames) - most; more > 0 {
		return append(slices.Clone(m.AlertNames[:most]), strconv.Itoa(more)+" more")
	}
	return m.AlertNames
}

func (p *Replayer) team(name string) *Pages {
	t := p.teams[name]
	if t == nil {
		t = &Pages{Team: name}
		p.teams[name] = t
	}
	return t
}

// firstPage is whom an alert's first page goes to, and whether (1, 0) it wakes
// anybody at night.
func firstPage(r *routing.Router, res routing.Resolution, s *Side, at time.Time) (team string, night int, pages bool) {
	if !res.Urgency.Pages() {
		return "", 0, false
	}
	chain := r.Chain(res.Target, res.Urgency, at, 0, nil)
	if len(chain.Steps) == 0 {
		return "", 0, false
	}
	step := chain.Steps[0]
	for _, h := range step.People {
		if who := s.Catalog.Person(h); who != nil && atNight(at.In(who.Timezone)) {
			night = 1
		}
	}
	return cmp.Or(step.Team, strings.Join(step.People, ", ")), night, true
}

func atNight(t time.Time) bool { return t.Hour() >= 22 || t.Hour() < 7 }

// mostNames bounds the alert names that are listed of one move.
const mostNames = 10

// Result is what was replayed so far.
func (p *Replayer) Result() *Replay {
	out := p.out
	out.Teams, out.Moved = []Pages{}, []Moved{}
	for _, t := range p.teams {
		out.Teams = append(out.Teams, *t)
	}
	slices.SortFunc(out.Teams, func(a, b Pages) int { return strings.Compare(a.Team, b.Team) })
	for key, m := range p.moved {
		m := *m
		m.AlertNames = []string{}
		for name := range p.names[key] {
			m.AlertNames = append(m.AlertNames, name)
		}
		slices.Sort(m.AlertNames)
		m.AlertNames = m.AlertNames[:min(len(m.AlertNames), mostNames)]
		out.Moved = append(out.Moved, m)
	}
	slices.SortFunc(out.Moved, func(a, b Moved) int {
		return cmp.Or(b.Alerts-a.Alerts, strings.Compare(a.From, b.From), strings.Compare(a.To, b.To))
	})
	return &out
}
