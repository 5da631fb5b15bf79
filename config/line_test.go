package config_test

import (
	"testing"
	"time"

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

func TestDurationString(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"28d": 28 * 24 * time.Hour, "1d": 24 * time.Hour, "1d12h": 36 * time.Hour, "1h30m": 90 * time.Minute, "0s": 0,
	} {
		if got := config.Duration(d).String(); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}
