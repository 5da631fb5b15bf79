package testbench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// AlertmanagerConfig is one route to one webhook.
type AlertmanagerConfig struct {
	WebhookURL string
	TokenFile  string   // sent as bearer token; "" for none
	GroupBy    []string // default alertname

	// Defaults fit tests: 100ms, 1s, 1h.
	GroupWait, GroupInterval, RepeatInterval time.Duration

	MaxAlerts int // Alertmanager's max_alerts; 0: no limit

	YAML string // a whole configuration, instead of all of the above

	Cluster bool          // it can be joined
	Join    *Alertmanager // it joins the cluster of this one
}

// Alertmanager is a running Alertmanager.
type Alertmanager struct {
	*Process
	URL     string
	cluster string // where others of its cluster reach it; "" if it is alone
}

// Alert is an alert as Prometheus posts it.
type Alert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	StartsAt     time.Time         `json:"startsAt,omitzero"` // zero: Alertmanager takes now
	EndsAt       time.Time         `json:"endsAt,omitzero"`   // in the past: the alert is resolved
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// StartAlertmanager starts an Alertmanager, alone unless the configuration says
// otherwise, and waits until it is ready.
func StartAlertmanager(t testing.TB, c AlertmanagerConfig) *Alertmanager {
	t.Helper()
	path := program(t, "alertmanager", ".cache/bin/alertmanager")
	webhook := map[string]any{"url": c.WebhookURL, "send_resolved": true, "max_alerts": c.MaxAlerts}
	if c.TokenFile != "" {
		file, err := filepath.Abs(c.TokenFile)
		if err != nil {
			t.Fatal(err)
		}
		webhook["http_config"] = map[string]any{
			"authorization": map[string]any{"type": "Bearer", "credentials_file": file},
		}
	}
	if len(c.GroupBy) == 0 {
		c.GroupBy = []string{"alertname"}
	}
	config, err := json.Marshal(map[string]any{ // JSON is YAML
		"route": map[string]any{
			"receiver":        "callchain",
			"group_by":        c.GroupBy,
			"group_wait":      orDefault(c.GroupWait, 100*time.Millisecond),
			"group_interval":  orDefault(c.GroupInterval, time.Second),
			"repeat_interval": orDefault(c.RepeatInterval, time.Hour),
		},
		"receivers": []any{map[string]any{"name": "callchain", "webhook_configs": []any{webhook}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.YAML != "" {
		config = []byte(c.YAML)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "alertmanager.yml")
	writeFile(t, file, config, 0o600)
	addr := FreeAddr(t)
	am := &Alertmanager{URL: "http://" + addr, Process: &Process{
		name: "alertmanager", path: path, dir: dir,
		args: []string{
			"--config.file=" + file, "--storage.path=" + filepath.Join(dir, "data"),
			"--web.listen-address=" + addr, "--cluster.listen-address=", "--log.level=warn",
		},
	}}
	if c.Cluster || c.Join != nil {
		am.cluster = FreeAddr(t)
		last := len(am.args) - 2
		am.args = append(am.args[:last:last], "--log.level=warn", "--cluster.listen-address="+am.cluster, "--cluster.gossip-interval=50ms",
			"--cluster.pushpull-interval=1s", "--cluster.settle-timeout=1s", "--cluster.peer-timeout=1s", "--cluster.probe-interval=500ms", "--cluster.probe-timeout=300ms")
		if c.Join != nil {
			am.args = append(am.args, "--cluster.peer="+c.Join.cluster)
		}
	}
	am.start(t)
	am.awaitReady(t, answers(am.URL+"/-/ready"))
	return am
}

// Restart starts an Alertmanager that was killed or has ended, with the same
// address, configuration and data.
func (am *Alertmanager) Restart(t testing.TB) {
	t.Helper()
	am.start(t)
	am.awaitReady(t, answers(am.URL+"/-/ready"))
}

func orDefault(d, def time.Duration) string {
	if d == 0 {
		d = def
	}
	return fmt.Sprintf("%dms", d.Milliseconds())
}

// PostAlerts posts alerts as Prometheus does. Alertmanager resolves an alert
// with an EndsAt in the past; without EndsAt it fires for five minutes.
func (am *Alertmanager) PostAlerts(t testing.TB, alerts ...Alert) {
	t.Helper()
	am.call(t, http.MethodPost, "/api/v2/alerts", alerts, nil)
}

// Silence silences the alerts that have all these labels, from now on for d,
// and returns the silence's id.
func (am *Alertmanager) Silence(t testing.TB, labels map[string]string, d time.Duration, comment string) string {
	t.Helper()
	type matcher struct {
		Name    string `json:"name"`
		Value   string `json:"value"`
		IsRegex bool   `json:"isRegex"`
		IsEqual bool   `json:"isEqual"`
	}
	matchers := []matcher{}
	for name, value := range labels {
		matchers = append(matchers, matcher{Name: name, Value: value, IsEqual: true})
	}
	slices.SortFunc(matchers, func(a, b matcher) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	now := time.Now()
	var answer struct {
		SilenceID string `json:"silenceID"`
	}
	am.call(t, http.MethodPost, "/api/v2/silences", map[string]any{
		"matchers": matchers, "startsAt": now, "endsAt": now.Add(d), "createdBy": "test", "comment": comment,
	}, &answer)
	return answer.SilenceID
}

// Unsilence ends a silence.
func (am *Alertmanager) Unsilence(t testing.TB, id string) {
	t.Helper()
	am.call(t, http.MethodDelete, "/api/v2/silence/"+id, nil, nil)
}

func (am *Alertmanager) call(t testing.TB, method, path string, in, out any) {
	t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	callJSON(t, method, am.URL+path, body, out)
}

// callJSON sends a request, wants 200 and decodes the answer into out unless
// that is nil.
func callJSON(t testing.TB, method, url string, body io.Reader, out any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s: %s", method, url, resp.Status, answer)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(answer, out); err != nil {
		t.Fatalf("%s %s: %v: %s", method, url, err, answer)
	}
}
