package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callchain/config"
	"callchain/routing/catalog/convert"
)

var table = regexp.MustCompile("(?s)```csv\n# (\\S+)\n(.*?)```\n")

// TestImportGuide runs the examples of docs/import.md on the files that it shows.
func TestImportGuide(t *testing.T) {
	const path = "../../docs/import.md"
	guide, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, m := range append(file.FindAllSubmatch(guide, -1), table.FindAllSubmatch(guide, -1)...) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, string(m[1]))), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, dir, string(m[1]), string(m[2]))
	}
	examples := 0
	got := console.ReplaceAllFunc(guide, func(block []byte) []byte {
		examples++
		args := string(console.FindSubmatch(block)[1])
		return fmt.Appendf(nil, "```console\n$ callchain %s\n%s```\n", args, typed(t, dir, args))
	})
	if examples < len(convert.Formats) {
		t.Errorf("the guide shows %d examples for %d formats", examples, len(convert.Formats))
	}
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

// The guide names every field, kind of note, state and role.
func TestImportGuideNamesAll(t *testing.T) {
	guide, err := os.ReadFile("../../docs/import.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range convert.Fields() {
		names = append(names, "`"+f)
	}
	names = append(names, words([]convert.NoteKind{convert.Guessed, convert.LeftOut, convert.Renamed, convert.Skipped})...)
	names = append(names, words(config.States)...)
	names = append(names, words(config.Roles)...)
	for _, n := range names {
		if !strings.Contains(strings.ToLower(string(guide)), n) {
			t.Errorf("docs/import.md does not name %s", n)
		}
	}
}
