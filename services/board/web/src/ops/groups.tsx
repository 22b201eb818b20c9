// The consumer groups and the largest tenants: how much, how fast, whose.

import { number } from "../i18n";
import { Cell, Mark, OfList, Section } from "./parts";
import { overview, tenants } from "./store";
import { known, o } from "./text";
import { rate, span } from "./time";
import { int, type Group } from "./types";

export function Groups() {
  const all = overview.value?.groups ?? [];
  return (
    <Section id="groups" title={o("groups")}>
      <table class="list">
        <caption class="sr-only">{o("groups.caption")}</caption>
        <thead>
          <tr>
            <th scope="col">{o("group")}</th><th scope="col" class="num">{o("group.unfinished")}</th><th scope="col" class="num">{o("group.lag")}</th>
            <th scope="col" class="num">{o("group.in")}</th><th scope="col" class="num">{o("group.out")}</th><th scope="col" class="num">{o("group.oldest")}</th>
            <th scope="col" class="num">{o("group.members")}</th><th scope="col">{o("group.note")}</th>
          </tr>
        </thead>
        <tbody>{all.map((g) => <Row key={g.group} g={g} />)}</tbody>
      </table>
    </Section>
  );
}

// trendOf compares what comes with what is finished; a tenth is noise.
export function trendOf(g: Group): "growing" | "shrinking" | "steady" {
  const [come, go] = [g.arrivals_per_second ?? 0, g.finished_per_second ?? 0];
  if (come > 1.1 * go + 0.1) return "growing";
  return go > 1.1 * come + 0.1 ? "shrinking" : "steady";
}

function Row({ g }: { g: Group }) {
  const members = number(g.members ?? 0);
  return (
    <tr>
      <th scope="row" class="name"><b>{g.group}</b><span class="under">{known(`group.${g.group}`, "")}</span></th>
      <Cell label={o("group.unfinished")} num><b>{number(int(g.unfinished))}</b>{int(g.unfinished) > 0 && <span class="under">{o(`group.${trendOf(g)}`)}</span>}</Cell>
      <Cell label={o("group.lag")} num>{number(int(g.lag))}</Cell>
      <Cell label={o("group.in")} num>{rate(g.arrivals_per_second)}</Cell>
      <Cell label={o("group.out")} num>{rate(g.finished_per_second)}</Cell>
      <Cell label={o("group.oldest")} num>{g.oldest_seconds ? span(1000 * g.oldest_seconds) : "–"}</Cell>
      <Cell label={o("group.members")} num>{g.scale_reason && g.wanted !== g.members ? o("group.wanted", { members, wanted: number(g.wanted ?? 0) }) : members}</Cell>
      <Cell label={o("group.note")} wide>
        {g.problem && <Mark tone="bad" icon="alert">{g.problem}</Mark>}
        {g.stopped_partitions ? <Mark tone="bad" icon="ban">{o("group.stopped", { count: g.stopped_partitions })}</Mark> : null}
        {g.scale_reason ? <>{g.scale_bound && <b>{known(`scale.${g.scale_bound}`, g.scale_bound)}</b>}<Why g={g} /></> : <span class="muted">{o("group.unscaled")}</span>}
      </Cell>
    </tr>
  );
}

// Why says the scaler's reason in the reader's language; one of a newer scaler stays as it came.
function Why({ g }: { g: Group }) {
  const facts = Object.fromEntries(Object.entries(g.scale_facts ?? {}).map(([name, v]) => [name, spelled(v)]));
  const text = g.scale_code ? known(`why.${g.scale_code}`, "", facts) : "";
  if (!text) return <span class="under" lang="en">{g.scale_reason}</span>;
  const late = "late" in facts && g.scale_code !== "not_ready" && o("why.not_ready_too", facts);
  return <><span class="under">{text}</span>{late && <span class="under">{late}</span>}</>;
}

// spelled gives a span of time such as 9m58s as the board says it, and anything else as it is.
export function spelled(v: string): string {
  const m = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+) ?s)?$/.exec(v);
  if (!m || !v) return v;
  const [h, min, s] = m.slice(1).map((n) => Number(n ?? 0));
  return span(1000 * (3600 * (h ?? 0) + 60 * (min ?? 0) + (s ?? 0)));
}

export function Tenants() {
  return (
    <Section id="tenants" title={o("tenants")}>
      <OfList list={tenants.value} empty={(v) => v.length === 0} none={o("tenants.none")}>
        {(list) => (
          <table class="list tenants">
            <caption class="sr-only">{o("tenants.caption")}</caption>
            <thead><tr><th scope="col">{o("tenant")}</th><th scope="col" class="num">{o("open")}</th><th scope="col">{o("tenant.share")}</th></tr></thead>
            <tbody>
              {list.map((one) => (
                <tr key={one.tenant}>
                  <th scope="row" class="name"><b>{one.tenant}</b></th>
                  <Cell label={o("open")} num>{number(int(one.open))}</Cell>
                  <Cell label={o("tenant.share")}>
                    <span class="quota">{rate(100 * (one.share ?? 0))} %<span class="meter" aria-hidden="true"><span style={{ width: `${100 * (one.share ?? 0)}%` }} /></span></span>
                  </Cell>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </OfList>
    </Section>
  );
}
