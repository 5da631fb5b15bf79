package testbench

import "syscall"

// groupOf puts a child into its own process group and lets it die with its parent.
func groupOf() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
