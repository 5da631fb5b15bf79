package main_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"callchain/internal/testbench"
)

// witness gives the running daemon the addresses of its Alertmanagers.
func (in *installation) witness(t *testing.T, urls ...string) {
	t.Helper()
	file := filepath.Join(in.dir, "callchain.yml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const source = "token_file: am-token"
	changed := strings.Replace(string(text), source, fmt.Sprintf("%s, api_url: [%s]", source, strings.Join(urls, ", ")), 1)
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	in.Reload(t)
	testbench.Eventually(t, 10*time.Second, "the reload", func() bool { return strings.Contains(in.Log(), "msg=reloaded") })
}

// A silence in a real Alertmanager stops the chain before its next step; whoever
// was paged reads whose it is; and when it is over the next one is paged.
func TestSilenceInAlertmanager(t *testing.T) { overStores(t, silenceInAlertmanager) }

func silenceInAlertmanager(t *testing.T, store string) {
	in := install(t, store, `[{notify: incident_response, ack_within: 6s}, {notify: development, ack_within: 1h}, {notify: fallback, ack_within: 1h}]`)
	in.witness(t, in.am.URL)
	in.am.PostAlerts(t, errors5xx("parsoid", false))
	page := in.slack.AwaitMessage(t, "U01ANA", "HighErrorRate")
	if strings.Contains(page.Text, "does not stop") {
		t.Errorf("the page says that a silence does not count: %s", page.Text)
	}
	id := in.am.Silence(t, map[string]string{"alertname": "HighErrorRate"}, time.Hour, "<!channel> deploying")
	held := in.await(t, "the hold", func(i incident) bool { return i.Held })
	if held.NextStepAt != nil || held.State != "triggered" {
		t.Errorf("held, and %s with the next step at %v", held.State, *held.NextStepAt)
	}
	in.slack.AwaitMessage(t, "U01ANA", "ON HOLD")
	testbench.Eventually(t, 20*time.Second, "the mail that says who silenced it until when", func() bool {
		return slices.ContainsFunc(in.mail.Mails(t), func(m testbench.Mail) bool {
			said := strings.Join(strings.Fields(m.Text), " ")
			return m.To == "ana@example.org" && strings.Contains(said, "ON HOLD") && strings.Contains(said, "by test until") && strings.Contains(said, "deploying")
		})
	})
	if n := pagesTo(t, in.slack, "U01BEN"); n != 0 {
		t.Errorf("ben was paged while it was silenced")
	}

	// When the next round would see that the silence is gone nobody need wait for it.
	in.am.Unsilence(t, id)
	testbench.Eventually(t, 10*time.Second, "an escalation by hand", func() bool {
		return in.act(t, held.ID, "escalate") == http.StatusOK
	})
	in.slack.AwaitMessage(t, "U01BEN", "HighErrorRate")
	in.await(t, "the end of the hold", func(i incident) bool { return !i.Held })
}

// An Alertmanager that takes connections and never answers delays a step by a
// moment and holds nothing.
func TestAlertmanagerThatHangs(t *testing.T) {
	t.Parallel()
	in := install(t, stores["embedded"](t), `[{notify: incident_response, ack_within: 4s}, {notify: development, ack_within: 1h}, {notify: fallback, ack_within: 1h}]`)
	done := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-done }))
	t.Cleanup(hangs.Close)
	t.Cleanup(func() { close(done) })
	in.witness(t, in.am.URL, hangs.URL)
	in.am.PostAlerts(t, errors5xx("parsoid", false))
	in.slack.AwaitMessage(t, "U01ANA", "HighErrorRate")
	begin := time.Now()
	in.slack.AwaitMessage(t, "U01BEN", "HighErrorRate")
	if late := time.Since(begin) - 4*time.Second; late > 3*time.Second {
		t.Errorf("the step came %v late", late)
	}
}

// act does something with an incident over the API, as ana.
func (in *installation) act(t *testing.T, id, action string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, in.URL+"/api/v1/incidents/"+id+"/"+action, strings.NewReader(`{"by": "ana"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer a-token-of-the-command-line")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}
