// What did not end well, or waits, by its reason; and trying all of one reason again,
// with a count before, progress meanwhile and a list of what failed after.

import { useEffect, useState } from "preact/hooks";
import { number, say, t } from "../i18n";
import { wordsOf } from "../session";
import { Chip, Dialog, Failure as Failed, Note } from "../ui";
import { ops } from "./api";
import { ActDialog, Cell, Field, OfList, Section, useFew } from "./parts";
import { acted, failures, serverNow } from "./store";
import { many, o } from "./text";
import { moment, span } from "./time";
import { int, type Failure, type RetryResult, type RetryRun } from "./types";

interface Open { retry: (f: Failure) => void; run: (id: string) => void }

export function Failures({ retry, run }: Open) {
  return (
    <Section id="failures" title={o("failures")} count={failures.value.value?.length}>
      <OfList list={failures.value} empty={(v) => v.length === 0} none={o("failures.none")}>
        {(list) => <Table list={list} retry={retry} run={run} />}
      </OfList>
    </Section>
  );
}

function Table({ list, retry, run }: { list: Failure[] } & Open) {
  const { some, rest } = useFew(list, 8);
  return (
    <>
      <table class="list">
        <caption class="sr-only">{o("failures.caption")}</caption>
        <thead>
          <tr>
            <th scope="col">{o("failure.reason")}</th><th scope="col" class="num">{o("failure.count")}</th>
            <th scope="col">{o("failure.turn")}</th><th scope="col"><span class="sr-only">{o("authority.act")}</span></th>
          </tr>
        </thead>
        <tbody>{some.map((f) => <Row key={f.reason} f={f} retry={retry} run={run} />)}</tbody>
      </table>
      {rest && <div class="panel-foot">{rest}</div>}
    </>
  );
}

function Row({ f, retry, run }: { f: Failure } & Open) {
  return (
    <tr data-reason={f.reason}>
      <th scope="row" class="name"><Chip state={f.state} />{f.code && <code>{f.code}</code>}<span class="under">{say(f.message)}</span></th>
      <Cell label={o("failure.count")} num><b>{number(int(f.count))}</b></Cell>
      <Cell label={o("failure.turn")}>{f.turn && f.turn in turns ? o(`turn.${f.turn}`) : "–"}</Cell>
      <td class="row-act">
        {f.run_id ? <button type="button" class="btn" onClick={() => run(f.run_id!)}>{o("retry.show")}</button>
          : f.retryable ? <button type="button" class="btn" aria-label={`${o("retry")} ${f.code || f.reason}`} onClick={() => retry(f)}>{o("retry")}</button>
            : <span class="muted">{f.state === "FILING_STATE_WAITING" || f.state === "FILING_STATE_CONFIRMING" ? o("failure.self")
              : f.state === "FILING_STATE_NEEDS_ATTENTION" ? o("failure.evidence") : o("failure.user")}</span>}
      </td>
    </tr>
  );
}
const turns = { TURN_OURS: 1, TURN_YOURS: 1, TURN_AUTHORITY: 1, TURN_NOBODY: 1 };

// RetryDialog counts first, and runs once however often it is pressed: the server names
// a run that is under way instead of starting a second.
export function RetryDialog({ failure: f, onRun, onClose }: { failure: Failure; onRun: (id: string, note: string) => void; onClose: () => void }) {
  const [count, setCount] = useState<number | null>(null);
  const [trouble, setTrouble] = useState("");
  const [rate, setRate] = useState("50");
  const [why, setWhy] = useState("");
  useEffect(() => {
    ops.countFailures(f.reason).then((r) => {
      if (r.already_running && r.run) onRun(r.run.run_id, o("retry.running", { who: r.run.subject ?? "" }));
      else setCount(int(r.count));
    }, (e: unknown) => setTrouble(wordsOf(e)));
  }, []);
  const perSecond = /^\d{1,5}$/.test(rate.trim()) ? Number(rate) : 0;
  return (
    <ActDialog
      title={o("retry.title", { reason: f.code || f.reason })} onClose={onClose} ready={(count ?? 0) > 0 && perSecond >= 1 && perSecond <= 10_000}
      lead={count === null ? (trouble ? "" : o("retry.counting")) : count === 0 ? o("retry.preview.none") : many("retry.preview.one", "retry.preview", count)}
      go={o("retry.go", { count: count === null ? "…" : number(count) })}
      onGo={async () => {
        const r = await ops.retryFailures(f.reason, perSecond, why.trim());
        acted();
        if (r.run) onRun(r.run.run_id, r.already_running ? o("retry.running", { who: r.run.subject ?? "" }) : "");
      }}
    >
      <Failed text={trouble} />
      <p class="muted">{o("retry.hint")}</p>
      <Field id="retry-rate" label={o("retry.rate")} {...(count && perSecond > 0 ? { hint: o("retry.takes", { span: span((1000 * count) / perSecond) }) } : {})}>
        <input id="retry-rate" inputMode="numeric" value={rate} onInput={(e) => setRate(e.currentTarget.value)} />
      </Field>
      <Field id="retry-why" label={o("why.optional")}>
        <input id="retry-why" value={why} maxLength={500} autocomplete="off" onInput={(e) => setWhy(e.currentTarget.value)} />
      </Field>
    </ActDialog>
  );
}

const mostErrors = 200;

// RunDialog follows a run to its end. Closing it does not stop the run.
export function RunDialog({ id, note, onClose }: { id: string; note: string; onClose: () => void }) {
  const [run, setRun] = useState<RetryRun | null>(null);
  const [errors, setErrors] = useState<RetryResult[]>([]);
  const [trouble, setTrouble] = useState("");
  useEffect(() => {
    let timer = 0;
    let shut = false;
    const look = async (): Promise<void> => {
      try {
        const { run: r } = await ops.run(id);
        if (shut) return;
        setRun(r);
        setTrouble("");
        if (r.end_time) {
          acted();
          if (int(r.failed) > 0) setErrors(await errorsOf(id));
          return;
        }
      } catch (e) {
        setTrouble(wordsOf(e));
      }
      if (!shut) timer = window.setTimeout(() => void look(), 700);
    };
    void look();
    return () => { shut = true; clearTimeout(timer); };
  }, [id]);
  return (
    <Dialog title={o("run.title", { reason: run?.reason ?? "…" })} onClose={onClose} foot={<button type="button" class="btn primary" onClick={onClose}>{t("close")}</button>}>
      {note && <Note tone="info" icon="repeat">{note}</Note>}
      <Failed text={trouble} />
      {run && <Progress run={run} errors={errors} />}
    </Dialog>
  );
}

async function errorsOf(id: string): Promise<RetryResult[]> {
  const out: RetryResult[] = [];
  for (let token = "", first = true; (first || token) && out.length < mostErrors; first = false) {
    const page = await ops.run(id, token);
    out.push(...page.results.filter((r) => r.error));
    token = page.next;
  }
  return out.slice(0, mostErrors);
}

function Progress({ run, errors }: { run: RetryRun; errors: RetryResult[] }) {
  const [count, retried, skipped, failed] = [int(run.count), int(run.retried), int(run.skipped), int(run.failed)];
  const tried = retried + skipped + failed;
  const end = !run.end_time ? "" : run.outcome === "done" ? o("run.done", { retried: number(retried) })
    : run.outcome === "interrupted" ? o("run.interrupted", { retried: number(retried) }) : o("run.failed", { outcome: run.outcome ?? "", retried: number(retried) });
  const facts: [string, string][] = [
    [o("run.count"), number(count)], [o("run.retried"), number(retried)], [o("run.who"), run.subject ?? ""], [o("run.why"), run.why ?? ""],
    [o("run.began"), moment(run.start_time)], [o("run.ended"), run.end_time ? moment(run.end_time) : ""], [o("retry.rate"), number(run.per_second ?? 0)],
  ];
  return (
    <>
      <progress max={Math.max(count, tried, 1)} value={run.end_time && run.outcome === "done" ? Math.max(count, tried, 1) : tried} aria-label={o("run.progress", { done: number(tried), count: number(count) })} />
      <p class="run-now" role="status" data-outcome={run.end_time ? run.outcome : "running"}>
        {end || <>{o("run.progress", { done: number(tried), count: number(count) })} · {o("run.running")}</>}
      </p>
      {skipped > 0 && <p class="muted">{o("run.skipped", { count: number(skipped) })}</p>}
      <dl class="facts">{facts.filter(([, v]) => v).map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>
      {failed > 0 && (
        <section>
          <h3>{o("run.errors", { count: number(failed) })}</h3>
          <ul class="who">{errors.map((r) => <li key={r.filing_id}><code>{r.filing_id}</code><a href={`/v1/problems/${encodeURIComponent(r.error!)}`} target="_blank" rel="noreferrer">{r.error}</a></li>)}</ul>
        </section>
      )}
      {!run.end_time && run.start_time && <p class="muted">{span(serverNow() - Date.parse(run.start_time))}</p>}
    </>
  );
}
