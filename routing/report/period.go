package report

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// civil is how days are written.
const civil = "2006-01-02"

// Day is the day of an instant in the report's time zone, as Facts name it.
func Day(at time.Time, zone *time.Location) string { return at.In(zone).Format(civil) }

// Period is an ISO week: Monday to Sunday.
type Period struct {
	Week string `json:"week"` // 2026-W46
	From string `json:"from"` // the Monday: 2026-11-09
	To   string `json:"to"`   // the Sunday: 2026-11-15

	// Partial tells that the week was not over when it was asked for.
	Partial bool `json:"partial"`
}

var isoWeek = regexp.MustCompile(`^([0-9]{4})-W([0-9]{2})$`)

// ParsePeriod reads "last" (or nothing), the last full week before the instant
// at, "current", the week it is in, or a week like 2026-W46 that has begun.
func ParsePeriod(text string, at time.Time, zone *time.Location) (Period, error) {
	now := weekOf(at.In(zone))
	now.Partial = true
	switch text {
	case "current":
		return now, nil
	case "", "last":
		return now.Previous(), nil
	}
	m := isoWeek.FindStringSubmatch(text)
	if m == nil {
		return Period{}, fmt.Errorf("period %.40q: want last, current or a week like %s", text, now.Week)
	}
	year, _ := strconv.Atoi(m[1]) // digits only
	week, _ := strconv.Atoi(m[2])
	// The fourth of January is always in week 1.
	p := weekOf(time.Date(year, time.January, 4+7*(week-1), 0, 0, 0, 0, time.UTC))
	switch {
	case p.Week != text || year < 1970:
		return Period{}, fmt.Errorf("period %s: the year %d has no such week", text, year)
	case p.From > now.To:
		return Period{}, fmt.Errorf("period %s: this week has not begun yet, it is %s", text, now.Week)
	}
	p.Partial = p.Week == now.Week
	return p, nil
}

// weekOf is the week of a civil day.
func weekOf(t time.Time) Period {
	noon := time.Date(t.Year(), t.Month(), t.Day(), 12, 0, 0, 0, time.UTC) // a day without clock changes
	monday := noon.AddDate(0, 0, -(int(noon.Weekday())+6)%7)
	year, week := monday.ISOWeek()
	return Period{
		Week: fmt.Sprintf("%04d-W%02d", year, week),
		From: monday.Format(civil), To: monday.AddDate(0, 0, 6).Format(civil),
	}
}

// String is the week: 2026-W46.
func (p Period) String() string { return p.Week }

// Days are the seven days of the week, Monday first.
func (p Period) Days() []string {
	monday := p.monday()
	days := make([]string, 7)
	for i := range days {
		days[i] = monday.AddDate(0, 0, i).Format(civil)
	}
	return days
}

// Previous is the week before, which is always over.
func (p Period) Previous() Period { return weekOf(p.monday().AddDate(0, 0, -7)) }

// Next is the week after; whether it has begun is not asked.
func (p Period) Next() Period { return weekOf(p.monday().AddDate(0, 0, 7)) }

// Has tells whether a day is in the week.
func (p Period) Has(day string) bool { return p.From <= day && day <= p.To }

func (p Period) monday() time.Time {
	t, err := time.Parse(civil, p.From)
	if err != nil {
		return time.Time{} // the zero Period: there is no week before, and none after
	}
	return t
}
