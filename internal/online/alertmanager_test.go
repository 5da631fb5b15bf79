package online

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callchain/config"
	"callchain/internal/testbench"
)

// loaded is the configuration of a file with this text; what it needs to be good
// is added.
func loaded(t *testing.T, text string) World {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "callchain.yml")
	text = "catalog_files: [catalog.yml]\n" + text
	for key, rest := range map[string]string{
		"external_url": ": http://callchain.test:9321", "routing": ": {fallback_team: sre, service_labels: [service]}",
		"notifiers":    ": {email: {smarthost: '127.0.0.1:1', from: callchain@example.org, require_tls: false, link_key_file: key}}",
		"alertmanager": ": {sources: [{name: main, token_file: token}]}",
	} {
		if !strings.Contains("\n"+text, "\n"+key+":") {
			text += "\n" + key + rest
		}
	}
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, ps := config.Load(file, config.Options{NoSecrets: true})
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	return World{Config: c, Catalog: &config.Catalog{}}
}

// status is what an Alertmanager with this configuration and these peers answers.
func status(t *testing.T, cfg string, version string, peers ...string) *httptest.Server {
	t.Helper()
	var list []map[string]string
	for _, p := range peers {
		list = append(list, map[string]string{"name": p, "address": p})
	}
	name := ""
	if len(peers) > 0 {
		name = peers[0] // who answers is named first
	}
	body, err := json.Marshal(map[string]any{
		"cluster": map[string]any{"status": "ready", "name": name, "peers": list},
		"config":  map[string]any{"original": cfg}, "versionInfo": map[string]any{"version": version},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v2/status" || r.Method != http.MethodGet {
			http.NotFound(w, r)
			return
		}
		w.Write(body)
	}))
	t.Cleanup(s.Close)
	return s
}

// lines are the problems without the folder of the file.
func lines(ps config.Problems) []string {
	var out []string
	for _, p := range ps {
		out = append(out, fmt.Sprintf("%d:%d: %s: %s", p.Pos.Line, p.Pos.Col, p.Severity, p.Text))
	}
	return out
}

// want holds lines against what each must contain, in any order.
func want(t *testing.T, got []string, wanted ...string) {
	t.Helper()
	rest := append([]string{}, got...)
	for _, w := range wanted {
		found := -1
		for i, g := range rest {
			if strings.Contains(g, w) {
				found = i
				break
			}
		}
		if found < 0 {
			t.Errorf("nothing says %q", w)
			continue
		}
		rest = append(rest[:found], rest[found+1:]...)
	}
	for _, g := range rest {
		t.Errorf("not expected: %s", g)
	}
	if t.Failed() {
		t.Logf("all of it:\n%s", strings.Join(got, "\n"))
	}
}

const (
	// A configuration with which nothing is wrong, as Alertmanager prints it.
	goodHook = `
receivers:
- name: callchain
  webhook_configs:
  - send_resolved: true
    http_config: {authorization: {type: Bearer, credentials: <secret>}}
    url: <secret>
    max_alerts: 0
    timeout: 10s
- name: phone
  email_configs: [{to: x@example.org}]
`
	goodRoute = `
route:
  receiver: callchain
  group_by: [alertname, service]
  continue: false
  routes:
  - {receiver: phone, matchers: ['job="callchain"'], continue: false}
`
)

func TestAlertmanager(t *testing.T) {
	hook := func(from, to string) string { return goodRoute + strings.Replace(goodHook, from, to, 1) }
	route := func(lines string) string { return goodRoute + lines + goodHook }
	for _, c := range []struct {
		name   string
		am     string
		config string // more of callchain.yml
		source string // more of the source
		want   []string

		anonymous bool
	}{
		{name: "all is well", am: goodRoute + goodHook},
		{name: "a visible URL", am: hook("url: <secret>", "url: http://127.0.0.1:9321/api/v1/webhook/alertmanager/main")},
		{name: "a visible URL below a path", am: strings.ReplaceAll(hook("url: <secret>", "url: https://x.test/cc/api/v1/webhook/alertmanager/main"), "callchain\n", "pager\n")},
		{
			name: "another source", am: hook("url: <secret>", "url: http://127.0.0.1:9321/api/v1/webhook/alertmanager/other"),
			want: []string{"error: AM: its webhook posts to callchain as source other, not as main; write http://callchain.test:9321/api/v1/webhook/alertmanager/main into its url"},
		},
		{name: "nobody posts", am: "route: {receiver: phone}\nreceivers:\n- name: phone\n  email_configs: [{to: x}]\n", want: []string{"error: AM: no receiver posts to callchain: no alert of it comes here; add a receiver with webhook_configs, url http://callchain.test:9321/api/v1/webhook/alertmanager/main"}},
		{name: "visible, but somebody else's", am: hook("url: <secret>", "url: http://chat.test/hook"), want: []string{"error: AM: no receiver posts to callchain"}},
		{
			name: "what is around callchain is not callchain",
			am:   strings.ReplaceAll(goodRoute+strings.Replace(goodHook, "  email_configs: [{to: x@example.org}]", "  webhook_configs: [{url: <secret>}]", 1), "phone", "around-callchain"),
		},
		{
			name: "the only hidden one", am: strings.NewReplacer("receiver: callchain", "receiver: pager", "name: callchain", "name: pager", "send_resolved: true", "send_resolved: false").Replace(goodRoute + goodHook),
			want: []string{"error: AM: receiver pager: send_resolved is false"},
		},
		{
			name: "hidden and nameless", am: "route: {receiver: a}\nreceivers:\n- {name: a, webhook_configs: [{url: <secret>}]}\n- {name: b, webhook_configs: [{url_file: /x}]}\n",
			want: []string{"warning: AM: Alertmanager hides the URLs of its webhooks, and none of the receivers a and b can be told to be callchain's"},
		},
		{
			name: "no route leads there", am: strings.Replace(goodRoute, "receiver: callchain\n", "receiver: phone\n", 1) + goodHook,
			want: []string{"error: AM: no route leads to the receiver callchain"},
		},
		{
			name: "behind a route that takes everything", am: "route:\n  receiver: phone\n  routes:\n  - {receiver: phone}\n  - {receiver: callchain, matchers: ['severity=\"page\"']}\n" + goodHook,
			want: []string{"error: AM: no route leads to the receiver callchain"},
		},
		{
			name: "behind one that continues", am: "route:\n  receiver: phone\n  group_by: [service]\n  routes:\n  - {receiver: phone, continue: true}\n  - {receiver: callchain, matchers: ['severity=\"page\"']}\n" + goodHook,
		},
		{name: "no resolves", am: hook("send_resolved: true", "send_resolved: false"), want: []string{"error: AM: receiver callchain: send_resolved is false: callchain is never told that an alert is over"}},
		{name: "cut off", am: hook("max_alerts: 0", "max_alerts: 5"), want: []string{"warning: AM: receiver callchain: max_alerts is 5"}},
		{name: "another body", am: hook("max_alerts: 0", "payload: {x: y}"), want: []string{"error: AM: receiver callchain: payload replaces"}},
		{name: "no token", am: hook("authorization: {type: Bearer, credentials: <secret>}", "follow_redirects: true"), want: []string{"error: AM: receiver callchain: it sends no token: callchain answers 401"}},
		{name: "no token needed", anonymous: true, am: hook("authorization: {type: Bearer, credentials: <secret>}", "follow_redirects: true")},
		{name: "the token of all receivers", am: "global: {http_config: {authorization: {credentials_file: /x}}}\n" + hook("http_config: {authorization: {type: Bearer, credentials: <secret>}}\n", "\n")},
		{name: "basic", am: hook("type: Bearer", "type: Token"), want: []string{"error: AM: receiver callchain: http_config.authorization has type Token"}},
		{name: "no timeout", am: hook("timeout: 10s", "timeout: 0s"), want: []string{"warning: AM: receiver callchain: it has no timeout: a connection that hangs keeps a group from being sent for a whole group_interval (5m)"}},
		{name: "long timeout", am: hook("timeout: 10s", "timeout: 6m"), want: []string{"its timeout 6m is longer than the group_interval 5m"}},
		{name: "a version without timeout", am: hook("    timeout: 10s\n", "")},
		{name: "services mixed", am: strings.Replace(route(""), "[alertname, service]", "[alertname]", 1), want: []string{"warning: AM: group_by lacks the service label (service) in route (by alertname): one webhook carries several services"}},
		{name: "one group of all", am: strings.Replace(route(""), "[alertname, service]", "[]", 1), want: []string{"group_by lacks the service label (service) in route (by nothing)"}},
		{name: "no service label known", config: "routing: {fallback_team: sre, service_labels: [], team_labels: [team]}", am: strings.Replace(route(""), "[alertname, service]", "[alertname]", 1)},
		{name: "each alert a group", am: strings.Replace(route(""), "[alertname, service]", "['...']", 1), want: []string{"warning: AM: group_by is '...' in route: each alert is a group, and so an incident"}},
		{
			name: "two groups", am: route("  - {receiver: callchain, matchers: ['severity=\"page\"'], group_by: [cluster, service], continue: true}\n  - {receiver: callchain, matchers: ['team=\"dba\"']}\n"),
			want: []string{"warning: AM: an alert can be delivered by route.routes[1] {severity=\"page\"}, which continues, and by route.routes[2] {team=\"dba\"}: grouped by cluster and service and by alertname and service it is two incidents"},
		},
		{name: "two groups, no alert in both", am: route("  - {receiver: callchain, matchers: ['team=~\"web|api\"'], group_by: [cluster, service], continue: true}\n  - {receiver: callchain, match: {team: dba}}\n")},
		{name: "two groups, the first ends it", am: route("  - {receiver: callchain, matchers: ['severity=\"page\"'], group_by: [cluster, service]}\n  - {receiver: callchain, matchers: ['team=\"dba\"']}\n")},
		{name: "two routes, one group", am: route("  - {receiver: callchain, matchers: ['severity=\"page\"'], group_by: [service, alertname], continue: true}\n  - {receiver: callchain, matchers: ['team=\"dba\"']}\n")},
		{name: "repeats after the acknowledgement", am: route("  repeat_interval: 12h\n"), want: []string{"warning: AM: repeat_interval is longer than escalation.ack_expires (unbreak_now after 4h) in route (12h)"}},
		{name: "repeats before", config: "escalation: {ack_expires: 12h}", am: route("  repeat_interval: 12h\n")},
		{name: "stale between repeats", config: "escalation: {stale_after: 4h}", am: route("  repeat_interval: 4h\n"), want: []string{"repeat_interval is not shorter than escalation.stale_after (4h) in route (4h)"}},
		{name: "slow", am: route("  group_wait: 5m\n  group_interval: 1h\n"), want: []string{"group_wait is long in route (5m)", "group_interval is long in route (1h)"}},
		{
			name: "muted", am: route("  - {receiver: callchain, matchers: ['a=\"b\"'], mute_time_intervals: [night], active_time_intervals: [day]}\n"),
			want: []string{"warning: AM: route.routes[1] {a=\"b\"} has time intervals (night and day)"},
		},
		{name: "nothing around us", am: strings.Replace(route(""), "receiver: phone,", "receiver: callchain,", 1), want: []string{"warning: AM: the alerts about callchain itself go to callchain only"}},
		{name: "around us to nobody", am: strings.Replace(route(""), "email_configs", "mail", 1), want: []string{"the alerts about callchain itself go to the receiver phone, which tells nobody"}},
		{name: "a heartbeat that is slow", source: "}], heartbeats: [{source: main, match: ['alertname=\"Watchdog\"'], every: 5m", am: route(""), want: []string{`warning: AM: route repeats the heartbeat {alertname="Watchdog"} every 4h only, but it is missed after 5m`}},
		{name: "a heartbeat in time", source: "}], heartbeats: [{source: main, match: ['alertname=\"Watchdog\"'], every: 5m", am: route("  - {receiver: callchain, matchers: ['alertname=\"Watchdog\"'], group_interval: 1m, repeat_interval: 1m}\n")},
		{name: "a heartbeat elsewhere", source: "}], heartbeats: [{source: main, match: ['alertname=\"Watchdog\"'], every: 5m", am: route("  - {receiver: phone, matchers: ['alertname=\"Watchdog\"']}\n"), want: []string{`no route brings the heartbeat {alertname="Watchdog"} here`}},
		{name: "no configuration", am: "rout: {}", want: []string{"warning: AM: its configuration cannot be read: it has no route"}},
		{name: "control characters", am: "route: {receiver: \"a\\e[31m\"}\nreceivers: [{name: \"callchain\\e[31m\", webhook_configs: [{url: <secret>}]}]", want: []string{"error: AM: no route leads to the receiver callchain[31m"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := status(t, c.am, "0.31.1")
			login := "token_file: token"
			if c.anonymous {
				login = "anonymous: true"
			}
			w := loaded(t, fmt.Sprintf("alertmanager: {sources: [{name: main, %s, api_url: [%q]%s}]}\n%s", login, s.URL, c.source, c.config))
			got := w.alertmanagers(t.Context())
			for i := range got.problems {
				got.problems[i].Text = strings.ReplaceAll(got.problems[i].Text, s.URL, "AM")
			}
			want(t, lines(got.problems), c.want...)
		})
	}
}

func TestPeers(t *testing.T) {
	cfg := goodRoute + goodHook
	gone := httptest.NewServer(nil)
	gone.Close()
	login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	t.Cleanup(login.Close)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) }))
	t.Cleanup(other.Close)
	one, two := status(t, cfg, "0.31.1", "a", "b"), status(t, cfg, "0.31.1", "b", "a")
	for _, c := range []struct {
		name string
		urls []string
		want []string
	}{
		{name: "no api_url", want: []string{"2:33: warning: source main: without api_url its Alertmanager cannot be asked"}},
		{name: "both of two", urls: []string{one.URL, two.URL}},
		{name: "one of two", urls: []string{one.URL}, want: []string{one.URL + ": its cluster has 2 peers (a and b), api_url lists 1 address; list all of them"}},
		{name: "twice the same", urls: []string{one.URL, one.URL + "/"}, want: []string{one.URL + " and " + one.URL + " are the same Alertmanager"}},
		{
			name: "two that are alone", urls: []string{status(t, cfg, "0.31.1", "x").URL, status(t, cfg, "0.31.1").URL},
			want: []string{"knows of 1 peer in its cluster, api_url lists 2", "knows of 1 peer in its cluster, api_url lists 2"},
		},
		{
			name: "two configurations", urls: []string{one.URL, status(t, cfg+"\n# new", "0.31.1", "b", "a").URL},
			want: []string{"source main: its peers have 2 different configurations"},
		},
		{name: "nobody there", urls: []string{gone.URL}, want: []string{"error: " + gone.URL + ": no Alertmanager can be reached there: "}},
		{name: "one of two is down", urls: []string{one.URL, gone.URL}, want: []string{"error: " + gone.URL + ": no Alertmanager can be reached there: "}},
		{name: "a login", urls: []string{login.URL}, want: []string{"HTTP 401: something in front of Alertmanager wants a login"}},
		{name: "below the wrong path", urls: []string{one.URL + "/prefix"}, want: []string{"/api/v2/status answers HTTP 404: api_url must be Alertmanager's own address, with its route prefix"}},
		{name: "something else", urls: []string{other.URL}, want: []string{"what answers there is not Alertmanager"}},
		{name: "old", urls: []string{status(t, cfg, "0.20.0", "a").URL}, want: []string{"Alertmanager 0.20.0 does not say when it cut alerts off"}},
		{name: "a password", urls: []string{strings.Replace(gone.URL, "//", "//me:hunter2@", 1)}, want: []string{"//me:xxxxx@"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			urls, err := json.Marshal(append([]string{}, c.urls...))
			if err != nil {
				t.Fatal(err)
			}
			w := loaded(t, fmt.Sprintf("alertmanager: {sources: [{name: main, token_file: token, api_url: %s}]}", urls))
			got := w.alertmanagers(t.Context())
			want(t, lines(got.problems), c.want...)
			if all := fmt.Sprint(lines(got.problems), got.checked); strings.Contains(all, "hunter2") {
				t.Errorf("a password is shown: %s", all)
			}
		})
	}
}

// What does not answer does not hold up a check for longer than it may take.
func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(hangs.Close)
	t.Cleanup(func() { close(release) })
	w := loaded(t, fmt.Sprintf("external_url: %s\nalertmanager: {sources: [{name: main, token_file: token, api_url: [%q]}]}", hangs.URL, hangs.URL))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r := Check(ctx, w)
	want(t, lines(r.Problems), "warning: external_url: "+hangs.URL+"/-/healthy: no answer in time", "no Alertmanager can be reached there: no answer in time")
	want(t, r.Checked, "store: ")
}

// A real Alertmanager prints its configuration so that all of it is understood.
func TestRealAlertmanager(t *testing.T) {
	t.Parallel()
	am := testbench.StartAlertmanager(t, testbench.AlertmanagerConfig{YAML: `
route:
  receiver: callchain
  group_by: [alertname]
  repeat_interval: 30h
  routes:
  - {matchers: ['job="callchain"'], receiver: callchain, group_by: ['...']}
  - {matchers: ['team=~"a|b"', severity!=info], match: {x: y}, receiver: callchain, continue: true, mute_time_intervals: [night], group_interval: 20m}
receivers:
- name: callchain
  webhook_configs:
  - {url: "http://127.0.0.1:9321/api/v1/webhook/alertmanager/main", send_resolved: false, max_alerts: 3, http_config: {basic_auth: {username: a, password: b}}}
time_intervals: [{name: night, time_intervals: [{times: [{start_time: "00:00", end_time: "06:00"}]}]}]
`})
	w := loaded(t, fmt.Sprintf("alertmanager: {sources: [{name: main, token_file: token, api_url: [%q]}]}", am.URL))
	got := w.alertmanagers(t.Context())
	const muted = `route.routes[1] {severity!="info",team=~"a|b",x="y"}`
	want(t, lines(got.problems),
		"error: "+am.URL+": receiver callchain: send_resolved is false", "max_alerts is 3", "it sends no token", "it has no timeout",
		"group_by lacks the service label (service) in route (by alertname) and "+muted+" (by alertname)",
		"group_by is '...' in route.routes[0] {job=\"callchain\"}", muted+" has time intervals (night)", "group_interval is long in "+muted+" (20m)",
		"ack_expires (unbreak_now after 4h and page after 1d) in route (1d6h), route.routes[0]", "the alerts about callchain itself go to callchain only")
	want(t, got.checked, "source main: "+am.URL+" is an Alertmanager that does not say its version", "callchain's receiver is taken to be callchain, by its name; Alertmanager hides URLs", "3 routes lead to callchain (callchain)")
}
