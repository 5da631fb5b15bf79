package bench

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/routing"
	"callchain/routing/catalog"
	"callchain/routing/report"
)

// BenchmarkReport makes the weekly report of weeks with 10,000 incidents each:
// what it takes to read its two weeks out of all that are kept, and to write the
// report.
func BenchmarkReport(b *testing.B) {
	const perWeek = 10_000
	now := time.Date(2026, time.November, 20, 12, 0, 0, 0, time.UTC)
	period, err := report.ParsePeriod("last", now, time.UTC)
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range stores {
		for _, weeks := range []int{2, 20} {
			b.Run(fmt.Sprintf("%s/weeks=%d", s.name, weeks), func(b *testing.B) {
				st := s.open(b)
				week := period
				for range weeks {
					remember(b, st, week, perWeek)
					week = week.Previous()
				}
				snap := snapshot(b, services, nil)
				e := run(b, st, snap)
				var read, write time.Duration
				n := 0
				for b.Loop() {
					begin := time.Now()
					facts, err := e.Facts(b.Context(), period.Previous().From, period.To)
					if err != nil {
						b.Fatal(err)
					}
					read += time.Since(begin)
					begin = time.Now()
					r := report.Build(period, facts, facts, snap.Catalog)
					text := r.Document(0, "").Text()
					write += time.Since(begin)
					if r.Totals.Incidents != perWeek || r.Before.Incidents != perWeek || len(text) == 0 {
						b.Fatalf("%d and %d incidents in the report", r.Totals.Incidents, r.Before.Incidents)
					}
					n = len(facts)
				}
				b.ReportMetric(float64(read.Microseconds())/1e3/float64(b.N), "read-ms")
				b.ReportMetric(float64(write.Microseconds())/1e3/float64(b.N), "write-ms")
				b.ReportMetric(float64(n), "facts")
			})
		}
	}
}

// remember commits the facts of a week: incidents of one alert each, of many
// services in all assessments, every third answered.
func remember(b *testing.B, st store.Store, week report.Period, incidents int) {
	b.Helper()
	facts := map[store.Key]*report.Facts{}
	days := week.Days()
	for i := range incidents {
		service := fmt.Sprint("s", i%services)
		_, _, partition := named(i)
		day := days[i%len(days)]
		at, err := time.Parse(time.DateOnly, day)
		if err != nil {
			b.Fatal(err)
		}
		ev := report.Event{
			Day: day, At: at, Subject: "service:" + service, Service: service, Team: fmt.Sprint("t", i%services), State: config.Active,
			Assessment: catalog.Partial, Missing: []config.Role{config.Development}, Opened: true, Pages: 2, Escalations: 1,
			Alerts: []report.Alert{{Name: "HighErrorRate", Urgency: config.Page}},
			Risks:  []report.Risk{{Kind: routing.RiskPartial, At: at, Alert: "HighErrorRate", Incident: name(i)}},
		}
		if i%3 == 0 {
			ev.Ack = &report.Ack{By: fmt.Sprint("p", i%services), Seconds: i % 3600, Incident: name(i)}
		}
		key := store.Key{Partition: partition, ID: report.Key(day, ev.Subject)}
		if facts[key] == nil {
			facts[key] = &report.Facts{}
		}
		facts[key].Add(ev)
	}
	txns := map[uint8]*store.Txn{}
	for key, f := range facts {
		data, err := json.Marshal(f)
		if err != nil {
			b.Fatal(err)
		}
		t := txns[key.Partition]
		if t == nil {
			t = &store.Txn{Partition: key.Partition}
			for i := range t.Mark {
				t.Mark[i] = byte(rand.Uint32())
			}
			txns[key.Partition] = t
		}
		t.Writes = append(t.Writes, store.Write{ID: key.ID, Data: data, Wake: escalation.At(time.Now().Add(24 * time.Hour)).Time()})
	}
	for _, t := range txns {
		if err := st.Commit(b.Context(), *t); err != nil {
			b.Fatal(err)
		}
	}
}
