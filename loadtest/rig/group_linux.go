package rig

import "syscall"

// ownGroup keeps the terminal's Ctrl-C away from a child, and has the kernel kill
// it should this process be killed before it could do so itself.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
