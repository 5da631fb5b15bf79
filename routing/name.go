package routing

import (
	"errors"
	"maps"
	"regexp"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/prometheus/alertmanager/pkg/labels"

	"callchain/config"
)

// name is what a rule says the service is called: plain text, or a template
// over the alert's labels (those of its route as route_NAME) and the named
// groups of the rule's regular expressions. A group covers a label of its name;
// what is missing is "".
type name struct {
	text   string             // plain text, when tmpl is nil
	field  string             // the template is no more than {{ .field }}
	tmpl   *template.Template // nil: plain text
	groups []groups
}

// groups reads the named groups of one matcher's expression.
type groups struct {
	label string
	re    *regexp.Regexp
}

// templateFuncs are the functions that Alertmanager's own templates have, as
// far as they are about text.
var templateFuncs = template.FuncMap{
	"toLower":      strings.ToLower,
	"toUpper":      strings.ToUpper,
	"trimSpace":    strings.TrimSpace,
	"match":        regexp.MatchString,
	"reReplaceAll": reReplaceAll,
}

func reReplaceAll(pattern, repl, text string) (string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return "", err
	}
	return re.ReplaceAllString(text, repl), nil
}

func compileName(text string, match config.MatcherSet) (*name, error) {
	if !strings.Contains(text, "{{") {
		return &name{text: text}, nil
	}
	tmpl, err := template.New("service").Option("missingkey=zero").Funcs(templateFuncs).Parse(text)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	n := &name{tmpl: tmpl, field: onlyField(tmpl.Tree)}
	for _, m := range match {
		if m.V.Type != labels.MatchRegexp {
			continue
		}
		// As Alertmanager compiles it; the matcher keeps its own to itself.
		re, err := regexp.Compile("^(?:" + m.V.Value + ")$")
		if err != nil {
			return nil, err
		}
		for _, g := range re.SubexpNames() {
			if g != "" {
				n.groups = append(n.groups, groups{m.V.Name, re})
				break
			}
		}
	}
	return n, nil
}

// onlyField is the field of a template that is {{ .field }} and nothing else.
// Most are, and need no template to be run.
func onlyField(t *parse.Tree) string {
	if t == nil || t.Root == nil || len(t.Root.Nodes) != 1 {
		return ""
	}
	action, ok := t.Root.Nodes[0].(*parse.ActionNode)
	if !ok || len(action.Pipe.Decl) > 0 || len(action.Pipe.Cmds) != 1 || len(action.Pipe.Cmds[0].Args) != 1 {
		return ""
	}
	field, ok := action.Pipe.Cmds[0].Args[0].(*parse.FieldNode)
	if !ok || len(field.Ident) != 1 {
		return ""
	}
	return field.Ident[0]
}

func (n *name) literal() bool { return n.tmpl == nil }

// of is the name for an alert that the rule matches.
func (n *name) of(a Alert) (string, error) {
	if n.tmpl == nil {
		return n.text, nil
	}
	if n.field != "" {
		for i := len(n.groups) - 1; i >= 0; i-- {
			if v, ok := n.groups[i].read(a)[n.field]; ok {
				return v, nil
			}
		}
		return a.label(n.field), nil
	}
	data := make(map[string]string, len(a.Labels)+len(a.RouteLabels))
	maps.Copy(data, a.Labels)
	for k, v := range a.RouteLabels {
		data[routePrefix+k] = v
	}
	for _, g := range n.groups {
		maps.Copy(data, g.read(a))
	}
	var b strings.Builder
	if err := n.tmpl.Execute(&b, data); err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	return b.String(), nil
}

// read gives the named groups that took part in the match.
func (g groups) read(a Alert) map[string]string {
	value := a.label(g.label)
	at := g.re.FindStringSubmatchIndex(value)
	if at == nil {
		return nil
	}
	out := map[string]string{}
	for i, group := range g.re.SubexpNames() {
		if group != "" && at[2*i] >= 0 {
			out[group] = value[at[2*i]:at[2*i+1]]
		}
	}
	return out
}
