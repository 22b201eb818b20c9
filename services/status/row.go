package status

import (
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// A Row is one filing as people see it, with the tenant whose it is.
type Row struct {
	Tenant string
	Filing *springtidev1.Filing
}

// A row is stored as one hash field, whose head says where it is indexed:
//
//	bytes  0- 7  version, big endian
//	bytes  8-13  receive time, ms since 1970, big endian
//	byte     14  state
//	bytes 15-16  month the period ends in, year*12+month-1, big endian; 0: none
//	bytes 17-20  FNV-1a of the form
//	bytes 21-24  FNV-1a of the taxpayer id
//	byte  25     length of the tenant, then the tenant
//	byte  ..     length of the batch id, then the batch id
//	the rest     the marshalled Filing
//
// An index member is receive time, raw filing id and bytes 14-24: sorted by
// bytes it is sorted by time and id, and most filters need no row.
const (
	versionLen = 8
	timeLen    = 6
	rawIDLen   = 20
	traitsAt   = versionLen + timeLen
	traitsLen  = 11
	headLen    = traitsAt + traitsLen

	positionLen = timeLen + rawIDLen
	memberLen   = positionLen + traitsLen

	maxName    = 255
	maxVersion = 1 << 53 // a Lua number is exact up to here
	maxMillis  = 1<<48 - 1
)

// position is a place in the order of a list: receive time, then raw id.
type position string

type month [2]byte

// monthOf reads "2026-06" or the month of "2026-06-30".
func monthOf(s string) (month, bool) {
	if len(s) == len("2006-01-02") {
		s = s[:len("2006-01")]
	}
	t, err := time.Parse("2006-01", s)
	if err != nil || t.Year() < 1 || t.Year() > 5000 {
		return month{}, false
	}
	var m month
	binary.BigEndian.PutUint16(m[:], uint16(t.Year()*12+int(t.Month())-1))
	return m, true
}

// The alphabet of filing ids; the view keeps their 20 bytes instead of 32 letters.
const idAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"

func idEncoding() *base32.Encoding {
	return base32.NewEncoding(idAlphabet).WithPadding(base32.NoPadding)
}

// rawID gives the bytes of an id; "" if it has not the shape of one.
func rawID(enc *base32.Encoding, id filing.ID) string {
	b, err := enc.DecodeString(string(id))
	if err != nil || len(b) != rawIDLen || len(id) != enc.EncodedLen(rawIDLen) {
		return ""
	}
	return string(b)
}

func idOf(enc *base32.Encoding, raw string) filing.ID {
	return filing.ID(enc.EncodeToString([]byte(raw)))
}

func short(s string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s)) // a hash never fails
	return h.Sum32()
}

func checkName(what, s string) error {
	if s == "" || len(s) > maxName {
		return fmt.Errorf("%s of %d bytes: want 1 to %d: %w", what, len(s), maxName, ErrInvalid)
	}
	return nil
}

// encode gives the stored form of a row.
func (r Row) encode() ([]byte, error) {
	f := r.Filing
	if err := checkName("tenant", r.Tenant); err != nil {
		return nil, err
	}
	switch {
	case f.GetVersion() < 1 || f.GetVersion() >= maxVersion:
		return nil, fmt.Errorf("version %d: %w", f.GetVersion(), ErrInvalid)
	case f.GetState() < 1 || f.GetState() > 255:
		return nil, fmt.Errorf("state %d: %w", f.GetState(), ErrInvalid)
	case len(f.GetBatchId()) > maxName:
		return nil, fmt.Errorf("batch id of %d bytes: %w", len(f.GetBatchId()), ErrInvalid)
	}
	m, _ := monthOf(f.GetPeriod().GetEnd()) // a period that is none is in no month
	b := make([]byte, 0, headLen+2+len(r.Tenant)+len(f.GetBatchId())+proto.Size(f))
	b = binary.BigEndian.AppendUint64(b, uint64(f.GetVersion()))
	b = appendMillis(b, f.GetReceiveTime().AsTime())
	b = append(b, byte(f.GetState()))
	b = append(b, m[:]...)
	b = binary.BigEndian.AppendUint32(b, short(f.GetForm()))
	b = binary.BigEndian.AppendUint32(b, short(f.GetTaxpayer().GetId()))
	b = append(append(b, byte(len(r.Tenant))), r.Tenant...)
	b = append(append(b, byte(len(f.GetBatchId()))), f.GetBatchId()...)
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, f)
	if err != nil {
		return nil, fmt.Errorf("marshal: %w", err)
	}
	return b, nil
}

var errCorrupt = errors.New("stored value is corrupt")

// A storedRow is a row as it is stored.
type storedRow struct{ id, row string }

// A rowHead is what the indexes know of a stored row.
type rowHead struct {
	version uint64
	// indexed is all that indexes depend on; traits and who, tenant and batch with their lengths, are parts of it.
	indexed, time, traits, who string
	tenant, batch              string
}

// headOf reads the head of a stored row, which ends where who does.
func headOf(row string) (rowHead, error) {
	if len(row) < headLen {
		return rowHead{}, errCorrupt
	}
	tenant, rest, ok := cutPrefixed(row[headLen:])
	if !ok {
		return rowHead{}, errCorrupt
	}
	batch, rest, ok := cutPrefixed(rest)
	if !ok {
		return rowHead{}, errCorrupt
	}
	end := len(row) - len(rest)
	return rowHead{
		version: binary.BigEndian.Uint64([]byte(row[:versionLen])),
		indexed: row[versionLen:end], time: row[versionLen:traitsAt], traits: row[traitsAt:headLen], who: row[headLen:end],
		tenant: tenant, batch: batch,
	}, nil
}

// member is the row's entry in every index.
func (h rowHead) member(rawID string) string { return h.time + rawID + h.traits }

// indexes are the keys of the indexes that the row is in.
func (h rowHead) indexes(slot string) []string {
	names := append(make([]string, 0, 4), slot+tenantIndex(h.tenant))
	if m := month([]byte(h.traits[1:3])); m != (month{}) {
		names = append(names, slot+monthIndex(h.tenant, m))
	}
	if h.batch != "" {
		names = append(names, slot+batchIndex(h.tenant, h.batch))
	}
	if strings.Contains(listedStates(), h.traits[:1]) {
		names = append(names, slot+keyState+h.traits[:1])
	}
	return names
}

// decodeRow reads a stored row.
func decodeRow(s string) (Row, error) {
	h, err := headOf(s)
	if err != nil || h.tenant == "" {
		return Row{}, errCorrupt
	}
	f := new(springtidev1.Filing)
	if err := proto.Unmarshal([]byte(s[headLen+len(h.who):]), f); err != nil {
		return Row{}, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return Row{Tenant: h.tenant, Filing: f}, nil
}

// cutPrefixed splits a length-prefixed string off.
func cutPrefixed(s string) (value, rest string, ok bool) {
	if s == "" || len(s) < 1+int(s[0]) {
		return "", "", false
	}
	n := 1 + int(s[0])
	return s[1:n], s[n:], true
}

// appendMillis appends a time as six bytes; what is out of range is clamped.
func appendMillis(b []byte, t time.Time) []byte {
	var full [8]byte
	binary.BigEndian.PutUint64(full[:], uint64(min(max(t.UnixMilli(), 0), maxMillis)))
	return append(b, full[2:]...)
}

// millis reads such a time; s is long enough.
func millis(s string) time.Time {
	var full [8]byte
	copy(full[2:], s[:timeLen])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(full[:]))).UTC()
}
