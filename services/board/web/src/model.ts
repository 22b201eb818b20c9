// What the board makes of filings and drafts: one item per return, one row per
// client, in an order that puts first what a person has to do. Pure functions.

import { dueOf, type Fen } from "./money";
import type { Draft, FiledReturn, Filing, FilingState, Period, Return, Taxpayer, Violation } from "./types";

export type ItemState = FilingState | "DRAFT_READY" | "DRAFT_BLOCKED";
export type Group = "yours" | "ready" | "ours" | "bureau" | "done";
export const groups: readonly Group[] = ["yours", "ready", "ours", "bureau", "done"];

// An Item is one return: a draft, a filing, or the filing with the draft that corrects it.
export interface Item {
  id: string;
  state: ItemState;
  group: Group;
  form: string;
  period: Period;
  taxpayer: Taxpayer;
  authority: string;
  amendment: number;
  due: Fen | undefined;
  warnings: number;
  draft?: Draft;
  filing?: Filing;
  content?: Return; // what is, or was last, to be filed; not known of every filing
}

export interface Row {
  key: string; // the taxpayer's number
  name: string;
  authority: string;
  items: Item[];
  shown: Item[]; // the latest of each return
  worst: Item;
  rank: number;
}

// The order of the list: refused first, settled last.
const ranks: Record<ItemState, number> = {
  FILING_STATE_REJECTED: 0, FILING_STATE_CONFLICT: 1, FILING_STATE_INVALID: 2, FILING_STATE_NEEDS_ATTENTION: 3,
  DRAFT_BLOCKED: 4, FILING_STATE_CONFIRMING: 5, FILING_STATE_WAITING: 6, FILING_STATE_SUBMITTING: 7,
  FILING_STATE_QUEUED: 7, FILING_STATE_CHECKING: 7, FILING_STATE_RECEIVED: 7, DRAFT_READY: 8,
  FILING_STATE_CANCELLED: 9, FILING_STATE_ACCEPTED: 10,
};
export const rankOf = (state: ItemState): number => ranks[state] ?? 7;

export function groupOf(state: ItemState): Group {
  switch (state) {
    case "FILING_STATE_REJECTED": case "FILING_STATE_CONFLICT": case "FILING_STATE_INVALID":
    case "FILING_STATE_CANCELLED": case "DRAFT_BLOCKED":
      return "yours";
    case "DRAFT_READY":
      return "ready";
    case "FILING_STATE_SUBMITTING": case "FILING_STATE_WAITING":
      return "bureau";
    case "FILING_STATE_ACCEPTED":
      return "done";
    default:
      return "ours";
  }
}

export const errorsOf = (vs: Violation[] | undefined): Violation[] => (vs ?? []).filter((v) => v.severity !== "SEVERITY_WARNING");
export const warningsOf = (vs: Violation[] | undefined): Violation[] => (vs ?? []).filter((v) => v.severity === "SEVERITY_WARNING");

const correctable: ReadonlySet<string> = new Set(["FILING_STATE_INVALID", "FILING_STATE_REJECTED", "FILING_STATE_CANCELLED", "FILING_STATE_CONFLICT"]);
// While one of these holds a filing up nobody knows how long it takes: it goes on as soon as
// the bureau does, and its due time is only when it is looked at again at the latest.
const endless: ReadonlySet<string> = new Set(["breaker_open", "paused", "maintenance"]);
export const isEndless = (cause: string | undefined): boolean => endless.has(cause ?? "");

export const isCorrectable = (state: ItemState): boolean => correctable.has(state) || state.startsWith("DRAFT_");

// stateOf: a draft counts as long as nothing was filed, and again when it was
// saved after the filing came back.
export function stateOf(draft: Draft | undefined, filing: Filing | undefined): ItemState {
  if (draft && (!filing || (correctable.has(filing.state) && newer(draft, filing)))) {
    return errorsOf(draft.violations).length > 0 ? "DRAFT_BLOCKED" : "DRAFT_READY";
  }
  return filing!.state;
}

const newer = (draft: Draft, filing: Filing): boolean => {
  const [d, f] = [Date.parse(draft.update_time ?? ""), Date.parse(filing.receive_time ?? "")];
  return Number.isFinite(d) && Number.isFinite(f) && d > f;
};

export function itemOf(id: string, draft: Draft | undefined, filing: Filing | undefined, filed: FiledReturn | undefined): Item {
  const of = draft?.return ?? filing!;
  const state = stateOf(draft, filing);
  const content = (draft ?? filed)?.return;
  return {
    id, state, group: groupOf(state), form: of.form, period: of.period, taxpayer: of.taxpayer, authority: of.authority,
    amendment: of.amendment ?? 0, due: dueOf(of.form, (draft ?? filed)?.completed?.lines ?? content?.lines),
    warnings: warningsOf(draft?.violations).length,
    ...(draft && { draft }), ...(filing && { filing }), ...(content && { content }),
  };
}

// rowsOf groups items by client. A row in which nothing changed is the same object
// as before, so that what shows it need not be drawn again.
export function rowsOf(items: Iterable<Item>, before: ReadonlyMap<string, Row> = new Map()): Map<string, Row> {
  const clients = new Map<string, Item[]>();
  for (const item of items) {
    const list = clients.get(item.taxpayer.id);
    if (list) list.push(item);
    else clients.set(item.taxpayer.id, [item]);
  }
  const rows = new Map<string, Row>();
  for (const [key, list] of clients) {
    const old = before.get(key);
    const same = old && old.items.length === list.length && list.every((i) => old.items.includes(i));
    rows.set(key, same ? old : rowWith(key, list));
  }
  return rows;
}

// inNameOrder gives the rows by name. Comparing Chinese names is slow: those whose name is
// as it was keep the order they had before, and only the others are sorted, and merged in.
export function inNameOrder(rows: ReadonlyMap<string, Row>, before: Row[], compare: (a: string, b: string) => number): Row[] {
  const order = (a: Row, b: Row): number => compare(a.name, b.name) || (a.key < b.key ? -1 : 1);
  const kept = before.flatMap((old) => {
    const row = rows.get(old.key);
    return row?.name === old.name ? row : [];
  });
  const placed = new Set(kept.map((r) => r.key));
  const added = [...rows.values()].filter((r) => !placed.has(r.key)).sort(order);
  const merged: Row[] = [];
  let next = 0;
  for (const row of kept) {
    while (next < added.length && order(added[next]!, row) < 0) merged.push(added[next++]!);
    merged.push(row);
  }
  return merged.concat(added.slice(next));
}

const byCode = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

export function rowWith(key: string, items: Item[]): Row {
  items.sort((a, b) => byCode(a.form, b.form) || b.amendment - a.amendment || byCode(a.period.start, b.period.start));
  const shown = latest(items);
  let worst = shown[0]!;
  for (const item of shown) if (rankOf(item.state) < rankOf(worst.state)) worst = item;
  return { key, name: worst.taxpayer.name ?? "", authority: worst.authority, items, shown, worst, rank: rankOf(worst.state) };
}

// latest leaves out what a later amendment replaces.
function latest(items: Item[]): Item[] {
  const seen = new Set<string>();
  return items.filter((i) => {
    const key = `${i.form} ${i.authority} ${i.period.start} ${i.period.end}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

export interface Filter { group: Group | "all"; form: string; text: string }

export function matches(row: Row, f: Filter): boolean {
  const text = f.text.trim().toLowerCase();
  if (text && !row.name.toLowerCase().includes(text) && !row.key.toLowerCase().includes(text)) return false;
  return row.shown.some((i) => (f.group === "all" || i.group === f.group) && (!f.form || i.form === f.form));
}

export function countsOf(items: Iterable<Item>): Record<Group, number> {
  const counts: Record<Group, number> = { yours: 0, ready: 0, ours: 0, bureau: 0, done: 0 };
  for (const i of items) counts[i.group]++;
  return counts;
}

// addMonths counts in months such as "2026-06".
export function addMonths(month: string, by: number): string {
  const [y, m] = month.split("-").map(Number);
  const at = y! * 12 + (m! - 1) + by;
  return `${Math.floor(at / 12)}-${String((at % 12) + 1).padStart(2, "0")}`;
}
