package inbox

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// PressTimeout is how long Slack waits for the answer to a press, a form or a
// command before it shows the person a warning.
const PressTimeout = 3 * time.Second

// How often and how long the response URL of a press can be used.
const (
	replyUses = 5
	replyFor  = 30 * time.Minute
)

// What can be wrong with a press before it is sent.
var (
	ErrNoMessage = errors.New("no such message")
	ErrNoAction  = errors.New("no such button on the message")
	ErrNotSeen   = errors.New("the member cannot see the message")
)

// client keeps no connection open, so that servers of tests can be closed at once.
var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// replyURL is the response URL of one press.
type replyURL struct {
	id   string
	ref  Ref
	user string
	uses int
	at   time.Time
}

// Press presses a button of a message as a member, which sends callchain a
// signed request, and returns the answer's status. Anything but a 200 within
// PressTimeout is what Slack shows as a failure. Buttons that an edit took away
// can be pressed still: somebody was looking at the old message.
func (s *Slack) Press(ctx context.Context, ref Ref, actionID, userID string) (status int, err error) {
	return s.press(ctx, ref, actionID, "", userID)
}

// Select is Press for a menu: it picks the option with this value.
func (s *Slack) Select(ctx context.Context, ref Ref, actionID, value, userID string) (status int, err error) {
	return s.press(ctx, ref, actionID, value, userID)
}

func (s *Slack) press(ctx context.Context, ref Ref, actionID, value, userID string) (int, error) {
	payload, callback, err := s.payload(ref, actionID, value, userID)
	if err != nil {
		return 0, fmt.Errorf("press %s: %w", actionID, err)
	}
	status, _, err := s.call(ctx, callback, url.Values{"payload": {string(payload)}})
	if err != nil {
		return 0, fmt.Errorf("press %s: %w", actionID, err)
	}
	return status, nil
}

// signed is a request as Slack makes it.
func (s *Slack) signed(ctx context.Context, to, body string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	stamp := strconv.FormatInt(s.cfg.Now().Unix(), 10)
	h := hmac.New(sha256.New, []byte(s.cfg.SigningSecret))
	fmt.Fprintf(h, "v0:%s:%s", stamp, body)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Slack-Request-Timestamp", stamp)
	req.Header.Set("X-Slack-Signature", "v0="+hex.EncodeToString(h.Sum(nil)))
	req.Header.Set("User-Agent", "Slackbot 1.0 (+https://api.slack.com/robots)")
	return req, nil
}

// newReply makes a response URL. s.mu is held.
func (s *Slack) newReply(ref Ref, user string) *replyURL {
	s.serial++
	sum := hmac.New(sha256.New, []byte(s.cfg.SigningSecret))
	fmt.Fprintf(sum, "response %d.%d", s.serial, s.cfg.Now().UnixNano())
	r := &replyURL{id: hex.EncodeToString(sum.Sum(nil)[:16]), ref: ref, user: user, at: s.cfg.Now()}
	if s.replies = append(s.replies, r); len(s.replies) > maxReplies {
		s.replies = s.replies[1:]
	}
	return r
}

func (s *Slack) payload(ref Ref, actionID, value, userID string) (payload []byte, callback string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.find(ref)
	if m == nil {
		return nil, "", ErrNoMessage
	}
	user, ok := s.users[userID]
	if !ok || m.User != "" && m.User != userID || m.EphemeralTo != "" && m.EphemeralTo != userID {
		return nil, "", ErrNotSeen
	}
	action := findAction(m.Blocks, actionID, value)
	for i := len(m.Edits) - 1; action == nil && i >= 0; i-- {
		action = findAction(m.Edits[i].Blocks, actionID, value)
	}
	if action == nil {
		return nil, "", ErrNoAction
	}
	now := s.cfg.Now()
	action["action_ts"] = fmt.Sprintf("%d.%06d", now.Unix(), now.Nanosecond()/1000)

	container := map[string]any{"type": "message", "message_ts": m.TS, "channel_id": m.Channel, "is_ephemeral": m.EphemeralTo != ""}
	if m.ThreadTS != "" {
		container["thread_ts"] = m.ThreadTS
	}
	name := strings.TrimPrefix(m.ChannelName, "#")
	if m.User != "" {
		name = "directmessage"
	}
	reply := s.newReply(ref, userID)
	p := map[string]any{
		"type":                  "block_actions",
		"user":                  map[string]any{"id": user.ID, "username": user.Name, "name": user.Name, "team_id": TeamID},
		"api_app_id":            AppID,
		"token":                 "deprecated",
		"container":             container,
		"trigger_id":            s.newTrigger(userID),
		"team":                  map[string]any{"id": TeamID, "domain": "demo"},
		"enterprise":            nil,
		"is_enterprise_install": false,
		"channel":               map[string]any{"id": m.Channel, "name": name},
		"state":                 map[string]any{"values": map[string]any{}},
		"response_url":          s.base + "/response/" + reply.id,
		"actions":               []any{action},
	}
	// Of a message for one member's eyes Slack sends no more than its place.
	if m.EphemeralTo == "" {
		p["message"] = m.object(true)
	}
	payload, err = json.Marshal(p)
	return payload, s.callback, err
}

// findAction returns a pressed element in the form that payloads have; nil if
// the blocks lack it.
func findAction(blocks json.RawMessage, actionID, value string) map[string]any {
	var list []struct {
		ID        string           `json:"block_id"`
		Accessory map[string]any   `json:"accessory"`
		Elements  []map[string]any `json:"elements"`
	}
	if json.Unmarshal(blocks, &list) != nil {
		return nil
	}
	for _, b := range list {
		for _, e := range append(b.Elements, b.Accessory) {
			if e == nil || e["action_id"] != actionID {
				continue
			}
			action := map[string]any{"type": e["type"], "action_id": actionID, "block_id": b.ID}
			if e["type"] == "button" {
				for _, field := range []string{"text", "value", "style", "url"} {
					if v, ok := e[field]; ok {
						action[field] = v
					}
				}
				return action
			}
			options, _ := e["options"].([]any)
			for _, o := range options {
				if option, _ := o.(map[string]any); option["value"] == value {
					action["selected_option"] = option
					return action
				}
			}
		}
	}
	return nil
}

// respond takes what callchain sends to the response URL of a press.
func (s *Slack) respond(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "request too large", http.StatusRequestEntityTooLarge)
		return
	}
	var in struct {
		Text            string          `json:"text"`
		Blocks          json.RawMessage `json:"blocks"`
		ResponseType    string          `json:"response_type"`
		ReplaceOriginal bool            `json:"replace_original"`
		DeleteOriginal  bool            `json:"delete_original"`
		ThreadTS        string          `json:"thread_ts"`
	}
	f, failing := s.fault("response_url")
	if failing && f.happen(w, r) {
		return
	}
	bad := func() *refusal {
		s.mu.Lock()
		defer s.mu.Unlock()
		var reply *replyURL
		for _, one := range s.replies {
			if one.id == r.PathValue("id") {
				reply = one
			}
		}
		switch {
		case reply == nil || s.cfg.Now().Sub(reply.at) > replyFor:
			return refuse("expired_url")
		case reply.uses >= replyUses:
			return refuse("used_url")
		}
		if err := json.Unmarshal(body, &in); err != nil {
			return refuse("invalid_payload")
		}
		original := s.find(reply.ref)
		if in.DeleteOriginal {
			reply.uses++
			s.remove(original)
			return nil
		}
		args := url.Values{"text": {in.Text}, "blocks": {string(bytes.TrimSpace(in.Blocks))}}
		text, blocks, bad := content(args)
		if bad != nil {
			return bad
		}
		reply.uses++
		if in.ReplaceOriginal && original != nil {
			s.edit(original, text, blocks)
			return nil
		}
		m := Message{Ref: Ref{Channel: reply.ref.Channel}, ThreadTS: in.ThreadTS, EphemeralTo: reply.user, Text: text, Blocks: blocks}
		if in.ResponseType == "in_channel" {
			m.EphemeralTo = ""
		}
		s.post(m)
		return nil
	}()
	if failing && f.Cut {
		panic(http.ErrAbortHandler)
	}
	if bad != nil {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(http.StatusNotFound)
		json.NewEncoder(w).Encode(bad.answer())
		return
	}
	io.WriteString(w, "ok")
}

// remove forgets a message. s.mu is held.
func (s *Slack) remove(gone *Message) {
	for i, m := range s.messages {
		if m == gone {
			s.messages = append(s.messages[:i:i], s.messages[i+1:]...)
			s.notify()
			return
		}
	}
}
