// The authorities: how each stands, what waits for it, and the two things an operator
// can do to it.

import { useState } from "preact/hooks";
import { number } from "../i18n";
import type { IconName } from "../icons";
import { tell } from "../session";
import { ops } from "./api";
import { ActDialog, Cell, Field, Mark, Section, useFew, type Tone } from "./parts";
import { acted, overview } from "./store";
import { known, o } from "./text";
import { moment, rate } from "./time";
import { int, type Authority, type AuthorityState } from "./types";

const looks: Record<AuthorityState, { tone: Tone; icon: IconName; rank: number }> = {
  AUTHORITY_STATE_DOWN: { tone: "bad", icon: "alert", rank: 0 }, AUTHORITY_STATE_PAUSED: { tone: "warn", icon: "ban", rank: 1 },
  AUTHORITY_STATE_CLOSED: { tone: "off", icon: "clock", rank: 2 }, AUTHORITY_STATE_UNKNOWN: { tone: "warn", icon: "ask", rank: 3 },
  AUTHORITY_STATE_OPEN: { tone: "good", icon: "check", rank: 4 },
};
const stateOf = (a: Authority): AuthorityState => a.state ?? "AUTHORITY_STATE_UNKNOWN";

// inOrder puts first what is in trouble, then what has most to do.
export const inOrder = (all: Authority[]): Authority[] => [...all].sort((a, b) => {
  const [x, y] = [looks[stateOf(a)].rank, looks[stateOf(b)].rank];
  return x - y || int(b.open) - int(a.open) || (a.authority < b.authority ? -1 : 1);
});

// A pause is of one code, which may stand for many: it is resumed by that code.
export interface Pause { by: Authority; below: Authority[] }

// pausesOf finds the pauses that hold, each with the authorities it holds.
export function pausesOf(all: Authority[]): Pause[] {
  const out: Pause[] = [];
  for (const a of all.filter((one) => one.paused).sort((x, y) => x.authority.length - y.authority.length)) {
    const wider = out.find((p) => a.authority.startsWith(p.by.authority + ".") && a.pause_time === p.by.pause_time && a.paused_by === p.by.paused_by);
    if (wider) wider.below.push(a);
    else out.push({ by: a, below: [] });
  }
  return out;
}

export type Act = (a: Authority | null, below?: number) => void;

export function Authorities({ act }: { act: Act }) {
  const all = inOrder(overview.value?.authorities ?? []);
  const pauses = new Map(pausesOf(all).flatMap((p) => [p.by, ...p.below].map((a) => [a.authority, p])));
  const { some, rest } = useFew(all, Math.max(8, all.filter((a) => stateOf(a) === "AUTHORITY_STATE_DOWN").length));
  return (
    <Section id="authorities" title={o("authorities")} count={all.length} tools={<button type="button" class="btn" onClick={() => act(null)}>{o("authorities.pause")}</button>}>
      {all.length === 0 ? <p class="panel-empty">{o("authorities.none")}</p> : (
        <table class="list">
          <caption class="sr-only">{o("authorities.caption")}</caption>
          <thead>
            <tr>
              <th scope="col">{o("authority")}</th><th scope="col">{o("authority.state")}</th><th scope="col" class="num">{o("authority.queue")}</th>
              <th scope="col">{o("authority.quota")}</th><th scope="col" class="num">{o("authority.flight")}</th><th scope="col">{o("authority.answers")}</th>
              <th scope="col">{o("authority.done")}</th><th scope="col"><span class="sr-only">{o("authority.act")}</span></th>
            </tr>
          </thead>
          <tbody>{some.map((a) => <AuthorityRow key={a.authority} a={a} pause={pauses.get(a.authority)} act={act} />)}</tbody>
        </table>
      )}
      {rest && <div class="panel-foot">{rest}</div>}
    </Section>
  );
}

function AuthorityRow({ a, pause, act }: { a: Authority; pause: Pause | undefined; act: Act }) {
  const look = looks[stateOf(a)];
  const wider = pause && pause.by !== a ? pause.by.authority : "";
  const note = wider ? o("authority.paused.with", { code: wider }) : noteOf(a);
  return (
    <tr class={int(a.open) === 0 && look.rank === 4 ? "idle" : ""}>
      <th scope="row" class="name"><b>{a.authority || o("authority.unnamed")}</b>{a.class && <span class="muted">{o("authority.class", { class: a.class })}</span>}</th>
      <Cell label={o("authority.state")} wide><Mark tone={look.tone} icon={look.icon}>{o(`authority.${stateOf(a)}`)}</Mark>{note && <span class="under">{note}</span>}</Cell>
      <Cell label={o("authority.queue")} num><b>{number(int(a.open))}</b>{int(a.confirming) > 0 && <span class="under">{o("authority.confirming", { count: number(int(a.confirming)) })}</span>}</Cell>
      <Cell label={o("authority.quota")}><Quota a={a} /></Cell>
      <Cell label={o("authority.flight")} num>{number(a.in_flight ?? 0)} / {number(a.limit ?? 0)}</Cell>
      <Cell label={o("authority.answers")} wide>{(a.outcomes ?? []).length === 0 ? "–" : <span class="answers">{a.outcomes!.map((k) => <span key={k.kind} class={`answer-${k.kind}`}>{known(`outcome.${k.kind}`, k.kind, { n: rate(k.per_second) })}</span>)}</span>}</Cell>
      <Cell label={o("authority.done")}>{a.eta ? range(a) : int(a.open) > 0 ? o("done.nobody") : "–"}</Cell>
      <td class="row-act">
        {!wider && a.authority && <button type="button" class="btn" aria-label={`${a.paused ? o("resume") : o("pause")} ${a.authority}`} data-authority={a.authority} onClick={() => act(a, pause?.below.length)}>{a.paused ? o("resume") : o("pause")}</button>}
      </td>
    </tr>
  );
}

function range(a: Authority): string {
  const [from, to] = [moment(a.eta!.earliest), moment(a.eta!.latest)];
  return from === to ? from : o("done.range", { from, to });
}

function noteOf(a: Authority): string {
  if (a.paused) return o("authority.paused.by", { who: a.paused_by ?? "", time: moment(a.pause_time), why: a.pause_reason ?? "" });
  if (a.open_time && stateOf(a) !== "AUTHORITY_STATE_OPEN") {
    const time = moment(a.open_time);
    // Opening hours are known; otherwise it is the pause that the authority asked for.
    return !a.cause || a.cause === "closed" ? o("authority.opens", { time }) : o("authority.asked", { time, cause: known(`cause.${a.cause}`, a.cause) });
  }
  if (a.breaker === "half-open") return o("authority.probing");
  if (a.cause) return known(`cause.${a.cause}`, a.cause);
  return (a.workers ?? 0) === 0 ? o("authority.quiet") : "";
}

// Quota draws how much of what is allowed is used.
function Quota({ a }: { a: Authority }) {
  const [use, quota] = [a.requests_per_second ?? 0, a.quota_per_second ?? 0];
  if (quota <= 0) return <>{use > 0 ? o("authority.quota.none", { use: rate(use) }) : "–"}</>;
  const share = Math.min(1, use / quota);
  return (
    <span class="quota">
      {o("authority.quota.text", { use: rate(use), quota: rate(quota) })}
      <span class="meter" aria-hidden="true"><span class={share >= 0.8 ? "full" : ""} style={{ width: `${100 * share}%` }} /></span>
    </span>
  );
}

// AuthorityDialog pauses or resumes one; null: the code is asked for.
export function AuthorityDialog({ authority, below, onClose }: { authority: Authority | null; below: number; onClose: () => void }) {
  return authority?.paused ? <ResumeDialog code={authority.authority} below={below} onClose={onClose} /> : <PauseDialog code={authority?.authority ?? ""} onClose={onClose} />;
}

function PauseDialog({ code: given, onClose }: { code: string; onClose: () => void }) {
  const [code, setCode] = useState(given);
  const [why, setWhy] = useState("");
  return (
    <ActDialog
      title={o("pause.title")} lead={o("pause.text")} go={o("pause.go", { authority: code.trim() })} danger ready={code.trim() !== "" && why.trim() !== ""} onClose={onClose}
      onGo={async () => {
        const { warning } = await ops.pause(code.trim(), why.trim());
        acted();
        tell(o("pause.done", { authority: code.trim() }));
        return warning;
      }}
    >
      <Field id="pause-code" label={o("pause.code")} hint={o("pause.code.hint")}>
        <input id="pause-code" value={code} autocomplete="off" spellcheck={false} maxLength={32} aria-describedby="pause-code-hint" onInput={(e) => setCode(e.currentTarget.value)} />
      </Field>
      <Field id="pause-why" label={o("pause.why")}>
        <input id="pause-why" value={why} autocomplete="off" maxLength={500} onInput={(e) => setWhy(e.currentTarget.value)} />
      </Field>
    </ActDialog>
  );
}

function ResumeDialog({ code, below, onClose }: { code: string; below: number; onClose: () => void }) {
  const [why, setWhy] = useState("");
  return (
    <ActDialog
      title={o("resume.title", { authority: code })} lead={o("resume.text")} go={o("resume")} onClose={onClose}
      onGo={async () => {
        const { warning } = await ops.resume(code, why.trim());
        acted();
        tell(o("resume.done", { authority: code }));
        return warning;
      }}
    >
      {below > 0 && <p class="muted">{o("resume.wider", { count: number(below) })}</p>}
      <Field id="resume-why" label={o("why.optional")}>
        <input id="resume-why" value={why} autocomplete="off" maxLength={500} onInput={(e) => setWhy(e.currentTarget.value)} />
      </Field>
    </ActDialog>
  );
}
