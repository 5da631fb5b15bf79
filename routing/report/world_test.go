package report

import (
	"os"
	"testing"
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

func load(t testing.TB, text string) *catalog.Catalog {
	t.Helper()
	in, ps := config.ParseCatalog([]config.File{{Name: "catalog.yml", Data: []byte(text)}})
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	cat, ps := catalog.New(in)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	return cat
}

func world(t testing.TB) *catalog.Catalog {
	t.Helper()
	text, err := os.ReadFile("testdata/catalog.yml")
	if err != nil {
		t.Fatal(err)
	}
	return load(t, string(text))
}

var w46 = Period{Week: "2026-W46", From: "2026-11-09", To: "2026-11-15"}

// diary collects events into Facts, as the engine does.
type diary struct{ facts []Facts }

func (d *diary) add(e Event) {
	for i := range d.facts {
		if d.facts[i].Day == e.Day && d.facts[i].Subject == e.Subject {
			d.facts[i].Add(e)
			return
		}
	}
	var f Facts
	f.Add(e)
	d.facts = append(d.facts, f)
}

func alerts(n int, name string, labels map[string]string) []Alert {
	var out []Alert
	for range n {
		out = append(out, Alert{Name: name, Urgency: config.Page, Labels: labels})
	}
	return out
}

func ack(by, team string, seconds int, incident string, heroics bool) *Ack {
	return &Ack{By: by, Team: team, Seconds: seconds, Incident: incident, Heroics: heroics}
}

func risk(at time.Time, incident string, kinds ...routing.Risk) []Risk {
	var out []Risk
	for _, k := range kinds {
		out = append(out, Risk{Kind: k, At: at, Alert: "HighErrorRate", Incident: incident})
	}
	return out
}

// busy is a week in which everything happened, and the week before it.
func busy() (week, before []Facts) {
	at := time.Date(2026, 11, 10, 2, 14, 0, 0, time.UTC)
	parsoid := Event{Subject: "service:parsoid", Service: "parsoid", Team: "sre", State: config.Active, Assessment: catalog.Partial, Missing: []config.Role{config.Development}}
	oldbot := Event{Subject: "service:oldbot", Service: "oldbot", Team: "sre", State: config.Unowned, Assessment: catalog.Unowned, Missing: []config.Role{config.ContingencyDevelopment, config.ConfigurationDeployment}}
	charts := Event{Subject: "service:charts", Service: "charts", Team: "sre", State: config.Maintenance, Assessment: catalog.Owned}
	gone := Event{Subject: "service:graphoid", Service: "graphoid", Team: "sre", State: config.Decommissioned, Assessment: catalog.Decommissioned}
	haproxy := Event{Subject: "service:haproxy", Service: "haproxy", Team: "traffic", State: config.ThirdParty, Assessment: catalog.Owned}
	named := Event{Subject: "name:thumbor", Named: "thumbor", Team: "sre", Assessment: catalog.Unknown}
	nobody := Event{Subject: "unmapped", Team: "sre", Assessment: catalog.Unknown}
	team := Event{Subject: "team:traffic", Team: "traffic", Assessment: catalog.Unknown}
	on := func(day string, e Event, change func(*Event)) Event {
		e.Day, e.At = day, at
		change(&e)
		return e
	}
	var w, b diary
	w.add(on("2026-11-10", parsoid, func(e *Event) {
		e.Alerts, e.Opened, e.Pages, e.Escalations = alerts(4, "HighErrorRate", nil), true, 3, 2
		e.Ack, e.Risks = ack("amira", "sre", 1230, "3f-k7q2", false), risk(at, "3f-k7q2", routing.RiskPartial)
	}))
	w.add(on("2026-11-12", parsoid, func(e *Event) {
		e.Alerts, e.Opened, e.Pages = alerts(2, "Saturation", nil), true, 1
		e.Ack, e.Risks = ack("finn", "traffic", 240, "3f-m2aa", true), risk(at.AddDate(0, 0, 2), "3f-m2aa", routing.RiskPartial, routing.RiskHeroics, routing.RiskNobodyOnCall)
	}))
	w.add(on("2026-11-11", oldbot, func(e *Event) {
		e.Alerts, e.Opened, e.Pages, e.Escalations = alerts(7, "BotDown", nil), true, 4, 3
		e.Risks = risk(at.AddDate(0, 0, 1), "9c-7ttt", routing.RiskUnowned, routing.RiskExhausted, routing.RiskSinglePerson)
	}))
	w.add(on("2026-11-13", charts, func(e *Event) {
		e.Alerts, e.Opened, e.Pages, e.Ack = alerts(1, "SlowRender", nil), true, 1, ack("ben", "sre", 65, "aa-1111", false)
	}))
	w.add(on("2026-11-09", haproxy, func(e *Event) {
		e.Alerts, e.Opened, e.Pages, e.Ack = alerts(3, "BackendDown", nil), true, 1, ack("finn", "traffic", 31, "bb-2222", false)
	}))
	w.add(on("2026-11-14", gone, func(e *Event) {
		e.Alerts, e.Opened, e.Pages = alerts(2, "GraphoidDown", nil), true, 1
		e.Risks = risk(at.AddDate(0, 0, 4), "cc-3333", routing.RiskDecommissioned)
	}))
	w.add(on("2026-11-10", named, func(e *Event) {
		e.Alerts, e.Opened, e.Pages = alerts(2, "HighLatency", map[string]string{"alertname": "HighLatency", "service": "thumbor", "dc": "eqiad"}), true, 1
		e.Ack, e.Risks = ack("amira", "sre", 90, "dd-4444", false), risk(at, "dd-4444", routing.RiskUnknownService)
	}))
	w.add(on("2026-11-10", nobody, func(e *Event) {
		e.Alerts = append(alerts(3, "DiskFull", map[string]string{"alertname": "DiskFull", "instance": "db1:9100", "job": "node"}),
			alerts(2, "PodRestarts", map[string]string{"alertname": "PodRestarts", "job": "kube-state-metrics", "namespace": "zotero", "pod": "zotero-1"})...)
		e.Opened, e.Pages, e.Risks = true, 1, risk(at, "ee-5555", routing.RiskUnmapped)
	}))
	w.add(on("2026-11-11", nobody, func(e *Event) {
		e.Alerts, e.Recorded = alerts(2, "Info", map[string]string{"alertname": "Info's \"quote\"", "app": "x"}), "urgency record: nobody is told"
		e.Risks = []Risk{{Kind: routing.RiskUnmapped, At: at.AddDate(0, 0, 1), Alert: "Info"}}
	}))
	w.add(on("2026-11-15", team, func(e *Event) {
		e.Alerts, e.Opened = alerts(1, "CertExpires", map[string]string{"alertname": "CertExpires", "team": "traffic"}), true
		e.Risks = risk(at.AddDate(0, 0, 5), "ff-6666", routing.RiskUnmapped)
	}))
	b.add(on("2026-11-03", parsoid, func(e *Event) {
		e.Alerts, e.Opened, e.Pages, e.Ack = alerts(5, "HighErrorRate", nil), true, 2, ack("amira", "sre", 300, "3f-0000", false)
		e.Risks = risk(at, "3f-0000", routing.RiskPartial, routing.RiskSinglePerson)
	}))
	b.add(on("2026-11-04", Event{Subject: "service:restbase", Service: "restbase", State: config.Unowned, Assessment: catalog.Unowned}, func(e *Event) {
		e.Alerts, e.Opened = alerts(1, "Down", nil), true
	}))
	b.add(on("2026-11-05", nobody, func(e *Event) {
		e.Alerts, e.Opened = alerts(1, "DiskFull", map[string]string{"alertname": "DiskFull", "instance": "db1:9100", "job": "node"}), true
	}))
	return w.facts, b.facts
}

// quiet is a week in which only owned services had alerts.
func quiet() (week, before []Facts) {
	var w diary
	w.add(Event{Day: "2026-11-11", Subject: "service:haproxy", Service: "haproxy", Team: "traffic", State: config.ThirdParty, Assessment: catalog.Owned,
		Alerts: alerts(2, "BackendDown", nil), Opened: true, Pages: 1, Ack: ack("finn", "traffic", 31, "bb-2222", false)})
	_, before = busy()
	return w.facts, before
}

// shadowed is a week in shadow mode.
func shadowed() (week, before []Facts) {
	var w diary
	w.add(Event{Day: "2026-11-11", Subject: "service:parsoid", Service: "parsoid", Team: "sre", State: config.Active, Assessment: catalog.Partial, Missing: []config.Role{config.Development},
		Alerts: alerts(2, "HighErrorRate", nil), Opened: true, Escalations: 1, Shadow: []string{"amira", "ben", "amira"}, Risks: risk(time.Date(2026, 11, 11, 4, 0, 0, 0, time.UTC), "3f-k7q2", routing.RiskPartial)})
	w.add(Event{Day: "2026-11-12", Subject: "service:haproxy", Service: "haproxy", Team: "traffic", State: config.ThirdParty, Assessment: catalog.Owned,
		Alerts: alerts(1, "BackendDown", nil), Opened: true, Shadow: []string{"finn", "stranger"}})
	return w.facts, nil
}

var weeks = []struct {
	name string
	of   func() (week, before []Facts)
}{{"busy", busy}, {"quiet", quiet}, {"shadow", shadowed}, {"empty", func() (_, _ []Facts) { return nil, nil }}}
