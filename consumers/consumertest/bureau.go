package consumertest

import (
	"cmp"
	"context"
	"sync"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/authority"
	"springtide/services/filing"
)

// A Behaviour is what an authority does with one request.
type Behaviour uint8

// The behaviours.
const (
	// Accept files it and says so.
	Accept Behaviour = iota
	// Reject refuses it for good.
	Reject
	// FailBefore answers 5xx and files nothing.
	FailBefore
	// FailAfter files it and answers 5xx.
	FailAfter
	// Lose drops the request; the sender waits in vain.
	Lose
	// FileLate answers nothing and files it once the sender has given up, within Terms.Processing.
	FileLate
	// TurnAway says, as documented, that nothing was done.
	TurnAway
	// TakeThenAccept and TakeThenReject answer "taken" and decide after a while.
	TakeThenAccept
	TakeThenReject
	// FileSilently files it and answers nothing: the answer is lost.
	FileSilently
	// AcceptSlowly files it and says so, when three quarters of the sender's time are over.
	AcceptSlowly
	// ForeignFirst: somebody else filed another return for the period before.
	ForeignFirst
)

// A Bureau is an authority of any class, in memory and in synthetic time. It
// keeps a book of its own, which is the only evidence of what was filed.
type Bureau struct {
	Numbers filing.Terms
	// Script says what becomes of the n-th submission, from 0; beyond its end all are accepted.
	Script []Behaviour
	// Held, if set, is the gate.
	Held func() (time.Duration, string)
	// OnSubmit, if set, is called when a request arrives.
	OnSubmit func(n int)
	// OnQuery, if set, is called when a query arrives.
	OnQuery func()
	// DecideAfter is how long "taken" stays undecided; 0: three minutes.
	DecideAfter time.Duration

	mu       sync.Mutex
	requests int
	queries  int
	filed    []filedReturn
	taken    map[string]takenReturn
	late     sync.WaitGroup
}

type filedReturn struct {
	ref    string
	digest filing.Digest
	at     time.Time
}

type takenReturn struct {
	at     time.Time
	accept bool
	booked bool
	digest filing.Digest
}

// decideAfter is how long "taken" stays undecided.
const decideAfter = 3 * time.Minute

// Terms are the bureau's numbers.
func (b *Bureau) Terms() filing.Terms { return b.Numbers }

// Admit lets everything in unless Held says otherwise.
func (b *Bureau) Admit(context.Context) (func(authority.Outcome, time.Duration), time.Duration, string) {
	if b.Held != nil {
		if held, cause := b.Held(); held > 0 {
			return nil, held, cause
		}
	}
	return func(authority.Outcome, time.Duration) {}, 0, ""
}

// Filed is how many returns are in the book.
func (b *Bureau) Filed() int {
	b.late.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.filed)
}

// Requests and Queries count what arrived.
func (b *Bureau) Requests() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.requests
}

// Queries counts the queries that arrived.
func (b *Bureau) Queries() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.queries
}

// Submit is one request.
func (b *Bureau) Submit(ctx context.Context, f authority.Filing) authority.Outcome {
	b.mu.Lock()
	n := b.requests
	b.requests++
	b.mu.Unlock()
	if b.OnSubmit != nil {
		b.OnSubmit(n)
	}
	do := Accept
	if n < len(b.Script) {
		do = b.Script[n]
	}
	switch do {
	case FailBefore:
		return authority.Outcome{Kind: authority.Unknown, Cause: "http_500"}
	case FailAfter:
		b.file(f)
		return authority.Outcome{Kind: authority.Unknown, Cause: "http_500"}
	case Lose:
		<-ctx.Done()
		return authority.Outcome{Kind: authority.Unknown, Cause: "timeout"}
	case FileLate:
		b.late.Go(func() {
			time.Sleep(b.Numbers.HTTPTimeout + b.Numbers.Processing/2)
			b.file(f)
		})
		<-ctx.Done()
		return authority.Outcome{Kind: authority.Unknown, Cause: "timeout"}
	case FileSilently:
		b.file(f)
		<-ctx.Done()
		return authority.Outcome{Kind: authority.Unknown, Cause: "timeout"}
	case AcceptSlowly:
		time.Sleep(b.Numbers.HTTPTimeout * 3 / 4)
		return b.file(f)
	case TurnAway:
		return authority.Outcome{Kind: authority.Busy, Cause: "throttled", RetryAfter: 2 * time.Second}
	case TakeThenAccept, TakeThenReject:
		b.take(f, do == TakeThenAccept)
		return authority.Outcome{Kind: authority.Pending, Number: "P1"}
	case ForeignFirst:
		b.mu.Lock()
		b.filed = append(b.filed, filedReturn{ref: "somebody else", digest: filing.Digest{9}, at: time.Now()})
		b.mu.Unlock()
		return authority.Outcome{Kind: authority.Unknown, Cause: "duplicate"}
	case Reject:
		return b.refuse(f)
	default:
		return b.file(f)
	}
}

// file takes a return into the book, as the class has it.
func (b *Bureau) file(f authority.Filing) authority.Outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.filed {
		switch {
		case b.Numbers.Class == filing.ClassA && r.ref == f.Ref && time.Since(r.at) < b.Numbers.Window:
			return accepted()
		case b.Numbers.Class == filing.ClassU:
			return authority.Outcome{Kind: authority.Unknown, Cause: "duplicate"}
		}
	}
	b.filed = append(b.filed, filedReturn{ref: f.Ref, digest: f.Digest, at: time.Now()})
	return accepted()
}

func (b *Bureau) refuse(f authority.Filing) authority.Outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.filed {
		if b.Numbers.Class == filing.ClassA && r.ref == f.Ref {
			return accepted()
		}
	}
	return rejected()
}

func (b *Bureau) take(f authority.Filing, accept bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.taken == nil {
		b.taken = map[string]takenReturn{}
	}
	b.taken[f.Ref] = takenReturn{at: time.Now(), accept: accept, digest: f.Digest}
}

// Query looks the reference up, or for class U the period.
func (b *Bureau) Query(_ context.Context, f authority.Filing) authority.Outcome {
	if b.OnQuery != nil {
		b.OnQuery()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queries++
	if t, ok := b.taken[f.Ref]; ok {
		switch {
		case time.Since(t.at) < cmp.Or(b.DecideAfter, decideAfter):
			return authority.Outcome{Kind: authority.Pending, Number: "P1"}
		case !t.accept:
			return rejected()
		case !t.booked:
			t.booked = true
			b.taken[f.Ref] = t
			b.filed = append(b.filed, filedReturn{ref: f.Ref, digest: t.digest, at: time.Now().Add(-b.Numbers.Lag)})
		}
		return accepted()
	}
	if b.Numbers.Class != filing.ClassB && b.Numbers.Class != filing.ClassU {
		return authority.Outcome{Kind: authority.Unknown, Cause: "cannot_be_asked"}
	}
	for _, r := range b.filed {
		if time.Since(r.at) < b.Numbers.Lag || (b.Numbers.Class == filing.ClassB && r.ref != f.Ref) {
			continue
		}
		if r.digest != f.Digest {
			return authority.Outcome{Kind: authority.Foreign}
		}
		return accepted()
	}
	return authority.Outcome{Kind: authority.Absent}
}

func accepted() authority.Outcome {
	return authority.Outcome{Kind: authority.Accepted, Receipt: &springtidev1.Receipt{Number: "R1"}}
}

func rejected() authority.Outcome {
	return authority.Outcome{Kind: authority.Rejected, Reasons: []*springtidev1.Reason{{Code: "E1", Message: "no"}}}
}
