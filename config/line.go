package config

import (
	"strings"
	"unicode"
)

// OneLine makes one line of any text that somebody else wrote: white space
// becomes blanks, and what moves a terminal's cursor, or reorders or hides what is
// seen, goes away. Whoever prints a text of a file or a label prints it so.
func OneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == '\u200c', r == '\u200d': // the joiners: Persian, Hindi and emoji need them
			return r
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}
