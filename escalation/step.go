package escalation

import (
	"fmt"
	"slices"
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// Env is the configuration that a step is decided with. An incident that is
// open while it changes follows the new one from its next step on.
type Env struct {
	Router   *routing.Router
	Settings *config.Escalation
	Channels map[string]bool // the configured ones: slack, email
	Channel  string          // notifiers.slack.channel: the board of teams without one
	Zone     *time.Location  // of the weekly report: decides to which day a fact belongs; nil: UTC
	Shadow   bool            // nothing is sent: who would have been paged is recorded instead
}

func (e Env) reopenWithin() time.Duration { return time.Duration(e.Settings.ReopenWithin.V) }

// Step takes an incident through one event. It is total and idempotent: the
// same event at the same instant a second time changes nothing, a late one
// neither. The incident that is given is not changed.
func Step(inc Incident, ev Event, now time.Time, env Env) (Incident, Answer) {
	s := &stepper{Incident: clone(inc), now: At(now), at: now, env: env}
	var answer Answer
	switch ev := ev.(type) {
	case Observe:
		answer = s.observe(ev)
	case Tick:
		answer = s.tick()
	case Abandoned:
		answer = s.takeBack(func(d *Delivery) bool { return d.Until < ev.Before.plus(Lease) })
	case Unsent:
		answer = s.unsent(ev)
	case Renew:
		answer = s.renew(ev)
	case Acknowledge:
		answer = s.acknowledge(ev)
	case Escalate:
		answer = s.escalate(ev)
	case ResolveByHand:
		answer = s.resolveByHand(ev)
	case Result:
		answer = s.result(ev)
	case Held:
		answer = s.hold(ev)
	case Released:
		answer = s.released(ev)
	case Vanished:
		answer = s.vanished(ev)
	case Heard:
		answer = s.heard()
	case Unacknowledge:
		answer = s.unacknowledge(ev)
	case StillOn:
		answer = s.stillOn(ev)
	case EscalateTo:
		answer = s.escalateTo(ev)
	case Reassign:
		answer = s.reassign(ev)
	case Snooze:
		answer = s.snooze(ev)
	case Declare:
		answer = s.declare(ev)
	case Remark:
		answer = s.remark(ev)
	case Disown:
		answer = s.disown(ev)
	}
	s.armStale()
	s.refresh()
	return s.Incident, answer
}

// NewTest makes the incident of a test page: one person, one step.
func NewTest(id, handle string, by Actor, now time.Time, env Env) Incident {
	s := &stepper{now: At(now), at: now, env: env, Incident: Incident{
		Schema: Schema, ID: id, Kind: Test, State: Triggered, Urgency: config.Page, OpenedAt: At(now),
		Target:     routing.Target{Subject: "test:" + handle, Person: handle},
		Assessment: catalog.Unknown,
		Reason:     by.String() + " asked for a test page",
	}}
	s.note("a test page, asked for by "+by.String(), by.Handle)
	s.startChain()
	s.refresh()
	return s.Incident
}

// NewNotice makes the record of a notice to a team.
func NewNotice(id, team, title, body string, boardOnly bool, now time.Time, env Env) Incident {
	s := &stepper{now: At(now), at: now, env: env, Incident: Incident{
		Schema: Schema, ID: id, Kind: Notice, State: Resolved, Urgency: config.Notify, OpenedAt: At(now), ClosedAt: At(now),
		Target: routing.Target{Subject: "team:" + team, Team: team}, Title: title, Body: body,
	}}
	channel, email := env.Channel, ""
	onBoard := func(channel string) bool { return channel != "" && env.Channels["slack"] }
	if t := env.Router.Catalog().Team(team); t != nil {
		if t.SlackChannel != "" {
			channel = t.SlackChannel
		}
		email = t.Email
		if !onBoard(channel) { // then somebody of the team is mailed
			for _, p := range append([]*catalog.Person{t.Lead}, t.Members...) {
				if p != nil && email == "" {
					email = p.Email
				}
			}
		}
	}
	if onBoard(channel) {
		s.add(Delivery{ID: deliveryID(id, "notice", "slack"), Kind: NoticeDelivery, Channel: "slack", To: team, Address: channel})
	}
	if email != "" && env.Channels["email"] && !(boardOnly && onBoard(channel)) {
		s.add(Delivery{ID: deliveryID(id, "notice", "email"), Kind: NoticeDelivery, Channel: "email", To: team, Address: email})
	}
	return s.Incident
}

// NewReport makes the record by which a period's report goes to one recipient.
// What it says is computed when it is sent.
func NewReport(id, period, channel, address string, now time.Time) Incident {
	s := &stepper{now: At(now), at: now, Incident: Incident{
		Schema: Schema, ID: id, Kind: Report, State: Resolved, Urgency: config.Notify, OpenedAt: At(now), ClosedAt: At(now),
		Target: routing.Target{Subject: "report:" + period}, Title: period,
	}}
	s.add(Delivery{ID: deliveryID(id, period, channel), Kind: ReportDelivery, Channel: channel, To: address, Address: address})
	return s.Incident
}

func clone(inc Incident) Incident {
	inc.Missing = slices.Clone(inc.Missing)
	inc.Risks = slices.Clone(inc.Risks)
	inc.Episodes = slices.Clone(inc.Episodes)
	inc.Gone = slices.Clone(inc.Gone)
	inc.Shown = slices.Clone(inc.Shown)
	inc.RoundPaged = slices.Clone(inc.RoundPaged)
	inc.Asked = slices.Clone(inc.Asked)
	inc.Paged = slices.Clone(inc.Paged)
	inc.Deliveries = slices.Clone(inc.Deliveries)
	inc.Timeline = slices.Clone(inc.Timeline)
	inc.Ack = copied(inc.Ack)
	inc.Detour = copied(inc.Detour)
	inc.Beside = copied(inc.Beside)
	return inc
}

func copied[T any](v *T) *T {
	if v == nil {
		return nil
	}
	c := *v
	return &c
}

type stepper struct {
	Incident
	now   Instant
	at    time.Time
	env   Env
	spare string // whom the next step need not ask
}

func (s *stepper) chain(from int, paged []string) routing.Chain {
	set := make(map[string]bool, len(paged))
	for _, h := range paged {
		set[h] = true
	}
	return s.env.Router.Chain(s.Target, s.Urgency, s.at, from, set)
}

func (s *stepper) note(text, by string) *Entry {
	if s.Kind == Drill {
		text = drillLine(text)
	}
	s.LastSeq++
	s.Timeline = append(s.Timeline, Entry{Seq: s.LastSeq, At: s.now, Text: text, By: by})
	if n := len(s.Timeline) - MaxTimeline; n > 0 {
		s.Timeline = slices.Delete(s.Timeline, 0, n)
	}
	return &s.Timeline[len(s.Timeline)-1]
}

// drillLine marks a line: in a thread it stands alone.
func drillLine(text string) string { return "drill: " + text }

func (s *stepper) risk(r routing.Risk) {
	if s.Kind != Drill && !slices.Contains(s.Risks, r) {
		s.Risks = append(s.Risks, r)
	}
}

func (s *stepper) alertWords(n int) string {
	if n == 1 {
		return "1 alert fires"
	}
	return fmt.Sprintf("%d alerts fire", n)
}

func fires(n int) string {
	if n == 1 {
		return "alert fires"
	}
	return "alerts fire"
}

func via(v string) string {
	switch v {
	case "":
		return ""
	case "email":
		return " by the link in the mail"
	case "slack":
		return " in Slack"
	case "cli":
		return " from the command line"
	case "api":
		return " over the API"
	}
	return " over " + v
}
