package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"callchain/internal/testbench"
)

// installation is a callchain with its neighbours: a real Alertmanager in
// front, a real mail server and a Slack emulator behind.
type installation struct {
	*testbench.Callchain
	am    *testbench.Alertmanager
	slack *testbench.LocalSlack
	mail  *testbench.Exim
	dir   string // with callchain.yml
}

const e2eCatalog = `
people:
  - {name: ana, email: ana@example.org}
  - {name: ben, email: ben@example.org}
  - {name: gus, email: gus@example.org}
teams:
  - {name: ops, members: [ana], manager: gus, slack_channel: "#ops"}
  - {name: dev, members: [ben], manager: gus}
  - {name: sre, members: [gus], slack_channel: "#sre"}
services:
  - name: parsoid
    state: active
    owners: {development: dev, configuration_deployment: ops, incident_response: ops, product_management: dev}
  - name: maps
    state: active
    owners: {incident_response: ops}
`

// stores are what the tests below run over: the line of callchain.yml, made for
// each run.
var stores = map[string]func(t *testing.T) string{
	"embedded": func(*testing.T) string { return "store: {type: embedded}" },
	"redis": func(t *testing.T) string {
		r := testbench.StartRedis(t, "--appendonly", "yes")
		return fmt.Sprintf("store: {type: redis, redis: {addrs: [%q]}}", r.Addr)
	},
}

// overStores runs a test over each of them.
func overStores(t *testing.T, run func(t *testing.T, store string)) {
	t.Parallel()
	for name, line := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, line(t))
		})
	}
}

func install(t *testing.T, store, policy string) *installation {
	t.Helper()
	return installFor(t, store, policy, signedRequests)
}

// The ways from Slack, as keys of notifiers.slack.
const (
	signedRequests = "signing_secret_file: signing-secret"
	socketMode     = "app_token_file: app-token"
)

// installFor is install with a way from Slack of its own.
func installFor(t *testing.T, store, policy, fromSlack string) *installation {
	t.Helper()
	dir := t.TempDir()
	addr := testbench.FreeAddr(t)
	in := &installation{
		dir:  dir,
		mail: testbench.StartExim(t),
		slack: testbench.StartLocalSlack(t, testbench.SlackConfig{
			CallbackURL: "http://" + addr, Socket: fromSlack == socketMode,
			Users: []testbench.SlackUser{
				{ID: "U01ANA", Name: "ana", Email: "ana@example.org"},
				{ID: "U01BEN", Name: "ben", Email: "ben@example.org"},
				{ID: "U01GUS", Name: "gus", Email: "gus@example.org"},
			},
			Channels: []testbench.SlackChannel{{ID: "C01OPS", Name: "ops"}, {ID: "C01SRE", Name: "sre"}, {ID: "C01INC", Name: "incidents"}},
		}),
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("am-token", "a-token-of-alertmanager\n")
	write("api-token", "a-token-of-the-command-line\n")
	write("bot-token", in.slack.BotToken+"\n")
	write("app-token", in.slack.AppToken+"\n")
	write("signing-secret", in.slack.SigningSecret+"\n")
	write("smtp", in.mail.Password+"\n")
	write("link-key", strings.Repeat("k", 40)+"\n")
	write("catalog.yml", e2eCatalog)
	write("callchain.yml", fmt.Sprintf(`
external_url: http://%s
catalog_files: [catalog.yml]
%s
alertmanager: {sources: [{name: main, token_file: am-token}]}
routing: {fallback_team: sre}
escalation:
  policies:
    - name: default
      repeat: 1
      steps: %s
notifiers:
  slack: {api_url: %q, bot_token_file: bot-token, %s, channel: "#incidents"}
  email: {smarthost: %q, from: callchain@example.org, auth_username: %q, auth_password_file: smtp, link_key_file: link-key}
api: {tokens: [{name: cli, token_file: api-token, scopes: [admin]}]}
`, addr, store, policy, in.slack.APIURL, fromSlack, in.mail.Addr, in.mail.Username))
	in.Callchain = testbench.Daemon{
		Args: []string{"--config.file=" + filepath.Join(dir, "callchain.yml")},
		Env:  []string{"SSL_CERT_FILE=" + in.mail.CAFile},
		Dir:  dir,
		Addr: addr,
	}.Start(t)
	in.am = testbench.StartAlertmanager(t, testbench.AlertmanagerConfig{
		WebhookURL: in.URL + "/api/v1/webhook/alertmanager/main",
		TokenFile:  filepath.Join(dir, "am-token"),
		GroupBy:    []string{"alertname"},
	})
	return in
}

type incident struct {
	ID             string  `json:"id"`
	State          string  `json:"state"`
	Held           bool    `json:"held"`
	Subject        string  `json:"subject"`
	Assessment     string  `json:"assessment"`
	AcknowledgedBy string  `json:"acknowledged_by"`
	NextStepAt     *string `json:"next_step_at"`
	Alerts         []struct {
		Status string `json:"status"`
	} `json:"alerts"`
	Timeline []struct {
		Text string `json:"text"`
	} `json:"timeline"`
}

// incidents asks the API; while the daemon is away there are none.
func (in *installation) incidents(t *testing.T) []incident {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, in.URL+"/api/v1/incidents", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer a-token-of-the-command-line")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var list struct{ Incidents []incident }
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	return list.Incidents
}

func (in *installation) await(t *testing.T, what string, ok func(incident) bool) incident {
	t.Helper()
	var found incident
	testbench.Eventually(t, 20*time.Second, what, func() bool {
		list := in.incidents(t)
		i := slices.IndexFunc(list, ok)
		if i >= 0 {
			found = list[i]
		}
		return i >= 0
	})
	return found
}

func errors5xx(service string, over bool) testbench.Alert {
	a := testbench.Alert{
		Labels:      map[string]string{"alertname": "HighErrorRate", "service": service, "severity": "page"},
		Annotations: map[string]string{"summary": "5xx ratio above 5 % <!channel>", "runbook_url": "https://runbooks.example.org/errors"},
		StartsAt:    time.Now().Add(-time.Minute),
	}
	if over {
		a.EndsAt = time.Now()
	}
	return a
}

func pagesTo(t *testing.T, s *testbench.LocalSlack, user string) int {
	t.Helper()
	n := 0
	for _, m := range s.Messages(t, user) {
		if m.ThreadTS == "" || m.ThreadTS == m.TS {
			n++
		}
	}
	return n
}

// A real Alertmanager's alert becomes a page in Slack and a mail, escalates, is
// acknowledged by a button, pages nobody any more, and is resolved by Alertmanager.
func TestAlertToAcknowledgement(t *testing.T) { overStores(t, alertToAcknowledgement) }

func alertToAcknowledgement(t *testing.T, store string) {
	in := install(t, store, `[{notify: incident_response, ack_within: 3s}, {notify: development, ack_within: 1h}, {notify: fallback, ack_within: 1h}]`)
	in.am.PostAlerts(t, errors5xx("parsoid", false))

	page := in.slack.AwaitMessage(t, "U01ANA", "HighErrorRate")
	mail := in.mail.AwaitMail(t, "ana@example.org", "HighErrorRate")
	if !strings.Contains(mail.Text, "/ack/") || mail.Header.Get("Auto-Submitted") != "auto-generated" {
		t.Errorf("the mail lacks its link or Auto-Submitted:\n%s", mail.Raw)
	}
	in.slack.AwaitMessage(t, "#ops", "HighErrorRate")
	in.slack.AwaitMessage(t, "U01BEN", "HighErrorRate") // nobody answered within 3 s

	if a := in.slack.Press(t, "U01ANA", page, "Acknowledge"); a.Status != http.StatusOK {
		t.Fatalf("the press was answered %+v", a)
	}
	inc := in.await(t, "acknowledgement", func(i incident) bool { return i.State == "acknowledged" })
	if inc.AcknowledgedBy != "ana" || inc.NextStepAt != nil {
		t.Errorf("acknowledged by %q, next step at %v", inc.AcknowledgedBy, inc.NextStepAt)
	}
	in.slack.AwaitMessage(t, "U01BEN", "ACKNOWLEDGED by ana")

	in.am.PostAlerts(t, errors5xx("parsoid", true))
	in.await(t, "resolution by Alertmanager", func(i incident) bool { return i.State == "resolved" })
	in.slack.AwaitMessage(t, "#ops", "RESOLVED")
	if n := pagesTo(t, in.slack, "U01GUS"); n != 0 {
		t.Errorf("%d pages to the step after the acknowledgement", n)
	}
	if n := pagesTo(t, in.slack, "U01ANA"); n != 1 {
		t.Errorf("ana was paged %d times; want once, edited since", n)
	}
}

var link = regexp.MustCompile(`http://\S+/ack/\S+`)
var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// The link in a mail that really arrived: opening it changes nothing, its button acknowledges.
func TestAcknowledgeByMail(t *testing.T) {
	t.Parallel()
	in := install(t, stores["embedded"](t), `[{notify: incident_response, ack_within: 1h}, {notify: fallback, ack_within: 1h}]`)
	in.am.PostAlerts(t, errors5xx("maps", false))
	mail := in.mail.AwaitMail(t, "ana@example.org", "maps")
	if !strings.Contains(mail.Text, "partially owned") {
		t.Errorf("the mail does not say that maps is only partially owned:\n%s", mail.Text)
	}
	u := link.FindString(mail.Text)
	get := func() string {
		resp, err := http.Get(u)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("GET: %d %s", resp.StatusCode, body)
		}
		return string(body)
	}
	get() // a scanner
	page := get()
	form := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(page, -1) {
		form.Set(m[1], strings.NewReplacer("&#43;", "+", "&#34;", `"`, "&amp;", "&").Replace(m[2]))
	}
	if inc := in.await(t, "incident", func(incident) bool { return true }); inc.State != "triggered" {
		t.Fatalf("opening the link made it %s", inc.State)
	}
	testbench.Eventually(t, 10*time.Second, "the press to count", func() bool {
		resp, err := http.PostForm(u, form)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return in.incidents(t)[0].State == "acknowledged"
	})
	if by := in.incidents(t)[0].AcknowledgedBy; by != "ana" {
		t.Errorf("acknowledged by %q", by)
	}
	if resp, err := http.Get(u + "x"); err != nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a forged link: %v %v", resp.StatusCode, err)
	} else {
		resp.Body.Close()
	}
}

// SIGKILL at any point between the webhook and the resolution loses nothing.
func TestKill9(t *testing.T) { overStores(t, kill9) }

func kill9(t *testing.T, store string) {
	in := install(t, store, `[{notify: incident_response, ack_within: 4s}, {notify: development, ack_within: 1h}, {notify: fallback, ack_within: 1h}]`)

	// While Alertmanager has something to say and nobody listens.
	in.Kill9(t)
	in.am.PostAlerts(t, errors5xx("parsoid", false))
	in.Restart(t)
	in.await(t, "the alert that fired meanwhile", func(i incident) bool { return i.State == "triggered" })

	// Right after the answer, perhaps before the page.
	in.Kill9(t)
	in.Restart(t)
	page := in.slack.AwaitMessage(t, "U01ANA", "HighErrorRate")
	// A store that others may use as well leaves the attempt of a process that
	// was killed to its lease.
	testbench.Eventually(t, time.Minute, "the mail", func() bool {
		return slices.ContainsFunc(in.mail.Mails(t), func(m testbench.Mail) bool {
			return m.To == "ana@example.org" && strings.Contains(m.Subject, "HighErrorRate")
		})
	})

	// While the timer of the first step runs, past its end.
	in.Kill9(t)
	in.Restart(t)
	in.slack.AwaitMessage(t, "U01BEN", "HighErrorRate")

	// Right after the acknowledgement was confirmed.
	if a := in.slack.Press(t, "U01ANA", page, "Acknowledge"); a.Status != http.StatusOK {
		t.Fatalf("the press was answered %+v", a)
	}
	in.Kill9(t)
	in.Restart(t)
	if inc := in.await(t, "the incident", func(incident) bool { return true }); inc.AcknowledgedBy != "ana" {
		t.Fatalf("after the kill: %+v", inc)
	}
	in.slack.AwaitMessage(t, "U01BEN", "ACKNOWLEDGED by ana")

	in.Kill9(t)
	in.am.PostAlerts(t, errors5xx("parsoid", true))
	in.Restart(t)
	in.await(t, "the resolution that came meanwhile", func(i incident) bool { return i.State == "resolved" })
	if list := in.incidents(t); len(list) != 1 {
		t.Errorf("%d incidents; want one", len(list))
	}
	if n := pagesTo(t, in.slack, "U01GUS"); n != 0 {
		t.Errorf("%d pages to the step after the acknowledgement", n)
	}
}

// A Redis that forgets everything while callchain runs: those who look after
// callchain are told, once each time, and what fires afterwards pages as ever. One
// that becomes somebody else's is not written to: callchain is on an island.
func TestRedisForgets(t *testing.T) {
	t.Parallel()
	r := testbench.StartRedis(t)
	in := install(t, fmt.Sprintf("store: {type: redis, redis: {addrs: [%q]}}", r.Addr), `[{notify: incident_response, ack_within: 1h}, {notify: fallback, ack_within: 1h}]`)
	told := func() (n int) {
		for _, m := range in.slack.Messages(t, "#sre") {
			if m.Contains("Redis lost records") {
				n++
			}
		}
		return n
	}
	r.Call(t, "FLUSHALL")
	testbench.Eventually(t, 10*time.Second, "the team to be told", func() bool { return told() == 1 })
	in.am.PostAlerts(t, errors5xx("parsoid", false))
	in.slack.AwaitMessage(t, "U01ANA", "HighErrorRate")
	r.Call(t, "FLUSHALL")
	testbench.Eventually(t, 10*time.Second, "the team to be told again", func() bool { return told() >= 2 })
	if n := told(); n != 2 {
		t.Errorf("told %d times of two losses", n)
	}

	for p := range 256 {
		k := fmt.Sprintf("callchain:{%d}:r", p)
		r.Call(t, "DEL", k)
		r.Call(t, "HSET", k, "", "callchain schema=1 partitions=256 installation=theirs")
	}
	in.am.PostAlerts(t, testbench.Alert{
		Labels:   map[string]string{"alertname": "TilesMissing", "service": "maps", "severity": "page"},
		StartsAt: time.Now().Add(-time.Minute),
	})
	in.slack.AwaitMessage(t, "U01ANA", "Redis is away")
	for p := range 256 {
		if n := r.Call(t, "HLEN", fmt.Sprintf("callchain:{%d}:r", p)); n != int64(1) {
			t.Errorf("partition %d of another installation holds %v records and its marker", p, n)
		}
	}
}

// SIGKILL of Redis, with an append-only file synced every second, loses nothing
// that was answered; timers and presses wait for it to come back.
func TestKill9Redis(t *testing.T) {
	t.Parallel()
	r := testbench.StartRedis(t, "--appendonly", "yes", "--appendfsync", "everysec")
	in := install(t, fmt.Sprintf("store: {type: redis, redis: {addrs: [%q]}}", r.Addr),
		`[{notify: incident_response, ack_within: 4s}, {notify: development, ack_within: 1h}, {notify: fallback, ack_within: 1h}]`)

	// While Alertmanager has something to say.
	r.Kill9(t)
	in.am.PostAlerts(t, errors5xx("parsoid", false))
	r.Restart(t)
	page := in.slack.AwaitMessage(t, "U01ANA", "HighErrorRate")

	// While the timer of the first step runs.
	synced(t, r)
	r.Kill9(t)
	r.Restart(t)
	in.slack.AwaitMessage(t, "U01BEN", "HighErrorRate")

	// Right after the acknowledgement was confirmed.
	if a := in.slack.Press(t, "U01ANA", page, "Acknowledge"); a.Status != http.StatusOK {
		t.Fatalf("the press was answered %+v", a)
	}
	synced(t, r)
	r.Kill9(t)
	r.Restart(t)
	in.slack.AwaitMessage(t, "U01BEN", "ACKNOWLEDGED by ana")
	if inc := in.await(t, "the incident", func(incident) bool { return true }); inc.AcknowledgedBy != "ana" {
		t.Errorf("after the kill: %+v", inc)
	}
	if n := pagesTo(t, in.slack, "U01GUS"); n != 0 {
		t.Errorf("%d pages to the step after the acknowledgement", n)
	}
}
