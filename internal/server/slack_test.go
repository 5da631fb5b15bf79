package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"testing"

	"callchain/escalation"
	"callchain/notifiers/slack"
)

// over are the two ways from Slack: what came of a payload, and what Slack shows at once.
var over = map[string]func(b *bench, kind slack.Kind, payload string) (taken bool, shown string){
	"HTTP": func(b *bench, kind slack.Kind, payload string) (bool, string) {
		path, body := "/slack/events", payload
		switch kind {
		case slack.KindInteraction:
			path, body = "/slack/interactions", url.Values{"payload": {payload}}.Encode()
		case slack.KindCommand:
			var fields map[string]string
			if err := json.Unmarshal([]byte(payload), &fields); err != nil {
				b.t.Fatal(err)
			}
			form := url.Values{}
			for k, v := range fields {
				form.Set(k, v)
			}
			path, body = "/slack/commands", form.Encode()
		}
		w := b.signed(path, body)
		if w.Code != 200 {
			return false, ""
		}
		return true, w.Body.String()
	},
	"socket": func(b *bench, kind slack.Kind, payload string) (bool, string) {
		answer, err := b.FromSlack(b.t.Context(), kind, []byte(payload))
		b.Wait()
		if err != nil || answer == nil {
			return err == nil, ""
		}
		shown, err := json.Marshal(answer)
		if err != nil {
			b.t.Fatal(err)
		}
		return true, string(shown)
	},
}

// One thing brought in either way is done in the same way, and is acknowledged
// only when it is stored.
func TestFromSlack(t *testing.T) {
	form, err := url.ParseQuery(press("U01ANA", "T1", "ack", escalation.ButtonToken("0c-k7f3k", escalation.Place{Run: 1, Round: 1, Step: 1})))
	if err != nil {
		t.Fatal(err)
	}
	pressed := form.Get("payload")
	for way, bring := range over {
		t.Run(way, func(t *testing.T) {
			for _, tc := range []struct {
				name    string
				kind    slack.Kind
				payload string
				store   func(escalation.Event) (escalation.Answer, error)
				taken   bool
				shown   bool
				asked   int
			}{
				{"press", slack.KindInteraction, pressed, func(escalation.Event) (escalation.Answer, error) {
					return escalation.Answer{Kind: escalation.Done}, nil
				}, true, false, 1},
				{"press that is not stored", slack.KindInteraction, pressed, func(escalation.Event) (escalation.Answer, error) { return escalation.Answer{}, errStore }, false, false, 1},
				{"press over which callchain stumbles", slack.KindInteraction, pressed, func(escalation.Event) (escalation.Answer, error) { panic("a mistake") }, false, false, 1},
				{"no press", slack.KindInteraction, `{}`, nil, false, false, 0},
				{"no JSON", slack.KindInteraction, `{`, nil, false, false, 0},
				{"command", slack.KindCommand, `{"command":"/callchain","text":"help","user_id":"U01ANA"}`, nil, true, true, 0},
				{"no command", slack.KindCommand, `{}`, nil, false, false, 0},
				{"event", slack.KindEvent, `{"type":"event_callback"}`, nil, true, false, 0},
			} {
				t.Run(tc.name, func(t *testing.T) {
					b := newBench(t)
					b.engine.answer = tc.store
					taken, shown := bring(b, tc.kind, tc.payload)
					if taken != tc.taken || (shown != "") != tc.shown || b.engine.asked != tc.asked {
						t.Errorf("taken %v, shown %q, the store was asked %d times; want %v, shown %v, %d", taken, shown, b.engine.asked, tc.taken, tc.shown, tc.asked)
					}
				})
			}
			t.Run("without an app", func(t *testing.T) {
				b := newBench(t, func(d *Deps) { d.Slack = nil })
				if taken, _ := bring(b, slack.KindInteraction, pressed); taken || b.engine.asked != 0 {
					t.Error("taken")
				}
			})
		})
	}
	b := newBench(t)
	if _, err := b.FromSlack(t.Context(), "something new", []byte(pressed)); !errors.Is(err, slack.ErrPayload) {
		t.Errorf("an unknown kind: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.FromSlack(gone, slack.KindInteraction, []byte(pressed)); err != nil || b.engine.asked != 1 {
		t.Errorf("Slack hung up while the press was stored: %v", err)
	}
}
