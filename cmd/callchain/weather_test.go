package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"callchain/internal/testbench"
)

// strike is something that goes wrong for a while; what it returns mends it.
type strike struct {
	name string
	do   func(t *testing.T) (mend func())
}

// storm lets strikes come one after the other while alerts fire and people answer,
// and holds the fleet to what it promises: what was answered 200 is one incident
// and is paged, an acknowledgement holds, and what comes twice has a cause that
// callchain has counted.
func storm(t *testing.T, f *fleet, n int, each time.Duration, strikes []strike) {
	const seed, perSecond = 22, 10
	dice := rand.New(rand.NewPCG(seed, uint64(n)))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	acks, delays, doors, ids := map[int]bool{}, map[int]time.Duration{}, map[int]int{}, map[int]string{}
	for i := range n {
		acks[i] = dice.IntN(3) == 0
		delays[i], doors[i] = time.Duration(dice.Int64N(int64(2*ackWithin))), dice.IntN(len(f.replicas))
	}
	f.begin(func(i int, incident string) {
		if ids[i] = incident; acks[i] {
			f.work.Go(func() {
				if wait(ctx, delays[i]) {
					f.acknowledge(ctx, i, incident, doors[i])
				}
			})
		}
	})
	begin := time.Now()
	f.fireAll(ctx, n, time.Second/perSecond)
	struck := 0
	for time.Since(begin) < time.Duration(n)*time.Second/perSecond {
		s := strikes[struck%len(strikes)]
		struck++
		mend := s.do(t)
		wait(ctx, each/2+time.Duration(dice.Int64N(int64(each/2))))
		mend()
		wait(ctx, each/4)
	}
	f.settle(t, 90*time.Second+time.Duration(n)*time.Second/2, n, acks)
	stop()
	f.end()

	repeats, lost := f.repeats(t, func(_, _ arrival) bool { return true })
	unknowing := f.afterAnswers(t)
	known := f.list(t)
	for i := range n {
		if known[i] != 1 {
			t.Errorf("alert %d was answered 200 and is %d incidents", i, known[i])
		}
	}
	recorded := 0
	for i := range f.answered {
		if f.recorded[i] {
			recorded++
		}
		if inc := f.incident(t, ids[i]); inc.State != "acknowledged" {
			t.Errorf("alert %d was acknowledged (only recorded: %v) and is %s", i, f.recorded[i], inc.State)
		}
	}
	island, causes := 0.0, 0.0
	for i := range f.replicas {
		island += f.metric(t, i, `callchain_duplicate_pages_total{cause="island"}`)
		for _, series := range []string{`duplicate_pages_total{cause="island"}`, `duplicate_pages_total{cause="unknown_outcome"}`,
			`pages_total{channel="slack",outcome="ambiguous"}`, `pages_total{channel="email",outcome="ambiguous"}`} {
			causes += f.metric(t, i, "callchain_"+series)
		}
		if backlog := f.metric(t, i, "callchain_journal_backlog"); backlog != 0 {
			t.Errorf("replica %d has %v entries in its journal", i, backlog)
		}
	}
	if causes < float64(repeats) {
		t.Errorf("%d pages came twice, and the replicas know of %v causes", repeats, causes)
	}
	t.Logf("seed %d: %d incidents, %d acknowledged (%d of them recorded only), %d strikes in %v; %d calls tried again; %d pages, %d of them twice, %d attempts lost, %v by two islands, %d from an island after an acknowledgement",
		seed, n, len(f.answered), recorded, struck, time.Since(begin).Round(time.Second), f.retries, len(f.pages), repeats, lost, island, unknowing)
	f.tell(t, "slack")
}

// Three replicas, each with its own way to Redis, and a network that does what
// networks do; replicas and Redis that stand still; scripts and connections that
// are taken away each second.
func TestWeather(t *testing.T) {
	t.Parallel()
	redis := testbench.StartRedis(t, "--appendonly", "yes", "--appendfsync", "everysec")
	var ways []*testbench.Proxy
	for range 3 {
		ways = append(ways, testbench.StartProxy(t, redis.Addr))
	}
	f := startFleetOver(t, func(i int) string { return fmt.Sprintf("addrs: [%q]", ways[i].Addr) }, 3, 50)
	flushing, stop := context.WithCancel(t.Context())
	var flushes sync.WaitGroup
	defer flushes.Wait()
	defer stop()
	flushes.Go(func() {
		for wait(flushing, time.Second) {
			redis.Try("SCRIPT", "FLUSH")
			redis.Try("CLIENT", "KILL", "TYPE", "normal")
		}
	})
	set := func(w testbench.Weather, which ...int) func(*testing.T) func() {
		return func(*testing.T) func() {
			for _, i := range which {
				ways[i].Set(w)
			}
			return func() {
				for _, i := range which {
					ways[i].Set(testbench.Weather{})
				}
			}
		}
	}
	storm(t, f, chaosSize(t, 80), 3*time.Second, []strike{
		{"latency", set(testbench.Weather{Latency: 200 * time.Millisecond, Jitter: 200 * time.Millisecond}, 0, 1, 2)},
		{"one is cut off in silence", set(testbench.Weather{Silent: true}, 0)},
		{"Redis stands still", func(t *testing.T) func() { redis.Freeze(t); return func() { redis.Thaw(t) } }},
		{"one is refused", set(testbench.Weather{Refused: true}, 1)},
		{"a replica stands still", func(t *testing.T) func() { f.replicas[2].Freeze(t); return func() { f.replicas[2].Thaw(t) } }},
		{"resets", func(*testing.T) func() {
			for _, w := range ways {
				w.Reset()
			}
			return func() {
				for _, w := range ways {
					w.Reset()
				}
			}
		}},
		{"all are cut off", set(testbench.Weather{Silent: true}, 0, 1, 2)},
	})
}

// The master behind Sentinels is killed under load.
func TestFleetOverSentinel(t *testing.T) {
	t.Parallel()
	s := testbench.StartSentinel(t, "--appendonly", "yes")
	f := startFleetOver(t, func(int) string {
		return fmt.Sprintf("master_name: %s, addrs: [%s]", s.Name, strings.Join(s.Addrs, ", "))
	}, 2, 50)
	struck := false
	storm(t, f, chaosSize(t, 40), 3*time.Second, []strike{{"the master is killed", func(t *testing.T) func() {
		if !struck {
			struck = true
			s.Servers[0].Kill9(t)
		}
		return func() {}
	}}})
}

// A master of a Cluster is killed under load.
func TestFleetOverCluster(t *testing.T) {
	t.Parallel()
	nodes := testbench.StartCluster(t, 6, "--appendonly", "yes")
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, fmt.Sprintf("%q", n.Addr))
	}
	f := startFleetOver(t, func(int) string { return "cluster: true, addrs: [" + strings.Join(addrs, ", ") + "]" }, 2, 50)
	struck := false
	storm(t, f, chaosSize(t, 40), 3*time.Second, []strike{{"a master is killed", func(t *testing.T) func() {
		if !struck {
			struck = true
			nodes[0].Kill9(t)
		}
		return func() {}
	}}})
}
