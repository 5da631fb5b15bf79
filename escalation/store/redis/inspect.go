package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Inspect looks at the server as Open does, without writing: what is found there
// stays as it is, and an empty server does not become a store. What only writing
// can tell is left out: whether the ACL allows the commands and scripts.
func Inspect(ctx context.Context, o Options) (warnings []string, err error) {
	s, err := newStore(o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for _, step := range []struct {
		op string
		do func(context.Context) error
	}{
		{"read the server's settings", s.checkServers},
		{"read the marker", func(ctx context.Context) error {
			_, _, err := s.readMarkers(ctx, o.Installation)
			return err
		}},
	} {
		if err := s.try(ctx, step.op, patience, step.do); err != nil {
			return nil, fmt.Errorf("look at the store in Redis at %s: %w", strings.Join(o.Addrs, ", "), err)
		}
	}
	return s.warnings, nil
}
