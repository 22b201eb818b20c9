package frontdoor

import (
	"errors"
	"fmt"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// newValidator prepares the rules of every request of both services.
func newValidator() (protovalidate.Validator, error) {
	var requests []protoreflect.MessageDescriptor
	for _, file := range []protoreflect.FileDescriptor{
		springtidev1.File_springtide_v1_filing_service_proto, springtidev1.File_springtide_v1_operations_service_proto,
	} {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				requests = append(requests, methods.Get(j).Input())
			}
		}
	}
	v, err := protovalidate.New(protovalidate.WithMessageDescriptors(requests...))
	if err != nil {
		return nil, fmt.Errorf("request rules: %w", err)
	}
	return v, nil
}

// check refuses a request that could not be read or breaks the rules of its
// message. The items of a batch are left to the batch, as each is refused on its own.
func (d *door) check(req any) error {
	m, ok := req.(proto.Message)
	if !ok {
		return fmt.Errorf("request is a %T", req)
	}
	if err := unreadable(m); err != nil {
		return err
	}
	var options []protovalidate.ValidationOption
	if _, ok := req.(*springtidev1.SubmitFilingBatchRequest); ok {
		options = append(options, protovalidate.WithFilter(protovalidate.FilterFunc(onlyBatch)))
	}
	found, err := d.violations(m, options...)
	if err != nil {
		return err
	}
	return found.asError()
}

// onlyBatch keeps a validation out of a batch's items.
func onlyBatch(m protoreflect.Message, _ protoreflect.Descriptor) bool {
	_, ok := m.Interface().(*springtidev1.SubmitFilingBatchRequest)
	return ok
}

// violations are the broken rules of a message; the error is ours, not the caller's.
func (d *door) violations(m proto.Message, options ...protovalidate.ValidationOption) (refusals, error) {
	err := d.validator.Validate(m, options...)
	if err == nil {
		return nil, nil
	}
	broken, ok := errors.AsType[*protovalidate.ValidationError](err)
	if !ok {
		return nil, fmt.Errorf("validate %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	var found refusals
	for _, v := range broken.Violations {
		found = append(found, refusalOf(v))
	}
	return found, nil
}

// refusalOf puts a broken rule into the words of the catalogue.
func refusalOf(v *protovalidate.Violation) *filing.Error {
	path := protovalidate.FieldPathString(v.Proto.GetField())
	e := &filing.Error{Field: path}
	limit := ""
	if v.RuleValue.IsValid() {
		limit = fmt.Sprint(v.RuleValue.Interface())
	}
	switch rule := v.Proto.GetRuleId(); {
	case strings.HasSuffix(path, "period.start"), strings.HasSuffix(path, "period.end"):
		e.Reason, e.Args = filing.ReasonPeriodInvalid, filing.Args{"detail": "YYYY-MM-DD"}
	case strings.HasSuffix(path, "amendment"):
		e.Reason = filing.ReasonAmendmentInvalid
	case rule == "required", rule == "string.min_len", rule == "repeated.min_items":
		e.Reason = filing.ReasonFieldRequired
	case rule == "repeated.max_items" && path == "requests":
		e.Reason, e.Args = filing.ReasonBatchTooLarge, filing.Args{"max": limit}
	case rule == "string.max_len":
		e.Reason, e.Args = filing.ReasonFieldTooLong, filing.Args{"max": limit}
	case rule == "repeated.max_items", rule == "map.max_pairs":
		e.Reason, e.Args = filing.ReasonTooManyItems, filing.Args{"max": limit}
	default:
		e.Reason, e.Args = filing.ReasonFieldInvalid, filing.Args{"detail": v.Proto.GetMessage()}
	}
	return e
}
