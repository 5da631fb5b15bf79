//go:build unix

package bolt

import "syscall"

// mayWrite asks the system whether this process may make files in a directory,
// without making one.
func mayWrite(dir string) error {
	const writeAndSearch = 2 | 1 // W_OK, X_OK
	return syscall.Access(dir, writeAndSearch)
}
