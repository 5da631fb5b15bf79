package slack_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"callchain/notifiers"
	"callchain/notifiers/inbox"
	"callchain/notifiers/notifierstest"
	"callchain/notifiers/slack"
)

// workspace is a strict stand-in for Slack with the people of the cases.
func workspace(t *testing.T) (*inbox.Slack, *slack.Notifier) {
	t.Helper()
	s := inbox.New(inbox.Config{
		Token: "xoxb-demo", SigningSecret: "8f742231b10e8888abcd99", Channels: []string{"#content-transform", "#sre"},
		Users: []inbox.User{{ID: "U01JANE", Name: "jane", Email: "jane@example.org"}, {ID: "U01RAVI", Name: "ravi", Email: "ravi@example.org", Restricted: true}},
	})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, slack.New(slack.Config{
		APIURL: server.URL + "/api/", Token: func() (string, error) { return "xoxb-demo", nil },
	}, slog.New(slog.NewTextHandler(t.Output(), nil)))
}

// TestWorkspaceTakesEverything: nothing that callchain says is refused, also
// after an edit, also when every label is hostile. A refusal would show as a
// simpler form, so none may be needed.
func TestWorkspaceTakesEverything(t *testing.T) {
	for _, c := range notifierstest.Cases() {
		t.Run(c.Name, func(t *testing.T) { deliver(t, c.Message) })
	}
	for _, s := range notifierstest.HostileTexts {
		for _, kind := range []notifiers.Kind{notifiers.Page, notifiers.Board, notifiers.Notice} {
			t.Run("hostile "+string(kind), func(t *testing.T) {
				m := notifierstest.Hostile(kind, s)
				if kind != notifiers.Page {
					m.Address = "#sre"
				}
				deliver(t, m)
			})
		}
	}
}

func deliver(t *testing.T, m notifiers.Message) {
	s, n := workspace(t)
	if m.Ref.TS != "" { // it edits or joins a message: there must be one
		first := notifierstest.To(notifiers.Board, nil, notifierstest.Incident())
		result := n.Deliver(t.Context(), first)
		if result.Verdict != notifiers.Sent {
			t.Fatal(result.Verdict, result.Err)
		}
		m.Ref = result.Ref
	}
	if result := n.Deliver(t.Context(), m); result.Verdict != notifiers.Sent {
		t.Fatal(result.Verdict, result.Err)
	}
	all := s.Messages()
	last := all[len(all)-1]
	if len(last.Blocks) == 0 || m.ID != "" && len(last.Metadata) == 0 {
		t.Errorf("only a simpler form was taken: %+v", last)
	}
}

func TestPress(t *testing.T) {
	s, n := workspace(t)
	presses := make(chan slack.Interaction, 1)
	callback := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := slack.Verify(r.Header, body, []string{"8f742231b10e8888abcd99"}, time.Now()); err != nil {
			t.Error(err)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		payload, err := slack.Payload(slack.KindInteraction, body)
		if err != nil {
			t.Error(err)
		}
		press, err := slack.ParsePayload(payload)
		if err != nil {
			t.Error(err)
		}
		presses <- press
	}))
	t.Cleanup(callback.Close)
	s.SetCallbackURL(callback.URL)

	page := n.Deliver(t.Context(), notifierstest.To(notifiers.Page, notifierstest.Jane(), notifierstest.Incident()))
	if status, err := s.Press(t.Context(), inbox.Ref(page.Ref), "ack", "U01JANE"); status != http.StatusOK || err != nil {
		t.Fatal(status, err)
	}
	press := <-presses
	if press.Action != "ack" || press.Token != "v1|3f-k7q2|1" || press.User.ID != "U01JANE" || press.MessageTS != page.Ref.TS || press.Channel != page.Ref.Channel {
		t.Errorf("%+v", press)
	}
	if err := n.Respond(t.Context(), press.ResponseURL, "You are not in this chain: take over anyway?", press.Token); err != nil {
		t.Fatal(err)
	}
	all := s.Messages()
	answer := all[len(all)-1]
	if answer.EphemeralTo != "U01JANE" || !strings.Contains(answer.Text, "take over anyway") {
		t.Errorf("%+v", answer)
	}
	if status, err := s.Press(t.Context(), answer.Ref, "takeover", "U01JANE"); status != http.StatusOK || err != nil {
		t.Fatal(status, err)
	}
	if press := <-presses; press.Action != "takeover" || press.Token != "v1|3f-k7q2|1" {
		t.Errorf("%+v", press)
	}
	guest, err := n.User(t.Context(), "U01RAVI")
	if err != nil || !guest.Guest || guest.Email != "ravi@example.org" {
		t.Errorf("%+v, %v", guest, err)
	}
}

// TestLostAnswer: the page was taken and the answer cut off; it is not sent twice.
func TestLostAnswer(t *testing.T) {
	s, n := workspace(t)
	s.Fail("chat.postMessage", 1, inbox.Fault{Cut: true})
	page := notifierstest.To(notifiers.Page, notifierstest.Jane(), notifierstest.Incident())
	if got := n.Deliver(t.Context(), page); got.Verdict != notifiers.Ambiguous {
		t.Fatal(got.Verdict, got.Err)
	}
	page.PerhapsSince = page.Now
	got := n.Deliver(t.Context(), page)
	if got.Verdict != notifiers.Sent {
		t.Fatal(got.Verdict, got.Err)
	}
	if all := s.Messages(); len(all) != 1 || inbox.Ref(got.Ref) != all[0].Ref {
		t.Errorf("%d messages, found %v", len(all), got.Ref)
	}
}
