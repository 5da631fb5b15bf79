package slack

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"callchain/internal/testbench/strictslack"
	"callchain/notifiers"
	"callchain/notifiers/notifierstest"
)

func workspaceConfig() strictslack.Config {
	return strictslack.Config{
		Users: []strictslack.User{
			{ID: "U01JANE", Name: "jane", Email: "jane@example.org"}, {ID: "U01RAVI", Name: "ravi", Email: "ravi@example.org"},
			{ID: "U01GONE", Name: "gone", Email: "gone@example.org", Deleted: true}, {ID: "U01BOT", Bot: true}, {ID: "U01HIDDEN", Hidden: true},
			{ID: "U01GUEST", Guest: true},
		},
		Channels: []strictslack.Channel{
			{ID: "C01INC", Name: "incidents", Member: true}, {ID: "C01BOARD", Name: "board", Member: true},
			{ID: "C01OLD", Name: "old", Member: true, Archived: true}, {ID: "G01SECRET", Name: "secret", Private: true},
			{ID: "C01RO", Name: "ro", Member: true, ReadOnly: true}, {ID: "C01OUT", Name: "out"},
		},
	}
}

// strictWorkspace is a workspace and a notifier for it. Faults pass in no time.
func strictWorkspace(t *testing.T, change ...func(*strictslack.Config)) (*strictslack.Slack, *Notifier) {
	cfg := workspaceConfig()
	for _, c := range change {
		c(&cfg)
	}
	ws := strictslack.New(t, cfg)
	return ws, notifierOf(t, ws)
}

func notifierOf(t *testing.T, ws *strictslack.Slack) *Notifier {
	return New(Config{
		APIURL: ws.APIURL, Channel: "#incidents", Token: func() (string, error) { return ws.BotToken, nil },
	}, slog.New(slog.NewTextHandler(t.Output(), nil)))
}

func board() notifiers.Message {
	m := notifierstest.To(notifiers.Board, nil, notifierstest.Incident())
	m.Address = "#board"
	return m
}

// hasty is a context that ends while a hanging Slack still hangs.
func hasty(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// TestEveryAnswer goes through the table of Slack's answers: what each means for a
// new page and for an edit.
func TestEveryAnswer(t *testing.T) {
	const (
		sent, retry, ambiguous = notifiers.Sent, notifiers.Retry, notifiers.Ambiguous
		refused, down, gone    = notifiers.Refused, notifiers.Down, notifiers.Gone
		half, minute           = 30 * time.Second, time.Minute
	)
	type row struct {
		fault      strictslack.Fault
		post, edit notifiers.Verdict
		after      time.Duration
		cure       bool
		content    bool // climbs down the ladder
	}
	rows := map[string]row{
		"429 with seconds": {strictslack.Limited, retry, retry, 7 * time.Second, false, false},
		"429 without":      {strictslack.LimitedNoHeader, retry, retry, half, false, false},
		"429 nonsense":     {strictslack.LimitedNonsense, retry, retry, half, false, false},
		"429 of a day":     {strictslack.Fault{Status: 429, Retry: "86400"}, retry, retry, 10 * time.Minute, false, false},

		"cut before":         {strictslack.CutBefore, ambiguous, retry, 0, false, false}, // nobody can tell
		"cut after":          {strictslack.CutAfter, ambiguous, retry, 0, false, false},
		"no answer":          {strictslack.HangBefore, ambiguous, retry, 0, false, false},
		"accepted, silent":   {strictslack.HangAfter, ambiguous, retry, 0, false, false},
		"500":                {strictslack.Status5xx(500), ambiguous, retry, 0, false, false},
		"503 after":          {strictslack.Status5xxAfter(503), ambiguous, retry, 0, false, false},
		"a proxy's page":     {strictslack.HTML, ambiguous, retry, 0, false, false},
		"accepted, a page":   {strictslack.HTMLAfter, ambiguous, retry, 0, false, false},
		"{}":                 {strictslack.Empty, ambiguous, retry, 0, false, false},
		"ok false":           {strictslack.OKFalse, ambiguous, retry, 0, false, false},
		"half of a document": {strictslack.CutJSON, ambiguous, retry, 0, false, false},
		"a new code":         {strictslack.Fails("never_seen_before"), retry, retry, 0, false, false},
	}
	add := func(r row, codes ...string) {
		for _, c := range codes {
			r.fault = strictslack.Fails(c)
			rows[c] = r
		}
	}
	add(row{post: retry, edit: retry, after: half}, "ratelimited", "rate_limited")
	add(row{post: retry, edit: retry, after: minute, cure: true}, "message_limit_exceeded")
	add(row{post: retry, edit: retry}, "service_unavailable", "external_channel_migrating", "team_added_to_org", "fetch_members_failed", "update_failed")
	add(row{post: ambiguous, edit: retry}, "internal_error", "fatal_error", "request_timeout")
	add(row{post: down, edit: down}, "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "missing_scope",
		"not_allowed_token_type", "no_permission", "access_denied", "accesslimited", "app_access_restricted", "org_login_required",
		"two_factor_setup_required", "team_access_not_granted", "enterprise_is_restricted", "ekm_access_denied")
	add(row{post: refused, edit: refused, cure: true}, "channel_not_found", "is_archived", "is_inactive", "not_in_channel", "restricted_action",
		"restricted_action_read_only_channel", "restricted_action_non_threadable_channel", "restricted_action_thread_only_channel", "restricted_action_never_seen", "user_not_found", "users_not_found", "user_disabled",
		"user_not_visible", "messages_tab_disabled", "cannot_dm_bot", "no_such_subteam", "posting_to_channel_denied")
	add(row{post: gone, edit: gone}, "message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found",
		"cannot_reply_to_message", "restricted_action_thread_locked", "block_mismatch")
	add(row{post: refused, edit: refused, content: true}, "invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long",
		"no_text", "invalid_attachments", "too_many_attachments", "attachment_payload_limit_exceeded", "metadata_too_large",
		"invalid_metadata_format", "invalid_metadata_schema", "invalid_metadata_never_seen", "metadata_must_be_sent_from_app",
		"invalid_arguments", "invalid_arg_name", "invalid_array_arg", "invalid_charset", "invalid_form_data", "invalid_post_type", "missing_post_type")
	add(row{post: retry, edit: sent}, "already_reacted", "hash_conflict", "expired_trigger_id", "exchanged_trigger_id")

	for name, c := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ws, n := strictWorkspace(t)
			first := n.Deliver(t.Context(), page())
			if first.Verdict != sent {
				t.Fatal(first.Verdict, first.Err)
			}
			for _, edit := range []bool{false, true} {
				m, want, method := page(), c.post, "chat.postMessage"
				if edit {
					m.Edit, m.Ref, want, method = true, first.Ref, c.edit, "chat.update"
				}
				ctx := t.Context()
				if c.fault.Hang {
					ctx = hasty(t)
				}
				ws.Always(method, c.fault)
				before := len(ws.Calls(method))
				got := notifierOf(t, ws).Deliver(ctx, m)
				ws.Heal()
				if got.Verdict != want || got.After != c.after || got.Cure != c.cure {
					t.Errorf("edit %v: %v after %v, cure %v (%v); want %v after %v, cure %v", edit, got.Verdict, got.After, got.Cure, got.Err, want, c.after, c.cure)
				}
				if (got.Err == nil) != (got.Verdict == sent) {
					t.Errorf("edit %v: %v with the error %v", edit, got.Verdict, got.Err)
				}
				calls := 1
				if c.content {
					calls = 3
				}
				if made := len(ws.Calls(method)) - before; made != calls {
					t.Errorf("edit %v: %d calls, want %d", edit, made, calls)
				}
			}
		})
	}
	for _, c := range classes {
		for _, code := range c.codes {
			if _, ok := rows[code]; !ok {
				t.Errorf("the code %s has no row here", code)
			}
		}
	}
}

// TestScopeOfALookUp: a token that may not look people up may still post.
func TestScopeOfALookUp(t *testing.T) {
	ws, n := strictWorkspace(t, func(c *strictslack.Config) { c.Scopes = []string{"chat:write"} })
	byEmail := page()
	byEmail.Address, byEmail.Email = "", "jane@example.org"
	got := n.Deliver(t.Context(), byEmail)
	if got.Verdict != notifiers.Refused || !got.Cure || !strings.Contains(got.Err.Error(), "users:read.email") {
		t.Errorf("%v, cure %v, %v", got.Verdict, got.Cure, got.Err)
	}
	if got := n.Deliver(t.Context(), page()); got.Verdict != notifiers.Sent {
		t.Errorf("%v %v", got.Verdict, got.Err)
	}
	if err := n.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	ws.Grant("users:read")
	if err := n.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "chat:write") {
		t.Errorf("Slack works without chat:write: %v", err)
	}
}

// TestQuota: a full workspace is asked ever more seldom, and a person told.
func TestQuota(t *testing.T) {
	ws, n := strictWorkspace(t)
	ws.Always("chat.postMessage", strictslack.Fails("message_limit_exceeded"))
	var waits []time.Duration
	for range 6 {
		waits = append(waits, n.Deliver(t.Context(), page()).After)
	}
	want := []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 10 * time.Minute, 10 * time.Minute}
	if !slices.Equal(waits, want) {
		t.Errorf("waits %v, want %v", waits, want)
	}
	ws.Heal()
	n.Deliver(t.Context(), page())
	ws.Always("chat.postMessage", strictslack.Fails("message_limit_exceeded"))
	if got := n.Deliver(t.Context(), page()).After; got != time.Minute {
		t.Errorf("after one that was sent: %v", got)
	}
}

// TestUnknownCode: a code that nobody knows may be about the content: after a few
// tries a simpler message is tried, and it is never given up.
func TestUnknownCode(t *testing.T) {
	ws, n := strictWorkspace(t)
	ws.Always("chat.postMessage", strictslack.Fails("never_seen_before"))
	for tries, calls := range []int{1, 1, 1, 3, 3} {
		m := page()
		m.Tries = tries
		before := len(ws.Calls("chat.postMessage"))
		if got := n.Deliver(t.Context(), m); got.Verdict != notifiers.Retry {
			t.Errorf("after %d tries: %v %v", tries, got.Verdict, got.Err)
		}
		if made := len(ws.Calls("chat.postMessage")) - before; made != calls {
			t.Errorf("after %d tries: %d calls, want %d", tries, made, calls)
		}
	}
}

// TestFoundAgain: a message that was accepted while its answer was lost is found by
// whoever comes next, another process too, and not sent twice.
func TestFoundAgain(t *testing.T) {
	thread := func(ref notifiers.Ref) notifiers.Message {
		m := page()
		m.Kind, m.Ref, m.ID = notifiers.Reminder, ref, "d-reminder"
		return m
	}
	for _, fault := range []strictslack.Fault{strictslack.CutAfter, strictslack.Status5xxAfter(502), strictslack.HTMLAfter, strictslack.CutJSON, strictslack.HangAfter} {
		for name, first := range map[string]notifiers.Message{"page": page(), "board": board(), "reminder": thread(notifiers.Ref{})} {
			t.Run(fmt.Sprintf("%s %+v", name, fault), func(t *testing.T) {
				t.Parallel()
				ws, n := strictWorkspace(t)
				if name == "reminder" {
					first = thread(n.Deliver(t.Context(), page()).Ref)
				}
				ws.Fault("chat.postMessage", fault)
				if got := n.Deliver(hasty(t), first); got.Verdict != notifiers.Ambiguous {
					t.Fatal(got.Verdict, got.Err)
				}
				posts := len(ws.Calls("chat.postMessage"))
				again := first
				again.PerhapsSince = time.Now()
				got := notifierOf(t, ws).Deliver(t.Context(), again) // another process: it remembers nothing
				if got.Verdict != notifiers.Sent {
					t.Fatal(got.Verdict, got.Err)
				}
				if n := len(ws.Calls("chat.postMessage")) - posts; n != 0 {
					t.Errorf("posted %d times more", n)
				}
				if m, ok := seen(ws, got.Ref); !ok || m.Metadata.EventPayload["d"] != first.ID {
					t.Errorf("found %v: %+v", got.Ref, m)
				}
			})
		}
	}
}

func seen(ws *strictslack.Slack, ref notifiers.Ref) (strictslack.Message, bool) {
	for _, to := range []string{"U01JANE", "#board", "#incidents"} {
		for _, m := range ws.Messages(to) {
			if m.Channel == ref.Channel && m.TS == ref.TS {
				return m, true
			}
		}
	}
	return strictslack.Message{}, false
}

// TestNotFoundIsSent: whatever keeps a look-up from finding, the page goes out.
func TestNotFoundIsSent(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*strictslack.Slack)
		lookUps int // in two attempts
	}{
		"it never arrived":      {func(*strictslack.Slack) {}, 2},
		"no im:history":         {func(ws *strictslack.Slack) { ws.Grant("chat:write", "im:write") }, 1},
		"no im:write":           {func(ws *strictslack.Slack) { ws.Grant("chat:write", "im:history") }, 1},
		"the look-up is down":   {func(ws *strictslack.Slack) { ws.Always("conversations.history", strictslack.Status5xx(500)) }, 2},
		"the look-up hangs":     {func(ws *strictslack.Slack) { ws.Always("conversations.history", strictslack.HangBefore) }, 2},
		"the look-up is cut":    {func(ws *strictslack.Slack) { ws.Always("conversations.history", strictslack.CutBefore) }, 2},
		"the look-up's rate":    {func(ws *strictslack.Slack) { ws.Always("conversations.history", strictslack.Limited) }, 2},
		"the look-up is a page": {func(ws *strictslack.Slack) { ws.Always("conversations.history", strictslack.HTML) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ws, n := strictWorkspace(t)
			c.prepare(ws)
			for range 2 {
				m := page()
				m.PerhapsSince = time.Now()
				start := time.Now()
				if got := n.Deliver(t.Context(), m); got.Verdict != notifiers.Sent {
					t.Fatal(got.Verdict, got.Err)
				}
				if took := time.Since(start); took > Timeout-time.Second {
					t.Errorf("took %v: an attempt has no more than %v", took, Timeout)
				}
				for _, m := range ws.Messages("U01JANE") {
					ws.Delete(m.Channel, m.TS)
				}
				n.mu.Lock()
				clear(n.direct) // as if it were another process, but for the scopes
				n.mu.Unlock()
			}
			asked := len(ws.Calls("conversations.history"))
			if name == "no im:write" {
				asked = len(ws.Calls("conversations.open"))
			}
			if asked != c.lookUps {
				t.Errorf("asked %d times, want %d", asked, c.lookUps)
			}
		})
	}
}

// TestNothingIsLookedUp where nothing is in doubt, and never for an edit.
func TestNothingIsLookedUp(t *testing.T) {
	ws, n := strictWorkspace(t)
	got := n.Deliver(t.Context(), page())
	edit := page()
	edit.Edit, edit.Ref, edit.PerhapsSince = true, got.Ref, time.Now()
	line := page()
	line.Kind, line.Ref, line.PerhapsSince, line.Lines = notifiers.Thread, got.Ref, time.Now(), []notifiers.Line{{Text: "x"}}
	for _, m := range []notifiers.Message{edit, line} {
		if got := n.Deliver(t.Context(), m); got.Verdict != notifiers.Sent {
			t.Fatal(got.Verdict, got.Err)
		}
	}
	for _, c := range ws.Calls("") {
		if strings.HasPrefix(c.Method, "conversations.") {
			t.Errorf("called %s", c.Method)
		}
	}
}

// TestBusyConversation: two pages of messages are looked through.
func TestBusyConversation(t *testing.T) {
	ws, n := strictWorkspace(t)
	ws.Fault("chat.postMessage", strictslack.CutAfter)
	n.Deliver(t.Context(), page())
	for i := range lookUpPage + 10 {
		m := page()
		m.Kind, m.Notice, m.ID = notifiers.Notice, &notifiers.Text{Title: "another", Body: "x"}, fmt.Sprint("other-", i)
		n.Deliver(t.Context(), m)
	}
	again := page()
	again.PerhapsSince = time.Now()
	posts := len(ws.Messages("U01JANE"))
	if got := n.Deliver(t.Context(), again); got.Verdict != notifiers.Sent || len(ws.Messages("U01JANE")) != posts {
		t.Errorf("%v %v, %d posted", got.Verdict, got.Err, len(ws.Messages("U01JANE"))-posts)
	}
	if calls := len(ws.Calls("conversations.history")); calls != 2 {
		t.Errorf("read %d pages", calls)
	}
}

// TestBadLinks: a URL that Slack dislikes costs a page its looks at most. Each field
// that a URL comes in is made one that Slack refuses, whatever callchain thought of it.
func TestBadLinks(t *testing.T) {
	for name, set := range map[string]func(*notifiers.Incident, string){
		"runbook":   func(in *notifiers.Incident, u string) { in.Runbook = notifiers.Untrusted(u) },
		"dashboard": func(in *notifiers.Incident, u string) { in.Dashboard = notifiers.Untrusted(u) },
		"source":    func(in *notifiers.Incident, u string) { in.Source = notifiers.Untrusted(u) },
		"silence":   func(in *notifiers.Incident, u string) { in.Silence = notifiers.Untrusted(u) },
		"page":      func(in *notifiers.Incident, u string) { in.Page = u },
	} {
		for _, url := range []string{
			"", "not a url", "javascript:alert(1)", "http://", "https:///x", "https://a b/", "https://h.example/%zz", "//h.example", "https://" + strings.Repeat("a", 5000),
			"https://h.example/" + strings.Repeat("&", 2900), "https://h.example/<!channel>|x", "http://[::1", "https://user@h.example/", "\x00",
		} {
			ws, n := strictWorkspace(t)
			m := page()
			set(&m.Incident, url)
			if got := n.Deliver(t.Context(), m); got.Verdict != notifiers.Sent {
				t.Errorf("%s %.40q: %v %v", name, url, got.Verdict, got.Err)
			}
			checkPage(t, ws, name+" "+url)
		}
		// And one that passes every check of ours, and that Slack refuses all the same.
		ws, n := strictWorkspace(t)
		refuseBlocksWith(ws, "https://refused.example")
		m := page()
		set(&m.Incident, "https://refused.example/x")
		if got := n.Deliver(t.Context(), m); got.Verdict != notifiers.Sent {
			t.Errorf("%s: %v %v", name, got.Verdict, got.Err)
		}
		checkPage(t, ws, name)
	}
}

// refuseBlocksWith lets Slack refuse every message whose blocks hold a text.
func refuseBlocksWith(ws *strictslack.Slack, text string) {
	ws.Allow("invalid_blocks")
	ws.Refuse = func(blocks string) (pointer string, refuse bool) {
		i := strings.Index(blocks, text)
		return fmt.Sprintf("/blocks/%d", strings.Count(blocks[:max(i, 0)], `"type":"section"`)), i >= 0
	}
}

// checkPage: Jane has one page, which says what it is about and can be acknowledged.
func checkPage(t *testing.T, ws *strictslack.Slack, what string) {
	t.Helper()
	all := ws.Messages("U01JANE")
	if len(all) != 1 {
		t.Errorf("%.60q: Jane has %d messages", what, len(all))
		return
	}
	if _, ok := all[0].Button(ActionAck); !ok {
		t.Errorf("%.60q: the page has no button", what)
	}
	if !strings.Contains(all[0].Said(), "parsoid") {
		t.Errorf("%.60q: it does not say what it is about:\n%s", what, all[0].Said())
	}
}

// TestBadBlock: any block of a page may be the one that Slack refuses: the page
// arrives, and the log says which it was.
func TestBadBlock(t *testing.T) {
	for i := range render(page()).blocks {
		cfg := workspaceConfig()
		ws := strictslack.New(t, cfg)
		var log bytes.Buffer
		n := New(Config{APIURL: ws.APIURL, Token: func() (string, error) { return ws.BotToken, nil }}, slog.New(slog.NewTextHandler(&log, nil)))
		ws.Allow("invalid_blocks")
		full := len(render(page()).blocks)
		ws.Refuse = func(blocks string) (string, bool) {
			return fmt.Sprintf("/blocks/%d", i), strings.Count(blocks, `"type":"section"`)+strings.Count(blocks, `"type":"context"`)+strings.Count(blocks, `"type":"header"`)+strings.Count(blocks, `"type":"actions"`) == full
		}
		if got := n.Deliver(t.Context(), page()); got.Verdict != notifiers.Sent {
			t.Errorf("block %d: %v %v", i, got.Verdict, got.Err)
		}
		checkPage(t, ws, fmt.Sprint("block ", i))
		if !strings.Contains(log.String(), fmt.Sprintf("json-pointer:/blocks/%d]", i)) || !strings.Contains(log.String(), "3f-k7q2") {
			t.Errorf("block %d: the log does not name it: %s", i, log.String())
		}
	}
}

// TestTextAlone: where Slack takes no blocks at all the text says everything, the
// link to press included as words.
func TestTextAlone(t *testing.T) {
	ws, n := strictWorkspace(t)
	refuseBlocksWith(ws, "[")
	if got := n.Deliver(t.Context(), page()); got.Verdict != notifiers.Sent {
		t.Fatal(got.Verdict, got.Err)
	}
	m := ws.Messages("U01JANE")[0]
	if m.Blocks != nil || m.Metadata.EventType != "" || !strings.Contains(m.Text, "parsoid HighErrorRate") {
		t.Errorf("%+v", m)
	}
	// An edit brings the blocks back once Slack takes them, and takes them away when not.
	edit := page()
	edit.Edit, edit.Ref = true, notifiers.Ref{Channel: m.Channel, TS: m.TS}
	ws.Refuse = nil
	n.Deliver(t.Context(), edit)
	if m := ws.Messages("U01JANE")[0]; m.Blocks == nil {
		t.Error("the edit has no blocks")
	}
	refuseBlocksWith(ws, "[")
	n.Deliver(t.Context(), edit)
	if m := ws.Messages("U01JANE")[0]; m.Blocks != nil {
		t.Errorf("the old blocks are still there: %s", m.Blocks)
	}
}

// TestTargets: who cannot be written to is refused, with words for the person who
// has to cure it.
func TestTargets(t *testing.T) {
	ws, n := strictWorkspace(t)
	ws.Grant("chat:write", "users:read", "users:read.email", "channels:read", "groups:read")
	for to, want := range map[string]string{
		"U01GONE": "deactivated", "U01BOT": "bot", "U01HIDDEN": "may not see", "#old": "archived", "#secret": "not invited", "#none": "no such channel",
		"#ro": "may post", "#out": "invite it",
	} {
		m := page()
		m.Address = to
		if to[0] == '#' {
			m = board()
			m.Address = to
		}
		got := n.Deliver(t.Context(), m)
		if got.Verdict != notifiers.Refused || !got.Cure || !strings.Contains(got.Err.Error(), want) {
			t.Errorf("%s: %v, cure %v, %v; want words with %q", to, got.Verdict, got.Cure, got.Err, want)
		}
	}
	gone := page()
	gone.Address, gone.Email = "", "gone@example.org"
	if got := n.Deliver(t.Context(), gone); got.Verdict != notifiers.Refused || !got.Cure {
		t.Errorf("by the address of who has left: %v %v", got.Verdict, got.Err)
	}
}

// TestRenamed: a board goes to the same channel after somebody has renamed it, in
// the process that knows its id and in one that does not.
func TestRenamed(t *testing.T) {
	ws, n := strictWorkspace(t)
	if got := n.Deliver(t.Context(), board()); got.Verdict != notifiers.Sent || got.Ref.Channel != "C01BOARD" {
		t.Fatal(got.Verdict, got.Err, got.Ref)
	}
	if c := n.Conversation(board()); c != "C01BOARD" {
		t.Errorf("paced by %q", c)
	}
	ws.SetChannel(strictslack.Channel{ID: "C01BOARD", Name: "parsing", Was: []string{"board"}, Member: true})
	for name, n := range map[string]*Notifier{"who knows it": n, "who does not": notifierOf(t, ws)} {
		for range 2 {
			if got := n.Deliver(t.Context(), board()); got.Verdict != notifiers.Sent || got.Ref.Channel != "C01BOARD" {
				t.Errorf("%s: %v %v %v", name, got.Verdict, got.Err, got.Ref)
			}
		}
	}
	if lists := len(ws.Calls("conversations.list")); lists != 1 {
		t.Errorf("listed the channels %d times, want once for the one that did not know", lists)
	}
	// A new channel of the old name is what the catalog means now.
	ws.SetChannel(strictslack.Channel{ID: "C02NEW", Name: "board", Member: true})
	if _, err := n.Watch(t.Context(), []string{"#board"}, false); err != nil {
		t.Fatal(err)
	}
	if got := n.Deliver(t.Context(), board()); got.Ref.Channel != "C02NEW" {
		t.Errorf("posted to %v", got.Ref)
	}
}

// TestUnknownChannelIsListedOnce: a name that is nowhere does not make callchain
// list a whole workspace for every message.
func TestUnknownChannelIsListedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ws := strictslack.NewHandler(t, workspaceConfig())
		n := New(Config{APIURL: "http://slack.test/api/", HTTPClient: &http.Client{Transport: ws.RoundTripper()}, Token: func() (string, error) { return ws.BotToken, nil }}, slog.New(slog.DiscardHandler))
		m := board()
		m.Address = "#none"
		for range 10 {
			n.Deliver(t.Context(), m)
		}
		if lists := len(ws.Calls("conversations.list")); lists != 1 {
			t.Errorf("listed %d times", lists)
		}
		time.Sleep(relistEvery)
		n.Deliver(t.Context(), m)
		if lists := len(ws.Calls("conversations.list")); lists != 2 {
			t.Errorf("listed %d times, want once more after a minute", lists)
		}
	})
}

func TestWatch(t *testing.T) {
	ws, n := strictWorkspace(t)
	ws.Grant(slices.DeleteFunc(slices.Clone(strictslack.AllScopes), func(s string) bool { return s == "chat:write.public" })...)
	ws.SetChannel(strictslack.Channel{ID: "C01EXT", Name: "ext", Member: true, External: true})
	ws.SetChannel(strictslack.Channel{ID: "C01GUE", Name: "gue", Member: true, Users: []string{"U01JANE", "U01GUEST"}})
	ws.SetChannel(strictslack.Channel{ID: "C01NEW", Name: "now", Was: []string{"then"}, Member: true})
	ask := func(secrets bool) map[string]string {
		troubles, err := n.Watch(t.Context(), []string{"#incidents", "#old", "#secret", "#out", "#ext", "#gue", "#then", "C01OLD"}, secrets)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, tr := range troubles {
			got[tr.Channel] += tr.Kind
			if !strings.HasSuffix(tr.Text, ".") {
				t.Errorf("no sentence: %q", tr.Text)
			}
		}
		return got
	}
	want := map[string]string{"#old": "archived", "C01OLD": "archived", "#secret": "absent", "#out": "outside", "#then": "renamed"}
	if got := ask(false); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	want["#ext"], want["#gue"] = "outsiders", "outsiders"
	if got := ask(true); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("with confidential alerts: got %v, want %v", got, want)
	}
	ws.SetChannel(strictslack.Channel{ID: "C01OUT", Name: "out", Member: true})
	delete(want, "#out")
	if got := ask(true); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("after an invitation: got %v, want %v", got, want)
	}
}

// TestConfidential: what is confidential is not posted where outsiders read, and
// what they can read already is taken back.
func TestConfidential(t *testing.T) {
	secret := func() notifiers.Message {
		m := board()
		m.Incident.Confidential = true
		return m
	}
	t.Run("shared with another organisation", func(t *testing.T) {
		ws, n := strictWorkspace(t)
		ws.SetChannel(strictslack.Channel{ID: "C01BOARD", Name: "board", Member: true, External: true})
		got := n.Deliver(t.Context(), secret())
		if got.Verdict != notifiers.Refused || got.Cure || len(ws.Messages("#board")) != 0 {
			t.Errorf("%v, cure %v, %v; %d posted", got.Verdict, got.Cure, got.Err, len(ws.Messages("#board")))
		}
		if got := n.Deliver(t.Context(), board()); got.Verdict != notifiers.Sent {
			t.Errorf("what is not confidential: %v %v", got.Verdict, got.Err)
		}
	})
	t.Run("became so", func(t *testing.T) {
		ws, n := strictWorkspace(t)
		got := n.Deliver(t.Context(), secret())
		if got.Verdict != notifiers.Sent || !strings.Contains(ws.Messages("#board")[0].Said(), "HighErrorRate") {
			t.Fatal(got.Verdict, got.Err)
		}
		ws.SetChannel(strictslack.Channel{ID: "C01BOARD", Name: "board", Member: true, External: true})
		if _, err := n.Watch(t.Context(), []string{"#board"}, true); err != nil {
			t.Fatal(err)
		}
		edit := secret()
		edit.Edit, edit.Ref = true, got.Ref
		if got := n.Deliver(t.Context(), edit); got.Verdict != notifiers.Sent {
			t.Fatal(got.Verdict, got.Err)
		}
		if said := ws.Messages("#board")[0].Said(); strings.Contains(said, "HighErrorRate") || !strings.Contains(said, "confidential") {
			t.Errorf("outsiders still read:\n%s", said)
		}
		line := secret()
		line.Kind, line.Ref, line.Lines = notifiers.Thread, got.Ref, []notifiers.Line{{Text: "jane noted: the password is …"}}
		if got := n.Deliver(t.Context(), line); got.Verdict != notifiers.Refused || len(ws.Messages("#board")) != 1 {
			t.Errorf("a line of the thread: %v %v", got.Verdict, got.Err)
		}
	})
	t.Run("guests", func(t *testing.T) {
		ws, n := strictWorkspace(t)
		ws.SetChannel(strictslack.Channel{ID: "C01BOARD", Name: "board", Member: true, Users: []string{"U01GUEST"}})
		if _, err := n.Watch(t.Context(), []string{"#board"}, true); err != nil {
			t.Fatal(err)
		}
		if got := n.Deliver(t.Context(), secret()); got.Verdict != notifiers.Refused {
			t.Errorf("%v %v", got.Verdict, got.Err)
		}
		m := page()
		m.Incident.Confidential = true
		if got := n.Deliver(t.Context(), m); got.Verdict != notifiers.Sent {
			t.Errorf("a page: %v %v", got.Verdict, got.Err)
		}
	})
	t.Run("Slack does not tell", func(t *testing.T) {
		ws, n := strictWorkspace(t, func(c *strictslack.Config) { c.Scopes = []string{"chat:write"} })
		for range 3 {
			if got := n.Deliver(t.Context(), secret()); got.Verdict != notifiers.Sent {
				t.Errorf("%v %v", got.Verdict, got.Err)
			}
		}
		if lists := len(ws.Calls("conversations.list")); lists > 2 { // with private channels, and without
			t.Errorf("asked %d times", lists)
		}
	})
}

// TestRates: what Slack's own rates refuse says how long to wait.
func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := workspaceConfig()
		cfg.Limits = &strictslack.SlackLimits
		ws := strictslack.NewHandler(t, cfg)
		n := New(Config{APIURL: "http://slack.test/api/", HTTPClient: &http.Client{Transport: ws.RoundTripper()}, Token: func() (string, error) { return ws.BotToken, nil }}, slog.New(slog.DiscardHandler))
		sent := 0
		for i := 0; i < 20; {
			m := page()
			m.ID = fmt.Sprint(i)
			switch got := n.Deliver(t.Context(), m); got.Verdict {
			case notifiers.Sent:
				sent, i = sent+1, i+1
			case notifiers.Retry:
				if got.After < time.Second || got.After > time.Minute {
					t.Fatalf("wait %v", got.After)
				}
				time.Sleep(got.After)
			default:
				t.Fatal(got.Verdict, got.Err)
			}
		}
		if all := ws.Messages("U01JANE"); len(all) != 20 {
			t.Errorf("%d messages, want 20", len(all))
		}
	})
}

// TestNobodyListens: once is a restart; a Slack that nobody can connect to is
// down, and where there are few people no other address would ever tell.
func TestNobodyListens(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	for attempt, want := range map[int]notifiers.Verdict{1: notifiers.Retry, 2: notifiers.Retry, 3: notifiers.Down, 9: notifiers.Down} {
		for _, at := range []string{server.URL, "http://nobody.invalid"} {
			m := page()
			m.Attempt = attempt
			n := New(Config{APIURL: at + "/api/", Token: func() (string, error) { return testToken, nil }}, slog.New(slog.DiscardHandler))
			if got := n.Deliver(t.Context(), m); got.Verdict != want {
				t.Errorf("%s, attempt %d: %v (%v), want %v", at, attempt, got.Verdict, got.Err, want)
			}
		}
	}
}
