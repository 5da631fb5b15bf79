package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"callchain/internal/testbench"
	"callchain/notifiers/inbox"
)

// fleet is some callchains over one Redis, with stand-ins for Slack and for the
// smarthost that write down what really arrived, and from whom.
type fleet struct {
	replicas []*testbench.Callchain
	people   int // of each step
	client   *http.Client
	slack    *inbox.Slack

	mu       sync.Mutex
	dice     *rand.Rand           // how Slack takes a message
	pages    map[string][]arrival // by channel and delivery
	first    map[place]time.Time  // when a page came for the first time
	named    map[int]string       // the incident that it named
	last     time.Time            // when any page came
	posted   map[int]time.Time    // when a webhook was answered 200 first
	began    map[int]time.Time    // when it was sent first
	answered map[int]time.Time    // when an acknowledgement was answered 200
	asked    map[int]time.Time    // when it was sent first
	recorded map[int]bool         // of these only that it is recorded: Redis was away
	refused  []string             // answers that no retry would mend
	retries  int
	onPage   func(alert int, incident string) // the first page of step 1 in Slack
	work     sync.WaitGroup
}

// arrival is a page as the channel saw it.
type arrival struct {
	at      time.Time // of its first byte; of a mail: of its last
	replica int
	place
	marked bool // it says that it may come twice
	lost   bool // who sent it died before Slack had it
}

// place is where in which incident's story a page belongs.
type place struct {
	channel string
	alert   int
	step    int
}

const (
	ackWithin  = 4 * time.Second
	slackTakes = 500 * time.Millisecond
	// lease is how long the others leave a dead replica's page alone, and how
	// long they take to see that it is over.
	lease = 10*time.Second + time.Second
	// busy is what a machine with more to do than processors may add to any
	// bound: what is held here is that nothing is lost, not how fast it is. The
	// figures that each run prints are for docs/redis.md.
	busy = 20 * time.Second
)

var (
	chaosAlert = regexp.MustCompile(`Chaos(\d+)`)
	incidentID = regexp.MustCompile(`/incidents/([0-9a-z-]+)`)
)

func startFleet(t *testing.T, redis *testbench.Redis, replicas, people int) *fleet {
	t.Helper()
	return startFleetOver(t, func(int) string { return fmt.Sprintf("addrs: [%q]", redis.Addr) }, replicas, people)
}

// startFleetOver starts replicas each of which has its own way to the store.
func startFleetOver(t *testing.T, redis func(replica int) string, replicas, people int) *fleet {
	t.Helper()
	f := &fleet{
		people: people,
		dice:   rand.New(rand.NewPCG(1, 2)),
		// Like Alertmanager's client, but for the patience.
		client:   &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 32}},
		pages:    map[string][]arrival{},
		first:    map[place]time.Time{},
		named:    map[int]string{},
		posted:   map[int]time.Time{},
		began:    map[int]time.Time{},
		answered: map[int]time.Time{},
		asked:    map[int]time.Time{},
		recorded: map[int]bool{},
	}
	var catalog strings.Builder
	var users []inbox.User
	var channels []string
	section := func(name string, line func(i int) string) {
		fmt.Fprintln(&catalog, name+":")
		for i := range people {
			fmt.Fprintln(&catalog, line(i))
		}
	}
	section("people", func(i int) string {
		for step := 1; step <= 2; step++ {
			users = append(users, inbox.User{ID: member(step, i), Name: person(step, i), Email: person(step, i) + "@example.org"})
		}
		return fmt.Sprintf("  - {name: %[1]s, slack: %[2]s, email: %[1]s@example.org}\n  - {name: %[3]s, slack: %[4]s, email: %[3]s@example.org}",
			person(1, i), member(1, i), person(2, i), member(2, i))
	})
	section("teams", func(i int) string {
		channels = append(channels, fmt.Sprintf("team-%d", i))
		return fmt.Sprintf("  - {name: first-%d, members: [%s], slack_channel: \"#team-%[1]d\"}\n  - {name: second-%[1]d, members: [%[3]s]}", i, person(1, i), person(2, i))
	})
	section("services", func(i int) string {
		return fmt.Sprintf("  - {name: service-%d, state: active, owners: {incident_response: first-%[1]d, development: second-%[1]d}}", i)
	})

	f.slack = inbox.New(inbox.Config{Token: "xoxb-of-the-fleet", SigningSecret: "signing-secret-of-the-fleet", Users: users, Channels: channels, Keep: 100_000})
	mux := http.NewServeMux()
	api := httptest.NewServer(mux)
	t.Cleanup(api.Close)
	for i := range replicas {
		dir, addr := t.TempDir(), testbench.FreeAddr(t)
		mux.Handle(fmt.Sprintf("/%d/", i), http.StripPrefix(fmt.Sprintf("/%d", i), f.listen(i)))
		box, err := inbox.StartSMTP("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := box.Close(); err != nil {
				t.Error(err)
			}
		})
		f.collect(t, i, box)
		put(t, dir, "am-token", "a-token-of-alertmanager\n")
		put(t, dir, "api-token", "a-token-of-the-command-line\n")
		put(t, dir, "bot-token", "xoxb-of-the-fleet\n")
		put(t, dir, "signing-secret", "signing-secret-of-the-fleet\n")
		put(t, dir, "catalog.yml", catalog.String())
		put(t, dir, "callchain.yml", fmt.Sprintf(`
external_url: http://callchain.example.org
catalog_files: [catalog.yml]
store: {type: redis, redis: {%s}}
alertmanager: {sources: [{name: main, token_file: am-token}]}
routing: {fallback_team: first-0}
escalation:
  policies:
    - name: default
      repeat: 1
      steps: [{notify: incident_response, ack_within: %v}, {notify: development, ack_within: 1h}]
notifiers:
  slack: {api_url: "%s/%d/api/", bot_token_file: bot-token, signing_secret_file: signing-secret}
  email: {smarthost: %q, from: callchain@example.org, require_tls: false}
api: {tokens: [{name: cli, token_file: api-token, scopes: [admin]}]}
`, redis(i), ackWithin, api.URL, i, box.Addr()))
		f.replicas = append(f.replicas, testbench.Daemon{
			Args: []string{"--config.file=callchain.yml", "--log.level=error"}, Dir: dir, Addr: addr,
		}.Start(t))
	}
	// Before the daemons go: who still posts would do so for ever.
	t.Cleanup(f.end)
	return f
}

// end waits for what is under way, once the test's context is over.
func (f *fleet) end() {
	f.begin(nil)
	f.work.Wait()
}

// begin says what the first page of a story leads to.
func (f *fleet) begin(onPage func(alert int, incident string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onPage = onPage
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func person(step, i int) string { return fmt.Sprintf("p%d-%d", step, i) }
func member(step, i int) string { return fmt.Sprintf("U%d%06d", step, i) }

// listen is Slack's Web API as one replica calls it. Like Slack it takes its
// time for a message: until it has it, so that it is lost when the replica dies
// meanwhile, or until it says so, so that only the replica does not know.
func (f *fleet) listen(replica int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := time.Now()
		if r.URL.Path != "/api/chat.postMessage" {
			f.slack.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the caller is dead, and Slack has half a message
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		f.mu.Lock()
		before, after := time.Duration(f.dice.Int64N(int64(slackTakes))), time.Duration(f.dice.Int64N(int64(slackTakes)))
		if f.dice.IntN(2) == 0 {
			before = 0
		} else {
			after = 0
		}
		f.mu.Unlock()
		lost := !wait(r.Context(), before)
		form, err := url.ParseQuery(string(body))
		// A page is a direct message that begins a thread.
		to := form.Get("channel")
		if err == nil && form.Get("thread_ts") == "" && strings.HasPrefix(to, "U") {
			var meta struct {
				Payload struct {
					D string `json:"d"`
				} `json:"event_payload"`
			}
			if json.Unmarshal([]byte(form.Get("metadata")), &meta) == nil {
				step, _ := strconv.Atoi(to[1:2])
				f.arrived("slack", meta.Payload.D, arrival{at: at, replica: replica, place: place{step: step}, lost: lost}, form.Get("text")+form.Get("blocks"))
			}
		}
		if lost {
			return
		}
		answer := httptest.NewRecorder()
		f.slack.ServeHTTP(answer, r)
		if wait(r.Context(), after) {
			w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
			w.WriteHeader(answer.Code)
			w.Write(answer.Body.Bytes())
		}
	})
}

// wait tells whether ctx lasted that long.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// collect writes down the mails of one replica until the test ends: the mailbox
// forgets them.
func (f *fleet) collect(t *testing.T, replica int, box *inbox.Mailbox) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { stop(); <-done })
	go func() {
		defer close(done)
		seen := 0
		for tick := time.NewTicker(200 * time.Millisecond); ; {
			for _, m := range box.Mails() {
				if m.ID <= seen {
					continue
				}
				seen = m.ID
				if m.Header.Get("X-Callchain-Kind") == "page" && len(m.To) == 1 {
					step, _ := strconv.Atoi(m.To[0][1:2])
					f.arrived("email", m.MessageID, arrival{at: m.At, replica: replica, place: place{step: step}}, m.Subject+" "+m.Text)
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				tick.Stop()
				return
			}
		}
	}()
}

// arrived writes down a page; what it is about is in its text.
func (f *fleet) arrived(channel, delivery string, a arrival, text string) {
	found := chaosAlert.FindStringSubmatch(text)
	if found == nil {
		return
	}
	a.channel, a.marked = channel, strings.Contains(text, "may reach you twice")
	a.alert, _ = strconv.Atoi(found[1])
	f.mu.Lock()
	defer f.mu.Unlock()
	id := channel + " " + delivery
	f.pages[id] = append(f.pages[id], a)
	f.last = time.Now()
	if _, again := f.first[a.place]; again || a.lost {
		return
	}
	f.first[a.place] = a.at
	if link := incidentID.FindStringSubmatch(text); channel == "slack" && a.step == 1 && link != nil {
		f.named[a.alert] = link[1]
		if f.onPage != nil {
			f.onPage(a.alert, link[1])
		}
	}
}

// send posts until it is answered 200, to one replica after the other, as a load
// balancer does that knows nothing of them. A 4xx ends it.
func (f *fleet) send(ctx context.Context, to int, path, token string, body []byte) (time.Time, string, bool) {
	pause := 50 * time.Millisecond
	for {
		code, said, err := f.try(ctx, f.replicas[to%len(f.replicas)].URL+path, token, body)
		at := time.Now()
		switch {
		case err == nil && code == http.StatusOK:
			return at, said, true
		case ctx.Err() != nil:
			return at, "", false
		case err == nil && code == http.StatusNotFound && strings.HasSuffix(path, "/ack"):
			// Paged by another replica, which has not told Redis yet: one presses again.
		case err == nil && code < 500:
			f.mu.Lock()
			f.refused = append(f.refused, fmt.Sprintf("%s: %d %s", path, code, said))
			f.mu.Unlock()
			return at, "", false
		}
		f.mu.Lock()
		f.retries++
		f.mu.Unlock()
		to++
		wait(ctx, pause)
		pause = min(2*pause, time.Second)
	}
}

func (f *fleet) try(ctx context.Context, target, token string, body []byte) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := f.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(said), err
}

// fire posts the webhook of an alert.
func (f *fleet) fire(ctx context.Context, n, to int) {
	name := fmt.Sprintf("Chaos%d", n)
	labels := map[string]string{"alertname": name, "service": fmt.Sprintf("service-%d", n%f.people), "severity": "page"}
	body, err := json.Marshal(map[string]any{
		"version": "4", "groupKey": fmt.Sprintf(`{}:{alertname=%q}`, name), "truncatedAlerts": 0, "status": "firing", "receiver": "callchain",
		"groupLabels": map[string]string{"alertname": name}, "commonLabels": labels, "commonAnnotations": map[string]string{},
		"externalURL": "http://alertmanager.example.org",
		"alerts": []any{map[string]any{
			"status": "firing", "labels": labels, "annotations": map[string]string{"summary": "something broke"},
			"startsAt": time.Now(), "endsAt": time.Time{}, "generatorURL": "", "fingerprint": fmt.Sprintf("%016x", n),
		}},
	})
	if err != nil {
		panic(err) // it is all plain
	}
	f.mu.Lock()
	f.began[n] = time.Now()
	f.mu.Unlock()
	if at, _, ok := f.send(ctx, to, "/api/v1/webhook/alertmanager/main", "a-token-of-alertmanager", body); ok {
		f.mu.Lock()
		f.posted[n] = at
		f.mu.Unlock()
	}
}

// acknowledge says that the person of step 1 has it, until that is confirmed.
func (f *fleet) acknowledge(ctx context.Context, n int, incident string, to int) {
	f.mu.Lock()
	f.asked[n] = time.Now()
	f.mu.Unlock()
	body := fmt.Appendf(nil, `{"by": %q}`, person(1, n%f.people))
	if at, said, ok := f.send(ctx, to, "/api/v1/incidents/"+incident+"/ack", "a-token-of-the-command-line", body); ok {
		f.mu.Lock()
		f.answered[n], f.recorded[n] = at, strings.Contains(said, `"recorded":true`)
		f.mu.Unlock()
	}
}

// fireAll posts n alerts at an even pace, until ctx ends.
func (f *fleet) fireAll(ctx context.Context, n int, every time.Duration) {
	f.work.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for i := range n {
			f.work.Go(func() { f.fire(ctx, i, i) })
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

// missing says what has not happened yet; "" when all has.
func (f *fleet) missing(n int, acks map[int]bool, channels ...string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range n {
		if _, ok := f.posted[i]; !ok {
			return fmt.Sprintf("the webhook of alert %d is not answered", i)
		}
		if _, ok := f.answered[i]; acks[i] && !ok {
			return fmt.Sprintf("the acknowledgement of alert %d is not answered", i)
		}
		for _, channel := range channels {
			for step := 1; step <= 2; step++ {
				// Whether an acknowledged one was paged depends on who was faster.
				if _, ok := f.first[place{channel, i, step}]; !ok && !(acks[i] && (step == 2 || channel != "slack")) {
					return fmt.Sprintf("no page of step %d of alert %d over %s", step, i, channel)
				}
			}
		}
	}
	return ""
}

// settle waits until all pages are there, and for as long again as it would take
// a forgotten one to be sent twice.
func (f *fleet) settle(t *testing.T, limit time.Duration, n int, acks map[int]bool) {
	t.Helper()
	begin, lacks := time.Now(), ""
	quiet := func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return time.Since(f.last) > lease && time.Since(begin) > lease
	}
	testbench.Eventually(t, limit, "everything, or nothing more", func() bool {
		lacks = f.missing(n, acks, "slack", "email")
		return quiet() && (lacks == "" || time.Since(begin) > limit-time.Second)
	})
	if lacks != "" {
		t.Fatalf("after %v: %s", limit, lacks)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.refused {
		t.Error("refused:", r)
	}
}

// tell prints how late the pages of a channel came.
func (f *fleet) tell(t *testing.T, channel string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	after := map[int][]time.Duration{}
	for where, at := range f.first {
		if where.channel == channel {
			due := f.posted[where.alert].Add(time.Duration(where.step-1) * ackWithin)
			after[where.step] = append(after[where.step], max(0, at.Sub(due)).Round(time.Millisecond))
		}
	}
	for step := 1; step <= 2; step++ {
		late := after[step]
		slices.Sort(late)
		if n := len(late); n > 0 {
			t.Logf("%s, step %d: %d pages, late by %v (half of them), %v (99 of 100), %v (all)",
				channel, step, n, late[n/2], late[(n*99-1)/100], late[n-1])
		}
	}
}

// death is when a replica was killed.
type death struct {
	replica int
	at      time.Time
}

// repeats counts deliveries that came more than once and attempts that were
// lost, and complains of each that nothing excuses.
func (f *fleet) repeats(t *testing.T, excused func(before, again arrival) bool) (twice, lost int) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, list := range f.pages {
		slices.SortFunc(list, func(a, b arrival) int { return a.at.Compare(b.at) })
		unmarked := 0
		for _, a := range list {
			if !a.marked && !a.lost {
				unmarked++ // who was held up may come last
			}
		}
		if unmarked > 1 {
			t.Errorf("%s (alert %d, step %d) came %d times without a word that it may", id, list[0].alert, list[0].step, unmarked)
		}
		for i, before := range list {
			if before.lost {
				lost++
			}
			if i+1 == len(list) {
				break
			}
			again := list[i+1]
			if !before.lost {
				twice++
			}
			if !excused(before, again) {
				t.Errorf("%s (alert %d, step %d) came from replica %d and %v later from replica %d, for no reason",
					id, again.alert, again.step, before.replica, again.at.Sub(before.at), again.replica)
			}
		}
	}
	return twice, lost
}

// late complains of pages over a channel that were not tried in time: within
// limit of the time they were due or, when that was lost, of the try before.
func (f *fleet) late(t *testing.T, channel string, limit time.Duration) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, list := range f.pages {
		due := f.posted[list[0].alert].Add(time.Duration(list[0].step-1) * ackWithin)
		for _, a := range list {
			if a.channel == channel && a.at.Sub(due) > limit {
				t.Errorf("%s (alert %d, step %d) came from replica %d %v late", id, a.alert, a.step, a.replica, a.at.Sub(due))
			}
			if due = a.at; !a.lost {
				break
			}
		}
	}
}

// afterAnswers complains of pages that came although somebody had answered, and had
// been told more than that it is recorded. An attempt that had begun by then may
// still arrive, and a first page from the island of a replica that is cut off: it
// says that it may come twice.
func (f *fleet) afterAnswers(t *testing.T) (islands int) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, list := range f.pages {
		for _, a := range list {
			at, ok := f.answered[a.alert]
			switch {
			case !ok || f.recorded[a.alert] || a.at.Sub(at) <= 8*time.Second:
			case a.marked && a.step == 1:
				islands++
			default:
				t.Errorf("%s (alert %d, step %d, replica %d, marked %v) came %v after the acknowledgement was confirmed", id, a.alert, a.step, a.replica, a.marked, a.at.Sub(at))
			}
		}
	}
	return islands
}

// chaosSize is how many incidents there are; CALLCHAIN_CHAOS asks for more.
func chaosSize(t *testing.T, usual int) int {
	t.Helper()
	text := os.Getenv("CALLCHAIN_CHAOS")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < usual {
		t.Fatalf("CALLCHAIN_CHAOS=%s: want a number of incidents, at least %d", text, usual)
	}
	return n
}

// Three replicas share a Redis, and one or the other is killed all the time.
// Every step is sent, what comes twice has a reason, and nobody is paged who
// need not be.
func TestReplicasKilled(t *testing.T) {
	t.Parallel()
	t.Run("killed", func(t *testing.T) { t.Parallel(); replicasKilled(t, chaosSize(t, 300), true) })
	t.Run("left alone", func(t *testing.T) { t.Parallel(); replicasKilled(t, 100, false) })
}

func replicasKilled(t *testing.T, n int, kill bool) {
	const seed, perSecond = 20, 25
	dice := rand.New(rand.NewPCG(seed, uint64(n)))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	f := startFleet(t, testbench.StartRedis(t, "--appendonly", "yes", "--appendfsync", "everysec"), 3, max(100, n/3))

	// A third of the incidents is acknowledged, before, while and after the
	// second step is due.
	acks, delays, doors := map[int]bool{}, map[int]time.Duration{}, map[int]int{}
	for i := range n {
		acks[i] = dice.IntN(3) == 0
		delays[i], doors[i] = time.Duration(dice.Int64N(int64(2*ackWithin))), dice.IntN(3)
	}
	f.begin(func(i int, incident string) {
		if !acks[i] {
			return
		}
		f.work.Go(func() {
			if wait(ctx, delays[i]) {
				f.acknowledge(ctx, i, incident, doors[i])
			}
		})
	})

	begin := time.Now()
	f.fireAll(ctx, n, time.Second/perSecond)
	var deaths []death
	for kill && time.Since(begin) < time.Duration(n)*time.Second/perSecond+2*ackWithin {
		wait(ctx, time.Second+time.Duration(dice.Int64N(int64(1500*time.Millisecond))))
		i := dice.IntN(3)
		f.replicas[i].Kill9(t)
		deaths = append(deaths, death{i, time.Now()})
		f.replicas[i].Restart(t)
	}
	f.settle(t, time.Minute, n, acks)
	stop()
	f.end()

	repeats, lost := f.repeats(t, func(before, again arrival) bool {
		// Whoever sent it died before that was recorded.
		return slices.ContainsFunc(deaths, func(d death) bool {
			since := d.at.Sub(before.at)
			return d.replica == before.replica && -time.Second < since && since < 10*time.Second && again.at.After(d.at)
		})
	})
	f.afterAnswers(t)
	for i := range n {
		// It was due long before anybody answered.
		if at, ok := f.asked[i]; ok && at.Sub(f.posted[i]) > ackWithin+lease+busy && f.first[place{"slack", i, 2}].IsZero() {
			t.Errorf("alert %d was acknowledged %v after its webhook, and step 2 was not paged", i, at.Sub(f.posted[i]))
		}
	}
	if kill && len(deaths) < 5 {
		t.Errorf("only %d replicas were killed", len(deaths))
	}
	t.Logf("seed %d: %d incidents, %d acknowledged, %d replicas killed; %d calls tried again; %d pages, %d of them twice, %d attempts lost with their sender",
		seed, n, len(f.answered), len(deaths), f.retries, len(f.pages), repeats, lost)
	limit := lease + busy
	if !kill {
		limit = busy
	}
	for _, channel := range []string{"slack", "email"} {
		f.late(t, channel, limit)
		f.tell(t, channel)
	}
}

// Redis is killed again and again while webhooks arrive. What was answered 200
// is paged, the daemons come back by themselves.
func TestRedisKilled(t *testing.T) {
	t.Parallel()
	const seed, n, perSecond, kills = 21, 150, 10, 3
	dice := rand.New(rand.NewPCG(seed, n))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	redis := testbench.StartRedis(t, "--appendonly", "yes", "--appendfsync", "everysec")
	f := startFleet(t, redis, 2, 100)

	begin := time.Now()
	f.fireAll(ctx, n, time.Second/perSecond)
	var dead, back []time.Time
	for i := range kills {
		next := begin.Add(time.Duration(i)*4*time.Second + 2*time.Second + time.Duration(dice.Int64N(int64(time.Second))))
		wait(ctx, time.Until(next))
		synced(t, redis)
		redis.Kill9(t)
		dead = append(dead, time.Now())
		if i < kills-1 {
			wait(ctx, time.Duration(dice.Int64N(int64(1500*time.Millisecond))))
		} else {
			wait(ctx, 6*time.Second) // longer than a webhook waits for it
		}
		redis.Restart(t)
		back = append(back, time.Now())
	}
	for i, r := range f.replicas {
		testbench.Eventually(t, 5*time.Second, "a daemon to be ready by itself", func() bool { return f.ready(ctx, i) == nil })
		if !r.Running() {
			t.Errorf("replica %d ended", i)
		}
	}
	f.settle(t, time.Minute, n, nil)
	stop()
	f.end()

	repeats, lost := f.repeats(t, func(before, again arrival) bool {
		// It could not be recorded: Redis was away at some time until then.
		for i := range dead {
			if before.at.After(dead[i].Add(-time.Second)) && before.at.Before(back[i].Add(2*time.Second)) && again.at.After(dead[i]) {
				return true
			}
		}
		return false
	})
	known := f.list(t)
	for i := range n {
		if known[i] != 1 {
			t.Errorf("alert %d was answered 200 and is %d incidents", i, known[i])
		}
	}
	t.Logf("seed %d: %d webhooks, Redis killed %d times and away for %v; %d calls tried again; %d pages, %d of them twice, %d attempts lost",
		seed, n, kills, away(dead, back), f.retries, len(f.pages), repeats, lost)
	f.late(t, "slack", lease+busy) // the longest outage was six seconds
	f.tell(t, "slack")
}

func away(dead, back []time.Time) (out []time.Duration) {
	for i := range dead {
		out = append(out, back[i].Sub(dead[i]).Round(10*time.Millisecond))
	}
	return out
}

// synced waits until Redis is not just waiting for its disk. While it is, it
// keeps what it answers in memory for up to two seconds (everysec): a kill then
// does lose it, which docs/redis.md says and no test of ours can change.
func synced(t *testing.T, r *testbench.Redis) {
	t.Helper()
	testbench.Eventually(t, 10*time.Second, "Redis' file to be synced", func() bool {
		return r.Info(t, "persistence", "aof_pending_bio_fsync") == "0"
	})
}

func (f *fleet) get(ctx context.Context, replica int, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.replicas[replica].URL+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer a-token-of-the-command-line")
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return body, err
}

func (f *fleet) ready(ctx context.Context, replica int) error {
	_, err := f.get(ctx, replica, "/-/ready")
	return err
}

// list counts the incidents of each alert.
func (f *fleet) list(t *testing.T) map[int]int {
	t.Helper()
	body, err := f.get(t.Context(), 0, "/api/v1/incidents?limit=1000")
	var found struct {
		Incidents []struct {
			Alerts []struct{ Labels map[string]string }
		}
	}
	if err == nil {
		err = json.Unmarshal(body, &found)
	}
	if err != nil {
		t.Fatalf("list incidents: %v", err)
	}
	counts := map[int]int{}
	for _, inc := range found.Incidents {
		if name := chaosAlert.FindStringSubmatch(inc.Alerts[0].Labels["alertname"]); name != nil {
			n, _ := strconv.Atoi(name[1])
			counts[n]++
		}
	}
	return counts
}
