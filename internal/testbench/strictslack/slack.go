package strictslack

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Config is a workspace and the app that is installed in it.
type Config struct {
	Users    []User
	Channels []Channel
	Groups   []Group

	Scopes    []string // of the bot token; nil: AllScopes
	AppScopes []string // of the app-level token; nil: connections:write
	Limits    *Limits  // nil: no rate is limited; SlackLimits: Slack's

	// Socket hands out the address of a Socket Mode connection
	// (apps.connections.open); nil: Socket Mode is off. An error is Slack's code.
	Socket func() (wss string, err error)

	MessagesTabOff bool             // nobody can be written to directly
	Now            func() time.Time // nil: time.Now
}

// User is a member of the workspace.
type User struct {
	ID, Name, Email  string
	TZ               string
	Deleted          bool // deactivated
	Bot, Guest       bool
	Stranger, Hidden bool // of another workspace; not visible to the app
}

// Channel is a channel of the workspace.
type Channel struct {
	ID, Name string
	Private  bool
	Member   bool // the app is in it
	Archived bool
	External bool     // shared with another organisation
	Was      []string // earlier names
	Users    []string // who is in it, beside the app
	ReadOnly bool     // the app may not post
}

// Group is a user group.
type Group struct {
	ID, Handle string
	Users      []string
	Disabled   bool
}

// AllScopes is what a bot token may have been granted here.
var AllScopes = []string{
	"chat:write", "chat:write.public", "users:read", "users:read.email", "im:write", "im:read", "im:history",
	"channels:read", "groups:read", "channels:history", "groups:history", "usergroups:read", "commands", "reactions:write",
}

// Message is a message as people see it now.
type Message struct {
	Channel, TS string
	Text        string
	Blocks      json.RawMessage // null without blocks
	Metadata    Metadata
	ThreadTS    string
	Broadcast   bool   // a thread reply that the channel sees too
	To          string // of an ephemeral message: who alone sees it
	Edits       int
	At          time.Time // when it was posted
}

// Metadata is a message's metadata.
type Metadata struct {
	EventType    string         `json:"event_type"`
	EventPayload map[string]any `json:"event_payload"`
}

// Call is a request that arrived.
type Call struct {
	Method string
	Args   url.Values // of a JSON body: its fields, objects as JSON
	At     time.Time
	Error  string // what was answered; "" for ok
}

// Slack is the workspace. It is safe for concurrent use.
type Slack struct {
	APIURL        string // for notifiers.slack.api_url
	BotToken      string
	AppToken      string
	SigningSecret string
	TeamID, AppID string
	BotUserID     string

	// Refuse lets Slack dislike the blocks of a message for reasons of its own
	// (invalid_blocks): where, and whether.
	Refuse func(blocks string) (pointer string, refuse bool)

	t       testing.TB
	cfg     Config
	server  *httptest.Server
	limiter limiter

	mu       sync.Mutex
	revoked  string // the error of every call
	scopes   []string
	users    []User
	channels []Channel
	messages []*Message
	calls    []Call
	faults   map[string][]Fault
	always   map[string]Fault
	allowed  map[string]int
	triggers map[string]*trigger
	hooks    map[string]*hook
	views    map[string]*View
	clock    int64 // of the last ts, in microseconds
	serial   int
}

// New starts a workspace that ends with the test. Illegal requests fail it.
func New(t testing.TB, cfg Config) *Slack {
	t.Helper()
	s := NewHandler(t, cfg)
	s.server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.server.CloseClientConnections() // who hangs, hangs no longer
		s.server.Close()
	})
	s.APIURL = s.server.URL + "/api/"
	return s
}

// NewHandler is New without a server, for a test that serves it by itself. APIURL
// is then the test's to set.
func NewHandler(t testing.TB, cfg Config) *Slack {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Slack{
		BotToken: "xoxb-1111111111-strictslack", AppToken: "xapp-1-A01STRICT-strictslack", SigningSecret: "8f742231b10e8888abcd99yyyzzz85a5",
		TeamID: "T01STRICT", AppID: "A01STRICT", BotUserID: "U01STRICTBOT",
		t: t, cfg: cfg, scopes: cfg.Scopes, users: slices.Clone(cfg.Users), channels: slices.Clone(cfg.Channels),
		faults: map[string][]Fault{}, always: map[string]Fault{}, allowed: map[string]int{},
		triggers: map[string]*trigger{}, hooks: map[string]*hook{}, views: map[string]*View{},
	}
	if s.scopes == nil {
		s.scopes = AllScopes
	}
	if s.cfg.AppScopes == nil {
		s.cfg.AppScopes = []string{"connections:write"}
	}
	s.limiter.limits = cfg.Limits
	return s
}

// Allow says that the test means to send what Slack refuses with this code (or, for
// what is legal and wrong, the words before the colon of the failure).
func (s *Slack) Allow(codes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range codes {
		s.allowed[c]++
	}
}

// illegal fails the test unless it is allowed. The caller holds mu.
func (s *Slack) illegal(method, code, format string, args ...any) {
	if s.allowed[code] == 0 {
		s.t.Errorf("strictslack: %s: %s: %s", method, code, fmt.Sprintf(format, args...))
	}
}

// Revoke makes every call fail with the code (token_revoked, account_inactive, …);
// "" makes the token work again.
func (s *Slack) Revoke(code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked = code
}

// Grant changes what the bot token may do.
func (s *Slack) Grant(scopes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scopes = scopes
}

// SetUser changes, or adds, a member.
func (s *Slack) SetUser(u User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users = append(slices.DeleteFunc(s.users, func(o User) bool { return o.ID == u.ID }), u)
}

// SetChannel changes, or adds, a channel: archives it, renames it, …
func (s *Slack) SetChannel(c Channel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.channels = append(slices.DeleteFunc(s.channels, func(o Channel) bool { return o.ID == c.ID }), c)
}

// DM is the id of the conversation between the app and a member.
func DM(user string) string { return "D" + user[1:] }

// Messages lists what is in a conversation now, oldest first, thread replies and
// ephemeral messages too. It is named by a channel's id or #name, or by a member's id.
func (s *Slack) Messages(conversation string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := conversation
	if c, ok := s.channel(conversation); ok {
		id = c.ID
	} else if _, ok := s.user(conversation); ok {
		id = DM(conversation)
	}
	var out []Message
	for _, m := range s.messages {
		if m.Channel == id {
			out = append(out, *m)
		}
	}
	return out
}

// Delete takes a message away, as a person in the workspace can.
func (s *Slack) Delete(channel, ts string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = slices.DeleteFunc(s.messages, func(m *Message) bool { return m.Channel == channel && m.TS == ts })
}

// Calls lists the requests of a method, or all for "", in their order.
func (s *Slack) Calls(method string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Call
	for _, c := range s.calls {
		if method == "" || c.Method == method {
			out = append(out, c)
		}
	}
	return out
}

// Said is every text of a message that a person can read, a line each: its blocks'
// or, without blocks, its own.
func (m Message) Said() string {
	var b strings.Builder
	find(decode(m.Blocks), func(o object) {
		if s, ok := o["text"].(string); ok {
			b.WriteString(s + "\n")
		}
	})
	if b.Len() == 0 {
		return m.Text
	}
	return b.String()
}

// Live lists the mentions, links and dates that are live in the message.
func (m Message) Live() []string {
	live := Live(m.Text)
	find(decode(m.Blocks), func(o object) {
		if s, ok := o["text"].(string); ok && o["type"] == "mrkdwn" {
			live = append(live, Live(s)...)
		}
	})
	return live
}

// Button finds a button of the message by its action id: its value, and whether it is there.
func (m Message) Button(actionID string) (value string, ok bool) {
	find(decode(m.Blocks), func(o object) {
		if o["type"] == "button" && o["action_id"] == actionID {
			value, _ = o["value"].(string)
			ok = true
		}
	})
	return value, ok
}

// find calls f for all objects of blocks, from top to bottom.
func find(v any, f func(object)) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			find(e, f)
		}
	case object:
		f(v)
		for _, k := range []string{"text", "fields", "elements", "accessory", "options", "label", "rows"} {
			find(v[k], f)
		}
	}
}

// user finds a member; the caller holds mu.
func (s *Slack) user(id string) (User, bool) {
	for _, u := range s.users {
		if u.ID == id {
			return u, true
		}
	}
	return User{}, false
}

// channel finds a channel by id, name or #name; the caller holds mu.
func (s *Slack) channel(ref string) (Channel, bool) {
	name := strings.TrimPrefix(ref, "#")
	for _, c := range s.channels {
		if c.ID == ref || c.Name == name {
			return c, true
		}
	}
	return Channel{}, false
}

func (s *Slack) has(scope string) bool { return slices.Contains(s.scopes, scope) }

// stamp makes a ts that no other message has; the caller holds mu.
func (s *Slack) stamp() string {
	s.clock = max(s.clock+1, s.cfg.Now().UnixMicro())
	return fmt.Sprintf("%d.%06d", s.clock/1e6, s.clock%1e6)
}

// ServeHTTP is the Web API below /api/, and the hooks of response URLs below /hooks/.
func (s *Slack) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id, ok := strings.CutPrefix(r.URL.Path, "/hooks/"); ok {
		s.serveHook(w, r, id)
		return
	}
	method := strings.TrimPrefix(r.URL.Path, "/api/")
	args, token, problem := s.arguments(r)

	s.mu.Lock()
	fault := s.fault(method)
	s.mu.Unlock()
	if !fault.Accept && fault.breaks() {
		s.note(method, args, "fault")
		fault.happen(w, r)
		return
	}
	var out answer
	if fault.Code != "" {
		out = refuse(fault.Code)
	} else {
		s.mu.Lock()
		out = s.call(method, args, token, problem, r)
		s.mu.Unlock()
	}
	s.note(method, args, out.code)
	if fault.breaks() {
		fault.happen(w, r)
		return
	}
	out.write(w, s)
}

func (s *Slack) note(method string, args url.Values, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, Call{Method: method, Args: args, At: s.cfg.Now(), Error: code})
}

// answer is what a method answers.
type answer struct {
	code   string // "": ok
	fields object
	status int
	header http.Header
}

func ok(fields object) answer { return answer{fields: fields} }

func refuse(code string) answer { return answer{code: code} }

func (a answer) write(w http.ResponseWriter, s *Slack) {
	for k, v := range a.header {
		w.Header()[k] = v
	}
	s.mu.Lock()
	w.Header().Set("X-OAuth-Scopes", strings.Join(s.scopes, ","))
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	body := object{"ok": a.code == ""}
	for k, v := range a.fields {
		body[k] = v
	}
	if a.code != "" {
		body["error"] = a.code
	}
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err) // ours
	}
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	_, _ = w.Write(raw)
}

// arguments reads a request's arguments and token, from a form or from JSON. The
// problem is Slack's code for a body it cannot read.
func (s *Slack) arguments(r *http.Request) (args url.Values, token, problem string) {
	args = url.Values{}
	token, _ = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil {
		return args, token, "request_timeout"
	}
	switch typ, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); typ {
	case "application/x-www-form-urlencoded":
		if args, err = url.ParseQuery(string(body)); err != nil {
			return url.Values{}, token, "invalid_form_data"
		}
		if t := args.Get("token"); t != "" && token == "" {
			token = t
		}
		args.Del("token")
	case "application/json":
		var fields map[string]json.RawMessage
		// No body is no arguments: so slack-go asks for a socket.
		if len(body) > 0 && json.Unmarshal(body, &fields) != nil {
			return args, token, "invalid_json"
		}
		for k, v := range fields {
			var text string
			if json.Unmarshal(v, &text) != nil {
				text = string(v)
			}
			args.Set(k, text)
		}
	case "":
		if len(body) > 0 {
			return args, token, "missing_post_type"
		}
	default:
		return args, token, "invalid_post_type"
	}
	for k, v := range r.URL.Query() {
		if k == "token" {
			problem = "token_in_url"
			continue
		}
		args[k] = v
	}
	return args, token, problem
}
