package routing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing/catalog"
)

// Backtest counts where recorded alerts would go. An alert (a fingerprint) is
// counted once, however many webhooks repeat it or resolve it, with the answer
// of its first appearance.
//
// ByService and ByTeam divide ToService and ToTeam: an alert that a service
// takes is not counted for a team. ByRule counts the alerts whose subject the
// rule decided. ByUrgency and ByAssessment hold every word, with 0 too.
type Backtest struct {
	Alerts       int            `json:"alerts"`
	ToService    int            `json:"to_service"`
	ToTeam       int            `json:"to_team"`
	Unmapped     int            `json:"unmapped"` // neither service nor team
	ByService    map[string]int `json:"by_service"`
	ByTeam       map[string]int `json:"by_team"`
	ByRule       map[string]int `json:"by_rule"`
	ByUrgency    map[string]int `json:"by_urgency"`
	ByAssessment map[string]int `json:"by_assessment"`

	// Answers are those that were counted, in their order.
	Answers []Answer `json:"-"`

	router *Router
	seen   map[uint64]struct{}
}

// Answer is what a backtest found for one alert.
type Answer struct {
	Alert
	Target
	Reason string
}

// NewBacktest begins to count for a router.
func NewBacktest(r *Router) *Backtest {
	b := &Backtest{
		ByService: map[string]int{}, ByTeam: map[string]int{}, ByRule: map[string]int{},
		ByUrgency: map[string]int{}, ByAssessment: map[string]int{},
		router: r, seen: map[uint64]struct{}{},
	}
	for _, u := range config.Urgencies {
		b.ByUrgency[string(u)] = 0
	}
	for _, a := range []catalog.Assessment{catalog.Owned, catalog.Partial, catalog.Unowned, catalog.Unknown, catalog.Decommissioned} {
		b.ByAssessment[string(a)] = 0
	}
	return b
}

// Add counts a webhook's alerts. Urgency is that of the instant at which the
// alert began, or of now when it does not say. The resolutions of the alerts
// that were counted are returned, for those who list them.
func (b *Backtest) Add(w Webhook, now time.Time) []Resolution {
	var added []Resolution
	for i, a := range w.Alerts {
		if _, known := b.seen[a.Fingerprint]; known {
			continue
		}
		b.seen[a.Fingerprint] = struct{}{}
		at := a.StartsAt
		if at.IsZero() {
			at = now
		}
		res := b.router.Route(w.Alert(i), at)
		added = append(added, res)
		b.Answers = append(b.Answers, Answer{Alert: w.Alert(i), Target: res.Target, Reason: res.Reason})
		b.count(res)
	}
	return added
}

func (b *Backtest) count(res Resolution) {
	b.Alerts++
	switch {
	case res.Service != "":
		b.ToService++
		b.ByService[res.Service]++
	case res.Team != "":
		b.ToTeam++
		b.ByTeam[res.Team]++
	default:
		b.Unmapped++
	}
	if rule, ok := strings.CutPrefix(res.MatchedBy, "rule:"); ok {
		b.ByRule[rule]++
	}
	b.ByUrgency[string(res.Urgency)]++
	b.ByAssessment[string(res.Assessment)]++
}

// Expectation is what somebody wants a backtest to find: all counts of an
// earlier one or only those that matter, and what each alert is about. What it
// does not name may be anything.
type Expectation struct {
	Alerts       *int           `json:"alerts"`
	ToService    *int           `json:"to_service"`
	ToTeam       *int           `json:"to_team"`
	Unmapped     *int           `json:"unmapped"`
	ByService    map[string]int `json:"by_service"`
	ByTeam       map[string]int `json:"by_team"`
	ByRule       map[string]int `json:"by_rule"`
	ByUrgency    map[string]int `json:"by_urgency"`
	ByAssessment map[string]int `json:"by_assessment"`

	Subjects []RecordedSubject `json:"subjects"`

	// Proposals stand beside the counts that a backtest prints; they are advice
	// and are not compared.
	Proposals json.RawMessage `json:"proposals"`
}

// RecordedSubject is what an alert was about when it was recorded.
type RecordedSubject struct {
	Subject     string            `json:"subject"`
	Labels      map[string]string `json:"labels"`
	RouteLabels map[string]string `json:"route_labels,omitempty"`
}

func (r RecordedSubject) alert() Alert { return Alert{Labels: r.Labels, RouteLabels: r.RouteLabels} }

// ParseExpectation reads an expectation: a backtest's JSON, a part of it, or
// what Record wrote. A word that no backtest has is an error, because it would
// check nothing.
func ParseExpectation(data []byte) (Expectation, error) {
	var e Expectation
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return e, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return e, errors.New("more than one JSON object")
	}
	seen := map[string]string{}
	for i, r := range e.Subjects {
		if r.Subject == "" || len(r.Labels) == 0 {
			return e, fmt.Errorf("subjects[%d]: want a subject and the alert's labels", i)
		}
		key := r.alert().String()
		if other, twice := seen[key]; twice && other != r.Subject {
			return e, fmt.Errorf("subjects[%d]: %s stands there twice, as %s and as %s", i, key, other, r.Subject)
		}
		seen[key] = r.Subject
	}
	return e, nil
}

// Record is an expectation that holds every alert to its subject: one alert a
// line, in the order of their names and labels, so that a review sees which
// alerts a change moves.
func (b *Backtest) Record() ([]byte, error) {
	lines := map[string][]byte{}
	for _, a := range b.Answers {
		key := a.Alert.String()
		if lines[key] != nil {
			continue
		}
		var line bytes.Buffer
		enc := json.NewEncoder(&line)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(RecordedSubject{a.Subject, a.Labels, a.RouteLabels}); err != nil {
			return nil, err
		}
		lines[key] = bytes.TrimSpace(line.Bytes())
	}
	var out bytes.Buffer
	out.WriteString("{\"subjects\": [")
	for i, key := range slices.Sorted(maps.Keys(lines)) {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteByte('\n')
		out.Write(lines[key])
	}
	out.WriteString("\n]}\n")
	return out.Bytes(), nil
}

// String is an alert as Prometheus writes series: its name, then its other
// labels. Labels of the route follow as route_NAME.
func (a Alert) String() string {
	var b strings.Builder
	b.WriteString(a.Labels["alertname"])
	b.WriteByte('{')
	sep := ""
	write := func(prefix string, of map[string]string) {
		for _, name := range slices.Sorted(maps.Keys(of)) {
			if name == "alertname" && prefix == "" {
				continue
			}
			b.WriteString(sep + prefix + name + "=" + strconv.Quote(of[name]))
			sep = ", "
		}
	}
	write("", a.Labels)
	write(routePrefix, a.RouteLabels)
	b.WriteByte('}')
	return b.String()
}

// maxNamed bounds the alerts of one kind of difference that are named.
const maxNamed = 20

// Unrecorded counts the alerts that an expectation of subjects does not know.
// They break nothing; they are not watched either.
func (b *Backtest) Unrecorded(e Expectation) int {
	if len(e.Subjects) == 0 {
		return 0
	}
	known := map[string]bool{}
	for _, r := range e.Subjects {
		known[r.alert().String()] = true
	}
	n := 0
	for _, a := range b.Answers {
		if !known[a.Alert.String()] {
			n++
		}
	}
	return n
}

// moved tells every alert that is about something else than it was, those that
// moved alike together, and that were not found at all.
func (b *Backtest) moved(e Expectation) []string {
	found := map[string]Answer{}
	for _, a := range b.Answers {
		if key := a.Alert.String(); found[key].Subject == "" {
			found[key] = a
		}
	}
	var moved, missing []string
	for _, r := range e.Subjects {
		key := r.alert().String()
		switch a, ok := found[key]; {
		case !ok:
			missing = append(missing, key)
		case a.Subject != r.Subject:
			moved = append(moved, fmt.Sprintf("%s -> %s: %s (%s)", r.Subject, a.Subject, key, a.Reason))
		}
	}
	return append(
		namedFew(moved, len(e.Subjects), "recorded alerts changed the subject"),
		namedFew(missing, len(e.Subjects), "recorded alerts are not among those given; give the files that were recorded, or record anew")...)
}

// namedFew is how many there are, then the first of them.
func namedFew(lines []string, of int, what string) []string {
	if len(lines) == 0 {
		return nil
	}
	slices.Sort(lines)
	out := []string{fmt.Sprintf("%d of %d %s", len(lines), of, what)}
	for i, line := range lines {
		if i == maxNamed {
			return append(out, fmt.Sprintf("  and %d more", len(lines)-maxNamed))
		}
		out = append(out, "  "+line)
	}
	return out
}

// Differences tells everything that is not as expected, in a fixed order: the
// alerts that moved, then every count.
func (b *Backtest) Differences(e Expectation) []string {
	out := b.moved(e)
	differ := func(what string, want, got int) {
		if want != got {
			out = append(out, fmt.Sprintf("%s: want %d, got %d", what, want, got))
		}
	}
	for _, c := range []struct {
		what string
		want *int
		got  int
	}{
		{"alerts", e.Alerts, b.Alerts}, {"to_service", e.ToService, b.ToService},
		{"to_team", e.ToTeam, b.ToTeam}, {"unmapped", e.Unmapped, b.Unmapped},
	} {
		if c.want != nil {
			differ(c.what, *c.want, c.got)
		}
	}
	for _, c := range []struct {
		what      string
		want, got map[string]int
	}{
		{"by_service", e.ByService, b.ByService}, {"by_team", e.ByTeam, b.ByTeam}, {"by_rule", e.ByRule, b.ByRule},
		{"by_urgency", e.ByUrgency, b.ByUrgency}, {"by_assessment", e.ByAssessment, b.ByAssessment},
	} {
		for _, name := range slices.Sorted(maps.Keys(c.want)) {
			differ(c.what+" "+name, c.want[name], c.got[name])
		}
	}
	return out
}
