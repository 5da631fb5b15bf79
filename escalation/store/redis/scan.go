package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"callchain/escalation/store"
)

const (
	// scanRecords bounds what one pipeline of a Scan brings into memory, unless a
	// single partition is larger.
	scanRecords = 2000
	// wholeHash lets HSCAN read a partition in one go: of one instant, and with
	// no cursor that a restart or a failover would make worthless.
	wholeHash = 1 << 30
)

// globs are the characters that HSCAN's patterns read.
var globs = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// Scan implements store.Store. What it shows of one partition is of one instant.
func (s *Store) Scan(ctx context.Context, prefix string, yield func(store.Record) bool) error {
	ctx, cancel, err := s.enter(ctx, "scan")
	if err != nil {
		return err
	}
	defer cancel()
	sizes, err := s.sizes(ctx)
	if err != nil {
		return err
	}
	var damaged []error
	for first := 0; first < store.Partitions; {
		end, records := first+1, sizes[first]
		for end < store.Partitions && records+sizes[end] <= scanRecords {
			records += sizes[end]
			end++
		}
		pages, err := s.pages(ctx, first, end, prefix)
		if err != nil {
			return err
		}
		for i, page := range pages {
			fields, _ := page.Val()
			for f := 0; f+1 < len(fields); f += 2 {
				if fields[f] == markerField {
					continue
				}
				if err := over(ctx, "scan"); err != nil {
					return err
				}
				r := decode(store.Key{Partition: uint8(first + i), ID: fields[f]}, fields[f+1])
				if r.Data == nil {
					damaged = append(damaged, corrupt(r.Key))
				} else if !yield(r) {
					return nil
				}
			}
		}
		first = end
	}
	return errors.Join(damaged...)
}

// over is the error of a call whose context is done.
func over(ctx context.Context, op string) error {
	switch {
	case ctx.Err() == nil:
		return nil
	case errors.Is(context.Cause(ctx), store.ErrClosed):
		return store.ErrClosed
	}
	return fmt.Errorf("%s: %w", op, ctx.Err())
}

// sizes are how many fields each partition has.
func (s *Store) sizes(ctx context.Context) (sizes [store.Partitions]int64, err error) {
	err = s.try(ctx, "scan", patience, func(ctx context.Context) error {
		cmds, err := await(ctx, func() ([]*goredis.IntCmd, error) {
			pipe := s.client.Pipeline()
			cmds := make([]*goredis.IntCmd, len(s.keys))
			for p, k := range s.keys {
				cmds[p] = pipe.HLen(ctx, k.records)
			}
			_, err := pipe.Exec(ctx)
			return cmds, err
		})
		if err != nil {
			return err
		}
		for p, cmd := range cmds {
			sizes[p] = cmd.Val()
		}
		return nil
	})
	return sizes, err
}

func (s *Store) pages(ctx context.Context, first, end int, prefix string) (pages []*goredis.ScanCmd, err error) {
	pattern := globs.Replace(prefix) + "*"
	err = s.try(ctx, "scan", patience, func(ctx context.Context) (err error) {
		pages, err = await(ctx, func() ([]*goredis.ScanCmd, error) {
			pipe := s.client.Pipeline()
			var cmds []*goredis.ScanCmd
			for _, k := range s.keys[first:end] {
				cmds = append(cmds, pipe.HScan(ctx, k.records, 0, pattern, wholeHash))
			}
			_, err := pipe.Exec(ctx)
			return cmds, err
		})
		if err != nil {
			return err
		}
		for _, page := range pages {
			if _, cursor := page.Val(); cursor != 0 {
				return errors.New("the server did not show a whole partition at once")
			}
		}
		return nil
	})
	return pages, err
}
