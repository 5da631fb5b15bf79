package engine

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/internal/fault"
	"callchain/notifiers"
	"callchain/routing"
	"callchain/routing/catalog"
)

// Snapshot is one configuration in force. It never changes; a reload replaces it.
type Snapshot struct {
	Config  *config.Config
	Catalog *catalog.Catalog
	Router  *routing.Router
	// Channels deliver; those that are not configured are absent.
	Channels map[string]Channel
	// Witnesses ask Alertmanager; sources without api_url have none.
	Witnesses map[string]Witness
	// Link makes the signed link by which a person acknowledges an incident;
	// nil when there is no key, "" when it could not be made.
	Link func(incident, person string, expires time.Time) string
}

// Channel delivers messages: one per notifiers.Slack and notifiers.Email.
type Channel interface {
	// Deliver makes one attempt and classifies the answer. It returns when ctx is done.
	Deliver(ctx context.Context, msg notifiers.Message) notifiers.Result
	// Probe tells whether the channel as a whole works.
	Probe(ctx context.Context) error
}

// ErrNotFound is returned for an incident that does not exist (any more).
var ErrNotFound = errors.New("no such incident")

// ErrUnknownPerson is returned for a handle that the catalog lacks.
var ErrUnknownPerson = errors.New("no such person in the catalog")

// Notice is something that callchain says about itself to a team: on its board and to its e-mail address.
type Notice struct {
	Key   string // the same Key is said once
	Team  string // "": self.team, else the fallback team
	Title string
	Body  string
	// BoardOnly leaves the e-mail out where the team has a board.
	BoardOnly bool
	// Without is a channel that cannot carry it, where the other one can.
	Without string
}

// Config is what an Engine needs besides a Snapshot.
type Config struct {
	Store      store.Store
	Registerer prometheus.Registerer
	Logger     *slog.Logger
	// Island is what the engine goes on with while Store is away; nil for a store
	// that is this machine's own disk.
	Island *Island
	// WitnessEvery is how often Alertmanager is asked beside the steps; 0: every two minutes.
	WitnessEvery time.Duration
	// Begin, if set, is called where a unit of work of its own begins, with what
	// names it. A simulation lets each begin at another instant, so that a run can
	// be repeated, and some of them much later; a daemon has none.
	Begin func(work string)
}

// Engine carries out what escalation decides. Any number of engines may share a store.
type Engine struct {
	store                 store.Store
	settler               store.Settler          // nil: what is committed is safe
	whole                 store.Store            // as it was given
	toldFull, toldFilling atomic.Pointer[string] // when people were last told
	log                   *slog.Logger
	metrics               *metrics
	snap                  atomic.Pointer[Snapshot]
	nudge                 chan struct{} // a wake-up earlier than the one slept for was committed
	asleep                atomic.Int64  // until when Run sleeps, in Unix milliseconds of the store's clock; awake: for ever
	work                  sync.WaitGroup
	begin                 func(work string)
	turns                 *turns
	desks                 desks
	allowance             *allowance
	health                map[string]*health
	slots                 map[string]chan struct{} // attempts at once, per channel
	ticks                 chan struct{}            // wake-ups handled at once
	planned               atomic.Pointer[Snapshot] // the configuration that the weekly report is planned by
	began                 escalation.Instant       // attempts that were taken before are not ours
	schema                int                      // of the records that are read and written
	island                *island                  // nil: there is none to go to
	shore                 *island                  // of the engine that is the island: it pages once, and escalates nothing
	hearing               hearing
	poison                poison
	newer                 newer
	overdue               overdue
	witness               *witnesses

	stopping context.Context    // over when nothing new is begun any more
	stop     context.CancelFunc // ends stopping
	sending  context.Context    // of every attempt; over when draining takes too long
	cut      context.CancelFunc // ends sending
}

// New makes an engine. It does nothing by itself until Run.
func New(cfg Config, snap *Snapshot) *Engine {
	e := &Engine{
		store:     cfg.Store,
		log:       cfg.Logger,
		metrics:   newMetrics(cfg.Registerer),
		nudge:     make(chan struct{}, 1),
		begin:     cfg.Begin,
		turns:     newTurns(),
		allowance: &allowance{spends: make(chan struct{}, 1)},
		health:    map[string]*health{},
		slots:     map[string]chan struct{}{},
		ticks:     make(chan struct{}, 32),
		began:     escalation.At(cfg.Store.Now()),
		schema:    escalation.Schema,
		witness:   newWitnesses(cfg.WitnessEvery),
	}
	if e.begin == nil {
		e.begin = func(string) {}
	}
	e.stopping, e.stop = context.WithCancel(context.Background())
	e.sending, e.cut = context.WithCancel(context.Background())
	for _, name := range []string{notifiers.Slack, notifiers.Email} {
		e.health[name] = &health{}
		e.slots[name] = make(chan struct{}, 32)
	}
	e.snap.Store(snap)
	e.settler, _ = cfg.Store.(store.Settler)
	e.whole = cfg.Store
	if cfg.Island != nil {
		e.store = impatient{cfg.Store}
		e.island = newIsland(e, *cfg.Island)
	}
	e.showChannels()
	return e
}

// Reload puts another configuration in force. Open incidents follow it from their next step on.
func (e *Engine) Reload(snap *Snapshot) {
	e.snap.Store(snap)
	if e.island != nil {
		e.island.inner.snap.Store(snap)
	}
	e.showChannels()
	e.wakeUp()
}

// Snapshot is the configuration in force.
func (e *Engine) Snapshot() *Snapshot { return e.snap.Load() }

// Now is the instant that timers are compared with: the store's.
func (e *Engine) Now() time.Time { return e.store.Now() }

func (s *Snapshot) env() escalation.Env {
	env := escalation.Env{Router: s.Router, Settings: &s.Config.Escalation, Channels: map[string]bool{}}
	for name := range s.Channels {
		env.Channels[name] = true
	}
	env.Shadow = s.Config.Shadow.V
	if env.Shadow && len(env.Channels) == 0 {
		// Nothing is sent: people would be paged over whatever the catalog has of them.
		env.Channels[notifiers.Slack], env.Channels[notifiers.Email] = true, true
	}
	env.Zone = s.Config.Reports.Zone()
	if s.Config.Notifiers.Slack != nil {
		env.Channel = s.Config.Notifiers.Slack.Channel.V
	}
	return env
}

// Do takes an incident through an event that a person caused. The answer is
// true when err is nil: what it says is stored.
func (e *Engine) Do(ctx context.Context, id string, ev escalation.Event) (escalation.Incident, escalation.Answer, error) {
	fault.Here("ack.before")
	defer fault.Here("ack.after")
	ctx = store.In(ctx, store.People)
	do := e.do
	if e.island != nil {
		do = e.island.do
	}
	inc, answer, err := do(ctx, id, ev)
	if err == nil && !forPeople(inc.Kind) {
		err = ErrNotFound
	}
	return inc, answer, err
}

// forPeople tells whether a record that is kept as an incident is one for people.
func forPeople(k escalation.Kind) bool {
	return k != escalation.Notice && k != escalation.Report && k != escalation.Digest
}

func (e *Engine) do(ctx context.Context, id string, ev escalation.Event) (escalation.Incident, escalation.Answer, error) {
	if needsPlace(ev) {
		// Meant is the step that is current now, whoever else moves meanwhile.
		cur, err := e.load(ctx, id)
		if err != nil {
			return escalation.Incident{}, escalation.Answer{}, err
		}
		ev = at(ev, cur.Place())
	}
	partition, _ := escalation.Partition(id)
	var first *escalation.Answer
	for {
		epoch := e.epoch(partition)
		inc, answer, err := e.apply(ctx, id, ev, nil, false)
		if err != nil {
			return inc, answer, err
		}
		if first == nil {
			first = &answer
		}
		if now, _ := escalation.Partition(inc.ID); now != partition {
			partition, epoch = now, "" // the id led elsewhere
		}
		if err = e.settle(ctx, partition, epoch); !errors.Is(err, store.ErrMoved) {
			return inc, *first, err
		}
	}
}

// epoch and settle are the store's, where it is one that has to be asked.
func (e *Engine) epoch(partition uint8) string {
	if e.settler == nil {
		return ""
	}
	return e.settler.Epoch(partition)
}

func (e *Engine) settle(ctx context.Context, partition uint8, epoch string) error {
	if e.settler == nil {
		return nil
	}
	err := e.settler.Settle(ctx, partition, epoch)
	if errors.Is(err, store.ErrBehind) {
		e.metrics.behind.Inc()
		return nil
	}
	if err != nil {
		return fmt.Errorf("store it safely: %w", err)
	}
	return nil
}

// needsPlace tells whether an event is for the step that is current, and does not
// say which one that is.
func needsPlace(ev escalation.Event) bool {
	switch ev := ev.(type) {
	case escalation.Escalate:
		return ev.From == nil
	case escalation.Disown:
		return ev.From == nil
	}
	return false
}

// at is the event, said of a step.
func at(ev escalation.Event, p escalation.Place) escalation.Event {
	switch ev := ev.(type) {
	case escalation.Escalate:
		ev.From = &p
		return ev
	case escalation.Disown:
		ev.From = &p
		return ev
	}
	return ev
}

// apply loads, steps and commits until no one else is faster. known is what the
// record is thought to be, nil if that is not known. rewrite is said of one that
// was claimed: the wake-up that the claim moved has to be written again even if
// nothing else changed.
func (e *Engine) apply(ctx context.Context, id string, ev escalation.Event, known *loaded, rewrite bool) (escalation.Incident, escalation.Answer, error) {
	return e.applyAt(ctx, id, ev, known, rewrite, time.Time{})
}

// applyAt is apply of what happened at an instant; zero: now. then are the
// outcomes of messages that it led to when it happened.
func (e *Engine) applyAt(ctx context.Context, id string, ev escalation.Event, known *loaded, rewrite bool, at time.Time, then ...result) (escalation.Incident, escalation.Answer, error) {
	for {
		cur := known
		if known = nil; cur == nil {
			l, err := e.load(ctx, id)
			if err != nil {
				return escalation.Incident{}, escalation.Answer{}, err
			}
			cur = &l
		}
		now, env := e.store.Now(), e.snap.Load().env()
		when := now
		if !at.IsZero() && at.Before(now) {
			when = at
		}
		next, answer := escalation.Step(cur.Incident, ev, when, env)
		for _, r := range then {
			next, _ = escalation.Step(next, r.Result, when, env)
		}
		t := txn{partition: cur.partition}
		if err := t.incident(e, cur, next, now, rewrite); err != nil {
			return next, answer, err
		}
		if err := e.facts(ctx, &t, escalation.Facts(&cur.Incident, &next, when, env)); err != nil {
			return next, answer, err
		}
		switch err := e.commit(ctx, &t); {
		case errors.Is(err, store.ErrConflict):
			continue
		case err != nil:
			return next, answer, fmt.Errorf("store the change of %s: %w", id, err)
		}
		e.changed(&cur.Incident, &next, now)
		e.dispatch(t.taken, time.Time{})
		return next, answer, nil
	}
}

// Incident returns one incident.
func (e *Engine) Incident(ctx context.Context, id string) (escalation.Incident, error) {
	ctx = store.In(ctx, store.People)
	l, err := e.load(ctx, id)
	if err != nil && e.island != nil {
		if inc, ok := e.island.incident(ctx, id); ok {
			return inc, nil
		}
	}
	if err == nil && !forPeople(l.Kind) {
		err = ErrNotFound
	}
	return l.Incident, err
}

// TestPage pages one person, so that they and we know that it works.
func (e *Engine) TestPage(ctx context.Context, person string, by escalation.Actor) (escalation.Incident, error) {
	snap := e.snap.Load()
	p := snap.Catalog.Person(person)
	if p == nil {
		return escalation.Incident{}, fmt.Errorf("%w: %s", ErrUnknownPerson, person)
	}
	now := e.store.Now()
	id := recordID("test", p.Handle, fmt.Sprint(now.UnixNano(), rand.Uint64()))
	return e.create(ctx, escalation.NewTest(id, p.Handle, by, now, snap.env()), now)
}

// Notice tells a team something about callchain itself, once per Key.
func (e *Engine) Notice(ctx context.Context, n Notice) error {
	snap := e.snap.Load()
	team := n.Team
	if team == "" {
		team = snap.Config.Self.Team.V
	}
	if team == "" || snap.Catalog.Team(team) == nil {
		team = snap.Router.Fallback().Name
	}
	now := e.store.Now()
	env := snap.env()
	if n.Without != "" && len(env.Channels) > 1 {
		delete(env.Channels, n.Without)
	}
	inc := escalation.NewNotice(recordID("notice", n.Key), team, n.Title, n.Body, n.BoardOnly, now, env)
	_, err := e.create(ctx, inc, now)
	if errors.Is(err, store.ErrConflict) {
		return nil // said before
	}
	return err
}

func (e *Engine) create(ctx context.Context, inc escalation.Incident, now time.Time) (escalation.Incident, error) {
	partition, _ := escalation.Partition(inc.ID)
	t := txn{partition: partition, urgent: inc.Kind == escalation.Notice} // that the store is full, for one
	if err := t.incident(e, nil, inc, now, false); err != nil {
		return inc, err
	}
	if err := e.commit(ctx, &t); err != nil {
		return inc, fmt.Errorf("store %s: %w", inc.ID, err)
	}
	e.dispatch(t.taken, time.Time{})
	return inc, nil
}

// recordID makes an id of the form that incidents have from what names it.
func recordID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:1]) + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[1:]))[:10]
}

func mark() (m [8]byte) {
	v := rand.Uint64()
	for i := range m {
		m[i] = byte(v >> (8 * i))
	}
	return m
}
