// Icons are strokes on a 16-pixel grid, drawn in the colour of the text beside
// them. They never stand for a state alone: a text always goes along.

import type { Group, ItemState } from "./model";

const paths = {
  check: "M3.2 8.6l3 3 6.6-7",
  cross: "M4.2 4.2l7.6 7.6M11.8 4.2l-7.6 7.6",
  alert: "M8 2.4L14.2 13H1.8zM8 6.4v3M8 11.2v.1",
  pencil: "M3 13l.7-3L10.6 3.1l2.3 2.3L6 12.3zM9.2 4.5l2.3 2.3",
  clock: "M8 2a6 6 0 110 12A6 6 0 018 2zM8 4.8V8l2.2 1.6",
  send: "M8 13V3.4M4 7.2l4-4 4 4",
  queue: "M3 4.2h10M3 8h10M3 11.8h6",
  eye: "M1.6 8S4 3.8 8 3.8 14.4 8 14.4 8 12 12.2 8 12.2 1.6 8 1.6 8zM8 6.2a1.8 1.8 0 110 3.6 1.8 1.8 0 010-3.6z",
  search: "M7 2.8a4.2 4.2 0 110 8.4 4.2 4.2 0 010-8.4zM10.2 10.2l3.2 3.2",
  person: "M8 2.6a2.6 2.6 0 110 5.2 2.6 2.6 0 010-5.2zM2.8 13.6c.6-2.8 2.6-4 5.2-4s4.6 1.2 5.2 4",
  ban: "M8 2a6 6 0 110 12A6 6 0 018 2zM3.9 3.900l8.2 8.2",
  fork: "M8 13.500V9L3.6 4.600M8 9l4.4-4.400M3.4 7.200V4.400h2.800M12.6 7.200V4.400H9.8",
  inbox: "M2.4 9l2-6h7.200l2 6v4H2.400zM2.4 9h3.400c.2 1.2 1 2 2.2 2s2-.8 2.2-2h3.4",
  bureau: "M2.2 6L8 2.6 13.8 6zM3.6 13h8.800M4.4 6.400V13M8 6.400V13M11.6 6.400V13",
  ask: "M5.400 6a2.600 2.600 0 115 .9c-.4 1.2-2.400 1.500-2.400 3.300M8 13.300v.1",
  left: "M10 3.200L5.2 8l4.8 4.8",
  right: "M6 3.200L10.8 8 6 12.8",
  down: "M3.6 6L8 10.4 12.4 6",
  upload: "M8 10.600V3M4.8 6L8 2.8 11.2 6M2.8 11v2.200h10.400V11",
  download: "M8 2.800v7.600M4.8 7.400L8 10.600l3.2-3.200M2.8 11v2.200h10.400V11",
  gap: "M3 3.200h10M3 8h2.600M10.4 8H13M3 12.800h10",
  receipt: "M3.6 2.400h8.800v11.200l-2.2-1.400L8 13.600l-2.2-1.4-2.2 1.400zM6 5.800h4M6 8.600h4",
  dots: "M3.4 8h.1M8 8h.1M12.5 8h.1",
  globe: "M8 2a6 6 0 110 12A6 6 0 018 2zM2.2 8h11.600M8 2c2.2 1.8 3 3.8 3 6s-.8 4.2-3 6c-2.2-1.8-3-3.8-3-6s.8-4.2 3-6z",
  sun: "M8 5.200a2.8 2.8 0 110 5.6 2.8 2.8 0 010-5.600zM8 1.600v1.200M8 13.200v1.200M1.6 8h1.200M13.2 8h1.200M3.5 3.500l.8.8M11.7 11.700l.8.8M3.5 12.500l.8-.8M11.7 4.300l.8-.8",
  moon: "M13 9.800A5.4 5.4 0 016.2 3 5.4 5.4 0 1013 9.800z",
  copy: "M5.6 5.600h7.200v7.200H5.600zM10.2 5.600V3.200H3.200v7h2.4",
  print: "M4.4 6V2.600h7.200V6M4.4 11H2.600V6h10.800v5h-1.800M4.4 9.200h7.200v4.200H4.400z",
  repeat: "M12.8 7A5 5 0 003.6 5.400M3.2 9a5 5 0 009.2 1.600M3.4 2.600v2.900h2.900M12.6 13.400v-2.900H9.7",
  wave: "M1.4 9.800c1.8 0 1.8-1.6 3.4-1.600s1.6 1.6 3.2 1.6 1.6-1.6 3.2-1.6 1.6 1.6 3.4 1.600M3.6 5.600c1.5-1.6 3-2.2 4.4-2.200s2.9.6 4.4 2.200M1.4 12.800c1.8 0 1.8-1.6 3.4-1.600s1.6 1.6 3.2 1.6 1.6-1.6 3.2-1.6 1.6 1.6 3.4 1.6",
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={paths[name]} />
    </svg>
  );
}

export const groupIcon: Record<Group, IconName> = { yours: "person", ready: "pencil", ours: "wave", bureau: "bureau", done: "check" };

export const stateIcon: Record<ItemState, IconName> = {
  DRAFT_READY: "pencil", DRAFT_BLOCKED: "alert",
  FILING_STATE_RECEIVED: "inbox", FILING_STATE_CHECKING: "search", FILING_STATE_INVALID: "alert", FILING_STATE_QUEUED: "queue",
  FILING_STATE_SUBMITTING: "send", FILING_STATE_ACCEPTED: "check", FILING_STATE_REJECTED: "cross", FILING_STATE_WAITING: "clock",
  FILING_STATE_CONFIRMING: "eye", FILING_STATE_NEEDS_ATTENTION: "person", FILING_STATE_CANCELLED: "ban", FILING_STATE_CONFLICT: "fork",
};
