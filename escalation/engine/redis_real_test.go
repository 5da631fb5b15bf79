package engine

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"callchain/escalation"
	redisstore "callchain/escalation/store/redis"
	"callchain/internal/testbench"
	"callchain/notifiers"
)

// hurried pages ben three seconds after ana.
const hurried = configuration + `
escalation:
  policies: [{name: default, steps: [{notify: incident_response, ack_within: 3s}, {notify: development, ack_within: 1h}]}]
`

// openRedis is one process' store in a real Redis.
func openRedis(t *testing.T, addr, prefix string) *redisstore.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	st, err := redisstore.Open(ctx, redisstore.Options{Addrs: []string{addr}, KeyPrefix: prefix, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// startReal runs an engine by the wall clock.
func startReal(t *testing.T, st *redisstore.Store, slack, email *fake) *bench {
	t.Helper()
	e := New(Config{Store: st, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))},
		snapshotOf(t, hurried, catalogue, map[string]Channel{notifiers.Slack: slack, notifiers.Email: email}))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = e.Run(ctx) })
	b := &bench{Engine: e, slack: slack, email: email, stop: func() { cancel(); wg.Wait() }}
	t.Cleanup(b.stop)
	return b
}

// As TestStopUnderLoadDelaysNothing, over a real Redis, by its clock. How late
// anything is depends on the machine; that nothing waits for a lease does not.
func TestStopUnderLoadOverRedis(t *testing.T) {
	t.Parallel()
	redis := testbench.StartRedis(t)
	a := startReal(t, openRedis(t, redis.Addr, "stop"), &fake{}, &fake{takes: 200 * time.Millisecond})
	b := startReal(t, openRedis(t, redis.Addr, "stop"), &fake{}, &fake{})
	const incidents = 150
	var wg sync.WaitGroup
	for n := range incidents {
		wg.Go(func() {
			if err := a.Webhook(t.Context(), "main", webhook(fmt.Sprint("Slow", n), "parsoid", "page", true, time.Now())); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	list, _, err := a.Incidents(t.Context(), Filter{Limit: 1000})
	if err != nil || len(list) != incidents {
		t.Fatalf("%d incidents, %v", len(list), err)
	}
	last := list[0].Deadline.Time() // some are due, some are claimed
	for last.After(a.Now()) {
		time.Sleep(5 * time.Millisecond)
	}
	a.stop()
	testbench.Eventually(t, 30*time.Second, "step 2 of every incident", func() bool {
		for _, was := range list {
			inc, err := b.Incident(t.Context(), was.ID)
			if err != nil || inc.Position != 2 {
				return false
			}
		}
		return true
	})
	worst := time.Duration(0)
	for _, was := range list {
		inc, err := b.Incident(t.Context(), was.ID)
		if err != nil {
			t.Fatal(err)
		}
		worst = max(worst, inc.StepAt.Time().Sub(was.Deadline.Time()))
	}
	t.Logf("the latest step was taken %v after its time", worst)
	if worst > escalation.Lease/2 {
		t.Errorf("a step was taken %v late: it waited for a lease", worst)
	}
}

// A storm, and channels that hang with all their places taken, keep no answer of a
// person from being stored. How fast that is BenchmarkAckInStorm tells.
func TestAcknowledgementsInAStorm(t *testing.T) {
	t.Parallel()
	redis := testbench.StartRedis(t)
	hangs := &fake{takes: time.Hour}
	e := startReal(t, openRedis(t, redis.Addr, "storm"), hangs, hangs)
	const acks = 20
	for n := range acks {
		if err := e.Webhook(t.Context(), "main", webhook(fmt.Sprint("Early", n), "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	list, _, err := e.Incidents(t.Context(), Filter{})
	if err != nil || len(list) != acks {
		t.Fatalf("%d incidents, %v", len(list), err)
	}
	var storm sync.WaitGroup
	over := make(chan struct{})
	for i := range 32 {
		storm.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-over:
					return
				default:
				}
				if err := e.Webhook(t.Context(), "main", webhook(fmt.Sprint("Storm", i, "-", n), "parsoid", "page", true, time.Now())); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, inc := range list {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		begin := time.Now()
		got, answer, err := e.Do(ctx, inc.ID, escalation.Acknowledge{By: escalation.Actor{Handle: "ana", Via: "slack"}})
		cancel()
		if err != nil || answer.Kind != escalation.Done || got.AcknowledgedBy() != "ana" {
			t.Fatalf("after %v: %v, %v", time.Since(begin), answer, err)
		}
	}
	close(over)
	storm.Wait()
}

// Two processes over a real Redis bound what one person gets together, and name the rest.
func TestDigestOverRedis(t *testing.T) {
	t.Parallel()
	redis := testbench.StartRedis(t)
	slack, email := &fake{}, &fake{}
	engines := []*bench{
		startReal(t, openRedis(t, redis.Addr, "digest"), slack, email),
		startReal(t, openRedis(t, redis.Addr, "digest"), slack, email),
	}
	const many = 40
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			if err := engines[i%2].Webhook(t.Context(), "main", numbered(i, "parsoid", true, time.Now())); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var h heard
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if h = slack.heard("ana"); len(h.digests) > 0 && h.last(t).Total == many-6 && len(h.pages) >= 6 {
			break
		}
	}
	named := map[string]bool{}
	for _, p := range h.pages {
		named[p.Incident.ID] = true
	}
	if len(named) != 6 || len(h.digests) == 0 {
		t.Fatalf("%d incidents paged ana by themselves, and %d digests; want 6, and one for the rest", len(named), len(h.posts))
	}
	for _, n := range h.last(t).Named {
		named[n.ID] = true
	}
	if len(named) != many || len(h.posts) != 1 {
		t.Errorf("%d incidents are paged or named, in %d digests; want all %d in one", len(named), len(h.posts), many)
	}
}
