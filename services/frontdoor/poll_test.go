package frontdoor_test

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"springtide/services/filing"
	"springtide/services/frontdoor"
	"springtide/services/keys"
)

// A poll in process says what GetFiling says, whoever asks for whatever: also of an accepted filing, which
// is kept in memory from the second question on.
func TestAPollSaysWhatGetFilingSays(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	accepted, waiting, limited := c.mustSubmit(t, 1), c.mustSubmit(t, 2), c.mustSubmit(t, own)
	w.accept(t, w.register(t, accepted))
	w.accept(t, w.register(t, limited))
	found, refused := 0, 0
	for _, token := range []string{keys.RoleAccountant, keys.RoleViewer, keys.RoleOperator, "scoped-viewer", "other-viewer", "revoked", "forged", ""} {
		for _, language := range []string{"", "en", "zh-CN"} {
			for _, id := range []string{string(accepted), string(waiting), string(limited), string(filing.IDOf("firm", vat(99))), "x", "\xff", ""} {
				md := metadata.MD{}
				ask := frontdoor.Poll{FilingID: id, Language: language}
				if token != "" {
					ask.Authorization = "Bearer " + token
					md.Set("authorization", ask.Authorization)
				}
				if language != "" {
					md.Set("accept-language", language)
				}
				want, errWant := c.GetFiling(metadata.NewOutgoingContext(t.Context(), md), get(filing.ID(id)))
				seen, err := c.server.InProcess().Poll(t.Context(), ask)
				if id == "\xff" && errWant != nil { // gRPC cannot send it; JSON can
					_, errWant = c.GetFiling(metadata.NewOutgoingContext(t.Context(), md), get("x"))
					if err == nil {
						t.Errorf("%q asks for what is no text", token)
					}
				}
				if errWant != nil {
					if refusalOf(t, err).message != refusalOf(t, errWant).message || refusalOf(t, err).reason != refusalOf(t, errWant).reason {
						t.Errorf("%q asks for %q in %q: %v, and GetFiling says %v", token, id, language, err, errWant)
					}
					refused++
					continue
				}
				got, errGot := seen.Filing()
				if got.GetNextPollTime() != nil && want.GetFiling().GetNextPollTime() != nil {
					got.NextPollTime = want.GetFiling().GetNextPollTime() // each answer has its own
				}
				if err != nil || errGot != nil || !proto.Equal(got, want.GetFiling()) {
					t.Errorf("%q asks for %q: %v, %v, %v; and GetFiling says %v", token, id, got, err, errGot, want)
				}
				if seen.Version != got.GetVersion() || seen.State != got.GetState() || seen.NextPoll.IsZero() != (got.GetNextPollTime() == nil) {
					t.Errorf("%q glances at %q and sees version %d, %s, again at %s: %v", token, id, seen.Version, seen.State, seen.NextPoll, got)
				}
				found++
			}
		}
	}
	if found < 20 || refused < 50 {
		t.Errorf("%d found and %d refused: too few to say anything", found, refused)
	}
}

// What is kept in memory is told to those whose it is without the view, and to nobody else.
func TestAPollOfWhatIsKeptNeedsNoView(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := open(t, w)
	poll := func(token string, id filing.ID) (frontdoor.Glance, error) {
		return c.server.InProcess().Poll(t.Context(), frontdoor.Poll{FilingID: string(id), Authorization: "Bearer " + token})
	}
	ids := []filing.ID{c.mustSubmit(t, 1), c.mustSubmit(t, own)}
	for _, id := range ids {
		w.accept(t, w.register(t, id))
		if _, err := poll(keys.RoleViewer, id); err != nil {
			t.Fatal(err)
		}
	}
	w.with(func() { w.viewErr = errDown })
	for token, sees := range map[string][]bool{
		keys.RoleViewer: {true, true}, "scoped-viewer": {false, true}, "two-viewer": {true, true}, "other-viewer": {false, false},
	} {
		for i, id := range ids {
			seen, err := poll(token, id)
			if !sees[i] {
				wantRefusal(t, err, codes.Unavailable, filing.ReasonViewUnavailable)
				continue
			}
			f, errFiling := seen.Filing()
			if err != nil || errFiling != nil || f.GetFilingId() != string(id) || f.GetReceipt() == nil {
				t.Errorf("%s of %s: %v, %v, %v", token, id, f, err, errFiling)
			}
		}
	}
}
