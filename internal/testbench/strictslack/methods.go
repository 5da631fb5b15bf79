package strictslack

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// method is a row of the Web API.
type method struct {
	do    func(*Slack, url.Values) answer
	scope string // "": none, or it depends on the arguments
	app   bool   // takes the app-level token
	args  string // what it takes; what it does not know fails the test
	must  string // what it cannot do without
}

var methods = map[string]method{
	"auth.test": {do: (*Slack).authTest},
	"chat.postMessage": {
		do: (*Slack).postMessage, scope: "chat:write", must: "channel",
		args: "channel text blocks attachments metadata parse link_names unfurl_links unfurl_media thread_ts reply_broadcast mrkdwn",
	},
	"chat.update": {
		do: (*Slack).update, scope: "chat:write", must: "channel ts",
		args: "channel ts text blocks attachments metadata parse link_names unfurl_links unfurl_media reply_broadcast",
	},
	"chat.postEphemeral": {
		do: (*Slack).postEphemeral, scope: "chat:write", must: "channel user",
		args: "channel user text blocks attachments parse link_names thread_ts unfurl_links unfurl_media",
	},
	"chat.getPermalink":     {do: (*Slack).permalink, args: "channel message_ts", must: "channel message_ts"},
	"conversations.open":    {do: (*Slack).open, scope: "im:write", args: "users channel return_im prevent_creation", must: "users"},
	"conversations.info":    {do: (*Slack).info, args: "channel include_locale include_num_members", must: "channel"},
	"conversations.list":    {do: (*Slack).list, args: "cursor exclude_archived limit types team_id"},
	"conversations.history": {do: (*Slack).history, args: "channel cursor include_all_metadata inclusive latest limit oldest", must: "channel"},
	"conversations.replies": {do: (*Slack).history, args: "channel ts cursor include_all_metadata inclusive latest limit oldest", must: "channel ts"},
	"conversations.members": {do: (*Slack).inside, args: "channel cursor limit", must: "channel"},
	"users.info":            {do: (*Slack).userInfo, scope: "users:read", args: "user include_locale", must: "user"},
	"users.lookupByEmail":   {do: (*Slack).byEmail, scope: "users:read.email", args: "email", must: "email"},
	"users.list":            {do: (*Slack).userList, scope: "users:read", args: "cursor limit include_locale team_id presence"},
	"usergroups.list":       {do: (*Slack).groupList, scope: "usergroups:read", args: "include_users include_disabled include_count team_id"},
	"views.open":            {do: (*Slack).viewOpen, args: "trigger_id view interactivity_pointer", must: "view"},
	"views.push":            {do: (*Slack).viewOpen, args: "trigger_id view interactivity_pointer", must: "view"},
	"views.update":          {do: (*Slack).viewUpdate, args: "view view_id external_id hash", must: "view"},
	"apps.connections.open": {do: (*Slack).connection, app: true},
}

// call carries out a method; the caller holds mu.
func (s *Slack) call(name string, args url.Values, token, problem string, r *http.Request) answer {
	m, known := methods[name]
	if !known {
		s.illegal(name, "unknown_method", "there is no such method here")
		return refuse("unknown_method")
	}
	if problem == "token_in_url" {
		s.illegal(name, problem, "the token is in the URL, which proxies log")
	} else if problem != "" {
		s.illegal(name, problem, "the body cannot be read")
		return refuse(problem)
	}
	if r.Method != http.MethodPost && r.Method != http.MethodGet {
		return answer{code: "invalid_post_type", status: http.StatusMethodNotAllowed}
	}
	want := s.BotToken
	if m.app {
		want = s.AppToken
	}
	switch {
	case s.revoked != "":
		return refuse(s.revoked)
	case token == "":
		return refuse("not_authed")
	case token == s.BotToken && m.app, token == s.AppToken && !m.app:
		return refuse("not_allowed_token_type")
	case token != want:
		return refuse("invalid_auth")
	}
	if wait, limited := s.limiter.take(name, s.lane(args.Get("channel")), s.cfg.Now()); limited {
		return answer{code: "ratelimited", status: http.StatusTooManyRequests, header: http.Header{"Retry-After": {wait}}}
	}
	if m.scope != "" && !s.has(m.scope) {
		return s.missing(m.scope)
	}
	for k := range args {
		if !slices.Contains(strings.Fields(m.args), k) {
			s.illegal(name, "invalid_arg_name", "it takes no %q", k)
		}
	}
	for _, k := range strings.Fields(m.must) {
		if args.Get(k) == "" {
			s.illegal(name, "invalid_arguments", "%q is missing", k)
			return answer{code: "invalid_arguments", fields: messages("[ERROR] missing required field: " + k)}
		}
	}
	return m.do(s, args)
}

// lane is the conversation whose rate a post counts for.
func (s *Slack) lane(ref string) string {
	if _, ok := s.user(ref); ok {
		return DM(ref)
	}
	if c, ok := s.channel(ref); ok {
		return c.ID
	}
	return ref
}

func (s *Slack) missing(scope string) answer {
	return answer{code: "missing_scope", fields: object{"needed": scope, "provided": strings.Join(s.scopes, ",")}}
}

func messages(all ...string) object {
	return object{"response_metadata": object{"messages": all}}
}

func (s *Slack) authTest(url.Values) answer {
	return ok(object{
		"url": "https://strict.slack.com/", "team": "Strict", "team_id": s.TeamID, "user": "callchain", "user_id": s.BotUserID,
		"bot_id": "B01STRICT", "is_enterprise_install": false,
	})
}

var eventTypes = regexp.MustCompile(`^[A-Za-z0-9_]{1,255}$`)

// content checks what a message says. An empty code: Slack takes it.
func (s *Slack) content(name string, a url.Values) (code string, problems []string) {
	text, blocks := a.Get("text"), a.Get("blocks")
	if blocks == "[]" || blocks == "null" {
		blocks = ""
	}
	switch {
	case !utf8.ValidString(text), !utf8.ValidString(blocks):
		return "invalid_charset", nil
	case text == "" && blocks == "" && a.Get("attachments") == "":
		return "no_text", nil
	case name == "chat.update" && utf8.RuneCountInString(text) > MaxUpdateText:
		return "msg_too_long", nil
	}
	if blocks != "" {
		if !json.Valid([]byte(blocks)) {
			return "invalid_blocks_format", nil
		}
		found, tooLong := CheckMessage([]byte(blocks))
		for _, p := range found {
			problems = append(problems, p.String())
		}
		if s.Refuse != nil {
			if at, no := s.Refuse(blocks); no {
				problems = append(problems, Problem{"refused by the test", at}.String())
			}
		}
		switch {
		case len(problems) > 0:
			return "invalid_blocks", problems
		case tooLong:
			return "msg_blocks_too_long", nil
		}
	}
	if raw := a.Get("attachments"); raw != "" {
		var list []json.RawMessage
		if json.Unmarshal([]byte(raw), &list) != nil {
			return "invalid_attachments", nil
		}
		if len(list) > MaxAttachments {
			return "too_many_attachments", nil
		}
	}
	if raw := a.Get("metadata"); raw != "" {
		var m struct {
			EventType    *string          `json:"event_type"`
			EventPayload *json.RawMessage `json:"event_payload"`
		}
		switch {
		case json.Unmarshal([]byte(raw), &m) != nil:
			return "invalid_metadata_format", nil
		case m.EventType == nil || m.EventPayload == nil || *m.EventType == "":
			return "invalid_metadata_schema", nil
		case len(raw) > MaxMetadata:
			return "metadata_too_large", nil
		case !eventTypes.MatchString(*m.EventType):
			// Slack takes it and forgets the metadata.
			s.illegal(name, "metadata_lost", "the event_type %q holds more than letters, digits and underscores", *m.EventType)
		}
	}
	return "", nil
}

// manners are rules of a pager's, beyond Slack's.
func (s *Slack) manners(name string, a url.Values) {
	if a.Get("text") == "" && a.Get("attachments") == "" {
		s.illegal(name, "no_fallback_text", "blocks without a text: nothing for the phone's screen and for screen readers")
	}
	if p := a.Get("parse"); p != "none" && (name == "chat.update" || p != "") {
		s.illegal(name, "parse", "parse is %q: Slack would look for names and links in the text", p)
	}
	if l := a.Get("link_names"); l != "" && l != "0" && l != "false" {
		s.illegal(name, "link_names", "Slack would look for names in the text")
	}
	if name == "chat.postMessage" {
		for _, k := range []string{"unfurl_links", "unfurl_media"} {
			if a.Get(k) != "false" {
				s.illegal(name, k, "Slack would fetch what an alert links to")
			}
		}
	}
	if n := utf8.RuneCountInString(a.Get("text")); n > MaxUpdateText {
		s.illegal(name, "text_too_long", "the text has %d characters", n)
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case object:
			if v["type"] == "mrkdwn" && v["verbatim"] != true {
				s.illegal(name, "verbatim", "Slack would look for names in %.60q", v["text"])
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(decode([]byte(a.Get("blocks"))))
}

// place finds where a message goes and whether it may.
func (s *Slack) place(ref string) (id, code string) {
	if u, ok := s.user(ref); ok {
		switch {
		case u.Hidden:
			return "", "user_not_visible"
		case u.Deleted:
			return "", "user_disabled"
		case u.Bot:
			return "", "cannot_dm_bot"
		case s.cfg.MessagesTabOff:
			return "", "messages_tab_disabled"
		}
		return DM(ref), ""
	}
	if strings.HasPrefix(ref, "D") {
		if u, ok := s.user("U" + ref[1:]); ok {
			return s.place(u.ID)
		}
		if u, ok := s.user("W" + ref[1:]); ok {
			return s.place(u.ID)
		}
	}
	c, ok := s.channel(ref)
	switch {
	case !ok, c.Private && !c.Member:
		return "", "channel_not_found"
	case c.Archived:
		return "", "is_archived"
	case !c.Member && !s.has("chat:write.public"):
		return "", "not_in_channel"
	case c.ReadOnly:
		return "", "restricted_action_read_only_channel"
	}
	return c.ID, ""
}

func (s *Slack) message(channel, ts string) *Message {
	for _, m := range s.messages {
		if m.Channel == channel && m.TS == ts && m.To == "" {
			return m
		}
	}
	return nil
}

func (s *Slack) refuseContent(name, code string, problems []string) answer {
	s.illegal(name, code, "%s", strings.Join(problems, "; "))
	out := refuse(code)
	if len(problems) > 0 {
		out.fields = messages(problems...)
	}
	return out
}

func (s *Slack) postMessage(a url.Values) answer {
	id, code := s.place(a.Get("channel"))
	if code != "" {
		return refuse(code)
	}
	const name = "chat.postMessage"
	if code, problems := s.content(name, a); code != "" {
		return s.refuseContent(name, code, problems)
	}
	s.manners(name, a)
	m := &Message{Channel: id, ThreadTS: a.Get("thread_ts"), Broadcast: a.Get("reply_broadcast") == "true"}
	if m.ThreadTS != "" {
		parent := s.message(id, m.ThreadTS)
		switch {
		case parent == nil:
			return refuse("thread_not_found")
		case parent.ThreadTS != "":
			s.illegal(name, "thread_ts", "it is a reply's, not the parent's")
			m.ThreadTS = parent.ThreadTS
		}
	} else if m.Broadcast {
		s.illegal(name, "reply_broadcast", "without thread_ts")
	}
	s.fill(m, a)
	m.TS, m.At = s.stamp(), s.cfg.Now()
	s.messages = append(s.messages, m)
	return ok(object{"channel": id, "ts": m.TS, "message": s.shown(m, true)})
}

func (s *Slack) fill(m *Message, a url.Values) {
	m.Text = a.Get("text")
	if utf8.RuneCountInString(m.Text) > MaxPostText {
		m.Text = string([]rune(m.Text)[:MaxPostText])
	}
	m.Blocks = nil
	if b := a.Get("blocks"); b != "" && b != "[]" && b != "null" {
		m.Blocks = json.RawMessage(b)
	}
	if raw := a.Get("metadata"); raw != "" {
		var meta Metadata
		if json.Unmarshal([]byte(raw), &meta) == nil && eventTypes.MatchString(meta.EventType) {
			m.Metadata = meta
		}
	}
}

func (s *Slack) update(a url.Values) answer {
	const name = "chat.update"
	id := a.Get("channel")
	c, isChannel := s.channel(id)
	switch {
	case isChannel && c.ID == id && c.Archived:
		return refuse("is_archived")
	case isChannel && c.ID == id && (!c.Private || c.Member):
	case strings.HasPrefix(id, "D"):
	default:
		return refuse("channel_not_found") // a name or a member's id too
	}
	m := s.message(id, a.Get("ts"))
	if m == nil {
		return refuse("message_not_found")
	}
	if code, problems := s.content(name, a); code != "" {
		return s.refuseContent(name, code, problems)
	}
	s.manners(name, a)
	s.fill(m, a)
	m.Edits++
	return ok(object{"channel": id, "ts": m.TS, "text": m.Text, "message": s.shown(m, true)})
}

func (s *Slack) postEphemeral(a url.Values) answer {
	const name = "chat.postEphemeral"
	id, code := s.place(a.Get("channel"))
	if code != "" {
		return refuse(code)
	}
	if _, ok := s.user(a.Get("user")); !ok {
		return refuse("user_not_in_channel")
	}
	if code, problems := s.content(name, a); code != "" {
		return s.refuseContent(name, code, problems)
	}
	s.manners(name, a)
	m := &Message{Channel: id, To: a.Get("user"), ThreadTS: a.Get("thread_ts")}
	s.fill(m, a)
	m.TS, m.At = s.stamp(), s.cfg.Now()
	s.messages = append(s.messages, m)
	return ok(object{"message_ts": m.TS})
}

func (s *Slack) permalink(a url.Values) answer {
	m := s.message(a.Get("channel"), a.Get("message_ts"))
	if m == nil {
		return refuse("message_not_found")
	}
	return ok(object{"channel": m.Channel, "permalink": fmt.Sprintf("https://strict.slack.com/archives/%s/p%s", m.Channel, strings.ReplaceAll(m.TS, ".", ""))})
}

func (s *Slack) open(a url.Values) answer {
	u, found := s.user(a.Get("users"))
	switch {
	case !found:
		return refuse("user_not_found")
	case u.Hidden:
		return refuse("user_not_visible")
	case u.Deleted:
		return refuse("user_disabled")
	case u.Bot:
		return refuse("cannot_dm_bot")
	}
	return ok(object{"channel": object{"id": DM(u.ID)}})
}

// kind is the scope's word for a conversation.
func (s *Slack) kind(id string) string {
	if strings.HasPrefix(id, "D") {
		return "im"
	}
	if c, ok := s.channel(id); ok && c.Private {
		return "groups"
	}
	return "channels"
}

func channelObject(c Channel) object {
	return object{
		"id": c.ID, "name": c.Name, "is_channel": !c.Private, "is_private": c.Private, "is_member": c.Member, "is_archived": c.Archived,
		"is_ext_shared": c.External, "is_shared": c.External, "previous_names": append([]string{}, c.Was...),
	}
}

func (s *Slack) info(a url.Values) answer {
	id := a.Get("channel")
	if scope := s.kind(id) + ":read"; !s.has(scope) {
		return s.missing(scope)
	}
	c, found := s.channel(id)
	if !found || c.ID != id || c.Private && !c.Member { // not by name
		return refuse("channel_not_found")
	}
	return ok(object{"channel": channelObject(c)})
}

func (s *Slack) inside(a url.Values) answer {
	id := a.Get("channel")
	if scope := s.kind(id) + ":read"; !s.has(scope) {
		return s.missing(scope)
	}
	c, found := s.channel(id)
	if !found || c.ID != id || c.Private && !c.Member {
		return refuse("channel_not_found")
	}
	out := page(make([]object, len(c.Users)), a, "members")
	from, _ := strconv.Atoi(strings.TrimPrefix(a.Get("cursor"), "at"))
	shown := len(out.fields["members"].([]object))
	out.fields["members"] = append([]string{}, c.Users[from:from+shown]...)
	return out
}

// page cuts a list at the cursor and the limit.
func page(all []object, a url.Values, key string) answer {
	limit, _ := strconv.Atoi(a.Get("limit"))
	if limit <= 0 || limit > 1000 {
		limit = 100
	}
	from, _ := strconv.Atoi(strings.TrimPrefix(a.Get("cursor"), "at"))
	from = min(from, len(all))
	to := min(from+limit, len(all))
	next := ""
	if to < len(all) {
		next = "at" + strconv.Itoa(to)
	}
	return ok(object{key: append([]object{}, all[from:to]...), "has_more": next != "", "response_metadata": object{"next_cursor": next}})
}

func (s *Slack) list(a url.Values) answer {
	types := a.Get("types")
	if types == "" {
		types = "public_channel"
	}
	for typ, scope := range map[string]string{"public_channel": "channels:read", "private_channel": "groups:read", "im": "im:read"} {
		if strings.Contains(types, typ) && !s.has(scope) {
			return s.missing(scope)
		}
	}
	var all []object
	for _, c := range s.channels {
		typ := "public_channel"
		if c.Private {
			typ = "private_channel"
		}
		if !strings.Contains(types, typ) || c.Private && !c.Member || c.Archived && a.Get("exclude_archived") == "true" {
			continue
		}
		all = append(all, channelObject(c))
	}
	return page(all, a, "channels")
}

func (s *Slack) shown(m *Message, withMetadata bool) object {
	o := object{"type": "message", "ts": m.TS, "text": m.Text, "user": s.BotUserID, "bot_id": "B01STRICT", "app_id": s.AppID}
	if m.Blocks != nil {
		o["blocks"] = m.Blocks
	}
	if m.ThreadTS != "" {
		o["thread_ts"] = m.ThreadTS
	}
	if m.Metadata.EventType != "" {
		o["metadata"] = m.Metadata
		if !withMetadata {
			o["metadata"] = object{"event_type": m.Metadata.EventType}
		}
	}
	return o
}

// history is the messages of a conversation, or, with ts, of a thread.
func (s *Slack) history(a url.Values) answer {
	id := a.Get("channel")
	if scope := s.kind(id) + ":history"; !s.has(scope) {
		return s.missing(scope)
	}
	if c, found := s.channel(id); found && c.ID == id {
		if !c.Member {
			return refuse("not_in_channel")
		}
	} else if !strings.HasPrefix(id, "D") {
		return refuse("channel_not_found")
	}
	thread := a.Get("ts")
	if thread != "" && s.message(id, thread) == nil {
		return refuse("thread_not_found")
	}
	with := a.Get("include_all_metadata") == "1" || a.Get("include_all_metadata") == "true"
	var all []object
	for _, m := range s.messages {
		in := m.ThreadTS == "" || m.Broadcast
		if thread != "" {
			in = m.TS == thread || m.ThreadTS == thread
		}
		if m.Channel == id && m.To == "" && in && m.TS >= a.Get("oldest") && (a.Get("latest") == "" || m.TS <= a.Get("latest")) {
			all = append(all, s.shown(m, with))
		}
	}
	if thread == "" {
		slices.Reverse(all) // newest first
	}
	return page(all, a, "messages")
}

func (s *Slack) userObject(u User) object {
	profile := object{}
	if s.has("users:read.email") {
		profile["email"] = u.Email
	}
	team := s.TeamID
	if u.Stranger {
		team = "T99OTHER"
	}
	return object{
		"id": u.ID, "team_id": team, "name": u.Name, "deleted": u.Deleted, "is_bot": u.Bot, "is_restricted": u.Guest,
		"is_stranger": u.Stranger, "tz": u.TZ, "profile": profile,
	}
}

func (s *Slack) userInfo(a url.Values) answer {
	u, found := s.user(a.Get("user"))
	switch {
	case !found:
		return refuse("user_not_found")
	case u.Hidden:
		return refuse("user_not_visible")
	}
	return ok(object{"user": s.userObject(u)})
}

func (s *Slack) byEmail(a url.Values) answer {
	for _, u := range s.users {
		if strings.EqualFold(u.Email, a.Get("email")) && !u.Deleted && !u.Hidden {
			return ok(object{"user": s.userObject(u)})
		}
	}
	return refuse("users_not_found")
}

func (s *Slack) userList(a url.Values) answer {
	var all []object
	for _, u := range s.users {
		if !u.Hidden {
			all = append(all, s.userObject(u))
		}
	}
	return page(all, a, "members")
}

func (s *Slack) groupList(a url.Values) answer {
	all := []object{}
	for _, g := range s.cfg.Groups {
		if g.Disabled && a.Get("include_disabled") != "true" {
			continue
		}
		o := object{"id": g.ID, "handle": g.Handle, "name": g.Handle, "date_delete": 0}
		if g.Disabled {
			o["date_delete"] = 1_700_000_000
		}
		if a.Get("include_users") == "true" {
			o["users"] = append([]string{}, g.Users...)
		}
		all = append(all, o)
	}
	return ok(object{"usergroups": all})
}

func (s *Slack) connection(url.Values) answer {
	if !slices.Contains(s.cfg.AppScopes, "connections:write") {
		return answer{code: "missing_scope", fields: object{"needed": "connections:write", "provided": strings.Join(s.cfg.AppScopes, ",")}}
	}
	if s.cfg.Socket == nil {
		return refuse("socket_mode_disabled")
	}
	wss, err := s.cfg.Socket()
	if err != nil {
		return refuse(err.Error())
	}
	return ok(object{"url": wss})
}
