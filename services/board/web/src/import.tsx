// Import: a file is checked row by row before anything is kept, and kept before
// anything is sent.

import { useRef, useState } from "preact/hooks";
import { api, exportPath } from "./api";
import { number, say, t } from "./i18n";
import { Icon } from "./icons";
import { errorsOf } from "./model";
import { tell, wordsOf } from "./session";
import { filter, month, open } from "./store";
import type { ImportAnswer, ImportRow } from "./types";
import { Dialog, Failure, Note } from "./ui";

const largest = 32 << 20; // what the server takes, in bytes
const most = 100; // rows to correct that are listed; the board lists them all once they are kept

export function ImportDialog({ onClose }: { onClose: () => void }) {
  const [file, setFile] = useState<File | null>(null);
  const [answer, setAnswer] = useState<ImportAnswer | null>(null);
  const [busy, setBusy] = useState(false);
  const [over, setOver] = useState(false);
  const [failure, setFailure] = useState("");
  const input = useRef<HTMLInputElement>(null);

  const look = async (f: File | undefined): Promise<void> => {
    if (!f) return;
    setFile(f);
    setAnswer(null);
    setFailure("");
    if (f.size > largest) {
      setFailure(t("import.large"));
      return;
    }
    setBusy(true);
    try {
      setAnswer(await api.importFile(f, false));
    } catch (e) {
      setFailure(wordsOf(e));
    } finally {
      setBusy(false);
      if (input.current) input.current.value = ""; // the same file can be chosen again after a correction
    }
  };
  const rows = answer?.rows ?? [];
  const bad = rows.filter((r) => !r.ok);
  const readable = rows.filter((r) => r.return);
  const keep = async (): Promise<void> => {
    setBusy(true);
    setFailure("");
    try {
      await api.importFile(file!, true);
      filter.value = { group: "all", form: "", text: "" };
      await open(monthOf(readable) ?? month.peek());
      tell(t("import.saved", { count: number(readable.length) }));
      onClose();
    } catch (e) {
      setFailure(wordsOf(e));
      setBusy(false);
    }
  };

  return (
    <Dialog
      title={t("import.title")} kind="wide" onClose={onClose}
      foot={answer && (
        <>
          <button type="button" class="btn" disabled={busy} onClick={() => input.current?.click()}>{t("import.other")}</button>
          <button type="button" class="btn primary" data-confirm disabled={busy || readable.length === 0} onClick={() => void keep()}>{t("import.save", { count: number(readable.length) })}</button>
        </>
      )}
    >
      <p class="lead">{t("import.lead")}</p>
      <input ref={input} id="import-file" class="sr-only" type="file" tabIndex={-1} aria-label={t("import.choose")} accept=".xlsx,.csv,.json,.jsonl,.ndjson,.txt" onChange={(e) => void look(e.currentTarget.files?.[0])} />
      {!answer && (
        <div
          class={`drop ${over ? "over" : ""}`}
          onDragOver={(e) => { e.preventDefault(); setOver(true); }} onDragLeave={() => setOver(false)}
          onDrop={(e) => { e.preventDefault(); setOver(false); void look(e.dataTransfer?.files[0]); }}
        >
          <Icon name="upload" size={28} />
          <p>{t("import.drop")}</p>
          <button type="button" class="btn" disabled={busy} onClick={() => input.current?.click()}>{t("import.choose")}</button>
          <a class="link" href={exportPath("drafts.xlsx", month.value)} download>{t("import.template")}</a>
        </div>
      )}
      <Failure text={failure} />
      <div role="status">
        {busy && !answer && <p>{t("import.checking", { name: file?.name ?? "" })}</p>}
        {answer && (
          <Note tone={bad.length > 0 ? "warn" : "good"} icon={bad.length > 0 ? "alert" : "check"}>
            {t("import.result", { name: file?.name ?? "", ready: number(rows.length - bad.length), blocked: number(bad.length) })}
            {readable.length < rows.length && <><br />{t("import.unreadable", { count: number(rows.length - readable.length) })}</>}
          </Note>
        )}
      </div>
      {bad.length > 0 && (
        <table class="import-rows">
          <caption>{t("import.rows")}</caption>
          <thead><tr><th scope="col" class="num">{t("import.row")}</th><th scope="col">{t("col.client")}</th><th scope="col">{t("import.why")}</th></tr></thead>
          <tbody>
            {bad.slice(0, most).map((r) => (
              <tr key={r.row}>
                <td class="num">{r.row}</td>
                <th scope="row">{r.return?.taxpayer?.name || r.return?.taxpayer?.id || "–"}</th>
                <td><RowProblem row={r} /></td>
              </tr>
            ))}
            {bad.length > most && <tr><td colSpan={3} class="muted">{t("more", { count: number(bad.length - most) })}</td></tr>}
          </tbody>
        </table>
      )}
    </Dialog>
  );
}

function RowProblem({ row }: { row: ImportRow }) {
  const broken = errorsOf(row.violations);
  if (broken.length === 0) return <span>{say(row.problem)}</span>;
  return (
    <ul class="problems">
      {broken.map((v, i) => <li key={i}><span><b>{say(v.message)}</b> {say(v.fix)} <span class="muted">{v.cells?.join(", ")}</span></span></li>)}
    </ul>
  );
}

// monthOf is the period most rows are for.
function monthOf(rows: ImportRow[]): string | undefined {
  const counts = new Map<string, number>();
  for (const r of rows) {
    const m = r.return!.period.end.slice(0, 7);
    counts.set(m, (counts.get(m) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0];
}
