package testbench

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// SlackForm is a modal that somebody has open.
type SlackForm struct {
	ID       string          `json:"id"`
	Callback string          `json:"callback_id"`
	Raw      json.RawMessage `json:"-"`
}

// Choose picks, as the user, the option that reads label in a menu of the message,
// and returns what callchain answered to Slack.
func (s *LocalSlack) Choose(t testing.TB, user string, m SlackMessage, label string) SlackAnswer {
	t.Helper()
	for _, raw := range m.Blocks {
		var block struct {
			ID       string `json:"block_id"`
			Elements []struct {
				Type    string
				Action  string `json:"action_id"`
				Options []struct {
					Text  json.RawMessage `json:"text"`
					Value string          `json:"value"`
				}
			}
		}
		if json.Unmarshal(raw, &block) != nil {
			continue // elements of another shape: rich text
		}
		for _, e := range block.Elements {
			for _, o := range e.Options {
				if !strings.Contains(string(o.Text), label) {
					continue
				}
				return s.drive(t, "/interact", map[string]any{
					"channel": m.Channel, "messageTs": m.TS, "user": user,
					"action": map[string]any{"type": e.Type, "action_id": e.Action, "block_id": block.ID, "selected_option": o},
				})
			}
		}
	}
	t.Fatalf("no menu of the message has an option %q", label)
	return SlackAnswer{}
}

// AwaitForm waits until the modal on top says the given text.
func (s *LocalSlack) AwaitForm(t testing.TB, text string) SlackForm {
	t.Helper()
	var form SlackForm
	if err := poll(startTimeout, func() (bool, error) {
		form = s.form(t)
		return form.ID != "" && strings.Contains(string(form.Raw), text), nil
	}); err != nil {
		t.Fatalf("no form says %q: %v; the one on top: %s", text, err, form.Raw)
	}
	return form
}

// AwaitNoForm waits until no modal is open.
func (s *LocalSlack) AwaitNoForm(t testing.TB) {
	t.Helper()
	if err := poll(startTimeout, func() (bool, error) { return s.form(t).ID == "", nil }); err != nil {
		t.Fatalf("a form is still open: %s", s.form(t).Raw)
	}
}

// form is the modal on top. Only the emulator's own page is told of modals: over
// a websocket, of all that there is to begin with.
func (s *LocalSlack) form(t testing.TB) SlackForm {
	t.Helper()
	conn := s.page(t)
	defer conn.Close()
	var begin struct {
		State struct {
			Stack []json.RawMessage `json:"modalStack"`
		} `json:"state"`
	}
	if err := conn.ReadJSON(&begin); err != nil {
		t.Fatal("read from local-slack's page:", err)
	}
	var form SlackForm
	if n := len(begin.State.Stack); n > 0 {
		form.Raw = begin.State.Stack[n-1]
		if err := json.Unmarshal(form.Raw, &form); err != nil {
			t.Fatal(err)
		}
	}
	return form
}

// Submit sends the modal on top off as the user, and returns what callchain
// answered. Values are by the block's id: the state of its element, as Slack
// sends it.
func (s *LocalSlack) Submit(t testing.TB, user string, values map[string]map[string]any) SlackAnswer {
	t.Helper()
	state := map[string]any{}
	for block, value := range values {
		state[block] = map[string]any{block: value}
	}
	return s.driven(t, func() {
		conn := s.page(t)
		t.Cleanup(func() { conn.Close() }) // not before it was read
		if err := conn.WriteJSON(map[string]any{"t": "view_submit", "user": user, "values": state}); err != nil {
			t.Fatal("write to local-slack's page:", err)
		}
	})
}

func (s *LocalSlack) page(t testing.TB) *websocket.Conn {
	t.Helper()
	address := "ws" + strings.TrimSuffix(strings.TrimPrefix(s.control, "http"), "/_control") + "/ui"
	conn, resp, err := websocket.DefaultDialer.DialContext(t.Context(), address, http.Header{})
	if err != nil {
		t.Fatal("connect to local-slack's page:", err)
	}
	resp.Body.Close()
	return conn
}
