package suggest

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callchain/routing"
)

func pairs(text string) map[string]string {
	m := map[string]string{}
	for _, p := range strings.Fields(text) {
		name, value, _ := strings.Cut(p, "=")
		m[name] = strings.ReplaceAll(value, "+", " ")
	}
	return m
}

func TestPropose(t *testing.T) {
	_, router := world(t, testConfig, testCatalog)
	for _, c := range []struct {
		name   string
		alerts []string // those after "-> service" reached it
		want   []string // count, certainty and rule
	}{
		{"nothing", nil, nil},
		{"what reached a service needs none", []string{"alertname=A app=thumbor -> thumbor"}, nil},
		{"a name", []string{"alertname=A app=thumbor"}, []string{`1 named: - {name: proposed-thumbor, match: ['app="thumbor"'], service: thumbor}`}},
		{"but for case and separator", []string{"alertname=A deployment=Web_Shop"}, []string{`1 named: - {name: proposed-web-shop, match: ['deployment="Web_Shop"'], service: web-shop}`}},
		{"but for its port", []string{"alertname=A app=thumbor_8800"}, []string{`1 named: - {name: proposed-thumbor, match: ['app="thumbor_8800"'], service: thumbor}`}},
		{"but for its domain", []string{"alertname=A backend_app=thumbor.svc.example.org"}, []string{`1 named: - {name: proposed-thumbor, match: ['backend_app="thumbor.svc.example.org"'], service: thumbor}`}},
		{"an alias with a port", []string{"alertname=A app=cart_8080:443"}, []string{`1 named: - {name: proposed-checkout, match: ['app="cart_8080:443"'], service: checkout}`}},
		{"an alias", []string{"alertname=A app=KASSA"}, []string{`1 named: - {name: proposed-checkout, match: ['app="KASSA"'], service: checkout}`}},
		{"a probe, whatever its port", []string{"alertname=Down instance=thumbor:80", "alertname=Down instance=thumbor:443", "alertname=Down instance=host1:443"}, []string{
			`2 named: - {name: proposed-thumbor, match: ['instance=~"thumbor:[0-9]+"'], service: thumbor}`,
			`1 unknown: - {name: proposed-down, match: ['alertname="Down"'], service: WHICH-SERVICE}`,
		}},
		{"several values of one label", []string{"alertname=A app=kassa", "alertname=B app=checkout"}, []string{
			`2 named: - {name: proposed-checkout, match: ['app=~"checkout|kassa"'], service: checkout}`}},
		{"the more telling label", []string{"alertname=A namespace=thumbor app=kassa"}, []string{`1 named: - {name: proposed-checkout, match: ['app="kassa"'], service: checkout}`}},
		{"the alert's name", []string{"alertname=ThumborSlow team=sre", "alertname=ThumborDown"}, []string{
			`2 similar: - {name: proposed-thumbor, match: ['alertname=~"Thumbor.*"'], service: thumbor}`}},
		{"the alert's name, of two words", []string{"alertname=DatahubDown", "alertname=DataHubSlow"}, []string{
			`2 similar: - {name: proposed-data-hub, match: ['alertname=~"DataHub.*|Datahub.*"'], service: data-hub}`}},
		{"but not a word that only begins so", []string{"alertname=Thumborama"}, []string{`1 unknown: - {name: proposed-thumborama, match: ['alertname="Thumborama"'], service: WHICH-SERVICE}`}},
		{"the beginning of a label", []string{"alertname=A namespace=web-shop-canary"}, []string{`1 similar: - {name: proposed-web-shop, match: ['namespace="web-shop-canary"'], service: web-shop}`}},
		{"a name before a beginning", []string{"alertname=ThumborDown job=kassa"}, []string{`1 named: - {name: proposed-checkout, match: ['job="kassa"'], service: checkout}`}},
		{"the exporter's labels do not count", []string{"alertname=A job=kube-state-metrics namespace=thumbor service=checkout exported_namespace=web-shop"}, []string{
			`1 named: - {name: proposed-web-shop, match: ['exported_namespace="web-shop"'], service: web-shop}`}},
		{"words of the infrastructure do not count", []string{"alertname=A job=node", "alertname=A cluster=south site=south"}, []string{
			`2 unknown: - {name: proposed-a, match: ['alertname="A"'], service: WHICH-SERVICE}`}},
		{"but the site elsewhere does", []string{"alertname=A cluster=south site=north"}, []string{
			`1 named: - {name: proposed-south, match: ['cluster="south"'], service: south}`}},
		{"as much of a family's name as all have", []string{"alertname=HiveHeapFull team=shop", "alertname=HiveHeapSlow team=shop", "alertname=HiveHeap team=shop"}, []string{
			`3 unknown: - {name: proposed-hive, match: ['alertname=~"HiveHeap.*"', 'team="shop"'], service: WHICH-SERVICE}`}},
		{"a family of one team", []string{"alertname=HiveDown team=shop", "alertname=HiveHeapFull team=shop", "alertname=HiveHeapSlow team=sre"}, []string{
			`2 unknown: - {name: proposed-hive, match: ['alertname=~"Hive.*"', 'team="shop"'], service: WHICH-SERVICE}`,
			`1 unknown: - {name: proposed-hiveheapslow, match: ['alertname="HiveHeapSlow"', 'team="sre"'], service: WHICH-SERVICE}`,
		}},
		{"first words that say nothing make no family", []string{"alertname=HighLoad", "alertname=HighTide"}, []string{
			`1 unknown: - {name: proposed-highload, match: ['alertname="HighLoad"'], service: WHICH-SERVICE}`,
			`1 unknown: - {name: proposed-hightide, match: ['alertname="HighTide"'], service: WHICH-SERVICE}`,
		}},
		{"odd names are quoted", []string{`alertname=It's+"odd"\ app=none`, "alertname=B app=odd"}, []string{
			`1 unknown: - {name: proposed-it-s-odd, match: ['alertname="It''s \"odd\"\\"'], service: WHICH-SERVICE}`,
			`1 named: - {name: proposed-odd-name, match: ['app="odd"'], service: 'odd: name'}`,
		}},
		{"what cannot be written down is left out", []string{"alertname=A\x1b[31m app=thumbor\u202e"}, nil},
		{"values are no expressions", []string{"alertname=A app=thumbor.x", "alertname=A app=thumbor.y"}, []string{
			`2 named: - {name: proposed-thumbor, match: ['app=~"thumbor\\.x|thumbor\\.y"'], service: thumbor}`}},
		{"no name twice", []string{"alertname=A app=kassa", "alertname=B namespace=checkout"}, []string{
			`1 named: - {name: proposed-checkout, match: ['app="kassa"'], service: checkout}`,
			`1 named: - {name: proposed-checkout-2, match: ['namespace="checkout"'], service: checkout}`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var seen []Seen
			for _, a := range c.alerts {
				of, service, _ := strings.Cut(a, " -> ")
				seen = append(seen, Seen{Labels: pairs(of), Service: service})
			}
			var got []string
			var rules strings.Builder
			for _, p := range Propose(router.Catalog(), seen) {
				got = append(got, strings.Join([]string{strconv.Itoa(p.Alerts), string(p.Certainty) + ":", p.Rule}, " "))
				rules.WriteString("    " + p.Rule + "\n")
				if p.Alternatives == nil || p.AlertNames == nil || p.Labels == nil || p.Match == nil || p.Reason == "" {
					t.Errorf("a field is null or empty: %+v", p)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			// Pasted, the rules are good; what they find is a service or the question.
			_, pasted := world(t, strings.Replace(testConfig, "  rules:\n", "  rules:\n"+rules.String(), 1), testCatalog)
			for _, a := range seen {
				if res := pasted.Route(routing.Alert{Labels: a.Labels}, time.Time{}); len(got) > 0 && res.Service == "" && res.Named != Placeholder {
					t.Errorf("%v still reaches nothing: %s", a.Labels, res.Reason)
				}
			}
		})
	}
}

// What a person must weigh is said: other names in the labels, alerts that the
// rule would take away, and that several teams get the alert.
func TestProposeSaysDoubts(t *testing.T) {
	_, router := world(t, testConfig, testCatalog)
	ps := Propose(router.Catalog(), []Seen{
		{Labels: pairs("alertname=A app=thumbor namespace=kassa site=x")},
		{Labels: pairs("alertname=B app=thumbor site=x"), Service: "web-shop"},
		{Labels: pairs("alertname=B app=thumbor"), Service: "thumbor"},
		{Labels: pairs("alertname=C team=sre")},
		{Labels: pairs("alertname=C team=shop")},
		{Labels: pairs("alertname=C"), Service: "checkout"},
	})
	if len(ps) != 2 {
		t.Fatalf("%d proposals: %v", len(ps), ps)
	}
	c, thumbor := ps[0], ps[1]
	if diff := cmp.Diff([]string{"checkout"}, thumbor.Alternatives); diff != "" || !strings.Contains(thumbor.Reason, "Other labels say checkout") {
		t.Errorf("%s %s", diff, thumbor.Reason)
	}
	if thumbor.Moves != 1 || c.Moves != 1 {
		t.Errorf("moves: %d and %d, want 1 each", thumbor.Moves, c.Moves)
	}
	if !strings.Contains(c.Reason, "Several teams") {
		t.Error(c.Reason)
	}
	if diff := cmp.Diff(map[string]string{"alertname": "A", "app": "thumbor", "namespace": "kassa", "site": "x"}, thumbor.Labels); diff != "" {
		t.Error(diff)
	}
}

// A rule that brings alerts to what is gone would only hide a stale alerting rule.
func TestProposeSaysDecommissioned(t *testing.T) {
	_, router := world(t, testConfig, strings.Replace(testCatalog, "services:\n", "services:\n  - {name: bygone, state: decommissioned}\n", 1))
	ps := Propose(router.Catalog(), []Seen{{Labels: pairs("alertname=A app=bygone")}, {Labels: pairs("alertname=B app=thumbor")}})
	if len(ps) != 2 || ps[0].Service != "bygone" || !strings.Contains(ps[0].Reason, "decommissioned: if nothing else is meant, remove the alerting rule") {
		t.Errorf("%+v", ps)
	}
	if strings.Contains(ps[1].Reason, "decommissioned") {
		t.Error(ps[1].Reason)
	}
}

// On real alerts: every alert without a service is in one proposal, and the
// rules that name a service keep their word when they are pasted.
func TestProposedRulesDoWhatTheySay(t *testing.T) {
	catText := read(t, "../testdata/backtest-catalog.yml")
	cfgText := read(t, "../testdata/backtest-config.yml")
	_, router := world(t, cfgText, catText)
	before := backtest(t, router)
	proposals := Propose(router.Catalog(), SeenBy(before.Answers))
	sum, asked := 0, 0
	var rules strings.Builder
	for _, p := range proposals {
		sum += p.Alerts
		if p.Service == "" {
			asked += p.Alerts
		}
		rules.WriteString("    " + strings.ReplaceAll(p.Rule, Placeholder, "nobody-knows") + "\n")
	}
	if want := before.Alerts - before.ToService; sum != want {
		t.Errorf("the proposals are about %d alerts, %d reach no service", sum, want)
	}
	if len(proposals) < 20 || sum == asked {
		t.Errorf("%d proposals for %d alerts, %d of them questions", len(proposals), sum, asked)
	}
	if !slices.IsSortedFunc(proposals, func(a, b Proposal) int { return b.Alerts - a.Alerts }) {
		t.Error("the most helpful are not first")
	}

	_, router = world(t, strings.Replace(cfgText, "  rules:\n", "  rules:\n"+rules.String(), 1), catText)
	after := map[string]routing.Answer{}
	moved := 0
	for i, a := range backtest(t, router).Answers {
		after[a.Alert.String()] = a
		if was := before.Answers[i]; was.Service != "" && was.Service != a.Service {
			moved++
		}
	}
	for _, was := range before.Answers {
		if was.Service != "" {
			continue
		}
		i := slices.IndexFunc(proposals, func(p Proposal) bool { return p.takes(was.Labels) })
		if i < 0 {
			t.Errorf("no proposal takes %s", was.Alert)
			continue
		}
		if p := proposals[i]; p.Service != "" && after[was.Alert.String()].Service != p.Service {
			t.Errorf("%s reaches %q, not %q as %s promised", was.Alert, after[was.Alert.String()].Service, p.Service, p.Rule)
		}
	}
	if moved > 0 {
		t.Errorf("%d alerts were taken from their service without a word", moved)
	}
}
