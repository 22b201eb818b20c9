// What the filing board asks the server for. It refuses to keep anything: what is
// known lives in store.ts.

import { call, pages, Problem, problemOf, query } from "./http";
import { lang } from "./i18n";
import type {
  Calendar, Check, Draft, FiledReturn, Filing, Form, FormSummary, ImportAnswer, Receipt, Return, SubmitResult, ZeroDraft,
} from "./types";

const at = encodeURIComponent;

export const api = {
  calendar: (month: string) => call<Calendar>("GET", "/v1/calendar" + query({ month })),

  filings: (month: string, came?: (page: Filing[]) => void) => pages("/v1/filings", "filings", { period_end_month: month }, came),
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

  drafts: (month: string, came?: (page: Draft[]) => void) => pages("/v1/drafts", "drafts", { period_end_month: month }, came),
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
