//go:build !linux

package e2e

import "syscall"

// bound has no means here: a test that is killed leaves its children behind.
func bound() *syscall.SysProcAttr { return nil }

// aside is bound.
func aside() *syscall.SysProcAttr { return bound() }

// giveWay has no means here.
func giveWay(int) {}
