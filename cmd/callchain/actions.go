package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"
)

// verb is a command that does something to incidents.
type verb struct {
	name, help string
	takeOver   string                                                  // set: help of --take-over
	arg        string                                                  // set: help of an argument after the incident
	flags      func(*kingpin.CmdClause) func() (map[string]any, error) // of its own; they make part of the body
	to         func(*incident) bool                                    // which of several are meant; nil: all open ones
	say        func(w io.Writer, inc *incident, by string)             // what it came to
}

// waits tells whether somebody is still asked.
func waits(inc *incident) bool { return inc.State == "triggered" || inc.State == "snoozed" }

var verbs = []verb{
	{
		name: "ack", help: "Acknowledge an incident: the escalation stops, you have it.",
		takeOver: "Take it over although you are not in its chain.", to: waits,
		say: func(w io.Writer, inc *incident, by string) {
			if inc.State == "acknowledged" && inc.AcknowledgedBy != by {
				fmt.Fprintf(w, "%s %s: already acknowledged by %s; nothing changed\n", inc.ID, clean(inc.Subject), clean(inc.AcknowledgedBy))
				return
			}
			printOutcome(w, inc)
		},
	},
	{
		name: "unack", help: "Take an acknowledgement back, or end a snooze: the escalation goes on at the step that it had reached.",
		to: func(inc *incident) bool { return inc.State == "acknowledged" || inc.State == "snoozed" },
	},
	{
		name: "still-on", help: "Say that you still are on what you acknowledged: the acknowledgement runs anew.",
		to: func(inc *incident) bool { return inc.State == "acknowledged" },
	},
	{name: "resolve", help: "Close an incident by hand, although its alerts may still fire."},
	{
		name: "escalate", help: "Page the next step of the chain now; with --to somebody in particular, also beside whoever acknowledged.",
		flags: toFlag(false), to: waits, say: lastWords,
	},
	{
		name: "reassign", help: "Ask somebody in particular in place of the current step; without an answer that step goes on.",
		takeOver: "Although you are not in its chain.", flags: toFlag(true), say: lastWords,
	},
	{
		name: "snooze", help: "Page and remind nobody until then, at most 24 hours; a higher urgency ends it.",
		takeOver: "Although you are not in its chain.",
		flags: func(cmd *kingpin.CmdClause) func() (map[string]any, error) {
			until := cmd.Flag("until", "When it ends: 2026-11-20T22:00:00Z.").String()
			length := cmd.Flag("for", "How long it lasts: 30m, 2h.").String()
			return func() (map[string]any, error) {
				if (*until == "") == (*length == "") {
					return nil, errors.New("say when it ends: --for=30m, or --until=2026-11-20T22:00:00Z")
				}
				return map[string]any{"until": *until + *length}, nil
			}
		},
	},
	{
		name: "urgency", help: "Declare how urgent it is: page or unbreak_now. It pages again from step 1, and never falls.",
		arg: "page or unbreak_now.", say: lastWords,
	},
	{name: "note", help: "Write into the timeline.", arg: "The note, in quotes.", say: lastWords},
	{
		name: "wrong-owner", help: "Say that it is not yours: the next step is paged at once, and the report tells.",
		flags: func(cmd *kingpin.CmdClause) func() (map[string]any, error) {
			right := cmd.Flag("right", "Whose it is: team:NAME or service:NAME.").String()
			reason := cmd.Flag("reason", "How you know.").String()
			return func() (map[string]any, error) { return map[string]any{"right": *right, "reason": *reason}, nil }
		},
		say: lastWords,
	},
}

func toFlag(needed bool) func(*kingpin.CmdClause) func() (map[string]any, error) {
	return func(cmd *kingpin.CmdClause) func() (map[string]any, error) {
		flag := cmd.Flag("to", "Whom: a role, engineering_manager, director, fallback, team:NAME or person:NAME.")
		if needed {
			flag = flag.Required()
		}
		to := flag.String()
		return func() (map[string]any, error) { return map[string]any{"to": *to}, nil }
	}
}

// lastWords prints what the timeline has of what was just done.
func lastWords(w io.Writer, inc *incident, by string) {
	last := slices.IndexFunc(inc.Timeline, func(e line) bool {
		return e.By == by && e.At.Equal(inc.Timeline[len(inc.Timeline)-1].At)
	})
	if last < 0 {
		printOutcome(w, inc)
		return
	}
	for _, e := range inc.Timeline[last:] {
		fmt.Fprintf(w, "%s %s: %s\n", inc.ID, clean(inc.Subject), clean(e.Text))
	}
}

func actionCommands(all *kingpin.CmdClause, commands map[string]command) {
	for _, v := range verbs {
		cmd := all.Command(v.name, v.help)
		a := acting{verb: v, client: clientFlags(cmd), output: outputFlag(cmd, "text", "json"), by: byFlag(cmd)}
		a.service = cmd.Flag("service", "Those of this service, in place of an id.").String()
		a.mine = cmd.Flag("mine", "Those that are yours, in place of an id.").Bool()
		a.all = cmd.Flag("all", "With --service or --mine: also when there are several.").Bool()
		a.over = new(bool)
		if v.takeOver != "" {
			a.over = cmd.Flag("take-over", v.takeOver).Bool()
		}
		if v.flags != nil {
			a.own = v.flags(cmd)
		}
		switch {
		case v.arg == "":
			a.words = cmd.Arg("id", "The incident; or say which by --service or --mine.").Strings()
		default:
			a.words = cmd.Arg("words", "The incident, unless --service or --mine says which; then: "+v.arg).Strings()
		}
		commands[cmd.FullCommand()] = a.run
	}
}

// acting is a verb as it was typed.
type acting struct {
	verb
	client
	output, by, service *string
	mine, all, over     *bool
	words               *[]string
	own                 func() (map[string]any, error)
}

func (a acting) run(ctx context.Context, std streams) error {
	words := *a.words
	chosen := *a.service != "" || *a.mine
	want := 0
	if !chosen {
		want++
	}
	if a.arg != "" {
		want++
	}
	if len(words) != want || a.arg != "" && strings.TrimSpace(words[want-1]) == "" {
		return fmt.Errorf("want %s", a.usage(chosen))
	}
	body := map[string]any{"by": *a.by, "take_over": *a.over}
	if a.own != nil {
		own, err := a.own()
		if err != nil {
			return err
		}
		for k, v := range own {
			body[k] = v
		}
	}
	if a.arg != "" {
		body[map[string]string{"note": "text", "urgency": "urgency"}[a.name]] = words[len(words)-1]
	}
	path := func(id string) string { return "incidents/" + url.PathEscape(id) + "/" + a.name }
	say := a.say
	if say == nil {
		say = func(w io.Writer, inc *incident, _ string) { printOutcome(w, inc) }
	}
	if !chosen {
		return a.incident(ctx, std.out, http.MethodPost, path(words[0]), body, *a.output,
			func(w io.Writer, inc *incident, _ string) { say(w, inc, *a.by) })
	}
	several, err := a.chosen(ctx)
	if err != nil {
		return err
	}
	var done listed
	var failed error
	for _, inc := range several {
		var raw json.RawMessage
		if err := a.call(ctx, http.MethodPost, path(inc.ID), body, &raw); err != nil {
			failed = err
			fmt.Fprintf(std.err, "%s %s: %v\n", inc.ID, clean(inc.Subject), err)
			continue
		}
		var after incident
		if err := json.Unmarshal(raw, &after); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		done.Incidents = append(done.Incidents, raw)
		if *a.output == "text" {
			say(std.out, &after, *a.by)
		}
	}
	if *a.output == "json" {
		if err := done.print(std.out); err != nil {
			return err
		}
	}
	if failed != nil {
		return status{bad, fmt.Sprintf("%d of %d could not be done", len(several)-len(done.Incidents), len(several))}
	}
	return nil
}

func (a acting) usage(chosen bool) string {
	text := "the id of one incident"
	switch {
	case chosen && a.arg == "":
		return "no id with --service or --mine"
	case chosen:
		return "one argument with --service or --mine: " + a.arg
	case a.arg != "":
		return text + ", and then: " + a.arg
	}
	return text + ", or --service=NAME, or --mine"
}

// chosen are the open incidents that --service and --mine mean. Several are meant
// only with --all: nobody acknowledges what they have not seen by mistake.
func (a acting) chosen(ctx context.Context) ([]incident, error) {
	q := url.Values{"state": {"open"}, "limit": {"1000"}}
	if *a.service != "" {
		q.Set("service", *a.service)
	}
	var out []incident
	for {
		page, err := a.list(ctx, q)
		if err != nil {
			return nil, err
		}
		page.keep(func(inc *incident) bool { return (a.to == nil || a.to(inc)) && (!*a.mine || inc.of(*a.by)) })
		out = append(out, page.incidents...)
		if page.Next == "" {
			break
		}
		q.Set("cursor", page.Next)
	}
	switch {
	case len(out) == 0:
		return nil, status{bad, "there is no such open incident"}
	case len(out) > 1 && !*a.all:
		return nil, fmt.Errorf("%d incidents are meant; add --all, or give the id of one", len(out))
	}
	return out, nil
}

// of tells whether an incident is somebody's: they have acknowledged it, or it
// waits for an answer and they were paged.
func (inc *incident) of(handle string) bool {
	if inc.AcknowledgedBy != "" {
		return inc.AcknowledgedBy == handle
	}
	for _, p := range inc.Paged {
		if p.Person == handle {
			return true
		}
	}
	return false
}

// acknowledged is by whom, and until when that lasts.
func (inc *incident) acknowledged() string {
	if inc.ExpiresAt == nil {
		return inc.AcknowledgedBy
	}
	return inc.AcknowledgedBy + ", until " + stampOf(inc.ExpiresAt)
}

// listed is a list of incidents as the API gives it.
type listed struct {
	Incidents []json.RawMessage `json:"incidents"`
	Next      string            `json:"next"`
	incidents []incident
}

func (c client) list(ctx context.Context, q url.Values) (listed, error) {
	var l listed
	if err := c.call(ctx, http.MethodGet, "incidents?"+q.Encode(), nil, &l); err != nil {
		return l, err
	}
	l.incidents = make([]incident, len(l.Incidents))
	for i, raw := range l.Incidents {
		if err := json.Unmarshal(raw, &l.incidents[i]); err != nil {
			return l, fmt.Errorf("read the answer: %w", err)
		}
	}
	return l, nil
}

// keep leaves those of the list for which wanted is true.
func (l *listed) keep(wanted func(*incident) bool) {
	var raws []json.RawMessage
	var incs []incident
	for i := range l.incidents {
		if wanted(&l.incidents[i]) {
			raws, incs = append(raws, l.Incidents[i]), append(incs, l.incidents[i])
		}
	}
	l.Incidents, l.incidents = raws, incs
}

func (l *listed) print(w io.Writer) error {
	if l.Incidents == nil {
		l.Incidents = []json.RawMessage{}
	}
	return printJSON(w, l)
}

func pageCommand(app *kingpin.Application, commands map[string]command) {
	cmd := app.Command("page", "Page a service's or team's people by hand, through its chain.")
	c, output, by := clientFlags(cmd), outputFlag(cmd, "text", "json"), byFlag(cmd)
	urgency := cmd.Flag("urgency", "How urgent it is: page, unbreak_now.").Default("page").Enum("page", "unbreak_now")
	key := cmd.Flag("key", "The same key within 24 hours is the same page: for scripts that try again.").String()
	subject := cmd.Arg("subject", "service:NAME, team:NAME, or a name of one.").Required().String()
	text := cmd.Arg("text", "What they have to know.").Required().String()
	commands[cmd.FullCommand()] = func(ctx context.Context, std streams) error {
		body := map[string]any{"subject": *subject, "text": *text, "urgency": *urgency, "by": *by, "key": *key}
		return c.incident(ctx, std.out, http.MethodPost, "incidents", body, *output, func(w io.Writer, inc *incident, _ string) {
			var who []string
			for _, p := range inc.Paged {
				who = append(who, p.Person)
			}
			fmt.Fprintf(w, "%s %s: %s, paged %s\n", inc.ID, clean(inc.Subject), inc.stateWords(), clean(strings.Join(who, ", ")))
			if inc.NextStepAt != nil {
				fmt.Fprintf(w, "Without an answer: %s\n", clean(inc.nextWords()))
			}
			fmt.Fprintf(w, "To look at it: callchain incidents show %s\n", inc.ID)
		})
	}
}
