package testbench

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// SlackConfig is a workspace and the app that is installed in it.
type SlackConfig struct {
	// CallbackURL is callchain's base URL. What people do in Slack is posted,
	// signed, to /slack/interactions, /slack/commands and /slack/events there.
	CallbackURL string
	// Socket switches Socket Mode on: all of it comes over the sockets that
	// callchain opens, and CallbackURL is not used.
	Socket   bool
	Users    []SlackUser
	Channels []SlackChannel
}

// SlackUser is a person of the workspace.
type SlackUser struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	RealName string `json:"real_name,omitempty"`
	Email    string `json:"email,omitempty"`
	TZ       string `json:"tz,omitempty"`
}

// SlackChannel is a channel; the app is a member of every one.
type SlackChannel struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Members []string `json:"members,omitempty"` // user ids
}

// LocalSlack is a running Slack emulator. It is stricter than a fake of ours
// in what it signs and how it delivers, but knows neither Block Kit's limits nor
// rate limits, scopes or message metadata, and accepts any token.
type LocalSlack struct {
	*Process
	APIURL        string // for notifiers.slack.api_url
	BotToken      string
	AppToken      string
	SigningSecret string
	BotUserID     string

	socket bool

	control string

	mu      sync.Mutex // one press at a time: its answer is the latest
	answers chan SlackAnswer
}

// SlackAnswer is what callchain answered when Slack called it.
type SlackAnswer struct {
	Path   string // which endpoint was called; "" over a socket
	Status int    // 0 when it could not be reached, or a socket did not acknowledge
	Body   string
}

// SlackMessage is a message as the workspace holds it now.
type SlackMessage struct {
	TS       string            `json:"ts"`
	Channel  string            `json:"channel"`
	User     string            `json:"user"`
	Text     string            `json:"text"`
	ThreadTS string            `json:"thread_ts"`
	Blocks   []json.RawMessage `json:"blocks"`
	Edited   json.RawMessage   `json:"edited"`
}

// SlackButton is a button in a message.
type SlackButton struct {
	ActionID string
	BlockID  string
	Value    string
	Text     string
	URL      string
}

// StartLocalSlack starts the emulator and waits until it answers.
func StartLocalSlack(t testing.TB, c SlackConfig) *LocalSlack {
	t.Helper()
	path := program(t, "local-slack", ".cache/npm/node_modules/local-slack-linux-x64/bin/local-slack")
	addr := FreeAddr(t)
	s := &LocalSlack{
		APIURL: "http://" + addr + "/api/", BotToken: "xoxb-test-token-0123456789", AppToken: "xapp-1-test-token-0123456789", socket: c.Socket,
		SigningSecret: "test-signing-secret-0123456789abcdef", BotUserID: "U0BOT",
		control: "http://" + addr + "/_control", answers: make(chan SlackAnswer, 1),
	}
	callbacks := httptest.NewServer(s.forward(strings.TrimSuffix(c.CallbackURL, "/")))
	t.Cleanup(callbacks.Close)
	for i := range c.Channels {
		c.Channels[i].Members = append([]string{s.BotUserID}, c.Channels[i].Members...)
	}
	mode := "events"
	if c.Socket {
		mode = "socket"
	}
	config, err := json.Marshal(map[string]any{ // JSON is YAML
		"workspace": map[string]any{"name": "Test", "domain": "test", "teamId": "T01TEST"},
		"app": map[string]any{
			"appId": "A01APP", "botUserId": s.BotUserID, "botName": "callchain", "botToken": s.BotToken, "appToken": s.AppToken,
			"signingSecret": s.SigningSecret, "mode": mode, "requestUrl": callbacks.URL,
		},
		"users":    append([]SlackUser{}, c.Users...),
		"channels": append([]SlackChannel{}, c.Channels...),
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	writeFile(t, file, config, 0o600)
	s.Process = &Process{
		name: "local-slack", path: path, dir: dir,
		args: []string{"--config", file, "--port", portOf(t, addr), "--base-host", "127.0.0.1", "--files-dir", filepath.Join(dir, "files")},
	}
	s.start(t)
	s.awaitReady(t, answers(s.control+"/state"))
	return s
}

// Restart starts an emulator that was killed, with the same address and an
// empty workspace.
func (s *LocalSlack) Restart(t testing.TB) {
	t.Helper()
	s.start(t)
	s.awaitReady(t, answers(s.control+"/state"))
}

// forward stands for the three request URLs of an app's settings: the emulator
// knows one for all. It passes on the signed bytes as they are.
func (s *LocalSlack) forward(base string) http.Handler {
	client := &http.Client{Timeout: 3 * time.Second} // Slack waits no longer
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a := SlackAnswer{Path: "/slack/events"}
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			a.Path = "/slack/commands"
			if bytes.HasPrefix(body, []byte("payload=")) {
				a.Path = "/slack/interactions"
			}
		}
		answer := func() error {
			req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, base+a.Path, bytes.NewReader(body))
			if err != nil {
				return err
			}
			req.Header = r.Header.Clone()
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil {
				return err
			}
			a.Status, a.Body = resp.StatusCode, string(text)
			w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
			return nil
		}
		if err := answer(); err != nil {
			a.Body = err.Error()
			http.Error(w, a.Body, http.StatusBadGateway)
		} else {
			w.WriteHeader(a.Status)
			_, _ = io.WriteString(w, a.Body) // the emulator may have gone
		}
		if a.Path == "/slack/events" {
			return // nobody waits for the answer to an event
		}
		select {
		case s.answers <- a:
		default: // a call that no method of LocalSlack caused
		}
	})
}

// Messages returns a channel's messages, oldest first, thread replies too. The
// channel is an id, "#name", or a user's id for the app's direct messages with them.
func (s *LocalSlack) Messages(t testing.TB, channel string) []SlackMessage {
	t.Helper()
	var answer struct {
		Messages []SlackMessage `json:"messages"`
	}
	id := s.channelID(t, channel)
	if id == "" {
		return nil // no direct message yet
	}
	callJSON(t, http.MethodGet, s.control+"/messages/"+id, nil, &answer)
	return answer.Messages
}

// channelID finds a channel; "" for direct messages that have not begun.
func (s *LocalSlack) channelID(t testing.TB, ref string) string {
	t.Helper()
	var state struct {
		Channels []struct {
			ID      string   `json:"id"`
			Name    string   `json:"name"`
			IsIM    bool     `json:"is_im"`
			Members []string `json:"members"`
		} `json:"channels"`
		Users []struct {
			ID string `json:"id"`
		} `json:"users"`
	}
	callJSON(t, http.MethodGet, s.control+"/state", nil, &state)
	for _, c := range state.Channels {
		switch {
		case c.ID == ref, !c.IsIM && "#"+c.Name == ref:
			return c.ID
		case c.IsIM:
			for _, m := range c.Members {
				if m == ref {
					return c.ID
				}
			}
		}
	}
	for _, u := range state.Users {
		if u.ID == ref {
			return ""
		}
	}
	t.Fatalf("the workspace has no channel or user %q", ref)
	return ""
}

// AwaitMessage waits for a message in the channel whose text or blocks contain the given text.
func (s *LocalSlack) AwaitMessage(t testing.TB, channel, text string) SlackMessage {
	t.Helper()
	var found SlackMessage
	var all []SlackMessage
	err := poll(startTimeout, func() (bool, error) {
		all = s.Messages(t, channel)
		for _, m := range all {
			if m.Contains(text) {
				found = m
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		t.Fatalf("no message in %s that says %q: %v; there are %d others: %+v", channel, text, err, len(all), all)
	}
	return found
}

// Contains tells whether the message's text or any string in its blocks contains text.
func (m SlackMessage) Contains(text string) bool {
	if strings.Contains(m.Text, text) {
		return true
	}
	for _, raw := range m.Blocks {
		var block any
		if json.Unmarshal(raw, &block) == nil && containsText(block, text) {
			return true
		}
	}
	return false
}

func containsText(v any, text string) bool {
	switch v := v.(type) {
	case string:
		return strings.Contains(v, text)
	case []any:
		for _, e := range v {
			if containsText(e, text) {
				return true
			}
		}
	case map[string]any:
		for _, e := range v {
			if containsText(e, text) {
				return true
			}
		}
	}
	return false
}

// Buttons returns the buttons of the message's top-level blocks, in their order.
func (m SlackMessage) Buttons() []SlackButton {
	var buttons []SlackButton
	for _, raw := range m.Blocks {
		type element struct {
			Type     string `json:"type"`
			ActionID string `json:"action_id"`
			Value    string `json:"value"`
			URL      string `json:"url"`
			Text     struct {
				Text string `json:"text"`
			} `json:"text"`
		}
		var block struct {
			BlockID   string    `json:"block_id"`
			Elements  []element `json:"elements"`
			Accessory element   `json:"accessory"`
		}
		if json.Unmarshal(raw, &block) != nil {
			continue // elements of another shape: rich text
		}
		for _, e := range append(block.Elements, block.Accessory) {
			if e.Type == "button" {
				buttons = append(buttons, SlackButton{
					ActionID: e.ActionID, BlockID: block.BlockID, Value: e.Value, Text: e.Text.Text, URL: e.URL,
				})
			}
		}
	}
	return buttons
}

// Press presses, as the user, the button of the message that reads label, and
// returns what callchain answered to Slack.
func (s *LocalSlack) Press(t testing.TB, user string, m SlackMessage, label string) SlackAnswer {
	t.Helper()
	labels := []string{}
	for _, b := range m.Buttons() {
		if b.Text == label {
			return s.drive(t, "/interact", map[string]any{
				"channel": m.Channel, "messageTs": m.TS, "user": user,
				"action": map[string]any{
					"type": "button", "action_id": b.ActionID, "block_id": b.BlockID, "value": b.Value,
					"text": map[string]any{"type": "plain_text", "text": b.Text},
				},
			})
		}
		labels = append(labels, b.Text)
	}
	t.Fatalf("the message has no button %q, only %q", label, labels)
	return SlackAnswer{}
}

// Command types a slash command ("/oncall", "checkout") as the user, and returns
// what callchain answered to Slack.
func (s *LocalSlack) Command(t testing.TB, user, channel, command, text string) SlackAnswer {
	t.Helper()
	return s.drive(t, "/command", map[string]any{
		"channel": s.channelID(t, channel), "user": user, "command": command, "text": text,
	})
}

// drive makes the emulator call callchain over its control API and returns the answer.
func (s *LocalSlack) drive(t testing.TB, path string, in any) SlackAnswer {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return s.driven(t, func() {
		var ok struct {
			OK    bool   `json:"ok"`
			Error string `json:"error"`
		}
		callJSON(t, http.MethodPost, s.control+path, bytes.NewReader(body), &ok)
		if !ok.OK {
			t.Fatalf("local-slack refuses %s: %s", path, ok.Error)
		}
	})
}

// ackTimeout is longer than Slack waits for an acknowledgement.
const ackTimeout = 4 * time.Second

// driven does what makes the emulator call callchain and returns the answer.
func (s *LocalSlack) driven(t testing.TB, cause func()) SlackAnswer {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.answers: // left by an earlier call that came late
	default:
	}
	before := s.log(t)
	cause()
	if s.socket {
		answer := SlackAnswer{Body: "not acknowledged"}
		_ = poll(ackTimeout, func() (bool, error) { // without one the answer says so
			for _, e := range since(before, s.log(t)) {
				if e.Direction == "from_bot" && e.Kind == "ack" {
					answer = SlackAnswer{Status: http.StatusOK, Body: string(e.Detail)}
					return true, nil
				}
			}
			return false, nil
		})
		return answer
	}
	select {
	case a := <-s.answers:
		return a
	case <-time.After(startTimeout):
		t.Fatal("local-slack called nobody")
		return SlackAnswer{}
	}
}

// since is what the log has that it did not have before. It forgets what is old.
func since(before, now []logged) []logged {
	if len(before) == 0 {
		return now
	}
	last := before[len(before)-1].ID
	return now[1+slices.IndexFunc(now, func(e logged) bool { return e.ID == last }):]
}

// logged is something that the emulator did.
type logged struct {
	ID        string          `json:"id"`
	Direction string          `json:"direction"`
	Kind      string          `json:"kind"`
	Detail    json.RawMessage `json:"detail"`
}

func (s *LocalSlack) log(t testing.TB) []logged {
	t.Helper()
	var answer struct {
		Log []logged `json:"log"`
	}
	callJSON(t, http.MethodGet, s.control+"/log", nil, &answer)
	return answer.Log
}
