package testbench

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy stands between a client and a server and does to their connections what
// networks do. It starts as if it were not there.
type Proxy struct {
	Addr string

	listener net.Listener
	to       string
	work     sync.WaitGroup

	mu      sync.Mutex
	weather Weather
	open    map[net.Conn]bool
	closed  bool
}

// Weather is how a network is.
type Weather struct {
	Latency time.Duration // of each piece of what the server says
	Jitter  time.Duration // up to so much more or less
	Silent  bool          // nothing comes through, and nobody says so
	Refused bool          // no connection is made, and those that there are break
}

// StartProxy starts a proxy before a server.
func StartProxy(t testing.TB, to string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: listener.Addr().String(), listener: listener, to: to, open: map[net.Conn]bool{}}
	p.work.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.Reset()
		p.work.Wait()
	})
	return p
}

// Set changes the weather.
func (p *Proxy) Set(w Weather) {
	p.mu.Lock()
	p.weather = w
	p.mu.Unlock()
	if w.Refused {
		p.Reset()
	}
}

// Reset breaks all connections, as a firewall does that forgot them.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
	clear(p.open)
}

func (p *Proxy) now() Weather {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.weather
}

// hold keeps a connection for Reset; false: it has to go at once.
func (p *Proxy) hold(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.weather.Refused {
		_ = c.Close()
		return false
	}
	p.open[c] = true
	return true
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = client.Close()
			continue
		}
		if !p.hold(client) || !p.hold(server) {
			_, _ = client.Close(), server.Close()
			continue
		}
		p.work.Go(func() { p.pass(server, client, false) })
		p.work.Go(func() { p.pass(client, server, true) })
	}
}

// pass carries one direction until either end is closed.
func (p *Proxy) pass(to, from net.Conn, slow bool) {
	defer to.Close()
	defer from.Close()
	piece := make([]byte, 64<<10)
	for {
		n, err := from.Read(piece)
		w := p.now()
		if slow && w.Latency > 0 {
			time.Sleep(max(0, w.Latency-w.Jitter+time.Duration(rand.Int64N(int64(2*w.Jitter)+1))))
		}
		// What is silenced is lost with its connection.
		for silent := w.Silent; silent; silent = p.now().Silent {
			time.Sleep(20 * time.Millisecond)
			if p.gone(from) {
				return
			}
		}
		if n > 0 {
			if _, err := to.Write(piece[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				p.forget(to, from)
			}
			return
		}
	}
}

func (p *Proxy) gone(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.open[c]
}

func (p *Proxy) forget(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.open, c)
	}
}
