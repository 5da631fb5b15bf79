package slack

import (
	"github.com/slack-go/slack"

	"callchain/notifiers"
)

// digest is the message of a storm. The button comes before the list: it must not
// be below the end of a phone's screen.
func digest(m notifiers.Message) []slack.Block {
	b := digestHead(m)
	if lines := notifiers.StormLines(m); len(lines) > 0 {
		b.plain(append([]string{notifiers.StormSince(m, m.Incident.OpenedAt)}, lines...))
	}
	b.plain([]string{notifiers.StormLeft(m)}) // apart: a list that is too long is cut
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
	b.section(bold(upcoming(m)))
	if s := m.Digest; s != nil && s.Token != "" && s.Asks > 0 && len(s.Token) <= maxValue {
		e := button(ActionAckAll, s.Token, "of this digest")
		words := notifiers.StormButton(s)
		e.Text, e.AccessibilityLabel = plainText(words), words+" of this digest"
		b.blocks = append(b.blocks, slack.NewActionBlock(blockID(m.ID), e.WithStyle(slack.StylePrimary)))
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
