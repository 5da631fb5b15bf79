package escalation

import (
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// Schema is the version of the records this code writes.
const Schema = 1

// Instant is a point in time in Unix milliseconds; 0 is "never". Records hold
// instants, not times: they are small, exact to what stores keep, and have no zone.
type Instant int64

// At returns the instant of t; the zero time is never.
func At(t time.Time) Instant {
	if t.IsZero() {
		return 0
	}
	return Instant(t.UnixMilli())
}

// Time returns the instant as a time in UTC; never is the zero time.
func (i Instant) Time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(i)).UTC()
}

func (i Instant) plus(d time.Duration) Instant { return i + Instant(d.Milliseconds()) }

// due tells whether the instant is set and not after now.
func (i Instant) due(now Instant) bool { return i != 0 && i <= now }

// Kind tells incidents of alerts from those that people make.
type Kind string

// The kinds of record that are kept as incidents.
const (
	Alerts Kind = ""          // of an Alertmanager group
	Test   Kind = "test"      // a test page to one person
	Missed Kind = "heartbeat" // a heartbeat that is missed; no report counts it
	Drill  Kind = "drill"     // a page through a real chain that people asked for; likewise
	ByHand Kind = "hand"      // a page that somebody sent; likewise: it is a person's judgement, and says nothing of alerts
	Notice Kind = "notice"    // callchain speaks about itself; sent once, never listed
	Report Kind = "report"    // the weekly report to one recipient; likewise
)

// State is what people see first.
type State string

// The states.
const (
	Triggered    State = "triggered"
	Acknowledged State = "acknowledged"
	Snoozed      State = "snoozed"
	Resolved     State = "resolved"
)

// Incident is one record. JSON names are short because every open incident is
// kept in memory by some stores; a name, once released, keeps its meaning.
type Incident struct {
	Schema int    `json:"z"`
	ID     string `json:"id"` // its first two digits are the partition
	Kind   Kind   `json:"k,omitempty"`

	// What it is about.
	Source      string            `json:"src,omitempty"`
	Group       string            `json:"g,omitempty"` // of the group record
	GroupLabels map[string]string `json:"gl,omitempty"`
	ExternalURL string            `json:"eu,omitempty"` // the Alertmanager's, for its silence form
	routing.Target
	Lifecycle    config.State       `json:"lc,omitempty"`
	Assessment   catalog.Assessment `json:"as,omitempty"`
	Missing      []config.Role      `json:"mr,omitempty"`
	Risks        []routing.Risk     `json:"ri,omitempty"`
	MatchedBy    string             `json:"mb,omitempty"`
	Reason       string             `json:"re,omitempty"`
	AlsoAffected []string           `json:"aa,omitempty"`
	Confidential bool               `json:"co,omitempty"`
	Title        string             `json:"ti,omitempty"` // of a notice
	Body         string             `json:"bo,omitempty"` // of a notice; of a page by hand: what somebody wrote
	Sender       *Actor             `json:"sn,omitempty"` // of a page by hand

	// Where it stands.
	State     State          `json:"st"`
	Urgency   config.Urgency `json:"u"`
	Exhausted bool           `json:"ex,omitempty"`
	Stale     bool           `json:"sl,omitempty"`
	Held      bool           `json:"he,omitempty"`
	Hold      *Hold          `json:"ho,omitempty"` // while held
	HeldTold  Instant        `json:"ht,omitempty"` // when people were last told that it is
	Rev       uint64         `json:"rv"`           // rises with every change that people can see
	OpenedAt  Instant        `json:"oa"`
	ClosedAt  Instant        `json:"ca,omitempty"`
	ArchiveAt Instant        `json:"ar,omitempty"` // resolved: until then it may fire again
	Archived  bool           `json:"av,omitempty"` // it cannot any more; stores keep it apart
	Opens     int            `json:"op,omitempty"` // how often it fired again after it was resolved
	Ack       *Ack           `json:"ac,omitempty"` // of the acknowledged state; kept when resolved
	Declared  config.Urgency `json:"du,omitempty"` // what somebody said it is; it stays at least that
	// Of the snoozed state; kept when resolved: it is snoozed if it fires again before.
	SnoozedUntil Instant `json:"su,omitempty"`
	SnoozedBy    *Actor  `json:"sb,omitempty"`
	ClosedBy     *Actor  `json:"cb,omitempty"` // who resolved it by hand

	// The alerts.
	Episodes  Episodes `json:"ep,omitempty"` // every firing one
	Gone      []Gone   `json:"go,omitempty"` // resolved less than LateCopy ago
	Shown     []Alert  `json:"al,omitempty"` // at most MaxShown
	Over      int      `json:"rs,omitempty"` // alerts resolved so far
	Truncated int      `json:"tr,omitempty"` // that Alertmanager did not send, last time
	SeenAt    Instant  `json:"sa,omitempty"` // the last webhook that spoke of it
	Repeat    Instant  `json:"lr,omitempty"` // milliseconds: the longest time between two webhooks that said the same
	StaleAt   Instant  `json:"sw,omitempty"` // when it is stale without a further word
	ReviewAt  Instant  `json:"ra,omitempty"` // when its urgency may rise by itself
	FactDay   string   `json:"fd,omitempty"` // the day to which its facts belong: when it began, or fired again

	// The chain.
	Run        int      `json:"rn,omitempty"` // how often the chain started from step 1
	Round      int      `json:"ro,omitempty"` // from 1; 0: no chain is running
	Rounds     int      `json:"rt,omitempty"`
	Step       int      `json:"sx,omitempty"` // Index in the policy of the current step
	Through    int      `json:"sth,omitempty"`
	Position   int      `json:"sp,omitempty"` // of the current step, from 1
	Positions  int      `json:"sq,omitempty"` // steps of the round, as last planned
	StepAt     Instant  `json:"sat,omitempty"`
	Deadline   Instant  `json:"dl,omitempty"` // when the step is over without an answer
	RemindAt   Instant  `json:"rm,omitempty"`
	RoundPaged []string `json:"rp,omitempty"`  // handles, in this round
	Asked      []string `json:"ask,omitempty"` // handles of the current step
	Paged      []Paged  `json:"pg,omitempty"`  // everybody paged so far, in order
	ExhaustAt  Instant  `json:"xa,omitempty"`  // when the fallback team is told again
	Exhausts   int      `json:"xn,omitempty"`
	Detour     *Detour  `json:"dt,omitempty"` // somebody is asked in place of the step
	Beside     *Beside  `json:"bs,omitempty"` // and somebody besides, by hand
	FiredAt    Instant  `json:"fa,omitempty"` // when the current run began
	Woken      int      `json:"wk,omitempty"` // pages to people so far; the channels of one page count once
	Moves      int      `json:"mv,omitempty"` // steps taken after the first of a run
	Size       int      `json:"sz,omitempty"` // alerts that fired when it was last begun from step 1; 0: not known

	// The outbox and the timeline's tail.
	Deliveries []Delivery `json:"de,omitempty"`
	Timeline   []Entry    `json:"tl,omitempty"` // at most MaxTimeline
	LastSeq    int        `json:"ls,omitempty"` // of the newest entry
}

// Bounds of a record. They limit what is shown, never what is correct.
const (
	MaxShown      = 20
	MaxTimeline   = 100
	MaxDeliveries = 200
	maxValue      = 1024 // runes of a stored label or annotation
)

// LateCopy is how long after a resolve a firing of the same episode is taken
// for a late copy of it and not for a new fire.
const LateCopy = time.Minute

// ClosedRetention is how long a closed incident can be looked at.
const ClosedRetention = 90 * 24 * time.Hour

// Actor is who did something, and how.
type Actor struct {
	Handle string `json:"h"`           // of the catalog; for members of the workspace that it lacks: slack:ID
	Name   string `json:"n,omitempty"` // for people
	Via    string `json:"v,omitempty"` // slack, email, api, cli, web
}

func (a Actor) String() string {
	if a.Name != "" {
		return a.Name
	}
	return a.Handle
}

// Ack is an acknowledgement.
type Ack struct {
	Actor
	At       Instant `json:"at"`
	TookOver bool    `json:"to,omitempty"` // was not in the chain
	Heroic   bool    `json:"hr,omitempty"` // answered for what ownership should have answered
	Expires  Instant `json:"ex,omitempty"` // when it ends by itself; 0: it does not
	AskAt    Instant `json:"aa,omitempty"` // when to ask "still on it?"
	Asked    Instant `json:"as,omitempty"` // when that was asked
}

// Alert is what is kept of an alert to be shown.
type Alert struct {
	Fingerprint uint64            `json:"f"`
	Labels      map[string]string `json:"l"`
	Annotations map[string]string `json:"a,omitempty"`
	Source      string            `json:"g,omitempty"` // generatorURL
	StartsAt    Instant           `json:"s,omitempty"`
	EndsAt      Instant           `json:"e,omitempty"` // 0 while firing
	ReviewAt    Instant           `json:"v,omitempty"` // when its urgency may rise by itself
}

// Gone is an episode that ended.
type Gone struct {
	Fingerprint uint64  `json:"f"`
	EndsAt      Instant `json:"e"`
	Received    Instant `json:"r"`
}

// Paged says who was paged, as what, when first.
type Paged struct {
	Handle string  `json:"h"`
	As     string  `json:"a"` // the step's notify
	At     Instant `json:"t"`
	Step   int     `json:"s"` // position
	Failed string  `json:"f,omitempty"`
}

// Entry is a line of the timeline.
type Entry struct {
	Seq     int     `json:"q"`
	At      Instant `json:"t"`
	Text    string  `json:"x"`
	By      string  `json:"b,omitempty"` // a person's handle
	Ring    bool    `json:"r,omitempty"` // worth a broadcast
	Mention string  `json:"m,omitempty"` // a handle: worth telling them by name
}

// Open tells whether the incident is not resolved.
func (inc *Incident) Open() bool { return inc.State != Resolved }

// Firing is the number of its firing alerts.
func (inc *Incident) Firing() int { return len(inc.Episodes) }

// AcknowledgedBy is the handle of who acknowledged; "" if nobody does now.
func (inc *Incident) AcknowledgedBy() string {
	if inc.Ack != nil && inc.State != Triggered {
		return inc.Ack.Handle
	}
	return ""
}

// NextStepAt is when the chain moves on without an answer; 0 without a timer.
func (inc *Incident) NextStepAt() Instant {
	if inc.State != Triggered {
		return 0
	}
	if inc.Deadline != 0 {
		return inc.Deadline
	}
	return inc.ExhaustAt
}
