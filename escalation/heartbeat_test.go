package escalation

import (
	"testing"
	"time"

	"github.com/prometheus/alertmanager/pkg/labels"

	"callchain/config"
	"callchain/routing"
)

func TestIsBeat(t *testing.T) {
	match := func(name, value string) config.At[*labels.Matcher] {
		m, err := labels.NewMatcher(labels.MatchEqual, name, value)
		if err != nil {
			t.Fatal(err)
		}
		return config.At[*labels.Matcher]{V: m}
	}
	h := config.Heartbeat{Source: config.At[string]{V: "main"}, Match: config.MatcherSet{match("alertname", "Watchdog"), match("cluster", "")}}
	for _, test := range []struct {
		name, source string
		firing       bool
		labels       map[string]string
		want         bool
	}{
		{"the alert", "main", true, map[string]string{"alertname": "Watchdog"}, true},
		{"of another source", "other", true, map[string]string{"alertname": "Watchdog"}, false},
		{"its end", "main", false, map[string]string{"alertname": "Watchdog"}, false},
		{"another alert", "main", true, map[string]string{"alertname": "Slow"}, false},
		{"only some matchers", "main", true, map[string]string{"alertname": "Watchdog", "cluster": "b"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := IsBeat(h, test.source, &routing.WebhookAlert{Firing: test.firing, Labels: test.labels}); got != test.want {
				t.Errorf("IsBeat = %v, want %v", got, test.want)
			}
		})
	}
	h.Match = nil
	if IsBeat(h, "main", &routing.WebhookAlert{Firing: true}) {
		t.Error("a heartbeat without matchers takes every alert")
	}
}

// The life of a heartbeat of five minutes, minute by minute.
func TestHeartbeatLook(t *testing.T) {
	began := time.Date(2026, 11, 20, 17, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return began.Add(d) }
	const every = 5 * time.Minute
	seen := func(d time.Duration) Heartbeat { h, _ := Heartbeat{}.Beat(at(d), every); return h }
	missed := seen(0)
	missed.MissedAt = At(at(6 * time.Minute))
	odd := seen(0)
	odd.OddAt = At(at(4 * time.Minute))
	for _, test := range []struct {
		name  string
		h     Heartbeat
		at    time.Duration
		every time.Duration
		since time.Duration
		want  Pulse
		look  time.Duration // when it is looked at again
	}{
		{"in time", seen(0), 4 * time.Minute, every, -time.Hour, Beating, 6 * time.Minute},
		{"a little late is not missed", seen(0), 5*time.Minute + 50*time.Second, every, -time.Hour, Beating, 6 * time.Minute},
		{"missed", seen(0), 6 * time.Minute, every, -time.Hour, JustMissed, 7 * time.Minute},
		{"nobody could hear it", seen(0), 6 * time.Minute, every, 4 * time.Minute, Beating, 10 * time.Minute},
		{"nor long after", seen(0), time.Hour, every, time.Hour - time.Second, Beating, time.Hour + 6*time.Minute - time.Second},
		{"still missed", missed, 9 * time.Minute, every, 0, StillMissed, 10 * time.Minute},
		{"a longer period was configured", seen(0), 6 * time.Minute, time.Hour, 0, Beating, 62 * time.Minute},
		{"not configured here", seen(0), 6 * time.Minute, 0, 0, Beating, 6*time.Minute + 30*time.Second},
		{"missed and not configured here", missed, 6 * time.Minute, 0, 0, StillMissed, 6*time.Minute + 30*time.Second},
		{"not configured for a while", odd, 7 * time.Minute, 0, 0, NotWanted, 6 * time.Minute},
		{"configured again", odd, 7 * time.Minute, time.Hour, 0, Beating, 62 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			next, got := test.h.Look(at(test.at), test.every, At(at(test.since)))
			if got != test.want || next.LookAt != At(at(test.look)) {
				t.Errorf("got %v, next look at %v; want %v, %v", got, next.LookAt.Time(), test.want, at(test.look))
			}
			if test.every > 0 && next.OddAt != 0 {
				t.Error("it is configured and counts as odd")
			}
		})
	}
}

func TestBeatsAreNotAllWrittenDown(t *testing.T) {
	began := time.Date(2026, 11, 20, 17, 0, 0, 0, time.UTC)
	h, changed := Heartbeat{}.Beat(began, 10*time.Minute)
	if !changed {
		t.Fatal("the first beat is not noted")
	}
	for _, test := range []struct {
		name  string
		h     Heartbeat
		after time.Duration
		every time.Duration
		want  bool
	}{
		{"at once again", h, time.Second, 10 * time.Minute, false},
		{"a minute later", h, time.Minute, 10 * time.Minute, true},
		{"for a shorter period", h, time.Second, time.Minute, true},
		{"of a missed one", Heartbeat{SeenAt: h.SeenAt, MissedAt: h.SeenAt + 1, LookAt: h.LookAt}, time.Second, 10 * time.Minute, true},
		{"of one that others do not know", Heartbeat{SeenAt: h.SeenAt, OddAt: h.SeenAt + 1, LookAt: h.LookAt}, time.Second, 10 * time.Minute, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			next, changed := test.h.Beat(began.Add(test.after), test.every)
			if changed != test.want || next.MissedAt != 0 || next.OddAt != 0 {
				t.Errorf("changed %v, want %v: %+v", changed, test.want, next)
			}
		})
	}
}
