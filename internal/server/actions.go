package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/common/model"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/routing"
	"callchain/routing/whois"
)

// order is the body of an action, and of what makes an incident.
type order struct {
	By       string         `json:"by"`
	TakeOver bool           `json:"take_over"`
	To       string         `json:"to"`
	Until    string         `json:"until"`
	Urgency  config.Urgency `json:"urgency"`
	Text     string         `json:"text"`
	Right    string         `json:"right"`
	Reason   string         `json:"reason"`
	Subject  string         `json:"subject"`
	Key      string         `json:"key"`
	Person   string         `json:"person"`
}

// actions are what POST /api/v1/incidents/{id}/{action} does, by their names.
var actions = map[string]func(v *view, o order, by escalation.Actor, now time.Time) (escalation.Event, error){
	"ack": func(_ *view, o order, by escalation.Actor, _ time.Time) (escalation.Event, error) {
		return escalation.Acknowledge{By: by, TakeOver: o.TakeOver}, nil
	},
	"unack": func(_ *view, _ order, by escalation.Actor, _ time.Time) (escalation.Event, error) {
		return escalation.Unacknowledge{By: by}, nil
	},
	"still-on": func(_ *view, _ order, by escalation.Actor, _ time.Time) (escalation.Event, error) {
		return escalation.StillOn{By: by}, nil
	},
	"resolve": func(_ *view, _ order, by escalation.Actor, _ time.Time) (escalation.Event, error) {
		return escalation.ResolveByHand{By: by}, nil
	},
	"escalate": func(v *view, o order, by escalation.Actor, _ time.Time) (escalation.Event, error) {
		if o.To == "" {
			return escalation.Escalate{By: by}, nil
		}
		to, err := targetOf(v, o.To)
		return escalation.EscalateTo{By: by, To: to}, err
	},
	"reassign": func(v *view, o order, by escalation.Actor, _ time.Time) (escalation.Event, error) {
		to, err := targetOf(v, o.To)
		return escalation.Reassign{By: by, To: to, TakeOver: o.TakeOver}, err
	},
	"snooze": func(_ *view, o order, by escalation.Actor, now time.Time) (escalation.Event, error) {
		until, err := untilOf(o.Until, now)
		return escalation.Snooze{By: by, Until: escalation.At(until), TakeOver: o.TakeOver}, err
	},
	"urgency": func(_ *view, o order, by escalation.Actor, _ time.Time) (escalation.Event, error) {
		if !slices.Contains(config.Urgencies, o.Urgency) {
			return nil, fail(http.StatusUnprocessableEntity, "bad_urgency", `say how urgent it is: {"urgency": "page"} or "unbreak_now"`)
		}
		return escalation.Declare{By: by, Urgency: o.Urgency}, nil
	},
	"note": func(_ *view, o order, by escalation.Actor, _ time.Time) (escalation.Event, error) {
		text, err := textOf(o.Text)
		return escalation.Remark{By: by, Text: text}, err
	},
	"wrong-owner": func(v *view, o order, by escalation.Actor, _ time.Time) (escalation.Event, error) {
		ev := escalation.Disown{By: by, Reason: o.Reason}
		if o.Right == "" {
			return ev, nil
		}
		right, err := subjectOf(v, "right", o.Right)
		ev.Right = right.Subject
		return ev, err
	},
}

func (s *Server) act(r *http.Request, v *view) (any, error) {
	action := r.PathValue("action")
	event := actions[action]
	if event == nil {
		return nil, fail(http.StatusNotFound, "not_found", "there is no such action; use one of "+strings.Join(slices.Sorted(maps.Keys(actions)), ", "))
	}
	o, err := readOrder(r)
	if err != nil {
		return nil, err
	}
	by, err := actor(r, v, o.By)
	if err != nil {
		return nil, err
	}
	ev, err := event(v, o, by, s.engine.Now())
	if err != nil {
		return nil, err
	}
	// Half a commit helps nobody: a client that hangs up stops nothing.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), storeWithin)
	defer cancel()
	inc, answer, err := s.engine.Do(ctx, r.PathValue("id"), ev)
	if err != nil {
		return nil, unstored(err)
	}
	if err := refusalOf(ev, inc, answer, by); err != nil {
		return nil, err
	}
	out := show(v, &inc, s.engine.Now())
	out.Recorded = answer.Kind == escalation.Recorded || answer.Kept
	return out, nil
}

// refusalOf is the problem that an answer is; nil if what was asked for is so now.
func refusalOf(ev escalation.Event, inc escalation.Incident, answer escalation.Answer, by escalation.Actor) error {
	conflict := func(code, detail string) error { return fail(http.StatusConflict, code, detail) }
	switch answer.Kind {
	case escalation.NotInChain:
		return conflict("not_in_chain", by.Handle+" is not in the chain of "+subjectName(inc)+`; send "take_over": true to take it over anyway`)
	case escalation.Volunteer:
		return conflict("volunteer", by.Handle+" is in volunteer teams alone, and is not in the chain of "+subjectName(inc)+": say that they are looking with a note; the escalation goes on")
	case escalation.Closed:
		if _, resolves := ev.(escalation.ResolveByHand); !resolves {
			return conflict("resolved", words(answer, by))
		}
	case escalation.Already:
		switch ev.(type) {
		case escalation.Acknowledge:
		case escalation.Escalate:
			return conflict("acknowledged", answer.By.String()+" acknowledged at "+clock(answer.At)+`; nothing was escalated; to page somebody beside them say whom: "to"`)
		default:
			return conflict("acknowledged", words(answer, by))
		}
	case escalation.MovedOn:
		return conflict("moved_on", "The incident moved on at the same moment; look at it and try again.")
	case escalation.NobodyLeft:
		return conflict("nobody_left", words(answer, by))
	case escalation.NotAcked:
		return conflict("not_acknowledged", words(answer, by))
	case escalation.NotHigher:
		return conflict("not_higher", "It is "+string(inc.Urgency)+" already, and an urgency can only be raised while the incident is open; nothing changed.")
	case escalation.Practice:
		return conflict("practice", "This is a test page or a drill: acknowledge it, or end it. Nothing changed.")
	case escalation.NoTarget:
		return fail(http.StatusUnprocessableEntity, "no_target", "to: "+answer.Why)
	case escalation.BadTime:
		return fail(http.StatusUnprocessableEntity, "bad_until", "until: "+answer.Why)
	case escalation.Done, escalation.Unchanged, escalation.Recorded:
	}
	return nil
}

// untilOf reads an instant, or how long from now.
func untilOf(text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if d, err := model.ParseDuration(text); err == nil && d > 0 {
		return now.Add(time.Duration(d)), nil
	}
	return time.Time{}, fail(http.StatusUnprocessableEntity, "bad_until", `until: say when it ends, {"until": "2026-11-20T22:00:00Z"}, or for how long, {"until": "30m"}`)
}

func textOf(text string) (string, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return "", fail(http.StatusUnprocessableEntity, "text_missing", `say what there is to say: {"text": "..."}`)
	case utf8.RuneCountInString(text) > escalation.MaxRemark:
		return "", fail(http.StatusUnprocessableEntity, "text_too_long", fmt.Sprintf("text: at most %d characters; put the rest where others can read it, and its address here", escalation.MaxRemark))
	}
	return text, nil
}

// askable are the words, besides names, that say whom to ask.
var askable = []string{"engineering_manager", "director", "fallback"}

// targetOf reads whom somebody asks by hand: a role, engineering_manager,
// director, fallback, team:NAME, person:NAME, or the name of a team or person.
func targetOf(v *view, to string) (string, error) {
	kind, name, given := strings.Cut(to, ":")
	if !given {
		kind, name = "", to
	}
	switch {
	case to == "":
		return "", fail(http.StatusUnprocessableEntity, "to_missing", `say whom: {"to": "team:NAME"}, "person:NAME", a role, "engineering_manager", "director" or "fallback"`)
	case slices.Contains(config.Roles, config.Role(to)), slices.Contains(askable, to):
		return to, nil
	}
	if p := v.Catalog.Person(name); p != nil && kind != "team" {
		return "person:" + p.Handle, nil
	}
	if t := v.Catalog.Team(name); t != nil && kind != "person" {
		return "team:" + t.Name, nil
	}
	return "", fail(http.StatusUnprocessableEntity, "no_target", "to: "+unknownName(v, "role, team or person", name))
}

// subjectOf is what somebody means in a field: service:NAME, team:NAME, or a name
// or alias of one of them.
func subjectOf(v *view, field, subject string) (routing.Target, error) {
	kind, name, given := strings.Cut(subject, ":")
	if !given {
		kind, name = "", subject
	}
	if svc := v.Catalog.Service(name); svc != nil && kind != "team" {
		return routing.Target{Subject: "service:" + svc.Name, Service: svc.Name}, nil
	}
	if t := v.Catalog.Team(name); t != nil && kind != "service" {
		if t.Kind == config.Volunteer {
			return routing.Target{}, fail(http.StatusUnprocessableEntity, "unknown_subject", fmt.Sprintf("%s: %s is a team of volunteers, who are told but never paged", field, t.Name))
		}
		return routing.Target{Subject: "team:" + t.Name, Team: t.Name}, nil
	}
	return routing.Target{}, fail(http.StatusNotFound, "unknown_subject", field+": "+unknownName(v, "service and no team", subject))
}

// unknownName says that the catalog has nothing of a name, and what has one like it.
func unknownName(v *view, what, name string) string {
	text := fmt.Sprintf("the catalog has no %s %q", what, name)
	_, bare, _ := strings.Cut(name, ":")
	if bare == "" {
		bare = name
	}
	if near := whois.Similar(v.Catalog, bare); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, ", ") + "?"
	}
	return text
}

// pageByHand pages through the chain of a service or team because somebody says so.
func (s *Server) pageByHand(r *http.Request, v *view) (any, error) {
	o, err := readOrder(r)
	if err != nil {
		return nil, err
	}
	if o.Subject == "" {
		return nil, fail(http.StatusUnprocessableEntity, "subject_missing", `say whom it concerns: {"subject": "service:NAME"} or "team:NAME"`)
	}
	target, err := subjectOf(v, "subject", o.Subject)
	if err != nil {
		return nil, err
	}
	text, err := textOf(o.Text)
	if err != nil {
		return nil, err
	}
	switch {
	case o.Urgency == "":
		o.Urgency = config.Page
	case !o.Urgency.Pages():
		return nil, fail(http.StatusUnprocessableEntity, "bad_urgency", "urgency: this pages people; want page or unbreak_now")
	}
	if v.Config.Shadow.V {
		return nil, fail(http.StatusConflict, "shadow", "shadow is true in callchain.yml: nothing is sent, and nobody would be paged")
	}
	by, err := actor(r, v, o.By)
	if err != nil {
		return nil, err
	}
	if header := r.Header.Get("Idempotency-Key"); o.Key == "" {
		o.Key = header
	}
	if len(o.Key) > maxKey {
		return nil, fail(http.StatusUnprocessableEntity, "bad_key", fmt.Sprintf("key: at most %d bytes", maxKey))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), storeWithin)
	defer cancel()
	inc, err := s.engine.PageByHand(ctx, target, o.Urgency, text, by, o.Key)
	if errors.Is(err, engine.ErrKeyReused) {
		return nil, fail(http.StatusConflict, "key_reused", "key: within the last day it was used for "+inc.ID+", which is about "+inc.Subject+" or says something else; use another key")
	}
	if err != nil {
		return nil, unstored(err)
	}
	return show(v, &inc, s.engine.Now()), nil
}

// maxKey is how long an idempotency key may be.
const maxKey = 256

func readOrder(r *http.Request) (order, error) {
	var o order
	body, err := readAll(r)
	if err != nil {
		return o, err
	}
	if len(strings.TrimSpace(string(body))) == 0 {
		return o, nil
	}
	if err := json.Unmarshal(body, &o); err != nil {
		return o, fail(http.StatusBadRequest, "bad_request", `the body is not what is wanted; send JSON like {"by": "handle"}`)
	}
	return o, nil
}
