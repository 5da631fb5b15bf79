package config

import (
	"strconv"
	"time"

	"github.com/prometheus/alertmanager/pkg/labels"
	"github.com/prometheus/alertmanager/timeinterval"
	"github.com/prometheus/common/model"
)

// Config is callchain.yml, checked. Paths in it are already resolved against
// the folder of the file.
type Config struct {
	File         string       `yaml:"-"`
	ExternalURL  At[string]   `yaml:"external_url"`
	CatalogFiles []At[string] `yaml:"catalog_files"` // glob patterns
	Store        Store        `yaml:"store"`
	Alertmanager Alertmanager `yaml:"alertmanager"`
	Self         Self         `yaml:"self"`
	Routing      Routing      `yaml:"routing"`
	Escalation   Escalation   `yaml:"escalation"`
	Shadow       At[bool]     `yaml:"shadow"`
	Notifiers    Notifiers    `yaml:"notifiers"`
	Reports      Reports      `yaml:"reports"`
	Web          Web          `yaml:"web"`
	API          API          `yaml:"api"`

	expandEnv bool

	// TimeIntervals are named as in Alertmanager, for routing.urgency.
	TimeIntervals []TimeInterval `yaml:"time_intervals"`
}

// Store says where the records live.
type Store struct {
	Pos       Pos          `yaml:"-"`
	Type      At[string]   `yaml:"type"` // embedded | redis
	Path      At[string]   `yaml:"path"` // default data/callchain.db
	Redis     Redis        `yaml:"redis"`
	Retention At[Duration] `yaml:"retention"` // of facts; default 53w
}

// Redis are the settings of go-redis' universal client.
type Redis struct {
	Pos          Pos          `yaml:"-"`
	Addrs        []At[string] `yaml:"addrs"`
	MasterName   At[string]   `yaml:"master_name"`
	Cluster      At[bool]     `yaml:"cluster"`
	Username     At[string]   `yaml:"username"`
	PasswordFile At[string]   `yaml:"password_file"`
	TLS          At[bool]     `yaml:"tls"`
	KeyPrefix    At[string]   `yaml:"key_prefix"`
	Durability   At[string]   `yaml:"durability"` // fast, replica (default), strict
}

// Alertmanager lists who may send and what they must keep sending.
type Alertmanager struct {
	Pos        Pos         `yaml:"-"`
	Sources    []Source    `yaml:"sources"`
	Heartbeats []Heartbeat `yaml:"heartbeats"`
}

// Source is one Alertmanager (or a cluster of them) that posts webhooks.
type Source struct {
	Pos       Pos          `yaml:"-"`
	Name      At[string]   `yaml:"name"`
	TokenFile At[string]   `yaml:"token_file"`
	Anonymous At[bool]     `yaml:"anonymous"`
	APIURL    []At[string] `yaml:"api_url"`
}

// Heartbeat is a dead man's switch: an alert that must keep coming.
type Heartbeat struct {
	Pos    Pos          `yaml:"-"`
	Source At[string]   `yaml:"source"`
	Match  MatcherSet   `yaml:"match"`
	Every  At[Duration] `yaml:"every"`
	Team   At[string]   `yaml:"team"`
}

// Self is about callchain's own health.
type Self struct {
	Pos              Pos        `yaml:"-"`
	HeartbeatURLFile At[string] `yaml:"heartbeat_url_file"`
	Team             At[string] `yaml:"team"` // default: the fallback team
}

// Routing maps alerts to services and urgencies.
type Routing struct {
	Pos                 Pos           `yaml:"-"`
	ServiceLabels       []At[string]  `yaml:"service_labels"`
	ServiceLabelsExcept []MatcherSet  `yaml:"service_labels_except"` // default job="kube-state-metrics"
	TeamLabels          []At[string]  `yaml:"team_labels"`
	FallbackTeam        At[string]    `yaml:"fallback_team"`
	Confidential        []MatcherSet  `yaml:"confidential"`
	Rules               []Rule        `yaml:"rules"`
	Urgency             []UrgencyRule `yaml:"urgency"`
}

// TimeInterval is a named set of Alertmanager time intervals.
type TimeInterval struct {
	Pos       Pos                         `yaml:"-"`
	Name      At[string]                  `yaml:"name"`
	Intervals []timeinterval.TimeInterval `yaml:"time_intervals"`
}

// MatcherSet is a list of Alertmanager matchers that must all match.
type MatcherSet []At[*labels.Matcher]

// Rule maps the alerts it matches to a service, a team or a policy.
type Rule struct {
	Pos     Pos        `yaml:"-"`
	Name    At[string] `yaml:"name"`
	Match   MatcherSet `yaml:"match"`
	Service At[string] `yaml:"service"` // a name, or a template over labels and named groups
	Split   At[string] `yaml:"split"`
	Team    At[string] `yaml:"team"`
	Policy  At[string] `yaml:"policy"`
}

// Urgency is what an alert may cost people.
type Urgency string

// The urgencies, highest first.
const (
	UnbreakNow Urgency = "unbreak_now"
	Page       Urgency = "page"
	Notify     Urgency = "notify"
	Record     Urgency = "record"
)

// Urgencies lists every urgency, highest first.
var Urgencies = []Urgency{UnbreakNow, Page, Notify, Record}

// Rank orders urgencies: 3 unbreak_now, 2 page, 1 notify, 0 record or unknown.
func (u Urgency) Rank() int {
	switch u {
	case UnbreakNow:
		return 3
	case Page:
		return 2
	case Notify:
		return 1
	}
	return 0
}

// Pages tells whether the urgency wakes people.
func (u Urgency) Pages() bool { return u.Rank() >= Page.Rank() }

// UrgencyRule maps the alerts it matches to an urgency.
type UrgencyRule struct {
	Pos                 Pos              `yaml:"-"`
	Match               MatcherSet       `yaml:"match"`
	Urgency             At[Urgency]      `yaml:"urgency"`
	ActiveTimeIntervals []ActiveInterval `yaml:"active_time_intervals"`
}

// ActiveInterval is the name of a time interval, or one written in place.
type ActiveInterval struct {
	Pos    Pos
	Name   At[string]
	Inline *timeinterval.TimeInterval
}

// Duration is written as in Prometheus: 90s, 5m, 2d, 1h30m.
type Duration time.Duration

// String is how people write it: whole days as days, because a window of 28d is
// not read as 4w.
func (d Duration) String() string {
	const day = Duration(24 * time.Hour)
	if d > 0 && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return model.Duration(d).String()
}

// PerUrgency is one duration for every urgency, or one per urgency.
type PerUrgency struct {
	Pos Pos
	All At[Duration]
	By  map[Urgency]At[Duration]
}

// For returns the duration for an urgency; an urgency that is not listed gets
// that of the other paging urgency. Zero: not given at all.
func (p PerUrgency) For(u Urgency) time.Duration {
	if p.All.Set() || p.All.V != 0 {
		return time.Duration(p.All.V)
	}
	for _, try := range []Urgency{u, Page, UnbreakNow} {
		if d, ok := p.By[try]; ok {
			return time.Duration(d.V)
		}
	}
	return 0
}

// Escalation are the policies and what an acknowledgement means.
type Escalation struct {
	Pos            Pos          `yaml:"-"`
	Policies       []Policy     `yaml:"policies"`
	AckPolicy      At[string]   `yaml:"ack_policy"` // chain | anyone
	AckExpires     PerUrgency   `yaml:"ack_expires"`
	ReopenWithin   At[Duration] `yaml:"reopen_within"`
	NewAlerts      At[string]   `yaml:"new_alerts"` // tell | repage
	StaleAfter     At[Duration] `yaml:"stale_after"`
	ExhaustedEvery At[Duration] `yaml:"exhausted_every"`
}

// Policy is a list of steps, walked in rounds.
type Policy struct {
	Pos         Pos        `yaml:"-"`
	Name        At[string] `yaml:"name"`
	Steps       []Step     `yaml:"steps"`
	Repeat      At[int]    `yaml:"repeat"`       // rounds in all; default 2
	RemindEvery PerUrgency `yaml:"remind_every"` // zero: no reminders
}

// Step asks one group of people and waits.
type Step struct {
	Pos       Pos         `yaml:"-"`
	Notify    At[string]  `yaml:"notify"` // a role, engineering_manager, director, fallback, team:NAME, person:NAME
	Whom      At[string]  `yaml:"whom"`   // on_call (default), next_on_call, team, lead, manager
	Only      At[Urgency] `yaml:"only"`
	AckWithin PerUrgency  `yaml:"ack_within"`
}

// Notifiers are the channels.
type Notifiers struct {
	Pos               Pos       `yaml:"-"`
	MaxPagesPerMinute At[int]   `yaml:"max_pages_per_minute"`
	Slack             *Slack    `yaml:"slack"` // nil: not configured
	Email             *Email    `yaml:"email"`
	Webhooks          []Webhook `yaml:"webhooks"`
}

// Slack is the Slack app.
type Slack struct {
	Pos               Pos        `yaml:"-"`
	APIURL            At[string] `yaml:"api_url"`
	BotTokenFile      At[string] `yaml:"bot_token_file"`
	AppTokenFile      At[string] `yaml:"app_token_file"`
	SigningSecretFile At[string] `yaml:"signing_secret_file"`
	Channel           At[string] `yaml:"channel"`
}

// Email is the smarthost.
type Email struct {
	Pos              Pos        `yaml:"-"`
	Smarthost        At[string] `yaml:"smarthost"` // host:port
	From             At[string] `yaml:"from"`
	AuthUsername     At[string] `yaml:"auth_username"`
	AuthPasswordFile At[string] `yaml:"auth_password_file"`
	RequireTLS       At[bool]   `yaml:"require_tls"` // default true
	LinkKeyFile      At[string] `yaml:"link_key_file"`
}

// Webhook is everything else.
type Webhook struct {
	Pos        Pos        `yaml:"-"`
	Name       At[string] `yaml:"name"`
	URL        At[string] `yaml:"url"`
	URLFile    At[string] `yaml:"url_file"`
	Format     At[string] `yaml:"format"` // alertmanager | callchain
	SecretFile At[string] `yaml:"secret_file"`
}

// Reports is the weekly report.
type Reports struct {
	Pos    Pos     `yaml:"-"`
	Weekly *Weekly `yaml:"weekly"`
}

// Zone is the time zone of the report's weeks and days; UTC unless it says otherwise.
func (r Reports) Zone() *time.Location {
	if r.Weekly == nil || r.Weekly.Timezone.V == nil {
		return time.UTC
	}
	return r.Weekly.Timezone.V
}

// Weekly says when and to whom the report goes.
type Weekly struct {
	Pos          Pos                `yaml:"-"`
	Schedule     At[string]         `yaml:"schedule"` // cron, five fields
	Timezone     At[*time.Location] `yaml:"timezone"`
	SlackChannel At[string]         `yaml:"slack_channel"`
	EmailTo      []At[string]       `yaml:"email_to"`
}

// Web says who the person in the browser is.
type Web struct {
	Pos  Pos      `yaml:"-"`
	Auth *WebAuth `yaml:"auth"`
}

// WebAuth is one of two ways to know the person.
type WebAuth struct {
	Pos            Pos          `yaml:"-"`
	HeaderUser     At[string]   `yaml:"header_user"`
	TrustedProxies []At[string] `yaml:"trusted_proxies"` // CIDR
	UsersFile      At[string]   `yaml:"users_file"`
}

// API are the bearer tokens of the JSON API.
type API struct {
	Pos    Pos     `yaml:"-"`
	Tokens []Token `yaml:"tokens"`
}

// Token is one bearer token (or several in one file, while it is changed).
type Token struct {
	Pos       Pos          `yaml:"-"`
	Name      At[string]   `yaml:"name"`
	TokenFile At[string]   `yaml:"token_file"`
	Scopes    []At[string] `yaml:"scopes"` // read, respond, admin
}
