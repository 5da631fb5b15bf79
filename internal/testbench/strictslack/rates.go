package strictslack

import (
	"math"
	"strconv"
	"sync"
	"time"
)

// Limits are rates. A call beyond one is answered 429 with the seconds to wait.
type Limits struct {
	Channel   Rate // chat.postMessage, in each conversation
	Workspace Rate // chat.postMessage, all together
	Methods   map[string]Rate
	Other     Rate // of each method that is not named
}

// Rate is a bucket: Burst at once, PerMinute in the long run.
type Rate struct{ Burst, PerMinute float64 }

// SlackLimits are Slack's documented rates; it does not say how many may come at once.
var SlackLimits = Limits{
	Channel:   Rate{Burst: 3, PerMinute: 60},
	Workspace: Rate{Burst: 30, PerMinute: 300},
	Methods: map[string]Rate{
		"chat.update": {20, 50}, "conversations.open": {20, 50}, "conversations.info": {20, 50}, "conversations.list": {10, 20},
		"conversations.history": {20, 50}, "conversations.replies": {20, 50}, "users.lookupByEmail": {20, 50}, "users.info": {30, 100},
		"users.list": {10, 20}, "usergroups.list": {10, 20}, "views.open": {30, 100}, "views.update": {30, 100}, "views.push": {30, 100},
		"chat.postEphemeral": {30, 100}, "apps.connections.open": {5, 50}, "auth.test": {60, 300}, "chat.getPermalink": {60, 300},
	},
	Other: Rate{Burst: 20, PerMinute: 50},
}

type limiter struct {
	limits  *Limits
	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	left float64
	at   time.Time
}

// take counts a call. It returns how long to wait when it was one too many.
func (l *limiter) take(method, channel string, now time.Time) (wait string, limited bool) {
	if l.limits == nil {
		return "", false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if method != "chat.postMessage" {
		rate, ok := l.limits.Methods[method]
		if !ok {
			rate = l.limits.Other
		}
		return l.draw(method, rate, now)
	}
	if wait, limited = l.draw("to "+channel, l.limits.Channel, now); limited {
		return wait, true
	}
	return l.draw(method, l.limits.Workspace, now)
}

func (l *limiter) draw(key string, r Rate, now time.Time) (wait string, limited bool) {
	if r == (Rate{}) {
		return "", false
	}
	if l.buckets == nil {
		l.buckets = map[string]*bucket{}
	}
	b := l.buckets[key]
	if b == nil {
		b = &bucket{left: r.Burst, at: now}
		l.buckets[key] = b
	}
	b.left = min(r.Burst, b.left+now.Sub(b.at).Minutes()*r.PerMinute)
	b.at = now
	if b.left < 1 {
		return strconv.Itoa(max(1, int(math.Ceil((1-b.left)*60/r.PerMinute)))), true
	}
	b.left--
	return "", false
}
