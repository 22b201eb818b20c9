package target

import "syscall"

// ownGroup keeps the terminal's Ctrl-C away from a child, and has the kernel tell
// it to end should this process be killed before it could do so itself.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
