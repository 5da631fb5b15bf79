package diff

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"callchain/config"
)

// Verdict is the report in one line.
func (r *Report) Verdict() string {
	s := r.Summary
	switch {
	case s.First && r.OK:
		return fmt.Sprintf("the first catalog, with %s: nothing was there before, so nothing is a launch", plural(s.ServicesAfter, "service"))
	case len(r.Findings)+len(r.Changes) == 0:
		return "no change"
	}
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{
		{s.Launched, "launch"}, {s.Found, "legacy service found"}, {s.Moved, "transition"}, {s.Transfers, "transfer"}, {s.Vacancies, "vacancy"},
		{s.Deleted, "deletion"}, {s.Renamed, "rename"},
	} {
		if p.n > 0 {
			parts = append(parts, several(p.n, p.what))
		}
	}
	text := plural(s.Errors, "error") + ", " + plural(s.Warnings, "warning")
	if len(parts) > 0 {
		text += "; " + listed(parts)
	}
	return text + "; " + plural(s.ServicesChanged, "service") + " and " + plural(s.TeamsChanged, "team") + " changed"
}

func several(n int, what string) string {
	switch {
	case n == 1:
	case what == "launch":
		what = "launches"
	case what == "vacancy":
		what = "vacancies"
	case what == "legacy service found":
		what = "legacy services found"
	default:
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

// told are the changes that no other part of a rendering tells.
func (r *Report) told() []Change {
	var out []Change
	for _, ch := range r.Changes {
		role, isRole := strings.CutPrefix(ch.What, "owners.")
		switch {
		case ch.Kind == "service" && (ch.What == "added" || ch.What == "removed" || ch.What == "state" || ch.What == "name"):
		case ch.Kind == "service" && isRole && slices.Contains(config.Roles, config.Role(role)):
		case ch.Kind == "team" && (ch.What == "name" || isPeople(ch)):
		default:
			out = append(out, ch)
		}
	}
	return out
}

// isPeople tells whether a change of a team is one of people: it stands with what
// the team hands over.
func isPeople(ch Change) bool {
	switch ch.What {
	case "members left", "members joined", "lead", "manager", "director", "on_call", "kind", "added", "removed":
		return ch.Kind == "team"
	}
	return false
}

func (ch Change) words() string {
	switch {
	case ch.Kind == "team" && ch.What == "added":
		return "is new: " + cmp.Or(ch.To, "nobody is in it")
	case ch.Kind == "team" && ch.What == "removed" && ch.To == "":
		return "is gone: " + cmp.Or(ch.From, "nobody was in it")
	case ch.What == "added", ch.What == "members joined", ch.What == "people joined":
		return ch.What + ": " + cmp.Or(ch.To, "nobody")
	case ch.What == "removed" && ch.To != "":
		return "removed: " + ch.To
	case ch.What == "removed", ch.What == "members left", ch.What == "people left":
		return ch.What + ": " + cmp.Or(ch.From, "nobody")
	case ch.What == "turns":
		return "turns: " + ch.To
	case ch.From == "":
		return ch.What + ": " + ch.To + " (new)"
	case ch.To == "":
		return ch.What + ": was " + ch.From + ", is gone"
	}
	return ch.What + ": " + ch.From + " -> " + ch.To
}

// teamPart is what a change means for one team, in lines.
type teamPart struct {
	team  string
	head  string
	lines []string
}

func (r *Report) byTeam() []teamPart {
	people := map[string][]string{}
	var names []string
	for _, ch := range r.Changes {
		if isPeople(ch) {
			people[ch.Name] = append(people[ch.Name], ch.words())
			names = append(names, ch.Name)
		}
	}
	hands := map[string]HandOver{}
	for _, h := range r.HandOver {
		hands[h.Team] = h
		names = append(names, h.Team)
	}
	slices.Sort(names)
	var out []teamPart
	for _, name := range slices.Compact(names) {
		h := hands[name]
		p := teamPart{team: name, lines: slices.Clone(people[name])}
		if n := len(h.Leaves); n > 0 {
			p.head += "gives " + plural(n, "role")
		}
		if n := len(h.Arrives); n > 0 {
			if p.head != "" {
				p.head += ", "
			}
			p.head += "takes " + plural(n, "role")
		}
		if len(h.AgreeWith) > 0 {
			p.head += "; must agree with " + listed(h.AgreeWith)
		}
		p.lines = append(p.lines, handed("gives", "to", h.Leaves)...)
		p.lines = append(p.lines, handed("takes", "from", h.Arrives)...)
		out = append(out, p)
	}
	return out
}

// handed is one line for each team at the other end and each service.
func handed(verb, preposition string, list []Handed) []string {
	type key struct{ service, end string }
	var order []key
	roles := map[key][]config.Role{}
	for _, h := range list {
		end := " (" + h.Why + ")"
		if h.Team != "" {
			end = " " + preposition + " " + h.Team
		}
		k := key{h.Service, end}
		if roles[k] == nil {
			order = append(order, k)
		}
		roles[k] = append(roles[k], h.Role)
	}
	slices.SortStableFunc(order, func(a, b key) int { return strings.Compare(a.end, b.end) })
	var out []string
	for _, k := range order {
		out = append(out, verb+" "+k.service+": "+spokenAll(roles[k])+k.end)
	}
	return out
}

// agreed is who agreed and who is missing, in words.
func (a Agreement) words() string {
	switch {
	case len(a.Missing) == 0:
		return listed(a.Teams) + " (all have agreed)"
	case len(a.Agreed) == 0:
		return listed(a.Teams) + " (none has agreed yet)"
	}
	return listed(a.Teams) + " (not yet: " + listed(a.Missing) + ")"
}

func (f Finding) place() string { return fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column) }

func (f Finding) why() string {
	text := f.Reason
	if f.Remedy != "" {
		if text != "" {
			text += "; "
		}
		text += f.Remedy
	}
	return text
}

// Text is the report for a terminal; the last line is the verdict.
func (r *Report) Text() string {
	var b strings.Builder
	put := func(format string, args ...string) {
		clear := make([]any, len(args))
		for i, a := range args {
			clear[i] = config.OneLine(a)
		}
		fmt.Fprintf(&b, format, clear...)
	}
	for _, f := range r.Findings {
		line := f.Text
		if why := f.why(); why != "" {
			line += ": " + why
		}
		if f.In == inOld {
			line += " (the place is in OLD)"
		}
		put("%s: %s %s: %s\n", f.place(), string(f.Severity), f.Code, line)
	}
	head := func(title string) {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(title + "\n")
	}
	if len(r.Agreements) > 0 {
		head("Must agree")
		for _, a := range r.Agreements {
			put("  %s (%s): %s\n", a.Service, listed(a.To), a.words())
		}
	}
	if parts := r.byTeam(); len(parts) > 0 {
		head("By team")
		for _, p := range parts {
			if p.head == "" {
				put("  %s\n", p.team)
			} else {
				put("  %s: %s\n", p.team, p.head)
			}
			for _, l := range p.lines {
				put("    %s\n", l)
			}
		}
	}
	if rest := r.told(); len(rest) > 0 {
		head("Other changes")
		for _, ch := range rest {
			put("  %s %s: %s\n", ch.Kind, ch.Name, ch.words())
		}
	}
	if p := r.Replay; p != nil {
		head("Recorded alerts")
		put("  %s\n", p.words())
		for _, t := range p.changed() {
			put("  %s: %s\n", t.Team, t.words())
		}
		for _, m := range p.Moved {
			put("  %s from %s to %s%s\n", plural(m.Alerts, "alert"), m.From, m.To, m.names())
		}
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	put("%s\n", r.Verdict())
	return b.String()
}

func (p *Replay) words() string {
	return fmt.Sprintf("%s; %d page somebody now, %d did before", plural(p.Alerts, "alert"), p.PagesAfter, p.PagesBefore)
}

// changed are the teams that are paged more or less often than before.
func (p *Replay) changed() []Pages {
	var out []Pages
	for _, t := range p.Teams {
		if t.Before != t.After || t.NightBefore != t.NightAfter {
			out = append(out, t)
		}
	}
	return out
}

func (t Pages) words() string {
	return plural(t.After, "page") + " (" + than(t.After-t.Before) + "), " + strconv.Itoa(t.NightAfter) + " at night (" + than(t.NightAfter-t.NightBefore) + ")"
}

func than(more int) string {
	if more == 0 {
		return "as before"
	}
	return fmt.Sprintf("%+d", more)
}

func (m Moved) names() string {
	if len(m.AlertNames) == 0 {
		return ""
	}
	return " (" + strings.Join(m.AlertNames, ", ") + ")"
}
