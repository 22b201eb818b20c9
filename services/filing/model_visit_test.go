package filing

import "time"

// The steps of a visit, as in the submit stage.

// register makes a submission known; the claim may go into the same append.
func (m *model) register(w *world, i int, position int64, c Case, s Situation) {
	r := record{kind: recRegistered, content: m.contentAt(w, position)}
	if position > 0 {
		r.kind = w.second
	}
	m.write(w, i, r, func(n *world, told bool) { n.actors[i].forget(told) })
	ahead, err := m.p.fold(c, Entry{Offset: c.Version, Event: r.event()})
	if err != nil {
		panic(err)
	}
	st := m.p.decide(ahead, s)
	if st.Kind != StepClaim {
		return
	}
	n := *w
	if m.land(&n, r) {
		m.claim(&n, i, record{kind: recClaimed, attempt: int8(st.Attempt), token: tokenOf(i), content: r.content})
	}
}

// claim draws a token, notes when the claim began, and appends it.
func (m *model) claim(w *world, i int, r record) {
	m.write(w, i, r, func(n *world, told bool) {
		a := &n.actors[i]
		a.forget(told)
		a.finding, a.asked = FindingNone, 0
		a.holds, a.started = told, 0
	})
}

// forget ends a visit whose append failed.
func (a *actor) forget(told bool) {
	if !told {
		a.holds, a.ended, a.finding, a.asked = false, false, FindingNone, 0
	}
}

// conclude records what the decision reached by itself.
func (m *model) conclude(w *world, i int, st Step, content uint8) {
	r := record{attempt: int8(st.Attempt), content: content}
	switch st.Verdict {
	case VerdictQuarantine:
		r.kind = recQuarantined
	case VerdictRetry:
		r.kind = recRetry
	default:
		r.kind = recSettled
	}
	m.write(w, i, r, func(n *world, told bool) {
		n.actors[i].holds = false
		n.actors[i].forget(told)
	})
}

// wait says that the outcome is being looked up, when its sender is gone, and ends the visit.
func (m *model) wait(w *world, i int, st Step, c Case, content uint8) {
	over := func(n *world, _ bool) { n.actors[i].forget(false) }
	if !c.OutcomeUnknown && time.Duration(modelNow-c.Claim.ReadAt) >= m.terms.Sending() {
		m.write(w, i, record{kind: recUnknown, attempt: int8(st.Attempt), content: content}, over)
		return
	}
	n := *w
	over(&n, true)
	if n != *w {
		m.emit(&n, i, "ends its visit", record{})
	}
}

// query asks the authority. Within the lag it may not know yet what it has. A
// failed query is the same as none.
func (m *model) query(w *world, i int, st Step, c Case, content uint8) {
	b, pending := w.book, c.Phase == PhasePending
	settle := func(kind recordKind) {
		n := *w
		a := &n.actors[i]
		a.mode, a.age, a.content = settling, 0, content
		a.result = record{kind: kind, attempt: int8(st.Attempt), content: content}
		m.emit(&n, i, "asks and is told", a.result)
	}
	find := func(f Finding) {
		if pending || w.actors[i].finding == f {
			return
		}
		n := *w
		n.actors[i].finding = f
		if !m.p.looseFinding {
			n.actors[i].asked = int8(st.Attempt)
		}
		m.emit(&n, i, map[Finding]string{FindingAbsent: "asks: there is nothing", FindingForeign: "asks: there is another return"}[f], record{})
	}
	if b.taken > 0 && !b.pending {
		settle(recAccepted)
	}
	if b.taken > 0 && b.pending && !pending {
		settle(recPending)
	}
	if seen := b.taken > 0 && (!m.queries() || b.age > ticks(m.terms.Lag)); !seen {
		switch {
		case b.foreign:
			find(FindingForeign)
		case b.refused && st.Clean:
			settle(recRejected)
		case !b.refused:
			find(FindingAbsent)
		}
	}
	m.giveUpAsking(w, i, st, content)
}

// giveUpAsking: the model lets no time pass beyond the settled age, so a query
// that was never answered for as long as anybody bears is a step of its own.
func (m *model) giveUpAsking(w *world, i int, st Step, content uint8) {
	if !m.queries() || w.actors[i].v.phase != PhaseClaimed {
		return
	}
	c, s := m.situation(w, i, int64(w.actors[i].v.opener))
	c.Claim.ReadAt -= Instant(m.terms.MaxWait)
	s.Finding = FindingNone
	if late := m.p.decide(c, s); late.Kind == StepAppend && late.Verdict == VerdictQuarantine {
		m.conclude(w, i, late, content)
	}
}
