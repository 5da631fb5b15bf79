package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/alertmanager/timeinterval"
	"go.yaml.in/yaml/v3"
)

// maxAliasCost bounds what aliases and merge keys may expand to in one file,
// so that a few lines cannot become gigabytes. Values written out are free.
const maxAliasCost = 100_000

// decoder turns one YAML document into the structs of this package. It keeps
// going after a mistake: every problem of the file is reported at once.
type decoder struct {
	file       string
	problems   Problems
	unreadable bool         // the file is no YAML
	failed     map[Pos]bool // places of values that could not be read

	aliasDepth int
	aliasCost  int
	merging    map[*yaml.Node]bool // mappings being merged now: one that merges itself ends
}

// slot is implemented by *At[T]: it takes the place and gives the value's address.
type slot interface{ fill(Pos) any }

func (a *At[T]) fill(p Pos) any {
	a.Pos = p
	return &a.V
}

// nodeDecoder is implemented by the types that YAML may write in several forms.
type nodeDecoder interface {
	decodeNode(d *decoder, key string, n *yaml.Node)
}

// decodeFile decodes the one document of a file into dst, a pointer to a
// struct. An empty file leaves dst as it is.
func decodeFile(name string, data []byte, dst any) *decoder {
	d := &decoder{file: name, failed: map[Pos]bool{}, merging: map[*yaml.Node]bool{}}
	d.document(data, dst)
	return d
}

func (d *decoder) document(data []byte, dst any) {
	// The YAML library answers some malformed input by panicking; to the
	// person at the keyboard that is one more syntax error.
	defer func() {
		if r := recover(); r != nil {
			d.unreadable = true
			d.problems.Errorc(CodeSyntax, Pos{d.file, 1, 1}, "this is not YAML that can be read")
		}
	}()

	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return
	case err != nil:
		d.syntax(err, data)
		return
	}
	switch err := dec.Decode(&next); {
	case errors.Is(err, io.EOF):
	case err != nil:
		d.syntax(err, data)
	default:
		d.problems.Errorc(CodeSyntax, d.pos(&next), "a second YAML document begins here; one file holds one document, remove the \"---\" or use a second file")
	}
	if len(doc.Content) == 1 {
		d.unreadable = doc.Content[0].Kind == yaml.SequenceNode || doc.Content[0].Kind == yaml.ScalarNode && !isNull(doc.Content[0])
		d.value("", doc.Content[0], reflect.ValueOf(dst).Elem())
	}
}

var (
	yamlLine      = regexp.MustCompile(`^(?:yaml: )?line (\d+): `)
	unknownAnchor = regexp.MustCompile(`unknown anchor '(.*)' referenced`)
)

// syntax reports an error of the YAML parser, which tells a line at most.
func (d *decoder) syntax(err error, data []byte) {
	d.unreadable = true
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	pos := Pos{d.file, 1, 1}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		pos.Line, _ = strconv.Atoi(m[1])
		text = strings.TrimPrefix(text, m[0])
	} else if m := unknownAnchor.FindStringSubmatch(text); m != nil {
		if i := bytes.Index(data, []byte("*"+m[1])); i >= 0 {
			pos.Line = 1 + bytes.Count(data[:i], []byte("\n"))
			pos.Col = i - bytes.LastIndexByte(data[:i], '\n')
		}
	}
	d.problems.Errorc(CodeSyntax, pos, "this is not valid YAML: %s", text)
}

// tidy sorts, drops repetitions (an alias may be read many times) and keeps
// every place inside the file: YAML counts more kinds of line break than editors do.
func tidy(ps Problems, data []byte) Problems {
	if len(ps) == 0 {
		return nil
	}
	lines := strings.Split(string(data), "\n")
	seen := map[Problem]bool{}
	var out Problems
	for _, p := range ps {
		p.Pos.Line = min(max(p.Pos.Line, 1), len(lines))
		p.Pos.Col = min(max(p.Pos.Col, 1), len([]rune(lines[p.Pos.Line-1]))+1)
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	out.Sort()
	return out
}

// checked adds what a check of the decoded values found, except about values
// that could not be read and were reported for that.
func (d *decoder) checked(found Problems) {
	for _, p := range found {
		if !d.failed[p.Pos] {
			d.problems = append(d.problems, p)
		}
	}
}

func (d *decoder) pos(n *yaml.Node) Pos {
	return Pos{d.file, max(n.Line, 1), max(n.Column, 1)}
}

// errorf reports a problem with a value; the key is named first.
func (d *decoder) errorf(n *yaml.Node, key, format string, args ...any) {
	d.errorc(CodeForm, n, key, format, args...)
}

func (d *decoder) errorc(code Code, n *yaml.Node, key, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if key != "" {
		text = key + ": " + text
		d.failed[d.pos(n)] = true
	}
	d.problems.Errorc(code, d.pos(n), "%s", text)
}

// value decodes a node into v, which is addressable, and tells whether it was
// looked at. A null leaves v alone: a key without a value is a key that is absent.
func (d *decoder) value(key string, n *yaml.Node, v reflect.Value) bool {
	if n.Kind == yaml.AliasNode {
		d.aliasDepth++
		defer func() { d.aliasDepth-- }()
		n = n.Alias
	}
	if !d.afford(n) || isNull(n) || !d.plainTag(key, n) {
		return false
	}
	switch p := v.Addr().Interface().(type) {
	case slot:
		d.value(key, n, reflect.ValueOf(p.fill(d.pos(n))).Elem())
		return true
	case nodeDecoder:
		p.decodeNode(d, key, n)
		return true
	case *timeinterval.TimeRange:
		*p = decodeTimeRange(d, key, n)
		return true
	}
	if s, ok := scalars[v.Type()]; ok {
		d.scalar(key, n, s, v)
		return true
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(key, n, v.Elem())
	case reflect.Struct:
		d.structure(key, n, v)
	case reflect.Slice:
		d.list(key, n, v)
	case reflect.Map:
		d.dict(key, n, v)
	default:
		panic("config: no decoder for " + v.Type().String())
	}
	return true
}

// afford charges a node that is read through an alias and tells whether the
// file may still expand.
func (d *decoder) afford(n *yaml.Node) bool {
	if d.aliasDepth == 0 {
		return true
	}
	d.aliasCost += 1 + len(n.Value)/100
	if d.aliasCost <= maxAliasCost {
		return true
	}
	d.problems.Errorc(CodeForm, d.pos(n), "the file's aliases expand to too much; write the values out")
	return false
}

func isNull(n *yaml.Node) bool {
	return n.Kind == 0 || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

var plainTags = []string{"!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!merge", "!!map", "!!seq", "!", ""}

func (d *decoder) plainTag(key string, n *yaml.Node) bool {
	if slices.Contains(plainTags, n.ShortTag()) {
		return true
	}
	d.errorf(n, key, "YAML tags have no meaning here; remove %s", quote(n.Tag))
	return false
}

func (d *decoder) scalar(key string, n *yaml.Node, s scalar, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.errorf(n, key, "want %s, got %s", s.want, describe(n))
		return
	}
	got, err := s.parse(n.Value)
	switch {
	case err == nil:
		v.Set(reflect.ValueOf(got).Convert(v.Type()))
	case errors.Is(err, errShape):
		d.errorf(n, key, "want %s, got %s", s.want, describe(n))
	default:
		d.errorf(n, key, "want %s, got %s; %v", s.want, describe(n), err)
	}
}

func (d *decoder) structure(key string, n *yaml.Node, v reflect.Value) {
	fields := map[string]int{}
	var known []string
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		if f.Name == "Pos" {
			v.Field(i).Set(reflect.ValueOf(d.pos(n)))
			continue
		}
		if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != "" && name != "-" {
			fields[name] = i
			known = append(known, name)
		}
	}
	for _, p := range d.pairs(key, n) {
		i, ok := fields[p.key]
		if !ok {
			d.unknown(key, p, known)
			continue
		}
		d.value(join(key, p.key), p.value, v.Field(i))
	}
}

// unknown reports a key nobody reads. Its value is not shown: it may be a secret.
func (d *decoder) unknown(key string, p pair, known []string) {
	where := ""
	if key != "" {
		where = " in " + key
	}
	if near := Nearest(p.key, known); near != "" {
		d.errorc(CodeKey, p.node, "", "unknown key %s%s; did you mean %s?", quote(p.key), where, near)
		return
	}
	d.errorc(CodeKey, p.node, "", "unknown key %s%s; known keys: %s", quote(p.key), where, strings.Join(known, ", "))
}

func (d *decoder) list(key string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.errorf(n, key, "want a list, got %s", describe(n))
		return
	}
	// Made even when empty: an empty list that is written differs from none.
	out := reflect.MakeSlice(v.Type(), 0, len(n.Content))
	for _, c := range n.Content {
		if isNull(c) || c.Kind == yaml.AliasNode && isNull(c.Alias) {
			d.errorf(c, key, "empty entry; remove it or fill it in")
			continue
		}
		e := reflect.New(v.Type().Elem()).Elem()
		if !d.value(key, c, e) {
			continue // told already; an entry without a place would be told again, of nowhere
		}
		if e.Type() == reflect.TypeFor[MatcherSet]() && c.Kind == yaml.SequenceNode && len(c.Content) == 0 {
			d.errorf(c, key, "an empty set matches every alert; add a matcher or remove it")
		}
		out = reflect.Append(out, e)
	}
	v.Set(out)
}

func (d *decoder) dict(key string, n *yaml.Node, v reflect.Value) {
	out := reflect.MakeMap(v.Type())
	for _, p := range d.pairs(key, n) {
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(join(key, p.key), p.value, e)
		out.SetMapIndex(reflect.ValueOf(p.key).Convert(v.Type().Key()), e)
	}
	v.Set(out)
}

// pair is a key and its value in a mapping.
type pair struct {
	key   string
	node  *yaml.Node // the key's
	value *yaml.Node
}

// pairs are the keys of a mapping in file order, those of merge keys last.
func (d *decoder) pairs(key string, n *yaml.Node) []pair {
	if n.Kind != yaml.MappingNode {
		d.errorf(n, key, "want a mapping (keys and values), got %s", describe(n))
		return nil
	}
	if d.merging[n] {
		d.errorf(n, key, "a mapping cannot merge itself")
		return nil
	}
	d.merging[n] = true
	defer delete(d.merging, n)

	var out []pair
	var merges []*yaml.Node
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode {
			d.errorf(k, key, "want a name as key, got %s", describe(k))
			continue
		}
		if line, dup := first[k.Value]; dup {
			d.errorc(CodeTwice, k, "", "key %s is given twice, first in line %d; remove one", quote(k.Value), line)
			continue
		}
		first[k.Value] = d.pos(k).Line
		if k.ShortTag() == "!!merge" {
			merges = append(merges, v)
			continue
		}
		out = append(out, pair{k.Value, k, v})
	}
	for _, m := range merges {
		for _, p := range d.merged(key, m) {
			if _, dup := first[p.key]; !dup {
				first[p.key] = d.pos(p.node).Line
				out = append(out, p)
			}
		}
	}
	return out
}

// merged are the pairs that the value of a merge key brings in.
func (d *decoder) merged(key string, n *yaml.Node) []pair {
	d.aliasDepth++
	defer func() { d.aliasDepth-- }()
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if !d.afford(n) {
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		for _, c := range n.Content {
			if !d.afford(c) {
				return nil
			}
		}
		return d.pairs(key, n)
	case yaml.SequenceNode:
		var out []pair
		for _, c := range n.Content {
			if c.Kind == yaml.SequenceNode {
				d.errorf(c, join(key, "<<"), "want a mapping to merge, got a list")
				continue
			}
			out = append(out, d.merged(key, c)...)
		}
		return out
	default:
		d.errorf(n, join(key, "<<"), "want a mapping to merge, got %s", describe(n))
		return nil
	}
}

func join(key, sub string) string {
	if key == "" {
		return sub
	}
	return key + "." + sub
}

// describe says what was found in place of what was wanted.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	if isNull(n) {
		return "nothing"
	}
	return quote(n.Value)
}

// quote shows a value in a message, cut when it is long.
func quote(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "..."
	}
	return strconv.Quote(s)
}

// Nearest is the name that was probably meant, "" if none is close.
func Nearest(got string, names []string) string {
	if len(got) > 64 {
		return ""
	}
	for _, name := range names {
		if got != "" && (strings.HasPrefix(name, got+"_") || strings.HasSuffix(name, "_"+got)) {
			return name
		}
	}
	best, least := "", max(1, len(got)/3)+1
	for _, name := range names {
		if dist := distance(strings.ToLower(got), name); dist < least {
			best, least = name, dist
		}
	}
	return best
}

// Meant adds the name that was probably meant, if one is close, to what can be
// done about a name that is not known.
func Meant(todo, got string, names []string) string {
	if near := Nearest(got, names); near != "" {
		return todo + "; did you mean " + near + "?"
	}
	return todo
}

// distance counts the letters to insert, remove, replace or swap with a
// neighbour to get from a to b.
func distance(a, b string) int {
	var older []int
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
		older, prev = prev, row
	}
	return prev[len(b)]
}
