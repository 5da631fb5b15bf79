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

	"github.com/alecthomas/kingpin/v2"

	"callchain/config"
	"callchain/routing/suggest"
)

func suggestCommand(all *kingpin.CmdClause, commands map[string]command) {
	c := all.Command("suggest", "Tell which alerting rules of Prometheus will not reach a service, and which routing rules would help.")
	file, expand, output := configFlag(c), expandFlag(c), outputFlag(c, "text", "json")
	check := c.Flag("check", "End with 1 when the alerts of a rule will reach no service.").Bool()
	verbose := c.Flag("all", "List the alerting rules that reach a service, too.").Bool()
	names := c.Arg("rules", "Rule files, folders of rule files, or patterns.").Required().Strings()
	commands[c.FullCommand()] = func(_ context.Context, std streams) error {
		l, err := loadToAsk(*file, *expand, std.err)
		if err != nil {
			return err
		}
		rules, passed, err := readRules(*names)
		for _, p := range problemsIn(err) {
			fmt.Fprintln(std.err, clean(p))
		}
		if err != nil {
			return errors.New("not all rule files can be read, see above; nothing was judged")
		}
		if passed > 0 {
			fmt.Fprintf(std.err, "callchain: %s passed over: no groups of rules\n", count(passed, "file"))
		}
		if len(rules) == 0 {
			fmt.Fprintln(std.err, "callchain: there are no alerting rules in what was given")
		}
		j := suggest.Judge(l.cfg, l.router, rules)
		if *output == "json" {
			if err := printJSON(std.out, j); err != nil {
				return err
			}
		} else {
			printJudgement(std.out, j, *verbose)
		}
		if *check && j.Misses > 0 {
			return status{bad, fmt.Sprintf("%s will reach no service", count(j.Misses, "alerting rule"))}
		}
		return nil
	}
}

// readRules reads the alerting rules of files, of all YAML files below folders,
// and of what patterns find, and counts the files of folders that hold no rules.
// The error joins those of all files.
func readRules(names []string) (rules []suggest.AlertingRule, passed int, err error) {
	seen := map[string]bool{}
	read := func(name string, asked bool) {
		if seen[filepath.Clean(name)] {
			return
		}
		seen[filepath.Clean(name)] = true
		data, failed := os.ReadFile(name)
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("read the rules: %w", failed))
			return
		}
		found, failed := suggest.ParseRules(config.File{Name: name, Data: data})
		switch {
		case errors.Is(failed, suggest.ErrNoRules) && !asked:
			passed++
		case errors.Is(failed, suggest.ErrNoRules):
			err = errors.Join(err, fmt.Errorf("%s:1:1: error: want a Prometheus rule file: %w", name, failed))
		case failed != nil:
			err = errors.Join(err, failed)
		}
		rules = append(rules, found...)
	}
	for _, name := range names {
		found, failed := filepath.Glob(name)
		if failed != nil || len(found) == 0 || slices.Contains(found, name) {
			found = []string{name}
		}
		for _, f := range found {
			info, failed := os.Stat(f)
			if failed != nil || !info.IsDir() {
				read(f, len(found) == 1)
				continue
			}
			failed = filepath.WalkDir(f, func(path string, d fs.DirEntry, failed error) error {
				if failed != nil {
					return failed
				}
				if ext := strings.ToLower(filepath.Ext(path)); !d.IsDir() && (ext == ".yml" || ext == ".yaml" || ext == ".rules") {
					read(path, false)
				}
				return nil
			})
			if failed != nil {
				err = errors.Join(err, fmt.Errorf("read the rules: %w", failed))
			}
		}
	}
	return rules, passed, err
}

// problemsIn are the lines of joined errors.
func problemsIn(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

func printJudgement(w io.Writer, j suggest.Judgement, all bool) {
	fmt.Fprintf(w, "%s: %d reach a service, %d may, by labels whose values the rules do not tell, %d reach none\n",
		count(j.Rules, "alerting rule"), j.Reaches, j.Depends, j.Misses)
	for _, part := range []struct {
		outcome suggest.Outcome
		title   string
	}{
		{suggest.Misses, "Reach no service"}, {suggest.Depends, "May reach a service"}, {suggest.Reaches, "Reach a service"},
	} {
		if part.outcome == suggest.Reaches && !all {
			continue
		}
		begun, said := false, ""
		for _, v := range j.Verdicts {
			if v.Outcome != part.outcome {
				continue
			}
			if !begun {
				fmt.Fprintf(w, "\n%s\n", part.title)
				begun = true
			}
			fmt.Fprintf(w, "  %s:%d: %s -> %s\n", clean(v.File), v.Line, clean(v.Alert), clean(strings.Join(v.Subjects, " or ")))
			if v.Reason != said {
				fmt.Fprintf(w, "      %s\n", clean(v.Reason))
				said = v.Reason
			}
			if v.Unread != "" {
				fmt.Fprintf(w, "      Its expression was not understood (%s): only its own labels count here.\n", clean(v.Unread))
			}
		}
	}
	printProposals(w, "alerting rule", j.Proposals)
	if j.Misses+j.Depends > 0 {
		fmt.Fprint(w, `
Known are the labels that stand in the rules: given, asked for with "=", kept by "by (...)".
What Prometheus adds, and what series carry besides, is not; "route backtest" tells of alerts that fired.
`)
	}
}
