package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"callchain/escalation/store"
	"callchain/internal/testbench"
)

// Open refuses what could lose incidents or cannot work, and says what to do.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	r := testbench.StartRedis(t)
	own := mustOpen(t, Options{Addrs: []string{r.Addr}, KeyPrefix: "mine"})
	for _, c := range []struct {
		name  string
		setup []string
		undo  []string
		o     Options
		want  string
	}{
		{name: "no address", want: "no address"},
		{name: "braces", o: Options{Addrs: []string{r.Addr}, KeyPrefix: "a{b}"}, want: "braces"},
		{name: "several addresses", o: Options{Addrs: []string{r.Addr, r.Addr}}, want: "need master_name (Sentinel) or cluster: true"},
		{name: "sentinel and cluster", o: Options{Addrs: []string{r.Addr}, MasterName: "m", Cluster: true}, want: "exclude each other"},
		{
			name: "eviction", setup: []string{"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"}, undo: []string{"CONFIG", "SET", "maxmemory-policy", "noeviction"},
			o: Options{Addrs: []string{r.Addr}}, want: "maxmemory-policy is allkeys-lru: when memory is full Redis would delete incidents and their timers; set it to noeviction",
		},
		{name: "another installation", o: Options{Addrs: []string{r.Addr}, KeyPrefix: "mine", Installation: "other"}, want: "belongs to installation " + own.Installation()},
		{
			name: "two installations", setup: []string{"HSET", "mixed:{3}:r", "", marker("one"), "x", "y"}, undo: []string{"DEL", "mixed:{3}:r"},
			o: Options{Addrs: []string{r.Addr}, KeyPrefix: "mixed", Installation: "two"}, want: "belongs to installation one",
		},
		{
			name: "another schema", setup: []string{"HSET", "old:{0}:r", "", "callchain schema=9 partitions=256 installation=x"},
			o: Options{Addrs: []string{r.Addr}, KeyPrefix: "old"}, want: "schema 9",
		},
		{
			name: "others' keys", setup: []string{"SET", "theirs:{5}:r", "x"},
			o: Options{Addrs: []string{r.Addr}, KeyPrefix: "theirs"}, want: "WRONGTYPE",
		},
		{
			name: "denied commands", setup: []string{"ACL", "SETUSER", "few", "on", "nopass", "~*", "+@all", "-zmscore", "-lpos"},
			o: Options{Addrs: []string{r.Addr}, Username: "few", Password: secret("any")}, want: "denies the commands zmscore, lpos on the keys",
		},
		{
			name: "denied info", setup: []string{"ACL", "SETUSER", "blind", "on", "nopass", "~*", "+@all", "-info"},
			o: Options{Addrs: []string{r.Addr}, Username: "blind", Password: secret("any")}, want: "denies the command info",
		},
		{
			name: "denied keys", setup: []string{"ACL", "SETUSER", "keys", "on", "nopass", "~other:*", "+@all"},
			o: Options{Addrs: []string{r.Addr}, Username: "keys", Password: secret("any")}, want: "on the keys",
		},
		{name: "wrong password", o: Options{Addrs: []string{r.Addr}, Username: "nobody", Password: secret("x")}, want: "WRONGPASS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.setup != nil {
				r.Call(t, c.setup...)
			}
			if c.o.KeyPrefix == "" {
				c.o.KeyPrefix = fresh()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			s, err := Open(ctx, c.o)
			if err == nil {
				s.Close()
				t.Fatal("Open took it")
			}
			if !strings.Contains(err.Error(), c.want) || ctx.Err() != nil {
				t.Errorf("Open = %v, want %q", err, c.want)
			}
			if c.undo != nil {
				r.Call(t, c.undo...)
			}
		})
	}
	if keys, _ := r.Call(t, "KEYS", "*check-*").([]any); len(keys) > 0 {
		t.Errorf("the checks left %v", keys)
	}
}

func secret(s string) func() (string, error) { return func() (string, error) { return s, nil } }

func TestOpenRefusesReplica(t *testing.T) {
	t.Parallel()
	s := testbench.StartSentinel(t)
	if _, err := Open(t.Context(), Options{Addrs: []string{s.Servers[1].Addr}}); err == nil || !strings.Contains(err.Error(), "is a replica") {
		t.Errorf("Open = %v", err)
	}
}

// Open warns of settings that lose what was answered, without CONFIG too.
func TestOpenWarns(t *testing.T) {
	t.Parallel()
	r := testbench.StartRedis(t)
	r.Call(t, "ACL", "SETUSER", "hosted", "on", ">pass", "~test-*", "+@all", "-config", "-@admin")
	hosted := Options{Username: "hosted", Password: secret("pass")}
	for _, c := range []struct {
		name   string
		config []string
		o      Options
		want   string
	}{
		{"nothing on disk", nil, Options{}, "keeps nothing on disk"},
		{"settings hidden", nil, hosted, "writes no append-only file"},
		{"snapshots", []string{"save", "60 1000"}, Options{}, `snapshots only (save "60 1000")`},
		{"append-only file", []string{"appendonly", "yes"}, Options{}, ""},
		{"append-only file, settings hidden", nil, hosted, ""},
		{"never synced", []string{"appendfsync", "no"}, Options{}, "appendfsync is no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.config != nil {
				r.Call(t, append([]string{"CONFIG", "SET"}, c.config...)...)
			}
			c.o.Addrs = []string{r.Addr}
			text := strings.Join(mustOpen(t, c.o).Warnings(), "\n")
			if !strings.Contains(text, c.want) || (c.want == "") != (text == "") {
				t.Errorf("warnings %q, want %q", text, c.want)
			}
		})
	}
}

// Open waits for a server that is not there yet, as long as its context allows.
func TestOpenWaits(t *testing.T) {
	t.Parallel()
	addr := testbench.FreeAddr(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, Options{Addrs: []string{addr}}); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Open = %v, want what is wrong", err)
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := time.Unix(1_800_000_000, 0).UTC()
		c := newClock()
		read := func(shift time.Duration) time.Duration {
			now := c.elapsed()
			return c.sample(sample{now, now, server.Add(now + shift)})
		}
		read(0)
		if !c.now().Equal(server) {
			t.Fatalf("the clock says %v", c.now())
		}
		time.Sleep(time.Hour)
		if d := c.now().Sub(server); d != time.Hour {
			t.Errorf("after an hour without a sample the clock moved by %v", d)
		}
		// Set forward: followed at once.
		if step := read(time.Minute); step != time.Minute {
			t.Errorf("step = %v", step)
		}
		if d := c.now().Sub(server); d != time.Hour+time.Minute {
			t.Errorf("the clock is at +%v", d)
		}
		// Set back by ten seconds: goes on slower, until they agree.
		if step := read(50 * time.Second); step != -10*time.Second {
			t.Errorf("step = %v", step)
		}
		last := c.now()
		for range 100 {
			time.Sleep(500 * time.Millisecond)
			read(50 * time.Second)
			d := c.now().Sub(last)
			if d < 450*time.Millisecond-time.Microsecond || d > 500*time.Millisecond {
				t.Fatalf("the clock moved by %v in 500ms", d)
			}
			last = c.now()
		}
		time.Sleep(time.Minute)
		if d := c.now().Sub(server.Add(c.elapsed())); d != 50*time.Second {
			t.Errorf("after that the clock is off by %v", d-50*time.Second)
		}
		// A slow answer changes nothing that was known better.
		now := c.elapsed()
		if step := c.sample(sample{now - 2*time.Second, now, server.Add(now + 50*time.Second - 900*time.Millisecond)}); step != 0 {
			t.Errorf("step = %v", step)
		}
		if d := c.now().Sub(server.Add(c.elapsed())); d != 50*time.Second {
			t.Errorf("a slow answer moved the clock by %v", d-50*time.Second)
		}
	})
}

// While the server that holds partition 0 is away another one carries its time on,
// whatever that one's own clock says.
func TestClockStandIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Unix(1_800_000_000, 0).UTC()
		c := newClock()
		at := func(shift time.Duration) sample {
			now := c.elapsed()
			return sample{now, now, start.Add(now + shift)}
		}
		near := func(want time.Duration) {
			t.Helper()
			if d := c.now().Sub(start.Add(c.elapsed())); (d - want).Abs() > time.Microsecond {
				t.Errorf("after %v the clock is off by %v, want %v", c.elapsed(), d, want)
			}
		}
		c.sample(at(0))
		c.compare("ahead", at(time.Hour))
		time.Sleep(10 * time.Second)
		// Known to be an hour ahead: that hour is taken off, and no timer fires early.
		if step := c.follow("ahead", at(time.Hour)); step != 0 {
			t.Errorf("step = %v", step)
		}
		near(0)
		// This machine stood still for a minute: the stand-in tells.
		if step := c.follow("ahead", at(time.Hour+time.Minute)); step != time.Minute {
			t.Errorf("step = %v", step)
		}
		near(time.Minute)
		// One that was never compared is taken where the clock stands.
		for range 3 {
			time.Sleep(10 * time.Second)
			if step := c.follow("behind", at(-time.Hour)); step != 0 {
				t.Errorf("step = %v", step)
			}
			near(time.Minute)
		}
		// The first is back and finds the clock ahead: never backwards.
		last := c.now()
		for range 100 {
			time.Sleep(10 * time.Second)
			c.sample(at(0))
			if now := c.now(); now.Before(last) {
				t.Fatalf("the clock went back by %v", last.Sub(now))
			} else {
				last = now
			}
		}
		near(0)

		// Without a clock that was known before, any is better than none.
		c = newClock()
		c.follow("only", at(0))
		near(0)
	})
}

// The ACL that docs/redis.md tells to use is enough, also on a Cluster.
func TestDocumentedACL(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	_, line, ok := strings.Cut(string(doc), "    ACL SETUSER ")
	if !ok {
		t.Fatal("docs/redis.md has no ACL")
	}
	line, _, _ = strings.Cut(line, "\n")
	line = strings.ReplaceAll(line, ">PASSWORD", ">pass")
	setUser := append([]string{"ACL", "SETUSER"}, strings.Fields(line)...)
	o := Options{Username: "callchain", Password: secret("pass"), KeyPrefix: "callchain"}
	for name, start := range map[string]func(t *testing.T) (servers []*testbench.Redis, o Options){
		"single": func(t *testing.T) ([]*testbench.Redis, Options) {
			o, r := o, testbench.StartRedis(t)
			o.Addrs = []string{r.Addr}
			return []*testbench.Redis{r}, o
		},
		"cluster": func(t *testing.T) ([]*testbench.Redis, Options) {
			o, nodes := o, testbench.StartCluster(t, 6)
			o.Addrs, o.Cluster = []string{nodes[0].Addr}, true
			return nodes, o
		},
	} {
		t.Run(name, func(t *testing.T) {
			servers, o := start(t)
			for _, r := range servers {
				r.Call(t, setUser...)
			}
			s := mustOpen(t, o)
			x := store.Txn{Partition: 200, Writes: []store.Write{{ID: "i/a", Data: []byte("a"), Wake: s.Now().Add(-time.Second)}}}
			if err := s.Commit(t.Context(), x); err != nil {
				t.Error(err)
			}
			if due, err := s.Claim(t.Context(), 10, time.Minute); err != nil || len(due.Records) != 1 {
				t.Errorf("Claim = %v, %v", due, err)
			}
			if err := s.Scan(t.Context(), "i/", func(store.Record) bool { return true }); err != nil {
				t.Error(err)
			}
			x.Writes[0] = store.Write{ID: "i/a", Expect: 1}
			if err := s.Commit(t.Context(), x); err != nil {
				t.Error(err)
			}
			for _, r := range servers {
				log, _ := r.Call(t, "ACL", "LOG").([]any)
				for _, entry := range log {
					fields, _ := entry.([]any)
					if text := fmt.Sprint(fields); !strings.Contains(text, "config|get") { // done without
						t.Errorf("denied: %s", text)
					}
				}
			}
		})
	}
}

// A partition that is put aside just when a search ends is looked for all the same:
// else its timers would wait until another one is put aside.
func TestPutAsideAsASearchEnds(t *testing.T) {
	t.Parallel()
	s, err := newStore(Options{Addrs: []string{"nowhere:6379"}, Cluster: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("nobody is there")
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	s.seeking.Store(true) // the search has seen that nothing is left, and ends
	if err := s.leave([]uint8{3}, errors.New("silent")); err != nil {
		t.Fatal(err)
	}
	s.sought()
	if !s.seeking.Load() {
		t.Error("nobody looks for a partition that was put aside")
	}
}
