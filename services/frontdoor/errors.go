package frontdoor

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// domain of every ErrorInfo.
const domain = "springtide"

// mostViolations bounds how many bad fields one answer lists.
const mostViolations = 100

// refusals are several problems of one request, each with its field.
type refusals []*filing.Error

func (r refusals) Error() string {
	texts := make([]string, len(r))
	for i, e := range r {
		texts[i] = e.Error()
	}
	return strings.Join(texts, "; ")
}

// asError is nil for no problem.
func (r refusals) asError() error {
	switch len(r) {
	case 0:
		return nil
	case 1:
		return r[0]
	default:
		return r
	}
}

// CodeOf is the one mapping from categories to gRPC codes.
func CodeOf(c filing.Category) codes.Code {
	switch c {
	case filing.CategoryUnauthenticated:
		return codes.Unauthenticated
	case filing.CategoryPermission:
		return codes.PermissionDenied
	case filing.CategoryNotFound:
		return codes.NotFound
	case filing.CategoryInvalid:
		return codes.InvalidArgument
	case filing.CategoryExists:
		return codes.AlreadyExists
	case filing.CategoryPrecondition:
		return codes.FailedPrecondition
	case filing.CategoryUnavailable:
		return codes.Unavailable
	case filing.CategoryUnknown:
		return codes.DeadlineExceeded
	case filing.CategoryExhausted:
		return codes.ResourceExhausted
	case filing.CategoryUnimplemented:
		return codes.Unimplemented
	default:
		return codes.Internal
	}
}

// problems takes an error apart into what went wrong as a whole and field by
// field. An error that is none of ours is INTERNAL.
func problems(err error) (whole *filing.Error, fields refusals) {
	if many, ok := errors.AsType[refusals](err); ok {
		whole = &filing.Error{
			Reason: filing.ReasonRequestInvalid,
			Args:   filing.Args{"count": strconv.Itoa(len(many))},
		}
		return whole, many[:min(len(many), mostViolations)]
	}
	one, ok := errors.AsType[*filing.Error](err)
	if !ok {
		return &filing.Error{Reason: filing.ReasonInternal, Err: err}, nil
	}
	if one.Field != "" {
		fields = refusals{one}
	}
	return one, fields
}

// retryAfter is how long a caller should wait; 0 where trying again is of no use.
func retryAfter(e *filing.Error) time.Duration {
	switch e.Problem().Category {
	case filing.CategoryUnavailable, filing.CategoryUnknown, filing.CategoryExhausted:
		if e.RetryAfter <= 0 {
			return time.Second
		}
	default:
	}
	return e.RetryAfter
}

// statusOf makes the answer of an error in the caller's language, as AIP-193 has it.
func (d *door) statusOf(ctx context.Context, err error) *status.Status {
	if s, ok := status.FromError(err); ok && !isOurs(err) {
		return s // made by grpc itself
	}
	if ctx.Err() != nil && !isOurs(err) { // nobody waits for it any more
		return status.FromContextError(ctx.Err())
	}
	whole, fields := problems(err)
	p := whole.Problem()
	zh, en := whole.Text()
	lang := d.languageOf(ctx)
	details := []protoadapt.MessageV1{
		&errdetails.ErrorInfo{Reason: p.Reason, Domain: domain, Metadata: whole.Args},
		localized(lang, zh, en),
	}
	if bad := badRequest(lang, fields); bad != nil && p.Category == filing.CategoryInvalid {
		details = append(details, bad)
	}
	if wait := retryAfter(whole); wait > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
		// gRFC A6: a client with a retry policy waits as long as it is told. The trailer is a hint.
		_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", strconv.FormatInt(wait.Milliseconds(), 10)))
	}
	if p.Category == filing.CategoryExhausted {
		details = append(details, &errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{{
			Subject: "tenant:" + identityOf(ctx).Tenant, Description: en,
		}}})
	}
	s := status.New(CodeOf(p.Category), en)
	if full, err := s.WithDetails(details...); err == nil {
		return full
	}
	return s
}

func isOurs(err error) bool {
	_, many := errors.AsType[refusals](err)
	_, one := errors.AsType[*filing.Error](err)
	return many || one
}

func badRequest(lang string, fields refusals) *errdetails.BadRequest {
	bad := &errdetails.BadRequest{}
	for _, e := range fields {
		zh, en := e.Text()
		bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
			Field: e.Field, Description: en, Reason: e.Reason, LocalizedMessage: localized(lang, zh, en),
		})
	}
	if len(bad.FieldViolations) == 0 {
		return nil
	}
	return bad
}

// Languages we speak; the first answers whoever names none.
const (
	langZh = "zh-CN"
	langEn = "en"
)

func localized(lang, zh, en string) *errdetails.LocalizedMessage {
	if lang == langZh {
		return &errdetails.LocalizedMessage{Locale: langZh, Message: zh}
	}
	return &errdetails.LocalizedMessage{Locale: langEn, Message: en}
}

// metaLanguage is where a caller's languages are in a call's metadata.
const metaLanguage = "accept-language"

// languageOf reads accept-language. Who names no language gets Chinese; who
// names only languages we lack gets English.
func (d *door) languageOf(ctx context.Context) string {
	const longest = 256
	values := metadata.ValueFromIncomingContext(ctx, metaLanguage)
	if len(values) == 0 || len(values[0]) > longest {
		return langZh
	}
	tags, _, err := language.ParseAcceptLanguage(values[0])
	if err != nil || len(tags) == 0 {
		return langZh
	}
	if _, i, confidence := d.languages.Match(tags...); i == 1 && confidence > language.No {
		return langZh
	}
	return langEn
}

func newLanguages() language.Matcher {
	return language.NewMatcher([]language.Tag{language.English, language.SimplifiedChinese})
}

// itemError is the refusal of one item of a batch: the first problem's field, every problem's text.
func itemError(err error) *springtidev1.ItemError {
	const mostTexts = 5
	whole, fields := problems(err)
	p := whole.Problem()
	item := &springtidev1.ItemError{
		Code: int32(CodeOf(p.Category)), Reason: p.Reason, Field: whole.Field,
		RetryAfterMs: retryAfter(whole).Milliseconds(),
	}
	zh, en := whole.Text()
	if len(fields) > 1 {
		item.Field = fields[0].Field
		for _, e := range fields[:min(len(fields), mostTexts)] {
			moreZh, moreEn := e.Text()
			zh += "\n" + e.Field + "：" + moreZh
			en += "\n" + e.Field + ": " + moreEn
		}
	}
	item.Message = &springtidev1.LocalizedText{Zh: zh, En: en}
	return item
}
