package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/suggest"
)

func routeCommands(app *kingpin.Application, commands map[string]command) {
	all := app.Command("route", "Ask where alerts would go. Nothing is sent.")

	test := all.Command("test", "Show what one alert is about, who owns it, and who would be woken when.")
	file, expand, output := configFlag(test), expandFlag(test), outputFlag(test, "text", "json")
	at := test.Flag("at", "Ask for another instant, like 2026-11-20T22:00:00Z.").String()
	labels := test.Arg("label=value", `The alert's labels; or "-" for a webhook's payload on standard input.`).Required().Strings()
	commands[test.FullCommand()] = func(_ context.Context, std streams) error {
		now, err := instant(*at)
		if err != nil {
			return err
		}
		router, err := routerOf(*file, *expand, std.err)
		if err != nil {
			return err
		}
		alerts, err := alertsOf(*labels, std.in)
		if err != nil {
			return err
		}
		answers := []routing.Explanation{}
		for _, a := range alerts {
			answers = append(answers, explain(router, a, now))
		}
		switch {
		case *output == "json" && len(answers) == 1:
			return printJSON(std.out, answers[0])
		case *output == "json":
			return printJSON(std.out, answers)
		}
		for i, e := range answers {
			if len(answers) > 1 {
				if i > 0 {
					fmt.Fprintln(std.out)
				}
				fmt.Fprintf(std.out, "--- alert %d of %d\n", i+1, len(answers))
			}
			fmt.Fprint(std.out, e.Text())
		}
		if len(answers) == 0 {
			fmt.Fprintln(std.err, "callchain: the payload has no alerts")
		}
		return nil
	}

	suggestCommand(all, commands)

	back := all.Command("backtest", "Count where recorded alerts would go.")
	bfile, bexpand, boutput := configFlag(back), expandFlag(back), outputFlag(back, "text", "json")
	expect := back.Flag("expect", "End with 1 unless each alert has the subject, and each count is the one, that stands in this file: what --record wrote, or --output=json printed, or a part of it.").PlaceHolder("FILE").String()
	record := back.Flag("record", "Write what each alert is about into this file, for --expect.").PlaceHolder("FILE").String()
	files := back.Arg("file", `Files of webhook payloads, one JSON object a line; "-" is standard input.`).Required().Strings()
	commands[back.FullCommand()] = func(_ context.Context, std streams) error {
		router, err := routerOf(*bfile, *bexpand, std.err)
		if err != nil {
			return err
		}
		if *record != "" && *expect != "" {
			return errors.New("--record writes what --expect reads: give one of them")
		}
		wanted, err := expectation(*expect)
		if err != nil {
			return err
		}
		count := routing.NewBacktest(router)
		now := time.Now()
		for _, name := range *files {
			if err := payloads(name, std, func(w routing.Webhook) { count.Add(w, now) }); err != nil {
				return err
			}
		}
		if *record != "" {
			if err := recordSubjects(*record, count); err != nil {
				return err
			}
		}
		proposals := suggest.Propose(router.Catalog(), suggest.SeenBy(count.Answers))
		if *boutput == "json" {
			if err := printJSON(std.out, backtested{count, proposals}); err != nil {
				return err
			}
		} else {
			printBacktest(std.out, count)
			printProposals(std.out, "alert", proposals)
		}
		if n := count.Unrecorded(wanted); n > 0 {
			fmt.Fprintf(std.err, "callchain: %s not recorded in %s; --record it anew to watch them too\n", areCount(n, "alert"), *expect)
		}
		if wrong := count.Differences(wanted); len(wrong) > 0 {
			for i, line := range wrong {
				wrong[i] = clean(line)
			}
			return status{bad, "not as " + *expect + " expects:\n" + strings.Join(wrong, "\n")}
		}
		return nil
	}
}

// backtested is a backtest for programs.
type backtested struct {
	*routing.Backtest
	Proposals []suggest.Proposal `json:"proposals"`
}

// maxProposals is how many proposals people are shown; programs get all.
const maxProposals = 10

// printProposals prints rules that can be pasted, each below the comment that
// says what to think about first.
func printProposals(w io.Writer, what string, proposals []suggest.Proposal) {
	if len(proposals) == 0 {
		return
	}
	fmt.Fprintf(w, "\nRules that would help, most first; paste under routing.rules what is true:\n")
	for i, p := range proposals {
		if i == maxProposals {
			fmt.Fprintf(w, "\n  # and %s; --output=json has all\n", count(len(proposals)-maxProposals, "more proposal"))
			return
		}
		fmt.Fprintf(w, "\n  # %s: %s\n", count(p.Alerts, what), few(p.AlertNames, 4))
		if shared := sharedLabels(p); shared != "" {
			fmt.Fprintf(w, "  # All have %s.\n", shared)
		}
		fmt.Fprintf(w, "  # %s\n", clean(p.Reason))
		if p.Moves > 0 {
			fmt.Fprintf(w, "  # Careful: it also takes %s from other services.\n", count(p.Moves, what))
		}
		fmt.Fprintf(w, "  %s\n", clean(p.Rule))
	}
}

// sharedLabels are what tells most of what the alerts have in common.
func sharedLabels(p suggest.Proposal) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(p.Labels)) {
		if !slices.Contains([]string{"alertname", "team", "severity", "prometheus", "replica"}, name) {
			parts = append(parts, name+"="+strconv.Quote(p.Labels[name]))
		}
	}
	return few(parts, 4)
}

// few are the first names of a list, and how many follow.
func few(names []string, most int) string {
	text := strings.Join(names[:min(len(names), most)], ", ")
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return clean(text)
}

func recordSubjects(file string, b *routing.Backtest) error {
	data, err := b.Record()
	if err == nil {
		err = os.WriteFile(file, data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("--record: %w", err)
	}
	return nil
}

// areCount is a count with its verb.
func areCount(n int, what string) string {
	if n == 1 {
		return count(n, what) + " is"
	}
	return count(n, what) + " are"
}

// expectation reads the file that --expect names; without one, anything is expected.
func expectation(file string) (routing.Expectation, error) {
	if file == "" {
		return routing.Expectation{}, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return routing.Expectation{}, fmt.Errorf("--expect: %w", err)
	}
	e, err := routing.ParseExpectation(data)
	if err != nil {
		return e, fmt.Errorf("--expect %s: want what route backtest --record writes or --output=json prints, or a part of it: %w", file, err)
	}
	return e, nil
}

func instant(text string) (time.Time, error) {
	if text == "" {
		return time.Now(), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("--at %q: want an instant like 2026-11-20T22:00:00Z", text)
	}
	return t, nil
}

func routerOf(file string, expand bool, stderr io.Writer) (*routing.Router, error) {
	l, err := loadToAsk(file, expand, stderr)
	if err != nil {
		return nil, err
	}
	return l.router, nil
}

// loadToAsk loads for a command that sends nothing. Warnings are check-config's business.
func loadToAsk(file string, expand bool, stderr io.Writer) (*loaded, error) {
	l := load(file, config.Options{ExpandEnv: expand, NoSecrets: true})
	if errs := l.problems().Errors(); len(errs) > 0 {
		printProblems(stderr, errs)
		return nil, errors.New("the configuration is refused, see above")
	}
	return l, nil
}

func alertsOf(args []string, stdin io.Reader) ([]routing.Alert, error) {
	if len(args) == 1 && args[0] == fromStdin {
		body, err := io.ReadAll(stdin)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		w, err := routing.Decode(body)
		if err != nil {
			return nil, fmt.Errorf("read standard input as a webhook's payload: %w", err)
		}
		var alerts []routing.Alert
		for i := range w.Alerts {
			alerts = append(alerts, w.Alert(i))
		}
		return alerts, nil
	}
	labels := map[string]string{}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf(`%q is no label; write label=value, or "-" alone for a payload on standard input`, strings.TrimPrefix(arg, "\x00"))
		}
		if _, twice := labels[name]; twice {
			return nil, fmt.Errorf("the label %s is given twice", name)
		}
		labels[name] = value
	}
	return []routing.Alert{{Labels: labels}}, nil
}

// maxLine is the longest line of a file of payloads: that of a webhook.
const maxLine = 64 << 20

// payloads reads a file of recorded webhooks, one JSON object a line.
func payloads(name string, std streams, each func(routing.Webhook)) error {
	in := std.in
	if name == fromStdin {
		name = "standard input"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("open the payloads: %w", err)
		}
		defer f.Close()
		in = f
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		w, err := routing.Decode(line)
		if err != nil {
			return fmt.Errorf("%s:%d: read a webhook's payload: %w", name, n, err)
		}
		each(w)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

func printBacktest(w io.Writer, b *routing.Backtest) {
	fmt.Fprintf(w, "%s: %d to a service, %d to a team without a service, %d unmapped\n",
		count(b.Alerts, "alert"), b.ToService, b.ToTeam, b.Unmapped)
	for _, part := range []struct {
		title  string
		counts map[string]int
	}{
		{"By service", b.ByService}, {"By team", b.ByTeam}, {"By rule", b.ByRule}, {"By urgency", b.ByUrgency}, {"By assessment", b.ByAssessment},
	} {
		names := slices.SortedFunc(maps.Keys(part.counts), func(x, y string) int {
			if d := part.counts[y] - part.counts[x]; d != 0 {
				return d
			}
			return strings.Compare(x, y)
		})
		if len(names) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s\n", part.title)
		for _, name := range names {
			fmt.Fprintf(w, "%6d  %s\n", part.counts[name], clean(name))
		}
	}
}

func explain(router *routing.Router, a routing.Alert, now time.Time) routing.Explanation {
	res := router.Route(a, now)
	return routing.Explain(res, router.Chain(res.Target, res.Urgency, now, 0, nil))
}
