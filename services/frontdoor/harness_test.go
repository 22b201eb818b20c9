package frontdoor_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/forms"
	"springtide/services/frontdoor"
	"springtide/services/keys"
	"springtide/services/webhooks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A client speaks to one front door.
type client struct {
	springtidev1.FilingServiceClient
	operations springtidev1.OperationsServiceClient
	conn       *grpc.ClientConn
	server     *frontdoor.Server
	keys       *keys.Store // of an office
	hooks      *webhooks.Store
	// stop ends the server and waits for it.
	stop func()
}

// quick are the waits of tests that need none.
func quick() frontdoor.Config {
	return frontdoor.Config{
		Partitions: partitions, CatchUp: 50 * time.Millisecond, CancelWait: 50 * time.Millisecond,
		WatchEvery: 20 * time.Millisecond, DrainTimeout: 5 * time.Second,
	}
}

// loadForms compiles the forms once for all tests.
var loadForms = sync.OnceValues(forms.Load)

// deps of a door that works on a world.
func (w *world) deps(t testing.TB) frontdoor.Deps {
	t.Helper()
	catalogue, err := loadForms()
	if err != nil {
		t.Fatal(err)
	}
	return frontdoor.Deps{
		Keys: keyring{}, Log: w, Records: w, Rows: w, Lists: w, Memory: w, Attention: w, Changes: w, Rules: catalogue, Forms: catalogue,
		Waits: func() time.Duration { return 0 }, // however busy the tests' machine is
	}
}

// open serves a world until the test ends.
func open(t testing.TB, w *world) *client {
	t.Helper()
	return serve(t, quick(), w.deps(t))
}

func serve(t testing.TB, cfg frontdoor.Config, deps frontdoor.Deps) *client {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	deps.Listener = listener
	server, err := frontdoor.New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	conn, err := grpc.NewClient("passthrough:///door",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		stop()
	})
	return &client{springtidev1.NewFilingServiceClient(conn), springtidev1.NewOperationsServiceClient(conn), conn, server, nil, nil, stop}
}

// as is a context that carries a key.
func as(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

func accountant(t testing.TB) context.Context { return as(t.Context(), keys.RoleAccountant) }

// vat is a well-formed return of the n-th taxpayer.
func vat(n int) *springtidev1.Return {
	return &springtidev1.Return{
		Form: "gb.vat", Authority: "gb.hmrc",
		Period:   &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"},
		Taxpayer: &springtidev1.Taxpayer{Id: fmt.Sprintf("%09d", n), Name: "Sample Ltd"},
		Lines:    map[string]string{"vatDueSales": "100.00", "totalVatDue": "100.00"},
		Context:  map[string]string{"periodKey": "18A1", "finalised": "1"},
	}
}

func submit(n int) *springtidev1.SubmitFilingRequest {
	return &springtidev1.SubmitFilingRequest{Return: vat(n)}
}

// changed is the same filing with other content.
func changed(n int) *springtidev1.SubmitFilingRequest {
	r := submit(n)
	r.Return.Lines["vatDueSales"] = "200.00"
	return r
}

// mustSubmit submits and gives the filing's id.
func (c *client) mustSubmit(t testing.TB, n int) filing.ID {
	t.Helper()
	resp, err := c.SubmitFiling(accountant(t), submit(n))
	if err != nil {
		t.Fatal(err)
	}
	return filing.ID(resp.GetFilingId())
}

// A refusal is an error taken apart.
type refusal struct {
	code    codes.Code
	reason  string
	fields  []string
	reasons []string
	retry   time.Duration
	args    map[string]string
	locale  string
	message string
	infos   int
}

func refusalOf(t testing.TB, err error) refusal {
	t.Helper()
	s, ok := grpcstatus.FromError(err)
	if !ok || s.Code() == codes.OK {
		t.Fatalf("not refused: %v", err)
	}
	out := refusal{code: s.Code()}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			out.infos++
			out.reason, out.args = d.GetReason(), d.GetMetadata()
			if d.GetDomain() != "springtide" {
				t.Errorf("domain %q", d.GetDomain())
			}
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				out.fields, out.reasons = append(out.fields, v.GetField()), append(out.reasons, v.GetReason())
			}
		case *errdetails.RetryInfo:
			out.retry = d.GetRetryDelay().AsDuration()
		case *errdetails.LocalizedMessage:
			out.locale, out.message = d.GetLocale(), d.GetMessage()
		}
	}
	return out
}

// wantRefusal checks code and reason, and the shape every answer has.
func wantRefusal(t testing.TB, err error, code codes.Code, reason string) refusal {
	t.Helper()
	got := refusalOf(t, err)
	if got.code != code || got.reason != reason || got.infos != 1 {
		t.Errorf("refused with %s %s (%d infos), want %s %s: %v", got.code, got.reason, got.infos, code, reason, err)
	}
	if got.message == "" || got.locale == "" {
		t.Errorf("no message for people: %v", err)
	}
	if retriable := code == codes.Unavailable || code == codes.ResourceExhausted; retriable && got.retry <= 0 {
		t.Errorf("%s without a time to retry after", code)
	}
	return got
}

// logTo makes a logger that keeps what is written at every level.
func logTo(into interface{ Write([]byte) (int, error) }) *slog.Logger {
	return slog.New(slog.NewTextHandler(into, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
