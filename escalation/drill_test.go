package escalation

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"callchain/config"
	"callchain/routing"
)

func drillWorld(t *testing.T) Env {
	t.Helper()
	return compile(t, txtar.Parse([]byte(`
-- callchain.yml --
external_url: https://callchain.example.org
catalog_files: [catalog.yml]
alertmanager: {sources: [{name: main, anonymous: true}]}
routing: {fallback_team: sre}
escalation: {policies: [{name: default, repeat: 2, steps: [
  {notify: incident_response, ack_within: 30m}, {notify: engineering_manager, ack_within: 90m}]}]}
notifiers:
  slack: {bot_token_file: token, signing_secret_file: secret, channel: "#incidents"}
  email: {smarthost: "mail.example.org:587", from: callchain@example.org, link_key_file: key}
-- catalog.yml --
people:
  - {name: ana, email: ana@example.org, timezone: Europe/Berlin}
  - {name: mia, email: mia@example.org, timezone: America/New_York}
  - {name: gus, email: gus@example.org}
teams:
  - {name: ops, members: [ana], manager: mia}
  - {name: sre, members: [gus]}
services:
  - {name: parsoid, state: third_party, owners: ops}
`)))
}

// The chain of parsoid: ana at once, mia after 30 minutes; again two hours later.
func TestSleepers(t *testing.T) {
	env := drillWorld(t)
	target := routing.Target{Subject: "service:parsoid", Service: "parsoid"}
	for _, test := range []struct {
		name string
		at   string // UTC, in November
		want []string
	}{
		{"an afternoon in Berlin", "14:00", nil},
		{"a morning in Berlin: mia sleeps still", "10:00", []string{"mia (05:30 in America/New_York)"}},
		{"mia is up when it reaches her", "12:30", nil},
		{"a minute too early", "12:29", []string{"mia (07:59 in America/New_York)"}},
		{"late enough that the second round is at night", "19:00", []string{"ana (22:00 in Europe/Berlin)"}},
		{"a night for both", "03:00", []string{"ana (04:00 in Europe/Berlin)", "mia (22:30 in America/New_York)"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			at, err := time.Parse("2006-01-02 15:04", "2026-11-20 "+test.at)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range Sleepers(target, config.Page, at, env) {
				got = append(got, s.String())
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("asleep: %q, want %q", got, test.want)
			}
		})
	}
}

// However a drill goes, it ends, leaves no risk and no fact, and says in every
// line what it is.
func TestDrillEnds(t *testing.T) {
	env := drillWorld(t)
	ana := Actor{Handle: "ana"}
	for _, test := range []struct {
		name  string
		do    func(Incident, time.Time) (Incident, Answer)
		after time.Duration
		paged []string
		last  string
	}{
		{"acknowledged", func(inc Incident, at time.Time) (Incident, Answer) { return Step(inc, Acknowledge{By: ana}, at, env) }, time.Minute, []string{"ana"}, "drill: it is over"},
		{"ended", func(inc Incident, at time.Time) (Incident, Answer) { return Step(inc, ResolveByHand{By: ana}, at, env) }, time.Minute, []string{"ana"}, "drill: resolved by ana"},
		{"escalated, then acknowledged", func(inc Incident, at time.Time) (Incident, Answer) {
			inc, _ = Step(inc, Escalate{By: ana}, at, env)
			return Step(inc, Acknowledge{By: ana}, at, env)
		}, time.Minute, []string{"ana", "mia"}, "drill: it is over"},
		{"nobody answers", func(inc Incident, at time.Time) (Incident, Answer) {
			for range 4 {
				inc, _ = Step(inc, Tick{}, inc.NextStepAt().Time(), env)
			}
			return inc, Answer{Kind: Done}
		}, 0, []string{"ana", "mia"}, "drill: nobody answered: it is over"},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := NewDrill("00-drill", routing.Target{Subject: "service:parsoid", Service: "parsoid"}, config.Page, Actor{Handle: "gus"}, epoch, env)
			if began.State != Triggered || began.NextStepAt() != At(epoch.Add(30*time.Minute)) {
				t.Fatalf("begun: %s, next step at %v", began.Summary(), began.NextStepAt().Time())
			}
			at := epoch.Add(test.after)
			inc, answer := test.do(began, at)
			if answer.Kind != Done || inc.State != Resolved || inc.NextStepAt() != 0 || len(inc.Risks) > 0 || inc.Exhausted {
				t.Errorf("%v: %s, risks %v", answer.Kind, inc.Summary(), inc.Risks)
			}
			var paged []string
			for _, p := range inc.Paged {
				paged = append(paged, p.Handle)
			}
			if !slices.Equal(paged, test.paged) {
				t.Errorf("paged %v, want %v", paged, test.paged)
			}
			if got := inc.Timeline[len(inc.Timeline)-1].Text; got != test.last {
				t.Errorf("last line %q, want %q", got, test.last)
			}
			for _, e := range inc.Timeline {
				if len(e.Text) < 7 || e.Text[:7] != "drill: " {
					t.Errorf("a line that does not say what it is: %q", e.Text)
				}
			}
			if facts := append(Facts(nil, &began, epoch, env), Facts(&began, &inc, at, env)...); len(facts) > 0 {
				t.Errorf("a report would count it: %+v", facts)
			}
			if again, answer := Step(inc, Acknowledge{By: ana}, at, env); answer.Kind == Done || again.State != Resolved {
				t.Errorf("acknowledged afterwards: %v", answer.Kind)
			}
		})
	}
}

// A drill that somebody from outside answers is nobody's heroics; that one person is
// all there is to a chain is a risk of its alerts, not of a drill.
func TestDrillIsNoRisk(t *testing.T) {
	env := drillWorld(t)
	if inc := NewDrill("00-drill", routing.Target{Subject: "team:sre", Team: "sre"}, config.Page, Actor{Handle: "gus"}, epoch, env); len(inc.Risks) > 0 {
		t.Errorf("risks %v", inc.Risks)
	}
	inc := NewDrill("00-drill", routing.Target{Subject: "service:parsoid", Service: "parsoid"}, config.Page, Actor{Handle: "gus"}, epoch, env)
	inc, answer := Step(inc, Acknowledge{By: Actor{Handle: "gus"}, TakeOver: true}, epoch, env)
	if answer.Kind != Done || inc.Ack.Heroic || len(inc.Risks) > 0 {
		t.Errorf("%v, %+v, risks %s", answer.Kind, inc.Ack, fmt.Sprint(inc.Risks))
	}
}
