package redis

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callchain/escalation/store"
	"callchain/escalation/store/storetest"
	"callchain/internal/testbench"
)

func testLogger(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

var prefixes atomic.Int64

// fresh names a store that nobody used yet.
func fresh() string { return fmt.Sprintf("test-%d", prefixes.Add(1)) }

func mustOpen(t testing.TB, o Options) *Store {
	t.Helper()
	if o.KeyPrefix == "" {
		o.KeyPrefix = fresh()
	}
	if o.Logger == nil {
		o.Logger = testLogger(t)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func suite(o Options) (func(t *testing.T) store.Store, storetest.Options) {
	var mu sync.Mutex
	used := make(map[store.Store]Options)
	open := func(t *testing.T, o Options) store.Store {
		s := mustOpen(t, o)
		mu.Lock()
		defer mu.Unlock()
		used[s] = o
		return s
	}
	return func(t *testing.T) store.Store {
			o.KeyPrefix = fresh()
			return open(t, o)
		}, storetest.Options{
			Reopen: func(t *testing.T, s store.Store) store.Store {
				mu.Lock()
				o := used[s]
				mu.Unlock()
				s.Close()
				return open(t, o)
			},
			Damage: func(t *testing.T, s store.Store, k store.Key) store.Store {
				damage(t, s.(*Store), k)
				return s
			},
		}
}

// damage changes a byte of a record behind the store's back.
func damage(t testing.TB, s *Store, k store.Key) {
	t.Helper()
	key := s.keys[k.Partition].records
	text, err := s.client.HGet(context.Background(), key, k.ID).Result()
	if err != nil {
		t.Fatal(err)
	}
	b := []byte(text)
	b[0] ^= 1
	if err := s.client.HSet(context.Background(), key, k.ID, b).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	r := testbench.StartRedis(t)
	open, o := suite(Options{Addrs: []string{r.Addr}})
	storetest.Run(t, open, o)
}

// Valkey, where the machine has it, keeps the same promises. .ci/setup says when
// it is not there.
func TestStoreValkey(t *testing.T) {
	t.Parallel()
	r := testbench.StartValkey(t)
	if r == nil {
		t.Log("there is no Valkey here: not tested")
		return
	}
	if version := r.Info(t, "server", "valkey_version"); version == "" {
		t.Errorf("this is no Valkey: %v", r.Call(t, "INFO", "server"))
	}
	open, o := suite(Options{Addrs: []string{r.Addr}})
	storetest.Run(t, open, o)
}

func TestStoreSentinel(t *testing.T) {
	t.Parallel()
	s := testbench.StartSentinel(t)
	open, o := suite(Options{Addrs: s.Addrs, MasterName: s.Name})
	o.Records = 2000
	storetest.Run(t, open, o)
}

func TestStoreCluster(t *testing.T) {
	t.Parallel()
	nodes := testbench.StartCluster(t, 6)
	open, o := suite(Options{Addrs: []string{nodes[0].Addr, nodes[4].Addr}, Cluster: true})
	o.Records = 2000
	storetest.Run(t, open, o)
}
