package server

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/internal/acklink"
	"callchain/notifiers/slack"
)

// signed posts a body as Slack does.
func (b *bench) signed(path, body string) *httptest.ResponseRecorder {
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(signing))
	mac.Write([]byte("v0:" + stamp + ":" + body))
	return b.do("POST", path, body, "X-Slack-Request-Timestamp", stamp, "X-Slack-Signature", "v0="+hex.EncodeToString(mac.Sum(nil)),
		"Content-Type", "application/x-www-form-urlencoded")
}

// press is what Slack posts when somebody presses a button.
func press(user, team, action, token string) string {
	payload, _ := json.Marshal(map[string]any{
		"type": "block_actions", "user": map[string]string{"id": user, "team_id": team, "username": "zoe"},
		"team": map[string]string{"id": "T1"}, "response_url": "https://hooks.slack.com/actions/1",
		"actions": []map[string]string{{"action_id": action, "value": token}},
	})
	return url.Values{"payload": {string(payload)}}.Encode()
}

func TestSlackPress(t *testing.T) {
	token := escalation.ButtonToken("0c-k7f3k", escalation.Place{Run: 1, Round: 1, Step: 2})
	at := escalation.At(time.Date(2026, 11, 20, 14, 25, 0, 0, time.UTC))
	ravi := escalation.Actor{Handle: "ravi", Name: "Ravi"}
	for _, tc := range []struct {
		name, user, team, action, token string
		answer                          escalation.Answer
		err                             error
		code                            int
		by, said, over                  string
		stranger                        bool
	}{
		{"person by slack id", "U01ANA", "T1", "ack", token, escalation.Answer{Kind: escalation.Done}, nil, 200, "ana", "", "", false},
		{"person by e-mail", "U02BEN", "T1", "ack", token, escalation.Answer{Kind: escalation.Done}, nil, 200, "ben", "", "", false},
		{"member that the catalog lacks", "U03ZOE", "T1", "ack", token, escalation.Answer{Kind: escalation.NotInChain}, nil, 200, "slack:U03ZOE",
			"You are not in the chain of parsoid. Take over anyway?", token, true},
		{"take over", "U03ZOE", "T1", "takeover", token, escalation.Answer{Kind: escalation.Done}, nil, 200, "slack:U03ZOE", "", "", true},
		{"slack does not tell who", "U09AWAY", "T1", "ack", token, escalation.Answer{Kind: escalation.Done}, nil, 200, "slack:U09AWAY", "", "", true},
		{"volunteer", "U01ANA", "T1", "ack", token, escalation.Answer{Kind: escalation.Volunteer}, nil, 200, "ana", "the escalation does not stop for them", "", false},
		{"guest", "U04GUEST", "T1", "ack", token, escalation.Answer{}, nil, 200, "", "Guests", "", false},
		{"bot", "U05BOT", "T1", "ack", token, escalation.Answer{}, nil, 200, "", "bot", "", false},
		{"deactivated", "U06GONE", "T1", "ack", token, escalation.Answer{}, nil, 200, "", "deactivated", "", false},
		{"other workspace", "U07ELSE", "T2", "ack", token, escalation.Answer{}, nil, 200, "", "Only members", "", false},
		{"late", "U01ANA", "T1", "ack", token, escalation.Answer{Kind: escalation.Already, By: ravi, At: at}, nil, 200, "ana", "Ravi acknowledged at 14:25 UTC; nothing changed.", "", false},
		{"resolved", "U01ANA", "T1", "ack", token, escalation.Answer{Kind: escalation.Closed, At: at}, nil, 200, "ana", "Already resolved at 14:25 UTC; nothing changed.", "", false},
		{"escalate", "U01ANA", "T1", "escalate", token, escalation.Answer{Kind: escalation.Done}, nil, 200, "ana", "", "", false},
		{"escalate too late", "U01ANA", "T1", "escalate", token, escalation.Answer{Kind: escalation.MovedOn}, nil, 200, "ana", "This press was for an earlier step", "", false},
		{"escalate at the end", "U01ANA", "T1", "escalate", token, escalation.Answer{Kind: escalation.NobodyLeft}, nil, 200, "ana", "There is nobody after this step.", "", false},
		{"incident that is gone", "U01ANA", "T1", "ack", "v1|00-none|1|1|1", escalation.Answer{}, nil, 200, "ana", "Look in Alertmanager", "", false},
		{"on the island", "U01ANA", "T1", "ack", token, escalation.Answer{Kind: escalation.Recorded, At: at}, nil, 200, "ana", "Recorded; Redis is away, the escalation may still happen.", "", false},
		{"store away", "U01ANA", "T1", "ack", token, escalation.Answer{}, errStore, 503, "ana", "", "", false},
		{"no token of ours", "U01ANA", "T1", "ack", "x", escalation.Answer{}, nil, 400, "", "", "", false},
		{"no button of ours", "U01ANA", "T1", "frob", token, escalation.Answer{}, nil, 200, "", "This button is not known here.", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.slack.users = map[string]slack.User{
				"U02BEN": {ID: "U02BEN", Email: "Ben@example.org"}, "U03ZOE": {ID: "U03ZOE", Email: "zoe@example.org"},
				"U04GUEST": {Guest: true}, "U05BOT": {Bot: true}, "U06GONE": {Deleted: true},
			}
			b.engine.answer = func(escalation.Event) (escalation.Answer, error) { return tc.answer, tc.err }
			w := b.signed("/slack/interactions", press(tc.user, tc.team, tc.action, tc.token))
			if w.Code != tc.code {
				t.Errorf("code %d, want %d", w.Code, tc.code)
			}
			by, stranger := "", false
			for _, ev := range b.engine.events {
				switch ev := ev.(type) {
				case escalation.Acknowledge:
					by, stranger = ev.By.Handle, ev.Stranger
					if ev.TakeOver != (tc.action == "takeover") || ev.By.Via != "slack" {
						t.Errorf("event %+v", ev)
					}
				case escalation.Escalate:
					by = ev.By.Handle
					if ev.From == nil || *ev.From != (escalation.Place{Run: 1, Round: 1, Step: 2}) {
						t.Errorf("event %+v", ev)
					}
				}
			}
			if by != tc.by || stranger != tc.stranger {
				t.Errorf("done by %q (stranger %v), want %q (%v)", by, stranger, tc.by, tc.stranger)
			}
			said := strings.Join(b.slack.said, "|")
			if (said == "") != (tc.said == "") || !strings.Contains(said, tc.said) {
				t.Errorf("said %q, want %q", said, tc.said)
			}
			if strings.Join(b.slack.over, "") != tc.over {
				t.Errorf("take-over button %q, want %q", b.slack.over, tc.over)
			}
		})
	}
}

// TestPressIsConfirmed: on a message that is not brought up to date the presser is
// told what came of it; a page and a board show it themselves.
func TestPressIsConfirmed(t *testing.T) {
	expires := escalation.At(time.Date(2026, 11, 20, 16, 22, 0, 0, time.UTC))
	for _, tc := range []struct {
		name, action, delivery string
		ephemeral              bool
		want                   string
	}{
		{"a page", "ack", "page", false, ""},
		{"an answer", "ack", "", true, "Done: parsoid is acknowledged by you."},
		{"a reminder", "ack", "reminder", false, "Done: parsoid is acknowledged by you."},
		{"a question", "still_on", "question", false, "Done: parsoid stays with you until 16:22 UTC; you are asked again before."},
		{"a question, answered no", "unack", "question", false, "Done: the chain of parsoid goes on."},
		{"who knows what", "ack", "", false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.engine.incident.Deliveries = []escalation.Delivery{{ID: "page", Kind: escalation.PageDelivery, Reached: 1}}
			b.engine.incident.Ack, b.engine.now = &escalation.Ack{Expires: expires}, expires.Time().Add(-time.Hour)
			block := ""
			if tc.delivery != "" {
				block = "delivery." + tc.delivery
			}
			payload, _ := json.Marshal(map[string]any{
				"type": "block_actions", "user": map[string]any{"id": "U01ANA"}, "response_url": "https://hooks.slack.com/x",
				"container": map[string]any{"is_ephemeral": tc.ephemeral, "message_ts": "1.2", "channel_id": "C1"},
				"actions":   []any{map[string]any{"action_id": tc.action, "block_id": block, "value": "v1|0c-k7f3k|1|1|2"}},
			})
			b.signed("/slack/interactions", url.Values{"payload": {string(payload)}}.Encode())
			if got := strings.Join(b.slack.said, ""); got != tc.want {
				t.Errorf("said %q, want %q", got, tc.want)
			}
		})
	}
}

// A Slack that does not answer must not use up the time to store the press.
func TestSlackHangs(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.deps.Slack = func() Slack { return hangingSlack{} }
		start := time.Now()
		w := b.signed("/slack/interactions", press("U09AWAY", "T1", "ack", "v1|0c-k7f3k|1|1|1"))
		if took := time.Since(start); w.Code != 200 || b.engine.asked != 1 || took > slackWithin {
			t.Errorf("%d after %s, store asked %d times", w.Code, took, b.engine.asked)
		}
	})
}

type hangingSlack struct{}

func (h hangingSlack) OpenForm(ctx context.Context, _, _ string) (string, error) {
	return "", h.Probe(ctx)
}
func (h hangingSlack) FillForm(ctx context.Context, _ string, _ slack.Form) error {
	return h.Probe(ctx)
}
func (h hangingSlack) SayInForm(ctx context.Context, _, _, _ string) error { return h.Probe(ctx) }
func (hangingSlack) Home() slack.Home                                      { return slack.Home{TeamID: "T1"} }
func (hangingSlack) Probe(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (hangingSlack) Respond(ctx context.Context, _, _, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

func (hangingSlack) User(ctx context.Context, _ string) (slack.User, error) {
	<-ctx.Done()
	return slack.User{}, ctx.Err()
}

func TestSlackUnsigned(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/slack/interactions", "/slack/commands", "/slack/events"} {
		if w := b.do("POST", path, press("U01ANA", "T1", "ack", "v1|0c-k7f3k|1|1|1")); w.Code != 401 {
			t.Errorf("%s unsigned: %d", path, w.Code)
		}
		if w := b.do("GET", path, ""); w.Code != 405 || w.Header().Get("Allow") != "POST" {
			t.Errorf("%s GET: %d", path, w.Code)
		}
	}
	if b.engine.asked != 0 {
		t.Error("something was done")
	}
	if w := b.signed("/slack/commands", "command=%2Fcallchain&user_id=U01ANA"); w.Code != 200 || !strings.Contains(w.Body.String(), "ephemeral") {
		t.Errorf("command: %d %s", w.Code, w.Body)
	}
	if w := b.signed("/slack/events", `{"type":"url_verification","challenge":"abc"}`); w.Code != 200 || strings.TrimSpace(w.Body.String()) != "abc" {
		t.Errorf("challenge: %d %s", w.Code, w.Body)
	}
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// form reads the fields of a page as a mail scanner or a test would.
func form(w *httptest.ResponseRecorder) string {
	v := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(w.Body.String(), -1) {
		v.Set(m[1], m[2])
	}
	return v.Encode()
}

func ackURL(t testing.TB, audience, person string, expires time.Time) string {
	t.Helper()
	keys := acklink.Keys(func() ([][]byte, error) { return [][]byte{[]byte(linkKey)}, nil })
	token, err := keys.Sign("0c-k7f3k", person, expires, audience)
	if err != nil {
		t.Fatal(err)
	}
	return "/ack/" + token
}

const formType = "application/x-www-form-urlencoded"

func TestAckLink(t *testing.T) {
	b := newBench(t)
	link := ackURL(t, "https://callchain.example.org", "ana", time.Now().Add(time.Hour))
	synctest.Test(t, func(t *testing.T) {
		link := ackURL(t, "https://callchain.example.org", "ana", time.Now().Add(time.Hour))
		page := b.do("GET", link, "")
		if page.Code != 200 || b.engine.asked != 0 {
			t.Fatalf("GET: %d, store asked %d times", page.Code, b.engine.asked)
		}
		for name, want := range map[string]string{
			"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Robots-Tag": "noindex, nofollow", "X-Content-Type-Options": "nosniff",
		} {
			if got := page.Header().Get(name); got != want {
				t.Errorf("%s: %q", name, got)
			}
		}
		if strings.Contains(page.Body.String(), "parsoid") || strings.Count(page.Body.String(), "<button") != 1 {
			t.Errorf("page %s", page.Body)
		}
		// At once: a machine.
		early := b.do("POST", link, form(page), "Content-Type", formType)
		if early.Code != 200 || form(early) == "" || b.engine.asked != 0 {
			t.Errorf("early: %d, store asked %d times", early.Code, b.engine.asked)
		}
		time.Sleep(time.Second)
		for name, headers := range map[string][]string{
			"another site":        {"Content-Type", formType, "Sec-Fetch-Site", "cross-site"},
			"a sibling site":      {"Content-Type", formType, "Sec-Fetch-Site", "same-site"},
			"a foreign origin":    {"Content-Type", formType, "Origin", "https://evil.example.org"},
			"something else sent": {"Content-Type", "application/json"},
		} {
			if w := b.do("POST", link, form(page), headers...); w.Code/100 != 4 || b.engine.asked != 0 {
				t.Errorf("%s: %d", name, w.Code)
			}
		}
		if w := b.do("POST", link, "", "Content-Type", formType); w.Code != 403 || b.engine.asked != 0 {
			t.Errorf("without the form's field: %d", w.Code)
		}
		w := b.do("POST", link, form(page), "Content-Type", formType, "Sec-Fetch-Site", "same-origin", "Origin", "null")
		if w.Code != 200 || b.engine.asked != 1 || !strings.Contains(w.Body.String(), "Acknowledged") {
			t.Errorf("press: %d %s", w.Code, w.Body)
		}
		want := escalation.Acknowledge{By: escalation.Actor{Handle: "ana", Name: "ana", Via: "email"}}
		if b.engine.events[0] != escalation.Event(want) {
			t.Errorf("event %+v", b.engine.events)
		}
		time.Sleep(time.Hour)
		if w := b.do("GET", link, ""); w.Code != 403 {
			t.Errorf("expired: %d", w.Code)
		}
	})
	for name, bad := range map[string]string{
		"forged":  link[:len(link)-2] + "AA",
		"foreign": ackURL(t, "https://staging.example.org", "ana", time.Now().Add(time.Hour)),
		"expired": ackURL(t, "https://callchain.example.org", "ana", time.Now().Add(-time.Second)),
		"nothing": "/ack/x",
	} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			if w := b.do(method, bad, "", "Content-Type", formType); w.Code != 403 || w.Header().Get("Referrer-Policy") != "no-referrer" {
				t.Errorf("%s %s: %d", method, name, w.Code)
			}
		}
	}
	if w := b.do("PUT", link, ""); w.Code != 405 {
		t.Errorf("PUT: %d", w.Code)
	}
}

func TestAckLinkSaysWhatHappened(t *testing.T) {
	at := escalation.At(time.Date(2026, 11, 20, 14, 25, 0, 0, time.UTC))
	for _, tc := range []struct {
		name   string
		answer escalation.Answer
		err    error
		paged  bool
		code   int
		want   string
	}{
		{"somebody else", escalation.Answer{Kind: escalation.Already, By: escalation.Actor{Handle: "ravi", Name: "Ravi"}, At: at}, nil, false, 200, "Ravi acknowledged at 14:25 UTC; nothing changed."},
		{"twice", escalation.Answer{Kind: escalation.Already, By: escalation.Actor{Handle: "ana"}, At: at}, nil, false, 200, "You acknowledged at 14:25 UTC already"},
		{"still on it", escalation.Answer{Kind: escalation.Done, At: at}, nil, false, 200, "You (ana) still are on incident 0c-k7f3k: nobody else is paged."},
		{"over", escalation.Answer{Kind: escalation.Closed, At: at}, nil, false, 200, "Already resolved at 14:25 UTC"},
		{"never in the chain", escalation.Answer{Kind: escalation.NotInChain}, nil, false, 409, "not in the chain"},
		{"on the island", escalation.Answer{Kind: escalation.Recorded, At: at}, nil, false, 200, "Recorded; Redis is away, the escalation may still happen."},
		{"store away", escalation.Answer{}, errStore, false, 503, "could not be stored"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.engine.answer = func(escalation.Event) (escalation.Answer, error) { return tc.answer, tc.err }
			synctest.Test(t, func(t *testing.T) {
				link := ackURL(t, "https://callchain.example.org", "ana", time.Now().Add(time.Hour))
				page := b.do("GET", link, "")
				time.Sleep(time.Second)
				if w := b.do("POST", link, form(page), "Content-Type", formType); w.Code != tc.code || !strings.Contains(w.Body.String(), tc.want) {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			})
		})
	}
}

// The chain may have changed since: whoever was paged may still answer.
func TestAckLinkOfSomebodyPaged(t *testing.T) {
	b := newBench(t)
	b.engine.incident.Paged = []escalation.Paged{{Handle: "ana"}}
	b.engine.answer = func(ev escalation.Event) (escalation.Answer, error) {
		if ev.(escalation.Acknowledge).TakeOver {
			return escalation.Answer{Kind: escalation.Done}, nil
		}
		return escalation.Answer{Kind: escalation.NotInChain}, nil
	}
	synctest.Test(t, func(t *testing.T) {
		link := ackURL(t, "https://callchain.example.org", "ana", time.Now().Add(time.Hour))
		page := b.do("GET", link, "")
		time.Sleep(time.Second)
		if w := b.do("POST", link, form(page), "Content-Type", formType); w.Code != 200 || !strings.Contains(w.Body.String(), "You (ana) acknowledged") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// A link outlives its incident only when the store lost it: the alert may fire
// still, and whoever presses must not go back to sleep.
func TestAckLinkOfLostIncident(t *testing.T) {
	b := newBench(t)
	b.engine.answer = func(escalation.Event) (escalation.Answer, error) { return escalation.Answer{}, engine.ErrNotFound }
	synctest.Test(t, func(t *testing.T) {
		link := ackURL(t, "https://callchain.example.org", "ana", time.Now().Add(time.Hour))
		page := b.do("GET", link, "")
		time.Sleep(time.Second)
		w := b.do("POST", link, form(page), "Content-Type", formType)
		if w.Code != 404 || !strings.Contains(w.Body.String(), "its store lost it") || !strings.Contains(w.Body.String(), "Look in Alertmanager") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// Whatever is signed by Slack but is no press changes nothing and gets an answer.
func FuzzInteraction(f *testing.F) {
	b := newBench(f)
	token := escalation.ButtonToken("0c-k7f3k", escalation.Place{Run: 1, Round: 1, Step: 2})
	f.Add(press("U01ANA", "T1", "ack", token))
	f.Add("payload=%7B%7D")
	f.Add("payload=[")
	f.Add(press("", "", "", "v1||||"))
	f.Fuzz(func(t *testing.T, body string) {
		before := b.engine.asked
		w := b.signed("/slack/interactions", body)
		switch w.Code {
		case http.StatusOK, http.StatusBadRequest, http.StatusServiceUnavailable:
		default:
			t.Errorf("code %d", w.Code)
		}
		if w.Code == http.StatusBadRequest && b.engine.asked != before {
			t.Error("refused and done")
		}
	})
}

// No token but one that was signed here opens the page.
func FuzzAckToken(f *testing.F) {
	b := newBench(f)
	// The same in every process that takes part: a token of another second would be good as well.
	good := ackURL(f, "https://callchain.example.org", "ana", time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC))
	f.Add(strings.TrimPrefix(good, "/ack/"))
	f.Add("")
	f.Add("..")
	f.Add("x?y#z")
	f.Fuzz(func(t *testing.T, token string) {
		path := "/ack/" + url.PathEscape(token)
		for _, method := range []string{"GET", "POST"} {
			w := b.do(method, path, "stamp=x", "Content-Type", formType)
			if path != good && w.Code != 403 && w.Code != 404 {
				t.Errorf("%s %q: %d", method, token, w.Code)
			}
		}
		if b.engine.asked != 0 {
			t.Error("the store was asked")
		}
	})
}
