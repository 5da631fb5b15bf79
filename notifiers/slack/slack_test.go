package slack

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"callchain/notifiers"
	"callchain/notifiers/notifierstest"
)

const testToken = "xoxb-1234-secret"

// api is a Slack that answers what a test tells it to, and remembers what it was asked.
type api struct {
	*httptest.Server
	mu     sync.Mutex
	calls  []asked
	answer func(method string, form url.Values, w http.ResponseWriter)
}

type asked struct {
	method string
	form   url.Values
}

func newAPI(t *testing.T, answer func(string, url.Values, http.ResponseWriter)) *api {
	a := &api{answer: answer}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		method := strings.TrimPrefix(r.URL.Path, "/api/")
		a.mu.Lock()
		a.calls = append(a.calls, asked{method, r.PostForm})
		a.mu.Unlock()
		a.answer(method, r.PostForm, w)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *api) notifier(t *testing.T) *Notifier {
	return New(Config{
		APIURL: a.URL + "/api", Channel: "#incidents",
		Token: func() (string, error) { return testToken, nil },
	}, slog.New(slog.NewTextHandler(t.Output(), nil)))
}

func (a *api) asked() []asked {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]asked(nil), a.calls...)
}

func say(body string) func(string, url.Values, http.ResponseWriter) {
	return func(_ string, _ url.Values, w http.ResponseWriter) { io.WriteString(w, body) }
}

const posted = `{"ok":true,"channel":"D01JANE","ts":"1795184523.000100"}`

func page() notifiers.Message {
	return notifierstest.To(notifiers.Page, notifierstest.Jane(), notifierstest.Incident())
}

func TestDeliverPage(t *testing.T) {
	a := newAPI(t, say(posted))
	n := a.notifier(t)
	got := n.Deliver(t.Context(), page())
	want := notifiers.Result{Verdict: notifiers.Sent, Ref: notifiers.Ref{Channel: "D01JANE", TS: "1795184523.000100"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	call := a.asked()[0]
	if call.method != "chat.postMessage" {
		t.Errorf("called %s", call.method)
	}
	for field, want := range map[string]string{
		"token": testToken, "channel": "U01JANE", "parse": "none", "unfurl_links": "false", "unfurl_media": "false",
		"metadata": `{"event_type":"callchain_page","event_payload":{"d":"d-3f-k7q2-1"}}`,
		"text":     "Page 3f-k7q2: parsoid HighErrorRate is firing (page). You are step 1 of 4. Escalates to ravi at 14:32 UTC unless you acknowledge.",
	} {
		if got := call.form.Get(field); got != want {
			t.Errorf("%s = %q, want %q", field, got, want)
		}
	}
	for _, absent := range []string{"link_names", "thread_ts", "reply_broadcast", "attachments", "username"} {
		if call.form.Has(absent) {
			t.Errorf("%s was sent", absent)
		}
	}
	var blocks []json.RawMessage
	if err := json.Unmarshal([]byte(call.form.Get("blocks")), &blocks); err != nil || len(blocks) == 0 {
		t.Errorf("blocks: %v", err)
	}
	if got := n.Conversation(page()); got != "D01JANE" {
		t.Errorf("the page is paced by %q, want the conversation it opened", got)
	}
}

func TestDeliverKinds(t *testing.T) {
	ref := notifiers.Ref{Channel: "D01JANE", TS: "1.2"}
	for _, c := range []struct {
		name   string
		change func(*notifiers.Message)
		method string
		form   map[string]string
	}{
		{"edit", func(m *notifiers.Message) { m.Edit, m.Ref = true, ref }, "chat.update", map[string]string{"channel": "D01JANE", "ts": "1.2", "parse": "none"}},
		{"reminder", func(m *notifiers.Message) { m.Kind, m.Ref = notifiers.Reminder, ref }, "chat.postMessage", map[string]string{"channel": "D01JANE", "thread_ts": "1.2", "reply_broadcast": "true"}},
		{"board by default", func(m *notifiers.Message) { m.Kind, m.You, m.Address = notifiers.Board, nil, "" }, "chat.postMessage", map[string]string{"channel": "#incidents", "thread_ts": ""}},
		{"thread", func(m *notifiers.Message) {
			m.Kind, m.Ref, m.Lines = notifiers.Thread, ref, []notifiers.Line{{Text: "x"}}
		}, "chat.postMessage", map[string]string{"thread_ts": "1.2", "reply_broadcast": ""}},
		{"thread that rings", func(m *notifiers.Message) {
			m.Kind, m.Ref, m.Lines = notifiers.Thread, ref, []notifiers.Line{{Text: "x"}, {Text: "y", Ring: true}}
		}, "chat.postMessage", map[string]string{"thread_ts": "1.2", "reply_broadcast": "true"}},
		{"notice", func(m *notifiers.Message) {
			m.Kind, m.Address, m.Notice = notifiers.Notice, "#sre", &notifiers.Text{Title: "t", Body: "b"}
		}, "chat.postMessage", map[string]string{"channel": "#sre", "text": "t. b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPI(t, say(posted))
			m := page()
			c.change(&m)
			if got := a.notifier(t).Deliver(t.Context(), m); got.Verdict != notifiers.Sent {
				t.Fatal(got.Verdict, got.Err)
			}
			call := a.asked()[0]
			if call.method != c.method {
				t.Errorf("called %s, want %s", call.method, c.method)
			}
			for field, want := range c.form {
				if got := call.form.Get(field); got != want {
					t.Errorf("%s = %q, want %q", field, got, want)
				}
			}
			if c.name == "reminder" && !strings.HasPrefix(call.form.Get("text"), "<@U01JANE> ") {
				t.Errorf("the reminder does not mention its person: %q", call.form.Get("text"))
			}
		})
	}
}

func TestMemberIsLookedUpOnce(t *testing.T) {
	a := newAPI(t, func(method string, form url.Values, w http.ResponseWriter) {
		if method == "users.lookupByEmail" {
			fmt.Fprintf(w, `{"ok":true,"user":{"id":"U9%s"}}`, strings.ToUpper(form.Get("email")[:1]))
			return
		}
		io.WriteString(w, posted)
	})
	n := a.notifier(t)
	m := page()
	m.Address, m.Email = "", "jane@example.org"
	for range 2 {
		if got := n.Deliver(t.Context(), m); got.Verdict != notifiers.Sent {
			t.Fatal(got.Verdict, got.Err)
		}
	}
	var methods []string
	for _, c := range a.asked() {
		methods = append(methods, c.method+" "+c.form.Get("channel"))
	}
	if diff := cmp.Diff([]string{"users.lookupByEmail ", "chat.postMessage U9J", "chat.postMessage U9J"}, methods); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownMemberIsRefused(t *testing.T) {
	a := newAPI(t, say(`{"ok":false,"error":"users_not_found"}`))
	m := page()
	m.Address, m.Email = "", "jane@example.org"
	if got := a.notifier(t).Deliver(t.Context(), m); got.Verdict != notifiers.Refused {
		t.Errorf("%v %v", got.Verdict, got.Err)
	}
}

func TestChangedTokenIsUsedAtOnce(t *testing.T) {
	a := newAPI(t, say(posted))
	token := "xoxb-old"
	n := New(Config{APIURL: a.URL + "/api/", Token: func() (string, error) { return token, nil }}, slog.New(slog.DiscardHandler))
	n.Deliver(t.Context(), page())
	token = "xoxb-new"
	n.Deliver(t.Context(), page())
	if got := a.asked()[1].form.Get("token"); got != "xoxb-new" {
		t.Errorf("the second page was sent with %q", got)
	}
}

// TestDegrade: whatever Slack dislikes about the content, the page arrives.
func TestDegrade(t *testing.T) {
	for _, c := range []struct {
		name    string
		refuse  func(url.Values) bool
		calls   int
		verdict notifiers.Verdict
	}{
		{"a link it dislikes", func(f url.Values) bool { return strings.Contains(f.Get("blocks"), "wikitech") }, 2, notifiers.Sent},
		{"any block", func(f url.Values) bool { return f.Get("blocks") != "" }, 3, notifiers.Sent},
		{"the metadata", func(f url.Values) bool { return f.Has("metadata") }, 3, notifiers.Sent},
		{"everything", func(url.Values) bool { return true }, 3, notifiers.Refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPI(t, func(_ string, f url.Values, w http.ResponseWriter) {
				if c.refuse(f) {
					io.WriteString(w, `{"ok":false,"error":"invalid_blocks","response_metadata":{"messages":["[ERROR] invalid url [json-pointer:/blocks/7]"]}}`)
					return
				}
				io.WriteString(w, posted)
			})
			got := a.notifier(t).Deliver(t.Context(), page())
			if got.Verdict != c.verdict || len(a.asked()) != c.calls {
				t.Errorf("%v (%v) after %d calls, want %v after %d", got.Verdict, got.Err, len(a.asked()), c.verdict, c.calls)
			}
			if c.name == "a link it dislikes" && !strings.Contains(a.asked()[1].form.Get("blocks"), `"action_id":"ack"`) {
				t.Error("the simpler page has lost its button")
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	code := func(c string) func(string, url.Values, http.ResponseWriter) {
		return say(`{"ok":false,"error":"` + c + `"}`)
	}
	status := func(code int, header ...string) func(string, url.Values, http.ResponseWriter) {
		return func(_ string, _ url.Values, w http.ResponseWriter) {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
		}
	}
	cut := func(_ string, _ url.Values, w http.ResponseWriter) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		conn.Close()
	}
	for _, c := range []struct {
		name       string
		answer     func(string, url.Values, http.ResponseWriter)
		post, edit notifiers.Verdict
		after      time.Duration
	}{
		{"429 with seconds", status(429, "Retry-After", "7"), notifiers.Retry, notifiers.Retry, 7 * time.Second},
		{"429 without", status(429), notifiers.Retry, notifiers.Retry, 30 * time.Second},
		{"429 with nonsense", status(429, "Retry-After", "abc"), notifiers.Retry, notifiers.Retry, 30 * time.Second},
		{"429 in the body", code("ratelimited"), notifiers.Retry, notifiers.Retry, 30 * time.Second},
		{"quota", code("message_limit_exceeded"), notifiers.Retry, notifiers.Retry, time.Minute},
		{"empty object", say(`{}`), notifiers.Ambiguous, notifiers.Retry, 0},
		{"ok false alone", say(`{"ok":false}`), notifiers.Ambiguous, notifiers.Retry, 0},
		{"ok without ts", say(`{"ok":true,"channel":"D1"}`), notifiers.Ambiguous, notifiers.Retry, 0},
		{"no JSON", say(`<html>`), notifiers.Ambiguous, notifiers.Retry, 0},
		{"cut JSON", say(`{"ok":tr`), notifiers.Ambiguous, notifiers.Retry, 0},
		{"cut after the request", cut, notifiers.Ambiguous, notifiers.Retry, 0},
		{"500", status(500), notifiers.Ambiguous, notifiers.Retry, 0},
		{"503", status(503), notifiers.Ambiguous, notifiers.Retry, 0},
		{"fatal_error", code("fatal_error"), notifiers.Ambiguous, notifiers.Retry, 0},
		{"internal_error", code("internal_error"), notifiers.Ambiguous, notifiers.Retry, 0},
		{"service_unavailable", code("service_unavailable"), notifiers.Retry, notifiers.Retry, 0},
		{"redirect", status(302, "Location", "https://evil.example/"), notifiers.Retry, notifiers.Retry, 0},
		{"invalid_auth", code("invalid_auth"), notifiers.Down, notifiers.Down, 0},
		{"token_revoked", code("token_revoked"), notifiers.Down, notifiers.Down, 0},
		{"missing_scope", code("missing_scope"), notifiers.Down, notifiers.Down, 0},
		{"channel_not_found", code("channel_not_found"), notifiers.Refused, notifiers.Refused, 0},
		{"is_archived", code("is_archived"), notifiers.Refused, notifiers.Refused, 0},
		{"user_disabled", code("user_disabled"), notifiers.Refused, notifiers.Refused, 0},
		{"restricted_action_x", code("restricted_action_x"), notifiers.Refused, notifiers.Refused, 0},
		{"message_not_found", code("message_not_found"), notifiers.Gone, notifiers.Gone, 0},
		{"edit_window_closed", code("edit_window_closed"), notifiers.Gone, notifiers.Gone, 0},
		{"hash_conflict", code("hash_conflict"), notifiers.Retry, notifiers.Sent, 0},
		{"a new code", code("never_seen_before"), notifiers.Retry, notifiers.Retry, 0},
		{"the token in the answer", code("bad " + testToken), notifiers.Retry, notifiers.Retry, 0},
	} {
		for _, edit := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, edit %v", c.name, edit), func(t *testing.T) {
				m, want := page(), c.post
				if edit {
					m.Edit, m.Ref, want = true, notifiers.Ref{Channel: "D1", TS: "1.2"}, c.edit
				}
				got := newAPI(t, c.answer).notifier(t).Deliver(t.Context(), m)
				if got.Verdict != want || got.After != c.after {
					t.Errorf("%v after %v (%v), want %v after %v", got.Verdict, got.After, got.Err, want, c.after)
				}
				if (got.Err == nil) != (got.Verdict == notifiers.Sent) {
					t.Errorf("%v with the error %v", got.Verdict, got.Err)
				}
				if got.Err != nil && strings.Contains(got.Err.Error(), testToken) {
					t.Errorf("the error tells the token: %v", got.Err)
				}
			})
		}
	}
}

func TestNothingListens(t *testing.T) {
	a := newAPI(t, say(posted))
	n := a.notifier(t)
	a.Close()
	if got := n.Deliver(t.Context(), page()); got.Verdict != notifiers.Retry {
		t.Errorf("%v %v, want retry: nothing was written", got.Verdict, got.Err)
	}
}

func TestTimeoutAfterWriting(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	read := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 64)
		conn.Read(buf)
		close(read)
		cancel() // the caller gives up once Slack has the request
		io.Copy(io.Discard, conn)
	}()
	n := New(Config{APIURL: "http://" + listener.Addr().String() + "/api/", Token: func() (string, error) { return testToken, nil }}, slog.New(slog.DiscardHandler))
	got := n.Deliver(ctx, page())
	<-read
	if got.Verdict != notifiers.Ambiguous {
		t.Errorf("%v %v, want ambiguous", got.Verdict, got.Err)
	}
}

func TestUnreadableTokenIsDown(t *testing.T) {
	n := New(Config{Token: func() (string, error) { return "", errors.New("no such file") }}, slog.New(slog.DiscardHandler))
	if got := n.Deliver(t.Context(), page()); got.Verdict != notifiers.Down {
		t.Errorf("%v %v", got.Verdict, got.Err)
	}
	if n.Probe(t.Context()) == nil {
		t.Error("the probe passes without a token")
	}
}

func TestReminderRingsWithoutItsPage(t *testing.T) {
	a := newAPI(t, func(_ string, f url.Values, w http.ResponseWriter) {
		if f.Has("thread_ts") {
			io.WriteString(w, `{"ok":false,"error":"thread_not_found"}`)
			return
		}
		io.WriteString(w, posted)
	})
	m := page()
	m.Kind, m.Ref = notifiers.Reminder, notifiers.Ref{Channel: "D01JANE", TS: "1.2"}
	if got := a.notifier(t).Deliver(t.Context(), m); got.Verdict != notifiers.Sent {
		t.Errorf("%v %v", got.Verdict, got.Err)
	}
}

// TestDoubtIsLookedUp: a page whose answer was lost is found by its id and not
// posted again; where nothing is found it is.
func TestDoubtIsLookedUp(t *testing.T) {
	for _, c := range []struct {
		name, history string
		posts         int
	}{
		{"it arrived", `{"ok":true,"messages":[{"ts":"9.8","metadata":{"event_type":"callchain_page","event_payload":{"d":"another"}}},{"ts":"1.2","metadata":{"event_type":"callchain_page","event_payload":{"d":"d-3f-k7q2-1"}}}]}`, 1},
		{"it did not", `{"ok":true,"messages":[]}`, 2},
		{"the history may not be read", `{"ok":false,"error":"missing_scope"}`, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			posts := 0
			a := newAPI(t, func(method string, f url.Values, w http.ResponseWriter) {
				switch method {
				case "conversations.open":
					io.WriteString(w, `{"ok":true,"channel":{"id":"D01JANE"}}`)
				case "conversations.history":
					if f.Get("channel") != "D01JANE" || f.Get("include_all_metadata") != "1" {
						t.Errorf("asked for %v", f)
					}
					io.WriteString(w, c.history)
				default:
					if posts++; posts == 1 {
						w.WriteHeader(http.StatusBadGateway)
						return
					}
					io.WriteString(w, posted)
				}
			})
			n := a.notifier(t)
			if got := n.Deliver(t.Context(), page()); got.Verdict != notifiers.Ambiguous {
				t.Fatal(got.Verdict, got.Err)
			}
			again := page()
			again.PerhapsSince = again.Now
			got := n.Deliver(t.Context(), again)
			if got.Verdict != notifiers.Sent || got.Ref.Channel != "D01JANE" {
				t.Errorf("%v %v %v", got.Verdict, got.Ref, got.Err)
			}
			if posts != c.posts {
				t.Errorf("posted %d times, want %d", posts, c.posts)
			}
		})
	}
}

func TestProbe(t *testing.T) {
	for _, c := range []struct {
		name, answer, want string
	}{
		{"works", `{"ok":true,"user_id":"U1","team_id":"T1"}`, ""},
		{"revoked", `{"ok":false,"error":"token_revoked"}`, "slack: token_revoked: the bot token was revoked; install the app again and store its new token"},
		{"empty", `{}`, "slack: the answer is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if err := newAPI(t, say(c.answer)).notifier(t).Probe(t.Context()); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// pressed is a press as Slack sends it, with fields that we do not read.
const pressed = `{"type":"block_actions","api_app_id":"A1","token":"old","team":{"id":"T1","domain":"x"},"enterprise":null,
"user":{"id":"U01JANE","username":"jane","name":"jane","team_id":"T1"},
"container":{"type":"message","message_ts":"1.2","channel_id":"D01JANE","is_ephemeral":false},
"trigger_id":"1.2.3","channel":{"id":"D01JANE","name":"directmessage"},
"message":{"ts":"1.2","blocks":[{"type":"never_seen","x":[1]}]},"state":{"values":{}},
"response_url":"https://hooks.slack.com/actions/T1/1/x",
"actions":[{"action_id":"ack","block_id":"b","text":{"type":"plain_text","text":"Acknowledge"},"value":"v1|3f|1","style":"primary","type":"button","action_ts":"1795184530.5"}]}`

func sign(body, secret string, at time.Time) http.Header {
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	io.WriteString(mac, "v0:"+stamp+":"+body)
	h := http.Header{}
	h.Set("X-Slack-Request-Timestamp", stamp)
	h.Set("X-Slack-Signature", "v0="+hex.EncodeToString(mac.Sum(nil)))
	return h
}

func TestVerify(t *testing.T) {
	now := notifierstest.Opened
	body := url.Values{"payload": {pressed}}.Encode()
	for _, c := range []struct {
		name   string
		header http.Header
		body   string
		want   error
	}{
		{"the second secret", sign(body, "old", now), body, nil},
		{"wrong secret", sign(body, "foreign", now), body, ErrSignature},
		{"empty secret", sign(body, "", now), body, ErrSignature},
		{"changed body", sign(body, "old", now), body + "x", ErrSignature},
		{"too old", sign(body, "old", now.Add(-6*time.Minute)), body, ErrSignature},
		{"from the future", sign(body, "old", now.Add(6*time.Minute)), body, ErrSignature},
		{"unsigned", http.Header{}, body, ErrSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := Verify(c.header, []byte(c.body), []string{"new", "old", ""}, now); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestParsePayload(t *testing.T) {
	payload, err := Payload(KindInteraction, []byte(url.Values{"payload": {pressed}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParsePayload(payload)
	if err != nil {
		t.Fatal(err)
	}
	want := Interaction{
		Action: "ack", Token: "v1|3f|1", User: Presser{"U01JANE", "T1", "jane"}, AppID: "A1", TeamID: "T1",
		Channel: "D01JANE", MessageTS: "1.2", ResponseURL: "https://hooks.slack.com/actions/T1/1/x", TriggerID: "1.2.3", ActionTS: "1795184530.5",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, payload := range map[string]string{
		"none":                 "",
		"no JSON":              "{",
		"another type":         `{"type":"view_closed","user":{"id":"U1"}}`,
		"nobody":               `{"type":"block_actions","actions":[{"action_id":"ack","value":"v1|3f|1"}]}`,
		"no action":            `{"type":"block_actions","user":{"id":"U1"}}`,
		"a form of nothing":    `{"type":"view_submission","user":{"id":"U1"}}`,
		"a form without token": `{"type":"view_submission","user":{"id":"U1"},"view":{"callback_id":"snooze"}}`,
		"a form without field": `{"type":"view_submission","user":{"id":"U1"},"view":{"callback_id":"snooze","private_metadata":"v1|3f|1"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParsePayload([]byte(payload)); !errors.Is(err, ErrPayload) {
				t.Errorf("got %v, want %v", err, ErrPayload)
			}
		})
	}
}

// A command has one shape, whichever way it came.
func TestParseCommand(t *testing.T) {
	form, err := Payload(KindCommand, []byte("command=%2Fcallchain&text=on+call&user_id=U01JANE&user_name=jane&team_id=T1&channel_id=C1&response_url=https%3A%2F%2Fhooks.slack.com%2F1&trigger_id=1.2.3&token=x"))
	if err != nil {
		t.Fatal(err)
	}
	socket := []byte(`{"command":"/callchain","text":"on call","user_id":"U01JANE","user_name":"jane","team_id":"T1","channel_id":"C1","response_url":"https://hooks.slack.com/1","trigger_id":"1.2.3","is_enterprise_install":"false"}`)
	want := Command{
		Name: "/callchain", Text: "on call", User: Presser{ID: "U01JANE", Name: "jane"}, TeamID: "T1",
		Channel: "C1", ResponseURL: "https://hooks.slack.com/1", TriggerID: "1.2.3",
	}
	for _, payload := range [][]byte{form, socket} {
		got, err := ParseCommand(payload)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Error(diff, err)
		}
	}
	for _, payload := range []string{"", "{}", "[]", `{"command":"/callchain"}`, `{"user_id":"U1"}`} {
		if _, err := ParseCommand([]byte(payload)); !errors.Is(err, ErrPayload) {
			t.Errorf("%q: %v", payload, err)
		}
	}
}

func FuzzParsePayload(f *testing.F) {
	f.Add([]byte(pressed))
	f.Add([]byte(`{"type":"block_actions","user":{"id":"U1"},"actions":[null]}`))
	f.Add([]byte(`{"type":"block_actions","user":{"id":"U1"},"actions":[{"action_id":"more","block_id":"delivery.x","selected_option":{"value":"snooze|v1|3f|1"}}]}`))
	f.Add([]byte(submitted))
	f.Fuzz(func(t *testing.T, payload []byte) {
		press, err := ParsePayload(payload)
		if err != nil && press != (Interaction{}) {
			t.Errorf("an error with a press: %+v", press)
		}
		if err == nil && (press.User.ID == "" || press.Action == "") {
			t.Errorf("a press without presser or action: %+v", press)
		}
	})
}

func TestRespond(t *testing.T) {
	var body []byte
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { body, _ = io.ReadAll(r.Body) }))
	t.Cleanup(hook.Close)
	// The API of a gateway may have another port than its hooks.
	n := New(Config{APIURL: "http://127.0.0.1:1/api/", Token: func() (string, error) { return testToken, nil }}, slog.New(slog.DiscardHandler))
	if err := n.Respond(t.Context(), hook.URL+"/actions/1", "ravi <!here> acknowledged already.", "v1|3f|1"); err != nil {
		t.Fatal(err)
	}
	var got struct {
		ResponseType    string `json:"response_type"`
		ReplaceOriginal *bool  `json:"replace_original"`
		Text            string
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if got.ResponseType != "ephemeral" || got.ReplaceOriginal == nil || *got.ReplaceOriginal || got.Text != "ravi &lt;!here&gt; acknowledged already." {
		t.Errorf("sent %s", body)
	}
	if !strings.Contains(string(body), `"action_id":"takeover"`) {
		t.Errorf("no way to take over: %s", body)
	}
	for _, foreign := range []string{
		"https://evil.example/x", "http://hooks.slack.com/x", "https://hooks.slack.com@evil.example/x", "https://hooks.slack.com.evil.example/", "file:///etc/passwd", "",
	} {
		if err := n.Respond(t.Context(), foreign, "x", ""); err == nil || strings.Contains(err.Error(), "evil") {
			t.Errorf("%q: %v", foreign, err)
		}
	}
}

// roundTrip answers without a network, so that time can be faked.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestUserIsRememberedForTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			calls++
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: r, Body: io.NopCloser(strings.NewReader(
				`{"ok":true,"user":{"id":"U1","team_id":"T1","name":"jane","is_restricted":true,"profile":{"email":"jane@example.org"}}}`))}, nil
		})}
		n := New(Config{Token: func() (string, error) { return testToken, nil }, HTTPClient: client}, slog.New(slog.DiscardHandler))
		for range 2 {
			got, err := n.User(t.Context(), "U1")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(User{ID: "U1", TeamID: "T1", Name: "jane", Email: "jane@example.org", Guest: true}, got); diff != "" {
				t.Error(diff)
			}
		}
		if calls != 1 {
			t.Errorf("asked %d times within ten minutes", calls)
		}
		time.Sleep(rememberUsers)
		n.User(t.Context(), "U1")
		if calls != 2 {
			t.Errorf("asked %d times, want once more after ten minutes", calls)
		}
	})
}
