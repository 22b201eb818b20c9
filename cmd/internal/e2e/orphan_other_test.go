//go:build !linux

package e2e

import "syscall"

// bound has no means here: a test that is killed leaves its children behind.
func bound() *syscall.SysProcAttr { return nil }
