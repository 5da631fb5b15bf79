package diff

import (
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing/catalog"
)

// hand notes a role that goes from one team to another; either may be missing,
// for a reason.
func (c *comparison) hand(service string, r config.Role, from, whyNew, to, whyLost string) {
	of := func(team string) *HandOver {
		h := c.hands[team]
		if h == nil {
			h = &HandOver{Team: team, Leaves: []Handed{}, Arrives: []Handed{}, AgreeWith: []string{}}
			c.hands[team] = h
		}
		return h
	}
	with := func(h *HandOver, other string) {
		if other != "" && !slices.Contains(h.AgreeWith, other) {
			h.AgreeWith = append(h.AgreeWith, other)
		}
	}
	if from != "" {
		h := of(from)
		why := whyLost
		if to != "" {
			why = ""
		}
		h.Leaves = append(h.Leaves, Handed{service, r, to, why})
		with(h, to)
	}
	if to != "" {
		h := of(to)
		why := whyNew
		if from != "" {
			why = ""
		}
		h.Arrives = append(h.Arrives, Handed{service, r, from, why})
		with(h, from)
	}
}

// agreement says who must agree to what happens to a service, and who has; about
// are the findings that ask for it.
func (c *comparison) agreement(n *catalog.Service, k *concern, about []int) {
	a := Agreement{Service: n.Name, To: k.to, Teams: []string{}, Agreed: []string{}, Missing: []string{}}
	add := func(name string) {
		if !slices.Contains(a.Teams, name) {
			a.Teams = append(a.Teams, name)
		}
	}
	var before *config.Verified
	for _, o := range k.olds {
		for _, t := range o.OwningTeams() {
			add(c.id(t))
		}
		if c.services.from[n] == o {
			before = o.Entry.Verified
		}
	}
	for _, t := range n.OwningTeams() {
		add(t.Name)
	}
	if len(a.Teams) == 0 {
		return // nobody owns it on either side
	}
	v := n.Entry.Verified
	older := v != nil && before != nil && v.On.V.Before(before.On.V.Time)
	said := map[string]bool{}
	if v != nil && !older {
		for _, by := range v.By {
			said[c.named(by.V)] = true
		}
	}
	for _, t := range a.Teams {
		if said[t] {
			a.Agreed = append(a.Agreed, t)
		} else {
			a.Missing = append(a.Missing, t)
		}
	}
	c.r.Agreements = append(c.r.Agreements, a)
	for _, i := range about {
		c.r.Findings[i].Agree = slices.Clone(a.Teams)
	}
	c.verified(n, v, before, older, a)
}

func needsAgreement(code string) bool {
	switch code {
	case CodeLaunch, CodeLaunchRare, CodeLaunchRefused, CodeLegacy, CodeMove, CodeMoveRare, CodeMoveRefused, CodeMerged, CodeTransfer, CodeVacancy, CodeVacancyOver:
		return true
	}
	return false
}

// verified judges what the new entry says about who agreed, and when.
func (c *comparison) verified(n *catalog.Service, v, before *config.Verified, older bool, a Agreement) {
	asked := Warning
	if c.opts.RequireAgreed {
		asked = Error
	}
	switch {
	case older:
		c.find(Finding{
			Code: CodeOldVerified, Severity: asked, Service: n.Name, From: day(before.On.V), To: day(v.On.V), Agree: a.Teams,
			Text:   n.Name + ": verified.on is " + day(v.On.V) + ", before the " + day(before.On.V) + " of the old entry",
			Reason: "a confirmation older than the last one cannot be about this change",
			Remedy: "let " + listed(a.Teams) + " confirm the entry as it is now, and write that day",
		}, place(v.On.Pos, v.Pos))
	case c.opts.RequireAgreed && len(a.Missing) > 0:
		at := n.Pos
		if v != nil {
			at = place(v.Pos, n.Pos)
		}
		c.find(Finding{
			Code: CodeNotAgreed, Severity: Error, Service: n.Name, Agree: slices.Clone(a.Missing),
			Text:   n.Name + ": " + listed(a.Missing) + " must agree to the " + listed(a.To) + " and " + does(len(a.Missing)) + " not stand in verified.by",
			Reason: "all owners, old and new, agree before it is merged",
			Remedy: "ask them, then add them: verified: {on: DAY, by: [" + strings.Join(a.Teams, ", ") + "]}",
		}, at)
	case c.opts.RequireAgreed && v != nil && before != nil && len(a.Teams) > 0 && v.On.V.Equal(before.On.V.Time) && sameNames(v.By, before.By):
		c.find(Finding{
			Code: CodeNotRenewed, Severity: Warning, Service: n.Name, Agree: a.Teams,
			Text:   n.Name + ": verified is that of the old entry",
			Reason: "the names were written before this change, so they may not be about it",
			Remedy: "ask " + listed(a.Teams) + ", then write the day on which they agreed",
		}, place(v.Pos, n.Pos))
	}
	// Somewhere on earth it is tomorrow already.
	if v != nil && !c.opts.Now.IsZero() && v.On.V.After(c.opts.Now.Add(14*time.Hour)) {
		c.find(Finding{
			Code: CodeAhead, Severity: Warning, Service: n.Name, To: day(v.On.V), Agree: a.Teams,
			Text:   n.Name + ": verified.on is " + day(v.On.V) + ", which lies ahead",
			Reason: "nobody has confirmed anything on a day that has not been",
			Remedy: "write the day on which the owners agreed",
		}, place(v.On.Pos, v.Pos))
	}
}

func does(n int) string {
	if n == 1 {
		return "does"
	}
	return "do"
}

func sameNames(a, b []config.At[string]) bool {
	gone, come := lists(values(a), values(b))
	return len(gone)+len(come) == 0
}
