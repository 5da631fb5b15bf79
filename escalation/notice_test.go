package escalation

import (
	"slices"
	"testing"
)

// What callchain says about itself reaches somebody, whatever the team has.
func TestNoticeReachesSomebody(t *testing.T) {
	for _, tc := range []struct {
		name, team string
		channels   []string
		boardOnly  bool
		want       []string
	}{
		{"board and address", "serviceops", []string{"slack", "email"}, false, []string{"#serviceops", "serviceops@example.org"}},
		{"board only", "serviceops", []string{"slack", "email"}, true, []string{"#serviceops"}},
		{"board only, but Slack cannot carry it", "serviceops", []string{"email"}, true, []string{"serviceops@example.org"}},
		{"a board and no address", "content", []string{"slack", "email"}, false, []string{"#content"}},
		{"no address, and Slack cannot carry it", "content", []string{"email"}, false, []string{"chen@example.org"}},
		{"no board of its own", "release", []string{"slack", "email"}, false, []string{"#incidents"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := commonEnv(t)
			env.Channels = map[string]bool{}
			for _, ch := range tc.channels {
				env.Channels[ch] = true
			}
			inc := NewNotice("3f-notice", tc.team, "title", "body", tc.boardOnly, epoch, env)
			var got []string
			for _, d := range inc.Deliveries {
				got = append(got, d.Address)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("goes to %v; want %v", got, tc.want)
			}
		})
	}
}
