package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"callchain/escalation"
)

// overdue is what the last look at the open incidents found.
type overdue struct {
	mu  sync.Mutex
	at  time.Time // when it was; zero: never
	age time.Duration
}

func (o *overdue) set(at time.Time, age time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.at, o.age = at, age
}

func (o *overdue) get() (time.Time, time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.at, o.age
}

// How old a timer may be that is due, and how old what is known of that.
const (
	overdueMost  = 30 * time.Second
	overdueStale = 2 * time.Minute
)

// Able tells whether people would be paged right now, and if not why not: the
// store answers and its timers are read, some channel works, and no timer is due
// for long.
func (e *Engine) Able(ctx context.Context) error {
	if err := e.Ready(ctx); err != nil {
		return fmt.Errorf("the store does not answer: %w", err)
	}
	now := e.store.Now()
	if !e.hearing.lately(now) {
		return errors.New("timers are not read from the store")
	}
	if e.newer.stuck(now) {
		return errors.New("incidents wait for a newer version of callchain")
	}
	snap := e.snap.Load()
	if snap.Config.Shadow.V {
		return errors.New("shadow mode: nothing is sent to anybody")
	}
	up := false
	for name, h := range e.health {
		up = up || snap.Channels[name] != nil && h.why() == ""
	}
	if !up {
		return errors.New("no channel works")
	}
	switch at, age := e.overdue.get(); {
	case now.Sub(at) > overdueStale:
		return errors.New("open incidents could not be looked at lately")
	case age > overdueMost:
		return fmt.Errorf("a timer has been due for %s", age.Round(time.Second))
	}
	return nil
}

// lately tells whether timers were read not long ago.
func (h *hearing) lately(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last != 0 && escalation.At(now)-h.last <= escalation.Instant(deafAfter.Milliseconds())
}
