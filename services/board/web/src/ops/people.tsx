// What only people settle, and what they did: quarantine, dead letters, acts.

import { useState } from "preact/hooks";
import { number, periodText, t } from "../i18n";
import { tell } from "../session";
import { ops } from "./api";
import { ActDialog, Cell, Field, OfList, Section } from "./parts";
import { acted, acts, askActs, askDeadLetters, askQuarantine, deadLetters, more, quarantine, type Listed } from "./store";
import type { Signal } from "@preact/signals";
import { known, o } from "./text";
import { moment } from "./time";
import type { Act, DeadLetter, Page, Quarantined } from "./types";

// Older goes on in a list, and back.
function Older<T>({ list, next, first, size }: { list: Signal<Listed<Page<T>>>; next: (token: string) => Promise<Page<T>>; first: () => Promise<void>; size: number }) {
  const have = list.value.value;
  if (!have || (!have.next && have.items.length <= size)) return null;
  return (
    <div class="panel-foot">
      {have.next && <button type="button" class="link" onClick={() => void more(list, next)}>{o("more.older")}</button>}
      {have.items.length > size && <button type="button" class="link" onClick={() => void first()}>{o("more.newest")}</button>}
    </div>
  );
}

export function Quarantine({ resolve }: { resolve: (f: Quarantined) => void }) {
  return (
    <Section id="quarantine" title={o("quarantine")} count={quarantine.value.value?.items.length}>
      <OfList list={quarantine.value} empty={(v) => v.items.length === 0} none={o("quarantine.none")}>
        {(page) => (
          <>
            <p class="panel-lead">{o("quarantine.text")}</p>
            <table class="list">
              <caption class="sr-only">{o("quarantine.caption")}</caption>
              <thead>
                <tr>
                  <th scope="col">{o("quarantine.filing")}</th><th scope="col">{o("authority")}</th><th scope="col">{o("quarantine.cause")}</th>
                  <th scope="col">{o("quarantine.since")}</th><th scope="col"><span class="sr-only">{o("authority.act")}</span></th>
                </tr>
              </thead>
              <tbody>
                {page.items.map((f) => (
                  <tr key={f.filing_id}>
                    <th scope="row" class="name"><b>{f.taxpayer?.name || f.taxpayer?.id || f.filing_id}</b>{f.period && <span class="under">{f.form} · {periodText(f.period)}</span>}</th>
                    <Cell label={o("authority")}>{f.authority ?? "–"}</Cell>
                    <Cell label={o("quarantine.cause")}>{f.cause ? known(`cause.${f.cause}`, f.cause) : "–"}</Cell>
                    <Cell label={o("quarantine.since")}>{moment(f.update_time)}</Cell>
                    <td class="row-act"><button type="button" class="btn" data-filing={f.filing_id} onClick={() => resolve(f)}>{o("quarantine.resolve")}</button></td>
                  </tr>
                ))}
              </tbody>
            </table>
          </>
        )}
      </OfList>
      <Older list={quarantine} next={ops.quarantine} first={askQuarantine} size={50} />
    </Section>
  );
}

// ResolveDialog wants to know what the bureau's records say, and who saw it.
export function ResolveDialog({ filing: f, onClose }: { filing: Quarantined; onClose: () => void }) {
  const [filed, setFiled] = useState<boolean | null>(null);
  const [receipt, setReceipt] = useState("");
  const [evidence, setEvidence] = useState("");
  const facts: [string, string][] = [
    [t("receipt.client"), `${f.taxpayer?.name ?? ""} ${f.taxpayer?.id ?? ""}`.trim()], [t("drawer.form"), f.form ?? ""], [t("period"), f.period ? periodText(f.period) : ""],
    [o("authority"), f.authority ?? ""], [o("resolve.ref"), `ST${f.filing_id}`], [o("resolve.attempts"), number(f.attempts ?? 0)], [t("drawer.id"), f.filing_id],
  ];
  const ready = filed !== null && evidence.trim() !== "" && (!filed || receipt.trim() !== "");
  return (
    <ActDialog
      title={o("resolve.title")} lead={o("quarantine.text")} go={o("resolve.go")} danger={filed === false} ready={ready} onClose={onClose}
      onGo={async () => {
        await ops.resolve(f.filing_id, filed!, evidence.trim(), receipt.trim());
        acted();
        tell(o("resolve.done"));
      }}
    >
      <dl class="facts">{facts.filter(([, v]) => v).map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>
      <fieldset class="choice">
        <legend>{o("resolve.what")}</legend>
        {([true, false] as const).map((yes) => (
          <label key={String(yes)}>
            <input type="radio" name="filed" checked={filed === yes} onChange={() => setFiled(yes)} />
            <span><b>{yes ? o("resolve.filed") : o("resolve.not")}</b><span class="under">{yes ? o("resolve.filed.hint") : o("resolve.not.hint")}</span></span>
          </label>
        ))}
      </fieldset>
      {filed && (
        <Field id="resolve-number" label={o("resolve.number")}>
          <input id="resolve-number" value={receipt} maxLength={128} autocomplete="off" spellcheck={false} onInput={(e) => setReceipt(e.currentTarget.value)} />
        </Field>
      )}
      <Field id="resolve-evidence" label={o("resolve.evidence")}>
        <textarea id="resolve-evidence" rows={3} maxLength={2000} value={evidence} onInput={(e) => setEvidence(e.currentTarget.value)} />
      </Field>
      {filed === null && <p class="muted">{o("resolve.choose")}</p>}
    </ActDialog>
  );
}

export function DeadLetters({ replay }: { replay: (d: DeadLetter) => void }) {
  return (
    <Section id="dead" title={o("dead")} count={deadLetters.value.value?.items.length}>
      <OfList list={deadLetters.value} empty={(v) => v.items.length === 0} none={o("dead.none")}>
        {(page) => (
          <table class="list">
            <caption class="sr-only">{o("dead.caption")}</caption>
            <thead>
              <tr>
                <th scope="col">{o("failure.reason")}</th><th scope="col">{o("dead.stage")}</th><th scope="col">{o("dead.time")}</th>
                <th scope="col">{o("dead.id")}</th><th scope="col"><span class="sr-only">{o("authority.act")}</span></th>
              </tr>
            </thead>
            <tbody>
              {page.items.map((d) => (
                <tr key={d.dead_letter_id}>
                  <th scope="row" class="name"><span lang="en">{d.reason}</span>{d.filing_id && <span class="under">{d.filing_id}</span>}</th>
                  <Cell label={o("dead.stage")}>{d.stage ?? "–"}</Cell>
                  <Cell label={o("dead.time")}>{moment(d.time)}</Cell>
                  <Cell label={o("dead.id")}>{d.dead_letter_id}</Cell>
                  <td class="row-act"><button type="button" class="btn" onClick={() => replay(d)}>{o("dead.replay")}</button></td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </OfList>
      <Older list={deadLetters} next={ops.deadLetters} first={askDeadLetters} size={50} />
    </Section>
  );
}

export function ReplayDialog({ letter, onClose }: { letter: DeadLetter; onClose: () => void }) {
  const [why, setWhy] = useState("");
  return (
    <ActDialog
      title={o("replay.title", { id: letter.dead_letter_id })} lead={o("replay.text")} go={o("replay.go")} onClose={onClose}
      onGo={async () => {
        await ops.replay(letter.dead_letter_id, why.trim());
        acted();
        tell(o("replay.done", { id: letter.dead_letter_id }));
      }}
    >
      <Field id="replay-why" label={o("why.optional")}>
        <input id="replay-why" value={why} maxLength={500} autocomplete="off" onInput={(e) => setWhy(e.currentTarget.value)} />
      </Field>
    </ActDialog>
  );
}

export function Acts({ run }: { run: (id: string) => void }) {
  return (
    <Section id="acts" title={o("acts")}>
      <OfList list={acts.value} empty={(v) => v.items.length === 0} none={o("acts.none")}>
        {(page) => (
          <table class="list">
            <caption class="sr-only">{o("acts.caption")}</caption>
            <thead>
              <tr>
                <th scope="col">{o("act.what")}</th><th scope="col">{o("act.who")}</th><th scope="col">{o("act.time")}</th>
                <th scope="col">{o("act.why")}</th><th scope="col">{o("act.outcome")}</th><th scope="col"><span class="sr-only">{o("act.results")}</span></th>
              </tr>
            </thead>
            <tbody>{page.items.map((a) => <ActRow key={a.act_id} a={a} run={run} />)}</tbody>
          </table>
        )}
      </OfList>
      <Older list={acts} next={ops.acts} first={askActs} size={20} />
    </Section>
  );
}

function ActRow({ a, run }: { a: Act; run: (id: string) => void }) {
  const target = a.target ?? "";
  return (
    <tr>
      <th scope="row" class="name"><span>{known(`act.${a.action}`, `${a.action} ${target}`, { target })}</span></th>
      <Cell label={o("act.who")}>{a.subject ?? ""}{a.tenant && <span class="under">{a.tenant}</span>}</Cell>
      <Cell label={o("act.time")}>{moment(a.time)}</Cell>
      <Cell label={o("act.why")} wide>{a.why || "–"}</Cell>
      <Cell label={o("act.outcome")}>{a.outcome ? known(`outcome.${a.outcome}`, a.outcome) : o("outcome.open")}</Cell>
      <td class="row-act">{a.action === "failures.retry" && a.outcome !== "already" && <button type="button" class="btn" onClick={() => run(a.act_id)}>{o("act.results")}</button>}</td>
    </tr>
  );
}
