//go:build unix

package chaos

import (
	"os/exec"
	"syscall"
)

type signal = syscall.Signal

const (
	sigKill = syscall.SIGKILL
	sigTerm = syscall.SIGTERM
	sigStop = syscall.SIGSTOP
	sigCont = syscall.SIGCONT
)

// supported reports whether this system has what a run needs.
func supported() error { return nil }

// send signals a process and all that it started; they are in a group of their own.
func send(cmd *exec.Cmd, sig signal) {
	_ = syscall.Kill(-cmd.Process.Pid, sig) // it may be gone already
}
