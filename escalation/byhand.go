package escalation

import (
	"time"

	"callchain/config"
	"callchain/routing"
	"callchain/routing/catalog"
)

// NewByHand makes the incident of a page that somebody sends: it goes through the
// target's chain as one of alerts does, and stays open until a person resolves it.
func NewByHand(id string, target routing.Target, urgency config.Urgency, text string, by Actor, now time.Time, env Env) Incident {
	s := &stepper{now: At(now), at: now, env: env, Incident: Incident{
		Schema: Schema, ID: id, Kind: ByHand, State: Triggered, Urgency: urgency, OpenedAt: At(now),
		Target: target, Assessment: catalog.Unknown, Body: cut(text, MaxRemark), Sender: &by,
		MatchedBy: "hand", Reason: by.String() + " paged by hand" + via(by.Via),
	}}
	if svc := env.Router.Catalog().Service(target.Service); svc != nil {
		s.Lifecycle, s.Assessment, s.Missing = svc.State, svc.Assessment, svc.MissingRoles
	}
	s.note("paged by hand by "+by.String()+via(by.Via)+": "+oneLine(text, MaxRemark), by.Handle)
	s.boards()
	s.start()
	s.refresh()
	return s.Incident
}
