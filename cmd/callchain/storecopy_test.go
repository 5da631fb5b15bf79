package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callchain/config"
	"callchain/escalation/store"
	"callchain/escalation/store/bolt"
	"callchain/escalation/store/mem"
	"callchain/escalation/store/redis"
	"callchain/internal/testbench"
)

// records are all of a store, without their versions.
func records(t *testing.T, st store.Store) map[store.Key]store.Record {
	t.Helper()
	all := map[store.Key]store.Record{}
	err := st.Scan(t.Context(), "", func(r store.Record) bool { r.Version = 0; all[r.Key] = r; return true })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func fill(t *testing.T, st store.Store, n int) {
	t.Helper()
	for i := range n {
		w := store.Write{ID: fmt.Sprint("i/", i), Data: []byte(strings.Repeat("x", i%2000))}
		if i%3 > 0 {
			w.Wake = time.UnixMilli(1_800_000_000_000 + int64(i)).UTC()
		}
		if err := commit(t.Context(), st, uint8(i%7), w); err != nil {
			t.Fatal(err)
		}
	}
}

// There and back again nothing is lost, and nothing is mixed with what is there.
func TestStoreMigrate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := testbench.StartRedis(t)
	file := filepath.Join(dir, "callchain.yml")
	text := fmt.Sprintf("external_url: http://localhost\ncatalog_files: [catalog.yml]\nrouting: {fallback_team: sre}\nnotifiers: {email: {smarthost: \"localhost:25\", from: c@example.org, require_tls: false, link_key_file: key}}\nstore: {type: embedded, path: here.db, redis: {addrs: [%q]}}\n", r.Addr)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "key"), bytes.Repeat([]byte("k"), 40), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "here.db")
	in := func(path string, f func(store.Store)) {
		t.Helper()
		st, err := bolt.Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		f(st)
	}
	callchain := func(want int, says string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		args = append([]string{"store", args[0], "--config.file=" + file}, args[1:]...)
		if code := run(t.Context(), args, nil, &out, &errs); code != want || !strings.Contains(out.String()+errs.String(), says) {
			t.Fatalf("callchain %q ends with %d, want %d and %q:\n%s%s", args, code, want, says, &out, &errs)
		}
	}
	var want map[store.Key]store.Record
	in(path, func(st store.Store) { fill(t, st, 500); want = records(t, st) })

	in(path, func(store.Store) {
		callchain(notDone, "must be stopped first", "migrate", "--from=embedded", "--to=redis")
	})
	callchain(good, "500 records copied from", "migrate", "--from=embedded", "--to=redis")
	callchain(notDone, "not empty", "migrate", "--from=embedded", "--to=redis")
	callchain(notDone, "onto itself", "migrate", "--from=redis", "--to=redis")
	other := filepath.Join(dir, "other.db")
	callchain(good, `"records": 500`, "migrate", "--from=redis", "--to="+other, "--output=json")
	in(other, func(st store.Store) {
		if diff := cmp.Diff(want, records(t, st)); diff != "" {
			t.Errorf("there and back (-want +got):\n%s", diff)
		}
	})
	backup := filepath.Join(dir, "backup.db")
	callchain(good, "500 records copied", "backup", backup)
	callchain(notDone, "not empty", "backup", backup)
	// The two words that mean something else to migrate are no files here.
	for _, kind := range []string{"embedded", "redis"} {
		callchain(notDone, "name the file (./"+kind, "backup", kind)
		if _, err := os.Stat(kind); err == nil {
			t.Errorf("backup %s wrote a file of that name", kind)
		}
	}

	// Timers go with their records.
	rs, err := redis.Open(t.Context(), redis.Options{Addrs: []string{r.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer rs.Close()
	due, err := rs.Claim(t.Context(), 1, time.Minute)
	if first := time.UnixMilli(1_800_000_000_001).UTC(); err != nil || !due.Next.Equal(first) && len(due.Records) == 0 {
		t.Errorf("Claim = %+v, %v; want that the first is due at %v", due, err, first)
	}
}

// A copy that was interrupted is not served, and starts over.
func TestCopyInterrupted(t *testing.T) {
	t.Parallel()
	from, to := mem.New(), mem.New()
	fill(t, from, 2000)
	lost := errors.New("the line went dead")
	n := 0
	to.Inject(func(op string) (bool, error) {
		if op == "commit" {
			if n++; n > 10 {
				return n%2 == 0, lost
			}
		}
		return false, nil
	})
	if _, err := copyStore(t.Context(), from, to); !errors.Is(err, lost) {
		t.Fatalf("copyStore = %v", err)
	}
	to.Inject(nil)
	if err := finished(t.Context(), to); err == nil {
		t.Error("half a copy may be served")
	}
	// What is gone from the source meanwhile must not stay in the copy.
	if err := commit(t.Context(), from, 0, store.Write{ID: "i/0", Expect: 1}); err != nil {
		t.Fatal(err)
	}
	if n, err := copyStore(t.Context(), from, to); err != nil || n != 1999 {
		t.Fatalf("copyStore = %d, %v", n, err)
	}
	if diff := cmp.Diff(records(t, from), records(t, to)); diff != "" {
		t.Errorf("copy (-want +got):\n%s", diff)
	}
	if err := finished(t.Context(), to); err != nil {
		t.Error(err)
	}
}

// A damaged record is left out and told of; the rest arrives.
func TestCopyDamaged(t *testing.T) {
	t.Parallel()
	from, to := mem.New(), mem.New()
	fill(t, from, 10)
	from.Damage(store.Key{Partition: 3, ID: "i/3"})
	if n, err := copyStore(t.Context(), from, to); n != 9 || !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("copyStore = %d, %v; want 9 and ErrCorrupt", n, err)
	}
	if err := finished(t.Context(), to); err != nil {
		t.Error(err)
	}
}

// A store that belongs to another installation is refused, and the way out named.
func TestOpenRedisOfOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := testbench.StartRedis(t)
	file := filepath.Join(dir, "callchain.yml")
	text := fmt.Sprintf("external_url: http://localhost\ncatalog_files: [catalog.yml]\nrouting: {fallback_team: sre}\nnotifiers: {email: {smarthost: \"localhost:25\", from: c@example.org, require_tls: false, link_key_file: key}}\nstore: {type: redis, path: data/here.db, redis: {addrs: [%q]}}\n", r.Addr)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l := load(file, config.Options{})
	st, err := openStore(t.Context(), l.cfg, inRedis, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data/here.db.installation"), []byte("another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = openStore(ctx, l.cfg, inRedis, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "here.db.installation says which; remove it if this store is meant") {
		t.Errorf("openStore = %v", err)
	}
}
