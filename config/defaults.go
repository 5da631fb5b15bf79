package config

import (
	"time"

	"github.com/prometheus/alertmanager/pkg/labels"
)

// DefaultPolicyName is the policy of services that name none.
const DefaultPolicyName = "default"

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// DefaultPolicy is the built-in policy; one of the same name in the file
// replaces it. Its values have no place.
func DefaultPolicy() Policy {
	step := func(notify string, ubn, page time.Duration) Step {
		return Step{Notify: unplaced(notify), Whom: unplaced("on_call"), AckWithin: waits(ubn, page)}
	}
	wide := step("incident_response", 5*time.Minute, 15*time.Minute)
	wide.Whom.V = "team"
	contingency := Step{Notify: unplaced("contingency_development"), Whom: unplaced("on_call"), Only: unplaced(UnbreakNow),
		AckWithin: PerUrgency{All: unplaced(Duration(10 * time.Minute))}}
	director := Step{Notify: unplaced("director"), Whom: unplaced("on_call"), Only: unplaced(UnbreakNow),
		AckWithin: PerUrgency{All: unplaced(Duration(15 * time.Minute))}}
	return Policy{
		Name: unplaced(DefaultPolicyName),
		Steps: []Step{
			step("incident_response", 5*time.Minute, 10*time.Minute),
			wide,
			step("development", 10*time.Minute, 20*time.Minute),
			contingency,
			step("engineering_manager", 10*time.Minute, 20*time.Minute),
			director,
			step("fallback", 15*time.Minute, 30*time.Minute),
		},
		Repeat:      unplaced(2),
		RemindEvery: waits(2*time.Minute, 5*time.Minute),
	}
}

// unplaced is a value that stands in no file.
func unplaced[T any](v T) At[T] { return At[T]{V: v} }

func waits(ubn, page time.Duration) PerUrgency {
	return PerUrgency{By: map[Urgency]At[Duration]{
		UnbreakNow: unplaced(Duration(ubn)),
		Page:       unplaced(Duration(page)),
	}}
}

// preset fills in a value that the file does not give.
func preset[T any](a *At[T], v T) {
	if !a.Set() {
		a.V = v
	}
}

// complete applies the defaults and resolves the paths.
func (c *Config) complete() {
	preset(&c.Store.Type, "embedded")
	preset(&c.Store.Path, "data/callchain.db")
	preset(&c.Store.Retention, Duration(53*week))
	preset(&c.Store.Redis.KeyPrefix, "callchain")
	preset(&c.Store.Redis.Durability, "replica")

	preset(&c.Self.Team, c.Routing.FallbackTeam.V)

	r := &c.Routing
	if r.ServiceLabels == nil {
		r.ServiceLabels = []At[string]{unplaced("service")}
	}
	if r.TeamLabels == nil {
		r.TeamLabels = []At[string]{unplaced("team")}
	}
	if r.ServiceLabelsExcept == nil {
		m, err := labels.NewMatcher(labels.MatchEqual, "job", "kube-state-metrics")
		if err != nil {
			panic(err) // an equality matcher always compiles
		}
		r.ServiceLabelsExcept = []MatcherSet{{unplaced(m)}}
	}

	e := &c.Escalation
	own := false
	for i := range e.Policies {
		p := &e.Policies[i]
		own = own || p.Name.V == DefaultPolicyName
		preset(&p.Repeat, 2)
		for j := range p.Steps {
			preset(&p.Steps[j].Whom, "on_call")
		}
	}
	if !own {
		e.Policies = append([]Policy{DefaultPolicy()}, e.Policies...)
	}
	preset(&e.AckPolicy, "chain")
	if e.AckExpires.Pos.Line == 0 {
		e.AckExpires = waits(4*time.Hour, day)
	}
	preset(&e.ReopenWithin, Duration(10*time.Minute))
	preset(&e.NewAlerts, "tell")
	preset(&e.ExhaustedEvery, Duration(time.Hour))

	n := &c.Notifiers
	preset(&n.MaxPagesPerMinute, 6)
	if n.Slack != nil {
		preset(&n.Slack.APIURL, "https://slack.com/api/")
	}
	if n.Email != nil {
		preset(&n.Email.RequireTLS, true)
	}
	for i := range n.Webhooks {
		preset(&n.Webhooks[i].Format, "alertmanager")
	}
	if c.Reports.Weekly != nil {
		preset(&c.Reports.Weekly.Timezone, time.UTC)
	}

	for i := range c.CatalogFiles {
		c.CatalogFiles[i].V = c.Path(c.CatalogFiles[i].V)
	}
	c.Store.Path.V = c.Path(c.Store.Path.V)
	for _, f := range c.secretFiles() {
		f.at.V = c.Path(f.at.V)
	}
	if w := c.Web.Auth; w != nil {
		w.UsersFile.V = c.Path(w.UsersFile.V)
	}
}

// secretKind is what a secret file's content must look like.
type secretKind int

const (
	password secretKind = iota
	signingKey
	secretURL
)

// secretFile is a key that names a secret file.
type secretFile struct {
	key  string
	at   *At[string]
	kind secretKind
}

// secretFiles are all keys of the file that name secret files and are set.
func (c *Config) secretFiles() []secretFile {
	var all []secretFile
	add := func(key string, at *At[string], kind secretKind) {
		if at.V != "" {
			all = append(all, secretFile{key, at, kind})
		}
	}
	add("store.redis.password_file", &c.Store.Redis.PasswordFile, password)
	for i := range c.Alertmanager.Sources {
		add("alertmanager.sources.token_file", &c.Alertmanager.Sources[i].TokenFile, password)
	}
	add("self.heartbeat_url_file", &c.Self.HeartbeatURLFile, secretURL)
	if s := c.Notifiers.Slack; s != nil {
		add("notifiers.slack.bot_token_file", &s.BotTokenFile, password)
		add("notifiers.slack.app_token_file", &s.AppTokenFile, password)
		add("notifiers.slack.signing_secret_file", &s.SigningSecretFile, password)
	}
	if e := c.Notifiers.Email; e != nil {
		add("notifiers.email.auth_password_file", &e.AuthPasswordFile, password)
		add("notifiers.email.link_key_file", &e.LinkKeyFile, signingKey)
	}
	for i := range c.Notifiers.Webhooks {
		add("notifiers.webhooks.url_file", &c.Notifiers.Webhooks[i].URLFile, secretURL)
		add("notifiers.webhooks.secret_file", &c.Notifiers.Webhooks[i].SecretFile, password)
	}
	for i := range c.API.Tokens {
		add("api.tokens.token_file", &c.API.Tokens[i].TokenFile, password)
	}
	return all
}
