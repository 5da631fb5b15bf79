package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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

// Who types "callchain route test -" and thinks better of it gets out again.
func TestInterruptedWhileItReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		in, typed := io.Pipe()
		defer typed.Close()
		time.AfterFunc(time.Minute, cancel)
		read := func(context.Context, streams) error { _, err := io.ReadAll(in); return err }
		if err := interruptible(read)(ctx, streams{}); err == nil || err.Error() != "interrupted" {
			t.Errorf("%v; want that it was interrupted", err)
		}
		tidy := func(ctx context.Context, _ streams) error { <-ctx.Done(); return errors.New("half is copied") }
		if err := interruptible(tidy)(ctx, streams{}); err == nil || err.Error() != "half is copied" {
			t.Errorf("%v; want what the command says itself", err)
		}
	})
}
