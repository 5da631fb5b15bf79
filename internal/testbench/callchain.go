package testbench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

var (
	buildOnce   = sync.OnceValues(func() (string, error) { return build("callchain") })
	buildFaults = sync.OnceValues(func() (string, error) { return build("callchain-faultpoints", "-tags=faultpoints") })
)

func build(name string, flags ...string) (string, error) {
	gomod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find go.mod: %w", err)
	}
	// Below .cache, not in a folder of this run: Go links again only when
	// something changed. The rename lets the binaries of test packages that run
	// at the same time come and go: whoever runs an older file keeps it.
	dir := filepath.Join(filepath.Dir(strings.TrimSpace(string(gomod))), ".cache", "test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make a folder for the binary: %w", err)
	}
	binary := filepath.Join(dir, name)
	fresh := fmt.Sprintf("%s.%d", binary, os.Getpid())
	args := append(append([]string{"build", "-o", fresh}, flags...), "callchain/cmd/callchain")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	if err := os.Rename(fresh, binary); err != nil {
		return "", fmt.Errorf("put the binary in its place: %w", err)
	}
	return binary, nil
}

// Binary builds cmd/callchain, once per test binary, and returns its path.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := buildOnce()
	if err != nil {
		t.Fatalf("build callchain: %v", err)
	}
	return path
}

// Daemon says how to start "callchain serve".
type Daemon struct {
	Args []string // after "serve"; --web.listen-address is added
	Env  []string // beside the test's own environment: "SSL_CERT_FILE=" + exim.CAFile
	Dir  string   // where it runs; default a temporary folder
	Addr string   // where it listens; default FreeAddr
	// Faults runs a binary with fault points: see internal/fault.
	Faults bool
}

// Callchain is a running daemon.
type Callchain struct {
	*Process
	Addr string
	URL  string
}

// StartCallchain runs "callchain serve" with these arguments and waits until it
// is ready.
func StartCallchain(t testing.TB, args ...string) *Callchain {
	t.Helper()
	return Daemon{Args: args}.Start(t)
}

// Start builds callchain, starts the daemon and waits until it is ready.
func (d Daemon) Start(t testing.TB) *Callchain {
	t.Helper()
	if !d.Faults {
		return d.start(t, Binary(t))
	}
	path, err := buildFaults()
	if err != nil {
		t.Fatalf("build callchain with fault points: %v", err)
	}
	return d.start(t, path)
}

func (d Daemon) start(t testing.TB, binary string) *Callchain {
	t.Helper()
	if d.Addr == "" {
		d.Addr = FreeAddr(t)
	}
	if d.Dir == "" {
		d.Dir = t.TempDir()
	}
	c := &Callchain{Addr: d.Addr, URL: "http://" + d.Addr, Process: &Process{
		name: "callchain", path: binary, dir: d.Dir, env: d.Env,
		args: append([]string{"serve", "--web.listen-address=" + d.Addr}, d.Args...),
	}}
	c.Restart(t)
	return c
}

// Restart starts a daemon that was killed or has ended, with the same address,
// arguments and folder, and waits until it is ready.
func (c *Callchain) Restart(t testing.TB) {
	t.Helper()
	c.Process.start(t)
	c.awaitReady(t, answers(c.URL+"/-/ready"))
}

// Reload sends SIGHUP. It does not wait for the new configuration.
func (c *Callchain) Reload(t testing.TB) { t.Helper(); c.Signal(t, syscall.SIGHUP) }
