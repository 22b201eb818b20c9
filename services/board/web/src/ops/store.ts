// What the operators' board knows: the overview, which a stream brings about once a
// second, and lists that are asked for now and then. It owns every signal the parts
// share, and whether what they show is still true.

import { batch, computed, signal, type Signal } from "@preact/signals";
import { Problem } from "../http";
import { place } from "../place";
import { session, sessions, wordsOf } from "../session";
import { ops, watchPath } from "./api";
import { int, type Act, type DeadLetter, type Failure, type Overview, type Page, type Quarantined, type Tenant } from "./types";

// A Listed is what was asked for last, and why it could not be had.
export interface Listed<T> { value: T | undefined; failure: string }
const listed = <T>(): Signal<Listed<T>> => signal<Listed<T>>({ value: undefined, failure: "" });

export const overview = signal<Overview | null>(null);
export const failures = listed<Failure[]>();
export const tenants = listed<Tenant[]>();
export const deadLetters = listed<Page<DeadLetter>>();
export const quarantine = listed<Page<Quarantined>>();
export const acts = listed<Page<Act>>();

// connected: the stream runs. It may run and say nothing: then silence tells.
export const connected = signal(false);
export const silence = signal(0); // seconds since the last overview
const mostSilence = 5; // the server measures about once a second, and calls 5 s old itself
export const stale = computed(() => silence.value >= mostSilence);

let heardAt = performance.now();
let skew = 0; // of the server's clock against ours

// serverNow is the time at the server: the reader's clock may be wrong.
export const serverNow = (): number => Date.now() + skew;

function hear(o: Overview): void {
  heardAt = performance.now();
  skew = Date.parse(o.time) - Date.now() || 0;
  // Of a filing whose submission was not seen yet, nobody knows for which authority it is.
  const authorities = (o.authorities ?? []).filter((a) => a.authority || int(a.open) > 0).map((a) => ({ ...a, authority: a.authority ?? "" }));
  batch(() => {
    overview.value = { ...o, authorities };
    silence.value = 0;
  });
}

// ---- the stream ----

let stream: EventSource | null = null;
let giveBack: (() => void) | undefined; // the place of the stream
let connection = 0; // counts what connect began, to know what is over
let again = 0;
let pause = 1000; // before the stream is tried again, grows
const longestPause = 15_000;
const looking = 1500; // between two looks of a tab that has no place for a stream

// connect holds one stream while there is a place for it; without one the tab looks
// for itself, and for a place, every moment.
async function connect(): Promise<void> {
  disconnect();
  const mine = connection;
  const leave = await place();
  if (mine !== connection) {
    leave?.();
    return;
  }
  if (!leave) {
    await look(mine);
    return;
  }
  giveBack = leave;
  const es = new EventSource(watchPath);
  stream = es;
  es.addEventListener("overview", (e) => {
    if (stream !== es) return;
    pause = 1000;
    connected.value = true;
    hear(JSON.parse((e as MessageEvent<string>).data) as Overview);
  });
  es.addEventListener("error", () => {
    if (stream !== es) return;
    // The browser comes again by itself, but gives up on a refusal, and waits long after some failures.
    lost();
  });
}

// lost tries again after a pause, each time a longer one.
function lost(): void {
  connected.value = false;
  disconnect();
  again = window.setTimeout(() => void reconnect(), pause);
  pause = Math.min(2 * pause, longestPause);
}

function disconnect(): void {
  connection++;
  stream?.close();
  stream = null;
  giveBack?.();
  giveBack = undefined;
  clearTimeout(again);
}

async function look(mine: number): Promise<void> {
  try {
    const o = await ops.overview();
    if (mine !== connection) return;
    pause = 1000;
    connected.value = true;
    hear(o);
    again = window.setTimeout(() => void connect(), looking);
  } catch (e) {
    wordsOf(e);
    if (mine === connection) lost();
  }
}

async function reconnect(): Promise<void> {
  const mine = connection;
  try {
    await sessions.get(); // says whether it is the session or the server
  } catch (e) {
    wordsOf(e);
  }
  if (mine === connection && running && !document.hidden && session.peek()) await connect();
}

// ---- the lists ----

async function ask<T>(into: Signal<Listed<T>>, call: () => Promise<T>): Promise<void> {
  try {
    into.value = { value: await call(), failure: "" };
  } catch (e) {
    if (e instanceof Problem && e.status === 503 && into.peek().value === undefined) return; // nothing is measured yet
    into.value = { value: into.peek().value, failure: wordsOf(e) };
  }
}

export const askFailures = (): Promise<void> => ask(failures, ops.failures);
export const askTenants = (): Promise<void> => ask(tenants, ops.tenants);
export const askDeadLetters = (): Promise<void> => ask(deadLetters, () => ops.deadLetters());
export const askQuarantine = (): Promise<void> => ask(quarantine, () => ops.quarantine());
export const askActs = (): Promise<void> => ask(acts, () => ops.acts());

// more adds the next page of a list.
export async function more<T>(into: Signal<Listed<Page<T>>>, call: (token: string) => Promise<Page<T>>): Promise<void> {
  const have = into.peek().value;
  if (!have?.next) return;
  paged.add(into);
  await ask(into, async () => {
    const next = await call(have.next);
    return { items: [...have.items, ...next.items], next: next.next };
  });
}
const paged = new Set<unknown>(); // lists that somebody reads on in: they are not asked for anew

const often = 3000;
const seldom = 10_000;
let running = false;
let timers: number[] = [];

// begin keeps everything up to date until end is called.
export function begin(): void {
  if (running) return;
  running = true;
  heardAt = performance.now();
  document.addEventListener("visibilitychange", turn);
  timers = [
    window.setInterval(() => { silence.value = Math.floor((performance.now() - heardAt) / 1000); }, 1000),
    window.setInterval(() => { if (!document.hidden) void Promise.all([askFailures(), askTenants()]); }, often),
    window.setInterval(slowly, seldom),
  ];
  turn();
}

export function end(): void {
  running = false;
  document.removeEventListener("visibilitychange", turn);
  timers.forEach((t) => clearInterval(t));
  disconnect();
}

function slowly(): void {
  if (document.hidden) {
    ops.overview().then(hear, wordsOf); // the verdict goes on to stand in the tab's title
    return;
  }
  if (!paged.has(deadLetters)) void askDeadLetters();
  if (!paged.has(quarantine)) void askQuarantine();
  if (!paged.has(acts)) void askActs();
}

// A browser allows few connections to one server: a tab that is not seen holds none.
function turn(): void {
  if (document.hidden) {
    disconnect();
    return;
  }
  void connect();
  void Promise.all([askFailures(), askTenants()]);
  slowly();
}

// acted asks anew for whatever an act may have changed.
export function acted(): void {
  paged.clear();
  void Promise.all([askFailures(), askActs(), askQuarantine(), askDeadLetters()]);
}
