package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a trigger is good for: one modal, within three seconds.
const (
	triggerFor  = 3 * time.Second
	maxTriggers = 1000
	maxViews    = 100
)

// What can be wrong with a form before it is sent.
var (
	ErrNoView     = errors.New("no such form is open")
	ErrIncomplete = errors.New("a field that is needed is empty")
	ErrNoSubmit   = errors.New("there is nothing to send off")
)

// trigger is what a press, a command or a form lets the app open a modal with.
type trigger struct {
	id, user string
	at       time.Time
	used     bool
}

// View is a modal that a member has open.
type View struct {
	ID      string
	User    string
	Content json.RawMessage // as Slack keeps it, with the ids that it adds
	At      time.Time

	// Errors say at a field, by its block's id, what is wrong; "": the form as a
	// whole could not be sent off.
	Errors map[string]string
	// Filled is what was last sent off, by block id.
	Filled map[string][]string
}

// Views returns the modals that are open, oldest first.
func (s *Slack) Views() []View {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]View, len(s.views))
	for i, v := range s.views {
		list[i] = *v
	}
	return list
}

// WaitView returns the first modal that the condition holds for, as soon as there is one.
func (s *Slack) WaitView(ctx context.Context, cond func(View) bool) (View, error) {
	return await(ctx, &s.changes, s.Views, cond)
}

// newTrigger makes a trigger. s.mu is held.
func (s *Slack) newTrigger(user string) string {
	s.serial++
	t := &trigger{id: fmt.Sprintf("%d.%d", s.serial, s.cfg.Now().UnixNano()), user: user, at: s.cfg.Now()}
	if s.triggers = append(s.triggers, t); len(s.triggers) > maxTriggers {
		s.triggers = s.triggers[1:]
	}
	return t.id
}

func (s *Slack) openView(args url.Values) (map[string]any, *refusal) {
	id := args.Get("trigger_id")
	i := slices.IndexFunc(s.triggers, func(t *trigger) bool { return t.id == id })
	switch {
	case id == "":
		return nil, missing("trigger_id")
	case i < 0:
		return nil, refuse("invalid_trigger_id")
	case s.triggers[i].used:
		return nil, refuse("exchanged_trigger_id")
	case s.cfg.Now().Sub(s.triggers[i].at) > triggerFor:
		return nil, refuse("expired_trigger_id")
	}
	content, bad := checkView([]byte(args.Get("view")))
	if bad != nil {
		return nil, bad
	}
	t := s.triggers[i]
	t.used = true
	// A member has one modal open at a time, unless it is pushed upon another.
	s.views = slices.DeleteFunc(s.views, func(v *View) bool { return v.User == t.user })
	s.serial++
	v := &View{ID: fmt.Sprintf("V%d", s.serial), User: t.user, Content: content, At: s.cfg.Now()}
	if s.views = append(s.views, v); len(s.views) > maxViews {
		s.views = s.views[1:]
	}
	s.notify()
	return map[string]any{"view": v.object(nil)}, nil
}

func (s *Slack) updateView(args url.Values) (map[string]any, *refusal) {
	v := s.view(args.Get("view_id"))
	if v == nil {
		return nil, refuse("not_found")
	}
	content, bad := checkView([]byte(args.Get("view")))
	if bad != nil {
		return nil, bad
	}
	v.Content, v.Errors = content, nil
	s.notify()
	return map[string]any{"view": v.object(nil)}, nil
}

// view finds a modal that is open. s.mu is held.
func (s *Slack) view(id string) *View {
	for _, v := range s.views {
		if v.ID == id {
			return v
		}
	}
	return nil
}

// object is the view as Slack shows it to the app.
func (v *View) object(values map[string]any) map[string]any {
	var o map[string]any
	json.Unmarshal(v.Content, &o) // was checked when it came
	o["id"], o["team_id"], o["app_id"], o["bot_id"], o["hash"] = v.ID, TeamID, AppID, BotID, strconv.FormatInt(v.At.UnixNano(), 36)
	if values != nil {
		o["state"] = map[string]any{"values": values}
	}
	return o
}

// Dismiss closes a modal without sending it off.
func (s *Slack) Dismiss(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.views = slices.DeleteFunc(s.views, func(v *View) bool { return v.ID == id })
	s.notify()
}

// Submit sends a form off as the member who has it open. The values are by block
// id: a text, the value of an option, of checkboxes all that are ticked, of a date
// with a time its seconds. What callchain answers is done: the form closes, is
// drawn anew, or says what is wrong.
func (s *Slack) Submit(ctx context.Context, id string, values map[string][]string) (status int, err error) {
	payload, err := s.submission(id, values)
	if err != nil {
		return 0, fmt.Errorf("send the form off: %w", err)
	}
	s.mu.Lock()
	callback := s.callback
	s.mu.Unlock()
	status, body, err := s.call(ctx, callback, url.Values{"payload": {string(payload)}})
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.notify()
	v := s.view(id)
	if v == nil {
		return status, err
	}
	if err != nil || status != http.StatusOK {
		v.Errors = map[string]string{"": "We had some trouble connecting. Try again?"}
		return status, err
	}
	return status, s.answered(v, body)
}

// answered does what the app answered to a form. s.mu is held.
func (s *Slack) answered(v *View, body []byte) error {
	var answer struct {
		Action string          `json:"response_action"`
		View   json.RawMessage `json:"view"`
		Errors map[string]string
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &answer); err != nil {
			v.Errors = map[string]string{"": "We had some trouble connecting. Try again?"}
			return fmt.Errorf("send the form off: the answer is not JSON: %w", err)
		}
	}
	switch answer.Action {
	case "errors":
		v.Errors = answer.Errors
		for block := range answer.Errors {
			if v.field(block) == nil { // Slack shows nothing but its own error then
				v.Errors = map[string]string{"": "We had some trouble connecting. Try again?"}
				return fmt.Errorf("send the form off: the answer blames %q, which is no field of it", block)
			}
		}
	case "update":
		content, bad := checkView(answer.View)
		if bad != nil {
			v.Errors = map[string]string{"": "We had some trouble connecting. Try again?"}
			return fmt.Errorf("send the form off: the answer's view is refused: %s %s", bad.code, strings.Join(bad.messages, "; "))
		}
		v.Content, v.Errors = content, nil
	case "", "clear":
		s.views = slices.DeleteFunc(s.views, func(o *View) bool { return o == v })
	default:
		return fmt.Errorf("send the form off: unknown answer %q", answer.Action)
	}
	return nil
}

type field struct {
	Block    string         `json:"block_id"`
	Type     string         `json:"type"`
	Optional bool           `json:"optional"`
	Element  map[string]any `json:"element"`
}

func (v *View) fields() []field {
	var content struct {
		Blocks []field `json:"blocks"`
		Submit any     `json:"submit"`
	}
	if json.Unmarshal(v.Content, &content) != nil || content.Submit == nil {
		return nil
	}
	return slices.DeleteFunc(content.Blocks, func(f field) bool { return f.Type != "input" })
}

func (v *View) field(block string) *field {
	for _, f := range v.fields() {
		if f.Block == block {
			return &f
		}
	}
	return nil
}

func (s *Slack) submission(id string, given map[string][]string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.view(id)
	if v == nil {
		return nil, ErrNoView
	}
	fields := v.fields()
	if len(fields) == 0 {
		return nil, ErrNoSubmit
	}
	user := s.users[v.User]
	values := map[string]any{}
	v.Errors, v.Filled = map[string]string{}, given
	for _, f := range fields {
		value, empty := f.value(given[f.Block])
		if empty && !f.Optional {
			v.Errors[f.Block] = "Please complete this required field."
		}
		action, _ := f.Element["action_id"].(string)
		values[f.Block] = map[string]any{action: value}
	}
	if len(v.Errors) > 0 {
		s.notify()
		return nil, ErrIncomplete
	}
	return json.Marshal(map[string]any{
		"type":       "view_submission",
		"team":       map[string]any{"id": TeamID, "domain": "demo"},
		"user":       map[string]any{"id": user.ID, "username": user.Name, "name": user.Name, "team_id": TeamID},
		"api_app_id": AppID, "token": "deprecated", "trigger_id": s.newTrigger(user.ID),
		"view": v.object(values), "response_urls": []any{}, "is_enterprise_install": false, "enterprise": nil,
	})
}

// value is a field's state as Slack sends it, and whether nothing was filled in.
func (f field) value(given []string) (state map[string]any, empty bool) {
	kind, _ := f.Element["type"].(string)
	given = slices.DeleteFunc(slices.Clone(given), func(s string) bool { return s == "" })
	one := ""
	if len(given) > 0 {
		one = given[0]
	}
	state = map[string]any{"type": kind}
	switch kind {
	case "plain_text_input":
		if state["value"] = any(nil); one != "" {
			state["value"] = one
		}
	case "datetimepicker":
		unix, err := strconv.ParseInt(one, 10, 64)
		if state["selected_date_time"] = any(nil); err == nil {
			state["selected_date_time"] = unix
		}
		return state, err != nil
	case "checkboxes":
		chosen := []any{}
		for _, value := range given {
			if o := f.option(value); o != nil {
				chosen = append(chosen, o)
			}
		}
		state["selected_options"] = chosen
		return state, len(chosen) == 0
	default:
		o := f.option(one)
		if state["selected_option"] = any(nil); o != nil {
			state["selected_option"] = o
		}
		return state, o == nil
	}
	return state, one == ""
}

// option finds an option of the field by its value; nil if it has none of it.
func (f field) option(value string) any {
	options, _ := f.Element["options"].([]any)
	groups, _ := f.Element["option_groups"].([]any)
	for _, g := range groups {
		if o, ok := g.(map[string]any); ok {
			more, _ := o["options"].([]any)
			options = append(options, more...)
		}
	}
	for _, o := range options {
		if one, ok := o.(map[string]any); ok && one["value"] == value && value != "" {
			return one
		}
	}
	return nil
}

// Command types a slash command as a member, in their direct messages with the
// app. What callchain answers they alone see there.
func (s *Slack) Command(ctx context.Context, userID, command, text string) (status int, err error) {
	s.mu.Lock()
	user, ok := s.users[userID]
	if !ok || user.Bot || user.Deleted {
		s.mu.Unlock()
		return 0, fmt.Errorf("type %s: %w", command, ErrNotSeen)
	}
	c := s.direct(user)
	form := url.Values{
		"command": {command}, "text": {text}, "user_id": {user.ID}, "user_name": {user.Name}, "team_id": {TeamID}, "team_domain": {"demo"},
		"channel_id": {c.id}, "channel_name": {"directmessage"}, "api_app_id": {AppID}, "token": {"deprecated"}, "is_enterprise_install": {"false"},
		"trigger_id": {s.newTrigger(user.ID)},
	}
	reply := s.newReply(Ref{Channel: c.id}, user.ID)
	form.Set("response_url", s.base+"/response/"+reply.id)
	callback := s.commands
	s.mu.Unlock()
	status, body, err := s.call(ctx, callback, form)
	if err != nil || status != http.StatusOK {
		return status, err
	}
	var answer struct {
		Text   string          `json:"text"`
		Blocks json.RawMessage `json:"blocks"`
	}
	if len(body) == 0 {
		return status, nil
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		answer.Text = string(body) // Slack shows whatever text it is answered
	}
	text, blocks, bad := content(url.Values{"text": {answer.Text}, "blocks": {string(answer.Blocks)}})
	if bad != nil {
		return status, fmt.Errorf("type %s: the answer is refused: %s %s", command, bad.code, strings.Join(bad.messages, "; "))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.post(Message{Ref: Ref{Channel: c.id}, EphemeralTo: user.ID, Text: text, Blocks: blocks})
	return status, nil
}

// call makes the signed request that Slack would, and waits as long as it does.
func (s *Slack) call(ctx context.Context, to string, form url.Values) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, PressTimeout)
	defer cancel()
	req, err := s.signed(ctx, to, form.Encode())
	if err != nil {
		return 0, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	return resp.StatusCode, body, err
}

// checkView holds a modal against Slack's rules and returns it with its blocks'
// ids filled in.
func checkView(raw []byte) (json.RawMessage, *refusal) {
	var v map[string]any
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, refuse("invalid_arguments")
	}
	c := &checker{ids: map[string]bool{}, modal: true}
	if v["type"] != "modal" {
		c.errorf("/view/type", "must be a valid enum value")
	}
	c.only("/view", v, []string{"type", "title", "blocks", "close", "submit", "private_metadata", "callback_id", "clear_on_close", "notify_on_close", "external_id"})
	c.text("/view/title", v["title"], maxViewTitle, false)
	for _, button := range []string{"submit", "close"} {
		if t, ok := v[button]; ok {
			c.text("/view/"+button, t, maxViewTitle, false)
		}
	}
	c.str("/view/private_metadata", v["private_metadata"], maxPrivate, false)
	c.str("/view/callback_id", v["callback_id"], maxID, false)
	list, _ := v["blocks"].([]any)
	c.number("/view/blocks", len(list), maxViewBlocks)
	asks := false
	for i, item := range list[:min(len(list), maxViewBlocks)] {
		at := fmt.Sprintf("/view/blocks/%d", i)
		block, ok := item.(map[string]any)
		if !ok {
			c.errorf(at, "must be an object")
			continue
		}
		asks = asks || block["type"] == "input"
		c.block(at, block)
	}
	if asks && v["submit"] == nil {
		c.errorf("/view", "submit is required when an input block is within blocks")
	}
	if len(c.errs) > 0 {
		return nil, &refusal{code: "invalid_arguments", messages: c.errs}
	}
	out, err := json.Marshal(v)
	if err != nil || len(out) > maxViewBytes {
		return nil, refuse("view_too_large")
	}
	return out, nil
}
