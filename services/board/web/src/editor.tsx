// The editor of a draft: each figure with what is wrong with it beside it. It
// checks while one types, saves with the version it started from, and when a
// colleague was faster shows both and lets the person choose.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api } from "./api";
import { Problem } from "./http";
import { Conflict } from "./conflict";
import { number, say, t } from "./i18n";
import { Icon } from "./icons";
import { errorsOf, warningsOf, type Item } from "./model";
import { tell, wordsOf } from "./session";
import { dropDraft, formOf, putDraft, putFiling } from "./store";
import type { Draft, Form, Return, Violation } from "./types";
import { Failure, Note } from "./ui";

// homeOf is the one place beside which a finding stands, though its rule may have
// looked at many cells: the last one that was filled in, which is mostly the result.
function homeOf(v: Violation, r: Return): string | undefined {
  return v.cells?.findLast((c) => r.lines?.[c] !== undefined || c.includes(".") && factOf(c) !== undefined) ?? v.cells?.[0];
}

interface Props { item: Item; draft: Draft; choose: (id: string) => void }

const byCell = (a: string, b: string): number => a.localeCompare(b, "en", { numeric: true });
const factOf = (cell: string): string | undefined => /^(?:ctx|context)\.(.+)$/.exec(cell)?.[1];

export function Editor({ item, draft, choose }: Props) {
  const [base, setBase] = useState(draft); // what the edits started from
  const [edited, setEdited] = useState<Return>(draft.return);
  const [checked, setChecked] = useState<{ violations: Violation[]; completed?: Return }>({ violations: draft.violations ?? [] });
  const [form, setForm] = useState<Form | null>(null);
  const [added, setAdded] = useState<string[]>([]);
  const [failure, setFailure] = useState("");
  const [busy, setBusy] = useState(false);
  const [theirs, setTheirs] = useState<Draft | null | undefined>(undefined);
  const dirty = JSON.stringify(edited) !== JSON.stringify(base.return);
  const latest = useRef(0);

  const place = useRef<HTMLFormElement>(null);

  useEffect(() => { formOf(draft.return.form, draft.return.edition).then(setForm, () => undefined); }, []);
  // What has to be corrected comes into view by itself, once the labels have their place.
  useEffect(() => { if (form) place.current?.querySelector(".field.bad")?.scrollIntoView({ block: "center" }); }, [form]);
  // A draft that changed elsewhere replaces ours as long as nothing was typed here.
  useEffect(() => {
    if (dirty || draft.etag === base.etag) return;
    setBase(draft);
    setEdited(draft.return);
  }, [draft]);
  useEffect(() => {
    const mine = ++latest.current;
    const timer = setTimeout(() => {
      api.check(edited).then((c) => {
        if (mine === latest.current) setChecked({ violations: c.violations ?? [], ...(c.completed && { completed: c.completed }) });
      }, () => undefined); // the draft is checked again when it is saved
    }, dirty ? 300 : 0);
    return () => clearTimeout(timer);
  }, [edited]);

  const cells = useMemo(() => {
    const known = new Set(form?.cells?.map((c) => c.code));
    const named = checked.violations.map((v) => homeOf(v, base.return) ?? "").filter((c) => known.has(c));
    return [...new Set([...Object.keys(base.return.lines ?? {}), ...named, ...added])].sort(byCell);
  }, [form, base, added, checked]);
  const facts = useMemo(() => {
    const named = checked.violations.flatMap((v) => v.cells ?? []).map(factOf).filter((x): x is string => x !== undefined);
    return [...new Set([...Object.keys(base.return.context ?? {}), ...named])].sort(byCell);
  }, [base, checked]);

  const save = async (r: Return, etag: string | undefined): Promise<Draft | undefined> => {
    setBusy(true);
    setFailure("");
    try {
      const saved = await api.saveDraft(r, etag);
      putDraft(saved);
      if (saved.filing_id !== base.filing_id) { // the tax number is part of what a filing is
        if (base.etag) await api.deleteDraft(base.filing_id);
        dropDraft(base.filing_id);
        choose(saved.filing_id);
      }
      setBase(saved);
      setEdited(saved.return);
      setTheirs(undefined);
      return saved;
    } catch (e) {
      if (e instanceof Problem && (e.status === 412 || e.reason === "DRAFT_CHANGED")) {
        const all = await api.drafts(r.period.end.slice(0, 7)).catch(() => []);
        setTheirs(all.find((d) => d.filing_id === base.filing_id) ?? null);
      } else setFailure(wordsOf(e));
      return undefined;
    } finally {
      setBusy(false);
    }
  };
  // Another taxpayer's number makes another draft, which has no version yet.
  const etag = edited.taxpayer.id === base.return.taxpayer.id ? base.etag : undefined;
  const onSave = async (): Promise<void> => { if (await save(edited, etag)) tell(t("edit.saved")); };
  const onFile = async (): Promise<void> => {
    const saved = dirty ? await save(edited, etag) : base;
    if (!saved) return;
    setBusy(true);
    try {
      const [result] = await api.submitDrafts([saved.filing_id]);
      if (result?.error) {
        setFailure(say(result.error.message) || result.error.reason);
        return;
      }
      dropDraft(saved.filing_id); // it is a filing now
      for (const f of await api.batchGet([saved.filing_id])) putFiling(f);
    } catch (e) {
      setFailure(wordsOf(e));
    } finally {
      setBusy(false);
    }
  };

  if (theirs !== undefined) {
    return <Conflict mine={edited} theirs={theirs} onTake={(d) => { putDraft(d); setBase(d); setEdited(d.return); setTheirs(undefined); }}
      onSave={(r) => void save(r, theirs?.etag)} onBack={() => setTheirs(undefined)} />;
  }

  const labels = new Map(form?.cells?.map((c) => [c.code, c]));
  const broken = errorsOf(checked.violations);
  const placed = new Set([...cells, ...facts.flatMap((f) => [`ctx.${f}`, `context.${f}`]), "taxpayer.id", "taxpayer.name"]);
  const about = (...names: string[]) => checked.violations.filter((v) => names.includes(homeOf(v, base.return) ?? ""));
  const loose = checked.violations.filter((v) => !placed.has(homeOf(v, base.return) ?? ""));
  const setLine = (cell: string, value: string): void => setEdited((r) => ({ ...r, lines: without(r.lines, cell, value) }));
  const setFact = (name: string, value: string): void => setEdited((r) => ({ ...r, context: without(r.context, name, value) }));
  const corrects = item.filing !== undefined && !item.state.startsWith("DRAFT_");
  const unchanged = corrects && !dirty && !base.etag; // there is a button of its own for filing it again as it is
  return (
    <form class="editor" ref={place} onSubmit={(e) => { e.preventDefault(); void onSave(); }}>
      <div role="status">
        {broken.length > 0 ? <Note tone="warn" icon="alert">{t("edit.bad", { count: number(broken.length) })}</Note>
          : <Note tone="good" icon="check">{t("edit.ok")}</Note>}
      </div>
      {loose.length > 0 && <ul class="problems">{loose.map((v, i) => <Wrong key={i} v={v} />)}</ul>}
      <fieldset class="taxpayer">
        <legend>{t("receipt.client")}</legend>
        <Field id="tax-id" label={t("drawer.taxpayer")} value={edited.taxpayer.id} violations={about("taxpayer.id")} onInput={(v) => setEdited((r) => ({ ...r, taxpayer: { ...r.taxpayer, id: v } }))} />
        <Field id="tax-name" label={t("edit.name")} value={edited.taxpayer.name ?? ""} violations={about("taxpayer.name")} onInput={(v) => setEdited((r) => ({ ...r, taxpayer: { ...r.taxpayer, name: v } }))} />
      </fieldset>
      <fieldset>
        <legend>{t("drawer.values")}</legend>
        {cells.map((cell) => (
          <Field
            key={cell} id={`cell-${cell}`} code={cell} label={say(labels.get(cell)?.label)} value={edited.lines?.[cell] ?? ""} numeric
            computed={checked.completed?.lines?.[cell]} violations={about(cell)} onInput={(v) => setLine(cell, v)}
          />
        ))}
        {form && (
          <div class="add-line">
            <label for="add-line">{t("act.addline")}</label>
            <select id="add-line" value="" onChange={(e) => { if (e.currentTarget.value) setAdded([...added, e.currentTarget.value]); e.currentTarget.value = ""; }}>
              <option value="">{t("act.addline.choose")}</option>
              {form.cells?.filter((c) => c.kind !== "computed" && !cells.includes(c.code)).map((c) => <option key={c.code} value={c.code}>{c.code} {say(c.label)}</option>)}
            </select>
          </div>
        )}
      </fieldset>
      {facts.length > 0 && (
        <fieldset>
          <legend>{t("drawer.context")}</legend>
          {facts.map((name) => (
            <Field
              key={name} id={`fact-${name}`} code={name} label={say(form?.context?.find((c) => c.name === name)?.meaning)} value={edited.context?.[name] ?? ""}
              violations={about(`ctx.${name}`, `context.${name}`)} onInput={(v) => setFact(name, v)}
            />
          ))}
        </fieldset>
      )}
      <Failure text={failure} />
      <div class="acts sticky">
        <button type="button" class="btn primary" disabled={busy || unchanged || broken.length > 0} onClick={() => void onFile()}><Icon name="send" />{corrects ? t("act.resubmit") : t("act.file")}</button>
        <button type="submit" class="btn" disabled={busy || !dirty}>{busy ? t("act.saving") : t("act.save")}</button>
        {dirty && <button type="button" class="btn quiet" onClick={() => setEdited(base.return)}>{t("act.discard")}</button>}
      </div>
    </form>
  );
}

function without(all: Record<string, string> | undefined, key: string, value: string): Record<string, string> {
  const next = { ...all };
  if (value === "") delete next[key];
  else next[key] = value;
  return next;
}

interface FieldProps {
  id: string; label: string; value: string; violations: Violation[]; code?: string; numeric?: boolean;
  computed?: string | undefined; onInput: (value: string) => void;
}

function Field({ id, label, value, violations, code, numeric, computed, onInput }: FieldProps) {
  const bad = errorsOf(violations).length > 0;
  return (
    <div class={`field ${bad ? "bad" : ""}`}>
      <label for={id}>{code && <code>{code}</code>} {label}</label>
      <input
        id={id} value={value} class={numeric ? "num" : ""} inputMode={numeric ? "decimal" : "text"} autocomplete="off" spellcheck={false}
        aria-invalid={bad} aria-describedby={violations.length > 0 ? `${id}-why` : undefined}
        placeholder={computed !== undefined && value === "" ? t("edit.computed", { value: computed }) : undefined}
        onInput={(e) => onInput(e.currentTarget.value)}
      />
      {violations.length > 0 && <ul class="problems" id={`${id}-why`}>{violations.map((v, i) => <Wrong key={i} v={v} />)}</ul>}
    </div>
  );
}

function Wrong({ v }: { v: Violation }) {
  const warning = warningsOf([v]).length > 0;
  return <li class={warning ? "warning" : ""}><Icon name="alert" size={14} /><span><b>{say(v.message)}</b> {say(v.fix)} <span class="muted">{v.rule}</span></span></li>;
}
