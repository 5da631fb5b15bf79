package main_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
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

// doctor runs "callchain doctor slack" beside the daemon.
func (in *installation) doctor(t *testing.T, code int, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testbench.Binary(t), append([]string{"doctor", "slack", "--url=" + in.URL, "--token-file=api-token", "--by=ana"}, args...)...)
	cmd.Dir = in.dir
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("doctor slack %v ends with %d, want %d:\n%s%s", args, got, code, stdout.String(), stderr.String())
	}
	return stdout.String()
}

func wants(t *testing.T, out string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(out, want) {
			t.Errorf("nothing says %q:\n%s", want, out)
		}
	}
}

// The doctor tells whether Slack is as callchain needs it, up to a press that
// really came back.
func TestDoctorSlack(t *testing.T) {
	t.Parallel()
	const policy = `[{notify: incident_response, ack_within: 1h}, {notify: fallback, ack_within: 1h}]`
	t.Run("Socket Mode", func(t *testing.T) {
		t.Parallel()
		in := installFor(t, stores["embedded"](t), policy, socketMode)
		in.awaitSocket(t)
		wants(t, in.doctor(t, 0),
			"good  configuration: callchain.yml", "good  slack: the token is that of callchain in the workspace Test", "3 of 3 channels named can be posted to",
			"note  slack: ", "the answer names no scopes", "good  presses: Socket Mode: the callchain at "+in.URL+" has ", "\nSlack is as it should be.\n")
		pressed := make(chan struct{})
		go func() {
			defer close(pressed)
			page := in.slack.AwaitMessage(t, "U01ANA", "est page")
			in.slack.Press(t, "U01ANA", page, "Acknowledge")
		}()
		out := in.doctor(t, 0, "--test-page=ana", "--output=json")
		<-pressed
		wants(t, out, `"ok": true`, `"check": "test page"`, "acknowledged by ana in Slack")
		wants(t, in.doctor(t, 1, "--test-page=ben", "--wait=1s"), "bad   test page: ", "was not acknowledged within 1s", "1 check is bad: see above.")
		in.doctor(t, 2, "--test-page=nobody")

		in.Terminate(t, 10*time.Second)
		wants(t, in.doctor(t, 0), "good  presses: Socket Mode: the app token is good", "note  presses: no callchain in Socket Mode answers at "+in.URL)
		if err := os.WriteFile(filepath.Join(in.dir, "app-token"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		wants(t, in.doctor(t, 1), "app_token_file: ")
	})
	t.Run("signed requests", func(t *testing.T) {
		t.Parallel()
		in := installFor(t, stores["embedded"](t), policy, signedRequests)
		wants(t, in.doctor(t, 0), "good  presses: they come as signed requests to "+in.URL+"/slack/interactions")
		pressed := make(chan struct{})
		go func() {
			defer close(pressed)
			page := in.slack.AwaitMessage(t, "U01ANA", "est page")
			in.slack.Press(t, "U01ANA", page, "Acknowledge")
		}()
		wants(t, in.doctor(t, 0, "--test-page=ana"), "good  test page: ", "acknowledged by ana in Slack")
		<-pressed
	})
}
