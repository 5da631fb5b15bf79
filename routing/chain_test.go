package routing

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"callchain/config"
	"callchain/routing/catalog"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite the golden files with what happens now; then read the difference")

// chainInputOf reads a catalog and, under escalation, policies. The fallback
// team is the catalog's team sre.
func chainInputOf(t testing.TB, catalogText, policies string) chainInput {
	t.Helper()
	decoded, ps := config.ParseCatalog([]config.File{{Name: "catalog.yml", Data: []byte(catalogText)}})
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	cat, ps := catalog.New(decoded)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	in := chainInput{catalog: cat, policies: map[string]*config.Policy{}, fallback: cat.Team("sre")}
	builtIn := config.DefaultPolicy()
	in.policies[config.DefaultPolicyName] = &builtIn
	for _, line := range strings.Split(policies, "\n") {
		if name, steps, ok := strings.Cut(line, ":"); ok {
			in.policies[name] = policyOf(t, name, steps)
		}
	}
	return in
}

// policyOf reads "notify whom wait only, ..." ("-" and missing: the default).
func policyOf(t testing.TB, name, steps string) *config.Policy {
	t.Helper()
	p := &config.Policy{Name: config.At[string]{V: name}}
	for s := range strings.SplitSeq(steps, ",") {
		f := append(strings.Fields(s), "-", "-", "-")
		step := config.Step{Notify: config.At[string]{V: f[0]}}
		if f[1] != "-" {
			step.Whom.V = f[1]
		}
		if f[2] != "-" {
			d, err := time.ParseDuration(f[2])
			if err != nil {
				t.Fatal(err)
			}
			step.AckWithin.All.V = config.Duration(d)
		}
		if f[3] != "-" {
			step.Only.V = config.Urgency(f[3])
		}
		p.Steps = append(p.Steps, step)
	}
	return p
}

func printChain(c Chain) string {
	var b strings.Builder
	fmt.Fprintf(&b, "policy %s, %d rounds, reminders every %s\n", c.Policy, c.Rounds, c.RemindEvery)
	for _, s := range c.Steps {
		index := fmt.Sprint(s.Index)
		if s.Through != s.Index {
			index += "-" + fmt.Sprint(s.Through)
		}
		fmt.Fprintf(&b, "%d. +%s for %s [%s] %s/%s: %s\n   %s\n", s.Position, minutes(s.After), minutes(s.AckWithin), index, s.Notify, s.Whom, strings.Join(s.People, ", "), s.Reason)
	}
	for _, s := range c.Skipped {
		fmt.Fprintf(&b, "-  %s: %s\n", s.Notify, s.Reason)
	}
	if len(c.Risks) > 0 {
		fmt.Fprintf(&b, "!  %v\n", c.Risks)
	}
	return b.String()
}

const worldCatalog = `
people:
  - {name: amira, slack: U1}
  - {name: ben, slack: U2}
  - {name: chen, slack: U3}
  - {name: dora, slack: U4}
  - {name: elif, slack: U5}
  - {name: fatma, slack: U6}
  - {name: goran, slack: U7}
  - {name: hana, slack: U8}
  - {name: vera, slack: U9}
schedules:
  - name: ops-week
    rotations: [{members: [fatma, goran], start: 2026-01-05T09:00:00, every: 1w}]
  - name: office
    rotations: [{members: [ben, chen], start: 2026-01-05T09:00:00, every: 1w, only: {from: "09:00", to: "17:00"}}]
  - name: strangers
    rotations: [{members: [gone], start: 2026-01-05T09:00:00, every: 1w}]
  - {name: feed, ical_file: secrets/url}
teams:
  - {name: ops, members: [fatma, goran], lead: goran, manager: dora, director: elif, on_call: ops-week}
  - {name: devs, members: [ben, chen], lead: ben, manager: hana, director: elif, on_call: office}
  - {name: solo, members: [amira]}
  - {name: leaderless, members: [chen, ben], on_call: feed}
  - {name: odd, members: [chen], lead: ben, on_call: strangers}
  - {name: empty}
  - {name: vols, kind: volunteer, members: [vera]}
  - {name: sre, members: [amira, ben], manager: hana, director: elif}
services:
  - name: active
    state: active
    owners: {development: devs, configuration_deployment: ops, incident_response: ops, product_management: devs}
    volunteers: [vols]
  - name: community
    state: community
    owners: {contingency_development: devs, configuration_deployment: ops, incident_response: ops, product_management: devs}
  - name: maintenance
    state: maintenance
    owners: {contingency_development: devs, configuration_deployment: ops, incident_response: ops}
  - name: vacant
    state: maintenance
    owners: {contingency_development: {vacant: true, director: elif, reason: disbanded}, configuration_deployment: ops, incident_response: ops}
  - name: third-party
    state: third_party
    owners: {configuration_deployment: devs, incident_response: ops}
  - name: unowned
    state: unowned
    owners: {incident_response: ops}
  - {name: orphan, state: unowned}
  - {name: decommissioned, state: decommissioned}
  - {name: lonely, state: third_party, owners: solo, policy: roles}
  - {name: unstaffed, state: third_party, owners: empty}
  - {name: feed, state: third_party, owners: leaderless}
  - {name: odd, state: third_party, owners: odd}
  - {name: lost, state: third_party, owners: {configuration_deployment: ops, incident_response: gone}, policy: gone}
  - {name: same, state: active, owners: sre}
`

const worldPolicies = `roles: incident_response - 5m, development - 7m
next: incident_response next_on_call 5m, incident_response lead 6m, incident_response manager 7m, team:devs lead 8m, person:vera - 1m, person:amira - 2m, team:vols - 3m, team:nowhere - 4m
product: product_management - 5m
late: director - 1m, incident_response - 5m page, development team, engineering_manager - 3m, fallback - 4m`

// 23:00 on a Tuesday: ops-week has fatma, office nobody.
var night = time.Date(2026, 3, 3, 23, 0, 0, 0, time.UTC)

func TestChainGolden(t *testing.T) {
	in := chainInputOf(t, worldCatalog, worldPolicies)
	service := func(name string) Target { return Target{Subject: "service:" + name, Service: name} }
	type query struct {
		title  string
		target Target
		u      config.Urgency
		from   int
		paged  []string
		at     time.Time
	}
	var queries []query
	for _, s := range []string{"active", "community", "maintenance", "vacant", "third-party", "unowned", "orphan", "decommissioned"} {
		for _, u := range []config.Urgency{config.UnbreakNow, config.Page} {
			queries = append(queries, query{title: s + ", " + string(u), target: service(s), u: u})
		}
	}
	queries = append(queries, []query{
		{title: "in office hours", target: service("active"), u: config.UnbreakNow, at: night.Add(-11 * time.Hour)},
		{title: "notify has the chain of page", target: service("active"), u: config.Notify},
		{title: "one person", target: service("lonely"), u: config.Page},
		{title: "team without members", target: service("unstaffed"), u: config.Page},
		{title: "nobody on call, no lead", target: service("feed"), u: config.Page},
		{title: "strangers on call", target: service("odd"), u: config.Page},
		{title: "unknown owner and policy", target: service("lost"), u: config.Page},
		{title: "everything merges", target: service("same"), u: config.Page},
		{title: "team label", target: Target{Subject: "team:ops", Team: "ops"}, u: config.UnbreakNow},
		{title: "team label of volunteers", target: Target{Subject: "team:vols", Team: "vols"}, u: config.Page},
		{title: "team that vanished", target: Target{Subject: "team:past", Team: "past"}, u: config.Page},
		{title: "team without members by label", target: Target{Subject: "team:empty", Team: "empty"}, u: config.Page},
		{title: "unmapped", target: Target{Subject: "unmapped"}, u: config.UnbreakNow},
		{title: "name the catalog lacks", target: Target{Subject: "name:x", Named: "x"}, u: config.Page},
		{title: "service that vanished", target: service("past"), u: config.Page},
		{title: "test page", target: Target{Subject: "test", Person: "chen"}, u: config.Page},
		{title: "test page to a stranger", target: Target{Subject: "test", Person: "nobody"}, u: config.Page},
		{title: "every whom", target: Target{Subject: "service:active", Service: "active", Policy: "next"}, u: config.Page},
		{title: "manager before any team", target: Target{Subject: "service:active", Service: "active", Policy: "late"}, u: config.UnbreakNow},
		{title: "product management in maintenance", target: Target{Subject: "service:maintenance", Service: "maintenance", Policy: "product"}, u: config.Page},
		{title: "product management of a vacancy", target: Target{Subject: "service:vacant", Service: "vacant", Policy: "product"}, u: config.Page},
		{title: "product management of an active service", target: Target{Subject: "service:active", Service: "active", Policy: "product"}, u: config.Page},
		{title: "from step 4", target: service("active"), u: config.UnbreakNow, from: 4, paged: []string{"fatma", "goran", "ben"}},
		{title: "from a step that adds nobody", target: service("active"), u: config.UnbreakNow, from: 1, paged: []string{"fatma", "goran"}},
		{title: "nobody new is left", target: service("active"), u: config.UnbreakNow, from: 4, paged: []string{"hana", "elif", "amira", "ben"}},
		{title: "the round is over", target: service("active"), u: config.Page, from: 7, paged: []string{"fatma"}},
		{title: "over after a stale rule", target: service("decommissioned"), u: config.Page, from: 8},
	}...)

	var b strings.Builder
	for _, q := range queries {
		at := q.at
		if at.IsZero() {
			at = night
		}
		var paged map[string]bool
		for _, h := range q.paged {
			if paged == nil {
				paged = map[string]bool{}
			}
			paged[h] = true
		}
		fmt.Fprintf(&b, "== %s\n%s\n", q.title, printChain(in.chain(q.target, q.u, at, q.from, paged)))
	}
	const file = "testdata/chains.golden"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("chains changed (-want +got):\n%s", diff)
	}
}

// drawWorld builds a small catalog of any kind of ownership, good or bad.
func drawWorld(t *rapid.T) chainInput {
	people := []string{"a", "b", "c", "d", "e"}
	teams := []string{"one", "two", "three", "sre", "gone"}
	str := func(s string) config.At[string] { return config.At[string]{V: s} }
	pick := func(from []string, label string) config.At[string] {
		return str(rapid.SampledFrom(append([]string{""}, from...)).Draw(t, label))
	}
	in := &config.Catalog{}
	for _, p := range people {
		in.People = append(in.People, config.Person{Name: str(p), Slack: str("U" + p)})
	}
	members := rapid.SliceOfNDistinct(rapid.SampledFrom(append(people, "z")), 0, 3, rapid.ID)
	in.Schedules = []config.Schedule{{Name: str("never")}, {Name: str("always"), Rotations: []config.Rotation{{
		Members: []config.Turn{{str("a")}, {str("z")}, {str("c"), str("d")}},
		Start:   config.At[config.LocalTime]{V: config.LocalTime{Time: night.AddDate(0, 0, -30)}},
		Every:   config.At[config.Period]{V: config.Period{N: 1, Unit: config.Days}},
	}}}}
	for _, name := range teams[:4] {
		team := config.Team{Name: str(name), Lead: pick(people, "lead"), Manager: pick(people, "manager"),
			Director: pick(people, "director"), OnCall: pick([]string{"never", "always", "gone"}, "on call")}
		for _, m := range members.Draw(t, "members of "+name) {
			team.Members = append(team.Members, str(m))
		}
		if name == "sre" {
			team.Members = append(team.Members, str("e"))
		}
		in.Teams = append(in.Teams, team)
	}
	svc := config.Service{Name: str("svc"), State: config.At[config.State]{V: rapid.SampledFrom(config.States).Draw(t, "state")}}
	svc.Owners.Roles = map[config.Role]config.Owner{}
	for _, r := range config.Roles {
		if catalog.Requirement(svc.State.V, r) == catalog.NotApplicable {
			continue
		}
		if owner := pick(teams, string(r)); owner.V != "" {
			svc.Owners.Roles[r] = config.Owner{Team: owner}
		} else if svc.State.V == config.Maintenance && r == config.ContingencyDevelopment && rapid.Bool().Draw(t, "vacant") {
			svc.Owners.Roles[r] = config.Owner{Vacant: &config.Vacancy{Vacant: config.At[bool]{V: true}, Director: str("d"), Reason: str("r")}}
		}
	}
	in.Services = []config.Service{svc}
	cat, ps := catalog.New(in)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	builtIn := config.DefaultPolicy()
	own := config.Policy{Name: str("own")}
	notify := []string{"engineering_manager", "director", "fallback", "team:one", "team:gone", "person:b", "person:z"}
	for _, r := range config.Roles {
		notify = append(notify, string(r))
	}
	for range rapid.IntRange(0, 6).Draw(t, "steps") {
		s := config.Step{Notify: str(rapid.SampledFrom(notify).Draw(t, "notify")), Whom: pick([]string{"on_call", "next_on_call", "team", "lead", "manager"}, "whom")}
		s.Only.V = rapid.SampledFrom([]config.Urgency{"", "", config.UnbreakNow, config.Page}).Draw(t, "only")
		s.AckWithin.All.V = config.Duration(time.Minute * time.Duration(rapid.IntRange(1, 30).Draw(t, "minutes")))
		own.Steps = append(own.Steps, s)
	}
	return chainInput{catalog: cat, policies: map[string]*config.Policy{"default": &builtIn, "own": &own}, fallback: cat.Team("sre")}
}

func drawTarget(t *rapid.T) Target {
	return Target{
		Service: rapid.SampledFrom([]string{"svc", "svc", "svc", "", "gone"}).Draw(t, "service"),
		Team:    rapid.SampledFrom([]string{"", "one", "gone"}).Draw(t, "team"),
		Policy:  rapid.SampledFrom([]string{"", "own", "gone"}).Draw(t, "policy"),
		Person:  rapid.SampledFrom([]string{"", "", "", "", "a", "z"}).Draw(t, "person"),
	}
}

// A whole round is never empty, every step adds somebody, positions and places
// rise, the waits add up, and no step of the policy is lost without a word.
func TestChainHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, target := drawWorld(t), drawTarget(t)
		u := rapid.SampledFrom(config.Urgencies).Draw(t, "urgency")
		c := in.chain(target, u, night, 0, nil)
		if len(c.Steps) == 0 {
			t.Fatalf("nobody is asked:\n%s", printChain(c))
		}
		seen, after, last := map[string]bool{}, time.Duration(0), -1
		for i, s := range c.Steps {
			switch {
			case s.Position != i+1:
				t.Fatalf("step %d has position %d", i+1, s.Position)
			case s.Index <= last || s.Through < s.Index:
				t.Fatalf("step %d is place %d to %d, after place %d", i+1, s.Index, s.Through, last)
			case s.After != after:
				t.Fatalf("step %d begins after %v, want %v", i+1, s.After, after)
			case s.AckWithin <= 0 || s.Reason == "" || len(s.People) == 0:
				t.Fatalf("step %d lacks a wait, a reason or people:\n%s", i+1, printChain(c))
			case !addsTo(seen, s.People):
				t.Fatalf("step %d adds nobody:\n%s", i+1, printChain(c))
			}
			for _, h := range s.People {
				if in.catalog.Person(h) == nil {
					t.Fatalf("step %d asks the stranger %s", i+1, h)
				}
			}
			add(seen, s.People)
			after += s.AckWithin
			last = s.Through
		}
		policy := in.policies[c.Policy]
		single := c.Steps[0].Index == len(policy.Steps)
		standing := 0
		for _, s := range c.Steps {
			if s.Index < len(policy.Steps) {
				standing++
			}
		}
		if !(single && len(c.Skipped) == 0) && standing+len(c.Skipped) != len(policy.Steps) {
			t.Fatalf("%d steps of the policy, but\n%s", len(policy.Steps), printChain(c))
		}
		if target.Person == "" && slices.Contains(c.Risks, RiskSinglePerson) != (len(seen) == 1) {
			t.Fatalf("%d people, risks %v", len(seen), c.Risks)
		}
		if u == config.Page {
			for _, s := range c.Steps {
				if s.Notify == string(config.ContingencyDevelopment) {
					t.Fatalf("contingency development is woken for a page:\n%s", printChain(c))
				}
			}
		}
	})
}

// Walking step by step, planning anew each time from behind the step taken with
// the people paged so far, is the whole round, and ends.
func TestChainContinuesAsPlanned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, target := drawWorld(t), drawTarget(t)
		u := rapid.SampledFrom([]config.Urgency{config.UnbreakNow, config.Page}).Draw(t, "urgency")
		whole := in.chain(target, u, night, 0, nil)
		var walked []Step
		paged := map[string]bool{}
		for c := whole; len(c.Steps) > 0; {
			s := c.Steps[0]
			walked = append(walked, s)
			if len(walked) > len(whole.Steps) {
				break
			}
			add(paged, s.People)
			c = in.chain(target, u, night, s.Through+1, paged)
		}
		if diff := cmp.Diff(whole.Steps, walked); diff != "" {
			t.Fatalf("walked step by step (-whole +walked):\n%s", diff)
		}
	})
}

func BenchmarkChain(b *testing.B) {
	in := chainInputOf(b, worldCatalog, worldPolicies)
	b.ReportAllocs()
	for b.Loop() {
		in.chain(Target{Service: "active"}, config.UnbreakNow, night, 0, nil)
	}
}
