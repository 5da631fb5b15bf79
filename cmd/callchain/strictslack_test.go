package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callchain/internal/testbench"
	"callchain/internal/testbench/strictslack"
)

// strictly starts a daemon that pages over a Slack as strict as Slack: everything
// that it sends is checked.
func strictly(t *testing.T, ws *strictslack.Slack) *testbench.Callchain {
	t.Helper()
	dir := t.TempDir()
	addr := testbench.FreeAddr(t)
	for name, text := range map[string]string{
		"bot-token": ws.BotToken, "signing-secret": ws.SigningSecret, "catalog.yml": e2eCatalog,
		"callchain.yml": fmt.Sprintf(`
external_url: http://%s
catalog_files: [catalog.yml]
store: {type: embedded, path: callchain.db}
alertmanager: {sources: [{name: main, anonymous: true}]}
routing: {fallback_team: sre}
notifiers:
  slack: {api_url: %q, bot_token_file: bot-token, signing_secret_file: signing-secret, channel: "#incidents"}
`, addr, ws.APIURL),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return testbench.Daemon{Args: []string{"--config.file=" + filepath.Join(dir, "callchain.yml")}, Dir: dir, Addr: addr}.Start(t)
}

func fire(t *testing.T, cc *testbench.Callchain, status string) {
	t.Helper()
	hook := fmt.Sprintf(`{"version":"4","groupKey":"k","status":%q,"receiver":"r","groupLabels":{"alertname":"HighErrorRate"},"commonLabels":{},"commonAnnotations":{},
"externalURL":"http://am.example.org","alerts":[{"status":%[1]q,"labels":{"alertname":"HighErrorRate","service":"parsoid","severity":"page","evil":"<!channel> *&|"},
"annotations":{"summary":"5xx <@U01BEN>","runbook_url":"https://runbooks.example.org/<x>|y","dashboard":"javascript:alert(1)"},
"startsAt":"2026-11-20T14:00:00Z","endsAt":%q,"generatorURL":"http://prom.example.org/graph?g0.expr=%%7B","fingerprint":"aa"}]}`,
		status, map[string]string{"firing": "0001-01-01T00:00:00Z", "resolved": "2026-11-20T14:10:00Z"}[status])
	resp, err := http.Post(cc.URL+"/api/v1/webhook/alertmanager/main", "application/json", strings.NewReader(hook))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
}

// press brings what somebody did in Slack to the daemon.
func bring(t *testing.T, cc *testbench.Callchain, ws *strictslack.Slack, payload []byte) (status int, body string) {
	t.Helper()
	form, header := ws.Signed(payload)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, cc.URL+"/slack/interactions", strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	if _, err := fmt.Fprint(&b, resp.Status); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b.String()
}

// TestStrictSlack: an incident from its alert to its end, over a Slack that refuses
// what Slack refuses: pages, board, thread, a form, presses in time and late.
func TestStrictSlack(t *testing.T) {
	t.Parallel()
	ws := strictslack.New(t, strictslack.Config{
		Users: []strictslack.User{
			{ID: "U01ANA", Name: "ana", Email: "ana@example.org"}, {ID: "U01BEN", Name: "ben", Email: "ben@example.org"},
			{ID: "U01GUS", Name: "gus", Email: "gus@example.org"}, {ID: "U01ZOE", Name: "zoe", Email: "zoe@example.org"},
			{ID: "U01GUEST", Name: "guest", Guest: true},
		},
		Channels: []strictslack.Channel{
			{ID: "C01OPS", Name: "ops", Member: true}, {ID: "C01SRE", Name: "sre", Member: true}, {ID: "C01INC", Name: "incidents", Member: true},
		},
		Limits: &strictslack.SlackLimits,
	})
	cc := strictly(t, ws)
	fire(t, cc, "firing")

	await := func(to, text string) (found strictslack.Message) {
		t.Helper()
		testbench.Eventually(t, 20*time.Second, fmt.Sprintf("%q for %s", text, to), func() bool {
			for _, m := range ws.Messages(to) {
				if strings.Contains(m.Said(), text) {
					found = m
					return true
				}
			}
			return false
		})
		return found
	}
	page := await("U01ANA", "HighErrorRate")
	await("#ops", "HighErrorRate")

	// A guest may not, and is told so; a stranger to the chain is asked.
	bring(t, cc, ws, ws.Press("U01GUEST", page, "ack"))
	await("U01ANA", "Guests of the workspace cannot answer")
	bring(t, cc, ws, ws.Press("U01ZOE", page, "ack"))
	await("U01ANA", "You are not in the chain")

	// A form is opened at once and filled; what is written there stands in the thread,
	// and the next step is paged.
	if status, _ := bring(t, cc, ws, ws.Choose("U01ANA", page, "Not my service…")); status != http.StatusOK {
		t.Fatalf("the menu: %d", status)
	}
	var form strictslack.View
	testbench.Eventually(t, 20*time.Second, "a filled form", func() bool {
		for _, v := range ws.Views() {
			form = v
		}
		return strings.Contains(string(form.Raw), "reason")
	})
	values := map[string]map[string]any{"reason": {"reason": map[string]any{"type": "plain_text_input", "value": "looking <!here>"}}}
	if status, said := bring(t, cc, ws, ws.Submit("U01ANA", form, values)); status != http.StatusOK {
		t.Fatalf("the form: %d %s", status, said)
	}
	await("#ops", "looking <!here>") // as plain text
	for _, to := range []string{"U01ANA", "U01BEN", "#ops"} {
		for _, m := range ws.Messages(to) {
			if live := strings.Join(m.Live(), " "); strings.Contains(live, "!here") || strings.Contains(live, "!channel") || strings.Contains(live, "javascript") {
				t.Errorf("somebody's text is live for %s: %s", to, live)
			}
		}
	}
	await("U01BEN", "HighErrorRate")

	if status, _ := bring(t, cc, ws, ws.Press("U01ANA", page, "ack")); status != http.StatusOK {
		t.Fatalf("the press: %d", status)
	}
	testbench.Eventually(t, 20*time.Second, "an acknowledged page", func() bool {
		for _, m := range ws.Messages("U01ANA") {
			if m.TS == page.TS {
				_, still := m.Button("ack")
				return !still && m.Edits > 0
			}
		}
		return false
	})
	bring(t, cc, ws, ws.Press("U01BEN", page, "ack")) // late, from the message as he saw it
	await("U01ANA", "nothing changed")

	fire(t, cc, "resolved")
	await("#ops", "resolved")
	for _, c := range ws.Calls("") {
		if c.Error == "ratelimited" && c.Method != "chat.update" {
			t.Errorf("%s was called too often", c.Method)
		}
	}
}
