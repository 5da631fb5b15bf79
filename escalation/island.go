package escalation

import (
	"slices"
	"time"
)

// What follows is for events that are taken in while the records cannot be read:
// what they open is paged once and not escalated, and the events themselves are
// gone through again, as of when they arrived, once the records are back.

// Calm takes an incident's timers away: it does not escalate, remind or look
// again by itself. What is to be sent stays.
func Calm(inc Incident) Incident {
	inc.Deadline, inc.RemindAt, inc.ExhaustAt, inc.ReviewAt, inc.ArchiveAt = 0, 0, 0, 0, 0
	if inc.Ack != nil {
		a := *inc.Ack
		a.Expires, a.AskAt = 0, 0
		inc.Ack = &a
	}
	return inc
}

// Resume lets the wait of a step that began at an instant begin now instead:
// nobody waited meanwhile.
func Resume(inc Incident, began, now time.Time) Incident {
	by := At(now) - At(began)
	if by <= 0 || inc.StepAt != At(began) {
		return inc
	}
	for _, at := range []*Instant{&inc.Deadline, &inc.RemindAt, &inc.ExhaustAt} {
		if *at != 0 {
			*at += by
		}
	}
	return inc
}

// Doubt marks the pages to people that are not known to have arrived, and were not
// there before: somebody may have sent them and not lived to say so.
func Doubt(inc, before Incident) (_ Incident, doubtful []string) {
	inc.Deliveries = slices.Clone(inc.Deliveries)
	for i := range inc.Deliveries {
		if d := &inc.Deliveries[i]; d.Kind == PageDelivery && d.Status == Pending && d.Reached == 0 && before.Delivery(d.ID) == nil {
			d.Maybe = max(d.Maybe, 1)
			doubtful = append(doubtful, d.ID)
		}
	}
	return inc, doubtful
}

// First tells whether a page is one of those with which a run begins: nobody has
// been asked before whose answer somebody else may know.
func First(inc *Incident, d *Delivery) bool {
	return d.Kind == PageDelivery && d.Ref == (Ref{}) && d.Hand == 0 && d.Run == inc.Run && inc.Moves == 0 && inc.Detour == nil
}

// Apart makes an incident one from which only some deliveries are sent: what else
// is due, or on its way, is somebody else's.
func Apart(inc Incident, mine ...Delivery) Incident {
	inc.Deliveries = slices.Clone(inc.Deliveries)
	for i := range inc.Deliveries {
		d := &inc.Deliveries[i]
		if n := slices.IndexFunc(mine, func(m Delivery) bool { return m.ID == d.ID }); n >= 0 {
			*d = mine[n]
		} else if d.Status == Pending || d.Status == InFlight {
			d.Status, d.Until, d.Slot, d.Rev, d.Done = Sent, 0, false, inc.Rev, inc.LastSeq
		}
	}
	return inc
}

// Leave drops the pages that have not arrived: somebody else sends them.
func Leave(inc Incident) Incident {
	inc.Deliveries = slices.DeleteFunc(slices.Clone(inc.Deliveries), func(d Delivery) bool {
		return d.Kind == PageDelivery && d.Ref == (Ref{}) && (d.Status == Pending || d.Status == InFlight)
	})
	return inc
}
