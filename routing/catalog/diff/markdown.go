package diff

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"callchain/config"
)

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
	}{{Error, "Errors: the policy refuses these"}, {Warning, "Warnings: mend it, or say why"}} {
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
