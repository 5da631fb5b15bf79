package online

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callchain/config"
	"callchain/escalation/store/bolt"
	"callchain/escalation/store/redis"
	"callchain/internal/testbench"
	"callchain/notifiers/email"
	"callchain/notifiers/slack"
)

const allScopes = "chat:write,users:read,users:read.email,im:history,im:write,channels:read,groups:read,commands,usergroups:read"

// workspace answers by method, or by method and id.
func workspace(t *testing.T, scopes string, change map[string]string) *slack.Notifier {
	t.Helper()
	answers := map[string]string{
		"auth.test": `{"ok":true,"team":"Test","user":"callchain","user_id":"UBOT","team_id":"T1"}`,
		"conversations.list": `{"ok":true,"channels":[{"id":"C1","name":"incidents","is_member":true},{"id":"C2","name":"sre","is_member":true,"previous_names":["ops","incidents"]},
			{"id":"C3","name":"ownership"},{"id":"C4","name":"old","is_member":true,"is_archived":true},{"id":"C5","name":"shared","is_member":true,"is_ext_shared":true},
			{"id":"C6","name":"private","is_private":true}]}`,
		"usergroups.list":                   `{"ok":true,"usergroups":[{"id":"S0SRE","handle":"sre","users":["U1"]},{"id":"S0EMPTY","handle":"empty"},{"id":"S0GONE","handle":"gone","date_delete":1700000000,"users":["U1"]}]}`,
		"users.info U01ANA":                 `{"ok":true,"user":{"id":"U01ANA","name":"ana"}}`,
		"users.info U01GUEST":               `{"ok":true,"user":{"id":"U01GUEST","is_ultra_restricted":true}}`,
		"users.info U01GONE":                `{"ok":true,"user":{"id":"U01GONE","deleted":true}}`,
		"users.info U01BOT":                 `{"ok":true,"user":{"id":"U01BOT","is_bot":true}}`,
		"users.info U01OTHER":               `{"ok":true,"user":{"id":"U01OTHER","is_stranger":true}}`,
		"users.info":                        `{"ok":false,"error":"user_not_found"}`,
		"users.lookupByEmail":               `{"ok":false,"error":"users_not_found"}`,
		"users.lookupByEmail a@example.org": `{"ok":true,"user":{"id":"U01ANA","name":"ana"}}`,
	}
	maps.Copy(answers, change)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		method := strings.TrimPrefix(r.URL.Path, "/api/")
		answer, ok := answers[strings.TrimSpace(method+" "+r.Form.Get("user")+r.Form.Get("email"))]
		if !ok {
			answer, ok = answers[method]
		}
		if !ok {
			t.Errorf("%s was called: only what reads may be", method)
		}
		if scopes != "" {
			w.Header().Set("X-OAuth-Scopes", scopes)
		}
		io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	return slack.New(slack.Config{APIURL: s.URL + "/api/", Token: func() (string, error) { return "xoxb-1", nil }}, slog.New(slog.DiscardHandler))
}

func TestSlack(t *testing.T) {
	mailer := "\n  email: {smarthost: '127.0.0.1:1', from: callchain@example.org, require_tls: false, link_key_file: key}\n"
	for _, c := range []struct {
		name    string
		scopes  string
		answers map[string]string
		channel string
		catalog string
		noMail  bool
		want    []string
		checked []string
	}{
		{
			name: "all is well", channel: "#incidents", scopes: allScopes,
			catalog: "people: [{name: ana, slack: U01ANA}]\nteams: [{name: sre, slack_channel: sre, slack_usergroup: S0SRE}]",
			checked: []string{"Slack: the token is that of callchain in the workspace Test", "Slack: 2 of 2 channels named can be posted to", "Slack: 1 of 1 person can be paged there"},
		},
		{
			name: "revoked", channel: "#incidents", answers: map[string]string{"auth.test": `{"ok":false,"error":"token_revoked"}`},
			want: []string{"4:50: error: notifiers.slack: slack: token_revoked: the bot token was revoked; install the app again and store its new token; nothing goes to Slack"},
		},
		{
			name: "no scopes told", channel: "#ownership",
			want: []string{"warning: notifiers.slack: the answer names no scopes", "warning: notifiers.slack.channel: callchain is not in the channel #ownership; invite it, unless"},
		},
		{
			name: "few scopes", channel: "#incidents", scopes: "im:history",
			catalog: "people: [{name: ana, email: a@example.org}]\nteams: [{name: sre, slack_usergroup: S0SRE}]",
			answers: map[string]string{
				"conversations.list":                `{"ok":false,"error":"missing_scope","needed":"channels:read"}`,
				"usergroups.list":                   `{"ok":false,"error":"missing_scope","needed":"usergroups:read"}`,
				"users.lookupByEmail a@example.org": `{"ok":false,"error":"missing_scope","needed":"users:read.email"}`,
			},
			want: []string{
				"error: notifiers.slack: the app lacks the scope chat:write: no page", "error: notifiers.slack: the app lacks the scope users:read.email: people without a slack id",
				"scope users:read: guests", "scope im:write", "scope channels:read", "scope groups:read", "scope commands: nobody can type /callchain", "scope usergroups:read",
				"notifiers.slack: 1 person was not looked up in Slack (ana): slack: missing_scope",
			},
		},
		{
			name: "channels", channel: "#nosuch", scopes: allScopes,
			catalog: "teams: [{name: a, slack_channel: '#old'}, {name: b, slack_channel: '#ownership'}, {name: c, slack_channel: '#private'}, {name: d, slack_channel: '#shared'}]",
			want: []string{
				"error: notifiers.slack.channel: Slack has no channel #nosuch that callchain can see", "1:34: error: slack_channel of team a: the channel #old is archived",
				"error: slack_channel of team b: callchain is not in the channel #ownership and may not post without; invite it, or give the app the scope chat:write.public",
				"error: slack_channel of team c: callchain is not in the private channel #private; invite it", "warning: slack_channel of team d: people of other organisations are in the channel #shared",
			},
			checked: []string{"Slack: the token", "Slack: 1 of 5 channels named can be posted to"},
		},
		{
			name: "renamed", channel: "#incidents", scopes: allScopes, catalog: "teams: [{name: a, slack_channel: '#ops'}]",
			want:    []string{"warning: slack_channel of team a: the channel #ops is called #sre by now"},
			checked: []string{"Slack: the token", "Slack: 2 of 2 channels named can be posted to"},
		},
		{name: "posting uninvited", channel: "#ownership", scopes: allScopes + ",chat:write.public"},
		{
			name: "groups", channel: "#incidents", scopes: allScopes,
			catalog: "teams: [{name: a, slack_usergroup: S0EMPTY}, {name: b, slack_usergroup: S0GONE}, {name: c, slack_usergroup: S0NONE}]",
			want:    []string{"team a: the user group S0EMPTY (@empty) is empty", "team b: the user group S0GONE (@gone) is disabled", "team c: Slack has no user group S0NONE"},
		},
		{
			name: "no groups on this plan", channel: "#incidents", scopes: allScopes, catalog: "teams: [{name: a, slack_usergroup: S0SRE}]",
			answers: map[string]string{"usergroups.list": `{"ok":false,"error":"plan_upgrade_required"}`},
			want:    []string{"warning: slack_usergroup of team a: whether Slack has the user groups was not checked: slack: plan_upgrade_required"},
		},
		{
			name: "people", channel: "#incidents", scopes: allScopes,
			catalog: `people:
- {name: ana, slack: U01ANA, email: a@example.org}
- {name: ana2, email: a@example.org}
- {name: guest, slack: U01GUEST, email: g@example.org}
- {name: gone, slack: U01GONE, email: g@example.org}
- {name: alone, slack: U01GONE, contact: [slack]}
- {name: bot, slack: U01BOT, email: b@example.org}
- {name: other, slack: U01OTHER, email: b@example.org}
- {name: none, email: none@example.org}
- {name: mail, email: mail@example.org, contact: [email]}
`,
			want: []string{
				"3:23: warning: person ana2: the e-mail address a@example.org is that of ana too",
				"warning: person guest: the slack id U01GUEST is that of a guest; guests are paged, but cannot acknowledge in Slack",
				"warning: person gone: the Slack account with the slack id U01GONE is deactivated; remove them if they left, or correct it (they still get mails)",
				"error: person alone: the Slack account with the slack id U01GONE is deactivated; remove them if they left, or correct it (they have no other channel, so nobody is woken)",
				"warning: person bot: the slack id U01BOT is that of a bot", "warning: person other: the slack id U01OTHER is that of somebody of another organisation",
				"9:23: warning: person none: Slack knows nobody with the e-mail address none@example.org",
			},
			checked: []string{"Slack: the token", "Slack: 1 of 1 channel named can be posted to", "Slack: 1 of 8 people can be paged there and answer there"},
		},
		{
			name: "no mail at all", channel: "#incidents", scopes: allScopes, noMail: true, catalog: "people: [{name: none, email: none@example.org}]",
			want: []string{"error: person none: Slack knows nobody"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			mail := mailer
			if c.noMail {
				mail = "\n"
			}
			w := loaded(t, fmt.Sprintf("external_url: http://callchain.test\nnotifiers:\n  slack: {channel: %q, bot_token_file: b, signing_secret_file: c}%s", c.channel, mail))
			w.Slack = workspace(t, c.scopes, c.answers)
			catalog, ps := config.ParseCatalog([]config.File{{Name: "catalog.yml", Data: []byte(c.catalog)}})
			if len(ps) > 0 {
				t.Fatal(ps)
			}
			w.Catalog = catalog
			got := w.slack(t.Context())
			want(t, lines(got.problems), c.want...)
			if c.checked != nil {
				want(t, got.checked, c.checked...)
			}
		})
	}
}

func TestEmail(t *testing.T) {
	w := loaded(t, "external_url: http://callchain.test\nnotifiers:\n  email: {smarthost: '127.0.0.1:1', from: callchain@example.org, require_tls: false, link_key_file: key}")
	m := w.Config.Notifiers.Email
	n, err := email.New(email.Config{Smarthost: m.Smarthost.V, From: m.From.V}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w.Email = n
	want(t, lines(w.email(t.Context()).problems), "4:22: error: notifiers.email: smarthost 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused; no mail leaves")

	now := time.Date(2026, 11, 20, 16, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		ends time.Time
		want []string
	}{
		{name: "none"},
		{name: "long", ends: now.Add(15 * 24 * time.Hour)},
		{name: "soon", ends: now.Add(13*24*time.Hour + time.Hour), want: []string{"4:22: warning: notifiers.email: the certificate of 127.0.0.1:1 ends on 2026-12-03, in 13 days; after that no mail leaves"}},
		{name: "today", ends: now.Add(time.Hour), want: []string{"in less than a day"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s section
			certificate(&s, m, c.ends, now)
			want(t, lines(s.problems), c.want...)
		})
	}
}

func TestExternalURL(t *testing.T) {
	answer := func(code int) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "https://login.test")
			if r.URL.Path != "/below/-/healthy" {
				code = http.StatusNotFound
			}
			w.WriteHeader(code)
		}))
		t.Cleanup(s.Close)
		return s.URL + "/below"
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, c := range []struct{ name, url, want string }{
		{"there", answer(200), ""},
		{"a login in front", answer(302), "is redirected to https://login.test; Slack follows no redirect"},
		{"something else", answer(502), "answers HTTP 502 instead of 200"},
		{"nobody", gone.URL, "connection refused; links in mails"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := loaded(t, "external_url: "+c.url).externalURL(t.Context())
			switch {
			case c.want == "":
				want(t, lines(got.problems))
				want(t, got.checked, "external_url: "+c.url+" answers")
			default:
				want(t, lines(got.problems), "2:15: warning: external_url: "+c.url+"/-/healthy")
				want(t, lines(got.problems), c.want)
			}
		})
	}
}

func TestStoreEmbedded(t *testing.T) {
	dir := t.TempDir()
	running, err := bolt.Open(filepath.Join(dir, "running.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { running.Close() })
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, want string }{
		{"to be made", "new/below/callchain.db", ""},
		{"held by a daemon", "running.db", ""},
		{"a directory", ".", "is no file: choose another store.path"},
		{"below a file", "file/callchain.db", "not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := loaded(t, fmt.Sprintf("store: {path: %q}", filepath.Join(dir, c.path)))
			got := w.store(t.Context())
			if c.want == "" {
				want(t, lines(got.problems))
				return
			}
			want(t, lines(got.problems), "2:15: error: store.path: ")
			if !strings.Contains(got.problems[0].Text, c.want) {
				t.Errorf("%s does not say %q", got.problems[0].Text, c.want)
			}
		})
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "new*")); len(left) > 0 {
		t.Errorf("looking made %v", left)
	}
}

// Looking at Redis leaves nothing in it.
func TestStoreRedis(t *testing.T) {
	t.Parallel()
	r := testbench.StartRedis(t)
	w := loaded(t, fmt.Sprintf("store: {type: redis, redis: {addrs: [%q]}}", r.Addr))
	look := func(o redis.Options) section {
		o.Addrs = []string{r.Addr}
		w.Redis = &o
		return w.store(t.Context())
	}
	got := look(redis.Options{})
	want(t, lines(got.problems), "2:38: warning: store.redis: Redis keeps nothing on disk")
	want(t, got.checked, "store: Redis at "+r.Addr+" answers")
	want(t, lines(look(redis.Options{Installation: "mine"}).problems), "Redis keeps nothing on disk", "warning: store.redis: the store is empty, but this callchain had one here")
	if writes := r.Info(t, "persistence", "rdb_changes_since_last_save"); writes != "0" {
		t.Errorf("looking wrote %s times", writes)
	}

	st, err := redis.Open(t.Context(), redis.Options{Addrs: []string{r.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	mine := st.Installation()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, lines(look(redis.Options{Installation: mine}).problems), "Redis keeps nothing on disk")
	want(t, lines(look(redis.Options{Installation: "other"}).problems), "error: store.redis: look at the store in Redis at "+r.Addr+": read the marker: the store belongs to installation "+mine)
	r.Call(t, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	want(t, lines(look(redis.Options{}).problems), "error: store.redis: look at the store in Redis at "+r.Addr+": read the server's settings: maxmemory-policy is allkeys-lru")
	r.Call(t, "CONFIG", "SET", "maxmemory-policy", "noeviction")
	r.Call(t, "CONFIG", "SET", "requirepass", "x")
	want(t, lines(look(redis.Options{}).problems), "NOAUTH")

	gone := testbench.FreeAddr(t)
	w.Redis = &redis.Options{Addrs: []string{gone}}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	want(t, lines(w.store(ctx).problems), "connection refused")
}
