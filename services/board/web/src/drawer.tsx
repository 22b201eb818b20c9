// The drawer: everything about one client. What stands there, why, since when,
// the figures with their errors beside them, and what can be done about it.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useState } from "preact/hooks";
import { api } from "./api";
import { Editor } from "./editor";
import { periodText, say, t, time } from "./i18n";
import { Icon, type IconName } from "./icons";
import { errorsOf, isCorrectable, isEndless, type Item } from "./model";
import { ReceiptDialog } from "./receipt";
import { session, tell, wordsOf } from "./session";
import { dropDraft, filter, formOf, formTitle, historyOf, itemById, offers, opened, putDraft, putFiling, rowOf, wantContent } from "./store";
import type { Draft, Form } from "./types";
import { amountText } from "./table";
import { Chip, Dialog, Failure, Note } from "./ui";

export function Drawer() {
  const client = opened.value!.client;
  const row = rowOf(client);
  const [chosen, choose] = useState<string>(() => {
    const form = opened.peek()!.form ?? filter.peek().form;
    return (row?.items.find((i) => i.form === form) ?? row?.worst)?.id ?? "";
  });
  const shut = (): void => { opened.value = null; };
  const item = itemById(chosen) ?? row?.worst;
  useEffect(() => { if (!row) shut(); }, [row]);
  if (!row || !item) return null;
  return (
    <Dialog kind="drawer" onClose={shut} title={<>{row.name || t("name.none")} <span class="client-id">{row.key}</span></>}>
      {row.items.length > 1 && (
        <nav class="tabs" aria-label={t("drawer.items")}>
          {row.items.map((i) => (
            <button key={i.id} type="button" aria-pressed={i.id === item.id} onClick={() => choose(i.id)}>
              <span>{formTitle(i.form)}{i.amendment > 0 && <> · {t("drawer.amendment", { n: i.amendment })}</>}</span><Chip state={i.state} />
            </button>
          ))}
        </nav>
      )}
      <ItemView key={item.id} item={item} choose={choose} />
    </Dialog>
  );
}

function ItemView({ item, choose }: { item: Item; choose: (id: string) => void }) {
  const failure = useSignal("");
  const receipt = useSignal(false);
  const f = item.filing;
  // Without a draft, what was filed is where a correction starts.
  const draft = useMemo((): Draft | undefined => item.draft ?? (item.content && {
    filing_id: item.id, return: item.content, etag: "", ...(f?.violations && { violations: f.violations }),
  }), [item.draft, item.content]);
  useEffect(() => { if (!item.content) wantContent(f); }, [item]);
  const mayWrite = session.value?.roles?.includes("accountant") ?? true;
  const editable = mayWrite && offers.value.drafts && isCorrectable(item.state) && draft !== undefined;
  const act = async (what: () => Promise<void>): Promise<void> => {
    failure.value = "";
    try {
      await what();
    } catch (e) {
      failure.value = wordsOf(e);
    }
  };
  const amend = () => act(async () => {
    const saved = await api.saveDraft({ ...item.content!, amendment: item.amendment + 1 });
    putDraft(saved);
    requestAnimationFrame(() => choose(saved.filing_id));
  });
  return (
    <>
      <Standing item={item} />
      <Failure text={failure.value} />
      {editable ? <Editor item={item} draft={draft} choose={choose} /> : (
        <>
          {errorsOf(f?.violations).length > 0 && <Problems item={item} />}
          {f && isCorrectable(item.state) && !draft && <Note tone="info" icon="alert">{t("drawer.novalues")}</Note>}
          {draft && <Values item={item} />}
        </>
      )}
      {mayWrite && (
        <div class="acts">
          {item.state === "FILING_STATE_ACCEPTED" && <button type="button" class="btn primary" onClick={() => (receipt.value = true)}><Icon name="receipt" />{t("act.receipt")}</button>}
          {item.state === "FILING_STATE_ACCEPTED" && item.content && offers.value.drafts && <button type="button" class="btn" onClick={amend}><Icon name="pencil" />{t("act.amend")}</button>}
          {(item.state === "FILING_STATE_REJECTED" || item.state === "FILING_STATE_CANCELLED") && (
            <button type="button" class="btn" onClick={() => act(async () => putFiling(await api.retry(item.id)))}><Icon name="repeat" />{t("act.retry")}</button>
          )}
          {(item.state === "FILING_STATE_RECEIVED" || item.state === "FILING_STATE_QUEUED" || item.state === "FILING_STATE_WAITING") && (
            <Sure icon="ban" text={t("act.cancel")} sure={t("act.cancel.sure")} onSure={() => act(async () => putFiling(await api.cancel(item.id)))} />
          )}
          {item.draft && item.state.startsWith("DRAFT_") && (
            <Sure icon="cross" text={t("act.delete")} sure={t("act.delete.sure")} onSure={() => act(async () => {
              await api.deleteDraft(item.id);
              dropDraft(item.id);
            })} />
          )}
        </div>
      )}
      <Timeline item={item} />
      <Facts item={item} />
      {receipt.value && <ReceiptDialog item={item} onClose={() => (receipt.value = false)} />}
    </>
  );
}

// Standing: what happened, whose turn it is, what to do.
function Standing({ item }: { item: Item }) {
  const f = item.filing;
  const turns: Record<Item["group"], [string, IconName]> = {
    yours: [t("turn.yours"), "person"], ready: [t("turn.yours"), "person"], ours: [t("turn.ours"), "wave"],
    bureau: [t("turn.bureau"), "bureau"], done: [t("turn.nobody"), "check"],
  };
  const [turn, icon] = turns[item.group];
  const isDraft = item.state.startsWith("DRAFT_");
  return (
    <section class={`standing standing-${item.group}`}>
      <div class="standing-top"><Chip state={item.state} /><span class="turn"><Icon name={icon} size={14} />{turn}</span><span class="amount big">{amountText(item)}</span></div>
      {!isDraft && <p>{say(f?.message)}</p>}
      {!isDraft && f?.advice && <p class="todo">{say(f.advice)}</p>}
      {item.state === "DRAFT_READY" && <p>{t("state.ready.why")}</p>}
      {(f?.reasons?.length ?? 0) > 0 && item.state !== "FILING_STATE_ACCEPTED" && (
        <>
          <h3>{t("drawer.reasons")}</h3>
          <ul class="reasons">{f!.reasons!.map((r, i) => <li key={i}>{r.code && <code>{r.code}</code>} {r.message} {r.path && <span class="muted">{r.path}</span>}</li>)}</ul>
        </>
      )}
    </section>
  );
}

function Problems({ item }: { item: Item }) {
  return (
    <section>
      <h3>{t("drawer.problems")}</h3>
      <ul class="problems">
        {errorsOf(item.filing?.violations).map((v, i) => (
          <li key={i}><b>{say(v.message)}</b> {say(v.fix)} <span class="muted">{[v.rule, ...(v.cells ?? [])].join(" · ")}</span></li>
        ))}
      </ul>
    </section>
  );
}

function Values({ item }: { item: Item }) {
  const [form, setForm] = useState<Form | null>(null);
  const r = item.content!;
  useEffect(() => { formOf(r.form, r.edition).then(setForm, () => undefined); }, [item.id]);
  const labels = new Map(form?.cells?.map((c) => [c.code, say(c.label)]));
  const lines = Object.entries(r.lines ?? {}).sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
  return (
    <section>
      <h3>{t("drawer.values")}</h3>
      <dl class="values">{lines.map(([cell, v]) => <div key={cell}><dt><code>{cell}</code> {labels.get(cell)}</dt><dd class="num">{v}</dd></div>)}</dl>
    </section>
  );
}

// Sure asks by changing its own words: a second press does it.
function Sure({ icon, text, sure, onSure }: { icon: IconName; text: string; sure: string; onSure: () => void }) {
  const [armed, arm] = useState(false);
  return (
    <button type="button" class={`btn ${armed ? "danger" : ""}`} onBlur={() => arm(false)} onClick={() => { if (armed) onSure(); arm(!armed); }}>
      <Icon name={icon} />{armed ? sure : text}
    </button>
  );
}

function Timeline({ item }: { item: Item }) {
  const f = item.filing;
  const events: { at: string; text: string; icon: IconName; place: number; coming?: boolean }[] = [];
  if (item.draft?.update_time) events.push({ at: item.draft.update_time, text: t("event.draft"), icon: "pencil", place: 0 });
  if (f?.receive_time) events.push({ at: f.receive_time, text: t("event.received"), icon: "inbox", place: 1 });
  for (const h of historyOf(item.id)) {
    if (h.state !== "FILING_STATE_RECEIVED" && h.state !== "FILING_STATE_ACCEPTED") events.push({ at: h.at, text: t(`state.${h.state}`), icon: "clock", place: 2 });
  }
  if (f?.receipt?.accept_time) events.push({ at: f.receipt.accept_time, text: t("event.accepted"), icon: "check", place: 3 });
  if (f?.due_time && f.state === "FILING_STATE_WAITING") events.push({ at: f.due_time, text: t(isEndless(f.cause) ? "event.next.latest" : "event.next"), icon: "repeat", place: 4, coming: true });
  // Authorities tell whole seconds; within one, the order of things is known.
  const second = (e: { at: string }): number => Math.floor(Date.parse(e.at) / 1000);
  events.sort((a, b) => second(a) - second(b) || a.place - b.place);
  if (events.length === 0) return null;
  return (
    <section>
      <h3>{t("drawer.timeline")}</h3>
      <ol class="timeline">
        {events.map((e, i) => <li key={i} class={e.coming ? "coming" : ""}><Icon name={e.icon} size={14} /><span>{e.text}</span><time dateTime={e.at}>{time(e.at)}</time></li>)}
      </ol>
      {(f?.attempts ?? 0) > 1 && <p class="muted">{t("drawer.attempts", { count: f!.attempts! })}</p>}
    </section>
  );
}

function Facts({ item }: { item: Item }) {
  const facts: [string, string][] = [
    [t("drawer.form"), formTitle(item.form)], [t("period"), periodText(item.period)],
    [t("drawer.authority"), item.authority], [t("drawer.id"), item.id],
  ];
  return (
    <section>
      <dl class="facts">
        {facts.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}
      </dl>
      <button type="button" class="link" onClick={() => { void navigator.clipboard?.writeText(item.id).then(() => tell(t("drawer.copied"))); }}>
        <Icon name="copy" size={14} /> {t("drawer.copy")} {t("drawer.id")}
      </button>
    </section>
  );
}
