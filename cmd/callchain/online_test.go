package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"callchain/internal/testbench"
)

// TestOnline looks at real neighbours, and leaves them as they were.
func TestOnline(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mail := testbench.StartExim(t)
	redis := testbench.StartRedis(t, "--appendonly", "yes")
	slack := testbench.StartLocalSlack(t, testbench.SlackConfig{
		CallbackURL: "http://127.0.0.1:1",
		Users: []testbench.SlackUser{
			{ID: "U01ANA", Name: "ana", Email: "ana@example.org"}, {ID: "U01BEN", Name: "ben", Email: "ben@example.org"},
		},
		Channels: []testbench.SlackChannel{{ID: "C01INC", Name: "incidents"}, {ID: "C01SRE", Name: "sre"}},
	})
	am := testbench.StartAlertmanager(t, testbench.AlertmanagerConfig{YAML: `
route:
  receiver: callchain
  group_by: [alertname, service]
  routes:
  - {matchers: ['job="callchain"'], receiver: around-callchain}
  - {matchers: ['severity="page"'], receiver: callchain, group_by: [alertname, cluster, service], continue: true}
  - {matchers: ['team="sre"'], receiver: callchain}
receivers:
- name: callchain
  webhook_configs: [{url: "http://127.0.0.1:9321/api/v1/webhook/alertmanager/main", timeout: 10s, http_config: {authorization: {credentials: x}}}]
- name: around-callchain
  webhook_configs: [{url: "http://127.0.0.1:1/"}]
`})
	addr := testbench.FreeAddr(t)
	write("am-token", "a-token-of-alertmanager\n")
	write("bot-token", slack.BotToken+"\n")
	write("signing-secret", slack.SigningSecret+"\n")
	write("smtp", mail.Password+"\n")
	write("link-key", strings.Repeat("k", 40)+"\n")
	write("catalog.yml", `people:
  - {name: ana, email: ana@example.org, slack: U01ANA}
  - {name: ben, email: ben@example.org}
  - {name: chen, email: chen@example.org, slack: U01LEFT}
teams:
  - {name: sre, members: [ana, ben, chen], slack_channel: "#sre"}
services:
  - {name: parsoid, state: third_party, owners: sre}
`)
	write("callchain.yml", fmt.Sprintf(`external_url: http://%s
catalog_files: [catalog.yml]
store: {type: redis, redis: {addrs: [%q]}}
alertmanager:
  sources:
    - {name: main, token_file: am-token, api_url: [%q]}
routing: {fallback_team: sre, service_labels: [service]}
notifiers:
  slack: {api_url: %q, bot_token_file: bot-token, signing_secret_file: signing-secret, channel: "#incidents"}
  email: {smarthost: %q, from: callchain@example.org, auth_username: %q, auth_password_file: smtp, link_key_file: link-key}
`, addr, redis.Addr, am.URL, slack.APIURL, mail.Addr, mail.Username))

	check := func(code int, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), testbench.Binary(t), append([]string{"check-config"}, args...)...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "SSL_CERT_FILE="+mail.CAFile)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		exit, failed := errors.AsType[*exec.ExitError](err)
		if got := cmd.ProcessState.ExitCode(); got != code || err != nil && !failed {
			t.Errorf("check-config %v ends with %d (%v), want %d: %s%s", args, got, exit, code, out, stderr.String())
		}
		return string(out)
	}
	has := func(out string, all ...string) {
		t.Helper()
		for _, want := range all {
			if !strings.Contains(out, want) {
				t.Errorf("nothing says %q:\n%s", want, out)
			}
		}
	}

	out := check(0, "--online")
	has(out,
		"checked: source main: "+am.URL+" is an Alertmanager", "callchain's receiver is taken to be callchain, by its name",
		"checked: Slack: the token is that of callchain in the workspace Test\n", "checked: Slack: 2 of 2 channels named can be posted to\n", "checked: Slack: whether presses come back cannot be seen from here",
		"checked: e-mail: "+mail.Addr+" takes mails from callchain@example.org, over TLS\n", "checked: store: Redis at "+redis.Addr+" answers\n",
		"callchain.yml:1:15: warning: external_url: http://"+addr+"/-/healthy: dial tcp "+addr+": connect: connection refused",
		"callchain.yml:6:52: warning: "+am.URL+": an alert can be delivered by route.routes[1] {severity=\"page\"}, which continues, and by route.routes[2] {team=\"sre\"}",
		"catalog.yml:4:50: warning: person chen: Slack knows nobody with the slack id U01LEFT",
		"callchain.yml: good; 0 errors, ")

	var sum struct {
		OK, Online bool
		Checked    []string
		Problems   []struct{ Severity, Text string }
	}
	if err := json.Unmarshal([]byte(check(0, "--online", "--output=json")), &sum); err != nil {
		t.Fatal(err)
	}
	if !sum.OK || !sum.Online || len(sum.Checked) < 6 || len(sum.Problems) < 4 {
		t.Errorf("as JSON: %+v", sum)
	}
	has(check(0, "--output=json"), `"online": false`, `"checked": []`)
	check(2, "--online", "--timeout=0s")

	// Nobody noticed.
	if keys, _ := redis.Call(t, "KEYS", "*").([]any); len(keys) > 0 {
		t.Errorf("it made keys in Redis: %v", keys)
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("it made the folder of the store")
	}
	if mails := mail.Mails(t); len(mails) > 0 {
		t.Errorf("it sent mails: %v", mails)
	}
	for _, place := range []string{"#incidents", "#sre", "U01ANA", "U01BEN"} {
		if m := slack.Messages(t, place); len(m) > 0 {
			t.Errorf("it posted to %s: %v", place, m)
		}
	}

	// Errors: exit 1, and no other is hidden.
	write("smtp", "wrong\n")
	am.Kill9(t)
	has(check(1, "--online", "--timeout=20s"), "error: "+am.URL+": no Alertmanager can be reached there: ", "error: notifiers.email: smarthost "+mail.Addr+": 535", "callchain.yml: refused; 2 errors, ")
	// With errors in the files nobody is asked.
	write("am-token", "")
	has(check(1, "--online"), "nobody was asked: mend the errors above first", "callchain.yml: refused; 1 error, ")
}
