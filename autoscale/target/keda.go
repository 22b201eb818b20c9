package target

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"springtide/proto/externalscaler"
)

// MetricName is what the wanted number of replicas is called in Kubernetes.
const MetricName = "springtide-wanted"

// metadataGroup is the key of a trigger's metadata that names the group.
const metadataGroup = "group"

// kedaShutdown is how long calls in progress may hold up the end.
const kedaShutdown = 2 * time.Second

// Replicas is the wanted number of one group, which Kubernetes makes true. It
// is safe for concurrent use.
type Replicas struct {
	mu      sync.Mutex
	wanted  int
	known   bool
	changed chan struct{} // closed at the next change
}

// Scale implements the target.
func (r *Replicas) Scale(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known && r.wanted == n {
		return
	}
	r.wanted, r.known = n, true
	close(r.changed)
	r.changed = make(chan struct{})
}

// Running is unknown here: Kubernetes starts and stops.
func (r *Replicas) Running() int { return -1 }

// get gives the wanted number, whether it is known, and what is closed when that changes.
func (r *Replicas) get() (int, bool, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wanted, r.known, r.changed
}

// KEDA answers KEDA's questions about some groups. Before the first decision
// about a group it answers Unavailable, so that the replicas stay as they are.
type KEDA struct {
	externalscaler.UnimplementedExternalScalerServer
	listener net.Listener
	groups   map[string]*Replicas
	stopping chan struct{} // closed when streams have to end
}

// NewKEDA serves on a listener, which Run closes. Each group has Replicas to scale.
func NewKEDA(listener net.Listener, groups ...string) (*KEDA, error) {
	if listener == nil || len(groups) == 0 {
		return nil, errors.New("keda: a listener and at least one group are needed")
	}
	k := &KEDA{listener: listener, groups: make(map[string]*Replicas), stopping: make(chan struct{})}
	for _, g := range groups {
		k.groups[g] = &Replicas{changed: make(chan struct{})}
	}
	return k, nil
}

// Replicas of a group that was given to NewKEDA.
func (k *KEDA) Replicas(group string) *Replicas { return k.groups[group] }

// Run serves until ctx ends.
func (k *KEDA) Run(ctx context.Context) error {
	server := grpc.NewServer(
		grpc.MaxConcurrentStreams(256),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	externalscaler.RegisterExternalScalerServer(server, k)
	served := make(chan error, 1)
	go func() { served <- server.Serve(k.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("keda: %w", err)
	case <-ctx.Done():
	}
	close(k.stopping)
	stopped := time.AfterFunc(kedaShutdown, server.Stop)
	server.GracefulStop()
	stopped.Stop()
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("keda: %w", err)
	}
	return nil
}

// IsActive implements the contract: whether there should be any replica.
func (k *KEDA) IsActive(_ context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.IsActiveResponse, error) {
	n, err := k.wanted(ref)
	if err != nil {
		return nil, err
	}
	return &externalscaler.IsActiveResponse{Result: n > 0}, nil
}

// StreamIsActive implements the contract: it tells now, and at every change between none and some.
func (k *KEDA) StreamIsActive(ref *externalscaler.ScaledObjectRef, stream grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
	r, err := k.group(ref)
	if err != nil {
		return err
	}
	said, active := false, false
	for {
		n, known, changed := r.get()
		if now := n > 0; known && (!said || now != active) {
			said, active = true, now
			if err := stream.Send(&externalscaler.IsActiveResponse{Result: now}); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case <-k.stopping:
			return status.Error(codes.Unavailable, "the scaler stops")
		}
	}
}

// GetMetricSpec implements the contract: one replica for each unit.
func (k *KEDA) GetMetricSpec(_ context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	if _, err := k.group(ref); err != nil {
		return nil, err
	}
	return &externalscaler.GetMetricSpecResponse{MetricSpecs: []*externalscaler.MetricSpec{
		{MetricName: MetricName, TargetSize: 1, TargetSizeFloat: 1},
	}}, nil
}

// GetMetrics implements the contract: the wanted number of replicas.
func (k *KEDA) GetMetrics(_ context.Context, req *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	// KEDA puts a prefix of its own before the name of a metric.
	if name := req.GetMetricName(); name != "" && !strings.HasSuffix(name, MetricName) {
		return nil, status.Errorf(codes.InvalidArgument, "there is no metric %.64q, only %s", name, MetricName)
	}
	n, err := k.wanted(req.GetScaledObjectRef())
	if err != nil {
		return nil, err
	}
	return &externalscaler.GetMetricsResponse{MetricValues: []*externalscaler.MetricValue{
		{MetricName: MetricName, MetricValue: int64(n), MetricValueFloat: float64(n)},
	}}, nil
}

func (k *KEDA) wanted(ref *externalscaler.ScaledObjectRef) (int, error) {
	r, err := k.group(ref)
	if err != nil {
		return 0, err
	}
	n, known, _ := r.get()
	if !known {
		return 0, status.Error(codes.Unavailable, "nothing was measured yet: leave the replicas as they are")
	}
	return n, nil
}

// group finds what a trigger's metadata names.
func (k *KEDA) group(ref *externalscaler.ScaledObjectRef) (*Replicas, error) {
	name := ref.GetScalerMetadata()[metadataGroup]
	if r := k.groups[name]; r != nil {
		return r, nil
	}
	return nil, status.Errorf(codes.InvalidArgument, "scaled object %.64q: metadata %s is %.64q, must be one of %s",
		ref.GetName(), metadataGroup, name, strings.Join(slices.Sorted(maps.Keys(k.groups)), ", "))
}
