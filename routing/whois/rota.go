package whois

import (
	"time"

	"callchain/routing/catalog"
)

// Rota is who is on call at an instant, team by team.
type Rota struct {
	At     time.Time `json:"at"`
	OnCall []Cover   `json:"on_call"`
}

// Cover is who is on call for one team. A stretch that nobody covers has no
// people; then those who stand in are asked.
type Cover struct {
	Team     string     `json:"team"`
	Schedule string     `json:"schedule"` // "": the whole team is on call, always
	People   []string   `json:"people"`
	StandIn  []string   `json:"stand_in"`
	Until    *time.Time `json:"until"` // null if it does not end in four weeks
	Next     []string   `json:"next"`  // who takes over
	NextFrom *time.Time `json:"next_from"`
}

// OnCall tells who is on call for these teams. Volunteers never are: they are
// told, and nobody waits for them.
func OnCall(c *catalog.Catalog, teams []*catalog.Team, at time.Time) Rota {
	out := Rota{At: at.UTC(), OnCall: []Cover{}}
	for _, t := range teams {
		if t.MayOwn() {
			out.OnCall = append(out.OnCall, cover(c, t, at))
		}
	}
	return out
}

func cover(c *catalog.Catalog, t *catalog.Team, at time.Time) Cover {
	out := Cover{Team: t.Name, People: handles(c.OnCall(t, at)), StandIn: []string{}, Next: []string{}}
	if t.Schedule == nil {
		return out
	}
	out.Schedule = t.Schedule.Name()
	if end := until(t, at); end != nil {
		utc := end.UTC()
		out.Until = &utc
	}
	if next, from := c.NextOnCall(t, at); len(next) > 0 {
		from = from.UTC()
		out.Next, out.NextFrom = handles(next), &from
	}
	switch {
	case len(out.People) > 0:
	case t.Lead != nil:
		out.StandIn = []string{t.Lead.Handle}
	default:
		out.StandIn = handles(t.Members)
	}
	return out
}
