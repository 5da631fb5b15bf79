package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"callchain/escalation"
)

// pipes is a listener in a bubble: connections are pipes.
type pipes struct {
	next   chan net.Conn
	closed chan struct{}
	once   sync.Once
	fails  []error // what Accept answers first
}

func newPipes() *pipes { return &pipes{next: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	if len(p.fails) > 0 {
		err := p.fails[0]
		p.fails = p.fails[1:]
		return nil, err
	}
	select {
	case c := <-p.next:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.next <- far
	return near
}

// serving opens a door in a bubble, which may be changed before.
func (b *bench) serving(t *testing.T, change ...func(*Door, *pipes)) (*Door, *pipes) {
	d, l := NewDoor(b.Private, slog.New(slog.DiscardHandler)), newPipes()
	for _, c := range change {
		c(d, l)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = d.Serve(d.Bound(l)) }()
	t.Cleanup(func() { d.Close(); <-done })
	return d, l
}

// cutAfter is how long a connection lives.
func cutAfter(c net.Conn) time.Duration {
	began := time.Now()
	_, _ = io.Copy(io.Discard, c)
	return time.Since(began)
}

// Whoever sends too slowly is cut off at an instant that does not depend on what
// they send in between.
func TestSlowSendersAreCutOff(t *testing.T) {
	const body = "POST " + hookURL + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + amToken + "\r\nContent-Length: 1000\r\n\r\n{"
	for name, tc := range map[string]struct {
		first string // at once
		drip  string // then, once a second
		want  time.Duration
	}{
		"nothing":           {"", "", 5 * time.Second},
		"headers that drip": {"GET /-/healthy HTTP/1.1\r\nHost: x\r\n", "X-A: b\r\n", 5 * time.Second},
		"a body that drips": {body, " ", 15 * time.Second},
		"a Slack body":      {"POST /slack/interactions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", "a", 15 * time.Second},
		"the next request":  {"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n", "", 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				_, l := b.serving(t)
				c := l.dial()
				var sender sync.WaitGroup
				defer sender.Wait()
				defer c.Close()
				sender.Go(func() {
					if _, err := io.WriteString(c, tc.first); err != nil {
						return
					}
					for tc.drip != "" {
						time.Sleep(time.Second)
						if _, err := io.WriteString(c, tc.drip); err != nil {
							return
						}
					}
				})
				if got := cutAfter(c); got < tc.want || got > tc.want+time.Second {
					t.Errorf("cut off after %v, want %v", got, tc.want)
				}
				synctest.Wait()
				if b.bodies.free != maxInFlight || len(b.lanes.webhook)+len(b.lanes.slack) != 0 {
					t.Errorf("something is still held: %d bytes, %d webhooks, %d presses", maxInFlight-b.bodies.free, len(b.lanes.webhook), len(b.lanes.slack))
				}
			})
		})
	}
}

func TestLongHeadersAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := newBench(t).serving(t)
		c := l.dial()
		defer c.Close()
		go func() {
			_, _ = io.WriteString(c, "GET /-/healthy HTTP/1.1\r\nHost: x\r\nX-A: "+strings.Repeat("a", 2*headerBytes)+"\r\n\r\n")
		}()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Fatalf("%v, %v", resp, err)
		}
		time.Sleep(time.Second) // the server gives its answer time to arrive
	})
}

// When the door is full of connections that say nothing, the longest silent makes
// room; one that is being served is never cut off for another.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		hold := make(chan struct{})
		b.engine.webhook = func(context.Context) error { <-hold; return nil }
		d, l := b.serving(t, func(d *Door, l *pipes) {
			d.crowd.most = 4
			l.fails = []error{&net.OpError{Op: "accept", Err: os.NewSyscallError("accept", syscall.EMFILE)}} // the server waits a little and goes on
		})

		busy := l.dial()
		answers := make(chan string, 1)
		go func() {
			fmt.Fprintf(busy, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", hookURL, amToken, len(goodHook), goodHook)
			answers <- status(busy)
		}()
		idle := l.dial() // kept for its next request
		go io.WriteString(idle, "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
		if got := status(idle); got != "200 OK" {
			t.Fatal(got)
		}
		oldest, younger := l.dial(), l.dial()
		synctest.Wait()
		began := time.Now()
		third := l.dial() // the fifth of four
		if got := cutAfter(oldest); got != 0 {
			t.Errorf("the oldest of those that say nothing was cut off after %v", got)
		}
		go io.WriteString(third, "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
		if got := status(third); got != "200 OK" || time.Since(began) != 0 {
			t.Errorf("the newcomer was answered %q after %v", got, time.Since(began))
		}
		// Now two are idle and one is new: the idle ones make room.
		synctest.Wait()
		fourth := l.dial()
		if got := cutAfter(idle); got != 0 {
			t.Errorf("the oldest idle one was cut off after %v", got)
		}
		close(hold)
		if got := <-answers; got != "200 OK" {
			t.Errorf("the one that was being served got %q", got)
		}
		for _, c := range []net.Conn{busy, younger, third, fourth} {
			c.Close()
		}
		synctest.Wait()
		d.crowd.mu.Lock()
		defer d.crowd.mu.Unlock()
		if len(d.crowd.all)+d.crowd.fresh.Len()+d.crowd.idle.Len() != 0 {
			t.Errorf("%d connections are remembered, %d new, %d idle", len(d.crowd.all), d.crowd.fresh.Len(), d.crowd.idle.Len())
		}
	})
}

// Out of files, the process closes a silent connection rather than to hear nobody.
func TestOutOfFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		d := NewDoor(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
		bound := d.Bound(l)
		near, far := net.Pipe()
		d.crowd.enter(far)
		l.fails = []error{os.NewSyscallError("accept4", syscall.EMFILE)}
		go func() { l.dial() }()
		if c, err := bound.Accept(); err != nil || c == nil {
			t.Fatal(err)
		}
		if got := cutAfter(near); got != 0 {
			t.Errorf("cut off after %v", got)
		}
		l.fails = []error{os.NewSyscallError("accept4", syscall.ECONNABORTED)}
		if _, err := bound.Accept(); !errors.Is(err, syscall.ECONNABORTED) {
			t.Errorf("%v", err)
		}
	})
}

func status(c net.Conn) string {
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err.Error()
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Status
}

// Whatever fills one lane, the others are free: webhooks that hang stop no press,
// presses no webhook, and nothing the daemon's health.
func TestLanesDoNotBlockEachOther(t *testing.T) {
	full := func(l lane) {
		for range cap(l) {
			l <- struct{}{}
		}
	}
	token := escalation.ButtonToken("0c-k7f3k", escalation.Place{Run: 1, Round: 1, Step: 1})
	requests := map[string]func(b *bench) int{
		"webhook": func(b *bench) int {
			return b.do("POST", hookURL, goodHook, "Authorization", "Bearer "+amToken).Code
		},
		"slack": func(b *bench) int { return b.signed("/slack/interactions", press("U01ANA", "T1", "ack", token)).Code },
		"act": func(b *bench) int {
			return b.do("POST", "/api/v1/incidents/0c-k7f3k/ack", `{"by": "ana"}`, "Authorization", "Bearer "+respondToken).Code
		},
		"link":    func(b *bench) int { return b.do("GET", "/ack/forged", "").Code },
		"machine": func(b *bench) int { return b.do("GET", "/-/ready", "").Code },
		"other":   func(b *bench) int { return b.do("GET", "/incidents", "").Code },
		"":        func(b *bench) int { return b.do("GET", "/-/healthy", "").Code },
	}
	free := map[string]int{}
	for name, request := range requests {
		synctest.Test(t, func(t *testing.T) { free[name] = request(newBench(t)) })
	}
	for name, code := range free {
		if code == http.StatusServiceUnavailable {
			t.Fatalf("%s is answered 503 when nothing is full", name)
		}
	}
	for filled := range requests {
		t.Run("full "+filled, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				lanes := map[string]lane{"webhook": b.lanes.webhook, "slack": b.lanes.slack, "act": b.lanes.act, "link": b.lanes.link,
					"machine": b.lanes.machine, "other": b.lanes.other, "": make(lane)}
				full(lanes[filled])
				for name, request := range requests {
					began := time.Now()
					code := request(b)
					want, within := free[name], time.Duration(0)
					if name == filled && name != "" {
						want, within = http.StatusServiceUnavailable, laneWithin
					}
					if code != want || time.Since(began) != within {
						t.Errorf("%s is answered %d after %v; want %d after %v", name, code, time.Since(began), want, within)
					}
				}
			})
		})
	}
}

// Large webhooks are decoded and stored two at a time, small ones beside them.
func TestLargeWebhooksTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		hold := make(chan struct{})
		b.engine.webhook = func(context.Context) error { <-hold; return nil }
		big := strings.Replace(goodHook, "{", "{"+strings.Repeat(" ", large), 1)
		codes := make(chan int, 3)
		for range largeLane {
			go func() { codes <- b.do("POST", hookURL, big, "Authorization", "Bearer "+amToken).Code }()
		}
		synctest.Wait()
		began := time.Now()
		if w := b.do("POST", hookURL, big, "Authorization", "Bearer "+amToken); w.Code != 503 || time.Since(began) != storeWithin {
			t.Errorf("one more is answered %d after %v", w.Code, time.Since(began))
		}
		go func() { codes <- b.do("POST", hookURL, goodHook, "Authorization", "Bearer "+amToken).Code }()
		synctest.Wait()
		close(hold)
		for range largeLane + 1 {
			if code := <-codes; code != 200 {
				t.Errorf("code %d", code)
			}
		}
		if got := len(b.engine.hooks); got != largeLane+1 || b.bodies.free != maxInFlight {
			t.Errorf("%d webhooks, %d bytes free", got, b.bodies.free)
		}
	})
}

// All lanes together leave room for a connection more.
func TestLanesFitTheDoor(t *testing.T) {
	if sum := webhookLane + 3*pressLane + otherLane + machineLane; sum+connections/8 > connections {
		t.Errorf("the lanes hold %d requests, the door %d connections", sum, connections)
	}
}

// A real flood, bounded: five times as many connections as the door lets in, most
// of which say nothing or half a header. Health, a press and a webhook are answered
// meanwhile, and memory stays in proportion to what is let in.
func TestFlood(t *testing.T) {
	b := newBench(t)
	d := NewDoor(b.Private, slog.New(slog.DiscardHandler))
	d.crowd.most = 200
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = d.Serve(d.Bound(l)) }()
	defer func() { d.Close(); <-done }()
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := heap()
	var flood []net.Conn
	defer func() {
		for _, c := range flood {
			c.Close()
		}
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	for i := range 5 * d.crowd.most {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		flood = append(flood, c)
		if i%2 == 0 {
			_, _ = io.WriteString(c, "POST /slack/interactions HTTP/1.1\r\nX-A: "+strings.Repeat("a", 16<<10)) // it may be cut off by now
		}
		if i%100 != 99 {
			continue
		}
		resp, err := client.Get("http://" + l.Addr().String() + "/-/healthy")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("after %d connections health is answered %v, %v", i, resp, err)
		}
		resp.Body.Close()
		r, _ := http.NewRequest(http.MethodPost, "http://"+l.Addr().String()+hookURL, strings.NewReader(goodHook))
		r.Header.Set("Authorization", "Bearer "+amToken)
		if resp, err = client.Do(r); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("after %d connections a webhook is answered %v, %v", i, resp, err)
		}
		resp.Body.Close()
	}
	d.crowd.mu.Lock()
	in := len(d.crowd.all)
	d.crowd.mu.Unlock()
	if in > d.crowd.most {
		t.Errorf("%d connections are open, at most %d may be", in, d.crowd.most)
	}
	// A connection of 16 kB of header: its buffers, what the header takes, two goroutines.
	if each := (float64(heap()) - float64(before)) / float64(d.crowd.most); each > 100<<10 {
		t.Errorf("%.0f bytes for each connection that is let in", each)
	}
}
