// Package report is the memory of ownership: what is recorded of every alert,
// the risks among it, and the weekly report, which is a function of recorded
// facts and the catalog as it is now.
//
// Facts are kept per day and subject. A fact belongs to the day on which
// callchain received the alert, in the report's time zone; what follows from
// the alert, pages and answers, belongs to the same day. The engine adds Events
// to Facts in the transaction that changes the incident, so that each is counted
// once, whatever crashes.
//
// The package is pure: it reads no store and no clock, and sends nothing.
package report

import (
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// Schema is the version of Facts that this code writes.
const Schema = 1

// Bounds of the lists in one Facts. Counts go on beyond them.
const (
	MaxNames  = 50
	MaxLabels = 20
	MaxRisks  = 200
	MaxAcks   = 500
)

// Facts is what is recorded of one subject on one day. JSON names are short and
// permanent, because they are stored.
type Facts struct {
	Schema  int    `json:"z"`
	Day     string `json:"d"` // 2026-11-20
	Subject string `json:"s"`
	Service string `json:"v,omitempty"`
	Named   string `json:"n,omitempty"` // a name that the catalog lacked
	Team    string `json:"t,omitempty"` // whom the alert is listed under
	// Confidential: some alert of it was; then it is shown to nobody who is not named.
	Confidential bool `json:"co,omitempty"`

	// Ownership as it was when last recorded.
	State      config.State       `json:"st,omitempty"`
	Assessment catalog.Assessment `json:"as,omitempty"`
	Missing    []config.Role      `json:"mr,omitempty"`
	// Hit counts the episodes by the assessment that they met: ownership may be
	// mended later on the same day.
	Hit map[catalog.Assessment]int `json:"h,omitempty"`

	Alerts      int                    `json:"a,omitempty"`  // episodes
	Urgencies   map[config.Urgency]int `json:"u,omitempty"`  // of the episodes
	Names       map[string]int         `json:"an,omitempty"` // of the episodes, by alertname; "" beyond MaxNames
	Recorded    map[string]int         `json:"rc,omitempty"` // episodes that opened no incident, by reason
	Labels      []LabelSet             `json:"ls,omitempty"` // of episodes without a service
	Incidents   int                    `json:"i,omitempty"`  // one that fires again is no new one
	Pages       int                    `json:"p,omitempty"`  // people paged, each time anew
	Escalations int                    `json:"e,omitempty"`  // steps after the first of a round
	Acks        []Ack                  `json:"ak,omitempty"`
	AckCount    int                    `json:"ac,omitempty"`
	RiskCounts  map[routing.Risk]int   `json:"rk,omitempty"` // per incident (or recorded alert) once
	Risks       []Risk                 `json:"ri,omitempty"` // the first MaxRisks of them
	RisksEnd    time.Time              `json:"re,omitzero"`  // of the last one that is not in the list
	Shadow      map[string]int         `json:"sh,omitempty"` // shadow: pages that were not sent, by handle

	// Earlier are days before this one whose Facts got a risk on this day: of
	// an incident that went on. Facts may hold nothing else.
	Earlier []string `json:"er,omitempty"`
}

// none tells whether nothing happened on the day.
func (f *Facts) none() bool {
	return f.Alerts == 0 && f.Incidents == 0 && f.Pages == 0 && f.Escalations == 0 && f.AckCount == 0 && len(f.RiskCounts) == 0 && len(f.Shadow) == 0
}

// LabelSet is a label set that led to no service, and how often.
type LabelSet struct {
	Labels map[string]string `json:"l"`
	Count  int               `json:"c"`
}

// Ack is one answer.
type Ack struct {
	By       string `json:"b"`           // handle
	Team     string `json:"t,omitempty"` // of theirs, as far as the catalog knows
	Seconds  int    `json:"s"`           // from the first page of the run to the answer
	Incident string `json:"i"`
	Heroics  bool   `json:"h,omitempty"`
}

// Risk is one recorded risk.
type Risk struct {
	Kind     routing.Risk `json:"k"`
	At       time.Time    `json:"t"`
	Subject  string       `json:"-"` // of the Facts it is in
	Alert    string       `json:"a,omitempty"`
	Incident string       `json:"i,omitempty"` // "" if none was opened
}

// Event is something to be added to the Facts of its Day and Subject.
type Event struct {
	Day     string
	At      time.Time
	Subject string
	Service string
	Named   string
	Team    string

	Confidential bool

	State      config.State
	Assessment catalog.Assessment
	Missing    []config.Role

	Alerts      []Alert // new episodes
	Recorded    string  // the reason why they opened no incident; "" if they did
	Opened      bool    // an incident began
	Pages       int
	Shadow      []string // handles that would have been paged
	Escalations int
	Ack         *Ack
	Risks       []Risk // new ones of the incident or of the recorded alert

	// Earlier is the day to which a risk of this day was added instead; such an
	// event adds nothing else.
	Earlier string
	// TakenBack corrects what was recorded at At; such an event adds nothing.
	TakenBack *TakenBack
}

// TakenBack is said of an alert that was recorded and comes to be one of an
// incident: it was counted, but it is none that opened no incident, and its
// risks are the incident's.
type TakenBack struct {
	Alert  string // its name
	Reason string // why it was thought to open none
	Risks  []routing.Risk
}

// Alert is one new episode.
type Alert struct {
	Name    string
	Urgency config.Urgency
	Labels  map[string]string // kept only without a service
}

// Empty tells whether there is nothing to add.
func (e Event) Empty() bool {
	return len(e.Alerts) == 0 && !e.Opened && e.Pages == 0 && len(e.Shadow) == 0 && e.Escalations == 0 && e.Ack == nil && len(e.Risks) == 0 && e.Earlier == "" && e.TakenBack == nil
}

// Key is the key of the record that holds the Facts of a day and subject,
// within the partition of the alert's group: f/DAY/HASH.
func Key(day, subject string) string { return "f/" + day + "/" + hash(subject) }
