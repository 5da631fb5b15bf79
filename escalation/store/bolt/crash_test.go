package bolt

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"callchain/escalation/store"
)

// childEnv makes the test binary the process that gets killed.
const childEnv = "CALLCHAIN_TEST_BOLT_CHILD"

const (
	crashWorkers = 8
	crashParts   = 3 // records of one Txn
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		if err := crashChild(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// crashData is the n-th content of a part, of a size that changes pages around it.
func crashData(worker, part int, n uint64) []byte {
	data := binary.BigEndian.AppendUint64(nil, n)
	return append(data, bytes.Repeat([]byte{byte(worker), byte(part), byte(n)}, int(n*37)%900)...)
}

func crashIDs(worker int) (ids []string) {
	for part := range crashParts {
		ids = append(ids, fmt.Sprintf("i/%d/%d", worker, part))
	}
	return ids
}

// crashChild commits for ever, and prints "worker n" after the n-th Txn of a
// worker was acknowledged.
func crashChild(path string) error {
	s, err := Open(path, nil)
	if err != nil {
		return err
	}
	errs := make(chan error)
	for worker := range crashWorkers {
		go func() { errs <- crashWork(s, worker) }()
	}
	return <-errs
}

func crashWork(s *Store, worker int) error {
	ids := crashIDs(worker)
	rs, err := s.Load(context.Background(), uint8(worker), ids...)
	if err != nil {
		return err
	}
	for n := rs[0].Version + 1; ; n++ {
		x := store.Txn{Partition: uint8(worker)}
		binary.BigEndian.PutUint64(x.Mark[:], n)
		for part, id := range ids {
			x.Writes = append(x.Writes, store.Write{ID: id, Expect: n - 1, Data: crashData(worker, part, n), Wake: s.Now()})
		}
		if err := s.Commit(context.Background(), x); err != nil {
			return err
		}
		if _, err := fmt.Printf("%d %d\n", worker, n); err != nil {
			return err
		}
	}
}

// Whatever was acknowledged before a SIGKILL is there afterwards, and every Txn
// is whole, acknowledged or not.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "callchain.db")
	var acknowledged [crashWorkers]uint64
	for round := range 8 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childEnv+"="+path)
		var stderr strings.Builder
		child.Stderr = &stderr
		stdout, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		// Counting lines, not milliseconds, kills in the midst of work on any machine.
		left := 1 + rand.IntN(400)
		lines := bufio.NewReader(stdout)
		for {
			line, err := lines.ReadString('\n')
			if err == io.EOF { // half a line, too, was not read as an acknowledgement
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			var worker int
			var n uint64
			if _, err := fmt.Sscanf(line, "%d %d\n", &worker, &n); err != nil {
				t.Fatalf("child printed %q: %v", line, err)
			}
			acknowledged[worker] = n
			if left--; left == 0 {
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		child.Wait()
		if left > 0 {
			t.Fatalf("child ended by itself: %s", &stderr)
		}

		s, err := Open(path, testLogger(t))
		if err != nil {
			t.Fatal(err)
		}
		present := 0
		for worker, n := range acknowledged {
			rs, err := s.Load(t.Context(), uint8(worker), crashIDs(worker)...)
			if err != nil {
				t.Fatal(err)
			}
			got := rs[0].Version
			if got < n || got > n+1 {
				t.Errorf("round %d: worker %d has Txn %d, %d was acknowledged", round, worker, got, n)
			}
			acknowledged[worker] = got // the next round may end before this worker says another
			for part, r := range rs {
				if r.Version != got {
					t.Errorf("round %d: worker %d: half a Txn: versions %d and %d", round, worker, got, r.Version)
				}
				if got > 0 && !bytes.Equal(r.Data, crashData(worker, part, got)) {
					t.Errorf("round %d: worker %d: record %d has other data than was committed", round, worker, part)
				}
				if got > 0 {
					present++
				}
			}
		}
		// The index agrees with the records.
		due, err := s.Claim(t.Context(), 1000, 1)
		if err != nil || len(due.Records) != present {
			t.Errorf("round %d: claimed %d of %d records: %v", round, len(due.Records), present, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
