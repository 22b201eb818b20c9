package records_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/forms/sample"
	"springtide/services/records"
)

// typical are submissions as the stages see them: as received, and validated.
func typical(tb testing.TB) []*springtidev1.Submission {
	tb.Helper()
	firm, err := sample.New(sample.Config{Seed: 1, Clients: 40})
	if err != nil {
		tb.Fatal(err)
	}
	all := make([]*springtidev1.Submission, 0, 2*len(firm.Returns)+3)
	for _, r := range firm.Returns {
		sub := &springtidev1.Submission{
			SubmissionId: "sub_01K5C2V7Q0", FilingId: "f_3mzq8v0r2k", Tenant: "t1", Subject: "key_7", Digest: []byte("0123456789abcdef0123456789abcdef"),
			Return: r, BatchId: "b_1", RequestId: "press 1", ReceiveTime: timestamppb.New(time.Unix(1_790_000_000, 5)),
		}
		done := proto.CloneOf(sub)
		done.Position, done.Completed, done.Return = 1<<40, r, nil
		done.Warnings = []*springtidev1.Violation{{Rule: "r1"}, {Rule: "r2"}}
		done.DueTime, done.Failures, done.Reopen, done.AtGate = timestamppb.New(time.Unix(-1, 0)), -3, true, true
		all = append(all, sub, done)
	}
	return append(all, &springtidev1.Submission{},
		&springtidev1.Submission{Return: &springtidev1.Return{}, Completed: &springtidev1.Return{Period: &springtidev1.Period{}, Taxpayer: &springtidev1.Taxpayer{}}},
		&springtidev1.Submission{Return: &springtidev1.Return{Lines: map[string]string{"": "", "税": "€"}}, ReceiveTime: &timestamppb.Timestamp{}})
}

// agree fails unless both codecs say the same of b.
func agree(tb testing.TB, b []byte) {
	tb.Helper()
	want := &springtidev1.Submission{}
	wrong := proto.Unmarshal(b, want)
	got, err := records.UnmarshalSubmission(b)
	heading, headErr := records.UnmarshalHeading(b)
	if (err == nil) != (wrong == nil) || (headErr == nil) != (wrong == nil) {
		tb.Fatalf("%x: %v and %v, the library says %v", b, err, headErr, wrong)
	}
	if wrong != nil {
		return
	}
	if !proto.Equal(got, want) {
		tb.Fatalf("%x:\n%v, the library says\n%v", b, got, want)
	}
	again, err := records.MarshalSubmission(got)
	if err != nil {
		tb.Fatal(err)
	}
	back := &springtidev1.Submission{}
	if err := proto.Unmarshal(again, back); err != nil || !proto.Equal(back, want) {
		tb.Fatalf("%x is written as %x: %v, %v", b, again, back, err)
	}
	for _, r := range []*springtidev1.Return{want.GetReturn(), want.GetCompleted()} {
		if r != nil {
			r.Lines, r.Context = nil, nil
		}
	}
	if !proto.Equal(heading, want) {
		tb.Fatalf("%x: heading\n%v, want\n%v", b, heading, want)
	}
}

func TestTypicalRecords(t *testing.T) {
	t.Parallel()
	for _, sub := range typical(t) {
		b, err := proto.Marshal(sub)
		if err != nil {
			t.Fatal(err)
		}
		agree(t, b)
	}
}

// What is not known by heart goes through the library.
func TestUnusualRecords(t *testing.T) {
	t.Parallel()
	usual, err := proto.Marshal(typical(t)[1])
	if err != nil {
		t.Fatal(err)
	}
	field := func(n protowire.Number, content string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), content)
	}
	number := func(n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
	}
	entry := string(field(6, string(field(1, "k"))+string(field(2, "v"))))
	for name, extra := range map[string][]byte{
		"a field of a newer release":        field(17, "x"),
		"a number of a newer release":       number(31, 7),
		"a high field number":               number(1000, 7),
		"a fixed32":                         protowire.AppendFixed32(protowire.AppendTag(nil, 20, protowire.Fixed32Type), 7),
		"a text twice":                      field(2, "other"),
		"a return twice, which is merged":   field(6, string(field(1, "form"))+entry),
		"a time twice":                      field(9, string(number(2, 3))),
		"text that is not UTF-8":            field(1, "\xff"),
		"a cell that is not UTF-8":          field(6, string(field(6, string(field(1, "\xff"))))),
		"a number where text belongs":       number(1, 4),
		"text where a number belongs":       field(10, "4"),
		"a cell without a value":            field(11, string(field(6, string(field(1, "k"))))),
		"a cell with a third field":         field(11, string(field(6, string(field(3, "k"))))),
		"a cell twice":                      field(11, entry+entry),
		"a cell with its key twice":         field(11, string(field(6, string(field(1, "k"))+string(field(1, "l"))))),
		"an unknown field in a return":      field(11, string(field(9, "x"))),
		"an unknown field in a period":      field(11, string(field(3, string(field(3, "x"))))),
		"an unknown field in a time":        field(13, string(number(3, 1))),
		"a warning that is broken":          field(12, "\xff"),
		"a large amendment":                 field(11, string(number(8, 1<<40))),
		"many failures":                     number(14, 1<<40|5),
		"a tag and nothing":                 {0x0a},
		"a length beyond the end":           {0x0a, 0x7f},
		"a number without an end":           {0x50, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"a number of more than 64 bits":     {0x50, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02},
		"field number 0":                    {0x02, 0x00},
		"a group":                           {0x0b, 0x0c},
		"a tag in more bytes than it needs": {0x8a, 0x00, 0x01, 'x'},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			agree(t, extra)
			agree(t, append(usual[:len(usual):len(usual)], extra...))
		})
	}
}

func TestWhatCannotBeWrittenIsRefused(t *testing.T) {
	t.Parallel()
	for _, sub := range []*springtidev1.Submission{
		{Tenant: "\xff"},
		{Return: &springtidev1.Return{Lines: map[string]string{"a": "\xff"}}},
		{Completed: &springtidev1.Return{Context: map[string]string{"\xff": "a"}}},
		{Completed: &springtidev1.Return{Taxpayer: &springtidev1.Taxpayer{Name: "\xff"}}},
		{Warnings: []*springtidev1.Violation{{Rule: "\xff"}}},
	} {
		if b, err := records.MarshalSubmission(sub); err == nil {
			t.Errorf("%v is written as %x", sub, b)
		}
	}
}

// A field that a newer release added to the record must go through this one unharmed.
func TestEveryFieldIsWritten(t *testing.T) {
	t.Parallel()
	sub := typical(t)[1]
	sub.Return = sub.GetCompleted()
	for fields, i := sub.ProtoReflect().Descriptor().Fields(), 0; i < fields.Len(); i++ {
		if fd := fields.Get(i); !sub.ProtoReflect().Has(fd) {
			t.Errorf("this test leaves %s empty: teach it, and the codec", fd.Name())
		}
	}
	b, err := records.MarshalSubmission(sub)
	if err != nil {
		t.Fatal(err)
	}
	back := &springtidev1.Submission{}
	if err := proto.Unmarshal(b, back); err != nil || !proto.Equal(back, sub) {
		t.Errorf("%v, %v; want %v", back, err, sub)
	}
}

func FuzzSubmission(f *testing.F) {
	for _, sub := range typical(f) {
		b, err := proto.Marshal(sub)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { agree(t, b) })
}

func BenchmarkSubmission(b *testing.B) {
	sub := typical(b)[0]
	text, err := proto.Marshal(sub)
	if err != nil {
		b.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"read":             func() error { _, err := records.UnmarshalSubmission(text); return err },
		"read/heading":     func() error { _, err := records.UnmarshalHeading(text); return err },
		"read/library":     func() error { return proto.Unmarshal(text, &springtidev1.Submission{}) },
		"write":            func() error { _, err := records.MarshalSubmission(sub); return err },
		"write/by-library": func() error { _, err := proto.Marshal(sub); return err },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if err := do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
