package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kingpin/v2"

	weekly "callchain/routing/report"
)

func reportCommand(app *kingpin.Application, commands map[string]command) {
	cmd := app.Command("report", "Print the weekly report on ownership.")
	c, output := clientFlags(cmd), outputFlag(cmd, "text", "json", "md", "html", "csv")
	period := cmd.Flag("period", "Which week: last (the last full one), current, or one like 2026-W46.").Default("last").String()
	commands[cmd.FullCommand()] = func(ctx context.Context, std streams) error {
		var raw json.RawMessage
		if err := c.call(ctx, http.MethodGet, "reports/weekly?"+url.Values{"period": {*period}}.Encode(), nil, &raw); err != nil {
			return err
		}
		if *output == "json" {
			return printJSON(std.out, raw)
		}
		var r weekly.Report
		if err := json.Unmarshal(raw, &r); err != nil || r.Period.Week == "" {
			return fmt.Errorf("the answer is no report; check --url")
		}
		return printReport(std.out, r, *output)
	}
}

func printReport(w io.Writer, r weekly.Report, output string) error {
	doc := r.Document(0, "")
	out := doc.Text()
	switch output {
	case "md":
		out = doc.Markdown()
	case "csv":
		table, err := r.CSV()
		if err != nil {
			return err
		}
		out = table
	case "html":
		page, err := doc.HTML()
		if err != nil {
			return err
		}
		out = string(page)
	}
	_, err := io.WriteString(w, out)
	return err
}

func risksCommand(app *kingpin.Application, commands map[string]command) {
	cmd := app.Command("risks", "List the alerts that hit ownership which would not hold, newest first.")
	c, output := clientFlags(cmd), outputFlag(cmd, "text", "json")
	kind := cmd.Flag("kind", "Only this kind of risk, such as unowned or single_person.").String()
	service := cmd.Flag("service", "Only those of this service, or of a subject like name:thumbor.").String()
	since := cmd.Flag("since", "How far back, like 7d, or an instant like 2026-11-20T22:00:00Z.").Default("7d").String()
	limit := cmd.Flag("limit", "At most so many.").Default("100").Int()
	commands[cmd.FullCommand()] = func(ctx context.Context, std streams) error {
		q := url.Values{"since": {*since}, "limit": {strconv.Itoa(*limit)}}
		for name, v := range map[string]string{"kind": *kind, "service": *service} {
			if v != "" {
				q.Set(name, v)
			}
		}
		var raw json.RawMessage
		if err := c.call(ctx, http.MethodGet, "risks?"+q.Encode(), nil, &raw); err != nil {
			return err
		}
		if *output == "json" {
			return printJSON(std.out, raw)
		}
		var list weekly.RiskList
		if err := json.Unmarshal(raw, &list); err != nil || list.Risks == nil {
			return fmt.Errorf("the answer is no list of risks; check --url")
		}
		printRisks(std.out, list)
		if list.Left > 0 {
			fmt.Fprintf(std.err, "%d more are counted and not listed: raise --limit, or ask for less with --kind, --service or --since\n", list.Left)
		}
		return nil
	}
}

func printRisks(w io.Writer, list weekly.RiskList) {
	if len(list.Risks) == 0 {
		fmt.Fprintln(w, "no risks")
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "AT\tKIND\tSUBJECT\tMISSING\tALERT\tINCIDENT")
	orDash := func(s string) string {
		if s == "" {
			return "-"
		}
		return cell(s)
	}
	for _, r := range list.Risks {
		var missing []string
		for _, role := range r.MissingRoles {
			missing = append(missing, string(role))
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", r.At.UTC().Format(stamp), r.Kind, orDash(r.About()),
			orDash(strings.Join(missing, ",")), orDash(r.Alert), orDash(r.Incident))
	}
	_ = tw.Flush() // nobody to tell when the output is gone
}
