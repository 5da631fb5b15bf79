package diff

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing/catalog"
	"callchain/routing/oncall"
)

func teamName(t *catalog.Team) string { return t.Name }

func teamNames(teams []*catalog.Team) []string {
	out := make([]string, len(teams))
	for i, t := range teams {
		out[i] = t.Name
	}
	return out
}

// id is the name by which a team of OLD is meant on both sides: its name in NEW
// after a rename. A team that was merged into another keeps its own, because the
// other one takes its roles on.
func (c *comparison) id(t *catalog.Team) string {
	if n := c.teams.to[t]; n != nil && !c.teams.merged[t] {
		return n.Name
	}
	return t.Name
}

// named is the team that somebody wrote, by name or alias of either side.
func (c *comparison) named(name string) string {
	// A name of OLD comes first: a merged team may still agree under its own.
	if t := c.old.Catalog.Team(name); t != nil && t.Name == name {
		return c.id(t)
	}
	if t := c.new.Catalog.Team(name); t != nil {
		return t.Name
	}
	if t := c.old.Catalog.Team(name); t != nil {
		return c.id(t)
	}
	return name
}

func (c *comparison) compareTeams() {
	owing := c.owing()
	for _, n := range c.new.teams {
		o := c.teams.from[n]
		if o == nil {
			c.change("team", n.Name, "added", "", sorted(memberNames(n)), n.Pos)
			continue
		}
		c.plainTeam(o, n)
		f := Finding{Severity: Error, Team: n.Name, HandOver: owing[o]}
		switch {
		case len(f.HandOver) == 0:
		case !n.MayOwn() && o.MayOwn():
			f.Code, f.Text = CodeTeamVolunteer, "team "+n.Name+" is of volunteers now, and still owns "+services(f.HandOver)
			f.Reason, f.Remedy = "volunteers are told, and never have to answer", "hand these over to a staff or affiliate team first"
			c.find(f, n.Pos)
		case len(n.Members) == 0:
			f.Code, f.Text = CodeTeamEmpty, "team "+n.Name+" loses all its members, and still owns "+services(f.HandOver)
			f.Reason, f.Remedy = "a page to it would reach nobody", "hand these over to a team with people first, or keep people in it until that is done"
			c.find(f, n.Pos)
		}
	}
	for _, o := range c.old.teams {
		n := c.teams.to[o]
		switch {
		case n == nil:
			c.change("team", o.Name, "removed", sorted(memberNames(o)), "", o.Pos)
			if list := owing[o]; len(list) > 0 {
				c.find(Finding{
					Code: CodeTeamGone, Severity: Error, In: inOld, Team: o.Name, HandOver: list,
					Text:   "team " + o.Name + " is gone, and still owns " + services(list),
					Reason: "what it owned would be answered for by nobody",
					Remedy: "hand these over first; if the team only has a new name, list the old one under aliases of the new entry",
				}, o.Pos)
			}
		case c.teams.merged[o]:
			c.change("team", o.Name, "removed", sorted(memberNames(o)), "part of "+n.Name, n.Pos)
			c.find(Finding{
				Code: CodeTeamMerged, Severity: Info, Team: n.Name, From: o.Name, To: n.Name,
				Text:   "team " + o.Name + " becomes a part of " + n.Name,
				Reason: "the roles that it held go to " + n.Name + ", which must want them",
			}, n.Pos)
		}
	}
}

// owing are, for each team of OLD that can own no longer, the services that NEW
// leaves with it: those that still name it, and those whose role it held and
// nobody holds now.
func (c *comparison) owing() map[*catalog.Team][]ServiceRoles {
	able := func(t *catalog.Team) bool {
		n := c.teams.to[t]
		return n != nil && n.MayOwn() && len(n.Members) > 0
	}
	out := map[*catalog.Team][]ServiceRoles{}
	add := func(t *catalog.Team, n *catalog.Service, r config.Role) {
		list := out[t]
		if i := len(list) - 1; i >= 0 && list[i].Service == n.Name {
			list[i].Roles = append(list[i].Roles, r)
		} else {
			list = append(list, ServiceRoles{n.Name, []config.Role{r}})
		}
		out[t] = list
		if c.covered[n] == nil {
			c.covered[n] = map[config.Role]bool{}
		}
		c.covered[n][r] = true
	}
	for _, n := range c.new.services {
		if !known(n.State) {
			continue
		}
		o := c.services.from[n]
		for _, r := range config.Roles {
			if catalog.Requirement(n.State, r) == catalog.NotApplicable || n.Filled(r) {
				continue
			}
			if name, written := ownerName(n.Entry, r); written {
				t := c.old.Catalog.Team(name)
				if is := c.new.Catalog.Team(name); is != nil {
					t = c.teams.from[is]
				}
				if t != nil && t.MayOwn() && len(t.Members) > 0 && !able(t) {
					add(t, n, r)
				}
			} else if o != nil && catalog.Requirement(n.State, r) == catalog.Required {
				if t := o.Owners[r]; t != nil && !able(t) {
					add(t, n, r)
				}
			}
		}
	}
	return out
}

// ownerName is the team that an entry names for a role, whether it is one or not.
func ownerName(s *config.Service, r config.Role) (name string, written bool) {
	if o, ok := s.Owners.Roles[r]; ok {
		return o.Team.V, o.Team.V != ""
	}
	return s.Owners.All.V, s.Owners.All.V != ""
}

// services is "parsoid (development and product management) and charts (incident response)".
func services(list []ServiceRoles) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = s.Service + " (" + spokenAll(s.Roles) + ")"
	}
	return listed(out)
}

func memberNames(t *catalog.Team) []string {
	out := make([]string, len(t.Members))
	for i, p := range t.Members {
		out[i] = p.Handle
	}
	return out
}

func (c *comparison) plainTeam(o, n *catalog.Team) {
	a, b := c.old.written[o.Name], c.new.written[n.Name]
	if a == nil || b == nil {
		return
	}
	put := func(what, from, to string, at config.Pos) { c.change("team", n.Name, what, from, to, place(at, n.Pos)) }
	if o.Name != n.Name {
		put("name", o.Name, n.Name, b.Name.Pos)
		c.find(Finding{
			Code: CodeTeamRenamed, Severity: Info, Team: n.Name, From: o.Name, To: n.Name,
			Text:   "team " + o.Name + " is called " + n.Name + " now",
			Reason: "the old name stays as an alias; what it owns stays with it",
		}, n.Pos)
	}
	put("kind", string(o.Kind), string(n.Kind), b.Kind.Pos)
	put("aliases", sorted(o.Aliases), sorted(n.Aliases), first(b.Aliases))
	left, joined := lists(values(a.Members), values(b.Members))
	put("members left", strings.Join(left, ", "), "", first(b.Members))
	put("members joined", "", strings.Join(joined, ", "), first(b.Members))
	put("lead", a.Lead.V, b.Lead.V, b.Lead.Pos)
	put("manager", a.Manager.V, b.Manager.V, b.Manager.Pos)
	put("director", a.Director.V, b.Director.V, b.Director.Pos)
	put("on_call", cmp.Or(a.OnCall.V, wholeTeam), cmp.Or(b.OnCall.V, wholeTeam), b.OnCall.Pos)
	put("slack_channel", a.SlackChannel.V, b.SlackChannel.V, b.SlackChannel.Pos)
	put("slack_usergroup", a.SlackUsergroup.V, b.SlackUsergroup.V, b.SlackUsergroup.Pos)
	put("email", a.Email.V, b.Email.V, b.Email.Pos)
	put("webhooks", sorted(values(a.Webhooks)), sorted(values(b.Webhooks)), first(b.Webhooks))
}

const wholeTeam = "the whole team"

func (c *comparison) comparePeople() {
	for _, n := range c.new.Catalog.People() {
		o := c.old.Catalog.Person(n.Handle)
		if o == nil {
			c.change("person", n.Handle, "added", "", "in the catalog", n.Pos)
			continue
		}
		b := c.new.people[n.Handle]
		put := func(what, from, to string, at config.Pos) {
			c.change("person", n.Handle, what, from, to, place(at, n.Pos))
		}
		put("email", o.Email, n.Email, b.Email.Pos)
		put("slack", o.Slack, n.Slack, b.Slack.Pos)
		// A number is nobody's business in a review that others can read.
		put("phone", hidden(o.Phone, "one"), hidden(n.Phone, changed(o.Phone, n.Phone)), b.Phone.Pos)
		put("timezone", o.Timezone.String(), n.Timezone.String(), b.Timezone.Pos)
		put("contact", strings.Join(o.Contact, ", "), strings.Join(n.Contact, ", "), first(b.Contact))
	}
	for _, o := range c.old.Catalog.People() {
		if c.new.Catalog.Person(o.Handle) == nil {
			c.change("person", o.Handle, "removed", "in the catalog", "", o.Pos)
		}
	}
}

func hidden(number, as string) string {
	if number == "" {
		return ""
	}
	return as
}

func changed(old, new string) string {
	if old != "" && old != new {
		return "another"
	}
	return "one"
}

// ahead is how far schedules are compared by who is on call.
const ahead = 28 * 24 * time.Hour

func (c *comparison) compareSchedules() {
	for _, n := range c.new.raw.Schedules {
		if c.new.schedules[n.Name.V] == nil || c.new.schedules[n.Name.V].Pos != n.Pos {
			continue
		}
		o := c.old.schedules[n.Name.V]
		at := place(n.Name.Pos, n.Pos)
		if o == nil {
			c.change("schedule", n.Name.V, "added", "", plural(len(n.Rotations), "rotation"), at)
			continue
		}
		gone, come := lists(onCallNames(o), onCallNames(&n))
		c.change("schedule", n.Name.V, "people left", strings.Join(gone, ", "), "", at)
		c.change("schedule", n.Name.V, "people joined", "", strings.Join(come, ", "), at)
		if was, is := outline(o), outline(&n); was != is {
			c.change("schedule", n.Name.V, "turns", "", c.handsChange(n.Name.V), at)
		}
	}
	for _, o := range c.old.raw.Schedules {
		if c.old.schedules[o.Name.V] != nil && c.new.schedules[o.Name.V] == nil {
			c.change("schedule", o.Name.V, "removed", plural(len(o.Rotations), "rotation"), "", place(o.Name.Pos, o.Pos))
		}
	}
}

// handsChange says how much of the coming weeks somebody else is on call.
func (c *comparison) handsChange(name string) string {
	a, b := c.old.Catalog.Schedule(name), c.new.Catalog.Schedule(name)
	if a == nil || b == nil || c.opts.Now.IsZero() {
		return "changed"
	}
	from, to := c.opts.Now, c.opts.Now.Add(ahead)
	before, after := a.Cover(from, to), b.Cover(from, to)
	var moved, open time.Duration
	for i, j := 0, 0; i < len(before) && j < len(after); {
		start, end := later(before[i].From, after[j].From), earlier(before[i].To, after[j].To)
		if end.After(start) {
			if !same(before[i], after[j]) {
				moved += end.Sub(start)
			}
			if len(after[j].Members) == 0 && len(before[i].Members) > 0 {
				open += end.Sub(start)
			}
		}
		if !before[i].To.After(end) {
			i++
		}
		if !after[j].To.After(end) {
			j++
		}
	}
	if moved == 0 {
		return "changed, but nobody's time on call in the next 28 days"
	}
	text := fmt.Sprintf("somebody else is on call for %d of the next %d hours", hours(moved), hours(ahead))
	if open > 0 {
		text += fmt.Sprintf(", and nobody for %d of them", hours(open))
	}
	return text
}

func hours(d time.Duration) int { return int((d + 30*time.Minute) / time.Hour) }

func same(a, b oncall.Interval) bool {
	gone, come := lists(a.Members, b.Members)
	return len(gone)+len(come) == 0
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func onCallNames(s *config.Schedule) []string {
	var out []string
	for _, r := range s.Rotations {
		for _, t := range r.Members {
			out = append(out, values(t)...)
		}
	}
	for _, sh := range s.Shifts {
		out = append(out, values(sh.Members)...)
	}
	for _, o := range s.Overrides {
		out = append(out, o.Member.V)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// outline is all that a schedule says, without the places.
func outline(s *config.Schedule) string {
	var b strings.Builder
	zone := time.UTC
	if s.Timezone.V != nil {
		zone = s.Timezone.V
	}
	fmt.Fprintf(&b, "%s %q\n", zone, s.ICalFile.V)
	for _, r := range s.Rotations {
		fmt.Fprintf(&b, "rotation %v %v", r.Start.V, r.Every.V)
		for _, t := range r.Members {
			fmt.Fprintf(&b, " %q", values(t))
		}
		if r.Only != nil {
			fmt.Fprintf(&b, " only %d %d", r.Only.From.V, r.Only.To.V)
			for _, d := range r.Only.Days {
				fmt.Fprintf(&b, " %d", d.V)
			}
		}
		b.WriteByte('\n')
	}
	for _, sh := range s.Shifts {
		fmt.Fprintf(&b, "shift %q %v %v\n", values(sh.Members), sh.From.V, sh.To.V)
	}
	for _, o := range s.Overrides {
		fmt.Fprintf(&b, "override %q %v %v\n", o.Member.V, o.From.V, o.To.V)
	}
	return b.String()
}
