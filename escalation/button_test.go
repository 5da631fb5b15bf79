package escalation

import (
	"errors"
	"strings"
	"testing"
)

func TestButtonToken(t *testing.T) {
	want := Place{Run: 2, Round: 1, Step: 3}
	s := ButtonToken("0c7F3K", want)
	if s != "v1|0c7F3K|2|1|3" {
		t.Errorf("token %q", s)
	}
	id, p, err := ParseButtonToken(s)
	if id != "0c7F3K" || p != want || err != nil {
		t.Errorf("parsed %q %+v %v", id, p, err)
	}
}

func TestParseButtonTokenRefuses(t *testing.T) {
	for _, s := range []string{
		"", "v1", "v2|a|1|1|1", "v1||1|1|1", "v1|a|1|1", "v1|a|1|1|1|1", "v1|a|-1|1|1", "v1|a|01|1|1", "v1|a|+1|1|1",
		"v1|a|1|1|99999999999999999999", "v1|../a|1|1|1", "v1|a b|1|1|1", "v1|" + strings.Repeat("a", 65) + "|1|1|1", "v1|a|1|1|1\n",
	} {
		if _, _, err := ParseButtonToken(s); !errors.Is(err, ErrButton) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzParseButtonToken(f *testing.F) {
	f.Add("v1|0c7F3K|2|1|3")
	f.Fuzz(func(t *testing.T, s string) {
		if id, p, err := ParseButtonToken(s); err == nil && ButtonToken(id, p) != s {
			t.Errorf("%q reads as %q", s, ButtonToken(id, p))
		}
	})
}
