package escalation

import (
	"fmt"
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// NewDrill makes the incident of a drill: a page through the real chain of a
// target, with its real waits. It ends when somebody acknowledges it, when
// somebody ends it, or after the last step.
func NewDrill(id string, target routing.Target, urgency config.Urgency, by Actor, now time.Time, env Env) Incident {
	s := &stepper{now: At(now), at: now, env: env, Incident: Incident{
		Schema: Schema, ID: id, Kind: Drill, State: Triggered, Urgency: urgency, OpenedAt: At(now),
		Target: target, Assessment: catalog.Unknown,
		MatchedBy: "drill", Reason: by.String() + " asked for a drill",
	}}
	if svc := env.Router.Catalog().Service(target.Service); svc != nil {
		s.Lifecycle, s.Assessment, s.Missing = svc.State, svc.Assessment, svc.MissingRoles
	}
	s.note("asked for by "+by.String()+via(by.Via), by.Handle)
	s.boards()
	s.start()
	s.refresh()
	return s.Incident
}

// Sleeper is somebody whom a drill would reach at night.
type Sleeper struct {
	Handle string
	At     time.Time // in their zone
}

func (s Sleeper) String() string {
	return fmt.Sprintf("%s (%s in %s)", s.Handle, s.At.Format("15:04"), s.At.Location())
}

// A night, on the clocks of whom it concerns.
const (
	nightFrom = 21
	nightTo   = 8
)

// Sleepers are the people whom a drill that nobody answers would reach at night,
// each at the first such page.
func Sleepers(target routing.Target, urgency config.Urgency, now time.Time, env Env) []Sleeper {
	var out []Sleeper
	found := map[string]bool{}
	c := env.Router.Chain(target, urgency, now, 0, nil)
	if len(c.Steps) == 0 {
		return nil
	}
	last := c.Steps[len(c.Steps)-1]
	round := last.After + last.AckWithin
	for r := range c.Rounds {
		for _, step := range c.Steps {
			at := now.Add(time.Duration(r)*round + step.After)
			for _, h := range step.People {
				p := env.Router.Catalog().Person(h)
				if p == nil || found[h] {
					continue
				}
				if local := at.In(p.Timezone); local.Hour() >= nightFrom || local.Hour() < nightTo {
					found[h] = true
					out = append(out, Sleeper{h, local})
				}
			}
		}
	}
	return out
}
