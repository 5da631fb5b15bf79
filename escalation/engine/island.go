package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"callchain/escalation"
	"callchain/escalation/store"
)

// Island is what an engine goes on with while its store is away: what arrives is
// kept in the journal, alerts that are not known yet are paged once, and when the
// store is back all of it is gone through again as of when it arrived. Nothing
// is escalated meanwhile: the timers are in the store.
type Island struct {
	Journal Journal
	// Scratch keeps what is being paged. It is empty and this process' alone, and
	// may be forgotten when the process ends: the journal has all that counts.
	Scratch store.Store
}

// Journal keeps entries on this machine's disk, in the order of their sequences:
// a journal.Journal.
type Journal interface {
	// Append returns when the entry is durable. After an error it may be.
	Append(data []byte) (sequence uint64, err error)
	// Done marks entries that need not come up again; they may all the same.
	Done(sequences ...uint64) error
	Read(sequence uint64) ([]byte, error)
	Waiting() []uint64 // that are not done, in order
	Backlog() int      // how many they are
	Check() error      // whether an entry could be kept
	Close() error      // by who opened it
}

const (
	// patience is how long a store may take for one call before it is away.
	patience = time.Second
	// stable is how long it has to answer again before it is back.
	stable = 3 * time.Second
	// timersWait is how much longer timers wait for what was kept, so that an
	// acknowledgement comes before the step that it stops.
	timersWait = 10 * time.Second
	// landing is how long what is under way may take before it is gone through
	// without knowing what came of it.
	landing = 12 * time.Second
)

// Causes of duplicate pages.
const (
	unknownOutcome = "unknown_outcome"
	byIsland       = "island"
)

const islandNote = "Redis is away: nobody else is paged by callchain until it is back. Acknowledge all the same, it is recorded."

// awayError is a store that did not do it, for no fault of what it was asked.
type awayError struct{ error }

func (e awayError) Unwrap() error { return e.error }

func isAway(err error) bool {
	_, ok := errors.AsType[awayError](err)
	return ok
}

// impatient is a store that may not take longer than patience for a call.
type impatient struct{ store.Store }

func (s impatient) Load(ctx context.Context, partition uint8, ids ...string) ([]store.Record, error) {
	begin := time.Now()
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	recs, err := s.Store.Load(within, partition, ids...)
	return recs, judged(ctx, begin, err)
}

func (s impatient) Commit(ctx context.Context, txn store.Txn) error {
	begin := time.Now()
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return judged(ctx, begin, s.Store.Commit(within, txn))
}

// judged tells a store that is away from one that answers what is not liked, and
// from a caller that did not wait.
func judged(ctx context.Context, begin time.Time, err error) error {
	if err == nil || ctx.Err() != nil && time.Since(begin) < patience {
		return err
	}
	for _, known := range []error{store.ErrConflict, store.ErrFull, store.ErrInvalid, store.ErrCorrupt, store.ErrClosed} {
		if errors.Is(err, known) {
			return err
		}
	}
	return awayError{err}
}

// inMemory is the scratch store, with the clock of the one that is away.
type inMemory struct {
	store.Store
	clock store.Store
}

func (s inMemory) Now() time.Time { return s.clock.Now() }

// island is what the engine is on while its store, or a part of it, is away.
type island struct {
	e       *Engine // whose store may be away
	inner   *Engine // the same over the scratch store: it pages once
	journal Journal
	known   known

	flying [store.Partitions]atomic.Int32  // the inner's attempts that are under way
	taking [store.Partitions]chan struct{} // one webhook at a time: its ids go into the journal

	mu       sync.Mutex
	parts    [store.Partitions]part
	whole    bool      // nothing of the store answered: timers wait
	answered time.Time // since when something does again; zero: nothing does
	told     bool      // the log has it that we are on the island
	homeAt   time.Time // when we came back from it last
	doubtful map[string]bool
	adopted  map[string]escalation.Instant // incidents of the store, and until when their pages may be begun here
}

// part is what is known of one partition of the store.
type part struct {
	away    bool      // it is not asked until it has answered for a while
	full    bool      // it is asked first, and may refuse what is new
	back    bool      // what was kept is being gone through: the inner starts nothing more
	since   time.Time // it answers; zero: it does not
	asked   time.Time
	unborn  time.Time // since when an answer waits for its incident
	landed  bool      // such answers are all that is left
	coming  int       // entries that are being written
	waiting []uint64  // entries that are not gone through, in order
	results map[string][]result
}

func newIsland(e *Engine, cfg Island) *island {
	i := &island{e: e, journal: cfg.Journal, doubtful: map[string]bool{}, adopted: map[string]escalation.Instant{}}
	i.inner = &Engine{
		store: inMemory{cfg.Scratch, e.store}, log: e.log.With("island", true), metrics: e.metrics, nudge: make(chan struct{}, 1),
		turns: e.turns, allowance: e.allowance, health: e.health, slots: e.slots, ticks: e.ticks, began: e.began, schema: e.schema, shore: i, begin: e.begin,
	}
	i.inner.stopping, i.inner.stop = context.WithCancel(context.Background())
	for p := range i.taking {
		i.taking[p] = make(chan struct{}, 1)
	}
	i.inner.sending, i.inner.cut = context.WithCancel(context.Background())
	i.inner.snap.Store(e.snap.Load())
	for _, seq := range i.journal.Waiting() {
		ev, err := i.read(seq)
		p, ok := ev.partition()
		if err != nil || !ok {
			i.e.log.Error("an entry of the journal cannot be read and is left out", "entry", seq, "err", err)
			continue
		}
		i.parts[p].expect(seq, ev)
		i.whole = true // timers wait for it
	}
	if i.whole {
		e.log.Info("the journal has events from before the start; they are gone through first", "entries", i.journal.Backlog())
	}
	i.show()
	return i
}

// on tells whether a partition is not asked.
func (i *island) on(p uint8) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	part := &i.parts[p]
	return part.away || !part.full && len(part.waiting)+part.coming > 0
}

// lately tells whether the store was away a moment ago: others may not have gone
// through what they kept.
func (i *island) lately() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.told || !i.homeAt.IsZero() && time.Since(i.homeAt) < 2*(stable+timersWait)
}

// waits tells whether the timers of a partition wait for what was kept for it, as
// they all do when nothing of the store answers. Who claimed one claims it again
// when its lease is over.
func (i *island) waits(p uint8) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	part := &i.parts[p]
	return !part.full && len(part.waiting)+part.coming > 0 && (part.since.IsZero() || time.Since(part.since) < stable+timersWait)
}

// lose notes that a partition does not answer.
func (i *island) lose(p uint8, why error) {
	i.mu.Lock()
	i.parts[p].away, i.parts[p].since = true, time.Time{}
	i.mu.Unlock()
	i.tell(why)
}

// loseAll notes that nothing of the store answers.
func (i *island) loseAll(why error) {
	i.mu.Lock()
	i.whole, i.answered = true, time.Time{}
	for p := range i.parts {
		i.parts[p].away, i.parts[p].since = true, time.Time{}
	}
	i.mu.Unlock()
	i.tell(why)
}

func (i *island) fill(p uint8, why error) {
	i.mu.Lock()
	i.parts[p].full = true
	i.mu.Unlock()
	i.tell(why)
}

func (i *island) tell(why error) {
	i.mu.Lock()
	told := i.told
	i.told = true
	i.mu.Unlock()
	i.show()
	if !told {
		i.e.log.Error("the store is away, or refuses what is new: alerts and answers are kept in the journal, new alerts are paged once, nothing escalates", "err", why)
	}
}

// show sets the gauges.
func (i *island) show() {
	on := 0.0
	i.mu.Lock()
	if i.told || i.whole {
		on = 1
	}
	i.mu.Unlock()
	i.e.metrics.island.Set(on)
	i.e.metrics.journalBacklog.Set(float64(i.journal.Backlog()))
}

// holds tells whether timers wait.
func (i *island) holds() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.whole
}

func (i *island) ready(ctx context.Context) error {
	if i.holds() {
		if i.journal.Check() == nil {
			return nil
		}
	}
	err := i.e.answers(ctx)
	if err == nil {
		return nil
	}
	if kept := i.journal.Check(); kept != nil {
		return errors.Join(err, kept)
	}
	return nil
}

// cause is why a page may have come twice.
func (i *island) cause(delivery string) string {
	if i != nil {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.doubtful[delivery] {
			delete(i.doubtful, delivery)
			return byIsland
		}
	}
	return unknownOutcome
}

// takeOff counts an attempt of the island until what it returns is called.
func (e *Engine) takeOff(incident string) (landed func()) {
	p, ok := escalation.Partition(incident)
	if e.shore == nil || !ok {
		return func() {}
	}
	n := &e.shore.flying[p]
	n.Add(1)
	return func() { n.Add(-1) }
}

// run watches over the parts that are away, until ctx is done.
func (i *island) run(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() {
		i.e.begin("pages of the island")
		i.page(ctx)
	})
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for ctx.Err() == nil {
		i.look(ctx)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	both.Wait()
}

// page sends again, from the scratch store, what did not arrive at first.
func (i *island) page(ctx context.Context) {
	for ctx.Err() == nil {
		due, err := i.inner.store.Claim(ctx, 256, escalation.Lease)
		if err != nil {
			return // it is closed
		}
		for _, rec := range due.Records {
			i.pageDue(ctx, rec)
		}
		wait := time.Minute // what is committed nearer than that wakes us
		if !due.Next.IsZero() {
			wait = max(10*time.Millisecond, due.Next.Sub(i.inner.store.Now()))
		}
		i.inner.sleep(ctx, min(wait, time.Second))
		pause(ctx, 5*time.Millisecond) // whatever is due again and again
	}
}

func (i *island) pageDue(ctx context.Context, rec store.Record) {
	defer i.inner.contain("page from the island", rec.Key.ID)
	l, err := i.inner.decodeIncident(rec)
	digest := strings.HasPrefix(rec.Key.ID, "m/")
	if !digest && !strings.HasPrefix(rec.Key.ID, "i/") || err != nil {
		// Groups and the like have nothing to do here.
		_ = i.inner.store.Commit(ctx, store.Txn{Partition: rec.Key.Partition, Mark: mark(), Writes: []store.Write{{ID: rec.Key.ID, Expect: rec.Version, Data: rec.Data}}})
		return
	}
	i.mu.Lock()
	back := i.parts[rec.Key.Partition].back
	i.mu.Unlock()
	if back {
		return
	}
	if digest {
		if err := i.inner.dueDigest(ctx, rec); err != nil && ctx.Err() == nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, store.ErrConflict) {
			i.e.log.Error("a digest on the island could not be looked at; it is tried again", "digest", l.ID, "err", err)
		}
		return
	}
	// Attempts whose lease ends now are over.
	lapsed := escalation.Abandoned{Before: escalation.At(i.inner.store.Now().Add(time.Millisecond - escalation.Lease))}
	if _, _, err := i.inner.apply(ctx, l.ID, lapsed, &l, true); err != nil && ctx.Err() == nil && !errors.Is(err, ErrNotFound) {
		i.e.log.Error("a page from the island could not be taken up; it is tried again", "incident", l.ID, "err", err)
	}
}

// look asks what is away whether it is back, and goes through what was kept for
// what is.
func (i *island) look(ctx context.Context) {
	defer i.e.contain("look whether the store is back", "")
	now := time.Now()
	i.mu.Lock()
	var parts []uint8
	resting := false // some answered just now
	for p := range i.parts {
		part := &i.parts[p]
		switch {
		case !part.away && !part.full && len(part.waiting) == 0:
		case !part.since.IsZero() && now.Sub(part.asked) < stable/3:
			resting = true
		default:
			part.asked = now
			parts = append(parts, uint8(p))
		}
	}
	whole := i.whole
	i.mu.Unlock()
	if len(parts) == 0 && !whole && !resting {
		i.home()
		return
	}
	answers := map[uint8]bool{}
	if len(parts) > 0 || !resting {
		answers = i.probe(ctx, parts, whole)
	}
	if ctx.Err() != nil {
		return
	}
	now = time.Now()
	var back []uint8
	i.mu.Lock()
	any := len(parts) == 0
	for _, p := range parts {
		part := &i.parts[p]
		switch {
		case !answers[p]:
			part.away, part.since, part.back = true, time.Time{}, false
			continue
		case part.since.IsZero():
			part.since = now
		case now.Sub(part.since) >= stable:
			back = append(back, p)
			part.back = true
		}
		any = true
	}
	switch {
	case !any:
		i.answered = time.Time{}
	case i.answered.IsZero():
		i.answered = now
	}
	i.mu.Unlock()

	room := make(chan struct{}, 16)
	var all sync.WaitGroup
	for _, p := range back {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			defer i.e.contain("go through the journal", fmt.Sprint(p))
			i.replay(ctx, p)
		})
	}
	all.Wait()
	i.forget(ctx, back)

	i.mu.Lock()
	left := 0
	for p := range i.parts {
		left += len(i.parts[p].waiting)
	}
	if since := i.answered; i.whole && !since.IsZero() {
		lasts := time.Since(since)
		if lasts >= stable && left == 0 || lasts >= stable+timersWait {
			i.whole = false
		}
	}
	i.mu.Unlock()
	if len(back) > 0 {
		i.e.wakeUp()
	}
	i.show()
}

// home notes that all of the store is back and nothing is left to do.
func (i *island) home() {
	i.mu.Lock()
	told := i.told
	if i.told = false; told {
		i.homeAt = time.Now()
	}
	i.mu.Unlock()
	if told {
		i.e.log.Info("the store is back, and what was kept is in it")
	}
	i.show()
}

// probe asks some partitions whether they answer.
func (i *island) probe(ctx context.Context, parts []uint8, whole bool) map[uint8]bool {
	answers := make(map[uint8]bool, len(parts))
	if whole {
		if err := i.e.answers(ctx); err != nil {
			return answers
		}
	}
	var mu sync.Mutex
	room := make(chan struct{}, 64)
	var all sync.WaitGroup
	for _, p := range parts {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			_, err := i.e.store.Load(ctx, p, "ready")
			mu.Lock()
			defer mu.Unlock()
			answers[p] = err == nil
		})
	}
	all.Wait()
	return answers
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
