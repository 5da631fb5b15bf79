package sim

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"callchain/config"
	"callchain/escalation/engine"
	"callchain/escalation/store/mem"
	"callchain/routing"
	"callchain/routing/catalog"
)

// scenario is what a seed is: how many of everything there are, and what goes wrong.
type scenario struct {
	seed    uint64
	mutant  string // the bug that is planted; "" for none
	verbose bool

	daemons  int
	ams      int           // Alertmanagers of the cluster
	groups   int           // of alerts
	faults   bool          // anything goes wrong at all
	alone    bool          // one daemon that has its store for itself
	lookup   bool          // Slack is asked for a message before it is sent again
	island   bool          // daemons have a journal, and their store tries for a while
	witness  bool          // Alertmanagers can be asked; they have silences, and are started anew
	forgets  bool          // failovers forget the last commits, or all
	rots     bool          // records are overwritten by something else
	troubled time.Duration // how long things go wrong
	peace    time.Duration // how long nothing does after that
	deaf     map[string]bool
}

func draw(seed uint64, mutant string) scenario {
	r := rand.New(rand.NewPCG(seed, 1))
	s := scenario{
		seed: seed, mutant: mutant,
		daemons:  1 + r.IntN(4),
		ams:      1 + r.IntN(2),
		groups:   2 + r.IntN(4),
		faults:   r.IntN(10) != 0,
		alone:    r.IntN(7) == 0,
		lookup:   r.IntN(2) == 0,
		troubled: time.Duration(4+r.IntN(8)) * time.Minute,
		peace:    5 * time.Minute,
		deaf:     map[string]bool{},
	}
	q := rand.New(rand.NewPCG(seed, 2))
	s.island, s.witness = s.faults && q.IntN(2) == 0, q.IntN(2) == 0
	s.forgets, s.rots = s.faults && s.witness && q.IntN(2) == 0, s.faults && q.IntN(4) == 0
	if s.daemons == 4 && r.IntN(2) == 0 {
		s.daemons = 5
	}
	if mutant != "" { // a planted bug needs something to show on
		s.alone = false
		s.daemons = max(s.daemons, 2)
		s.island, s.witness, s.forgets, s.rots = false, false, false, false
		switch mutant {
		case keepsNothing, forgetsJournal, dropsAnswers, dropsOutcomes:
			s.faults, s.island, s.troubled = true, true, 15*time.Minute
		case seesNoSilence, believesFresh, seesAll:
			s.faults, s.witness, s.troubled = true, true, 15*time.Minute
		case fetchesNothing:
			s.faults, s.witness, s.forgets = true, true, true
		case keepsRot:
			s.faults, s.rots = true, true
		}
	}
	if s.alone {
		s.daemons, s.island, s.forgets = 1, false, false
	}
	for _, who := range people {
		if who == "gus" || who == "hal" { // the fallback team is there for everybody
			continue
		}
		switch r.IntN(8) {
		case 0:
			s.deaf["slack "+who] = true
		case 1:
			s.deaf["email "+who] = true
		case 2:
			s.deaf["slack "+who], s.deaf["email "+who] = true, true
		}
	}
	return s
}

// world is one run.
type world struct {
	scenario
	t     *testing.T
	began time.Time
	over  context.Context // done when the run ends
	end   context.CancelFunc
	work  sync.WaitGroup // everything that is not a daemon's
	store *mem.Store

	daemons  []*daemon
	channels map[string]*provider
	groups   []*group
	truth    map[uint64]*alert
	peers    []*alertmanager

	mu        sync.Mutex
	hash      uint64
	lines     []string
	broken    []violation
	trouble   map[string][]span // by what is troubled: "" for stores and daemons, else a channel
	away      []outage          // the store's, as planned so far
	mutings   []muting
	ashore    map[string]*history  // incidents as they are on islands
	alias     map[string]string    // ids of islands that turned out to be others
	lapses    map[string]time.Time // incidents of which the store forgot something, and deliveries of notices, and when last
	marks     map[[8]byte]bool     // of transactions that were applied
	undos     []undo
	n         int  // reverts
	receivers bool // the store knows what Alertmanager sends here
	forgotAt  time.Time
	lossy     float64   // how many of the store's calls are lost
	nobody    time.Time // when the last process that ran ended
	loud      float64   // how many of a channel's answers are bad
	histories map[string]*history
	order     []string // of histories
	count     counts
	judge     judge
}

// counts are the figures of a run.
type counts struct {
	alerts, webhooks, refused, incidents, commits, conflicts int
	posts, pages, edits, presses                             int
	kills, stops, freezes, outages, reloads                  int
	aliases, kept, failovers, forgotten, wipes, rotten       int
	looks, silences, restarts, lostResolves                  int
	duplicates                                               map[string]int // by cause
	lateness, calmLateness, pageDelay, virtual               time.Duration
}

type violation struct {
	invariant string
	at        time.Duration
	text      string
}

type span struct{ from, to time.Time }

func newWorld(t *testing.T, s scenario) *world {
	w := &world{
		scenario: s, t: t, began: time.Now(), store: mem.New(),
		channels:  map[string]*provider{},
		trouble:   map[string][]span{},
		histories: map[string]*history{},
		truth:     map[uint64]*alert{},
		ashore:    map[string]*history{},
		alias:     map[string]string{},
		lapses:    map[string]time.Time{},
		marks:     map[[8]byte]bool{},
		hash:      14695981039346656037,
	}
	w.count.duplicates = map[string]int{}
	w.over, w.end = context.WithCancel(context.Background())
	w.judge.init()
	for range s.ams {
		w.peers = append(w.peers, &alertmanager{since: time.Now().Add(-time.Hour)})
	}
	for _, name := range []string{"slack", "email"} {
		w.channels[name] = newProvider(w, name)
	}
	return w
}

// dice are thrown for one thing that happens: they depend on the seed and on
// what names the thing, never on what else happens at the same time. So the order
// in which the runtime lets goroutines run decides nothing.
func (w *world) dice(parts ...any) *rand.Rand {
	h := fnv.New64a()
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			_, _ = h.Write([]byte(p))
		case uint64:
			var b [8]byte
			for i := range b {
				b[i] = byte(p >> (8 * i))
			}
			_, _ = h.Write(b[:])
		case int:
			_, _ = h.Write([]byte{byte(p), byte(p >> 8), byte(p >> 16)})
		default:
			panic(fmt.Sprintf("dice of %T", p))
		}
		_, _ = h.Write([]byte{0})
	}
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

func (w *world) ns() uint64 { return uint64(time.Since(w.began)) }

// between draws a delay, to the nanosecond: no two things happen at once.
func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

// sleep lets time pass; false when the run ended meanwhile.
func (w *world) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.over.Done():
		return false
	}
}

// event is one line of the trace. w.mu is held.
func (w *world) event(format string, args ...any) {
	line := fmt.Sprintf("%14d ", time.Since(w.began)) + fmt.Sprintf(format, args...)
	for i := range len(line) {
		w.hash = (w.hash ^ uint64(line[i])) * 1099511628211
	}
	if w.verbose {
		w.lines = append(w.lines, line)
	}
}

// violate records a broken promise. w.mu is held.
func (w *world) violate(invariant, format string, args ...any) {
	if len(w.broken) < 20 {
		w.broken = append(w.broken, violation{invariant, time.Since(w.began), fmt.Sprintf(format, args...)})
	}
	w.event("BROKEN %s: %s", invariant, fmt.Sprintf(format, args...))
}

// disturb notes that something was in trouble for a while. w.mu is held.
func (w *world) disturb(what string, from, to time.Time) {
	w.trouble[what] = append(w.trouble[what], span{from, to})
}

// calmBy is the end of the first d after an instant in which nothing of what is
// named was in trouble: when everything that was due at the instant must be done.
func (w *world) calmBy(at time.Time, d time.Duration, what ...string) time.Time {
	var all []span
	for _, name := range what {
		all = append(all, w.trouble[name]...)
	}
	slices.SortFunc(all, func(a, b span) int { return a.from.Compare(b.from) })
	for _, s := range all {
		if s.from.After(at.Add(d)) {
			break
		}
		if s.to.After(at) {
			at = s.to
		}
	}
	return at.Add(d)
}

// quiet tells whether nothing was in trouble from one instant to another.
func (w *world) quiet(from, to time.Time, what ...string) bool {
	for _, name := range what {
		for _, s := range w.trouble[name] {
			if s.from.Before(to) && s.to.After(from) {
				return false
			}
		}
	}
	return true
}

func in(spans []span, at time.Time) (span, bool) {
	for _, s := range spans {
		if !at.Before(s.from) && at.Before(s.to) {
			return s, true
		}
	}
	return span{}, false
}

// people are everybody in all catalogs.
var people = []string{"ana", "ben", "cleo", "dora", "eli", "gus", "hal"}

const settings = `
external_url: https://callchain.example.org
catalog_files: [catalog.yml]
alertmanager: {sources: [{name: main, anonymous: true}]}
routing: {fallback_team: sre}
escalation:
  reopen_within: 3m
  ack_expires: {unbreak_now: 3m, page: 5m}
  exhausted_every: 5m
  policies:
    - name: default
      steps:
        - {notify: incident_response, ack_within: {unbreak_now: 45s, page: 90s}}
        - {notify: incident_response, whom: team, ack_within: {unbreak_now: 45s, page: 2m}}
        - {notify: development, ack_within: {unbreak_now: 1m, page: 100s}}
        - {notify: engineering_manager, ack_within: {unbreak_now: 1m, page: 100s}}
        - {notify: fallback, ack_within: {unbreak_now: 1m, page: 2m}}
      repeat: 2
      remind_every: {unbreak_now: 20s, page: 40s}
notifiers:
  slack: {bot_token_file: token, signing_secret_file: secret, channel: "#incidents"}
  email: {smarthost: "mail.example.org:587", from: callchain@example.org, link_key_file: key}
`

const everybody = `
people:
  - {name: ana, email: ana@example.org, slack: U01ANA}
  - {name: ben, email: ben@example.org, slack: U01BEN}
  - {name: cleo, email: cleo@example.org, slack: U01CLEO}
  - {name: dora, email: dora@example.org, slack: U01DORA}
  - {name: eli, email: eli@example.org, slack: U01ELI, contact: [slack]}
  - {name: gus, email: gus@example.org, slack: U01GUS}
  - {name: hal, email: hal@example.org, slack: U01HAL, contact: [email]}
`

// catalogs are what a reload may put in force: services change hands, vanish and
// are retired, teams change.
var catalogs = []string{everybody + `
schedules:
  - {name: ops, timezone: Etc/UTC, rotations: [{members: [ana, ben], start: "2000-01-01T00:00:00", every: 1d}]}
teams:
  - {name: ops, members: [ana, ben], manager: dora, slack_channel: "#ops", email: ops@example.org, on_call: ops}
  - {name: dev, members: [cleo], manager: dora, slack_channel: "#dev"}
  - {name: sre, members: [gus, hal], slack_channel: "#sre", email: sre@example.org}
services:
  - {name: parsoid, state: active, owners: {development: dev, configuration_deployment: ops, incident_response: ops, product_management: dev}}
  - {name: search, state: active, owners: {development: dev, configuration_deployment: ops, incident_response: dev, product_management: dev}}
  - {name: haproxy, state: third_party, owners: ops}
  - {name: gone, state: decommissioned}
`, everybody + `
teams:
  - {name: ops, members: [ana, eli], manager: dora, slack_channel: "#ops"}
  - {name: dev, members: [cleo, ben], manager: eli, slack_channel: "#dev", email: dev@example.org}
  - {name: sre, members: [hal, gus], slack_channel: "#sre"}
services:
  - {name: parsoid, state: maintenance, owners: {contingency_development: dev, configuration_deployment: ops, incident_response: dev}}
  - {name: search, state: active, owners: {development: ops, configuration_deployment: ops, incident_response: ops, product_management: dev}}
`, everybody + `
teams:
  - {name: dev, members: [cleo], manager: dora}
  - {name: sre, members: [gus], slack_channel: "#sre", email: sre@example.org}
services:
  - {name: parsoid, state: unowned, legacy: {since: 2014-03-01, reason: "found"}, owners: {incident_response: dev}}
  - {name: haproxy, state: third_party, owners: dev}
`}

var snapshots = sync.OnceValues(func() ([]*engine.Snapshot, error) {
	dir, err := os.MkdirTemp("", "sim")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var all []*engine.Snapshot
	for _, text := range catalogs {
		for name, text := range map[string]string{"callchain.yml": settings, "catalog.yml": text} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				return nil, err
			}
		}
		cfg, ps := config.Load(filepath.Join(dir, "callchain.yml"), config.Options{NoSecrets: true})
		if err := ps.Err(); err != nil {
			return nil, err
		}
		files, ps := config.LoadCatalog(cfg.CatalogFiles)
		if err := ps.Err(); err != nil {
			return nil, err
		}
		cat, ps := catalog.New(files)
		if err := ps.Err(); err != nil {
			return nil, err
		}
		router, ps := routing.New(cfg, cat)
		if err := ps.Err(); err != nil {
			return nil, err
		}
		all = append(all, &engine.Snapshot{Config: cfg, Catalog: cat, Router: router,
			Link: func(incident, person string, _ time.Time) string {
				return "https://callchain.example.org/ack/" + incident + "." + person
			}})
	}
	return all, nil
})
