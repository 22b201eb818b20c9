package e2e

import "syscall"

// bound makes a child end with the test, however that ends.
func bound() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
