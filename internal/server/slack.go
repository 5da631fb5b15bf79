package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/notifiers/slack"
)

// slackBody reads a request and hands it on only when Slack signed it.
func (s *Server) slackBody(w http.ResponseWriter, r *http.Request) (body []byte, signing []string, ok bool) {
	v := s.current()
	if v.signing == nil {
		refuse(w, r, http.StatusNotFound, "not_found", "Slack is not configured")
		return nil, nil, false
	}
	signing, err := v.signing.Lines()
	if err != nil {
		s.log.Error("slack request not checked", "err", err)
		refuse(w, r, http.StatusServiceUnavailable, "unavailable", "the signature cannot be checked now")
		return nil, nil, false
	}
	body, err = io.ReadAll(r.Body)
	if err != nil {
		refuse(w, r, http.StatusBadRequest, "unreadable", "the body could not be read, or is larger than 1 MiB")
		return nil, nil, false
	}
	if err := slack.Verify(r.Header, body, signing, time.Now()); err != nil {
		refuse(w, r, http.StatusUnauthorized, "unauthorized", slack.ErrSignature.Error())
		return nil, nil, false
	}
	return body, signing, true
}

// slackInteraction takes the press of a button. It answers 200 when what was
// pressed is stored, or when the presser is told why nothing was; anything else
// makes Slack show a warning beside the button.
func (s *Server) slackInteraction(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), slackWithin)
	defer cancel()
	body, signing, ok := s.slackBody(w, r)
	if !ok {
		return
	}
	app := s.deps.Slack()
	if app == nil {
		refuse(w, r, http.StatusNotFound, "not_found", "Slack is not configured")
		return
	}
	press, err := slack.ParseInteraction(r.Header, body, signing, time.Now())
	if err != nil {
		refuse(w, r, http.StatusBadRequest, "unreadable", slack.ErrPayload.Error())
		return
	}
	var said, takeOver string
	id, place, err := escalation.ParseButtonToken(press.Token)
	switch {
	case press.Action == "ack_all":
		said, err = s.ackAll(ctx, app, press)
	case err == nil:
		said, takeOver, err = s.press(ctx, app, press, id, place)
	default:
		err = slack.ErrPayload
	}
	if errors.Is(err, slack.ErrPayload) {
		refuse(w, r, http.StatusBadRequest, "unreadable", slack.ErrPayload.Error())
		return
	}
	if err != nil {
		s.log.Error("press not stored", "incident", id, "err", err)
		refuse(w, r, http.StatusServiceUnavailable, "unavailable", "not stored; press again")
		return
	}
	w.WriteHeader(http.StatusOK)
	if said == "" || press.ResponseURL == "" {
		return
	}
	s.later(func(ctx context.Context) {
		if err := app.Respond(ctx, press.ResponseURL, said, takeOver); err != nil {
			s.log.Warn("presser not told", "incident", id, "err", err)
		}
	})
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
	}
	return ""
}

// slackCommand answers /callchain, which does nothing yet.
func (s *Server) slackCommand(w http.ResponseWriter, r *http.Request) {
	if _, _, ok := s.slackBody(w, r); !ok {
		return
	}
	send(w, http.StatusOK, "application/json", map[string]string{
		"response_type": "ephemeral",
		"text":          "This command is not built yet: use the buttons of a page, or callchain incidents in a terminal.",
	})
}

// slackEvent proves to Slack that this address is ours; events are not used.
func (s *Server) slackEvent(w http.ResponseWriter, r *http.Request) {
	body, _, ok := s.slackBody(w, r)
	if !ok {
		return
	}
	var ev struct{ Type, Challenge string }
	if err := json.Unmarshal(body, &ev); err != nil {
		refuse(w, r, http.StatusBadRequest, "unreadable", "the event is not JSON")
		return
	}
	if ev.Type == "url_verification" {
		text(w, http.StatusOK, ev.Challenge)
		return
	}
	w.WriteHeader(http.StatusOK)
}
