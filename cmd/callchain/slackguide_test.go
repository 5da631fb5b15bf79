package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"callchain/internal/testbench"
	"callchain/internal/testbench/strictslack"
)

// TestSlackGuide does what docs/slack.md tells, in a workspace that grants what
// the manifest asks for and not a scope more, up to the press of the test page.
func TestSlackGuide(t *testing.T) {
	const path = "../../docs/slack.md"
	guide, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		OAuth struct {
			Scopes struct{ Bot []string }
		} `yaml:"oauth_config"`
	}
	text, err := os.ReadFile("../../deploy/slack/manifest-socket.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	sockets := testbench.NewSlackSocket()
	wss := httptest.NewServer(sockets)
	t.Cleanup(wss.Close)
	slack := strictslack.New(t, strictslack.Config{
		Users:    []strictslack.User{{ID: "U01AMIRA", Name: "amira", Email: "amira@example.org"}},
		Channels: []strictslack.Channel{{ID: "C01INC", Name: "incidents", Member: true}, {ID: "C01SRE", Name: "sre", Member: true}},
		Scopes:   manifest.OAuth.Scopes.Bot,
		Socket: func() (string, error) {
			return strings.Replace(wss.URL, "http:", "ws:", 1) + "/link/?ticket=1", nil
		},
	})

	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string]string{
		"am-token": strings.Repeat("a", 40), "api-token": strings.Repeat("b", 40),
		"slack-bot-token": slack.BotToken, "slack-app-token": slack.AppToken,
	} {
		write(t, dir, filepath.Join("secrets", name), secret+"\n")
	}
	for _, m := range file.FindAllSubmatch(guide, -1) {
		write(t, dir, string(m[1]), strings.Replace("# "+string(m[1])+"\n"+string(m[2]), "  slack:\n", "  slack:\n    api_url: "+slack.APIURL+"\n", 1))
	}
	cc := testbench.Daemon{Args: []string{"--config.file=callchain.yml"}, Dir: dir}.Start(t)
	socket := sockets.Next(t)
	testbench.Eventually(t, 10*time.Second, "the socket", func() bool { return strings.Contains(cc.Log(), "slack socket is up") })

	examples := 0
	got := console.ReplaceAllFunc(guide, func(block []byte) []byte {
		examples++
		args := string(console.FindSubmatch(block)[1])
		cmd := exec.CommandContext(t.Context(), testbench.Binary(t), strings.Fields(args)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "NO_COLOR=1", "CALLCHAIN_URL="+cc.URL, "CALLCHAIN_TOKEN_FILE=secrets/api-token")
		var out strings.Builder
		cmd.Stdout = &out
		told, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(args, "--test-page") {
			pressed(t, slack, socket)
		}
		progress, err := io.ReadAll(told)
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("callchain %s: %v\n%s%s", args, err, progress, out.String())
		}
		text := strings.ReplaceAll(string(progress)+out.String(), cc.URL, "http://localhost:9321")
		if shown := string(console.FindSubmatch(block)[2]); unlike.ReplaceAllString(shown, "*") == unlike.ReplaceAllString(text, "*") {
			return block
		}
		return fmt.Appendf(nil, "```console\n$ callchain %s\n%s```\n", args, text)
	})
	if examples != 2 {
		t.Errorf("the guide shows %d examples, want the two of doctor slack", examples)
	}
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(string(guide), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("the guide shows something else (-shown +happened); run with -update and read it:\n%s", diff)
	}
}

// unlike is what differs from one time to another: ids, and whether the second
// connection is there already.
var unlike = regexp.MustCompile(`[0-9a-f]{2}-[a-z2-7]{10}|\d connections?`)

// pressed is amira: she sees the test page and presses its first button.
func pressed(t *testing.T, slack *strictslack.Slack, socket *testbench.SlackConn) {
	t.Helper()
	var page strictslack.Message
	testbench.Eventually(t, 20*time.Second, "the test page", func() bool {
		for _, m := range slack.Messages("U01AMIRA") {
			page = m
		}
		return page.TS != ""
	})
	payload := slack.Press("U01AMIRA", page, "ack")
	if !json.Valid(payload) {
		t.Fatalf("no payload: %s", payload)
	}
	socket.Envelope("e1", "interactive", string(payload))
	if ack := socket.Acked(t); ack.ID != "e1" {
		t.Errorf("acknowledged %+v", ack)
	}
}
