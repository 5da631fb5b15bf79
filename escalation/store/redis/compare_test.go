package redis

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/internal/testbench"
	_ "callchain/internal/testbench/seed"
)

func kind(err error) string {
	for name, target := range map[string]error{"conflict": store.ErrConflict, "corrupt": store.ErrCorrupt} {
		if errors.Is(err, target) {
			return name
		}
	}
	if err != nil {
		return err.Error()
	}
	return "done"
}

// Any sequence of calls has the same answers from mem and from Redis. Their
// clocks differ by milliseconds, so wake-ups are either long over or far away,
// and leases are either over at once or last.
func TestLikeMem(t *testing.T) {
	t.Parallel()
	r := testbench.StartRedis(t)
	rapid.Check(t, func(rt *rapid.T) { compare(t, rt, r) })
}

type answer struct {
	Kind    string
	Records []store.Record
	More    string // what there is to claim after this
}

func compare(t *testing.T, rt *rapid.T, r *testbench.Redis) {
	o := Options{Addrs: []string{r.Addr}, KeyPrefix: fresh()}
	s, err := Open(t.Context(), o)
	if err != nil {
		rt.Fatal(err)
	}
	defer func() { s.Close() }()
	m := mem.New()
	ctx := t.Context()
	base := time.Now().Truncate(time.Millisecond).UTC()

	ids := []string{"i/a", "i/b", "g/a", "i/\xff", "i/*", "i/["}
	var sent []store.Txn
	same := func(name string, do func(store.Store) answer) {
		rt.Helper()
		want, got := do(m), do(s)
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("%s (-mem +redis):\n%s", name, diff)
		}
	}
	next := func(at time.Time) string {
		switch {
		case at.IsZero():
			return "none"
		case at.Sub(base).Abs() < 30*time.Minute:
			return "now" // the end of a lease of nothing
		}
		if d := at.Sub(base); d > 20*time.Hour && d < 30*time.Hour {
			return "leased"
		}
		return at.String()
	}
	rt.Repeat(map[string]func(*rapid.T){
		"commit": func(rt *rapid.T) {
			p := rapid.Uint8Range(0, 2).Draw(rt, "partition")
			x := store.Txn{Partition: p, Mark: [8]byte{1, byte(len(sent)), byte(len(sent) >> 8)}}
			if rapid.IntRange(0, 9).Draw(rt, "unmarked") == 0 {
				x.Mark = [8]byte{}
			}
			for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(ids), 1, 4, rapid.ID).Draw(rt, "ids") {
				rs, _ := m.Load(ctx, p, id)
				w := store.Write{ID: id, Expect: rs[0].Version}
				if rapid.IntRange(0, 9).Draw(rt, "stale") == 0 {
					w.Expect = rapid.Uint64Range(0, 3).Draw(rt, "expect")
				}
				if rapid.IntRange(0, 3).Draw(rt, "delete") > 0 {
					w.Data = append([]byte{}, rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(rt, "data")...)
				}
				if rapid.Bool().Draw(rt, "timer") {
					w.Wake = base.Add(time.Duration(rapid.IntRange(-5, 5).Draw(rt, "wake")) * time.Hour)
					if w.Wake.Equal(base) {
						w.Wake = base.Add(-30 * time.Minute)
					}
				}
				x.Writes = append(x.Writes, w)
			}
			sent = append(sent, x)
			same("commit", func(s store.Store) answer { return answer{Kind: kind(s.Commit(ctx, x))} })
		},
		"replay": func(rt *rapid.T) {
			if len(sent) == 0 {
				return
			}
			x := sent[max(0, len(sent)-1-rapid.IntRange(0, 5).Draw(rt, "back"))]
			same("replay", func(s store.Store) answer { return answer{Kind: kind(s.Commit(ctx, x))} })
		},
		"claim": func(rt *rapid.T) {
			n := rapid.IntRange(0, 4).Draw(rt, "max")
			lease := 24 * time.Hour
			same("claim", func(s store.Store) answer {
				due, err := s.Claim(ctx, n, lease)
				return answer{Kind: kind(err), Records: due.Records, More: next(due.Next)}
			})
		},
		"open anew": func(rt *rapid.T) {
			s.Close()
			if s, err = Open(ctx, o); err != nil {
				rt.Fatal(err)
			}
		},
		"damage": func(rt *rapid.T) {
			k := store.Key{Partition: rapid.Uint8Range(0, 2).Draw(rt, "partition"), ID: rapid.SampledFrom(ids).Draw(rt, "id")}
			if rapid.IntRange(0, 4).Draw(rt, "really") > 0 {
				return
			}
			if rs, err := s.Load(ctx, k.Partition, k.ID); err == nil && m.Damage(k) {
				if rs[0].Version == 0 {
					rt.Fatalf("mem has %v, redis does not", k)
				}
				damage(t, s, k)
			}
		},
		"": func(rt *rapid.T) {
			// A damaged record's wake-up is not compared: nobody can know it.
			same("load", func(s store.Store) answer {
				var all answer
				for p := range uint8(3) {
					rs, err := s.Load(ctx, p, ids...)
					all.Kind += kind(err)
					all.Records = append(all.Records, rs...)
				}
				for i, r := range all.Records {
					if r.Version > 0 && r.Data == nil {
						all.Records[i].Wake = time.Time{}
					}
				}
				return all
			})
		},
	})
	for _, prefix := range []string{"", "i/", "i/*", "i/["} {
		same("scan "+prefix, func(s store.Store) answer {
			var all answer
			err := s.Scan(ctx, prefix, func(r store.Record) bool { all.Records = append(all.Records, r); return true })
			slices.SortFunc(all.Records, func(a, b store.Record) int {
				return compareCandidates(candidate{0, a.Key.Partition, a.Key.ID}, candidate{0, b.Key.Partition, b.Key.ID})
			})
			all.Kind = kind(err)
			return all
		})
	}
}

// The script's list of deletions and mem's map forget alike when one partition
// sees more than MarksKept of them, but never earlier.
func TestMarksKept(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, Options{Addrs: []string{testbench.StartRedis(t).Addr}})
	commit := func(x store.Txn) error { x.Partition = 9; return s.Commit(t.Context(), x) }
	first := store.Txn{Mark: [8]byte{7}, Writes: []store.Write{{ID: "i/first", Expect: 1}}}
	for _, err := range []error{
		commit(store.Txn{Writes: []store.Write{{ID: "i/first", Data: []byte("x")}}}),
		commit(first),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	const others = store.MarksKept - 1
	for n := 0; n < others; {
		x := store.Txn{Mark: [8]byte{8}}
		for range min(500, others-n) {
			x.Writes = append(x.Writes, store.Write{ID: fmt.Sprint("i/", n)}) // demands absence, which is kept like a deletion
			n++
		}
		if err := commit(x); err != nil {
			t.Fatal(err)
		}
	}
	if err := commit(first); err != nil {
		t.Errorf("the replay after %d other deletions: %v", others, err)
	}
	if n := s.client.LLen(t.Context(), s.keys[9].deletions).Val(); n != 2*store.MarksKept {
		t.Errorf("the list of deletions has %d entries, want %d", n, 2*store.MarksKept)
	}
}
