package inbox

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"unicode/utf8"
)

// Limits of a message, as Slack documents them.
const (
	maxBlocks         = 50
	maxBlockText      = 3000
	maxFields         = 10
	maxField          = 2000
	maxHeader         = 150
	maxContext        = 10
	maxActions        = 25
	maxButtonText     = 75
	maxButtonValue    = 2000
	maxURL            = 3000
	maxID             = 255
	maxOverflow       = 5
	maxSelect         = 100
	maxOptionValue    = 150
	maxPlaceholder    = 150
	maxConfirmTitle   = 100
	maxConfirmText    = 300
	maxConfirmButtons = 30
	maxAltText        = 2000

	maxViewBlocks = 100
	maxViewTitle  = 24 // also of a modal's buttons
	maxViewBytes  = 250_000
	maxPrivate    = 3000
	maxLabel      = 2000
	maxChecks     = 10   // of checkboxes and radio buttons
	maxInput      = 3000 // characters of a text field
)

// checker collects what is wrong with blocks, each with its place, and gives
// ids to what has none.
type checker struct {
	errs []string
	ids  map[string]bool // block ids seen
	n    int

	modal bool // it is a modal's: fields are allowed
}

func (c *checker) errorf(at, format string, args ...any) {
	c.errs = append(c.errs, fmt.Sprintf("[ERROR] "+format, args...)+" [json-pointer:"+at+"]")
}

// checkBlocks holds a message's blocks against Slack's rules and returns them
// with their ids filled in.
func checkBlocks(raw []byte) (json.RawMessage, *refusal) {
	var list []any
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, refuse("invalid_blocks_format")
	}
	if len(list) == 0 {
		return nil, nil
	}
	c := &checker{ids: map[string]bool{}}
	if len(list) > maxBlocks {
		c.errorf("/blocks", "no more than %d items allowed", maxBlocks)
	}
	for i, item := range list[:min(len(list), maxBlocks)] {
		at := fmt.Sprintf("/blocks/%d", i)
		if block, ok := item.(map[string]any); ok {
			c.block(at, block)
		} else {
			c.errorf(at, "must be an object")
		}
	}
	if len(c.errs) > 0 {
		return nil, &refusal{code: "invalid_blocks", messages: c.errs}
	}
	out, err := json.Marshal(list)
	if err != nil {
		return nil, refuse("invalid_blocks_format")
	}
	return out, nil
}

func (c *checker) block(at string, b map[string]any) {
	kind, _ := b["type"].(string)
	allowed, known := map[string][]string{
		"section":   {"text", "fields", "accessory", "expand"},
		"header":    {"text", "level"},
		"context":   {"elements"},
		"actions":   {"elements"},
		"divider":   {},
		"rich_text": {"elements"},
		"image":     {"image_url", "alt_text", "title", "slack_file"},
		"input":     {"label", "element", "hint", "optional", "dispatch_action"},
	}[kind]
	if !known || kind == "input" && !c.modal {
		c.errorf(at+"/type", "unsupported type: %q", kind)
		return
	}
	c.only(at, b, append(allowed, "type", "block_id"))
	if id := c.id(at, b, "block_id"); c.ids[id] {
		c.errorf(at+"/block_id", "block_id already exists: %q", id)
	} else {
		c.ids[id] = true
	}
	switch kind {
	case "section":
		_, hasText := b["text"]
		fields, hasFields := b["fields"].([]any)
		if !hasText && !hasFields {
			c.errorf(at, "missing required field: text or fields")
		}
		if hasText {
			c.text(at+"/text", b["text"], maxBlockText, true)
		}
		c.number(at+"/fields", len(fields), maxFields)
		for i, f := range fields {
			c.text(fmt.Sprintf("%s/fields/%d", at, i), f, maxField, true)
		}
		if a, ok := b["accessory"]; ok {
			c.element(at+"/accessory", a)
		}
	case "header":
		c.text(at+"/text", b["text"], maxHeader, false)
	case "context":
		for i, e := range c.elements(at, b, maxContext) {
			place := fmt.Sprintf("%s/elements/%d", at, i)
			if o, ok := e.(map[string]any); ok && o["type"] == "image" {
				c.image(place, o)
				continue
			}
			c.text(place, e, maxBlockText, true)
		}
	case "actions":
		seen := map[string]bool{}
		for i, e := range c.elements(at, b, maxActions) {
			place := fmt.Sprintf("%s/elements/%d", at, i)
			if id := c.element(place, e); seen[id] {
				c.errorf(place+"/action_id", "action_id already exists in this block: %q", id)
			} else {
				seen[id] = true
			}
		}
	case "rich_text":
		c.elements(at, b, 1<<20)
	case "image":
		c.image(at, b)
	case "input":
		c.text(at+"/label", b["label"], maxLabel, false)
		if hint, ok := b["hint"]; ok {
			c.text(at+"/hint", hint, maxLabel, false)
		}
		if e, _ := b["element"].(map[string]any); e["type"] == "button" || e["type"] == "overflow" {
			c.errorf(at+"/element/type", "unsupported type: %q", e["type"])
			return
		}
		c.element(at+"/element", b["element"])
	}
}

func (c *checker) image(at string, b map[string]any) {
	c.url(at+"/image_url", b["image_url"], true)
	c.str(at+"/alt_text", b["alt_text"], maxAltText, true)
}

func (c *checker) elements(at string, b map[string]any, limit int) []any {
	list, _ := b["elements"].([]any)
	if len(list) == 0 {
		c.errorf(at+"/elements", "no fewer than 1 items required")
	}
	c.number(at+"/elements", len(list), limit)
	return list[:min(len(list), limit)]
}

// element checks an interactive element and returns its action id.
func (c *checker) element(at string, item any) string {
	e, ok := item.(map[string]any)
	if !ok {
		c.errorf(at, "must be an object")
		return at
	}
	kind, _ := e["type"].(string)
	if kind == "image" {
		c.image(at, e)
		return at
	}
	id := c.id(at, e, "action_id")
	if confirm, ok := e["confirm"]; ok {
		c.confirm(at+"/confirm", confirm)
	}
	switch kind {
	case "button":
		c.only(at, e, []string{"type", "action_id", "text", "value", "url", "style", "confirm", "accessibility_label"})
		c.text(at+"/text", e["text"], maxButtonText, false)
		c.str(at+"/value", e["value"], maxButtonValue, false)
		c.url(at+"/url", e["url"], false)
		c.str(at+"/accessibility_label", e["accessibility_label"], maxButtonText, false)
		if style, ok := e["style"]; ok && style != "primary" && style != "danger" {
			c.errorf(at+"/style", "must be a valid enum value")
		}
	case "overflow":
		c.options(at, e, maxOverflow)
	case "static_select", "multi_static_select":
		if p, ok := e["placeholder"]; ok {
			c.text(at+"/placeholder", p, maxPlaceholder, false)
		}
		groups, grouped := e["option_groups"].([]any)
		if !grouped {
			c.options(at, e, maxSelect)
		} else if len(groups) == 0 {
			c.errorf(at+"/option_groups", "no fewer than 1 items required")
		}
		c.number(at+"/option_groups", len(groups), maxSelect)
		for i, item := range groups[:min(len(groups), maxSelect)] {
			place := fmt.Sprintf("%s/option_groups/%d", at, i)
			g, ok := item.(map[string]any)
			if !ok {
				c.errorf(place, "must be an object")
				continue
			}
			c.text(place+"/label", g["label"], maxButtonText, false)
			c.options(place, g, maxSelect)
		}
		c.initial(at, e)
	case "checkboxes", "radio_buttons":
		c.options(at, e, maxChecks)
		c.initial(at, e)
	case "plain_text_input":
		if !c.modal {
			c.errorf(at+"/type", "unsupported type: %q", kind)
		}
		most := float64(maxInput)
		if n, ok := e["max_length"]; ok {
			if most, ok = n.(float64); !ok || most < 1 || most > maxInput {
				c.errorf(at+"/max_length", "must be from 1 to %d", maxInput)
			}
		}
		c.str(at+"/initial_value", e["initial_value"], int(most), false)
	case "users_select", "datepicker", "datetimepicker", "timepicker":
	default:
		c.errorf(at+"/type", "unsupported type: %q", kind)
	}
	return id
}

// initial holds what a field begins with against what it can be: it must be one
// of the options, to the letter.
func (c *checker) initial(at string, e map[string]any) {
	first, ok := e["initial_option"]
	if !ok {
		return
	}
	options, _ := e["options"].([]any)
	groups, _ := e["option_groups"].([]any)
	for _, g := range groups {
		if o, ok := g.(map[string]any); ok {
			more, _ := o["options"].([]any)
			options = append(options, more...)
		}
	}
	if !slices.ContainsFunc(options, func(o any) bool { return reflect.DeepEqual(o, first) }) {
		c.errorf(at+"/initial_option", "must be one of the options")
	}
}

func (c *checker) options(at string, e map[string]any, limit int) {
	list, _ := e["options"].([]any)
	if len(list) == 0 {
		c.errorf(at+"/options", "no fewer than 1 items required")
	}
	c.number(at+"/options", len(list), limit)
	for i, item := range list {
		place := fmt.Sprintf("%s/options/%d", at, i)
		o, ok := item.(map[string]any)
		if !ok {
			c.errorf(place, "must be an object")
			continue
		}
		c.text(place+"/text", o["text"], maxButtonText, true)
		c.str(place+"/value", o["value"], maxOptionValue, e["type"] != "overflow" || o["url"] == nil)
		c.url(place+"/url", o["url"], false)
	}
}

func (c *checker) confirm(at string, item any) {
	o, ok := item.(map[string]any)
	if !ok {
		c.errorf(at, "must be an object")
		return
	}
	c.text(at+"/title", o["title"], maxConfirmTitle, false)
	c.text(at+"/text", o["text"], maxConfirmText, true)
	c.text(at+"/confirm", o["confirm"], maxConfirmButtons, false)
	c.text(at+"/deny", o["deny"], maxConfirmButtons, false)
}

// text checks a text object.
func (c *checker) text(at string, item any, limit int, markup bool) {
	o, ok := item.(map[string]any)
	if !ok {
		c.errorf(at, "missing required field")
		return
	}
	// Each of the two kinds has a property that the other may not have.
	own := "emoji"
	switch {
	case o["type"] == "plain_text":
	case o["type"] == "mrkdwn" && markup:
		own = "verbatim"
	default:
		c.errorf(at+"/type", "must be a valid enum value")
		return
	}
	c.only(at, o, []string{"type", "text", own})
	c.str(at+"/text", o["text"], limit, true)
}

// str checks a string; a missing one is an error if it is required.
func (c *checker) str(at string, item any, limit int, required bool) {
	if item == nil && !required {
		return
	}
	text, ok := item.(string)
	switch n := utf8.RuneCountInString(text); {
	case item == nil:
		c.errorf(at, "missing required field")
	case !ok:
		c.errorf(at, "must be a string")
	case n == 0 && required:
		c.errorf(at, "must be more than 0 characters")
	case n > limit:
		c.errorf(at, "must be less than %d characters", limit+1)
	}
}

func (c *checker) url(at string, item any, required bool) {
	c.str(at, item, maxURL, required)
	text, _ := item.(string)
	if text == "" {
		return
	}
	if u, err := url.Parse(text); err != nil || u.Scheme == "" || u.Host == "" && u.Scheme != "mailto" {
		c.errorf(at, "must be a valid URL")
	}
}

// id returns the id of a block or an element, and makes one where there is none.
func (c *checker) id(at string, o map[string]any, field string) string {
	c.str(at+"/"+field, o[field], maxID, false)
	id, _ := o[field].(string)
	if id == "" {
		c.n++
		id = fmt.Sprintf("id%d", c.n)
		o[field] = id
	}
	return id
}

func (c *checker) number(at string, n, limit int) {
	if n > limit {
		c.errorf(at, "no more than %d items allowed", limit)
	}
}

func (c *checker) only(at string, o map[string]any, allowed []string) {
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains(allowed, name) {
			c.errorf(at, "invalid additional property: %s", name)
		}
	}
}
