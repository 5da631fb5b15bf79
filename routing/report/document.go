package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// Document is the report in words, for every channel and format that people
// read. Its strings are one clean line each and nobody's markup: labels and names
// of alerts are among them, so that whoever renders one escapes all of it.
type Document struct {
	Title    string
	Lead     []string // paragraphs
	Sections []Section
	More     string // where all of it is: a link or a command; said where a section was cut
}

// Section is one part of the report.
type Section struct {
	Title string
	Note  string // what it means and what to do; "" if that is plain
	Items []Item
	Left  int // items left out
}

// Item is one thing in a section.
type Item struct {
	Head  string
	Lines []string
	Code  string // to be copied as it is; "" if there is nothing
}

// Document puts the report in words, with at most most items in a section; not
// positive: all of them. more says where the rest is.
func (r Report) Document(most int, more string) Document {
	d := Document{Title: r.title(), Lead: r.lead(), More: clean(more, maxLine)}
	add := func(title, note string, items []Item) {
		if len(items) == 0 {
			return
		}
		s := Section{Title: clean(title, 2*maxName), Note: note, Items: items}
		if most > 0 && len(items) > most {
			s.Items, s.Left = items[:most], len(items)-most
		}
		d.Sections = append(d.Sections, s)
	}
	add("Services that are not fully owned", "", each(r.NotOwned, Service.item))
	add("Names that the catalog lacks",
		"Alerts named a service that the catalog does not know. Add the service to the catalog with an owner for each role, or the name to the aliases of the service it is.",
		each(r.UnknownService, Unknown.named))
	add("Alerts that name no service",
		"Nobody is known to own what they are about. Give the alerts a service label, or add a rule to routing.rules.",
		each(r.Unmapped, Unknown.unmapped))
	add("Decommissioned services that still alert", "Remove the alerting rule: the service is gone.", each(r.Decommissioned, Service.gone))
	add("Heroics",
		"These people answered for what is not theirs. That does not make them owners: thank them, and find an owner.",
		each(r.Heroics, Heroics.item))
	if r.SinglePerson.Number > 0 {
		add("Services that rest on one person", fmt.Sprintf("%s, %s: nobody else would be woken. Add people to the owning teams or another owner.",
			plural(r.SinglePerson.Number, "service", "services"), before(r.SinglePerson.Before)),
			each(r.SinglePerson.Services, func(s string) Item { return Item{Head: clean(s, maxName)} }))
	}
	for _, k := range r.Risks {
		if w, ok := riskWords[k.Kind]; ok && k.Count > 0 {
			add(fmt.Sprintf("%s: %d, %s", w.title, k.Count, before(k.Before)), w.note, each(k.Subjects, RiskSubject.item))
		}
	}
	add("Vacancies held by directors", "", each(r.Vacancies, Vacancy.item))
	add("Unowned services that were found",
		"They were never launched with owners. Find owners, or decommission them.", each(r.Legacy, Legacy.item))
	if r.Shadow.Pages > 0 {
		items := each(r.Shadow.People, func(a Answerer) Item { return Item{Head: a.words() + ": " + plural(a.Count, "page", "pages")} })
		add("Shadow: whom callchain would have paged", "Nothing was sent to them. By team: "+r.Shadow.teams()+".", items)
	}
	for _, p := range r.Products {
		add(p.title(), p.note(), each(p.Services, ServiceCost.item))
	}
	return d
}

// each makes an item of each of a list.
func each[T any](list []T, item func(T) Item) []Item {
	var out []Item
	for _, v := range list {
		out = append(out, item(v))
	}
	return out
}

func (r Report) title() string {
	return "Ownership report " + clean(r.Period.Week, maxName) + ", " + r.Period.dates()
}

// dates are the week in words: "9 to 15 November 2026".
func (p Period) dates() string {
	from, err1 := time.Parse(civil, p.From)
	to, err2 := time.Parse(civil, p.To)
	if err1 != nil || err2 != nil {
		return clean(p.From, maxName) + " to " + clean(p.To, maxName)
	}
	switch {
	case from.Year() != to.Year():
		return from.Format("2 January 2006") + " to " + to.Format("2 January 2006")
	case from.Month() != to.Month():
		return from.Format("2 January") + " to " + to.Format("2 January 2006")
	}
	return from.Format("2") + " to " + to.Format("2 January 2006")
}

func (r Report) lead() []string {
	var out []string
	now, then := r.Totals, r.Before
	if r.Period.Partial {
		out = append(out, "This week is not over. It is compared with the whole week before.")
	}
	switch {
	case now.Alerts == 0 && r.Quiet:
		out = append(out, "A quiet week: no alert came in.")
	case r.Quiet:
		out = append(out, "A quiet week: every alert was about a service that is fully owned. There is nothing to repair.")
	}
	out = append(out, fmt.Sprintf("%s in %s; %s and %s. The week before: %s in %s; %s and %s.",
		plural(now.Alerts, "alert", "alerts"), plural(now.Incidents, "incident", "incidents"), plural(now.Pages, "page", "pages"), plural(now.Escalations, "escalation", "escalations"),
		plural(then.Alerts, "alert", "alerts"), plural(then.Incidents, "incident", "incidents"), plural(then.Pages, "page", "pages"), plural(then.Escalations, "escalation", "escalations")))
	if now.Answers > 0 || then.Answers > 0 {
		out = append(out, capital(now.answers())+". The week before: "+then.answers()+".")
	}
	var parts []string
	for _, a := range r.Assessments {
		if a.Alerts > 0 {
			parts = append(parts, fmt.Sprintf("%d about %s", a.Alerts, hit[a.Assessment]))
		}
	}
	if len(parts) > 0 {
		out = append(out, "Of the alerts: "+strings.Join(parts, ", ")+".")
	}
	if n := sum(r.Recorded); n > 0 {
		var why []string
		for _, c := range r.Recorded {
			why = append(why, fmt.Sprintf("%d (%s)", c.Count, cmp.Or(clean(c.Name, maxLine), "other reasons")))
		}
		out = append(out, fmt.Sprintf("%s opened no incident: %s.", plural(n, "alert", "alerts"), strings.Join(why, ", ")))
	}
	if n := r.SinglePerson; n.Number == 0 && n.Before > 0 {
		out = append(out, "No service rested on one person; the week before "+plural(n.Before, "service", "services")+" did.")
	}
	if r.Shadow.Pages > 0 {
		out = append(out, fmt.Sprintf("Shadow mode: %s not sent; below is whom they would have woken.", plural(r.Shadow.Pages, "page was", "pages were")))
	}
	if len(r.GoneQuiet) > 0 {
		out = append(out, "Not fully owned the week before, and without an alert now: "+short(r.GoneQuiet, 20)+".")
	}
	return out
}

var hit = map[catalog.Assessment]string{
	catalog.Owned:          "fully owned services",
	catalog.Partial:        "partially owned services",
	catalog.Unowned:        "unowned services",
	catalog.Unknown:        "nothing that the catalog knows",
	catalog.Decommissioned: "decommissioned services",
}

// answers is how fast people answered: "5 answers, median 4m, worst 20m".
func (c Cost) answers() string {
	if c.Answers == 0 {
		return "no answer"
	}
	words := plural(c.Answers, "answer", "answers")
	if c.MedianAck != nil && c.WorstAck != nil {
		words += ", median " + span(*c.MedianAck) + ", worst " + span(*c.WorstAck)
	}
	return words
}

// words is what it cost, and the week before: "12 alerts, 9 pages, 2 escalations
// (the week before 8, 5 and 0)".
func (c Cost) words(then Cost) string {
	was := "none the week before"
	if then.Alerts+then.Pages+then.Escalations > 0 {
		was = fmt.Sprintf("the week before %d, %d and %d", then.Alerts, then.Pages, then.Escalations)
	}
	return fmt.Sprintf("%s, %s, %s (%s)", plural(c.Alerts, "alert", "alerts"),
		plural(c.Pages, "page", "pages"), plural(c.Escalations, "escalation", "escalations"), was)
}

func (s Service) item() Item {
	head := clean(s.Service, maxName)
	switch {
	case !s.Known:
		head += " (" + assessmentWord(s.HitAs) + "; the catalog has it no more)"
	case s.State == config.Unowned:
		head += fmt.Sprintf(" (tier %d, unowned)", s.Tier)
	case weak(s.Assessment):
		head += fmt.Sprintf(" (tier %d, %s, %s)", s.Tier, stateWord(s.State), assessmentWord(s.Assessment))
	default:
		head += fmt.Sprintf(" (tier %d, %s, was %s and is %s now)", s.Tier, stateWord(s.State), assessmentWord(s.HitAs), assessmentWord(s.Assessment))
	}
	it := Item{Head: head, Lines: []string{sentence(s.Cost.words(s.Before))}}
	if line := answerLine(s.Cost, s.AnsweredBy); line != "" {
		it.Lines = append(it.Lines, line)
	}
	if len(s.MissingRoles) > 0 {
		it.Lines = append(it.Lines, "Missing: "+listed(roles(s.MissingRoles))+".")
	}
	if len(s.KeptRoles) > 0 {
		var kept []string
		for _, k := range s.KeptRoles {
			if k.Director != "" {
				kept = append(kept, roles([]config.Role{k.Role})[0]+" (held vacant by "+clean(k.Director, maxName)+")")
				continue
			}
			kept = append(kept, roles([]config.Role{k.Role})[0]+" ("+clean(k.Team, maxName)+")")
		}
		it.Lines = append(it.Lines, "Still kept: "+strings.Join(kept, ", ")+".")
	}
	if s.Advice.Text != "" {
		it.Lines = append(it.Lines, "To do: "+clean(s.Advice.Text, 2*maxLine))
	}
	return it
}

func (s Service) gone() Item {
	var alerts []string
	for _, n := range s.AlertNames {
		alerts = append(alerts, fmt.Sprintf("%s (%d)", cmp.Or(clean(n.Name, maxName), "others"), n.Count))
	}
	it := Item{Head: clean(s.Service, maxName) + ": " + s.Cost.words(s.Before)}
	if len(alerts) > 0 {
		it.Lines = append(it.Lines, "Alerts: "+short(alerts, 10)+".")
	}
	if s.Known && s.Assessment != catalog.Decommissioned {
		it.Lines = append(it.Lines, "The catalog says "+stateWord(s.State)+" now.")
	}
	return it
}

func answerLine(c Cost, by []Answerer) string {
	if c.Answers == 0 {
		if c.Pages > 0 {
			return "Nobody answered."
		}
		return ""
	}
	var people []string
	for _, a := range by {
		people = append(people, fmt.Sprintf("%s %d", a.words(), a.Count))
	}
	line := capital(c.answers())
	if len(people) > 0 {
		line += ": " + short(people, 10)
	}
	return line + "."
}

func (a Answerer) words() string {
	if a.Team == "" {
		return clean(a.Person, maxName)
	}
	return clean(a.Person, maxName) + " (" + clean(a.Team, maxName) + ")"
}

// mostSets is how many label sets of one name or one rule are shown.
const mostSets = 3

func (u Unknown) named() Item {
	it := Item{Head: clean(u.Named, maxName) + ": " + u.Cost.words(u.Before)}
	if line := answerLine(u.Cost, u.AnsweredBy); line != "" {
		it.Lines = append(it.Lines, line)
	}
	it.Lines = append(it.Lines, setLines(u.LabelSets)...)
	if strings.HasPrefix(u.Cure, "The catalog knows") {
		it.Lines = append(it.Lines, clean(u.Cure, maxLine))
	}
	return it
}

func (u Unknown) unmapped() Item {
	head := "no service and no team"
	if team, ok := strings.CutPrefix(u.Subject, "team:"); ok {
		head = "only the team " + clean(team, maxName)
	}
	it := Item{Head: head + ": " + u.Cost.words(u.Before)}
	if line := answerLine(u.Cost, u.AnsweredBy); line != "" {
		it.Lines = append(it.Lines, line)
	}
	it.Lines = append(it.Lines, setLines(u.LabelSets)...)
	// The rules for what comes most, each once.
	var rules []string
	for _, l := range u.LabelSets {
		if l.Rule != "" && !slices.Contains(rules, l.Rule) && len(rules) < mostSets {
			rules = append(rules, l.Rule)
		}
	}
	it.Code = strings.Join(rules, "\n")
	return it
}

func setLines(sets []UnknownSet) []string {
	var out []string
	left := 0
	for _, l := range sets {
		switch {
		case len(l.Labels) == 0 || len(out) == mostSets:
			left += l.Alerts
		default:
			out = append(out, fmt.Sprintf("%d of %s", l.Alerts, clean(labelText(l.Labels), maxLine)))
		}
	}
	if left > 0 && len(out) > 0 {
		out = append(out, plural(left, "more has", "more have")+" other labels.")
	}
	return out
}

func (h Heroics) item() Item {
	var people, subjects []string
	for _, p := range h.People {
		people = append(people, fmt.Sprintf("%s %d", clean(p.Person, maxName), p.Count))
	}
	for _, s := range h.Subjects {
		subjects = append(subjects, subjectWords(s))
	}
	return Item{
		Head:  cmp.Or(clean(h.Team, maxName), "people in no team") + ": " + plural(h.Answers, "answer", "answers"),
		Lines: []string{"Who: " + short(people, 10) + ". For: " + short(subjects, 10) + "."},
	}
}

// riskWords are the risks with a section of their own.
var riskWords = map[routing.Risk]struct{ title, note string }{
	routing.RiskExhausted:        {"Nobody answered the whole chain", "The chain ended without an answer. Test the people in it with callchain test-page."},
	routing.RiskUnreachable:      {"People whom no channel reached", "Correct their addresses in the catalog, then callchain test-page."},
	routing.RiskNobodyOnCall:     {"Nobody on call", "The schedule had a gap; the lead or the whole team was asked instead. Close the gap."},
	routing.RiskMissingReference: {"Missing references", "The catalog names a team, person, policy, schedule or Slack channel that is not there, or not any more."},
	routing.RiskAmbiguousMatch:   {"Ambiguous matches", "Two services claim the same alert; the first by name was taken. Make their alerts matchers differ."},
	routing.RiskWrongOwner:       {"Wrong owner", "A responder said that this is not theirs. Correct the owners in the catalog."},
}

func (s RiskSubject) item() Item {
	it := Item{Head: fmt.Sprintf("%s: %d", subjectWords(s.Subject), s.Count)}
	if len(s.Incidents) > 0 {
		it.Lines = []string{"Incidents: " + short(s.Incidents, 10) + "."}
	}
	return it
}

func (v Vacancy) item() Item {
	it := Item{Head: clean(v.Service, maxName) + ": held vacant by " + clean(v.Director, maxName)}
	if why := clean(v.Reason, maxLine); why != "" {
		it.Lines = []string{"Reason: " + sentence(why)}
	}
	return it
}

func (l Legacy) item() Item {
	it := Item{Head: clean(l.Service, maxName) + ": since " + clean(l.Since, maxName)}
	if why := clean(l.Reason, maxLine); why != "" {
		it.Lines = []string{"Reason: " + sentence(why)}
	}
	return it
}

func (s Shadow) teams() string {
	var out []string
	for _, t := range s.Teams {
		out = append(out, fmt.Sprintf("%s %d", cmp.Or(clean(t.Name, maxName), "no team"), t.Count))
	}
	return short(out, 20)
}

func (p Product) title() string {
	switch p.Kind {
	case byNobody:
		return "Services without a product management owner"
	case byManager:
		return "Product management: " + clean(p.Owner, maxName) + ", manager of the contingency team"
	case byDirector:
		return "Product management: " + clean(p.Owner, maxName) + ", who holds the vacancy"
	}
	if p.Manager != "" {
		return "Product management: " + clean(p.Owner, maxName) + " (" + clean(p.Manager, maxName) + ")"
	}
	return "Product management: " + clean(p.Owner, maxName)
}

func (p Product) note() string {
	who := "Their services"
	if p.Kind == byNobody {
		who = "They"
	}
	return fmt.Sprintf("%s cost %s (%s), %s, %s.", who, plural(p.Alerts, "alert", "alerts"), before(p.Before),
		plural(p.Pages, "page", "pages"), plural(p.Escalations, "escalation", "escalations"))
}

func (s ServiceCost) item() Item {
	head := clean(s.Service, maxName)
	if weak(s.Assessment) {
		head += " (" + assessmentWord(s.Assessment) + ")"
	}
	return Item{Head: fmt.Sprintf("%s: %s (%s), %s, %s", head, plural(s.Alerts, "alert", "alerts"), before(s.Before),
		plural(s.Pages, "page", "pages"), plural(s.Escalations, "escalation", "escalations"))}
}

// subjectWords is a subject for people: a service is just its name.
func subjectWords(subject string) string {
	kind, name, ok := strings.Cut(subject, ":")
	name = clean(name, maxName)
	switch {
	case ok && kind == "service":
		return name
	case ok && kind == "team":
		return "team " + name
	case ok && kind == "name":
		return name + " (not in the catalog)"
	case subject == "unmapped":
		return "alerts that name nothing"
	}
	return clean(subject, maxName)
}

func assessmentWord(a catalog.Assessment) string {
	if a == catalog.Partial {
		return "partially owned"
	}
	return string(a)
}

func before(n int) string {
	if n == 0 {
		return "none the week before"
	}
	return fmt.Sprintf("%d the week before", n)
}

// short lists at most most names.
func short(names []string, most int) string {
	shown := slices.Clone(names[:min(len(names), most)])
	for i, n := range shown {
		shown[i] = clean(n, 2*maxName)
	}
	if left := len(names) - most; left > 0 {
		return strings.Join(shown, ", ") + fmt.Sprintf(" and %d more", left)
	}
	return strings.Join(shown, ", ")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func sum(counts []NameCount) int {
	n := 0
	for _, c := range counts {
		n += c.Count
	}
	return n
}

// span is a time for people: 45s, 4m, 1h5m, 2d3h.
func span(seconds int) string {
	switch m := seconds / 60; {
	case seconds < 60:
		return fmt.Sprintf("%ds", seconds)
	case m < 60:
		return fmt.Sprintf("%dm", m)
	case m < 24*60 && m%60 == 0:
		return fmt.Sprintf("%dh", m/60)
	case m < 24*60:
		return fmt.Sprintf("%dh%dm", m/60, m%60)
	case m/60%24 == 0:
		return fmt.Sprintf("%dd", m/60/24)
	default:
		return fmt.Sprintf("%dd%dh", m/60/24, m/60%24)
	}
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// sentence ends a text with a full stop.
func sentence(s string) string {
	if strings.HasSuffix(s, ".") || strings.HasSuffix(s, "!") || strings.HasSuffix(s, "?") {
		return s
	}
	return s + "."
}
