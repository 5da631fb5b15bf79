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

const digestVersion = "d1"

// DigestToken is what the button and the link of a digest carry: which of its
// revisions they were shown with. It has no authority either.
func DigestToken(digest string, rev uint64) string {
	return strings.Join([]string{digestVersion, digest, strconv.FormatUint(rev, 10)}, "|")
}

// ParseDigestToken reads what DigestToken wrote, and nothing else.
func ParseDigestToken(s string) (digest string, rev uint64, err error) {
	parts := strings.Split(s, "|")
	if len(parts) != 3 || parts[0] != digestVersion || !plainID(parts[1]) {
		return "", 0, ErrButton
	}
	rev, err = strconv.ParseUint(parts[2], 10, 64)
	if err != nil || strconv.FormatUint(rev, 10) != parts[2] {
		return "", 0, ErrButton
	}
	return parts[1], rev, nil
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
