package slack

import (
	"unicode/utf8"

	"github.com/slack-go/slack"

	"callchain/notifiers"
)

// Slack refuses a message whose blocks hold too much text together
// (msg_blocks_too_long). It does not say how much that is: people meet it from
// 11,000 characters on, the sooner the more blocks there are.
const (
	maxChars     = 10_000
	perBlock     = 40
	leastSection = 200 // no section is cut to less than this
)

// fit cuts the longest sections until the message is short enough: of twenty
// alerts some are left out, the buttons and the reason stay.
func fit(blocks []slack.Block) []slack.Block {
	blocks = blocks[:min(len(blocks), maxBlocks)]
	for {
		total := 0
		var longest *slack.TextBlockObject
		most := leastSection
		for _, b := range blocks {
			total += perBlock
			section, ok := b.(*slack.SectionBlock)
			if !ok || section.Text == nil {
				continue
			}
			n := utf8.RuneCountInString(section.Text.Text)
			total += n
			if n > most {
				longest, most = section.Text, n
			}
		}
		if total <= maxChars || longest == nil {
			return blocks
		}
		to := max(leastSection, most-max(total-maxChars, 100))
		// Only its text is changed: nobody else has the block.
		if longest.Type == slack.MarkdownType {
			longest.Text = string(truncate(mrkdwn(longest.Text), to))
		} else {
			longest.Text = notifiers.Shorten(longest.Text, to)
		}
	}
}
