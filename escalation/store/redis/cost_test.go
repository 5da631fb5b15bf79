package redis

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callchain/escalation/store"
	"callchain/internal/testbench"
)

// calls counts the commands that f makes the server run, within scripts too.
func calls(t *testing.T, r *testbench.Redis, f func()) map[string]int {
	t.Helper()
	stats := func() map[string]int {
		found := make(map[string]int)
		text, _ := r.Call(t, "INFO", "commandstats").(string)
		for line := range strings.Lines(text) {
			name, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "cmdstat_"), ":calls=")
			if !ok || name == "info" {
				continue
			}
			number, _, _ := strings.Cut(rest, ",")
			n, err := strconv.Atoi(number)
			if err != nil {
				t.Fatal(err)
			}
			found[name] = n
		}
		return found
	}
	before := stats()
	f()
	made := make(map[string]int)
	for name, n := range stats() {
		if n > before[name] {
			made[name] = n - before[name]
		}
	}
	return made
}

// What each operation costs the server. An alert of an unknown incident is one
// script over the group record, the incident and a fact; nothing grows with the
// number of records in a Txn.
func TestCost(t *testing.T) {
	t.Parallel()
	r := testbench.StartRedis(t)
	s := mustOpen(t, Options{Addrs: []string{r.Addr}})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	record := func(id string, expect uint64, wake time.Time) store.Write {
		return store.Write{ID: id, Expect: expect, Data: make([]byte, 1100), Wake: wake}
	}
	commit := func(mark byte, writes ...store.Write) func() {
		return func() {
			must(s.Commit(t.Context(), store.Txn{Partition: 5, Mark: [8]byte{mark}, Writes: writes}))
		}
	}
	claim := func(want int) func() {
		return func() {
			due, err := s.Claim(t.Context(), 64, time.Minute)
			must(err)
			if len(due.Records) != want {
				t.Fatalf("claimed %d records, want %d", len(due.Records), want)
			}
		}
	}
	later, past := s.Now().Add(time.Hour), s.Now().Add(-time.Second)
	for range 3 { // the scripts are known, and connections are made
		commit(0, record("w/"+fmt.Sprint(time.Now().UnixNano()), 0, time.Time{}))()
	}
	claim(0)()
	known := time.Now().Add(time.Hour) // what is known of others' changes stays fresh
	s.due.looked = known

	for _, c := range []struct {
		name string
		do   func()
		want map[string]int
	}{
		{"unknown incident", commit(1, record("g/a", 0, time.Time{}), record("i/a", 0, later), record("f/a", 0, time.Time{})),
			map[string]int{"evalsha": 1, "hmget": 1, "hset": 1, "zadd": 1}},
		{"results, acknowledgement", commit(2, record("i/a", 1, later)),
			map[string]int{"evalsha": 1, "hmget": 1, "hset": 1, "zadd": 1}},
		{"the same again", commit(2, record("i/a", 1, later)),
			map[string]int{"evalsha": 1, "hmget": 1}},
		{"without a timer", commit(3, record("i/a", 2, time.Time{})),
			map[string]int{"evalsha": 1, "hmget": 1, "hset": 1, "zrem": 1}},
		{"deletion", commit(4, store.Write{ID: "f/a", Expect: 1}),
			map[string]int{"evalsha": 1, "hmget": 1, "hdel": 1, "zrem": 1, "lpush": 1, "ltrim": 1}},
		{"reading a group with its incidents", func() { _, err := s.Load(t.Context(), 5, "g/a", "i/a"); must(err) },
			map[string]int{"hmget": 1}},
		{"poll after a commit of our own", claim(0), map[string]int{"zrange": 1}},
		{"poll when nothing changed", claim(0), map[string]int{}},
		{"poll for what others changed", func() { s.due.looked = time.Time{}; claim(0)(); s.due.looked = known },
			map[string]int{"zrange": 256, "time": 1, "hget": 1}},
	} {
		if diff := cmp.Diff(c.want, calls(t, r, c.do)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}

	var due []store.Write
	for i := range 64 {
		due = append(due, record(fmt.Sprint("d/", i), 0, past))
	}
	commit(9, due...)()
	// One look at what changed, one at what is due there, one claim of all.
	want := map[string]int{"zrange": 3, "evalsha": 1, "zmscore": 1, "hmget": 1, "zadd": 1}
	if diff := cmp.Diff(want, calls(t, r, claim(64))); diff != "" {
		t.Errorf("64 due records (-want +got):\n%s", diff)
	}
}

// An open incident of 1.1 kB costs the server little more than itself.
func TestMemory(t *testing.T) {
	t.Parallel()
	r := testbench.StartRedis(t)
	s := mustOpen(t, Options{Addrs: []string{r.Addr}})
	used := func() int {
		n, err := strconv.Atoi(r.Info(t, "memory", "used_memory_dataset"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := used()
	const each = 80
	for p := range store.Partitions {
		x := store.Txn{Partition: uint8(p)}
		for i := range each {
			x.Writes = append(x.Writes, store.Write{ID: fmt.Sprintf("i/%02x-%010d", p, i), Data: make([]byte, 1100), Wake: s.Now().Add(time.Hour)})
		}
		if err := s.Commit(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	per := (used() - before) / (each * store.Partitions)
	t.Logf("%d bytes each", per)
	if per > 1600 {
		t.Errorf("%d bytes of memory for a record of 1,100, want at most 1,600", per)
	}
}
