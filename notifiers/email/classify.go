package email

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"callchain/notifiers"
)

// errContent marks a refusal of what the mail says, not of where it goes.
var errContent = errors.New("the smarthost refused the mail's content")

// greylisted is how long a smarthost that greylists is left alone.
const greylisted = time.Minute

// reply is what the smarthost said: a code, an enhanced code, its words.
type reply struct {
	code     int
	enhanced string
	words    string
}

var replyLine = regexp.MustCompile(`\b([245]\d\d)[ -]+(?:(?:#)?([245]\.\d{1,3}\.\d{1,3})\b)?`)

// replyOf digs the reply out of an error: go-mail keeps it sometimes as a
// textproto.Error, sometimes in a SendError of its own that does not unwrap,
// sometimes as text only.
func replyOf(err error) reply {
	r := reply{words: err.Error()}
	var proto *textproto.Error
	if errors.As(err, &proto) {
		r.code, r.words = proto.Code, proto.Error()
	}
	var sent *gomail.SendError
	if errors.As(err, &sent) {
		r.code, r.enhanced = sent.ErrorCode(), sent.EnhancedStatusCode()
	}
	if found := replyLine.FindStringSubmatch(r.words); found != nil && (r.code == 0 && sent == nil || strconv.Itoa(r.code) == found[1]) {
		r.code, _ = strconv.Atoi(found[1])
		if r.enhanced == "" {
			r.enhanced = found[2]
		}
	}
	return r
}

// classify turns what went wrong into a verdict. An error without a reply of
// the smarthost's is temporary: the network's, not the address's.
func classify(err error, attempt int) notifiers.Result {
	r := replyOf(err)
	words := "e-mail: " + notifiers.Clean(r.words, 400)
	result := notifiers.Result{Verdict: notifiers.Retry, Err: errors.New(words)}

	var sent *gomail.SendError
	stage := errors.As(err, &sent)
	if r.code == 0 {
		switch {
		case stage && sent.Reason == gomail.ErrSMTPDataClose:
			// The final dot may have arrived; the answer did not.
			result.Verdict = notifiers.Ambiguous
		case broken(err), attempt >= dialsGivenUp && undialled(err):
			result.Verdict = notifiers.Down
		}
		return result
	}
	if r.code < 500 {
		if r.enhanced == "4.7.1" || r.code == 450 && strings.Contains(strings.ToLower(r.words), "greylist") {
			result.After = greylisted
		}
		return result
	}

	credentials := slices.Contains([]int{530, 534, 535, 538}, r.code) || r.enhanced == "5.7.30" || r.enhanced == "5.7.8"
	content := r.code == 555 || r.enhanced == "5.3.4" || strings.HasPrefix(r.enhanced, "5.6.") || r.enhanced == "" && (r.code == 552 || r.code == 554)
	switch {
	case credentials, !stage:
		result.Verdict = notifiers.Down // refused before any mail was named
	case r.code >= 500 && r.code <= 504 && attempt <= 1:
		result.Verdict = notifiers.Retry // a misunderstanding; a new connection may not have it
	case sent.Reason == gomail.ErrSMTPMailFrom && r.code != 555:
		result.Verdict = notifiers.Down // our own address is refused: nobody gets mail
	case content && (sent.Reason == gomail.ErrSMTPData || sent.Reason == gomail.ErrSMTPDataClose || sent.Reason == gomail.ErrSMTPMailFrom || sent.Reason == gomail.ErrWriteContent):
		result.Verdict = notifiers.Refused
		result.Err = fmt.Errorf("%w: %s", errContent, strings.TrimPrefix(words, "e-mail: "))
	default:
		result.Verdict = notifiers.Refused
	}
	return result
}

// dialsGivenUp is the attempt at which a smarthost that does not answer is taken
// to be down, and not in the middle of a restart.
const dialsGivenUp = 3

// undialled tells that no connection came about.
func undialled(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// broken are errors that no waiting cures: the certificate, a smarthost that
// lacks what is required of it.
func broken(err error) bool {
	var (
		unknown     x509.UnknownAuthorityError
		host        x509.HostnameError
		invalid     x509.CertificateInvalidError
		certificate *tls.CertificateVerificationError
	)
	if errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &invalid) || errors.As(err, &certificate) {
		return true
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	for _, auth := range []error{
		gomail.ErrNoSupportedAuthDiscovered, gomail.ErrPlainAuthNotSupported, gomail.ErrLoginAuthNotSupported,
	} {
		if errors.Is(err, auth) {
			return true
		}
	}
	words := err.Error()
	return strings.Contains(words, "does not support STARTTLS") || strings.Contains(words, "does not support SMTP AUTH") ||
		strings.Contains(words, "unencrypted connection")
}

// redacted takes the password out of an error, should a server repeat it.
func redacted(err error, password string) error {
	if err == nil || password == "" || !strings.Contains(err.Error(), password) {
		return err
	}
	clean := errors.New(strings.ReplaceAll(err.Error(), password, "<secret>"))
	if errors.Is(err, errContent) {
		return fmt.Errorf("%w: %w", errContent, clean)
	}
	return clean
}
