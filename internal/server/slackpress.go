package server

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/notifiers/slack"
)

// slackInteraction takes what somebody pressed or sent off in a modal, by its type.
func (s *Server) slackInteraction(ctx context.Context, app Slack, payload []byte) (answer any, err error) {
	in, err := slack.ParsePayload(payload)
	if err != nil {
		return nil, err
	}
	return nil, s.slackButton(ctx, app, in)
}

// slackButton does what a button asks for. The presser is told afterwards: that
// must not use up the time to store it.
func (s *Server) slackButton(ctx context.Context, app Slack, press slack.Interaction) error {
	id, place, err := escalation.ParseButtonToken(press.Token)
	if err != nil {
		return slack.ErrPayload
	}
	said, takeOver, err := s.press(ctx, app, press, id, place)
	if err != nil {
		return fmt.Errorf("incident %s: %w", id, err)
	}
	if said == "" || press.ResponseURL == "" {
		return nil
	}
	s.later(func(ctx context.Context) {
		if err := app.Respond(ctx, press.ResponseURL, said, takeOver); err != nil {
			s.log.Warn("presser not told", "incident", id, "err", err)
		}
	})
	return nil
}

// slackCommand answers /callchain, which does nothing yet.
func (s *Server) slackCommand(_ context.Context, _ Slack, payload []byte) (answer any, err error) {
	if _, err := slack.ParseCommand(payload); err != nil {
		return nil, err
	}
	return map[string]string{
		"response_type": "ephemeral",
		"text":          "This command is not built yet: use the buttons of a page, or callchain incidents in a terminal.",
	}, nil
}

// press does what was pressed. It returns what to tell the presser alone ("":
// the message itself shows it) and the value of a take-over button.
func (s *Server) press(ctx context.Context, app Slack, press slack.Interaction, id string, place escalation.Place) (said, takeOver string, err error) {
	who, stranger, refusal := s.presser(ctx, app, press)
	if refusal != "" {
		return refusal, "", nil
	}
	var ev escalation.Event
	switch press.Action {
	case "ack":
		ev = escalation.Acknowledge{By: who, Stranger: stranger}
	case "takeover":
		ev = escalation.Acknowledge{By: who, Stranger: stranger, TakeOver: true}
	case "escalate":
		ev = escalation.Escalate{By: who, From: &place}
	default:
		return "This button is not known here. Use the newest message of the incident.", "", nil
	}
	inc, answer, err := s.engine.Do(ctx, id, ev)
	if errors.Is(err, engine.ErrNotFound) {
		return "callchain does not know this incident any more: its store lost it, or it was closed long ago. Nothing changed. Look in Alertmanager whether the alert still fires.", "", nil
	}
	if err != nil {
		return "", "", err
	}
	if answer.Kind == escalation.NotInChain {
		return "You are not in the chain of " + subjectName(inc) + ". Take over anyway?", press.Token, nil
	}
	return words(answer, who), "", nil
}

// presser tells who pressed, or why they may not. What Slack does not tell is
// not held against anybody: a willing helper must not be stopped by an outage.
func (s *Server) presser(ctx context.Context, app Slack, press slack.Interaction) (who escalation.Actor, stranger bool, refusal string) {
	u := press.User
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
		if a.By.Handle == who.Handle {
			return "You acknowledged at " + clock(a.At) + " already; nothing changed."
		}
		return a.By.String() + " acknowledged at " + clock(a.At) + "; nothing changed."
	case escalation.Closed:
		return "Already resolved at " + clock(a.At) + "; nothing changed."
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
