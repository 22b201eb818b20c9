package season

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"springtide/loadtest/verdict"
)

// schema of run.json; it changes when a reader would be misled.
const schema = 1

// A Report is all that a run showed. Times are in seconds unless a name says otherwise.
type Report struct {
	Schema  int     `json:"schema"`
	Verdict Verdict `json:"verdict"`
	// Exit is the exit code that follows from the rest.
	Exit    int     `json:"exit"`
	Trace   string  `json:"trace"`
	Servers string  `json:"servers"`
	Peak    float64 `json:"peak"`
	For     float64 `json:"for"`
	// Warm is for how long from the start nothing counted as a time, in seconds.
	Warm     float64   `json:"warm,omitempty"`
	Seed     uint64    `json:"seed"`
	Started  time.Time `json:"started"`
	Machine  Machine   `json:"machine"`
	Schedule Schedule  `json:"schedule"`
	SLO      []Check   `json:"slo"`
	Counts   Counts    `json:"counts"`
	// Ack is from the moment a request should have left until its answer was there, by request.
	Ack Quantiles `json:"ack"`
	// Accepted is from the moment the click should have left until ACCEPTED was in the
	// ledger, by the system's clock, by filing.
	Accepted Quantiles `json:"time_to_accepted"`
	// Seen is the same until a client was told on a stream; only filings that were watched.
	Seen Quantiles `json:"time_to_seen"`
	// Staleness is from a state's coming about until a client was told: on a stream, and as an
	// answer to who asked when told to ask.
	Staleness       Quantiles `json:"staleness"`
	StalenessPolled Quantiles `json:"staleness_polled"`
	// DrainSeconds is from the last arrival until everything had ended.
	DrainSeconds float64 `json:"drain_seconds"`
	// MostOpen is the most filings that were acknowledged and had not ended; OldestSeconds the
	// longest that one of them had waited; MostLag the most records a group was behind.
	MostOpen      int                `json:"most_open"`
	OldestSeconds float64            `json:"oldest_seconds"`
	MostLag       map[string]float64 `json:"most_lag"`
	// Busiest is the most in one second.
	Busiest  Busiest           `json:"busiest"`
	Reaction *Reaction         `json:"scaler,omitempty"`
	Cost     Cost              `json:"cost"`
	Fairness *Fairness         `json:"fairness,omitempty"`
	ETA      *Statements       `json:"eta,omitempty"`
	Faults   []Fault           `json:"faults,omitempty"`
	Refusals map[string]int    `json:"refusals,omitempty"`
	Findings []verdict.Finding `json:"findings,omitempty"`
	// Blocks are parts of the run of equal length, for comparisons.
	Blocks []Block `json:"blocks"`

	seconds  []second
	ack      *hdrhistogram.Histogram
	accepted *hdrhistogram.Histogram
	evidence verdict.Evidence
}

// A Verdict is what became of the promise and of the run as a whole. Counts are of filings.
type Verdict struct {
	// Pass: the promise was kept, the schedule too, and the SLO was met.
	Pass        bool `json:"pass"`
	Lost        int  `json:"lost"`
	Twice       int  `json:"twice"`
	WronglyTold int  `json:"wrongly_told"`
	Backwards   int  `json:"backwards"`
	Altered     int  `json:"altered"`
	Stray       int  `json:"stray"`
	Unfinished  int  `json:"unfinished"`
	// NoLastWord is how many filings nobody could be asked about at the end.
	NoLastWord int `json:"no_last_word"`
}

// Kept reports that the promise was kept.
func (v Verdict) Kept() bool {
	return v.Lost+v.Twice+v.WronglyTold+v.Backwards+v.Altered+v.Stray+v.Unfinished+v.NoLastWord == 0
}

// Machine is where the run took place; the load test and what it started shared it.
type Machine struct {
	OS, Arch, Go string
	CPUs         int
}

// A Schedule says whether the generator was on time itself.
type Schedule struct {
	OnTime bool `json:"on_time"`
	// LateP50, LateP99 and LateMax are how late requests left.
	LateP50 float64 `json:"late_p50"`
	LateP99 float64 `json:"late_p99"`
	LateMax float64 `json:"late_max"`
	Limit   float64 `json:"limit"`
}

// Counts are of filings, except Clicks, Doubled, Polls and Streams.
type Counts struct {
	Planned    int `json:"planned"`
	Clicks     int `json:"clicks"`
	Doubled    int `json:"doubled"`
	Corrected  int `json:"corrected"`
	Acked      int `json:"acked"`
	Refused    int `json:"refused"`
	Unanswered int `json:"unanswered"`
	Accepted   int `json:"accepted"`
	Rejected   int `json:"rejected"`
	Invalid    int `json:"invalid"`
	Attention  int `json:"needs_attention"`
	Open       int `json:"open"`
	Polls      int `json:"polls"`
	Streams    int `json:"streams"`
	// Before is how many were filed before the run; only a target has such.
	Before int `json:"filed_before"`
}

// Busiest is the most in any one second.
type Busiest struct {
	Planned  int `json:"planned"`
	Acked    int `json:"acked"`
	Accepted int `json:"accepted"`
}

// Quantiles of a time in seconds.
type Quantiles struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	Max   float64 `json:"max"`
}

// Reaction is how the scaler followed: from the first arrivals until it had a consumer more.
type Reaction struct {
	// WantedSeconds is until it wanted one, ReadySeconds until one was ready; MostReady the most there were.
	WantedSeconds float64 `json:"wanted_seconds"`
	ReadySeconds  float64 `json:"ready_seconds"`
	MostReady     float64 `json:"most_ready"`
	// Started is how many workers were started, as far as a look a second shows.
	Started float64 `json:"started"`
	// RestedSeconds is from the end of the last filing until no worker ran; -1: some did to the end.
	RestedSeconds float64 `json:"rested_seconds"`
	// Course are the changes of how many workers ran.
	Course []Crew `json:"course,omitempty"`
}

// A Crew is how many workers ran, or were starting or draining, from a second on.
type Crew struct {
	Second  float64 `json:"second"`
	Running float64 `json:"running"`
}

// Cost is what the run took until everything had ended.
type Cost struct {
	Seconds float64 `json:"seconds"`
	// WorkerSeconds of all groups, and where the figure is from.
	WorkerSeconds float64            `json:"worker_seconds"`
	WorkerSource  string             `json:"worker_source,omitempty"`
	Groups        map[string]float64 `json:"worker_seconds_by_group,omitempty"`
	// CPUPer1000 is of the product's own processes for 1,000 filings that ended; an embedded
	// broker and Redis are part of them. WithServers adds Kafka and Redis. The simulated
	// authority and the load test itself count in neither.
	CPUSeconds            float64       `json:"cpu_seconds"`
	CPUPer1000            float64       `json:"cpu_seconds_per_1000"`
	CPUPer1000WithServers float64       `json:"cpu_seconds_per_1000_with_servers"`
	OwnCPUSeconds         float64       `json:"own_cpu_seconds"`
	Processes             []ProcessCost `json:"processes,omitempty"`
}

// ProcessCost is one process's part of it.
type ProcessCost struct {
	Name       string  `json:"name"`
	Kind       string  `json:"kind"`
	CPUSeconds float64 `json:"cpu_seconds"`
	PeakBytes  int64   `json:"peak_bytes"`
}

// Fairness is the small tenants' time to accepted without a giant and beside one.
type Fairness struct {
	Alone  Quantiles `json:"alone"`
	Beside Quantiles `json:"beside"`
	// AckAlone and AckBeside are the part of it until the acknowledgement.
	AckAlone  Quantiles `json:"ack_alone"`
	AckBeside Quantiles `json:"ack_beside"`
	// Ratio is Beside.P99 over Alone.P99.
	Ratio float64 `json:"ratio"`
	// Giant is its filings, GiantSeconds from its press until the last of them had ended.
	Giant        int     `json:"giant"`
	GiantSeconds float64 `json:"giant_seconds"`
}

// Statements compare when filings ended with the first range that clients were told for it.
type Statements struct {
	// Told is how many filings had a range before they ended; Inside ended in it.
	Told   int `json:"told"`
	Inside int `json:"inside"`
	Sooner int `json:"sooner"`
	Later  int `json:"later"`
	// Share is Inside of Told, 0 to 1; WidthP50 the ranges' median width.
	Share    float64 `json:"share"`
	WidthP50 float64 `json:"width_p50"`
}

// A Block is a part of the run: what was pressed in it, whenever it was answered.
type Block struct {
	Filings int     `json:"filings"`
	CPU     float64 `json:"cpu_seconds"`
	// Ack and Accepted count times by their bucket; see [bucket].
	Ack      map[int]int64 `json:"ack"`
	Accepted map[int]int64 `json:"accepted"`
}

// The exit codes.
const (
	ExitPass     = 0
	ExitSLO      = 2
	ExitBroken   = 3
	ExitSchedule = 4
)

// settle draws the conclusions. What breaks the promise beats a late generator, which
// beats an SLO: figures of a void run are not held against anybody.
func (r *Report) settle(slo SLO) {
	r.SLO = slo.Check(r)
	r.Exit = ExitPass
	for _, c := range r.SLO {
		if !c.Pass {
			r.Exit = ExitSLO
		}
	}
	if !r.Schedule.OnTime {
		r.Exit = ExitSchedule
	}
	if !r.Verdict.Kept() {
		r.Exit = ExitBroken
	}
	r.Verdict.Pass = r.Exit == ExitPass
}

// histogram holds microseconds up to a day, three digits exact.
func histogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(24*time.Hour/time.Microsecond), 3)
}

func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(max(0, min(d.Microseconds(), h.HighestTrackableValue()))) // within its bounds
}

func quantiles(h *hdrhistogram.Histogram) Quantiles {
	at := func(p float64) float64 { return float64(h.ValueAtPercentile(p)) / 1e6 }
	q := Quantiles{Count: h.TotalCount(), P50: at(50), P90: at(90), P95: at(95), P99: at(99), P999: at(99.9)}
	if q.Count > 0 {
		q.Max = float64(h.Max()) / 1e6
	}
	return q
}
