package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/escalation/store"
	"callchain/notifiers/slack"
	"callchain/routing"
	"callchain/routing/catalog"
	"callchain/routing/report"
)

const testConfig = `
external_url: https://callchain.example.org
catalog_files: [catalog.yml]
alertmanager:
  sources:
    - {name: main, token_file: am-token}
    - {name: lab, anonymous: true}
routing: {fallback_team: sre}
notifiers:
  slack: {bot_token_file: bot-token, signing_secret_file: signing}
  email: {smarthost: "mail.example.org:587", from: callchain@example.org, link_key_file: link-key}
api:
  tokens:
    - {name: reader, token_file: read-token, scopes: [read]}
    - {name: responder, token_file: respond-token, scopes: [respond]}
`

const testCatalog = `
people:
  - {name: ana, email: ana@example.org, slack: U01ANA}
  - {name: ben, email: ben@example.org}
teams:
  - {name: sre, members: [ana, ben], slack_channel: "#sre"}
services:
  - {name: parsoid, state: third_party, owners: sre}
`

const (
	amToken      = "am-token-0123456789abcdef"
	readToken    = "read-token-0123456789abcdef"
	respondToken = "respond-token-0123456789abcdef"
	signing      = "signing-secret-0123456789abcdef"
	linkKey      = "link-key-fedcba9876543210fedcba9876543210"
)

// snapshot loads a real configuration: the doors see what they see in earnest.
func snapshot(t testing.TB) *engine.Snapshot {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"callchain.yml": testConfig, "catalog.yml": testCatalog,
		"am-token": "old-token-0123456789abcdef\n" + amToken + "\n", "read-token": readToken, "respond-token": respondToken,
		"bot-token": "xoxb-0123456789abcdef", "signing": signing, "link-key": linkKey,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, ps := config.Load(filepath.Join(dir, "callchain.yml"), config.Options{})
	raw, more := config.LoadCatalog(cfg.CatalogFiles)
	ps = append(ps, more...)
	cat, more := catalog.New(raw)
	ps = append(ps, more...)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	router, ps := routing.New(cfg, cat)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	return &engine.Snapshot{Config: cfg, Catalog: cat, Router: router}
}

// fakeEngine answers what a test wants and remembers what it was asked.
type fakeEngine struct {
	snap *engine.Snapshot

	mu       sync.Mutex
	hooks    []routing.Webhook
	events   []escalation.Event
	notices  []engine.Notice
	asked    int // questions that need the store
	webhook  func(context.Context) error
	answer   func(escalation.Event) (escalation.Answer, error)
	incident escalation.Incident
	digest   func(ev escalation.Acknowledge) ([]engine.Acknowledged, error)
	asks     []string // digests and revisions that were acknowledged
	notReady error
	unread   error // of Incident
	facts    []report.Facts
	read     func()    // told of each reading of facts; nil: nobody
	now      time.Time // zero: the wall clock's
}

var errStore = errors.New("the disk is on fire")

func (e *fakeEngine) Webhook(ctx context.Context, _ string, w routing.Webhook) error {
	e.mu.Lock()
	e.hooks = append(e.hooks, w)
	f := e.webhook
	e.mu.Unlock()
	if f != nil {
		return f(ctx)
	}
	return nil
}

func (e *fakeEngine) AcknowledgeAll(_ context.Context, digest string, rev uint64, ev escalation.Acknowledge, _ func(escalation.Incident) bool) ([]engine.Acknowledged, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked++
	e.asks = append(e.asks, fmt.Sprint(digest, " ", rev, " ", ev.By.Handle, " ", ev.By.Via, " ", ev.Stranger))
	return e.digest(ev)
}

func (e *fakeEngine) Do(_ context.Context, id string, ev escalation.Event) (escalation.Incident, escalation.Answer, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked++
	e.events = append(e.events, ev)
	if id != e.incident.ID {
		return escalation.Incident{}, escalation.Answer{}, engine.ErrNotFound
	}
	a := escalation.Answer{Kind: escalation.Done}
	var err error
	if e.answer != nil {
		a, err = e.answer(ev)
	}
	return e.incident, a, err
}

func (e *fakeEngine) Incident(_ context.Context, id string) (escalation.Incident, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked++
	if e.unread != nil {
		return escalation.Incident{}, e.unread
	}
	if id != e.incident.ID {
		return escalation.Incident{}, engine.ErrNotFound
	}
	return e.incident, nil
}

func (e *fakeEngine) Incidents(_ context.Context, f engine.Filter) ([]escalation.Incident, string, error) {
	if f.Cursor == "forged" {
		return nil, "", engine.ErrBadCursor
	}
	if e.unread != nil {
		return nil, "", e.unread
	}
	return []escalation.Incident{e.incident}, "", nil
}

func (e *fakeEngine) Drill(_ context.Context, target routing.Target, urgency config.Urgency, by escalation.Actor, atNight bool) (escalation.Incident, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !atNight {
		return escalation.Incident{}, fmt.Errorf("%w: %s", engine.ErrAtNight, "ana (23:10 in Europe/Berlin)")
	}
	inc := escalation.Incident{ID: "00-drill", Kind: escalation.Drill, State: escalation.Triggered, Urgency: urgency, Target: target, Reason: by.Handle}
	e.incident = inc
	return inc, nil
}

func (e *fakeEngine) PageByHand(_ context.Context, target routing.Target, urgency config.Urgency, text string, by escalation.Actor, key string) (escalation.Incident, error) {
	inc := escalation.Incident{ID: "00-hand", Kind: escalation.ByHand, State: escalation.Triggered, Urgency: urgency, Target: target, Body: text, Reason: by.Handle}
	if key == "used" || key == "slack:used" {
		return inc, engine.ErrKeyReused
	}
	return inc, nil
}

func (e *fakeEngine) TestPage(_ context.Context, person string, by escalation.Actor) (escalation.Incident, error) {
	return escalation.Incident{ID: "00-test", Kind: escalation.Test, State: escalation.Triggered, OpenedAt: 1}, nil
}

func (e *fakeEngine) Notice(_ context.Context, n engine.Notice) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.notices = append(e.notices, n)
	return nil
}

func (e *fakeEngine) RiskFacts(_ context.Context, from, to string) ([]report.Facts, error) {
	if e.read != nil {
		e.read()
	}
	if e.notReady != nil {
		return nil, e.notReady
	}
	var out []report.Facts
	for _, f := range e.facts {
		if from <= f.Day && f.Day <= to {
			out = append(out, f)
		}
	}
	return out, nil
}

func (e *fakeEngine) Ready(context.Context) error { return e.notReady }

func (e *fakeEngine) Snapshot() *engine.Snapshot { return e.snap }

func (e *fakeEngine) Now() time.Time {
	if !e.now.IsZero() {
		return e.now
	}
	return time.Now()
}

// fakeSlack is the workspace.
type fakeSlack struct {
	users map[string]slack.User
	mu    sync.Mutex
	said  []string
	over  []string

	opened []string     // forms
	forms  []slack.Form // as they were filled
	inForm []string     // what was said in place of one
	home   slack.Home
	probed int
}

func (f *fakeSlack) Respond(_ context.Context, url, text, takeOver string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said, f.over = append(f.said, text), append(f.over, takeOver)
	return nil
}

// OpenForm opens no form for a trigger that is "late".
func (f *fakeSlack) OpenForm(_ context.Context, trigger, action string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if trigger == "late" {
		return "", errors.New("expired_trigger_id")
	}
	f.opened = append(f.opened, action)
	return "V1", nil
}

func (f *fakeSlack) FillForm(_ context.Context, view string, form slack.Form) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forms = append(f.forms, form)
	return nil
}

func (f *fakeSlack) SayInForm(_ context.Context, _, _, said string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inForm = append(f.inForm, said)
	return nil
}

func (f *fakeSlack) Home() slack.Home { return f.home }

func (f *fakeSlack) Probe(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.probed++
	return nil
}

func (f *fakeSlack) User(_ context.Context, id string) (slack.User, error) {
	u, ok := f.users[id]
	if !ok {
		return u, errors.New("ratelimited")
	}
	return u, nil
}

type bench struct {
	*Server
	t      testing.TB
	engine *fakeEngine
	slack  *fakeSlack
	reg    *prometheus.Registry

	trigger string // of a command
}

func newBench(t testing.TB, change ...func(*Deps)) *bench {
	t.Helper()
	b := &bench{t: t, reg: prometheus.NewRegistry(), slack: &fakeSlack{users: map[string]slack.User{}}}
	b.engine = &fakeEngine{snap: snapshot(t), incident: escalation.Incident{
		ID: "0c-k7f3k", State: escalation.Triggered, Urgency: config.Page, OpenedAt: escalation.At(time.Now()),
		Target: routing.Target{Subject: "service:parsoid", Service: "parsoid"}, Assessment: catalog.Owned,
		Shown: []escalation.Alert{{Fingerprint: 255, Labels: map[string]string{"alertname": "<script>alert(1)</script>"}, StartsAt: 1000}},
	}}
	d := Deps{
		Engine: b.engine, Logger: slog.New(slog.DiscardHandler), Registry: b.reg,
		Version: "1.0", Slack: func() Slack { return b.slack },
	}
	for _, f := range change {
		f(&d)
	}
	b.Server = New(d)
	return b
}

// do makes a request; headers come in pairs.
func (b *bench) do(method, path string, body string, headers ...string) *httptest.ResponseRecorder {
	return b.on(b.Private, method, path, strings.NewReader(body), headers...)
}

func (b *bench) on(h http.Handler, method, path string, body io.Reader, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, body)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	b.Wait()
	return w
}

const hookURL = "/api/v1/webhook/alertmanager/main"

const goodHook = `{"version":"4","groupKey":"{}:{}","status":"firing","groupLabels":{},"alerts":[
 {"status":"firing","labels":{"alertname":"A"},"startsAt":"2026-11-20T03:00:00Z","endsAt":"0001-01-01T00:00:00Z","fingerprint":"00000000000000ff"},
 {"status":"resolved","labels":{"alertname":"B"},"startsAt":"2026-11-20T03:00:00Z","endsAt":"2026-11-20T03:01:00Z","fingerprint":"00000000000000fe"}]}`

// Many clients write the whole body before they read: they must not be cut off
// before they can see the answer.
func TestTooLargeIsReadToItsEnd(t *testing.T) {
	for name, length := range map[string]int64{"length told": maxWebhook + maxRest/2, "length unknown": -1} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			body := &counting{left: maxWebhook + maxRest/2}
			r := httptest.NewRequest(http.MethodPost, hookURL, body)
			r.ContentLength = length
			r.Header.Set("Authorization", "Bearer "+amToken)
			w := httptest.NewRecorder()
			b.Private.ServeHTTP(w, r)
			b.Wait()
			if w.Code != http.StatusRequestEntityTooLarge || body.left != 0 {
				t.Errorf("code %d with %d bytes unread; want 413 and 0", w.Code, body.left)
			}
			if b.bodies.free != maxInFlight {
				t.Errorf("%d bytes are still held", maxInFlight-b.bodies.free)
			}
		})
	}
}

// counting is a body of so many spaces.
type counting struct{ left int }

func (c *counting) Read(p []byte) (int, error) {
	n := min(c.left, len(p))
	c.left -= n
	for i := range p[:n] {
		p[i] = ' '
	}
	if c.left == 0 {
		return n, io.EOF
	}
	return n, nil
}

func TestWebhook(t *testing.T) {
	auth := []string{"Authorization", "Bearer " + amToken}
	for _, tc := range []struct {
		name, method, path, body string
		headers                  []string
		fail                     error
		code                     int
		notice                   bool
	}{
		{"stored", "POST", hookURL, goodHook, auth, nil, 200, false},
		{"another line of the token file", "POST", hookURL, goodHook, []string{"Authorization", "bearer old-token-0123456789abcdef"}, nil, 200, false},
		{"anonymous source", "POST", "/api/v1/webhook/alertmanager/lab", goodHook, nil, nil, 200, false},
		{"no alerts", "POST", hookURL, `{"version":"4","groupKey":"k","alerts":[]}`, auth, nil, 200, false},
		{"no token", "POST", hookURL, goodHook, nil, nil, 401, false},
		{"wrong token", "POST", hookURL, goodHook, []string{"Authorization", "Bearer nope"}, nil, 401, false},
		{"empty token", "POST", hookURL, goodHook, []string{"Authorization", "Bearer "}, nil, 401, false},
		{"basic is no bearer", "POST", hookURL, goodHook, []string{"Authorization", "Basic " + amToken}, nil, 401, false},
		{"garbage without token tells nobody", "POST", hookURL, `{`, nil, nil, 401, false},
		{"unknown source", "POST", "/api/v1/webhook/alertmanager/other", goodHook, auth, nil, 404, false},
		{"unknown source without token", "POST", "/api/v1/webhook/alertmanager/other", goodHook, nil, nil, 404, false},
		{"get", "GET", hookURL, "", auth, nil, 405, false},
		{"put", "PUT", hookURL, goodHook, auth, nil, 405, false},
		{"garbage", "POST", hookURL, `{`, auth, nil, 400, true},
		{"two objects", "POST", hookURL, goodHook + goodHook, auth, nil, 400, true},
		{"other version", "POST", hookURL, `{"version":"1","groupKey":"k","alerts":[]}`, auth, nil, 400, true},
		{"compressed", "POST", hookURL, goodHook, append([]string{"Content-Encoding", "gzip"}, auth...), nil, 400, true},
		{"identity is no compression", "POST", hookURL, goodHook, append([]string{"Content-Encoding", "identity"}, auth...), nil, 200, false},
		{"too large", "POST", hookURL, strings.Repeat(" ", maxWebhook+1), auth, nil, 413, true},
		{"not stored", "POST", hookURL, goodHook, auth, errStore, 503, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.engine.webhook = func(context.Context) error { return tc.fail }
			w := b.do(tc.method, tc.path, tc.body, tc.headers...)
			if w.Code != tc.code {
				t.Errorf("code %d, want %d: %s", w.Code, tc.code, w.Body)
			}
			if (tc.code == 405) != (w.Header().Get("Allow") == "POST") {
				t.Errorf("Allow %q", w.Header().Get("Allow"))
			}
			if (tc.code == 503) != (w.Header().Get("Retry-After") != "") {
				t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
			}
			if (tc.code == 401) != (w.Header().Get("WWW-Authenticate") == "Bearer") {
				t.Errorf("WWW-Authenticate %q", w.Header().Get("WWW-Authenticate"))
			}
			if strings.Contains(w.Body.String(), "fire") {
				t.Errorf("the cause is shown: %s", w.Body)
			}
			if got := len(b.engine.notices); (got == 1) != tc.notice || got > 1 {
				t.Errorf("%d notices", got)
			}
			for _, n := range b.engine.notices {
				if n.Team != "sre" || !n.BoardOnly || !strings.HasPrefix(n.Key, "bad-webhook:main:") {
					t.Errorf("notice %+v", n)
				}
			}
			if b.bodies.free != maxInFlight {
				t.Errorf("%d bytes are not given back", maxInFlight-b.bodies.free)
			}
		})
	}
}

// ServeMux answers a path that is not clean with a redirect. Alertmanager
// follows it with a GET, and an alert counts as delivered that nobody has.
func TestWebhookIsNeverRedirected(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{
		hookURL + "/", "/api/v1//webhook/alertmanager/main", "//api/v1/webhook/alertmanager/main", "/api/v1/webhook/alertmanager//main",
		"/api/v1/./webhook/alertmanager/main", "/api/../api/v1/webhook/alertmanager/main", "/api/v1/webhook/alertmanager/main/..",
		"/api/v1/webhook/alertmanager/", "/api/v1/webhook/alertmanager", "/api", "/api/v1/webhook/alertmanager/main/more",
		"/api/v1/webhook/alertmanager/%2e%2e", "/api/v1/webhook/alertmanager/%2fmain", "/slack", "/ack", "/incidents", "/-",
	} {
		w := b.do("POST", path, goodHook, "Authorization", "Bearer "+amToken)
		if w.Code != 404 || w.Header().Get("Location") != "" {
			t.Errorf("%s: %d to %q", path, w.Code, w.Header().Get("Location"))
		}
	}
	if len(b.engine.hooks) != 0 {
		t.Error("a webhook came through")
	}
}

func TestWebhookNoticeOncePerHour(t *testing.T) {
	b := newBench(t)
	for range 5 {
		b.do("POST", hookURL, "{", "Authorization", "Bearer "+amToken)
		b.do("POST", "/api/v1/webhook/alertmanager/lab", "{")
	}
	// An hour may end meanwhile.
	if n := len(b.engine.notices); n < 2 || n > 4 {
		t.Errorf("%d notices for two sources", n)
	}
}

func TestWebhookWaitsForTheStoreNoLongerThan(t *testing.T) {
	b := newBench(t)
	b.engine.webhook = func(ctx context.Context) error {
		end, ok := ctx.Deadline()
		if !ok || time.Until(end) > storeWithin {
			t.Errorf("deadline %v %v", end, ok)
		}
		return context.DeadlineExceeded
	}
	if w := b.do("POST", hookURL, goodHook, "Authorization", "Bearer "+amToken); w.Code != 503 {
		t.Errorf("code %d", w.Code)
	}
}

func TestBodiesInFlight(t *testing.T) {
	b := newBench(t)
	b.bodies.take(maxInFlight - 100)
	if w := b.do("POST", hookURL, goodHook, "Authorization", "Bearer "+amToken); w.Code != 503 {
		t.Errorf("code %d with a known length", w.Code)
	}
	// io.MultiReader hides the length.
	w := b.on(b.Private, "POST", hookURL, io.MultiReader(strings.NewReader(goodHook)), "Authorization", "Bearer "+amToken)
	if w.Code != 503 {
		t.Errorf("code %d with an unknown length", w.Code)
	}
	b.bodies.give(maxInFlight - 100)
	w = b.on(b.Private, "POST", hookURL, io.MultiReader(strings.NewReader(goodHook)), "Authorization", "Bearer "+amToken)
	if w.Code != 200 || b.bodies.free != maxInFlight {
		t.Errorf("code %d, %d bytes free", w.Code, b.bodies.free)
	}
}

func TestWebhookMetrics(t *testing.T) {
	b := newBench(t)
	b.do("POST", hookURL, goodHook, "Authorization", "Bearer "+amToken)
	b.do("POST", hookURL, goodHook)
	b.do("POST", "/api/v1/webhook/alertmanager/made-up", goodHook)
	for _, tc := range []struct {
		c    prometheus.Collector
		want float64
	}{
		{b.metrics.webhooks.WithLabelValues("main", "200"), 1},
		{b.metrics.webhooks.WithLabelValues("main", "401"), 1},
		{b.metrics.webhooks.WithLabelValues("unknown", "404"), 1},
		{b.metrics.alerts.WithLabelValues("main", "firing"), 1},
		{b.metrics.alerts.WithLabelValues("main", "resolved"), 1},
	} {
		if got := testutil.ToFloat64(tc.c); got != tc.want {
			t.Errorf("got %v, want %v", got, tc.want)
		}
	}
	if problems, err := testutil.GatherAndLint(b.reg); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	if w := b.do("GET", "/metrics", ""); strings.Contains(w.Body.String(), "made-up") || !strings.Contains(w.Body.String(), "callchain_webhooks_total") {
		t.Error("metrics are not what they should be")
	}
}

func TestPanicIsCaught(t *testing.T) {
	b := newBench(t)
	b.engine.webhook = func(context.Context) error { panic("boom") }
	if w := b.do("POST", hookURL, goodHook, "Authorization", "Bearer "+amToken); w.Code != 500 || strings.Contains(w.Body.String(), "boom") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if testutil.ToFloat64(b.metrics.panics) != 1 || b.bodies.free != maxInFlight {
		t.Error("not counted, or bytes not given back")
	}
}

func TestSplit(t *testing.T) {
	for _, split := range []bool{false, true} {
		b := newBench(t, func(d *Deps) { d.Split = split })
		for path, public := range map[string]bool{"/-/healthy": true, "/slack/events": true, "/ack/x": true, "/-/ready": false, "/metrics": false, "/": false, "/api/v1/status": false} {
			here := func(h http.Handler) bool { return b.on(h, "GET", path, nil).Code != 404 }
			if got := here(b.Private); got != (!split || !public) {
				t.Errorf("split %v: %s on the private address: %v", split, path, got)
			}
			if got := here(b.Public); got != (!split || public) {
				t.Errorf("split %v: %s on the public address: %v", split, path, got)
			}
		}
	}
}

func TestHealth(t *testing.T) {
	b := newBench(t)
	if w := b.do("GET", "/-/ready", ""); w.Code != 200 {
		t.Errorf("ready: %d", w.Code)
	}
	b.engine.notReady = errStore
	if w := b.do("GET", "/-/ready", ""); w.Code != 503 {
		t.Errorf("not ready: %d", w.Code)
	}
	if w := b.do("GET", "/-/healthy", ""); w.Code != 200 {
		t.Errorf("healthy: %d", w.Code)
	}
	if w := b.do("POST", "/-/reload", ""); w.Code != 403 {
		t.Errorf("reload without lifecycle: %d", w.Code)
	}
	for _, want := range []error{nil, errors.New("catalog.yml:1:1: error: no")} {
		b := newBench(t, func(d *Deps) { d.Reload = func(context.Context) error { return want } })
		w := b.do("POST", "/-/reload", "")
		if (w.Code == 200) != (want == nil) || want != nil && !strings.Contains(w.Body.String(), want.Error()) {
			t.Errorf("reload with %v: %d %s", want, w.Code, w.Body)
		}
		if w := b.do("GET", "/-/reload", ""); w.Code != 405 {
			t.Errorf("GET reload: %d", w.Code)
		}
		if w := b.do("POST", "/-/reload", "", "Sec-Fetch-Site", "cross-site"); w.Code != 403 {
			t.Errorf("reload by another site: %d", w.Code)
		}
	}
}

func TestAPI(t *testing.T) {
	const one = "/api/v1/incidents/0c-k7f3k"
	byAna := `{"by":"ana"}`
	for _, tc := range []struct {
		name, method, path, body, token string
		answer                          escalation.AnswerKind
		code                            int
		problem                         string
	}{
		{"no token", "GET", one, "", "", "", 401, "unauthorized"},
		{"wrong token", "GET", one, "", "nope", "", 401, "unauthorized"},
		{"a source's token is none of the API", "GET", one, "", amToken, "", 401, "unauthorized"},
		{"read", "GET", one, "", readToken, "", 200, ""},
		{"respond includes read", "GET", one, "", respondToken, "", 200, ""},
		{"read is not respond", "POST", one + "/ack", byAna, readToken, "", 403, "forbidden"},
		{"unknown incident", "GET", "/api/v1/incidents/00-none", "", readToken, "", 404, "not_found"},
		{"no such path", "GET", "/api/v1/nothing", "", readToken, "", 404, "not_found"},
		{"wrong method", "DELETE", one, "", readToken, "", 405, "method_not_allowed"},
		{"list", "GET", "/api/v1/incidents?state=open&limit=5", "", readToken, "", 200, ""},
		{"list of a state that is none", "GET", "/api/v1/incidents?state=broken", "", readToken, "", 400, "bad_request"},
		{"limit that is none", "GET", "/api/v1/incidents?limit=x", "", readToken, "", 400, "bad_request"},
		{"cursor that is none", "GET", "/api/v1/incidents?cursor=forged", "", readToken, "", 400, "bad_request"},
		{"ack", "POST", one + "/ack", byAna, respondToken, escalation.Done, 200, ""},
		{"ack again", "POST", one + "/ack", byAna, respondToken, escalation.Already, 200, ""},
		{"ack of a resolved one", "POST", one + "/ack", byAna, respondToken, escalation.Closed, 409, "resolved"},
		{"ack from outside the chain", "POST", one + "/ack", byAna, respondToken, escalation.NotInChain, 409, "not_in_chain"},
		{"ack by nobody", "POST", one + "/ack", `{}`, respondToken, "", 422, "by_missing"},
		{"ack without a body", "POST", one + "/ack", ``, respondToken, "", 422, "by_missing"},
		{"ack by a stranger", "POST", one + "/ack", `{"by":"zoe"}`, respondToken, "", 422, "unknown_person"},
		{"ack with garbage", "POST", one + "/ack", `[`, respondToken, "", 400, "bad_request"},
		{"ack of none", "POST", "/api/v1/incidents/00-none/ack", byAna, respondToken, "", 404, "not_found"},
		{"resolve", "POST", one + "/resolve", byAna, respondToken, escalation.Done, 200, ""},
		{"resolve again", "POST", one + "/resolve", byAna, respondToken, escalation.Closed, 200, ""},
		{"escalate", "POST", one + "/escalate", byAna, respondToken, escalation.Done, 200, ""},
		{"escalate to", "POST", one + "/escalate", `{"by":"ana","to":"ben"}`, respondToken, "", 200, ""},
		{"escalate to a role", "POST", one + "/escalate", `{"by":"ana","to":"director"}`, respondToken, "", 200, ""},
		{"escalate to a role that nobody fills", "POST", one + "/escalate", `{"by":"ana","to":"director"}`, respondToken, escalation.NoTarget, 422, "no_target"},
		{"escalate to nobody known", "POST", one + "/escalate", `{"by":"ana","to":"team:ana"}`, respondToken, "", 422, "no_target"},
		{"unack", "POST", one + "/unack", byAna, respondToken, "", 200, ""},
		{"unack of what nobody has", "POST", one + "/unack", byAna, respondToken, escalation.NotAcked, 409, "not_acknowledged"},
		{"still on", "POST", one + "/still-on", byAna, respondToken, "", 200, ""},
		{"still on another's", "POST", one + "/still-on", byAna, respondToken, escalation.Already, 409, "acknowledged"},
		{"reassign", "POST", one + "/reassign", `{"by":"ana","to":"person:ben"}`, respondToken, "", 200, ""},
		{"reassign to nobody", "POST", one + "/reassign", byAna, respondToken, "", 422, "to_missing"},
		{"reassign from outside", "POST", one + "/reassign", `{"by":"ana","to":"ben"}`, respondToken, escalation.NotInChain, 409, "not_in_chain"},
		{"snooze until", "POST", one + "/snooze", `{"by":"ana","until":"2026-11-20T22:00:00Z"}`, respondToken, "", 200, ""},
		{"snooze for", "POST", one + "/snooze", `{"by":"ana","until":"30m"}`, respondToken, "", 200, ""},
		{"snooze until whenever", "POST", one + "/snooze", `{"by":"ana","until":"noon"}`, respondToken, "", 422, "bad_until"},
		{"snooze until it is past", "POST", one + "/snooze", `{"by":"ana","until":"30m"}`, respondToken, escalation.BadTime, 422, "bad_until"},
		{"snooze of practice", "POST", one + "/snooze", `{"by":"ana","until":"30m"}`, respondToken, escalation.Practice, 409, "practice"},
		{"urgency", "POST", one + "/urgency", `{"by":"ana","urgency":"unbreak_now"}`, respondToken, "", 200, ""},
		{"urgency that is none", "POST", one + "/urgency", `{"by":"ana","urgency":"huge"}`, respondToken, "", 422, "bad_urgency"},
		{"ack by a volunteer", "POST", one + "/ack", `{"by":"ana","take_over":true}`, respondToken, escalation.Volunteer, 409, "volunteer"},
		{"urgency that is lower", "POST", one + "/urgency", `{"by":"ana","urgency":"notify"}`, respondToken, escalation.NotHigher, 409, "not_higher"},
		{"note", "POST", one + "/note", `{"by":"ana","text":"it is the database"}`, respondToken, "", 200, ""},
		{"note of nothing", "POST", one + "/note", `{"by":"ana","text":" "}`, respondToken, "", 422, "text_missing"},
		{"note that is a book", "POST", one + "/note", `{"by":"ana","text":"` + strings.Repeat("x", escalation.MaxRemark+1) + `"}`, respondToken, "", 422, "text_too_long"},
		{"wrong owner", "POST", one + "/wrong-owner", `{"by":"ana","right":"team:sre","reason":"moved"}`, respondToken, "", 200, ""},
		{"wrong owner, whose it is nobody knows", "POST", one + "/wrong-owner", byAna, respondToken, "", 200, ""},
		{"wrong owner, and a wrong name", "POST", one + "/wrong-owner", `{"by":"ana","right":"parsoit"}`, respondToken, "", 404, "unknown_subject"},
		{"page by hand", "POST", "/api/v1/incidents", `{"subject":"parsoid","text":"help","by":"ana"}`, respondToken, "", 200, ""},
		{"page a team by hand", "POST", "/api/v1/incidents", `{"subject":"team:sre","text":"help","by":"ana","urgency":"unbreak_now","key":"k"}`, respondToken, "", 200, ""},
		{"page by hand about nothing", "POST", "/api/v1/incidents", `{"text":"help","by":"ana"}`, respondToken, "", 422, "subject_missing"},
		{"page by hand about what is not known", "POST", "/api/v1/incidents", `{"subject":"parsoit","text":"help","by":"ana"}`, respondToken, "", 404, "unknown_subject"},
		{"page by hand without a word", "POST", "/api/v1/incidents", `{"subject":"parsoid","by":"ana"}`, respondToken, "", 422, "text_missing"},
		{"page by hand that pages nobody", "POST", "/api/v1/incidents", `{"subject":"parsoid","text":"help","by":"ana","urgency":"notify"}`, respondToken, "", 422, "bad_urgency"},
		{"page by hand by nobody", "POST", "/api/v1/incidents", `{"subject":"parsoid","text":"help"}`, respondToken, "", 422, "by_missing"},
		{"page by hand under a used key", "POST", "/api/v1/incidents", `{"subject":"parsoid","text":"help","by":"ana","key":"used"}`, respondToken, "", 409, "key_reused"},
		{"page by hand by a reader", "POST", "/api/v1/incidents", `{"subject":"parsoid","text":"help","by":"ana"}`, readToken, "", 403, "forbidden"},
		{"escalate at the end", "POST", one + "/escalate", byAna, respondToken, escalation.NobodyLeft, 409, "nobody_left"},
		{"escalate an acknowledged one", "POST", one + "/escalate", byAna, respondToken, escalation.Already, 409, "acknowledged"},
		{"no such action", "POST", one + "/destroy", byAna, respondToken, "", 404, "not_found"},
		{"body too large", "POST", one + "/ack", strings.Repeat(" ", maxBody+1), respondToken, "", 413, "too_large"},
		{"test page", "POST", "/api/v1/test-page", `{"person":"ana","by":"ben"}`, respondToken, "", 200, ""},
		{"test page to nobody", "POST", "/api/v1/test-page", `{"person":"zoe","by":"ben"}`, respondToken, "", 422, "unknown_person"},
		{"drill", "POST", "/api/v1/drill", `{"subject":"parsoid","by":"ben","at_night":true}`, respondToken, "", 200, ""},
		{"drill of a team", "POST", "/api/v1/drill", `{"subject":"team:sre","urgency":"unbreak_now","by":"ben","at_night":true}`, respondToken, "", 200, ""},
		{"drill at night", "POST", "/api/v1/drill", `{"subject":"service:parsoid","by":"ben"}`, respondToken, "", 409, "at_night"},
		{"drill of nothing", "POST", "/api/v1/drill", `{"by":"ben"}`, respondToken, "", 422, "subject_missing"},
		{"drill of a team that is a service", "POST", "/api/v1/drill", `{"subject":"team:parsoid","by":"ben"}`, respondToken, "", 404, "unknown_subject"},
		{"drill that pages nobody", "POST", "/api/v1/drill", `{"subject":"parsoid","urgency":"notify","by":"ben"}`, respondToken, "", 422, "bad_urgency"},
		{"drill by nobody", "POST", "/api/v1/drill", `{"subject":"parsoid"}`, respondToken, "", 422, "by_missing"},
		{"drill with garbage", "POST", "/api/v1/drill", `[`, respondToken, "", 400, "bad_request"},
		{"drill by a reader", "POST", "/api/v1/drill", `{"subject":"parsoid","by":"ben"}`, readToken, "", 403, "forbidden"},
		{"end of what is no drill", "POST", "/api/v1/drill/0c-k7f3k/end", byAna, respondToken, "", 409, "no_drill"},
		{"end of none", "POST", "/api/v1/drill/00-none/end", byAna, respondToken, "", 404, "not_found"},
		{"route labels", "POST", "/api/v1/route", `{"labels":{"service":"parsoid"}}`, readToken, "", 200, ""},
		{"route bare labels", "POST", "/api/v1/route", `{"service":"parsoid","alerts":"many"}`, readToken, "", 200, ""},
		{"route webhook", "POST", "/api/v1/route", goodHook, readToken, "", 200, ""},
		{"route garbage", "POST", "/api/v1/route", `[1]`, readToken, "", 400, "bad_request"},
		{"route numbers", "POST", "/api/v1/route", `{"service":1}`, readToken, "", 400, "bad_request"},
		{"status", "GET", "/api/v1/status", "", readToken, "", 200, ""},
		{"services", "GET", "/api/v1/services", "", readToken, "", 200, ""},
		{"service", "GET", "/api/v1/services/parsoid", "", readToken, "", 200, ""},
		{"unknown service", "GET", "/api/v1/services/nothing", "", readToken, "", 404, "not_found"},
		{"teams", "GET", "/api/v1/teams", "", readToken, "", 200, ""},
		{"on call", "GET", "/api/v1/oncall", "", readToken, "", 200, ""},
		{"on call for one team", "GET", "/api/v1/oncall?team=sre", "", readToken, "", 200, ""},
		{"on call for no team", "GET", "/api/v1/oncall?team=nobody", "", readToken, "", 404, "not_found"},
		{"on call at no time", "GET", "/api/v1/oncall?at=noon", "", readToken, "", 400, "bad_request"},
		{"page of another site", "POST", one + "/ack", byAna, "cross-site", "", 403, "cross_origin"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			if tc.answer != "" {
				b.engine.answer = func(escalation.Event) (escalation.Answer, error) {
					return escalation.Answer{Kind: tc.answer, By: escalation.Actor{Handle: "ben"}, At: 1}, nil
				}
			}
			headers := []string{"Authorization", "Bearer " + tc.token}
			if tc.token == "cross-site" {
				headers = []string{"Authorization", "Bearer " + respondToken, "Sec-Fetch-Site", "cross-site"}
			}
			w := b.do(tc.method, tc.path, tc.body, headers...)
			if w.Code != tc.code {
				t.Fatalf("code %d, want %d: %s", w.Code, tc.code, w.Body)
			}
			if tc.code == 200 {
				if !json.Valid(w.Body.Bytes()) || w.Header().Get("Content-Type") != "application/json" || bytes.Contains(w.Body.Bytes(), []byte(`s":null`)) {
					t.Errorf("%s: %s", w.Header().Get("Content-Type"), w.Body)
				}
				return
			}
			var p problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Code != tc.problem || p.Status != tc.code || p.Title == "" || p.Detail == "" || p.Type == "" {
				t.Errorf("problem %+v %v", p, err)
			}
			if w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("content type %s", w.Header().Get("Content-Type"))
			}
		})
	}
}

func TestAPIStoreAway(t *testing.T) {
	b := newBench(t)
	b.engine.answer = func(escalation.Event) (escalation.Answer, error) { return escalation.Answer{}, errStore }
	w := b.do("POST", "/api/v1/incidents/0c-k7f3k/ack", `{"by":"ana"}`, "Authorization", "Bearer "+respondToken)
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "fire") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	// A full store does answer; waiting does not help.
	b.engine.answer = func(escalation.Event) (escalation.Answer, error) {
		return escalation.Answer{}, fmt.Errorf("commit: %w", store.ErrFull)
	}
	w = b.do("POST", "/api/v1/incidents/0c-k7f3k/ack", `{"by":"ana"}`, "Authorization", "Bearer "+respondToken)
	if w.Code != 503 || !strings.Contains(w.Body.String(), `"code":"store_full"`) {
		t.Errorf("a full store: %d %s", w.Code, w.Body)
	}
}

// On the island an incident of the store is not known: what was done is told.
func TestAPIOnTheIsland(t *testing.T) {
	b := newBench(t)
	b.engine.incident = escalation.Incident{ID: "0c-k7f3k", Timeline: []escalation.Entry{{Seq: 1, Text: "ack by ana is recorded", By: "ana"}}}
	b.engine.answer = func(escalation.Event) (escalation.Answer, error) {
		return escalation.Answer{Kind: escalation.Recorded}, nil
	}
	w := b.do("POST", "/api/v1/incidents/0c-k7f3k/ack", `{"by":"ana"}`, "Authorization", "Bearer "+respondToken)
	if w.Code != 200 || !strings.Contains(w.Body.String(), `"state":""`) || !strings.Contains(w.Body.String(), "ack by ana is recorded") || !strings.Contains(w.Body.String(), `"recorded":true`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestActionsCarryWhatWasSaid(t *testing.T) {
	b := newBench(t)
	b.do("POST", "/api/v1/incidents/0c-k7f3k/ack", `{"by":"ana","take_over":true}`, "Authorization", "Bearer "+respondToken, "User-Agent", "callchain/1.0")
	want := escalation.Acknowledge{By: escalation.Actor{Handle: "ana", Name: "ana", Via: "cli"}, TakeOver: true}
	if len(b.engine.events) != 1 || b.engine.events[0] != escalation.Event(want) {
		t.Errorf("events %+v", b.engine.events)
	}
	by := escalation.Actor{Handle: "ana", Name: "ana", Via: "api"}
	b.engine.now = time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC)
	in30 := escalation.At(b.engine.now.Add(30 * time.Minute))
	for said, want := range map[string]escalation.Event{
		`escalate {"by":"ana","to":"team:sre"}`:                   escalation.EscalateTo{By: by, To: "team:sre"},
		`reassign {"by":"ana","to":"ben","take_over":true}`:       escalation.Reassign{By: by, To: "person:ben", TakeOver: true},
		`snooze {"by":"ana","until":"30m"}`:                       escalation.Snooze{By: by, Until: in30},
		`snooze {"by":"ana","until":"2026-11-20T15:30:00+01:00"}`: escalation.Snooze{By: by, Until: in30},
		`urgency {"by":"ana","urgency":"unbreak_now"}`:            escalation.Declare{By: by, Urgency: config.UnbreakNow},
		`note {"by":"ana","text":" x "}`:                          escalation.Remark{By: by, Text: "x"},
		`wrong-owner {"by":"ana","right":"sre","reason":"moved"}`: escalation.Disown{By: by, Right: "team:sre", Reason: "moved"},
		`unack {"by":"ana"}`:                                      escalation.Unacknowledge{By: by},
		`still-on {"by":"ana"}`:                                   escalation.StillOn{By: by},
	} {
		action, body, _ := strings.Cut(said, " ")
		b.engine.events = nil
		b.do("POST", "/api/v1/incidents/0c-k7f3k/"+action, body, "Authorization", "Bearer "+respondToken)
		if len(b.engine.events) != 1 || b.engine.events[0] != want {
			t.Errorf("%s: %+v, want %+v", said, b.engine.events, want)
		}
	}
	if w := b.do("POST", "/api/v1/incidents", `{"subject":"parsoid","text":"x","by":"ana"}`, "Authorization", "Bearer "+respondToken, "Idempotency-Key", "used"); w.Code != 409 {
		t.Errorf("the header's key is not used: %d %s", w.Code, w.Body)
	}
	b.engine.answer = func(escalation.Event) (escalation.Answer, error) { return escalation.Answer{}, engine.ErrNotKept }
	if w := b.do("POST", "/api/v1/incidents/0c-k7f3k/unack", `{"by":"ana"}`, "Authorization", "Bearer "+respondToken); w.Code != 503 || !strings.Contains(w.Body.String(), "store_away") {
		t.Errorf("while Redis is away: %d %s", w.Code, w.Body)
	}
}

// Every field that is promised is there, whatever the incident lacks.
func TestIncidentFields(t *testing.T) {
	b := newBench(t)
	b.engine.incident.Shown = nil
	w := b.do("GET", "/api/v1/incidents/0c-k7f3k", "", "Authorization", "Bearer "+readToken)
	var got map[string]json.RawMessage
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"id": `"0c-k7f3k"`, "state": `"triggered"`, "exhausted": "false", "stale": "false", "held": "false", "subject": `"service:parsoid"`,
		"service": `"parsoid"`, "team": `"sre"`, "urgency": `"page"`, "assessment": `"owned"`, "missing_roles": "[]", "risks": "[]", "alerts": "[]",
		"acknowledged_by": `""`, "next_step_at": "null", "next_people": "[]", "next_as": `""`, "timeline": "[]", "closed_at": "null", "round": "0", "step": "0", "paged": "[]",
		"also_affected": "[]", "matched_by": `""`, "test": "false", "acknowledgement_expires_at": "null", "snoozed_until": "null", "snoozed_by": `""`,
		"declared_urgency": `""`, "flapping": "false", "by_hand": "false", "text": `""`,
	} {
		if string(got[name]) != want {
			t.Errorf("%s is %s, want %s", name, got[name], want)
		}
	}
	ana := escalation.Actor{Handle: "ana"}
	at := escalation.At(time.Date(2026, 11, 20, 14, 25, 0, 0, time.UTC))
	for want, inc := range map[string]escalation.Incident{
		`"acknowledgement_expires_at":"2026-11-20T14:25:00Z"`:                            {State: escalation.Acknowledged, Ack: &escalation.Ack{Actor: ana, Expires: at}},
		`"snoozed_until":"2026-11-20T14:25:00Z","snoozed_by":"ana"`:                      {State: escalation.Snoozed, SnoozedUntil: at, SnoozedBy: &ana},
		`"snoozed_until":null,"snoozed_by":"","declared_urgency":"page","flapping":true`: {State: escalation.Resolved, SnoozedUntil: at, SnoozedBy: &ana, Opens: 5, Declared: "page"},
		`"by_hand":true,"text":"look"`:                                                   {Kind: escalation.ByHand, Body: "look"},
	} {
		inc.ID = b.engine.incident.ID
		b.engine.incident = inc
		if w := b.do("GET", "/api/v1/incidents/0c-k7f3k", "", "Authorization", "Bearer "+readToken); !strings.Contains(w.Body.String(), want) {
			t.Errorf("want %s in %s", want, w.Body)
		}
	}
	if !strings.HasSuffix(string(got["opened_at"]), `Z"`) {
		t.Errorf("opened_at is %s", got["opened_at"])
	}
}

// Who is next stands wherever an incident is shown: when callchain cannot page,
// somebody has to call them.
func TestNextStep(t *testing.T) {
	now := time.Date(2026, 11, 20, 3, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name             string
		change           func(*escalation.Incident)
		people, as, page string
	}{
		{"somebody new", func(inc *escalation.Incident) { inc.RoundPaged = []string{"ana"} },
			`["ben"]`, `"incident response owner of parsoid"`, "2026-11-20 03:10 UTC: ben (incident response owner of parsoid)"},
		{"a new round", func(inc *escalation.Incident) { inc.Through, inc.RoundPaged = 99, []string{"ana", "ben"} },
			`["ana","ben"]`, `"incident response owner of parsoid"`, "2026-11-20 03:10 UTC: ana, ben (incident response owner of parsoid)"},
		{"nobody is left", func(inc *escalation.Incident) { inc.Through, inc.Round = 99, 2 },
			`[]`, `""`, "2026-11-20 03:10 UTC: nobody further is paged"},
		{"nobody answered", func(inc *escalation.Incident) {
			inc.Exhausted, inc.ExhaustAt, inc.Deadline = true, inc.Deadline, 0
		}, `[]`, `""`, "2026-11-20 03:10 UTC: the fallback team again"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.engine.now = now
			inc := &b.engine.incident
			inc.Round, inc.Deadline = 1, escalation.At(now.Add(10*time.Minute))
			tc.change(inc)
			w := b.do("GET", "/api/v1/incidents/0c-k7f3k", "", "Authorization", "Bearer "+readToken)
			var got map[string]json.RawMessage
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if string(got["next_people"]) != tc.people || string(got["next_as"]) != tc.as {
				t.Errorf("next is %s as %s, want %s as %s", got["next_people"], got["next_as"], tc.people, tc.as)
			}
			for _, path := range []string{"/", "/incidents/0c-k7f3k"} {
				want := tc.page
				if path == "/" {
					want, _, _ = strings.Cut(want, " (")
				}
				if w := b.do("GET", path, ""); !strings.Contains(w.Body.String(), want) {
					t.Errorf("%s does not say %q: %s", path, want, w.Body)
				}
			}
		})
	}
}

// Nobody must think that people were woken when nothing is sent.
func TestShadowIsSaid(t *testing.T) {
	b := newBench(t)
	for _, shadow := range []bool{false, true} {
		b.engine.snap.Config.Shadow.V = shadow
		for _, path := range []string{"/", "/incidents/0c-k7f3k", "/risks", "/reports/weekly"} {
			if w := b.do("GET", path, ""); w.Code != 200 || strings.Contains(w.Body.String(), "Shadow mode: nothing is sent.") != shadow {
				t.Errorf("shadow %v: %s: %d %s", shadow, path, w.Code, w.Body)
			}
		}
		for _, path := range []string{"/api/v1/incidents", "/api/v1/incidents/0c-k7f3k", "/api/v1/status"} {
			w := b.do("GET", path, "", "Authorization", "Bearer "+readToken)
			if !strings.Contains(w.Body.String(), fmt.Sprintf(`"shadow":%v`, shadow)) {
				t.Errorf("shadow %v: %s: %s", shadow, path, w.Body)
			}
		}
		w := b.do("POST", "/api/v1/test-page", `{"person":"ana"}`, "Authorization", "Bearer "+respondToken)
		if want := map[bool]int{false: 200, true: 409}[shadow]; w.Code != want {
			t.Errorf("shadow %v: test page: %d %s", shadow, w.Code, w.Body)
		}
	}
}

// TestOwnerPages: what is known without any alert is for people to see, and an
// odd question hurts nobody.
func TestOwnerPages(t *testing.T) {
	b := newBench(t)
	for path, want := range map[string][]string{
		"/services":              {`200`, `<a href="/services/parsoid">parsoid</a>`, `<a href="/oncall">`},
		"/services/parsoid":      {`200`, `<h1>parsoid</h1>`, `incident_response`, `Chain`},
		"/services/nothing":      {`404`},
		"/services/%3Cscript%3E": {`404`},
		"/oncall":                {`200`, `<td class="name">sre</td><td data-as="On call">ana, ben</td>`},
		"/route":                 {`200`, `<textarea`},
		"/route?labels=service%3Dparsoid%0D%0Aseverity%3Dpage": {`200`, `service:parsoid`, `urgency page`},
		"/route?labels=%3Cscript%3E":                           {`400`, `is no label`, `&lt;script&gt;`},
		"/route?labels=service%3D%3Cscript%3E":                 {`200`, `name:&lt;script&gt;`},
	} {
		w := b.do("GET", path, "")
		body := fmt.Sprint(w.Code, w.Body)
		for _, part := range want {
			if !strings.Contains(body, part) {
				t.Errorf("%s lacks %s: %s", path, part, body)
			}
		}
		if strings.Contains(body, "<script") || strings.Contains(body, "ana@") {
			t.Errorf("%s shows what it should not: %s", path, body)
		}
	}
	if w := b.do("POST", "/services", ""); w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestPages(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/", "/?state=all", "/incidents/0c-k7f3k"} {
		w := b.do("GET", path, "")
		if w.Code != 200 || strings.Contains(w.Body.String(), "<script") || !strings.Contains(w.Body.String(), "&lt;script") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		css, _, _ := strings.Cut(w.Body.String(), "</style>")
		_, css, _ = strings.Cut(css, "<style>")
		if css != style || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: the style sheet is not the one the policy allows", path)
		}
	}
	b.engine.incident.Confidential = true
	if w := b.do("GET", "/", ""); strings.Contains(w.Body.String(), "0c-k7f3k") {
		t.Error("the list shows a confidential incident")
	}
	if w := b.do("GET", "/incidents/0c-k7f3k", ""); w.Code != 404 {
		t.Errorf("a confidential incident: %d", w.Code)
	}
	if w := b.do("GET", "/incidents/00-none", ""); w.Code != 404 {
		t.Errorf("no incident: %d", w.Code)
	}
}
