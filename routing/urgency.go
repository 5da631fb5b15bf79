package routing

import (
	"time"

	"github.com/prometheus/alertmanager/timeinterval"

	"callchain/config"
)

// urgencyRule is a compiled routing.urgency rule; its matchers are in the index.
type urgencyRule struct {
	urgency config.Urgency
	active  []timeinterval.TimeInterval // any of them; nil: always
	always  bool
}

// builtInUrgency is what a severity costs where no rule says otherwise.
func builtInUrgency(severity string) config.Urgency {
	switch severity {
	case "ubn", "emergency":
		return config.UnbreakNow
	case "page", "critical":
		return config.Page
	case "high", "error", "warning":
		return config.Notify
	}
	return config.Record
}

// lower is the urgency outside a rule's active hours.
func lower(u config.Urgency) config.Urgency {
	switch u {
	case config.UnbreakNow:
		return config.Page
	case config.Page:
		return config.Notify
	}
	return config.Record
}

// at is the rule's urgency at an instant, and when to look again: zero when
// time changes nothing.
func (u urgencyRule) at(now time.Time) (config.Urgency, time.Time) {
	if u.always || u.urgency == config.Record {
		return u.urgency, time.Time{}
	}
	for _, ti := range u.active {
		if ti.ContainsTime(now.UTC()) {
			return u.urgency, time.Time{}
		}
	}
	return lower(u.urgency), nextOpening(u.active, now)
}

const day = 24 * time.Hour

// nextOpening is the next full minute within a day at which one of the
// intervals, all closed now, is open; a day from now when there is none.
//
// An interval can only open when its wall clock reaches the start of one of its
// times, at midnight (days, months and years turn then), or when the clocks are
// changed: only these instants are asked.
func nextOpening(intervals []timeinterval.TimeInterval, now time.Time) time.Time {
	now = now.UTC().Truncate(time.Minute)
	next := now.Add(day)
	for _, ti := range intervals {
		loc := time.UTC
		if ti.Location != nil && ti.Location.Location != nil {
			loc = ti.Location.Location
		}
		try := func(t time.Time) {
			t = t.UTC().Truncate(time.Minute)
			if t.After(now) && t.Before(next) && ti.ContainsTime(t) {
				next = t
			}
		}
		local := now.In(loc)
		_, offset := local.Zone()
		offsets := []int{offset}
		for t := local; ; {
			_, change := t.ZoneBounds()
			if change.IsZero() || change.After(next) {
				break
			}
			try(change)
			t = change.In(loc)
			_, offset = t.Zone()
			offsets = append(offsets, offset)
		}
		y, m, d := local.Date()
		// A day each side: the window may begin and end in other civil days.
		for n := -1; n <= 2; n++ {
			midnight := time.Date(y, m, d+n, 0, 0, 0, 0, time.UTC)
			for _, offset := range offsets {
				start := midnight.Add(-time.Duration(offset) * time.Second)
				try(start)
				for _, r := range ti.Times {
					try(start.Add(time.Duration(r.StartMinute) * time.Minute))
				}
			}
		}
	}
	return next
}
