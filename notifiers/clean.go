package notifiers

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxURL is the longest link that is shown as a link.
const MaxURL = 3000

// Clean makes one readable line of any text: invalid UTF-8 becomes U+FFFD,
// control and bidirectional characters go away (they can reorder what the
// reader sees), white space becomes single blanks, and at most max runes are
// left, the last of them an ellipsis if something was cut.
func Clean(s string, max int) string {
	// A few bytes of input per rune shown are enough, so that a
	// megabyte of label is never walked for a line of 80 runes.
	if cut := 8*max + 64; len(s) > cut {
		s = s[:runeStart(s, cut)]
	}
	var b strings.Builder
	blank := false
	for _, r := range s { // an invalid byte ranges as U+FFFD
		if unicode.IsSpace(r) {
			blank = b.Len() > 0
			continue
		}
		if invisible(r) {
			continue
		}
		if blank {
			b.WriteByte(' ')
			blank = false
		}
		b.WriteRune(r)
	}
	return Shorten(b.String(), max)
}

// CleanText is Clean for text of several lines: line breaks stay.
func CleanText(s string, max int) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i, line := range lines {
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		if len(indent) > 16 {
			indent = indent[:16]
		}
		lines[i] = strings.TrimRight(indent+Clean(line, max), " ")
	}
	return Shorten(strings.Trim(strings.Join(lines, "\n"), "\n"), max)
}

// CleanColumns is CleanText for text in columns: the blanks in its lines stay.
func CleanColumns(s string, max int) string {
	if cut := 8*max + 64; len(s) > cut {
		s = s[:runeStart(s, cut)]
	}
	lines := strings.Split(strings.ToValidUTF8(strings.ReplaceAll(s, "\r\n", "\n"), "\uFFFD"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(strings.Map(func(r rune) rune {
			switch {
			case unicode.IsSpace(r):
				return ' '
			case invisible(r):
				return -1
			}
			return r
		}, line), " ")
	}
	return Shorten(strings.Trim(strings.Join(lines, "\n"), "\n"), max)
}

// Shorten cuts valid text to max runes; the last one becomes an ellipsis if
// something was cut.
func Shorten(s string, max int) string {
	if len(s) <= max || utf8.RuneCountInString(s) <= max {
		return s
	}
	if max <= 0 {
		return ""
	}
	n := 0
	for i := range s {
		if n == max-1 {
			return s[:i] + "…"
		}
		n++
	}
	return s
}

// runeStart is the last place at or before i where a rune begins, so that a
// cut there makes no half rune. In invalid UTF-8 it may be i itself.
func runeStart(s string, i int) int {
	for j := i; j > i-utf8.UTFMax && j > 0; j-- {
		if utf8.RuneStart(s[j]) {
			return j
		}
	}
	return i
}

// invisible characters are dropped: controls, format characters (bidirectional
// overrides, zero-width spaces, tags), private use, line and paragraph
// separators. The two joiners stay: Persian, Hindi and emoji need them.
func invisible(r rune) bool {
	if r == '\u200c' || r == '\u200d' {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp)
}

// Link returns the URL if it may be made a link: http or https, a host, no
// user in it (https://good.example@bad.example), not too long. What it returns
// is printable ASCII without blanks, quotes, angle brackets or bars, so that it
// cannot end the place it is put into. False: show the text, without a link.
func Link(u Untrusted) (string, bool) {
	s := strings.TrimSpace(string(u))
	if s == "" || len(s) > MaxURL || !utf8.ValidString(s) || strings.ContainsFunc(s, invisible) {
		return "", false
	}
	parsed, err := url.Parse(s)
	if err != nil || parsed.User != nil || parsed.Hostname() == "" {
		return "", false
	}
	switch strings.ToLower(parsed.Scheme) {
	case "http", "https":
	default:
		return "", false
	}
	if strings.ContainsFunc(parsed.Host, func(r rune) bool {
		return r != '-' && r != '.' && r != ':' && r != '[' && r != ']' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) {
		return "", false
	}
	var b strings.Builder
	for _, c := range []byte(parsed.String()) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"'<>|`\\^{}*~", c) >= 0 {
			const hex = "0123456789ABCDEF"
			b.WriteString("%" + string(hex[c>>4]) + string(hex[c&15]))
			continue
		}
		b.WriteByte(c)
	}
	if b.Len() > MaxURL {
		return "", false
	}
	return b.String(), true
}
