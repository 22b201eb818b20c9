package frontdoor

import (
	"context"
	"errors"
	"fmt"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/forms"
	"springtide/services/keys"
	"springtide/services/status"
)

// Log is what the door writes to; *eventlog.Log is one.
type Log interface {
	// AppendAll appends to the partition each record names. Offsets are in order,
	// -1 for what failed; the errors are joined. eventlog.ErrOutcomeUnknown means
	// that a record may be there all the same.
	AppendAll(ctx context.Context, topic string, records []eventlog.Record) ([]int64, error)
	// EndOffset is the offset the next record of a partition will get.
	EndOffset(ctx context.Context, topic string, partition int) (int64, error)
	// Offsets are the bounds of every partition, in order.
	Offsets(ctx context.Context, topic string) ([]eventlog.PartitionOffsets, error)
}

// Records reads single records back; RecordsOf makes one.
type Records interface {
	// Range gives the records from one offset to before another. Both must exist.
	Range(ctx context.Context, topic string, partition int, from, to int64) ([]eventlog.Record, error)
}

// Rows is how filings are read; *status.View is one.
type Rows interface {
	// Get answers in the order of the ids.
	Get(ctx context.Context, ids []filing.ID) ([]status.Lookup, error)
	// Watermarks gives the mark of every partition.
	Watermarks(ctx context.Context) ([]status.Mark, error)
}

// Lists is how filings and batches are listed; *status.View is one.
type Lists interface {
	List(ctx context.Context, q status.Query) (status.Page, error)
	BatchCounts(ctx context.Context, tenant string, batches ...string) ([]status.BatchCount, error)
	ListBatches(ctx context.Context, tenant string, pageSize int, pageToken string) ([]status.BatchInfo, string, error)
}

// Attention lists what needs a person, and what else did not end well, whosever it is;
// *status.View does.
type Attention interface {
	ListAttention(ctx context.Context, pageSize int, pageToken string) (status.Page, error)
	ListState(ctx context.Context, state springtidev1.FilingState, pageSize int, pageToken string) (status.Page, error)
}

// Memory is what the view remembers for the door; *status.View is one. All of it
// is best effort.
type Memory interface {
	RememberRequests(ctx context.Context, tenant string, keys []status.RequestKey) ([]status.Prior, error)
	ConfirmRequests(ctx context.Context, tenant string, keys []status.RequestKey) error
	PutBatch(ctx context.Context, tenant string, b status.BatchInfo) error
}

// Changes tells what changed; ChangesOf makes one.
type Changes interface {
	// Watch begins to collect changes. status.ErrTooManyWatchers is the only error that passes.
	Watch(in status.Interest) (Watcher, error)
}

// A Watcher collects changes until it is asked; *status.Watcher is one.
type Watcher interface {
	Next(ctx context.Context) (status.Changes, error)
	Close()
}

// KeyAdmin makes, lists and revokes API keys; *keys.Store is one.
type KeyAdmin interface {
	Create(ctx context.Context, id keys.Identity) (keys.Key, string, error)
	// List gives a tenant's keys, oldest first.
	List(tenant string) []keys.Key
	Revoke(ctx context.Context, keyID string) (keys.Key, error)
}

// Rules check returns; *forms.Catalogue is one.
type Rules interface {
	// Shape finds what is not well formed.
	Shape(r *springtidev1.Return) []forms.FieldProblem
	// Check completes a return and applies every rule of its form.
	Check(r *springtidev1.Return) forms.Result
}

// Forms describes forms; *forms.Catalogue is one.
type Forms interface {
	Forms() []*springtidev1.FormSummary
	Form(name, edition string) (*springtidev1.Form, error)
}

// Admission decides whether new submissions are taken now.
type Admission interface {
	// Admit takes n submissions of a tenant or returns *filing.Error with reason
	// OVERLOADED or TENANT_QUOTA and the time to wait.
	Admit(tenant string, n int) error
}

// ChangesOf makes a view's notices the door's.
func ChangesOf(v *status.View) Changes { return viewChanges{v} }

type viewChanges struct{ view *status.View }

func (c viewChanges) Watch(in status.Interest) (Watcher, error) { return c.view.Watch(in) }

// RecordsOf reads single records of a log back.
func RecordsOf(l *eventlog.Log) Records { return logRecords{l} }

type logRecords struct{ log *eventlog.Log }

func (l logRecords) Range(
	ctx context.Context, topic string, partition int, from, to int64,
) (records []eventlog.Record, err error) {
	r := l.log.Read(topic, partition, from)
	defer func() { err = errors.Join(err, r.Close()) }()
	for next := from; next < to; {
		some, err := r.Next(ctx)
		if err != nil {
			return nil, fmt.Errorf("read back %s/%d at %d: %w", topic, partition, next, err)
		}
		for _, rec := range some {
			if rec.Offset < to {
				records = append(records, rec)
			}
			next = rec.Offset + 1
		}
	}
	return records, nil
}
