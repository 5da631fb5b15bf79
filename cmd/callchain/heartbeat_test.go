package main_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"callchain/internal/testbench"
)

// A real Alertmanager beats, dies and comes back; meanwhile callchain tells a
// service outside that it is able to page.
func TestHeartbeatOfARealAlertmanager(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	outside := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path == "/ping/8f2c-secret" {
			calls.Add(1)
		}
	}))
	defer outside.Close()
	mail := testbench.StartExim(t)
	dir, addr := t.TempDir(), testbench.FreeAddr(t)
	for name, text := range map[string]string{
		"am-token": "a-token-of-alertmanager\n", "api-token": "a-token-of-the-command-line\n",
		"smtp": mail.Password + "\n", "link-key": strings.Repeat("k", 40) + "\n", "beat": outside.URL + "/ping/8f2c-secret\n",
		"catalog.yml": e2eCatalog,
		"callchain.yml": `
external_url: http://` + addr + `
catalog_files: [catalog.yml]
alertmanager:
  sources: [{name: main, token_file: am-token}]
  heartbeats: [{source: main, match: ['alertname="Watchdog"'], every: 5s, team: ops}]
self: {heartbeat_url_file: beat}
routing: {fallback_team: sre}
notifiers:
  email: {smarthost: "` + mail.Addr + `", from: callchain@example.org, auth_username: "` + mail.Username + `", auth_password_file: smtp, link_key_file: link-key}
api: {tokens: [{name: cli, token_file: api-token, scopes: [admin]}]}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	in := &installation{mail: mail, Callchain: testbench.Daemon{
		Args: []string{"--config.file=" + filepath.Join(dir, "callchain.yml")},
		Env:  []string{"SSL_CERT_FILE=" + mail.CAFile},
		Dir:  dir, Addr: addr,
	}.Start(t)}
	in.am = testbench.StartAlertmanager(t, testbench.AlertmanagerConfig{
		WebhookURL: in.URL + "/api/v1/webhook/alertmanager/main", TokenFile: filepath.Join(dir, "am-token"),
		GroupInterval: time.Second, RepeatInterval: time.Second,
	})
	watchdog := testbench.Alert{Labels: map[string]string{"alertname": "Watchdog"}, StartsAt: time.Now().Add(-time.Minute)}
	in.am.PostAlerts(t, watchdog)
	beats := func() bool {
		return strings.Contains(metricsOf(t, in.URL), `callchain_heartbeats_total{source="main"}`)
	}
	testbench.Eventually(t, 20*time.Second, "a beat", beats)
	testbench.Eventually(t, 20*time.Second, "the own heartbeat", func() bool { return calls.Load() > 0 })
	if list := in.incidents(t); len(list) > 0 {
		t.Fatalf("a beat opened an incident: %+v", list)
	}

	in.am.Kill9(t)
	missed := in.await(t, "the missed heartbeat", func(i incident) bool { return i.State == "triggered" && i.Subject == "team:ops" })
	in.mail.AwaitMail(t, "ana@example.org", "HeartbeatMissed")

	in.am.Restart(t)
	in.am.PostAlerts(t, watchdog)
	over := in.await(t, "the heartbeat to be back", func(i incident) bool { return i.ID == missed.ID && i.State == "resolved" })
	if !slices.ContainsFunc(over.Timeline, func(e struct {
		Text string `json:"text"`
	}) bool {
		return strings.Contains(e.Text, "the heartbeat is back")
	}) {
		t.Errorf("the timeline does not say why it is over: %+v", over.Timeline)
	}
	if strings.Contains(in.Log(), "8f2c-secret") {
		t.Error("the log has the secret URL")
	}
}

func metricsOf(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return string(text)
}
