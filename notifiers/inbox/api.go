package inbox

import (
	"cmp"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxBody     = 1 << 20
	maxText     = 40_000 // cut above
	maxEditText = 4_000  // chat.update refuses more
	maxMetadata = 8_000
)

// refusal is an answer with ok:false.
type refusal struct {
	code     string
	messages []string // of response_metadata
}

func refuse(code string) *refusal { return &refusal{code: code} }

func missing(field string) *refusal {
	return &refusal{code: "invalid_arguments", messages: []string{"[ERROR] missing required field: " + field}}
}

func (f refusal) answer() map[string]any {
	a := map[string]any{"ok": false, "error": f.code}
	if len(f.messages) > 0 {
		a["response_metadata"] = map[string]any{"messages": f.messages}
	}
	return a
}

func reply(w http.ResponseWriter, answer map[string]any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	json.NewEncoder(w).Encode(answer)
}

type method func(*Slack, url.Values) (map[string]any, *refusal)

var methods = map[string]method{
	"auth.test":             (*Slack).authTest,
	"chat.postMessage":      (*Slack).postMessage,
	"chat.update":           (*Slack).update,
	"chat.postEphemeral":    (*Slack).postEphemeral,
	"conversations.open":    (*Slack).open,
	"conversations.info":    (*Slack).info,
	"conversations.history": (*Slack).history,
	"conversations.list":    (*Slack).listConversations,
	"conversations.replies": (*Slack).threadReplies,
	"users.info":            (*Slack).userInfo,
	"users.lookupByEmail":   (*Slack).lookupByEmail,
	"views.open":            (*Slack).openView,
	"views.update":          (*Slack).updateView,
}

func (s *Slack) api(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("method")
	args, bad := arguments(w, r)
	// After the body is read: only then is a caller that gives up noticed.
	f, failing := s.fault(name)
	if failing && f.happen(w, r) {
		return
	}
	if bad == nil {
		bad = s.authenticate(args, r)
	}
	var answer map[string]any
	if bad == nil {
		if do, ok := methods[name]; ok {
			s.mu.Lock()
			s.base = "http://" + r.Host
			answer, bad = do(s, args)
			s.mu.Unlock()
		} else {
			bad = refuse("unknown_method")
		}
	}
	if failing && f.Cut {
		panic(http.ErrAbortHandler)
	}
	if bad != nil {
		if bad.code == "ratelimited" {
			w.Header().Set("Retry-After", "1")
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			w.WriteHeader(http.StatusTooManyRequests)
			json.NewEncoder(w).Encode(bad.answer())
			return
		}
		reply(w, bad.answer())
		return
	}
	if name == "auth.test" {
		w.Header().Set("X-OAuth-Scopes", "chat:write,users:read,users:read.email,im:history,im:write,channels:read,groups:read,commands")
	}
	answer["ok"] = true
	reply(w, answer)
}

// arguments reads a form or a JSON object; the values of the latter that are
// no strings keep their JSON form, which is how forms carry them.
func arguments(w http.ResponseWriter, r *http.Request) (url.Values, *refusal) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, refuse("request_timeout")
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	args := r.URL.Query()
	switch {
	case r.Method == http.MethodGet:
	case r.Method != http.MethodPost:
		return nil, refuse("invalid_post_type")
	case kind == "application/json":
		var object map[string]json.RawMessage
		if err := json.Unmarshal(body, &object); err != nil {
			return nil, refuse("invalid_json")
		}
		for k, raw := range object {
			var text string
			if json.Unmarshal(raw, &text) != nil {
				text = string(raw)
			}
			args.Set(k, text)
		}
	case kind == "application/x-www-form-urlencoded" || len(body) == 0:
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, refuse("invalid_form_data")
		}
		for k, v := range form {
			args[k] = v
		}
	default:
		return nil, refuse("invalid_post_type")
	}
	for _, list := range args {
		for _, v := range list {
			if !utf8.ValidString(v) {
				return nil, refuse("invalid_charset")
			}
		}
	}
	return args, nil
}

func (s *Slack) authenticate(args url.Values, r *http.Request) *refusal {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		token = args.Get("token")
	}
	switch {
	case token == "":
		return refuse("not_authed")
	case token != s.cfg.Token:
		return refuse("invalid_auth")
	}
	return nil
}

func (s *Slack) authTest(url.Values) (map[string]any, *refusal) {
	return map[string]any{
		"url": s.base + "/", "team": "Demo", "team_id": TeamID, "user": "callchain", "user_id": BotUserID,
		"bot_id": BotID, "is_enterprise_install": false,
	}, nil
}

// conversation finds a channel by its id, and where byName says so by its name
// or a member's id too, as only chat.postMessage and chat.postEphemeral do.
func (s *Slack) conversation(args url.Values, byName bool) (channel, *refusal) {
	given := args.Get("channel")
	if given == "" {
		return channel{}, missing("channel")
	}
	if c, ok := s.channels[given]; ok {
		return c, nil
	}
	if byName {
		if u, ok := s.users[given]; ok {
			if bad := reachable(u); bad != nil {
				return channel{}, bad
			}
			return s.direct(u), nil
		}
		name := strings.TrimPrefix(given, "#")
		if c, ok := s.channels[conversationID("C", name)]; ok {
			return c, nil
		}
	}
	return channel{}, refuse("channel_not_found")
}

func reachable(u User) *refusal {
	switch {
	case u.Deleted:
		return refuse("user_disabled")
	case u.Bot:
		return refuse("cannot_dm_bot")
	}
	return nil
}

// content reads text and blocks.
func content(args url.Values) (text string, blocks json.RawMessage, bad *refusal) {
	text = args.Get("text")
	if raw := args.Get("blocks"); raw != "" && raw != "null" {
		blocks, bad = checkBlocks([]byte(raw))
		if bad != nil {
			return "", nil, bad
		}
	}
	if strings.TrimSpace(text) == "" && blocks == nil {
		return "", nil, refuse("no_text")
	}
	return text, blocks, nil
}

var eventType = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

func metadata(args url.Values) (json.RawMessage, *refusal) {
	raw := args.Get("metadata")
	if raw == "" {
		return nil, nil
	}
	var m struct {
		Type    string         `json:"event_type"`
		Payload map[string]any `json:"event_payload"`
	}
	switch err := json.Unmarshal([]byte(raw), &m); {
	case err != nil:
		return nil, refuse("invalid_metadata_format")
	case m.Type == "" || m.Payload == nil:
		return nil, refuse("invalid_metadata_schema")
	case len(raw) > maxMetadata:
		return nil, refuse("metadata_too_large")
	case !eventType.MatchString(m.Type):
		// Slack takes the message and loses the metadata without a word.
		return nil, nil
	}
	return json.RawMessage(raw), nil
}

func yes(args url.Values, name string) bool {
	v := args.Get(name)
	return v == "1" || strings.EqualFold(v, "true")
}

func (s *Slack) postMessage(args url.Values) (map[string]any, *refusal) {
	c, bad := s.conversation(args, true)
	if bad != nil {
		return nil, bad
	}
	text, blocks, bad := content(args)
	if bad != nil {
		return nil, bad
	}
	meta, bad := metadata(args)
	if bad != nil {
		return nil, bad
	}
	thread := args.Get("thread_ts")
	if thread != "" {
		parent := s.find(Ref{c.id, thread})
		switch {
		case parent == nil || parent.EphemeralTo != "":
			return nil, refuse("thread_not_found")
		case parent.ThreadTS != "":
			return nil, refuse("cannot_reply_to_message")
		}
	}
	if s.cfg.RateLimit && !s.allow(c.id) {
		return nil, refuse("ratelimited")
	}
	if utf8.RuneCountInString(text) > maxText {
		text = string([]rune(text)[:maxText])
	}
	m := s.post(Message{
		Ref: Ref{Channel: c.id}, ThreadTS: thread, Broadcast: thread != "" && yes(args, "reply_broadcast"),
		Text: text, Blocks: blocks, Metadata: meta,
	})
	return map[string]any{"channel": c.id, "ts": m.TS, "message": m.object(true)}, nil
}

func (s *Slack) update(args url.Values) (map[string]any, *refusal) {
	c, bad := s.conversation(args, false)
	if bad != nil {
		return nil, bad
	}
	if args.Get("ts") == "" {
		return nil, missing("ts")
	}
	text, blocks, bad := content(args)
	if bad != nil {
		return nil, bad
	}
	if utf8.RuneCountInString(text) > maxEditText {
		return nil, refuse("msg_too_long")
	}
	meta, bad := metadata(args)
	if bad != nil {
		return nil, bad
	}
	m := s.find(Ref{c.id, args.Get("ts")})
	if m == nil || m.EphemeralTo != "" {
		return nil, refuse("message_not_found")
	}
	if text == "" {
		text = m.Text
	}
	if meta != nil {
		m.Metadata = meta
	}
	s.edit(m, text, blocks)
	return map[string]any{"channel": c.id, "ts": m.TS, "text": m.Text, "message": m.object(true)}, nil
}

func (s *Slack) postEphemeral(args url.Values) (map[string]any, *refusal) {
	c, bad := s.conversation(args, true)
	if bad != nil {
		return nil, bad
	}
	user := args.Get("user")
	if user == "" {
		return nil, missing("user")
	}
	u, ok := s.users[user]
	if !ok || u.Deleted || c.user != "" && c.user != user {
		return nil, refuse("user_not_in_channel")
	}
	text, blocks, bad := content(args)
	if bad != nil {
		return nil, bad
	}
	m := s.post(Message{Ref: Ref{Channel: c.id}, ThreadTS: args.Get("thread_ts"), EphemeralTo: user, Text: text, Blocks: blocks})
	return map[string]any{"message_ts": m.TS}, nil
}

func (s *Slack) open(args url.Values) (map[string]any, *refusal) {
	users := strings.Split(args.Get("users"), ",")
	switch {
	case users[0] == "" && args.Get("channel") == "":
		return nil, refuse("users_list_not_supplied")
	case users[0] == "":
		c, bad := s.conversation(args, false)
		if bad != nil {
			return nil, bad
		}
		return map[string]any{"channel": map[string]any{"id": c.id}}, nil
	case len(users) > 1:
		return nil, refuse("not_enough_users") // group messages: callchain has no use for them
	}
	u, ok := s.users[users[0]]
	if !ok {
		return nil, refuse("user_not_found")
	}
	if bad := reachable(u); bad != nil {
		return nil, bad
	}
	c := s.direct(u)
	if yes(args, "return_im") {
		return map[string]any{"channel": c.object()}, nil
	}
	return map[string]any{"channel": map[string]any{"id": c.id}}, nil
}

func (s *Slack) info(args url.Values) (map[string]any, *refusal) {
	c, bad := s.conversation(args, false)
	if bad != nil {
		return nil, bad
	}
	return map[string]any{"channel": c.object()}, nil
}

// listConversations lists all channels at once: a demo has few. All are public.
func (s *Slack) listConversations(args url.Values) (map[string]any, *refusal) {
	list := []map[string]any{}
	if types := args.Get("types"); types == "" || slices.Contains(strings.Split(types, ","), "public_channel") {
		for _, c := range s.channels {
			if c.user == "" {
				list = append(list, c.object())
			}
		}
	}
	slices.SortFunc(list, func(a, b map[string]any) int { return cmp.Compare(a["name"].(string), b["name"].(string)) })
	return map[string]any{"channels": list, "response_metadata": map[string]any{"next_cursor": ""}}, nil
}

func (c channel) object() map[string]any {
	if c.user != "" {
		return map[string]any{"id": c.id, "is_im": true, "user": c.user, "is_archived": false, "is_ext_shared": false}
	}
	return map[string]any{
		"id": c.id, "name": c.name, "name_normalized": c.name, "is_channel": true, "is_im": false, "is_private": false,
		"is_archived": false, "is_member": true, "is_shared": false, "is_ext_shared": false, "is_frozen": false,
	}
}

// object is the message as Slack's answers show it. Without allMetadata only
// the metadata's type is in it.
func (m *Message) object(allMetadata bool) map[string]any {
	o := map[string]any{
		"type": "message", "user": BotUserID, "bot_id": BotID, "app_id": AppID, "team": TeamID, "ts": m.TS, "text": m.Text,
	}
	if m.Blocks != nil {
		o["blocks"] = m.Blocks
	}
	if m.ThreadTS != "" {
		o["thread_ts"] = m.ThreadTS
	}
	if m.Broadcast {
		o["subtype"] = "thread_broadcast"
	}
	if m.Metadata != nil {
		o["metadata"] = m.Metadata
		if !allMetadata {
			var kind struct {
				Type string `json:"event_type"`
			}
			json.Unmarshal(m.Metadata, &kind) // was checked when it came
			o["metadata"] = kind
		}
	}
	// Slack flags an edit only when it leaves the message without blocks.
	if n := len(m.Edits); n > 0 && m.Blocks == nil {
		o["edited"] = map[string]any{"user": BotUserID, "ts": strconv.FormatInt(m.Edits[n-1].At.Unix(), 10) + ".000000"}
	}
	return o
}

func (s *Slack) history(args url.Values) (map[string]any, *refusal) {
	c, bad := s.conversation(args, false)
	if bad != nil {
		return nil, bad
	}
	list := s.among(c, func(m *Message) bool { return m.ThreadTS == "" || m.Broadcast })
	slices.Reverse(list) // newest first
	return page(list, args)
}

func (s *Slack) threadReplies(args url.Values) (map[string]any, *refusal) {
	c, bad := s.conversation(args, false)
	if bad != nil {
		return nil, bad
	}
	ts := args.Get("ts")
	if ts == "" {
		return nil, missing("ts")
	}
	list := s.among(c, func(m *Message) bool { return m.TS == ts || m.ThreadTS == ts })
	if len(list) == 0 {
		return nil, refuse("thread_not_found")
	}
	return page(list, args)
}

func (s *Slack) among(c channel, ok func(*Message) bool) []*Message {
	var list []*Message
	for _, m := range s.messages {
		if m.Channel == c.id && m.EphemeralTo == "" && ok(m) {
			list = append(list, m)
		}
	}
	return list
}

// page cuts a list of messages to the span and the number asked for. A ts has
// the same number of digits for the next two centuries: comparing text is
// comparing time.
func page(list []*Message, args url.Values) (map[string]any, *refusal) {
	oldest, latest := padTS(args.Get("oldest")), padTS(args.Get("latest"))
	list = slices.DeleteFunc(list, func(m *Message) bool {
		if yes(args, "inclusive") && (m.TS == oldest || m.TS == latest) {
			return false
		}
		return oldest != "" && m.TS <= oldest || latest != "" && m.TS >= latest
	})
	limit := 100
	if text := args.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 999 {
			return nil, refuse("invalid_limit")
		}
		limit = n
	}
	if cursor := args.Get("cursor"); cursor != "" {
		i := slices.IndexFunc(list, func(m *Message) bool { return "next:"+m.TS == cursor })
		if i < 0 {
			return nil, refuse("invalid_cursor")
		}
		list = list[i:]
	}
	answer := map[string]any{"has_more": len(list) > limit}
	if len(list) > limit {
		answer["response_metadata"] = map[string]any{"next_cursor": "next:" + list[limit].TS}
		list = list[:limit]
	}
	objects := make([]map[string]any, len(list))
	for i, m := range list {
		objects[i] = m.object(yes(args, "include_all_metadata"))
	}
	answer["messages"] = objects
	return answer, nil
}

// padTS gives a time that was written with fewer decimals ("0", "1700000000")
// the form of a ts.
func padTS(text string) string {
	if text == "" || text == "0" {
		return ""
	}
	whole, frac, _ := strings.Cut(text, ".")
	if len(whole) < 10 {
		whole = strings.Repeat("0", 10-len(whole)) + whole
	}
	return whole + "." + (frac + "000000")[:6]
}

func (s *Slack) userInfo(args url.Values) (map[string]any, *refusal) {
	if args.Get("user") == "" {
		return nil, missing("user")
	}
	u, ok := s.users[args.Get("user")]
	if !ok {
		return nil, refuse("user_not_found")
	}
	return map[string]any{"user": u.object()}, nil
}

func (s *Slack) lookupByEmail(args url.Values) (map[string]any, *refusal) {
	email := args.Get("email")
	if email == "" {
		return nil, missing("email")
	}
	for _, u := range s.users {
		if strings.EqualFold(u.Email, email) && !u.Deleted {
			return map[string]any{"user": u.object()}, nil
		}
	}
	return nil, refuse("users_not_found")
}

func (u User) object() map[string]any {
	return map[string]any{
		"id": u.ID, "team_id": TeamID, "name": u.Name, "real_name": u.Name, "deleted": u.Deleted, "is_bot": u.Bot,
		"is_restricted": u.Restricted, "is_ultra_restricted": false, "is_stranger": false, "is_app_user": false, "tz": "Etc/UTC",
		"profile": map[string]any{"real_name": u.Name, "display_name": u.Name, "email": u.Email, "team": TeamID},
	}
}
