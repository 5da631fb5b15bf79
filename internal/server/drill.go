package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/routing"
)

// drillOrder is the body of a drill.
type drillOrder struct {
	Subject string         `json:"subject"`
	Urgency config.Urgency `json:"urgency"` // "": page
	AtNight bool           `json:"at_night"`
	By      string         `json:"by"`
}

// drill pages through the real chain of a service or team.
func (s *Server) drill(r *http.Request, v *view) (any, error) {
	body, err := readAll(r)
	if err != nil {
		return nil, err
	}
	var o drillOrder
	if err := json.Unmarshal(body, &o); err != nil {
		return nil, fail(http.StatusBadRequest, "bad_request", `the body is not what is wanted; send JSON like {"subject": "service:parsoid", "by": "handle"}`)
	}
	target, err := drilled(v, o.Subject)
	if err != nil {
		return nil, err
	}
	switch {
	case o.Urgency == "":
		o.Urgency = config.Page
	case !o.Urgency.Pages():
		return nil, fail(http.StatusUnprocessableEntity, "bad_urgency", "urgency: a drill pages people; want page or unbreak_now")
	}
	by, err := actor(r, v, o.By)
	if err != nil {
		return nil, err
	}
	// Half a commit helps nobody: a client that hangs up stops nothing.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), storeWithin)
	defer cancel()
	inc, err := s.engine.Drill(ctx, target, o.Urgency, by, o.AtNight)
	if errors.Is(err, engine.ErrAtNight) {
		_, who, _ := strings.Cut(err.Error(), ": ")
		return nil, fail(http.StatusConflict, "at_night", fmt.Sprintf(
			`if nobody answers, this drill reaches people between 21:00 and 08:00 on their clocks: %s; send "at_night": true if that is meant`, who))
	}
	if err != nil {
		return nil, unstored(err)
	}
	return show(v, &inc, s.engine.Now()), nil
}

// drilled is what a drill is about: service:NAME, team:NAME, or a name or alias of
// one of them.
func drilled(v *view, subject string) (routing.Target, error) {
	kind, name, given := strings.Cut(subject, ":")
	if !given {
		kind, name = "", subject
	}
	if subject == "" {
		return routing.Target{}, fail(http.StatusUnprocessableEntity, "subject_missing", `say whose chain is to be practised: {"subject": "service:NAME"} or "team:NAME"`)
	}
	if svc := v.Catalog.Service(name); svc != nil && kind != "team" {
		return routing.Target{Subject: "service:" + svc.Name, Service: svc.Name}, nil
	}
	if t := v.Catalog.Team(name); t != nil && kind != "service" {
		if t.Kind == config.Volunteer {
			return routing.Target{}, fail(http.StatusUnprocessableEntity, "unknown_subject", fmt.Sprintf("subject: %s is a team of volunteers, who are told but never paged", t.Name))
		}
		return routing.Target{Subject: "team:" + t.Name, Team: t.Name}, nil
	}
	return routing.Target{}, fail(http.StatusUnprocessableEntity, "unknown_subject",
		fmt.Sprintf("subject: the catalog has no service and no team %q; use service:NAME or team:NAME", subject))
}

// endDrill ends a drill, and nothing but a drill.
func (s *Server) endDrill(r *http.Request, v *view) (any, error) {
	o, err := readOrder(r)
	if err != nil {
		return nil, err
	}
	by, err := actor(r, v, o.By)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), storeWithin)
	defer cancel()
	inc, err := s.engine.Incident(ctx, r.PathValue("id"))
	if err != nil {
		return nil, unstored(err)
	}
	if inc.Kind != escalation.Drill {
		return nil, fail(http.StatusConflict, "no_drill", inc.ID+" is no drill; to resolve a real incident use its resolve action")
	}
	inc, _, err = s.engine.Do(ctx, inc.ID, escalation.ResolveByHand{By: by})
	if err != nil {
		return nil, unstored(err)
	}
	return show(v, &inc, s.engine.Now()), nil
}
