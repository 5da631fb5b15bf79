package journal

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

func open(t testing.TB, dir string, limit int64) *Journal {
	t.Helper()
	j, err := Open(dir, limit, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func add(t testing.TB, j *Journal, data string) uint64 {
	t.Helper()
	seq, err := j.Append([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

// content is what waits, in order.
func content(t testing.TB, j *Journal) (all []string) {
	t.Helper()
	for _, seq := range j.Waiting() {
		data, err := j.Read(seq)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(data))
	}
	return all
}

func want(t testing.TB, j *Journal, entries ...string) {
	t.Helper()
	if got := content(t, j); !slices.Equal(got, entries) {
		t.Errorf("the journal has %.200q, want %.200q", got, entries)
	}
	if n := j.Backlog(); n != len(entries) {
		t.Errorf("backlog %d, want %d", n, len(entries))
	}
}

func files(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestKeepsOrderOverStarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "journal")
	j := open(t, dir, 1<<20)
	want(t, j)
	one, _, three := add(t, j, "one"), add(t, j, ""), add(t, j, "three")
	if err := j.Done(one); err != nil {
		t.Fatal(err)
	}
	want(t, j, "", "three")
	if _, err := j.Read(one); !errors.Is(err, ErrUnknown) {
		t.Errorf("read what is done: %v", err)
	}
	j.Close()
	j = open(t, dir, 1<<20)
	want(t, j, "", "three")
	if four := add(t, j, "four"); four <= three {
		t.Errorf("sequence %d after %d", four, three)
	}
	want(t, j, "", "three", "four")
}

func TestClosed(t *testing.T) {
	j := open(t, t.TempDir(), 1<<20)
	j.Close()
	if _, err := j.Append(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("append = %v", err)
	}
	if err := j.Check(); !errors.Is(err, ErrClosed) {
		t.Errorf("check = %v", err)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, 1<<20)
	if _, err := Open(dir, 1<<20, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrLocked) {
		t.Errorf("second open = %v, want ErrLocked", err)
	}
}

// A file that ends anywhere has all entries that were whole, and takes more.
func TestTornAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, 1<<20)
	var ends []int
	for i := range 4 {
		add(t, j, fmt.Sprintf("entry %d %s", i, magic))
		ends = append(ends, int(j.segments[0].size))
	}
	j.Close()
	whole, err := os.ReadFile(files(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) + 1 {
		for _, tail := range []string{"", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"} {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "0000000001.log"), append(whole[:cut:cut], tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			j := open(t, dir, 1<<20)
			var entries []string
			for i, end := range ends {
				if end <= cut {
					entries = append(entries, fmt.Sprintf("entry %d %s", i, magic))
				}
			}
			want(t, j, entries...)
			add(t, j, "more")
			j.Close()
			j = open(t, dir, 1<<20)
			want(t, j, append(entries, "more")...)
			j.Close()
		}
	}
}

// A byte that changed costs its own entry and no other.
func TestDamageInTheMiddle(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, 1<<20)
	for i := range 3 {
		add(t, j, fmt.Sprint("entry ", i))
	}
	second := int(j.segments[0].size) / 3
	j.Close()
	whole, err := os.ReadFile(files(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	for at := second; at < 2*second; at++ {
		dir := t.TempDir()
		broken := bytes.Clone(whole)
		broken[at] ^= 0x20
		if err := os.WriteFile(filepath.Join(dir, "0000000001.log"), broken, 0o600); err != nil {
			t.Fatal(err)
		}
		j := open(t, dir, 1<<20)
		want(t, j, "entry 0", "entry 2")
		j.Close()
	}
}

func TestSegmentsGo(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, 1<<30)
	big := string(make([]byte, segmentSize/2+1))
	var all []uint64
	for range 6 {
		all = append(all, add(t, j, big))
	}
	if n := len(files(t, dir)); n != 3 {
		t.Errorf("%d files, want 3", n)
	}
	// The second file is done before the first: its marks are needed yet.
	for _, s := range all[1:] {
		if err := j.Done(s); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	j = open(t, dir, 1<<30)
	want(t, j, big)
	if err := j.Done(all[0]); err != nil {
		t.Fatal(err)
	}
	if n := len(files(t, dir)); n > 1 || j.size > 1000 {
		t.Errorf("%d files of %d bytes are left, want at most the one that is written to", n, j.size)
	}
	add(t, j, "next")
	j.Close()
	j = open(t, dir, 1<<30)
	want(t, j, "next")
}

func TestLimit(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, 10_000)
	data := string(make([]byte, 3000))
	var all []uint64
	for range 3 {
		all = append(all, add(t, j, data))
	}
	if _, err := j.Append([]byte(data)); !errors.Is(err, ErrFull) {
		t.Errorf("append beyond the limit = %v, want ErrFull", err)
	}
	add(t, j, "what is small still fits")
	if err := j.Done(all...); err != nil {
		t.Errorf("marks are taken all the same: %v", err)
	}
	if _, err := j.Append(make([]byte, MaxEntry+1)); err == nil {
		t.Error("an entry that could not be read again was taken")
	}
}

// After a write that failed, what was answered before is there, what failed is
// not, and the next goes to another file.
func TestFailedWrite(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, 1<<20)
	add(t, j, "one")
	j.segments[0].file.Close() // as a disk that is gone
	if _, err := j.Append([]byte("lost")); err == nil {
		t.Fatal("append to a closed file went well")
	}
	if n := j.Backlog(); n != 1 {
		t.Errorf("backlog %d", n)
	}
	add(t, j, "two")
	if n := len(files(t, dir)); n != 2 {
		t.Errorf("%d files, want 2", n)
	}
	if err := j.Check(); err != nil {
		t.Errorf("check = %v", err)
	}
	_ = j.Close() // the file that is closed already
	j = open(t, dir, 1<<20)
	want(t, j, "one", "two")
}

func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, 1<<20)
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			seq, err := j.Append(fmt.Append(nil, i))
			if err != nil {
				t.Error(err)
			}
			if i%2 == 0 {
				if err := j.Done(seq); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	j.Close()
	j = open(t, dir, 1<<20)
	got := content(t, j)
	slices.Sort(got)
	var odd []string
	for i := 1; i < 64; i += 2 {
		odd = append(odd, fmt.Sprint(i))
	}
	slices.Sort(odd)
	if !slices.Equal(got, odd) {
		t.Errorf("the journal has %q", got)
	}
}

// Whatever is in the files, opening them ends, and what comes after is kept.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(nil))
	frames := appendFrame(nil, frame{7, kindEntry, []byte("seven")})
	frames = appendFrame(frames, frame{7, kindDone, nil})
	f.Add(appendFrame(frames, frame{1<<63 + 1, kindEntry, []byte("far")}))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "0000000001.log"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := Open(dir, 1<<30, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		before := content(t, j)
		add(t, j, "more")
		j.Close()
		j, err = Open(dir, 1<<30, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		want(t, j, append(before, "more")...)
		j.Close()
	})
}

// A disk that takes nothing costs no file for each try, and marks that it did
// not take are not forgotten.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, 1<<20)
	one, two := add(t, j, "one"), add(t, j, "two")
	readOnly := func(f *os.File) *os.File {
		t.Helper()
		name := f.Name()
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	j.segments[0].file = readOnly(j.segments[0].file)
	if err := j.Done(one); err == nil {
		t.Fatal("a mark went well on a disk that takes nothing")
	}
	create := j.create
	j.create = func(name string) (*os.File, error) {
		f, err := create(name)
		if err != nil {
			return nil, err
		}
		return readOnly(f), nil
	}
	for range 50 {
		if _, err := j.Append([]byte("lost")); err == nil {
			t.Fatal("append went well on a disk that takes nothing")
		}
		if err := j.Check(); err == nil {
			t.Fatal("check went well on a disk that takes nothing")
		}
	}
	if n := len(files(t, dir)); n > 1 || len(j.segments) > 1 {
		t.Errorf("%d files, %d of them open, after 100 tries", n, len(j.segments))
	}
	j.create = create
	add(t, j, "three")
	want(t, j, "two", "three")
	j.Close()
	j = open(t, dir, 1<<20)
	want(t, j, "two", "three")
	if err := j.Done(two); err != nil {
		t.Error(err)
	}
}
