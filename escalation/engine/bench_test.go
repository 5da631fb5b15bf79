package engine

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"callchain/escalation/store"
	"callchain/escalation/store/bolt"
	"callchain/notifiers"
)

// BenchmarkWebhook takes in webhooks of one new alert each, durable when they
// are answered, from 64 connections; their pages are delivered to channels that
// cost nothing, and recorded, meanwhile. Beside it, repeats of one webhook.
func BenchmarkWebhook(b *testing.B) {
	for _, repeat := range []bool{false, true} {
		name := "new"
		if repeat {
			name = "repeat"
		}
		b.Run(name, func(b *testing.B) {
			st, err := bolt.Open(filepath.Join(b.TempDir(), "callchain.db"), slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			e := New(Config{Store: st, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)},
				snapshot(b, map[string]Channel{notifiers.Slack: sink{}, notifiers.Email: sink{}}))
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() { defer close(done); _ = e.Run(ctx) }()
			defer func() { cancel(); <-done; st.Close() }()

			var n atomic.Uint64
			b.SetParallelism(32) // times GOMAXPROCS
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := n.Add(1)
					if repeat {
						i = 0
					}
					w := webhook(fmt.Sprint("Slow", i), "parsoid", "page", true, time.Unix(1795165200, 0))
					w.Alerts[0].Fingerprint = i
					if err := e.Webhook(ctx, "main", w); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "alerts/s")
		})
	}
}

// BenchmarkRecord measures what an open incident of one alert costs in the store.
func BenchmarkRecord(b *testing.B) {
	st, err := bolt.Open(filepath.Join(b.TempDir(), "callchain.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	e := New(Config{Store: st, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)},
		snapshot(b, map[string]Channel{notifiers.Slack: sink{}, notifiers.Email: sink{}}))
	for b.Loop() {
		if err := e.Webhook(b.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			b.Fatal(err)
		}
	}
	e.work.Wait()
	var bytes int
	err = st.Scan(b.Context(), "", func(r store.Record) bool { bytes += len(r.Data); return true })
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(bytes), "B/incident")
}

// sink delivers everything at once.
type sink struct{}

func (sink) Deliver(_ context.Context, m notifiers.Message) notifiers.Result {
	return notifiers.Result{Ref: notifiers.Ref{Channel: "C" + m.Address, TS: "1"}}
}
func (sink) Probe(context.Context) error { return nil }
