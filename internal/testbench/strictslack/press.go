package strictslack

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// How long what Slack hands out with a press may be used, and how often.
const (
	TriggerLife = 3 * time.Second
	HookLife    = 30 * time.Minute
	HookUses    = 5
)

type trigger struct {
	until time.Time
	used  bool
}

type hook struct {
	until   time.Time
	left    int
	channel string
	user    string
	thread  string
}

// View is a modal that somebody looks at.
type View struct {
	ID      string
	Hash    string
	Raw     json.RawMessage
	Updates int
}

// Trigger hands out a trigger id: it opens one modal within three seconds.
func (s *Slack) Trigger() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	id := fmt.Sprintf("%d.%d.strict", s.cfg.Now().UnixMilli(), s.serial)
	s.triggers[id] = &trigger{until: s.cfg.Now().Add(TriggerLife)}
	return id
}

// ResponseURL hands out a response URL: five answers within half an hour.
func (s *Slack) ResponseURL(channel, user, thread string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	id := fmt.Sprintf("actions/%s/%d", s.TeamID, s.serial)
	s.hooks[id] = &hook{until: s.cfg.Now().Add(HookLife), left: HookUses, channel: channel, user: user, thread: thread}
	base := s.APIURL
	if u, err := url.Parse(base); err == nil {
		u.Path = "/hooks/" + id
		return u.String()
	}
	return base + "hooks/" + id
}

// Press is the payload of a press of a message's button, as Slack sends it over
// HTTP (field "payload") and in Socket Mode.
func (s *Slack) Press(user string, m Message, actionID string) []byte {
	value, ok := m.Button(actionID)
	if !ok {
		s.t.Errorf("strictslack: the message %s has no button %q to press", m.TS, actionID)
	}
	return s.action(user, m, object{"type": "button", "action_id": actionID, "value": value})
}

// Choose is the payload of choosing, in the menu of a message, the option that reads so.
func (s *Slack) Choose(user string, m Message, label string) []byte {
	var chosen, menu object
	find(decode(m.Blocks), func(o object) {
		if o["type"] != "overflow" {
			return
		}
		options, _ := o["options"].([]any)
		for _, v := range options {
			option, _ := v.(object)
			if text, _ := option["text"].(object); text["text"] == label {
				chosen, menu = option, o
			}
		}
	})
	if chosen == nil {
		s.t.Errorf("strictslack: the menu of the message %s has no %q", m.TS, label)
	}
	return s.action(user, m, object{"type": "overflow", "action_id": menu["action_id"], "selected_option": chosen})
}

func (s *Slack) action(user string, m Message, action object) []byte {
	u := s.member(user)
	at := s.cfg.Now()
	action["block_id"], action["action_ts"] = "b1", fmt.Sprintf("%d.%06d", at.Unix(), at.Nanosecond()/1000)
	return s.encode(object{
		"type": "block_actions", "api_app_id": s.AppID, "token": "verification", "enterprise": nil, "is_enterprise_install": false,
		"team": object{"id": s.TeamID, "domain": "strict"}, "user": u,
		"container":  object{"type": "message", "message_ts": m.TS, "channel_id": m.Channel, "is_ephemeral": m.To != ""},
		"channel":    object{"id": m.Channel, "name": "directmessage"},
		"message":    object{"type": "message", "ts": m.TS, "text": m.Text, "blocks": m.Blocks, "thread_ts": m.ThreadTS},
		"trigger_id": s.Trigger(), "response_url": s.ResponseURL(m.Channel, user, m.ThreadTS), "state": object{"values": object{}},
		"actions": []object{action},
	})
}

// Submit is the payload of a modal's submit button. Values are those of its inputs:
// block id, action id, and what Slack sends for the element.
func (s *Slack) Submit(user string, v View, values map[string]map[string]any) []byte {
	var view object
	if json.Unmarshal(v.Raw, &view) != nil {
		view = object{}
	}
	view["id"], view["hash"] = v.ID, v.Hash
	view["state"] = object{"values": values}
	return s.encode(object{
		"type": "view_submission", "api_app_id": s.AppID, "enterprise": nil, "team": object{"id": s.TeamID, "domain": "strict"},
		"user": s.member(user), "trigger_id": s.Trigger(), "view": view,
	})
}

func (s *Slack) member(id string) object {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.user(id)
	if !ok {
		s.t.Errorf("strictslack: there is no member %q to press", id)
	}
	team := s.TeamID
	if u.Stranger {
		team = "T99OTHER"
	}
	return object{"id": u.ID, "username": u.Name, "name": u.Name, "team_id": team}
}

func (s *Slack) encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // ours
	}
	return raw
}

// Signed is a payload as the request that Slack would send to an interactivity URL.
func (s *Slack) Signed(payload []byte) (body string, header http.Header) {
	return s.SignedForm(url.Values{"payload": {string(payload)}})
}

// SignedForm is a form, of a slash command for example, as Slack would sign it.
func (s *Slack) SignedForm(form url.Values) (body string, header http.Header) {
	body = form.Encode()
	stamp := strconv.FormatInt(s.cfg.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(s.SigningSecret))
	_, _ = io.WriteString(mac, "v0:"+stamp+":"+body)
	header = http.Header{}
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	header.Set("X-Slack-Request-Timestamp", stamp)
	header.Set("X-Slack-Signature", "v0="+hex.EncodeToString(mac.Sum(nil)))
	return body, header
}

// Views lists the modals that were opened, by id.
func (s *Slack) Views() map[string]View {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]View{}
	for id, v := range s.views {
		out[id] = *v
	}
	return out
}

// viewOpen opens a modal, or puts one above another: the same rules.
func (s *Slack) viewOpen(a url.Values) answer {
	id := a.Get("trigger_id")
	t := s.triggers[id]
	switch {
	case id == "" || t == nil:
		s.illegal("views.open", "invalid_trigger_id", "%q was never handed out", id)
		return refuse("invalid_trigger_id")
	case t.used:
		s.illegal("views.open", "exchanged_trigger_id", "it was used before")
		return refuse("exchanged_trigger_id")
	case s.cfg.Now().After(t.until):
		return refuse("expired_trigger_id")
	}
	t.used = true
	if out, bad := s.badView("views.open", a); bad {
		return out
	}
	s.serial++
	v := &View{ID: fmt.Sprintf("V%08d", s.serial), Hash: fmt.Sprintf("%d.strict", s.serial), Raw: json.RawMessage(a.Get("view"))}
	s.views[v.ID] = v
	return ok(object{"view": s.viewObject(v)})
}

func (s *Slack) badView(name string, a url.Values) (answer, bool) {
	var said []string
	for _, p := range CheckView([]byte(a.Get("view"))) {
		said = append(said, p.String())
	}
	if len(said) == 0 {
		return answer{}, false
	}
	s.illegal(name, "invalid_arguments", "%v", said)
	return answer{code: "invalid_arguments", fields: messages(said...)}, true
}

func (s *Slack) viewUpdate(a url.Values) answer {
	v := s.views[a.Get("view_id")]
	if v == nil {
		return refuse("not_found")
	}
	if h := a.Get("hash"); h != "" && h != v.Hash {
		return refuse("hash_conflict")
	}
	if out, bad := s.badView("views.update", a); bad {
		return out
	}
	s.serial++
	v.Hash, v.Raw = fmt.Sprintf("%d.strict", s.serial), json.RawMessage(a.Get("view"))
	v.Updates++
	return ok(object{"view": s.viewObject(v)})
}

func (s *Slack) viewObject(v *View) object {
	o, isObject := decode(v.Raw).(object)
	if !isObject {
		o = object{}
	}
	o["id"], o["hash"], o["team_id"], o["app_id"] = v.ID, v.Hash, s.TeamID, s.AppID
	return o
}

// serveHook takes an answer to a press. What it says is checked like a message.
func (s *Slack) serveHook(w http.ResponseWriter, r *http.Request, id string) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hooks[id]
	var said struct {
		ResponseType    string          `json:"response_type"`
		ReplaceOriginal *bool           `json:"replace_original"`
		Text            string          `json:"text"`
		Blocks          json.RawMessage `json:"blocks"`
	}
	switch {
	case err != nil || r.Method != http.MethodPost || json.Unmarshal(body, &said) != nil:
		s.illegal("response_url", "invalid_payload", "%.100q", body)
		http.Error(w, "invalid_payload", http.StatusBadRequest)
		return
	case h == nil:
		s.illegal("response_url", "no_such_hook", "%s was never handed out", id)
		http.NotFound(w, r)
		return
	case h.left == 0 || s.cfg.Now().After(h.until):
		http.Error(w, "used_url", http.StatusNotFound)
		return
	}
	h.left--
	form := url.Values{"text": {said.Text}}
	if len(said.Blocks) > 0 && string(said.Blocks) != "null" {
		form.Set("blocks", string(said.Blocks))
	}
	if code, problems := s.content("response_url", form); code != "" {
		s.illegal("response_url", code, "%v", problems)
		http.Error(w, code, http.StatusBadRequest)
		return
	}
	m := &Message{Channel: h.channel, ThreadTS: h.thread, To: h.user}
	if said.ResponseType == "in_channel" {
		m.To = ""
	}
	s.fill(m, form)
	m.TS, m.At = s.stamp(), s.cfg.Now()
	s.messages = append(s.messages, m)
	_, _ = io.WriteString(w, "ok")
}
