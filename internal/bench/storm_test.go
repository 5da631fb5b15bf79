package bench

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"callchain/escalation/engine"
	"callchain/notifiers"
	"callchain/notifiers/slack"
)

// stormSink stands in for Slack and counts what people get.
type stormSink struct {
	mu    sync.Mutex
	first map[string]time.Time // the first page, by address
	pages map[string]int
	seen  map[string]string // the last digest's text, by address
}

func (s *stormSink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	to, text := strings.TrimPrefix(r.PostForm.Get("channel"), "D"), r.PostForm.Get("text")
	s.mu.Lock()
	switch {
	case !strings.HasPrefix(to, "U0P"):
	case strings.Contains(text, "ALERT STORM"):
		s.seen[to] = text
	case strings.HasSuffix(r.URL.Path, "/chat.postMessage"):
		s.pages[to]++
		if s.first[to].IsZero() {
			s.first[to] = at
		}
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"ok":true,"channel":"D%s","ts":"%d.000100"}`, to, at.UnixMicro())
}

// BenchmarkStorm sends a thousand alerts about the services of six people within
// ten seconds, each of them an incident, and waits until everybody has their digest.
func BenchmarkStorm(b *testing.B) {
	const (
		people = 6
		alerts = 1000
		within = 10 * time.Second
	)
	for _, s := range stores {
		b.Run(s.name, func(b *testing.B) {
			var first, accepted []time.Duration
			most := 0
			for b.Loop() {
				sink := &stormSink{first: map[string]time.Time{}, pages: map[string]int{}, seen: map[string]string{}}
				n := slack.New(slack.Config{
					APIURL: "http://" + serve(b, sink) + "/", Token: func() (string, error) { return "xoxb-0123456789", nil },
				}, slog.New(slog.DiscardHandler))
				addr := serve(b, door(run(b, s.open(b), snapshot(b, people, map[string]engine.Channel{notifiers.Slack: n}))))
				c, err := dial(addr)
				if err != nil {
					b.Fatal(err)
				}
				defer c.conn.Close()
				began := time.Now()
				for i := range alerts {
					_, took, err := c.post(i, i%people, 1)
					if err != nil {
						b.Fatal(err)
					}
					accepted = append(accepted, took)
					time.Sleep(time.Until(began.Add(within * time.Duration(i+1) / alerts)))
				}
				for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
					sink.mu.Lock()
					got := len(sink.seen)
					sink.mu.Unlock()
					if got == people {
						break
					}
					if time.Now().After(deadline) {
						b.Fatalf("%d of %d people have a digest", got, people)
					}
				}
				sink.mu.Lock()
				for to, at := range sink.first {
					first = append(first, at.Sub(began))
					most = max(most, sink.pages[to])
				}
				sink.mu.Unlock()
			}
			b.ReportMetric(quantile(first, 1), "last-owner-paged-ms")
			b.ReportMetric(float64(most), "pages-most")
			b.ReportMetric(quantile(accepted, 0.99), "accept-p99-ms")
			drop(b)
		})
	}
}
