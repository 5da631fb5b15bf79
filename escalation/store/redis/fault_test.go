package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callchain/escalation/store"
	"callchain/internal/testbench"
)

// load is a number of writers, each with three records of its own that change
// together, and what was answered to them.
type load struct {
	s      *Store
	stop   context.CancelFunc
	wg     sync.WaitGroup
	total  atomic.Int64 // answered nil
	failed atomic.Int64
	last   atomic.Pointer[error]

	mu           sync.Mutex
	acknowledged []uint64
	tried        []uint64
}

func loadIDs(writer int) (ids []string) {
	for part := range 3 {
		ids = append(ids, fmt.Sprintf("i/%d/%d", writer, part))
	}
	return ids
}

func startLoad(s *Store, writers int) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{s: s, stop: stop, acknowledged: make([]uint64, writers), tried: make([]uint64, writers)}
	for w := range writers {
		l.wg.Go(func() { l.write(ctx, w) })
	}
	return l
}

// write tries each Txn with one mark until it is answered, in several calls if
// need be. A conflict would mean that an answer was wrong: nobody else writes.
func (l *load) write(ctx context.Context, w int) {
	for n := uint64(1); ctx.Err() == nil; n++ {
		x := store.Txn{Partition: uint8(w * 37)}
		binary.BigEndian.PutUint64(x.Mark[:], n)
		for _, id := range loadIDs(w) {
			x.Writes = append(x.Writes, store.Write{ID: id, Expect: n - 1, Data: binary.BigEndian.AppendUint64(nil, n), Wake: time.Now().Add(time.Hour)})
		}
		l.mu.Lock()
		l.tried[w] = n
		l.mu.Unlock()
		for ctx.Err() == nil {
			err := l.s.Commit(ctx, x)
			if err == nil {
				l.mu.Lock()
				l.acknowledged[w] = n
				l.mu.Unlock()
				l.total.Add(1)
				break
			}
			if errors.Is(err, store.ErrConflict) {
				l.failed.Add(1)
				return
			}
			l.last.Store(&err)
		}
	}
}

// end stops the writers and compares what is stored with what was answered.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.wg.Wait()
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d writers got a conflict with themselves: something that was answered is lost, or was applied twice", n)
	}
	for w, n := range l.acknowledged {
		rs, err := l.s.Load(t.Context(), uint8(w*37), loadIDs(w)...)
		if err != nil {
			t.Fatal(err)
		}
		got := rs[0].Version
		if got < n || got > l.tried[w] {
			t.Errorf("writer %d has version %d, %d was answered, %d tried", w, got, n, l.tried[w])
		}
		for _, r := range rs {
			if r.Version != got || got > 0 && binary.BigEndian.Uint64(r.Data) != got {
				t.Errorf("writer %d: half a Txn: %+v", w, rs)
				break
			}
		}
	}
	t.Logf("%d commits answered", l.total.Load())
}

// more waits until so many further commits were answered.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	defer func() {
		if err := l.last.Load(); err != nil && t.Failed() {
			t.Logf("last error: %v", *err)
		}
	}()
	want := l.total.Load() + n
	testbench.Eventually(t, 30*time.Second, fmt.Sprint(n, " further commits"), func() bool { return l.total.Load() >= want })
}

// While scripts are forgotten and connections cut, every answer stays true.
func TestScriptFlushAndClientKill(t *testing.T) {
	t.Parallel()
	r := testbench.StartRedis(t)
	l := startLoad(mustOpen(t, Options{Addrs: []string{r.Addr}}), 16)
	for range 30 {
		l.more(t, 100)
		r.Call(t, "SCRIPT", "FLUSH")
		l.more(t, 100)
		r.Call(t, "CLIENT", "KILL", "TYPE", "normal")
	}
	l.end(t)
}

// A crash of the server loses nothing that was answered, with an append-only
// file that is synced every second.
func TestKill(t *testing.T) {
	t.Parallel()
	r := testbench.StartRedis(t, "--appendonly", "yes", "--appendfsync", "everysec")
	l := startLoad(mustOpen(t, Options{Addrs: []string{r.Addr}}), 16)
	for range 4 {
		l.more(t, 500)
		// While Redis waits for its disk it keeps what it answers in memory for up
		// to two seconds: then a kill does lose it, as docs/redis.md says.
		testbench.Eventually(t, 10*time.Second, "Redis' file to be synced", func() bool {
			return r.Info(t, "persistence", "aof_pending_bio_fsync") == "0"
		})
		r.Kill9(t)
		r.Restart(t)
	}
	l.more(t, 500)
	l.end(t)
}

// killMaster kills a master that has passed on what it answered. Redis answers
// before it replicates, so a kill at any other moment may lose some of it, which
// no client can help. What it had not answered yet stays unknown to the writers.
func killMaster(t *testing.T, master *testbench.Redis) {
	t.Helper()
	master.Call(t, "CLIENT", "PAUSE", "10000", "WRITE")
	testbench.Eventually(t, 5*time.Second, "the replica to have what was answered", func() bool {
		return strings.HasSuffix(strings.SplitAfter(master.Info(t, "replication", "slave0"), ",lag=")[0], ",offset="+master.Info(t, "replication", "master_repl_offset")+",lag=")
	})
	master.Kill9(t)
}

// A failover loses nothing that the replica had, and applies nothing twice.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	se := testbench.StartSentinel(t)
	l := startLoad(mustOpen(t, Options{Addrs: se.Addrs, MasterName: se.Name}), 16)
	l.more(t, 500)
	killMaster(t, se.Servers[0])
	killed := time.Now()
	l.more(t, 500)
	t.Logf("written again %v after the kill", time.Since(killed).Round(time.Millisecond))
	if role := se.Servers[1].Info(t, "replication", "role"); role != "master" {
		t.Errorf("the replica is %s", role)
	}
	l.end(t)
}

func TestClusterFailover(t *testing.T) {
	t.Parallel()
	nodes := testbench.StartCluster(t, 6)
	l := startLoad(mustOpen(t, Options{Addrs: []string{nodes[1].Addr, nodes[2].Addr}, Cluster: true}), 16)
	l.more(t, 500)
	killMaster(t, nodes[0])
	killed := time.Now()
	testbench.Eventually(t, 30*time.Second, "the replica to take over", func() bool {
		return nodes[3].Info(t, "replication", "role") == "master"
	})
	l.more(t, 500)
	for w := range l.acknowledged {
		l.mu.Lock()
		before := l.acknowledged[w]
		l.mu.Unlock()
		defer func() {
			if err := l.last.Load(); err != nil && t.Failed() {
				t.Logf("writer %d, %d failed, last error: %v", w, l.failed.Load(), *err)
			}
		}()
		testbench.Eventually(t, 10*time.Second, "every writer to go on", func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.acknowledged[w] > before
		})
	}
	t.Logf("all slots written again %v after the kill", time.Since(killed).Round(time.Millisecond))
	l.end(t)
}

// With a part of the Cluster wholly away, a master and its replica, the timers of
// the others go on, also when it is the part whose clock counts; when it is back,
// so do its own. Nothing that is left out of a list goes unsaid.
func TestClusterPartAway(t *testing.T) {
	t.Parallel()
	nodes := testbench.StartCluster(t, 6, "--cluster-require-full-coverage", "no", "--appendonly", "yes", "--appendfsync", "always")
	s := mustOpen(t, Options{Addrs: []string{nodes[0].Addr, nodes[1].Addr, nodes[2].Addr}, Cluster: true})
	if len(s.Warnings()) > 0 {
		t.Errorf("warnings: %q", s.Warnings())
	}
	holder := func(p int) int64 {
		slot, _ := nodes[0].Call(t, "CLUSTER", "KEYSLOT", s.keys[p].records).(int64)
		for i := range int64(3) {
			if slot < (i+1)*16384/3 {
				return i
			}
		}
		return -1
	}
	gone := holder(0)
	survivors := 0
	for p := range store.Partitions {
		if holder(p) != gone {
			survivors++
		}
		x := store.Txn{Partition: uint8(p), Writes: []store.Write{{ID: "i/due", Data: []byte{1}, Wake: s.Now().Add(-time.Second)}}}
		if err := s.Commit(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}

	nodes[gone].Kill9(t)
	nodes[gone+3].Kill9(t)
	killed, last := time.Now(), s.Now()
	claimed := make(map[uint8]bool)
	claim := func() {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		due, err := s.Claim(ctx, 64, time.Hour)
		if err != nil {
			t.Fatalf("Claim %v after the kill = %v", time.Since(killed), err)
		}
		for _, r := range due.Records {
			if claimed[r.Key.Partition] {
				t.Errorf("%v claimed twice", r.Key)
			}
			claimed[r.Key.Partition] = true
		}
		now := s.Now()
		if d := now.Sub(last); d < 0 {
			t.Fatalf("the clock went back by %v", -d)
		}
		last = now
	}
	for len(claimed) < survivors {
		claim()
		if time.Since(killed) > 10*time.Second {
			t.Fatalf("%d of %d records of the others were claimed in 10 s", len(claimed), survivors)
		}
	}
	t.Logf("the others' %d records claimed %v after the kill", survivors, time.Since(killed).Round(time.Millisecond))
	// Once it is known, nothing waits for those that are away.
	for range 5 {
		began := time.Now()
		s.due.looked = time.Time{}
		claim()
		if d := time.Since(began); d > answerTimeout/2 {
			t.Errorf("a claim took %v", d)
		}
	}
	if len(claimed) != survivors {
		t.Errorf("%d records claimed, %d are there", len(claimed), survivors)
	}
	if d := time.Until(s.Now()); d.Abs() > time.Second {
		t.Errorf("the clock is off by %v", d)
	}
	seen := 0
	err := s.Scan(t.Context(), "i/", func(store.Record) bool { seen++; return true })
	if !errors.Is(err, store.ErrPartial) || seen != survivors {
		t.Errorf("Scan = %v and %d records, want ErrPartial and %d", err, seen, survivors)
	}
	x := store.Txn{Partition: 0, Writes: []store.Write{{ID: "i/new", Data: []byte{1}}}}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := s.Commit(ctx, x); err == nil {
		t.Error("a commit to the part that is away was answered")
	}

	nodes[gone].Restart(t)
	nodes[gone+3].Restart(t)
	restarted := time.Now()
	testbench.Eventually(t, 20*time.Second, "the rest to be claimed", func() bool {
		claim()
		return len(claimed) == store.Partitions
	})
	t.Logf("the rest claimed %v after the restart", time.Since(restarted).Round(time.Millisecond))
	if err := s.Scan(t.Context(), "i/", func(store.Record) bool { return true }); err != nil {
		t.Errorf("Scan = %v", err)
	}

	// Servers that stand still, and so refuse nothing, hold the others up once.
	for p := range store.Partitions {
		x := store.Txn{Partition: uint8(p), Writes: []store.Write{{ID: "i/frozen", Data: []byte{1}, Wake: s.Now().Add(-time.Second)}}}
		if err := s.Commit(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	nodes[gone].Freeze(t)
	nodes[gone+3].Freeze(t)
	clear(claimed)
	frozen := time.Now()
	for len(claimed) < survivors {
		claim()
		if time.Since(frozen) > 10*time.Second {
			t.Fatalf("%d of %d records of the others were claimed in 10 s", len(claimed), survivors)
		}
	}
	t.Logf("the others' %d records claimed %v after the rest froze", survivors, time.Since(frozen).Round(time.Millisecond))
	nodes[gone].Thaw(t)
	nodes[gone+3].Thaw(t)

	// Nobody answers: that is an error, and ends when somebody does.
	for _, node := range nodes {
		node.Kill9(t)
	}
	testbench.Eventually(t, 10*time.Second, "claims to fail", func() bool {
		_, err := s.Claim(t.Context(), 1, time.Minute)
		return err != nil
	})
	for _, node := range nodes {
		node.Restart(t)
	}
	testbench.Eventually(t, 20*time.Second, "claims to succeed", func() bool {
		_, err := s.Claim(t.Context(), 1, time.Minute)
		return err == nil
	})
}

// Slots that move from one node to another while they are written.
func TestClusterMovesSlots(t *testing.T) {
	t.Parallel()
	nodes := testbench.StartCluster(t, 6)
	s := mustOpen(t, Options{Addrs: []string{nodes[0].Addr}, Cluster: true})
	l := startLoad(s, 16)
	l.more(t, 500)
	from, to := nodes[0], nodes[1]
	fromID, _ := from.Call(t, "CLUSTER", "MYID").(string)
	toID, _ := to.Call(t, "CLUSTER", "MYID").(string)
	_, port, _ := strings.Cut(to.Addr, ":")
	moved := 0
	for w := range l.acknowledged {
		slot, _ := from.Call(t, "CLUSTER", "KEYSLOT", s.keys[uint8(w*37)].records).(int64)
		if slot >= 16384/3 { // another node's
			continue
		}
		moved++
		name := strconv.FormatInt(slot, 10)
		to.Call(t, "CLUSTER", "SETSLOT", name, "IMPORTING", fromID)
		from.Call(t, "CLUSTER", "SETSLOT", name, "MIGRATING", toID)
		for {
			keys, _ := from.Call(t, "CLUSTER", "GETKEYSINSLOT", name, "10").([]any)
			if len(keys) == 0 {
				break
			}
			for _, k := range keys {
				key, _ := k.(string)
				from.Call(t, "MIGRATE", "127.0.0.1", port, key, "0", "5000")
				l.more(t, 20)
			}
		}
		to.Call(t, "CLUSTER", "SETSLOT", name, "NODE", toID)
		from.Call(t, "CLUSTER", "SETSLOT", name, "NODE", toID)
		l.more(t, 100)
	}
	if moved == 0 {
		t.Fatal("no slot was moved")
	}
	l.end(t)
}

// A server that stands still holds nobody up longer than the context says.
func TestFrozen(t *testing.T) {
	t.Parallel()
	r := testbench.StartRedis(t)
	s := mustOpen(t, Options{Addrs: []string{r.Addr}})
	x := store.Txn{Partition: 1, Mark: [8]byte{1}, Writes: []store.Write{{ID: "i/a", Data: []byte("a")}}}
	r.Freeze(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	for name, call := range map[string]func() error{
		"Commit": func() error { return s.Commit(ctx, x) },
		"Load":   func() error { _, err := s.Load(ctx, 1, "i/a"); return err },
		"Claim":  func() error { _, err := s.Claim(ctx, 1, time.Minute); return err },
		"Scan":   func() error { return s.Scan(ctx, "", func(store.Record) bool { return true }) },
	} {
		if err := call(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s = %v, want that its time is over", name, err)
		}
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("four calls with 100 ms together took %v", d)
	}
	r.Thaw(t)
	// What was sent may or may not have been applied; the mark tells.
	if err := s.Commit(t.Context(), x); err != nil {
		t.Errorf("Commit tried again = %v", err)
	}
	if rs, err := s.Load(t.Context(), 1, "i/a"); err != nil || rs[0].Version != 1 {
		t.Errorf("Load = %v, %v", rs, err)
	}
}

// Memory that is full refuses new records and lets known ones change and move; a create
// whose answer was lost before is not called refused.
func TestFull(t *testing.T) {
	t.Parallel()
	full(t, testbench.StartRedis(t))
}

func TestFullValkey(t *testing.T) {
	t.Parallel()
	r := testbench.StartValkey(t)
	if r == nil {
		t.Log("there is no Valkey here: not tested")
		return
	}
	full(t, r)
}

func full(t *testing.T, r *testbench.Redis) {
	s := mustOpen(t, Options{Addrs: []string{r.Addr}})
	commit := func(mark byte, writes ...store.Write) error {
		return s.Commit(t.Context(), store.Txn{Partition: 1, Mark: [8]byte{mark}, Writes: writes})
	}
	known := store.Write{ID: "i/a", Data: []byte("a"), Wake: s.Now().Add(-time.Second)}
	if err := commit(1, known); err != nil {
		t.Fatal(err)
	}
	r.Call(t, "CONFIG", "SET", "maxmemory", "1")
	if err := commit(2, store.Write{ID: "i/b", Data: []byte("b")}); !errors.Is(err, store.ErrFull) {
		t.Errorf("create = %v, want ErrFull", err)
	}
	if err := commit(3, store.Write{ID: "i/a", Data: []byte("b")}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("create of a known one = %v, want ErrConflict", err)
	}
	if err := commit(1, known); err != nil {
		t.Errorf("create tried again = %v", err)
	}
	if due, err := s.Claim(t.Context(), 10, time.Minute); err != nil || len(due.Records) != 1 {
		t.Errorf("Claim = %v, %v", due, err)
	}
	if err := commit(4, store.Write{ID: "i/a", Expect: 1, Data: make([]byte, 10_000), Wake: s.Now()}); err != nil {
		t.Errorf("change = %v", err)
	}
	if err := commit(5, store.Write{ID: "i/a", Expect: 2}, store.Write{ID: "c/a", Data: []byte("a")}); err != nil {
		t.Errorf("move = %v", err)
	}
	urgent := store.Txn{Partition: 1, Mark: [8]byte{6}, Urgent: true, Writes: []store.Write{{ID: "c/a", Expect: 1, Data: []byte("b")}, {ID: "f/a", Data: []byte("f")}}}
	if err := s.Commit(t.Context(), urgent); err != nil {
		t.Errorf("change that counts as a new fact = %v", err)
	}
	if err := commit(7, store.Write{ID: "c/a", Expect: 2}); err != nil {
		t.Errorf("delete = %v", err)
	}
	r.Call(t, "CONFIG", "SET", "maxmemory", "0")
	if err := commit(2, store.Write{ID: "i/b", Data: []byte("b")}); err != nil {
		t.Errorf("create = %v when there is room", err)
	}
}

// What another replica set is found in time, and records of all partitions are
// claimed once and in order by two that compete.
func TestReplicas(t *testing.T) {
	t.Parallel()
	r := testbench.StartRedis(t)
	o := Options{Addrs: []string{r.Addr}, KeyPrefix: fresh()}
	a, b := mustOpen(t, o), mustOpen(t, o)
	if a.Installation() == "" || a.Installation() != b.Installation() {
		t.Errorf("installations %q and %q", a.Installation(), b.Installation())
	}
	for i := range 8 {
		if due, err := b.Claim(t.Context(), 10, time.Minute); err != nil || len(due.Records) > 0 {
			t.Fatal(due, err)
		}
		err := a.Commit(t.Context(), store.Txn{Partition: uint8(i * 13), Writes: []store.Write{{ID: "i/a", Data: []byte{}, Wake: a.Now()}}})
		if err != nil {
			t.Fatal(err)
		}
		// Whatever the machine is busy with: a claim that begins later than this
		// has to look at all partitions.
		for set, found := time.Now(), 0; found == 0; {
			began := time.Now()
			due, err := b.Claim(t.Context(), 10, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if found = len(due.Records); found == 0 && began.Sub(set) > lookEvery {
				t.Fatalf("not found by a claim that began %v after it was set", began.Sub(set))
			}
		}
	}

	const records = 3000
	past := a.Now().Add(-time.Hour)
	for p := range 30 {
		x := store.Txn{Partition: uint8(p * 7)}
		for i := range records / 30 {
			x.Writes = append(x.Writes, store.Write{ID: fmt.Sprint("i/", p, "-", i), Data: []byte("x"), Wake: past.Add(time.Duration(i) * time.Second)})
		}
		if err := a.Commit(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	testbench.Eventually(t, 5*time.Second, "b to look again", func() bool {
		due, err := b.Claim(t.Context(), 0, time.Minute)
		return err == nil && due.Next.Equal(store.Instant(store.Millis(past)))
	})
	var mu sync.Mutex
	seen := make(map[store.Key]int)
	var wg sync.WaitGroup
	for _, s := range []*Store{a, b} {
		wg.Go(func() {
			for {
				due, err := s.Claim(t.Context(), 64, time.Hour)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for i, r := range due.Records {
					seen[r.Key]++
					if i > 0 && r.Wake.Before(due.Records[i-1].Wake) {
						t.Errorf("%v came after %v", r.Wake, due.Records[i-1].Wake)
					}
				}
				n := len(seen)
				mu.Unlock()
				if n == records {
					return
				}
			}
		})
	}
	wg.Wait()
	for k, n := range seen {
		if n != 1 {
			t.Errorf("%v was claimed %d times within the lease", k, n)
		}
	}
}

// A server that comes back empty is told of, and becomes a store again.
func TestWiped(t *testing.T) {
	t.Parallel()
	r := testbench.StartRedis(t)
	o := Options{Addrs: []string{r.Addr}, KeyPrefix: fresh()}
	s := mustOpen(t, o)
	o.Installation = s.Installation()
	r.Call(t, "FLUSHALL")
	again := mustOpen(t, o)
	if text := strings.Join(again.Warnings(), "\n"); !strings.Contains(text, "Redis lost it") {
		t.Errorf("warnings: %s", text)
	}
	if again.Installation() != o.Installation {
		t.Errorf("installation %s, want %s", again.Installation(), o.Installation)
	}
	r.Call(t, "DEL", s.keys[7].records)
	third := mustOpen(t, o)
	if text := strings.Join(third.Warnings(), "\n"); !strings.Contains(text, "1 of 256 partitions are empty") {
		t.Errorf("warnings: %s", text)
	}
	for name, want := range map[*Store]int{s: 0, again: store.Partitions, third: 1} {
		if got := losses(name); want > 0 && !slices.Equal(got, []int{want}) || want == 0 && len(got) > 0 {
			t.Errorf("told of losses of %v partitions, want %d", got, want)
		}
	}
}

// losses are what a Store has to tell, each with its partitions.
func losses(s *Store) (found []int) {
	for {
		select {
		case loss := <-s.Lost():
			found = append(found, loss.Partitions)
		default:
			return found
		}
	}
}

// A server that is emptied while callchain runs is told of within a second, once
// by those that share it, and is a store again; so it is when a commit is the
// first to come upon it.
func TestWipedWhileRunning(t *testing.T) {
	t.Parallel()
	r := testbench.StartRedis(t)
	o := Options{Addrs: []string{r.Addr}, KeyPrefix: fresh()}
	a, b := mustOpen(t, o), mustOpen(t, o)
	marked := func() bool {
		for p := range store.Partitions {
			if r.Call(t, "HGET", a.keys[p].records, "") != a.marker {
				return false
			}
		}
		return true
	}
	claim := func() {
		t.Helper()
		for _, s := range []*Store{a, b} {
			if _, err := s.Claim(t.Context(), 1, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
	}
	var told []int
	for event := range 2 {
		r.Call(t, "FLUSHALL")
		began := time.Now()
		for len(told) == event {
			claim()
			told = append(append(told, losses(a)...), losses(b)...)
			if time.Since(began) > 5*time.Second {
				t.Fatal("nothing is told")
			}
		}
		testbench.Eventually(t, time.Second, "all markers to be written again", marked)
	}
	for range 3 {
		a.due.looked, b.due.looked = time.Time{}, time.Time{}
		claim()
	}
	if told = append(append(told, losses(a)...), losses(b)...); !slices.Equal(told, []int{store.Partitions, store.Partitions}) {
		t.Errorf("told of losses of %v partitions, want two of all", told)
	}

	r.Call(t, "FLUSHALL")
	x := store.Txn{Partition: 9, Writes: []store.Write{{ID: "i/a", Data: []byte("a")}}}
	if err := a.Commit(t.Context(), x); err != nil || !marked() {
		t.Errorf("Commit = %v", err)
	}
	if got := losses(a); len(got) != 1 {
		t.Errorf("told of losses of %v partitions, want one", got)
	}
	r.Call(t, "FLUSHALL")
	x.Writes[0].Expect = 1
	if err := a.Commit(t.Context(), x); !errors.Is(err, store.ErrConflict) {
		t.Errorf("Commit of what was lost = %v, want ErrConflict", err)
	}
}

// A store that becomes another installation's while callchain runs is neither
// written nor read, and claims nothing; when it is ours again all goes on.
func TestForeignWhileRunning(t *testing.T) {
	t.Parallel()
	r := testbench.StartRedis(t)
	s := mustOpen(t, Options{Addrs: []string{r.Addr}, KeyPrefix: fresh()})
	known := store.Txn{Partition: 9, Mark: [8]byte{1}, Writes: []store.Write{{ID: "i/a", Data: []byte("a"), Wake: s.Now().Add(-time.Second)}}}
	if err := s.Commit(t.Context(), known); err != nil {
		t.Fatal(err)
	}
	if due, err := s.Claim(t.Context(), 0, time.Minute); err != nil || due.Next.IsZero() {
		t.Fatal(due, err)
	}
	mark := func(text string) {
		for p := range store.Partitions {
			r.Call(t, "HSET", s.keys[p].records, "", text)
		}
	}
	mark(marker("theirs"))
	// Also while what is known of the partitions is thought to be fresh.
	s.due.looked = time.Now().Add(time.Hour)
	for name, call := range map[string]func() error{
		"create": func() error {
			return s.Commit(t.Context(), store.Txn{Partition: 9, Writes: []store.Write{{ID: "i/b", Data: []byte("b")}}})
		},
		"change": func() error {
			return s.Commit(t.Context(), store.Txn{Partition: 9, Writes: []store.Write{{ID: "i/a", Expect: 1, Data: []byte("b")}}})
		},
		"the same again":    func() error { return s.Commit(t.Context(), known) },
		"load":              func() error { _, err := s.Load(t.Context(), 9, "i/a"); return err },
		"claim what is due": func() error { _, err := s.Claim(t.Context(), 1, time.Minute); return err },
	} {
		began := time.Now()
		if err := call(); !errors.Is(err, ErrOtherInstallation) || time.Since(began) > time.Second {
			t.Errorf("%s = %v after %v, want at once ErrOtherInstallation", name, err, time.Since(began))
		}
	}
	s.due.looked = time.Time{}
	s.due.next[9] = never
	for range 3 {
		if _, err := s.Claim(t.Context(), 1, time.Minute); !errors.Is(err, ErrOtherInstallation) {
			t.Errorf("Claim = %v, want ErrOtherInstallation", err)
		}
	}
	// Nor are markers of ours put beside theirs.
	r.Call(t, "HDEL", s.keys[9].records, "", "i/a")
	if err := s.Commit(t.Context(), known); !errors.Is(err, ErrOtherInstallation) {
		t.Errorf("Commit into an empty partition of theirs = %v", err)
	}
	if n := r.Call(t, "HLEN", s.keys[9].records); n != int64(0) {
		t.Errorf("%v fields were written", n)
	}
	if got := losses(s); len(got) > 0 {
		t.Errorf("told of losses of %v partitions", got)
	}

	mark(s.marker)
	if _, err := s.Claim(t.Context(), 1, time.Minute); err != nil {
		t.Errorf("Claim = %v when it is ours again", err)
	}
	if err := s.Commit(t.Context(), known); err != nil {
		t.Errorf("Commit = %v when it is ours again", err)
	}
}
