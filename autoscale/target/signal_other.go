//go:build !unix

package target

import (
	"os"
	"syscall"
)

// terminate ends a process at once: there is no way to ask.
func terminate(p *os.Process) error { return p.Kill() }

func ownGroup() *syscall.SysProcAttr { return nil }
