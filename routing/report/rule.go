package report

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// workload labels name what runs, best first: one of them makes a good rule.
var workload = []string{
	"app", "app_kubernetes_io_name", "deployment", "statefulset", "daemonset", "component", "namespace", "systemd_unit", "job",
}

// exported are those that name what runs when the alert comes from
// kube-state-metrics; there the others name the exporter.
var exported = []string{"deployment", "statefulset", "daemonset", "namespace"}

var plainLabel = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// Rule proposes a line for routing.rules that matches an alert: by what runs,
// as far as a label tells, and by the alert's name. "" if there is nothing to go by.
func Rule(labels map[string]string) string {
	var matchers []string
	if v := labels["alertname"]; usable(v) {
		matchers = append(matchers, matcher("alertname", v))
	}
	tell := workload
	if labels["job"] == "kube-state-metrics" {
		tell = exported
	}
	for _, name := range tell {
		if v := labels[name]; usable(v) {
			matchers = append(matchers, matcher(name, v))
			break
		}
	}
	if len(matchers) == 0 {
		return ""
	}
	return "- {name: NAME, match: [" + strings.Join(matchers, ", ") + "], service: SERVICE}"
}

// usable values make a rule that people can read. One that is cut would be wrong.
func usable(v string) bool { return v != "" && len(v) <= maxLine/2 && utf8.ValidString(v) }

// matcher is an Alertmanager matcher as a YAML string in single quotes.
func matcher(name, value string) string {
	if !plainLabel.MatchString(name) {
		name = strconv.Quote(name)
	}
	return "'" + strings.ReplaceAll(name+"="+strconv.Quote(value), "'", "''") + "'"
}
