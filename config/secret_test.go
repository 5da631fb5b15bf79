package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSecretFollowsItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	write := func(s string) {
		t.Helper()
		// As an editor or Kubernetes does: a new file in place of the old one.
		if err := os.WriteFile(path+".new", []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := NewSecretFile(path)
		if _, err := s.Lines(); err == nil {
			t.Fatal("no error for a file that is not there")
		}
		write("  one \r\n\n\ttwo\n")
		expect := func(want ...string) {
			t.Helper()
			got, err := s.Lines()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		}
		time.Sleep(secretCheckEvery)
		expect("one", "two")
		if got, err := s.First(); got != "one" || err != nil {
			t.Errorf("First = %q, %v", got, err)
		}

		write("three\n")
		expect("one", "two") // looked at less than a second ago
		time.Sleep(secretCheckEvery)
		expect("three")

		write("\n")
		time.Sleep(secretCheckEvery)
		expect("three")
		if s.Err() == nil {
			t.Error("an emptied file is not reported")
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(secretCheckEvery)
		expect("three")
		if s.Err() == nil {
			t.Error("a removed file is not reported")
		}

		write("four\n")
		time.Sleep(secretCheckEvery)
		expect("four")
		if err := s.Err(); err != nil {
			t.Errorf("a good file is reported: %v", err)
		}
	})
}

func TestSecretMatches(t *testing.T) {
	s := NewSecretFile("testdata/secrets/token")
	for given, want := range map[string]bool{
		"fake-token-for-tests-0001":  true,
		"fake-token-for-tests-0002":  true,
		"fake-token-for-tests-0003":  false,
		"fake-token-for-tests-0001 ": false,
		"":                           false,
	} {
		if got, err := s.Matches(given); got != want || err != nil {
			t.Errorf("Matches(%q) = %v, %v", given, got, err)
		}
	}
	if ok, err := NewSecretFile("testdata/secrets/none").Matches(""); ok || err == nil {
		t.Errorf("a missing file matches: %v, %v", ok, err)
	}
}

func TestSecretNeverPrints(t *testing.T) {
	s := NewSecretFile("testdata/secrets/token")
	if _, err := s.Lines(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", s)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "s", s)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "s", s)
	if err := json.NewEncoder(&out).Encode(map[string]any{"s": s}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.Contains(got, "fake") || strings.Contains(got, "66616b65") || strings.Count(got, "secret>")+strings.Count(got, `secret\u003e`) != 10 {
		t.Errorf("printed:\n%s", got)
	}
}

func TestSecretOfAnUnsetKey(t *testing.T) {
	if s := (&Config{}).Secret(At[string]{}); s != nil {
		t.Errorf("Secret = %v, want nil", s)
	}
}
