package testbench

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTimeout bounds how long a program may take until it answers. It is
// generous: the machine may be compiling something else at the same time.
const startTimeout = 30 * time.Second

// Process is one program that a test started, in its own process group.
// Its methods are for the test's goroutine.
type Process struct {
	name string
	path string
	args []string
	env  []string // beside the test's own environment
	dir  string

	out  output
	cmd  *exec.Cmd
	done chan struct{} // closed once the program has ended and its output is read
}

// start runs the program and kills its group when the test ends.
func (p *Process) start(t testing.TB) {
	t.Helper()
	cmd := exec.Command(p.path, p.args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), p.env...)
	cmd.SysProcAttr = groupOf()
	cmd.WaitDelay = 2 * time.Second // a grandchild may hold the pipe
	p.out.to(t.Output(), p.name)
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	if err := spawn(cmd); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		defer close(done)
		_ = cmd.Wait() // how it ended is read from cmd.ProcessState
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // gone already is fine
		<-done
		p.out.flush()
	})
}

// awaitReady polls ready until it returns nil. It gives up early when the
// program ends.
func (p *Process) awaitReady(t testing.TB, ready func() error) {
	t.Helper()
	err := poll(startTimeout, func() (bool, error) {
		if !p.Running() {
			return true, fmt.Errorf("%s ended before it was ready: %v", p.name, p.cmd.ProcessState)
		}
		err := ready()
		return err == nil, err
	})
	if err != nil {
		t.Fatalf("%s is not ready: %v\n%s", p.name, err, p.Log())
	}
}

// Running tells whether the program has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Log is all that the program has written so far, over all its starts.
func (p *Process) Log() string { return p.out.String() }

// Pid is the process id of the latest start.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends sig to the program, not to its children.
func (p *Process) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("send %v to %s: %v", sig, p.name, err)
	}
}

// Kill9 kills the program and its children and waits until they are gone:
// what a crash of the machine looks like to everybody else.
func (p *Process) Kill9(t testing.TB) {
	t.Helper()
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %s: %v", p.name, err)
	}
	<-p.done
}

// Terminate sends SIGTERM and returns the exit status. A program that has not
// ended after limit fails the test.
func (p *Process) Terminate(t testing.TB, limit time.Duration) int {
	t.Helper()
	p.Signal(t, syscall.SIGTERM)
	return p.Wait(t, limit)
}

// Wait waits for the program's end and returns its exit status, -1 if a signal
// ended it.
func (p *Process) Wait(t testing.TB, limit time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(limit):
		t.Fatalf("%s has not ended after %v", p.name, limit)
	}
	return p.cmd.ProcessState.ExitCode()
}

// Freeze stops the program without its noticing, as a paused virtual machine
// would; Thaw lets it go on.
func (p *Process) Freeze(t testing.TB) { t.Helper(); p.Signal(t, syscall.SIGSTOP) }

// Thaw ends Freeze.
func (p *Process) Thaw(t testing.TB) { t.Helper(); p.Signal(t, syscall.SIGCONT) }

// spawn starts cmd from a thread that lives as long as the test binary: with
// Linux's parent-death signal a child dies with the thread that started it, so
// that a test binary that panics or runs into its timeout leaves nothing behind.
func spawn(cmd *exec.Cmd) error {
	errs := make(chan error)
	spawner() <- func() { errs <- cmd.Start() }
	return <-errs
}

var spawner = sync.OnceValue(func() chan<- func() {
	starts := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range starts {
			start()
		}
	}()
	return starts
})

// output keeps what a program writes and copies whole lines into the test's output.
type output struct {
	mu   sync.Mutex
	all  bytes.Buffer
	line []byte
	dst  io.Writer
	name string
}

func (o *output) to(dst io.Writer, name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dst, o.name = dst, name
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all.Write(b)
	o.line = append(o.line, b...)
	for {
		i := bytes.IndexByte(o.line, '\n')
		if i < 0 {
			return len(b), nil
		}
		fmt.Fprintf(o.dst, "%s: %s\n", o.name, o.line[:i])
		o.line = slices.Delete(o.line, 0, i+1)
	}
}

func (o *output) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.line) > 0 {
		fmt.Fprintf(o.dst, "%s: %s\n", o.name, o.line)
		o.line = nil
	}
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.String()
}

// Eventually polls ok every few milliseconds until it returns true. After limit
// it fails the test; what names the thing that was waited for.
func Eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	err := poll(limit, func() (bool, error) { return ok(), nil })
	if err != nil {
		t.Fatalf("waited for %s: %v", what, err)
	}
}

// poll calls try until it says that it is done, and returns its error, or one
// that holds try's last error when limit is over.
func poll(limit time.Duration, try func() (done bool, err error)) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := try()
		if done {
			return err
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return errors.Join(fmt.Errorf("not after %v", limit), err)
		}
	}
}

// FreeAddr returns an address of the loopback range that nobody listens on. It
// is below the range that the kernel gives to outgoing connections, so that
// none of those takes it before the program that it is meant for.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(20000 + rand.IntN(12000))
		// Any interface: local-slack listens on all of them.
		l, err := net.Listen("tcp", ":"+port)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatalf("close the probe of port %s: %v", port, err)
		}
		return "127.0.0.1:" + port
	}
	t.Fatal("no free port between 20000 and 32000")
	return ""
}

func portOf(t testing.TB, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatalf("address %q: %v", addr, err)
	}
	return port
}

// answers returns a probe that is content when url answers 200.
func answers(url string) func() error {
	client := &http.Client{Timeout: 2 * time.Second}
	return func() error {
		resp, err := client.Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", url, resp.Status)
		}
		return nil
	}
}

// Tool finds a program that a test runs to its end, like amtool or promtool.
func Tool(t testing.TB, name string) string {
	t.Helper()
	return program(t, name, ".cache/bin/"+name)
}

// program finds a program that the make targets install.
func program(t testing.TB, name string, cached ...string) string {
	t.Helper()
	path := find(t, name, cached...)
	if path == "" {
		t.Fatalf("%s is not installed: run make test, it installs %[1]s", name)
	}
	return path
}

// find finds a program: what the make targets installed first, then the places
// where Debian puts daemons, and PATH. It returns "" when there is none.
func find(t testing.TB, name string, cached ...string) string {
	t.Helper()
	root := moduleRoot(t)
	candidates := []string{}
	for _, c := range cached {
		candidates = append(candidates, filepath.Join(root, filepath.FromSlash(c)))
	}
	for _, c := range append(candidates, filepath.Join("/usr/sbin", name)) {
		if info, err := os.Stat(c); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return c
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return ""
}

// moduleRoot is the folder of callchain's go.mod.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatalf("find go.mod: %v", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test's folder")
		}
		dir = parent
	}
}

// writeFile writes a file of a program's private folder.
func writeFile(t testing.TB, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
}
