package server

import (
	"container/list"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// Timeouts of a door. A request that does not arrive in time is cut off, whoever
// sends it.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
)

// Bounds of a door. Together they bound its memory: about 20 kB for a connection
// and its request, and what the header takes.
const (
	connections = 4096
	headerBytes = 64 << 10
	streams     = 64 // requests at once on one connection of HTTP/2
)

// Door is an HTTP server for one of the handlers, which no flood of connections
// keeps from those who have something to say: when there are too many, the one that
// has been silent the longest makes room.
type Door struct {
	*http.Server
	crowd crowd
}

// NewDoor makes a door. Its listeners have to be wrapped by Bound.
func NewDoor(h http.Handler, log *slog.Logger) *Door {
	d := &Door{crowd: crowd{most: connections}}
	d.Server = &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: headerBytes,
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: streams, SendPingTimeout: 30 * time.Second, PingTimeout: 10 * time.Second, WriteByteTimeout: writeTimeout},
		ConnState:      d.crowd.state,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return d
}

// Bound makes a listener one of the door's: its connections count.
func (d *Door) Bound(l net.Listener) net.Listener { return &bound{l, &d.crowd} }

type bound struct {
	net.Listener
	crowd *crowd
}

// Accept implements net.Listener.
func (b *bound) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		switch {
		case err == nil:
			return b.crowd.enter(c), nil
		case (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)) && b.crowd.makeRoom():
			// The process may have no more files open: fewer connections, then.
		default:
			return nil, err //nolint:wrapcheck // the server compares it
		}
	}
}

// crowd is the connections of a door. Those on which no request is being handled
// are silent: new ones that have not sent a whole header, and ones that are kept for
// the next request.
type crowd struct {
	most int

	mu          sync.Mutex
	all         map[*guest]struct{}
	fresh, idle list.List // of *guest, the longest silent first
}

// guest is one connection.
type guest struct {
	net.Conn
	crowd  *crowd
	in     *list.List // fresh, idle, or nil while it has something to say
	silent *list.Element
}

// Close implements net.Conn.
func (g *guest) Close() error {
	g.crowd.mu.Lock()
	g.leave()
	g.crowd.mu.Unlock()
	return g.Conn.Close() //nolint:wrapcheck // it is the connection's own
}

// CloseWrite lets the server end an answer before the sender has ended its body, so
// that the sender sees it.
func (g *guest) CloseWrite() error {
	if c, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite() //nolint:wrapcheck // likewise
	}
	return nil
}

func (g *guest) leave() {
	g.to(nil)
	delete(g.crowd.all, g)
}

// to moves it to the end of a list; nil: to none.
func (g *guest) to(l *list.List) {
	if g.in != nil {
		g.in.Remove(g.silent)
	}
	if g.in = l; l != nil {
		g.silent = l.PushBack(g)
	}
}

func (c *crowd) enter(conn net.Conn) net.Conn {
	g := &guest{Conn: conn, crowd: c}
	c.mu.Lock()
	full := len(c.all) >= c.most
	c.mu.Unlock()
	if full && !c.makeRoom() {
		conn.Close() // all are busy; the server notices at its first read
		return conn
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[*guest]struct{}{}
	}
	c.all[g] = struct{}{}
	g.to(&c.fresh)
	return g
}

// makeRoom closes a silent connection, and tells whether there was one. It is of
// the kind of which there are more: whoever floods the door pays for it.
func (c *crowd) makeRoom() bool {
	c.mu.Lock()
	from := &c.fresh
	if c.idle.Len() > c.fresh.Len() {
		from = &c.idle
	}
	e := from.Front()
	if e == nil {
		c.mu.Unlock()
		return false
	}
	g, _ := e.Value.(*guest)
	g.leave()
	c.mu.Unlock()
	g.Conn.Close()
	return true
}

// state follows what the server says of a connection.
func (c *crowd) state(conn net.Conn, s http.ConnState) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	g, ok := conn.(*guest)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, here := c.all[g]; !here {
		return
	}
	switch s {
	case http.StateActive:
		g.to(nil)
	case http.StateIdle:
		g.to(&c.idle)
	case http.StateHijacked, http.StateClosed:
		g.leave()
	case http.StateNew:
	}
}
