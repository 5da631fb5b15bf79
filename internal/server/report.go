package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/report"
)

// How many risks are listed.
const (
	someRisks = 100
	mostRisks = 1000
)

// sinceDefault is how far back risks are listed.
const sinceDefault = "7d"

// pageItems is how many items a section of the report has on the page.
const pageItems = 200

func bad(format string, args ...any) error {
	return fail(http.StatusBadRequest, "bad_request", fmt.Sprintf(format, args...))
}

// weekly makes the report of the period that is asked for.
func (s *Server) weekly(ctx context.Context, v *view, period string, public bool) (report.Report, error) {
	p, err := report.ParsePeriod(period, s.engine.Now(), v.Config.Reports.Zone())
	if err != nil {
		return report.Report{}, bad("%s", err)
	}
	if kept := s.keptSince(v); p.To < kept {
		return report.Report{}, bad("period %s: what is recorded is kept for %s (store.retention), that week is gone", p.Week, model.Duration(v.Config.Store.Retention.V))
	}
	// Build takes the two weeks apart.
	facts, err := s.memory.facts(ctx, p.Previous().From, p.To, !public)
	if err != nil {
		return report.Report{}, unread(err)
	}
	if public {
		facts = report.Public(facts)
	}
	return report.Build(p, facts, facts, v.Catalog), nil
}

// keptSince is the first day of which everything that was recorded is kept.
func (s *Server) keptSince(v *view) string {
	return report.Day(s.engine.Now().Add(-time.Duration(v.Config.Store.Retention.V)), v.Config.Reports.Zone())
}

func unread(err error) error {
	var known *failure
	if errors.As(err, &known) {
		return err
	}
	return &failure{http.StatusServiceUnavailable, "store_unavailable", "what is recorded could not be read in time; try again", err}
}

func (s *Server) weeklyReport(r *http.Request, v *view) (any, error) {
	return s.weekly(r.Context(), v, r.URL.Query().Get("period"), false)
}

// riskList is the answer of /api/v1/risks.
type riskList struct {
	From string `json:"from"` // the days on which they were recorded
	To   string `json:"to"`
	report.RiskList
}

// listedRisks reads the query and what is recorded.
func (s *Server) listedRisks(r *http.Request, v *view, public bool) (riskList, error) {
	q := r.URL.Query()
	f := report.RiskFilter{Kind: routing.Risk(q.Get("kind")), Service: q.Get("service"), Limit: someRisks}
	if f.Kind != "" && !slices.Contains(report.Kinds, f.Kind) {
		return riskList{}, bad("kind is one of %s", kindList())
	}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return riskList{}, bad("limit is a number from 1 to %d", mostRisks)
		}
		f.Limit = min(n, mostRisks)
	}
	now := s.engine.Now()
	since, err := sinceOf(q.Get("since"), now)
	if err != nil {
		return riskList{}, err
	}
	f.Since = since
	zone := v.Config.Reports.Zone()
	out := riskList{From: report.Day(since, zone), To: report.Day(now, zone)}
	facts, err := s.memory.facts(r.Context(), max(out.From, s.keptSince(v)), out.To, !public)
	if err != nil {
		return riskList{}, unread(err)
	}
	if public {
		facts = report.Public(facts)
	}
	out.RiskList = report.Risks(facts, f, v.Catalog)
	return out, nil
}

// sinceOf reads a time span before now, or an instant.
func sinceOf(text string, now time.Time) (time.Time, error) {
	if text == "" {
		text = sinceDefault
	}
	if d, err := model.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-time.Duration(d)), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil && t.Before(now) {
		return t, nil
	}
	return time.Time{}, bad("since is a time span like 7d, or an instant in the past like 2026-11-20T22:00:00Z")
}

func kindList() string {
	var names []string
	for _, k := range report.Kinds {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

func (s *Server) apiRisks(r *http.Request, v *view) (any, error) { return s.listedRisks(r, v, false) }

func (s *Server) reportPage(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*storeWithin)
	defer cancel()
	v := s.current()
	rep, err := s.weekly(ctx, v, r.URL.Query().Get("period"), true)
	if err != nil {
		s.answer(w, r, err)
		return
	}
	doc := rep.Document(pageItems, "callchain report --period "+rep.Period.Week)
	data := struct {
		report.Document
		Previous, Next string // "" if it is not kept any more, or has not begun
		frame
	}{Document: doc, frame: s.frame()}
	if before := rep.Period.Previous(); before.To >= s.keptSince(v) {
		data.Previous = before.Week
	}
	if after := rep.Period.Next(); after.From <= report.Day(s.engine.Now(), v.Config.Reports.Zone()) {
		data.Next = after.Week
	}
	render(w, http.StatusOK, "report", data)
}

func (s *Server) risksPage(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*storeWithin)
	defer cancel()
	list, err := s.listedRisks(r.WithContext(ctx), s.current(), true)
	if err != nil {
		s.answer(w, r, err)
		return
	}
	type shownRisk struct{ At, Kind, Subject, Team, Alert, Incident, Missing string }
	type shownKind struct {
		Kind  string
		Count int
		Link  string
	}
	data := struct {
		Title, From, To string
		Left            int
		Kinds           []shownKind
		Risks           []shownRisk
		frame
	}{frame: s.frame(), Title: "Risks", From: list.From, To: list.To, Left: list.Left}
	for _, c := range list.Counts {
		q := url.Values{"kind": {string(c.Kind)}}
		for _, keep := range []string{"service", "since"} {
			if v := r.URL.Query().Get(keep); v != "" {
				q.Set(keep, v)
			}
		}
		data.Kinds = append(data.Kinds, shownKind{riskWord(c.Kind), c.Count, "/risks?" + q.Encode()})
	}
	for _, k := range list.Risks {
		data.Risks = append(data.Risks, shownRisk{
			At: k.At.UTC().Format("2006-01-02 15:04 UTC"), Kind: riskWord(k.Kind), Subject: k.About(), Team: k.Team,
			Alert: k.Alert, Incident: k.Incident, Missing: joinRoles(k.MissingRoles),
		})
	}
	render(w, http.StatusOK, "risks", data)
}

func riskWord(k routing.Risk) string { return strings.ReplaceAll(string(k), "_", " ") }

func joinRoles(in []config.Role) string {
	var out []string
	for _, r := range in {
		out = append(out, strings.ReplaceAll(string(r), "_", " "))
	}
	return strings.Join(out, ", ")
}
