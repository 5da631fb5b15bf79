package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callchain/internal/testbench"
	"callchain/notifiers/inbox"
)

var update = flag.Bool("update", false, "rewrite what the README shows with what happens now; then read the difference")

var (
	file    = regexp.MustCompile("(?s)```yaml\n# (\\S+)\n(.*?)```\n")
	console = regexp.MustCompile("(?s)```console\n\\$ callchain ([^\n]*)\n(.*?)```\n")
	posted  = regexp.MustCompile("(?s) -d '\n *(\\{.*?\\})'\n")
	page    = regexp.MustCompile("(?s)(gets a direct message and a mail:\n\n)```\n(.*?)```\n")
)

// TestReadme does what the README tells: its files are good (or as bad as they
// say), its commands print what it shows, and its alert causes its page.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"am-token", "slack-bot-token", "slack-app-token", "slack-signing-secret", "smtp", "link-key", "api-token"} {
		write(t, dir, filepath.Join("secrets", name), strings.Repeat(name, 10)+"\n")
	}
	files := map[string]string{}
	for _, m := range file.FindAllSubmatch(readme, -1) {
		files[string(m[1])] = "# " + string(m[1]) + "\n" + string(m[2])
		write(t, dir, string(m[1]), files[string(m[1])])
	}

	try := posted.FindSubmatch(readme)
	if try == nil {
		t.Fatal("the README posts no alert with curl -d any more")
	}

	got := console.ReplaceAllFunc(readme, func(block []byte) []byte {
		args := string(console.FindSubmatch(block)[1])
		return fmt.Appendf(nil, "```console\n$ callchain %s\n%s```\n", args, typed(t, dir, args))
	})
	got = page.ReplaceAllFunc(got, func(block []byte) []byte {
		m := page.FindSubmatch(block)
		text := theMail(t, dir, files["callchain.yml"], try[1])
		if sameMail(string(m[2])) == sameMail(text) {
			return block // it differs in times and ids only
		}
		return fmt.Appendf(nil, "%s```\n%s```\n", m[1], text)
	})

	out, err := exec.CommandContext(t.Context(), "../../.cache/bin/amtool", "check-config", filepath.Join(dir, "alertmanager.yml")).CombinedOutput()
	if err != nil {
		t.Errorf("amtool does not like the README's alertmanager.yml (make test installs amtool): %v\n%s", err, out)
	}

	if *update {
		if err := os.WriteFile("../../README.md", got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(string(readme), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("the README shows something else (-shown +happened); run with -update and read it:\n%s", diff)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// typed is what a command prints when it is typed in the folder.
func typed(t *testing.T, dir, args string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testbench.Binary(t), strings.Fields(args)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NO_COLOR=1")
	out, _ := cmd.CombinedOutput() // it may exit 1: that is what the example shows
	return string(out)
}

// theMail is the mail that the README's alert causes under its configuration,
// with stand-ins for Slack and the smarthost. The webhook that the README
// posts by hand must be taken too, and wake the same person.
func theMail(t *testing.T, dir, configuration string, try []byte) string {
	t.Helper()
	mails, err := inbox.StartSMTP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mails.Close() })
	slack := inbox.New(inbox.Config{
		Token: strings.Repeat("slack-bot-token", 10), SigningSecret: strings.Repeat("slack-signing-secret", 10),
		Users:    []inbox.User{{ID: "U01AMIRA", Name: "amira", Email: "amira@example.org"}},
		Channels: []string{"#sre", "#incidents"},
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	api := &http.Server{Handler: slack, ReadHeaderTimeout: time.Second}
	go func() { _ = api.Serve(l) }()
	t.Cleanup(func() { api.Close() })

	// The README's configuration, but for where Slack and the smarthost are.
	text := strings.NewReplacer(
		"slack: {", fmt.Sprintf("slack: {api_url: http://%s/api/, ", l.Addr()),
		"mail.example.org:587", mails.Addr(),
		"auth_username: callchain, auth_password_file: secrets/smtp", "require_tls: false",
	).Replace(configuration)
	write(t, dir, "here.yml", text)
	addr := testbench.FreeAddr(t)
	cc := testbench.Daemon{Args: []string{"--config.file=here.yml"}, Dir: dir, Addr: addr}.Start(t)

	body := `{"version":"4","groupKey":"{}:{alertname=\"HighErrorRate\"}","groupLabels":{"alertname":"HighErrorRate"},"externalURL":"http://alertmanager.example.org:9093","alerts":[
		{"status":"firing","labels":{"alertname":"HighErrorRate","service":"parsoid","severity":"page"},
		 "annotations":{"summary":"5xx ratio above 5 %","runbook_url":"https://runbooks.example.org/parsoid#errors"},"startsAt":"` + time.Now().UTC().Format(time.RFC3339) + `"}]}`
	post := func(body []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, cc.URL+"/api/v1/webhook/alertmanager/main", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.Repeat("am-token", 10))
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("the webhook: %v %v", resp, err)
		}
		resp.Body.Close()
	}
	post([]byte(body))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m, err := mails.Wait(ctx, func(inbox.Mail) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	post(try)
	if _, err := mails.Wait(ctx, func(other inbox.Mail) bool {
		return other.Header.Get("To") == m.Header.Get("To") && strings.Contains(other.Text, "a first try")
	}); err != nil {
		t.Errorf("the alert that the README posts by hand wakes nobody: %v", err)
	}
	return fmt.Sprintf("To: %s\nSubject: %s\n\n%s\n", m.Header.Get("To"), m.Subject, strings.TrimSpace(strings.ReplaceAll(m.Text, "\r\n", "\n")))
}

// sameMail is a mail without what differs every time: around midnight times have
// days, and lines break elsewhere.
func sameMail(text string) string {
	for _, v := range []string{`/ack/\S+`, `[0-9a-f]{2}-[a-z2-7]{10}`, `([A-Z][a-z]{2} \d{1,2} [A-Z][a-z]{2} )?\d\d:\d\d(:\d\d)?`, `\d{4}-\d\d-\d\d`, ` v\d+`} {
		text = regexp.MustCompile(v).ReplaceAllString(text, "*")
	}
	return strings.Join(strings.Fields(text), " ")
}
