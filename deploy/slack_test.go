package deploy_test

import (
	"bytes"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/slack-go/slack"
	"go.yaml.in/yaml/v3"

	"callchain/internal/testbench"
	channel "callchain/notifiers/slack"
)

// manifest reads one as Slack does: what it does not know is a mistake.
func manifest(t *testing.T, name string) slack.Manifest {
	t.Helper()
	var m slack.Manifest
	dec := yaml.NewDecoder(bytes.NewReader([]byte(read(t, filepath.Join("slack", name)))))
	dec.KnownFields(true)
	if err := dec.Decode(&m); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return m
}

// Both manifests ask for what callchain makes use of and nothing else, and differ
// in nothing but the way from Slack.
func TestSlackManifests(t *testing.T) {
	var want []string
	for _, s := range channel.Scopes {
		if !s.Extra {
			want = append(want, s.Name)
		}
	}
	socket, signed := manifest(t, "manifest-socket.yaml"), manifest(t, "manifest-http.yaml")
	for name, m := range map[string]slack.Manifest{"manifest-socket.yaml": socket, "manifest-http.yaml": signed} {
		got := slices.Sorted(slices.Values(m.OAuthConfig.Scopes.Bot))
		if diff := cmp.Diff(slices.Sorted(slices.Values(want)), got); diff != "" {
			t.Errorf("%s asks for other scopes than callchain uses (-uses +asks):\n%s", name, diff)
		}
		home := m.Features.AppHome
		switch {
		case len(m.OAuthConfig.Scopes.User) > 0:
			t.Errorf("%s asks for scopes of users", name)
		case m.Settings.TokenRotationEnabled:
			t.Errorf("%s switches token rotation on, which callchain cannot do", name)
		case !home.MessagesTabEnabled || !home.MessagesTabReadOnlyEnabled || home.HomeTabEnabled:
			t.Errorf("%s: the app's home is %+v", name, home)
		case len(m.Features.SlashCommands) != 1 || m.Features.SlashCommands[0].Command != "/callchain":
			t.Errorf("%s: commands %+v", name, m.Features.SlashCommands)
		case m.Settings.Interactivity == nil || !m.Settings.Interactivity.IsEnabled:
			t.Errorf("%s: buttons do nothing", name)
		case len(m.Display.Name) > 35 || len(m.Display.Description) > 140:
			t.Errorf("%s: Slack allows 35 and 140 characters: %+v", name, m.Display)
		}
	}
	if !socket.Settings.SocketModeEnabled || signed.Settings.SocketModeEnabled {
		t.Error("Socket Mode is the wrong way round")
	}
	addresses := []string{signed.Settings.Interactivity.RequestUrl, signed.Features.SlashCommands[0].Url}
	signed.Settings.SocketModeEnabled, signed.Settings.Interactivity.RequestUrl, signed.Features.SlashCommands[0].Url = true, "", ""
	if diff := cmp.Diff(socket, signed); diff != "" {
		t.Errorf("the manifests differ elsewhere:\n%s", diff)
	}

	// What Slack is told to call is there: unsigned it is refused, not unknown.
	dir := example(t, "one-machine", map[string]string{
		"/var/lib/callchain/": "data/", "app_token_file": "signing_secret_file",
	})
	cc := testbench.Daemon{Args: []string{"--config.file=" + filepath.Join(dir, "callchain.yml")}}.Start(t)
	for _, address := range addresses {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "https" || u.Host != "callchain.example.org" {
			t.Errorf("%q: want an address below https://callchain.example.org", address)
			continue
		}
		resp, err := http.Post(cc.URL+u.Path, "application/x-www-form-urlencoded", strings.NewReader("payload={}"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s answers %s", u.Path, resp.Status)
		}
	}
}

// The guide says of every scope what it is for, and which ones are extra.
func TestSlackGuideNamesScopes(t *testing.T) {
	guide := read(t, "../docs/slack.md")
	for _, s := range channel.Scopes {
		at := regexp.MustCompile("\\n\\| [^|]*`" + regexp.QuoteMeta(s.Name) + "`[^|]*\\|").FindStringIndex(guide)
		if at == nil {
			t.Errorf("docs/slack.md has no row for the scope %s", s.Name)
			continue
		}
		if extra := at[0] > strings.Index(guide, "\n### Scopes that buy more"); extra != s.Extra {
			t.Errorf("docs/slack.md has the scope %s in the wrong table", s.Name)
		}
	}
}
