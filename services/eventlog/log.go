package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// Log is a connection to the event log. It is safe for concurrent use.
type Log struct {
	cfg     Config
	addr    net.Addr
	log     *slog.Logger
	metrics *metrics
	conns   *conns
	client  *kafka.Client
	topics  map[string]*topic
	leaders leaders
	// adopt: no partition count was asked for.
	adopt bool

	// spawn runs f on a goroutine that Close waits for; its context ends when
	// the Log stops flushing.
	spawn        func(f func(context.Context))
	newTransport func() *kafka.Transport
	stop         context.CancelFunc
	group        sync.WaitGroup // couriers
	// follow is spawn for what ends with the Log rather than with its work; false: it was closed.
	follow    func(f func(context.Context)) bool
	following sync.WaitGroup // tails

	mu       sync.Mutex
	closed   bool
	couriers map[int32]*courier // by broker
	tails    map[int32]*tail    // by broker
}

// topic is what the Log knows of one of its topics.
type topic struct {
	spec
	full      string // name on the broker
	step      string // of a trace: an append to it
	appenders []*appender
}

const (
	metadataTTL  = 2 * time.Second
	callTimeout  = 10 * time.Second
	closePatient = 5 * time.Second
)

// Open connects to the log, creates the topics that are missing and checks
// those that exist. It waits for brokers that are still starting, within ctx
// and Config.StartTimeout. Topics that would break the promise (another
// partition count, too short a retention, ...) are refused with ErrUnfit, each
// with what was found, what is wanted and how to fix it.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	adopt := cfg.Partitions == 0
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("event log: %w", err)
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &Log{
		cfg:     cfg,
		addr:    kafka.TCP(cfg.Brokers...),
		log:     cfg.Logger.With("component", "eventlog"),
		metrics: newMetrics(cfg.Registerer),
		conns:   newConns(),
		adopt:   adopt,
		stop:    stop,

		couriers: make(map[int32]*courier),
		tails:    make(map[int32]*tail),
	}
	l.spawn = func(f func(context.Context)) { l.group.Go(func() { f(life) }) }
	l.follow = func(f func(context.Context)) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.closed {
			l.following.Go(func() { f(life) })
		}
		return !l.closed
	}
	l.newTransport = func() *kafka.Transport { return l.transport(life) }
	l.layOut()
	l.metrics.expect(specs(cfg))
	if err := l.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open event log: %w", err), l.Close())
	}
	return l, nil
}

// layOut makes the topics of the configured partition count. It is called before
// anybody else has the log.
func (l *Log) layOut() {
	l.topics = make(map[string]*topic)
	for _, s := range specs(l.cfg) {
		t := &topic{spec: s, full: l.cfg.Prefix + s.name, step: "append " + s.name}
		for p := range s.partitions {
			t.appenders = append(t.appenders, newAppender(l, t, p))
		}
		l.topics[s.name] = t
	}
}

// start tries until the cluster answers and the topics are as they should be.
func (l *Log) start(ctx context.Context) error {
	deadline := time.Now().Add(l.cfg.StartTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	var last error
	for attempt := 0; ; attempt++ {
		left := time.Until(deadline)
		pause := backoff(attempt)
		if attempt > 0 {
			if left < 2*pause {
				return fmt.Errorf("no Kafka at %s: %w", strings.Join(l.cfg.Brokers, ","), last)
			}
			if err := sleep(ctx, pause); err != nil {
				return fmt.Errorf("no Kafka at %s: %w (%w)", strings.Join(l.cfg.Brokers, ","), last, err)
			}
		}
		// A fresh transport each time: one that saw a failure keeps
		// answering with it until its next look at the cluster.
		transport := l.newTransport()
		l.client = &kafka.Client{Addr: l.addr, Transport: transport}
		try, cancel := context.WithTimeout(ctx, max(min(left*9/10, callTimeout), 10*time.Millisecond))
		err := l.ensureTopics(try)
		cancel()
		if err == nil {
			return nil
		}
		transport.CloseIdleConnections()
		if errors.Is(err, ErrUnfit) || ctx.Err() != nil {
			return err
		}
		last = err
		l.log.DebugContext(ctx, "waiting for the broker", "attempt", attempt, "error", err)
	}
}

// transport makes a connection pool whose goroutines end with life, even if a
// late call should open it again.
func (l *Log) transport(life context.Context) *kafka.Transport {
	names := make([]string, 0, len(l.topics))
	for _, t := range l.topics {
		names = append(names, t.full)
	}
	return &kafka.Transport{
		Context:        life,
		Dial:           l.conns.dial,
		ClientID:       clientID,
		MetadataTTL:    metadataTTL,
		MetadataTopics: names,
		TLS:            l.cfg.TLS,
		SASL:           l.cfg.sasl(),
	}
}

// Partitions is the frozen partition count P of the keyed topics.
func (l *Log) Partitions() int { return l.cfg.Partitions }

// PartitionsOf is the partition count of any topic: P, or 1 for the two small
// ones, or 0 for a topic that the log does not have.
func (l *Log) PartitionsOf(name string) int {
	if t := l.topics[name]; t != nil {
		return t.partitions
	}
	return 0
}

// Close waits for the appends that were accepted, then closes every
// connection. Members must have left and readers are cut off. It is safe to
// call twice.
func (l *Log) Close() error {
	l.mu.Lock()
	was := l.closed
	l.closed = true
	l.mu.Unlock()
	if was {
		return nil
	}
	l.group.Wait()
	l.stop()
	l.following.Wait()
	if l.client != nil {
		if t, ok := l.client.Transport.(*kafka.Transport); ok {
			t.CloseIdleConnections()
		}
	}
	if err := l.conns.shut(closePatient); err != nil {
		return fmt.Errorf("close event log: %w", err)
	}
	return nil
}

// find resolves a topic and partition.
func (l *Log) find(name string, partition int) (*topic, error) {
	t := l.topics[name]
	if t == nil || partition < 0 || partition >= t.partitions {
		return nil, fmt.Errorf("%w: %s/%d", ErrUnknownPartition, name, partition)
	}
	return t, nil
}

// again calls f until it succeeds, fails for good, or has failed ten times, in some three seconds:
// the first calls after a broker's restart meet dead pooled connections, and a topic that was
// just made has no leaders yet.
func (l *Log) again(ctx context.Context, f func(context.Context) error) error {
	for attempt := 0; ; attempt++ {
		try, cancel := context.WithTimeout(ctx, callTimeout)
		err := f(try)
		cancel()
		if err == nil || attempt == 10 || ctx.Err() != nil || !retriable(err) {
			return err
		}
		if err := sleep(ctx, backoff(attempt)); err != nil {
			return err
		}
	}
}

// retriable tells whether an error may go away by itself. Everything that is
// not a broker's verdict (a cut connection, a leader that is not known yet) may.
func retriable(err error) bool {
	var code kafka.Error
	if errors.As(err, &code) {
		return code.Temporary() || code == kafka.Unknown || code == kafka.BrokerNotAvailable
	}
	return true
}

// backoff doubles from 5 ms to half a second, with jitter.
func backoff(attempt int) time.Duration {
	d := 5 * time.Millisecond << min(attempt, 7)
	d = min(d, 500*time.Millisecond)
	return d/2 + rand.N(d/2)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
