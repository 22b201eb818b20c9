package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"golang.org/x/text/language"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"springtide/services/filing"
	"springtide/services/frontdoor"
)

// A problem is the body of every answer that is an error (RFC 9457).
type problem struct {
	// Type leads to the catalogue's entry.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail is what happened and what to do, in the caller's language.
	Detail string `json:"detail"`
	// Code is the gRPC code, Reason the entry of the catalogue.
	Code     string            `json:"code"`
	Reason   string            `json:"reason"`
	Domain   string            `json:"domain"`
	Metadata map[string]string `json:"metadata,omitempty"`
	// Violations name what is wrong field by field.
	Violations []violation `json:"violations,omitempty"`
	// RetryAfterS says in how many seconds trying again may help; absent: it does not.
	RetryAfterS float64 `json:"retry_after_s,omitempty"`
}

type violation struct {
	Field       string `json:"field"`
	Reason      string `json:"reason,omitempty"`
	Description string `json:"description"`
}

const (
	problemType = "application/problem+json"
	problemPath = "/v1/problems/"
)

// callFailed writes the error of a generated handler.
func (s *Server) callFailed(
	_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error,
) {
	s.fail(w, r, err)
}

// notRouted writes the error of a path or a method that the protos do not have.
func (s *Server) notRouted(
	_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int,
) {
	switch code {
	case http.StatusMethodNotAllowed:
		s.fail(w, r, &filing.Error{Reason: filing.ReasonMethodNotAllowed, Args: filing.Args{"method": r.Method}})
	case http.StatusNotFound:
		s.fail(w, r, &filing.Error{Reason: filing.ReasonRouteUnknown})
	default:
		s.fail(w, r, &filing.Error{Reason: filing.ReasonRequestMalformed})
	}
}

// fail writes an error as a problem: one of ours, or what the door answered.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if body, ok := r.Body.(*capped); ok && body.over {
		err = &filing.Error{Reason: filing.ReasonBodyTooLarge, Args: filing.Args{"max": strconv.FormatInt(body.most, 10)}}
	}
	var p problem
	if ours, ok := errors.AsType[*filing.Error](err); ok {
		p = ofError(ours, languageOf(r))
	} else {
		p = ofStatus(status.Convert(err), languageOf(r))
	}
	if p.Status >= http.StatusInternalServerError && p.Reason == filing.ReasonInternal {
		s.deps.Logger.ErrorContext(r.Context(), "request failed", "method", r.Method, "error", err)
	}
	p.write(w, r)
}

func (p problem) write(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", problemType)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Language", languageOf(r))
	if p.RetryAfterS > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfterS))))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // whoever does not listen any more is not told
}

// ofError makes the problem of an error that the gateway found itself.
func ofError(e *filing.Error, lang string) problem {
	p := problem{Code: frontdoor.CodeOf(e.Problem().Category).String(), Reason: e.Reason, Metadata: e.Args, Domain: domain}
	p.RetryAfterS = e.RetryAfter.Seconds()
	zh, en := e.Text()
	p.Detail = pick(lang, zh, en)
	if e.Field != "" {
		p.Violations = []violation{{Field: e.Field, Reason: e.Reason, Description: p.Detail}}
	}
	p.name(lang)
	return p
}

// ofStatus makes the problem of what a call was answered.
func ofStatus(st *status.Status, lang string) problem {
	p := problem{Code: st.Code().String(), Detail: st.Message(), Domain: domain}
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			p.Reason, p.Metadata = d.GetReason(), d.GetMetadata()
		case *errdetails.LocalizedMessage:
			p.Detail = d.GetMessage()
		case *errdetails.RetryInfo:
			p.RetryAfterS = d.GetRetryDelay().AsDuration().Seconds()
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				text := v.GetDescription()
				if m := v.GetLocalizedMessage().GetMessage(); m != "" {
					text = m
				}
				p.Violations = append(p.Violations, violation{Field: v.GetField(), Reason: v.GetReason(), Description: text})
			}
		}
	}
	if p.Reason == "" { // made before the door saw it: the body or a parameter could not be read
		return unread(st, lang)
	}
	p.name(lang)
	return p
}

// unread is the problem of a request the generated handlers could not read.
func unread(st *status.Status, lang string) problem {
	e := &filing.Error{Reason: filing.ReasonInternal}
	switch st.Code() {
	case codes.InvalidArgument:
		e.Reason = filing.ReasonRequestMalformed
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable:
		e.Reason, e.RetryAfter = filing.ReasonDraining, time.Second
	case codes.Unimplemented:
		e.Reason = filing.ReasonNotImplemented
	default:
	}
	p := ofError(e, lang)
	if e.Reason == filing.ReasonRequestMalformed {
		// The reader's own words: line, column and name of what it did not expect, never a value.
		p.Violations = []violation{{Field: "body", Description: strings.TrimPrefix(strings.ReplaceAll(st.Message(), "\u00a0", " "), "proto: ")}}
	}
	return p
}

const domain = "springtide"

// name completes a problem from the catalogue.
func (p *problem) name(lang string) {
	known := filing.ProblemOf(p.Reason)
	p.Type = problemPath + p.Reason
	p.Title = pick(lang, known.Zh, known.En)
	p.Status = httpStatus(p.Reason)
}

// httpStatus is the status of a problem. Reasons that HTTP has a status of its own for come first.
func httpStatus(reason string) int {
	switch reason {
	case filing.ReasonMethodNotAllowed:
		return http.StatusMethodNotAllowed
	case filing.ReasonBodyTooLarge:
		return http.StatusRequestEntityTooLarge
	case filing.ReasonRequestIDReused:
		return http.StatusUnprocessableEntity
	case filing.ReasonDraftChanged:
		return http.StatusPreconditionFailed
	}
	switch filing.ProblemOf(reason).Category {
	case filing.CategoryUnauthenticated:
		return http.StatusUnauthorized
	case filing.CategoryPermission:
		return http.StatusForbidden
	case filing.CategoryNotFound:
		return http.StatusNotFound
	case filing.CategoryInvalid:
		return http.StatusBadRequest
	case filing.CategoryExists, filing.CategoryPrecondition:
		return http.StatusConflict
	case filing.CategoryUnavailable:
		return http.StatusServiceUnavailable
	case filing.CategoryUnknown:
		return http.StatusGatewayTimeout
	case filing.CategoryExhausted:
		return http.StatusTooManyRequests
	case filing.CategoryUnimplemented:
		return http.StatusNotImplemented
	default:
		return http.StatusInternalServerError
	}
}

// Languages we speak; Chinese answers whoever names none, English whoever names only others.
const (
	langZh = "zh-CN"
	langEn = "en"
)

func languageOf(r *http.Request) string {
	const longest = 256
	header := r.Header.Get(headerLanguage)
	if header == "" || len(header) > longest {
		return langZh
	}
	tags, _, err := language.ParseAcceptLanguage(header)
	if err != nil || len(tags) == 0 {
		return langZh
	}
	matcher := language.NewMatcher([]language.Tag{language.English, language.SimplifiedChinese})
	if _, i, confidence := matcher.Match(tags...); i == 1 && confidence > language.No {
		return langZh
	}
	return langEn
}

func pick(lang, zh, en string) string {
	if lang == langZh {
		return zh
	}
	return en
}

// serveProblem explains an entry of the catalogue: where a problem's type leads.
func (s *Server) serveProblem(w http.ResponseWriter, r *http.Request) {
	known := filing.ProblemOf(r.PathValue("reason"))
	if known.Reason != r.PathValue("reason") {
		s.fail(w, r, &filing.Error{Reason: filing.ReasonNotFound})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"type": problemPath + known.Reason, "reason": known.Reason, "status": httpStatus(known.Reason),
		"title": map[string]string{"zh": known.Zh, "en": known.En}, "fix": map[string]string{"zh": known.FixZh, "en": known.FixEn},
	})
}

// writeJSON answers with a value of ours.
func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "no-store")
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // whoever does not listen any more is not told
}
