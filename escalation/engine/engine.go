package engine

import (
	"context"
	"errors"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/notifiers"
	"callchain/routing"
	"callchain/routing/catalog"
)

// Snapshot is one configuration in force. It never changes; a reload replaces it.
type Snapshot struct {
	Config  *config.Config
	Catalog *catalog.Catalog
	Router  *routing.Router
}

// Channel delivers messages: one per notifiers.Slack and notifiers.Email.
type Channel interface {
	// Deliver makes one attempt and classifies the answer. It returns when ctx is done.
	Deliver(ctx context.Context, msg notifiers.Message) notifiers.Result
	// Probe tells whether the channel as a whole works.
	Probe(ctx context.Context) error
	// Conversation names what is paced to one message a second; "" is not paced.
	Conversation(msg notifiers.Message) string
}

// ErrNotFound is returned for an incident that does not exist (any more).
var ErrNotFound = errors.New("no such incident")

// Filter selects incidents of a list. Empty fields select all.
type Filter struct {
	State   string // triggered, acknowledged, snoozed, resolved, or "open" for all but resolved
	Service string
	Team    string
	Limit   int    // 0: 100; at most 1000
	Cursor  string // as returned before; "" begins
}

// Notice is something that callchain says about itself to a team: on its board and to its e-mail address.
type Notice struct {
	Key   string // the same Key is said once
	Team  string // "": self.team
	Title string
	Body  string
	// BoardOnly leaves the e-mail out where the team has a board.
	BoardOnly bool
}

// API is what the engine offers to the doors: HTTP, Slack callbacks, links, CLI.
// (The concrete type is *Engine.)
type API interface {
	Webhook(ctx context.Context, source string, w routing.Webhook) error
	Do(ctx context.Context, id string, ev escalation.Event) (escalation.Incident, escalation.Answer, error)
	Incident(ctx context.Context, id string) (escalation.Incident, error)
	Incidents(ctx context.Context, f Filter) (list []escalation.Incident, next string, err error)
	TestPage(ctx context.Context, person string, by escalation.Actor) (escalation.Incident, error)
	Notice(ctx context.Context, n Notice) error
	Ready(ctx context.Context) error
	Snapshot() *Snapshot
	Now() time.Time
}
