package escalation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"callchain/routing"
	"callchain/routing/report"
)

// countingRules let alerts rise by themselves, concern two services, or be confidential.
const countingRules = `
external_url: https://callchain.example.org
catalog_files: [catalog.yml]
alertmanager: {sources: [{name: main, anonymous: true}]}
routing:
  service_labels: [service]
  fallback_team: sre
  confidential: [['security="true"']]
  rules:
    - {name: lists, match: ['service=~".+,.+"'], service: '{{ .service }}', split: ","}
  urgency:
    - {match: ['hours="late"'], urgency: notify, active_time_intervals: [late]}
    - {match: ['hours="none"'], urgency: page, active_time_intervals: [late]}
time_intervals:
  - {name: late, time_intervals: [{times: [{start_time: "10:00", end_time: "24:00"}]}]}
notifiers:
  slack: {bot_token_file: token, signing_secret_file: secret, channel: "#incidents"}
  email: {smarthost: "mail.example.org:587", from: callchain@example.org, link_key_file: key}
`

// counted is what the facts of a story come to, by subject: one line each.
func counted(events []report.Event) []string {
	facts := map[string]*report.Facts{}
	for _, ev := range events {
		key := ev.Day + " " + ev.Subject
		if facts[key] == nil {
			facts[key] = &report.Facts{}
		}
		facts[key].Add(ev)
	}
	lines := []string{}
	for _, key := range slices.Sorted(maps.Keys(facts)) {
		f := facts[key]
		if f.Day == "" {
			continue // a correction of nothing
		}
		line := fmt.Sprintf("%s: %d alerts, %d incidents", key, f.Alerts, f.Incidents)
		recorded := 0
		for _, n := range f.Recorded {
			recorded += n
		}
		if recorded > 0 {
			line += fmt.Sprintf(", %d recorded", recorded)
		}
		for _, kind := range report.Kinds {
			if n := f.RiskCounts[kind]; n > 0 {
				line += fmt.Sprintf(", %d %s", n, kind)
			}
		}
		if f.AckCount > 0 {
			line += fmt.Sprintf(", %d answered", f.AckCount)
		}
		names := 0
		for _, n := range f.Names {
			names += n
		}
		hit := 0
		for _, n := range f.Hit {
			hit += n
		}
		if names != f.Alerts || hit != f.Alerts {
			line += fmt.Sprintf(" (%d by name, %d by assessment)", names, hit)
		}
		if len(f.Earlier) > 0 {
			line += ", risks of " + strings.Join(f.Earlier, ", ")
		}
		lines = append(lines, line)
	}
	return lines
}

// One episode of an alert is one alert in the report, whatever becomes of it.
// Stories are told as in testdata; further commands:
//
//	again NAME ...    the alert is repeated as it is
//	flips NAME ...    one webhook says that it is over and fires anew
//	torn NAME ...     one webhook says that it is over and still fires
//	twice NAME ...    one webhook has it two times
//	becomes WORDS     from now on the last alert's labels are these, under the same fingerprint
func TestCounting(t *testing.T) {
	for _, tt := range []struct {
		name, story string
		want        []string
	}{
		{"one", "fire A service=parsoid severity=page", []string{"2026-11-20 service:parsoid: 1 alerts, 1 incidents"}},
		{"repeats", "fire A service=parsoid severity=page\n+5m\nagain A\n+26h\nagain A", []string{"2026-11-20 service:parsoid: 1 alerts, 1 incidents, 1 exhausted"}},
		{"nobody answers until the next day", "+14h\nfire A service=parsoid severity=page\n+10h",
			[]string{"2026-11-20 service:parsoid: 1 alerts, 1 incidents, 1 exhausted", "2026-11-21 service:parsoid: 0 alerts, 0 incidents, risks of 2026-11-20"}},
		{"wrong owner", "fire A service=parsoid severity=page\ndisown ana - no\ndisown ben - no", []string{"2026-11-20 service:parsoid: 1 alerts, 1 incidents, 1 wrong_owner"}},
		{"paged by hand", "page vic parsoid look\ndisown ana - no\n+10h", []string{}},
		{"answered, and handed over", "fire A service=parsoid severity=page\nack ana\nto ana development\nack chen\n+20h\nstill chen", []string{"2026-11-20 service:parsoid: 1 alerts, 1 incidents, 1 answered"}},
		{"answered, taken back, answered", "fire A service=parsoid severity=page\nack ana\nunack ana\nack chen", []string{"2026-11-20 service:parsoid: 1 alerts, 1 incidents, 2 answered"}},
		{"twice in one webhook", "twice A service=parsoid severity=page", []string{"2026-11-20 service:parsoid: 1 alerts, 1 incidents"}},
		{"many of one group", "fires A 50 service=parsoid severity=page\nfires A 50 service=parsoid severity=page", []string{"2026-11-20 service:parsoid: 50 alerts, 1 incidents"}},
		{"recorded", "fire A service=oldbot\n+5m\nagain A", []string{"2026-11-20 service:oldbot: 1 alerts, 0 incidents, 1 recorded, 1 unowned"}},
		{"recorded, over, recorded", "fire A service=oldbot\n+5m\nresolve A service=oldbot\n+5m\nfire A service=oldbot",
			[]string{"2026-11-20 service:oldbot: 2 alerts, 0 incidents, 2 recorded, 2 unowned"}},
		{"recorded, over, late copy", "fire A service=oldbot\n+5m\nresolve A service=oldbot\n+5s\nagain A",
			[]string{"2026-11-20 service:oldbot: 1 alerts, 0 incidents, 1 recorded, 1 unowned"}},
		{"recorded, then an incident by its hours", "fire A service=oldbot hours=late\n+2h\nagain A",
			[]string{"2026-11-20 service:oldbot: 1 alerts, 1 incidents, 1 unowned"}},
		{"recorded, then in the incident of another", "fire A service=oldbot hours=late\n+1m\nfire A service=oldbot severity=page\n+2h\nagain A",
			[]string{"2026-11-20 service:oldbot: 2 alerts, 1 incidents, 1 unowned"}},
		{"one of two recorded rises", "fire A service=oldbot\nfire A service=oldbot hours=late\n+2h",
			[]string{"2026-11-20 service:oldbot: 2 alerts, 1 incidents, 1 recorded, 2 unowned"}},
		{"recorded, then an incident on another day", "fire A service=oldbot\n+16h\nbecomes A service=oldbot severity=page\nagain A",
			[]string{"2026-11-20 service:oldbot: 1 alerts, 0 incidents", "2026-11-21 service:oldbot: 0 alerts, 1 incidents, 1 unowned"}},
		{"recorded, then of another subject", "fire A service=oldbot\n+1m\nbecomes A service=parsoid severity=page\nagain A",
			[]string{"2026-11-20 service:oldbot: 1 alerts, 0 incidents", "2026-11-20 service:parsoid: 0 alerts, 1 incidents"}},
		{"rises and is over and fires", "fire A service=oldbot hours=late\n+2h\nresolve A service=oldbot hours=late\n+20m\nfire A service=oldbot hours=late",
			[]string{"2026-11-20 service:oldbot: 2 alerts, 2 incidents, 2 unowned"}},
		{"the urgency of an open incident's alert rises", "fire A service=parsoid hours=none\n+2h\nagain A", []string{"2026-11-20 service:parsoid: 1 alerts, 1 incidents"}},
		{"the urgency falls to record", "fire A service=parsoid severity=page\nbecomes A service=parsoid\nagain A", []string{"2026-11-20 service:parsoid: 1 alerts, 1 incidents"}},
		{"fires again within the time", "fire A service=parsoid severity=page\n+5m\nresolve A service=parsoid severity=page\n+5m\nfire A service=parsoid severity=page",
			[]string{"2026-11-20 service:parsoid: 2 alerts, 1 incidents"}},
		{"fires again later", "fire A service=parsoid severity=page\n+5m\nresolve A service=parsoid severity=page\n+1h\nfire A service=parsoid severity=page",
			[]string{"2026-11-20 service:parsoid: 2 alerts, 2 incidents"}},
		{"fires again over midnight", "+14h55m\nfire A service=oldbot severity=page\n+4m\nresolve A service=oldbot severity=page\n+5m\nfire A service=oldbot severity=page",
			[]string{"2026-11-20 service:oldbot: 1 alerts, 1 incidents, 1 unowned", "2026-11-21 service:oldbot: 1 alerts, 0 incidents"}},
		{"over and anew in one webhook", "fire A service=parsoid severity=page\n+5m\nflips A service=parsoid severity=page",
			[]string{"2026-11-20 service:parsoid: 2 alerts, 1 incidents"}},
		{"recorded, over and anew in one webhook", "fire A service=oldbot\n+5m\nflips A service=oldbot",
			[]string{"2026-11-20 service:oldbot: 2 alerts, 0 incidents, 2 recorded, 2 unowned"}},
		{"over and the same in one webhook", "fire A service=parsoid severity=page\n+5m\ntorn A service=parsoid severity=page\n+5s\nagain A",
			[]string{"2026-11-20 service:parsoid: 1 alerts, 1 incidents"}},
		{"closed by hand while it fires", "fire A service=parsoid severity=page\nclose ana\n+5m\nagain A\n+2h\nagain A", []string{"2026-11-20 service:parsoid: 1 alerts, 1 incidents"}},
		{"closed by hand, then a new episode", "fire A service=parsoid severity=page\nclose ana\n+5m\nresolve A service=parsoid severity=page\n+5m\nfire A service=parsoid severity=page",
			[]string{"2026-11-20 service:parsoid: 2 alerts, 2 incidents"}},
		{"outlives its incident and rises", "fire A service=parsoid severity=page\nfire A service=parsoid severity=warning\n+1m\nresolve A service=parsoid severity=page\n+1h\n" +
			"becomes A service=parsoid severity=page x=y\nagain A", []string{"2026-11-20 service:parsoid: 2 alerts, 2 incidents"}},
		{"two services", "fire A service=oldbot,maps severity=page", []string{"2026-11-20 service:oldbot: 1 alerts, 1 incidents, 1 unowned"}},
		{"confidential", "fire A service=oldbot severity=page security=true\nfire A service=oldbot severity=page", []string{"2026-11-20 service:oldbot: 2 alerts, 1 incidents, 1 unowned"}},
		{"a stale rule", "fire A service=gone severity=page\n+1m\nresolve A service=gone severity=page\n+1h\nfire A service=gone severity=page\n+5h\nagain A",
			[]string{"2026-11-20 service:gone: 2 alerts, 1 incidents, 1 recorded, 2 decommissioned_alerting, 1 single_person"}},
		{"a stale rule, asked about anew the next day", "fire A service=gone severity=page\n+1m\nresolve A service=gone severity=page\n+1h\nfire A service=gone severity=page\n+20h\nagain A",
			[]string{"2026-11-20 service:gone: 2 alerts, 1 incidents, 1 decommissioned_alerting, 1 single_person", "2026-11-21 service:gone: 0 alerts, 1 incidents, 1 decommissioned_alerting, 1 single_person"}},
		{"the end before its firing", "resolve A service=oldbot\n+5s\nfire A service=oldbot\n+2m\nagain A", []string{"2026-11-20 service:oldbot: 1 alerts, 0 incidents, 1 recorded, 1 unowned"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			common, err := txtar.ParseFile("testdata/common.txtar")
			if err != nil {
				t.Fatal(err)
			}
			common.Files[slices.IndexFunc(common.Files, func(f txtar.File) bool { return f.Name == "callchain.yml" })].Data = []byte(countingRules)
			w := newWorld(compile(t, common))
			tell(t, w, tt.story)
			if diff := cmp.Diff(tt.want, counted(w.facts)); diff != "" {
				t.Errorf("counted (-want +got):\n%s", diff)
			}
		})
	}
}

// tell plays a story of TestCounting.
func tell(t *testing.T, w *world, story string) {
	starts, last := map[string]time.Time{}, routing.WebhookAlert{}
	post := func(alerts ...routing.WebhookAlert) {
		w.webhook(routing.Webhook{GroupKey: "k", GroupLabels: map[string]string{"alertname": "A"}, Alerts: alerts})
	}
	for line := range strings.Lines(story) {
		words := strings.Fields(line)
		if d, ok := strings.CutPrefix(words[0], "+"); ok {
			dur, err := time.ParseDuration(d)
			if err != nil {
				t.Fatal(err)
			}
			w.wait(dur)
			continue
		}
		switch words[0] {
		case "again":
			post(last)
		case "becomes":
			fp := last.Fingerprint
			starts := last.StartsAt
			last = alert(true, words[1:], starts, time.Time{})
			last.Fingerprint = fp
		case "flips", "torn", "twice":
			over := alert(false, words[1:], last.StartsAt, w.now)
			over.StartsAt = last.StartsAt
			switch words[0] {
			case "flips":
				last.StartsAt = w.now.Add(time.Second)
			case "twice":
				last = alert(true, words[1:], w.now, time.Time{})
				over = last
			}
			post(last, over)
		default:
			w.command(t, words, starts)
			if words[0] == "fire" {
				last = alert(true, words[1:], w.now, time.Time{})
			}
		}
	}
}
