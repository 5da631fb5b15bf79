package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"callchain/notifiers"
)

// provider is Slack or a smarthost: what stands at the other end of all lines.
type provider struct {
	w       *world
	name    string
	outages []span // under w.mu, as planned so far
	posts   map[string][]post
	n       int
}

// post is a message that was accepted, not an edit of one.
type post struct {
	at      time.Time
	attempt *attempt
	ref     notifiers.Ref
}

func newProvider(w *world, name string) *provider {
	return &provider{w: w, name: name, posts: map[string][]post{}}
}

// answer is what becomes of a request at the instant at which it arrives. hang
// tells that the answer never comes: the caller waits until its time is over.
func (v *provider) answer(r *rand.Rand, p *process, msg notifiers.Message, a *attempt, loud float64) (res notifiers.Result, hang bool) {
	w := v.w
	w.mu.Lock()
	defer w.mu.Unlock()
	bad := func(verdict notifiers.Verdict, why string) notifiers.Result {
		w.disturb(v.name, w.now(), w.now())
		w.event("%s: %s attempt %d of %s by %s: %s", v.name, msg.Kind, msg.Attempt, msg.ID, p.id, why)
		return notifiers.Result{Verdict: verdict, Err: errors.New(why)}
	}
	// Whoever waits for an answer waits as long as an attempt may take.
	silence := func(why string) notifiers.Result {
		w.disturb(v.name, w.now(), w.now().Add(37*time.Second))
		return bad(notifiers.Ambiguous, why)
	}
	if o, away := in(v.outages, w.now()); away {
		switch o.from.UnixNano() % 3 { // each outage has its own way
		case 0:
			return bad(notifiers.Down, "account_inactive"), false
		case 1:
			return bad(notifiers.Retry, "connection refused"), false
		default:
			return silence("no answer"), true
		}
	}
	if msg.You != nil && msg.Kind == notifiers.Page && w.deaf[v.name+" "+msg.You.Handle] {
		w.event("%s: %s of %s refused: no such address", v.name, msg.Kind, msg.ID)
		return notifiers.Result{Verdict: notifiers.Refused, Err: errors.New("no such address")}, false
	}
	if w.lookup && v.name == "slack" && !msg.Edit && msg.Attempt > 1 && len(v.posts[msg.ID]) > 0 {
		w.event("%s: %s is there already", v.name, msg.ID)
		return notifiers.Result{Ref: v.posts[msg.ID][0].ref}, false
	}
	lost := false
	if dice := r.Float64(); dice < loud {
		switch int(dice / loud * 5) {
		case 0:
			return bad(notifiers.Retry, "dial: refused"), false
		case 1:
			return bad(notifiers.Ambiguous, "502"), false
		case 2:
			res := bad(notifiers.Retry, "rate limited")
			res.After = between(r, time.Second, 40*time.Second)
			w.disturb(v.name, w.now(), w.now().Add(res.After))
			return res, false
		case 3:
			return silence("no answer, not taken"), true
		default:
			lost = true
		}
	}
	v.n++
	ref := msg.Ref
	if !msg.Edit {
		ref = notifiers.Ref{Channel: "C" + msg.Address, TS: fmt.Sprint(v.n)}
	}
	w.event("%s: takes %s %s attempt %d edit %v by %s rev %d %s", v.name, msg.Kind, msg.ID, msg.Attempt, msg.Edit, p.id, msg.Incident.Revision, msg.Incident.State)
	w.accepted(v, post{w.now(), a, ref}, msg)
	if lost {
		return silence("taken, but no answer"), r.IntN(2) == 0
	}
	return notifiers.Result{Ref: ref}, false
}
