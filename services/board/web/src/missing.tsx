// Missing filings (漏报): what was filed for the last period and is not there for
// this one, and nil returns (零申报) for those that had nothing.

import { useEffect, useState } from "preact/hooks";
import { api } from "./api";
import { Problem } from "./http";
import { number, say, t } from "./i18n";
import { tell, wordsOf } from "./session";
import { formTitle, month, offers, putDraft } from "./store";
import type { Filing } from "./types";
import { Dialog, Failure, Note } from "./ui";

const most = 500; // nil returns in one request

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
    let made = 0;
    const refused: string[] = [];
    try {
      for (let at = 0; at < which.length; at += most) {
        const asked = which.slice(at, at + most);
        const results = await api.createZero(asked.map((f) => f.filing_id));
        const done = new Set<string>();
        for (const [i, r] of results.entries()) {
          if (r.draft) {
            putDraft(r.draft);
            made++;
            done.add(asked[i]!.filing_id);
          } else refused.push(`${asked[i]!.taxpayer.name || asked[i]!.taxpayer.id}: ${say(r.error?.message) || r.error?.reason}`);
        }
        setList((l) => l?.filter((x) => !done.has(x.filing_id)) ?? null);
      }
      setFailure(refused.join("\n"));
    } catch (e) {
      setFailure(wordsOf(e));
    } finally {
      setBusy(false);
      if (made > 0) tell(t("missing.made", { count: number(made) }));
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
