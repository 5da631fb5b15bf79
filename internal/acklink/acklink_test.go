package acklink

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	key1 = bytes.Repeat([]byte("1"), MinKey)
	key2 = bytes.Repeat([]byte("2"), MinKey)
	now  = time.Date(2026, 11, 20, 3, 4, 5, 0, time.UTC)
)

const here = "https://callchain.example.org"

func keys(list ...[]byte) Keys {
	return func() ([][]byte, error) { return list, nil }
}

func sign(t testing.TB, k Keys) string {
	t.Helper()
	token, err := k.Sign("0c7F3K", "amira", now.Add(time.Hour), here)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestVerify(t *testing.T) {
	old := sign(t, keys(key1))
	claim := Claim{Incident: "0c7F3K", Person: "amira", Expires: now.Add(time.Hour)}
	for _, tc := range []struct {
		name     string
		keys     Keys
		token    string
		now      time.Time
		audience string
		want     Claim
		err      error
	}{
		{"good", keys(key1), old, now, here, claim, nil},
		{"slash at the end of the base URL", keys(key1), old, now, here + "/", claim, nil},
		{"key replaced, old one still listed", keys(key2, key1), old, now, here, claim, nil},
		{"key gone", keys(key2), old, now, here, Claim{}, ErrForged},
		{"other installation", keys(key1), old, now, "https://staging.example.org", Claim{}, ErrForged},
		{"last second", keys(key1), old, now.Add(time.Hour - time.Second), here, claim, nil},
		{"expired", keys(key1), old, now.Add(time.Hour), here, claim, ErrExpired},
		{"expired and forged is forged", keys(key2), old, now.Add(time.Hour), here, Claim{}, ErrForged},
		{"empty", keys(key1), "", now, here, Claim{}, ErrForged},
		{"cut", keys(key1), old[:len(old)-2], now, here, Claim{}, ErrForged},
		{"line end inside", keys(key1), old[:8] + "\n" + old[8:], now, here, Claim{}, ErrForged},
		{"padded", keys(key1), old + "=", now, here, Claim{}, ErrForged},
		{"very long", keys(key1), strings.Repeat(old, 1000), now, here, Claim{}, ErrForged},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tc.keys.Verify(tc.token, tc.now, tc.audience)
			if !errors.Is(err, tc.err) {
				t.Errorf("error %v, want %v", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFirstKeySigns(t *testing.T) {
	if sign(t, keys(key2, key1)) != sign(t, keys(key2)) {
		t.Error("the second key signed")
	}
}

func TestEveryBitIsSigned(t *testing.T) {
	k := keys(key1)
	raw, err := base64.RawURLEncoding.DecodeString(sign(t, k))
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			raw[i] ^= 1 << bit
			if _, err := k.Verify(base64.RawURLEncoding.EncodeToString(raw), now, here); !errors.Is(err, ErrForged) {
				t.Errorf("byte %d, bit %d flipped: %v", i, bit, err)
			}
			raw[i] ^= 1 << bit
		}
	}
}

func TestNamesDoNotRunTogether(t *testing.T) {
	k := keys(key1)
	for _, names := range [][2]string{{"ab", "c"}, {"a", "bc"}, {strings.Repeat("i", maxName), strings.Repeat("p", maxName)}} {
		token, err := k.Sign(names[0], names[1], now.Add(time.Hour), here)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Verify(token, now, here)
		if err != nil || got.Incident != names[0] || got.Person != names[1] {
			t.Errorf("signed %q, got %q %q %v", names, got.Incident, got.Person, err)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	long := strings.Repeat("x", maxName+1)
	for _, tc := range []struct {
		name             string
		keys             Keys
		incident, person string
		expires          time.Time
	}{
		{"no key", keys(), "i", "p", now},
		{"short key", keys(key1[1:]), "i", "p", now},
		{"short second key", keys(key1, key2[1:]), "i", "p", now},
		{"unreadable keys", func() ([][]byte, error) { return nil, errors.New("no such file") }, "i", "p", now},
		{"no incident", keys(key1), "", "p", now},
		{"no person", keys(key1), "i", "", now},
		{"long incident", keys(key1), long, "p", now},
		{"long person", keys(key1), "i", long, now},
		{"no expiry", keys(key1), "i", "p", time.Time{}},
		{"expiry in 2200", keys(key1), "i", "p", now.AddDate(174, 0, 0)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if token, err := tc.keys.Sign(tc.incident, tc.person, tc.expires, here); err == nil {
				t.Errorf("signed %s", token)
			}
		})
	}
}

// A key file that cannot be read says nothing about the link.
func TestUnreadableKeysAreNoVerdict(t *testing.T) {
	cause := errors.New("no such file")
	k := Keys(func() ([][]byte, error) { return nil, cause })
	_, err := k.Verify(sign(t, keys(key1)), now, here)
	if !errors.Is(err, cause) || errors.Is(err, ErrForged) || errors.Is(err, ErrExpired) {
		t.Error(err)
	}
	if err := k.CheckStamp("t", "s", now); !errors.Is(err, cause) || errors.Is(err, ErrForged) {
		t.Error(err)
	}
}

func TestStamp(t *testing.T) {
	k := keys(key1)
	token := sign(t, k)
	stamp, err := k.Stamp(token, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name         string
		keys         Keys
		token, stamp string
		after        time.Duration
		want         error
	}{
		{"at once", k, token, stamp, 0, ErrEarly},
		{"699 ms", k, token, stamp, StampAfter - time.Millisecond, ErrEarly},
		{"700 ms", k, token, stamp, StampAfter, nil},
		{"30 min", k, token, stamp, StampFor, nil},
		{"later", k, token, stamp, StampFor + time.Millisecond, ErrLate},
		{"clock behind", k, token, stamp, -time.Hour, ErrEarly},
		{"other token", k, token + "x", stamp, time.Second, ErrForged},
		{"key replaced", keys(key2, key1), token, stamp, time.Second, nil},
		{"key gone", keys(key2), token, stamp, time.Second, ErrForged},
		{"no stamp", k, token, "", time.Second, ErrForged},
		{"a token is no stamp", k, token, token, time.Second, ErrForged},
		{"line end inside", k, token, stamp[:4] + "\r\n" + stamp[4:], time.Second, ErrForged},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.keys.CheckStamp(tc.token, tc.stamp, now.Add(tc.after)); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
	if _, err := k.Verify(stamp, now, here); !errors.Is(err, ErrForged) {
		t.Errorf("a stamp passed for a link: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	k := keys(key1, key2)
	good := map[string]bool{}
	for _, names := range [][2]string{{"0c7F3K", "amira"}, {"i", "p"}, {strings.Repeat("i", 200), "ünal"}} {
		token, err := k.Sign(names[0], names[1], now.Add(time.Hour), here)
		if err != nil {
			f.Fatal(err)
		}
		good[token] = true
		f.Add(token)
	}
	stamp, err := k.Stamp("token", now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(stamp)
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		_, err := k.Verify(text, now, here)
		if got := err == nil; got != good[text] {
			t.Errorf("Verify(%q) = %v, signed here: %t", text, err, good[text])
		}
		if err := k.CheckStamp("token", text, now.Add(time.Second)); (err == nil) != (text == stamp) {
			t.Errorf("CheckStamp(%q) = %v", text, err)
		}
	})
}
