package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/notifiers/slack"
	"callchain/routing"
	"callchain/routing/report"
)

// Bounds of what is taken in.
const (
	maxWebhook  = 64 << 20  // bytes of one webhook
	maxRest     = 64 << 20  // bytes of a webhook that is too large, read so that its sender sees the answer
	maxInFlight = 256 << 20 // bytes of all webhooks that are being handled
	maxBody     = 1 << 20   // bytes of everything else
)

// How long a door waits for the engine.
const (
	storeWithin = 5 * time.Second
	slackWithin = 2500 * time.Millisecond // Slack shows an error after three seconds
	askWithin   = time.Second             // of it, for asking Slack who pressed
	afterwards  = 5 * time.Second         // for what follows an answer
)

// Engine is what the doors lead to: *engine.Engine.
type Engine interface {
	// Webhook is durable when it returns nil.
	Webhook(ctx context.Context, source string, w routing.Webhook) error
	// Do takes an incident through what a person did; what it answers is stored.
	Do(ctx context.Context, id string, ev escalation.Event) (escalation.Incident, escalation.Answer, error)
	Incident(ctx context.Context, id string) (escalation.Incident, error)
	Incidents(ctx context.Context, f engine.Filter) (list []escalation.Incident, next string, err error)
	TestPage(ctx context.Context, person string, by escalation.Actor) (escalation.Incident, error)
	// Drill pages through the real chain of a target.
	Drill(ctx context.Context, target routing.Target, urgency config.Urgency, by escalation.Actor, atNight bool) (escalation.Incident, error)
	// PageByHand pages through the chain of a target because by says so; the same
	// key within a day is the same page.
	PageByHand(ctx context.Context, target routing.Target, urgency config.Urgency, text string, by escalation.Actor, key string) (escalation.Incident, error)
	Notice(ctx context.Context, n engine.Notice) error
	// RiskFacts are what is recorded from one day to another, both included, and
	// the facts of earlier days that got a risk on one of these.
	RiskFacts(ctx context.Context, fromDay, toDay string) ([]report.Facts, error)
	Ready(ctx context.Context) error
	// Snapshot is the configuration in force; the same pointer while it is.
	Snapshot() *engine.Snapshot
	Now() time.Time
}

// Slack is the Slack app, as far as answering a press needs it.
type Slack interface {
	// Respond says something to the presser alone; takeOver is the value of a
	// button that offers to take the incident over, "" without one.
	Respond(ctx context.Context, responseURL, text, takeOver string) error
	// User tells who a member is.
	User(ctx context.Context, member string) (slack.User, error)
	// OpenForm opens an empty modal for a press; FillForm draws a form into it,
	// or SayInForm says why there is none.
	OpenForm(ctx context.Context, trigger, action string) (view string, err error)
	FillForm(ctx context.Context, view string, f slack.Form) error
	SayInForm(ctx context.Context, view, action, said string) error
	// Home is where the app lives, as of the last Probe.
	Home() slack.Home
	Probe(ctx context.Context) error
}

// Deps is what the doors need.
type Deps struct {
	Engine   Engine
	Logger   *slog.Logger
	Registry *prometheus.Registry
	Version  string

	// Slack gives the app in force; nil, or giving nil: not configured.
	Slack func() Slack
	// Reload loads configuration and catalog anew; nil: not allowed over HTTP.
	Reload func(context.Context) error
	// Split tells that the public handler has an address of its own.
	Split bool
}

// Server holds the handlers.
type Server struct {
	Private http.Handler
	Public  http.Handler // without Split the same as Private

	deps    Deps
	engine  Engine
	log     *slog.Logger
	view    atomic.Pointer[view]
	bodies  budget
	lanes   lanes
	told    notices
	memory  *memory
	metrics metrics
	started time.Time
	after   sync.WaitGroup // work that goes on after an answer
}

// New builds the handlers. The engine must have a snapshot already.
func New(d Deps) *Server {
	s := &Server{deps: d, log: d.Logger, bodies: budget{free: maxInFlight}, lanes: newLanes(), memory: newMemory(d.Engine.RiskFacts), started: time.Now()}
	s.engine = remembered{d.Engine, s.memory}
	if s.deps.Slack == nil {
		s.deps.Slack = func() Slack { return nil }
	}
	s.metrics = newMetrics(d.Registry)
	s.metrics.zero(s.current())

	private, public := http.NewServeMux(), http.NewServeMux()
	open := public
	if !d.Split {
		open = private
	}
	open.Handle("/slack/interactions", methods{"POST": s.slackDoor(slack.KindInteraction)})
	open.Handle("/slack/commands", methods{"POST": s.slackDoor(slack.KindCommand)})
	open.Handle("/slack/events", methods{"POST": s.slackEvents})
	open.Handle("/ack/{token}", methods{"GET": s.ackPage, "POST": s.ackPress})
	open.Handle("/-/healthy", methods{"GET": s.healthy})

	private.Handle("/-/ready", methods{"GET": s.ready})
	private.Handle("/-/reload", methods{"POST": s.reload, "PUT": s.reload})
	private.Handle("/metrics", promhttp.HandlerFor(d.Registry, promhttp.HandlerOpts{Registry: d.Registry}))
	private.Handle("/api/v1/webhook/alertmanager/{source}", http.HandlerFunc(s.webhook))
	s.api(private)
	s.pages(private)

	s.Private = s.outer(private)
	s.Public = s.Private
	if d.Split {
		s.Public = s.outer(public)
	}
	return s
}

// Wait returns when the work that goes on after answers is done: what is said
// to a presser, the notice of a webhook that could not be read.
func (s *Server) Wait() { s.after.Wait() }

// later does work that must not delay the answer.
func (s *Server) later(f func(ctx context.Context)) {
	s.after.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				s.panicked(p, "work after an answer")
			}
		}()
		ctx, cancel := context.WithTimeout(context.Background(), afterwards)
		defer cancel()
		f(ctx)
	})
}

// methods is one path's handlers by method. HEAD is GET's.
type methods map[string]http.HandlerFunc

func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead && m[method] == nil {
		method = http.MethodGet
	}
	if h := m[method]; h != nil {
		h(w, r)
		return
	}
	var allow []string
	for name := range m {
		allow = append(allow, name)
		if name == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
	}
	sort.Strings(allow)
	w.Header().Set("Allow", strings.Join(allow, ", "))
	refuse(w, r, http.StatusMethodNotAllowed, "method_not_allowed", "use "+strings.Join(allow, " or "))
}

// outer is what every request passes.
func (s *Server) outer(mux *http.ServeMux) http.Handler {
	// Foreign pages must not make a browser act. What Alertmanager and Slack
	// send is signed or carries a token; the links in mails check for themselves.
	crossOrigin := http.NewCrossOriginProtection()
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, r, http.StatusForbidden, "cross_origin", "this came from a page of another site")
	})
	crossOrigin.SetDenyHandler(own)
	guarded := crossOrigin.Handler(mux)

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.rescue(w, r)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !plainPath(r.URL.EscapedPath()) {
			refuse(w, r, http.StatusNotFound, "not_found", "there is nothing at this address")
			return
		}
		if l := s.lanes.of(r); l != nil {
			if !l.enter(r.Context(), laneWithin) {
				crowded(w, r)
				return
			}
			defer l.leave()
		}
		limit := int64(maxBody)
		if isWebhook(r) {
			limit = maxWebhook + maxRest
		}
		if r.Body != nil {
			r.Body = http.MaxBytesReader(w, r.Body, limit)
		}
		if isWebhook(r) || strings.HasPrefix(r.URL.Path, "/slack/") || strings.HasPrefix(r.URL.Path, "/ack/") {
			mux.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// plainPath tells whether ServeMux would serve the path as it is. It answers
// other ones with a redirect, which Alertmanager follows and takes for a
// delivery: such a path is not found here.
func plainPath(p string) bool {
	return p == "/" || strings.HasPrefix(p, "/") && path.Clean(p) == p
}

func isWebhook(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/api/v1/webhook/") }

func (s *Server) rescue(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	s.panicked(p, r.Method+" "+shownPath(r))
	refuse(w, r, http.StatusInternalServerError, "internal", "callchain made a mistake here; its log says more")
}

func (s *Server) panicked(p any, what string) {
	s.metrics.panics.Inc()
	s.log.Error("handler panicked", "request", what, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
}

// shownPath is the path as it may be logged: the token of a mail's link acts
// as a person.
func shownPath(r *http.Request) string {
	if strings.HasPrefix(r.URL.Path, "/ack/") {
		return "/ack/…"
	}
	return r.URL.Path
}

func (s *Server) healthy(w http.ResponseWriter, _ *http.Request) {
	text(w, 200, "callchain is healthy.")
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), storeWithin)
	defer cancel()
	if err := s.engine.Ready(ctx); err != nil {
		text(w, http.StatusServiceUnavailable, "callchain is not ready: "+err.Error())
		return
	}
	text(w, 200, "callchain is ready.")
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	if s.deps.Reload == nil {
		text(w, http.StatusForbidden, "Lifecycle API is not enabled: start callchain with --web.enable-lifecycle.")
		return
	}
	if err := s.deps.Reload(r.Context()); err != nil {
		text(w, http.StatusInternalServerError, "not reloaded, the old configuration stays in force:\n"+err.Error())
		return
	}
	text(w, 200, "reloaded.")
}

func text(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, line)
}
