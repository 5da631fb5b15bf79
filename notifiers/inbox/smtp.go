package inbox

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

const (
	maxMails = 1000
	maxMail  = 4 << 20   // bytes of a mail on its way in
	maxPart  = 512 << 10 // bytes that are kept of a part
	maxDepth = 5         // of multiparts in multiparts
)

// Mail is an accepted mail.
type Mail struct {
	ID        int // from 1, in the order of arrival
	At        time.Time
	From      string   // of the envelope
	To        []string // of the envelope
	Header    mail.Header
	Subject   string // decoded
	MessageID string // with its angle brackets, as are the headers that name others
	Text      string // the first plain part
	HTML      string // the first HTML part
	Err       string // what was wrong with its form; Text is then all of it
}

// MailFault is what happens to a mail instead of its acceptance.
type MailFault struct {
	To   string // for this recipient; "": any
	Code int    // the answer to RCPT TO, or to the data if AtData: 550 refuses, 451 puts off
	// AtData gives the answer after the data instead of at the recipient.
	AtData bool
	Cut    bool // the mail is taken, then the connection is cut instead of answering
}

// Mailbox is an SMTP server that keeps what it is sent.
type Mailbox struct {
	changes
	server   *smtp.Server
	addr     string
	done     chan struct{}
	mu       sync.Mutex
	mails    []Mail
	received int
	faults   []*mailFault
}

type mailFault struct {
	left int
	MailFault
}

// StartSMTP serves on a loopback address, until Close. Port 0 picks one.
func StartSMTP(addr string) (*Mailbox, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("start mailbox: %w", err)
	}
	if ip, ok := ln.Addr().(*net.TCPAddr); !ok || !ip.IP.IsLoopback() {
		ln.Close()
		return nil, fmt.Errorf("start mailbox: %s is no loopback address", addr)
	}
	b := &Mailbox{addr: ln.Addr().String(), done: make(chan struct{})}
	s := smtp.NewServer(b)
	s.Domain = "inbox.localhost"
	s.MaxMessageBytes = maxMail
	s.MaxRecipients = 100
	s.ReadTimeout = 5 * time.Minute
	s.WriteTimeout = time.Minute
	s.EnableSMTPUTF8 = true
	s.ErrorLog = log.New(io.Discard, "", 0) // clients that hang up are no news
	b.server = s
	go func() {
		defer close(b.done)
		s.Serve(ln)
	}()
	return b, nil
}

// Addr is the host and port to send to.
func (b *Mailbox) Addr() string { return b.addr }

// Close stops the server. The mails stay.
func (b *Mailbox) Close() error {
	err := b.server.Close()
	<-b.done
	return err
}

// Mails returns what is kept, oldest first.
func (b *Mailbox) Mails() []Mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.mails)
}

// Wait returns the first mail that the condition holds for, as soon as there is one.
func (b *Mailbox) Wait(ctx context.Context, cond func(Mail) bool) (Mail, error) {
	return await(ctx, &b.changes, b.Mails, cond)
}

// Fail makes the next n mails, or recipients, that the fault fits meet it.
func (b *Mailbox) Fail(n int, f MailFault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > 0 && len(b.faults) < maxFaults {
		b.faults = append(b.faults, &mailFault{left: n, MailFault: f})
	}
}

// Heal takes back every fault that has not happened yet.
func (b *Mailbox) Heal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = nil
}

func (b *Mailbox) fault(to []string, data bool) (MailFault, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, f := range b.faults {
		if (f.Cut || f.AtData) != data || f.To != "" && !slices.Contains(to, f.To) {
			continue
		}
		if f.left--; f.left == 0 {
			b.faults = append(b.faults[:i], b.faults[i+1:]...)
		}
		return f.MailFault, true
	}
	return MailFault{}, false
}

func (f MailFault) answer() error {
	e := &smtp.SMTPError{Code: f.Code, EnhancedCode: smtp.EnhancedCode{f.Code / 100, 1, 1}, Message: "mailbox unavailable"}
	if f.Code/100 == 4 {
		e.EnhancedCode = smtp.EnhancedCode{4, 7, 1}
		e.Message = "try again later"
	}
	return e
}

// NewSession begins the talk with one client.
func (b *Mailbox) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &session{box: b, conn: c}, nil
}

type session struct {
	box  *Mailbox
	conn *smtp.Conn
	from string
	to   []string
}

func (s *session) Reset()        { s.from, s.to = "", nil }
func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if f, ok := s.box.fault([]string{to}, false); ok {
		return f.answer()
	}
	s.to = append(s.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	f, failing := s.box.fault(s.to, true)
	if failing && !f.Cut {
		return f.answer()
	}
	m := parse(raw)
	m.From, m.To, m.At = s.from, slices.Clone(s.to), time.Now()
	s.box.keep(m)
	if failing {
		s.conn.Conn().Close()
		return errors.New("cut after the data")
	}
	return nil
}

func (b *Mailbox) keep(m Mail) {
	b.mu.Lock()
	b.received++
	m.ID = b.received
	b.mails = append(b.mails, m)
	if len(b.mails) > maxMails {
		b.mails = slices.Delete(b.mails, 0, len(b.mails)-maxMails)
	}
	b.mu.Unlock()
	b.notify()
}

// parse reads a mail. One that is malformed is kept as it is: the reader of
// the inbox should see what was sent.
func parse(raw []byte) Mail {
	var m Mail
	broken := func(err error) Mail {
		m.Err = err.Error()
		m.Text = clip(raw)
		return m
	}
	msg, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return broken(err)
	}
	m.Header = msg.Header
	m.MessageID = msg.Header.Get("Message-ID")
	if m.Subject, err = new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject")); err != nil {
		m.Subject = msg.Header.Get("Subject")
	}
	if err := m.part(textproto.MIMEHeader(msg.Header), msg.Body, 0); err != nil {
		return broken(err)
	}
	return m
}

// part takes the first plain and the first HTML part out of a mail.
func (m *Mail) part(h textproto.MIMEHeader, body io.Reader, depth int) error {
	kind, params := "text/plain", map[string]string{}
	if ct := h.Get("Content-Type"); ct != "" {
		var err error
		if kind, params, err = mime.ParseMediaType(ct); err != nil {
			return fmt.Errorf("read content type: %w", err)
		}
	}
	if strings.HasPrefix(kind, "multipart/") {
		if depth == maxDepth {
			return errors.New("read parts: nested too deep")
		}
		for mr := multipart.NewReader(body, params["boundary"]); ; {
			p, err := mr.NextRawPart()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read parts: %w", err)
			}
			if err := m.part(p.Header, p, depth+1); err != nil {
				return err
			}
		}
	}
	into := map[string]*string{"text/plain": &m.Text, "text/html": &m.HTML}[kind]
	if into == nil || *into != "" {
		return nil
	}
	switch strings.ToLower(h.Get("Content-Transfer-Encoding")) {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	text, err := io.ReadAll(io.LimitReader(body, maxPart))
	if err != nil {
		return fmt.Errorf("read %s part: %w", kind, err)
	}
	*into = clip(text)
	return nil
}

func clip(b []byte) string {
	b = b[:min(len(b), maxPart)]
	return strings.ReplaceAll(strings.ToValidUTF8(string(b), "\uFFFD"), "\r\n", "\n")
}
