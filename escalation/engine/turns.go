package engine

import (
	"slices"
	"sync"
	"time"

	"callchain/escalation"
	"callchain/notifiers"
)

// turns paces conversations: one message a second each, to people three at once
// after a silence. A turn is a reservation
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
	said  escalation.Instant // when the last message went there
	hold  escalation.Instant // until then the channel wants to hear nothing more
	burst int                // messages sent at once since the last silence
	posts plan               // turns of new messages
	edits plan               // turns of edits
}

// plan is reserved turns. In a storm thousands wait for one person: finding a
// place for one more must not look at all of them.
type plan struct {
	of     map[string]escalation.Instant // by delivery
	sorted []escalation.Instant          // the same
}

func (p *plan) put(id string, at escalation.Instant) {
	p.drop(id)
	if p.of == nil {
		p.of = map[string]escalation.Instant{}
	}
	p.of[id] = at
	i, _ := slices.BinarySearch(p.sorted, at)
	p.sorted = slices.Insert(p.sorted, i, at)
}

func (p *plan) drop(id string) {
	at, ok := p.of[id]
	if !ok {
		return
	}
	delete(p.of, id)
	i, _ := slices.BinarySearch(p.sorted, at)
	p.sorted = slices.Delete(p.sorted, i, i+1)
}

// prune forgets turns before an instant.
func (p *plan) prune(before escalation.Instant) {
	for id, at := range p.of {
		if at < before {
			p.drop(id)
		}
	}
}

// near tells whether a turn is less than turnEvery away from an instant.
func (p *plan) near(at escalation.Instant) bool {
	i, _ := slices.BinarySearch(p.sorted, at-turnEvery+1)
	return i < len(p.sorted) && p.sorted[i] < at+turnEvery
}

// gap is the first instant from at on that is turnEvery away from all turns.
func (p *plan) gap(at escalation.Instant) escalation.Instant {
	i, _ := slices.BinarySearch(p.sorted, at-turnEvery+1)
	row := p.sorted[i:]
	for i, turn := range row {
		if turn >= at+turnEvery {
			return at
		}
		// No two turns are closer than turnEvery. If what is left has no room for
		// one more, the gap is behind it: so it nearly always is in a storm.
		if last := row[len(row)-1]; last-turn < escalation.Instant(len(row)-i)*turnEvery {
			return last + turnEvery
		}
		at = turn + turnEvery
	}
	return at
}

const (
	turnEvery = escalation.Instant(1000)
	burst     = 3 // new messages that a conversation takes at once
)

func newTurns() *turns { return &turns{talks: map[string]*talk{}} }

func (t *turns) talk(key string) *talk {
	c := t.talks[key]
	if c == nil {
		c = &talk{}
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
	own, edit := &c.posts, d.Ref != (escalation.Ref{})
	if edit {
		own = &c.edits
	}
	if at, ok := own.of[d.ID]; ok && at >= now {
		return at
	}
	own.drop(d.ID)
	if (d.FirstPage() || d.Kind == escalation.DigestDelivery && !edit) && c.atOnce(now) {
		return now
	}
	at := max(now, c.hold)
	if c.said != 0 {
		at = max(at, c.said+turnEvery)
	}
	at = c.posts.gap(at)
	for edit { // also away from other edits
		next := c.posts.gap(c.edits.gap(at))
		if next == at {
			break
		}
		at = next
	}
	own.put(d.ID, at)
	return at
}

// atOnce tells whether a page may go without a turn, and counts it: the first of a
// storm must not wait for each other.
func (c *talk) atOnce(now escalation.Instant) bool {
	if c.hold > now {
		return false
	}
	if len(c.posts.of)+len(c.edits.of) == 0 && now >= c.said+burst*turnEvery {
		c.burst, c.said = 0, now
		return true
	}
	if c.burst+1 < burst && len(c.posts.of) == 0 && now < c.said+turnEvery {
		c.burst++
		return true
	}
	return false
}

// free gives back the turn of a delivery that is not needed any more.
func (t *turns) free(d escalation.Delivery) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.talks[conversation(d)]; c != nil {
		c.posts.drop(d.ID)
		c.edits.drop(d.ID)
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
	if d.Channel == notifiers.Slack && d.Ref != (escalation.Ref{}) && d.Waits == 0 {
		if c.posts.near(now) || c.said > now-turnEvery && c.said < now+turnEvery {
			// Put off once: an edit must come through at last.
			return time.Second
		}
	}
	c.posts.drop(d.ID)
	c.edits.drop(d.ID)
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
		c.posts.prune(now - 60_000)
		c.edits.prune(now - 60_000)
		if len(c.posts.of)+len(c.edits.of) == 0 && c.hold <= now && c.said+turnEvery <= now {
			delete(t.talks, key)
		}
	}
}

// conversation is where a delivery is heard, for pacing.
func conversation(d escalation.Delivery) string {
	switch d.Kind {
	case escalation.PageDelivery, escalation.ReminderDelivery, escalation.QuestionDelivery, escalation.DigestDelivery:
		return d.Channel + " person " + d.To
	}
	return d.Channel + " " + d.Address
}
