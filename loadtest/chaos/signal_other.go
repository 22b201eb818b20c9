//go:build !unix

package chaos

import (
	"errors"
	"os/exec"
	"syscall"
)

type signal int

const (
	sigKill signal = iota
	sigTerm
	sigStop
	sigCont
)

func supported() error { return errors.New("chaos runs on Unix only") }

func send(cmd *exec.Cmd, _ signal) { _ = cmd.Process.Kill() }

func ownGroup() *syscall.SysProcAttr { return nil }
