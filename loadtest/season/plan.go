package season

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"springtide/loadtest/verdict"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/forms/sample"
)

// How people press the button.
const (
	// mostBatch is what fits into one batch; half of the accountants' batches are
	// smaller than usualBatch, and spread is the sigma of their logarithm.
	mostBatch  = 500
	usualBatch = 12
	spread     = 1.2
	// Of a thousand clicks so many are pressed twice, within doubleWithin.
	doubleClicks = 30
	doubleWithin = 400 * time.Millisecond
	// thinking is the least time until a wrong return is corrected; as much again is added at random.
	thinking = time.Second
)

// How a filing is followed.
type following uint8

const (
	atTheEnd following = iota // nobody looks before the end
	polled
	watched
)

// The parts of a run beside a giant.
type party uint8

const (
	anybody party = iota
	aloneParty
	besideParty
	giantParty
)

// A paper is one filing as its client knows it.
type paper struct {
	verdict.Content
	tenant int
	party  party
	follow following
	// fix is the corrected return of one with a mistake; nil: there is none.
	fix *fix
}

type fix struct {
	request []byte
	content verdict.Content
	think   time.Duration
}

// A click is one press of the button: a single return or a batch.
type click struct {
	// at is when it should leave, from the start of the run.
	at      time.Duration
	tenant  int
	batch   bool
	request []byte // encoded
	papers  []*paper
	follow  following
	// again: it repeats another one.
	again bool
}

// A plan is everything that is pressed, in order of time.
type plan struct {
	clicks  []click
	papers  []*paper
	doubled int
	// second counts the filings that should arrive in each second.
	second []int
}

// An order is a click before it has returns.
type order struct {
	at     time.Duration
	size   int
	tenant int
	party  party
}

// newPlan draws who files what and when. The names are those of the tenants.
func newPlan(cfg Config, tenants []string) (*plan, error) {
	dice := rand.New(rand.NewPCG(cfg.Seed, 0x5ea5))
	var orders []order
	if cfg.Giant > 0 {
		orders = besideGiant(cfg, dice)
	} else {
		orders = alongCurve(cfg, dice)
	}
	slices.SortStableFunc(orders, func(a, b order) int { return int(a.at - b.at) })
	n := 0
	for _, o := range orders {
		n += o.size
	}
	if n == 0 || n > mostFilings {
		return nil, fmt.Errorf("%d filings: must be 1 to %d; change the peak or the time", n, mostFilings)
	}
	p := &plan{second: make([]int, int(cfg.For.Seconds())+1)}
	source := newSource(cfg, n)
	for i, o := range orders {
		if err := p.press(cfg, dice, source, o, i, tenants[o.tenant]); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(p.clicks, func(a, b click) int { return int(a.at - b.at) })
	return p, nil
}

// alongCurve spreads clicks over the curve: each at a moment of its own, drawn with the
// curve's density, so that few arrivals are as uneven as they are in life; the sum is exact.
func alongCurve(cfg Config, dice *rand.Rand) []order {
	curve := NewCurve(cfg.Trace, cfg.Peak, cfg.For)
	mean := meanBatch()
	batches := cfg.Accountants / mean
	batches /= batches + 1 - cfg.Accountants // of the clicks, when this share of filings comes in batches
	var orders []order
	for left := min(curve.Total(), mostFilings+1); left > 0; {
		o := order{size: 1, at: curve.When(dice.Float64()), tenant: dice.IntN(cfg.Tenants)}
		if dice.Float64() < batches {
			o.size = min(drawBatch(dice), cfg.Batch, left)
		}
		left -= o.size
		orders = append(orders, o)
	}
	return orders
}

func drawBatch(dice *rand.Rand) int {
	n := math.Round(usualBatch * math.Exp(spread*dice.NormFloat64()))
	return int(min(max(n, 1), mostBatch))
}

// meanBatch is the mean of what drawBatch draws, near enough: its tail is cut.
func meanBatch() float64 {
	return usualBatch * math.Exp(spread*spread/2)
}

// besideGiant lets the small tenants file one return each in the first half, and one more
// in the second, at whose beginning the giant files everything. The giant is the last tenant.
func besideGiant(cfg Config, dice *rand.Rand) []order {
	var orders []order
	half := cfg.For / 2
	for i := range cfg.Small {
		at := time.Duration(dice.Int64N(int64(half * 9 / 10))) // what came last is done when the giant comes
		orders = append(orders, order{at: at, size: 1, tenant: i, party: aloneParty})
		orders = append(orders, order{at: half + at, size: 1, tenant: i, party: besideParty})
	}
	for left := cfg.Giant; left > 0; left -= mostBatch {
		orders = append(orders, order{at: half, size: min(left, mostBatch), tenant: cfg.Small, party: giantParty})
	}
	return orders
}

// press gives an order its returns.
func (p *plan) press(cfg Config, dice *rand.Rand, source *source, o order, serial int, tenant string) error {
	c := click{at: o.at, tenant: o.tenant, batch: o.size > 1}
	switch draw := dice.Float64(); {
	case o.party == aloneParty || o.party == besideParty, draw < cfg.Watchers:
		c.follow = watched
	case draw < cfg.Watchers+cfg.Pollers:
		c.follow = polled
	}
	requests := make([]*springtidev1.SubmitFilingRequest, o.size)
	for i := range requests {
		r, corrected, err := source.next()
		if err != nil {
			return err
		}
		requests[i] = &springtidev1.SubmitFilingRequest{Return: r, RequestId: fmt.Sprintf("season-%d-%d-%d", cfg.Seed, serial, i)}
		a := &paper{Content: contentOf(tenant, r), tenant: o.tenant, party: o.party, follow: c.follow}
		if corrected != nil {
			again := &springtidev1.SubmitFilingRequest{Return: corrected, RequestId: requests[i].GetRequestId() + "-corrected"}
			request, err := encode(again)
			if err != nil {
				return err
			}
			a.fix = &fix{request: request, content: contentOf(tenant, corrected), think: thinking + time.Duration(dice.Int64N(int64(thinking)))}
			a.follow = max(a.follow, polled) // who made a mistake looks
		}
		c.papers = append(c.papers, a)
	}
	var message proto.Message = requests[0]
	if c.batch {
		message = &springtidev1.SubmitFilingBatchRequest{Requests: requests, RequestId: fmt.Sprintf("season-%d-%d", cfg.Seed, serial), Title: "season"}
	}
	var err error
	if c.request, err = encode(message); err != nil {
		return err
	}
	p.clicks, p.papers = append(p.clicks, c), append(p.papers, c.papers...)
	p.second[min(int(c.at.Seconds()), len(p.second)-1)] += o.size
	if o.party == anybody && dice.IntN(1000) < doubleClicks {
		p.doubled++
		c.again, c.follow, c.at = true, atTheEnd, c.at+time.Duration(dice.Int64N(int64(doubleWithin)))
		p.clicks = append(p.clicks, c)
	}
	return nil
}

// encode encodes a request, the same one to the same bytes.
func encode(m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// contentOf is a return as the oracle knows it.
func contentOf(tenant string, r *springtidev1.Return) verdict.Content {
	id := filing.IDOf(tenant, r)
	c := verdict.Content{
		Filing: string(id), Digest: filing.DigestOf(r).String(), Authority: r.GetAuthority(), Taxpayer: r.GetTaxpayer().GetId(),
		Form: r.GetForm(), Period: r.GetPeriod().GetStart() + "/" + r.GetPeriod().GetEnd(), Ref: id.Ref(),
	}
	if key, ok := r.GetContext()["periodKey"]; ok { // HMRC knows periods by their key, and no reference
		c.Period, c.Ref = strings.Clone(key), ""
	}
	return c
}

// A source invents returns, a sample firm at a time, so that they need not all be
// in memory: of what is filed only the encoded request stays.
type source struct {
	cfg   Config
	size  int // of a firm
	firm  *sample.Firm
	right *sample.Firm // the same without mistakes; nil: the firm has none
	at    int
	firms int
}

// mostFirms is how many firms in a row share no client, by the word of package sample.
const mostFirms = 700

// seedStep keeps the firms of neighbouring seeds apart, as long as there are fewer of them.
const seedStep = 131

func newSource(cfg Config, n int) *source {
	return &source{cfg: cfg, size: max(500, (n+mostFirms-1)/mostFirms)}
}

// next gives a return, and the corrected one if it has a mistake.
func (s *source) next() (r, corrected *springtidev1.Return, err error) {
	if s.firm == nil || s.at == len(s.firm.Returns) {
		c := sample.Config{
			Seed: s.cfg.Seed*seedStep + uint64(s.firms), Clients: s.size,
			MistakesPerThousand: s.cfg.Mistakes, DeregisteredPerThousand: s.cfg.Deregistered,
		}
		if s.firm, err = sample.New(c); err != nil {
			return nil, nil, err
		}
		s.right = nil
		if len(s.firm.Mistakes) > 0 {
			c.MistakesPerThousand, c.DeregisteredPerThousand = 0, 0
			if s.right, err = sample.New(c); err != nil {
				return nil, nil, err
			}
		}
		s.at, s.firms = 0, s.firms+1
	}
	i := s.at
	s.at++
	if _, wrong := s.firm.Mistakes[i]; wrong {
		corrected = s.right.Returns[i]
	}
	return s.firm.Returns[i], corrected, nil
}
