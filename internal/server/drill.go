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
	if o.Subject == "" {
		return nil, fail(http.StatusUnprocessableEntity, "subject_missing", `say whose chain is to be practised: {"subject": "service:NAME"} or "team:NAME"`)
	}
	target, err := subjectOf(v, "subject", o.Subject)
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
