package catalog

import (
	"slices"
	"strings"
	"testing"
	"time"

	"callchain/config"

	"github.com/google/go-cmp/cmp"
)

func decode(t testing.TB, text string) *config.Catalog {
	t.Helper()
	in, ps := config.ParseCatalog([]config.File{{Name: "catalog.yml", Data: []byte(text)}})
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	return in
}

func TestRequirement(t *testing.T) {
	const n, o, r = NotApplicable, Optional, Required
	want := map[config.State][5]Need{
		// development, contingency, configuration, incident response, product
		config.Active:         {r, n, r, r, r},
		config.Community:      {n, r, r, r, r},
		config.Maintenance:    {n, r, r, r, o},
		config.ThirdParty:     {o, o, r, r, o},
		config.Unowned:        {o, o, o, o, o},
		config.Decommissioned: {n, n, n, n, n},
	}
	for _, s := range config.States {
		for i, role := range config.Roles {
			if got := Requirement(s, role); got != want[s][i] {
				t.Errorf("%s in %s is %v, want %v", role, s, got, want[s][i])
			}
		}
	}
}

// base has a team of each kind, one without members and one of strangers.
const base = `
people:
  - {name: amira, email: amira@example.org, slack: U1}
  - {name: ben, email: ben@example.org}
  - {name: dora, email: dora@example.org}
  - {name: elif, email: Elif@example.org}
  - {name: vera, slack: U9}
teams:
  - {name: devs, aliases: [coders], members: [amira, ben], manager: dora, director: elif}
  - {name: ops, kind: affiliate, members: [ben], lead: dora}
  - {name: vols, kind: volunteer, members: [vera]}
  - {name: empty}
services:
`

// Every role of every state: given to a team alone, it fills the role or is
// refused, and the others are missing exactly where the table requires them.
func TestEveryRoleInEveryState(t *testing.T) {
	for _, state := range config.States {
		for _, role := range config.Roles {
			t.Run(string(state)+"/"+string(role), func(t *testing.T) {
				c, ps := New(decode(t, base+"  - {name: svc, state: "+string(state)+", owners: {"+string(role)+": devs}}\n"))
				if Requirement(state, role) == NotApplicable {
					if c != nil || len(ps.Errors()) != 1 || !strings.Contains(ps.Error(), "n/a in state "+string(state)) {
						t.Fatalf("want it refused as n/a, got %v", ps)
					}
					return
				}
				if err := ps.Err(); err != nil {
					t.Fatal(err)
				}
				svc := c.Service("svc")
				if svc.Owners[role] != c.Team("devs") || len(svc.Owners) != 1 {
					t.Errorf("owners: %v", svc.Owners)
				}
				required := config.Roles
				missing, partial := []config.Role{}, false
				for _, r := range required {
					needed := Requirement(state, r) == Required
					if state == config.Unowned {
						needed = Requirement(config.Maintenance, r) == Required
					}
					if needed && r != role {
						missing = append(missing, r)
					}
					partial = partial || needed && r == role
				}
				if diff := cmp.Diff(missing, svc.MissingRoles); diff != "" {
					t.Errorf("missing roles (-want +got):\n%s", diff)
				}
				want := Unowned
				if partial && state != config.Unowned {
					want = Partial
				}
				if svc.Assessment != want {
					t.Errorf("assessment %s, want %s", svc.Assessment, want)
				}
				warnings := len(missing)
				if state == config.Unowned {
					warnings = 0
				}
				if len(ps) != warnings {
					t.Errorf("want a warning for each of %v, got\n%v", missing, ps)
				}
			})
		}
	}
}

func TestOwners(t *testing.T) {
	for _, tc := range []struct {
		name, service string
		assessment    Assessment
		missing       []config.Role
		filled        []config.Role
		vacancy       bool
		reference     bool
	}{
		{name: "short form, active", service: "state: active, owners: devs", assessment: Owned,
			filled: []config.Role{config.Development, config.ConfigurationDeployment, config.IncidentResponse, config.ProductManagement}},
		{name: "short form, maintenance", service: "state: maintenance, owners: coders", assessment: Owned,
			filled: []config.Role{config.ContingencyDevelopment, config.ConfigurationDeployment, config.IncidentResponse, config.ProductManagement}},
		{name: "short form, third party", service: "state: third_party, owners: devs", assessment: Owned, filled: config.Roles},
		{name: "a vacancy counts as filled", assessment: Owned, vacancy: true,
			service: "state: maintenance, owners: {contingency_development: {vacant: true, director: elif, reason: r}, configuration_deployment: devs, incident_response: ops}",
			filled:  []config.Role{config.ConfigurationDeployment, config.IncidentResponse}},
		{name: "a vacancy of a stranger does not", assessment: Partial, reference: true,
			service: "state: maintenance, owners: {contingency_development: {vacant: true, director: nobody, reason: r}, configuration_deployment: devs, incident_response: ops}",
			missing: []config.Role{config.ContingencyDevelopment}, filled: []config.Role{config.ConfigurationDeployment, config.IncidentResponse}},
		{name: "third party needs two", service: "state: third_party, owners: {configuration_deployment: devs, incident_response: ops}", assessment: Owned,
			filled: []config.Role{config.ConfigurationDeployment, config.IncidentResponse}},
		{name: "an unknown team", service: "state: third_party, owners: {configuration_deployment: devs, incident_response: gone}", assessment: Partial, reference: true,
			missing: []config.Role{config.IncidentResponse}, filled: []config.Role{config.ConfigurationDeployment}},
		{name: "a team without members", service: "state: third_party, owners: {configuration_deployment: devs, incident_response: empty}", assessment: Partial,
			missing: []config.Role{config.IncidentResponse}, filled: []config.Role{config.ConfigurationDeployment}},
		{name: "nobody", service: "state: active", assessment: Unowned,
			missing: []config.Role{config.Development, config.ConfigurationDeployment, config.IncidentResponse, config.ProductManagement}},
		{name: "unowned keeps what it has", service: "state: unowned, owners: {contingency_development: devs, configuration_deployment: devs, incident_response: ops}", assessment: Unowned,
			filled: []config.Role{config.ContingencyDevelopment, config.ConfigurationDeployment, config.IncidentResponse}},
		{name: "decommissioned needs nothing", service: "state: decommissioned", assessment: Decommissioned},
		{name: "unknown volunteers", service: "state: third_party, owners: devs, volunteers: [vols, gone]", assessment: Owned, filled: config.Roles, reference: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, ps := New(decode(t, base+"  - {name: svc, "+tc.service+"}\n"))
			if err := ps.Err(); err != nil {
				t.Fatal(err)
			}
			svc := c.Service("svc")
			var filled []config.Role
			for _, r := range config.Roles {
				if svc.Owners[r] != nil {
					filled = append(filled, r)
				}
			}
			if tc.missing == nil {
				tc.missing = []config.Role{}
			}
			type facts struct {
				Assessment         Assessment
				Missing, Filled    []config.Role
				Vacancy, Reference bool
			}
			if diff := cmp.Diff(facts{tc.assessment, tc.missing, tc.filled, tc.vacancy, tc.reference},
				facts{svc.Assessment, svc.MissingRoles, filled, svc.VacancyHeld != nil, svc.MissingReference}); diff != "" {
				t.Errorf("(-want +got):\n%s\n%v", diff, ps)
			}
		})
	}
}

func TestDerivedOwners(t *testing.T) {
	c, ps := New(decode(t, base+`
  - {name: kept, state: maintenance, owners: {contingency_development: devs, configuration_deployment: ops, incident_response: ops}}
  - {name: held, state: maintenance, owners: {contingency_development: {vacant: true, director: elif, reason: r}, configuration_deployment: ops, incident_response: ops}}
  - {name: given, state: maintenance, owners: {contingency_development: ops, configuration_deployment: ops, incident_response: ops, product_management: devs}}
  - {name: bought, state: third_party, owners: {configuration_deployment: ops, incident_response: devs}}
  - {name: backed, state: third_party, owners: {contingency_development: devs, configuration_deployment: ops, incident_response: ops}}
`))
	if len(ps) != 0 {
		t.Fatal(ps)
	}
	for service, want := range map[string]string{"kept": "dora", "held": "elif", "given": "dora"} {
		if got := c.Service(service).ProductManager(); got != c.Person(want) {
			t.Errorf("product manager of %s: %v, want %s", service, got, want)
		}
	}
	if got := c.Service("bought").ProductManager(); got != nil {
		t.Errorf("product manager of bought: %s, want nobody", got.Handle)
	}
	for service, want := range map[string]string{"bought": "ops", "backed": "devs", "kept": "devs"} {
		if got := c.Service(service).Owner(config.ContingencyDevelopment); got != c.Team(want) {
			t.Errorf("contingency of %s: %v, want %s", service, got, want)
		}
	}
	if got := c.Service("bought").Owner(config.Development); got != nil {
		t.Errorf("development of bought: %s, want nobody", got.Name)
	}
}

func TestProblems(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		refused    bool
		want       []string // "LINE:COL severity ... part of the text"
	}{
		{"a name twice", "people:\n  - {name: amira, slack: U1}\n  - {name: amira, slack: U2}\n", true,
			[]string{`3:12: error: person "amira" is already named at catalog.yml:2:12`}},
		{"an alias that is a name", "people: [{name: a, slack: U1}]\nteams:\n  - {name: one, members: [a], aliases: [two]}\n  - {name: two, members: [a]}\n", true,
			[]string{`4:12: error: team "two" is already named at catalog.yml:3:41`}},
		{"nobody to reach", "people:\n  - {name: amira}\n", true,
			[]string{`2:12: error: person amira has neither email nor slack`}},
		{"a webhook reaches", "people:\n  - {name: amira, phone: \"+20\", contact: [\"webhook:sms\"]}\n", false, nil},
		{"one address for two", "people:\n  - {name: amira, slack: U1}\n  - {name: ben, slack: U1}\n", false,
			[]string{`3:24: warning: amira and ben share the Slack id U1`}},
		{"a person as owner", base + "  - {name: svc, state: third_party, owners: amira}\n", true,
			[]string{`14:45: error: service svc: every role is owned by the person amira; people never own`}},
		{"volunteers as owners", base + "  - name: svc\n    state: third_party\n    owners:\n      configuration_deployment: vols\n      incident_response: ops\n", true,
			[]string{`17:33: error: service svc: configuration_deployment is owned by the volunteer team vols`}},
		{"owners of a decommissioned service", base + "  - {name: svc, state: decommissioned, owners: devs}\n", true,
			[]string{`14:48: error: service svc is decommissioned, where every role is n/a; remove its owners`}},
		{"a vacancy elsewhere", base + "  - {name: svc, state: community, owners: {contingency_development: {vacant: true, director: elif, reason: r}, configuration_deployment: ops, incident_response: ops, product_management: ops}}\n", true,
			[]string{`error: service svc: contingency_development cannot be held vacant in state community`}},
		{"a vacancy of another role", base + "  - {name: svc, state: maintenance, owners: {contingency_development: ops, configuration_deployment: {vacant: true, director: elif, reason: r}, incident_response: ops}}\n", true,
			[]string{`error: service svc: configuration_deployment cannot be held vacant in state maintenance`}},
		{"a vacancy without director and reason", base + "  - {name: svc, state: maintenance, owners: {contingency_development: {vacant: true}, configuration_deployment: ops, incident_response: ops}}\n", true,
			[]string{`names no director`, `gives no reason`}},
		{"an unknown owner", base + "  - {name: svc, state: third_party, owners: {configuration_deployment: gone, incident_response: ops}}\n", false,
			[]string{`14:72: warning: service svc: configuration_deployment names team "gone", which the catalog lacks, so the role is unfilled`}},
		{"an owner with a typing mistake", base + "  - {name: svc, state: third_party, owners: {configuration_deployment: dves, incident_response: ops}, volunteers: [volts]}\n", false,
			[]string{`names team "dves", which the catalog lacks, so the role is unfilled; add the team or correct the name; did you mean devs?`, `did you mean vols?`}},
		{"people and schedules with typing mistakes", "people: [{name: amira, slack: U1}]\nschedules:\n  - name: week\n    rotations: [{members: [amria], start: 2026-01-05T09:00:00, every: 1w}]\nteams:\n  - {name: one, members: [amira], lead: amir, on_call: weeek}\n", false,
			[]string{`add the person or correct the name; did you mean amira?`, `lead "amir" is not in the catalog and is left out; add the person or correct the name; did you mean amira?`, `add the schedule or correct the name; did you mean week?`}},
		{"an owner without members", base + "  - {name: svc, state: third_party, owners: {configuration_deployment: empty, incident_response: ops}}\n", false,
			[]string{`14:72: warning: service svc: configuration_deployment is owned by empty, a team without members`}},
		{"unknown people and schedules", "people: [{name: a, slack: U1}]\nschedules:\n  - name: week\n    rotations: [{members: [a, z], start: 2026-01-05T09:00:00, every: 1w}]\nteams:\n  - {name: one, members: [a, b], lead: c, manager: d, director: e, on_call: none}\n  - {name: two, members: [a], on_call: week}\n", false,
			[]string{`4:31: warning: schedule week names "z"`, `6:30: warning: team one: member "b"`, `lead "c"`, `manager "d"`, `director "e"`, `6:77: warning: team one: schedule "none" is not in the catalog, so the whole team is on call`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, ps := New(decode(t, tc.text))
			if (c == nil) != tc.refused || (len(ps.Errors()) > 0) != tc.refused {
				t.Errorf("refused %v, want %v", c == nil, tc.refused)
			}
			if len(ps) != len(tc.want) {
				t.Fatalf("want %d problems, got\n%v", len(tc.want), ps.Error())
			}
			for i, want := range tc.want {
				if !strings.Contains(ps[i].String(), want) {
					t.Errorf("got  %s\nwant %s", ps[i], want)
				}
			}
		})
	}
}

// Values that no file gave, as tests and tools build them, are held to the same.
func TestStructureWithoutPlaces(t *testing.T) {
	_, ps := New(&config.Catalog{
		Teams:    []config.Team{{}},
		Services: []config.Service{{Name: config.At[string]{V: "svc"}}, {Name: config.At[string]{V: "odd"}, State: config.At[config.State]{V: "lost"}}},
	})
	for _, want := range []string{"team has no name", "service svc has no state", `unknown state "lost"`} {
		if !strings.Contains(ps.Error(), want) {
			t.Errorf("no problem says %q:\n%v", want, ps.Error())
		}
	}
	if c, ps := New(nil); c == nil || len(ps) != 0 {
		t.Errorf("an empty catalog is refused: %v", ps)
	}
}

func TestWhoIsWhere(t *testing.T) {
	c, ps := New(decode(t, base+"  - {name: svc, aliases: [s], state: third_party, owners: {configuration_deployment: devs, incident_response: devs}}\n"))
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	if c.Service("s") != c.Service("svc") || c.Team("coders") != c.Team("devs") || c.Service("x") != nil {
		t.Error("aliases do not lead to their entries")
	}
	if c.PersonBySlack("U1") != c.Person("amira") || c.PersonByEmail("ELIF@example.org") != c.Person("elif") || c.PersonBySlack("") != nil {
		t.Error("people are not found by their addresses")
	}
	var teams []string
	for _, team := range c.TeamsOf("ben") {
		teams = append(teams, team.Name)
	}
	if !slices.Equal(teams, []string{"devs", "ops"}) {
		t.Errorf("teams of ben: %v", teams)
	}
	if c.TeamOf("dora") != c.Team("ops") || c.TeamOf("vera") != c.Team("vols") || c.TeamOf("elif") != nil {
		t.Error("teams of dora, vera or elif are wrong")
	}
	svc := c.Service("svc")
	if !svc.OwnedBy("ben") || svc.OwnedBy("dora") || len(svc.OwningTeams()) != 1 {
		t.Error("svc is owned by the members of devs, once")
	}
	if len(c.Services()) != 1 || len(c.Teams()) != 4 || len(c.People()) != 5 || c.People()[0].Handle != "amira" {
		t.Error("the lists are not complete, once each, by name")
	}
	amira := c.Person("amira")
	if amira.Timezone != time.UTC || !slices.Equal(amira.Contact, []string{"slack", "email"}) {
		t.Errorf("defaults of a person: %+v", amira)
	}
}
