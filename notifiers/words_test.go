package notifiers_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"callchain/notifiers"
	"callchain/notifiers/notifierstest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestWords holds every sentence of every case against one file that reads like
// a night on call.
func TestWords(t *testing.T) {
	var b bytes.Buffer
	for _, c := range notifierstest.Cases() {
		m := c.Message
		fmt.Fprintf(&b, "== %s\n", c.Name)
		for _, said := range []struct{ what, words string }{
			{"headline", notifiers.Headline(m)},
			{"sentence", notifiers.Sentence(m)},
			{"status", notifiers.Status(m)},
			{"why", notifiers.Why(m)},
			{"before", notifiers.Unanswered(m)},
			{"next", notifiers.Upcoming(m)},
			{"footer", notifiers.Footer(m)},
		} {
			if said.words != "" {
				fmt.Fprintf(&b, "%-9s %s\n", said.what, strings.ReplaceAll(said.words, "\n", "\n          "))
			}
		}
		for _, p := range m.Incident.Paged {
			who, rest := notifiers.PagedLine(p, m.Now)
			fmt.Fprintf(&b, "%-9s %s%s\n", "paged", who, rest)
		}
		b.WriteByte('\n')
	}
	golden := filepath.Join("testdata", "words.txt")
	if *update {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("words changed (-want +got); look at them, then run with -update:\n%s", diff)
	}
}

func TestClean(t *testing.T) {
	for _, c := range []struct {
		name, in string
		max      int
		want     string
	}{
		{"plain", "a b", 10, "a b"},
		{"line breaks become blanks", "a\r\n\tb\n", 10, "a b"},
		{"controls go away", "a\x00\x1b[31mb", 10, "a[31mb"},
		{"bidirectional overrides go away", "a\u202eb\u2066c\u2069\u200f", 10, "abc"},
		{"zero width goes away, joiners stay", "a\u200bb\ufeff\u200dc", 10, "ab\u200dc"},
		{"invalid bytes are shown as such", "a\xffb", 10, "a\ufffdb"},
		{"cut on runes", "日本語", 2, "日…"},
		{"not cut when it fits", "日本語", 3, "日本語"},
		{"nothing fits", "abc", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := notifiers.Clean(c.in, c.max); got != c.want {
				t.Errorf("Clean(%q, %d) = %q, want %q", c.in, c.max, got, c.want)
			}
		})
	}
}

func TestLink(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"https", "https://example.org/a?b=c&d#e", "https://example.org/a?b=c&d#e"},
		{"http with port", " http://am:9093/#/alerts ", "http://am:9093/#/alerts"},
		{"what ends a link in Slack or HTML is encoded", `https://example.org/a|b>c"d e`, "https://example.org/a%7Cb%3Ec%22d%20e"},
		{"braces of Alertmanager's silence form", `https://am/#/silences/new?filter={a="b"}`, "https://am/#/silences/new?filter=%7Ba=%22b%22%7D"},
		{"other scheme", "javascript:alert(1)", ""},
		{"data", "data:text/html,x", ""},
		{"no host", "https:///path", ""},
		{"relative", "/incidents/1", ""},
		{"a user that looks like a host", "https://good.example@evil.example/", ""},
		{"line break", "https://example.org/\nx", ""},
		{"bidirectional override", "https://example.org/\u202ex", ""},
		{"too long", "https://example.org/" + strings.Repeat("a", notifiers.MaxURL), ""},
		{"empty", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := notifiers.Link(notifiers.Untrusted(c.in))
			if got != c.want || ok != (c.want != "") {
				t.Errorf("Link(%q) = %q, %v, want %q", c.in, got, ok, c.want)
			}
		})
	}
}

func TestWhen(t *testing.T) {
	kolkata := time.FixedZone("Asia/Kolkata", 5*3600+1800)
	now := time.Date(2026, 11, 20, 14, 22, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		t    time.Time
		loc  *time.Location
		want string
	}{
		{"no zone", now, nil, "14:22 UTC"},
		{"UTC once", now, time.UTC, "14:22 UTC"},
		{"reader's zone", now, kolkata, "14:22 UTC (19:52 Asia/Kolkata)"},
		{"over the reader's midnight", now.Add(6 * time.Hour), kolkata, "20:22 UTC (Sat 21 Nov 01:52 Asia/Kolkata)"},
		{"tomorrow", now.Add(24 * time.Hour), kolkata, "Sat 21 Nov 14:22 UTC (Sat 21 Nov 19:52 Asia/Kolkata)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := notifiers.When(c.t, now, c.loc); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAlertLinesSayWhatIsMissing(t *testing.T) {
	in := notifierstest.Incident()
	in.Firing, in.Resolved, in.Truncated = 200, 1, 17
	for len(in.Alerts) < 40 {
		in.Alerts = append(in.Alerts, in.Alerts[0])
	}
	got := notifiers.AlertLines(in, notifierstest.Opened)
	if want := notifiers.MaxAlerts + 2; len(got) != want {
		t.Fatalf("%d lines, want %d", len(got), want)
	}
	if diff := cmp.Diff([]string{"and 181 more", "and 17 more, not shown"}, got[notifiers.MaxAlerts:]); diff != "" {
		t.Error(diff)
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range notifierstest.HostileTexts {
		f.Add(s, 80)
	}
	f.Fuzz(func(t *testing.T, s string, max int) {
		max &= 0xfff
		got := notifiers.Clean(s, max)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > max || strings.ContainsAny(got, "\r\n\x00\u202e\u2066") {
			t.Errorf("Clean(%q, %d) = %q", s, max, got)
		}
		if link, ok := notifiers.Link(notifiers.Untrusted(s)); ok && (strings.ContainsAny(link, "<>|\" \r\n`'") || !strings.HasPrefix(strings.ToLower(link), "http")) {
			t.Errorf("Link(%q) = %q", s, link)
		}
	})
}
