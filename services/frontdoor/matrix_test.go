package frontdoor_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/eventlog"
	"springtide/services/filing"
	"springtide/services/gateway"
	"springtide/services/keys"
)

// The authorisation matrix: every method there is, for every kind of caller, about what is
// theirs, a colleague's, another firm's, missing and malformed, by gRPC and by REST. It is
// generated from the protos, so that a method that is added is in it.

// A target is something that requests are about: one taxpayer's filing, batch and draft, and
// a key and a webhook of whose tenant it is.
type target struct {
	tenant, taxpayer, name string
	filing, draft          string
	batch, title           string
	submission, receipt    string
	key, holder            string
	hook, address          string
}

// secrets are what tells of a target.
func (x *target) secrets() []string {
	return []string{x.taxpayer, x.name, x.filing, x.draft, x.batch, x.title, x.submission, x.receipt, x.key, x.holder, x.hook, x.address}
}

// A cell's caller.
type caller struct {
	token string
	// refused is the reason why every method refuses; empty: not every one does.
	refused string
	id      keys.Identity
}

func callers() []caller {
	out := []caller{
		{token: "", refused: filing.ReasonKeyMissing},
		{token: "rubbish", refused: filing.ReasonKeyInvalid},
		{token: "revoked", refused: filing.ReasonKeyRevoked},
	}
	for _, whose := range []string{"", "scoped-", "two-", "other-"} {
		for _, role := range keys.Roles() {
			id, _ := keyring{}.Authenticate(whose + role)
			out = append(out, caller{token: whose + role, id: id})
		}
	}
	return out
}

func (c caller) sees(x *target) bool { return x.tenant == c.id.Tenant && c.id.MayActFor(x.taxpayer) }

// A site is a world with all targets in it, its door and its HTTP face.
type site struct {
	*client
	w       *world
	base    string
	http    http.Client
	targets map[string]*target
}

// The kinds of things that a request names.
const (
	byID       = "id"
	byBatch    = "batch"
	byTaxpayer = "taxpayer"
	byReturn   = "return"
	byKey      = "key"
	byHook     = "webhook"
)

func openSite(t *testing.T) *site {
	t.Helper()
	w := newWorld()
	s := &site{client: openOffice(t, w), w: w, targets: map[string]*target{
		"own":     {tenant: "firm", taxpayer: "111111111", name: "Canary Own Ltd", receipt: "R-own-1"},
		"sibling": {tenant: "firm", taxpayer: "222222222", name: "Canary Sibling Ltd", receipt: "R-sibling-1"},
		"foreign": {tenant: "other", taxpayer: "333333333", name: "Canary Foreign Ltd", receipt: "R-foreign-1"},
		"missing": {tenant: "firm", taxpayer: "999999999", name: "Canary Missing Ltd"},
	}}
	for kind, x := range s.targets {
		x.title = "Canary batch " + kind
		x.filing, x.draft = string(filing.IDOf(x.tenant, x.returned())), string(filing.IDOf(x.tenant, x.drafted()))
		x.batch = filing.BatchID(x.tenant, "press "+kind)
		x.key, x.holder = "0123456789abcdef", "canary holder "+kind
		x.hook, x.address = "wh"+strings.Repeat("0", 24), "https://example.com/canary/"+kind
		if kind != "missing" {
			s.fill(t, x)
		}
	}
	s.targets["malformed"] = &target{filing: "not-an-id", draft: "not-an-id", batch: "not-an-id", key: "not-an-id", hook: "not-an-id", taxpayer: "not-a-taxpayer"}
	s.openHTTP(t, gateway.Config{})
	return s
}

// owner is a context of somebody who may do everything with a target.
func (x *target) owner(ctx context.Context) context.Context {
	if x.tenant == "other" {
		return as(ctx, "other-"+keys.RoleAccountant)
	}
	return as(ctx, keys.RoleAccountant)
}

func (x *target) returned() *springtidev1.Return {
	r := whole(0)
	r.Taxpayer = &springtidev1.Taxpayer{Id: x.taxpayer, Name: x.name}
	return r
}

func (x *target) drafted() *springtidev1.Return {
	r := x.returned()
	r.Period = &springtidev1.Period{Start: "2026-07-01", End: "2026-09-30"}
	return r
}

// fill files a target's return, which is accepted, and keeps its draft.
func (s *site) fill(t *testing.T, x *target) {
	t.Helper()
	resp, err := s.SubmitFilingBatch(x.owner(t.Context()), &springtidev1.SubmitFilingBatchRequest{
		Title: x.title, RequestId: strings.Replace(x.title, "Canary batch", "press", 1),
		Requests: []*springtidev1.SubmitFilingRequest{{Return: x.returned()}},
	})
	if err != nil || resp.GetResults()[0].GetFilingId() != x.filing || resp.GetBatch().GetBatchId() != x.batch {
		t.Fatalf("%v, %v", resp, err)
	}
	x.submission = resp.GetResults()[0].GetSubmissionId()
	sub := s.w.register(t, filing.ID(x.filing))
	s.w.claim(t, sub)
	s.w.event(t, filing.ID(x.filing), &springtidev1.LedgerEvent{Digest: sub.GetDigest(), Event: &springtidev1.LedgerEvent_Accepted{
		Accepted: &springtidev1.Accepted{Attempt: 1, Receipt: &springtidev1.Receipt{Number: x.receipt}},
	}})
	s.keepDraft(t, x)
	key, _, err := s.keys.Create(t.Context(), keys.Identity{Tenant: x.tenant, Subject: x.holder, Roles: []string{keys.RoleViewer}})
	if err != nil {
		t.Fatal(err)
	}
	x.key = key.ID
	s.keepHook(t, x)
}

// keepHook gives a target a webhook, unless it has it.
func (s *site) keepHook(t *testing.T, x *target) {
	t.Helper()
	if _, there := s.hooks.Get(x.hook); there {
		return
	}
	w, _, err := s.hooks.Create(t.Context(), x.tenant, x.address, "")
	if err != nil {
		t.Fatal(err)
	}
	x.hook = w.ID
}

// keepDraft saves a target's draft, unless it is there.
func (s *site) keepDraft(t *testing.T, x *target) {
	t.Helper()
	_, err := s.SaveDraft(x.owner(t.Context()), &springtidev1.SaveDraftRequest{Return: x.drafted()})
	if err != nil && refusalOf(t, err).reason != filing.ReasonDraftChanged {
		t.Fatal(err)
	}
}

// openHTTP serves the HTTP face.
func (s *site) openHTTP(t *testing.T, cfg gateway.Config) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // net/http aborts reads by deadlines, which bufconn does not take back
	if err != nil {
		t.Fatal(err)
	}
	face, err := gateway.New(cfg, gateway.Deps{
		Listener: narrow{listener}, Door: s.server.InProcess(), Keys: keyring{}, Secret: bytes.Repeat([]byte{7}, 32),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- face.Run(ctx) }()
	s.base = "http://" + listener.Addr().String()
	s.http.Transport = &http.Transport{}
	t.Cleanup(func() {
		s.http.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestTheAuthorisationMatrix(t *testing.T) {
	t.Parallel()
	// Whoever files gets a site alone, as filing changes it; all others share one.
	groups := map[string][]caller{}
	for _, who := range callers() {
		if who.id.HasRole(keys.RoleAccountant) {
			groups[who.token] = []caller{who}
		} else {
			groups["others"] = append(groups["others"], who)
		}
	}
	for name, group := range groups {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openSite(t)
			for _, who := range group {
				for _, x := range s.targets {
					if x.receipt != "" {
						s.keepDraft(t, x)
						s.keepHook(t, x)
					}
				}
				before := s.traces(t, who)
				for name, call := range map[string]way{"gRPC": overGRPC, "REST": overREST} {
					cells := 0
					for _, m := range methods() {
						for _, kind := range kindsOf(m) {
							cells += s.row(t, call, who, m, kind)
						}
					}
					if least := 2 * len(methods()); cells < least {
						t.Errorf("%d cells by %s, want at least %d", cells, name, least)
					}
				}
				after := s.traces(t, who)
				for what, was := range before {
					if now := after[what]; now != was {
						t.Errorf("%s was changed by %q, who may not see it: %s, then %s", what, who.token, was, now)
					}
				}
			}
		})
	}
}

// row makes one method's calls about each target and judges them.
func (s *site) row(t *testing.T, call way, who caller, m protoreflect.MethodDescriptor, kind string) (cells int) {
	t.Helper()
	answers := make(map[string]answer)
	for what, x := range s.targets {
		if x.receipt != "" && strings.Contains(string(m.Name()), "Draft") {
			s.keepDraft(t, x) // as an earlier call may have filed or deleted it
		}
		if x.receipt != "" && m.Parent().Name() == "WebhookService" && who.sees(x) {
			s.keepHook(t, x)
		}
		// What names nothing is asked once, and shapes of returns have tests of their own.
		if kind == "" && what != "own" || kind == byReturn && what == "malformed" {
			continue
		}
		req := naming(t, m, kind, x)
		if kind == byReturn && len(who.id.Taxpayers) == 0 {
			if what != "own" {
				continue // whose taxpayers are not limited may file for any
			}
			req, _ = requestAbout(t, m, x.filing)
		}
		got := call(t.Context(), t, s, who.token, m, req)
		cells++
		at := fmt.Sprintf("%s for %q by %s of %s", m.Name(), who.token, kind, what)
		if refused := s.mustRefuse(who, m); refused != "" {
			if got.reason != refused {
				t.Errorf("%s: %q, want %s: %s", at, got.reason, refused, got.text)
			}
			continue
		}
		if strings.HasPrefix(got.reason, "KEY_") || got.reason == filing.ReasonPermissionDenied || got.reason == filing.ReasonInternal {
			t.Errorf("%s: %s to who may call it: %s", at, got.reason, got.text)
		}
		answers[what] = got
		s.noLeak(t, at, who, m, req, got)
	}
	if len(answers) > 1 {
		s.alike(t, who, m, kind, answers)
	}
	return cells
}

// mustRefuse is why a caller may not call a method, whatever it is about.
func (s *site) mustRefuse(who caller, m protoreflect.MethodDescriptor) string {
	roles := allowedRoles(m)
	switch {
	case who.refused != "":
		return who.refused
	case !who.id.HasRole(roles...):
		return filing.ReasonPermissionDenied
	case len(who.id.Taxpayers) > 0 && slices.Contains(roles, keys.RoleOperator):
		return filing.ReasonKeyLimited
	default:
		return ""
	}
}

// noLeak finds what an answer tells of targets that the caller may not see, and did not name.
// Operators look after the whole installation, and see whose work fails.
func (s *site) noLeak(t *testing.T, at string, who caller, m protoreflect.MethodDescriptor, req proto.Message, got answer) {
	t.Helper()
	if m.Parent().Name() == "OperationsService" {
		return
	}
	sent := written(t, req)
	for what, x := range s.targets {
		if who.sees(x) || x.tenant == "" {
			continue
		}
		for _, secret := range x.secrets() {
			if secret != "" && strings.Contains(got.text, secret) && !strings.Contains(sent, secret) {
				t.Errorf("%s tells %s of %s: %s", at, secret, what, got.text)
			}
		}
	}
}

// alike compares what is told of each target with what is told of a missing one.
func (s *site) alike(t *testing.T, who caller, m protoreflect.MethodDescriptor, kind string, answers map[string]answer) {
	t.Helper()
	if m.Parent().Name() == "OperationsService" {
		return
	}
	missing := answers["missing"].about(s.targets["missing"])
	for what, got := range answers {
		x := s.targets[what]
		at := fmt.Sprintf("%s for %q by %s of %s", m.Name(), who.token, kind, what)
		switch {
		case what == "missing":
		case what == "malformed":
			if kind != byTaxpayer && got.reason != filing.ReasonIDInvalid && m.Name() != "ListFilings" {
				t.Errorf("%s: %q, want %s: %s", at, got.reason, filing.ReasonIDInvalid, got.text)
			}
		case who.sees(x):
			if got.about(x) == missing && kind != byReturn {
				t.Errorf("%s is as if it were missing: %s", at, got.text)
			}
		case got.about(x) != missing:
			t.Errorf("%s: %s\nof a missing one: %s", at, got.about(x), missing)
		}
	}
}

// traces are what is kept of the targets that a caller may not see.
func (s *site) traces(t *testing.T, who caller) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for what, x := range s.targets {
		if who.sees(x) || x.receipt == "" {
			continue
		}
		records := 0
		s.w.with(func() {
			for _, topic := range []string{eventlog.TopicSubmitted, eventlog.TopicLedger} {
				for _, r := range s.w.topics[topic][filing.ID(x.filing).Partition(partitions)] {
					if string(r.Key) == x.filing {
						records++
					}
				}
			}
		})
		drafts, err := s.ListDrafts(x.owner(t.Context()), &springtidev1.ListDraftsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		kept := "no draft"
		for _, d := range drafts.GetDrafts() {
			if d.GetFilingId() == x.draft {
				kept = "draft " + d.GetEtag()
			}
		}
		revoked := slices.ContainsFunc(s.keys.List(x.tenant), func(k keys.Key) bool { return k.ID == x.key && k.Revoked })
		_, hooked := s.hooks.Get(x.hook)
		out[what] = fmt.Sprintf("%d records, %s, key revoked: %t, webhook there: %t", records, kept, revoked, hooked)
	}
	return out
}
