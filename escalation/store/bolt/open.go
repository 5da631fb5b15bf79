package bolt

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	bbolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	schema = "1"

	// lockTimeout covers a predecessor that is just going away.
	lockTimeout = 1500 * time.Millisecond
	// mmapSize is address space, not memory: while the file is smaller, growing
	// it does not have to wait for readers.
	mmapSize = 256 << 20
	// compactAbove is the file size from which it is worth rewriting the file at
	// Open when more than half of it is free.
	compactAbove = 64 << 20
)

var (
	recordsBucket = []byte("records")
	wakesBucket   = []byte("wakes")
	metaBucket    = []byte("meta")
)

// Store is an open file. Make one with Open.
type Store struct {
	db           *bbolt.DB
	log          *slog.Logger
	base         time.Time
	installation string

	requests chan *request
	closing  chan struct{}
	written  chan struct{} // closed when the writer has ended
	once     sync.Once
	closeErr error

	// claims guards leases. It is held from before a Claim's read transaction
	// begins until its leases are entered, so that a commit that the transaction
	// did not see ends them.
	claims sync.Mutex
	leases map[string]int64 // bolt key -> end in ms

	// Only the writer uses these.
	gone   marks
	repeat bool // the last transaction is visible, but perhaps not on the disk
}

// Open opens the file at path for this process alone, and makes it, and the
// directories above it, when it is missing. A nil logger is silent.
func Open(path string, logger *slog.Logger) (*Store, error) {
	return open(path, logger, limits{compactAbove: compactAbove})
}

// limits are what tests make smaller.
type limits struct {
	compactAbove int64
	maxSize      int // of the file; 0: the disk is the limit
}

func open(path string, logger *slog.Logger, lim limits) (*Store, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if err := makeParents(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("make the directory of the store: %w", err)
	}
	db, err := openFile(path, lim)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	db, err = compact(db, path, logger, lim)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{
		db:       db,
		log:      logger,
		base:     time.Now(),
		requests: make(chan *request),
		closing:  make(chan struct{}),
		written:  make(chan struct{}),
		leases:   make(map[string]int64),
		gone:     newMarks(),
	}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", path, err), db.Close())
	}
	go s.write()
	return s, nil
}

// prepare checks that the file is ours, or makes it so when it is new.
func (s *Store) prepare() error {
	var known bool
	err := s.view(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if meta == nil {
			if name, _ := tx.Cursor().First(); name != nil {
				return errors.New("this bbolt file belongs to another program: choose another store.path")
			}
			return nil
		}
		known = true
		if got := meta.Get([]byte("schema")); !bytes.Equal(got, []byte(schema)) {
			return fmt.Errorf("the file has schema %q, this callchain reads schema %q: run the version that wrote it", got, schema)
		}
		if tx.Bucket(recordsBucket) == nil || tx.Bucket(wakesBucket) == nil {
			return errors.New("the file lacks its records: restore a backup")
		}
		s.installation = string(meta.Get([]byte("installation")))
		return nil
	})
	if err != nil || known {
		return err
	}
	var id [16]byte
	rand.Read(id[:])
	s.installation = hex.EncodeToString(id[:])
	return s.update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{recordsBucket, wakesBucket, metaBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(metaBucket)
		return errors.Join(
			meta.Put([]byte("schema"), []byte(schema)),
			meta.Put([]byte("created"), []byte(s.base.UTC().Format(time.RFC3339))),
			meta.Put([]byte("installation"), []byte(s.installation)),
		)
	})
}

// openFile opens and locks path. When another process replaced the file between
// the opening and the locking (it compacted it), the lock is on a file that no
// longer has a name: then it tries again.
func openFile(path string, lim limits) (*bbolt.DB, error) {
	for {
		_, statErr := os.Stat(path)
		var file *os.File
		options := &bbolt.Options{
			Timeout:         lockTimeout,
			FreelistType:    bbolt.FreelistMapType,
			InitialMmapSize: mmapSize,
			MaxSize:         lim.maxSize,
			OpenFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
				f, err := os.OpenFile(name, flag, perm)
				file = f
				return f, err
			},
		}
		if lim.maxSize > 0 {
			options.InitialMmapSize = 0 // bbolt grows files by whole steps above it
		}
		var db *bbolt.DB
		err := guard(func() (err error) { db, err = bbolt.Open(path, 0o600, options); return err })
		switch {
		case errors.Is(err, bolterrors.ErrTimeout):
			return nil, fmt.Errorf("another callchain holds %s: stop it, or give this one another store.path", path)
		case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
			return nil, fmt.Errorf("%s is no store, or is damaged: restore a backup, or move it away to start empty: %w", path, err)
		case err != nil:
			return nil, err
		}
		held, err1 := file.Stat()
		named, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(held, named) {
			if errors.Is(statErr, fs.ErrNotExist) {
				// The name must survive a crash of the machine as the content does.
				if err := syncDir(filepath.Dir(path)); err != nil {
					return nil, errors.Join(err, db.Close())
				}
			}
			return db, nil
		}
		if err := db.Close(); err != nil {
			return nil, err
		}
		if err := errors.Join(err1, err2); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

// compact rewrites a file that is mostly free: bbolt never makes one smaller.
// When that fails, the file is used as it is. The new file is locked before it
// gets the name, so that the name always belongs to a locked file.
func compact(db *bbolt.DB, path string, logger *slog.Logger, lim limits) (*bbolt.DB, error) {
	temporary := path + ".compact"
	os.Remove(temporary) // of a compaction that was interrupted; the lock is ours
	size, free, err := space(db)
	if err != nil || size <= lim.compactAbove || free*2 <= size {
		return db, nil //nolint:nilerr // a file that cannot be measured is served as it is
	}
	start := time.Now()
	small, err := openFile(temporary, lim)
	if err == nil {
		err = guard(func() error { return bbolt.Compact(small, db, 16<<20) })
		if err == nil {
			err = small.Sync()
		}
		if err == nil {
			err = os.Rename(temporary, path)
		}
		if err != nil {
			small.Close()
			os.Remove(temporary)
		}
	}
	if err != nil {
		logger.Warn("store not compacted, it is used as it is", "path", path, "err", err)
		return db, nil
	}
	// Until this is on the disk a crash of the machine may bring back the old
	// file, so nothing may be written to the new one before.
	syncErr := syncDir(filepath.Dir(path))
	if err := db.Close(); err != nil {
		logger.Warn("old file of the store not closed", "path", path, "err", err)
	}
	if syncErr != nil {
		return nil, errors.Join(syncErr, small.Close())
	}
	logger.Info("store compacted", "path", path, "free_bytes", free, "old_bytes", size, "took", time.Since(start))
	return small, nil
}

// space tells how large the used part of the file is, and how much of it is free.
func space(db *bbolt.DB) (size, free int64, err error) {
	err = guard(func() error {
		tx, err := db.Begin(true) // bbolt counts when a writing transaction ends
		if err != nil {
			return err
		}
		size = tx.Size()
		return tx.Rollback()
	})
	stats := db.Stats()
	return size, int64(stats.FreePageN+stats.PendingPageN) * int64(db.Info().PageSize), err
}

// makeParents makes dir and whatever is missing above it, for this user alone,
// and syncs each new name.
func makeParents(dir string) error {
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	above := filepath.Dir(dir)
	if err := makeParents(above); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(above)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
