// Package acklink makes and checks the links in mails that acknowledge one
// incident as one person.
//
// A link is its own authority: everything needed to honour it is inside and
// signed, so that it works while the store is away, which is when mail is the
// way out. It expires, it names its incident and its person, and it holds for
// one installation only: the base URL is signed along and not sent.
//
// Opening a link must change nothing, because mail scanners open links. The
// form that acts carries a Stamp besides: it shows that the page was fetched a
// moment ago, by something slower than a machine, and not half an hour ago.
//
// A token lets whoever holds it act as a person: this package logs nothing,
// and its errors never contain one.
package acklink

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// What can be wrong with a link or with a form. Any other error means that the
// keys could not be read, and says nothing about the link.
var (
	ErrForged  = errors.New("link was not signed here")
	ErrExpired = errors.New("link is no longer valid")
	ErrEarly   = errors.New("form was sent too soon after its page")
	ErrLate    = errors.New("form is too old")
)

// MinKey is the length that a signing key has at least, in bytes.
const MinKey = 32

// How long after its page a form is taken for a person's.
const (
	StampAfter = 700 * time.Millisecond
	StampFor   = 30 * time.Minute
)

// Claim is what a link says: this person acknowledges this incident, until then.
type Claim struct {
	Incident string
	Person   string // handle
	Expires  time.Time
}

// Keys returns the signing keys as they are now: the first one signs, all of
// them are accepted, so that a key can be replaced while links are on their
// way. It is called for every operation, possibly at the same time.
type Keys func() ([][]byte, error)

// The uses of the keys. A signature made for one use never fits another.
const (
	useLink  = "callchain/ack-link/v1"
	useStamp = "callchain/ack-form/v1"
)

const (
	version  = 1
	macLen   = 16
	maxName  = 255 // bytes of an incident's id or a handle: its length is one byte
	headLen  = 1 + 4 + 1
	stampLen = 8 + macLen
	maxBytes = headLen + 2*maxName + macLen
)

var encoding = base64.RawURLEncoding.Strict()

// Sign returns the token of a link. audience is the base URL of this
// installation; the end of the validity is kept in whole seconds.
func (k Keys) Sign(incident, person string, expires time.Time, audience string) (string, error) {
	for _, name := range []string{incident, person} {
		if name == "" || len(name) > maxName {
			return "", fmt.Errorf("sign acknowledgement link: a name has %d bytes, want 1 to %d", len(name), maxName)
		}
	}
	until := expires.Unix()
	if until < 0 || until > math.MaxUint32 {
		return "", fmt.Errorf("sign acknowledgement link: expiry %s is out of range", expires.UTC().Format(time.RFC3339))
	}
	keys, err := k.read()
	if err != nil {
		return "", fmt.Errorf("sign acknowledgement link: %w", err)
	}
	b := make([]byte, 0, headLen+len(incident)+len(person)+macLen)
	b = append(b, version)
	b = binary.BigEndian.AppendUint32(b, uint32(until))
	b = append(b, byte(len(incident)))
	b = append(b, incident...)
	b = append(b, person...)
	return encoding.EncodeToString(append(b, mac(keys[0], useLink, base(audience), b)...)), nil
}

// Verify returns what a token says. ErrForged: it was not signed with one of
// the keys for this audience, or changed since; ErrExpired: it was, and its
// time is over; the claim is returned with it.
func (k Keys) Verify(token string, now time.Time, audience string) (Claim, error) {
	keys, err := k.read()
	if err != nil {
		return Claim{}, fmt.Errorf("verify acknowledgement link: %w", err)
	}
	payload, ok := open(keys, token, maxBytes, useLink, base(audience))
	if !ok || len(payload) < headLen || payload[0] != version {
		return Claim{}, ErrForged
	}
	// Whatever follows was written by Sign.
	names := payload[headLen:]
	n := int(payload[headLen-1])
	if n >= len(names) {
		return Claim{}, ErrForged
	}
	c := Claim{
		Incident: string(names[:n]),
		Person:   string(names[n:]),
		Expires:  time.Unix(int64(binary.BigEndian.Uint32(payload[1:])), 0).UTC(),
	}
	if !now.Before(c.Expires) {
		return c, ErrExpired
	}
	return c, nil
}

// Stamp returns the value of a hidden field that dates the form shown for a token.
func (k Keys) Stamp(token string, now time.Time) (string, error) {
	keys, err := k.read()
	if err != nil {
		return "", fmt.Errorf("stamp acknowledgement form: %w", err)
	}
	b := binary.BigEndian.AppendUint64(make([]byte, 0, stampLen), uint64(now.UnixMilli()))
	return encoding.EncodeToString(append(b, mac(keys[0], useStamp, token, b)...)), nil
}

// CheckStamp tells whether the form of a token was sent by a person who saw
// its page: ErrEarly within StampAfter (also when the stamp is of the future:
// another replica's clock runs ahead), ErrLate after StampFor, ErrForged when
// the stamp is not ours or of another token.
func (k Keys) CheckStamp(token, stamp string, now time.Time) error {
	keys, err := k.read()
	if err != nil {
		return fmt.Errorf("check acknowledgement form: %w", err)
	}
	payload, ok := open(keys, stamp, stampLen, useStamp, token)
	if !ok || len(payload) != stampLen-macLen {
		return ErrForged
	}
	switch age := now.Sub(time.UnixMilli(int64(binary.BigEndian.Uint64(payload)))); {
	case age < StampAfter:
		return ErrEarly
	case age > StampFor:
		return ErrLate
	}
	return nil
}

func (k Keys) read() ([][]byte, error) {
	keys, err := k()
	if err != nil {
		return nil, fmt.Errorf("read signing keys: %w", err)
	}
	if len(keys) == 0 {
		return nil, errors.New("read signing keys: there is none")
	}
	for i, key := range keys {
		if len(key) < MinKey {
			return nil, fmt.Errorf("read signing keys: key %d has %d bytes, want at least %d", i+1, len(key), MinKey)
		}
	}
	return keys, nil
}

// open returns the signed part of a text. Every key is tried in full, so that
// the time taken does not tell which one fits.
func open(keys [][]byte, text string, limit int, use, context string) ([]byte, bool) {
	if len(text) > encoding.EncodedLen(limit) {
		return nil, false
	}
	b, err := encoding.DecodeString(text)
	// The decoder passes over line ends: one link must have one spelling.
	if err != nil || len(b) <= macLen || strings.ContainsAny(text, "\r\n") {
		return nil, false
	}
	payload, sum := b[:len(b)-macLen], b[len(b)-macLen:]
	good := false
	for _, key := range keys {
		if hmac.Equal(sum, mac(key, use, context, payload)) {
			good = true
		}
	}
	return payload, good
}

// mac signs a payload for one use in one context. The context's length is
// signed too: no part of it can pass for the payload's.
func mac(key []byte, use, context string, payload []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(use))
	h.Write(binary.BigEndian.AppendUint64([]byte{0}, uint64(len(context))))
	h.Write([]byte(context))
	h.Write(payload)
	return h.Sum(nil)[:macLen]
}

// base makes http://host and http://host/ the same audience.
func base(audience string) string { return strings.TrimRight(audience, "/") }
