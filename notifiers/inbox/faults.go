package inbox

import (
	"net/http"
	"strconv"
	"time"
)

// Fault is what happens to a call instead of what should. The first of these
// that is set counts.
type Fault struct {
	Hang       bool          // no answer until the caller gives up; nothing is done
	Cut        bool          // the call is carried out, then the connection is cut instead of answering
	Status     int           // this HTTP status
	RetryAfter time.Duration // with Status: the header of this name, in whole seconds
	Err        string        // 200 with ok:false and this error
}

type fault struct {
	method string
	left   int
	Fault
}

// Fail makes the next n calls of a method fail; method "" is any.
func (s *Slack) Fail(method string, n int, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > 0 && len(s.faults) < maxFaults {
		s.faults = append(s.faults, &fault{method: method, left: n, Fault: f})
	}
}

// Heal takes back every fault that has not happened yet.
func (s *Slack) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// fault takes the next fault planned for a method.
func (s *Slack) fault(method string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.method != "" && f.method != method {
			continue
		}
		if f.left--; f.left == 0 {
			s.faults = append(s.faults[:i], s.faults[i+1:]...)
		}
		return f.Fault, true
	}
	return Fault{}, false
}

// happen answers a call with a fault; false: the call goes on as usual.
func (f Fault) happen(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case f.Hang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case f.Cut:
		return false
	case f.Status != 0:
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(f.RetryAfter.Seconds())))
		}
		http.Error(w, http.StatusText(f.Status), f.Status)
		return true
	case f.Err != "":
		reply(w, refusal{code: f.Err}.answer())
		return true
	}
	return false
}
