package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"callchain/config"
	_ "callchain/internal/testbench/seed"
	"callchain/routing"
	"callchain/routing/catalog"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s changed (-want +got); look at it, then run with -update:\n%s", file, diff)
	}
}

func indented(t testing.TB, v any) string {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The name that the catalog lacks is what has to be added: it is told also where
// a team's label decided whom to ask.
func TestNameThatTheCatalogLacks(t *testing.T) {
	for _, tc := range []struct{ subject, named, name, about string }{
		{"name:thumbor", "thumbor", "thumbor", "name:thumbor"},
		{"team:sre", "thumbor", "thumbor", "team:sre (thumbor)"},
		{"team:sre", "", "sre", "team:sre"},
		{"unmapped", "", "", "unmapped"},
	} {
		if got := (Unknown{Subject: tc.subject, Named: tc.named}).name(); got != tc.name {
			t.Errorf("%s, %q: name %q, want %q", tc.subject, tc.named, got, tc.name)
		}
		if got := (RecordedRisk{Subject: tc.subject, Named: tc.named}).About(); got != tc.about {
			t.Errorf("%s, %q: about %q, want %q", tc.subject, tc.named, got, tc.about)
		}
	}
}

// TestFormats holds each kind of week in each format against a file.
func TestFormats(t *testing.T) {
	for _, w := range weeks {
		t.Run(w.name, func(t *testing.T) {
			now, before := w.of()
			r := Build(w46, now, before, world(t))
			d := r.Document(0, "")
			html, err := d.HTML()
			if err != nil {
				t.Fatal(err)
			}
			table, err := r.CSV()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, w.name+".txt", d.Text())
			golden(t, w.name+".md", d.Markdown())
			golden(t, w.name+".html", string(html))
			golden(t, w.name+".csv", table)
			golden(t, w.name+".json", indented(t, r))
		})
	}
}

// TestNothingIsNull: every list and object of the JSON is there.
func TestNothingIsNull(t *testing.T) {
	for _, w := range weeks {
		now, before := w.of()
		r := Build(w46, now, before, world(t))
		for line := range strings.Lines(indented(t, r)) {
			if strings.Contains(line, ": null") && !strings.Contains(line, "_seconds") {
				t.Errorf("%s week: %s", w.name, line)
			}
		}
		var back Report
		if err := json.Unmarshal([]byte(indented(t, r)), &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, back); diff != "" {
			t.Errorf("%s week does not survive its JSON:\n%s", w.name, diff)
		}
	}
	if s := indented(t, Risks(nil, RiskFilter{}, world(t))); strings.Contains(s, "null") {
		t.Error(s)
	}
}

func TestPeriod(t *testing.T) {
	cairo := time.FixedZone("Africa/Cairo", 2*3600)
	for _, c := range []struct {
		name, text, at string
		zone           *time.Location
		want           Period
		err            string
	}{
		{"last on a Monday", "last", "2026-11-16T00:00:00Z", time.UTC, w46, ""},
		{"last is the default", "", "2026-11-22T23:59:59Z", time.UTC, w46, ""},
		{"current", "current", "2026-11-15T23:59:59Z", time.UTC, Period{"2026-W46", "2026-11-09", "2026-11-15", true}, ""},
		{"the zone decides", "current", "2026-11-15T22:00:00Z", cairo, Period{"2026-W47", "2026-11-16", "2026-11-22", true}, ""},
		{"named", "2026-W46", "2026-11-20T12:00:00Z", time.UTC, w46, ""},
		{"named and not over", "2026-W47", "2026-11-20T12:00:00Z", time.UTC, Period{"2026-W47", "2026-11-16", "2026-11-22", true}, ""},
		{"week 53", "2020-W53", "2026-11-20T12:00:00Z", time.UTC, Period{"2020-W53", "2020-12-28", "2021-01-03", false}, ""},
		{"over the new year", "last", "2027-01-04T12:00:00Z", time.UTC, Period{"2026-W53", "2026-12-28", "2027-01-03", false}, ""},
		{"first week begins in December", "2026-W01", "2026-11-20T12:00:00Z", time.UTC, Period{"2026-W01", "2025-12-29", "2026-01-04", false}, ""},
		{"no such week", "2025-W53", "2026-11-20T12:00:00Z", time.UTC, Period{}, "the year 2025 has no such week"},
		{"week 0", "2025-W00", "2026-11-20T12:00:00Z", time.UTC, Period{}, "no such week"},
		{"long ago", "0001-W01", "2026-11-20T12:00:00Z", time.UTC, Period{}, "no such week"},
		{"to come", "2026-W48", "2026-11-20T12:00:00Z", time.UTC, Period{}, "has not begun yet, it is 2026-W47"},
		{"nonsense", "yesterday", "2026-11-20T12:00:00Z", time.UTC, Period{}, "want last, current or a week like 2026-W47"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339, c.at)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParsePeriod(c.text, at, c.zone)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Fatalf("got %+v, %v; want %+v", got, err, c.want)
			}
			days := got.Days()
			if days[0] != got.From || days[6] != got.To || len(days) != 7 {
				t.Errorf("days %v", days)
			}
			if before := got.Previous(); before.To >= got.From || before.Partial || !slices.IsSorted(append(before.Days(), days...)) {
				t.Errorf("the week before is %+v", before)
			}
			whole := got
			whole.Partial = false
			if again := got.Previous().Next(); again != whole {
				t.Errorf("the week after the week before is %+v", again)
			}
		})
	}
}

func TestAdvise(t *testing.T) {
	const teams = `
people: [{name: ana, slack: U1}, {name: dora, slack: U2}, {name: elif, slack: U3}]
teams: [{name: a, members: [ana]}, {name: b, members: [ana]}]
services:
`
	const agreed = " To agree: a, and whoever takes a role on."
	for _, c := range []struct{ name, service, want string }{
		{"active without developers", "{name: x, state: active, owners: {configuration_deployment: a, incident_response: a, product_management: a}}",
			"fill development; or move to maintenance and fill contingency development (a director may hold it vacant, with a reason)." + agreed},
		{"active without deployers", "{name: x, state: active, owners: {development: a, incident_response: a, product_management: a}}",
			"fill configuration deployment." + agreed},
		{"active without product", "{name: x, state: active, owners: {development: a, incident_response: a, configuration_deployment: b}}",
			"fill product management; or move to maintenance and fill contingency development (a director may hold it vacant, with a reason). To agree: a and b, and whoever takes a role on."},
		{"active without anybody", "{name: x, state: active}",
			"fill development, configuration deployment, incident response and product management; or move to maintenance and fill contingency development, configuration deployment and incident response (a director may hold contingency development vacant, with a reason); or decommission it, if nobody needs it (rare: say why). To agree: whoever takes a role on."},
		{"community", "{name: x, state: community, owners: {configuration_deployment: a, incident_response: a, product_management: a}}",
			"fill contingency development; or move to maintenance and fill contingency development (a director may hold it vacant, with a reason)." + agreed},
		{"community without product", "{name: x, state: community, owners: {contingency_development: a, configuration_deployment: a, incident_response: a}}",
			"fill product management; or move to maintenance, whose roles are all filled." + agreed},
		{"maintenance", "{name: x, state: maintenance, owners: {configuration_deployment: a, incident_response: a}}",
			"fill contingency development (a director may hold it vacant, with a reason); or decommission it." + agreed},
		{"maintenance with a vacancy", "{name: x, state: maintenance, owners: {contingency_development: {vacant: true, director: elif, reason: r}, incident_response: a}}",
			"fill configuration deployment; or decommission it." + agreed},
		{"third party", "{name: x, state: third_party, owners: {configuration_deployment: a}}",
			"fill incident response; or decommission it." + agreed},
		{"unowned", "{name: x, state: unowned, owners: {incident_response: a}}",
			"move to maintenance and fill contingency development and configuration deployment (a director may hold contingency development vacant, with a reason); or decommission it, if nobody needs it (rare: say why)." + agreed},
		{"unowned with every role", "{name: x, state: unowned, owners: {contingency_development: a, configuration_deployment: a, incident_response: a}}",
			"move to maintenance, whose roles are all filled; or decommission it, if nobody needs it (rare: say why)." + agreed},
		{"owned", "{name: x, state: third_party, owners: a}", ""},
		{"decommissioned", "{name: x, state: decommissioned}", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := load(t, teams+"  - "+c.service).Service("x")
			a := Advise(s)
			if a.Text != c.want {
				t.Errorf("got  %s\nwant %s", a.Text, c.want)
			}
			for _, o := range a.Options {
				// The policy's table: what it forbids is never proposed.
				if o.To == config.Unowned || o.To == s.State && len(o.Fill) == 0 || s.State == config.Decommissioned {
					t.Errorf("proposes %+v", o)
				}
				usual := o.To == s.State || o.To == config.Maintenance || o.To == config.Decommissioned && (s.State == config.Maintenance || s.State == config.ThirdParty)
				if usual == o.Rare {
					t.Errorf("%s to %s: rare %v", s.State, o.To, o.Rare)
				}
			}
		})
	}
}

func TestRisks(t *testing.T) {
	facts, _ := busy()
	cat := world(t)
	all := Risks(facts, RiskFilter{}, cat)
	if !slices.IsSortedFunc(all.Risks, func(a, b RecordedRisk) int { return b.At.Compare(a.At) }) {
		t.Error("not newest first")
	}
	if n := len(all.Risks); n != 12 || all.Left != 0 {
		t.Errorf("%d risks, %d left out", n, all.Left)
	}
	golden(t, "risks.json", indented(t, Risks(facts, RiskFilter{Service: "parsoid"}, cat)))
	if got := Risks(facts, RiskFilter{Service: "name:thumbor"}, cat); len(got.Risks) != 1 || got.Risks[0].Named != "thumbor" {
		t.Errorf("by subject: %+v", got)
	}
	if got := Risks(facts, RiskFilter{Kind: routing.RiskUnmapped}, cat); len(got.Risks) != 3 || len(got.Counts) != 1 || got.Counts[0].Count != 3 {
		t.Errorf("by kind: %+v", got)
	}
	if got := Risks(facts, RiskFilter{Limit: 2}, cat); len(got.Risks) != 2 || got.Left != 10 {
		t.Errorf("by limit: %+v", got)
	}
	if got := Risks(facts, RiskFilter{Since: time.Date(2026, 11, 14, 0, 0, 0, 0, time.UTC)}, cat); len(got.Risks) != 2 {
		t.Errorf("since: %+v", got)
	}
	many := Facts{Day: "2026-11-10", Subject: "unmapped"}
	for range MaxRisks + 5 {
		many.Add(Event{Day: many.Day, Subject: many.Subject, Risks: []Risk{{Kind: routing.RiskUnmapped}}})
	}
	if got := Risks([]Facts{many}, RiskFilter{}, cat); got.Left != 5 {
		t.Errorf("beyond what is kept: %d", got.Left)
	}
}

// A risk is listed and counted by when it was recorded, and under the name that
// its service has now.
func TestRisksOfAWeek(t *testing.T) {
	cat := load(t, `
people: [{name: ana, slack: U1}]
teams: [{name: a, members: [ana]}]
services:
  - {name: renamed, aliases: [oldname], state: third_party, owners: a}
  - {name: thumbor, state: third_party, owners: a}
  - {name: other, state: third_party, owners: a}
`)
	at := func(day int) time.Time { return time.Date(2026, time.November, day, 12, 0, 0, 0, time.UTC) }
	var d diary
	hit := func(day, subject, service, named string, ev Event) {
		ev.Day, ev.Subject, ev.Service, ev.Named = day, subject, service, named
		d.add(ev)
	}
	risk := func(day int, kind routing.Risk) Event {
		return Event{Risks: []Risk{{Kind: kind, At: at(day), Incident: fmt.Sprint(day)}}}
	}
	hit("2026-11-01", "service:oldname", "oldname", "", risk(1, routing.RiskPartial))
	hit("2026-11-01", "service:oldname", "oldname", "", risk(17, routing.RiskExhausted)) // it went on for long
	hit("2026-11-17", "service:oldname", "", "", Event{Earlier: "2026-11-01"})
	hit("2026-11-17", "service:renamed", "renamed", "", risk(17, routing.RiskPartial))
	hit("2026-11-17", "name:thumbor", "", "thumbor", risk(17, routing.RiskUnknownService))
	hit("2026-11-17", "service:other", "other", "", risk(17, routing.RiskPartial))
	for range MaxRisks + 5 { // five are counted only
		hit("2026-11-02", "unmapped", "", "", risk(2, routing.RiskUnmapped))
	}

	for _, tt := range []struct {
		name    string
		service string
		since   time.Time
		want    []string // day and subject
		counts  string
		left    int
	}{
		{"since then", "", at(16), []string{"17 name:thumbor unknown_service", "17 service:other partial", "17 service:renamed exhausted", "17 service:renamed partial"},
			"[{partial 2} {unknown_service 1} {exhausted 1}]", 0},
		{"by its name", "renamed", at(16), []string{"17 service:renamed exhausted", "17 service:renamed partial"}, "[{partial 1} {exhausted 1}]", 0},
		{"by its old name", "oldname", time.Time{}, []string{"17 service:renamed exhausted", "17 service:renamed partial", "1 service:renamed partial"}, "[{partial 2} {exhausted 1}]", 0},
		{"as a subject", "service:oldname", at(16), []string{"17 service:renamed exhausted", "17 service:renamed partial"}, "[{partial 1} {exhausted 1}]", 0},
		{"of when the catalog lacked it", "thumbor", at(16), []string{"17 name:thumbor unknown_service"}, "[{unknown_service 1}]", 0},
		{"as a name", "name:thumbor", at(16), []string{"17 name:thumbor unknown_service"}, "[{unknown_service 1}]", 0},
		{"unknown", "nothing", at(16), nil, "[]", 0},
		{"more than is kept", "unmapped", at(1), slices.Repeat([]string{"2 unmapped unmapped"}, MaxRisks), fmt.Sprintf("[{unmapped %d}]", MaxRisks+5), 5},
		{"more than is kept, long ago", "unmapped", at(16), nil, "[]", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list := Risks(d.facts, RiskFilter{Service: tt.service, Since: tt.since}, cat)
			var got []string
			for _, r := range list.Risks {
				got = append(got, fmt.Sprintf("%d %s %s", r.At.Day(), r.Subject, r.Kind))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("listed (-want +got):\n%s", diff)
			}
			if counts := fmt.Sprint(list.Counts); counts != tt.counts || list.Left != tt.left {
				t.Errorf("counted %s and %d more; want %s and %d", counts, list.Left, tt.counts, tt.left)
			}
		})
	}

	// A day on which nothing but such a risk was recorded is no day of the report.
	day := Period{Week: "2026-W47", From: "2026-11-16", To: "2026-11-22"}
	pointer := []Facts{{Day: "2026-11-17", Subject: "unmapped", Earlier: []string{"2026-11-01"}}}
	if r := Build(day, pointer, nil, cat); !r.Quiet || len(r.Unmapped) != 0 {
		t.Errorf("a risk of another day is in the report: %+v", r.Unmapped)
	}
}

// drawFacts are random facts of some days around the week, in pieces.
func drawFacts(t *rapid.T) []Facts {
	people := []string{"amira", "ben", "finn", "stranger"}
	names := rapid.SampledFrom([]string{"A", "B", "<b>", "=1+1", ""})
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Facts {
		f := Facts{Schema: Schema, Day: rapid.SampledFrom([]string{"2026-11-01", "2026-11-02", "2026-11-08", "2026-11-09", "2026-11-12", "2026-11-15", "2026-11-16"}).Draw(t, "day")}
		f.Assessment = rapid.SampledFrom(assessments).Draw(t, "assessment")
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			f.Service = rapid.SampledFrom([]string{"parsoid", "oldbot", "charts", "haproxy", "graphoid", "deleted"}).Draw(t, "service")
			f.Subject = "service:" + f.Service
		case 1:
			f.Named = rapid.SampledFrom([]string{"thumbor", "parsoid"}).Draw(t, "named")
			f.Subject, f.Assessment = "name:"+f.Named, catalog.Unknown
		case 2:
			f.Subject, f.Team, f.Assessment = "team:sre", "sre", catalog.Unknown
		default:
			f.Subject, f.Assessment = "unmapped", catalog.Unknown
		}
		for range rapid.IntRange(0, 4).Draw(t, "events") {
			e := Event{Day: f.Day, Subject: f.Subject, Service: f.Service, Named: f.Named, Team: f.Team, Assessment: f.Assessment}
			for range rapid.IntRange(0, 30).Draw(t, "alerts") {
				name := names.Draw(t, "name")
				e.Alerts = append(e.Alerts, Alert{Name: name, Labels: map[string]string{"alertname": name, "i": rapid.StringN(0, 2, 4).Draw(t, "i")}})
			}
			e.Opened = rapid.Bool().Draw(t, "opened")
			e.Pages, e.Escalations = rapid.IntRange(0, 5).Draw(t, "pages"), rapid.IntRange(0, 5).Draw(t, "escalations")
			if rapid.Bool().Draw(t, "acked") {
				by := rapid.SampledFrom(people).Draw(t, "by")
				e.Ack = ack(by, rapid.SampledFrom([]string{"", "sre", "traffic"}).Draw(t, "team"), rapid.IntRange(0, 9999).Draw(t, "seconds"), "i-1", rapid.Bool().Draw(t, "heroics"))
			}
			e.Shadow = rapid.SliceOfN(rapid.SampledFrom(people), 0, 2).Draw(t, "shadow")
			for _, k := range rapid.SliceOfN(rapid.SampledFrom(Kinds), 0, 3).Draw(t, "risks") {
				e.Risks = append(e.Risks, Risk{Kind: k, Incident: "i-" + string(k)})
			}
			f.Add(e)
		}
		return f
	}), 0, 25).Draw(t, "facts")
}

// TestTotals counts everything anew, in the plainest way.
func TestTotals(t *testing.T) {
	cat := world(t)
	rapid.Check(t, func(t *rapid.T) {
		facts := drawFacts(t)
		r := Build(w46, facts, facts, cat)
		var now, then Cost
		var seconds []int
		risks := map[routing.Risk]int{}
		heroic, shadow := 0, 0
		for _, f := range facts {
			sum := &then
			switch {
			case f.Day < "2026-11-02" || f.Day > "2026-11-15":
				continue
			case f.Day >= "2026-11-09":
				sum = &now
				for _, a := range f.Acks {
					seconds = append(seconds, a.Seconds)
					if a.Heroics {
						heroic++
					}
				}
				for _, n := range f.Shadow {
					shadow += n
				}
				for k, n := range f.RiskCounts {
					risks[k] += n
				}
			}
			sum.Alerts += f.Alerts
			sum.Incidents += f.Incidents
			sum.Pages += f.Pages
			sum.Escalations += f.Escalations
			sum.Answers += f.AckCount
		}
		same := func(what string, got, want int) {
			if got != want {
				t.Errorf("%s: %d, want %d", what, got, want)
			}
		}
		check := func(what string, got, want Cost) {
			got.MedianAck, got.WorstAck = nil, nil
			if got != want {
				t.Errorf("%s: %+v, want %+v", what, got, want)
			}
		}
		check("totals", r.Totals, now)
		check("the week before", r.Before, then)
		slices.Sort(seconds)
		if len(seconds) > 0 {
			same("worst answer", *r.Totals.WorstAck, seconds[len(seconds)-1])
			faster, slower := 0, 0
			for _, s := range seconds {
				if s < *r.Totals.MedianAck {
					faster++
				} else if s > *r.Totals.MedianAck+1 {
					slower++
				}
			}
			if 2*faster > len(seconds) || 2*slower > len(seconds) {
				t.Errorf("median %d of %v", *r.Totals.MedianAck, seconds)
			}
		} else if r.Totals.WorstAck != nil || r.Totals.MedianAck != nil {
			t.Error("times without an answer")
		}

		// The parts add up to the whole.
		var parts Cost
		add := func(c Cost) {
			parts.Alerts += c.Alerts
			parts.Incidents += c.Incidents
			parts.Pages += c.Pages
			parts.Escalations += c.Escalations
			parts.Answers += c.Answers
		}
		productAlerts := 0
		for _, list := range [][]Service{r.NotOwned, r.Decommissioned, r.Owned} {
			for _, s := range list {
				add(s.Cost)
			}
		}
		for _, p := range r.Products {
			productAlerts += p.Alerts
		}
		for _, s := range r.Decommissioned {
			productAlerts += s.Alerts
		}
		for _, list := range [][]Unknown{r.UnknownService, r.Unmapped} {
			for _, u := range list {
				add(u.Cost)
				sets := 0
				for _, l := range u.LabelSets {
					sets += l.Alerts
				}
				same("label sets of "+u.Subject, sets, u.Alerts)
				productAlerts += u.Alerts
			}
		}
		check("parts", parts, now)
		same("alerts by product owner", productAlerts, now.Alerts)
		n := 0
		for _, a := range r.Assessments {
			n += a.Alerts
		}
		same("alerts by assessment", n, now.Alerts)
		n = 0
		for _, h := range r.Heroics {
			n += h.Answers
		}
		same("heroics", n, heroic)
		same("shadow", r.Shadow.Pages, shadow)
		for _, k := range r.Risks {
			same("risk "+string(k.Kind), k.Count, risks[k.Kind])
			n = 0
			for _, s := range k.Subjects {
				n += s.Count
			}
			same("subjects of "+string(k.Kind), n, k.Count)
		}
		if quiet := now.Alerts == 0 && heroic == 0 && len(risks) == 0; quiet && len(r.NotOwned)+len(r.Unmapped)+len(r.UnknownService)+len(r.Decommissioned) == 0 && !r.Quiet {
			t.Error("a week without anything is not quiet")
		}

		// The order in which facts come says nothing.
		shuffled := slices.Clone(facts)
		rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if diff := cmp.Diff(r, Build(w46, shuffled, shuffled, cat)); diff != "" {
			t.Errorf("another order of facts makes another report:\n%s", diff)
		}
	})
}

// hostile is a week in which everything that others write is s.
func hostile(s string) Report {
	labels := map[string]string{"alertname": s, "app": s, s: s}
	var d diary
	for _, e := range []Event{
		{Subject: "unmapped", Team: s}, {Subject: "name:" + s, Named: s}, {Subject: "service:" + s, Service: s, Assessment: catalog.Unowned},
		{Subject: "service:gone" + s, Service: "gone" + s, Assessment: catalog.Decommissioned},
	} {
		e.Day, e.Alerts, e.Pages, e.Recorded = "2026-11-10", alerts(2, s, labels), 1, s
		e.Ack, e.Shadow = ack(s, s, 5, s, true), []string{s}
		for _, k := range Kinds {
			e.Risks = append(e.Risks, Risk{Kind: k, Alert: s, Incident: s})
		}
		d.add(e)
	}
	cat, _ := catalog.New(nil)
	r := Build(w46, d.facts, nil, cat)
	r.Vacancies = append(r.Vacancies, Vacancy{s, s, s})
	r.Legacy = append(r.Legacy, Legacy{s, s, s})
	return r
}

var hostileTexts = []string{
	"", "plain", "=HYPERLINK(\"https://evil.example\",\"x\")", "@SUM(1)", "-1+1", "+1", "\t=1", "\r\n=1", "\u200b=1", "a,b\"c\nd",
	"<script>alert(1)</script>", "</li></ul><img src=x onerror=alert(1)>", "[x](https://evil.example) ![](https://evil.example/i.png)",
	"`` ` ``` code", "**b** __i__ ~~s~~ # h | t", "1. one", "- a", "\x00\x1b[31m\u202egnp.exe\u2066", "\xff\xfe broken \xc3",
	"https://evil.example www.evil.example @everyone <!channel>", "'a''b'", "{{.}}", strings.Repeat("名", 3000), strings.Repeat("<&", 3000),
}

func FuzzRender(f *testing.F) {
	for _, s := range hostileTexts {
		f.Add(s[:min(len(s), 600)])
	}
	f.Fuzz(checkHostile)
}

func TestHostile(t *testing.T) {
	for _, s := range hostileTexts {
		checkHostile(t, s)
	}
}

// TestDocs: the example in the user's guide is what the program writes.
func TestDocs(t *testing.T) {
	guide, err := os.ReadFile("../../docs/reports.md")
	if err != nil {
		t.Fatal(err)
	}
	now, before := busy()
	shown := "```text\n" + Build(w46, now, before, world(t)).Document(0, "").Text() + "```\n"
	if !strings.Contains(string(guide), shown) {
		t.Error("docs/reports.md shows another report; copy testdata/busy.txt into it and read it")
	}
}

// TestCatalogMovedOn: the report is about what happened, and says what is true now.
func TestCatalogMovedOn(t *testing.T) {
	cat := load(t, `
people: [{name: ana, slack: U1}]
teams: [{name: a, members: [ana]}]
services:
  - {name: repaired, state: third_party, owners: a}
  - {name: renamed, aliases: [oldname], state: third_party, owners: {incident_response: a}}
  - {name: thumbor, state: third_party, owners: a}
`)
	var d diary
	hit := func(day, subject, service, named string, as catalog.Assessment) {
		d.add(Event{Day: day, Subject: subject, Service: service, Named: named, Assessment: as, Alerts: alerts(1, "Down", map[string]string{"alertname": "Down"})})
	}
	hit("2026-11-09", "service:repaired", "repaired", "", catalog.Unowned)
	hit("2026-11-10", "service:repaired", "repaired", "", catalog.Owned)
	hit("2026-11-09", "service:oldname", "oldname", "", catalog.Partial)
	hit("2026-11-10", "service:renamed", "renamed", "", catalog.Partial)
	hit("2026-11-10", "service:deleted", "deleted", "", catalog.Partial)
	hit("2026-11-10", "name:thumbor", "", "thumbor", catalog.Unknown)
	r := Build(w46, d.facts, nil, cat)
	text := r.Document(0, "").Text()
	for _, want := range []string{
		"* repaired (tier 4, third party, was unowned and is owned now)\n  2 alerts",
		"* renamed (tier 4, third party, partially owned)\n  2 alerts",
		"* deleted (partially owned; the catalog has it no more)\n  1 alert",
		"The catalog knows this name now; there is nothing left to do.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestManagersQuestions: numbers that a manager would stumble over.
func TestManagersQuestions(t *testing.T) {
	cat := load(t, `
people: [{name: ana, slack: U1}]
teams: [{name: a, members: [ana], manager: ana}]
services:
  - {name: one, state: third_party, owners: a}
  - {name: two, state: third_party, owners: a}
  - {name: gone, state: decommissioned}
  - {name: attic, state: unowned, legacy: {since: 2014-03-01, reason: nobody knows}, owners: {incident_response: a}}
`)
	var d diary
	hit := func(day, service string, n int, as catalog.Assessment, risks ...routing.Risk) {
		ev := Event{Day: day, Subject: "service:" + service, Service: service, Assessment: as, Alerts: alerts(n, "Down", nil), Opened: true}
		ev.Risks = risk(time.Date(2026, 11, 10, 0, 0, 0, 0, time.UTC), "aa-1", risks...)
		d.add(ev)
	}
	hit("2026-11-10", "one", 3, catalog.Owned, routing.RiskSinglePerson)
	hit("2026-11-03", "one", 2, catalog.Owned)
	hit("2026-11-03", "two", 4, catalog.Owned, routing.RiskSinglePerson)
	for _, day := range []string{"2026-11-03", "2026-11-10"} {
		hit(day, "gone", 1, catalog.Decommissioned, routing.RiskDecommissioned, routing.RiskSinglePerson)
	}
	d.add(Event{Day: "2026-11-10", Subject: "unmapped", Assessment: catalog.Unknown, Alerts: alerts(2, "Info", nil), Recorded: "urgency record: nobody is told"})
	r := Build(w46, d.facts, d.facts, cat)

	if len(r.Products) != 1 || r.Products[0].Alerts != 3 || r.Products[0].Before != 6 {
		t.Errorf("the services of a product manager cost %+v; want 3 alerts, and 6 the week before, two's among them", r.Products)
	}
	if got := r.SinglePerson; got.Number != 1 || got.Before != 1 || !slices.Equal(got.Services, []string{"one"}) {
		t.Errorf("on one person rest %+v; want one of two services that are alive, two the week before", got)
	}
	if got := r.Legacy; len(got) != 1 || got[0] != (Legacy{"attic", "2014-03-01", "nobody knows"}) {
		t.Errorf("found unowned: %+v", got)
	}
	text := strings.Join(strings.Fields(r.Document(0, "").Text()), " ")
	for _, want := range []string{
		"2 alerts opened no incident: 2 (urgency record: nobody is told).",
		"gone: 1 alert, 0 pages, 0 escalations (the week before 1, 0 and 0)",
		"attic: since 2014-03-01 Reason: nobody knows.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	next := w46.Next()
	text = Build(next, nil, d.facts[:1], cat).Document(0, "").Text() // one, which rested on one person
	if want := "No service rested on one person; the week before 1 service did."; !strings.Contains(text, want) {
		t.Errorf("no %q in\n%s", want, text)
	}
	table, err := r.CSV()
	if err != nil || !strings.Contains(table, "remove the alerting rule") {
		t.Errorf("the table does not say what to do about stale rules: %v\n%s", err, table)
	}
}

// TestMailFits: however many services there are, mail programs show the whole mail.
func TestMailFits(t *testing.T) {
	var d diary
	for i := range 400 {
		name := strings.Repeat("x", i%7) + "-" + time.Unix(int64(i), 0).UTC().Format("150405")
		d.facts = append(d.facts, Facts{Day: "2026-11-10", Subject: "service:" + name, Service: name, Assessment: catalog.Unowned, Alerts: 1, RiskCounts: map[routing.Risk]int{routing.RiskExhausted: 1}})
	}
	const more = "https://callchain.example.org/reports/weekly?period=2026-W46"
	text, html, err := Build(w46, d.facts, nil, world(t)).Mail(more)
	if err != nil || len(html) > MaxMail {
		t.Errorf("%d bytes, %v", len(html), err)
	}
	for _, part := range []string{text, string(html)} {
		if !strings.Contains(strings.Join(strings.Fields(part), " "), "more: "+more) {
			t.Error("it does not say where the rest is")
		}
	}
}

// TestPublic: what a confidential alert is part of is nobody's.
func TestPublic(t *testing.T) {
	secret, open := Facts{Day: "2026-11-10", Subject: "unmapped"}, Facts{Day: "2026-11-10", Subject: "unmapped"}
	secret.Add(Event{Day: "2026-11-10", Subject: "unmapped", Confidential: true, Alerts: alerts(1, "BreakIn", nil)})
	secret.Add(Event{Day: "2026-11-10", Subject: "unmapped", Alerts: alerts(1, "Down", nil)})
	open.Add(Event{Day: "2026-11-10", Subject: "unmapped", Alerts: alerts(1, "Down", nil)})
	if got := Public([]Facts{secret, open}); len(got) != 1 || got[0].Names["BreakIn"] != 0 {
		t.Errorf("%+v", got)
	}
}
