package server

import (
	"context"
	"errors"
	"strings"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/notifiers/slack"
)

// What is said where a form cannot do what it is for.
const (
	saidGone      = "callchain does not know this incident any more: its store lost it, or it was closed long ago. Nothing changed. Look in Alertmanager whether the alert still fires."
	saidUnopened  = "Slack did not open the form in time. Nothing changed; press again."
	saidNotStored = "Not stored: callchain's store does not answer. Nothing changed; try again."
)

// openForm opens the form that a press asks for. The modal comes first: its
// trigger lasts three seconds. Then it is looked up what belongs into it.
func (s *Server) openForm(ctx context.Context, app Slack, press slack.Interaction) error {
	id, _, err := escalation.ParseButtonToken(press.Token)
	if err != nil {
		return slack.ErrPayload
	}
	view, err := app.OpenForm(ctx, press.TriggerID, press.Action)
	if err != nil {
		s.log.Warn("form not opened", "incident", id, "err", err)
		s.tellPresser(app, press, saidUnopened, "")
		return nil //nolint:nilerr // nothing was to be stored, and the presser is told
	}
	s.later(func(ctx context.Context) {
		form, refusal := s.form(ctx, app, press, id)
		if refusal != "" {
			err = app.SayInForm(ctx, view, press.Action, refusal)
		} else {
			err = app.FillForm(ctx, view, form)
		}
		if err != nil {
			s.log.Warn("form not filled", "incident", id, "err", err)
			s.tellPresser(app, press, saidUnopened, "")
		}
	})
	return nil
}

// form is what a press asks for, or why there is none. While the store is away
// it is made of the catalog alone: what is chosen can still be recorded.
func (s *Server) form(ctx context.Context, app Slack, press slack.Interaction, id string) (form slack.Form, refusal string) {
	if _, _, refusal := s.presser(ctx, app, press); refusal != "" {
		return slack.Form{}, refusal
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	inc, err := s.engine.Incident(ctx, id)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return slack.Form{}, saidGone
	case err != nil:
		s.log.Warn("form made without its incident", "incident", id, "err", err)
		return s.formOf(press, nil), ""
	case !inc.Open():
		return slack.Form{}, words(escalation.Answer{Kind: escalation.Closed, At: inc.ClosedAt}, escalation.Actor{})
	}
	return s.formOf(press, &inc), ""
}

// formOf makes a form about an incident; nil if that could not be read.
func (s *Server) formOf(press slack.Interaction, inc *escalation.Incident) slack.Form {
	v := s.current()
	f := slack.Form{Action: press.Action, Token: press.Token}
	if inc != nil {
		f.About = subjectName(*inc)
		if len(inc.Shown) > 0 && !inc.Confidential {
			f.About += ": " + inc.Shown[0].Labels["alertname"]
		}
	}
	switch press.Action {
	case slack.ActionReassign:
		f.Groups = append(chainChoices(v, inc, s.engine.Now()), everybody(v)...)
	case slack.ActionEscalateTo:
		f.Groups = append(roleChoices(v, inc, s.engine.Now()), chainChoices(v, inc, s.engine.Now())...)
		f.Groups = append(f.Groups, everybody(v)...)
	case slack.ActionDisown:
		f.Groups, f.Named = []slack.Choices{teamChoices(v)}, true
	}
	f.Named = f.Named || len(v.Catalog.Teams()) > mostChoices || len(v.Catalog.People()) > mostChoices
	return f
}

// mostChoices is how many entries a part of a list has: Slack takes no more. Who
// is left out can be named.
const mostChoices = 100

// chainChoices are the people of the incident's chain, in its order.
func chainChoices(v *view, inc *escalation.Incident, now time.Time) []slack.Choices {
	if inc == nil {
		return nil
	}
	c := slack.Choices{Label: "In this chain"}
	seen := map[string]bool{}
	for _, step := range v.Router.Chain(inc.Target, inc.Urgency, now, 0, nil).Steps {
		for _, h := range step.People {
			if seen[h] {
				continue
			}
			seen[h] = true
			c.Options = append(c.Options, slack.Option{Value: "person:" + h, Label: h + ", " + spoken(step.Notify)})
		}
	}
	return []slack.Choices{c}
}

// roleChoices are the roles that somebody holds for the incident, and who that is now.
func roleChoices(v *view, inc *escalation.Incident, now time.Time) []slack.Choices {
	if inc == nil {
		return nil
	}
	c := slack.Choices{Label: "Roles"}
	var notify []string
	for _, r := range config.Roles {
		notify = append(notify, string(r))
	}
	for _, to := range append(notify, askable...) {
		step := v.Router.Whom(inc.Target, to, inc.Urgency, now)
		if len(step.People) == 0 {
			continue
		}
		label := spoken(to) + ": " + strings.Join(step.People, ", ")
		c.Options = append(c.Options, slack.Option{Value: to, Label: label})
	}
	return []slack.Choices{c}
}

// everybody is who of the catalog can be asked: teams, then people.
func everybody(v *view) []slack.Choices {
	people := slack.Choices{Label: "People"}
	for _, p := range v.Catalog.People() {
		if len(people.Options) < mostChoices {
			people.Options = append(people.Options, slack.Option{Value: "person:" + p.Handle, Label: p.Handle})
		}
	}
	return []slack.Choices{teamChoices(v), people}
}

func teamChoices(v *view) slack.Choices {
	c := slack.Choices{Label: "Teams"}
	for _, t := range v.Catalog.Teams() {
		if t.Kind != config.Volunteer && len(c.Options) < mostChoices {
			c.Options = append(c.Options, slack.Option{Value: "team:" + t.Name, Label: t.Name})
		}
	}
	return c
}

// spoken is what a step asks people as, as people say it.
func spoken(notify string) string {
	return strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(notify, "team:"), "person:"), "_", " ")
}

// slackForm does what a form asks for that was sent off. Its answer draws the
// form anew, says at a field what is wrong, or says what happened; none closes it.
func (s *Server) slackForm(ctx context.Context, app Slack, in slack.Interaction) (answer any, err error) {
	id, place, err := escalation.ParseButtonToken(in.Token)
	if err != nil || !slack.Asks(in.Action) {
		return nil, slack.ErrPayload
	}
	who, stranger, refusal := s.presser(ctx, app, in)
	if refusal != "" {
		return slack.Saying(in.Action, refusal), nil
	}
	ev, field, wrong := s.asked(in, place, who, stranger)
	if wrong != "" {
		return slack.Wrong(field, wrong), nil
	}
	inc, did, err := s.engine.Do(ctx, id, ev)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return slack.Saying(in.Action, saidGone), nil
	case err != nil:
		s.log.Error("form not stored", "incident", id, "err", err)
		return slack.Wrong(in.Filled.First, s.notStored(err)), nil
	}
	switch did.Kind {
	case escalation.NotInChain:
		form := s.formOf(in, &inc)
		form.AskSure, form.Filled = true, *in.Filled
		return slack.Refill(form), nil
	case escalation.NoTarget, escalation.BadTime:
		return slack.Wrong(field, did.Why), nil
	case escalation.Unchanged:
		if in.Action == slack.ActionDeclare {
			return slack.Saying(in.Action, "It is unbreak now already. Nothing changed."), nil
		}
		return nil, nil // sent off twice
	case escalation.Done:
		return s.because(ctx, in, id, who), nil
	}
	return slack.Saying(in.Action, words(did, who)), nil
}

// notStored says that something was not stored, and what to do.
func (s *Server) notStored(err error) string {
	if errors.Is(err, engine.ErrNotKept) {
		return "Not stored: the store is away, and only an acknowledgement or a resolve can be recorded meanwhile. Nothing changed; try again when it is back."
	}
	return saidNotStored
}

// because puts the reason into the timeline that a form gave for what is done
// by now and whose own record has no room for it.
func (s *Server) because(ctx context.Context, in slack.Interaction, id string, who escalation.Actor) (answer any) {
	if in.Filled.Reason == "" || in.Action != slack.ActionReassign && in.Action != slack.ActionDeclare {
		return nil
	}
	if _, _, err := s.engine.Do(ctx, id, escalation.Remark{By: who, Text: in.Filled.Reason}); err != nil {
		s.log.Warn("reason not stored", "incident", id, "err", err)
		return slack.Saying(in.Action, "It is done, but the reason could not be stored. Add it as a note.")
	}
	return nil
}

// asked is the event of a form, and the field to blame if it comes to nothing;
// or what is wrong with which of its fields.
func (s *Server) asked(in slack.Interaction, place escalation.Place, who escalation.Actor, stranger bool) (ev escalation.Event, field, wrong string) {
	f := in.Filled
	switch in.Action {
	case slack.ActionReassign, slack.ActionEscalateTo:
		to, field, err := s.meant(f, targetOf)
		switch {
		case err != nil:
			return nil, field, detail(err)
		case to == "":
			return nil, f.First, "Choose whom, or name them."
		case in.Action == slack.ActionEscalateTo:
			return escalation.EscalateTo{By: who, To: to}, field, ""
		}
		return escalation.Reassign{By: who, Stranger: stranger, TakeOver: f.Sure, To: to}, field, ""
	case slack.ActionSnooze:
		until, field := f.Until, slack.FieldUntil
		if until.IsZero() {
			d, err := time.ParseDuration(f.For)
			if err != nil || d <= 0 {
				return nil, f.First, "Choose for how long."
			}
			until, field = s.engine.Now().Add(d), slack.FieldFor
		}
		return escalation.Snooze{By: who, Stranger: stranger, TakeOver: f.Sure, Until: escalation.At(until)}, field, ""
	case slack.ActionDisown:
		right, field, err := s.meant(f, func(v *view, name string) (string, error) {
			target, err := subjectOf(v, "right", name)
			return target.Subject, err
		})
		if err != nil {
			return nil, field, detail(err)
		}
		return escalation.Disown{By: who, Right: right, Reason: f.Reason, From: &place}, f.First, ""
	case slack.ActionDeclare:
		return escalation.Declare{By: who, Urgency: config.UnbreakNow}, f.First, ""
	case slack.ActionNote:
		if f.Reason == "" {
			return nil, f.First, "Write what there is to say."
		}
		return escalation.Remark{By: who, Text: f.Reason}, f.First, ""
	}
	return nil, f.First, "This form is not known here. Press again on the newest message."
}

// meant finds what was chosen or, before that, named in a form; "" for neither.
func (s *Server) meant(f *slack.Filled, find func(*view, string) (string, error)) (found, field string, err error) {
	text, field := f.To, slack.FieldTo
	if f.Name != "" {
		text, field = strings.TrimPrefix(f.Name, "@"), slack.FieldName
	}
	if text == "" {
		return "", f.First, nil
	}
	found, err = find(s.current(), text)
	return found, field, err
}

// detail is what a failure says to people, without the name of the API's field.
func detail(err error) string {
	f, ok := errors.AsType[*failure](err)
	if !ok {
		return "This cannot be used; choose something else."
	}
	said := f.detail
	for _, name := range []string{"to: ", "right: ", "subject: "} {
		said = strings.TrimPrefix(said, name)
	}
	return capital(said)
}
