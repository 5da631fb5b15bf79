package redis

import (
	"context"
	"testing"
	"time"

	"callchain/escalation/store"
	"callchain/internal/testbench"
)

// However long one lane hangs, the others go on: here nobody serves that of the
// webhooks, of which a hundred wait.
func TestLanesDoNotBlockEachOther(t *testing.T) {
	t.Parallel()
	server := testbench.StartRedis(t)
	s := mustOpen(t, Options{Addrs: []string{server.Addr}})
	s.lanes[store.Intake].outbox = make(chan *parcel)
	commit := func(l store.Lane, id string) error {
		ctx, cancel := context.WithTimeout(store.In(t.Context(), l), 5*time.Second)
		defer cancel()
		return s.Commit(ctx, store.Txn{Partition: 7, Writes: []store.Write{{ID: id, Data: []byte("x")}}})
	}
	var stuck []chan error
	for range 100 {
		ctx, cancel := context.WithCancel(store.In(t.Context(), store.Intake))
		done := make(chan error, 1)
		go func() {
			done <- s.Commit(ctx, store.Txn{Partition: 7, Writes: []store.Write{{ID: "stuck", Data: []byte("x")}}})
		}()
		defer cancel()
		stuck = append(stuck, done)
	}
	for _, l := range []store.Lane{store.People, store.Work} {
		if err := commit(l, "lane "+string('0'+rune(l))); err != nil {
			t.Errorf("lane %d waits for the webhooks': %v", l, err)
		}
		if _, err := s.Load(store.In(t.Context(), l), 7, "x"); err != nil {
			t.Errorf("lane %d waits for the webhooks': %v", l, err)
		}
	}
	for _, done := range stuck {
		select {
		case err := <-done:
			t.Fatalf("the lane that should be full is not: %v", err)
		default:
		}
	}
}
