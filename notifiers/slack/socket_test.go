package slack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"callchain/internal/testbench"
)

// plugged is a workspace in Socket Mode and callchain's side of it, in a bubble
// where time passes by itself.
type plugged struct {
	*Sockets
	slack *testbench.SlackSocket

	mu    sync.Mutex
	token string
	taken []string // payloads
	deaf  []string // what was told, and after how long
	log   bytes.Buffer
	take  func(ctx context.Context, kind Kind, payload []byte) (any, error)

	cancel context.CancelFunc
	done   chan struct{}
}

// plugIn runs a test in a bubble, with the sockets running.
func plugIn(t *testing.T, run func(t *testing.T, p *plugged)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &plugged{slack: testbench.NewSlackSocket(), token: "xapp-1-secret", done: make(chan struct{})}
		dial, server := p.slack.Listen()
		p.Sockets = NewSockets(SocketConfig{
			Where: func() (string, string, error) {
				p.mu.Lock()
				defer p.mu.Unlock()
				return "http://slack.test/api", p.token, nil
			},
			Take: func(ctx context.Context, kind Kind, payload []byte) (any, error) {
				p.mu.Lock()
				p.taken = append(p.taken, string(kind)+" "+string(payload))
				take := p.take
				p.mu.Unlock()
				if take == nil {
					return nil, nil
				}
				return take(ctx, kind, payload)
			},
			Deaf: func(since time.Time, why error) {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.deaf = append(p.deaf, fmt.Sprintf("after %s: %v", time.Since(since), why))
			},
			dial: dial,
		}, slog.New(slog.NewTextHandler(&lockedWriter{mu: &p.mu, w: &p.log}, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		p.cancel = cancel
		go func() {
			defer close(p.done)
			if err := p.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		}()
		defer func() {
			cancel()
			<-p.done
			server.Close()
			if p.Up() != 0 {
				t.Errorf("%d sockets are up after the end", p.Up())
			}
			if log := p.logged(); strings.Contains(log, "secret") {
				t.Errorf("the log has a secret in it:\n%s", log)
			}
		}()
		run(t, p)
	})
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func (p *plugged) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.taken...)
}

func (p *plugged) told() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.deaf...)
}

func (p *plugged) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *plugged) setToken(token string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.token = token
}

// What Slack brings on a connection that it is about to close is done, and the
// next connection is open before.
func TestNothingIsLostOnAWarning(t *testing.T) {
	for _, reason := range []string{"warning", "refresh_requested", "never heard of"} {
		t.Run(reason, func(t *testing.T) {
			plugIn(t, func(t *testing.T, p *plugged) {
				old := p.slack.Next(t)
				other := p.slack.Next(t)
				old.Disconnect(reason)
				time.Sleep(300 * time.Millisecond)
				old.Envelope("e1", "interactive", `{"n":1}`)
				if ack := old.Acked(t); ack.ID != "e1" || len(ack.Payload) != 0 {
					t.Errorf("acknowledged %+v", ack)
				}
				next := p.slack.Next(t)
				time.Sleep(9 * time.Second)
				old.Envelope("e2", "interactive", `{"n":2}`)
				if ack := old.Acked(t); ack.ID != "e2" {
					t.Errorf("acknowledged %+v", ack)
				}
				if p.Up() != 3 {
					t.Errorf("%d sockets are up, want the old one, the other one and the next one", p.Up())
				}
				old.Close()
				next.Envelope("e3", "slash_commands", `{"n":3}`)
				other.Envelope("e4", "events_api", `{"n":4}`)
				next.Acked(t)
				other.Acked(t)
				synctest.Wait()
				if p.Up() != 2 || len(p.seen()) != 4 || p.seen()[0] != `interactive {"n":1}` {
					t.Errorf("%d sockets are up, taken was %q", p.Up(), p.seen())
				}
				if opens := p.slack.Opens(); len(opens) != 3 {
					t.Errorf("%d connections were opened, want 3", len(opens))
				}
			})
		})
	}
}

// A connection that Slack wants to end and does not is ended after a minute.
func TestAnOldConnectionIsLeft(t *testing.T) {
	plugIn(t, func(t *testing.T, p *plugged) {
		old := p.slack.Next(t)
		began := time.Now()
		old.Disconnect("warning")
		p.slack.Next(t)
		<-old.Gone
		if took := time.Since(began); took != leaveWithin || old.Ended == nil || old.Ended.Code != 1000 {
			t.Errorf("left after %s: %v", took, old.Ended)
		}
	})
}

// What was not stored is not acknowledged: Slack shows it as failed. When it
// comes again it is done.
func TestUnstoredIsNotAcknowledged(t *testing.T) {
	plugIn(t, func(t *testing.T, p *plugged) {
		p.take = func(context.Context, Kind, []byte) (any, error) { return nil, errors.New("the store is away") }
		c := p.slack.Next(t)
		c.Envelope("e1", "interactive", `{}`)
		time.Sleep(20 * time.Second)
		if len(p.seen()) != 1 || len(c.Acks) != 0 {
			t.Fatalf("taken %q, acknowledged %d", p.seen(), len(c.Acks))
		}
		p.mu.Lock()
		p.take = func(context.Context, Kind, []byte) (any, error) {
			return map[string]string{"response_action": "clear"}, nil
		}
		p.mu.Unlock()
		c.Envelope("e1", "interactive", `{}`)
		if ack := c.Acked(t); ack.ID != "e1" || string(ack.Payload) != `{"response_action":"clear"}` {
			t.Errorf("acknowledged %s %s", ack.ID, ack.Payload)
		}
	})
}

// The same thing over both connections is done once, and acknowledged on both
// when it is stored, not before.
func TestTwiceIsOnce(t *testing.T) {
	plugIn(t, func(t *testing.T, p *plugged) {
		p.take = func(context.Context, Kind, []byte) (any, error) {
			time.Sleep(time.Second)
			return "stored", nil
		}
		a, b := p.slack.Next(t), p.slack.Next(t)
		a.Envelope("e1", "interactive", `{}`)
		b.Envelope("e1", "interactive", `{}`)
		time.Sleep(900 * time.Millisecond)
		if len(a.Acks)+len(b.Acks) != 0 {
			t.Error("acknowledged before it was stored")
		}
		for _, c := range []*testbench.SlackConn{a, b} {
			if ack := c.Acked(t); string(ack.Payload) != `"stored"` {
				t.Errorf("acknowledged %s", ack.Payload)
			}
		}
		time.Sleep(10 * time.Minute)
		a.Envelope("e2", "interactive", `{}`)
		a.Acked(t)
		if len(p.seen()) != 2 || len(p.taking.recent) != 1 {
			t.Errorf("taken %q, remembered %d", p.seen(), len(p.taking.recent))
		}
	})
}

// Slack drops long answers without a word, and then shows the press as failed.
func TestALongAnswerIsLeftOut(t *testing.T) {
	plugIn(t, func(t *testing.T, p *plugged) {
		p.take = func(context.Context, Kind, []byte) (any, error) { return strings.Repeat("x", maxAnswer), nil }
		c := p.slack.Next(t)
		c.Envelope("e1", "slash_commands", `{}`)
		if ack := c.Acked(t); ack.ID != "e1" || len(ack.Payload) != 0 {
			t.Errorf("acknowledged %.100v", ack)
		}
	})
}

// However Slack refuses, it is not asked more often than it allows.
func TestOpeningIsLimited(t *testing.T) {
	for name, trouble := range map[string]struct {
		most int // in ten minutes
		do   func(c *testbench.SlackConn)
	}{
		"too many websockets":  {24, func(c *testbench.SlackConn) { c.Hello(); c.Disconnect("too_many_websockets") }},
		"cut at once":          {70, func(c *testbench.SlackConn) { c.Close() }},
		"greeted and cut":      {70, func(c *testbench.SlackConn) { c.Hello(); c.Close() }},
		"renewed at once":      {130, func(c *testbench.SlackConn) { c.Hello(); c.Disconnect("refresh_requested"); c.Close() }},
		"link disabled":        {6, func(c *testbench.SlackConn) { c.Hello(); c.Disconnect("link_disabled") }},
		"nobody greets":        {70, func(*testbench.SlackConn) {}},
		"a frame without end":  {70, func(c *testbench.SlackConn) { c.Send(strings.Repeat("x", maxFrame+1)) }},
		"answers no ping":      {40, func(c *testbench.SlackConn) { c.Hello(); c.Deafen() }},
		"too many, ungreeting": {24, func(c *testbench.SlackConn) { c.Disconnect("too_many_websockets") }},
	} {
		t.Run(name, func(t *testing.T) {
			plugIn(t, func(t *testing.T, p *plugged) {
				for end := time.After(10 * time.Minute); ; {
					select {
					case c := <-p.slack.Conns:
						go trouble.do(c)
						continue
					case <-end:
					}
					break
				}
				opens := p.slack.Opens()
				if len(opens) > trouble.most || len(opens) < 3 {
					t.Errorf("%d connections were opened, want 3 to %d", len(opens), trouble.most)
				}
				for i := openBurst; i < len(opens); i++ {
					if d := opens[i].Sub(opens[i-openBurst]); d < openEvery-time.Second/10 {
						t.Errorf("%d connections were opened within %s", openBurst+1, d)
					}
				}
			})
		})
	}
}

// The team that looks after callchain hears once that nothing comes in, and when
// the token is mended nobody has to wait.
func TestDeaf(t *testing.T) {
	plugIn(t, func(t *testing.T, p *plugged) {
		p.slack.Refuse(func(token string) string {
			if token == "xapp-1-secret" {
				return `{"ok":false,"error":"invalid_auth"}`
			}
			return ""
		})
		time.Sleep(deafAfter - time.Second)
		if told := p.told(); len(told) != 0 {
			t.Errorf("told too early: %q", told)
		}
		time.Sleep(time.Hour)
		told := p.told()
		if len(told) != 1 || !strings.HasPrefix(told[0], "after 1m0s: opening a socket: invalid_auth: the app token is not valid; put a valid one") {
			t.Errorf("told %q", told)
		}
		p.setToken("xapp-2-good")
		began := time.Now()
		p.slack.Next(t)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the new token was tried after %s", took)
		}
		time.Sleep(2 * time.Second)
		if p.Up() != 1 || !strings.Contains(p.logged(), "buttons work again") {
			t.Errorf("%d up; log:\n%s", p.Up(), p.logged())
		}
	})
}

// Only a person can switch Socket Mode on again: they are told at once.
func TestLinkDisabled(t *testing.T) {
	plugIn(t, func(t *testing.T, p *plugged) {
		a, b := p.slack.Next(t), p.slack.Next(t)
		a.Disconnect("link_disabled")
		<-a.Gone
		time.Sleep(2 * time.Second)
		if told := p.told(); len(told) != 0 {
			t.Errorf("told while the other one is up: %q", told)
		}
		b.Disconnect("link_disabled")
		<-b.Gone
		time.Sleep(3 * time.Second)
		if told := p.told(); len(told) != 1 || !strings.Contains(told[0], "switched off in the app's settings") {
			t.Errorf("told %q", told)
		}
		c := p.slack.Next(t) // a person came
		time.Sleep(2 * time.Second)
		if p.Up() != 1 {
			t.Errorf("%d sockets are up", p.Up())
		}
		// What was wrong then is not what is wrong now.
		c.Disconnect("warning")
		c.Close()
		time.Sleep(5 * time.Second)
		if told := p.told(); p.Up() != 0 || len(told) != 1 {
			t.Errorf("%d up, told %q", p.Up(), told)
		}
	})
}

// The address of a connection is as good as a password: it is not told, here to
// the log, which is searched at the end.
func TestRefusedAddress(t *testing.T) {
	plugIn(t, func(t *testing.T, p *plugged) {
		p.slack.Refuse(func(string) string { return `{"ok":true,"url":"ws://slack.test/nowhere/?ticket=secret"}` })
		time.Sleep(2 * time.Minute)
		if told := p.told(); len(told) != 1 || !strings.Contains(told[0], "bad handshake (404 Not Found)") {
			t.Errorf("told %q", told)
		}
	})
}

// A frame that is larger than any of Slack's ends the connection, not callchain.
func TestGiantFrame(t *testing.T) {
	plugIn(t, func(t *testing.T, p *plugged) {
		c := p.slack.Next(t)
		c.Envelope("e1", "interactive", `"`+strings.Repeat("x", maxFrame)+`"`)
		<-c.Gone
		if c.Ended == nil || c.Ended.Code != 1009 || len(p.seen()) != 0 {
			t.Errorf("ended %v, taken %d", c.Ended, len(p.seen()))
		}
		p.slack.Next(t)
	})
}

// What cannot be read changes nothing, and what can be is done after it.
func TestGarbage(t *testing.T) {
	plugIn(t, func(t *testing.T, p *plugged) {
		c := p.slack.Next(t)
		for _, frame := range []string{
			"", "{", "[]", "null", "17", `"x"`, `{}`, `{"type":17}`, `{"type":"hello"}`, `{"type":"new thing"}`, "\x00\xff",
			`{"type":"interactive","payload":{}}`, `{"envelope_id":"","type":"interactive"}`, strings.Repeat("[", 100_000),
		} {
			c.Send(frame)
		}
		if len(p.seen()) != 0 {
			t.Errorf("taken: %q", p.seen())
		}
		c.Send(`{"envelope_id":"e1","type":"interactive"}`) // without a payload
		c.Acked(t)
		c.Envelope("e2", "new_kind", `{}`)
		c.Acked(t)
		if len(p.seen()) != 2 || p.Up() != 1 || len(p.slack.Opens()) != 1 {
			t.Errorf("taken %q, %d up", p.seen(), p.Up())
		}
	})
}

// A changed token file: connections with the new token take the place of the old
// ones, which are read on; no token: all end at once.
func TestTokenFileChanges(t *testing.T) {
	plugIn(t, func(t *testing.T, p *plugged) {
		a, b := p.slack.Next(t), p.slack.Next(t)
		p.setToken("xapp-2-new")
		for range sockets {
			if c := p.slack.Next(t); c.Token != "xapp-2-new" {
				t.Errorf("opened with %q", c.Token)
			}
		}
		a.Envelope("e1", "interactive", `{}`)
		a.Acked(t)
		<-a.Gone
		<-b.Gone
		synctest.Wait()
		if p.Up() != sockets {
			t.Errorf("%d are up, want %d", p.Up(), sockets)
		}
		p.setToken("")
		time.Sleep(2 * time.Second)
		if p.Up() != 0 {
			t.Errorf("%d are up without a token", p.Up())
		}
		time.Sleep(time.Hour)
		if len(p.slack.Opens()) != 4 || len(p.told()) != 0 {
			t.Errorf("opened %d, told %q", len(p.slack.Opens()), p.told())
		}
		p.setToken("xapp-3-again")
		p.slack.Next(t)
	})
}

// At the end what came in is done and acknowledged; what comes later is left to
// another replica, or shown as failed.
func TestStop(t *testing.T) {
	plugIn(t, func(t *testing.T, p *plugged) {
		p.take = func(context.Context, Kind, []byte) (any, error) {
			time.Sleep(2 * time.Second)
			return nil, nil
		}
		a, b := p.slack.Next(t), p.slack.Next(t)
		a.Envelope("e1", "interactive", `{}`)
		synctest.Wait()
		p.cancel()
		synctest.Wait()
		a.Envelope("e2", "interactive", `{}`)
		if ack := a.Acked(t); ack.ID != "e1" {
			t.Errorf("acknowledged %+v", ack)
		}
		<-p.done
		<-a.Gone
		<-b.Gone
		if len(p.seen()) != 1 || len(a.Acks) != 0 || a.Ended == nil || a.Ended.Code != 1000 {
			t.Errorf("taken %q, more acknowledged %d, ended %v", p.seen(), len(a.Acks), a.Ended)
		}
	})
}

// A connection that is silently dead is replaced.
func TestSilentConnection(t *testing.T) {
	plugIn(t, func(t *testing.T, p *plugged) {
		c := p.slack.Next(t)
		p.slack.Next(t)
		time.Sleep(time.Hour) // pings keep both alive
		if len(p.slack.Opens()) != 2 || p.Up() != 2 {
			t.Fatalf("%d opened, %d up", len(p.slack.Opens()), p.Up())
		}
		c.Deafen()
		began := time.Now()
		<-c.Gone
		if took := time.Since(began); took > silentFor+pingEvery {
			t.Errorf("noticed after %s", took)
		}
		p.slack.Next(t)
	})
}

// Each seat of a busy connection is bounded, and everything is done in the end.
func TestManyAtOnce(t *testing.T) {
	plugIn(t, func(t *testing.T, p *plugged) {
		var now, most int
		p.take = func(context.Context, Kind, []byte) (any, error) {
			p.mu.Lock()
			now++
			most = max(most, now)
			p.mu.Unlock()
			time.Sleep(100 * time.Millisecond)
			p.mu.Lock()
			now--
			p.mu.Unlock()
			return nil, nil
		}
		c := p.slack.Next(t)
		const all = 3 * maxTaking
		go func() {
			for i := range all {
				c.Envelope(fmt.Sprint(i), "interactive", `{}`)
			}
		}()
		for range all {
			c.Acked(t)
		}
		if most > maxTaking || len(p.seen()) != all {
			t.Errorf("%d at once, %d in all", most, len(p.seen()))
		}
	})
}

func TestMaySocket(t *testing.T) {
	const real, gateway = "https://slack.com/api/", "http://gateway.test:8080/api/"
	for _, c := range []struct {
		to, api string
		may     bool
	}{
		{"wss://wss-primary.slack.com/link/?ticket=1&app_id=2", real, true},
		{"wss://anywhere.test/", gateway, true},
		{"ws://wss-primary.slack.com/link/", real, false},
		{"ws://127.0.0.1/", real, false},
		{"ws://gateway.test:9090/x", gateway, true},
		{"ws://127.0.0.1:1/x", gateway, true},
		{"ws://[::1]:1/x", gateway, true},
		{"ws://localhost:1/x", gateway, true},
		{"ws://elsewhere.test/x", gateway, false},
		{"http://gateway.test/", gateway, false},
		{"https://slack.com/", real, false},
		{"wss://", real, false},
		{"://", real, false},
		{"/link", real, false},
	} {
		err := maySocket(c.to, c.api)
		if (err == nil) != c.may {
			t.Errorf("%s by %s: %v", c.to, c.api, err)
		}
		if err != nil && strings.Contains(err.Error(), "link") {
			t.Errorf("the error has the address in it: %v", err)
		}
	}
}

// A rehearsal tells whether sockets could be opened, over a real network, and
// takes nothing.
func TestRehearse(t *testing.T) {
	slack := testbench.NewSlackSocket()
	server := httptest.NewServer(slack)
	t.Cleanup(server.Close)
	if err := Rehearse(t.Context(), server.URL+"/api/", "xoxb-wrong-kind"); err == nil || !strings.Contains(err.Error(), "another kind of token") {
		t.Errorf("a bot token: %v", err)
	}
	for name, tc := range map[string]struct {
		do   func(*testbench.SlackConn)
		want string
	}{
		"greeted": {func(c *testbench.SlackConn) {
			c.Envelope("e1", "interactive", `{}`)
			c.Hello()
		}, ""},
		"switched off": {func(c *testbench.SlackConn) { c.Disconnect("link_disabled") }, "switched off in the app's settings"},
		"too many":     {func(c *testbench.SlackConn) { c.Disconnect("too_many_websockets") }, "too many connections"},
		"sent away":    {func(c *testbench.SlackConn) { c.Disconnect("warning") }, "before it greets"},
		"cut":          {func(c *testbench.SlackConn) { c.Close() }, "the connection broke"},
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan error)
			go func() { done <- Rehearse(t.Context(), server.URL, "xapp-1") }()
			c := <-slack.Conns
			tc.do(c)
			err := <-done
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			<-c.Gone
			if len(c.Acks) != 0 {
				t.Error("something was acknowledged")
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-slack.Conns // never greeted
		cancel()
	}()
	if err := Rehearse(ctx, server.URL, "xapp-1"); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}
