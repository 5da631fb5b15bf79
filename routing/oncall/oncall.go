// Package oncall says who covers an instant of a schedule.
//
// On-call is kept as intervals of cover, never as hand-over events: a question
// is answered by arithmetic from the instant alone, nothing is walked from the
// start and nothing can be missed while the program was down. The package is
// pure and knows people by their handles only; what a team does when nobody is
// on call is decided by its caller, package routing.
//
// What covers what, from the bottom: rotations in their listed order, then
// shifts, then overrides; of two of a kind the later listed one. A layer that
// has nobody at an instant (before its start, outside its `only` window, an
// empty turn) is transparent there.
//
// iCal schedules are not read here: such a schedule covers nobody.
package oncall

import (
	"slices"
	"sort"
	"time"

	"callchain/config"
)

// Schedule says who is on call at any instant. It never changes.
type Schedule struct {
	name      string
	loc       *time.Location
	rotations []rotation // later covers earlier
	spans     []span     // shifts and overrides, flattened: sorted, disjoint
}

// span is a stretch of time with its people: [from, to) in Unix seconds.
type span struct {
	from, to int64
	members  []string
}

// Interval is a stretch of time with one cover: [From, To).
type Interval struct {
	From, To time.Time
	Members  []string // handles in listed order; empty: nobody
}

// New compiles a schedule. It takes any value: a rotation without members, a
// shift without members and a stretch that ends before it begins cover nothing.
func New(c config.Schedule) *Schedule {
	s := &Schedule{name: c.Name.V, loc: c.Timezone.V}
	if s.loc == nil {
		s.loc = time.UTC
	}
	for _, r := range c.Rotations {
		if rot, ok := newRotation(r, s.loc); ok {
			s.rotations = append(s.rotations, rot)
		}
	}
	var spans []span
	add := func(members []string, from, to config.LocalTime) {
		sp := span{instant(s.loc, from.Unix()), instant(s.loc, to.Unix()), members}
		if len(members) > 0 && sp.from < sp.to {
			spans = append(spans, sp)
		}
	}
	for _, sh := range c.Shifts {
		add(handles(sh.Members), sh.From.V, sh.To.V)
	}
	for _, o := range c.Overrides {
		add(handles([]config.At[string]{o.Member}), o.From.V, o.To.V)
	}
	s.spans = flatten(spans)
	return s
}

// handles keeps the listed order and drops empty names and repetitions.
func handles(names []config.At[string]) []string {
	var out []string
	for _, n := range names {
		if n.V != "" && !slices.Contains(out, n.V) {
			out = append(out, n.V)
		}
	}
	return out
}

// Name is the schedule's name in the catalog.
func (s *Schedule) Name() string { return s.name }

// Location is the zone in which the schedule's wall times are meant.
func (s *Schedule) Location() *time.Location { return s.loc }

// OnCall returns the handles of those who cover t, in listed order; nil when
// nobody does.
func (s *Schedule) OnCall(t time.Time) []string {
	members, _ := s.at(t.Unix())
	return slices.Clone(members)
}

// maxChanges bounds Next: some years of daily windows, a few weeks of hourly turns.
const maxChanges = 2000

// Next returns who takes over next and at which instant after t: the first
// cover by somebody that is not the same people as at t. A stretch that nobody
// covers is passed over. Without such a take-over in the next maxChanges changes
// of any layer it returns nil and the zero time.
func (s *Schedule) Next(t time.Time) (members []string, at time.Time) {
	now, until := s.at(t.Unix())
	for range maxChanges {
		if until == forever {
			break
		}
		at := until
		members, until = s.at(at)
		if len(members) > 0 && !samePeople(members, now) {
			return slices.Clone(members), s.time(at)
		}
	}
	return nil, time.Time{}
}

// Cover cuts [from, to) into the intervals of equal cover, in order and without
// holes: an interval that nobody covers has no members.
func (s *Schedule) Cover(from, to time.Time) []Interval {
	var out []Interval
	end := to.Unix()
	for x := from.Unix(); x < end; {
		members, until := s.at(x)
		until = min(until, end)
		if n := len(out); n > 0 && samePeople(out[n-1].Members, members) {
			out[n-1].To = s.time(until)
		} else {
			out = append(out, Interval{s.time(x), s.time(until), slices.Clone(members)})
		}
		x = until
	}
	return out
}

func (s *Schedule) time(x int64) time.Time { return time.Unix(x, 0).In(s.loc) }

func samePeople(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for _, m := range a {
		if !slices.Contains(b, m) {
			return false
		}
	}
	return true
}

// at returns who covers x and the first instant after x at which that may
// change: nothing below the covering layer is asked.
func (s *Schedule) at(x int64) (members []string, until int64) {
	i := sort.Search(len(s.spans), func(i int) bool { return s.spans[i].to > x })
	until = forever
	if i < len(s.spans) {
		if sp := s.spans[i]; sp.from <= x {
			return sp.members, sp.to
		}
		until = s.spans[i].from
	}
	for i := len(s.rotations) - 1; i >= 0; i-- {
		m, u := s.rotations[i].at(x)
		until = min(until, u)
		if len(m) > 0 {
			return m, until
		}
	}
	return nil, until
}

// flatten paints the spans over each other, later over earlier, and returns
// what is seen: sorted and disjoint.
func flatten(spans []span) []span {
	edges := make([]int64, 0, 2*len(spans))
	for _, sp := range spans {
		edges = append(edges, sp.from, sp.to)
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)

	// From the last span to the first, each takes the pieces between edges that
	// are still free; next leads over pieces that are taken.
	top := make([]int, len(edges))
	next := make([]int, len(edges)+1)
	for i := range next {
		next[i] = i
	}
	free := func(i int) int {
		for next[i] != i {
			next[i] = next[next[i]]
			i = next[i]
		}
		return i
	}
	for i := range top {
		top[i] = -1
	}
	for k := len(spans) - 1; k >= 0; k-- {
		i, _ := slices.BinarySearch(edges, spans[k].from)
		for i = free(i); edges[i] < spans[k].to; i = free(i) {
			top[i], next[i] = k, i+1
		}
	}
	var out []span
	for i, k := range top {
		if k < 0 {
			continue
		}
		if n := len(out); n > 0 && out[n-1].to == edges[i] && slices.Equal(out[n-1].members, spans[k].members) {
			out[n-1].to = edges[i+1]
			continue
		}
		out = append(out, span{edges[i], edges[i+1], spans[k].members})
	}
	return out
}
