package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"net/url"
	"strings"
	"testing"
	"time"

	demodata "callchain/deploy/demo"
	"callchain/notifiers/inbox"
)

// stage is the page with stand-ins for the daemon around it.
type stage struct {
	t         *testing.T
	url       string
	slack     *inbox.Slack
	mail      *inbox.Mailbox
	webhooks  chan map[string]any
	presses   chan string
	incidents string
	now       time.Time
	client    *http.Client
}

func start(t *testing.T) *stage {
	t.Helper()
	st := &stage{
		t: t, webhooks: make(chan map[string]any, 20), presses: make(chan string, 20),
		incidents: `{"incidents": [], "next": ""}`, now: time.Date(2026, 11, 20, 3, 0, 0, 0, time.UTC),
	}
	daemon := http.NewServeMux()
	daemon.HandleFunc("POST /api/v1/webhook/alertmanager/demo", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer am-token" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		st.webhooks <- body
	})
	daemon.HandleFunc("POST /slack/interactions", func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("X-Slack-Signature"), "v0=") {
			t.Error("the press is not signed")
		}
		st.presses <- r.FormValue("payload")
	})
	d := httptest.NewServer(daemon)
	t.Cleanup(d.Close)
	mail, err := inbox.StartSMTP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mail.Close() })
	st.mail = mail
	st.slack = inbox.New(inbox.Config{
		Token: "xoxb", SigningSecret: "secret", Channels: []string{"#incidents"}, CallbackURL: d.URL + "/slack/interactions",
		Users: []inbox.User{
			{ID: "U01AMIRA", Name: "amira", Email: "amira@example.org"},
			{ID: "U02BEN", Name: "ben", Email: "ben@example.org"},
		},
	})
	f, err := demodata.Files.Open("alerts.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	alerts, err := ReadAlerts(f)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(New(Config{
		Inbox: st.slack, Mail: st.mail, FireURL: d.URL + "/api/v1/webhook/alertmanager/demo", Token: "am-token",
		Incidents: func(context.Context) (json.RawMessage, error) {
			if st.incidents == "" {
				return nil, errors.New("the store is away")
			}
			return json.RawMessage(st.incidents), nil
		},
		BaseURL: "http://callchain.example.org", Alerts: alerts,
		People: []Person{{SlackID: "U01AMIRA", Name: "Amira"}},
		Now:    func() time.Time { return st.now },
	}))
	t.Cleanup(srv.Close)
	st.url = srv.URL
	st.client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return st
}

func (st *stage) get(path string) (string, *http.Response) {
	st.t.Helper()
	resp, err := st.client.Get(st.url + path)
	if err != nil {
		st.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		st.t.Fatal(err)
	}
	return string(b), resp
}

func (st *stage) post(path string, form url.Values) *http.Response {
	st.t.Helper()
	resp, err := st.client.PostForm(st.url+path, form)
	if err != nil {
		st.t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

// message posts as callchain does, through the address of the page.
func (st *stage) message(args url.Values) inbox.Ref {
	st.t.Helper()
	args.Set("token", "xoxb")
	resp, err := http.PostForm(st.url+"/api/chat.postMessage", args)
	if err != nil {
		st.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		OK          bool
		Channel, TS string
		Error       string
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || !answer.OK {
		st.t.Fatalf("post: %s %v", answer.Error, err)
	}
	return inbox.Ref{Channel: answer.Channel, TS: answer.TS}
}

func (st *stage) has(page string, wants ...string) {
	st.t.Helper()
	for _, want := range wants {
		if !strings.Contains(page, want) {
			st.t.Errorf("the page lacks %q", want)
		}
	}
}

const ackButton = `[{"type":"header","text":{"type":"plain_text","text":"FIRING <b>parsoid</b>"}},
	{"type":"section","text":{"type":"mrkdwn","text":"*why* <https://example.org/?a=1&amp;b=2|runbook> &lt;script&gt; <@U02BEN> <javascript:alert(1)|x>"}},
	{"type":"actions","elements":[{"type":"button","action_id":"ack","style":"primary","value":"i1","text":{"type":"plain_text","text":"Acknowledge"}}]}]`

func TestFireAndResolve(t *testing.T) {
	st := start(t)
	times := func(body map[string]any) (string, string, string) {
		a := body["alerts"].([]any)[0].(map[string]any)
		return a["status"].(string), a["startsAt"].(string), a["endsAt"].(string)
	}
	if resp := st.post("/fire", url.Values{"alert": {"parsoid"}, "do": {"fire"}, "show": {"mail"}}); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/?show=mail" {
		t.Errorf("%d to %s", resp.StatusCode, resp.Header.Get("Location"))
	}
	body := <-st.webhooks
	if _, ok := body["demo"]; ok || body["version"] != "4" {
		t.Errorf("body %v", body)
	}
	status, since, until := times(body)
	if status != "firing" || since != "2026-11-20T03:00:00Z" || until != "0001-01-01T00:00:00Z" {
		t.Error(status, since, until)
	}
	page, _ := st.get("/")
	st.has(page, "Parsoid is down: fired.", `value="resolve"`)

	st.now = st.now.Add(time.Minute)
	st.post("/fire", url.Values{"alert": {"parsoid"}, "do": {"fire"}})
	if _, since, _ := times(<-st.webhooks); since != "2026-11-20T03:00:00Z" {
		t.Errorf("a repeat starts at %s", since)
	}
	st.post("/fire", url.Values{"alert": {"parsoid"}, "do": {"resolve"}})
	if status, since, until := times(<-st.webhooks); status != "resolved" || since != "2026-11-20T03:00:00Z" || until != "2026-11-20T03:01:00Z" {
		t.Error(status, since, until)
	}
	st.post("/fire", url.Values{"alert": {"parsoid"}, "do": {"fire"}})
	if _, since, _ := times(<-st.webhooks); since != "2026-11-20T03:01:00Z" {
		t.Errorf("fired anew it starts at %s", since)
	}

	st.post("/fire", url.Values{"alert": {"storm"}, "do": {"fire"}})
	groups := map[string]bool{}
	for range 12 {
		groups[(<-st.webhooks)["groupKey"].(string)] = true
	}
	if len(groups) != 12 {
		t.Errorf("the storm has %d groups", len(groups))
	}
	if resp := st.post("/fire", url.Values{"alert": {"nothing"}}); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d for an alert that is not prepared", resp.StatusCode)
	}
}

func TestMessagesAreShownAndPressed(t *testing.T) {
	st := start(t)
	ref := st.message(url.Values{"channel": {"U01AMIRA"}, "text": {"page"}, "blocks": {ackButton}})
	st.message(url.Values{"channel": {ref.Channel}, "text": {"a *loud* reminder"}, "thread_ts": {ref.TS}, "reply_broadcast": {"true"}})
	board := st.message(url.Values{"channel": {"#incidents"}, "text": {"board"}, "blocks": {ackButton}})

	page, resp := st.get("/")
	st.has(page, "FIRING &lt;b&gt;parsoid&lt;/b&gt;", "<b>why</b>", "&lt;script&gt;", "@ben", `href="https://example.org/?a=1&amp;b=2"`,
		"to <b>Amira</b>, direct message", "in <b>#incidents</b>", "a <b>loud</b> reminder", "also sent to the channel", `<option value="U02BEN">ben</option>`)
	if strings.Contains(page, "javascript:") || strings.Contains(page, "<script>") {
		t.Error("a label became a script")
	}
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q", csp)
	}
	if only, _ := st.get("/?show=U01AMIRA"); !strings.Contains(only, "loud") || strings.Contains(only, "in <b>#incidents</b>") {
		t.Error("the filter shows the wrong messages")
	}

	do := url.Values{"a": {"ack"}, "l": {"Acknowledge"}}.Encode()
	st.post("/press", url.Values{"channel": {ref.Channel}, "ts": {ref.TS}, "user": {"U01AMIRA"}, "do": {do}})
	if p := <-st.presses; !strings.Contains(p, `"id":"U01AMIRA"`) || !strings.Contains(p, `"value":"i1"`) {
		t.Error(p)
	}
	page, _ = st.get("/")
	st.has(page, "Amira pressed “Acknowledge”.")
	st.post("/press", url.Values{"channel": {board.Channel}, "ts": {board.TS}, "user": {"U02BEN"}, "do": {do}})
	if p := <-st.presses; !strings.Contains(p, `"id":"U02BEN"`) {
		t.Error(p)
	}
	if resp := st.post("/press", url.Values{"channel": {ref.Channel}, "ts": {ref.TS}, "user": {"U02BEN"}, "do": {do}}); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("ben pressed a button in amira's direct message: %d", resp.StatusCode)
	}
}

func TestOtherPagesCannotPress(t *testing.T) {
	st := start(t)
	req, err := http.NewRequest(http.MethodPost, st.url+"/fire", strings.NewReader("alert=parsoid&do=fire"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", "https://evil.example.org")
	resp, err := st.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden || len(st.webhooks) != 0 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestMail(t *testing.T) {
	st := start(t)
	raw := "Subject: PAGE <i>\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n" +
		"Acknowledge: http://127.0.0.1:9321/ack/abc.\r\n<script>\r\n--b\r\nContent-Type: text/html\r\n\r\n" +
		"<html><head></head><body><script>alert(1)</script><a href=\"http://127.0.0.1:9321/ack/abc\">Acknowledge</a></body></html>\r\n--b--\r\n"
	if err := smtp.SendMail(st.mail.Addr(), nil, "callchain@example.org", []string{"amira@example.org"}, []byte(raw)); err != nil {
		t.Fatal(err)
	}
	page, _ := st.get("/?show=U01AMIRA")
	st.has(page, "PAGE &lt;i&gt;", `href="http://127.0.0.1:9321/ack/abc"`, ".\n&lt;script&gt;", `<iframe sandbox="allow-popups allow-popups-to-escape-sandbox" src="/mail/1"`)
	frame, resp := st.get("/mail/1")
	st.has(frame, `<head><base target="_blank">`)
	csp := resp.Header.Get("Content-Security-Policy")
	if !strings.Contains(csp, "sandbox") || !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "script") {
		t.Errorf("policy %q", csp)
	}
	for _, subject := range []string{"reminder", "another"} {
		mail := "Subject: " + subject + "\r\nMessage-ID: <" + subject + "@x>\r\nReferences: <thread@x>\r\n\r\nx\r\n"
		if err := smtp.SendMail(st.mail.Addr(), nil, "callchain@example.org", []string{"ben@example.org"}, []byte(mail)); err != nil {
			t.Fatal(err)
		}
	}
	page, _ = st.get("/?show=U02BEN")
	st.has(page, `<h3 class="head">another</h3>`, "1 earlier in this thread", ">reminder</a>")
	if n := strings.Count(page, "<article"); n != 1 {
		t.Errorf("the thread has %d cards", n)
	}
	if _, resp := st.get("/mail/7"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestIncidents(t *testing.T) {
	st := start(t)
	st.incidents = `{"incidents": [
		{"id":"0c1","state":"resolved","subject":"service:maps","urgency":"page","assessment":"owned"},
		{"id":"0c2","state":"triggered","exhausted":true,"subject":"service:<eventgate>","urgency":"unbreak_now","assessment":"partial",
		 "missing_roles":["product_management"],"risks":["partial"],"next_step_at":"2026-11-20T03:00:20Z","alerts":[{"labels":{"alertname":"EventgateHTTPErrors"}}],
		 "timeline":[{"at":"2026-11-20T03:00:00Z","text":"opened"},{"at":"2026-11-20T03:00:01Z","text":"paged <amira>","by":""}]}],"next":""}`
	page, _ := st.get("/")
	st.has(page, "&lt;eventgate&gt;: EventgateHTTPErrors", "unbreak now", "product management", "nobody answered", "paged &lt;amira&gt;",
		`datetime="2026-11-20T03:00:20.000Z"`, `href="http://callchain.example.org/incidents/0c2"`)
	if strings.Index(page, "i-0c2") > strings.Index(page, "i-0c1") {
		t.Error("a resolved incident stands above an open one")
	}
	if strings.Index(page, "paged &lt;amira&gt;") > strings.Index(page, "<span>opened</span>") {
		t.Error("the oldest line of the timeline stands on top")
	}
	st.incidents = ""
	page, _ = st.get("/")
	st.has(page, "The incidents cannot be read: the store is away")
}

func TestEvents(t *testing.T) {
	st := start(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, st.url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := st.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	next := func() {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == "event: change" {
				return
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
	}
	next() // what happened before the page was there
	st.message(url.Values{"channel": {"#incidents"}, "text": {"x"}})
	next()
}

func TestPreparedAlerts(t *testing.T) {
	for _, tc := range []struct{ name, text string }{
		{"no object", "x"},
		{"no demo", `{"version":"4"}`},
		{"no name", `{"demo":{"title":"x"}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if list, err := ReadAlerts(strings.NewReader(tc.text)); err == nil {
				t.Errorf("read %v", list)
			}
		})
	}
}

// A form that callchain opens is on the page with its fields; what is filled in
// goes back signed, a date by the clock of the browser.
func TestForm(t *testing.T) {
	st := start(t)
	ref := st.message(url.Values{"channel": {"U01AMIRA"}, "text": {"page"}, "blocks": {`[{"type":"actions","elements":[{"type":"overflow","action_id":"more",
		"options":[{"text":{"type":"plain_text","text":"Snooze…"},"value":"snooze|t"}]}]}]`}})
	if resp := st.post("/press", url.Values{"channel": {ref.Channel}, "ts": {ref.TS}, "user": {"U01AMIRA"}, "do": {"a=more&v=snooze%7Ct&l=Snooze"}}); resp.StatusCode != http.StatusSeeOther {
		t.Fatal(resp.Status)
	}
	var press struct {
		Trigger string `json:"trigger_id"`
	}
	if err := json.Unmarshal([]byte(<-st.presses), &press); err != nil {
		t.Fatal(err)
	}
	view := `{"type":"modal","title":{"type":"plain_text","text":"Snooze"},"submit":{"type":"plain_text","text":"Go"},"private_metadata":"t","callback_id":"snooze","blocks":[
		{"type":"section","text":{"type":"mrkdwn","text":"*parsoid* &lt;script&gt;"}},
		{"type":"input","block_id":"for","label":{"type":"plain_text","text":"For how long"},"element":{"type":"radio_buttons","action_id":"for","options":[{"text":{"type":"plain_text","text":"1 hour"},"value":"1h"}]}},
		{"type":"input","block_id":"until","optional":true,"label":{"type":"plain_text","text":"Or until"},"element":{"type":"datetimepicker","action_id":"until"}},
		{"type":"input","block_id":"to","optional":true,"label":{"type":"plain_text","text":"Whom"},"element":{"type":"static_select","action_id":"to","option_groups":[{"label":{"type":"plain_text","text":"Teams"},"options":[{"text":{"type":"plain_text","text":"sre"},"value":"team:sre"}]}]}},
		{"type":"input","block_id":"reason","optional":true,"label":{"type":"plain_text","text":"Why"},"element":{"type":"plain_text_input","action_id":"reason","multiline":true}}]}`
	if resp := st.post("/api/views.open", url.Values{"token": {"xoxb"}, "trigger_id": {press.Trigger}, "view": {view}}); resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	id := st.slack.Views()[0].ID
	page, _ := st.get("/parts")
	for _, want := range []string{"Amira's form", `name="f.for" value="1h"`, `type="datetime-local" name="f.until"`, `<optgroup label="Teams"><option value="team:sre">sre</option>`, "&lt;script&gt;", `<textarea name="f.reason"`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s on the page", want)
		}
	}
	st.post("/form", url.Values{"view": {id}, "do": {"submit"}})
	if page, _ := st.get("/parts"); !strings.Contains(page, "Please complete this required field.") || !strings.Contains(page, "is not complete") {
		t.Error("the page does not say what is missing")
	}
	st.post("/form", url.Values{"view": {id}, "do": {"submit"}, "f.for": {"1h"}, "f.until": {"2026-11-20T05:30"}, "behind": {"-60"}})
	sent := <-st.presses
	if !strings.Contains(sent, `"view_submission"`) || !strings.Contains(sent, `"selected_date_time":1795149000`) || !strings.Contains(sent, `"private_metadata":"t"`) {
		t.Errorf("sent %s", sent)
	}
	if page, _ := st.get("/parts"); strings.Contains(page, "role=\"dialog\"") {
		t.Error("the form is still there")
	}
	if resp := st.post("/form", url.Values{"view": {id}, "do": {"close"}}); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a form that is gone: %s", resp.Status)
	}
}

func TestCommand(t *testing.T) {
	st := start(t)
	daemon := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"response_type":"ephemeral","text":"`+r.FormValue("command")+" got "+r.FormValue("text")+`"}`)
	}))
	t.Cleanup(daemon.Close)
	st.slack.SetCommandURL(daemon.URL)
	for typed, want := range map[string]string{"/callchain oncall": "/callchain got oncall", "mine": "/callchain got mine"} {
		st.post("/command", url.Values{"user": {"U01AMIRA"}, "text": {typed}})
		if page, _ := st.get("/parts"); !strings.Contains(page, want) || !strings.Contains(page, "Only visible to Amira") {
			t.Errorf("%s is not answered on the page", typed)
		}
	}
	if resp := st.post("/command", url.Values{"user": {"U99"}, "text": {"x"}}); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("nobody's command: %s", resp.Status)
	}
}
