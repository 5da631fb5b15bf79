package server

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// lane is a share of the requests that are handled at once. Those of one lane
// never wait for those of another: however many webhooks come, an acknowledgement
// finds its own lane free.
type lane chan struct{}

// How wide the lanes are. All of them together are fewer than connections, so that
// there is always room for another one to be let in, at least to be refused.
const (
	webhookLane = 2048
	pressLane   = 256 // each of Slack's callbacks, mails' links and actions of the API
	otherLane   = 256 // pages, lists, reports
	machineLane = 32  // readiness, metrics, reload
	// workLane is for webhooks that are complete: a storm that waits here leaves the
	// processors to those whose turn it is, and to presses.
	workLane = 32
	// largeLane is for webhooks of more than large bytes: decoded they take up to
	// twenty times the memory of their bodies.
	largeLane = 2
	large     = 256 << 10

	laneWithin = time.Second // how long a request waits for its lane
)

type lanes struct{ webhook, work, large, slack, link, act, machine, other lane }

func newLanes() lanes {
	return lanes{
		webhook: make(lane, webhookLane), work: make(lane, workLane), large: make(lane, largeLane),
		slack: make(lane, pressLane), link: make(lane, pressLane), act: make(lane, pressLane),
		machine: make(lane, machineLane), other: make(lane, otherLane),
	}
}

// of is the lane of a request; nil for what needs none, and for webhooks, which
// have to show their token first.
func (l *lanes) of(r *http.Request) lane {
	switch p := r.URL.Path; {
	case p == "/-/healthy" || isWebhook(r):
		return nil
	case strings.HasPrefix(p, "/slack/"):
		return l.slack
	case strings.HasPrefix(p, "/ack/"):
		return l.link
	case r.Method == http.MethodPost && strings.HasPrefix(p, "/api/v1/incidents/"):
		return l.act
	case strings.HasPrefix(p, "/-/") || p == "/metrics":
		return l.machine
	}
	return l.other
}

// enter waits for a place, and tells whether there was one.
func (l lane) enter(ctx context.Context, within time.Duration) bool {
	select {
	case l <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case l <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (l lane) leave() { <-l }

// crowded refuses a request whose lane is full. What is left of its body is not
// waited for: the connection is worth more.
func crowded(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now())
	refuse(w, r, http.StatusServiceUnavailable, "busy", "too many requests of this kind at once; try again")
}
