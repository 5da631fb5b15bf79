package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
	"callchain/routing/whois"
)

func whoisCommand(app *kingpin.Application, commands map[string]command) {
	c := app.Command("whois", "Tell what the catalog says of a service, a team or a person; or whom an alert with these labels is about.")
	file, expand, output := configFlag(c), expandFlag(c), outputFlag(c, "text", "json")
	at := c.Flag("at", "Ask for another instant, like 2026-11-20T22:00:00Z.").String()
	urgency := c.Flag("urgency", "The chain of a service is shown for this urgency: unbreak_now or page.").Default(string(config.Page)).Enum(string(config.UnbreakNow), string(config.Page))
	words := c.Arg("name", "A service's or team's name or alias, a person's handle, e-mail address or Slack id; or label=value ...").Required().Strings()
	commands[c.FullCommand()] = func(_ context.Context, std streams) error {
		now, err := instant(*at)
		if err != nil {
			return err
		}
		router, err := routerOf(*file, *expand, std.err)
		if err != nil {
			return err
		}
		name := (*words)[0]
		ask := func(name string) whois.Answers { return whois.Ask(router, name, now, config.Urgency(*urgency)) }
		if !strings.Contains(name, "=") {
			if len(*words) > 1 {
				return fmt.Errorf("want one name, or labels like service=parsoid; got %s and %d more", name, len(*words)-1)
			}
			who := ask(name)
			if *output == "json" {
				err = printJSON(std.out, who)
			} else {
				fmt.Fprint(std.out, cleanLines(who.Text()))
			}
			if err == nil && who.None() {
				err = status{bad, unknownName(router.Catalog(), name)}
			}
			return err
		}
		alerts, err := alertsOf(*words, nil)
		if err != nil {
			return err
		}
		found := struct {
			Route routing.Explanation `json:"route"`
			whois.Answers
		}{Route: explain(router, alerts[0], now)}
		switch {
		case found.Route.Service != "":
			found.Answers = ask(found.Route.Service)
			found.Teams, found.People = []whois.Team{}, []whois.Person{}
		default:
			found.Answers = ask(found.Route.Team)
			found.Services, found.People = []whois.Service{}, []whois.Person{}
		}
		if *output == "json" {
			return printJSON(std.out, found)
		}
		fmt.Fprintf(std.out, "%s\n%s", found.Route.Text(), cleanLines(found.WithoutChains().Text()))
		return nil
	}
}

// unknownName is what to say of a name that nothing in the catalog has.
func unknownName(c *catalog.Catalog, name string) string {
	text := fmt.Sprintf("the catalog has no service, team or person %q", clean(name))
	if near := whois.Similar(c, name); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, ", ") + "?"
	}
	return text
}
