package slack

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"callchain/notifiers"
)

// Slack's limits of a form, in characters and pieces.
const (
	maxTitle   = 24 // also of its buttons
	maxOptions = 100
	maxGroups  = 100
	maxReason  = 500
	maxNote    = 2000
)

// Form is a modal that asks what a press did not say. It has no authority: what
// it carries is the button's token, and whoever sends it off is checked then.
type Form struct {
	Action string // ActionEscalateTo, ActionReassign, ActionSnooze, ActionDisown, ActionDeclare or ActionNote
	Token  string
	About  string // "parsoid: HighErrorRate"; "" if that is not known

	Groups []Choices // whom it can be about, of ActionEscalateTo, ActionReassign and ActionDisown
	Named  bool      // a name can be typed as well: the groups do not hold all

	// AskSure asks whether they take it over, although they are not in the chain.
	AskSure bool
	Filled  Filled // what it begins with
}

// Choices is a part of a list to choose from.
type Choices struct {
	Label   string
	Options []Option
}

// Option is one thing to choose.
type Option struct{ Value, Label string }

// Filled is what somebody filled in.
type Filled struct {
	To     string // the value of an option
	Name   string // typed in place of an option
	For    string // of a snooze: a duration
	Until  time.Time
	Reason string // or the text of a note
	Sure   bool   // they take it over although they are not in the chain

	First string // the field at which an error of the whole form is shown
}

// Fields of a form, for what is wrong with one of them.
const (
	FieldTo     = "to"
	FieldName   = "name"
	FieldFor    = "for"
	FieldUntil  = "until"
	FieldReason = "reason"
	fieldSure   = "sure"
)

// Asks tells whether an action opens a form.
func Asks(action string) bool { return forms[action].title != "" }

// forms says what the forms are called and what they do.
var forms = map[string]struct{ title, submit, about, label string }{
	ActionEscalateTo: {"Escalate to", "Page them", "They are paged at once. Whoever has acknowledged keeps it until they answer.", "Whom"},
	ActionReassign:   {"Reassign", "Reassign", "They are paged at once, in place of whoever is asked now. If they do not answer in time, the chain goes on at the step it had reached.", "To whom"},
	ActionSnooze:     {"Snooze", "Snooze", "Nobody is paged until then. If the alert still fires at that time, the chain goes on.", ""},
	ActionDisown:     {"Not my service", "Move it on", "The next step of the chain is paged at once, and it is recorded as a risk that the catalog names the wrong owner.", "Whose is it?"},
	ActionDeclare:    {"This is unbreak-now", "Page for unbreak now", "Paging begins again at the first step, with the short waits of unbreak now, also if somebody has acknowledged. It stays that urgent until it is resolved.", ""},
	ActionNote:       {"Add a note", "Add the note", "It stands in the timeline, for everybody who looks at the incident.", ""},
}

// snoozes are the durations to choose from.
var snoozes = []Option{{"30m", "30 minutes"}, {"1h", "1 hour"}, {"2h", "2 hours"}, {"4h", "4 hours"}}

// view draws the form.
func (f Form) view() slack.ModalViewRequest {
	about := forms[f.Action]
	var b builder
	b.section(joined("\n", bold(escape(notifiers.Clean(f.About, maxHeader))), escape(about.about)))
	switch f.Action {
	case ActionEscalateTo, ActionReassign, ActionDisown:
		b.choice(f, about.label)
	case ActionSnooze:
		b.duration(f)
	case ActionDeclare, ActionNote:
	}
	b.reason(f)
	if f.AskSure {
		yes := slack.NewOptionBlockObject("yes", plainText("I am not in this chain and take over anyway"), nil)
		b.input(fieldSure, "You are not in this chain: take over anyway?", "", false, slack.NewCheckboxGroupsBlockElement(fieldSure, yes))
	}
	return slack.ModalViewRequest{
		Type: slack.VTModal, Title: plainText(about.title), Blocks: slack.Blocks{BlockSet: b.blocks},
		Submit: plainText(about.submit), Close: plainText("Cancel"), CallbackID: f.Action, PrivateMetadata: f.Token,
	}
}

// choice lists whom it can be about, and has room for a name.
func (b *builder) choice(f Form, label string) {
	e := slack.NewOptionsGroupSelectBlockElement(slack.OptTypeStatic, plainText("Choose"), FieldTo)
	for _, g := range f.Groups {
		var options []*slack.OptionBlockObject
		for _, o := range g.Options {
			if len(options) == maxOptions {
				break
			}
			text := notifiers.Clean(o.Label, maxButton)
			if text == "" || o.Value == "" || len([]rune(o.Value)) > maxOption {
				continue
			}
			option := slack.NewOptionBlockObject(o.Value, plainText(text), nil)
			if options = append(options, option); o.Value == f.Filled.To && e.InitialOption == nil {
				e.InitialOption = option
			}
		}
		if len(options) > 0 && len(e.OptionGroups) < maxGroups {
			e.OptionGroups = append(e.OptionGroups, slack.NewOptionGroupBlockElement(plainText(notifiers.Clean(g.Label, maxButton)), options...))
		}
	}
	listed := len(e.OptionGroups) > 0
	if listed {
		b.input(FieldTo, label, "", f.Named || f.Action == ActionDisown, e)
	}
	if f.Named || !listed {
		hint := "As the catalog has it: a team's name or a person's handle."
		if f.Action == ActionDisown {
			hint = "As the catalog has it: a service's or a team's name."
		}
		name := slack.NewPlainTextInputBlockElement(nil, FieldName)
		name.MaxLength, name.InitialValue = maxReason, notifiers.Clean(f.Filled.Name, maxReason)
		if label = "Or a name"; !listed {
			label = "Name"
		}
		b.input(FieldName, label, hint, listed || f.Action == ActionDisown, name)
	}
}

// duration asks how long.
func (b *builder) duration(f Form) {
	e := slack.NewRadioButtonsBlockElement(FieldFor)
	for _, s := range snoozes {
		option := slack.NewOptionBlockObject(s.Value, plainText(s.Label), nil)
		if e.Options = append(e.Options, option); s.Value == f.Filled.For || f.Filled.For == "" && s.Value == "1h" {
			e.InitialOption = option
		}
	}
	b.input(FieldFor, "For how long", "", false, e)
	until := slack.NewDateTimePickerBlockElement(FieldUntil)
	if !f.Filled.Until.IsZero() {
		until.InitialDateTime = f.Filled.Until.Unix()
	}
	b.input(FieldUntil, "Or until", "By your own clock. If you choose a time, it counts.", true, until)
}

// reason asks why, where it can be kept.
func (b *builder) reason(f Form) {
	if f.Action == ActionEscalateTo || f.Action == ActionSnooze {
		return
	}
	e := slack.NewPlainTextInputBlockElement(nil, FieldReason)
	e.Multiline, e.MaxLength, e.InitialValue = true, maxReason, notifiers.CleanText(f.Filled.Reason, maxReason)
	if f.Action == ActionNote {
		e.MaxLength, e.InitialValue = maxNote, notifiers.CleanText(f.Filled.Reason, maxNote)
		b.input(FieldReason, "Note", "", false, e)
		return
	}
	b.input(FieldReason, "Why", "For the timeline.", true, e)
}

// input asks for one field. Its two ids are the field's name: what was filled in
// stays when the form is drawn anew.
func (b *builder) input(field, label, hint string, optional bool, e slack.BlockElement) {
	var h *slack.TextBlockObject
	if hint != "" {
		h = plainText(hint)
	}
	in := slack.NewInputBlock(field, plainText(label), h, e)
	in.Optional = optional
	b.blocks = append(b.blocks, in)
}

// saying is a modal that only says something.
func saying(action, said string) slack.ModalViewRequest {
	title := forms[action].title
	if title == "" {
		title = "callchain"
	}
	blocks := paragraphs(notifiers.CleanText(said, 2*maxSection), 3)
	if len(blocks) == 0 {
		blocks = paragraphs("There is nothing to say.", 1)
	}
	return slack.ModalViewRequest{
		Type: slack.VTModal, Title: plainText(title), Close: plainText("Close"), CallbackID: action, Blocks: slack.Blocks{BlockSet: blocks},
	}
}

// OpenForm opens an empty modal for a press, at once: its trigger lasts three
// seconds and opens one. FillForm or SayInForm says what is in it.
func (n *Notifier) OpenForm(ctx context.Context, trigger, action string) (view string, err error) {
	api, token, err := n.api()
	if err != nil {
		return "", err
	}
	opened, err := api.OpenViewContext(ctx, trigger, saying(action, "One moment…"))
	if err == nil && opened.ID == "" {
		err = errEmpty
	}
	if err != nil {
		return "", fmt.Errorf("opening a form: %w", classify(err, call{token: token, read: true}).Err)
	}
	return opened.ID, nil
}

// FillForm draws a form into a modal that is open.
func (n *Notifier) FillForm(ctx context.Context, view string, f Form) error {
	return n.updateView(ctx, view, f.view())
}

// SayInForm says in a modal that is open why there is no form.
func (n *Notifier) SayInForm(ctx context.Context, view, action, said string) error {
	return n.updateView(ctx, view, saying(action, said))
}

func (n *Notifier) updateView(ctx context.Context, view string, content slack.ModalViewRequest) error {
	if view == "" {
		return errors.New("filling a form: it is not open")
	}
	api, token, err := n.api()
	if err != nil {
		return err
	}
	if _, err := api.UpdateViewContext(ctx, content, "", "", view); err != nil {
		return fmt.Errorf("filling a form: %w", classify(err, call{token: token, read: true}).Err)
	}
	return nil
}

// Refill is the answer to a form that draws it anew.
func Refill(f Form) any {
	view := f.view()
	return slack.NewUpdateViewSubmissionResponse(&view)
}

// Saying is the answer to a form that says something in its place.
func Saying(action, said string) any {
	view := saying(action, said)
	return slack.NewUpdateViewSubmissionResponse(&view)
}

// Wrong is the answer to a form that says at a field what is wrong. The field
// must be one of the form's.
func Wrong(field, said string) any {
	return slack.NewErrorsViewSubmissionResponse(map[string]string{field: notifiers.Clean(said, maxSection)})
}

// submittedView is a form as Slack brings it back.
type submittedView struct {
	CallbackID      string `json:"callback_id"`
	PrivateMetadata string `json:"private_metadata"`
	State           struct {
		Values map[string]map[string]struct {
			Value    string
			DateTime int64                    `json:"selected_date_time"`
			Option   struct{ Value string }   `json:"selected_option"`
			Options  []struct{ Value string } `json:"selected_options"`
		}
	}
}

func (v *submittedView) filled() (Filled, error) {
	if v.CallbackID == "" || v.PrivateMetadata == "" {
		return Filled{}, ErrPayload
	}
	field := v.State.Values
	if len(field) == 0 {
		return Filled{}, ErrPayload
	}
	f := Filled{
		To:     field[FieldTo][FieldTo].Option.Value,
		Name:   strings.TrimSpace(field[FieldName][FieldName].Value),
		For:    field[FieldFor][FieldFor].Option.Value,
		Reason: strings.TrimSpace(field[FieldReason][FieldReason].Value),
		Sure:   len(field[fieldSure][fieldSure].Options) > 0,
	}
	for _, name := range []string{fieldSure, FieldReason, FieldUntil, FieldFor, FieldName, FieldTo} {
		if _, ok := field[name]; ok {
			f.First = name
		}
	}
	if unix := field[FieldUntil][FieldUntil].DateTime; unix > 0 && unix < 1<<40 {
		f.Until = time.Unix(unix, 0).UTC()
	}
	return f, nil
}
