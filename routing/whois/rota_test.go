package whois

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callchain/config"
	"callchain/routing/catalog"
)

func TestRota(t *testing.T) {
	const text = `
people: [{name: ana, email: a@example.org}, {name: ben, email: b@example.org}, {name: cid, email: c@example.org}]
teams:
  - {name: sre, members: [ana, ben], lead: ben, on_call: days}
  - {name: web, members: [cid, ben], on_call: gone}
  - {name: shop, members: [cid]}
  - {name: fans, kind: volunteer, members: [ana]}
schedules:
  - name: days
    timezone: Europe/Berlin
    rotations: [{members: [ana, ben], start: 2026-11-02T09:00:00, every: 1w, only: {from: "09:00", to: "17:00"}}]
  - {name: gone, timezone: Etc/UTC, rotations: [{members: [zed], start: 2026-11-02T09:00:00, every: 1w}]}
`
	raw, ps := config.ParseCatalog([]config.File{{Name: "catalog.yml", Data: []byte(text)}})
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	c, ps := catalog.New(raw)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	instant := func(day, hour int) *time.Time {
		at := time.Date(2026, 11, day, hour, 0, 0, 0, time.UTC)
		return &at
	}
	none := []string{}
	shop := Cover{Team: "shop", People: []string{"cid"}, StandIn: none, Next: none}
	// Nobody whom the catalog lacks is on call, or takes over.
	web := Cover{Team: "web", Schedule: "gone", People: none, StandIn: []string{"cid", "ben"}, Next: none}
	for name, tc := range map[string]struct {
		at  *time.Time
		sre Cover
	}{
		"by day": {instant(20, 10), Cover{
			Team: "sre", Schedule: "days", People: []string{"ana"}, StandIn: none,
			Until: instant(20, 16), Next: []string{"ben"}, NextFrom: instant(23, 8),
		}},
		"at night": {instant(22, 16), Cover{
			Team: "sre", Schedule: "days", People: none, StandIn: []string{"ben"},
			Until: instant(23, 8), Next: []string{"ben"}, NextFrom: instant(23, 8),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			want := Rota{At: *tc.at, OnCall: []Cover{shop, tc.sre, web}}
			if diff := cmp.Diff(want, OnCall(c, c.Teams(), tc.at.In(time.FixedZone("x", 3600)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}
