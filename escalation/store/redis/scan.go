package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	var there, missing []uint8
	for p := range store.Partitions {
		there = append(there, uint8(p))
	}
	sizes, silent, why := all(ctx, s, there, func(pipe goredis.Pipeliner, p uint8) *goredis.IntCmd {
		return pipe.HLen(ctx, s.keys[p].records)
	})
	if why != nil && (silent == nil || len(silent) == len(there)) {
		return why
	}
	there, missing = without(there, silent), silent
	var damaged []error
	for first := 0; first < len(there); {
		end, records := first+1, sizes[there[first]].Val()
		for end < len(there) && records+sizes[there[end]].Val() <= scanRecords {
			records += sizes[there[end]].Val()
			end++
		}
		pattern := globs.Replace(prefix) + "*"
		pages, silent, err := all(ctx, s, there[first:end], func(pipe goredis.Pipeliner, p uint8) *goredis.ScanCmd {
			return pipe.HScan(ctx, s.keys[p].records, 0, pattern, wholeHash)
		})
		if err != nil {
			if silent == nil {
				return err
			}
			missing, why = append(missing, silent...), err
		}
		for _, p := range there[first:end] {
			if pages[p] == nil {
				continue
			}
			fields, cursor := pages[p].Val()
			if cursor != 0 {
				return errors.New("scan: the server did not show a whole partition at once")
			}
			for f := 0; f+1 < len(fields); f += 2 {
				if fields[f] == markerField {
					continue
				}
				if err := over(ctx, "scan"); err != nil {
					return err
				}
				r := decode(store.Key{Partition: p, ID: fields[f]}, fields[f+1])
				if r.Data == nil {
					damaged = append(damaged, corrupt(r.Key))
				} else if !yield(r) {
					return nil
				}
			}
		}
		first = end
	}
	if len(missing) > 0 {
		// Alone: who makes do with damaged records must not make do with this.
		return fmt.Errorf("scan: %d of %d partitions do not answer: %w (%w)", len(missing), store.Partitions, store.ErrPartial, why)
	}
	return errors.Join(damaged...)
}

func without(partitions, some []uint8) []uint8 {
	return slices.DeleteFunc(slices.Clone(partitions), func(p uint8) bool { return slices.Contains(some, p) })
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

// all asks these partitions until each has answered or patience is over. Behind a
// Cluster an error comes with those that are silent, and the answers of the
// others; nobody waits for what is known to be away.
func all[C goredis.Cmder](ctx context.Context, s *Store, partitions []uint8, command func(goredis.Pipeliner, uint8) C) (answers [store.Partitions]C, silent []uint8, err error) {
	todo := partitions
	var failed error
	err = s.try(ctx, "scan", patience, func(ctx context.Context) error {
		cmds, errs := each(ctx, s, todo, func(pipe goredis.Pipeliner, i int) C { return command(pipe, todo[i]) })
		var left []uint8
		failed = nil
		wait := s.cluster == nil
		for i, p := range todo {
			if errs[i] == nil {
				answers[p] = cmds[i]
				continue
			}
			left, failed = append(left, p), errs[i]
			wait = wait || !s.due.away[p].Load()
		}
		todo = left
		if wait {
			return failed
		}
		return nil
	})
	if s.cluster == nil || s.closing.Err() != nil || ctx.Err() != nil {
		return answers, nil, err
	}
	return answers, todo, failed
}
