package escalation

import (
	"slices"
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/report"
)

// Day is the day to which a fact of the instant belongs.
func (e Env) Day(at time.Time) string {
	zone := e.Zone
	if zone == nil {
		zone = time.UTC
	}
	return at.In(zone).Format(time.DateOnly)
}

// Facts tells what a change of an incident adds to what is recorded, but for its
// alerts, which Ingest counts; before is nil for a new one. It is a function of
// the two states, so that the facts are written with the state that causes them
// and counted once. What follows from an incident belongs to the day on which it
// began, or fired again.
func Facts(before, after *Incident, now time.Time, env Env) []report.Event {
	if after.Kind != Alerts {
		return nil
	}
	if before == nil {
		before = &Incident{}
	}
	rest := about(after, env, now)
	rest.Day = after.FactDay
	rest.Opened = before.ID == ""
	if env.Shadow {
		rest.Shadow = wouldPage(before, after)
	} else {
		rest.Pages = after.Woken - before.Woken
	}
	rest.Escalations = after.Moves - before.Moves
	handedOver := before.State == Acknowledged // it was answered before
	if a := after.Ack; a != nil && !handedOver && (before.Ack == nil || before.Ack.At != a.At) {
		rest.Ack = &report.Ack{By: a.Handle, Seconds: max(0, int((a.At-after.FiredAt)/1000)), Incident: after.ID, Heroics: a.Heroic}
		if t := env.Router.Catalog().TeamOf(a.Handle); t != nil {
			rest.Ack.Team = t.Name
		}
	}
	for _, r := range after.Risks {
		if !slices.Contains(before.Risks, r) {
			rest.Risks = append(rest.Risks, report.Risk{Kind: r, At: now.UTC(), Alert: after.alertName(), Incident: after.ID})
		}
	}
	if rest.Empty() {
		return nil
	}
	events := []report.Event{rest}
	if today := env.Day(now); len(rest.Risks) > 0 && rest.Day != today {
		// Who looks for the risks of a day finds those of older incidents by it.
		events = append(events, report.Event{Day: today, At: now.UTC(), Subject: rest.Subject, Earlier: rest.Day})
	}
	return events
}

// heard is what is recorded of the alerts that an incident has got by a webhook:
// episodes that began for callchain with it, on the day on which they came. An
// episode counts once, whatever becomes of it.
func (in *ingest) heard(ob Observe, before, after *Incident) (report.Event, bool) {
	ev := about(after, in.env, in.at)
	ev.Day = in.env.Day(in.at)
	over := make(map[uint64]bool, len(ob.Resolved))
	for _, seen := range ob.Resolved {
		over[seen.Fingerprint] = true
	}
	for _, seen := range ob.Firing {
		fp := seen.Fingerprint
		if in.counted[fp] || before.Episodes.Firing(fp) && !over[fp] {
			continue
		}
		in.count(fp)
		alert := report.Alert{Name: seen.Labels["alertname"], Urgency: seen.Urgency}
		if after.Service == "" {
			alert.Labels = seen.Labels
		}
		ev.Alerts = append(ev.Alerts, alert)
	}
	return ev, len(ev.Alerts) > 0
}

// about is an event that says of which subject, and nothing else.
func about(inc *Incident, env Env, now time.Time) report.Event {
	ev := report.Event{
		At: now.UTC(), Subject: inc.Subject, Service: inc.Service, Named: inc.Named, Team: env.Team(inc),
		State: inc.Lifecycle, Assessment: inc.Assessment, Missing: inc.Missing, Confidential: inc.Confidential,
	}
	if svc := env.Router.Catalog().Service(inc.Service); svc != nil {
		ev.State, ev.Assessment, ev.Missing = svc.State, svc.Assessment, svc.MissingRoles
	}
	return ev
}

func (inc *Incident) alertName() string {
	if len(inc.Shown) > 0 {
		return inc.Shown[0].Labels["alertname"]
	}
	return inc.GroupLabels["alertname"]
}

// wouldPage lists the handles of pages that are new.
func wouldPage(before, after *Incident) []string {
	var who []string
	for i := range after.Deliveries {
		d := &after.Deliveries[i]
		if d.Kind == PageDelivery && before.Delivery(d.ID) == nil && !slices.Contains(who, d.To) {
			who = append(who, d.To)
		}
	}
	return who
}

// recordedFact is what is recorded of an alert that opens no incident.
func recordedFact(a Alert, r routing.Resolution, reason string, now time.Time, env Env) report.Event {
	inc := Incident{Target: r.Target, Lifecycle: r.State, Assessment: r.Assessment, Missing: r.MissingRoles, Confidential: r.Confidential}
	ev := about(&inc, env, now)
	ev.Day, ev.Recorded = env.Day(now), reason
	alert := report.Alert{Name: a.Labels["alertname"], Urgency: config.Record}
	if r.Service == "" {
		alert.Labels = a.Labels
	}
	ev.Alerts = []report.Alert{alert}
	for _, k := range r.Risks {
		ev.Risks = append(ev.Risks, report.Risk{Kind: k, At: now.UTC(), Alert: alert.Name})
	}
	return ev
}

// takenBack corrects what was recorded of an alert that opens an incident after all.
func takenBack(n Noted, a Alert, env Env) report.Event {
	return report.Event{
		Day: env.Day(n.At.Time()), At: n.At.Time(), Subject: n.Subject,
		TakenBack: &report.TakenBack{Alert: a.Labels["alertname"], Reason: n.Reason, Risks: n.Risks},
	}
}
