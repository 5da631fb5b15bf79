package testbench

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// RawSync is the time that appending size bytes to a file in dir takes until
// they are on the disk (fdatasync): what the machine has to offer right now.
func RawSync(t testing.TB, dir string, size int) time.Duration {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, size)
	const n = 300
	start := time.Now()
	for range n {
		if _, err := f.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			t.Fatal(err)
		}
	}
	return time.Since(start) / n
}
