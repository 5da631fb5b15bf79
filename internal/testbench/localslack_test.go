package testbench_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"callchain/internal/testbench"
)

func TestLocalSlackShowsMessagesAndPressesButtons(t *testing.T) {
	var secret string
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mac := hmac.New(sha256.New, []byte(secret))
		io.WriteString(mac, "v0:"+r.Header.Get("X-Slack-Request-Timestamp")+":"+string(body))
		if r.Header.Get("X-Slack-Signature") != "v0="+hex.EncodeToString(mac.Sum(nil)) {
			http.Error(w, "bad signature", http.StatusUnauthorized)
			return
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			t.Error(err)
		}
		switch r.URL.Path {
		case "/slack/interactions":
			var p struct {
				User    struct{ ID string }
				Actions []struct {
					ActionID string `json:"action_id"`
					Value    string
				}
			}
			if err := json.Unmarshal([]byte(form.Get("payload")), &p); err != nil || len(p.Actions) != 1 {
				t.Errorf("payload %q: %v", form.Get("payload"), err)
				return
			}
			io.WriteString(w, p.User.ID+" "+p.Actions[0].ActionID+" "+p.Actions[0].Value)
		case "/slack/commands":
			io.WriteString(w, form.Get("command")+" "+form.Get("text"))
		}
	}))
	defer app.Close()
	slack := testbench.StartLocalSlack(t, testbench.SlackConfig{
		CallbackURL: app.URL,
		Users: []testbench.SlackUser{
			{ID: "U01ANA", Name: "ana", Email: "ana@example.org"},
			{ID: "U02BEN", Name: "ben", Email: "ben@example.org"},
		},
		Channels: []testbench.SlackChannel{{ID: "C01INC", Name: "incidents", Members: []string{"U01ANA"}}},
	})
	secret = slack.SigningSecret

	post := func(channel, text, blocks string) {
		t.Helper()
		body, err := json.Marshal(map[string]any{"channel": channel, "text": text, "blocks": json.RawMessage(blocks)})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(http.MethodPost, slack.APIURL+"chat.postMessage", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+slack.BotToken)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if answer, _ := io.ReadAll(resp.Body); !strings.Contains(string(answer), `"ok":true`) {
			t.Fatalf("post to %s: %s", channel, answer)
		}
	}
	if m := slack.Messages(t, "U01ANA"); len(m) != 0 {
		t.Errorf("before any message: %+v", m)
	}
	post("U01ANA", "page for you", `[{"type":"actions","block_id":"b","elements":[
		{"type":"button","action_id":"ack","value":"inc1","text":{"type":"plain_text","text":"Acknowledge"}}]}]`)
	post("C01INC", "board", `[]`)

	if m := slack.AwaitMessage(t, "#incidents", "board"); m.Channel != "C01INC" {
		t.Errorf("the board is %+v", m)
	}
	if m := slack.Messages(t, "U02BEN"); len(m) != 0 {
		t.Errorf("ben got %+v", m)
	}
	page := slack.AwaitMessage(t, "U01ANA", "Acknowledge") // found in the blocks
	if got := slack.Press(t, "U01ANA", page, "Acknowledge"); got.Status != 200 || got.Body != "U01ANA ack inc1" {
		t.Errorf("press: %+v", got)
	}
	if got := slack.Command(t, "U02BEN", "#incidents", "/oncall", "checkout"); got.Status != 200 || got.Body != "/oncall checkout" {
		t.Errorf("command: %+v", got)
	}
	secret = "another"
	if got := slack.Press(t, "U01ANA", page, "Acknowledge"); got.Status != 401 {
		t.Errorf("press with a secret that does not fit: %+v, want 401", got)
	}
}
