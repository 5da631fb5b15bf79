package redis

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"callchain/escalation/store"
)

const (
	// lookEvery is how long a Store trusts what it knows of partitions that
	// others may have changed.
	lookEvery = 250 * time.Millisecond
	never     = math.MaxInt64
	// claimPiece is how many records one run of the script claims.
	claimPiece = 1000
	// rounds bound a Claim while others take away what it saw.
	rounds = 8
)

// due is what a Store knows of when partitions are due next. Only the holder of
// Store.claims uses it, but for stale and away.
type due struct {
	next   [store.Partitions]int64 // ms, or never
	stale  [store.Partitions]atomic.Bool
	away   [store.Partitions]atomic.Bool // put aside: the server that holds it did not answer
	looked time.Time
	turn   uint8 // of the partition whose marker is looked at
}

func (d *due) init() {
	for p := range d.stale {
		d.stale[p].Store(true)
	}
}

// changed is called after a commit, so that a look that begins afterwards sees
// it, and one that is under way does not hide it.
func (d *due) changed(partition uint8) { d.stale[partition].Store(true) }

func (d *due) earliest() int64 { return slices.Min(d.next[:]) }

// candidate is a record that is due as far as a look showed.
type candidate struct {
	at        int64
	partition uint8
	id        string
}

func compareCandidates(a, b candidate) int {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.partition, b.partition), cmp.Compare(a.id, b.id))
}

// Claim implements store.Store.
func (s *Store) Claim(ctx context.Context, most int, lease time.Duration) (store.Due, error) {
	ctx, cancel, err := s.enter(ctx, "claim")
	if err != nil {
		return store.Due{}, err
	}
	defer cancel()
	select {
	case s.claims <- struct{}{}:
		defer func() { <-s.claims }()
	case <-ctx.Done():
		return store.Due{}, over(ctx, "claim")
	}

	if err := s.look(ctx); err != nil {
		return store.Due{}, err
	}
	now := s.Now()
	taken := make(map[candidate]bool)
	var found store.Due
	for range rounds {
		want := most - len(found.Records)
		if want <= 0 || s.due.earliest() > now.UnixMilli() {
			break
		}
		chosen, err := s.choose(ctx, now.UnixMilli(), want, taken)
		if err != nil {
			return part(found, err)
		}
		if len(chosen) == 0 {
			break
		}
		records, err := s.claim(ctx, chosen, store.Millis(now.Add(lease)))
		if err != nil {
			return part(found, err)
		}
		for i, c := range chosen {
			taken[candidate{partition: c.partition, id: c.id}] = true
			if r := records[i]; r.Data != nil {
				found.Records = append(found.Records, r)
			}
		}
	}
	if next := s.due.earliest(); next != never {
		found.Next = store.Instant(max(next, 1))
	}
	return found, nil
}

// part is what was claimed before an error: better than to leave it for a lease.
func part(found store.Due, err error) (store.Due, error) {
	if len(found.Records) == 0 {
		return store.Due{}, err
	}
	found.Next = found.Records[0].Wake // there is more
	return found, nil
}

// look finds out when the partitions are due next that may have changed.
func (s *Store) look(ctx context.Context) error {
	all := time.Since(s.due.looked) >= lookEvery
	var stale []uint8
	gather := func() {
		for p := range store.Partitions {
			if !s.due.away[p].Load() && (s.due.stale[p].Swap(false) || all) && !slices.Contains(stale, uint8(p)) {
				stale = append(stale, uint8(p))
			}
		}
	}
	if gather(); len(stale) == 0 {
		return nil
	}
	began := time.Now()
	err := s.try(ctx, "claim", claimPatience, func(ctx context.Context) error {
		gather() // when nobody answered, those that were put aside are asked as well
		firsts, err := s.firsts(ctx, stale, 1)
		if err != nil {
			return err
		}
		for i, p := range stale {
			s.due.next[p] = never
			if len(firsts[i]) > 0 {
				s.due.next[p] = firsts[i][0].at
			}
		}
		if all {
			return s.readClock(ctx)
		}
		return nil
	})
	if err != nil {
		for _, p := range stale {
			s.due.stale[p].Store(true)
		}
		return err
	}
	if all {
		if err := s.checkMarker(ctx); err != nil {
			return fmt.Errorf("claim: %w", err)
		}
		s.due.looked = began
	}
	return nil
}

// firsts are the first n wake-ups of each of these partitions. Behind a Cluster
// those that do not answer are put aside, and have none; it is an error only when
// no partition is left.
func (s *Store) firsts(ctx context.Context, partitions []uint8, n ...int) ([][]candidate, error) {
	cmds, errs := each(ctx, s, partitions, func(pipe goredis.Pipeliner, i int) *goredis.ZSliceCmd {
		return pipe.ZRangeWithScores(ctx, s.keys[partitions[i]].wakes, 0, int64(n[i%len(n)]-1))
	})
	found := make([][]candidate, len(partitions))
	var failed error
	var silent []uint8
	for i, p := range partitions {
		if errs[i] != nil {
			silent, failed = append(silent, p), errs[i]
			continue
		}
		for _, z := range cmds[i].Val() {
			id, _ := z.Member.(string)
			found[i] = append(found[i], candidate{int64(z.Score), p, id})
		}
	}
	switch {
	case failed == nil:
		return found, nil
	case s.cluster == nil || ctx.Err() != nil:
		return nil, failed
	}
	return found, s.leave(silent, failed)
}

// choose finds the earliest want records that are due, over all partitions. They
// are in the partitions that are due first, at most as many as records. It reads
// a little of each of those, and more where it saw no end.
func (s *Store) choose(ctx context.Context, now int64, want int, taken map[candidate]bool) ([]candidate, error) {
	var ask, rest []uint8
	for p, next := range s.due.next {
		if next <= now {
			ask = append(ask, uint8(p))
		}
	}
	slices.SortFunc(ask, func(a, b uint8) int { return cmp.Compare(s.due.next[a], s.due.next[b]) })
	if len(ask) > want {
		ask, rest = slices.Clone(ask[:want]), ask[want:]
	}
	page := max(4, 2*want/len(ask))
	sizes := make(map[uint8]int, len(ask))
	seen := make(map[uint8][]candidate, len(ask))
	for {
		n := make([]int, len(ask))
		for i, p := range ask {
			sizes[p] = min(max(page, sizes[p]*4), want+len(taken)+1)
			n[i] = sizes[p]
		}
		var got [][]candidate
		err := s.try(ctx, "claim", claimPatience, func(ctx context.Context) (err error) {
			got, err = s.firsts(ctx, ask, n...)
			return err
		})
		if err != nil {
			return nil, err
		}
		for i, p := range ask {
			seen[p] = got[i]
		}

		var chosen []candidate
		for p, list := range seen {
			if len(list) == 0 || list[0].at > now {
				// Others were here.
				s.due.next[p] = never
				if len(list) > 0 {
					s.due.next[p] = list[0].at
				}
			}
			for _, c := range list {
				if c.at <= now && !taken[candidate{partition: c.partition, id: c.id}] {
					chosen = append(chosen, c)
				}
			}
		}
		slices.SortFunc(chosen, compareCandidates)
		chosen = chosen[:min(want, len(chosen))]
		// Where the list of a partition ended may be something earlier than the
		// last of those; in one that was not asked too, if others were faster.
		ask = ask[:0]
		if len(rest) > 0 && (len(chosen) < want || s.due.next[rest[0]] <= chosen[len(chosen)-1].at) {
			ask, rest = append(ask, rest...), nil
		}
		for p, list := range seen {
			more := len(list) == sizes[p] && list[len(list)-1].at <= now && sizes[p] < want+len(taken)+1
			if more && (len(chosen) < want || compareCandidates(list[len(list)-1], chosen[len(chosen)-1]) < 0) {
				ask = append(ask, p)
			}
		}
		if len(ask) == 0 {
			return chosen, nil
		}
	}
}

// claim moves the wake-ups of what was chosen, and returns those that were still
// as seen, in their places; the others are empty.
func (s *Store) claim(ctx context.Context, chosen []candidate, until int64) ([]store.Record, error) {
	type piece struct {
		run       run
		partition uint8
		places    []int // in chosen
	}
	var pieces []*piece
	open := make(map[uint8]*piece)
	for i, c := range chosen {
		at := open[c.partition]
		if at == nil || len(at.places) == claimPiece {
			k := s.keys[c.partition]
			at = &piece{run{claimed, []string{k.records, k.wakes}, []any{until, s.marker}, nil}, c.partition, nil}
			open[c.partition] = at
			pieces = append(pieces, at)
		}
		at.run.args = append(at.run.args, c.id, c.at)
		at.places = append(at.places, i)
	}
	records := make([]store.Record, len(chosen))
	todo := pieces
	// What one attempt did claim stays claimed, so only the others are tried again;
	// behind a Cluster they are put aside, and nobody waits for them.
	err := s.try(ctx, "claim", claimPatience, func(ctx context.Context) error {
		runs := make([]run, len(todo))
		for i, at := range todo {
			runs[i] = at.run
		}
		errs := s.runEach(ctx, runs)
		var again []*piece
		var failed error
		for i, r := range runs {
			at := todo[i]
			if errs[i] != nil {
				if owned := s.owner(ctx, errs[i]); isFinal(owned) {
					return owned
				}
				again, failed = append(again, at), errs[i]
				continue
			}
			answer, err := r.cmd.Slice()
			if err != nil {
				return fmt.Errorf("read a claim: %w", err)
			}
			s.due.next[at.partition] = never
			if score, ok := answer[0].(string); ok {
				next, err := strconv.ParseFloat(score, 64)
				if err != nil {
					return fmt.Errorf("read a wake-up: %w", err)
				}
				s.due.next[at.partition] = int64(next)
			}
			for a := 1; a+1 < len(answer); a += 2 {
				n, _ := answer[a].(int64)
				stored, _ := answer[a+1].(string)
				c := chosen[at.places[n-1]]
				records[at.places[n-1]] = decode(store.Key{Partition: c.partition, ID: c.id}, stored)
			}
		}
		todo = again
		if s.cluster == nil || ctx.Err() != nil || failed == nil {
			return failed
		}
		var silent []uint8
		for _, at := range todo {
			silent = append(silent, at.partition)
		}
		return s.leave(silent, failed)
	})
	if err != nil && len(todo) == len(pieces) {
		for _, at := range pieces {
			s.due.stale[at.partition].Store(true)
		}
		return nil, err
	}
	// A part is worth having; the rest comes back after the lease at the latest.
	for _, at := range todo {
		s.due.stale[at.partition].Store(true)
	}
	return records, nil
}

// readClock takes a sample of the clock of the server that holds partition 0.
// Behind a Cluster, while that one is away, another one's stands in for it.
func (s *Store) readClock(ctx context.Context) error {
	if s.cluster == nil {
		got, err := s.timeOf(ctx, s.client)
		if err == nil {
			s.stepped(s.clock.sample(got))
		}
		return err
	}
	nodes, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var failed error
	found := false
	for i, n := range nodes { // the first of them holds partition 0
		switch {
		case s.due.away[n.partition].Load():
			continue
		case i > 0 && found && time.Since(s.compared) < compareEvery:
			return nil
		}
		got, err := s.timeOf(ctx, n.client)
		switch {
		case err != nil:
			failed = err
		case i == 0:
			found = true
			s.stepped(s.clock.sample(got))
		case found:
			s.clock.compare(n.addr, got)
		default:
			s.stepped(s.clock.follow(n.addr, got))
			return nil
		}
	}
	if !found && s.clock.isSet() {
		// The local clock carries on; that timers can be read matters more.
		s.log.Debug("no clock of the Cluster can be read", "err", failed)
		return nil
	}
	if found {
		s.compared = time.Now()
		return nil
	}
	return failed
}

// compareEvery is how often the other servers' clocks are compared with that of
// the one that holds partition 0.
const compareEvery = 10 * time.Second

// timeOf asks a server for its time.
func (s *Store) timeOf(ctx context.Context, of goredis.Cmdable) (sample, error) {
	return await(ctx, func() (sample, error) {
		before := s.clock.elapsed()
		server, err := of.Time(ctx).Result()
		return sample{before, s.clock.elapsed(), server}, err
	})
}

func (s *Store) stepped(by time.Duration) {
	if by.Abs() > time.Second {
		s.log.Warn("clock of Redis was set, or another server with another clock took over", "step", by)
	}
}
