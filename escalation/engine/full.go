package engine

import (
	"context"
	"fmt"
	"time"
)

// filling is how full a store may be before people are told.
const filling = 0.8

// limited is a store that has only so much room.
type limited interface {
	// Full is how much of it is used, from 0 to 1.
	Full(ctx context.Context) (float64, error)
}

// refused says, once an hour, that the store takes nothing new. That itself is
// new, and urgent, so it passes where anything does.
func (e *Engine) refused(why error) {
	if e.shore != nil {
		return
	}
	hour := e.store.Now().UTC().Format("2006-01-02T15")
	if last := e.toldFull.Swap(&hour); last != nil && *last == hour {
		return
	}
	body := "It answers: " + why.Error() + "\nWhat is open goes on: it escalates and can be acknowledged. "
	if e.island != nil {
		body += "New alerts are kept on this machine's disk and paged once; nobody else is paged for them until there is room. "
	} else {
		body += "New alerts are answered 503: Alertmanager keeps them and tries again, and nobody is paged for them until there is room. "
	}
	e.tell(Notice{
		Key: "full/" + hour, Title: "callchain's store is full",
		Body: body + "Give Redis more memory (maxmemory), or the disk more room.",
	})
}

// lookFull tells people in time, once a day.
func (e *Engine) lookFull(ctx context.Context) {
	l, ok := e.whole.(limited)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	used, err := l.Full(ctx)
	if err != nil || used < filling { // whether it answers is told elsewhere
		return
	}
	day := e.store.Now().UTC().Format(time.DateOnly)
	if last := e.toldFilling.Swap(&day); last != nil && *last == day {
		return
	}
	e.log.Error("the store is nearly full", "used", used)
	e.tell(Notice{
		Key: "filling/" + day, Title: "callchain's store is nearly full",
		Body: fmt.Sprintf("Redis uses %.0f %% of its maxmemory. When that is reached nothing new can be stored. Raise it; an open incident takes about 1.5 kB. "+
			"If something else is in that Redis, look what it keeps there.", 100*used),
	})
}
