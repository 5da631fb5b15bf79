package diff

import (
	"cmp"
	"slices"
)

// pairs tells which entry of NEW continues which entry of OLD.
type pairs[T comparable] struct {
	to     map[T]T    // old -> new; merged ones too
	from   map[T]T    // new -> the old one that it is, by name or by rename
	merged map[T]bool // old ones that became part of another
}

// match pairs the entries of one kind: by name, else the new entry that lists the
// old name as an alias. Where that entry continues another one already, the old
// one is merged into it.
func match[T comparable](old, new []T, name func(T) string, find func(string) T) pairs[T] {
	p := pairs[T]{map[T]T{}, map[T]T{}, map[T]bool{}}
	var zero T
	for _, o := range old {
		if n := find(name(o)); n != zero && name(n) == name(o) {
			p.to[o], p.from[n] = n, o
		}
	}
	for _, o := range old {
		if _, done := p.to[o]; done {
			continue
		}
		n := find(name(o))
		if n == zero || !slices.Contains(new, n) {
			continue
		}
		p.to[o] = n
		if _, taken := p.from[n]; taken {
			p.merged[o] = true
		} else {
			p.from[n] = o
		}
	}
	return p
}

func (c *comparison) match() {
	c.services = match(c.old.services, c.new.services, serviceName, c.new.Catalog.Service)
	c.teams = match(c.old.teams, c.new.teams, teamName, c.new.Catalog.Team)
}

// lists compares two lists as sets: what only one of them has, sorted.
func lists(old, new []string) (gone, come []string) {
	had, has := map[string]bool{}, map[string]bool{}
	for _, s := range old {
		had[s] = true
	}
	for _, s := range new {
		has[s] = true
		if !had[s] {
			come = append(come, s)
		}
	}
	for _, s := range old {
		if !has[s] {
			gone = append(gone, s)
		}
	}
	slices.SortFunc(gone, cmp.Compare)
	slices.SortFunc(come, cmp.Compare)
	return slices.Compact(gone), slices.Compact(come)
}
