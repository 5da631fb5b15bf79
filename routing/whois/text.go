package whois

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"callchain/config"
)

// Text is the answers for a terminal. Texts of the catalog stand in it as they
// were written: whoever prints it takes out what a terminal would obey.
func (a Answers) Text() string {
	var parts []string
	for _, s := range a.Services {
		parts = append(parts, s.text())
	}
	for _, t := range a.Teams {
		parts = append(parts, t.text())
	}
	for _, p := range a.People {
		parts = append(parts, p.text())
	}
	return strings.Join(parts, "\n")
}

// sheet is lines of "key value"; a key without a value is left out.
type sheet struct{ strings.Builder }

func (s *sheet) line(key string, value string) {
	if value != "" {
		fmt.Fprintf(s, "  %-13s %s\n", key, value)
	}
}

func (s *sheet) list(key string, values []string) { s.line(key, strings.Join(values, ", ")) }

func (s Service) text() string {
	var b sheet
	fmt.Fprintf(&b, "Service %s (%s)\n", s.Name, s.Place)
	b.line("what", s.Description)
	b.list("also called", s.Aliases)
	b.line("state", fmt.Sprintf("%s, tier %d", s.State, s.Tier))
	words := s.Assessment
	switch {
	case len(s.MissingRoles) > 0 && s.Assessment == "partial":
		words += ": to be planned as unowned, for want of " + strings.Join(s.MissingRoles, ", ")
	case len(s.MissingRoles) > 0:
		words += ", for want of " + strings.Join(s.MissingRoles, ", ")
	}
	b.line("assessment", words)
	b.line("legacy", s.Legacy)
	if s.VerifiedOn != "" {
		b.line("verified", s.VerifiedOn+" by "+strings.Join(s.VerifiedBy, ", "))
	}
	b.list("volunteers", s.Volunteers)
	b.line("SLO", s.SLO)
	b.line("runbook", s.Runbook)
	b.line("dashboard", s.Dashboard)
	for _, name := range slices.Sorted(maps.Keys(s.Links)) {
		b.line(name, s.Links[name])
	}
	for i, set := range s.Alerts {
		b.line(map[bool]string{true: "alerts", false: "or"}[i == 0], set)
	}
	b.WriteString("\nOwners\n")
	for _, r := range s.Roles {
		who := r.Team
		if who == "" {
			who = r.Note
		}
		place := ""
		if r.Team != "" || r.HeldBy != "" {
			place = "  (" + r.Place + ")"
		}
		fmt.Fprintf(&b, "  %-24s %s%s\n", r.Role, who, place)
	}
	b.WriteString(s.chain)
	if len(s.Risks) > 0 {
		fmt.Fprintf(&b, "\nRisks of this chain: %s\n", strings.Join(s.Risks, ", "))
	}
	return b.String()
}

func (t Team) text() string {
	var b sheet
	fmt.Fprintf(&b, "Team %s (%s)\n", t.Name, t.Place)
	b.list("also called", t.Aliases)
	kind := t.Kind
	if kind == string(config.Volunteer) {
		kind += ": told, never waited for; owns nothing"
	}
	b.line("kind", kind)
	b.list("members", t.Members)
	b.line("lead", t.Lead)
	b.line("manager", t.Manager)
	b.line("director", t.Director)
	b.line("slack", t.SlackChannel)
	b.line("email", t.Email)
	switch {
	case t.Kind == string(config.Volunteer):
	case t.Schedule == "":
		b.line("on call", "the whole team, always")
	case len(t.OnCall) == 0:
		b.line("on call", "nobody (schedule "+t.Schedule+"); the lead is asked, then the whole team")
	default:
		b.line("on call", strings.Join(t.OnCall, ", ")+through(t.OnCallUntil)+" (schedule "+t.Schedule+")")
	}
	if len(t.Next) > 0 {
		b.line("then", strings.Join(t.Next, ", ")+" from "+clock(*t.NextFrom))
	}
	if len(t.Owns) > 0 {
		fmt.Fprintf(&b, "\nOwns %s\n", services(len(t.Owns)))
		for _, h := range t.Owns {
			fmt.Fprintf(&b, "  %-24s tier %d, %s, %s: %s\n", h.Service, h.Tier, h.State, h.Assessment, strings.Join(h.Roles, ", "))
		}
	}
	b.list("told of", t.ToldOf)
	return b.String()
}

func (p Person) text() string {
	var b sheet
	fmt.Fprintf(&b, "Person %s (%s)\n", p.Name, p.Place)
	b.line("email", p.Email)
	b.line("slack", p.Slack)
	b.line("phone", p.Phone)
	b.line("there it is", p.Local+", "+p.Timezone)
	b.list("paged by", p.Contact)
	b.list("teams", p.Teams)
	b.list("leads", p.Leads)
	b.list("manages", p.Manages)
	b.list("directs", p.Directs)
	for _, d := range p.Duties {
		if d.Now {
			b.line("on call", "for "+d.Team+through(d.Until))
		} else {
			b.line("next on call", "for "+d.Team+" from "+clock(*d.From)+through(d.Until))
		}
	}
	b.list("holds vacant", p.Holds)
	if len(p.Owns) > 0 {
		b.line("teams own", strings.Join(p.Owns, ", "))
	}
	if len(p.Chains) > 0 {
		fmt.Fprintf(&b, "\nWould be asked, were it unbreak-now, about %s\n", services(len(p.Chains)))
		// Managers, directors and the fallback team are asked about what their teams
		// own, or about everything: that is no list to read.
		posts := map[string]int{}
		for _, c := range p.Chains {
			posts[c.Notify]++
		}
		byPost := func(notify string) bool {
			return posts[notify] > few && slices.Contains([]string{"engineering_manager", "director", "fallback"}, notify)
		}
		for _, c := range p.Chains {
			if !byPost(c.Notify) {
				fmt.Fprintf(&b, "  %-24s step %d, as %s\n", c.Service, c.Position, c.Notify)
			}
		}
		for _, notify := range slices.Sorted(maps.Keys(posts)) {
			if byPost(notify) {
				fmt.Fprintf(&b, "  as %s about %s; --output=json lists them\n", notify, services(posts[notify]))
			}
		}
	}
	return b.String()
}

// few services are listed also where a person's post brings them.
const few = 5

func services(n int) string {
	if n == 1 {
		return "1 service"
	}
	return fmt.Sprintf("%d services", n)
}

func through(t *time.Time) string {
	if t == nil {
		return ""
	}
	return " until " + clock(*t)
}

func clock(t time.Time) string { return t.Format("Mon 2006-01-02 15:04 MST") }

func sloText(s *config.SLO) string {
	out := fmt.Sprintf("%g %%", s.Objective.V)
	if s.Window.V > 0 {
		out += " over " + s.Window.V.String()
	}
	if s.URL.V != "" {
		out += ", " + s.URL.V
	}
	return out
}
