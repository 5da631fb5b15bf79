package strictslack

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// recorder stands for a test that is failed by the fake.
type recorder struct {
	testing.TB
	said []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}
func (r *recorder) Helper() {}

var workspace = Config{
	Users: []User{
		{ID: "U01JANE", Name: "jane", Email: "jane@example.org"}, {ID: "U01GONE", Name: "gone", Deleted: true},
		{ID: "U01BOT", Bot: true}, {ID: "U01HIDDEN", Hidden: true},
	},
	Channels: []Channel{
		{ID: "C01SRE", Name: "sre", Member: true}, {ID: "C01OLD", Name: "old", Member: true, Archived: true},
		{ID: "C01OUT", Name: "out"}, {ID: "G01SECRET", Name: "secret", Private: true}, {ID: "C01RO", Name: "ro", Member: true, ReadOnly: true},
	},
}

// ask makes one call through the handler, as a client without a network would.
func ask(t *testing.T, s *Slack, method string, form url.Values) map[string]any {
	t.Helper()
	resp := do(s, method, form)
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func do(s *Slack, method string, form url.Values) *http.Response {
	if !form.Has("token") {
		form.Set("token", s.BotToken)
	}
	r, _ := http.NewRequest(http.MethodPost, "http://slack.test/api/"+method, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := s.RoundTripper().RoundTrip(r)
	if err != nil {
		return &http.Response{StatusCode: 0, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}
	}
	return resp
}

func post(to, text string) url.Values {
	return url.Values{"channel": {to}, "text": {text}, "parse": {"none"}, "unfurl_links": {"false"}, "unfurl_media": {"false"}}
}

func run(n int) string { return strings.Repeat("ä", n) } // characters, not bytes

// TestLimits is the table of Slack's limits: each is met exactly, and then exceeded by one.
func TestLimits(t *testing.T) {
	text := func(kind, s string) object {
		o := object{"type": kind, "text": s}
		if kind == "mrkdwn" {
			o["verbatim"] = true
		}
		return o
	}
	plain := func(s string) object { return text("plain_text", s) }
	repeat := func(n int, f func(i int) object) []any {
		var out []any
		for i := range n {
			out = append(out, f(i))
		}
		return out
	}
	section := func(o object) []any { o["type"] = "section"; return []any{o} }
	button := func(change object) []any {
		b := object{"type": "button", "action_id": "a", "text": plain("x")}
		for k, v := range change {
			b[k] = v
		}
		return []any{object{"type": "actions", "elements": []any{b}}}
	}
	option := func(i int) object { return object{"text": plain("x"), "value": fmt.Sprint(i)} }
	address := func(n int) string { return "https://h.example/" + strings.Repeat("a", n-len("https://h.example/")) }
	for _, c := range []struct {
		name  string
		most  int
		least int
		make  func(n int) []any
	}{
		{"blocks of a message", MaxMessageBlocks, 0, func(n int) []any { return repeat(n, func(int) object { return object{"type": "divider"} }) }},
		{"text object", MaxTextObject, 1, func(n int) []any { return section(object{"text": text("mrkdwn", run(n))}) }},
		{"fields", MaxFields, 1, func(n int) []any {
			return section(object{"fields": repeat(n, func(int) object { return plain("x") })})
		}},
		{"a field", MaxField, 1, func(n int) []any { return section(object{"fields": []any{plain(run(n))}}) }},
		{"header", MaxHeader, 1, func(n int) []any { return []any{object{"type": "header", "text": plain(run(n))}} }},
		{"elements of a context", MaxContextElements, 1, func(n int) []any {
			return []any{object{"type": "context", "elements": repeat(n, func(int) object { return plain("x") })}}
		}},
		{"elements of actions", MaxActionElements, 1, func(n int) []any {
			return []any{object{"type": "actions", "elements": repeat(n, func(i int) object {
				return object{"type": "button", "action_id": fmt.Sprint(i), "text": plain("x")}
			})}}
		}},
		{"a button's text", MaxButtonText, 1, func(n int) []any { return button(object{"text": plain(run(n))}) }},
		{"a button's value", MaxButtonValue, 0, func(n int) []any { return button(object{"value": run(n)}) }},
		{"a button's URL", MaxURL, 0, func(n int) []any { return button(object{"url": address(n)}) }},
		{"a button's action_id", MaxActionID, 0, func(n int) []any { return button(object{"action_id": run(n)}) }},
		{"a button's spoken label", MaxAccessibility, 0, func(n int) []any { return button(object{"accessibility_label": run(n)}) }},
		{"options of an overflow menu", MaxOverflow, 1, func(n int) []any {
			return []any{object{"type": "actions", "elements": []any{object{"type": "overflow", "action_id": "a", "options": repeat(n, option)}}}}
		}},
		{"options of a select", MaxSelectOptions, 1, func(n int) []any {
			return []any{object{"type": "actions", "elements": []any{object{"type": "static_select", "action_id": "a", "options": repeat(n, option)}}}}
		}},
		{"an option's text", MaxOptionText, 1, func(n int) []any {
			return []any{object{"type": "actions", "elements": []any{object{"type": "overflow", "options": []any{object{"text": plain(run(n)), "value": "1"}}}}}}
		}},
		{"an option's value", MaxOptionValue, 1, func(n int) []any {
			return []any{object{"type": "actions", "elements": []any{object{"type": "overflow", "options": []any{object{"text": plain("x"), "value": run(n)}}}}}}
		}},
		{"block_id", MaxBlockID, 0, func(n int) []any { return []any{object{"type": "divider", "block_id": run(n)}} }},
		{"rows of a table", MaxTableRows, 1, func(n int) []any {
			var rows []any
			for range n {
				rows = append(rows, []any{object{"type": "raw_text", "text": "x"}})
			}
			return []any{object{"type": "table", "rows": rows}}
		}},
		{"cells of a row", MaxTableCells, 0, func(n int) []any {
			return []any{object{"type": "table", "rows": []any{repeat(n, func(int) object { return object{"type": "raw_text", "text": "x"} })}}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := func(n int) []Problem {
				raw, _ := json.Marshal(c.make(n))
				problems, _ := CheckMessage(raw)
				return problems
			}
			if p := check(c.most); len(p) > 0 {
				t.Errorf("%d: %v", c.most, p)
			}
			if p := check(c.most + 1); len(p) == 0 {
				t.Errorf("%d is taken", c.most+1)
			}
			if c.least > 0 && len(check(c.least-1)) == 0 {
				t.Errorf("%d is taken", c.least-1)
			}
		})
	}
}

// TestViewLimits is the same for modals.
func TestViewLimits(t *testing.T) {
	plain := func(n int) object { return object{"type": "plain_text", "text": run(n)} }
	for _, c := range []struct {
		name string
		most int
		set  func(v object, n int)
	}{
		{"title", MaxViewTitle, func(v object, n int) { v["title"] = plain(n) }},
		{"submit", MaxViewButton, func(v object, n int) { v["submit"] = plain(n) }},
		{"private_metadata", MaxPrivateMetadata, func(v object, n int) { v["private_metadata"] = run(n) }},
		{"callback_id", MaxCallbackID, func(v object, n int) { v["callback_id"] = run(n) }},
		{"blocks", MaxViewBlocks, func(v object, n int) {
			var all []any
			for range n {
				all = append(all, object{"type": "divider"})
			}
			v["blocks"] = all
		}},
	} {
		for _, over := range []int{0, 1} {
			v := object{"type": "modal", "title": plain(3), "blocks": []any{}}
			c.set(v, c.most+over)
			raw, _ := json.Marshal(v)
			if p := CheckView(raw); len(p) > 0 != (over == 1) {
				t.Errorf("%s, %d over: %v", c.name, over, p)
			}
		}
	}
}

// TestRefusedBlocks: what is no question of length.
func TestRefusedBlocks(t *testing.T) {
	for name, blocks := range map[string]string{
		"empty text":                       `[{"type":"section","text":{"type":"plain_text","text":""}}]`,
		"a section of nothing":             `[{"type":"section"}]`,
		"an unknown type":                  `[{"type":"card"}]`,
		"an input in a message":            `[{"type":"input","label":{"type":"plain_text","text":"x"},"element":{"type":"plain_text_input"}}]`,
		"no type":                          `[{"text":"x"}]`,
		"a key that Slack does not know":   `[{"type":"divider","colour":"red"}]`,
		"markup in a header":               `[{"type":"header","text":{"type":"mrkdwn","text":"x"}}]`,
		"twice the same block_id":          `[{"type":"divider","block_id":"a"},{"type":"divider","block_id":"a"}]`,
		"twice the same action_id":         `[{"type":"actions","elements":[{"type":"button","action_id":"a","text":{"type":"plain_text","text":"x"}},{"type":"button","action_id":"a","text":{"type":"plain_text","text":"y"}}]}]`,
		"a button to nowhere":              `[{"type":"actions","elements":[{"type":"button","text":{"type":"plain_text","text":"x"},"url":"runbook.example"}]}]`,
		"a button that runs a script":      `[{"type":"actions","elements":[{"type":"button","text":{"type":"plain_text","text":"x"},"url":"javascript:alert(1)"}]}]`,
		"a style that is none":             `[{"type":"actions","elements":[{"type":"button","style":"default","text":{"type":"plain_text","text":"x"}}]}]`,
		"an option chosen that is not one": `[{"type":"actions","elements":[{"type":"static_select","options":[{"text":{"type":"plain_text","text":"x"},"value":"1"}],"initial_option":{"text":{"type":"plain_text","text":"y"},"value":"2"}}]}]`,
		"no array":                         `{"type":"divider"}`,
		"a bracket left open":              `[{"type":"section","text":{"type":"mrkdwn","text":"a <b","verbatim":true}}]`,
	} {
		if p, _ := CheckMessage([]byte(blocks)); len(p) == 0 {
			t.Errorf("%s: taken", name)
		}
	}
	long, _ := json.Marshal([]any{object{"type": "section", "text": object{"type": "plain_text", "text": run(3000)}}})
	all := "[" + strings.Repeat(strings.Trim(string(long), "[]")+",", 4) + strings.Trim(string(long), "[]") + "]"
	if _, tooLong := CheckMessage([]byte(all)); !tooLong {
		t.Error("15,000 characters in five blocks are taken")
	}
}

func TestPosting(t *testing.T) {
	r := &recorder{TB: t}
	s := NewHandler(r, workspace)
	for to, want := range map[string]string{
		"U01JANE": "", "C01SRE": "", "#sre": "", "sre": "", "U01GONE": "user_disabled", "U01BOT": "cannot_dm_bot", "U01HIDDEN": "user_not_visible",
		"C01OLD": "is_archived", "C01OUT": "", "#secret": "channel_not_found", "G01SECRET": "channel_not_found", "#none": "channel_not_found",
		"C01RO": "restricted_action_read_only_channel", "U01NOBODY": "channel_not_found",
	} {
		if got, _ := ask(t, s, "chat.postMessage", post(to, "x"))["error"].(string); got != want {
			t.Errorf("to %s: %q, want %q", to, got, want)
		}
	}
	s.Grant("chat:write")
	if got := ask(t, s, "chat.postMessage", post("C01OUT", "x")); got["error"] != "not_in_channel" {
		t.Errorf("without chat:write.public: %v", got)
	}
	s.Grant("users:read")
	if got := ask(t, s, "chat.postMessage", post("C01SRE", "x")); got["error"] != "missing_scope" || got["needed"] != "chat:write" || got["provided"] != "users:read" {
		t.Errorf("without chat:write: %v", got)
	}
	if h := do(s, "auth.test", url.Values{}).Header.Get("X-OAuth-Scopes"); h != "users:read" {
		t.Errorf("X-OAuth-Scopes: %q", h)
	}
	if len(r.said) > 0 {
		t.Errorf("fails the test for what is legal: %q", r.said)
	}
	if m := s.Messages("U01JANE"); len(m) != 1 || m[0].Channel != "D01JANE" || m[0].Text != "x" {
		t.Errorf("Jane sees %+v", m)
	}
}

// TestIllegal: requests that Slack refuses, or that a pager must not make, fail the test.
func TestIllegal(t *testing.T) {
	with := func(kv ...string) url.Values {
		f := post("C01SRE", "x")
		for i := 0; i < len(kv); i += 2 {
			f.Set(kv[i], kv[i+1])
		}
		return f
	}
	for _, c := range []struct {
		method string
		form   url.Values
		code   string // answered; "" for ok
		told   string // the failure's word
	}{
		{"chat.postMessage", with("text", ""), "no_text", "no_text"},
		{"chat.postMessage", with("text", "", "blocks", `[{"type":"divider"}]`), "", "no_fallback_text"},
		{"chat.postMessage", with("blocks", `[{"type":"card"}]`), "invalid_blocks", "invalid_blocks"},
		{"chat.postMessage", with("blocks", `[`), "invalid_blocks_format", "invalid_blocks_format"},
		{"chat.postMessage", with("blocks", `[{"type":"section","text":{"type":"mrkdwn","text":"x"}}]`), "", "verbatim"},
		{"chat.postMessage", with("parse", "full"), "", "parse"},
		{"chat.postMessage", with("link_names", "1"), "", "link_names"},
		{"chat.postMessage", with("unfurl_links", "true"), "", "unfurl_links"},
		{"chat.postMessage", with("metadata", `{"event_type":"a.b","event_payload":{}}`), "", "metadata_lost"},
		{"chat.postMessage", with("metadata", `{"event_type":"a"}`), "invalid_metadata_schema", "invalid_metadata_schema"},
		{"chat.postMessage", with("metadata", `x`), "invalid_metadata_format", "invalid_metadata_format"},
		{"chat.postMessage", with("icon_emoji", ":x:"), "", "invalid_arg_name"},
		{"chat.postMessage", with("channel", ""), "invalid_arguments", "invalid_arguments"},
		{"chat.postMessage", with("text", "\xff"), "invalid_charset", "invalid_charset"},
		{"chat.boom", with(), "unknown_method", "unknown_method"},
		{"views.open", url.Values{"trigger_id": {"forged"}, "view": {"{}"}}, "invalid_trigger_id", "invalid_trigger_id"},
	} {
		r := &recorder{TB: t}
		s := NewHandler(r, workspace)
		got, _ := ask(t, s, c.method, c.form)["error"].(string)
		if got != c.code || len(r.said) != 1 || !strings.Contains(r.said[0], c.told+":") {
			t.Errorf("%s %v: %q, the test is told %q; want %q", c.method, c.form, got, r.said, c.code)
		}
		s = NewHandler(t, workspace)
		s.Allow(c.told)
		ask(t, s, c.method, c.form)
	}
	r := &recorder{TB: t}
	s := NewHandler(r, workspace)
	ts, _ := ask(t, s, "chat.postMessage", with())["ts"].(string)
	if got := ask(t, s, "chat.update", with("ts", ts, "text", run(4001))); got["error"] != "msg_too_long" {
		t.Errorf("an edit of 4,001 characters: %v", got)
	}
	if got := ask(t, s, "chat.update", with("ts", "1.2")); got["error"] != "message_not_found" {
		t.Errorf("an edit of nothing: %v", got)
	}
	if got := ask(t, s, "chat.update", with("ts", ts, "channel", "#sre")); got["error"] != "channel_not_found" {
		t.Errorf("an edit by the channel's name: %v", got)
	}
}

func TestHistory(t *testing.T) {
	s := NewHandler(t, workspace)
	for i := range 5 {
		f := post("U01JANE", fmt.Sprint(i))
		f.Set("metadata", fmt.Sprintf(`{"event_type":"t","event_payload":{"d":"%d"}}`, i))
		ask(t, s, "chat.postMessage", f)
	}
	f := post("U01JANE", "reply")
	f.Set("thread_ts", s.Messages("U01JANE")[0].TS)
	ask(t, s, "chat.postMessage", f)
	read := func(method string, extra ...string) (texts []string, payload any) {
		form := url.Values{"channel": {"D01JANE"}, "limit": {"2"}}
		for i := 0; i < len(extra); i += 2 {
			form.Set(extra[i], extra[i+1])
		}
		for {
			got := ask(t, s, method, form)
			list, _ := got["messages"].([]any)
			for _, m := range list {
				o := m.(map[string]any)
				texts = append(texts, o["text"].(string))
				if meta, ok := o["metadata"].(map[string]any); ok {
					payload = meta["event_payload"]
				}
			}
			next := got["response_metadata"].(map[string]any)["next_cursor"].(string)
			if next == "" {
				return texts, payload
			}
			form.Set("cursor", next)
		}
	}
	texts, payload := read("conversations.history")
	if got := strings.Join(texts, " "); got != "4 3 2 1 0" || payload != nil {
		t.Errorf("history: %s, metadata %v", got, payload)
	}
	if _, payload = read("conversations.history", "include_all_metadata", "1"); fmt.Sprint(payload) != "map[d:0]" {
		t.Errorf("metadata %v", payload)
	}
	if texts, _ = read("conversations.replies", "ts", s.Messages("U01JANE")[0].TS); strings.Join(texts, " ") != "0 reply" {
		t.Errorf("replies: %v", texts)
	}
	s.Grant("chat:write")
	if got := ask(t, s, "conversations.history", url.Values{"channel": {"D01JANE"}}); got["needed"] != "im:history" {
		t.Errorf("without im:history: %v", got)
	}
}

func TestTokens(t *testing.T) {
	s := NewHandler(t, workspace)
	for token, want := range map[string]any{"": "not_authed", "xoxb-other": "invalid_auth", s.AppToken: "not_allowed_token_type", s.BotToken: nil} {
		if got := ask(t, s, "auth.test", url.Values{"token": {token}})["error"]; got != want {
			t.Errorf("%q: %v, want %v", token, got, want)
		}
	}
	s.Revoke("token_revoked")
	if got := ask(t, s, "auth.test", url.Values{}); got["error"] != "token_revoked" {
		t.Errorf("revoked: %v", got)
	}
}

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := workspace
		cfg.Limits = &SlackLimits
		s := NewHandler(t, cfg)
		status := func(method string, f url.Values) (int, string) {
			resp := do(s, method, f)
			return resp.StatusCode, resp.Header.Get("Retry-After")
		}
		for range 3 {
			if code, _ := status("chat.postMessage", post("C01SRE", "x")); code != 200 {
				t.Fatal(code)
			}
		}
		if code, after := status("chat.postMessage", post("#sre", "x")); code != 429 || after != "1" {
			t.Errorf("the fourth message in a second: %d, %q", code, after)
		}
		if code, _ := status("chat.postMessage", post("U01JANE", "x")); code != 200 {
			t.Errorf("another conversation: %d", code)
		}
		time.Sleep(time.Second)
		if code, _ := status("chat.postMessage", post("C01SRE", "x")); code != 200 {
			t.Errorf("a second later: %d", code)
		}
		limited := 0
		for range 30 {
			if code, _ := status("conversations.list", url.Values{}); code == 429 {
				limited++
			}
		}
		if limited != 20 {
			t.Errorf("%d of 30 lists are too many, want 20", limited)
		}
	})
}

func TestTriggersAndHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewHandler(t, workspace)
		s.APIURL = "http://slack.test/api/"
		open := func(id string) any {
			return ask(t, s, "views.open", url.Values{"trigger_id": {id}, "view": {`{"type":"modal","title":{"type":"plain_text","text":"x"},"blocks":[]}`}})["error"]
		}
		first := s.Trigger()
		if err := open(first); err != nil {
			t.Error(err)
		}
		s.Allow("exchanged_trigger_id")
		if err := open(first); err != "exchanged_trigger_id" {
			t.Errorf("used twice: %v", err)
		}
		late := s.Trigger()
		time.Sleep(TriggerLife + time.Millisecond)
		if err := open(late); err != "expired_trigger_id" {
			t.Errorf("after three seconds: %v", err)
		}

		hook := s.ResponseURL("C01SRE", "U01JANE", "")
		answer := func() int {
			r, _ := http.NewRequest(http.MethodPost, hook, strings.NewReader(`{"text":"done","response_type":"ephemeral"}`))
			resp, err := s.RoundTripper().RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			return resp.StatusCode
		}
		for range HookUses {
			if code := answer(); code != 200 {
				t.Error(code)
			}
		}
		if code := answer(); code != 404 {
			t.Errorf("the sixth answer: %d", code)
		}
		if m := s.Messages("C01SRE"); len(m) != 5 || m[0].To != "U01JANE" {
			t.Errorf("Jane sees %+v", m)
		}
		hook = s.ResponseURL("C01SRE", "U01JANE", "")
		time.Sleep(HookLife + time.Second)
		if code := answer(); code != 404 {
			t.Errorf("after half an hour: %d", code)
		}
	})
}

func TestFaults(t *testing.T) {
	s := New(t, workspace)
	client := http.Client{Timeout: 5 * time.Second}
	call := func() (status int, body string, err error) {
		f := post("U01JANE", "x")
		f.Set("token", s.BotToken)
		resp, err := client.PostForm(s.APIURL+"chat.postMessage", f)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(raw), err
	}
	for _, c := range []struct {
		name   string
		fault  Fault
		posted int
		status int
		body   string
	}{
		{"cut before", CutBefore, 0, 0, ""}, {"cut after", CutAfter, 1, 0, ""},
		{"502 before", Status5xx(502), 0, 502, "<html>"}, {"502 after", Status5xxAfter(502), 1, 502, "<html>"},
		{"HTML", HTML, 0, 200, HTML.Body}, {"cut JSON", CutJSON, 1, 200, CutJSON.Body}, {"empty", Empty, 0, 200, "{}"},
		{"limited", Limited, 0, 429, Limited.Body}, {"a code", Fails("fatal_error"), 0, 200, `{"error":"fatal_error","ok":false}`},
	} {
		before := len(s.Messages("U01JANE"))
		s.Fault("chat.postMessage", c.fault)
		status, body, err := call()
		if status != c.status || body != c.body || (err != nil) != (c.status == 0) {
			t.Errorf("%s: %d %q %v", c.name, status, body, err)
		}
		if got := len(s.Messages("U01JANE")) - before; got != c.posted {
			t.Errorf("%s: %d posted, want %d", c.name, got, c.posted)
		}
	}
	s.Always("*", Fails("service_unavailable"))
	for range 3 {
		if _, body, _ := call(); !strings.Contains(body, "service_unavailable") {
			t.Error(body)
		}
	}
	s.Heal()
	if _, body, _ := call(); !strings.Contains(body, `"ok":true`) {
		t.Error(body)
	}
	s.Fault("chat.postMessage", HangAfter)
	client.Timeout = 100 * time.Millisecond
	if _, _, err := call(); err == nil {
		t.Error("a hanging Slack answers")
	}
}
