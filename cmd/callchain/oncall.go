package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"callchain/routing/catalog"
	"callchain/routing/whois"
)

func onCallCommands(app *kingpin.Application, commands map[string]command) {
	all := app.Command("oncall", "Tell who is on call.")

	show := all.Command("show", "Tell who is on call for each team, until when, and who is next. The word show may be left out.").Default()
	var fromFile bool
	file := show.Flag("config.file", "The configuration.").Default("callchain.yml").IsSetByUser(&fromFile).String()
	expand, output := expandFlag(show), outputFlag(show, "text", "json")
	address := show.Flag("url", "Ask the callchain that runs there instead of the configuration, unless --config.file is given.").Envar("CALLCHAIN_URL").String()
	tokenFile := show.Flag("token-file", "A file with a token of api.tokens, for --url.").Envar("CALLCHAIN_TOKEN_FILE").String()
	at := show.Flag("at", "Ask for another instant, like 2026-11-20T22:00:00Z.").String()
	names := show.Arg("team", "Only these teams.").Strings()
	commands[show.FullCommand()] = func(ctx context.Context, std streams) error {
		now, err := instant(*at)
		if err != nil {
			return err
		}
		var rota whois.Rota
		if *address != "" && !fromFile {
			rota, err = askOnCall(ctx, client{address, tokenFile}, *names, *at)
		} else {
			rota, err = readOnCall(*file, *expand, *names, now, std.err)
		}
		if err != nil {
			return err
		}
		if *output == "json" {
			return printJSON(std.out, rota)
		}
		printRota(std.out, rota)
		return nil
	}

	for name, remedy := range map[string]string{
		"override": "write the change under overrides of the schedule in the catalog, and reload",
		"preview":  "callchain oncall --at tells who is on call at any instant",
	} {
		c := all.Command(name, "Not built yet: "+remedy+".").Hidden()
		c.Arg("word", "").Strings()
		commands[c.FullCommand()] = func(context.Context, streams) error {
			return errors.New("oncall " + name + " is not built yet: " + remedy)
		}
	}
}

func askOnCall(ctx context.Context, c client, teams []string, at string) (whois.Rota, error) {
	q := url.Values{"team": teams}
	if at != "" {
		q.Set("at", at)
	}
	var raw json.RawMessage
	var rota whois.Rota
	if err := c.call(ctx, http.MethodGet, "oncall?"+q.Encode(), nil, &raw); err != nil {
		return rota, err
	}
	if err := json.Unmarshal(raw, &rota); err != nil || rota.OnCall == nil {
		return rota, errors.New("the answer does not tell who is on call; check --url")
	}
	return rota, nil
}

func readOnCall(file string, expand bool, names []string, at time.Time, stderr io.Writer) (whois.Rota, error) {
	router, err := routerOf(file, expand, stderr)
	if err != nil {
		return whois.Rota{}, err
	}
	c := router.Catalog()
	teams := c.Teams()
	if len(names) > 0 {
		teams = nil
	}
	for _, name := range names {
		t := c.Team(name)
		if t == nil {
			return whois.Rota{}, status{bad, unknownTeam(c, name)}
		}
		teams = append(teams, t)
	}
	return whois.OnCall(c, teams, at), nil
}

func unknownTeam(c *catalog.Catalog, name string) string {
	text := fmt.Sprintf("the catalog has no team %q", clean(name))
	if c.Service(name) != nil {
		return text + ", but a service: ask callchain whois " + clean(name)
	}
	if near := whois.Similar(c, name); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, ", ") + "?"
	}
	return text
}

func printRota(w io.Writer, rota whois.Rota) {
	fmt.Fprintf(w, "On call at %s\n\n", rota.At.UTC().Format(stamp))
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "TEAM\tON CALL\tUNTIL\tNEXT\tSCHEDULE")
	for _, c := range rota.OnCall {
		who := strings.Join(c.People, ", ")
		switch {
		case len(c.StandIn) > 0:
			who = "nobody; asked instead: " + strings.Join(c.StandIn, ", ")
		case who == "":
			who = "nobody"
		}
		schedule, next := c.Schedule, "-"
		if schedule == "" {
			schedule = "none: the whole team"
		}
		if len(c.Next) > 0 {
			next = strings.Join(c.Next, ", ")
			if c.NextFrom != nil && (c.Until == nil || !c.NextFrom.Equal(*c.Until)) {
				next += " from " + stampOf(c.NextFrom)
			}
		}
		until := "-"
		if c.Until != nil {
			until = stampOf(c.Until)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", cell(c.Team), clean(who), until, clean(next), cell(schedule))
	}
	_ = tw.Flush() // nobody to tell when the output is gone
}
