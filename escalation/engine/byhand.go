package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/routing"
)

// keyFor is how long a page by hand that comes again under its key is the same.
const keyFor = 24 * time.Hour

// ErrKeyReused is returned for a key under which something else was paged not
// long ago.
var ErrKeyReused = errors.New("the key was used for another page")

// PageByHand pages through the chain of a target because somebody asks for it.
// Whoever asks again under the same key within a day gets the same incident, and
// nobody is paged for it again; "" is a key of its own.
func (e *Engine) PageByHand(ctx context.Context, target routing.Target, urgency config.Urgency, text string, by escalation.Actor, key string) (escalation.Incident, error) {
	now := e.store.Now()
	day := now.UTC()
	if key == "" {
		key = fmt.Sprint(now.UnixNano(), rand.Uint64())
	}
	// The id follows from the key and the day, so that nothing else has to be kept.
	id := func(t time.Time) string { return recordID("hand", key, t.Format(time.DateOnly)) }
	for _, known := range []string{id(day), id(day.Add(-keyFor))} {
		inc, err := e.load(ctx, known)
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return escalation.Incident{}, err
		case now.Before(inc.OpenedAt.Time().Add(keyFor)):
			return same(inc.Incident, target, text)
		}
	}
	inc := escalation.NewByHand(id(day), target, urgency, text, by, now, e.snap.Load().env())
	inc, err := e.create(ctx, inc, now)
	switch {
	case errors.Is(err, store.ErrConflict): // it came twice at once
		cur, err := e.load(ctx, inc.ID)
		if err != nil {
			return inc, err
		}
		return same(cur.Incident, target, text)
	case err == nil:
		e.log.Info("paged by hand", "incident", inc.ID, "subject", inc.Subject, "by", by.Handle)
	}
	return inc, err
}

func same(inc escalation.Incident, target routing.Target, text string) (escalation.Incident, error) {
	if inc.Subject != target.Subject || inc.Body != text {
		return inc, fmt.Errorf("%w: %s, about %s", ErrKeyReused, inc.ID, inc.Subject)
	}
	return inc, nil
}
