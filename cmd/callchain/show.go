package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"callchain/config"
	"callchain/routing/catalog"
)

func showCommand(all *kingpin.CmdClause, commands map[string]command) {
	c := all.Command("show", "Print the merged catalog as callchain understands it: defaults filled in, roles resolved, what is missing, and where each entry stands.")
	file, output := configFlag(c), outputFlag(c, "text", "json")
	var f shownOnly
	c.Flag("state", "Only services in this state.").EnumVar(&f.state, words(config.States)...)
	c.Flag("team", "Only services that this team owns in any role.").StringVar(&f.team)
	c.Flag("assessment", "Only services that are so owned.").
		EnumVar(&f.assessment, words([]catalog.Assessment{catalog.Owned, catalog.Partial, catalog.Unowned, catalog.Decommissioned})...)
	c.Arg("name", "Names or aliases of services, teams, people or schedules: show these in full.").StringsVar(&f.names)
	commands[c.FullCommand()] = func(_ context.Context, std streams) error {
		l := load(*file, config.Options{NoSecrets: true})
		if code := refused(l); code != good {
			printProblems(std.err, l.problems().Errors())
			return status{code, "there is no catalog to show, see above"}
		}
		v, err := f.view(l)
		if err != nil {
			return err
		}
		if len(v.unknown) > 0 {
			return status{bad, strings.Join(v.unknown, "; ")}
		}
		switch {
		case *output == "json":
			return printJSON(std.out, v)
		case len(f.names) > 0:
			v.printEntries(std.out)
		default:
			v.printOverview(std.out)
		}
		return nil
	}
}

// refused tells how to end when there is no catalog: what is wrong elsewhere in
// the configuration does not keep it from being shown.
func refused(l *loaded) int {
	switch {
	case len(l.files) == 0 && l.own.Err() != nil:
		return notDone
	case l.cat == nil:
		return bad
	default:
		return good
	}
}

func words[T ~string](list []T) []string {
	var out []string
	for _, v := range list {
		out = append(out, string(v))
	}
	return out
}

// shownOnly says what of the catalog to show.
type shownOnly struct {
	names                   []string
	state, team, assessment string
}

// shown is the catalog, or a part of it, for programs.
type shown struct {
	Services  []shownService  `json:"services"`
	Teams     []shownTeam     `json:"teams"`
	People    []shownPerson   `json:"people"`
	Schedules []shownSchedule `json:"schedules"`

	schedules map[string]bool // those that were asked for by name
	unknown   []string        // what to say of names that nothing has
}

type place struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

func placed(p config.Pos) place { return place{p.File, p.Line, p.Col} }

func (p place) String() string { return clean(p.File) + ":" + strconv.Itoa(p.Line) }

type shownService struct {
	Name           string             `json:"name"`
	Aliases        []string           `json:"aliases"`
	Description    string             `json:"description"`
	State          config.State       `json:"state"`
	Tier           int                `json:"tier"`
	Assessment     catalog.Assessment `json:"assessment"`
	MissingRoles   []config.Role      `json:"missing_roles"`
	Roles          []shownRole        `json:"roles"`           // all five, in the policy's order
	ProductManager string             `json:"product_manager"` // the person who answers for the product
	Volunteers     []string           `json:"volunteers"`
	SLO            *shownSLO          `json:"slo"`
	Runbook        string             `json:"runbook"`
	Dashboard      string             `json:"dashboard"`
	Links          map[string]string  `json:"links"`
	Alerts         [][]string         `json:"alerts"`
	Policy         string             `json:"policy"`
	Verified       *shownVerified     `json:"verified"`
	Legacy         *shownLegacy       `json:"legacy"`
	place
}

// shownRole is who fills a role.
type shownRole struct {
	Role    config.Role `json:"role"`
	Need    string      `json:"need"`    // required, optional or n/a in the service's state
	Written string      `json:"written"` // the team as the entry names it; "" if it names none
	Team    string      `json:"team"`    // who answers; "" if nobody, as when the team has no members
	Derived bool        `json:"derived"` // the team follows from another role
	HeldBy  string      `json:"held_by"` // the director who holds the role vacant
	Missing bool        `json:"missing"`
}

type shownSLO struct {
	Objective float64 `json:"objective"`
	Window    string  `json:"window"`
	URL       string  `json:"url"`
}

type shownVerified struct {
	On string   `json:"on"`
	By []string `json:"by"`
}

type shownLegacy struct {
	Since  string `json:"since"`
	Reason string `json:"reason"`
}

type shownTeam struct {
	Name           string          `json:"name"`
	Aliases        []string        `json:"aliases"`
	Kind           config.TeamKind `json:"kind"`
	MayOwn         bool            `json:"may_own"`
	Members        []string        `json:"members"`
	Lead           string          `json:"lead"`
	Manager        string          `json:"manager"`
	Director       string          `json:"director"`
	Schedule       string          `json:"schedule"` // "": the whole team is on call
	SlackChannel   string          `json:"slack_channel"`
	SlackUsergroup string          `json:"slack_usergroup"`
	Email          string          `json:"email"`
	Webhooks       []string        `json:"webhooks"`
	Owns           []string        `json:"owns"` // services
	place
}

type shownPerson struct {
	Name     string   `json:"name"`
	Email    string   `json:"email"`
	Slack    string   `json:"slack"`
	Phone    string   `json:"phone"`
	Timezone string   `json:"timezone"`
	Contact  []string `json:"contact"`
	Teams    []string `json:"teams"`
	place
}

type shownSchedule struct {
	Name     string   `json:"name"`
	Timezone string   `json:"timezone"`
	Teams    []string `json:"teams"` // whose it is
	place
}

// view is the part of the catalog that was asked for.
func (f shownOnly) view(l *loaded) (*shown, error) {
	v := &shown{Services: []shownService{}, Teams: []shownTeam{}, People: []shownPerson{}, Schedules: []shownSchedule{}}
	c := l.cat
	var team *catalog.Team
	if f.team != "" {
		if team = c.Team(f.team); team == nil {
			return nil, fmt.Errorf("--team: the catalog has no team %q; see: callchain catalog show", clean(f.team))
		}
	}
	for _, s := range c.Services() {
		if f.state != "" && string(s.State) != f.state || f.assessment != "" && string(s.Assessment) != f.assessment ||
			team != nil && !slices.Contains(s.OwningTeams(), team) {
			continue
		}
		v.Services = append(v.Services, viewService(s))
	}
	if f.state != "" || f.assessment != "" {
		return v, nil // what was asked for are services
	}
	for _, t := range c.Teams() {
		if team == nil || t == team {
			v.Teams = append(v.Teams, viewTeam(c, t, l.raw))
		}
	}
	for _, p := range c.People() {
		if team == nil || team.Has(p.Handle) {
			v.People = append(v.People, viewPerson(c, p))
		}
	}
	for _, s := range l.raw.Schedules {
		sh := shownSchedule{Name: s.Name.V, Timezone: zone(s.Timezone.V), Teams: []string{}, place: placed(s.Pos)}
		for _, t := range l.raw.Teams {
			if t.OnCall.V == s.Name.V {
				sh.Teams = append(sh.Teams, t.Name.V)
			}
		}
		if team == nil || slices.Contains(sh.Teams, team.Name) {
			v.Schedules = append(v.Schedules, sh)
		}
	}
	if len(f.names) > 0 {
		v.keep(c, f.names)
	}
	return v, nil
}

func zone(l *time.Location) string {
	if l == nil {
		return "UTC"
	}
	return l.String()
}

// keep keeps the entries that have one of the names. A name that nothing has is
// told: it is probably misspelt.
func (v *shown) keep(c *catalog.Catalog, names []string) {
	services, teams, persons := map[string]bool{}, map[string]bool{}, map[string]bool{}
	v.schedules = map[string]bool{}
	for _, n := range names {
		s, t, p := c.Service(n), c.Team(n), c.Person(n)
		v.schedules[n] = c.Schedule(n) != nil
		switch {
		case s == nil && t == nil && p == nil && !v.schedules[n]:
			v.unknown = append(v.unknown, unknownName(c, n))
		case s != nil:
			services[s.Name] = true
		}
		if t != nil {
			teams[t.Name] = true
		}
		if p != nil {
			persons[p.Handle] = true
		}
	}
	v.Services = slices.DeleteFunc(v.Services, func(s shownService) bool { return !services[s.Name] })
	v.Teams = slices.DeleteFunc(v.Teams, func(t shownTeam) bool { return !teams[t.Name] })
	v.People = slices.DeleteFunc(v.People, func(p shownPerson) bool { return !persons[p.Name] })
	v.Schedules = slices.DeleteFunc(v.Schedules, func(s shownSchedule) bool {
		return !v.schedules[s.Name] && !slices.ContainsFunc(s.Teams, func(t string) bool { return teams[t] })
	})
}

func viewService(s *catalog.Service) shownService {
	e := s.Entry
	out := shownService{
		Name: s.Name, Aliases: list(s.Aliases), Description: e.Description.V, State: s.State, Tier: s.Tier,
		Assessment: s.Assessment, MissingRoles: s.MissingRoles, ProductManager: handleOf(s.ProductManager()),
		Volunteers: []string{}, Runbook: s.Runbook, Dashboard: s.Dashboard, Links: map[string]string{}, Alerts: [][]string{},
		Policy: cmp.Or(s.Policy, "default"), place: placed(s.Pos),
	}
	for _, r := range config.Roles {
		role := shownRole{Role: r, Need: catalog.Requirement(s.State, r).String(), Missing: slices.Contains(s.MissingRoles, r)}
		if role.Need != catalog.NotApplicable.String() {
			role.Written = cmp.Or(e.Owners.Roles[r].Team.V, e.Owners.All.V)
		}
		if t := s.Owner(r); t != nil {
			role.Team, role.Derived = t.Name, s.Owners[r] == nil
		}
		if r == config.ContingencyDevelopment {
			role.HeldBy = handleOf(s.VacancyHeld)
		}
		out.Roles = append(out.Roles, role)
	}
	for _, t := range s.Volunteers {
		out.Volunteers = append(out.Volunteers, t.Name)
	}
	if e.SLO != nil {
		out.SLO = &shownSLO{Objective: e.SLO.Objective.V, URL: e.SLO.URL.V}
		if e.SLO.Window.Set() {
			out.SLO.Window = e.SLO.Window.V.String()
		}
	}
	for name, l := range e.Links {
		out.Links[name] = l.V
	}
	for _, set := range s.Alerts {
		ms := []string{}
		for _, m := range set {
			ms = append(ms, m.V.String())
		}
		out.Alerts = append(out.Alerts, ms)
	}
	if e.Verified != nil {
		out.Verified = &shownVerified{On: e.Verified.On.V.Format(time.DateOnly), By: []string{}}
		for _, by := range e.Verified.By {
			out.Verified.By = append(out.Verified.By, by.V)
		}
	}
	if e.Legacy != nil {
		out.Legacy = &shownLegacy{Reason: e.Legacy.Reason.V}
		if e.Legacy.Since.Set() {
			out.Legacy.Since = e.Legacy.Since.V.Format(time.DateOnly)
		}
	}
	return out
}

func viewTeam(c *catalog.Catalog, t *catalog.Team, raw *config.Catalog) shownTeam {
	out := shownTeam{
		Name: t.Name, Aliases: list(t.Aliases), Kind: t.Kind, MayOwn: t.MayOwn(), Members: []string{},
		Lead: handleOf(t.Lead), Manager: handleOf(t.Manager), Director: handleOf(t.Director), SlackChannel: t.SlackChannel,
		SlackUsergroup: t.SlackUsergroup, Email: t.Email, Webhooks: list(t.Webhooks), Owns: []string{}, place: placed(t.Pos),
	}
	if t.Schedule != nil {
		i := slices.IndexFunc(raw.Teams, func(w config.Team) bool { return w.Name.V == t.Name })
		out.Schedule = raw.Teams[i].OnCall.V
	}
	for _, p := range t.Members {
		out.Members = append(out.Members, p.Handle)
	}
	for _, s := range c.Services() {
		if slices.Contains(s.OwningTeams(), t) {
			out.Owns = append(out.Owns, s.Name)
		}
	}
	return out
}

func viewPerson(c *catalog.Catalog, p *catalog.Person) shownPerson {
	out := shownPerson{
		Name: p.Handle, Email: p.Email, Slack: p.Slack, Phone: p.Phone, Timezone: p.Timezone.String(),
		Contact: list(p.Contact), Teams: []string{}, place: placed(p.Pos),
	}
	for _, t := range c.TeamsOf(p.Handle) {
		out.Teams = append(out.Teams, t.Name)
	}
	return out
}

func handleOf(p *catalog.Person) string {
	if p == nil {
		return ""
	}
	return p.Handle
}

// list is never null.
func list(s []string) []string { return append([]string{}, s...) }

func dash(s string) string { return cmp.Or(clean(s), "-") }

// printOverview prints the worst when down first.
func (v *shown) printOverview(w io.Writer) {
	by := map[catalog.Assessment]int{}
	for _, s := range v.Services {
		by[s.Assessment]++
	}
	var counts []string
	for _, a := range []catalog.Assessment{catalog.Owned, catalog.Partial, catalog.Unowned, catalog.Decommissioned} {
		counts = append(counts, fmt.Sprintf("%d %s", by[a], a))
	}
	fmt.Fprintf(w, "%s: %s; %s, %s, %s\n", count(len(v.Services), "service"), strings.Join(counts, ", "),
		count(len(v.Teams), "team"), people(len(v.People)), count(len(v.Schedules), "schedule"))
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(v.Services) > 0 {
		fmt.Fprintln(tw, "\nSERVICE\tTIER\tSTATE\tASSESSMENT\tINCIDENT RESPONSE\tDEVELOPMENT\tWHERE\tMISSING")
		byTier := slices.Clone(v.Services)
		slices.SortStableFunc(byTier, func(a, b shownService) int { return a.Tier - b.Tier })
		for _, s := range byTier {
			fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", clean(s.Name), s.Tier, s.State, s.Assessment,
				s.who(config.IncidentResponse), s.who(config.Development, config.ContingencyDevelopment), s.place, dash(strings.Join(words(s.MissingRoles), ",")))
		}
		_ = tw.Flush() // nobody to tell when the output is gone
	}
	if len(v.Teams) > 0 {
		fmt.Fprintln(tw, "\nTEAM\tKIND\tMEMBERS\tLEAD\tMANAGER\tDIRECTOR\tON CALL\tOWNS\tWHERE")
		for _, t := range v.Teams {
			fmt.Fprintf(tw, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%d\t%s\n", clean(t.Name), t.Kind, len(t.Members), dash(t.Lead), dash(t.Manager),
				dash(t.Director), onCall(t, "whole team"), len(t.Owns), t.place)
		}
		_ = tw.Flush() // likewise
	}
}

// who answers in the first of the roles that somebody fills.
func (s shownService) who(roles ...config.Role) string {
	for _, want := range roles {
		for _, r := range s.Roles {
			switch {
			case r.Role != want:
			case r.Team != "":
				return clean(r.Team)
			case r.HeldBy != "":
				return "vacant (" + clean(r.HeldBy) + ")"
			}
		}
	}
	return "-"
}

func (v *shown) printEntries(w io.Writer) {
	var blocks []string
	for _, s := range v.Services {
		blocks = append(blocks, s.text())
	}
	for _, t := range v.Teams {
		blocks = append(blocks, fields("team "+t.Name, t.place, [][2]string{
			{"also", strings.Join(t.Aliases, ", ")}, {"kind", kindText(t)}, {"members", cmp.Or(strings.Join(t.Members, ", "), "nobody")},
			{"lead", t.Lead}, {"manager", t.Manager}, {"director", t.Director}, {"on call", onCall(t, "the whole team")},
			{"slack", strings.TrimSpace(t.SlackChannel + " " + t.SlackUsergroup)}, {"email", t.Email},
			{"webhooks", strings.Join(t.Webhooks, ", ")}, {"owns", cmp.Or(strings.Join(t.Owns, ", "), "nothing")},
		}))
	}
	for _, p := range v.People {
		blocks = append(blocks, fields("person "+p.Name, p.place, [][2]string{
			{"email", p.Email}, {"slack", p.Slack}, {"phone", p.Phone}, {"timezone", p.Timezone},
			{"contact", strings.Join(p.Contact, ", ")}, {"teams", cmp.Or(strings.Join(p.Teams, ", "), "none")},
		}))
	}
	for _, s := range v.Schedules {
		if v.schedules[s.Name] {
			blocks = append(blocks, fields("schedule "+s.Name, s.place, [][2]string{
				{"timezone", s.Timezone}, {"on call for", cmp.Or(strings.Join(s.Teams, ", "), "nobody")},
			}))
		}
	}
	fmt.Fprint(w, strings.Join(blocks, "\n"))
}

// onCall is the team's schedule, or who is on call without one. Volunteers never are.
func onCall(t shownTeam, whole string) string {
	if !t.MayOwn {
		return "-"
	}
	return cmp.Or(clean(t.Schedule), whole)
}

func kindText(t shownTeam) string {
	if t.MayOwn {
		return string(t.Kind)
	}
	return string(t.Kind) + ", never owns"
}

func (s shownService) text() string {
	assessed := string(s.Assessment)
	if len(s.MissingRoles) > 0 {
		assessed += ", without " + strings.Join(words(s.MissingRoles), ", ")
	}
	lines := [][2]string{
		{"also", strings.Join(s.Aliases, ", ")}, {"description", s.Description},
		{"state", fmt.Sprintf("%s, tier %d", s.State, s.Tier)}, {"assessment", assessed},
	}
	for _, r := range s.Roles {
		text := r.Team
		switch {
		case r.HeldBy != "":
			text = "vacant, held by " + r.HeldBy
		case r.Derived:
			text += " (as configuration_deployment owner)"
		case r.Team == "" && r.Written != "":
			text = "MISSING: " + r.Written + " is unknown or has no members"
		case r.Team == "" && r.Missing:
			text = "MISSING"
		}
		lines = append(lines, [2]string{string(r.Role), text})
	}
	lines = append(lines, [2]string{"product manager", s.ProductManager}, [2]string{"volunteers", strings.Join(s.Volunteers, ", ")})
	if s.SLO != nil {
		lines = append(lines, [2]string{"slo", strings.TrimSpace(fmt.Sprintf("%v %% %s %s", s.SLO.Objective, s.SLO.Window, s.SLO.URL))})
	}
	lines = append(lines, [2]string{"runbook", s.Runbook}, [2]string{"dashboard", s.Dashboard})
	for _, name := range slices.Sorted(maps.Keys(s.Links)) {
		lines = append(lines, [2]string{"link", name + " " + s.Links[name]})
	}
	for _, set := range s.Alerts {
		lines = append(lines, [2]string{"alerts", strings.Join(set, ", ")})
	}
	lines = append(lines, [2]string{"policy", s.Policy})
	if s.Verified != nil {
		lines = append(lines, [2]string{"verified", s.Verified.On + " by " + cmp.Or(strings.Join(s.Verified.By, ", "), "nobody")})
	}
	if s.Legacy != nil {
		lines = append(lines, [2]string{"legacy", strings.TrimSpace("since " + cmp.Or(s.Legacy.Since, "?") + ": " + s.Legacy.Reason)})
	}
	return fields("service "+s.Name, s.place, lines)
}

// fields prints what an entry has, one fact a line.
func fields(title string, at place, lines [][2]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", clean(title), at)
	for _, l := range lines {
		if l[1] != "" {
			fmt.Fprintf(&b, "  %-25s %s\n", l[0], clean(l[1]))
		}
	}
	return b.String()
}
