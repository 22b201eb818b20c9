package authority

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// ErrNoAuthority says that no route serves an authority's code.
var ErrNoAuthority = errors.New("no such authority")

// A Route says which connector serves an authority, or all whose code begins
// with its name: "cn" serves "cn.11" and "cn.4403", but not "cnx".
type Route struct {
	Name      string
	Connector Connector
	Guard     GuardConfig
}

// RouterDeps are what a router borrows. All may be nil.
type RouterDeps struct {
	// Tokens gives the shared token bucket of an authority; nil: each process keeps its own.
	Tokens func(code string, rate float64, burst int) Tokens
	// Registerer gets the metrics; one router per registerer.
	Registerer prometheus.Registerer
}

// A Router finds the guarded connector of an authority's code. Every code has a
// guard of its own, so that one bureau's trouble is not another's, even where
// one route serves them all. It is safe for concurrent use.
type Router struct {
	routes  map[string]Route
	deps    RouterDeps
	metrics *metrics

	mu     sync.Mutex
	guards map[string]*Guard
	paused []string // codes, or beginnings of codes
}

// maxGuards bounds memory and metric labels: codes come from what people send.
// Beyond it, further codes of a route share the route's own guard.
const maxGuards = 128

// validCode reports whether a code is words of lower-case letters and digits with dots
// between. It is asked for each look at a filing.
func validCode(code string) bool {
	inWord := false
	for _, c := range []byte(code) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			inWord = true
		case c == '.' && inWord:
			inWord = false
		default:
			return false
		}
	}
	return inWord && len(code) <= 32
}

// NewRouter refuses routes with bad names, doubles, bad guards and bad terms.
func NewRouter(routes []Route, deps RouterDeps) (*Router, error) {
	m, err := newMetrics(deps.Registerer)
	if err != nil {
		return nil, fmt.Errorf("authority router: %w", err)
	}
	r := &Router{
		routes: map[string]Route{}, deps: deps, metrics: m,
		guards: map[string]*Guard{},
	}
	for _, route := range routes {
		switch {
		case !validCode(route.Name):
			return nil, fmt.Errorf("authority router: name %q: want lower-case letters, digits and dots, such as cn.31", route.Name)
		case route.Connector == nil:
			return nil, fmt.Errorf("authority router: %s has no connector", route.Name)
		}
		if _, twice := r.routes[route.Name]; twice {
			return nil, fmt.Errorf("authority router: %s is given twice", route.Name)
		}
		r.routes[route.Name] = route
		if _, err := r.guard(route, route.Name); err != nil { // so that errors show at the start
			return nil, err
		}
	}
	return r, nil
}

// Guard finds the guard of a code: the route of that name, or the longest that
// is a prefix of it. The error wraps ErrNoAuthority.
func (r *Router) Guard(code string) (*Guard, error) {
	route, ok := r.route(code)
	if !ok {
		return nil, fmt.Errorf("%w: %.40q", ErrNoAuthority, code)
	}
	return r.guard(route, code)
}

func (r *Router) route(code string) (Route, bool) {
	if !validCode(code) {
		return Route{}, false
	}
	for name := code; ; {
		if route, ok := r.routes[name]; ok {
			return route, true
		}
		i := strings.LastIndexByte(name, '.')
		if i < 0 {
			return Route{}, false
		}
		name = name[:i]
	}
}

func (r *Router) guard(route Route, code string) (*Guard, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g, ok := r.guards[code]; ok {
		return g, nil
	}
	// One that is paused by its own name needs a guard of its own; whoever pauses bounds how many.
	if len(r.guards) >= max(maxGuards, len(r.routes)) && code != route.Name && !slices.Contains(r.paused, code) {
		return r.guards[route.Name], nil
	}
	var tokens Tokens
	if cfg := route.Guard.withDefaults(); r.deps.Tokens != nil && cfg.Quota > 0 {
		tokens = r.deps.Tokens(code, cfg.Quota, cfg.Burst)
	}
	g, err := newGuard(code, route.Connector, route.Guard, tokens, r.metrics)
	if err != nil {
		return nil, err
	}
	g.setPaused(r.isPaused(code))
	r.guards[code] = g
	return g, nil
}

// Guards lists the guards in use, by code. A route that only serves others by
// prefix is listed under its own name as well.
func (r *Router) Guards() []*Guard {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*Guard, 0, len(r.guards))
	for _, g := range r.guards {
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b *Guard) int { return cmp.Compare(a.code, b.code) })
	return all
}

// SetPaused holds back the authorities that the codes name, or begin ("cn" holds
// back "cn.31"), and lets all others go, those it has not seen yet included.
func (r *Router) SetPaused(codes ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused = slices.Clone(codes)
	for code, g := range r.guards {
		g.setPaused(r.isPaused(code))
	}
}

func (r *Router) isPaused(code string) bool {
	return slices.ContainsFunc(r.paused, func(name string) bool { return Covers(name, code) })
}

// Covers says whether a name stands for an authority: "cn" does for "cn" and "cn.31", and not for "cnx".
func Covers(name, code string) bool {
	return code == name || strings.HasPrefix(code, name+".")
}

// ValidCode says whether a text may be an authority's code.
func ValidCode(code string) bool { return validCode(code) }
