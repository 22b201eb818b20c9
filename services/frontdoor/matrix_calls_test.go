package frontdoor_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
)

// How the cells of the authorisation matrix are called, by gRPC and by REST, and what is told.

// kindsOf are the kinds of things that a method's requests name; one that is empty names nothing.
func kindsOf(m protoreflect.MethodDescriptor) []string {
	var kinds []string
	for field, kind := range map[protoreflect.Name]string{
		"filing_id": byID, "filing_ids": byID, "previous_filing_ids": byID, "batch_id": byBatch, "taxpayer_id": byTaxpayer,
		"return": byReturn, "requests": byReturn, "key_id": byKey, "webhook_id": byHook,
	} {
		if m.Input().Fields().ByName(field) != nil {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) == 0 {
		kinds = []string{""}
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// naming is a good request that names a target in one way.
func naming(t *testing.T, m protoreflect.MethodDescriptor, kind string, x *target) proto.Message {
	t.Helper()
	req, _ := requestAbout(t, m, string(filing.IDOf("firm", vat(99))))
	msg := req.ProtoReflect()
	id, ret := x.filing, x.returned()
	if strings.Contains(string(m.Name()), "Draft") && m.Name() != "CreateZeroDrafts" {
		id, ret = x.draft, x.drafted()
	}
	for field, of := range map[protoreflect.Name]struct{ kind, value string }{
		"filing_id": {byID, id}, "filing_ids": {byID, id}, "previous_filing_ids": {byID, id},
		"batch_id": {byBatch, x.batch}, "taxpayer_id": {byTaxpayer, x.taxpayer},
		"key_id": {byKey, x.key}, "webhook_id": {byHook, x.hook},
	} {
		fd := msg.Descriptor().Fields().ByName(field)
		switch {
		case fd == nil:
		case of.kind != kind:
			msg.Clear(fd)
		case fd.IsList():
			list := msg.NewField(fd).List()
			list.Append(protoreflect.ValueOfString(of.value))
			msg.Set(fd, protoreflect.ValueOfList(list))
		default:
			msg.Set(fd, protoreflect.ValueOfString(of.value))
		}
	}
	switch r := req.(type) {
	case *springtidev1.SubmitFilingRequest:
		r.Return = ret
	case *springtidev1.SubmitFilingBatchRequest:
		r.Requests = []*springtidev1.SubmitFilingRequest{{Return: ret}}
	case *springtidev1.CheckFilingRequest:
		r.Return = ret
	case *springtidev1.SaveDraftRequest:
		r.Return = ret
	}
	return req
}

// An answer is all that a caller is told.
type answer struct {
	// reason of the refusal; empty: it was not refused.
	reason string
	text   string
}

// moments are what differs between two calls about the same: times, and names made by the call itself.
var moments = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z|"batch(_id|Id)": *"b[0-9a-z]+"`)

// about is the answer with what a request named left out.
func (a answer) about(x *target) string {
	text := a.text
	for _, named := range []string{x.filing, x.draft, x.batch, x.taxpayer, x.key, x.hook} {
		if named != "" {
			text = strings.ReplaceAll(text, named, "NAMED")
		}
	}
	return moments.ReplaceAllString(text, "MOMENT")
}

// A way is how a call is made.
type way func(ctx context.Context, t *testing.T, s *site, token string, m protoreflect.MethodDescriptor, req proto.Message) answer

// overGRPC calls a method; of a stream it takes the first answers, to the end of the snapshot.
func overGRPC(ctx context.Context, t *testing.T, s *site, token string, m protoreflect.MethodDescriptor, req proto.Message) answer {
	t.Helper()
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, "accept-language", "en"))
	defer cancel()
	if token != "" {
		ctx = as(ctx, token)
	}
	full := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
	var out answer
	var err error
	if m.IsStreamingServer() {
		var stream grpc.ClientStream
		if stream, err = s.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, full); err != nil {
			t.Fatal(err)
		}
		_, _ = stream.SendMsg(req), stream.CloseSend() // what became of it, the first answer says
		for resp := newMessage(t, m.Output()); ; {
			if err = stream.RecvMsg(resp); err != nil {
				break
			}
			out.text += written(t, resp)
			if w, ok := resp.(*springtidev1.WatchFilingsResponse); !ok || w.GetSnapshotDone() {
				return out
			}
		}
	} else {
		resp := newMessage(t, m.Output())
		if err = s.conn.Invoke(ctx, full, req, resp); err == nil {
			out.text = written(t, resp)
		}
	}
	if err != nil {
		out.reason = refusalOf(t, err).reason
		out.text += written(t, grpcstatus.Convert(err).Proto())
	}
	return out
}

// written is a message as text. protojson puts spaces at random, so that nobody depends on them.
func written(t *testing.T, m proto.Message) string {
	t.Helper()
	text, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for i, b := range text {
		if b == ' ' && i > 0 && strings.ContainsRune(",:", rune(text[i-1])) {
			continue
		}
		out.WriteByte(b)
	}
	return out.String()
}

// byHand are the routes of methods that REST does not take from their protos.
var byHand = map[protoreflect.Name]string{"WatchFilings": "/v1/events", "WatchOverview": "/v1/operations/overview:watch"}

var variable = regexp.MustCompile(`\{(\w+)\}`)

// overREST makes the same call by HTTP.
func overREST(ctx context.Context, t *testing.T, s *site, token string, m protoreflect.MethodDescriptor, req proto.Message) answer {
	t.Helper()
	rule, _ := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
	method, path := ruled(rule)
	if path == "" {
		method, path = http.MethodGet, byHand[m.Name()]
	}
	if path == "" {
		t.Fatalf("%s has no REST", m.FullName())
	}
	msg, rest := req.ProtoReflect(), proto.Clone(req).ProtoReflect()
	path = variable.ReplaceAllStringFunc(path, func(name string) string {
		fd := msg.Descriptor().Fields().ByName(protoreflect.Name(strings.Trim(name, "{}")))
		rest.Clear(fd)
		return msg.Get(fd).String()
	})
	var body []byte
	if rule.GetBody() != "" {
		var err error
		if body, err = (protojson.MarshalOptions{UseProtoNames: true}).Marshal(rest.Interface()); err != nil {
			t.Fatal(err)
		}
	} else {
		path += "?" + query(rest)
	}
	return s.get(ctx, t, token, method, path, body)
}

func ruled(rule *annotations.HttpRule) (method, path string) {
	switch p := rule.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return http.MethodGet, p.Get
	case *annotations.HttpRule_Post:
		return http.MethodPost, p.Post
	case *annotations.HttpRule_Put:
		return http.MethodPut, p.Put
	case *annotations.HttpRule_Delete:
		return http.MethodDelete, p.Delete
	default:
		return "", ""
	}
}

// query writes the fields of a message that are plain as parameters.
func query(msg protoreflect.Message) string {
	var parts []string
	msg.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsList():
			for i := range v.List().Len() {
				parts = append(parts, string(fd.Name())+"="+v.List().Get(i).String())
			}
		case fd.Kind() == protoreflect.EnumKind:
			parts = append(parts, fmt.Sprintf("%s=%d", fd.Name(), v.Enum()))
		case fd.Kind() != protoreflect.MessageKind:
			parts = append(parts, string(fd.Name())+"="+v.String())
		}
		return true
	})
	slices.Sort(parts)
	return strings.Join(parts, "&")
}

var reasonIn = regexp.MustCompile(`"reason":"([A-Z_]+)","domain"`)

// get makes a request and takes all of its answer; of a stream the snapshot.
func (s *site) get(ctx context.Context, t *testing.T, token, method, path string, body []byte) answer {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept-Language", "en")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	resp.Header.Del("Date")
	resp.Header.Del("Content-Length") // that of the name in it
	var head bytes.Buffer
	if err := resp.Header.Write(&head); err != nil {
		t.Fatal(err)
	}
	stream := strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream")
	var text []byte
	for chunk := make([]byte, 4096); ; {
		n, err := resp.Body.Read(chunk)
		text = append(text, chunk[:n]...)
		if stream && (bytes.Contains(text, []byte("snapshot-done")) || bytes.Contains(text, []byte("event: overview"))) {
			break
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	out := answer{text: resp.Status + "\n" + head.String() + strings.ReplaceAll(string(text), ": ", ":")}
	if resp.StatusCode >= http.StatusBadRequest {
		found := reasonIn.FindSubmatch(text)
		if found == nil {
			t.Fatalf("%s %s: %s is no problem", method, path, out.text)
		}
		out.reason = string(found[1])
	}
	return out
}
