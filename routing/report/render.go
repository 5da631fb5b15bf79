package report

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"html/template"
	"strconv"
	"strings"

	"callchain/config"
)

// Text is the document as plain text.
func (d Document) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", d.Title)
	for _, p := range d.Lead {
		fmt.Fprintf(&b, "\n%s\n", fold(0, p))
	}
	for _, s := range d.Sections {
		fmt.Fprintf(&b, "\n\n%s\n", strings.ToUpper(s.Title[:min(1, len(s.Title))])+s.Title[min(1, len(s.Title)):])
		fmt.Fprintf(&b, "%s\n", strings.Repeat("-", min(len([]rune(s.Title)), width)))
		if s.Note != "" {
			fmt.Fprintf(&b, "%s\n", fold(0, s.Note))
		}
		for _, it := range s.Items {
			fmt.Fprintf(&b, "\n* %s\n", fold(2, it.Head))
			for _, l := range it.Lines {
				fmt.Fprintf(&b, "  %s\n", fold(2, l))
			}
			for line := range strings.Lines(it.Code) {
				fmt.Fprintf(&b, "    %s\n", strings.TrimRight(line, "\n"))
			}
		}
		if s.Left > 0 {
			fmt.Fprintf(&b, "\n  %s\n", fold(2, d.left(s)))
		}
	}
	return b.String()
}

// left says what a section left out.
func (d Document) left(s Section) string {
	if d.More == "" {
		return fmt.Sprintf("and %d more", s.Left)
	}
	return fmt.Sprintf("and %d more: %s", s.Left, d.More)
}

// width is where text is folded: what a phone and a terminal both show.
const width = 76

// fold breaks a line at blanks. Words longer than a line, such as links, stay whole.
func fold(indent int, s string) string {
	var b strings.Builder
	column := indent
	for i, word := range strings.Fields(s) {
		n := len([]rune(word))
		switch {
		case i == 0:
		case column+1+n > width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}

// Markdown is the document as Markdown of any flavour.
func (d Document) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n", markdown(d.Title))
	for _, p := range d.Lead {
		fmt.Fprintf(&b, "\n%s\n", markdown(p))
	}
	for _, s := range d.Sections {
		fmt.Fprintf(&b, "\n## %s\n\n", markdown(s.Title))
		if s.Note != "" {
			fmt.Fprintf(&b, "%s\n\n", markdown(s.Note))
		}
		for _, it := range s.Items {
			fmt.Fprintf(&b, "- **%s**\n", markdown(it.Head))
			for _, l := range it.Lines {
				fmt.Fprintf(&b, "  - %s\n", markdown(l))
			}
			for line := range strings.Lines(it.Code) {
				fmt.Fprintf(&b, "  - %s\n", codeSpan(strings.TrimRight(line, "\n")))
			}
		}
		if s.Left > 0 {
			fmt.Fprintf(&b, "- %s\n", markdown(d.left(s)))
		}
	}
	return b.String()
}

// A label of an alert is text there, never markup: a character of an entity
// neither begins a link nor mentions anybody.
var markdownEscapes = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "&", "&amp;", "<", "&lt;", ">", "&gt;",
	"#", `\#`, "|", `\|`, "!", `\!`, "~", `\~`, "@", "&#64;", "://", "&#58;//", "www.", "www&#46;",
)

func markdown(s string) string {
	s = markdownEscapes.Replace(s)
	// What would begin a list inside the list.
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	if digits < len(s) && (digits > 0 && (s[digits] == '.' || s[digits] == ')') || digits == 0 && strings.IndexByte("-+=", s[0]) >= 0) {
		return s[:digits] + `\` + s[digits:]
	}
	return s
}

// codeSpan is text as it is; its fence is longer than any in the text.
func codeSpan(s string) string {
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	return fence + " " + s + " " + fence
}

//go:embed report.html.tmpl
var htmlSource string

var htmlReport = template.Must(template.New("report").Funcs(template.FuncMap{"left": Document.left}).Parse(htmlSource))

// HTML is the document as a page of its own, which mail programs show as well:
// one column, styles inline, nothing that is fetched from elsewhere.
func (d Document) HTML() (template.HTML, error) {
	var b strings.Builder
	if err := htmlReport.Execute(&b, d); err != nil {
		return "", fmt.Errorf("write the report as HTML: %w", err)
	}
	return template.HTML(b.String()), nil
}

// MaxMail is how many bytes of HTML mail programs show without cutting.
const MaxMail = 90_000

// Mail is the report as a mail's text and HTML part, with as many items in each
// section as fit; more says where all of it is.
func (r Report) Mail(more string) (text string, html template.HTML, err error) {
	for most := 50; ; most /= 2 {
		d := r.Document(most, more)
		html, err = d.HTML()
		if err != nil || len(html) <= MaxMail || most <= 1 {
			return d.Text(), html, err
		}
	}
}

var csvHead = []string{
	"week", "kind", "name", "tier", "state", "assessment", "missing_roles", "kept_roles", "labels",
	"alerts", "alerts_before", "incidents", "pages", "escalations", "answers", "ack_median_seconds", "ack_worst_seconds", "answered_by", "to_do",
}

// CSV is the report's table: a line for each service that had alerts and for
// each label set that led to none. It follows RFC 4180.
func (r Report) CSV() (string, error) {
	var b strings.Builder
	w := csv.NewWriter(&b)
	w.UseCRLF = true
	write := func(cells ...string) error {
		for i, c := range cells {
			cells[i] = cell(c)
		}
		return w.Write(cells)
	}
	if err := write(csvHead...); err != nil {
		return "", fmt.Errorf("write the report as CSV: %w", err)
	}
	for _, list := range []struct {
		kind string
		rows []Service
	}{{"not_owned", r.NotOwned}, {"decommissioned", r.Decommissioned}, {"owned", r.Owned}} {
		for _, s := range list.rows {
			todo := s.Advice.Text
			if list.kind == "decommissioned" {
				todo = "remove the alerting rule: the service is gone"
			}
			tier := ""
			if s.Tier > 0 {
				tier = strconv.Itoa(s.Tier)
			}
			var kept []string
			for _, k := range s.KeptRoles {
				who := k.Team
				if k.Director != "" {
					who = "vacant, " + k.Director
				}
				kept = append(kept, string(k.Role)+": "+who)
			}
			if err := write(r.Period.Week, list.kind, s.Service, tier, string(s.State), string(s.Assessment), keys(s.MissingRoles), strings.Join(kept, "; "), "",
				strconv.Itoa(s.Alerts), strconv.Itoa(s.Before.Alerts), strconv.Itoa(s.Incidents), strconv.Itoa(s.Pages), strconv.Itoa(s.Escalations),
				strconv.Itoa(s.Answers), number(s.MedianAck), number(s.WorstAck), people(s.AnsweredBy), todo); err != nil {
				return "", fmt.Errorf("write the report as CSV: %w", err)
			}
		}
	}
	for _, list := range []struct {
		kind string
		rows []Unknown
	}{{"unknown_service", r.UnknownService}, {"unmapped", r.Unmapped}} {
		for _, u := range list.rows {
			for _, l := range u.LabelSets {
				todo := strings.TrimPrefix(l.Rule, "- ")
				if todo == "" {
					todo = u.Cure
				}
				labels := labelText(l.Labels)
				if len(l.Labels) == 0 {
					labels = "(other labels)"
				}
				if err := write(r.Period.Week, list.kind, u.name(), "", "", "unknown", "", "", labels,
					strconv.Itoa(l.Alerts), strconv.Itoa(l.Before), "", "", "", "", "", "", "", todo); err != nil {
					return "", fmt.Errorf("write the report as CSV: %w", err)
				}
			}
		}
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return "", fmt.Errorf("write the report as CSV: %w", err)
	}
	return b.String(), nil
}

// name is the name that the catalog lacks; without one, the team that the alerts
// name.
func (u Unknown) name() string {
	if u.Named != "" {
		return u.Named
	}
	if team, ok := strings.CutPrefix(u.Subject, "team:"); ok {
		return team
	}
	return ""
}

func keys(in []config.Role) string {
	var out []string
	for _, r := range in {
		out = append(out, string(r))
	}
	return strings.Join(out, "; ")
}

func people(in []Answerer) string {
	var out []string
	for _, a := range in {
		out = append(out, fmt.Sprintf("%s %d", a.Person, a.Count))
	}
	return strings.Join(out, "; ")
}

func number(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

// cell is a text that no spreadsheet takes for a formula: it begins with an
// apostrophe if it would. Line breaks and what cannot be seen are gone.
func cell(s string) string {
	s = clean(s, 5*maxLine)
	if s != "" && strings.ContainsAny(firstRune(s), "=+-@\uff1d\uff0b\uff0d\uff20") {
		return "'" + s
	}
	return s
}

func firstRune(s string) string { return cut(s, 1) }
