package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"callchain/escalation/store"
)

func TestMillisNeverEarly(t *testing.T) {
	for name, c := range map[string]struct {
		in   time.Time
		want int64
	}{
		"none":               {time.Time{}, 0},
		"whole":              {time.UnixMilli(1_700_000_000_123), 1_700_000_000_123},
		"a nanosecond after": {time.UnixMilli(1_700_000_000_123).Add(1), 1_700_000_000_124},
		"1970":               {time.Unix(0, 0), 1},
		"before 1970":        {time.Unix(-5, 5), 1},
		"far":                {time.Unix(1<<43, 0), 1 << 52},
	} {
		t.Run(name, func(t *testing.T) {
			got := store.Millis(c.in)
			if got != c.want {
				t.Errorf("Millis(%v) = %d, want %d", c.in, got, c.want)
			}
			if back := store.Millis(store.Instant(got)); back != got {
				t.Errorf("Millis(Instant(%d)) = %d", got, back)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		writes []store.Write
		bad    bool
	}{
		"none":       {nil, false},
		"two":        {[]store.Write{{ID: "a"}, {ID: "b"}}, false},
		"longest":    {[]store.Write{{ID: strings.Repeat("x", store.MaxID)}}, false},
		"empty id":   {[]store.Write{{ID: ""}}, true},
		"long id":    {[]store.Write{{ID: strings.Repeat("x", store.MaxID+1)}}, true},
		"same twice": {[]store.Write{{ID: "a"}, {ID: "b"}, {ID: "a"}}, true},
		"big data":   {[]store.Write{{ID: "a", Data: make([]byte, store.MaxData+1)}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			err := store.Txn{Writes: c.writes}.Check()
			if errors.Is(err, store.ErrInvalid) != c.bad || (err == nil) == c.bad {
				t.Errorf("Check = %v, bad: %t", err, c.bad)
			}
		})
	}
}
