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
		record := func(offset int64, wait time.Duration) eventlog.Record {
			value, err := proto.Marshal(&springtidev1.Submission{DueTime: timestamppb.New(time.Now().Add(wait))})
			if err != nil {
				t.Fatal(err)
			}
			return eventlog.Record{Offset: offset, Value: value}
		}
		s := newShelf(r, tierFor(time.Hour), Partition{Topic: eventlog.TopicDelay1h, Committer: nowhere{}})
		var offset int64
		for range 100 {
			// Always one that is due before all the others, so that they are never on top.
			batch := []eventlog.Record{record(offset, 45*time.Minute)}
			for range 99 {
				offset++
				batch = append(batch, record(offset, 30*24*time.Hour))
			}
			offset++
			s.take(batch)
			time.Sleep(30 * time.Minute)
			if _, ok := s.tend(t.Context()); !ok {
				t.Fatal("ended")
			}
			if s.held > 200 || len(s.byAge) > 200 || s.byDue.Len() > 2*s.held+atOnce {
				t.Fatalf("after offset %d: %d held, %d by age, %d by due", offset, s.held, len(s.byAge), s.byDue.Len())
			}
		}
		time.Sleep(time.Hour)
		if _, ok := s.tend(t.Context()); !ok || s.held != 0 || s.bytes != 0 {
			t.Errorf("%d records, %d bytes held in the end", s.held, s.bytes)
		}
		if s.committed != offset {
			t.Errorf("committed %d, want %d", s.committed, offset)
		}
	})
}
