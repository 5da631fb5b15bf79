package main_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callchain/internal/testbench"
	"callchain/internal/testbench/strictslack"
)

// socketed is a workspace in Socket Mode that a test holds at both ends: what is
// posted, and what each connection brings.
type socketed struct {
	slack   *strictslack.Slack
	sockets *testbench.SlackSocket
	dir     string
}

// startSocketed writes the configuration of callchains that share a store.
func startSocketed(t *testing.T, store string) *socketed {
	t.Helper()
	s := &socketed{sockets: testbench.NewSlackSocket(), dir: t.TempDir()}
	wss := httptest.NewServer(s.sockets)
	t.Cleanup(wss.Close)
	s.slack = strictslack.New(t, strictslack.Config{
		Users:    []strictslack.User{{ID: "U01ANA", Name: "ana", Email: "ana@example.org"}, {ID: "U01BEN", Name: "ben", Email: "ben@example.org"}, {ID: "U01GUS", Name: "gus", Email: "gus@example.org"}},
		Channels: []strictslack.Channel{{ID: "C01OPS", Name: "ops", Member: true}, {ID: "C01SRE", Name: "sre", Member: true}},
		Socket: func() (string, error) {
			return strings.Replace(wss.URL, "http:", "ws:", 1) + "/link/?ticket=1", nil
		},
	})
	for name, text := range map[string]string{
		"am-token": "a-token-of-alertmanager\n", "api-token": "a-token-of-the-command-line\n",
		"bot-token": s.slack.BotToken + "\n", "app-token": s.slack.AppToken + "\n",
		"catalog.yml": e2eCatalog,
		"callchain.yml": fmt.Sprintf(`
external_url: http://callchain.example.org
catalog_files: [catalog.yml]
%s
alertmanager: {sources: [{name: main, token_file: am-token}]}
routing: {fallback_team: sre}
notifiers: {slack: {api_url: %q, bot_token_file: bot-token, app_token_file: app-token, channel: "#sre"}}
api: {tokens: [{name: cli, token_file: api-token, scopes: [admin]}]}
`, store, s.slack.APIURL),
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// serve starts a callchain and returns it with its first connection.
func (s *socketed) serve(t *testing.T) (*testbench.Callchain, *testbench.SlackConn) {
	t.Helper()
	dir := t.TempDir() // of its own: the last good catalog, the island's journal
	file := filepath.Join(dir, "callchain.yml")
	if err := os.CopyFS(dir, os.DirFS(s.dir)); err != nil {
		t.Fatal(err)
	}
	cc := testbench.Daemon{Args: []string{"--config.file=" + file}, Dir: dir}.Start(t)
	conn := s.sockets.Next(t)
	testbench.Eventually(t, 20*time.Second, "the socket", func() bool { return strings.Contains(cc.Log(), "slack socket is up") })
	return cc, conn
}

// await is the newest message there that says something.
func (s *socketed) await(t *testing.T, to, text string) strictslack.Message {
	t.Helper()
	var found strictslack.Message
	testbench.Eventually(t, 20*time.Second, fmt.Sprintf("%q to %s", text, to), func() bool {
		for _, m := range s.slack.Messages(to) {
			if strings.Contains(m.Text+string(m.Blocks), text) {
				found = m
			}
		}
		return found.TS != ""
	})
	return found
}

// Slack gives a press to any connection of the app: whichever callchain has it,
// it is done, and the page that another one posted is edited.
func TestPressComesToAnotherReplica(t *testing.T) {
	t.Parallel()
	r := testbench.StartRedis(t, "--appendonly", "yes")
	s := startSocketed(t, fmt.Sprintf("store: {type: redis, redis: {addrs: [%q]}}", r.Addr))
	one, _ := s.serve(t)
	post(t, one.URL)
	page := s.await(t, "U01ANA", "HighErrorRate")
	two, other := s.serve(t)
	one.Kill9(t)

	payload := string(s.slack.Press("U01ANA", page, "ack"))
	other.Envelope("e1", "interactive", payload)
	if ack := other.Acked(t); ack.ID != "e1" {
		t.Errorf("acknowledged %+v", ack)
	}
	s.await(t, "U01ANA", "ACKNOWLEDGED by ana")

	// The same press once more, under an envelope of its own: nothing changes.
	other.Envelope("e2", "interactive", payload)
	other.Acked(t)
	in := &installation{Callchain: two}
	if list := in.incidents(t); len(list) != 1 || list[0].AcknowledgedBy != "ana" {
		t.Errorf("%+v", list)
	}
}

// When somebody switches Socket Mode off, those who look after callchain read it
// at once, in Slack itself: posting works on.
func TestSocketModeSwitchedOff(t *testing.T) {
	t.Parallel()
	s := startSocketed(t, "store: {type: embedded}")
	cc, conn := s.serve(t)
	conn.Disconnect("link_disabled")
	notice := s.await(t, "#sre", "Slack's buttons do not work")
	if !strings.Contains(notice.Text+string(notice.Blocks), "switched off in the app's settings") {
		t.Errorf("the notice does not say why: %s %s", notice.Text, notice.Blocks)
	}
	in := &installation{Callchain: cc}
	testbench.Eventually(t, 10*time.Second, "no socket", func() bool { return in.sockets(t) == "0" })
	resp, err := http.Get(cc.URL + "/-/ready")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("/-/ready: %s: callchain pages without buttons", resp.Status)
	}
}

// post brings one alert as Alertmanager would.
func post(t *testing.T, url string) {
	t.Helper()
	body := fmt.Sprintf(`{"version":"4","groupKey":"{}:{}","status":"firing","groupLabels":{"alertname":"HighErrorRate"},"alerts":[
		{"status":"firing","labels":{"alertname":"HighErrorRate","service":"parsoid","severity":"page"},"annotations":{},"startsAt":%q,"fingerprint":"00000000000000ff"}]}`,
		time.Now().UTC().Format(time.RFC3339))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/api/v1/webhook/alertmanager/main", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer a-token-of-alertmanager")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the webhook: %s", resp.Status)
	}
}
