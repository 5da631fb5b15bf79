package escalation

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
)

// DeliveryKind is what a delivery brings.
type DeliveryKind string

// The kinds of delivery. Page and Board messages in Slack are brought up to
// date when the incident changes; Thread brings new timeline lines under the
// board; the others are sent once.
const (
	PageDelivery     DeliveryKind = "page"
	ReminderDelivery DeliveryKind = "reminder"
	ToldDelivery     DeliveryKind = "told"
	BoardDelivery    DeliveryKind = "board"
	ThreadDelivery   DeliveryKind = "thread"
	NoticeDelivery   DeliveryKind = "notice"
	ReportDelivery   DeliveryKind = "report"
	QuestionDelivery DeliveryKind = "question"
)

// Status is where a delivery stands.
type Status string

// The statuses. Sent is the end, except for messages that are kept up to date.
const (
	Pending  Status = "p"
	InFlight Status = "f" // some process is sending it, until Until
	Sent     Status = "s"
	Failed   Status = "x" // this address will never take it
)

// Ref is where the channel put the message.
type Ref struct {
	Channel string `json:"c,omitempty"`
	TS      string `json:"t,omitempty"`
}

// Delivery is one message to one address over one channel, or the intent to send it.
type Delivery struct {
	ID       string       `json:"i"` // stable over attempts and replicas
	Kind     DeliveryKind `json:"k"`
	Channel  string       `json:"c"`            // slack, email
	To       string       `json:"o,omitempty"`  // page, reminder, told: a person's handle; board, notice: a team's name
	Address  string       `json:"a,omitempty"`  // as known when it was decided; the catalog's, if it has one by now, is used
	ReadOnly bool         `json:"y,omitempty"`  // a board without buttons
	Parent   string       `json:"pa,omitempty"` // thread, reminder, told: the delivery whose thread it joins

	As       string  `json:"as,omitempty"` // page: the step's notify
	Why      string  `json:"w,omitempty"`  // page: the step's reason
	Run      int     `json:"rn,omitempty"`
	Round    int     `json:"ro,omitempty"`
	Position int     `json:"sp,omitempty"`
	Hand     Instant `json:"hd,omitempty"` // page, reminder: when they were asked out of the chain's order

	Status  Status  `json:"s"`
	At      Instant `json:"t"`            // pending: not before
	Slot    bool    `json:"l,omitempty"`  // pending: At is its turn in the conversation
	Until   Instant `json:"u,omitempty"`  // in flight: until then nobody else sends it
	Attempt int     `json:"n,omitempty"`  // rises with every attempt and names it
	Tries   int     `json:"tn,omitempty"` // failures since it last arrived, outages of the channel not counted
	Ref     Ref     `json:"r,omitzero"`   // set: it is there, and is edited from now on
	Rev     uint64  `json:"v,omitempty"`  // the incident's Rev that it shows
	Sending uint64  `json:"sv,omitempty"` // in flight: the Rev (thread: the Seq) being sent
	Done    int     `json:"q,omitempty"`  // thread: Seq of the last line that is there
	Reached Instant `json:"rd,omitempty"` // when it was first accepted
	Maybe   int     `json:"m,omitempty"`  // ambiguous answers so far: it may be there more than once
	Error   string  `json:"e,omitempty"`  // of the last attempt
}

// editable tells whether the message is kept up to date.
func (d *Delivery) editable() bool {
	return d.Channel == "slack" && (d.Kind == PageDelivery || d.Kind == BoardDelivery)
}

// deliveryID makes the id of a delivery: 16 letters and digits that depend on
// nothing but what the delivery is, so that every attempt, by whomever, has the same.
func deliveryID(parts ...any) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%v\x00", p)
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)[:10]))
}
