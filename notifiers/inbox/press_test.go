package inbox

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/slack-go/slack"
)

// callback is callchain's end: it checks the signature as slack-go does and
// hands out the payload.
func callback(t *testing.T, status int) (url string, got <-chan slack.InteractionCallback) {
	t.Helper()
	ch := make(chan slack.InteractionCallback, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		v, err := slack.NewSecretsVerifier(r.Header, secret)
		if err != nil {
			t.Errorf("signature: %v", err)
			return
		}
		v.Write(body)
		if err := v.Ensure(); err != nil {
			t.Errorf("signature: %v", err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		p, err := slack.InteractionCallbackParse(r)
		if err != nil {
			t.Errorf("payload: %v", err)
		}
		ch <- p
		w.WriteHeader(status)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, ch
}

func buttons(ids ...string) slack.MsgOption {
	var elements []slack.BlockElement
	for _, id := range ids {
		elements = append(elements, slack.NewButtonBlockElement(id, "incident-1", slack.NewTextBlockObject("plain_text", id, false, false)))
	}
	elements = append(elements, slack.NewOverflowBlockElement("more",
		slack.NewOptionBlockObject("snooze", slack.NewTextBlockObject("plain_text", "Snooze", false, false), nil)))
	return slack.MsgOptionBlocks(slack.NewActionBlock("do", elements...))
}

func TestPress(t *testing.T) {
	url, got := callback(t, http.StatusOK)
	b := start(t, func(c *Config) { c.CallbackURL = url })
	ref := b.say(t, "U01AMIRA", text("page"), buttons("ack"))

	status, err := b.Press(t.Context(), ref, "ack", "U01AMIRA")
	if err != nil || status != http.StatusOK {
		t.Fatalf("%d %v", status, err)
	}
	p := <-got
	a := p.ActionCallback.BlockActions[0]
	if p.Type != slack.InteractionTypeBlockActions || p.User.ID != "U01AMIRA" || p.User.TeamID != TeamID || p.Team.ID != TeamID ||
		p.APIAppID != AppID || p.TriggerID == "" || p.Container.MessageTs != ref.TS || p.Container.ChannelID != ref.Channel ||
		p.Channel.ID != ref.Channel || p.Message.Timestamp != ref.TS || p.Message.Text != "page" ||
		a.ActionID != "ack" || a.BlockID != "do" || a.Value != "incident-1" || a.ActionTs == "" || a.Text.Text != "ack" {
		t.Errorf("%+v", p)
	}

	// The answer to the presser alone, and what replaces it.
	say := func(s string, o ...slack.MsgOption) error {
		_, _, err := b.api.PostMessage("", append(o, text(s), slack.MsgOptionResponseURL(p.ResponseURL, slack.ResponseTypeEphemeral))...)
		return err
	}
	if err := say("done", buttons("take_over")); err != nil {
		t.Fatal(err)
	}
	answer, err := b.Wait(t.Context(), func(m Message) bool { return m.EphemeralTo == "U01AMIRA" })
	if err != nil || answer.Text != "done" || answer.Channel != ref.Channel {
		t.Fatalf("%+v %v", answer, err)
	}
	if status, err := b.Press(t.Context(), answer.Ref, "take_over", "U01AMIRA"); err != nil || status != 200 {
		t.Fatalf("%d %v", status, err)
	}
	if p := <-got; !p.Container.IsEphemeral || p.Message.Timestamp != "" {
		t.Errorf("%+v", p)
	}
	for range replyUses - 1 {
		if err := say("again"); err != nil {
			t.Fatal(err)
		}
	}
	if err := say("too often"); err == nil {
		t.Error("the response URL took a sixth use")
	}
}

func TestResponseURLReplacesAndEnds(t *testing.T) {
	url, got := callback(t, http.StatusOK)
	now := time.Now()
	b := start(t, func(c *Config) { c.CallbackURL = url; c.Now = func() time.Time { return now } })
	ref := b.say(t, "#incidents", text("board"), buttons("ack"))
	if _, err := b.Press(t.Context(), ref, "ack", "W02BEN"); err != nil {
		t.Fatal(err)
	}
	p := <-got
	if p.Channel.Name != "incidents" {
		t.Errorf("channel %q", p.Channel.Name)
	}
	if _, _, err := b.api.PostMessage("", text("gone over"), slack.MsgOptionReplaceOriginal(p.ResponseURL)); err != nil {
		t.Fatal(err)
	}
	if m := b.Messages()[0]; m.Text != "gone over" || m.EditCount != 1 {
		t.Errorf("%+v", m)
	}
	now = now.Add(replyFor + time.Second)
	if _, _, err := b.api.PostMessage("", text("late"), slack.MsgOptionReplaceOriginal(p.ResponseURL)); err == nil {
		t.Error("the response URL outlived its time")
	}
}

func TestPressOfMenuAndOfOldButton(t *testing.T) {
	url, got := callback(t, http.StatusOK)
	b := start(t, func(c *Config) { c.CallbackURL = url })
	ref := b.say(t, "#incidents", text("board"), buttons("ack"))
	if _, err := b.Select(t.Context(), ref, "more", "snooze", "U01AMIRA"); err != nil {
		t.Fatal(err)
	}
	if a := (<-got).ActionCallback.BlockActions[0]; a.SelectedOption.Value != "snooze" {
		t.Errorf("%+v", a)
	}
	if _, _, _, err := b.api.UpdateMessage(ref.Channel, ref.TS, text("resolved")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Press(t.Context(), ref, "ack", "U01AMIRA"); err != nil {
		t.Errorf("a button that was there a moment ago: %v", err)
	}
}

func TestPressRefused(t *testing.T) {
	url, _ := callback(t, http.StatusInternalServerError)
	b := start(t, func(c *Config) { c.CallbackURL = url })
	ref := b.say(t, "U01AMIRA", text("page"), buttons("ack"))
	for _, tc := range []struct {
		name, action, user string
		ref                Ref
		want               error
	}{
		{"somebody else's direct message", "ack", "W02BEN", ref, ErrNotSeen},
		{"a stranger", "ack", "U99", ref, ErrNotSeen},
		{"no such button", "nope", "U01AMIRA", ref, ErrNoAction},
		{"no such message", "ack", "U01AMIRA", Ref{ref.Channel, "1.0"}, ErrNoMessage},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := b.Press(t.Context(), tc.ref, tc.action, tc.user); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
	if status, err := b.Press(t.Context(), ref, "ack", "U01AMIRA"); err != nil || status != http.StatusInternalServerError {
		t.Errorf("%d %v", status, err)
	}
}
