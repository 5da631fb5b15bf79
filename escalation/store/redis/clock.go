package redis

import (
	"sync"
	"time"
)

const (
	// drift is how far a local clock may go wrong in a second without a sample.
	drift = 200e-6
	// pace is that of a clock that has to let the server's catch up, in tenths.
	pace = 9
)

// clock estimates the server's clock from samples and the monotonic clock.
type clock struct {
	start time.Time

	mu      sync.Mutex
	known   bool
	offset  time.Duration // server's time since 1970 minus elapsed
	err     time.Duration // of the sample
	sampled time.Duration // when

	// The clock was here when the estimate changed, and never goes back.
	floor   time.Duration
	floorAt time.Duration
}

func newClock() *clock { return &clock{start: time.Now()} }

// elapsed is monotonic.
func (c *clock) elapsed() time.Duration { return time.Since(c.start) }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Unix(0, int64(c.at(c.elapsed()))).UTC()
}

// at never decreases while elapsed grows: each of the two lines rises, and at a
// sample the floor is put where the clock stands.
func (c *clock) at(elapsed time.Duration) time.Duration {
	return max(c.offset+elapsed, c.floor+(elapsed-c.floorAt)*pace/10)
}

// sample takes what the server's clock said between two instants of elapsed. It
// returns by how much the server's clock was moved since, if clearly.
func (c *clock) sample(before, after time.Duration, server time.Time) (step time.Duration) {
	half := (after-before)/2 + time.Microsecond
	offset := time.Duration(server.UnixNano()) - before - (after-before)/2
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		c.known, c.offset, c.err, c.sampled = true, offset, half, after
		return 0
	}
	uncertain := c.err + time.Duration(float64(after-c.sampled)*drift)
	diff := offset - c.offset
	moved := diff.Abs() > half+uncertain
	if half > uncertain && !moved {
		return 0 // a slow answer tells less than is known
	}
	c.floor, c.floorAt = c.at(after), after
	c.offset, c.err, c.sampled = offset, half, after
	if moved {
		return diff
	}
	return 0
}
