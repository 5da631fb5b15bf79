package redis

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"callchain/escalation/store"
)

// split are the places of n keys by the server that holds them: behind a Cluster
// what one of them does not answer is nothing to the others.
func (s *Store) split(ctx context.Context, n int, key func(place int) string) [][]int {
	by := make(map[string][]int)
	for i := range n {
		addr := ""
		if s.cluster != nil {
			if c, err := s.cluster.MasterForKey(ctx, key(i)); err == nil {
				addr = c.Options().Addr
			}
		}
		by[addr] = append(by[addr], i)
	}
	return slices.Collect(maps.Values(by))
}

// apart does f for each group at once and waits for all. Behind a Cluster none
// takes longer than one attempt may, whatever the library would still try.
func (s *Store) apart(ctx context.Context, groups [][]int, f func(ctx context.Context, places []int)) {
	if s.cluster == nil {
		for _, places := range groups {
			f(ctx, places)
		}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, places := range groups {
		wg.Go(func() { f(ctx, places) })
	}
	wg.Wait()
}

// each sends one command for each of these partitions. The answers are in their
// places, or an error is.
func each[C goredis.Cmder](ctx context.Context, s *Store, partitions []uint8, command func(pipe goredis.Pipeliner, place int) C) ([]C, []error) {
	cmds, errs := make([]C, len(partitions)), make([]error, len(partitions))
	groups := s.split(ctx, len(partitions), func(i int) string { return s.keys[partitions[i]].records })
	s.apart(ctx, groups, func(ctx context.Context, places []int) {
		got, err := await(ctx, func() ([]C, error) {
			pipe := s.client.Pipeline()
			got := make([]C, len(places))
			for n, i := range places {
				got[n] = command(pipe, i)
			}
			_, _ = pipe.Exec(ctx) // each command has its own error
			return got, nil
		})
		for n, i := range places {
			if errs[i] = err; err == nil {
				cmds[i], errs[i] = got[n], got[n].Err()
			}
		}
	})
	return cmds, errs
}

// runEach runs scripts, and returns what went wrong with each.
func (s *Store) runEach(ctx context.Context, runs []run) []error {
	errs := make([]error, len(runs))
	s.apart(ctx, s.split(ctx, len(runs), func(i int) string { return runs[i].keys[0] }), func(ctx context.Context, places []int) {
		got, err := await(ctx, func() ([]*run, error) {
			own := make([]*run, len(places))
			for n, i := range places {
				attempt := runs[i]
				own[n] = &attempt
			}
			runOn(ctx, s.client, own)
			return own, nil
		})
		for n, i := range places {
			if errs[i] = err; err == nil {
				runs[i].cmd, errs[i] = got[n].cmd, got[n].cmd.Err()
			}
		}
	})
	return errs
}

// leave puts partitions aside whose server does not answer: claims go on without
// them until seek finds them again. When none is left, failed is the error, and
// the next claim asks all of them.
func (s *Store) leave(partitions []uint8, failed error) error {
	for _, p := range partitions {
		s.due.next[p] = never
		s.due.away[p].Store(true)
	}
	gone := s.due.gone()
	if len(gone) < store.Partitions {
		s.seek()
		return nil
	}
	for _, p := range gone {
		s.due.back(p)
	}
	return failed
}

// gone are the partitions that are put aside.
func (d *due) gone() (partitions []uint8) {
	for p := range d.away {
		if d.away[p].Load() {
			partitions = append(partitions, uint8(p))
		}
	}
	return partitions
}

// back lets claims ask a partition again.
func (d *due) back(partition uint8) {
	d.stale[partition].Store(true)
	d.away[partition].Store(false)
}

// seek asks the partitions that were put aside until they answer, beside the
// claims: those would wait for a server that is gone each time.
func (s *Store) seek() {
	if !s.seeking.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer s.sought()
		told := false
		for {
			gone := s.due.gone()
			if len(gone) == 0 {
				break
			}
			s.reload(s.closing)
			_, errs := each(s.closing, s, gone, func(pipe goredis.Pipeliner, i int) *goredis.ZSliceCmd {
				return pipe.ZRangeWithScores(s.closing, s.keys[gone[i]].wakes, 0, 0)
			})
			var failed error
			left := 0
			for i, p := range gone {
				if errs[i] == nil {
					s.due.back(p)
				} else {
					left, failed = left+1, errs[i]
				}
			}
			if left > 0 && !told && s.closing.Err() == nil {
				// A slot that just moves, or a failover, does not get here twice.
				told = true
				s.log.Error("a part of the Cluster does not answer: its incidents wait, the others go on", "partitions", left, "of", store.Partitions, "err", failed)
			}
			pause := time.NewTimer(lookEvery)
			select {
			case <-pause.C:
			case <-s.closing.Done():
				pause.Stop()
				return
			}
		}
		if told {
			s.log.Info("all of the Cluster answers again")
		}
	}()
}

// sought ends a search. What was put aside after its last look found it still
// running and began none, so that is looked for now.
func (s *Store) sought() {
	s.seeking.Store(false)
	if s.closing.Err() == nil && len(s.due.gone()) > 0 {
		s.seek()
	}
}
