package delay

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
)

type nowhere struct{}

func (nowhere) AppendAll(context.Context, string, []eventlog.Record) ([]int64, error) {
	return nil, nil
}
func (nowhere) Commit(int64) {}

// What is parked again each hour for a month must not stay in memory for a month.
func TestWhatIsParkedAgainIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, err := New(Config{}, Deps{Log: nowhere{}})
		if err != nil {
			t.Fatal(err)
		}
		value, err := proto.Marshal(&springtidev1.Submission{DueTime: timestamppb.New(time.Now().Add(30 * 24 * time.Hour))})
		if err != nil {
			t.Fatal(err)
		}
		s := newShelf(r, tierFor(time.Hour), Partition{Topic: eventlog.TopicDelay1h, Committer: nowhere{}})
		var offset int64
		for range 100 {
			batch := make([]eventlog.Record, 100)
			for i := range batch {
				batch[i] = eventlog.Record{Offset: offset, Value: value}
				offset++
			}
			s.take(batch)
			time.Sleep(time.Hour)
			if _, ok := s.tend(t.Context()); !ok {
				t.Fatal("ended")
			}
			if s.held != 0 || s.bytes != 0 || len(s.byAge) != 0 || s.byDue.Len() > atOnce+100 {
				t.Fatalf("after offset %d: %d held, %d bytes, %d by age, %d by due", offset, s.held, s.bytes, len(s.byAge), s.byDue.Len())
			}
		}
		if s.committed != offset {
			t.Errorf("committed %d, want %d", s.committed, offset)
		}
	})
}
