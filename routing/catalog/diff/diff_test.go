package diff

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

var update = flag.Bool("update", false, "write the golden files")

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func side(name, text string) *Side { return Read([]config.File{{Name: name, Data: []byte(text)}}) }

// base are the people and teams of most tests, and a service that never changes.
const base = `
people:
  - {name: ana, email: ana@example.org}
  - {name: ben, email: ben@example.org}
  - {name: cleo, email: cleo@example.org}
  - {name: dora, email: dora@example.org}
  - {name: vera, email: vera@example.org}
teams:
  - {name: a, members: [ana], manager: dora, director: dora}
  - {name: b, members: [ben], manager: dora}
  - {name: c, kind: affiliate, members: [cleo]}
  - {name: vols, kind: volunteer, members: [vera]}
services:
  - {name: still, state: third_party, owners: c}
`

func compare(t testing.TB, old, new string, opts Options) *Report {
	t.Helper()
	opts.Now = now
	r := Compare(side("old.yml", old), side("new.yml", new), opts)
	for _, f := range r.Findings {
		checkPlace(t, f.In, f.File, f.Line, f.Column, old, new)
	}
	for _, ch := range r.Changes {
		text := new
		if ch.File == "old.yml" {
			text = old
		}
		inText(t, ch.File, ch.Line, ch.Column, text)
	}
	return r
}

func checkPlace(t testing.TB, in, file string, line, col int, old, new string) {
	t.Helper()
	want, text := "new.yml", new
	if in == inOld {
		want, text = "old.yml", old
	}
	if file != want {
		t.Errorf("a finding in %s stands in %s", in, file)
	}
	inText(t, file, line, col, text)
}

func inText(t testing.TB, file string, line, col int, text string) {
	t.Helper()
	lines := strings.Split(text, "\n")
	if line < 1 || line > len(lines) || col < 1 || col > len(lines[line-1])+1 {
		t.Errorf("%s:%d:%d is not in the file", file, line, col)
	}
}

func codesOf(r *Report, severities ...Severity) []string {
	out := []string{}
	for _, f := range r.Findings {
		if len(severities) == 0 || slices.Contains(severities, f.Severity) {
			out = append(out, f.Code)
		}
	}
	return out
}

// entry is a service in a state with every role filled.
func entry(s config.State) string {
	if s == none {
		return ""
	}
	owners := ", owners: a"
	if s == config.Decommissioned {
		owners = ""
	}
	return "  - {name: svc, state: " + string(s) + owners + "}\n"
}

// The policy's table, from the row's state to the column's: i usual, w rare, e
// refused.
const table = `
                none active community maintenance third_party unowned decommissioned
none            -    i      i         w           i           e       e
active          e    -      i         i           e           e       w
community       e    i      -         i           e           e       w
maintenance     e    i      w         -           e           e       i
third_party     e    w      e         w           -           e       i
unowned         e    w      w         i           w           -       w
decommissioned  i    e      e         e           e           e       -
`

func TestEveryTransition(t *testing.T) {
	rows := strings.Split(strings.TrimSpace(table), "\n")
	columns := strings.Fields(rows[0])
	if len(columns) != len(config.States)+1 || len(rows) != len(columns)+1 {
		t.Fatal("the table does not have every state")
	}
	state := func(s string) config.State {
		if s == "none" {
			return none
		}
		return config.State(s)
	}
	for _, row := range rows[1:] {
		cells := strings.Fields(row)
		for i, cell := range cells[1:] {
			from, to := state(cells[0]), state(columns[i])
			t.Run(cells[0]+" to "+columns[i], func(t *testing.T) {
				r := compare(t, base+entry(from), base+entry(to), Options{})
				if cell == "-" {
					if len(r.Findings)+len(r.Changes) > 0 {
						t.Errorf("want nothing, got %v %v", r.Findings, r.Changes)
					}
					return
				}
				want := map[string]Severity{"i": Info, "w": Warning, "e": Error}[cell]
				codes := map[Severity]string{Info: CodeMove, Warning: CodeMoveRare, Error: CodeMoveRefused}
				switch {
				case from == none:
					codes = map[Severity]string{Info: CodeLaunch, Warning: CodeLaunchRare, Error: CodeLaunchRefused}
				case to == none:
					codes = map[Severity]string{Info: CodeDeleted, Error: CodeDropped}
				}
				var f *Finding
				for i := range r.Findings {
					if r.Findings[i].Code == codes[want] {
						f = &r.Findings[i]
					} else if r.Findings[i].Severity != Info {
						t.Errorf("unexpected: %+v", r.Findings[i])
					}
				}
				if f == nil {
					t.Fatalf("want %s, got %v", codes[want], r.Findings)
				}
				if f.Severity != want || f.Reason == "" || (f.Remedy == "") != (want == Info) || f.From != string(from) || f.To != string(to) || f.Service != "svc" {
					t.Errorf("want severity %s with a reason, and a remedy unless it is usual; got %+v", want, *f)
				}
				if (f.In == inOld) != (to == none) {
					t.Errorf("the place is in %s", f.In)
				}
				if r.OK != (want != Error) {
					t.Errorf("ok is %v", r.OK)
				}
				agree := []string{"a"}
				if (from == none || from == config.Decommissioned) && (to == none || to == config.Decommissioned) {
					agree = []string{}
				}
				if diff := cmp.Diff(agree, f.Agree); diff != "" {
					t.Errorf("who must agree (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// A role that the new state requires and that only NEW leaves out is refused, in
// every transition; one that OLD lacked already is not this change's fault.
func TestEveryRoleInEveryTransition(t *testing.T) {
	with := func(s config.State, leave config.Role) string {
		var owners []string
		for _, r := range config.Roles {
			if catalog.Requirement(s, r) != catalog.NotApplicable && r != leave {
				owners = append(owners, string(r)+": a")
			}
		}
		return "  - {name: svc, state: " + string(s) + ", owners: {" + strings.Join(owners, ", ") + "}}\n"
	}
	// In maintenance product management is held by somebody, in third_party
	// contingency is: that it was not written does not mean that it was missing.
	asks := func(s config.State, r config.Role) bool {
		if s == config.Unowned {
			s = config.Maintenance // what an unowned service lacks is what that would ask for
		}
		return catalog.Requirement(s, r) == catalog.Required
	}
	for _, from := range config.States {
		for _, to := range config.States {
			for _, r := range config.Roles {
				if catalog.Requirement(to, r) != catalog.Required {
					continue
				}
				t.Run(fmt.Sprintf("%s to %s without %s", from, to, r), func(t *testing.T) {
					rep := compare(t, base+with(from, ""), base+with(to, r), Options{})
					i := slices.IndexFunc(rep.Findings, func(f Finding) bool { return f.Code == CodeUnfilled })
					if i < 0 || rep.OK || !slices.Equal(rep.Findings[i].Roles, []config.Role{r}) || rep.Findings[i].Severity != Error {
						t.Errorf("want %s for %s, got %+v", CodeUnfilled, r, rep.Findings)
					}

					rep = compare(t, base+with(from, r), base+with(to, r), Options{})
					got := codesOf(rep)
					switch {
					case !asks(from, r):
						if !slices.Contains(got, CodeUnfilled) {
							t.Errorf("entered with the role unfilled: %v", got)
						}
					case slices.Contains(got, CodeUnfilled):
						t.Errorf("unfilled before and after: %v", got)
					case slices.Contains(got, CodeStillMissing) != (from != to):
						t.Errorf("want %s only when the state changes, got %v", CodeStillMissing, got)
					}
				})
			}
		}
	}
}

func TestFindings(t *testing.T) {
	const svc = "  - {name: svc, state: active, owners: a}\n"
	active := func(dev, ops string) string {
		return "  - {name: svc, state: active, owners: {development: " + dev + ", configuration_deployment: " + ops + ", incident_response: " + ops + ", product_management: " + dev + "}}\n"
	}
	maintenance := func(contingency string) string {
		return "  - {name: svc, state: maintenance, owners: {contingency_development: " + contingency + ", configuration_deployment: b, incident_response: b}}\n"
	}
	const vacant = "{vacant: true, director: dora, reason: moved on}"
	teams := func(edit ...string) string { return strings.NewReplacer(edit...).Replace(base) }
	for _, tc := range []struct {
		name, old, new string
		codes          []string
		agree          []string // of the first finding
		text           string   // in the first finding's text
		roles          []config.Role
	}{
		{name: "nothing", old: base + svc, new: base + svc, codes: []string{}},
		{name: "a team takes everything", old: base + svc, new: base + "  - {name: svc, state: active, owners: b}\n",
			codes: []string{CodeTransfer}, agree: []string{"a", "b"}, text: "go from a to b"},
		{name: "one role", old: base + active("a", "b"), new: base + active("a", "c"),
			codes: []string{CodeTransfer}, agree: []string{"a", "b", "c"}, roles: []config.Role{config.ConfigurationDeployment, config.IncidentResponse}},
		{name: "two ways", old: base + active("a", "b"), new: base + active("b", "c"), codes: []string{CodeTransfer, CodeTransfer}, agree: []string{"a", "b", "c"}},
		{name: "the other form is no change", old: base + svc, new: base + active("a", "a"), codes: []string{}},
		{name: "a vacancy", old: base + maintenance("a"), new: base + maintenance(vacant), codes: []string{CodeVacancy}, agree: []string{"a", "b"}, text: "dora holds contingency development vacant: moved on"},
		{name: "its end", old: base + maintenance(vacant), new: base + maintenance("c"), codes: []string{CodeVacancyOver}, agree: []string{"b", "c"}},
		{name: "another director", old: base + maintenance(vacant), new: base + maintenance(strings.Replace(vacant, "dora", "vera", 1)), codes: []string{CodeVacancy}, agree: []string{"b"}},
		{name: "a launch with a vacancy", old: base, new: base + maintenance(vacant), codes: []string{CodeLaunchRare, CodeVacancy}, agree: []string{"b"}},
		{name: "a partial launch", old: base, new: base + "  - {name: svc, state: third_party, owners: {incident_response: a}}\n",
			codes: []string{CodeLaunchUnowned, CodeLaunch}, roles: []config.Role{config.ConfigurationDeployment}},
		{name: "a launch for nobody", old: base, new: base + "  - {name: svc, state: active}\n", codes: []string{CodeLaunchUnowned, CodeLaunch}},
		{name: "legacy", old: base, new: base + "  - {name: svc, state: unowned, legacy: {since: 2014-03-01, reason: found}, owners: {incident_response: a}}\n",
			codes: []string{CodeLegacy}, agree: []string{"a"}, text: "running since 2014-03-01: found"},
		{name: "legacy without a reason", old: base, new: base + "  - {name: svc, state: unowned, legacy: {since: 2014-03-01}}\n", codes: []string{CodeLaunchRefused}},
		{name: "legacy without a day", old: base, new: base + "  - {name: svc, state: unowned, legacy: {reason: found}}\n", codes: []string{CodeLaunchRefused}},
		{name: "legacy does not excuse a move", old: base + svc, new: base + "  - {name: svc, state: unowned, legacy: {since: 2014-03-01, reason: found}}\n", codes: []string{CodeMoveRefused}},
		{name: "renamed", old: base + svc, new: base + "  - {name: new, aliases: [svc], state: active, owners: a}\n", codes: []string{CodeRenamed}, text: "svc is called new now"},
		{name: "renamed and moved", old: base + svc, new: base + "  - {name: new, aliases: [svc], state: maintenance, owners: a}\n", codes: []string{CodeRenamed, CodeMove}},
		{name: "renamed without an alias", old: base + svc, new: base + "  - {name: new, state: active, owners: a}\n", codes: []string{CodeDropped, CodeLaunch}},
		{name: "merged", old: base + svc, new: strings.Replace(base, "name: still,", "name: still, aliases: [svc],", 1), codes: []string{CodeMerged}, agree: []string{"c", "a"}},
		{name: "merged away", old: base + svc + "  - {name: gone, state: decommissioned}\n", new: base + "  - {name: gone, aliases: [svc], state: decommissioned}\n", codes: []string{CodeMoveRefused, CodeMerged}},
		{name: "an optional role", old: base + "  - {name: svc, state: third_party, owners: {configuration_deployment: a, incident_response: a}}\n",
			new:   base + "  - {name: svc, state: third_party, owners: {configuration_deployment: a, incident_response: a, development: b}}\n",
			codes: []string{CodeTransfer}, agree: []string{"a", "b"}, text: "b takes development on"},
		{name: "product management in maintenance falls to a manager",
			old:   base + "  - {name: svc, state: maintenance, owners: {contingency_development: a, configuration_deployment: a, incident_response: a, product_management: b}}\n",
			new:   base + "  - {name: svc, state: maintenance, owners: {contingency_development: a, configuration_deployment: a, incident_response: a}}\n",
			codes: []string{CodeTransfer}, agree: []string{"a", "b"}, text: "it falls to dora"},
		{name: "the last helper of an unowned service", old: base + "  - {name: svc, state: unowned, owners: {incident_response: a}}\n", new: base + "  - {name: svc, state: unowned}\n",
			codes: []string{CodeTransfer, CodeLastOwner}, agree: []string{"a"}},
		{name: "a role dropped", old: base + active("a", "b"), new: base + "  - {name: svc, state: active, owners: {development: a, configuration_deployment: b, incident_response: b}}\n",
			codes: []string{CodeUnfilled}, roles: []config.Role{config.ProductManagement}, text: "nobody holds product management any more"},
		{name: "roles dropped by two teams", old: base + active("a", "b"), new: base + "  - {name: svc, state: active, owners: {configuration_deployment: b}}\n",
			codes: []string{CodeUnfilled, CodeUnfilled}, roles: []config.Role{config.Development, config.ProductManagement}, text: "nobody holds development and product management any more"},
		{name: "developed again without a product owner", old: base + maintenance("a"),
			new:   base + "  - {name: svc, state: active, owners: {development: a, configuration_deployment: b, incident_response: b}}\n",
			codes: []string{CodeUnfilled, CodeMove}, roles: []config.Role{config.ProductManagement}, text: "nobody holds product management, which active requires"},
		{name: "taken over without contingency", old: base + "  - {name: svc, state: third_party, owners: {configuration_deployment: a, incident_response: a}}\n",
			new:   base + "  - {name: svc, state: maintenance, owners: {configuration_deployment: a, incident_response: a}}\n",
			codes: []string{CodeUnfilled, CodeMoveRare}, roles: []config.Role{config.ContingencyDevelopment}},
		{name: "back from unowned, half", old: base + "  - {name: svc, state: unowned, owners: {incident_response: a}}\n",
			new:   base + "  - {name: svc, state: maintenance, owners: {incident_response: a}}\n",
			codes: []string{CodeStillMissing, CodeMove}, roles: []config.Role{config.ContingencyDevelopment, config.ConfigurationDeployment}, text: "nobody held contingency development and configuration deployment"},
		{name: "active in name only", old: base + "  - {name: svc, state: unowned}\n", new: base + "  - {name: svc, state: active}\n",
			codes: []string{CodeUnfilled, CodeStillMissing, CodeMoveRare}, roles: []config.Role{config.Development, config.ProductManagement}},
		{name: "a person as an owner", old: base + svc, new: base + "  - {name: svc, state: active, owners: {development: ana, configuration_deployment: a, incident_response: a, product_management: a}}\n",
			codes: []string{CodeUnfilled, CodeRefused}},

		{name: "an owner with a typing mistake", old: base + svc, new: base + active("bb", "a"),
			codes: []string{CodeUnknown, CodeUnfilled}, text: `names team "bb", which the catalog lacks, so the role is unfilled; add the team or correct the name; did you mean b?`},
		{name: "an optional owner with a typing mistake", old: base + "  - {name: svc, state: third_party, owners: a}\n",
			new:   base + "  - {name: svc, state: third_party, owners: {configuration_deployment: a, incident_response: a, development: cc, product_management: a, contingency_development: a}}\n",
			codes: []string{CodeUnknown, CodeTransfer}, text: "did you mean c?"},
		{name: "a manager with a typing mistake", old: base, new: teams("manager: dora}", "manager: dorra}"), codes: []string{CodeUnknown}, text: `manager "dorra" is not in the catalog`},
		{name: "a mistake that was there", old: teams("manager: dora}", "manager: dorra}") + svc, new: teams("manager: dora}", "manager: dorra}") + svc, codes: []string{}},

		{name: "a team is gone", old: base + svc, new: teams("  - {name: a, members: [ana], manager: dora, director: dora}\n", "") + svc,
			codes: []string{CodeTeamGone}, text: "still owns svc (development, configuration deployment, incident response and product management)"},
		{name: "a team is gone, with its roles", old: base + active("a", "b"),
			new:   teams("  - {name: a, members: [ana], manager: dora, director: dora}\n", "") + "  - {name: svc, state: active, owners: {configuration_deployment: b, incident_response: b}}\n",
			codes: []string{CodeTeamGone}, text: "svc (development and product management)"},
		{name: "a team is gone and handed over", old: base + svc, new: teams("  - {name: a, members: [ana], manager: dora, director: dora}\n", "") + "  - {name: svc, state: active, owners: b}\n",
			codes: []string{CodeTransfer}, agree: []string{"a", "b"}},
		{name: "a team without members", old: base + svc, new: teams("members: [ana]", "members: []") + svc, codes: []string{CodeTeamEmpty}},
		{name: "a team whose last person is gone", old: base + svc, new: teams("  - {name: ana, email: ana@example.org}\n", "") + svc, codes: []string{CodeTeamEmpty, CodeUnknown}},
		{name: "a team of volunteers now", old: base + svc, new: teams("{name: a, ", "{name: a, kind: volunteer, ") + svc,
			codes: []string{CodeTeamVolunteer, CodeRefused}},
		{name: "a team that owned nothing", old: strings.Replace(base, "services:", "  - {name: idle, members: [ana]}\nservices:", 1), new: base, codes: []string{}},
		{name: "a team renamed", old: base + svc, new: teams("{name: a, ", "{name: z, aliases: [a], ") + svc, codes: []string{CodeTeamRenamed}},
		{name: "a team renamed, the entries too", old: base + svc, new: teams("{name: a, ", "{name: z, aliases: [a], ") + strings.Replace(svc, "owners: a", "owners: z", 1), codes: []string{CodeTeamRenamed}},
		{name: "a team merged", old: base + svc, new: teams("  - {name: a, members: [ana], manager: dora, director: dora}\n", "", "{name: b, ", "{name: b, aliases: [a], ") + svc,
			codes: []string{CodeTeamMerged, CodeTransfer}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := compare(t, tc.old, tc.new, Options{})
			got := codesOf(r)
			slices.Sort(got)
			got = slices.Compact(got)
			want := slices.Clone(tc.codes)
			slices.Sort(want)
			want = slices.Compact(want)
			if diff := cmp.Diff(want, got, cmp.Transformer("nil", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
				t.Fatalf("codes (-want +got):\n%s\n%+v", diff, r.Findings)
			}
			if len(r.Findings) == 0 {
				return
			}
			i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Code == tc.codes[0] })
			f := r.Findings[i]
			if tc.agree != nil {
				if diff := cmp.Diff(tc.agree, f.Agree); diff != "" {
					t.Errorf("who must agree (-want +got):\n%s", diff)
				}
			}
			if !strings.Contains(f.Text, tc.text) {
				t.Errorf("text %q, want %q in it", f.Text, tc.text)
			}
			if tc.roles != nil && !slices.Equal(f.Roles, tc.roles) {
				t.Errorf("roles %v, want %v", f.Roles, tc.roles)
			}
			if f.Severity == Error && f.Remedy == "" && f.Code != CodeRefused {
				t.Errorf("an error without a remedy: %+v", f)
			}
		})
	}
}

func TestRequireAgreed(t *testing.T) {
	svc := func(owner, verified string) string {
		if verified != "" {
			verified = ", verified: {" + verified + "}"
		}
		return "  - {name: svc, state: active, owners: " + owner + verified + "}\n"
	}
	z := strings.Replace(base, "{name: a, ", "{name: z, aliases: [a], ", 1)
	for _, tc := range []struct {
		name, old, new string
		required       []string // codes that are not info
		plain          []string // without --require-agreed
		missing        []string
	}{
		{name: "nothing to agree to", old: base + svc("a", ""), new: base + svc("a", ""), required: []string{}, plain: []string{}},
		{name: "both agreed", old: base + svc("a", ""), new: base + svc("b", "on: 2026-11-19, by: [a, b]"), required: []string{}, plain: []string{}, missing: []string{}},
		{name: "the giver did not", old: base + svc("a", ""), new: base + svc("b", "on: 2026-11-19, by: [b]"), required: []string{CodeNotAgreed}, plain: []string{}, missing: []string{"a"}},
		{name: "the taker did not", old: base + svc("a", ""), new: base + svc("b", "on: 2026-11-19, by: [a]"), required: []string{CodeNotAgreed}, plain: []string{}, missing: []string{"b"}},
		{name: "nobody did", old: base + svc("a", ""), new: base + svc("b", ""), required: []string{CodeNotAgreed}, plain: []string{}, missing: []string{"a", "b"}},
		{name: "a launch", old: base, new: base + svc("b", ""), required: []string{CodeNotAgreed}, plain: []string{}, missing: []string{"b"}},
		{name: "by an alias", old: base + svc("b", ""), new: z + svc("z", "on: 2026-11-19, by: [a, b]"), required: []string{}, plain: []string{}, missing: []string{}},
		{name: "an old alias is another team's name now", old: strings.Replace(base, "{name: a, ", "{name: a, aliases: [q], ", 1) + svc("a", ""),
			new: strings.Replace(base, "services:", "  - {name: q, members: [ben]}\nservices:", 1) + svc("q", "on: 2026-11-19, by: [a, q]"), required: []string{}, plain: []string{}, missing: []string{}},
		{name: "a person is no team", old: base + svc("a", ""), new: base + svc("b", "on: 2026-11-19, by: [ana, b]"), required: []string{CodeNotAgreed}, plain: []string{}, missing: []string{"a"}},
		{name: "the last time", old: base + svc("a", "on: 2026-06-01, by: [a, b]"), new: base + svc("b", "on: 2026-06-01, by: [b, a]"), required: []string{CodeNotRenewed}, plain: []string{}, missing: []string{}},
		{name: "the same day, a new name", old: base + svc("a", "on: 2026-06-01, by: [a]"), new: base + svc("b", "on: 2026-06-01, by: [a, b]"), required: []string{}, plain: []string{}, missing: []string{}},
		{name: "older than before", old: base + svc("a", "on: 2026-06-01, by: [a]"), new: base + svc("b", "on: 2026-05-01, by: [a, b]"), required: []string{CodeOldVerified}, plain: []string{CodeOldVerified}, missing: []string{"a", "b"}},
		{name: "tomorrow, somewhere", old: base + svc("a", ""), new: base + svc("b", "on: 2026-11-21, by: [a, b]"), required: []string{}, plain: []string{}, missing: []string{}},
		{name: "next year", old: base + svc("a", ""), new: base + svc("b", "on: 2027-11-20, by: [a, b]"), required: []string{CodeAhead}, plain: []string{CodeAhead}, missing: []string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, require := range []bool{true, false} {
				r := compare(t, tc.old, tc.new, Options{RequireAgreed: require})
				want := tc.plain
				if require {
					want = tc.required
				}
				if diff := cmp.Diff(want, codesOf(r, Error, Warning)); diff != "" {
					t.Errorf("require %v (-want +got):\n%s", require, diff)
				}
				if tc.missing == nil {
					if len(r.Agreements) > 0 {
						t.Errorf("agreements: %v", r.Agreements)
					}
				} else if diff := cmp.Diff(tc.missing, r.Agreements[0].Missing); diff != "" {
					t.Errorf("missing (-want +got):\n%s", diff)
				}
				wantOK := !require || !slices.Contains(tc.required, CodeNotAgreed) && !slices.Contains(tc.required, CodeOldVerified)
				if r.OK != wantOK {
					t.Errorf("require %v: ok is %v", require, r.OK)
				}
			}
		})
	}
}

func TestFirstCatalog(t *testing.T) {
	for _, empty := range []string{"", "# nothing yet\n", "services: []\n"} {
		r := compare(t, empty, base+"  - {name: svc, state: unowned}\n", Options{RequireAgreed: true})
		if !r.OK || !r.Summary.First || len(r.Findings)+len(r.Changes)+len(r.Agreements) > 0 {
			t.Errorf("%q: want no launches, got %+v", empty, r)
		}
	}
	// What cannot be read is not empty: there a launch is one.
	if r := compare(t, "services: [", base, Options{}); r.Summary.First || r.Summary.Launched != 1 {
		t.Errorf("a broken old catalog: %+v", r.Summary)
	}
	if r := compare(t, "", "services: [", Options{}); r.OK {
		t.Error("a broken new catalog is good")
	}
	if r := compare(t, base, "", Options{}); r.OK || !slices.Contains(codesOf(r), CodeDropped) {
		t.Errorf("everything deleted: %v", r.Findings)
	}
}

// An old catalog that is refused today is still compared.
func TestOldThatIsRefused(t *testing.T) {
	old := base + `
  - {name: svc, state: active, owners: a, colour: green}
  - {name: own, state: active, owners: {development: ana, configuration_deployment: a, incident_response: a, product_management: a}}
  - {name: svc, state: decommissioned}
`
	new := base + `
  - {name: svc, state: unowned}
  - {name: own, state: active, owners: a}
`
	r := compare(t, old, new, Options{})
	got := codesOf(r)
	for _, want := range []string{CodeUnread, CodeMoveRefused, CodeTransfer} {
		if !slices.Contains(got, want) {
			t.Errorf("want %s, got %v", want, got)
		}
	}
	if slices.Contains(got, CodeLaunch) {
		t.Errorf("launched: %v", r.Findings)
	}
}

func TestPlainChanges(t *testing.T) {
	old := base + `
  - name: svc
    state: active
    owners: a
    volunteers: [vols]
    slo: {objective: 99.9, window: 28d}
    alerts: [['app="x"']]
    links: {tracker: https://t.example.org}
schedules:
  - name: weekly
    rotations: [{members: [ana, ben], start: 2026-01-05T09:00:00, every: 1w}]
  - {name: same, rotations: [{members: [ana], start: 2026-01-05T09:00:00, every: 1w}]}
`
	new := strings.NewReplacer(
		"members: [ana], manager: dora", "members: [ana, ben], lead: ana, manager: cleo, on_call: weekly",
		"ana@example.org", "anna@example.org",
		"    volunteers: [vols]\n", "    tier: 1\n",
		"99.9", "99.5", `app="x"`, `app="y"`, "https://t.", "https://u.", "    owners: a\n", "    owners: a\n    policy: slow\n    runbook: https://r.example.org\n    aliases: [s]\n",
		"[ana, ben], start", "[ana, cleo], start",
		"every: 1w}]}", "every: 1w, only: {days: [mon, tue, wed, thu, fri, sat, sun]}}]}",
	).Replace(old)
	r := compare(t, old, new, Options{})
	if len(r.Findings) > 0 {
		t.Errorf("the policy has no opinion on these: %v", r.Findings)
	}
	var got []string
	for _, ch := range r.Changes {
		got = append(got, fmt.Sprintf("%s %s %s: %q %q", ch.Kind, ch.Name, ch.What, ch.From, ch.To))
	}
	want := []string{
		`person ana email: "ana@example.org" "anna@example.org"`,
		`schedule weekly people left: "ben" ""`,
		`schedule weekly people joined: "" "cleo"`,
		`schedule weekly turns: "" "somebody else is on call for 336 of the next 672 hours"`,
		`schedule same turns: "" "changed, but nobody's time on call in the next 28 days"`,
		`team a members joined: "" "ben"`,
		`team a lead: "" "ana"`,
		`team a manager: "dora" "cleo"`,
		`team a on_call: "the whole team" "weekly"`,
		`service svc tier: "4" "1"`,
		`service svc aliases: "" "s"`,
		`service svc volunteers: "vols" ""`,
		`service svc slo: "99.9 % over 28d" "99.5 % over 28d"`,
		`service svc alerts: "app=\"x\"" "app=\"y\""`,
		`service svc policy: "default" "slow"`,
		`service svc runbook: "" "https://r.example.org"`,
		`service svc links.tracker: "https://t.example.org" "https://u.example.org"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

func read(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", file), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(read(t, file), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// A reorganisation of three teams, as its reviewers see it.
func TestReorganisation(t *testing.T) {
	old, new := side("catalog.yml", read(t, "reorg-old.yml")), side("catalog.yml", read(t, "reorg-new.yml"))
	r := Compare(old, new, Options{Now: now})
	before, _ := old.Router(nil)
	after, _ := new.Router(nil)
	r.Chains(old, new, before, after, now)
	p := NewReplayer(old, new, before, after)
	for line := range strings.Lines(read(t, "reorg-alerts.jsonl")) {
		w, err := routing.Decode([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		p.Add(w, now)
		p.Add(w, now) // what was counted is not counted again
	}
	r.Replayed(p)
	golden(t, "reorg.txt", r.Text())
	golden(t, "reorg.md", r.Markdown())
	out, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), ": null") {
		t.Error("the JSON has a null")
	}
	golden(t, "reorg.json", string(out)+"\n")
}

// Recorded alerts that find less than before are findings: a service that ends
// although its rules still fire, matchers that are gone, a label of a team that
// nobody is called by any more.
func TestAlertsThatFindLess(t *testing.T) {
	const svc = "  - {name: svc, state: third_party, owners: a, alerts: [['alertname=~\"Svc.*\"']]}\n"
	const ended = "  - {name: ended, state: decommissioned, alerts: [['alertname=\"Ended\"']]}\n"
	without := strings.Replace(base, "  - {name: b, members: [ben], manager: dora}\n", "", 1)
	for _, tc := range []struct {
		name, old, new, alert string
		code, in, text        string
	}{
		{"nothing", svc, svc, "SvcDown", "", "", ""},
		{"the owner changes", svc, strings.Replace(svc, "owners: a", "owners: c", 1), "SvcDown", "", "", ""},
		{"renamed", svc, strings.Replace(svc, "name: svc", "name: new, aliases: [svc]", 1), "SvcDown", "", "", ""},
		{"decommissioned", svc, strings.Replace(svc, "third_party, owners: a", "decommissioned", 1), "SvcDown", CodeStillAlerting, inNew,
			"svc is decommissioned, and 1 recorded alert (SvcDown) would still be about it"},
		{"it was before", ended, ended, "Ended", "", "", ""},
		{"matchers are gone", svc, strings.Replace(svc, "Svc.*", "Other.*", 1), "SvcDown", CodeAlertsLost, inNew,
			"svc: 1 recorded alert (SvcDown) goes to team:b now"},
		{"deleted after it was decommissioned", ended, "", "Ended", CodeAlertsLost, inOld, "ended: 1 recorded alert (Ended) goes to team:b now"},
		{"deleted, and another takes them", ended, strings.Replace(svc, "Svc.*", "Ended", 1), "Ended", CodeAlertsLost, inOld,
			"ended: 1 recorded alert (Ended) goes to service:svc now"},
		{"deleted, which is refused", svc, "", "SvcDown", "", "", ""},
		{"a team's name is gone", "", "", "Other", CodeAlertsLost, inOld, "1 recorded alert (Other) went to team b and goes to the fallback team now"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			old, new := base+tc.old, base+tc.new
			if tc.name == "a team's name is gone" {
				new = without
			}
			a, b := side("old.yml", old), side("new.yml", new)
			r := Compare(a, b, Options{Now: now})
			before, _ := a.Router(nil)
			after, _ := b.Router(nil)
			p := NewReplayer(a, b, before, after)
			w, err := routing.Decode([]byte(`{"version":"4","groupKey":"g","alerts":[{"status":"firing","labels":{"alertname":"` + tc.alert + `","team":"b"},"fingerprint":"00000000000000a1"}]}`))
			if err != nil {
				t.Fatal(err)
			}
			p.Add(w, now)
			r.Replayed(p)
			var got []Finding
			for _, f := range r.Findings {
				if f.Code == CodeStillAlerting || f.Code == CodeAlertsLost {
					got = append(got, f)
				}
			}
			if tc.code == "" {
				if len(got) > 0 {
					t.Errorf("want nothing, got %+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Code != tc.code || got[0].Severity != Warning || got[0].In != tc.in || got[0].Text != tc.text {
				t.Fatalf("want %s %q, got %+v", tc.code, tc.text, got)
			}
			checkPlace(t, got[0].In, got[0].File, got[0].Line, got[0].Column, old, new)
			if r.Summary.Warnings == 0 {
				t.Error("it is not counted")
			}
		})
	}
}

// Night is 22:00 to 07:00 where the person lives, whatever the clock says in UTC.
func TestNight(t *testing.T) {
	tokyo, err := time.LoadLocation("Asia/Tokyo") // 9 hours ahead
	if err != nil {
		t.Fatal(err)
	}
	for utc, want := range map[string]bool{"12:59": false, "13:00": true, "21:59": true, "22:00": false, "03:00": false} {
		at, err := time.Parse(time.DateTime, "2026-11-20 "+utc+":00")
		if err != nil {
			t.Fatal(err)
		}
		if got := atNight(at.In(tokyo)); got != want {
			t.Errorf("%s UTC is night in Tokyo: %v", utc, got)
		}
	}
}

// A configuration that no longer fits, and a service whose people can no longer
// be reached although its roles are filled.
func TestFitAndChains(t *testing.T) {
	cfg := bare()
	cfg.Routing.FallbackTeam = config.At[string]{V: "c", Pos: config.Pos{File: "callchain.yml", Line: 3, Col: 5}}
	old, new := side("old.yml", base), side("new.yml", strings.ReplaceAll(strings.ReplaceAll(base, "  - {name: c, kind: affiliate, members: [cleo]}\n", ""), "owners: c", "owners: a"))
	r := Compare(old, new, Options{Now: now})
	before, said := old.Router(cfg)
	after, says := new.Router(cfg)
	if before == nil || after == nil {
		t.Fatal("no router")
	}
	r.Fit(said, said)
	if !r.OK {
		t.Errorf("nothing changed: %v", r.Findings)
	}
	r.Fit(said, says)
	if f := r.Findings[0]; r.OK || f.Code != CodeReference || f.In != inConfig || f.Line != 3 || !strings.Contains(f.Text, `no team "c"`) {
		t.Errorf("the fallback team is gone: %+v", r.Findings)
	}

	slow := config.Policy{Name: written("slow"), Steps: []config.Step{{Notify: written("development"), Whom: written("on_call")}, {Notify: written("fallback"), Whom: written("on_call")}}}
	cfg = bare()
	cfg.Routing.FallbackTeam = written("c")
	cfg.Escalation.Policies = append(cfg.Escalation.Policies, slow)
	svc := "  - {name: svc, state: third_party, owners: {configuration_deployment: a, incident_response: a}, policy: default}\n"
	old, new = side("old.yml", base+svc), side("new.yml", base+strings.Replace(svc, "default", "slow", 1))
	before, _ = old.Router(cfg)
	after, _ = new.Router(cfg)
	r = Compare(old, new, Options{Now: now})
	r.Chains(old, new, before, after, now)
	if diff := cmp.Diff([]string{CodeChain}, codesOf(r)); diff != "" {
		t.Errorf("the policy asks nobody who owns it (-want +got):\n%s", diff)
	}

	typo := side("new.yml", base+strings.Replace(svc, "third_party", "active-ish", 1))
	after, _ = typo.Router(cfg)
	r = Compare(old, typo, Options{Now: now})
	r.Chains(old, typo, before, after, now)
	if diff := cmp.Diff([]string{CodeRefused}, codesOf(r)); diff != "" {
		t.Errorf("what follows from a state that is none is told too (-want +got):\n%s", diff)
	}
	r = Compare(old, old, Options{Now: now})
	r.Chains(old, old, before, before, now)
	if len(r.Findings) > 0 {
		t.Errorf("nothing changed: %v", r.Findings)
	}
}
