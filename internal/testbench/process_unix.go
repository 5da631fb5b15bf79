//go:build unix && !linux

package testbench

import "syscall"

// groupOf puts a child into its own process group.
func groupOf() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
