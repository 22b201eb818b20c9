//go:build unix && !linux

package chaos

import "syscall"

// ownGroup keeps the terminal's Ctrl-C away from a child.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
