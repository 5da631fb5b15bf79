package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"callchain/config"
	"callchain/routing/catalog/lint"
)

func lintCommand(all *kingpin.CmdClause, commands map[string]command) {
	c := all.Command("lint", "Find what is wrong with the catalog, or will be. Each kind of finding has a code, which docs/lint.md explains.")
	var given bool
	file := c.Flag("config.file", "The configuration: names the catalog unless files are given, and tells the rules, policies and fallback team.").
		Default("callchain.yml").IsSetByUser(&given).String()
	expand := expandFlag(c)
	output := outputFlag(c, "text", "json", "github")
	disable := c.Flag("disable", "A code that is not looked for, like CC0801. May be given several times.").PlaceHolder("CODE").Strings()
	strict := c.Flag("strict", "End with 1 for warnings too.").Bool()
	at := c.Flag("at", "Look from another instant, like 2026-11-20T22:00:00Z.").PlaceHolder("TIME").String()
	paths := c.Arg("file", "Files of the catalog, folders (their *.yml and *.yaml) or patterns. Alone they suffice; --config.file, if it is given as well, adds what it knows.").Strings()
	commands[c.FullCommand()] = func(ctx context.Context, std streams) error {
		in := lint.Input{}
		var err error
		if in.Now, err = instant(*at); err != nil {
			return err
		}
		if in.Disabled, err = disabled(*disable); err != nil {
			return err
		}
		if err := readForLint(ctx, &in, *paths, *file, given, *expand, std.err); err != nil {
			return err
		}
		r := lint.Run(in)
		if err := printFindings(std.out, r, *output, *strict); err != nil {
			return err
		}
		summarise(std.err, in, r)
		if r.Errors > 0 || *strict && r.Warnings > 0 {
			return status{code: bad}
		}
		return nil
	}
}

func disabled(codes []string) ([]config.Code, error) {
	var out []config.Code
	for _, code := range codes {
		rule, ok := lint.RuleFor(config.Code(code))
		switch {
		case !ok:
			return nil, fmt.Errorf("--disable %q: there is no such code; docs/lint.md lists them all", code)
		case rule.Refused:
			return nil, fmt.Errorf("--disable %s: %s is what callchain does not load, so it cannot be disabled", code, rule.Title)
		}
		out = append(out, rule.Code)
	}
	return out, nil
}

// readForLint reads the files that were named, or those that the configuration
// names. A configuration that was not asked for by name is not looked at when
// there are files: what stands in the current folder may be another's.
func readForLint(ctx context.Context, in *lint.Input, paths []string, file string, given, expand bool, stderr io.Writer) error {
	if len(paths) == 0 || given {
		cfg, ps := config.Load(file, config.Options{ExpandEnv: expand, NoSecrets: true})
		if errs := ps.Errors(); len(errs) > 0 {
			printProblems(stderr, errs)
			return errors.New("the configuration is refused, see above; correct it, or name the catalog's files alone")
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read the configuration: %w", err)
		}
		in.Config, in.ConfigFile = cfg, config.File{Name: file, Data: text}
	}
	var ps config.Problems
	if len(paths) > 0 {
		var err error
		if in.Files, ps, err = namedFiles(ctx, each(paths)); err != nil {
			return err
		}
	} else {
		in.Files, ps = config.ReadCatalog(in.Config.CatalogFiles)
	}
	printProblems(stderr, ps)
	switch {
	case ps.Err() != nil:
		return errors.New("the catalog could not be read, see above")
	case len(in.Files) == 0:
		return errors.New("there is no catalog file to look at")
	}
	return nil
}

// namedFiles reads what arguments name, in the forms that catalog diff knows too:
// a file, a folder, a pattern, a revision.
func namedFiles(ctx context.Context, paths []string) (files []config.File, ps config.Problems, err error) {
	for _, path := range paths {
		info, gone := os.Stat(path)
		switch {
		case gone == nil && info.IsDir(), gone != nil && (strings.HasPrefix(path, "git:") || strings.ContainsAny(path, `*?[`)):
			found, err := catalogPart(ctx, path)
			if err != nil {
				return nil, nil, err
			}
			files = append(files, found...)
		default:
			found, more := config.ReadCatalogFiles(path)
			files, ps = append(files, found...), append(ps, more...)
		}
	}
	known := map[string]bool{}
	files = slices.DeleteFunc(files, func(f config.File) bool {
		again := known[f.Name]
		known[f.Name] = true
		return again
	})
	return files, ps, nil
}

// each file once, however often a shell's patterns name it.
func each(paths []string) []string {
	var out []string
	for _, p := range paths {
		if !strings.HasPrefix(p, "git:") {
			p = filepath.Clean(p)
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// linted is the result for programs.
type linted struct {
	OK       bool          `json:"ok"` // false exactly where the exit status is 1
	Findings []lintFinding `json:"findings"`
	Errors   int           `json:"errors"`
	Warnings int           `json:"warnings"`
	Ignored  int           `json:"ignored"`
	Complete bool          `json:"complete"` // false: a file could not be read in full, so not everything was looked at
}

type lintFinding struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	Severity string `json:"severity"`
	Code     string `json:"code"`
	Title    string `json:"title"`
	Text     string `json:"text"`
}

func printFindings(w io.Writer, r lint.Result, output string, strict bool) error {
	switch output {
	case "json":
		out := linted{
			OK: r.Errors == 0 && !(strict && r.Warnings > 0), Findings: []lintFinding{},
			Errors: r.Errors, Warnings: r.Warnings, Ignored: r.Ignored, Complete: !r.Shallow,
		}
		for _, f := range r.Findings {
			rule, _ := lint.RuleFor(f.Code)
			out.Findings = append(out.Findings, lintFinding{f.Pos.File, f.Pos.Line, f.Pos.Col, f.Severity.String(), string(f.Code), rule.Title, f.Text})
		}
		return printJSON(w, out)
	case "github":
		for _, f := range r.Findings {
			rule, _ := lint.RuleFor(f.Code)
			fmt.Fprintf(w, "::%s file=%s,line=%d,col=%d,title=%s::%s\n", f.Severity,
				githubProperty.Replace(clean(f.Pos.File)), f.Pos.Line, f.Pos.Col, githubProperty.Replace(string(f.Code)+" "+rule.Title), githubData.Replace(clean(f.Text)))
		}
	default:
		for _, f := range r.Findings {
			fmt.Fprintln(w, clean(f.String()))
		}
	}
	return nil
}

// A workflow command of GitHub ends with its line, so what stands in it is cleaned
// first; in a property, ":" and "," would end the value.
var (
	githubData     = strings.NewReplacer("%", "%25")
	githubProperty = strings.NewReplacer("%", "%25", ":", "%3A", ",", "%2C")
)

func summarise(w io.Writer, in lint.Input, r lint.Result) {
	ignored := ""
	if r.Ignored > 0 {
		ignored = fmt.Sprintf(" (%d more ignored)", r.Ignored)
	}
	fmt.Fprintf(w, "callchain: %s and %s%s in %s: %s, %s, %s\n", count(r.Errors, "error"), count(r.Warnings, "warning"), ignored,
		count(len(in.Files), "file"), count(len(r.Catalog.Services), "service"), count(len(r.Catalog.Teams), "team"), people(len(r.Catalog.People)))
	if r.Shallow {
		fmt.Fprintln(w, "callchain: not everything was looked at, because a file could not be read in full; correct the errors and run it again")
	}
}
