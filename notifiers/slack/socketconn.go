package slack

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"callchain/notifiers"
)

const (
	helloWithin = 10 * time.Second // after the connection
	pingEvery   = 10 * time.Second
	silentFor   = 3 * pingEvery // a connection that does not even answer pings that long is dead
	writeWithin = 5 * time.Second
	leaveWithin = time.Minute // how long a connection that Slack wants to end is read at most

	maxFrame  = 1 << 20
	maxAnswer = 20_000      // bytes; Slack drops larger ones without a word
	maxTaking = 64          // payloads being done at once
	remember  = time.Minute // how long an envelope is known again
)

// socket is one connection.
type socket struct {
	ws     *websocket.Conn
	taking *intake

	hello  chan struct{} // closed when Slack greeted
	over   chan error    // how it ends, once: nil when Slack wants another connection in its place
	closed chan struct{} // nothing is read any more

	writing sync.Mutex
	mu      sync.Mutex
	ending  bool           // nothing is taken any more
	work    sync.WaitGroup // envelopes that were taken
}

func newSocket(ws *websocket.Conn, taking *intake) *socket {
	c := &socket{
		ws: ws, taking: taking,
		hello: make(chan struct{}), over: make(chan error, 1), closed: make(chan struct{}),
	}
	ws.SetReadLimit(maxFrame)
	alive := func() error { return ws.SetReadDeadline(time.Now().Add(silentFor)) }
	_ = alive()
	ws.SetPongHandler(func(string) error { return alive() })
	answer := ws.PingHandler()
	ws.SetPingHandler(func(data string) error {
		if err := alive(); err != nil {
			return err
		}
		return answer(data)
	})
	return c
}

// frame is what Slack sends.
type frame struct {
	Type       string
	Reason     string          // of a disconnect
	EnvelopeID string          `json:"envelope_id"`
	Payload    json.RawMessage // of an envelope
}

// read takes frames until the connection ends.
func (c *socket) read() {
	defer close(c.closed)
	defer c.ws.Close()
	go c.ping()
	greeting := time.AfterFunc(helloWithin, func() { c.end(errors.New("slack did not greet the connection")) })
	defer greeting.Stop()
	greeted := false
	for {
		_, data, err := c.ws.ReadMessage()
		if err != nil {
			c.end(errors.New("the connection broke: " + notifiers.Clean(err.Error(), 200)))
			return
		}
		_ = c.ws.SetReadDeadline(time.Now().Add(silentFor))
		var f frame
		if err := json.Unmarshal(data, &f); err != nil {
			c.taking.logger.Warn("slack sent a frame that cannot be read", "bytes", len(data), "err", err)
			continue
		}
		switch {
		case f.Type == "hello":
			if !greeted {
				greeted = true
				greeting.Stop()
				close(c.hello)
			}
		case f.Type == "disconnect":
			c.taking.logger.Info("slack ends a socket", "reason", notifiers.Clean(f.Reason, 100))
			switch f.Reason {
			case "link_disabled":
				c.end(errLinkDisabled)
			case "too_many_websockets":
				c.end(errTooMany)
			default: // warning, refresh_requested
				c.end(nil)
			}
		case f.EnvelopeID != "":
			c.envelope(f)
		}
	}
}

// end says once how the connection ends.
func (c *socket) end(how error) {
	select {
	case c.over <- how:
	default:
	}
}

// ping asks whether anybody is there; the reader hears the answer.
func (c *socket) ping() {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = c.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeWithin))
		case <-c.closed:
			return
		}
	}
}

// envelope has one done, while the next ones are read.
func (c *socket) envelope(f frame) {
	c.taking.slots <- struct{}{}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		<-c.taking.slots
		return
	}
	c.work.Go(func() {
		defer func() { <-c.taking.slots }()
		answer, err := c.taking.do(f)
		if err != nil {
			return // unacknowledged: Slack shows that it failed
		}
		if err := c.acknowledge(f.EnvelopeID, answer); err != nil {
			c.taking.logger.Warn("slack was not told that a press is stored; it shows it as failed", "err", err)
		}
	})
}

func (c *socket) acknowledge(id string, answer any) error {
	text, err := json.Marshal(struct {
		ID      string `json:"envelope_id"`
		Payload any    `json:"payload,omitempty"`
	}{id, answer})
	if err != nil {
		return err
	}
	if len(text) >= maxAnswer {
		c.taking.logger.Error("an answer to slack is too long and was left out", "bytes", len(text))
		return c.acknowledge(id, nil)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.ws.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return err
	}
	return c.ws.WriteMessage(websocket.TextMessage, text)
}

// stop takes nothing any more.
func (c *socket) stop() {
	c.mu.Lock()
	c.ending = true
	c.mu.Unlock()
}

// finish ends the connection: what was taken is done and acknowledged before.
func (c *socket) finish() {
	c.stop()
	c.work.Wait()
	_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
	c.ws.Close()
	<-c.closed
}

// intake does what envelopes ask for, whichever connection brings them.
type intake struct {
	take   func(context.Context, Kind, []byte) (any, error)
	logger *slog.Logger
	slots  chan struct{}

	mu     sync.Mutex
	recent map[string]*envelope // by id
}

// envelope is one that came.
type envelope struct {
	at     time.Time
	done   chan struct{}
	answer any
	err    error
}

// do does what an envelope asks for. One that comes again is done once, and gets
// the same answer; one that failed is tried again.
func (t *intake) do(f frame) (any, error) {
	now := time.Now()
	t.mu.Lock()
	known := t.recent[f.EnvelopeID]
	if known == nil {
		for id, old := range t.recent {
			if now.Sub(old.at) > remember {
				delete(t.recent, id)
			}
		}
		known = &envelope{at: now, done: make(chan struct{})}
		t.recent[f.EnvelopeID] = known
		t.mu.Unlock()
		defer close(known.done)
		known.answer, known.err = t.take(context.Background(), Kind(f.Type), f.Payload)
		if known.err != nil {
			t.mu.Lock()
			delete(t.recent, f.EnvelopeID)
			t.mu.Unlock()
		}
		return known.answer, known.err
	}
	t.mu.Unlock()
	<-known.done
	return known.answer, known.err
}
