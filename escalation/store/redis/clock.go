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

// clock estimates the server's clock from samples and the monotonic clock. With
// several servers it is the clock of one of them; the others stand in for it.
type clock struct {
	start time.Time

	mu      sync.Mutex
	known   bool
	offset  time.Duration // server's time since 1970 minus elapsed
	err     time.Duration // of the sample
	sampled time.Duration // when

	// others are by how much the clocks of servers that may stand in differ.
	others map[string]time.Duration

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

// sample is what a server's clock said between two instants of elapsed.
type sample struct {
	before, after time.Duration
	server        time.Time
}

// offset is the server's time minus elapsed, and how far that may be wrong.
func (s sample) offset() (offset, half time.Duration) {
	half = (s.after - s.before) / 2
	return time.Duration(s.server.UnixNano()) - s.before - half, half + time.Microsecond
}

func (c *clock) isSet() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known
}

// compare notes how far the clock of another server is from this one.
func (c *clock) compare(addr string, s sample) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.differ(addr, s)
}

func (c *clock) differ(addr string, s sample) {
	offset, _ := s.offset()
	if c.others == nil {
		c.others = make(map[string]time.Duration)
	}
	c.others[addr] = offset - c.offset
}

// follow lets another server stand in. Only how fast its clock goes counts, not
// what it says: the timers that are stored were set by the one that is away, and
// it comes back. Every process that knows the difference stays with the same time.
func (c *clock) follow(addr string, s sample) (step time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	difference, ok := c.others[addr]
	if !ok && c.known {
		c.differ(addr, s)
		return 0
	}
	s.server = s.server.Add(-difference)
	return c.take(s)
}

// sample takes what the server's clock said. It returns by how much the server's
// clock was moved since, if clearly.
func (c *clock) sample(s sample) (step time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.take(s)
}

func (c *clock) take(s sample) (step time.Duration) {
	offset, half := s.offset()
	after := s.after
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
