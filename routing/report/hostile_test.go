package report

import (
	"encoding/csv"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/alertmanager/matcher/parse"
	"go.yaml.in/yaml/v3"
)

// ours are the tags that the template writes.
var ours = regexp.MustCompile(`<!doctype html>|</?(html|head|body|table|tr|td|h1|h2|p|ul|li|strong|code|title)( [a-z]+="[^"<>]*")*>|<br>|<meta [^<>]*>|<(html|td|table|p|h1|h2|ul|li|code|body)( [a-z]+="[^"<>]*")+>`)

func checkHostile(t *testing.T, s string) {
	r := hostile(s)
	for _, most := range []int{0, 1} {
		d := r.Document(most, "https://callchain.example.org/reports/weekly?period=2026-W46")
		text, md := d.Text(), d.Markdown()
		html, err := d.HTML()
		if err != nil {
			t.Fatal(err)
		}
		for what, out := range map[string]string{"text": text, "markdown": md, "HTML": string(html)} {
			if !utf8.ValidString(out) {
				t.Errorf("%s of %.60q: invalid UTF-8", what, s)
			}
			if i := strings.IndexFunc(out, func(r rune) bool {
				return r != '\n' && unicode.In(r, unicode.Cc, unicode.Cf) && r != '\u200c' && r != '\u200d'
			}); i >= 0 {
				t.Errorf("%s of %.60q has the character %q", what, s, out[i:i+1])
			}
		}
		if rest := ours.ReplaceAllString(string(html), ""); strings.ContainsAny(rest, "<>") {
			i := strings.IndexAny(rest, "<>")
			t.Errorf("HTML of %.60q has markup of its own: %.80q", s, rest[i:])
		}
		// Outside of code no sign of markup stands bare.
		for line := range strings.Lines(md) {
			line = strings.TrimPrefix(strings.TrimPrefix(strings.TrimLeft(line, " #"), "- "), "**")
			if strings.HasPrefix(line, "`") {
				continue
			}
			if m := regexp.MustCompile("(^|[^\\\\])(\\\\\\\\)*[`\\[\\]_<>|~!@]").FindString(line); m != "" {
				t.Errorf("Markdown of %.60q has a bare %q in %.200q", s, m, line)
			}
			if strings.Contains(line, "://") {
				t.Errorf("Markdown of %.60q has a link: %.200q", s, line)
			}
		}
		for _, sec := range d.Sections {
			for _, it := range sec.Items {
				for code := range strings.Lines(it.Code) {
					checkRule(t, s, code)
				}
			}
		}
	}
	table, err := r.CSV()
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(table)).ReadAll()
	if err != nil {
		t.Fatalf("CSV of %.60q: %v", s, err)
	}
	for _, row := range rows {
		if len(row) != len(csvHead) {
			t.Errorf("CSV of %.60q: %d cells", s, len(row))
		}
		for _, c := range row {
			if c != "" && strings.ContainsAny(c[:1], "=+-@\t\r\n") || strings.ContainsAny(c, "\r\n") {
				t.Errorf("CSV of %.60q: the cell %.80q is a formula", s, c)
			}
		}
	}
	if _, html, err := r.Mail("callchain report"); err != nil || len(html) > MaxMail {
		t.Errorf("mail of %.60q: %d bytes, %v", s, len(html), err)
	}
}

// checkRule: a proposed rule is YAML, and its matchers mean the labels they came from.
func checkRule(t *testing.T, s, line string) {
	var rules []struct {
		Name, Service string
		Match         []string
	}
	if err := yaml.Unmarshal([]byte(line), &rules); err != nil || len(rules) != 1 || rules[0].Service != "SERVICE" {
		t.Errorf("rule for %.60q is not YAML: %v: %s", s, err, line)
		return
	}
	for _, m := range rules[0].Match {
		parsed, err := parse.Matcher(m)
		if err != nil {
			t.Errorf("rule for %.60q: %s: %v", s, m, err)
			continue
		}
		if parsed.Value != s || !parsed.Matches(s) {
			t.Errorf("rule for %.60q matches %.60q", s, parsed.Value)
		}
	}
}
