package config

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzLoad: whatever a file holds, loading it ends, every problem stands
// inside the file, and what loads without an error is complete enough to use.
func FuzzLoad(f *testing.F) {
	for _, path := range []string{"testdata/example/callchain.yml", "testdata/example/catalog/people.yml", "testdata/example/catalog/services.yml"} {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, path := range []string{"testdata/config.txtar", "testdata/catalog.txtar"} {
		ar, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range ar.Files {
			if strings.HasSuffix(file.Name, ".yml") {
				f.Add(file.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, ps := parseConfig("callchain.yml", data, Options{NoSecrets: true})
		inside(t, ps, "callchain.yml", data)
		if ps.Err() == nil {
			if c.Routing.FallbackTeam.V == "" || c.Store.Path.V == "" || len(c.Escalation.Policies) == 0 {
				t.Errorf("loaded without an error, but incomplete: %+v", c)
			}
			for _, p := range c.Escalation.Policies {
				for _, s := range p.Steps {
					if s.AckWithin.For(Page) <= 0 || s.AckWithin.For(UnbreakNow) <= 0 {
						t.Errorf("a step of %q waits no time", p.Name.V)
					}
				}
			}
		}
		_, ps = ParseCatalog([]File{{"catalog.yml", data}})
		inside(t, ps, "catalog.yml", data)
	})
}

func inside(t *testing.T, ps Problems, file string, data []byte) {
	t.Helper()
	lines := strings.Split(string(data), "\n")
	for _, p := range ps {
		if p.Pos.File != file || p.Pos.Line < 1 || p.Pos.Line > len(lines) || p.Pos.Col < 1 || p.Pos.Col > len([]rune(lines[p.Pos.Line-1]))+1 {
			t.Errorf("problem outside the file: %v", p)
		}
	}
}

// Aliases may save typing; they may not make a small file huge.
func TestAliasesAreBounded(t *testing.T) {
	var list strings.Builder
	list.WriteString("services:\n  - {name: a, state: active, aliases: &many [" + strings.Repeat("x,", 1000) + "x]}\n")
	for i := range 1000 {
		fmt.Fprintf(&list, "  - {name: s%d, state: active, aliases: *many}\n", i)
	}
	merges := "services:\n  - &m0 {name: a, state: active}\n"
	for i := range 40 {
		merges += fmt.Sprintf("  - &m%d {<<: [*m%d, *m%d, *m%d]}\n", i+1, i, i, i)
	}
	for name, data := range map[string]string{"lists": list.String(), "merges": merges} {
		t.Run(name, func(t *testing.T) {
			_, ps := ParseCatalog([]File{{"catalog.yml", []byte(data)}})
			if !strings.Contains(ps.Error(), "the file's aliases expand to too much; write the values out") {
				t.Errorf("problems = %.500s", ps.Error())
			}
			inside(t, ps, "catalog.yml", []byte(data))
		})
	}
}
