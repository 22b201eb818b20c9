package filing

// accessProblems: who is asking, and whether they may.
func accessProblems() []Problem {
	return []Problem{
		{
			ReasonKeyMissing, CategoryUnauthenticated,
			"请求没有携带 API 密钥。", "The request carries no API key.",
			"请在请求头 Authorization 中填写“Bearer 密钥”；使用命令行时请设置环境变量 SPRINGTIDE_KEY。",
			"Send it as the header \"Authorization: Bearer KEY\"; on the command line set SPRINGTIDE_KEY.",
		},
		{
			ReasonKeyInvalid, CategoryUnauthenticated,
			"API 密钥无效。", "The API key is not valid.",
			"请检查密钥是否复制完整；仍无效时请向管理员申请新密钥。",
			"Check that the whole key was copied; if it was, ask your administrator for a new one.",
		},
		{
			ReasonKeyRevoked, CategoryUnauthenticated,
			"该 API 密钥已被停用。", "The API key was revoked.",
			"请向管理员申请新密钥。", "Ask your administrator for a new one.",
		},
		{
			ReasonTokenInvalid, CategoryUnauthenticated,
			"登录令牌无效。", "The sign-in token is not valid here.",
			"请重新登录。若仍然失败，请管理员核对身份提供方的签发者、受众和声明设置。",
			"Sign in again. If that does not help, ask your administrator to compare issuer, audience and claims with the identity provider's.",
		},
		{
			ReasonTokenExpired, CategoryUnauthenticated,
			"登录令牌已过期。", "The sign-in token has expired.",
			"请重新登录。", "Sign in again.",
		},
		{
			ReasonPermissionDenied, CategoryPermission,
			"当前密钥没有执行此操作的权限。", "This key may not do that.",
			"该操作需要的角色：{roles}。请换用具备该角色的密钥，或联系管理员。",
			"It takes the role {roles}. Use a key that has it, or ask your administrator.",
		},
		{
			ReasonTaxpayerDenied, CategoryPermission,
			"当前密钥无权为该纳税人申报。", "This key may not file for this taxpayer.",
			"请核对纳税人识别号，或联系管理员把该纳税人加入密钥的授权范围。",
			"Check the taxpayer's number, or ask your administrator to add the taxpayer to the key.",
		},
		{
			ReasonKeyLimited, CategoryPermission,
			"当前密钥只限于部分纳税人，不能执行此操作。", "This key is limited to some taxpayers and may not do that.",
			"该操作涉及全部纳税人。请换用不限纳税人的密钥，或联系管理员。",
			"It concerns all taxpayers. Use a key that is not limited, or ask your administrator.",
		},
		{
			ReasonSessionExpired, CategoryUnauthenticated,
			"登录已过期。", "The session has ended.",
			"请重新登录。", "Sign in again.",
		},
		{
			ReasonCodeInvalid, CategoryUnauthenticated,
			"登录链接无效，或已经使用过。", "The sign-in link is not valid, or was used before.",
			"请用 API 密钥登录。", "Sign in with the API key.",
		},
		{
			ReasonCrossOrigin, CategoryPermission,
			"请求来自其他网站，已拒绝。", "The request came from another site and was refused.",
			"请直接在本网站操作。", "Do it from this site's own pages.",
		},
	}
}

// requestProblems: what is wrong with a request whatever it is about.
func requestProblems() []Problem {
	return []Problem{
		{
			ReasonRequestInvalid, CategoryInvalid,
			"请求中有 {count} 处错误。", "{count} things are wrong with the request.",
			"请按逐项提示更正后重新提交。", "Correct what is listed field by field, then send it again.",
		},
		{
			ReasonRequestMalformed, CategoryInvalid,
			"请求内容无法解析。", "The request cannot be read.",
			"请使用与服务端一致的接口定义重新生成请求。", "Build it from the published interface definition.",
		},
		{
			ReasonBodyTooLarge, CategoryInvalid,
			"请求内容过大，最多 {max} 字节。", "The body is too large; at most {max} bytes are allowed.",
			"请分成几次请求。", "Split the request.",
		},
		{
			ReasonInvalidUTF8, CategoryInvalid,
			"文本不是有效的 UTF-8 编码。", "The text is not valid UTF-8.",
			"请把数据转换为 UTF-8 后重新提交；从 Excel 导出的 CSV 通常是 GBK 编码。",
			"Convert the data to UTF-8 and send it again; a CSV saved by Excel is often GBK.",
		},
		{
			ReasonFieldRequired, CategoryInvalid,
			"必填项未填写。", "The field is required.",
			"请填写该字段。", "Fill it in.",
		},
		{
			ReasonFieldTooLong, CategoryInvalid,
			"内容过长，最多 {max} 个字符。", "The value is too long; at most {max} characters are allowed.",
			"请缩短后重新提交。", "Shorten it and send it again.",
		},
		{
			ReasonFieldInvalid, CategoryInvalid,
			"字段的值不符合要求（{detail}）。", "The value is not allowed ({detail}).",
			"请更正后重新提交。", "Correct it and send it again.",
		},
		{
			ReasonTooManyItems, CategoryInvalid,
			"项目过多，最多 {max} 项。", "There are too many items; at most {max} are allowed.",
			"请分成几次请求。", "Split the request.",
		},
		{
			ReasonIDInvalid, CategoryInvalid,
			"编号格式不正确。", "The id is not well-formed.",
			"请使用提交时返回的编号。", "Use the id that submitting gave you.",
		},
		{
			ReasonPageTokenInvalid, CategoryInvalid,
			"翻页标记无效。", "The page token is not valid.",
			"请使用上一页返回的标记，且不要改变其他查询条件；或从第一页重新开始。",
			"Use the one the previous page gave and keep every other argument, or start again without one.",
		},
		{
			ReasonRequestIDReused, CategoryInvalid,
			"该 request_id 已用于另一份内容不同的申报。", "This request_id was used before, for other content.",
			"重试同一请求时请保持内容不变；内容有改动时请换用新的 request_id。",
			"Keep the content when you retry; use a new request_id when it changed.",
		},
		{
			ReasonReturnTooLarge, CategoryInvalid,
			"申报表过大（{size} 字节），每份最多 {max} 字节。", "The return is too large: {size} bytes, at most {max} are allowed.",
			"请只填写申报表中的栏次，不要附带其他内容。", "Send the cells of the form and nothing else.",
		},
		{
			ReasonBatchTooLarge, CategoryInvalid,
			"一批中的申报过多，每批最多 {max} 份。", "There are too many returns in the batch; at most {max} are allowed.",
			"请分成几批提交。", "Split it into several batches.",
		},
		{
			ReasonBatchDuplicate, CategoryInvalid,
			"与同一批中的第 {first} 项是同一份申报（同一纳税人、税种、所属期）。",
			"It is the same filing as item {first} of this batch: same taxpayer, form and period.",
			"请保留正确的一项并删除另一项；第 {first} 项已照常处理。",
			"Keep the right one and remove the other; item {first} was handled as usual.",
		},
	}
}

// returnProblems: what is wrong with a return before any rule of its form is asked.
func returnProblems() []Problem {
	return []Problem{
		{
			ReasonFormUnknown, CategoryInvalid,
			"没有名为“{form}”的申报表。", "There is no form called \"{form}\".",
			"可用的申报表见 ListForms。", "ListForms names those there are.",
		},
		{
			ReasonEditionUnknown, CategoryInvalid,
			"申报表“{form}”没有适用于该所属期的版本“{edition}”。", "Form \"{form}\" has no edition \"{edition}\" for this period.",
			"请把版本留空，系统会按所属期选用正确的版本。", "Leave the edition empty and the right one is chosen by the period.",
		},
		{
			ReasonCellUnknown, CategoryInvalid,
			"申报表没有栏次“{cell}”。", "The form has no cell \"{cell}\".",
			"请核对栏次代码；全部栏次见 GetForm。", "Check the cell's code; GetForm lists them all.",
		},
		{
			ReasonAmountInvalid, CategoryInvalid,
			"金额“{value}”的格式不正确。", "\"{value}\" is not a proper amount.",
			"请填写最多两位小数的数字，例如 1234.56，不要使用千分位逗号或货币符号。",
			"Write a decimal with at most two decimals, such as 1234.56, without separators or currency signs.",
		},
		{
			ReasonPeriodInvalid, CategoryInvalid,
			"所属期不正确：{detail}。", "The period is not valid: {detail}.",
			"请按“年-月-日”填写该申报表对应的所属期起止日期，例如 2026-04-01 至 2026-06-30。",
			"Give the first and last day of a period the form is filed for, such as 2026-04-01 to 2026-06-30.",
		},
		{
			ReasonTaxpayerInvalid, CategoryInvalid,
			"纳税人识别号不正确。", "The taxpayer's number is not valid.",
			"请对照营业执照核对统一社会信用代码（18 位，含校验码）；英国增值税号为 9 位数字。",
			"Check it against the certificate of registration: 18 characters with a check character in China, 9 digits for VAT in the United Kingdom.",
		},
		{
			ReasonAuthorityUnknown, CategoryInvalid,
			"没有接入税务机关“{authority}”，或该申报表不向其申报。", "Authority \"{authority}\" is not connected, or does not take this form.",
			"请核对税务机关代码，例如 cn.31（上海）。", "Check the authority's code, such as cn.31 (Shanghai) or gb.hmrc.",
		},
		{
			ReasonContextInvalid, CategoryInvalid,
			"附加信息“{name}”缺失或不正确：{detail}。", "The fact \"{name}\" is missing or not valid: {detail}.",
			"申报表需要的附加信息见 GetForm。", "GetForm lists the facts the form needs.",
		},
		{
			ReasonAmendmentInvalid, CategoryInvalid,
			"更正次数不正确。", "The amendment number is not valid.",
			"首次申报填 0，第一次更正填 1，依次递增。", "Use 0 for the first filing, 1 for its first amendment, and so on.",
		},
	}
}

// filingProblems: the filing is not there, or not in a state for this.
func filingProblems() []Problem {
	return []Problem{
		{
			ReasonNotFound, CategoryNotFound,
			"找不到该记录。", "There is no such thing.",
			"请核对编号，并确认使用的是本单位的密钥。", "Check the id, and that the key belongs to the right organisation.",
		},
		{
			ReasonFilingExists, CategoryExists,
			"同一纳税人、税种、所属期已有内容不同的申报（{filing_id}，{state_zh}）。",
			"Another return with other content is there for this taxpayer, form and period ({filing_id}, {state_en}).",
			"尚未报送的，请先撤销再提交；已申报成功的，请提交更正申报（amendment 加 1）。",
			"Cancel it first if it was not sent yet; if it was accepted, submit an amendment (next amendment number).",
		},
		{
			ReasonNotCancellable, CategoryPrecondition,
			"该申报当前状态为“{state_zh}”，不能撤销。", "The filing is {state_en} and cannot be cancelled.",
			"只有尚未报送税局的申报可以撤销；已申报成功的请做更正申报。",
			"Only what was not sent yet can be taken back; amend what was accepted.",
		},
		{
			ReasonNotRetryable, CategoryPrecondition,
			"该申报当前状态为“{state_zh}”，不能原样重新申报。", "The filing is {state_en} and cannot be filed again as it is.",
			"只有申报失败、已撤销或数据有误的申报可以重试；内容有改动时请重新提交。",
			"Only what was rejected, cancelled or invalid can be retried; submit again when the content changes.",
		},
		{
			ReasonNotAccepted, CategoryPrecondition,
			"该申报尚无回执，当前状态为“{state_zh}”。", "The filing has no receipt yet; it is {state_en}.",
			"申报成功后即可查看回执。", "The receipt is there once the authority accepted the filing.",
		},
		{
			ReasonCancelPending, CategoryUnknown,
			"撤销请求已记录，结果尚未确认。", "The cancellation is recorded; its effect is not known yet.",
			"请稍后查看该申报的状态。", "Look at the filing again in a moment.",
		},
		{
			ReasonNotReplayable, CategoryPrecondition,
			"该死信记录无法重放。", "This dead letter cannot be replayed.",
			"请先查明记录无法解析的原因。", "Find out first why the record cannot be read.",
		},
		{
			ReasonNotInQuarantine, CategoryPrecondition,
			"该申报当前状态为“{state_zh}”，无需人工处理。", "The filing is {state_en}; it waits for no person's decision.",
			"请刷新待处理清单。", "Look at the list of what needs attention again.",
		},
		{
			ReasonResolutionPending, CategoryUnknown,
			"处理结论已记录，结果尚未确认。", "The resolution is recorded; its effect is not known yet.",
			"请稍后查看该申报的状态；用同样的结论再次提交不会产生重复。", "Look at the filing again in a moment; resolving it the same way twice is harmless.",
		},
	}
}

// officeProblems: returns that are prepared and not sent.
func officeProblems() []Problem {
	return []Problem{
		{
			ReasonWebhookAddress, CategoryInvalid,
			"该地址不能用于接收通知：{detail}。", "No post can go to this address: {detail}.",
			"请使用公网上的 https 地址，不要使用内网地址。", "Use an https address on the public internet, none inside a network.",
		},
		{
			ReasonDraftChanged, CategoryPrecondition,
			"该草稿已被他人修改或删除，本次保存未生效。", "Somebody else changed or deleted the draft; yours was not saved.",
			"请重新打开该草稿，在最新内容上修改后再保存。", "Open the draft again and make your change to what is there now.",
		},
		{
			ReasonDraftNotReady, CategoryPrecondition,
			"该草稿还有 {count} 处错误，未提交。", "The draft breaks {count} rules and was not filed.",
			"请按校验结果更正后再提交。", "Correct what the check names, then file it.",
		},
		{
			ReasonTooManyDrafts, CategoryExhausted,
			"草稿数量已达上限（{max} 份）。", "There are as many drafts as there may be: {max}.",
			"请先提交或删除不需要的草稿。", "File or delete some first.",
		},
	}
}

// systemProblems: ours, or a limit of the caller's.
func systemProblems() []Problem {
	return []Problem{
		{
			ReasonLogUnavailable, CategoryUnavailable,
			"系统暂时无法保存申报，本次提交未确认。", "The submission could not be stored just now and is not acknowledged.",
			"请稍后原样重试；重复提交不会造成重复申报。", "Send the same request again in a moment; it cannot be filed twice.",
		},
		{
			ReasonOutcomeUnknown, CategoryUnknown,
			"保存申报超时，本次提交是否成功尚不确定。", "Storing the submission took too long; whether it succeeded is not known.",
			"请原样重试；重复提交不会造成重复申报。", "Send the same request again; it cannot be filed twice.",
		},
		{
			ReasonOverloaded, CategoryUnavailable,
			"系统繁忙，本次请求未受理。", "The system is busy and did not take the request.",
			"请按提示的时间稍后重试。", "Try again after the time given.",
		},
		{
			ReasonTenantQuota, CategoryExhausted,
			"本单位的请求超出限额。", "Your organisation is above its limit.",
			"请按提示的时间稍后重试，或联系管理员调整限额。", "Try again after the time given, or ask your administrator for a higher limit.",
		},
		{
			ReasonViewRebuilding, CategoryUnavailable,
			"状态正在更新，暂时无法查询。已确认的申报不受影响。", "The status is being brought up to date. Acknowledged filings are safe.",
			"请稍后再查。", "Look again in a moment.",
		},
		{
			ReasonViewUnavailable, CategoryUnavailable,
			"状态查询服务暂时不可用。已确认的申报不受影响。", "The status cannot be read just now. Acknowledged filings are safe.",
			"请稍后再查。", "Look again in a moment.",
		},
		{
			ReasonStarting, CategoryUnavailable,
			"服务正在启动。", "The service is starting.",
			"请稍后重试。", "Try again in a moment.",
		},
		{
			ReasonIdentityUnavailable, CategoryUnavailable,
			"暂时无法核实您的登录身份：身份提供方没有应答。", "Who you are cannot be verified right now: the identity provider does not answer.",
			"请稍后重试；已受理的申报不受影响。", "Try again in a moment; filings under way go on.",
		},
		{
			ReasonDraining, CategoryUnavailable,
			"服务正在重启或升级。", "The service is being restarted.",
			"请重新连接后重试。", "Connect again and retry.",
		},
		{
			ReasonNotImplemented, CategoryUnimplemented,
			"该功能尚未提供。", "This is not available yet.",
			"请关注后续版本。", "Look out for a later release.",
		},
		{
			ReasonRouteUnknown, CategoryNotFound,
			"没有这个地址。", "There is nothing at this address.",
			"全部接口见 /openapi.json。", "The document /openapi.json lists everything there is.",
		},
		{
			ReasonMethodNotAllowed, CategoryInvalid,
			"该地址不支持 {method} 方法。", "The method {method} is not allowed here.",
			"各地址支持的方法见 /openapi.json。", "The document /openapi.json names the methods of each address.",
		},
		{
			ReasonInternal, CategoryInternal,
			"系统内部出错。", "Something went wrong on our side.",
			"请原样重试；仍出错时请把出错时间告知管理员。", "Try the same again; if it fails again, tell your administrator when it happened.",
		},
	}
}
