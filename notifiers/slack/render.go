package slack

import (
	"strings"
	"unicode/utf8"

	"github.com/slack-go/slack"

	"callchain/notifiers"
)

// Slack's limits, in characters.
const (
	maxBlocks  = 50
	maxSection = 3000
	maxHeader  = 150
	maxButton  = 75
	maxValue   = 2000
	maxOption  = 75   // the value of an option; twice as much by newer documentation
	maxConfirm = 300  // the text of a dialog
	maxText    = 4000 // of chat.update, the stricter of the two
)

// eventType is the metadata's type. A dot in it would lose the metadata.
const eventType = "callchain_page"

// rendered is a message as Slack takes it. Text is what notifications and
// screen readers get: it is complete in itself.
type rendered struct {
	text   mrkdwn
	blocks []slack.Block
}

// render shows all there is to say.
func render(m notifiers.Message) rendered {
	out := rendered{text: text(m)}
	switch m.Kind {
	case notifiers.Notice:
		out.blocks = notice(m)
	case notifiers.Report:
		out.blocks = paper(m)
	case notifiers.Thread:
		out.blocks = timeline(m)
	case notifiers.Reminder, notifiers.Told, notifiers.Question:
		out.blocks = short(m)
	default:
		out.blocks = full(m)
	}
	out.blocks = fit(out.blocks)
	return out
}

// minimal is what remains when Slack refuses the whole: what, why, next and the
// buttons, without anything that another system wrote a link into.
func minimal(m notifiers.Message) rendered {
	out := rendered{text: text(m)}
	switch m.Kind {
	case notifiers.Notice, notifiers.Thread, notifiers.Report:
		out.blocks = paragraphs(string(text(m)), 1)
	default:
		out.blocks = short(m)
	}
	return out
}

func text(m notifiers.Message) mrkdwn {
	t := escape(notifiers.Sentence(m))
	switch m.Kind {
	case notifiers.Reminder, notifiers.Question:
		t = joined(" ", mention(member(m), ""), t)
	case notifiers.Thread:
		t = joined(" ", mentions(m), t)
	}
	if t == "" {
		t = "callchain"
	}
	return truncate(t, maxText)
}

// member is the member id of the person a message is for, if it is known.
func member(m notifiers.Message) string {
	if memberID.MatchString(m.Address) {
		return m.Address
	}
	return ""
}

// full is a page or a board.
func full(m notifiers.Message) []slack.Block {
	in := m.Incident
	var b builder
	b.header(notifiers.Headline(m))
	b.section(bold(escape(notifiers.Status(m))))
	if m.You == nil {
		b.section(group(m.Usergroup))
	}
	b.section(joined("\n", escape(notifiers.Summary(in)), escape(notifiers.Subject(in))))
	b.section(joined("\n", escape(notifiers.Why(m)), escape(notifiers.Unanswered(m)), escape(notifiers.MayComeTwice(m))))
	b.section(bold(upcoming(m)))
	b.actions(m)
	if m.You == nil {
		b.section(paged(m))
	}
	b.section(lines(notifiers.Ownership(in)))
	b.section(lines(notifiers.Notes(in)))
	if alerts := notifiers.AlertLines(in, m.Now); len(alerts) > 0 {
		b.plain(append([]string{notifiers.AlertCount(in)}, alerts...))
	}
	b.links(notifiers.Places(in))
	b.context(joined("\n", escape(notifiers.HowTo(m)), escape(notifiers.Footer(m))))
	return b.blocks
}

// short is a reminder, and any page in its smallest form.
func short(m notifiers.Message) []slack.Block {
	var b builder
	b.header(notifiers.Headline(m))
	if m.Kind == notifiers.Reminder || m.Kind == notifiers.Question {
		b.section(joined(" ", mention(member(m), ""), escape(notifiers.Sentence(m))))
	} else {
		b.section(bold(escape(notifiers.Status(m))))
		b.section(escape(notifiers.Why(m)))
		b.section(bold(upcoming(m)))
	}
	b.actions(m)
	b.context(escape(notifiers.Footer(m)))
	return b.blocks
}

func notice(m notifiers.Message) []slack.Block {
	var b builder
	b.header(notifiers.Headline(m))
	if m.Notice != nil {
		b.blocks = append(b.blocks, paragraphs(notifiers.CleanText(string(m.Notice.Body), 40*maxSection), 40)...)
	}
	return b.blocks
}

// What a report may take of a message: some room is left below Slack's limits.
const (
	maxReport      = 45   // blocks
	maxReportChars = 8000 // of all its texts together: more nobody reads there, and Slack refuses the whole at some point
)

// paper is the weekly report: a title and plain lines for each section, as many
// sections as fit. What does not fit is counted, and it is said where it is.
func paper(m notifiers.Message) []slack.Block {
	var b builder
	b.header(notifiers.Headline(m))
	p := m.Report
	if p == nil {
		return b.blocks
	}
	var lead []string
	for _, l := range p.Lead[:min(len(p.Lead), 10)] {
		lead = append(lead, notifiers.Clean(string(l), 500))
	}
	b.blocks = append(b.blocks, paragraphs(strings.Join(lead, "\n\n"), 3)...)
	chars := runes(lead)
	for i, s := range p.Sections {
		said, left := fitting(s)
		if more := notifiers.LeftOut(left, "", p.More); more != "" {
			said = append(said, more)
		}
		chars += runes(said) + runes([]string{s.Title})
		// A section is its title and one block; one block more says that there is more.
		if len(b.blocks)+3 > maxReport || chars > maxReportChars {
			b.plain([]string{notifiers.LeftOut(len(p.Sections)-i, "sections", p.More)})
			break
		}
		b.section(bold(escape(notifiers.Clean(s.Title, maxHeader))))
		b.plain(said)
	}
	return b.blocks
}

func runes(texts []string) int {
	n := 0
	for _, t := range texts {
		n += utf8.RuneCountInString(t)
	}
	return n
}

// fitting are the first lines of a section that fit into one block, and how many do not.
func fitting(s notifiers.Section) (said []string, left int) {
	room := maxSection - 600 // for where the rest is
	for i, l := range s.Lines {
		line := notifiers.CleanText(string(l), 1000)
		room -= utf8.RuneCountInString(line) + 1
		if room < 0 {
			return said, s.Left + len(s.Lines) - i
		}
		said = append(said, line)
	}
	return said, s.Left
}

// maxLines is how many lines of the timeline one message takes; the newest stay.
const maxLines = 100

func timeline(m notifiers.Message) []slack.Block {
	var said []string
	for _, l := range m.Lines[max(0, len(m.Lines)-maxLines):] {
		said = append(said, notifiers.TimelineLine(l))
	}
	var b builder
	b.section(mentions(m))
	b.plain(said)
	return b.blocks
}

// mentions are those whom a line of the timeline concerns.
func mentions(m notifiers.Message) mrkdwn {
	var out []mrkdwn
	for _, member := range m.Mention[:min(len(m.Mention), 20)] {
		out = append(out, mention(member, ""))
	}
	return joined(" ", out...)
}

// ring tells whether a thread message is worth the whole channel's attention.
func ring(m notifiers.Message) bool {
	for _, l := range m.Lines {
		if l.Ring {
			return true
		}
	}
	return m.Kind == notifiers.Reminder || m.Kind == notifiers.Question
}

// upcoming is what happens next, by the reader's own clock and in UTC.
func upcoming(m notifiers.Message) mrkdwn {
	t := notifiers.Coming(m)
	if t.At.IsZero() {
		return ""
	}
	return escape(t.Before) + date(t.At, m.Now) + escape(t.After)
}

func paged(m notifiers.Message) mrkdwn {
	var out []mrkdwn
	for i, p := range m.Incident.Paged {
		if i == 20 {
			out = append(out, "and more")
			break
		}
		who, rest := notifiers.PagedLine(p, m.Now)
		out = append(out, mention(p.SlackID, who)+escape(rest))
	}
	return joined("\n", out...)
}

func lines(said []string) mrkdwn {
	var out []mrkdwn
	for _, s := range said {
		out = append(out, escape(s))
	}
	return joined("\n", out...)
}

// builder collects blocks and leaves out what is empty: Slack refuses an empty text.
type builder struct{ blocks []slack.Block }

func (b *builder) header(s string) {
	if s = notifiers.Shorten(s, maxHeader); s != "" {
		b.blocks = append(b.blocks, slack.NewHeaderBlock(plainText(s)))
	}
}

func (b *builder) section(m mrkdwn) {
	if m != "" && m != "**" {
		b.blocks = append(b.blocks, slack.NewSectionBlock(markup(truncate(m, maxSection)), nil, nil))
	}
}

func (b *builder) context(m mrkdwn) {
	if m != "" {
		b.blocks = append(b.blocks, slack.NewContextBlock("", markup(truncate(m, maxSection))))
	}
}

// plain shows lines as plain text, where nothing is markup, in as many sections
// as they need.
func (b *builder) plain(said []string) {
	b.blocks = append(b.blocks, paragraphs(strings.Join(said, "\n"), 10)...)
}

// links puts the links on one line; one that does not fit begins a new section.
func (b *builder) links(places []notifiers.Place) {
	var line mrkdwn
	for _, p := range places {
		next := escape(p.Label + ": " + p.Text)
		if p.URL != "" {
			next = link(p.URL, p.Label)
		}
		if len(next) > maxSection { // its escaped form grew too long to be a link
			next = truncate(escape(p.Label+": "+p.Text), 500)
		}
		if len(line)+len(next)+3 > maxSection {
			b.section(line)
			line = ""
		}
		line = joined(" | ", line, next)
	}
	b.section(line)
}

// paragraphs splits text at line ends into plain sections, at most n of them.
func paragraphs(s string, n int) []slack.Block {
	var out []slack.Block
	for s = strings.Trim(s, "\n"); s != "" && len(out) < n; s = strings.TrimLeft(s, "\n") {
		part := []rune(s)
		if len(part) > maxSection {
			part = part[:maxSection]
			for i := len(part) - 1; i > maxSection/2; i-- {
				if part[i] == '\n' {
					part = part[:i]
					break
				}
			}
		}
		s = s[len(string(part)):]
		out = append(out, slack.NewSectionBlock(plainText(string(part)), nil, nil))
	}
	return out
}

func plainText(s string) *slack.TextBlockObject {
	return slack.NewTextBlockObject(slack.PlainTextType, strings.ToValidUTF8(s, "\uFFFD"), false, false)
}

// markup is the only maker of mrkdwn objects. Verbatim keeps Slack from finding
// names and channels in the text by itself.
func markup(m mrkdwn) *slack.TextBlockObject {
	return slack.NewTextBlockObject(slack.MarkdownType, string(m), false, true)
}
