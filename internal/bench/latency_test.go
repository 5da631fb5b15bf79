package bench

import (
	"fmt"
	"io"
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

// slackSink stands in for Slack. arrived is told of every first message to an
// address, as soon as the request can be read.
type slackSink struct {
	arrived func(address string, at time.Time)
}

func (s slackSink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	to := r.PostForm.Get("channel")
	if strings.HasSuffix(r.URL.Path, "/chat.postMessage") && r.PostForm.Get("thread_ts") == "" {
		s.arrived(to, at)
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"ok":true,"channel":"D%s","ts":"%d.000100"}`, to, at.UnixMilli())
}

// BenchmarkPageLatency sends 100 webhooks a second, each with one new alert of
// another service and so for another person, and measures from the webhook's
// last byte to the page's request at Slack. The base is a request to the same
// server, at the same pace meanwhile: what HTTP and the scheduler cost by
// themselves.
func BenchmarkPageLatency(b *testing.B) {
	const (
		perSecond = 100
		alerts    = 5 * perSecond
	)
	for _, s := range stores {
		b.Run(s.name, func(b *testing.B) {
			var pages, bases []time.Duration
			for b.Loop() {
				pages, bases = pageLatency(b, s.open(b), alerts, time.Second/perSecond)
			}
			b.ReportMetric(quantile(pages, 0.50), "p50-ms")
			b.ReportMetric(quantile(pages, 0.99), "p99-ms")
			b.ReportMetric(quantile(bases, 0.50), "base-p50-ms")
			b.ReportMetric(quantile(bases, 0.99), "base-p99-ms")
			drop(b)
		})
	}
}

func pageLatency(b *testing.B, st opened, alerts int, every time.Duration) (pages, bases []time.Duration) {
	var mu sync.Mutex
	came := map[string]time.Time{}
	sink := "http://" + serve(b, slackSink{func(address string, at time.Time) {
		mu.Lock()
		defer mu.Unlock()
		if came[address].IsZero() {
			came[address] = at
		}
	}}) + "/"
	n := slack.New(slack.Config{APIURL: sink, Token: func() (string, error) { return "xoxb-0123456789", nil }}, slog.New(slog.DiscardHandler))
	e := run(b, st, snapshot(b, alerts, map[string]engine.Channel{notifiers.Slack: n}))
	addr := serve(b, door(e))

	idle := make(chan *client, 64)
	errs := make(chan error, alerts)
	sent := make([]time.Time, alerts)
	var wg sync.WaitGroup
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := range alerts {
		<-tick.C
		wg.Go(func() {
			var c *client
			select {
			case c = <-idle:
			default:
				var err error
				if c, err = dial(addr); err != nil {
					errs <- err
					return
				}
				b.Cleanup(func() { c.conn.Close() })
			}
			at, _, err := c.post(i, i, 1)
			if err != nil {
				errs <- err
				return
			}
			sent[i] = at
			select {
			case idle <- c:
			default:
			}
		})
		wg.Go(func() {
			name := fmt.Sprint("base", i)
			begin := time.Now()
			resp, err := http.Post(sink+"chat.postMessage", "application/x-www-form-urlencoded", strings.NewReader("channel="+name))
			if err != nil {
				errs <- err
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			bases = append(bases, came[name].Sub(begin))
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		b.Fatal(err)
	default:
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		mu.Lock()
		pages = pages[:0]
		for i := range alerts {
			if at := came[fmt.Sprintf("U0P%d", i)]; !at.IsZero() {
				pages = append(pages, at.Sub(sent[i]))
			}
		}
		mu.Unlock()
		if len(pages) == alerts {
			return pages, bases
		}
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d pages came", len(pages), alerts)
		}
	}
}
