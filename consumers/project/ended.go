package project

import (
	"encoding/base32"
	"encoding/binary"

	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// Most filings have ended, and most of those never change again; yet a click may correct
// one, and a view that was lost is written anew from memory. So an archive keeps all of
// them, as small as it can: as bytes in large chunks in which the collector finds no
// pointer, without what the case, the id and a few common texts tell as well.

// rawID is a filing id without its base 32.
type rawID [20]byte

// spot is where an entry begins.
type spot struct{ chunk, at uint32 }

// kind is what many filings have in common.
type kind struct{ form, edition, authority, start, end string }

// An archive is owned by one goroutine.
type archive struct {
	at     map[rawID]spot
	chunks [][]byte
	// live and dead are the bytes of entries that are there, and of those that were taken out.
	live, dead int
	tenants    pool[string]
	kinds      pool[kind]
}

// Bounds of an archive.
const (
	// mostPooled is how many texts are kept apart. A filing that brings one more is not taken.
	mostPooled = 1 << 16
	chunkSize  = 256 << 10
	firstChunk = 4 << 10
	// leastDead is below what nothing is tidied.
	leastDead = 1 << 20
)

func newArchive() *archive { return &archive{at: make(map[rawID]spot)} }

// A pool numbers values, up to a bound.
type pool[K comparable] struct {
	number map[K]uint64
	values []K
}

func (p *pool[K]) of(k K) (uint64, bool) {
	if n, ok := p.number[k]; ok {
		return n, true
	}
	if len(p.values) >= mostPooled {
		return 0, false
	}
	if p.number == nil {
		p.number = make(map[K]uint64)
	}
	n := uint64(len(p.values))
	p.number[k], p.values = n, append(p.values, k)
	return n, true
}

var ids = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

func rawOf(id filing.ID) (raw rawID, ok bool) {
	var b [24]byte
	if ids.DecodedLen(len(id)) != len(raw) {
		return raw, false
	}
	if _, err := ids.Decode(b[:], []byte(id)); err != nil {
		return raw, false
	}
	copy(raw[:], b[:])
	return raw, filing.ID(ids.EncodeToString(raw[:])) == id
}

func (r rawID) id() filing.ID { return filing.ID(ids.EncodeToString(r[:])) }

// What an entry leaves out, because something else tells it.
const (
	hasPeriod = 1 << iota
	receiptID
	receiptAuthority
	receiptRef
	receiptDigest
	exposed
	outcomeUnknown
)

// core is what of a case both later records and people depend on, once it has ended. The
// claim's token and times matter to who sends.
func core(c filing.Case) filing.Case {
	return filing.Case{
		Phase: c.Phase, Digest: c.Digest, Revision: c.Revision, Position: c.Position, Opener: c.Opener, Cancelled: c.Cancelled,
		Claim: filing.Claim{Attempt: c.Claim.Attempt}, Exposed: c.Exposed, OutcomeUnknown: c.OutcomeUnknown, Unknowns: c.Unknowns,
		Version: c.Version,
	}
}

// put takes a row in, or says that it is not one for the archive: it goes on, or holds
// what an entry has no room for. A row that was taken in must be forgotten.
func (a *archive) put(w *row) bool {
	rest := w.c
	rest.Claim = filing.Claim{Attempt: w.c.Claim.Attempt}
	id := filing.ID(w.f.GetFilingId())
	raw, ok := rawOf(id)
	if !ok || w.tenant == "" || !filing.FinalState(w.f.GetState()) || rest != core(w.c) || len(w.f.GetPeriod().ProtoReflect().GetUnknown()) > 0 {
		return false
	}
	k := kind{w.f.GetForm(), w.f.GetEdition(), w.f.GetAuthority(), w.f.GetPeriod().GetStart(), w.f.GetPeriod().GetEnd()}
	tenant, fits := a.tenants.of(w.tenant)
	common, both := a.kinds.of(k)
	if !fits || !both {
		return false
	}
	flags := strip(w, id, k)
	b := binary.AppendUvarint(make([]byte, 0, 512), uint64(w.position+1))
	b = append(b, flags, byte(w.c.Phase))
	for _, n := range []int64{
		w.c.Position + 1, w.c.Opener + 1, w.c.Cancelled + 1, w.c.Version, int64(w.c.Revision), int64(w.c.Claim.Attempt), int64(w.c.Unknowns),
		int64(tenant), int64(common),
	} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = append(b, w.c.Digest[:]...)
	b, err := proto.MarshalOptions{}.MarshalAppend(b, w.f)
	if err != nil { // it stays as it is
		restore(w, id, k, flags)
		return false
	}
	a.remove(raw)
	a.at[raw] = a.write(b)
	a.live += len(b)
	return true
}

// get gives a row of its own; the archive keeps it.
func (a *archive) get(id filing.ID) *row {
	b := a.entry(id)
	if b == nil {
		return nil
	}
	next := func() int64 {
		n, width := binary.Uvarint(b)
		b = b[width:]
		return int64(n)
	}
	w := &row{c: filing.NewCase(), f: &springtidev1.Filing{}, position: next() - 1}
	flags, phase := b[0], filing.Phase(b[1])
	b = b[2:]
	w.c.Phase, w.c.Exposed, w.c.OutcomeUnknown = phase, flags&exposed != 0, flags&outcomeUnknown != 0
	w.c.Position, w.c.Opener, w.c.Cancelled, w.c.Version = next()-1, next()-1, next()-1, next()
	w.c.Revision, w.c.Claim.Attempt, w.c.Unknowns = int32(next()), int32(next()), int32(next())
	w.tenant = a.tenants.values[next()]
	k := a.kinds.values[next()]
	b = b[copy(w.c.Digest[:], b):]
	if err := proto.Unmarshal(b, w.f); err != nil {
		panic("a row that was packed here cannot be unpacked: " + err.Error())
	}
	restore(w, id, k, flags)
	return w
}

// position is that of a row; none: it is not here.
func (a *archive) position(id filing.ID) int64 {
	n, _ := binary.Uvarint(a.entry(id))
	return int64(n) - 1
}

// strip takes out of a row what an entry tells elsewhere, and says what that was.
func strip(w *row, id filing.ID, k kind) (flags byte) {
	f := w.f
	set := func(flag byte, is bool) bool {
		if is {
			flags |= flag
		}
		return is
	}
	set(exposed, w.c.Exposed)
	set(outcomeUnknown, w.c.OutcomeUnknown)
	set(hasPeriod, f.GetPeriod() != nil)
	f.FilingId, f.Form, f.Edition, f.Authority, f.Period = "", "", "", "", nil
	f.State, f.Revision, f.Attempts, f.Version, f.Position, f.Digest, f.DueTime = 0, 0, 0, 0, 0, "", nil // as show says
	if r := f.GetReceipt(); r != nil {
		if set(receiptID, r.GetFilingId() == string(id)) {
			r.FilingId = ""
		}
		if set(receiptAuthority, r.GetAuthority() == k.authority) {
			r.Authority = ""
		}
		if set(receiptRef, r.GetRef() == id.Ref()) {
			r.Ref = ""
		}
		if set(receiptDigest, r.GetDigest() == w.c.Digest.String()) {
			r.Digest = ""
		}
	}
	return flags
}

// restore puts it back.
func restore(w *row, id filing.ID, k kind, flags byte) {
	f := w.f
	f.FilingId, f.Form, f.Edition, f.Authority, f.Position = string(id), k.form, k.edition, k.authority, w.position
	if flags&hasPeriod != 0 {
		f.Period = &springtidev1.Period{Start: k.start, End: k.end}
	}
	if flags&receiptID != 0 {
		f.Receipt.FilingId = string(id)
	}
	if flags&receiptAuthority != 0 {
		f.Receipt.Authority = k.authority
	}
	if flags&receiptRef != 0 {
		f.Receipt.Ref = id.Ref()
	}
	if flags&receiptDigest != 0 {
		f.Receipt.Digest = w.c.Digest.String()
	}
	w.show()
}

// entry is the bytes of a row.
func (a *archive) entry(id filing.ID) []byte {
	raw, ok := rawOf(id)
	s, there := a.at[raw]
	if !ok || !there {
		return nil
	}
	return a.read(s)
}

func (a *archive) read(s spot) []byte {
	n, width := binary.Uvarint(a.chunks[s.chunk][s.at:])
	return a.chunks[s.chunk][int(s.at)+width:][:n]
}

func (a *archive) write(b []byte) spot {
	last, need := len(a.chunks)-1, binary.MaxVarintLen32+len(b)
	if last < 0 || len(a.chunks[last])+need > cap(a.chunks[last]) {
		size := max(min(max(a.live, firstChunk), chunkSize), need)
		a.chunks, last = append(a.chunks, make([]byte, 0, size)), last+1
	}
	s := spot{uint32(last), uint32(len(a.chunks[last]))}
	a.chunks[last] = append(binary.AppendUvarint(a.chunks[last], uint64(len(b))), b...)
	return s
}

// take gives a row and forgets it.
func (a *archive) take(id filing.ID) *row {
	w := a.get(id)
	if w != nil {
		raw, _ := rawOf(id)
		a.remove(raw)
	}
	return w
}

func (a *archive) remove(raw rawID) {
	s, there := a.at[raw]
	if !there {
		return
	}
	n := len(a.read(s))
	delete(a.at, raw)
	a.live, a.dead = a.live-n, a.dead+n
	if a.dead < leastDead || a.dead < a.live {
		return
	}
	fresh := &archive{live: a.live}
	for id, s := range a.at {
		a.at[id] = fresh.write(a.read(s))
	}
	a.chunks, a.dead = fresh.chunks, 0
}
