package chaos

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"springtide/loadtest/verdict"
)

// A journal is the clients' own log. Lines are written in the order of the calls;
// what was asked to be durable is synced before the call returns, many lines at a
// time. It is safe for concurrent use.
type journal struct {
	file  *os.File
	lines chan journalLine
	done  chan struct{}

	once sync.Once
	mu   sync.RWMutex // held by writers while they send, so that close knows that nobody does
	over bool
	err  error
}

type journalLine struct {
	text []byte
	done chan error // nil: need not be durable now
}

var errJournalClosed = errors.New("the clients' log is closed")

func openJournal(path string) (*journal, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("clients' log: %w", err)
	}
	j := &journal{file: file, lines: make(chan journalLine, 4096), done: make(chan struct{})}
	go j.run()
	return j, nil
}

// note writes an entry; durable waits until it is on disk.
func (j *journal) note(e verdict.Entry, durable bool) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	l := journalLine{text: append(text, '\n')}
	if durable {
		l.done = make(chan error, 1)
	}
	j.mu.RLock()
	if j.over {
		j.mu.RUnlock()
		return errJournalClosed
	}
	j.lines <- l
	j.mu.RUnlock()
	if !durable {
		return nil
	}
	return <-l.done
}

func (j *journal) run() {
	defer close(j.done)
	out := bufio.NewWriterSize(j.file, 1<<16)
	var waiting []chan error
	put := func(l journalLine) {
		if _, err := out.Write(l.text); err != nil {
			j.err = errors.Join(j.err, err)
		}
		if l.done != nil {
			waiting = append(waiting, l.done)
		}
	}
	flush := func() {
		err := out.Flush()
		if err == nil && len(waiting) > 0 {
			err = j.file.Sync()
		}
		if j.err = errors.Join(j.err, err); len(waiting) > 0 {
			for _, w := range waiting {
				w <- j.err
			}
			waiting = waiting[:0]
		}
	}
	for l := range j.lines {
		put(l)
	more:
		for {
			select {
			case next, ok := <-j.lines:
				if !ok {
					break more
				}
				put(next)
			default:
				break more
			}
		}
		flush()
	}
}

// close writes what is left. It is safe to call twice.
func (j *journal) close() error {
	j.once.Do(func() {
		j.mu.Lock()
		j.over = true
		j.mu.Unlock()
		close(j.lines)
		<-j.done
		j.err = errors.Join(j.err, j.file.Sync(), j.file.Close())
	})
	return j.err
}
