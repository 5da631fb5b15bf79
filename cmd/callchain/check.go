package main

import (
	"context"
	"fmt"
	"io"

	"github.com/alecthomas/kingpin/v2"

	"callchain/config"
)

func checkCommand(app *kingpin.Application, commands map[string]command) {
	c := app.Command("check-config", "Check the configuration and its catalog; print every mistake with its place.")
	file, expand, output := configFlag(c), expandFlag(c), outputFlag(c, "text", "json")
	commands[c.FullCommand()] = func(_ context.Context, std streams) error {
		return check(std.out, *file, config.Options{ExpandEnv: *expand}, *output)
	}
}

// checked is the result of check-config for programs.
type checked struct {
	OK       bool           `json:"ok"`
	Problems []checkProblem `json:"problems"`
	Services int            `json:"services"`
	Teams    int            `json:"teams"`
	People   int            `json:"people"`
	Rules    int            `json:"rules"`
}

type checkProblem struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	Severity string `json:"severity"`
	Text     string `json:"text"`
}

func check(w io.Writer, file string, opts config.Options, output string) error {
	l := load(file, opts)
	ps := l.problems()
	sum := checked{
		OK: ps.Err() == nil, Problems: []checkProblem{},
		Services: len(l.raw.Services), Teams: len(l.raw.Teams), People: len(l.raw.People), Rules: len(l.cfg.Routing.Rules),
	}
	for _, p := range ps {
		sum.Problems = append(sum.Problems, checkProblem{p.Pos.File, p.Pos.Line, p.Pos.Col, p.Severity.String(), p.Text})
	}
	if output == "json" {
		if err := printJSON(w, sum); err != nil {
			return err
		}
	} else {
		for _, p := range ps {
			fmt.Fprintln(w, p)
		}
		verdict := "good"
		if !sum.OK {
			verdict = "refused"
		}
		fmt.Fprintf(w, "%s: %s; %s, %s; found %s, %s, %s, %s\n", file, verdict,
			count(len(ps.Errors()), "error"), count(len(ps.Warnings()), "warning"),
			count(sum.Services, "service"), count(sum.Teams, "team"), people(sum.People), count(sum.Rules, "routing rule"))
	}
	if !sum.OK {
		return status{code: bad}
	}
	return nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func people(n int) string {
	if n == 1 {
		return "1 person"
	}
	return fmt.Sprintf("%d people", n)
}
