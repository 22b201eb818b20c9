package season

import (
	"container/heap"
	"strings"
	"sync"
	"time"

	"springtide/loadtest/verdict"
	springtidev1 "springtide/proto/springtide/v1"
)

// A story is what one client knows of one filing.
type story struct {
	paper *paper
	// intended is when the click of the content that holds should have left.
	intended time.Time
	acked    time.Time
	state    string
	version  int64
	// changed is when the state came about, by the system's clock; seen when it was first told,
	// and how (on a stream or as an answer).
	changed, seen time.Time
	streamed      bool
	queued        bool
	fixed         bool
	// earliest and latest are the first statement of when it will end; zero: there was none.
	earliest, latest time.Time
}

func (s *story) ended() bool { return verdict.Final(s.state) }

// notes are what the clients wrote down: the evidence, and what to ask when. They
// are safe for concurrent use.
type notes struct {
	mu       sync.Mutex
	evidence verdict.Evidence
	stories  map[string]*story
	due      dues
	open     int
	ended    int
	accepted int
	fixing   int // corrections that are being thought about, or on their way
	// wrong is called, without the lock, with a filing that was told INVALID and can be corrected; once each.
	wrong func(*paper)
}

func newNotes() *notes { return &notes{stories: map[string]*story{}} }

// acked notes acknowledgements. A click on an ended filing with other content opens it once more.
func (n *notes) acked(acks []verdict.Ack, c *click, intended time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range acks {
		a := &acks[i]
		n.evidence.Acks = append(n.evidence.Acks, *a)
		s := n.stories[a.Filing]
		if s == nil {
			s = &story{paper: paperOf(c, a.Filing), intended: intended, acked: a.At}
			n.stories[a.Filing] = s
			n.open++
		} else if p := paperOf(c, a.Filing); a.Digest != s.paper.Digest && p.fix == nil {
			// A correction. What is to be corrected comes once more only as the late answer to a second press.
			if s.ended() {
				n.open++
				n.ended--
			}
			s.paper, s.intended, s.acked, s.state, s.fixed = p, intended, a.At, "", true
			s.earliest, s.latest = time.Time{}, time.Time{}
		}
		if s.paper.follow == polled && !s.queued && !s.ended() {
			n.queue(s, a.At.Add(time.Second))
		}
	}
}

func paperOf(c *click, id string) *paper {
	for _, a := range c.papers {
		if a.Filing == id {
			return a
		}
	}
	return c.papers[0] // not reached: acknowledgements are of the click's own papers
}

// queue has a filing asked for at a time. The lock is held.
func (n *notes) queue(s *story, at time.Time) {
	s.queued = true
	heap.Push(&n.due, due{at, s})
}

// everything has all that is open asked for, spread over a time from now on.
func (n *notes) everything(over time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now, i := time.Now(), 0
	for _, s := range n.stories {
		if !s.ended() && !s.queued {
			n.queue(s, now.Add(over*time.Duration(i)/time.Duration(max(1, n.open))))
			i++
		}
	}
}

// take gives filings to ask for now, by tenant, at most so many.
func (n *notes) take(most int) map[int][]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	now, ids := time.Now(), map[int][]string{}
	for ; most > 0 && len(n.due) > 0 && !n.due[0].at.After(now); most-- {
		s := heap.Pop(&n.due).(due).story //nolint:errcheck // it holds nothing else
		s.queued = false
		ids[s.paper.tenant] = append(ids[s.paper.tenant], s.paper.Filing)
	}
	return ids
}

// back has filings asked for again that were not answered.
func (n *notes) back(ids []string, after time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range ids {
		if s := n.stories[id]; s != nil && !s.queued && !s.ended() {
			n.queue(s, time.Now().Add(after))
		}
	}
}

// An answer is how and when something was told.
type answer struct {
	asked, at time.Time
	// watch names a stream; empty: it answers a question.
	watch string
	// last: everything is written down, new or not.
	last bool
}

// told notes one thing that was told of a filing.
func (n *notes) told(f *springtidev1.Filing, how answer) {
	state := strings.TrimPrefix(f.GetState().String(), "FILING_STATE_")
	n.mu.Lock()
	s := n.stories[f.GetFilingId()]
	if s == nil { // a watch tells of a filing before its acknowledgement is noted
		s = &story{paper: &paper{Content: verdict.Content{Filing: f.GetFilingId()}}}
	}
	if s.state != state || f.GetVersion() < s.version || how.last {
		n.evidence.Told = append(n.evidence.Told, verdict.Told{
			Filing: f.GetFilingId(), State: state, Cause: f.GetCause(), Version: f.GetVersion(), Digest: f.GetDigest(), Asked: how.asked, At: how.at, Watch: how.watch,
		})
	}
	// What is told of an earlier content says nothing of the one that holds.
	current := s.paper.Digest == "" || f.GetDigest() == "" || f.GetDigest() == s.paper.Digest
	var wrong *paper
	if e := f.GetEta(); current && e != nil && s.latest.IsZero() {
		s.earliest, s.latest = e.GetEarliest().AsTime(), e.GetLatest().AsTime()
	}
	if current && s.state != state && f.GetVersion() >= s.version {
		wrong = n.advance(s, state, f, how)
	}
	s.version = max(s.version, f.GetVersion())
	if !s.ended() && !s.queued && how.watch == "" && !how.last && s.paper.follow != watched {
		n.queue(s, nextLook(f, how.at))
	}
	n.mu.Unlock()
	if wrong != nil && n.wrong != nil {
		n.wrong(wrong)
	}
}

// advance moves a story on. It gives the paper that is to be corrected, if one is. The lock is held.
func (n *notes) advance(s *story, state string, f *springtidev1.Filing, how answer) *paper {
	before := s.ended()
	s.state, s.changed, s.seen, s.streamed = state, f.GetUpdateTime().AsTime(), how.at, how.watch != ""
	if s.acked.IsZero() {
		return nil
	}
	switch now := s.ended(); {
	case now && !before:
		n.open--
		n.ended++
	case before && !now:
		n.open++
		n.ended--
	}
	if state == "ACCEPTED" {
		n.accepted++
	}
	if state == "INVALID" && s.paper.fix != nil && !s.fixed {
		s.fixed = true
		n.fixing++
		return s.paper
	}
	return nil
}

// nextLook is when the answer says that looking again makes sense.
func nextLook(f *springtidev1.Filing, at time.Time) time.Time {
	if t := f.GetNextPollTime(); t != nil {
		return t.AsTime()
	}
	return at.Add(time.Second)
}

// missing notes filings that the front door did not know.
func (n *notes) missing(ids []string, how answer) {
	n.mu.Lock()
	for _, id := range ids {
		n.evidence.Told = append(n.evidence.Told, verdict.Told{Filing: id, State: verdict.NotFound, Asked: how.asked, At: how.at, Watch: how.watch})
	}
	n.mu.Unlock()
	n.back(ids, time.Second)
}

// corrected says that a correction was answered.
func (n *notes) corrected() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fixing--
}

// done reports that nothing is open and no correction is under way.
func (n *notes) done() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.open == 0 && n.fixing == 0
}

// counts are the filings that are open, ended and accepted, as far as anybody was told.
func (n *notes) counts() (open, ended, accepted int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.open, n.ended, n.accepted
}

// all are the ids of all acknowledged filings, by tenant.
func (n *notes) all() map[int][]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	ids := map[int][]string{}
	for id, s := range n.stories {
		ids[s.paper.tenant] = append(ids[s.paper.tenant], id)
	}
	return ids
}

// due is a filing and when to ask for it.
type due struct {
	at    time.Time
	story *story
}

// dues is a heap, the earliest first.
type dues []due

func (d dues) Len() int           { return len(d) }
func (d dues) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d dues) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *dues) Push(x any)        { *d = append(*d, x.(due)) } //nolint:errcheck // nothing else is pushed
func (d *dues) Pop() any {
	old := *d
	x := old[len(old)-1]
	*d = old[:len(old)-1]
	return x
}
