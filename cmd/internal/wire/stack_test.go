package wire

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
)

// a diary notes what happened, in order.
type diary struct {
	mu    sync.Mutex
	notes []string
}

func (d *diary) note(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notes = append(d.notes, s)
}

func (d *diary) Serving()  { d.note("serving") }
func (d *diary) Draining() { d.note("draining") }

func TestAStackServesThenDrainsThenStops(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		start, part error // what starting, or the last part, comes to
		told        bool  // to end, before it has started
		want        []string
		err         error
	}{
		"told to end":          {want: []string{"serving", "draining", "last stops", "first stops"}},
		"a part fails":         {part: broken, want: []string{"serving", "draining", "last stops", "first stops"}, err: broken},
		"does not start":       {start: broken, want: []string{"last stops", "first stops"}, err: broken},
		"told while it starts": {start: broken, told: true, want: []string{"last stops", "first stops"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &diary{}
			ctx, end := context.WithCancel(t.Context())
			defer end()
			s := newStack(slog.New(slog.DiscardHandler))
			s.seen = d
			s.onStop("first", func() error { d.note("first stops"); return nil })
			s.run(ctx, "last", func(ctx context.Context) error {
				defer d.note("last stops")
				if tt.part != nil {
					return tt.part
				}
				<-ctx.Done()
				return nil
			})
			if tt.told {
				end()
			}
			if tt.start == nil && tt.part == nil {
				go end()
			}
			err := s.finish(ctx, tt.start)
			if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Errorf("got %v, want %v", err, tt.err)
			}
			// A part that fails by itself notes its end before anybody stops it.
			if tt.part != nil {
				slices.Sort(d.notes)
				slices.Sort(tt.want)
			}
			if !slices.Equal(d.notes, tt.want) {
				t.Errorf("got %q, want %q", d.notes, tt.want)
			}
		})
	}
}
