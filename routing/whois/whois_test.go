package whois

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

var friday = time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC)

func router(t *testing.T) *routing.Router {
	t.Helper()
	data, err := os.ReadFile("testdata/catalog.yml")
	if err != nil {
		t.Fatal(err)
	}
	raw, ps := config.ParseCatalog([]config.File{{Name: "catalog.yml", Data: data}})
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	cat, ps := catalog.New(raw)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	cfg, _ := config.Load("testdata/callchain.yml", config.Options{NoSecrets: true})
	r, ps := routing.New(cfg, cat)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestServiceRoles(t *testing.T) {
	r := router(t)
	for name, want := range map[string][]string{ // team, or the note
		"parsoid": {"content-transform", "not a role of this state", "releng", "sre", "product"},
		"search":  {"nobody, and somebody must be found", "not a role of this state", "releng", "sre", "product"},
		"charts":  {"not a role of this state", "held vacant by director elif: the makers moved on", "releng", "sre", "elif answers for it while it is in maintenance"},
		"math":    {"not a role of this state", "content-transform", "releng", "sre", "dora answers for it while it is in maintenance"},
		"haproxy": {"nobody", "sre stands in, as the configuration_deployment owner", "sre", "sre", "nobody"},
		"oldbot":  {"nobody", "nobody, and somebody must be found", "nobody, and somebody must be found", "sre", "nobody"},
		"gone":    {"not a role of this state", "not a role of this state", "not a role of this state", "not a role of this state", "not a role of this state"},
	} {
		t.Run(name, func(t *testing.T) {
			a := Ask(r, name, friday, config.Page)
			if len(a.Services) != 1 {
				t.Fatalf("answers = %+v", a)
			}
			var got []string
			for _, role := range a.Services[0].Roles {
				if role.Team != "" {
					got = append(got, role.Team)
					if !strings.HasPrefix(role.Place, "catalog.yml:") {
						t.Errorf("%s stands at %q", role.Role, role.Place)
					}
				} else {
					got = append(got, role.Note)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if len(a.Services[0].Steps) == 0 {
				t.Error("a chain always ends in somebody")
			}
		})
	}
}

// The same words as elsewhere: a window of 28d is not 4w.
func TestServiceWords(t *testing.T) {
	a := Ask(router(t), "parsoid", friday, config.Page)
	if got, want := a.Services[0].SLO, "99.9 % over 28d, https://slo.example.org/parsoid"; got != want {
		t.Errorf("slo %q, want %q", got, want)
	}
	for _, role := range Ask(router(t), "charts", friday, config.Page).Services[0].Roles {
		want := map[string]string{"contingency_development": "elif"}[role.Role]
		if role.HeldBy != want {
			t.Errorf("%s is held by %q, want %q", role.Role, role.HeldBy, want)
		}
	}
}

// What a name may be.
func TestNames(t *testing.T) {
	r := router(t)
	for name, want := range map[string]string{
		"parsoid": "service parsoid", "mw-parsoid": "service parsoid", "sre": "team sre", "operations": "team sre",
		"amira": "person amira", "@amira": "person amira", "AMIRA@example.org": "person amira", "U01AMIRA": "person amira",
		"search": "service search team search", "nobody": "",
	} {
		a := Ask(r, name, friday, config.Page)
		var got []string
		for _, s := range a.Services {
			got = append(got, "service "+s.Name)
		}
		for _, s := range a.Teams {
			got = append(got, "team "+s.Name)
		}
		for _, s := range a.People {
			got = append(got, "person "+s.Name)
		}
		if strings.Join(got, " ") != want || a.None() != (want == "") {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{"parsod": "parsoid", "transform": "content-transform", "xyzzy-none": "", "p": ""} {
		if got := strings.Join(Similar(r.Catalog(), name), " "); got != want {
			t.Errorf("similar to %s: %q, want %q", name, got, want)
		}
	}
}

func TestOnCall(t *testing.T) {
	r := router(t)
	sre := Ask(r, "sre", friday, config.Page).Teams[0]
	monday := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	if diff := cmp.Diff([]string{"ben"}, sre.OnCall); diff != "" || !sre.OnCallUntil.Equal(monday) || !sre.NextFrom.Equal(monday) || sre.Next[0] != "amira" {
		t.Errorf("on call %v until %v, then %v from %v", sre.OnCall, sre.OnCallUntil, sre.Next, sre.NextFrom)
	}
	for who, want := range map[string][]Duty{
		"ben":   {{Team: "search", Now: true}, {Team: "sre", Now: true, Until: &monday}, {Team: "sre", From: at("2026-11-30T09:00:00Z"), Until: at("2026-12-07T09:00:00Z")}},
		"amira": {{Team: "content-transform", Now: true}, {Team: "sre", From: &monday, Until: at("2026-11-30T09:00:00Z")}},
		"maya":  {},                           // a volunteer
		"nils":  {{Team: "watch", Now: true}}, // whom nobody relieves
	} {
		if diff := cmp.Diff(want, Ask(r, who, friday, config.Page).People[0].Duties); diff != "" {
			t.Errorf("%s: %s", who, diff)
		}
	}
}

func at(s string) *time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return &t
}

// What people and teams answer for.
func TestHoldings(t *testing.T) {
	r := router(t)
	var owns []string
	for _, h := range Ask(r, "content-transform", friday, config.Page).Teams[0].Owns {
		owns = append(owns, h.Service+": "+strings.Join(h.Roles, ", "))
	}
	if diff := cmp.Diff([]string{"parsoid: development", "math: contingency_development"}, owns); diff != "" {
		t.Error(diff)
	}
	elif := Ask(r, "elif", friday, config.Page).People[0]
	if diff := cmp.Diff([]string{"charts"}, elif.Holds); diff != "" || len(elif.Owns) > 0 {
		t.Errorf("elif holds %v, owns %v", elif.Holds, elif.Owns)
	}
	var chains []Place
	for _, p := range elif.Chains {
		if p.Service == "charts" {
			chains = append(chains, p)
		}
	}
	if diff := cmp.Diff([]Place{{"charts", 3, "contingency_development"}}, chains); diff != "" {
		t.Errorf("chains of elif: %s", diff)
	}
	if got := Ask(r, "fans", friday, config.Page).Teams[0].ToldOf; len(got) != 1 || got[0] != "parsoid" {
		t.Errorf("fans are told of %v", got)
	}
}

// Every list is a list in JSON, whatever is missing.
// Hundreds of services that a post brings are a number; those of a person's own
// teams are listed.
func TestManyChains(t *testing.T) {
	a := Answers{People: []Person{{Name: "ana", Chains: []Place{{"own", 1, "incident_response"}}}}}
	for i := range few + 1 {
		a.People[0].Chains = append(a.People[0].Chains, Place{"dir" + string(rune('a'+i)), 4, "director"})
	}
	for i := range few {
		a.People[0].Chains = append(a.People[0].Chains, Place{"last" + string(rune('a'+i)), 5, "fallback"})
	}
	text := a.Text()
	for _, want := range []string{"about 12 services\n", "own                      step 1, as incident_response\n", "  as director about 6 services; --output=json lists them\n", "laste"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "dira") || strings.Contains(text, "as fallback about") {
		t.Errorf("a long list:\n%s", text)
	}
}

func TestNoNullLists(t *testing.T) {
	r := router(t)
	for _, name := range []string{"gone", "fans", "maya", "nobody"} {
		data, err := json.Marshal(Ask(r, name, friday, config.Page))
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
		may := map[string]bool{"on_call_until": true, "next_from": true}
		var walk func(key string, v any)
		walk = func(key string, v any) {
			switch v := v.(type) {
			case nil:
				if !may[key] {
					t.Errorf("%s: %s is null", name, key)
				}
			case map[string]any:
				for k, e := range v {
					walk(k, e)
				}
			case []any:
				for _, e := range v {
					walk(key, e)
				}
			}
		}
		walk("", v)
	}
	if reflect.TypeFor[Answers]().NumField() != 3 {
		t.Error("a new kind of answer needs its case above")
	}
}
