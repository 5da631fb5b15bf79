package routing

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callchain/config"
)

// golden holds got against a file of testdata.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s: (-want +got)\n%s", path, diff)
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func recordedRouter(t testing.TB) *Router {
	t.Helper()
	r, ps := New(loadConfig(t, readFile(t, "testdata/backtest-config.yml")), loadCatalog(t, readFile(t, "testdata/backtest-catalog.yml")))
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	return r
}

func TestBacktestRecorded(t *testing.T) {
	b := NewBacktest(recordedRouter(t))
	var routes bytes.Buffer
	// Twice: what was counted is not counted again.
	for range 2 {
		for _, line := range recordedLines(t) {
			w, err := Decode(line)
			if err != nil {
				t.Fatal(err)
			}
			for _, res := range b.Add(w, time.Time{}) {
				routes.WriteString(strings.Join([]string{res.Subject, string(res.Assessment), string(res.Urgency), res.MatchedBy, res.Policy,
					strings.Join(res.AlsoAffected, ","), joinRisks(res.Risks)}, "\t") + "\n")
			}
		}
	}
	if b.Alerts != 342 {
		t.Errorf("%d alerts counted, the recordings hold 342", b.Alerts)
	}
	if sum := b.ToService + b.ToTeam + b.Unmapped; sum != b.Alerts {
		t.Errorf("the parts sum to %d, not to %d", sum, b.Alerts)
	}
	for name, part := range map[string]struct {
		by  map[string]int
		sum int
	}{
		"by_service": {b.ByService, b.ToService}, "by_team": {b.ByTeam, b.ToTeam},
		"by_urgency": {b.ByUrgency, b.Alerts}, "by_assessment": {b.ByAssessment, b.Alerts},
	} {
		sum := 0
		for _, n := range part.by {
			sum += n
		}
		if sum != part.sum {
			t.Errorf("%s sums to %d, not to %d", name, sum, part.sum)
		}
	}
	out, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "backtest.json", append(out, '\n'))
	golden(t, "backtest-routes.tsv", routes.Bytes())
}

func joinRisks(risks []Risk) string {
	var words []string
	for _, r := range risks {
		words = append(words, string(r))
	}
	return strings.Join(words, ",")
}

// Resolved and repeated alerts of real Alertmanagers are the alerts they were.
func TestBacktestCountsAnAlertOnce(t *testing.T) {
	b := NewBacktest(recordedRouter(t))
	for _, name := range []string{"am-0.34.0-group-3firing-0resolved.json", "am-0.34.0-group-2firing-1resolved.json", "am-0.34.0-group-0firing-3resolved.json"} {
		w, err := Decode([]byte(readFile(t, filepath.Join(recorded, "payloads", name))))
		if err != nil {
			t.Fatal(err)
		}
		b.Add(w, time.Time{})
	}
	if b.Alerts != 4 {
		t.Errorf("%d alerts, want 4 (db1 to db4)", b.Alerts)
	}
}

func TestBacktestEmpty(t *testing.T) {
	out, err := json.Marshal(NewBacktest(recordedRouter(t)))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"alerts":0,"to_service":0,"to_team":0,"unmapped":0,"by_service":{},"by_team":{},"by_rule":{},` +
		`"by_urgency":{"notify":0,"page":0,"record":0,"unbreak_now":0},"by_assessment":{"decommissioned":0,"owned":0,"partial":0,"unknown":0,"unowned":0}}`
	if string(out) != want {
		t.Errorf("got  %s\nwant %s", out, want)
	}
}

// explained are answers that between them show every part of the text.
func explained() map[string]Explanation {
	page := Resolution{
		Target: Target{Subject: "service:paws", Service: "paws", Named: "openstak"}, AlsoAffected: []string{"toolforge"},
		State: config.Maintenance, Assessment: "partial", MissingRoles: []config.Role{config.ContingencyDevelopment},
		Urgency: config.Page, Confidential: true, MatchedBy: "rule:lists", Reason: "Rule lists says that it is service paws.",
		Risks: []Risk{RiskPartial}, Trace: []string{`rule lists: matched and gives "paws": service paws`, "evil \x1b[31m\nlabel \u202e"},
	}
	chain := Chain{
		Policy: "default", Rounds: 2, RemindEvery: 5 * time.Minute,
		Steps: []Step{
			{Position: 1, AckWithin: 10 * time.Minute, Notify: "incident_response", Team: "wmcs", People: []string{"ben"}, Reason: "on call for wmcs, which responds to incidents of paws"},
			{Position: 2, After: 10 * time.Minute, AckWithin: 90 * time.Minute, Notify: "person:amira", People: []string{"amira", "chen"}, Reason: "named by the policy"},
		},
		Skipped: []Skip{{Notify: "development", Reason: "development does not apply in state maintenance"}},
		Risks:   []Risk{RiskSinglePerson, RiskPartial},
	}
	notify := page
	notify.Target, notify.State, notify.AlsoAffected = Target{Subject: "team:wmcs", Team: "wmcs"}, "", nil
	notify.Assessment, notify.Urgency, notify.ReviewAt = "unknown", config.Notify, time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	notify.Confidential, notify.MissingRoles, notify.Trace = false, []config.Role{}, nil
	return map[string]Explanation{
		"page":   Explain(page, chain),
		"notify": Explain(notify, chain),
		"bare":   Explain(Resolution{Target: Target{Subject: "unmapped"}, Assessment: "unknown", Urgency: config.Record, MatchedBy: "fallback"}, Chain{}),
	}
}

func TestExplanation(t *testing.T) {
	for name, e := range explained() {
		t.Run(name, func(t *testing.T) {
			out, err := json.MarshalIndent(e, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(out, []byte("null")) {
				t.Errorf("null in %s", out)
			}
			text := e.Text()
			if strings.ContainsAny(text, "\x1b\u202e") {
				t.Errorf("the text can steer a terminal: %q", text)
			}
			golden(t, "explain-"+name+".txt", []byte(text+"\n-- JSON --\n"+string(out)+"\n"))
		})
	}
}

// Every kind of risk has words for people.
func TestRiskWords(t *testing.T) {
	for _, k := range []Risk{RiskUnowned, RiskPartial, RiskUnknownService, RiskUnmapped, RiskDecommissioned, RiskNobodyOnCall, RiskSinglePerson,
		RiskExhausted, RiskUnreachable, RiskAmbiguousMatch, RiskMissingReference, RiskWrongOwner, RiskHeroics} {
		if riskWords[k] == "" {
			t.Errorf("no words for %s", k)
		}
	}
}

func TestBacktestExpectation(t *testing.T) {
	b := NewBacktest(testRouter(t))
	b.Add(Webhook{Alerts: []WebhookAlert{
		{Labels: pairs("service=parsoid severity=page"), Fingerprint: 1},
		{Labels: pairs("team=content"), Fingerprint: 2},
		{Labels: pairs("alertname=Mystery"), Fingerprint: 3},
	}}, time.Time{})
	whole, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, expected string
		want           []string
	}{
		{"its own output", string(whole), nil},
		{"nothing", "{}", nil},
		{"a part that holds", `{"to_service": 1, "by_service": {"parsoid": 1}, "by_team": null}`, nil},
		{"every kind of difference", `{"alerts": 4, "to_service": 0, "to_team": 2, "unmapped": 0,
			"by_service": {"parsoid": 2, "maps": 1}, "by_team": {"sre": 1}, "by_rule": {"probes": 1}, "by_urgency": {"page": 0}, "by_assessment": {"owned": 0}}`,
			[]string{
				"alerts: want 4, got 3", "to_service: want 0, got 1", "to_team: want 2, got 1", "unmapped: want 0, got 1",
				"by_service maps: want 1, got 0", "by_service parsoid: want 2, got 1", "by_team sre: want 1, got 0",
				"by_rule probes: want 1, got 0", "by_urgency page: want 0, got 1", "by_assessment owned: want 0, got 1",
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, err := ParseExpectation([]byte(test.expected))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, b.Differences(e)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	for _, wrong := range []string{"", "[]", "{", `{"to_services": 1}`, `{"alerts": "3"}`, "{} {}"} {
		if _, err := ParseExpectation([]byte(wrong)); err == nil {
			t.Errorf("%q was read as an expectation", wrong)
		}
	}
}

func shopWebhook() Webhook {
	return Webhook{Alerts: []WebhookAlert{
		{Labels: pairs("alertname=B service=parsoid severity=page"), Fingerprint: 1},
		{Labels: pairs("alertname=A team=content"), Fingerprint: 2},
		{Labels: pairs("alertname=Mystery"), Fingerprint: 3},
		{Labels: pairs("alertname=Mystery"), Fingerprint: 4}, // two senders that count differently
	}}
}

// What was recorded is expected again; one alert is one line, in an order that
// does not depend on that of the recordings.
func TestBacktestRecord(t *testing.T) {
	b := NewBacktest(testRouter(t))
	w := shopWebhook()
	b.Add(w, time.Time{})
	b.Add(Webhook{RouteLabels: map[string]string{"service": "parsoid"}, Alerts: []WebhookAlert{
		{Labels: pairs("alertname=<R>"), Fingerprint: 5}, {Labels: pairs("alertname=Mystery"), Fingerprint: 6},
	}}, time.Time{})
	got, err := b.Record()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"subjects": [
{"subject":"service:parsoid","labels":{"alertname":"<R>"},"route_labels":{"service":"parsoid"}},
{"subject":"team:content","labels":{"alertname":"A","team":"content"}},
{"subject":"service:parsoid","labels":{"alertname":"B","service":"parsoid","severity":"page"}},
{"subject":"service:parsoid","labels":{"alertname":"Mystery"},"route_labels":{"service":"parsoid"}},
{"subject":"unmapped","labels":{"alertname":"Mystery"}}
]}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	e, err := ParseExpectation(got)
	if err != nil {
		t.Fatal(err)
	}
	if d := b.Differences(e); len(d) > 0 || b.Unrecorded(e) > 0 {
		t.Errorf("it differs from its own record: %q, %d", d, b.Unrecorded(e))
	}
	empty, err := NewBacktest(testRouter(t)).Record()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseExpectation(empty); err != nil {
		t.Errorf("%s: %v", empty, err)
	}
}

func TestBacktestMoved(t *testing.T) {
	for _, test := range []struct {
		name, expected string
		want           []string
		unrecorded     int
	}{
		{"none", `{"subjects": [{"subject": "team:content", "labels": {"alertname": "A", "team": "content"}}]}`, nil, 3},
		{"some, said why", `{"subjects": [
			{"subject": "service:maps", "labels": {"alertname": "B", "service": "parsoid", "severity": "page"}},
			{"subject": "team:sre", "labels": {"alertname": "Mystery"}},
			{"subject": "unmapped", "labels": {"alertname": "Mystery", "team": "content"}},
			{"subject": "team:content", "labels": {"alertname": "A", "team": "content"}}]}`,
			[]string{
				"2 of 4 recorded alerts changed the subject",
				`  service:maps -> service:parsoid: B{service="parsoid", severity="page"} (The label service names service parsoid.)`,
				`  team:sre -> unmapped: Mystery{} (No service was named; nothing names a team, so it goes to the fallback team sre.)`,
				"1 of 4 recorded alerts are not among those given; give the files that were recorded, or record anew",
				`  Mystery{team="content"}`,
			}, 0},
		{"beside counts", `{"alerts": 3, "subjects": [{"subject": "service:parsoid", "labels": {"alertname": "A", "team": "content"}}]}`,
			[]string{
				"1 of 1 recorded alerts changed the subject",
				`  service:parsoid -> team:content: A{team="content"} (No service was named; the label team names team content.)`,
				"alerts: want 3, got 4",
			}, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := NewBacktest(testRouter(t))
			b.Add(shopWebhook(), time.Time{})
			e, err := ParseExpectation([]byte(test.expected))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, b.Differences(e)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if n := b.Unrecorded(e); n != test.unrecorded {
				t.Errorf("%d not recorded, want %d", n, test.unrecorded)
			}
		})
	}
	for _, wrong := range []string{
		`{"subjects": [{"subject": "unmapped", "labels": {}}]}`, `{"subjects": [{"labels": {"a": "b"}}]}`, `{"subjects": [{"sbject": "unmapped", "labels": {"a": "b"}}]}`,
		`{"subjects": [{"subject": "unmapped", "labels": {"a": "b"}}, {"subject": "team:sre", "labels": {"a": "b"}}]}`,
	} {
		if _, err := ParseExpectation([]byte(wrong)); err == nil {
			t.Errorf("%s was read as an expectation", wrong)
		}
	}
}

// However many alerts moved, the list is one that people read.
func TestBacktestMovedIsShort(t *testing.T) {
	b := NewBacktest(testRouter(t))
	var e Expectation
	for i := range 1000 {
		name := "A" + strconv.Itoa(i)
		b.Add(Webhook{Alerts: []WebhookAlert{{Labels: map[string]string{"alertname": name}, Fingerprint: uint64(i)}}}, time.Time{})
		e.Subjects = append(e.Subjects, RecordedSubject{Subject: "team:sre", Labels: map[string]string{"alertname": name}})
	}
	d := b.Differences(e)
	if len(d) != maxNamed+2 || d[0] != "1000 of 1000 recorded alerts changed the subject" || d[len(d)-1] != "  and 980 more" {
		t.Errorf("%d lines, from %q to %q", len(d), d[0], d[len(d)-1])
	}
}

// The same alert may stand in a file twice; what it is about may not be told in
// two ways, because then one of them is never true.
func TestExpectationTwice(t *testing.T) {
	line := func(subject string) string {
		return `{"subject": "` + subject + `", "labels": {"alertname": "A"}}`
	}
	for second, want := range map[string]string{"service:a": "", "service:b": "subjects[1]: A{} stands there twice, as service:a and as service:b"} {
		_, err := ParseExpectation([]byte(`{"subjects": [` + line("service:a") + `, ` + line(second) + `]}`))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if !strings.HasSuffix(got, want) || (got == "") != (want == "") {
			t.Errorf("as %s: %q, want %q", second, got, want)
		}
	}
}
