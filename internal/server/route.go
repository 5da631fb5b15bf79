package server

import (
	"encoding/json"
	"net/http"
	"time"

	"callchain/routing"
)

// route answers what an alert would do: as "callchain route test" prints it.
// The body is a webhook, {"labels": {...}}, or the labels alone.
func (s *Server) route(r *http.Request, v *view) (any, error) {
	body, err := readAll(r)
	if err != nil {
		return nil, err
	}
	wrong := func(detail string) error { return fail(http.StatusBadRequest, "bad_request", detail) }
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, wrong(`the body is no JSON object; send {"labels": {"alertname": "..."}} or a webhook's payload`)
	}
	now := s.engine.Now()
	// A label may be called alerts, but it is no list.
	if list := fields["alerts"]; len(list) > 0 && list[0] == '[' {
		hook, err := routing.Decode(body)
		if err != nil {
			return nil, wrong(err.Error())
		}
		answers := []routing.Explanation{}
		for i := range hook.Alerts {
			answers = append(answers, explain(v.Router, hook.Alert(i), now))
		}
		if len(answers) == 1 {
			return answers[0], nil
		}
		return answers, nil
	}
	labels := map[string]string{}
	from := body
	if inner := fields["labels"]; len(inner) > 0 && inner[0] == '{' {
		from = inner
	}
	if err := json.Unmarshal(from, &labels); err != nil {
		return nil, wrong("labels are names with texts")
	}
	return explain(v.Router, routing.Alert{Labels: labels}, now), nil
}

func explain(router *routing.Router, a routing.Alert, now time.Time) routing.Explanation {
	res := router.Route(a, now)
	return routing.Explain(res, router.Chain(res.Target, res.Urgency, now, 0, nil))
}
