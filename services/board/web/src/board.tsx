// The board itself: the period and its deadline, the five groups, what can be
// done, and the list. Dialogs are opened from here.

import { signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { exportFiles, exportPath } from "./api";
import { Drawer } from "./drawer";
import { FileDialog } from "./file";
import { chooseLang, chooseTheme, deadlineDay, lang, monthName, n, number, t, theme, type Theme } from "./i18n";
import { groupIcon, Icon, type IconName } from "./icons";
import { ImportDialog } from "./import";
import { MissingDialog } from "./missing";
import { addMonths, groups, type Group } from "./model";
import { loadError, session, sessions, toast } from "./session";
import {
  calendar, close, counts, filter, formColumns, formShort, live, loading, month,
  offers, open, opened, partial, readySelected, rows, selected, shownItems, spoken, total, ready,
} from "./store";
import { Table } from "./table";
import { Dialog, Menu, Note } from "./ui";

type Shown = "" | "file" | "file-selected" | "import" | "missing" | "keys";
export const dialog = signal<Shown>("");

export function Board() {
  useEffect(() => {
    document.addEventListener("keydown", shortcut);
    return () => document.removeEventListener("keydown", shortcut);
  }, []);
  const shut = (): void => { dialog.value = ""; };
  return (
    <>
      <a class="skip" href="#clients">{t("skip")}</a>
      <Head />
      <main>
        <h1 class="sr-only">{t("app.name")}</h1>
        <Groups />
        <Toolbar />
        {live.value === "lost" && <Note tone="warn" icon="repeat">{t("live.lost")}</Note>}
        {live.value === "poll" && <Note tone="info" icon="repeat">{t("live.poll")}</Note>}
        <Content />
      </main>
      <div class="sr-only" role="status">{spoken}</div>
      <div class="toast-place" role="status">{toast.value && <div class="toast">{toast}</div>}</div>
      {opened.value && <Drawer key={opened.value.client} />}
      {dialog.value === "file" && <FileDialog items={ready.peek()} onClose={shut} />}
      {dialog.value === "file-selected" && <FileDialog items={readySelected.peek()} onClose={shut} />}
      {dialog.value === "import" && <ImportDialog onClose={shut} />}
      {dialog.value === "missing" && <MissingDialog onClose={shut} />}
      {dialog.value === "keys" && <Keys onClose={shut} />}
    </>
  );
}

function Content() {
  if (loadError.value) {
    return (
      <div class="empty" role="alert">
        <h2>{t("error.load")}</h2><p>{loadError}</p>
        <button type="button" class="btn" onClick={() => void open(month.peek())}>{t("retry")}</button>
      </div>
    );
  }
  if (loading.value) return <div class="empty" role="status">{t("loading")}</div>;
  if (total.value === 0) {
    return (
      <div class="empty">
        <Icon name="inbox" size={32} />
        <h2>{t("empty.none.title")}</h2><p>{t("empty.none.text")}</p>
        {offers.value.imports && <button type="button" class="btn primary" onClick={() => (dialog.value = "import")}><Icon name="upload" />{t("import")}</button>}
      </div>
    );
  }
  if (rows.value.length === 0) {
    return (
      <div class="empty">
        <h2>{t("empty.filter.title")}</h2>
        <button type="button" class="btn" onClick={() => (filter.value = { group: "all", form: "", text: "" })}>{t("empty.filter.clear")}</button>
      </div>
    );
  }
  return <Table />;
}

// ---- the head: period, deadline, account ----

function Head() {
  return (
    <header class="head">
      <div class="brand"><Icon name="wave" size={20} /><span>Springtide</span></div>
      <PeriodPicker />
      <Deadline />
      <div class="spacer" />
      <button type="button" class="btn quiet" lang={lang.value === "zh" ? "en" : "zh-CN"} onClick={() => { toast.value = ""; chooseLang(lang.value === "zh" ? "en" : "zh"); }}>
        <Icon name="globe" /><span class="label">{t("lang.other")}</span>
      </button>
      <Menu label={t("menu")} icon="dots" bare>
        <p class="menu-title">{t("account", { tenant: session.value?.tenant ?? "", subject: session.value?.subject ?? "" })}</p>
        <fieldset class="segmented">
          <legend>{t("theme")}</legend>
          {(["auto", "light", "dark"] as Theme[]).map((th) => (
            <label key={th}>
              <input type="radio" name="theme" checked={theme.value === th} onChange={() => chooseTheme(th)} />
              <span>{t(`theme.${th}`)}</span>
            </label>
          ))}
        </fieldset>
        <button type="button" data-shuts onClick={() => (dialog.value = "keys")}>{t("keys.title")}</button>
        <a href="/assets/licences.txt" target="_blank" rel="noreferrer">{t("licences")}</a>
        <button type="button" data-shuts onClick={logout}>{t("logout")}</button>
      </Menu>
    </header>
  );
}

async function logout(): Promise<void> {
  close();
  await sessions.logout().catch(() => undefined);
  location.replace("/");
}

function PeriodPicker() {
  const now = month.value || addMonths(new Date().toISOString().slice(0, 7), -1);
  const latest = addMonths(new Date().toISOString().slice(0, 7), 1);
  const months = Array.from({ length: 26 }, (_, i) => addMonths(latest, -i));
  if (!months.includes(now)) months.push(now);
  return (
    <div class="period">
      <button type="button" class="btn quiet square" aria-label={t("period.previous")} title={t("period.previous")} onClick={() => void open(addMonths(now, -1))}><Icon name="left" /></button>
      <label class="sr-only" for="period">{t("period")}</label>
      <select id="period" value={now} onChange={(e) => void open(e.currentTarget.value)}>
        {months.map((m) => <option key={m} value={m}>{monthName(m)}</option>)}
      </select>
      <button type="button" class="btn quiet square" aria-label={t("period.next")} title={t("period.next")} onClick={() => void open(addMonths(now, 1))}><Icon name="right" /></button>
    </div>
  );
}

// Deadline counts down by the server's clock: the reader's may be wrong.
function Deadline() {
  const tick = useSignal(0);
  const skew = useSignal(0);
  const c = calendar.value;
  useEffect(() => {
    if (!c) return;
    skew.value = Date.parse(c.server_time) - Date.now() || 0;
    const timer = setInterval(() => tick.value++, 30_000);
    return () => clearInterval(timer);
  }, [c]);
  tick.value;
  if (!c || Number.isNaN(Date.parse(c.deadline))) return null;
  const left = Date.parse(c.deadline) - (Date.now() + skew.value);
  const minutes = Math.floor(left / 60_000);
  const days = Math.floor(minutes / 1440);
  const text = left <= 0 ? t("deadline.over")
    : days >= 1 ? t("deadline.left.days", { days, hours: Math.floor((minutes % 1440) / 60) })
      : t("deadline.left.hours", { hours: Math.floor(minutes / 60), minutes: minutes % 60 });
  const open_ = shownItems.value.some((i) => i.group !== "done");
  const tone = !open_ ? "" : left <= 0 ? "over" : days < 1 ? "near" : days < 3 ? "soon" : "";
  return (
    <div class={`deadline ${tone}`}>
      <Icon name={tone === "over" ? "alert" : "clock"} />
      <span><span class="deadline-day">{t("deadline")} <time dateTime={c.deadline}>{deadlineDay(c.deadline)}</time></span> <b>{text}</b></span>
    </div>
  );
}

// ---- the groups: ours, yours, the bureau's, kept apart ----

function Groups() {
  const c = counts.value;
  const all = groups.reduce((sum, g) => sum + c[g], 0);
  const order: Group[] = ["done", "bureau", "ours", "ready", "yours"];
  return (
    <section class="groups" aria-label={t("progress")}>
      <div class="groups-list" role="group" aria-label={t("group.filter")}>
        <GroupButton group="all" icon="queue" count={all} />
        {groups.map((g) => <GroupButton key={g} group={g} icon={groupIcon[g]} count={c[g]} />)}
      </div>
      <div class="bar" role="img" aria-label={t("progress.text", { total: number(all), done: number(c.done) })}>
        {order.map((g) => <span key={g} class={`bar-${g}`} style={{ flexGrow: c[g] }} hidden={c[g] === 0} />)}
      </div>
    </section>
  );
}

function GroupButton({ group, icon, count }: { group: Group | "all"; icon: IconName; count: number }) {
  const on = filter.value.group === group;
  const hint = group === "yours" || group === "ours" || group === "bureau" ? t(`group.${group}.hint`) : undefined;
  return (
    <button
      type="button" class={`group group-${group} ${count === 0 ? "zero" : ""}`} aria-pressed={on} title={hint}
      onClick={() => (filter.value = { ...filter.value, group: on ? "all" : group })}
    >
      <span class="group-name"><Icon name={icon} />{t(`group.${group}`)}</span>
      <span class="group-count">{number(count)}</span>
    </button>
  );
}

// ---- what can be done ----

function Toolbar() {
  const f = filter.value;
  const chosen = readySelected.value.length;
  const files = session.value?.roles?.includes("accountant") ?? true;
  const columns = formColumns.value;
  return (
    <div class="toolbar">
      <div class="search">
        <Icon name="search" />
        <label class="sr-only" for="search">{t("search")}</label>
        <input id="search" type="search" placeholder={t("search")} value={f.text} autocomplete="off" onInput={(e) => (filter.value = { ...filter.peek(), text: e.currentTarget.value })} />
      </div>
      {columns.length > 1 && (
        <>
          <label class="sr-only" for="form">{t("filter.form")}</label>
          <select id="form" value={f.form} onChange={(e) => (filter.value = { ...filter.peek(), form: e.currentTarget.value })}>
            <option value="">{t("filter.form.all")}</option>
            {columns.map((c) => <option key={c} value={c}>{formShort(c)}</option>)}
          </select>
        </>
      )}
      <span class="rows-count" role="status">
        {selected.value.size > 0
          ? <>{t("selected", { count: number(selected.value.size) })} <button type="button" class="link" onClick={() => (selected.value = new Set())}>{t("selected.clear")}</button></>
          : rows.value.length === total.value ? n("rows.count.one", "rows.count", total.value, { shown: number(total.value) })
            : t("rows.of", { shown: number(rows.value.length), total: number(total.value) })}
        {partial.value && !loading.value && <> {t("loading.more")}</>}
      </span>
      <div class="spacer" />
      <div class="actions">
        {offers.value.imports && files && <button type="button" class="btn" onClick={() => (dialog.value = "import")}><Icon name="upload" /><span class="label">{t("import")}</span></button>}
        <Menu label={t("export")} icon="download">
          {exportFiles.filter((f) => offers.value.drafts || !f.startsWith("drafts")).map((f) => (
            <a key={f} href={exportPath(f, month.value)} download>{t(`export.${f}`)}</a>
          ))}
        </Menu>
        {offers.value.missing && <button type="button" class="btn" onClick={() => (dialog.value = "missing")}><Icon name="gap" /><span class="label">{t("missing")}</span></button>}
        {offers.value.drafts && files && (chosen > 0
          ? <button type="button" class="btn primary" onClick={() => (dialog.value = "file-selected")}><Icon name="send" />{t("file.some")} <b>{number(chosen)}</b></button>
          : <button type="button" class="btn primary" disabled={ready.value.length === 0 || partial.value} onClick={() => (dialog.value = "file")}><Icon name="send" />{t("file.all")} <b>{number(ready.value.length)}</b></button>)}
      </div>
    </div>
  );
}

// ---- keyboard ----

function shortcut(e: KeyboardEvent): void {
  const target = e.target as HTMLElement;
  if (e.ctrlKey || e.metaKey || e.altKey || document.querySelector("dialog[open]")) return;
  const typing = target.matches("input:not([type=checkbox]), select, textarea");
  if (typing && e.key === "Escape" && target.id === "search") {
    filter.value = { ...filter.peek(), text: "" };
    target.blur();
  }
  if (typing) return;
  if (e.key === "/") {
    document.getElementById("search")?.focus();
    e.preventDefault();
  } else if (e.key === "?") dialog.value = "keys";
  else if (e.key === "F" && ready.peek().length > 0 && !partial.peek() && offers.peek().drafts) dialog.value = "file";
}

function Keys({ onClose }: { onClose: () => void }) {
  const keys: [string, string][] = [
    ["j / k, ↑ / ↓", t("keys.move")], ["Enter", t("keys.open")], ["x", t("keys.select")], ["/", t("keys.search")],
    ["Shift F", t("keys.file")], ["Esc", t("keys.close")], ["?", t("keys.help")],
  ];
  return (
    <Dialog title={t("keys.title")} onClose={onClose}>
      <dl class="keys">{keys.map(([key, what]) => <div key={key}><dt><kbd>{key}</kbd></dt><dd>{what}</dd></div>)}</dl>
    </Dialog>
  );
}
