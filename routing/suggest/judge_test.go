package suggest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callchain/config"
)

// An alert that is now of one service and now of another is no example of either:
// a proposal that takes it moves nothing away from a service.
func TestJudgeOfSeveralServices(t *testing.T) {
	cfg, router := world(t, testConfig, testCatalog)
	for expr, want := range map[string]string{`up{app="thumbor"}`: "thumbor", `up{app=~"thumbor|kassa"}`: ""} {
		rules, err := ParseRules(config.File{Name: "rules.yml", Data: fmt.Appendf(nil, "groups: [{name: g, rules: [{alert: Any, expr: %q}]}]\n", expr)})
		if err != nil {
			t.Fatal(err)
		}
		if v, service := judge(waysOf(cfg, router), router, rules[0]); v.Outcome != Reaches || service != want {
			t.Errorf("%s: %s, of service %q, want %q", expr, v.Outcome, service, want)
		}
	}
}

func TestJudge(t *testing.T) {
	cfg, router := world(t, testConfig, testCatalog)
	for _, c := range []struct {
		name, expr, labels string // labels as YAML
		want               string // outcome and subjects
	}{
		{"a label of the rule", "up == 0", "{service: kassa}", "service service:checkout"},
		{"a matcher", `up{app="thumbor"} == 0`, "", "service service:thumbor"},
		{"a matcher that the aggregation drops", `sum(up{app="thumbor"}) == 0`, "", "no_service unmapped"},
		{"the rule's label wins", `up{service="thumbor"}`, "{service: kassa}", "service service:checkout"},
		{"emptied by the rule", `up{service="thumbor"}`, `{service: ""}`, "no_service unmapped"},
		{"a template of one label", `up{app="kassa"}`, "{service: '{{ $labels.app }}'}", "service service:checkout"},
		{"a template of an unknown label", `sum by (component) (x)`, "{service: '{{ $labels.component }}'}", "depends unmapped"},
		{"a template of an absent label", `sum by (a) (x)`, "{service: '{{ $labels.b }}'}", "no_service unmapped"},
		{"another template", `x`, "{service: '{{ reReplaceAll \"a\" \"b\" $labels.pod }}'}", "depends unmapped"},
		{"kept, value unknown", `sum by (service) (x)`, "", "depends unmapped"},
		{"kept, but no rule looks at it", `sum by (pod) (x)`, "", "no_service unmapped"},
		{"kept and excluded by another label", `sum by (app) (x)`, "{env: lab}", "no_service team:sre"},
		{"joined from elsewhere", `x * on (instance) group_left (app) y`, "", "depends unmapped"},
		{"a probe of unknown target", `probe_success{job=~"probes/.*"} == 0`, "", "depends unmapped"},
		{"a probe of known target", `probe_success{job="probes/web",instance="thumbor:80"} == 0`, "", "service service:thumbor"},
		{"any series has a job, that alone is no hint", `x > 1`, "", "no_service unmapped"},
		{"matched by the same expression", `x{job=~"batch-.*"} > 1`, "", "depends unmapped"},
		{"a rule that surely matches, and reads an unknown label", `sum by (kind, part) (x{kind="part"})`, "", "depends unmapped"},
		{"a rule that surely matches, and reads a label that is absent", `sum by (kind) (x{kind="part"})`, "", "no_service unmapped"},
		{"own alerts by name", `x > 1`, "{alert: ShopDown}", "service service:web-shop"},
		{"own alerts by two labels, one unknown", `sum by (env, job) (x{job="shop"})`, "", "depends unmapped"},
		{"alternatives that all reach", `up{app=~"thumbor|kassa"}`, "", "service service:checkout service:thumbor"},
		{"alternatives of which one does not", `up{app=~"thumbor|other"}`, "", "no_service name:other service:thumbor"},
		{"or", `x{app="thumbor"} or y{app="kassa"}`, "", "service service:checkout service:thumbor"},
		{"a name that the catalog lacks", `up{app="nobody"}`, "", "no_service name:nobody"},
		{"absent", `absent(up{app="thumbor"})`, "", "service service:thumbor"},
		{"no PromQL: its own labels count", `{{ .Values.expr }}`, "{app: thumbor}", "service service:thumbor"},
		{"on series of the exporter the label is not believed", `sum by (service) (x{job="kube-state-metrics"})`, "{job: kube-state-metrics}", "no_service unmapped"},
	} {
		t.Run(c.name, func(t *testing.T) {
			alert, own := "Any", c.labels
			if rest, ok := strings.CutPrefix(own, "{alert: "); ok {
				alert, own = strings.TrimSuffix(rest, "}"), ""
			}
			text := fmt.Sprintf("groups:\n  - name: g\n    rules:\n      - alert: %s\n        expr: %q\n        labels: %s\n", alert, c.expr, own)
			rules, err := ParseRules(config.File{Name: "rules.yml", Data: []byte(text)})
			if err != nil {
				t.Fatal(err)
			}
			j := Judge(cfg, router, rules)
			if len(j.Verdicts) != 1 || j.Reaches+j.Depends+j.Misses != j.Rules || j.Rules != 1 {
				t.Fatalf("%+v", j)
			}
			v := j.Verdicts[0]
			if diff := cmp.Diff(c.want, string(v.Outcome)+" "+strings.Join(v.Subjects, " ")); diff != "" {
				t.Errorf("(-want +got)\n%s%s", diff, v.Reason)
			}
			if v.Reason == "" || v.File != "rules.yml" || v.Line != 4 || v.Group != "g" {
				t.Errorf("%+v", v)
			}
			if (v.Unread != "") != strings.Contains(c.name, "no PromQL") {
				t.Errorf("unread: %q", v.Unread)
			}
			out, err := json.Marshal(j)
			if err != nil || strings.Contains(string(out), "null") {
				t.Errorf("%s %v", out, err)
			}
			if len(j.Proposals) > 0 != (v.Outcome == Misses) {
				t.Errorf("%s, and %d proposals", v.Outcome, len(j.Proposals))
			}
		})
	}
}

// The alerting rules of one file get one proposal, which the file's name may answer.
func TestJudgeProposesPerFile(t *testing.T) {
	cfg, router := world(t, testConfig, testCatalog)
	var all []AlertingRule
	for file, alerts := range map[string]string{
		"rules/team-shop_thumbor.yml": "SlowScaling ManyErrors",
		"rules/disks.yml":             "DiskFull HostDown",
		"rules/hive.yml":              "HiveDown HiveHeapFull HiveHeapSlow",
	} {
		for _, a := range strings.Fields(alerts) {
			all = append(all, AlertingRule{Pos: config.Pos{File: file, Line: 1}, Name: a, Expr: "x > 1"})
		}
	}
	var got []string
	for _, p := range Judge(cfg, router, all).Proposals {
		got = append(got, p.Reason+" "+p.Rule)
	}
	want := []string{
		"Nothing in rules/hive.yml names a service of the catalog: which service is this? - {name: proposed-hive, match: ['alertname=~\"Hive.*\"'], service: WHICH-SERVICE}",
		"Nothing in rules/disks.yml names a service of the catalog: which service is this? - {name: proposed-disks, match: ['alertname=~\"DiskFull|HostDown\"'], service: WHICH-SERVICE}",
		"The rule file team-shop_thumbor.yml is called like service thumbor: is it that service? - {name: proposed-thumbor, match: ['alertname=~\"ManyErrors|SlowScaling\"'], service: thumbor}",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestParseRules(t *testing.T) {
	const two = `
groups:
  - name: g
    labels: {team: shop, level: 3}
    rules:
      - record: a:b
        expr: x
      - alert: One
        expr: x
        labels: {team: sre}
        for: 5m
      - {alert: Two, expr: y}
`
	for _, c := range []struct{ name, text, want string }{
		{"a rule file", two, "rules.yml:8:16 g One level=3 team=sre | rules.yml:12:17 g Two level=3 team=shop"},
		{"a PrometheusRule", "kind: PrometheusRule\nspec:\n  groups:\n  - rules:\n    - alert: A\n      expr: x\n", "rules.yml:5:14  A"},
		{"two documents", "groups: [{rules: [{alert: A}]}]\n---\ngroups: [{rules: [{alert: B}]}]\n", "rules.yml:1:27  A | rules.yml:3:27  B"},
		{"none", "groups: []\n", ""},
		{"another file", "rule_files: [a.yml]\ntests: []\n", ErrNoRules.Error()},
		{"empty", "", ErrNoRules.Error()},
		{"no YAML", "groups:\n  - name: \"a\n", "rules.yml:2:1: error: want a Prometheus rule file: "},
		{"not a rule file's shape", "groups:\n  - name: g\n    rules: 3\n", "rules.yml:3:1: error: want a Prometheus rule file: cannot unmarshal"},
		{"a list", "- a\n", "rules.yml:1:1: error: want a Prometheus rule file: cannot unmarshal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules, err := ParseRules(config.File{Name: "rules.yml", Data: []byte(c.text)})
			if err != nil {
				if !strings.HasPrefix(err.Error(), c.want) || c.want == "" {
					t.Errorf("got %v, want %q", err, c.want)
				}
				if strings.Contains(c.want, ErrNoRules.Error()) != errors.Is(err, ErrNoRules) {
					t.Error(err)
				}
				return
			}
			var got []string
			for _, r := range rules {
				line := fmt.Sprintf("%s %s %s", r.Pos, r.Group, r.Name)
				for _, name := range []string{"level", "team"} {
					if v := r.Labels[name]; v != "" {
						line += " " + name + "=" + v
					}
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " | ")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
