package convert

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"callchain/config"
)

// ref is Backstage's reference to an entity, in lower case.
type ref struct{ kind, namespace, name string }

func (r ref) String() string { return r.kind + ":" + r.namespace + "/" + r.name }

// handle is the name of what the reference means here.
func (r ref) handle() string {
	if r.namespace != "default" {
		return handle(r.namespace + "-" + r.name)
	}
	return handle(r.name)
}

// parseRef reads [KIND:][NAMESPACE/]NAME.
func parseRef(s, kind, namespace string) (ref, bool) {
	if before, after, has := strings.Cut(s, ":"); has {
		kind, s = before, after
	}
	if before, after, has := strings.Cut(s, "/"); has {
		namespace, s = before, after
	}
	r := ref{strings.ToLower(kind), strings.ToLower(namespace), strings.ToLower(s)}
	legal := r.kind != "" && r.namespace != "" && r.name != "" && !strings.ContainsAny(r.name, ":/ @") && !strings.ContainsAny(r.namespace, ": ")
	return r, legal && handle(r.name) != ""
}

// personNamed is the handle of a person that an annotation names, as a
// reference or plainly.
func personNamed(s string) string {
	if r, ok := parseRef(s, "user", "default"); ok {
		return r.handle()
	}
	return handle(s)
}

// entity is one document of a Backstage file.
type entity struct {
	node
	ref  ref
	name string // as it was written
	ours ours
}

type backstage struct {
	*builder
	groups, users, systems map[ref]*entity
	services               []*entity
	people                 map[ref]*entry // those who can be reached
	members                map[ref][]fact // of a group, as users say it
}

func (b *builder) backstage(files []config.File) {
	s := backstage{builder: b, groups: map[ref]*entity{}, users: map[ref]*entity{}, systems: map[ref]*entity{}, people: map[ref]*entry{}, members: map[ref][]fact{}}
	var groups, users []*entity
	for _, f := range files {
		for _, doc := range b.documents(f) {
			for _, d := range s.mappingsOf(doc) {
				switch e := s.read(d); {
				case e == nil:
				case e.ref.kind == "group":
					s.groups[e.ref] = e
					groups = append(groups, e)
				case e.ref.kind == "user":
					s.users[e.ref] = e
					users = append(users, e)
				case e.ref.kind == "system":
					s.systems[e.ref] = e
					s.skip("entity", `kind "System"`, "its components take from it what they do not say: spec.owner and annotations under "+prefix, d.pos())
				default:
					s.services = append(s.services, e)
				}
			}
		}
	}
	for _, e := range users {
		s.user(e)
	}
	// The kinds of all teams are known before the first owner is.
	for _, e := range groups {
		s.group(e)
	}
	for _, e := range s.services {
		s.service(e)
	}
}

// The kinds of Backstage that become something here.
var backstageKinds = map[string]string{"component": service, "resource": service, "system": service, "group": team, "user": person}

// read takes the envelope of an entity; nil when it becomes nothing here.
func (s *backstage) read(d node) *entity {
	api, kind := d.get("apiVersion").raw(), printable(d.get("kind").raw())
	if !strings.HasPrefix(api, "backstage.io/") {
		if api == "" && kind == "" {
			s.errorf(d.pos(), "this is no entity of Backstage, which begins with apiVersion: backstage.io/v1alpha1 and kind; leave the file out, or choose another --from")
			return nil
		}
		s.skip("entity", "kind "+quoted(kind), "only those with an apiVersion of backstage.io are read", d.pos())
		return nil
	}
	as, known := backstageKinds[strings.ToLower(kind)]
	if !known {
		s.skip("entity", "kind "+quoted(kind), "only Component, Resource, System, Group and User say who owns what", d.pos())
		return nil
	}
	meta := d.get("metadata")
	written := s.text(meta.get("name"), "metadata.name")
	if strings.Contains(written, "{{") {
		s.skip("entity", "kind "+quoted(kind), "their names are placeholders of a template", d.pos())
		return nil
	}
	r, ok := parseRef(written, kind, cmp.Or(s.text(meta.get("namespace"), "metadata.namespace"), "default"))
	if !ok || strings.ContainsAny(written, ":/") {
		if at := meta.get("name"); at.ok() && written == "" {
			return nil // told already
		}
		s.errorf(first(meta.get("name"), d).pos(), "metadata.name: want a name of letters, digits, '-', '_' and '.', got %s", quoted(written))
		return nil
	}
	return &entity{node: d, ref: r, name: written, ours: s.annotated(as, meta.get("annotations"))}
}

// entry makes the entry for an entity; nil when there can be none.
func (s *backstage) entry(e *entity, kind string) *entry {
	if e.ours.ignored() {
		s.note(e.pos(), Skipped, nil, "%s %s; it says %signore", e.ref.kind, e.name, prefix)
		if kind == team {
			s.elsewhere[cmp.Or(handle(e.ours["name"].value), e.ref.handle())] = true
		}
		return nil
	}
	// The name as it was written, without a namespace, is what alerts say.
	return s.add(kind, cmp.Or(handle(e.ours["name"].value), e.ref.handle()), e.name, e.get("metadata", "name").pos())
}

func (s *backstage) user(e *entity) {
	email := s.text(e.get("spec", "profile", "email"), "spec.profile.email")
	if email == "" && e.ours["email"].value == "" && e.ours["slack"].value == "" && !e.ours.ignored() {
		s.note(e.pos(), Skipped, nil, "user %s; no page could reach somebody without spec.profile.email and %sslack", e.name, prefix)
		return
	}
	p := s.entry(e, person)
	if p == nil {
		return
	}
	s.scalars(p, e.ours, "email", "slack", "phone", "timezone")
	s.set(p, "email", fact{value: email, pos: e.get("spec", "profile", "email").pos()})
	for _, c := range listed(e.ours["contact"].value) {
		if why := refusal(person, "contact", c); why != "" {
			s.errorf(e.ours["contact"].pos, "%s: %s; correct the annotation %scontact", p, why, prefix)
			continue
		}
		p.lists["contact"] = append(p.lists["contact"], fact{value: c, pos: e.ours["contact"].pos})
	}
	if p.fields["email"].value == "" && p.fields["slack"].value == "" {
		s.drop(p, "no page could reach them: neither e-mail address nor Slack id can be used")
		return
	}
	s.people[e.ref] = p
	for _, m := range e.get("spec", "memberOf").items() {
		text := s.text(m, "spec.memberOf")
		g, ok := parseRef(text, "group", e.ref.namespace)
		if !ok {
			s.errorf(m.pos(), "spec.memberOf: want a group like group:default/platform, got %s", quoted(text))
			continue
		}
		s.members[g] = append(s.members[g], fact{value: p.name, pos: m.pos()})
	}
}

// drop takes back the entry that was added last.
func (b *builder) drop(e *entry, why string) {
	b.note(e.pos, Skipped, nil, "%s; %s", e, why)
	delete(b.named[e.kind], e.name)
	b.entries[e.kind] = b.entries[e.kind][:len(b.entries[e.kind])-1]
}

func (s *backstage) group(e *entity) {
	t := s.entry(e, team)
	if t == nil {
		return
	}
	if kind := e.ours["kind"]; kind.value != "" {
		s.must(t, "kind", kind)
	}
	s.set(t, "kind", fact{value: string(config.Staff), pos: e.pos(), guess: "no annotation " + prefix + "kind"})
	for _, a := range listed(e.ours["aliases"].value) {
		t.wanted = append(t.wanted, fact{value: a, pos: e.ours["aliases"].pos})
	}
	s.teamMembers(t, e)
	for _, key := range []string{"lead", "manager", "director"} {
		if f := s.inherited(e, key); f.value != "" {
			f.value = personNamed(f.value)
			t.fields[key] = f
			s.guessed(t, key, f)
			if f.guess == "" && s.named[person][f.value] == nil {
				s.note(f.pos, LeftOut, t, "the %s %s is no User of these files; until the person is in the catalog nobody stands there", key, f.value)
			}
		}
	}
	s.scalars(t, e.ours, "slack_channel", "slack_usergroup", "email", "on_call")
	s.set(t, "email", fact{value: s.text(e.get("spec", "profile", "email"), "spec.profile.email"), pos: e.get("spec", "profile", "email").pos()})
	for _, w := range listed(e.ours["webhooks"].value) {
		t.lists["webhooks"] = append(t.lists["webhooks"], fact{value: w, pos: e.ours["webhooks"].pos})
	}
}

// inherited is a group's annotation; for manager and director that of the
// nearest group above which has one, as a guess.
func (s *backstage) inherited(e *entity, key string) fact {
	f := e.ours[key]
	seen := map[ref]bool{}
	for g := e; f.value == "" && key != "lead" && g != nil && !seen[g.ref]; {
		seen[g.ref] = true
		parent := g.get("spec", "parent")
		r, ok := parseRef(printable(parent.raw()), "group", g.ref.namespace)
		if !ok {
			break
		}
		if g = s.groups[r]; g != nil && g.ours[key].value != "" {
			f = g.ours[key]
			f.guess = "that of the parent " + r.String()
		}
	}
	return f
}

func (s *backstage) teamMembers(t *entry, e *entity) {
	var members []fact
	var strangers []string
	for _, m := range e.get("spec", "members").items() {
		text := s.text(m, "spec.members")
		u, ok := parseRef(text, "user", e.ref.namespace)
		switch p := s.people[u]; {
		case !ok:
			s.errorf(m.pos(), "spec.members: want a user like user:default/amira, got %s", quoted(text))
		case p == nil && s.opts.Beside != nil && s.opts.Beside.Person(u.handle()) != nil:
			members = append(members, fact{value: u.handle(), pos: m.pos()})
		case p == nil:
			strangers = append(strangers, text)
			s.note(m.pos(), LeftOut, t, "member %s, who is not among the people of these files", text)
		default:
			members = append(members, fact{value: p.name, pos: m.pos()})
		}
	}
	members = append(members, s.members[e.ref]...)
	slices.SortStableFunc(members, func(x, y fact) int { return strings.Compare(x.value, y.value) })
	t.lists["members"] = slices.CompactFunc(members, func(x, y fact) bool { return x.value == y.value })
	s.comment(t, "members who are not in the catalog", strings.Join(strangers, ", "))
	if len(members) == 0 {
		t.comments = append(t.comments, "nobody is in this team yet: add members, without them nobody is paged")
	}
}

// system is what a component takes from its system: what the component does not say.
func (s *backstage) system(e *entity) *entity {
	r, ok := parseRef(printable(e.get("spec", "system").raw()), "system", e.ref.namespace)
	if !ok {
		return nil
	}
	return s.systems[r]
}

func (s *backstage) service(e *entity) {
	sys := s.system(e)
	if sys != nil {
		for key, f := range sys.ours {
			if _, own := e.ours[key]; !own && !slices.Contains([]string{"name", "ignore", "aliases", "alerts"}, key) {
				e.ours[key] = sys.absolute(key, f)
			}
		}
	}
	// A state is asked for first: an entity whose lifecycle nobody understands
	// is told of and takes no name.
	state, ok := s.lifecycle(e)
	if !ok {
		return
	}
	svc := s.entry(e, service)
	if svc == nil {
		return
	}
	svc.state = config.State(state.value)
	s.set(svc, "state", state)
	meta := e.get("metadata")
	if id := meta.get("annotations", "backstage.io/kubernetes-id"); id.ok() && handle(id.raw()) != "" {
		svc.wanted = append(svc.wanted, fact{value: printable(id.raw()), pos: id.pos()})
	}
	if strings.EqualFold(meta.get("annotations", "backstage.io/orphan").raw(), "true") {
		s.note(e.pos(), LeftOut, svc, "Backstage calls it an orphan: no file names it any more; does it still run?")
	}
	s.description(svc, meta.get("description"), meta.get("title"))
	s.serviceFacts(svc, e.ours)
	s.ownersOf(svc, e.ours, func(svc *entry, f fact, what string) string { return s.owner(svc, e, f.value, what, f.pos) })
	s.specOwner(svc, e, sys)
	for _, l := range meta.get("links").items() {
		url := l.get("url")
		s.link(svc, s.text(url, "links.url"), printable(l.get("type").raw()), printable(l.get("title").raw()), first(url, l).pos())
	}
}

// absolute is an annotation whose references mean the same in every namespace.
func (e *entity) absolute(key string, f fact) fact {
	if key != "owner" && key != "volunteers" && !strings.HasPrefix(key, "owner.") {
		return f
	}
	names := listed(f.value)
	for i, n := range names {
		if r, ok := parseRef(n, "group", e.ref.namespace); ok {
			names[i] = r.String()
		}
	}
	f.value = strings.Join(names, ", ")
	return f
}

func (s *backstage) lifecycle(e *entity) (fact, bool) {
	what := e.ref.kind + " " + e.name
	if f, ok := e.ours["state"]; ok {
		f2, known := s.stateOf(f.value, f.pos)
		if !known {
			s.errorf(f.pos, "%s: %sstate: want one of %s, got %s", what, prefix, joined(config.States), quoted(f.value))
		}
		f2.guess = ""
		return f2, known
	}
	v := e.get("spec", "lifecycle")
	word := s.text(v, "spec.lifecycle")
	if word == "" {
		return fact{value: string(config.Active), pos: e.pos(), guess: "there is no spec.lifecycle"}, true
	}
	f, known := s.stateOf(word, v.pos())
	if !known {
		s.strange(what, "spec.lifecycle", word, v.pos())
	}
	return f, known
}

func (s *backstage) specOwner(svc *entry, e, sys *entity) {
	from, what, guess := e, "spec.owner of the "+e.ref.kind, ""
	if !e.get("spec", "owner").ok() && sys != nil {
		from, what = sys, "spec.owner of the system "+sys.name
		guess = what
	}
	v := from.get("spec", "owner")
	text := s.text(v, "spec.owner")
	if text == "" && v.ok() {
		return // told already
	}
	if text == "" {
		s.note(e.pos(), LeftOut, svc, "it has no spec.owner, so nothing is known about its roles")
		return
	}
	if name := s.owner(svc, from, text, what, v.pos()); name != "" {
		s.mainOwner(svc, name, what, v.pos(), guess)
	}
}

// owner is the handle of the team that a reference means, "" if it means none.
func (s *backstage) owner(svc *entry, e *entity, text, what string, pos config.Pos) string {
	r, ok := parseRef(text, "group", e.ref.namespace)
	g := s.groups[r]
	if ok && g == nil && !strings.Contains(text, ":") && s.users[ref{"user", r.namespace, r.name}] != nil {
		r.kind = "user" // the name is a person's, whatever the reference means in Backstage
	}
	switch {
	case strings.Contains(text, "@") || ok && r.kind == "user":
		s.comment(svc, "contact, named in "+what, text)
		s.note(pos, LeftOut, svc, "%s names the person %s; people never own, so the role stays open: name a team", what, text)
		return ""
	case !ok || r.kind != "group":
		s.errorf(pos, "%s: %s: want a group like group:default/platform, got %s", svc, what, quoted(text))
		return ""
	}
	if g != nil {
		return cmp.Or(handle(g.ours["name"].value), r.handle())
	}
	s.original(r.handle(), text[strings.LastIndexAny(text, ":/")+1:])
	return r.handle()
}

// description keeps what people wrote about the service, or at least its title.
func (b *builder) description(e *entry, v, title node) {
	if v.isMapping() {
		b.note(v.pos(), LeftOut, e, "the description, which stands in another file")
	} else if text := b.text(v, "description"); text != "" {
		b.set(e, "description", fact{value: clip(text, maxDescription), pos: v.pos()})
	}
	b.set(e, "description", fact{value: clip(b.text(title, "title"), maxDescription), pos: title.pos()})
}

// link keeps a link: as runbook or dashboard if it says so, else under its title.
func (b *builder) link(e *entry, url, kind, title string, pos config.Pos) {
	if url == "" {
		return
	}
	for _, key := range []string{"runbook", "dashboard"} {
		f := fact{value: url, pos: pos}
		if !strings.EqualFold(kind, key) {
			if !strings.Contains(strings.ToLower(title), key) {
				continue
			}
			f.guess = "by the link's title " + quoted(title)
		}
		if e.fields[key].value == "" {
			b.set(e, key, f)
			return
		}
	}
	if why := refusal(service, "links.x", url); why != "" {
		b.note(pos, LeftOut, e, "%s", strings.Replace(why, "services.links.x", "link", 1))
		return
	}
	base := cmp.Or(handle(title), handle(kind), "link")
	name := base
	for i := 2; e.links[name].value != "" && e.links[name].value != url; i++ {
		name = base + "-" + strconv.Itoa(i)
	}
	e.links[name] = fact{value: url, pos: pos}
}

var ofBackstage = regexp.MustCompile(`(?m)^[ \t"'-]*apiVersion["']?:\s*["']?backstage\.io/`)

func holdsBackstage(f config.File) bool {
	return strings.HasPrefix(base(f.Name), "catalog-info.y") || ofBackstage.Match(f.Data)
}

func base(path string) string {
	return path[strings.LastIndexAny(path, `/\`)+1:]
}

var ofDatadog = regexp.MustCompile(`(?m)^[ \t"'-]*apiVersion["']?:\s*["']?v3["']?\s*$`)

func holdsDatadog(f config.File) bool {
	return strings.Contains(base(f.Name), ".datadog.y") || ofDatadog.Match(f.Data)
}
