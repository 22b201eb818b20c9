// Package sample invents accounting firms: client companies with well-formed
// numbers and plausible names, and a return for each. The same configuration
// gives the same firm, byte for byte, on every machine.
//
// It owns invented data only. Chinese taxpayer numbers carry the marker YY, so that
// anybody can tell them for invented; names are put together at random, and a
// likeness to a real company means nothing. It refuses returns that are not well
// formed: mistakes are the kind that the rules of a form find, not its shape.
package sample

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
)

// DeregisteredSuffix ends the name of a taxpayer that was struck off. Nothing in
// a return's rules knows it; an authority, real or simulated, refuses the filing.
const DeregisteredSuffix = "(已注销)"

// MostClients bounds a firm, so that firms of different seeds have clients of their own.
const MostClients = 1_000_000

// A Config describes a firm.
type Config struct {
	// Seed picks the firm. Firms whose seeds differ by less than 800 share no client.
	Seed uint64
	// Clients is how many there are, each with one return: 1 to MostClients.
	Clients int
	// Period of all returns: a calendar month or quarter. Nil: the second quarter of 2026.
	Period *springtidev1.Period
	// MistakesPerThousand is how many of a thousand returns break a rule of their form.
	MistakesPerThousand int
	// DeregisteredPerThousand is how many of a thousand pass our rules and are
	// refused by the authority, as the taxpayer was deregistered. They come out of
	// the returns without mistake, and only Chinese ones.
	DeregisteredPerThousand int
}

func (c Config) validate() (months int, err error) {
	if c.Clients < 1 || c.Clients > MostClients {
		return 0, fmt.Errorf("%d clients: want 1 to %d", c.Clients, MostClients)
	}
	if c.MistakesPerThousand < 0 || c.DeregisteredPerThousand < 0 || c.MistakesPerThousand+c.DeregisteredPerThousand > 1000 {
		return 0, errors.New("shares of mistakes and deregistered taxpayers: want 0 to 1000 together")
	}
	start, err1 := time.Parse(time.DateOnly, c.Period.GetStart())
	end, err2 := time.Parse(time.DateOnly, c.Period.GetEnd())
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("period: %w", err)
	}
	switch {
	case start.Day() == 1 && end.Equal(start.AddDate(0, 1, -1)):
		return 1, nil
	case start.Day() == 1 && start.Month()%3 == 1 && end.Equal(start.AddDate(0, 3, -1)):
		return 3, nil
	}
	return 0, fmt.Errorf("period %s to %s is no calendar month or quarter", c.Period.GetStart(), c.Period.GetEnd())
}

// A Firm is a set of returns and what is to be expected of them. The returns
// themselves tell nothing of it.
type Firm struct {
	Returns []*springtidev1.Return
	// Mistakes are the returns with a mistake, by index, with the ids of the
	// rules they break, sorted.
	Mistakes map[int][]string
	// Deregistered are the indices, ascending, of those that the authority refuses.
	Deregistered []int
}

// New invents a firm.
func New(cfg Config) (*Firm, error) {
	if cfg.Period == nil {
		cfg.Period = &springtidev1.Period{Start: "2026-04-01", End: "2026-06-30"}
	}
	months, err := cfg.validate()
	if err != nil {
		return nil, fmt.Errorf("sample firm: %w", err)
	}
	firm := &Firm{Returns: make([]*springtidev1.Return, cfg.Clients), Mistakes: map[int][]string{}}
	order := rand.New(rand.NewPCG(cfg.Seed, 0)).Perm(cfg.Clients)
	mistakes := cfg.Clients * cfg.MistakesPerThousand / 1000
	deregistered := cfg.Clients * cfg.DeregisteredPerThousand / 1000
	for place, i := range order {
		// A stream of its own for each client: the shares do not change anybody's figures.
		c := client{rand: rand.New(rand.NewPCG(cfg.Seed, uint64(i)+1)), months: months}
		c.invent(cfg, i)
		switch {
		case place < mistakes:
			firm.Mistakes[i] = []string{c.spoil()}
		case deregistered > 0 && c.ret.GetForm() != "gb.vat":
			c.ret.Taxpayer.Name += DeregisteredSuffix
			firm.Deregistered = append(firm.Deregistered, i)
			deregistered--
		}
		firm.Returns[i] = c.ret
	}
	slices.Sort(firm.Deregistered)
	return firm, nil
}

// client is one client in the making.
type client struct {
	rand   *rand.Rand
	months int
	ret    *springtidev1.Return
	kind   kind
}

// kind is what sort of return a client files; each has its own mistakes.
type kind uint8

const (
	kindExempt     kind = iota // an enterprise below the limit
	kindTaxed                  // an enterprise above the limit
	kindIndividual             // an individual business below the limit
	kindIncome                 // a prepayment of enterprise income tax
	kindBritain                // a British VAT return, of a seller abroad
)

func (c *client) invent(cfg Config, index int) {
	serial := cfg.Seed%887*MostClients + uint64(index)
	c.ret = &springtidev1.Return{
		Period:  &springtidev1.Period{Start: cfg.Period.GetStart(), End: cfg.Period.GetEnd()},
		Lines:   map[string]string{},
		Context: map[string]string{},
	}
	switch n := c.rand.IntN(100); {
	case n < 40:
		c.kind = kindExempt
	case n < 60:
		c.kind = kindTaxed
	case n < 82:
		c.kind = kindIndividual
	case n < 98:
		c.kind = kindIncome
	default:
		c.kind = kindBritain
	}
	c.taxpayer(serial)
	switch c.kind {
	case kindIncome:
		c.income()
	case kindBritain:
		c.britain()
	default:
		c.smallVAT()
	}
}
