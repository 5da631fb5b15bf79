package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"callchain/config"
	"callchain/internal/online"
)

func checkCommand(app *kingpin.Application, commands map[string]command) {
	c := app.Command("check-config", "Check the configuration and its catalog; print every mistake with its place.")
	file, expand, output := configFlag(c), expandFlag(c), outputFlag(c, "text", "json")
	surroundings := c.Flag("online", "Also look at what it names: Alertmanager, Slack, the smarthost, the store, external_url. Nothing is sent or changed.").Bool()
	timeout := c.Flag("timeout", "How long --online may take.").Default("30s").Duration()
	commands[c.FullCommand()] = func(ctx context.Context, std streams) error {
		ask := noTime
		if *surroundings {
			if ask = *timeout; ask <= 0 {
				return fmt.Errorf("--timeout=%s: want a time like 30s or 2m", ask)
			}
		}
		return check(ctx, std.out, *file, config.Options{ExpandEnv: *expand}, *output, ask)
	}
}

// noTime is how long a check of the files alone may ask around.
const noTime time.Duration = 0

// checked is the result of check-config for programs.
type checked struct {
	OK       bool           `json:"ok"`
	Problems []checkProblem `json:"problems"`
	Services int            `json:"services"`
	Teams    int            `json:"teams"`
	People   int            `json:"people"`
	Rules    int            `json:"rules"`
	Online   bool           `json:"online"`  // the surroundings were asked
	Checked  []string       `json:"checked"` // what answered there, in words
}

type checkProblem struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	Severity string `json:"severity"`
	Text     string `json:"text"`
}

// check reads the files and, when they are good and it has time for that, looks
// at the world that they name.
func check(ctx context.Context, w io.Writer, file string, opts config.Options, output string, ask time.Duration) error {
	l := load(file, opts)
	ps := l.problems()
	seen := online.Report{Checked: []string{}}
	asked := ask > 0 && ps.Err() == nil
	if asked {
		var err error
		if seen, err = around(ctx, l, ask); err != nil {
			return err
		}
		ps = append(ps, seen.Problems...)
		ps.Sort()
	}
	sum := checked{
		OK: ps.Err() == nil, Problems: []checkProblem{}, Online: asked, Checked: seen.Checked,
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
		for _, c := range seen.Checked {
			fmt.Fprintf(w, "checked: %s\n", clean(c))
		}
		printProblems(w, ps)
		if ask > 0 && !asked {
			fmt.Fprintln(w, "nobody was asked: mend the errors above first")
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

// around looks at the world with the channels and the store as the daemon would
// wire them.
func around(ctx context.Context, l *loaded, limit time.Duration) (online.Report, error) {
	silent := slog.New(slog.DiscardHandler)
	var wires wiring
	if _, err := wires.snapshot(l, silent); err != nil {
		return online.Report{}, err
	}
	world := online.World{Config: l.cfg, Catalog: l.raw, Slack: wires.slack, Email: wires.email}
	if l.cfg.Store.Type.V == inRedis {
		o, _, err := redisOptions(l.cfg, silent)
		if err != nil {
			return online.Report{}, err
		}
		world.Redis = &o
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return online.Check(limited, world), ctx.Err() // half a report would look like a whole one
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
