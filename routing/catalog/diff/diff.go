// Package diff holds a change of the catalog against the ownership policy: which
// services are launched, move to another state, change hands or are deleted,
// which teams come, go or are reorganised, and who must agree.
//
// It is pure: two readings of a catalog and an instant in, a Report out. A
// catalog that is refused is compared as far as it can be read, so that a new
// rule never hides what a change does.
package diff

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing/catalog"
)

// Side is one of the two catalogs, as far as it could be read.
type Side struct {
	Catalog  *catalog.Catalog // never nil
	Problems config.Problems  // what Read found; errors refuse the catalog

	files     []string // their names
	raw       *config.Catalog
	services  []*catalog.Service // by name, each once
	teams     []*catalog.Team
	written   map[string]*config.Team     // as written, by name
	schedules map[string]*config.Schedule // likewise
	people    map[string]*config.Person
}

// Read reads the files of one side. They need not load.
func Read(files []config.File) *Side {
	s := &Side{
		written: map[string]*config.Team{}, schedules: map[string]*config.Schedule{}, people: map[string]*config.Person{},
	}
	for _, f := range files {
		s.files = append(s.files, f.Name)
	}
	s.raw, s.Problems = config.ParseCatalog(files)
	var ps config.Problems
	s.Catalog, ps = catalog.Readable(s.raw)
	if s.Problems.Err() != nil {
		// What was misread is told already; what is said about it follows from that.
		told := map[config.Pos]bool{}
		for _, p := range s.Problems.Errors() {
			told[p.Pos] = true
		}
		ps = slices.DeleteFunc(ps.Errors(), func(p config.Problem) bool { return p.Pos.Line == 0 || told[p.Pos] })
	}
	s.Problems = append(s.Problems, ps...)
	s.Problems.Sort()

	// Of entries with the same name the first one counts, as in the catalog.
	for _, svc := range s.Catalog.Services() {
		if s.Catalog.Service(svc.Name) == svc {
			s.services = append(s.services, svc)
		}
	}
	for _, t := range s.Catalog.Teams() {
		if s.Catalog.Team(t.Name) == t {
			s.teams = append(s.teams, t)
		}
	}
	for i, t := range s.raw.Teams {
		keepFirst(s.written, t.Name.V, &s.raw.Teams[i])
	}
	for i, c := range s.raw.Schedules {
		keepFirst(s.schedules, c.Name.V, &s.raw.Schedules[i])
	}
	for i, p := range s.raw.People {
		keepFirst(s.people, p.Name.V, &s.raw.People[i])
	}
	return s
}

func keepFirst[T any](in map[string]*T, name string, v *T) {
	if _, ok := in[name]; !ok && name != "" {
		in[name] = v
	}
}

// Empty tells whether there is nothing in it, and nothing that could not be read.
func (s *Side) Empty() bool {
	return s.Problems.Err() == nil && len(s.raw.People)+len(s.raw.Teams)+len(s.raw.Schedules)+len(s.raw.Services) == 0
}

// Options are what a comparison depends on besides the two catalogs.
type Options struct {
	Now           time.Time // which dates lie ahead, and which weeks of schedules are compared
	RequireAgreed bool      // teams that must agree and have not are errors
}

// Severity is how the policy sees a finding.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // the policy refuses it
	Warning Severity = "warning" // rare: a reviewer must know why
	Info    Severity = "info"    // usual
)

// The codes of findings. They never change their meaning.
const (
	CodeRefused   = "CC1001" // NEW does not load
	CodeUnread    = "CC1002" // OLD does not load: compared as far as it can be read
	CodeReference = "CC1003" // the configuration and NEW no longer fit together
	CodeUnknown   = "CC1004" // NEW names what it lacks, and OLD did not

	CodeLaunch        = "CC1101" // a service that is new
	CodeLaunchRare    = "CC1102" // in a state in which services seldom begin
	CodeLaunchRefused = "CC1103" // in a state in which none may begin
	CodeLegacy        = "CC1104" // found, not launched
	CodeLaunchUnowned = "CC1105" // launched without an owner in every required role

	CodeMove        = "CC1201" // a usual transition
	CodeMoveRare    = "CC1202"
	CodeMoveRefused = "CC1203"
	CodeDeleted     = "CC1204" // a decommissioned service whose entry is gone
	CodeDropped     = "CC1205" // a service whose entry is gone although it is not decommissioned
	CodeRenamed     = "CC1206"
	CodeMerged      = "CC1207" // the name is now an alias of another service

	CodeUnfilled     = "CC1301" // a required role becomes unfilled, or a state is entered without it
	CodeStillMissing = "CC1302" // a role that the new state requires was unfilled before, and still is
	CodeLastOwner    = "CC1303" // the last owner is gone, although no required role is
	CodeTransfer     = "CC1304" // a role goes to another team
	CodeVacancy      = "CC1305" // a director holds a role vacant
	CodeVacancyOver  = "CC1306" // a team fills the vacant role

	CodeTeamGone      = "CC1401" // a team is gone that owns
	CodeTeamEmpty     = "CC1402" // a team has lost all its members and owns
	CodeTeamVolunteer = "CC1403" // a team is of volunteers now and owns
	CodeTeamRenamed   = "CC1404"
	CodeTeamMerged    = "CC1405" // the name is now an alias of another team

	CodeNotAgreed   = "CC1501" // a team that must agree does not stand in verified.by
	CodeOldVerified = "CC1502" // verified.on lies before that of the old entry
	CodeNotRenewed  = "CC1503" // verified is that of the old entry
	CodeAhead       = "CC1504" // verified.on lies ahead

	CodeChain         = "CC1601" // nobody but the fallback team is left to be paged
	CodeStillAlerting = "CC1602" // a decommissioned service, and recorded alerts are about it
	CodeAlertsLost    = "CC1603" // recorded alerts find no service or no team any more
)

// Finding is one thing that the policy has an opinion on.
type Finding struct {
	Code     string         `json:"code"`
	Severity Severity       `json:"severity"`
	File     string         `json:"file"` // of NEW; what is deleted stands in OLD
	Line     int            `json:"line"`
	Column   int            `json:"column"`
	In       string         `json:"in"`      // new, old or config: which of them the place is in
	Service  string         `json:"service"` // its name in NEW; "" if it is not about one
	Team     string         `json:"team"`
	From     string         `json:"from"`   // the state, team or name before; "" if none
	To       string         `json:"to"`     // after
	Roles    []config.Role  `json:"roles"`  // that it is about
	Text     string         `json:"text"`   // what happens
	Reason   string         `json:"reason"` // why the policy sees it so
	Remedy   string         `json:"remedy"` // what to do; "" where nothing is wrong
	Agree    []string       `json:"agree"`  // teams that must agree
	HandOver []ServiceRoles `json:"hand_over"`
}

// ServiceRoles are roles that a team must hand over first.
type ServiceRoles struct {
	Service string        `json:"service"`
	Roles   []config.Role `json:"roles"`
}

// Change is a difference, without an opinion.
type Change struct {
	Kind   string `json:"kind"` // service, team, person or schedule
	Name   string `json:"name"`
	What   string `json:"what"` // added, removed, or the key that changed
	From   string `json:"from"`
	To     string `json:"to"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

// Agreement is who must agree to what happens to one service.
type Agreement struct {
	Service string   `json:"service"`
	To      []string `json:"to"`      // launch, legacy find, transition, transfer, vacancy, merge
	Teams   []string `json:"teams"`   // all owners, old and new
	Agreed  []string `json:"agreed"`  // those that stand in verified.by of the new entry
	Missing []string `json:"missing"` // the others
}

// HandOver is what a change means for one team: for the people who must do the
// handing over.
type HandOver struct {
	Team      string   `json:"team"`
	Leaves    []Handed `json:"leaves"`
	Arrives   []Handed `json:"arrives"`
	AgreeWith []string `json:"agree_with"` // the teams at the other end
}

// Handed is a role that leaves or arrives.
type Handed struct {
	Service string      `json:"service"`
	Role    config.Role `json:"role"`
	Team    string      `json:"team"` // the other end; "" if there is none
	Why     string      `json:"why"`  // why there is none; else ""
}

// Summary counts.
type Summary struct {
	First           bool `json:"first"` // OLD is empty: nothing is launched
	Errors          int  `json:"errors"`
	Warnings        int  `json:"warnings"`
	Launched        int  `json:"launched"`
	Found           int  `json:"found"` // legacy
	Moved           int  `json:"moved"` // transitions
	Deleted         int  `json:"deleted"`
	Renamed         int  `json:"renamed"` // services and teams, merged ones too
	Transfers       int  `json:"transfers"`
	Vacancies       int  `json:"vacancies"`
	ServicesChanged int  `json:"services_changed"`
	TeamsChanged    int  `json:"teams_changed"`
	ServicesBefore  int  `json:"services_before"`
	ServicesAfter   int  `json:"services_after"`
}

// Report is the whole comparison. Its lists are never nil.
type Report struct {
	OK         bool        `json:"ok"` // no finding is an error
	Summary    Summary     `json:"summary"`
	Findings   []Finding   `json:"findings"` // errors first, each severity in the order of places
	Agreements []Agreement `json:"agreements"`
	HandOver   []HandOver  `json:"hand_over"`
	Changes    []Change    `json:"changes"`
	Replay     *Replay     `json:"replay"` // null without recorded alerts

	require  bool
	newFiles []string
}

// Compare holds the change from one catalog to another against the policy.
func Compare(from, to *Side, opts Options) *Report {
	c := comparison{
		old: from, new: to, opts: opts,
		r: &Report{
			Findings: []Finding{}, Agreements: []Agreement{}, HandOver: []HandOver{}, Changes: []Change{},
			require: opts.RequireAgreed, newFiles: to.files,
		},
		covered: map[*catalog.Service]map[config.Role]bool{},
		hands:   map[string]*HandOver{}, touchedServices: map[string]bool{}, touchedTeams: map[string]bool{},
	}
	c.r.Summary.ServicesBefore, c.r.Summary.ServicesAfter = len(from.services), len(to.services)
	c.r.Summary.First = from.Empty() && !to.Empty()
	c.problems()
	if !c.r.Summary.First {
		c.match()
		c.comparePeople()
		c.compareSchedules()
		c.compareTeams()
		c.compareServices()
	}
	c.finish()
	return c.r
}

type comparison struct {
	old, new *Side
	opts     Options
	r        *Report

	services pairs[*catalog.Service]
	teams    pairs[*catalog.Team]

	covered         map[*catalog.Service]map[config.Role]bool // unfilled roles that a finding about a team lists
	hands           map[string]*HandOver
	touchedServices map[string]bool
	touchedTeams    map[string]bool
	refused         int // findings that are errors, so far
}

// problems tells what keeps the two sides from being loaded.
func (c *comparison) problems() {
	for _, p := range c.new.Problems.Errors() {
		c.find(Finding{Code: CodeRefused, Severity: Error, In: inNew, Text: p.Text}, p.Pos)
	}
	if errs := c.old.Problems.Errors(); len(errs) > 0 {
		c.find(Finding{
			Code: CodeUnread, Severity: Info, In: inOld,
			Text:   "the old catalog would be refused today (" + plural(len(errs), "error") + ", this is the first), so it is compared as far as it can be read",
			Reason: errs[0].Text,
		}, errs[0].Pos)
	}
	c.unknown()
}

// unknown tells of names that NEW lacks and that were not written so in OLD:
// typing mistakes, mostly. A team that is gone is told with all that it owns.
func (c *comparison) unknown() {
	said := map[string]bool{}
	for _, p := range c.old.Problems {
		said[p.Text] = true
	}
	gone := map[config.Pos]bool{}
	for _, n := range c.new.services {
		owners := n.Entry.Owners
		gone[owners.All.Pos] = c.old.Catalog.Team(owners.All.V) != nil
		for _, o := range owners.Roles {
			gone[o.Team.Pos] = c.old.Catalog.Team(o.Team.V) != nil
		}
	}
	for _, p := range c.new.Problems {
		switch p.Code {
		case catalog.CodePerson, catalog.CodeSchedule, catalog.CodeVolunteers, catalog.CodeOwner, catalog.CodeVacancyUnheld:
			if p.Severity == config.Warning && !said[p.Text] && !gone[p.Pos] {
				c.find(Finding{Code: CodeUnknown, Severity: Warning, Text: p.Text}, p.Pos)
			}
		}
	}
}

// The sides that a place can be in.
const (
	inNew    = "new"
	inOld    = "old"
	inConfig = "config"
)

func (c *comparison) find(f Finding, at config.Pos) {
	f.File, f.Line, f.Column = at.File, max(at.Line, 1), max(at.Col, 1)
	f.In = cmp.Or(f.In, inNew)
	f.complete()
	if f.Severity == Error {
		c.refused++
	}
	c.r.Findings = append(c.r.Findings, f)
}

// complete makes nil lists empty.
func (f *Finding) complete() {
	if f.Roles == nil {
		f.Roles = []config.Role{}
	}
	if f.Agree == nil {
		f.Agree = []string{}
	}
	if f.HandOver == nil {
		f.HandOver = []ServiceRoles{}
	}
}

func (c *comparison) change(kind, name, what, from, to string, at config.Pos) {
	if from == to {
		return
	}
	switch kind {
	case "service":
		c.touchedServices[name] = true
	case "team":
		c.touchedTeams[name] = true
	}
	c.r.Changes = append(c.r.Changes, Change{kind, name, what, from, to, at.File, max(at.Line, 1), max(at.Col, 1)})
}

func (r *Report) sort() {
	rank := map[Severity]int{Error: 0, Warning: 1, Info: 2}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(rank[a.Severity]-rank[b.Severity], strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column,
			strings.Compare(a.Code, b.Code), strings.Compare(a.Service, b.Service), strings.Compare(a.Text, b.Text))
	})
	r.Summary.Errors, r.Summary.Warnings = 0, 0
	for _, f := range r.Findings {
		switch f.Severity {
		case Error:
			r.Summary.Errors++
		case Warning:
			r.Summary.Warnings++
		}
	}
	r.OK = r.Summary.Errors == 0
}

func (c *comparison) finish() {
	s := &c.r.Summary
	for _, f := range c.r.Findings {
		switch f.Code {
		case CodeLaunch, CodeLaunchRare, CodeLaunchRefused:
			s.Launched++
		case CodeLegacy:
			s.Found++
		case CodeMove, CodeMoveRare, CodeMoveRefused:
			s.Moved++
		case CodeDeleted, CodeDropped:
			s.Deleted++
		case CodeRenamed, CodeMerged, CodeTeamRenamed, CodeTeamMerged:
			s.Renamed++
		case CodeTransfer:
			s.Transfers++
		case CodeVacancy:
			s.Vacancies++
		}
		if f.Service != "" {
			c.touchedServices[f.Service] = true
		}
		if f.Team != "" {
			c.touchedTeams[f.Team] = true
		}
	}
	s.ServicesChanged, s.TeamsChanged = len(c.touchedServices), len(c.touchedTeams)
	for _, h := range c.hands {
		slices.Sort(h.AgreeWith)
		c.r.HandOver = append(c.r.HandOver, *h)
	}
	slices.SortFunc(c.r.HandOver, func(a, b HandOver) int { return strings.Compare(a.Team, b.Team) })
	c.r.sort()
}
