package routing

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/alertmanager/pkg/labels"
	"pgregory.net/rapid"

	"callchain/config"
)

var (
	someNames  = []string{"service", "team", "job", "alertname", "odd-name", "route_service", "severity"}
	someValues = []string{"", "a", "b", "ab", "abc", "a:9100", "ops", "parsoid", "mw-parsoid", "a,b", "b, parsoid,x", "line\nbreak", "ÄB", "\uFFFD", "page", "kube-state-metrics"}
	someRegexp = []string{
		"", "a", "a|b", "a|ab|abc", "parsoid|mw-parsoid", "(mw-)?parsoid", "[ab]b?", "(?i)AB|a", "^a$", "^(?:a|b)$", "a.*", "ab?c?", "a|", ".*", ".+", "[^a]*",
		"(?P<svc>[a-z-]+):[0-9]+", "(?P<svc>[a-z]+).*", "(?P<svc>a)?b?", `\bops\b`, "line.*", "(?s)line.*", ".", "a{1,2}.*", `a\:9100`, "Ä.", "(?P<team>[a-z]+)", "a||b", "ab*|b", `\x{FFFD}`,
	}
)

func drawMatcher(t *rapid.T) config.At[*labels.Matcher] {
	typ := rapid.SampledFrom([]labels.MatchType{labels.MatchEqual, labels.MatchEqual, labels.MatchRegexp, labels.MatchRegexp, labels.MatchNotEqual, labels.MatchNotRegexp}).Draw(t, "type")
	values := someValues
	if typ == labels.MatchRegexp || typ == labels.MatchNotRegexp {
		values = someRegexp
	}
	m, err := labels.NewMatcher(typ, rapid.SampledFrom(someNames).Draw(t, "name"), rapid.SampledFrom(values).Draw(t, "value"))
	if err != nil {
		t.Fatal(err)
	}
	return config.At[*labels.Matcher]{V: m}
}

func drawSet(t *rapid.T, least int) config.MatcherSet {
	return rapid.SliceOfN(rapid.Custom(drawMatcher), least, 3).Draw(t, "matchers")
}

func drawAlert(t *rapid.T) Alert {
	names, values := rapid.SampledFrom(someNames), rapid.SampledFrom(someValues)
	return Alert{
		Labels:      rapid.MapOfN(names, values, 0, 5).Draw(t, "labels"),
		RouteLabels: rapid.MapOfN(rapid.SampledFrom([]string{"service", "team", "x"}), values, 0, 2).Draw(t, "route labels"),
	}
}

// seen is an alert as matchers see it, built in the plainest way.
func seen(a Alert) map[string]string {
	all := map[string]string{}
	for k, v := range a.Labels {
		all[k] = v
	}
	for k, v := range a.RouteLabels {
		all["route_"+k] = v
	}
	return all
}

func plainMatch(set config.MatcherSet, in map[string]string) bool {
	for _, m := range set {
		if !m.V.Matches(in[m.V.Name]) {
			return false
		}
	}
	return true
}

func TestIndexFindsWhatAskingEachFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sets := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) config.MatcherSet { return drawSet(t, 0) }), 0, 12).Draw(t, "sets")
		x := indexOf(sets)
		for range 4 {
			a := drawAlert(t)
			want, got := []int{}, []int{}
			for i, set := range sets {
				if plainMatch(set, seen(a)) {
					want = append(want, i)
				}
			}
			x.each(a, func(i int) bool { got = append(got, i); return true })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%v: (-want +got)\n%s", a, diff)
			}
			first := -1
			if len(want) > 0 {
				first = want[0]
			}
			if got := x.first(a); got != first {
				t.Fatalf("first = %d, want %d", got, first)
			}
		}
	})
}

func TestAccessBy(t *testing.T) {
	for _, test := range []struct {
		matcher string
		want    string // how its set is filed
	}{
		{`service="a"`, "values [a]"},
		{`service=""`, "none"},
		{`service!="a"`, "none"},
		{`service!=""`, "label"},
		{`service=~"parsoid|mw-parsoid"`, "values [mw-parsoid parsoid]"},
		{`service=~"(mw-)?parsoid"`, "values [mw-parsoid parsoid]"},
		{`service=~"db100[1-3]"`, "values [db1001 db1002 db1003]"},
		{`service=~"^a$"`, "values [a]"},
		{`service=~"a|"`, "none"},
		{`service=~"probes/.*"`, "prefix probes/"},
		{`service=~"(?i)probes"`, "label"},
		{`service=~".+"`, "label"},
		{`service=~".*"`, "none"},
		{`service!~"a.*"`, "none"},
		{`service!~""`, "label"},
		{`service=~"[a-z]{3}"`, "label"},
	} {
		m, err := labels.ParseMatcher(test.matcher)
		if err != nil {
			t.Fatal(err)
		}
		w, ok := accessBy(m)
		got := "label"
		switch {
		case !ok:
			got = "none"
		case w.values != nil:
			got = fmt.Sprint("values ", w.values)
		case w.prefix != "":
			got = "prefix " + w.prefix
		}
		if got != test.want {
			t.Errorf("%s: filed by %s, want %s", test.matcher, got, test.want)
		}
		if slices.Contains(w.values, "") {
			t.Errorf("%s: an absent label cannot be looked up", test.matcher)
		}
	}
}
