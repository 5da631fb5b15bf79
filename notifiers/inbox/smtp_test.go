package inbox

import (
	"errors"
	"net/textproto"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/wneessen/go-mail"
)

func mailbox(t *testing.T) (*Mailbox, func(to string) error) {
	t.Helper()
	b, err := StartSMTP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	host, port, _ := strings.Cut(b.Addr(), ":")
	c, err := mail.NewClient(host, mail.WithTLSPolicy(mail.NoTLS), mail.WithPort(atoi(t, port)))
	if err != nil {
		t.Fatal(err)
	}
	return b, func(to string) error {
		m := mail.NewMsg()
		if err := errors.Join(m.From("callchain@example.org"), m.To(to)); err != nil {
			t.Fatal(err)
		}
		m.Subject("Página: parsoid größer")
		m.SetBodyString(mail.TypeTextPlain, "Zeile eins\nüber alles = gut")
		m.AddAlternativeString(mail.TypeTextHTML, "<p>größer</p>")
		return c.DialAndSend(m)
	}
}

func atoi(t *testing.T, s string) (n int) {
	t.Helper()
	for _, r := range s {
		n = 10*n + int(r-'0')
	}
	return n
}

func TestMailIsKept(t *testing.T) {
	b, send := mailbox(t)
	if err := send("amira@example.org"); err != nil {
		t.Fatal(err)
	}
	m, err := b.Wait(t.Context(), func(m Mail) bool { return m.ID == 1 })
	if err != nil {
		t.Fatal(err)
	}
	if m.Subject != "Página: parsoid größer" || !strings.Contains(m.Text, "über alles = gut") || m.HTML != "<p>größer</p>" ||
		m.From != "callchain@example.org" || m.MessageID == "" || m.Err != "" {
		t.Errorf("%+v", m)
	}
	if diff := cmp.Diff([]string{"amira@example.org"}, m.To); diff != "" {
		t.Error(diff)
	}
}

func TestMailFaults(t *testing.T) {
	b, send := mailbox(t)
	codeOf := func(err error) int {
		var p *textproto.Error
		var s *mail.SendError
		switch {
		case errors.As(err, &p):
			return p.Code
		case errors.As(err, &s):
			return s.ErrorCode()
		}
		return 0
	}
	b.Fail(1, MailFault{To: "ben@example.org", Code: 550})
	if err := send("amira@example.org"); err != nil {
		t.Errorf("another recipient: %v", err)
	}
	if err := send("ben@example.org"); codeOf(err) != 550 {
		t.Errorf("got %v", err)
	}
	b.Fail(1, MailFault{Code: 451, AtData: true})
	if err := send("ben@example.org"); codeOf(err) != 451 {
		t.Errorf("got %v", err)
	}
	if n := len(b.Mails()); n != 1 {
		t.Fatalf("%d mails, want 1", n)
	}
	b.Fail(1, MailFault{Cut: true})
	if err := send("ben@example.org"); err == nil {
		t.Error("the cut mail was answered")
	}
	if n := len(b.Mails()); n != 2 {
		t.Errorf("%d mails, want also the one whose answer was cut", n)
	}
	if err := send("ben@example.org"); err != nil {
		t.Error(err)
	}
}

func TestLoopbackOnly(t *testing.T) {
	if b, err := StartSMTP("0.0.0.0:0"); err == nil {
		b.Close()
		t.Error("the mailbox listens to the world")
	}
}

func TestMalformedMailIsShown(t *testing.T) {
	for _, tc := range []struct{ name, raw string }{
		{"no header", "\x00\xff not a mail"},
		{"no boundary", "Content-Type: multipart/mixed\r\n\r\nx"},
		{"cut multipart", "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: text/plain\r\n\r\nhello"},
		{"odd type", "Content-Type: ;;;\r\n\r\nx"},
		{"matryoshka", strings.Repeat("Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n", 10) + "\r\nx"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if m := parse([]byte(tc.raw)); m.Err == "" || m.Text == "" {
				t.Errorf("%+v", m)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("Subject: =?utf-8?q?x?=\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n--a\r\n\r\nhi\r\n--a--\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if m := parse(raw); len(m.Text) > 2*maxPart {
			t.Errorf("%d bytes kept", len(m.Text))
		}
	})
}
