package testbench_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"callchain/internal/testbench"
)

// webhook is what the test reads of Alertmanager's payload.
type webhook struct {
	Authorization string `json:"-"`
	GroupLabels   map[string]string
	Alerts        []struct {
		Status string
		Labels map[string]string
	}
}

func TestAlertmanagerNotifiesItsWebhook(t *testing.T) {
	got := make(chan webhook, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := webhook{Authorization: r.Header.Get("Authorization")}
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
			t.Errorf("decode webhook: %v", err)
		}
		got <- p
	}))
	defer receiver.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	am := testbench.StartAlertmanager(t, testbench.AlertmanagerConfig{
		WebhookURL: receiver.URL, TokenFile: token, GroupBy: []string{"service"},
	})
	next := func() webhook {
		t.Helper()
		select {
		case p := <-got:
			return p
		case <-time.After(20 * time.Second):
			t.Fatal("no webhook")
			return webhook{}
		}
	}

	alert := testbench.Alert{
		Labels:      map[string]string{"alertname": "Down", "service": "checkout"},
		Annotations: map[string]string{"summary": "it is down"},
	}
	// A silenced alert never arrives: if the silence failed, it would be the first.
	silence := am.Silence(t, map[string]string{"service": "quiet"}, time.Hour, "maintenance")
	am.PostAlerts(t, testbench.Alert{Labels: map[string]string{"alertname": "Down", "service": "quiet"}})
	am.PostAlerts(t, alert)
	first := next()
	if first.Authorization != "Bearer s3cret" {
		t.Errorf("Authorization is %q", first.Authorization)
	}
	if first.GroupLabels["service"] != "checkout" || len(first.Alerts) != 1 || first.Alerts[0].Status != "firing" {
		t.Errorf("first webhook is %+v, want checkout firing", first)
	}

	alert.EndsAt = time.Now()
	am.PostAlerts(t, alert)
	if p := next(); p.GroupLabels["service"] != "checkout" || p.Alerts[0].Status != "resolved" {
		t.Errorf("second webhook is %+v, want checkout resolved", p)
	}

	am.Unsilence(t, silence)
	if p := next(); p.GroupLabels["service"] != "quiet" {
		t.Errorf("after the silence came %+v, want quiet firing", p)
	}
}
