import { useEffect, useState } from "preact/hooks";
import { api } from "./api";
import { periodText, t, time } from "./i18n";
import { Icon } from "./icons";
import type { Item } from "./model";
import { wordsOf } from "./session";
import { formTitle } from "./store";
import { amountText } from "./table";
import type { Receipt } from "./types";
import { Dialog, Failure } from "./ui";

// ReceiptDialog shows the authority's receipt; printed, it is the whole page.
export function ReceiptDialog({ item, onClose }: { item: Item; onClose: () => void }) {
  const [receipt, setReceipt] = useState<Receipt | undefined>(item.filing?.receipt);
  const [failure, setFailure] = useState("");
  useEffect(() => {
    if (!receipt?.number) api.receipt(item.id).then(setReceipt, (e: unknown) => setFailure(wordsOf(e)));
  }, []);
  const lines: [string, string][] = receipt ? [
    [t("receipt.number"), receipt.number], [t("receipt.time"), time(receipt.accept_time)],
    [t("receipt.client"), `${item.taxpayer.name ?? ""} ${item.taxpayer.id}`.trim()],
    [t("drawer.form"), formTitle(item.form) + (item.amendment > 0 ? ` · ${t("drawer.amendment", { n: item.amendment })}` : "")],
    [t("period"), periodText(item.period)], [t("col.amount"), amountText(item)],
    [t("drawer.authority"), receipt.authority], [t("receipt.ref"), receipt.ref ?? ""],
    [t("receipt.digest"), receipt.digest], [t("drawer.id"), item.id],
    // What the authority said beyond that, word for word.
    ...Object.entries(receipt.details ?? {}).filter(([k]) => k !== "number" && k !== "time"),
  ] : [];
  return (
    <Dialog
      title={t("receipt.title")} class="receipt" onClose={onClose}
      foot={receipt && (
        <>
          <a class="btn" href={`/v1/filings/${encodeURIComponent(item.id)}/receipt`} download={`receipt-${receipt.number}.json`}><Icon name="download" />{t("receipt.json")}</a>
          <button type="button" class="btn primary" onClick={() => window.print()}><Icon name="print" />{t("receipt.print")}</button>
        </>
      )}
    >
      <Failure text={failure} />
      <dl class="facts">{lines.filter(([, v]) => v).map(([k, v]) => <div key={k}><dt>{k}</dt><dd class={k === t("receipt.digest") ? "digest" : ""}>{v}</dd></div>)}</dl>
    </Dialog>
  );
}
