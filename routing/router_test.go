package routing

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/alertmanager/pkg/labels"
	"pgregory.net/rapid"

	"callchain/config"
	"callchain/routing/catalog"
)

const testCatalog = `
people:
  - {name: amira, email: amira@example.org}
  - {name: ben, email: ben@example.org}
  - {name: dora, email: dora@example.org}
  - {name: vera, email: vera@example.org}
  - {name: chen, slack: U01CHEN}
teams:
  - {name: sre, aliases: [ops], members: [amira, ben], lead: amira, manager: dora}
  - {name: content, members: [ben], manager: dora}
  - {name: friends, kind: volunteer, members: [vera]}
  - {name: empty, members: []}
  - {name: chatters, members: [chen]}
services:
  - {name: parsoid, aliases: [mw-parsoid], state: third_party, owners: sre, policy: quick,
     alerts: [['alertname="Shared"'], ['alertname="Slow"', 'deployment="mw-parsoid"']]}
  - {name: wikitext, state: third_party, owners: sre, alerts: [['alertname="Slow"'], ['alertname="Down"', 'deployment="w"']]}
  - {name: aardvark, state: third_party, owners: sre, alerts: [['site="x"'], ['deployment=~"w.*"', 'alertname=~"D.*"']]}
  - {name: maps, state: maintenance, owners: {configuration_deployment: sre, incident_response: sre}}
  - {name: oldbot, state: unowned, owners: {incident_response: sre}}
  - {name: gone, state: decommissioned}
  - {name: lost, state: third_party, owners: {configuration_deployment: nobody, incident_response: sre}}
  - {name: odd, state: third_party, owners: sre, policy: never}
`

const testConfig = `
external_url: https://callchain.example.org
catalog_files: [catalog.yml]
alertmanager: {sources: [{name: main, anonymous: true}]}
notifiers: {email: {smarthost: 'mail.example.org:25', from: a@example.org, require_tls: false, link_key_file: key}}
routing:
  fallback_team: sre
  confidential: [['security="true"']]
  rules:
    - {name: quickly, match: ['speed="fast"'], policy: quick}
    - {name: to-content, match: ['kind="content"'], team: content}
    - {name: to-nobody, match: ['kind="nobody"'], team: nobody}
    - {name: probes, match: ['job=~"probes/.*"', 'instance=~"(?P<svc>[a-z0-9-]+):[0-9]+.*"'], service: '{{ .svc }}'}
    - {name: lists, match: ['service=~".+,.+"'], service: '{{ .service }}', split: ","}
    - {name: literal, match: ['alertname="Literal"'], service: maps, policy: slow}
    - {name: odd-names, match: ['"odd-name"=~".+"'], service: '{{ index . "odd-name" | toLower }}{{ .missing }}'}
    - {name: fails, match: ['alertname="Fails"'], service: '{{ index .alertname 99 }}'}
    - {name: wrong, match: ['alertname="Wrong"'], service: nosuch}
    - {name: by-route, match: ['route_tier="one"'], service: '{{ .route_svc }}'}
    - {name: no-policy, match: ['policy="bad"'], policy: bad}
  urgency:
    - {match: ['severity="critical"', 'team="sre"'], urgency: unbreak_now}
    - {match: ['hours="office"'], urgency: page, active_time_intervals: [office]}
escalation:
  policies:
    - {name: quick, steps: [{notify: 'team:sre', ack_within: 1m}]}
    - {name: slow, steps: [{notify: 'person:amira', ack_within: 1h}]}
time_intervals:
  - {name: office, time_intervals: [{times: [{start_time: '09:00', end_time: '17:00'}]}]}
`

func loadConfig(t testing.TB, text string) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "callchain.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, ps := config.Load(path, config.Options{NoSecrets: true})
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func loadCatalog(t testing.TB, text string) *catalog.Catalog {
	t.Helper()
	c, ps := config.ParseCatalog([]config.File{{Name: "catalog.yml", Data: []byte(text)}})
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	cat, ps := catalog.New(c)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	return cat
}

func testRouter(t testing.TB) *Router {
	t.Helper()
	r, ps := New(loadConfig(t, testConfig), loadCatalog(t, testCatalog))
	if r == nil {
		t.Fatal(ps)
	}
	return r
}

// pairs reads "a=b c=d" as labels.
func pairs(s string) map[string]string {
	m := map[string]string{}
	for _, f := range strings.Fields(s) {
		k, v, _ := strings.Cut(f, "=")
		m[k] = v
	}
	return m
}

func TestRoute(t *testing.T) {
	r := testRouter(t)
	now := at(t, "2026-11-20T08:00:30Z")
	for _, test := range []struct {
		name, labels, route string
		want                Resolution // Reason and Trace are held against the texts below
		reason, trace       string
	}{
		{name: "service label", labels: "service=parsoid severity=page",
			want:   Resolution{Target: Target{Subject: "service:parsoid", Service: "parsoid"}, MatchedBy: "label:service", Urgency: config.Page},
			reason: "The label service names service parsoid.", trace: `label service="parsoid": service parsoid`},
		{name: "alias", labels: "service=mw-parsoid",
			want:   Resolution{Target: Target{Subject: "service:parsoid", Service: "parsoid"}, MatchedBy: "label:service", Urgency: config.Record},
			reason: `(alias "mw-parsoid")`},
		{name: "a route's label comes before the alert's", labels: "service=parsoid", route: "service=maps",
			want: Resolution{Target: Target{Subject: "service:maps", Service: "maps"}, MatchedBy: "route_label:service", Urgency: config.Record,
				Assessment: catalog.Partial, State: config.Maintenance, MissingRoles: []config.Role{config.ContingencyDevelopment}, Risks: []Risk{RiskPartial}}},
		{name: "an unknown route's label does not end the search", labels: "service=parsoid", route: "service=nosuch",
			want:  Resolution{Target: Target{Subject: "service:parsoid", Service: "parsoid", Named: "nosuch"}, MatchedBy: "label:service", Urgency: config.Record},
			trace: `route's label service="nosuch": the catalog has no such service`},
		{name: "kube-state-metrics names the exporter", labels: "service=parsoid job=kube-state-metrics team=sre",
			want: Resolution{Target: Target{Subject: "team:sre", Team: "sre"}, MatchedBy: "team_label:team", Urgency: config.Record,
				Assessment: catalog.Unknown, Risks: []Risk{RiskUnmapped}},
			trace: `service labels: passed over, the alert matches service_labels_except: job="kube-state-metrics"`},
		{name: "team alias", labels: "team=ops",
			want: Resolution{Target: Target{Subject: "team:sre", Team: "sre"}, MatchedBy: "team_label:team", Urgency: config.Record,
				Assessment: catalog.Unknown, Risks: []Risk{RiskUnmapped}},
			reason: "No service was named; the label team names team sre."},
		{name: "unknown service, known team", labels: "service=nosuch team=sre severity=critical",
			want: Resolution{Target: Target{Subject: "team:sre", Team: "sre", Named: "nosuch"}, MatchedBy: "team_label:team", Urgency: config.UnbreakNow,
				Assessment: catalog.Unknown, Risks: []Risk{RiskUnknownService}},
			reason: `"nosuch" was named, but the catalog lacks it; the label team names team sre.`},
		{name: "unknown service, unknown team", labels: "service=nosuch team=nobody",
			want: Resolution{Target: Target{Subject: "name:nosuch", Named: "nosuch"}, MatchedBy: "fallback", Urgency: config.Record,
				Assessment: catalog.Unknown, Risks: []Risk{RiskUnknownService}}},
		{name: "nothing", labels: "security=true",
			want: Resolution{Target: Target{Subject: "unmapped"}, MatchedBy: "fallback", Urgency: config.Record, Confidential: true,
				Assessment: catalog.Unknown, Risks: []Risk{RiskUnmapped}},
			reason: "No service was named; nothing names a team, so it goes to the fallback team sre."},
		{name: "named group", labels: "job=probes/http instance=maps:443/x",
			want: Resolution{Target: Target{Subject: "service:maps", Service: "maps"}, MatchedBy: "rule:probes", Urgency: config.Record,
				Assessment: catalog.Partial, State: config.Maintenance, MissingRoles: []config.Role{config.ContingencyDevelopment}, Risks: []Risk{RiskPartial}},
			reason: "Rule probes says that it is service maps.", trace: `rule probes: matched and gives "maps": service maps`},
		{name: "a rule's unknown name does not end the search", labels: "job=probes/http instance=web:443 service=parsoid",
			want:  Resolution{Target: Target{Subject: "service:parsoid", Service: "parsoid", Named: "web"}, MatchedBy: "label:service", Urgency: config.Record},
			trace: `rule probes: matched and gives "web", which the catalog lacks`},
		{name: "a rule's literal name that is unknown", labels: "alertname=Wrong",
			want: Resolution{Target: Target{Subject: "name:nosuch", Named: "nosuch"}, MatchedBy: "fallback", Urgency: config.Record,
				Assessment: catalog.Unknown, Risks: []Risk{RiskUnknownService}}},
		{name: "a list", labels: "service=nosuch,,mw-parsoid,gone,parsoid,wikitext",
			want: Resolution{Target: Target{Subject: "service:parsoid", Service: "parsoid", Named: "nosuch"}, AlsoAffected: []string{"gone", "wikitext"},
				MatchedBy: "rule:lists", Urgency: config.Record}},
		{name: "odd label name and a missing one", labels: "odd-name=PARSOID",
			want: Resolution{Target: Target{Subject: "service:parsoid", Service: "parsoid"}, MatchedBy: "rule:odd-names", Urgency: config.Record}},
		{name: "a failing template loses nothing", labels: "alertname=Fails service=parsoid",
			want:  Resolution{Target: Target{Subject: "service:parsoid", Service: "parsoid"}, MatchedBy: "label:service", Urgency: config.Record},
			trace: "rule fails: matched, but its template failed"},
		{name: "rules see the route", labels: "a=b", route: "tier=one svc=parsoid",
			want: Resolution{Target: Target{Subject: "service:parsoid", Service: "parsoid"}, MatchedBy: "rule:by-route", Urgency: config.Record}},
		{name: "a policy from a rule goes on", labels: "speed=fast service=wikitext",
			want: Resolution{Target: Target{Subject: "service:wikitext", Service: "wikitext", Policy: "quick"}, MatchedBy: "label:service", Urgency: config.Record}},
		{name: "the first policy wins", labels: "speed=fast alertname=Literal",
			want: Resolution{Target: Target{Subject: "service:maps", Service: "maps", Policy: "quick"}, MatchedBy: "rule:literal", Urgency: config.Record,
				Assessment: catalog.Partial, State: config.Maintenance, MissingRoles: []config.Role{config.ContingencyDevelopment}, Risks: []Risk{RiskPartial}}},
		{name: "a policy that does not exist", labels: "policy=bad service=parsoid",
			want: Resolution{Target: Target{Subject: "service:parsoid", Service: "parsoid", Policy: "bad"}, MatchedBy: "label:service", Urgency: config.Record,
				Risks: []Risk{RiskMissingReference}}},
		{name: "a service's policy that does not exist", labels: "service=odd",
			want: Resolution{Target: Target{Subject: "service:odd", Service: "odd"}, MatchedBy: "label:service", Urgency: config.Record,
				Risks: []Risk{RiskMissingReference}}},
		{name: "a team from a rule comes before the team label", labels: "kind=content team=sre",
			want: Resolution{Target: Target{Subject: "team:content", Team: "content"}, MatchedBy: "rule:to-content", Urgency: config.Record,
				Assessment: catalog.Unknown, Risks: []Risk{RiskUnmapped}}},
		{name: "a service comes before a team from a rule", labels: "kind=content service=parsoid",
			want: Resolution{Target: Target{Subject: "service:parsoid", Service: "parsoid"}, MatchedBy: "label:service", Urgency: config.Record}},
		{name: "an unknown team from a rule", labels: "kind=nobody team=sre",
			want: Resolution{Target: Target{Subject: "team:sre", Team: "sre"}, MatchedBy: "team_label:team", Urgency: config.Record,
				Assessment: catalog.Unknown, Risks: []Risk{RiskMissingReference, RiskUnmapped}}},
		{name: "the most matchers win", labels: "alertname=Slow deployment=mw-parsoid service=maps",
			want:   Resolution{Target: Target{Subject: "service:parsoid", Service: "parsoid"}, MatchedBy: "service_alerts", Urgency: config.Record},
			reason: `It matches service parsoid's own alerts: alertname="Slow", deployment="mw-parsoid".`},
		{name: "fewer matchers with less", labels: "alertname=Slow deployment=other",
			want: Resolution{Target: Target{Subject: "service:wikitext", Service: "wikitext"}, MatchedBy: "service_alerts", Urgency: config.Record}},
		{name: "a tie goes to the first by name", labels: "alertname=Down deployment=w",
			want: Resolution{Target: Target{Subject: "service:aardvark", Service: "aardvark"}, MatchedBy: "service_alerts", Urgency: config.Record,
				Risks: []Risk{RiskAmbiguousMatch}},
			trace: "service wikitext matches with as many matchers"},
		{name: "unowned", labels: "service=oldbot",
			want: Resolution{Target: Target{Subject: "service:oldbot", Service: "oldbot"}, MatchedBy: "label:service", Urgency: config.Record,
				Assessment: catalog.Unowned, State: config.Unowned, MissingRoles: []config.Role{config.ContingencyDevelopment, config.ConfigurationDeployment}, Risks: []Risk{RiskUnowned}}},
		{name: "decommissioned", labels: "service=gone",
			want: Resolution{Target: Target{Subject: "service:gone", Service: "gone"}, MatchedBy: "label:service", Urgency: config.Record,
				Assessment: catalog.Decommissioned, State: config.Decommissioned, Risks: []Risk{RiskDecommissioned}}},
		{name: "an owner that does not exist", labels: "service=lost",
			want: Resolution{Target: Target{Subject: "service:lost", Service: "lost"}, MatchedBy: "label:service", Urgency: config.Record,
				Assessment: catalog.Partial, MissingRoles: []config.Role{config.ConfigurationDeployment}, Risks: []Risk{RiskPartial, RiskMissingReference}}},
		{name: "outside active hours", labels: "service=parsoid hours=office",
			want: Resolution{Target: Target{Subject: "service:parsoid", Service: "parsoid"}, MatchedBy: "label:service", Urgency: config.Notify,
				ReviewAt: at(t, "2026-11-20T09:00:00Z")},
			trace: "urgency notify: by urgency rule 2, one lower than page outside its active hours; looked at again at 2026-11-20 09:00 UTC"},
		{name: "severity decides without a rule", labels: "service=parsoid severity=emergency",
			want:  Resolution{Target: Target{Subject: "service:parsoid", Service: "parsoid"}, MatchedBy: "label:service", Urgency: config.UnbreakNow},
			trace: `urgency unbreak_now: no urgency rule matched; by the label severity="emergency"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := r.Route(Alert{Labels: pairs(test.labels), RouteLabels: pairs(test.route)}, now)
			if !strings.Contains(got.Reason, test.reason) {
				t.Errorf("reason %q does not say %q", got.Reason, test.reason)
			}
			if got.Reason == "" || !strings.Contains(strings.Join(got.Trace, "\n"), test.trace) {
				t.Errorf("trace does not say %q:\n%s", test.trace, strings.Join(got.Trace, "\n"))
			}
			want := test.want
			if want.Service != "" && want.Assessment == "" {
				want.Assessment = catalog.Owned
			}
			if want.Service != "" && want.State == "" {
				want.State = config.ThirdParty
			}
			if want.MissingRoles == nil {
				want.MissingRoles = []config.Role{}
			}
			if want.Risks == nil {
				want.Risks = []Risk{}
			}
			got.Reason, got.Trace = "", nil
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestNewProblems(t *testing.T) {
	for _, test := range []struct {
		name string
		edit func(*config.Config)
		want string
	}{
		{"unknown fallback", func(c *config.Config) { c.Routing.FallbackTeam.V = "nobody" }, `error: routing.fallback_team: the catalog has no team "nobody"`},
		{"no fallback", func(c *config.Config) { c.Routing.FallbackTeam.V = "" }, "error: routing.fallback_team is missing"},
		{"fallback without people", func(c *config.Config) { c.Routing.FallbackTeam.V = "empty" }, "error: routing.fallback_team: empty reaches nobody"},
		{"fallback of volunteers", func(c *config.Config) { c.Routing.FallbackTeam.V = "friends" }, "error: routing.fallback_team: friends is a team of volunteers"},
		{"fallback that no channel reaches", func(c *config.Config) { c.Routing.FallbackTeam.V = "chatters" }, "error: routing.fallback_team: chatters reaches nobody; give the team a member with an e-mail address"},
		{"rule that decides nothing", func(c *config.Config) { c.Routing.Rules[0].Policy.V = "" }, `error: routing.rules: rule "quickly" decides nothing`},
		{"template that does not parse", func(c *config.Config) { c.Routing.Rules[3].Service.V = "{{ .svc" }, `error: routing.rules.service: rule "probes": want a name or a template`},
		{"unknown function in a template", func(c *config.Config) { c.Routing.Rules[3].Service.V = "{{ nosuch .svc }}" }, `function "nosuch" not defined`},
		{"unknown service", nil, `warning: routing.rules.service: rule "wrong" names "nosuch"`},
		{"unknown team", nil, `warning: routing.rules.team: rule "to-nobody" names team "nobody"`},
		{"unknown policy of a rule", nil, `warning: routing.rules.policy: rule "no-policy" names policy "bad"`},
		{"unknown policy of a service", nil, `warning: services.policy: service odd names policy "never"`},
		{"unknown team in a step", func(c *config.Config) { c.Escalation.Policies[1].Steps[0].Notify.V = "team:nobody" }, `warning: escalation.policies.steps.notify: the catalog has no team "nobody"`},
		{"unknown person in a step", func(c *config.Config) { c.Escalation.Policies[1].Steps[0].Notify.V = "person:nobody" }, `warning: escalation.policies.steps.notify: the catalog has no person "nobody"`},
		{"unknown time interval", func(c *config.Config) { c.TimeIntervals = nil }, `error: routing.urgency.active_time_intervals: there is no time interval "office"`},
		{"unknown team of self", func(c *config.Config) { c.Self.Team = config.At[string]{V: "nobody", Pos: config.Pos{Line: 1}} }, `warning: self.team: the catalog has no team "nobody"`},
		{"unknown team of a heartbeat", func(c *config.Config) {
			c.Alertmanager.Heartbeats = []config.Heartbeat{{Team: config.At[string]{V: "nobody"}}}
		}, `warning: alertmanager.heartbeats.team: the catalog has no team "nobody"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := loadConfig(t, testConfig)
			if test.edit != nil {
				test.edit(cfg)
			}
			r, ps := New(cfg, loadCatalog(t, testCatalog))
			found := slices.ContainsFunc(ps, func(p config.Problem) bool { return strings.Contains(p.String(), test.want) })
			if !found {
				t.Errorf("no problem says %q:\n%s", test.want, ps.Error())
			}
			if refused := len(ps.Errors()) > 0; refused != (r == nil) {
				t.Errorf("errors: %v, router: %v", refused, r)
			}
		})
	}
}

func TestNewReportsTies(t *testing.T) {
	cat := loadCatalog(t, `
people: [{name: amira, email: amira@example.org}]
teams: [{name: sre, members: [amira]}]
services:
  - {name: b, state: third_party, owners: sre, alerts: [['x="1"', 'y="2"']]}
  - {name: a, state: third_party, owners: sre, alerts: [['y="2"', 'x="1"']]}
`)
	_, ps := New(&config.Config{Routing: config.Routing{FallbackTeam: config.At[string]{V: "sre"}}}, cat)
	if len(ps) != 1 || ps[0].Severity != config.Warning || !strings.Contains(ps[0].Text, "services a and b claim the same alerts") || ps[0].Pos.Line != 5 {
		t.Errorf("problems: %v", ps)
	}
}

// naive answers as Route should, asking every rule and every service in turn.
func naive(cfg *config.Config, cat *catalog.Catalog, a Alert) (want Resolution) {
	in := seen(a)
	want.Assessment, want.Urgency = catalog.Unknown, builtInUrgency(in["severity"])
	for _, u := range cfg.Routing.Urgency {
		if plainMatch(u.Match, in) {
			want.Urgency = u.Urgency.V
			break
		}
	}
	anyOf := func(sets []config.MatcherSet) bool {
		return slices.ContainsFunc(sets, func(s config.MatcherSet) bool { return plainMatch(s, in) })
	}
	want.Confidential = anyOf(cfg.Routing.Confidential)
	var service *catalog.Service
	team := ""
	keep := func(name string) {
		if want.Named == "" {
			want.Named = name
		}
	}
	for _, rule := range cfg.Routing.Rules {
		if service != nil || !plainMatch(rule.Match, in) {
			continue
		}
		if want.Policy == "" {
			want.Policy = rule.Policy.V
		}
		if team == "" && cat.Team(rule.Team.V) != nil {
			team, want.MatchedBy = cat.Team(rule.Team.V).Name, "rule:"+rule.Name.V
		}
		if rule.Service.V == "" {
			continue
		}
		n, err := compileName(rule.Service.V, rule.Match)
		if err != nil {
			panic(err)
		}
		n.field = "" // the long way round
		given, err := n.of(a)
		if err != nil {
			continue
		}
		for _, g := range splitNames(given, rule.Split.V) {
			switch s := cat.Service(g); {
			case s == nil:
				keep(g)
			case service == nil:
				service, want.MatchedBy = s, "rule:"+rule.Name.V
			case s != service && !slices.Contains(want.AlsoAffected, s.Name):
				want.AlsoAffected = append(want.AlsoAffected, s.Name)
			}
		}
	}
	if service == nil {
		best, tie := 0, false
		for _, s := range cat.Services() { // by name
			for _, set := range s.Alerts {
				if len(set) == 0 || !plainMatch(set, in) {
					continue
				}
				switch {
				case len(set) > best:
					best, service, tie = len(set), s, false
				case len(set) == best && s != service:
					tie = true
				}
			}
		}
		if service != nil {
			want.MatchedBy = "service_alerts"
		}
		if tie {
			want.Risks = append(want.Risks, RiskAmbiguousMatch)
		}
	}
	if service == nil && !anyOf(cfg.Routing.ServiceLabelsExcept) {
		for _, from := range []struct {
			by string
			of map[string]string
		}{{"route_label:", a.RouteLabels}, {"label:", a.Labels}} {
			for _, l := range cfg.Routing.ServiceLabels {
				if v := from.of[l.V]; v != "" && service == nil {
					if service = cat.Service(v); service != nil {
						want.MatchedBy = from.by + l.V
					} else {
						keep(v)
					}
				}
			}
		}
	}
	switch {
	case service != nil:
		want.Service, want.Subject = service.Name, "service:"+service.Name
		want.Assessment, want.State = service.Assessment, service.State
		return want
	case team != "":
	default:
		want.MatchedBy = "fallback"
		for _, of := range []map[string]string{a.RouteLabels, a.Labels} {
			for _, l := range cfg.Routing.TeamLabels {
				if t := cat.Team(of[l.V]); t != nil && team == "" {
					team, want.MatchedBy = t.Name, "team_label:"+l.V
				}
			}
		}
	}
	risk := RiskUnmapped
	if want.Named != "" {
		risk = RiskUnknownService
	}
	want.Risks = append(want.Risks, risk)
	switch {
	case team != "":
		want.Team, want.Subject = team, "team:"+team
	case want.Named != "":
		want.Subject = "name:" + want.Named
	default:
		want.Subject = "unmapped"
	}
	return want
}

func word(s string) config.At[string] { return config.At[string]{V: s} }

func drawConfig(t *rapid.T) *config.Config {
	sets := func(label string, most int) []config.MatcherSet {
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) config.MatcherSet { return drawSet(t, 1) }), 0, most).Draw(t, label)
	}
	cfg := &config.Config{Routing: config.Routing{
		FallbackTeam:        word("ops"),
		ServiceLabels:       []config.At[string]{word("service"), word("job")},
		TeamLabels:          []config.At[string]{word("team")},
		ServiceLabelsExcept: sets("except", 1),
		Confidential:        sets("confidential", 2),
	}}
	for i := range rapid.IntRange(0, 8).Draw(t, "rules") {
		rule := config.Rule{Name: word(string(rune('A' + i))), Match: drawSet(t, 0)}
		rule.Service = word(rapid.SampledFrom([]string{"", "parsoid", "a", "nosuch", "a,b", "{{ .svc }}", "{{ .service }}", "{{ .team }}", `{{ index . "odd-name" }}`,
			"{{ .route_service }}", "{{ if .svc }}{{ .svc }}{{ else }}{{ index .job 3 }}{{ end }}", " {{ .service }} "}).Draw(t, "service"))
		rule.Split = word(rapid.SampledFrom([]string{"", ","}).Draw(t, "split"))
		rule.Team = word(rapid.SampledFrom([]string{"", "", "ops", "b"}).Draw(t, "team"))
		rule.Policy = word(rapid.SampledFrom([]string{"", "default"}).Draw(t, "policy"))
		if rule.Service.V == "" && rule.Team.V == "" {
			rule.Policy.V = "default"
		}
		cfg.Routing.Rules = append(cfg.Routing.Rules, rule)
	}
	for range rapid.IntRange(0, 3).Draw(t, "urgencies") {
		cfg.Routing.Urgency = append(cfg.Routing.Urgency, config.UrgencyRule{Match: drawSet(t, 0),
			Urgency: config.At[config.Urgency]{V: rapid.SampledFrom(config.Urgencies).Draw(t, "urgency")}})
	}
	return cfg
}

func drawCatalog(t *rapid.T) *catalog.Catalog {
	c := &config.Catalog{
		People: []config.Person{{Name: word("amira"), Email: word("amira@example.org")}},
		Teams: []config.Team{
			{Name: word("ops"), Members: []config.At[string]{word("amira")}},
			{Name: word("b"), Aliases: []config.At[string]{word("abc")}, Members: []config.At[string]{word("amira")}},
		},
	}
	for i, name := range []string{"parsoid", "a", "b", "x", "ab"} {
		s := config.Service{Name: word(name), State: config.At[config.State]{V: config.ThirdParty}, Owners: config.Owners{All: word("ops")}}
		if i == 0 {
			s.Aliases = []config.At[string]{word("mw-parsoid")}
		}
		s.Alerts = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) config.MatcherSet { return drawSet(t, 1) }), 0, 3).Draw(t, "alerts")
		c.Services = append(c.Services, s)
	}
	cat, ps := catalog.New(c)
	if cat == nil {
		t.Fatal(ps)
	}
	return cat
}

// The index changes the price of an answer, never the answer.
func TestRouteAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg, cat := drawConfig(t), drawCatalog(t)
		r, ps := New(cfg, cat)
		if r == nil {
			t.Fatal(ps)
		}
		for range 5 {
			a := drawAlert(t)
			before := Alert{maps.Clone(a.Labels), maps.Clone(a.RouteLabels)}
			got, want := r.Route(a, time.Time{}), naive(cfg, cat, a)
			if got.Reason == "" || len(got.Trace) == 0 || got.MissingRoles == nil || got.Risks == nil {
				t.Fatalf("incomplete: %+v", got)
			}
			if want.Risks == nil {
				want.Risks = []Risk{}
			}
			want.Reason, want.Trace, want.MissingRoles = got.Reason, got.Trace, got.MissingRoles
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%v: (-want +got)\n%s", a, diff)
			}
			if diff := cmp.Diff(before, a); diff != "" {
				t.Fatalf("the alert was changed: %s", diff)
			}
		}
	})
}

func must(t testing.TB, matchers ...string) config.MatcherSet {
	t.Helper()
	var set config.MatcherSet
	for _, s := range matchers {
		m, err := labels.ParseMatcher(s)
		if err != nil {
			t.Fatal(err)
		}
		set = append(set, config.At[*labels.Matcher]{V: m})
	}
	return set
}

// A label may be as long as its sender likes; what people read must not be.
func TestTraceOfManyNames(t *testing.T) {
	r := testRouter(t)
	got := r.Route(Alert{Labels: map[string]string{"service": strings.Repeat("nosuch,", 10_000) + "maps"}}, time.Time{})
	if got.Service != "maps" || got.Named != "nosuch" {
		t.Errorf("service %q, named %q", got.Service, got.Named)
	}
	if len(got.Trace) > 20 {
		t.Errorf("the trace has %d lines", len(got.Trace))
	}
}
