package frontdoor

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/keys"
)

// A Poll asks how a filing is, as phones do over and over.
type Poll struct {
	FilingID string
	// Authorization, Language and Traceparent are the caller's headers; empty where there is none.
	Authorization, Language, Traceparent string
}

// A Glance is a filing as a poll sees it: what tells whether it is what the caller knows
// already. The rest is decoded for whoever asks for it.
type Glance struct {
	Version int64
	State   springtidev1.FilingState
	// NextPoll is when to look again; zero: nothing will change any more.
	NextPoll time.Time

	filing *springtidev1.Filing
	packed []byte // where filing is nil
}

// GlanceOf is a glance at a filing, which must not be changed afterwards.
func GlanceOf(f *springtidev1.Filing) Glance {
	g := Glance{Version: f.GetVersion(), State: f.GetState(), filing: f}
	if f.GetNextPollTime() != nil {
		g.NextPoll = f.GetNextPollTime().AsTime()
	}
	return g
}

// Filing is all of it. It must not be changed.
func (g Glance) Filing() (*springtidev1.Filing, error) {
	if g.filing != nil {
		return g.filing, nil
	}
	f := new(springtidev1.Filing)
	if err := proto.Unmarshal(g.packed, f); err != nil {
		return nil, fmt.Errorf("decode filing: %w", err)
	}
	return f, nil
}

// Poll answers a status poll: GetFiling with the same admission, rights, accounts and errors, without what a
// call of gRPC costs beside them. A poll that has to come again is refused as *filing.Error.
func (l *Local) Poll(ctx context.Context, p Poll) (Glance, error) {
	const method = springtidev1.FilingService_GetFiling_FullMethodName
	d := l.door
	if err := d.admitPoll(method); err != nil {
		return Glance{}, err
	}
	began := time.Now()
	who, err := d.identify(ctx, method, headerValues(p.Authorization))
	ctx, span := d.begin(ctx, method, p.Traceparent, began, err == nil)
	defer span.End()
	var seen Glance
	if err == nil {
		err = d.guarded(func() (err error) {
			seen, err = d.glance(ctx, who, p.FilingID)
			return err
		})
	}
	if err != nil && p.Language != "" {
		ctx = metadata.NewIncomingContext(ctx, metadata.Pairs(metaLanguage, p.Language))
	}
	if err = d.finish(ctx, method, began, err); err != nil {
		return Glance{}, err
	}
	return seen, nil
}

// headerValues are the values of a header that is there once or not at all.
func headerValues(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

// glance finds a single filing; missing and foreign are NOT_FOUND.
func (d *door) glance(ctx context.Context, who keys.Identity, name string) (Glance, error) {
	id := filing.ID(name)
	if seen, ok := d.cache.get(id, who); ok {
		return seen, nil
	}
	if !id.Valid() {
		if err := d.check(&springtidev1.GetFilingRequest{FilingId: name}); err != nil {
			return Glance{}, err // in the words that gRPC has for it
		}
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.RequestTimeout)
	defer cancel()
	f, err := d.one(ctx, who, name)
	if err != nil {
		return Glance{}, err
	}
	return GlanceOf(f), nil
}
