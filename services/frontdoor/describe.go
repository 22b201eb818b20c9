package frontdoor

import (
	"context"
	"strconv"

	"google.golang.org/protobuf/proto"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// CheckFiling applies every rule of the form and sends nothing. What is not even
// well-formed comes back as a violation too, so that one answer says it all.
func (s *filings) CheckFiling(
	ctx context.Context, req *springtidev1.CheckFilingRequest,
) (*springtidev1.CheckFilingResponse, error) {
	r := req.GetReturn()
	if size := proto.Size(r); size > s.cfg.MaxReturnBytes {
		return nil, &filing.Error{Reason: filing.ReasonReturnTooLarge, Field: "return", Args: filing.Args{
			"size": strconv.Itoa(size), "max": strconv.Itoa(s.cfg.MaxReturnBytes),
		}}
	}
	if !identityOf(ctx).MayActFor(r.GetTaxpayer().GetId()) {
		return nil, &filing.Error{Reason: filing.ReasonTaxpayerDenied, Field: "return.taxpayer.id"}
	}
	result := s.deps.Rules.Check(r)
	return &springtidev1.CheckFilingResponse{
		Ok: result.OK(), Violations: result.Violations, Completed: result.Completed,
	}, nil
}

// ListForms names every form and its editions.
func (s *filings) ListForms(context.Context, *springtidev1.ListFormsRequest) (*springtidev1.ListFormsResponse, error) {
	return &springtidev1.ListFormsResponse{Forms: s.deps.Forms.Forms()}, nil
}

// GetForm describes one edition of a form.
func (s *filings) GetForm(_ context.Context, req *springtidev1.GetFormRequest) (*springtidev1.GetFormResponse, error) {
	form, err := s.deps.Forms.Form(req.GetForm(), req.GetEdition())
	if err == nil {
		return &springtidev1.GetFormResponse{Form: form}, nil
	}
	for _, known := range s.deps.Forms.Forms() {
		if known.GetForm() == req.GetForm() {
			return nil, &filing.Error{Reason: filing.ReasonEditionUnknown, Field: "edition", Args: filing.Args{
				"form": req.GetForm(), "edition": req.GetEdition(),
			}}
		}
	}
	return nil, &filing.Error{
		Reason: filing.ReasonFormUnknown, Field: "form", Args: filing.Args{"form": req.GetForm()},
	}
}
