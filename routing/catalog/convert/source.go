package convert

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"callchain/config"
)

// maxAliasCost bounds what is read of one file through aliases and merge keys,
// so that a few lines that refer to each other do not become gigabytes. What is
// written out is free.
const maxAliasCost = 100_000

// source is a file being read.
type source struct {
	name string
	cost int
}

// node is a value of a YAML file; the zero node is an absent one.
type node struct {
	src     *source
	n       *yaml.Node
	aliased bool // reached through an alias
}

// afford charges what is read through an alias and tells whether the file may
// still expand. A file that may not is told of in finish.
func (v node) afford(n int) bool {
	if v.aliased {
		v.src.cost += n
	}
	return v.src.cost <= maxAliasCost
}

// documents reads every document of a file. What is wrong with the file is told
// with its line; then there are no documents.
func (b *builder) documents(f config.File) (docs []node) {
	src := &source{name: f.Name}
	b.sources = append(b.sources, src)
	// The YAML library answers some malformed input by panicking.
	defer func() {
		if recover() != nil {
			docs = nil
			b.errorf(config.Pos{File: f.Name, Line: 1, Col: 1}, "this is not YAML that can be read; correct it or leave the file out")
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(f.Data))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			b.unreadable(f, err)
			return nil
		}
		if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
			if root := (node{src: src}).to(doc.Content[0]); root.ok() {
				docs = append(docs, root)
			}
		}
	}
}

var (
	yamlLine  = regexp.MustCompile(`^(?:yaml: )?line (\d+): `)
	templated = regexp.MustCompile(`\{\{|\{%`)
)

func (b *builder) unreadable(f config.File, err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	pos := config.Pos{File: f.Name, Line: 1, Col: 1}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		pos.Line, _ = strconv.Atoi(m[1])
		text = strings.TrimPrefix(text, m[0])
	}
	if templated.Match(f.Data) {
		b.note(pos, Skipped, nil, "the file; it is a template and no YAML by itself")
		return
	}
	b.errorf(pos, "this is not valid YAML: %s; correct it or leave the file out", text)
}

// ok tells whether there is a value; a null is none.
func (v node) ok() bool {
	return v.n != nil && v.n.Kind != 0 && !(v.n.Kind == yaml.ScalarNode && v.n.ShortTag() == "!!null")
}

func (v node) isMapping() bool { return v.n != nil && v.n.Kind == yaml.MappingNode }

func (v node) pos() config.Pos {
	if v.n == nil {
		return config.Pos{}
	}
	return config.Pos{File: v.src.name, Line: max(v.n.Line, 1), Col: max(v.n.Column, 1)}
}

// to is a part of the value, through the alias that may stand there.
func (v node) to(n *yaml.Node) node {
	out := node{v.src, n, v.aliased}
	if n != nil && n.Kind == yaml.AliasNode {
		out.n, out.aliased = n.Alias, true // never an alias again: an anchor stands on a value
	}
	if !out.afford(1) {
		return node{src: v.src}
	}
	return out
}

// get is the value at the end of a path of keys; absent when there is none.
func (v node) get(path ...string) node {
	for _, key := range path {
		found := node{src: v.src}
		for _, p := range v.pairs() {
			if p.key.n.Value == key {
				found = p.value
				break
			}
		}
		v = found
	}
	return v
}

// items are the values of a list.
func (v node) items() []node {
	if v.n == nil || v.n.Kind != yaml.SequenceNode {
		return nil
	}
	var out []node
	for _, c := range v.n.Content {
		if item := v.to(c); item.ok() {
			out = append(out, item)
		}
	}
	return out
}

type pair struct{ key, value node }

// pairs are the keys and values of a mapping in file order, those of merge keys
// last. Merging goes one level deep: more is rare, and a mapping that merges
// itself has no end.
func (v node) pairs() []pair {
	out, merged := v.written()
	for _, m := range merged {
		list := []node{m}
		if !m.isMapping() {
			list = m.items()
		}
		for _, from := range list {
			more, _ := from.written()
			out = append(out, more...)
		}
	}
	return out
}

// written are the keys that stand in the mapping itself, and what it merges.
func (v node) written() (out []pair, merged []node) {
	if !v.isMapping() || !v.afford(len(v.n.Content)) {
		return nil, nil
	}
	for i := 0; i+1 < len(v.n.Content); i += 2 {
		k, value := v.to(v.n.Content[i]), v.to(v.n.Content[i+1])
		switch {
		case k.n == nil || k.n.Kind != yaml.ScalarNode:
		case k.n.ShortTag() == "!!merge":
			value.aliased = true
			merged = append(merged, value)
		default:
			out = append(out, pair{k, value})
		}
	}
	return out, merged
}

// raw is a scalar as it was written, "" for what is none.
func (v node) raw() string {
	if !v.ok() || v.n.Kind != yaml.ScalarNode {
		return ""
	}
	return v.n.Value
}

// text is a scalar as one line; anything else in its place is an error.
func (b *builder) text(v node, key string) string {
	if v.ok() && v.n.Kind != yaml.ScalarNode {
		b.errorf(v.pos(), "%s: want one text, got %s; write a single value", key, describe(v))
		return ""
	}
	return printable(v.raw())
}

func describe(v node) string {
	if v.n.Kind == yaml.MappingNode {
		return "a mapping"
	}
	return "a list"
}

// first is the first of the values that is there, for a place.
func first(values ...node) node {
	for _, v := range values {
		if v.n != nil {
			return v
		}
	}
	return node{}
}

// mappingsOf are the entities of a document: itself, or those of the list that
// an export is. What holds none is an error.
func (b *builder) mappingsOf(doc node) []node {
	if doc.isMapping() {
		return []node{doc}
	}
	var out []node
	for _, item := range doc.items() {
		if item.isMapping() {
			out = append(out, item)
		}
	}
	if len(out) == 0 {
		b.errorf(doc.pos(), "want an entity with kind and metadata; leave the file out if it is none of %s's", titles[b.from])
	}
	return out
}

func quoted(s string) string { return fmt.Sprintf("%q", clip(s, 60)) }
