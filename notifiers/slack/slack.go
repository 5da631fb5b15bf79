// Package slack delivers messages over Slack's Web API and reads the presses
// that come back. All of slack-go is in here; callers see notifiers' types only.
//
// A page is a direct message, a board a message in a channel, a thread its
// timeline. They are Block Kit messages that are edited as the incident
// changes. What others wrote into a label or an annotation is inert in them:
// see mrkdwn.
//
// The package does not wait, retry or pace: it makes one attempt, says what
// came of it, and the engine decides. Conversation gives the key by which one
// message a second is to be paced.
package slack

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slack-go/slack"

	"callchain/notifiers"
)

// DefaultAPIURL is Slack itself.
const DefaultAPIURL = "https://slack.com/api/"

// Timeout is how long one call may take.
const Timeout = 6 * time.Second

// Config is what a Notifier needs.
type Config struct {
	APIURL     string                 // "": DefaultAPIURL
	Token      func() (string, error) // the bot token; asked before every call, so that a changed file is seen
	Channel    string                 // where a board without an address goes: an id or #name
	HTTPClient *http.Client           // nil: one that knows its limits
}

// Notifier delivers to one workspace. It is safe for concurrent use.
type Notifier struct {
	cfg    Config
	logger *slog.Logger
	http   *http.Client

	mu      sync.Mutex
	token   string
	client  *slack.Client
	members map[string]remembered[string] // by e-mail address
	direct  map[string]string             // an address -> the id of the conversation that a message to it went to
	lacking map[string]time.Time          // what the token has no scope for -> until when that is believed
	places  map[string]remembered[Place]  // channels, by what the catalog calls them
	listed  map[string]time.Time          // when the channels were listed because this one was not found
	quota   int                           // answers in a row that the workspace is full
	users   map[string]remembered[User]   // by member id
	home    Home
}

// remembered is a cached answer.
type remembered[T any] struct {
	value T
	until time.Time
}

// How long answers about people are believed.
const (
	rememberMembers = time.Hour
	rememberUsers   = 10 * time.Minute
)

// New returns a notifier. It does not speak to Slack yet.
func New(cfg Config, logger *slog.Logger) *Notifier {
	cfg.APIURL = withSlash(cfg.APIURL)
	client := cfg.HTTPClient
	if client == nil {
		client = httpClient()
	}
	return &Notifier{
		cfg: cfg, logger: logger, http: client,
		members: map[string]remembered[string]{},
		direct:  map[string]string{},
		lacking: map[string]time.Time{},
		listed:  map[string]time.Time{},
		places:  map[string]remembered[Place]{},
		users:   map[string]remembered[User]{},
	}
}

// httpClient is one that knows its limits.
func httpClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.IdleConnTimeout = 30 * time.Second
	transport.MaxIdleConnsPerHost = 16
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	return &http.Client{
		Timeout:   Timeout,
		Transport: bounded{transport},
		// The token is in the body: no other host may be sent it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// maxBody is how much of an answer is read: a list of a thousand members has a few megabytes.
const maxBody = 16 << 20

// bounded reads no more of an answer than fits: slack-go reads all there is.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxBody)
	}
	return resp, err
}

// api is a client with the current token. slack-go's clients keep the token
// they were made with.
func (n *Notifier) api() (*slack.Client, string, error) {
	token, err := n.cfg.Token()
	if err != nil {
		return nil, "", fmt.Errorf("reading the bot token: %w", err)
	}
	if token == "" {
		return nil, "", errors.New("reading the bot token: it is empty")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.client == nil || n.token != token {
		n.client = slack.New(token, slack.OptionAPIURL(n.cfg.APIURL), slack.OptionHTTPClient(n.http))
		n.token = token
		clear(n.lacking)
	}
	return n.client, token, nil
}

// Probe asks Slack whether the token works (auth.test).
func (n *Notifier) Probe(ctx context.Context) error {
	api, token, err := n.api()
	if err != nil {
		return err
	}
	answer, err := api.AuthTestContext(ctx)
	if err == nil && answer.UserID == "" && answer.TeamID == "" {
		err = errEmpty
	}
	if err != nil {
		return classify(err, call{token: token}).Err
	}
	n.learn(answer)
	if granted, told := scopesOf(answer); told && !slices.Contains(granted, "chat:write") {
		return errors.New("slack: missing_scope: " + hints["missing_scope"] + " (needed: chat:write)")
	}
	return nil
}

// Conversation is the key by which messages are paced: Slack takes about one a
// second in each conversation.
func (n *Notifier) Conversation(m notifiers.Message) string {
	if m.Ref.Channel != "" {
		return m.Ref.Channel
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	to := m.Address
	if to == "" && m.Kind == notifiers.Board {
		to = n.cfg.Channel
	}
	if to == "" {
		to = n.members[m.Email].value
	}
	if id := cmp.Or(n.direct[to], n.places[to].value.ID); id != "" {
		return id
	}
	return cmp.Or(to, m.Email)
}

// Deliver makes one attempt to deliver one message. An attempt may be several
// calls: a look-up of the member, and simpler versions of a message whose
// content Slack refused.
func (n *Notifier) Deliver(ctx context.Context, m notifiers.Message) notifiers.Result {
	api, token, err := n.api()
	if err != nil {
		return notifiers.Result{Verdict: notifiers.Down, Err: err}
	}
	if m.Edit && (m.Ref.Channel == "" || m.Ref.TS == "") {
		return notifiers.Result{Verdict: notifiers.Gone, Err: errors.New("slack: there is no message to edit")}
	}
	if m.Address == "" && m.Kind == notifiers.Board {
		m.Address = n.cfg.Channel
	}
	if m.Address == "" && m.Email != "" && !m.Edit {
		found, result := n.lookUp(ctx, api, token, m.Email)
		if result.Err != nil && m.Ref.Channel == "" {
			return result
		}
		m.Address = found
	}
	if m.Address == "" && m.Ref.Channel == "" {
		return notifiers.Result{Verdict: notifiers.Refused, Err: errors.New("slack: the message has no address")}
	}

	if n.keepsFrom(ctx, &m) {
		return notifiers.Result{Verdict: notifiers.Refused, Err: errOutsiders}
	}
	if ref, ok := n.find(ctx, api, m); ok {
		return notifiers.Result{Verdict: notifiers.Sent, Ref: ref, Found: true}
	}
	result := n.climb(ctx, api, token, m)
	if isCode(result.Err, "channel_not_found") && m.Ref.Channel == "" && n.moved(ctx, m.Address) {
		result = n.climb(ctx, api, token, m)
	}
	if result.Verdict == notifiers.Gone && (m.Kind == notifiers.Reminder || m.Kind == notifiers.Question || m.Kind == notifiers.Digest) && !m.Edit {
		// The message it should join was deleted. It must ring all the same.
		if m.Address == "" {
			m.Address = m.Ref.Channel
		}
		m.Ref = notifiers.Ref{}
		result = n.climb(ctx, api, token, m)
	}
	n.remember(m, result)
	n.full(&result)
	return result
}

// full makes the waits longer while the workspace takes no more messages.
func (n *Notifier) full(result *notifiers.Result) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case result.Verdict == notifiers.Sent:
		n.quota = 0
	case isCode(result.Err, "message_limit_exceeded"):
		result.After = min(result.After<<min(n.quota, 4), longest)
		n.quota++
	}
}

// remember keeps what the next message to the same address can use.
func (n *Notifier) remember(m notifiers.Message, result notifiers.Result) {
	if result.Verdict != notifiers.Sent || m.Ref.Channel != "" || m.Address == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if named(m.Address) {
		p := n.places[m.Address]
		p.value.ID = result.Ref.Channel
		n.places[m.Address] = p
	} else if result.Ref.Channel != m.Address {
		n.direct[m.Address] = result.Ref.Channel
	}
}

// climb sends the message in ever simpler forms until Slack likes its content.
func (n *Notifier) climb(ctx context.Context, api *slack.Client, token string, m notifiers.Message) notifiers.Result {
	var result notifiers.Result
	for rung, draw := range []func(notifiers.Message) rendered{render, minimal, func(m notifiers.Message) rendered { return rendered{text: text(m)} }} {
		result = n.send(ctx, api, token, m, draw(m), rung)
		if result.Err == nil || !isContent(result.Err, m.Tries) {
			break
		}
		n.logger.Warn("slack refused a message's content; sending a simpler one", "incident", m.Incident.ID, "kind", m.Kind, "err", result.Err)
	}
	return result
}

// textOnly is the last rung of the ladder: no blocks and no metadata.
const textOnly = 2

func (n *Notifier) send(ctx context.Context, api *slack.Client, token string, m notifiers.Message, r rendered, rung int) notifiers.Result {
	options := []slack.MsgOption{
		slack.MsgOptionText(string(r.text), false), // it is escaped already
		slack.MsgOptionParse(false),
		slack.MsgOptionDisableLinkUnfurl(),
		slack.MsgOptionDisableMediaUnfurl(),
	}
	if len(r.blocks) > 0 || m.Edit { // an edit without blocks must take away the old ones
		options = append(options, slack.MsgOptionBlocks(r.blocks...))
	}
	if rung < textOnly && m.ID != "" {
		options = append(options, slack.MsgOptionMetadata(slack.SlackMetadata{
			EventType:    eventType,
			EventPayload: map[string]any{"d": m.ID},
		}))
	}

	var wrote atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// From here on the request may have reached Slack as a whole.
		WroteHeaders: func() { wrote.Store(true) },
	})
	var ref notifiers.Ref
	var err error
	if m.Edit {
		ref.Channel, ref.TS, _, err = api.UpdateMessageContext(traced, m.Ref.Channel, m.Ref.TS, options...)
	} else {
		to := n.target(m.Address)
		if m.Ref.TS != "" && m.Ref.Channel != "" {
			to = m.Ref.Channel
			options = append(options, slack.MsgOptionTS(m.Ref.TS))
			if ring(m) {
				options = append(options, slack.MsgOptionBroadcast())
			}
		}
		ref.Channel, ref.TS, err = api.PostMessageContext(traced, to, options...)
	}
	if err == nil && ref.TS == "" {
		err = errEmpty // slack-go takes {} and {"ok":false} for success
	}
	if err != nil {
		result := classify(err, call{token: token, wrote: wrote.Load(), edit: m.Edit, try: m.Attempt})
		if result.Verdict == notifiers.Sent {
			result.Ref = m.Ref
		}
		return result
	}
	if ref.Channel == "" {
		ref.Channel = cmp.Or(m.Ref.Channel, m.Address)
	}
	return notifiers.Result{Verdict: notifiers.Sent, Ref: ref}
}

// lookUp finds the member who has an e-mail address.
func (n *Notifier) lookUp(ctx context.Context, api *slack.Client, token, email string) (string, notifiers.Result) {
	n.mu.Lock()
	known, ok := n.members[email]
	n.mu.Unlock()
	if ok && time.Now().Before(known.until) {
		return known.value, notifiers.Result{}
	}
	user, err := api.GetUserByEmailContext(ctx, email)
	if err == nil && user.ID == "" {
		err = errEmpty
	}
	if err != nil {
		result := classify(err, call{token: token, read: true})
		if known.value != "" && result.Verdict != notifiers.Refused {
			return known.value, notifiers.Result{} // an old answer is better than no page
		}
		return "", result
	}
	n.mu.Lock()
	n.members[email] = remembered[string]{user.ID, time.Now().Add(rememberMembers)}
	n.mu.Unlock()
	return user.ID, notifiers.Result{}
}
