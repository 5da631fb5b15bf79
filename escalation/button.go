package escalation

import (
	"errors"
	"strconv"
	"strings"
)

// ErrButton is returned for a button's value that was not made by ButtonToken.
var ErrButton = errors.New("button names no incident")

const buttonVersion = "v1"

// ButtonToken is what a button carries: the incident and the step it was shown
// for. It has no authority: whoever presses is checked when they press.
func ButtonToken(id string, p Place) string {
	return strings.Join([]string{buttonVersion, id, strconv.Itoa(p.Run), strconv.Itoa(p.Round), strconv.Itoa(p.Step)}, "|")
}

// ParseButtonToken reads what ButtonToken wrote, and nothing else: one token
// has one spelling.
func ParseButtonToken(s string) (id string, p Place, err error) {
	parts := strings.Split(s, "|")
	if len(parts) != 5 || parts[0] != buttonVersion || !plainID(parts[1]) {
		return "", Place{}, ErrButton
	}
	for i, to := range []*int{&p.Run, &p.Round, &p.Step} {
		n, err := strconv.ParseInt(parts[2+i], 10, 32)
		if err != nil || n < 0 || strconv.FormatInt(n, 10) != parts[2+i] {
			return "", Place{}, ErrButton
		}
		*to = int(n)
	}
	return parts[1], p, nil
}

// plainID tells whether a text can be the id of an incident at all.
func plainID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}
