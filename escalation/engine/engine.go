package engine

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/store"
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
	store   store.Store
	log     *slog.Logger
	metrics *metrics
	snap    atomic.Pointer[Snapshot]
	nudge   chan struct{} // a wake-up earlier than the one slept for was committed
	asleep  atomic.Int64  // until when Run sleeps, in Unix milliseconds of the store's clock; awake: for ever
	work    sync.WaitGroup
	begin   func(work string)
	turns   *turns
	health  map[string]*health
	slots   map[string]chan struct{} // attempts at once, per channel
	ticks   chan struct{}            // wake-ups handled at once
	planned atomic.Pointer[Snapshot] // the configuration that the weekly report is planned by
	began   escalation.Instant       // attempts that were taken before are not ours
	island  *island                  // nil: there is none to go to
	shore   *island                  // of the engine that is the island: it pages once, and escalates nothing
	hearing hearing
	poison  poison
	overdue overdue
	witness *witnesses

	draining atomic.Bool        // nothing new is sent
	sending  context.Context    // of every attempt; over when draining takes too long
	cut      context.CancelFunc // ends sending
}

// New makes an engine. It does nothing by itself until Run.
func New(cfg Config, snap *Snapshot) *Engine {
	e := &Engine{
		store:   cfg.Store,
		log:     cfg.Logger,
		metrics: newMetrics(cfg.Registerer),
		nudge:   make(chan struct{}, 1),
		begin:   cfg.Begin,
		turns:   newTurns(),
		health:  map[string]*health{},
		slots:   map[string]chan struct{}{},
		ticks:   make(chan struct{}, 32),
		began:   escalation.At(cfg.Store.Now()),
		witness: newWitnesses(cfg.WitnessEvery),
	}
	if e.begin == nil {
		e.begin = func(string) {}
	}
	e.sending, e.cut = context.WithCancel(context.Background())
	for _, name := range []string{notifiers.Slack, notifiers.Email} {
		e.health[name] = &health{}
		e.slots[name] = make(chan struct{}, 32)
	}
	e.snap.Store(snap)
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

// Ready tells whether a webhook could be kept: in the store, if only in a part
// of it (a replica that is taken out of service because another part is away helps
// nobody), or on the island.
func (e *Engine) Ready(ctx context.Context) error {
	if e.island != nil {
		return e.island.ready(ctx)
	}
	return e.answers(ctx)
}

// answers tells whether some part of the store does.
func (e *Engine) answers(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	const parts = 8 // of a Cluster's servers each holds one of them, as good as surely
	answers := make(chan error, parts)
	for i := range parts {
		go func() {
			_, err := e.store.Load(ctx, uint8(i*store.Partitions/parts), "ready")
			answers <- err
		}()
	}
	var err error
	for range parts {
		if err = <-answers; err == nil {
			return nil
		}
	}
	return err
}

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

// Webhook keeps what an Alertmanager said: durable when it returns nil.
func (e *Engine) Webhook(ctx context.Context, source string, w routing.Webhook) error {
	received := time.Now()
	w, err := e.beats(ctx, source, w)
	switch {
	case len(w.Alerts) == 0:
		return err
	case err != nil: // the alerts beside them are worth more
		e.log.Error("a heartbeat could not be noted", "source", source, "err", err)
	}
	in := intake{source: source, w: w, received: received}
	if e.island != nil {
		return e.island.webhook(ctx, in)
	}
	return e.take(ctx, in)
}

// intake is a webhook on its way into the store.
type intake struct {
	source   string
	w        routing.Webhook
	received time.Time // by the wall clock; zero: when does not matter any more
	again    *again    // it was taken in before, on the island
	keep     func(ids map[string]string) error
}

// take commits a webhook, and sends what is due by it.
func (e *Engine) take(ctx context.Context, in intake) error {
	gid, partition := escalation.GroupID(in.source, in.w.GroupLabels)
	quiet := map[escalation.StaleRule]bool{}
	for {
		snap := e.snap.Load()
		group, incs, err := e.loadGroup(ctx, partition, gid)
		if err != nil {
			return err
		}
		now := e.store.Now()
		at, born := in.again.as(now)
		out := escalation.IngestBorn(group.Group, incidentsOf(incs), in.source, in.w, at, snap.env(), quiet, born)
		more := false
		for _, rule := range out.StaleRules {
			mine, err := e.claimDay(ctx, rule, gid, now)
			if err != nil {
				return err
			}
			if !mine {
				quiet[rule], more = true, true
			}
		}
		if more {
			continue
		}
		t := txn{partition: partition}
		in.again.settle(e, &t, incs, &out, now, snap.env())
		if err := t.group(group, out.Group); err != nil {
			return err
		}
		if err := e.ingested(ctx, &t, incs, out, at, now, snap.env()); err != nil {
			return err
		}
		var kept error
		if in.keep != nil {
			// Who cannot be told that it is kept is told again; the page goes out.
			kept, in.keep = in.keep(bornIn(out.Incidents)), nil
		}
		switch err := e.commit(ctx, &t); {
		case errors.Is(err, store.ErrConflict) && kept == nil:
			continue
		case err != nil:
			return errors.Join(kept, fmt.Errorf("store the webhook: %w", err))
		}
		if e.shore == nil {
			e.learn(in.source, in.w)
			e.metrics.resolutions(out.Resolutions)
		}
		e.ingestDone(incs, out.Incidents, now)
		e.dispatch(t.taken, in.received)
		return kept
	}
}

// ingested gathers the writes of the incidents that a webhook touched, and of
// its facts. It was taken in at an instant, and what is due is sent now.
func (e *Engine) ingested(ctx context.Context, t *txn, incs []loaded, out escalation.Ingested, at, now time.Time, env escalation.Env) error {
	facts := out.Facts
	for i := range out.Incidents {
		var from *loaded
		var before *escalation.Incident
		if i < len(incs) {
			from, before = &incs[i], &incs[i].Incident
		}
		if err := t.incident(e, from, out.Incidents[i], now, false); err != nil {
			return err
		}
		facts = append(facts, escalation.Facts(before, &out.Incidents[i], at, env)...)
	}
	return e.facts(ctx, t, facts)
}

// ingestDone counts and logs what a committed webhook did to incidents.
func (e *Engine) ingestDone(before []loaded, after []escalation.Incident, now time.Time) {
	for i := range after {
		var was *escalation.Incident
		if i < len(before) {
			was = &before[i].Incident
		}
		e.changed(was, &after[i], now)
	}
}

// Do takes an incident through an event that a person caused. The answer is
// true when err is nil: what it says is stored.
func (e *Engine) Do(ctx context.Context, id string, ev escalation.Event) (escalation.Incident, escalation.Answer, error) {
	if e.island != nil {
		return e.island.do(ctx, id, ev)
	}
	return e.do(ctx, id, ev)
}

func (e *Engine) do(ctx context.Context, id string, ev escalation.Event) (escalation.Incident, escalation.Answer, error) {
	if esc, ok := ev.(escalation.Escalate); ok && esc.From == nil {
		// Meant is the step that is current now, whoever else moves meanwhile.
		cur, err := e.load(ctx, id)
		if err != nil {
			return escalation.Incident{}, escalation.Answer{}, err
		}
		place := cur.Place()
		esc.From, ev = &place, esc
	}
	return e.apply(ctx, id, ev, nil, false)
}

// apply loads, steps and commits until no one else is faster. known is what the
// record is thought to be, nil if that is not known. rewrite is said of one that
// was claimed: the wake-up that the claim moved has to be written again even if
// nothing else changed.
func (e *Engine) apply(ctx context.Context, id string, ev escalation.Event, known *loaded, rewrite bool) (escalation.Incident, escalation.Answer, error) {
	return e.applyAt(ctx, id, ev, known, rewrite, time.Time{})
}

// applyAt is apply of what happened at an instant; zero: now.
func (e *Engine) applyAt(ctx context.Context, id string, ev escalation.Event, known *loaded, rewrite bool, at time.Time) (escalation.Incident, escalation.Answer, error) {
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
	l, err := e.load(ctx, id)
	if err != nil && e.island != nil {
		if inc, ok := e.island.incident(ctx, id); ok {
			return inc, nil
		}
	}
	if err == nil && (l.Kind == escalation.Notice || l.Kind == escalation.Report) {
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
	t := txn{partition: partition}
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

// Run claims what is due and sees it through, until ctx is done; then it waits
// some seconds for the attempts that are under way and records them.
func (e *Engine) Run(ctx context.Context) error {
	defer e.drain()
	if e.island != nil {
		var own sync.WaitGroup
		own.Go(func() { e.island.run(ctx) })
		defer own.Wait()
	}
	idle := 500 * time.Millisecond // others may have committed something that is due earlier
	if x, ok := e.store.(exclusive); ok && x.Exclusive() {
		idle = time.Minute // what we commit ourselves wakes us
		// Beside the loop: with many incidents it takes seconds, and timers do not wait.
		e.work.Go(func() {
			defer e.contain("take up attempts", "")
			if err := e.takeBack(ctx); err != nil && ctx.Err() == nil {
				e.log.Error("attempts of the process before could not be taken up; their leases run out instead", "err", err)
			}
		})
	}
	planned := time.Time{}
	for ctx.Err() == nil {
		// A plan that could not be made is made later; a reload may change it.
		// Once an hour in any case: the store may have lost it.
		if snap := e.snap.Load(); (e.planned.Load() != snap || time.Since(planned) > time.Hour) && time.Since(planned) > 5*time.Second {
			planned = time.Now()
			if err := errors.Join(e.planWeekly(ctx), e.planWitness(ctx)); err == nil {
				e.planned.Store(snap)
			} else if ctx.Err() == nil {
				e.log.Error("the weekly report, or asking Alertmanager, could not be planned; it is tried again", "err", err)
			}
		}
		if e.island != nil && e.island.holds() {
			e.sleep(ctx, 200*time.Millisecond)
			continue
		}
		e.asleep.Store(math.MaxInt64)
		due, err := e.store.Claim(ctx, 256, escalation.Lease)
		if err != nil {
			e.hearing.badly()
			if ctx.Err() == nil {
				if e.island != nil {
					e.island.loseAll(err)
				}
				e.metrics.storeUp.Set(0)
				e.log.Error("timers cannot be read from the store", "err", err)
			}
			e.sleep(ctx, 500*time.Millisecond)
			continue
		}
		e.metrics.storeUp.Set(1)
		e.hearing.well(e.store.Now())
		for _, rec := range due.Records {
			select {
			case e.ticks <- struct{}{}:
			case <-ctx.Done():
				continue // its claim runs out
			}
			e.work.Go(func() {
				defer func() { <-e.ticks }()
				e.begin("due " + rec.Key.ID)
				e.due(rec)
			})
		}
		wait := idle
		if len(due.Records) > 0 {
			wait = 0 // there may be more
		} else if !due.Next.IsZero() {
			wait = min(wait, max(0, due.Next.Sub(e.store.Now())))
		}
		e.asleep.Store(e.store.Now().Add(wait).UnixMilli())
		e.sleep(ctx, wait)
	}
	return nil
}

// At the end attempts that are under way may take drainFor, and their records
// recordFor after that: together less than main waits, which has ten seconds for
// everything. An attempt that is cut is made again, by another process or at the
// next start; so is one that does not even end then, when its lease is over.
const (
	drainFor  = 3 * time.Second
	recordFor = 1500 * time.Millisecond
)

// drain ends the sending: nothing new is taken, what is under way is recorded.
func (e *Engine) drain() {
	e.draining.Store(true)
	if e.island != nil {
		var own sync.WaitGroup
		own.Go(e.island.inner.drain)
		defer own.Wait()
	}
	done := make(chan struct{})
	go func() { e.work.Wait(); close(done) }()
	ended := func(limit time.Duration) bool {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		select {
		case <-done:
			return true
		case <-timer.C:
			return false
		}
	}
	inTime := ended(drainFor)
	e.cut()
	if !inTime && !ended(recordFor) {
		e.log.Warn("attempts that do not end are left behind; they are made again when their leases are over")
	}
}

// exclusive is a store that one process has for itself: attempts that it finds
// under way when it starts are those of a process that is gone.
type exclusive interface{ Exclusive() bool }

// takeBack makes the attempts of the process before again.
func (e *Engine) takeBack(ctx context.Context) error {
	var ids []string
	err := e.scan(ctx, "i/", func(rec store.Record) bool {
		l, err := decodeIncident(rec)
		if err == nil && slices.ContainsFunc(l.Deliveries, func(d escalation.Delivery) bool { return d.Status == escalation.InFlight }) {
			ids = append(ids, l.ID)
		}
		return true
	})
	for _, id := range ids {
		if _, _, err := e.apply(ctx, id, escalation.Abandoned{Before: e.began}, nil, false); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return err
}

func (e *Engine) sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-e.nudge:
	case <-timer.C:
	}
}

func (e *Engine) wakeUp() {
	select {
	case e.nudge <- struct{}{}:
	default:
	}
}

// due sees one claimed record through. An error leaves it to the next claim,
// after the lease.
func (e *Engine) due(rec store.Record) {
	defer e.containDue(rec)
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	var err error
	switch kind, _, _ := cutKind(rec.Key.ID); kind {
	case "i", "c", "n", "r":
		err = e.dueIncident(ctx, rec)
	case "g":
		err = e.dueGroup(ctx, rec)
	case "b":
		err = e.dueHeartbeat(ctx, rec)
	case "p":
		if strings.HasPrefix(rec.Key.ID, witnessPrefix) {
			err = e.dueWitness(ctx, rec)
			break
		}
		err = e.dueWeekly(ctx, rec)
	default:
		err = e.store.Commit(ctx, store.Txn{Partition: rec.Key.Partition, Mark: mark(), Writes: []store.Write{{ID: rec.Key.ID, Expect: rec.Version}}})
	}
	if errors.Is(err, errUnreadable) {
		err = e.quarantine(ctx, rec, err)
	}
	e.poison.clear(rec.Key) // it was handled without a panic
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, store.ErrConflict) {
		e.log.Error("a due record could not be handled; it is tried again", "record", rec.Key.ID, "err", err)
	}
}

func (e *Engine) dueIncident(ctx context.Context, rec store.Record) error {
	l, err := decodeIncident(rec)
	if err != nil {
		return err
	}
	now := e.store.Now()
	if l.Expired(now) {
		return e.store.Commit(ctx, store.Txn{Partition: rec.Key.Partition, Mark: mark(), Writes: []store.Write{{ID: rec.Key.ID, Expect: rec.Version}}})
	}
	if l.State == escalation.Triggered && l.Deadline != 0 && l.Deadline.Time().Before(now) {
		e.metrics.timerLateness.Observe(now.Sub(l.Deadline.Time()).Seconds())
	}
	_, _, err = e.apply(ctx, l.ID, escalation.Tick{}, e.witnessed(ctx, &l), true)
	return err
}

func (e *Engine) dueGroup(ctx context.Context, rec store.Record) error {
	gid := strings.TrimPrefix(rec.Key.ID, "g/")
	for {
		group, incs, err := e.loadGroup(ctx, rec.Key.Partition, gid)
		if err != nil || group.version == 0 {
			return err
		}
		now := e.store.Now()
		next, w, gone := escalation.TickGroup(group.Group, incidentsOf(incs), now, e.snap.Load().env())
		t := txn{partition: rec.Key.Partition}
		var after []escalation.Incident
		switch {
		case gone:
			t.writes = []store.Write{{ID: rec.Key.ID, Expect: group.version}}
		case len(w.Alerts) > 0:
			// As if Alertmanager had said it again now; the deferred alert is
			// taken off the group only with that.
			out := escalation.Ingest(next, incidentsOf(incs), next.Source, w, now, e.snap.Load().env(), nil)
			if err := t.group(group, out.Group); err != nil {
				return err
			}
			after = out.Incidents
			if err := e.ingested(ctx, &t, incs, out, now, now, e.snap.Load().env()); err != nil {
				return err
			}
		default:
			next.TouchedAt = escalation.At(now)
			if err := t.group(group, next); err != nil {
				return err
			}
		}
		if err := e.commit(ctx, &t); errors.Is(err, store.ErrConflict) {
			continue
		} else if err != nil {
			return err
		}
		e.ingestDone(incs, after, now)
		e.dispatch(t.taken, time.Time{})
		return nil
	}
}

func mark() (m [8]byte) {
	v := rand.Uint64()
	for i := range m {
		m[i] = byte(v >> (8 * i))
	}
	return m
}
