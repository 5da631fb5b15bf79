package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"callchain/escalation/store"
)

const (
	// answerTimeout is for one attempt. A disk that is busy holds Redis up for
	// some hundred milliseconds; who waits longer than this asks again.
	answerTimeout = time.Second
	dialTimeout   = 500 * time.Millisecond
	// connections per server. Commits share a few of them.
	connections = 64

	// How long a call goes on trying when its context does not end before.
	patience      = 4 * time.Second
	claimPatience = time.Second

	firstPause   = 10 * time.Millisecond
	longestPause = 250 * time.Millisecond
)

// Options say where the store is.
type Options struct {
	// Addrs are host:port of the server, of the Sentinels when MasterName is
	// set, or of some nodes when Cluster is.
	Addrs      []string
	MasterName string
	Cluster    bool

	Username string
	// Password is asked for each new connection; nil: none.
	Password func() (string, error)
	TLS      *tls.Config // nil: plain

	// KeyPrefix begins every key; "": callchain. Braces are not legal in it.
	KeyPrefix string
	// Installation is that of the store which should be there: another one is
	// refused, and an empty server is told of in Warnings and gets this one.
	// "": whatever is there, or a new one.
	Installation string

	// Durability is what Settle waits for; "" is Replica.
	Durability Durability

	// Logger is told what changes while the store runs; nil is silent.
	Logger *slog.Logger

	// Dial makes connections; nil: net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Store is an open connection to a Redis. Make one with Open.
type Store struct {
	client       goredis.UniversalClient
	lanes        [store.Lanes]lane
	settling     settling
	cluster      *goredis.ClusterClient // client, if it is one
	log          *slog.Logger
	keys         [store.Partitions]keys
	installation string
	marker       string // of each of its partitions
	warnings     []string
	mending      sync.Mutex // held by the one that writes markers again
	mended       time.Time  // when somebody did last
	lost         chan Loss
	clock        *clock

	// alive is held while commits are with the server, so that Close knows none
	// whose outcome it would hide.
	alive   sync.RWMutex
	closing context.Context
	close   context.CancelFunc
	once    sync.Once
	senders sync.WaitGroup

	claims chan struct{} // held by the one that claims
	due    due

	seeking  atomic.Bool // somebody looks for the partitions that are away
	compared time.Time   // the clocks of a Cluster's servers; for the holder of claims
}

type keys struct{ records, wakes, deletions, settled string }

// lane is the connections of one store.Lane. Commits and loads of one lane wait
// for those of no other.
type lane struct {
	client goredis.UniversalClient
	outbox chan *parcel // nil: no company
}

// parcel is a commit or a load on its way.
type parcel struct {
	run
	err  error // that it was not sent
	done chan struct{}
}

// senderCount is how many pipelines of commits and loads are under way at once, in
// each lane.
const senderCount = 4

// quiet: go-redis logs to standard error what its calls return as errors.
var quiet = sync.OnceFunc(logging.Disable)

// Open connects, checks that the server can be trusted with a store, and makes
// it one when it is empty. It tries until ctx ends while nobody answers; what
// trying again does not mend it returns at once.
func Open(ctx context.Context, o Options) (*Store, error) {
	s, err := newStore(o)
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx, o.Installation); err != nil {
		return nil, errors.Join(fmt.Errorf("open store in Redis at %s: %w", strings.Join(o.Addrs, ", "), err), s.Close())
	}
	return s, nil
}

// newStore makes a Store that has not spoken to anybody yet.
func newStore(o Options) (*Store, error) {
	quiet()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.KeyPrefix == "" {
		o.KeyPrefix = "callchain"
	}
	if strings.ContainsAny(o.KeyPrefix, "{}") {
		return nil, fmt.Errorf("open store: key prefix %q: braces are not legal in it, Redis Cluster reads them", o.KeyPrefix)
	}
	s := &Store{log: o.Logger, clock: newClock(), claims: make(chan struct{}, 1), lost: make(chan Loss, 1)}
	s.closing, s.close = context.WithCancel(context.Background())
	for p := range s.keys {
		tag := fmt.Sprintf("%s:{%d}:", o.KeyPrefix, p)
		s.keys[p] = keys{tag + "r", tag + "w", tag + "d", tag + "s"}
	}
	s.due.init()
	var err error
	for i := range s.lanes {
		client, err := connect(o)
		if err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
		l := &s.lanes[i]
		l.client = client
		if _, cluster := client.(*goredis.ClusterClient); cluster {
			continue // a node that hangs would hold up the others
		}
		l.outbox = make(chan *parcel)
		for range senderCount {
			outbox := l.outbox
			s.senders.Go(func() { s.send(l, outbox) })
		}
	}
	s.settling.level, s.settling.within, s.settling.most = o.Durability, replicaWithin, replicaWithin+50*time.Millisecond
	switch o.Durability {
	case "":
		s.settling.level = Replica
	case Strict:
		s.settling.within, s.settling.most = strictWithin, 2*strictWithin+100*time.Millisecond
	case Fast, Replica:
	}
	if s.settling.client, err = connectWithin(o, s.settling.within+answerTimeout); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.client = s.lanes[store.Work].client
	s.cluster, _ = s.client.(*goredis.ClusterClient)
	return s, nil
}

func connect(o Options) (goredis.UniversalClient, error) { return connectWithin(o, answerTimeout) }

// connectWithin makes a client that waits so long for an answer.
func connectWithin(o Options, within time.Duration) (goredis.UniversalClient, error) {
	switch {
	case len(o.Addrs) == 0:
		return nil, errors.New("no address of a Redis server")
	case o.MasterName != "" && o.Cluster:
		return nil, errors.New("master_name (Sentinel) and cluster exclude each other")
	case len(o.Addrs) > 1 && o.MasterName == "" && !o.Cluster:
		return nil, errors.New("several addresses need master_name (Sentinel) or cluster: true")
	}
	u := goredis.UniversalOptions{
		Addrs: o.Addrs, MasterName: o.MasterName, TLSConfig: o.TLS, Dialer: o.Dial,
		Protocol:   2,
		MaxRetries: -1, ContextTimeoutEnabled: true,
		DialTimeout: dialTimeout, DialerRetries: 1,
		ReadTimeout: within, WriteTimeout: answerTimeout, PoolTimeout: answerTimeout,
		PoolSize: connections, ConnMaxIdleTime: 5 * time.Minute,
		DisableIdentity: true, FailingTimeoutSeconds: 1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if o.Username != "" || o.Password != nil {
		u.CredentialsProviderContext = func(context.Context) (string, string, error) {
			if o.Password == nil {
				return o.Username, "", nil
			}
			password, err := o.Password()
			return o.Username, password, err
		}
	}
	switch {
	case o.Cluster:
		return goredis.NewClusterClient(u.Cluster()), nil
	case o.MasterName != "":
		return goredis.NewFailoverClient(u.Failover()), nil
	}
	return goredis.NewClient(u.Simple()), nil
}

// Installation names the store for as long as it lives, whatever serves it.
func (s *Store) Installation() string { return s.installation }

// Warnings are what Open found that is not as it should be, in words for people.
func (s *Store) Warnings() []string { return s.warnings }

// Now implements store.Store.
func (s *Store) Now() time.Time { return s.clock.now() }

// Close implements store.Store. It waits for commits that are with the server.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		s.close()
		// Commits that are under way get their answer first, no other begins.
		s.alive.Lock()
		for _, l := range s.lanes {
			err = errors.Join(err, l.client.Close())
		}
		err = errors.Join(err, s.settling.client.Close())
		s.alive.Unlock()
		s.senders.Wait()
		if err != nil {
			err = fmt.Errorf("close store: %w", err)
		}
	})
	return err
}

// enter is the start of every call but Commit: ctx ends with the Store too.
func (s *Store) enter(ctx context.Context, op string) (context.Context, context.CancelFunc, error) {
	if s.closing.Err() != nil {
		return nil, nil, store.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", op, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.closing, func() { cancel(store.ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }, nil
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, txn store.Txn) error {
	if err := txn.Check(); err != nil {
		return err
	}
	if s.closing.Err() != nil {
		return store.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if len(txn.Writes) == 0 {
		return nil
	}
	change, ids := s.commitCall(txn)
	// The caller's memory may change from here on.
	var answer int64
	unknown := false // an attempt may have been applied
	attempt := func(ctx context.Context, r run) (int64, error) {
		cmd, err := s.ask(ctx, r)
		if err != nil {
			return 0, err
		}
		return cmd.Int64()
	}
	err := s.try(ctx, "commit", patience, func(ctx context.Context) error {
		got, err := attempt(ctx, change)
		if isFull(err) {
			// Was it applied before memory was full, and only the answer lost?
			if got, err = attempt(ctx, change.only()); err == nil && got == wouldDo {
				return store.ErrFull
			}
		}
		if owned := s.owner(ctx, err); owned != nil {
			return owned // nothing was done
		} else if err != nil {
			unknown = unknown || !errors.Is(err, store.ErrClosed)
			return err
		}
		answer = got
		return nil
	})
	switch {
	case errors.Is(err, store.ErrFull):
		return fmt.Errorf("commit: Redis has no memory left for new records, raise its maxmemory: %w", err)
	case errors.Is(err, store.ErrClosed) && unknown:
		return errors.New("commit: closed before the outcome was known")
	case err != nil && !unknown:
		return err
	}
	s.due.changed(txn.Partition)
	if err == nil && answer > 0 {
		return fmt.Errorf("commit %q: another version than was expected: %w", ids[answer-1], store.ErrConflict)
	}
	return err
}

// run is a script with what it works on, or without a script the command that
// args are, and its answer. It is copied for each attempt.
type run struct {
	script script
	keys   []string
	args   []any
	cmd    *goredis.Cmd
}

// only is a commit that looks whether it could be, and changes nothing.
func (r run) only() run {
	args := append([]any{}, r.args...)
	args[1] = onlyLook
	return run{script: commitKnown, keys: r.keys, args: args}
}

func (s *Store) commitCall(txn store.Txn) (c run, ids []string) {
	k := s.keys[txn.Partition]
	c = run{script: commitKnown, keys: []string{k.records, k.wakes}, args: make([]any, 0, 3+4*len(txn.Writes))}
	c.args = append(c.args, txn.Mark[:], "", s.marker)
	if txn.Grows() {
		c.script = commitNew
	}
	deletes := false
	for _, w := range txn.Writes {
		ids = append(ids, w.ID)
		record, wake := []byte(nil), any("")
		if w.Data == nil {
			deletes = true
		} else {
			ms := store.Millis(w.Wake)
			record = encode(store.Key{Partition: txn.Partition, ID: w.ID}, w.Expect+1, txn.Mark, ms, w.Data)
			if ms != 0 {
				wake = ms
			}
		}
		c.args = append(c.args, w.ID, expected(w.Expect), record, wake)
	}
	if deletes {
		c.keys = append(c.keys, k.deletions)
	}
	return c, ids
}

// ask lets one attempt run to its end, also when ctx is done before: then it
// returns early, and the attempt ends by its timeout.
func (s *Store) ask(ctx context.Context, r run) (*goredis.Cmd, error) {
	p := &parcel{run: r, done: make(chan struct{})}
	l := &s.lanes[store.LaneOf(ctx)]
	if l.outbox == nil {
		go func() {
			defer close(p.done)
			s.deliver(ctx, l, []*parcel{p})
		}()
	} else {
		select {
		case l.outbox <- p:
		case <-ctx.Done():
			return nil, errNotSent
		case <-s.closing.Done():
			return nil, store.ErrClosed
		}
	}
	select {
	case <-p.done:
		return p.cmd, p.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// errNotSent: the context ended before anything was sent.
var errNotSent = errors.New("not sent")

// send takes whatever is waiting to the server, again and again.
func (s *Store) send(l *lane, outbox <-chan *parcel) {
	const most = 128
	batch := make([]*parcel, 0, most)
	for {
		select {
		case p := <-outbox:
			batch = append(batch[:0], p)
		case <-s.closing.Done():
			return
		}
	waiting:
		for len(batch) < most {
			select {
			case p := <-outbox:
				batch = append(batch, p)
			default:
				break waiting
			}
		}
		s.deliver(s.closing, l, batch)
		for _, p := range batch {
			close(p.done)
		}
	}
}

// deliver runs what a batch asks for and notes what came of each.
func (s *Store) deliver(ctx context.Context, l *lane, batch []*parcel) {
	s.alive.RLock()
	defer s.alive.RUnlock()
	if s.closing.Err() != nil {
		for _, p := range batch {
			p.err = store.ErrClosed
		}
		return
	}
	// Closing and the end of one caller's patience interrupt nobody's commit.
	ctx = context.WithoutCancel(ctx)
	runs := make([]*run, len(batch))
	for i, p := range batch {
		runs[i] = &p.run
	}
	runOn(ctx, l.client, runs)
}

// runOn runs scripts by name, and those that the server does not know by their
// text: it forgets them when it restarts, fails over or is told to.
func runOn(ctx context.Context, client goredis.UniversalClient, runs []*run) {
	if len(runs) == 1 {
		r := runs[0]
		if r.begin(ctx, client); unknownScript(r.cmd.Err()) {
			r.cmd = client.Eval(ctx, r.script.text, r.keys, r.args...)
		}
		return
	}
	pipe := client.Pipeline()
	for _, r := range runs {
		r.begin(ctx, pipe)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	pipe = client.Pipeline()
	for _, r := range runs {
		if unknownScript(r.cmd.Err()) {
			r.cmd = pipe.Eval(ctx, r.script.text, r.keys, r.args...)
		}
	}
	if pipe.Len() > 0 {
		_, _ = pipe.Exec(ctx)
	}
}

// commands is a client or a pipeline.
type commands interface {
	EvalSha(ctx context.Context, sha string, keys []string, args ...any) *goredis.Cmd
	Do(ctx context.Context, args ...any) *goredis.Cmd
}

func (r *run) begin(ctx context.Context, to commands) {
	if r.script.sha == "" {
		r.cmd = to.Do(ctx, r.args...)
		return
	}
	r.cmd = to.EvalSha(ctx, r.script.sha, r.keys, r.args...)
}

func unknownScript(err error) bool { return err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") }

// isFull is an answer that says that nothing was done for lack of memory.
func isFull(err error) bool { return err != nil && strings.HasPrefix(err.Error(), "OOM ") }

// Load implements store.Store.
func (s *Store) Load(ctx context.Context, partition uint8, ids ...string) ([]store.Record, error) {
	ctx, cancel, err := s.enter(ctx, "load")
	if err != nil {
		return nil, err
	}
	defer cancel()
	if len(ids) == 0 {
		return nil, nil
	}
	read := run{args: append(make([]any, 0, 3+len(ids)), "HMGET", s.keys[partition].records)}
	for _, id := range ids {
		read.args = append(read.args, id)
	}
	read.args = append(read.args, markerField)
	var values []any
	err = s.try(ctx, "load", patience, func(ctx context.Context) error {
		cmd, err := s.ask(ctx, read)
		if err != nil {
			return err
		}
		got, err := cmd.Slice()
		if err != nil {
			return err
		}
		if text, ok := got[len(ids)].(string); ok && text != s.marker {
			return others(text)
		}
		values = got
		return nil
	})
	if err != nil {
		return nil, err
	}
	found := make([]store.Record, len(ids))
	var damaged []error
	for i, id := range ids {
		found[i].Key = store.Key{Partition: partition, ID: id}
		stored, ok := values[i].(string)
		if !ok {
			continue
		}
		if found[i] = decode(found[i].Key, stored); found[i].Data == nil {
			damaged = append(damaged, corrupt(found[i].Key))
		}
	}
	return found, errors.Join(damaged...)
}

// await returns when f does or ctx is done: a read from a connection ends by
// its timeout only.
func await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// try makes attempts until one succeeds or fails for good, ctx ends, or patience does.
func (s *Store) try(ctx context.Context, op string, patience time.Duration, attempt func(context.Context) error) error {
	start := time.Now()
	wait := firstPause
	var last error
	for {
		err := attempt(ctx)
		if err == nil {
			return nil
		}
		switch {
		case errors.Is(err, store.ErrClosed), errors.Is(context.Cause(ctx), store.ErrClosed), errors.Is(err, goredis.ErrClosed):
			return store.ErrClosed
		case ctx.Err() != nil:
			return ended(ctx, op, last)
		case errors.Is(err, store.ErrFull):
			return err
		case isFinal(err):
			return fmt.Errorf("%s: %w", op, err)
		}
		last = err
		if s.cluster != nil {
			// By itself the library asks who holds what once a minute, however many
			// connections are refused meanwhile.
			s.reload(ctx)
		}
		if time.Since(start) > patience {
			return fmt.Errorf("%s: Redis does not do it for %v: %w", op, time.Since(start).Round(time.Millisecond), err)
		}
		pause := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			if errors.Is(context.Cause(ctx), store.ErrClosed) {
				return store.ErrClosed
			}
			return ended(ctx, op, last)
		case <-s.closing.Done():
			pause.Stop()
			return store.ErrClosed
		}
		wait = min(2*wait, longestPause)
	}
}

// reload makes the lanes of a Cluster ask who holds what.
func (s *Store) reload(ctx context.Context) {
	clients := []goredis.UniversalClient{s.settling.client}
	for _, l := range s.lanes {
		clients = append(clients, l.client)
	}
	for _, client := range clients {
		if c, ok := client.(*goredis.ClusterClient); ok {
			c.ReloadState(ctx)
		}
	}
}

// ended tells that ctx is done, and what was wrong until then.
func ended(ctx context.Context, op string, last error) error {
	if last == nil {
		return fmt.Errorf("%s: %w", op, ctx.Err())
	}
	return fmt.Errorf("%s: %w (before: %w)", op, ctx.Err(), last)
}

// isFinal tells whether trying again would bring the same. Everything that a
// restart, a failover or a moving slot can bring about is not final: a lost
// connection, LOADING, READONLY, MASTERDOWN, CLUSTERDOWN, TRYAGAIN, MOVED, ASK,
// NOREPLICAS, MISCONF, BUSY, too many clients.
func isFinal(err error) bool {
	if _, refused := errors.AsType[refusal](err); refused {
		return true
	}
	var reply goredis.Error
	if !errors.As(err, &reply) {
		return false
	}
	for _, prefix := range []string{"NOPERM", "NOAUTH", "WRONGPASS", "WRONGTYPE", "CROSSSLOT", "ERR "} {
		if strings.HasPrefix(reply.Error(), prefix) {
			return !strings.HasPrefix(reply.Error(), "ERR max number of clients")
		}
	}
	return false
}
