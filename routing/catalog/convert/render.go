package convert

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"callchain/config"
	"callchain/routing/catalog"
)

// writer writes the catalog in the shape that people write it in: two blanks a
// level, block style, short lists in one line, a comment behind its value.
type writer struct{ strings.Builder }

func (w *writer) line(depth int, text, comment string) {
	w.WriteString(strings.Repeat("  ", depth))
	w.WriteString(text)
	if comment != "" {
		w.WriteString("  # " + clip(printable(comment), maxComment))
	}
	w.WriteByte('\n')
}

var (
	plainWords = regexp.MustCompile(`^[\pL\pN_][\pL\pN _./()@+-]*$`)
	plainText  = regexp.MustCompile(`^[\pL\pN_][\pL\pN _./()@+,;!?'-]*$`)
	plainURL   = regexp.MustCompile("^https?://[^\\s\"'`,\\[\\]{}]*[^\\s\"'`,\\[\\]{}:]$")
)

// otherwise are words that some readers of YAML take for something else than text.
var otherwise = []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null"}

// scalar writes a text as YAML. inList: within brackets. The text becomes one
// line that can be printed; a value for which that matters has been checked.
func scalar(s string, inList bool) string {
	s = printable(s)
	plain := plainText
	if inList {
		plain = plainWords
	}
	text := (&yaml.Node{Kind: yaml.ScalarNode, Value: s}).ShortTag() == "!!str" && !slices.Contains(otherwise, strings.ToLower(s))
	switch {
	case text && (plain.MatchString(s) || !inList && plainURL.MatchString(s)):
		return s
	case strings.ContainsAny(s, `"\`):
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	default:
		return `"` + s + `"`
	}
}

// unquoted are the keys whose values are numbers or dates.
var unquoted = []string{"tier", "slo.objective", "slo.window", "legacy.since"}

// The keys of each kind in the order of the reference.
var order = map[string][]string{
	person:  {"email", "slack", "phone", "timezone", "contact"},
	team:    {"aliases", "kind", "members", "lead", "manager", "director", "slack_channel", "slack_usergroup", "email", "webhooks", "on_call"},
	service: {"aliases", "description", "state", "tier", "owners", "volunteers", "slo", "runbook", "dashboard", "links", "alerts", "policy", "legacy"},
}

var titles = map[Format]string{Backstage: "Backstage", Datadog: "Datadog", Table: "a table"}

func (b *builder) render(w *writer) {
	w.line(0, "# Imported from "+titles[b.from]+" by callchain catalog import. Where a line says", "")
	w.line(0, `# "guessed" the source does not say it: let the owners confirm or correct the`, "")
	w.line(0, "# value, then remove the mark.", "")
	for _, kind := range []string{person, team, service} {
		list := b.entries[kind]
		if len(list) == 0 || !b.wants(kind) {
			continue
		}
		slices.SortFunc(list, func(x, y *entry) int { return strings.Compare(x.name, y.name) })
		w.line(0, keyOf[kind]+":", "")
		for _, e := range list {
			e.render(w)
		}
	}
}

func (e *entry) render(w *writer) {
	w.line(1, "- name: "+scalar(e.name, false), "")
	for _, c := range e.comments {
		w.line(2, "# "+clip(printable(c), maxComment), "")
	}
	for _, key := range order[e.kind] {
		switch key {
		case "aliases":
			w.list(key, e.aliases, nil)
		case "owners":
			e.renderOwners(w)
		case "links":
			if len(e.links) > 0 {
				w.line(2, "links:", "")
			}
			for _, name := range sortedKeys(e.links) {
				w.line(3, scalar(name, false)+": "+scalar(e.links[name].value, false), "")
			}
		case "alerts":
			if len(e.alerts) > 0 {
				w.line(2, "alerts:", "")
			}
			for _, f := range e.alerts {
				w.line(3, "- ["+scalar(f.value, true)+"]", mark(f))
			}
		case "slo", "legacy":
			begun := false
			for _, sub := range []string{"objective", "window", "url", "since", "reason"} {
				f, ok := e.fields[key+"."+sub]
				if !ok {
					continue
				}
				if !begun {
					begun = true
					w.line(2, key+":", "")
				}
				w.line(3, sub+": "+value(key+"."+sub, f), mark(f))
			}
		default:
			if f, ok := e.fields[key]; ok {
				w.line(2, key+": "+value(key, f), mark(f))
			}
			names, guesses := []string(nil), []string(nil)
			for _, f := range e.lists[key] {
				names = append(names, f.value)
				if f.guess != "" {
					guesses = append(guesses, f.guess)
				}
			}
			w.list(key, names, slices.Compact(guesses))
		}
	}
}

func value(key string, f fact) string {
	if slices.Contains(unquoted, key) {
		return printable(f.value)
	}
	return scalar(f.value, false)
}

func mark(f fact) string {
	if f.guess == "" {
		return ""
	}
	return "guessed: " + f.guess
}

// list writes names in one line, or one a line when that would be too long.
func (w *writer) list(key string, names, guesses []string) {
	if len(names) == 0 {
		return
	}
	comment := ""
	if len(guesses) > 0 {
		comment = "guessed: " + strings.Join(guesses, "; ")
	}
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = scalar(n, true)
	}
	if line := key + ": [" + strings.Join(quoted, ", ") + "]"; len(line) <= 90 {
		w.line(2, line, comment)
		return
	}
	w.line(2, key+":", comment)
	for _, q := range quoted {
		w.line(3, "- "+q, "")
	}
}

func (e *entry) renderOwners(w *writer) {
	var missing []string
	for _, r := range config.Roles {
		_, filled := e.owners[r]
		filled = filled || r == config.ContingencyDevelopment && len(e.vacancy) > 0
		if !filled && catalog.Requirement(e.state, r) == catalog.Required {
			missing = append(missing, string(r))
		}
	}
	if len(e.owners)+len(e.vacancy) > 0 {
		w.line(2, "owners:", "")
	}
	for _, r := range config.Roles {
		if f, ok := e.owners[r]; ok {
			w.line(3, string(r)+": "+scalar(f.value, false), mark(f))
		} else if r == config.ContingencyDevelopment && len(e.vacancy) > 0 {
			w.line(3, string(r)+":", "")
			w.line(4, "vacant: true", "")
			for _, key := range []string{"director", "reason"} {
				w.line(4, key+": "+scalar(e.vacancy[key].value, false), "")
			}
		}
	}
	if len(missing) > 0 {
		depth := 3
		if len(e.owners)+len(e.vacancy) == 0 {
			depth = 2
		}
		w.line(depth, "# missing: "+strings.Join(missing, ", "), "")
	}
}
