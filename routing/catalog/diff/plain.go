package diff

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing/catalog"
)

// plainService lists what the policy has no opinion on.
func (c *comparison) plainService(o, n *catalog.Service) {
	put := func(what, from, to string, at config.Pos) {
		c.change("service", n.Name, what, from, to, place(at, n.Pos))
	}
	a, b := o.Entry, n.Entry
	put("name", o.Name, n.Name, b.Name.Pos)
	put("state", string(o.State), string(n.State), b.State.Pos)
	put("tier", strconv.Itoa(o.Tier), strconv.Itoa(n.Tier), b.Tier.Pos)
	put("aliases", sorted(o.Aliases), sorted(n.Aliases), first(b.Aliases))
	put("description", a.Description.V, b.Description.V, b.Description.Pos)
	var told []string
	for _, t := range o.Volunteers {
		told = append(told, c.id(t))
	}
	put("volunteers", sorted(told), sorted(teamNames(n.Volunteers)), first(b.Volunteers))
	at := config.Pos{}
	if b.SLO != nil {
		at = b.SLO.Pos
	}
	put("slo", slo(a.SLO), slo(b.SLO), at)
	at = config.Pos{}
	if len(b.Alerts) > 0 && len(b.Alerts[0]) > 0 {
		at = b.Alerts[0][0].Pos
	}
	put("alerts", matchers(a.Alerts), matchers(b.Alerts), at)
	put("policy", cmp.Or(a.Policy.V, config.DefaultPolicyName), cmp.Or(b.Policy.V, config.DefaultPolicyName), b.Policy.Pos)
	put("runbook", a.Runbook.V, b.Runbook.V, b.Runbook.Pos)
	put("dashboard", a.Dashboard.V, b.Dashboard.V, b.Dashboard.Pos)
	for _, name := range slices.Sorted(maps.Keys(a.Links)) {
		if _, kept := b.Links[name]; !kept {
			put("links."+name, a.Links[name].V, "", config.Pos{})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.Links)) {
		put("links."+name, a.Links[name].V, b.Links[name].V, b.Links[name].Pos)
	}
	at = config.Pos{}
	if b.Verified != nil {
		at = b.Verified.Pos
	}
	put("verified", verifiedText(a.Verified), verifiedText(b.Verified), at)
	at = config.Pos{}
	if b.Legacy != nil {
		at = b.Legacy.Pos
	}
	put("legacy", legacyText(a.Legacy), legacyText(b.Legacy), at)
	if va, vb := o.Entry.Owners.Roles[config.ContingencyDevelopment].Vacant, n.Entry.Owners.Roles[config.ContingencyDevelopment].Vacant; va != nil && vb != nil {
		put("owners.contingency_development.reason", va.Reason.V, vb.Reason.V, vb.Reason.Pos)
	}
}

func first(list []config.At[string]) config.Pos {
	if len(list) == 0 {
		return config.Pos{}
	}
	return list[0].Pos
}

func sorted(names []string) string { return strings.Join(slices.Sorted(slices.Values(names)), ", ") }

func slo(s *config.SLO) string {
	if s == nil {
		return ""
	}
	text := strconv.FormatFloat(s.Objective.V, 'f', -1, 64) + " %"
	if s.Window.Set() {
		text += " over " + s.Window.V.String()
	}
	if s.URL.V != "" {
		text += ", " + s.URL.V
	}
	return text
}

func matchers(sets []config.MatcherSet) string {
	out := make([]string, len(sets))
	for i, set := range sets {
		parts := make([]string, len(set))
		for j, m := range set {
			parts[j] = m.V.String()
		}
		out[i] = strings.Join(parts, ", ")
	}
	slices.Sort(out)
	return strings.Join(out, "; or ")
}

func verifiedText(v *config.Verified) string {
	if v == nil {
		return ""
	}
	return day(v.On.V) + " by " + cmp.Or(sorted(values(v.By)), "nobody")
}

func legacyText(l *config.Legacy) string {
	if l == nil {
		return ""
	}
	return "since " + day(l.Since.V) + ": " + l.Reason.V
}

func day(d config.Date) string { return d.Format(time.DateOnly) }

func values(in []config.At[string]) []string {
	out := make([]string, len(in))
	for i, v := range in {
		out[i] = v.V
	}
	return out
}
