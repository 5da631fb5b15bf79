package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/slack-go/slack"
)

const (
	token  = "xoxb-demo"
	secret = "8f742231b10e8888abcd99yyyzzz85a5"
)

type bench struct {
	*Slack
	api *slack.Client
	url string
}

func start(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	cfg := Config{
		Token: token, SigningSecret: secret, Channels: []string{"#incidents", "general"},
		Users: []User{
			{ID: "U01AMIRA", Name: "amira", Email: "amira@example.org"},
			{ID: "W02BEN", Name: "ben", Email: "ben@example.org", Restricted: true},
			{ID: "U03GONE", Name: "gone", Email: "gone@example.org", Deleted: true},
			{ID: "U04BOT", Name: "robot", Bot: true},
		},
	}
	if change != nil {
		change(&cfg)
	}
	s := New(cfg)
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return &bench{Slack: s, api: slack.New(token, slack.OptionAPIURL(srv.URL+"/api/")), url: srv.URL}
}

func text(s string) slack.MsgOption { return slack.MsgOptionText(s, false) }

func (b *bench) say(t *testing.T, to string, options ...slack.MsgOption) Ref {
	t.Helper()
	ch, ts, err := b.api.PostMessageContext(t.Context(), to, options...)
	if err != nil {
		t.Fatalf("post to %s: %v", to, err)
	}
	return Ref{ch, ts}
}

func code(t *testing.T, err error, want string) {
	t.Helper()
	var refused slack.SlackErrorResponse
	if got := errors.As(err, &refused); !got || refused.Err != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestDirectMessageAndItsEdits(t *testing.T) {
	b := start(t, nil)
	ref := b.say(t, "U01AMIRA", text("parsoid is down"))
	if ref.Channel[0] != 'D' {
		t.Errorf("answer names %q, want the direct message's id", ref.Channel)
	}
	if _, _, _, err := b.api.UpdateMessage("U01AMIRA", ref.TS, text("x")); err == nil {
		t.Error("an edit went through under the member's id")
	}
	for _, s := range []string{"acknowledged", "resolved"} {
		if _, _, _, err := b.api.UpdateMessage(ref.Channel, ref.TS, text(s)); err != nil {
			t.Fatal(err)
		}
	}
	got := b.Messages()
	if len(got) != 1 {
		t.Fatalf("%d messages, want 1", len(got))
	}
	m := got[0]
	if m.Text != "resolved" || m.User != "U01AMIRA" || m.ChannelName != "amira" || m.EditCount != 2 ||
		m.Edits[0].Text != "parsoid is down" || m.Edits[1].Text != "acknowledged" {
		t.Errorf("%+v", m)
	}
}

func TestChannelsAreListedWithoutDirectMessages(t *testing.T) {
	b := start(t, nil)
	b.say(t, "U01AMIRA", text("x"))
	for types, want := range map[string][]string{"": {"general", "incidents"}, "public_channel,private_channel": {"general", "incidents"}, "im": nil} {
		var params slack.GetConversationsParameters
		if types != "" {
			params.Types = strings.Split(types, ",")
		}
		list, next, err := b.api.GetConversations(&params)
		var names []string
		for _, c := range list {
			names = append(names, c.Name)
			if !c.IsMember {
				t.Errorf("the app is not in #%s", c.Name)
			}
		}
		if err != nil || next != "" || !slices.Equal(names, want) {
			t.Errorf("of the types %q: %q, %q, %v; want %q", types, names, next, err, want)
		}
	}
}

func TestTimestampsRiseThoughTheClockStands(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	b := start(t, func(c *Config) { c.Now = func() time.Time { return now } })
	var last string
	for range 50 {
		ref := b.say(t, "#general", text("x"))
		if ref.TS <= last || len(ref.TS) != 17 {
			t.Fatalf("%s after %s", ref.TS, last)
		}
		last = ref.TS
	}
}

func TestRefusals(t *testing.T) {
	b := start(t, nil)
	parent := b.say(t, "#incidents", text("parent"))
	child := b.say(t, "#incidents", text("child"), slack.MsgOptionTS(parent.TS))
	post := func(to string, o ...slack.MsgOption) error {
		_, _, err := b.api.PostMessage(to, o...)
		return err
	}
	edit := func(ch, ts string, o ...slack.MsgOption) error {
		_, _, _, err := b.api.UpdateMessage(ch, ts, o...)
		return err
	}
	before := len(b.Messages())
	for _, tc := range []struct {
		name string
		do   func() error
		want string
	}{
		{"wrong token", func() error { _, err := slack.New("xoxb-x", slack.OptionAPIURL(b.url+"/api/")).AuthTest(); return err }, "invalid_auth"},
		{"no token", func() error { _, err := slack.New("", slack.OptionAPIURL(b.url+"/api/")).AuthTest(); return err }, "not_authed"},
		{"unknown method", func() error { _, err := b.api.GetUserGroups(); return err }, "unknown_method"},
		{"no channel", func() error { return post("", text("x")) }, "invalid_arguments"},
		{"unknown channel", func() error { return post("#nowhere", text("x")) }, "channel_not_found"},
		{"unknown member", func() error { return post("U99", text("x")) }, "channel_not_found"},
		{"deleted member", func() error { return post("U03GONE", text("x")) }, "user_disabled"},
		{"bot", func() error { return post("U04BOT", text("x")) }, "cannot_dm_bot"},
		{"no text", func() error { return post("#incidents", text("")) }, "no_text"},
		{"no such thread", func() error { return post("#incidents", text("x"), slack.MsgOptionTS("1.000001")) }, "thread_not_found"},
		{"thread of another channel", func() error { return post("#general", text("x"), slack.MsgOptionTS(parent.TS)) }, "thread_not_found"},
		{"reply to a reply", func() error { return post("#incidents", text("x"), slack.MsgOptionTS(child.TS)) }, "cannot_reply_to_message"},
		{"edit of nothing", func() error { return edit(parent.Channel, "1.000001", text("x")) }, "message_not_found"},
		{"edit by channel name", func() error { return edit("#incidents", parent.TS, text("x")) }, "channel_not_found"},
		{"long edit", func() error { return edit(parent.Channel, parent.TS, text(strings.Repeat("ü", 4001))) }, "msg_too_long"},
		{"metadata that is none", func() error {
			return post("#incidents", text("x"), slack.MsgOptionMetadata(slack.SlackMetadata{}))
		}, "invalid_metadata_schema"},
		{"look-up of a stranger", func() error { _, err := b.api.GetUserByEmail("who@example.org"); return err }, "users_not_found"},
		{"look-up of a deleted member", func() error { _, err := b.api.GetUserByEmail("gone@example.org"); return err }, "users_not_found"},
		{"info of a stranger", func() error { _, err := b.api.GetUserInfo("U99"); return err }, "user_not_found"},
		{"opening to a stranger", func() error {
			_, _, _, err := b.api.OpenConversation(&slack.OpenConversationParameters{Users: []string{"U99"}})
			return err
		}, "user_not_found"},
		{"history of nowhere", func() error {
			_, err := b.api.GetConversationHistory(&slack.GetConversationHistoryParameters{ChannelID: "C99"})
			return err
		}, "channel_not_found"},
		{"ephemeral in somebody else's DM", func() error {
			dm := b.say(t, "U01AMIRA", text("hi"))
			before++
			_, err := b.api.PostEphemeral(dm.Channel, "W02BEN", text("x"))
			return err
		}, "user_not_in_channel"},
	} {
		t.Run(tc.name, func(t *testing.T) { code(t, tc.do(), tc.want) })
	}
	if n := len(b.Messages()); n != before {
		t.Errorf("%d refused messages were kept", n-before)
	}
}

func TestReadBack(t *testing.T) {
	b := start(t, nil)
	meta := slack.SlackMetadata{EventType: "callchain_notification", EventPayload: map[string]any{"id": "abc"}}
	first := b.say(t, "#incidents", text("one"), slack.MsgOptionMetadata(meta))
	b.say(t, "#incidents", text("reply"), slack.MsgOptionTS(first.TS))
	b.say(t, "#incidents", text("loud reply"), slack.MsgOptionTS(first.TS), slack.MsgOptionBroadcast())
	b.say(t, "#incidents", text("two"), slack.MsgOptionMetadata(slack.SlackMetadata{EventType: "with.dot", EventPayload: map[string]any{"id": "x"}}))
	b.say(t, "#general", text("elsewhere"))
	if _, err := b.api.PostEphemeral(first.Channel, "U01AMIRA", text("psst")); err != nil {
		t.Fatal(err)
	}

	texts := func(list []slack.Message) (out []string) {
		for _, m := range list {
			out = append(out, m.Text)
		}
		return out
	}
	h, err := b.api.GetConversationHistory(&slack.GetConversationHistoryParameters{ChannelID: first.Channel, IncludeAllMetadata: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"two", "loud reply", "one"}, texts(h.Messages)); diff != "" {
		t.Error(diff)
	}
	if got := h.Messages[2].Metadata; got.EventPayload["id"] != "abc" {
		t.Errorf("metadata %+v", got)
	}
	if got := h.Messages[0].Metadata; got.EventType != "" {
		t.Errorf("metadata with a dot in its type survived: %+v", got)
	}
	replies, _, _, err := b.api.GetConversationReplies(&slack.GetConversationRepliesParameters{ChannelID: first.Channel, Timestamp: first.TS})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"one", "reply", "loud reply"}, texts(replies)); diff != "" {
		t.Error(diff)
	}
	if replies[0].Metadata.EventPayload != nil {
		t.Error("the whole metadata came unasked")
	}

	var paged []string
	for cursor := ""; ; {
		h, err := b.api.GetConversationHistory(&slack.GetConversationHistoryParameters{ChannelID: first.Channel, Limit: 2, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		paged = append(paged, texts(h.Messages)...)
		if cursor = h.ResponseMetaData.NextCursor; !h.HasMore {
			break
		}
	}
	if diff := cmp.Diff([]string{"two", "loud reply", "one"}, paged); diff != "" {
		t.Error(diff)
	}
	h, err = b.api.GetConversationHistory(&slack.GetConversationHistoryParameters{ChannelID: first.Channel, Oldest: first.TS, Inclusive: true, Latest: replies[2].Timestamp})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"loud reply", "one"}, texts(h.Messages)); diff != "" {
		t.Error(diff)
	}
}

func TestPeopleAndChannels(t *testing.T) {
	b := start(t, nil)
	u, err := b.api.GetUserByEmail("Ben@example.org")
	if err != nil || u.ID != "W02BEN" || !u.IsRestricted || u.TeamID != TeamID {
		t.Errorf("%+v %v", u, err)
	}
	c, _, _, err := b.api.OpenConversation(&slack.OpenConversationParameters{Users: []string{"U01AMIRA"}})
	if err != nil || c.ID != b.say(t, "U01AMIRA", text("x")).Channel {
		t.Errorf("%+v %v", c, err)
	}
	ref := b.say(t, "incidents", text("x"))
	info, err := b.api.GetConversationInfo(&slack.GetConversationInfoInput{ChannelID: ref.Channel})
	if err != nil || info.Name != "incidents" || !info.IsMember || info.IsArchived {
		t.Errorf("%+v %v", info, err)
	}
	auth, err := b.api.AuthTest()
	if err != nil || auth.TeamID != TeamID || auth.BotID != BotID || auth.Header.Get("X-OAuth-Scopes") == "" {
		t.Errorf("%+v %v", auth, err)
	}
}

func TestJSONBodyWithHeaderToken(t *testing.T) {
	b := start(t, nil)
	req, err := http.NewRequest(http.MethodPost, b.url+"/api/chat.postMessage", strings.NewReader(
		`{"channel":"#incidents","text":"x","blocks":[{"type":"divider"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ OK bool }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || !answer.OK || len(b.Messages()) != 1 {
		t.Errorf("%+v %v", answer, err)
	}
}

func TestBlockLimits(t *testing.T) {
	long := func(n int) string { return strings.Repeat("ü", n) }
	section := func(s string) string { return `{"type":"section","text":{"type":"mrkdwn","text":"` + s + `"}}` }
	button := func(more string) string {
		return `{"type":"actions","elements":[{"type":"button","text":{"type":"plain_text","text":"Acknowledge"}` + more + `}]}`
	}
	many := func(n int, one string) string { return strings.TrimSuffix(strings.Repeat(one+",", n), ",") }
	for _, tc := range []struct {
		name, blocks string
		bad          string // part of the message; "" for good
	}{
		{"50 blocks", many(50, `{"type":"divider"}`), ""},
		{"51 blocks", many(51, `{"type":"divider"}`), "/blocks]"},
		{"text of 3000", section(long(3000)), ""},
		{"text of 3001", `{"type":"divider"},` + section(long(3001)), "[json-pointer:/blocks/1/text/text]"},
		{"empty text", section(""), "/blocks/0/text/text"},
		{"section of nothing", `{"type":"section"}`, "/blocks/0"},
		{"10 fields", `{"type":"section","fields":[` + many(10, `{"type":"plain_text","text":"x"}`) + `]}`, ""},
		{"11 fields", `{"type":"section","fields":[` + many(11, `{"type":"plain_text","text":"x"}`) + `]}`, "/blocks/0/fields"},
		{"field of 2001", `{"type":"section","fields":[{"type":"mrkdwn","text":"` + long(2001) + `"}]}`, "/blocks/0/fields/0"},
		{"header of 150", `{"type":"header","text":{"type":"plain_text","text":"` + long(150) + `"}}`, ""},
		{"header of 151", `{"type":"header","text":{"type":"plain_text","text":"` + long(151) + `"}}`, "/blocks/0/text/text"},
		{"header with markup", `{"type":"header","text":{"type":"mrkdwn","text":"x"}}`, "/blocks/0/text/type"},
		{"11 context elements", `{"type":"context","elements":[` + many(11, `{"type":"plain_text","text":"x"}`) + `]}`, "/blocks/0/elements"},
		{"empty actions", `{"type":"actions","elements":[]}`, "/blocks/0/elements"},
		{"26 actions", `{"type":"actions","elements":[` + many(26, `{"type":"button","text":{"type":"plain_text","text":"x"}}`) + `]}`, "/blocks/0/elements"},
		{"button", button(`,"style":"primary","action_id":"ack","value":"1","accessibility_label":"Acknowledge it"`), ""},
		{"button text of 76", strings.Replace(button(""), "Acknowledge", long(76), 1), "/blocks/0/elements/0/text"},
		{"button value of 2001", button(`,"value":"` + long(2001) + `"`), "/value"},
		{"button url that is none", button(`,"url":"javascript:alert(1)"`), "/url"},
		{"button url", button(`,"url":"https://example.org/"`), ""},
		{"button label of 76", button(`,"accessibility_label":"` + long(76) + `"`), "/accessibility_label"},
		{"button of no style", button(`,"style":"green"`), "/style"},
		{"action_id of 256", button(`,"action_id":"` + long(256) + `"`), "/action_id"},
		{"same block_id twice", `{"type":"divider","block_id":"a"},{"type":"divider","block_id":"a"}`, "/blocks/1/block_id"},
		{"6 overflow options", `{"type":"section","text":{"type":"mrkdwn","text":"x"},"accessory":{"type":"overflow","options":[` +
			many(6, `{"text":{"type":"plain_text","text":"x"},"value":"v"}`) + `]}}`, "/blocks/0/accessory/options"},
		{"block type of later", `{"type":"card"}`, "/blocks/0/type"},
		{"unknown property", `{"type":"divider","color":"red"}`, "color"},
		{"emoji on markup", `{"type":"section","text":{"type":"mrkdwn","text":"x","emoji":true}}`, "emoji"},
		{"a string", `"x"`, "/blocks/0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := start(t, nil)
			form := url.Values{"token": {token}, "channel": {"#incidents"}, "blocks": {"[" + tc.blocks + "]"}}
			resp, err := http.PostForm(b.url+"/api/chat.postMessage", form)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			var answer struct {
				OK       bool
				Error    string
				Metadata struct{ Messages []string } `json:"response_metadata"`
			}
			if err := json.Unmarshal(body, &answer); err != nil {
				t.Fatal(err)
			}
			switch {
			case tc.bad == "" && !answer.OK:
				t.Errorf("refused: %s", body)
			case tc.bad != "" && (answer.Error != "invalid_blocks" || !strings.Contains(strings.Join(answer.Metadata.Messages, "\n"), tc.bad)):
				t.Errorf("want invalid_blocks with %q, got %s", tc.bad, body)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	b := start(t, nil)
	post := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, _, err := b.api.PostMessageContext(ctx, "#incidents", text("x"))
		return err
	}
	b.Fail("chat.postMessage", 1, Fault{Err: "fatal_error"})
	code(t, post(), "fatal_error")

	b.Fail("chat.postMessage", 1, Fault{Status: 429, RetryAfter: 7 * time.Second})
	var limited *slack.RateLimitedError
	if err := post(); !errors.As(err, &limited) || limited.RetryAfter != 7*time.Second {
		t.Errorf("got %v", err)
	}
	b.Fail("", 1, Fault{Hang: true})
	if err := post(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if n := len(b.Messages()); n != 0 {
		t.Errorf("%d messages after calls that failed", n)
	}
	b.Fail("chat.postMessage", 1, Fault{Cut: true})
	if err := post(); err == nil {
		t.Error("the cut call was answered")
	}
	if n := len(b.Messages()); n != 1 {
		t.Errorf("%d messages, want the one whose answer was cut", n)
	}
	b.Fail("auth.test", 9, Fault{Status: 500})
	b.say(t, "#incidents", text("other methods work"))
	b.Heal()
	if _, err := b.api.AuthTest(); err != nil {
		t.Error(err)
	}
}

func TestRateLimit(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	b := start(t, func(c *Config) { c.RateLimit = true; c.Now = func() time.Time { return now } })
	for range burst {
		b.say(t, "#incidents", text("x"))
	}
	_, _, err := b.api.PostMessage("#incidents", text("x"))
	var limited *slack.RateLimitedError
	if !errors.As(err, &limited) || limited.RetryAfter != time.Second {
		t.Errorf("got %v", err)
	}
	b.say(t, "#general", text("another channel has its own budget"))
	now = now.Add(time.Second)
	b.say(t, "#incidents", text("x"))
}

func TestMemoryIsBounded(t *testing.T) {
	s := New(Config{Channels: []string{"c"}})
	id := conversationID("C", "c")
	for range maxMessages + 10 {
		s.mu.Lock()
		m := s.post(Message{Ref: Ref{Channel: id}, Text: "x"})
		for range maxEdits + 2 {
			s.edit(m, "y", nil)
		}
		s.mu.Unlock()
	}
	got := s.Messages()
	if len(got) != maxMessages || len(got[0].Edits) != maxEdits || got[0].EditCount != maxEdits+2 {
		t.Errorf("%d messages with %d edits", len(got), len(got[0].Edits))
	}
}

func TestKeep(t *testing.T) {
	s := New(Config{Channels: []string{"c"}, Keep: 3})
	s.mu.Lock()
	for _, text := range []string{"a", "b", "c", "d", "e"} {
		s.post(Message{Ref: Ref{Channel: conversationID("C", "c")}, Text: text})
	}
	s.mu.Unlock()
	if got := s.Messages(); len(got) != 3 || got[0].Text != "c" {
		t.Errorf("kept %v", got)
	}
}
