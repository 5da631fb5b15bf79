package testbench

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// standIn makes this test binary behave as far like "callchain serve" as a
// handle can tell: it listens, is ready, and minds signals.
const standIn = "CALLCHAIN_TESTBENCH_STAND_IN"

func TestMain(m *testing.M) {
	if os.Getenv(standIn) != "" {
		standInServe(strings.TrimPrefix(os.Args[2], "--web.listen-address="))
	}
	os.Exit(m.Run())
}

func standInServe(addr string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM)
	http.HandleFunc("/-/ready", func(http.ResponseWriter, *http.Request) {})
	go func() {
		fmt.Println(http.ListenAndServe(addr, nil))
		os.Exit(1)
	}()
	for s := range signals {
		fmt.Println("got", s)
		if s == syscall.SIGTERM {
			os.Exit(0)
		}
	}
}

func TestProcessHandle(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := Daemon{Env: []string{standIn + "=1"}}.start(t, self)

	c.Reload(t)
	Eventually(t, 10*time.Second, "SIGHUP in the log", func() bool {
		return strings.Contains(c.Log(), "got hangup\n")
	})

	c.Kill9(t)
	if c.Running() {
		t.Error("still running after Kill9")
	}
	if err := answers(c.URL + "/-/ready")(); err == nil {
		t.Error("still answering after Kill9")
	}

	killed := c.Pid()
	c.Restart(t)
	if c.Pid() == killed {
		t.Error("Restart started nothing")
	}
	c.Freeze(t)
	c.Thaw(t)
	if status := c.Terminate(t, 10*time.Second); status != 0 {
		t.Errorf("exit status after SIGTERM is %d", status)
	}
	if !strings.Contains(c.Log(), "got terminated\n") {
		t.Errorf("the log lacks SIGTERM:\n%s", c.Log())
	}
}

// TestNothingIsLeftBehind proves that the end of a test ends what it started,
// with its children.
func TestNothingIsLeftBehind(t *testing.T) {
	var pid int
	t.Run("leaves a shell with a child", func(t *testing.T) {
		sh, err := exec.LookPath("sh")
		if err != nil {
			t.Fatal(err)
		}
		p := &Process{name: "sh", path: sh, args: []string{"-c", "sleep 1000 & echo up; wait"}}
		p.start(t)
		p.awaitReady(t, func() error {
			if p.Log() == "" {
				return fmt.Errorf("no output yet")
			}
			return nil
		})
		pid = p.Pid()
	})
	// The child is an orphan now; whoever reaps it may take a moment.
	Eventually(t, 10*time.Second, "the end of the process group", func() bool {
		return !groupLives(pid)
	})
}

// groupLives tells whether the group has a process that is not just waiting to
// be reaped.
func groupLives(group int) bool {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		return syscall.Kill(-group, 0) == nil // no /proc: not Linux
	}
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		// After the name in brackets: state, parent, group.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 2 && fields[2] == strconv.Itoa(group) && fields[0] != "Z" {
			return true
		}
	}
	return false
}

func TestBinaryIsCallchain(t *testing.T) {
	out, err := exec.Command(Binary(t), "version").CombinedOutput()
	if err != nil {
		t.Fatalf("callchain version: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "callchain") {
		t.Errorf("callchain version prints %q", out)
	}
}
