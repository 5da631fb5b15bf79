package routing

import (
	"time"

	"callchain/config"
	"callchain/routing/catalog"
)

// Alert is what routing reads of an alert.
type Alert struct {
	Labels      map[string]string
	RouteLabels map[string]string // Alertmanager 0.34 and later; seen by rules as route_NAME
}

// Risk is a kind of risk: a fact that ownership would not hold.
type Risk string

// The kinds of risk.
const (
	RiskUnowned          Risk = "unowned"
	RiskPartial          Risk = "partial"
	RiskUnknownService   Risk = "unknown_service"
	RiskUnmapped         Risk = "unmapped"
	RiskDecommissioned   Risk = "decommissioned_alerting"
	RiskNobodyOnCall     Risk = "nobody_on_call"
	RiskSinglePerson     Risk = "single_person"
	RiskExhausted        Risk = "exhausted"
	RiskUnreachable      Risk = "unreachable"
	RiskAmbiguousMatch   Risk = "ambiguous_match"
	RiskMissingReference Risk = "missing_reference"
	RiskWrongOwner       Risk = "wrong_owner"
	RiskHeroics          Risk = "heroics"
)

// Target is what an incident is about, as much of it as must be remembered to
// compute its chain again later, from a newer catalog.
type Target struct {
	Subject string `json:"s"`           // service:NAME, team:NAME, name:GIVEN or unmapped
	Service string `json:"v,omitempty"` // a name of the catalog, "" if none
	Named   string `json:"n,omitempty"` // a name that was given but the catalog lacks
	Team    string `json:"t,omitempty"` // the team of a team label or of a rule, when no service is known
	Policy  string `json:"p,omitempty"` // the policy a rule named; else the service's, else "default"
	Person  string `json:"h,omitempty"` // a test page: this person alone
}

// Resolution is the answer to "what is affected and what may it cost".
type Resolution struct {
	Target
	AlsoAffected []string // further services of a split rule
	State        config.State
	Assessment   catalog.Assessment
	MissingRoles []config.Role // never nil
	Urgency      config.Urgency
	ReviewAt     time.Time // when the urgency may be one higher; zero: never
	Confidential bool
	MatchedBy    string   // rule:NAME, service_alerts, route_label:L, label:L, team_label:L, fallback
	Reason       string   // one sentence: how the subject was found
	Risks        []Risk   // those that routing alone can tell: never nil, no duplicates
	Trace        []string // what was tried, in order, in words a person can check
}

// Chain is the ordered steps of people for one target, urgency and instant.
type Chain struct {
	Policy      string
	Rounds      int           // rounds in all, at least 1
	RemindEvery time.Duration // within a step; zero: no reminders
	Steps       []Step        // never empty from the start of a round; later empty: the round is over
	Skipped     []Skip        // merged steps too
	Risks       []Risk        // nobody_on_call, single_person, missing_reference
}

// Step is one group of people and how long they have to answer.
type Step struct {
	Position  int           // 1-based place in this chain
	Index     int           // place of the step in its policy; the synthetic last step has the policy's length
	Through   int           // Index of the last step merged into this one; Index when none is
	After     time.Duration // from the start of the round to this step
	AckWithin time.Duration // own wait and that of the merged steps
	Notify    string        // role, engineering_manager, director, fallback, team:NAME, person:NAME
	Whom      string        // on_call, next_on_call, team, lead, manager; director, person
	Team      string        // "" for a person without a team
	People    []string      // handles, sorted as the catalog lists them; never empty
	Reason    string        // why these people
}

// Skip is a step of the policy that is not taken, and why not.
type Skip struct {
	Notify string
	Reason string
}
