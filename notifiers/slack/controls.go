package slack

import (
	"strings"

	"github.com/slack-go/slack"

	"callchain/config"
	"callchain/notifiers"
)

// What can be pressed: the action ids of buttons, and of the options of the
// menu that each message may have.
const (
	ActionAck      = "ack"
	ActionEscalate = "escalate"
	ActionTakeOver = "takeover" // under an answer: acknowledge, although not in the chain
	ActionStillOn  = "still_on"
	ActionUnack    = "unack"
	ActionResume   = "resume" // unack of what is snoozed
	ActionResolve  = "resolve"

	// These open a form.
	ActionEscalateTo = "escalate_to"
	ActionReassign   = "reassign"
	ActionSnooze     = "snooze"
	ActionDisown     = "disown"
	ActionDeclare    = "declare"
	ActionNote       = "note"
)

// more is the action id of the menu. The value of its options is an action and
// the token.
const more = "more"

// labels are what the controls read. What ends in an ellipsis opens a form.
var labels = map[string]string{
	ActionAck: "Acknowledge", ActionEscalate: "Escalate now", ActionTakeOver: "Take over anyway", ActionStillOn: "Still on it", ActionUnack: "Un-acknowledge",
	ActionResume: "Resume now", ActionResolve: "Resolve", ActionEscalateTo: "Escalate to…", ActionReassign: "Reassign…", ActionSnooze: "Snooze…",
	ActionDisown: "Not my service…", ActionDeclare: "This is unbreak-now…", ActionNote: "Add a note…",
}

// controls says which presses make sense on a message: buttons in their order,
// the first of them the one that matters, and what is in the menu.
func controls(m notifiers.Message) (buttons, menu []string) {
	in := m.Incident
	if m.ReadOnly || in.Token == "" || len([]rune(in.Token)) > maxValue || m.Kind == notifiers.Told {
		return nil, nil
	}
	others := []string{ActionEscalateTo, ActionReassign, ActionSnooze, ActionDisown}
	switch in.State {
	case notifiers.Triggered:
		switch {
		case in.Test:
			return []string{ActionAck}, nil
		case in.Drill:
			return []string{ActionAck, ActionEscalate}, nil
		case !in.Urgency.Pages(): // no chain runs; but somebody may have been asked by hand
			menu = []string{ActionEscalateTo, ActionDisown}
			if len(in.Paged) > 0 {
				buttons = []string{ActionAck}
			}
		case in.Exhausted: // nobody is left to escalate to
			buttons, menu = []string{ActionAck}, others
		default:
			buttons, menu = []string{ActionAck, ActionEscalate}, others
		}
	case notifiers.Snoozed:
		if m.You != nil && m.You.Beside {
			return []string{ActionAck}, nil
		}
		buttons, menu = []string{ActionAck, ActionResume}, []string{ActionEscalateTo, ActionReassign, ActionSnooze}
	case notifiers.Acknowledged:
		switch {
		case m.Kind == notifiers.Question:
			return []string{ActionStillOn, ActionUnack}, nil
		case m.You != nil && m.You.Beside:
			return []string{ActionAck}, nil
		case m.You != nil && !notifiers.Yours(m):
			return nil, nil
		}
		buttons, menu = []string{ActionUnack, ActionResolve, ActionNote}, others
	default:
		return nil, nil
	}
	if in.Urgency != config.UnbreakNow {
		menu = append(menu[:len(menu):len(menu)], ActionDeclare)
	}
	if len([]rune(in.Token))+16 > maxOption {
		menu = nil
	}
	return buttons, menu
}

// actions puts what can be pressed into one block. The block is named after the
// delivery: a press tells which message it was, also when the answer to its
// sending was lost.
func (b *builder) actions(m notifiers.Message) {
	buttons, menu := controls(m)
	in := m.Incident
	what := notifiers.Clean(in.ID, 40) + ", " + notifiers.Title(in)
	var set []slack.BlockElement
	for _, action := range buttons {
		e := button(action, in.Token, what)
		if action == ActionAck || action == ActionStillOn {
			e.WithStyle(slack.StylePrimary)
		}
		if c := confirmation(action, m); c != nil {
			e.WithConfirm(c)
		}
		set = append(set, e)
	}
	if len(menu) > 0 {
		e := slack.NewOverflowBlockElement(more)
		for _, action := range menu {
			e.Options = append(e.Options, slack.NewOptionBlockObject(action+"|"+in.Token, plainText(labels[action]), nil))
		}
		set = append(set, e)
	}
	if len(set) > 0 {
		b.blocks = append(b.blocks, slack.NewActionBlock(blockID(m.ID), set...))
	}
}

// blockPrefix marks the ids of blocks that name a delivery.
const blockPrefix = "delivery."

func blockID(delivery string) string {
	if delivery == "" || len(delivery) > 200 {
		return ""
	}
	return blockPrefix + delivery
}

func button(action, token, what string) *slack.ButtonBlockElement {
	label := labels[action]
	e := slack.NewButtonBlockElement(action, token, plainText(label))
	e.AccessibilityLabel = notifiers.Shorten(strings.TrimSpace(label+" "+what), maxButton)
	return e
}

// confirmation is asked before what wakes people or ends the paging.
func confirmation(action string, m notifiers.Message) *slack.ConfirmationBlockObject {
	in := m.Incident
	var title, text, yes string
	switch action {
	case ActionEscalate:
		title, text, yes = "Escalate now?", "The next step of the chain is paged at once.", "Escalate now"
		if n := in.Next; n != nil && !n.Last && len(n.Names) > 0 {
			text = "This pages the next step at once: " + notifiers.Clean(strings.Join(n.Names, ", "), 200) + "."
		}
	case ActionUnack:
		title, text, yes = "Take the acknowledgement back?", "The chain goes on where it was: people may be paged at once.", "Un-acknowledge"
	case ActionResume:
		title, text, yes = "Page again now?", "The snooze ends and the chain goes on: people may be paged at once.", "Resume now"
	case ActionResolve:
		title, text, yes = "Resolve it?", "Nobody is paged for it any more.", "Resolve"
		if in.Firing > 0 {
			text = "Its alerts still fire; nobody is paged for them any more."
		}
	default:
		return nil
	}
	return slack.NewConfirmationBlockObject(plainText(title), plainText(notifiers.Shorten(text, maxConfirm)), plainText(yes), plainText("Cancel"))
}
