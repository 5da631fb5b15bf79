package server

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/notifiers/slack"
)

// chosen is a press of an option of the menu.
func chosen(user, action, token, trigger string) string {
	payload, _ := json.Marshal(map[string]any{
		"type": "block_actions", "user": map[string]any{"id": user, "team_id": "T1"}, "team": map[string]any{"id": "T1"}, "trigger_id": trigger,
		"response_url": "https://hooks.slack.com/x", "container": map[string]any{"channel_id": "D1", "message_ts": "1.2"},
		"actions": []any{map[string]any{"action_id": "more", "block_id": "delivery.d1", "selected_option": map[string]any{"value": action + "|" + token}}},
	})
	return url.Values{"payload": {string(payload)}}.Encode()
}

// sent is a form that was sent off. What is filled in comes in pairs; a value of
// "yes" is a tick, one of the durations or with a colon an option.
func sent(user, action, token string, filled ...string) string {
	values := map[string]any{"reason": map[string]any{"reason": map[string]any{"type": "plain_text_input", "value": nil}}}
	for i := 0; i < len(filled); i += 2 {
		field, value := filled[i], filled[i+1]
		state := map[string]any{"value": value}
		switch field {
		case "to", "for":
			state = map[string]any{"selected_option": map[string]any{"value": value}}
		case "sure":
			state = map[string]any{"selected_options": []any{map[string]any{"value": value}}}
		case "until":
			at, _ := time.Parse(time.RFC3339, value)
			state = map[string]any{"selected_date_time": at.Unix()}
		}
		values[field] = map[string]any{field: state}
	}
	payload, _ := json.Marshal(map[string]any{
		"type": "view_submission", "user": map[string]any{"id": user, "team_id": "T1"}, "team": map[string]any{"id": "T1"},
		"view": map[string]any{"callback_id": action, "private_metadata": token, "state": map[string]any{"values": values}},
	})
	return url.Values{"payload": {string(payload)}}.Encode()
}

var formToken = escalation.ButtonToken("0c-k7f3k", escalation.Place{Run: 1, Round: 1, Step: 2})

func TestFormIsOpened(t *testing.T) {
	for _, tc := range []struct {
		name, user, action, token, trigger string
		code                               int
		change                             func(*bench)
		opened                             bool
		form                               string // its groups and their first options
		inForm, said                       string
	}{
		{"reassign", "U01ANA", "reassign", formToken, "1.2", 200, nil, true, "In this chain: person:ana; Teams: team:sre; People: person:ana", "", ""},
		{"escalate to", "U01ANA", "escalate_to", formToken, "1.2", 200, nil, true, "Roles: development; In this chain: person:ana; Teams: team:sre; People: person:ana", "", ""},
		{"not my service", "U01ANA", "disown", formToken, "1.2", 200, nil, true, "Teams: team:sre", "", ""},
		{"snooze", "U01ANA", "snooze", formToken, "1.2", 200, nil, true, "", "", ""},
		{"too late", "U01ANA", "snooze", formToken, "late", 200, nil, false, "", "", "Slack did not open the form in time."},
		{"a guest", "U04GUEST", "snooze", formToken, "1.2", 200, nil, true, "", "Guests", ""},
		{"gone", "U01ANA", "reassign", "v1|00-none|1|1|1", "1.2", 200, nil, true, "", "Look in Alertmanager", ""},
		{"resolved", "U01ANA", "reassign", formToken, "1.2", 200, func(b *bench) {
			b.engine.incident.State, b.engine.incident.ClosedAt = escalation.Resolved, escalation.At(time.Date(2026, 11, 20, 14, 25, 0, 0, time.UTC))
		}, true, "", "Already resolved at 14:25 UTC", ""},
		{"store away", "U01ANA", "reassign", formToken, "1.2", 200, func(b *bench) { b.engine.unread = errStore }, true, "Teams: team:sre; People: person:ana", "", ""},
		{"no token of ours", "U01ANA", "reassign", "x", "1.2", 400, nil, false, "", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.slack.users = map[string]slack.User{"U04GUEST": {Guest: true}}
			if tc.change != nil {
				tc.change(b)
			}
			if w := b.signed("/slack/interactions", chosen(tc.user, tc.action, tc.token, tc.trigger)); w.Code != tc.code || w.Body.Len() > 0 && tc.code == 200 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if opened := len(b.slack.opened) == 1 && b.slack.opened[0] == tc.action; opened != tc.opened {
				t.Errorf("opened %q", b.slack.opened)
			}
			var form []string
			for _, f := range b.slack.forms {
				if f.Token != tc.token || !strings.HasPrefix(f.About+":", "parsoid:") && tc.name != "store away" {
					t.Errorf("form %+v", f)
				}
				for _, g := range f.Groups {
					form = append(form, g.Label+": "+g.Options[0].Value)
				}
			}
			if got := strings.Join(form, "; "); got != tc.form {
				t.Errorf("form %q, want %q", got, tc.form)
			}
			if got := strings.Join(b.slack.inForm, ""); (got == "") != (tc.inForm == "") || !strings.Contains(got, tc.inForm) {
				t.Errorf("said in the form %q, want %q", got, tc.inForm)
			}
			if got := strings.Join(b.slack.said, ""); (got == "") != (tc.said == "") || !strings.Contains(got, tc.said) {
				t.Errorf("said %q, want %q", got, tc.said)
			}
			if len(b.engine.events) > 0 {
				t.Errorf("opening a form did %v", b.engine.events)
			}
		})
	}
}

func TestFormIsSent(t *testing.T) {
	ana := escalation.Actor{Handle: "ana", Name: "ana", Via: "slack"}
	zoe := escalation.Actor{Handle: "slack:U03ZOE", Name: "", Via: "slack"}
	now := time.Date(2026, 11, 20, 14, 25, 0, 0, time.UTC)
	at := escalation.At(now)
	place := &escalation.Place{Run: 1, Round: 1, Step: 2}
	for _, tc := range []struct {
		name, user, action string
		filled             []string
		answer             escalation.Answer
		err                error
		events             []escalation.Event
		want               string // of what is answered: the action, then the field or what is said
	}{
		{"reassign", "U01ANA", "reassign", []string{"to", "team:sre"}, escalation.Answer{Kind: escalation.Done}, nil,
			[]escalation.Event{escalation.Reassign{By: ana, To: "team:sre"}}, ""},
		{"reassign with a reason", "U01ANA", "reassign", []string{"to", "person:ana", "reason", "she knows it"}, escalation.Answer{Kind: escalation.Done}, nil,
			[]escalation.Event{escalation.Reassign{By: ana, To: "person:ana"}, escalation.Remark{By: ana, Text: "she knows it"}}, ""},
		{"reassign by name", "U01ANA", "reassign", []string{"name", "@ana", "to", "team:sre"}, escalation.Answer{Kind: escalation.Done}, nil,
			[]escalation.Event{escalation.Reassign{By: ana, To: "person:ana"}}, ""},
		{"reassign to nobody known", "U01ANA", "reassign", []string{"name", "anna"}, escalation.Answer{}, nil, nil, `errors name The catalog has no role, team or person "anna"; did you mean ana?`},
		{"reassign to nobody", "U01ANA", "reassign", []string{"name", " "}, escalation.Answer{}, nil, nil, "errors name Choose whom"},
		{"reassign without the chain", "U03ZOE", "reassign", []string{"to", "team:sre"}, escalation.Answer{Kind: escalation.NotInChain}, nil,
			[]escalation.Event{escalation.Reassign{By: zoe, Stranger: true, To: "team:sre"}}, "update You are not in this chain"},
		{"reassign all the same", "U03ZOE", "reassign", []string{"to", "team:sre", "sure", "yes"}, escalation.Answer{Kind: escalation.Done}, nil,
			[]escalation.Event{escalation.Reassign{By: zoe, Stranger: true, TakeOver: true, To: "team:sre"}}, ""},
		{"reassign to whom nothing reaches", "U01ANA", "reassign", []string{"to", "team:sre"}, escalation.Answer{Kind: escalation.NoTarget, Why: "nobody is on call"}, nil,
			[]escalation.Event{escalation.Reassign{By: ana, To: "team:sre"}}, "errors to nobody is on call"},
		{"reassign what is resolved", "U01ANA", "reassign", []string{"to", "team:sre"}, escalation.Answer{Kind: escalation.Closed, At: at}, nil,
			[]escalation.Event{escalation.Reassign{By: ana, To: "team:sre"}}, "update Already resolved at 14:25 UTC"},
		{"sent off twice", "U01ANA", "reassign", []string{"to", "team:sre"}, escalation.Answer{Kind: escalation.Unchanged}, nil,
			[]escalation.Event{escalation.Reassign{By: ana, To: "team:sre"}}, ""},
		{"escalate to", "U01ANA", "escalate_to", []string{"to", "development"}, escalation.Answer{Kind: escalation.Done}, nil,
			[]escalation.Event{escalation.EscalateTo{By: ana, To: "development"}}, ""},
		{"snooze", "U01ANA", "snooze", []string{"for", "30m"}, escalation.Answer{Kind: escalation.Done}, nil,
			[]escalation.Event{escalation.Snooze{By: ana, Until: escalation.At(now.Add(30 * time.Minute))}}, ""},
		{"snooze until", "U01ANA", "snooze", []string{"for", "1h", "until", "2026-11-20T16:00:00Z"}, escalation.Answer{Kind: escalation.Done}, nil,
			[]escalation.Event{escalation.Snooze{By: ana, Until: escalation.At(time.Date(2026, 11, 20, 16, 0, 0, 0, time.UTC))}}, ""},
		{"snooze until yesterday", "U01ANA", "snooze", []string{"for", "1h", "until", "2026-11-19T16:00:00Z"}, escalation.Answer{Kind: escalation.BadTime, Why: "it is past"}, nil,
			[]escalation.Event{escalation.Snooze{By: ana, Until: escalation.At(time.Date(2026, 11, 19, 16, 0, 0, 0, time.UTC))}}, "errors until it is past"},
		{"snooze for what nobody offers", "U01ANA", "snooze", []string{"for", "-1h"}, escalation.Answer{}, nil, nil, "errors for Choose for how long"},
		{"not my service", "U01ANA", "disown", []string{"reason", "moved"}, escalation.Answer{Kind: escalation.Done}, nil,
			[]escalation.Event{escalation.Disown{By: ana, Reason: "moved", From: place}}, ""},
		{"not my service but sre's", "U01ANA", "disown", []string{"to", "team:sre"}, escalation.Answer{Kind: escalation.Done}, nil,
			[]escalation.Event{escalation.Disown{By: ana, Right: "team:sre", From: place}}, ""},
		{"not my service but one that is misspelt", "U01ANA", "disown", []string{"name", "parsoit"}, escalation.Answer{}, nil, nil, "errors name The catalog has no service and no team"},
		{"unbreak now", "U01ANA", "declare", []string{"reason", "the site is down"}, escalation.Answer{Kind: escalation.Done}, nil,
			[]escalation.Event{escalation.Declare{By: ana, Urgency: "unbreak_now"}, escalation.Remark{By: ana, Text: "the site is down"}}, ""},
		{"unbreak now already", "U01ANA", "declare", nil, escalation.Answer{Kind: escalation.Unchanged}, nil,
			[]escalation.Event{escalation.Declare{By: ana, Urgency: "unbreak_now"}}, "update It is unbreak now already"},
		{"note", "U01ANA", "note", []string{"reason", "looking"}, escalation.Answer{Kind: escalation.Done}, nil, []escalation.Event{escalation.Remark{By: ana, Text: "looking"}}, ""},
		{"an empty note", "U01ANA", "note", []string{"reason", " "}, escalation.Answer{}, nil, nil, "errors reason Write"},
		{"store away", "U01ANA", "snooze", []string{"for", "1h"}, escalation.Answer{}, errStore,
			[]escalation.Event{escalation.Snooze{By: ana, Until: escalation.At(now.Add(time.Hour))}}, "errors for Not stored"},
		{"not kept on the island", "U01ANA", "snooze", []string{"for", "1h"}, escalation.Answer{}, engine.ErrNotKept,
			[]escalation.Event{escalation.Snooze{By: ana, Until: escalation.At(now.Add(time.Hour))}}, "errors for Not stored: the store is away"},
		{"a guest", "U04GUEST", "snooze", []string{"for", "1h"}, escalation.Answer{}, nil, nil, "update Guests"},
		{"recorded on the island", "U01ANA", "snooze", []string{"for", "1h"}, escalation.Answer{Kind: escalation.Recorded}, nil,
			[]escalation.Event{escalation.Snooze{By: ana, Until: escalation.At(now.Add(time.Hour))}}, "update Recorded"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.engine.now = now
			b.slack.users = map[string]slack.User{"U03ZOE": {ID: "U03ZOE"}, "U04GUEST": {Guest: true}}
			b.engine.answer = func(ev escalation.Event) (escalation.Answer, error) {
				if _, remark := ev.(escalation.Remark); remark {
					return escalation.Answer{Kind: escalation.Done}, nil
				}
				return tc.answer, tc.err
			}
			w := b.signed("/slack/interactions", sent(tc.user, tc.action, formToken, tc.filled...))
			if w.Code != 200 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if diff := cmp.Diff(tc.events, b.engine.events); diff != "" {
				t.Error(diff)
			}
			var got struct {
				Action string `json:"response_action"`
				Errors map[string]string
				View   *struct {
					Metadata string `json:"private_metadata"`
				}
			}
			if w.Body.Len() > 0 {
				if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
					t.Fatal(err)
				}
			}
			action, rest, _ := strings.Cut(tc.want, " ")
			if got.Action != action {
				t.Fatalf("answered %s, want %s", w.Body, tc.want)
			}
			switch action {
			case "errors":
				field, said, _ := strings.Cut(rest, " ")
				if len(got.Errors) != 1 || !strings.Contains(got.Errors[field], said) {
					t.Errorf("%q, want %q", got.Errors, tc.want)
				}
			case "update":
				if !strings.Contains(w.Body.String(), rest) || got.View.Metadata != "" && got.View.Metadata != formToken {
					t.Errorf("answered %s, want %s", w.Body, tc.want)
				}
			}
		})
	}
}

// TestReasonIsNotLostQuietly: what was asked for is done, the reason is not
// there: the presser is told that, and not that nothing was stored.
func TestReasonIsNotLostQuietly(t *testing.T) {
	b := newBench(t)
	b.engine.answer = func(ev escalation.Event) (escalation.Answer, error) {
		if _, remark := ev.(escalation.Remark); remark {
			return escalation.Answer{}, errStore
		}
		return escalation.Answer{Kind: escalation.Done}, nil
	}
	w := b.signed("/slack/interactions", sent("U01ANA", "reassign", formToken, "to", "team:sre", "reason", "why"))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "the reason could not be stored") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestForeignWorkspace: once the app's workspace is known, a press of another one
// does nothing; until then it is not held against anybody, and looked up.
func TestForeignWorkspace(t *testing.T) {
	b := newBench(t)
	b.signed("/slack/interactions", press("U01ANA", "T1", "ack", formToken))
	if b.slack.probed != 1 || len(b.engine.events) != 1 {
		t.Errorf("probed %d times, done %v", b.slack.probed, b.engine.events)
	}
	b.slack.home = slack.Home{TeamID: "T9"}
	b.signed("/slack/interactions", press("U01ANA", "T1", "ack", formToken))
	if b.slack.probed != 1 || len(b.engine.events) != 1 || !strings.Contains(strings.Join(b.slack.said, ""), "does not belong to") {
		t.Errorf("probed %d times, done %v, said %q", b.slack.probed, b.engine.events, b.slack.said)
	}
}

// TestAdoption: a press tells where a message is whose sending got no answer.
func TestAdoption(t *testing.T) {
	for _, tc := range []struct {
		name  string
		d     escalation.Delivery
		adopt bool
	}{
		{"the answer was lost", escalation.Delivery{ID: "d1", Status: escalation.Pending, Maybe: 1}, true},
		{"it is known", escalation.Delivery{ID: "d1", Status: escalation.Sent, Reached: 5, Ref: escalation.Ref{Channel: "D1", TS: "1.2"}}, false},
		{"it is another", escalation.Delivery{ID: "d2", Status: escalation.Pending}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.engine.incident.Deliveries = []escalation.Delivery{tc.d}
			payload, _ := json.Marshal(map[string]any{
				"type": "block_actions", "user": map[string]any{"id": "U01ANA"}, "container": map[string]any{"channel_id": "D1", "message_ts": "1.2"},
				"actions": []any{map[string]any{"action_id": "ack", "block_id": "delivery.d1", "value": formToken}},
			})
			b.signed("/slack/interactions", url.Values{"payload": {string(payload)}}.Encode())
			n := len(b.engine.events)
			if _, ok := b.engine.events[n-1].(escalation.Acknowledge); !ok {
				t.Errorf("the press came to %v", b.engine.events)
			}
			got := b.engine.events[:n-1]
			var want []escalation.Event
			if tc.adopt {
				want = []escalation.Event{escalation.Result{Delivery: "d1", Attempt: -1, Verdict: escalation.VerdictSent, Ref: escalation.Ref{Channel: "D1", TS: "1.2"}}}
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
