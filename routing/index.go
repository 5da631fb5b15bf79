package routing

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/prometheus/alertmanager/pkg/labels"

	"callchain/config"
)

// routePrefix is how matchers and templates see a label of Alertmanager's route.
const routePrefix = "route_"

// label is what matchers and templates see under a name: "" when it is missing,
// as in Alertmanager. A label of the route covers the alert's own label that
// happens to be called route_NAME.
func (a Alert) label(name string) string {
	if rest, ok := strings.CutPrefix(name, routePrefix); ok {
		if v, ok := a.RouteLabels[rest]; ok {
			return v
		}
	}
	return a.Labels[name]
}

// matcherSet is a compiled config.MatcherSet: all must match, the cheap ones
// are asked first. An empty set matches every alert, as in Alertmanager.
type matcherSet []*labels.Matcher

func compileSet(set config.MatcherSet) matcherSet {
	out := make(matcherSet, len(set))
	for i, m := range set {
		out[i] = m.V
	}
	slices.SortStableFunc(out, func(a, b *labels.Matcher) int { return price(a) - price(b) })
	return out
}

func price(m *labels.Matcher) int {
	if m.Type == labels.MatchEqual || m.Type == labels.MatchNotEqual {
		return 0
	}
	return 1
}

func (s matcherSet) matches(a Alert) bool {
	for _, m := range s {
		if !m.Matches(a.label(m.Name)) {
			return false
		}
	}
	return true
}

// index finds, among many matcher sets, those that match an alert without
// asking each of them. Every set is filed under one of its matchers, the one
// that the fewest sets share: under the values it can match (an equality, or an
// expression that is a plain list of words), else under the text its values
// begin with, else under the label that must be there. What can match an alert
// without any label is asked always.
//
// A file is only ever a superset of what matches: the sets found are asked in
// full, so the index cannot change an answer, only its price.
type index struct {
	sets   []matcherSet
	exact  map[labelValue][]int32
	prefix map[string]*prefixes
	have   map[string][]int32
	rest   []int32
}

type labelValue struct{ name, value string }

type prefixes struct {
	lengths []int // distinct, ascending
	sets    map[string][]int32
}

// access is one way to find a set.
type access struct {
	name   string
	values []string // exact values
	prefix string   // else the beginning of all values; else the label must be there
}

func newIndex(sets []matcherSet) *index {
	x := &index{
		sets:   sets,
		exact:  map[labelValue][]int32{},
		prefix: map[string]*prefixes{},
		have:   map[string][]int32{},
	}
	ways := make([][]access, len(sets))
	exact, prefix := map[labelValue]int{}, map[labelValue]int{}
	for i, set := range sets {
		for _, m := range set {
			w, ok := accessBy(m)
			if !ok {
				continue
			}
			ways[i] = append(ways[i], w)
			for _, v := range w.values {
				exact[labelValue{w.name, v}]++
			}
			if w.prefix != "" {
				prefix[labelValue{w.name, w.prefix}]++
			}
		}
	}
	share := func(w access) int {
		switch {
		case w.values != nil:
			most := 0
			for _, v := range w.values {
				most = max(most, exact[labelValue{w.name, v}])
			}
			return most
		case w.prefix != "":
			return prefix[labelValue{w.name, w.prefix}]
		}
		return len(sets) + 1 // that a label is there tells least
	}
	for i := range sets {
		id := int32(i)
		if len(ways[i]) == 0 {
			x.rest = append(x.rest, id)
			continue
		}
		best := ways[i][0]
		for _, w := range ways[i][1:] {
			if s, b := share(w), share(best); s < b || s == b && w.values != nil && best.values == nil {
				best = w
			}
		}
		switch {
		case best.values != nil:
			for _, v := range best.values {
				k := labelValue{best.name, v}
				x.exact[k] = append(x.exact[k], id)
			}
		case best.prefix != "":
			p := x.prefix[best.name]
			if p == nil {
				p = &prefixes{sets: map[string][]int32{}}
				x.prefix[best.name] = p
			}
			if at, found := slices.BinarySearch(p.lengths, len(best.prefix)); !found {
				p.lengths = slices.Insert(p.lengths, at, len(best.prefix))
			}
			p.sets[best.prefix] = append(p.sets[best.prefix], id)
		default:
			x.have[best.name] = append(x.have[best.name], id)
		}
	}
	return x
}

// accessBy tells how a matcher can find its set. What matches an absent label
// cannot: there is nothing in the alert to start from.
func accessBy(m *labels.Matcher) (access, bool) {
	if m.Matches("") {
		return access{}, false
	}
	w := access{name: m.Name}
	switch m.Type {
	case labels.MatchEqual:
		w.values = []string{m.Value}
	case labels.MatchRegexp:
		if tree, err := syntax.Parse(m.Value, syntax.Perl); err == nil {
			if words, ok := wordsOf(tree); ok && len(words) > 0 && !slices.Contains(words, "") {
				slices.Sort(words)
				w.values = slices.Compact(words)
				return w, true
			}
		}
		if re, err := regexp.Compile(m.Value); err == nil {
			if p, _ := re.LiteralPrefix(); !strings.ContainsRune(p, '\uFFFD') {
				w.prefix = p
			}
		}
	}
	return w, true
}

// maxWords bounds the values one expression is filed under.
const maxWords = 64

// wordsOf lists every text an expression can match (rather too many than too
// few: anchors and word boundaries are not looked at); false when they are not
// a short list.
func wordsOf(re *syntax.Regexp) ([]string, bool) {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText,
		syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return []string{""}, true
	case syntax.OpLiteral:
		// U+FFFD in an expression matches broken UTF-8 too.
		if re.Flags&syntax.FoldCase != 0 || slices.Contains(re.Rune, '\uFFFD') {
			return nil, false
		}
		return []string{string(re.Rune)}, true
	case syntax.OpCharClass:
		var words []string
		for i := 0; i+1 < len(re.Rune); i += 2 {
			lo, hi := re.Rune[i], re.Rune[i+1]
			if lo <= '\uFFFD' && '\uFFFD' <= hi || int(hi-lo) >= maxWords || len(words)+int(hi-lo) >= maxWords {
				return nil, false
			}
			for r := lo; r <= hi; r++ {
				words = append(words, string(r))
			}
		}
		return words, true
	case syntax.OpCapture:
		return wordsOf(re.Sub[0])
	case syntax.OpQuest:
		words, ok := wordsOf(re.Sub[0])
		return append([]string{""}, words...), ok
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			words, ok := wordsOf(sub)
			if all = append(all, words...); !ok || len(all) > maxWords {
				return nil, false
			}
		}
		return all, true
	case syntax.OpConcat:
		all := []string{""}
		for _, sub := range re.Sub {
			words, ok := wordsOf(sub)
			if !ok || len(all)*len(words) > maxWords {
				return nil, false
			}
			longer := make([]string, 0, len(all)*len(words))
			for _, a := range all {
				for _, w := range words {
					longer = append(longer, a+w)
				}
			}
			all = longer
		}
		return all, true
	}
	return nil, false
}

// each calls yield with every set that matches, in order, until it says no.
func (x *index) each(a Alert, yield func(set int) bool) {
	if len(x.sets) == 0 {
		return
	}
	var room [64]int32
	found := x.lookUp(room[:0], "", a.Labels)
	found = x.lookUp(found, routePrefix, a.RouteLabels)
	slices.Sort(found)
	rest, last := x.rest, int32(-1)
	for len(found) > 0 || len(rest) > 0 {
		var id int32
		if len(rest) == 0 || len(found) > 0 && found[0] < rest[0] {
			id, found = found[0], found[1:]
		} else {
			id, rest = rest[0], rest[1:]
		}
		if id == last {
			continue // found under two labels of the same name
		}
		last = id
		if x.sets[id].matches(a) && !yield(int(id)) {
			return
		}
	}
}

// first is the first set that matches, -1 if none does.
func (x *index) first(a Alert) int {
	hit := -1
	x.each(a, func(set int) bool { hit = set; return false })
	return hit
}

func (x *index) lookUp(found []int32, prefix string, of map[string]string) []int32 {
	for name, value := range of {
		if prefix != "" {
			name = prefix + name
		}
		found = append(found, x.exact[labelValue{name, value}]...)
		found = append(found, x.have[name]...)
		p := x.prefix[name]
		if p == nil {
			continue
		}
		for _, n := range p.lengths {
			if n > len(value) {
				break
			}
			found = append(found, p.sets[value[:n]]...)
		}
	}
	return found
}
