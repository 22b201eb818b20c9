package filing

import "time"

// What may happen next in the model.
//
// A worker decides and appends in one step: a delay between the two is the same
// as deciding on an older reading of the ledger, and every worker may lag behind
// the log as long as it likes. Answers of the authority are different: what a
// worker is about to record may become wrong while it waits to be recorded, so a
// result is a state of its own. Time passes in ticks; age k stands for all
// of [k, k+1), so limits of the world are taken at their worst end.

// happening says what led from one state to the next.
type happening struct {
	worker int8 // -1: not a worker
	verb   string
	rec    record
}

// emit hands on a state after it was brought into its normal form.
func (m *model) emit(w *world, worker int, verb string, r record) {
	m.tidy(w)
	m.yield(w, happening{worker: int8(worker), verb: verb, rec: r})
}

// successors gives every state that may come next to m.yield.
func (m *model) successors(w *world) {
	m.tick(w)
	m.landLate(w)
	m.authorityActs(w)
	m.peopleAct(w)
	m.accidents(w)
	for i := range w.actors {
		a := &w.actors[i]
		if a.mode == down {
			n := *w
			n.actors[i] = actor{v: w.base, through: w.length}
			m.emit(&n, i, "starts again and reads the ledger", record{})
			continue
		}
		if a.offset < w.length {
			n := *w
			m.readOne(&n, i)
			m.emit(&n, i, "reads", w.tail[a.offset])
		}
		m.kill(w, i)
		switch a.mode {
		case waiting:
			m.answer(w, i)
		case settling:
			m.settle(w, i)
		default:
			m.work(w, i)
		}
	}
}

func ticks(d time.Duration) int8 { return int8((d + tick - 1) / tick) }

// tick lets time pass, unless something must happen first. What nobody promised
// to happen in time costs a mishap, once.
func (m *model) tick(w *world) {
	timeout := ticks(m.terms.HTTPTimeout)
	n := *w
	grow := func(age *int8, most int8) {
		if *age != never && *age < most {
			*age++
		}
	}
	for i := range n.actors {
		a := &n.actors[i]
		switch {
		case a.mode == waiting && a.age >= timeout:
			return // it must give up first
		case a.mode == settling && a.age == timeout:
			n.mishaps-- // slow to record a result
		}
		if a.mode == waiting || a.mode == settling {
			grow(&a.age, timeout+1)
		}
		if a.holds {
			if a.started++; a.started == ticks(m.terms.StartDeadline) {
				n.mishaps-- // slow to send
			}
			a.started = min(a.started, ticks(m.terms.StartDeadline))
		}
		switch a.v.claimAge + 1 {
		case ticks(m.terms.Verdict):
			if w.full.phase == PhasePending && a.v.attempt == w.full.attempt {
				n.mishaps-- // the authority, or the look at it, is slow
			}
		case ticks(m.terms.Sending()):
			if a.v.phase == PhaseClaimed && a.offset < n.length {
				n.mishaps-- // slow to read
			}
		}
		if a.v.phase == PhasePending {
			grow(&a.v.claimAge, max(m.claimBound, ticks(m.terms.Verdict)))
		} else {
			grow(&a.v.claimAge, m.claimBound)
		}
		grow(&a.v.firstAge, m.windowBound)
		grow(&a.v.staleAge, ticks(m.terms.Life()))
	}
	if n.mishaps < 0 {
		return
	}
	grow(&n.firstLog, m.windowBound)
	if m.agesMatter() && n.book.taken > 0 {
		grow(&n.book.age, m.bookBound)
	}
	for i, q := range n.loose {
		switch {
		case !q.live:
		case m.p.pauses:
			grow(&n.loose[i].age, m.requestLife())
		case q.age >= m.requestLife():
			n.loose[i] = request{} // it was lost
		default:
			n.loose[i].age++
		}
	}
	m.emit(&n, -1, "time passes", record{})
}

// requestLife is how old a request may be when it is still processed.
func (m *model) requestLife() int8 {
	return ticks(m.terms.HTTPTimeout + m.terms.Processing)
}

// landLate lets an append land that nobody waits for.
func (m *model) landLate(w *world) {
	for i, r := range w.air {
		if r.kind == recNone {
			continue
		}
		n := *w
		n.air[i] = record{}
		if m.land(&n, r) {
			m.emit(&n, -1, "an append lands late", r)
		}
	}
}

func (w *world) fly(r record) bool {
	for i := range w.air {
		if w.air[i].kind == recNone {
			w.air[i] = r
			return true
		}
	}
	return false
}

func (w *world) letGo(q request) bool {
	for i := range w.loose {
		if !w.loose[i].live {
			w.loose[i] = q
			return true
		}
	}
	return false
}

// kill ends a process at any step: what it has in memory is gone, its request
// or its append travels on, or does not.
func (m *model) kill(w *world, i int) {
	if w.kills == 0 {
		return
	}
	a := w.actors[i]
	n := *w
	n.kills--
	n.actors[i] = actor{mode: down, v: newView()}
	gone := n
	m.emit(&gone, i, "is killed", record{})
	switch {
	case a.mode == waiting && n.letGo(request{live: true, age: a.age, content: a.content}):
		m.emit(&n, i, "is killed, its request travels on", record{})
	case a.mode == settling && n.fly(a.result):
		m.emit(&n, i, "is killed, its append travels on", a.result)
	}
}

// peopleAct: a click that takes back, a second submission, a person's decision
// on a quarantined filing, once the authority's own book is clear.
func (m *model) peopleAct(w *world) {
	if w.people == 0 {
		return
	}
	try := func(r record) {
		n := *w
		n.people--
		if m.land(&n, r) {
			m.emit(&n, -1, "a person", r)
		}
	}
	if w.full.cancelled < 0 {
		try(record{kind: recCancelled, content: 1})
	}
	if w.second == recNone {
		for _, kind := range []recordKind{recCorrected, recReopened} {
			n := *w
			n.people--
			n.second = kind
			m.emit(&n, -1, "a person submits again", record{kind: kind})
		}
	}
	if w.full.phase != PhaseQuarantined || w.loose[0].live || w.book.pending {
		return
	}
	for _, a := range w.actors {
		if a.mode == waiting || a.holds && a.started < ticks(m.terms.StartDeadline) {
			return
		}
	}
	kind := recResolvedNot
	if w.book.taken > 0 {
		kind = recResolvedFiled
	}
	try(record{kind: kind, attempt: w.full.attempt, content: w.full.content})
}

// reply is what a worker makes of an answer, and what the authority did.
type reply struct {
	kind   recordKind // what it records; recSettled: documented as not processed
	book   book
	mishap int8
	verb   string
}

// replies lists what may become of a request that reached the authority.
func (m *model) replies(b book) []reply {
	out := m.buffer[:0]
	taken := b
	taken.taken, taken.age, taken.pending = b.taken+1, 0, false
	pend := taken
	pend.pending = true
	refused := b
	refused.refused = true
	if !m.queries() {
		taken.refused, pend.refused = false, false // there is no lag, so nobody is told of it any more
		refused.refused = b.refused                // only a verdict on what was taken is asked for
	}
	foreign := b
	foreign.foreign = true
	switch {
	case m.sc.class == ClassA && b.taken > 0 && b.age < ticks(m.terms.Window):
		kind := recAccepted
		if b.pending {
			kind = recPending
		}
		out = append(out, reply{kind, b, 0, "gets the same answer again"}, reply{recUnknown, b, 1, "gets a 5xx"})
	case m.sc.class == ClassU && (b.taken > 0 || b.foreign):
		out = append(out, reply{m.p.duplicate, b, 0, "gets DUPLICATE"})
	default:
		out = append(out,
			reply{recAccepted, taken, 0, "is filed"},
			reply{recPending, pend, 0, "is taken"},
			reply{recRejected, b, 0, "is rejected"},
			reply{m.p.failure, taken, 1, "is filed, the answer is lost or a 5xx"},
			reply{m.p.failure, pend, 1, "is taken, the answer is lost or a 5xx"},
			reply{m.p.failure, b, 1, "gets a 5xx"},
			reply{recSettled, b, 1, "is told to come later"},
		)
		if refused != b {
			out = append(out, reply{recRejected, refused, 0, "is rejected, on the books"}, reply{m.p.failure, refused, 1, "is rejected, the answer is lost"})
		}
		if m.sc.class == ClassU {
			out = append(out,
				reply{m.p.duplicate, foreign, 1, "gets DUPLICATE for a return that is not ours"},
				reply{m.p.duplicate, taken, 1, "is delivered twice, and gets DUPLICATE"})
		}
	}
	return out
}

func (m *model) queries() bool { return m.sc.class == ClassB || m.sc.class == ClassU }

// answer lets the authority work on the request of a worker that waits for it.
// Work and answer are one step: nobody else may touch the attempt while its
// sender may wait, and a result may wait as long as the answer could have.
func (m *model) answer(w *world, i int) {
	a := w.actors[i]
	for _, r := range m.replies(w.book) {
		if r.mishap > w.mishaps {
			continue
		}
		n := *w
		n.book = r.book
		n.mishaps -= r.mishap
		m.got(&n, i, r.kind)
		m.emit(&n, i, r.verb, record{})
	}
	if w.mishaps > 0 {
		n := *w
		n.mishaps--
		if n.letGo(request{live: true, age: a.age, content: a.content}) {
			m.got(&n, i, recUnknown)
			m.emit(&n, i, "gives up, its request travels on", record{})
		}
	}
}

// got is the submit stage's outcome(): what an answer is recorded as.
func (m *model) got(w *world, i int, kind recordKind) {
	a := &w.actors[i]
	if kind == recRejected && !a.clean {
		kind = recSettled // it settles this attempt, and decides nothing
	}
	a.mode, a.ended = settling, true
	a.result = record{kind: kind, attempt: a.sent, content: a.content}
}

// settle records a result, again and again until it is durable.
func (m *model) settle(w *world, i int) {
	r := w.actors[i].result
	finish := func(n *world, told bool) {
		a := &n.actors[i]
		a.mode = working
		if !told || r.kind == recSettled {
			a.parked = told && a.v.staleAge != never
			a.forget(false) // the command is parked or given up: the visit is over
		}
	}
	m.write(w, i, r, finish)
}

// write makes one record durable: as it should be, twice, or without the worker
// being told. then says what becomes of the worker; untold means an error.
func (m *model) write(w *world, i int, r record, then func(n *world, told bool)) {
	n := *w
	if !m.land(&n, r) {
		return // the tail is full: somebody has to read first
	}
	n.actors[i].through = n.length
	then(&n, true)
	twice := n
	m.emit(&n, i, "appends", r)
	if w.mishaps == 0 {
		return
	}
	twice.mishaps--
	if twice.fly(r) {
		m.emit(&twice, i, "appends, and a copy is on its way,", r)
	}
	untold := *w
	untold.mishaps--
	if untold.fly(r) {
		then(&untold, false)
		m.emit(&untold, i, "is not told whether it appended", r)
	}
}

// authorityActs: requests that nobody waits for, and verdicts.
func (m *model) authorityActs(w *world) {
	for i, q := range w.loose {
		if !q.live {
			continue
		}
		for _, r := range m.replies(w.book) {
			if r.mishap > 0 || r.book == w.book {
				continue // the answer is lost anyway
			}
			n := *w
			n.loose[i] = request{}
			n.book = r.book
			m.emit(&n, -1, "a request that nobody waits for "+r.verb, record{})
		}
		n := *w
		n.loose[i] = request{}
		m.emit(&n, -1, "a request that nobody waits for comes to nothing", record{})
	}
	if w.book.pending {
		n := *w
		n.book.pending = false
		m.emit(&n, -1, "the authority decides: filed", record{})
		n = *w
		n.book.pending, n.book.taken, n.book.refused = false, n.book.taken-1, true
		m.emit(&n, -1, "the authority decides: refused", record{})
	}
}

// work lets a worker take its next step, as a visit of the submit stage does.
func (m *model) work(w *world, i int) {
	a := &w.actors[i]
	if a.parked || a.offset < a.through && !m.p.trustAppend {
		return // reading back
	}
	m.step(w, i, 0)
	if w.second != recNone {
		m.step(w, i, 1)
	}
}

func (m *model) situation(w *world, i int, position int64) (Case, Situation) {
	a := &w.actors[i]
	c := caseOf(a.v)
	s := Situation{
		Now: modelNow, LogNow: modelStart(), Terms: m.terms,
		Position: position, Reopen: w.second == recReopened && position > 0,
		Finding: a.finding, Asked: int32(a.asked),
	}
	if m.p.looseFinding {
		s.Asked = c.Claim.Attempt
	}
	if a.v.late {
		s.LogNow = s.LogNow.Add(m.terms.Window - m.terms.Life())
	}
	if a.holds {
		s.Token, s.ClaimStarted = Token{byte(tokenOf(i))}, instantOf(a.started)
	}
	if a.ended {
		s.Ended = c.Claim.Attempt
	}
	if m.p.trustAppend && a.holds {
		c.Phase, c.Claim.Token, c.Claim.Attempt, c.Claim.ReadAt = PhaseClaimed, s.Token, max(c.Claim.Attempt, 1), modelNow
	}
	return c, s
}

func (m *model) step(w *world, i int, position int64) {
	a := &w.actors[i]
	c, s := m.situation(w, i, position)
	st := m.p.decide(c, s)
	content, attempt := m.contentAt(w, position), int8(st.Attempt)
	switch st.Kind {
	case StepRegister:
		m.register(w, i, position, c, s)
	case StepClaim:
		m.claim(w, i, record{kind: recClaimed, attempt: attempt, token: tokenOf(i), content: content})
	case StepSend:
		n := *w
		b := &n.actors[i]
		b.mode, b.holds, b.sent, b.age, b.clean, b.content = waiting, false, attempt, 0, st.Clean, content
		m.emit(&n, i, "sends", record{kind: recNone, attempt: attempt})
		if s.Held = tick; w.mishaps > 0 {
			n := *w
			n.mishaps--
			m.conclude(&n, i, m.p.decide(c, s), content) // its generation is gone
		}
	case StepAppend:
		m.conclude(w, i, st, content)
	case StepQuery:
		m.query(w, i, st, c, content)
	case StepWait:
		m.wait(w, i, st, c, content)
	default:
		if a.ended || a.finding != FindingNone {
			n := *w
			n.actors[i].forget(false)
			m.emit(&n, i, "ends its visit", record{})
		}
	}
}

func (m *model) contentAt(w *world, position int64) uint8 {
	if position > 0 && w.second == recCorrected {
		return 2
	}
	return 1
}

// accidents: a command that is put aside as poison, and for one mutant a wipe of
// where the claims are kept.
func (m *model) accidents(w *world) {
	if w.mishaps == 0 {
		return
	}
	if n := *w; w.full.phase == PhaseOpen {
		n.mishaps--
		if m.land(&n, record{kind: recDead, content: w.full.content}) {
			m.emit(&n, -1, "a worker gives the command up as poison", record{kind: recDead})
		}
	}
	if m.p.volatileClaim && w.full.phase == PhaseClaimed && w.length == 0 {
		n := *w
		n.mishaps--
		for _, v := range []*view{&n.base, &n.full, &n.actors[0].v, &n.actors[1].v} {
			v.phase, v.exposed, v.token, v.claimAge = PhaseOpen, false, noToken, never
		}
		m.emit(&n, -1, "the claims are wiped", record{})
	}
}
