package routing

import (
	"fmt"
	"testing"
	"time"

	"callchain/config"
	"callchain/routing/catalog"
)

// benchRouter has a catalog and rules as a large organisation's: most services
// found by their own alerts or a label, rules by equality, by lists of names, by
// the beginning of an instance's name, some by what only a template can read,
// and a few that nothing can be filed under.
func benchRouter(b testing.TB, services, rules int) *Router {
	b.Helper()
	c := &config.Catalog{
		People: []config.Person{{Name: word("amira"), Email: word("amira@example.org")}},
		Teams:  []config.Team{{Name: word("sre"), Members: []config.At[string]{word("amira")}}},
	}
	for i := range services {
		s := config.Service{Name: word(fmt.Sprintf("svc-%d", i)), Aliases: []config.At[string]{word(fmt.Sprintf("mw-svc-%d", i))},
			State: config.At[config.State]{V: config.ThirdParty}, Owners: config.Owners{All: word("sre")}}
		s.Alerts = []config.MatcherSet{
			must(b, fmt.Sprintf(`deployment=~"svc-%d|mw-svc-%d"`, i, i)),
			must(b, fmt.Sprintf(`alertname="Alert%d"`, i%200), fmt.Sprintf(`namespace="ns-%d"`, i), `severity!="task"`),
		}
		c.Services = append(c.Services, s)
	}
	cat, ps := catalog.New(c)
	if cat == nil {
		b.Fatal(ps)
	}
	cfg := &config.Config{Routing: config.Routing{
		FallbackTeam:        word("sre"),
		ServiceLabels:       []config.At[string]{word("service")},
		TeamLabels:          []config.At[string]{word("team")},
		ServiceLabelsExcept: []config.MatcherSet{must(b, `job="kube-state-metrics"`)},
		Confidential:        []config.MatcherSet{must(b, `security="true"`)},
	}}
	for i := range rules {
		r := config.Rule{Name: word(fmt.Sprintf("rule-%d", i)), Service: word(fmt.Sprintf("svc-%d", i%services))}
		switch {
		case i%500 == 7:
			r.Match = must(b, `stage!~"prod|canary"`, fmt.Sprintf(`shard!="%d"`, i), `stage!=""`, fmt.Sprintf(`rack=~"(row-)?%d.*"`, i))
		case i%50 == 3:
			r.Match = must(b, fmt.Sprintf(`job=~"probes/%d.*"`, i), `instance=~"(?P<svc>[a-z0-9-]+):[0-9]+.*"`)
			r.Service.V = "{{ .svc }}"
		case i%4 == 0:
			r.Match = must(b, fmt.Sprintf(`instance=~"host%d[0-9]+:.*"`, i), `severity=~"page|critical"`)
		case i%4 == 1:
			r.Match = must(b, `cluster="main"`, fmt.Sprintf(`app=~"app-%d|app-%d-canary"`, i, i))
		default:
			r.Match = must(b, fmt.Sprintf(`alertname="Rule%d"`, i), `cluster="main"`, `site=~"eqiad|codfw"`)
		}
		cfg.Routing.Rules = append(cfg.Routing.Rules, r)
	}
	for i := range 50 {
		cfg.Routing.Urgency = append(cfg.Routing.Urgency, config.UrgencyRule{
			Match: must(b, `severity="critical"`, fmt.Sprintf(`team="team-%d"`, i)), Urgency: config.At[config.Urgency]{V: config.Notify}})
	}
	r, ps := New(cfg, cat)
	if r == nil {
		b.Fatal(ps)
	}
	return r
}

func benchAlert(more string) Alert {
	a := Alert{Labels: pairs("alertname=HighLatency cluster=main site=eqiad severity=critical team=sre job=node instance=host77x:9100 prometheus=k8s stage=prod"),
		RouteLabels: map[string]string{}}
	for k, v := range pairs(more) {
		a.Labels[k] = v
	}
	return a
}

// The price of an alert must not grow with the services and hardly with the rules.
func BenchmarkRoute(b *testing.B) {
	now := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	for _, size := range []struct{ services, rules int }{
		{100, 50}, {1000, 50}, {10000, 50}, {100, 500}, {1000, 500}, {10000, 500}, {100, 5000}, {1000, 5000}, {10000, 5000},
	} {
		r := benchRouter(b, size.services, size.rules)
		last := size.rules - 1
		for _, c := range []struct {
			name  string
			alert Alert
		}{
			{"rule", benchAlert(fmt.Sprintf("alertname=Rule%d", last))},
			{"template", benchAlert(fmt.Sprintf("job=probes/3x instance=svc-%d:443", size.services-1))},
			{"own", benchAlert(fmt.Sprintf("deployment=mw-svc-%d", size.services-1))},
			{"label", benchAlert("service=svc-9")},
			{"team", benchAlert("")},
			{"nothing", Alert{Labels: pairs("a=b stage=lab rack=none")}},
		} {
			b.Run(fmt.Sprintf("services=%d/rules=%d/%s", size.services, size.rules, c.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					r.Route(c.alert, now)
				}
			})
		}
	}
}

// What the benchmark measures, without a clock: however many rules and services
// there are, few are asked.
func TestFewSetsAreAsked(t *testing.T) {
	r := benchRouter(t, 2000, 5000)
	a := benchAlert("alertname=Rule4999 deployment=mw-svc-1999 namespace=ns-7")
	for name, x := range map[string]*index{"rules": r.ruleIdx, "services' own": r.ownIdx, "urgency": r.urgencyIdx} {
		asked := len(x.rest) + len(x.lookUp(nil, "", a.Labels))
		if asked > 20 {
			t.Errorf("%s: %d of %d sets are asked", name, asked, len(x.sets))
		}
	}
}
