package slack

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"callchain/notifiers"
	"callchain/notifiers/notifierstest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestRender holds each kind in each state against a file of its own.
func TestRender(t *testing.T) {
	for _, c := range notifierstest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			r := render(c.Message)
			if err := validate(r); err != nil {
				t.Error(err)
			}
			var b bytes.Buffer
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			if err := enc.Encode(map[string]any{"text": r.text, "blocks": r.blocks}); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", strings.ReplaceAll(c.Name, " ", "-")+".json")
			if *update {
				if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("%s changed (-want +got); look at it, then run with -update:\n%s", golden, diff)
			}
		})
	}
}

// TestControls says for every case what can be pressed; the menu stands in brackets.
func TestControls(t *testing.T) {
	const firing = "ack escalate [escalate_to reassign snooze disown declare]"
	const mine = "unack resolve note [escalate_to reassign snooze disown declare]"
	want := map[string]string{
		"page": firing, "page second step": firing, "page escalated past": firing, "page of the round before": firing, "page last step": firing, "page second round": firing,
		"page on hold": firing, "page flapping": firing, "page unowned": firing, "reminder": firing,
		"page exhausted":   "ack [escalate_to reassign snooze disown declare]",
		"page many alerts": "ack escalate [escalate_to reassign snooze disown]", // is unbreak now
		"page test":        "ack", "page drill": "ack escalate",
		"page acknowledged by you": mine, "board acknowledged": mine,
		"page to one asked besides": "ack", "reminder to one asked besides": "ack", "question": "still_on unack",
		"page snoozed": "ack resume [escalate_to reassign snooze declare]", "board snoozed": "ack resume [escalate_to reassign snooze declare]",
		"board": firing, "board escalated": firing, "board on hold": firing, "board flapping": firing, "board unowned": firing, "board unreachable person": firing,
		"board exhausted":                   "ack [escalate_to reassign snooze disown declare]",
		"board notify":                      "[escalate_to disown declare]",
		"page by hand of what wakes nobody": "ack [escalate_to disown declare]", "board notify asked by hand": "ack [escalate_to disown declare]",
		"digest": "ack_all", "digest in part answered": "ack_all", "digest of many": "ack_all", "digest that rings": "ack_all", "digest that reminds": "ack_all",
	}
	for _, c := range notifierstest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			for rung, r := range []rendered{render(c.Message), minimal(c.Message)} {
				var got []string
				for i, e := range elements(t, r) {
					if e.Type == "overflow" {
						var menu []string
						for _, o := range e.Options {
							action, token, _ := strings.Cut(o.Value, "|")
							menu = append(menu, action)
							if token != c.Message.Incident.Token || o.Text.Text == "" {
								t.Errorf("the option %s carries %q and reads %q", action, token, o.Text.Text)
							}
						}
						got = append(got, "["+strings.Join(menu, " ")+"]")
						continue
					}
					got = append(got, e.ActionID)
					if s := c.Message.Digest; s != nil {
						if e.Value != s.Token || e.Text.Text != notifiers.StormButton(s) {
							t.Errorf("the button %s carries %q and reads %q", e.ActionID, e.Value, e.Text.Text)
						}
						continue
					}
					if e.Value != c.Message.Incident.Token {
						t.Errorf("the button %s carries %q", e.ActionID, e.Value)
					}
					if asks := e.ActionID == ActionAck && e.Text.Text == "Acknowledge"; asks != (e.ActionID == ActionAck) || asks && i != 0 {
						t.Errorf("button %d reads %q", i, e.Text.Text)
					}
				}
				if strings.Join(got, " ") != want[c.Name] {
					t.Errorf("rung %d: %q, want %q", rung, strings.Join(got, " "), want[c.Name])
				}
			}
		})
	}
}

// TestNoMenuForALongToken: an option of the menu holds less than a button.
func TestNoMenuForALongToken(t *testing.T) {
	in := notifierstest.Incident()
	in.Token = strings.Repeat("x", maxOption)
	buttons, menu := controls(notifierstest.To(notifiers.Page, notifierstest.Jane(), in))
	if len(buttons) != 2 || menu != nil {
		t.Errorf("buttons %q, menu %q", buttons, menu)
	}
}

// TestBoardMentions: people with a known id are mentioned, the others named.
func TestBoardMentions(t *testing.T) {
	in := notifierstest.Incident()
	in.Paged, in.Step = append(in.Paged, notifiers.Paged{Name: "Mei <!here>", As: "manager", Step: 2}), 2
	m := notifierstest.To(notifiers.Board, nil, in)
	m.Usergroup = "S0CTT"
	all := blocksText(t, render(m))
	for _, want := range []string{"<@U01JANE>", "<!subteam^S0CTT>", "Mei &lt;!here&gt;"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in the board", want)
		}
	}
}

// TestHostile puts what others may write into every place they can reach.
func TestHostile(t *testing.T) {
	for i, s := range notifierstest.HostileTexts {
		t.Run(fmt.Sprint(i), func(t *testing.T) { checkHostile(t, s) })
	}
}

func FuzzRender(f *testing.F) {
	for _, s := range notifierstest.HostileTexts {
		f.Add(s[:min(len(s), 500)]) // the long ones are in TestHostile; here they slow the search down
	}
	f.Fuzz(checkHostile)
}

func checkHostile(t *testing.T, s string) {
	if memberID.MatchString(s) || groupID.MatchString(s) {
		return // an id where an id belongs is a mention, as it should be
	}
	for _, kind := range []notifiers.Kind{notifiers.Page, notifiers.Reminder, notifiers.Question, notifiers.Told, notifiers.Board, notifiers.Thread, notifiers.Notice, notifiers.Report, notifiers.Digest} {
		for _, state := range []notifiers.State{notifiers.Triggered, notifiers.Acknowledged, notifiers.Snoozed, notifiers.Resolved} {
			m := notifierstest.Hostile(kind, s)
			m.Incident.State = state
			for rung, r := range []rendered{render(m), minimal(m), {text: text(m)}} {
				if err := validate(r); err != nil {
					t.Errorf("%s %s, rung %d, %.60q: %v", kind, state, rung, s, err)
				}
			}
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range notifierstest.HostileTexts {
		f.Add(s, 100)
	}
	f.Fuzz(func(t *testing.T, s string, max int) {
		max = 1 + max&0xfff
		for _, m := range []mrkdwn{escape(s), truncate(escape(s), max), truncate("<@U01JANE> "+escape(s), max)} {
			if err := inert(string(m)); err != nil {
				t.Errorf("%q: %v", m, err)
			}
		}
		if n := utf8.RuneCountInString(string(truncate(escape(s), max))); n > max {
			t.Errorf("%d characters, want at most %d", n, max)
		}
	})
}

func TestTruncate(t *testing.T) {
	for _, c := range []struct {
		name string
		in   mrkdwn
		max  int
		want mrkdwn
	}{
		{"fits", "abc", 3, "abc"},
		{"cut", "abcd", 3, "ab…"},
		{"not inside an entity", "a&amp;b", 4, "a…"},
		{"an entity that fits stays", "a&amp;bc", 7, "a&amp;…"},
		{"not inside a mention", "a <@U01JANE> b", 8, "a …"},
		{"runes, not bytes", "日本語です", 3, "日本…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := truncate(c.in, c.max); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestTimelineKeepsTheNewestLines(t *testing.T) {
	m := notifiers.Message{Kind: notifiers.Thread}
	for i := range 2 * maxLines {
		m.Lines = append(m.Lines, notifiers.Line{At: notifierstest.Opened, Text: notifiers.Untrusted(fmt.Sprintf("line %d.", i))})
	}
	all := blocksText(t, render(m))
	if !strings.Contains(all, fmt.Sprintf("line %d.", 2*maxLines-1)) || strings.Contains(all, "line 0.") {
		t.Error("the newest lines must stay, the oldest must go")
	}
}

// markupAllowed is what this package itself puts into angle brackets, with ids
// and URLs of the cases only.
var markupAllowed = regexp.MustCompile(`<@U01(JANE|RAVI)>|<!subteam\^S0CTT>|` +
	`<!date\^\d+\^(\{date_short_pretty\} )?\{time\} your time \([A-Za-z0-9 :]+ UTC\)\|[A-Za-z0-9 :]+ UTC>|<https?://[^<>| \n]+\|(Runbook|Dashboard|Source|Silence in Alertmanager|Incident page|All incidents)>`)

var entity = regexp.MustCompile(`&(amp|lt|gt);`)

// inert tells whether text holds no markup but ours.
func inert(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("invalid UTF-8")
	}
	rest := markupAllowed.ReplaceAllString(s, "")
	if strings.ContainsAny(rest, "<>") {
		return fmt.Errorf("a bare angle bracket in %.200q", rest)
	}
	if strings.Contains(entity.ReplaceAllString(s, ""), "&") {
		return fmt.Errorf("a bare ampersand in %.200q", s)
	}
	return nil
}

type element struct {
	Type     string
	Text     textObject
	ActionID string `json:"action_id"`
	Value    string
	Spoken   string `json:"accessibility_label"`
	Confirm  *struct{ Title, Text, Confirm, Deny textObject }
	Options  []option
	Groups   []struct {
		Label   textObject
		Options []option
	} `json:"option_groups"`
	Max    int    `json:"max_length"`
	Begins string `json:"initial_value"`
}

type option struct {
	Text  textObject
	Value string
}

type textObject struct {
	Type, Text string
	Verbatim   bool
}

// UnmarshalJSON reads an object; context elements have a plain string as text.
func (o *textObject) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &o.Text)
	}
	type plain textObject
	return json.Unmarshal(b, (*plain)(o))
}

type block struct {
	Type      string
	ID        string `json:"block_id"`
	Text      *textObject
	Label     *textObject
	Hint      *textObject
	Element   *element
	Accessory *element
	Elements  []struct {
		element
		Verbatim bool
	}
}

func decode(r rendered) ([]block, error) {
	raw, err := json.Marshal(r.blocks)
	if err != nil {
		return nil, err
	}
	var out []block
	return out, json.Unmarshal(raw, &out)
}

func elements(t *testing.T, r rendered) []element {
	t.Helper()
	all, err := decode(r)
	if err != nil {
		t.Fatal(err)
	}
	var out []element
	for _, b := range all {
		if b.Type == "actions" {
			for _, e := range b.Elements {
				out = append(out, e.element)
			}
		}
	}
	return out
}

func blocksText(t *testing.T, r rendered) string {
	t.Helper()
	all, err := decode(r)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, b := range all {
		if b.Text != nil {
			out = append(out, b.Text.Text)
		}
	}
	return strings.Join(out, "\n")
}
