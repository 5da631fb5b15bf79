package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"callchain/notifiers/slack"
)

// errNoSlack says that callchain has no app to answer with.
var errNoSlack = errors.New("Slack is not configured")

// FromSlack takes in what Slack brings, whichever way it came: the caller made
// sure that it is Slack's. After nil all that it asked for is stored, and answer
// (nil: none) is for Slack to show at once. After an error nothing may be
// acknowledged: Slack then shows the presser that it failed.
func (s *Server) FromSlack(ctx context.Context, kind slack.Kind, payload []byte) (answer any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.panicked(p, "slack "+string(kind))
			answer, err = nil, errors.New("callchain made a mistake here; its log says more")
		}
	}()
	// What was begun is finished, also when Slack hangs up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), slackWithin)
	defer cancel()
	app := s.deps.Slack()
	if app == nil {
		return nil, errNoSlack
	}
	switch kind {
	case slack.KindInteraction:
		answer, err = s.slackInteraction(ctx, app, payload)
	case slack.KindCommand:
		answer, err = s.slackCommand(ctx, app, payload)
	case slack.KindEvent: // callchain asks for none
	default:
		err = slack.ErrPayload
	}
	switch {
	case errors.Is(err, slack.ErrPayload):
		s.log.Warn("slack request not understood", "kind", string(kind), "err", err)
		return nil, err
	case err != nil:
		s.log.Error("slack request not carried out", "kind", string(kind), "err", err)
		return nil, err
	}
	return answer, nil
}

// slackDoor is FromSlack for signed requests.
func (s *Server) slackDoor(kind slack.Kind) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if payload, ok := s.slackPayload(w, r, kind); ok {
			s.answerSlack(w, r, kind, payload)
		}
	}
}

// slackEvents is the door of events. Over HTTP Slack asks first whether the
// address is ours.
func (s *Server) slackEvents(w http.ResponseWriter, r *http.Request) {
	payload, ok := s.slackPayload(w, r, slack.KindEvent)
	if !ok {
		return
	}
	var ev struct{ Type, Challenge string }
	if err := json.Unmarshal(payload, &ev); err != nil {
		refuse(w, r, http.StatusBadRequest, "unreadable", "the event is not JSON")
		return
	}
	if ev.Type == "url_verification" {
		text(w, http.StatusOK, ev.Challenge)
		return
	}
	s.answerSlack(w, r, slack.KindEvent, payload)
}

// answerSlack answers 200 when what was asked is stored, or when the presser is
// told why nothing was; anything else makes Slack show a warning.
func (s *Server) answerSlack(w http.ResponseWriter, r *http.Request, kind slack.Kind, payload []byte) {
	answer, err := s.FromSlack(r.Context(), kind, payload)
	switch {
	case errors.Is(err, errNoSlack):
		refuse(w, r, http.StatusNotFound, "not_found", err.Error())
	case errors.Is(err, slack.ErrPayload):
		refuse(w, r, http.StatusBadRequest, "unreadable", err.Error())
	case err != nil:
		refuse(w, r, http.StatusServiceUnavailable, "unavailable", "not stored; press again")
	case answer != nil:
		send(w, http.StatusOK, "application/json", answer)
	default:
		w.WriteHeader(http.StatusOK)
	}
}

// slackPayload reads a request and hands its payload on only when Slack signed it.
func (s *Server) slackPayload(w http.ResponseWriter, r *http.Request, kind slack.Kind) (payload []byte, ok bool) {
	v := s.current()
	if v.signing == nil {
		refuse(w, r, http.StatusNotFound, "not_found", "callchain has no signing secret of Slack's: notifiers.slack.signing_secret_file")
		return nil, false
	}
	signing, err := v.signing.Lines()
	if err != nil {
		s.log.Error("slack request not checked", "err", err)
		refuse(w, r, http.StatusServiceUnavailable, "unavailable", "the signature cannot be checked now")
		return nil, false
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, r, http.StatusBadRequest, "unreadable", "the body could not be read, or is larger than 1 MiB")
		return nil, false
	}
	if err := slack.Verify(r.Header, body, signing, time.Now()); err != nil {
		refuse(w, r, http.StatusUnauthorized, "unauthorized", slack.ErrSignature.Error())
		return nil, false
	}
	payload, err = slack.Payload(kind, body)
	if err != nil {
		refuse(w, r, http.StatusBadRequest, "unreadable", slack.ErrPayload.Error())
		return nil, false
	}
	return payload, true
}
