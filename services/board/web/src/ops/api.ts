// What the operators' board asks the server for. It refuses to keep anything: what is
// known lives in store.ts.

import { call, query } from "../http";
import type { Localized } from "../types";
import type { Act, Authority, DeadLetter, Failure, Overview, Page, Quarantined, Retry, RetryResult, RetryRun, Tenant } from "./types";

const at = encodeURIComponent;
const root = "/v1/operations/";
export const watchPath = root + "overview:watch";

async function page<T>(path: string, field: string, size: number, token = ""): Promise<Page<T>> {
  const answer = await call<Record<string, unknown>>("GET", root + path + query({ page_size: size, page_token: token }));
  return { items: (answer[field] as T[] | undefined) ?? [], next: (answer["next_page_token"] as string | undefined) ?? "" };
}

interface Told { authority?: Authority; warning?: Localized }

export const ops = {
  overview: async () => (await call<{ overview: Overview }>("GET", root + "overview")).overview,
  failures: async () => (await call<{ failures?: Failure[] }>("GET", root + "failures")).failures ?? [],
  tenants: async () => (await call<{ tenants?: Tenant[] }>("GET", root + "topTenants")).tenants ?? [],
  deadLetters: (token?: string) => page<DeadLetter>("deadLetters", "dead_letters", 50, token),
  quarantine: (token?: string) => page<Quarantined>("quarantine", "filings", 50, token),
  acts: (token?: string) => page<Act>("acts", "acts", 20, token),

  pause: (authority: string, reason: string) => call<Told>("POST", `${root}authorities/${at(authority)}:pause`, { reason }),
  resume: (authority: string, reason: string) => call<Told>("POST", `${root}authorities/${at(authority)}:resume`, { reason }),
  countFailures: (reason: string) => call<Retry>("POST", root + "failures:retry", { reason, preview: true }),
  retryFailures: (reason: string, per_second: number, why: string) => call<Retry>("POST", root + "failures:retry", { reason, per_second, why }),
  run: async (id: string, token = "") => {
    const answer = await call<{ run: RetryRun; results?: RetryResult[]; next_page_token?: string }>(
      "GET", `${root}retryRuns/${at(id)}` + query({ page_size: 1000, page_token: token }));
    return { run: answer.run, results: answer.results ?? [], next: answer.next_page_token ?? "" };
  },
  replay: (id: string, reason: string) => call<object>("POST", `${root}deadLetters/${at(id)}:replay`, { reason }),
  resolve: (id: string, filed: boolean, evidence: string, receipt_number: string) =>
    call<object>("POST", `${root}quarantine/${at(id)}:resolve`, {
      resolution: filed ? "RESOLUTION_FILED" : "RESOLUTION_NOT_FILED", evidence, ...(filed && { receipt_number }),
    }),
};
