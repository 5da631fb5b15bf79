package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Inspect tells whether Open could make or open a store at path, as far as can be
// told without changing anything and without taking the lock, which a daemon that
// runs holds.
func Inspect(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s is no file: choose another store.path", path)
	case err == nil:
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("the store cannot be written: %w", err)
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("the store cannot be written: %w", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the store cannot be reached: %w", err)
	}
	// Files are made beside it, too: when it is compacted, and the last good catalog.
	dir := filepath.Dir(path)
	for {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
			dir = filepath.Dir(dir) // Open makes what is missing
			continue
		}
		if err != nil {
			return fmt.Errorf("the store's directory cannot be reached: %w", err)
		}
		if !info.IsDir() {
			return fmt.Errorf("%s is no directory: choose another store.path", dir)
		}
		if err := mayWrite(dir); err != nil {
			return fmt.Errorf("no file can be made in the store's directory %s: %w", dir, err)
		}
		return nil
	}
}
