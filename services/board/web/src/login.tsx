import { useEffect, useRef, useState } from "preact/hooks";
import { Problem } from "./http";
import { chooseLang, lang, t } from "./i18n";
import { Icon } from "./icons";
import { loadError, session, sessions, wordsOf } from "./session";
import { Failure } from "./ui";

// useUp takes a code that was used out of the address, and leaves what else it says.
function useUp(): void {
  const rest = new URLSearchParams(location.search);
  rest.delete("code");
  const path = location.pathname === "/login" ? "/" : location.pathname;
  history.replaceState(null, "", path + (rest.size > 0 ? `?${rest.toString()}` : ""));
}

interface LoginProps { title: string; again: boolean; onEnter: () => Promise<void> }

// Login takes a pasted key, or the one-time code of a sign-in link. Again: somebody was
// signed in here before, and is no more.
export function Login({ title, again, onEnter }: LoginProps) {
  const [failure, setFailure] = useState(loadError.peek() || (again ? t("login.again") : ""));
  const [busy, setBusy] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const [code] = useState(() => new URLSearchParams(location.search).get("code"));

  const enter = async (by: { key: string } | { code: string }): Promise<void> => {
    setBusy(true);
    setFailure("");
    try {
      await sessions.login(by);
      useUp();
      const who = await sessions.get();
      loadError.value = "";
      session.value = who;
      await onEnter();
    } catch (e) {
      useUp();
      // Whoever opens a link again may be signed in by it still.
      const who = "code" in by ? await sessions.get().catch(() => null) : null;
      if (who) {
        session.value = who;
        return onEnter();
      }
      setBusy(false);
      setFailure("code" in by && e instanceof Problem && e.status > 0 && e.status < 500 ? t("login.code.bad") : wordsOf(e));
      field.current?.focus();
    }
  };

  useEffect(() => {
    if (code) void enter({ code });
    else field.current?.focus();
  }, []);

  return (
    <main class="login">
      <form
        class="login-card"
        onSubmit={(e) => {
          e.preventDefault();
          const key = field.current!.value.trim();
          if (key) void enter({ key });
          else setFailure(t("login.empty"));
        }}
      >
        <div class="brand"><Icon name="wave" size={22} /> Springtide</div>
        <h1>{title}</h1>
        <Failure text={failure} />
        {busy && code ? <p role="status">{t("login.code")}</p> : null}
        <label for="key">{t("login.key")}</label>
        <input id="key" ref={field} type="password" autocomplete="current-password" spellcheck={false} aria-describedby="key-hint" />
        <p class="hint" id="key-hint">{t("login.hint")}</p>
        <button class="btn primary" type="submit" disabled={busy}>{t("login.go")}</button>
      </form>
      <button type="button" class="btn quiet" lang={lang.value === "zh" ? "en" : "zh-CN"} onClick={() => chooseLang(lang.value === "zh" ? "en" : "zh")}>
        <Icon name="globe" />{t("lang.other")}
      </button>
    </main>
  );
}
