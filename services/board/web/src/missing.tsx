// Missing filings (漏报): what was filed for the last period and is not there for
// this one, and nil returns (零申报) for those that had nothing.

import { useEffect, useState } from "preact/hooks";
import { api, Problem } from "./api";
import { number, t } from "./i18n";
import { shiftedPeriod } from "./model";
import { formOf, formTitle, month, offers, putDraft, tell, wordsOf } from "./store";
import type { Draft, Filing, Return } from "./types";
import { Dialog, Failure, Note } from "./ui";

// nilReturn has no turnover. Forms differ in whether nothing is written as an
// empty return or as zeros; the rules of the form say which passes.
async function nilReturn(previous: Filing, to: string): Promise<Return> {
  const empty: Return = {
    form: previous.form, period: shiftedPeriod(previous.period, to), taxpayer: previous.taxpayer,
    authority: previous.authority, lines: {}, context: {},
  };
  const first = await api.check(empty);
  if (first.ok) return empty;
  const form = await formOf(previous.form);
  const zeros: Return = { ...empty, lines: {} };
  for (const c of form.cells ?? []) if (c.type === "money" || c.type === "whole") zeros.lines![c.code] = "0";
  const second = await api.check(zeros);
  return second.ok || (second.violations?.length ?? 0) < (first.violations?.length ?? 0) ? zeros : empty;
}

export function MissingDialog({ onClose }: { onClose: () => void }) {
  const [list, setList] = useState<Filing[] | null>(null);
  const [failure, setFailure] = useState("");
  const [busy, setBusy] = useState(false);
  const to = month.value;
  useEffect(() => {
    api.missing(to).then(setList, (e: unknown) => {
      if (e instanceof Problem && e.absent) {
        offers.value = { ...offers.peek(), missing: false };
        onClose();
      } else setFailure(wordsOf(e));
    });
  }, []);
  const make = async (which: Filing[]): Promise<void> => {
    setBusy(true);
    setFailure("");
    const made: Draft[] = [];
    try {
      for (const f of which) {
        const d = await api.saveDraft(await nilReturn(f, to));
        putDraft(d);
        made.push(d);
        setList((l) => l?.filter((x) => x.filing_id !== f.filing_id) ?? null);
      }
    } catch (e) {
      setFailure(wordsOf(e));
    } finally {
      setBusy(false);
      if (made.length > 0) tell(t("missing.made", { count: number(made.length) }));
    }
  };
  return (
    <Dialog
      title={t("missing.title")} kind="wide" onClose={onClose}
      foot={list && list.length > 1 && offers.value.drafts ? (
        <><p class="muted">{t("missing.zero.hint")}</p><button type="button" class="btn" disabled={busy} onClick={() => void make(list)}>{t("missing.zero.all", { count: number(list.length) })}</button></>
      ) : undefined}
    >
      <p class="lead">{t("missing.lead")}</p>
      <Failure text={failure} />
      <div role="status">
        {!list && !failure && t("loading")}
        {list?.length === 0 && <Note tone="good" icon="check">{t("missing.none")}</Note>}
      </div>
      <ul class="who">
        {list?.map((f) => (
          <li key={f.filing_id}>
            <span><b>{f.taxpayer.name || f.taxpayer.id}</b><br /><span class="muted">{formTitle(f.form)}</span></span>
            {offers.value.drafts && <button type="button" class="btn" disabled={busy} onClick={() => void make([f])}>{t("missing.zero")}</button>}
          </li>
        ))}
      </ul>
    </Dialog>
  );
}
