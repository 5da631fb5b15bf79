package main

import (
	"fmt"
	"io"
	"strings"

	"callchain/config"
)

// clean is what every text of a file or a label goes through before it is printed.
var clean = config.OneLine

// maxCell is how wide a cell of a table may be. One alert with a label of some
// thousand letters would push what matters of all others off the screen.
const maxCell = 60

// cell is clean for a cell of a table.
func cell(s string) string {
	s = clean(s)
	if r := []rune(s); len(r) > maxCell {
		return string(r[:maxCell-1]) + "…"
	}
	return s
}

// cleanLines is clean for a text of several lines, which stay.
func cleanLines(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(clean(strings.TrimSuffix(line, "\n")) + "\n")
	}
	return b.String()
}

// printProblems prints each in a line of its own.
func printProblems(w io.Writer, ps config.Problems) {
	for _, p := range ps {
		fmt.Fprintln(w, clean(p.String()))
	}
}
