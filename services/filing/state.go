package filing

import (
	"time"

	springtidev1 "springtide/proto/springtide/v1"
)

// StateOf is what people see of a case. newest is the position of the newest
// submission that names the filing: while the ledger has not taken it into
// account, an ended filing is received again rather than still ended.
func StateOf(c Case, newest int64) springtidev1.FilingState {
	fresh := newest > c.Position && newest > c.Cancelled
	if fresh && !c.Phase.holds() {
		return springtidev1.FilingState_FILING_STATE_RECEIVED
	}
	switch c.Phase {
	case PhaseInvalid:
		return springtidev1.FilingState_FILING_STATE_INVALID
	case PhaseOpen:
		switch {
		case !c.Due.IsZero():
			return springtidev1.FilingState_FILING_STATE_WAITING
		case c.Exposed:
			return springtidev1.FilingState_FILING_STATE_CONFIRMING
		default:
			return springtidev1.FilingState_FILING_STATE_QUEUED
		}
	case PhaseClaimed:
		if c.OutcomeUnknown {
			return springtidev1.FilingState_FILING_STATE_CONFIRMING
		}
		return springtidev1.FilingState_FILING_STATE_SUBMITTING
	case PhasePending:
		return springtidev1.FilingState_FILING_STATE_SUBMITTING
	case PhaseAccepted:
		return springtidev1.FilingState_FILING_STATE_ACCEPTED
	case PhaseRejected:
		return springtidev1.FilingState_FILING_STATE_REJECTED
	case PhaseCancelled:
		return springtidev1.FilingState_FILING_STATE_CANCELLED
	case PhaseQuarantined, PhaseDead:
		return springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION
	default:
		return springtidev1.FilingState_FILING_STATE_RECEIVED
	}
}

// FinalState reports whether a state only changes when a person does something.
func FinalState(s springtidev1.FilingState) bool {
	switch s {
	case springtidev1.FilingState_FILING_STATE_ACCEPTED, springtidev1.FilingState_FILING_STATE_REJECTED,
		springtidev1.FilingState_FILING_STATE_INVALID, springtidev1.FilingState_FILING_STATE_CANCELLED,
		springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION, springtidev1.FilingState_FILING_STATE_CONFLICT:
		return true
	default:
		return false
	}
}

// Words are the texts of a state, in both languages.
type Words struct {
	// Name is the state's short name.
	Name *springtidev1.LocalizedText
	// Message says what happened, Advice what to do; Advice may be nil.
	Message, Advice *springtidev1.LocalizedText
	Turn            springtidev1.Turn
}

// WordsOf gives the texts of a state. Every state says what happened, whose turn
// it is and what to do.
func WordsOf(s springtidev1.FilingState) Words {
	text := func(zh, en string) *springtidev1.LocalizedText {
		return &springtidev1.LocalizedText{Zh: zh, En: en}
	}
	switch s {
	case springtidev1.FilingState_FILING_STATE_RECEIVED:
		return Words{
			Name: text("已接收", "received"), Turn: springtidev1.Turn_TURN_OURS,
			Message: text("已收到并妥善保存，等待校验", "Received and stored safely; it will be checked next."),
		}
	case springtidev1.FilingState_FILING_STATE_CHECKING:
		return Words{
			Name: text("校验中", "checking"), Turn: springtidev1.Turn_TURN_OURS,
			Message: text("正在按申报表规则校验", "The rules of the form are being checked."),
		}
	case springtidev1.FilingState_FILING_STATE_INVALID:
		return Words{
			Name: text("数据有误", "invalid"), Turn: springtidev1.Turn_TURN_YOURS,
			Message: text("申报数据未通过校验，没有报送税局", "The data breaks rules of the form; nothing was sent to the authority."),
			Advice:  text("请按提示更正后重新提交", "Correct what is listed and submit again."),
		}
	case springtidev1.FilingState_FILING_STATE_QUEUED:
		return Words{
			Name: text("待提交", "queued"), Turn: springtidev1.Turn_TURN_OURS,
			Message: text("校验通过，排队等待报送税局", "The data is correct; it waits for its turn at the authority."),
		}
	case springtidev1.FilingState_FILING_STATE_SUBMITTING:
		return Words{
			Name: text("提交中", "submitting"), Turn: springtidev1.Turn_TURN_AUTHORITY,
			Message: text("正在报送税局，等待税局结果", "On its way to the authority; its answer is awaited."),
		}
	case springtidev1.FilingState_FILING_STATE_ACCEPTED:
		return Words{
			Name: text("申报成功", "accepted"), Turn: springtidev1.Turn_TURN_NOBODY,
			Message: text("税局已受理，申报成功", "The authority accepted the filing; the receipt is kept."),
		}
	case springtidev1.FilingState_FILING_STATE_REJECTED:
		return Words{
			Name: text("申报失败", "rejected"), Turn: springtidev1.Turn_TURN_YOURS,
			Message: text("税局未受理本次申报", "The authority refused the filing."),
			Advice:  text("请根据税局给出的原因处理后重新提交", "Act on the authority's reasons, then submit again."),
		}
	case springtidev1.FilingState_FILING_STATE_WAITING:
		return Words{
			Name: text("税局繁忙，稍后自动重试", "waiting"), Turn: springtidev1.Turn_TURN_AUTHORITY,
			Message: text("税局繁忙或暂停服务，稍后将自动重试", "The authority is busy or closed; it is tried again without your doing."),
		}
	case springtidev1.FilingState_FILING_STATE_CONFIRMING:
		return Words{
			Name: text("结果确认中", "confirming"), Turn: springtidev1.Turn_TURN_OURS,
			Message: text("已报送但未收到税局结果，正在核实", "Sent, but no answer came back; the outcome is being looked up."),
			Advice:  text("请勿在其他渠道重复申报", "Do not file it elsewhere."),
		}
	case springtidev1.FilingState_FILING_STATE_NEEDS_ATTENTION:
		return Words{
			Name: text("需人工处理", "needs attention"), Turn: springtidev1.Turn_TURN_OURS,
			Message: text("结果无法自动确认，正在由人工核实", "The outcome cannot be settled by the machine; a person is looking into it."),
			Advice:  text("核实完成前请勿在其他渠道重复申报", "Do not file it elsewhere until that is done."),
		}
	case springtidev1.FilingState_FILING_STATE_CANCELLED:
		return Words{
			Name: text("已撤销", "cancelled"), Turn: springtidev1.Turn_TURN_YOURS,
			Message: text("报送税局前已撤销", "Taken back before anything was sent."),
			Advice:  text("如需申报请重新提交", "Submit it again if it is to be filed after all."),
		}
	case springtidev1.FilingState_FILING_STATE_CONFLICT:
		return Words{
			Name: text("与已有申报冲突", "conflict"), Turn: springtidev1.Turn_TURN_YOURS,
			Message: text("同一申报已有内容不同的提交", "Another submission with other content holds this filing."),
			Advice:  text("请核对已有申报；已申报成功的请做更正申报", "Look at the one that is there; amend it if it was accepted."),
		}
	default:
		return Words{Name: text("未知", "unknown"), Message: text("状态未知", "The state is not known.")}
	}
}

// PollAfter says when looking again makes sense; 0 when the state is final.
func PollAfter(s springtidev1.FilingState) time.Duration {
	switch s {
	case springtidev1.FilingState_FILING_STATE_WAITING, springtidev1.FilingState_FILING_STATE_CONFIRMING:
		return 10 * time.Second
	case springtidev1.FilingState_FILING_STATE_RECEIVED, springtidev1.FilingState_FILING_STATE_CHECKING,
		springtidev1.FilingState_FILING_STATE_QUEUED, springtidev1.FilingState_FILING_STATE_SUBMITTING:
		return time.Second
	default:
		return 0
	}
}
