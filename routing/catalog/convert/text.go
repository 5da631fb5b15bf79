package convert

import (
	"strings"
	"unicode"
)

const (
	maxHandle      = 63
	maxComment     = 300
	maxDescription = 500
)

// handle makes a name of what the source calls something: lower case, words
// joined by hyphens. Letters and digits of every script stay. "" if nothing is left.
func handle(s string) string {
	var out []rune
	gap := false
	for _, r := range strings.ToLower(s) {
		if r == '.' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) {
			if gap && len(out) > 0 {
				out = append(out, '-')
			}
			gap = false
			out = append(out, r)
		} else {
			gap = true
		}
		if len(out) >= maxHandle {
			break
		}
	}
	return strings.Trim(string(out), "-._")
}

// printable is a text as one line, without what a terminal or a reader could
// stumble over: runs of white space become one blank, the rest of what cannot be
// seen goes.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r) && r != unicode.ReplacementChar:
			return r
		default:
			return -1
		}
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// clip cuts a text to so many letters, with dots in place of the rest.
func clip(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return strings.TrimSpace(string(r[:most-3])) + "..."
}

// underscored is a word in the spelling of the catalog's own words.
func underscored(s string) string {
	return strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(strings.TrimSpace(s)))
}

// listed splits a list that is written in one string.
func listed(s string) []string {
	var out []string
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == '\n' }) {
		if part = printable(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}
