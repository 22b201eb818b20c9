// The small parts that sections are made of.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { number, say, t } from "../i18n";
import { Icon, type IconName } from "../icons";
import { wordsOf } from "../session";
import type { Localized } from "../types";
import { Dialog, Failure, Note } from "../ui";
import type { Listed } from "./store";
import { o } from "./text";

export type Tone = "good" | "bad" | "warn" | "work" | "bureau" | "off";

// Mark is a word with a colour and an icon: the word alone says it too.
export function Mark({ tone, icon, children }: { tone: Tone; icon: IconName; children: ComponentChildren }) {
  return <span class={`chip chip-${tone}`}><Icon name={icon} size={14} />{children}</span>;
}

interface SectionProps { id: string; title: string; count?: number | undefined; tools?: ComponentChildren; children: ComponentChildren }

export function Section({ id, title, count, tools, children }: SectionProps) {
  return (
    <section class="panel" id={id} aria-labelledby={`${id}-title`} tabIndex={-1}>
      <header class="panel-head">
        <h2 id={`${id}-title`}>{title}{count !== undefined && <span class="panel-count">{number(count)}</span>}</h2>
        <div class="spacer" />
        {tools}
      </header>
      {children}
    </section>
  );
}

// OfList shows what a list holds, that it could not be read, or that it is empty.
export function OfList<T>({ list, empty, none, children }: {
  list: Listed<T>; empty: (value: T) => boolean; none: string; children: (value: T) => ComponentChildren;
}) {
  return (
    <>
      {list.failure && <div class="panel-note" role="status"><Note tone="warn" icon="alert">{o("list.failed", { why: list.failure })}</Note></div>}
      {list.value === undefined ? !list.failure && <p class="panel-empty">{t("loading")}</p>
        : empty(list.value) ? <p class="panel-empty"><Icon name="check" />{none}</p> : children(list.value)}
    </>
  );
}

// useFew shows the first of many, and the others when asked.
export function useFew<T>(all: T[], few: number): { some: T[]; rest: ComponentChildren } {
  const [whole, show] = useState(false);
  if (whole || all.length <= few + 1) return { some: all, rest: null };
  return { some: all.slice(0, few), rest: <button type="button" class="link" onClick={() => show(true)}>{o("more.all", { count: number(all.length) })}</button> };
}

// Cell is one value of a row; on a phone its column's name stands beside it.
export function Cell({ label, num, wide, children }: { label: string; num?: boolean; wide?: boolean; children: ComponentChildren }) {
  return <td class={`${num ? "num" : ""} ${wide ? "wide" : ""}`} data-label={label}>{children}</td>;
}

interface ActProps {
  title: string;
  lead: string;
  go: string;
  danger?: boolean;
  ready?: boolean;
  onGo: () => Promise<Localized | undefined | void>;
  onClose: () => void;
  children: ComponentChildren;
}

// ActDialog asks for what an act needs, does it once, and says what there is to know.
export function ActDialog({ title, lead, go, danger, ready = true, onGo, onClose, children }: ActProps) {
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState("");
  const [warning, setWarning] = useState("");
  const trouble = useRef<HTMLDivElement>(null);
  useEffect(() => { if (failure) trouble.current?.scrollIntoView({ block: "nearest" }); }, [failure]);
  const acting = useRef(false); // a second press may come before the first is drawn
  const act = async (): Promise<void> => {
    if (acting.current || !ready) return;
    acting.current = true;
    setBusy(true);
    setFailure("");
    try {
      const told = say((await onGo()) ?? undefined);
      if (told) setWarning(told);
      else onClose();
    } catch (e) {
      setFailure(wordsOf(e));
    } finally {
      acting.current = false;
      setBusy(false);
    }
  };
  return (
    <Dialog
      title={title} onClose={onClose}
      foot={warning ? <button type="button" class="btn primary" onClick={onClose}>{t("close")}</button> : (
        <>
          <button type="button" class="btn" onClick={onClose}>{t("cancel")}</button>
          <button type="submit" form="act" class={`btn ${danger ? "danger" : "primary"}`} data-confirm disabled={busy || !ready}>{go}</button>
        </>
      )}
    >
      <div role="status">{warning && <Note tone="warn" icon="alert">{o("warning", { text: warning })}</Note>}</div>
      {!warning && (
        <form id="act" class="act-form" onSubmit={(e) => { e.preventDefault(); void act(); }}>
          <p class="lead">{lead}</p>
          {children}
          <div ref={trouble}><Failure text={failure} /></div>
        </form>
      )}
    </Dialog>
  );
}

export function Field({ id, label, hint, children }: { id: string; label: string; hint?: string; children: ComponentChildren }) {
  return <div class="act-field"><label for={id}>{label}</label>{children}{hint && <p class="hint" id={`${id}-hint`}>{hint}</p>}</div>;
}
