package convert

import (
	"slices"
	"strings"
	"testing"

	"callchain/config"
	"callchain/routing/catalog"
)

const kept = `people:
  - {name: amira, email: amira@example.org}
teams:
  - {name: platform, aliases: [infra], members: [amira]}
  - {name: fans, kind: volunteer, members: [amira]}
services:
  - {name: cart, aliases: [basket], state: third_party, owners: platform}
`

// What the catalog has is not made again, and what comes out loads beside it.
func TestBeside(t *testing.T) {
	base := config.File{Name: "kept.yml", Data: []byte(kept)}
	raw, ps := config.ParseCatalog([]config.File{base})
	have, more := catalog.New(raw)
	if ps.Err() != nil || more.Err() != nil {
		t.Fatal(ps, more)
	}
	for _, tc := range []struct {
		name, text string
		from       Format
		want       []string // lines of the catalog that comes out
		not        []string
		notes      []string
	}{
		{"a table", "Service,Steward,Aliases,State\ncart,infra,,active\ntill,infra,basket,active\nsite,fans,,active\nnew,makers,,active\n", Table,
			[]string{"  - name: till", "      development: platform", "    volunteers: [fans]", "  - name: makers"},
			[]string{"name: cart", "name: platform", "name: infra", "name: fans", "basket"},
			[]string{"skipped: service cart: the catalog beside this has it at kept.yml:7:12; that entry stays as it is, so compare the two by hand",
				`left_out: service till: the alias "basket"; cart at kept.yml:7:12 is called that already`,
				"left_out: service site: development by fans; that is a team of volunteers, who never own: it is told instead"}},
		{"people and teams", `apiVersion: backstage.io/v1alpha1
kind: Group
metadata: {name: infra}
spec: {type: team, children: [], members: [amira]}
---
apiVersion: backstage.io/v1alpha1
kind: Group
metadata: {name: shop}
spec: {type: team, children: [], members: [amira, lena]}
---
apiVersion: backstage.io/v1alpha1
kind: User
metadata: {name: lena}
spec: {profile: {email: lena@example.org}}
---
apiVersion: backstage.io/v1alpha1
kind: User
metadata: {name: amira}
spec: {profile: {email: old@example.org}}
---
apiVersion: backstage.io/v1alpha1
kind: Component
metadata: {name: till}
spec: {lifecycle: production, owner: infra}
`, Backstage,
			[]string{"  - name: lena", "    members: [amira, lena]", "      development: platform"},
			[]string{"name: amira", "old@example.org", "name: infra"},
			[]string{"skipped: team infra: the catalog beside this has platform at kept.yml:4:12", "skipped: person amira: the catalog beside this has it at kept.yml:2:12"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Convert(tc.from, []config.File{{Name: "in", Data: []byte(tc.text)}}, Options{Since: day, Beside: have})
			lines := strings.Split(string(got.Catalog), "\n")
			for _, want := range tc.want {
				if !slices.Contains(lines, want) {
					t.Errorf("no line %q in\n%s", want, got.Catalog)
				}
			}
			for _, not := range tc.not {
				if strings.Contains(string(got.Catalog), not) {
					t.Errorf("%q is in\n%s", not, got.Catalog)
				}
			}
			var notes strings.Builder
			for _, n := range got.Notes {
				notes.WriteString(n.String() + "\n")
			}
			for _, want := range tc.notes {
				if !strings.Contains(notes.String(), want) {
					t.Errorf("no note %q in\n%s", want, notes.String())
				}
			}
			if n, marks := strings.Count(notes.String(), ": guessed: "), strings.Count(string(got.Catalog), "  # guessed: "); n != marks {
				t.Errorf("%d guesses are noted, %d marked:\n%s%s", n, marks, notes.String(), got.Catalog)
			}
			both, ps := config.ParseCatalog([]config.File{base, {Name: "out.yml", Data: got.Catalog}})
			if _, more := catalog.New(both); ps.Err() != nil || more.Err() != nil {
				t.Errorf("beside the catalog it is refused: %v %v\n%s", ps, more, got.Catalog)
			}
		})
	}
}
