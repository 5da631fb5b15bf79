package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bbolt "go.etcd.io/bbolt"

	"callchain/escalation/store"
	"callchain/escalation/store/storetest"
)

func testLogger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// openStore opens path until the test ends.
func openStore(t *testing.T, path string, lim limits) *Store {
	t.Helper()
	s, err := open(path, testLogger(t), lim)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return s
}

func newStore(t *testing.T) *Store {
	return openStore(t, filepath.Join(t.TempDir(), "callchain.db"), limits{compactAbove: compactAbove})
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return newStore(t) }, storetest.Options{
		Bubble: true,
		Reopen: func(t *testing.T, s store.Store) store.Store {
			path := s.(*Store).db.Path()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return openStore(t, path, limits{compactAbove: compactAbove})
		},
		Damage: func(t *testing.T, s store.Store, k store.Key) store.Store {
			change(t, s.(*Store), k, func(v []byte) []byte { v[len(v)-1] ^= 4; return v })
			return s
		},
		Records: 100_000,
	})
}

// change changes a record's bytes as they are stored.
func change(t *testing.T, s *Store, k store.Key, f func([]byte) []byte) {
	t.Helper()
	key := boltKey(k.Partition, k.ID)
	err := s.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(recordsBucket).Put(key, f(bytes.Clone(tx.Bucket(recordsBucket).Get(key))))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func commit(t *testing.T, s store.Store, partition uint8, writes ...store.Write) {
	t.Helper()
	if err := s.Commit(t.Context(), store.Txn{Partition: partition, Writes: writes}); err != nil {
		t.Fatal(err)
	}
}

// Every byte of a record, changed or cut off, is noticed, and it can always be
// replaced.
func TestDamagedRecord(t *testing.T) {
	s := newStore(t)
	k := store.Key{Partition: 1, ID: "i/a"}
	at := time.Now().Add(time.Hour)
	data := []byte("some data of a record")
	version := uint64(0)
	check := func(name string) {
		rs, err := s.Load(t.Context(), 1, "i/a")
		if !errors.Is(err, store.ErrCorrupt) || rs[0].Version == 0 || rs[0].Data != nil {
			t.Errorf("%s: Load = %+v, %v, want ErrCorrupt and a version", name, rs, err)
		}
		version = rs[0].Version
	}
	for i := range headerSize + len(data) {
		commit(t, s, 1, store.Write{ID: "i/a", Expect: version, Data: data, Wake: at})
		change(t, s, k, func(v []byte) []byte { v[i] ^= 0x10; return v })
		check(fmt.Sprint("byte ", i))
		commit(t, s, 1, store.Write{ID: "i/a", Expect: version, Data: data, Wake: at})
		change(t, s, k, func(v []byte) []byte { return v[:i] })
		check(fmt.Sprint("cut to ", i))
	}
	// A record under another key is none of ours.
	commit(t, s, 1, store.Write{ID: "i/a", Expect: version, Data: data}, store.Write{ID: "i/b", Data: data})
	change(t, s, k, func(v []byte) []byte {
		var other []byte
		s.view(func(tx *bbolt.Tx) error {
			other = bytes.Clone(tx.Bucket(recordsBucket).Get(boltKey(1, "i/b")))
			return nil
		})
		return other
	})
	check("moved")
}

// A damaged header may hide where the record stands in the index.
func TestStrayWakes(t *testing.T) {
	s := newStore(t)
	past := time.Now().Add(-time.Minute)
	commit(t, s, 1, store.Write{ID: "i/a", Data: []byte("a"), Wake: past}, store.Write{ID: "i/b", Data: []byte("b"), Wake: past})
	change(t, s, store.Key{Partition: 1, ID: "i/a"}, func(v []byte) []byte { v[22] ^= 0x20; return v }) // the wake-up
	rs, _ := s.Load(t.Context(), 1, "i/a")
	// To the very instant that the damage made up, for which there is no entry.
	future := store.Instant(store.Millis(past) ^ 1<<45)
	commit(t, s, 1, store.Write{ID: "i/a", Expect: rs[0].Version, Data: []byte("healed"), Wake: future})

	entries := func() (n int) {
		s.view(func(tx *bbolt.Tx) error { n = tx.Bucket(wakesBucket).Stats().KeyN; return nil })
		return n
	}
	if entries() != 3 {
		t.Fatalf("%d entries, want the stray beside the two good ones", entries())
	}
	due, err := s.Claim(t.Context(), 10, time.Minute)
	if err != nil || len(due.Records) != 1 || due.Records[0].Key.ID != "i/b" {
		t.Fatalf("Claim = %+v, %v, want i/b alone", due, err)
	}
	// The removal goes through the writer, when that is idle; a commit comes after it.
	for range 1000 {
		commit(t, s, 2, store.Write{ID: "i/x", Data: []byte("x")})
		commit(t, s, 2, store.Write{ID: "i/x", Expect: 1})
		if entries() == 2 {
			break
		}
		if _, err := s.Claim(t.Context(), 10, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if entries() != 2 {
		t.Errorf("%d entries, want 2: the stray is still there", entries())
	}
}

// A file that was cut short, or whose pages make no sense, gives errors.
func TestDamagedFile(t *testing.T) {
	build := func(t *testing.T) string {
		path := filepath.Join(t.TempDir(), "callchain.db")
		s := openStore(t, path, limits{})
		for p := range 20 {
			commit(t, s, uint8(p), store.Write{ID: "i/a", Data: bytes.Repeat([]byte{0xA5}, 3000), Wake: time.Now()})
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return path
	}
	use := func(t *testing.T, path string) {
		s, err := Open(path, testLogger(t))
		if err != nil {
			t.Logf("open: %v", err)
			return
		}
		defer s.Close()
		bad := 0
		for p := range 20 {
			if _, err := s.Load(t.Context(), uint8(p), "i/a"); errors.Is(err, store.ErrCorrupt) {
				bad++
			} else if err != nil {
				t.Errorf("Load = %v", err)
			}
		}
		if bad == 0 {
			t.Error("nothing was noticed")
		}
	}
	t.Run("data", func(t *testing.T) {
		path := build(t)
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range file {
			if i%4096 == 2000 && file[i] == 0xA5 {
				file[i] = 0
			}
		}
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		use(t, path)
	})
	for name, page := range map[string]int64{"first page": 0, "third page": 2, "half": 12} {
		t.Run("cut after "+name, func(t *testing.T) {
			path := build(t)
			if err := os.Truncate(path, (page+1)*4096); err != nil {
				t.Fatal(err)
			}
			use(t, path)
		})
	}
	t.Run("text", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "callchain.db")
		if err := os.WriteFile(path, bytes.Repeat([]byte("not a store\n"), 1000), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, nil); err == nil || !strings.Contains(err.Error(), "is no store, or is damaged") {
			t.Errorf("Open = %v", err)
		}
	})
}

func TestOpen(t *testing.T) {
	t.Run("parents and mode", func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "a", "b", "callchain.db")
		s := openStore(t, path, limits{})
		for name, want := range map[string]os.FileMode{path: 0o600, filepath.Join(dir, "a", "b"): 0o700, filepath.Join(dir, "a"): 0o700} {
			info, err := os.Stat(name)
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("%s has mode %v, %v, want %v", name, info.Mode(), err, want)
			}
		}
		if s.db.NoSync || s.db.NoGrowSync {
			t.Error("the file is not synced")
		}
	})
	t.Run("held by another", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "callchain.db")
		openStore(t, path, limits{})
		_, err := Open(path, nil)
		if err == nil || !strings.Contains(err.Error(), "another callchain holds "+path) {
			t.Errorf("Open = %v", err)
		}
	})
	t.Run("same installation", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "callchain.db")
		s := openStore(t, path, limits{})
		id := s.Installation()
		s.Close()
		if got := openStore(t, path, limits{}).Installation(); got != id || len(id) != 32 {
			t.Errorf("installation %q became %q", id, got)
		}
	})
	t.Run("another schema", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "callchain.db")
		s := openStore(t, path, limits{})
		err := s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put([]byte("schema"), []byte("2")) })
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if _, err := Open(path, nil); err == nil || !strings.Contains(err.Error(), `schema "2"`) {
			t.Errorf("Open = %v", err)
		}
	})
	t.Run("another program's", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "other.db")
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err })
		if err != nil {
			t.Fatal(err)
		}
		db.Close()
		if _, err := Open(path, nil); err == nil || !strings.Contains(err.Error(), "another program") {
			t.Errorf("Open = %v", err)
		}
	})
	t.Run("directory not writable", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(filepath.Join(file, "callchain.db"), nil); err == nil {
			t.Error("Open below a file succeeded")
		}
	})
}

func TestCompact(t *testing.T) {
	path := filepath.Join(t.TempDir(), "callchain.db")
	s := openStore(t, path, limits{})
	data := bytes.Repeat([]byte("x"), 60_000)
	for p := range 64 {
		commit(t, s, uint8(p), store.Write{ID: "i/a", Data: data}, store.Write{ID: "i/b", Data: []byte("kept"), Wake: time.Unix(1, 0)})
	}
	for p := range 64 {
		commit(t, s, uint8(p), store.Write{ID: "i/a", Expect: 1})
	}
	id := s.Installation()
	s.Close()
	size, free, err := func() (int64, int64, error) {
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		return space(db)
	}()
	if err != nil || size < 3<<20 || free*2 < size {
		t.Fatalf("size %d, free %d, %v: nothing to compact", size, free, err)
	}
	if err := os.WriteFile(path+".compact", []byte("of a crash"), 0o600); err != nil {
		t.Fatal(err)
	}

	s = openStore(t, path, limits{compactAbove: 2 << 20})
	if now, _, _ := space(s.db); now > size/4 {
		t.Errorf("size was %d, is %d", size, now)
	}
	if _, err := os.Stat(path + ".compact"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary file is left: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if s.Installation() != id {
		t.Error("the installation changed")
	}
	if _, err := Open(path, nil); err == nil {
		t.Error("the compacted file is not locked")
	}
	due, err := s.Claim(t.Context(), 100, time.Minute)
	if err != nil || len(due.Records) != 64 {
		t.Errorf("Claim found %d records, %v, want 64", len(due.Records), err)
	}
	commit(t, s, 1, store.Write{ID: "i/b", Expect: 1, Data: []byte("changed")})
	s.Close()
	s = openStore(t, path, limits{})
	rs, err := s.Load(t.Context(), 1, "i/b")
	if err != nil || string(rs[0].Data) != "changed" {
		t.Errorf("Load = %v, %v: what was committed after compacting is lost", rs, err)
	}
}

// A full store refuses new records, says so, goes on reading, and lets changes
// pass that find room.
func TestFull(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "callchain.db"), limits{maxSize: 1 << 20})
	commit(t, s, 1, store.Write{ID: "i/known", Data: []byte("known"), Wake: time.Unix(1, 0)})
	var err error
	stored := 0
	for ; err == nil && stored < 1000; stored++ {
		err = s.Commit(t.Context(), store.Txn{Partition: 2, Writes: []store.Write{{ID: fmt.Sprint("i/", stored), Data: make([]byte, 20_000)}}})
	}
	if !errors.Is(err, store.ErrFull) {
		t.Fatalf("Commit %d = %v, want ErrFull", stored, err)
	}
	rs, err := s.Load(t.Context(), 2, fmt.Sprint("i/", stored-1), "i/0")
	if err != nil || rs[0].Version != 0 || rs[1].Version != 1 {
		t.Errorf("Load = %v: the refused record must be absent, the first there", err)
	}
	for v := range uint64(20) {
		commit(t, s, 1, store.Write{ID: "i/known", Expect: v + 1, Data: []byte("changed"), Wake: time.Unix(1, 0)})
	}
	if due, err := s.Claim(t.Context(), 1, time.Minute); err != nil || len(due.Records) != 1 {
		t.Errorf("Claim = %v, %v", due, err)
	}
	// Together in one batch: the new one alone is refused.
	batch := []*request{
		prepared(t, 3, store.Write{ID: "i/new", Data: make([]byte, 200_000)}),
		prepared(t, 1, store.Write{ID: "i/known", Expect: 21, Data: []byte("in a batch")}),
		prepared(t, 1, store.Write{ID: "i/known", Expect: 3, Data: []byte("stale")}),
		prepared(t, 1, store.Write{ID: "i/known", Expect: 22}, store.Write{ID: "c/known", Data: []byte("moved")}),
	}
	halt(t, s)
	s.apply(batch)
	if err := <-batch[0].done; !errors.Is(err, store.ErrFull) {
		t.Errorf("new record in a full store: %v", err)
	}
	if err := <-batch[1].done; err != nil {
		t.Errorf("change in a full store: %v", err)
	}
	if err := <-batch[2].done; !errors.Is(err, store.ErrConflict) {
		t.Errorf("stale change in a full store: %v", err)
	}
	if err := <-batch[3].done; err != nil {
		t.Errorf("move in a full store: %v", err)
	}
}

func TestIsFull(t *testing.T) {
	for err, want := range map[error]bool{
		nil: false,
		&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}: true,
		&os.PathError{Op: "write", Path: "x", Err: syscall.EDQUOT}: true,
		errors.New("file resize error: " + syscall.ENOSPC.Error()): true,
		&os.PathError{Op: "write", Path: "x", Err: syscall.EIO}:    false,
	} {
		if isFull(err) != want {
			t.Errorf("isFull(%v) = %t", err, !want)
		}
	}
}

// prepared is a request as Commit makes it.
func prepared(t *testing.T, partition uint8, writes ...store.Write) *request {
	r := &request{ctx: t.Context(), grows: store.Txn{Writes: writes}.Grows(), done: make(chan error, 1)}
	for _, w := range writes {
		key := boltKey(partition, w.ID)
		pw := write{key: key, expect: w.Expect, wake: store.Millis(w.Wake)}
		if w.Data != nil {
			pw.value = encode(key, w.Expect+1, r.mark, pw.wake, w.Data)
		}
		r.writes = append(r.writes, pw)
	}
	return r
}

// halt ends the writer, so that a test can be it. The file stays open.
func halt(t *testing.T, s *Store) {
	t.Helper()
	close(s.closing)
	<-s.written
	s.once.Do(func() {})
	t.Cleanup(func() { s.db.Close() })
}

// Txns that wait together share a transaction, and each stands for itself.
func TestBatch(t *testing.T) {
	s := newStore(t)
	commit(t, s, 1, store.Write{ID: "i/a", Data: []byte("a")})
	halt(t, s)
	cancelled := prepared(t, 1, store.Write{ID: "i/never", Data: []byte("x")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cancelled.ctx = ctx
	batch := []*request{
		prepared(t, 1, store.Write{ID: "i/a", Expect: 1, Data: []byte("first")}, store.Write{ID: "i/b", Data: []byte("b")}),
		prepared(t, 1, store.Write{ID: "i/c", Data: []byte("c")}, store.Write{ID: "i/a", Expect: 1, Data: []byte("loser")}),
		cancelled,
		prepared(t, 1, store.Write{ID: "i/a", Expect: 2, Data: []byte("second")}),
		prepared(t, 2, store.Write{ID: "i/d", Data: []byte("d")}),
		prepared(t, 2, store.Write{ID: "i/d", Expect: 1}),
	}
	batch[5].mark = [8]byte{5}
	again := prepared(t, 2, store.Write{ID: "i/d", Expect: 1})
	again.mark = batch[5].mark
	batch = append(batch, again)
	before := commits(s)
	s.apply(batch)
	if got := commits(s) - before; got != 1 {
		t.Errorf("the batch took %d transactions", got)
	}
	var got []string
	for _, r := range batch {
		switch err := <-r.done; {
		case err == nil:
			got = append(got, "applied")
		case errors.Is(err, store.ErrConflict):
			got = append(got, "conflict")
		default:
			got = append(got, err.Error())
		}
	}
	want := []string{"applied", "conflict", "context canceled", "applied", "applied", "applied", "applied"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	var rs []string
	s.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(recordsBucket).ForEach(func(k, v []byte) error {
			r := decode(k, v)
			rs = append(rs, fmt.Sprintf("%d %s %d %s", k[0], k[1:], r.version, r.data))
			return nil
		})
	})
	if diff := cmp.Diff([]string{"1 i/a 3 second", "1 i/b 1 b"}, rs); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// commits counts the transactions that the file has.
func commits(s *Store) (n int) {
	s.view(func(tx *bbolt.Tx) error { n = tx.ID(); return nil })
	return n
}

// writes counts the pages that were written.
func writes(s *Store) int64 {
	stats := s.db.Stats()
	return stats.TxStats.GetWrite()
}

// Claims, conflicts, replays and reads write nothing.
func TestNoWrite(t *testing.T) {
	s := newStore(t)
	x := store.Txn{Partition: 1, Mark: [8]byte{1}, Writes: []store.Write{{ID: "i/a", Data: []byte("a"), Wake: time.Unix(1, 0)}}}
	if err := s.Commit(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	before := writes(s)
	for range 10 {
		if _, err := s.Claim(t.Context(), 10, time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context(), x); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context(), store.Txn{Partition: 1, Writes: x.Writes}); !errors.Is(err, store.ErrConflict) {
			t.Fatalf("Commit = %v", err)
		}
	}
	if got := writes(s) - before; got != 0 {
		t.Errorf("%d pages or transactions were written", got)
	}
}

// After a sync that failed, a replay must not be answered before a sync that
// did not.
func TestReplayAfterFailedSync(t *testing.T) {
	s := newStore(t)
	x := store.Txn{Partition: 1, Mark: [8]byte{1}, Writes: []store.Write{{ID: "i/a", Data: []byte("a")}}}
	if err := s.Commit(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	halt(t, s)
	s.repeat = true // what try notes then
	r := prepared(t, 1, x.Writes...)
	r.mark = x.Mark
	before := writes(s)
	s.apply([]*request{r})
	if err := <-r.done; err != nil || writes(s) == before || s.repeat {
		t.Errorf("answered %v after %d writes", err, writes(s)-before)
	}
}

func TestMarksMakeRoom(t *testing.T) {
	m := newMarks()
	for i := range store.MarksKept {
		m.add(fmt.Sprint(i), [8]byte{1})
	}
	m.add("0", [8]byte{2}) // deleted again: younger now
	if m.of([]byte("0")) != [8]byte{2} || m.of([]byte("1")) != [8]byte{1} {
		t.Error("a mark that should be kept is gone")
	}
	m.add("one more", [8]byte{3})
	if m.of([]byte("1")) != [8]byte{} || m.of([]byte("0")) != [8]byte{2} || m.of([]byte("2")) != [8]byte{1} {
		t.Error("not the oldest mark made room")
	}
	if len(m.known) > store.MarksKept {
		t.Errorf("%d marks are kept", len(m.known))
	}
}

func TestBackup(t *testing.T) {
	s := newStore(t)
	for p := range 50 {
		commit(t, s, uint8(p), store.Write{ID: "i/a", Data: make([]byte, 5000)})
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for p := range 50 {
			commit(t, s, uint8(p), store.Write{ID: "i/b", Data: make([]byte, 5000)})
		}
	})
	n, err := s.Backup(t.Context(), file)
	if err != nil || n == 0 {
		t.Fatalf("Backup = %d, %v", n, err)
	}
	wg.Wait()
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	backup := openStore(t, path, limits{})
	found := 0
	if err := backup.Scan(t.Context(), "i/a", func(store.Record) bool { found++; return true }); err != nil || found != 50 {
		t.Errorf("the backup has %d records, %v, want 50", found, err)
	}
}
