package cli

import (
	"strings"

	"springtide/autoscale"
	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/acts"
	"springtide/services/authority"
)

// scaleReason is why the scaler wants so many workers. One of a newer scaler stays as it came.
func (l Lang) scaleReason(wanted int, code string, facts map[string]string, english string) string {
	if l == Chinese {
		if text := autoscale.Chinese(wanted, code, facts); text != "" {
			return text
		}
	}
	return english
}

// problem is why a group's numbers cannot be trusted; what is wrong in detail is for
// whoever mends it, and is said in English.
func (l Lang) problem(detail string) string {
	if detail == "" || l == English {
		return detail
	}
	return "数据缺失或过旧（" + detail + "）"
}

// breaker is how an authority's breaker stands.
func (l Lang) breaker(state string) string {
	words := map[string]string{"closed": "关闭", "half-open": "半开", "open": "打开"}
	if zh, ok := words[state]; ok && l == Chinese {
		return zh
	}
	return state
}

// cause is what holds filings up, or left their outcome unknown. In Chinese the word of
// the metrics and the runbooks stands behind it.
func (l Lang) cause(code string) string {
	words := map[string]string{
		authority.HeldPaused: "已被暂停", authority.HeldClosed: "不在服务时间", authority.HeldBreaker: "熔断器打开",
		authority.HeldConcurrency: "等待并发位", authority.HeldRate: "等待配额",
		authority.CauseThrottled: "税局正在限流", authority.CauseMaintenance: "税局维护中", authority.CauseTimeout: "请求超时",
		authority.CauseReset: "连接被重置", authority.CauseRefused: "拒绝连接", authority.CauseDNS: "域名解析失败", authority.CauseTLS: "TLS 握手失败",
		authority.CauseTransport: "网络错误", authority.CauseUnparsable: "答复无法识别", authority.CauseMismatch: "答复与申报不符",
		authority.CauseDuplicate: "税局称重复申报", authority.CauseTooLarge: "答复过大", authority.CauseNotQueryable: "无法向税局查询",
		authority.CauseUnauthorized: "税局不认可我方凭证", authority.CauseMisconfigured: "接口地址或约定有误", "dead_letter": "成为死信",
	}
	if zh, ok := words[code]; ok && l == Chinese {
		return zh + "（" + code + "）"
	}
	return code
}

// outcome is what became of something an operator did; reasons of the error catalogue stay.
func (l Lang) outcome(code string) string {
	words := map[string]string{
		"": "未记录结果", acts.Done: "已完成", acts.Already: "已在进行", acts.Running: "进行中", acts.Interrupted: "已中断",
	}
	if zh, ok := words[code]; ok && l == Chinese {
		return zh
	}
	if code == "" {
		return "open"
	}
	return code
}

// webhook is how an address takes what is posted to it.
func (l Lang) webhook(state springtidev1.WebhookState) string {
	words := map[springtidev1.WebhookState]string{
		springtidev1.WebhookState_WEBHOOK_STATE_ENABLED: "已启用", springtidev1.WebhookState_WEBHOOK_STATE_FAILING: "投递失败中",
		springtidev1.WebhookState_WEBHOOK_STATE_DISABLED: "已停用",
	}
	if zh, ok := words[state]; ok && l == Chinese {
		return zh
	}
	return strings.ToLower(strings.TrimPrefix(state.String(), "WEBHOOK_STATE_"))
}
