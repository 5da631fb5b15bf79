package convert

import (
	"slices"
	"strings"

	"callchain/config"
	"callchain/routing/catalog"
)

// beside takes out what the catalog that the import will stand beside has
// already: its entries are kept by hand, and two of one name would refuse both.
// Its teams own under the name that they have there.
func (b *builder) beside() {
	known := b.opts.Beside
	if known == nil {
		return
	}
	for _, kind := range []string{person, team, service} {
		b.entries[kind] = slices.DeleteFunc(b.entries[kind], func(e *entry) bool {
			name, at := there(known, kind, e.name)
			if name == "" {
				e.wanted = slices.DeleteFunc(e.wanted, func(f fact) bool {
					other, at := there(known, kind, f.value)
					if other != "" {
						b.note(f.pos, LeftOut, e, "the alias %q; %s at %s is called that already", f.value, other, at)
					}
					return other != ""
				})
				return false
			}
			b.forget(func(n Note) bool { return n.Entry == e.String() })
			delete(b.named[kind], e.name)
			as := "it"
			if name != e.name {
				as = name
			}
			b.note(e.pos, Skipped, e, "the catalog beside this has %s at %s; that entry stays as it is, so compare the two by hand", as, at)
			return true
		})
	}
	for _, s := range b.entries[service] {
		for _, role := range config.Roles {
			f, ok := s.owners[role]
			t := known.Team(f.value)
			switch {
			case !ok || t == nil:
			case t.MayOwn():
				f.value = t.Name
				s.owners[role] = f
				b.elsewhere[t.Name] = true
			default:
				delete(s.owners, role)
				b.forget(func(n Note) bool {
					return n.Entry == s.String() && n.Kind == Guessed && strings.HasPrefix(n.Text, string(role)+": ")
				})
				b.note(f.pos, LeftOut, s, "%s by %s; that is a team of volunteers, who never own: it is told instead", role, t.Name)
				b.tell(s, fact{value: t.Name, pos: f.pos})
			}
		}
		for i, f := range s.lists["volunteers"] {
			if t := known.Team(f.value); t != nil {
				s.lists["volunteers"][i].value = t.Name
				b.elsewhere[t.Name] = true
			}
		}
	}
}

// there is the entry of a catalog that has a name or alias, and its place.
func there(c *catalog.Catalog, kind, name string) (string, config.Pos) {
	switch kind {
	case person:
		if p := c.Person(name); p != nil {
			return p.Handle, p.Pos
		}
	case team:
		if t := c.Team(name); t != nil {
			return t.Name, t.Pos
		}
	default:
		if s := c.Service(name); s != nil {
			return s.Name, s.Pos
		}
	}
	return "", config.Pos{}
}

// forget takes notes back. Nothing is skipped by number after it.
func (b *builder) forget(which func(Note) bool) { b.notes = slices.DeleteFunc(b.notes, which) }
