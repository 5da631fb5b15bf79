package heartbeat

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// outside is the service that waits for the calls.
type outside struct {
	mu     sync.Mutex
	calls  []call
	answer func(*http.Request) (int, error) // nil: 200
}

type call struct {
	at  time.Time
	req *http.Request
}

func (o *outside) RoundTrip(req *http.Request) (*http.Response, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, call{time.Now(), req})
	code := http.StatusOK
	if o.answer != nil {
		var err error
		if code, err = o.answer(req); err != nil {
			return nil, err
		}
	}
	h := http.Header{"Location": {"https://elsewhere.example.org/"}}
	return &http.Response{StatusCode: code, Header: h, Body: io.NopCloser(strings.NewReader("OK")), Request: req}, nil
}

const secret = "https://hc.example.org/8f2c-uuid?rid=7"

// world is what a test changes.
type world struct {
	mu        sync.Mutex
	url       string
	able, err error
}

func (w *world) set(f func(*world)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w)
}

// logged is a log that is read while it is written.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func run(t *testing.T, w *world, o *outside) (h *Heart, log *logged) {
	log = &logged{}
	h = New(Config{
		URL:       func() (string, error) { w.mu.Lock(); defer w.mu.Unlock(); return w.url, w.err },
		Able:      func(context.Context) error { w.mu.Lock(); defer w.mu.Unlock(); return w.able },
		Transport: o, Version: "1.2.3", Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = h.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return h, log
}

func (o *outside) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.calls)
}

func TestEveryMinuteWhileAble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := &world{url: secret, able: errors.New("no channel works")}, &outside{}
		h, log := run(t, w, o)
		time.Sleep(10 * time.Minute)
		if n := o.count(); n > 0 {
			t.Fatalf("%d calls while nobody would be paged", n)
		}
		w.set(func(w *world) { w.able = nil })
		time.Sleep(10*time.Minute + time.Second)
		if n := o.count(); n < 10 || n > 11 {
			t.Errorf("%d calls in ten minutes", n)
		}
		synctest.Wait()
		for i, c := range o.calls {
			if c.req.Method != http.MethodGet || c.req.URL.String() != secret || c.req.Header.Get("User-Agent") != "callchain/1.2.3" {
				t.Errorf("call %d: %s %s", i, c.req.Method, c.req.URL)
			}
			if i > 0 && c.at.Sub(o.calls[i-1].at) != time.Minute {
				t.Errorf("call %d comes %v after the one before", i, c.at.Sub(o.calls[i-1].at))
			}
		}
		if testutil.ToFloat64(h.last) == 0 {
			t.Error("the last success is not told")
		}
		n := o.count()
		w.set(func(w *world) { w.able = errors.New("a timer has been due for 31s") })
		time.Sleep(5 * time.Minute)
		if o.count() != n {
			t.Error("called while a timer is overdue")
		}
		if lines := strings.Count(log.String(), "\n"); lines != 3 || !strings.Contains(log.String(), "no channel works") {
			t.Errorf("%d lines for withheld, sent, withheld:\n%s", lines, log)
		}
	})
}

func TestFailures(t *testing.T) {
	refused := errors.New("dial tcp: lookup hc.example.org: no such host, wanted /8f2c-uuid?rid=7")
	for _, test := range []struct {
		name string
		code int
		err  error
		want string
	}{
		{"no network", 0, refused, "no such host"},
		{"an error", 500, nil, "answered HTTP 500"},
		{"a redirect", 302, nil, "answered HTTP 302"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &outside{answer: func(*http.Request) (int, error) { return test.code, test.err }}
				h, log := run(t, &world{url: secret}, o)
				time.Sleep(time.Minute)
				if n := o.count(); n != 6 {
					t.Errorf("%d calls in a minute; want one every ten seconds", n)
				}
				if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), test.want) {
					t.Errorf("logged:\n%s", log)
				}
				for _, part := range []string{"8f2c", "hc.example.org", "rid"} {
					if strings.Contains(log.String(), part) {
						t.Errorf("the log has %q of the secret URL:\n%s", part, log)
					}
				}
				if testutil.ToFloat64(h.last) != 0 {
					t.Error("a failure passes for success")
				}
				o.mu.Lock()
				o.answer = nil
				o.mu.Unlock()
				time.Sleep(10 * time.Second)
				if testutil.ToFloat64(h.last) == 0 {
					t.Error("it does not recover")
				}
			})
		})
	}
}

// The URL is that of the configuration in force.
func TestURLChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := &world{}, &outside{}
		_, log := run(t, w, o)
		time.Sleep(time.Hour + time.Second) // never at the instant of a look
		if o.count() > 0 || log.String() != "" {
			t.Fatalf("nothing is configured: %d calls, log %q", o.count(), log)
		}
		w.set(func(w *world) { w.err = errors.New("no such file") })
		time.Sleep(time.Minute)
		if !strings.Contains(log.String(), "no such file") || o.count() > 0 {
			t.Errorf("log %q", log)
		}
		w.set(func(w *world) { w.url, w.err = secret+"2", nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := o.count(); n != 1 || o.calls[0].req.URL.String() != secret+"2" {
			t.Errorf("%d calls", n)
		}
	})
}
