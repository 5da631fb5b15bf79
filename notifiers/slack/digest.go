package slack

import (
	"github.com/slack-go/slack"

	"callchain/notifiers"
)

// actionAckAll acknowledges what a digest names.
const actionAckAll = "ack_all"

// digest is the message of a storm. The button comes before the list: it must not
// be below the end of a phone's screen.
func digest(m notifiers.Message) []slack.Block {
	b := digestHead(m)
	if lines := notifiers.StormLines(m); len(lines) > 0 {
		b.plain(append([]string{notifiers.StormSince(m, m.Incident.OpenedAt)}, lines...))
	}
	b.listPage(m)
	b.context(escape(notifiers.Footer(m)))
	return b.blocks
}

// digestHead is all of it but the list.
func digestHead(m notifiers.Message) *builder {
	var b builder
	b.header(notifiers.Headline(m))
	if member := member(m); m.Ref.TS != "" && !m.Edit {
		b.section(mention(member, "")) // in the thread: so it rings
	}
	b.section(escape(notifiers.StormLead(m)))
	b.section(bold(escape(notifiers.StormNext(m))))
	if s := m.Digest; s != nil && s.Token != "" && s.Asks > 0 && len(s.Token) <= maxValue {
		words := notifiers.StormButton(s)
		b.blocks = append(b.blocks, slack.NewActionBlock("", button(actionAckAll, words, words+" of this digest", s.Token).WithStyle(slack.StylePrimary)))
	}
	return &b
}

func (b *builder) listPage(m notifiers.Message) {
	if m.Digest == nil {
		return
	}
	if url, ok := notifiers.Link(notifiers.Untrusted(m.Digest.Page)); ok {
		b.section(link(url, "All incidents"))
	}
}
