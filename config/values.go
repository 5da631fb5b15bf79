package config

import (
	"errors"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones must be known on a machine without them

	"github.com/prometheus/alertmanager/matcher/parse"
	"github.com/prometheus/alertmanager/pkg/labels"
	"github.com/prometheus/alertmanager/timeinterval"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"
)

// scalar is how a single value is read and what is wanted when it cannot be.
type scalar struct {
	want  string
	parse func(string) (any, error)
}

// errShape says no more than that a value is not what is wanted.
var errShape = errors.New("wrong shape")

// or returns the value, or errShape when it could not be read.
func or[T any](v T, err error) (any, error) {
	if err != nil {
		return nil, errShape
	}
	return v, nil
}

var scalars map[reflect.Type]scalar

func init() {
	scalars = map[reflect.Type]scalar{
		reflect.TypeFor[string](): {"text", func(s string) (any, error) { return s, nil }},
		reflect.TypeFor[bool]():   {"true or false", parseBool},
		reflect.TypeFor[int]():    {"a whole number", func(s string) (any, error) { return or(strconv.Atoi(s)) }},
		reflect.TypeFor[float64](): {"a number", func(s string) (any, error) {
			f, err := strconv.ParseFloat(s, 64)
			if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
				return nil, errShape
			}
			return f, nil
		}},
		reflect.TypeFor[Duration]():       {"a duration like 90s, 5m or 2d", func(s string) (any, error) { return or(model.ParseDuration(s)) }},
		reflect.TypeFor[Date]():           {"a date like 2026-09-01", parseDate},
		reflect.TypeFor[LocalTime]():      {"a date and time without a zone like 2026-01-05T09:00:00 (the schedule's timezone applies)", parseLocalTime},
		reflect.TypeFor[ClockTime]():      {`a time of the day like "09:00", at most "24:00"`, parseClock},
		reflect.TypeFor[Period]():         {"a period in hours, days or weeks like 12h, 1d or 1w", parsePeriod},
		reflect.TypeFor[time.Weekday]():   {"a day of the week: mon, tue, wed, thu, fri, sat or sun", parseWeekday},
		reflect.TypeFor[*time.Location](): {"a time zone like Europe/Berlin or Etc/UTC", parseZone},
		reflect.TypeFor[TeamKind]():       oneOf(Staff, Affiliate, Volunteer),
		reflect.TypeFor[State]():          oneOf(States...),
		reflect.TypeFor[Urgency]():        oneOf(Urgencies...),

		reflect.TypeFor[timeinterval.WeekdayRange]():    viaYAML[timeinterval.WeekdayRange]("a weekday or a range like monday:friday"),
		reflect.TypeFor[timeinterval.DayOfMonthRange](): viaYAML[timeinterval.DayOfMonthRange]("a day of the month or a range like 1:5 or -3:-1"),
		reflect.TypeFor[timeinterval.MonthRange]():      viaYAML[timeinterval.MonthRange]("a month or a range like january:march"),
		reflect.TypeFor[timeinterval.YearRange]():       viaYAML[timeinterval.YearRange]("a year or a range like 2026:2027"),
		reflect.TypeFor[*timeinterval.Location](): {"a time zone like Europe/Berlin or Etc/UTC", func(s string) (any, error) {
			zone, err := parseZone(s)
			if err != nil {
				return nil, err
			}
			return &timeinterval.Location{Location: zone.(*time.Location)}, nil
		}},
	}
}

func oneOf[T ~string](names ...T) scalar {
	var list []string
	for _, n := range names {
		list = append(list, string(n))
	}
	return scalar{"one of " + strings.Join(list, ", "), func(s string) (any, error) {
		if slices.Contains(list, s) {
			return T(s), nil
		}
		if near := Nearest(s, list); near != "" {
			return nil, errors.New("did you mean " + near + "?")
		}
		return nil, errShape
	}}
}

// viaYAML reads a value of Alertmanager's time intervals with its own rules.
func viaYAML[T any](want string) scalar {
	return scalar{want, func(s string) (any, error) {
		var v T
		n := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
		if err := n.Decode(&v); err != nil || s == "" {
			return nil, errShape
		}
		return v, nil
	}}
}

func parseBool(s string) (any, error) {
	switch strings.ToLower(s) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return nil, errShape
}

func parseDate(s string) (any, error) {
	t, err := time.Parse(time.DateOnly, s)
	return or(Date{t}, err)
}

func parseLocalTime(s string) (any, error) {
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return LocalTime{t}, nil
		}
	}
	return nil, errShape
}

var clock = regexp.MustCompile(`^([0-9]{1,2}):([0-9]{2})$`)

func parseClock(s string) (any, error) {
	m := clock.FindStringSubmatch(s)
	if m == nil {
		return nil, errShape
	}
	h, _ := strconv.Atoi(m[1])
	minute, _ := strconv.Atoi(m[2])
	if minute > 59 || h*60+minute > 24*60 {
		return nil, errShape
	}
	return ClockTime(h*60 + minute), nil
}

var period = regexp.MustCompile(`^([1-9][0-9]{0,4})([hdw])$`)

func parsePeriod(s string) (any, error) {
	m := period.FindStringSubmatch(s)
	if m == nil {
		return nil, errShape
	}
	n, _ := strconv.Atoi(m[1])
	return Period{n, PeriodUnit(m[2][0])}, nil
}

func parseWeekday(s string) (any, error) {
	s = strings.ToLower(s)
	for d := time.Sunday; d <= time.Saturday; d++ {
		if long := strings.ToLower(d.String()); s == long || s == long[:3] {
			return d, nil
		}
	}
	return nil, errShape
}

// parseZone knows the names of the time zone database. "Local" is refused: it
// would mean something else on every machine.
func parseZone(s string) (any, error) {
	if s == "" || s == "Local" {
		return nil, errShape
	}
	return or(time.LoadLocation(s))
}

// parseMatchers reads one or several matchers as Alertmanager does: by the
// UTF-8 parser, by the classic one where the former refuses or the two disagree.
func parseMatchers(s string) (labels.Matchers, error) {
	utf8, err := parse.Matchers(s)
	classic, classicErr := labels.ParseMatchers(s)
	ms := utf8
	if classicErr == nil && (err != nil || !slices.EqualFunc(utf8, classic, sameMatcher)) {
		ms, err = classic, nil
	}
	if err != nil {
		return nil, err
	}
	if len(ms) == 0 {
		return nil, errors.New("there is none")
	}
	return ms, nil
}

func sameMatcher(a, b *labels.Matcher) bool {
	return a.Type == b.Type && a.Name == b.Name && a.Value == b.Value
}

// The columns the parser counts are those of the string, not of the file.
var matcherColumn = regexp.MustCompile(`^[0-9]+:[0-9]+: `)

func (ms *MatcherSet) decodeNode(d *decoder, key string, n *yaml.Node) {
	*ms = MatcherSet{} // written, even when it holds nothing that can be used
	if n.Kind != yaml.SequenceNode {
		d.errorf(n, key, `want a list of matchers like ['severity="page"'], got %s`, describe(n))
		return
	}
	for _, c := range n.Content {
		var s At[string]
		if isNull(c) {
			d.errorf(c, key, "empty entry; remove it or fill it in")
			continue
		}
		before := len(d.problems)
		d.value(key, c, reflect.ValueOf(&s).Elem())
		if len(d.problems) > before || !s.Set() {
			continue
		}
		parsed, err := parseMatchers(s.V)
		if err != nil {
			d.errorf(c, key, `want a matcher like severity="page" or instance=~"web.*", got %s: %s`,
				quote(s.V), matcherColumn.ReplaceAllString(err.Error(), ""))
			continue
		}
		for _, m := range parsed {
			*ms = append(*ms, At[*labels.Matcher]{m, s.Pos})
		}
	}
}

func (t *Turn) decodeNode(d *decoder, key string, n *yaml.Node) {
	switch n.Kind {
	case yaml.ScalarNode:
		*t = Turn{{n.Value, d.pos(n)}}
	case yaml.SequenceNode:
		var people []At[string]
		d.value(key, n, reflect.ValueOf(&people).Elem())
		if len(people) == 0 {
			d.errorf(n, key, "a turn without people; name one at least")
		}
		*t = people
	default:
		d.errorf(n, key, "want a person or a list of persons as a turn, got %s", describe(n))
	}
}

func (p *PerUrgency) decodeNode(d *decoder, key string, n *yaml.Node) {
	p.Pos = d.pos(n)
	switch n.Kind {
	case yaml.ScalarNode:
		d.value(key, n, reflect.ValueOf(&p.All).Elem())
	case yaml.MappingNode:
		p.By = map[Urgency]At[Duration]{}
		for _, e := range d.pairs(key, n) {
			u := Urgency(e.key)
			if !u.Pages() {
				d.errorf(e.node, key, "want unbreak_now or page as key, got %s; only these two wait for an answer", quote(e.key))
				continue
			}
			var v At[Duration]
			d.value(join(key, e.key), e.value, reflect.ValueOf(&v).Elem())
			if v.Set() {
				p.By[u] = v
			}
		}
	default:
		d.errorf(n, key, "want one duration, or one for each of unbreak_now and page, got %s", describe(n))
	}
}

func (o *Owners) decodeNode(d *decoder, key string, n *yaml.Node) {
	o.Pos = d.pos(n)
	switch n.Kind {
	case yaml.ScalarNode:
		d.value(key, n, reflect.ValueOf(&o.All).Elem())
	case yaml.MappingNode:
		var roles []string
		for _, r := range Roles {
			roles = append(roles, string(r))
		}
		o.Roles = map[Role]Owner{}
		for _, e := range d.pairs(key, n) {
			if !slices.Contains(roles, e.key) {
				d.unknown(key, e, roles)
				continue
			}
			var owner Owner
			d.value(join(key, e.key), e.value, reflect.ValueOf(&owner).Elem())
			if owner.Pos.Line != 0 {
				o.Roles[Role(e.key)] = owner
			}
		}
	default:
		d.errorf(n, key, "want a team's name for every role, or a mapping from role to team, got %s", describe(n))
	}
}

func (o *Owner) decodeNode(d *decoder, key string, n *yaml.Node) {
	switch n.Kind {
	case yaml.ScalarNode:
		d.value(key, n, reflect.ValueOf(&o.Team).Elem())
	case yaml.MappingNode:
		var v Vacancy
		d.value(key, n, reflect.ValueOf(&v).Elem())
		if !v.Vacant.V {
			d.errorf(n, key, "want a team's name, or {vacant: true, director: NAME, reason: TEXT}")
		}
		o.Vacant = &v
	default:
		d.errorf(n, key, "want one team's name, or {vacant: true, director: NAME, reason: TEXT}, got %s", describe(n))
	}
	o.Pos = d.pos(n)
}

func (a *ActiveInterval) decodeNode(d *decoder, key string, n *yaml.Node) {
	a.Pos = d.pos(n)
	switch n.Kind {
	case yaml.ScalarNode:
		d.value(key, n, reflect.ValueOf(&a.Name).Elem())
	case yaml.MappingNode:
		var ti timeinterval.TimeInterval
		d.value(key, n, reflect.ValueOf(&ti).Elem())
		a.Inline = &ti
	default:
		d.errorf(n, key, "want the name of one of time_intervals or an interval written in place, got %s", describe(n))
	}
}

// timeRange is Alertmanager's times entry, with places.
type timeRange struct {
	Start At[ClockTime] `yaml:"start_time"`
	End   At[ClockTime] `yaml:"end_time"`
}

// decodeTimeRange reads one entry of times; the library's own type knows no places.
func decodeTimeRange(d *decoder, key string, n *yaml.Node) (r timeinterval.TimeRange) {
	var t timeRange
	d.value(key, n, reflect.ValueOf(&t).Elem())
	if n.Kind != yaml.MappingNode {
		return r
	}
	switch {
	case !t.Start.Set() || !t.End.Set():
		d.errorf(n, key, `want both times, like {start_time: "09:00", end_time: "17:00"}`)
	case t.Start.V >= t.End.V:
		d.errorf(n, key, "start_time must be before end_time; a range past midnight is written as two")
	}
	return timeinterval.TimeRange{StartMinute: int(t.Start.V), EndMinute: int(t.End.V)}
}
