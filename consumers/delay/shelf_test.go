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
	"springtide/services/fleet"
	"springtide/services/status"
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

// Nor what waits at a gate for a month.
func TestWhatIsParkedAgainAtAGateIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gates := func(ctx context.Context) (fleet.Gates, error) { return fleet.ReadGates(ctx, shutForAll{}, "submit") }
		r, err := New(Config{}, Deps{Log: nowhere{}, Gates: gates})
		if err != nil {
			t.Fatal(err)
		}
		value, err := proto.Marshal(&springtidev1.Submission{
			DueTime: timestamppb.New(time.Now().Add(30 * 24 * time.Hour)), AtGate: true, Completed: &springtidev1.Return{Authority: "cn"},
		})
		if err != nil {
			t.Fatal(err)
		}
		s := newShelf(r, tierFor(5*time.Minute), Partition{Topic: gateTopic, Committer: nowhere{}})
		var offset int64
		for range 100 {
			var batch []eventlog.Record
			for range 100 {
				batch = append(batch, eventlog.Record{Offset: offset, Value: value, Tenant: string(rune('a' + offset%5))})
				offset++
			}
			s.take(batch)
			time.Sleep(3 * time.Minute)                                            // synthetic
			s.take([]eventlog.Record{{Offset: offset, Value: value, Tenant: "a"}}) // the gate is never without anybody
			offset++
			time.Sleep(2 * time.Minute) // synthetic
			if _, ok := s.tend(t.Context()); !ok {
				t.Fatal("ended")
			}
			lined := 0
			for _, line := range s.atGate["cn"].waiting {
				lined += len(line)
			}
			if s.held != 1 || lined != 1 || len(s.atGate["cn"].tenants) > 5 {
				t.Fatalf("after offset %d: %d held, %d in line of %d tenants", offset, s.held, lined, len(s.atGate["cn"].tenants))
			}
		}
	})
}

// shutForAll says that every gate is shut.
type shutForAll struct{}

func (shutForAll) Say(context.Context, string, string, string) error { return nil }
func (shutForAll) Unsay(context.Context, string, string) error       { return nil }
func (shutForAll) Reports(context.Context, string) ([]status.Report, error) {
	return []status.Report{{Member: "w", Payload: `{"partitions":[{"p":0}],"authorities":[{"name":"cn","open":true}]}`}}, nil
}
