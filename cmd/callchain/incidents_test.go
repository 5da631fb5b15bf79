package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callchain/internal/testbench"
)

const guideConfig = `
external_url: http://127.0.0.1:9321
catalog_files: [catalog.yml]
alertmanager: {sources: [{name: main, anonymous: true}]}
routing: {fallback_team: sre}
notifiers:
  email: {smarthost: "127.0.0.1:9", from: callchain@example.org, require_tls: false, link_key_file: secret}
api: {tokens: [{name: cli, token_file: secret, scopes: [respond]}]}
`

const guideCatalog = `
people:
  - {name: ana, email: ana@example.org}
  - {name: ben, email: ben@example.org}
  - {name: gus, email: gus@example.org}
teams:
  - {name: ops, members: [ana, ben], manager: gus}
  - {name: sre, members: [gus]}
services:
  - {name: parsoid, state: third_party, owners: ops}
`

const guideAlert = `{"version":"4","groupKey":"k","groupLabels":{},"alerts":[{"status":"firing","labels":{"alertname":"Down","service":"parsoid","severity":"page"},"startsAt":"2026-11-20T14:22:00Z","fingerprint":"00000000000000ff"}]}`

var (
	session    = regexp.MustCompile("(?s)```console\n(\\$ callchain .*?)```\n")
	incidentID = regexp.MustCompile(`\b[0-9a-f]{2}-[a-z2-7]{10}\b`)
	moment     = regexp.MustCompile(`(20\d\d-\d\d-\d\d )?\b\d\d:\d\d(:\d\d)?\b`)
)

// TestIncidentsGuide types what docs/incidents.md shows, in its order, on one
// alert. Ids and times are the guide's own; all else must be what happens.
func TestIncidentsGuide(t *testing.T) {
	const path = "../../docs/incidents.md"
	guide, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, "callchain.yml", guideConfig)
	write(t, dir, "catalog.yml", guideCatalog)
	write(t, dir, "secret", strings.Repeat("secret", 10))
	base := testbench.StartCallchain(t, "--config.file="+filepath.Join(dir, "callchain.yml")).URL
	resp, err := http.Post(base+"/api/v1/webhook/alertmanager/main", "application/json", strings.NewReader(guideAlert))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("webhook: %v %v", resp, err)
	}
	resp.Body.Close()

	ids := map[string]string{} // the guide's to the real ones
	same := func(shown, happened string) string {
		real := incidentID.FindAllString(happened, -1)
		for i, id := range incidentID.FindAllString(shown, -1) {
			if ids[id] == "" && i < len(real) {
				ids[id] = real[i]
			}
		}
		for id, r := range ids {
			happened = strings.ReplaceAll(happened, r, id)
		}
		plain := func(s string) string {
			lines := strings.Split(moment.ReplaceAllString(s, "TIME"), "\n")
			for i := range lines {
				lines[i] = strings.Join(strings.Fields(lines[i]), " ") // columns
			}
			return strings.Join(lines, "\n")
		}
		if plain(shown) == plain(happened) {
			return shown
		}
		return happened
	}
	got := session.ReplaceAllFunc(guide, func(block []byte) []byte {
		var out strings.Builder
		for _, typed := range strings.Split(string(session.FindSubmatch(block)[1]), "$ callchain ")[1:] {
			args, shown, _ := strings.Cut(typed, "\n")
			words := args
			for id, r := range ids {
				words = strings.ReplaceAll(words, id, r)
			}
			fmt.Fprintf(&out, "$ callchain %s\n%s", args, same(shown, shell(t, dir, base, words)))
		}
		return []byte("```console\n" + out.String() + "```\n")
	})
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(string(guide), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("the guide shows something else (-shown +happened); run with -update and read it:\n%s", diff)
	}
}

// TestIncidentsGuideNamesAll: the guide names every verb.
func TestIncidentsGuideNamesAll(t *testing.T) {
	guide, err := os.ReadFile("../../docs/incidents.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(verbs) < 10 {
		t.Fatalf("%d verbs", len(verbs))
	}
	for _, v := range verbs {
		if !regexp.MustCompile("\\| `" + v.name + "[ `]").Match(guide) {
			t.Errorf("docs/incidents.md does not name %s", v.name)
		}
	}
}

// shell types a command as a person does, with the quotes of a shell.
func shell(t *testing.T, dir, base, words string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", testbench.Binary(t)+" "+words)
	cmd.Dir = dir
	cmd.Env = slices.Concat(os.Environ(), []string{"NO_COLOR=1", "CALLCHAIN_URL=" + base, "CALLCHAIN_TOKEN_FILE=" + filepath.Join(dir, "secret")})
	out, _ := cmd.CombinedOutput() // it may exit 1: that is what the example shows
	return string(out)
}
