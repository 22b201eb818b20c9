package frontdoor

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/keys"
	"springtide/services/status"
)

// GetOverview says how the installation stands.
func (o *operators) GetOverview(
	ctx context.Context, req *springtidev1.GetOverviewRequest,
) (*springtidev1.GetOverviewResponse, error) {
	if o.deps.Monitor == nil {
		return o.UnimplementedOperationsServiceServer.GetOverview(ctx, req)
	}
	now, _, err := o.deps.Monitor.Overview()
	if err != nil {
		return nil, err
	}
	return &springtidev1.GetOverviewResponse{Overview: now}, nil
}

// WatchOverview sends the overview each time it was measured, until the client leaves
// or the server drains. A slow client gets the newest one, not every one.
func (o *operators) WatchOverview(
	req *springtidev1.WatchOverviewRequest, stream grpc.ServerStreamingServer[springtidev1.WatchOverviewResponse],
) error {
	if o.deps.Monitor == nil {
		return o.UnimplementedOperationsServiceServer.WatchOverview(req, stream)
	}
	tenant := identityOf(stream.Context()).Tenant
	if err := o.watches.take(tenant); err != nil {
		return err
	}
	defer o.watches.leave(tenant)
	for {
		now, newer, err := o.deps.Monitor.Overview()
		if err == nil {
			err = stream.Send(&springtidev1.WatchOverviewResponse{Overview: now})
			if err != nil {
				return fmt.Errorf("watch overview: send: %w", err)
			}
		}
		select {
		case <-newer:
		case <-o.draining:
			return &filing.Error{Reason: filing.ReasonDraining, RetryAfter: time.Second}
		case <-stream.Context().Done():
			return nil
		}
	}
}

// ListAuthorities lists every authority there is work for, that a worker sends to, or that is paused.
func (o *operators) ListAuthorities(
	ctx context.Context, req *springtidev1.ListAuthoritiesRequest,
) (*springtidev1.ListAuthoritiesResponse, error) {
	if o.deps.Monitor == nil {
		return o.UnimplementedOperationsServiceServer.ListAuthorities(ctx, req)
	}
	now, _, err := o.deps.Monitor.Overview()
	if err != nil {
		return nil, err
	}
	return &springtidev1.ListAuthoritiesResponse{Authorities: now.GetAuthorities()}, nil
}

// ListFailures groups what did not end well, or waits, by its reason.
func (o *operators) ListFailures(
	ctx context.Context, req *springtidev1.ListFailuresRequest,
) (*springtidev1.ListFailuresResponse, error) {
	if o.deps.Monitor == nil {
		return o.UnimplementedOperationsServiceServer.ListFailures(ctx, req)
	}
	groups, err := o.deps.Monitor.Failures()
	if err != nil {
		return nil, err
	}
	return &springtidev1.ListFailuresResponse{Failures: groups}, nil
}

// ListTopTenants names the ten tenants with the most open filings.
func (o *operators) ListTopTenants(
	ctx context.Context, req *springtidev1.ListTopTenantsRequest,
) (*springtidev1.ListTopTenantsResponse, error) {
	if o.deps.Monitor == nil {
		return o.UnimplementedOperationsServiceServer.ListTopTenants(ctx, req)
	}
	tenants, err := o.deps.Monitor.TopTenants()
	if err != nil {
		return nil, err
	}
	return &springtidev1.ListTopTenantsResponse{Tenants: tenants}, nil
}

// batchEta is when the last filing of a batch is expected to end. A batch with more open
// filings than are looked at gets none rather than one that is too early.
func (d *door) batchEta(ctx context.Context, who keys.Identity, batch string, counts map[springtidev1.FilingState]int) *springtidev1.Eta {
	if d.deps.Monitor == nil {
		return nil
	}
	open := 0
	q := status.Query{Tenant: who.Tenant, Batch: batch, PageSize: mostWatched}
	for state, n := range counts {
		if n > 0 && !filing.FinalState(state) {
			open += n
			q.States = append(q.States, state)
		}
	}
	if open == 0 || open > mostWatched {
		return nil
	}
	page, err := d.listed(ctx, who, q)
	if err != nil || page.NextPageToken != "" {
		return nil
	}
	eta, _ := d.deps.Monitor.EtaOfAll(page.Filings)
	return eta
}
