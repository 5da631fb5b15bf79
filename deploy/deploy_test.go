// Package deploy_test holds the files that people install to what they say:
// with the programs that will read them, and with a daemon that runs.
package deploy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/alertmanager/pkg/labels"
	"go.yaml.in/yaml/v3"

	"callchain/internal/testbench"
)

const (
	rulesFile     = "prometheus/callchain.rules.yml"
	ruleTestsFile = "prometheus/callchain.rules.test.yml"
	unitFile      = "systemd/callchain.service"
	installed     = "/usr/local/bin/callchain" // where the unit expects the binary
)

type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t *testing.T) []rule {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	decode(t, rulesFile, &file)
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatalf("%s has no rules", rulesFile)
	}
	return all
}

func TestRulesAreGood(t *testing.T) {
	promtool := testbench.Tool(t, "promtool")
	run(t, promtool, "check", "rules", "--lint=all", "--lint-fatal", rulesFile)
	run(t, promtool, "test", "rules", ruleTestsFile)
}

// Whoever is woken by a rule is told what to do, around callchain.
func TestRulesSayWhatToDo(t *testing.T) {
	guide := read(t, "../docs/operations.md")
	headings := []string{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(guide, -1) {
		headings = append(headings, strings.ReplaceAll(strings.ToLower(m[1]), " ", "-"))
	}
	for _, r := range rules(t) {
		if r.Labels["job"] != "callchain" {
			t.Errorf("%s: job is %q: the alert would be routed to callchain", r.Alert, r.Labels["job"])
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity is %q", r.Alert, s)
		}
		for _, name := range []string{"summary", "description", "runbook"} {
			if r.Annotations[name] == "" {
				t.Errorf("%s has no %s", r.Alert, name)
			}
		}
		anchor, ok := strings.CutPrefix(r.Annotations["runbook"], "docs/operations.md#")
		if !ok || !slices.Contains(headings, anchor) {
			t.Errorf("%s: its runbook %q is no heading of docs/operations.md", r.Alert, r.Annotations["runbook"])
		}
	}
}

// Each rule has a test in which it fires and one in which it does not.
func TestRulesAreTested(t *testing.T) {
	var file struct {
		Tests []struct {
			Exprs []struct {
				Expr    string `yaml:"expr"`
				Samples []any  `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
		} `yaml:"tests"`
	}
	decode(t, ruleTestsFile, &file)
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, group := range file.Tests {
		for _, e := range group.Exprs {
			for _, r := range rules(t) {
				switch {
				case e.Expr != fmt.Sprintf(`ALERTS{alertname="%s",alertstate="firing"}`, r.Alert):
				case len(e.Samples) > 0:
					fires[r.Alert] = true
				default:
					quiet[r.Alert] = true
				}
			}
		}
	}
	for _, r := range rules(t) {
		if !fires[r.Alert] {
			t.Errorf("no test of %s firing", r.Alert)
		}
		if !quiet[r.Alert] {
			t.Errorf("no test of %s being quiet", r.Alert)
		}
	}
}

// A rule over a metric that nobody exposes never fires. So a daemon that has
// just started must have a series for every selector of every rule.
func TestRulesNameWhatIsExposed(t *testing.T) {
	dir := example(t, "one-machine", map[string]string{
		"/var/lib/callchain/": "data/",
		"  slack:\n":          "  slack:\n    api_url: http://127.0.0.1:1/api/\n", // nobody is asked for sockets
	})
	cc := testbench.Daemon{Args: []string{"--config.file=" + filepath.Join(dir, "callchain.yml")}}.Start(t)
	resp, err := http.Get(cc.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	exposed := seriesOf(string(text))
	exposed["up"] = []map[string]string{{"job": "callchain"}} // Prometheus' own
	for _, r := range rules(t) {
		found := selectors(t, r.Expr)
		if len(found) == 0 {
			t.Errorf("%s: no metric in %s", r.Alert, r.Expr)
		}
		for _, s := range found {
			if !slices.ContainsFunc(exposed[s.metric], s.fits) {
				t.Errorf("%s: a daemon that has just started has no series %s%v", r.Alert, s.metric, s.matchers)
			}
		}
	}
}

// The test above is worth as much as what it finds in an expression.
func TestSelectors(t *testing.T) {
	for expr, want := range map[string]string{
		`absent(up{job="callchain"} == 1)`:                                        `up{job="callchain"}`,
		`sum by (job, source) (increase(a_total{code=~"5..",s!="u"}[3m])) > 0`:    `a_total{code=~"5..",s!="u"}`,
		`increase(a_total[1h]) + increase(b_total[1h]) > 1e3`:                     `a_total{} b_total{}`,
		`up{job="callchain"} == 0 and on (job) (up{job="callchain"} == 1)`:        `up{job="callchain"} up{job="callchain"}`,
		`histogram_quantile(0.99, sum by (le) (rate(c_seconds_bucket[5m]))) > .5`: `c_seconds_bucket{}`,
	} {
		var got []string
		for _, s := range selectors(t, expr) {
			got = append(got, s.metric+s.matchers.String())
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", expr, diff)
		}
	}
}

type selector struct {
	metric   string
	matchers labels.Matchers
}

// fits tells whether the selector selects a series once it is scraped.
func (s selector) fits(series map[string]string) bool {
	return !slices.ContainsFunc(s.matchers, func(m *labels.Matcher) bool {
		value := series[m.Name]
		if m.Name == "job" {
			value = "callchain"
		}
		return !m.Matches(value)
	})
}

var (
	selects   = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{[^}]*\})?`)
	groupings = regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`)
	brackets  = regexp.MustCompile(`\[[^\]]*\]`)
	numbers   = regexp.MustCompile(`\b[0-9][0-9a-z]*\b`)
	operators = []string{"and", "or", "unless", "bool", "offset", "atan2"}
)

// selectors are the metrics that an expression looks at: each name in it that
// is neither a function nor a word of the language.
func selectors(t *testing.T, expr string) []selector {
	t.Helper()
	for _, noise := range []*regexp.Regexp{groupings, brackets, numbers} {
		// Not within the quotes of a matcher.
		parts := strings.Split(expr, `"`)
		for i := 0; i < len(parts); i += 2 {
			parts[i] = noise.ReplaceAllString(parts[i], " ")
		}
		expr = strings.Join(parts, `"`)
	}
	var found []selector
	for _, at := range selects.FindAllStringSubmatchIndex(expr, -1) {
		name, rest := expr[at[2]:at[3]], strings.TrimSpace(expr[at[1]:])
		if strings.HasPrefix(rest, "(") || slices.Contains(operators, name) {
			continue
		}
		s := selector{metric: name}
		if at[4] >= 0 {
			m, err := labels.ParseMatchers(expr[at[4]:at[5]])
			if err != nil {
				t.Fatalf("%s: %v", expr, err)
			}
			s.matchers = m
		}
		found = append(found, s)
	}
	return found
}

var (
	sample = regexp.MustCompile(`(?m)^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})? `)
	label  = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)="([^"]*)"`)
)

// seriesOf are the labels of all series of a scrape, by metric.
func seriesOf(scrape string) map[string][]map[string]string {
	all := map[string][]map[string]string{}
	for _, m := range sample.FindAllStringSubmatch(scrape, -1) {
		of := map[string]string{}
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			of[l[1]] = l[2]
		}
		all[m[1]] = append(all[m[1]], of)
	}
	return all
}

// mostExposure is what systemd-analyze may say of the unit, from 0 (it can do
// nothing) to 10 (everything).
const mostExposure = 1.5

func TestUnit(t *testing.T) {
	analyze := testbench.Tool(t, "systemd-analyze")
	unit := read(t, unitFile)
	if !strings.Contains(unit, "\nExecStart="+installed+" ") {
		t.Fatalf("%s does not start %s", unitFile, installed)
	}
	// Verifying looks for the binary: here is one.
	here := filepath.Join(t.TempDir(), "callchain.service")
	write(t, here, strings.ReplaceAll(unit, installed, testbench.Binary(t)))
	if out := run(t, analyze, "verify", here); out != "" {
		t.Errorf("systemd-analyze verify says:\n%s", out)
	}

	out := run(t, analyze, "security", "--no-pager", "--offline=true", here)
	m := regexp.MustCompile(`Overall exposure level for callchain.service: ([0-9.]+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("systemd-analyze security tells no exposure:\n%s", out)
	}
	exposure, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	if exposure > mostExposure {
		t.Errorf("exposure %v, want at most %v:\n%s", exposure, mostExposure, out)
	}
}

// The unit waits longer than callchain takes to stop, keeps the store where the
// example has it, and shows how to hand over every secret of the example.
func TestUnitFitsTheExample(t *testing.T) {
	unit, cfg := read(t, unitFile), read(t, "examples/one-machine/callchain.yml")
	m := regexp.MustCompile(`(?m)^TimeoutStopSec=([0-9]+)s$`).FindStringSubmatch(unit)
	if m == nil {
		t.Fatal("no TimeoutStopSec in seconds")
	}
	if seconds, err := strconv.Atoi(m[1]); err != nil || seconds <= 10 {
		t.Errorf("TimeoutStopSec is %s s; callchain takes up to 10 s", m[1])
	}
	if !strings.Contains(unit, "\nStateDirectory=callchain\n") || !strings.Contains(cfg, "path: /var/lib/callchain/") {
		t.Error("the example's store is not in the unit's StateDirectory")
	}
	for _, name := range secretsOf(cfg) {
		if base := filepath.Base(name); !strings.Contains(unit, fmt.Sprintf("#LoadCredential=%s:/etc/callchain/%s\n", base, name)) {
			t.Errorf("the unit's LoadCredential leaves out %s", name)
		}
	}
}

func TestExamples(t *testing.T) {
	for _, c := range []struct {
		name, dir string
		instead   map[string]string // replaced in callchain.yml
		want      []string          // what check-config says; nothing: it is good
	}{
		{name: "one machine", dir: "one-machine"},
		{name: "redis", dir: "redis"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := example(t, c.dir, c.instead)
			cmd := exec.CommandContext(t.Context(), testbench.Binary(t), "check-config", "--output=json", "--config.file="+filepath.Join(dir, "callchain.yml"))
			out, err := cmd.Output()
			if (err != nil) != (len(c.want) > 0) {
				t.Errorf("check-config ends with %v", err)
			}
			var answer struct {
				Problems []struct{ Text string }
			}
			if err := json.Unmarshal(out, &answer); err != nil {
				t.Fatalf("check-config says no JSON: %v\n%s", err, out)
			}
			var got []string
			for _, p := range answer.Problems {
				got = append(got, p.Text)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("check-config (-want +got):\n%s", diff)
			}
		})
	}
}

// An example's Alertmanager sends where its callchain listens, and callchain's
// own alerts somewhere else.
func TestExamplesOfAlertmanager(t *testing.T) {
	amtool := testbench.Tool(t, "amtool")
	for _, dir := range []string{"one-machine", "redis"} {
		t.Run(dir, func(t *testing.T) {
			file := filepath.Join("examples", dir, "alertmanager.yml")
			run(t, amtool, "check-config", file)

			var cfg struct {
				Alertmanager struct {
					Sources []struct{ Name string }
				}
			}
			decode(t, filepath.Join("examples", dir, "callchain.yml"), &cfg)
			text, sends := read(t, file), false
			for _, s := range cfg.Alertmanager.Sources {
				sends = sends || strings.Contains(text, "/api/v1/webhook/alertmanager/"+s.Name+"\n")
			}
			if !sends {
				t.Errorf("%s sends to no source of callchain.yml", file)
			}

			for want, alert := range map[string][]string{
				"callchain":        {"service=webshop", "severity=critical"},
				"around-callchain": {"alertname=CallchainDown", "job=callchain", "severity=critical"},
			} {
				got := run(t, amtool, append([]string{"config", "routes", "test", "--config.file=" + file}, alert...)...)
				if strings.TrimSpace(got) != want {
					t.Errorf("%v goes to %q, want %q", alert, strings.TrimSpace(got), want)
				}
			}
		})
	}
}

var secretKey = regexp.MustCompile(`[a-z_]+_file: (secrets/[a-z-]+)`)

// secretsOf are the secret files that a configuration names.
func secretsOf(cfg string) []string {
	var names []string
	for _, m := range secretKey.FindAllStringSubmatch(cfg, -1) {
		names = append(names, m[1])
	}
	return names
}

// example copies an example, with secrets, and returns where it is.
func example(t *testing.T, name string, instead map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("examples", name))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "callchain.yml")
	cfg := read(t, file)
	for old, now := range instead {
		if !strings.Contains(cfg, old) {
			t.Fatalf("the example %s has no %q", name, old)
		}
		cfg = strings.ReplaceAll(cfg, old, now)
	}
	write(t, file, cfg)
	if err := os.Mkdir(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	names := secretsOf(cfg)
	if len(names) == 0 {
		t.Fatalf("the example %s names no secrets", name)
	}
	for _, n := range names {
		write(t, filepath.Join(dir, n), strings.Repeat(filepath.Base(n), 10)+"\n")
	}
	return dir
}

// run runs a program that has to end well and returns all it says.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return string(out)
}

func decode(t *testing.T, file string, into any) {
	t.Helper()
	if err := yaml.NewDecoder(bytes.NewBufferString(read(t, file))).Decode(into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
