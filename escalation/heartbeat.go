package escalation

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// Heartbeat is the record of a dead man's switch: an alert that must keep coming.
// It exists from the first beat on, so that nothing is missed that never was.
type Heartbeat struct {
	Schema   int     `json:"z"`
	Source   string  `json:"src"`
	Match    string  `json:"m"`
	SeenAt   Instant `json:"s"`           // the last beat, to the accuracy of slack
	MissedAt Instant `json:"x,omitempty"` // since when it is missed; 0 while it beats
	Incident string  `json:"i,omitempty"` // of the last miss
	OddAt    Instant `json:"o,omitempty"` // since when it is looked at by somebody whose configuration lacks it
	LookAt   Instant `json:"w,omitempty"` // when it wants to be looked at
}

// How a heartbeat is looked at that is missed, or that the configuration lacks:
// while a new one is rolled out some replicas have it and others do not.
const (
	missedEvery = time.Minute
	oddEvery    = 30 * time.Second
	oddFor      = 3 * time.Minute
)

// HeartbeatMatch is the matchers of a heartbeat, in an order of their own: with
// the source they are what it is known by.
func HeartbeatMatch(h config.Heartbeat) string {
	parts := make([]string, len(h.Match))
	for i, m := range h.Match {
		parts[i] = m.V.String()
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ", ") + "}"
}

// IsBeat tells whether an alert of a source is a beat of the heartbeat.
func IsBeat(h config.Heartbeat, source string, a *routing.WebhookAlert) bool {
	if h.Source.V != source || len(h.Match) == 0 || !a.Firing {
		return false // that it is resolved is the very opposite of a beat
	}
	for _, m := range h.Match {
		if !m.V.Matches(a.Labels[m.V.Name]) {
			return false
		}
	}
	return true
}

// slack is how much later than promised a beat may come; beats that come closer
// together than that are not written down.
func slack(every time.Duration) time.Duration { return min(every/10, time.Minute) }

func due(seen Instant, every time.Duration) Instant { return seen.plus(every + 2*slack(every)) }

// Beat notes a beat, if that is worth a write.
func (h Heartbeat) Beat(now time.Time, every time.Duration) (next Heartbeat, changed bool) {
	next = h
	next.SeenAt, next.MissedAt, next.OddAt, next.LookAt = At(now), 0, 0, due(At(now), every)
	next.Schema = Schema
	changed = h.SeenAt == 0 || h.MissedAt != 0 || h.OddAt != 0 || At(now) >= h.SeenAt.plus(slack(every)) || next.LookAt < h.LookAt
	return next, changed
}

// Pulse is what a look at a heartbeat came to.
type Pulse int

// The pulses.
const (
	Beating     Pulse = iota
	JustMissed        // somebody is to be paged, now
	StillMissed       // and somebody was paged
	NotWanted         // the configuration does not have it any more: its record can go
)

// Look is what time does to a heartbeat. every is 0 when the configuration lacks
// it. since is from when on beats could have been heard without a gap: what
// nobody could hear is not missed.
func (h Heartbeat) Look(now time.Time, every time.Duration, since Instant) (Heartbeat, Pulse) {
	at := At(now)
	pulse := Beating
	if h.MissedAt != 0 {
		pulse = StillMissed
	}
	if every <= 0 {
		if h.OddAt == 0 {
			h.OddAt = at
		}
		if at >= h.OddAt.plus(oddFor) {
			return h, NotWanted
		}
		h.LookAt = at.plus(oddEvery)
		return h, pulse
	}
	h.OddAt = 0
	end := due(max(h.SeenAt, since), every)
	switch {
	case pulse == StillMissed:
		h.LookAt = at.plus(missedEvery)
	case at < end:
		h.LookAt = end
	default:
		h.MissedAt, h.LookAt, pulse = at, at.plus(missedEvery), JustMissed
	}
	return h, pulse
}

// heartbeatMissed is the alert name of a heartbeat that is missed.
const heartbeatMissed = "HeartbeatMissed"

// Page opens the incident of a heartbeat that is missed, under this id; or goes on
// with that of the last time, when that was not long ago. The chain is that of the
// team.
func (h Heartbeat) Page(last *Incident, id, team string, now time.Time, env Env) Incident {
	inc := Incident{
		Schema: Schema, ID: id, Kind: Missed, State: Triggered, Urgency: config.Record, OpenedAt: At(now),
		Source: h.Source, GroupLabels: map[string]string{"alertname": heartbeatMissed},
		Target:     routing.Target{Subject: "team:" + team, Team: team},
		Assessment: catalog.Unknown,
		MatchedBy:  "heartbeat",
		Reason:     "The heartbeat " + h.Match + " of Alertmanager " + h.Source + " is configured for team " + team + ".",
	}
	if last != nil && last.Open() || last.reopens(At(now), env) {
		inc = *last
	}
	alert := Alert{
		Fingerprint: h.fingerprint(), StartsAt: h.SeenAt,
		Labels: map[string]string{"alertname": heartbeatMissed, "source": h.Source, "heartbeat": cut(h.Match, maxValue)},
		Annotations: map[string]string{"summary": fmt.Sprintf(
			"Alertmanager %s was last heard at %s UTC: its alerts may reach nobody. Look whether Prometheus and Alertmanager run, whether %s still fires, and whether its webhook arrives here.",
			h.Source, h.SeenAt.Time().Format("2006-01-02 15:04:05"), cut(h.Match, 200))},
	}
	inc, _ = Step(inc, Observe{Firing: []Seen{{Alert: alert, Urgency: config.Page}}}, now, env)
	return inc
}

// reopens tells whether an incident goes on when its alert fires again now.
func (inc *Incident) reopens(now Instant, env Env) bool {
	return inc != nil && !inc.Archived && inc.ClosedBy == nil && now <= inc.ClosedAt.plus(env.reopenWithin())
}

// Back ends the incident of a heartbeat that is missed no more, and says why.
func (h Heartbeat) Back(inc Incident, why string, now time.Time, env Env) Incident {
	over := Alert{Fingerprint: h.fingerprint(), EndsAt: At(now)}
	inc, _ = Step(inc, Observe{Resolved: []Seen{{Alert: over}}, Because: why}, now, env)
	return inc
}

// fingerprint is that of the alert that a missed heartbeat is.
func (h Heartbeat) fingerprint() uint64 {
	sum := sha256.Sum256([]byte("heartbeat\x00" + h.Source + "\x00" + h.Match))
	return binary.BigEndian.Uint64(sum[:])
}
