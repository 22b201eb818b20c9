package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"
)

// A Process is one child: it is kept running, and started again when it ends,
// whether by our hand or by its own. Run owns it; the other methods are safe
// for concurrent use.
type Process struct {
	Name string
	Path string
	Args []string
	Env  []string
	Log  *os.File
	// Group is the consumer group whose partitions are noted; empty: none.
	Group string
	// Ready waits until it serves; nil: there is nothing to wait for.
	Ready func(ctx context.Context) error
	// Started is called when it is ready again, from Run; may be nil.
	Started func(ctx context.Context)

	// Fault is held by whoever kills, stops or pauses it.
	Fault sync.Mutex

	mu       sync.Mutex
	cmd      *exec.Cmd
	ended    chan struct{} // closed when cmd ended
	expected bool          // it ends by our hand
	pause    time.Duration // before the next start
	joined   []int         // partitions, as it logged last
	changed  chan struct{} // closed at the next change of joined or cmd
	exits    []Exit
	since    time.Time     // when cmd was started
	lived    time.Duration // over the runs that ended
	past     Usage         // of the runs that ended
	seen     Usage         // of this run, as far as anybody looked
}

// An Exit is an end that nobody ordered.
type Exit struct {
	Process string    `json:"process"`
	At      time.Time `json:"at"`
	State   string    `json:"state"`
	// Last line of its log.
	Last string `json:"last"`
}

// restartPause is how long a supervisor waits after an end that nobody ordered.
const restartPause = time.Second

// Run keeps the process running until ctx ends, then kills it and waits.
func (p *Process) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		tail := &tap{process: p}
		ended, err := p.spawn(tail)
		if err != nil {
			return fmt.Errorf("start %s: %w", p.Name, err)
		}
		waiting, cancel := context.WithCancel(ctx)
		var ready sync.WaitGroup
		ready.Go(func() {
			if p.Started != nil && (p.Ready == nil || p.Ready(waiting) == nil) {
				p.Started(waiting)
			}
		})
		select {
		case <-ended:
		case <-ctx.Done():
			p.End(Kill, 0, 0)
			<-ended
		}
		cancel()
		ready.Wait()
		if pause := p.afterwards(tail); ctx.Err() == nil {
			Sleep(ctx, pause)
		}
	}
	return nil
}

func (p *Process) spawn(tail *tap) (<-chan struct{}, error) {
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Env, cmd.Stderr, cmd.Stdout = p.Env, tail, p.Log
	cmd.SysProcAttr = ownGroup()
	cmd.WaitDelay = 5 * time.Second
	ended := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.cmd, p.ended, p.expected, p.joined, p.since = cmd, ended, false, nil, time.Now()
	p.wake()
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(ended)
	}()
	return ended, nil
}

// afterwards notes an end that nobody ordered and says how long to wait before the next start.
func (p *Process) afterwards(tail *tap) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	state := p.cmd.ProcessState.String()
	p.remember()
	ordered, pause := p.expected, p.pause
	p.cmd, p.expected, p.pause, p.joined = nil, false, 0, nil
	p.wake()
	if ordered {
		return pause
	}
	p.exits = append(p.exits, Exit{Process: p.Name, At: time.Now(), State: state, Last: tail.lastLine()})
	return restartPause
}

// wake tells those who wait for a change. The lock is held.
func (p *Process) wake() {
	if p.changed != nil {
		close(p.changed)
	}
	p.changed = make(chan struct{})
}

// End ends the running process with a signal, insists after grace, and has it
// started again after pause. It returns the partitions it had, and false when
// there was nothing to end. It waits until the process is gone.
func (p *Process) End(sig Signal, grace, pause time.Duration) (held []int, ok bool) {
	p.mu.Lock()
	if p.cmd == nil || p.expected {
		p.mu.Unlock()
		return nil, false
	}
	select {
	case <-p.ended: // by itself, a moment ago
		p.mu.Unlock()
		return nil, false
	default:
	}
	p.expected, p.pause = true, pause
	held, ended := slices.Clone(p.joined), p.ended
	send(p.cmd, sig)
	p.mu.Unlock()
	if sig != Kill {
		select {
		case <-ended:
			return held, true
		case <-time.After(grace):
			p.Signal(Kill)
		}
	}
	<-ended
	return held, true
}

// Signal sends to the running process, if there is one.
func (p *Process) Signal(sig Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return false
	}
	send(p.cmd, sig)
	return true
}

// PID of the running process; 0 when none runs.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.cmd.Process == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Await waits until a condition on the partitions it has holds.
func (p *Process) Await(ctx context.Context, holds func(running bool, joined []int) bool) error {
	for {
		p.mu.Lock()
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		done, changed := holds(p.cmd != nil, p.joined), p.changed
		p.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", p.Name, context.Cause(ctx))
		}
	}
}

// IsRunning is the condition that it runs.
func IsRunning(running bool, _ []int) bool { return running }

// Unordered are the ends that nobody ordered.
func (p *Process) Unordered() []Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.exits)
}

// noteJoined reads a log line that says which partitions the process has got.
func (p *Process) noteJoined(line []byte) {
	if p.Group == "" || !bytes.Contains(line, []byte(`"joined"`)) {
		return
	}
	var said struct {
		Msg, Group string
		Partitions []int
	}
	if json.Unmarshal(line, &said) != nil || said.Msg != "joined" || said.Group != p.Group {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.joined = said.Partitions
	p.wake()
}

// A tap copies a process's log to its file and reads along. Only the goroutine that copies uses Write.
type tap struct {
	process *Process
	part    []byte

	mu   sync.Mutex
	last string
}

// maxLogLine bounds the line that is read along; the file gets all of it.
const maxLogLine = 64 << 10

func (t *tap) Write(b []byte) (int, error) {
	t.part = append(t.part, b...)
	for {
		line, rest, ok := bytes.Cut(t.part, []byte("\n"))
		if !ok {
			break
		}
		t.process.noteJoined(line)
		t.mu.Lock()
		t.last = string(line[:min(len(line), 1000)])
		t.mu.Unlock()
		t.part = append(t.part[:0], rest...)
	}
	if len(t.part) > maxLogLine {
		t.part = t.part[:0]
	}
	return t.process.Log.Write(b)
}

func (t *tap) lastLine() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// Sleep waits, or less if ctx ends.
func Sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
