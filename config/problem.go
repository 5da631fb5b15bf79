package config

import (
	"fmt"
	"slices"
	"strings"
)

// Pos is a place in a file. Line and Col count from 1; the zero Pos is "no place".
type Pos struct {
	File string
	Line int
	Col  int
}

func (p Pos) String() string {
	switch {
	case p.File == "":
		return "-"
	case p.Line == 0:
		return p.File
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
	}
}

// Severity tells whether a Problem refuses the configuration.
type Severity int

const (
	// Error refuses the configuration as a whole.
	Error Severity = iota
	// Warning is reported and lived with: a pager must come up.
	Warning
)

func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Problem is one mistake in a file. Text says what is wrong and, after a
// semicolon or in a sentence of its own, what would be right.
type Problem struct {
	Pos      Pos
	Severity Severity
	Text     string
	Code     Code // "" for what only callchain.yml can have
}

func (p Problem) String() string {
	return fmt.Sprintf("%s: %s: %s", p.Pos, p.Severity, p.Text)
}

// Problems are all mistakes found in one go, in the order of their places.
type Problems []Problem

// Errors returns those that refuse the configuration.
func (ps Problems) Errors() Problems {
	return ps.only(Error)
}

// Warnings returns those that do not.
func (ps Problems) Warnings() Problems {
	return ps.only(Warning)
}

func (ps Problems) only(s Severity) Problems {
	var out Problems
	for _, p := range ps {
		if p.Severity == s {
			out = append(out, p)
		}
	}
	return out
}

// Sort orders the problems by file, line and column.
func (ps Problems) Sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if c := strings.Compare(a.Pos.File, b.Pos.File); c != 0 {
			return c
		}
		if a.Pos.Line != b.Pos.Line {
			return a.Pos.Line - b.Pos.Line
		}
		return a.Pos.Col - b.Pos.Col
	})
}

// Err returns the errors among the problems as one error, nil if there are none.
func (ps Problems) Err() error {
	if errs := ps.Errors(); len(errs) > 0 {
		return errs
	}
	return nil
}

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Errorf appends an error at a place.
func (ps *Problems) Errorf(pos Pos, format string, args ...any) {
	ps.Errorc("", pos, format, args...)
}

// Warnf appends a warning at a place.
func (ps *Problems) Warnf(pos Pos, format string, args ...any) {
	ps.Warnc("", pos, format, args...)
}

// Errorc is Errorf for a kind of problem that has a code.
func (ps *Problems) Errorc(code Code, pos Pos, format string, args ...any) {
	*ps = append(*ps, Problem{pos, Error, fmt.Sprintf(format, args...), code})
}

// Warnc is Warnf for a kind of problem that has a code.
func (ps *Problems) Warnc(code Code, pos Pos, format string, args ...any) {
	*ps = append(*ps, Problem{pos, Warning, fmt.Sprintf(format, args...), code})
}
