package mtd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/authority"
	"springtide/services/filing"
	"springtide/services/telemetry/redact"
)

// Config of a connector.
type Config struct {
	// URL is the base address, such as https://api.service.hmrc.gov.uk; the
	// published path "/organisations/vat/{vrn}/returns" is added. Required.
	URL string
	// Terms HMRC is used with; the class must be U.
	Terms filing.Terms
	// Token gives the bearer token for a VAT number; nil: none is sent (simulator).
	// An error holds the filing back: nothing is sent.
	Token func(ctx context.Context, vrn string) (redact.Secret, error)
	// Header is sent with every request, the fraud prevention headers for example.
	Header http.Header
	// MaxConns bounds the connections; 0: 64.
	MaxConns int
	// Traceparent is sent along with each request; only where the authority wants it.
	Traceparent bool
}

// DefaultTerms are HMRC's: class U. Its view has lagged by hours to days, so a
// query proves nothing for three days, which is longer than an outcome may stay
// unknown: such a filing goes to a person at once.
func DefaultTerms() filing.Terms {
	return filing.Terms{
		Class:         filing.ClassU,
		StartDeadline: 5 * time.Second,
		HTTPTimeout:   20 * time.Second,
		Processing:    time.Minute,
		Lag:           72 * time.Hour,
		Margin:        5 * time.Second,
		Window:        0, // HMRC remembers no reference of ours
		MaxUnknown:    3,
		MaxWait:       24 * time.Hour,
		Poll:          time.Minute,
		Verdict:       24 * time.Hour,
	}
}

const (
	accept = "application/vnd.hmrc.1.0+json"
	// ownFault is how long to leave HMRC alone when it refused us rather than a return.
	ownFault = time.Minute
)

// A Connector speaks HMRC's VAT contract. It is safe for concurrent use.
type Connector struct {
	base   string
	cfg    Config
	client *authority.Client
}

// New makes a connector. It opens no connection.
func New(cfg Config) (*Connector, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.RawQuery != "" {
		return nil, fmt.Errorf("mtd: base address %.80q: want for example https://api.service.hmrc.gov.uk", cfg.URL)
	}
	if err := cfg.Terms.Validate(); err != nil {
		return nil, fmt.Errorf("mtd: terms: %w", err)
	}
	if cfg.Terms.Class != filing.ClassU {
		return nil, fmt.Errorf("mtd: class %s: HMRC refuses duplicates by business key and can be queried, which is class U", cfg.Terms.Class)
	}
	conns := cfg.MaxConns
	if conns == 0 {
		conns = 64
	}
	client, err := authority.NewClient(authority.ClientConfig{Timeout: cfg.Terms.HTTPTimeout, MaxConns: conns, Traceparent: cfg.Traceparent})
	if err != nil {
		return nil, fmt.Errorf("mtd: %w", err)
	}
	return &Connector{base: strings.TrimSuffix(cfg.URL, "/"), cfg: cfg, client: client}, nil
}

// Close gives up idle connections.
func (c *Connector) Close() { c.client.Close() }

// Terms are the terms HMRC is used with.
func (c *Connector) Terms() filing.Terms { return c.cfg.Terms }

// Submit sends the return once.
func (c *Connector) Submit(ctx context.Context, f authority.Filing) authority.Outcome {
	h, err := c.header(ctx, f)
	if err != nil {
		return authority.Outcome{Kind: authority.Busy, Cause: authority.CauseUnauthorized, RetryAfter: ownFault}
	}
	h.Set("Content-Type", "application/json")
	res, failed := c.client.Do(ctx, authority.Request{
		Method: http.MethodPost, URL: c.returns(f), Header: h, Body: encode(f.Return),
	})
	if failed != nil {
		return failed.Outcome()
	}
	return classify(f, res)
}

func classify(f authority.Filing, res authority.Answer) authority.Outcome {
	if res.Status == http.StatusCreated {
		r, at, err := parseReceipt(res.Body)
		if err != nil {
			return unknown(authority.CauseUnparsable)
		}
		return authority.Outcome{Kind: authority.Accepted, Receipt: &springtidev1.Receipt{
			FilingId: string(f.ID), Number: r.FormBundleNumber, Authority: f.Return.GetAuthority(),
			Ref: f.Ref, Digest: f.Digest.String(), AcceptTime: timestamppb.New(at), Details: r.details(res.Header),
		}}
	}
	envelope, list, err := parseProblem(res.Body)
	if err != nil {
		return unknown(causeOf(res.Status))
	}
	if out, ours := ownFaultOf(res, envelope); ours {
		return out
	}
	reasons := make([]*springtidev1.Reason, 0, len(list))
	refused := true
	for _, p := range list {
		if p.Code == "DUPLICATE_SUBMISSION" {
			return unknown(authority.CauseDuplicate)
		}
		refused = refused && refusal(p.Code) == res.Status
		reasons = append(reasons, &springtidev1.Reason{Code: clip(p.Code), Message: clip(p.Message), Path: clip(p.Path)})
	}
	if !refused {
		return unknown(causeOf(res.Status))
	}
	return authority.Outcome{Kind: authority.Rejected, Reasons: reasons}
}

// refusal is the status that a documented refusal of a return comes with; 0: not documented.
func refusal(code string) int {
	switch code {
	case "VRN_INVALID", "INVALID_REQUEST", "INVALID_JSON", "MANDATORY_FIELD_MISSING", "INVALID_STRING_VALUE",
		"INVALID_NUMERIC_VALUE", "INVALID_MONETARY_AMOUNT", "PERIOD_KEY_INVALID", "UNMAPPED_PLAY_ERROR",
		"VAT_TOTAL_VALUE", "VAT_NET_VALUE", "RULE_INCORRECT_GOV_TEST_SCENARIO":
		return http.StatusBadRequest
	case "CLIENT_OR_AGENT_NOT_AUTHORISED", "NOT_FINALISED", "TAX_PERIOD_NOT_ENDED", "RULE_INSOLVENT_TRADER":
		return http.StatusForbidden
	case "MATCHING_RESOURCE_NOT_FOUND":
		return http.StatusNotFound
	default:
		return 0
	}
}

// ownFaultOf recognises answers of the platform in front of the service: the
// request never reached it, and no taxpayer is to blame.
func ownFaultOf(res authority.Answer, code string) (authority.Outcome, bool) {
	busy := func(cause string, wait time.Duration) (authority.Outcome, bool) {
		if asked := authority.RetryAfter(res.Header); asked > 0 {
			wait = asked
		}
		return authority.Outcome{Kind: authority.Busy, Cause: cause, RetryAfter: wait}, true
	}
	switch {
	case res.Status == http.StatusTooManyRequests && code == "MESSAGE_THROTTLED_OUT":
		return busy(authority.CauseThrottled, 0)
	case res.Status == http.StatusUnauthorized && code == "UNAUTHORIZED":
		return busy(authority.CauseUnauthorized, ownFault)
	case res.Status == http.StatusNotAcceptable && code == "ACCEPT_HEADER_INVALID",
		res.Status == http.StatusUnsupportedMediaType && code == "INVALID_BODY_TYPE",
		res.Status == http.StatusNotFound && code == "NOT_FOUND":
		return busy(authority.CauseMisconfigured, ownFault)
	default:
		return authority.Outcome{}, false
	}
}

// Query views the return of the period and compares the nine boxes. HMRC does
// not show the form bundle number again: a receipt found this way has no number.
func (c *Connector) Query(ctx context.Context, f authority.Filing) authority.Outcome {
	h, err := c.header(ctx, f)
	if err != nil {
		return unknown(authority.CauseUnauthorized)
	}
	key := f.Return.GetContext()[contextPeriodKey]
	if key == "" {
		return unknown(authority.CauseNotQueryable) // nothing to ask for
	}
	res, failed := c.client.Do(ctx, authority.Request{
		Method: http.MethodGet, URL: c.returns(f) + "/" + url.PathEscape(key), Header: h,
	})
	if failed != nil {
		return unknown(failed.Cause)
	}
	return classifyView(f, key, res)
}

func classifyView(f authority.Filing, key string, res authority.Answer) authority.Outcome {
	switch res.Status {
	case http.StatusOK:
		held, err := parseView(res.Body)
		if err != nil || held.key != key {
			return unknown(authority.CauseUnparsable)
		}
		for i, box := range boxes {
			if !sameAmount(held.boxes[i], f.Return.GetLines()[box]) {
				return authority.Outcome{Kind: authority.Foreign}
			}
		}
		return authority.Outcome{Kind: authority.Accepted, Receipt: &springtidev1.Receipt{
			FilingId: string(f.ID), Authority: f.Return.GetAuthority(), Ref: f.Ref, Digest: f.Digest.String(),
			Details: map[string]string{"confirmedBy": "view", "X-CorrelationId": clip(res.Header.Get("X-CorrelationId"))},
		}}
	case http.StatusNotFound:
		code, _, err := parseProblem(res.Body)
		// The service itself says so, either by its code or, in later releases, by an
		// empty body; a 404 of anything in front of it carries no correlation id.
		if (err == nil && code == "MATCHING_RESOURCE_NOT_FOUND") ||
			(len(res.Body) == 0 && res.Header.Get("X-CorrelationId") != "") {
			return authority.Outcome{Kind: authority.Absent}
		}
	}
	return unknown(causeOf(res.Status))
}

// view is a return as HMRC holds it.
type view struct {
	key   string
	boxes [len(boxes)]string
}

func parseView(body []byte) (view, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return view{}, fmt.Errorf("view: %w", err)
	}
	var v view
	if err := json.Unmarshal(raw["periodKey"], &v.key); err != nil {
		return view{}, fmt.Errorf("view: period key: %w", err)
	}
	for i, box := range boxes {
		v.boxes[i] = string(raw[box])
		if !numberPattern.MatchString(v.boxes[i]) {
			return view{}, fmt.Errorf("view: %s is not a number", box)
		}
	}
	return v, nil
}

func (c *Connector) header(ctx context.Context, f authority.Filing) (http.Header, error) {
	h := c.cfg.Header.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("Accept", accept)
	if c.cfg.Token != nil {
		token, err := c.cfg.Token(ctx, f.Return.GetTaxpayer().GetId())
		if err != nil {
			return nil, fmt.Errorf("mtd: token: %w", err)
		}
		h.Set("Authorization", "Bearer "+token.Reveal())
	}
	return h, nil
}

func (c *Connector) returns(f authority.Filing) string {
	return c.base + "/organisations/vat/" + url.PathEscape(f.Return.GetTaxpayer().GetId()) + "/returns"
}

func unknown(cause string) authority.Outcome {
	return authority.Outcome{Kind: authority.Unknown, Cause: cause}
}

func causeOf(status int) string {
	if status/100 == 2 {
		return authority.CauseUnparsable
	}
	return authority.StatusCause(status)
}

// clip bounds what is kept of HMRC's words; they are short and in ASCII.
func clip(s string) string {
	const most = 1000
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "")
}
