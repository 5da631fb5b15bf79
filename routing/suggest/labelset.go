package suggest

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/alertmanager/pkg/labels"
)

// labelset is what an expression tells about the labels of its result.
type labelset struct {
	fixed map[string]string // labels with this value; "" is surely absent
	some  map[string]string // labels that may have any value, or one that this regular expression matches
	open  bool              // there may be further labels
}

func anything() labelset {
	return labelset{fixed: map[string]string{}, some: map[string]string{}, open: true}
}

func nothing() labelset { return labelset{fixed: map[string]string{}, some: map[string]string{}} }

func (s labelset) clone() labelset {
	return labelset{maps.Clone(s.fixed), maps.Clone(s.some), s.open}
}

func (s labelset) fix(name, value string) {
	delete(s.some, name)
	s.fixed[name] = value
}

// vary says that nobody knows a label's value, or even whether it is there.
func (s labelset) vary(name string) {
	delete(s.fixed, name)
	s.some[name] = ""
}

// copyLabel gives a label what another labelset says of one of its own.
func (s labelset) copyLabel(name string, from labelset, theirs string) {
	value, fixed := from.fixed[theirs]
	pattern, some := from.some[theirs]
	switch {
	case fixed:
		s.fix(name, value)
	case some:
		s.vary(name)
		s.some[name] = pattern
	case from.open:
		s.vary(name)
	default:
		s.fix(name, "")
	}
}

// keep is the set after by (names) or on (names).
func (s labelset) keep(names []string) labelset {
	out := nothing()
	for _, name := range names {
		out.copyLabel(name, s, name)
	}
	return out
}

// drop is the set after without (names) or ignoring (names).
func (s labelset) drop(names []string) labelset {
	out := s.clone()
	for _, name := range names {
		delete(out.some, name)
		delete(out.fixed, name)
		if out.open {
			out.fixed[name] = ""
		}
	}
	return out
}

// agree is what is known of a series once it was matched with another on
// labels for which on says yes; false when no two such series can match.
func (s labelset) agree(other labelset, on func(string) bool) (labelset, bool) {
	out := s.clone()
	for name, value := range other.fixed {
		if !on(name) {
			continue
		}
		switch mine, known := out.fixed[name]; {
		case known && mine != value:
			return out, false
		case !known && (out.open || out.some[name] != "" || hasKey(out.some, name)):
			out.fix(name, value)
		case !known && value != "":
			return out, false // it cannot be there
		}
	}
	return out, true
}

func hasKey(m map[string]string, name string) bool {
	_, ok := m[name]
	return ok
}

// present are the labels that are surely there.
func (s labelset) present() map[string]string {
	out := maps.Clone(s.fixed)
	maps.DeleteFunc(out, func(_, value string) bool { return value == "" })
	return out
}

// known tells whether it is known what a label holds; if not, mentioned tells
// whether the label is one that these alerts are known to carry or to be made of.
func (s labelset) known(name string) (value string, known, mentioned bool) {
	if value, known = s.fixed[name]; known {
		return value, true, true
	}
	if hasKey(s.some, name) {
		return "", false, true
	}
	// Every series that was scraped has these two.
	return "", !s.open, s.open && (name == "job" || name == "instance")
}

// answer is yes, no or maybe.
type answer int

const (
	no answer = iota
	maybe
	yes
)

// fits tells whether alerts with these labels match, and for maybe on which
// label it depends. A label that is only not excluded counts as absent.
func (s labelset) fits(m *labels.Matcher) (answer, string) {
	value, known, mentioned := s.known(m.Name)
	if known || !mentioned {
		if m.Matches(value) {
			return yes, ""
		}
		return no, ""
	}
	return maybe, m.Name
}

// words are the values of an expression that is a plain list of them.
var words = regexp.MustCompile(`^[\w:/ -]+(\|[\w:/ -]+)*$`)

// maxWords bounds the values of a list that are looked at one by one.
const maxWords = 8

func wordsOf(pattern string) []string {
	pattern = strings.TrimSuffix(strings.TrimPrefix(pattern, "^"), "$")
	if strings.HasPrefix(pattern, "(") && strings.HasSuffix(pattern, ")") && strings.Count(pattern, "(") == 1 {
		pattern = strings.TrimPrefix(strings.TrimSuffix(pattern, ")")[1:], "?:")
	}
	if !words.MatchString(pattern) {
		return nil
	}
	list := strings.Split(pattern, "|")
	slices.Sort(list)
	if list = slices.Compact(list); len(list) > maxWords {
		return nil
	}
	return list
}
