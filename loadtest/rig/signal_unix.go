//go:build unix

package rig

import (
	"os/exec"
	"syscall"
)

// A Signal is what a process is sent.
type Signal = syscall.Signal

// The signals that load tests send.
const (
	Kill = syscall.SIGKILL
	Term = syscall.SIGTERM
	Stop = syscall.SIGSTOP
	Cont = syscall.SIGCONT
)

// Supported reports whether this system has what a run needs.
func Supported() error { return nil }

// send signals a process and all that it started; they are in a group of their own.
func send(cmd *exec.Cmd, sig Signal) {
	_ = syscall.Kill(-cmd.Process.Pid, sig) // it may be gone already
}
