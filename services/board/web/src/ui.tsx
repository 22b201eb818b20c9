// The small parts that pages are made of.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { t } from "./i18n";
import { Icon, stateIcon, type IconName } from "./icons";
import type { ItemState } from "./model";

// tones group the states by what they mean to a person; the chip's icon and text say it too.
const tones: Record<ItemState, string> = {
  DRAFT_READY: "ready", DRAFT_BLOCKED: "warn",
  FILING_STATE_RECEIVED: "work", FILING_STATE_CHECKING: "work", FILING_STATE_INVALID: "bad", FILING_STATE_QUEUED: "work",
  FILING_STATE_SUBMITTING: "bureau", FILING_STATE_ACCEPTED: "good", FILING_STATE_REJECTED: "bad", FILING_STATE_WAITING: "bureau",
  FILING_STATE_CONFIRMING: "work", FILING_STATE_NEEDS_ATTENTION: "warn", FILING_STATE_CANCELLED: "off", FILING_STATE_CONFLICT: "bad",
};

export function Chip({ state }: { state: ItemState }) {
  return (
    <span class={`chip chip-${tones[state] ?? "work"}`}>
      <Icon name={stateIcon[state] ?? "dots"} size={14} />
      {t(`state.${state}`)}
    </span>
  );
}

interface DialogProps {
  title: ComponentChildren;
  kind?: "drawer" | "wide";
  class?: string;
  onClose: () => void;
  foot?: ComponentChildren;
  children: ComponentChildren;
}

// Dialog is modal: the browser keeps the focus inside, makes the rest inert and gives Esc.
export function Dialog({ title, kind, onClose, foot, children, ...rest }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = ref.current!;
    const before = document.activeElement;
    dialog.showModal();
    return () => {
      dialog.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
    };
  }, []);
  return (
    <dialog
      ref={ref} class={`dialog ${kind ?? ""} ${rest.class ?? ""}`} aria-labelledby={id}
      onCancel={(e) => { e.preventDefault(); onClose(); }}
      onMouseDown={(e) => { if (e.target === ref.current) onClose(); }}
    >
      <div class="dialog-box">
        <header class="dialog-head">
          <h2 id={id} tabIndex={-1}>{title}</h2>
          <button type="button" class="btn quiet square" onClick={onClose} aria-label={t("close")} title={t("close")}><Icon name="cross" /></button>
        </header>
        <div class="dialog-body" tabIndex={0}>{children}</div>
        {foot && <footer class="dialog-foot">{foot}</footer>}
      </div>
    </dialog>
  );
}

interface MenuProps { label: string; icon: IconName; children: ComponentChildren; bare?: boolean }

// Menu is a disclosure: a button that shows a few links or buttons.
export function Menu({ label, icon, children, bare }: MenuProps) {
  const ref = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const shut = (e: Event): void => {
      const menu = ref.current;
      if (!menu?.open) return;
      if (e instanceof KeyboardEvent) {
        if (e.key !== "Escape") return;
        menu.querySelector("summary")?.focus();
      } else if (menu.contains(e.target as Node) && !(e.target as Element).closest("a, [data-shuts]")) return;
      menu.open = false;
    };
    document.addEventListener("click", shut);
    document.addEventListener("keydown", shut);
    return () => {
      document.removeEventListener("click", shut);
      document.removeEventListener("keydown", shut);
    };
  }, []);
  return (
    <details class="menu" ref={ref}>
      <summary class={bare ? "btn quiet square" : "btn"} aria-label={bare ? label : undefined} title={bare ? label : undefined}>
        <Icon name={icon} />{!bare && <span class="label">{label}</span>}
      </summary>
      <div class="menu-list">{children}</div>
    </details>
  );
}

export function Note({ tone, icon, children }: { tone: "bad" | "warn" | "good" | "info"; icon?: IconName; children: ComponentChildren }) {
  return <div class={`note note-${tone}`}>{icon && <Icon name={icon} />}<div>{children}</div></div>;
}

// Failure is read out at once.
export function Failure({ text }: { text: string }) {
  return <div role="alert">{text && <Note tone="bad" icon="alert">{text}</Note>}</div>;
}
