package testbench_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"callchain/internal/testbench"
	"callchain/notifiers"
	"callchain/notifiers/notifierstest"
	"callchain/notifiers/slack"
)

const (
	allowed  = "xoxb-allowed"
	postOnly = "xoxb-post-only"
	mute     = "xoxb-mute"
)

// TestEmulate holds the notifier against a Slack that nobody here wrote: posts,
// edits, threads, look-ups by metadata over pages, and scopes that are missing.
func TestEmulate(t *testing.T) {
	e := testbench.StartEmulate(t, testbench.EmulateConfig{
		Users:    []testbench.SlackUser{{Name: "jane", Email: "jane@example.org"}},
		Channels: []string{"incidents", "board"},
		Tokens: map[string][]string{
			allowed:  {"chat:write", "users:read", "users:read.email", "im:write", "im:read", "im:history", "channels:read", "channels:history", "groups:read"},
			postOnly: {"chat:write"}, mute: {"users:read"},
		},
	})
	app := func(token string, client *http.Client) *slack.Notifier {
		return slack.New(slack.Config{
			APIURL: e.APIURL, Channel: "#incidents", Token: func() (string, error) { return token, nil }, HTTPClient: client,
		}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	}
	n := app(allowed, e.Client(allowed))
	if err := n.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	members := n.Members(t.Context(), []slack.Sought{{Email: "jane@example.org"}, {Email: "nobody@example.org"}})
	if members[0].User.ID == "" || !members[1].Absent {
		t.Fatalf("members %+v", members)
	}
	jane := members[0].User.ID
	places, err := n.Places(t.Context(), []string{"#board", "#none"})
	if err != nil || places["#board"].ID == "" || len(places) != 1 {
		t.Fatalf("channels %+v, %v", places, err)
	}

	page := func() notifiers.Message {
		m := notifierstest.To(notifiers.Page, notifierstest.Jane(), notifierstest.Incident())
		m.Address = jane
		return m
	}
	t.Run("page, edit, thread", func(t *testing.T) {
		got := n.Deliver(t.Context(), page())
		if got.Verdict != notifiers.Sent {
			t.Fatal(got.Verdict, got.Err)
		}
		edit := page()
		edit.Edit, edit.Ref, edit.Incident.State = true, got.Ref, notifiers.Acknowledged
		edit.Incident.By = "ravi"
		if again := n.Deliver(t.Context(), edit); again.Verdict != notifiers.Sent || again.Ref != got.Ref {
			t.Fatal(again.Verdict, again.Err)
		}
		reminder := page()
		reminder.Kind, reminder.Ref, reminder.ID = notifiers.Reminder, got.Ref, "d-reminder"
		if again := n.Deliver(t.Context(), reminder); again.Verdict != notifiers.Sent {
			t.Fatal(again.Verdict, again.Err)
		}
		replies := e.Call(t, allowed, "conversations.replies", map[string]any{"channel": got.Ref.Channel, "ts": got.Ref.TS})
		list, _ := replies["messages"].([]any)
		if len(list) != 2 {
			t.Errorf("the thread is %v", replies)
		}
		edit.Ref.TS = "1.000001"
		if again := n.Deliver(t.Context(), edit); again.Verdict != notifiers.Gone {
			t.Errorf("an edit of nothing: %v %v", again.Verdict, again.Err)
		}
	})

	t.Run("a channel by its name", func(t *testing.T) {
		board := notifierstest.To(notifiers.Board, nil, notifierstest.Incident())
		board.Address = "#board" // which this Slack does not take: it is found in the list
		got := n.Deliver(t.Context(), board)
		if got.Verdict != notifiers.Sent || got.Ref.Channel != places["#board"].ID {
			t.Errorf("%v %v %v", got.Verdict, got.Err, got.Ref)
		}
		board.Address = "#none"
		if got := n.Deliver(t.Context(), board); got.Verdict != notifiers.Refused || !got.Cure {
			t.Errorf("a channel that is not there: %v %v", got.Verdict, got.Err)
		}
	})

	t.Run("accepted, and the answer lost", func(t *testing.T) {
		lost := page()
		lost.ID = "d-lost"
		cut := app(allowed, &http.Client{Transport: losing{e.Client(allowed).Transport}})
		if got := cut.Deliver(t.Context(), lost); got.Verdict != notifiers.Ambiguous {
			t.Fatal(got.Verdict, got.Err)
		}
		for i := range 220 { // so that it is on the second page
			m := notifierstest.To(notifiers.Notice, notifierstest.Jane(), notifiers.Incident{})
			m.Address, m.ID, m.Notice = jane, fmt.Sprint("n-", i), &notifiers.Text{Title: "t", Body: "b"}
			if got := n.Deliver(t.Context(), m); got.Verdict != notifiers.Sent {
				t.Fatal(got.Verdict, got.Err)
			}
		}
		lost.PerhapsSince = time.Now()
		var seen counting
		next := app(allowed, &http.Client{Transport: &seen})
		seen.next = e.Client(allowed).Transport
		got := next.Deliver(t.Context(), lost)
		if got.Verdict != notifiers.Sent || seen.of("chat.postMessage") != 0 {
			t.Errorf("%v %v, posted %d times more", got.Verdict, got.Err, seen.of("chat.postMessage"))
		}
		if seen.of("conversations.history") != 2 {
			t.Errorf("read %d pages", seen.of("conversations.history"))
		}
	})

	t.Run("scopes", func(t *testing.T) {
		n := app(postOnly, e.Client(postOnly))
		m := page()
		m.ID, m.PerhapsSince = "d-unseen", time.Now() // may not be looked for: it is sent
		if got := n.Deliver(t.Context(), m); got.Verdict != notifiers.Sent {
			t.Errorf("without a scope to look: %v %v", got.Verdict, got.Err)
		}
		m.Address, m.Email = "", "jane@example.org"
		if got := n.Deliver(t.Context(), m); got.Verdict != notifiers.Refused || !strings.Contains(got.Err.Error(), "users:read.email") {
			t.Errorf("without users:read.email: %v %v", got.Verdict, got.Err)
		}
		if got := app(mute, e.Client(mute)).Deliver(t.Context(), page()); got.Verdict != notifiers.Down || !strings.Contains(got.Err.Error(), "chat:write") {
			t.Errorf("without chat:write: %v %v", got.Verdict, got.Err)
		}
	})
}

// losing loses the answers to posts, after they were given.
type losing struct{ next http.RoundTripper }

func (l losing) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	if err == nil && strings.HasSuffix(r.URL.Path, "chat.postMessage") {
		resp.Body.Close()
		return nil, io.ErrUnexpectedEOF
	}
	return resp, err
}

// counting counts calls by their method.
type counting struct {
	next  http.RoundTripper
	calls []string
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.calls = append(c.calls, r.URL.Path)
	return c.next.RoundTrip(r)
}

func (c *counting) of(method string) (n int) {
	for _, path := range c.calls {
		if strings.HasSuffix(path, method) {
			n++
		}
	}
	return n
}
