package inbox

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"
)

func plain(s string) *slack.TextBlockObject {
	return slack.NewTextBlockObject("plain_text", s, false, false)
}

// ask is a form with a field of every kind; change may spoil it.
func ask(change func(*slack.ModalViewRequest)) slack.ModalViewRequest {
	one, two := slack.NewOptionBlockObject("1h", plain("1 hour"), nil), slack.NewOptionBlockObject("2h", plain("2 hours"), nil)
	radio := slack.NewRadioButtonsBlockElement("for", one, two)
	radio.InitialOption = one
	whom := slack.NewOptionsGroupSelectBlockElement(slack.OptTypeStatic, plain("Choose"), "to",
		slack.NewOptionGroupBlockElement(plain("Teams"), slack.NewOptionBlockObject("team:sre", plain("sre"), nil)))
	reason := slack.NewPlainTextInputBlockElement(nil, "reason")
	reason.MaxLength = 100
	blocks := []slack.Block{slack.NewSectionBlock(plain("parsoid"), nil, nil)}
	for _, f := range []struct {
		name     string
		element  slack.BlockElement
		optional bool
	}{
		{"for", radio, false}, {"to", whom, false}, {"until", slack.NewDateTimePickerBlockElement("until"), true},
		{"reason", reason, true}, {"sure", slack.NewCheckboxGroupsBlockElement("sure", slack.NewOptionBlockObject("yes", plain("Yes"), nil)), true},
	} {
		in := slack.NewInputBlock(f.name, plain(f.name), nil, f.element)
		in.Optional = f.optional
		blocks = append(blocks, in)
	}
	v := slack.ModalViewRequest{
		Type: slack.VTModal, Title: plain("Snooze"), Submit: plain("Snooze"), Close: plain("Cancel"),
		CallbackID: "snooze", PrivateMetadata: "v1|3f", Blocks: slack.Blocks{BlockSet: blocks},
	}
	if change != nil {
		change(&v)
	}
	return v
}

// app answers forms with what a test puts there, and hands out what came.
type app struct {
	url    string
	got    chan slack.InteractionCallback
	status int
	answer string
}

func startApp(t *testing.T) *app {
	t.Helper()
	a := &app{got: make(chan slack.InteractionCallback, 10), status: http.StatusOK}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := slack.InteractionCallbackParse(r)
		if err != nil {
			t.Error(err)
		}
		a.got <- p
		w.WriteHeader(a.status)
		io.WriteString(w, a.answer)
	}))
	t.Cleanup(srv.Close)
	a.url = srv.URL
	return a
}

// opened is a workspace in which amira has a form open.
func opened(t *testing.T) (*bench, *app, string) {
	t.Helper()
	a := startApp(t)
	b := start(t, func(c *Config) { c.CallbackURL = a.url })
	ref := b.say(t, "U01AMIRA", text("page"), buttons("ack"))
	if _, err := b.Press(t.Context(), ref, "ack", "U01AMIRA"); err != nil {
		t.Fatal(err)
	}
	view, err := b.api.OpenView((<-a.got).TriggerID, ask(nil))
	if err != nil {
		t.Fatal(err)
	}
	return b, a, view.ID
}

func TestTriggerOpensOneFormAndSoon(t *testing.T) {
	a := startApp(t)
	now := time.Now()
	b := start(t, func(c *Config) { c.CallbackURL = a.url; c.Now = func() time.Time { return now } })
	ref := b.say(t, "U01AMIRA", text("page"), buttons("ack"))
	press := func() string {
		if _, err := b.Press(t.Context(), ref, "ack", "U01AMIRA"); err != nil {
			t.Fatal(err)
		}
		return (<-a.got).TriggerID
	}
	trigger := press()
	if _, err := b.api.OpenView(trigger, ask(func(v *slack.ModalViewRequest) { v.Title = plain(strings.Repeat("x", 25)) })); err == nil || err.Error() != "invalid_arguments" {
		t.Errorf("a title that is too long: %v", err)
	}
	if _, err := b.api.OpenView(trigger, ask(nil)); err != nil {
		t.Errorf("a refused form used the trigger up: %v", err)
	}
	if _, err := b.api.OpenView(trigger, ask(nil)); err == nil || err.Error() != "exchanged_trigger_id" {
		t.Errorf("twice: %v", err)
	}
	if _, err := b.api.OpenView("1.2.3", ask(nil)); err == nil || err.Error() != "invalid_trigger_id" {
		t.Errorf("forged: %v", err)
	}
	trigger = press()
	now = now.Add(triggerFor + time.Second)
	if _, err := b.api.OpenView(trigger, ask(nil)); err == nil || err.Error() != "expired_trigger_id" {
		t.Errorf("late: %v", err)
	}
	if n := len(b.Views()); n != 1 {
		t.Errorf("%d forms are open", n)
	}
}

func TestViewsAreChecked(t *testing.T) {
	b, _, id := opened(t)
	for name, spoil := range map[string]func(*slack.ModalViewRequest){
		"no submit":         func(v *slack.ModalViewRequest) { v.Submit = nil },
		"button too long":   func(v *slack.ModalViewRequest) { v.Submit = plain(strings.Repeat("x", 25)) },
		"metadata too long": func(v *slack.ModalViewRequest) { v.PrivateMetadata = strings.Repeat("x", 3001) },
		"block twice":       func(v *slack.ModalViewRequest) { v.Blocks.BlockSet = append(v.Blocks.BlockSet, v.Blocks.BlockSet[1]) },
		"a button in a field": func(v *slack.ModalViewRequest) {
			v.Blocks.BlockSet[1].(*slack.InputBlock).Element = slack.NewButtonBlockElement("a", "b", plain("c"))
		},
		"a field without label": func(v *slack.ModalViewRequest) { v.Blocks.BlockSet[1].(*slack.InputBlock).Label = nil },
		"an option that is none": func(v *slack.ModalViewRequest) {
			v.Blocks.BlockSet[1].(*slack.InputBlock).Element.(*slack.RadioButtonsBlockElement).InitialOption = slack.NewOptionBlockObject("3h", plain("3 hours"), nil)
		},
		"a group without options": func(v *slack.ModalViewRequest) {
			v.Blocks.BlockSet[2].(*slack.InputBlock).Element.(*slack.SelectBlockElement).OptionGroups[0].Options = nil
		},
		"text longer than its field": func(v *slack.ModalViewRequest) {
			v.Blocks.BlockSet[4].(*slack.InputBlock).Element.(*slack.PlainTextInputBlockElement).InitialValue = strings.Repeat("x", 101)
		},
	} {
		if _, err := b.api.UpdateView(ask(spoil), "", "", id); err == nil || err.Error() != "invalid_arguments" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := b.api.UpdateView(ask(nil), "", "", id); err != nil {
		t.Error(err)
	}
	if _, err := b.api.UpdateView(ask(nil), "", "", "V0"); err == nil || err.Error() != "not_found" {
		t.Errorf("a form that is not open: %v", err)
	}
	// A message has no fields.
	if _, _, err := b.api.PostMessage("U01AMIRA", slack.MsgOptionBlocks(ask(nil).Blocks.BlockSet[1])); err == nil || err.Error() != "invalid_blocks" {
		t.Errorf("a field in a message: %v", err)
	}
}

func TestSubmit(t *testing.T) {
	b, a, id := opened(t)
	if _, err := b.Submit(t.Context(), id, map[string][]string{"for": {"2h"}}); !errors.Is(err, ErrIncomplete) || b.Views()[0].Errors["to"] == "" || len(b.Views()[0].Errors) != 1 {
		t.Errorf("%v, %v", err, b.Views()[0].Errors)
	}
	full := map[string][]string{"for": {"2h"}, "to": {"team:sre"}, "until": {"1795191723"}, "reason": {"why"}, "sure": {"yes"}}

	a.answer = `{"response_action":"errors","errors":{"until":"it is past"}}`
	if status, err := b.Submit(t.Context(), id, full); status != http.StatusOK || err != nil {
		t.Fatal(status, err)
	}
	p := <-a.got
	v := p.View.State.Values
	if p.Type != slack.InteractionTypeViewSubmission || p.User.ID != "U01AMIRA" || p.Team.ID != TeamID || p.View.CallbackID != "snooze" || p.View.PrivateMetadata != "v1|3f" || p.View.ID != id ||
		v["for"]["for"].SelectedOption.Value != "2h" || v["to"]["to"].SelectedOption.Value != "team:sre" || v["until"]["until"].SelectedDateTime != 1795191723 ||
		v["reason"]["reason"].Value != "why" || len(v["sure"]["sure"].SelectedOptions) != 1 {
		t.Errorf("%+v", p)
	}
	if got := b.Views()[0]; got.Errors["until"] != "it is past" || got.Filled["reason"][0] != "why" {
		t.Errorf("%+v", got)
	}

	a.answer = `{"response_action":"errors","errors":{"nothing":"of it"}}`
	if _, err := b.Submit(t.Context(), id, full); err == nil || !strings.Contains(err.Error(), "no field of it") {
		t.Errorf("a field that is none: %v", err)
	}
	a.status, a.answer = http.StatusServiceUnavailable, "not stored"
	if status, err := b.Submit(t.Context(), id, full); status != http.StatusServiceUnavailable || err != nil || b.Views()[0].Errors[""] == "" {
		t.Errorf("%d, %v, %v", status, err, b.Views()[0].Errors)
	}
	view, _ := json.Marshal(slack.NewUpdateViewSubmissionResponse(&slack.ModalViewRequest{Type: slack.VTModal, Title: plain("Snooze"), Blocks: slack.Blocks{BlockSet: []slack.Block{slack.NewSectionBlock(plain("Already resolved."), nil, nil)}}}))
	a.status, a.answer = http.StatusOK, string(view)
	if _, err := b.Submit(t.Context(), id, full); err != nil || !strings.Contains(string(b.Views()[0].Content), "Already resolved.") {
		t.Errorf("%v, %s", err, b.Views()[0].Content)
	}
	if _, err := b.Submit(t.Context(), id, full); !errors.Is(err, ErrNoSubmit) {
		t.Errorf("a form that only says something: %v", err)
	}
	b.Dismiss(id)
	if _, err := b.Submit(t.Context(), id, full); !errors.Is(err, ErrNoView) || len(b.Views()) != 0 {
		t.Errorf("closed: %v", err)
	}
}

func TestSubmitCloses(t *testing.T) {
	b, _, id := opened(t)
	if _, err := b.Submit(t.Context(), id, map[string][]string{"for": {"1h"}, "to": {"team:sre"}}); err != nil || len(b.Views()) != 0 {
		t.Errorf("%v, %d forms are open", err, len(b.Views()))
	}
}

func TestCommand(t *testing.T) {
	answer := `{"response_type":"ephemeral","text":"Who is on call now"}`
	got := make(chan slack.SlashCommand, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := slack.SlashCommandParse(r)
		if err != nil {
			t.Error(err)
		}
		got <- c
		io.WriteString(w, answer)
	}))
	t.Cleanup(srv.Close)
	b := start(t, nil)
	b.SetCommandURL(srv.URL)
	if status, err := b.Command(t.Context(), "U01AMIRA", "/callchain", "oncall sre"); status != http.StatusOK || err != nil {
		t.Fatal(status, err)
	}
	c := <-got
	if c.Command != "/callchain" || c.Text != "oncall sre" || c.UserID != "U01AMIRA" || c.TeamID != TeamID || c.TriggerID == "" || c.ResponseURL == "" {
		t.Errorf("%+v", c)
	}
	m := b.Messages()[0]
	if m.EphemeralTo != "U01AMIRA" || m.User != "U01AMIRA" || m.Text != "Who is on call now" {
		t.Errorf("%+v", m)
	}
	if _, err := b.api.OpenView(c.TriggerID, ask(nil)); err != nil || b.Views()[0].User != "U01AMIRA" {
		t.Errorf("a form of a command: %v", err)
	}
	answer = `{"response_type":"ephemeral","text":"x","blocks":[{"type":"card"}]}`
	if _, err := b.Command(t.Context(), "U01AMIRA", "/callchain", ""); err == nil || !strings.Contains(err.Error(), "invalid_blocks") {
		t.Errorf("an unknown block: %v", err)
	}
	if _, err := b.Command(t.Context(), "U04BOT", "/callchain", ""); !errors.Is(err, ErrNotSeen) {
		t.Errorf("a bot: %v", err)
	}
}
