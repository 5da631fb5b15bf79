package slack

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/slack-go/slack"

	"callchain/internal/testbench/strictslack"
	"callchain/notifiers"
	"callchain/notifiers/notifierstest"
)

// strict holds a rendering against what Slack takes, and against the promise that
// nothing in it is live but what callchain made itself: may are the mentions and
// the beginnings of links that the message is to have.
func strict(r rendered, may func(live string) bool) error {
	if len(r.blocks) > 0 {
		raw, err := json.Marshal(r.blocks)
		if err != nil {
			return err
		}
		problems, tooLong := strictslack.CheckMessage(raw)
		if len(problems) > 0 {
			return fmt.Errorf("slack would refuse it: %v", problems)
		}
		if tooLong {
			return fmt.Errorf("slack would refuse it: the blocks hold too much text together")
		}
		var all any
		if err := json.Unmarshal(raw, &all); err != nil {
			return err
		}
		if err := everyMarkup(all, may); err != nil {
			return err
		}
	}
	return live(string(r.text), may)
}

func live(s string, may func(string) bool) error {
	for _, l := range strictslack.Live(s) {
		if !may(l) {
			return fmt.Errorf("live in Slack: %.100q", l)
		}
	}
	return nil
}

func everyMarkup(v any, may func(string) bool) error {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := everyMarkup(e, may); err != nil {
				return err
			}
		}
	case map[string]any:
		if v["type"] == "mrkdwn" {
			if v["verbatim"] != true {
				return fmt.Errorf("markup in which Slack looks for names: %.80q", v["text"])
			}
			return live(v["text"].(string), may)
		}
		for _, e := range v {
			if err := everyMarkup(e, may); err != nil {
				return err
			}
		}
	}
	return nil
}

// ours is what a message to Jane may have: her mention, dates, and links that
// notifiers.Link let through.
func ours(l string) bool {
	if l == "<@U01JANE>" || strings.HasPrefix(l, "<!date^") {
		return true
	}
	url, _, _ := strings.Cut(strings.Trim(l, "<>"), "|")
	checked, ok := notifiers.Link(notifiers.Untrusted(strings.NewReplacer("&amp;", "&", "&lt;", "<", "&gt;", ">").Replace(url)))
	return ok && string(escape(checked)) == url
}

// TestStrict: Slack takes every message in every state, on every rung of the ladder.
func TestStrict(t *testing.T) {
	for _, c := range notifierstest.Cases() {
		for rung, r := range []rendered{render(c.Message), minimal(c.Message), {text: text(c.Message)}} {
			if err := strict(r, func(l string) bool {
				return ours(l) || strings.HasPrefix(l, "<@U") || strings.HasPrefix(l, "<!subteam^S")
			}); err != nil {
				t.Errorf("%s, rung %d: %v", c.Name, rung, err)
			}
		}
	}
	for name, f := range formCases() {
		if p := strictView(f.view()); len(p) > 0 {
			t.Errorf("%s: %v", name, p)
		}
	}
	for _, s := range notifierstest.HostileTexts {
		for kind := range len(strictKinds) + 1 {
			strictly(t, s, kind)
		}
	}
}

func strictView(v slack.ModalViewRequest) []strictslack.Problem {
	raw, err := json.Marshal(v)
	if err != nil {
		return []strictslack.Problem{{Text: err.Error()}}
	}
	return strictslack.CheckView(raw)
}

// strictKinds are the messages in which hostile text is tried; one more is all forms.
var strictKinds = []notifiers.Kind{
	notifiers.Page, notifiers.Reminder, notifiers.Told, notifiers.Board, notifiers.Thread, notifiers.Notice, notifiers.Report, notifiers.Question, notifiers.Digest,
}

// FuzzStrict: whatever stands in any field, Slack takes the message, and nothing in
// it mentions anybody or leads anywhere but what callchain made itself.
func FuzzStrict(f *testing.F) {
	for i, s := range notifierstest.HostileTexts {
		f.Add(s[:min(len(s), 500)], byte(i))
	}
	f.Fuzz(func(t *testing.T, s string, kind byte) { strictly(t, s, int(kind)%(len(strictKinds)+1)) })
}

func strictly(t *testing.T, s string, kind int) {
	if memberID.MatchString(s) || groupID.MatchString(s) {
		return // an id where an id belongs is a mention, as it should be
	}
	if kind < len(strictKinds) {
		m := notifierstest.Hostile(strictKinds[kind], s)
		m.Incident.Token = "v1|3f-k7q2|1"
		for rung, r := range []rendered{render(m), minimal(m), {text: text(m)}} {
			if err := strict(r, ours); err != nil {
				t.Errorf("%s, rung %d, %.60q: %v", m.Kind, rung, s, err)
			}
		}
		return
	}
	for name, form := range formCases() {
		form.About, form.Filled = s, Filled{To: s, Name: s, For: s, Reason: s}
		form.Groups = append(form.Groups, Choices{s, []Option{{s, s}, {"team:x", s}}}, Choices{"empty", nil})
		if p := strictView(form.view()); len(p) > 0 {
			t.Errorf("%s, %.60q: %v", name, s, p)
		}
	}
	if p := strictView(saying(ActionSnooze, s)); len(p) > 0 {
		t.Errorf("saying %.60q: %v", s, p)
	}
}
