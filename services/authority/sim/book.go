package sim

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Outcomes of a record. Only filed and rejected are shown by GET /book.
const (
	outcomeFiled    = "filed"
	outcomeRejected = "rejected"
	outcomePending  = "pending"
)

// A record is one line of the book: what GET /book shows, and what the
// authority needs besides to answer later.
type record struct {
	Seq       int64  `json:"seq"`
	Authority string `json:"authority"`
	Taxpayer  string `json:"taxpayer"`
	Form      string `json:"form"`
	// Period is "2026-04-01/2026-06-30", for HMRC the period key.
	Period  string    `json:"period"`
	Ref     string    `json:"ref"`
	Digest  string    `json:"digest"`
	Outcome string    `json:"outcome"`
	At      time.Time `json:"at"`

	Amendment int             `json:"amendment,omitempty"`
	Number    string          `json:"number,omitempty"`
	Reasons   []reason        `json:"reasons,omitempty"`
	Visible   time.Time       `json:"visible,omitzero"`
	Return    json.RawMessage `json:"return,omitempty"`
	// Due and Verdict say when and how a pending return will be decided.
	Due     time.Time `json:"due,omitzero"`
	Verdict string    `json:"verdict,omitempty"`
	// Asked: it was pending once, so every class can be asked about it.
	Asked bool `json:"asked,omitempty"`
}

type reason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Path    string `json:"path,omitempty"`
}

// key is a hashed reference or business key.
type key [16]byte

func hashKey(parts ...string) key {
	h := sha256.New()
	for _, p := range parts {
		h.Write(strconv.AppendInt(nil, int64(len(p)), 10))
		h.Write([]byte{':'})
		h.Write([]byte(p))
	}
	return key(h.Sum(nil)[:16])
}

func (r record) refKey() key { return hashKey("ref", r.Authority, r.Ref) }

func (r record) businessKey() key {
	return hashKey("business", r.Authority, r.Taxpayer, r.Form, r.Period, strconv.Itoa(r.Amendment))
}

// A slot is what stays in memory of a record; the rest is read from the file.
type slot struct {
	off     int64
	n       int32
	state   byte // first letter of the outcome
	at      int64
	visible int64
}

func (s slot) held() bool { return s.state == outcomeFiled[0] || s.state == outcomePending[0] }

// dedupe is what an authority recognises a repetition by.
type dedupe uint8

const (
	dedupeNone     dedupe = iota
	dedupeRef             // class A
	dedupeBusiness        // class U
)

// An entry asks for a record to be booked.
type entry struct {
	rec    record
	dedupe dedupe
	// since is the start of the window in which references are remembered (class A).
	since time.Time
	// settles: the verdict on a pending record, which is no repetition.
	settles bool
	done    chan booked // of capacity 1
}

// booked is what became of an entry.
type booked struct {
	rec record
	// replay: an older record of the same reference and content stands, and rec is it.
	replay bool
	// duplicate: the authority holds something under that key.
	duplicate bool
	err       error
}

// The book is append-only and durable before anybody is told. One goroutine,
// run, owns file and order: it takes all entries that wait, decides each, writes
// them and syncs once for all (group commit).
type book struct {
	file    *os.File
	entries chan *entry
	limit   int           // entries per sync
	dead    chan struct{} // closed when run has returned

	mu       sync.RWMutex // guards what follows against readers; only run writes
	slots    []slot
	byRef    map[key]int32
	byKey    map[key]int32
	size     int64
	seq      int64
	repaired int64
	broken   bool
}

const bookName = "book.jsonl"

var errBookClosed = errors.New("the book is closed")

// openBook reads the book of a directory and drops a last line that was torn
// by a crash: nobody was told about it, as the sync had not returned.
func openBook(dir string) (*book, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open book: %w", err)
	}
	path := filepath.Join(dir, bookName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open book: %w", err)
	}
	b := &book{file: file, entries: make(chan *entry, 4096), limit: 1024, dead: make(chan struct{}), byRef: map[key]int32{}, byKey: map[key]int32{}}
	if err = b.load(); err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open book %s: %w", path, err), file.Close())
	}
	return b, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (b *book) load() error {
	r := bufio.NewReaderSize(b.file, 1<<20)
	for line := 1; ; line++ {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if len(text) > 0 {
				b.repaired = int64(len(text))
				if err := b.file.Truncate(b.size); err != nil {
					return err
				}
			}
			return nil
		}
		if err != nil {
			return err
		}
		var rec record
		if err := json.Unmarshal(text, &rec); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		if rec.Outcome != outcomeFiled && rec.Outcome != outcomeRejected && rec.Outcome != outcomePending {
			return fmt.Errorf("line %d: outcome %.20q", line, rec.Outcome)
		}
		b.seq = max(b.seq, rec.Seq)
		b.index(rec, b.stage(rec, b.size, len(text)))
		b.size += int64(len(text))
	}
}

func (b *book) stage(rec record, off int64, n int) slot {
	s := slot{off: off, n: int32(n), state: rec.Outcome[0], at: rec.At.UnixNano()}
	if s.visible = s.at; !rec.Visible.IsZero() {
		s.visible = rec.Visible.UnixNano()
	}
	return s
}

// index makes a record known. A refusal never hides what is held.
func (b *book) index(rec record, s slot) {
	b.slots = append(b.slots, s)
	i := int32(len(b.slots) - 1)
	put := func(m map[key]int32, k key) {
		if old, ok := m[k]; ok && b.slots[old].state == outcomeFiled[0] && s.state != outcomeFiled[0] {
			return
		}
		m[k] = i
	}
	if rec.Ref != "" {
		put(b.byRef, rec.refKey())
	}
	put(b.byKey, rec.businessKey())
}

// add books an entry and waits until that is durable.
func (b *book) add(rec record, how dedupe, since time.Time, settles bool) booked {
	e := &entry{rec: rec, dedupe: how, since: since, settles: settles, done: make(chan booked, 1)}
	select {
	case b.entries <- e:
	case <-b.dead:
		return booked{err: errBookClosed}
	}
	select {
	case out := <-e.done:
		return out
	case <-b.dead:
	}
	select {
	case out := <-e.done: // decided in the last batch
		return out
	default:
		return booked{err: errBookClosed}
	}
}

// run owns the book until stop is closed and no entry waits, or a write fails:
// a book that cannot be trusted any more answers nobody.
func (b *book) run(stop <-chan struct{}) error {
	defer close(b.dead)
	batch := make([]*entry, 0, b.limit)
	for {
		batch = batch[:0]
		select {
		case e := <-b.entries:
			batch = append(batch, e)
		case <-stop:
			select {
			case e := <-b.entries:
				batch = append(batch, e)
			default:
				return nil
			}
		}
	more:
		for len(batch) < b.limit {
			select {
			case e := <-b.entries:
				batch = append(batch, e)
			default:
				break more
			}
		}
		if err := b.commit(batch); err != nil {
			return err
		}
	}
}

// decided is an entry of the batch that is being written.
type decided struct {
	*entry
	out booked
	old int32 // the slot to answer from when it is a replay; -1: none
}

// commit decides, writes and syncs one batch, and only then tells anybody.
func (b *book) commit(batch []*entry) error {
	var buf bytes.Buffer
	all := make([]decided, 0, len(batch))
	// The index is extended before the sync so that the batch sees itself; readers are kept out until then.
	b.mu.Lock()
	defer b.mu.Unlock()
	start := b.size
	for _, e := range batch {
		d := decided{entry: e, old: -1}
		if i, dup := b.repetition(e); dup {
			d.old, d.out.duplicate = i, i < 0
		} else {
			d.out.err = b.put(&buf, &d)
		}
		all = append(all, d)
	}
	if err := b.write(buf.Bytes(), start); err != nil {
		b.broken = true
		return fmt.Errorf("book: %w", err)
	}
	for _, d := range all {
		if d.old >= 0 {
			d.replay(b)
		}
		d.done <- d.out
	}
	return nil
}

// replay answers with the older record, unless its content is another.
func (d *decided) replay(b *book) {
	d.out.rec, d.out.err = b.read(b.slots[d.old])
	d.out.replay = d.out.rec.Digest == d.rec.Digest
	d.out.duplicate = !d.out.replay
}

func (b *book) put(buf *bytes.Buffer, d *decided) error {
	rec := d.rec
	if rec.Outcome != outcomePending {
		rec.Seq = b.seq + 1
	}
	if rec.Outcome == outcomeFiled && rec.Number == "" {
		rec.Number = numberOf(rec)
	}
	line, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	line = append(line, '\n')
	buf.Write(line)
	b.index(rec, b.stage(rec, b.size, len(line)))
	b.size += int64(len(line))
	b.seq = max(b.seq, rec.Seq)
	d.out.rec = rec
	return nil
}

// repetition reports that the authority recognises an entry. The index of the
// record to answer again with, or -1 if it only says "duplicate".
func (b *book) repetition(e *entry) (int32, bool) {
	if e.settles {
		return -1, false
	}
	switch e.dedupe {
	case dedupeRef:
		i, ok := b.byRef[e.rec.refKey()]
		if !ok || b.slots[i].at < e.since.UnixNano() {
			return -1, false
		}
		if b.slots[i].held() {
			return i, true
		}
		// The same content was refused: the same refusal. Corrected content is new. A
		// record of this very batch cannot be read yet; then it was just refused.
		old, err := b.read(b.slots[i])
		return i, err != nil || old.Digest == e.rec.Digest
	case dedupeBusiness:
		i, ok := b.byKey[e.rec.businessKey()]
		return -1, ok && e.rec.Outcome != outcomeRejected && b.slots[i].held()
	default:
		return -1, false
	}
}

func (b *book) write(p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	if _, err := b.file.WriteAt(p, off); err != nil {
		return err
	}
	return b.file.Sync()
}

// read fetches a record. Records of a batch being written cannot be read yet.
func (b *book) read(s slot) (record, error) {
	line := make([]byte, s.n)
	if _, err := b.file.ReadAt(line, s.off); err != nil {
		return record{}, fmt.Errorf("read book: %w", err)
	}
	var rec record
	if err := json.Unmarshal(line, &rec); err != nil {
		return record{}, fmt.Errorf("read book: %w", err)
	}
	return rec, nil
}

// lookup finds the newest record under a key, as far as it is visible at now.
func (b *book) lookup(m func(*book) map[key]int32, k key, now time.Time) (record, bool, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.broken {
		return record{}, false, errBookClosed
	}
	i, ok := m(b)[k]
	if !ok || b.slots[i].visible > now.UnixNano() {
		return record{}, false, nil
	}
	rec, err := b.read(b.slots[i])
	return rec, err == nil, err
}

func refs(b *book) map[key]int32 { return b.byRef }
func keys(b *book) map[key]int32 { return b.byKey }

// undecided lists pending records without a verdict, for the time after a restart.
func (b *book) undecided() ([]record, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var all []record
	for _, i := range b.byKey {
		if b.slots[i].state != outcomePending[0] {
			continue
		}
		rec, err := b.read(b.slots[i])
		if err != nil {
			return nil, err
		}
		all = append(all, rec)
	}
	return all, nil
}

// shown is a line of GET /book.
type shown struct {
	Seq       int64     `json:"seq"`
	Authority string    `json:"authority"`
	Taxpayer  string    `json:"taxpayer"`
	Form      string    `json:"form"`
	Period    string    `json:"period"`
	Ref       string    `json:"ref"`
	Digest    string    `json:"digest"`
	Outcome   string    `json:"outcome"`
	At        time.Time `json:"at"`
}

// print writes what is durable, in filing order, one JSON object a line.
func (b *book) print(w io.Writer) error {
	b.mu.RLock()
	size := b.size
	b.mu.RUnlock()
	r := bufio.NewReaderSize(io.NewSectionReader(b.file, 0, size), 1<<18)
	out := bufio.NewWriterSize(w, 1<<16)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return out.Flush()
		}
		if err != nil {
			return fmt.Errorf("read book: %w", err)
		}
		var s shown
		if err := json.Unmarshal(line, &s); err != nil {
			return fmt.Errorf("read book: %w", err)
		}
		if s.Outcome == outcomePending {
			continue
		}
		if err := enc.Encode(s); err != nil {
			return err
		}
	}
}

// close closes the file. run has returned, or never ran.
func (b *book) close() error { return b.file.Close() }

// numberOf makes the authority's number of a filing: its digits, the day and the place in the book.
func numberOf(r record) string {
	if r.Authority == hmrcCode {
		return fmt.Sprintf("%012d", 100_000_000_000+r.Seq)
	}
	digits := bytes.Map(func(c rune) rune {
		if c < '0' || c > '9' {
			return -1
		}
		return c
	}, []byte(r.Authority))
	return fmt.Sprintf("%s%s%09d", digits, r.At.Format("20060102"), r.Seq)
}
