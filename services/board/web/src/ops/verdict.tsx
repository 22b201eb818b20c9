// Will everything be filed in time, what is holding it back, what can I do: the three
// questions of whoever is on duty, answered from the overview alone.

import type { ComponentChildren } from "preact";
import { number, say } from "../i18n";
import { Icon, type IconName } from "../icons";
import { Chip, Note } from "../ui";
import { Chart } from "./chart";
import { pausesOf, type Act, type Pause } from "./authorities";
import { Mark, useFew, type Tone } from "./parts";
import { connected, deadLetters, failures, overview, serverNow, silence, stale } from "./store";
import { many, o } from "./text";
import { dueMoment, moment, rate, span } from "./time";
import { int, type Failure, type Overview, type Verdict } from "./types";

const looks: Record<Verdict, { tone: Tone; icon: IconName }> = {
  VERDICT_ON_TRACK: { tone: "good", icon: "check" }, VERDICT_LATE: { tone: "bad", icon: "alert" }, VERDICT_UNKNOWN: { tone: "warn", icon: "ask" },
};

// standing is the verdict as it may be said now: what is old says nothing.
export function standing(v: Overview | null, old: boolean): { verdict: Verdict | null; word: string; bound: string } {
  if (!v) return { verdict: null, word: o("verdict.measuring"), bound: "" };
  if (old) return { verdict: "VERDICT_UNKNOWN", word: o("verdict.VERDICT_UNKNOWN"), bound: o("bound.unknown") };
  const verdict = v.verdict ?? "VERDICT_UNKNOWN";
  const bound = int(v.open) === 0 && verdict === "VERDICT_ON_TRACK" ? o("bound.empty")
    : v.bound ? o(`bound.${v.bound}`, { by: v.bound_by ?? "" }) : o("bound.unknown");
  return { verdict, word: o(`verdict.${verdict}`), bound };
}

export function VerdictPanel({ act }: { act: Act }) {
  const v = overview.value;
  const now = standing(v, stale.value);
  const look = now.verdict ? looks[now.verdict] : { tone: "off" as Tone, icon: "clock" as IconName };
  return (
    <section class={`verdict verdict-${look.tone}`} id="verdict" aria-label={o("verdict")} tabIndex={-1}>
      <Live />
      <div class="verdict-top">
        <div class="verdict-said">
          <h1 class="verdict-word"><Icon name={look.icon} size={30} /><span><span class="verdict-is">{now.word}</span>{now.bound && <span class="verdict-bound">{now.bound}</span>}</span></h1>
          {v && <Facts v={v} />}
        </div>
        {v && <Chart v={v} />}
      </div>
      {v && (
        <div class="verdict-more">
          <Todo v={v} act={act} />
          <div class="because">
            <h3>{o("why")}</h3>
            <Because v={v} />
            {(v.states?.length ?? 0) > 0 && (
              <>
                <h3>{o("states")}</h3>
                <ul class="states">{v.states!.map((s) => <li key={s.state}><Chip state={s.state} /> {number(s.count ?? 0)}</li>)}</ul>
              </>
            )}
          </div>
        </div>
      )}
    </section>
  );
}

function Because({ v }: { v: Overview }) {
  const { some, rest } = useFew(v.because ?? [], 4);
  return <><ul>{some.map((b, i) => <li key={i}>{say(b)}</li>)}</ul>{rest}</>;
}

// Live says whether what is shown still comes in, and since when it does not.
function Live() {
  const v = overview.value;
  const age = span(1000 * silence.value);
  let lost: ComponentChildren = null;
  if (!v) lost = silence.value >= 3 && o("live.never");
  else if (!connected.value && silence.value >= 2) lost = o("live.lost", { span: age });
  else if (stale.value) lost = o("live.silent", { span: age });
  return <div role="status" class="live-note">{lost && <Note tone="warn" icon="repeat">{lost}</Note>}</div>;
}

function Facts({ v }: { v: Overview }) {
  const now = serverNow();
  const due = Date.parse(v.deadline ?? "");
  const open = int(v.open);
  const eta = stale.value ? undefined : v.eta; // what is old promises nothing
  const [earliest, latest] = [Date.parse(eta?.earliest ?? ""), Date.parse(eta?.latest ?? "")];
  const [from, to] = [moment(earliest), moment(latest)];
  const facts: { name: string; value: string; note: string; tone?: string }[] = [];
  if (open === 0 && !stale.value) facts.push({ name: o("done"), value: o("done.nothing"), note: "" });
  else if (!eta) facts.push({ name: o("done"), value: o("done.nobody"), note: "" });
  else {
    const [soon, late] = [span(earliest - now), span(latest - now)];
    facts.push({
      name: o("done"), value: from === to ? from : o("done.range", { from, to }),
      note: soon === late || earliest - now < 5000 ? o("done.in.one", { to: late }) : o("done.in", { from: soon, to: late }),
    });
  }
  if (!Number.isNaN(due)) {
    facts.push({ name: o("due"), value: dueMoment(due), note: due > now ? o("due.in", { span: span(due - now) }) : o("due.over", { span: span(now - due) }) });
    if (open > 0) facts.push({ name: o("spare"), note: "", ...spareOf(earliest, latest, due) });
  }
  facts.push({ name: o("open"), value: number(open), note: int(v.overdue) > 0 ? o("open.overdue", { count: number(int(v.overdue)) }) : "" });
  facts.push({ name: o("pace"), value: o("pace.done", { n: rate(v.finished_per_second) }), note: o("pace.received", { n: rate(v.received_per_second) }) });
  return (
    <dl class="tiles">
      {facts.map((f) => <div key={f.name}><dt>{f.name}</dt><dd><b class={f.tone ?? ""}>{f.value}</b>{f.note && <span>{f.note}</span>}</dd></div>)}
    </dl>
  );
}

// spareOf is what lies between the end of the work and the deadline.
export function spareOf(earliest: number, latest: number, due: number): { value: string; tone?: string } {
  if (Number.isNaN(latest)) return { value: o("spare.none") };
  if (latest <= due) return { value: o("spare.some", { span: span(due - latest) }) };
  if (earliest <= due) return { value: o("spare.maybe", { span: span(latest - due) }), tone: "bad" };
  return { value: o("spare.late", { from: span(earliest - due), to: span(latest - due) }), tone: "bad" };
}

// ---- what can I do ----

interface Deed { key: string; tone: Tone; icon: IconName; text: string; to: string; pause?: Pause }

// todoOf is advice by rule, the most pressing first; nothing is guessed.
export function todoOf(v: Overview, failed: Failure[], dead: number): Deed[] {
  const out: Deed[] = [];
  for (const g of v.groups ?? []) {
    const group = g.group;
    if (g.problem) out.push({ key: `p${group}`, tone: "bad", icon: "alert", text: o("todo.problem", { group, why: g.problem }), to: "groups" });
    if (g.stopped_partitions) out.push({ key: `s${group}`, tone: "bad", icon: "alert", text: o("todo.stopped", { group, count: g.stopped_partitions }), to: "groups" });
    const members = g.members ?? 0;
    if ((g.wanted ?? 0) > members) out.push({ key: `w${group}`, tone: "warn", icon: "wave", text: o("todo.start", { group, wanted: g.wanted!, members }), to: "groups" });
    else if (v.bound === "BOUND_WORKERS" && v.bound_by === group && v.verdict !== "VERDICT_ON_TRACK") out.push({ key: `b${group}`, tone: "bad", icon: "wave", text: o("todo.workers", { group, members }), to: "groups" });
  }
  for (const pause of pausesOf(v.authorities ?? [])) {
    const { authority, paused_by: who = "", pause_reason: why = "" } = pause.by;
    const count = number([pause.by, ...pause.below].reduce((sum, a) => sum + int(a.open), 0));
    out.push({ key: authority, tone: "warn", icon: "ban", text: o("todo.paused", { authority, who, why, count }), to: "authorities", pause });
  }
  for (const a of (v.authorities ?? []).filter((one) => !one.paused)) {
    const [authority, count] = [a.authority, number(int(a.open))];
    if (a.state === "AUTHORITY_STATE_DOWN") out.push({ key: authority, tone: "bad", icon: "bureau", text: o("todo.down", { authority, count }), to: "authorities" });
    else if (v.bound === "BOUND_AUTHORITY_QUOTA" && v.bound_by === authority && v.verdict === "VERDICT_LATE") out.push({ key: authority, tone: "bad", icon: "bureau", text: o("todo.quota", { authority }), to: "authorities" });
  }
  const few = 10;
  for (const f of failed.filter((one) => one.state === "FILING_STATE_REJECTED" && int(one.count) >= few).slice(0, 3)) {
    out.push({ key: f.reason, tone: "warn", icon: "repeat", text: o("todo.refused", { count: number(int(f.count)), reason: f.code || f.reason }), to: "failures" });
  }
  const unsure = v.states?.find((s) => s.state === "FILING_STATE_NEEDS_ATTENTION")?.count ?? 0;
  if (unsure > 0) out.push({ key: "quarantine", tone: "warn", icon: "person", text: many("todo.quarantine.one", "todo.quarantine", unsure), to: "quarantine" });
  if (dead > 0) out.push({ key: "dead", tone: "warn", icon: "inbox", text: many("todo.dead.one", "todo.dead", dead), to: "dead" });
  return out.sort((a, b) => Number(b.tone === "bad") - Number(a.tone === "bad"));
}

const mostDeeds = 6;

function Todo({ v, act }: { v: Overview; act: Act }) {
  const deeds = todoOf(v, failures.value.value ?? [], deadLetters.value.value?.items.length ?? 0);
  return (
    <div class="todo-list">
      <h3>{o("todo")}</h3>
      {stale.value ? <p class="muted">{o("todo.stale")}</p> : deeds.length === 0 ? <p class="muted">{o(int(v.open) > 0 ? "todo.none.open" : "todo.none")}</p> : (
        <ul>
          {deeds.slice(0, mostDeeds).map((d) => (
            <li key={d.key}>
              <Icon name={d.icon} /><span class={d.tone === "bad" ? "bad" : ""}>{d.text}</span>
              {d.pause ? <button type="button" class="btn" onClick={() => act(d.pause!.by, d.pause!.below.length)}>{o("resume")}</button> : <a class="link" href={`#${d.to}`}>{o("todo.go")}</a>}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

// Pulse is the small sign in the head that says whether news come in.
export function Pulse() {
  const fresh = connected.value && !stale.value;
  return <Mark tone={fresh ? "good" : "warn"} icon={fresh ? "wave" : "repeat"}>{fresh ? <>{o("live.on")}<span class="pulse-time"> · {o("live.measured", { time: moment(overview.value?.time) })}</span></> : o("bound.unknown")}</Mark>;
}
