package email

import "callchain/notifiers"

// digest fills in a mail of a storm.
func digest(v *letter, m notifiers.Message) {
	s := m.Digest
	if s == nil {
		return
	}
	v.Status = notifiers.StormLead(m)
	v.Next = notifiers.Upcoming(m)
	v.Count = notifiers.StormSince(m, m.Incident.OpenedAt)
	v.Alerts = notifiers.StormLines(m)
	if left := notifiers.StormLeft(m); left != "" {
		v.Alerts = append(v.Alerts, left)
	}
	if page, ok := notifiers.Link(notifiers.Untrusted(s.Page)); ok {
		v.Places = []notifiers.Place{{Label: "All incidents", URL: page, Text: page}}
	}
	if s.Over {
		v.Colour = done
		return
	}
	v.Late = true
	if m.You != nil && s.Asks > 0 {
		if link, ok := notifiers.Link(notifiers.Untrusted(m.You.AckURL)); ok {
			v.AckURL, v.AckLabel, v.Acts = link, notifiers.StormButton(s), true
		}
	}
}
