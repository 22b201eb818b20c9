package main

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/forms"
)

// A job is one return on its way through a peer.
type job struct {
	id string
	// payload is an encoded Submission: what the worker gets.
	payload []byte
	// row is an encoded Filing in state RECEIVED: what a reader gets until the work is done.
	row []byte
}

// A queue is what a peer is used through. It is safe for concurrent use.
type queue interface {
	// Enqueue stores the rows and a job for each; a filing that is there already changes nothing.
	Enqueue(ctx context.Context, jobs []job) error
	// Rows reads encoded filings; nil where there is none.
	Rows(ctx context.Context, ids []string) ([][]byte, error)
}

// A door serves the part of FilingService that the comparison uses. It has neither
// keys nor admission control: what it leaves out is in the peer's favour.
type door struct {
	springtidev1.UnimplementedFilingServiceServer
	rules *forms.Catalogue
	queue queue
}

// tenant of all filings of the peers, and of Springtide's key.
const tenant = "peers"

func (d *door) SubmitFilingBatch(ctx context.Context, req *springtidev1.SubmitFilingBatchRequest) (*springtidev1.SubmitFilingBatchResponse, error) {
	jobs := make([]job, 0, len(req.GetRequests()))
	resp := &springtidev1.SubmitFilingBatchResponse{}
	for _, r := range req.GetRequests() {
		ret := r.GetReturn()
		if found := d.rules.Shape(ret); len(found) > 0 {
			resp.Results = append(resp.Results, &springtidev1.SubmitResult{Error: &springtidev1.ItemError{
				Code: int32(codes.InvalidArgument), Reason: found[0].Rule, Field: found[0].Field,
			}})
			continue
		}
		j, err := newJob(ret)
		if err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		jobs = append(jobs, j)
		resp.Results = append(resp.Results, &springtidev1.SubmitResult{FilingId: j.id})
	}
	if err := d.queue.Enqueue(ctx, jobs); err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return resp, nil
}

func newJob(ret *springtidev1.Return) (job, error) {
	id, digest := string(filing.IDOf(tenant, ret)), filing.DigestOf(ret)
	payload, err := proto.Marshal(&springtidev1.Submission{FilingId: id, Tenant: tenant, Digest: digest[:], Return: ret})
	if err != nil {
		return job{}, fmt.Errorf("encode submission: %w", err)
	}
	row, err := proto.Marshal(filingOf(id, digest, ret, springtidev1.FilingState_FILING_STATE_RECEIVED))
	if err != nil {
		return job{}, fmt.Errorf("encode filing: %w", err)
	}
	return job{id: id, payload: payload, row: row}, nil
}

func filingOf(id string, digest filing.Digest, ret *springtidev1.Return, state springtidev1.FilingState) *springtidev1.Filing {
	return &springtidev1.Filing{
		FilingId: id, State: state, Digest: digest.String(),
		Form: ret.GetForm(), Edition: ret.GetEdition(), Period: ret.GetPeriod(), Taxpayer: ret.GetTaxpayer(), Authority: ret.GetAuthority(),
	}
}

func (d *door) GetFiling(ctx context.Context, req *springtidev1.GetFilingRequest) (*springtidev1.GetFilingResponse, error) {
	resp, err := d.BatchGetFilings(ctx, &springtidev1.BatchGetFilingsRequest{FilingIds: []string{req.GetFilingId()}})
	switch {
	case err != nil:
		return nil, err
	case len(resp.GetFilings()) == 0:
		return nil, status.Error(codes.NotFound, "no such filing")
	}
	return &springtidev1.GetFilingResponse{Filing: resp.GetFilings()[0]}, nil
}

func (d *door) BatchGetFilings(ctx context.Context, req *springtidev1.BatchGetFilingsRequest) (*springtidev1.BatchGetFilingsResponse, error) {
	rows, err := d.queue.Rows(ctx, req.GetFilingIds())
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	resp := &springtidev1.BatchGetFilingsResponse{}
	for i, row := range rows {
		if row == nil {
			resp.Missing = append(resp.Missing, req.GetFilingIds()[i])
			continue
		}
		f := &springtidev1.Filing{}
		if err := proto.Unmarshal(row, f); err != nil {
			return nil, status.Error(codes.Internal, "decode filing: "+err.Error())
		}
		resp.Filings = append(resp.Filings, f)
	}
	return resp, nil
}

// serve answers calls on an address until ctx ends.
func (d *door) serve(ctx context.Context, address string) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("front door: %w", err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
	springtidev1.RegisterFilingServiceServer(server, d)
	stop := context.AfterFunc(ctx, server.GracefulStop)
	defer stop()
	return server.Serve(l)
}
