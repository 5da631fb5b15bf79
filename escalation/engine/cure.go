package engine

import (
	"context"
	"time"

	"callchain/escalation"
	"callchain/notifiers"
)

// tellCure tells the team that looks after callchain of an address that takes no
// messages until a person does something: once a day, by a notice that is told on
// that team's board, or where boards go that have none.
func (e *Engine) tellCure(d escalation.Delivery, why string) {
	who, stays := d.Address, "Meanwhile what belongs there goes to notifiers.slack.channel, if there is one."
	switch d.Kind {
	case escalation.PageDelivery, escalation.ReminderDelivery, escalation.ToldDelivery, escalation.QuestionDelivery, escalation.DigestDelivery:
		who, stays = d.To, "Meanwhile they are paged over another channel, or, without one, the next step follows at once."
	case escalation.ReportDelivery:
		stays = "The weekly report does not come there."
	case escalation.BoardDelivery, escalation.ThreadDelivery, escalation.NoticeDelivery:
	}
	if who == "" {
		who = "the common board"
	}
	name := map[string]string{notifiers.Slack: "Slack", notifiers.Email: "The mail server"}[d.Channel]
	n := Notice{
		Key:   "cure/" + d.Channel + "/" + who + "/" + e.Now().UTC().Format(time.DateOnly),
		Title: name + " takes no messages for " + who,
		Body:  "The answer is: " + why + "\n" + stays,
	}
	e.work.Go(func() {
		defer e.contain("tell about an address", who)
		e.begin("tell about " + who)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := e.Notice(ctx, n); err != nil {
			e.log.Error("the team that looks after callchain could not be told", "notifier", d.Channel, "err", err)
		}
	})
}
