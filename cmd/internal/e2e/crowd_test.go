package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crowdVariable makes TestMain a crowd instead of running tests.
const crowdVariable = "SPRINGTIDE_E2E_CROWD"

// crowdAsked is what a crowd is to do. The crowd reads it as one line, opens its streams, says
// so, polls from the next line on, and leaves and says what it saw when there is none any more.
type crowdAsked struct {
	Address, Key, OtherKey string
	FilingIDs              []string
	Streams, Polls         int // streams in all, and polls a second
	// Known: the phones have asked for each filing before anything begins, as they do again and again in life.
	Known bool
}

// crowdSeen is what a crowd, or several one after another, saw.
type crowdSeen struct {
	Opened, Refused, Lost          int64                // streams
	Why                            map[string]string    // of refusals, by status
	Answered, Same, PutOff, Failed int64                // polls
	Waits                          []time.Duration      // of polls that were answered
	Since                          map[string]time.Time // from when on a filing's stream was open
	Accepted                       map[string]time.Time // when its watcher first saw it so
}

// A crowdProcess is a crowd at work.
type crowdProcess struct {
	tb   testing.TB
	cmd  *exec.Cmd
	to   io.WriteCloser
	from *json.Decoder
}

// startCrowd returns when all streams are open or refused.
func startCrowd(tb testing.TB, asked crowdAsked) *crowdProcess {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	c := &crowdProcess{tb: tb, cmd: exec.Command(self)}
	c.cmd.Env, c.cmd.Stderr, c.cmd.SysProcAttr = clean(crowdVariable+"=1"), os.Stderr, bound()
	c.to, err = c.cmd.StdinPipe()
	from, errFrom := c.cmd.StdoutPipe()
	if err = errors.Join(err, errFrom, c.cmd.Start()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.cmd.Process.Kill() }) // it has left, unless the test failed
	if err := giveWay(c.cmd.Process.Pid); err != nil {
		tb.Fatalf("the crowd does not give way: %v", err)
	}
	c.from = json.NewDecoder(from)
	c.tell(asked)
	c.hear(new(string))
	return c
}

func (c *crowdProcess) tell(v any) {
	c.tb.Helper()
	if err := json.NewEncoder(c.to).Encode(v); err != nil {
		c.tb.Fatal(err)
	}
}

func (c *crowdProcess) hear(v any) {
	c.tb.Helper()
	if err := c.from.Decode(v); err != nil {
		c.tb.Fatalf("the crowd: %v", err)
	}
}

// poll lets the crowd poll from now on.
func (c *crowdProcess) poll() { c.tb.Helper(); c.tell("poll") }

// leave ends it and gives what it saw.
func (c *crowdProcess) leave() (seen crowdSeen) {
	c.tb.Helper()
	err := c.to.Close()
	c.hear(&seen)
	if err = errors.Join(err, c.cmd.Wait()); err != nil {
		c.tb.Fatalf("the crowd: %v", err)
	}
	return seen
}

// add joins what the next crowd saw.
func (s *crowdSeen) add(o crowdSeen) {
	s.Opened, s.Refused, s.Lost = s.Opened+o.Opened, s.Refused+o.Refused, s.Lost+o.Lost
	s.Answered, s.Same, s.PutOff, s.Failed = s.Answered+o.Answered, s.Same+o.Same, s.PutOff+o.PutOff, s.Failed+o.Failed
	s.Waits = append(s.Waits, o.Waits...)
	if s.Why == nil {
		s.Why, s.Since, s.Accepted = make(map[string]string), make(map[string]time.Time), make(map[string]time.Time)
	}
	maps.Copy(s.Why, o.Why)
	maps.Copy(s.Since, o.Since)
	maps.Copy(s.Accepted, o.Accepted)
}

func (s *crowdSeen) report(b *testing.B, f figures, title string, lasting time.Duration, accepted map[string]time.Time) {
	b.Helper()
	for status, text := range s.Why {
		b.Logf("refused with %s: %s", status, text)
	}
	var delays []time.Duration
	for id, at := range s.Accepted {
		// What was accepted before anybody looked did not have to reach a watcher.
		if logged, ok := accepted[id]; ok && logged.After(s.Since[id]) {
			delays = append(delays, at.Sub(logged))
		}
	}
	f.add(title, "streams open, refused, lost", "%d, %d, %d", s.Opened, s.Refused, s.Lost)
	f.add(title, "polls answered a second", "%.0f", float64(s.Answered+s.Same)/lasting.Seconds())
	f.add(title, "of them 304", "%.0f %%", 100*float64(s.Same)/float64(max(1, s.Answered+s.Same)))
	f.add(title, "polls put off, failed", "%d, %d", s.PutOff, s.Failed)
	f.add(title, "a poll: p50, p99", "%s, %s", quantileOf(s.Waits, 0.5), quantileOf(s.Waits, 0.99))
	f.add(title, "acceptances that had to reach a watcher", "%d", len(delays))
	f.add(title, "ledger to watcher: p50, p99", "%s, %s", quantileOf(delays, 0.5), quantileOf(delays, 0.99))
}

// beCrowd is the crowd's process.
func beCrowd(in io.Reader, out io.Writer) error {
	var asked crowdAsked
	lines := json.NewDecoder(in)
	if err := lines.Decode(&asked); err != nil {
		return fmt.Errorf("what is asked: %w", err)
	}
	c := &crowd{crowdAsked: asked, seen: crowdSeen{
		Why: make(map[string]string), Since: make(map[string]time.Time), Accepted: make(map[string]time.Time),
	}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var open sync.WaitGroup
	c.stream(ctx, &open)
	phones := c.phones()
	if asked.Known {
		eachPhone(ctx, phones, (*phone).learn)
	}
	say := json.NewEncoder(out)
	err := say.Encode("open")
	for err == nil {
		var next string
		if err = lines.Decode(&next); err == nil {
			open.Go(func() { eachPhone(ctx, phones, (*phone).poll) })
		}
	}
	cancel()
	open.Wait()
	if err != io.EOF { //nolint:errorlint // a decoder returns it bare
		return err
	}
	s := &c.seen
	s.Opened, s.Refused, s.Lost = c.opened.Load(), c.refused.Load(), c.lost.Load()
	s.Answered, s.Same, s.PutOff, s.Failed = c.answered.Load(), c.same.Load(), c.putOff.Load(), c.failed.Load()
	return say.Encode(s)
}

// A crowd is people with the app open, and phones. Its clients are as light as may be, for
// they take the same processors: a connection and a goroutine each, and no pool.
type crowd struct {
	crowdAsked

	opened, refused, lost          atomic.Int64
	answered, same, putOff, failed atomic.Int64

	mu   sync.Mutex
	seen crowdSeen
}

// A line is a connection that is kept.
type line struct {
	conn net.Conn
	from *bufio.Reader
	stop func() bool
}

func (c *crowd) connect(ctx context.Context) (*line, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.Address)
	if err != nil {
		return nil, err
	}
	return &line{conn, bufio.NewReaderSize(conn, 2<<10), context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
}

func (l *line) close() {
	l.stop()
	_ = l.conn.Close()
}

// get asks and reads the head of the answer.
func (l *line) get(path, key, known string) (*http.Response, error) {
	if known != "" {
		known = "If-None-Match: " + known + "\r\n"
	}
	if _, err := io.WriteString(l.conn, "GET "+path+" HTTP/1.1\r\nHost: springtide\r\nAuthorization: Bearer "+key+"\r\n"+known+"\r\n"); err != nil {
		return nil, err
	}
	return http.ReadResponse(l.from, nil)
}

// stream opens one event stream for each filing as far as they are asked for, and the rest for
// another tenant, and returns when all are open or refused.
func (c *crowd) stream(ctx context.Context, open *sync.WaitGroup) {
	var opening sync.WaitGroup
	places := make(chan struct{}, 64) // so many connect at a time
	begin := func(path, key, id string) {
		opening.Add(1)
		open.Go(func() {
			places <- struct{}{}
			l, err := c.connect(ctx)
			var resp *http.Response
			if err == nil {
				defer l.close()
				resp, err = l.get(path, key, "")
			}
			<-places
			opening.Done()
			switch {
			case err != nil:
				c.lost.Add(1)
			case resp.StatusCode != http.StatusOK:
				text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
				c.mu.Lock()
				c.seen.Why[resp.Status] = string(text)
				c.mu.Unlock()
				c.refused.Add(1)
			default:
				c.opened.Add(1)
				c.listen(ctx, id, resp.Body)
			}
		})
	}
	for _, id := range c.FilingIDs[:min(len(c.FilingIDs), c.Streams)] {
		begin("/v1/events?filing_ids="+id, c.Key, id)
	}
	for range c.Streams - len(c.FilingIDs) {
		begin("/v1/events?period_end_month=2020-01", c.OtherKey, "")
	}
	opening.Wait()
}

func (c *crowd) listen(ctx context.Context, id string, body io.Reader) {
	c.mu.Lock()
	c.seen.Since[id] = time.Now()
	c.mu.Unlock()
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 1<<10), 256<<10)
	for lines.Scan() {
		if bytes.Contains(lines.Bytes(), []byte(`"FILING_STATE_ACCEPTED"`)) {
			c.mu.Lock()
			if _, before := c.seen.Accepted[id]; !before {
				c.seen.Accepted[id] = time.Now()
			}
			c.mu.Unlock()
		}
	}
	if ctx.Err() == nil {
		c.lost.Add(1)
	}
}

// A phone asks for filings of its own, one at a time, each with what it was told of it before.
type phone struct {
	*crowd

	number int
	mine   []string
	tags   map[string]string
}

// manyPhones is how many ask, if there are that many filings.
const manyPhones = 64

func (c *crowd) phones() []*phone {
	if c.Polls == 0 || len(c.FilingIDs) < manyPhones {
		return nil
	}
	all := make([]*phone, manyPhones)
	for n := range all {
		all[n] = &phone{crowd: c, number: n, tags: make(map[string]string)}
		for i := n; i < len(c.FilingIDs); i += manyPhones {
			all[n].mine = append(all[n].mine, c.FilingIDs[i])
		}
	}
	return all
}

// eachPhone gives every phone a connection to do something on, and waits for all of them.
func eachPhone(ctx context.Context, phones []*phone, do func(*phone, context.Context, *line)) {
	var all sync.WaitGroup
	for _, p := range phones {
		all.Go(func() {
			l, err := p.connect(ctx)
			if err != nil {
				p.failed.Add(1)
				return
			}
			defer l.close()
			do(p, ctx, l)
		})
	}
	all.Wait()
}

// until waits for a moment; false: ctx ended before.
func until(ctx context.Context, due time.Time) bool {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// learn asks for each filing until it is told of it.
func (p *phone) learn(ctx context.Context, l *line) {
	for _, id := range p.mine {
		for p.tags[id] == "" {
			resp, err := l.get("/v1/filings/"+id, p.Key, "")
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
			switch {
			case err != nil || (resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable):
				p.failed.Add(1)
				return
			case resp.StatusCode == http.StatusOK:
				p.tags[id] = resp.Header.Get("ETag")
			case !until(ctx, time.Now().Add(100*time.Millisecond)): // it was put off
				return
			}
		}
	}
}

// poll asks for the filings at a rate.
func (p *phone) poll(ctx context.Context, l *line) {
	later := make(map[string]time.Time)
	pace := time.Second * manyPhones / time.Duration(p.Polls)
	due := time.Now().Add(pace * time.Duration(p.number) / manyPhones) // people do not tap in step
	for ; until(ctx, due); due = due.Add(pace) {
		if late := time.Since(due); late > time.Second {
			due = due.Add(late) // the machine does not take more: the rate that came about is told
		}
		id := p.mine[rand.IntN(len(p.mine))]
		if time.Now().Before(later[id]) {
			continue // it was told to come again later
		}
		wait, err := p.ask(l, id)
		if wait > 0 {
			later[id] = time.Now().Add(wait)
		}
		if err != nil && ctx.Err() == nil {
			p.failed.Add(1)
			return
		}
	}
}

// ask polls once. It gives how long to stay away where the door put the poll off; what it says of when a
// filing may have changed is not heeded, so that the rate is what was asked for.
func (p *phone) ask(l *line, id string) (wait time.Duration, err error) {
	began := time.Now()
	resp, err := l.get("/v1/filings/"+id, p.Key, p.tags[id])
	if err != nil {
		return 0, err
	}
	if _, err = io.Copy(io.Discard, resp.Body); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNotModified {
		p.mu.Lock()
		p.seen.Waits = append(p.seen.Waits, took)
		p.mu.Unlock()
	}
	switch resp.StatusCode {
	case http.StatusOK:
		p.answered.Add(1)
		p.tags[id] = resp.Header.Get("ETag")
	case http.StatusNotModified:
		p.same.Add(1)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		p.putOff.Add(1)
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return time.Duration(seconds) * time.Second, nil
	default:
		p.failed.Add(1)
	}
	return 0, nil
}
