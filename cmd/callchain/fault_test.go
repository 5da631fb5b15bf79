package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"callchain/internal/testbench"
	"callchain/notifiers/inbox"
)

// The phases of a story, and the places in the program at which it is ended in
// one of them. Not every phase comes by every place.
var (
	faultPhases = []string{"firing", "escalating", "acknowledging", "resolving"}
	faultPlaces = []string{
		"ingest.parsed", "ingest.after_commit", "respond.before", "commit.before", "commit.after",
		"send.before", "send.fenced", sendAfterWrite, "send.after_read", "result.before", "result.after",
		"claim.after", "tick.before_commit", "tick.after_commit", "ack.before", "ack.after",
	}
	islandPlaces = []string{"journal.before", "journal.after", "send.after_read", "replay.before", "commit.after", "replay.before_mark"}
)

// sendAfterWrite is between the request and its answer: Slack itself sees to that.
const sendAfterWrite = "send.after_write"

// TestFaultPoints ends the process at a place where it hurts, once, and starts it
// again as a supervisor does. What was answered is done, and what comes twice was
// on the wire at that moment. CALLCHAIN_CHAOS asks for every place in every phase.
func TestFaultPoints(t *testing.T) {
	t.Parallel()
	redis := testbench.StartRedis(t, "--appendonly", "yes")
	type fault struct{ store, phase, place string }
	some := []fault{
		{"embedded", "firing", "ingest.after_commit"},
		{"embedded", "firing", "send.after_read"},
		{"embedded", "escalating", "tick.after_commit"},
		{"embedded", "acknowledging", "ack.after"},
		{"redis", "firing", sendAfterWrite},
		{"redis", "escalating", "claim.after"},
	}
	all := os.Getenv("CALLCHAIN_CHAOS") != ""
	if all {
		some = nil
		for _, store := range []string{"embedded", "redis"} {
			for _, phase := range faultPhases {
				for _, place := range faultPlaces {
					some = append(some, fault{store, phase, place})
				}
			}
		}
	}
	var mu sync.Mutex
	reached := map[string]bool{}
	t.Run("story", func(t *testing.T) {
		for i, f := range some {
			t.Run(f.store+" "+f.phase+" "+f.place, func(t *testing.T) {
				t.Parallel()
				s := startStory(t, redis, f.store, fmt.Sprint("fault", i))
				s.tell(f.phase, f.place)
				mu.Lock()
				defer mu.Unlock()
				reached[f.place] = reached[f.place] || s.ended > 0
				if s.ended == 0 && !all {
					t.Error("nobody came by: the test shows nothing")
				}
			})
		}
	})
	for _, f := range some {
		if !reached[f.place] {
			t.Errorf("no phase comes by %s", f.place)
		}
	}
}

// TestFaultPointsOnTheIsland ends the process while Redis is away, or while it goes
// through what it kept.
func TestFaultPointsOnTheIsland(t *testing.T) {
	t.Parallel()
	places := islandPlaces
	if os.Getenv("CALLCHAIN_CHAOS") == "" {
		places = []string{"journal.after", "replay.before_mark"}
	}
	for _, place := range places {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			redis := testbench.StartRedis(t, "--appendonly", "yes")
			s := startStory(t, redis, "redis", "island")
			redis.Kill9(t)
			before := strings.HasPrefix(place, "journal") || strings.HasPrefix(place, "send")
			if before {
				s.arm(place)
			}
			// Alertmanager tries until it is answered; the process may have to wait for Redis.
			back := time.Now().Add(4 * time.Second)
			if !before {
				s.until("the webhook to be kept", func() bool { return s.webhook("firing") })
				s.until("the page of the island", func() bool { return s.pages("U1") > 0 })
				s.arm(place)
			}
			for time.Now().Before(back) && before && s.running() && !s.webhook("firing") {
				time.Sleep(50 * time.Millisecond)
			}
			time.Sleep(time.Until(back))
			redis.Restart(t)
			s.until("the webhook to be answered", func() bool { return s.webhook("firing") })
			s.until("the page", func() bool { return s.pages("U1") > 0 })
			s.until("the incident to be in Redis", func() bool { return s.load() && s.now.State == "triggered" && s.now.NextStepAt != nil })
			s.until("the second step", func() bool { return s.pages("U2") > 0 })
			// An alert that comes again between the start and the end of what was kept
			// may be paged by both: that page says that it may come twice.
			s.finish(2)
			if s.ended == 0 {
				t.Error("nobody came by: the test shows nothing")
			}
		})
	}
}

// story is one alert from its firing to its end, over a daemon that may end at any time.
type story struct {
	t      *testing.T
	daemon *testbench.Callchain
	file   string // holds the place at which it is to end
	ended  int
	place  string
	starts time.Time

	now shown

	mu    sync.Mutex
	posts map[string]int // pages by delivery, "U1 " and "U2 " before it
	hold  bool           // the next page gets no answer
	held  bool
}

// shown is what the API says of the incident.
type shown struct {
	ID             string
	State          string
	AcknowledgedBy string     `json:"acknowledged_by"`
	NextStepAt     *time.Time `json:"next_step_at"`
}

func startStory(t *testing.T, redis *testbench.Redis, store, prefix string) *story {
	t.Helper()
	dir := t.TempDir()
	s := &story{t: t, file: filepath.Join(dir, "fault"), starts: time.Now(), posts: map[string]int{}}
	slack := inbox.New(inbox.Config{Token: "xoxb-of-the-story", SigningSecret: "signing-secret-of-the-story", Channels: []string{"first"},
		Users: []inbox.User{{ID: "U1000001", Name: "ana", Email: "ana@example.org"}, {ID: "U2000001", Name: "ben", Email: "ben@example.org"}}})
	api := httptest.NewServer(s.listen(slack))
	t.Cleanup(api.Close)
	where := "type: embedded"
	if store == "redis" {
		where = fmt.Sprintf("type: redis, redis: {addrs: [%q], key_prefix: %s}", redis.Addr, prefix)
	}
	put(t, dir, "am-token", "a-token-of-alertmanager\n")
	put(t, dir, "api-token", "a-token-of-the-command-line\n")
	put(t, dir, "bot-token", "xoxb-of-the-story\n")
	put(t, dir, "signing-secret", "signing-secret-of-the-story\n")
	put(t, dir, "catalog.yml", `
people:
  - {name: ana, slack: U1000001}
  - {name: ben, slack: U2000001}
teams:
  - {name: first, members: [ana], slack_channel: "#first"}
  - {name: second, members: [ben]}
services:
  - {name: parsoid, state: active, owners: {incident_response: first, development: second}}
`)
	put(t, dir, "callchain.yml", fmt.Sprintf(`
external_url: http://callchain.example.org
catalog_files: [catalog.yml]
store: {%s}
alertmanager: {sources: [{name: main, token_file: am-token}]}
routing: {fallback_team: first}
escalation: {policies: [{name: default, repeat: 1, steps: [{notify: incident_response, ack_within: 2s}, {notify: development, ack_within: 1h}]}]}
notifiers: {slack: {api_url: "%s/api/", bot_token_file: bot-token, signing_secret_file: signing-secret}}
api: {tokens: [{name: cli, token_file: api-token, scopes: [admin]}]}
`, where, api.URL))
	s.daemon = testbench.Daemon{Faults: true, Args: []string{"--config.file=callchain.yml", "--log.level=error"}, Dir: dir, Env: []string{"CALLCHAIN_FAULT=" + s.file}}.Start(t)
	return s
}

// listen is Slack, which counts the pages.
func (s *story) listen(slack http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, err := url.ParseQuery(string(body))
		var meta struct {
			Payload struct{ D string } `json:"event_payload"`
		}
		if to := form.Get("channel"); err == nil && strings.HasSuffix(r.URL.Path, "chat.postMessage") && form.Get("thread_ts") == "" && strings.HasPrefix(to, "U") &&
			json.Unmarshal([]byte(form.Get("metadata")), &meta) == nil {
			s.mu.Lock()
			s.posts[to[:2]+" "+meta.Payload.D]++
			hold := s.hold
			s.hold, s.held = false, s.held || hold
			s.mu.Unlock()
			if hold {
				slack.ServeHTTP(httptest.NewRecorder(), r)
				<-r.Context().Done()
				return
			}
		}
		slack.ServeHTTP(w, r)
	})
}

// pages counts the deliveries that reached a person.
func (s *story) pages(who string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.posts {
		if strings.HasPrefix(key, who) {
			n++
		}
	}
	return n
}

// arm ends the process at a place, the next time that it comes by.
func (s *story) arm(place string) {
	s.place = place
	if place == sendAfterWrite {
		s.mu.Lock()
		s.hold = true
		s.mu.Unlock()
		return
	}
	put(s.t, filepath.Dir(s.file), filepath.Base(s.file), place)
}

// running tells whether the process has not come by the place.
func (s *story) running() bool {
	s.mu.Lock()
	held := s.held
	s.held = false
	s.mu.Unlock()
	if held {
		s.daemon.Kill9(s.t)
	}
	return s.daemon.Running()
}

// until waits for something, and starts the process again that ended.
func (s *story) until(what string, done func() bool) {
	s.t.Helper()
	testbench.Eventually(s.t, time.Minute, what, func() bool {
		if !s.running() {
			if code := s.daemon.Wait(s.t, time.Second); code != 137 && s.place != sendAfterWrite {
				s.t.Fatalf("it ended by itself, with %d:\n%s", code, s.daemon.Log())
			}
			s.ended++
			s.daemon.Restart(s.t)
		}
		return done()
	})
}

func (s *story) call(method, path, token, body string) (int, []byte) {
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.daemon.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil
	}
	return resp.StatusCode, text
}

// webhook sends the alert as it is; true is a 200.
func (s *story) webhook(status string) bool {
	ends := time.Time{}
	if status == "resolved" {
		ends = time.Now()
	}
	body, err := json.Marshal(map[string]any{
		"version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": status, "receiver": "callchain",
		"groupLabels": map[string]string{"alertname": "Slow"}, "commonLabels": map[string]string{}, "commonAnnotations": map[string]string{}, "externalURL": "http://alertmanager.example.org",
		"alerts": []any{map[string]any{"status": status, "labels": map[string]string{"alertname": "Slow", "service": "parsoid", "severity": "page"},
			"annotations": map[string]string{}, "startsAt": s.starts, "endsAt": ends, "generatorURL": "", "fingerprint": "00000000000000aa"}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	code, _ := s.call(http.MethodPost, "/api/v1/webhook/alertmanager/main", "a-token-of-alertmanager", string(body))
	return code == http.StatusOK
}

// load reads the one incident that there is.
func (s *story) load() bool {
	code, text := s.call(http.MethodGet, "/api/v1/incidents", "a-token-of-the-command-line", "")
	var list struct{ Incidents []shown }
	if code != http.StatusOK {
		return false
	}
	if err := json.Unmarshal(text, &list); err != nil {
		s.t.Fatal(err)
	}
	if len(list.Incidents) > 1 {
		s.t.Fatalf("one alert is %d incidents", len(list.Incidents))
	}
	if len(list.Incidents) == 1 {
		s.now = list.Incidents[0]
	}
	return len(list.Incidents) == 1
}

// tell goes through the story, and ends the process in one of its phases.
func (s *story) tell(phase, place string) {
	arm := func(now string) {
		if now == phase {
			s.arm(place)
		}
	}
	arm("firing")
	s.until("the webhook to be answered", func() bool { return s.webhook("firing") })
	s.until("the first page", func() bool { return s.pages("U1") > 0 })
	s.until("the incident", s.load)
	arm("escalating")
	s.until("the second step", func() bool { return s.pages("U2") > 0 })
	arm("acknowledging")
	s.finish(map[bool]int{true: 2, false: 1}[slices.Contains([]string{"send.fenced", sendAfterWrite, "send.after_read", "result.before", "commit.before", "commit.after"}, place)], arm)
}

// finish acknowledges and resolves, and looks back: no page may have come more
// often than that.
func (s *story) finish(most int, arm ...func(phase string)) {
	t := s.t
	s.until("the acknowledgement to be answered", func() bool {
		code, _ := s.call(http.MethodPost, "/api/v1/incidents/"+s.now.ID+"/ack", "a-token-of-the-command-line", `{"by": "ben"}`)
		return code == http.StatusOK
	})
	s.until("the acknowledgement", func() bool { return s.load() && s.now.State == "acknowledged" && s.now.AcknowledgedBy == "ben" })
	for _, f := range arm {
		f("resolving")
	}
	s.until("the resolve to be answered", func() bool { return s.webhook("resolved") })
	s.until("the end", func() bool { return s.load() && s.now.State == "resolved" })
	// What was under way is over with the lease; one that ended is started by then.
	s.until("the process", s.running)
	if s.ended > 1 {
		t.Errorf("it ended %d times", s.ended)
	}
	_ = os.Remove(s.file)
	if code := s.daemon.Terminate(t, 15*time.Second); code != 0 && code != int(syscall.SIGTERM) {
		t.Errorf("it ends with status %d", code)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, n := range s.posts {
		if n > most {
			t.Errorf("page %s came %d times, at most %d are excused", key, n, most)
		}
	}
	if n := len(s.posts); n != 2 && !(n == 3 && most > 1) {
		t.Errorf("%d pages, want one of each step: %v", n, s.posts)
	}
}
