package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"callchain/internal/testbench"
)

// soon is within what somebody is paged while Redis is away: 2 s by promise, and
// what a machine adds that has more to do than processors.
const soon = 2*time.Second + 3*time.Second

// Redis is killed, and one of two replicas while it is away. What is answered 200
// meanwhile is paged at once, and is an incident afterwards; an acknowledgement
// holds.
func TestIslandKilled(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	redis := testbench.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	f := startFleet(t, redis, 2, 50)
	for i := range 4 {
		f.fire(ctx, i, i)
	}
	f.awaitPages(t, 0, 4)
	known := f.ids(t)[0][0]

	redis.Kill9(t)
	away := time.Now()
	const first, both, last = 10, 30, 31
	for i := first; i < last; i++ {
		f.fire(ctx, i, i)
		wait(ctx, 50*time.Millisecond)
	}
	f.fire(ctx, both, both+1) // the other one has it as well
	f.fire(ctx, 0, 0)         // and one that was there before, again
	f.awaitPages(t, first, last)
	for i := first; i < both; i++ {
		if late := f.firstPage(i).Sub(f.began[i]); late > soon {
			t.Errorf("alert %d was paged after %v", i, late)
		}
	}
	born := f.born(first)
	for _, ack := range []struct {
		alert int
		id    string
	}{{first, born}, {0, known}} {
		f.acknowledge(ctx, ack.alert, ack.id, first) // where it was taken in
	}
	if err := f.ready(ctx, 0); err != nil {
		t.Errorf("a daemon with a journal is not ready: %v", err)
	}
	if island, backlog := f.metric(t, 0, "callchain_island"), f.metric(t, 0, "callchain_journal_backlog"); island != 1 || backlog < 10 {
		t.Errorf("callchain_island %v, callchain_journal_backlog %v", island, backlog)
	}
	if code, said, err := f.try(ctx, f.replicas[0].URL+"/api/v1/incidents/"+known+"/ack", "a-token-of-the-command-line", []byte(`{"by": "p1-0"}`)); err != nil || code != 200 || !regexp.MustCompile(`recorded`).MatchString(said) {
		t.Errorf("a second press = %d %s, %v; want it recorded", code, said, err)
	}
	wait(ctx, 5*time.Second)
	died := time.Now()
	f.replicas[1].Kill9(t)
	redis.Restart(t)
	f.replicas[1].Restart(t)

	testbench.Eventually(t, 40*time.Second, "the journals to be gone through", func() bool {
		for i := range f.replicas {
			if f.metric(t, i, "callchain_island") != 0 || f.metric(t, i, "callchain_journal_backlog") != 0 {
				return false
			}
		}
		return true
	})
	for i := range f.replicas {
		if up := f.metric(t, i, "callchain_store_up"); up != 1 {
			t.Errorf("callchain_store_up of replica %d is %v", i, up)
		}
	}
	found := f.ids(t)
	for i := range last {
		if i >= 4 && i < first {
			continue
		}
		if len(found[i]) != 1 {
			t.Errorf("alert %d is %d incidents", i, len(found[i]))
		}
	}
	if !slices.Contains(found[first], born) {
		t.Errorf("alert %d is incident %v, and people were told %s", first, found[first], born)
	}
	for alert, id := range map[int]string{first: born, 0: known} {
		if inc := f.incident(t, id); inc.State != "acknowledged" || inc.AcknowledgedBy != person(1, alert) {
			t.Errorf("alert %d is %s by %q; want the acknowledgement", alert, inc.State, inc.AcknowledgedBy)
		}
	}
	if n := f.metric(t, 0, `callchain_duplicate_pages_total{cause="island"}`) + f.metric(t, 1, `callchain_duplicate_pages_total{cause="island"}`); n < 1 {
		t.Error("the alert that both replicas paged about is not counted as a duplicate")
	}
	// The chain of all others goes on, now that there are timers.
	testbench.Eventually(t, time.Minute, "second steps", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		for i := first + 1; i < last; i++ {
			if f.first[place{"slack", i, 2}].IsZero() {
				return false
			}
		}
		return true
	})
	stop()
	f.end()
	if at, paged := f.first[place{"slack", first, 2}]; paged {
		t.Errorf("alert %d was escalated at %v in spite of its acknowledgement at %v", first, at, f.answered[first])
	}
	repeats, lost := f.repeats(t, func(before, _ arrival) bool {
		// Whoever sent it died before that was kept, or Redis did before it was
		// recorded: then who is first when it is back decides.
		return before.replica == 1 && died.Sub(before.at) < 3*time.Second || away.Sub(before.at).Abs() < 2*time.Second
	})
	t.Logf("%d pages, %d of them twice, %d lost; %d calls tried again", len(f.pages), repeats, lost, f.retries)
	for _, r := range f.refused {
		t.Error("refused:", r)
	}
}

// Redis hangs for three seconds, as it does when its machine swaps: everything is
// answered and paged meanwhile, and nothing comes twice for no reason.
func TestIslandFrozen(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	redis := testbench.StartRedis(t, "--appendonly", "yes", "--appendfsync", "everysec")
	f := startFleet(t, redis, 2, 50)
	const n = 40
	f.fireAll(ctx, n, 200*time.Millisecond)
	wait(ctx, 1500*time.Millisecond)
	redis.Freeze(t)
	wait(ctx, 3*time.Second)
	redis.Thaw(t)
	f.awaitPages(t, 0, n)
	testbench.Eventually(t, 40*time.Second, "the journals to be gone through", func() bool {
		return f.metric(t, 0, "callchain_journal_backlog")+f.metric(t, 1, "callchain_journal_backlog") == 0 &&
			f.metric(t, 0, "callchain_island")+f.metric(t, 1, "callchain_island") == 0
	})
	f.settle(t, time.Minute, n, nil)
	stop()
	f.end()
	found := f.ids(t)
	worst := time.Duration(0)
	for i := range n {
		if len(found[i]) != 1 {
			t.Errorf("alert %d is %d incidents", i, len(found[i]))
		}
		late := f.firstPage(i).Sub(f.began[i])
		if worst = max(worst, late); late > soon {
			t.Errorf("alert %d was paged after %v", i, late)
		}
	}
	if f.retries > 0 {
		t.Errorf("%d webhooks were not answered 200 at once", f.retries)
	}
	repeats, lost := f.repeats(t, func(before, again arrival) bool { return again.marked })
	t.Logf("%d pages, %d of them twice, %d lost; the latest first page after %v", len(f.pages), repeats, lost, worst)
}

// awaitPages waits for the first page over Slack of some alerts.
func (f *fleet) awaitPages(t *testing.T, from, to int) {
	t.Helper()
	testbench.Eventually(t, 20*time.Second, "first pages", func() bool {
		for i := from; i < to; i++ {
			if f.firstPage(i).IsZero() {
				return false
			}
		}
		return true
	})
}

func (f *fleet) firstPage(alert int) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.first[place{"slack", alert, 1}]
}

// born is the incident that the first page of an alert named.
func (f *fleet) born(alert int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.named[alert]
}

// ids are the incidents of each alert, as the API has them.
func (f *fleet) ids(t *testing.T) map[int][]string {
	t.Helper()
	body, err := f.get(t.Context(), 0, "/api/v1/incidents?limit=1000")
	var found struct {
		Incidents []struct {
			ID     string
			Alerts []struct{ Labels map[string]string }
		}
	}
	if err == nil {
		err = json.Unmarshal(body, &found)
	}
	if err != nil {
		t.Fatalf("list incidents: %v", err)
	}
	ids := map[int][]string{}
	for _, inc := range found.Incidents {
		if name := chaosAlert.FindStringSubmatch(inc.Alerts[0].Labels["alertname"]); name != nil {
			n, _ := strconv.Atoi(name[1])
			ids[n] = append(ids[n], inc.ID)
		}
	}
	return ids
}

type apiIncident struct {
	State          string `json:"state"`
	AcknowledgedBy string `json:"acknowledged_by"`
}

func (f *fleet) incident(t *testing.T, id string) (inc apiIncident) {
	t.Helper()
	body, err := f.get(t.Context(), 0, "/api/v1/incidents/"+id)
	if err == nil {
		err = json.Unmarshal(body, &inc)
	}
	if err != nil {
		t.Errorf("incident %s: %v", id, err)
	}
	return inc
}

// metric reads one series of a replica.
func (f *fleet) metric(t *testing.T, replica int, series string) float64 {
	t.Helper()
	body, err := f.get(t.Context(), replica, "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(fmt.Sprintf(`(?m)^%s (\S+)$`, regexp.QuoteMeta(series))).FindSubmatch(body)
	if found == nil {
		t.Fatalf("there is no series %s", series)
	}
	v, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
