package escalation

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"callchain/routing"
)

// recorded returns every recorded body: real alerts grouped as their
// Alertmanager groups them, and bodies of several versions of Alertmanager.
func recorded(t *testing.T) [][]byte {
	t.Helper()
	const dir = "../internal/testdata/alerts"
	data, err := os.ReadFile(filepath.Join(dir, "webhooks.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var bodies [][]byte
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		bodies = append(bodies, bytes.Clone(lines.Bytes()))
	}
	if len(bodies) != 268 {
		t.Fatalf("%d recorded webhooks; want 268", len(bodies))
	}
	files, _ := filepath.Glob(filepath.Join(dir, "payloads", "*.json"))
	if len(files) < 50 {
		t.Fatalf("%d bodies of Alertmanager", len(files))
	}
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	return bodies
}

// Every recorded alert that fires ends in exactly one open incident, of its own
// subject, with somebody to page or a board that was told, or as a recorded fact.
func TestRecordedAlertsReachSomebody(t *testing.T) {
	env := commonEnv(t)
	for _, body := range recorded(t) {
		wh, err := routing.Decode(body)
		if err != nil {
			t.Fatalf("%v: %.200s", err, body)
		}
		w := newWorld(env)
		w.webhook(wh)
		w.webhook(wh) // a retry, or the peer's copy
		gid, _ := GroupID("main", wh.GroupLabels)
		group := w.groups[gid]
		for _, a := range wh.Alerts {
			r := env.Router.Route(routing.Alert{Labels: a.Labels, RouteLabels: wh.RouteLabels}, w.now)
			var in []Incident
			for _, inc := range w.incs {
				if inc.Open() && inc.Episodes.Firing(a.Fingerprint) {
					in = append(in, inc)
				}
			}
			if !a.Firing {
				if len(in) != 0 {
					t.Errorf("%v is resolved and still fires", a.Labels)
				}
				continue
			}
			if group.Recorded.Firing(a.Fingerprint) {
				if len(in) != 0 || len(w.facts) == 0 || w.facts[0].Recorded == "" {
					t.Errorf("%v: recorded, and in %d incidents, with %d reasons", a.Labels, len(in), len(w.facts))
				}
				continue
			}
			if len(in) != 1 || in[0].Subject != r.Subject {
				t.Errorf("%v: in %d incidents; want one of %s", a.Labels, len(in), r.Subject)
				continue
			}
			told := len(in[0].Paged) > 0
			for _, d := range in[0].Deliveries {
				told = told || d.Kind == BoardDelivery && d.Reached != 0
			}
			if !told {
				t.Errorf("%v: nobody is told: %s", a.Labels, in[0].Summary())
			}
		}
	}
}
