// Amounts are decimal strings outside and whole fen (pence) in a bigint inside.
// They never pass through a float.

export type Fen = bigint;

// fenOf reads a decimal string; undefined when it is none.
export function fenOf(text: string | undefined): Fen | undefined {
  const m = /^(-?)(\d{1,15})(?:\.(\d{1,2}))?$/.exec(text?.trim() ?? "");
  if (!m) return undefined;
  const value = BigInt(m[2]! + (m[3] ?? "").padEnd(2, "0"));
  return m[1] ? -value : value;
}

// money writes fen with thousands separated, such as 1,234.50.
export function money(fen: Fen): string {
  const digits = (fen < 0n ? -fen : fen).toString().padStart(3, "0");
  const whole = digits.slice(0, -2).replace(/\B(?=(\d{3})+$)/g, ",");
  return (fen < 0n ? "−" : "") + whole + "." + digits.slice(-2);
}

export const currencyOf = (authority: string): string => (authority.startsWith("gb") ? "GBP" : "CNY");
export const signOf = (currency: string): string => (currency === "GBP" ? "£" : "¥");

// dueCells name, by form, the cells that together say what is to be paid.
const dueCells: Record<string, string[]> = {
  "cn.vat.small": ["22@gc", "22@sc", "23@gc", "23@sc", "24@gc", "24@sc", "25@gc", "25@sc"],
  "cn.cit.a200000": ["32"],
};

// dueOf is what a return says is to be paid; undefined when it does not say.
export function dueOf(form: string, lines: Record<string, string> | undefined): Fen | undefined {
  if (!lines) return undefined;
  if (form === "gb.vat") {
    const [owed, reclaimed, net] = [fenOf(lines["totalVatDue"]), fenOf(lines["vatReclaimedCurrPeriod"]), fenOf(lines["netVatDue"])];
    if (owed !== undefined && reclaimed !== undefined) return owed - reclaimed;
    return net;
  }
  let sum: Fen | undefined;
  for (const cell of dueCells[form] ?? []) {
    const v = fenOf(lines[cell]);
    if (v !== undefined) sum = (sum ?? 0n) + v;
  }
  return sum;
}
