package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"springtide/services/filing"
	"springtide/services/keys"
)

// handler puts the routes together, and what every request goes through.
func (s *Server) handler() (http.Handler, error) {
	mux := http.NewServeMux()
	mux.Handle("/v1/", s.api)
	mux.HandleFunc("GET /v1/filings/{filing_id}", s.poll)
	mux.HandleFunc("GET /v1/events", s.events)
	mux.HandleFunc("GET /v1/operations/overview:watch", s.overviews)
	mux.HandleFunc(importPattern, s.imports)
	for _, kind := range []string{".csv", ".xlsx"} {
		mux.HandleFunc("GET /v1/exports/filings"+kind, s.exportFilings)
		mux.HandleFunc("GET /v1/exports/drafts"+kind, s.exportDrafts)
	}
	mux.HandleFunc("POST /v1/session", s.createSession)
	mux.HandleFunc("GET /v1/session", s.getSession)
	mux.HandleFunc("DELETE /v1/session", s.deleteSession)
	mux.HandleFunc("GET "+problemPath+"{reason}", s.serveProblem)
	mux.HandleFunc("GET /login", s.login)
	mux.HandleFunc("GET /openapi.json", s.serveDocument)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-s.draining:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			w.WriteHeader(http.StatusOK)
		}
	})
	for _, m := range s.deps.Mounts {
		mux.Handle(m.Pattern, s.mounted(m))
	}
	mux.Handle("GET /{$}", s.pages)
	mux.Handle("GET /ops", s.pages)
	mux.Handle("GET /assets/", s.pages)
	mux.HandleFunc("/", s.nothing)
	zip, err := gzhttp.NewWrapper(gzhttp.MinSize(worthZipping), gzhttp.ContentTypes([]string{"application/json"}))
	if err != nil {
		return nil, fmt.Errorf("compression: %w", err)
	}
	return zip(s.guarded(s.sameOrigin(s.withSession(s.bounded(mux, bodyBounds(s.deps.Mounts)))))), nil
}

// nothing answers where there is nothing.
func (s *Server) nothing(w http.ResponseWriter, r *http.Request) {
	s.fail(w, r, &filing.Error{Reason: filing.ReasonRouteUnknown})
}

// worthZipping is the length from which compression saves more than it costs: one packet.
const worthZipping = 1400

// bodyBounds are the bounds of what has its own, by pattern.
func bodyBounds(mounts []Mount) map[string]int64 {
	own := map[string]int64{importPattern: maxImport}
	for _, m := range mounts {
		if m.MaxBody > 0 {
			own[m.Pattern] = m.MaxBody
		}
	}
	return own
}

// guarded sets what every answer carries and keeps a panic from ending the process.
func (s *Server) guarded(next http.Handler) http.Handler {
	// Nobody writes into these: they are the same for every answer.
	noSniff, noReferrer, deny := []string{"nosniff"}, []string{"no-referrer"}, []string{"DENY"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["X-Content-Type-Options"], h["Referrer-Policy"], h["X-Frame-Options"] = noSniff, noReferrer, deny
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		t := &tracked{ResponseWriter: w}
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares it this way
				panic(v)
			}
			s.deps.Logger.ErrorContext(r.Context(), "panic", "method", r.Method, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			if !t.begun {
				s.fail(t, r, &filing.Error{Reason: filing.ReasonInternal})
			}
		}()
		next.ServeHTTP(t, r)
	})
}

// sameOrigin refuses what a browser was made to send by another site.
func (s *Server) sameOrigin(next http.Handler) http.Handler {
	p := http.NewCrossOriginProtection()
	p.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, &filing.Error{Reason: filing.ReasonCrossOrigin})
	}))
	return p.Handler(next)
}

// withSession lets a session stand for the key in it, where no key is given.
func (s *Server) withSession(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" && !strings.HasPrefix(r.URL.Path, "/assets/") {
			token, _, err := s.sessionOf(r)
			if err != nil {
				s.setCookie(w, r, "", time.Unix(1, 0)) // it will never count again
			}
			if token != "" {
				r = r.Clone(r.Context())
				r.Header.Set("Authorization", "Bearer "+token)
			}
		}
		next.ServeHTTP(w, r)
	})
}

// bounded caps the body of a request that has one.
func (s *Server) bounded(mux *http.ServeMux, own map[string]int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			mux.ServeHTTP(w, r)
			return
		}
		_, pattern := mux.Handler(r)
		most := s.cfg.MaxBody
		if n := own[pattern]; n > 0 {
			most = n
		}
		r.Body = &capped{ReadCloser: http.MaxBytesReader(w, r.Body, most), most: most, over: r.ContentLength > most}
		if r.ContentLength > most {
			s.fail(w, r, nil)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// capped remembers that a body was larger than allowed, whatever became of the error.
type capped struct {
	io.ReadCloser
	most int64
	over bool
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if _, ok := err.(*http.MaxBytesError); ok { //nolint:errorlint // MaxBytesReader returns it bare
		c.over = true
	}
	return n, err
}

type identityKey struct{}

// IdentityOf is who makes the request of a Mount.
func IdentityOf(ctx context.Context) keys.Identity {
	id, _ := ctx.Value(identityKey{}).(keys.Identity)
	return id
}

// mounted authenticates before somebody else's handler is called.
func (s *Server) mounted(m Mount) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := s.authenticated(r, m.Roles)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		m.Handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, id)))
	})
}

// Fail lets a Mount answer with a problem.
func (s *Server) Fail(w http.ResponseWriter, r *http.Request, err error) { s.fail(w, r, err) }

// tracked remembers whether an answer has begun.
type tracked struct {
	http.ResponseWriter
	begun bool
}

func (t *tracked) WriteHeader(code int) {
	t.begun = true
	t.ResponseWriter.WriteHeader(code)
}

func (t *tracked) Write(p []byte) (int, error) {
	t.begun = true
	return t.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (t *tracked) Unwrap() http.ResponseWriter { return t.ResponseWriter }
