package operations

import (
	"fmt"
	"time"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/calendar"
)

func text(zh, en string) *springtidev1.LocalizedText {
	return &springtidev1.LocalizedText{Zh: zh, En: en}
}

// moment is a time as people in charge of a deadline read it: by the clock of Shanghai, to the minute.
func moment(t time.Time) string {
	return t.In(calendar.Shanghai()).Format("2006-01-02 15:04") + " (UTC+8)"
}

func boundWords(b springtidev1.Bound, by string) (zh, en string) {
	switch b {
	case springtidev1.Bound_BOUND_AUTHORITY_QUOTA:
		return "受限于 " + by + " 的限流配额", "bound by the quota of " + by
	case springtidev1.Bound_BOUND_WORKERS:
		return "受限于处理能力（" + by + "）", "bound by the workers of " + by
	case springtidev1.Bound_BOUND_AUTHORITY_DOWN:
		return by + " 停止服务", by + " takes nothing"
	case springtidev1.Bound_BOUND_AUTHORITY_PAUSED:
		return by + " 已被暂停", by + " is paused"
	default:
		return "没有瓶颈", "bound by nothing"
	}
}

// headline is the verdict in a sentence.
func headline(r ruling, deadline time.Time) *springtidev1.LocalizedText {
	zh, en := boundWords(r.bound, r.by)
	switch {
	case r.verdict == springtidev1.Verdict_VERDICT_UNKNOWN && r.bound == springtidev1.Bound_BOUND_UNSPECIFIED:
		return text("无法判断：缺少最新数据", "Unknown: what is needed to tell is missing or old")
	case r.verdict == springtidev1.Verdict_VERDICT_UNKNOWN:
		return text("无法判断，"+zh, "Unknown, "+en)
	case r.verdict == springtidev1.Verdict_VERDICT_LATE && r.known:
		return text(
			fmt.Sprintf("将会逾期，%s：预计 %s 至 %s 完成，截止 %s", zh, moment(r.done.Earliest), moment(r.done.Latest), moment(deadline)),
			fmt.Sprintf("Late, %s: done between %s and %s, due by %s", en, moment(r.done.Earliest), moment(r.done.Latest), moment(deadline)))
	case r.verdict == springtidev1.Verdict_VERDICT_LATE:
		return text("将会逾期，"+zh+"，完成时间未知", "Late, "+en+", and nobody can say when it will be done")
	case r.known:
		return text(
			fmt.Sprintf("可按时完成，%s：预计 %s 至 %s 完成", zh, moment(r.done.Earliest), moment(r.done.Latest)),
			fmt.Sprintf("On track, %s: done between %s and %s", en, moment(r.done.Earliest), moment(r.done.Latest)))
	default:
		return text("可按时完成：没有未完成的申报", "On track: nothing is open")
	}
}

// missing says what is not known. What a server answered stays as it came.
func missing(problem *springtidev1.LocalizedText) *springtidev1.LocalizedText {
	return text("数据缺失："+problem.GetZh(), "Not known: "+problem.GetEn())
}

func unread(err error) *springtidev1.LocalizedText {
	return text("读取失败（"+err.Error()+"）", err.Error())
}

func silent(group string, age time.Duration) *springtidev1.LocalizedText {
	age = age.Round(time.Second)
	return text(fmt.Sprintf("消费组 %s 的一个进程已有 %s 没有消息", group, age), fmt.Sprintf("a worker of group %s has said nothing for %s", group, age))
}

func noOffsets(group string, err error) *springtidev1.LocalizedText {
	return text(fmt.Sprintf("缺少消费组 %s 的位点（%v）", group, err), fmt.Sprintf("the offsets of group %s are missing (%v)", group, err))
}

func oldCount(age time.Duration) *springtidev1.LocalizedText {
	age = age.Round(time.Second)
	return text(fmt.Sprintf("某个分区的最新计数是 %s 前的", age), fmt.Sprintf("the newest count of some partition is %s old", age))
}

func openWork(open, overdue int64, deadline time.Time) *springtidev1.LocalizedText {
	zh := fmt.Sprintf("未完成 %d 份，截止 %s", open, moment(deadline))
	en := fmt.Sprintf("%d open, due by %s", open, moment(deadline))
	if overdue > 0 {
		zh += fmt.Sprintf("；其中 %d 份的申报期已过", overdue)
		en += fmt.Sprintf("; for %d of them the last day has passed already", overdue)
	}
	return text(zh, en)
}

func noWorkers(g groupSeen) *springtidev1.LocalizedText {
	return text(
		fmt.Sprintf("%s 有 %d 份待处理，但没有运行中的处理进程", g.Name, int64(g.work.Open)),
		fmt.Sprintf("%d wait for group %s, and none of its workers runs", int64(g.work.Open), g.Name))
}

// aboutLane is one authority's share of the verdict.
func aboutLane(l lane, verdict springtidev1.Verdict, deadline time.Time, need time.Duration) *springtidev1.LocalizedText {
	zh, en := fmt.Sprintf("%s：未完成 %d 份", l.name, l.queue.Open), fmt.Sprintf("%s: %d open", l.name, l.queue.Open)
	if l.pace.Measured > 0 {
		zh += fmt.Sprintf("，近期每秒完成 %.1f 份", l.pace.Measured)
		en += fmt.Sprintf(", %.1f/s ended lately", l.pace.Measured)
	}
	if l.pace.Quota > 0 {
		zh += fmt.Sprintf("，配额每秒 %.1f 次，已用 %.1f", l.pace.Quota, l.use)
		en += fmt.Sprintf(", quota %.1f/s of which %.1f are used", l.pace.Quota, l.use)
	}
	if l.throttled() {
		zh += "，税局正在限流"
		en += ", held back by its limit"
	}
	switch {
	case l.known:
		zh += fmt.Sprintf("，预计 %s 至 %s 完成", moment(l.done.Earliest), moment(l.done.Latest))
		en += fmt.Sprintf(", done between %s and %s", moment(l.done.Earliest), moment(l.done.Latest))
	case l.shut():
		zh2, en2 := stateWords(l.state)
		zh += "，" + zh2
		en += ", " + en2
		if need > 0 && verdict != springtidev1.Verdict_VERDICT_LATE {
			zh += fmt.Sprintf("；须在 %s 前恢复才能按时完成", moment(deadline.Add(-need)))
			en += fmt.Sprintf("; in time if it is back by %s", moment(deadline.Add(-need)))
		}
	case l.pace.Stalled:
		zh += "，近期没有一份完成，无法判断"
		en += ", none ended lately, so nobody can say"
	default:
		zh += "，处理速度尚未测得"
		en += ", its pace is not measured yet"
	}
	return text(zh, en)
}

// stateWords say what an authority does.
func stateWords(s springtidev1.AuthorityState) (zh, en string) {
	switch s {
	case springtidev1.AuthorityState_AUTHORITY_STATE_OPEN:
		return "正常", "takes filings"
	case springtidev1.AuthorityState_AUTHORITY_STATE_PAUSED:
		return "已被暂停", "paused by an operator"
	case springtidev1.AuthorityState_AUTHORITY_STATE_CLOSED:
		return "不在服务时间", "closed"
	case springtidev1.AuthorityState_AUTHORITY_STATE_DOWN:
		return "没有响应", "does not answer"
	default:
		return "暂无处理进程的报告", "no worker has said anything of it"
	}
}
