package routing

import (
	"strings"
	"testing"
	"time"

	"callchain/config"
)

const whomCatalog = `
people:
  - {name: ana, email: a@x.org}
  - {name: ben, email: b@x.org}
  - {name: dora, email: d@x.org}
  - {name: elif, email: e@x.org}
  - {name: gus, email: g@x.org}
  - {name: vic, email: v@x.org}
teams:
  - {name: ops, members: [ana], manager: dora, director: elif, aliases: [operations]}
  - {name: dev, members: [ben]}
  - {name: sre, members: [gus]}
  - {name: helpers, kind: volunteer, members: [vic]}
services:
  - {name: web, state: active, owners: {development: dev, configuration_deployment: ops, incident_response: ops, product_management: dev}}
  - {name: old, state: maintenance, owners: {contingency_development: dev, configuration_deployment: ops, incident_response: ops}}
  - name: held
    state: maintenance
    owners: {contingency_development: {vacant: true, director: elif, reason: "ended"}, configuration_deployment: ops, incident_response: ops}
`

// Whoever is asked for by hand is who the chain would ask in that place.
func TestWhom(t *testing.T) {
	in := chainInputOf(t, whomCatalog, "managed:incident_response - 7m, engineering_manager - 9m\n")
	r := &Router{catalog: in.catalog, policies: in.policies, fallback: in.fallback}
	for _, tc := range []struct {
		service, to string
		urgency     config.Urgency
		who         string // or, after "-", a part of the reason why nobody
		wait        time.Duration
	}{
		{"web", "incident_response", "page", "ana", 10 * time.Minute},
		{"web", "development", "page", "ben", 20 * time.Minute},
		{"web", "development", "unbreak_now", "ben", 10 * time.Minute},
		{"web", "configuration_deployment", "page", "ana", 10 * time.Minute}, // no step of the policy: as the first
		{"web", "product_management", "page", "ben", 10 * time.Minute},
		{"web", "engineering_manager", "page", "- dev names no engineering manager", 20 * time.Minute},
		{"web", "director", "unbreak_now", "- dev names no director", 15 * time.Minute},
		{"old", "engineering_manager", "page", "dora", 20 * time.Minute}, // of ops: dev is not asked for a page
		{"old", "director", "page", "elif", 15 * time.Minute},
		{"web", "fallback", "page", "gus", 30 * time.Minute},
		{"web", "fallback", "notify", "gus", 30 * time.Minute},
		{"web", "team:operations", "page", "ana", 10 * time.Minute},
		{"web", "person:vic", "page", "- vic is a volunteer", 10 * time.Minute},
		{"web", "team:helpers", "page", "- helpers are volunteers", 10 * time.Minute},
		{"web", "team:none", "page", "- the catalog has no team none", 10 * time.Minute},
		{"web", "nonsense", "page", "- callchain knows no step nonsense", 10 * time.Minute},
		{"web", "", "page", "-", 10 * time.Minute},
		{"web", "contingency_development", "page", "- does not apply to web", 10 * time.Minute},
		{"old", "contingency_development", "page", "- only for unbreak_now; this is page; if it is an emergency, declare it unbreak_now first", 10 * time.Minute},
		{"old", "contingency_development", "unbreak_now", "ben", 10 * time.Minute},
		{"held", "contingency_development", "unbreak_now", "elif", 10 * time.Minute},
		{"old", "team:dev", "page", "ben", 10 * time.Minute}, // a person decided
		{"", "incident_response", "page", "gus", 10 * time.Minute},
		{"gone", "development", "page", "gus", 20 * time.Minute},
	} {
		t.Run(tc.service+" "+tc.to+" "+string(tc.urgency), func(t *testing.T) {
			got := r.Whom(Target{Subject: "x", Service: tc.service}, tc.to, tc.urgency, time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC))
			if why, none := strings.CutPrefix(tc.who, "-"); none {
				if len(got.People) > 0 || got.Reason == "" || !strings.Contains(got.Reason, strings.TrimSpace(why)) {
					t.Errorf("asks %v because %q; want nobody, because %q", got.People, got.Reason, why)
				}
			} else if strings.Join(got.People, " ") != tc.who || got.Reason == "" {
				t.Errorf("asks %v (%s); want %s", got.People, got.Reason, tc.who)
			}
			if got.AckWithin != tc.wait {
				t.Errorf("waits %v; want %v", got.AckWithin, tc.wait)
			}
		})
	}
	if got := r.Whom(Target{Subject: "x", Service: "web", Policy: "managed"}, "engineering_manager", "page", time.Time{}); strings.Join(got.People, " ") != "dora" || got.AckWithin != 9*time.Minute {
		t.Errorf("by the policy: %v after %v; want dora after 9m", got.People, got.AckWithin)
	}
}
