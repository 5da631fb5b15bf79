package server

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/notifiers/slack"
)

func TestCommand(t *testing.T) {
	now := time.Date(2026, 11, 20, 14, 25, 0, 0, time.UTC)
	for _, tc := range []struct {
		name, user, text string
		change           func(*bench)
		want             []string
		not              string
	}{
		{"nothing", "U01ANA", "", nil, []string{"What /callchain can do", "/callchain oncall", "/callchain override", "/callchain help"}, ""},
		{"help", "U01ANA", " HELP ", nil, []string{"What /callchain can do"}, ""},
		{"unknown", "U01ANA", "oncal", nil, []string{`/callchain knows no \"oncal\".`, "Did you mean oncall?", "/callchain mine"}, ""},
		{"unknown and hostile", "U01ANA", "<!channel>", nil, []string{"&lt;!channel&gt;"}, "<!"},
		{"on call", "U01ANA", "oncall", nil, []string{"Who is on call now", "No team has a schedule"}, ""},
		{"on call for a team", "U01ANA", "oncall sre", nil, []string{"On call for sre", "the whole team, always: ana, ben"}, ""},
		{"on call for a service", "U01ANA", "oncall parsoid", nil, []string{"On call for parsoid", "incident response, sre"}, ""},
		{"on call for nobody known", "U01ANA", "oncall parsoit", nil, []string{"The catalog has no service and no team", "did you mean parsoid?"}, ""},
		{"whois", "U01ANA", "whois ana", nil, []string{"```\\nPerson ana", "ana@example.org"}, ""},
		{"whois nobody", "U01ANA", "whois", nil, []string{"Say who or what"}, ""},
		{"whois unknown", "U01ANA", "whois nobody-at-all", nil, []string{"The catalog has no service, team or person"}, ""},
		{"mine", "U01ANA", "mine", func(b *bench) {
			b.engine.incident.Paged = []escalation.Paged{{Handle: "ana"}}
		}, []string{"Your open incidents", "0c-k7f3k, triggered, page, since 14:25 UTC", "&lt;script&gt;", `"action_id":"ack"`, `"value":"v1|0c-k7f3k|0|0|0"`}, ""},
		{"mine and acknowledged", "U01ANA", "mine", func(b *bench) {
			b.engine.incident.State, b.engine.incident.Ack = escalation.Acknowledged, &escalation.Ack{Actor: escalation.Actor{Handle: "ana"}}
		}, []string{"acknowledged by you"}, `"action_id":"ack"`},
		{"mine, but none", "U01ANA", "mine", nil, []string{"No open incident is yours"}, ""},
		{"page", "U01ANA", "page parsoid the <site> is down", nil, []string{"Paged for parsoid", "00-hand"}, ""},
		{"page what nobody knows", "U01ANA", "page parsoit it is down", nil, []string{"Nobody was paged.", "did you mean parsoid?"}, ""},
		{"page without a word", "U01ANA", "page parsoid", nil, []string{"Say whom and why"}, ""},
		{"page twice at once", "U01ANA", "page parsoid x", func(b *bench) { b.trigger = "used" }, []string{"carried out already"}, ""},
		{"page in shadow", "U01ANA", "page parsoid x", func(b *bench) { b.engine.snap.Config.Shadow = config.At[bool]{V: true} }, []string{"Nobody was paged: callchain runs in shadow"}, ""},
		{"override", "U01ANA", "override", nil, []string{"overrides:", "the-schedule"}, ""},
		{"a guest", "U04GUEST", "whois ana", nil, []string{"Guests of the workspace"}, "ana@example.org"},
		{"a bot", "U05BOT", "page parsoid x", nil, []string{"A bot cannot"}, "Paged"},
		{"store away", "U01ANA", "mine", func(b *bench) { b.engine.unread = errStore }, []string{"store does not answer"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.engine.now, b.engine.incident.OpenedAt = now, escalation.At(now)
			b.slack.users = map[string]slack.User{"U04GUEST": {Guest: true}, "U05BOT": {Bot: true}}
			b.trigger = "1.2.3"
			if tc.change != nil {
				tc.change(b)
			}
			w := b.signed("/slack/commands", url.Values{
				"command": {"/callchain"}, "text": {tc.text}, "user_id": {tc.user}, "user_name": {"x"}, "team_id": {"T1"}, "trigger_id": {b.trigger},
			}.Encode())
			var got struct {
				Type   string `json:"response_type"`
				Text   string
				Blocks []json.RawMessage
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); w.Code != 200 || err != nil || got.Type != "ephemeral" || got.Text == "" || len(got.Blocks) == 0 {
				t.Fatalf("%d %s, %v", w.Code, w.Body, err)
			}
			said := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(w.Body.String())
			for _, want := range tc.want {
				if !strings.Contains(said, want) {
					t.Errorf("no %q in %s", want, said)
				}
			}
			if tc.not != "" && strings.Contains(said, tc.not) {
				t.Errorf("%q in %s", tc.not, said)
			}
		})
	}
}
