package email

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"mime"
	"mime/multipart"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"callchain/config"
	"callchain/notifiers"
	"callchain/notifiers/notifierstest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func notifier(t *testing.T, change func(*Config)) *Notifier {
	t.Helper()
	cfg := Config{Smarthost: "127.0.0.1:2525", From: "callchain <callchain@example.org>", HELO: "callchain.example.org"}
	if change != nil {
		change(&cfg)
	}
	n, err := New(cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func page() notifiers.Message {
	m := notifierstest.To(notifiers.Page, notifierstest.Jane(), notifierstest.Incident())
	m.Address = "jane@example.org"
	return m
}

// TestMails holds both parts of every mail against files.
func TestMails(t *testing.T) {
	for _, c := range notifierstest.Cases() {
		if c.Message.Edit || c.Message.Kind == notifiers.Thread {
			continue // mails are neither edited nor timelines
		}
		t.Run(c.Name, func(t *testing.T) {
			plain, err := text(c.Message)
			if err != nil {
				t.Fatal(err)
			}
			rich, err := html(c.Message)
			if err != nil {
				t.Fatal(err)
			}
			for ending, got := range map[string]string{".txt": "Subject: " + subject(c.Message) + "\n\n" + plain, ".html": rich} {
				golden := filepath.Join("testdata", strings.ReplaceAll(c.Name, " ", "-")+ending)
				if *update {
					if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got); diff != "" {
					t.Errorf("%s changed (-want +got); look at it, then run with -update:\n%s", golden, diff)
				}
			}
		})
	}
}

func TestAcknowledgementLink(t *testing.T) {
	with := map[string]bool{"page": true, "page second step": true, "page last step": true, "page second round": true, "page many alerts": true,
		"page test": true, "page drill": true, "reminder": true, "question": true, "page to one asked besides": true, "reminder to one asked besides": true, "page flapping": true, "page by hand of what wakes nobody": true, "page unowned": true, "page escalated past": true, "page of the round before": true, "page exhausted": true, "page snoozed": true, "page on hold": true,
		"digest": true, "digest in part answered": true, "digest of many": true, "digest that rings": true, "digest that reminds": true}
	for _, c := range notifierstest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			link := notifierstest.Jane().AckURL
			plain, _ := text(c.Message)
			rich, _ := html(c.Message)
			alone := false
			for line := range strings.Lines(plain) {
				alone = alone || line == link+"\n"
			}
			if alone != with[c.Name] {
				t.Errorf("the link stands on a line of its own: %v, want %v", alone, with[c.Name])
			}
			if button := strings.Contains(rich, `<a href="`+link+`"`); button != with[c.Name] {
				t.Errorf("the HTML has the button: %v, want %v", button, with[c.Name])
			}
		})
	}
}

// TestThread: the headers by which mailboxes thread and drop second copies.
func TestThread(t *testing.T) {
	n := notifier(t, nil)
	first, reminder := page(), page()
	reminder.Kind, reminder.ID = notifiers.Reminder, "d-3f-k7q2-2"
	reminder.Incident.State = notifiers.Acknowledged
	again := first
	again.Attempt, again.Now = 2, first.Now.Add(time.Minute)
	a, b, c := headers(t, n, first), headers(t, n, reminder), headers(t, n, again)
	for header, want := range map[string]string{
		"Message-Id": "<d-3f-k7q2-1@example.org>", "References": "<inc-3f-k7q2@example.org>", "In-Reply-To": "<inc-3f-k7q2@example.org>",
		"Subject": "[callchain 3f-k7q2] parsoid: HighErrorRate", "Auto-Submitted": "auto-generated",
		"X-Auto-Response-Suppress": "DR, RN, NRN, OOF, AutoReply", "X-Callchain-Incident": "3f-k7q2", "X-Callchain-Kind": "page",
		"X-Callchain-Service": "parsoid", "User-Agent": "callchain", "X-Mailer": "", "Importance": "", "Precedence": "", "To": "<jane@example.org>",
		"Date": "Fri, 20 Nov 2026 14:22:05 +0000",
	} {
		if got := a.Get(header); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	if a.Get("Message-Id") != c.Get("Message-Id") {
		t.Error("a second attempt has another Message-ID")
	}
	if a.Get("Message-Id") == b.Get("Message-Id") {
		t.Error("page and reminder have one Message-ID")
	}
	for _, same := range []string{"Subject", "References", "In-Reply-To"} {
		if a.Get(same) != b.Get(same) {
			t.Errorf("%s differs within the incident: %q and %q", same, a.Get(same), b.Get(same))
		}
	}
	urgent := page()
	urgent.Incident.Urgency = config.UnbreakNow
	if got := headers(t, n, urgent).Get("Importance"); got != "high" {
		t.Errorf("Importance of an unbreak-now page: %q", got)
	}
}

// TestReportHeaders: people can sort the report away, and it joins no thread.
func TestReportHeaders(t *testing.T) {
	m := notifiers.Message{ID: "r-2026-W46-1", Kind: notifiers.Report, Address: "managers@example.org", Now: notifierstest.Opened, Report: notifierstest.Report()}
	h := headers(t, notifier(t, nil), m)
	for header, want := range map[string]string{
		"List-Id": "<report.callchain.example.org>", "Precedence": "bulk", "Message-Id": "<r-2026-W46-1@example.org>",
		"References": "", "In-Reply-To": "", "Auto-Submitted": "auto-generated", "X-Callchain-Kind": "report", "Importance": "",
		"Subject": "[callchain] Ownership report 2026-W46, 9 to 15 November 2026",
	} {
		if got := h.Get(header); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	if got := h.Get("Content-Type"); !strings.HasPrefix(got, "multipart/alternative") {
		t.Errorf("Content-Type %q: want a text and an HTML part", got)
	}
	m.Report.HTML = ""
	if got := headers(t, notifier(t, nil), m).Get("Content-Type"); !strings.HasPrefix(got, "text/plain") {
		t.Errorf("Content-Type %q without HTML", got)
	}
}

func headers(t *testing.T, n *Notifier, m notifiers.Message) mail.Header {
	t.Helper()
	read, err := mail.ReadMessage(bytes.NewReader(raw(t, n, m)))
	if err != nil {
		t.Fatal(err)
	}
	return read.Header
}

func raw(t *testing.T, n *Notifier, m notifiers.Message) []byte {
	t.Helper()
	letter, err := n.compose(m, both)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := letter.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostile(t *testing.T) {
	for i, s := range notifierstest.HostileTexts {
		t.Run(fmt.Sprint(i), func(t *testing.T) { checkHostile(t, s) })
	}
}

func FuzzMail(f *testing.F) {
	for _, s := range notifierstest.HostileTexts {
		f.Add(s[:min(len(s), 500)]) // the long ones are in TestHostile; here they slow the search down
	}
	f.Fuzz(checkHostile)
}

// checkHostile: no label makes a header, a recipient, a link or a script.
func checkHostile(t *testing.T, s string) {
	n := notifier(t, nil)
	for _, kind := range []notifiers.Kind{notifiers.Page, notifiers.Told, notifiers.Board, notifiers.Notice, notifiers.Report, notifiers.Digest} {
		m := notifierstest.Hostile(kind, s)
		m.Address, m.ID, m.Incident.ID = "jane@example.org", "d"+s, "i"+s
		message := raw(t, n, m)
		read, err := mail.ReadMessage(bytes.NewReader(message))
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		allowed := map[string]bool{"Date": true, "Mime-Version": true, "Message-Id": true, "References": true, "In-Reply-To": true, "Subject": true,
			"User-Agent": true, "Auto-Submitted": true, "X-Auto-Response-Suppress": true, "X-Callchain-Kind": true, "X-Callchain-Incident": true,
			"X-Callchain-Service": true, "List-Id": kind == notifiers.Report, "Precedence": kind == notifiers.Report, "From": true, "To": true, "Content-Type": true, "Content-Transfer-Encoding": true}
		for name, values := range read.Header {
			if !allowed[name] || len(values) != 1 {
				t.Errorf("%s: header %s: %q", kind, name, values)
			}
		}
		if got := read.Header.Get("To"); got != "<jane@example.org>" {
			t.Errorf("%s: to %q", kind, got)
		}
		decoded, err := new(mime.WordDecoder).DecodeHeader(read.Header.Get("Subject"))
		if err != nil || strings.ContainsAny(decoded, "\r\n\x00") || utf8.RuneCountInString(decoded) > maxSubject {
			t.Errorf("%s: subject %q, %v", kind, decoded, err)
		}
		for _, line := range bytes.Split(message, []byte("\r\n")) {
			if len(line) > 998 {
				t.Errorf("%s: a line of %d bytes", kind, len(line))
			}
		}
		rich, err := html(m)
		if err != nil {
			t.Fatal(err)
		}
		if lower := strings.ToLower(rich); strings.Contains(lower, "<script") || strings.Contains(lower, "<img") || strings.Contains(lower, `href="javascript`) || strings.Contains(rich, "ZgotmplZ") {
			t.Errorf("%s: %s", kind, rich)
		}
		if !utf8.ValidString(rich) {
			t.Errorf("%s: invalid UTF-8", kind)
		}
	}
}

// smarthost is a real SMTP server that fails where a test tells it to.
type smarthost struct {
	mu    sync.Mutex
	mails []received

	mailErr, rcptErr, dataErr error
	dataErrOnce               bool
	hangUpAfterDot            bool
	user, password            string
}

type received struct {
	from, to string
	data     []byte
}

func (s *smarthost) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &session{host: s, conn: c}, nil
}

type session struct {
	host *smarthost
	conn *smtp.Conn
	mail received
	auth bool
}

func (s *session) AuthMechanisms() []string {
	if s.host.user == "" {
		return nil
	}
	return []string{sasl.Plain}
}

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != s.host.user || password != s.host.password {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "authentication failed for " + password}
		}
		s.auth = true
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.host.user != "" && !s.auth {
		return smtp.ErrAuthRequired
	}
	s.mail.from = from
	return s.host.mailErr
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mail.to = to
	return s.host.rcptErr
}

func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mail.data = data
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	s.host.mails = append(s.host.mails, s.mail)
	if s.host.hangUpAfterDot {
		s.conn.Conn().Close()
		return errors.New("gone")
	}
	if s.host.dataErrOnce && len(s.host.mails) > 1 {
		return nil
	}
	return s.host.dataErr
}

func (*session) Reset()        {}
func (*session) Logout() error { return nil }

// start serves on a port of its own and returns the address. A certificate
// makes it offer STARTTLS, or speak TLS from the first byte.
func (s *smarthost) start(t *testing.T, certificate *tls.Certificate, implicit bool) string {
	t.Helper()
	server := smtp.NewServer(s)
	server.Domain = "smarthost.example.org"
	server.AllowInsecureAuth = certificate == nil
	server.ErrorLog = discard{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if certificate != nil {
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*certificate}}
		if implicit {
			listener = tls.NewListener(listener, server.TLSConfig)
		}
	}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return listener.Addr().String()
}

type discard struct{}

func (discard) Printf(string, ...any) {}
func (discard) Println(...any)        {}

// authority is a CA of the test's and a certificate of it for 127.0.0.1.
func authority(t *testing.T) (*x509.CertPool, *tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "smarthost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return pool, &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestDeliver(t *testing.T) {
	host := &smarthost{}
	address := host.start(t, nil, false)
	n := notifier(t, func(c *Config) { c.Smarthost = address })
	got := n.Deliver(t.Context(), page())
	want := notifiers.Result{Verdict: notifiers.Sent, Ref: notifiers.Ref{TS: "<d-3f-k7q2-1@example.org>"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff, got.Err)
	}
	if len(host.mails) != 1 || host.mails[0].to != "jane@example.org" || host.mails[0].from != "callchain@example.org" {
		t.Fatalf("the smarthost has %+v", host.mails)
	}
	read, err := mail.ReadMessage(bytes.NewReader(host.mails[0].data))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(read.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("%s, %v", kind, err)
	}
	parts := multipart.NewReader(read.Body, params["boundary"])
	part, err := parts.NextPart() // decodes quoted-printable
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(part)
	if err != nil {
		t.Fatal(err)
	}
	if expected, _ := text(page()); strings.ReplaceAll(string(plain), "\r\n", "\n") != expected {
		t.Errorf("the text part reads:\n%s", plain)
	}
}

func TestEncryption(t *testing.T) {
	pool, certificate := authority(t)
	// 127.0.0.1 is loopback, where TLS is not asked for; as a remote host it
	// is another name for the same place.
	remote := func(address string, change func(*Config)) *Notifier {
		n := notifier(t, func(c *Config) {
			c.Smarthost, c.RequireTLS, c.RootCAs = address, true, pool
			if change != nil {
				change(c)
			}
		})
		return n
	}
	t.Run("implicit", func(t *testing.T) {
		host := &smarthost{}
		n := remote(host.start(t, certificate, true), nil)
		n.implicit = true
		if got := n.Deliver(t.Context(), page()); got.Verdict != notifiers.Sent {
			t.Errorf("%v %v", got.Verdict, got.Err)
		}
	})
	t.Run("starttls", func(t *testing.T) {
		host := &smarthost{user: "callchain", password: "hunter22"}
		n := remote(host.start(t, certificate, false), func(c *Config) {
			c.Username, c.Password = "callchain", func() (string, error) { return "hunter22", nil }
		})
		n.local = false
		if got := n.Deliver(t.Context(), page()); got.Verdict != notifiers.Sent {
			t.Errorf("%v %v", got.Verdict, got.Err)
		}
		if err := n.Probe(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("unknown authority", func(t *testing.T) {
		host := &smarthost{}
		n := remote(host.start(t, certificate, false), func(c *Config) { c.RootCAs = x509.NewCertPool() })
		n.local = false
		if got := n.Deliver(t.Context(), page()); got.Verdict != notifiers.Down || len(host.mails) > 0 {
			t.Errorf("%v %v, %d mails", got.Verdict, got.Err, len(host.mails))
		}
	})
	t.Run("required and not offered", func(t *testing.T) {
		host := &smarthost{}
		n := remote(host.start(t, nil, false), nil)
		n.local = false
		if got := n.Deliver(t.Context(), page()); got.Verdict != notifiers.Down || len(host.mails) > 0 {
			t.Errorf("%v %v, %d mails", got.Verdict, got.Err, len(host.mails))
		}
	})
	t.Run("a password never goes in clear to another machine", func(t *testing.T) {
		host := &smarthost{user: "callchain", password: "hunter22"}
		n := remote(host.start(t, nil, false), func(c *Config) {
			c.RequireTLS, c.Username, c.Password = false, "callchain", func() (string, error) { return "hunter22", nil }
		})
		n.local = false
		if got := n.Deliver(t.Context(), page()); got.Verdict != notifiers.Down {
			t.Errorf("%v %v", got.Verdict, got.Err)
		}
	})
	t.Run("plain on this machine", func(t *testing.T) {
		host := &smarthost{user: "callchain", password: "hunter22"}
		n := remote(host.start(t, nil, false), func(c *Config) {
			c.Username, c.Password = "callchain", func() (string, error) { return "hunter22", nil }
		})
		if got := n.Deliver(t.Context(), page()); got.Verdict != notifiers.Sent {
			t.Errorf("%v %v", got.Verdict, got.Err)
		}
	})
	t.Run("login after STARTTLS on this machine, with a certificate of nobody's", func(t *testing.T) {
		host := &smarthost{user: "callchain", password: "hunter22"}
		n := remote(host.start(t, certificate, false), func(c *Config) {
			c.RootCAs, c.Username, c.Password = x509.NewCertPool(), "callchain", func() (string, error) { return "hunter22", nil }
		})
		if got := n.Deliver(t.Context(), page()); got.Verdict != notifiers.Sent {
			t.Errorf("%v %v", got.Verdict, got.Err)
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		host := &smarthost{user: "callchain", password: "hunter22"}
		n := remote(host.start(t, nil, false), func(c *Config) {
			c.Username, c.Password = "callchain", func() (string, error) { return "swordfish", nil }
		})
		got := n.Deliver(t.Context(), page())
		if got.Verdict != notifiers.Down {
			t.Errorf("%v %v", got.Verdict, got.Err)
		}
		if strings.Contains(got.Err.Error(), "swordfish") {
			t.Errorf("the error tells the password: %v", got.Err)
		}
	})
}

func TestAnswers(t *testing.T) {
	reply := func(code, a, b, c int, words string) error {
		return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{a, b, c}, Message: words}
	}
	for _, c := range []struct {
		name    string
		host    *smarthost
		attempt int
		verdict notifiers.Verdict
		after   time.Duration
		mails   int
	}{
		{name: "accepted", host: &smarthost{}, verdict: notifiers.Sent, mails: 1},
		{name: "no such user", host: &smarthost{rcptErr: reply(550, 5, 1, 1, "no such user")}, verdict: notifiers.Refused},
		{name: "mailbox full", host: &smarthost{rcptErr: reply(552, 5, 2, 2, "mailbox full")}, verdict: notifiers.Refused},
		{name: "greylisted", host: &smarthost{rcptErr: reply(450, 4, 7, 1, "greylisted, try later")}, verdict: notifiers.Retry, after: time.Minute},
		{name: "busy", host: &smarthost{mailErr: reply(421, 4, 3, 2, "busy")}, verdict: notifiers.Retry},
		{name: "our address is refused", host: &smarthost{mailErr: reply(550, 5, 7, 1, "sender not allowed")}, verdict: notifiers.Down},
		{name: "authentication required", host: &smarthost{mailErr: reply(530, 5, 7, 0, "authenticate first")}, verdict: notifiers.Down},
		{name: "temporary at the end", host: &smarthost{dataErr: reply(451, 4, 3, 0, "try again")}, verdict: notifiers.Retry, mails: 1},
		{name: "policy", host: &smarthost{dataErr: reply(550, 5, 7, 26, "DMARC")}, verdict: notifiers.Refused, mails: 1},
		{name: "content, text passes", host: &smarthost{dataErr: reply(554, 5, 6, 0, "no HTML here"), dataErrOnce: true}, verdict: notifiers.Sent, mails: 2},
		{name: "content, nothing passes", host: &smarthost{dataErr: reply(554, 5, 6, 0, "no")}, verdict: notifiers.Refused, mails: 2},
		{name: "a misunderstanding", host: &smarthost{rcptErr: reply(503, 5, 5, 1, "bad sequence")}, attempt: 1, verdict: notifiers.Retry},
		{name: "a misunderstanding again", host: &smarthost{rcptErr: reply(503, 5, 5, 1, "bad sequence")}, attempt: 2, verdict: notifiers.Refused},
		{name: "cut before the answer to the dot", host: &smarthost{hangUpAfterDot: true}, verdict: notifiers.Ambiguous, mails: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			address := c.host.start(t, nil, false)
			m := page()
			m.Attempt = max(c.attempt, 1)
			got := notifier(t, func(cfg *Config) { cfg.Smarthost = address }).Deliver(t.Context(), m)
			if got.Verdict != c.verdict || got.After != c.after {
				t.Errorf("%v after %v (%v), want %v after %v", got.Verdict, got.After, got.Err, c.verdict, c.after)
			}
			c.host.mu.Lock()
			defer c.host.mu.Unlock()
			if len(c.host.mails) != c.mails {
				t.Errorf("the smarthost saw %d mails, want %d", len(c.host.mails), c.mails)
			}
			if c.name == "content, text passes" && bytes.Contains(c.host.mails[1].data, []byte("<html")) {
				t.Error("the second try still has HTML")
			}
		})
	}
}

// TestScripts are servers that a library would not play: they cut the line.
func TestScripts(t *testing.T) {
	ehlo := "250-x\r\n250 ENHANCEDSTATUSCODES\r\n"
	for _, c := range []struct {
		name    string
		replies map[string]string // by verb; "" greets; a missing one cuts the line
		verdict notifiers.Verdict
	}{
		{"cut at once", map[string]string{}, notifiers.Retry},
		{"busy greeting", map[string]string{"": "421 4.3.2 busy\r\n"}, notifiers.Retry},
		{"refusing greeting", map[string]string{"": "554 5.7.1 go away\r\n"}, notifiers.Down},
		{"cut after EHLO", map[string]string{"": "220 x\r\n"}, notifiers.Retry},
		{"cut at MAIL", map[string]string{"": "220 x\r\n", "EHLO": ehlo, "NOOP": "250 ok\r\n"}, notifiers.Retry},
		{"cut at the dot", map[string]string{"": "220 x\r\n", "EHLO": ehlo, "NOOP": "250 ok\r\n", "MAIL": "250 ok\r\n", "RCPT": "250 ok\r\n", "DATA": "354 go\r\n"}, notifiers.Ambiguous},
		{"cut at RSET after taking it", map[string]string{"": "220 x\r\n", "EHLO": ehlo, "NOOP": "250 ok\r\n", "MAIL": "250 ok\r\n", "RCPT": "250 ok\r\n", "DATA": "354 go\r\n", ".": "250 2.0.0 queued as 1\r\n"}, notifiers.Sent},
		{"cut at QUIT after taking it", map[string]string{"": "220 x\r\n", "EHLO": ehlo, "NOOP": "250 ok\r\n", "MAIL": "250 ok\r\n", "RCPT": "250 ok\r\n", "DATA": "354 go\r\n", ".": "250 2.0.0 queued as 1\r\n", "RSET": "250 ok\r\n"}, notifiers.Sent},
	} {
		t.Run(c.name, func(t *testing.T) {
			address := script(t, c.replies)
			got := notifier(t, func(cfg *Config) { cfg.Smarthost = address }).Deliver(t.Context(), page())
			if got.Verdict != c.verdict {
				t.Errorf("%v (%v), want %v", got.Verdict, got.Err, c.verdict)
			}
		})
	}
}

// TestNobodyListens: once is a restart; a smarthost that stays away is down, and
// where there are few people no other address would ever tell.
func TestNobodyListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	for attempt, want := range map[int]notifiers.Verdict{1: notifiers.Retry, 2: notifiers.Retry, 3: notifiers.Down, 9: notifiers.Down} {
		for _, smarthost := range []string{address, "nobody.invalid:587"} {
			m := page()
			m.Attempt = attempt
			got := notifier(t, func(cfg *Config) { cfg.Smarthost = smarthost }).Deliver(t.Context(), m)
			if got.Verdict != want {
				t.Errorf("%s, attempt %d: %v (%v), want %v", smarthost, attempt, got.Verdict, got.Err, want)
			}
		}
	}
}

func script(t *testing.T, replies map[string]string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				greeting, ok := replies[""]
				if !ok {
					return
				}
				io.WriteString(conn, greeting)
				buf := make([]byte, 0, 1<<16)
				chunk := make([]byte, 4096)
				data := false
				for {
					n, err := conn.Read(chunk)
					if err != nil {
						return
					}
					buf = append(buf, chunk[:n]...)
					end, verb := []byte("\r\n"), ""
					if data {
						end, verb = []byte("\r\n.\r\n"), "."
					}
					i := bytes.Index(buf, end)
					if i < 0 {
						continue
					}
					if !data && i >= 4 {
						verb = string(buf[:4])
					}
					buf = buf[i+len(end):]
					answer, ok := replies[verb]
					if !ok {
						return
					}
					data = verb == "DATA"
					io.WriteString(conn, answer)
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// TestRehearse: as far as a mail goes before it has a recipient, and no further.
func TestRehearse(t *testing.T) {
	pool, certificate := authority(t)
	for _, c := range []struct {
		name     string
		host     *smarthost
		plain    bool // no TLS, as on this machine
		password string
		want     string
	}{
		{name: "encrypted, with a login", host: &smarthost{user: "callchain", password: "hunter2"}, password: "hunter2"},
		{name: "plain", host: &smarthost{}, plain: true},
		{name: "wrong password", host: &smarthost{user: "callchain", password: "hunter2"}, password: "hunter3", want: "535"},
		{name: "no login where one is needed", host: &smarthost{user: "callchain", password: "hunter2"}, want: "the sender callchain@example.org is not accepted: "},
		{name: "the sender is refused", host: &smarthost{mailErr: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "not your domain"}}, want: "the sender callchain@example.org is not accepted: 550 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			offered := certificate
			if c.plain {
				offered = nil
			}
			address := c.host.start(t, offered, false)
			n := notifier(t, func(cfg *Config) {
				cfg.Smarthost, cfg.RequireTLS, cfg.RootCAs = address, !c.plain, pool
				if c.password != "" {
					cfg.Username, cfg.Password = "callchain", func() (string, error) { return c.password, nil }
				}
			})
			n.local = c.plain
			how, err := n.Rehearse(t.Context())
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || c.password != "" && strings.Contains(err.Error(), c.password)):
				t.Errorf("err = %v, want %q", err, c.want)
			case c.want == "" && how.TLS == c.plain:
				t.Errorf("TLS = %v", how.TLS)
			case c.want == "" && !c.plain && (how.Expires.Before(time.Now()) || how.Expires.After(time.Now().Add(2*time.Hour))):
				t.Errorf("the certificate ends %v", how.Expires)
			}
			c.host.mu.Lock()
			defer c.host.mu.Unlock()
			if len(c.host.mails) > 0 {
				t.Errorf("a mail was sent: %+v", c.host.mails)
			}
		})
	}
}

func TestNothingListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	n := notifier(t, func(c *Config) { c.Smarthost = listener.Addr().String() })
	if got := n.Deliver(t.Context(), page()); got.Verdict != notifiers.Retry {
		t.Errorf("%v %v", got.Verdict, got.Err)
	}
}

func TestNoEditsNoBadAddresses(t *testing.T) {
	n := notifier(t, nil)
	m := page()
	m.Edit = true
	if got := n.Deliver(t.Context(), m); got.Verdict != notifiers.Gone {
		t.Errorf("an edit: %v %v", got.Verdict, got.Err)
	}
	for _, address := range []string{"", "jane", "jane@example.org, all@example.org", "jane@example.org\r\nBcc: all@example.org"} {
		m := page()
		m.Address = address
		if got := n.Deliver(t.Context(), m); got.Verdict != notifiers.Refused {
			t.Errorf("%q: %v %v", address, got.Verdict, got.Err)
		}
	}
}

func TestNewNamesTheMistake(t *testing.T) {
	for _, c := range []struct{ smarthost, from, want string }{
		{"mail.example.org", "a@example.org", "host:port"},
		{"mail.example.org:smtp", "a@example.org", "host:port"},
		{":25", "a@example.org", "host:port"},
		{"mail.example.org:25", "nobody", "sender"},
	} {
		if _, err := New(Config{Smarthost: c.smarthost, From: c.from}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %s: %v, want something about %s", c.smarthost, c.from, err, c.want)
		}
	}
}

func TestWrapKeepsLinksWhole(t *testing.T) {
	link := "https://example.org/" + strings.Repeat("a", 200)
	got := wrap(2, "see "+link+" and "+strings.Repeat("word ", 30))
	if !strings.Contains(got, link) {
		t.Error("the link was broken")
	}
	for line := range strings.Lines(got) {
		if len(line) > width+1 && !strings.Contains(line, link) {
			t.Errorf("a line of %d", len(line))
		}
	}
}
