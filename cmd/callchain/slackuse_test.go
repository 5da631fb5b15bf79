package main_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"callchain/internal/testbench"
)

func option(value string) map[string]any {
	return map[string]any{"type": "static_select", "selected_option": map[string]any{"value": value}}
}

// Forms, the menu and the command, over a Slack that nobody here wrote: what is
// asked for is stored before the form closes, and shown by the messages.
func TestSlackFormsAndCommand(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]string{"signed requests": signedRequests, "sockets": socketMode} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slackFormsAndCommand(t, mode)
		})
	}
}

func slackFormsAndCommand(t *testing.T, mode string) {
	in := installFor(t, stores["embedded"](t), `[{notify: incident_response, ack_within: 1h}, {notify: development, ack_within: 1h}, {notify: fallback, ack_within: 1h}]`, mode)
	if mode == socketMode {
		in.awaitSocket(t)
	}
	ok := func(a testbench.SlackAnswer) testbench.SlackAnswer {
		t.Helper()
		if a.Status != http.StatusOK {
			t.Fatalf("answered %+v", a)
		}
		var over struct { // a socket: what is said is in the acknowledgement
			Envelope string `json:"envelope_id"`
			Payload  json.RawMessage
		}
		if json.Unmarshal([]byte(a.Body), &over) == nil && over.Envelope != "" {
			a.Body = string(over.Payload)
		}
		return a
	}
	in.am.PostAlerts(t, errors5xx("parsoid", false))
	page := in.slack.AwaitMessage(t, "U01ANA", "FIRING - parsoid")

	// A name that the catalog lacks stands at its field; nothing is done.
	ok(in.slack.Choose(t, "U01ANA", page, "Not my service…"))
	in.slack.AwaitForm(t, "Whose is it?")
	wrong := ok(in.slack.Submit(t, "U01ANA", map[string]map[string]any{"name": {"type": "plain_text_input", "value": "parsoit"}}))
	var answer struct {
		Action string `json:"response_action"`
		Errors map[string]string
	}
	if err := json.Unmarshal([]byte(wrong.Body), &answer); err != nil || answer.Action != "errors" || !strings.Contains(answer.Errors["name"], "did you mean parsoid?") {
		t.Errorf("answered %+v, %v", wrong, err)
	}
	if inc := in.incidents(t)[0]; inc.State != "triggered" || strings.Contains(timeline(inc), "owner is wrong") {
		t.Errorf("something was done: %+v", inc)
	}

	// The chain's people are offered first; whom it is reassigned to is paged.
	ok(in.slack.Choose(t, "U01ANA", page, "Reassign…"))
	form := in.slack.AwaitForm(t, "In this chain")
	if form.Callback != "reassign" || !strings.Contains(string(form.Raw), `"private_metadata":"v1|`) {
		t.Errorf("the form carries %s", form.Raw)
	}
	if a := ok(in.slack.Submit(t, "U01ANA", map[string]map[string]any{"to": option("person:ben"), "reason": {"type": "plain_text_input", "value": "he knows the cache"}})); a.Body != "" {
		t.Errorf("the form was answered %s", a.Body)
	}
	in.slack.AwaitNoForm(t)
	bens := in.slack.AwaitMessage(t, "U01BEN", "FIRING - parsoid")
	in.await(t, "the reason", func(i incident) bool { return strings.Contains(timeline(i), "he knows the cache") })

	// Whom it was given to acknowledges, and can hand it on.
	ok(in.slack.Press(t, "U01BEN", bens, "Acknowledge"))
	bens = in.slack.AwaitMessage(t, "U01BEN", "ACKNOWLEDGED by ben")
	ok(in.slack.Choose(t, "U01BEN", bens, "Snooze…"))
	in.slack.AwaitForm(t, "For how long")
	ok(in.slack.Submit(t, "U01BEN", map[string]map[string]any{"for": {"type": "radio_buttons", "selected_option": map[string]any{"value": "30m"}}}))
	in.await(t, "the snooze", func(i incident) bool { return i.State == "snoozed" })
	bens = in.slack.AwaitMessage(t, "U01BEN", "SNOOZED - parsoid")
	ok(in.slack.Press(t, "U01BEN", bens, "Resume now"))
	in.await(t, "that it goes on", func(i incident) bool { return i.State == "triggered" })

	// Commands are answered at once and to whoever typed them.
	for text, want := range map[string]string{"oncall ops": "the whole team, always: ana", "mine": `"action_id":"ack"`, "frobnicate": "knows no"} {
		if a := ok(in.slack.Command(t, "U01ANA", "#ops", "/callchain", text)); !strings.Contains(a.Body, want) || !strings.Contains(a.Body, `"response_type":"ephemeral"`) {
			t.Errorf("%s: answered %s", text, a.Body)
		}
	}
	if a := ok(in.slack.Command(t, "U01ANA", "#ops", "/callchain", "page maps tiles are missing")); !strings.Contains(a.Body, "Paged for maps") {
		t.Errorf("answered %s", a.Body)
	}
	in.slack.AwaitMessage(t, "U01ANA", "tiles are missing")
}

func timeline(i incident) string {
	var lines []string
	for _, l := range i.Timeline {
		lines = append(lines, l.Text)
	}
	return strings.Join(lines, "\n")
}
