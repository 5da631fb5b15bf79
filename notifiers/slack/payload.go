package slack

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Errors of what comes from Slack.
var (
	// ErrSignature: the request does not come from Slack, or is too old: 401.
	ErrSignature = errors.New("the request is not signed by Slack")
	// ErrPayload: the request is Slack's but holds nothing of ours: 400.
	ErrPayload = errors.New("the payload is nothing that callchain asked for")
)

// Kind is what a payload is, in the words of Socket Mode.
type Kind string

// The kinds of payloads.
const (
	KindInteraction Kind = "interactive"    // a button, a modal: ParsePayload
	KindCommand     Kind = "slash_commands" // ParseCommand
	KindEvent       Kind = "events_api"
)

// window is how far a request's time may be from ours.
const window = 5 * time.Minute

// Verify checks Slack's signature over a raw body. The secrets are tried in
// turn: the old one stays valid for a day when it is regenerated.
func Verify(header http.Header, body []byte, signing []string, now time.Time) error {
	stamp := header.Get("X-Slack-Request-Timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > window {
		return ErrSignature
	}
	hexed, ok := strings.CutPrefix(header.Get("X-Slack-Signature"), "v0=")
	if !ok {
		return ErrSignature
	}
	given, err := hex.DecodeString(hexed)
	if err != nil {
		return ErrSignature
	}
	for _, secret := range signing {
		if secret == "" {
			continue
		}
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte("v0:" + stamp + ":"))
		mac.Write(body)
		if hmac.Equal(mac.Sum(nil), given) {
			return nil
		}
	}
	return ErrSignature
}

// Payload takes what Slack brings out of the body of a request, in the shape in
// which a socket brings it. Verify the body before.
func Payload(kind Kind, body []byte) ([]byte, error) {
	if kind == KindEvent {
		return body, nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, ErrPayload
	}
	if kind == KindInteraction {
		return []byte(form.Get("payload")), nil
	}
	fields := map[string]string{}
	for name := range form {
		fields[name] = form.Get(name)
	}
	return json.Marshal(fields)
}

// Command is a slash command that somebody typed.
type Command struct {
	Name string // with its slash
	Text string // what follows it

	User         Presser
	TeamID       string
	EnterpriseID string
	Channel      string
	ResponseURL  string
	TriggerID    string
}

// ParseCommand reads a payload of KindCommand.
func ParseCommand(payload []byte) (Command, error) {
	var p struct {
		Command, Text string
		UserID        string `json:"user_id"`
		UserName      string `json:"user_name"`
		TeamID        string `json:"team_id"`
		EnterpriseID  string `json:"enterprise_id"`
		ChannelID     string `json:"channel_id"`
		ResponseURL   string `json:"response_url"`
		TriggerID     string `json:"trigger_id"`
	}
	if err := json.Unmarshal(payload, &p); err != nil || p.Command == "" || p.UserID == "" {
		return Command{}, ErrPayload
	}
	return Command{
		Name: p.Command, Text: p.Text,
		User:   Presser{ID: p.UserID, Name: p.UserName}, // whose workspace it is Slack does not tell
		TeamID: p.TeamID, EnterpriseID: p.EnterpriseID, Channel: p.ChannelID,
		ResponseURL: p.ResponseURL, TriggerID: p.TriggerID,
	}, nil
}
