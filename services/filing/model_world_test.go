package filing

import "time"

// The state of the model: one ledger, one authority, two workers. It is a plain
// value of small integers, so that two states are equal when == says so.
//
// Instants are kept as ages in ticks and saturate where nobody can tell the
// difference any more. What every worker has read is folded into base and
// forgotten; only the tail that some worker has not read yet is kept as records.
// Attempt numbers are shifted so that base is at attempt 2 at most: Fold and
// Decide only tell the first from later ones, and compare neighbours.

// tick is the model's unit of time.
const tick = time.Second

const (
	modelNow = Instant(1000 * tick) // every age counts back from here
	never    = int8(-1)             // an age that is not known
	maxTail  = 6                    // a worker that lags further behind holds up the log
	maxAir   = 2
	maxLoose = 3
)

var modelContents = [...]Digest{{}, contentA, contentB}

// modelStart stands for the log time of the first claim.
func modelStart() time.Time { return time.Unix(1000, 0) }

type mode uint8

const (
	working  mode = iota
	waiting       // for the answer to its request
	settling      // a result is to be recorded
	down
)

// actor is one worker: what it read, and what its visit remembers.
type actor struct {
	v       view
	mode    mode
	offset  int8 // how much of the tail it has read
	through int8 // how much it has to read before it goes on (read-back)

	holds   bool // a claim of its own, appended and not sent yet
	started int8 // its age
	ended   bool // it sent the current attempt itself, and that is over
	finding Finding
	asked   int8 // the attempt that is about
	parked  bool // until older requests are dead

	// The request or the result, by mode.
	sent    int8 // attempt
	age     int8 // since it decided to send
	clean   bool
	content uint8
	result  record
}

// request is one that nobody waits for any more.
type request struct {
	live    bool
	age     int8
	content uint8
}

// book is what the authority knows.
type book struct {
	taken   int8 // filed or pending
	pending bool
	age     int8 // since it was taken
	refused bool // it remembers an earlier refusal, and says so when asked
	foreign bool // it holds a return that is not ours
}

type flaw uint8

const (
	flawless flaw = iota
	filedTwice
	toldNotFiled
	toldFiled
	contentChanged
	needlessQuarantine
)

func (f flaw) String() string {
	return [...]string{
		"", "filed twice", "told that it is not filed, yet it is", "told accepted, yet not filed",
		"content changed while the old may be filed", "quarantined although nothing went wrong",
	}[f]
}

// world is one state of everything.
type world struct {
	base, full view // what all workers read; what the whole log says
	tail       [maxTail]record
	length     int8
	air        [maxAir]record // appends on their way: they land later or never
	actors     [2]actor
	loose      [maxLoose]request
	book       book
	firstLog   int8 // age of the first claim by the log's clock (class A)

	kills, mishaps, people int8       // left
	second                 recordKind // the second submission, once somebody made it
	flaw                   flaw
}

func (m *model) start() world {
	w := world{
		base: newView(), full: newView(), firstLog: never,
		kills: m.sc.kills, mishaps: m.sc.mishaps, people: m.sc.people,
	}
	for i := range w.actors {
		w.actors[i].v = newView()
	}
	return w
}

// fold runs the protocol's fold on a view; the record is read now.
func (m *model) fold(v view, r record) view {
	ev := &m.events[r.kind][r.attempt][r.token][r.content]
	if *ev == nil {
		*ev = r.event()
	}
	c, err := m.p.fold(caseOf(v), Entry{LogTime: modelStart(), ReadAt: modelNow, Event: *ev})
	if err != nil {
		panic(err)
	}
	return m.viewOf(c, r.late)
}

// land makes a record durable. A record that changes nothing for the whole log
// changes nothing for anybody who reads that far, so it is not kept; whoever
// must read through it has to read all that is before it.
func (m *model) land(w *world, r record) bool {
	r.late = false
	next := m.fold(w.full, r)
	if m.sc.class == ClassA && next.firstAge != never {
		if next.attempt != w.full.attempt && !w.full.exposed {
			w.firstLog = 0
		}
		r.late = w.firstLog >= m.windowBound
		next.late = r.late
	}
	same := next
	same.late = w.full.late
	if same == w.full {
		return true
	}
	if w.length == maxTail {
		return false
	}
	if w.full.exposed && next.content != w.full.content {
		w.flaw = contentChanged
	}
	w.tail[w.length] = r
	w.length++
	w.full = next
	return true
}

// readOne lets a worker fold one more record.
func (m *model) readOne(w *world, i int) {
	a := &w.actors[i]
	a.v = m.fold(a.v, w.tail[a.offset])
	a.offset++
}

// tidy brings a state into its normal form: everything that can make no
// difference any more is the same in all states.
func (m *model) tidy(w *world) {
	m.forgetTail(w)
	m.forgetTokens(w)
	if w.full.firstAge == never {
		w.firstLog = never
	}
	for i := range w.actors {
		m.forgetVisit(&w.actors[i])
	}
	if k := w.base.attempt - 2; k > 0 {
		shift(w, k)
	}
	for i, r := range w.air {
		if m.p.over(r, w.full.attempt) {
			w.air[i] = record{}
		}
	}
	if w.air[0].kind < w.air[1].kind {
		w.air[0], w.air[1] = w.air[1], w.air[0]
	}
	sortLoose(w)
	if !m.agesMatter() || w.book.taken == 0 {
		w.book.age = 0
	}
	if w.flaw == flawless {
		w.flaw = m.check(w)
	}
}

// agesMatter: class C has neither a lag nor a window.
func (m *model) agesMatter() bool { return m.sc.class != ClassC }

// forgetTail folds what all workers have read into base.
func (m *model) forgetTail(w *world) {
	read := w.length
	for _, a := range w.actors {
		if a.mode != down {
			read = min(read, a.offset)
		}
	}
	for i := range read {
		w.base = fresh(m.fold(w.base, w.tail[i]))
	}
	if read == 0 {
		return
	}
	copy(w.tail[:], w.tail[read:w.length])
	clear(w.tail[w.length-read:])
	w.length -= read
	for i := range w.actors {
		a := &w.actors[i]
		a.offset, a.through = max(a.offset-read, 0), max(a.through-read, 0)
	}
}

// fresh is a view as read just now.
func fresh(v view) view {
	for _, age := range []*int8{&v.claimAge, &v.firstAge, &v.staleAge} {
		if *age != never {
			*age = 0
		}
	}
	return v
}

// forgetTokens drops the tokens that nobody holds, and the hold on claims that are nowhere.
func (m *model) forgetTokens(w *world) {
	var tokens [2*maxTail + 8]*token
	n := 0
	add := func(t *token) {
		tokens[n] = t
		n++
	}
	add(&w.base.token)
	add(&w.full.token)
	for i := range w.actors {
		add(&w.actors[i].v.token)
	}
	for i := range w.length {
		add(&w.tail[i].token)
	}
	for i := range w.air {
		add(&w.air[i].token)
	}
	for i := range w.actors {
		a := &w.actors[i]
		found := m.p.trustAppend
		for _, t := range tokens[:n] {
			if *t != tokenOf(i) {
				continue
			}
			if a.holds || m.p.sharedToken && a.mode != down {
				found = true
			} else {
				*t = lostToken
			}
		}
		a.holds = a.holds && found
		if !a.holds {
			a.started = 0
		}
	}
}

// forgetVisit drops what the visit remembers and cannot use any more.
func (m *model) forgetVisit(a *actor) {
	if a.v.phase != PhaseClaimed || a.v.claimAge != never && time.Duration(a.v.claimAge)*tick >= m.terms.Sending() {
		a.ended = false // it only spares the wait for an owner
	}
	if a.asked != 0 && a.asked != a.v.attempt {
		a.finding, a.asked = FindingNone, 0 // about an attempt that is over
	}
	a.parked = a.parked && a.v.staleAge != never && a.v.staleAge < ticks(m.terms.Life())
	if a.through <= a.offset {
		a.through = 0
	}
	if a.mode != waiting && a.mode != settling {
		a.sent, a.age, a.clean, a.content, a.result = 0, 0, false, 0, record{}
	}
}

// shift renumbers the attempts.
func shift(w *world, k int8) {
	w.base.attempt -= k
	w.full.attempt -= k
	for i := range w.length {
		w.tail[i].attempt = max(w.tail[i].attempt-k, 0)
	}
	for i := range w.air {
		w.air[i].attempt = max(w.air[i].attempt-k, 0)
	}
	for i := range w.actors {
		a := &w.actors[i]
		a.v.attempt = max(a.v.attempt-k, 0)
		a.sent = max(a.sent-k, 0)
		if a.asked > 0 {
			if a.asked -= k; a.asked <= 0 {
				a.finding, a.asked = FindingNone, 0
			}
		}
		a.result.attempt = max(a.result.attempt-k, 0)
	}
}

func sortLoose(w *world) {
	for i := 1; i < maxLoose; i++ {
		for j := i; j > 0 && older(w.loose[j], w.loose[j-1]); j-- {
			w.loose[j], w.loose[j-1] = w.loose[j-1], w.loose[j]
		}
	}
}

// older orders requests; which order is all the same.
func older(a, b request) bool {
	if a.live != b.live {
		return a.live
	}
	if a.age != b.age {
		return a.age > b.age
	}
	return a.content > b.content
}

// check is the promise.
func (m *model) check(w *world) flaw {
	switch p := w.full.phase; {
	case w.book.taken > 1:
		return filedTwice
	case w.book.taken > 0 && !w.book.pending && (p == PhaseRejected || p == PhaseCancelled || p == PhaseInvalid || p == PhaseDead):
		return toldNotFiled
	case p == PhaseAccepted && (w.book.taken == 0 || w.book.pending):
		return toldFiled
	case p == PhaseQuarantined && w.kills == m.sc.kills && w.mishaps == m.sc.mishaps:
		return needlessQuarantine
	}
	for _, q := range w.loose {
		if q.live && q.content != w.full.content {
			return contentChanged
		}
	}
	for _, a := range w.actors {
		if a.mode == waiting && a.content != w.full.content {
			return contentChanged
		}
	}
	return flawless
}

// swapped is the same world with the workers' names exchanged.
func swapped(w world) world {
	w.actors[0], w.actors[1] = w.actors[1], w.actors[0]
	swap := func(t *token) {
		switch *t {
		case firstWorkers:
			*t = secondWorkers
		case secondWorkers:
			*t = firstWorkers
		}
	}
	swap(&w.base.token)
	swap(&w.full.token)
	for i := range w.actors {
		swap(&w.actors[i].v.token)
		swap(&w.actors[i].result.token)
	}
	for i := range w.length {
		swap(&w.tail[i].token)
	}
	for i := range w.air {
		swap(&w.air[i].token)
	}
	return w
}

// quiet reports whether nothing can change any more that anybody could tell:
// the log says how it ended, nothing travels, and no worker may send.
func (w *world) quiet() bool {
	if !caseOf(w.full).Final() || w.book.pending || w.air[0].kind != recNone {
		return false
	}
	if w.people > 0 && w.full.phase != PhaseAccepted || w.second != recNone && w.full.position < 1 && w.full.phase != PhaseAccepted {
		return false
	}
	for _, a := range w.actors {
		if a.holds || a.mode == waiting || a.mode == settling {
			return false
		}
	}
	return !w.loose[0].live
}
