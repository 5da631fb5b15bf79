// Package lint holds a catalog against what a good one looks like: the ownership
// policy, and what rots in catalogs over time.
//
// It stands above loading, which is content with whatever a pager can come up
// with, and below the command that reads the files and prints. What loading finds
// is found here too, under the same codes, but by lint's own severities: a name
// that leads nowhere is lived with at start and is an error here. Like all of
// routing it is pure: the files and the instant are arguments.
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// Input is what is looked at.
type Input struct {
	Files []config.File // of the catalog, in order
	// Config is callchain.yml, read without an error; nil when it is not known.
	// Then nothing is said about rules and policies of one's own, chains are those
	// of the built-in policy, and there is no fallback team.
	Config     *config.Config
	ConfigFile config.File // its text, for the comments in it
	Disabled   []config.Code
	Now        time.Time
}

// Finding is one thing that is wrong, or will be. Its Text says what is wrong
// and what to do, to somebody who does not know callchain well.
type Finding struct {
	Pos      config.Pos
	Severity config.Severity
	Code     config.Code
	Text     string
}

func (f Finding) String() string {
	return fmt.Sprintf("%s: %s %s: %s", f.Pos, f.Severity, f.Code, f.Text)
}

// Result is what there is to say.
type Result struct {
	Findings []Finding // by place
	Errors   int
	Warnings int
	Ignored  int // findings that a comment accepts
	// Shallow says that a file could not be read in full. Then only what is wrong
	// in itself is told, because the rest may only follow from what is missing.
	Shallow bool
	Catalog *config.Catalog // as far as it could be read
}

// horizon is how far ahead schedules and chains are looked at.
const horizon = 28 * 24 * time.Hour

// linter carries one run.
type linter struct {
	in    Input
	raw   *config.Catalog
	cat   *catalog.Catalog
	found []Finding

	misowned   map[config.Pos]bool // places of owners that cannot own
	unverified []*config.Service   // told together, after the comments were looked at
}

// Run looks at everything and never fails: what cannot be read is a finding.
func Run(in Input) Result {
	l := &linter{in: in, misowned: map[config.Pos]bool{}}
	raw, ps := config.ParseCatalog(in.Files)
	l.raw = raw
	shallow := slices.ContainsFunc(ps, func(p config.Problem) bool { return incomplete(p.Code) })
	cat, more := catalog.Readable(raw)
	l.cat = cat
	told := map[config.Pos]bool{}
	for _, p := range ps.Errors() {
		told[p.Pos] = true
	}
	for _, p := range more {
		// What the reader refused is not told again as missing.
		if shallow && (p.Severity != config.Error || p.Pos.Line == 0) || p.Severity == config.Error && told[p.Pos] {
			continue
		}
		if p.Code >= catalog.CodeVolunteerOwns && p.Code < catalog.CodeUnfilled {
			l.misowned[p.Pos] = true
		}
		ps = append(ps, p)
	}
	if !shallow {
		if in.Config != nil {
			_, more := routing.New(in.Config, cat)
			for _, p := range more {
				// These two are looked into further below.
				if p.Code != routing.CodeTie && p.Code != routing.CodeYield {
					ps = append(ps, p)
				}
			}
		}
		l.people()
		l.schedules()
		l.matchers()
		l.chains()
		l.upkeep()
	}
	for _, p := range ps {
		l.add(p.Code, p.Pos, "%s", p.Text)
	}
	return l.result(shallow)
}

// add records a finding; its severity is that of its rule.
func (l *linter) add(code config.Code, pos config.Pos, format string, args ...any) {
	l.found = append(l.found, Finding{pos, ruleOf(code).Severity, code, fmt.Sprintf(format, args...)})
}

// result takes out what is not to be told, and puts the rest in order.
func (l *linter) result(shallow bool) Result {
	for _, s := range l.unverified {
		l.add(CodeUnverified, at(s.Name, s.Pos), "%s", s.Name.V)
	}
	c := l.comments(shallow)
	r := Result{Shallow: shallow, Catalog: l.raw}
	seen := map[Finding]bool{}
	text := newPlaces(l.in)
	for _, f := range l.found {
		f.Pos = text.inside(f.Pos)
		switch {
		case seen[f] || slices.Contains(l.in.Disabled, f.Code):
		case c.accept(f):
			r.Ignored++
		default:
			r.Findings = append(r.Findings, f)
		}
		seen[f] = true
	}
	for _, f := range append(c.found, c.idle(shallow, l.in.Disabled)...) {
		if !slices.Contains(l.in.Disabled, f.Code) {
			r.Findings = append(r.Findings, f)
		}
	}
	r.Findings = together(r.Findings)
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.Pos.File, b.Pos.File), a.Pos.Line-b.Pos.Line, a.Pos.Col-b.Pos.Col, strings.Compare(string(a.Code), string(b.Code)))
	})
	for _, f := range r.Findings {
		if f.Severity == config.Error {
			r.Errors++
		} else {
			r.Warnings++
		}
	}
	return r
}

// most is how many services are named, and told one by one to lack an SLO.
const most = 5

// together makes one finding per file of the services that were never verified,
// and of those without SLO when they are many: a catalog that does not use the
// keys yet is not drowned in it. Until here the text of both is the name alone.
func together(all []Finding) []Finding {
	type group struct {
		file string
		code config.Code
	}
	names := map[group][]string{}
	for _, f := range all {
		if f.Code == CodeUnverified || f.Code == CodeNoSLO {
			g := group{f.Pos.File, f.Code}
			names[g] = append(names[g], f.Text)
		}
	}
	var out []Finding
	told := map[group]bool{}
	for _, f := range all {
		g := group{f.Pos.File, f.Code}
		switch {
		case f.Code == CodeUnverified:
			f.Text = fmt.Sprintf("nobody has confirmed yet that %s; let the owners read it and write verified: {on: DATE, by: [TEAM]}", entries(names[g]))
		case f.Code == CodeNoSLO && len(names[g]) > most:
			f.Text = fmt.Sprintf("%d services have no SLO (%s, ...), so nobody can tell when they are good enough; add slo: {objective: 99.9, window: 28d}, to those of tier 1 first",
				len(names[g]), strings.Join(names[g][:most], ", "))
		case f.Code == CodeNoSLO:
			f.Text = fmt.Sprintf("service %s has no SLO, so nobody can tell when it is good enough; add slo: {objective: 99.9, window: 28d}", f.Text)
			out = append(out, f)
			continue
		default:
			out = append(out, f)
			continue
		}
		if !told[g] {
			told[g] = true
			out = append(out, f)
		}
	}
	return out
}

// entries says of some services that what stands there is true.
func entries(names []string) string {
	switch n := len(names); {
	case n == 1:
		return "the entry of " + names[0] + " is true"
	case n > most:
		return fmt.Sprintf("the entries of %d services are true (%s, ...)", n, strings.Join(names[:most], ", "))
	default:
		return "the entries of " + strings.Join(names, ", ") + " are true"
	}
}

// at is the value's own place, or that of the entry around it.
func at[T any](v config.At[T], around config.Pos) config.Pos {
	if v.Set() {
		return v.Pos
	}
	return around
}

// places keeps findings inside their files: YAML counts more kinds of line
// break than editors do.
type places struct {
	widths map[string][]int // of the lines of a file, in characters
	first  string
}

func newPlaces(in Input) places {
	p := places{widths: map[string][]int{}, first: in.ConfigFile.Name}
	if len(in.Files) > 0 {
		p.first = in.Files[0].Name
	}
	for _, f := range append(slices.Clone(in.Files), in.ConfigFile) {
		var widths []int
		for line := range strings.SplitSeq(string(f.Data), "\n") {
			widths = append(widths, len([]rune(line)))
		}
		p.widths[f.Name] = widths
	}
	return p
}

func (p places) inside(pos config.Pos) config.Pos {
	if pos.File == "" {
		pos.File = p.first
	}
	widths, ok := p.widths[pos.File]
	if !ok {
		return pos
	}
	pos.Line = min(max(pos.Line, 1), len(widths))
	pos.Col = min(max(pos.Col, 1), widths[pos.Line-1]+1)
	return pos
}
