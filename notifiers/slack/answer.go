package slack

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/slack-go/slack"

	"callchain/notifiers"
)

// Answer is what a command shows to whoever typed it, and to nobody else.
type Answer struct {
	Title string
	Lines []AnswerLine
	Sheet string // lines as a terminal has them, columns and all
	Items []Item
	Last  string // what is left out, or what to do next
	Now   time.Time
}

// AnswerLine is a line with a name in front and perhaps an instant in it, which
// is shown by the reader's own clock.
type AnswerLine struct {
	Name, Before string
	At           time.Time
	After        string
}

// Item is an incident; with a token it can be acknowledged there.
type Item struct {
	ID, Title, Text string
	Token           string
}

// Limits of an answer, below Slack's.
const (
	maxItems = 20
	maxSheet = 10 // sections of one sheet
)

// Payload is the answer as Slack takes it.
func (a Answer) Payload() any {
	var b builder
	b.section(bold(escape(notifiers.Clean(a.Title, maxHeader))))
	b.lines(a)
	b.sheet(a.Sheet)
	for i, it := range a.Items {
		if i == maxItems {
			break
		}
		b.item(it)
	}
	b.context(escape(notifiers.CleanText(a.Last, maxSection)))
	if len(b.blocks) > maxBlocks {
		b.blocks = b.blocks[:maxBlocks]
	}
	text := []string{notifiers.Clean(a.Title, maxHeader)}
	for _, it := range a.Items[:min(len(a.Items), 3)] {
		text = append(text, notifiers.Clean(it.ID+" "+it.Title, maxHeader))
	}
	said := truncate(escape(strings.Join(text, "\n")), maxText)
	if said == "" {
		said = "callchain"
	}
	return map[string]any{"response_type": "ephemeral", "text": said, "blocks": b.blocks}
}

// lines puts as many lines into each section as it holds.
func (b *builder) lines(a Answer) {
	var all mrkdwn
	for _, l := range a.Lines {
		next := bold(escape(notifiers.Clean(l.Name, maxHeader)))
		if next != "" && (l.Before != "" || !l.At.IsZero()) {
			next += ":"
		}
		rest := escape(notifiers.Clean(l.Before, maxReason))
		if !l.At.IsZero() {
			rest = joined(" ", rest, date(l.At, a.Now)) + escape(notifiers.Clean(l.After, maxReason))
		}
		if next = joined(" ", next, rest); len(all)+len(next) > maxSection {
			b.section(all)
			all = ""
		}
		all = joined("\n", all, next)
	}
	b.section(all)
}

// sheet shows text in columns. Nothing in it can end the fence.
func (b *builder) sheet(s string) {
	const room = maxSection - 10
	var part mrkdwn
	sections := 0
	flush := func() {
		if part != "" && sections < maxSheet {
			b.section("```\n" + part + "\n```")
			sections++
		}
		part = ""
	}
	for line := range strings.Lines(strings.ReplaceAll(notifiers.CleanColumns(s, maxSheet*maxSection), "`", "'")) {
		next := truncate(escape(strings.TrimRight(line, "\n")), room)
		if utf8.RuneCountInString(string(part))+utf8.RuneCountInString(string(next))+1 > room {
			flush()
		}
		if part != "" {
			part += "\n"
		}
		part += next
	}
	flush()
}

func (b *builder) item(it Item) {
	said := joined("\n", bold(escape(notifiers.Clean(it.Title, maxHeader))), escape(notifiers.CleanText(it.Text, maxReason)))
	if said == "" || said == "**" {
		return
	}
	section := slack.NewSectionBlock(markup(truncate(said, maxSection)), nil, nil)
	if it.Token != "" && len([]rune(it.Token)) <= maxValue {
		e := button(ActionAck, it.Token, notifiers.Clean(it.ID, 40)+", "+notifiers.Clean(it.Title, maxButton))
		section.Accessory = slack.NewAccessory(e)
	}
	b.blocks = append(b.blocks, section)
}
