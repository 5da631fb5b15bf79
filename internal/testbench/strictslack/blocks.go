package strictslack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Slack's limits on what a message or a modal may hold. Lengths are in characters
// (code points).
const (
	MaxMessageBlocks   = 50
	MaxViewBlocks      = 100
	MaxTextObject      = 3000
	MaxFields          = 10
	MaxField           = 2000
	MaxHeader          = 150
	MaxContextElements = 10
	MaxActionElements  = 25
	MaxButtonText      = 75
	MaxButtonValue     = 2000
	MaxURL             = 3000
	MaxActionID        = 255
	MaxAccessibility   = 75
	MaxOverflow        = 5
	MaxSelectOptions   = 100
	MaxRadioOptions    = 10
	MaxOptionText      = 75
	MaxOptionValue     = 150
	MaxPlaceholder     = 150
	MaxBlockID         = 255
	MaxPostText        = 40_000 // longer ones are cut
	MaxUpdateText      = 4000
	MaxAttachments     = 100
	MaxViewTitle       = 24
	MaxViewButton      = 24 // submit and close
	MaxPrivateMetadata = 3000
	MaxCallbackID      = 255
	MaxViewStack       = 3
	MaxTableRows       = 100
	MaxTableCells      = 20
	MaxConfirmTitle    = 100
	MaxConfirmText     = 300
	MaxConfirmButton   = 30
	MaxInputLabel      = 2000
	MaxInputText       = 3000

	// MaxBlocksText is how much text all blocks of a message may hold together. It is
	// not documented; people meet it between 12,000 and 13,200 characters, sooner with
	// many blocks.
	MaxBlocksText = 12_000
	blockOverhead = 40

	// MaxMetadata is ours: Slack has a limit and does not say which.
	MaxMetadata = 1024
)

// Problem is one thing that Slack would refuse: its words and where.
type Problem struct {
	Text    string
	Pointer string // JSON pointer
}

func (p Problem) String() string {
	return fmt.Sprintf("[ERROR] %s [json-pointer:%s]", p.Text, p.Pointer)
}

// checker collects what is wrong with blocks.
type checker struct {
	view     bool
	problems []Problem
	blockIDs map[string]bool
	chars    int
}

func (c *checker) bad(at, format string, args ...any) {
	c.problems = append(c.problems, Problem{fmt.Sprintf(format, args...), at})
}

type object = map[string]any

// CheckMessage checks the blocks of a message, a JSON array. TooLong tells that
// they hold too much text together (msg_blocks_too_long).
func CheckMessage(blocks []byte) (problems []Problem, tooLong bool) {
	c := &checker{blockIDs: map[string]bool{}}
	c.blocks(blocks, MaxMessageBlocks)
	return c.problems, c.chars > MaxBlocksText
}

// CheckView checks a modal or a home tab.
func CheckView(view []byte) []Problem {
	c := &checker{view: true, blockIDs: map[string]bool{}}
	v, ok := decode(view).(object)
	if !ok {
		c.bad("", "must be an object")
		return c.problems
	}
	c.only("", v, "type", "title", "submit", "close", "blocks", "private_metadata", "callback_id", "clear_on_close", "notify_on_close", "external_id", "submit_disabled")
	typ := c.str("", v, "type")
	switch typ {
	case "modal":
		c.text("/title", v["title"], "plain_text", MaxViewTitle, true)
		c.text("/submit", v["submit"], "plain_text", MaxViewButton, false)
		c.text("/close", v["close"], "plain_text", MaxViewButton, false)
	case "home":
	default:
		c.bad("/type", "unsupported type: %s", typ)
	}
	c.length("/private_metadata", v["private_metadata"], 0, MaxPrivateMetadata)
	c.length("/callback_id", v["callback_id"], 0, MaxCallbackID)
	raw, _ := json.Marshal(v["blocks"])
	c.blocks(raw, MaxViewBlocks)
	if typ == "modal" && v["submit"] == nil && bytes.Contains(raw, []byte(`"type":"input"`)) {
		c.bad("/submit", "a submit button is required when there is an input block")
	}
	return c.problems
}

func decode(raw []byte) any {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	return v
}

func (c *checker) blocks(raw []byte, most int) {
	list, ok := decode(raw).([]any)
	if !ok {
		c.bad("/blocks", "must be an array")
		return
	}
	if len(list) > most {
		c.bad("/blocks", "no more than %d items allowed", most)
	}
	for i, b := range list {
		at := fmt.Sprintf("/blocks/%d", i)
		o, ok := b.(object)
		if !ok {
			c.bad(at, "must be an object")
			continue
		}
		c.chars += blockOverhead
		c.block(at, o)
	}
}

func (c *checker) block(at string, b object) {
	c.length(at+"/block_id", b["block_id"], 0, MaxBlockID)
	if id, _ := b["block_id"].(string); id != "" {
		if c.blockIDs[id] {
			c.bad(at+"/block_id", "block_id %q already exists", id)
		}
		c.blockIDs[id] = true
	}
	actions := map[string]bool{}
	switch typ := c.str(at, b, "type"); typ {
	case "section":
		c.only(at, b, "type", "block_id", "text", "fields", "accessory", "expand")
		fields, _ := b["fields"].([]any)
		if b["text"] == nil && len(fields) == 0 {
			c.bad(at, "missing required field: text")
		}
		c.text(at+"/text", b["text"], "", MaxTextObject, false)
		if len(fields) > MaxFields {
			c.bad(at+"/fields", "no more than %d items allowed", MaxFields)
		}
		for i, f := range fields {
			c.text(fmt.Sprintf("%s/fields/%d", at, i), f, "", MaxField, true)
		}
		if b["accessory"] != nil {
			c.element(at+"/accessory", b["accessory"], actions, accessories)
		}
	case "header":
		c.only(at, b, "type", "block_id", "text", "level")
		c.text(at+"/text", b["text"], "plain_text", MaxHeader, true)
	case "divider":
		c.only(at, b, "type", "block_id")
	case "context":
		c.only(at, b, "type", "block_id", "elements")
		for i, e := range c.list(at, b, "elements", MaxContextElements) {
			where := fmt.Sprintf("%s/elements/%d", at, i)
			if o, ok := e.(object); ok && o["type"] == "image" {
				c.element(where, e, actions, []string{"image"})
			} else {
				c.text(where, e, "", MaxTextObject, true)
			}
		}
	case "actions":
		c.only(at, b, "type", "block_id", "elements")
		for i, e := range c.list(at, b, "elements", MaxActionElements) {
			c.element(fmt.Sprintf("%s/elements/%d", at, i), e, actions, interactive)
		}
	case "image":
		c.only(at, b, "type", "block_id", "image_url", "slack_file", "alt_text", "title")
		c.url(at+"/image_url", b["image_url"])
		c.required(at, b, "alt_text", 2000)
	case "input":
		if !c.view {
			c.bad(at+"/type", "unsupported type: input")
		}
		c.only(at, b, "type", "block_id", "label", "element", "hint", "optional", "dispatch_action")
		c.text(at+"/label", b["label"], "plain_text", MaxInputLabel, true)
		c.text(at+"/hint", b["hint"], "plain_text", MaxInputLabel, false)
		if b["element"] == nil {
			c.bad(at, "missing required field: element")
		} else {
			c.element(at+"/element", b["element"], actions, inputs)
		}
	case "rich_text":
		c.only(at, b, "type", "block_id", "elements")
		c.richText(at, b)
	case "table":
		c.only(at, b, "type", "block_id", "rows", "column_settings")
		for i, row := range c.list(at, b, "rows", MaxTableRows) {
			if cells, ok := row.([]any); !ok || len(cells) > MaxTableCells {
				c.bad(fmt.Sprintf("%s/rows/%d", at, i), "no more than %d items allowed", MaxTableCells)
			}
		}
	default: // alert, card, carousel too: chat.postMessage does not take them
		c.bad(at+"/type", "unsupported type: %s", typ)
	}
}

var (
	selects     = []string{"static_select", "users_select", "conversations_select", "channels_select", "external_select"}
	pickers     = []string{"datepicker", "timepicker", "datetimepicker", "radio_buttons", "checkboxes"}
	multi       = []string{"multi_static_select", "multi_users_select", "multi_conversations_select", "multi_channels_select"}
	interactive = append(append([]string{"button", "overflow", "workflow_button"}, selects...), pickers...)
	accessories = append(append([]string{"image"}, interactive...), multi...)
	inputs      = append(append(append([]string{"plain_text_input", "number_input", "email_text_input", "url_text_input"}, selects...), pickers...), multi...)
)

func (c *checker) element(at string, v any, actions map[string]bool, allowed []string) {
	e, ok := v.(object)
	if !ok {
		c.bad(at, "must be an object")
		return
	}
	typ := c.str(at, e, "type")
	found := false
	for _, a := range allowed {
		found = found || a == typ
	}
	if !found {
		c.bad(at+"/type", "unsupported type: %s", typ)
		return
	}
	c.length(at+"/action_id", e["action_id"], 0, MaxActionID)
	if id, _ := e["action_id"].(string); id != "" {
		if actions[id] {
			c.bad(at+"/action_id", "action_id %q already exists for this block", id)
		}
		actions[id] = true
	}
	if e["confirm"] != nil {
		c.confirm(at+"/confirm", e["confirm"])
	}
	const common = "type action_id confirm focus_on_load "
	var fields string
	switch typ {
	case "button":
		fields = "text value url style accessibility_label visible_to_user_ids"
		c.text(at+"/text", e["text"], "plain_text", MaxButtonText, true)
		c.length(at+"/value", e["value"], 0, MaxButtonValue)
		c.length(at+"/accessibility_label", e["accessibility_label"], 0, MaxAccessibility)
		if e["url"] != nil {
			c.url(at+"/url", e["url"])
		}
		if s, has := e["style"]; has && s != "primary" && s != "danger" {
			c.bad(at+"/style", "must be one of: primary, danger")
		}
	case "overflow":
		fields = "options"
		c.options(at, e, MaxOverflow, "plain_text")
	case "static_select", "multi_static_select":
		fields = "placeholder options option_groups initial_option initial_options max_selected_items"
		c.text(at+"/placeholder", e["placeholder"], "plain_text", MaxPlaceholder, false)
		if groups, ok := e["option_groups"].([]any); ok {
			if len(groups) == 0 || len(groups) > MaxSelectOptions {
				c.bad(at+"/option_groups", "must have between 1 and %d items", MaxSelectOptions)
			}
			for i, g := range groups {
				where := fmt.Sprintf("%s/option_groups/%d", at, i)
				o, _ := g.(object)
				c.text(where+"/label", o["label"], "plain_text", MaxOptionText, true)
				c.options(where, o, MaxSelectOptions, "plain_text")
			}
		} else {
			c.options(at, e, MaxSelectOptions, "plain_text")
		}
		c.initial(at, e)
	case "radio_buttons", "checkboxes":
		fields = "options initial_option initial_options"
		c.options(at, e, MaxRadioOptions, "")
		c.initial(at, e)
	case "image":
		fields = "image_url alt_text slack_file"
		c.url(at+"/image_url", e["image_url"])
		c.required(at, e, "alt_text", 2000)
	case "plain_text_input":
		fields = "placeholder initial_value multiline min_length max_length dispatch_action_config"
		c.text(at+"/placeholder", e["placeholder"], "plain_text", MaxPlaceholder, false)
		c.length(at+"/initial_value", e["initial_value"], 0, MaxInputText)
		if n, ok := e["max_length"].(float64); ok && (n < 1 || n > MaxInputText) {
			c.bad(at+"/max_length", "must be between 1 and %d", MaxInputText)
		}
	default:
		return // what callchain does not use is not looked into
	}
	c.only(at, e, strings.Fields(common+fields)...)
}

// initial: what is chosen at first must be one of the options.
func (c *checker) initial(at string, e object) {
	chosen, has := e["initial_option"]
	if !has {
		return
	}
	all, _ := e["options"].([]any)
	groups, _ := e["option_groups"].([]any)
	for _, g := range groups {
		o, _ := g.(object)
		more, _ := o["options"].([]any)
		all = append(all, more...)
	}
	want, _ := json.Marshal(chosen)
	for _, o := range all {
		if got, _ := json.Marshal(o); bytes.Equal(got, want) {
			return
		}
	}
	c.bad(at+"/initial_option", "must be one of the options")
}

func (c *checker) options(at string, e object, most int, kind string) {
	values := map[any]bool{}
	for i, v := range c.list(at, e, "options", most) {
		where := fmt.Sprintf("%s/options/%d", at, i)
		o, ok := v.(object)
		if !ok {
			c.bad(where, "must be an object")
			continue
		}
		c.only(where, o, "text", "value", "description", "url")
		c.text(where+"/text", o["text"], kind, MaxOptionText, true)
		c.text(where+"/description", o["description"], "", MaxOptionText, false)
		c.required(where, o, "value", MaxOptionValue)
		if values[o["value"]] {
			c.bad(where+"/value", "value already exists in these options")
		}
		values[o["value"]] = true
		if o["url"] != nil {
			c.url(where+"/url", o["url"])
		}
	}
}

func (c *checker) confirm(at string, v any) {
	o, ok := v.(object)
	if !ok {
		c.bad(at, "must be an object")
		return
	}
	c.only(at, o, "title", "text", "confirm", "deny", "style")
	c.text(at+"/title", o["title"], "plain_text", MaxConfirmTitle, true)
	c.text(at+"/text", o["text"], "", MaxConfirmText, true)
	c.text(at+"/confirm", o["confirm"], "plain_text", MaxConfirmButton, true)
	c.text(at+"/deny", o["deny"], "plain_text", MaxConfirmButton, true)
}

// richText looks at the text and the links of a rich text block, whatever its shape.
func (c *checker) richText(at string, b object) {
	c.list(at, b, "elements", 1000)
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case []any:
			for i, e := range v {
				walk(fmt.Sprintf("%s/%d", at, i), e)
			}
		case object:
			if s, ok := v["text"].(string); ok {
				c.chars += utf8.RuneCountInString(s)
				if s == "" {
					c.bad(at+"/text", "must be more than 0 characters")
				}
			}
			if v["type"] == "link" {
				c.url(at+"/url", v["url"])
			}
			walk(at+"/elements", v["elements"])
		}
	}
	walk(at+"/elements", b["elements"])
}

// text checks a text object. Kind "" is any.
func (c *checker) text(at string, v any, kind string, most int, must bool) {
	if v == nil {
		if must {
			c.bad(at, "missing required field")
		}
		return
	}
	o, ok := v.(object)
	if !ok {
		c.bad(at, "must be an object")
		return
	}
	typ := c.str(at, o, "type")
	switch {
	case typ != "plain_text" && typ != "mrkdwn", kind != "" && typ != kind:
		c.bad(at+"/type", "unsupported type: %s", typ)
	case typ == "plain_text":
		c.only(at, o, "type", "text", "emoji")
	default:
		c.only(at, o, "type", "text", "verbatim")
	}
	c.required(at, o, "text", most)
	if s, ok := o["text"].(string); ok {
		c.chars += utf8.RuneCountInString(s)
		if typ == "mrkdwn" {
			c.markup(at+"/text", s)
		}
	}
}

// A thing between angle brackets that Slack understands: a mention, a link, a date.
var angled = regexp.MustCompile(`<[^<>]*>`)

// Live lists the mentions, links and dates in Slack's markup, as written.
func Live(mrkdwn string) []string { return angled.FindAllString(mrkdwn, -1) }

// markup: Slack shows a stray "<" or ">" as it is, but whoever escapes never writes one.
func (c *checker) markup(at, s string) {
	if rest := angled.ReplaceAllString(s, ""); strings.ContainsAny(rest, "<>") {
		c.bad(at, "an angle bracket that belongs to no markup: %.60q", rest)
	}
}

func (c *checker) str(at string, o object, key string) string {
	s, ok := o[key].(string)
	if !ok {
		c.bad(at, "missing required field: %s", key)
	}
	return s
}

func (c *checker) required(at string, o object, key string, most int) {
	if _, ok := o[key].(string); !ok {
		c.bad(at, "missing required field: %s", key)
		return
	}
	c.length(at+"/"+key, o[key], 1, most)
}

func (c *checker) length(at string, v any, least, most int) {
	if v == nil {
		return
	}
	s, ok := v.(string)
	if !ok {
		c.bad(at, "must be a string")
		return
	}
	n := utf8.RuneCountInString(s)
	if n < least {
		c.bad(at, "must be more than %d characters", least-1)
	}
	if n > most {
		c.bad(at, "must be less than %d characters", most+1)
	}
}

func (c *checker) list(at string, o object, key string, most int) []any {
	list, ok := o[key].([]any)
	switch {
	case !ok:
		c.bad(at, "missing required field: %s", key)
	case len(list) == 0:
		c.bad(at+"/"+key, "no fewer than 1 items allowed")
	case len(list) > most:
		c.bad(at+"/"+key, "no more than %d items allowed", most)
	}
	return list
}

func (c *checker) only(at string, o object, keys ...string) {
	for k := range o {
		known := false
		for _, key := range keys {
			known = known || k == key
		}
		if !known {
			c.bad(at, "invalid additional property: %s", k)
		}
	}
}

func (c *checker) url(at string, v any) {
	s, _ := v.(string)
	c.length(at, v, 1, MaxURL)
	if !validURL(s) {
		c.bad(at, "invalid url")
	}
}

func validURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && u.Hostname() != "" && (u.Scheme == "http" || u.Scheme == "https") &&
		!strings.ContainsAny(s, " \t\n\r\"<>|\\^`{}") && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}
