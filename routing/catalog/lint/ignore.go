package lint

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"callchain/config"
)

// comment is a "# callchain:ignore CC0703 why" in a file. It accepts findings of
// the line it stands on, or when it stands alone, of the next line that says
// something; where an entry begins there (a person, a team, a schedule, a
// service, a rule), of the whole entry.
type comment struct {
	pos      config.Pos
	code     config.Code
	from, to int // lines, inclusive
	used     bool
}

type comments struct {
	all   []*comment
	by    map[key][]*comment
	found []Finding // what is wrong with the comments themselves
}

type key struct {
	file string
	code config.Code
}

var (
	ignoring = regexp.MustCompile(`(?:^|\s)#\s*callchain:ignore(?:[:\s]\s*(.*?))?\s*$`)
	codeLike = regexp.MustCompile(`^[A-Za-z]+[0-9]+$`)
)

func (l *linter) comments(shallow bool) *comments {
	c := &comments{by: map[key][]*comment{}}
	for _, f := range append(slices.Clone(l.in.Files), l.in.ConfigFile) {
		text := string(f.Data)
		if !strings.Contains(text, "callchain:ignore") {
			continue
		}
		lines := strings.Split(text, "\n")
		ends := l.entries(f.Name, lines)
		for i, line := range lines {
			m := ignoring.FindStringSubmatchIndex(line)
			if m == nil {
				continue
			}
			hash := m[0] + strings.IndexByte(line[m[0]:], '#')
			pos := config.Pos{File: f.Name, Line: i + 1, Col: len([]rune(line[:hash])) + 1}
			rest := ""
			if m[2] >= 0 {
				rest = line[m[2]:m[3]]
			}
			first := i + 1
			if strings.TrimSpace(line[:hash]) == "" {
				for first++; first <= len(lines) && says(lines[first-1]) == ""; first++ {
				}
			}
			last := first
			if end, begins := ends[first]; begins {
				last = end
			}
			c.read(pos, rest, first, last)
		}
	}
	return c
}

// says is what a line says besides its indent, "" for a comment or an empty line.
func says(line string) string {
	line = strings.TrimSpace(line)
	if strings.HasPrefix(line, "#") {
		return ""
	}
	return line
}

// read takes apart what stands behind callchain:ignore: codes, then the reason.
func (c *comments) read(pos config.Pos, rest string, from, to int) {
	var codes []string
	for {
		word, after, _ := strings.Cut(rest, " ")
		list := strings.FieldsFunc(word, func(r rune) bool { return r == ',' })
		if len(list) == 0 || slices.ContainsFunc(list, func(w string) bool { return !codeLike.MatchString(strings.TrimSuffix(w, ":")) }) {
			break
		}
		for _, w := range list {
			codes = append(codes, strings.TrimSuffix(w, ":"))
		}
		rest = strings.TrimSpace(after)
	}
	reason := strings.Trim(rest, " -:,")
	if len(codes) == 0 {
		c.add(CodeNoIgnoring, pos, "this comment names no code; write # callchain:ignore CC0703 and why that is accepted here")
		return
	}
	if reason == "" {
		c.add(CodeNoReason, pos, "%s is ignored without a reason; add why that is accepted here, for whoever reads it in a year", strings.Join(codes, ", "))
	}
	for _, code := range codes {
		rule, known := RuleFor(config.Code(code))
		switch {
		case !known:
			c.add(CodeNoIgnoring, pos, "there is no code %s; correct it, docs/lint.md lists them all", code)
		case rule.Refused:
			c.add(CodeNoIgnoring, pos, "%s (%s) cannot be ignored, because callchain would not load such a catalog; correct what it finds and remove this comment", code, rule.Title)
		case slices.Contains([]config.Code{CodeNoReason, CodeIdle, CodeNoIgnoring}, rule.Code):
			c.add(CodeNoIgnoring, pos, "%s is about such comments and cannot be ignored by one; correct the comment it finds", code)
		default:
			one := &comment{pos: pos, code: rule.Code, from: from, to: to}
			c.all = append(c.all, one)
			k := key{pos.File, rule.Code}
			c.by[k] = append(c.by[k], one)
		}
	}
}

func (c *comments) add(code config.Code, pos config.Pos, format string, args ...any) {
	c.found = append(c.found, Finding{pos, ruleOf(code).Severity, code, fmt.Sprintf(format, args...)})
}

// accept tells whether a comment covers the finding.
func (c *comments) accept(f Finding) bool {
	accepted := false
	for _, one := range c.by[key{f.Pos.File, f.Code}] {
		if one.from <= f.Pos.Line && f.Pos.Line <= one.to {
			one.used, accepted = true, true
		}
	}
	return accepted
}

// idle are the comments that covered nothing. What was not looked for, because
// it is disabled or the files could not be read, says nothing about them.
func (c *comments) idle(shallow bool, disabled []config.Code) []Finding {
	var out []Finding
	for _, one := range c.all {
		if one.used || shallow || slices.Contains(disabled, one.code) {
			continue
		}
		out = append(out, Finding{one.pos, ruleOf(CodeIdle).Severity, CodeIdle,
			fmt.Sprintf("nothing here is found by %s (any more); remove this comment", one.code)})
	}
	return out
}

// entries gives the last line of each entry of a file, by its first line.
func (l *linter) entries(file string, lines []string) map[int]int {
	var starts []int
	add := func(p config.Pos) {
		if p.File == file && p.Line > 0 && p.Line <= len(lines) {
			starts = append(starts, p.Line)
		}
	}
	for _, p := range l.raw.People {
		add(p.Pos)
	}
	for _, t := range l.raw.Teams {
		add(t.Pos)
	}
	for _, s := range l.raw.Schedules {
		add(s.Pos)
	}
	for _, s := range l.raw.Services {
		add(s.Pos)
	}
	if c := l.in.Config; c != nil {
		for _, r := range c.Routing.Rules {
			add(r.Pos)
		}
		for _, u := range c.Routing.Urgency {
			add(u.Pos)
		}
		for _, p := range c.Escalation.Policies {
			add(p.Pos)
		}
	}
	slices.SortFunc(starts, cmp.Compare[int])
	starts = slices.Compact(starts)
	ends := map[int]int{}
	for i, from := range starts {
		before := len(lines) + 1
		if i+1 < len(starts) {
			before = starts[i+1]
		}
		depth := indent(lines[from-1])
		to := from
		for n := from + 1; n < before; n++ {
			if says(lines[n-1]) == "" {
				continue
			}
			if indent(lines[n-1]) < depth {
				break // a key further out: the list is over
			}
			to = n
		}
		ends[from] = to
	}
	return ends
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }
