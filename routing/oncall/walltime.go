package oncall

import (
	"math"
	"time"
)

// forever is an instant that never comes.
const forever = math.MaxInt64

const daySeconds = 24 * 60 * 60

// maxOffset is more than any zone was ever ahead of or behind UTC.
const maxOffset = 16 * 60 * 60

// instant returns the Unix second at which the wall clock of loc first shows
// wall or later. wall is civil time counted as if it were UTC. So a wall time
// that a clock change skips happens at the end of the gap, and one that happens
// twice at its first occurrence; and a later wall time is never an earlier
// instant. (time.Date promises neither.)
func instant(loc *time.Location, wall int64) int64 {
	x := wall - maxOffset
	for {
		t := time.Unix(x, 0).In(loc)
		_, offset := t.Zone()
		_, bound := t.ZoneBounds()
		end := bound.Unix()
		if bound.IsZero() {
			end = forever
		} else if end <= x {
			// Past its table of changes ZoneBounds takes every year for 365 days:
			// on the last day of a leap year it names a bound that is over.
			end = (floorDiv(x, daySeconds) + 1) * daySeconds
		}
		x = max(x, wall-int64(offset))
		if x < end {
			return x
		}
		x = end
	}
}

// wallClock returns what the wall clock of loc shows at x, as if it were UTC.
func wallClock(loc *time.Location, x int64) int64 {
	_, offset := time.Unix(x, 0).In(loc).Zone()
	return x + int64(offset)
}

// floorDiv rounds towards minus infinity.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}
