// Package email delivers messages over a smarthost: one mail for one person,
// with a text part that is written, not derived, and an HTML part beside it.
//
// Mails cannot be edited, so few are sent: a page, its reminders, and one that
// tells how it ended, all in one thread. A mail repeated after a doubtful
// answer has the same Message-ID, by which mailboxes know it again.
//
// The package makes one attempt and says what came of it; the engine decides.
package email

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"callchain/notifiers"
)

// Timeout is how long the smarthost may keep silent.
const Timeout = 15 * time.Second

// Config is what a Notifier needs.
type Config struct {
	Smarthost  string                 // host:port; 465 is TLS from the first byte
	From       string                 // an address, with or without a name
	Username   string                 // "": no authentication
	Password   func() (string, error) // asked before every mail, so that a changed file is seen
	RequireTLS bool                   // STARTTLS must succeed; a smarthost on this machine need not offer it
	Domain     string                 // of Message-IDs; "": that of From
	HELO       string                 // "": the machine's name
	RootCAs    *x509.CertPool         // nil: the system's
}

// Notifier delivers over one smarthost. It is safe for concurrent use.
type Notifier struct {
	cfg    Config
	logger *slog.Logger
	host   string
	port   int

	implicit bool // TLS from the first byte
	local    bool // the smarthost is on this machine
}

// New checks the settings and returns a notifier. It does not dial yet.
func New(cfg Config, logger *slog.Logger) (*Notifier, error) {
	host, service, err := net.SplitHostPort(cfg.Smarthost)
	if err != nil {
		return nil, fmt.Errorf("reading the smarthost's address %q: want host:port, such as mail.example.org:587", cfg.Smarthost)
	}
	port, err := strconv.Atoi(service)
	if err != nil || host == "" || port < 1 || port > 65535 {
		return nil, fmt.Errorf("reading the smarthost's address %q: want host:port, such as mail.example.org:587", cfg.Smarthost)
	}
	from, err := mail.ParseAddress(cfg.From)
	if err != nil {
		return nil, fmt.Errorf("reading the sender's address %q: %w", cfg.From, err)
	}
	if cfg.Domain == "" {
		cfg.Domain = from.Address[strings.LastIndexByte(from.Address, '@')+1:]
	}
	cfg.Domain = token(cfg.Domain, 200)
	return &Notifier{
		cfg: cfg, logger: logger, host: host, port: port,
		implicit: port == 465, local: loopback(host),
	}, nil
}

// Deliver makes one attempt to deliver one mail. Content that the smarthost
// refuses is sent once more as text alone.
func (n *Notifier) Deliver(ctx context.Context, m notifiers.Message) notifiers.Result {
	if m.Edit {
		return notifiers.Result{Verdict: notifiers.Gone, Err: errors.New("e-mail: a mail cannot be edited")}
	}
	client, password, err := n.client(ctx)
	if err != nil {
		return notifiers.Result{Verdict: notifiers.Down, Err: fmt.Errorf("e-mail: %w", err)}
	}
	result := n.attempt(ctx, client, m, both, password)
	if result.Verdict == notifiers.Refused && errors.Is(result.Err, errContent) {
		n.logger.Warn("the smarthost refused a mail's content; sending text alone", "incident", m.Incident.ID, "kind", m.Kind, "err", result.Err)
		if client, password, err = n.client(ctx); err == nil {
			result = n.attempt(ctx, client, m, textOnly, password)
		}
	}
	return result
}

func (n *Notifier) attempt(ctx context.Context, client *gomail.Client, m notifiers.Message, f form, password string) notifiers.Result {
	letter, err := n.compose(m, f)
	if err != nil {
		return notifiers.Result{Verdict: notifiers.Refused, Err: fmt.Errorf("e-mail: %w", err)}
	}
	sendErr := client.DialAndSendWithContext(ctx, letter)
	// The errors of RSET and QUIT come after the mail was taken.
	if letter.IsDelivered() || sendErr == nil {
		return notifiers.Result{Verdict: notifiers.Sent, Ref: notifiers.Ref{TS: n.messageID(m)}}
	}
	result := classify(sendErr, m.Attempt)
	result.Err = redacted(result.Err, password)
	return result
}

// Probe dials the smarthost, greets it and authenticates.
func (n *Notifier) Probe(ctx context.Context) error {
	client, password, err := n.client(ctx)
	if err != nil {
		return fmt.Errorf("e-mail: %w", err)
	}
	conn, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return redacted(classify(err, 1).Err, password)
	}
	_ = client.CloseWithSMTPClient(conn) // it answered: how it says goodbye does not matter
	return nil
}

// Connection is how a smarthost was reached.
type Connection struct {
	TLS     bool
	Expires time.Time // of the certificate that was verified; zero: none was
}

// Rehearse goes as far as a mail does before it has a recipient: it dials, greets,
// encrypts, authenticates, names the sender, and takes that back.
func (n *Notifier) Rehearse(ctx context.Context) (Connection, error) {
	client, password, err := n.client(ctx)
	if err != nil {
		return Connection{}, fmt.Errorf("e-mail: %w", err)
	}
	conn, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return Connection{}, redacted(classify(err, 1).Err, password)
	}
	defer func() { _ = client.CloseWithSMTPClient(conn) }() // as in Probe
	var how Connection
	if state, ok := conn.TLSConnectionState(); ok {
		how.TLS = true
		if len(state.VerifiedChains) > 0 {
			how.Expires = state.PeerCertificates[0].NotAfter
		}
	}
	from, err := mail.ParseAddress(n.cfg.From)
	if err != nil {
		return how, fmt.Errorf("e-mail: reading the sender's address %q: %w", n.cfg.From, err)
	}
	if err := conn.Mail("<" + from.Address + ">"); err != nil {
		return how, redacted(fmt.Errorf("e-mail: the sender %s is not accepted: %s", from.Address, notifiers.Clean(err.Error(), 400)), password)
	}
	_ = conn.Reset() // as for goodbye: it was taken
	return how, nil
}

// Conversation is the key by which messages are paced.
func (n *Notifier) Conversation(m notifiers.Message) string { return strings.ToLower(m.Address) }

// client is made for every mail: the password may have changed, and a
// connection that was kept may be dead when somebody must be woken.
func (n *Notifier) client(ctx context.Context) (*gomail.Client, string, error) {
	timeout := Timeout
	if deadline, ok := ctx.Deadline(); ok {
		// go-mail heeds ctx while dialling only.
		timeout = min(timeout, max(time.Until(deadline), time.Millisecond))
	}
	encryption := &tls.Config{ServerName: n.host, MinVersion: tls.VersionTLS12, RootCAs: n.cfg.RootCAs}
	options := []gomail.Option{
		gomail.WithPort(n.port),
		gomail.WithTimeout(timeout),
		gomail.WithTLSConfig(encryption),
	}
	encrypted := true
	switch {
	case n.implicit:
		options = append(options, gomail.WithSSL())
	case n.cfg.RequireTLS && n.local:
		// Some relays on this machine take a login only after STARTTLS, with a
		// certificate of nobody's. No worse than plain, which is legal here.
		encryption.InsecureSkipVerify = true
		encrypted = false
		options = append(options, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	case n.cfg.RequireTLS:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	default:
		encrypted = false
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	}
	if n.cfg.HELO != "" {
		options = append(options, gomail.WithHELO(n.cfg.HELO))
	}
	password := ""
	if n.cfg.Username != "" {
		var err error
		if n.cfg.Password == nil {
			return nil, "", errors.New("reading the password: none is configured for the user " + n.cfg.Username)
		}
		if password, err = n.cfg.Password(); err != nil {
			return nil, "", fmt.Errorf("reading the password: %w", err)
		}
		options = append(options, gomail.WithUsername(n.cfg.Username), gomail.WithPassword(password))
		if !encrypted && n.local {
			// On this machine nobody listens between; PLAIN may go in clear.
			options = append(options, gomail.WithOpportunisticSMTPAuth(
				gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthSCRAMSHA1, gomail.SMTPAuthCramMD5,
				gomail.SMTPAuthPlainNoEnc, gomail.SMTPAuthLoginNoEnc))
		} else {
			options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover))
		}
	}
	client, err := gomail.NewClient(n.host, options...)
	if err != nil {
		return nil, "", fmt.Errorf("preparing to speak to the smarthost: %w", err)
	}
	return client, password, nil
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
