package frontdoor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"springtide/services/filing"
)

// A giant with many batches waiting gets half of the places; another tenant's
// batch comes next, whenever it came, and those of one tenant stay in order.
func TestBatchesTakeTurnsTenantByTenant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(2)
		calls := make(chan string, 100)
		batch := func(tenant, name string) {
			go func() {
				done, err := turns.take(t.Context(), tenant)
				if err != nil {
					t.Error(err)
					return
				}
				calls <- name
				time.Sleep(time.Second)
				done()
			}()
			synctest.Wait()
		}
		for i := range 5 {
			batch("giant", fmt.Sprint("giant", i))
		}
		time.Sleep(time.Millisecond)
		batch("small", "small")
		batch("other", "other")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		close(calls)
		var order []string
		for name := range calls {
			order = append(order, name)
		}
		// One place is free beside the giant's: small has it at once, other when the giant's first turn is over.
		if got, want := strings.Join(order, " "), "giant0 small giant1 other giant2 giant3 giant4"; got != want {
			t.Errorf("order %q, want %q", got, want)
		}
		if turns.taken != 0 || turns.waiting != 0 || len(turns.tenants) != 0 || len(turns.line) != 0 {
			t.Errorf("something is left: %+v", turns)
		}
	})
}

func TestTooManyBatchesWaitingAreRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(2)
		ctx, cancel := context.WithCancel(t.Context())
		done, err := turns.take(ctx, "giant")
		if err != nil {
			t.Fatal(err)
		}
		gaveUp := make(chan error, mostWaiting)
		for range mostWaiting {
			go func() {
				_, err := turns.take(ctx, "giant")
				gaveUp <- err
			}()
		}
		synctest.Wait()
		if _, err := turns.take(ctx, "giant"); filing.ReasonOf(err) != filing.ReasonOverloaded {
			t.Errorf("one too many: %v", err)
		}
		cancel()
		for range mostWaiting {
			if err := <-gaveUp; !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		done()
		if turns.taken != 0 || turns.waiting != 0 || len(turns.tenants) != 0 || len(turns.line) != 0 {
			t.Errorf("something is left: %+v", turns)
		}
	})
}

// Whatever comes, goes and gives up: no more than the places are taken, no tenant
// has more than its share, nobody waits where there is a place, and nothing is left.
func TestTurnsHoldTheirBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(*testing.T) {
			turns := newTurns(rapid.IntRange(1, 5).Draw(rt, "places"))
			type call struct {
				cancel context.CancelFunc
				end    chan struct{}
			}
			var calls []call
			for range rapid.IntRange(1, 40).Draw(rt, "steps") {
				if len(calls) == 0 || rapid.Bool().Draw(rt, "comes") {
					ctx, cancel := context.WithCancel(context.Background())
					c := call{cancel, make(chan struct{})}
					tenant := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "tenant")
					go func() {
						if done, err := turns.take(ctx, tenant); err == nil {
							<-c.end
							done()
						}
					}()
					calls = append(calls, c)
				} else {
					i := rapid.IntRange(0, len(calls)-1).Draw(rt, "who")
					if rapid.Bool().Draw(rt, "gives up") {
						calls[i].cancel()
					}
					synctest.Wait()
					calls[i].cancel()
					close(calls[i].end)
					calls = append(calls[:i], calls[i+1:]...)
				}
				synctest.Wait()
				turns.mu.Lock()
				for name, l := range turns.tenants {
					if l.taken > turns.share {
						rt.Errorf("%s has %d of %d places", name, l.taken, turns.places)
					}
					if len(l.waiting) > 0 && turns.free(l) {
						rt.Errorf("%s waits where there is a place", name)
					}
				}
				if turns.taken > turns.places {
					rt.Errorf("%d of %d places are taken", turns.taken, turns.places)
				}
				turns.mu.Unlock()
			}
			for _, c := range calls {
				c.cancel()
				close(c.end)
			}
			synctest.Wait()
			if turns.taken != 0 || turns.waiting != 0 || len(turns.tenants) != 0 || len(turns.line) != 0 {
				rt.Errorf("something is left: %+v", turns)
			}
		})
	})
}
