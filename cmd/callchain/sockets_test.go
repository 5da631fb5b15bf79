package main_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"callchain/internal/testbench"
)

// sockets is the value of callchain_slack_sockets, "" when there is no such metric.
func (in *installation) sockets(t *testing.T) string {
	t.Helper()
	resp, err := http.Get(in.URL + "/metrics")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`(?m)^callchain_slack_sockets (\d+)$`).FindSubmatch(body); m != nil {
		return string(m[1])
	}
	return ""
}

func (in *installation) awaitSocket(t *testing.T) {
	t.Helper()
	testbench.Eventually(t, 20*time.Second, "a socket", func() bool { n := in.sockets(t); return n != "" && n != "0" })
}

// In Socket Mode a press comes in over the connection that callchain opened, and
// is acknowledged when it is stored; without a callchain it is shown as failed.
func TestSocketMode(t *testing.T) { overStores(t, socketModeOver) }

func socketModeOver(t *testing.T, store string) {
	in := installFor(t, store, `[{notify: incident_response, ack_within: 1h}, {notify: fallback, ack_within: 1h}]`, socketMode)
	in.am.PostAlerts(t, errors5xx("parsoid", false))
	page := in.slack.AwaitMessage(t, "U01ANA", "HighErrorRate")
	in.awaitSocket(t)
	if a := in.slack.Command(t, "U01ANA", "#ops", "/callchain", "help"); a.Status != http.StatusOK || !strings.Contains(a.Body, "ephemeral") {
		t.Errorf("the command was answered %+v", a)
	}
	if code := in.Terminate(t, 10*time.Second); code != 0 || !strings.Contains(in.Log(), "msg=stopped") {
		t.Errorf("SIGTERM: exit status %d", code)
	}
	if a := in.slack.Press(t, "U01ANA", page, "Acknowledge"); a.Status != 0 {
		t.Errorf("acknowledged while callchain is down: %+v", a)
	}
	in.Restart(t)
	in.awaitSocket(t)
	if a := in.slack.Press(t, "U01ANA", page, "Acknowledge"); a.Status != http.StatusOK {
		t.Fatalf("the press was answered %+v", a)
	}
	// What is acknowledged is stored.
	in.Kill9(t)
	in.Restart(t)
	if inc := in.await(t, "the incident", func(incident) bool { return true }); inc.AcknowledgedBy != "ana" {
		t.Errorf("after the kill: %+v", inc)
	}
	in.slack.AwaitMessage(t, "#ops", "ACKNOWLEDGED by ana")
	if strings.Contains(in.Log(), in.slack.AppToken) || strings.Contains(in.Log(), "/socket/") {
		t.Error("the log has the token or the address of a connection in it")
	}
}

// A reload begins and ends Socket Mode; nothing else changes with it.
func TestSocketModeByReload(t *testing.T) {
	t.Parallel()
	in := installFor(t, stores["embedded"](t), `[{notify: incident_response, ack_within: 1h}, {notify: fallback, ack_within: 1h}]`, socketMode)
	in.awaitSocket(t)
	file := filepath.Join(in.dir, "callchain.yml")
	with, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	reload := func(text string) {
		t.Helper()
		n := strings.Count(in.Log(), "msg=reloaded")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		in.Reload(t)
		testbench.Eventually(t, 10*time.Second, "the reload", func() bool { return strings.Count(in.Log(), "msg=reloaded") > n })
	}
	reload(strings.Replace(string(with), socketMode, signedRequests, 1))
	if n := in.sockets(t); n != "" {
		t.Errorf("without an app token there are %s sockets", n)
	}
	in.am.PostAlerts(t, errors5xx("parsoid", false))
	page := in.slack.AwaitMessage(t, "U01ANA", "HighErrorRate")
	testbench.Eventually(t, 10*time.Second, "the end of the socket", func() bool {
		return in.slack.Press(t, "U01GUS", page, "Acknowledge").Status == 0
	})
	reload(string(with))
	in.awaitSocket(t)
	if a := in.slack.Press(t, "U01ANA", page, "Acknowledge"); a.Status != http.StatusOK {
		t.Errorf("the press was answered %+v", a)
	}
}
