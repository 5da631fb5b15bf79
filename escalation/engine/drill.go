package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"callchain/config"
	"callchain/escalation"
	"callchain/routing"
)

// ErrAtNight is returned for a drill that would wake people for practice.
var ErrAtNight = errors.New("it would reach people at night")

// Drill pages through the real chain of a target. At night, by the clocks of those
// whom it would reach, it does so only if that is meant.
func (e *Engine) Drill(ctx context.Context, target routing.Target, urgency config.Urgency, by escalation.Actor, atNight bool) (escalation.Incident, error) {
	env, now := e.snap.Load().env(), e.store.Now()
	if asleep := escalation.Sleepers(target, urgency, now, env); len(asleep) > 0 && !atNight {
		names := make([]string, 0, 6)
		for i, s := range asleep {
			if i == 5 {
				names = append(names, fmt.Sprintf("%d more", len(asleep)-i))
				break
			}
			names = append(names, s.String())
		}
		return escalation.Incident{}, fmt.Errorf("%w: %s", ErrAtNight, strings.Join(names, ", "))
	}
	id := recordID("drill", target.Subject, fmt.Sprint(now.UnixNano(), rand.Uint64()))
	inc, err := e.create(ctx, escalation.NewDrill(id, target, urgency, by, now, env), now)
	if err == nil {
		e.log.Info("drill begun", "incident", inc.ID, "subject", inc.Subject, "by", by.Handle)
	}
	return inc, err
}
