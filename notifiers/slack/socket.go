package slack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/slack-go/slack"
	"golang.org/x/time/rate"
)

const (
	sockets   = 2                // open at once, so that one can fail or be renewed; Slack allows ten per app
	stagger   = 30 * time.Second // between their beginnings, so that Slack does not renew both at once
	steady    = time.Minute      // a connection that held that long was a good one
	deafAfter = time.Minute      // without any connection
	maxPause  = 30 * time.Second // between attempts to connect

	// Slack lets an app open about 50 connections a minute. More than one per
	// openEvery is a sign of trouble that trying more often does not cure.
	openEvery = 5 * time.Second
	openBurst = 3
)

// Sockets is Socket Mode: connections that callchain opens, over which Slack
// brings what people do. Each thing comes over one of them, whoever holds it, so
// any number of callchains share the work.
//
// Slack closes a connection now and then, and says so about ten seconds before.
// The next one is opened at once, and the old one is read until Slack closes it.
type Sockets struct {
	cfg     SocketConfig
	logger  *slog.Logger
	http    *http.Client
	dialer  websocket.Dialer
	opening *rate.Limiter
	taking  intake
	open    sync.WaitGroup // connections

	mu      sync.Mutex
	at      address
	changed chan struct{} // closed when at changes
	up      int           // connections that Slack greeted and that are read
	deaf    time.Time     // since when there are none
	told    bool
	trouble error // the latest
}

// SocketConfig is what Sockets need.
type SocketConfig struct {
	// Where tells the API's URL and the app-level token. It is asked every second,
	// so that a changed file or configuration is followed. No token: no Socket Mode.
	Where func() (apiURL, token string, err error)
	// Take does what a payload asks for. After an error it is not acknowledged, and
	// Slack shows that it failed.
	Take func(ctx context.Context, kind Kind, payload []byte) (answer any, err error)
	// Deaf is called once when nothing has come in for a minute because there is no
	// connection, or at once when only a person can change that.
	Deaf func(since time.Time, why error)

	dial func(ctx context.Context, network, addr string) (net.Conn, error) // of tests
}

// address is where connections are opened, and with what.
type address struct {
	api, token string
	wanted     bool // without a token: it could not be read
}

// NewSockets returns sockets that Run opens.
func NewSockets(cfg SocketConfig, logger *slog.Logger) *Sockets {
	s := &Sockets{
		cfg: cfg, logger: logger, http: httpClient(),
		dialer:  websocket.Dialer{Proxy: http.ProxyFromEnvironment, HandshakeTimeout: Timeout},
		opening: rate.NewLimiter(rate.Every(openEvery), openBurst),
		taking:  intake{take: cfg.Take, logger: logger, slots: make(chan struct{}, maxTaking), recent: map[string]*envelope{}},
		changed: make(chan struct{}),
	}
	if cfg.dial != nil {
		s.dialer.NetDialContext = cfg.dial
		s.http.Transport = &http.Transport{DialContext: cfg.dial}
	}
	return s
}

// Up is how many connections there are over which Slack can bring something.
func (s *Sockets) Up() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up
}

// Run keeps the connections open until ctx is done. What came in until then is
// done and acknowledged when it returns; what comes later is not taken.
func (s *Sockets) Run(ctx context.Context) error {
	var seats sync.WaitGroup
	for i := range sockets {
		seats.Go(func() {
			if pause(ctx, nil, time.Duration(i)*stagger) {
				s.keep(ctx)
			}
		})
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		s.follow()
		s.listen(time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			seats.Wait()
			s.open.Wait()
			s.http.CloseIdleConnections()
			return nil
		}
	}
}

// follow takes over a changed configuration or token file.
func (s *Sockets) follow() {
	api, token, err := s.cfg.Where()
	at := address{withSlash(api), token, token != "" || err != nil}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.trouble = fmt.Errorf("reading the app token: %w", err)
		if s.at.token != "" {
			return // the old one may be good yet
		}
	}
	if at == s.at {
		return
	}
	s.at = at
	close(s.changed)
	s.changed = make(chan struct{})
}

// listen says when nothing can come in from Slack.
func (s *Sockets) listen(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.up > 0 || !s.at.wanted:
		if s.told && s.up > 0 {
			s.logger.Info("slack's buttons work again", "after", now.Sub(s.deaf).Round(time.Second))
		}
		s.deaf, s.told = time.Time{}, false
	case s.deaf.IsZero():
		s.deaf = now
	case !s.told && (now.Sub(s.deaf) >= deafAfter || errors.Is(s.trouble, errLinkDisabled)):
		s.told = true
		why := s.trouble
		if why == nil {
			why = errors.New("no connection was opened yet")
		}
		s.logger.Error("slack's buttons do not work: there is no socket", "since", s.deaf, "err", why)
		since := s.deaf
		s.open.Go(func() { s.cfg.Deaf(since, why) })
	}
}

// target is where to connect, and what is closed when that changes.
func (s *Sockets) target() (address, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at, s.changed
}

// keep holds one connection after the other.
func (s *Sockets) keep(ctx context.Context) {
	for failed := 0; ctx.Err() == nil; {
		at, changed := s.target()
		if at.token == "" {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		began := time.Now()
		err := s.hold(ctx, at, changed)
		if err == nil || time.Since(began) >= steady {
			failed = 0
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		failed++
		wait := backoff(failed, err)
		s.logger.Warn("slack socket ended", "err", err, "again", wait)
		s.mu.Lock()
		s.trouble = err
		s.mu.Unlock()
		pause(ctx, changed, wait)
	}
}

// backoff is how long to wait after the nth failure in a row.
func backoff(n int, err error) time.Duration {
	wait := min(maxPause, time.Second<<min(n-1, 10))
	wait = wait/2 + rand.N(wait/2+1) // so that replicas do not come all at once
	if f, ok := errors.AsType[*socketFailure](err); ok {
		wait = max(wait, f.after)
	}
	return wait
}

// pause waits, until ctx is done or another chance comes; it tells whether to go on.
func pause(ctx context.Context, chance <-chan struct{}, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-chance:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// hold opens a connection and returns when another one has to take its place:
// without an error this one is still read for a while.
func (s *Sockets) hold(ctx context.Context, at address, changed <-chan struct{}) error {
	ws, err := s.connect(ctx, at)
	if err != nil {
		return err
	}
	c := newSocket(ws, &s.taking)
	s.open.Go(c.read)
	s.open.Go(func() {
		select {
		case <-c.hello:
			s.count(+1)
			s.logger.Info("slack socket is up", "sockets", s.Up())
			<-c.closed
			s.count(-1)
		case <-c.closed:
		}
	})
	select {
	case err = <-c.over:
	case <-changed:
	case <-ctx.Done():
	}
	if now, _ := s.target(); err != nil || ctx.Err() != nil || now.token == "" {
		c.finish()
		return err
	}
	s.open.Go(func() {
		select {
		case <-c.closed:
		case <-time.After(leaveWithin):
		case <-ctx.Done():
		}
		c.finish()
	})
	return nil
}

func (s *Sockets) count(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up += by
	if by > 0 {
		s.trouble = nil
	}
}

// connect asks Slack for the address of a connection and opens it.
func (s *Sockets) connect(ctx context.Context, at address) (*websocket.Conn, error) {
	if err := s.opening.Wait(ctx); err != nil {
		return nil, err
	}
	asking, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	api := slack.New("", slack.OptionAppLevelToken(at.token), slack.OptionAPIURL(at.api), slack.OptionHTTPClient(s.http))
	_, to, err := api.StartSocketModeContext(asking)
	if err == nil && to == "" {
		err = errEmpty
	}
	if err != nil {
		return nil, refused(err, at.token)
	}
	if err := maySocket(to, at.api); err != nil {
		return nil, err
	}
	ws, resp, err := s.dialer.DialContext(ctx, to, nil)
	if resp != nil {
		defer resp.Body.Close()
	}
	if err != nil {
		// The address is as good as a password, for as long as nobody used it.
		text := strings.ReplaceAll(redact(err.Error(), at.token), to, "<address>")
		if resp != nil {
			text += " (" + resp.Status + ")"
		}
		return nil, errors.New("opening a socket: " + text)
	}
	return ws, nil
}

// Rehearse opens one connection, waits for Slack's greeting and closes it again.
// Whatever Slack brings meanwhile is not acknowledged.
func Rehearse(ctx context.Context, apiURL, token string) error {
	s := NewSockets(SocketConfig{Take: func(context.Context, Kind, []byte) (any, error) { return nil, errors.New("only a rehearsal") }}, slog.New(slog.DiscardHandler))
	defer s.http.CloseIdleConnections()
	ws, err := s.connect(ctx, address{api: withSlash(apiURL), token: token})
	if err != nil {
		return err
	}
	c := newSocket(ws, &s.taking)
	c.stop() // takes nothing
	go c.read()
	defer c.finish()
	select {
	case <-c.hello:
		return nil
	case err := <-c.over:
		return cmp.Or(err, errors.New("slack closes the connection before it greets it"))
	case <-ctx.Done():
		return ctx.Err()
	}
}

// withSlash is the API's URL as slack-go wants it.
func withSlash(api string) string {
	return strings.TrimSuffix(cmp.Or(api, DefaultAPIURL), "/") + "/" // it appends the method's name as it is
}

// maySocket allows encrypted sockets; others only where the API is not encrypted
// either, and on the same host or this machine.
func maySocket(to, api string) error {
	u, err := url.Parse(to)
	if err != nil || u.Host == "" {
		return errors.New("opening a socket: slack's answer holds no address")
	}
	if u.Scheme == "wss" {
		return nil
	}
	from, err := url.Parse(api)
	if err == nil && u.Scheme == "ws" && from.Scheme == "http" {
		ip := net.ParseIP(u.Hostname())
		if strings.EqualFold(u.Hostname(), from.Hostname()) || u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
			return nil
		}
	}
	return fmt.Errorf("opening a socket: slack's answer names one that is not encrypted (%s://%s)", u.Scheme, u.Host)
}

// socketFailure is an error after which to wait for at least so long.
type socketFailure struct {
	text  string
	after time.Duration
}

func (f *socketFailure) Error() string { return f.text }

// How Slack ends connections that it does not want.
var (
	// errLinkDisabled needs a person; it is tried again for the case that one came.
	errLinkDisabled = &socketFailure{"Socket Mode is switched off in the app's settings; switch it on, or remove app_token_file and use signed requests", 5 * time.Minute}
	errTooMany      = &socketFailure{"the app has too many connections: Slack allows ten, callchain opens two in every replica", time.Minute}
)

// tokenHints say what to do about Slack's refusal to open a connection.
var tokenHints = map[string]string{
	"invalid_auth":           "the app token is not valid; put a valid one (xapp-…) into app_token_file",
	"not_authed":             "no app token was sent; check app_token_file",
	"account_inactive":       "the app was removed from the workspace; install it again",
	"token_revoked":          "the app token was revoked; make a new one in the app's settings, under Basic Information",
	"not_allowed_token_type": "app_token_file holds another kind of token; it must be an app-level one (xapp-…), with the scope connections:write",
	"missing_scope":          "the app token lacks the scope connections:write; make a new one in the app's settings, under Basic Information",
	"forbidden_team":         "the app may not be used in this workspace",
}

// refused says in words why no connection may be opened.
func refused(err error, token string) error {
	result := classify(err, call{token: token, read: true})
	if f, ok := errors.AsType[*failure](result.Err); ok && tokenHints[f.code] != "" {
		return &socketFailure{"opening a socket: " + f.code + ": " + tokenHints[f.code], result.After}
	}
	text := "it was refused"
	if result.Err != nil {
		text = result.Err.Error()
	}
	return &socketFailure{"opening a socket: " + text, result.After}
}
