package slack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"callchain/notifiers"
)

// Interaction is a press of a button, or a form that was sent off.
type Interaction struct {
	Action string  // ActionAck, ...: what was pressed, or what the form is for
	Token  string  // as it was put into Incident.Token
	Filled *Filled // of a form

	User         Presser
	AppID        string
	TeamID       string // of the workspace; "" for an app of the whole organisation
	EnterpriseID string
	Channel      string
	MessageTS    string
	Ephemeral    bool   // the message is the presser's alone, and is not edited
	Delivery     string // the id of the message's delivery; "" if the message does not say it
	ResponseURL  string
	TriggerID    string // opens a form, once, within three seconds
	ActionTS     string
}

// Presser is who pressed, as Slack names them.
type Presser struct{ ID, TeamID, Name string }

// ParsePayload reads what was pressed: a payload of KindInteraction.
func ParsePayload(payload []byte) (Interaction, error) {
	var p struct {
		Type        string
		APIAppID    string `json:"api_app_id"`
		ResponseURL string `json:"response_url"`
		TriggerID   string `json:"trigger_id"`
		User        struct {
			ID       string
			TeamID   string `json:"team_id"`
			Name     string
			Username string
		}
		Team       *struct{ ID string }
		Enterprise *struct{ ID string }
		Channel    struct{ ID string }
		Message    struct{ TS string }
		Container  struct {
			ChannelID string `json:"channel_id"`
			MessageTS string `json:"message_ts"`
			Ephemeral bool   `json:"is_ephemeral"`
		}
		Actions []struct {
			ActionID string `json:"action_id"`
			ActionTS string `json:"action_ts"`
			BlockID  string `json:"block_id"`
			Value    string
			Selected struct{ Value string } `json:"selected_option"`
		}
		View *submittedView
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return Interaction{}, ErrPayload
	}
	if p.User.ID == "" {
		return Interaction{}, ErrPayload
	}
	press := Interaction{
		User:        Presser{p.User.ID, p.User.TeamID, p.User.Username},
		AppID:       p.APIAppID,
		Channel:     p.Container.ChannelID,
		MessageTS:   p.Container.MessageTS,
		Ephemeral:   p.Container.Ephemeral,
		ResponseURL: p.ResponseURL,
		TriggerID:   p.TriggerID,
	}
	switch {
	case p.Type == "block_actions" && len(p.Actions) > 0:
		a := p.Actions[0]
		press.Action, press.Token, press.ActionTS = a.ActionID, a.Value, a.ActionTS
		if id, ok := strings.CutPrefix(a.BlockID, blockPrefix); ok {
			press.Delivery = id
		}
		if a.ActionID == more {
			press.Action, press.Token, _ = strings.Cut(a.Selected.Value, "|")
		}
	case p.Type == "view_submission" && p.View != nil:
		filled, err := p.View.filled()
		if err != nil {
			return Interaction{}, err
		}
		press.Action, press.Token, press.Filled = p.View.CallbackID, p.View.PrivateMetadata, &filled
	default:
		return Interaction{}, ErrPayload
	}
	if press.User.Name == "" {
		press.User.Name = p.User.Name
	}
	if p.Team != nil {
		press.TeamID = p.Team.ID
	}
	if p.Enterprise != nil {
		press.EnterpriseID = p.Enterprise.ID
	}
	if press.Channel == "" {
		press.Channel = p.Channel.ID
	}
	if press.MessageTS == "" {
		press.MessageTS = p.Message.TS
	}
	if press.Action == "" {
		return Interaction{}, ErrPayload
	}
	return press, nil
}

// Respond answers a press, visible to the presser alone. With a token it offers
// to take the incident over anyway.
func (n *Notifier) Respond(ctx context.Context, responseURL, text, takeOver string) error {
	if err := n.mayRespond(responseURL); err != nil {
		return err
	}
	said := truncate(escape(notifiers.CleanText(text, maxSection)), maxSection)
	if said == "" {
		return errors.New("answering a press: there is nothing to say")
	}
	answer := map[string]any{
		"response_type":    "ephemeral",
		"replace_original": false, // in a thread the answer would take the page's place
		"text":             said,
	}
	if takeOver != "" {
		answer["blocks"] = []slack.Block{
			slack.NewSectionBlock(markup(said), nil, nil),
			slack.NewActionBlock("", button(ActionTakeOver, takeOver, "")),
		}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("answering a press: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, responseURL, bytes.NewReader(body))
	if err != nil {
		return errors.New("answering a press: the response URL is not valid")
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	resp, err := n.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the URL: it is a secret
		}
		return fmt.Errorf("answering a press: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answering a press: slack answered HTTP %d", resp.StatusCode)
	}
	return nil
}

// mayRespond allows Slack's own hooks and the host that the API has, on whatever
// port: a forged response URL must not make callchain call other hosts.
func (n *Notifier) mayRespond(responseURL string) error {
	to, err := url.Parse(responseURL)
	api, apiErr := url.Parse(n.cfg.APIURL)
	switch {
	case err != nil || to.User != nil || to.Host == "":
	case to.Scheme == "https" && (to.Host == "hooks.slack.com" || to.Host == "hooks.slack-gov.com"):
		return nil
	case apiErr == nil && to.Scheme == api.Scheme && strings.EqualFold(to.Hostname(), api.Hostname()):
		return nil
	}
	return errors.New("answering a press: the response URL is not Slack's")
}

// User is what Slack tells about a member.
type User struct {
	ID, TeamID, Name, Email string
	Guest                   bool // a single- or multi-channel guest
	Bot                     bool
	Deleted                 bool // deactivated
	Stranger                bool // of another workspace, over a shared channel
}

// User asks who a member is (users.info). Answers are kept for ten minutes.
func (n *Notifier) User(ctx context.Context, member string) (User, error) {
	n.mu.Lock()
	known, ok := n.users[member]
	n.mu.Unlock()
	if ok && time.Now().Before(known.until) {
		return known.value, nil
	}
	api, token, err := n.api()
	if err != nil {
		return User{}, err
	}
	u, err := api.GetUserInfoContext(ctx, member)
	if err == nil && u.ID == "" {
		err = errEmpty
	}
	if err != nil {
		return User{}, fmt.Errorf("asking who pressed: %w", classify(err, call{token: token, read: true}).Err)
	}
	user := userOf(u)
	n.mu.Lock()
	if n.home.EnterpriseID == "" && n.home.TeamID != "" && user.TeamID != "" {
		user.Stranger = user.Stranger || user.TeamID != n.home.TeamID
	}
	if len(n.users) > 10_000 {
		clear(n.users)
	}
	n.users[member] = remembered[User]{user, time.Now().Add(rememberUsers)}
	n.mu.Unlock()
	return user, nil
}

func userOf(u *slack.User) User {
	return User{
		ID: u.ID, TeamID: u.TeamID, Name: u.Name, Email: u.Profile.Email,
		Guest:    u.IsRestricted || u.IsUltraRestricted,
		Bot:      u.IsBot || u.IsWorkflowBot || u.IsConnectorBot,
		Deleted:  u.Deleted,
		Stranger: u.IsStranger,
	}
}
