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

func TestButtons(t *testing.T) {
	want := map[string]string{
		"page": "ack escalate", "page second step": "ack escalate", "page escalated past": "ack escalate", "page last step": "ack escalate",
		"page second round": "ack escalate", "page exhausted": "ack escalate", "page on hold": "ack escalate", "page many alerts": "ack escalate",
		"page snoozed": "ack", "page test": "ack", "page drill": "ack escalate", "reminder": "ack escalate", "reminder still on it": "ack",
		"board": "ack escalate", "board escalated": "ack escalate", "board exhausted": "ack escalate",
		"digest": "ack_all", "digest in part answered": "ack_all", "digest of many": "ack_all", "digest that rings": "ack_all", "digest that reminds": "ack_all",
	}
	for _, c := range notifierstest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			for rung, r := range []rendered{render(c.Message), minimal(c.Message)} {
				var got []string
				for _, b := range elements(t, r) {
					got = append(got, b.ActionID)
					token, reads := c.Message.Incident.Token, "Acknowledge"
					if s := c.Message.Digest; s != nil {
						token, reads = s.Token, notifiers.StormButton(s)
					}
					if len(got) == 1 && b.Text.Text != reads {
						t.Errorf("the first button reads %q", b.Text.Text)
					}
					if b.Value != token {
						t.Errorf("the button %s carries %q", b.ActionID, b.Value)
					}
				}
				if strings.Join(got, " ") != want[c.Name] {
					t.Errorf("rung %d: buttons %q, want %q", rung, got, want[c.Name])
				}
			}
		})
	}
}

// TestBoardMentions: people with a known id are mentioned, the others named.
func TestBoardMentions(t *testing.T) {
	in := notifierstest.Incident()
	in.Paged = append(in.Paged, notifiers.Paged{Name: "Mei <!here>", As: "manager", Step: 2})
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
	for _, kind := range []notifiers.Kind{notifiers.Page, notifiers.Reminder, notifiers.Told, notifiers.Board, notifiers.Thread, notifiers.Notice, notifiers.Report, notifiers.Digest} {
		for _, state := range []notifiers.State{notifiers.Triggered, notifiers.Acknowledged, notifiers.Resolved} {
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
var markupAllowed = regexp.MustCompile(`<@U01(JANE|RAVI)>|<!subteam\^S0CTT>|<https?://[^<>| \n]+\|(Runbook|Dashboard|Source|Silence in Alertmanager|Incident page|All incidents)>`)

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
	Type     string
	Text     *textObject
	Elements []struct {
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

// validate holds a rendering against Slack's limits and our promises.
func validate(r rendered) error {
	if r.text == "" || utf8.RuneCountInString(string(r.text)) > maxText {
		return fmt.Errorf("text has %d characters", utf8.RuneCountInString(string(r.text)))
	}
	if err := inert(string(r.text)); err != nil {
		return fmt.Errorf("text: %w", err)
	}
	all, err := decode(r)
	if err != nil {
		return err
	}
	if len(all) > 50 {
		return fmt.Errorf("%d blocks", len(all))
	}
	object := func(o *textObject, max int) error {
		switch n := utf8.RuneCountInString(o.Text); {
		case n == 0 || n > max:
			return fmt.Errorf("a text of %d characters, want 1 to %d", n, max)
		case !utf8.ValidString(o.Text):
			return fmt.Errorf("invalid UTF-8")
		case o.Type == "plain_text":
			return nil
		case o.Type != "mrkdwn":
			return fmt.Errorf("text type %q", o.Type)
		case !o.Verbatim:
			return fmt.Errorf("mrkdwn that is not verbatim: %.80q", o.Text)
		}
		return inert(o.Text)
	}
	primary := 0
	for i, b := range all {
		var err error
		switch b.Type {
		case "header":
			if err = object(b.Text, 150); err == nil && b.Text.Type != "plain_text" {
				err = fmt.Errorf("a header must be plain text")
			}
		case "section":
			err = object(b.Text, 3000)
		case "context":
			if len(b.Elements) < 1 || len(b.Elements) > 10 {
				err = fmt.Errorf("%d elements", len(b.Elements))
			}
			for _, e := range b.Elements {
				o := textObject{e.Type, e.Text.Text, e.Verbatim}
				if err == nil {
					err = object(&o, 3000)
				}
			}
		case "actions":
			primary++
			if len(b.Elements) < 1 || len(b.Elements) > 25 {
				err = fmt.Errorf("%d elements", len(b.Elements))
			}
			for _, e := range b.Elements {
				if err == nil {
					err = object(&e.Text, 75)
				}
				if n := utf8.RuneCountInString(e.Value); err == nil && (n == 0 || n > 2000) {
					err = fmt.Errorf("a value of %d characters", n)
				}
				if utf8.RuneCountInString(e.Spoken) > 75 {
					err = fmt.Errorf("an accessibility label of %d characters", utf8.RuneCountInString(e.Spoken))
				}
			}
		default:
			err = fmt.Errorf("unknown type %q", b.Type)
		}
		if err != nil {
			return fmt.Errorf("block %d (%s): %w", i, b.Type, err)
		}
	}
	if primary > 1 {
		return fmt.Errorf("%d sets of buttons", primary)
	}
	return nil
}
