package escalation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

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
	}
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
	return inc
}

type stepper struct {
	Incident
	now Instant
	at  time.Time
	env Env
}

func (s *stepper) chain(from int, paged []string) routing.Chain {
	set := make(map[string]bool, len(paged))
	for _, h := range paged {
		set[h] = true
	}
	return s.env.Router.Chain(s.Target, s.Urgency, s.at, from, set)
}

// --- alerts ---

func (s *stepper) observe(ev Observe) Answer {
	born := s.Rev == 0 && s.LastSeq == 0
	wasOpen := s.Open()
	var added, resolved int
	var over []Gone
	for _, seen := range ev.Resolved {
		i, ok := s.Episodes.find(seen.Fingerprint)
		if !ok || (seen.EndsAt != 0 && seen.EndsAt < s.Episodes[i].StartsAt) {
			continue
		}
		ends := seen.EndsAt
		if ends == 0 {
			ends = s.now
		}
		s.Episodes = slices.Delete(s.Episodes, i, i+1)
		over = append(over, Gone{seen.Fingerprint, ends, s.now})
		s.Over++
		resolved++
		for j := range s.Shown {
			if s.Shown[j].Fingerprint == seen.Fingerprint {
				s.Shown[j].EndsAt = ends
			}
		}
	}
	if len(over) > 0 {
		s.Gone = bury(fresh(s.Gone, s.now), over)
	}
	for _, seen := range ev.Firing {
		if seen.ReviewAt != 0 && (s.ReviewAt == 0 || seen.ReviewAt < s.ReviewAt) {
			s.ReviewAt = seen.ReviewAt
		}
		for _, r := range seen.Risks {
			s.risk(r)
		}
		if seen.Confidential && !s.Confidential {
			s.Confidential = true
			s.Rev++
		}
		i, known := s.Episodes.find(seen.Fingerprint)
		if known {
			e := &s.Episodes[i]
			e.StartsAt = max(e.StartsAt, seen.StartsAt)
			if seen.Urgency.Rank() > e.Urgency.Rank() {
				e.Urgency = seen.Urgency
			}
			continue
		}
		s.Episodes = slices.Insert(s.Episodes, i, Episode{seen.Fingerprint, seen.StartsAt, seen.Urgency})
		s.Gone = slices.DeleteFunc(s.Gone, func(g Gone) bool { return g.Fingerprint == seen.Fingerprint })
		seen.Alert.ReviewAt = seen.ReviewAt
		s.show(seen.Alert)
		added++
	}
	truncated := ev.Truncated != s.Truncated
	s.Truncated = ev.Truncated
	// A word about the incident is noted to the minute, so that repeats and
	// second copies from a peer cost no write.
	if s.now >= s.SeenAt.plus(time.Minute) {
		s.SeenAt = s.now
	}

	switch {
	case !wasOpen && added > 0:
		s.reopen()
	case !wasOpen:
		return Answer{Kind: Unchanged}
	case born:
		s.FactDay = s.env.Day(s.at)
		s.note("opened: "+s.alertWords(added)+" for "+s.Subject, "")
		s.setUrgency(s.Episodes.highest())
		s.boards()
		s.start()
	case s.Episodes.highest().Rank() > s.Urgency.Rank():
		s.rise("an alert of higher urgency fires", "")
	case added > 0:
		e := s.note(fmt.Sprintf("%d more %s: %d in all", added, fires(added), s.Firing()), "")
		if s.State == Acknowledged && s.Ack != nil {
			e.Mention = s.Ack.Handle
		}
		s.Rev++
	case resolved > 0 && s.still() > 0:
		s.note(fmt.Sprintf("%d resolved, %d still firing", resolved, s.Firing()), "")
		s.Rev++
	case truncated:
		s.Rev++
	}
	if s.Open() && s.still() == 0 {
		s.resolve(nil)
	}
	if added+resolved == 0 && !truncated {
		return Answer{Kind: Unchanged}
	}
	return Answer{Kind: Done}
}

// still is the number of alerts that keep the incident open: in an incident that
// pages, only those that would page.
func (s *stepper) still() int {
	if s.Urgency.Pages() {
		return s.Episodes.paging()
	}
	return len(s.Episodes)
}

// show keeps an alert to be shown; when there are too many, one makes room that is
// resolved, or that need not be looked at again when this one has to.
func (s *stepper) show(a Alert) {
	for i := range s.Shown {
		if s.Shown[i].Fingerprint == a.Fingerprint {
			s.Shown[i] = a
			return
		}
	}
	if len(s.Shown) < MaxShown {
		s.Shown = append(s.Shown, a)
		return
	}
	for i := range s.Shown {
		// One that is to be looked at again has to be known by its labels.
		if s.Shown[i].EndsAt != 0 || a.ReviewAt != 0 && s.Shown[i].ReviewAt == 0 {
			s.Shown[i] = a
			return
		}
	}
}

// flappingAfter is how many times an incident may fire again and page at once.
const flappingAfter = 5

// reopen goes on where the incident was: with whoever had acknowledged it not
// long ago, else at the step that the chain had reached.
func (s *stepper) reopen() {
	was := s.Urgency
	s.State, s.ClosedAt, s.ArchiveAt, s.ClosedBy = Triggered, 0, 0, nil
	s.Opens++
	s.FactDay = s.env.Day(s.at)
	s.Urgency = s.Episodes.highest()
	again := "fires again: " + s.alertWords(s.Firing())
	worse := s.Urgency.Rank() > was.Rank()
	if s.Ack != nil && !worse && s.now < s.Ack.At.plus(s.env.Settings.AckExpires.For(s.Urgency)) {
		s.State = Acknowledged
		s.note(again+"; it stays with "+s.Ack.String(), s.Ack.Handle).Mention = s.Ack.Handle
		s.Rev++
		return
	}
	s.Ack = nil
	flapping := s.Opens > flappingAfter
	if flapping {
		again += "; it flaps, so firing again pages nobody at once any more"
	}
	s.note(again, "")
	s.boards()
	switch {
	case worse || !s.Urgency.Pages() && !flapping:
		s.start()
	case s.Urgency.Pages():
		s.resume(flapping)
	default:
		s.Rev++
	}
}

// resume begins the step that the chain had reached anew. A flapping incident
// pages nobody for that: only when it goes on for the step's whole wait the
// next step is paged.
func (s *stepper) resume(quietly bool) {
	c := s.chain(s.Step, nil)
	if s.Round == 0 || len(c.Steps) == 0 {
		s.start()
		return
	}
	s.Rev++
	s.Run++
	s.FiredAt = s.now
	if !quietly {
		s.RoundPaged = nil
		s.enter(c, "")
		return
	}
	s.StepAt = s.now
	s.Deadline = s.now.plus(max(c.Steps[0].AckWithin, time.Millisecond))
}

// rise starts the chain anew because the urgency is higher than it was, also
// when somebody has acknowledged the lower one.
func (s *stepper) rise(why, by string) {
	old := s.Urgency
	s.setUrgency(s.Episodes.highest())
	s.note(fmt.Sprintf("urgency rises from %s to %s: %s", old, s.Urgency, why), by)
	s.State, s.Ack = Triggered, nil
	s.boards()
	s.start()
}

func (s *stepper) setUrgency(u config.Urgency) {
	if u.Rank() > s.Urgency.Rank() || s.Urgency == "" {
		s.Urgency = u
	}
}

// start begins what the urgency asks for.
func (s *stepper) start() {
	s.Rev++
	s.FiredAt = s.now
	if s.Urgency.Pages() {
		s.startChain()
		return
	}
	s.stopTimers()
	s.Round = 0
	s.mailTeam()
}

// --- the chain ---

func (s *stepper) startChain() {
	s.Run++
	s.Exhausted, s.ExhaustAt = false, 0
	s.Round, s.RoundPaged = 1, nil
	s.enter(s.chain(0, nil), "")
}

// enter takes the first step of the chain that is left.
func (s *stepper) enter(c routing.Chain, by string) {
	if len(c.Steps) == 0 { // a test page to somebody who left the catalog meanwhile
		s.exhaust()
		return
	}
	step := c.Steps[0]
	for _, r := range c.Risks {
		s.risk(r)
	}
	s.Rounds = c.Rounds
	s.Step, s.Through = step.Index, step.Through
	s.Position, s.Positions = step.Position, step.Position+len(c.Steps)-1
	s.StepAt = s.now
	s.Deadline = s.now.plus(max(step.AckWithin, time.Millisecond))
	s.armReminder(c.RemindEvery)
	s.Asked = step.People
	var reminded, paged []string
	for _, h := range step.People {
		if slices.Contains(s.RoundPaged, h) {
			reminded = append(reminded, h)
			s.remind(h)
			continue
		}
		paged = append(paged, h)
		s.page(h, step)
	}
	var what []string
	if len(paged) > 0 {
		what = append(what, "paged "+strings.Join(paged, ", "))
	}
	if len(reminded) > 0 {
		what = append(what, "reminded "+strings.Join(reminded, ", "))
	}
	where := fmt.Sprintf("step %d of %d", s.Position, s.Positions)
	if s.Round > 1 {
		where += fmt.Sprintf(" (round %d of %d)", s.Round, s.Rounds)
	}
	s.note(fmt.Sprintf("%s: %s (%s)", where, strings.Join(what, "; "), step.Reason), by)
	s.Rev++
	s.skipUnreachable()
}

func (s *stepper) armReminder(every time.Duration) {
	s.RemindAt = 0
	if s.Assessment == catalog.Decommissioned {
		return // a stale rule asks once, it does not nag
	}
	if at := s.now.plus(every); every > 0 && at < s.Deadline {
		s.RemindAt = at
	}
}

// page asks one person, on all their channels at once.
func (s *stepper) page(handle string, step routing.Step) {
	s.RoundPaged = append(s.RoundPaged, handle)
	if !slices.ContainsFunc(s.Paged, func(p Paged) bool { return p.Handle == handle }) {
		s.Paged = append(s.Paged, Paged{Handle: handle, As: step.Notify, At: s.now, Step: s.Position})
	}
	channels := s.env.contact(handle)
	if len(channels) == 0 {
		s.unreached(handle, "the catalog has no address of theirs on a channel that is configured")
	}
	if len(channels) > 0 {
		s.Woken++
		s.supersede(handle)
	}
	for _, ch := range channels {
		s.add(s.pageDelivery(handle, ch, step.Notify, step.Reason))
	}
}

// supersede makes room for a new page to somebody: of older ones those that have
// not arrived need not any more, and the last few are enough to be edited.
func (s *stepper) supersede(handle string) {
	const kept = 3
	there := map[string]int{}
	for i := len(s.Deliveries) - 1; i >= 0; i-- {
		d := &s.Deliveries[i]
		if d.Kind != PageDelivery || d.To != handle || d.Status == InFlight {
			continue
		}
		if d.Reached != 0 {
			there[d.Channel]++
		}
		if d.Reached == 0 || there[d.Channel] > kept {
			s.Deliveries = slices.Delete(s.Deliveries, i, i+1)
		}
	}
}

func (s *stepper) pageDelivery(handle string, ch contact, as, why string) Delivery {
	return Delivery{
		ID:   deliveryID(s.ID, s.Run, s.Round, s.Exhausts, s.Step, handle, ch.channel),
		Kind: PageDelivery, Channel: ch.channel, To: handle, Address: ch.address,
		As: as, Why: why, Run: s.Run, Round: s.Round, Position: s.Position,
	}
}

// remind rings again in the thread of the person's last page.
func (s *stepper) remind(handle string) {
	for _, ch := range []string{"slack", "email"} {
		page := s.lastPage(handle, ch)
		if page == nil || page.Reached == 0 {
			continue // the page itself is still under way, or never arrived
		}
		s.add(Delivery{
			ID:   deliveryID(s.ID, "reminder", s.now, handle, ch),
			Kind: ReminderDelivery, Channel: ch, To: handle, Address: page.Address, Parent: page.ID,
			As: page.As, Why: page.Why, Run: s.Run, Round: s.Round, Position: s.Position,
		})
	}
}

func (s *stepper) lastPage(handle, channel string) *Delivery {
	for i := len(s.Deliveries) - 1; i >= 0; i-- {
		if d := &s.Deliveries[i]; d.Kind == PageDelivery && d.To == handle && d.Channel == channel {
			return d
		}
	}
	return nil
}

// advance takes the next step, the next round, or ends the chain.
func (s *stepper) advance(by string) {
	c := s.chain(s.Through+1, s.RoundPaged)
	if len(c.Steps) == 0 {
		if s.Round >= c.Rounds {
			s.exhaust()
			return
		}
		s.Round++
		s.RoundPaged = nil
		c = s.chain(0, nil)
	}
	s.Moves++
	s.enter(c, by)
}

// left tells whether advance would page somebody.
func (s *stepper) left() bool {
	c := s.chain(s.Through+1, s.RoundPaged)
	return len(c.Steps) > 0 || s.Round < c.Rounds
}

func (s *stepper) exhaust() {
	s.Deadline, s.RemindAt, s.Asked = 0, 0, nil
	s.Rev++
	if s.Kind == Test {
		s.close()
		s.note("nobody pressed Acknowledge: the test is over", "")
		return
	}
	s.Exhausted = true
	s.risk(routing.RiskExhausted)
	s.ExhaustAt = s.now.plus(s.exhaustedEvery())
	rounds := "in one round"
	if s.Rounds > 1 {
		rounds = fmt.Sprintf("in %d rounds", s.Rounds)
	}
	e := s.note("nobody answered "+rounds+": the incident stays open", "")
	e.Ring = true
}

func (s *stepper) exhaustedEvery() time.Duration {
	if s.Assessment == catalog.Decommissioned {
		return 24 * time.Hour // nearly always a stale rule: once a day
	}
	return time.Duration(s.env.Settings.ExhaustedEvery.V)
}

// exhaustedAgain asks the fallback team again: pages it for an unbreak now, tells its board otherwise.
func (s *stepper) exhaustedAgain() {
	s.forget(deliveryID(s.ID, "exhausted", s.Run, s.Exhausts)) // the last one is enough to look at
	s.Exhausts++
	s.ExhaustAt = s.now.plus(s.exhaustedEvery())
	s.Rev++
	fallback := s.env.Router.Fallback()
	since := model.Duration(s.at.Sub(s.OpenedAt.Time()).Round(time.Minute))
	if s.Urgency == config.UnbreakNow {
		c := s.env.Router.Chain(routing.Target{Subject: "unmapped"}, s.Urgency, s.at, 0, nil)
		step := c.Steps[0]
		step.Reason = fmt.Sprintf("nobody has answered for %v, so the fallback team is asked again", since)
		s.RoundPaged = nil
		for _, h := range step.People {
			s.page(h, step)
		}
		s.note("still nobody: paged "+strings.Join(step.People, ", ")+" of the fallback team again", "").Ring = true
		return
	}
	channel := fallback.SlackChannel
	if channel == "" {
		channel = s.env.Channel
	}
	if channel != "" && s.env.Channels["slack"] {
		s.add(Delivery{ID: deliveryID(s.ID, "exhausted", s.Run, s.Exhausts), Kind: BoardDelivery, Channel: "slack", To: fallback.Name, Address: channel})
	} else if fallback.Email != "" && s.env.Channels["email"] {
		s.add(Delivery{ID: deliveryID(s.ID, "exhausted", s.Run, s.Exhausts, "email"), Kind: BoardDelivery, Channel: "email", To: fallback.Name, Address: fallback.Email})
	}
	s.note(fmt.Sprintf("still nobody after %v: told the fallback team", since), "")
}

func (s *stepper) stopTimers() {
	s.Deadline, s.RemindAt, s.ExhaustAt, s.Asked = 0, 0, 0, nil
}

// skipUnreachable ends a step at once when no channel can reach any of its
// people: the next follows within seconds.
func (s *stepper) skipUnreachable() {
	if s.State != Triggered || len(s.Asked) == 0 {
		return
	}
	for _, h := range s.Asked {
		if s.reachable(h) {
			return
		}
	}
	if s.Deadline > s.now {
		s.Deadline, s.RemindAt = s.now, 0
		s.note("no channel reaches "+strings.Join(s.Asked, ", ")+": not waiting for them", "")
	}
}

// reachable tells whether some page to the person has arrived or may yet arrive.
func (s *stepper) reachable(handle string) bool {
	for i := range s.Deliveries {
		d := &s.Deliveries[i]
		if d.Kind == PageDelivery && d.To == handle && d.Status != Failed {
			return true
		}
	}
	return false
}

func (s *stepper) unreached(handle, why string) {
	s.risk(routing.RiskUnreachable)
	for i := range s.Paged {
		if s.Paged[i].Handle == handle {
			s.Paged[i].Failed = why
		}
	}
	s.note("could not reach "+handle+": "+why, "")
	s.Rev++
}

// --- time ---

func (s *stepper) tick() Answer {
	changed := s.takeBack(func(d *Delivery) bool { return d.Until.due(s.now) }).Kind == Done
	if !s.Open() && s.ArchiveAt.due(s.now) {
		s.ArchiveAt, s.Archived, s.Gone = 0, true, nil
		changed = true
	}
	if s.Open() && s.ReviewAt.due(s.now) {
		s.review()
		changed = true
	}
	switch {
	case s.State == Triggered && s.Deadline.due(s.now):
		s.advance("")
		changed = true
	case s.State == Triggered && s.RemindAt.due(s.now):
		for _, h := range s.Asked {
			s.remind(h)
		}
		s.armReminder(s.chain(0, nil).RemindEvery)
		changed = true
	case s.State == Triggered && s.ExhaustAt.due(s.now):
		s.exhaustedAgain()
		changed = true
	}
	if changed {
		return Answer{Kind: Done}
	}
	return Answer{Kind: Unchanged}
}

// renew gives an attempt that is still being made more time.
func (s *stepper) renew(ev Renew) Answer {
	d := s.delivery(ev.Delivery)
	if d == nil || d.Status != InFlight || d.Attempt != ev.Attempt {
		return Answer{Kind: Unchanged} // somebody else makes it by now
	}
	d.Until = s.now.plus(Lease)
	return Answer{Kind: Done}
}

// takeBack makes attempts pending again whose sender is gone: perhaps they
// arrived, perhaps not.
func (s *stepper) takeBack(gone func(*Delivery) bool) Answer {
	answer := Answer{Kind: Unchanged}
	for i := range s.Deliveries {
		if d := &s.Deliveries[i]; d.Status == InFlight && gone(d) {
			d.Status, d.At, d.Slot, d.Until = Pending, s.now, false, 0
			d.Maybe++
			d.Tries++
			answer.Kind = Done
		}
	}
	return answer
}

// review looks again at alerts whose urgency was lowered for a time of the day.
func (s *stepper) review() {
	s.ReviewAt = 0
	for _, a := range s.Shown {
		i, ok := s.Episodes.find(a.Fingerprint)
		if !ok {
			continue
		}
		r := s.env.Router.Route(routing.Alert{Labels: a.Labels}, s.at)
		if r.Urgency.Rank() > s.Episodes[i].Urgency.Rank() {
			s.Episodes[i].Urgency = r.Urgency
		}
		if at := At(r.ReviewAt); at != 0 && (s.ReviewAt == 0 || at < s.ReviewAt) {
			s.ReviewAt = at
		}
	}
	if s.Episodes.highest().Rank() > s.Urgency.Rank() {
		s.rise("the hours in which it counts for more have begun", "")
	}
}

// --- people ---

func (s *stepper) acknowledge(ev Acknowledge) Answer {
	switch {
	case s.State == Resolved && s.Kind == Test && s.Ack != nil:
		return Answer{Kind: Already, By: s.Ack.Actor, At: s.Ack.At}
	case s.State == Resolved:
		return Answer{Kind: Closed, At: s.ClosedAt}
	case s.State == Acknowledged && s.Ack != nil:
		return Answer{Kind: Already, By: s.Ack.Actor, At: s.Ack.At}
	}
	member := !ev.Stranger && s.inChain(ev.By.Handle)
	if !member && !ev.TakeOver && s.env.Settings.AckPolicy.V != "anyone" {
		return Answer{Kind: NotInChain}
	}
	s.Ack = &Ack{Actor: ev.By, At: s.now, TookOver: !member}
	s.State, s.Exhausted = Acknowledged, false
	s.stopTimers()
	text := "acknowledged by " + ev.By.String() + via(ev.By.Via)
	if !member {
		text += ", who is not in the chain"
	}
	s.note(text, ev.By.Handle)
	s.Rev++
	if s.heroic(ev.By.Handle, member) {
		s.risk(routing.RiskHeroics)
	}
	if s.Kind == Test {
		s.close()
		return Answer{Kind: Done}
	}
	s.tell("acknowledged", ev.By.Handle)
	return Answer{Kind: Done}
}

// inChain tells whether the person may answer: they are in the chain, or were paged.
func (s *stepper) inChain(handle string) bool {
	if slices.ContainsFunc(s.Paged, func(p Paged) bool { return p.Handle == handle }) {
		return true
	}
	for _, step := range s.chain(0, nil).Steps {
		if slices.Contains(step.People, handle) {
			return true
		}
	}
	return false
}

// heroic tells whether somebody answered for whom ownership should have
// answered: neither in an owning team nor in the chain, or of the fallback team
// although the service has owners. It does not make them an owner.
func (s *stepper) heroic(handle string, member bool) bool {
	cat := s.env.Router.Catalog()
	svc := cat.Service(s.Service)
	in := func(t *catalog.Team) bool {
		return t != nil && slices.ContainsFunc(t.Members, func(p *catalog.Person) bool { return p.Handle == handle })
	}
	owner := false
	if svc != nil {
		for _, t := range svc.Owners {
			owner = owner || in(t)
		}
	}
	if owner || s.Kind == Test {
		return false
	}
	if !member {
		return true
	}
	return svc != nil && len(svc.Owners) > 0 && in(s.env.Router.Fallback())
}

func (s *stepper) escalate(ev Escalate) Answer {
	switch {
	case s.State == Resolved:
		return Answer{Kind: Closed, At: s.ClosedAt}
	case s.State == Acknowledged && s.Ack != nil:
		return Answer{Kind: Already, By: s.Ack.Actor, At: s.Ack.At}
	case ev.From != nil && *ev.From != s.Place():
		return Answer{Kind: MovedOn}
	case s.Round == 0 || s.Exhausted || s.Kind == Test || !s.left():
		return Answer{Kind: NobodyLeft}
	}
	s.note(ev.By.String()+" escalated"+via(ev.By.Via), ev.By.Handle)
	s.advance(ev.By.Handle)
	return Answer{Kind: Done}
}

// Place is the step that the chain has reached.
func (inc *Incident) Place() Place { return Place{inc.Run, inc.Round, inc.Step} }

func (s *stepper) resolveByHand(ev ResolveByHand) Answer {
	if !s.Open() {
		return Answer{Kind: Closed, At: s.ClosedAt}
	}
	s.resolve(&ev.By)
	return Answer{Kind: Done}
}

// resolve closes the incident; by is nil when its alerts did.
func (s *stepper) resolve(by *Actor) {
	s.close()
	s.ClosedBy, s.Exhausted, s.ReviewAt = by, false, 0
	s.stopTimers()
	if by != nil {
		s.note("resolved by "+by.String()+via(by.Via), by.Handle)
	} else {
		s.note("resolved: all its alerts are over", "")
	}
	s.Rev++
	skip := ""
	if by != nil {
		skip = by.Handle
	}
	s.tell("resolved", skip)
}

func (s *stepper) close() {
	s.State, s.ClosedAt = Resolved, s.now
	s.ArchiveAt = s.now.plus(max(s.env.reopenWithin(), LateCopy))
}

// tell mails everybody who was paged by mail what became of it. In Slack their
// page is edited instead.
func (s *stepper) tell(what, except string) {
	told := map[string]bool{except: true}
	for _, d := range slices.Clone(s.Deliveries) {
		if d.Kind != PageDelivery || d.Channel != "email" || told[d.To] || d.Reached == 0 && d.Status != InFlight && d.Maybe == 0 {
			continue
		}
		told[d.To] = true
		s.add(Delivery{
			ID: deliveryID(s.ID, "told", what, s.Run, s.Opens, d.To), Kind: ToldDelivery, Channel: "email",
			To: d.To, Address: d.Address, Parent: d.ID,
		})
	}
}

// --- boards ---

// boards adds the shared messages that the incident has: of the team that
// answers, of the also affected services, and of volunteers, who are told and
// never waited for.
func (s *stepper) boards() {
	cat := s.env.Router.Catalog()
	if !s.env.Channels["slack"] {
		return
	}
	board := func(team *catalog.Team, address string, readOnly bool) {
		if address == "" {
			return
		}
		id := deliveryID(s.ID, "board", address)
		if s.delivery(id) != nil {
			return
		}
		name := ""
		if team != nil {
			name = team.Name
		}
		s.add(Delivery{ID: id, Kind: BoardDelivery, Channel: "slack", To: name, Address: address, ReadOnly: readOnly})
		if !readOnly {
			s.add(Delivery{ID: deliveryID(s.ID, "thread", address), Kind: ThreadDelivery, Channel: "slack", To: name, Address: address, Parent: id})
		}
	}
	team := s.boardTeam(s.Service)
	address := s.env.Channel
	if team != nil && team.SlackChannel != "" {
		address = team.SlackChannel
	}
	board(team, address, false)
	for _, name := range s.AlsoAffected {
		if t := s.boardTeam(name); t != nil {
			board(t, t.SlackChannel, true)
		}
	}
	if svc := cat.Service(s.Service); svc != nil && s.Urgency.Pages() && !s.Confidential {
		for _, t := range svc.Volunteers {
			board(t, t.SlackChannel, true)
		}
	}
}

// boardTeam is the team whose channel is the board: of incident response, else
// of development, else of contingency development; without a service the team
// itself, else the fallback team.
func (s *stepper) boardTeam(service string) *catalog.Team {
	cat := s.env.Router.Catalog()
	svc := cat.Service(service)
	if svc == nil || svc.State == config.Decommissioned {
		if t := cat.Team(s.Team); t != nil {
			return t
		}
		return s.env.Router.Fallback()
	}
	var first *catalog.Team
	for _, role := range []config.Role{config.IncidentResponse, config.Development, config.ContingencyDevelopment} {
		if t := svc.Owners[role]; t != nil {
			if t.SlackChannel != "" {
				return t
			}
			if first == nil {
				first = t
			}
		}
	}
	return first
}

// mailTeam tells a team of an alert that wakes nobody, by mail as well.
func (s *stepper) mailTeam() {
	team := s.boardTeam(s.Service)
	if team == nil || !s.env.Channels["email"] {
		return
	}
	address := team.Email
	if address == "" && !slices.ContainsFunc(s.Deliveries, func(d Delivery) bool { return d.Kind == BoardDelivery }) {
		// No board and no address of the team: the fallback team's is better than silence.
		team = s.env.Router.Fallback()
		address = team.Email
	}
	if address != "" {
		s.add(Delivery{ID: deliveryID(s.ID, "mail", s.Opens, address), Kind: BoardDelivery, Channel: "email", To: team.Name, Address: address})
	}
}

// --- small things ---

func (s *stepper) note(text, by string) *Entry {
	s.LastSeq++
	s.Timeline = append(s.Timeline, Entry{Seq: s.LastSeq, At: s.now, Text: text, By: by})
	if n := len(s.Timeline) - MaxTimeline; n > 0 {
		s.Timeline = slices.Delete(s.Timeline, 0, n)
	}
	return &s.Timeline[len(s.Timeline)-1]
}

func (s *stepper) risk(r routing.Risk) {
	if !slices.Contains(s.Risks, r) {
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
