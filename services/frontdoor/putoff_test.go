package frontdoor_test

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/frontdoor"
	"springtide/services/keys"
)

// However it comes, a poll is put off with a time to come again, and everything else is answered.
func TestWhileProcessorsAreShortPollsArePutOff(t *testing.T) {
	t.Parallel()
	deps := newWorld().deps(t)
	deps.Waits = func() time.Duration { return time.Second }
	cfg := quick()
	cfg.PollFloor = 1
	c := serve(t, cfg, deps)
	for name, service := range map[string]springtidev1.FilingServiceClient{
		"gRPC": c, "in process": springtidev1.NewFilingServiceClient(c.server.InProcess()),
	} {
		ctx := accountant(t)
		poll := &springtidev1.BatchGetFilingsRequest{FilingIds: []string{string(filing.IDOf("firm", changed(7).GetReturn()))}}
		var err error
		for n := 0; err == nil; n++ {
			if n > 100_000 {
				t.Fatalf("%s: no poll was put off", name)
			}
			if n%10 == 0 {
				if _, err := service.SubmitFiling(ctx, changed(7)); err != nil {
					t.Fatal(err)
				}
			}
			_, err = service.BatchGetFilings(ctx, poll)
		}
		if ours, ok := errors.AsType[*filing.Error](err); ok {
			if ours.Reason != filing.ReasonOverloaded || ours.RetryAfter <= 0 {
				t.Errorf("%s: %v, again after %s", name, err, ours.RetryAfter)
			}
		} else {
			wantRefusal(t, err, codes.Unavailable, filing.ReasonOverloaded)
		}
		_, err = c.server.InProcess().Poll(t.Context(), frontdoor.Poll{
			FilingID: poll.GetFilingIds()[0], Authorization: "Bearer " + keys.RoleAccountant,
		})
		if ours, ok := errors.AsType[*filing.Error](err); !ok || ours.Reason != filing.ReasonOverloaded || ours.RetryAfter <= 0 {
			t.Errorf("right after %s's: a poll for the HTTP face: %v", name, err)
		}
		if _, err := service.ListForms(ctx, &springtidev1.ListFormsRequest{}); err != nil {
			t.Errorf("%s: what is no poll: %v", name, err)
		}
	}
}
