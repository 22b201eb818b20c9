package target_test

import (
	"context"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"springtide/autoscale/target"
	"springtide/proto/externalscaler"
)

// caller is a generic gRPC client: it knows the methods' names and what KEDA
// sends, and nothing of our code.
type caller struct {
	*grpc.ClientConn
	keda *target.KEDA
}

func serve(t *testing.T) *caller {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k, err := target.NewKEDA(listener, "validate", "submit")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &caller{conn, k}
}

// message makes a message of KEDA's contract by its field numbers alone.
func message(t *testing.T, name, json string) *dynamicpb.Message {
	t.Helper()
	m := dynamicpb.NewMessage(contract(t).Messages().ByName(protoreflect.Name(name)))
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// contract is KEDA's, written down here once more, so that a change of ours shows.
func contract(t *testing.T) protoreflect.FileDescriptor {
	t.Helper()
	field := func(name string, number int32, kind descriptorpb.FieldDescriptorProto_Type, more ...string) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{
			Name: &name, Number: &number, Type: kind.Enum(), JsonName: &name,
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
		for _, m := range more {
			if m == "repeated" {
				f.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
			} else {
				f.TypeName = proto.String(".externalscaler." + m)
			}
		}
		return f
	}
	const (
		text    = descriptorpb.FieldDescriptorProto_TYPE_STRING
		whole   = descriptorpb.FieldDescriptorProto_TYPE_INT64
		float   = descriptorpb.FieldDescriptorProto_TYPE_DOUBLE
		boolean = descriptorpb.FieldDescriptorProto_TYPE_BOOL
		nested  = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	)
	msg := func(name string, fields ...*descriptorpb.FieldDescriptorProto) *descriptorpb.DescriptorProto {
		return &descriptorpb.DescriptorProto{Name: &name, Field: fields}
	}
	ref := msg("ScaledObjectRef", field("name", 1, text), field("namespace", 2, text), field("scalerMetadata", 3, nested, "ScaledObjectRef.ScalerMetadataEntry", "repeated"))
	ref.NestedType = []*descriptorpb.DescriptorProto{{
		Name: proto.String("ScalerMetadataEntry"), Field: []*descriptorpb.FieldDescriptorProto{field("key", 1, text), field("value", 2, text)},
		Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
	}}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("keda.proto"), Package: proto.String("externalscaler"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			ref,
			msg("IsActiveResponse", field("result", 1, boolean)),
			msg("GetMetricSpecResponse", field("metricSpecs", 1, nested, "MetricSpec", "repeated")),
			msg("MetricSpec", field("metricName", 1, text), field("targetSize", 2, whole), field("targetSizeFloat", 3, float)),
			msg("GetMetricsRequest", field("scaledObjectRef", 1, nested, "ScaledObjectRef"), field("metricName", 2, text)),
			msg("GetMetricsResponse", field("metricValues", 1, nested, "MetricValue", "repeated")),
			msg("MetricValue", field("metricName", 1, text), field("metricValue", 2, whole), field("metricValueFloat", 3, float)),
		},
	}, new(protoregistry.Files))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

const (
	service = "/externalscaler.ExternalScaler/"
	submit  = `{"name":"springtide-submit","namespace":"tax","scalerMetadata":{"scalerAddress":"scaler:7110","group":"submit"}}`
)

func (c *caller) ask(t *testing.T, method, in, json, out string) (string, error) {
	t.Helper()
	answer := message(t, out, "{}")
	if err := c.Invoke(t.Context(), service+method, message(t, in, json), answer); err != nil {
		return "", err
	}
	text, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	var compact []byte
	for _, b := range text { // protojson puts blanks in at random
		if b != ' ' {
			compact = append(compact, b)
		}
	}
	return string(compact), nil
}

func TestKEDAGetsWhatItExpects(t *testing.T) {
	t.Parallel()
	c := serve(t)
	for _, method := range [][3]string{{"IsActive", submit, "IsActiveResponse"}, {"GetMetrics", `{"metricName":"s0-springtide-wanted","scaledObjectRef":` + submit + `}`, "GetMetricsResponse"}} {
		in := "ScaledObjectRef"
		if method[0] == "GetMetrics" {
			in = "GetMetricsRequest"
		}
		if _, err := c.ask(t, method[0], in, method[1], method[2]); status.Code(err) != codes.Unavailable {
			t.Errorf("%s before anything was measured: %v", method[0], err)
		}
	}
	for _, n := range []int{0, 3, 0, 64} {
		c.keda.Replicas("submit").Scale(n)
		active := `{"result":false}`
		if n > 0 {
			active = `{"result":true}`
		}
		number := map[int]string{0: "0", 3: "3", 64: "64"}[n]
		for _, want := range []struct{ method, in, json, out, answer string }{
			{"IsActive", "ScaledObjectRef", submit, "IsActiveResponse", active},
			{"GetMetricSpec", "ScaledObjectRef", submit, "GetMetricSpecResponse", `{"metricSpecs":[{"metricName":"springtide-wanted","targetSize":"1","targetSizeFloat":1}]}`},
			{"GetMetrics", "GetMetricsRequest", `{"metricName":"s0-springtide-wanted","scaledObjectRef":` + submit + `}`, "GetMetricsResponse", `{"metricValues":[{"metricName":"springtide-wanted","metricValue":"` + number + `","metricValueFloat":` + number + `}]}`},
		} {
			got, err := c.ask(t, want.method, want.in, want.json, want.out)
			if err != nil || got != want.answer {
				t.Errorf("%s with %d wanted: %s, %v, want %s", want.method, n, got, err, want.answer)
			}
		}
	}
}

func TestKEDAIsToldWhatIsWrongWithItsQuestion(t *testing.T) {
	t.Parallel()
	c := serve(t)
	c.keda.Replicas("submit").Scale(1)
	for _, bad := range []string{`{}`, `{"scalerMetadata":{"group":"nobody"}}`} {
		_, err := c.ask(t, "IsActive", "ScaledObjectRef", bad, "IsActiveResponse")
		if status.Code(err) != codes.InvalidArgument || !cmp.Equal(status.Convert(err).Message()[len(status.Convert(err).Message())-len("submit, validate"):], "submit, validate") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := c.ask(t, "GetMetrics", "GetMetricsRequest", `{"metricName":"lag","scaledObjectRef":`+submit+`}`, "GetMetricsResponse"); status.Code(err) != codes.InvalidArgument {
		t.Error(err)
	}
	if _, err := c.ask(t, "StreamMetricSpec", "ScaledObjectRef", submit, "GetMetricSpecResponse"); status.Code(err) != codes.Unimplemented {
		t.Error(err)
	}
}

func TestKEDAIsPushedEveryChangeBetweenNoneAndSome(t *testing.T) {
	t.Parallel()
	c := serve(t)
	stream, err := externalscaler.NewExternalScalerClient(c.ClientConn).StreamIsActive(t.Context(), &externalscaler.ScaledObjectRef{
		ScalerMetadata: map[string]string{"group": "submit"},
	})
	if err != nil {
		t.Fatal(err)
	}
	replicas := c.keda.Replicas("submit")
	for _, step := range []struct {
		wanted int
		pushed bool
	}{{0, false}, {5, true}, {0, false}, {1, true}} {
		replicas.Scale(step.wanted)
		got, err := stream.Recv()
		if err != nil || got.GetResult() != step.pushed {
			t.Fatalf("%d wanted: pushed %v, %v", step.wanted, got, err)
		}
	}
}
