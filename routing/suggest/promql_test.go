package suggest

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// show writes a labelset: what is fixed, what varies (with its expression), and
// "..." when there may be more.
func (s labelset) show() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(s.fixed)) {
		if name != "__name__" {
			parts = append(parts, name+"="+s.fixed[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.some)) {
		parts = append(parts, name+"~"+s.some[name])
	}
	if s.open {
		parts = append(parts, "...")
	}
	return strings.Join(parts, " ")
}

func TestLabelsOf(t *testing.T) {
	for expr, want := range map[string]string{
		// Selectors.
		`up`:                                   `...`,
		`up{job="web",env='a',x!="y",z=~".+"}`: `env=a job=web z~.+ ...`,
		`{"my.metric", "my.label"="x"}`:        `my.label=x ...`,
		`{__name__="up", job="web"}`:           `job=web ...`,
		`up{job=~"a|b"}`:                       `job=a ... | job=b ...`,
		`up{job=~"^(?:a|b)$"}`:                 `job=a ... | job=b ...`,
		`up{job=~"a.*|b"}`:                     `job~a.*|b ...`,
		`up{a=~"1|2|3|4|5|6|7|8|9"}`:           `a~1|2|3|4|5|6|7|8|9 ...`,
		`up{a="\"}"} # by (b)`:                 `a="} ...`,
		"up{a=`b\\c`,}":                        `a=b\c ...`,
		`up{job=""}`:                           `job= ...`,
		`max_over_time(rate(x_total{job="web"}[5m])[1h:1m] offset -5m) @ end() > 1.5e3`: `job=web ...`,
		`x{a="1"} offset 1h30m @ 1.5`: `a=1 ...`,

		// Aggregations.
		`sum(up)`: ``,
		`sum by (service, site) (x{site="eqiad"})`:    `site=eqiad service~`,
		`sum(x{site="eqiad"}) by (site,)`:             `site=eqiad`,
		`sum without (instance) (x{job="web"})`:       `instance= job=web ...`,
		`topk(5, x{job="web"})`:                       `job=web ...`,
		`topk by (a) (5, x{job="web"})`:               `job=web ...`,
		`quantile by (a) (0.9, x{b="c"})`:             `a~`,
		`count_values by (a) ("version", x{a="b"})`:   `a=b version~`,
		`SUM BY (a) (sum by (b) (x{a="c"}))`:          `a=`,
		`count`:                                       `...`,
		`by{by="x"}`:                                  `by=x ...`,
		`sum by ("a.b") ({"x", "a.b"="c"})`:           `a.b=c`,
		`histogram_quantile(0.9, sum by (le, a) (x))`: `a~`,

		// Operators.
		`x{a="1"} > 5`:                                 `a=1 ...`,
		`5 < x{a="1"}`:                                 `a=1 ...`,
		`-x{a="1"} ^ 2 * 3 % 4`:                        `a=1 ...`,
		`1 + 2`:                                        ``,
		`time() - x{a="1"}`:                            `a=1 ...`,
		`x{a="1"} / y{b="2"}`:                          `a=1 b=2 ...`,
		`x{a="1"} / on (b) y{b="2", c="3"}`:            `b=2`,
		`x{a="1"} / ignoring (a) y{b="2", a="3"}`:      `a= b=2 ...`,
		`x{a="1"} * on (b) group_left (team) y{b="2"}`: `a=1 b=2 team~ ...`,
		`x * on (b) group_left (team) y{team="t"}`:     `team=t ...`,
		`x * on (b) group_left (team) sum by (b) (y)`:  `team= ...`,
		`y{c="3"} * on (b) group_right () x{a="1"}`:    `a=1 ...`,
		`x{a="1"} and on (b) y{b="2", c="3"}`:          `a=1 b=2 ...`,
		`x{a="1"} unless on () y{b="2"}`:               `a=1 ...`,
		`x{a="1"} or y{b="2"}`:                         `a=1 ... | b=2 ...`,
		`x{a=~"1|2"} and y{a="2"}`:                     `a=2 ...`,
		`x{a="1"} == bool 3 or vector(0)`:              `a=1 ... | `,
		`x{a="1"} + y{a="2"} * 3`:                      `...`, // never matches: nothing is said
		`x > 1 and y{a="1"} > 2 unless z`:              `a=1 ...`,

		// Functions.
		`absent(up{job="web",a!="b",c=~"d.*"})`:           `job=web`,
		`absent_over_time(up{job="web"}[5m])`:             `job=web`,
		`absent(sum(up{job="web"}))`:                      ``,
		`vector(1)`:                                       ``,
		`scalar(up) > 3`:                                  ``,
		`label_replace(x{a="1"}, "b", "$1", "a", "(.*)")`: `a=1 b~ ...`,
		`label_replace(x{a="1"}, "b", "c", "", "")`:       `a=1 b=c ...`,
		`label_join(x{a="1"}, "a", "-", "b", "c")`:        `a~ ...`,
		`predict_linear(x{a="1"}[1h], 4 * 3600) < 0`:      `a=1 ...`,
		`quantile_over_time(0.9, x{a="1"}[1h])`:           `a=1 ...`,
		`days_in_month()`:                                 ``,
		`x{a="1"} > inf`:                                  `a=1 ...`,
	} {
		got := []string{}
		sets, err := labelsOf(expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		for _, s := range sets {
			got = append(got, s.show())
		}
		if diff := cmp.Diff(want, strings.Join(got, " | ")); diff != "" {
			t.Errorf("%s (-want +got)\n%s", expr, diff)
		}
	}
}

func TestLabelsOfWhatIsNoPromQL(t *testing.T) {
	for _, expr := range []string{
		"", "x{", `x{a}`, `x{a=}`, `x{a=b}`, `x{a="b"`, `x{a="b" c="d"}`, `sum by a (x)`, `sum by (a x`, `sum(x`, `x + `, `(x`, `x)`, `x y`,
		`x[5m`, `"x`, `'\q'`, `x offset`, `x @`, `f(x,`, `f(x y)`, `x $ y`, `{{ .Values.expr }}`, `on (a) x`, strings.Repeat("(", 10_000),
	} {
		if sets, err := labelsOf(expr); err == nil {
			t.Errorf("%.40q was read: %v", expr, sets)
		}
	}
}

// Alternatives of alternatives are not followed for ever: then nothing is said.
func TestLabelsOfManyAlternatives(t *testing.T) {
	sets, err := labelsOf(`x{a=~"1|2|3|4|5|6",b=~"1|2|3|4|5|6"}`)
	if err != nil || len(sets) != 1 || !sets[0].open || len(sets[0].present()) > 0 {
		t.Errorf("%v, %v", sets, err)
	}
}

func FuzzLabelsOf(f *testing.F) {
	for _, seed := range []string{`sum by (a) (rate(x{b=~"c|d"}[5m])) / on (a) group_left (e) y > 1`, `absent(up{job="x"})`, `"`, `x{a="\xff"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		sets, err := labelsOf(expr)
		if err == nil && (len(sets) == 0 || len(sets) > maxSets) {
			t.Errorf("%d answers", len(sets))
		}
	})
}
