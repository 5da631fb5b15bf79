package config_test

import (
	"testing"

	"callchain/config"
)

func TestOneLine(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "Ünïcode, and a tab\tstay readable", "Ünïcode, and a tab stay readable"},
		{"lines", "one\r\ntwo\u2028three\u0085four", "one  two three four"},
		{"colours", "\x1b[31mred\x1b[0m \u009b1m", "[31mred[0m 1m"},
		{"a bell and a zero", "a\x07b\x00c", "abc"},
		{"reordered", "a\u202eb\u2066c\u200fd", "abcd"},
		{"hidden", "a\u200bb\ufeffc\U000e0041d\ue000", "abcd"},
		{"joined", "a\u200cb\u200dc", "a\u200cb\u200dc"},
		{"no text", "a\xffb", "a\ufffdb"},
	} {
		if got := config.OneLine(c.in); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
