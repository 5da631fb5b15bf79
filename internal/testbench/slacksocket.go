package testbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// SlackSocket is Slack's side of Socket Mode, which does what a test tells it:
// an http.Handler for apps.connections.open and the connections that it gives
// out. Unlike an emulator it can end connections for every reason that Slack
// has, and sees what is never acknowledged. It keeps no time and may run in a
// synctest bubble, over Listen.
type SlackSocket struct {
	Conns chan *SlackConn // each connection that was opened, ungreeted

	mu     sync.Mutex
	opens  []time.Time
	refuse func(token string) string
}

// SlackConn is one connection.
type SlackConn struct {
	Token string                // it was opened with
	Acks  chan SlackAck         // what was acknowledged over it
	Gone  chan struct{}         // closed when the far side has ended it
	Ended *websocket.CloseError // how, after Gone; nil: without a word

	ws   *websocket.Conn
	deaf atomic.Bool
}

// SlackAck is an acknowledgement.
type SlackAck struct {
	ID      string          `json:"envelope_id"`
	Payload json.RawMessage `json:"payload"`
}

// NewSlackSocket returns one that nobody is connected to.
func NewSlackSocket() *SlackSocket { return &SlackSocket{Conns: make(chan *SlackConn, 100)} }

// Opens are the calls of apps.connections.open.
func (s *SlackSocket) Opens() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.opens...)
}

// Refuse gives what to answer apps.connections.open with, by the token; "": an address.
func (s *SlackSocket) Refuse(answer func(token string) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = answer
}

func (s *SlackSocket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case strings.HasSuffix(r.URL.Path, "/apps.connections.open"):
		s.mu.Lock()
		s.opens = append(s.opens, time.Now())
		refuse := s.refuse
		s.mu.Unlock()
		if refuse != nil {
			if answer := refuse(token); answer != "" {
				_, _ = io.WriteString(w, answer)
				return
			}
		}
		if !strings.HasPrefix(token, "xapp-") {
			fmt.Fprint(w, `{"ok":false,"error":"not_allowed_token_type"}`)
			return
		}
		fmt.Fprintf(w, `{"ok":true,"url":"ws://%s/link/?ticket=%s"}`, r.Host, strings.TrimPrefix(token, "xapp-"))
	case r.URL.Path == "/link/":
		ws, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		c := &SlackConn{Token: "xapp-" + r.URL.Query().Get("ticket"), Acks: make(chan SlackAck, 100), Gone: make(chan struct{}), ws: ws}
		pong := ws.PingHandler()
		ws.SetPingHandler(func(data string) error {
			if c.deaf.Load() {
				return nil
			}
			return pong(data)
		})
		s.Conns <- c
		c.read()
	default:
		http.NotFound(w, r)
	}
}

func (c *SlackConn) read() {
	defer close(c.Gone)
	defer c.ws.Close()
	for {
		var ack SlackAck
		if err := c.ws.ReadJSON(&ack); err != nil {
			c.Ended, _ = errors.AsType[*websocket.CloseError](err)
			return
		}
		c.Acks <- ack
	}
}

// Hello greets.
func (c *SlackConn) Hello() {
	c.Send(`{"type":"hello","num_connections":1,"connection_info":{"app_id":"A01APP"},"debug_info":{"host":"applink-1","approximate_connection_time":18060}}`)
}

// Disconnect says that the connection ends soon, and why.
func (c *SlackConn) Disconnect(reason string) {
	c.Send(fmt.Sprintf(`{"type":"disconnect","reason":%q,"debug_info":{"host":"applink-1"}}`, reason))
}

// Envelope brings a payload.
func (c *SlackConn) Envelope(id, kind, payload string) {
	c.Send(fmt.Sprintf(`{"envelope_id":%q,"type":%q,"accepts_response_payload":true,"payload":%s}`, id, kind, payload))
}

// Send writes a frame. That the far side is gone is no error: Slack notices it as late.
func (c *SlackConn) Send(frame string) {
	_ = c.ws.WriteMessage(websocket.TextMessage, []byte(frame))
}

// Close cuts the connection.
func (c *SlackConn) Close() { c.ws.Close() }

// Deafen leaves the connection open, and answers no ping any more.
func (c *SlackConn) Deafen() { c.deaf.Store(true) }

// Next is the next connection, greeted.
func (s *SlackSocket) Next(t testing.TB) *SlackConn {
	t.Helper()
	select {
	case c := <-s.Conns:
		c.Hello()
		return c
	case <-time.After(10 * time.Minute):
		t.Fatal("nobody connects")
		return nil
	}
}

// Acked waits for the next acknowledgement.
func (c *SlackConn) Acked(t testing.TB) SlackAck {
	t.Helper()
	select {
	case a := <-c.Acks:
		return a
	case <-time.After(10 * time.Minute):
		t.Fatal("nothing is acknowledged")
		return SlackAck{}
	}
}

// Listen serves over pipes instead of a network: in a synctest bubble time
// passes while somebody waits for the far side of a pipe. Close the server.
func (s *SlackSocket) Listen() (dial func(ctx context.Context, network, addr string) (net.Conn, error), server *http.Server) {
	l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	server = &http.Server{Handler: s}
	go func() { _ = server.Serve(l) }()
	return l.dial, server
}

// pipes is a listener on which only dial calls.
type pipes struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }
