package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"callchain/config"
	"callchain/routing/catalog"
	"callchain/routing/catalog/convert"
)

func importCommand(all *kingpin.CmdClause, commands map[string]command) {
	c := all.Command("import", "Make a catalog file of what Backstage, Datadog or a table says about ownership. It is printed; what was guessed is marked.")
	output := outputFlag(c, "text", "json")
	from := c.Flag("from", "What to read: backstage (catalog-info.yaml), datadog (entity.datadog.yaml, v3), table (CSV or TSV).").Required().Enum("backstage", "datadog", "table")
	lifecycles := c.Flag("lifecycle", "What a lifecycle of the source means, like beta=active. Repeatable.").PlaceHolder("NAME=STATE").Strings()
	types := c.Flag("owner-type", "Datadog: the role that a type of additionalOwners means, like guardian=contingency_development. Repeatable.").PlaceHolder("TYPE=ROLE").Strings()
	columns := c.Flag("column", "Table: what a column holds, like Squad=steward; ignore drops it. Repeatable.").PlaceHolder("NAME=FIELD").Strings()
	since := c.Flag("since", "The day since when services without an owner are known to have none. Default: today.").PlaceHolder("YYYY-MM-DD").String()
	only := c.Flag("only", "Print only these: people, teams or services. Repeatable.").Enums("people", "teams", "services")
	beside := c.Flag("beside", "The catalog that has the rest, as a file, folder or pattern: what it has is not printed again, and its teams and people are known. Repeatable.").PlaceHolder("CATALOG").Strings()
	paths := c.Arg("path", `Files, or folders that are searched for such files; "-" is standard input.`).Required().Strings()
	commands[c.FullCommand()] = func(ctx context.Context, std streams) error {
		opts := convert.Options{Only: *only}
		var err error
		if opts.Beside, err = besides(ctx, *beside, std.err); err != nil {
			return err
		}
		if opts.Lifecycles, err = meanings("--lifecycle", *lifecycles, config.States); err != nil {
			return err
		}
		if opts.OwnerTypes, err = meanings("--owner-type", *types, config.Roles); err != nil {
			return err
		}
		if opts.Columns, err = meanings("--column", *columns, convert.Fields()); err != nil {
			return err
		}
		if opts.Since, err = dayOf(*since, time.Now()); err != nil {
			return err
		}
		files, err := sources(convert.Format(*from), *paths, std.in)
		if err != nil {
			return err
		}
		return printImport(std, convert.Convert(convert.Format(*from), files, opts), *output)
	}
}

// besides reads the catalog that an import will stand beside.
func besides(ctx context.Context, paths []string, stderr io.Writer) (*catalog.Catalog, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	files, ps, err := namedFiles(ctx, each(paths))
	if err != nil {
		return nil, fmt.Errorf("read --beside: %w", err)
	}
	raw, more := config.ParseCatalog(files)
	cat, again := catalog.New(raw)
	ps = append(append(ps, more...), again...)
	if ps.Err() != nil {
		for _, p := range ps.Errors() {
			fmt.Fprintln(stderr, clean(p.String()))
		}
		return nil, errors.New("the catalog of --beside is refused, see above; correct it first")
	}
	return cat, nil
}

// meanings reads a flag of the form SAID=MEANT that may stand several times.
func meanings[T ~string](flag string, given []string, legal []T) (map[string]T, error) {
	out := map[string]T{}
	for _, g := range given {
		i := strings.LastIndexByte(g, '=')
		if i < 1 || !slices.Contains(legal, T(g[i+1:])) {
			words := make([]string, len(legal))
			for i, l := range legal {
				words[i] = string(l)
			}
			return nil, fmt.Errorf("%s %q: want NAME=MEANING, the meaning one of %s", flag, g, strings.Join(words, ", "))
		}
		out[g[:i]] = T(g[i+1:])
	}
	return out, nil
}

func dayOf(text string, now time.Time) (config.Date, error) {
	if text == "" {
		text = now.UTC().Format(time.DateOnly)
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return config.Date{}, fmt.Errorf("--since %q: want a day like 2026-09-01", text)
	}
	return config.Date{Time: t}, nil
}

// sources reads the files to import, each once. A file that is named is read
// whatever it is called; a folder is searched for what looks right.
func sources(from convert.Format, paths []string, stdin io.Reader) ([]config.File, error) {
	var files []config.File
	seen := map[string]bool{}
	for _, path := range paths {
		if path == fromStdin {
			data, err := io.ReadAll(io.LimitReader(stdin, convert.MaxFile+1))
			if err != nil {
				return nil, fmt.Errorf("read standard input: %w", err)
			}
			files = append(files, config.File{Name: "standard input", Data: data})
			continue
		}
		root := path
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			root += string(filepath.Separator) // also a folder that is a link is searched
		}
		found := 0
		err := filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && at != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules"):
				return filepath.SkipDir
			case d.IsDir():
				return nil
			}
			named := at == root
			if !named && (!d.Type().IsRegular() || !slices.Contains(mayHold, strings.ToLower(filepath.Ext(at)))) {
				return nil
			}
			data, err := readSome(at)
			if err != nil {
				return err
			}
			f := config.File{Name: at, Data: data}
			if !named && !from.Holds(f) {
				return nil
			}
			found++
			if clean := filepath.Clean(at); !seen[clean] {
				seen[clean] = true
				files = append(files, f)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read what to import: %w", err)
		}
		if found == 0 {
			return nil, fmt.Errorf("in %s is no file that looks like %s; name the files themselves, or correct --from", path, from)
		}
	}
	return files, nil
}

// mayHold are the ends of names of the files that are worth reading in a folder.
var mayHold = []string{".yaml", ".yml", ".csv", ".tsv"}

// readSome reads a file as far as an import goes; one that is longer is refused there.
func readSome(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, convert.MaxFile+1))
}

// imported is the result of catalog import for programs.
type imported struct {
	OK       bool           `json:"ok"`
	Catalog  string         `json:"catalog"` // the file
	People   int            `json:"people"`
	Teams    int            `json:"teams"`
	Services int            `json:"services"`
	Notes    []importNote   `json:"notes"`
	Problems []checkProblem `json:"problems"`
}

type importNote struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Kind   string `json:"kind"`
	Entry  string `json:"entry"`
	Text   string `json:"text"`
}

func printImport(std streams, r convert.Result, output string) error {
	kinds := map[convert.NoteKind]int{}
	sum := imported{
		OK: r.Problems.Err() == nil, Catalog: string(r.Catalog), People: r.People, Teams: r.Teams, Services: r.Services,
		Notes: []importNote{}, Problems: []checkProblem{},
	}
	for _, n := range r.Notes {
		kinds[n.Kind]++
		sum.Notes = append(sum.Notes, importNote{n.Pos.File, n.Pos.Line, n.Pos.Col, string(n.Kind), n.Entry, n.Text})
	}
	for _, p := range r.Problems {
		sum.Problems = append(sum.Problems, checkProblem{p.Pos.File, p.Pos.Line, p.Pos.Col, p.Severity.String(), p.Text})
	}
	if output == "json" {
		if err := printJSON(std.out, sum); err != nil {
			return err
		}
	} else {
		if _, err := std.out.Write(r.Catalog); err != nil {
			return fmt.Errorf("write the catalog: %w", err)
		}
		for _, n := range r.Notes {
			fmt.Fprintln(std.err, clean(n.String()))
		}
		for _, p := range r.Problems {
			fmt.Fprintln(std.err, clean(p.String()))
		}
		fmt.Fprintf(std.err, "callchain: imported %s, %s, %s; %d guessed, %d renamed, %d left out, %d skipped\n",
			count(r.Services, "service"), count(r.Teams, "team"), people(r.People),
			kinds[convert.Guessed], kinds[convert.Renamed], kinds[convert.LeftOut], kinds[convert.Skipped])
	}
	if !sum.OK {
		about := "what they are"
		if len(r.Problems) == 1 {
			about = "what it is"
		}
		return status{bad, count(len(r.Problems), "error") + ": " + about + " about is not in the catalog that was printed"}
	}
	return nil
}
