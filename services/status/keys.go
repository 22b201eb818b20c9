package status

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	springtidev1 "springtide/proto/springtide/v1"
)

// The keys of one partition share a hash tag, so that one transaction may touch them
// all, on a Redis Cluster too.

// slot is the start of every key of a partition.
func (v *View) slot(partition int) string {
	return v.cfg.Prefix + ":{p" + strconv.Itoa(partition) + "}:"
}

// Names of the fixed keys of a partition, after its slot.
const (
	// hash: p phase, e era, s and l watermark, c steps, n rows. Its name says how rows are
	// indexed: under another one, a view that was written before is as if missing, and written anew.
	keyMark  = "w2"
	keyRows  = "f" // hash: raw filing id -> row
	keyNames = "x" // set: the partition's index keys, so that it can be wiped
	// keyState, with a state's byte, are the indexes over all tenants.
	keyState = "s:"
)

// listedStates are those that operators list whosever the filing is: what did not end well.
func listedStates() string {
	return string([]byte{
		byte(springtidev1.FilingState_FILING_STATE_INVALID), byte(springtidev1.FilingState_FILING_STATE_REJECTED),
		byte(springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION),
	})
}

// Names of the indexes, after the slot. Variable parts are length-prefixed or
// of fixed length, so no tenant can name another one's key.
func tenantIndex(tenant string) string { return "t:" + tenant }

func monthIndex(tenant string, m month) string { return "m:" + string(m[:]) + tenant }

func batchIndex(tenant, batch string) string { return "b:" + prefixed(tenant) + prefixed(batch) }

// prefixed puts one byte of length before s, which is checked to fit.
func prefixed(s string) string { return string([]byte{byte(len(s))}) + s }

// batchKeys are a tenant's list of batches: order and records.
func (v *View) batchKeys(tenant string) []string {
	sum := sha256.Sum256([]byte(tenant))
	slot := v.cfg.Prefix + ":{t" + hex.EncodeToString(sum[:10]) + "}:"
	return []string{slot + "z", slot + "h"}
}

// requestKey spreads over all slots; its name is a hash, as request ids are the tenants' own words.
func (v *View) requestKey(tenant, requestID string) string {
	sum := sha256.Sum256([]byte(prefixed(tenant) + requestID))
	return v.cfg.Prefix + ":q:" + string(sum[:16])
}

func (v *View) rateKey(name string) string { return v.cfg.Prefix + ":{r" + name + "}" }

func (v *View) channel() string { return v.cfg.Prefix + ":changes" }
