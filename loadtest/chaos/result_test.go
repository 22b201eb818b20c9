package chaos

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"springtide/loadtest/verdict"
	"springtide/services/filing"
	"springtide/services/forms/sample"
)

func second(n float64) time.Time {
	return time.Date(2026, 7, 15, 9, 0, 0, 0, time.UTC).Add(time.Duration(n * float64(time.Second)))
}

// filed is a story of one filing: acknowledged, booked, told.
func filed(e *verdict.Evidence, c verdict.Content, ack, book, told float64) {
	e.Acks = append(e.Acks, verdict.Ack{Content: c, Named: c.Filing, Asked: second(ack), At: second(ack)})
	e.Book = append(e.Book, verdict.Line{
		Authority: c.Authority, Taxpayer: c.Taxpayer, Form: c.Form, Period: c.Period, Ref: c.Ref, Digest: c.Digest, Outcome: "filed", At: second(book),
	})
	e.Told = append(e.Told, verdict.Told{Filing: c.Filing, State: "ACCEPTED", Asked: second(told), At: second(told)})
}

// inPartitions finds a content for each partition asked for.
func inPartitions(t *testing.T, want ...int) []verdict.Content {
	t.Helper()
	firm, err := sample.New(sample.Config{Seed: 4, Clients: 300})
	if err != nil {
		t.Fatal(err)
	}
	out := make([]verdict.Content, len(want))
	for i, p := range want {
		for n := i; out[i].Filing == "" && n < len(firm.Returns); n += len(want) {
			if c := contentOf(firm.Returns[n]); filing.ID(c.Filing).Partition(partitions) == p {
				out[i] = c
			}
		}
		if out[i].Filing == "" {
			t.Fatalf("no return in partition %d", p)
		}
	}
	return out
}

func TestRecoveryIsOfTheSlowestPartitionThatHadWork(t *testing.T) {
	t.Parallel()
	c := inPartitions(t, 3, 3, 5, 9)
	var e verdict.Evidence
	filed(&e, c[0], 8, 11, 12)  // acknowledged before the kill: the dead process may have sent it
	filed(&e, c[1], 12, 20, 21) // partition 3 is at work again after 10 s
	filed(&e, c[2], 13, 17, 18) // partition 5 after 7 s
	filed(&e, c[3], 13, 40, 41) // another worker's partition
	kill := strike{Fault: Fault{Kind: Kill, Target: "submit2", Measured: true}, begin: second(10), held: []int{3, 5, 7}}
	other := strike{Fault: Fault{Kind: Kill, Target: "validate1"}, begin: second(12.5), held: []int{9}}
	projector := strike{Fault: Fault{Kind: Kill, Target: "project1"}, begin: second(10), held: []int{9}}
	idle := strike{Fault: Fault{Kind: Kill, Target: "submit1", Measured: true}, begin: second(39), held: []int{1}}
	measured, all := recovery([]strike{kill, other, projector, idle}, e)
	if want := (Spread{Median: 10, Max: 10, Count: 1}); measured != want {
		t.Errorf("measured: %+v, want %+v", measured, want)
	}
	if want := (Spread{Median: 10, Max: 27.5, Count: 2}); all != want {
		t.Errorf("all: %+v, want %+v", all, want)
	}
}

func TestFilingsMeetTheFaultsOfTheirOpenTime(t *testing.T) {
	t.Parallel()
	c := inPartitions(t, 1, 2, 3, 4)
	var e verdict.Evidence
	filed(&e, c[0], 1, 2, 3)    // over before the fault
	filed(&e, c[1], 1, 8, 9)    // open while it lasted
	filed(&e, c[2], 11, 12, 13) // after it
	filed(&e, c[3], 4, 6, 20)
	e.Told = e.Told[:3] // the last one was never told an end
	i := &injector{strikes: []strike{{Fault: Fault{Kind: Kill}, begin: second(5), end: second(6)}, {Fault: Fault{Kind: RedisWipe}, begin: second(5), end: second(5.1)}}}
	var r Result
	r.struck(i, e.Lives())
	if r.MetFault != 2 || r.Faults != 2 || r.Kills != 1 || r.RedisWipes != 1 {
		t.Errorf("%+v, want 2 filings that met one of 2 faults", r)
	}
}

func TestADoubledLineIsSeen(t *testing.T) {
	t.Parallel()
	var e verdict.Evidence
	filed(&e, inPartitions(t, 1)[0], 1, 2, 3)
	if v := verdict.Join(e); !v.Kept() {
		t.Fatalf("found %+v", v.Findings)
	}
	if err := plantTwice(&e, 1); err != nil {
		t.Fatal(err)
	}
	var r Result
	r.judged(e, verdict.Join(e))
	if r.Twice != 1 || !r.Broken() || r.Lost != 0 {
		t.Errorf("%+v, want one filed twice", r)
	}
	var b strings.Builder
	if err := r.Write(&b); err != nil || !strings.Contains(b.String(), "twice") {
		t.Errorf("printed with error %v:\n%s", err, b.String())
	}
	if err := plantTwice(&verdict.Evidence{}, 1); err == nil {
		t.Error("planted in an empty book")
	}
}

func TestTheClientsLogKeepsItsOrderAndAllOfIt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), logName)
	j, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	c := inPartitions(t, 1, 2, 3, 4, 5, 6, 7, 8)
	var wg sync.WaitGroup
	for _, c := range c {
		wg.Go(func() {
			if err := j.note(verdict.Entry{Offer: &c}, false); err != nil {
				t.Error(err)
			}
			if err := j.note(verdict.Entry{Ack: &verdict.Ack{Content: c, Named: c.Filing}}, true); err != nil {
				t.Error(err)
			}
			now, err := os.ReadFile(path) // what is durable is in the file before the call returns
			if err != nil || !strings.Contains(string(now), `{"ack":{"filing":"`+c.Filing) {
				t.Errorf("the acknowledgement is not there: %v", err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(j.close(), j.close()); err != nil {
		t.Error(err)
	}
	if err := j.note(verdict.Entry{Offer: &c[0]}, true); !errors.Is(err, errJournalClosed) {
		t.Errorf("wrote into a closed log: %v", err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var e verdict.Evidence
	if err := e.ReadLog(f); err != nil || len(e.Offers) != len(c) || len(e.Acks) != len(c) {
		t.Errorf("read %d offers and %d acks, error %v", len(e.Offers), len(e.Acks), err)
	}
}

func TestImpossibleRunsAreRefused(t *testing.T) {
	t.Parallel()
	good := Config{Binary: "x", Servers: Embedded, Duration: time.Minute, Rate: 1, Class: "A"}
	if err := good.validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no binary":      func(c *Config) { c.Binary = "" },
		"other servers":  func(c *Config) { c.Servers = "imaginary" },
		"too short":      func(c *Config) { c.Duration = time.Second },
		"no rate":        func(c *Config) { c.Rate = 0 },
		"no such class":  func(c *Config) { c.Class = "D" },
		"no such plant":  func(c *Config) { c.Plant = "tree" },
		"negative drain": func(c *Config) { c.Drain = -1 },
	} {
		c := good
		if spoil(&c); c.validate() == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
