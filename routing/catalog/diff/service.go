package diff

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing/catalog"
	"callchain/routing/report"
)

func serviceName(s *catalog.Service) string { return s.Name }

// concern is what happens to a service that its owners must agree to.
type concern struct {
	olds []*catalog.Service // that become it: one, none for a launch, more where some are merged
	to   []string
}

func (c *comparison) compareServices() {
	concerns := map[*catalog.Service]*concern{}
	concerned := func(n, o *catalog.Service, to string) {
		k := concerns[n]
		if k == nil {
			k = &concern{}
			concerns[n] = k
		}
		if o != nil && !slices.Contains(k.olds, o) {
			k.olds = append(k.olds, o)
		}
		if !slices.Contains(k.to, to) {
			k.to = append(k.to, to)
		}
	}
	for _, n := range c.new.services {
		if o := c.services.from[n]; o != nil {
			for _, to := range c.comparePair(o, n) {
				concerned(n, o, to)
			}
		} else if to := c.launch(n); to != "" {
			concerned(n, nil, to)
		}
	}
	for _, o := range c.old.services {
		switch n := c.services.to[o]; {
		case n == nil:
			c.deletion(o)
		case c.services.merged[o]:
			c.merge(o, n)
			if kept := c.services.from[n]; kept != nil {
				concerned(n, kept, "merge")
			}
			concerned(n, o, "merge")
		}
	}
	about := map[string][]int{} // findings that need an agreement
	for i, f := range c.r.Findings {
		if f.In == inNew && needsAgreement(f.Code) {
			about[f.Service] = append(about[f.Service], i)
		}
	}
	for _, n := range c.new.services {
		if k := concerns[n]; k != nil {
			c.agreement(n, k, about[n.Name])
		}
	}
}

// known tells whether a state is one; another was refused when it was read.
func known(s config.State) bool { return slices.Contains(config.States, s) }

// launch judges a service that is new. It returns what its owners must agree to.
func (c *comparison) launch(n *catalog.Service) string {
	c.change("service", n.Name, "added", "", string(n.State), n.Pos)
	for _, r := range config.Roles {
		if t := n.Owners[r]; t != nil {
			c.hand(n.Name, r, "", "it is launched", t.Name, "")
		}
	}
	if !known(n.State) {
		return "" // refused as a whole
	}
	f := Finding{Service: n.Name, To: string(n.State)}
	if l := n.Entry.Legacy; n.State == config.Unowned && l != nil && l.Since.Set() && strings.TrimSpace(l.Reason.V) != "" {
		f.Code, f.Severity = CodeLegacy, Warning
		f.Text = fmt.Sprintf("%s was found, running since %s: %s", n.Name, l.Since.V.Format(time.DateOnly), l.Reason.V)
		f.Reason = "nobody owns it; the weekly report names it until somebody does"
		f.Remedy = report.Advise(n).Text
		c.find(f, n.Pos)
		return "legacy find"
	}
	v := judge(none, n.State)
	f.Code = map[Severity]string{Info: CodeLaunch, Warning: CodeLaunchRare, Error: CodeLaunchRefused}[v.severity]
	f.Severity, f.Reason, f.Remedy = v.severity, v.reason, v.remedy
	f.Text = n.Name + " is launched in state " + word(n.State)
	c.find(f, n.Pos)
	if n.Assessment != catalog.Owned && v.severity != Error {
		c.find(Finding{
			Code: CodeLaunchUnowned, Severity: Error, Service: n.Name, To: string(n.State), Roles: slices.Clone(n.MissingRoles),
			Text:   n.Name + " is launched without an owner for " + spokenAll(n.MissingRoles),
			Reason: "a launch is the moment at which every role can still be asked for",
			Remedy: "name a staff or affiliate team with members for each",
		}, ownersPos(n))
	}
	c.vacancy(nil, n)
	return "launch"
}

// deletion judges an entry that is gone.
func (c *comparison) deletion(o *catalog.Service) {
	c.change("service", o.Name, "removed", cmp.Or(string(o.State), "a state that is none"), "", o.Pos)
	v := judge(o.State, none)
	f := Finding{
		Code: CodeDropped, Severity: v.severity, In: inOld, Service: o.Name, From: string(o.State),
		Reason: v.reason, Remedy: v.remedy,
		Text: o.Name + " is deleted in " + cmp.Or(inState(o.State), "no known state"),
	}
	if v.severity == Info {
		f.Code, f.Text = CodeDeleted, o.Name+" is deleted, after it was decommissioned"
	}
	for _, t := range o.OwningTeams() {
		f.Agree = append(f.Agree, c.id(t))
	}
	for _, r := range config.Roles {
		if t := o.Owners[r]; t != nil {
			c.hand(o.Name, r, c.id(t), "", "", "its entry is deleted")
		}
	}
	c.find(f, o.Pos)
}

// merge judges a service whose name is an alias of another one now, that was
// there before.
func (c *comparison) merge(o, n *catalog.Service) {
	at := n.Pos
	for _, a := range n.Entry.Aliases {
		if a.V == o.Name && a.Set() {
			at = a.Pos
		}
	}
	c.change("service", o.Name, "removed", string(o.State), "part of "+n.Name, at)
	c.find(Finding{
		Code: CodeMerged, Severity: Warning, Service: n.Name, From: o.Name, To: n.Name,
		Text:   o.Name + " becomes a part of " + n.Name,
		Reason: "its alerts go to the owners of " + n.Name + " from now on, and its own entry ends",
		Remedy: "say in the review that both sides want it",
	}, at)
	lives := o.State != config.Decommissioned && o.State != config.Unowned
	if lives && (n.State == config.Decommissioned || n.State == config.Unowned) {
		c.find(Finding{
			Code: CodeMoveRefused, Severity: Error, Service: n.Name, From: string(o.State), To: string(n.State),
			Text:   fmt.Sprintf("%s (%s) becomes a part of %s, which is %s", o.Name, word(o.State), n.Name, word(n.State)),
			Reason: "that would take its owners away under another name",
			Remedy: "keep its entry and move it to " + wayOut(o.State) + ", or make it a part of a service that has owners",
		}, at)
	}
	for _, r := range config.Roles {
		a, b := c.holder(o, r), holderNow(n, r)
		if a.team != b.team {
			c.hand(n.Name, r, a.team, "", b.team, "it is a part of "+n.Name+" now")
		}
	}
}

// holder is who holds a role: a team, or the director who holds it vacant.
type holder struct{ team, director string }

func (h holder) String() string {
	if h.director != "" {
		return "vacant, held by " + h.director
	}
	return h.team
}

func (c *comparison) holder(o *catalog.Service, r config.Role) holder {
	if t := o.Owners[r]; t != nil {
		return holder{team: c.id(t)}
	}
	return vacantBy(o, r)
}

func holderNow(n *catalog.Service, r config.Role) holder {
	if t := n.Owners[r]; t != nil {
		return holder{team: t.Name}
	}
	return vacantBy(n, r)
}

func vacantBy(s *catalog.Service, r config.Role) holder {
	if r == config.ContingencyDevelopment && s.VacancyHeld != nil {
		return holder{director: s.VacancyHeld.Handle}
	}
	return holder{}
}

// comparePair compares a service that is on both sides. It returns what its
// owners must agree to.
func (c *comparison) comparePair(o, n *catalog.Service) (to []string) {
	if o.Name != n.Name {
		c.find(Finding{
			Code: CodeRenamed, Severity: Info, Service: n.Name, From: o.Name, To: n.Name,
			Text:   o.Name + " is called " + n.Name + " now",
			Reason: "the old name stays as an alias, so that alerts still find it",
		}, n.Pos)
	}
	c.plainService(o, n)
	refused := c.refused
	moved := o.State != n.State && known(o.State) && known(n.State)
	if moved {
		v := judge(o.State, n.State)
		c.find(Finding{
			Code:     map[Severity]string{Info: CodeMove, Warning: CodeMoveRare, Error: CodeMoveRefused}[v.severity],
			Severity: v.severity, Service: n.Name, From: string(o.State), To: string(n.State),
			Text: n.Name + " moves from " + word(o.State) + " to " + word(n.State), Reason: v.reason, Remedy: v.remedy,
		}, n.Entry.State.Pos)
		to = append(to, "transition")
	}
	if !known(n.State) {
		return to
	}

	c.unfilled(o, n, moved)
	type way struct{ from, to string }
	var ways []way
	transfers := map[way][]config.Role{}
	for _, r := range config.Roles {
		a, b := c.holder(o, r), holderNow(n, r)
		need := catalog.Requirement(n.State, r)
		if a == b {
			continue
		}
		c.change("service", n.Name, "owners."+string(r), a.String(), b.String(), rolePos(n, r))
		if a.team != b.team {
			var whyLost, whyNew string
			switch {
			case b.director != "":
				whyLost = b.director + " holds it vacant"
			case need == catalog.NotApplicable:
				whyLost = "does not apply in " + word(n.State)
			default:
				whyLost = "nobody"
			}
			switch {
			case a.director != "":
				whyNew = a.director + " held it vacant"
			case known(o.State) && catalog.Requirement(o.State, r) == catalog.NotApplicable:
				whyNew = "did not apply in " + word(o.State)
			default:
				whyNew = "nobody"
			}
			// The short form of owners gives an unowned service roles that nobody took on.
			if a.team != "" || !moved || n.State != config.Unowned {
				c.hand(n.Name, r, a.team, whyNew, b.team, whyLost)
			}
		}
		applies := need != catalog.NotApplicable && (!known(o.State) || catalog.Requirement(o.State, r) != catalog.NotApplicable)
		if !applies || a.director != "" || b.director != "" || a.team == b.team || b.team == "" && need == catalog.Required {
			continue // a part of the transition, a vacancy, or told as unfilled
		}
		w := way{a.team, b.team}
		if transfers[w] == nil {
			ways = append(ways, w)
		}
		transfers[w] = append(transfers[w], r)
	}
	for _, w := range ways {
		roles := transfers[w]
		f := Finding{Code: CodeTransfer, Severity: Info, Service: n.Name, From: w.from, To: w.to, Roles: roles}
		f.Reason = "whoever gives a role and whoever takes it must both want it"
		switch {
		case w.to == "" && n.State == config.Unowned && moved:
			continue // a part of a transition that is refused
		case w.from == "":
			f.Text = n.Name + ": " + w.to + " takes " + spokenAll(roles) + " on, which nobody held"
		case w.to == "":
			f.Text = n.Name + ": " + w.from + " lays " + spokenAll(roles) + " down"
			switch pm := n.ProductManager(); {
			case n.State == config.Unowned:
				f.Severity, f.Reason = Warning, "what is left of the owners of an unowned service is all that it has"
				f.Remedy = report.Advise(n).Text
			case n.State == config.Maintenance && slices.Equal(roles, []config.Role{config.ProductManagement}) && pm != nil:
				f.Text += "; in maintenance it falls to " + pm.Handle
			default:
				f.Text += ", and nobody takes it on"
			}
		default:
			goes := " goes from "
			if len(roles) > 1 {
				goes = " go from "
			}
			f.Text = n.Name + ": " + spokenAll(roles) + goes + w.from + " to " + w.to
		}
		c.find(f, rolePos(n, roles[0]))
		to = append(to, "transfer")
	}
	if c.vacancy(o, n) {
		to = append(to, "vacancy")
	}
	had := len(o.OwningTeams()) > 0 || o.VacancyHeld != nil
	if had && len(n.OwningTeams()) == 0 && n.VacancyHeld == nil && n.State != config.Decommissioned && c.refused == refused && len(c.covered[n]) == 0 {
		c.find(Finding{
			Code: CodeLastOwner, Severity: Warning, Service: n.Name,
			Text:   n.Name + " loses its last owner",
			Reason: "from now on only the fallback team is asked about it",
			Remedy: report.Advise(n).Text,
		}, ownersPos(n))
	}
	return to
}

// unfilled judges the required roles that nobody holds now. Those that the same
// one let go are one finding.
func (c *comparison) unfilled(o, n *catalog.Service, moved bool) {
	if !known(o.State) {
		return
	}
	type gap struct{ code, from string }
	var gaps []gap
	roles := map[gap][]config.Role{}
	for _, r := range n.MissingRoles {
		if catalog.Requirement(n.State, r) != catalog.Required || c.covered[n][r] {
			continue
		}
		var g gap
		switch {
		case o.Filled(r):
			g = gap{CodeUnfilled, c.holder(o, r).String()}
		case !slices.Contains(o.MissingRoles, r):
			g = gap{CodeUnfilled, ""}
		case moved:
			g = gap{CodeStillMissing, ""}
		default:
			continue
		}
		if roles[g] == nil {
			gaps = append(gaps, g)
		}
		roles[g] = append(roles[g], r)
	}
	for _, g := range gaps {
		list := roles[g]
		f := Finding{Code: g.code, Severity: Error, Service: n.Name, From: g.from, Roles: list, Remedy: report.Advise(n).Text}
		switch {
		case g.code == CodeStillMissing:
			f.Severity = Warning
			f.Text = n.Name + ": nobody held " + spokenAll(list) + ", and nobody does in " + word(n.State)
			f.Reason = "planning treats it as unowned until somebody does"
		case g.from == "":
			f.Text = n.Name + ": nobody holds " + spokenAll(list) + ", which " + word(n.State) + " requires"
			f.Reason = "a service enters a state with the roles of that state filled"
		default:
			f.Text = n.Name + ": nobody holds " + spokenAll(list) + " any more, which " + word(n.State) + " requires"
			f.Reason = "a role is handed over, not dropped; held before by " + g.from
		}
		c.find(f, rolePos(n, list[0]))
	}
}

// vacancy tells of a contingency role that a director begins or ends to hold
// vacant. It tells whether one began, ended or changed hands.
func (c *comparison) vacancy(o, n *catalog.Service) bool {
	const r = config.ContingencyDevelopment
	before, after := holder{}, holderNow(n, r)
	if o != nil {
		before = c.holder(o, r)
	}
	if before == after || before.director == "" && after.director == "" {
		return false
	}
	f := Finding{Severity: Info, Service: n.Name, From: before.String(), To: after.String(), Roles: []config.Role{r}}
	switch {
	case after.director != "":
		f.Code = CodeVacancy
		f.Text = n.Name + ": " + after.director + " holds contingency development vacant"
		if v := n.Entry.Owners.Roles[r].Vacant; v != nil && v.Reason.V != "" {
			f.Text += ": " + v.Reason.V
		}
		f.Reason = "a director answers for the gap in person: who else owns the service must know that nobody mends it"
	case after.team != "":
		f.Code = CodeVacancyOver
		f.Text = n.Name + ": " + after.team + " takes on contingency development, which " + before.director + " held vacant"
		f.Reason = "the gap is closed by those who want it"
	default:
		return false // unfilled or n/a now: told there
	}
	c.find(f, rolePos(n, r))
	return true
}

// place is the first of the two that is one.
func place(pos, around config.Pos) config.Pos {
	if pos.Line != 0 {
		return pos
	}
	return around
}

func ownersPos(s *catalog.Service) config.Pos { return place(s.Entry.Owners.Pos, s.Pos) }

// rolePos is where the entry says who holds a role, or where it should.
func rolePos(s *catalog.Service, r config.Role) config.Pos {
	if o, ok := s.Entry.Owners.Roles[r]; ok {
		return place(o.Pos, ownersPos(s))
	}
	return ownersPos(s)
}
