package lint

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"callchain/config"
	"callchain/routing/catalog"
)

// good is a small catalog that has nothing to correct.
const good = `
people:
  - {name: amira, email: amira@example.org, timezone: Africa/Cairo}
  - {name: ben, email: ben@example.org, timezone: America/Los_Angeles}
  - {name: dora, email: dora@example.org, timezone: Europe/Berlin}
teams:
  - {name: sre, members: [amira, ben], manager: dora}
services:
  - name: shop
    state: third_party
    owners: sre
    alerts: [['app="shop"']]
    slo: {objective: 99.9}
    verified: {on: 2026-09-01, by: [sre]}
`

func TestGoodCatalogIsQuiet(t *testing.T) {
	r := run(t, good)
	if len(r.Findings) > 0 || r.Errors+r.Warnings+r.Ignored > 0 || r.Shallow {
		t.Errorf("got\n%s", list(r))
	}
}

func TestFindingsAreWrittenForPrograms(t *testing.T) {
	f := Finding{config.Pos{File: "a.yml", Line: 3, Col: 5}, config.Warning, CodeNoSLO, "service a has no SLO"}
	if got, want := f.String(), "a.yml:3:5: warning CC0801: service a has no SLO"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// more puts further services beside those of the good catalog.
func more(services string) string {
	quiet := ", slo: {objective: 99}, verified: {on: 2026-09-01, by: [sre]}}\n"
	return good + strings.ReplaceAll(services, "}}\n", "}"+quiet)
}

// Who sleeps: by everybody's own clock, in the two worst tiers, unless a schedule
// says whose night it is.
func TestAsleep(t *testing.T) {
	const asleep = `service shop is tier 1, but from 21:00 to 06:00 UTC everybody in its chain sleeps`
	berlin := strings.NewReplacer("Africa/Cairo", "Europe/Berlin", "America/Los_Angeles", "Europe/Berlin", "    owners: sre", "    tier: 1\n    owners: sre").Replace(good)
	onFallback := func(zone string) string {
		return strings.NewReplacer("teams:", "  - {name: far, email: far@example.org, timezone: "+zone+"}\nteams:\n  - {name: night, members: [far]}").Replace(berlin)
	}
	for _, tc := range []struct {
		name, catalog, config string
		want                  string // "": nothing
	}{
		{"all in one zone", berlin, "", asleep},
		{"tier 2", strings.Replace(berlin, "tier: 1", "tier: 2", 1), "", "is tier 2"},
		{"tier 3", strings.Replace(berlin, "tier: 1", "tier: 3", 1), "", ""},
		{"one far away", strings.Replace(berlin, "ben@example.org, timezone: Europe/Berlin", "ben@example.org, timezone: America/Los_Angeles", 1), "", ""},
		{"one a few hours away", strings.Replace(berlin, "ben@example.org, timezone: Europe/Berlin", "ben@example.org, timezone: Asia/Kathmandu", 1), "", "from 21:00 to 01:30 UTC"},
		{"one whose zone nobody knows", strings.Replace(berlin, "ben@example.org, timezone: Europe/Berlin", "ben@example.org", 1), "", ""},
		{"with a schedule", rotaOf(berlin, "rotations: [{members: [amira, ben], start: 2026-01-05T09:00:00, every: 1w}]"), "", ""},
		{"a fallback team far away", onFallback("America/Los_Angeles"), "routing: {fallback_team: night}\n", ""},
		{"a fallback team nearby", onFallback("Europe/Berlin"), "routing: {fallback_team: night}\n", asleep},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := Input{Files: []config.File{{Name: "catalog.yml", Data: []byte(tc.catalog)}}, Now: friday}
			if tc.config != "" {
				in.Config, in.ConfigFile = loadConfig(t, tc.config)
			}
			r := Run(in)
			if tc.want == "" && len(r.Findings) == 0 {
				return
			}
			if tc.want == "" || len(r.Findings) != 1 || r.Findings[0].Code != CodeAsleep || !strings.Contains(r.Findings[0].Text, tc.want) {
				t.Errorf("want %q, got\n%s", tc.want, list(r))
			}
		})
	}
}

func TestVerified(t *testing.T) {
	for _, tc := range []struct {
		verified string
		want     config.Code
	}{
		{"{on: 2025-11-20}", ""}, // a year ago today
		{"{on: 2025-11-19}", CodeStale},
		{"{on: 2026-11-21}", ""}, // today, east of here
		{"{on: 2026-11-22}", CodeVerifiedBy},
		{"{on: 2026-11-20, by: [sre, amira]}", ""},
		{"{on: 2026-11-20, by: [sre, walter]}", CodeVerifiedBy},
	} {
		r := run(t, strings.Replace(good, "{on: 2026-09-01, by: [sre]}", tc.verified, 1))
		var got config.Code
		if len(r.Findings) > 0 {
			got = r.Findings[0].Code
		}
		if got != tc.want || len(r.Findings) > 1 {
			t.Errorf("verified: %s: want %q, got\n%s", tc.verified, tc.want, list(r))
		}
	}
}

// What nobody runs any more, or nobody owns, is not asked for what only owners
// could give.
func TestStatesWithoutOwners(t *testing.T) {
	for _, service := range []string{"state: decommissioned", "state: unowned, owners: {incident_response: sre}"} {
		if r := run(t, good+"  - {name: old, "+service+"}\n"); len(r.Findings) > 0 {
			t.Errorf("%s: got\n%s", service, list(r))
		}
	}
}

// TestFindings holds what is found to its place and to what must be said. Each
// want is "LINE:COL CODE part of the text"; all findings are listed.
func TestFindings(t *testing.T) {
	for _, tc := range []struct {
		name, catalog, config string
		want                  []string
	}{
		// Several things in one place are one finding each, and none is told twice.
		{name: "no state is told once", catalog: strings.Replace(good, "    state: third_party\n", "", 1),
			want: []string{`9:5 CC0105 services: state is missing`}},
		{name: "two roles of one place", catalog: strings.Replace(good, "owners: sre", "owners: {}", 1),
			want: []string{`7:12 CC0402`, `9:11 CC0702`, `11:13 CC0308 no configuration_deployment owner`, `11:13 CC0308 no incident_response owner`}},
		{name: "a file that is read in part tells only what is sure", catalog: strings.Replace(good, "members:", "membres:", 1) + "  - {name: shop, state: third_party, owners: gone}\n",
			want: []string{`7:17 CC0102 did you mean members?`, `15:12 CC0201 service "shop" is already named at catalog.yml:9:11`}},
		{name: "an error of a value hides nothing", catalog: strings.Replace(good, "state: third_party", "state: third_party\n    tier: 7", 1) + "  - {name: till, state: third_party, owners: gone, slo: {objective: 1}, verified: {on: 2026-09-01}}\n",
			want: []string{`11:11 CC0106 want 1`, `16:46 CC0303 "gone"`}},

		// Matchers.
		{name: "the same set in another order", catalog: more(`  - {name: a, state: third_party, owners: sre, alerts: [['x="1"', 'y="2"']]}` + "\n" + `  - {name: b, state: third_party, owners: sre, alerts: [['y="2"', 'x="1"']]}` + "\n"),
			want: []string{`16:58 CC0601 services a and b both claim an alert with x="1", y="2"`, `15:12 CC0801`, `15:12 CC0803`, `16:12 CC0801`}},
		{name: "words of an expression", catalog: tieOf(`'app=~"a|b"'`, `'app=~"b|c"'`), want: []string{`24:10 CC0601 both claim an alert with app="b"`}},
		{name: "an open expression and a word", catalog: tieOf(`'app=~"web.*"'`, `'app="web-1"'`), want: []string{`24:10 CC0601 app="web-1"`}},
		{name: "two open expressions", catalog: tieOf(`'app=~"web.*"'`, `'app=~"web-1.+"'`), want: []string{`24:10 CC0601 app="web-1`}},
		{name: "more matchers win", catalog: tieOf(`'app="a"'`, `'app="a"', 'env="lab"'`)},
		{name: "different values never tie", catalog: tieOf(`'app="a", env="x"'`, `'app="a", env="y"'`)},
		{name: "different labels are not seen to tie", catalog: tieOf(`'app="a"'`, `'job="b"'`)},
		{name: "but may under one alert name", catalog: tieOf(`'alertname="Down", app="a"'`, `'alertname="Down", job="b"'`),
			want: []string{`24:10 CC0606 services first and second both claim alerts named Down`}},
		{name: "a larger set takes all", catalog: tieOf(`'app="a"'`, `'app="a"', 'app=~"a|b"'`), want: []string{`17:10 CC0602 service first never gets an alert`}},
		{name: "a larger set takes some", catalog: tieOf(`'app=~"web.*"'`, `'app="web"', 'env!="lab"'`)},
		{name: "an inequality alone", catalog: tieOf(`'env!="lab"', 'app!~"x.*"'`, `'app="a"'`), want: []string{`17:10 CC0605 service first`}},

		// Rules.
		{name: "a rule takes what a service claims", catalog: good, config: "routing:\n  fallback_team: sre\n  rules:\n    - {name: all, match: ['app=~\"shop|till\"'], service: till}\n",
			want: []string{`CC0604 rule all yields the service "till"`}},
		{name: "of a service that there is", catalog: tieOf(`'app="a"'`, `'app="b"'`), config: "routing:\n  fallback_team: sre\n  rules:\n    - {name: all, match: ['app=~\"a|b\"'], service: second}\n",
			want: []string{`17:10 CC0602 service first never gets an alert by {app="a"}: routing rule all takes them all first`}},
		{name: "rules below a general one", catalog: good, config: "routing:\n  fallback_team: sre\n  rules:\n    - {name: all, match: ['app=~\"shop|till\"'], service: shop}\n    - {name: one, match: ['app=\"till\"', 'env=\"lab\"'], team: sre}\n    - {name: other, match: ['app=\"forum\"'], team: sre}\n    - {name: twice, match: ['app=\"forum\"'], team: sre}\n    - {name: more, match: ['app=\"forum\"'], team: sre, policy: default}\n",
			want: []string{`5:14 CC0603 rule one never decides: every alert it matches is taken before by rule all`, `7:14 CC0603 rule twice never decides`}},
		{name: "a rule whose service is unknown ends nothing", catalog: good, config: "routing:\n  fallback_team: sre\n  rules:\n    - {name: all, match: ['app=~\"shop|till\"'], service: gone}\n    - {name: one, match: ['app=\"till\"'], service: shop}\n",
			want: []string{`4:57 CC0604`}},
		{name: "an earlier rule takes some", catalog: good, config: "routing:\n  fallback_team: sre\n  rules:\n    - {name: some, match: ['app=~\"web|till\"'], service: shop}\n    - {name: more, match: ['app=~\"web.*\"'], service: shop}\n    - {name: rest, service: shop}\n"},
		{name: "urgency rules", catalog: good, config: "routing:\n  fallback_team: sre\n  urgency:\n    - {match: ['severity=~\"page|critical\"'], urgency: page}\n    - {match: ['severity=\"critical\", env=\"lab\"'], urgency: notify}\n",
			want: []string{`5:7 CC0603 this urgency rule never decides`}},
		{name: "a matcher that excludes another", catalog: good, config: "routing:\n  fallback_team: sre\n  rules:\n    - {name: none, match: ['app=\"a\"', 'app=~\"b|c\"'], service: shop}\n",
			want: []string{`4:14 CC0603 no alert can match`}},

		{name: "inequalities of the configuration", catalog: good, config: "routing:\n  fallback_team: sre\n  confidential: [['env!=\"lab\"']]\n  urgency:\n    - {match: ['env!~\"lab|test\"'], urgency: page}\n",
			want: []string{`3:19 CC0605 routing.confidential: `, `5:16 CC0605 an urgency rule: `}},
		{name: "a template that cannot be", catalog: good, config: "routing:\n  fallback_team: sre\n  rules:\n    - {name: t, match: ['app=\"a\"'], service: '{{ frob .app }}'}\n",
			want: []string{`4:46 CC0106 function "frob" not defined`}},

		// Schedules and time.
		{name: "a schedule that ends", catalog: rota("shifts: [{members: [amira, ben], from: 2026-11-01T00:00:00, to: 2026-11-25T00:00:00}]"),
			want: []string{`9:11 CC0501 for 564 hours: once from Wed 2026-11-25 00:00 UTC to Fri 2026-12-18 12:00 UTC; then the lead of sre is asked`}},
		{name: "a gap after 28 days is not looked for", catalog: rota("shifts: [{members: [amira, ben], from: 2026-11-01T00:00:00, to: 2026-12-18T12:00:00}]")},
		{name: "a schedule of strangers", catalog: rota("rotations: [{members: [walter], start: 2026-01-05T09:00:00, every: 1w}]"),
			want: []string{`9:11 CC0501 for 28 days`, `10:28 CC0202 "walter"`}},
		{name: "nights", catalog: rota("rotations: [{members: [amira, ben], start: 2026-01-05T09:00:00, every: 1w, only: {from: \"08:00\", to: \"20:00\"}}]"),
			want: []string{`9:11 CC0501 28 times, first from Fri 2026-11-20 20:00 UTC to Sat 2026-11-21 08:00 UTC`}},

		// Chains over time, with a policy that asks only who is on call.
		{name: "one person in one week", catalog: rota("rotations: [{members: [amira, [amira, ben]], start: 2026-01-05T00:00:00, every: 1w}]"),
			config: "escalation:\n  policies: [{name: default, steps: [{notify: incident_response, ack_within: 5m}, {notify: fallback, ack_within: 5m}]}]\n",
			want:   []string{`12:11 CC0703 service shop rests on amira alone: no step of its chain reaches anybody else but the fallback team, from Mon 2026-11-23 00:00 UTC to Mon 2026-11-30 00:00 UTC`}},
		{name: "one person always", catalog: strings.Replace(good, "members: [amira, ben], manager: dora", "members: [amira], lead: amira, manager: amira", 1),
			want: []string{`4:12 CC0403`, `5:12 CC0403`, `9:11 CC0703 rests on amira alone: no step of its chain reaches anybody else, however long one waits`}},
		{name: "owners whom no channel reaches", catalog: strings.NewReplacer("teams:\n", "  - {name: sam, slack: U1}\nteams:\n  - {name: pos, members: [sam], manager: sam}\n").Replace(more("  - {name: till, state: third_party, owners: {configuration_deployment: pos, incident_response: pos}}\n")) + "  - {name: left, state: unowned}\n",
			config: "routing: {fallback_team: sre}\nnotifiers:\n  email: {smarthost: \"mail:25\", from: a@example.org}\n",
			want:   []string{`6:12 CC0404`, `17:12 CC0702 nobody but the fallback team, although it has owners (pos)`}},
		{name: "a second person whom nothing reaches", catalog: strings.Replace(strings.Replace(good, "ben, email: ben@example.org", "ben, slack: U1", 1), ", manager: dora", ", manager: amira", 1),
			config: "notifiers: {email: {smarthost: 'mail.example.org:587', from: pager@example.org, link_key_file: key}}\n",
			want:   []string{`4:12 CC0404 no channel that callchain.yml configures (email) reaches ben`, `5:12 CC0403`, `9:11 CC0703 rests on amira alone`}},
		{name: "one person while others change", catalog: strings.Replace(rota("rotations: [{members: [amira, [amira, ben]], start: 2026-01-05T00:00:00, every: 1w}]\n  - name: nightly\n    rotations: [{members: [ben, dora], start: 2026-01-05T09:00:00, every: 1d}]"),
			"schedules:", "  - {name: night, members: [ben, dora], on_call: nightly}\nschedules:", 1),
			config: "routing: {fallback_team: night}\nescalation:\n  policies: [{name: default, steps: [{notify: incident_response, ack_within: 5m}, {notify: fallback, ack_within: 5m}]}]\n",
			want:   []string{`15:11 CC0703 from Mon 2026-11-23 00:00 UTC to Mon 2026-11-30 00:00 UTC`}},
		{name: "teams that only the configuration names", catalog: strings.Replace(good, "services:", "  - {name: night, members: [dora]}\n  - {name: desk, members: [dora]}\n  - {name: lab, members: [dora]}\n  - {name: step, members: [dora]}\n  - {name: idle, members: [dora]}\nservices:", 1),
			config: "self: {team: desk}\nrouting:\n  fallback_team: night\n  rules: [{name: lab, match: ['env=\"lab\"'], team: lab}]\nescalation:\n  policies: [{name: other, steps: [{notify: 'team:step', ack_within: 5m}]}]\n",
			want:   []string{`12:12 CC0402 team idle`}},
		{name: "volunteers whom nobody lists", catalog: strings.Replace(good, "services:", "  - {name: fans, kind: volunteer, members: [dora]}\nservices:", 1),
			want: []string{`8:12 CC0402 no service lists the volunteer team fans`}},
		{name: "a director's vacancy adds the director only for the worst", catalog: strings.NewReplacer("owners: sre", "owners: {contingency_development: {vacant: true, director: dora, reason: r}, configuration_deployment: sre, incident_response: sre}",
			"state: third_party", "state: maintenance", "members: [amira, ben], manager: dora", "members: [amira], manager: amira").Replace(good),
			want: []string{`4:12 CC0403`, `9:11 CC0703 at urgency page`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := Input{Files: []config.File{{Name: "catalog.yml", Data: []byte(tc.catalog)}}, Now: friday}
			if tc.config != "" {
				in.Config, in.ConfigFile = loadConfig(t, tc.config)
			}
			r := Run(in)
			left := slices.Clone(r.Findings)
			for _, want := range tc.want {
				place, rest, _ := strings.Cut(want, " ")
				if strings.HasPrefix(place, "CC") {
					place, rest = "", want
				}
				code, part, _ := strings.Cut(rest, " ")
				i := slices.IndexFunc(left, func(f Finding) bool {
					at := fmt.Sprintf("%d:%d", f.Pos.Line, f.Pos.Col)
					return (place == "" || place == at) && string(f.Code) == code && strings.Contains(f.Text, part)
				})
				if i < 0 {
					t.Errorf("not found: %s", want)
					continue
				}
				left = slices.Delete(left, i, i+1)
			}
			if len(left) > 0 || t.Failed() {
				t.Errorf("got\n%s", list(r))
			}
		})
	}
}

// tieOf has two services with these sets.
func tieOf(first, second string) string {
	service := `  - name: %s
    alerts:
      - [%s]
    state: third_party
    owners: sre
    slo: {objective: 99}
`
	return good + fmt.Sprintf(service, "first", first) + "    verified: {on: 2026-09-01}\n" + strings.Replace(fmt.Sprintf(service, "second", second), "    state", "    verified: {on: 2026-09-01}\n    state", 1)
}

// rota gives the team of the good catalog this schedule.
func rota(schedule string) string { return rotaOf(good, schedule) }

func rotaOf(text, schedule string) string {
	return strings.Replace(strings.Replace(text, "manager: dora}", "manager: dora, on_call: weekly}", 1),
		"services:\n", "schedules:\n  - name: weekly\n    "+schedule+"\nservices:\n", 1)
}

func TestComments(t *testing.T) {
	entry := strings.TrimSuffix(strings.Replace(good, "    slo: {objective: 99.9}\n", "", 1), "\n") + "\n" // finds CC0801 in line 9
	for _, tc := range []struct {
		name, catalog string
		want          []config.Code
		ignored       int
	}{
		{"above the entry", strings.Replace(entry, "  - name: shop", "  # callchain:ignore CC0801 internal tool\n  - name: shop", 1), nil, 1},
		{"with empty lines and comments between", strings.Replace(entry, "  - name: shop", "  # callchain:ignore CC0801 internal tool\n\n  # the shop\n  - name: shop", 1), nil, 1},
		{"on the entry's line", strings.Replace(entry, "  - name: shop", "  - name: shop # callchain:ignore CC0801 internal tool", 1), nil, 1},
		{"with a colon, as people write it", strings.Replace(entry, "  - name: shop", "  - name: shop # callchain:ignore CC0801: internal tool", 1), nil, 1},
		{"further down in the entry", strings.Replace(entry, "    owners: sre", "    owners: sre # callchain:ignore CC0801 internal tool", 1), []config.Code{CodeNoSLO, CodeIdle}, 0},
		{"for the whole entry", strings.Replace(strings.Replace(entry, "owners: sre", "owners: {incident_response: sre}", 1), "  - name: shop", "  # callchain:ignore CC0308,CC0801 bought, and on its way out\n  - name: shop", 1), nil, 2},
		{"not for the next entry", strings.Replace(entry, "  - name: shop", "  # callchain:ignore CC0801 internal tool\n  - {name: till, state: third_party, owners: sre, verified: {on: 2026-09-01}}\n  - name: shop", 1), []config.Code{CodeNoSLO}, 1},
		{"without a reason", strings.Replace(entry, "  - name: shop", "  # callchain:ignore CC0801\n  - name: shop", 1), []config.Code{CodeNoReason}, 1},
		{"without effect", strings.Replace(good, "  - name: shop", "  # callchain:ignore CC0801 internal tool\n  - name: shop", 1), []config.Code{CodeIdle}, 0},
		{"without a code", strings.Replace(good, "  - name: shop", "  # callchain:ignore\n  - name: shop", 1), []config.Code{CodeNoIgnoring}, 0},
		{"of an unknown code", strings.Replace(good, "  - name: shop", "  # callchain:ignore CC1234 why\n  - name: shop", 1), []config.Code{CodeNoIgnoring}, 0},
		{"of what is not loaded", strings.Replace(good, "owners: sre", "owners: amira # callchain:ignore CC0302 she wants to", 1), []config.Code{"CC0302", CodeUnusedTeam, CodeNoIgnoring}, 0},
		{"of a comment", strings.Replace(good, "  - name: shop", "  # callchain:ignore CC0902 why\n  - name: shop", 1), []config.Code{CodeNoIgnoring}, 0},
		{"in a file that is read in part", strings.Replace(entry, "    owners: sre", "    owner: sre # callchain:ignore CC0801 internal tool", 1), []config.Code{config.CodeKey}, 0},
		{"a word of a text is none", strings.Replace(good, "    owners: sre", "    description: write callchain:ignore CC0801 there\n    owners: sre", 1), nil, 0},
		{"one of two that were never verified", strings.ReplaceAll(good, "    verified: {on: 2026-09-01, by: [sre]}\n", "") + "  # callchain:ignore CC0803 new\n  - {name: till, state: third_party, owners: sre, slo: {objective: 1}}\n", []config.Code{CodeUnverified}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := run(t, tc.catalog)
			got := []config.Code{}
			for _, f := range r.Findings {
				got = append(got, f.Code)
			}
			slices.Sort(got)
			slices.Sort(tc.want)
			if !slices.Equal(got, tc.want) || r.Ignored != tc.ignored {
				t.Errorf("got %v and %d ignored, want %v and %d:\n%s", got, r.Ignored, tc.want, tc.ignored, list(r))
			}
		})
	}
}

// A comment of the configuration's file holds for its rules.
func TestCommentsInTheConfiguration(t *testing.T) {
	in := Input{Files: []config.File{{Name: "catalog.yml", Data: []byte(good)}}, Now: friday}
	in.Config, in.ConfigFile = loadConfig(t, "routing:\n  fallback_team: sre\n  rules:\n    # callchain:ignore CC0604 till comes next week\n    - name: till\n      match: ['app=\"till\"']\n      service: till\n")
	if r := Run(in); len(r.Findings) > 0 || r.Ignored != 1 {
		t.Errorf("got %d ignored and\n%s", r.Ignored, list(r))
	}
}

func TestDisabled(t *testing.T) {
	text := strings.Replace(good, "    slo: {objective: 99.9}\n", "", 1)
	in := Input{Files: []config.File{{Name: "catalog.yml", Data: []byte(text)}}, Now: friday, Disabled: []config.Code{CodeNoSLO}}
	if r := Run(in); len(r.Findings) > 0 || r.Ignored > 0 {
		t.Errorf("got\n%s", list(r))
	}
	// A comment about what is not looked for is not called idle.
	in.Files[0].Data = []byte(strings.Replace(text, "  - name: shop", "  - name: shop # callchain:ignore CC0801 why", 1))
	if r := Run(in); len(r.Findings) > 0 {
		t.Errorf("got\n%s", list(r))
	}
}

func TestNeverVerifiedIsOneFinding(t *testing.T) {
	text := strings.Replace(good, "    verified: {on: 2026-09-01, by: [sre]}\n", "", 1)
	for i := range 8 {
		text += fmt.Sprintf("  - {name: s%d, state: third_party, owners: sre, slo: {objective: 1}}\n", i)
	}
	r := run(t, text)
	want := "nobody has confirmed yet that the entries of 9 services are true (shop, s0, s1, s2, s3, ...); "
	if len(r.Findings) != 1 || !strings.HasPrefix(r.Findings[0].Text, want) || r.Findings[0].Pos.Line != 9 {
		t.Errorf("got\n%s", list(r))
	}
}

func TestManyWithoutSLOAreOneFinding(t *testing.T) {
	text := good
	for i := range 6 {
		text += fmt.Sprintf("  - {name: s%d, state: third_party, owners: sre, verified: {on: 2026-09-01}}\n", i)
		want := min(i+1, 6-i/5*5) // one by one up to five, then together
		if r := run(t, text); len(r.Findings) != want || r.Findings[0].Code != CodeNoSLO || r.Findings[0].Pos.Line != 15 {
			t.Errorf("%d without: want %d findings from line 15 on, got\n%s", i+1, want, list(r))
		}
	}
}

// Whatever loading finds is found here under the same code and once, and with no
// lower severity.
func TestLintIsNoLaxerThanLoading(t *testing.T) {
	for _, r := range Rules {
		if r.Refused && r.Severity != config.Error {
			t.Errorf("%s refuses a catalog and is no error", r.Code)
		}
	}
	articles, base := readHandbook(t)
	for code, a := range articles {
		if strings.HasPrefix(a.bad, "# callchain.yml") {
			continue
		}
		_, ps := config.ParseCatalog([]config.File{{Name: "base.yml", Data: []byte(base)}, {Name: "example.yml", Data: []byte(a.bad)}})
		if rule, _ := RuleFor(code); ps.Err() != nil && !rule.Refused {
			t.Errorf("%s: the example is refused at load, and the rule does not say so", code)
		}
	}
}

// What people copy from here, and what we test with, is as lint wants it; what an
// example accepts, its README explains.
func TestExamplesOfTheRepository(t *testing.T) {
	for name, accepted := range map[string]map[config.Code]int{
		"deploy/demo": nil, "deploy/examples/one-machine": nil, "deploy/examples/redis": nil, "config/testdata/example": nil,
		"deploy/examples/wikimedia": {catalog.CodeUnfilled: 6, CodeNoSLO: 2, CodeUnverified: 2},
	} {
		t.Run(name, func(t *testing.T) {
			path := "../../../" + name + "/callchain.yml"
			cfg, ps := config.Load(path, config.Options{NoSecrets: true})
			if err := ps.Err(); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			in := Input{Config: cfg, ConfigFile: config.File{Name: path, Data: data}, Now: friday}
			if in.Files, ps = config.ReadCatalog(cfg.CatalogFiles); len(ps) > 0 {
				t.Fatal(ps)
			}
			r := Run(in)
			got := map[config.Code]int{}
			for _, f := range r.Findings {
				got[f.Code]++
			}
			if diff := cmp.Diff(accepted, got, cmpopts.EquateEmpty()); diff != "" || r.Errors > 0 {
				t.Errorf("findings (-want +got):\n%s\n%s", diff, list(r))
			}
			if len(accepted) == 0 {
				return
			}
			readme, err := os.ReadFile("../../../" + name + "/README.md")
			if err != nil {
				t.Fatal(err)
			}
			for code := range accepted {
				if !strings.Contains(string(readme), "\n| "+string(code)+",") {
					t.Errorf("the README does not say why %s stays", code)
				}
			}
		})
	}
}

// FuzzLint: whatever a file holds, lint ends, and every finding stands inside a file.
func FuzzLint(f *testing.F) {
	articles, base := readHandbook(f)
	for _, a := range articles {
		f.Add(a.bad)
		f.Add(a.good)
		f.Add(base + a.bad)
	}
	f.Add(good)
	f.Add("# callchain:ignore CC0801\n" + good)
	f.Add(strings.ReplaceAll(good, "\n", "\r"))
	f.Add(strings.ReplaceAll(good, "    owners: sre\n", "    description: \"a\u2028b\u0085c\"\n    owners: [\n"))
	for _, name := range []string{"../../../config/testdata/example/catalog/services.yml", "../../../deploy/demo/catalog.yml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	cfg, file := loadConfig(f, "routing:\n  fallback_team: sre\n  rules:\n    - {name: probes, match: ['instance=~\"(?P<svc>a|b)\"'], service: '{{ .svc }}'}\n    - {name: all, match: ['service=~\".+,.+\"'], service: '{{ .service }}', split: ','}\n")
	f.Fuzz(func(t *testing.T, text string) {
		in := Input{Files: []config.File{{Name: "fuzz.yml", Data: []byte(text)}}, Now: friday}
		lines := map[string][]string{"fuzz.yml": strings.Split(text, "\n"), file.Name: strings.Split(string(file.Data), "\n")}
		if _, ps := config.ParseCatalog(in.Files); slices.ContainsFunc(ps, func(p config.Problem) bool { return p.Code == "" }) {
			t.Errorf("a problem without a code: %v", ps)
		}
		for _, with := range []bool{false, true} {
			if with {
				in.Config, in.ConfigFile = cfg, file
			}
			r := Run(in)
			for _, found := range r.Findings {
				p := found.Pos
				if p.Line < 1 || p.Line > len(lines[p.File]) || p.Col < 1 || p.Col > len([]rune(lines[p.File][p.Line-1]))+1 {
					t.Errorf("outside its file: %s", found)
				}
				if found.Text == "" {
					t.Errorf("says nothing: %s", found)
				}
			}
		}
	})
}

// BenchmarkLint is a catalog of 2,000 services, 200 teams with weekly schedules
// and 500 rules. The whole of it should take less than two seconds.
func BenchmarkLint(b *testing.B) {
	var text, rules strings.Builder
	text.WriteString("people:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "  - {name: p%d, email: p%d@example.org, timezone: Europe/Berlin}\n", i, i)
	}
	text.WriteString("teams:\n")
	for i := range 200 {
		fmt.Fprintf(&text, "  - {name: t%d, members: [p%d, p%d, p%d, p%d], manager: p%d, on_call: s%d}\n", i, 5*i, 5*i+1, 5*i+2, 5*i+3, 5*i+4, i)
	}
	text.WriteString("schedules:\n")
	for i := range 200 {
		fmt.Fprintf(&text, "  - {name: s%d, timezone: Europe/Berlin, rotations: [{members: [p%d, p%d, p%d], start: 2026-01-05T09:00:00, every: 1d}]}\n", i, 5*i, 5*i+1, 5*i+2)
	}
	text.WriteString("services:\n")
	for i := range 2000 {
		fmt.Fprintf(&text, `  - name: svc%d
    state: active
    tier: 1
    owners: {development: t%d, configuration_deployment: t%d, incident_response: t%d, product_management: t%d}
    alerts: [['namespace="prod"', 'app="svc%d"'], ['instance=~"svc%d-.*"'], ['alertname="HighErrors"', 'deployment=~"svc%d|svc%d-canary"']]
    verified: {on: 2026-09-01, by: [t%d]}
    slo: {objective: 99.9}
`, i, i%200, (i*7)%200, (i*13)%200, (i*17)%200, i, i, i, i, i%200)
	}
	rules.WriteString("routing:\n  fallback_team: t0\n  rules:\n")
	for i := range 500 {
		fmt.Fprintf(&rules, "    - {name: r%d, match: ['job=~\"probes/.*\"', 'target=\"host%d\"'], service: svc%d}\n", i, i, i)
	}
	in := Input{Files: []config.File{{Name: "catalog.yml", Data: []byte(text.String())}}, Now: friday}
	in.Config, in.ConfigFile = loadConfig(b, rules.String())
	for b.Loop() {
		if r := Run(in); r.Errors > 0 {
			b.Fatal(list(r))
		}
	}
}
