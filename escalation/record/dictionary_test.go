package record

import (
	"slices"
	"testing"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/routing"
	"callchain/routing/catalog"
	"callchain/routing/report"
)

// words makes the dictionary: what callchain's records say, with nothing of any
// one organisation's in it. What is likeliest stands last.
func words(t *testing.T) []byte {
	t.Helper()
	at := func(s int) escalation.Instant { return escalation.Instant(1795192489147 + 1000*s) }
	day := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	incident := func() escalation.Incident {
		return escalation.Incident{
			Schema: 1, ID: "00-5yd2o7p3rf", Source: "main", Group: "0032fd59c10f351f9ff6",
			GroupLabels: map[string]string{"alertname": "", "cluster": "", "namespace": "", "service": ""},
			ExternalURL: "http://alertmanager:9093", Target: routing.Target{Subject: "service:", Service: "x"},
			Lifecycle: "active", Assessment: "owned", MatchedBy: "label:service", Reason: "The label service names service x.",
			State: "triggered", Urgency: "page", Rev: 2, OpenedAt: at(0), SeenAt: at(0), FactDay: "2026-11-20",
			Episodes: escalation.Episodes{{StartsAt: at(0), Urgency: "page"}},
			Shown: []escalation.Alert{{
				Labels: map[string]string{
					"alertname": "", "cluster": "", "container": "", "environment": "production", "instance": "", "job": "node", "namespace": "kube-system",
					"node": "", "pod": "", "prometheus": "k8s", "region": "", "service": "", "severity": "critical", "site": "", "team": "",
				},
				Annotations: map[string]string{
					"dashboard": "https://grafana", "description": "", "message": "",
					"runbook_url": "https://", "summary": "",
				},
				Source: "http://prometheus:9090/graph?g0.expr=rate%28_total%5B5m%5D%29+%3E+0&g0.tab=1", StartsAt: at(0),
			}},
			Run: 1, Round: 1, Rounds: 2, Through: 2, Position: 1, Positions: 3, StepAt: at(0), Deadline: at(600), RemindAt: at(300),
			RoundPaged: []string{"x"}, Asked: []string{"x"}, Paged: []escalation.Paged{{Handle: "x", As: "incident_response", At: at(0), Step: 1}},
			FiredAt: at(0), Woken: 1, LastSeq: 2,
		}
	}
	delivery := func(d escalation.Delivery) escalation.Delivery {
		d.ID, d.At, d.Attempt, d.Status, d.To = "wmhm457p7al6xber", at(0), 1, escalation.Sent, "x"
		return d
	}
	slack := escalation.Ref{Channel: "C0", TS: "1795192489.000100"}
	mail := escalation.Ref{Channel: "<", TS: ""}
	why := "on call of x, the incident response owner of x (the team has no schedule)"

	// What happens less often.
	rare := incident()
	rare.State, rare.Urgency, rare.Assessment, rare.Lifecycle = "acknowledged", "unbreak_now", "partial", "third_party"
	rare.Risks = []routing.Risk{"unowned", "partial", "unknown_service", "unmapped", "nobody_on_call", "single_person", "exhausted", "unreachable"}
	rare.Missing = append(rare.Missing, "product_management", "contingency_development", "configuration_deployment", "development")
	rare.Ack = &escalation.Ack{Actor: escalation.Actor{Handle: "x", Name: "X", Via: "slack"}, At: at(60)}
	rare.Gone = []escalation.Gone{{Fingerprint: 1 << 60, EndsAt: at(0), Received: at(0)}}
	rare.Paged = append(rare.Paged, escalation.Paged{Handle: "x", As: "engineering_manager", At: at(1), Step: 2}, escalation.Paged{Handle: "x", As: "fallback", At: at(2), Step: 3})
	rare.Deliveries = []escalation.Delivery{
		delivery(escalation.Delivery{Kind: escalation.ReminderDelivery, Channel: "email", Address: "x@", Parent: "wmhm457p7al6xber", Ref: mail, Reached: at(1)}),
		delivery(escalation.Delivery{Kind: escalation.ToldDelivery, Channel: "slack", Address: "U0", Parent: "wmhm457p7al6xber", Ref: slack, Reached: at(1)}),
		delivery(escalation.Delivery{Kind: escalation.PageDelivery, Channel: "slack", Address: "U0", As: "development", Why: "all of x, the development owner of x",
			Run: 1, Round: 1, Position: 2, Slot: true, Until: at(10), Tries: 1, Maybe: 1, Sending: 2, Error: "context deadline exceeded"}),
	}
	for i, text := range []string{
		"resolved: all its alerts are over", "resolved by x (slack)", "acknowledged by x (email)", "1 more alert fires: 2 in all", "1 resolved, 1 still firing",
		"x escalated (web)", "nobody answered in 2 rounds: the incident stays open", "step 2 of 3 (round 1 of 2): reminded x; paged x (the manager of x, the engineering manager)",
		"could not reach x: ", "urgency rises from page to unbreak_now: ", "still nobody: paged x of the fallback team again",
	} {
		rare.Timeline = append(rare.Timeline, escalation.Entry{Seq: i, At: at(i), Text: text, By: "x", Ring: true, Mention: "x"})
	}
	facts := report.Facts{
		Schema: 1, Day: "2026-11-20", Subject: "service:", Service: "x", Team: "x", State: "active", Assessment: "owned",
		Hit: map[catalog.Assessment]int{"owned": 1}, Alerts: 1, Urgencies: map[config.Urgency]int{"page": 1, "notify": 1, "record": 1},
		Names: map[string]int{"": 1}, Incidents: 1, Pages: 1, Escalations: 1, AckCount: 1,
		Acks:       []report.Ack{{By: "x", Team: "x", Seconds: 60, Incident: "00-5yd2o7p3rf"}},
		RiskCounts: map[routing.Risk]int{"single_person": 1, "partial": 1},
		Risks:      []report.Risk{{Kind: "single_person", At: day, Alert: "x", Incident: "00-5yd2o7p3rf"}},
	}
	group := escalation.Group{
		Schema: 1, ID: "0032fd59c10f351f9ff6", Source: "main", ExternalURL: "http://alertmanager:9093",
		Labels: map[string]string{"alertname": "", "cluster": "", "namespace": ""}, Incidents: []string{"00-5yd2o7p3rf"}, Seq: 1, TouchedAt: at(0),
	}

	usual := incident()
	usual.Deliveries = []escalation.Delivery{
		delivery(escalation.Delivery{Kind: escalation.BoardDelivery, Channel: "slack", Address: "#", Ref: slack, Rev: 2, Reached: at(1)}),
		delivery(escalation.Delivery{Kind: escalation.ThreadDelivery, Channel: "slack", Address: "#", Parent: "wmhm457p7al6xber", Done: 2, Reached: at(1)}),
		delivery(escalation.Delivery{Kind: escalation.PageDelivery, Channel: "slack", Address: "U0", As: "incident_response", Why: why,
			Run: 1, Round: 1, Position: 1, Ref: slack, Rev: 2, Reached: at(1)}),
		delivery(escalation.Delivery{Kind: escalation.PageDelivery, Channel: "email", Address: "x@", As: "incident_response", Why: why,
			Run: 1, Round: 1, Position: 1, Ref: mail, Reached: at(1)}),
	}
	usual.Timeline = []escalation.Entry{
		{Seq: 1, At: at(0), Text: "opened: 1 alert fires for service:"},
		{Seq: 2, At: at(0), Text: "step 1 of 3: paged x (" + why + ")"},
	}

	var all [][]byte
	for _, v := range []any{rare, facts, group, usual} {
		plain, err := enc.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, plain)
	}
	return slices.Concat(all...)
}
