package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"callchain/escalation/store"
)

// Durability says where a change has to be before Settle calls it settled.
type Durability string

// The levels.
const (
	// Fast: where Commit left it, on the master.
	Fast Durability = "fast"
	// Replica: on a replica as well, if one is connected and answers soon. "" is this.
	Replica Durability = "replica"
	// Strict: on a replica as well and, where the master can tell, synced to its disk.
	Strict Durability = "strict"
)

const (
	replicaWithin = 150 * time.Millisecond
	strictWithin  = 2 * time.Second
	// lookAgain is how long it is trusted how many replicas a master has.
	lookAgain = 5 * time.Second
)

// settling confirms changes, beside everything else: it has connections of its own.
type settling struct {
	level  Durability
	within time.Duration // for one confirmation
	most   time.Duration // for one that has to wait for the one before
	client goredis.UniversalClient
	epochs [store.Partitions]atomic.Pointer[string] // of the server that was last known to hold it

	mu      sync.Mutex
	servers map[string]*settler // by address
}

// settler confirms what is on one master: all that waits at once, by one write and
// one WAIT after it. Replication has one order, so that covers every earlier write,
// whichever connection made it.
type settler struct {
	s    *Store
	node *goredis.Client
	ask  chan *settlement

	// Of the goroutine that runs it.
	conn     *goredis.Conn
	runID    string
	replicas int
	aof      bool // it can tell whether its file is synced
	looked   time.Time
	behind   bool // was told
}

type settlement struct {
	partition uint8
	runID     string // of the server that answered
	err       error
	done      chan struct{}
}

// Epoch implements store.Settler.
func (s *Store) Epoch(partition uint8) string {
	if known := s.settling.epochs[partition].Load(); known != nil {
		return *known
	}
	return ""
}

// Settle implements store.Settler.
func (s *Store) Settle(ctx context.Context, partition uint8, epoch string) error {
	if s.settling.level == Fast {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.settling.most)
	defer cancel()
	t, err := s.settler(ctx, partition)
	if err != nil {
		return s.unsettled(err)
	}
	p := &settlement{partition: partition, done: make(chan struct{})}
	select {
	case t.ask <- p:
	case <-ctx.Done():
		return s.unsettled(errors.New("the master does not answer in time"))
	case <-s.closing.Done():
		return store.ErrClosed
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return s.unsettled(errors.New("the master does not answer in time"))
	}
	if p.runID != "" {
		if s.settling.epochs[partition].Store(&p.runID); p.runID != epoch {
			return store.ErrMoved
		}
	}
	if p.err != nil {
		return s.unsettled(p.err)
	}
	return nil
}

// unsettled is what it means that a change could not be confirmed.
func (s *Store) unsettled(err error) error {
	if s.settling.level == Strict {
		return fmt.Errorf("%w: %w", store.ErrUnsettled, err)
	}
	return fmt.Errorf("%w: %w", store.ErrBehind, err)
}

// settler is that of the master that holds a partition.
func (s *Store) settler(ctx context.Context, partition uint8) (*settler, error) {
	var node *goredis.Client
	switch c := s.settling.client.(type) {
	case *goredis.ClusterClient:
		var err error
		if node, err = c.MasterForKey(ctx, s.keys[partition].settled); err != nil {
			return nil, fmt.Errorf("find the master: %w", err)
		}
	case *goredis.Client:
		node = c
	}
	s.settling.mu.Lock()
	defer s.settling.mu.Unlock()
	addr := node.Options().Addr
	t := s.settling.servers[addr]
	if t == nil || t.node != node {
		t = &settler{s: s, node: node, ask: make(chan *settlement)}
		if s.settling.servers == nil {
			s.settling.servers = map[string]*settler{}
		}
		s.settling.servers[addr] = t
		s.senders.Go(t.run)
	}
	return t, nil
}

func (t *settler) run() {
	defer func() {
		if t.conn != nil {
			t.conn.Close()
		}
	}()
	for {
		var batch []*settlement
		select {
		case p := <-t.ask:
			batch = append(batch, p)
		case <-t.s.closing.Done():
			return
		}
	waiting:
		for {
			select {
			case p := <-t.ask:
				batch = append(batch, p)
			default:
				break waiting
			}
		}
		err := t.settle(batch[0].partition)
		if errors.Is(err, errReconnect) { // the connection may be an old one, of a server that is gone
			err = t.settle(batch[0].partition)
		}
		t.tell(err)
		for _, p := range batch {
			p.runID, p.err = t.runID, err
			close(p.done)
		}
	}
}

var errReconnect = errors.New("the connection is lost")

// settle confirms whatever was written on the server that the connection leads to.
func (t *settler) settle(partition uint8) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.s.closing), t.s.settling.within+answerTimeout)
	defer cancel()
	strict := t.s.settling.level == Strict
	if t.conn == nil || time.Since(t.looked) > lookAgain || t.replicas == 0 && strict {
		if err := t.look(ctx); err != nil {
			return t.lose(err)
		}
	}
	switch {
	case t.replicas == 0 && strict:
		return errors.New("no replica is connected")
	case t.replicas == 0:
		return nil // there is nothing that could take over without it
	}
	pipe := t.conn.Pipeline()
	pipe.HSet(ctx, t.s.keys[partition].settled, "n", "1")
	ms := t.s.settling.within.Milliseconds()
	wait := pipe.Do(ctx, "wait", 1, ms)
	var synced *goredis.Cmd
	if strict && t.aof {
		synced = pipe.Do(ctx, "waitaof", 1, 0, ms)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		if t.s.settling.level == Replica && strings.HasPrefix(err.Error(), "NOPERM") {
			return errors.New("the ACL of Redis denies wait")
		}
		return t.lose(err)
	}
	if n, err := wait.Int(); err != nil || n < 1 {
		return errors.New("no replica confirms it in time")
	}
	if synced != nil {
		if n, err := synced.Int64Slice(); err != nil || len(n) == 0 || n[0] < 1 {
			return errors.New("the master does not sync its file in time")
		}
	}
	return nil
}

// lose gives up the connection.
func (t *settler) lose(err error) error {
	if t.conn != nil {
		t.conn.Close()
	}
	t.conn, t.runID = nil, ""
	return fmt.Errorf("%w: %w", errReconnect, err)
}

// look finds out which server this is, and what can be asked of it.
func (t *settler) look(ctx context.Context) error {
	if t.conn == nil {
		t.conn = t.node.Conn()
	}
	text, err := t.conn.Info(ctx).Result()
	if err != nil {
		return fmt.Errorf("read what the server is: %w", err)
	}
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	if info["role"] != "master" {
		return errors.New("the server is a replica")
	}
	var major, minor int
	_, _ = fmt.Sscanf(info["redis_version"], "%d.%d", &major, &minor)
	t.replicas, _ = strconv.Atoi(info["connected_slaves"])
	t.aof = info["aof_enabled"] == "1" && (major > 7 || major == 7 && minor >= 2)
	t.runID, t.looked = info["run_id"], time.Now()
	return nil
}

// tell logs once that answers are less safe than they should be, and that they are again.
func (t *settler) tell(err error) {
	switch {
	case err != nil && !t.behind:
		t.behind = true
		t.s.log.Error("what is answered is on one server only: if that is lost now, so is what it was told", "durability", string(t.s.settling.level), "err", err)
	case err == nil && t.behind:
		t.behind = false
		t.s.log.Info("what is answered is on two servers again")
	}
}
