package etax

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/authority"
	"springtide/services/filing"
)

// Config of a connector.
type Config struct {
	// URL is the base address; "/{authority}/returns" is added. Required.
	URL string
	// Terms the bureau is used with; DefaultTerms where nothing better is known.
	Terms filing.Terms
	// MaxConns bounds the connections; 0: 256.
	MaxConns int
	// Traceparent is sent along with each request; only where the authority wants it.
	Traceparent bool
}

// DefaultTerms are cautious terms for a bureau that can be queried by reference:
// class B, a request that lost its connection takes effect within 30 s or never,
// and a query may overlook a filing for 30 s. A bureau that is down for hours is
// waited for: a person is asked only after a day without an answer, or after
// thirty sends in vain.
func DefaultTerms() filing.Terms {
	return filing.Terms{
		Class:         filing.ClassB,
		StartDeadline: 5 * time.Second,
		HTTPTimeout:   20 * time.Second,
		Processing:    30 * time.Second,
		Lag:           30 * time.Second,
		Margin:        5 * time.Second,
		Window:        24 * time.Hour,
		MaxUnknown:    30,
		MaxWait:       24 * time.Hour,
		Poll:          5 * time.Second,
		Verdict:       24 * time.Hour,
	}
}

// A Connector speaks the bureau contract. It is safe for concurrent use.
type Connector struct {
	base   string
	terms  filing.Terms
	client *authority.Client
}

// New makes a connector. It opens no connection.
func New(cfg Config) (*Connector, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.RawQuery != "" {
		return nil, fmt.Errorf("etax: base address %.80q: want for example http://127.0.0.1:9000/etax", cfg.URL)
	}
	if err := cfg.Terms.Validate(); err != nil {
		return nil, fmt.Errorf("etax: terms: %w", err)
	}
	client, err := authority.NewClient(authority.ClientConfig{Timeout: cfg.Terms.HTTPTimeout, MaxConns: cfg.MaxConns, Traceparent: cfg.Traceparent})
	if err != nil {
		return nil, fmt.Errorf("etax: %w", err)
	}
	return &Connector{base: strings.TrimSuffix(cfg.URL, "/"), terms: cfg.Terms, client: client}, nil
}

// Close gives up idle connections.
func (c *Connector) Close() { c.client.Close() }

// Terms are the terms the bureau is used with.
func (c *Connector) Terms() filing.Terms { return c.terms }

// Submit sends the return once.
func (c *Connector) Submit(ctx context.Context, f authority.Filing) authority.Outcome {
	r := f.Return
	body, err := json.Marshal(Submission{
		Ref: f.Ref, Digest: f.Digest.String(),
		Taxpayer: Taxpayer{ID: r.GetTaxpayer().GetId(), Name: r.GetTaxpayer().GetName()},
		Form:     r.GetForm(), Edition: r.GetEdition(), Amendment: r.GetAmendment(),
		Period: Period{Start: r.GetPeriod().GetStart(), End: r.GetPeriod().GetEnd()},
		Lines:  r.GetLines(), Context: r.GetContext(),
	})
	if err != nil { // strings and maps of strings always encode
		return authority.Outcome{Kind: authority.Busy, Cause: authority.CauseMisconfigured}
	}
	res, failed := c.client.Do(ctx, authority.Request{
		Method: http.MethodPost,
		URL:    c.returns(f),
		Header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}},
		Body:   body,
	})
	if failed != nil {
		return failed.Outcome()
	}
	return c.classify(f, res)
}

// classify reads the answer to a submission: documented pairs of status and
// result only, and only where they speak of this very request.
func (c *Connector) classify(f authority.Filing, res authority.Answer) authority.Outcome {
	a, err := parseAnswer(res.Body)
	if err != nil {
		return unknown(causeOf(res.Status))
	}
	switch {
	case res.Status == http.StatusOK && a.Result == ResultAccepted,
		res.Status == http.StatusAccepted && a.Result == ResultPending,
		res.Status == http.StatusUnprocessableEntity && a.Result == ResultRejected:
		if a.Ref != f.Ref || a.Digest != f.Digest.String() {
			return unknown(authority.CauseMismatch)
		}
		return settled(f, a)
	case res.Status == http.StatusBadRequest && a.Result == ResultMalformed:
		return authority.Outcome{Kind: authority.Rejected, Reasons: reasons(a)}
	case res.Status == http.StatusConflict && a.Result == ResultDuplicate:
		return unknown(authority.CauseDuplicate)
	case res.Status == http.StatusTooManyRequests && untouched(a):
		return busy(authority.CauseThrottled, res)
	case res.Status == http.StatusServiceUnavailable && untouched(a):
		return busy(authority.CauseMaintenance, res)
	default:
		return unknown(causeOf(res.Status))
	}
}

// Query asks what became of a filing.
func (c *Connector) Query(ctx context.Context, f authority.Filing) authority.Outcome {
	address := c.returns(f)
	if c.terms.Class == filing.ClassU {
		r := f.Return
		address += "?" + url.Values{
			"taxpayer": {r.GetTaxpayer().GetId()}, "form": {r.GetForm()}, "amendment": {strconv.Itoa(int(r.GetAmendment()))},
			"start": {r.GetPeriod().GetStart()}, "end": {r.GetPeriod().GetEnd()},
		}.Encode()
	} else {
		address += "/" + url.PathEscape(f.Ref)
	}
	res, failed := c.client.Do(ctx, authority.Request{
		Method: http.MethodGet, URL: address, Header: http.Header{"Accept": {"application/json"}},
	})
	if failed != nil {
		return unknown(failed.Cause)
	}
	return c.classifyQuery(f, res)
}

func (c *Connector) classifyQuery(f authority.Filing, res authority.Answer) authority.Outcome {
	a, err := parseAnswer(res.Body)
	if err != nil {
		return unknown(causeOf(res.Status))
	}
	switch {
	case res.Status == http.StatusOK && a.Result == ResultAccepted,
		res.Status == http.StatusAccepted && a.Result == ResultPending,
		res.Status == http.StatusUnprocessableEntity && a.Result == ResultRejected:
		switch {
		case a.Ref == f.Ref && a.Digest == f.Digest.String():
			return settled(f, a)
		case a.Result == ResultRejected:
			// A refusal of other content, an earlier revision for example: ours is not there.
			return c.absent()
		case a.Ref != f.Ref && c.terms.Class != filing.ClassU:
			return unknown(authority.CauseMismatch) // we asked for our own reference
		default:
			return authority.Outcome{Kind: authority.Foreign}
		}
	case res.Status == http.StatusNotFound && a.Result == ResultAbsent:
		return c.absent()
	default:
		return unknown(causeOf(res.Status))
	}
}

// absent counts only where the bureau's class says so.
func (c *Connector) absent() authority.Outcome {
	if c.terms.Class == filing.ClassB || c.terms.Class == filing.ClassU {
		return authority.Outcome{Kind: authority.Absent}
	}
	return unknown(authority.CauseNotQueryable)
}

func (c *Connector) returns(f authority.Filing) string {
	return c.base + "/" + url.PathEscape(f.Return.GetAuthority()) + "/returns"
}

func settled(f authority.Filing, a Answer) authority.Outcome {
	switch a.Result {
	case ResultAccepted:
		at, _ := a.accepted() // checked by parseAnswer
		return authority.Outcome{Kind: authority.Accepted, Receipt: &springtidev1.Receipt{
			FilingId: string(f.ID), Number: a.Number, Authority: f.Return.GetAuthority(),
			Ref: f.Ref, Digest: f.Digest.String(), AcceptTime: timestamppb.New(at),
			Details: map[string]string{"number": a.Number, "time": a.Time},
		}}
	case ResultPending:
		return authority.Outcome{Kind: authority.Pending, Number: a.Number}
	default:
		return authority.Outcome{Kind: authority.Rejected, Reasons: reasons(a)}
	}
}

func reasons(a Answer) []*springtidev1.Reason {
	out := make([]*springtidev1.Reason, 0, min(len(a.Reasons), maxReasons))
	for _, r := range a.Reasons[:min(len(a.Reasons), maxReasons)] {
		out = append(out, &springtidev1.Reason{Code: clip(r.Code), Message: clip(r.Message), Path: clip(r.Path)})
	}
	return out
}

// clip keeps what a bureau says storable: bounded, cut between characters.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	s = s[:maxText]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

func untouched(a Answer) bool {
	return a.Result == ResultBusy && a.Processed != nil && !*a.Processed
}

func busy(cause string, res authority.Answer) authority.Outcome {
	return authority.Outcome{Kind: authority.Busy, Cause: cause, RetryAfter: authority.RetryAfter(res.Header)}
}

func unknown(cause string) authority.Outcome {
	return authority.Outcome{Kind: authority.Unknown, Cause: cause}
}

// causeOf names an answer that means nothing: success without sense, or a status.
func causeOf(status int) string {
	if status/100 == 2 {
		return authority.CauseUnparsable
	}
	return authority.StatusCause(status)
}
