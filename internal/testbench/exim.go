package testbench

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Recipients (at any domain) that the mail server answers in a special way.
const (
	TempfailUser = "tempfail" // 451: try again later
	NosuchUser   = "nosuch"   // 550: no such mailbox
)

// Exim is a running mail server that puts every mail into one maildir. It takes
// mail from authenticated clients only, and lets nobody authenticate in clear.
type Exim struct {
	*Process
	Addr     string // submission with STARTTLS
	TLSAddr  string // submission with TLS from the first byte
	Username string
	Password string
	CAFile   string // for SSL_CERT_FILE: the certificate that the server shows

	maildir string
}

// StartExim starts exim4 with a configuration of its own and waits until it
// takes connections.
func StartExim(t testing.TB) *Exim {
	t.Helper()
	path := program(t, "exim4")

	// Not t.TempDir, whose parent only its owner can enter: exim gives up root
	// and works as another user.
	dir, err := os.MkdirTemp("", "callchain-exim-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove exim's folder: %v", err)
		}
	})
	account, group := accountOfExim(t)
	x := &Exim{
		Addr: FreeAddr(t), TLSAddr: FreeAddr(t), Username: "callchain", Password: "correct-horse-battery",
		CAFile: filepath.Join(dir, "ca.pem"), maildir: filepath.Join(dir, "maildir"),
	}
	certificate, key := selfSigned(t)
	writeFile(t, x.CAFile, certificate, 0o644)
	writeFile(t, filepath.Join(dir, "key.pem"), key, 0o600)
	for _, d := range []string{"spool", "log", "maildir"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chmod(dir, 0o755), os.Chown(p, atoi(t, account.Uid), atoi(t, group.Gid)))
	}); err != nil {
		t.Fatalf("give exim its folder: %v", err)
	}
	// Exim reads no configuration that somebody else than root, or than the one
	// who calls it, could have written.
	file := filepath.Join(dir, "exim.conf")
	writeFile(t, file, fmt.Appendf(nil, eximConf, dir, account.Username, group.Name,
		portOf(t, x.Addr), portOf(t, x.TLSAddr), x.Username, x.Password, TempfailUser, NosuchUser), 0o644)

	x.Process = &Process{name: "exim4", path: path, args: []string{"-C", file, "-bdf", "-q5s"}, dir: dir}
	x.start(t)
	x.awaitReady(t, x.greets)
	return x
}

// Restart starts an exim that was killed or has ended, with the same addresses
// and mails.
func (x *Exim) Restart(t testing.TB) {
	t.Helper()
	x.start(t)
	x.awaitReady(t, x.greets)
}

// eximConf's verbs: 1 folder, 2 user, 3 group, 4 STARTTLS port, 5 TLS port,
// 6 user name, 7 password, 8 and 9 the special recipients.
const eximConf = `primary_hostname = mail.test
exim_user = %[2]s
exim_group = %[3]s
deliver_drop_privilege = true
spool_directory = %[1]s/spool
log_file_path = %[1]s/log/%%slog
pid_file_path = %[1]s/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = %[4]s : %[5]s
tls_on_connect_ports = %[5]s
tls_advertise_hosts = *
tls_certificate = %[1]s/ca.pem
tls_privatekey = %[1]s/key.pem
auth_advertise_hosts = ${if def:tls_in_cipher {*}{}}
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_max = 200
message_size_limit = 10M
acl_smtp_mail = acl_mail
acl_smtp_rcpt = acl_rcpt
acl_smtp_data = accept
acl_smtp_predata = accept

begin acl
acl_mail:
  require message = 530 authenticate first
          authenticated = *
  accept
acl_rcpt:
  defer message = 451 the mailbox is busy
        local_parts = %[8]s
  deny message = 550 no such mailbox
       local_parts = %[9]s
  accept

begin routers
everything:
  driver = accept
  transport = maildir

begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = %[1]s/maildir
  create_directory
  envelope_to_add
  return_path_add
  user = %[2]s
  group = %[3]s

begin retry
* * F,1h,1s

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{%[6]s}}{eq{$auth3}{%[7]s}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${if and{{eq{$auth1}{%[6]s}}{eq{$auth2}{%[7]s}}}}
  server_set_id = $auth1
`

// accountOfExim is who exim works as: Debian's account for it when root starts
// it, else whoever runs the test.
func accountOfExim(t testing.TB) (*user.User, *user.Group) {
	t.Helper()
	account, err := user.Current()
	if err == nil && account.Uid == "0" {
		account, err = user.Lookup("Debian-exim")
	}
	if err != nil {
		t.Fatalf("find exim's account: %v (run make test, it installs exim4)", err)
	}
	group, err := user.LookupGroupId(account.Gid)
	if err != nil {
		t.Fatalf("find exim's group: %v", err)
	}
	return account, group
}

func atoi(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// greets wants the server's first line: a listening socket alone may still
// belong to a server that cannot read its key.
func (x *Exim) greets() error {
	conn, err := net.DialTimeout("tcp", x.Addr, 2*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	line := make([]byte, 512)
	n, err := conn.Read(line)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line[:n], []byte("220 ")) {
		return fmt.Errorf("greeting is %q", line[:n])
	}
	_, err = io.WriteString(conn, "QUIT\r\n")
	return err
}

// selfSigned makes a certificate for the loopback address that is its own authority.
func selfSigned(t testing.TB) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "mail.test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		DNSNames:              []string{"localhost", "mail.test"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// Mail is one delivered mail.
type Mail struct {
	To      string // the envelope's recipient, whatever the header says
	Header  mail.Header
	Subject string // decoded
	Text    string // the text part, decoded
	HTML    string // the HTML part, decoded
	Raw     []byte
}

// Mails returns the mails delivered so far, in the order of their delivery.
func (x *Exim) Mails(t testing.TB) []Mail {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(x.maildir, "new"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // exim makes it with the first mail
	}
	if err != nil {
		t.Fatal(err)
	}
	type delivered struct {
		at   time.Time
		mail Mail
	}
	var all []delivered
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(filepath.Join(x.maildir, "new", f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		m, err := readMail(raw)
		if err != nil {
			t.Fatalf("read a delivered mail: %v\n%s", err, raw)
		}
		all = append(all, delivered{info.ModTime(), m})
	}
	slices.SortStableFunc(all, func(a, b delivered) int { return a.at.Compare(b.at) })
	mails := make([]Mail, 0, len(all))
	for _, d := range all {
		mails = append(mails, d.mail)
	}
	return mails
}

// AwaitMail waits for a mail to the recipient whose subject contains the given text.
func (x *Exim) AwaitMail(t testing.TB, to, subject string) Mail {
	t.Helper()
	var found Mail
	err := poll(startTimeout, func() (bool, error) {
		for _, m := range x.Mails(t) {
			if m.To == to && strings.Contains(m.Subject, subject) {
				found = m
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		t.Fatalf("no mail to %s with %q in its subject: %v; there are %d others", to, subject, err, len(x.Mails(t)))
	}
	return found
}

func readMail(raw []byte) (Mail, error) {
	msg, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return Mail{}, err
	}
	m := Mail{To: msg.Header.Get("Envelope-To"), Header: msg.Header, Raw: raw}
	if m.Subject, err = new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject")); err != nil {
		return Mail{}, fmt.Errorf("decode the subject: %w", err)
	}
	return m, m.readPart(msg.Header.Get("Content-Type"), msg.Header.Get("Content-Transfer-Encoding"), msg.Body)
}

// readPart reads the first text and the first HTML part, whatever they are nested in.
func (m *Mail) readPart(contentType, encoding string, body io.Reader) error {
	if contentType == "" {
		contentType = "text/plain"
	}
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fmt.Errorf("read content type %q: %w", contentType, err)
	}
	if strings.HasPrefix(kind, "multipart/") {
		parts := multipart.NewReader(body, params["boundary"])
		for {
			part, err := parts.NextRawPart()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read part of %s: %w", kind, err)
			}
			if err := m.readPart(part.Header.Get("Content-Type"), part.Header.Get("Content-Transfer-Encoding"), part); err != nil {
				return err
			}
		}
	}
	switch strings.ToLower(encoding) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("read %s: %w", kind, err)
	}
	switch {
	case kind == "text/plain" && m.Text == "":
		m.Text = string(text)
	case kind == "text/html" && m.HTML == "":
		m.HTML = string(text)
	}
	return nil
}
