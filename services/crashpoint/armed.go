//go:build crashpoints && unix

package crashpoint

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Armed reports whether this build can crash on demand.
const Armed = true

// order is what the environment asks for.
type order struct {
	name string
	hit  int64
	stop bool
	hits atomic.Int64
}

// ordered reads the environment once; nil: nothing is asked for.
var ordered = sync.OnceValue(func() *order {
	text := os.Getenv(Variable)
	if text == "" {
		return nil
	}
	o, err := parse(text)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s=%s: %v\n", Variable, text, err)
		os.Exit(2)
	}
	return o
})

func parse(text string) (*order, error) {
	o := &order{hit: 1}
	text, action, _ := strings.Cut(text, "=")
	switch action {
	case "", "kill":
	case "stop":
		o.stop = true
	default:
		return nil, fmt.Errorf("action %q: want kill or stop", action)
	}
	name, hit, counted := strings.Cut(text, ":")
	if counted {
		n, err := strconv.ParseInt(hit, 10, 64)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("hit %q: want a number from 1 on", hit)
		}
		o.hit = n
	}
	if !slices.ContainsFunc(Names(), func(p Point) bool { return p.Name == name }) {
		return nil, fmt.Errorf("there is no point %q", name)
	}
	o.name = name
	return o, nil
}

// At ends or stops the process if the environment asks for this point and this
// is the hit it asks for.
func At(name string) {
	o := ordered()
	if o == nil || o.name != name || o.hits.Add(1) != o.hit {
		return
	}
	signal := syscall.SIGKILL
	if o.stop {
		signal = syscall.SIGSTOP
	}
	fmt.Fprintf(os.Stderr, "crash point %s, hit %d: %v\n", name, o.hit, signal)
	if err := syscall.Kill(os.Getpid(), signal); err != nil {
		panic(fmt.Sprintf("crash point %s: %v", name, err))
	}
	if !o.stop {
		select {} // the signal is on its way
	}
}
