package engine

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/notifiers"
	"callchain/routing"
	"callchain/routing/catalog"
)

// message derives what a delivery says from the incident as it is now.
func (e *Engine) message(snap *Snapshot, inc *escalation.Incident, d escalation.Delivery) notifiers.Message {
	now := e.store.Now()
	msg := notifiers.Message{
		ID:       d.ID,
		Attempt:  d.Attempt,
		Tries:    d.Tries,
		Kind:     notifiers.Kind(d.Kind),
		Address:  d.Address,
		Ref:      notifiers.Ref{Channel: d.Ref.Channel, TS: d.Ref.TS},
		Edit:     d.Ref != (escalation.Ref{}),
		ReadOnly: d.ReadOnly,
		Now:      now,
	}
	if d.Maybe > 0 {
		msg.PerhapsSince = inc.OpenedAt.Time()
	}
	if d.Kind == escalation.NoticeDelivery {
		msg.Notice = &notifiers.Text{Title: inc.Title, Body: notifiers.Untrusted(inc.Body)}
		return msg
	}
	if p := inc.Delivery(d.Parent); p != nil && p.In == "" { // what a digest names has no thread of its own
		msg.Ref, msg.Edit = notifiers.Ref{Channel: p.Ref.Channel, TS: p.Ref.TS}, false
	}
	if d.Kind == escalation.ReportDelivery {
		return msg // what it says is computed where the facts can be read
	}
	msg.Incident = view(snap, inc, now)
	if e.shore != nil && inc.Open() {
		msg.Incident.Notes = append(msg.Incident.Notes, islandNote)
	}
	msg.Incident.Revision = d.Sending
	if t := snap.Catalog.Team(d.To); inc.Confidential && d.Kind == escalation.BoardDelivery && t != nil && t.Kind == config.Volunteer {
		msg.Incident.Conceal()
	}
	switch d.Kind {
	case escalation.PageDelivery, escalation.ReminderDelivery, escalation.ToldDelivery, escalation.QuestionDelivery, escalation.DigestDelivery:
		msg.You = you(snap, inc, d, now)
		msg.You.MayCome2 = msg.You.MayCome2 || e.shore != nil
		if p := snap.Catalog.Person(d.To); p != nil {
			msg.Email = p.Email
			switch {
			case d.Channel == notifiers.Slack && p.Slack != "":
				msg.Address = p.Slack
			case d.Channel == notifiers.Email && p.Email != "":
				msg.Address = p.Email
			}
		}
	case escalation.ThreadDelivery:
		msg.Incident.Revision = inc.Rev
		for _, line := range inc.Timeline {
			if line.Seq > d.Done && line.Seq <= int(d.Sending) {
				msg.Lines = append(msg.Lines, notifiers.Line{At: line.At.Time(), Text: notifiers.Untrusted(line.Text), Ring: line.Ring})
				if line.Mention != "" {
					msg.Mention = appendSlack(msg.Mention, snap, line.Mention)
				}
			}
		}
	case escalation.BoardDelivery:
		if t := snap.Catalog.Team(d.To); t != nil && !d.ReadOnly && inc.Urgency.Pages() {
			msg.Usergroup = t.SlackUsergroup
		}
	case escalation.NoticeDelivery:
	}
	return msg
}

func appendSlack(ids []string, snap *Snapshot, handle string) []string {
	if p := snap.Catalog.Person(handle); p != nil && p.Slack != "" && !slices.Contains(ids, p.Slack) {
		return append(ids, p.Slack)
	}
	return ids
}

func you(snap *Snapshot, inc *escalation.Incident, d escalation.Delivery, now time.Time) *notifiers.You {
	y := &notifiers.You{
		Handle: d.To, Name: d.To, Timezone: time.UTC, As: as(inc, d.As), Why: d.Why,
		Step: d.Position, Steps: max(inc.Positions, d.Position), Round: d.Round, Rounds: inc.Rounds, MayCome2: d.Maybe > 0,
	}
	if p := snap.Catalog.Person(d.To); p != nil {
		y.Timezone = p.Timezone
	} else if inc.Ack != nil && inc.Ack.Handle == d.To {
		y.Name = inc.Ack.String()
	}
	if d.Hand != 0 {
		y.Steps = 0 // out of the chain's order
	}
	y.Beside = inc.State != escalation.Triggered && inc.Beside != nil && slices.Contains(inc.Beside.People, d.To)
	if d.Channel == notifiers.Email && snap.Link != nil && inc.Open() {
		y.AckURL = snap.Link(inc.ID, d.To, now.Add(7*24*time.Hour))
	}
	return y
}

// as says in words what a step asks people as.
func as(inc *escalation.Incident, notify string) string {
	switch {
	case notify == "fallback":
		return "the fallback team"
	case notify == "engineering_manager":
		return "engineering manager"
	case strings.HasPrefix(notify, "team:"):
		return "team " + strings.TrimPrefix(notify, "team:")
	case strings.HasPrefix(notify, "person:"), notify == "director", notify == "":
		return strings.TrimPrefix(notify, "person:")
	}
	return words(config.Role(notify)) + " owner of " + displayName(inc)
}

// words is a role as people say it.
func words(r config.Role) string { return strings.ReplaceAll(string(r), "_", " ") }

// displayName is what people call the subject.
func displayName(inc *escalation.Incident) string {
	if inc.Service != "" {
		return inc.Service
	}
	_, name, ok := strings.Cut(inc.Subject, ":")
	if !ok {
		return "an unmapped alert"
	}
	return name
}

// view is what every message of an incident says about it.
func view(snap *Snapshot, inc *escalation.Incident, now time.Time) notifiers.Incident {
	svc := snap.Catalog.Service(inc.Service)
	v := notifiers.Incident{
		ID:           inc.ID,
		Revision:     inc.Rev,
		State:        notifiers.State(inc.State),
		Urgency:      inc.Urgency,
		Exhausted:    inc.Exhausted,
		Test:         inc.Kind == escalation.Test,
		Subject:      inc.Subject,
		Name:         displayName(inc),
		Known:        svc != nil,
		Lifecycle:    inc.Lifecycle,
		Assessment:   string(inc.Assessment),
		AlsoAffected: inc.AlsoAffected,
		Matched:      inc.Reason,
		Confidential: inc.Confidential,
		Firing:       inc.Firing(),
		Resolved:     inc.Over,
		Truncated:    inc.Truncated,
		OpenedAt:     inc.OpenedAt.Time(),
		ResolvedAt:   inc.ClosedAt.Time(),
		Token:        escalation.ButtonToken(inc.ID, inc.Place()),
	}
	if svc != nil {
		v.CatalogPlace = place(snap, svc.Pos)
		v.Lifecycle = svc.State
		v.Assessment = string(svc.Assessment)
		if t := svc.Owners[config.ConfigurationDeployment]; t != nil {
			v.CanDeploy = t.Name
		}
		v.Runbook, v.Dashboard = notifiers.Untrusted(svc.Runbook), notifiers.Untrusted(svc.Dashboard)
	}
	if inc.Kind == escalation.Alerts || inc.Kind == escalation.ByHand {
		v.Missing = missing(inc, svc)
	}
	alerts(&v, inc)
	switch inc.Kind {
	case escalation.Drill:
		v.Drill, v.AlertName, v.Summary = true, "practice page", "This is a drill: nothing is broken."
		if inc.State == escalation.Triggered {
			v.Notes = append(v.Notes, "This is a drill: acknowledge as you would a real page. That ends it; without an answer the next step is paged.")
		}
	case escalation.Missed:
		v.Assessment = "" // it is about a team's Alertmanager, not about something owned
	case escalation.ByHand:
		v.AlertName, v.Summary = "paged by hand", notifiers.Untrusted(inc.Body)
		if inc.Sender != nil {
			v.AlertName = notifiers.Untrusted("paged by " + inc.Sender.String())
		}
	case escalation.Alerts, escalation.Test, escalation.Notice, escalation.Report, escalation.Digest:
	}
	if inc.State == escalation.Acknowledged && inc.Ack != nil {
		v.AckExpires = inc.Ack.Expires.Time()
	}
	if inc.State == escalation.Snoozed {
		v.SnoozedUntil = inc.SnoozedUntil.Time()
	}
	v.Flapping = inc.Flapping()
	who(&v, snap, inc)
	v.Next = next(snap, inc, now)
	v.Held = notifiers.Untrusted(inc.HeldBecause())
	if inc.Stale {
		v.Notes = append(v.Notes, "Alertmanager has not spoken of this for a long time: look whether it still fires, and resolve it here if it does not.")
	}
	if inc.State == escalation.Triggered && inc.Kind == escalation.Alerts && inc.Round > 0 && snap.Witnesses[inc.Source] == nil {
		v.Notes = append(v.Notes, "A silence in Alertmanager does not stop this escalation: acknowledge here.")
	}
	if inc.State == escalation.Acknowledged && inc.Ack != nil && slices.Contains(inc.Risks, routing.RiskHeroics) {
		v.Notes = append(v.Notes, "Answering does not make "+inc.Ack.String()+" an owner.")
	}
	if u := snap.Config.ExternalURL.V; u != "" {
		v.Page = strings.TrimSuffix(u, "/") + "/incidents/" + inc.ID
	}
	return v
}

// place is where an entry of the catalog stands, seen from the folder of the configuration.
func place(snap *Snapshot, pos config.Pos) string {
	file := pos.File
	if rel, err := filepath.Rel(filepath.Dir(snap.Config.File), file); err == nil && !strings.HasPrefix(rel, "..") {
		file = rel
	}
	return fmt.Sprintf("%s:%d", file, pos.Line)
}

// missing says in plain words what does not hold in the subject's ownership.
func missing(inc *escalation.Incident, svc *catalog.Service) []string {
	name := displayName(inc)
	notYours := "Answering this page does not make you its owner."
	if svc == nil {
		switch {
		case inc.Named != "":
			return []string{fmt.Sprintf("The alert names %q, which the catalog lacks: nobody is known to own it.", inc.Named), notYours}
		default:
			return []string{"No rule and no label says which service this alert is about: nobody is known to own it.", notYours}
		}
	}
	var roles []string
	for _, r := range svc.MissingRoles {
		roles = append(roles, words(r))
	}
	list := strings.Join(roles, ", ")
	switch svc.Assessment {
	case catalog.Decommissioned:
		return []string{name + " is decommissioned: the alert's rule is most likely stale. Remove it, or find out who still runs this.", notYours}
	case catalog.Unowned:
		if list == "" {
			return []string{name + " is unowned: no team answers for it.", notYours}
		}
		return []string{name + " is unowned: nobody holds " + list + ".", notYours}
	case catalog.Partial:
		return []string{name + " is only partially owned, which is to be planned as unowned: nobody holds " + list + ".", notYours}
	}
	return nil
}

// alerts fills in what fires: firing alerts first, the labels that tell them apart first.
func alerts(v *notifiers.Incident, inc *escalation.Incident) {
	shown := slices.Clone(inc.Shown)
	slices.SortStableFunc(shown, func(a, b escalation.Alert) int {
		switch {
		case (a.EndsAt == 0) == (b.EndsAt == 0):
			return 0
		case a.EndsAt == 0:
			return -1
		}
		return 1
	})
	common := map[string]string{}
	for i, a := range shown {
		for k, val := range a.Labels {
			if i == 0 {
				common[k] = val
			} else if c, ok := common[k]; ok && c != val {
				delete(common, k)
			}
		}
		for k := range common {
			if _, ok := a.Labels[k]; !ok {
				delete(common, k)
			}
		}
	}
	for i, a := range shown {
		if i == 0 {
			v.AlertName = notifiers.Untrusted(a.Labels["alertname"])
			v.Summary = notifiers.Untrusted(firstOf(a.Annotations, "summary", "message", "description"))
			if s := firstOf(a.Annotations, "runbook_url", "runbook"); s != "" {
				v.Runbook = notifiers.Untrusted(s)
			}
			if s := firstOf(a.Annotations, "dashboard", "dashboard_url", "dashboardURL"); s != "" {
				v.Dashboard = notifiers.Untrusted(s)
			}
			v.Source = notifiers.Untrusted(a.Source)
			v.Silence = silence(inc, a)
		}
		v.Alerts = append(v.Alerts, notifiers.Alert{
			Firing:   a.EndsAt == 0,
			Name:     notifiers.Untrusted(a.Labels["alertname"]),
			Summary:  notifiers.Untrusted(firstOf(a.Annotations, "summary", "message", "description")),
			Labels:   ordered(a.Labels, common),
			StartsAt: a.StartsAt.Time(),
			EndsAt:   a.EndsAt.Time(),
		})
	}
}

func firstOf(m map[string]string, keys ...string) string {
	for _, k := range keys {
		if m[k] != "" {
			return m[k]
		}
	}
	return ""
}

func ordered(labels, common map[string]string) []notifiers.Label {
	var own, shared []string
	for k := range labels {
		switch {
		case k == "alertname":
		case common[k] == labels[k]:
			shared = append(shared, k)
		default:
			own = append(own, k)
		}
	}
	slices.Sort(own)
	slices.Sort(shared)
	var out []notifiers.Label
	for _, k := range append(own, shared...) {
		out = append(out, notifiers.Label{Name: notifiers.Untrusted(k), Value: notifiers.Untrusted(labels[k])})
	}
	return out
}

// silence is the address of Alertmanager's form for a new silence of this group,
// or, where the group has no labels, of this alert.
func silence(inc *escalation.Incident, a escalation.Alert) notifiers.Untrusted {
	if inc.ExternalURL == "" {
		return ""
	}
	labels := inc.GroupLabels
	if len(labels) == 0 {
		labels = a.Labels
	}
	var terms []string
	for k, val := range labels {
		terms = append(terms, k+"="+fmt.Sprintf("%q", val))
	}
	slices.Sort(terms)
	return notifiers.Untrusted(strings.TrimSuffix(inc.ExternalURL, "/") + "/#/silences/new?filter=" + url.QueryEscape("{"+strings.Join(terms, ", ")+"}"))
}

// who fills in whom it has woken and who answered.
func who(v *notifiers.Incident, snap *Snapshot, inc *escalation.Incident) {
	if inc.Ack != nil && inc.State != escalation.Triggered {
		v.By, v.ByVia, v.ByAt = inc.Ack.String(), inc.Ack.Via, inc.Ack.At.Time()
	}
	if inc.State == escalation.Snoozed && inc.SnoozedBy != nil {
		v.By, v.ByVia, v.ByAt = inc.SnoozedBy.String(), inc.SnoozedBy.Via, time.Time{}
	}
	if inc.ClosedBy != nil {
		v.By, v.ByVia, v.ByAt = inc.ClosedBy.String(), inc.ClosedBy.Via, inc.ClosedAt.Time()
	}
	v.Step, v.Round = inc.Position, inc.Round
	for _, p := range inc.Paged {
		paged := notifiers.Paged{Name: p.Handle, As: as(inc, p.As), At: p.At.Time(), Step: p.Step, Failed: p.Failed}
		if person := snap.Catalog.Person(p.Handle); person != nil {
			paged.SlackID = person.Slack
		}
		for i := range inc.Deliveries {
			d := &inc.Deliveries[i]
			if d.Kind == escalation.PageDelivery && d.To == p.Handle && d.Reached != 0 && !slices.Contains(paged.Channels, d.Channel) {
				paged.Channels = append(paged.Channels, d.Channel)
			}
		}
		v.Paged = append(v.Paged, paged)
	}
}

// Next is who is paged without an answer, as what and when, as the pages
// say it; nil when no timer of the chain runs.
func (s *Snapshot) Next(inc *escalation.Incident, now time.Time) *notifiers.Next {
	return next(s, inc, now)
}

// next says what happens without an answer. It is a forecast: who is on call is
// looked up again when the time comes.
func next(snap *Snapshot, inc *escalation.Incident, now time.Time) *notifiers.Next {
	if inc.State != escalation.Triggered || inc.Deadline == 0 {
		return nil
	}
	at := inc.Deadline.Time()
	if at.Before(now) {
		at = now
	}
	from, handles := inc.Ahead()
	paged := map[string]bool{}
	for _, h := range handles {
		paged[h] = true
	}
	n := &notifiers.Next{At: at}
	c := snap.Router.Chain(inc.Target, inc.Urgency, at, from, paged)
	if len(c.Steps) == 0 && inc.Round < c.Rounds {
		n.Again = true
		c = snap.Router.Chain(inc.Target, inc.Urgency, at, 0, nil)
	}
	if len(c.Steps) == 0 {
		n.Last = true
		return n
	}
	n.As = as(inc, c.Steps[0].Notify)
	for _, h := range c.Steps[0].People {
		if n.Again || !paged[h] { // who was paged in this round is only reminded
			n.Names = append(n.Names, h)
		}
	}
	if len(n.Names) == 0 {
		n.Names = c.Steps[0].People
	}
	return n
}
