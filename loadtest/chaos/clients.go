package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"springtide/loadtest/rig"
	"springtide/loadtest/verdict"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// How clients behave.
const (
	callTimeout = 5 * time.Second
	firstRetry  = 200 * time.Millisecond
	lastRetry   = 2 * time.Second
	// Of a hundred returns so many are clicked on both doors at once, and so many once more some seconds later.
	doubleClicks, lateClicks = 10, 5
	// mostClicking bounds the clicks that are under way; beyond it clients wait.
	mostClicking = 2000
)

// A door is a client's connection to one front door.
type door struct {
	name   string
	conn   *grpc.ClientConn
	client springtidev1.FilingServiceClient
}

// clients click, repeat until they are acknowledged, and write down what they get.
type clients struct {
	doors   []door
	token   string
	journal *journal
	watch   *watch

	acked   atomic.Int64 // clicks that were acknowledged
	refused atomic.Int64 // clicks that were refused for good
	pending atomic.Int64 // clicks that are not acknowledged yet

	mu       sync.Mutex
	refusals map[string]int // by code and text, bounded
}

func newClients(f *fleet, j *journal) (*clients, error) {
	c := &clients{token: f.token, journal: j, refusals: map[string]int{}}
	for i, address := range f.doors {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}, MinConnectTimeout: time.Second,
			}))
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.doors = append(c.doors, door{doors()[i], conn, springtidev1.NewFilingServiceClient(conn)})
	}
	c.watch = newWatch(c)
	return c, nil
}

func (c *clients) close() error {
	var errs []error
	for _, d := range c.doors {
		errs = append(errs, d.conn.Close())
	}
	return errors.Join(errs...)
}

// call bounds a request and carries the key.
func (c *clients) call(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.token), cancel
}

// contentOf is a return as the oracle knows it.
func contentOf(r *springtidev1.Return) verdict.Content {
	id := filing.IDOf(tenant, r)
	content := verdict.Content{
		Filing: string(id), Digest: filing.DigestOf(r).String(), Authority: r.GetAuthority(), Taxpayer: r.GetTaxpayer().GetId(),
		Form: r.GetForm(), Period: r.GetPeriod().GetStart() + "/" + r.GetPeriod().GetEnd(), Ref: id.Ref(),
	}
	if key, ok := r.GetContext()["periodKey"]; ok { // HMRC knows periods by their key, and no reference
		content.Period, content.Ref = key, ""
	}
	return content
}

// click submits the returns at a rate until they are used up or clicking ends. It
// waits for clicks under way until calling ends: clients do not give up.
func (c *clients) click(clicking, calling context.Context, returns []*springtidev1.Return, rate float64, seed uint64) error {
	dice := rand.New(rand.NewPCG(seed, 0xc11c))
	places := make(chan struct{}, mostClicking)
	var wg sync.WaitGroup
	defer wg.Wait()
	var failed atomic.Pointer[error]
	begin := time.Now()
	for i, r := range returns {
		// All decisions are drawn here, in order, so that the seed repeats them.
		first, double, late := dice.IntN(len(c.doors)), dice.IntN(100) < doubleClicks, dice.IntN(100) < lateClicks
		after := time.Duration(3+dice.IntN(27)) * time.Second
		rig.Sleep(clicking, time.Until(begin.Add(time.Duration(float64(i)/rate*float64(time.Second)))))
		if err := failed.Load(); err != nil {
			return *err
		}
		if clicking.Err() != nil {
			return nil
		}
		request := &springtidev1.SubmitFilingRequest{Return: r, RequestId: fmt.Sprintf("chaos-%d", i)}
		content := contentOf(r)
		if err := c.journal.note(verdict.Entry{Offer: &content}, false); err != nil {
			return err
		}
		press := func(on int, wait time.Duration) {
			places <- struct{}{}
			wg.Go(func() {
				defer func() { <-places }()
				if wait > 0 {
					if rig.Sleep(clicking, wait); clicking.Err() != nil {
						return
					}
				}
				if err := c.press(calling, on, request, content); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			})
		}
		press(first, 0)
		if double {
			press(first+1, 0)
		}
		if late {
			press(first, after)
		}
	}
	<-clicking.Done()
	return nil
}

// press repeats one click, on one door after the other, until it is answered. The
// error is that the answer could not be written down.
func (c *clients) press(ctx context.Context, on int, request *springtidev1.SubmitFilingRequest, content verdict.Content) error {
	c.pending.Add(1)
	defer c.pending.Add(-1)
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		d := c.doors[on%len(c.doors)]
		asked := time.Now()
		call, cancel := c.call(ctx)
		res, err := d.client.SubmitFiling(call, request)
		cancel()
		if err == nil {
			ack := verdict.Ack{
				Content: content, Named: res.GetFilingId(), Submission: res.GetSubmissionId(), Asked: asked, At: time.Now(), Door: d.name,
			}
			if err := c.journal.note(verdict.Entry{Ack: &ack}, true); err != nil {
				return err
			}
			c.acked.Add(1)
			c.watch.acked(content.Filing, ack.At)
			return nil
		}
		if final(err) {
			c.refuse(err)
			return nil
		}
		if rig.Sleep(ctx, pause); ctx.Err() != nil {
			return nil
		}
		on++
	}
}

// final reports that repeating a request makes no sense.
func final(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.AlreadyExists, codes.PermissionDenied, codes.FailedPrecondition, codes.NotFound, codes.Unimplemented:
		return true
	default:
		return false
	}
}

// refuse counts a refusal that should not be: the returns are well formed.
func (c *clients) refuse(err error) {
	c.refused.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprintf("%s: %s", status.Code(err), status.Convert(err).Message())
	if _, known := c.refusals[text]; known || len(c.refusals) < 20 {
		c.refusals[text]++
	}
}
