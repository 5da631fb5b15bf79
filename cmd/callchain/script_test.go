package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"callchain": main})
}

// TestScripts runs testdata/script. Besides testscript's own commands:
//
//	exits N COMMAND...          the command ends with this status
//	await URL                   until it answers 200
//	post CODE URL TOKEN FILE    an HTTP POST; what it answers is stdout
//	get CODE URL [TOKEN]        the same for GET
//	untilgot TEXT URL           GETs until the text is in the answer
//	signal TERM|HUP             to what runs in the background
//	save NAME                   the first word of the last stdout's second line
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"ADDR", "ADDR2"} {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				defer l.Close()
				env.Setenv(name, l.Addr().String())
			}
			env.Setenv("CALLCHAIN_URL", "http://"+env.Getenv("ADDR"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptExits,
			"await": func(ts *testscript.TestScript, _ bool, args []string) {
				scriptPoll(ts, args[0], func() bool { code, _, err := scriptHTTP("GET", args[0], "", nil); return err == nil && code == 200 })
			},
			"post": func(ts *testscript.TestScript, _ bool, args []string) {
				scriptRequest(ts, "POST", args[0], args[1], args[2], []byte(ts.ReadFile(args[3])))
			},
			"get": func(ts *testscript.TestScript, _ bool, args []string) {
				scriptRequest(ts, "GET", args[0], args[1], strings.Join(args[2:], ""), nil)
			},
			"untilgot": func(ts *testscript.TestScript, _ bool, args []string) {
				scriptPoll(ts, args[0], func() bool {
					_, text, err := scriptHTTP("GET", args[1], "", nil)
					return err == nil && strings.Contains(text, args[0])
				})
			},
			"signal": func(ts *testscript.TestScript, _ bool, args []string) {
				for _, cmd := range ts.BackgroundCmds() {
					ts.Check(cmd.Process.Signal(map[string]os.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}[args[0]]))
				}
			},
			"save": func(ts *testscript.TestScript, _ bool, args []string) {
				lines := strings.Split(ts.ReadFile("stdout"), "\n")
				if len(lines) < 2 || len(strings.Fields(lines[1])) == 0 {
					ts.Fatalf("nothing to save")
				}
				ts.Setenv(args[0], strings.Fields(lines[1])[0])
			},
		},
	})
}

func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit status %d, want %d", code, want)
	}
}

// scriptPoll asks a real process, whose clock is not ours to move.
func scriptPoll(ts *testscript.TestScript, what string, ok func() bool) {
	end := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(end) {
			ts.Fatalf("not in time: %s", what)
		}
		<-time.After(50 * time.Millisecond)
	}
}

func scriptRequest(ts *testscript.TestScript, method, code, url, token string, body []byte) {
	got, text, err := scriptHTTP(method, url, token, body)
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), text)
	if strconv.Itoa(got) != code {
		ts.Fatalf("HTTP %d, want %s: %s", got, code, text)
	}
}

func scriptHTTP(method, url, token string, body []byte) (int, string, error) {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}
