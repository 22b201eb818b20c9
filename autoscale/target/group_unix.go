//go:build unix && !linux

package target

import "syscall"

// ownGroup keeps the terminal's Ctrl-C away from a child.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
