// Package status is the only seam to Redis: the view of all filings that people
// read, its indexes by tenant, month and batch, change notices, shared rate
// buckets and the memory of request ids.
//
// Redis is a view. It may be wiped at any time and is never evidence: nothing
// here decides whether something is filed. Truth is the ledger, and the
// projector, which reads it, is the only writer of rows.
//
// # Partitions
//
// All about the filings of partition p is under the hash tag {p<p>}, in one hash
// slot: rows, indexes and a mark. One transaction changes them together, on a
// Redis Cluster too. Whether an answer may be given follows from the mark alone:
//
//	missing     -> rebuilding -> ready
//	(wiped)        BeginRebuild  FinishRebuild
//
// A mark carries the watermark (the next offsets of filings.submitted and
// filings.ledger), the era (which rebuild wrote it) and a count of writes. The
// projector says with each batch what it believes is stored; when Redis holds
// less, it lost writes, nothing is written and the projector rebuilds. Two
// projectors that both believe they own a partition cannot harm: rows only
// advance, watermarks only advance, and a rebuild ends the era of the other.
//
// Memory: one hash of rows and one sorted set per (tenant), (tenant, month) and
// (tenant, batch) in each partition. The rows of a partition are one key: before
// resharding a Redis Cluster with much data, wipe and rebuild instead.
//
// # Refusals
//
// It refuses to answer from a partition that is not ready, to retry by itself,
// to compare clocks, and to tell filings of one tenant to another: every index
// key has the tenant in it and every row that a list reads is checked again.
package status
