// The messages of OperationsService, as far as the operators' board reads them: JSON
// with proto field names, unpopulated fields left out, 64-bit numbers as text.

import type { Filing, FilingState, Localized } from "../types";

export type Int = string | number | undefined;
export const int = (v: Int): number => Number(v ?? 0);

export type Verdict = "VERDICT_ON_TRACK" | "VERDICT_LATE" | "VERDICT_UNKNOWN";
export type Bound =
  | "BOUND_NOTHING" | "BOUND_AUTHORITY_QUOTA" | "BOUND_WORKERS" | "BOUND_AUTHORITY_DOWN" | "BOUND_AUTHORITY_PAUSED";

export interface Eta { earliest: string; latest: string }
export interface BurnPoint { time: string; open?: Int }
export interface StateCount { state: FilingState; count?: number }

export interface Group {
  group: string;
  lag?: Int;
  unfinished?: Int;
  arrivals_per_second?: number;
  finished_per_second?: number;
  members?: number;
  oldest_seconds?: number;
  stopped_partitions?: number;
  wanted?: number;
  scale_bound?: string;
  scale_reason?: string;
  scale_code?: string;
  scale_facts?: Record<string, string>;
  problem?: string;
}

export type AuthorityState =
  | "AUTHORITY_STATE_OPEN" | "AUTHORITY_STATE_PAUSED" | "AUTHORITY_STATE_CLOSED" | "AUTHORITY_STATE_DOWN" | "AUTHORITY_STATE_UNKNOWN";

export interface Authority {
  authority: string;
  class?: string;
  paused?: boolean;
  breaker?: string;
  state?: AuthorityState;
  paused_by?: string;
  pause_time?: string;
  pause_reason?: string;
  open_time?: string;
  quota_per_second?: number;
  requests_per_second?: number;
  in_flight?: number;
  limit?: number;
  open?: Int;
  eta?: Eta;
  outcomes?: { kind: string; per_second?: number }[];
  cause?: string;
  confirming?: Int;
  workers?: number;
}

export interface Overview {
  time: string;
  verdict?: Verdict;
  bound?: Bound;
  bound_by?: string;
  headline?: Localized;
  because?: Localized[];
  deadline?: string;
  eta?: Eta;
  open?: Int;
  overdue?: Int;
  states?: StateCount[];
  groups?: Group[];
  authorities?: Authority[];
  history?: BurnPoint[];
  finished_per_second?: number;
  received_per_second?: number;
}

export interface Failure {
  reason: string;
  turn?: "TURN_OURS" | "TURN_YOURS" | "TURN_AUTHORITY" | "TURN_NOBODY";
  count?: Int;
  state: FilingState;
  code?: string;
  message?: Localized;
  retryable?: boolean;
  run_id?: string;
}

export interface RetryRun {
  run_id: string;
  reason: string;
  subject?: string;
  why?: string;
  start_time?: string;
  end_time?: string;
  per_second?: number;
  count?: Int;
  retried?: Int;
  skipped?: Int;
  failed?: Int;
  outcome?: string;
}
export interface Retry { count?: Int; run?: RetryRun; already_running?: boolean }
export interface RetryResult { filing_id: string; error?: string }

export interface Tenant { tenant: string; open?: Int; share?: number }
export interface DeadLetter { dead_letter_id: string; filing_id?: string; reason?: string; stage?: string; time?: string }
export interface Act {
  act_id: string;
  subject?: string;
  tenant?: string;
  time?: string;
  action: string;
  target?: string;
  why?: string;
  outcome?: string;
  outcome_time?: string;
}
export interface Page<T> { items: T[]; next: string }
// A Quarantined filing whose submission was not seen yet has little more than its id.
export type Quarantined = Pick<Filing, "filing_id"> & Partial<Filing>;
