package convert

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"callchain/config"
	"callchain/routing/catalog"
)

var update = flag.Bool("update", false, "rewrite what is wanted with what happens now; then read the difference")

// day is the day of the import in all tests.
var day = config.Date{Time: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)}

// TestImports converts the files of each testdata/*.txtar: the comment holds the
// options, the files below want/ what comes out.
func TestImports(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			from, opts := options(t, string(ar.Comment))
			in := files(ar)
			got := Convert(from, in, opts)
			loads(t, got.Catalog)
			if again := Convert(from, in, opts); string(again.Catalog) != string(got.Catalog) {
				t.Error("the same files give another catalog the second time")
			}
			var notes strings.Builder
			for _, n := range got.Notes {
				fmt.Fprintln(&notes, n)
			}
			for _, p := range got.Problems {
				fmt.Fprintln(&notes, p)
			}
			fmt.Fprintf(&notes, "%d people, %d teams, %d services\n", got.People, got.Teams, got.Services)
			// A guess that is noted is marked on its line, and the other way round.
			noted := 0
			for _, n := range got.Notes {
				if n.Kind == Guessed {
					noted++
				}
			}
			if marked := strings.Count(string(got.Catalog), "  # guessed: "); len(opts.Only) == 0 && marked != noted {
				t.Errorf("%d guesses are noted, %d are marked", noted, marked)
			}
			if *update {
				ar.Files = ar.Files[:len(in)]
				ar.Files = append(ar.Files, txtar.File{Name: "want/catalog.yml", Data: got.Catalog}, txtar.File{Name: "want/notes", Data: []byte(notes.String())})
				if err := os.WriteFile(path, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, f := range ar.Files {
				switch f.Name {
				case "want/catalog.yml":
					if diff := cmp.Diff(strings.Split(string(f.Data), "\n"), strings.Split(string(got.Catalog), "\n")); diff != "" {
						t.Errorf("catalog (-want +got):\n%s", diff)
					}
				case "want/notes":
					if diff := cmp.Diff(strings.Split(string(f.Data), "\n"), strings.Split(notes.String(), "\n")); diff != "" {
						t.Errorf("notes (-want +got):\n%s", diff)
					}
				}
			}
		})
	}
}

func files(ar *txtar.Archive) []config.File {
	var out []config.File
	for _, f := range ar.Files {
		if strings.HasPrefix(f.Name, "want/") {
			break
		}
		out = append(out, config.File{Name: f.Name, Data: f.Data})
	}
	return out
}

func options(t testing.TB, comment string) (Format, Options) {
	t.Helper()
	var from Format
	opts := Options{Since: day, Lifecycles: map[string]config.State{}, OwnerTypes: map[string]config.Role{}, Columns: map[string]string{}}
	for line := range strings.Lines(comment) {
		key, value, found := strings.Cut(strings.TrimSpace(line), ": ")
		if !found || strings.HasPrefix(key, "#") {
			continue
		}
		before, after, _ := strings.Cut(value, "=")
		switch key {
		case "from":
			from = Format(value)
		case "lifecycle":
			opts.Lifecycles[before] = config.State(after)
		case "owner-type":
			opts.OwnerTypes[before] = config.Role(after)
		case "column":
			opts.Columns[before] = after
		case "only":
			opts.Only = append(opts.Only, value)
		default:
			t.Fatalf("unknown option %q", line)
		}
	}
	return from, opts
}

// loads holds what comes out against the promise: it parses, and the ownership
// policy takes it.
func loads(t testing.TB, data []byte) (*config.Catalog, *catalog.Catalog) {
	t.Helper()
	raw, ps := config.ParseCatalog([]config.File{{Name: "out.yml", Data: data}})
	if err := ps.Err(); err != nil {
		t.Fatalf("what came out does not parse: %v\n%s", err, data)
	}
	c, ps := catalog.New(raw)
	if err := ps.Err(); err != nil {
		t.Fatalf("what came out is refused: %v\n%s", err, data)
	}
	return raw, c
}
