package suggest

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"callchain/config"
)

// AlertingRule is one alerting rule of a Prometheus rule file.
type AlertingRule struct {
	Pos    config.Pos
	Group  string
	Name   string // the alert's name
	Expr   string
	Labels map[string]string // of the group and of the rule; values may be templates
}

type ruleFile struct {
	Groups *[]ruleGroup `yaml:"groups"`
	Spec   struct {
		Groups *[]ruleGroup `yaml:"groups"`
	} `yaml:"spec"` // a PrometheusRule of the operator
}

type ruleGroup struct {
	Name   string            `yaml:"name"`
	Labels map[string]string `yaml:"labels"`
	Rules  []struct {
		Alert  yaml.Node         `yaml:"alert"`
		Expr   string            `yaml:"expr"`
		Labels map[string]string `yaml:"labels"`
	} `yaml:"rules"`
}

// ErrNoRules says that a file is YAML, but has no groups of rules: another file
// of the same folder, like a test of rules.
var ErrNoRules = errors.New("it has no groups of rules")

// ParseRules reads a Prometheus rule file, or a PrometheusRule object of
// Kubernetes. Recording rules are left out. The error is ErrNoRules, or
// config.Problems that name the line.
func ParseRules(f config.File) ([]AlertingRule, error) {
	var all []AlertingRule
	d := yaml.NewDecoder(bytes.NewReader(f.Data))
	some := false
	for {
		var file ruleFile
		err := d.Decode(&file)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, config.Problems{problemOf(f.Name, err)}
		}
		groups := cmp.Or(file.Groups, file.Spec.Groups)
		if groups == nil {
			continue
		}
		some = true
		for _, g := range *groups {
			for _, r := range g.Rules {
				if r.Alert.Kind == 0 || r.Alert.Value == "" {
					continue
				}
				rule := AlertingRule{
					Pos:   config.Pos{File: f.Name, Line: r.Alert.Line, Col: r.Alert.Column},
					Group: g.Name, Name: r.Alert.Value, Expr: r.Expr, Labels: map[string]string{},
				}
				for _, from := range []map[string]string{g.Labels, r.Labels} {
					for name, v := range from {
						rule.Labels[name] = v
					}
				}
				all = append(all, rule)
			}
		}
	}
	if !some {
		return nil, ErrNoRules
	}
	return all, nil
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?line ([0-9]+): (.*)`)

// problemOf is YAML's own error with its place.
func problemOf(file string, err error) config.Problem {
	text := err.Error()
	if several, ok := errors.AsType[*yaml.TypeError](err); ok && len(several.Errors) > 0 {
		text = several.Errors[0]
	}
	p := config.Problem{Pos: config.Pos{File: file, Line: 1, Col: 1}, Severity: config.Error}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		if line, err := strconv.Atoi(m[1]); err == nil {
			p.Pos.Line = line
		}
		text = m[2]
	}
	p.Text = "want a Prometheus rule file: " + strings.TrimPrefix(text, "yaml: ")
	return p
}
