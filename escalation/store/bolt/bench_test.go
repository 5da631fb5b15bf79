package bolt

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"callchain/escalation/store"
	"callchain/internal/testbench"
)

const benchSize = 1200 // of an incident's record

// BenchmarkCommit measures durable commits of an incident record with a
// wake-up, and says how many of them pass in the time of one raw write and
// fdatasync of the same size to a file beside, measured before and after.
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
	dir := b.TempDir()
	s, err := Open(filepath.Join(dir, "callchain.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	data := make([]byte, benchSize)
	took := make([][]time.Duration, connections)
	raw := testbench.RawSync(b, dir, benchSize)
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
	raw = (raw + testbench.RawSync(b, dir, benchSize)) / 2
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
	b.ReportMetric(float64(raw)*float64(b.N)/float64(b.Elapsed()), "commits/rawsync")
	b.ReportMetric(float64(time.Second)/float64(raw), "rawsyncs/s")
	b.ReportMetric(float64(all[len(all)*99/100])/1e6, "p99-ms")
}

// BenchmarkClaimIdle is a poll of 100,000 records of which none is due.
func BenchmarkClaimIdle(b *testing.B) {
	s, err := Open(filepath.Join(b.TempDir(), "callchain.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for i := range 100 {
		x := store.Txn{Partition: uint8(i)}
		for j := range 1000 {
			x.Writes = append(x.Writes, store.Write{ID: fmt.Sprintf("i/%d", j), Data: make([]byte, benchSize), Wake: s.Now().Add(time.Hour)})
		}
		if err := s.Commit(context.Background(), x); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if due, err := s.Claim(context.Background(), 64, time.Minute); err != nil || len(due.Records) > 0 {
			b.Fatal(due, err)
		}
	}
}
