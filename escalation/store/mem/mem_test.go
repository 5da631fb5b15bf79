package mem_test

import (
	"context"
	"errors"
	"testing"

	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/escalation/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return mem.New() }, storetest.Options{
		Bubble: true,
		Reopen: func(t *testing.T, s store.Store) store.Store {
			next := s.(*mem.Store).Open()
			s.Close()
			return next
		},
		Damage: func(t *testing.T, s store.Store, k store.Key) store.Store {
			if !s.(*mem.Store).Damage(k) {
				t.Fatalf("there is no %v to damage", k)
			}
			return s
		},
		Records: 100_000,
	})
}

func TestFault(t *testing.T) {
	lost := errors.New("the line went dead")
	for name, c := range map[string]struct {
		apply bool
		err   error
		want  uint64 // version afterwards
	}{
		"none":                 {false, nil, 1},
		"failed":               {false, lost, 0},
		"failed, but applied":  {true, lost, 1},
		"full":                 {false, store.ErrFull, 0},
		"none, and applied":    {true, nil, 1},
		"cancelled by a fault": {false, context.Canceled, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := mem.New()
			other := s.Open()
			s.Inject(func(op string) (bool, error) {
				if op != "commit" {
					return false, nil
				}
				return c.apply, c.err
			})
			x := store.Txn{Partition: 1, Mark: [8]byte{1}, Writes: []store.Write{{ID: "i/a", Data: []byte("a")}}}
			if err := s.Commit(t.Context(), x); !errors.Is(err, c.err) {
				t.Errorf("Commit = %v, want %v", err, c.err)
			}
			for _, handle := range []*mem.Store{s, other} {
				rs, err := handle.Load(t.Context(), 1, "i/a")
				if err != nil || rs[0].Version != c.want {
					t.Errorf("Load = %v, %v, want version %d", rs, err, c.want)
				}
			}
			s.Inject(nil)
			if err := s.Commit(t.Context(), x); err != nil {
				t.Errorf("Commit tried again = %v", err)
			}
		})
	}
}
