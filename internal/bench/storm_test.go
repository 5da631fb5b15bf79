package bench

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callchain/escalation/engine"
)

// BenchmarkAckInStorm acknowledges fifty incidents, each by another request over the
// API, while at least ten thousand alerts come in over 256 connections as fast as they are taken:
// how long somebody waits for the confirmation. The base is the same without a storm.
func BenchmarkAckInStorm(b *testing.B) {
	const (
		acks   = 50
		alerts = 10_000
		rivals = 256
	)
	for _, s := range stores {
		b.Run(s.name, func(b *testing.B) {
			var calm, storm []time.Duration
			for b.Loop() {
				e := run(b, s.open(b), snapshot(b, 500, nil))
				addr := serve(b, door(e))
				calm = acknowledge(b, e, addr, 0, acks)
				var n atomic.Int64
				n.Store(2 * acks)
				var pressing atomic.Bool
				pressing.Store(true)
				var wg sync.WaitGroup
				errs := make(chan error, rivals)
				for range rivals {
					wg.Go(func() {
						c, err := dial(addr)
						if err != nil {
							errs <- err
							return
						}
						defer c.conn.Close()
						for i := n.Add(1); i < alerts+2*acks || pressing.Load(); i = n.Add(1) {
							if _, _, err := c.post(int(i), int(i)%500, 1); err != nil {
								errs <- err
								return
							}
						}
					})
				}
				storm = acknowledge(b, e, addr, acks, acks)
				pressing.Store(false)
				wg.Wait()
				select {
				case err := <-errs:
					b.Fatal(err)
				default:
				}
			}
			b.ReportMetric(quantile(storm, 0.50), "p50-ms")
			b.ReportMetric(quantile(storm, 0.99), "p99-ms")
			b.ReportMetric(quantile(calm, 0.50), "base-p50-ms")
			b.ReportMetric(quantile(calm, 0.99), "base-p99-ms")
			drop(b)
		})
	}
}

// acknowledge opens incidents and acknowledges each, and returns how long that took.
func acknowledge(b *testing.B, e *engine.Engine, addr string, first, count int) (took []time.Duration) {
	b.Helper()
	c, err := dial(addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.conn.Close()
	for i := first; i < first+count; i++ {
		if _, _, err := c.post(i, i, 1); err != nil {
			b.Fatal(err)
		}
	}
	list, _, err := e.Incidents(b.Context(), engine.Filter{State: "triggered", Limit: 1000})
	if err != nil || len(list) < count {
		b.Fatalf("%d incidents, %v", len(list), err)
	}
	for _, inc := range list[:count] {
		person := "p" + strings.TrimPrefix(inc.Service, "s")
		r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://"+addr+"/api/v1/incidents/"+inc.ID+"/ack", strings.NewReader(fmt.Sprintf(`{"by": %q}`, person)))
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		begin := time.Now()
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		answer, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			b.Fatalf("%s: %s", resp.Status, answer)
		}
		took = append(took, time.Since(begin))
		time.Sleep(10 * time.Millisecond) // fifty people do not press at once
	}
	return took
}
