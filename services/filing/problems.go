package filing

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Category is what kind of failure a problem is; the front door maps it to a
// gRPC code. The order is not part of any interface.
type Category uint8

// The categories.
const (
	CategoryInternal Category = iota
	// CategoryUnauthenticated: nobody we know.
	CategoryUnauthenticated
	// CategoryPermission: known, but not allowed.
	CategoryPermission
	// CategoryNotFound: missing, or somebody else's; the two are not told apart.
	CategoryNotFound
	// CategoryInvalid: the request is wrong whatever the state of the world.
	CategoryInvalid
	// CategoryExists: another filing holds the place.
	CategoryExists
	// CategoryPrecondition: the filing is in the wrong state for this.
	CategoryPrecondition
	// CategoryUnavailable: ours, passing; nothing was promised.
	CategoryUnavailable
	// CategoryUnknown: ours; whether it took effect is not known, and asking again is safe.
	CategoryUnknown
	// CategoryExhausted: the caller's own limit.
	CategoryExhausted
	// CategoryUnimplemented: not built yet.
	CategoryUnimplemented
)

// A Problem is one entry of the catalogue of errors: a stable reason and what
// to tell a person about it. Texts may change, a reason may not. {name} in a
// text stands for the argument of that name.
type Problem struct {
	// Reason in UPPER_SNAKE, as in google.rpc.ErrorInfo.
	Reason   string
	Category Category
	// Zh and En say what happened.
	Zh, En string
	// FixZh and FixEn say what to do.
	FixZh, FixEn string
}

// Anchor is where the problem is explained: a heading of docs/errors.md.
func (p Problem) Anchor() string { return strings.ToLower(p.Reason) }

// The reasons, in the order of the catalogue.
const (
	ReasonKeyMissing       = "KEY_MISSING"
	ReasonKeyInvalid       = "KEY_INVALID"
	ReasonKeyRevoked       = "KEY_REVOKED"
	ReasonTokenInvalid     = "TOKEN_INVALID"
	ReasonTokenExpired     = "TOKEN_EXPIRED"
	ReasonPermissionDenied = "PERMISSION_DENIED"
	ReasonTaxpayerDenied   = "TAXPAYER_DENIED"
	ReasonKeyLimited       = "KEY_LIMITED"
	ReasonSessionExpired   = "SESSION_EXPIRED"
	ReasonCodeInvalid      = "CODE_INVALID"
	ReasonCrossOrigin      = "CROSS_ORIGIN"

	ReasonRequestInvalid   = "REQUEST_INVALID"
	ReasonRequestMalformed = "REQUEST_MALFORMED"
	ReasonBodyTooLarge     = "BODY_TOO_LARGE"
	ReasonInvalidUTF8      = "INVALID_UTF8"
	ReasonFieldRequired    = "FIELD_REQUIRED"
	ReasonFieldTooLong     = "FIELD_TOO_LONG"
	ReasonFieldInvalid     = "FIELD_INVALID"
	ReasonTooManyItems     = "TOO_MANY_ITEMS"
	ReasonIDInvalid        = "ID_INVALID"
	ReasonPageTokenInvalid = "PAGE_TOKEN_INVALID"
	ReasonRequestIDReused  = "REQUEST_ID_REUSED"
	ReasonReturnTooLarge   = "RETURN_TOO_LARGE"
	ReasonBatchTooLarge    = "BATCH_TOO_LARGE"
	ReasonBatchDuplicate   = "BATCH_DUPLICATE"

	ReasonFormUnknown      = "FORM_UNKNOWN"
	ReasonEditionUnknown   = "EDITION_UNKNOWN"
	ReasonCellUnknown      = "CELL_UNKNOWN"
	ReasonAmountInvalid    = "AMOUNT_INVALID"
	ReasonPeriodInvalid    = "PERIOD_INVALID"
	ReasonTaxpayerInvalid  = "TAXPAYER_INVALID"
	ReasonAuthorityUnknown = "AUTHORITY_UNKNOWN"
	ReasonContextInvalid   = "CONTEXT_INVALID"
	ReasonAmendmentInvalid = "AMENDMENT_INVALID"

	ReasonNotFound       = "NOT_FOUND"
	ReasonFilingExists   = "FILING_EXISTS"
	ReasonNotCancellable = "NOT_CANCELLABLE"
	ReasonNotRetryable   = "NOT_RETRYABLE"
	ReasonNotAccepted    = "NOT_ACCEPTED"
	ReasonCancelPending  = "CANCEL_PENDING"
	ReasonNotReplayable  = "NOT_REPLAYABLE"

	ReasonNotInQuarantine   = "NOT_IN_QUARANTINE"
	ReasonResolutionPending = "RESOLUTION_PENDING"

	ReasonWebhookAddress = "WEBHOOK_ADDRESS"

	ReasonDraftChanged  = "DRAFT_CHANGED"
	ReasonDraftNotReady = "DRAFT_NOT_READY"
	ReasonTooManyDrafts = "TOO_MANY_DRAFTS"

	ReasonLogUnavailable      = "LOG_UNAVAILABLE"
	ReasonOutcomeUnknown      = "OUTCOME_UNKNOWN"
	ReasonOverloaded          = "OVERLOADED"
	ReasonTenantQuota         = "TENANT_QUOTA"
	ReasonViewRebuilding      = "VIEW_REBUILDING"
	ReasonViewUnavailable     = "VIEW_UNAVAILABLE"
	ReasonStarting            = "STARTING"
	ReasonIdentityUnavailable = "IDENTITY_UNAVAILABLE"
	ReasonDraining            = "DRAINING"
	ReasonNotImplemented      = "NOT_IMPLEMENTED"
	ReasonRouteUnknown        = "ROUTE_UNKNOWN"
	ReasonMethodNotAllowed    = "METHOD_NOT_ALLOWED"
	ReasonInternal            = "INTERNAL"
)

// Problems returns the whole catalogue, in the order people should read it.
// The slice is the caller's own.
func Problems() []Problem {
	var all []Problem
	for _, group := range problemGroups() {
		all = append(all, group()...)
	}
	return all
}

// ProblemOf looks a reason up. A reason that is not in the catalogue gives the
// entry of INTERNAL, so that the answer is well-formed even then; a test keeps
// the catalogue complete.
func ProblemOf(reason string) Problem {
	all := problems()
	if p, ok := all[reason]; ok {
		return p
	}
	return all[ReasonInternal]
}

// problems is the catalogue by reason. Nobody changes it.
var problems = sync.OnceValue(func() map[string]Problem {
	all := make(map[string]Problem)
	for _, group := range problemGroups() {
		for _, p := range group() {
			all[p.Reason] = p
		}
	}
	return all
})

func problemGroups() [6]func() []Problem {
	return [...]func() []Problem{accessProblems, requestProblems, returnProblems, filingProblems, officeProblems, systemProblems}
}

// Args fill the {name} places of a problem's texts. They go to whoever asked,
// never into a log: a value may quote what a person typed.
type Args map[string]string

// An Error is one occurrence of a problem. Find it in a chain with errors.As.
// It is immutable once returned.
type Error struct {
	Reason string
	// Field is the path of the offending field, such as `return.lines["1@sc"]`; empty: none.
	Field string
	Args  Args
	// Zh and En, when set, say it more precisely than the catalogue does.
	Zh, En string
	// RetryAfter is how long to wait before trying again; 0: trying again the same way is of no use.
	RetryAfter time.Duration
	// Err is the cause, for logs; it is not shown to the caller.
	Err error
}

// Error names the reason, the field and the cause, and no argument, so that a
// log line never quotes a return. What somebody typed may be part of a field's
// path, in quotes.
func (e *Error) Error() string {
	text := e.Reason
	if e.Field != "" {
		text += " at " + unquoted(e.Field)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// unquoted is a path without what it quotes.
func unquoted(path string) string {
	first, last := strings.IndexByte(path, '"'), strings.LastIndexByte(path, '"')
	if last <= first {
		return path
	}
	return path[:first+1] + "..." + path[last:]
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// Problem is the catalogue's entry.
func (e *Error) Problem() Problem { return ProblemOf(e.Reason) }

// Text is what happened and what to do, in both languages.
func (e *Error) Text() (zh, en string) {
	if e.Zh != "" && e.En != "" {
		return e.Zh, e.En
	}
	p := e.Problem()
	zh, en = p.Zh+p.FixZh, p.En
	if p.FixEn != "" {
		en += " " + p.FixEn
	}
	return fill(zh, e.Args), fill(en, e.Args)
}

// ReasonOf is the reason of the first Error in a chain; INTERNAL when there is none.
func ReasonOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ReasonInternal
}

// fill puts arguments into their places; what is not given stays as it is.
func fill(text string, args Args) string {
	if len(args) == 0 || !strings.Contains(text, "{") {
		return text
	}
	pairs := make([]string, 0, 2*len(args))
	for _, k := range slices.Sorted(maps.Keys(args)) {
		pairs = append(pairs, "{"+k+"}", args[k])
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
