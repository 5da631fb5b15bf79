package engine

import (
	"slices"
	"sync"
	"time"

	"callchain/escalation"
	"callchain/notifiers"
)

// turns paces conversations: one message a second each. A turn is a reservation
// that belongs to a delivery: asked for again it is the same, and it is given
// back when the delivery is not needed any more. New messages do not queue
// behind edits of older ones: when many incidents end, somebody's next page must
// not wait for all their messages to say so.
type turns struct {
	mu     sync.Mutex
	talks  map[string]*talk
	pruned escalation.Instant
}

// talk is one conversation.
type talk struct {
	said  escalation.Instant            // when the last message went there
	hold  escalation.Instant            // until then the channel wants to hear nothing more
	posts map[string]escalation.Instant // turns of new messages, by delivery
	edits map[string]escalation.Instant // turns of edits
}

const turnEvery = escalation.Instant(1000)

func newTurns() *turns { return &turns{talks: map[string]*talk{}} }

func (t *turns) talk(key string) *talk {
	c := t.talks[key]
	if c == nil {
		c = &talk{posts: map[string]escalation.Instant{}, edits: map[string]escalation.Instant{}}
		t.talks[key] = c
	}
	return c
}

// next gives a delivery its turn. Mail is not paced.
func (t *turns) next(d escalation.Delivery, now escalation.Instant) escalation.Instant {
	if d.Channel != notifiers.Slack {
		return now
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.prune(now)
	c := t.talk(conversation(d))
	own, taken := c.posts, values(c.posts)
	if d.Ref != (escalation.Ref{}) {
		own, taken = c.edits, append(taken, values(c.edits)...)
	}
	if at, ok := own[d.ID]; ok && at >= now {
		return at
	}
	at := max(now, c.hold)
	if c.said != 0 {
		at = max(at, c.said+turnEvery)
	}
	slices.Sort(taken)
	for _, other := range taken {
		if at < other+turnEvery && other < at+turnEvery {
			at = other + turnEvery
		}
	}
	own[d.ID] = at
	return at
}

// free gives back the turn of a delivery that is not needed any more.
func (t *turns) free(d escalation.Delivery) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.talks[conversation(d)]; c != nil {
		delete(c.posts, d.ID)
		delete(c.edits, d.ID)
	}
}

// wait is how much longer a delivery whose turn has come must not be made: the
// channel asked to be left alone, or new messages came in between. When it may
// be made, it is taken for made.
func (t *turns) wait(d escalation.Delivery, now escalation.Instant) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.talk(conversation(d))
	if c.hold > now {
		return time.Duration(c.hold-now) * time.Millisecond
	}
	if d.Channel == notifiers.Slack && d.Ref != (escalation.Ref{}) && d.Tries == 0 {
		for _, at := range append(values(c.posts), c.said) {
			if at > now-turnEvery && at < now+turnEvery {
				// Put off once: an edit must come through at last.
				return time.Second
			}
		}
	}
	delete(c.posts, d.ID)
	delete(c.edits, d.ID)
	c.said = now
	return 0
}

// hold keeps a conversation quiet until an instant: what else is due there would
// only be refused as well.
func (t *turns) hold(d escalation.Delivery, until escalation.Instant) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.talk(conversation(d))
	c.hold = max(c.hold, until)
}

// prune forgets, once a minute, conversations in which nothing is to come.
func (t *turns) prune(now escalation.Instant) {
	if now < t.pruned+60_000 {
		return
	}
	t.pruned = now
	for key, c := range t.talks {
		for _, m := range []map[string]escalation.Instant{c.posts, c.edits} {
			for id, at := range m {
				if at+60_000 < now {
					delete(m, id)
				}
			}
		}
		if len(c.posts)+len(c.edits) == 0 && c.hold <= now && c.said+turnEvery <= now {
			delete(t.talks, key)
		}
	}
}

// conversation is where a delivery is heard, for pacing.
func conversation(d escalation.Delivery) string {
	if d.Kind == escalation.PageDelivery || d.Kind == escalation.ReminderDelivery {
		return d.Channel + " person " + d.To
	}
	return d.Channel + " " + d.Address
}

func values(m map[string]escalation.Instant) []escalation.Instant {
	out := make([]escalation.Instant, 0, len(m))
	for _, at := range m {
		out = append(out, at)
	}
	return out
}
