package inbox

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// The ids of the workspace and of the app in it.
const (
	TeamID    = "T0CALLCHAIN"
	AppID     = "A0CALLCHAIN"
	BotID     = "B0CALLCHAIN"
	BotUserID = "U0CALLCHAIN"
)

// Bounds of what is kept.
const (
	maxMessages = 1000
	maxEdits    = 20 // of one message
	maxReplies  = 1000
	maxFaults   = 1000
)

// User is a member of the workspace.
type User struct {
	ID         string // U… or W…
	Name       string
	Email      string
	Restricted bool // a guest
	Bot        bool
	Deleted    bool
}

// Config is the workspace that Slack plays.
type Config struct {
	Token         string // the bot token that callers must send
	SigningSecret string
	Users         []User
	Channels      []string // names, with or without #; the app is a member of each

	// CallbackURL takes the presses and forms: callchain's /slack/interactions;
	// CommandURL what is typed: its /slack/commands.
	CallbackURL string
	CommandURL  string

	// Keep is how many messages are kept; 0: a thousand. One that is forgotten
	// cannot be edited any more, as if it had been deleted.
	Keep int

	// RateLimit makes chat.postMessage answer 429 above one message a second
	// and channel, after a burst of a few.
	RateLimit bool

	Now func() time.Time // nil: time.Now
}

// Ref names a message: Slack's pair of conversation and ts.
type Ref struct {
	Channel string
	TS      string
}

// Edit is what a message said before it was changed.
type Edit struct {
	At     time.Time // when it was replaced
	Text   string
	Blocks json.RawMessage
}

// Message is an accepted message as it is now.
type Message struct {
	Ref
	ChannelName string // #name; of a direct message: the member's name
	User        string // of a direct message: the member's id
	ThreadTS    string // of a reply: its parent's ts
	Broadcast   bool   // a reply that is shown in the channel too
	EphemeralTo string // shown to this member only
	Text        string
	Blocks      json.RawMessage // with the block and action ids that Slack adds; nil: none
	Metadata    json.RawMessage // nil: none, or lost
	At          time.Time
	Edits       []Edit // oldest first, the last few only
	EditCount   int
}

// Slack is the workspace. Its methods may be called at any time from anywhere.
type Slack struct {
	changes
	cfg Config
	mux *http.ServeMux

	mu       sync.Mutex
	callback string
	commands string
	triggers []*trigger
	views    []*View
	users    map[string]User
	channels map[string]channel // by id
	messages []*Message         // in the order of their ts
	lastTS   int64              // microseconds
	base     string             // scheme and host under which callers reach this server
	replies  []*replyURL
	serial   int
	faults   []*fault
	buckets  map[string]*bucket
}

type channel struct {
	id, name string // of a direct message: the member's name
	user     string // of a direct message
}

// New returns an empty workspace.
func New(cfg Config) *Slack {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Keep = cmp.Or(cfg.Keep, maxMessages)
	s := &Slack{
		cfg:      cfg,
		callback: cfg.CallbackURL,
		commands: cfg.CommandURL,
		users:    map[string]User{},
		channels: map[string]channel{},
		buckets:  map[string]*bucket{},
	}
	for _, u := range cfg.Users {
		s.users[u.ID] = u
	}
	for _, name := range cfg.Channels {
		name = strings.TrimPrefix(name, "#")
		id := conversationID("C", name)
		s.channels[id] = channel{id: id, name: name}
	}
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("/api/{method}", s.api)
	s.mux.HandleFunc("POST /response/{id}", s.respond)
	return s
}

// ServeHTTP serves the Web API under /api/ and the response URLs of presses.
func (s *Slack) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// SetCallbackURL changes where presses and forms are sent: for when the daemon's
// address is known later than the workspace's.
func (s *Slack) SetCallbackURL(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callback = url
}

// SetCommandURL changes where typed commands are sent.
func (s *Slack) SetCommandURL(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = url
}

// Users returns the members in the order of their names.
func (s *Slack) Users() []User {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []User
	for _, u := range s.users {
		list = append(list, u)
	}
	slices.SortFunc(list, func(a, b User) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return list
}

// Messages returns what is kept, oldest first, replies and messages for one
// member's eyes included.
func (s *Slack) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Message, len(s.messages))
	for i, m := range s.messages {
		list[i] = *m
		list[i].Edits = slices.Clone(m.Edits)
	}
	return list
}

// Wait returns the first message that the condition holds for, as soon as there is one.
func (s *Slack) Wait(ctx context.Context, cond func(Message) bool) (Message, error) {
	return await(ctx, &s.changes, s.Messages, cond)
}

// conversationID makes the same id for the same name in every run.
func conversationID(prefix, of string) string {
	sum := sha256.Sum256([]byte(of))
	return prefix + "0" + base32.StdEncoding.EncodeToString(sum[:])[:9]
}

// post keeps a new message. s.mu is held.
func (s *Slack) post(m Message) *Message {
	now := s.cfg.Now()
	// As in Slack a ts is unique in its channel and says when; here it rises over all.
	s.lastTS = max(now.UnixMicro(), s.lastTS+1)
	m.TS = fmt.Sprintf("%d.%06d", s.lastTS/1e6, s.lastTS%1e6)
	m.At = now
	c := s.channels[m.Channel]
	m.ChannelName, m.User = c.name, c.user
	if c.user == "" {
		m.ChannelName = "#" + c.name
	}
	s.messages = append(s.messages, &m)
	if len(s.messages) > s.cfg.Keep {
		s.messages = slices.Delete(s.messages, 0, len(s.messages)-s.cfg.Keep)
	}
	s.notify()
	return &m
}

// edit replaces what a message says. s.mu is held.
func (s *Slack) edit(m *Message, text string, blocks json.RawMessage) {
	m.Edits = append(slices.Clone(m.Edits), Edit{At: s.cfg.Now(), Text: m.Text, Blocks: m.Blocks})
	if len(m.Edits) > maxEdits {
		m.Edits = m.Edits[1:]
	}
	m.EditCount++
	m.Text, m.Blocks = text, blocks
	s.notify()
}

// find returns a kept message, nil if there is none. s.mu is held.
func (s *Slack) find(ref Ref) *Message {
	for _, m := range s.messages {
		if m.Ref == ref {
			return m
		}
	}
	return nil
}

// direct returns the direct message channel of a member, opening it first.
// s.mu is held.
func (s *Slack) direct(u User) channel {
	id := conversationID("D", u.ID)
	if _, ok := s.channels[id]; !ok {
		s.channels[id] = channel{id: id, name: u.Name, user: u.ID}
	}
	return s.channels[id]
}

// bucket is the message budget of one channel.
type bucket struct {
	left float64
	at   time.Time
}

const burst = 4

// allow takes one message from a channel's budget. s.mu is held.
func (s *Slack) allow(channel string) bool {
	now := s.cfg.Now()
	b := s.buckets[channel]
	if b == nil {
		b = &bucket{left: burst, at: now}
		s.buckets[channel] = b
	}
	b.left = min(burst, b.left+now.Sub(b.at).Seconds())
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
