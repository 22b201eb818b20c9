//go:build !unix

package rig

import (
	"errors"
	"os/exec"
	"syscall"
)

// A Signal is what a process is sent.
type Signal int

// The signals that load tests send.
const (
	Kill Signal = iota
	Term
	Stop
	Cont
)

// Supported reports whether this system has what a run needs.
func Supported() error { return errors.New("this runs on Unix only") }

func send(cmd *exec.Cmd, _ Signal) { _ = cmd.Process.Kill() }

func ownGroup() *syscall.SysProcAttr { return nil }
