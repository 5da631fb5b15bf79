package testbench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Redis is a running redis-server, as a server of records or as a Sentinel.
type Redis struct {
	*Process
	Addr string
	Dir  string // its files
}

// StartRedis starts a server and waits until it answers. Without arguments it
// keeps nothing on disk; later ones win: "--appendonly", "yes".
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	r := newRedis(t, "redis", args)
	r.Restart(t)
	return r
}

// StartValkey is StartRedis with Valkey; nil where there is none.
func StartValkey(t testing.TB, args ...string) *Redis {
	t.Helper()
	path := find(t, "valkey-server", ".cache/valkey/usr/bin/valkey-server")
	if path == "" {
		return nil
	}
	r := newServer(t, "valkey", path, args)
	r.Restart(t)
	return r
}

func newRedis(t testing.TB, name string, args []string) *Redis {
	t.Helper()
	return newServer(t, name, program(t, "redis-server"), args)
}

func newServer(t testing.TB, name, path string, args []string) *Redis {
	t.Helper()
	addr, dir := FreeAddr(t), t.TempDir()
	return &Redis{Addr: addr, Dir: dir, Process: &Process{
		name: name, path: path, dir: dir,
		args: append([]string{
			"--port", portOf(t, addr), "--bind", "127.0.0.1", "--dir", dir, "--daemonize", "no",
			"--loglevel", "warning", "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0",
		}, args...),
	}}
}

// Restart starts a server that was killed or has ended, with the same address
// and files, and waits until it answers and has loaded them.
func (r *Redis) Restart(t testing.TB) {
	t.Helper()
	r.start(t)
	r.awaitReady(t, func() error { _, err := r.call("PING"); return err })
}

// Call sends one command and returns the answer: nil, int64, string or []any.
func (r *Redis) Call(t testing.TB, args ...string) any {
	t.Helper()
	answer, err := r.call(args...)
	if err != nil {
		t.Fatalf("redis: %s: %v", strings.Join(args, " "), err)
	}
	return answer
}

// Try sends a command to a server that may not answer; what becomes of it is
// nobody's concern.
func (r *Redis) Try(args ...string) { _, _ = r.call(args...) }

// Info is one field of INFO, "" when there is none.
func (r *Redis) Info(t testing.TB, section, field string) string {
	t.Helper()
	text, _ := r.Call(t, "INFO", section).(string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name == field {
			return value
		}
	}
	return ""
}

var perSecond = regexp.MustCompile(`([0-9.]+) requests per second`)

// Benchmark is how many times a second redis-benchmark, over some connections,
// runs a script that writes a record of size bytes with its wake-up, as a commit
// does: what the machine has to offer right now.
func (r *Redis) Benchmark(t testing.TB, connections, size int) float64 {
	t.Helper()
	const text = "redis.call('HMGET', KEYS[1], ARGV[1]) redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1]) redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) return 0"
	out, err := exec.Command(program(t, "redis-benchmark"), "-q", "-p", portOf(t, r.Addr), "-c", strconv.Itoa(connections), "-n", strconv.Itoa(5000+connections*500), "-r", "100000",
		"EVAL", text, "2", "bench:{0}:r", "bench:{0}:w", "i/__rand_int__", strings.Repeat("x", size), "1800000000000").CombinedOutput()
	if err != nil {
		t.Fatalf("redis-benchmark: %v\n%s", err, out)
	}
	found := perSecond.FindAllSubmatch(out, -1)
	if len(found) == 0 {
		t.Fatalf("redis-benchmark says no rate:\n%s", out)
	}
	rate, err := strconv.ParseFloat(string(found[len(found)-1][1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return rate
}

func (r *Redis) call(args ...string) (any, error) {
	c, err := net.DialTimeout("tcp", r.Addr, 2*time.Second)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		return nil, err
	}
	return readReply(bufio.NewReader(c))
}

func readReply(r *bufio.Reader) (any, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return nil, errors.New("an empty answer")
	}
	kind, rest := line[0], line[1:]
	if kind == '+' {
		return rest, nil
	}
	if kind == '-' {
		return nil, errors.New(rest)
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("answer %q: %w", line, err)
	}
	switch {
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil
	case kind == '$':
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		return string(b[:n]), nil
	case kind == '*':
		all := make([]any, n)
		for i := range all {
			if all[i], err = readReply(r); err != nil {
				return nil, err
			}
		}
		return all, nil
	}
	return nil, fmt.Errorf("answer %q", line)
}

// Sentinel is a master with a replica, watched by three Sentinels.
type Sentinel struct {
	Name      string   // of the master
	Addrs     []string // of the Sentinels
	Servers   []*Redis // the first is the master at the start
	Sentinels []*Redis
}

// StartSentinel starts all of it and waits until a failover is possible. A
// master that does not answer for a second is replaced. The arguments are the
// servers'.
func StartSentinel(t testing.TB, args ...string) *Sentinel {
	t.Helper()
	s := &Sentinel{Name: "callchain"}
	master := StartRedis(t, args...)
	replica := newRedis(t, "replica", append([]string{"--replicaof", "127.0.0.1 " + portOf(t, master.Addr)}, args...))
	replica.Restart(t)
	s.Servers = []*Redis{master, replica}
	Eventually(t, startTimeout, "the replica to follow its master", func() bool {
		return replica.Info(t, "replication", "master_link_status") == "up"
	})
	for i := range 3 {
		one := newRedis(t, fmt.Sprintf("sentinel%d", i), nil)
		file := filepath.Join(one.Dir, "sentinel.conf")
		writeFile(t, file, fmt.Appendf(nil, `port %s
bind 127.0.0.1
dir %s
loglevel warning
sentinel monitor %s 127.0.0.1 %s 2
sentinel down-after-milliseconds %[3]s 1000
sentinel failover-timeout %[3]s 5000
`, portOf(t, one.Addr), one.Dir, s.Name, portOf(t, master.Addr)), 0o600)
		one.args = []string{file, "--sentinel"}
		one.Restart(t)
		s.Sentinels = append(s.Sentinels, one)
		s.Addrs = append(s.Addrs, one.Addr)
	}
	Eventually(t, startTimeout, "the Sentinels to know each other and the replica", func() bool {
		for _, one := range s.Sentinels {
			state := one.Info(t, "sentinel", "master0")
			if !strings.Contains(state, "slaves=1,sentinels=3") {
				return false
			}
		}
		return true
	})
	return s
}

// StartCluster starts a Cluster of n nodes, a multiple of two from six on: half
// of them masters, each with a replica, and waits until it serves all slots.
func StartCluster(t testing.TB, n int, args ...string) []*Redis {
	t.Helper()
	nodes := make([]*Redis, n)
	for i := range nodes {
		nodes[i] = newRedis(t, fmt.Sprintf("node%d", i), append([]string{
			"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000",
			"--cluster-port", portOf(t, FreeAddr(t)),
		}, args...))
		nodes[i].Restart(t)
	}
	masters := n / 2
	for i, node := range nodes {
		node.Call(t, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	busPort := func(r *Redis) string {
		for i, a := range r.args {
			if a == "--cluster-port" {
				return r.args[i+1]
			}
		}
		return ""
	}
	for _, node := range nodes[1:] {
		nodes[0].Call(t, "CLUSTER", "MEET", "127.0.0.1", portOf(t, node.Addr), busPort(node))
	}
	for i, master := range nodes[:masters] {
		master.Call(t, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*16384/masters), strconv.Itoa((i+1)*16384/masters-1))
	}
	for i, replica := range nodes[masters:] {
		id, _ := nodes[i].Call(t, "CLUSTER", "MYID").(string)
		Eventually(t, startTimeout, "the nodes to know each other", func() bool {
			_, err := replica.call("CLUSTER", "REPLICATE", id)
			return err == nil
		})
	}
	Eventually(t, startTimeout, "the cluster to serve all slots", func() bool {
		for i, node := range nodes {
			text, _ := node.Call(t, "CLUSTER", "INFO").(string)
			if !strings.Contains(text, "cluster_state:ok") || !strings.Contains(text, fmt.Sprintf("cluster_known_nodes:%d", n)) {
				return false
			}
			if i >= masters && node.Info(t, "replication", "master_link_status") != "up" {
				return false
			}
		}
		return true
	})
	return nodes
}
