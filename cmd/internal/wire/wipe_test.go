package wire

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"springtide/cmd/internal/cli"
	"springtide/consumers/ledger"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/keys"
	"springtide/services/status"
	"springtide/services/telemetry"
)

// While the view is written anew after Redis lost everything, somebody who asks is
// told to wait or told the truth, never that a filing is not there. At the size of a
// release there are 200,000 filings, and SPRINGTIDE_TEST_KAFKA and _REDIS may name
// servers of their own; everything in that Redis is lost.
func TestAWipedViewIsWholeAgainAndNeverSaysNotFound(t *testing.T) {
	filings := 3000
	if full() {
		filings = 200_000
	}
	s := startReadSite(t)
	ids := s.ended(filings)
	began := time.Now()
	s.awaitView()
	t.Logf("%d filings read from the log into the view: %.1f s", filings, time.Since(began).Seconds())

	asking, stop := context.WithCancel(t.Context())
	var askers sync.WaitGroup
	asked, waited, wrong := 0, 0, 0
	askers.Go(func() {
		for asking.Err() == nil {
			at := rand.IntN(len(ids) - 99)
			resp, err := s.client.BatchGetFilings(s.as(asking), &springtidev1.BatchGetFilingsRequest{FilingIds: ids[at : at+100]})
			switch {
			case asking.Err() != nil:
			case err != nil:
				waited++
			default:
				asked++
				wrong += len(resp.GetMissing())
			}
		}
	})
	wiped := time.Now()
	s.wipe()
	s.awaitView()
	took := time.Since(wiped)
	stop()
	askers.Wait()
	for at := 0; at < len(ids); at += 500 {
		resp, err := s.client.BatchGetFilings(s.as(t.Context()), &springtidev1.BatchGetFilingsRequest{FilingIds: ids[at:min(at+500, len(ids))]})
		if err != nil {
			t.Fatal(err)
		}
		wrong += len(resp.GetMissing())
		for _, f := range resp.GetFilings() {
			if f.GetState() != springtidev1.FilingState_FILING_STATE_ACCEPTED || f.GetReceipt().GetNumber() == "" {
				t.Fatalf("%s is %s after the view was written anew", f.GetFilingId(), f.GetState())
			}
		}
	}
	rss, _ := memory()
	t.Logf("%d filings, Redis wiped: full view again after %.1f s; meanwhile %d answers, %d told to wait, %d wrong NOT_FOUND; resident %d MiB",
		filings, took.Seconds(), asked, waited, wrong, rss>>20)
	if wrong > 0 {
		t.Errorf("%d filings were not found", wrong)
	}
}

// A readSite is a front door and a projector, and no stage that files.
type readSite struct {
	*core
	t      *testing.T
	redis  string
	token  string
	client springtidev1.FilingServiceClient
}

func startReadSite(t *testing.T) *readSite {
	t.Helper()
	silent := slog.New(slog.DiscardHandler)
	o := cli.DevOptions{Common: cli.Common{GRPC: "127.0.0.1:0", Data: t.TempDir(), Logger: silent}}
	if full() && os.Getenv("SPRINGTIDE_TEST_KAFKA") != "" {
		o.Kafka, o.Redis = []string{os.Getenv("SPRINGTIDE_TEST_KAFKA")}, []string{os.Getenv("SPRINGTIDE_TEST_REDIS")}
	}
	stack := newStack(silent)
	t.Cleanup(func() {
		if err := stack.stop(); err != nil {
			t.Error(err)
		}
	})
	s := &readSite{t: t}
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	must(startServers(t.Context(), stack, &o))
	tel, err := telemetry.New(t.Context(), telemetry.Config{Logger: silent})
	must(err)
	s.core, err = openCore(t.Context(), stack, o.Common, coreConfig{usual: devPartitions, readTimeout: devReadTimeout}, tel)
	must(err)
	store, err := s.openKeys(t.Context(), stack, o.Common)
	must(err)
	_, s.token, err = store.Create(t.Context(), keys.Identity{Tenant: devTenant, Subject: "test", Roles: []string{keys.RoleViewer}})
	must(err)
	must(s.work(t.Context(), stack, []string{"project"}, 0))
	at, err := s.serve(t.Context(), stack, store, doorOptions{Common: o.Common})
	must(err)
	s.redis = o.Redis[0]
	conn, err := grpc.NewClient(at.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	s.client = springtidev1.NewFilingServiceClient(conn)
	return s
}

func (s *readSite) as(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+s.token)
}

// ended puts filings on the log that were submitted, claimed and accepted.
func (s *readSite) ended(n int) (ids []string) {
	s.t.Helper()
	returns := firmOf(s.t, 71, 500)
	const chunk = 5000
	for at := 0; at < n; at += chunk {
		var submitted, events []eventlog.Record
		for i := at; i < min(at+chunk, n); i++ {
			r := anotherOf(returns, i)
			id := filing.IDOf(devTenant, r)
			ids = append(ids, string(id))
			sub := &springtidev1.Submission{
				SubmissionId: fmt.Sprintf("s-%d", i), FilingId: string(id), Tenant: devTenant, Return: r, ReceiveTime: timestamppb.Now(),
			}
			submitted = append(submitted, s.record(eventlog.TopicSubmitted, id, sub))
			for _, ev := range endOf(id, sub) {
				events = append(events, s.record(eventlog.TopicLedger, id, ev))
			}
		}
		for topic, records := range map[string][]eventlog.Record{eventlog.TopicSubmitted: submitted, eventlog.TopicLedger: events} {
			if _, err := s.events.AppendAll(s.t.Context(), topic, records); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	return ids
}

// endOf is what the ledger says of a filing that was accepted at once.
func endOf(id filing.ID, sub *springtidev1.Submission) []*springtidev1.LedgerEvent {
	digest, token := filing.Digest{1}, filing.NewToken()
	events := []*springtidev1.LedgerEvent{ledger.NewEvent(id, digest), ledger.NewEvent(id, digest), ledger.NewEvent(id, digest)}
	events[0].Event = &springtidev1.LedgerEvent_Registered{Registered: &springtidev1.Registered{Click: ledger.ClickOf(sub)}}
	events[1].Event = &springtidev1.LedgerEvent_Claimed{Claimed: &springtidev1.Claimed{Attempt: 1, Token: token[:]}}
	events[2].Event = &springtidev1.LedgerEvent_Accepted{Accepted: &springtidev1.Accepted{Attempt: 1, Receipt: &springtidev1.Receipt{
		FilingId: string(id), Number: "R-" + string(id[:12]), Authority: sub.GetReturn().GetAuthority(), Ref: string(id.Ref()),
		Digest: digest.String(), AcceptTime: timestamppb.Now(),
	}}}
	return events
}

func (s *readSite) record(topic string, id filing.ID, m proto.Message) eventlog.Record {
	value, err := proto.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	return eventlog.Record{
		Topic: topic, Partition: id.Partition(s.events.Partitions()), Key: []byte(id), Value: value, Tenant: devTenant,
	}
}

// awaitView waits until the view holds all that is on the log.
func (s *readSite) awaitView() {
	s.t.Helper()
	ends, err := s.events.Offsets(s.t.Context(), eventlog.TopicLedger)
	if err != nil {
		s.t.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		marks, err := s.view.Watermarks(s.t.Context())
		whole := err == nil && len(marks) == len(ends)
		for i := 0; whole && i < len(ends); i++ {
			whole = marks[i].Phase == status.PhaseReady && marks[i].Ledger >= ends[i].End
		}
		if whole {
			return
		}
		select {
		case <-tick.C:
		case <-s.t.Context().Done():
			s.t.Fatal("the view never becomes whole")
		}
	}
}

// wipe makes Redis forget everything.
func (s *readSite) wipe() {
	s.t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(s.t.Context(), "tcp", s.redis)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("*1\r\n$8\r\nFLUSHALL\r\n")); err != nil {
		s.t.Fatal(err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(answer, "+OK") {
		s.t.Fatalf("FLUSHALL: %q %v", answer, err)
	}
}
