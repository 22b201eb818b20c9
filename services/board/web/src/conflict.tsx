import { useState } from "preact/hooks";
import { t } from "./i18n";
import type { Draft, Return } from "./types";
import { Note } from "./ui";

// flat names every value of a return, so that two of them can be compared.
function flat(r: Return): Map<string, string> {
  const all = new Map<string, string>([["taxpayer.id", r.taxpayer.id], ["taxpayer.name", r.taxpayer.name ?? ""]]);
  for (const [k, v] of Object.entries(r.lines ?? {})) all.set(k, v);
  for (const [k, v] of Object.entries(r.context ?? {})) all.set("context." + k, v);
  return all;
}

function merged(mine: Return, theirs: Return, takeTheirs: ReadonlySet<string>, keys: string[]): Return {
  const out: Return = { ...theirs, taxpayer: { ...theirs.taxpayer }, lines: { ...theirs.lines }, context: { ...theirs.context } };
  const values = flat(mine);
  for (const key of keys) {
    if (takeTheirs.has(key)) continue;
    const value = values.get(key);
    if (key === "taxpayer.id") out.taxpayer.id = value ?? "";
    else if (key === "taxpayer.name") out.taxpayer.name = value ?? "";
    else {
      const [into, name] = key.startsWith("context.") ? [out.context!, key.slice(8)] : [out.lines!, key];
      if (value === undefined || value === "") delete into[name];
      else into[name] = value;
    }
  }
  return out;
}

interface Props {
  mine: Return;
  theirs: Draft | null; // null: they deleted it
  onTake: (d: Draft) => void;
  onSave: (r: Return) => void;
  onBack: () => void;
}

// Conflict shows where two versions differ and lets a person choose line by line.
export function Conflict({ mine, theirs, onTake, onSave, onBack }: Props) {
  const [taken, take] = useState<ReadonlySet<string>>(new Set());
  const a = flat(mine);
  const b = theirs ? flat(theirs.return) : new Map<string, string>();
  const keys = theirs ? [...new Set([...a.keys(), ...b.keys()])].filter((k) => (a.get(k) ?? "") !== (b.get(k) ?? "")) : [];
  const pick = (key: string, theirs_: boolean): void => {
    const next = new Set(taken);
    if (theirs_) next.add(key);
    else next.delete(key);
    take(next);
  };
  return (
    <section class="conflict" role="alertdialog" aria-label={t("conflict.title")}>
      <Note tone="warn" icon="fork"><b>{t("conflict.title")}</b><br />{t(theirs ? "conflict.text" : "conflict.gone")}</Note>
      {keys.length > 0 && (
        <table>
          <thead><tr><th scope="col">{t("conflict.item")}</th><th scope="col">{t("conflict.mine")}</th><th scope="col">{t("conflict.theirs")}</th></tr></thead>
          <tbody>
            {keys.map((key) => (
              <tr key={key}>
                <th scope="row">{key === "taxpayer.id" ? t("drawer.taxpayer") : key === "taxpayer.name" ? t("edit.name") : <code>{key}</code>}</th>
                {[false, true].map((isTheirs) => (
                  <td key={String(isTheirs)}>
                    <label class="pick">
                      <input type="radio" name={`pick-${key}`} checked={taken.has(key) === isTheirs} onChange={() => pick(key, isTheirs)} />
                      <span class="num">{(isTheirs ? b : a).get(key) || t("conflict.empty")}</span>
                    </label>
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <div class="acts">
        <button type="button" class="btn primary" onClick={() => onSave(theirs ? merged(mine, theirs.return, taken, keys) : mine)}>{t("conflict.save")}</button>
        {theirs && <button type="button" class="btn" onClick={() => onTake(theirs)}>{t("conflict.theirs.all")}</button>}
        <button type="button" class="btn quiet" onClick={onBack}>{t("back")}</button>
      </div>
    </section>
  );
}
