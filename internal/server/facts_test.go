package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"callchain/routing/report"
)

// slowStore takes a second for each reading and tells how many there were, and
// how many at once.
type slowStore struct {
	reads, now, most atomic.Int32
	fail             atomic.Pointer[error]
}

func (s *slowStore) read(ctx context.Context, from, _ string) ([]report.Facts, error) {
	n := s.reads.Add(1)
	if now := s.now.Add(1); now > s.most.Load() {
		s.most.Store(now)
	}
	defer s.now.Add(-1)
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := s.fail.Load(); err != nil {
		return nil, *err
	}
	return []report.Facts{{Day: from, Alerts: int(n)}}, nil
}

// kept is how many readings are in memory.
func (m *memory) kept() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.readings)
}

// However many ask, the store is read once in a while, and nobody is told what
// is older than that.
func TestManyReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slowStore{}
		m := newMemory(store.read)
		ask := func(from, to string) int {
			facts, err := m.facts(t.Context(), from, to, false)
			if err != nil || len(facts) != 1 {
				t.Error(facts, err)
				return -1
			}
			return facts[0].Alerts
		}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if got := ask("2026-11-09", "2026-11-22"); got != 1 {
					t.Errorf("got reading %d; want the one that is shared", got)
				}
			})
		}
		wg.Wait()
		if got := ask("2026-11-16", "2026-11-20"); got != 1 {
			t.Error("days that were just read are read again")
		}
		time.Sleep(keepFacts - time.Second - time.Millisecond) // since it began
		if got := ask("2026-11-09", "2026-11-22"); got != 1 {
			t.Error("it was forgotten too early")
		}
		time.Sleep(time.Millisecond)
		if got := ask("2026-11-09", "2026-11-22"); got != 2 {
			t.Error("what is old is told")
		}
		if got := ask("2026-11-08", "2026-11-22"); got != 3 {
			t.Error("days that were not read are taken for read")
		}
		time.Sleep(2 * keepFacts)
		synctest.Wait()
		if n := m.kept(); n != 0 {
			t.Errorf("%d readings are still in memory", n)
		}
	})
}

// Who has a token sees what was just written; who has none, a little later.
func TestOwnWritesAreSeen(t *testing.T) {
	b := newBench(t)
	b.remember(t)
	var reads atomic.Int32
	b.engine.read = func() { reads.Add(1) }
	reader := []string{"Authorization", "Bearer " + readToken}
	ask := func(path string, want int32) {
		t.Helper()
		if w := b.do("GET", path, "", reader...); w.Code != 200 {
			t.Fatal(path, w.Code, w.Body)
		}
		if n := reads.Load(); n != want {
			t.Errorf("after %s the store was read %d times; want %d", path, n, want)
		}
	}
	ask("/api/v1/risks?since=30d", 1)
	if w := b.do("POST", "/api/v1/webhook/alertmanager/lab", `{"version":"4","groupKey":"k","alerts":[]}`); w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	ask("/risks", 1)
	ask("/api/v1/risks?since=30d", 2)
	ask("/api/v1/risks", 2)

	// And then the others see it as well.
	b.engine.facts = nil
	if w := b.do("POST", "/api/v1/webhook/alertmanager/lab", `{"version":"4","groupKey":"k","alerts":[]}`); w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	ask("/api/v1/risks?since=30d", 3)
	ask("/risks?since=30d", 3)
	if w := b.do("GET", "/risks?since=30d", ""); strings.Contains(w.Body.String(), "unknown service") {
		t.Error("the page shows an older reading than there is")
	}
}

// A crawler that asks for every week there is keeps the store no busier than one reader.
func TestCrawler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slowStore{}
		m := newMemory(store.read)
		var busy, served atomic.Int32
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				day := time.Date(2026, 1, 1+i, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
				_, err := m.facts(t.Context(), day, day, false)
				var f *failure
				switch {
				case err == nil:
					served.Add(1)
				case errors.As(err, &f) && f.status == 503:
					busy.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if store.most.Load() != 1 || served.Load() != maxReadings || busy.Load() != 100-maxReadings {
			t.Errorf("%d readings at once, %d served, %d told to come again; want 1, %d, %d",
				store.most.Load(), served.Load(), busy.Load(), maxReadings, 100-maxReadings)
		}
		for i := range 3 * maxReadings { // one after the other each is served
			day := fmt.Sprintf("2025-02-%02d", i+1)
			if facts, err := m.facts(t.Context(), day, day, false); err != nil || facts[0].Day != day {
				t.Error(facts, err)
			}
		}
		if n := m.kept(); n > maxReadings {
			t.Errorf("%d readings are kept", n)
		}
	})
}

// Who goes away takes nothing from those who wait; an error or a panic is told
// to them and forgotten.
func TestReadingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slowStore{}
		m := newMemory(store.read)
		gone, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := m.facts(gone, "2026-11-09", "2026-11-22", false); !errors.Is(err, context.Canceled) {
				t.Error("who went away got", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if facts, err := m.facts(t.Context(), "2026-11-09", "2026-11-22", false); err != nil || len(facts) != 1 {
				t.Error("who waited got", facts, err)
			}
		})
		synctest.Wait()
		leave()
		wg.Wait()

		store.fail.Store(&errStore)
		if _, err := m.facts(t.Context(), "2026-10-01", "2026-10-02", false); !errors.Is(err, errStore) {
			t.Error("got", err)
		}
		store.fail.Store(nil)
		if _, err := m.facts(t.Context(), "2026-10-01", "2026-10-02", false); err != nil {
			t.Error("an error is remembered:", err)
		}

		m = newMemory(func(context.Context, string, string) ([]report.Facts, error) { panic("a mistake") })
		for range 2 {
			if _, err := m.facts(t.Context(), "2026-10-01", "2026-10-02", false); err == nil || !strings.Contains(err.Error(), "a mistake") {
				t.Error("got", err)
			}
		}
	})
}

// The pages and the API share what was read, and do not ask for what is gone.
func TestReportsAreShared(t *testing.T) {
	b := newBench(t)
	b.remember(t)
	var reads atomic.Int32
	b.engine.read = func() { reads.Add(1) }
	reader := []string{"Authorization", "Bearer " + readToken}
	for range 20 {
		for _, path := range []string{"/api/v1/reports/weekly", "/reports/weekly?period=last", "/api/v1/reports/weekly?period=2026-W46"} {
			if w := b.do("GET", path, "", reader...); w.Code != 200 {
				t.Fatal(w.Code, w.Body)
			}
		}
		for _, path := range []string{"/risks", "/api/v1/risks?limit=5", "/risks?kind=unowned", "/api/v1/risks?service=parsoid&since=7d"} {
			if w := b.do("GET", path, "", reader...); w.Code != 200 {
				t.Fatal(w.Code, w.Body)
			}
		}
	}
	if n := reads.Load(); n != 2 {
		t.Errorf("the store was read %d times; want once for the report and once for the risks", n)
	}

	for path, want := range map[string]string{
		"/reports/weekly?period=2024-W01":        "is kept for 53w",
		"/api/v1/reports/weekly?period=2024-W01": "is kept for 53w",
	} {
		if w := b.do("GET", path, "", reader...); w.Code != 400 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s; want 400 with %q", path, w.Code, w.Body, want)
		}
	}
	if w := b.do("GET", "/reports/weekly?period=2025-W46", ""); w.Code != 200 || strings.Contains(w.Body.String(), "The week before</a>") {
		t.Errorf("the oldest week that is kept links to the one before: %d", w.Code)
	}
	if w := b.do("GET", "/api/v1/risks?since=30y", "", reader...); w.Code != 200 {
		t.Errorf("risks of all time: %d %s", w.Code, w.Body)
	}
	if n := reads.Load(); n != 4 {
		t.Errorf("the store was read %d times; want twice more", n)
	}
}
