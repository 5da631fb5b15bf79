package lint

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/alertmanager/pkg/labels"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// set is one matcher set with what can be said of the alerts it matches.
type set struct {
	matchers config.MatcherSet
	service  *catalog.Service // nil: of a rule
	values   map[string][]string
	// samples are alerts that the set matches: all there are of its own labels
	// when they are few, else some. None: it matches no alert that could be found.
	samples []map[string]string
}

// maxSamples bounds the alerts tried for one set.
const maxSamples = 32

func newSet(ms config.MatcherSet) *set {
	s := &set{matchers: ms, values: map[string][]string{}}
	for _, m := range ms {
		words, ok := routing.Values(m.V)
		if !ok {
			continue
		}
		if before, twice := s.values[m.V.Name]; twice {
			words = slices.DeleteFunc(words, func(w string) bool { return !slices.Contains(before, w) })
		}
		s.values[m.V.Name] = words
	}
	for name := range s.values {
		s.values[name] = slices.DeleteFunc(s.values[name], func(w string) bool { return !s.allows(name, w) })
	}
	s.sample()
	return s
}

// allows tells whether the set's matchers of a label take a value.
func (s *set) allows(name, value string) bool {
	for _, m := range s.matchers {
		if m.V.Name == name && !m.V.Matches(value) {
			return false
		}
	}
	return true
}

// never tells whether the set surely matches no alert: its matchers of one label
// exclude each other.
func (s *set) never() bool {
	for _, words := range s.values {
		if len(words) == 0 {
			return true
		}
	}
	return false
}

func (s *set) sample() {
	s.samples = []map[string]string{{}}
	done := map[string]bool{}
	for _, m := range s.matchers {
		name := m.V.Name
		if done[name] {
			continue
		}
		done[name] = true
		words, listed := s.values[name]
		if !listed {
			words = s.examples(name)
		}
		var more []map[string]string
		for _, have := range s.samples {
			for _, w := range words {
				if len(more) == maxSamples {
					break
				}
				next := map[string]string{}
				for k, v := range have {
					next[k] = v
				}
				if w != "" { // an empty label is none
					next[name] = w
				}
				more = append(more, next)
			}
		}
		s.samples = more
	}
}

// examples are some values of a label that cannot be listed.
func (s *set) examples(name string) []string {
	var out []string
	try := func(v string) {
		if utf8.ValidString(v) && s.allows(name, v) && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	try("") // as in Alertmanager, a missing label is an empty one
	for _, m := range s.matchers {
		if m.V.Name != name || m.V.Type != labels.MatchRegexp {
			continue
		}
		if tree, err := syntax.Parse(m.V.Value, syntax.Perl); err == nil {
			try(example(tree, 0))
			try(example(tree, 1))
		}
	}
	return out
}

// example is a short text that an expression matches, or nearly; more asks for
// that many of what may be repeated.
func example(re *syntax.Regexp, more int) string {
	var b strings.Builder
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			for _, r := range []rune{'a', '0', re.Rune[i]} {
				if re.Rune[i] <= r && r <= re.Rune[i+1] {
					return string(r)
				}
			}
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "x"
	case syntax.OpCapture:
		return example(re.Sub[0], more)
	case syntax.OpAlternate:
		return example(re.Sub[0], more)
	case syntax.OpStar, syntax.OpQuest:
		if more > 0 {
			return example(re.Sub[0], more)
		}
	case syntax.OpPlus:
		return example(re.Sub[0], more)
	case syntax.OpRepeat:
		for range min(max(re.Min, more), 20) {
			b.WriteString(example(re.Sub[0], more))
		}
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			b.WriteString(example(sub, more))
		}
	}
	return b.String()
}

// within tells whether every alert that s matches is matched by o too. It says
// so only when that is sure.
func (s *set) within(o *set) bool {
	for _, m := range o.matchers {
		if !s.implies(m.V) {
			return false
		}
	}
	return true
}

func (s *set) implies(m *labels.Matcher) bool {
	if words, ok := s.values[m.Name]; ok {
		return !slices.ContainsFunc(words, func(w string) bool { return !m.Matches(w) })
	}
	if m.Type == labels.MatchRegexp && m.Value == ".*" {
		return true
	}
	return slices.ContainsFunc(s.matchers, func(own config.At[*labels.Matcher]) bool {
		return own.V.Name == m.Name && own.V.Type == m.Type && own.V.Value == m.Value
	})
}

// ofAbsent tells whether no matcher of the set needs its label to be there.
func ofAbsent(ms config.MatcherSet) bool {
	return len(ms) > 0 && !slices.ContainsFunc(ms, func(m config.At[*labels.Matcher]) bool { return !m.V.Matches("") })
}

// matchers looks at the services' own matchers and at the rules above them.
func (l *linter) matchers() {
	var rules, urgencies []*set
	if c := l.in.Config; c != nil {
		for _, r := range c.Routing.Rules {
			rules = append(rules, newSet(r.Match))
		}
		for _, u := range c.Routing.Urgency {
			urgencies = append(urgencies, newSet(u.Match))
		}
	}
	l.ownMatchers(rules)
	if l.in.Config != nil {
		l.rules(rules)
		l.urgency(urgencies)
	}
}

func matcherSets(sets []*set) routing.MatcherSets {
	plain := make([]config.MatcherSet, len(sets))
	for i, s := range sets {
		plain[i] = s.matchers
	}
	return routing.NewMatcherSets(plain)
}

// ownMatchers finds sets that tie with, or never win against, those of another
// service.
func (l *linter) ownMatchers(rules []*set) {
	var own []*set
	for _, svc := range l.cat.Services() {
		for _, ms := range svc.Alerts {
			if len(ms) == 0 {
				continue
			}
			s := newSet(ms)
			s.service = svc
			if l.absent(ms, "service "+svc.Name) {
				continue // it would tie with half of the others
			}
			if s.never() {
				l.add(CodeNeverMatches, ms[0].Pos, "service %s: no alert can match %s, because the matchers of one label exclude each other; correct them", svc.Name, text(ms))
				continue
			}
			own = append(own, s)
		}
	}
	index, ruleIndex := matcherSets(own), matcherSets(rules)
	tied := map[[2]*catalog.Service]bool{}
	for i, s := range own {
		var above *set
		for _, sample := range s.samples {
			a := routing.Alert{Labels: sample}
			index.Each(a, func(j int) bool {
				o := own[j]
				switch {
				case o.service == s.service:
				case len(o.matchers) > len(s.matchers) && above == nil && s.within(o):
					above = o
				case len(o.matchers) == len(s.matchers):
					l.tie(s, o, sample, tied)
				}
				return true
			})
		}
		if above != nil {
			l.add(CodeNeverMatches, s.matchers[0].Pos, "service %s never gets an alert by %s: all such alerts match %s of service %s too, which has more matchers and wins; remove one of the two, or make them differ",
				s.service.Name, text(s.matchers), text(above.matchers), above.service.Name)
		} else if len(s.samples) > 0 {
			ruleIndex.Each(routing.Alert{Labels: own[i].samples[0]}, func(j int) bool {
				r := l.in.Config.Routing.Rules[j]
				if !routing.Ends(r, l.has) || !s.within(rules[j]) || l.cat.Service(r.Service.V) == s.service {
					return true
				}
				l.add(CodeNeverMatches, s.matchers[0].Pos, "service %s never gets an alert by %s: routing rule %s takes them all first, for %s; correct the rule or remove these matchers",
					s.service.Name, text(s.matchers), r.Name.V, r.Service.V)
				return false
			})
		}
	}
	l.mayTie(own, tied)
}

func (l *linter) has(service string) bool { return l.cat.Service(service) != nil }

// tie tells, once for two services, that an alert is both of theirs.
func (l *linter) tie(s, o *set, sample map[string]string, tied map[[2]*catalog.Service]bool) {
	first, second := s, o
	if first.service.Name > second.service.Name {
		first, second = second, first
	}
	pair := [2]*catalog.Service{first.service, second.service}
	if tied[pair] {
		return
	}
	tied[pair] = true
	l.add(routing.CodeTie, second.matchers[0].Pos, "services %s and %s both claim an alert with %s (%s at %s, %s here), so %s, the first by name, gets it; remove the matchers from one of them, or add a matcher that tells them apart",
		first.service.Name, second.service.Name, alert(sample), text(first.matchers), first.matchers[0].Pos, text(second.matchers), first.service.Name)
}

// mayTie finds services that claim the same alert by name, each with further
// labels that one alert could well carry together.
func (l *linter) mayTie(own []*set, tied map[[2]*catalog.Service]bool) {
	type bucket struct {
		name string
		size int
	}
	by := map[bucket][]*set{}
	for _, s := range own {
		for _, name := range s.values["alertname"] {
			b := bucket{name, len(s.matchers)}
			for _, o := range by[b] {
				if o.service == s.service || !compatible(s, o) {
					continue
				}
				pair := [2]*catalog.Service{o.service, s.service}
				if tied[pair] {
					continue
				}
				tied[pair] = true
				l.add(CodeMayTie, s.matchers[0].Pos, "services %s and %s both claim alerts named %s (%s at %s, %s here): one that carries all these labels would go to %s, the first by name; let both look at the same label, or add a matcher to one",
					o.service.Name, s.service.Name, name, text(o.matchers), o.matchers[0].Pos, text(s.matchers), o.service.Name)
			}
			if len(by[b]) < maxSamples {
				by[b] = append(by[b], s)
			}
		}
	}
}

// compatible tells whether one alert could match both sets: no label is held to
// values that exclude each other.
func compatible(s, o *set) bool {
	for name, words := range s.values {
		if !slices.ContainsFunc(words, func(w string) bool { return o.allows(name, w) }) {
			return false
		}
	}
	for name, words := range o.values {
		if !slices.ContainsFunc(words, func(w string) bool { return s.allows(name, w) }) {
			return false
		}
	}
	return true
}

// absent warns of matchers that match where their label is missing.
func (l *linter) absent(ms config.MatcherSet, whose string) bool {
	if !ofAbsent(ms) {
		return false
	}
	l.add(CodeAbsent, ms[0].Pos, `%s: %s also matches every alert that lacks the label, because != and !~ do; add a matcher that needs something to be there, like %s=~".+"`, whose, text(ms), ms[0].V.Name)
	return true
}

// rules looks at routing.rules.
func (l *linter) rules(sets []*set) {
	index := matcherSets(sets)
	rules := l.in.Config.Routing.Rules
	for i, r := range rules {
		s := sets[i]
		pos := at(r.Name, r.Pos)
		l.absent(r.Match, "routing rule "+r.Name.V)
		if names, ok := routing.Yields(r); ok {
			for _, n := range names {
				if !l.has(n) {
					l.add(routing.CodeYield, at(r.Service, r.Pos), "routing rule %s yields the service %q, which the catalog lacks, so such alerts go on without an owner; add the service, give it that name as an alias, or correct the rule", r.Name.V, n)
				}
			}
		}
		if s.never() {
			l.add(CodeUnreachable, pos, "no alert can match routing rule %s, because its matchers of one label exclude each other; correct them or remove the rule", r.Name.V)
			continue
		}
		if len(s.samples) == 0 {
			continue
		}
		index.Each(routing.Alert{Labels: s.samples[0]}, func(j int) bool {
			if j >= i {
				return false
			}
			if !l.takes(rules[j], r) || !s.within(sets[j]) {
				return true
			}
			l.add(CodeUnreachable, pos, "routing rule %s never decides: every alert it matches is taken before by rule %s at %s; move it above that rule, or remove it", r.Name.V, rules[j].Name.V, at(rules[j].Name, rules[j].Pos))
			return false
		})
	}
}

// takes tells whether an earlier rule leaves a later one nothing to decide about
// an alert that both match.
func (l *linter) takes(earlier, later config.Rule) bool {
	if routing.Ends(earlier, l.has) {
		return true
	}
	return later.Service.V == "" &&
		(later.Team.V == "" || earlier.Team.V != "" && l.cat.Team(earlier.Team.V) != nil) &&
		(later.Policy.V == "" || earlier.Policy.V != "")
}

// urgency looks at routing.urgency, where the first match decides.
func (l *linter) urgency(sets []*set) {
	for _, ms := range l.in.Config.Routing.Confidential {
		l.absent(ms, "routing.confidential")
	}
	for _, ms := range l.in.Config.Routing.ServiceLabelsExcept {
		l.absent(ms, "routing.service_labels_except")
	}
	for _, h := range l.in.Config.Alertmanager.Heartbeats {
		l.absent(h.Match, "the heartbeat of "+h.Source.V)
	}
	index := matcherSets(sets)
	rules := l.in.Config.Routing.Urgency
	for i, s := range sets {
		if len(s.matchers) > 0 {
			l.absent(s.matchers, "an urgency rule")
		}
		if s.never() || len(s.samples) == 0 {
			continue
		}
		index.Each(routing.Alert{Labels: s.samples[0]}, func(j int) bool {
			if j >= i {
				return false
			}
			if !s.within(sets[j]) {
				return true
			}
			l.add(CodeUnreachable, rules[i].Pos, "this urgency rule never decides: every alert it matches is matched before by the rule at %s; move it above that rule, or remove it", rules[j].Pos)
			return false
		})
	}
}

// text is a matcher set as people write it.
func text(ms config.MatcherSet) string {
	parts := make([]string, len(ms))
	for i, m := range ms {
		parts[i] = m.V.String()
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// alert is an alert's labels as people write them.
func alert(of map[string]string) string {
	var parts []string
	for name, value := range of {
		m := labels.Matcher{Type: labels.MatchEqual, Name: name, Value: value}
		parts = append(parts, m.String())
	}
	slices.Sort(parts)
	if len(parts) == 0 {
		return "no label at all"
	}
	return strings.Join(parts, ", ")
}
