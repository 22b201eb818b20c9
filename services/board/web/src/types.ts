// The messages of the API, as far as the board reads them: JSON with proto field
// names, unpopulated fields left out.

export interface Localized { zh?: string; en?: string }
export interface Period { start: string; end: string }
export interface Taxpayer { id: string; name?: string }

export interface Return {
  form: string;
  edition?: string;
  period: Period;
  taxpayer: Taxpayer;
  authority: string;
  lines?: Record<string, string>;
  context?: Record<string, string>;
  amendment?: number;
}

export interface Violation {
  rule: string;
  severity?: "SEVERITY_WARNING" | "SEVERITY_ERROR";
  cells?: string[];
  message?: Localized;
  fix?: Localized;
}

export interface Reason { code?: string; message?: string; path?: string }

export interface Receipt {
  filing_id: string;
  number: string;
  authority: string;
  ref?: string;
  digest: string;
  accept_time?: string;
  details?: Record<string, string>;
}

export type FilingState =
  | "FILING_STATE_RECEIVED" | "FILING_STATE_CHECKING" | "FILING_STATE_INVALID" | "FILING_STATE_QUEUED"
  | "FILING_STATE_SUBMITTING" | "FILING_STATE_ACCEPTED" | "FILING_STATE_REJECTED" | "FILING_STATE_WAITING"
  | "FILING_STATE_CONFIRMING" | "FILING_STATE_NEEDS_ATTENTION" | "FILING_STATE_CANCELLED" | "FILING_STATE_CONFLICT";

export interface Filing {
  filing_id: string;
  state: FilingState;
  message?: Localized;
  advice?: Localized;
  turn?: string;
  form: string;
  edition?: string;
  period: Period;
  taxpayer: Taxpayer;
  authority: string;
  amendment?: number;
  revision?: number;
  digest?: string;
  batch_id?: string;
  violations?: Violation[];
  reasons?: Reason[];
  receipt?: Receipt;
  conflicts?: { submission_id: string; digest: string }[];
  attempts?: number;
  receive_time?: string;
  update_time?: string;
  due_time?: string;
  version?: string;
  cause?: string;
}

export interface Draft {
  filing_id: string;
  return: Return;
  completed?: Return; // with every computed cell filled
  violations?: Violation[];
  etag: string;
  update_time?: string;
}

export interface FiledReturn { filing_id: string; return: Return; completed?: Return }

export interface FormCell { code: string; label?: Localized; kind: string; type: string }
export interface Form {
  form: string;
  edition: string;
  title?: Localized;
  legal?: string;
  cells?: FormCell[];
  context?: { name: string; meaning?: Localized }[];
}
export interface FormSummary { form: string; title?: Localized; editions?: string[] }

export interface SubmitResult {
  filing_id?: string;
  error?: { reason: string; message?: Localized; field?: string; retry_after_ms?: string };
}

export interface ZeroDraft { draft?: Draft; error?: { reason: string; message?: Localized } }

export interface ImportRow {
  row: string;
  ok?: boolean;
  filing_id?: string;
  return?: Return;
  completed?: Return;
  violations?: Violation[];
  problem?: Localized | string;
}
export interface ImportAnswer { rows?: ImportRow[]; ready?: number; blocked?: number }

export interface Session { tenant: string; subject?: string; roles?: string[]; expires?: string; locale?: string }
export interface Calendar { period_end_month: string; deadline: string; server_time: string }
export interface Check { ok?: boolean; violations?: Violation[]; completed?: Return }
