package bolt

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	_ "callchain/internal/testbench/seed"
)

// answer is what a store did, in a form that can be compared.
type answer struct {
	Kind    string
	Records []store.Record
	Next    time.Time
}

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

// Any sequence of calls has the same answers from mem and from bolt.
func TestLikeMem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The wrapper hides Deadline, which a bubble does not allow.
		rapid.Check(struct{ testing.TB }{t}, func(rt *rapid.T) { compare(t, rt) })
	})
}

func compare(t *testing.T, rt *rapid.T) {
	path := filepath.Join(t.TempDir(), fmt.Sprint(time.Now().UnixNano()), "callchain.db")
	b, err := open(path, nil, limits{})
	if err != nil {
		rt.Fatal(err)
	}
	defer func() { b.Close() }()
	m := mem.New()
	ctx := t.Context()

	ids := []string{"i/a", "i/b", "g/a", "i/\xff"}
	var sent []store.Txn
	same := func(name string, do func(store.Store) answer) {
		rt.Helper()
		want, got := do(m), do(b)
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("%s (-mem +bolt):\n%s", name, diff)
		}
	}
	load := func(s store.Store) answer {
		var all answer
		for p := range uint8(2) {
			rs, err := s.Load(ctx, p, ids...)
			all.Kind += kind(err)
			all.Records = append(all.Records, rs...)
		}
		return all
	}
	rt.Repeat(map[string]func(*rapid.T){
		"commit": func(rt *rapid.T) {
			p := rapid.Uint8Range(0, 1).Draw(rt, "partition")
			x := store.Txn{Partition: p, Mark: [8]byte{1, byte(len(sent)), byte(len(sent) >> 8)}}
			for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(ids), 1, 3, rapid.ID).Draw(rt, "ids") {
				rs, _ := m.Load(ctx, p, id)
				w := store.Write{ID: id, Expect: rs[0].Version}
				if rapid.IntRange(0, 9).Draw(rt, "stale") == 0 {
					w.Expect = rapid.Uint64Range(0, 3).Draw(rt, "expect")
				}
				if rapid.IntRange(0, 3).Draw(rt, "delete") > 0 {
					w.Data = append([]byte{}, rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(rt, "data")...)
				}
				if rapid.Bool().Draw(rt, "timer") {
					w.Wake = time.Now().Add(time.Duration(rapid.IntRange(-5, 20).Draw(rt, "wake")) * 100 * time.Millisecond)
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
			lease := time.Duration(rapid.IntRange(0, 20).Draw(rt, "lease")) * 50 * time.Millisecond
			same("claim", func(s store.Store) answer {
				due, err := s.Claim(ctx, n, lease)
				return answer{Kind: kind(err), Records: due.Records, Next: due.Next}
			})
		},
		"wait": func(rt *rapid.T) {
			time.Sleep(time.Duration(rapid.IntRange(1, 1500).Draw(rt, "ms")) * time.Millisecond)
		},
		"damage": func(rt *rapid.T) {
			k := store.Key{Partition: rapid.Uint8Range(0, 1).Draw(rt, "partition"), ID: rapid.SampledFrom(ids).Draw(rt, "id")}
			if rapid.IntRange(0, 4).Draw(rt, "really") == 0 && m.Damage(k) {
				change(t, b, k, func(v []byte) []byte {
					if !decode(boltKey(k.Partition, k.ID), v).damaged {
						v[0] ^= 1
					}
					return v
				})
			}
		},
		"": func(rt *rapid.T) {
			// A damaged record's wake-up is not compared: nobody can know it.
			same("load", func(s store.Store) answer {
				all := load(s)
				for i, r := range all.Records {
					if r.Version > 0 && r.Data == nil {
						all.Records[i].Wake = time.Time{}
					}
				}
				return all
			})
		},
	})

	if err := b.Close(); err != nil {
		rt.Fatal(err)
	}
	if b, err = open(path, nil, limits{}); err != nil {
		rt.Fatal(err)
	}
	same("scan after opening anew", func(s store.Store) answer {
		var all answer
		err := s.Scan(ctx, "i/", func(r store.Record) bool { all.Records = append(all.Records, r); return true })
		all.Kind = kind(err)
		return all
	})
}
