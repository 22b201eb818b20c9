// Package sim is a simulated tax authority: a real HTTP server with quotas,
// latency, faults and an append-only book of its own. It stands for the outside
// world, so it shares nothing with the connectors but the wire, and its book is
// the evidence of what was really filed. It refuses to be clever: what it
// answered is in the book before the answer leaves, synced, and survives kill -9.
//
// It serves provincial bureaus, any number at once, under /etax/{authority}/,
// HMRC's VAT contract under /organisations/vat/{vrn}/, and for tests
//
//	GET  /book     what was filed and refused, one JSON object a line, in filing order
//	GET  /faults   the fault script with counters
//	PUT  /faults   replaces it, YAML or JSON
//	GET  /quota    {"per_second": N}, what each authority bears; 0: any number
//	PUT  /quota    changes it
//	GET  /healthz  200 while it serves
//
// A bureau's class says what it does with a repetition: A answers again for a
// reference it has in its window, U refuses a second return for the same
// taxpayer, form, period and amendment, B and C file once more. B can be asked
// by reference, U by business key. HMRC is always of class U.
package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"springtide/services/authority"
	"springtide/services/filing"
)

// hmrcCode is HMRC's authority code in book and faults.
const hmrcCode = "gb.hmrc"

// Config of a simulated authority.
type Config struct {
	// Dir holds the book. Required.
	Dir string
	// Listen is the address; "": 127.0.0.1:0.
	Listen string
	// Class of the bureaus; none: B.
	Class filing.Class
	// Classes overrides it for authorities by code or prefix ("cn", "cn.31").
	Classes map[string]filing.Class
	// Latency of every request.
	Latency Latency
	// Quota is the requests a second each authority bears; 0: any number. More get 429.
	Quota float64
	// Lag is how long queries overlook a new filing.
	Lag time.Duration
	// Window is how long class A remembers a reference; 0: 24h.
	Window time.Duration
	// Faults to begin with.
	Faults Script
	// Seed of the dice; 0: 1.
	Seed uint64
	// HMRCValidate says what HMRC's own validator finds in a body, in the order
	// and with the codes it reports; empty: nothing. Nil: HMRC is not served.
	HMRCValidate func(vrn string, body []byte) []HMRCError
	// Now is the clock of windows and visibility; nil: time.Now. It exists because
	// tests cannot use synthetic time around real connections.
	Now func() time.Time
	// Logger; nil: silent.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.Class == filing.ClassNone {
		c.Class = filing.ClassB
	}
	if c.Window == 0 {
		c.Window = 24 * time.Hour
	}
	if c.Seed == 0 {
		c.Seed = 1
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("a data directory is needed"))
	}
	if c.Lag < 0 || c.Window < 0 {
		errs = append(errs, errors.New("lag and window must not be negative"))
	}
	errs = append(errs, validQuota(c.Quota))
	return errors.Join(append(errs, c.Latency.validate())...)
}

// A Server is a simulated authority. Its methods are safe for concurrent use.
type Server struct {
	cfg      Config
	book     *book
	dice     *dice
	agenda   *agenda
	listener net.Listener
	http     *http.Server
	requests atomic.Int64
	stopping chan struct{}
	stopOnce sync.Once

	mu     sync.Mutex
	quota  float64
	quotas map[string]*authority.Bucket
}

// New opens the book and the port. Call Run to serve, or Close to give up.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("authority simulator: %w", err)
	}
	b, err := openBook(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("authority simulator: %w", err)
	}
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("authority simulator: %w", err), b.close())
	}
	s := &Server{
		cfg: cfg, book: b, dice: newDice(cfg.Seed), agenda: newAgenda(), listener: listener,
		stopping: make(chan struct{}), quota: cfg.Quota, quotas: map[string]*authority.Bucket{},
	}
	s.dice.use(cfg.Faults)
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /etax/{authority}/returns", s.contract(s.bureauSubmit))
	mux.HandleFunc("GET /etax/{authority}/returns", s.contract(s.bureauQueryKey))
	mux.HandleFunc("GET /etax/{authority}/returns/{ref}", s.contract(s.bureauQueryRef))
	mux.HandleFunc("POST /organisations/vat/{vrn}/returns", s.contract(s.hmrcSubmit))
	mux.HandleFunc("GET /organisations/vat/{vrn}/returns/{periodKey}", s.contract(s.hmrcView))
	mux.HandleFunc("GET /book", s.getBook)
	mux.HandleFunc("GET /faults", s.getFaults)
	mux.HandleFunc("PUT /faults", s.putFaults)
	mux.HandleFunc("GET /quota", s.getQuota)
	mux.HandleFunc("PUT /quota", s.putQuota)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "serving"})
	})
	return mux
}

// contract counts the requests that an authority gets, as opposed to those of tests and people.
func (s *Server) contract(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		h(w, r)
	}
}

// Addr is the address it listens on, HOST:PORT.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// URL is the address as a base URL.
func (s *Server) URL() string { return "http://" + s.Addr() }

// Requests counts the submissions and queries that arrived.
func (s *Server) Requests() int64 { return s.requests.Load() }

// SetFaults replaces the fault script, like PUT /faults.
func (s *Server) SetFaults(script Script) { s.dice.use(script) }

// Run serves until the context ends, then lets requests finish for up to five
// seconds. It returns an error if it could not serve or the book could not be written.
func (s *Server) Run(ctx context.Context) error {
	if s.book.repaired > 0 {
		s.cfg.Logger.Warn("the book's last line was torn and is dropped", "bytes", s.book.repaired)
	}
	stopBook := make(chan struct{})
	bookErr := make(chan error, 1)
	go func() { bookErr <- s.book.run(stopBook) }()
	serveErr := make(chan error, 1)
	go func() { serveErr <- s.http.Serve(s.listener) }()
	if err := s.resume(); err != nil {
		s.cfg.Logger.Error("pending returns are lost", "error", err)
	}

	var errs []error
	var bookEnded, serveEnded bool
	select {
	case <-ctx.Done():
	case err := <-bookErr:
		bookEnded, errs = true, append(errs, err)
	case err := <-serveErr:
		serveEnded, errs = true, append(errs, err)
	}
	s.stop()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := s.http.Shutdown(grace); err != nil {
		errs = append(errs, s.http.Close())
	}
	if !serveEnded {
		if err := <-serveErr; !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	s.agenda.close()
	close(stopBook)
	if !bookEnded {
		errs = append(errs, <-bookErr)
	}
	return errors.Join(append(errs, s.book.close())...)
}

// Close gives up a server that was never run.
func (s *Server) Close() error {
	s.stop()
	s.agenda.close()
	return errors.Join(s.listener.Close(), s.book.close())
}

// stop wakes everything that hangs or works.
func (s *Server) stop() { s.stopOnce.Do(func() { close(s.stopping) }) }

// resume puts returns that were pending at the last stop back on the agenda.
func (s *Server) resume() error {
	pending, err := s.book.undecided()
	for _, rec := range pending {
		s.decideLater(rec)
	}
	return err
}

func (s *Server) getBook(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	if err := s.book.print(w); err != nil {
		s.cfg.Logger.Error("cannot print the book", "error", err)
	}
}

var codePattern = regexp.MustCompile(`^[a-z0-9]+(\.[a-z0-9]+)*$`)

// classOf is the class of a bureau: its own, that of its longest prefix, or the general one.
func (s *Server) classOf(code string) filing.Class {
	for name := code; ; {
		if c, ok := s.cfg.Classes[name]; ok {
			return c
		}
		i := strings.LastIndexByte(name, '.')
		if i < 0 {
			return s.cfg.Class
		}
		name = name[:i]
	}
}

// work takes the time a request takes. An authority works on although the client left.
func (s *Server) work(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.stopping:
	}
}

// An agenda is what happens later: decisions on pending returns, late filings.
type agenda struct {
	wg     sync.WaitGroup
	mu     sync.Mutex
	timers map[*time.Timer]struct{}
	closed bool
}

// maxAgenda bounds what may lie ahead; beyond it things happen at once.
const maxAgenda = 100_000

func newAgenda() *agenda { return &agenda{timers: map[*time.Timer]struct{}{}} }

// in runs f after d, unless the agenda is closed before. f runs in a goroutine of its own, which close waits for.
func (a *agenda) in(d time.Duration, f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	if len(a.timers) >= maxAgenda {
		d = 0
	}
	a.wg.Add(1)
	var t *time.Timer
	t = time.AfterFunc(max(d, 0), func() {
		defer a.wg.Done()
		a.mu.Lock()
		delete(a.timers, t)
		a.mu.Unlock()
		f()
	})
	a.timers[t] = struct{}{}
}

// close drops what lies ahead and waits for what is under way.
func (a *agenda) close() {
	a.mu.Lock()
	a.closed = true
	for t := range a.timers {
		if t.Stop() {
			a.wg.Done()
		}
	}
	a.mu.Unlock()
	a.wg.Wait()
}
