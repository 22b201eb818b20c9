// The one place that talks to the server. It owns the shape of requests and of
// failures; it refuses to keep anything: what is known lives in store.ts.

import { lang } from "./i18n";
import type {
  Calendar, Check, Draft, FiledReturn, Filing, Form, FormSummary, ImportAnswer, Receipt, Return, Session, SubmitResult, ZeroDraft,
} from "./types";

// A Problem is a refusal as RFC 9457 says it.
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly reason: string,
    readonly title: string,
    readonly detail: string,
    readonly retryAfter: number,
    readonly fields: { field: string; description: string }[],
  ) {
    super(detail || title || reason);
  }

  // absent: the server does not have this at all, so the board does not offer it.
  get absent(): boolean {
    return this.status === 501 || this.status === 405 || (this.status === 404 && this.reason !== "NOT_FOUND");
  }
}

interface ProblemBody {
  title?: string; detail?: string; reason?: string; retry_after_s?: number;
  violations?: { field: string; description: string }[];
}

export async function problemOf(answer: Response): Promise<Problem> {
  let body: ProblemBody = {};
  try {
    body = (await answer.json()) as ProblemBody;
  } catch {
    // Something between us and the server answered; its words are not for people.
  }
  const wait = body.retry_after_s ?? Number(answer.headers.get("Retry-After") ?? 0);
  return new Problem(answer.status, body.reason ?? "", body.title ?? "", body.detail ?? "",
    Number.isFinite(wait) ? wait : 0, body.violations ?? []);
}

async function call<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
  const init: RequestInit = {
    method,
    credentials: "same-origin",
    headers: { Accept: "application/json", "Accept-Language": lang.value === "zh" ? "zh-CN" : "en", ...headers },
  };
  if (body instanceof Blob) {
    init.body = body;
  } else if (body !== undefined) {
    init.body = JSON.stringify(body);
    (init.headers as Record<string, string>)["Content-Type"] = "application/json";
  }
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch {
    throw new Problem(0, "NETWORK", "", "", 2, []);
  }
  if (!answer.ok) throw await problemOf(answer);
  if (answer.status === 204) return {} as T;
  const text = await answer.text();
  return (text ? JSON.parse(text) : {}) as T;
}

function query(args: Record<string, string | number | undefined>): string {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(args)) if (v !== undefined && v !== "") q.set(k, String(v));
  const s = q.toString();
  return s ? "?" + s : "";
}

// pages walks an AIP-158 list to its end.
async function pages<T>(path: string, field: string, args: Record<string, string | number | undefined>): Promise<T[]> {
  const all: T[] = [];
  for (let token: string | undefined = ""; token !== undefined; ) {
    const page: Record<string, unknown> = await call("GET", path + query({ page_size: 500, ...args, page_token: token }));
    all.push(...((page[field] as T[] | undefined) ?? []));
    token = (page["next_page_token"] as string | undefined) || undefined;
  }
  return all;
}

const at = encodeURIComponent;

export const api = {
  session: () => call<Session>("GET", "/v1/session"),
  login: (with_: { key: string } | { code: string }) => call<Session>("POST", "/v1/session", with_),
  logout: () => call<object>("DELETE", "/v1/session"),

  calendar: (month: string) => call<Calendar>("GET", "/v1/calendar" + query({ month })),

  filings: (month: string) => pages<Filing>("/v1/filings", "filings", { period_end_month: month }),
  newestFiling: async () => (await call<{ filings?: Filing[] }>("GET", "/v1/filings?page_size=1")).filings?.[0],
  batchGet: async (ids: string[]) => (await call<{ filings?: Filing[] }>("POST", "/v1/filings:batchGet", { filing_ids: ids })).filings ?? [],
  returns: async (ids: string[]) => (await call<{ returns?: FiledReturn[] }>("POST", "/v1/filings:batchGetReturns", { filing_ids: ids })).returns ?? [],
  cancel: async (id: string) => (await call<{ filing: Filing }>("POST", `/v1/filings/${at(id)}:cancel`, {})).filing,
  retry: async (id: string) => (await call<{ filing: Filing }>("POST", `/v1/filings/${at(id)}:retry`, {})).filing,
  check: (r: Return) => call<Check>("POST", "/v1/filings:check", { return: r }),
  receipt: async (id: string) => (await call<{ receipt: Receipt }>("GET", `/v1/filings/${at(id)}/receipt`)).receipt,
  submit: (r: Return) => call<{ filing_id: string; filing?: Filing }>("POST", "/v1/filings", { return: r }),

  forms: async () => (await call<{ forms?: FormSummary[] }>("GET", "/v1/forms")).forms ?? [],
  form: async (name: string, edition?: string) => (await call<{ form: Form }>("GET", `/v1/forms/${at(name)}` + query({ edition }))).form,

  drafts: (month: string) => pages<Draft>("/v1/drafts", "drafts", { period_end_month: month }),
  newestDraft: async () => (await call<{ drafts?: Draft[] }>("GET", "/v1/drafts?page_size=1")).drafts?.[0],
  saveDraft: async (r: Return, etag?: string) => (await call<{ draft: Draft }>("PUT", "/v1/drafts", { return: r, ...(etag ? { etag } : {}) })).draft,
  deleteDraft: (id: string) => call<object>("DELETE", `/v1/drafts/${at(id)}`),
  submitDrafts: async (ids: string[]) => (await call<{ results?: SubmitResult[] }>("POST", "/v1/drafts:submit", { filing_ids: ids })).results ?? [],

  createZero: async (ids: string[]) => (await call<{ results?: ZeroDraft[] }>("POST", "/v1/drafts:createZero", { previous_filing_ids: ids })).results ?? [],

  missing: async (month: string) => (await call<{ previous?: Filing[] }>("GET", "/v1/missingFilings" + query({ period_end_month: month }))).previous ?? [],

  // The name of the file tells the kind; it is sent as a form so that it goes along.
  importFile: async (file: File, save: boolean): Promise<ImportAnswer> => {
    const form = new FormData();
    form.append("file", file, file.name);
    let answer: Response;
    try {
      answer = await fetch("/v1/imports" + (save ? "?save=true" : ""), {
        method: "POST", body: form, credentials: "same-origin",
        headers: { Accept: "application/json", "Accept-Language": lang.value === "zh" ? "zh-CN" : "en" },
      });
    } catch {
      throw new Problem(0, "NETWORK", "", "", 2, []);
    }
    if (!answer.ok) throw await problemOf(answer);
    return (await answer.json()) as ImportAnswer;
  },
};

export const exportFiles = ["filings.xlsx", "filings.csv", "drafts.xlsx", "drafts.csv"] as const;

export const exportPath = (kind: (typeof exportFiles)[number], month: string) =>
  `/v1/exports/${kind}` + query({ period_end_month: month });
