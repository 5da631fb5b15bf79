package report

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"callchain/config"
	"callchain/routing"
)

func hash(subject string) string {
	sum := sha256.Sum256([]byte(subject))
	return hex.EncodeToString(sum[:8])
}

// Add counts an event in.
func (f *Facts) Add(e Event) {
	if e.TakenBack != nil {
		f.takeBack(e.At, *e.TakenBack)
		return
	}
	f.Schema, f.Day, f.Subject = Schema, e.Day, e.Subject
	if e.Earlier != "" {
		if !slices.Contains(f.Earlier, e.Earlier) {
			f.Earlier = append(f.Earlier, e.Earlier)
		}
		return
	}
	f.Service, f.Named, f.Team = e.Service, e.Named, e.Team
	f.Confidential = f.Confidential || e.Confidential
	f.State, f.Assessment, f.Missing = e.State, e.Assessment, e.Missing
	for _, a := range e.Alerts {
		f.Alerts++
		f.Hit = count(f.Hit, e.Assessment, 1, 8)
		f.Urgencies = count(f.Urgencies, a.Urgency, 1, len(config.Urgencies))
		f.Names = count(f.Names, a.Name, 1, MaxNames)
		if e.Recorded != "" {
			f.Recorded = count(f.Recorded, e.Recorded, 1, MaxNames)
		}
		if e.Service == "" {
			f.label(a.Labels)
		}
	}
	if e.Opened {
		f.Incidents++
	}
	f.Pages += e.Pages
	f.Escalations += e.Escalations
	for _, h := range e.Shadow {
		f.Shadow = count(f.Shadow, h, 1, MaxNames)
	}
	if e.Ack != nil {
		f.AckCount++
		if len(f.Acks) < MaxAcks {
			f.Acks = append(f.Acks, *e.Ack)
		}
	}
	for _, r := range e.Risks {
		f.RiskCounts = count(f.RiskCounts, r.Kind, 1, MaxNames)
		if len(f.Risks) < MaxRisks {
			f.Risks = append(f.Risks, r)
		} else if r.At.After(f.RisksEnd) {
			f.RisksEnd = r.At
		}
	}
}

// takeBack takes back what was recorded of an alert at an instant. What is not
// there (any more) is none of ours.
func (f *Facts) takeBack(at time.Time, back TakenBack) {
	if f.Recorded[back.Reason] > 0 {
		f.Recorded = less(f.Recorded, back.Reason)
	}
	for _, kind := range back.Risks {
		i := slices.IndexFunc(f.Risks, func(r Risk) bool {
			return r.Kind == kind && r.Incident == "" && r.Alert == back.Alert && r.At.UnixMilli() == at.UnixMilli()
		})
		switch {
		case i >= 0:
			f.Risks = slices.Delete(f.Risks, i, i+1)
		case f.RiskCounts[kind] <= f.kept(kind):
			continue // all that are counted are others
		}
		f.RiskCounts = less(f.RiskCounts, kind)
	}
}

// kept is how many risks of a kind are in the list.
func (f *Facts) kept(kind routing.Risk) int {
	n := 0
	for _, r := range f.Risks {
		if r.Kind == kind {
			n++
		}
	}
	return n
}

// less takes one from a counter, which goes when nothing is left.
func less[K ~string](m map[K]int, key K) map[K]int {
	if m[key]--; m[key] <= 0 {
		delete(m, key)
	}
	return m
}

// count adds to a counter; beyond limit different keys, further ones are counted under "".
func count[K ~string](m map[K]int, key K, n, limit int) map[K]int {
	if m == nil {
		m = map[K]int{}
	}
	if _, known := m[key]; !known && len(m) >= max(limit, 4) {
		key = ""
	}
	m[key] += n
	return m
}

func (f *Facts) label(labels map[string]string) {
	i := slices.IndexFunc(f.Labels, func(l LabelSet) bool { return maps.Equal(l.Labels, labels) })
	switch {
	case i >= 0:
		f.Labels[i].Count++
	case len(f.Labels) < MaxLabels:
		f.Labels = append(f.Labels, LabelSet{labels, 1})
	}
}
