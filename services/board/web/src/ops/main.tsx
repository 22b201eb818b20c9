// The operators' board: who is there, what is shown, which dialog is open.

import { effect, signal } from "@preact/signals";
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { Problem } from "../http";
import { chooseLang, chooseTheme, lang, t, theme, type Theme } from "../i18n";
import { Icon } from "../icons";
import { Login } from "../login";
import { loadError, session, sessions, toast, wordsOf } from "../session";
import { Dialog, Menu, Note } from "../ui";
import { Authorities, AuthorityDialog } from "./authorities";
import { Failures, RetryDialog, RunDialog } from "./failures";
import { Groups, Tenants } from "./groups";
import { Acts, DeadLetters, Quarantine, ReplayDialog, ResolveDialog } from "./people";
import { begin, end, overview, stale } from "./store";
import { o, type OpsKey } from "./text";
import type { Authority, DeadLetter, Failure, Quarantined } from "./types";
import { Pulse, standing, VerdictPanel } from "./verdict";

type Shown =
  | { is: "authority"; authority: Authority | null; below: number } | { is: "retry"; failure: Failure } | { is: "run"; id: string; note: string }
  | { is: "resolve"; filing: Quarantined } | { is: "replay"; letter: DeadLetter } | { is: "keys" };
const dialog = signal<Shown | null>(null);
const shut = (): void => { dialog.value = null; };

const sections = ["verdict", "authorities", "failures", "groups", "tenants", "quarantine", "dead", "acts"] as const satisfies OpsKey[];

async function enter(): Promise<void> {
  try {
    session.value = await sessions.get();
  } catch (e) {
    if (!(e instanceof Problem && (e.status === 401 || e.status === 403))) loadError.value = wordsOf(e);
    session.value = null;
  }
}

// mayOperate: the server decides; this only says so before it refuses everything.
const mayOperate = (): boolean => session.value?.roles?.includes("operator") ?? false;

function App() {
  lang.value; // every text changes with it
  const who = session.value;
  if (who === undefined) return <div class="splash" role="status" />;
  if (!who) return <Login title={o("login.title")} again={overview.peek() !== null} onEnter={async () => undefined} />;
  return mayOperate() ? <Board /> : <Denied />;
}

function Board() {
  useEffect(() => {
    begin();
    document.addEventListener("keydown", shortcut);
    return () => {
      end();
      document.removeEventListener("keydown", shortcut);
    };
  }, []);
  const authority = (a: Authority | null, below = 0): void => { dialog.value = { is: "authority", authority: a, below }; };
  const run = (id: string, note = ""): void => { dialog.value = { is: "run", id, note }; };
  return (
    <>
      <a class="skip" href="#verdict">{o("skip")}</a>
      <Head />
      <main class="ops">
        <VerdictPanel act={authority} />
        <nav class="jump" aria-label={o("nav")}><ul>{sections.map((s) => <li key={s}><a href={`#${s}`}>{o(s)}</a></li>)}</ul></nav>
        <Authorities act={authority} />
        <Failures retry={(failure) => { dialog.value = { is: "retry", failure }; }} run={run} />
        <Groups />
        <div class="beside">
          <Tenants />
          <DeadLetters replay={(letter) => { dialog.value = { is: "replay", letter }; }} />
        </div>
        <Quarantine resolve={(filing) => { dialog.value = { is: "resolve", filing }; }} />
        <Acts run={run} />
        <p class="muted zone">{o("zone")}</p>
      </main>
      <Spoken />
      <div class="toast-place" role="status">{toast.value && <div class="toast">{toast}</div>}</div>
      <Dialogs run={run} />
    </>
  );
}

function Dialogs({ run }: { run: (id: string, note: string) => void }) {
  const d = dialog.value;
  switch (d?.is) {
    case "authority": return <AuthorityDialog authority={d.authority} below={d.below} onClose={shut} />;
    case "retry": return <RetryDialog failure={d.failure} onRun={run} onClose={() => { if (dialog.peek() === d) shut(); }} />;
    case "run": return <RunDialog key={d.id} id={d.id} note={d.note} onClose={shut} />;
    case "resolve": return <ResolveDialog filing={d.filing} onClose={shut} />;
    case "replay": return <ReplayDialog letter={d.letter} onClose={shut} />;
    case "keys": return <Keys />;
    default: return null;
  }
}

// Spoken says a new verdict aloud, and nothing else that changes every second.
function Spoken() {
  const now = standing(overview.value, stale.value);
  return <div class="sr-only" role="status">{now.word} {now.bound}</div>;
}

function Head() {
  return (
    <header class="head">
      <div class="brand"><Icon name="wave" size={20} /><span>Springtide</span></div>
      <b class="head-name">{o("name")}</b>
      <Pulse />
      <div class="spacer" />
      <Language />
      <Menu label={t("menu")} icon="dots" bare>
        <p class="menu-title">{t("account", { tenant: session.value?.tenant ?? "", subject: session.value?.subject ?? "" })}</p>
        <fieldset class="segmented">
          <legend>{t("theme")}</legend>
          {(["auto", "light", "dark"] as Theme[]).map((th) => (
            <label key={th}><input type="radio" name="theme" checked={theme.value === th} onChange={() => chooseTheme(th)} /><span>{t(`theme.${th}`)}</span></label>
          ))}
        </fieldset>
        <button type="button" data-shuts onClick={() => { dialog.value = { is: "keys" }; }}>{t("keys.title")}</button>
        {(session.value?.roles?.length ?? 0) > 1 && <a href="/">{o("board")}</a>}
        <a href="/assets/licences.txt" target="_blank" rel="noreferrer">{t("licences")}</a>
        <button type="button" data-shuts onClick={() => void leave()}>{t("logout")}</button>
      </Menu>
    </header>
  );
}

function Language() {
  return (
    <button type="button" class="btn quiet" lang={lang.value === "zh" ? "en" : "zh-CN"} onClick={() => { toast.value = ""; chooseLang(lang.value === "zh" ? "en" : "zh"); }}>
      <Icon name="globe" /><span class="label">{t("lang.other")}</span>
    </button>
  );
}

async function leave(): Promise<void> {
  end();
  await sessions.logout().catch(() => undefined);
  location.replace("/ops");
}

// Denied is what somebody sees whose key has another role.
function Denied() {
  const who = session.value!;
  return (
    <main class="login">
      <div class="login-card">
        <div class="brand"><Icon name="wave" size={22} /> Springtide</div>
        <h1>{o("denied.title")}</h1>
        <Note tone="warn" icon="ban">{o("denied.text", { tenant: who.tenant, subject: who.subject ?? "", roles: (who.roles ?? []).join(", ") || o("denied.none") })}</Note>
        <a class="btn primary" href="/">{o("board")}</a>
        <button type="button" class="btn" onClick={() => void leave()}>{o("denied.other")}</button>
      </div>
      <Language />
    </main>
  );
}

// ---- keyboard ----

function shortcut(e: KeyboardEvent): void {
  const target = e.target as HTMLElement;
  if (e.ctrlKey || e.metaKey || e.altKey || target.matches("input, select, textarea") || document.querySelector("dialog[open]")) return;
  const section = sections[Number(e.key) - 1];
  if (section) {
    const place = document.getElementById(section);
    place?.scrollIntoView({ block: "start" });
    place?.focus({ preventScroll: true });
  } else if (e.key === "?") dialog.value = { is: "keys" };
  else if (e.key === "p") {
    e.preventDefault();
    dialog.value = { is: "authority", authority: null, below: 0 };
  }
}

function Keys() {
  const keys: [string, string][] = [
    [`1 – ${sections.length}`, o("keys.sections")], ["p", o("keys.pause")], ["Esc", t("keys.close")], ["?", t("keys.help")],
  ];
  return (
    <Dialog title={t("keys.title")} onClose={shut}>
      <dl class="keys">{keys.map(([key, what]) => <div key={key}><dt><kbd>{key}</kbd></dt><dd>{what}</dd></div>)}</dl>
    </Dialog>
  );
}

// The tab's title says the verdict, for whoever looks at another tab.
effect(() => {
  const now = standing(session.value && mayOperate() ? overview.value : null, stale.value);
  document.title = now.verdict ? o("title.verdict", { verdict: [now.word, now.bound].filter(Boolean).join(" · ") }) : o("title");
});

render(<App />, document.getElementById("app")!);
const code = new URLSearchParams(location.search).has("code");
if (code) session.value = null; // the sign-in page uses the code up
else void enter();
