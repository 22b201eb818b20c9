// "File all ready": what will be sent, the sums, who is left out and why; then
// how handing in goes. What is filed is exactly what was shown.

import { useState } from "preact/hooks";
import { api } from "./api";
import { Problem } from "./http";
import { n, number, say, t } from "./i18n";
import { Icon } from "./icons";
import type { Item } from "./model";
import { currencyOf, money, signOf, type Fen } from "./money";
import { tell, wordsOf } from "./session";
import { filter, formTitle, putFiling, reloadDrafts, selected, shownItems } from "./store";
import { whyOf } from "./table";
import { Dialog, Failure, Note } from "./ui";

const most = 500; // returns in one request
const blockedShown = 8;

interface Sum { form: string; currency: string; count: number; fen: Fen }

function sumsOf(items: Item[]): Sum[] {
  const sums = new Map<string, Sum>();
  for (const i of items) {
    const currency = currencyOf(i.authority);
    const key = `${i.form} ${currency}`;
    const sum = sums.get(key) ?? { form: i.form, currency, count: 0, fen: 0n };
    sum.count++;
    sum.fen += i.due ?? 0n;
    sums.set(key, sum);
  }
  return [...sums.values()].sort((a, b) => b.count - a.count);
}

interface Refused { item: Item | undefined; text: string }

export function FileDialog({ items: given, onClose }: { items: Item[]; onClose: () => void }) {
  const [items] = useState(given); // what was shown stays what is filed, whatever changes meanwhile
  const [done, setDone] = useState<number | null>(null);
  const [refused, setRefused] = useState<Refused[]>([]);
  const [failure, setFailure] = useState("");
  const blocked = shownItems.value.filter((i) => i.group === "yours" && i.state !== "FILING_STATE_CANCELLED");
  const sums = sumsOf(items);
  const totals = new Map<string, Fen>();
  for (const s of sums) totals.set(s.currency, (totals.get(s.currency) ?? 0n) + s.fen);
  const unknown = items.filter((i) => i.due === undefined).length;
  const warned = items.filter((i) => i.warnings > 0).length;

  const file = async (): Promise<void> => {
    setFailure("");
    let taken = 0;
    const no: Refused[] = [];
    setDone(0);
    for (let at = 0; at < items.length; ) {
      const ids = items.slice(at, at + most).map((i) => i.id);
      try {
        const results = await api.submitDrafts(ids);
        for (const [k, r] of results.entries()) {
          if (r.error) no.push({ item: items[at + k], text: say(r.error.message) || r.error.reason });
          else taken++;
        }
        for (const f of await api.batchGet(ids).catch(() => [])) putFiling(f);
        at += ids.length;
        setDone(at);
      } catch (e) {
        if (e instanceof Problem && e.retryAfter > 0 && (e.status === 503 || e.status === 429)) {
          await new Promise((go) => setTimeout(go, Math.min(e.retryAfter, 30) * 1000)); // the server says when
          continue;
        }
        setFailure(wordsOf(e));
        setDone(null);
        return;
      }
    }
    selected.value = new Set();
    reloadDrafts().catch(() => undefined);
    if (taken > 0) tell(t("filed.toast", { count: number(taken) }));
    setRefused(no);
    if (no.length === 0) onClose();
  };

  const running = done !== null && refused.length === 0;
  const lead = n("preview.lead.one", "preview.lead", items.length);
  return (
    <Dialog
      title={t("preview.title")} kind="wide" onClose={onClose}
      foot={refused.length > 0 ? <button type="button" class="btn primary" onClick={onClose}>{t("close")}</button> : (
        <>
          <p class="muted">{t("preview.safe")}</p>
          <button type="button" class="btn" onClick={onClose}>{t("cancel")}</button>
          <button type="button" class="btn primary" data-confirm disabled={running || items.length === 0} onClick={() => void file()}><Icon name="send" />{n("preview.go.one", "preview.go", items.length)}</button>
        </>
      )}
    >
      <Failure text={failure} />
      <div role="status">{running && <><progress max={items.length} value={done} aria-label={t("progress")} /><p>{t("preview.running", { done: number(done), total: number(items.length) })}</p></>}</div>
      {refused.length > 0 ? (
        <>
          <Note tone="bad" icon="alert">{t("preview.refused", { count: number(refused.length) })}</Note>
          <ul class="who">{refused.map((r, i) => <li key={i}><b>{r.item?.taxpayer.name || r.item?.taxpayer.id}</b><span>{r.text}</span></li>)}</ul>
        </>
      ) : items.length === 0 ? <p>{t("preview.nothing")}</p> : (
        <>
          <p class="lead">{lead}</p>
          <table class="sums">
            <thead><tr><th scope="col">{t("preview.tax")}</th><th scope="col" class="num">{t("preview.count")}</th><th scope="col" class="num">{t("preview.sum")}</th></tr></thead>
            <tbody>
              {sums.map((s) => <tr key={s.form + s.currency}><th scope="row">{formTitle(s.form)}</th><td class="num">{number(s.count)}</td><td class="num">{signOf(s.currency)}{money(s.fen)}</td></tr>)}
            </tbody>
            <tfoot>
              <tr><th scope="row">{t("preview.total")}</th><td class="num">{number(items.length)}</td><td class="num">{[...totals].map(([c, fen]) => <div key={c}>{signOf(c)}{money(fen)}</div>)}</td></tr>
            </tfoot>
          </table>
          {unknown > 0 && <p class="muted">{t("preview.unknown", { count: number(unknown) })}</p>}
          {warned > 0 && <p class="muted">{t("preview.warned", { count: number(warned) })}</p>}
        </>
      )}
      {blocked.length > 0 && refused.length === 0 && (
        <section class="blocked">
          <h3><Icon name="alert" /> {n("preview.blocked.one", "preview.blocked", blocked.length)}</h3>
          <ul class="who">
            {blocked.slice(0, blockedShown).map((i) => <li key={i.id}><b>{i.taxpayer.name || i.taxpayer.id}</b><span>{whyOf(i).what}</span></li>)}
            {blocked.length > blockedShown && <li class="muted">{t("more", { count: number(blocked.length - blockedShown) })}</li>}
          </ul>
          <button type="button" class="link" onClick={() => { filter.value = { group: "yours", form: "", text: "" }; onClose(); }}>{t("preview.blocked.show")}</button>
        </section>
      )}
    </Dialog>
  );
}
