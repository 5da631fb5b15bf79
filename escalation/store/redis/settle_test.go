package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callchain/escalation/store"
	"callchain/internal/testbench"
)

// replicated starts a master and a replica that follows it.
func replicated(t *testing.T) (master, replica *testbench.Redis) {
	t.Helper()
	master = testbench.StartRedis(t, "--client-output-buffer-limit", "replica 0 0 0")
	host, port, err := net.SplitHostPort(master.Addr)
	if err != nil {
		t.Fatal(err)
	}
	replica = testbench.StartRedis(t, "--replicaof", host+" "+port)
	testbench.Eventually(t, 20*time.Second, "replica", func() bool {
		return replica.Info(t, "replication", "master_link_status") == "up" && master.Info(t, "replication", "connected_slaves") == "1"
	})
	return master, replica
}

// put commits the n-th version of a record.
func put(ctx context.Context, s *Store, partition uint8, n uint64) error {
	x := store.Txn{Partition: partition, Writes: []store.Write{{ID: "i/1", Expect: n - 1, Data: binary.BigEndian.AppendUint64(make([]byte, 16<<10), n)}}} // more than sockets buffer
	binary.BigEndian.PutUint64(x.Mark[:], n)
	return s.Commit(ctx, x)
}

// What each level says of a change: with a replica, without one that answers, and
// with none at all.
func TestSettle(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		level         Durability
		paused, alone error
	}{
		{Fast, nil, nil},
		{Replica, store.ErrBehind, nil},
		{"", store.ErrBehind, nil},
		{Strict, store.ErrUnsettled, store.ErrUnsettled},
	} {
		t.Run(string(tc.level)+".", func(t *testing.T) {
			t.Parallel()
			master, replica := replicated(t)
			s := mustOpen(t, Options{Addrs: []string{master.Addr}, Durability: tc.level})
			n := uint64(0)
			settle := func(want error, within time.Duration) {
				t.Helper()
				for moved := 0; ; moved++ {
					epoch := s.Epoch(9)
					n++
					if err := put(t.Context(), s, 9, n); err != nil {
						t.Fatal(err)
					}
					begin := time.Now()
					err := s.Settle(t.Context(), 9, epoch)
					if errors.Is(err, store.ErrMoved) && moved == 0 {
						continue // nothing was known of the server yet
					}
					if !errors.Is(err, want) || want == nil && err != nil {
						t.Errorf("answered %v, want %v", err, want)
					}
					if took := time.Since(begin); took > within+2*time.Second { // the machine has other work as well
						t.Errorf("took %v, want about %v", took, within)
					}
					return
				}
			}
			within := replicaWithin
			if tc.level == Strict {
				within = 2 * strictWithin
			}
			confirmed := func() bool { return s.Settle(t.Context(), 9, s.Epoch(9)) == nil }
			testbench.Eventually(t, 20*time.Second, "the replica's confirmation", confirmed)
			replica.Freeze(t)
			settle(tc.paused, within)
			replica.Thaw(t)
			testbench.Eventually(t, 20*time.Second, "the replica's confirmation again", confirmed)
			replica.Kill9(t)
			testbench.Eventually(t, 20*time.Second, "loss of the replica", func() bool { return master.Info(t, "replication", "connected_slaves") == "0" })
			if tc.level != Strict && tc.level != Fast {
				// Within lookAgain it is known that there is nobody to wait for.
				testbench.Eventually(t, 20*time.Second, "nobody to wait for", confirmed)
			}
			settle(tc.alone, within)
		})
	}
}

// The master dies under load, half of the time with changes that the replica has not
// seen, and the replica takes over. What was settled is there; what was only
// committed may be gone.
func TestSettledSurvivesFailover(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		level  Durability
		behind bool // the replica stands still for a while before the master dies
		loses  bool
	}{
		{Fast, true, true}, {Replica, false, false}, {Replica, true, false}, {Strict, false, false}, {Strict, true, false},
	} {
		t.Run(fmt.Sprintf("%s, behind %v", tc.level, tc.behind), func(t *testing.T) {
			t.Parallel()
			master, replica := replicated(t)
			var addr atomic.Pointer[string]
			addr.Store(&master.Addr)
			s := mustOpen(t, Options{Addrs: []string{master.Addr}, Durability: tc.level, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, *addr.Load())
			}})
			const writers = 8
			var settled [writers]atomic.Uint64
			var lost atomic.Uint64
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					partition := uint8(w * 31)
					for n := uint64(1); ctx.Err() == nil; {
						epoch := s.Epoch(partition)
						err := put(ctx, s, partition, n)
						if err == nil {
							err = s.Settle(ctx, partition, epoch)
						}
						if err == nil {
							settled[w].Store(n)
							n++
							continue
						}
						// As the engine does: look what there is, and make the change again.
						if recs, err := s.Load(ctx, partition, "i/1"); err == nil {
							if had := settled[w].Load(); recs[0].Version < had {
								lost.Add(had - recs[0].Version)
							}
							n = recs[0].Version + 1
						}
					}
				})
			}
			progress := func() (sum uint64) {
				for w := range writers {
					sum += settled[w].Load()
				}
				return sum
			}
			testbench.Eventually(t, 20*time.Second, "writers", func() bool { return progress() > 500 })
			if tc.behind {
				replica.Freeze(t)
				at := progress()
				testbench.Eventually(t, 20*time.Second, "changes that the replica does not see", func() bool {
					return tc.level != Fast || progress() > at+2000
				})
			}
			master.Kill9(t)
			if tc.behind {
				replica.Thaw(t)
			}
			replica.Call(t, "REPLICAOF", "NO", "ONE")
			addr.Store(&replica.Addr)
			if tc.level != Strict { // which has no replica any more
				at := progress()
				testbench.Eventually(t, 30*time.Second, "writers on the new master", func() bool { return progress() > at+200 })
			} else {
				testbench.Eventually(t, 30*time.Second, "a look at the new master", func() bool {
					return s.Epoch(0) == replica.Info(t, "server", "run_id")
				})
			}
			stop()
			wg.Wait()
			for w := range writers {
				recs, err := s.Load(t.Context(), uint8(w*31), "i/1")
				if err != nil {
					t.Fatal(err)
				}
				if had := settled[w].Load(); recs[0].Version < had {
					lost.Add(had - recs[0].Version)
				}
			}
			if lost := lost.Load(); (lost > 0) != tc.loses {
				t.Errorf("%d changes that were answered are lost", lost)
			}
		})
	}
}

// A change that was committed on a master that is gone is not settled by the one
// that took over: that one may lack it.
func TestSettleNoticesAnotherMaster(t *testing.T) {
	t.Parallel()
	master, replica := replicated(t)
	var addr atomic.Pointer[string]
	addr.Store(&master.Addr)
	s := mustOpen(t, Options{Addrs: []string{master.Addr}, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, *addr.Load())
	}})
	testbench.Eventually(t, 20*time.Second, "the replica's confirmation", func() bool { return s.Settle(t.Context(), 9, s.Epoch(9)) == nil })
	epoch := s.Epoch(9)
	if err := put(t.Context(), s, 9, 1); err != nil {
		t.Fatal(err)
	}
	master.Kill9(t)
	replica.Call(t, "REPLICAOF", "NO", "ONE")
	addr.Store(&replica.Addr)
	testbench.Eventually(t, 20*time.Second, "another master", func() bool {
		err := s.Settle(t.Context(), 9, epoch)
		if err == nil {
			t.Fatal("settled, by a server that did not take it")
		}
		return errors.Is(err, store.ErrMoved)
	})
	if err := s.Settle(t.Context(), 9, s.Epoch(9)); err != nil {
		t.Errorf("what is committed there from now on: %v", err)
	}
}
