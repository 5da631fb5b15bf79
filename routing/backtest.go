package routing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
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

	router *Router
	seen   map[uint64]struct{}
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

// Expectation is what somebody wants a backtest to count: all of an earlier one,
// or only the counts that matter. What it does not name may be anything.
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
}

// ParseExpectation reads an expectation: a backtest's JSON or a part of it. A
// word that no backtest has is an error, because it would check nothing.
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
	return e, nil
}

// Differences tells every count that is not as expected, in a fixed order.
func (b *Backtest) Differences(e Expectation) []string {
	var out []string
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
