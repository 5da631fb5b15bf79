// Package notifiers is the one message model of every channel, and the words
// that all of them use. The packages below it render a Message for one channel,
// deliver it and classify the channel's answer:
//
//	slack/  direct messages, boards and their threads
//	email/  text and HTML mails with acknowledgement links
//	inbox/  stands in for Slack and the smarthost in demo and tests
//
// A Message holds facts, never rendered text: what a person reads is derived
// from it at the moment of sending. Three kinds of text are kept apart by type:
// Untrusted (labels, annotations, notes) can hold anything and must be escaped
// for the channel; plain strings are ours or the catalog's and are escaped too;
// markup is made by the channel's own package only.
package notifiers

import (
	"html/template"
	"time"

	"callchain/config"
)

// Untrusted is text that somebody else wrote: a label, an annotation, a note.
type Untrusted string

// Kind is what a message is for.
type Kind string

// The kinds of message.
const (
	Page     Kind = "page"     // asks one person for an acknowledgement; in Slack edited as the incident changes
	Reminder Kind = "reminder" // rings again, in the thread of the page
	Told     Kind = "told"     // mail only: tells who acknowledged, or that it is over, in the thread of the page
	Board    Kind = "board"    // a team's shared message, edited as the incident changes
	Thread   Kind = "thread"   // timeline lines under a board
	Notice   Kind = "notice"   // callchain speaks about itself; no buttons
	Report   Kind = "report"   // the weekly report; no buttons, never edited
	Question Kind = "question" // asks the acknowledger whether they still are on it, in the thread of their page
	Digest   Kind = "digest"   // names the incidents of a storm to one person, with one button for all of them; edited
)

// Channel names.
const (
	Slack = "slack"
	Email = "email"
)

// Ref is where a channel put a message: what is needed to edit it or to answer in its thread.
type Ref struct {
	Channel string `json:"c,omitempty"` // Slack: the conversation's id (D…, C…)
	TS      string `json:"t,omitempty"` // Slack: the message's ts; e-mail: the Message-ID
}

// Message is one thing to deliver to one address over one channel.
type Message struct {
	ID      string // of the delivery: the same on every attempt
	Attempt int    // from 1
	Tries   int    // attempts that failed since the message last arrived
	Kind    Kind

	// PerhapsSince is set when an attempt, by this process or another one, perhaps
	// brought the message without anybody's hearing of it: where the channel can be
	// read, it is looked for from that time on before it is sent again.
	PerhapsSince time.Time

	// Address is where it goes. Slack: a member id, a conversation's id or
	// #name; "" with Email set: the member is looked up by it. E-mail: the address.
	Address string
	Email   string // the person's e-mail address, for Slack's look-up

	// Ref with Edit is the message to replace; without Edit the message whose
	// thread this one joins.
	Ref  Ref
	Edit bool

	// Usergroup is the team's Slack user group, mentioned on its board; "" if none.
	Usergroup string

	ReadOnly bool     // a board without buttons: its readers are told, not asked
	Mention  []string // Slack member ids that a thread message mentions

	Incident Incident
	You      *You   // of a page, reminder or told: the person it is for
	Lines    []Line // of a thread message, oldest first
	Notice   *Text  // of a notice
	Report   *Paper // of a report
	Digest   *Storm // of a digest
	Now      time.Time
}

// Text is a notice.
type Text struct {
	Title string
	Body  Untrusted
}

// Paper is the weekly report. Slack gets the sections, a mail the parts.
type Paper struct {
	Title    string
	Lead     []Untrusted // paragraphs
	Sections []Section
	More     string // where all of it is: a link or a command; "" if there is no such place

	// The parts of a mail, whole. Without Text they are made from the sections.
	Text string
	HTML template.HTML // escaped by whoever made it; "" for a mail of text alone
}

// Section is one part of a report.
type Section struct {
	Title string
	Lines []Untrusted
	Left  int // lines left out before it came here
}

// Storm is what a digest says to a person who is paged for more incidents than a
// minute may have.
type Storm struct {
	Limit int     // pages of their own that a person gets a minute
	Total int     // incidents of the digest
	Open  int     // those that ask for an answer
	Named []Named // at most 50
	New   int     // of those named: since it rang last
	Again bool    // it rings again although nothing joined: what is open reminds
	Over  bool    // none asks for an answer any more

	Next   *Next  // the earliest escalation of those named; nil if there is none
	NextID string // whose it is

	Asks  int    // incidents that the button or the link acknowledges: those named that are open
	Token string // what the button carries; "" without one
	Page  string // where all incidents are listed; "" if there is no such place
}

// Named is an incident as a digest names it.
type Named struct {
	ID     string
	Title  Untrusted // what it is about: "parsoid: HighErrorRate"
	Urgent bool      // an unbreak now
	State  State
	By     string // who acknowledged or resolved it; "" if nobody
	New    bool   // it was not named when the digest rang last
	Apart  bool   // it was over, and has paged by itself since
}

// Line is one line of the timeline.
type Line struct {
	At   time.Time
	Text Untrusted
	Ring bool // worth a broadcast to the channel: nobody answered
}

// You is the person a message is for.
type You struct {
	Handle   string
	Name     string
	Timezone *time.Location // never nil
	As       string         // what they are paged as: "incident_response owner of parsoid"
	Why      string         // the chain's reason for this step
	Step     int            // of the chain, from 1
	Steps    int
	Round    int // from 1
	Rounds   int
	AckURL   string // signed link; "" when there is none
	MayCome2 bool   // the page may reach them twice (after an ambiguous answer)
	Beside   bool   // they were asked by hand besides whoever has it, and have not answered
}

// State is the state of an incident, as people read it.
type State string

// The states.
const (
	Triggered    State = "triggered"
	Acknowledged State = "acknowledged"
	Snoozed      State = "snoozed"
	Resolved     State = "resolved"
)

// Incident is what a message says about its incident: the state at one revision.
type Incident struct {
	ID        string
	Revision  uint64 // shown, so that people see that an edit arrived
	State     State
	Urgency   config.Urgency
	Exhausted bool
	Held      Untrusted // who keeps its alerts quiet in Alertmanager, and until when: the chain waits; "" if it does not
	Test      bool      // a test page
	Drill     bool      // a drill: nothing is broken

	Subject      string // service:parsoid
	Name         string // parsoid; the group's name for people
	Known        bool   // Name is a service of the catalog
	Lifecycle    config.State
	Assessment   string
	Missing      []string // sentences: what is missing in ownership, that answering does not make one an owner; empty when owned
	CanDeploy    string   // the configuration_deployment owner's name; "" if none
	AlsoAffected []string
	Matched      string // how the subject was found, in words
	CatalogPlace string // file:line of the service's entry; "" if none
	Confidential bool

	AlertName  Untrusted // of the first alert; "" if it has none
	Summary    Untrusted // of the first alert
	Alerts     []Alert   // at most 20, firing ones first
	Firing     int
	Resolved   int
	Truncated  int // alerts that Alertmanager counted but did not send
	OpenedAt   time.Time
	ResolvedAt time.Time

	By    string // who acknowledged, or resolved by hand; "" if nobody
	ByVia string // slack, email link, API, ...
	ByAt  time.Time

	AckExpires   time.Time // when the acknowledgement ends by itself; zero: it does not, or nobody has acknowledged
	SnoozedUntil time.Time // of the snoozed state
	Flapping     bool      // it fires again and again, and pages no more for that

	Step  int      // of the chain, that is asked now or was last, from 1; 0: none
	Round int      // of that step, from 1
	Paged []Paged  // everybody paged so far, first time each, in order
	Next  *Next    // what happens without an answer; nil when nothing will
	Notes []string // further sentences of ours: a silence does not stop this, and the like

	Runbook   Untrusted // URLs; only http and https with a host are linked
	Dashboard Untrusted
	Source    Untrusted // the graph in Prometheus
	Silence   Untrusted // Alertmanager's form for a new silence on these labels
	Page      string    // callchain's own page of the incident; "" without one

	// Token is what a button carries: it names the incident and the step it was
	// shown for. It has no authority of its own.
	Token string
}

// Conceal leaves of a confidential incident what people may know who were told of
// it before it was confidential, or before they could read along.
func (in *Incident) Conceal() {
	in.AlertName, in.Summary, in.Alerts = "an alert", "The details are confidential.", nil
	if in.Held != "" {
		in.Held = "kept quiet in Alertmanager"
	}
	in.Matched, in.Runbook, in.Dashboard, in.Source, in.Silence, in.Page = "", "", "", "", "", ""
}

// Alert is one alert as shown.
type Alert struct {
	Firing   bool
	Name     Untrusted
	Summary  Untrusted
	Labels   []Label // the ones that tell alerts of the group apart come first
	StartsAt time.Time
	EndsAt   time.Time
}

// Label is a label of an alert.
type Label struct{ Name, Value Untrusted }

// Paged says who was paged, as what, when.
type Paged struct {
	Name     string
	SlackID  string // "" if not known
	As       string
	At       time.Time
	Step     int
	Channels []string // on which it was accepted
	Failed   string   // why it reached nobody; "" if it did or is under way
}

// Next is what happens if nobody answers.
type Next struct {
	At    time.Time
	Names []string // who is paged then; empty: see Last
	As    string   // as what
	Last  bool     // no step is left: nobody further is paged
	Again bool     // the next one begins a new round
}

// Verdict classifies a channel's answer.
type Verdict int

// The verdicts.
const (
	Sent      Verdict = iota // delivered: Ref says where
	Retry                    // certainly not delivered; may be tried again after After
	Ambiguous                // perhaps delivered; to be sent again under the same ID
	Refused                  // this address will never take it
	Down                     // the channel as a whole does not work: its credentials, its server
	Gone                     // of an edit: the message to edit is not there any more
)

func (v Verdict) String() string {
	return [...]string{"sent", "retry", "ambiguous", "refused", "down", "gone"}[v]
}

// Result is the outcome of one attempt. Err says why, in words that may be
// shown to people: no secrets. After is the channel's own wish (Retry-After); zero: none.
type Result struct {
	Verdict Verdict
	Ref     Ref
	After   time.Duration
	Err     error
	Found   bool // of Sent: an earlier attempt had brought it, nothing was sent now
	Cure    bool // it ends only when a person does something: self.team is told. Of a refusal: the address is wrong
}
