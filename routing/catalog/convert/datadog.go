package convert

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"callchain/config"
)

// datadogKinds are the kinds that become services; custom.NAME do too.
var datadogKinds = []string{"service", "datastore", "queue", "frontend", "ui", "ai_agent"}

// ownerTypes are the roles that usual types of additionalOwners mean; those that
// are a role's own name are certain.
var ownerTypes = map[config.Role][]string{
	config.Development:             {"developer", "developers", "dev", "engineering"},
	config.ContingencyDevelopment:  {"contingency"},
	config.ConfigurationDeployment: {"configuration", "config", "deployment", "deployer", "release", "release_engineering"},
	config.IncidentResponse:        {"operator", "operators", "operations", "ops", "oncall", "on_call", "sre", "incident", "incidents", "responder"},
	config.ProductManagement:       {"product", "product_owner", "product_manager", "pm"},
}

// roleOf is the role that a type of additionalOwners means, and whether somebody
// said so.
func (b *builder) roleOf(typ string) (role config.Role, certain, ok bool) {
	for said, r := range b.opts.OwnerTypes {
		if underscored(said) == underscored(typ) {
			return r, true, true
		}
	}
	for _, r := range config.Roles {
		if underscored(typ) == string(r) {
			return r, true, true
		}
	}
	for _, r := range config.Roles {
		if slices.Contains(ownerTypes[r], underscored(typ)) {
			return r, false, true
		}
	}
	return "", false, false
}

// definition is one entity of Datadog.
type definition struct {
	node
	kind, name string
	ours       ours
	heirOf     *definition // the system or entity from which it takes what it lacks
}

func (d *definition) String() string { return d.kind + " " + d.name }

// value is the definition's own, or that of the next of kin which has one.
func (d *definition) value(path ...string) (node, *definition) {
	seen := map[*definition]bool{}
	for at := d; at != nil && !seen[at]; at = at.heirOf {
		seen[at] = true
		if v := at.get(path...); v.ok() {
			return v, at
		}
	}
	return node{}, d
}

func (b *builder) datadog(files []config.File) {
	var services []*definition
	known := map[string]*definition{}
	parts := map[string]*definition{} // by part: the system that lists it
	for _, f := range files {
		for _, doc := range b.documents(f) {
			for _, v := range b.mappingsOf(doc) {
				d := b.definition(v)
				if d == nil {
					continue
				}
				if known[d.kind+":"+strings.ToLower(d.name)] == nil {
					known[d.kind+":"+strings.ToLower(d.name)] = d
				}
				if d.kind == "system" {
					for _, part := range d.get("spec", "components").items() {
						if k := entityKey(part.raw()); parts[k] == nil {
							parts[k] = d
						}
					}
				}
				if d.kind == "system" || d.kind == "application" {
					continue
				}
				services = append(services, d)
			}
		}
	}
	for _, d := range services {
		d.heirOf = parts[entityKey(d.kind+":"+d.name)]
		if from := d.get("metadata", "inheritFrom"); from.ok() {
			if d.heirOf = known[entityKey(from.raw())]; d.heirOf == nil {
				b.note(from.pos(), LeftOut, nil, "%s: inheritFrom %s, which is not among these files", d, from.raw())
			}
		}
	}
	for _, d := range services {
		b.datadogService(d)
	}
}

// entityKey is a reference like service:default/checkout without its namespace.
func entityKey(s string) string {
	kind, name, _ := strings.Cut(strings.ToLower(printable(s)), ":")
	return kind + ":" + name[strings.LastIndexByte(name, '/')+1:]
}

func (b *builder) definition(v node) *definition {
	if old := v.get("schema-version"); old.ok() {
		b.errorf(old.pos(), "schema-version %s: only apiVersion: v3 can be read; write the definition anew in v3, which Datadog offers in its Definition tab", quoted(old.raw()))
		return nil
	}
	if api := v.get("apiVersion"); api.raw() != "v3" {
		b.errorf(first(api, v).pos(), "want apiVersion: v3, got %s; leave the file out if it is none of Datadog's", quoted(api.raw()))
		return nil
	}
	d := &definition{node: v, kind: strings.ToLower(b.text(v.get("kind"), "kind")), name: b.text(v.get("metadata", "name"), "metadata.name")}
	if d.name == "" {
		b.errorf(v.pos(), "metadata.name is missing; every entity has one")
		return nil
	}
	if !slices.Contains(datadogKinds, d.kind) && !strings.HasPrefix(d.kind, "custom.") && d.kind != "system" && d.kind != "application" {
		b.skip("entity", "kind "+quoted(d.kind), "only "+strings.Join(datadogKinds, ", ")+", system and custom kinds say who owns what", v.pos())
		return nil
	}
	d.ours = b.annotated(service, v.get("extensions"))
	return d
}

func (b *builder) datadogService(d *definition) {
	if d.ours.ignored() {
		b.note(d.pos(), Skipped, nil, "%s; it says %signore", d, prefix)
		return
	}
	state, ok := b.datadogState(d)
	if !ok {
		return
	}
	e := b.add(service, cmp.Or(handle(d.ours["name"].value), handle(d.name)), d.name, d.get("metadata", "name").pos())
	if e == nil {
		return
	}
	e.state = config.State(state.value)
	b.set(e, "state", state)
	meta := d.get("metadata")
	b.description(e, meta.get("description"), meta.get("displayName"))
	b.serviceFacts(e, d.ours)
	b.datadogTier(e, d)
	b.ownersOf(e, d.ours, func(e *entry, f fact, what string) string { return b.teamNamed(e, f.value, what, f.pos) })
	b.datadogOwners(e, d)
	for _, l := range meta.get("links").items() {
		b.link(e, b.text(l.get("url"), "links.url"), printable(l.get("type").raw()), printable(l.get("name").raw()), l.pos())
	}
	for _, c := range meta.get("contacts").items() {
		contact := b.text(c.get("contact"), "contacts.contact")
		what := cmp.Or(printable(c.get("name").raw()), printable(c.get("type").raw()), "contact")
		if strings.HasPrefix(contact, "https://") || strings.HasPrefix(contact, "http://") {
			b.link(e, contact, "", what, c.pos())
		} else {
			b.comment(e, "contact", what+" "+contact)
		}
	}
	for _, i := range d.get("integrations").pairs() {
		b.skip("setting", "integrations."+printable(i.key.raw()), "what other tools need has no place in the catalog", i.key.pos())
	}
}

func (b *builder) datadogState(d *definition) (fact, bool) {
	if f, ok := d.ours["state"]; ok {
		got, known := b.stateOf(f.value, f.pos)
		if !known {
			b.errorf(f.pos, "%s: %sstate: want one of %s, got %s", d, prefix, joined(config.States), quoted(f.value))
		}
		got.guess = ""
		return got, known
	}
	v, _ := d.value("spec", "lifecycle")
	word := b.text(v, "spec.lifecycle")
	if word == "" {
		return fact{value: string(config.Active), pos: d.pos(), guess: "there is no spec.lifecycle"}, true
	}
	f, known := b.stateOf(word, v.pos())
	if !known {
		b.strange(d.String(), "spec.lifecycle", word, v.pos())
	}
	return f, known
}

var (
	tierNumber = regexp.MustCompile(`^(?:tier[ _-]?)?([0-4])$`)
	tierWords  = map[string]string{"critical": "1", "high": "2", "medium": "3", "low": "4"}
)

func (b *builder) datadogTier(e *entry, d *definition) {
	v, _ := d.value("spec", "tier")
	word := strings.ToLower(b.text(v, "spec.tier"))
	f := fact{value: tierWords[word], pos: v.pos(), guess: "spec.tier is " + quoted(word)}
	if m := tierNumber.FindStringSubmatch(word); m != nil {
		f.value, f.guess = m[1], ""
		if m[1] == "0" {
			f.value, f.guess = "1", "spec.tier is 0"
		}
	}
	if word != "" && f.value == "" {
		b.note(v.pos(), LeftOut, e, "spec.tier %s; the catalog's tiers are 1 (worst when down) to 4, write one in the extension %stier", quoted(word), prefix)
	}
	b.set(e, "tier", f)
}

func (b *builder) datadogOwners(e *entry, d *definition) {
	more, at := d.value("metadata", "additionalOwners")
	for _, o := range more.items() {
		name, typ := b.text(o.get("name"), "additionalOwners.name"), b.text(o.get("type"), "additionalOwners.type")
		role, certain, ok := b.roleOf(typ)
		if !ok && typ == "" {
			b.note(o.pos(), LeftOut, e, "the additional owner %s, who has no type that says in which role", quoted(name))
			b.comment(e, "additional owner", name)
			continue
		}
		if !ok {
			b.note(o.pos(), LeftOut, e, "the additional owner %s; say what type %s means with --owner-type=%q", quoted(name), quoted(typ), typ+"=ROLE")
			b.comment(e, "additional owner", strings.TrimSpace(name+" "+typ))
			continue
		}
		team := b.teamNamed(e, name, "additionalOwners", o.pos())
		if had, taken := e.owners[role]; taken && had.value != team && team != "" {
			b.note(o.pos(), LeftOut, e, "%s as a second owner in the role %s, which %s has", team, role, had.value)
			continue
		}
		f := fact{value: team, pos: o.pos()}
		if !certain {
			f.guess = "an additional owner of type " + quoted(typ)
		}
		if at != d {
			f.guess = "an additional owner of " + at.String()
		}
		b.own(e, role, f)
	}
	v, at := d.value("metadata", "owner")
	what, guess := "metadata.owner", ""
	if at != d {
		what = "metadata.owner of " + at.String()
		guess = what
	}
	name := b.text(v, "metadata.owner")
	if name == "" {
		if v.ok() {
			return // told already
		}
		b.note(d.pos(), LeftOut, e, "it has no metadata.owner, so nothing is known about its development")
		return
	}
	if team := b.teamNamed(e, name, what, v.pos()); team != "" {
		b.mainOwner(e, team, what, v.pos(), guess)
	}
}

// teamNamed is the handle of a team that is named plainly, "" if it can be none.
func (b *builder) teamNamed(e *entry, name, what string, pos config.Pos) string {
	if strings.Contains(name, "@") {
		b.comment(e, "contact, named in "+what, name)
		b.note(pos, LeftOut, e, "%s names the person %s; people never own, so the role stays open: name a team", what, name)
		return ""
	}
	h := handle(name)
	if h == "" {
		b.errorf(pos, "%s: %s: want a team's name, got %s", e, what, quoted(name))
		return ""
	}
	b.original(h, name)
	return h
}

// original remembers how the source writes a team's name: alerts may say it so.
func (b *builder) original(h, name string) {
	if h != name && !slices.Contains(b.spellings[h], name) {
		b.spellings[h] = append(b.spellings[h], name)
	}
}
