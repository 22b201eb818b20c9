// Who is signed in, how a failure is said, and the word that passes by: what every
// page has in common.

import { signal } from "@preact/signals";
import { call, Problem } from "./http";
import { t } from "./i18n";
import type { Session } from "./types";

export const session = signal<Session | null | undefined>(undefined); // undefined: not known yet; null: signed out
export const loadError = signal("");
export const toast = signal("");

export const sessions = {
  get: () => call<Session>("GET", "/v1/session"),
  login: (by: { key: string } | { code: string }) => call<Session>("POST", "/v1/session", by),
  logout: () => call<object>("DELETE", "/v1/session"),
};

// wordsOf turns a failure into words for people, and a lost session into the sign-in page.
export function wordsOf(e: unknown): string {
  if (!(e instanceof Problem)) return e instanceof Error ? e.message : String(e);
  if (e.status === 401) session.value = null;
  if (e.reason === "NETWORK") return t("error.network");
  const fields = e.fields.map((f) => f.description).filter((d) => d && d !== e.detail).join(" ");
  return [e.detail || e.title, fields].filter(Boolean).join(" ") || t("error.server", { status: e.status });
}

let toastTimer = 0;
export function tell(text: string): void {
  toast.value = text;
  clearTimeout(toastTimer);
  toastTimer = window.setTimeout(() => (toast.value = ""), 6000);
}
