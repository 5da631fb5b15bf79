package notifiers

import (
	"fmt"
	"strings"
	"time"

	"callchain/config"
)

// MaxAlerts is how many alerts of an incident a message names.
const MaxAlerts = 20

// What a single value may take of a message.
const (
	maxName    = 120
	maxSummary = 500
	maxLabel   = 100
	maxLabels  = 5
)

// What returns what the incident is about, for people: "parsoid HighErrorRate".
func What(in Incident) string {
	return strings.TrimSpace(name(in) + " " + Clean(string(in.AlertName), maxName))
}

// Title is What with a colon, as headers and subjects show it: "parsoid: HighErrorRate".
// It does not change while the incident is open.
func Title(in Incident) string {
	if alert := Clean(string(in.AlertName), maxName); alert != "" {
		return name(in) + ": " + alert
	}
	return name(in)
}

func name(in Incident) string {
	n := Clean(in.Name, maxName)
	if n == "" {
		n = Clean(in.Subject, maxName)
	}
	if n == "" {
		n = "unknown service"
	}
	switch {
	case in.Drill:
		return "DRILL " + n
	case in.Test:
		return "test page for " + n
	}
	return n
}

// StateWord is the state as the first words of a headline: FIRING, ESCALATED,
// ON HOLD, NOBODY ANSWERED, FLAPPING, ACKNOWLEDGED by amira, SNOOZED, RESOLVED, TEST.
func StateWord(m Message) string {
	in := m.Incident
	switch {
	case in.State == Resolved:
		return "RESOLVED"
	case beside(m):
		return "FIRING"
	}
	switch in.State {
	case Acknowledged:
		if in.By != "" {
			return "ACKNOWLEDGED by " + Clean(in.By, maxName)
		}
		return "ACKNOWLEDGED"
	case Snoozed:
		return "SNOOZED"
	}
	switch {
	case in.Test:
		return "TEST"
	case in.Held != "":
		return "ON HOLD"
	case in.Exhausted:
		return "NOBODY ANSWERED"
	case in.Flapping:
		return "FLAPPING"
	case m.You == nil && (in.Round > 1 || in.Round == 1 && in.Step > 1):
		return "ESCALATED to " + reached(in)
	case m.Kind != Reminder && past(m):
		return "ESCALATED"
	}
	return "FIRING"
}

// Headline is the state and what it is about: "FIRING - parsoid: HighErrorRate".
func Headline(m Message) string {
	if m.Kind == Report && m.Report != nil {
		if title := Clean(m.Report.Title, 3*maxName); title != "" {
			return title
		}
		return "Ownership report"
	}
	if m.Kind == Notice && m.Notice != nil {
		if title := Clean(m.Notice.Title, 3*maxName); title != "" {
			return title
		}
		return "callchain"
	}
	if m.Kind == Digest && m.Digest != nil {
		return stormHeadline(m.Digest)
	}
	word := StateWord(m)
	switch {
	case word == "TEST":
		return "TEST - nothing is broken"
	case m.Kind == Reminder && (m.Incident.State == Triggered || beside(m)):
		word = "STILL " + word
	case m.Kind == Question && m.Incident.State == Acknowledged:
		word = "STILL ON IT?"
	}
	return word + " - " + Title(m.Incident)
}

// Sentence says the whole message in one line: for the notification on a
// phone, the watch and the screen reader.
func Sentence(m Message) string {
	in := m.Incident
	switch m.Kind {
	case Notice:
		if m.Notice == nil {
			return "callchain"
		}
		if first, _, _ := strings.Cut(CleanText(string(m.Notice.Body), 300), "\n"); first != "" {
			return join(stop(Clean(m.Notice.Title, 3*maxName)), first)
		}
		return stop(Clean(m.Notice.Title, 3*maxName))
	case Report:
		if m.Report == nil || len(m.Report.Lead) == 0 {
			return stop(Headline(m))
		}
		return join(stop(Headline(m)), Clean(string(m.Report.Lead[0]), 300))
	case Digest:
		return stormSentence(m)
	case Thread:
		var lines []string
		for _, l := range m.Lines {
			lines = append(lines, TimelineLine(l))
		}
		return strings.Join(lines, "\n")
	}
	id := Clean(in.ID, maxName)
	if in.Test && in.State == Triggered {
		return fmt.Sprintf("Test page %s: nothing is broken. Press Acknowledge to finish it.", id)
	}
	subject := fmt.Sprintf("%s: %s", id, What(in))
	switch {
	case m.Kind == Question && in.State == Acknowledged:
		return join(fmt.Sprintf("Still on it? Page %s is acknowledged by you and still firing.", subject), upcoming(m))
	case m.You != nil && m.Kind != Told && (in.State == Triggered || beside(m)):
		lead := "Page"
		if m.Kind == Reminder {
			lead = "Reminder of page"
		}
		return join(fmt.Sprintf("%s %s is firing%s.", lead, subject, urgency(in)), step(m.You), Status(m), upcoming(m), twice(m.You))
	case in.State == Triggered:
		return join(fmt.Sprintf("%s is firing%s.", subject, urgency(in)), Status(m), upcoming(m))
	}
	return join(stop(subject), Status(m))
}

// Status says what became of the incident, and what the reader need do. It is
// "" for an incident that fires and nobody answered yet.
func Status(m Message) string {
	in := m.Incident
	by := Clean(in.By, maxName)
	switch in.State {
	case Acknowledged:
		if by == "" {
			return "Acknowledged. The escalation has stopped."
		}
		said := "Acknowledged by " + by + via(in) + at(in.ByAt, m)
		if Yours(m) {
			return stop("You acknowledged this"+via(in)+at(in.ByAt, m)) + " Nobody else is paged." + yours(in)
		}
		switch {
		case beside(m):
			return stop(said) + " You are asked as well: acknowledge to take it over."
		case m.You != nil:
			return stop(said) + " You need do nothing."
		}
		return stop(said) + " The escalation has stopped."
	case Snoozed:
		said := "Snoozed"
		if by != "" {
			said += " by " + by + at(in.ByAt, m)
		}
		if beside(m) {
			return stop(said) + " You are asked all the same: acknowledge to take it over."
		}
		return stop(said) + " The alerts keep firing, nobody is paged meanwhile."
	case Resolved:
		return resolved(m)
	}
	switch {
	case in.Test:
		return "This is only a test. Press Acknowledge to finish it."
	case in.Held != "":
		return "On hold: " + stop(Clean(string(in.Held), 2*maxSummary)) + " Nobody further is paged until that is over."
	case in.Exhausted:
		return "Everybody in the chain was paged and nobody acknowledged."
	case in.Flapping:
		return "It fires again and again: it pages no more for that. Acknowledge it to take it on."
	case m.Kind != Reminder && past(m):
		return "This went on to " + reached(in) + ". You can still acknowledge it."
	case in.Urgency != "" && !in.Urgency.Pages() && len(in.Paged) == 0:
		return "Nobody is paged for this."
	}
	return ""
}

// resolved says how it ended. A name with alerts still firing, or at the very
// instant of the end, is that of a person who resolved it by hand.
func resolved(m Message) string {
	in, by := m.Incident, Clean(m.Incident.By, maxName)
	if in.Drill {
		if by == "" {
			return stop("The drill is over"+at(in.ResolvedAt, m)) + " Nobody acknowledged it."
		}
		return stop("The drill is over: ended by " + by + via(in) + at(in.ByAt, m))
	}
	ended := at(in.ResolvedAt, m)
	if lasted := duration(in.OpenedAt, in.ResolvedAt); lasted != "" {
		ended += " after " + lasted
	}
	var said string
	switch byHand := by != "" && (in.Firing > 0 || !in.ByAt.IsZero() && in.ByAt.Equal(in.ResolvedAt)); {
	case byHand && in.Firing > 0:
		said = stop("Resolved by "+by+via(in)+ended) + " " + count(in.Firing, "alert still fires", "alerts still fire") + "."
	case byHand:
		said = stop("Resolved by " + by + via(in) + ended)
	default:
		all := "Resolved"
		if in.Resolved == 1 {
			all = "The alert resolved"
		} else if in.Resolved > 1 {
			all = fmt.Sprintf("All %d alerts resolved", in.Resolved)
		}
		said = stop(all + ended)
		if by == "" {
			said += " Nobody acknowledged it."
		} else {
			said += " " + stop("Acknowledged by "+by+at(in.ByAt, m))
		}
	}
	if m.You == nil || in.Firing > 0 {
		return said
	}
	return said + " You need do nothing."
}

// Why says why the reader was paged: as what, at which step, how the alert was
// found to be theirs and where the catalog says so.
func Why(m Message) string {
	in := m.Incident
	var out []string
	if m.You != nil {
		paged := "You are paged"
		if in.State != Triggered && !beside(m) {
			paged = "You were paged"
		}
		if as := Clean(m.You.As, maxSummary); as != "" {
			paged += " as " + as
		}
		if m.You.Steps > 0 && m.You.Step > 0 {
			paged += fmt.Sprintf(", step %d of %d", m.You.Step, m.You.Steps)
		}
		if m.You.Round > 1 {
			paged += fmt.Sprintf(", round %d of %d", m.You.Round, max(m.You.Rounds, m.You.Round))
		}
		if m.You.As != "" || m.You.Why != "" || m.You.Step > 0 || in.State == Triggered { // else they took it on unasked
			out = append(out, stop(paged))
		}
		out = append(out, labelled("Why you", m.You.Why))
	}
	out = append(out, labelled("Matched", in.Matched))
	if place := Clean(in.CatalogPlace, maxSummary); place != "" {
		out = append(out, "Catalog: "+place)
	}
	return join(out...)
}

// Subject says what is affected and in which state the catalog has it.
func Subject(in Incident) string {
	var about []string
	if subject := Clean(in.Subject, 2*maxName); subject != "" {
		about = append(about, subject)
	}
	if in.Lifecycle != "" {
		about = append(about, "state "+plain(string(in.Lifecycle)))
	}
	if in.Assessment != "" {
		about = append(about, "ownership "+plain(in.Assessment))
	}
	if in.Urgency != "" {
		about = append(about, "urgency "+plain(string(in.Urgency)))
	}
	if !in.OpenedAt.IsZero() {
		about = append(about, "since "+UTC(in.OpenedAt, in.OpenedAt))
	}
	said := strings.Join(about, ", ")
	if len(in.AlsoAffected) > 0 {
		said = join(stop(said), "Also affected: "+listed(in.AlsoAffected, 10)+".")
	}
	return said
}

// Ownership are the sentences about what is missing, and who can deploy a fix.
func Ownership(in Incident) []string {
	var out []string
	for i, s := range in.Missing {
		if i == 10 {
			break
		}
		if s = sentence(s); s != "" {
			out = append(out, s)
		}
	}
	if d := Clean(in.CanDeploy, maxName); d != "" {
		out = append(out, "A fix can be deployed by "+d+".")
	}
	return out
}

// Notes are the further sentences of the incident.
func Notes(in Incident) []string {
	var out []string
	for i, s := range in.Notes {
		if i == 10 {
			break
		}
		if s = sentence(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// Upcoming says what happens next, when and to whom, unless somebody acts; ""
// when nothing will.
func Upcoming(m Message) string {
	t := Coming(m)
	if t.At.IsZero() {
		return ""
	}
	return t.Before + When(t.At, m.Now, zone(m)) + t.After
}

// Timed is a sentence around an instant. Channels that know their reader's clock
// show the instant by it.
type Timed struct {
	Before string
	At     time.Time // zero: there is nothing to say
	After  string
}

// Coming is Upcoming with its instant apart.
func Coming(m Message) Timed { return coming(m, !brief) }

// upcoming is Upcoming in few words.
func upcoming(m Message) string {
	t := coming(m, brief)
	if t.At.IsZero() {
		return ""
	}
	return t.Before + UTC(t.At, m.Now) + t.After
}

// brief leaves out the role and the reader's own time: a notification has room
// for a hundred characters or so.
const brief = true

func coming(m Message, short bool) Timed {
	in := m.Incident
	if m.Kind == Digest {
		return stormComing(m.Digest)
	}
	switch {
	case in.State == Acknowledged && m.Kind == Question:
		return Timed{"It pages again at ", in.AckExpires, " unless you say that you still are on it."}
	case in.State == Acknowledged && m.You != nil && !Yours(m):
		return Timed{}
	case in.State == Acknowledged:
		return Timed{"The acknowledgement ends at ", in.AckExpires, " if the alert still fires."}
	case in.State == Snoozed:
		return Timed{"Paging starts again at ", in.SnoozedUntil, " if the alert still fires."}
	}
	n := in.Next
	if n == nil || in.State != Triggered {
		return Timed{}
	}
	names := listed(n.Names, 6)
	if as := Clean(n.As, maxSummary); as != "" && names != "" && !short {
		names += " (" + as + ")"
	}
	unless := " unless you acknowledge."
	if m.You == nil {
		unless = " unless somebody acknowledges."
	}
	switch {
	case n.Last && names == "":
		return Timed{"This is the last step: if nobody acknowledges by ", n.At, ", nobody further is paged."}
	case n.Last:
		return Timed{"This is the last step: " + names + " is paged again at ", n.At, unless}
	case n.Again && names != "":
		return Timed{"A new round begins with " + names + " at ", n.At, unless}
	case n.Again:
		return Timed{"A new round begins at ", n.At, unless}
	case names == "":
		return Timed{"Escalates at ", n.At, unless}
	}
	return Timed{"Escalates to " + names + " at ", n.At, unless}
}

// yours says how long an acknowledgement is the reader's.
func yours(in Incident) string {
	if in.AckExpires.IsZero() {
		return " It is yours until it is resolved."
	}
	return " It is yours until it is resolved; while it still fires you are asked now and then whether you still are on it."
}

// PagedLine says who was paged, as what, when and how it went. The name comes
// apart, because a channel may turn it into a mention.
func PagedLine(p Paged, now time.Time) (who, rest string) {
	who = Clean(p.Name, maxName)
	if as := Clean(p.As, maxSummary); as != "" {
		rest = " (" + as + ")"
	}
	if p.Step > 0 {
		rest += fmt.Sprintf(", step %d", p.Step)
	}
	if !p.At.IsZero() {
		rest += ", paged at " + UTC(p.At, now)
	}
	switch failed := Clean(p.Failed, maxSummary); {
	case failed != "" && len(p.Channels) == 0:
		rest += ", could not be reached: " + failed
	case failed != "":
		rest += " by " + channels(p.Channels) + "; " + failed
	case len(p.Channels) > 0:
		rest += " by " + channels(p.Channels)
	}
	return who, rest
}

// Unanswered says who was paged before the reader and did not answer; "" if nobody.
func Unanswered(m Message) string {
	if m.You == nil || m.Incident.State != Triggered || m.Incident.Test {
		return ""
	}
	var who []string
	for _, p := range m.Incident.Paged {
		if p.Step < m.You.Step && p.Name != m.You.Name {
			who = append(who, Clean(p.Name, maxName))
		}
	}
	if len(who) == 0 {
		return ""
	}
	return "Paged before you, without an answer: " + listed(who, 6) + "."
}

// AlertCount is the heading of the alerts: "3 alerts firing, 1 resolved".
func AlertCount(in Incident) string {
	switch {
	case in.Firing+in.Resolved == 0:
		return ""
	case in.Firing == 0:
		return count(in.Resolved, "alert", "alerts") + " resolved"
	case in.Resolved == 0:
		return count(in.Firing, "alert", "alerts") + " firing"
	}
	return count(in.Firing, "alert", "alerts") + fmt.Sprintf(" firing, %d resolved", in.Resolved)
}

// AlertLines names the alerts, one line each, at most MaxAlerts of them, and
// says how many are left out and how many Alertmanager did not send.
func AlertLines(in Incident, now time.Time) []string {
	var out []string
	for i, a := range in.Alerts {
		if i == MaxAlerts {
			break
		}
		out = append(out, alertLine(a, now))
	}
	if more := in.Firing + in.Resolved - len(out); more > 0 && len(out) > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	if in.Truncated > 0 {
		out = append(out, fmt.Sprintf("and %d more, not shown", in.Truncated))
	}
	return out
}

func alertLine(a Alert, now time.Time) string {
	state := "firing"
	since := ""
	switch {
	case !a.Firing && !a.EndsAt.IsZero():
		state, since = "resolved", " ("+"until "+UTC(a.EndsAt, now)+")"
	case !a.Firing:
		state = "resolved"
	case !a.StartsAt.IsZero():
		since = " (since " + UTC(a.StartsAt, now) + ")"
	}
	said := []string{state, Clean(string(a.Name), maxName)}
	for i, l := range a.Labels {
		if i == maxLabels {
			break
		}
		said = append(said, Clean(string(l.Name), maxLabel)+"="+Clean(string(l.Value), maxLabel))
	}
	line := join(said...)
	if s := Clean(string(a.Summary), maxSummary); s != "" {
		line += ": " + s
	}
	return line + since
}

// Summary is the first alert's summary as one line.
func Summary(in Incident) string { return Clean(string(in.Summary), maxSummary) }

// Place is a link of the incident. URL is "" when the text is no link that may
// be followed; then Text is shown.
type Place struct{ Label, URL, Text string }

// Places are the links of the incident, in the order of use at night.
func Places(in Incident) []Place {
	var out []Place
	for _, p := range []struct {
		label string
		url   Untrusted
	}{
		{"Runbook", in.Runbook},
		{"Dashboard", in.Dashboard},
		{"Source", in.Source},
		{"Silence in Alertmanager", in.Silence},
		{"Incident page", Untrusted(in.Page)},
	} {
		if link, ok := Link(p.url); ok {
			out = append(out, Place{p.label, link, link})
		} else if text := Clean(string(p.url), maxSummary); text != "" {
			out = append(out, Place{p.label, "", text})
		}
	}
	return out
}

// TimelineLine is one line of the timeline: "14:22:03 UTC paged amira".
func TimelineLine(l Line) string {
	text := Clean(string(l.Text), 1000)
	if l.At.IsZero() {
		return text
	}
	return l.At.UTC().Format("15:04:05") + " UTC " + text
}

// LeftOut says that n lines, or things of another name, are not shown, and where
// they are; "" for none.
func LeftOut(n int, what, more string) string {
	if n <= 0 {
		return ""
	}
	text := strings.TrimSpace(fmt.Sprintf("and %d more %s", n, what))
	if more = Clean(more, 500); more != "" {
		text += ": " + more
	}
	return text
}

// ReportText is a report as plain text, for whoever cannot show more.
func ReportText(p *Paper) string {
	var b strings.Builder
	b.WriteString(Clean(p.Title, 3*maxName) + "\n")
	for _, l := range p.Lead {
		b.WriteString("\n" + Clean(string(l), 1000) + "\n")
	}
	for _, s := range p.Sections {
		b.WriteString("\n" + Clean(s.Title, 3*maxName) + "\n\n")
		for _, l := range s.Lines {
			b.WriteString("  " + CleanText(string(l), 1000) + "\n")
		}
		if left := LeftOut(s.Left, "", p.More); left != "" {
			b.WriteString("  " + left + "\n")
		}
	}
	return b.String()
}

// Footer says which revision of the incident is shown.
func Footer(m Message) string {
	var parts []string
	if id := Clean(m.Incident.ID, maxName); id != "" {
		parts = append(parts, id)
		if m.Incident.Revision > 0 {
			parts = append(parts, fmt.Sprintf("v%d", m.Incident.Revision))
		}
	}
	if !m.Now.IsZero() {
		parts = append(parts, "updated "+m.Now.UTC().Format("15:04:05")+" UTC")
	}
	return strings.Join(append(parts, "callchain"), " | ")
}

// HowTo says how a page is answered; "" when it asks for nothing.
func HowTo(m Message) string {
	in := m.Incident
	if m.You == nil || in.ID == "" || in.State != Triggered && !beside(m) {
		return ""
	}
	return "To answer: press Acknowledge, or type callchain incidents ack " + Clean(in.ID, maxName) + " in a terminal."
}

// When is an instant in UTC and, where it differs, in the reader's zone:
// "14:32 UTC (15:32 Europe/Berlin)". Another day than now's is named.
func When(t, now time.Time, loc *time.Location) string {
	out := UTC(t, now)
	if loc == nil || loc == time.UTC || loc == time.Local {
		return out
	}
	if _, offset := t.In(loc).Zone(); offset == 0 && (loc.String() == "UTC" || loc.String() == "Etc/UTC") {
		return out
	}
	local := t.In(loc)
	layout := "15:04"
	if local.Format(time.DateOnly) != t.UTC().Format(time.DateOnly) || !sameDay(t, now) {
		layout = "Mon 2 Jan 15:04"
	}
	return out + " (" + local.Format(layout) + " " + loc.String() + ")"
}

// UTC is an instant in UTC; another day than now's is named.
func UTC(t, now time.Time) string {
	if sameDay(t, now) {
		return t.UTC().Format("15:04") + " UTC"
	}
	return t.UTC().Format("Mon 2 Jan 15:04") + " UTC"
}

func sameDay(t, now time.Time) bool {
	return now.IsZero() || t.UTC().Format(time.DateOnly) == now.UTC().Format(time.DateOnly)
}

func zone(m Message) *time.Location {
	if m.You == nil {
		return nil
	}
	return m.You.Timezone
}

// Yours tells whether whom a message is for has acknowledged the incident.
func Yours(m Message) bool {
	return m.You != nil && m.Incident.By != "" && (m.Incident.By == m.You.Name || m.Incident.By == m.You.Handle)
}

// beside tells a message for somebody who was asked although another has it.
func beside(m Message) bool {
	return m.You != nil && m.You.Beside && m.Incident.State != Resolved
}

// past tells whether the chain went on after it had asked the reader. Who was
// asked by hand has no place in it.
func past(m Message) bool {
	in, you := m.Incident, m.You
	return you != nil && you.Steps > 0 && you.Step > 0 && (in.Round > you.Round || in.Round == you.Round && in.Step > you.Step)
}

// reached is the step that the chain is at.
func reached(in Incident) string {
	if in.Round > 1 {
		return fmt.Sprintf("step %d, round %d", in.Step, in.Round)
	}
	return fmt.Sprintf("step %d", in.Step)
}

func step(y *You) string {
	if y.Steps == 0 || y.Step == 0 {
		return ""
	}
	said := fmt.Sprintf("You are step %d of %d", y.Step, y.Steps)
	if y.Round > 1 {
		said += fmt.Sprintf(", round %d of %d", y.Round, max(y.Rounds, y.Round))
	}
	return said + "."
}

func twice(y *You) string {
	if y.MayCome2 {
		return "This page may reach you twice; it is one page."
	}
	return ""
}

// MayComeTwice is the sentence for a page that may reach its person twice; "" otherwise.
func MayComeTwice(m Message) string {
	if m.You == nil {
		return ""
	}
	return twice(m.You)
}

func urgency(in Incident) string {
	if in.Urgency == "" {
		return ""
	}
	return " (" + plain(string(in.Urgency)) + ")"
}

// plain turns a word of the configuration into one of speech: unbreak_now.
func plain(s string) string {
	if s == string(config.UnbreakNow) {
		return "unbreak now"
	}
	return strings.ReplaceAll(Clean(s, maxName), "_", " ")
}

func via(in Incident) string {
	switch v := Clean(in.ByVia, maxName); v {
	case "":
		return ""
	case Slack:
		return " from Slack"
	case Email:
		return " from the e-mail link"
	case "api":
		return " over the API"
	case "web":
		return " on the web page"
	case "cli":
		return " on the command line"
	default:
		return " from " + v
	}
}

func at(t time.Time, m Message) string {
	if t.IsZero() {
		return ""
	}
	return " at " + When(t, m.Now, zone(m))
}

func duration(from, to time.Time) string {
	d := to.Sub(from)
	if from.IsZero() || to.IsZero() || d < 0 {
		return ""
	}
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}

func channels(cs []string) string {
	names := make([]string, 0, len(cs))
	for _, c := range cs {
		switch c {
		case Slack:
			names = append(names, "Slack")
		case Email:
			names = append(names, "e-mail")
		default:
			names = append(names, Clean(c, maxName))
		}
	}
	return listed(names, 6)
}

// listed joins names as people do: "a", "a and b", "a, b and c", "a, b and 4 more".
func listed(names []string, most int) string {
	clean := make([]string, 0, len(names))
	for _, n := range names {
		if n = Clean(n, maxName); n != "" {
			clean = append(clean, n)
		}
	}
	if more := len(clean) - most; more > 0 {
		clean = append(clean[:most:most], fmt.Sprintf("%d more", more))
	}
	switch len(clean) {
	case 0:
		return ""
	case 1:
		return clean[0]
	}
	return strings.Join(clean[:len(clean)-1], ", ") + " and " + clean[len(clean)-1]
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// sentence makes a clean sentence. It leaves the first letter alone: it may be a
// service's or a person's name.
func sentence(s string) string { return stop(Clean(s, maxSummary)) }

func labelled(label, s string) string {
	if s = sentence(s); s == "" {
		return ""
	}
	return label + ": " + s
}

func stop(s string) string {
	if s == "" || strings.HasSuffix(s, ".") || strings.HasSuffix(s, "?") || strings.HasSuffix(s, "!") || strings.HasSuffix(s, "…") {
		return s
	}
	return s + "."
}

func join(parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, " ")
}
