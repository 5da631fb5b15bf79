package slack

import (
	"context"
	"fmt"
	"time"

	"github.com/slack-go/slack"

	"callchain/notifiers"
)

const (
	lookUpTime  = 2 * time.Second // of an attempt: a look-up that hangs must leave time to send
	lookUpPages = 2
	lookUpPage  = 200              // messages
	clocksApart = time.Minute      // the store's clock and Slack's
	lackingTime = 10 * time.Minute // after that it is asked again whether the app has got the scope
)

// find looks for a message that an earlier attempt perhaps posted, of this process
// or of another one, by the delivery's id in its metadata. What it does not find,
// for whatever reason, is posted again: twice is better than not at all.
func (n *Notifier) find(ctx context.Context, api *slack.Client, m notifiers.Message) (notifiers.Ref, bool) {
	if m.PerhapsSince.IsZero() || m.Edit || m.ID == "" {
		return notifiers.Ref{}, false
	}
	if m.Kind == notifiers.Thread {
		// All lines of a thread have one id: a line that is there says nothing about the next.
		return notifiers.Ref{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpTime)
	defer cancel()
	conversation := n.conversation(ctx, api, m)
	if conversation == "" {
		return notifiers.Ref{}, false
	}
	scope := "history " + conversation
	if conversation[0] == 'D' {
		scope = "history D" // one scope for all direct messages
	}
	if n.lacks(scope) {
		return notifiers.Ref{}, false
	}
	cursor := ""
	for range lookUpPages {
		page, next, err := read(ctx, api, conversation, m, cursor)
		if err != nil {
			n.learnLack(scope, err)
			return notifiers.Ref{}, false
		}
		for _, posted := range page {
			if posted.Metadata.EventType == eventType && posted.Metadata.EventPayload["d"] == m.ID && posted.Timestamp != "" {
				n.logger.Info("found a message of which it was in doubt whether it had arrived", "incident", m.Incident.ID, "kind", string(m.Kind))
				return notifiers.Ref{Channel: conversation, TS: posted.Timestamp}, true
			}
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	return notifiers.Ref{}, false
}

// read reads a page of a conversation, or of the thread that the message joins.
func read(ctx context.Context, api *slack.Client, conversation string, m notifiers.Message, cursor string) ([]slack.Message, string, error) {
	oldest := fmt.Sprintf("%d.000000", m.PerhapsSince.Add(-clocksApart).Unix())
	if m.Ref.TS != "" {
		page, _, next, err := api.GetConversationRepliesContext(ctx, &slack.GetConversationRepliesParameters{
			ChannelID: conversation, Timestamp: m.Ref.TS, Limit: lookUpPage, IncludeAllMetadata: true, Oldest: oldest, Cursor: cursor,
		})
		return page, next, err
	}
	page, err := api.GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{
		ChannelID: conversation, Limit: lookUpPage, IncludeAllMetadata: true, Oldest: oldest, Cursor: cursor,
	})
	if err != nil {
		return nil, "", err
	}
	return page.Messages, page.ResponseMetaData.NextCursor, nil
}

// conversation is the id of the conversation in which a message would be; "" if it
// cannot be told.
func (n *Notifier) conversation(ctx context.Context, api *slack.Client, m notifiers.Message) string {
	if m.Ref.Channel != "" {
		return m.Ref.Channel
	}
	if member(m) == "" {
		if id := n.target(m.Address); !named(id) {
			return id
		}
		if n.moved(ctx, m.Address) {
			return n.target(m.Address)
		}
		return ""
	}
	n.mu.Lock()
	id := n.direct[m.Address]
	n.mu.Unlock()
	if id != "" || n.lacks("open") {
		return id
	}
	opened, _, _, err := api.OpenConversationContext(ctx, &slack.OpenConversationParameters{Users: []string{m.Address}})
	if err != nil {
		n.learnLack("open", err)
		return ""
	}
	n.mu.Lock()
	n.direct[m.Address] = opened.ID
	n.mu.Unlock()
	return opened.ID
}

// lacks tells whether Slack said lately that the token has no scope for something.
func (n *Notifier) lacks(what string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Now().Before(n.lacking[what])
}

func (n *Notifier) learnLack(what string, err error) {
	if code(err) != "missing_scope" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.lacking) > 10_000 {
		clear(n.lacking)
	}
	n.lacking[what] = time.Now().Add(lackingTime)
}
