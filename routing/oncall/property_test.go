package oncall

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"callchain/config"
	_ "callchain/internal/testbench/seed"

	"pgregory.net/rapid"
)

// The zones have clock changes of one hour, half an hour, a whole day, at
// midnight, on either hemisphere, and none.
var zones = []string{"UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Australia/Lord_Howe",
	"Africa/Cairo", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Apia", "Africa/Casablanca"}

// oracle answers like a person with a paper calendar: it looks at the wall clock
// minute by minute and walks every turn from the start.
type oracle struct {
	loc   *time.Location
	c     config.Schedule
	walls map[int64]int64
}

// happens returns the first minute at which the wall clock shows wall or later.
func (o *oracle) happens(wall time.Time) int64 {
	if x, ok := o.walls[wall.Unix()]; ok {
		return x
	}
	for x := wall.Add(-16 * time.Hour); ; x = x.Add(time.Minute) {
		l := x.In(o.loc)
		shown := time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), l.Second(), 0, time.UTC)
		if !shown.Before(wall) {
			o.walls[wall.Unix()] = x.Unix()
			return x.Unix()
		}
	}
}

func (o *oracle) onCall(x int64) []string {
	for _, ov := range slices.Backward(o.c.Overrides) {
		if o.happens(ov.From.V.Time) <= x && x < o.happens(ov.To.V.Time) {
			return []string{ov.Member.V}
		}
	}
	for _, sh := range slices.Backward(o.c.Shifts) {
		if o.happens(sh.From.V.Time) <= x && x < o.happens(sh.To.V.Time) {
			return handles(sh.Members)
		}
	}
	for _, r := range slices.Backward(o.c.Rotations) {
		if m := o.rotation(r, x); len(m) > 0 {
			return m
		}
	}
	return nil
}

func (o *oracle) rotation(r config.Rotation, x int64) []string {
	begin := o.happens(r.Start.V.Time)
	if x < begin || r.Only != nil && !o.open(r.Only, r.Start.V.Time, x) {
		return nil
	}
	for k := 0; ; k++ {
		var end int64
		switch p := r.Every.V; p.Unit {
		case config.Hours:
			end = begin + int64((k+1)*p.N)*3600
		case config.Days:
			end = o.happens(r.Start.V.AddDate(0, 0, (k+1)*p.N))
		case config.Weeks:
			end = o.happens(r.Start.V.AddDate(0, 0, 7*(k+1)*p.N))
		}
		if x < end {
			return handles(r.Members[k%len(r.Members)])
		}
	}
}

// open walks the calendar from a few days before the start.
func (o *oracle) open(w *config.Only, start time.Time, x int64) bool {
	midnight := time.Date(start.Year(), start.Month(), start.Day()-3, 0, 0, 0, 0, time.UTC)
	for day := midnight; day.Unix() < x+3*daySeconds; day = day.AddDate(0, 0, 1) {
		listed := len(w.Days) == 0
		for _, d := range w.Days {
			listed = listed || d.V == day.Weekday()
		}
		to := day
		if w.From.V >= w.To.V {
			to = day.AddDate(0, 0, 1)
		}
		from := o.happens(day.Add(time.Duration(w.From.V) * time.Minute))
		if listed && from <= x && x < o.happens(to.Add(time.Duration(w.To.V)*time.Minute)) {
			return true
		}
	}
	return false
}

// drawStart draws a wall time within weeks of a clock change of the zone, where
// the mistakes are, to the half hour.
func drawStart(t *rapid.T, loc *time.Location) time.Time {
	year := rapid.IntRange(2005, 2032).Draw(t, "year")
	if loc.String() == "Pacific/Apia" {
		year = 2011
	}
	at := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, end := at.AddDate(0, rapid.IntRange(0, 11).Draw(t, "month"), 0).In(loc).ZoneBounds(); !end.IsZero() && end.Year() < 2035 {
		at = end.UTC()
	}
	at = at.Truncate(24 * time.Hour)
	return at.AddDate(0, 0, rapid.IntRange(-12, 2).Draw(t, "day")).Add(30 * time.Minute * time.Duration(rapid.IntRange(0, 47).Draw(t, "half hour")))
}

func drawSchedule(t *rapid.T) (*oracle, time.Time) {
	loc, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
	if err != nil {
		t.Fatal(err)
	}
	start := drawStart(t, loc)
	person := rapid.SampledFrom([]string{"amira", "ben", "chen", "dora", "elif"})
	stretch := func(label string) (from, to config.At[config.LocalTime]) {
		f := start.Add(30 * time.Minute * time.Duration(rapid.IntRange(-48, 48*20).Draw(t, label)))
		l := f.Add(30 * time.Minute * time.Duration(rapid.IntRange(-2, 48*3).Draw(t, label+" length")))
		return config.At[config.LocalTime]{V: config.LocalTime{Time: f}}, config.At[config.LocalTime]{V: config.LocalTime{Time: l}}
	}
	var c config.Schedule
	for range rapid.IntRange(0, 3).Draw(t, "rotations") {
		var r config.Rotation
		for range rapid.IntRange(1, 4).Draw(t, "turns") {
			r.Members = append(r.Members, names(rapid.SliceOfN(person, 0, 2).Draw(t, "turn")...))
		}
		r.Start.V.Time = start.Add(30 * time.Minute * time.Duration(rapid.IntRange(0, 96).Draw(t, "start")))
		unit := rapid.SampledFrom([]config.PeriodUnit{config.Hours, config.Days, config.Weeks}).Draw(t, "unit")
		r.Every = every(rapid.IntRange(1, 5).Draw(t, "every"), unit)
		if rapid.Bool().Draw(t, "restricted") {
			half := rapid.IntRange(0, 47)
			r.Only = window(config.ClockTime(30*half.Draw(t, "from")), config.ClockTime(30*half.Draw(t, "to")),
				rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) time.Weekday {
					return time.Weekday(rapid.IntRange(0, 6).Draw(t, "weekday"))
				}), 0, 7, rapid.ID).Draw(t, "days")...)
		}
		c.Rotations = append(c.Rotations, r)
	}
	for range rapid.IntRange(0, 3).Draw(t, "shifts") {
		from, to := stretch("shift")
		c.Shifts = append(c.Shifts, config.Shift{Members: names(rapid.SliceOfN(person, 1, 2).Draw(t, "people")...), From: from, To: to})
	}
	for range rapid.IntRange(0, 3).Draw(t, "overrides") {
		from, to := stretch("override")
		c.Overrides = append(c.Overrides, config.Override{Member: names(person.Draw(t, "person"))[0], From: from, To: to})
	}
	c.Timezone.V = loc
	return &oracle{loc, c, map[int64]int64{}}, start
}

func TestEveryInstantHasItsCover(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, start := drawSchedule(t)
		s := New(o.c)
		for range 40 {
			x := start.Add(time.Minute * time.Duration(rapid.IntRange(-2*1440, 25*1440).Draw(t, "minute")))
			if got, want := s.OnCall(x), o.onCall(x.Unix()); !slices.Equal(got, want) {
				t.Fatalf("at %v: %v, want %v", x.In(o.loc), got, want)
			}
		}
	})
}

// The borders of Cover are exactly the instants at which the oracle's answer
// changes, and Next is the first of them that brings somebody else.
func TestCoverChangesWhereTheOracleDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, start := drawSchedule(t)
		s := New(o.c)
		from := start.AddDate(0, 0, rapid.IntRange(-1, 10).Draw(t, "from"))
		to := from.AddDate(0, 0, 4)

		var want []string
		last := "?"
		// Every wall time drawn is a half hour; clocks change at a quarter or, in
		// St John's of old, a minute after.
		for x, i := from, 0; x.Before(to); x, i = x.Add([]time.Duration{time.Minute, 14 * time.Minute}[i%2]), i+1 {
			m := o.onCall(x.Unix())
			slices.Sort(m)
			if who := fmt.Sprint(m); who != last {
				want, last = append(want, fmt.Sprint(x.UTC(), " ", who)), who
			}
		}
		var got []string
		cover := s.Cover(from, to)
		for i, iv := range cover {
			slices.Sort(iv.Members)
			got = append(got, fmt.Sprint(iv.From.UTC(), " ", iv.Members))
			if i > 0 && !cover[i-1].To.Equal(iv.From) {
				t.Fatalf("a hole between %v and %v", cover[i-1].To, iv.From)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("cover\n%v\nwant\n%v", got, want)
		}

		who, at := s.Next(from)
		slices.Sort(who)
		for _, iv := range cover[1:] {
			if len(iv.Members) > 0 && !slices.Equal(iv.Members, cover[0].Members) {
				if !at.Equal(iv.From) || !slices.Equal(who, iv.Members) {
					t.Fatalf("next: %v at %v, want %v at %v", who, at, iv.Members, iv.From)
				}
				return
			}
		}
		if len(who) > 0 && at.Before(to) {
			t.Fatalf("next: %v at %v, which cover does not know", who, at)
		}
	})
}
