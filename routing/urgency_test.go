package routing

import (
	"testing"
	"time"

	"github.com/prometheus/alertmanager/timeinterval"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"callchain/config"
	_ "callchain/internal/testbench/seed"
)

func interval(t testing.TB, text string) timeinterval.TimeInterval {
	t.Helper()
	var ti timeinterval.TimeInterval
	if err := yaml.Unmarshal([]byte(text), &ti); err != nil {
		t.Fatal(err)
	}
	return ti
}

func at(t testing.TB, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestActiveHours(t *testing.T) {
	office := "{weekdays: ['monday:friday'], times: [{start_time: '09:00', end_time: '17:00'}], location: Europe/Berlin}"
	for _, test := range []struct {
		name, interval string
		urgency        config.Urgency
		now            string
		want           config.Urgency
		review         string
	}{
		{"inside", office, config.Page, "2026-11-20T08:00:00Z", config.Page, ""},
		{"before opening", office, config.Page, "2026-11-20T07:59:59Z", config.Notify, "2026-11-20T08:00:00Z"},
		{"end is outside", office, config.UnbreakNow, "2026-11-19T16:00:00Z", config.Page, "2026-11-20T08:00:00Z"},
		{"does not open within a day", office, config.Notify, "2026-11-20T16:00:30Z", config.Record, "2026-11-21T16:00:00Z"},
		{"record cannot be lower", office, config.Record, "2026-11-21T12:00:00Z", config.Record, ""},
		{"UTC without a location", "{times: [{start_time: '09:00', end_time: '17:00'}]}", config.Page, "2026-11-20T08:30:00Z", config.Notify, "2026-11-20T09:00:00Z"},
		{"opens at midnight", "{weekdays: ['saturday']}", config.Page, "2026-11-20T12:34:56Z", config.Notify, "2026-11-21T00:00:00Z"},
		{"opens in the lost hour", "{times: [{start_time: '02:30', end_time: '04:00'}], location: Europe/Berlin}", config.Page, "2026-03-29T00:10:00Z", config.Notify, "2026-03-29T01:00:00Z"},
		{"opens again in the hour that comes twice", "{times: [{start_time: '02:10', end_time: '02:20'}], location: Europe/Berlin}", config.Page, "2026-10-25T00:30:00Z", config.Notify, "2026-10-25T01:10:00Z"},
		{"clocks far ahead", "{times: [{start_time: '00:00', end_time: '01:00'}], location: Pacific/Kiritimati}", config.Page, "2026-11-20T09:00:00Z", config.Notify, "2026-11-20T10:00:00Z"},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := urgencyRule{urgency: test.urgency, active: []timeinterval.TimeInterval{interval(t, test.interval)}}
			got, review := u.at(at(t, test.now))
			if got != test.want {
				t.Errorf("urgency %s, want %s", got, test.want)
			}
			want := time.Time{}
			if test.review != "" {
				want = at(t, test.review)
			}
			if !review.Equal(want) {
				t.Errorf("review at %s, want %s", review, want)
			}
		})
	}
}

// The instants that nextOpening asks are enough: asking every minute of the
// day finds no earlier one.
func TestNextOpeningAgainstEveryMinute(t *testing.T) {
	zones := []string{"", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Kiritimati", "America/Santiago", "Africa/Casablanca"}
	changes := []time.Time{
		at(t, "2026-03-29T01:00:00Z"), at(t, "2026-10-25T01:00:00Z"), at(t, "2026-03-08T07:00:00Z"), at(t, "2026-11-01T06:00:00Z"),
		at(t, "2026-10-03T15:30:00Z"), at(t, "2026-04-04T15:00:00Z"), at(t, "2026-09-06T04:00:00Z"), at(t, "2026-04-05T03:00:00Z"),
		at(t, "2026-12-31T23:00:00Z"), at(t, "2026-02-28T12:00:00Z"), at(t, "2026-02-15T02:00:00Z"),
	}
	rapid.Check(t, func(t *rapid.T) {
		var list []timeinterval.TimeInterval
		for range rapid.IntRange(1, 2).Draw(t, "intervals") {
			var ti timeinterval.TimeInterval
			if z := rapid.SampledFrom(zones).Draw(t, "zone"); z != "" {
				loc, err := time.LoadLocation(z)
				if err != nil {
					t.Fatal(err)
				}
				ti.Location = &timeinterval.Location{Location: loc}
			}
			for range rapid.IntRange(0, 2).Draw(t, "times") {
				start := rapid.IntRange(0, 1439).Draw(t, "start")
				ti.Times = append(ti.Times, timeinterval.TimeRange{StartMinute: start, EndMinute: rapid.IntRange(start+1, 1440).Draw(t, "end")})
			}
			if rapid.Bool().Draw(t, "weekdays") {
				d := rapid.IntRange(0, 6).Draw(t, "weekday")
				ti.Weekdays = []timeinterval.WeekdayRange{{InclusiveRange: timeinterval.InclusiveRange{Begin: d, End: d}}}
			}
			if rapid.Bool().Draw(t, "days") {
				d := rapid.SampledFrom([]int{1, 5, 28, -1, -3}).Draw(t, "day")
				ti.DaysOfMonth = []timeinterval.DayOfMonthRange{{InclusiveRange: timeinterval.InclusiveRange{Begin: d, End: d}}}
			}
			list = append(list, ti)
		}
		now := rapid.SampledFrom(changes).Draw(t, "near").Add(time.Duration(rapid.IntRange(-36*3600, 36*3600).Draw(t, "seconds")) * time.Second)
		open := func(at time.Time) bool {
			for _, ti := range list {
				if ti.ContainsTime(at) {
					return true
				}
			}
			return false
		}
		minute := now.Truncate(time.Minute)
		if open(minute) {
			return
		}
		want := minute.Add(day)
		for m := minute.Add(time.Minute); m.Before(want); m = m.Add(time.Minute) {
			if open(m) {
				want = m
				break
			}
		}
		if got := nextOpening(list, now); !got.Equal(want) {
			t.Fatalf("%v at %s: next opening %s, want %s", list, now, got, want)
		}
	})
}

func TestBuiltInUrgency(t *testing.T) {
	for severity, want := range map[string]config.Urgency{
		"ubn": config.UnbreakNow, "emergency": config.UnbreakNow,
		"page": config.Page, "critical": config.Page,
		"high": config.Notify, "error": config.Notify, "warning": config.Notify,
		"": config.Record, "task": config.Record, "info": config.Record, "CRITICAL": config.Record, "criticality": config.Record,
	} {
		if got := builtInUrgency(severity); got != want {
			t.Errorf("severity %q: %s, want %s", severity, got, want)
		}
	}
}

func BenchmarkNextOpening(b *testing.B) {
	list := []timeinterval.TimeInterval{interval(b, "{weekdays: ['monday:friday'], times: [{start_time: '09:00', end_time: '17:00'}], location: Europe/Berlin}")}
	now := at(b, "2026-11-20T18:00:00Z")
	for b.Loop() {
		nextOpening(list, now)
	}
}
