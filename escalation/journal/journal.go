package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Errors that callers may want to tell apart.
var (
	// ErrFull: the journal has reached its limit; nothing was written.
	ErrFull = errors.New("the journal is full")
	// ErrClosed: the journal was closed; nothing was written.
	ErrClosed = errors.New("the journal is closed")
	// ErrLocked: another process has the journal.
	ErrLocked = errors.New("another process uses it")
	// ErrUnknown: there is no such entry, or it is done.
	ErrUnknown = errors.New("no such entry")
)

// MaxEntry is how large the data of an entry may be.
const MaxEntry = 128 << 20

const (
	frameHead   = 12
	frameFixed  = 9 // sequence and kind
	segmentSize = 16 << 20
	batchSize   = 4 << 20 // of what shares one sync

	// lockTimeout covers a predecessor that is just going away.
	lockTimeout = 1500 * time.Millisecond
)

const (
	kindEntry = 1
	kindDone  = 2
)

var (
	magic = [4]byte{0xca, 0x11, 0xc4, 0xa1}
	table = crc32.MakeTable(crc32.Castagnoli)
)

// Journal is an open journal. Its methods may be called from several goroutines.
type Journal struct {
	dir   string
	limit int64
	log   *slog.Logger
	lock  *os.File

	create func(name string) (*os.File, error) // of a new segment

	requests chan *request
	closing  chan struct{}
	once     sync.Once
	writer   sync.WaitGroup

	mu       sync.Mutex
	segments []*segment // oldest first; the last one is written to, unless it is broken
	entries  map[uint64]place
	next     uint64 // sequence
	number   int    // of the newest segment
	size     int64  // of all segments
	synced   time.Time
	failed   error    // the last write or sync; nil when it went well
	owed     []uint64 // marks that could not be written; only the writer uses it
}

type segment struct {
	path   string
	file   *os.File
	size   int64
	live   int  // entries that are not done
	broken bool // nothing is written to it any more
}

type place struct {
	segment *segment
	offset  int64 // of the data
	length  int
}

type request struct {
	kind     byte
	sequence uint64 // of a mark
	data     []byte
	sync     bool
	err      error
	done     chan struct{}
}

// Open opens the journal in a directory, which is made if need be; limit bounds
// the bytes that it may take. What it finds is for Waiting.
func Open(dir string, limit int64, log *slog.Logger) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the journal %s: %w", dir, err)
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return nil, fmt.Errorf("make the journal %s: %w", dir, err)
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	for begin := time.Now(); errors.Is(err, ErrLocked) && time.Since(begin) < lockTimeout; {
		time.Sleep(50 * time.Millisecond)
		lock, err = lockFile(filepath.Join(dir, "lock"))
	}
	if err != nil {
		return nil, fmt.Errorf("lock the journal %s: %w", dir, err)
	}
	j := &Journal{
		dir: dir, limit: limit, log: log, lock: lock, next: 1,
		create:   func(name string) (*os.File, error) { return os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) },
		requests: make(chan *request), closing: make(chan struct{}), entries: map[uint64]place{},
	}
	if err := j.recover(); err != nil {
		return nil, errors.Join(err, j.release())
	}
	j.writer.Go(j.write)
	return j, nil
}

// recover reads the segments that are there.
func (j *Journal) recover() error {
	names, err := filepath.Glob(filepath.Join(j.dir, "*.log"))
	if err != nil {
		return fmt.Errorf("list the journal %s: %w", j.dir, err)
	}
	slices.Sort(names)
	for _, name := range names {
		n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), ".log"))
		if err != nil {
			continue // not ours
		}
		j.number = max(j.number, n)
		if err := j.readSegment(name); err != nil {
			return err
		}
	}
	j.trim()
	return nil
}

func (j *Journal) readSegment(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open the journal: %w", err)
	}
	s := &segment{path: name, file: f}
	j.segments = append(j.segments, s)
	good, skipped := int64(0), int64(0)
	for at := 0; at < len(data); {
		frame, length := readFrame(data[at:])
		if length == 0 {
			at++
			skipped++
			continue
		}
		j.next = max(j.next, frame.sequence+1)
		switch frame.kind {
		case kindEntry:
			j.finish(frame.sequence) // a copy that could not be cut off
			j.entries[frame.sequence] = place{s, int64(at + frameHead + frameFixed), len(frame.data)}
			s.live++
		case kindDone:
			j.finish(frame.sequence)
		}
		at += length
		good = int64(at)
	}
	torn := int64(len(data)) - good
	if damaged := skipped - torn; damaged > 0 {
		j.log.Error("a part of the journal is damaged and is passed over", "file", name, "bytes", damaged)
	}
	if torn > 0 {
		// It was answered to nobody: the sync had not come back.
		j.log.Warn("the end of the journal was not written to its end and is cut off", "file", name, "bytes", torn)
		if err := f.Truncate(good); err != nil {
			return fmt.Errorf("cut the end of the journal off: %w", err)
		}
	}
	s.size = good
	j.size += good
	return nil
}

type frame struct {
	sequence uint64
	kind     byte
	data     []byte
}

// readFrame reads the frame that data begins with; length 0: it begins with none.
func readFrame(data []byte) (f frame, length int) {
	if len(data) < frameHead+frameFixed || [4]byte(data[:4]) != magic {
		return f, 0
	}
	n := binary.LittleEndian.Uint32(data[4:])
	if n < frameFixed || n > MaxEntry+frameFixed || int64(len(data)) < frameHead+int64(n) {
		return f, 0
	}
	body := data[frameHead : frameHead+int(n)]
	if checksum(data[4:8], body) != binary.LittleEndian.Uint32(data[8:]) {
		return f, 0
	}
	f = frame{binary.LittleEndian.Uint64(body), body[8], body[frameFixed:]}
	return f, frameHead + int(n)
}

func checksum(length, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(length, table), table, body)
}

func appendFrame(buf []byte, f frame) []byte {
	begin := len(buf)
	buf = append(buf, magic[:]...)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(frameFixed+len(f.data)))
	buf = append(buf, 0, 0, 0, 0)
	buf = binary.LittleEndian.AppendUint64(buf, f.sequence)
	buf = append(buf, f.kind)
	buf = append(buf, f.data...)
	binary.LittleEndian.PutUint32(buf[begin+8:], checksum(buf[begin+4:begin+8], buf[begin+frameHead:]))
	return buf
}

// Append keeps data and returns the sequence of its entry, by which the order
// of entries is told. It is on disk when err is nil; otherwise it may still come
// up after the next Open.
func (j *Journal) Append(data []byte) (sequence uint64, err error) {
	if len(data) > MaxEntry {
		return 0, fmt.Errorf("journal %d bytes, at most %d are legal", len(data), MaxEntry)
	}
	r := &request{kind: kindEntry, data: data, sync: true, done: make(chan struct{})}
	if err := j.ask(r); err != nil {
		return 0, fmt.Errorf("write the journal: %w", err)
	}
	return r.sequence, nil
}

// Done marks entries that need not come up again. After an error they may, at the
// next Open, unless something can be written before.
func (j *Journal) Done(sequences ...uint64) error {
	var errs error
	for _, s := range sequences {
		r := &request{kind: kindDone, sequence: s, done: make(chan struct{})}
		errs = errors.Join(errs, j.ask(r))
	}
	return errs
}

// Check tells whether an entry could be kept: it writes, and syncs, nothing of
// worth when the last time is not just over.
func (j *Journal) Check() error {
	const fresh = time.Second
	j.mu.Lock()
	recent, failed := time.Since(j.synced) < fresh, j.failed
	full := j.size >= j.limit
	j.mu.Unlock()
	switch {
	case full:
		return ErrFull
	case recent && failed == nil:
		return nil
	}
	r := &request{kind: kindDone, sync: true, done: make(chan struct{})} // of no entry
	return j.ask(r)
}

func (j *Journal) ask(r *request) error {
	select {
	case j.requests <- r:
		<-r.done
		return r.err
	case <-j.closing:
		return ErrClosed
	}
}

// Waiting are the sequences of entries that are not done, in order.
func (j *Journal) Waiting() []uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []uint64
	for s := range j.entries {
		all = append(all, s)
	}
	slices.Sort(all)
	return all
}

// Backlog is the number of entries that are not done.
func (j *Journal) Backlog() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.entries)
}

// Read returns the data of an entry that is not done.
func (j *Journal) Read(sequence uint64) ([]byte, error) {
	j.mu.Lock()
	p, ok := j.entries[sequence]
	j.mu.Unlock()
	if !ok {
		return nil, ErrUnknown
	}
	data := make([]byte, p.length)
	if _, err := p.segment.file.ReadAt(data, p.offset); err != nil {
		return nil, fmt.Errorf("read entry %d of the journal: %w", sequence, err)
	}
	return data, nil
}

// Close ends the writing and lets the journal go. What was appended stays.
func (j *Journal) Close() error {
	var err error
	j.once.Do(func() {
		close(j.closing)
		j.writer.Wait()
		err = j.release()
	})
	return err
}

func (j *Journal) release() error {
	var errs error
	for _, s := range j.segments {
		errs = errors.Join(errs, s.file.Close())
	}
	return errors.Join(errs, j.lock.Close())
}

// write is the one goroutine that writes: what waits meanwhile shares a sync.
func (j *Journal) write() {
	for {
		var batch []*request
		select {
		case r := <-j.requests:
			batch = append(batch, r)
		case <-j.closing:
			return
		}
		for bytes := len(batch[0].data); bytes < batchSize; {
			select {
			case r := <-j.requests:
				batch = append(batch, r)
				bytes += len(r.data)
				continue
			default:
			}
			break
		}
		j.writeBatch(batch)
		for _, r := range batch {
			close(r.done)
		}
	}
}

func (j *Journal) writeBatch(batch []*request) {
	s, err := j.active()
	if err != nil {
		j.fail(batch, err)
		return
	}
	var buf []byte
	for _, sequence := range j.owed {
		buf = appendFrame(buf, frame{sequence, kindDone, nil})
	}
	ends := make([]int, len(batch)) // of each frame in buf
	next := j.next                  // nobody else changes it
	sync := false
	for i, r := range batch {
		switch {
		case r.kind == kindDone:
		case j.size+int64(len(buf)+len(r.data)) > j.limit:
			r.err = ErrFull
			continue
		default:
			r.sequence = next
			next++
		}
		buf = appendFrame(buf, frame{r.sequence, r.kind, r.data})
		ends[i] = len(buf)
		sync = sync || r.sync
	}
	if len(buf) == 0 {
		return
	}
	_, err = s.file.WriteAt(buf, s.size)
	if err == nil && sync {
		err = s.file.Sync()
	}
	if err != nil {
		// What is behind the last good frame is unknown, after a failed sync even
		// on disk. Nothing follows it in this file; what can be cut off is.
		s.broken = true
		_ = s.file.Truncate(s.size) // if not, it comes up again: that is harmless
		j.next = next               // its sequences are not used again
		if s.size == 0 {
			j.drop(s) // else each try leaves a file, and a descriptor
		}
		j.fail(batch, err)
		return
	}
	j.owed = nil
	j.mu.Lock()
	defer j.mu.Unlock()
	j.next = next
	if sync {
		j.synced, j.failed = time.Now(), nil
	}
	for i, r := range batch {
		switch {
		case r.err != nil:
		case r.kind == kindEntry:
			j.entries[r.sequence] = place{s, s.size + int64(ends[i]-len(r.data)), len(r.data)}
			s.live++
		default:
			j.finish(r.sequence)
		}
	}
	s.size += int64(len(buf))
	j.size += int64(len(buf))
	j.trim()
}

func (j *Journal) fail(batch []*request, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.failed = err
	for _, r := range batch {
		if r.kind == kindDone && r.sequence != 0 {
			j.owed = append(j.owed, r.sequence)
			j.finish(r.sequence)
		}
		if r.err == nil {
			r.err = err
		}
	}
}

// drop forgets the segment that is written to, and removes its file.
func (j *Journal) drop(s *segment) {
	j.mu.Lock()
	defer j.mu.Unlock()
	_ = s.file.Close()
	_ = os.Remove(s.path)
	j.segments = j.segments[:len(j.segments)-1]
}

// finish forgets an entry. The caller holds mu, or is alone.
func (j *Journal) finish(sequence uint64) {
	if p, ok := j.entries[sequence]; ok {
		p.segment.live--
		delete(j.entries, sequence)
	}
}

// trim removes the oldest segments of which all is done; the one that is
// written to only when it has grown. The caller holds mu, or is alone.
func (j *Journal) trim() {
	const worthIt = 1 << 20
	for len(j.segments) > 0 {
		s := j.segments[0]
		last := len(j.segments) == 1
		if s.live > 0 || last && !s.broken && s.size < worthIt {
			return
		}
		if err := os.Remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			j.log.Warn("a part of the journal that is done with could not be removed", "file", s.path, "err", err)
			return
		}
		_ = s.file.Close() // it is gone
		j.size -= s.size
		j.segments = j.segments[1:]
	}
}

// active is the segment to write to. Only the writer calls it.
func (j *Journal) active() (*segment, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if n := len(j.segments); n > 0 {
		if s := j.segments[n-1]; !s.broken && s.size < segmentSize {
			return s, nil
		}
	}
	j.number++
	name := filepath.Join(j.dir, fmt.Sprintf("%010d.log", j.number))
	f, err := j.create(name)
	if err != nil {
		return nil, err
	}
	if err := syncDir(j.dir); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(name))
	}
	s := &segment{path: name, file: f}
	j.segments = append(j.segments, s)
	return s, nil
}

// syncDir makes the name of a new file durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
