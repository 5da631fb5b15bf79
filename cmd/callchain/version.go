package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/version"
)

func versionText() string { return version.Print("callchain") }

func versionCommand(app *kingpin.Application, commands map[string]command) {
	c := app.Command("version", "Print the version.")
	output := outputFlag(c, "text", "json")
	commands[c.FullCommand()] = func(_ context.Context, std streams) error {
		if *output == "json" {
			return printJSON(std.out, map[string]string{
				"version": versionNumber(), "revision": version.GetRevision(), "build_date": version.BuildDate,
				"go_version": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
			})
		}
		_, err := fmt.Fprintln(std.out, versionText())
		return err
	}
}

// versionNumber is "devel" for a build that was given none.
func versionNumber() string {
	if version.Version == "" {
		return "devel"
	}
	return version.Version
}

// printJSON prints a result for programs.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
