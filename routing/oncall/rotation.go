package oncall

import (
	"time"

	"callchain/config"
)

// rotation is one layer: turns of equal length that follow each other for ever.
type rotation struct {
	loc   *time.Location
	turns [][]string
	start int64 // wall clock, as if UTC
	begin int64 // the instant of start

	civil bool  // the length is civil days, not elapsed seconds
	every int64 // seconds, elapsed or of the wall clock; 0: no hand-over

	only *only
}

// only restricts a layer to a window that opens on some days of the week.
type only struct {
	days     [7]bool
	from, to int64 // seconds after the listed day's midnight; to may lie in the next day
}

func newRotation(c config.Rotation, loc *time.Location) (rotation, bool) {
	r := rotation{loc: loc, start: c.Start.V.Unix()}
	r.begin = instant(loc, r.start)
	somebody := false
	for _, turn := range c.Members {
		people := handles(turn)
		somebody = somebody || len(people) > 0
		r.turns = append(r.turns, people)
	}
	if !somebody {
		return rotation{}, false
	}
	// A single turn hands over to itself: no hand-over at all.
	if n := int64(c.Every.V.N); n > 0 && len(r.turns) > 1 {
		switch c.Every.V.Unit {
		case config.Hours:
			r.every = n * 60 * 60
		case config.Days:
			r.every, r.civil = n*daySeconds, true
		case config.Weeks:
			r.every, r.civil = n*7*daySeconds, true
		}
	}
	if c.Only != nil {
		r.only = newOnly(*c.Only)
	}
	return r, true
}

func newOnly(c config.Only) *only {
	o := &only{from: int64(c.From.V) * 60, to: int64(c.To.V) * 60}
	// The window ends on the next day when it reaches past midnight, and when
	// both ends are the same: that is a whole day.
	if o.to <= o.from {
		o.to += daySeconds
	}
	for _, d := range c.Days {
		o.days[d.V] = true
	}
	if len(c.Days) == 0 {
		o.days = [7]bool{true, true, true, true, true, true, true}
	}
	return o
}

// at returns whom the layer puts on call at x, nil if nobody, and the first
// instant after x at which that may change.
func (r *rotation) at(x int64) (members []string, until int64) {
	if x < r.begin {
		return nil, r.begin
	}
	until = forever
	if r.only != nil {
		open, u := r.only.at(r.loc, x)
		if !open {
			return nil, u
		}
		until = u
	}
	turn, end := r.turn(x)
	return r.turns[turn%int64(len(r.turns))], min(until, end)
}

// turn returns the number of the turn that holds x, which is not before the
// layer's begin, and the turn's end.
func (r *rotation) turn(x int64) (n, end int64) {
	switch {
	case r.every == 0:
		return 0, forever
	case !r.civil:
		n = (x - r.begin) / r.every
		return n, r.begin + (n+1)*r.every
	}
	// The turn by the wall clock has begun at x. When the clock was put back
	// since, the next hand-over may be over too: its first occurrence counts.
	n = max(0, floorDiv(wallClock(r.loc, x)-r.start, r.every))
	for {
		end = instant(r.loc, r.start+(n+1)*r.every)
		if end > x {
			return n, end
		}
		n++
	}
}

// at tells whether a window is open at x, and the first instant after x at
// which that may change.
func (o *only) at(loc *time.Location, x int64) (open bool, until int64) {
	today := floorDiv(wallClock(loc, x), daySeconds)
	// A window of yesterday may still be open. One more day on either side for
	// clocks that were put over midnight; then on to the next window: a week
	// away at most, two when a clock change swallows one.
	const before, after = 2, 16
	for day := today - before; day <= today+after; day++ {
		if !o.days[weekday(day)] {
			continue
		}
		from := instant(loc, day*daySeconds+o.from)
		to := instant(loc, day*daySeconds+o.to)
		switch {
		case from >= to || to <= x:
		case from <= x:
			return true, to
		default:
			return false, from
		}
	}
	return false, instant(loc, (today+after)*daySeconds)
}

// weekday of the civil day n, counted from 1970-01-01, a Thursday.
func weekday(n int64) time.Weekday {
	return time.Weekday(((n+int64(time.Thursday))%7 + 7) % 7)
}
