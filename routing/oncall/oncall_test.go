package oncall

import (
	"testing"
	"time"

	"callchain/config"

	"github.com/google/go-cmp/cmp"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func local(s string) config.At[config.LocalTime] {
	t, err := time.Parse("2006-01-02T15:04:05", s)
	if err != nil {
		panic(err)
	}
	return config.At[config.LocalTime]{V: config.LocalTime{Time: t}}
}

func names(names ...string) []config.At[string] {
	var out []config.At[string]
	for _, n := range names {
		out = append(out, config.At[string]{V: n})
	}
	return out
}

func turns(names ...string) []config.Turn {
	var out []config.Turn
	for _, n := range names {
		out = append(out, config.Turn{{V: n}})
	}
	return out
}

func every(n int, unit config.PeriodUnit) config.At[config.Period] {
	return config.At[config.Period]{V: config.Period{N: n, Unit: unit}}
}

func window(from, to config.ClockTime, days ...time.Weekday) *config.Only {
	o := &config.Only{From: config.At[config.ClockTime]{V: from}, To: config.At[config.ClockTime]{V: to}}
	for _, d := range days {
		o.Days = append(o.Days, config.At[time.Weekday]{V: d})
	}
	return o
}

func schedule(loc *time.Location, c config.Schedule) *Schedule {
	c.Timezone = config.At[*time.Location]{V: loc}
	return New(c)
}

// instantOf reads an RFC 3339 time: tests name instants, not wall times.
func instantOf(t testing.TB, s string) time.Time {
	t.Helper()
	x, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestInstant(t *testing.T) {
	for _, tc := range []struct {
		name, zone, wall, want string
	}{
		{"plain", "Europe/Berlin", "2026-01-05T09:00:00", "2026-01-05T08:00:00Z"},
		{"in a gap: its end", "Europe/Berlin", "2026-03-29T02:30:00", "2026-03-29T01:00:00Z"},
		{"gap begins: its end", "Europe/Berlin", "2026-03-29T02:00:00", "2026-03-29T01:00:00Z"},
		{"after a gap", "Europe/Berlin", "2026-03-29T03:00:00", "2026-03-29T01:00:00Z"},
		{"twice: the first", "Europe/Berlin", "2026-10-25T02:30:00", "2026-10-25T00:30:00Z"},
		{"after the second", "Europe/Berlin", "2026-10-25T03:00:00", "2026-10-25T02:00:00Z"},
		{"no midnight", "Africa/Cairo", "2026-04-24T00:00:00", "2026-04-23T22:00:00Z"},
		{"half an hour", "Australia/Lord_Howe", "2026-10-04T02:15:00", "2026-10-03T15:30:00Z"},
		{"midnight twice", "America/St_Johns", "2010-11-07T00:00:00", "2010-11-07T02:30:00Z"},
		{"a day that never was", "Pacific/Apia", "2011-12-30T09:00:00", "2011-12-30T10:00:00Z"},
		{"far ahead", "Pacific/Kiritimati", "2026-01-01T00:00:00", "2025-12-31T10:00:00Z"},
		{"far behind", "Pacific/Pago_Pago", "2026-01-01T00:00:00", "2026-01-01T11:00:00Z"},
		{"the last day of a leap year", "America/New_York", "2028-12-31T12:00:00", "2028-12-31T17:00:00Z"},
		{"and the morning after", "Europe/Berlin", "2041-01-01T09:00:00", "2041-01-01T08:00:00Z"},
		{"after the last rule of the table", "America/New_York", "2090-07-01T12:00:00", "2090-07-01T16:00:00Z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := time.Unix(instant(zone(t, tc.zone), local(tc.wall).V.Unix()), 0).UTC().Format(time.RFC3339)
			if got != tc.want {
				t.Errorf("%s in %s = %s, want %s", tc.wall, tc.zone, got, tc.want)
			}
		})
	}
}

func TestOnCall(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	weekly := config.Rotation{Members: turns("amira", "ben", "chen"), Start: local("2026-03-02T09:00:00"), Every: every(1, config.Weeks)}
	hourly := config.Rotation{Members: turns("amira", "ben"), Start: local("2026-03-28T09:00:00"), Every: every(12, config.Hours)}
	office := config.Rotation{Members: turns("dora"), Start: local("2026-01-01T00:00:00"), Every: every(1, config.Weeks),
		Only: window(9*60, 17*60, time.Monday, time.Friday)}
	night := config.Rotation{Members: turns("elif"), Start: local("2026-01-01T00:00:00"), Every: every(1, config.Days),
		Only: window(22*60, 6*60, time.Friday)}
	for _, tc := range []struct {
		name string
		c    config.Schedule
		at   string
		want []string
	}{
		{"before the start", config.Schedule{Rotations: []config.Rotation{weekly}}, "2026-03-02T07:59:59Z", nil},
		{"at the start", config.Schedule{Rotations: []config.Rotation{weekly}}, "2026-03-02T08:00:00Z", []string{"amira"}},
		{"a second before the hand-over", config.Schedule{Rotations: []config.Rotation{weekly}}, "2026-03-09T07:59:59Z", []string{"amira"}},
		{"at the hand-over", config.Schedule{Rotations: []config.Rotation{weekly}}, "2026-03-09T08:00:00Z", []string{"ben"}},
		{"round again, in summer time at the same wall-clock time", config.Schedule{Rotations: []config.Rotation{weekly}}, "2026-03-30T07:00:00Z", []string{"ben"}},
		{"and a second earlier", config.Schedule{Rotations: []config.Rotation{weekly}}, "2026-03-30T06:59:59Z", []string{"amira"}},
		{"hours are elapsed hours", config.Schedule{Rotations: []config.Rotation{hourly}}, "2026-03-29T07:59:59Z", []string{"ben"}},
		{"so they shift at a clock change", config.Schedule{Rotations: []config.Rotation{hourly}}, "2026-03-29T08:00:00Z", []string{"amira"}},
		{"a later layer covers", config.Schedule{Rotations: []config.Rotation{weekly, office}}, "2026-03-13T12:00:00Z", []string{"dora"}},
		{"only where it is active", config.Schedule{Rotations: []config.Rotation{weekly, office}}, "2026-03-13T16:00:00Z", []string{"ben"}},
		{"an earlier layer does not", config.Schedule{Rotations: []config.Rotation{office, weekly}}, "2026-03-13T12:00:00Z", []string{"ben"}},
		{"past midnight belongs to the listed day", config.Schedule{Rotations: []config.Rotation{night}}, "2026-03-14T04:59:59Z", []string{"elif"}},
		{"and ends on the next", config.Schedule{Rotations: []config.Rotation{night}}, "2026-03-14T05:00:00Z", nil},
		{"not the night before the listed day", config.Schedule{Rotations: []config.Rotation{night}}, "2026-03-13T04:00:00Z", nil},
		{"a turn of two", config.Schedule{Rotations: []config.Rotation{{Members: []config.Turn{names("amira", "ben"), names("chen")},
			Start: local("2026-03-02T09:00:00"), Every: every(1, config.Days)}}}, "2026-03-04T12:00:00Z", []string{"amira", "ben"}},
		{"an empty turn lets the layer below through", config.Schedule{Rotations: []config.Rotation{weekly, {Members: []config.Turn{names("dora"), nil},
			Start: local("2026-03-02T09:00:00"), Every: every(1, config.Days)}}}, "2026-03-03T12:00:00Z", []string{"amira"}},
		{"a shift covers rotations", config.Schedule{Rotations: []config.Rotation{weekly, office},
			Shifts: []config.Shift{{Members: names("fatma"), From: local("2026-03-13T00:00:00"), To: local("2026-03-14T00:00:00")}}}, "2026-03-13T12:00:00Z", []string{"fatma"}},
		{"up to its end", config.Schedule{Rotations: []config.Rotation{weekly},
			Shifts: []config.Shift{{Members: names("fatma"), From: local("2026-03-13T00:00:00"), To: local("2026-03-14T00:00:00")}}}, "2026-03-13T23:00:00Z", []string{"ben"}},
		{"the later listed shift wins", config.Schedule{Shifts: []config.Shift{
			{Members: names("fatma"), From: local("2026-03-13T00:00:00"), To: local("2026-03-20T00:00:00")},
			{Members: names("goran"), From: local("2026-03-12T00:00:00"), To: local("2026-03-14T00:00:00")}}}, "2026-03-13T12:00:00Z", []string{"goran"}},
		{"an override covers all", config.Schedule{Rotations: []config.Rotation{weekly},
			Shifts:    []config.Shift{{Members: names("fatma"), From: local("2026-03-13T00:00:00"), To: local("2026-03-14T00:00:00")}},
			Overrides: []config.Override{{Member: names("hana")[0], From: local("2026-03-13T12:00:00"), To: local("2026-03-13T13:00:00")}}}, "2026-03-13T11:30:00Z", []string{"hana"}},
		{"iCal covers nobody", config.Schedule{ICalFile: config.At[string]{V: "secrets/url"}}, "2026-03-13T11:30:00Z", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := schedule(berlin, tc.c).OnCall(instantOf(t, tc.at))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("on call at %s (-want +got):\n%s", tc.at, diff)
			}
		})
	}
}

func TestNext(t *testing.T) {
	utc := time.UTC
	week := config.Rotation{Members: turns("amira", "ben"), Start: local("2026-03-02T09:00:00"), Every: every(1, config.Weeks)}
	office := week
	office.Only = window(9*60, 17*60, time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday)
	alone := office
	alone.Members = turns("amira")
	long := config.Rotation{Members: turns("amira", "ben"), Start: local("2026-03-02T09:00:00"), Every: every(150, config.Weeks)}
	for _, tc := range []struct {
		name string
		c    config.Schedule
		at   string
		who  []string
		when string
	}{
		{"the next turn", config.Schedule{Rotations: []config.Rotation{week}}, "2026-03-03T00:00:00Z", []string{"ben"}, "2026-03-09T09:00:00Z"},
		{"before the start", config.Schedule{Rotations: []config.Rotation{week}}, "2026-01-01T00:00:00Z", []string{"amira"}, "2026-03-02T09:00:00Z"},
		{"nights without cover are passed over", config.Schedule{Rotations: []config.Rotation{office}}, "2026-03-03T12:00:00Z", []string{"ben"}, "2026-03-09T09:00:00Z"},
		{"while nobody is on call, whoever comes", config.Schedule{Rotations: []config.Rotation{office}}, "2026-03-03T20:00:00Z", []string{"amira"}, "2026-03-04T09:00:00Z"},
		{"a turn of years", config.Schedule{Rotations: []config.Rotation{long}}, "2026-03-03T12:00:00Z", []string{"ben"}, "2029-01-15T09:00:00Z"},
		{"nobody ever takes over from one person", config.Schedule{Rotations: []config.Rotation{alone}}, "2026-03-03T12:00:00Z", nil, ""},
		{"nor in an empty schedule", config.Schedule{}, "2026-03-03T12:00:00Z", nil, ""},
		{"an override ends", config.Schedule{Rotations: []config.Rotation{week}, Overrides: []config.Override{
			{Member: names("dora")[0], From: local("2026-03-03T00:00:00"), To: local("2026-03-04T00:00:00")}}}, "2026-03-03T12:00:00Z", []string{"amira"}, "2026-03-04T00:00:00Z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			who, when := schedule(utc, tc.c).Next(instantOf(t, tc.at))
			if diff := cmp.Diff(tc.who, who); diff != "" {
				t.Errorf("who (-want +got):\n%s", diff)
			}
			if tc.when == "" {
				if !when.IsZero() {
					t.Errorf("at %v, want never", when)
				}
			} else if !when.Equal(instantOf(t, tc.when)) {
				t.Errorf("at %v, want %s", when, tc.when)
			}
		})
	}
}

func TestCover(t *testing.T) {
	s := schedule(time.UTC, config.Schedule{Rotations: []config.Rotation{{Members: turns("amira", "ben"),
		Start: local("2026-03-02T09:00:00"), Every: every(1, config.Days), Only: window(9*60, 17*60)}}})
	var got []string
	for _, iv := range s.Cover(instantOf(t, "2026-03-02T00:00:00Z"), instantOf(t, "2026-03-03T12:00:00Z")) {
		who := "nobody"
		if len(iv.Members) > 0 {
			who = iv.Members[0]
		}
		got = append(got, iv.From.Format("02 15:04-")+iv.To.Format("02 15:04 ")+who)
	}
	want := []string{"02 00:00-02 09:00 nobody", "02 09:00-02 17:00 amira", "02 17:00-03 09:00 nobody", "03 09:00-03 12:00 ben"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cover (-want +got):\n%s", diff)
	}
}

func BenchmarkOnCall(b *testing.B) {
	berlin := zone(b, "Europe/Berlin")
	s := schedule(berlin, config.Schedule{Rotations: []config.Rotation{
		{Members: turns("amira", "ben", "chen"), Start: local("2016-03-02T09:00:00"), Every: every(1, config.Days)},
		{Members: turns("dora", "elif"), Start: local("2016-03-02T09:00:00"), Every: every(1, config.Weeks),
			Only: window(9*60, 17*60, time.Monday, time.Friday)},
	}})
	now := time.Date(2026, 3, 12, 20, 0, 0, 0, time.UTC)
	for b.Loop() {
		s.OnCall(now)
	}
}

// Two shifts of the same people that follow each other in another order: who is
// named first is who is asked first.
func TestOrderOfShiftsThatMeet(t *testing.T) {
	s := schedule(time.UTC, config.Schedule{Shifts: []config.Shift{
		{Members: names("amira", "ben"), From: local("2026-11-20T00:00:00"), To: local("2026-11-21T00:00:00")},
		{Members: names("ben", "amira"), From: local("2026-11-21T00:00:00"), To: local("2026-11-22T00:00:00")},
	}})
	for at, want := range map[string][]string{"2026-11-20T12:00:00Z": {"amira", "ben"}, "2026-11-21T12:00:00Z": {"ben", "amira"}} {
		if diff := cmp.Diff(want, s.OnCall(instantOf(t, at))); diff != "" {
			t.Errorf("%s: %s", at, diff)
		}
	}
}
