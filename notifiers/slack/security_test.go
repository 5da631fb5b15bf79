package slack

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"callchain/internal/testbench/strictslack"
	"callchain/notifiers"
)

// TestTLS: calls to Slack speak TLS 1.2 at least, and check whose certificate it is.
func TestTLS(t *testing.T) {
	transport, ok := httpClient().Transport.(bounded).RoundTripper.(*http.Transport)
	if !ok || transport.TLSClientConfig.MinVersion < tls.VersionTLS12 || transport.TLSClientConfig.InsecureSkipVerify {
		t.Errorf("the transport's TLS is %+v", transport.TLSClientConfig)
	}
	if httpClient().Timeout == 0 || transport.Proxy == nil {
		t.Error("no timeout, or no proxy from the environment")
	}
}

// TestGiantAnswer: of an answer that does not end no more is read than fits.
func TestGiantAnswer(t *testing.T) {
	var written int64
	a := newAPI(t, func(_ string, _ url.Values, w http.ResponseWriter) {
		io.WriteString(w, `{"ok":true,"channel":"`)
		chunk := strings.Repeat("x", 1<<20)
		for range 64 {
			n, err := io.WriteString(w, chunk)
			written += int64(n)
			if err != nil {
				return
			}
		}
	})
	n := a.notifier(t)
	got := n.Deliver(t.Context(), page())
	a.Close() // waits for the handler
	if got.Verdict != notifiers.Ambiguous || written > 40<<20 {
		t.Errorf("%v %v after %d bytes", got.Verdict, got.Err, written)
	}
}

// TestNoDebug: slack-go's own log shows tokens and messages. It is never on.
func TestNoDebug(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if name := "Option" + "Debug"; strings.Contains(string(text), name) {
			t.Errorf("%s has %s", f, name)
		}
	}
}

// TestErrorsAreClean: whatever Slack, or a library, says, no error that callchain
// shows or stores holds a token or a response URL.
func TestErrorsAreClean(t *testing.T) {
	for _, secret := range []string{testToken, "xoxb-9-of-another", "xapp-1-A-2-f", "xoxe.xoxp-1-abc", "https://hooks.slack.com/actions/T/1/abc"} {
		synctest.Test(t, func(t *testing.T) { // some of them try again after a while
			n := over(t, func(*http.Request) (int, string, string) {
				return 200, "", `{"ok":false,"error":"bad ` + secret + `","needed":"` + secret + `","response_metadata":{"messages":["see ` + secret + `"]}}`
			})
			errs := []error{n.Deliver(t.Context(), page()).Err, n.Probe(t.Context())}
			_, err := n.User(t.Context(), "U01JANE")
			errs = append(errs, err)
			_, err = n.Identify(t.Context())
			errs = append(errs, err, classify(errors.New("Post "+secret+": EOF"), call{token: testToken}).Err)
			for i, err := range errs {
				if err == nil || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "abc") {
					t.Errorf("%d: %v", i, err)
				}
			}
		})
	}
}

// TestStrangers: a member of another workspace, whom a shared channel brings in, is
// known as such; one of the same organisation's other workspaces is none.
func TestStrangers(t *testing.T) {
	for enterprise, want := range map[string]bool{"": true, "E1": false} {
		a := newAPI(t, func(method string, _ url.Values, w http.ResponseWriter) {
			if method == "auth.test" {
				io.WriteString(w, `{"ok":true,"user_id":"U1","team_id":"T1","enterprise_id":"`+enterprise+`"}`)
				return
			}
			io.WriteString(w, `{"ok":true,"user":{"id":"U2","team_id":"T2"}}`)
		})
		n := a.notifier(t)
		if err := n.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		if u, err := n.User(t.Context(), "U2"); err != nil || u.Stranger != want {
			t.Errorf("enterprise %q: %+v %v, want stranger %v", enterprise, u, err, want)
		}
	}
}

// TestNothingForOthers: what callchain posts tells Slack to look for nothing in it, and
// nothing that it carries has any authority or is anybody's secret.
func TestNothingForOthers(t *testing.T) {
	ws, n := strictWorkspace(t) // fails the test on parse, link_names, unfurling, markup that is not verbatim
	if got := n.Deliver(t.Context(), page()); got.Verdict != notifiers.Sent {
		t.Fatal(got.Verdict, got.Err)
	}
	m := ws.Messages("U01JANE")[0]
	if len(m.Metadata.EventPayload) != 1 || m.Metadata.EventPayload["d"] != page().ID {
		t.Errorf("the metadata says more than the delivery's id: %v", m.Metadata.EventPayload)
	}
	if value, _ := m.Button(ActionAck); value != page().Incident.Token {
		t.Errorf("the button carries %q", value)
	}
	for _, c := range ws.Calls("") {
		if c.Args.Has("username") || c.Args.Has("icon_url") || c.Args.Has("as_user") {
			t.Errorf("%s pretends to be somebody: %v", c.Method, c.Args)
		}
	}
	if live := strictslack.Live(m.Text); live != nil {
		t.Errorf("live in the text for the phone: %v", live)
	}
}
