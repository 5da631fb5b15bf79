package routing

import (
	"testing"

	"callchain/config"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/alertmanager/matcher/parse"
	"github.com/prometheus/alertmanager/pkg/labels"
)

func matchers(t testing.TB, text string) config.MatcherSet {
	t.Helper()
	ms, err := parse.Matchers(text)
	if err != nil {
		t.Fatal(err)
	}
	var set config.MatcherSet
	for _, m := range ms {
		set = append(set, config.At[*labels.Matcher]{V: m})
	}
	return set
}

func TestYields(t *testing.T) {
	for _, tc := range []struct {
		name, match, service, split string
		want                        []string // nil: not a short list
	}{
		{"a name", `a="1"`, "shop", "", []string{"shop"}},
		{"names", `a="1"`, "shop, till", ",", []string{"shop", "till"}},
		{"a label of certain words", `app=~"b|a"`, "{{ .app }}", "", []string{"a", "b"}},
		{"what both matchers allow", `app=~"a|b",app=~"b|c"`, "{{ .app }}", "", []string{"b"}},
		{"a group of certain words", `instance=~"(?P<svc>a|b):[12]"`, "my-{{ .svc }}", "", []string{"my-a", "my-b"}},
		{"a function", `app=~"A|B"`, "{{ .app | toLower }}", "", []string{"a", "b"}},
		{"a group of any word", `instance=~"(?P<svc>[a-z]+):[12]"`, "{{ .svc }}", "", nil},
		{"another label", `app=~"a|b"`, "{{ .job }}", "", nil},
		{"a template that branches", `app=~"a|b"`, "{{ if .job }}x{{ end }}", "", nil},
		{"too many", `a=~"[a-z]",b=~"[a-z]"`, "{{ .a }}{{ .b }}", "", nil},
		{"no service", `a="1"`, "", "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := Yields(config.Rule{Match: matchers(t, tc.match), Service: config.At[string]{V: tc.service}, Split: config.At[string]{V: tc.split}})
			if diff := cmp.Diff(tc.want, got); diff != "" || ok != (tc.want != nil) {
				t.Errorf("%v (-want +got):\n%s", ok, diff)
			}
		})
	}
}

func TestEnds(t *testing.T) {
	has := func(service string) bool { return service == "shop" }
	for service, want := range map[string]bool{"shop": true, "till": false, "till,shop": true, "{{ .app }}": false, "": false} {
		if got := Ends(config.Rule{Service: config.At[string]{V: service}, Split: config.At[string]{V: ","}}, has); got != want {
			t.Errorf("a rule for %q ends the search: %v, want %v", service, got, want)
		}
	}
}
