package server

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"callchain/escalation"
	"callchain/routing"
	"callchain/routing/report"
)

// What the pages and the API say of reports and risks may be older by keepFacts.
const (
	keepFacts   = 5 * time.Second
	maxReadings = 8
)

// memory reads what is recorded for the pages, which anybody may ask for, and
// the API. A reading passes over the store, so there is one at a time, for all
// who ask for its days meanwhile and shortly after. Who carries a token sees at
// least what this process has written.
type memory struct {
	read func(ctx context.Context, fromDay, toDay string) ([]report.Facts, error)

	mu       sync.Mutex
	readings []*reading // that are under way, or not old yet
	written  uint64     // how often this process wrote
	turn     chan struct{}
}

type reading struct {
	from, to string
	began    time.Time // zero: it waits for its turn
	written  uint64    // when it began
	done     chan struct{}
	facts    []report.Facts // not to be changed
	err      error
}

func newMemory(read func(ctx context.Context, fromDay, toDay string) ([]report.Facts, error)) *memory {
	return &memory{read: read, turn: make(chan struct{}, 1)}
}

// facts are what the engine's RiskFacts give for the days, and maybe those of
// further days. With own, what this process has written is in them.
func (m *memory) facts(ctx context.Context, from, to string, own bool) ([]report.Facts, error) {
	r := m.reading(from, to, own)
	if r == nil {
		return nil, fail(http.StatusServiceUnavailable, "busy", "many ask for other days at this moment; try again in some seconds")
	}
	select {
	case <-r.done:
		return r.facts, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for what is recorded: %w", ctx.Err())
	}
}

// reading joins one that is new enough, or begins one; nil when there are too many.
func (m *memory) reading(from, to string, own bool) *reading {
	m.mu.Lock()
	defer m.mu.Unlock()
	oldest := -1
	var newest *reading
	for i, r := range m.readings {
		fresh := r.began.IsZero() || time.Since(r.began) < keepFacts && (!own || r.written == m.written)
		if r.from <= from && to <= r.to && fresh && (newest == nil || r.began.After(newest.began)) {
			newest = r
		}
		if r.over() && (oldest < 0 || r.began.Before(m.readings[oldest].began)) {
			oldest = i
		}
	}
	if newest != nil { // one that began, if there is any: it is ready earlier
		return newest
	}
	r := &reading{from: from, to: to, done: make(chan struct{})}
	switch {
	case len(m.readings) < maxReadings:
		m.readings = append(m.readings, r)
	case oldest < 0:
		return nil
	default:
		m.readings[oldest] = r
	}
	go m.run(r)
	return r
}

func (r *reading) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// run carries out a reading for whoever waits, also when the first has gone.
func (m *memory) run(r *reading) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*storeWithin)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			r.err = fmt.Errorf("read what is recorded: panic: %v", p)
		}
		if r.err != nil {
			m.drop(r)
		} else {
			time.AfterFunc(keepFacts-time.Since(r.began), func() { m.drop(r) })
		}
		close(r.done)
	}()
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		r.err = ctx.Err()
		return
	}
	defer func() { <-m.turn }()
	m.mu.Lock()
	r.began, r.written = time.Now(), m.written
	m.mu.Unlock()
	r.facts, r.err = m.read(ctx, r.from, r.to)
}

// wrote is said when something was stored.
func (m *memory) wrote() {
	m.mu.Lock()
	m.written++
	m.mu.Unlock()
}

// remembered is an engine whose writes a memory knows of.
type remembered struct {
	Engine
	memory *memory
}

func (e remembered) Webhook(ctx context.Context, source string, w routing.Webhook) error {
	defer e.memory.wrote()
	return e.Engine.Webhook(ctx, source, w)
}

func (e remembered) Do(ctx context.Context, id string, ev escalation.Event) (escalation.Incident, escalation.Answer, error) {
	defer e.memory.wrote()
	return e.Engine.Do(ctx, id, ev)
}

func (m *memory) drop(r *reading) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.readings {
		if m.readings[i] == r {
			m.readings = append(m.readings[:i:i], m.readings[i+1:]...)
			return
		}
	}
}
