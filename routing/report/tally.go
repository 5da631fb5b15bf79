package report

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// assessments in the order in which they are shown.
var assessments = []catalog.Assessment{catalog.Owned, catalog.Partial, catalog.Unowned, catalog.Unknown, catalog.Decommissioned}

// week is the facts of one week, by subject and together.
type week struct {
	all      *tally
	subjects map[string]*tally
	assessed map[catalog.Assessment]int // alerts
}

// tally is Facts of several days put together.
type tally struct {
	subject, service, named, team string

	// As last recorded, and the worst of the week.
	state      config.State
	assessment catalog.Assessment
	missing    []config.Role
	worst      catalog.Assessment

	alerts, opened, pages, escalations, acknowledged int

	acks     []Ack
	names    map[string]int
	recorded map[string]int
	shadow   map[string]int
	risks    map[routing.Risk]int
	listed   []Risk
	labels   map[string]LabelSet // by their JSON
}

func newTally() *tally {
	return &tally{
		names: map[string]int{}, recorded: map[string]int{}, shadow: map[string]int{},
		risks: map[routing.Risk]int{}, labels: map[string]LabelSet{},
	}
}

// gather puts the facts of a week together. A service that the catalog knows
// under another name now is counted under that.
func gather(facts []Facts, period Period, cat *catalog.Catalog) week {
	w := week{all: newTally(), subjects: map[string]*tally{}, assessed: map[catalog.Assessment]int{}}
	var in []Facts
	for _, f := range facts {
		if period.Has(f.Day) && !f.none() {
			in = append(in, f)
		}
	}
	// What is recorded last of ownership counts; of the pieces of one day it is
	// not known which is later: the one that says worse.
	slices.SortStableFunc(in, func(a, b Facts) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Subject, b.Subject),
			cmp.Compare(rank(a.Assessment), rank(b.Assessment)), cmp.Compare(a.State, b.State), slices.Compare(a.Missing, b.Missing),
			cmp.Compare(a.Service, b.Service), cmp.Compare(a.Named, b.Named), cmp.Compare(a.Team, b.Team))
	})
	for _, f := range in {
		subject := f.Subject
		if s := cat.Service(f.Service); f.Service != "" && s != nil {
			f.Service, subject = s.Name, "service:"+s.Name
		}
		t := w.subjects[subject]
		if t == nil {
			t = newTally()
			t.subject = subject
			w.subjects[subject] = t
		}
		t.service, t.named, t.team = f.Service, f.Named, f.Team
		t.state, t.assessment, t.missing = f.State, f.Assessment, f.Missing
		hit := f.Hit
		if len(hit) == 0 {
			hit = map[catalog.Assessment]int{f.Assessment: f.Alerts}
		}
		for a, n := range hit {
			if rank(a) > rank(t.worst) {
				t.worst = a
			}
			w.assessed[cmp.Or(a, catalog.Unknown)] += n
		}
		t.add(f)
		w.all.add(f)
	}
	return w
}

// rank orders assessments of a service; the worst is highest.
func rank(a catalog.Assessment) int {
	return slices.Index([]catalog.Assessment{catalog.Unknown, catalog.Owned, catalog.Decommissioned, catalog.Partial, catalog.Unowned}, a)
}

func (t *tally) add(f Facts) {
	t.alerts += f.Alerts
	t.opened += f.Incidents
	t.pages += f.Pages
	t.escalations += f.Escalations
	t.acknowledged += f.AckCount
	t.acks = append(t.acks, f.Acks...)
	t.listed = append(t.listed, f.Risks...)
	addAll(t.names, f.Names)
	addAll(t.recorded, f.Recorded)
	addAll(t.shadow, f.Shadow)
	addAll(t.risks, f.RiskCounts)
	for _, l := range f.Labels {
		key := labelKey(l.Labels)
		t.labels[key] = LabelSet{l.Labels, t.labels[key].Count + l.Count}
	}
}

func addAll[K comparable](sum, more map[K]int) {
	for k, n := range more {
		sum[k] += n
	}
}

// labelKey is the same for equal label sets.
func labelKey(labels map[string]string) string {
	key, err := json.Marshal(labels) // sorts by name
	if err != nil {
		return "" // strings always encode
	}
	return string(key)
}

// sorted are the subjects by name.
func (w week) sorted() []*tally {
	return slices.SortedFunc(maps.Values(w.subjects), func(a, b *tally) int { return cmp.Compare(a.subject, b.subject) })
}

func (t *tally) cost() Cost {
	c := Cost{Alerts: t.alerts, Incidents: t.opened, Pages: t.pages, Escalations: t.escalations, Answers: t.acknowledged}
	if len(t.acks) == 0 {
		return c
	}
	var seconds []int
	for _, a := range t.acks {
		seconds = append(seconds, a.Seconds)
	}
	slices.Sort(seconds)
	median, worst := (seconds[(len(seconds)-1)/2]+seconds[len(seconds)/2])/2, seconds[len(seconds)-1]
	c.MedianAck, c.WorstAck = &median, &worst
	return c
}

// answered is how often somebody acknowledged, and the team they did it in.
type answered struct {
	count int
	team  string
}

// answers are the acknowledgements by person.
func (t *tally) answers() map[string]answered {
	out := map[string]answered{}
	for _, a := range t.acks {
		out[a.By] = answered{out[a.By].count + 1, max(out[a.By].team, a.Team)}
	}
	return out
}

// incidents are those of the kept risks of a kind, oldest first.
func (t *tally) incidents(kind routing.Risk) []string {
	var risks []Risk
	for _, r := range t.listed {
		if r.Kind == kind && r.Incident != "" {
			risks = append(risks, r)
		}
	}
	slices.SortFunc(risks, func(a, b Risk) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Incident, b.Incident))
	})
	out := []string{}
	for _, r := range risks {
		if !slices.Contains(out, r.Incident) {
			out = append(out, r.Incident)
		}
	}
	return out
}
