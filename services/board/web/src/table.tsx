// The list of clients. Only the rows that can be seen are in the document: the
// window scrolls, two spacer rows stand for the rest.

import { useSignal } from "@preact/signals";
import { memo } from "./memo";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { clock, lang, n, number, say, t } from "./i18n";
import { errorsOf, isEndless, type Item, type Row } from "./model";
import { currencyOf, money, signOf } from "./money";
import { allReadyChosen, filter, formColumns, formShort, opened, readyClients, rows, selected, wantContent } from "./store";
import { Chip } from "./ui";

const narrow = window.matchMedia("(max-width: 45rem)");
const heightOf = (): number => (narrow.matches ? 116 : 60); // --row in board.css
const overscan = 6;
const resting = 150; // milliseconds without a leap

export function Table() {
  const list = rows.value;
  const columns = formColumns.value.filter((f) => !filter.value.form || filter.value.form === f);
  const body = useRef<HTMLTableSectionElement>(null);
  const height = useSignal(heightOf());
  const span = useSignal({ from: 0, to: Math.ceil(window.innerHeight / height.peek()) });
  const rest = useRef(0);
  const focusOn = useRef<number | null>(null);
  const slotOf = useRef<ReadonlyMap<string, number>>(new Map());

  const measure = (): void => {
    const first = body.current;
    if (!first) return;
    const top = -first.getBoundingClientRect().top;
    const before = span.peek();
    let [from, to] = [Math.floor(top / height.peek()), Math.ceil((top + window.innerHeight) / height.peek())];
    // Whoever leaps past a whole screen at a time has no use for rows beside it until at rest.
    const spare = from < before.to && to > before.from ? overscan : 0;
    clearTimeout(rest.current);
    if (spare === 0) rest.current = window.setTimeout(measure, resting);
    [from, to] = [Math.max(0, from - spare), Math.min(rows.peek().length, to + spare)];
    if (from !== before.from || to !== before.to) span.value = { from, to };
  };
  useEffect(() => {
    let frame = 0;
    const soon = (): void => { frame ||= requestAnimationFrame(() => { frame = 0; measure(); }); };
    const turned = (): void => { height.value = heightOf(); soon(); };
    window.addEventListener("scroll", soon, { passive: true });
    window.addEventListener("resize", soon);
    narrow.addEventListener("change", turned);
    measure();
    return () => {
      cancelAnimationFrame(frame);
      clearTimeout(rest.current);
      window.removeEventListener("scroll", soon);
      window.removeEventListener("resize", soon);
      narrow.removeEventListener("change", turned);
    };
  }, []);
  useLayoutEffect(measure, [list.length, height.value]);
  useLayoutEffect(() => {
    if (focusOn.current === null) return;
    const button = body.current?.querySelector<HTMLElement>(`tr[aria-rowindex="${focusOn.current + 2}"] .client-open`);
    if (button) {
      focusOn.current = null;
      button.focus({ preventScroll: true });
    }
  });

  const move = (e: KeyboardEvent): void => {
    const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[e.key];
    const tr = (e.target as HTMLElement).closest("tr[aria-rowindex]");
    if (!tr || e.ctrlKey || e.metaKey || e.altKey) return;
    const at = Number(tr.getAttribute("aria-rowindex")) - 2;
    if (e.key === "x") toggle(list[at]);
    if (step === undefined) return;
    e.preventDefault();
    const to = Math.max(0, Math.min(list.length - 1, at + step));
    focusOn.current = to;
    const start = body.current!.getBoundingClientRect().top + window.scrollY;
    const head = 56;
    const [y, bottom] = [start + to * height.value, start + (to + 1) * height.value];
    if (y - head < window.scrollY) window.scrollTo({ top: y - head });
    else if (bottom > window.scrollY + window.innerHeight) window.scrollTo({ top: bottom - window.innerHeight + 8 });
    measure();
    span.value = { ...span.value };
  };

  const { from, to } = { from: Math.min(span.value.from, list.length), to: Math.min(span.value.to, list.length) };
  const shown = list.slice(from, to);
  const slots = (slotOf.current = slotsFor(shown, slotOf.current));
  return (
    <table class="clients" id="clients" tabIndex={-1} aria-rowcount={list.length + 1} onKeyDown={move}>
      <caption class="sr-only">{t("caption")}</caption>
      <thead>
        <tr aria-rowindex={1}>
          <th class="c-check" scope="col">
            <input
              type="checkbox" aria-label={t("select.all")} title={t("select.all")} checked={allReadyChosen.value} disabled={readyClients.value.size === 0}
              onChange={() => (selected.value = allReadyChosen.value ? new Set() : readyClients.value)}
            />
          </th>
          <th class="c-client" scope="col">{t("col.client")}</th>
          {columns.map((f) => <th class="c-form" scope="col" key={f}>{formShort(f)}</th>)}
          <th class="c-why" scope="col">{t("col.why")}</th>
        </tr>
      </thead>
      <tbody ref={body}>
        <Gap rows={from} height={height.value} columns={columns.length + 3} />
        {shown.map((row, i) => (
          <ClientRow key={slots.get(row.key)} row={row} index={from + i} columns={columns} chosen={selected.value.has(row.key)} lang={lang.value} />
        ))}
        <Gap rows={list.length - to} height={height.value} columns={columns.length + 3} />
      </tbody>
    </table>
  );
}

// slotsFor numbers the places in the document that rows are drawn in. A row that stays keeps
// its place, and one that comes takes the place of one that went: what is there is written
// anew, which takes far less than removing it and making another.
function slotsFor(shown: Row[], before: ReadonlyMap<string, number>): ReadonlyMap<string, number> {
  const stays = new Set(shown.map((r) => r.key));
  const free = [...before].filter(([key]) => !stays.has(key)).map(([, slot]) => slot);
  let [taken, unused] = [0, Math.max(-1, ...before.values()) + 1];
  return new Map(shown.map((r) => [r.key, before.get(r.key) ?? free[taken++] ?? unused++]));
}

function Gap({ rows: count, height, columns }: { rows: number; height: number; columns: number }) {
  return count > 0 ? <tr class="gap" aria-hidden="true"><td colSpan={columns} style={{ height: `${count * height}px` }} /></tr> : null;
}

function toggle(row: Row | undefined): void {
  if (!row) return;
  const next = new Set(selected.peek());
  if (!next.delete(row.key)) next.add(row.key);
  selected.value = next;
}

interface RowProps { row: Row; index: number; columns: string[]; chosen: boolean; lang: string }

const ClientRow = memo(function ClientRow({ row, index, columns, chosen }: RowProps) {
  const name = row.name || t("name.none");
  const show = (form?: string): void => { opened.value = { client: row.key, ...(form && { form }) }; };
  const tr = useRef<HTMLTableRowElement>(null);
  // The focus goes when its client does, and is not left to the one that takes the place.
  useLayoutEffect(() => {
    const focused = document.activeElement;
    if (focused instanceof HTMLElement && tr.current?.contains(focused)) focused.blur();
  }, [row.key]);
  return (
    <tr
      ref={tr} aria-rowindex={index + 2} class={`client ${chosen ? "chosen" : ""}`}
      onClick={(e) => {
        const target = e.target as HTMLElement;
        if (!target.closest("input, button, a")) show(target.closest("[data-form]")?.getAttribute("data-form") ?? undefined);
      }}
    >
      <td class="c-check"><input type="checkbox" aria-label={t("select.one", { name })} checked={chosen} onChange={() => toggle(row)} /></td>
      <th class="c-client" scope="row">
        <button type="button" class="client-open" onClick={() => show()} title={name}>{name}</button>
        <span class="client-id">{row.key}</span>
      </th>
      {columns.map((f) => <FormCell key={f} form={f} items={row.shown.filter((i) => i.form === f)} />)}
      <td class="c-why"><Why item={row.worst} /></td>
    </tr>
  );
}, (a, b) => a.row === b.row && a.index === b.index && a.chosen === b.chosen && a.lang === b.lang && a.columns.join() === b.columns.join());

function FormCell({ form, items }: { form: string; items: Item[] }) {
  const first = items[0];
  if (!first) return <td class="c-form none"><span aria-hidden="true">–</span><span class="sr-only">{t("none")}</span></td>;
  if (!first.content) wantContent(first.filing);
  return (
    <td class="c-form" data-form={form} data-label={formShort(form)}>
      <Chip state={first.state} />
      {items.length > 1 && <span class="more"> +{number(items.length - 1)}</span>}
      {first.due !== undefined && <span class="amount">{signOf(currencyOf(first.authority))}{money(first.due)}</span>}
    </td>
  );
}

// whyOf is what happened and what to do, for the list: one line each.
export function whyOf(item: Item): { what: string; todo: string } {
  const f = item.filing;
  if (item.state === "DRAFT_READY") {
    return { what: item.warnings > 0 ? t("state.ready.warn", { count: number(item.warnings) }) : t("state.ready.why"), todo: t("state.ready.advice") };
  }
  const broken = errorsOf(item.state === "DRAFT_BLOCKED" ? item.draft?.violations : f?.violations);
  if (broken.length > 0 && (item.state === "DRAFT_BLOCKED" || item.state === "FILING_STATE_INVALID")) {
    const more = broken.length > 1 ? " · " + t("more", { count: number(broken.length - 1) }) : "";
    return { what: say(broken[0]!.message) + more, todo: say(broken[0]!.fix) };
  }
  const reason = f?.reasons?.[0];
  if (reason && item.state === "FILING_STATE_REJECTED") {
    return { what: reason.message || reason.code || "", todo: say(f?.advice) };
  }
  const due = f?.due_time && item.state === "FILING_STATE_WAITING" ? t(isEndless(f.cause) ? "state.due.latest" : "state.due", { time: clock(f.due_time) }) : "";
  return { what: say(f?.message), todo: say(f?.advice) || due };
}

function Why({ item }: { item: Item }) {
  const { what, todo } = whyOf(item);
  return (
    <>
      <span class="why" title={what}>{what}</span>
      {todo && item.group !== "done" && item.state !== "DRAFT_READY" && <span class="todo" title={todo}>{todo}</span>}
    </>
  );
}

export const amountText = (item: Item): string =>
  item.due === undefined ? "" : `${signOf(currencyOf(item.authority))}${money(item.due)}`;
export const clientsText = (count: number): string => n("rows.count.one", "rows.count", count, { shown: number(count) });
