// The burn-down: how much was open, where it goes from here, and the deadline.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { number } from "../i18n";
import { serverNow } from "./store";
import { o } from "./text";
import { day, dayAndHour, dueMoment, hoursMinutes, moment } from "./time";
import { int, type Overview } from "./types";

const height = 232;
const later = 76; // room for a deadline that is far off
const pad = { left: 52, right: 14, top: 22, bottom: 26 };

interface Point { at: number; open: number }

// A Scene is what is drawn, before it is known how large. Pure.
export interface Scene {
  points: Point[];
  now: number;
  from: number;
  to: number;
  top: number;
  ahead?: { earliest: number; latest: number };
  due?: number; // only where it fits
  dueLater: boolean;
}

// sceneOf decides what fits: a deadline that is far off would press everything else into
// a line, so it is then named at the edge.
export function sceneOf(v: Overview, now: number): Scene | null {
  const points = (v.history ?? []).map((p) => ({ at: Date.parse(p.time), open: int(p.open) }));
  points.push({ at: Math.max(now, points.at(-1)?.at ?? now), open: int(v.open) });
  if (points.length < 2 || points[0]!.at === points.at(-1)!.at) return null;
  const from = points[0]!.at;
  const ahead = v.eta && { earliest: Date.parse(v.eta.earliest), latest: Date.parse(v.eta.latest) };
  const at = points.at(-1)!.at;
  const span = Math.max(at, ahead?.latest ?? 0) - from;
  const due = Date.parse(v.deadline ?? "");
  const fits = !Number.isNaN(due) && due > from && due - from <= 4 * span;
  const end = Math.max(at + 0.04 * span, ahead?.latest ?? 0, fits ? due : 0);
  return {
    points, now: at, from, to: from + 1.02 * (end - from), top: Math.max(1, ...points.map((p) => p.open)),
    ...(ahead && { ahead }), ...(fits && { due }), dueLater: !fits && due > at,
  };
}

const steps = [5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800].map((s) => s * 1000);

// ticks are round times, at most so many.
export function ticks(from: number, to: number, most: number): { step: number; at: number[] } {
  const step = steps.find((s) => (to - from) / s <= most) ?? (to - from) / most;
  const zone = 8 * 3_600_000; // round in Shanghai, whose clock knows no summer time
  const at: number[] = [];
  for (let x = Math.ceil((from + zone) / step) * step - zone; x <= to; x += step) at.push(x);
  return { step, at };
}

// round gives the steps of the upright axis: 1, 2 or 5 times a power of ten.
export function levels(top: number): number[] {
  const raw = top / 3;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(1, [1, 2, 5, 10].map((f) => f * power).find((s) => s >= raw)!);
  const out: number[] = [];
  for (let y = 0; y <= top; y += step) out.push(y);
  return out;
}

export function Chart({ v }: { v: Overview }) {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(600);
  useLayoutEffect(() => {
    const watch = new ResizeObserver((entries) => setWidth(Math.max(240, Math.floor(entries[0]!.contentRect.width))));
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, []);
  const scene = sceneOf(v, serverNow());
  return (
    <figure class="chart" aria-label={o("chart")}>
      <div ref={box}>{scene ? <Drawing scene={scene} width={width} due={v.deadline} /> : <p class="muted chart-short">{o("chart.short")}</p>}</div>
    </figure>
  );
}

function Drawing({ scene: s, width, due }: { scene: Scene; width: number; due: string | undefined }) {
  const edge = width - pad.right;
  const right = s.dueLater ? edge - later : edge; // behind it the axis is broken
  const x = (at: number): number => pad.left + ((at - s.from) / (s.to - s.from)) * (right - pad.left);
  const y = (open: number): number => height - pad.bottom - (open / (1.08 * s.top)) * (height - pad.top - pad.bottom);
  const line = s.points.map((p) => `${x(p.at).toFixed(1)} ${y(p.open).toFixed(1)}`).join("L");
  const last = s.points.at(-1)!;
  const first = s.points[0]!;
  const { step, at } = ticks(s.from, s.to, Math.max(2, Math.floor(width / 110)));
  const label = (ms: number): string => (step >= day || s.to - s.from > day ? dayAndHour(ms) : hoursMinutes(ms, step < 60_000));
  const text = o("chart.text", { start: moment(first.at), first: number(first.open), last: number(last.open), peak: number(s.top) });
  const nearEnd = (ms: number): boolean => !s.dueLater && x(ms) > width - 40;
  return (
    <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="img" aria-label={text}>
      {levels(s.top).map((v) => (
        <g key={v}>
          <line class="grid" x1={pad.left} x2={right} y1={y(v)} y2={y(v)} />
          <text x={pad.left - 8} y={y(v) + 4} text-anchor="end">{number(v)}</text>
        </g>
      ))}
      {at.filter((ms) => !s.dueLater || x(ms) < edge - 150).map((ms) => <text key={ms} x={x(ms)} y={height - 7} text-anchor={nearEnd(ms) ? "end" : "middle"}>{label(ms)}</text>)}
      <path class="area" d={`M${x(first.at)} ${y(0)}L${line}L${x(last.at)} ${y(0)}Z`} />
      {s.ahead && <path class="ahead" d={`M${x(last.at)} ${y(last.open)}L${x(Math.max(s.ahead.earliest, last.at))} ${y(0)}L${x(Math.max(s.ahead.latest, last.at))} ${y(0)}Z`} />}
      <path class="line" d={`M${line}`} />
      <circle class="dot" cx={x(last.at)} cy={y(last.open)} r="3.5" />
      <line class="now" x1={x(s.now)} x2={x(s.now)} y1={pad.top - 6} y2={y(0)} />
      <text class="now-text" x={x(s.now)} y={pad.top - 10} text-anchor={nearEnd(s.now) ? "end" : "middle"}>{o("chart.now")}</text>
      {s.due !== undefined && (
        <>
          <line class="due" x1={x(s.due)} x2={x(s.due)} y1={pad.top - 6} y2={y(0)} />
          {Math.abs(x(s.due) - x(s.now)) > 46 && <text class="due-text" x={x(s.due)} y={pad.top - 10} text-anchor={nearEnd(s.due) ? "end" : "middle"}>{o("chart.due")}</text>}
        </>
      )}
      {s.dueLater && (
        <>
          <path class="break" d={`M${right + 10} ${y(0) + 5}l6 -10m4 0l-6 10`} />
          <line class="due" x1={edge - 22} x2={edge - 22} y1={pad.top - 6} y2={y(0)} />
          <text class="due-text" x={edge - 22} y={pad.top - 10} text-anchor="middle">{o("chart.due")}</text>
          <text x={edge} y={height - 7} text-anchor="end">{dueMoment(Date.parse(due ?? ""))}</text>
        </>
      )}
    </svg>
  );
}
