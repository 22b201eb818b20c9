// How the operators' board writes times and spans. A deadline is the bureau's: all
// times are Shanghai's, whatever the reader's own clock says.

import { locale, t } from "../i18n";
import { serverNow } from "./store";
import { o } from "./text";

const zone = "Asia/Shanghai";
const minute = 60_000;
const hour = 60 * minute;
export const day = 24 * hour;

const format = (ms: number, options: Intl.DateTimeFormatOptions): string =>
  new Intl.DateTimeFormat(locale.value, { hourCycle: "h23", timeZone: zone, ...options }).format(ms);

const dayOf = (ms: number): string => format(ms, { year: "numeric", month: "numeric", day: "numeric" });

// moment writes a time as short as it can be understood: the day only if it is another one,
// seconds only if it is near.
export function moment(iso: string | number | undefined): string {
  const ms = typeof iso === "number" ? iso : Date.parse(iso ?? "");
  if (Number.isNaN(ms)) return "";
  const now = serverNow();
  if (dayOf(ms) !== dayOf(now)) return format(ms, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
  const near = Math.abs(ms - now) < 5 * minute;
  return format(ms, { hour: "2-digit", minute: "2-digit", ...(near && { second: "2-digit" }) });
}

// dueMoment writes a deadline as people name it: midnight is the end of the day before.
export function dueMoment(ms: number): string {
  if ((ms + 8 * hour) % day !== 0) return moment(ms);
  const before = ms - 1;
  const date = format(before, { month: "short", day: "numeric" });
  return t("deadline.midnight", { day: dayOf(before) === dayOf(serverNow()) ? "" : date }).replace(/^[\s,]+/, "");
}

export const hoursMinutes = (ms: number, seconds: boolean): string =>
  format(ms, { hour: "2-digit", minute: "2-digit", ...(seconds && { second: "2-digit" }) });
export const dayAndHour = (ms: number): string => format(ms, { month: "numeric", day: "numeric", hour: "2-digit", minute: "2-digit" });

// span writes how long something takes; the two greatest units do.
export function span(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 90) return o("span.s", { s });
  const m = Math.round(s / 60);
  if (m < 60) return o("span.m", { m });
  if (m < 1440) return o("span.h", { h: Math.floor(m / 60), m: m % 60 });
  const h = Math.round(m / 60);
  return o("span.d", { d: Math.floor(h / 24), h: h % 24 });
}

// rate writes so many a second: small ones with a decimal.
export function rate(v: number | undefined): string {
  const n = v ?? 0;
  if (n > 0 && n < 0.05) return "<" + new Intl.NumberFormat(locale.value).format(0.1);
  return new Intl.NumberFormat(locale.value, { maximumFractionDigits: n !== 0 && n < 10 ? 1 : 0 }).format(n);
}
