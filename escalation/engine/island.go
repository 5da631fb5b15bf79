package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"callchain/escalation"
	"callchain/escalation/journal"
	"callchain/escalation/record"
	"callchain/escalation/store"
	"callchain/routing"
)

// Island is what an engine goes on with while its store is away: what arrives is
// kept in the journal, alerts that are not known yet are paged once, and when the
// store is back all of it is gone through again as of when it arrived. Nothing
// is escalated meanwhile: the timers are in the store.
type Island struct {
	Journal *journal.Journal
	// Scratch keeps what is being paged. It is empty and this process' alone, and
	// may be forgotten when the process ends: the journal has all that counts.
	Scratch store.Store
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

// errNotKept is what cannot be done while the store is away.
var errNotKept = errors.New("only an acknowledgement or a resolve can be recorded while the store is away")

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

// event is an entry of the journal: one of a webhook, an act and an outcome.
type event struct {
	At escalation.Instant `json:"at"`

	Source  string            `json:"source,omitempty"`
	Webhook *routing.Webhook  `json:"webhook,omitempty"`
	Born    map[string]string `json:"born,omitempty"` // ids of what is open on the island, by subject

	Incident string             `json:"incident,omitempty"`
	Act      string             `json:"act,omitempty"` // ack, resolve, escalate
	By       escalation.Actor   `json:"by,omitzero"`
	TakeOver bool               `json:"take_over,omitempty"`
	Stranger bool               `json:"stranger,omitempty"`
	From     *escalation.Place  `json:"from,omitempty"`
	Result   *escalation.Result `json:"result,omitempty"`
	Page     bool               `json:"page,omitempty"` // the result is that of a page's first arrival
}

// partition is where the records are that the event is for.
func (ev *event) partition() (uint8, bool) {
	if ev.Webhook != nil {
		_, p := escalation.GroupID(ev.Source, ev.Webhook.GroupLabels)
		return p, true
	}
	return escalation.Partition(ev.Incident)
}

// group is what the event builds on: the group of its alerts, or its incident.
func (ev *event) group() string {
	if ev.Webhook != nil {
		gid, _ := escalation.GroupID(ev.Source, ev.Webhook.GroupLabels)
		return gid
	}
	return ev.Incident
}

// act is what somebody did; nil if the event is none.
func (ev *event) act() escalation.Event {
	switch ev.Act {
	case "ack":
		return escalation.Acknowledge{By: ev.By, TakeOver: ev.TakeOver, Stranger: ev.Stranger}
	case "resolve":
		return escalation.ResolveByHand{By: ev.By}
	case "escalate":
		return escalation.Escalate{By: ev.By, From: ev.From}
	}
	return nil
}

// actOf is the event of an act that can be kept: one that a second time does nothing.
func actOf(id string, ev escalation.Event, at time.Time) (event, bool) {
	out := event{Incident: id, At: escalation.At(at)}
	switch ev := ev.(type) {
	case escalation.Acknowledge:
		out.Act, out.By, out.TakeOver, out.Stranger = "ack", ev.By, ev.TakeOver, ev.Stranger
	case escalation.ResolveByHand:
		out.Act, out.By = "resolve", ev.By
	case escalation.Escalate:
		out.Act, out.By, out.From = "escalate", ev.By, ev.From
		return out, ev.From != nil
	default:
		return out, false
	}
	return out, true
}

// island is what the engine is on while its store, or a part of it, is away.
type island struct {
	e       *Engine // whose store may be away
	inner   *Engine // the same over the scratch store: it pages once
	journal *journal.Journal
	known   known

	flying [store.Partitions]atomic.Int32 // the inner's attempts that are under way
	taking [store.Partitions]sync.Mutex   // one webhook at a time: its ids go into the journal

	mu       sync.Mutex
	parts    [store.Partitions]part
	whole    bool      // nothing of the store answered: timers wait
	answered time.Time // since when something does again; zero: nothing does
	told     bool      // the log has it that we are on the island
	doubtful map[string]bool
}

// part is what is known of one partition of the store.
type part struct {
	away    bool // it is not asked until it has answered for a while
	full    bool // it is asked first, and may refuse what is new
	back    bool // what was kept is being gone through: the inner starts nothing more
	since   time.Time
	coming  int      // entries that are being written
	waiting []uint64 // entries that are not gone through, in order
	results map[string][]result
}

// result is what came of a delivery of an incident.
type result struct {
	escalation.Result
	page bool
}

func newIsland(e *Engine, cfg Island) *island {
	i := &island{e: e, journal: cfg.Journal, doubtful: map[string]bool{}}
	i.inner = &Engine{
		store: inMemory{cfg.Scratch, e.store}, log: e.log.With("island", true), metrics: e.metrics, nudge: make(chan struct{}, 1),
		turns: e.turns, health: e.health, slots: e.slots, ticks: e.ticks, began: e.began, shore: i, begin: e.begin,
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

// expect adds an entry to those that wait.
func (p *part) expect(seq uint64, ev event) {
	n, _ := slices.BinarySearch(p.waiting, seq)
	p.waiting = slices.Insert(p.waiting, n, seq)
	if ev.Result != nil {
		if p.results == nil {
			p.results = map[string][]result{}
		}
		p.results[ev.Incident] = append(p.results[ev.Incident], result{*ev.Result, ev.Page})
	}
}

func (i *island) read(seq uint64) (ev event, err error) {
	data, err := i.journal.Read(seq)
	if err == nil {
		err = json.Unmarshal(data, &ev)
	}
	return ev, err
}

// keep makes an event durable.
func (i *island) keep(p uint8, ev event) error {
	data, err := json.Marshal(ev)
	if err != nil {
		return fmt.Errorf("encode for the journal: %w", err)
	}
	part := &i.parts[p]
	i.mu.Lock()
	part.coming++
	i.mu.Unlock()
	seq, err := i.journal.Append(data)
	i.mu.Lock()
	defer i.mu.Unlock()
	part.coming--
	if err == nil {
		part.expect(seq, ev)
	}
	return err
}

// on tells whether a partition is not asked.
func (i *island) on(p uint8) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	part := &i.parts[p]
	return part.away || !part.full && len(part.waiting)+part.coming > 0
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

// webhook takes a webhook to the store or, when that does not take it, to the journal.
func (i *island) webhook(ctx context.Context, in intake) error {
	gid, p := escalation.GroupID(in.source, in.w.GroupLabels)
	if !i.on(p) {
		switch err := i.e.take(ctx, in); {
		case err == nil:
			i.known.learn(gid, in.w)
			return nil
		case isAway(err):
			i.lose(p, err)
		case errors.Is(err, store.ErrFull):
			i.fill(p, err)
		default:
			return err
		}
	}
	i.taking[p].Lock()
	defer i.taking[p].Unlock()
	at := i.e.store.Now()
	w := in.w
	in.w = i.known.unknown(gid, w)
	in.keep = func(ids map[string]string) error {
		return i.keep(p, event{At: escalation.At(at), Source: in.source, Webhook: &w, Born: ids})
	}
	if err := i.inner.take(ctx, in); err != nil {
		return fmt.Errorf("keep the webhook while the store is away: %w", err)
	}
	i.show()
	return nil
}

// do takes what a person did to the store or, when that is away, to the journal.
// What is only on the island changes there as well.
func (i *island) do(ctx context.Context, id string, ev escalation.Event) (escalation.Incident, escalation.Answer, error) {
	p, ok := escalation.Partition(id)
	if !ok {
		return escalation.Incident{}, escalation.Answer{}, ErrNotFound
	}
	here, errHere := i.inner.load(ctx, id)
	if !i.on(p) {
		switch inc, answer, err := i.e.do(ctx, id, ev); {
		case isAway(err):
			i.lose(p, err)
		case errors.Is(err, ErrNotFound) && errHere == nil:
		default:
			return inc, answer, err
		}
	}
	now := i.e.store.Now()
	kept, ok := actOf(id, ev, now)
	if esc, is := ev.(escalation.Escalate); is && esc.From == nil && errHere == nil {
		place := here.Place()
		esc.From = &place
		kept, ok = actOf(id, esc, now)
	}
	if !ok {
		return escalation.Incident{}, escalation.Answer{}, errNotKept
	}
	said := fmt.Sprintf("%s is recorded for %s; Redis is away, the escalation may still happen", kept.Act, kept.By.String())
	inc := escalation.Incident{ID: id, Timeline: []escalation.Entry{{Seq: 1, At: kept.At, Text: said, By: kept.By.Handle}}}
	if errHere == nil {
		inc = here.Incident
		if kept.Act != "escalate" {
			next, answer := escalation.Step(inc, ev, now, i.e.snap.Load().env())
			if answer.Kind != escalation.Done {
				return next, answer, nil
			}
		}
	}
	if err := i.keep(p, kept); err != nil {
		return inc, escalation.Answer{}, fmt.Errorf("keep what was answered while the store is away: %w", err)
	}
	i.show()
	if errHere == nil && kept.Act != "escalate" {
		next, _, err := i.inner.do(ctx, id, ev)
		if err != nil {
			i.e.log.Warn("what was answered is kept, and not shown until the store is back", "incident", id, "err", err)
		} else {
			inc = next
		}
	}
	return inc, escalation.Answer{Kind: escalation.Recorded, By: kept.By, At: kept.At}, nil
}

// incident is one that is only here.
func (i *island) incident(ctx context.Context, id string) (escalation.Incident, bool) {
	l, err := i.inner.load(ctx, id)
	return l.Incident, err == nil
}

// adopt sends a page here whose incident cannot be read any more: it was
// committed, and answered 200, just before the store went away.
func (i *island) adopt(a attempt, received time.Time, why error) bool {
	p, ok := escalation.Partition(a.incident)
	if !ok || !isAway(why) || a.as == nil || a.delivery.Kind != escalation.PageDelivery || a.delivery.Ref != (escalation.Ref{}) {
		return false
	}
	i.lose(p, why)
	inc := escalation.Calm(a.as.Incident)
	data, err := record.Encode(&inc)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = i.inner.store.Commit(ctx, store.Txn{Partition: p, Mark: mark(), Writes: []store.Write{{ID: keyOf(&inc), Data: data, Wake: inc.Wake().Time()}}})
	if err != nil && !errors.Is(err, store.ErrConflict) { // by another page of it
		return false
	}
	i.inner.dispatch([]attempt{a}, received)
	return true
}

// keepResult keeps what came of a delivery, as far as that saves somebody a
// second message. It tells whether it is kept.
func (i *island) keepResult(incident string, r escalation.Result, page bool) bool {
	p, ok := escalation.Partition(incident)
	if !ok || r.Verdict != escalation.VerdictSent {
		return false
	}
	err := i.keep(p, event{At: escalation.At(i.e.store.Now()), Incident: incident, Result: &r, Page: page})
	if err != nil {
		i.e.log.Warn("what became of a message could not be kept; it may come twice", "incident", incident, "err", err)
	}
	i.show()
	return err == nil
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
	both.Go(func() { i.page(ctx) })
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
	l, err := decodeIncident(rec)
	if rec.Key.ID[0] != 'i' || err != nil {
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
	i.mu.Lock()
	var parts []uint8
	for p := range i.parts {
		if part := &i.parts[p]; part.away || part.full || len(part.waiting) > 0 {
			parts = append(parts, uint8(p))
		}
	}
	whole := i.whole
	i.mu.Unlock()
	if len(parts) == 0 && !whole {
		i.home()
		return
	}
	answers := i.probe(ctx, parts, whole)
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
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
	i.told = false
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

// replay goes through what was kept for a partition, in the order in which it
// came. What a full store refuses is left, with all that builds on it.
func (i *island) replay(ctx context.Context, p uint8) {
	part := &i.parts[p]
	deadline := time.Now().Add(landing)
	refused := map[string]bool{} // groups, and incidents of them
	for next := uint64(0); ctx.Err() == nil; {
		// What the island is just sending has an outcome to tell.
		for i.flying[p].Load() > 0 && time.Now().Before(deadline) && ctx.Err() == nil {
			pause(ctx, 20*time.Millisecond)
		}
		i.mu.Lock()
		n, _ := slices.BinarySearch(part.waiting, next)
		if n == len(part.waiting) {
			switch {
			case len(part.waiting) > 0 && len(refused) > 0:
				part.away, part.full, part.since, part.back = false, true, time.Now(), false
			case len(part.waiting)+part.coming == 0:
				part.away, part.full, part.since, part.results = false, false, time.Time{}, nil
			}
			i.mu.Unlock()
			return
		}
		seq := part.waiting[n]
		next = seq + 1
		i.mu.Unlock()

		ev, err := i.read(seq)
		switch {
		case err != nil:
		case refused[ev.group()]:
			err = store.ErrFull
		default:
			err = i.again(ctx, p, ev)
		}
		switch {
		case err == nil:
		case errors.Is(err, store.ErrFull):
			refused[ev.group()] = true
			for _, id := range ev.Born {
				refused[id] = true
			}
			continue
		case isAway(err), ctx.Err() != nil, errors.Is(err, store.ErrClosed):
			i.mu.Lock()
			part.away, part.since, part.back = true, time.Time{}, false
			i.mu.Unlock()
			return
		default:
			i.e.log.Error("an entry of the journal cannot be gone through and is left out: look after its incident by hand", "entry", seq, "source", ev.Source, "incident", ev.Incident, "err", err)
		}
		if err := i.journal.Done(seq); err != nil {
			i.e.log.Warn("the journal does not take it that an entry is done; it comes up again at the next start", "entry", seq, "err", err)
		}
		i.mu.Lock()
		if n, ok := slices.BinarySearch(part.waiting, seq); ok {
			part.waiting = slices.Delete(part.waiting, n, n+1)
		}
		i.mu.Unlock()
	}
}

// again does what was kept, as of when it came.
func (i *island) again(ctx context.Context, p uint8, ev event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			i.e.metrics.panics.Inc()
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if ev.Webhook != nil {
		i.mu.Lock()
		results := make(map[string][]result, len(ev.Born))
		for _, id := range ev.Born {
			results[id] = slices.Clone(i.parts[p].results[id])
		}
		i.mu.Unlock()
		ids, err := i.unborn(ctx, p, ev.Born)
		if err != nil {
			return err
		}
		gid, _ := escalation.GroupID(ev.Source, ev.Webhook.GroupLabels)
		in := intake{source: ev.Source, w: *ev.Webhook, again: &again{island: i, at: ev.At.Time(), born: ids, results: results}}
		if err := i.e.take(ctx, in); err != nil {
			return err
		}
		i.known.learn(gid, *ev.Webhook)
		return nil
	}
	do := ev.act()
	if ev.Result != nil {
		do = *ev.Result
	}
	if do == nil {
		return fmt.Errorf("the act %q is not known", ev.Act)
	}
	inc, answer, err := i.e.applyAt(ctx, ev.Incident, do, nil, false, ev.At.Time())
	if ack, is := do.(escalation.Acknowledge); is && err == nil && answer.Kind == escalation.NotInChain && !ack.TakeOver &&
		slices.ContainsFunc(inc.Paged, func(p escalation.Paged) bool { return p.Handle == ack.By.Handle }) {
		ack.TakeOver = true // whoever was paged may; the chain changed since
		_, answer, err = i.e.applyAt(ctx, ev.Incident, ack, nil, false, ev.At.Time())
	}
	switch {
	case errors.Is(err, ErrNotFound):
		if ev.Act != "" {
			i.e.log.Warn("what was answered is for an incident that is not kept any more", "incident", ev.Incident, "by", ev.By.Handle)
		}
		return nil
	case err == nil && ev.Act != "" && answer.Kind != escalation.Done:
		i.e.log.Warn("what was answered while the store was away changed nothing", "incident", ev.Incident, "by", ev.By.Handle, "answer", string(answer.Kind))
	}
	return err
}

// unborn are the ids of which the store has no record: a webhook that is gone
// through for the second time has made its incidents already.
func (i *island) unborn(ctx context.Context, p uint8, born map[string]string) (map[string]string, error) {
	left := map[string]string{}
	for subject, id := range born {
		_, err := i.e.load(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound):
			left[subject] = id
		case err != nil && isAway(err):
			return nil, err
		}
	}
	return left, nil
}

// forget drops from the scratch store what is in the real one by now.
func (i *island) forget(ctx context.Context, parts []uint8) {
	done := map[uint8]bool{}
	i.mu.Lock()
	for _, p := range parts {
		if part := &i.parts[p]; part.back && len(part.waiting) == 0 {
			done[p] = true
		}
	}
	i.mu.Unlock()
	if len(done) == 0 {
		return
	}
	var recs []store.Record
	_ = i.inner.store.Scan(ctx, "", func(rec store.Record) bool {
		if done[rec.Key.Partition] {
			recs = append(recs, rec)
		}
		return true
	})
	for _, rec := range recs {
		// Who changes it meanwhile has sent something: that is kept.
		_ = i.inner.store.Commit(ctx, store.Txn{Partition: rec.Key.Partition, Mark: mark(), Writes: []store.Write{{ID: rec.Key.ID, Expect: rec.Version}}})
	}
	i.mu.Lock()
	for p := range done {
		i.parts[p].back = false
	}
	i.mu.Unlock()
}

// again is a webhook that was taken in on the island.
type again struct {
	island  *island
	at      time.Time
	born    map[string]string // ids that are not in the store, by subject
	results map[string][]result
}

// as tells when the webhook came, and the ids that its incidents have.
func (a *again) as(now time.Time) (time.Time, map[string]string) {
	switch {
	case a == nil:
		return now, nil
	case a.at.Before(now):
		return a.at, a.born
	}
	return now, a.born // the clock was set back
}

// settle takes new incidents through what came of their pages on the island, and
// leads from the ids that turned out to be others to those.
func (a *again) settle(e *Engine, t *txn, incs []loaded, out *escalation.Ingested, now time.Time, env escalation.Env) {
	if a == nil {
		return
	}
	for n := range out.Incidents {
		inc := &out.Incidents[n]
		if n < len(incs) {
			if inc.StepAt != incs[n].StepAt {
				*inc = escalation.Resume(*inc, a.at, now)
			}
			continue
		}
		if a.born[inc.Subject] == inc.ID {
			for _, r := range a.results[inc.ID] {
				*inc, _ = escalation.Step(*inc, r.Result, a.at, env)
			}
			var doubtful []string
			*inc, doubtful = escalation.Doubt(*inc)
			a.island.mu.Lock()
			for _, id := range doubtful {
				a.island.doubtful[id] = true
			}
			a.island.mu.Unlock()
		}
		*inc = escalation.Resume(*inc, a.at, now)
	}
	for subject, id := range a.born {
		to := ""
		for n := range out.Incidents {
			if inc := &out.Incidents[n]; inc.Subject == subject && (to == "" || inc.Open()) {
				to = inc.ID
			}
		}
		if to == "" || to == id {
			continue
		}
		t.urgent = true
		t.writes = append(t.writes, store.Write{ID: "a/" + id, Data: []byte(to), Wake: now.Add(escalation.ClosedRetention)})
		for _, r := range a.results[id] {
			if r.page {
				e.metrics.duplicatePages.WithLabelValues(byIsland).Inc()
			}
		}
	}
}

// bornIn are the ids of open incidents by their subject.
func bornIn(incs []escalation.Incident) map[string]string {
	ids := map[string]string{}
	for i := range incs {
		if incs[i].Open() {
			ids[incs[i].Subject] = incs[i].ID
		}
	}
	return ids
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
