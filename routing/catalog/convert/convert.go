package convert

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"callchain/config"
	"callchain/routing/catalog"
)

// Format is a kind of source.
type Format string

// The formats.
const (
	Backstage Format = "backstage" // catalog-info.yaml: Component, Resource, System, Group, User
	Datadog   Format = "datadog"   // entity.datadog.yaml, schema v3
	Table     Format = "table"     // CSV or TSV with a header row
)

// Formats lists every format.
var Formats = []Format{Backstage, Datadog, Table}

// MaxFile is the largest file that is read, in bytes.
const MaxFile = 16 << 20

// Options say what sources leave open. The zero Options are legal.
type Options struct {
	Lifecycles map[string]config.State // what a lifecycle of the source means, over the built-in ones
	OwnerTypes map[string]config.Role  // Datadog: the role that a type of additionalOwners means, over the built-in ones
	Columns    map[string]string       // Table: the field that a column holds, over the built-in names; see Fields
	Since      config.Date             // the day since when what has no owner is known to have none
	Only       []string                // of people, teams, services; empty: all
	Beside     *catalog.Catalog        // the catalog that has the rest; nil: there is none
}

// NoteKind says what a note is about.
type NoteKind string

// The kinds of notes.
const (
	Guessed NoteKind = "guessed"  // a value of the catalog that the source does not say
	LeftOut NoteKind = "left_out" // something the source says that has no place in the catalog
	Renamed NoteKind = "renamed"  // a name that was changed to be a handle
	Skipped NoteKind = "skipped"  // an entity or file of the source that becomes no entry
)

// Note is something that a person should look at before the catalog is trusted.
type Note struct {
	Pos   config.Pos // in the source
	Kind  NoteKind
	Entry string // like "service parsoid"; "" when it is about none
	Text  string
}

func (n Note) String() string {
	entry := ""
	if n.Entry != "" {
		entry = n.Entry + ": "
	}
	return fmt.Sprintf("%s: %s: %s%s", n.Pos, n.Kind, entry, n.Text)
}

// Result is a catalog file and what there is to say about it.
type Result struct {
	Catalog                 []byte
	Notes                   []Note          // in the order of their places
	Problems                config.Problems // errors; what they are about is not in the catalog
	People, Teams, Services int
}

// Holds tells whether a file that was found in a folder may hold something of
// the format: folders hold much else.
func (from Format) Holds(f config.File) bool {
	name := strings.ToLower(f.Name)
	isYAML := strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
	switch from {
	case Backstage:
		return isYAML && holdsBackstage(f)
	case Datadog:
		return isYAML && holdsDatadog(f)
	default:
		return strings.HasSuffix(name, ".csv") || strings.HasSuffix(name, ".tsv")
	}
}

// Convert makes one catalog of all the files. It ends on any input.
func Convert(from Format, files []config.File, opts Options) Result {
	b := &builder{from: from, opts: opts, entries: map[string][]*entry{}, named: map[string]map[string]*entry{}, skipped: map[string]*skipped{}, spellings: map[string][]string{}, unexplained: map[string]*unexplained{}, elsewhere: map[string]bool{}, columnsSeen: map[string]bool{}}
	files = slices.DeleteFunc(slices.Clone(files), func(f config.File) bool {
		if len(f.Data) > MaxFile {
			b.problems.Errorf(config.Pos{File: f.Name}, "the file has %d bytes, more than the %d that are read; split it", len(f.Data), MaxFile)
			return true
		}
		return false
	})
	switch from {
	case Backstage:
		b.backstage(files)
	case Datadog:
		b.datadog(files)
	case Table:
		b.table(files)
	default:
		b.problems.Errorf(config.Pos{}, "unknown format %q; want backstage, datadog or table", from)
	}
	return b.finish()
}

// The kinds of entries, and the key of the catalog they stand under.
const (
	person  = "person"
	team    = "team"
	service = "service"
)

var keyOf = map[string]string{person: "people", team: "teams", service: "services"}

// fact is a value of the catalog, where it comes from, and why it is only a guess.
type fact struct {
	value string
	pos   config.Pos
	guess string // "" for what the source says
}

// entry is one entry of the catalog as it is being put together.
type entry struct {
	kind     string
	name     string
	pos      config.Pos
	wanted   []fact // aliases, as far as nobody else wants them
	aliases  []string
	comments []string             // what has no key, for people
	fields   map[string]fact      // scalars by key; "slo.url" stands below slo
	lists    map[string][]fact    // lists of names by key
	owners   map[config.Role]fact // roles by team
	links    map[string]fact      // further links by name
	alerts   []fact               // matcher sets, each written in one string
	vacancy  map[string]fact      // director and reason of a contingency role held open
	state    config.State         // of a service
}

func (e *entry) String() string { return e.kind + " " + e.name }

type builder struct {
	from        Format
	opts        Options
	entries     map[string][]*entry
	named       map[string]map[string]*entry // by kind and name
	notes       []Note
	problems    config.Problems
	sources     []*source
	columnsSeen map[string]bool         // of Options.Columns
	unexplained map[string]*unexplained // by lifecycle
	elsewhere   map[string]bool         // teams that another file of the catalog describes
	// spellings are the other ways to write the names of teams that only services name.
	spellings map[string][]string
	skipped   map[string]*skipped
}

func (b *builder) note(pos config.Pos, kind NoteKind, e *entry, format string, args ...any) {
	n := Note{Pos: pos, Kind: kind, Text: printable(fmt.Sprintf(format, args...))}
	if e != nil {
		n.Entry = e.String()
	}
	b.notes = append(b.notes, n)
}

func (b *builder) errorf(pos config.Pos, format string, args ...any) {
	b.problems.Errorf(pos, "%s", printable(fmt.Sprintf(format, args...)))
}

// add claims a name for a new entry. original is the name in the source: it is
// kept as an alias where the handle differs from it. Nil when the name cannot be
// used; that is told.
func (b *builder) add(kind, handle, original string, pos config.Pos) *entry {
	if handle == "" {
		b.errorf(pos, "the %s has no name of which a handle can be made, got %q; give it one with letters or digits", kind, original)
		return nil
	}
	if first := b.named[kind][handle]; first != nil {
		b.errorf(pos, "the %s %q would be named %s, as the one at %s is; %s", kind, original, handle, first.pos, b.renameHint())
		return nil
	}
	e := &entry{
		kind: kind, name: handle, pos: pos, fields: map[string]fact{}, lists: map[string][]fact{},
		owners: map[config.Role]fact{}, links: map[string]fact{}, vacancy: map[string]fact{},
	}
	if b.named[kind] == nil {
		b.named[kind] = map[string]*entry{}
	}
	b.named[kind][handle] = e
	b.entries[kind] = append(b.entries[kind], e)
	if original != handle {
		if kind != person { // people have no aliases
			e.wanted = append(e.wanted, fact{value: original, pos: pos})
		}
		b.note(pos, Renamed, e, "was %q", original)
	}
	return e
}

func (b *builder) renameHint() string {
	switch b.from {
	case Backstage:
		return "rename one of the two, or give it the annotation " + prefix + "name or " + prefix + `ignore: "true"`
	case Datadog:
		return "rename one of the two, or give it the extension " + prefix + "name or " + prefix + `ignore: "true"`
	default:
		return "rename or remove one of the two"
	}
}

// set gives a scalar unless there is one already, if config takes the value.
// A value under our own prefix that is wrong is an error; one of the source's own
// is left out with a note.
func (b *builder) set(e *entry, key string, f fact) {
	if f.value == "" || e.fields[key].value != "" {
		return
	}
	if why := refusal(e.kind, key, f.value); why != "" {
		b.note(f.pos, LeftOut, e, "%s", why)
		return
	}
	e.fields[key] = f
	b.guessed(e, key, f)
}

func (b *builder) guessed(e *entry, what string, f fact) {
	if f.guess != "" {
		b.note(f.pos, Guessed, e, "%s: %s; %s", what, f.value, f.guess)
	}
}

func (b *builder) comment(e *entry, what, text string) {
	if text = clip(printable(text), maxComment); text != "" {
		e.comments = append(e.comments, what+": "+text)
	}
}

// refusal is what config says against a value, "" if nothing.
func refusal(kind, key, value string) string {
	var w writer
	w.line(0, keyOf[kind]+":", "")
	w.line(1, "- name: x", "")
	if kind == service && key != "state" {
		w.line(2, "state: active", "")
	}
	parent, sub, nested := strings.Cut(key, ".")
	switch {
	case key == "alerts":
		w.line(2, "alerts:", "")
		w.line(3, "- ["+scalar(value, true)+"]", "")
	case key == "contact":
		w.line(2, "contact: ["+scalar(value, true)+"]", "")
	case nested:
		w.line(2, parent+":", "")
		w.line(3, sub+": "+scalar(value, false), "")
	default:
		w.line(2, key+": "+scalar(value, false), "")
	}
	_, ps := config.ParseCatalog([]config.File{{Name: "-", Data: []byte(w.String())}})
	if errs := ps.Errors(); len(errs) > 0 {
		return errs[0].Text
	}
	return ""
}

// own gives a role to a team unless somebody has it.
func (b *builder) own(e *entry, r config.Role, f fact) {
	if _, taken := e.owners[r]; taken || f.value == "" || r == config.ContingencyDevelopment && len(e.vacancy) > 0 {
		return
	}
	if catalog.Requirement(e.state, r) == catalog.NotApplicable {
		b.note(f.pos, LeftOut, e, "%s owns it in the role %s, which is n/a in state %s", f.value, r, e.state)
		return
	}
	if t := b.named[team][f.value]; t != nil && t.fields["kind"].value == string(config.Volunteer) {
		b.note(f.pos, LeftOut, e, "%s: %s is a volunteer team, which never owns; it stands under volunteers, name a staff or affiliate team for the role", r, f.value)
		b.tell(e, fact{value: f.value, pos: f.pos, guess: "an owner in the source"})
		return
	}
	e.owners[r] = f
	b.guessed(e, string(r), f)
}

// tell adds a team to a service's volunteers.
func (b *builder) tell(e *entry, f fact) {
	if !slices.ContainsFunc(e.lists["volunteers"], func(v fact) bool { return v.value == f.value }) {
		e.lists["volunteers"] = append(e.lists["volunteers"], f)
		b.guessed(e, "volunteers", f)
	}
}

// mainOwner gives the one owner that a source knows the roles that this means in
// the service's state. what says where the source names it.
func (b *builder) mainOwner(e *entry, name, what string, pos config.Pos, guess string) {
	certain := fact{value: name, pos: pos, guess: guess}
	assumed := func(why string) fact { return fact{value: name, pos: pos, guess: what + why} }
	switch t := b.named[team][name]; {
	case e.state == config.Decommissioned:
		b.note(pos, LeftOut, e, "%s names %s, but a decommissioned service has no owners", what, name)
		return
	case t != nil && t.fields["kind"].value == string(config.Volunteer):
		b.note(pos, LeftOut, e, "%s names the volunteer team %s, which never owns; it stands under volunteers, name a staff or affiliate team for its roles", what, name)
		b.tell(e, fact{value: name, pos: pos, guess: what})
		return
	}
	switch e.state {
	case config.Maintenance, config.Community:
		b.own(e, config.ContingencyDevelopment, assumed(", in state "+string(e.state)+" there is no development owner"))
	case config.ThirdParty:
		b.own(e, config.ConfigurationDeployment, assumed(", of what others develop it deploys"))
	default:
		b.own(e, config.Development, certain)
	}
	b.own(e, config.IncidentResponse, assumed(""))
}

// lifecycles are what the well-known lifecycles mean. guess: the word says less
// than the state does.
var lifecycles = map[string]struct {
	state config.State
	guess string
}{
	"production":   {config.Active, ""},
	"deprecated":   {config.Maintenance, ""},
	"experimental": {config.Active, "the lifecycle is experimental"},
}

// stateOf turns a word of the source into a state. ok is false for a word that
// means nothing here, which is told once for all entries that say it.
func (b *builder) stateOf(word string, pos config.Pos) (f fact, ok bool) {
	for said, state := range b.opts.Lifecycles {
		if strings.EqualFold(said, word) {
			return fact{value: string(state), pos: pos}, true
		}
	}
	if s := config.State(underscored(word)); slices.Contains(config.States, s) {
		return fact{value: string(s), pos: pos}, true
	}
	if l, known := lifecycles[strings.ToLower(word)]; known {
		return fact{value: string(l.state), pos: pos, guess: l.guess}, true
	}
	return fact{}, false
}

// strange keeps a lifecycle that nobody explained: one word is told once.
func (b *builder) strange(e, key, word string, pos config.Pos) {
	s := b.unexplained[word]
	if s == nil {
		s = &unexplained{key, e, pos, 0}
		b.unexplained[word] = s
	}
	s.count++
}

type unexplained struct {
	key, first string
	pos        config.Pos
	count      int
}

func (b *builder) tellUnexplained() {
	for word, s := range b.unexplained {
		which := s.first
		if s.count > 1 {
			which += fmt.Sprintf(" and %d more", s.count-1)
		}
		b.errorf(s.pos, "%s: %s %s is no state, so this is left out; say what it means with --lifecycle=%q, STATE being one of %s",
			which, s.key, quoted(word), word+"=STATE", joined(config.States))
	}
}

func (b *builder) finish() Result {
	for _, src := range b.sources {
		if src.cost > maxAliasCost {
			b.errorf(config.Pos{File: src.name, Line: 1, Col: 1}, "the file's aliases expand to too much, so it was read in part; write the values out")
		}
	}
	b.tellUnexplained()
	b.beside()
	b.stubs()
	b.claimAliases()
	var w writer
	b.render(&w)
	slices.SortStableFunc(b.notes, func(x, y Note) int {
		if c := strings.Compare(x.Pos.File, y.Pos.File); c != 0 {
			return c
		}
		if x.Pos.Line != y.Pos.Line {
			return x.Pos.Line - y.Pos.Line
		}
		return x.Pos.Col - y.Pos.Col
	})
	b.problems.Sort()
	r := Result{Catalog: []byte(w.String()), Notes: b.notes, Problems: b.problems}
	for _, c := range []struct {
		n    *int
		kind string
	}{{&r.People, person}, {&r.Teams, team}, {&r.Services, service}} {
		if b.wants(c.kind) {
			*c.n = len(b.entries[c.kind])
		}
	}
	return r
}

func (b *builder) wants(kind string) bool {
	return len(b.opts.Only) == 0 || slices.Contains(b.opts.Only, keyOf[kind])
}

// stubs adds the teams that own or are told and that the source does not
// describe: somebody has to say who is in them.
func (b *builder) stubs() {
	add := func(f fact, kind config.TeamKind, of *entry) {
		t := b.named[team][f.value]
		if t != nil || b.elsewhere[f.value] {
			return
		}
		t = b.add(team, f.value, f.value, f.pos)
		if t == nil {
			return
		}
		for _, name := range b.spellings[f.value] {
			t.wanted = append(t.wanted, fact{value: name, pos: f.pos})
		}
		t.comments = append(t.comments, "named by "+of.String()+", nothing else is known: add the members, without them nobody is paged")
		b.set(t, "kind", fact{value: string(kind), pos: f.pos, guess: "the source does not describe the team"})
	}
	services := slices.Clone(b.entries[service])
	slices.SortFunc(services, func(x, y *entry) int { return strings.Compare(x.name, y.name) })
	for _, s := range services {
		for _, r := range config.Roles {
			if f, ok := s.owners[r]; ok {
				add(f, config.Staff, s)
			}
		}
	}
	for _, s := range services {
		for _, f := range s.lists["volunteers"] {
			add(f, config.Volunteer, s)
		}
	}
}

// claimAliases gives every alias to the one entry that wants it. An alias that
// two want, or that is a name, would make matching a matter of luck.
func (b *builder) claimAliases() {
	for _, kind := range []string{team, service} {
		wanted := map[string][]*entry{}
		for _, e := range b.entries[kind] {
			seen := map[string]bool{}
			for _, f := range e.wanted {
				if !seen[f.value] {
					seen[f.value] = true
					wanted[f.value] = append(wanted[f.value], e)
				}
			}
		}
		for _, e := range b.entries[kind] {
			for _, f := range e.wanted {
				other := b.named[kind][f.value]
				for _, o := range wanted[f.value] {
					if o != e {
						other = o
					}
				}
				switch {
				case other == e || f.value == "" || slices.Contains(e.aliases, f.value):
				case other != nil:
					b.note(f.pos, LeftOut, e, "the alias %q; %s at %s is or wants to be called that too", f.value, other.name, other.pos)
				default:
					e.aliases = append(e.aliases, f.value)
				}
			}
			slices.Sort(e.aliases)
		}
	}
}

// skip notes something that becomes nothing here, like an entity of a kind. All
// that are alike are one note, at the first.
func (b *builder) skip(what, like, why string, pos config.Pos) {
	i, again := b.skipped[like]
	if !again {
		i = &skipped{len(b.notes), 0}
		b.skipped[like] = i
		b.note(pos, Skipped, nil, "")
	}
	i.count++
	text := "1 " + what + " of " + like
	if i.count > 1 {
		if what == "entity" {
			what = "entitie"
		}
		text = fmt.Sprintf("%d %ss of %s, the first here", i.count, what, like)
	}
	b.notes[i.note].Text = printable(text + "; " + why)
}

// skipped is where the note about a kind of entities stands and how many they are.
type skipped struct{ note, count int }

func joined[T ~string](list []T) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = string(v)
	}
	return strings.Join(words, ", ")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
