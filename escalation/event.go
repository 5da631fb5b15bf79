package escalation

import (
	"callchain/config"
	"callchain/routing"
)

// Event is something that happens to an incident.
type Event interface{ event() }

// Observe is what a webhook says about the incident's alerts. Firing and
// resolved alerts that the incident knows already change nothing.
type Observe struct {
	Firing    []Seen
	Resolved  []Seen
	Truncated int
	Because   string // why it ends with its last alert, in words; "": they are over
}

// Seen is one alert of a webhook.
type Seen struct {
	Alert
	Urgency  config.Urgency // of a firing one
	ReviewAt Instant
	Risks    []routing.Risk

	Confidential bool
}

// Tick says that time has passed: it does what is due.
type Tick struct{}

// Abandoned says that whoever was sending before an instant is gone: attempts of
// then that are still under way are to be made again at once, without waiting
// for their leases to run out.
type Abandoned struct{ Before Instant }

// Unsent says that an attempt was taken and will not be begun: it is due again at once.
type Unsent struct {
	Delivery string
	Attempt  int
}

// Renew says that an attempt is still being made.
type Renew struct {
	Delivery string
	Attempt  int
}

// Acknowledge is somebody's answer. TakeOver: they know that they are not in the chain.
type Acknowledge struct {
	By       Actor
	TakeOver bool
	// Stranger is set for members of the workspace who are not in the catalog.
	Stranger bool
}

// Escalate moves on to the next step at once. From is the step it was pressed
// for; if the incident has moved on since, nothing happens. nil: whatever step
// is current, which a caller that may repeat itself must not send.
type Escalate struct {
	By   Actor
	From *Place
}

// Place is a step of a run of the chain.
type Place struct{ Run, Round, Step int }

// ResolveByHand closes the incident although its alerts may still fire.
type ResolveByHand struct{ By Actor }

// Unacknowledge takes an acknowledgement back: the chain goes on at the step
// that it had reached.
type Unacknowledge struct{ By Actor }

// StillOn renews an acknowledgement that is about to end. Only whoever has
// acknowledged can say so; so does their Acknowledge, once they were asked.
type StillOn struct{ By Actor }

// EscalateTo pages somebody in particular at once, beside whoever has
// acknowledged: To is a role, engineering_manager, director, fallback, team:NAME
// or person:NAME.
type EscalateTo struct {
	By Actor
	To string
}

// Reassign asks somebody in particular in place of the step that is current.
// When they do not answer, that step goes on. To as in EscalateTo.
type Reassign struct {
	By       Actor
	TakeOver bool
	Stranger bool
	To       string
}

// Snooze pauses paging until an instant, at most MaxSnooze away. It ends an
// acknowledgement.
type Snooze struct {
	By       Actor
	TakeOver bool
	Stranger bool
	Until    Instant
}

// Declare says how urgent it is: "this is unbreak now". It never lowers an urgency.
type Declare struct {
	By      Actor
	Urgency config.Urgency
}

// Remark is a note for the timeline, of at most MaxRemark characters.
type Remark struct {
	By   Actor
	Text string
}

// Disown says that the alert went to the wrong owner: the next step is taken at
// once, and it is a risk. Right is whose it is, as far as By knows: team:NAME,
// service:NAME or "".
type Disown struct {
	By     Actor
	Right  string
	Reason string
	From   *Place // as in Escalate
}

// Result is the outcome of one attempt at a delivery.
type Result struct {
	Delivery string
	Attempt  int
	Verdict  Verdict
	Ref      Ref
	After    int64  // milliseconds that the channel asked us to wait; 0: no wish
	Error    string // for people; no secrets
	Found    bool   // of a message in doubt: it was there, and was not sent again
	Cure     bool   // it ends only when a person does something; of a refusal: the address is wrong

	// Of is a page that was sent while the record could not be read: it may be one
	// over a person's other channel, of which the record does not know yet.
	Of *Delivery `json:",omitempty"`
}

// Verdict classifies a channel's answer; see notifiers.Verdict.
type Verdict int

// The verdicts.
const (
	VerdictSent Verdict = iota
	VerdictRetry
	VerdictAmbiguous
	VerdictRefused
	VerdictDown
	VerdictGone
	VerdictWait // it was not made: it is to be made After; a Ref names the digest that a page is in
)

func (Observe) event()       {}
func (Tick) event()          {}
func (Abandoned) event()     {}
func (Unsent) event()        {}
func (Renew) event()         {}
func (Acknowledge) event()   {}
func (Escalate) event()      {}
func (ResolveByHand) event() {}
func (Result) event()        {}
func (Unacknowledge) event() {}
func (StillOn) event()       {}
func (EscalateTo) event()    {}
func (Reassign) event()      {}
func (Snooze) event()        {}
func (Declare) event()       {}
func (Remark) event()        {}
func (Disown) event()        {}

// AnswerKind says what an event did.
type AnswerKind string

// The answers.
const (
	Done       AnswerKind = "done"
	Unchanged  AnswerKind = "unchanged"        // nothing to do
	Already    AnswerKind = "already"          // By acknowledged it at At
	Closed     AnswerKind = "closed"           // resolved at At
	NotInChain AnswerKind = "not_in_chain"     // and did not say take over
	Volunteer  AnswerKind = "volunteer"        // they are in volunteer teams alone: told, but nobody relies on them
	MovedOn    AnswerKind = "moved_on"         // the press was for an earlier step
	NobodyLeft AnswerKind = "nobody_left"      // no step is left to escalate to
	NotAcked   AnswerKind = "not_acknowledged" // nobody has acknowledged it now
	NoTarget   AnswerKind = "no_target"        // To names nobody whom the catalog knows and a channel reaches
	BadTime    AnswerKind = "bad_time"         // until is past, or too far away
	NotHigher  AnswerKind = "not_higher"       // a declared urgency that is lower than it has: it never falls
	Practice   AnswerKind = "practice"         // it is a test page or a drill: nothing is broken
	Recorded   AnswerKind = "recorded"         // kept on disk while the store is away; what it does is decided later
)

// Answer is what an event did, for the one who caused it.
type Answer struct {
	Kind AnswerKind
	By   Actor
	At   Instant // Done: when what was renewed had been acknowledged first
	Why  string  // NoTarget, BadTime: the reason, and what to do
	Kept bool    // Already: on an island only, as what is Recorded
}
