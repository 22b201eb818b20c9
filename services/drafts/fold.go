package drafts

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// Versions of one draft are records with keys of their own, "filing id.version", so
// that compaction cannot drop the version that counts in favour of one that lost.
// A version is taken away by a tombstone. Which one counts is a function of the
// records that are left, in the order of the log: the first, and then each that
// replaces the one that counts so far. Of two that replace the same, the first wins.
//
// What the function gives does not change as long as tombstones take away the
// versions that lost before the one that was replaced: chain.rubbish is in that order.

// version is what is kept of one record.
type version struct {
	id, replaces string
	offset       int64
	value        []byte
}

// chain is what is left of one draft, in the order of the log.
type chain struct {
	versions []version
	// head is the index of the version that counts.
	head int
}

// add takes a record in. A second copy of a record changes nothing.
func (c *chain) add(v version) {
	if slices.ContainsFunc(c.versions, func(old version) bool { return old.id == v.id }) {
		return
	}
	c.versions = append(c.versions, v)
	c.settle()
}

// remove takes a version away.
func (c *chain) remove(id string) {
	c.versions = slices.DeleteFunc(c.versions, func(v version) bool { return v.id == id })
	c.settle()
}

// settle finds the version that counts.
func (c *chain) settle() {
	c.head = 0
	for i := 1; i < len(c.versions); i++ {
		if c.versions[i].replaces == c.versions[c.head].id {
			c.head = i
		}
	}
}

// current is the version that counts.
func (c *chain) current() (version, bool) {
	if c == nil || len(c.versions) == 0 {
		return version{}, false
	}
	return c.versions[c.head], true
}

// rubbish are the versions that do not count any more: those that lost, then those
// that were replaced, which must go last and oldest first.
func (c *chain) rubbish() (lost, replaced []version) {
	if c == nil {
		return nil, nil
	}
	winner := make(map[int]bool, len(c.versions))
	at := 0
	for i := 1; i < len(c.versions); i++ {
		if c.versions[i].replaces == c.versions[at].id {
			winner[at], at = true, i
		}
	}
	for i, v := range c.versions {
		switch {
		case i == at:
		case winner[i]:
			replaced = append(replaced, v)
		default:
			lost = append(lost, v)
		}
	}
	return lost, replaced
}

// keyOf is the key of a version's record.
func keyOf(id filing.ID, version string) []byte { return []byte(string(id) + "." + version) }

// parseKey takes a key apart.
func parseKey(key []byte) (filing.ID, string, bool) {
	id, version, ok := bytes.Cut(key, []byte("."))
	if !ok || !filing.ID(id).Valid() || len(version) == 0 || len(version) > 64 {
		return "", "", false
	}
	return filing.ID(id), string(version), true
}

// decode reads a record and refuses one that is not what its key says.
func decode(key, value []byte) (*springtidev1.DraftRecord, bool) {
	id, version, ok := parseKey(key)
	if !ok {
		return nil, false
	}
	rec := &springtidev1.DraftRecord{}
	if err := proto.Unmarshal(value, rec); err != nil || rec.GetFilingId() != string(id) || rec.GetVersion() != version ||
		rec.GetTenant() == "" || rec.GetReturn() == nil {
		return nil, false
	}
	return rec, true
}
