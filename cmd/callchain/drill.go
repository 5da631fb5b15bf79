package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/alecthomas/kingpin/v2"
)

func drillCommand(app *kingpin.Application, commands map[string]command) {
	cmd := app.Command("drill", "Practise: page through the real chain of a service or team, marked as a drill.")
	c, output, by := clientFlags(cmd), outputFlag(cmd, "text", "json"), byFlag(cmd)
	urgency := cmd.Flag("urgency", "How urgent it is: page, unbreak_now.").Default("page").Enum("page", "unbreak_now")
	atNight := cmd.Flag("at-night", "Also when it would reach people at night.").Bool()
	end := cmd.Flag("end", "End the drill with this id instead of beginning one.").PlaceHolder("ID").String()
	subject := cmd.Arg("subject", "service:NAME, team:NAME, or a name of one.").String()
	commands[cmd.FullCommand()] = func(ctx context.Context, std streams) error {
		switch {
		case *end != "" && *subject != "":
			return errors.New("give a subject to begin a drill, or --end to end one")
		case *end != "":
			return c.incident(ctx, std.out, http.MethodPost, "drill/"+url.PathEscape(*end)+"/end", map[string]string{"by": *by}, *output,
				func(w io.Writer, inc *incident, _ string) {
					fmt.Fprintf(w, "drill %s %s is over%s\n", inc.ID, clean(inc.Subject), answeredBy(inc))
				})
		case *subject == "":
			return errors.New("say whose chain is to be practised: callchain drill service:NAME")
		}
		body := map[string]any{"subject": *subject, "urgency": *urgency, "at_night": *atNight, "by": *by}
		return c.incident(ctx, std.out, http.MethodPost, "drill", body, *output, func(w io.Writer, inc *incident, _ string) {
			var first []string
			for _, p := range inc.Paged {
				first = append(first, p.Person)
			}
			fmt.Fprintf(w, "drill %s is on its way through the chain of %s, first to %s\n", inc.ID, clean(inc.Subject), clean(strings.Join(first, ", ")))
			if inc.NextStepAt != nil {
				fmt.Fprintf(w, "The next step is paged at %s unless somebody acknowledges, which ends it.\n", stampOf(inc.NextStepAt))
			}
			fmt.Fprintf(w, "To look at it: callchain incidents show %s\nTo end it: callchain drill --end %s\n", inc.ID, inc.ID)
		})
	}
}

func answeredBy(inc *incident) string {
	if inc.AcknowledgedBy != "" {
		return ", acknowledged by " + clean(inc.AcknowledgedBy)
	}
	return ""
}
