package main

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// full is an output that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestResultThatIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "callchain.yml", `
external_url: http://127.0.0.1:9321
catalog_files: [catalog.yml]
routing: {fallback_team: sre}
notifiers: {email: {smarthost: "127.0.0.1:25", from: callchain@example.org}}
`)
	write(t, dir, "catalog.yml", `
people: [{name: ana, email: ana@example.org}]
teams: [{name: sre, members: [ana]}]
`)
	file := "--config.file=" + filepath.Join(dir, "callchain.yml")
	for _, args := range [][]string{
		{"help", "serve"},
		{"--version"},
		{"version", "--output=json"},
		{"check-config", file},
		{"check-config", "--config.file=" + filepath.Join(dir, "catalog.yml")}, // with errors
		{"route", "test", file, "a=b"},
		{"route", "backtest", file, "-"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			var messages bytes.Buffer
			code := run(context.Background(), args, strings.NewReader(""), full{}, &messages)
			if code != notDone || strings.Count(messages.String(), "no space left") != 1 {
				t.Errorf("status %d, and says: %s", code, messages.String())
			}
		})
	}
}
