package diff

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

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

// markup is everything that Markdown, or the sites that show it, would take for
// more than text. A blank of no width breaks what would mention a person or a
// team, name an issue, or become a link.
var markup = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;", "|", `\|`,
	"@", "@\u200b", "#", "#\u200b", "!", "!\u200b", "~", "\\~\u200b", "%", "%\u200b", "$", "$\u200b", "&", "&amp;\u200b", "^", "^\u200b",
	"://", ":\u200b//", "www.", "www\u200b.", "WWW.", "WWW\u200b.", "GH-", "GH\u200b-", "mailto:", "mailto\u200b:", "xmpp:", "xmpp\u200b:",
)

func md(s string) string { return markup.Replace(config.OneLine(s)) }

// code is a name as it is written, in which nothing is markup.
func code(s string) string {
	s = strings.TrimSpace(config.OneLine(s))
	if s == "" {
		return ""
	}
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + s + fence
}

// cell is a name or value in a table, where a bar ends the cell even in code.
func cell(s string) string {
	if strings.Contains(s, "|") {
		return md(strings.TrimSpace(s))
	}
	return code(s)
}

func cells(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = cell(n)
	}
	return listed(out)
}

// mostMarkdown is the longest comment, with room to spare, that the sites that
// review changes take.
const mostMarkdown = 60_000

// Markdown is the report as a comment on a pull request: the verdict and what must
// be done on top, all else below.
func (r *Report) Markdown() string {
	for _, most := range []int{200, 50, 20, 5} {
		if text := r.markdown(most); len(text) <= mostMarkdown {
			return text
		}
	}
	text := r.markdown(0)
	if len(text) > mostMarkdown {
		text = strings.ToValidUTF8(text[:mostMarkdown], "")
	}
	return text
}

func (r *Report) markdown(most int) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	rows := func(n int) int {
		if most > 0 {
			return min(n, most)
		}
		return 0
	}
	left := func(n int, start, end string) {
		if n > rows(n) {
			p("%s%d more; `callchain catalog diff` lists them%s\n", start, n-rows(n), end)
		}
	}
	title := "nothing to object"
	switch {
	case !r.OK:
		title = plural(r.Summary.Errors, "error") + " to solve before merging"
	case r.Summary.Warnings > 0:
		title = plural(r.Summary.Warnings, "warning") + " to answer"
	}
	p("### Ownership: %s\n\n%s.\n", title, md(capital(r.Verdict())))
	r.markdownAgree(p, rows, left)
	for _, part := range []struct {
		severity Severity
		title    string
	}{{Error, "Errors: the policy refuses these"}, {Warning, "Warnings: rare, so say why"}} {
		list := r.of(part.severity)
		if len(list) == 0 {
			continue
		}
		p("\n#### %s\n\n", part.title)
		for _, f := range list[:rows(len(list))] {
			in := ""
			if f.In == inOld {
				in = " of the old catalog"
			}
			p("- %s `%s` (%s%s)\n", md(sentence(f.Text)), f.Code, code(f.place()), in)
			if f.Reason != "" {
				p("  - Why: %s\n", md(sentence(f.Reason)))
			}
			if f.Remedy != "" {
				p("  - To do: %s\n", md(sentence(f.Remedy)))
			}
		}
		left(len(list), "- ", "")
	}
	if list := r.of(Info); len(list) > 0 {
		p("\n#### Usual changes\n\n")
		shown := map[string]bool{}
		for _, f := range list[:rows(len(list))] {
			why := ""
			if f.Reason != "" && !shown[f.Code+f.Reason] {
				why = " " + capital(sentence(f.Reason))
			}
			shown[f.Code+f.Reason] = true
			p("- %s%s\n", md(sentence(f.Text)), md(why))
		}
		left(len(list), "- ", "")
	}
	if parts := r.byTeam(); len(parts) > 0 {
		details(p, "By team: "+plural(len(parts), "team"))
		for _, t := range parts[:rows(len(parts))] {
			if t.head == "" {
				p("- %s\n", code(t.team))
			} else {
				p("- %s %s\n", code(t.team), md(t.head))
			}
			for _, l := range t.lines[:rows(len(t.lines))] {
				p("  - %s\n", md(l))
			}
			left(len(t.lines), "  - ", "")
		}
		left(len(parts), "- ", "")
		p("\n</details>\n")
	}
	if rest := r.told(); len(rest) > 0 {
		details(p, "Other changes: "+strconv.Itoa(len(rest)))
		p("| of | what | before | after |\n| --- | --- | --- | --- |\n")
		for _, ch := range rest[:rows(len(rest))] {
			p("| %s %s | %s | %s | %s |\n", ch.Kind, cell(ch.Name), md(ch.What), cell(ch.From), cell(ch.To))
		}
		left(len(rest), "| ", " | | | |")
		p("\n</details>\n")
	}
	if w := r.Replay; w != nil {
		p("\n#### Recorded alerts\n\n%s.\n", md(w.words()))
		if list := w.changed(); len(list) > 0 {
			p("\n| team | pages before | pages now | at night before | at night now |\n| --- | --: | --: | --: | --: |\n")
			for _, t := range list[:rows(len(list))] {
				p("| %s | %d | %d | %d | %d |\n", cell(t.Team), t.Before, t.After, t.NightBefore, t.NightAfter)
			}
			left(len(list), "| ", " | | | | |")
		}
		if len(w.Moved) > 0 {
			p("\n| alerts | were about | are about | names |\n| --: | --- | --- | --- |\n")
			for _, m := range w.Moved[:rows(len(w.Moved))] {
				p("| %d | %s | %s | %s |\n", m.Alerts, cell(m.From), cell(m.To), cell(strings.Join(m.AlertNames, ", ")))
			}
			left(len(w.Moved), "| ", " | | | |")
		}
		if len(w.Moved)+len(w.changed()) == 0 {
			p("\nThe same teams are paged for the same subjects.\n")
		}
	}
	return b.String()
}

// markdownAgree says first who must agree at all, then to what.
func (r *Report) markdownAgree(p func(string, ...any), rows func(int) int, left func(int, string, string)) {
	if len(r.Agreements) == 0 {
		return
	}
	var must, missing []string
	for _, a := range r.Agreements {
		must, missing = append(must, a.Teams...), append(missing, a.Missing...)
	}
	slices.Sort(must)
	slices.Sort(missing)
	must, missing = slices.Compact(must), slices.Compact(missing)
	switch {
	case len(must) == 0:
	case len(missing) == 0:
		p("\n**Must agree:** %s. All stand in `verified.by`.\n", cells(must))
	default:
		p("\n**Must agree:** %s. Not in `verified.by` yet: %s.\n", cells(must), cells(missing))
	}
	details(p, "Who agrees to what: "+plural(len(r.Agreements), "service"))
	p("| service | to what | must agree | not in verified.by yet |\n| --- | --- | --- | --- |\n")
	for _, a := range r.Agreements[:rows(len(r.Agreements))] {
		p("| %s | %s | %s | %s |\n", cell(a.Service), listed(a.To), cells(a.Teams), cells(a.Missing))
	}
	left(len(r.Agreements), "| ", " | | | |")
	p("\n</details>\n")
}

// details begins a part that is folded away.
func details(p func(string, ...any), summary string) {
	p("\n<details><summary>%s</summary>\n\n", summary)
}

func (r *Report) of(s Severity) []Finding {
	var out []Finding
	for _, f := range r.Findings {
		if f.Severity == s {
			out = append(out, f)
		}
	}
	return out
}

func sentence(s string) string {
	if strings.HasSuffix(s, ".") {
		return s
	}
	return s + "."
}

func capital(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	if first == utf8.RuneError {
		return s
	}
	return string(unicode.ToUpper(first)) + s[size:]
}
