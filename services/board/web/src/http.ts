// How the server is asked, and the shape of its refusals. It refuses to know
// what is asked for: that is api.ts and ops/api.ts.

import { lang } from "./i18n";

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

export async function call<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
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

export function query(args: Record<string, string | number | undefined>): string {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(args)) if (v !== undefined && v !== "") q.set(k, String(v));
  const s = q.toString();
  return s ? "?" + s : "";
}

// pages walks an AIP-158 list to its end, and shows every page as it comes, while the next
// is on its way. The first is short: it fills what can be seen, and is there soon.
export async function pages<T>(
  path: string, field: string, args: Record<string, string | number | undefined>, came?: (page: T[]) => void,
): Promise<T[]> {
  const ask = (token: string): Promise<Record<string, unknown>> =>
    call("GET", path + query({ page_size: token === "" && came ? 100 : 500, ...args, page_token: token }));
  const all: T[] = [];
  for (let next: Promise<Record<string, unknown>> | undefined = ask(""); next; ) {
    const page: Record<string, unknown> = await next;
    const token = page["next_page_token"] as string | undefined;
    next = token ? ask(token) : undefined;
    const items = (page[field] as T[] | undefined) ?? [];
    all.push(...items);
    came?.(items);
  }
  return all;
}
