// What the board knows: the filings and drafts of one period, kept up to date by
// one stream of events. It owns every signal that pages share. Changes are
// gathered and shown once per frame, however fast they come.

import { batch, computed, effect, signal } from "@preact/signals";
import { api } from "./api";
import { Problem } from "./http";
import { number, say, t } from "./i18n";
import {
  countsOf, inNameOrder, itemOf, matches, rowsOf, type Filter, type Item, type Row,
} from "./model";
import { place } from "./place";
import { loadError, session, wordsOf } from "./session";
import type { Calendar, Draft, FiledReturn, Filing, Form, FormSummary } from "./types";

export const month = signal("");
export const calendar = signal<Calendar | null>(null);
export const forms = signal<FormSummary[]>([]);
export const filter = signal<Filter>({ group: "all", form: "", text: "" });
export const selected = signal<ReadonlySet<string>>(new Set()); // clients
export const loading = signal(true); // nothing can be shown yet
export const partial = signal(true); // what is shown is not all there is
export const live = signal<"on" | "lost" | "poll">("on");
export const offers = signal({ drafts: true, missing: true, imports: true }); // what this server can do
export const opened = signal<{ client: string; form?: string } | null>(null);

// The items themselves live outside of signals: 5,000 of them change in a burst.
const filings = new Map<string, Filing>();
const drafts = new Map<string, Draft>();
const items = new Map<string, Item>();
// What this tab saw happen, newest last, a few per filing: the server keeps the present only.
const seen = new Map<string, { state: Filing["state"]; at: string }[]>();
const mostSeen = 12;

const revision = signal(0);
const dirty = new Set<string>();
let frame = 0;

let flushed = 0;

// A long list is drawn ten times a second at most, and less often while it is still coming
// in, so that the page answers meanwhile.
function touch(id: string): void {
  dirty.add(id);
  if (frame) return;
  const wait = items.size > 500 ? Math.max(0, (partial.peek() ? 400 : 100) - (performance.now() - flushed)) : 0;
  frame = wait > 0 ? window.setTimeout(() => requestAnimationFrame(flush), wait) : requestAnimationFrame(flush);
}

function flush(): void {
  frame = 0;
  if (dirty.size === 0) return;
  flushed = performance.now();
  for (const id of dirty) {
    const [d, f] = [drafts.get(id), filings.get(id)];
    if (d || f) items.set(id, itemOf(id, d, f, contentOf(f)));
    else items.delete(id);
  }
  dirty.clear();
  revision.value++;
}

export function putFiling(f: Filing): void {
  const old = filings.get(f.filing_id);
  if (old && Number(old.version ?? 0) > Number(f.version ?? 0)) return; // a late answer never turns the clock back
  if (!f.period?.end.startsWith(month.peek())) return;
  if (old?.state !== f.state && f.update_time) {
    const list = seen.get(f.filing_id) ?? [];
    list.push({ state: f.state, at: f.update_time });
    seen.set(f.filing_id, list.slice(-mostSeen));
  }
  filings.set(f.filing_id, f);
  touch(f.filing_id);
}
export function putDraft(d: Draft): void {
  if (!d.return.period.end.startsWith(month.peek())) return;
  drafts.set(d.filing_id, d);
  touch(d.filing_id);
}
export function dropDraft(id: string): void {
  drafts.delete(id);
  touch(id);
}
// ---- what was filed: read back for the filings that are looked at ----

const contents = new Map<string, { digest: string; filed: FiledReturn | undefined }>();
const mostContents = 20_000;
const wanted = new Set<string>();
const mostWanted = 100; // one request; whoever scrolls past no longer wants the first of them
let wantTimer = 0;
let noContents = false; // this server cannot

function contentOf(f: Filing | undefined): FiledReturn | undefined {
  const known_ = f && contents.get(f.filing_id);
  return known_ && known_.digest === (f.digest ?? "") ? known_.filed : undefined;
}

// wantContent asks for the figures of a filing, soon and together with others.
export function wantContent(f: Filing | undefined): void {
  if (!f || noContents || contents.get(f.filing_id)?.digest === (f.digest ?? "")) return;
  wanted.delete(f.filing_id);
  wanted.add(f.filing_id);
  if (wanted.size > mostWanted) wanted.delete(wanted.values().next().value!);
  wantTimer ||= window.setTimeout(() => void fetchContents(), 120);
}

async function fetchContents(): Promise<void> {
  const asked = [...wanted].flatMap((id) => filings.get(id) ?? []);
  wanted.clear();
  try {
    const found = new Map((await api.returns(asked.map((f) => f.filing_id))).map((r) => [r.filing_id, r]));
    if (contents.size > mostContents) contents.clear();
    for (const f of asked) {
      contents.set(f.filing_id, { digest: f.digest ?? "", filed: found.get(f.filing_id) });
      touch(f.filing_id);
    }
  } catch (e) {
    noContents = e instanceof Problem && e.absent;
  } finally {
    wantTimer = 0;
  }
}

export const itemById = (id: string): Item | undefined => (revision.value, items.get(id));
export const historyOf = (id: string) => seen.get(id) ?? [];

const collator = new Intl.Collator("zh-CN");
let byName: Row[] = [];
let known = new Map<string, Row>();
const all = computed<Row[]>(() => {
  revision.value;
  known = rowsOf(items.values(), known);
  byName = inNameOrder(known, byName, collator.compare);
  return [...byName].sort((a, b) => a.rank - b.rank); // keeps the order of names within a rank
});
export const rows = computed<Row[]>(() => {
  const f = filter.value;
  return f.group === "all" && !f.form && !f.text ? all.value : all.value.filter((r) => matches(r, f));
});
export const total = computed(() => all.value.length);
export const shownItems = computed<Item[]>(() => all.value.flatMap((r) => r.shown));
export const counts = computed(() => countsOf(shownItems.value));
export const formColumns = computed<string[]>(() => [...new Set(shownItems.value.map((i) => i.form))].sort());
export const ready = computed<Item[]>(() => shownItems.value.filter((i) => i.group === "ready"));
export const readyClients = computed<ReadonlySet<string>>(() => new Set(ready.value.map((i) => i.taxpayer.id)));
export const allReadyChosen = computed(() => readyClients.value.size > 0 && [...readyClients.value].every((c) => selected.value.has(c)));
export const rowOf = (client: string): Row | undefined => all.value.find((r) => r.key === client);
// readySelected is what "file selected" files.
export const readySelected = computed<Item[]>(() => ready.value.filter((i) => selected.value.has(i.taxpayer.id)));

export const formTitle = (form: string): string => {
  const known = forms.value.find((f) => f.form === form);
  return known ? say(known.title) : form;
};
// Column heads have room for a few characters only.
const shortTitles: Record<string, [string, string]> = {
  "cn.vat.small": ["增值税", "VAT"], "cn.cit.a200000": ["企业所得税", "Income tax"], "gb.vat": ["英国增值税", "UK VAT"],
};
export const formShort = (form: string): string => {
  const short = shortTitles[form];
  return short ? say({ zh: short[0], en: short[1] }) : formTitle(form);
};

const formCache = new Map<string, Promise<Form>>();
export function formOf(name: string, edition?: string): Promise<Form> {
  const key = `${name} ${edition ?? ""}`;
  let form = formCache.get(key);
  if (!form) {
    form = api.form(name, edition);
    form.catch(() => formCache.delete(key));
    formCache.set(key, form);
  }
  return form;
}

// ---- a period ----

let stream: EventSource | null = null;
let connection = 0; // the newest attempt wins
let giveBack: (() => void) | undefined; // the place of the stream
let pollTimer = 0;
let loads = 0; // the newest load wins

export async function open(to: string): Promise<void> {
  const load = ++loads;
  close();
  batch(() => {
    month.value = to;
    loading.value = true;
    partial.value = true;
    loadError.value = "";
    selected.value = new Set();
    calendar.value = null;
  });
  filings.clear();
  drafts.clear();
  items.clear();
  seen.clear();
  revision.value++;
  // The first page is shown at once; all of them can take a while on a slow line. What is
  // not of the list is asked for after it.
  const shown = (): void => {
    if (!loading.peek()) return;
    flush();
    loading.value = false;
    api.calendar(to).then((c) => { if (load === loads) calendar.value = c; }).catch(() => undefined);
    if (forms.peek().length === 0) api.forms().then((list) => (forms.value = list)).catch(() => undefined);
  };
  const show = (page: unknown[]): void => { if (load === loads && page.length > 0) shown(); };
  try {
    await Promise.all([
      api.filings(to, (page) => { if (load === loads) page.forEach(putFiling); show(page); }),
      loadDrafts(load, show),
    ]);
    if (load !== loads) return;
    flush();
    shown();
    partial.value = false;
    void connect();
  } catch (e) {
    if (load !== loads) return;
    batch(() => {
      const words = wordsOf(e);
      if (session.peek() !== null) loadError.value = words; // who is not signed in is asked to, which says enough
      loading.value = false;
    });
  }
}

async function loadDrafts(load: number, show: (page: Draft[]) => void): Promise<Set<string>> {
  const found = new Set<string>();
  if (!offers.peek().drafts) return found;
  try {
    await api.drafts(month.peek(), (page) => {
      if (load !== loads) return;
      for (const d of page) {
        putDraft(d);
        found.add(d.filing_id);
      }
      show(page);
    });
  } catch (e) {
    if (!(e instanceof Problem && e.absent)) throw e;
    offers.value = { drafts: false, missing: offers.peek().missing, imports: false };
  }
  return found;
}

// reloadDrafts takes the drafts anew; those that are gone at the server go here.
export async function reloadDrafts(): Promise<void> {
  const load = loads;
  const before = [...drafts.keys()];
  const found = await loadDrafts(load, () => undefined);
  if (load !== loads) return;
  for (const id of before) if (!found.has(id)) dropDraft(id);
}

// connect holds one stream while the tab can be seen and there is a place for it;
// without one the tab looks for itself every few seconds.
async function connect(): Promise<void> {
  close();
  if (document.hidden || !month.peek()) return;
  const mine = connection;
  const leave = await place();
  if (mine !== connection) {
    leave?.();
    return;
  }
  if (!leave) {
    pollSoon();
    return;
  }
  giveBack = leave;
  const es = new EventSource(`/v1/events?period_end_month=${encodeURIComponent(month.peek())}`);
  stream = es;
  es.addEventListener("open", () => (live.value = "on"));
  es.addEventListener("filing", (e) => {
    if (stream === es) putFiling(JSON.parse((e as MessageEvent<string>).data) as Filing);
  });
  es.addEventListener("error", () => {
    if (stream !== es) return;
    if (es.readyState !== EventSource.CLOSED) {
      live.value = "lost";
      return;
    }
    close(); // refused for good: look why, and refresh by hand meanwhile
    pollSoon();
  });
}

function pollSoon(): void {
  live.value = "poll";
  pollTimer = window.setTimeout(poll, 5000);
}

async function poll(): Promise<void> {
  try {
    (await api.filings(month.peek())).forEach(putFiling);
    if (!document.hidden && session.peek()) await connect();
  } catch (e) {
    wordsOf(e);
    if (!session.peek()) return;
    pollSoon();
    if (e instanceof Problem && (e.status === 0 || e.status >= 500)) live.value = "lost";
  }
}

export function close(): void {
  connection++;
  stream?.close();
  stream = null;
  giveBack?.();
  giveBack = undefined;
  clearTimeout(pollTimer);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) close();
  else if (session.peek() && month.peek() && !loading.peek()) {
    void connect();
    reloadDrafts().catch(() => undefined);
  }
});

// askedMonth is the period in the address, if it names one.
export function askedMonth(): string {
  const asked = new URLSearchParams(location.search).get("period") ?? "";
  return /^\d{4}-(0[1-9]|1[0-2])$/.test(asked) ? asked : "";
}

// firstMonth is where work is: the period in the address, else of the newest thing, else last month.
export async function firstMonth(): Promise<string> {
  const asked = askedMonth();
  if (asked) return asked;
  const [draft, filing] = await Promise.all([
    api.newestDraft().catch(() => undefined), api.newestFiling().catch(() => undefined),
  ]);
  const end = draft?.return.period.end ?? filing?.period.end;
  if (end) return end.slice(0, 7);
  const now = new Date();
  return new Date(Date.UTC(now.getFullYear(), now.getMonth() - 1, 1)).toISOString().slice(0, 7);
}

// The address says what is shown, so that it can be kept or sent to a colleague.
effect(() => {
  if (!month.value) return;
  const q = new URLSearchParams({ period: month.value });
  if (filter.value.group !== "all") q.set("show", filter.value.group);
  history.replaceState(null, "", "/?" + q.toString());
});

// Spoken progress: at most every ten seconds, and only when it moved.
export const spoken = signal("");
let lastSpoken = 0;
effect(() => {
  const c = counts.value;
  const now = Date.now();
  if (loading.value || now - lastSpoken < 10_000) return;
  const text = t("progress.now", { done: number(c.done), working: number(c.ours + c.bureau), yours: number(c.yours) });
  if (c.ours + c.bureau > 0 || spoken.peek()) {
    lastSpoken = now;
    spoken.value = text;
  }
});
