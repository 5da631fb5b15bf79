package schema

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/alertmanager/timeinterval"

	"callchain/config"
)

var update = flag.Bool("update", false, "write the schemas anew")

// TestUpToDate: the schemas are those of the types and of the documentation.
func TestUpToDate(t *testing.T) {
	for _, s := range []struct {
		file, title, doc string
		typ              reflect.Type
		have             []byte
	}{
		{"callchain.schema.json", "callchain.yml", "../../docs/configuration.md", reflect.TypeFor[config.Config](), Config},
		{"catalog.schema.json", "a file of callchain's catalog", "../../docs/catalog.md", reflect.TypeFor[config.Catalog](), Catalog},
	} {
		g := generator{t: t, keys: readReference(t, s.doc), used: map[string]bool{}}
		root := g.of(s.typ, "")
		root["$schema"] = "http://json-schema.org/draft-07/schema#"
		root["title"] = s.title
		for key := range g.keys {
			if !g.used[key] {
				t.Errorf("%s describes %s, which no file can say", s.doc, key)
			}
		}
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		if err := enc.Encode(root); err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(s.file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(string(s.have), b.String()); diff != "" {
			t.Errorf("%s is out of date; run go test ./config/schema -update\n%s", s.file, diff)
		}
	}
}

// key is what the reference tells of one key.
type key struct {
	description string
	required    bool
}

var (
	heading = regexp.MustCompile(`^(#+) (.*)$`)
	row     = regexp.MustCompile(`^\| (.*?) \| (.*?) \| (.*?) ?\|$`)
	code    = regexp.MustCompile("`([^`]*)`")
	link    = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// readReference reads the tables of keys of a page of the documentation. Keys
// are paths as in "escalation.policies[].steps[].notify".
func readReference(t *testing.T, file string) map[string]key {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]key{}
	section, prefix := "", ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if m := heading.FindStringSubmatch(line); m != nil {
			section = m[2]
			continue
		}
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if m[2] == "default" {
			prefix = section + "."
			switch {
			case strings.Contains(m[1], "`"): // "key of `policies[]`"
				prefix += code.FindStringSubmatch(m[1])[1] + "."
			case slices.Contains([]string{"people", "teams", "schedules", "services"}, section):
				prefix = section + "[]."
			case section == "Top level", strings.Contains(section, ","):
				prefix = ""
			}
			continue
		}
		last := ""
		for i, c := range code.FindAllStringSubmatch(m[1], -1) {
			name := c[1]
			if strings.HasPrefix(name, ".") { // `reports.weekly.slack_channel`, `.email_to`
				name = last[:strings.LastIndexByte(last, '.')] + name
			}
			last = name
			required := m[2] == "required" || i == 0 && m[2] == "name required" || m[2] == "required in `weekly`"
			out[prefix+name] = key{describe(m[3], m[2]), required}
		}
	}
	return out
}

// describe is a cell's text without the marks of Markdown, with the default.
func describe(text, def string) string {
	plain := strings.NewReplacer("**", "", "`", "", `\|`, "|")
	text = plain.Replace(link.ReplaceAllString(text, "$1"))
	def = plain.Replace(def)
	if strings.Contains(def, "required") || def == "" || def == "none" || def == "one of them" {
		return text
	}
	return strings.TrimPrefix(strings.TrimSuffix(text, ".")+". Default: "+def, ". ")
}

type object = map[string]any

// generator makes a schema of a type of package config.
type generator struct {
	t    *testing.T
	keys map[string]key
	used map[string]bool
}

func text(more ...any) object {
	o := object{"type": "string"}
	for i := 0; i < len(more); i += 2 {
		o[more[i].(string)] = more[i+1]
	}
	return o
}

func enum[T ~string](words ...T) object { return text("enum", words) }

// anyCase is a pattern that matches whatever the case: JSON Schema's have no flag for it.
func anyCase(pattern string) string {
	var b strings.Builder
	for _, r := range pattern {
		if r >= 'a' && r <= 'z' {
			fmt.Fprintf(&b, "[%c%c]", r-'a'+'A', r)
		} else {
			b.WriteRune(r)
		}
	}
	return "^(" + b.String() + ")$"
}

const duration = `^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$`

var scalars = map[reflect.Type]object{
	reflect.TypeFor[string]():                       text(),
	reflect.TypeFor[bool]():                         {"type": "boolean"},
	reflect.TypeFor[int]():                          {"type": "integer"},
	reflect.TypeFor[float64]():                      {"type": "number"},
	reflect.TypeFor[config.Duration]():              text("pattern", duration, "minLength", 1),
	reflect.TypeFor[config.Date]():                  text("format", "date", "pattern", `^[0-9]{4}-[0-9]{2}-[0-9]{2}$`),
	reflect.TypeFor[config.LocalTime]():             text("pattern", `^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?)?$`),
	reflect.TypeFor[config.ClockTime]():             text("pattern", `^[0-9]{1,2}:[0-9]{2}$`),
	reflect.TypeFor[config.Period]():                text("pattern", `^[1-9][0-9]{0,4}[hdw]$`),
	reflect.TypeFor[time.Weekday]():                 text("pattern", anyCase("mon(day)?|tue(sday)?|wed(nesday)?|thu(rsday)?|fri(day)?|sat(urday)?|sun(day)?")),
	reflect.TypeFor[time.Location]():                text(),
	reflect.TypeFor[timeinterval.Location]():        text(),
	reflect.TypeFor[config.TeamKind]():              enum(config.Staff, config.Affiliate, config.Volunteer),
	reflect.TypeFor[config.State]():                 enum(config.States...),
	reflect.TypeFor[config.Urgency]():               enum(config.Urgencies...),
	reflect.TypeFor[timeinterval.WeekdayRange]():    text(),
	reflect.TypeFor[timeinterval.DayOfMonthRange](): {"type": []string{"string", "integer"}},
	reflect.TypeFor[timeinterval.MonthRange]():      {"type": []string{"string", "integer"}},
	reflect.TypeFor[timeinterval.YearRange]():       {"type": []string{"string", "integer"}},
	reflect.TypeFor[config.MatcherSet]():            {"type": "array", "items": text()},
	reflect.TypeFor[config.Turn]():                  either(text(), object{"type": "array", "items": text(), "minItems": 1}),
}

// words are the values of texts that know only some. TestWords holds them to
// what config says.
var words = map[string][]string{
	"store.type":                           {"embedded", "redis"},
	"store.redis.durability":               {"fast", "replica", "strict"},
	"escalation.ack_policy":                {"chain", "anyone"},
	"escalation.new_alerts":                {"tell", "repage"},
	"escalation.policies[].steps[].whom":   {"on_call", "next_on_call", "team", "lead", "manager"},
	"escalation.policies[].steps[].only":   {"unbreak_now", "page"},
	"notifiers.webhooks[].format":          {"alertmanager", "callchain"},
	"api.tokens[].scopes[]":                {"read", "respond", "admin"},
	"people[].contact[]":                   nil, // a pattern
	"escalation.policies[].steps[].notify": nil,
}

var patterns = map[string]string{
	"people[].contact[]":                   `^(slack|email|webhook:.+)$`,
	"escalation.policies[].steps[].notify": `^(development|contingency_development|configuration_deployment|incident_response|product_management|engineering_manager|director|fallback|team:.+|person:.+)$`,
}

// bounds are those of numbers.
var bounds = map[string][2]int{
	"services[].tier":              {1, 4},
	"escalation.policies[].repeat": {1, 100},
}

// alternative are keys that the reference calls required, but another may stand in their place.
var alternative = []string{"alertmanager.sources[].token_file"}

func either(of ...object) object { return object{"anyOf": of} }

func closed(props object, required ...string) object {
	o := object{"type": "object", "properties": props, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

// of is the schema of a type at a path of keys.
func (g *generator) of(t reflect.Type, path string) object {
	switch t {
	case reflect.TypeFor[config.PerUrgency]():
		d := scalars[reflect.TypeFor[config.Duration]()]
		return either(d, closed(object{"unbreak_now": d, "page": d}))
	case reflect.TypeFor[config.Owners]():
		props := object{}
		for _, r := range config.Roles {
			props[string(r)] = g.of(reflect.TypeFor[config.Owner](), "")
		}
		return either(text(), closed(props))
	case reflect.TypeFor[config.Owner]():
		return either(text(), closed(object{"vacant": object{"const": true}, "director": text(), "reason": text()}, "vacant", "director", "reason"))
	case reflect.TypeFor[config.ActiveInterval]():
		return either(text(), g.of(reflect.TypeFor[timeinterval.TimeInterval](), ""))
	case reflect.TypeFor[timeinterval.TimeRange]():
		clock := scalars[reflect.TypeFor[config.ClockTime]()]
		return closed(object{"start_time": clock, "end_time": clock}, "start_time", "end_time")
	case reflect.TypeFor[config.Heartbeat](), reflect.TypeFor[config.Webhook](), reflect.TypeFor[config.Token](),
		reflect.TypeFor[config.Shift](), reflect.TypeFor[config.Override](), reflect.TypeFor[config.TimeInterval](),
		reflect.TypeFor[config.Only](), reflect.TypeFor[config.SLO](), reflect.TypeFor[config.Verified](), reflect.TypeFor[config.Legacy]():
		// The reference writes these as one row.
		return g.structure(t, path, true)
	}
	if s, ok := scalars[t]; ok {
		return g.scalar(s, path)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return g.of(t.Elem(), path)
	case reflect.Slice:
		return object{"type": "array", "items": g.of(t.Elem(), path+"[]")}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": g.of(t.Elem(), "")}
	case reflect.Struct:
		if v, ok := t.FieldByName("V"); ok && strings.HasPrefix(t.Name(), "At[") {
			return g.of(v.Type, path)
		}
		return g.structure(t, path, t.PkgPath() != reflect.TypeFor[config.Config]().PkgPath())
	}
	g.t.Fatalf("no schema for %s at %s", t, path)
	return nil
}

func (g *generator) scalar(s object, path string) object {
	out := object{}
	for k, v := range s {
		out[k] = v
	}
	if w := words[path]; len(w) > 0 {
		out["enum"] = w
	}
	if p := patterns[path]; p != "" {
		out["pattern"] = p
	}
	if b, ok := bounds[path]; ok {
		out["minimum"], out["maximum"] = b[0], b[1]
	}
	return out
}

// structure is a mapping. told: its keys are described by the key that holds it.
func (g *generator) structure(t reflect.Type, path string, told bool) object {
	props := object{}
	var required []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		at := name
		if path != "" {
			at = path + "." + name
		}
		p := g.of(f.Type, at)
		props[name] = p
		k, ok := g.keys[at]
		if !ok {
			if k, ok = g.keys[at+"[]"]; ok {
				g.used[at+"[]"] = true
			}
		}
		switch {
		case ok:
			g.used[at] = true
			if k.description != "" {
				p["description"] = k.description
			}
			if k.required && !slices.Contains(alternative, at) {
				required = append(required, name)
			}
		case told, path == "" || g.below(at): // a section's own page part describes it
		default:
			g.t.Errorf("the reference has no row for %s", at)
		}
	}
	return closed(props, required...)
}

// below tells whether the reference describes keys inside this one.
func (g *generator) below(at string) bool {
	for k := range g.keys {
		if strings.HasPrefix(k, at+".") || strings.HasPrefix(k, at+"[].") {
			return true
		}
	}
	return false
}
