package escalation

import "time"

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

// Doubt marks the pages to people that are not known to have arrived: somebody
// may have sent them and not lived to say so.
func Doubt(inc Incident) (_ Incident, doubtful []string) {
	inc.Deliveries = append([]Delivery(nil), inc.Deliveries...)
	for i := range inc.Deliveries {
		if d := &inc.Deliveries[i]; d.Kind == PageDelivery && d.Status == Pending && d.Reached == 0 {
			d.Maybe = max(d.Maybe, 1)
			doubtful = append(doubtful, d.ID)
		}
	}
	return inc, doubtful
}
