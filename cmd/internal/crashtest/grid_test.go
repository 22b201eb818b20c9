package crashtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"sync"
	"testing"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// A row of the crash grid of the protocol: where its test is, and which step it guards.
type row struct{ row, file, test, guards string }

const (
	inSubmit   = "consumers/submit/grid_test.go"
	inProject  = "consumers/project/grid_test.go"
	inWorker   = "consumers/worker/grid_test.go"
	inEventlog = "services/eventlog/grid_test.go"
	inDoor     = "services/frontdoor/submit_test.go"
	here       = "cmd/internal/crashtest/grid_test.go"
)

func grid() []row {
	return []row{
		{"door dies after the append, before the ack", here, "TestGridDoorDiesAfterTheAppendBeforeTheAck", "3, 9: the same click names the same filing"},
		{"append timed out, landed later", inDoor, "TestGridAppendTimedOutLandedLater", "3, 4: no acknowledgement, and the same filing again"},
		{"double click on two doors", here, "TestGridDoubleClickOnTwoDoors", "3, 9"},
		{"changed payload for the same period", inSubmit, "TestGridChangedPayloadForTheSamePeriod", "9: other content while the first is open"},
		{"consumer dies before CLAIM", inSubmit, "TestGridConsumerDiesBeforeClaim", "20: redelivery"},
		{"consumer dies between CLAIM and read-back", inSubmit, "TestGridConsumerDiesBetweenClaimAndReadBack", "22"},
		{"consumer dies after read-back", inSubmit, "TestGridConsumerDiesAfterReadBack", "22"},
		{"consumer dies after the send", inSubmit, "TestGridConsumerDiesAfterTheSend", "22: by class"},
		{"consumer dies before the result append", inSubmit, "TestGridConsumerDiesBeforeTheResultAppend", "17, 22"},
		{"consumer dies before the commit", inSubmit, "TestGridConsumerDiesBeforeTheCommit", "9, 20"},
		{"claim duplicated by a producer retry", inSubmit, "TestGridClaimDuplicatedByAProducerRetry", "F1, F6"},
		{"two owners (zombie)", inSubmit, "TestGridTwoOwners", "13, 14"},
		{"request lost", inSubmit, "TestGridRequestLost", "22"},
		{"filed, answer lost", inSubmit, "TestGridFiledAnswerLost", "16, 22"},
		{"filed, answered 5xx", inSubmit, "TestGridFiledAnswered5xx", "16"},
		{"result appended twice", inSubmit, "TestGridResultAppendedTwice", "17, F6"},
		{"late success after RETRYOK", inSubmit, "TestGridLateSuccessAfterRetryOK", "F3"},
		{"late rejection after RETRYOK", inSubmit, "TestGridLateRejectionAfterRetryOK", "F4"},
		{"DUPLICATE that is not ours", inSubmit, "TestGridDuplicateThatIsNotOurs", "16, 22: compare"},
		{"not found inside L", inSubmit, "TestGridNotFoundInsideTheLag", "22: W has L in it"},
		{"class A window ended", inSubmit, "TestGridClassAWindowEnded", "22: stop before D"},
		{"rebalance in mid-flight", inSubmit, "TestGridRebalanceInMidFlight", "22: the first wait"},
		{"out-of-order completion", inWorker, "TestGridOutOfOrderCompletion", "20: contiguous"},
		{"broker killed", here, "TestGridBrokerKilled", "4, 12, 17: no append, no promise, no send"},
		{"Redis wiped", here, "TestGridRedisWiped", "24, 25: rebuilding, never NOT_FOUND"},
		{"Redis failover losing the last writes", inProject, "TestGridRedisFailoverLosingTheLastWrites", "24: the watermark went back"},
		{"offsets reset (full replay)", inSubmit, "TestGridOffsetsReset", "7, 9"},
		{"retention too short (refuses to start)", inEventlog, "TestGridRetentionTooShort", "start-up check"},
		{"partitions added (refuses to start)", inEventlog, "TestGridPartitionsAdded", "start-up check"},
		{"poison record", inSubmit, "TestGridPoisonRecord", "21"},
		{"clock jump of a day", inSubmit, "TestGridClockJumpOfADay", "W on one clock"},
		{"authority down for hours", inSubmit, "TestGridAuthorityDownForHours", "11, 19"},
		{"accepted first, rejected a day later", inSubmit, "TestGridAcceptedFirstRejectedADayLater", "18"},
		{"record of a newer release", inSubmit, "TestGridRecordOfANewerRelease", "F7"},
		{"dead letter replayed twice", inSubmit, "TestGridDeadLetterReplayedTwice", "9, 21"},
		{"whole site restarted with a backlog", here, "TestGridWholeSiteRestartedWithABacklog", "7"},
	}
}

// TestEveryRowOfTheGridHasItsTest reads the source: a row whose test was renamed or
// removed is a row that nobody tests.
func TestEveryRowOfTheGridHasItsTest(t *testing.T) {
	t.Parallel()
	const rows = 36
	if n := len(grid()); n != rows {
		t.Errorf("%d rows, the protocol has %d", n, rows)
	}
	tests := map[string]map[string]bool{}
	for _, r := range grid() {
		if tests[r.file] == nil {
			file, err := parser.ParseFile(token.NewFileSet(), "../../../"+r.file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Errorf("%s: %v", r.row, err)
				continue
			}
			tests[r.file] = map[string]bool{}
			for _, d := range file.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
					tests[r.file][fn.Name.Name] = true
				}
			}
		}
		if !tests[r.file][r.test] {
			t.Errorf("%s: no %s in %s", r.row, r.test, r.file)
		}
		delete(tests[r.file], r.test) // one test a row
	}
}

// The front door dies when SUBMITTED is durable: the client knows nothing and
// clicks again. One filing.
func TestGridDoorDiesAfterTheAppendBeforeTheAck(t *testing.T) {
	t.Parallel()
	dir, b := t.TempDir(), startBureau(t, 0)
	o, r := newOffice("dev"), returnsOf(t, 1, 1)[0]
	first := start(t, dir, b, "door/after-append")
	d, _, ok := first.ready(t, dir)
	if !ok {
		t.Fatal("died too early")
	}
	if err := o.file(t.Context(), d, r); err == nil {
		t.Fatal("acknowledged by a dead door")
	}
	<-first.dead
	if !first.crashed("door/after-append") {
		t.Fatalf("ended by something else: %v", first.cmd.ProcessState)
	}
	second := start(t, dir, b, "")
	if d, _, ok = second.ready(t, dir); !ok {
		t.Fatal("did not come up again")
	}
	eventually(t, "what was durable is filed, though nobody was told", func() bool { return b.size(t) == 1 })
	if err := o.file(t.Context(), d, r); err != nil {
		t.Fatal(err)
	}
	o.judge(t, o.finish(t, d), b)
}

// Everybody clicks everything, on both doors, at once.
func TestGridDoubleClickOnTwoDoors(t *testing.T) {
	t.Parallel()
	const filings, clicks = 20, 20
	s := startStack(t, 20*time.Millisecond)
	doors := []*door{s.door(), s.door()}
	o := newOffice(tenant)
	var wg sync.WaitGroup
	for _, r := range returnsOf(t, 2, filings) {
		r.Authority = open(r.GetAuthority())
		for click := range clicks {
			wg.Go(func() {
				if err := o.file(t.Context(), doors[click%2], r); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if o.acks != filings*clicks {
		t.Errorf("%d acknowledgements, want %d", o.acks, filings*clicks)
	}
	counts := o.judge(t, o.finish(t, doors[0]), s.bureau)
	if n := counts[springtidev1.FilingState_FILING_STATE_ACCEPTED]; n != filings || s.bureau.size(t) != filings {
		t.Errorf("%d accepted, %d in the book, want %d", n, s.bureau.size(t), filings)
	}
}

// open is an authority that takes filings now.
func open(code string) string {
	if code == closed || code == classC {
		return "cn.11"
	}
	return code
}

// filing returns under way, while something is done to the servers: what a door
// refuses is submitted again until it is acknowledged.
func disturbed(t *testing.T, s *stack, seed uint64, n int, disturb func(o *office, d *door)) {
	t.Helper()
	d, o := s.door(), newOffice(tenant)
	work := make(chan *springtidev1.Return, n)
	for _, r := range returnsOf(t, seed, n) {
		r.Authority = open(r.GetAuthority())
		work <- r
	}
	close(work)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for r := range work {
				for end := time.Now().Add(patience); o.file(t.Context(), d, r) != nil; time.Sleep(50 * time.Millisecond) {
					if time.Now().After(end) {
						t.Errorf("%s was never acknowledged", filing.IDOf(tenant, r))
						return
					}
				}
			}
		})
	}
	eventually(t, "some are filed", func() bool { return s.bureau.size(t) > n/10 })
	disturb(o, d)
	wg.Wait()
	o.judge(t, o.finish(t, d), s.bureau)
	if got := len(o.ids()); got != n {
		t.Errorf("%d acknowledged, want %d", got, n)
	}
}

func TestGridBrokerKilled(t *testing.T) {
	t.Parallel()
	s := startStack(t, 20*time.Millisecond)
	disturbed(t, s, 3, 200, func(*office, *door) {
		for range 2 {
			address := s.broker.Addr()
			if err := s.broker.Close(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(300 * time.Millisecond) // long enough for appends to fail
			s.startBroker(address)
		}
	})
}

func TestGridRedisWiped(t *testing.T) {
	t.Parallel()
	s := startStack(t, 20*time.Millisecond)
	disturbed(t, s, 4, 200, func(o *office, d *door) {
		for range 5 {
			s.redis.Wipe()
			for range 20 {
				_, _ = o.look(t, d, o.ids()) // fails the test on NOT_FOUND; any other refusal is fine
			}
		}
	})
}

// Everything dies at once, twice, with a backlog: nothing is lost, nothing is filed twice.
func TestGridWholeSiteRestartedWithABacklog(t *testing.T) {
	t.Parallel()
	const n = 300
	dir, b, o := t.TempDir(), startBureau(t, 100*time.Millisecond), newOffice("dev")
	all := returnsOf(t, 5, n)
	for _, r := range all {
		r.Authority = open(r.GetAuthority())
	}
	for life := range 3 {
		p := start(t, dir, b, "")
		d, _, ok := p.ready(t, dir)
		if !ok {
			t.Fatal("did not come up")
		}
		if life == 2 {
			o.judge(t, o.finish(t, d), b)
			return
		}
		if left := o.fileBatch(t.Context(), d, all[life*n/2:(life+1)*n/2]); len(left) > 0 {
			t.Fatalf("%d were not acknowledged", len(left))
		}
		filed := b.size(t)
		eventually(t, "some are filed", func() bool { return b.size(t) > filed })
		p.kill()
		t.Logf("killed with %d acknowledged, %d filed", len(o.ids()), b.size(t))
	}
}
