package deploy_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"callchain/internal/testbench"
)

// realAlerts is the example for real alerts, with secrets and the recordings.
func realAlerts(t *testing.T) string {
	t.Helper()
	dir := example(t, "wikimedia", nil)
	alerts, err := filepath.Abs("../internal/testdata/alerts/webhooks.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(alerts, filepath.Join(dir, "alerts.jsonl")); err != nil {
		t.Fatal(err)
	}
	// As its README says: without the first rule.
	cfg := read(t, filepath.Join(dir, "callchain.yml"))
	first := regexp.MustCompile(`(?m)^    - \{name: named, .*\n`)
	if !first.MatchString(cfg) {
		t.Fatal("callchain.yml has no rule named")
	}
	write(t, filepath.Join(dir, "without-named.yml"), first.ReplaceAllString(cfg, ""))
	return dir
}

// callchain runs a command in a folder; what it prints, errors last, and how it ends.
func callchain(t *testing.T, dir string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testbench.Binary(t), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NO_COLOR=1")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out) + errs.String(), cmd.ProcessState.ExitCode()
}

// The gate that the example shows is the gate of this repository: a change of
// routing that moves a recorded alert fails here, and names the alert.
func TestRealAlertsKeepTheirSubjects(t *testing.T) {
	dir := realAlerts(t)
	out, code := callchain(t, dir, "route", "backtest", "--output=json", "--expect=subjects.json", "alerts.jsonl")
	if code != 0 {
		_, said, _ := strings.Cut(out, "\n}\n")
		t.Fatalf("exit status %d; if the move is meant, record anew and read the difference:\n%s", code, said)
	}
	var got struct {
		Alerts    int
		ToService int `json:"to_service"`
		Unmapped  int
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v\n%s", err, out) // also when a warning follows: all alerts are recorded
	}
	if got.Alerts != 342 || got.ToService*100 < got.Alerts*60 || got.Unmapped > 0 {
		t.Errorf("of %d alerts %d reach a service and %d not even a team; want 60 in 100, and none", got.Alerts, got.ToService, got.Unmapped)
	}
	if _, code := callchain(t, dir, "route", "backtest", "--config.file=without-named.yml", "--expect=subjects.json", "alerts.jsonl"); code != 1 {
		t.Errorf("without a rule the gate ends with %d, want 1", code)
	}
}

// A rule for a single alert would prove nothing.
func TestRealAlertsAreMappedInGeneral(t *testing.T) {
	dir := "examples/wikimedia"
	text := read(t, filepath.Join(dir, "callchain.yml")) + read(t, filepath.Join(dir, "catalog/platforms.yml")) + read(t, filepath.Join(dir, "catalog/load-balanced.yml"))
	for _, m := range regexp.MustCompile(`'(alertname|instance)="[^"]*"'`).FindAllString(text, -1) {
		t.Errorf("%s is about one alert alone", m)
	}
}

// What is invented is called so, and the example is as good as it says.
func TestRealAlertsExample(t *testing.T) {
	dir := realAlerts(t)
	for _, f := range []string{"README.md", "callchain.yml", "catalog/people.yml", "catalog/platforms.yml", "catalog/load-balanced.yml"} {
		if !strings.Contains(read(t, filepath.Join(dir, f)), "invented") {
			t.Errorf("%s does not say that it is invented", f)
		}
	}
	for _, address := range regexp.MustCompile(`\S+@\S+`).FindAllString(read(t, filepath.Join(dir, "catalog/people.yml")), -1) {
		if !strings.HasSuffix(strings.TrimRight(address, ",}"), "@example.org") {
			t.Errorf("%s might be somebody's", address)
		}
	}
	out, code := callchain(t, dir, "check-config")
	if code != 0 {
		t.Errorf("exit status %d:\n%s", code, out)
	}
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, ": warning: ") && !strings.Contains(line, "planning treats it as unowned") {
			t.Error(line)
		}
	}
	owns := read(t, filepath.Join(dir, "catalog/platforms.yml")) + read(t, filepath.Join(dir, "catalog/load-balanced.yml"))
	for _, want := range []string{"active", "community", "maintenance", "third_party", "unowned", "decommissioned"} {
		if !strings.Contains(owns, "state: "+want+"\n") {
			t.Errorf("no service is %s", want)
		}
	}
}

var shown = regexp.MustCompile("(?s)```console\n\\$ callchain ([^\n]*)\n(.*?)```\n")

// The example's README shows what its commands print; "..." stands for lines
// left out.
func TestRealAlertsReadme(t *testing.T) {
	dir := realAlerts(t)
	blocks := shown.FindAllStringSubmatch(read(t, "examples/wikimedia/README.md"), -1)
	if len(blocks) < 6 {
		t.Fatalf("the README shows %d commands", len(blocks))
	}
	for _, m := range blocks {
		got, _ := callchain(t, dir, strings.Fields(m[1])...)
		rest, all := got, strings.Split("\n"+m[2], "\n...\n")
		for i, part := range all {
			if i == 0 {
				part = strings.TrimPrefix(part, "\n")
			}
			at := strings.Index(rest, part)
			if at < 0 || i == 0 && at > 0 {
				t.Errorf("callchain %s does not print:\n%s\nit prints:\n%s", m[1], part, got)
				break
			}
			rest = rest[at+len(part):]
		}
		if !strings.HasSuffix(m[2], "\n...\n") && strings.TrimSpace(rest) != "" {
			t.Errorf("callchain %s goes on with:\n%s", m[1], rest)
		}
	}
}
