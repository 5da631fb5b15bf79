package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"callchain/escalation/engine"
	"callchain/internal/fault"
	"callchain/routing"
)

// webhook takes what Alertmanager sends. Alertmanager retries 5xx only, and
// comes back with a 4xx at every group_interval for ever: so 4xx is for what
// will never be right, 503 for everything that may be later.
func (s *Server) webhook(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("source")
	v := s.current()
	src, known := v.sources[name]
	label := unknownSource
	if known {
		label = name
	}
	f := s.takeWebhook(w, r, v, name, src, known, label)
	code := http.StatusOK
	if f != nil {
		code = f.status
	}
	s.metrics.webhooks.WithLabelValues(label, strconv.Itoa(code)).Inc()
	if f == nil {
		s.metrics.last.WithLabelValues(label).SetToCurrentTime()
		text(w, http.StatusOK, "stored")
		return
	}
	switch {
	case f.status >= 500:
		s.log.Warn("webhook not stored", "source", label, "err", f)
	case f.status == http.StatusUnauthorized || f.status == http.StatusNotFound:
		// Whoever wonders at night why no alert arrives looks here.
		s.log.Warn("webhook refused", "source", label, "code", f.status, "err", f.detail)
	}
	refuse(w, r, f.status, f.code, f.detail)
}

func (s *Server) takeWebhook(w http.ResponseWriter, r *http.Request, v *view, name string, src source, known bool, label string) *failure {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return &failure{status: http.StatusMethodNotAllowed, detail: "use POST"}
	}
	if !known {
		return &failure{status: http.StatusNotFound, detail: "no source of alertmanager.sources has this name"}
	}
	if src.secret != nil {
		ok, err := src.secret.Matches(bearer(r))
		switch {
		case err != nil:
			return &failure{status: http.StatusServiceUnavailable, detail: "the token cannot be checked now", cause: err}
		case !ok:
			return &failure{status: http.StatusUnauthorized, detail: "the bearer token is missing or wrong for this source"}
		}
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return s.unreadable(v, name, http.StatusBadRequest, "Content-Encoding is not understood here; send the body as it is")
	}
	if !s.lanes.webhook.enter(r.Context(), laneWithin) {
		return &failure{status: http.StatusServiceUnavailable, detail: "too many webhooks at once; try again"}
	}
	defer s.lanes.webhook.leave()
	body, release, err := s.bodies.read(r.Body, r.ContentLength)
	defer release()
	tooLarge := (*http.MaxBytesError)(nil)
	switch {
	case errors.As(err, &tooLarge):
		return s.unreadable(v, name, http.StatusRequestEntityTooLarge, "the webhook is larger than 64 MiB; set max_alerts in the receiver's webhook_configs")
	case errors.Is(err, errBusy):
		return &failure{status: http.StatusServiceUnavailable, detail: "too much is being taken in right now; try again"}
	case err != nil:
		// The sender or the network broke off: nothing is known about the body.
		return &failure{status: http.StatusServiceUnavailable, detail: "the body could not be read to its end; try again", cause: err}
	}
	if !s.lanes.work.enter(r.Context(), storeWithin) {
		return &failure{status: http.StatusServiceUnavailable, detail: "too many webhooks at once; try again"}
	}
	defer s.lanes.work.leave()
	if len(body) > large {
		if !s.lanes.large.enter(r.Context(), storeWithin) {
			return &failure{status: http.StatusServiceUnavailable, detail: "other large webhooks are being taken in right now; try again"}
		}
		defer s.lanes.large.leave()
	}
	hook, err := routing.Decode(body)
	if err != nil {
		return s.unreadable(v, name, http.StatusBadRequest, err.Error())
	}
	// A sender that hangs up must not stop a commit half-way: it would only
	// come back with the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), storeWithin)
	defer cancel()
	fault.Here("ingest.parsed")
	err = s.engine.Webhook(ctx, name, hook)
	fault.Here("respond.before")
	if err != nil {
		return &failure{status: http.StatusServiceUnavailable, detail: "not stored; try again", cause: err}
	}
	for _, a := range hook.Alerts {
		status := "resolved"
		if a.Firing {
			status = "firing"
		}
		s.metrics.alerts.WithLabelValues(label, status).Inc()
	}
	return nil
}

// unreadable is the answer to a webhook that will never be read. People are
// told: its alerts page nobody.
func (s *Server) unreadable(v *view, name string, status int, detail string) *failure {
	hour := time.Now().UTC().Format("2006-01-02T15")
	if s.told.first(name, hour) {
		s.later(func(ctx context.Context) {
			err := s.engine.Notice(ctx, engine.Notice{
				Key:   "bad-webhook:" + name + ":" + hour,
				Team:  v.Config.Routing.FallbackTeam.V,
				Title: fmt.Sprintf("Alerts of Alertmanager %q do not arrive", name),
				Body: fmt.Sprintf("callchain refused a webhook of source %q (HTTP %d): %s. "+
					"Nobody is paged for what was in it. Look at the receiver's webhook_configs in Alertmanager.", name, status, detail),
				BoardOnly: true,
			})
			if err != nil {
				s.told.forget(name)
				s.log.Error("notice of an unreadable webhook not stored", "source", name, "err", err)
			}
		})
	}
	s.log.Warn("webhook refused", "source", name, "code", status, "err", detail)
	return &failure{status: status, detail: detail}
}

// notices remembers for which hour the team was told of a source.
type notices struct {
	mu   sync.Mutex
	hour map[string]string
}

func (n *notices) first(name, hour string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hour == nil {
		n.hour = map[string]string{}
	}
	if n.hour[name] == hour {
		return false
	}
	n.hour[name] = hour
	return true
}

func (n *notices) forget(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.hour, name)
}

var errBusy = errors.New("too many bytes in flight")

// budget bounds the bytes of bodies that are held at one time.
type budget struct {
	mu   sync.Mutex
	free int64
}

func (b *budget) take(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.free {
		return false
	}
	b.free -= n
	return true
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += n
}

// slice is what a body takes at a time, as it arrives: what a sender only announces
// keeps nobody else out.
const slice = 64 << 10

// read reads a body whose length is known or -1. What it holds is given back
// by release, which is never nil.
func (b *budget) read(r io.Reader, length int64) (body []byte, release func(), err error) {
	var held int64
	release = func() { b.give(held) }
	if length > maxWebhook {
		return nil, release, overLimit(r)
	}
	var buf bytes.Buffer
	if length >= 0 {
		buf.Grow(int(min(length+bytes.MinRead, slice)))
	}
	for {
		next := int64(slice)
		if length >= 0 {
			next = min(next, length-held)
		}
		if !b.take(next) {
			return nil, release, errBusy
		}
		held += next
		_, err := io.CopyN(&buf, r, slice)
		switch {
		case buf.Len() > maxWebhook:
			buf = bytes.Buffer{}
			return nil, release, overLimit(r)
		case errors.Is(err, io.EOF):
			return buf.Bytes(), release, nil
		case err != nil:
			return nil, release, fmt.Errorf("read webhook after %d bytes: %w", buf.Len(), err)
		}
	}
}

// overLimit reads on for a while, holding nothing: many senders look for the
// answer only when they have sent everything.
func overLimit(r io.Reader) error {
	_, _ = io.Copy(io.Discard, r) // it ends at the limit of the connection
	return &http.MaxBytesError{Limit: maxWebhook}
}
