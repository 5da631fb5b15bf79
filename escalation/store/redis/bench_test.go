package redis

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"callchain/escalation/store"
	"callchain/internal/testbench"
)

const benchSize = 1200 // of an incident's record

// BenchmarkCommit measures commits of an incident record with a wake-up to a
// Redis with an append-only file (everysec), and what redis-benchmark makes of
// the same script with as many connections, right before and after.
func BenchmarkCommit(b *testing.B) {
	for _, connections := range []int{1, 64} {
		for _, what := range []string{"new", "change"} {
			b.Run(fmt.Sprintf("%s/connections=%d", what, connections), func(b *testing.B) {
				benchmarkCommit(b, connections, what == "change")
			})
		}
	}
}

func benchmarkCommit(b *testing.B, connections int, change bool) {
	r := testbench.StartRedis(b, "--appendonly", "yes", "--appendfsync", "everysec")
	s := mustOpen(b, Options{Addrs: []string{r.Addr}})
	data := make([]byte, benchSize)
	took := make([][]time.Duration, connections)
	raw := r.Benchmark(b, connections, benchSize)
	b.ResetTimer()
	var wg sync.WaitGroup
	for c := range connections {
		wg.Go(func() {
			var version uint64
			for i := c; i < b.N; i += connections {
				x := store.Txn{Partition: uint8(i), Writes: []store.Write{{ID: fmt.Sprintf("i/%08x", i), Data: data, Wake: s.Now().Add(time.Minute)}}}
				if change {
					x.Partition, x.Writes[0].ID, x.Writes[0].Expect = uint8(c), fmt.Sprintf("i/%08x", c), version
					version++
				}
				binary.BigEndian.PutUint64(x.Mark[:], uint64(i+1))
				start := time.Now()
				if err := s.Commit(context.Background(), x); err != nil {
					b.Error(err)
					return
				}
				took[c] = append(took[c], time.Since(start))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	raw = (raw + r.Benchmark(b, connections, benchSize)) / 2
	all := slices.Concat(took...)
	slices.Sort(all)
	rate := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "commits/s")
	b.ReportMetric(raw, "redis-benchmark/s")
	b.ReportMetric(rate/raw, "commits/redis-benchmark")
	b.ReportMetric(float64(all[len(all)*99/100])/1e6, "p99-ms")
}

// BenchmarkClaim claims 64 records at a time out of 100,000 due ones, spread
// over all partitions; BenchmarkClaimIdle polls 100,000 of which none is due.
func BenchmarkClaim(b *testing.B) {
	s := claimable(b, -time.Minute)
	b.ResetTimer()
	records := 0
	for b.Loop() {
		due, err := s.Claim(b.Context(), 64, time.Millisecond)
		if err != nil {
			b.Fatal(err)
		}
		records += len(due.Records)
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkClaimIdle(b *testing.B) {
	s := claimable(b, time.Hour)
	b.ResetTimer()
	for b.Loop() {
		s.due.looked = time.Time{} // as if a quarter of a second had passed
		if due, err := s.Claim(b.Context(), 64, time.Minute); err != nil || len(due.Records) > 0 {
			b.Fatal(due, err)
		}
	}
}

func claimable(b *testing.B, wake time.Duration) *Store {
	b.Helper()
	s := mustOpen(b, Options{Addrs: []string{testbench.StartRedis(b).Addr}})
	for p := range store.Partitions {
		x := store.Txn{Partition: uint8(p)}
		for i := range 100_000 / store.Partitions {
			x.Writes = append(x.Writes, store.Write{ID: fmt.Sprint("i/", i), Data: make([]byte, benchSize), Wake: s.Now().Add(wake)})
		}
		if err := s.Commit(context.Background(), x); err != nil {
			b.Fatal(err)
		}
	}
	return s
}
