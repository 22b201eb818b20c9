package acts

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// at is a record of so many seconds after the beginning.
func at(id string, second int, rec *springtidev1.ActRecord) *springtidev1.ActRecord {
	rec.ActId, rec.Time = id, timestamppb.New(moment(second))
	return rec
}

func moment(second int) time.Time {
	return time.Date(2026, 7, 15, 9, 0, 0, 0, time.UTC).Add(time.Duration(second) * time.Second)
}

func retries(id string, second int) *springtidev1.ActRecord {
	return at(id, second, begun("", Deed{Action: Retried, Target: "rejected:E1"}))
}

func progress(id string, second int, before int64, n int) *springtidev1.ActRecord {
	return at(id, second, &springtidev1.ActRecord{Record: &springtidev1.ActRecord_Progress{
		Progress: &springtidev1.RetryProgress{Before: before, Results: make([]*springtidev1.RetryResult, n)},
	}})
}

func TestARunThatIsSilentIsOverAndMayBeStartedAgain(t *testing.T) {
	t.Parallel()
	b := newBook()
	b.take(retries("one", 0))
	b.take(progress("one", 60, 0, 0)) // it lives, and has done nothing yet
	b.take(retries("two", 100))
	if b.byID["two"].GetOutcome() != Already || b.running("rejected:E1", moment(149)).GetRunId() != "one" {
		t.Errorf("while the first lives, the second is %q", b.byID["two"].GetOutcome())
	}
	if shown := b.run("one").shown(moment(151)); shown.GetOutcome() != Interrupted || !shown.GetEndTime().AsTime().Equal(moment(60)) {
		t.Errorf("after a silence: %v", shown)
	}
	b.take(retries("three", 151))
	if b.byID["three"].GetOutcome() != "" || b.running("rejected:E1", moment(152)).GetRunId() != "three" {
		t.Errorf("after a silence, the third is %q", b.byID["three"].GetOutcome())
	}
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	t.Parallel()
	b := newBook()
	for i := range mostActs + 100 {
		b.take(at(fmt.Sprint("a", i), i, begun("", Deed{Action: Replayed, Target: "0-1"})))
	}
	if len(b.acts) != mostActs || len(b.byID) != mostActs || b.acts[0].GetActId() != "a100" {
		t.Errorf("%d acts, %d by id, from %s", len(b.acts), len(b.byID), b.acts[0].GetActId())
	}
	for i := range MostPauses + 10 {
		b.take(at(fmt.Sprint("p", i), i, begun("", Deed{Action: Paused, Target: fmt.Sprint("cn.", i)})))
	}
	if last := b.byID[fmt.Sprint("p", MostPauses)]; len(b.pauses) != MostPauses || last.GetOutcome() != filing.ReasonTooManyItems {
		t.Errorf("%d pauses, one more: %v", len(b.pauses), last)
	}
	b.take(retries("run", 0))
	for before := int64(0); before <= mostResults; before += 500 {
		b.take(progress("run", 1, before, 500))
	}
	if r := b.run("run"); len(r.results) != mostResults || r.GetRetried() <= mostResults {
		t.Errorf("%d results, %d retried", len(r.results), r.GetRetried())
	}
	for i := range mostRuns + 5 {
		b.take(at(fmt.Sprint("r", i), i, begun("", Deed{Action: Retried, Target: fmt.Sprint("rejected:", i)})))
	}
	if len(b.runs) != mostRuns {
		t.Errorf("%d runs", len(b.runs))
	}
}
