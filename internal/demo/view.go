package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
	"time"

	"callchain/notifiers/inbox"
)

// How much is shown at once.
const (
	maxCards     = 60
	maxIncidents = 40
	maxTimeline  = 12
)

// view is everything on the page.
type view struct {
	BaseURL   string
	Said      string
	Show      string // whose inbox: a key of Filters
	Filters   []filter
	Alerts    []alertView
	Modals    []modalView
	Cards     []card
	More      int // cards that are not shown
	Incidents []incidentView
	Problem   string // why there are no incidents
	Now       time.Time
	People    []Person
}

type filter struct {
	Key, Label, About string
	Count             int
	On                bool
}

type alertView struct {
	PreparedAlert
	Firing bool
}

// card is a conversation's message with its thread, or a mail.
type card struct {
	ID      string
	At      time.Time
	Mail    *mailView
	Message *messageView
}

type mailView struct {
	inbox.Mail
	To     string
	Body   template.HTML
	Before []mailView // of the same thread, newest first
}

type messageView struct {
	Ref       inbox.Ref
	Where     string // "to amira" or "#incidents"
	Direct    bool
	Initials  string
	User      string // who presses in a direct message; "" where anybody can
	Only      string // whom an ephemeral message is shown to
	At        time.Time
	Broadcast bool
	Blocks    []block
	Edits     int
	Before    []editView
	Replies   []messageView
}

type editView struct {
	At   time.Time
	Text template.HTML
}

type incidentView struct {
	ID             string     `json:"id"`
	State          string     `json:"state"`
	Exhausted      bool       `json:"exhausted"`
	Stale          bool       `json:"stale"`
	Held           bool       `json:"held"`
	Subject        string     `json:"subject"`
	Team           string     `json:"team"`
	Urgency        string     `json:"urgency"`
	Assessment     string     `json:"assessment"`
	MissingRoles   []string   `json:"missing_roles"`
	Risks          []risk     `json:"risks"`
	AcknowledgedBy string     `json:"acknowledged_by"`
	NextStepAt     *time.Time `json:"next_step_at"`
	OpenedAt       time.Time  `json:"opened_at"`
	Alerts         []struct {
		Status string            `json:"status"`
		Labels map[string]string `json:"labels"`
	} `json:"alerts"`
	Timeline []struct {
		At   time.Time `json:"at"`
		Text string    `json:"text"`
		By   string    `json:"by"`
	} `json:"timeline"`
	Earlier int `json:"-"` // lines of the timeline that are not shown
}

// risk is a kind, alone or with more about it.
type risk string

// UnmarshalJSON takes "unowned" and {"kind": "unowned"} alike.
func (r *risk) UnmarshalJSON(b []byte) error {
	var one struct{ Kind string }
	if json.Unmarshal(b, &one) == nil {
		*r = risk(one.Kind)
		return nil
	}
	return json.Unmarshal(b, (*string)(r))
}

// words writes a fixed name of the API for people.
func words(name string) string { return strings.ReplaceAll(name, "_", " ") }

// Name is the subject without its kind.
func (i incidentView) Name() string {
	kind, name, ok := strings.Cut(i.Subject, ":")
	switch {
	case kind == "unmapped":
		return "no service named"
	case ok && kind == "team":
		return "team " + name
	case ok && kind == "name":
		return name + " (not in the catalog)"
	case ok:
		return name
	}
	return i.Subject
}

// What is the incident's alert names.
func (i incidentView) What() string {
	var names []string
	for _, a := range i.Alerts {
		if n := a.Labels["alertname"]; n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return strings.Join(names, ", ")
}

// Count says how many alerts there are, if that is worth saying.
func (i incidentView) Count() string {
	if len(i.Alerts) < 2 {
		return ""
	}
	return fmt.Sprintf(" (%d alerts)", len(i.Alerts))
}

// UrgencyWords is the urgency for people.
func (i incidentView) UrgencyWords() string { return words(i.Urgency) }

// Missing is the missing roles for people.
func (i incidentView) Missing() string {
	var list []string
	for _, r := range i.MissingRoles {
		list = append(list, words(r))
	}
	return strings.Join(list, ", ")
}

// RiskWords is the risks for people.
func (i incidentView) RiskWords() string {
	var list []string
	for _, r := range i.Risks {
		list = append(list, words(string(r)))
	}
	return strings.Join(list, ", ")
}

func (p *page) view(ctx context.Context, show string) view {
	v := view{BaseURL: strings.TrimRight(p.cfg.BaseURL, "/"), Show: show, Now: p.cfg.Now(), People: p.people(), Modals: p.modals()}
	p.mu.Lock()
	v.Said = p.said
	for _, a := range p.cfg.Alerts {
		_, firing := p.firing[a.Name]
		v.Alerts = append(v.Alerts, alertView{a, firing})
	}
	p.mu.Unlock()
	p.inboxes(&v)
	p.incidents(ctx, &v)
	return v
}

// people are those who can press, in the order of their names.
func (p *page) people() []Person {
	var list []Person
	for _, u := range p.cfg.Inbox.Users() {
		if !u.Bot && !u.Deleted {
			list = append(list, Person{SlackID: u.ID, Name: p.name(u.ID)})
		}
	}
	return list
}

func (p *page) inboxes(v *view) {
	n := names(p.name)
	counts := map[string]int{}
	about := map[string]string{}
	labels := map[string]string{}
	byEmail := map[string]string{}
	for _, u := range p.cfg.Inbox.Users() {
		byEmail[strings.ToLower(u.Email)] = u.ID
	}
	for _, person := range p.cfg.People {
		about[person.SlackID] = person.About
	}

	type keyed struct {
		card
		keys []string
	}
	var all []keyed
	at := map[inbox.Ref]int{}
	for _, m := range p.cfg.Inbox.Messages() {
		one := p.message(m, n)
		if i, ok := at[inbox.Ref{Channel: m.Channel, TS: m.ThreadTS}]; ok && m.ThreadTS != "" {
			parent := all[i].Message
			parent.Replies = append(parent.Replies, one)
			all[i].At = m.At
			continue
		}
		key, label := m.ChannelName, m.ChannelName
		if m.User != "" {
			key, label = m.User, n(m.User)
		}
		labels[key] = label
		at[m.Ref] = len(all)
		all = append(all, keyed{card{ID: "m-" + m.Channel + "-" + m.TS, At: m.At, Message: &one}, []string{key}})
		counts[key]++
	}
	mails := p.cfg.Mail.Mails()
	threads := map[string]int{}
	for _, m := range mails {
		one := mailView{Mail: m, To: strings.Join(m.To, ", "), Body: plain(m.Text)}
		thread := root(m) + " " + one.To
		if i, ok := threads[thread]; ok {
			// The newest mail of a thread stands for it.
			one.Before = append([]mailView{*all[i].Mail}, all[i].Mail.Before...)
			one.Before[0].Before = nil
			all[i].At, all[i].Mail = m.At, &one
			continue
		}
		threads[thread] = len(all)
		keys := []string{"mail"}
		for _, to := range m.To {
			key := byEmail[strings.ToLower(to)]
			if key == "" {
				continue
			}
			keys = append(keys, key)
			labels[key] = n(key)
			counts[key]++
		}
		counts["mail"]++
		all = append(all, keyed{card{
			ID: fmt.Sprintf("e-%d", m.ID), At: m.At, Mail: &one,
		}, keys})
	}

	v.Filters = []filter{{Key: "", Label: "Everything", Count: len(all), On: v.Show == ""}}
	for _, key := range slices.SortedFunc(maps.Keys(labels), func(a, b string) int {
		// People first, then channels.
		return cmp.Or(order(labels[a])-order(labels[b]), cmp.Compare(labels[a], labels[b]))
	}) {
		v.Filters = append(v.Filters, filter{Key: key, Label: labels[key], About: about[key], Count: counts[key], On: v.Show == key})
	}
	if len(mails) > 0 {
		v.Filters = append(v.Filters, filter{Key: "mail", Label: "All mail", Count: counts["mail"], On: v.Show == "mail"})
	}
	all = slices.DeleteFunc(all, func(k keyed) bool { return v.Show != "" && !slices.Contains(k.keys, v.Show) })
	// Newest first; a thread is as new as its last reply.
	slices.SortStableFunc(all, func(a, b keyed) int { return b.At.Compare(a.At) })
	for i, k := range all {
		if i == maxCards {
			v.More = len(all) - maxCards
			break
		}
		v.Cards = append(v.Cards, k.card)
	}
}

// order puts channels behind people.
func order(label string) int {
	if strings.HasPrefix(label, "#") {
		return 1
	}
	return 0
}

// over puts resolved incidents behind open ones.
func over(i incidentView) int {
	if i.State == "resolved" {
		return 1
	}
	return 0
}

func (p *page) message(m inbox.Message, n names) messageView {
	one := messageView{
		Ref: m.Ref, Where: m.ChannelName, At: m.At, Broadcast: m.Broadcast, Initials: "#",
		Blocks: blocks(m.Blocks, m.Text, n), Edits: m.EditCount,
	}
	if m.User != "" {
		one.Direct, one.User, one.Where = true, m.User, n(m.User)
		one.Initials = initials(one.Where)
	}
	if m.EphemeralTo != "" {
		one.User, one.Only = m.EphemeralTo, n(m.EphemeralTo)
	}
	for _, e := range m.Edits {
		text := e.Text
		if text == "" {
			text = "(blocks only)"
		}
		one.Before = append(one.Before, editView{e.At, mrkdwn(text, n)})
	}
	return one
}

// root is the Message-ID that the mails of one thread have in common.
func root(m inbox.Mail) string {
	if refs := strings.Fields(m.Header.Get("References")); len(refs) > 0 {
		return refs[0]
	}
	if m.MessageID != "" {
		return m.MessageID
	}
	return fmt.Sprint(m.ID)
}

func initials(name string) string {
	var out string
	for _, part := range strings.Fields(name) {
		out += strings.ToUpper(string([]rune(part)[:1]))
	}
	return string([]rune(out)[:min(2, len([]rune(out)))])
}

func (p *page) incidents(ctx context.Context, v *view) {
	raw, err := p.cfg.Incidents(ctx)
	if err != nil {
		v.Problem = "The incidents cannot be read: " + err.Error()
		return
	}
	var answer struct{ Incidents []incidentView }
	if err := json.Unmarshal(raw, &answer); err != nil {
		v.Problem = "The incidents cannot be read: " + err.Error()
		return
	}
	// Open ones first; the API's order, newest first, within.
	slices.SortStableFunc(answer.Incidents, func(a, b incidentView) int {
		return over(a) - over(b)
	})
	v.Incidents = answer.Incidents[:min(len(answer.Incidents), maxIncidents)]
	for i := range v.Incidents {
		inc := &v.Incidents[i]
		// The newest line stands on top.
		slices.Reverse(inc.Timeline)
		if n := len(inc.Timeline) - maxTimeline; n > 0 {
			inc.Earlier = n
			inc.Timeline = inc.Timeline[:maxTimeline]
		}
	}
}
