// The entry: who is there, and which page to show.

import { effect } from "@preact/signals";
import { render } from "preact";
import { Problem } from "./http";
import { Board } from "./board";
import { lang, t } from "./i18n";
import { Login } from "./login";
import { loadError, session, sessions, wordsOf } from "./session";
import { askedMonth, firstMonth, open, loading, month, filter } from "./store";
import { groups, type Filter } from "./model";

// enter asks who is there. If the address says what to show, that is asked for at once:
// whoever is signed in has both after one round trip, and others are refused both.
async function enter(): Promise<void> {
  const began = askedMonth() && begin();
  try {
    session.value = await sessions.get();
  } catch (e) {
    if (e instanceof Problem && (e.status === 401 || e.status === 403)) session.value = null;
    else {
      loadError.value = wordsOf(e);
      loading.value = false;
      session.value ??= null;
    }
    return;
  }
  await (began || begin());
}

// begin opens the board for whoever has just signed in.
export async function begin(): Promise<void> {
  const show = new URLSearchParams(location.search).get("show");
  if (groups.some((g) => g === show)) filter.value = { ...filter.value, group: show as Filter["group"] };
  await open(month.peek() || (await firstMonth()));
}

let wasIn = false;

function App() {
  lang.value; // every text changes with it
  const who = session.value;
  wasIn ||= !!who;
  if (who === undefined) return <div class="splash" role="status" />;
  return who ? <Board /> : <Login title={t("login.title")} again={wasIn} onEnter={begin} />;
}

effect(() => {
  document.title = t("title");
});
render(<App />, document.getElementById("app")!);
if (new URLSearchParams(location.search).has("code")) session.value = null; // the sign-in page uses the code up
else void enter();
