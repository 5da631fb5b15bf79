package routing

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
)

const recorded = "../internal/testdata/alerts"

// recordedBodies are all recorded webhook bodies by a name.
func recordedBodies(t testing.TB) map[string][]byte {
	t.Helper()
	bodies := map[string][]byte{}
	files, err := filepath.Glob(filepath.Join(recorded, "payloads", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded payloads: %v", err)
	}
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		bodies[filepath.Base(f)] = body
	}
	for i, line := range recordedLines(t) {
		bodies[fmt.Sprintf("webhooks.jsonl:%d", i+1)] = line
	}
	return bodies
}

func recordedLines(t testing.TB) [][]byte {
	t.Helper()
	f, err := os.Open(filepath.Join(recorded, "webhooks.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines [][]byte
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		lines = append(lines, bytes.Clone(in.Bytes()))
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestDecodeRecorded(t *testing.T) {
	for name, body := range recordedBodies(t) {
		w, err := Decode(body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		// Against a reading that knows nothing of ours.
		var raw struct {
			GroupKey, Receiver, ExternalURL string
			TruncatedAlerts                 uint64
			GroupLabels, RouteLabels        map[string]string
			Alerts                          []struct {
				Status, GeneratorURL, Fingerprint string
				Labels, Annotations               map[string]string
				StartsAt, EndsAt                  time.Time
			}
		}
		if err := json.Unmarshal(body, &raw); err != nil {
			t.Fatal(err)
		}
		want := Webhook{
			Receiver: raw.Receiver, GroupKey: raw.GroupKey, ExternalURL: raw.ExternalURL, Truncated: raw.TruncatedAlerts,
			GroupLabels: raw.GroupLabels, RouteLabels: raw.RouteLabels, Alerts: []WebhookAlert{},
		}
		for _, a := range raw.Alerts {
			sign := model.LabelsToSignature(a.Labels)
			if got := fmt.Sprintf("%016x", sign); a.Fingerprint != "" && got != a.Fingerprint {
				t.Errorf("%s: fingerprint %s computed as %s", name, a.Fingerprint, got)
			}
			want.Alerts = append(want.Alerts, WebhookAlert{
				Firing: a.Status == "firing", Labels: a.Labels, Annotations: a.Annotations, StartsAt: a.StartsAt.UTC(),
				EndsAt: a.EndsAt.UTC(), GeneratorURL: a.GeneratorURL, Fingerprint: sign,
			})
		}
		if diff := cmp.Diff(want, w); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

const oneAlert = `{"status":"firing","labels":{"alertname":"A"},"startsAt":"2026-11-20T09:00:00Z"}`

func body(alerts string) string {
	return `{"version":"4","groupKey":"{}:{}","alerts":[` + alerts + `]}`
}

func TestDecodeRefuses(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000)
	for _, test := range []struct{ name, body, want string }{
		{"nothing", "", "body: not a JSON object"},
		{"blank", " \n", "body: not a JSON object"},
		{"null", "null", "body: not a JSON object"},
		{"array", "[" + body(oneAlert) + "]", "body: not a JSON object"},
		{"number", "4", "body: not a JSON object"},
		{"text of a payload template", "HighLatency is firing", "payload:"},
		{"two objects", body(oneAlert) + body(oneAlert), "body: more than one JSON object"},
		{"trailing garbage", body(oneAlert) + "x", "body: more than one JSON object"},
		{"cut short", body(oneAlert)[:60], "body: the JSON object is cut short"},
		{"broken", `{"version":}`, "body: not valid JSON"},
		{"too deep", deep, "body: not valid JSON"},
		{"no version", `{"groupKey":"k","alerts":[]}`, "version: missing"},
		{"template body", `{"text":"HighLatency"}`, "remove a payload: setting"},
		{"version as number", `{"version":4,"groupKey":"k"}`, `version: want the text "4"`},
		{"version 5", `{"version":"5","groupKey":"k"}`, `version: want "4", got "5"`},
		{"Grafana", `{"version":"1","groupKey":"k","orgId":1}`, "Grafana Alerting"},
		{"no groupKey", `{"version":"4","alerts":[]}`, "groupKey: missing or empty"},
		{"empty groupKey", `{"version":"4","groupKey":"","alerts":[]}`, "groupKey: missing or empty"},
		{"groupKey no text", `{"version":"4","groupKey":7,"alerts":[]}`, "groupKey: missing or empty"},
		{"no labels", body(oneAlert + `,{"status":"firing"}`), "alerts[1].labels: missing or empty"},
		{"empty labels", body(`{"status":"firing","labels":{}}`), "alerts[0].labels: missing or empty"},
		{"null alert", body(`null`), "alerts[0].labels: missing or empty"},
		{"label is no text", body(oneAlert + `,{"status":"firing","labels":{"a":1}}`), "alerts[1].labels: want label names and texts"},
		{"labels are a list", body(`{"status":"firing","LABELS":[]}`), "alerts[0].labels: want label names and texts"},
		{"alert is no object", body(`"x"`), "alerts[0]: want an object"},
		{"alerts are no list", `{"version":"4","groupKey":"k","alerts":{}}`, "alerts: want a list"},
		{"groupLabels are no labels", `{"version":"4","groupKey":"k","groupLabels":{"a":[]}}`, "groupLabels: want"},
		{"routeLabels are no labels", `{"version":"4","groupKey":"k","routeLabels":"a"}`, "routeLabels: want"},
		{"status suppressed", body(`{"status":"suppressed","labels":{"a":"b"}}`), `alerts[0].status: want firing or resolved, got "suppressed"`},
		{"status in capitals", body(`{"status":"FIRING","labels":{"a":"b"}}`), `alerts[0].status: want firing or resolved, got "FIRING"`},
		{"no status", body(`{"labels":{"a":"b"}}`), "alerts[0].status: want firing or resolved, got nothing"},
		{"status is an object", body(`{"status":{},"labels":{"a":"b"}}`), "alerts[0].status: want firing or resolved, got something else"},
		{"startsAt no time", body(`{"status":"firing","labels":{"a":"b"},"startsAt":"yesterday"}`), `alerts[0].startsAt: want a time like`},
		{"startsAt empty", body(`{"status":"firing","labels":{"a":"b"},"startsAt":""}`), `alerts[0].startsAt: want a time like`},
		{"startsAt a number", body(`{"status":"firing","labels":{"a":"b"},"startsAt":1763629200}`), `alerts[0].startsAt: want a time like`},
		{"startsAt beyond the calendar", body(`{"status":"firing","labels":{"a":"b"},"startsAt":"9999-12-31T23:59:59-01:00"}`), `alerts[0].startsAt`},
		{"endsAt no time", body(`{"status":"resolved","labels":{"a":"b"},"endsAt":"2026-02-30T00:00:00Z"}`), `alerts[0].endsAt: want a time like`},
		{"long value is cut", body(`{"status":"` + strings.Repeat("ö\\n", 5000) + `","labels":{"a":"b"}}`), `alerts[0].status`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Decode([]byte(test.body))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not say %q", err, test.want)
			}
			if len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("error is not one short line: %q", err)
			}
		})
	}
}

func TestDecodeAccepts(t *testing.T) {
	for _, test := range []struct {
		name, body string
		want       Webhook
	}{
		{"no alerts", body(""), Webhook{}},
		{"null alerts", `{"version":"4","groupKey":"{}:{}","alerts":null}`, Webhook{}},
		{"no alerts key", "\n\t " + `{"version":"4","groupKey":"{}:{}"}` + " \n", Webhook{}},
		{"unknown fields", `{"version":"4","groupKey":"{}:{}","later":{"a":[1e999]},"alerts":[]}`, Webhook{}},
		{"top-level status decides nothing", `{"version":"4","groupKey":"{}:{}","status":7}`, Webhook{}},
		{"truncated", `{"version":"4","groupKey":"{}:{}","truncatedAlerts":190}`, Webhook{Truncated: 190}},
		{"truncated is no count", `{"version":"4","groupKey":"{}:{}","truncatedAlerts":-1}`, Webhook{}},
		{"truncated beyond counting", `{"version":"4","groupKey":"{}:{}","truncatedAlerts":1e300}`, Webhook{Truncated: 1<<64 - 1}},
		{"truncated beyond numbers", `{"version":"4","groupKey":"{}:{}","truncatedAlerts":1e999}`, Webhook{}},
		{"what decides nothing has the wrong type", `{"version":"4","groupKey":"{}:{}","receiver":7,"externalURL":[],"alerts":[
			{"status":"resolved","labels":{"a":"b"},"annotations":[],"generatorURL":{},"fingerprint":12}]}`,
			Webhook{Alerts: []WebhookAlert{{Labels: map[string]string{"a": "b"}, Fingerprint: model.LabelsToSignature(map[string]string{"a": "b"})}}}},
		{"fingerprint is believed", body(`{"status":"firing","labels":{"a":"b"},"fingerprint":"00000000000000ff"}`),
			Webhook{Alerts: []WebhookAlert{{Firing: true, Labels: map[string]string{"a": "b"}, Fingerprint: 255}}}},
		{"unreadable fingerprint is computed", body(`{"status":"firing","labels":{"a":"b"},"fingerprint":"+0000000000000ff"}`),
			Webhook{Alerts: []WebhookAlert{{Firing: true, Labels: map[string]string{"a": "b"}, Fingerprint: model.LabelsToSignature(map[string]string{"a": "b"})}}}},
		{"broken UTF-8", body("{\"status\":\"firing\",\"labels\":{\"a\":\"\xff\"},\"fingerprint\":\"0000000000000001\"}"),
			Webhook{Alerts: []WebhookAlert{{Firing: true, Labels: map[string]string{"a": "\uFFFD"}, Fingerprint: 1}}}},
		{"times become UTC", body(`{"status":"firing","labels":{"a":"b"},"startsAt":"2026-11-20T10:00:00.5+01:00","endsAt":null,"fingerprint":"0000000000000001"}`),
			Webhook{Alerts: []WebhookAlert{{Firing: true, Labels: map[string]string{"a": "b"}, Fingerprint: 1,
				StartsAt: time.Date(2026, 11, 20, 9, 0, 0, 5e8, time.UTC)}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Decode([]byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			test.want.GroupKey = "{}:{}"
			if test.want.Alerts == nil {
				test.want.Alerts = []WebhookAlert{}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// encode writes a webhook as Alertmanager would.
func encode(t *testing.T, w Webhook) []byte {
	t.Helper()
	alerts := []map[string]any{}
	for _, a := range w.Alerts {
		status := "resolved"
		if a.Firing {
			status = "firing"
		}
		alerts = append(alerts, map[string]any{
			"status": status, "labels": a.Labels, "annotations": a.Annotations, "startsAt": a.StartsAt, "endsAt": a.EndsAt,
			"generatorURL": a.GeneratorURL, "fingerprint": fmt.Sprintf("%016x", a.Fingerprint),
		})
	}
	out, err := json.Marshal(map[string]any{
		"version": "4", "groupKey": w.GroupKey, "receiver": w.Receiver, "externalURL": w.ExternalURL,
		"groupLabels": w.GroupLabels, "routeLabels": w.RouteLabels, "alerts": alerts, "truncatedAlerts": w.Truncated,
	})
	if err != nil {
		t.Fatalf("encoding what was decoded: %v", err)
	}
	return out
}

// Whatever comes: no panic, a short error, and what is accepted means the same
// when it is written and read again.
func FuzzDecode(f *testing.F) {
	seeds := 0
	for name, b := range recordedBodies(f) {
		if len(b) < 4096 && (strings.HasPrefix(name, "am-") || seeds < 5) {
			f.Add(b)
			seeds++
		}
	}
	f.Add([]byte(body(`{"status":"firing","labels":{"a":1}}`)))
	f.Add([]byte(`{"version":"4","groupKey":"k","alerts":[],"alerts":[{"status":"firing","labels":{"a":"b"}}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		w, err := Decode(in)
		if err != nil {
			if len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("error is not one short line: %q", err)
			}
			return
		}
		again, err := Decode(encode(t, w))
		if err != nil {
			t.Fatalf("decoding again: %v", err)
		}
		// Counts beyond what a float64 tells apart are rounded.
		w.Truncated, again.Truncated = 0, 0
		if diff := cmp.Diff(w, again); diff != "" {
			t.Errorf("(-first +again)\n%s", diff)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for name, n := range map[string]string{
		"1 alert":    "am-0.34.0-single-firing.json",
		"200 alerts": "am-0.34.0-group200-full-firing200.json",
	} {
		body, err := os.ReadFile(filepath.Join(recorded, "payloads", n))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
