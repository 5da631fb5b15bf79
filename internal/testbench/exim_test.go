package testbench_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/smtp"
	"net/textproto"
	"os"
	"testing"

	"callchain/internal/testbench"
)

func TestEximDeliversAndRefuses(t *testing.T) {
	x := testbench.StartExim(t)
	ca, err := os.ReadFile(x.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	config := &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}

	// submit sends one mail and returns the code of the refusal, 250 for none.
	submit := func(client *smtp.Client, to string) int {
		t.Helper()
		err := client.Mail("callchain@example.org")
		if err == nil {
			err = client.Rcpt(to)
		}
		if refusal := (*textproto.Error)(nil); errors.As(err, &refusal) {
			return refusal.Code
		}
		if err != nil {
			t.Fatal(err)
		}
		w, err := client.Data()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "To: %s\r\nSubject: =?utf-8?q?checkout=3A_p=C3=A4ge?=\r\nMIME-Version: 1.0\r\n"+
			"Content-Type: multipart/alternative; boundary=b\r\n\r\n"+
			"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=3Db\r\n"+
			"--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nPHA+aGk8L3A+\r\n--b--\r\n", to)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return 250
	}

	client, err := smtp.Dial(x.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if ok, _ := client.Extension("AUTH"); ok {
		t.Error("AUTH is offered in clear")
	}
	if code := submit(client, "ana@example.org"); code != 530 {
		t.Errorf("without authentication: %d, want 530", code)
	}
	if err := client.StartTLS(config); err != nil {
		t.Fatal(err)
	}
	if err := client.Auth(smtp.PlainAuth("", x.Username, "wrong", "127.0.0.1")); err == nil {
		t.Error("a wrong password is accepted")
	}
	if client, err = smtp.Dial(x.Addr); err != nil { // a failed AUTH ends the connection
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.StartTLS(config); err != nil {
		t.Fatal(err)
	}
	if err := client.Auth(smtp.PlainAuth("", x.Username, x.Password, "127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		to   string
		want int
	}{
		{testbench.TempfailUser + "@example.org", 451},
		{testbench.NosuchUser + "@example.org", 550},
		{"ana@example.org", 250},
	} {
		if code := submit(client, c.to); code != c.want {
			t.Errorf("mail to %s: %d, want %d", c.to, code, c.want)
		}
		if err := client.Reset(); err != nil {
			t.Fatal(err)
		}
	}
	m := x.AwaitMail(t, "ana@example.org", "päge")
	if m.Subject != "checkout: päge" || m.Text != "a=b" || m.HTML != "<p>hi</p>" {
		t.Errorf("mail is %q, %q, %q", m.Subject, m.Text, m.HTML)
	}
	if n := len(x.Mails(t)); n != 1 {
		t.Errorf("%d mails, want 1", n)
	}

	conn, err := tls.Dial("tcp", x.TLSAddr, config)
	if err != nil {
		t.Fatalf("TLS from the first byte: %v", err)
	}
	conn.Close()

	x.Kill9(t)
	x.Restart(t)
	if n := len(x.Mails(t)); n != 1 {
		t.Errorf("%d mails after a restart, want 1", n)
	}
}
