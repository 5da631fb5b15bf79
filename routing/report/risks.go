package report

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// Kinds are all kinds of risk, in the order in which they are shown.
var Kinds = []routing.Risk{
	routing.RiskUnowned, routing.RiskPartial, routing.RiskUnknownService, routing.RiskUnmapped, routing.RiskDecommissioned,
	routing.RiskNobodyOnCall, routing.RiskSinglePerson, routing.RiskExhausted, routing.RiskUnreachable,
	routing.RiskAmbiguousMatch, routing.RiskMissingReference, routing.RiskWrongOwner, routing.RiskHeroics,
}

// RiskFilter says which of the recorded risks are wanted.
type RiskFilter struct {
	Kind    routing.Risk // "": every kind
	Service string       // a service by any of its names, or a subject such as name:foo; "": all
	Since   time.Time    // zero: all
	Limit   int          // at most so many; not positive: all
}

// RiskList is what is recorded of risks.
type RiskList struct {
	Risks  []RecordedRisk `json:"risks"`  // newest first
	Counts []KindCount    `json:"counts"` // of every kind that occurred, whether listed or not
	Left   int            `json:"left"`   // listed no more: beyond the limit, or beyond what is kept of a day
}

// RecordedRisk is one risk, with what it is about.
type RecordedRisk struct {
	Kind         routing.Risk       `json:"kind"`
	At           time.Time          `json:"at"`
	Subject      string             `json:"subject"`
	Service      string             `json:"service"` // "" if none
	Named        string             `json:"named"`   // a name that the catalog lacked
	Team         string             `json:"team"`
	State        config.State       `json:"state"`
	Assessment   catalog.Assessment `json:"assessment"`
	MissingRoles []config.Role      `json:"missing_roles"`
	Alert        string             `json:"alert"`
	Incident     string             `json:"incident"` // "" if none was opened
}

// About is the subject, with the name that has to be added to the catalog where
// a team's label decided and the subject does not tell it.
func (r RecordedRisk) About() string {
	if r.Named != "" && strings.HasPrefix(r.Subject, "team:") {
		return r.Subject + " (" + r.Named + ")"
	}
	return r.Subject
}

// KindCount is how often a kind of risk was recorded: once per incident, or per
// alert that opened none.
type KindCount struct {
	Kind  routing.Risk `json:"kind"`
	Count int          `json:"count"`
}

// Risks lists what the facts hold of risks. A risk is listed by when it was
// recorded, which may be long after the day of the facts that it is in. A
// service is the one that the catalog knows by the name now, as in the report.
func Risks(facts []Facts, f RiskFilter, cat *catalog.Catalog) RiskList {
	out := RiskList{Risks: []RecordedRisk{}, Counts: []KindCount{}}
	counts := map[routing.Risk]int{}
	wanted := current(cat, strings.TrimPrefix(f.Service, "service:"))
	for _, day := range facts {
		service, subject := current(cat, day.Service), day.Subject
		if service != "" {
			subject = "service:" + service
		}
		switch {
		case f.Service == "", f.Service == day.Subject, service != "" && wanted == service:
		case day.Named != "" && wanted == current(cat, day.Named): // the catalog may have lacked it then
		default:
			continue
		}
		kept := map[routing.Risk]int{}
		for _, r := range day.Risks {
			kept[r.Kind]++
			if f.Kind != "" && r.Kind != f.Kind || r.At.Before(f.Since) {
				continue
			}
			counts[r.Kind]++
			out.Risks = append(out.Risks, RecordedRisk{
				Kind: r.Kind, At: r.At, Subject: subject, Service: service, Named: day.Named, Team: day.Team,
				State: day.State, Assessment: day.Assessment, MissingRoles: notNil(slices.Clone(day.Missing)),
				Alert: r.Alert, Incident: r.Incident,
			})
		}
		if !day.RisksEnd.IsZero() && day.RisksEnd.Before(f.Since) {
			continue
		}
		for kind, n := range day.RiskCounts {
			if rest := n - kept[kind]; rest > 0 && (f.Kind == "" || kind == f.Kind) {
				counts[kind] += rest
				out.Left += rest
			}
		}
	}
	slices.SortFunc(out.Risks, func(a, b RecordedRisk) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Incident, b.Incident), cmp.Compare(a.Alert, b.Alert))
	})
	if f.Limit > 0 && len(out.Risks) > f.Limit {
		out.Left += len(out.Risks) - f.Limit
		out.Risks = out.Risks[:f.Limit]
	}
	for _, kind := range Kinds {
		if n := counts[kind]; n > 0 {
			out.Counts = append(out.Counts, KindCount{kind, n})
		}
	}
	return out
}

// current is the name that the catalog has for a service now.
func current(cat *catalog.Catalog, name string) string {
	if s := cat.Service(name); name != "" && s != nil {
		return s.Name
	}
	return name
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// Public are the facts that may be shown to somebody who is not named: without
// those that a confidential alert is part of.
func Public(facts []Facts) []Facts {
	var out []Facts
	for _, f := range facts {
		if !f.Confidential {
			out = append(out, f)
		}
	}
	return out
}
