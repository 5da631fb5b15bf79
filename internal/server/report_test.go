package server

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
	"callchain/routing/report"
)

// remember puts what the week before this one held into the engine.
func (b *bench) remember(t *testing.T) (week string) {
	t.Helper()
	b.engine.now = time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)
	last, err := report.ParsePeriod("last", b.engine.now, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.Parse(time.DateOnly, last.To)
	if err != nil {
		t.Fatal(err)
	}
	var open, secret report.Facts
	open.Add(report.Event{Day: last.To, Subject: "name:<script>alert(1)</script>", Named: "<script>alert(1)</script>", Assessment: catalog.Unknown,
		Alerts: []report.Alert{{Name: "Down", Urgency: config.Page, Labels: map[string]string{"alertname": "Down"}}}, Opened: true, Pages: 2,
		Risks: []report.Risk{{Kind: routing.RiskUnknownService, At: at, Alert: "Down", Incident: "0c-k7f3k"}}})
	secret.Add(report.Event{Day: last.To, Subject: "service:parsoid", Service: "parsoid", Assessment: catalog.Partial, Missing: []config.Role{config.IncidentResponse},
		Confidential: true, Alerts: []report.Alert{{Name: "BreakIn"}}, Opened: true, Pages: 3,
		Risks: []report.Risk{{Kind: routing.RiskPartial, At: at.Add(time.Hour), Alert: "BreakIn", Incident: "0c-zzzzz"}}})
	b.engine.facts = []report.Facts{open, secret}
	return last.Week
}

func TestWeeklyReport(t *testing.T) {
	b := newBench(t)
	week := b.remember(t)
	reader := []string{"Authorization", "Bearer " + readToken}
	for _, tc := range []struct {
		name, path string
		code       int
		has        string
	}{
		{"last", "/api/v1/reports/weekly", 200, `"week":"` + week + `"`},
		{"everything is in it", "/api/v1/reports/weekly?period=last", 200, `"pages":5`},
		{"named", "/api/v1/reports/weekly?period=" + week, 200, `"week":"` + week + `"`},
		{"current is empty", "/api/v1/reports/weekly?period=current", 200, `"quiet":true`},
		{"no week", "/api/v1/reports/weekly?period=someday", 400, "want last, current or a week like"},
		{"risks", "/api/v1/risks?since=30d", 200, `"counts":[{"kind":"partial","count":1},{"kind":"unknown_service","count":1}],"left":0`},
		{"newest first", "/api/v1/risks?since=30d&limit=1", 200, `"risks":[{"kind":"partial"`},
		{"risks of a kind", "/api/v1/risks?since=30d&kind=unknown_service", 200, `"counts":[{"kind":"unknown_service","count":1}]`},
		{"risks of a service", "/api/v1/risks?since=30d&service=parsoid", 200, `"missing_roles":["incident_response"],"alert":"BreakIn"`},
		{"no such kind", "/api/v1/risks?kind=bad", 400, "kind is one of unowned, partial"},
		{"no limit", "/api/v1/risks?limit=0", 400, "limit is a number"},
		{"no time", "/api/v1/risks?since=yesterday", 400, "since is a time span like 7d"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := b.do("GET", tc.path, "", reader...)
			if w.Code != tc.code || !strings.Contains(unescaped(t, w), tc.has) {
				t.Errorf("%d %s\nwant %d with %s", w.Code, w.Body, tc.code, tc.has)
			}
			if w := b.do("GET", tc.path, ""); w.Code != http.StatusUnauthorized {
				t.Errorf("without a token: %d", w.Code)
			}
		})
	}
	b = newBench(t) // that remembers no reading
	b.remember(t)
	b.engine.notReady = errStore
	for _, path := range []string{"/api/v1/reports/weekly", "/api/v1/risks"} {
		if w := b.do("GET", path, "", reader...); w.Code != http.StatusServiceUnavailable {
			t.Errorf("%s without the store: %d", path, w.Code)
		}
	}
}

func unescaped(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	if !json.Valid(w.Body.Bytes()) {
		t.Fatalf("no JSON: %s", w.Body)
	}
	return w.Body.String()
}

// TestReportPages: anybody may see them, so nothing confidential is on them, and
// no label is markup.
func TestReportPages(t *testing.T) {
	b := newBench(t)
	week := b.remember(t)
	for path, has := range map[string]string{
		"/reports/weekly":                 "Names that the catalog lacks",
		"/reports/weekly?period=2026-W45": `<a href="/reports/weekly?period=2026-W46">The week after`,
		"/reports/weekly?period=" + week:  "1 alert in 1 incident; 2 pages",
		"/risks?since=30d":                `<a href="/incidents/0c-k7f3k">`,
	} {
		w := b.do("GET", path, "")
		body := w.Body.String()
		if w.Code != 200 || !strings.Contains(body, has) {
			t.Errorf("%s: %d without %q:\n%s", path, w.Code, has, body)
		}
		for _, never := range []string{"<script>", "BreakIn", "0c-zzzzz", "parsoid", "style=\""} {
			if strings.Contains(body, never) {
				t.Errorf("%s shows %q", path, never)
			}
		}
	}
	for path, code := range map[string]int{"/reports/weekly?period=x": 400, "/risks?kind=x": 400, "/risks?since=30d&kind=exhausted": 200} {
		if w := b.do("GET", path, ""); w.Code != code {
			t.Errorf("%s: %d, want %d", path, w.Code, code)
		}
	}
}
