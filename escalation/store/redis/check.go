package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"callchain/escalation/store"
)

// markerField is that of the marker in each partition's hash: no record has an
// empty id.
const markerField = ""

const schema = 1

// ErrOtherInstallation says that the store is not the one that Options.Installation names.
var ErrOtherInstallation = errors.New("choose another store.redis.key_prefix")

// marker says whose a partition is.
func marker(installation string) string {
	return fmt.Sprintf("callchain schema=%d partitions=%d installation=%s", schema, store.Partitions, installation)
}

// readMarker returns the installation, or what is wrong.
func readMarker(text string) (installation string, err error) {
	var s, p int
	if _, err := fmt.Sscanf(text, "callchain schema=%d partitions=%d installation=%s", &s, &p, &installation); err != nil {
		return "", errors.New("keys with this prefix belong to something else: choose another store.redis.key_prefix")
	}
	if s != schema || p != store.Partitions {
		return "", fmt.Errorf("the store has schema %d and %d partitions, this callchain reads schema %d and %d partitions: run the version that wrote it", s, p, schema, store.Partitions)
	}
	return installation, nil
}

// prepare checks everything that can be known before the first alert comes.
func (s *Store) prepare(ctx context.Context, want string) error {
	forever := time.Duration(math.MaxInt64)
	for _, step := range []struct {
		op string
		do func(context.Context) error
	}{
		{"read the server's settings", s.checkServers},
		{"try the commands", s.checkCommands},
		{"read the clock", func(ctx context.Context) error {
			for range 5 {
				if err := s.readClock(ctx); err != nil {
					return err
				}
			}
			return nil
		}},
		{"read the marker", func(ctx context.Context) error {
			err := s.checkMarkers(ctx, want)
			s.marker = marker(s.installation)
			return err
		}},
	} {
		if err := s.try(ctx, step.op, forever, step.do); err != nil {
			return err
		}
	}
	return nil
}

// refusal is an error that trying again does not mend.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

func refuse(format string, args ...any) error { return refusal{fmt.Errorf(format, args...)} }

// node is a server that takes writes, with a partition that it holds.
type node struct {
	client    *goredis.Client
	addr      string
	partition uint8
}

// nodes are the servers that the partitions are on.
func (s *Store) nodes(ctx context.Context) ([]node, error) {
	if s.cluster == nil {
		c, _ := s.client.(*goredis.Client)
		return []node{{c, c.Options().Addr, 0}}, nil
	}
	var found []node
	for p, k := range s.keys {
		c, err := s.cluster.MasterForKey(ctx, k.records)
		if err != nil {
			return nil, err
		}
		addr := c.Options().Addr
		if !slices.ContainsFunc(found, func(n node) bool { return n.addr == addr }) {
			found = append(found, node{c, addr, uint8(p)})
		}
	}
	return found, nil
}

func (s *Store) checkServers(ctx context.Context) error {
	nodes, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	s.warnings = nil
	for _, n := range nodes {
		warnings, err := s.checkServer(ctx, n)
		if err != nil {
			return err
		}
		for _, w := range warnings {
			if !slices.Contains(s.warnings, w) {
				s.warnings = append(s.warnings, w)
			}
		}
	}
	return nil
}

func (s *Store) checkServer(ctx context.Context, n node) (warnings []string, err error) {
	text, err := n.client.Info(ctx).Result()
	if err != nil {
		return nil, denied(err, "info")
	}
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	version := info["redis_version"]
	major, _, _ := strings.Cut(version, ".")
	if number, err := strconv.Atoi(major); err != nil || number < 7 {
		return nil, refuse("the server is Redis %s; callchain needs Redis 7.0 or later, or Valkey", version)
	}
	if info["role"] == "slave" && s.cluster == nil {
		if _, failover := info["master_link_status"]; failover && n.addr == "FailoverClient" {
			return nil, errors.New("READONLY Sentinel names a server that is a replica") // in the midst of a failover
		}
		return nil, refuse("the server is a replica, which takes no writes: name its master, or the Sentinels and store.redis.master_name")
	}
	if policy := info["maxmemory_policy"]; strings.HasPrefix(policy, "allkeys-") {
		return nil, refuse("maxmemory-policy is %s: when memory is full Redis would delete incidents and their timers; set it to noeviction", policy)
	}

	setting := func(name string) (value string, known bool) {
		got, err := n.client.ConfigGet(ctx, name).Result() // denied by many hosts
		return got[name], err == nil
	}
	switch {
	case info["aof_enabled"] == "1":
		if fsync, known := setting("appendfsync"); known && fsync == "no" {
			warnings = append(warnings, "appendfsync is no: when the machine of Redis loses power, about the last 30 s are lost; set it to everysec or always")
		}
	default:
		save, known := setting("save")
		switch {
		case known && save == "":
			warnings = append(warnings, "Redis keeps nothing on disk: when it restarts, all incidents and timers are gone and pages stop; set appendonly yes")
		case known:
			warnings = append(warnings, fmt.Sprintf("Redis writes snapshots only (save %q): when it crashes, everything since the last one is lost; set appendonly yes", save))
		default:
			warnings = append(warnings, "Redis writes no append-only file: when it crashes, everything since its last snapshot is lost, if it makes any; set appendonly yes")
		}
	}
	if info["aof_enabled"] == "1" && info["aof_last_write_status"] == "err" {
		warnings = append(warnings, "the last write of Redis' append-only file failed: look at its disk")
	}
	if info["rdb_last_bgsave_status"] == "err" {
		warnings = append(warnings, "the last snapshot of Redis failed: look at its disk; it may refuse writes until one succeeds")
	}
	if s.cluster != nil {
		if full, _ := setting("cluster-require-full-coverage"); full == "yes" {
			warnings = append(warnings, "cluster-require-full-coverage is yes: when one part of the Cluster is gone, the whole of it answers nothing and nobody is paged; set it to no")
		}
	}
	if s.settling.level == Strict && info["connected_slaves"] == "0" {
		warnings = append(warnings, "store.redis.durability is strict and the master has no replica: webhooks and presses are answered 503 until it has one")
	}
	if n.addr == "FailoverClient" && info["connected_slaves"] == "0" {
		warnings = append(warnings, "the master has no replica: Sentinel has nothing to fail over to")
	}
	return warnings, nil
}

// denied says which command is not allowed.
func denied(err error, command string) error {
	if err != nil && strings.HasPrefix(err.Error(), "NOPERM") {
		return refuse("the ACL of Redis denies the command %s: %w", command, err)
	}
	return err
}

// checkCommands runs every command and both scripts on keys of its own, which it
// empties, on every server.
func (s *Store) checkCommands(ctx context.Context) error {
	nodes, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := s.checkNode(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) checkNode(ctx context.Context, n node) error {
	base := strings.TrimSuffix(s.keys[n.partition].records, "r") + "check-" + rand.Text() + ":"
	k := keys{base + "r", base + "w", base + "d", base + "s"}
	tries := [][]any{
		{"hset", k.records, "a", "1"}, {"hsetnx", k.records, "b", "1"}, {"hget", k.records, "a"}, {"hmget", k.records, "a"},
		{"hlen", k.records}, {"hscan", k.records, "0"}, {"hdel", k.records, "a", "b"},
		{"zadd", k.wakes, "1", "a"}, {"zrange", k.wakes, "0", "0"}, {"zmscore", k.wakes, "a"}, {"zrem", k.wakes, "a"},
		{"lpush", k.deletions, "a"}, {"lpos", k.deletions, "a"}, {"lindex", k.deletions, "0"}, {"ltrim", k.deletions, "1", "0"},
		{"time"},
		{"hset", k.settled, "n", "1"}, {"hdel", k.settled, "n"},
		{"eval", "return 1", "1", k.records}, {"evalsha", strings.Repeat("0", len(claimed.sha)), "1", k.records}, // known nowhere
	}
	if s.settling.level == Strict {
		tries = append(tries, []any{"wait", "0", "1"})
	}
	pipe := n.client.Pipeline()
	cmds := make([]*goredis.Cmd, len(tries))
	for i, args := range tries {
		cmds[i] = pipe.Do(ctx, args...)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	var names []string
	var first error
	for i, cmd := range cmds {
		switch err := cmd.Err(); {
		case err == nil, errors.Is(err, goredis.Nil), unknownScript(err):
		case strings.HasPrefix(err.Error(), "NOPERM"):
			name, _ := tries[i][0].(string)
			names = append(names, name)
			if first == nil {
				first = err
			}
		case isFull(err):
			s.warn("Redis has no memory left: no new incident can be stored; raise its maxmemory")
		default:
			return err
		}
	}
	if len(names) > 0 {
		return refuse("the ACL of Redis denies the commands %s on the keys %s*: %w", strings.Join(names, ", "), strings.TrimSuffix(base, "check-"), first)
	}

	// The scripts: create with a wake-up, claim it, delete.
	key := store.Key{Partition: n.partition, ID: "check"}
	mark := [8]byte([]byte(rand.Text()))
	due := time.Now().UnixMilli()
	steps := []struct {
		name string
		run  run
		good func(*goredis.Cmd) bool
	}{
		{"commit", run{commitKnown, []string{k.records, k.wakes}, []any{mark[:], "", "", key.ID, "", encode(key, 1, mark, due, nil), due}, nil}, isZero},
		{"claim", run{claimed, []string{k.records, k.wakes}, []any{due + 1, "", key.ID, due}, nil}, func(c *goredis.Cmd) bool {
			answer, _ := c.Slice()
			return len(answer) == 3
		}},
		{"commit", run{commitKnown, []string{k.records, k.wakes, k.deletions}, []any{mark[:], "x", "", key.ID, expected(1), "", ""}, nil}, nil},
		{"commit", run{commitKnown, []string{k.records, k.wakes, k.deletions}, []any{make([]byte, 8), "", "", key.ID, expected(1), "", ""}, nil}, isZero},
	}
	for _, step := range steps {
		runs := []*run{&step.run}
		runOn(ctx, n.client, runs)
		switch err := runs[0].cmd.Err(); {
		case err != nil && strings.HasPrefix(err.Error(), "ERR"):
			return refuse("the %s script does not work: %w", step.name, err)
		case err != nil:
			return err
		case step.good != nil && !step.good(runs[0].cmd):
			return refuse("the %s script answers %v, which it should not", step.name, runs[0].cmd.Val())
		}
	}
	return n.client.LTrim(ctx, k.deletions, 1, 0).Err()
}

func isZero(c *goredis.Cmd) bool { n, err := c.Int64(); return err == nil && n == applied }

func (s *Store) warn(text string) {
	if !slices.Contains(s.warnings, text) {
		s.warnings = append(s.warnings, text)
	}
}

// readMarkers finds out whose store this is, and in how many partitions nothing
// says so. The installation is "" when nobody ever had a store here.
func (s *Store) readMarkers(ctx context.Context, want string) (installation string, missing int, err error) {
	pipe := s.client.Pipeline()
	cmds := make([]*goredis.StringCmd, len(s.keys))
	for p, k := range s.keys {
		cmds[p] = pipe.HGet(ctx, k.records, markerField)
	}
	_, _ = pipe.Exec(ctx)
	for _, cmd := range cmds {
		text, err := cmd.Result()
		if errors.Is(err, goredis.Nil) {
			missing++
			continue
		}
		if err != nil {
			return "", 0, err
		}
		id, err := readMarker(text)
		if err != nil {
			return "", 0, refusal{err}
		}
		if installation != "" && id != installation {
			return "", 0, refuse("its partitions belong to two installations, %s and %s: give each its own store.redis.key_prefix", installation, id)
		}
		installation = id
	}
	switch {
	case installation == "" && want != "":
		s.warn("the store is empty, but this callchain had one here: Redis lost it, with all incidents and timers. What still fires comes back when Alertmanager sends it again")
		installation = want
		s.lose(missing)
	case installation == "":
	case want != "" && installation != want:
		return "", 0, refuse("the store belongs to installation %s, this callchain is %s: %w", installation, want, ErrOtherInstallation)
	case missing > 0:
		s.warn(fmt.Sprintf("%d of %d partitions are empty: a server lost what it had. What still fires there comes back when Alertmanager sends it again", missing, store.Partitions))
		if want != "" { // else it may be one that another process is just making
			s.lose(missing)
		}
	}
	return installation, missing, nil
}

// checkMarkers finds out whose store this is, and makes it one where it is empty.
func (s *Store) checkMarkers(ctx context.Context, want string) error {
	installation, missing, err := s.readMarkers(ctx, want)
	if err != nil {
		return err
	}
	if installation == "" {
		var id [16]byte
		_, _ = rand.Read(id[:]) // never fails
		installation = hex.EncodeToString(id[:])
	}
	if missing == 0 {
		s.installation = installation
		return nil
	}
	// When two start at once, the one that marks partition 0 gives the name.
	if err := s.client.HSetNX(ctx, s.keys[0].records, markerField, marker(installation)).Err(); err != nil {
		return err
	}
	text, err := s.client.HGet(ctx, s.keys[0].records, markerField).Result()
	if err != nil {
		return err
	}
	if s.installation, err = readMarker(text); err != nil {
		return refusal{err}
	}
	if want != "" && s.installation != want {
		return refuse("the store belongs to installation %s, this callchain is %s: %w", s.installation, want, ErrOtherInstallation)
	}
	pipe := s.client.Pipeline()
	for _, k := range s.keys[1:] {
		pipe.HSetNX(ctx, k.records, markerField, marker(s.installation))
	}
	_, err = pipe.Exec(ctx)
	return err
}

// Loss is that Redis came back without what it had: it was emptied, or started
// again without its file. The records of so many partitions are gone, and with
// them the timers; from here on they are a store again.
type Loss struct {
	At         time.Time
	Partitions int
}

// Lost tells of losses, also of one that was found at the start. One that nobody
// has taken yet stands for all that follow.
func (s *Store) Lost() <-chan Loss { return s.lost }

func (s *Store) lose(partitions int) {
	select {
	case s.lost <- Loss{s.Now(), partitions}:
	default:
	}
}

// others says that a partition has become somebody else's.
func others(text string) error {
	return refuse("the store in Redis belongs to another installation now (%s): %w", text, ErrOtherInstallation)
}

// owner is the error of a script that found a partition not to be this store's,
// nil for all others. One that is empty is marked again: then it helps to retry.
func (s *Store) owner(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case strings.HasPrefix(err.Error(), foreign):
		return others(strings.TrimPrefix(err.Error(), foreign+" "))
	case strings.HasPrefix(err.Error(), unmarked):
		if failed := s.mend(ctx); failed != nil {
			return failed
		}
		return err
	}
	return nil
}

// checkMarker looks at one partition's marker, another one each time. It is an
// error when that is another installation's.
func (s *Store) checkMarker(ctx context.Context) error {
	p := s.due.turn
	for s.due.away[p].Load() {
		p++ // never all of them, see leave
	}
	s.due.turn = p + 1
	cmds, errs := s.markers(ctx, []uint8{p})
	switch {
	case errors.Is(errs[0], goredis.Nil):
		if err := s.mend(ctx); isFinal(err) {
			return err
		} else if err != nil && ctx.Err() == nil {
			s.log.Warn("marker not written", "partition", p, "err", err)
		}
	case errs[0] == nil && cmds[0].Val() != s.marker:
		return others(cmds[0].Val())
	}
	return nil
}

func (s *Store) markers(ctx context.Context, partitions []uint8) ([]*goredis.StringCmd, []error) {
	return each(ctx, s, partitions, func(pipe goredis.Pipeliner, i int) *goredis.StringCmd {
		return pipe.HGet(ctx, s.keys[partitions[i]].records, markerField)
	})
}

// mend looks at all markers after one was missed, writes those that are gone, and
// tells of the loss. Of several processes that find it, those tell that write some.
func (s *Store) mend(ctx context.Context) error {
	began := time.Now()
	s.mending.Lock()
	defer s.mending.Unlock()
	if s.mended.After(began) {
		return nil // by another call, while this one waited
	}
	var all, empty []uint8
	for p := range s.keys {
		all = append(all, uint8(p))
	}
	cmds, errs := s.markers(ctx, all)
	for p := range all {
		switch {
		case errors.Is(errs[p], goredis.Nil):
			empty = append(empty, uint8(p))
		case errs[p] == nil && cmds[p].Val() != s.marker:
			return others(cmds[p].Val())
		}
	}
	written, errs := each(ctx, s, empty, func(pipe goredis.Pipeliner, i int) *goredis.BoolCmd {
		return pipe.HSetNX(ctx, s.keys[empty[i]].records, markerField, s.marker)
	})
	first := false
	for i := range empty {
		first = first || errs[i] == nil && written[i].Val()
	}
	if first {
		s.log.Error("records lost by Redis: incidents and timers are gone, what still fires comes back when Alertmanager sends it again", "partitions", len(empty), "of", store.Partitions)
		s.lose(len(empty))
	}
	err := errors.Join(errs...)
	if err == nil {
		s.mended = time.Now()
	}
	return err
}
