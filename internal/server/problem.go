package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"callchain/escalation/engine"
	"callchain/escalation/store"
)

// problem is an error as RFC 9457 wants it. Code tells programs which one.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
}

// failure is what a handler of the API returns instead of an answer.
type failure struct {
	status int
	code   string
	detail string
	cause  error // logged, not shown
}

func (f *failure) Error() string {
	if f.cause != nil {
		return f.detail + ": " + f.cause.Error()
	}
	return f.detail
}

func (f *failure) Unwrap() error { return f.cause }

func fail(status int, code, detail string) error {
	return &failure{status: status, code: code, detail: detail}
}

// unstored is the failure of whatever the engine could not do.
func unstored(err error) error {
	if errors.Is(err, engine.ErrNotFound) {
		return &failure{http.StatusNotFound, "not_found", "callchain knows no such incident: check the id; if it once was one, the store lost it, or it was closed long ago", err}
	}
	if errors.Is(err, engine.ErrNotKept) {
		return &failure{http.StatusServiceUnavailable, "store_away", "the store is away, so only an acknowledgement or a resolve can be recorded now; nothing changed, try again when it is back", err}
	}
	if errors.Is(err, store.ErrFull) {
		return &failure{http.StatusServiceUnavailable, "store_full", "the store is full: what is new is refused, acknowledgements still pass; give it more room", err}
	}
	return &failure{http.StatusServiceUnavailable, "store_unavailable", "the store did not answer in time; nothing is known to have changed, try again", err}
}

// answer maps what a handler returned to a response, once.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		return
	}
	f, ok := errors.AsType[*failure](err)
	if !ok {
		f = &failure{http.StatusInternalServerError, "internal", "callchain made a mistake here; its log says more", err}
	}
	if f.status >= 500 && f.status != http.StatusNotImplemented {
		s.log.Warn("request failed", "request", r.Method+" "+shownPath(r), "code", f.code, "err", err)
	}
	refuse(w, r, f.status, f.code, f.detail)
}

// refuse writes an error: problem details below /api/, a line of text elsewhere.
func refuse(w http.ResponseWriter, r *http.Request, status int, code, detail string) {
	switch status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "5")
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if !strings.HasPrefix(r.URL.Path, "/api/") || isWebhook(r) {
		text(w, status, detail)
		return
	}
	send(w, status, "application/problem+json", problem{"about:blank", http.StatusText(status), status, detail, code})
}

func send(w http.ResponseWriter, status int, kind string, v any) {
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(v); err != nil {
		panic(err) // our own types always encode
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(body.Bytes())
}
