package inbox

import (
	"context"
	"sync"
)

// changes tells any number of subscribers that something changed.
type changes struct {
	mu   sync.Mutex
	subs map[chan struct{}]struct{}
}

// Subscribe returns a channel that holds one value as soon as something has
// changed since it was last read, and a function that ends the subscription.
func (c *changes) Subscribe() (changed <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subs == nil {
		c.subs = map[chan struct{}]struct{}{}
	}
	c.subs[ch] = struct{}{}
	return ch, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.subs, ch)
	}
}

func (c *changes) notify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ch := range c.subs {
		select {
		case ch <- struct{}{}:
		default: // it has a change waiting already
		}
	}
}

// await returns the first of the listed items that the condition holds for,
// now or after a change.
func await[T any](ctx context.Context, c *changes, list func() []T, cond func(T) bool) (T, error) {
	changed, stop := c.Subscribe()
	defer stop()
	for {
		for _, item := range list() {
			if cond(item) {
				return item, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
}
