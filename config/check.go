package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"
	"time"

	"github.com/robfig/cron/v3"
)

// checker holds callchain.yml against what each value and the file as a whole
// must look like.
type checker struct {
	c    *Config
	opts Options
	ps   *Problems
}

func (ck *checker) all() {
	c := ck.c
	ck.url("external_url", &c.ExternalURL)
	if u, err := url.Parse(c.ExternalURL.V); err == nil && (u.RawQuery != "" || u.Fragment != "" || u.User != nil) {
		ck.errorf(c.ExternalURL.Pos, "external_url: want scheme, host and at most a path, like https://callchain.example.org")
	}
	c.ExternalURL.V = strings.TrimRight(c.ExternalURL.V, "/")
	if len(c.CatalogFiles) == 0 {
		ck.errorf(Pos{}, "catalog_files is missing; name the catalog's files, like catalog_files: [catalog/*.yml]")
	}
	ck.store()
	ck.alertmanager()
	ck.routing()
	ck.timeIntervals()
	ck.escalation()
	ck.notifiers()
	ck.reports()
	ck.web()
	ck.api()
	if !ck.opts.NoSecrets {
		ck.secrets()
	}
	for _, u := range unbuiltConfig {
		if pos := u.at(c); pos.Line != 0 {
			*ck.ps = append(*ck.ps, Problem{Pos: pos, Severity: u.severity, Text: u.text})
		}
	}
}

func (ck *checker) store() {
	s := &ck.c.Store
	enum(ck, "store.type", s.Type, "embedded", "redis")
	enum(ck, "store.redis.durability", s.Redis.Durability, "fast", "replica", "strict")
	if s.Path.V == "" {
		ck.errorf(s.Path.Pos, "store.path is empty; name a file or remove the key for data/callchain.db")
	}
	ck.positive("store.retention", s.Retention)
	ck.redis(s)
}

func (ck *checker) redis(s *Store) {
	r := &s.Redis
	for _, a := range r.Addrs {
		ck.hostPort("store.redis.addrs", a)
	}
	if strings.ContainsAny(r.KeyPrefix.V, "{}") || r.KeyPrefix.V == "" {
		ck.errorf(r.KeyPrefix.Pos, "store.redis.key_prefix: want some text without braces, like callchain, got %s", quote(r.KeyPrefix.V))
	}
	if s.Type.V != "redis" {
		return
	}
	switch {
	case len(r.Addrs) == 0:
		ck.errorf(s.Type.Pos, "store.redis.addrs is missing; name the server, like 127.0.0.1:6379, or the Sentinels or nodes of a Cluster")
	case r.MasterName.V != "" && r.Cluster.V:
		ck.errorf(r.Cluster.Pos, "store.redis: master_name (Sentinel) and cluster: true exclude each other; remove one")
	case len(r.Addrs) > 1 && r.MasterName.V == "" && !r.Cluster.V:
		ck.errorf(r.Addrs[1].Pos, "store.redis.addrs: several addresses need master_name (they are Sentinels) or cluster: true (they are nodes)")
	}
	if r.Username.V != "" && r.PasswordFile.V == "" {
		ck.warnf(r.Username.Pos, "store.redis.username without password_file: it is sent with an empty password")
	}
}

var pathName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

func (ck *checker) alertmanager() {
	am := &ck.c.Alertmanager
	if len(am.Sources) == 0 {
		ck.warnf(am.Pos, "alertmanager.sources is missing; without a source no Alertmanager can send alerts here")
	}
	var names []At[string]
	for i := range am.Sources {
		s := &am.Sources[i]
		names = append(names, s.Name)
		if ck.required(s.Pos, "alertmanager.sources", "name", s.Name, "main") && !pathName.MatchString(s.Name.V) {
			ck.errorf(s.Name.Pos, "alertmanager.sources.name: want letters, digits, '-', '_' and '.' (it is part of the webhook's URL), got %s", quote(s.Name.V))
		}
		switch {
		case s.Anonymous.V && s.TokenFile.V != "":
			ck.errorf(s.Anonymous.Pos, "alertmanager.sources: anonymous: true and token_file exclude each other; remove one")
		case !s.Anonymous.V && s.TokenFile.V == "":
			ck.errorf(s.Pos, "alertmanager.sources: token_file is missing; name a file with the bearer token, or say anonymous: true to accept anybody's alerts")
		}
		for j := range s.APIURL {
			ck.url("alertmanager.sources.api_url", &s.APIURL[j])
		}
	}
	ck.unique("alertmanager.sources", names)
	for _, h := range am.Heartbeats {
		if ck.required(h.Pos, "alertmanager.heartbeats", "source", h.Source, "main") {
			ck.known("alertmanager.heartbeats.source", h.Source, "source", names)
		}
		if len(h.Match) == 0 {
			ck.errorf(h.Pos, `alertmanager.heartbeats: match is missing; name the alert, like match: ['alertname="Watchdog"']`)
		}
		if !h.Every.Set() {
			ck.errorf(h.Pos, "alertmanager.heartbeats: every is missing; say how often it beats, like every: 5m")
		}
		ck.positive("alertmanager.heartbeats.every", h.Every)
	}
}

func (ck *checker) routing() {
	r := &ck.c.Routing
	if r.FallbackTeam.V == "" {
		ck.errorf(r.Pos, "routing.fallback_team is missing; add the team that is asked when nobody else is left, like fallback_team: sre")
	}
	for _, l := range slices.Concat(r.ServiceLabels, r.TeamLabels) {
		if l.V == "" {
			ck.errorf(l.Pos, "routing: want a label's name, got nothing")
		}
	}
	var names []At[string]
	for i := range r.Rules {
		rule := &r.Rules[i]
		if rule.Name.V == "" {
			rule.Name.V = "#" + strconv.Itoa(i+1)
			ck.warnf(rule.Pos, "routing.rules: name is missing; this rule is shown as %s until it has one", rule.Name.V)
		}
		names = append(names, rule.Name)
		if rule.Service.V == "" && rule.Team.V == "" && rule.Policy.V == "" {
			ck.errorf(rule.Pos, "routing.rules: rule %s decides nothing; give it a service, a team or a policy", quote(rule.Name.V))
		}
		if rule.Split.Set() && rule.Service.V == "" {
			ck.errorf(rule.Split.Pos, "routing.rules.split: there is no service to split; add service or remove split")
		}
		if rule.Split.Set() && rule.Split.V == "" {
			ck.errorf(rule.Split.Pos, `routing.rules.split: want the text between two names, like ","`)
		}
		ck.template("routing.rules.service", rule.Service)
		if rule.Match == nil && i < len(r.Rules)-1 {
			ck.warnf(rule.Pos, "routing.rules: rule %s has no match, so it matches every alert; add matchers or move it to the end", quote(rule.Name.V))
		}
	}
	ck.unique("routing.rules", names)

	for i, u := range r.Urgency {
		if !u.Urgency.Set() {
			ck.errorf(u.Pos, "routing.urgency: urgency is missing; want one of unbreak_now, page, notify, record")
		}
		if u.Match == nil && len(u.ActiveTimeIntervals) == 0 && i < len(r.Urgency)-1 {
			ck.warnf(u.Pos, "routing.urgency: a rule without match matches every alert, those below are never reached; add matchers or move it to the end")
		}
	}
}

func (ck *checker) timeIntervals() {
	var names []At[string]
	for _, ti := range ck.c.TimeIntervals {
		ck.required(ti.Pos, "time_intervals", "name", ti.Name, "office-hours")
		names = append(names, ti.Name)
	}
	ck.unique("time_intervals", names)
	for _, u := range ck.c.Routing.Urgency {
		for _, a := range u.ActiveTimeIntervals {
			if a.Name.V != "" {
				ck.known("routing.urgency.active_time_intervals", a.Name, "time interval", names)
			}
		}
	}
}

// asked are the words a step's notify may be, beside team:NAME and person:NAME.
func asked() []string {
	var words []string
	for _, r := range Roles {
		words = append(words, string(r))
	}
	return append(words, "engineering_manager", "director", "fallback")
}

func (ck *checker) escalation() {
	e := &ck.c.Escalation
	var names []At[string]
	for i := range e.Policies {
		p := &e.Policies[i]
		if p.Pos.Line == 0 {
			continue // the built-in one
		}
		ck.required(p.Pos, "escalation.policies", "name", p.Name, "patient")
		names = append(names, p.Name)
		if len(p.Steps) == 0 {
			ck.errorf(p.Pos, "escalation.policies: policy %s has no steps; add one, like {notify: incident_response, ack_within: 10m}", quote(p.Name.V))
		}
		if p.Repeat.V < 1 || p.Repeat.V > 100 {
			ck.errorf(p.Repeat.Pos, "escalation.policies.repeat: want the number of rounds in all, 1 to 100, got %d", p.Repeat.V)
		}
		for _, s := range p.Steps {
			ck.step(s)
		}
	}
	ck.unique("escalation.policies", names)
	enum(ck, "escalation.ack_policy", e.AckPolicy, "chain", "anyone")
	enum(ck, "escalation.new_alerts", e.NewAlerts, "tell", "repage")
	ck.positivePer("escalation.ack_expires", e.AckExpires)
	ck.positive("escalation.exhausted_every", e.ExhaustedEvery)
}

func (ck *checker) step(s Step) {
	const key = "escalation.policies.steps"
	if ck.required(s.Pos, key, "notify", s.Notify, "incident_response") {
		kind, name, named := strings.Cut(s.Notify.V, ":")
		switch {
		case named && (kind == "team" || kind == "person"):
			if strings.TrimSpace(name) == "" {
				ck.errorf(s.Notify.Pos, "%s.notify: name the %s after the colon, like %s:NAME", key, kind, kind)
			}
		case !slices.Contains(asked(), s.Notify.V):
			ck.errorf(s.Notify.Pos, "%s.notify: want a role, engineering_manager, director, fallback, team:NAME or person:NAME, got %s%s",
				key, quote(s.Notify.V), maybe(s.Notify.V, asked()))
		}
	}
	enum(ck, key+".whom", s.Whom, "on_call", "next_on_call", "team", "lead", "manager")
	if s.Only.Set() && s.Only.V != "" && !s.Only.V.Pages() {
		ck.errorf(s.Only.Pos, "%s.only: want unbreak_now or page, got %s; the others wake nobody", key, quote(string(s.Only.V)))
	}
	if s.AckWithin.Pos.Line == 0 {
		ck.errorf(s.Pos, "%s: ack_within is missing; say how long to wait for an answer, like ack_within: 10m", key)
	} else if !s.AckWithin.All.Set() && len(s.AckWithin.By) == 0 {
		ck.errorf(s.AckWithin.Pos, "%s.ack_within: want one duration, or one for each of unbreak_now and page", key)
	}
	ck.positivePer(key+".ack_within", s.AckWithin)
}

func (ck *checker) notifiers() {
	n := &ck.c.Notifiers
	if n.MaxPagesPerMinute.V < 1 {
		ck.errorf(n.MaxPagesPerMinute.Pos, "notifiers.max_pages_per_minute: want 1 or more, got %d", n.MaxPagesPerMinute.V)
	}
	if n.Slack == nil && n.Email == nil && !ck.c.Shadow.V {
		ck.errorf(n.Pos, "notifiers: neither slack nor email is configured, so nobody could be paged; add one of them")
	}
	if ck.c.Shadow.V {
		ck.warnf(ck.c.Shadow.Pos, "shadow is true: nothing is sent, nobody is woken; remove it when people are to be paged")
	}
	if s := n.Slack; s != nil {
		ck.url("notifiers.slack.api_url", &s.APIURL)
		ck.required(s.Pos, "notifiers.slack", "bot_token_file", s.BotTokenFile, "secrets/slack-bot-token")
		switch signed, socket := s.SigningSecretFile.V != "", s.AppTokenFile.V != ""; {
		case !signed && !socket:
			ck.warnf(s.Pos, "notifiers.slack: app_token_file (Socket Mode) and signing_secret_file (signed requests) are missing; buttons and commands in Slack cannot work without one of them")
		case signed && socket:
			ck.warnf(s.SigningSecretFile.Pos, "notifiers.slack.signing_secret_file: app_token_file is there too, so Socket Mode is used; remove signing_secret_file when Socket Mode is on in the app's settings: until then Slack goes on with signed requests, which are taken")
		}
	}
	if e := n.Email; e != nil {
		if ck.required(e.Pos, "notifiers.email", "smarthost", e.Smarthost, "mail.example.org:587") {
			ck.hostPort("notifiers.email.smarthost", e.Smarthost)
		}
		if ck.required(e.Pos, "notifiers.email", "from", e.From, "callchain@example.org") {
			if _, err := mail.ParseAddress(e.From.V); err != nil {
				ck.errorf(e.From.Pos, "notifiers.email.from: want an address like callchain@example.org, got %s", quote(e.From.V))
			}
		}
		switch {
		case e.AuthUsername.V != "" && e.AuthPasswordFile.V == "":
			ck.errorf(e.AuthUsername.Pos, "notifiers.email: auth_password_file is missing; add it or remove auth_username")
		case e.AuthUsername.V == "" && e.AuthPasswordFile.V != "":
			ck.errorf(e.AuthPasswordFile.Pos, "notifiers.email: auth_username is missing; add it or remove auth_password_file")
		}
		switch {
		case e.LinkKeyFile.V == "":
			ck.warnf(e.Pos, "notifiers.email: link_key_file is missing; mails carry no acknowledgement link without it")
		case ck.c.ExternalURL.V == "":
			ck.errorf(e.LinkKeyFile.Pos, "notifiers.email.link_key_file: links in mails need external_url; add it at the top of the file")
		}
	}
	var names []At[string]
	for i := range n.Webhooks {
		w := &n.Webhooks[i]
		ck.required(w.Pos, "notifiers.webhooks", "name", w.Name, "irc")
		names = append(names, w.Name)
		if (w.URL.V == "") == (w.URLFile.V == "") {
			ck.errorf(w.Pos, "notifiers.webhooks: want exactly one of url and url_file")
		}
		ck.url("notifiers.webhooks.url", &w.URL)
		enum(ck, "notifiers.webhooks.format", w.Format, "alertmanager", "callchain")
		if w.Format.V == "callchain" && w.SecretFile.V == "" {
			ck.errorf(w.Pos, "notifiers.webhooks: secret_file is missing; format callchain is signed with it")
		}
	}
	ck.unique("notifiers.webhooks", names)
}

func (ck *checker) reports() {
	w := ck.c.Reports.Weekly
	if w == nil {
		return
	}
	if ck.required(w.Pos, "reports.weekly", "schedule", w.Schedule, `"0 9 * * MON"`) {
		switch s := readCron(w.Schedule.V); {
		case s == nil:
			ck.errorf(w.Schedule.Pos, `reports.weekly.schedule: want a cron expression with five fields like "0 9 * * MON", got %s`, quote(w.Schedule.V))
		case s.Next(leapYear).IsZero():
			ck.errorf(w.Schedule.Pos, `reports.weekly.schedule: %s never comes, there is no such day; write one like "0 9 * * MON", every Monday at nine`, quote(w.Schedule.V))
		}
	}
	if w.SlackChannel.V == "" && len(w.EmailTo) == 0 {
		ck.errorf(w.Pos, "reports.weekly: the report goes to nobody; add slack_channel or email_to")
	}
	for _, a := range w.EmailTo {
		checkAddress(ck.ps, "reports.weekly.email_to", a)
	}
}

// leapYear is where a schedule has to fire soon: cron looks five years ahead,
// and every date that exists comes in four.
var leapYear = time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)

// readCron accepts five fields and the usual @weekly and the like, without a
// zone of its own; nil for anything else.
func readCron(s string) cron.Schedule {
	if strings.Contains(s, "=") || strings.HasPrefix(s, "@every") {
		return nil
	}
	schedule, err := cron.ParseStandard(s)
	if err != nil {
		return nil
	}
	return schedule
}

func (ck *checker) web() {
	a := ck.c.Web.Auth
	if a == nil {
		return
	}
	switch {
	case (a.HeaderUser.V == "") == (a.UsersFile.V == ""):
		ck.errorf(a.Pos, "web.auth: want exactly one of header_user and users_file")
	case a.HeaderUser.V != "" && len(a.TrustedProxies) == 0:
		ck.errorf(a.HeaderUser.Pos, "web.auth: trusted_proxies is missing; without it anybody could send the header")
	}
	for _, p := range a.TrustedProxies {
		if _, err := netip.ParsePrefix(p.V); err != nil {
			ck.errorf(p.Pos, "web.auth.trusted_proxies: want a network like 127.0.0.1/32 or 2001:db8::/48, got %s", quote(p.V))
		}
	}
	if a.UsersFile.V != "" && !ck.opts.NoSecrets {
		ck.users(a.UsersFile)
	}
}

var userLine = regexp.MustCompile(`^[^:\s]+:\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

func (ck *checker) users(file At[string]) {
	lines, err := readSecret(file.V, false)
	if err != nil {
		ck.errorf(file.Pos, "web.auth.users_file: %v", ck.fileError(file, err))
		return
	}
	for i, l := range lines {
		if !userLine.MatchString(l) {
			ck.errorf(file.Pos, "web.auth.users_file: entry %d is not name:hash with a bcrypt hash", i+1)
		}
	}
}

func (ck *checker) api() {
	var names []At[string]
	for _, t := range ck.c.API.Tokens {
		ck.required(t.Pos, "api.tokens", "name", t.Name, "ci")
		names = append(names, t.Name)
		ck.required(t.Pos, "api.tokens", "token_file", t.TokenFile, "secrets/ci-token")
		if len(t.Scopes) == 0 {
			ck.errorf(t.Pos, "api.tokens: scopes is missing; want some of read, respond, admin")
		}
		for _, s := range t.Scopes {
			enum(ck, "api.tokens.scopes", s, "read", "respond", "admin")
		}
	}
	ck.unique("api.tokens", names)
}

const (
	minLinkKey = 32
	minSecret  = 16
)

func (ck *checker) secrets() {
	for _, f := range ck.c.secretFiles() {
		lines, err := readSecret(f.at.V, ck.opts.ExpandEnv)
		if err != nil {
			ck.errorf(f.at.Pos, "%s: %v", f.key, ck.fileError(*f.at, err))
			continue
		}
		for i, line := range lines {
			switch f.kind {
			case signingKey:
				if len(line) < minLinkKey {
					ck.errorf(f.at.Pos, "%s: key %d of the file has %d bytes; want at least %d, as from: openssl rand -hex 32", f.key, i+1, len(line), minLinkKey)
				}
			case secretURL:
				if !isURL(line) {
					ck.errorf(f.at.Pos, "%s: line %d of the file is not a URL with http:// or https:// and a host", f.key, i+1)
				}
			default:
				if len(line) < minSecret {
					ck.warnf(f.at.Pos, "%s: secret %d of the file has %d bytes; fewer than %d can be guessed", f.key, i+1, len(line), minSecret)
				}
			}
		}
	}
}

// fileError says why a file cannot be read, without its name when there is no
// such file: people write secrets where their file's name belongs.
func (ck *checker) fileError(path At[string], err error) error {
	_, statErr := os.Lstat(path.V)
	switch {
	case statErr == nil:
		return err
	case errors.Is(statErr, fs.ErrNotExist):
		return fmt.Errorf("there is no such file; make it, or correct the path (a relative one starts in the folder of %s)", filepath.Base(ck.c.File))
	default:
		return pathless(statErr)
	}
}

// The checks of single values.

func (ck *checker) errorf(pos Pos, format string, args ...any) {
	ck.ps.Errorf(ck.place(pos), format, args...)
}

func (ck *checker) warnf(pos Pos, format string, args ...any) {
	ck.ps.Warnf(ck.place(pos), format, args...)
}

// place gives what stands nowhere the file's beginning.
func (ck *checker) place(pos Pos) Pos {
	if pos.Line == 0 {
		return Pos{ck.c.File, 1, 1}
	}
	return pos
}

// required reports a value that is missing or empty; like shows one.
func (ck *checker) required(parent Pos, key, sub string, v At[string], like string) bool {
	if v.V != "" {
		return true
	}
	if v.Set() {
		parent = v.Pos
	}
	ck.errorf(parent, "%s: %s is missing; add it, like %s: %s", key, sub, sub, like)
	return false
}

func (ck *checker) unique(key string, names []At[string]) {
	first := map[string]Pos{}
	for _, n := range names {
		if n.V == "" {
			continue
		}
		if p, dup := first[n.V]; dup {
			ck.errorf(n.Pos, "%s: the name %s is given twice, first in line %d; rename one", key, quote(n.V), p.Line)
			continue
		}
		first[n.V] = n.Pos
	}
}

func (ck *checker) known(key string, name At[string], kind string, names []At[string]) {
	var list []string
	for _, n := range names {
		list = append(list, n.V)
	}
	if !slices.Contains(list, name.V) {
		right := maybe(name.V, list)
		if right == "" {
			right = "; add it or correct the name"
		}
		ck.errorf(name.Pos, "%s: there is no %s %s%s", key, kind, quote(name.V), right)
	}
}

// maybe is the question for a word that was nearly right.
func maybe(got string, words []string) string {
	if near := Nearest(got, words); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

func enum(ck *checker, key string, v At[string], words ...string) {
	if !slices.Contains(words, v.V) {
		ck.errorf(v.Pos, "%s: want one of %s, got %s%s", key, strings.Join(words, ", "), quote(v.V), maybe(v.V, words))
	}
}

func (ck *checker) positive(key string, d At[Duration]) {
	if d.Set() && d.V <= 0 {
		ck.errorf(d.Pos, "%s: want more than no time, like 10m", key)
	}
}

func (ck *checker) positivePer(key string, p PerUrgency) {
	ck.positive(key, p.All)
	for _, u := range Urgencies {
		ck.positive(key+"."+string(u), p.By[u])
	}
}

func (ck *checker) template(key string, s At[string]) {
	if !strings.Contains(s.V, "{{") {
		return
	}
	t := parse.New(key)
	t.Mode = parse.SkipFuncCheck
	if _, err := t.Parse(s.V, "", "", map[string]*parse.Tree{}); err != nil {
		text := err.Error()
		if _, after, ok := strings.Cut(text, ": "); ok {
			_, text, _ = strings.Cut(after, ": ")
			if text == "" {
				text = after
			}
		}
		ck.errorf(s.Pos, "%s: want a name or a template like '{{ .svc }}', got %s: %s", key, quote(s.V), text)
	}
}

// url checks a URL after replacing ${NAME} in it, if that was asked for. The
// value is not shown: it may hold a token.
func (ck *checker) url(key string, u *At[string]) {
	if u.V == "" {
		return
	}
	if ck.opts.ExpandEnv {
		v, err := expandEnv(u.V)
		if err != nil {
			ck.errorf(u.Pos, "%s: %v", key, err)
			return
		}
		u.V = v
	}
	if !isURL(u.V) {
		hint := ""
		if !ck.opts.ExpandEnv && envName.MatchString(u.V) {
			hint = "; ${NAME} is replaced only with --config.expand-env"
		}
		ck.errorf(u.Pos, "%s: want a URL with http:// or https:// and a host%s", key, hint)
	}
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && !strings.ContainsAny(s, " \t\r\n")
}

func (ck *checker) hostPort(key string, a At[string]) {
	host, port, err := net.SplitHostPort(a.V)
	n, convErr := strconv.Atoi(port)
	if err != nil || convErr != nil || host == "" || n < 1 || n > 65535 {
		ck.errorf(a.Pos, "%s: want host:port like mail.example.org:587, got %s", key, quote(a.V))
	}
}

func checkAddress(ps *Problems, key string, a At[string]) {
	parsed, err := mail.ParseAddress(a.V)
	if err != nil || parsed.Address != a.V {
		ps.Errorc(CodeValue, a.Pos, "%s: want an e-mail address like amira@example.org, got %s", key, quote(a.V))
	}
}

// checkCatalog checks what one catalog file says, value by value.
func checkCatalog(c *Catalog, ps *Problems) {
	for _, p := range c.People {
		if p.Email.V != "" {
			checkAddress(ps, "people.email", p.Email)
		}
		if p.Slack.V != "" && !slackMember.MatchString(p.Slack.V) {
			ps.Warnc(CodeOdd, p.Slack.Pos, "people.slack: want a member id like U01AMIRA (in Slack: profile, copy member ID), got %s", quote(p.Slack.V))
		}
		for _, ct := range p.Contact {
			if ct.V != "slack" && ct.V != "email" && !isWebhookContact(ct.V) {
				ps.Errorc(CodeValue, ct.Pos, "people.contact: want slack, email or webhook:NAME, got %s", quote(ct.V))
			}
		}
	}
	for _, t := range c.Teams {
		if t.Email.V != "" {
			checkAddress(ps, "teams.email", t.Email)
		}
	}
	for _, s := range c.Schedules {
		checkSchedule(s, ps)
	}
	for _, s := range c.Services {
		checkService(s, ps)
	}
}

var slackMember = regexp.MustCompile(`^[UW][A-Z0-9]+$`)

func isWebhookContact(s string) bool {
	name, ok := strings.CutPrefix(s, "webhook:")
	return ok && name != ""
}

func checkSchedule(s Schedule, ps *Problems) {
	if s.ICalFile.V != "" && len(s.Rotations)+len(s.Shifts) > 0 {
		ps.Errorc(CodeValue, s.ICalFile.Pos, "schedules: ical_file stands in place of rotations and shifts; remove one or the other")
	}
	for _, r := range s.Rotations {
		if len(r.Members) == 0 {
			ps.Errorc(CodeMissing, r.Pos, "schedules.rotations: members is missing; name the people who take turns")
		}
		if !r.Start.Set() {
			ps.Errorc(CodeMissing, r.Pos, "schedules.rotations: start is missing; say when the first turn begins, like start: 2026-01-05T09:00:00")
		}
		if !r.Every.Set() {
			ps.Errorc(CodeMissing, r.Pos, "schedules.rotations: every is missing; say how long a turn is, like every: 1w")
		}
		if o := r.Only; o != nil {
			if o.From.Set() != o.To.Set() {
				ps.Errorc(CodeMissing, o.Pos, `schedules.rotations.only: want both from and to, or neither for the whole day`)
			}
			if o.From.V == 24*60 {
				ps.Errorc(CodeValue, o.From.Pos, `schedules.rotations.only.from: a day begins at "00:00"; "24:00" is for to`)
			}
		}
	}
	for _, sh := range s.Shifts {
		if len(sh.Members) == 0 {
			ps.Errorc(CodeMissing, sh.Pos, "schedules.shifts: members is missing; name who takes the shift")
		}
		checkSpan(ps, "schedules.shifts", sh.Pos, sh.From, sh.To)
	}
	for _, o := range s.Overrides {
		if o.Member.V == "" {
			ps.Errorc(CodeMissing, o.Pos, "schedules.overrides: member is missing; name who steps in")
		}
		checkSpan(ps, "schedules.overrides", o.Pos, o.From, o.To)
	}
}

func checkSpan(ps *Problems, key string, pos Pos, from, to At[LocalTime]) {
	switch {
	case !from.Set() || !to.Set():
		ps.Errorc(CodeMissing, pos, "%s: want both from and to, like {from: 2026-12-24T00:00:00, to: 2026-12-27T00:00:00}", key)
	case !from.V.IsZero() && !to.V.IsZero() && !from.V.Before(to.V.Time):
		ps.Errorc(CodeValue, to.Pos, "%s.to: must be after from", key)
	}
}

func checkService(s Service, ps *Problems) {
	if !s.State.Set() {
		ps.Errorc(CodeMissing, s.Pos, "services: state is missing; want one of active, community, maintenance, third_party, unowned, decommissioned")
	}
	if s.Tier.Set() && (s.Tier.V < 1 || s.Tier.V > 4) {
		ps.Errorc(CodeValue, s.Tier.Pos, "services.tier: want 1 (worst when down) to 4, got %d", s.Tier.V)
	}
	if o := s.SLO; o != nil {
		if o.Objective.Set() && (o.Objective.V <= 0 || o.Objective.V > 100) {
			ps.Errorc(CodeValue, o.Objective.Pos, "services.slo.objective: want a percentage above 0 and at most 100, got %v", o.Objective.V)
		}
		if o.Window.Set() && o.Window.V <= 0 {
			ps.Errorc(CodeValue, o.Window.Pos, "services.slo.window: want more than no time, like 28d")
		}
		checkLink(ps, "services.slo.url", o.URL)
	}
	checkLink(ps, "services.runbook", s.Runbook)
	checkLink(ps, "services.dashboard", s.Dashboard)
	for name, l := range s.Links {
		checkLink(ps, "services.links."+name, l)
	}
	if v := s.Verified; v != nil && !v.On.Set() {
		ps.Errorc(CodeMissing, v.Pos, "services.verified: on is missing; say on which day, like on: 2026-09-01")
	}
}

func checkLink(ps *Problems, key string, l At[string]) {
	if l.V != "" && !isURL(l.V) {
		ps.Errorc(CodeValue, l.Pos, "%s: want a URL with http:// or https:// and a host, got %s", key, quote(l.V))
	}
}
