package suggest

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// labelsOf reads which labels the result of a PromQL expression has, as far as
// the expression tells; several answers where it has alternatives (a or b,
// job=~"x|y").
//
// It understands the language's shape, not its types: it never says that an
// expression is good, only what labels it gives if it is. Prometheus' own parser
// would say both, but brings a server's modules along for what takes one page.
func labelsOf(expr string) (found []labelset, err error) {
	p := &parser{}
	if p.tokens, err = tokensOf(expr); err != nil {
		return nil, err
	}
	v, err := p.expr(0)
	if err == nil && len(p.tokens) > 0 {
		err = fmt.Errorf("unexpected %q", p.peek().text)
	}
	if err != nil {
		return nil, err
	}
	if !v.vector {
		return []labelset{nothing()}, nil
	}
	for i := range v.sets {
		v.sets[i].fix("__name__", "")
	}
	return v.sets, nil
}

type kind int

const (
	end kind = iota
	word
	number
	text
	sign
)

type token struct {
	kind kind
	text string // of a text: what it says
}

var (
	space    = regexp.MustCompile(`^(\s+|#[^\n]*)`)
	wordRE   = regexp.MustCompile(`^[A-Za-z_:][A-Za-z0-9_:]*`)
	numberRE = regexp.MustCompile(`^(0[xX][0-9a-fA-F]+|([0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)([eE][+-]?[0-9]+)?([a-z]+([0-9]+[a-z]+)*)?)`)
	signRE   = regexp.MustCompile(`^(=~|!~|==|!=|<=|>=|[-+*/%^<>=(){}\[\],@])`)
)

func tokensOf(expr string) ([]token, error) {
	var out []token
	for expr != "" {
		if s := space.FindString(expr); s != "" {
			expr = expr[len(s):]
			continue
		}
		if quote := expr[0]; quote == '"' || quote == '\'' || quote == '`' {
			n := 1
			for n < len(expr) && expr[n] != quote {
				if expr[n] == '\\' && quote != '`' {
					n++
				}
				n++
			}
			if n >= len(expr) {
				return nil, errors.New("a string does not end")
			}
			says, err := unquote(expr[1:n], quote)
			if err != nil {
				return nil, fmt.Errorf("string %s: %w", expr[:n+1], err)
			}
			out = append(out, token{text, says})
			expr = expr[n+1:]
			continue
		}
		matched := false
		// Within brackets only: a subquery's colon.
		if expr[0] == ':' {
			out, expr = append(out, token{sign, ":"}), expr[1:]
			continue
		}
		for _, try := range []struct {
			kind kind
			re   *regexp.Regexp
		}{{number, numberRE}, {word, wordRE}, {sign, signRE}} {
			if s := try.re.FindString(expr); s != "" {
				out, expr, matched = append(out, token{try.kind, s}), expr[len(s):], true
				break
			}
		}
		if !matched {
			return nil, fmt.Errorf("unexpected %q", []rune(expr)[0])
		}
	}
	return out, nil
}

func unquote(s string, quote byte) (string, error) {
	if quote == '`' {
		return s, nil
	}
	var b strings.Builder
	for s != "" {
		r, multibyte, rest, err := strconv.UnquoteChar(s, quote)
		if err != nil {
			return "", err
		}
		if s = rest; r < 0x80 || !multibyte {
			b.WriteByte(byte(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String(), nil
}

// value is what a part of an expression gives.
type value struct {
	vector   bool
	sets     []labelset // of a vector
	selector bool       // it is a plain selector
	text     *string    // it is a string
}

// maxSets bounds the alternatives that are followed.
const maxSets = 32

func vector(sets ...labelset) value {
	if len(sets) == 0 || len(sets) > maxSets {
		sets = []labelset{anything()}
	}
	return value{vector: true, sets: sets}
}

func (v value) each(f func(labelset) labelset) value {
	out := make([]labelset, len(v.sets))
	for i, s := range v.sets {
		out[i] = f(s)
	}
	return vector(out...)
}

type parser struct {
	tokens []token
	depth  int
}

func (p *parser) peek() token {
	if len(p.tokens) == 0 {
		return token{}
	}
	return p.tokens[0]
}

func (p *parser) next() token {
	t := p.peek()
	if len(p.tokens) > 0 {
		p.tokens = p.tokens[1:]
	}
	return t
}

// is tells whether the next token is this sign or, in any case, this word.
func (p *parser) is(what ...string) bool {
	t := p.peek()
	return (t.kind == sign || t.kind == word) && slices.Contains(what, strings.ToLower(t.text))
}

func (p *parser) take(what ...string) bool {
	if p.is(what...) {
		p.next()
		return true
	}
	return false
}

func (p *parser) want(what string) error {
	if !p.take(what) {
		return fmt.Errorf("want %q, got %q", what, p.peek().text)
	}
	return nil
}

var binding = map[string]int{
	"or": 1, "and": 2, "unless": 2,
	"==": 3, "!=": 3, "<=": 3, "<": 3, ">=": 3, ">": 3,
	"+": 4, "-": 4, "*": 5, "/": 5, "%": 5, "atan2": 5, "^": 6,
}

// deepest bounds how deep expressions nest.
const deepest = 200

func (p *parser) expr(least int) (value, error) {
	if p.depth++; p.depth > deepest {
		return value{}, errors.New("nested too deeply")
	}
	defer func() { p.depth-- }()
	for p.take("+", "-") {
	}
	left, err := p.operand()
	if err != nil {
		return value{}, err
	}
	for {
		t := p.peek()
		op := strings.ToLower(t.text)
		strength, is := binding[op]
		if !is || t.kind != sign && t.kind != word || strength <= least {
			return left, nil
		}
		p.next()
		m, err := p.matching()
		if err != nil {
			return value{}, err
		}
		right, err := p.expr(strength)
		if err != nil {
			return value{}, err
		}
		left = combine(op, left, right, m)
	}
}

// matching is how two vectors are matched.
type matching struct {
	on, ignoring bool
	names        []string
	left, right  bool // group_left, group_right
	include      []string
}

func (m matching) matches(name string) bool {
	switch {
	case m.on:
		return slices.Contains(m.names, name)
	case m.ignoring:
		return !slices.Contains(m.names, name)
	}
	return name != "__name__"
}

func (p *parser) matching() (m matching, err error) {
	p.take("bool")
	m.on, m.ignoring = p.is("on"), p.is("ignoring")
	if !p.take("on", "ignoring") {
		return m, nil
	}
	if m.names, err = p.names(); err != nil {
		return m, err
	}
	m.left, m.right = p.is("group_left"), p.is("group_right")
	if p.take("group_left", "group_right") && p.is("(") {
		m.include, err = p.names()
	}
	return m, err
}

// names is a list of labels in parentheses.
func (p *parser) names() (names []string, err error) {
	if err := p.want("("); err != nil {
		return nil, err
	}
	for !p.take(")") {
		t := p.next()
		if t.kind != word && t.kind != text {
			return nil, fmt.Errorf("want a label, got %q", t.text)
		}
		names = append(names, t.text)
		if !p.take(",") && !p.is(")") {
			return nil, fmt.Errorf("want a comma, got %q", p.peek().text)
		}
	}
	return names, nil
}

func combine(op string, left, right value, m matching) value {
	switch {
	case !left.vector && !right.vector:
		return value{}
	case !right.vector:
		return vector(left.sets...)
	case !left.vector:
		return vector(right.sets...)
	case op == "or":
		return vector(append(slices.Clone(left.sets), right.sets...)...)
	case op == "unless":
		return vector(left.sets...)
	}
	many, one := left, right
	if m.right {
		many, one = right, left
	}
	var out []labelset
	for _, a := range many.sets {
		for _, b := range one.sets {
			s, ok := a.agree(b, m.matches)
			if !ok {
				continue
			}
			switch {
			case op == "and":
			case m.left || m.right:
				for _, name := range m.include {
					s.copyLabel(name, b, name)
				}
			case m.on:
				s = s.keep(m.names)
			case m.ignoring:
				s = s.drop(m.names)
			}
			out = append(out, s)
		}
	}
	return vector(out...)
}

var aggregations = []string{"sum", "avg", "count", "min", "max", "group", "stddev", "stdvar", "topk", "bottomk", "count_values", "quantile", "limitk", "limit_ratio"}

func (p *parser) operand() (v value, err error) {
	t := p.next()
	switch {
	case t.kind == number:
	case t.kind == text:
		v.text = &t.text
	case t.text == "(":
		if v, err = p.expr(0); err == nil {
			v.selector = false
			err = p.want(")")
		}
	case t.text == "{":
		v, err = p.selector(true)
	case t.kind == word && slices.Contains(aggregations, strings.ToLower(t.text)) && p.is("(", "by", "without"):
		v, err = p.aggregation(strings.ToLower(t.text))
	case t.kind == word && p.is("("):
		v, err = p.call(t.text)
	case t.kind == word && slices.Contains([]string{"inf", "nan"}, strings.ToLower(t.text)) && !p.is("{"):
	case t.kind == word:
		v, err = p.selector(p.take("{"))
	default:
		return v, fmt.Errorf("unexpected %q", t.text)
	}
	for err == nil {
		switch {
		case p.take("["):
			for depth := 1; depth > 0 && err == nil; {
				switch t := p.next(); {
				case t.kind == end:
					err = errors.New("a bracket does not end")
				case t.kind == sign && t.text == "[":
					depth++
				case t.kind == sign && t.text == "]":
					depth--
				}
			}
		case p.take("offset"):
			for p.take("-", "+") {
			}
			_, err = p.operandOnce()
		case p.take("@"):
			for p.take("-", "+") {
			}
			_, err = p.operandOnce()
		case p.take("anchored", "smoothed"):
		default:
			return v, nil
		}
	}
	return v, err
}

// operandOnce is a number, a call like start(), or something in parentheses.
func (p *parser) operandOnce() (value, error) {
	switch t := p.next(); {
	case t.kind == number:
		return value{}, nil
	case t.kind == word && p.is("("):
		return p.call(t.text)
	case t.text == "(":
		v, err := p.expr(0)
		if err == nil {
			err = p.want(")")
		}
		return v, err
	default:
		return value{}, fmt.Errorf("unexpected %q", t.text)
	}
}

// selector reads what follows a metric's name.
func (p *parser) selector(braces bool) (value, error) {
	sets := []labelset{anything()}
	for braces && !p.take("}") {
		name := p.next()
		if name.kind != word && name.kind != text {
			return value{}, fmt.Errorf("want a label, got %q", name.text)
		}
		if op := p.peek(); p.take("=", "!=", "=~", "!~") {
			given := p.next()
			if given.kind != text {
				return value{}, fmt.Errorf("want a string after %s%s, got %q", name.text, op.text, given.text)
			}
			sets = narrow(sets, name.text, op.text, given.text)
		} else if name.kind != text {
			return value{}, fmt.Errorf("want a matcher after %q, got %q", name.text, op.text)
		}
		if !p.take(",") && !p.is("}") {
			return value{}, fmt.Errorf("want a comma, got %q", p.peek().text)
		}
	}
	v := vector(sets...)
	v.selector = true
	return v, nil
}

func narrow(sets []labelset, name, op, given string) []labelset {
	each := []string{given}
	switch op {
	case "=":
	case "=~":
		if each = wordsOf(given); each == nil {
			for _, s := range sets {
				if !hasKey(s.fixed, name) {
					s.vary(name)
					s.some[name] = given
				}
			}
			return sets
		}
	default:
		return sets // that a label is not something tells little
	}
	var out []labelset
	for _, s := range sets {
		for _, v := range each {
			s := s.clone()
			s.fix(name, v)
			out = append(out, s)
		}
	}
	return out
}

func (p *parser) aggregation(op string) (value, error) {
	without, names, grouped, err := p.grouping()
	if err != nil {
		return value{}, err
	}
	args, err := p.arguments()
	if err != nil {
		return value{}, err
	}
	if !grouped {
		if without, names, _, err = p.grouping(); err != nil {
			return value{}, err
		}
	}
	of := firstVector(args)
	switch op {
	case "topk", "bottomk", "limitk", "limit_ratio":
		return vector(of.sets...), nil
	}
	out := of.each(func(s labelset) labelset {
		if without {
			return s.drop(names)
		}
		return s.keep(names)
	})
	if op == "count_values" && len(args) > 0 && args[0].text != nil {
		for _, s := range out.sets {
			s.vary(*args[0].text)
		}
	}
	return out, nil
}

// grouping reads by (names) or without (names), if it is there.
func (p *parser) grouping() (without bool, names []string, found bool, err error) {
	without = p.is("without")
	if found = p.take("by", "without"); found {
		names, err = p.names()
	}
	return without, names, found, err
}

func (p *parser) arguments() (args []value, err error) {
	if err := p.want("("); err != nil {
		return nil, err
	}
	for !p.take(")") {
		v, err := p.expr(0)
		if err != nil {
			return nil, err
		}
		args = append(args, v)
		if !p.take(",") && !p.is(")") {
			return nil, fmt.Errorf("want a comma, got %q", p.peek().text)
		}
	}
	return args, nil
}

func firstVector(args []value) value {
	for _, a := range args {
		if a.vector {
			return a
		}
	}
	return vector(nothing())
}

func (p *parser) call(name string) (value, error) {
	args, err := p.arguments()
	if err != nil {
		return value{}, err
	}
	says := func(i int) (string, bool) {
		if i < len(args) && args[i].text != nil {
			return *args[i].text, true
		}
		return "", false
	}
	of := firstVector(args)
	switch strings.ToLower(name) {
	case "time", "pi", "scalar", "start", "end", "step", "range":
		return value{}, nil
	case "vector":
		return vector(nothing()), nil
	case "absent", "absent_over_time":
		// Its labels are those that the selector asks for with "=".
		if !of.selector {
			return vector(nothing()), nil
		}
		return of.each(func(s labelset) labelset {
			out := nothing()
			if len(of.sets) == 1 {
				out.fixed = s.present()
			}
			return out
		}), nil
	case "label_replace":
		dst, ok := says(1)
		with, _ := says(2)
		pattern, plainly := says(4)
		if !ok {
			return vector(anything()), nil
		}
		return of.each(func(s labelset) labelset {
			if s = s.clone(); plainly && (pattern == "" || pattern == ".*") && !strings.Contains(with, "$") {
				s.fix(dst, with)
			} else {
				s.vary(dst)
			}
			return s
		}), nil
	case "label_join":
		dst, ok := says(1)
		if !ok {
			return vector(anything()), nil
		}
		return of.each(func(s labelset) labelset { s = s.clone(); s.vary(dst); return s }), nil
	case "histogram_quantile", "histogram_fraction":
		return of.each(func(s labelset) labelset { return s.drop([]string{"le"}) }), nil
	case "info":
		return of.each(func(s labelset) labelset { s = s.clone(); s.open = true; return s }), nil
	}
	return vector(of.sets...), nil
}
