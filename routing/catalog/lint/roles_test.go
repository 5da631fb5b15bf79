package lint

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"callchain/config"
	"callchain/routing/catalog"
)

// The people and teams of these tests: one team of every kind that an owner can be.
const cast = `
people:
  - {name: amira, email: amira@example.org}
  - {name: ben, email: ben@example.org}
  - {name: dora, email: dora@example.org}
  - {name: vera, email: vera@example.org}
teams:
  - {name: devs, members: [amira, ben], manager: dora, director: dora}
  - {name: partners, kind: affiliate, members: [amira, ben], manager: dora}
  - {name: vols, kind: volunteer, members: [vera]}
  - {name: empty, manager: dora}
`

// policy is the table of the ownership policy, written out once more: r required,
// o optional, - not applicable.
var policy = map[config.State]string{
	//                     dev cont conf ir pm
	config.Active:         "r - r r r",
	config.Community:      "- r r r r",
	config.Maintenance:    "- r r r o",
	config.ThirdParty:     "o o r r o",
	config.Unowned:        "o o o o o",
	config.Decommissioned: "- - - - -",
}

// Every way to write an owner, for every role of every state, beside a service
// whose other roles are as they should be.
func TestEveryOwnerOfEveryRoleInEveryState(t *testing.T) {
	held := `{vacant: true, director: dora, reason: hiring}`
	for _, state := range config.States {
		needs := strings.Fields(policy[state])
		for i, role := range config.Roles {
			for _, tc := range []struct {
				owner      string
				applicable config.Code // what is found where the role applies
			}{
				{"devs", ""},
				{"partners", ""},
				{"", catalog.CodeUnfilled},
				{"vols", catalog.CodeVolunteerOwns},
				{"amira", catalog.CodePersonOwns},
				{"nobody", catalog.CodeOwner},
				{"empty", catalog.CodeEmptyTeam},
				{held, catalog.CodeVacancy},
				{`{vacant: true, reason: hiring}`, catalog.CodeVacancy},
				{`{vacant: true, director: dora}`, catalog.CodeVacancy},
				{`{vacant: true, director: nobody, reason: hiring}`, catalog.CodeVacancy},
				{`{vacant: false, director: dora, reason: hiring}`, config.CodeForm},
				{"[devs, partners]", config.CodeForm},
			} {
				want := tc.applicable
				switch {
				case want == config.CodeForm:
				case tc.owner == "" && needs[i] != "r":
					want = ""
				case tc.owner != "" && needs[i] == "-":
					want = catalog.CodeNotApplicable
				case want == catalog.CodeVacancy && state == config.Maintenance && role == config.ContingencyDevelopment:
					want = catalog.CodeVacancyUnheld
					if tc.owner == held {
						want = ""
					}
				}
				t.Run(fmt.Sprintf("%s/%s/%s", state, role, tc.owner), func(t *testing.T) {
					var owners []string
					for j, r := range config.Roles {
						if j != i && needs[j] == "r" {
							owners = append(owners, string(r)+": devs")
						}
					}
					if tc.owner != "" {
						owners = append(owners, string(role)+": "+tc.owner)
					}
					r := run(t, cast+fmt.Sprintf("services:\n  - {name: svc, state: %s, owners: {%s}}\n", state, strings.Join(owners, ", ")))
					var got []config.Code
					for _, f := range r.Findings {
						if strings.HasPrefix(string(f.Code), "CC03") || strings.HasPrefix(string(f.Code), "CC01") {
							got = append(got, f.Code)
							if warns := f.Code == catalog.CodeUnfilled; warns != (f.Severity == config.Warning) {
								t.Errorf("%s is of severity %s", f.Code, f.Severity)
							}
						}
					}
					var wanted []config.Code
					if want != "" {
						wanted = []config.Code{want}
					}
					if want == config.CodeForm && needs[i] == "-" {
						got = slices.DeleteFunc(got, func(c config.Code) bool { return c == catalog.CodeNotApplicable })
					}
					if !slices.Equal(got, wanted) {
						t.Errorf("got %v, want %v:\n%s", got, wanted, list(r))
					}
				})
			}
		}
	}
}

// The short form is every role of the state at once.
func TestShortForm(t *testing.T) {
	for owner, want := range map[string]config.Code{
		"devs": "", "partners": "", "vols": catalog.CodeVolunteerOwns, "amira": catalog.CodePersonOwns,
		"nobody": catalog.CodeOwner, "empty": catalog.CodeEmptyTeam,
	} {
		for _, state := range config.States {
			if state == config.Decommissioned {
				want = catalog.CodeNotApplicable
			}
			r := run(t, cast+fmt.Sprintf("services:\n  - {name: svc, state: %s, owners: %s}\n", state, owner))
			n := 0
			for _, f := range r.Findings {
				if strings.HasPrefix(string(f.Code), "CC03") {
					n++
					if f.Code != want {
						t.Errorf("%s owns every role in %s: got %s, want %q", owner, state, f.Code, want)
					}
				}
			}
			if wanted := min(len(want), 1); n != wanted {
				t.Errorf("%s owns every role in %s: %d findings about owners, want %d:\n%s", owner, state, n, wanted, list(r))
			}
		}
	}
}

// run lints one file without a configuration.
func run(t testing.TB, text string) Result {
	t.Helper()
	return Run(Input{Files: []config.File{{Name: "catalog.yml", Data: []byte(text)}}, Now: friday})
}
