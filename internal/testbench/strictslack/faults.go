package strictslack

import (
	"io"
	"net/http"
)

// Fault is one thing that goes wrong with a call.
type Fault struct {
	Accept bool   // the call is carried out before it goes wrong
	Hang   bool   // no answer comes, until the caller gives up
	Cut    bool   // the connection is cut
	Status int    // this HTTP status is answered …
	Retry  string // … with this Retry-After; "": none
	Body   string // … and this body
	Code   string // Slack's error code is answered
}

// The faults that a Slack, or what is between us and it, has.
var (
	HangBefore = Fault{Hang: true}
	HangAfter  = Fault{Hang: true, Accept: true}
	CutBefore  = Fault{Cut: true}
	CutAfter   = Fault{Cut: true, Accept: true}
	HTML       = Fault{Status: 200, Body: "<!doctype html><title>Proxy</title>"}
	HTMLAfter  = Fault{Status: 200, Body: "<!doctype html><title>Proxy</title>", Accept: true}
	Empty      = Fault{Status: 200, Body: `{}`}
	OKFalse    = Fault{Status: 200, Body: `{"ok":false}`}
	NoTS       = Fault{Status: 200, Body: `{"ok":true,"channel":"C0"}`}
	CutJSON    = Fault{Status: 200, Body: `{"ok":true,"chan`, Accept: true}

	Limited         = Fault{Status: 429, Retry: "7", Body: `{"ok":false,"error":"ratelimited"}`}
	LimitedNoHeader = Fault{Status: 429}
	LimitedNonsense = Fault{Status: 429, Retry: "soon"}
	LimitedInBody   = Fault{Code: "ratelimited"}
)

// Status5xx is an HTTP error before the call is carried out.
func Status5xx(code int) Fault { return Fault{Status: code, Body: "<html>"} }

// Status5xxAfter is an HTTP error after it.
func Status5xxAfter(code int) Fault { return Fault{Status: code, Body: "<html>", Accept: true} }

// Fails answers one of Slack's error codes.
func Fails(code string) Fault { return Fault{Code: code} }

// Fault lets the next calls of a method go wrong, one each; "*" is any method.
func (s *Slack) Fault(method string, faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[method] = append(s.faults[method], faults...)
}

// Always lets every call of a method go wrong, until Heal; "*" is any method.
func (s *Slack) Always(method string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.always[method] = f
}

// Heal ends the faults.
func (s *Slack) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
	clear(s.always)
}

// fault takes the next fault of a method; the caller holds mu.
func (s *Slack) fault(method string) Fault {
	for _, key := range []string{method, "*"} {
		if row := s.faults[key]; len(row) > 0 {
			s.faults[key] = row[1:]
			return row[0]
		}
	}
	if f, ok := s.always[method]; ok {
		return f
	}
	return s.always["*"]
}

// breaks tells that the caller gets no answer of the method's.
func (f Fault) breaks() bool { return f.Hang || f.Cut || f.Status != 0 }

func (f Fault) happen(w http.ResponseWriter, r *http.Request) {
	switch {
	case f.Hang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case f.Cut:
		panic(http.ErrAbortHandler)
	}
	if f.Retry != "" {
		w.Header().Set("Retry-After", f.Retry)
	}
	w.WriteHeader(f.Status)
	_, _ = io.WriteString(w, f.Body)
}
