// Package notifierstest holds the messages that every channel is tested with:
// each kind in each state that people see, and hostile ones.
package notifierstest

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"callchain/config"
	"callchain/notifiers"
)

// Case is a message with a name.
type Case struct {
	Name    string
	Message notifiers.Message
}

// Opened is when the incident of the cases began.
var Opened = time.Date(2026, 11, 20, 14, 22, 3, 0, time.UTC)

// berlin has no clock change in November; a fixed zone needs no tzdata.
var berlin = time.FixedZone("Europe/Berlin", 3600)

// Incident is a page for parsoid, triggered, at step 1 of 4.
func Incident() notifiers.Incident {
	return notifiers.Incident{
		ID: "3f-k7q2", Revision: 12, State: notifiers.Triggered, Urgency: config.Page,
		Subject: "service:parsoid", Name: "parsoid", Known: true, Lifecycle: config.Active, Assessment: "partial",
		Missing:   []string{"parsoid has no product_management owner, so nobody plans its repair; answering this page does not make you its owner"},
		CanDeploy: "release-engineering",
		Matched:   `the label service="parsoid" names it`, CatalogPlace: "catalog/parsing.yml:31",
		AlertName: "HighErrorRate", Summary: "5xx ratio above 5 % for 10 minutes",
		Alerts: []notifiers.Alert{
			{Firing: true, Name: "HighErrorRate", Summary: "5xx ratio 12 %", StartsAt: Opened, Labels: []notifiers.Label{{Name: "instance", Value: "pay-1"}, {Name: "dc", Value: "eqiad"}}},
			{Firing: true, Name: "HighErrorRate", Summary: "5xx ratio 7 %", StartsAt: Opened, Labels: []notifiers.Label{{Name: "instance", Value: "pay-2"}, {Name: "dc", Value: "eqiad"}}},
			{Name: "HighErrorRate", StartsAt: Opened, EndsAt: Opened.Add(4 * time.Minute), Labels: []notifiers.Label{{Name: "instance", Value: "pay-3"}}},
		},
		Firing: 2, Resolved: 1, OpenedAt: Opened,
		Step: 1, Round: 1,
		Paged: []notifiers.Paged{{Name: "jane", SlackID: "U01JANE", As: "incident_response owner of parsoid", At: Opened, Step: 1, Channels: []string{notifiers.Slack, notifiers.Email}}},
		Next:  &notifiers.Next{At: Opened.Add(10 * time.Minute), Names: []string{"ravi"}, As: "development owner of parsoid"},
		Notes: []string{"A silence in Alertmanager does not stop this escalation"},

		Runbook: "https://wikitech.example.org/Parsoid", Dashboard: "https://grafana.example.org/d/parsoid",
		Source:  "https://prometheus.example.org/graph?g0.expr=rate%28http_errors%5B5m%5D%29+%3E+0.05&g0.tab=1",
		Silence: `https://am.example.org/#/silences/new?filter={service="parsoid"}`, Page: "https://callchain.example.org/incidents/3f-k7q2",
		Token: "v1|3f-k7q2|1",
	}
}

// Jane is paged first.
func Jane() *notifiers.You {
	return &notifiers.You{
		Handle: "jane", Name: "jane", Timezone: berlin, As: "incident_response owner of parsoid",
		Why: "on call for sre-serviceops until 17:00 UTC", Step: 1, Steps: 4, Round: 1, Rounds: 2,
		AckURL: "https://callchain.example.org/ack/AQNhAmsAbcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUV",
	}
}

// Ravi is paged second.
func Ravi() *notifiers.You {
	y := Jane()
	y.Handle, y.Name, y.As, y.Why, y.Step = "ravi", "ravi", "development owner of parsoid", "on call for content-transform", 2
	return y
}

// To makes the message of a kind for somebody, ten minutes before the next step.
func To(kind notifiers.Kind, you *notifiers.You, in notifiers.Incident) notifiers.Message {
	m := notifiers.Message{ID: "d-3f-k7q2-1", Attempt: 1, Kind: kind, You: you, Incident: in, Now: Opened.Add(2 * time.Second)}
	switch {
	case you != nil:
		m.Address = "U01" + strings.ToUpper(you.Handle)
	default:
		m.Address = "#content-transform"
	}
	return m
}

// Cases are all of them.
func Cases() []Case {
	with := func(change func(*notifiers.Incident)) notifiers.Incident {
		in := Incident()
		change(&in)
		return in
	}
	escalated := with(func(in *notifiers.Incident) {
		in.Step = 2
		in.Paged = append(in.Paged, notifiers.Paged{Name: "ravi", SlackID: "U01RAVI", As: "development owner of parsoid", At: Opened.Add(10 * time.Minute), Step: 2, Channels: []string{notifiers.Slack}, Failed: "e-mail: 550 5.1.1 no such user"})
		in.Next = &notifiers.Next{At: Opened.Add(30 * time.Minute), Names: []string{"mei"}, As: "manager of content-transform"}
	})
	acknowledged := with(func(in *notifiers.Incident) {
		in.State, in.By, in.ByVia, in.ByAt, in.Next = notifiers.Acknowledged, "jane", notifiers.Slack, Opened.Add(4*time.Minute), nil
		in.AckExpires = in.ByAt.Add(24 * time.Hour)
	})
	resolved := with(func(in *notifiers.Incident) {
		in.State, in.Firing, in.Resolved, in.ResolvedAt, in.Next = notifiers.Resolved, 0, 3, Opened.Add(19*time.Minute), nil
		for i := range in.Alerts {
			in.Alerts[i].Firing, in.Alerts[i].EndsAt = false, in.ResolvedAt
		}
	})
	exhausted := with(func(in *notifiers.Incident) {
		in.Exhausted, in.Next = true, &notifiers.Next{At: Opened.Add(time.Hour), Names: []string{"duty"}, As: "fallback", Again: true}
	})
	held := with(func(in *notifiers.Incident) {
		in.Held, in.Next, in.Notes = "silenced in Alertmanager by ravi until 2026-11-20 10:00 UTC (deploying <!channel> the fix)", nil, nil
	})
	last := with(func(in *notifiers.Incident) {
		in.Next = &notifiers.Next{At: Opened.Add(10 * time.Minute), Last: true}
	})
	round := with(func(in *notifiers.Incident) {
		in.Round = 2
		in.Next = &notifiers.Next{At: Opened.Add(10 * time.Hour), Names: []string{"jane", "amira"}, Again: true}
	})
	snoozed := with(func(in *notifiers.Incident) {
		in.State, in.By, in.ByAt, in.Next = notifiers.Snoozed, "jane", Opened.Add(4*time.Minute), nil
		in.SnoozedUntil = Opened.Add(2 * time.Hour)
	})
	flapping := with(func(in *notifiers.Incident) { in.Flapping, in.Next = true, nil })
	unreached := with(func(in *notifiers.Incident) {
		in.Paged[0].Channels, in.Paged[0].Failed = nil, "Slack: the account is deactivated; e-mail: 550 5.1.1 no such user"
	})
	unowned := with(func(in *notifiers.Incident) {
		in.Lifecycle, in.Assessment, in.CanDeploy = config.Unowned, "unowned", ""
		in.Missing = []string{"parsoid is unowned: no team answers for it", "Answering this page does not make you its owner"}
	})
	many := with(func(in *notifiers.Incident) {
		in.Urgency = config.UnbreakNow
		for len(in.Alerts) < notifiers.MaxAlerts {
			in.Alerts = append(in.Alerts, in.Alerts[0])
		}
		in.Firing, in.Truncated = 200, 17
	})
	test := notifiers.Incident{
		ID: "00-test", Revision: 1, State: notifiers.Triggered, Urgency: config.Page, Test: true, Name: "jane", OpenedAt: Opened, Token: "v1|00-test|1",
	}
	notify := with(func(in *notifiers.Incident) {
		in.Urgency, in.Paged, in.Next, in.Notes = config.Notify, nil, nil, nil
	})
	ref := notifiers.Ref{Channel: "D01JANE", TS: "1795184523.000100"}
	edited := func(m notifiers.Message) notifiers.Message {
		m.Edit, m.Ref = true, ref
		return m
	}
	reply := func(m notifiers.Message) notifiers.Message {
		m.Ref = ref
		return m
	}
	testYou := Jane()
	testYou.As, testYou.Why, testYou.Steps, testYou.Step = "", "", 1, 1
	lastYou := Ravi()
	lastYou.Step = 4
	againYou := Jane()
	againYou.Round, againYou.MayCome2 = 2, true
	group := To(notifiers.Board, nil, Incident())
	group.Usergroup = "S0CTT"
	readOnly := To(notifiers.Board, nil, Incident())
	readOnly.ReadOnly = true
	resolvedByHand := resolved
	resolvedByHand.Firing, resolvedByHand.By, resolvedByHand.ByAt = 2, "ravi", resolved.ResolvedAt
	resolvedAcked := resolved
	resolvedAcked.By, resolvedAcked.ByAt = "jane", Opened.Add(4*time.Minute)
	drill := with(func(in *notifiers.Incident) {
		in.Drill, in.Missing, in.Alerts, in.Firing, in.Resolved = true, nil, nil, 0, 0
		in.AlertName, in.Summary, in.Matched = "practice page", "This is a drill: nothing is broken.", "ravi asked for a drill"
		in.Source, in.Silence, in.Notes = "", "", []string{"This is a drill: acknowledge as you would a real page"}
	})
	drillOver := drill
	drillOver.Notes = nil
	drillOver.State, drillOver.By, drillOver.ByVia, drillOver.ByAt, drillOver.Next = notifiers.Resolved, "jane", notifiers.Slack, Opened.Add(4*time.Minute), nil
	drillOver.ResolvedAt = drillOver.ByAt
	drillUnanswered := drillOver
	drillUnanswered.By, drillUnanswered.ByVia, drillUnanswered.ByAt = "", "", time.Time{}
	beside := Ravi()
	beside.Why, beside.Beside = "jane asked for you", true
	asked := Ravi()
	asked.Why, asked.Steps, asked.Step = "jane asked for you", 0, 0
	notifyAsked := notify
	notifyAsked.Paged = []notifiers.Paged{{Name: "ravi", SlackID: "U01RAVI", As: "ravi", At: Opened}}
	fallback := Jane()
	fallback.As, fallback.Why = "the fallback team", "nobody owns parsoid"

	return []Case{
		{"page", To(notifiers.Page, Jane(), Incident())},
		{"page second step", To(notifiers.Page, Ravi(), escalated)},
		{"page escalated past", edited(To(notifiers.Page, Jane(), escalated))},
		{"page last step", To(notifiers.Page, lastYou, last)},
		{"page second round", To(notifiers.Page, againYou, round)},
		{"page of the round before", edited(To(notifiers.Page, Ravi(), round))},
		{"page exhausted", edited(To(notifiers.Page, Jane(), exhausted))},
		{"page on hold", edited(To(notifiers.Page, Jane(), held))},
		{"told on hold", reply(To(notifiers.Told, Jane(), held))},
		{"page acknowledged by another", edited(To(notifiers.Page, Ravi(), acknowledged))},
		{"page acknowledged by you", edited(To(notifiers.Page, Jane(), acknowledged))},
		{"page to one asked besides", To(notifiers.Page, beside, acknowledged)},
		{"page by hand of what wakes nobody", To(notifiers.Page, asked, notifyAsked)},
		{"board notify asked by hand", edited(To(notifiers.Board, nil, notifyAsked))},
		{"page flapping", edited(To(notifiers.Page, Jane(), flapping))},
		{"page unowned", To(notifiers.Page, fallback, unowned)},
		{"page snoozed", edited(To(notifiers.Page, Jane(), snoozed))},
		{"page resolved", edited(To(notifiers.Page, Jane(), resolved))},
		{"page resolved by hand", edited(To(notifiers.Page, Jane(), resolvedByHand))},
		{"page many alerts", To(notifiers.Page, Jane(), many)},
		{"page test", To(notifiers.Page, testYou, test)},
		{"page drill", To(notifiers.Page, Jane(), drill)},
		{"page drill over", edited(To(notifiers.Page, Jane(), drillOver))},
		{"board drill unanswered", edited(To(notifiers.Board, nil, drillUnanswered))},
		{"reminder", reply(To(notifiers.Reminder, Jane(), Incident()))},
		{"reminder to one asked besides", reply(To(notifiers.Reminder, beside, acknowledged))},
		{"question", reply(To(notifiers.Question, Jane(), acknowledged))},
		{"told acknowledged", reply(To(notifiers.Told, Ravi(), acknowledged))},
		{"told resolved", reply(To(notifiers.Told, Jane(), resolvedAcked))},
		{"board", group},
		{"board escalated", edited(To(notifiers.Board, nil, escalated))},
		{"board acknowledged", edited(To(notifiers.Board, nil, acknowledged))},
		{"board exhausted", edited(To(notifiers.Board, nil, exhausted))},
		{"board snoozed", edited(To(notifiers.Board, nil, snoozed))},
		{"board on hold", edited(To(notifiers.Board, nil, held))},
		{"board flapping", edited(To(notifiers.Board, nil, flapping))},
		{"board unowned", To(notifiers.Board, nil, unowned)},
		{"board unreachable person", edited(To(notifiers.Board, nil, unreached))},
		{"board resolved", edited(To(notifiers.Board, nil, resolvedAcked))},
		{"board notify", To(notifiers.Board, nil, notify)},
		{"thread", reply(notifiers.Message{ID: "d-t1", Kind: notifiers.Thread, Address: "C01TEAM", Incident: Incident(), Now: Opened, Lines: []notifiers.Line{
			{At: Opened, Text: "paged jane (step 1): Slack delivered, e-mail accepted"},
			{At: Opened.Add(10 * time.Minute), Text: "no acknowledgement in 10 min, on to step 2"},
		}})},
		{"thread that rings", reply(notifiers.Message{ID: "d-t2", Kind: notifiers.Thread, Address: "C01TEAM", Incident: exhausted, Now: Opened, Lines: []notifiers.Line{
			{At: Opened.Add(30 * time.Minute), Text: "nobody answered", Ring: true},
		}})},
		{"thread that mentions", reply(notifiers.Message{ID: "d-t3", Kind: notifiers.Thread, Address: "C01TEAM", Incident: acknowledged, Now: Opened, Mention: []string{"U01JANE"}, Lines: []notifiers.Line{
			{At: Opened.Add(15 * time.Minute), Text: "2 more alerts"},
		}})},
		{"board read only", readOnly},
		{"digest", Storm(14)},
		{"digest in part answered", edited(answered(Storm(14)))},
		{"digest that is answered", edited(over(Storm(14), notifiers.Acknowledged))},
		{"digest that is over", edited(over(Storm(14), notifiers.Resolved))},
		{"digest of many", edited(Storm(212))},
		{"digest that rings", reply(rings(Storm(17), 3))},
		{"digest that reminds", reply(again(Storm(14)))},
		{"notice", notifiers.Message{ID: "d-n1", Kind: notifiers.Notice, Address: "#sre", Now: Opened, Notice: &notifiers.Text{
			Title: "callchain cannot reach Slack", Body: "Slack refuses the bot token (token_revoked).\n\nPages go out by e-mail meanwhile. Install the app again and store its new token.",
		}}},
		{"report", notifiers.Message{ID: "d-r1", Kind: notifiers.Report, Address: "#sre", Now: Opened, Report: Report()}},
		{"report of sections", notifiers.Message{ID: "d-r2", Kind: notifiers.Report, Address: "#sre", Now: Opened, Report: long()}},
	}
}

// Storm is a digest of so many incidents for Jane.
func Storm(total int) notifiers.Message {
	m := To(notifiers.Digest, Jane(), notifiers.Incident{ID: "d2-mfoh47odak", Revision: 3, State: notifiers.Triggered, OpenedAt: Opened})
	s := &notifiers.Storm{
		Limit: 6, Total: total, Open: total, Asks: min(total, notifiers.MaxNamed),
		Next:   &notifiers.Next{At: Opened.Add(10 * time.Minute), Names: []string{"ravi"}, As: "development owner of parsoid"},
		NextID: "3f-k7q2aaaaaa", Token: "d1|d2-mfoh47odak|3", Page: "https://callchain.example.org/",
	}
	for i := range min(total, notifiers.MaxNamed) {
		n := notifiers.Named{ID: fmt.Sprintf("3f-k7q2aaaa%02d", i), Title: notifiers.Untrusted(fmt.Sprintf("parsoid-%d: HighErrorRate", i)), State: notifiers.Triggered}
		if i == 0 {
			n.Urgent, n.Title = true, "edge: <thumbor> & co are *down*"
		}
		s.Named = append(s.Named, n)
	}
	m.Digest = s
	return m
}

// answered is a digest of which three incidents ask for nothing any more.
func answered(m notifiers.Message) notifiers.Message {
	s := m.Digest
	s.Named[3].State, s.Named[3].By = notifiers.Acknowledged, "ravi"
	s.Named[4].State = notifiers.Resolved
	s.Named[5].State = notifiers.Snoozed
	s.Open, s.Asks = s.Open-3, s.Asks-3
	return m
}

// over is a digest of which none does, each being in the given state.
func over(m notifiers.Message, state notifiers.State) notifiers.Message {
	s := m.Digest
	for i := range s.Named {
		s.Named[i].State, s.Named[i].By = state, "ravi"
	}
	m.Incident.State, m.You.AckURL = notifiers.Resolved, ""
	s.Open, s.Asks, s.Over, s.Token, s.Next, s.NextID = 0, 0, true, "", nil, ""
	return m
}

// again is a digest that reminds.
func again(m notifiers.Message) notifiers.Message {
	m.Digest.Again = true
	return m
}

// rings is a digest that n incidents joined since it rang.
func rings(m notifiers.Message, n int) notifiers.Message {
	s := m.Digest
	s.New = n
	for i := range n {
		s.Named[len(s.Named)-1-i].New = true
	}
	return m
}

// Report is a weekly report with the parts of its mail.
func Report() *notifiers.Paper {
	return &notifiers.Paper{
		Title: "Ownership report 2026-W46, 9 to 15 November 2026",
		Lead:  []notifiers.Untrusted{"13 alerts in 3 incidents; 9 pages and 5 escalations.", "Of the alerts: 6 about partially owned services."},
		Sections: []notifiers.Section{
			{Title: "Services that are not fully owned", Lines: []notifiers.Untrusted{"parsoid (tier 1, active, partially owned)", "  6 alerts, 5 the week before; 4 pages, 2 escalations.", "oldbot (tier 4, unowned)"}, Left: 4},
			{Title: "Names that the catalog lacks", Lines: []notifiers.Untrusted{"<thumbor> & co: 2 alerts"}},
		},
		More: "https://callchain.example.org/reports/weekly?period=2026-W46",
		Text: "Ownership report 2026-W46\n\n* parsoid (tier 1)\n  6 alerts\n",
		HTML: "<!doctype html><html><body><h1>Ownership report 2026-W46</h1></body></html>",
	}
}

// long is a report that no message of Slack holds, without parts of a mail.
func long() *notifiers.Paper {
	p := Report()
	p.Text, p.HTML, p.Sections[0].Lines = "", "", nil
	for i := range 60 {
		p.Sections[0].Lines = append(p.Sections[0].Lines, notifiers.Untrusted(fmt.Sprintf("service-%d: %s", i, strings.Repeat("many alerts ", 8))))
		p.Sections = append(p.Sections, notifiers.Section{Title: fmt.Sprintf("Product management: team-%d", i), Lines: []notifiers.Untrusted{"1 alert"}})
	}
	return p
}

// Hostile is a message in which everything that others write is s.
func Hostile(kind notifiers.Kind, s string) notifiers.Message {
	u := notifiers.Untrusted(s)
	in := Incident()
	in.Name, in.Subject, in.AlertName, in.Summary = s, s, u, u
	in.Matched, in.CatalogPlace, in.CanDeploy, in.By = s, s, s, s
	in.Missing, in.Notes, in.AlsoAffected = []string{s, s}, []string{s}, []string{s, s}
	in.Held = u
	in.Runbook, in.Dashboard, in.Source, in.Silence, in.Page = u, u, "https://x.example/"+u, "javascript:"+u, s
	for i := range in.Alerts {
		in.Alerts[i] = notifiers.Alert{Firing: i == 0, Name: u, Summary: u, Labels: []notifiers.Label{{Name: u, Value: u}}}
	}
	in.Paged = []notifiers.Paged{{Name: s, SlackID: s, As: s, Failed: s, Step: 1, Channels: []string{s}}}
	in.Next = &notifiers.Next{At: Opened, Names: []string{s, s}, As: s}
	in.AckExpires, in.SnoozedUntil = Opened, Opened
	m := To(kind, Jane(), in)
	m.You.Name, m.You.As, m.You.Why, m.You.AckURL = s, s, s, "https://callchain.example.org/ack/"+s
	m.Usergroup, m.Mention = s, []string{s, s}
	m.Lines = []notifiers.Line{{At: Opened, Text: u}, {At: Opened, Text: u, Ring: true}}
	m.Notice = &notifiers.Text{Title: s, Body: u}
	m.Report = &notifiers.Paper{Title: s, Lead: []notifiers.Untrusted{u}, More: s, Text: s, HTML: template.HTML(template.HTMLEscapeString(s))}
	for range 25 { // more than a message of Slack has blocks for
		m.Report.Sections = append(m.Report.Sections, notifiers.Section{Title: s, Lines: []notifiers.Untrusted{u, u}, Left: 3})
	}
	m.Digest = &notifiers.Storm{Limit: 6, Total: 60, Open: 60, New: 1, Asks: 50, Token: "d1|d2-x|1", Page: s, NextID: s, Next: in.Next}
	for range notifiers.MaxNamed {
		m.Digest.Named = append(m.Digest.Named, notifiers.Named{ID: s, Title: u, Urgent: true, State: notifiers.Acknowledged, By: s, New: true})
	}
	if kind == notifiers.Board {
		m.You, m.Address = nil, "#board"
	}
	return m
}

// HostileTexts are what a label may hold, for tables and as seeds of fuzzing.
var HostileTexts = []string{
	"<!channel> <!here> <@U66EVIL> <#C01> <!subteam^S66> <https://evil.example|Click> <!date^1^{time}|x>",
	"&lt;!channel&gt; & &amp; &#60;",
	"a\r\nBcc: all@example.org\r\n\r\nbody",
	"\u202egnp.exe \u2066hidden\u2069 \u200b\ufeff\x00\x07\x1b[31m",
	"\xff\xfe\x80 broken \xc3",
	strings.Repeat("&", 5000),
	strings.Repeat("<>&\n", 3000),
	strings.Repeat("名前", 3000),
	"javascript:alert(1)", "https://good.example@evil.example/|x>",
	"https://example.org/a b\"><script>alert(1)</script>",
	"</a><script>alert(1)</script><img src=x onerror=alert(1)>",
	"*bold* _it_ ~s~ `code` :smile: @everyone #general", "|", "", " ", "**",
	"{{.Ack}} {{end}}",
}
