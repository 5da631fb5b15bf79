package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/escalation/engine"
	"callchain/escalation/journal"
	"callchain/escalation/store"
	"callchain/escalation/store/bolt"
	"callchain/escalation/store/mem"
	"callchain/escalation/store/redis"
)

// waitForRedis is for how long a start waits for a Redis that is not there yet.
const waitForRedis = 30 * time.Second

// What stores are called in the configuration and on the command line.
const (
	embedded = "embedded"
	inRedis  = "redis"
)

// openStore opens the store of a kind that the configuration describes; any
// other kind is the path of an embedded store's file.
func openStore(ctx context.Context, c *config.Config, kind string, log *slog.Logger) (store.Store, error) {
	path := kind
	switch kind {
	case inRedis:
		return openRedis(ctx, c, log)
	case embedded:
		path = c.Store.Path.V
	}
	st, err := bolt.Open(path, log)
	if err != nil {
		return nil, fmt.Errorf("open the store %s: %w", path, err)
	}
	return st, nil
}

// redisOptions says how to reach the store in Redis, and which file keeps which
// store this callchain has.
func redisOptions(c *config.Config, log *slog.Logger) (o redis.Options, file string, err error) {
	r := c.Store.Redis
	o = redis.Options{
		MasterName: r.MasterName.V, Cluster: r.Cluster.V, Username: r.Username.V, KeyPrefix: r.KeyPrefix.V, Logger: log,
		Durability: redis.Durability(r.Durability.V),
	}
	for _, a := range r.Addrs {
		o.Addrs = append(o.Addrs, a.V)
	}
	if password := c.Secret(r.PasswordFile); password != nil {
		o.Password = password.First
	}
	if r.TLS.V {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	// Beside the last good catalog it is kept which store this callchain has: a
	// server that came back empty, or holds another's, is known by that.
	file = c.Store.Path.V + ".installation"
	known, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return o, file, fmt.Errorf("read which store in Redis is ours: %w", err)
	}
	o.Installation = strings.TrimSpace(string(known))
	return o, file, nil
}

func openRedis(ctx context.Context, c *config.Config, log *slog.Logger) (store.Store, error) {
	o, file, err := redisOptions(c, log)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of store.path: %w", err)
	}

	log.Info("opening the store in Redis", "waits_at_most", waitForRedis)
	ctx, cancel := context.WithTimeout(ctx, waitForRedis)
	defer cancel()
	st, err := redis.Open(ctx, o)
	if errors.Is(err, redis.ErrOtherInstallation) {
		err = fmt.Errorf("%w (%s says which; remove it if this store is meant)", err, file)
	}
	if err != nil {
		return nil, err
	}
	for _, w := range st.Warnings() {
		log.Warn("store in Redis is not as safe as it should be", "problem", w)
	}
	if st.Installation() != o.Installation {
		if err := replaceFile(file, []byte(st.Installation()+"\n")); err != nil {
			return nil, errors.Join(fmt.Errorf("keep which store in Redis is ours: %w", err), st.Close())
		}
	}
	return st, nil
}

// maxJournal bounds what is kept on disk while Redis is away.
const maxJournal = 1 << 30

// openIsland opens what a daemon over Redis goes on with while that is away; nil
// for the embedded store, which is this machine's disk itself.
func openIsland(c *config.Config, log *slog.Logger) (*engine.Island, error) {
	if c.Store.Type.V != inRedis {
		return nil, nil
	}
	j, err := journal.Open(c.Store.Path.V+".journal", maxJournal, log)
	if errors.Is(err, journal.ErrLocked) {
		err = fmt.Errorf("%w: give every callchain that runs here a store.path of its own", err)
	}
	if err != nil {
		return nil, err
	}
	return &engine.Island{Journal: j, Scratch: mem.New()}, nil
}

// tellLosses tells callchain's own team when Redis came back without what it had,
// until ctx is done. It is said in the store itself: in what Redis is since then.
func tellLosses(ctx context.Context, eng *engine.Engine, log *slog.Logger, st store.Store) error {
	r, ok := st.(*redis.Store)
	if !ok {
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case loss := <-r.Lost():
			for !tell(ctx, eng, log, lossNotice(loss)) && ctx.Err() == nil {
				select {
				case <-ctx.Done():
				case <-time.After(2 * time.Second):
				}
			}
		}
	}
}

func lossNotice(loss redis.Loss) engine.Notice {
	what := "all records"
	if loss.Partitions < store.Partitions {
		what = fmt.Sprintf("the records of %d of %d parts", loss.Partitions, store.Partitions)
	}
	return engine.Notice{
		// Replicas that find it together say it once.
		Key:   "lost:" + loss.At.Truncate(10*time.Minute).UTC().Format(time.RFC3339),
		Title: "Redis lost records of callchain",
		Body: fmt.Sprintf("Redis came back without %s of callchain's store: those incidents, acknowledgements and timers are gone, and nobody is paged for them any more. "+
			"What still fires comes back when Alertmanager sends it again (its repeat_interval).\n"+
			"Now: look at Alertmanager for what fires, and tell by hand who has to know. "+
			"Then find out why: a FLUSHALL, a restart without an append-only file, a failover to an empty replica; docs/redis.md says which settings keep what.", what),
	}
}

// storeChanged tells whether a store is another one, or reached in another way.
func storeChanged(a, b config.Store) bool {
	return a.Type.V != b.Type.V || a.Path.V != b.Path.V ||
		!slices.EqualFunc(a.Redis.Addrs, b.Redis.Addrs, func(a, b config.At[string]) bool { return a.V == b.V }) ||
		a.Redis.MasterName.V != b.Redis.MasterName.V || a.Redis.Cluster.V != b.Redis.Cluster.V ||
		a.Redis.Username.V != b.Redis.Username.V || a.Redis.PasswordFile.V != b.Redis.PasswordFile.V ||
		a.Redis.TLS.V != b.Redis.TLS.V || a.Redis.KeyPrefix.V != b.Redis.KeyPrefix.V
}
