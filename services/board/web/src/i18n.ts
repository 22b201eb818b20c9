// Language, theme, and how numbers, days and times are written. Every text a
// person sees comes from text.ts or from the server, in both languages.

import { computed, effect, signal } from "@preact/signals";
import { texts } from "./text";
import type { Localized } from "./types";

export type Lang = "zh" | "en";
export type Key = keyof typeof texts;

const stored = (name: string): string | null => {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // storage may be switched off; the board works without
  }
};
const store = (name: string, value: string): void => {
  try {
    localStorage.setItem(name, value);
  } catch {
    // see above
  }
};

function firstLang(): Lang {
  const chosen = stored("lang");
  if (chosen === "zh" || chosen === "en") return chosen;
  // The server put into the page what Accept-Language asks for.
  return (document.documentElement.lang || navigator.language).startsWith("zh") ? "zh" : "en";
}

export const lang = signal<Lang>(firstLang());
export const locale = computed(() => (lang.value === "zh" ? "zh-CN" : "en-GB"));

export type Theme = "light" | "dark" | "auto";
export const theme = signal<Theme>((stored("theme") as Theme | null) ?? "auto");

export function chooseLang(l: Lang): void {
  lang.value = l;
  store("lang", l);
}
export function chooseTheme(t: Theme): void {
  theme.value = t;
  store("theme", t);
}

effect(() => {
  document.documentElement.lang = lang.value === "zh" ? "zh-CN" : "en";
});
effect(() => {
  if (theme.value === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme.value;
});

export type Args = Record<string, string | number>;

// catalogue gives what looks a text up, with its {places} filled in.
export function catalogue<K extends string>(entries: Record<K, readonly [string, string]>): (key: K, args?: Args) => string {
  return (key, args) => {
    const [zh, en] = entries[key];
    const text = lang.value === "zh" ? zh : en;
    return args ? text.replace(/\{(\w+)\}/g, (place, name: string) => String(args[name] ?? place)) : text;
  };
}
export const t = catalogue(texts);

// n gives the text for one or for several; Chinese has one form for both.
export function n(one: Key, many: Key, count: number, args: Args = {}): string {
  return t(count === 1 ? one : many, { count: number(count), ...args });
}

// say picks the language of a text of the server's.
export function say(text: Localized | string | undefined): string {
  if (!text) return "";
  if (typeof text === "string") return text;
  return (lang.value === "zh" ? text.zh : text.en) || text.zh || text.en || "";
}

// Making a formatter takes far longer than using it, so the one that is used most is kept.
const numbers = computed(() => new Intl.NumberFormat(locale.value));

export const number = (value: number): string => numbers.value.format(value);

const zone = "Asia/Shanghai"; // deadlines are the bureau's, whatever the reader's own clock says
const zoneOffset = 8 * 3_600_000; // it knows no summer time
const day = 24 * 3_600_000;

export function time(iso: string | undefined): string {
  if (!iso) return "";
  return new Intl.DateTimeFormat(locale.value, { dateStyle: "medium", timeStyle: "medium" }).format(new Date(iso));
}
export function clock(iso: string | undefined): string {
  if (!iso) return "";
  return new Intl.DateTimeFormat(locale.value, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }).format(new Date(iso));
}
// deadlineDay names the last day, as people do: midnight is the end of the day before.
export function deadlineDay(iso: string): string {
  const at = new Date(iso);
  const midnight = (at.getTime() + zoneOffset) % day === 0;
  const text = new Intl.DateTimeFormat(locale.value, {
    month: "long", day: "numeric", weekday: "short", timeZone: zone,
    ...(!midnight && { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
  }).format(midnight ? new Date(at.getTime() - 1) : at);
  return midnight ? t("deadline.midnight", { day: text }) : text;
}
// monthName is written out here: it is among the first things drawn, and the first date
// format that a browser makes takes tens of milliseconds.
export function monthName(month: string): string {
  const [year, m] = month.split("-").map(Number);
  return t("month", { year: year!, name: t("month.names").split(" ")[m! - 1]! });
}
export const periodText = (p: { start: string; end: string }): string => t("period.range", { start: p.start, end: p.end });
