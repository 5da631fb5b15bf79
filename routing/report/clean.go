package report

import (
	"strings"
	"unicode"
)

// Bounds of what is shown of a text that somebody else wrote, in runes.
const (
	maxName = 80
	maxLine = 400
)

// clean makes one readable line of any text: white space becomes single blanks,
// what cannot be seen or reorders what is seen goes away, and at most most
// runes are left.
func clean(s string, most int) string {
	var b strings.Builder
	blank, n := false, 0
	for _, r := range s { // an invalid byte ranges as U+FFFD
		if unicode.IsSpace(r) {
			blank = n > 0
			continue
		}
		if r != '\u200c' && r != '\u200d' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp) {
			continue
		}
		room := 1
		if blank {
			room = 2
		}
		if n+room > most {
			return cut(b.String(), most-1) + "…"
		}
		if blank {
			b.WriteByte(' ')
			blank = false
		}
		b.WriteRune(r)
		n += room
	}
	return b.String()
}

// cut is the first n runes.
func cut(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
