package keys

import (
	"context"

	"springtide/services/eventlog"
)

// FromLog makes the event log the store's.
func FromLog(l *eventlog.Log) Log { return kafkaLog{l} }

type kafkaLog struct{ *eventlog.Log }

func (l kafkaLog) Read(_ context.Context, topic string, partition int, from int64) Reader {
	return l.Log.Read(topic, partition, from)
}
