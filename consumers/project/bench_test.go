package project

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"runtime"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"springtide/consumers/ledger"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/status"
)

// A tape is a topic's partition as a reader gives it, packed, so that it costs nothing to keep.
type tape struct {
	tb    testing.TB
	topic string
	data  []byte
	end   int64
	// next and at are where the reader is.
	next int64
	at   int
}

func (p *tape) put(key string, m proto.Message) {
	value, err := proto.Marshal(m)
	if err != nil {
		p.tb.Fatal(err)
	}
	p.data = append(append(binary.AppendUvarint(p.data, uint64(len(key))), key...), binary.AppendUvarint(nil, uint64(len(value)))...)
	p.data = append(p.data, value...)
	p.end++
}

// Next gives half a MiB, each record in memory of its own.
func (p *tape) Next(ctx context.Context) (out []eventlog.Record, err error) {
	cut := func() []byte {
		n, width := binary.Uvarint(p.data[p.at:])
		p.at += width + int(n)
		return p.data[p.at-int(n) : p.at]
	}
	for begin := p.at; p.at < len(p.data) && p.at-begin < 512<<10; p.next++ {
		key, value := cut(), cut()
		buf := append(append(make([]byte, 0, len(key)+len(value)), key...), value...)
		out = append(out, eventlog.Record{
			Topic: p.topic, Offset: p.next, Key: buf[:len(key):len(key)], Value: buf[len(key):], Time: time.Unix(1782000000, 0), Tenant: "tenant",
		})
	}
	if len(out) == 0 {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return out, nil
}

// season is the log of filings that were all accepted: everybody clicks, a few thousand
// are under way at a time.
func season(tb testing.TB, filings int) (submitted, events *tape) {
	const underWay = 5000
	begin := time.Date(2026, 7, 1, 9, 0, 0, 0, time.UTC)
	submitted, events = &tape{tb: tb, topic: eventlog.TopicSubmitted}, &tape{tb: tb, topic: eventlog.TopicLedger}
	add := func(sub *springtidev1.Submission, set func(*springtidev1.LedgerEvent)) {
		ev := ledger.NewEvent(filing.ID(sub.GetFilingId()), filing.DigestFrom(sub.GetDigest()))
		ev.Time = sub.GetReceiveTime()
		set(ev)
		events.put(sub.GetFilingId(), ev)
	}
	for from := 0; from < filings; from += underWay {
		subs := make([]*springtidev1.Submission, min(underWay, filings-from))
		for i := range subs {
			subs[i] = clickOf(from+i, begin)
			submitted.put(subs[i].GetFilingId(), subs[i])
			subs[i].Position = int64(from + i)
			add(subs[i], registered(subs[i]))
		}
		for i, sub := range subs {
			add(sub, claimed)
			add(sub, func(ev *springtidev1.LedgerEvent) {
				number, at := fmt.Sprintf("1%019d", from+i), sub.GetReceiveTime().AsTime().Add(time.Second)
				ev.Event = &springtidev1.LedgerEvent_Accepted{Accepted: &springtidev1.Accepted{Attempt: 1, Receipt: &springtidev1.Receipt{
					FilingId: sub.GetFilingId(), Number: number, Authority: "cn.11", Ref: filing.ID(sub.GetFilingId()).Ref(),
					Digest: filing.DigestFrom(sub.GetDigest()).String(), AcceptTime: timestamppb.New(at),
					Details: map[string]string{"number": number, "time": at.Format(time.RFC3339)},
				}}}
			})
		}
	}
	return submitted, events
}

func clickOf(i int, begin time.Time) *springtidev1.Submission {
	r := &springtidev1.Return{
		Form: "cn.vat.small", Edition: "2023-01", Authority: "cn.11",
		Taxpayer: &springtidev1.Taxpayer{Id: fmt.Sprintf("91110000%010d", i), Name: fmt.Sprintf("Example Trading Company %06d", i)},
		Period:   &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"},
		Lines:    map[string]string{"1@sc": fmt.Sprintf("%d.00", i), "2@sc": "0.00", "10@sc": "12.50", "15@sc": "1.00"},
	}
	tenant, digest := fmt.Sprintf("tenant-%02d", i%40), filing.DigestOf(r)
	return &springtidev1.Submission{
		SubmissionId: fmt.Sprintf("s%025d", i), FilingId: string(filing.IDOf(tenant, r)), Tenant: tenant, Subject: "li", Digest: digest[:], Return: r,
		BatchId: fmt.Sprintf("b%024d", i/500), ReceiveTime: timestamppb.New(begin.Add(time.Duration(i) * time.Millisecond)),
	}
}

// whole is a view that holds all of a log, and costs nothing.
type whole struct{ mark status.Mark }

func (v whole) Apply(context.Context, status.Batch) (status.Applied, error) {
	return status.Applied{Mark: v.mark}, nil
}

func (v whole) BeginRebuild(context.Context, int) (status.Mark, error) { return v.mark, nil }

func (v whole) FinishRebuild(context.Context, int, status.Mark, int64, int64) (status.Mark, error) {
	return v.mark, nil
}

// BenchmarkStart starts on 200,000 accepted filings of which the view holds all, and tells
// what is kept of each.
func BenchmarkStart(b *testing.B) {
	const filings = 200_000
	submitted, events := season(b, filings)
	for b.Loop() {
		b.StopTimer()
		submitted.next, submitted.at, events.next, events.at = 0, 0, 0, 0
		before := heap()
		view := whole{status.Mark{Phase: status.PhaseReady, Era: "1", Submitted: submitted.end, Ledger: events.end}}
		ctx, cancel := context.WithCancel(b.Context())
		there, ended := make(chan struct{}, 1), make(chan error, 1)
		b.StartTimer()
		cpu, begin := processor(), time.Now()
		go func() {
			ended <- Run(ctx, view, slog.New(slog.DiscardHandler), Partition{
				Submitted: submitted, Ledger: events, SubmittedEnd: submitted.end, LedgerEnd: events.end, Stored: view.mark,
				Commit: func(topic string, _ int64) {
					if topic == eventlog.TopicLedger {
						select {
						case there <- struct{}{}:
						default:
						}
					}
				},
			})
		}()
		<-there
		b.StopTimer()
		spent, used, records := time.Since(begin), processor()-cpu, float64(submitted.end+events.end)
		kept := heap() - before
		begin = time.Now()
		runtime.GC()
		b.ReportMetric(float64(time.Since(begin).Milliseconds()), "ms/collection")
		b.ReportMetric(float64(kept)/filings, "B/filing")
		b.ReportMetric(records/spent.Seconds(), "records/s")
		b.ReportMetric(float64(used.Microseconds())/records, "cpu-us/record")
		cancel()
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// heap is what is in use, after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// processor is the processor time that this process took.
func processor() time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
