package e2e

import (
	"fmt"
	"os"
	"syscall"
)

// bound makes a child end with the test, however that ends.
func bound() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// aside is bound, in a session of its own: Linux shares the processors among sessions first, and
// only then looks at what is nice within one.
func aside() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
}

// giveWay lets everything else on the machine go before a process that was started aside.
func giveWay(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", pid), []byte("19"), 0) // without such groups, nice alone counts
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, pid, 19)
}
