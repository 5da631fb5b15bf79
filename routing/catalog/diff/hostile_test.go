package diff

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// What stands in a catalog is written by whoever opens a pull request. Nothing of
// it may speak to anybody, or in our name.
func TestCapital(t *testing.T) {
	for in, want := range map[string]string{"": "", "a role": "A role", "élan": "Élan", "\xff?": "\xff?"} {
		if got := capital(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestHostileTexts(t *testing.T) {
	const evil = "@everyone `x` <img src=x onerror=alert(1)> [a](https://evil.example) ![b](http://evil.example/i.png) #1 !2 ~bug |cell| www.evil.example **bold** &lt;script&gt;\\n/close ``` \\u202e\\u001b[2J </details>"
	quote := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, "'") + `"` }
	old := base + "  - {name: " + quote(evil) + ", state: active, owners: a, description: x}\n  - {name: kept, state: maintenance, owners: a}\n"
	new := strings.Replace(base, "- {name: b,", "- {name: "+quote("B"+evil)+",", 1) +
		"  - {name: " + quote(evil) + ", state: unowned, description: " + quote(evil) + "}\n" +
		"  - {name: kept, state: maintenance, owners: {contingency_development: {vacant: true, director: dora, reason: " + quote(evil) + "}, configuration_deployment: " + quote("B"+evil) + ", incident_response: a}}\n" +
		"  - {name: found, state: unowned, legacy: {since: 2014-03-01, reason: " + quote(evil) + "}}\n"
	before, after := side("old.yml", old), side("@new|`.yml", new)
	if err := after.Problems.Err(); err != nil {
		t.Fatal(err)
	}
	r := Compare(before, after, Options{Now: now, RequireAgreed: true})
	r.Replay = &Replay{
		Alerts: 1, Teams: []Pages{{Team: evil, After: 1}},
		Moved: []Moved{{From: evil, To: evil, Alerts: 1, AlertNames: []string{"bad\n/close " + evil}}},
	}
	text := r.Text()
	for _, bad := range []string{"\x1b", "\u202e", "\r"} {
		if strings.Contains(text, bad) {
			t.Errorf("the text has %q", bad)
		}
	}
	out := r.Markdown()
	for i, line := range strings.Split(out, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "/") {
			t.Errorf("line %d begins with a command: %s", i+1, line)
		}
		if !strings.HasPrefix(line, "|") {
			continue
		}
		if n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|"); n != 4 && n != 5 && n != 6 {
			t.Errorf("line %d breaks its table: %s", i+1, line)
		}
	}
	prose := strings.ReplaceAll(withoutCode(out), `\]`, "")
	for _, bad := range []string{"@everyone", "<img", "](http", "://evil", "www.evil", "#1", "!2", "~bug", "**bold**", "&lt;script"} {
		if strings.Contains(prose, bad) {
			t.Errorf("the Markdown has %q outside of code:\n%s", bad, out)
		}
	}
	if a, b := strings.Count(prose, "<details>"), strings.Count(prose, "</details>"); a != b {
		t.Errorf("%d details begin, %d end", a, b)
	}
}

func TestCode(t *testing.T) {
	for in, want := range map[string]string{
		"": "", " ": "", "a": "`a`", "a|b": "`a|b`", "a`b": "``a`b``", "`": "`` ` ``", "``a": "``` ``a ```", "a\nb": "`a b`", "@all": "`@all`",
	} {
		if got := code(in); got != want {
			t.Errorf("code(%q) is %q, want %q", in, got, want)
		}
	}
	// A bar ends a cell even in code, whatever stands before it.
	for in, want := range map[string]string{"a|b": `a\|b`, `a\|@b`: "a\\\\\\|@\u200bb", "a": "`a`"} {
		if got := cell(in); got != want {
			t.Errorf("cell(%q) is %q, want %q", in, got, want)
		}
	}
}

// withoutCode is Markdown without what stands between equal runs of backticks.
func withoutCode(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		for {
			start := -1
			for i := 0; i < len(line); i++ {
				if line[i] == '`' && (i == 0 || line[i-1] != '\\') {
					start = i
					break
				}
			}
			if start < 0 {
				break
			}
			n := 0
			for start+n < len(line) && line[start+n] == '`' {
				n++
			}
			end := closing(line[start+n:], n)
			if end < 0 {
				break
			}
			b.WriteString(line[:start])
			line = line[start+n+end+n:]
		}
		b.WriteString(line)
	}
	return b.String()
}

// closing finds a run of exactly n backticks.
func closing(s string, n int) int {
	for i := 0; i < len(s); {
		if s[i] != '`' {
			i++
			continue
		}
		run := 0
		for i+run < len(s) && s[i+run] == '`' {
			run++
		}
		if run == n {
			return i
		}
		i += run
	}
	return -1
}

// A comment that is too long is refused by the site: nobody would read it at all.
func TestLongMarkdown(t *testing.T) {
	old, new := organisation(600, "team-0"), organisation(600, "team-1")
	r := compare(t, old, new, Options{})
	if n := len(r.Markdown()); n > mostMarkdown {
		t.Errorf("%d bytes", n)
	}
	if !strings.Contains(r.Markdown(), "more; `callchain catalog diff` lists them") {
		t.Error("it does not say what was left out")
	}
}

// organisation is a catalog of n services; every other one is of the team.
func organisation(n int, team string) string {
	var b strings.Builder
	b.WriteString("people:\n")
	for i := range n / 4 {
		fmt.Fprintf(&b, "  - {name: p%d, email: p%d@example.org}\n", i, i)
	}
	b.WriteString("teams:\n")
	for i := range n / 10 {
		fmt.Fprintf(&b, "  - {name: team-%d, members: [p%d, p%d], manager: p%d, on_call: s%d}\n", i, 2*i, 2*i+1, i, i)
	}
	b.WriteString("schedules:\n")
	for i := range n / 10 {
		fmt.Fprintf(&b, "  - {name: s%d, timezone: Europe/Berlin, rotations: [{members: [p%d, p%d], start: 2026-01-05T09:00:00, every: %dd}]}\n", i, 2*i, 2*i+1, 1+len(team)%7)
	}
	b.WriteString("services:\n")
	for i := range n {
		owner := fmt.Sprintf("team-%d", i%(n/10))
		if i%2 == 0 {
			owner = team
		}
		fmt.Fprintf(&b, `  - name: service-%d
    aliases: [svc-%d]
    state: active
    tier: 2
    owners:
      development: %s
      configuration_deployment: team-1
      incident_response: %s
      product_management: %s
    slo: {objective: 99.9, window: 28d}
    runbook: https://runbooks.example.org/service-%d
    alerts:
      - ['app="service-%d"', 'severity=~"page|critical"']
    verified: {on: 2026-09-01, by: [team-1]}
`, i, i, owner, owner, owner, i, i)
	}
	return b.String()
}

func BenchmarkCompare2000(b *testing.B) {
	old, new := change2000()
	b.Run("compare", func(b *testing.B) {
		from, to := side("old.yml", old), side("new.yml", new)
		for b.Loop() {
			Compare(from, to, Options{Now: now, RequireAgreed: true})
		}
	})
	b.Run("read, compare and print", func(b *testing.B) {
		for b.Loop() {
			r := Compare(side("old.yml", old), side("new.yml", new), Options{Now: now, RequireAgreed: true})
			_, _ = r.Text(), r.Markdown()
		}
	})
}

// change2000 gives half of 2,000 services to another team and changes all schedules.
func change2000() (old, new string) {
	return organisation(2000, "team-0"), strings.ReplaceAll(organisation(2000, "team-2"), "every: 7d", "every: 1d")
}

// The benchmark says how long it takes, which is well under a second; this leaves
// room for a busy machine and the race detector.
func TestCompareIsFast(t *testing.T) {
	old, new := change2000()
	from, to := side("old.yml", old), side("new.yml", new)
	start := time.Now()
	r := Compare(from, to, Options{Now: now, RequireAgreed: true})
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("2,000 services took %v", took)
	}
	if r.Summary.Transfers < 900 || r.Summary.ServicesChanged < 900 {
		t.Errorf("%+v", r.Summary)
	}
}

func FuzzCompare(f *testing.F) {
	svc := "  - {name: svc, aliases: [x], state: active, owners: a}\n"
	for _, pair := range [][2]string{
		{"", ""}, {base, base + svc}, {base + svc, base}, {base + svc, strings.Replace(base, "{name: a,", "{name: z, aliases: [a],", 1) + svc},
		{base + svc, base + strings.Replace(svc, "active", "unowned", 1)}, {"services: [", base}, {base, "people: {"},
		{read(f, "reorg-old.yml"), read(f, "reorg-new.yml")}, {read(f, "reorg-new.yml"), read(f, "reorg-old.yml")},
		{"services:\n  - {name: a}\n  - {name: a, aliases: [b]}\n", "services:\n  - {name: b, aliases: [a, a]}\n"},
	} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, old, new string) {
		from, to := side("old.yml", old), side("new.yml", new)
		opts := Options{Now: now, RequireAgreed: true}
		r := Compare(from, to, opts)
		for _, f := range r.Findings {
			text := new
			if f.In == inOld {
				text = old
			}
			if f.Line < 1 || f.Column < 1 || f.Line > lines(text) {
				t.Errorf("%s:%d:%d is not in the file: %+v", f.File, f.Line, f.Column, f)
			}
		}
		before, _ := from.Router(nil)
		after, _ := to.Router(nil)
		if before == nil || after == nil {
			t.Fatal("no router for a catalog")
		}
		r.Chains(from, to, before, after, now)
		if n := len(r.Markdown()); n > mostMarkdown {
			t.Errorf("%d bytes of Markdown", n)
		}
		_ = r.Text()
		out, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.Replace(string(out), `"replay":null`, "", 1), ":null") {
			t.Errorf("a null in %s", out)
		}

		same := Compare(to, side("new.yml", new), opts)
		for _, f := range same.Findings {
			if f.Code != CodeRefused && f.Code != CodeUnread {
				t.Errorf("a catalog differs from itself: %+v", f)
			}
		}
		if len(same.Changes)+len(same.Agreements)+len(same.HandOver) > 0 {
			t.Errorf("a catalog differs from itself: %+v", same)
		}
	})
}

// lines counts lines as YAML does.
func lines(s string) int {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	n := 1
	for _, r := range s {
		if strings.ContainsRune("\n\r\u0085\u2028\u2029", r) {
			n++
		}
	}
	return n
}
