package convert

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"callchain/config"
)

// The fields that a column may hold; the roles' names are fields too.
const (
	fieldName        = "name"
	fieldAliases     = "aliases"
	fieldDescription = "description"
	fieldSteward     = "steward"     // the team that answers for it
	fieldIndividuals = "individuals" // people who know it: a comment, never owners
	fieldConsulted   = "consulted"   // likewise
	fieldInformed    = "informed"    // likewise
	fieldVolunteers  = "volunteers"  // teams to be told
	fieldState       = "state"
	fieldTier        = "tier"
	fieldRunbook     = "runbook"
	fieldDashboard   = "dashboard"
	fieldIgnore      = "ignore" // a column that is not read
)

// Fields lists what a column of a table may hold.
func Fields() []string {
	out := []string{
		fieldName, fieldAliases, fieldDescription, fieldSteward, fieldIndividuals, fieldConsulted, fieldInformed,
		fieldVolunteers, fieldState, fieldTier, fieldRunbook, fieldDashboard, fieldIgnore,
	}
	for _, r := range config.Roles {
		out = append(out, string(r))
	}
	return out
}

// headings are the fields that the usual names of columns mean; a field's own
// name is one of them.
var headings = map[string]string{
	"component": fieldName, "service": fieldName, "project": fieldName, "extension": fieldName, "library": fieldName,
	"alias":    fieldAliases,
	"stewards": fieldSteward, "team": fieldSteward, "owner": fieldSteward, "owning_team": fieldSteward,
	"individual_maintainer": fieldIndividuals, "individual_maintainers": fieldIndividuals,
	"maintainer": fieldIndividuals, "maintainers": fieldIndividuals, "contact": fieldIndividuals, "contacts": fieldIndividuals,
	"lifecycle": fieldState, "status": fieldState,
}

// nobody is what stands in a steward's cell when there is no steward.
var nobody = []string{
	"", "-", "?", "n/a", "none", "no one", "nobody", "unassigned", "unowned", "unmaintained", "orphaned", "vacant", "tbd", "unknown",
}

func (b *builder) table(files []config.File) {
	for _, f := range files {
		b.tableFile(f)
	}
	for _, name := range sortedKeys(b.opts.Columns) {
		if len(files) > 0 && !b.columnsSeen[name] {
			b.errorf(config.Pos{File: files[0].Name, Line: 1, Col: 1}, "--column: no table has a column %s; write it as it stands in the first row", quoted(name))
		}
	}
}

func (b *builder) tableFile(f config.File) {
	top := config.Pos{File: f.Name, Line: 1, Col: 1}
	data := bytes.TrimPrefix(f.Data, []byte("\ufeff"))
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		b.errorf(top, "this is not text in UTF-8; save the table as CSV in UTF-8")
		return
	}
	r := csv.NewReader(bytes.NewReader(data))
	r.Comma = delimiter(f.Name, data)
	r.FieldsPerRecord = -1
	r.TrimLeadingSpace = r.Comma != '\t'
	head, err := r.Read()
	if errors.Is(err, io.EOF) {
		b.errorf(top, "the table is empty; its first row names the columns, like Component, Description, Steward")
		return
	}
	columns := map[string]int{}
	if err == nil {
		columns = b.columns(f.Name, head, r)
		if _, named := columns[fieldName]; !named {
			b.errorf(top, "no column holds the service's name; say which one does with --column=NAME=name, the columns are %s", strings.Join(quotedList(head), ", "))
			return
		}
	}
	for err == nil {
		var row []string
		if row, err = r.Read(); err == nil {
			b.row(f.Name, row, columns, r)
		}
	}
	if wrong := (*csv.ParseError)(nil); errors.As(err, &wrong) {
		b.errorf(config.Pos{File: f.Name, Line: max(wrong.Line, 1), Col: max(wrong.Column, 1)},
			"the table cannot be read on from here: %v; correct the row, quotes within a cell are doubled", wrong.Err)
	}
}

// delimiter is the tab for .tsv, else what stands most often in the first line.
func delimiter(name string, data []byte) rune {
	first, _, _ := bytes.Cut(data, []byte("\n"))
	if strings.HasSuffix(strings.ToLower(name), ".tsv") {
		return '\t'
	}
	best := ','
	for _, c := range []rune{';', '\t'} {
		if bytes.Count(first, []byte(string(c))) > bytes.Count(first, []byte(string(best))) {
			best = c
		}
	}
	return best
}

// columns is where each field stands. A column that nobody knows is noted.
func (b *builder) columns(file string, head []string, r *csv.Reader) map[string]int {
	out := map[string]int{}
	for i, written := range head {
		line, col := r.FieldPos(i)
		pos := config.Pos{File: file, Line: line, Col: col}
		title := unwiki(written)
		field := ""
		for said, f := range b.opts.Columns {
			if strings.EqualFold(said, title) || strings.EqualFold(said, strings.TrimSpace(written)) {
				field = f
				b.columnsSeen[said] = true
			}
		}
		if key := underscored(title); field == "" {
			if field = headings[key]; field == "" && slices.Contains(Fields(), key) {
				field = key
			}
		}
		_, taken := out[field]
		switch {
		case field == "" && title != "":
			b.note(pos, LeftOut, nil, "the column %s; say what it holds with --column=%q", quoted(title), title+"=FIELD")
		case taken && field != fieldIgnore:
			b.note(pos, LeftOut, nil, "the column %s; an earlier one holds the %s too", quoted(title), field)
		case field != "":
			out[field] = i
		}
	}
	return out
}

func (b *builder) row(file string, row []string, columns map[string]int, r *csv.Reader) {
	start := config.Pos{File: file, Line: 1, Col: 1}
	if len(row) > 0 {
		start.Line, start.Col = r.FieldPos(0)
	}
	cell := func(field string) fact {
		i, ok := columns[field]
		if !ok || i >= len(row) {
			return fact{pos: start}
		}
		line, col := r.FieldPos(i)
		return fact{value: unwiki(row[i]), pos: config.Pos{File: file, Line: line, Col: col}}
	}
	name := cell(fieldName)
	if name.value == "" {
		if strings.TrimSpace(strings.Join(row, "")) != "" {
			b.errorf(start, "the row has no name of a service; give it one or remove the row")
		}
		return
	}
	steward := cell(fieldSteward)
	_, stewards := columns[fieldSteward]
	lone := stewards && isNobody(steward.value)

	state, ok := b.tableState(name.value, cell(fieldState), lone)
	if !ok {
		return
	}
	e := b.add(service, handle(name.value), name.value, name.pos)
	if e == nil {
		return
	}
	e.state = config.State(state.value)
	b.set(e, "state", state)
	d := cell(fieldDescription)
	d.value = clip(d.value, maxDescription)
	b.set(e, "description", d)
	for _, a := range listed(cell(fieldAliases).value) {
		e.wanted = append(e.wanted, fact{value: a, pos: cell(fieldAliases).pos})
	}
	for _, field := range []string{fieldTier, fieldRunbook, fieldDashboard} {
		b.set(e, field, cell(field))
	}
	if e.state == config.Unowned {
		reason := "no steward when it was imported"
		if steward.value != "" && lone {
			reason = `the steward was "` + steward.value + `" when it was imported`
		}
		since := fact{value: b.opts.Since.Format("2006-01-02"), pos: name.pos, guess: "the day of the import"}
		if !b.opts.Since.IsZero() {
			b.set(e, "legacy.since", since)
		}
		b.set(e, "legacy.reason", fact{value: reason, pos: steward.pos})
	}
	for _, role := range config.Roles {
		if f := cell(string(role)); !isNobody(f.value) {
			f.value = b.steward(e, f, string(role))
			b.own(e, role, f)
		}
	}
	if !lone {
		if team := b.steward(e, steward, "the steward"); team != "" {
			b.mainOwner(e, team, "the steward", steward.pos, "")
		}
	}
	b.knownPeople(e, cell)
	for _, v := range listed(cell(fieldVolunteers).value) {
		f := fact{value: b.teamNamed(e, v, fieldVolunteers, cell(fieldVolunteers).pos), pos: cell(fieldVolunteers).pos}
		if f.value != "" {
			b.tell(e, f)
		}
	}
}

func isNobody(s string) bool {
	return slices.Contains(nobody, strings.ToLower(strings.Trim(s, " .()")))
}

// tableState is the state of a row. A row without an owner has one whatever
// the column says, unless that says more.
func (b *builder) tableState(name string, said fact, lone bool) (fact, bool) {
	if said.value != "" {
		f, known := b.stateOf(said.value, said.pos)
		if !known {
			b.strange(name, "the state", said.value, said.pos)
		}
		return f, known
	}
	if lone {
		return fact{value: string(config.Unowned), pos: said.pos}, true
	}
	return fact{value: string(config.Active), pos: said.pos, guess: "the table says no state"}, true
}

// "Organisation (Team)" is how wikis write a steward.
var teamInBrackets = regexp.MustCompile(`^(.+?)\s*\(([^()]+)\)$`)

// steward is the handle of the team that a cell names; of several the first.
func (b *builder) steward(e *entry, f fact, what string) string {
	names := strings.FieldsFunc(f.value, func(r rune) bool { return r == ',' || r == ';' || r == '/' })
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	names = slices.DeleteFunc(names, func(s string) bool { return s == "" })
	if len(names) == 0 {
		return ""
	}
	if len(names) > 1 {
		b.note(f.pos, LeftOut, e, "%s names several, of whom the first is taken: %s", what, f.value)
		b.comment(e, "further, named in "+what, strings.Join(names[1:], ", "))
	}
	name := names[0]
	if m := teamInBrackets.FindStringSubmatch(name); m != nil && handle(m[2]) != "" {
		name = m[2]
	}
	return b.teamNamed(e, name, what, f.pos)
}

// knownPeople keeps the people of a row as comments: they know the service, and
// own nothing.
func (b *builder) knownPeople(e *entry, cell func(string) fact) {
	for _, c := range []struct{ field, title string }{
		{fieldIndividuals, "individual maintainers"}, {fieldConsulted, "consulted"}, {fieldInformed, "informed"},
	} {
		f := cell(c.field)
		if isNobody(f.value) {
			continue
		}
		b.comment(e, c.title, f.value)
		if c.field == fieldIndividuals {
			b.note(f.pos, LeftOut, e, "%s %s; people never own: put them in a team, volunteers in one of kind volunteer that stands under volunteers", c.title, f.value)
		}
	}
}

func quotedList(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, quoted(unwiki(s)))
	}
	return out
}
