package slack

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/slack-go/slack"
)

// limits are Slack's, as its documentation has them: of texts the most
// characters, of lists the most entries.
var limits = map[string]int{
	"message text": 4000, // of chat.update; chat.postMessage cuts above 40,000
	"blocks":       50,
	"view blocks":  100,
	"block_id":     255,
	"header":       150,
	"section":      3000,
	"context":      3000, "context elements": 10,
	"actions elements": 25, "action_id": 255,
	"button text": 75, "button value": 2000, "accessibility_label": 75,
	"overflow options": 5, "select options": 100, "select groups": 100, "radio options": 10, "checkbox options": 10,
	"option text": 75, "option value": 75, "group label": 75, "placeholder": 150,
	"confirm title": 100, "confirm text": 300, "confirm button": 30,
	"input label": 2000, "input hint": 2000, "initial_value": 3000,
	"view title": 24, "view submit": 24, "view close": 24, "private_metadata": 3000, "callback_id": 255,
}

// checked collects the first thing that breaks a limit or one of our promises.
type checked struct{ err error }

func (c *checked) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// size holds a text or a list against the table.
func (c *checked) size(what string, n int) {
	most, ok := limits[what]
	if !ok {
		c.fail("the table has no limit of %q", what)
	}
	if n < 1 || n > most {
		c.fail("%s: %d, want 1 to %d", what, n, most)
	}
}

func (c *checked) string(what, s string) {
	c.size(what, utf8.RuneCountInString(s))
	if !utf8.ValidString(s) {
		c.fail("%s: invalid UTF-8", what)
	}
}

// text holds a text object against its limit: plain, or inert markup.
func (c *checked) text(what string, o *textObject, plain bool) {
	if o == nil {
		c.fail("%s: it is missing", what)
		return
	}
	c.string(what, o.Text)
	switch {
	case o.Type == "plain_text":
	case o.Type != "mrkdwn" || plain:
		c.fail("%s: a text of type %q", what, o.Type)
	case !o.Verbatim:
		c.fail("%s: mrkdwn that is not verbatim: %.80q", what, o.Text)
	default:
		if err := inert(o.Text); err != nil {
			c.fail("%s: %w", what, err)
		}
	}
}

func (c *checked) options(what string, list []option) {
	c.size(what, len(list))
	for _, o := range list {
		c.text("option text", &o.Text, true)
		c.string("option value", o.Value)
	}
}

func (c *checked) element(e element) {
	c.string("action_id", e.ActionID)
	switch e.Type {
	case "button":
		c.text("button text", &e.Text, true)
		c.string("button value", e.Value)
		c.string("accessibility_label", e.Spoken)
	case "overflow":
		c.options("overflow options", e.Options)
	case "static_select":
		c.size("select groups", len(e.Groups))
		for _, g := range e.Groups {
			c.text("group label", &g.Label, true)
			c.options("select options", g.Options)
		}
	case "radio_buttons":
		c.options("radio options", e.Options)
	case "checkboxes":
		c.options("checkbox options", e.Options)
	case "plain_text_input":
		if e.Max < 1 || e.Max > limits["initial_value"] || utf8.RuneCountInString(e.Begins) > e.Max {
			c.fail("a text field that begins with %d characters and takes %d", utf8.RuneCountInString(e.Begins), e.Max)
		}
	case "datetimepicker":
	default:
		c.fail("unknown element %q", e.Type)
	}
	if d := e.Confirm; d != nil {
		c.text("confirm title", &d.Title, true)
		c.text("confirm text", &d.Text, true)
		c.text("confirm button", &d.Confirm, true)
		c.text("confirm button", &d.Deny, true)
	}
}

func (c *checked) blocks(what string, list []slack.Block) {
	raw, err := json.Marshal(list)
	if err != nil {
		c.fail("%w", err)
	}
	var all []block
	if err := json.Unmarshal(raw, &all); err != nil {
		c.fail("%w", err)
	}
	if len(all) > limits[what] {
		c.fail("%d blocks", len(all))
	}
	sets, ids := 0, map[string]bool{}
	for _, b := range all {
		if b.ID != "" {
			c.string("block_id", b.ID)
			if ids[b.ID] {
				c.fail("two blocks are called %q", b.ID)
			}
			ids[b.ID] = true
		}
		switch b.Type {
		case "header":
			c.text("header", b.Text, true)
		case "section":
			c.text("section", b.Text, false)
			if b.Accessory != nil {
				c.element(*b.Accessory)
			}
		case "context":
			c.size("context elements", len(b.Elements))
			for _, e := range b.Elements {
				c.text("context", &textObject{e.Type, e.Text.Text, e.Verbatim}, false)
			}
		case "actions":
			sets++
			c.size("actions elements", len(b.Elements))
			for _, e := range b.Elements {
				c.element(e.element)
			}
		case "input":
			c.text("input label", b.Label, true)
			if b.Hint != nil {
				c.text("input hint", b.Hint, true)
			}
			if b.Element == nil {
				c.fail("an input without an element")
			} else {
				c.element(*b.Element)
			}
		default:
			c.fail("unknown block %q", b.Type)
		}
	}
	if sets > 1 {
		c.fail("%d sets of buttons", sets)
	}
}

// validate holds a message against Slack's limits and our promises.
func validate(r rendered) error {
	var c checked
	c.string("message text", string(r.text))
	if err := inert(string(r.text)); err != nil {
		c.fail("text: %w", err)
	}
	c.blocks("blocks", r.blocks)
	return c.err
}

// validateView does so for a modal.
func validateView(v slack.ModalViewRequest) error {
	var c checked
	c.string("view title", v.Title.Text)
	c.string("view close", v.Close.Text)
	if v.Submit != nil {
		c.string("view submit", v.Submit.Text)
		c.string("private_metadata", v.PrivateMetadata)
	} else if v.PrivateMetadata != "" {
		c.fail("a view that cannot be sent off carries %q", v.PrivateMetadata)
	}
	c.string("callback_id", v.CallbackID)
	c.blocks("view blocks", v.Blocks.BlockSet)
	return c.err
}
