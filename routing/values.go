package routing

import (
	"regexp/syntax"
	"slices"
	"strings"
	"text/template/parse"

	"github.com/prometheus/alertmanager/pkg/labels"

	"callchain/config"
)

// Values lists all values of a label that a matcher can match: those of an
// equality, or of an expression that is a plain list of words. It says false when
// they are not a short list; then there is nothing to enumerate.
func Values(m *labels.Matcher) ([]string, bool) {
	switch m.Type {
	case labels.MatchEqual:
		return []string{m.Value}, true
	case labels.MatchRegexp:
		tree, err := syntax.Parse(m.Value, syntax.Perl)
		if err != nil {
			return nil, false
		}
		words, ok := wordsOf(tree)
		if !ok {
			return nil, false
		}
		words = slices.DeleteFunc(words, func(w string) bool { return !m.Matches(w) })
		slices.Sort(words)
		return slices.Compact(words), true
	}
	return nil, false
}

// MatcherSets finds those of many matcher sets that match an alert, at a price
// that hardly depends on their number.
type MatcherSets struct{ index *index }

// NewMatcherSets files the sets under their places in the list.
func NewMatcherSets(sets []config.MatcherSet) MatcherSets { return MatcherSets{indexOf(sets)} }

// Each calls yield with every set that matches, in order, until it says no. An
// empty set matches every alert.
func (s MatcherSets) Each(a Alert, yield func(set int) bool) { s.index.each(a, yield) }

// Yields lists the services that a rule can name, when they are a short list: a
// plain name, or a template over labels and named groups of which the rule's
// matchers allow only certain words.
func Yields(rule config.Rule) ([]string, bool) {
	n, err := compileName(rule.Service.V, rule.Match)
	if err != nil || rule.Service.V == "" {
		return nil, false
	}
	if n.literal() {
		return splitNames(n.text, rule.Split.V), true
	}
	values := map[string][]string{} // of the labels that the matchers hold to a list
	bound := map[string]bool{}      // what a template may say of such an alert
	for _, m := range rule.Match {
		words, ok := Values(m.V)
		if !ok {
			continue
		}
		if before, twice := values[m.V.Name]; twice {
			words = slices.DeleteFunc(words, func(w string) bool { return !slices.Contains(before, w) })
		}
		values[m.V.Name], bound[m.V.Name] = words, true
	}
	for _, g := range n.groups {
		for _, group := range g.re.SubexpNames() {
			if group != "" && bound[g.label] {
				bound[group] = true
			}
		}
	}
	if n.tmpl.Tree == nil || !overThese(n.tmpl.Root, bound) {
		return nil, false
	}
	alerts := []map[string]string{{}}
	for name, words := range values {
		if len(alerts)*len(words) > maxWords {
			return nil, false
		}
		var more []map[string]string
		for _, a := range alerts {
			for _, w := range words {
				next := map[string]string{name: w}
				for k, v := range a {
					next[k] = v
				}
				more = append(more, next)
			}
		}
		alerts = more
	}
	var out []string
	for _, a := range alerts {
		given, err := n.of(Alert{Labels: a})
		if err != nil {
			return nil, false
		}
		out = append(out, splitNames(given, rule.Split.V)...)
	}
	slices.Sort(out)
	return slices.Compact(out), true
}

// overThese tells whether a template is no more than text and fields of these
// names, perhaps handed through functions; what branches is not looked into.
func overThese(root *parse.ListNode, names map[string]bool) bool {
	for _, node := range root.Nodes {
		switch node := node.(type) {
		case *parse.TextNode, *parse.CommentNode:
		case *parse.ActionNode:
			if len(node.Pipe.Decl) > 0 {
				return false
			}
			for _, cmd := range node.Pipe.Cmds {
				for _, arg := range cmd.Args {
					switch arg := arg.(type) {
					case *parse.FieldNode:
						if len(arg.Ident) != 1 || !names[arg.Ident[0]] {
							return false
						}
					case *parse.IdentifierNode, *parse.StringNode, *parse.NumberNode, *parse.BoolNode:
					default:
						return false
					}
				}
			}
		default:
			return false
		}
	}
	return true
}

// Ends tells whether a rule always ends the search for a service: it names one
// of the catalog, whatever the alert says.
func Ends(rule config.Rule, has func(service string) bool) bool {
	return rule.Service.V != "" && !strings.Contains(rule.Service.V, "{{") &&
		slices.ContainsFunc(splitNames(rule.Service.V, rule.Split.V), has)
}
