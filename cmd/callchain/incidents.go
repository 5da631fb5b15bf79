package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"
)

// incident is what the commands print of the API's object. With --output json
// the object is printed as it came.
type incident struct {
	ID             string     `json:"id"`
	State          string     `json:"state"`
	Exhausted      bool       `json:"exhausted"`
	Held           bool       `json:"held"`
	Stale          bool       `json:"stale"`
	Subject        string     `json:"subject"`
	Service        string     `json:"service"`
	Team           string     `json:"team"`
	Urgency        string     `json:"urgency"`
	Assessment     string     `json:"assessment"`
	MissingRoles   []string   `json:"missing_roles"`
	Risks          []string   `json:"risks"`
	AcknowledgedBy string     `json:"acknowledged_by"`
	NextStepAt     *time.Time `json:"next_step_at"`
	NextPeople     []string   `json:"next_people"`
	NextAs         string     `json:"next_as"`
	OpenedAt       time.Time  `json:"opened_at"`
	ClosedAt       *time.Time `json:"closed_at"`
	Reason         string     `json:"reason"`
	Test           bool       `json:"test"`
	Shadow         bool       `json:"shadow"`
	Drill          bool       `json:"drill"`
	ExpiresAt      *time.Time `json:"acknowledgement_expires_at"`
	SnoozedUntil   *time.Time `json:"snoozed_until"`
	SnoozedBy      string     `json:"snoozed_by"`
	Flapping       bool       `json:"flapping"`
	ByHand         bool       `json:"by_hand"`
	Recorded       bool       `json:"recorded"`
	Text           string     `json:"text"`
	Alerts         []struct {
		Status      string            `json:"status"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
		StartsAt    *time.Time        `json:"starts_at"`
	} `json:"alerts"`
	Paged []struct {
		Person string    `json:"person"`
		As     string    `json:"as"`
		At     time.Time `json:"at"`
		Failed string    `json:"failed"`
	} `json:"paged"`
	Timeline []line `json:"timeline"`
}

// line is one of the timeline.
type line struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
	By   string    `json:"by"`
}

func (inc *incident) alert() string {
	for _, a := range inc.Alerts {
		if n := a.Labels["alertname"]; n != "" {
			return n
		}
	}
	switch {
	case inc.Test:
		return "test page"
	case inc.Drill:
		return "DRILL"
	case inc.ByHand:
		return "paged by hand"
	}
	return "-"
}

func incidentCommands(app *kingpin.Application, commands map[string]command) {
	all := app.Command("incidents", "Look at incidents and answer them.")

	list := all.Command("list", "List incidents, newest first.")
	c, output := clientFlags(list), outputFlag(list, "text", "json")
	mine, by := list.Flag("mine", "Only those that are yours: acknowledged by you, or waiting for somebody who was paged, as you were.").Bool(), byFlag(list)
	state := list.Flag("state", "Only these: open, triggered, acknowledged, snoozed, resolved, all.").Default("open").Enum("open", "triggered", "acknowledged", "snoozed", "resolved", "all")
	service := list.Flag("service", "Only those of this service.").String()
	team := list.Flag("team", "Only those of this team.").String()
	limit := list.Flag("limit", "At most so many.").Default("100").Int()
	cursor := list.Flag("cursor", "Go on where a list ended.").String()
	commands[list.FullCommand()] = func(ctx context.Context, std streams) error {
		q := url.Values{"limit": {strconv.Itoa(*limit)}}
		for name, v := range map[string]string{"state": *state, "service": *service, "team": *team, "cursor": *cursor} {
			if v != "" && v != "all" {
				q.Set(name, v)
			}
		}
		page, err := c.list(ctx, q)
		if err != nil {
			return err
		}
		if *mine {
			page.keep(func(inc *incident) bool { return inc.of(*by) })
		}
		if *output == "json" {
			return page.print(std.out)
		}
		printList(std.out, page.incidents)
		if page.Next != "" {
			fmt.Fprintf(std.err, "There are more: --cursor=%s\n", page.Next)
		}
		return nil
	}

	showCmd := all.Command("show", "Show one incident.")
	sc, sout := clientFlags(showCmd), outputFlag(showCmd, "text", "json", "md")
	sid := showCmd.Arg("id", "The incident.").Required().String()
	commands[showCmd.FullCommand()] = func(ctx context.Context, std streams) error {
		return sc.incident(ctx, std.out, http.MethodGet, "incidents/"+url.PathEscape(*sid), nil, *sout, printIncident)
	}

	actionCommands(all, commands)
}

func testPageCommand(app *kingpin.Application, commands map[string]command) {
	cmd := app.Command("test-page", "Page one person, to see that it reaches them.")
	c, output, by := clientFlags(cmd), outputFlag(cmd, "text", "json"), byFlag(cmd)
	person := cmd.Arg("person", "The handle of the person in the catalog.").Required().String()
	commands[cmd.FullCommand()] = func(ctx context.Context, std streams) error {
		return c.incident(ctx, std.out, http.MethodPost, "test-page", map[string]string{"person": *person, "by": *by}, *output,
			func(w io.Writer, inc *incident, _ string) {
				fmt.Fprintf(w, "test page %s is on its way to %s; they finish it by pressing Acknowledge\n", inc.ID, *person)
			})
	}
}

// incident calls what answers with an incident and prints it.
func (c client) incident(ctx context.Context, w io.Writer, method, path string, body any, output string, print func(io.Writer, *incident, string)) error {
	var raw json.RawMessage
	if err := c.call(ctx, method, path, body, &raw); err != nil {
		return err
	}
	if output == "json" {
		return printJSON(w, raw)
	}
	var inc incident
	if err := json.Unmarshal(raw, &inc); err != nil || inc.ID == "" {
		return fmt.Errorf("the answer is no incident; check --url")
	}
	print(w, &inc, output)
	return nil
}

const stamp = "2006-01-02 15:04:05 UTC"

func printList(w io.Writer, list []incident) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no incidents")
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ID\tSTATE\tURGENCY\tSUBJECT\tALERT\tSINCE\tWITH\tNEXT")
	for i := range list {
		inc := &list[i]
		with := inc.AcknowledgedBy
		if with == "" {
			with = "-"
		}
		next := "-"
		if inc.NextStepAt != nil {
			next = inc.nextWho() + " at " + inc.NextStepAt.UTC().Format("15:04:05")
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", inc.ID, inc.stateWords(), inc.Urgency,
			cell(inc.Subject), cell(inc.alert()), inc.OpenedAt.Format(stamp), cell(with), cell(next))
	}
	_ = tw.Flush() // nobody to tell when the output is gone
}

// nextWho is who is paged at the next step.
func (inc *incident) nextWho() string {
	switch {
	case inc.Exhausted:
		return "fallback team"
	case len(inc.NextPeople) == 0:
		return "nobody further"
	}
	return strings.Join(inc.NextPeople, ", ")
}

// nextWords is when the next step comes, to whom and as what.
func (inc *incident) nextWords() string {
	if inc.NextStepAt == nil {
		return ""
	}
	words := stampOf(inc.NextStepAt) + ": " + inc.nextWho()
	if inc.NextAs != "" {
		words += " (" + inc.NextAs + ")"
	}
	return words
}

func (inc *incident) stateWords() string {
	words := inc.State
	if inc.SnoozedUntil != nil {
		words += " until " + inc.SnoozedUntil.UTC().Format("15:04 UTC")
	}
	if inc.Flapping {
		words += ", flapping"
	}
	if inc.Held {
		words += ", on hold"
	}
	if inc.Exhausted {
		words += ", nobody answered"
	}
	if inc.Stale {
		words += ", stale"
	}
	if inc.Shadow {
		words += ", shadow: nothing is sent"
	}
	return words
}

// printOutcome says what an action came to.
func printOutcome(w io.Writer, inc *incident) {
	switch {
	case inc.Recorded && inc.AcknowledgedBy != "":
		fmt.Fprintf(w, "%s: acknowledged by %s, which is recorded; Redis is away, the escalation may still happen\n", inc.ID, clean(inc.AcknowledgedBy))
	case inc.Recorded: // its store is away: what was done is all that is known
		fmt.Fprintf(w, "%s: recorded; Redis is away, the escalation may still happen\n", inc.ID)
	case inc.State == "acknowledged":
		fmt.Fprintf(w, "%s %s: acknowledged by %s\n", inc.ID, clean(inc.Subject), clean(inc.AcknowledgedBy))
	case inc.AcknowledgedBy != "":
		fmt.Fprintf(w, "%s %s: %s, acknowledged by %s\n", inc.ID, clean(inc.Subject), inc.State, clean(inc.AcknowledgedBy))
	default:
		fmt.Fprintf(w, "%s %s: %s\n", inc.ID, clean(inc.Subject), inc.stateWords())
	}
}

func printIncident(w io.Writer, inc *incident, output string) {
	facts := [][2]string{
		{"State", inc.stateWords()}, {"Urgency", inc.Urgency}, {"Subject", inc.Subject + " (" + inc.Assessment + ")"},
		{"Team", inc.Team}, {"Found by", inc.Reason}, {"Missing roles", strings.Join(inc.MissingRoles, ", ")},
		{"Risks", strings.Join(inc.Risks, ", ")}, {"Since", inc.OpenedAt.Format(stamp)}, {"Says", inc.Text}, {"Acknowledged", inc.acknowledged()},
		{"Snoozed by", inc.SnoozedBy},
		{"Next step", inc.nextWords()}, {"Resolved", stampOf(inc.ClosedAt)},
	}
	shown := clean
	if output == "md" {
		shown = markdown
		fmt.Fprintf(w, "# %s: %s\n\n", shown(inc.Subject), shown(inc.alert()))
		fmt.Fprintf(w, "- Incident: %s\n", inc.ID)
		for _, f := range facts {
			if f[1] != "" {
				fmt.Fprintf(w, "- %s: %s\n", f[0], shown(f[1]))
			}
		}
	} else {
		fmt.Fprintf(w, "%s  %s: %s\n", inc.ID, shown(inc.Subject), shown(inc.alert()))
		for _, f := range facts {
			if f[1] != "" {
				fmt.Fprintf(w, "  %-14s %s\n", f[0], shown(f[1]))
			}
		}
	}
	heading := func(text string) {
		if output == "md" {
			fmt.Fprintf(w, "\n## %s\n\n", text)
		} else {
			fmt.Fprintf(w, "\n%s\n", text)
		}
	}
	item := "  "
	if output == "md" {
		item = "- "
	}
	if !inc.ByHand {
		heading("Alerts")
	}
	for _, a := range inc.Alerts {
		var labels []string
		for name, value := range a.Labels {
			labels = append(labels, name+"="+value)
		}
		slices.Sort(labels)
		fmt.Fprintf(w, "%s%s since %s: %s\n", item, a.Status, stampOf(a.StartsAt), shown(strings.Join(labels, " ")))
		if s := a.Annotations["summary"]; s != "" {
			fmt.Fprintf(w, "%s  %s\n", strings.Repeat(" ", len(item)), shown(s))
		}
	}
	heading("Paged")
	for _, p := range inc.Paged {
		failed := ""
		if p.Failed != "" {
			failed = ": not reached, " + p.Failed
		}
		fmt.Fprintf(w, "%s%s %s as %s%s\n", item, p.At.Format(stamp), shown(p.Person), shown(p.As), shown(failed))
	}
	heading("Timeline")
	for _, e := range inc.Timeline {
		fmt.Fprintf(w, "%s%s %s\n", item, e.At.Format(stamp), shown(e.Text))
	}
}

func stampOf(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(stamp)
}

var markdownEscapes = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;", "#", `\#`, "|", `\|`, "!", `\!`, "@", "&#64;",
)

// markdown keeps what others wrote from being markup.
func markdown(s string) string { return markdownEscapes.Replace(clean(s)) }
