package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/notifiers"
	"callchain/notifiers/slack"
)

// slackInteraction takes what somebody pressed, or sent off in a form.
func (s *Server) slackInteraction(ctx context.Context, app Slack, payload []byte) (answer any, err error) {
	in, err := slack.ParsePayload(payload)
	switch {
	case err != nil:
		return nil, err
	case in.Filled != nil:
		return s.slackForm(ctx, app, in)
	case slack.Asks(in.Action):
		return nil, s.openForm(ctx, app, in)
	}
	return nil, s.slackButton(ctx, app, in)
}

// slackButton does what a button asks for. The presser is told afterwards: that
// must not use up the time to store it.
func (s *Server) slackButton(ctx context.Context, app Slack, press slack.Interaction) error {
	if press.Action == slack.ActionAckAll {
		return s.ackAll(ctx, app, press)
	}
	said, takeOver, err := s.press(ctx, app, press)
	if err != nil {
		return err
	}
	s.tellPresser(app, press, said, takeOver)
	return nil
}

// tellPresser says something to whoever pressed alone, after the press is answered.
func (s *Server) tellPresser(app Slack, press slack.Interaction, said, takeOver string) {
	if said == "" || press.ResponseURL == "" {
		return
	}
	s.later(func(ctx context.Context) {
		if err := app.Respond(ctx, press.ResponseURL, said, takeOver); err != nil {
			s.log.Warn("presser not told", "action", press.Action, "err", err)
		}
	})
}

// pressed are the buttons whose value names an incident: the event of each.
var pressed = map[string]func(who escalation.Actor, stranger bool, at escalation.Place) escalation.Event{
	slack.ActionAck: func(who escalation.Actor, stranger bool, _ escalation.Place) escalation.Event {
		return escalation.Acknowledge{By: who, Stranger: stranger}
	},
	slack.ActionTakeOver: func(who escalation.Actor, stranger bool, _ escalation.Place) escalation.Event {
		return escalation.Acknowledge{By: who, Stranger: stranger, TakeOver: true}
	},
	slack.ActionEscalate: func(who escalation.Actor, _ bool, at escalation.Place) escalation.Event {
		return escalation.Escalate{By: who, From: &at}
	},
	slack.ActionStillOn: func(who escalation.Actor, _ bool, _ escalation.Place) escalation.Event {
		return escalation.StillOn{By: who}
	},
	slack.ActionUnack: func(who escalation.Actor, _ bool, _ escalation.Place) escalation.Event {
		return escalation.Unacknowledge{By: who}
	},
	slack.ActionResume: func(who escalation.Actor, _ bool, _ escalation.Place) escalation.Event {
		return escalation.Unacknowledge{By: who}
	},
	slack.ActionResolve: func(who escalation.Actor, _ bool, _ escalation.Place) escalation.Event {
		return escalation.ResolveByHand{By: who}
	},
}

// press does what was pressed. It returns what to tell the presser alone ("":
// the message itself shows it) and the value of a take-over button.
func (s *Server) press(ctx context.Context, app Slack, press slack.Interaction) (said, takeOver string, err error) {
	event := pressed[press.Action]
	if event == nil {
		return "This button is not known here. Use the newest message of the incident.", "", nil
	}
	id, place, err := escalation.ParseButtonToken(press.Token)
	if err != nil {
		return "", "", slack.ErrPayload
	}
	who, stranger, refusal := s.presser(ctx, app, press)
	if refusal != "" {
		return refusal, "", nil
	}
	s.adopt(ctx, press, id)
	inc, answer, err := s.engine.Do(ctx, id, event(who, stranger, place))
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return saidGone, "", nil
	case errors.Is(err, engine.ErrNotKept):
		return s.notStored(err), "", nil
	case err != nil:
		return "", "", fmt.Errorf("incident %s: %w", id, err)
	}
	if answer.Kind == escalation.NotInChain {
		return "You are not in the chain of " + subjectName(inc) + ". Take over anyway?", press.Token, nil
	}
	if answer.Kind == escalation.Done && !followed(press, inc) {
		return s.done(press.Action, inc), "", nil
	}
	return words(answer, who), "", nil
}

// followed tells whether the message that was pressed is brought up to date, and
// so shows by itself what came of the press: a page or a board. What is not known
// is not talked about.
func followed(press slack.Interaction, inc escalation.Incident) bool {
	if press.Ephemeral {
		return false
	}
	d := inc.Delivery(press.Delivery)
	return press.Delivery == "" || d != nil && (d.Kind == escalation.PageDelivery || d.Kind == escalation.BoardDelivery)
}

// done says what a press did on a message that does not show it.
func (s *Server) done(action string, inc escalation.Incident) string {
	what := subjectName(inc)
	switch action {
	case slack.ActionAck, slack.ActionTakeOver:
		return "Done: " + what + " is acknowledged by you."
	case slack.ActionStillOn:
		if inc.Ack != nil && inc.Ack.Expires != 0 {
			return "Done: " + what + " stays with you until " + notifiers.UTC(inc.Ack.Expires.Time(), s.engine.Now()) + "; you are asked again before."
		}
		return "Done: " + what + " stays with you."
	case slack.ActionUnack, slack.ActionResume:
		return "Done: the chain of " + what + " goes on."
	case slack.ActionEscalate:
		return "Done: the next step of " + what + " is paged."
	}
	return "Done."
}

// adoptWithin is how long it may take to see whether a pressed message is known.
const adoptWithin = 300 * time.Millisecond

// adopt tells the incident where a message of its is, if the answer to sending it
// was lost: from now on it is kept up to date, and not sent again. It comes before
// what was pressed, after which nobody would look for the message any more.
func (s *Server) adopt(ctx context.Context, press slack.Interaction, id string) {
	if press.Delivery == "" || press.Channel == "" || press.MessageTS == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, adoptWithin)
	defer cancel()
	inc, err := s.engine.Incident(ctx, id)
	if err != nil {
		return // what was pressed tells
	}
	if d := inc.Delivery(press.Delivery); d == nil || d.Reached != 0 {
		return
	}
	arrived := escalation.Result{
		Delivery: press.Delivery, Attempt: -1, // of none that is being made
		Verdict: escalation.VerdictSent, Ref: escalation.Ref{Channel: press.Channel, TS: press.MessageTS},
	}
	if _, _, err := s.engine.Do(ctx, id, arrived); err != nil {
		s.log.Warn("pressed message not adopted", "incident", id, "err", err)
	}
}

// presser tells who pressed, or why they may not. What Slack does not tell is
// not held against anybody: a willing helper must not be stopped by an outage.
func (s *Server) presser(ctx context.Context, app Slack, press slack.Interaction) (who escalation.Actor, stranger bool, refusal string) {
	u := press.User
	home := app.Home()
	if home == (slack.Home{}) { // it counts from the next press on
		s.later(func(ctx context.Context) {
			if err := app.Probe(ctx); err != nil {
				s.log.Warn("the app's workspace not looked up", "err", err)
			}
		})
	}
	if home.Foreign(press) {
		return who, false, "This was pressed in a workspace that callchain does not belong to. Nothing changed."
	}
	if u.TeamID != "" && press.TeamID != "" && u.TeamID != press.TeamID && press.EnterpriseID == "" {
		return who, false, "Only members of this workspace can answer. Nothing changed."
	}
	people := s.current().Catalog.People()
	for _, p := range people {
		if p.Slack == u.ID {
			return escalation.Actor{Handle: p.Handle, Name: p.Handle, Via: "slack"}, false, ""
		}
	}
	who = escalation.Actor{Handle: "slack:" + u.ID, Name: u.Name, Via: "slack"}
	asking, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	told, err := app.User(asking, u.ID)
	if err != nil {
		s.log.Warn("presser not looked up", "err", err)
		return who, true, ""
	}
	if told.Email != "" && !told.Deleted && !told.Bot && !told.Stranger {
		for _, p := range people {
			if p.Slack == "" && strings.EqualFold(p.Email, told.Email) {
				return escalation.Actor{Handle: p.Handle, Name: p.Handle, Via: "slack"}, false, ""
			}
		}
	}
	switch {
	case told.Deleted:
		return who, true, "Your account is deactivated; it cannot answer. Nothing changed."
	case told.Bot:
		return who, true, "A bot cannot answer for a person. Nothing changed."
	case told.Stranger:
		return who, true, "Only members of this workspace can answer. Nothing changed."
	case told.Guest:
		return who, true, "Guests of the workspace cannot answer. Ask a member who is in the chain. Nothing changed."
	}
	if who.Name == "" {
		who.Name = told.Name
	}
	return who, true, ""
}

// subjectName is what an incident is about, for people.
func subjectName(inc escalation.Incident) string {
	switch {
	case inc.Service != "":
		return inc.Service
	case inc.Named != "":
		return inc.Named
	case inc.Team != "":
		return "team " + inc.Team
	case inc.Subject != "":
		return inc.Subject
	}
	return "this incident"
}

// clock is an instant as people read it.
func clock(i escalation.Instant) string { return i.Time().Format("15:04 UTC") }

// words say what an event did that was not simply done.
func words(a escalation.Answer, who escalation.Actor) string {
	switch a.Kind {
	case escalation.Already:
		if a.Kept {
			return a.By.String() + " acknowledged at " + clock(a.At) + ". It is recorded; Redis is away, the escalation may still happen."
		}
		if a.By.Handle == who.Handle {
			return "You acknowledged at " + clock(a.At) + " already; nothing changed."
		}
		return a.By.String() + " acknowledged at " + clock(a.At) + "; nothing changed."
	case escalation.Closed:
		return "Already resolved at " + clock(a.At) + "; nothing changed."
	case escalation.Volunteer:
		return "Volunteers are told of this, but the escalation does not stop for them. Add a note that you are looking, or ask somebody in the chain to acknowledge. Nothing changed."
	case escalation.MovedOn:
		return "This press was for an earlier step; the incident has moved on since. Nothing changed."
	case escalation.Recorded:
		return "Recorded; Redis is away, the escalation may still happen. When it is back, your answer counts from now."
	case escalation.NobodyLeft:
		return "There is nobody after this step. Nothing changed."
	case escalation.NotAcked:
		return "Nobody has acknowledged this now. Nothing changed."
	case escalation.NotHigher:
		return "An urgency can only be raised while the incident is open. Nothing changed."
	case escalation.Practice:
		return "This is only practice: acknowledge it. Nothing changed."
	case escalation.NoTarget:
		return "Nobody was paged: " + a.Why + "."
	case escalation.BadTime:
		return "Not snoozed: " + a.Why + "."
	}
	return ""
}
