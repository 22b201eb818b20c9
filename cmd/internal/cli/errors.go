package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/returns"
)

// errorDomain marks reasons that are in our catalogue.
const errorDomain = "springtide"

// A Refusal says why something was not taken.
type Refusal struct {
	// Reason in UPPER_SNAKE, as in docs/errors.md; empty when there is none.
	Reason string
	// Field is the path of the offending field; empty: none.
	Field   string
	Message *springtidev1.LocalizedText
	// Violations say it in detail when a file is wrong; may be empty.
	Violations []*springtidev1.Violation
}

// reasonNotSubmitted is given to what was never sent, because the rest went wrong.
const reasonNotSubmitted = "NOT_SUBMITTED"

// wrongData reports whether the return itself is at fault, rather than the moment or the caller.
func (r *Refusal) wrongData() bool {
	p := filing.ProblemOf(r.Reason)
	if p.Reason != r.Reason { // not in the catalogue: a reader of files said it
		return r.Reason != reasonNotSubmitted
	}
	return p.Category == filing.CategoryInvalid || p.Category == filing.CategoryExists
}

// RefusalOf reads an error of the catalogue, of a server or of a reader of files.
func RefusalOf(err error) *Refusal {
	if own, ok := errors.AsType[*filing.Error](err); ok {
		zh, en := own.Text()
		return &Refusal{Reason: own.Reason, Field: own.Field, Message: &springtidev1.LocalizedText{Zh: zh, En: en}}
	}
	if file, ok := errors.AsType[*returns.Error](err); ok && len(file.Violations) > 0 {
		r := &Refusal{
			Reason: file.Violations[0].GetRule(), Violations: file.Violations,
			Message: &springtidev1.LocalizedText{Zh: file.Text(true), En: file.Text(false)},
		}
		if cells := file.Violations[0].GetCells(); len(cells) > 0 {
			r.Field = cells[0]
		}
		return r
	}
	if a := answerOf(err); a != nil {
		r := &Refusal{Reason: a.reason, Message: a.message}
		if len(a.fields) > 0 {
			r.Field = a.fields[0].GetField()
		}
		return r
	}
	return &Refusal{Message: both(err.Error())}
}

func both(text string) *springtidev1.LocalizedText {
	return &springtidev1.LocalizedText{Zh: text, En: text}
}

// An answer is what a server said instead of doing what was asked.
type answer struct {
	code    codes.Code
	reason  string
	message *springtidev1.LocalizedText
	fields  []*errdetails.BadRequest_FieldViolation
	// wait is the pause the server asked for; told says that it asked.
	wait time.Duration
	told bool
	// ours: the answer comes from a front door, not from the network between.
	ours bool
}

// answerOf reads the details of a gRPC error; nil when it is none.
func answerOf(err error) *answer {
	st, ok := status.FromError(err)
	if !ok || st.Code() == codes.OK {
		return nil
	}
	a := &answer{code: st.Code(), message: &springtidev1.LocalizedText{}}
	var args map[string]string
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == errorDomain {
				a.ours, a.reason = true, d.GetReason()
				args = d.GetMetadata()
			}
		case *errdetails.LocalizedMessage:
			if strings.HasPrefix(d.GetLocale(), "zh") {
				a.message.Zh = d.GetMessage()
			} else {
				a.message.En = d.GetMessage()
			}
		case *errdetails.BadRequest:
			a.fields = d.GetFieldViolations()
		case *errdetails.RetryInfo:
			a.wait, a.told = d.GetRetryDelay().AsDuration(), true
		}
	}
	if filing.ProblemOf(a.reason).Reason == a.reason { // what the server did not translate, the catalogue has
		zh, en := (&filing.Error{Reason: a.reason, Args: args}).Text()
		a.message.Zh, a.message.En = cmp.Or(a.message.Zh, zh), cmp.Or(a.message.En, en)
	}
	if a.message.Zh == "" && a.message.En == "" {
		a.message = both(st.Message())
	}
	return a
}

// explain says in plain words what went wrong and what to do, on one or more lines.
func explain(err error, lang Lang) string {
	if unreachable, ok := errors.AsType[*unreachableError](err); ok {
		return unreachable.explain(lang)
	}
	if own, ok := errors.AsType[*filing.Error](err); ok {
		zh, en := own.Text()
		text := withReason(lang.say(zh, en), own.Reason)
		if own.Field != "" {
			text = plain(own.Field) + lang.say("：", ": ") + text
		}
		return text
	}
	if file, ok := errors.AsType[*returns.Error](err); ok {
		return file.Text(lang == Chinese)
	}
	a := answerOf(err)
	if a == nil {
		return err.Error()
	}
	var b strings.Builder
	b.WriteString(withReason(plain(lang.text(a.message)), a.reason))
	for _, f := range a.fields {
		text := cmp.Or(f.GetLocalizedMessage().GetMessage(), f.GetDescription())
		if text == lang.text(a.message) {
			fmt.Fprintf(&b, lang.say("\n  字段：%s", "\n  field: %s"), plain(f.GetField()))
			continue
		}
		fmt.Fprintf(&b, "\n  %s: %s", plain(f.GetField()), plain(text))
	}
	if a.told && a.wait > 0 {
		fmt.Fprintf(&b, lang.say("\n  请在 %s后重试", "\n  try again in %s"), seconds(a.wait, lang))
	}
	switch a.reason {
	case filing.ReasonKeyMissing:
		b.WriteString(lang.say("\n  springtide dev 的密钥在其数据目录的 dev.key 文件中：",
			"\n  springtide dev keeps a ready-made key in its data directory:"))
		b.WriteString(" export SPRINGTIDE_KEY=$(cat springtide-data/dev.key)")
	case "":
		if a.code == codes.Unimplemented {
			b.WriteString(lang.say("\n  该服务端不支持此操作，请先升级服务端", "\n  that server does not know this request; upgrade it first"))
		}
	}
	return b.String()
}

func withReason(text, reason string) string {
	if reason == "" {
		return text
	}
	return text + " (" + reason + ")"
}

// seconds writes a pause for people.
func seconds(d time.Duration, lang Lang) string {
	s := int((d + time.Second - 1) / time.Second)
	if s < 60 {
		return fmt.Sprintf(lang.say("%d 秒", "%d s"), s)
	}
	if s < 3600 {
		return fmt.Sprintf(lang.say("%d 分 %02d 秒", "%d min %02d s"), s/60, s%60)
	}
	return fmt.Sprintf(lang.say("%d 小时 %02d 分", "%d h %02d min"), s/3600, s%3600/60)
}

// elapsed writes how long something took.
func elapsed(d time.Duration, lang Lang) string {
	if d < 10*time.Second {
		return fmt.Sprintf(lang.say("%.1f 秒", "%.1f s"), d.Seconds())
	}
	return seconds(d, lang)
}

// An unreachableError: no front door answered at an address.
type unreachableError struct {
	address string
	err     error
}

func (e *unreachableError) Error() string {
	return fmt.Sprintf("no springtide server answers at %s: %v", e.address, e.err)
}

func (e *unreachableError) Unwrap() error { return e.err }

func (e *unreachableError) explain(lang Lang) string {
	detail := e.err.Error()
	if st, ok := status.FromError(e.err); ok {
		detail = st.Message()
	}
	if _, dialing, ok := strings.Cut(detail, "Error while dialing: "); ok { // grpc wraps what matters
		detail = strings.TrimSuffix(dialing, `"`)
	}
	return fmt.Sprintf(lang.say(
		"%s 上没有 springtide 服务端应答（%s）\n  在本机启动一个：springtide dev\n  连接其他服务端：--grpc HOST:PORT 或环境变量 SPRINGTIDE_GRPC",
		"no springtide server answers at %s (%s)\n  start one on this machine: springtide dev\n  or name another: --grpc HOST:PORT, or SPRINGTIDE_GRPC"),
		e.address, plain(detail))
}
