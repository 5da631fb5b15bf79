package engine

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/notifiers"
	"callchain/routing"
	"callchain/routing/report"
)

var update = flag.Bool("update", false, "rewrite the golden reports with what is sent now; then read the difference")

const weekly = `
external_url: https://callchain.example.org
catalog_files: [catalog.yml]
alertmanager: {sources: [{name: main, anonymous: true}]}
routing: {fallback_team: sre}
notifiers:
  slack: {bot_token_file: token, signing_secret_file: secret, channel: "#incidents"}
  email: {smarthost: "mail.example.org:587", from: callchain@example.org, link_key_file: key}
reports:
  weekly: {schedule: "0 9 * * MON", timezone: Europe/Berlin, slack_channel: "#ownership", email_to: [managers@example.org, em@example.org]}
`

const owned = `
people:
  - {name: ana, email: ana@example.org, slack: U01ANA}
  - {name: ben, email: ben@example.org, slack: U01BEN}
  - {name: dora, email: dora@example.org, slack: U01DORA}
  - {name: elif, email: elif@example.org, slack: U01ELIF}
  - {name: gus, email: gus@example.org, slack: U01GUS}
teams:
  - {name: ops, members: [ana, ben], manager: dora, slack_channel: "#ops"}
  - {name: dev, members: [ben], manager: dora, director: elif}
  - {name: sre, members: [gus], slack_channel: "#sre"}
services:
  - name: parsoid
    state: active
    tier: 1
    owners: {development: dev, configuration_deployment: ops, incident_response: ops, product_management: dev}
  - name: maps
    state: active
    tier: 2
    owners: {configuration_deployment: ops, incident_response: ops}
  - name: charts
    state: maintenance
    owners: {contingency_development: {vacant: true, director: elif, reason: "task force disbanded"}, configuration_deployment: ops, incident_response: ops}
  - name: oldbot
    state: unowned
    legacy: {since: 2014-03-01, reason: found in an audit}
    owners: {incident_response: ops}
  - {name: gone, state: decommissioned}
`

// weeklyEngine runs an engine until stop is called.
func weeklyEngine(t *testing.T, st store.Store, slack, email *fake) (e *Engine, stop func()) {
	t.Helper()
	e = New(Config{Store: st, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)},
		snapshotOf(t, weekly, owned, map[string]Channel{notifiers.Slack: slack, notifiers.Email: email}))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = e.Run(ctx) })
	return e, sync.OnceFunc(func() { cancel(); wg.Wait() })
}

// Any number of replicas send one report.
func TestReplicasReportOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, slack, email := mem.New(), &fake{}, &fake{}
		time.Sleep(time.Until(time.Date(2000, 1, 10, 7, 59, 0, 0, time.UTC)))
		// The plan is as if callchain had run since the week before.
		first, stop := weeklyEngine(t, st.Open(), slack, email)
		time.Sleep(time.Second)
		rec, err := st.Load(t.Context(), 0, weeklyKey)
		if err != nil {
			t.Fatal(err)
		}
		var plan weeklyRecord
		if err := json.Unmarshal(rec[0].Data, &plan); err != nil {
			t.Fatal(err)
		}
		plan.Since -= escalation.Instant((4 * 24 * time.Hour).Milliseconds())
		if err := first.saveWeekly(t.Context(), rec[0].Version, plan); err != nil {
			t.Fatal(err)
		}
		stop()
		for range 3 {
			_, stop := weeklyEngine(t, st.Open(), slack, email)
			t.Cleanup(stop)
		}
		time.Sleep(5 * time.Minute)
		n := map[string]int{}
		for _, d := range append(slack.all(), email.all()...) {
			if d.Kind == notifiers.Report {
				n[d.Address]++
			}
		}
		if want := map[string]int{"#ownership": 1, "managers@example.org": 1, "em@example.org": 1}; !cmp.Equal(n, want) {
			t.Errorf("reports: %v; want one to each recipient", n)
		}
	})
}

// fortnight is what really happened, counted beside callchain.
type fortnight struct {
	alerts map[string]map[string]int // week, subject
	acks   map[string]map[string]int
}

// A fortnight of alerts, answers and silence: two reports, each once to each
// recipient, whose numbers are those of an independent count.
func TestFortnight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		berlin, err := time.LoadLocation("Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		slack, email := &fake{}, &fake{}
		// Monday the 3rd of January 2000, 01:00 in Berlin: nothing was missed.
		time.Sleep(time.Until(time.Date(2000, 1, 3, 0, 0, 0, 0, time.UTC)))
		e, stop := weeklyEngine(t, alone{mem.New()}, slack, email)
		t.Cleanup(stop)
		did := fortnight{map[string]map[string]int{}, map[string]map[string]int{}}
		rng := rand.New(rand.NewPCG(1, 2))
		subjects := []struct{ service, subject string }{
			{"parsoid", "service:parsoid"}, {"maps", "service:maps"}, {"charts", "service:charts"}, {"oldbot", "service:oldbot"},
			{"gone", "service:gone"}, {"mystery", "name:mystery"}, {"", "unmapped"},
		}
		count := func(m map[string]map[string]int, at time.Time, subject string) {
			year, week := at.In(berlin).ISOWeek()
			key := fmt.Sprintf("%d-W%02d", year, week)
			if m[key] == nil {
				m[key] = map[string]int{}
			}
			m[key][subject]++
		}
		n := 0
		for hour := range 14 * 24 {
			if rng.IntN(8) == 0 {
				s := subjects[rng.IntN(len(subjects))]
				n++
				began := time.Now()
				alert := routing.WebhookAlert{Firing: true, Fingerprint: uint64(n), StartsAt: began, Labels: map[string]string{
					"alertname": fmt.Sprint("Alert", n%5), "severity": []string{"page", "page", "warning"}[rng.IntN(3)]}}
				if s.service != "" {
					alert.Labels["service"] = s.service
				}
				w := routing.Webhook{GroupKey: "k", GroupLabels: map[string]string{"n": fmt.Sprint(n)}, Alerts: []routing.WebhookAlert{alert}}
				for range 1 + rng.IntN(2) { // repeats count nothing
					if err := e.Webhook(t.Context(), "main", w); err != nil {
						t.Fatal(err)
					}
				}
				count(did.alerts, began, s.subject)
				// Never at the instant at which a step is over: who is faster then is chance.
				time.Sleep(time.Duration(rng.IntN(40))*time.Minute + 17*time.Second)
				if rng.IntN(3) > 0 {
					list, _, err := e.Incidents(t.Context(), Filter{State: "triggered", Limit: 1})
					if err != nil {
						t.Fatal(err)
					}
					if len(list) == 1 && list[0].OpenedAt == escalation.At(began) {
						by := []string{"ana", "ben", "gus"}[rng.IntN(3)]
						_, a, err := e.Do(t.Context(), list[0].ID, escalation.Acknowledge{By: escalation.Actor{Handle: by, Via: "api"}, TakeOver: true})
						if err != nil {
							t.Fatal(err)
						}
						if a.Kind == escalation.Done {
							count(did.acks, began, s.subject)
						}
					}
				}
				w.Alerts[0].Firing, w.Alerts[0].EndsAt = false, time.Now()
				if err := e.Webhook(t.Context(), "main", w); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Until(time.Date(2000, 1, 3, hour+1, 0, 0, 0, time.UTC)))
		}
		time.Sleep(24 * time.Hour) // the second Monday after is the 17th

		reports := map[string][]delivered{}
		for _, d := range append(slack.all(), email.all()...) {
			if d.Kind == notifiers.Report {
				reports[d.Address] = append(reports[d.Address], d)
			}
		}
		for _, to := range []string{"#ownership", "managers@example.org", "em@example.org"} {
			if len(reports[to]) != 2 {
				t.Errorf("%d reports to %s; want one a week", len(reports[to]), to)
			}
		}
		if t.Failed() {
			return
		}
		for i, week := range []string{"2000-W01", "2000-W02"} {
			mail := reports["managers@example.org"][i]
			if at := mail.at.In(berlin); at.Weekday() != time.Monday || at.Hour() != 9 || at.Minute() != 0 {
				t.Errorf("report of %s was sent at %v", week, at)
			}
			golden := filepath.Join("testdata", week+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(mail.Report.Text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(mail.Report.Text, "\n")); diff != "" {
				t.Errorf("report of %s (-golden +sent); run with -update and read it:\n%s", week, diff)
			}
			recount(t, e, week, did, berlin)
		}
	})
}

// recount holds a report's numbers against what the test itself has counted.
func recount(t *testing.T, e *Engine, week string, did fortnight, zone *time.Location) {
	t.Helper()
	p, err := report.ParsePeriod(week, time.Now(), zone)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := e.Facts(t.Context(), p.Previous().From, p.To)
	if err != nil {
		t.Fatal(err)
	}
	rep := report.Build(p, facts, facts, e.Snapshot().Catalog)
	alerts, acks := 0, 0
	for _, n := range did.alerts[week] {
		alerts += n
	}
	for _, n := range did.acks[week] {
		acks += n
	}
	if rep.Totals.Alerts != alerts || rep.Totals.Answers != acks {
		t.Errorf("%s: %d alerts and %d answers in the report; %d and %d happened", week, rep.Totals.Alerts, rep.Totals.Answers, alerts, acks)
	}
	for _, s := range rep.NotOwned {
		if want := did.alerts[week]["service:"+s.Service]; s.Alerts != want {
			t.Errorf("%s: %s had %d alerts in the report; %d happened", week, s.Service, s.Alerts, want)
		}
	}
}

// The report is for the weeks that callchain has seen: an empty store has missed
// nothing, and a week that passed while it was down is caught up.
func TestReportCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		slack := &fake{}
		run := func(d time.Duration) {
			_, stop := weeklyEngine(t, st.Open(), slack, &fake{})
			time.Sleep(d)
			stop()
		}
		weeks := func() (out []string) {
			for _, d := range slack.all() {
				if d.Kind == notifiers.Report {
					out = append(out, d.Report.More[strings.LastIndex(d.Report.More, "=")+1:])
				}
			}
			return out
		}
		time.Sleep(time.Until(time.Date(2000, 1, 10, 6, 0, 0, 0, time.UTC))) // a Monday before nine
		run(6 * time.Hour)
		if got := weeks(); len(got) != 0 {
			t.Errorf("at its first start it reported %v", got)
		}
		time.Sleep(16 * 24 * time.Hour) // down over two Mondays
		run(time.Minute)
		if got := weeks(); !slices.Equal(got, []string{"2000-W02", "2000-W03"}) {
			t.Errorf("caught up %v; want both weeks, oldest first", got)
		}
		run(time.Minute)
		if got := weeks(); len(got) != 2 {
			t.Errorf("sent again: %v", got)
		}
	})
}

// A risk of an incident that has gone on for long is found by the day on which
// it was recorded, and counts in the week in which the alert was received.
func TestRiskOfAnOldIncident(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, stop := weeklyEngine(t, alone{mem.New()}, &fake{}, &fake{})
		t.Cleanup(stop)
		time.Sleep(time.Until(time.Date(2000, 1, 28, 9, 0, 0, 0, time.UTC)))
		if err := e.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		began := e.Now().Format(time.DateOnly)
		time.Sleep(12 * 24 * time.Hour)
		list, _, err := e.Incidents(t.Context(), Filter{})
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		if _, a, err := e.Do(t.Context(), list[0].ID, escalation.Acknowledge{By: escalation.Actor{Handle: "gus", Via: "api"}, TakeOver: true}); err != nil || a.Kind != escalation.Done {
			t.Fatal(a, err)
		}
		now := e.Now()
		facts, err := e.RiskFacts(t.Context(), now.Format(time.DateOnly), now.Format(time.DateOnly))
		if err != nil {
			t.Fatal(err)
		}
		risks := report.Risks(facts, report.RiskFilter{Since: now.Add(-time.Hour)}, e.Snapshot().Catalog)
		if len(risks.Risks) != 1 || risks.Risks[0].Kind != routing.RiskHeroics || risks.Risks[0].Incident != list[0].ID || len(risks.Counts) != 1 {
			t.Errorf("of the last hour: %+v; want the heroics", risks)
		}
		if facts, err = e.Facts(t.Context(), began, began); err != nil || len(facts) != 1 || facts[0].RiskCounts[routing.RiskHeroics] != 1 {
			t.Errorf("on the day it began: %+v, %v", facts, err)
		}
	})
}

// Facts are read by prefixes that cover every day asked for, and not much more.
func TestFactPrefixes(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		want     []string
	}{
		{"2026-11-20", "2026-11-20", []string{"f/2026-11-2"}},
		{"2026-11-09", "2026-11-22", []string{"f/2026-11-0", "f/2026-11-1", "f/2026-11-2"}},
		{"2026-12-21", "2027-01-03", []string{"f/2026-12-2", "f/2026-12-3", "f/2027-01-0"}},
		{"2026-11-25", "2027-01-20", []string{"f/2026-11", "f/2026-12", "f/2027-01"}},
		{"2025-11-20", "2026-11-20", []string{"f/"}},
		{"2026-11-20", "2026-11-19", []string{"f/"}},
	} {
		if diff := cmp.Diff(tt.want, factPrefixes(tt.from, tt.to)); diff != "" {
			t.Errorf("%s to %s (-want +got):\n%s", tt.from, tt.to, diff)
		}
	}
}

// When the report is due follows the configuration, whatever was planned before.
func TestWeeklyPlan(t *testing.T) {
	at := func(day, hour int) time.Time { return time.Date(2026, time.November, day, hour, 0, 0, 0, time.UTC) }
	const nine, ten, tuesday = "0 9 * * MON", "0 10 * * MON", "0 9 * * TUE"
	for _, tt := range []struct {
		name, planned string
		next          time.Time // as planned
		schedule      string
		now, want     time.Time
	}{ // on the 20th and from the 27th the report of the week before was sent, on the 23rd it was not
		{"first", "", time.Time{}, nine, at(20, 12), at(23, 9)},
		{"again", nine, at(23, 9), nine, at(20, 12), at(23, 9)},
		{"an earlier hour", ten, at(23, 10), nine, at(20, 12), at(23, 9)},
		{"an earlier day", tuesday, at(24, 9), nine, at(20, 12), at(23, 9)},
		{"a later hour", nine, at(23, 9), ten, at(20, 12), at(23, 10)},
		{"a later day", nine, at(23, 9), tuesday, at(23, 8), at(24, 9)},
		{"a later hour when it is due", nine, at(23, 9), ten, at(23, 9), at(23, 9)},
		{"a later hour, missed while down", nine, at(16, 9), ten, at(20, 12), at(16, 9)},
		{"an hour that is past today", ten, at(23, 10), nine, at(23, 9).Add(time.Minute), at(23, 9)},
		{"a day that is past this week", "0 9 * * WED", at(25, 9), tuesday, at(24, 12), at(24, 9)},
		{"a day that is past, after the report", nine, at(30, 9), tuesday, at(27, 12), at(24+7, 9)},
		{"by a clock that was ahead", nine, at(30, 9), nine, at(20, 12), at(23, 9)},
		{"switched on again", "", time.Time{}, ten, at(23, 9), at(23, 10)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec := weeklyRecord{Next: escalation.At(tt.next), Since: escalation.At(at(1, 0)), Done: "2026-W46"}
			if tt.now.Day() >= 27 {
				rec.Done = "2026-W47"
			}
			if tt.planned != "" {
				rec.Schedule = scheduleOf(&config.Weekly{Schedule: config.At[string]{V: tt.planned}})
			}
			w := &config.Weekly{Schedule: config.At[string]{V: tt.schedule}}
			if err := rec.plan(w, tt.now); err != nil {
				t.Fatal(err)
			}
			if got := rec.Next.Time(); !got.Equal(tt.want) || rec.Schedule != scheduleOf(w) {
				t.Errorf("due %v under %q; want %v under the new schedule", got, rec.Schedule, tt.want)
			}
		})
	}
}

// A replica with an old configuration sends and plans by its schedule. The one
// with the new schedule does not miss its own hour for that.
func TestReplicasPlanApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, slack := mem.New(), &fake{}
		e, stop := weeklyEngine(t, alone{st}, slack, &fake{})
		t.Cleanup(stop)
		time.Sleep(time.Until(time.Date(2000, 1, 11, 12, 0, 0, 0, time.UTC))) // a Tuesday
		recs, err := st.Load(t.Context(), 0, weeklyKey)
		if err != nil {
			t.Fatal(err)
		}
		var rec weeklyRecord
		if err := json.Unmarshal(recs[0].Data, &rec); err != nil {
			t.Fatal(err)
		}
		rec.Next = rec.Next + escalation.Instant((7 * 24 * time.Hour).Milliseconds()) // a week later than it should be
		if err := e.saveWeekly(t.Context(), recs[0].Version, rec); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(time.Date(2000, 1, 17, 9, 0, 0, 0, time.UTC)))
		if !slices.ContainsFunc(slack.all(), func(d delivered) bool {
			return d.Kind == notifiers.Report && strings.HasSuffix(d.Report.More, "2000-W02")
		}) {
			t.Error("the report of the second week did not come on its Monday")
		}
	})
}

// A report survives an hour in which nobody takes it, a slow sum, and the loss of
// its plan.
func TestReportSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, slack, email := mem.New(), &fake{}, &fake{}
		time.Sleep(time.Until(time.Date(2000, 1, 12, 12, 0, 0, 0, time.UTC))) // a Wednesday
		_, stop := weeklyEngine(t, alone{st}, slack, email)
		t.Cleanup(stop)
		time.Sleep(time.Second)
		rec, err := st.Load(t.Context(), 0, weeklyKey)
		if err != nil || rec[0].Version == 0 {
			t.Fatal("no plan", err)
		}
		if err := st.Commit(t.Context(), store.Txn{Writes: []store.Write{{ID: weeklyKey, Expect: rec[0].Version}}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(time.Date(2000, 1, 17, 7, 59, 0, 0, time.UTC)))
		busy := func(notifiers.Message) notifiers.Result {
			return notifiers.Result{Verdict: notifiers.Retry, Err: errors.New("451 greylisted")}
		}
		slack.fails(busy)
		email.fails(busy)
		time.Sleep(time.Hour)
		slack.fails(nil)
		email.fails(nil)
		time.Sleep(time.Hour)
		n := 0
		for _, d := range append(slack.all(), email.all()...) {
			if d.Kind == notifiers.Report {
				n++
			}
		}
		if n != 3 {
			t.Errorf("%d reports arrived; want one for each of the three recipients", n)
		}
	})
}
