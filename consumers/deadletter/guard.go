package deadletter

import (
	"context"
	"fmt"

	"springtide/consumers/ledger"
	"springtide/consumers/worker"
	"springtide/services/eventlog"
	"springtide/services/records"
)

// MaxPanics is how often a record is tried before a panic puts it aside.
const MaxPanics = 5

// Guard wraps a stage's handler: a record on which it keeps panicking is put
// aside rather than tried for ever. Errors are not counted: they come from Kafka
// or from an authority, and pass.
func Guard(stage string, log ledger.Appender, w *ledger.Writer, next worker.Handler) worker.Handler {
	return worker.HandlerFunc(func(ctx context.Context, r eventlog.Record) error {
		panicked, err := try(ctx, next, r)
		if !panicked || worker.Failures(ctx)+1 < MaxPanics {
			return err
		}
		sub, undecoded := records.UnmarshalSubmission(r.Value)
		if undecoded != nil || sub.GetFilingId() == "" {
			return Send(ctx, log, stage, r, err)
		}
		if r.Topic == eventlog.TopicSubmitted {
			sub.Position = r.Offset
		}
		return SendSubmission(ctx, log, w, stage, r, sub, err)
	})
}

func try(ctx context.Context, next worker.Handler, r eventlog.Record) (panicked bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			panicked, err = true, fmt.Errorf("panic: %v", v)
		}
	}()
	return false, next.Handle(ctx, r)
}
