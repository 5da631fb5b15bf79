package config

import "time"

// At is a value with its place in the file. The zero At is an absent value.
type At[T any] struct {
	V   T
	Pos Pos
}

// Set tells whether the value was written in the file.
func (a At[T]) Set() bool { return a.Pos.Line != 0 }

// Catalog is the merged content of the catalog files, in file order.
type Catalog struct {
	People    []Person   `yaml:"people"`
	Teams     []Team     `yaml:"teams"`
	Schedules []Schedule `yaml:"schedules"`
	Services  []Service  `yaml:"services"`
}

// Person is a member of teams. People never own.
type Person struct {
	Pos      Pos                `yaml:"-"`
	Name     At[string]         `yaml:"name"` // unique handle
	Email    At[string]         `yaml:"email"`
	Slack    At[string]         `yaml:"slack"` // member id; absent: looked up by e-mail
	Phone    At[string]         `yaml:"phone"`
	Timezone At[*time.Location] `yaml:"timezone"` // nil: UTC
	Contact  []At[string]       `yaml:"contact"`  // "slack", "email", "webhook:NAME"; empty: slack and email
}

// TeamKind says whether a team may own.
type TeamKind string

// The kinds of team. Volunteer teams never own; they may be told.
const (
	Staff     TeamKind = "staff"
	Affiliate TeamKind = "affiliate"
	Volunteer TeamKind = "volunteer"
)

// Team is the only thing that owns.
type Team struct {
	Pos            Pos          `yaml:"-"`
	Name           At[string]   `yaml:"name"`
	Aliases        []At[string] `yaml:"aliases"`
	Kind           At[TeamKind] `yaml:"kind"` // absent: staff
	Members        []At[string] `yaml:"members"`
	Lead           At[string]   `yaml:"lead"`
	Manager        At[string]   `yaml:"manager"`
	Director       At[string]   `yaml:"director"`
	SlackChannel   At[string]   `yaml:"slack_channel"`
	SlackUsergroup At[string]   `yaml:"slack_usergroup"`
	Email          At[string]   `yaml:"email"`
	Webhooks       []At[string] `yaml:"webhooks"`
	OnCall         At[string]   `yaml:"on_call"` // a schedule; absent: the whole team is on call
}

// Schedule says who is on call when.
type Schedule struct {
	Pos       Pos                `yaml:"-"`
	Name      At[string]         `yaml:"name"`
	Timezone  At[*time.Location] `yaml:"timezone"` // nil: UTC
	Rotations []Rotation         `yaml:"rotations"`
	Shifts    []Shift            `yaml:"shifts"`
	Overrides []Override         `yaml:"overrides"`
	ICalFile  At[string]         `yaml:"ical_file"`
}

// Rotation is one layer: turns that follow each other every period.
type Rotation struct {
	Pos     Pos           `yaml:"-"`
	Members []Turn        `yaml:"members"`
	Start   At[LocalTime] `yaml:"start"`
	Every   At[Period]    `yaml:"every"`
	Only    *Only         `yaml:"only"`
}

// Turn is the people of one turn: usually one.
type Turn []At[string]

// LocalTime is a civil date and time without a zone ("2026-01-05T09:00:00");
// the schedule's zone gives it meaning. It is kept as a time in UTC.
type LocalTime struct{ time.Time }

// PeriodUnit is the unit of a rotation's period.
type PeriodUnit byte

// The units: hours are 60 minutes each, days and weeks are civil days in the schedule's zone.
const (
	Hours PeriodUnit = 'h'
	Days  PeriodUnit = 'd'
	Weeks PeriodUnit = 'w'
)

// Period is the length of a turn: "12h", "1d", "1w".
type Period struct {
	N    int
	Unit PeriodUnit
}

// Only restricts a layer to days of the week and a time of the day in the
// schedule's zone. From == To means the whole day; From > To reaches past
// midnight, into the day after a listed one.
type Only struct {
	Pos  Pos                `yaml:"-"`
	Days []At[time.Weekday] `yaml:"days"` // empty: every day
	From At[ClockTime]      `yaml:"from"`
	To   At[ClockTime]      `yaml:"to"`
}

// ClockTime is a time of the day in minutes since midnight, 0..1440 ("24:00").
type ClockTime int

// Shift is an irregular turn, written out: [From, To).
type Shift struct {
	Pos     Pos           `yaml:"-"`
	Members []At[string]  `yaml:"members"`
	From    At[LocalTime] `yaml:"from"`
	To      At[LocalTime] `yaml:"to"`
}

// Override puts one person in place of whoever would be on call: [From, To).
type Override struct {
	Pos    Pos           `yaml:"-"`
	Member At[string]    `yaml:"member"`
	From   At[LocalTime] `yaml:"from"`
	To     At[LocalTime] `yaml:"to"`
}

// State is a service's place in the ownership policy's lifecycle.
type State string

// The states of the ownership policy.
const (
	Active         State = "active"
	Community      State = "community"
	Maintenance    State = "maintenance"
	ThirdParty     State = "third_party"
	Unowned        State = "unowned"
	Decommissioned State = "decommissioned"
)

// States lists every state in the policy's order.
var States = []State{Active, Community, Maintenance, ThirdParty, Unowned, Decommissioned}

// Role is one of the five owner roles.
type Role string

// The owner roles of the policy.
const (
	Development             Role = "development"
	ContingencyDevelopment  Role = "contingency_development"
	ConfigurationDeployment Role = "configuration_deployment"
	IncidentResponse        Role = "incident_response"
	ProductManagement       Role = "product_management"
)

// Roles lists every role in the policy's order.
var Roles = []Role{Development, ContingencyDevelopment, ConfigurationDeployment, IncidentResponse, ProductManagement}

// Service is the unit of ownership.
type Service struct {
	Pos         Pos                   `yaml:"-"`
	Name        At[string]            `yaml:"name"`
	Aliases     []At[string]          `yaml:"aliases"`
	Description At[string]            `yaml:"description"`
	State       At[State]             `yaml:"state"`
	Tier        At[int]               `yaml:"tier"` // 1 (worst when down) .. 4; absent: 4
	Owners      Owners                `yaml:"owners"`
	Volunteers  []At[string]          `yaml:"volunteers"`
	SLO         *SLO                  `yaml:"slo"`
	Runbook     At[string]            `yaml:"runbook"`
	Dashboard   At[string]            `yaml:"dashboard"`
	Links       map[string]At[string] `yaml:"links"`
	Alerts      []MatcherSet          `yaml:"alerts"`
	Policy      At[string]            `yaml:"policy"`
	Verified    *Verified             `yaml:"verified"`
	Legacy      *Legacy               `yaml:"legacy"`
}

// Owners are the roles of a service. All, the short form, names one team for
// every role of the service's state; then Roles is empty.
type Owners struct {
	Pos   Pos
	All   At[string]
	Roles map[Role]Owner
}

// Owner is what fills a role: a team, or a vacancy held by a director.
type Owner struct {
	Pos    Pos
	Team   At[string] // empty when vacant
	Vacant *Vacancy
}

// Vacancy is a contingency role that a director holds open.
type Vacancy struct {
	Pos      Pos        `yaml:"-"`
	Vacant   At[bool]   `yaml:"vacant"`
	Director At[string] `yaml:"director"`
	Reason   At[string] `yaml:"reason"`
}

// SLO is what the service promises.
type SLO struct {
	Pos       Pos          `yaml:"-"`
	Objective At[float64]  `yaml:"objective"`
	Window    At[Duration] `yaml:"window"`
	URL       At[string]   `yaml:"url"`
}

// Verified says when owners last confirmed the entry, and which.
type Verified struct {
	Pos Pos          `yaml:"-"`
	On  At[Date]     `yaml:"on"`
	By  []At[string] `yaml:"by"`
}

// Legacy marks an unowned service that was found, not launched.
type Legacy struct {
	Pos    Pos        `yaml:"-"`
	Since  At[Date]   `yaml:"since"`
	Reason At[string] `yaml:"reason"`
}

// Date is a civil day ("2026-09-01"), kept as midnight UTC.
type Date struct{ time.Time }
