package config

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite what the problem tables expect")

// base is what a configuration needs to load without a word; a case of the
// table gets those of its sections that it does not write itself.
var base = []string{
	"external_url: https://callchain.example.org\n",
	"catalog_files: [catalog/*.yml]\n",
	"alertmanager: {sources: [{name: main, anonymous: true}]}\n",
	"routing: {fallback_team: sre}\n",
	"notifiers: {slack: {bot_token_file: secrets/token, signing_secret_file: secrets/token}}\n",
}

func withBase(data string) string {
	if strings.Contains(data, "# alone") {
		return data
	}
	for _, section := range base {
		key, _, _ := strings.Cut(section, ":")
		if !regexp.MustCompile(`(?m)^` + key + `:`).MatchString(data) {
			data += section
		}
	}
	return data
}

// TestConfigProblems holds every message about callchain.yml. The cases are
// pairs of NAME.yml and NAME.want; a name with "env" is expanded.
func TestConfigProblems(t *testing.T) {
	problemTable(t, "testdata/config.txtar", func(name, data string) Problems {
		t.Setenv("CALLCHAIN_TEST_HOST", "pager.example.org")
		_, ps := parseConfig("callchain.yml", []byte(withBase(data)), Options{ExpandEnv: strings.Contains(name, "env")})
		return ps
	})
}

// TestCatalogProblems holds every message about a catalog file.
func TestCatalogProblems(t *testing.T) {
	problemTable(t, "testdata/catalog.txtar", func(_, data string) Problems {
		_, ps := ParseCatalog([]File{{"catalog.yml", []byte(data)}})
		return ps
	})
}

func problemTable(t *testing.T, path string, load func(name, data string) Problems) {
	ar, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	path, err = filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("testdata") // secret files in the cases are relative to it
	wants := map[string]string{}
	for _, f := range ar.Files {
		if name, ok := strings.CutSuffix(f.Name, ".want"); ok {
			wants[name] = string(f.Data)
		}
	}
	out := &txtar.Archive{Comment: ar.Comment}
	for _, f := range ar.Files {
		name, ok := strings.CutSuffix(f.Name, ".yml")
		if !ok {
			continue
		}
		got := load(name, string(f.Data)).Error()
		if got != "" {
			got += "\n"
		}
		out.Files = append(out.Files, f, txtar.File{Name: name + ".want", Data: []byte(got)})
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(wants[name], got); diff != "" && !*update {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestExampleLoads(t *testing.T) {
	c, ps := Load("testdata/example/callchain.yml", Options{})
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	if got, want := len(ps.Warnings()), 3; got != want {
		t.Errorf("%d warnings, want %d:\n%v", got, want, ps)
	}
	if got, want := c.ExternalURL.V, "http://pager.shop.example:9321"; got != want {
		t.Errorf("external_url = %q, want %q", got, want)
	}
	if got, want := c.Store.Path.V, "testdata/example/state/callchain.db"; got != want {
		t.Errorf("store.path = %q, want %q", got, want)
	}
	if got := c.Escalation.Policies; len(got) != 2 || got[0].Name.V != "default" || got[1].Name.V != "gentle" {
		t.Errorf("policies = %v, want default and gentle", got)
	}
	if got := c.Routing.Urgency[1].Match; len(got) != 2 || got[1].V.String() != `tier="1"` {
		t.Errorf("two matchers in one string gave %v", got)
	}
	if a := c.Routing.Urgency[1].ActiveTimeIntervals; a[0].Name.V != "shop-hours" || a[1].Inline.Times[0].EndMinute != 1440 {
		t.Errorf("active_time_intervals = %+v", a)
	}

	cat, ps := LoadCatalog(c.CatalogFiles)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	if got, want := len(ps.Warnings()), 2; got != want {
		t.Errorf("%d catalog warnings, want %d:\n%v", got, want, ps)
	}
	if len(cat.People) != 3 || len(cat.Teams) != 3 || len(cat.Schedules) != 2 || len(cat.Services) != 6 {
		t.Fatalf("catalog has %d people, %d teams, %d schedules, %d services", len(cat.People), len(cat.Teams), len(cat.Schedules), len(cat.Services))
	}
	if got, want := cat.Services[0].Pos.String(), "testdata/example/catalog/services.yml:3:5"; got != want {
		t.Errorf("checkout stands at %s, want %s", got, want)
	}
	if got := cat.Teams[1].Members; len(got) != 3 || got[2].V != "noor" {
		t.Errorf("members by alias = %v", got)
	}
	if got := cat.Services[1].Owners.Roles; len(got) != 4 || got[ProductManagement].Team.V != "till-makers" {
		t.Errorf("owners by merge = %v", got)
	}
	if v := cat.Services[2].Owners.Roles[ContingencyDevelopment].Vacant; v == nil || v.Director.V != "noor" {
		t.Errorf("vacancy = %+v", v)
	}
	if got := cat.Services[3].Owners.All.V; got != "platform" {
		t.Errorf("short owners = %q", got)
	}
	r := cat.Schedules[0].Rotations[1]
	if len(r.Members) != 2 || len(r.Members[0]) != 2 || r.Every.V != (Period{12, Hours}) || r.Only.From.V != 22*60 || r.Only.Days[1].V != time.Tuesday {
		t.Errorf("rotation = %+v", r)
	}
}

func TestDefaults(t *testing.T) {
	c, ps := parseConfig("etc/callchain.yml", []byte(withBase("")), Options{NoSecrets: true})
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	ubn, page := c.Escalation.AckExpires.For(UnbreakNow), c.Escalation.AckExpires.For(Page)
	if ubn != 4*time.Hour || page != 24*time.Hour {
		t.Errorf("ack_expires = %v and %v", ubn, page)
	}
	type values struct {
		Store, Path, Ack, New, Slack, Self, Except string
		Retention, Reopen, Exhausted, Stale        Duration
		Pages, Policies                            int
		Labels                                     []string
	}
	got := values{c.Store.Type.V, c.Store.Path.V, c.Escalation.AckPolicy.V, c.Escalation.NewAlerts.V, c.Notifiers.Slack.APIURL.V, c.Self.Team.V,
		c.Routing.ServiceLabelsExcept[0][0].V.String(),
		c.Store.Retention.V, c.Escalation.ReopenWithin.V, c.Escalation.ExhaustedEvery.V, c.Escalation.StaleAfter.V,
		c.Notifiers.MaxPagesPerMinute.V, len(c.Escalation.Policies),
		[]string{c.Routing.ServiceLabels[0].V, c.Routing.TeamLabels[0].V}}
	want := values{"embedded", "etc/data/callchain.db", "chain", "tell", "https://slack.com/api/", "sre", `job="kube-state-metrics"`,
		Duration(53 * 7 * 24 * time.Hour), Duration(10 * time.Minute), Duration(time.Hour), 0, 6, 1, []string{"service", "team"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if got, want := c.Notifiers.Slack.BotTokenFile.V, "etc/secrets/token"; got != want {
		t.Errorf("bot_token_file = %q, want %q", got, want)
	}
}

func TestWrittenEmptyListsStay(t *testing.T) {
	c, ps := parseConfig("callchain.yml", []byte(withBase("routing: {fallback_team: sre, service_labels: [], team_labels: [], service_labels_except: []}\n")), Options{NoSecrets: true})
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	if r := c.Routing; len(r.ServiceLabels)+len(r.TeamLabels)+len(r.ServiceLabelsExcept) != 0 {
		t.Errorf("empty lists were replaced by defaults: %+v", r)
	}
}

func TestDefaultPolicy(t *testing.T) {
	type step struct {
		notify, whom string
		only         Urgency
		ubn, page    time.Duration
	}
	want := []step{
		{"incident_response", "on_call", "", 5 * time.Minute, 10 * time.Minute},
		{"incident_response", "team", "", 5 * time.Minute, 15 * time.Minute},
		{"development", "on_call", "", 10 * time.Minute, 20 * time.Minute},
		{"contingency_development", "on_call", UnbreakNow, 10 * time.Minute, 10 * time.Minute},
		{"engineering_manager", "on_call", "", 10 * time.Minute, 20 * time.Minute},
		{"director", "on_call", UnbreakNow, 15 * time.Minute, 15 * time.Minute},
		{"fallback", "on_call", "", 15 * time.Minute, 30 * time.Minute},
	}
	p := DefaultPolicy()
	var got []step
	for _, s := range p.Steps {
		got = append(got, step{s.Notify.V, s.Whom.V, s.Only.V, s.AckWithin.For(UnbreakNow), s.AckWithin.For(Page)})
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(step{})); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if p.Repeat.V != 2 || p.RemindEvery.For(UnbreakNow) != 2*time.Minute || p.RemindEvery.For(Page) != 5*time.Minute {
		t.Errorf("repeat %d, reminders %+v", p.Repeat.V, p.RemindEvery)
	}
}

func TestDefaultPolicyIsReplaced(t *testing.T) {
	c, ps := parseConfig("callchain.yml", []byte(withBase("escalation: {policies: [{name: default, steps: [{notify: fallback, ack_within: 1m}]}]}\n")), Options{NoSecrets: true})
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	if got := c.Escalation.Policies; len(got) != 1 || len(got[0].Steps) != 1 || got[0].Repeat.V != 2 || got[0].Steps[0].Whom.V != "on_call" {
		t.Errorf("policies = %+v", got)
	}
}

func TestReadCatalog(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.yml", "a.yml", "c.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("teams: [{name: "+name+"}]\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "d.yml"), 0o755); err != nil {
		t.Fatal(err)
	}
	place := Pos{"callchain.yml", 2, 17}
	pattern := func(p string) At[string] { return At[string]{filepath.Join(dir, p), place} }
	for _, tt := range []struct {
		name     string
		patterns []At[string]
		files    []string
		want     string
	}{
		{"glob in order, no folders", []At[string]{pattern("*.yml")}, []string{"a.yml", "b.yml"}, ""},
		{"each file once", []At[string]{pattern("b.yml"), pattern("*.yml")}, []string{"b.yml", "a.yml"}, ""},
		{"glob without a match", []At[string]{pattern("x*.yml")}, nil, `callchain.yml:2:17: warning: catalog_files: "DIR/x*.yml" matches no file`},
		{"file that is not there", []At[string]{pattern("x.yml")}, nil, `callchain.yml:2:17: error: catalog_files: read DIR/x.yml: open: no such file or directory; make the file readable or correct its path`},
		{"bad pattern", []At[string]{pattern("[.yml")}, nil, `callchain.yml:2:17: error: catalog_files: "DIR/[.yml" is not a pattern that can be matched: syntax error in pattern`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files, ps := ReadCatalog(tt.patterns)
			var names []string
			for _, f := range files {
				names = append(names, filepath.Base(f.Name))
			}
			if diff := cmp.Diff(tt.files, names); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if got := strings.ReplaceAll(ps.Error(), dir, "DIR"); got != tt.want {
				t.Errorf("problems:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}

func TestMissingFiles(t *testing.T) {
	c, ps := Load("testdata/none.yml", Options{})
	if got, want := ps.Error(), "testdata/none.yml: error: read the configuration: open: no such file or directory; name another with --config.file"; got != want || c == nil {
		t.Errorf("problems = %s, want %s", got, want)
	}
	_, ps = ReadCatalogFiles("testdata/none.yml")
	if got, want := ps.Error(), "testdata/none.yml: error: read the catalog file: open: no such file or directory"; got != want {
		t.Errorf("problems = %s, want %s", got, want)
	}
}

func TestExpandEnv(t *testing.T) {
	t.Setenv("CALLCHAIN_TEST_HOST", "pager.example.org")
	t.Setenv("CALLCHAIN_TEST_NAME", "x9")
	data := withBase("external_url: https://${CALLCHAIN_TEST_HOST}/cc\nself: {team: '${CALLCHAIN_TEST_HOST}'}\napi: {tokens: [{name: ci, token_file: testdata/secrets/env, scopes: [read]}]}\n" +
		"notifiers: {slack: {bot_token_file: testdata/secrets/token, signing_secret_file: testdata/secrets/token}}\n")
	c, ps := parseConfig("callchain.yml", []byte(data), Options{ExpandEnv: true})
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	if got, want := c.ExternalURL.V, "https://pager.example.org/cc"; got != want {
		t.Errorf("external_url = %q, want %q", got, want)
	}
	if got, want := c.Self.Team.V, "${CALLCHAIN_TEST_HOST}"; got != want {
		t.Errorf("a value that is neither secret nor URL was expanded: %q", got)
	}
	if got, err := c.Secret(c.API.Tokens[0].TokenFile).First(); err != nil || got != "token-x9-and-more" {
		t.Errorf("secret = %q, %v", got, err)
	}
}

// A mistake must not carry a secret into a log.
func TestProblemsHideSecrets(t *testing.T) {
	const secret = "xoxb-1234567890-abcdefghij"
	for name, data := range map[string]string{
		"secret in place of a file":   "notifiers: {slack: {bot_token_file: " + secret + ", signing_secret_file: secrets/token}}\n",
		"secret under an unknown key": "notifiers: {slack: {bot_token: " + secret + "}}\n",
		"secret in a URL":             "external_url: 'ftp://" + secret + "@example.org'\n",
		"secret in a webhook's URL":   "notifiers: {webhooks: [{name: a, url: 'hooks/" + secret + "'}]}\n",
		"URL given twice":             "external_url: http://a/\nexternal_url: http://" + secret + "/\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, ps := parseConfig("callchain.yml", []byte(data), Options{})
			if len(ps.Errors()) == 0 {
				t.Error("no error")
			}
			if strings.Contains(ps.Error(), secret) {
				t.Errorf("the problems show the secret:\n%v", ps)
			}
		})
	}
}
