package strictslack

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
)

// RoundTripper carries requests to the workspace without a network, for tests in a
// synctest bubble: time passes only where somebody waits.
func (s *Slack) RoundTripper() http.RoundTripper { return wire{s} }

type wire struct{ s *Slack }

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.WroteHeaders != nil {
		trace.WroteHeaders()
	}
	rec := httptest.NewRecorder()
	cut := true
	func() {
		defer func() {
			p := recover()
			if err, ok := p.(error); p != nil && (!ok || !errors.Is(err, http.ErrAbortHandler)) {
				panic(p)
			}
		}()
		w.s.ServeHTTP(rec, r)
		cut = false
	}()
	if r.Body != nil {
		_ = r.Body.Close()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if cut {
		return nil, io.ErrUnexpectedEOF
	}
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}
