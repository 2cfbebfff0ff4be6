/** How many jobs may start in a time. */
import { invalidArgument } from "@selvage/fabric";
import type { BucketRow } from "./job-record.ts";

/** A token bucket: it fills with time, holds `burst` at most, and starts full. */
export interface RateLimit {
  readonly perSecond: number;
  readonly burst: number;
}

const units: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600 };

/** Reads `"10/s"`, `"100/m"`, `"5/h"`: so many in a second, minute, hour. @throws FabricError `INVALID_ARGUMENT`. */
export function parseRate(name: string, text: string): RateLimit {
  const match = typeof text === "string" ? /^(\d+(?:\.\d+)?)\/([smh])$/.exec(text) : null;
  const count = Number(match?.[1]);
  if (match === null || !(count > 0))
    throw invalidArgument(name, 'a rate such as "10/s", "100/m" or "5/h"', text);
  return { perSecond: count / (units[match[2] as string] as number), burst: Math.max(1, count) };
}

/** What a rate limit leaves, within one transaction. */
export class Allowance {
  readonly #name: string;
  readonly #rate: RateLimit | undefined;
  // When it was as full as it is: by the clock that is ahead, of all that claim.
  readonly #atMs: number;
  #tokens: number;
  #hasSpent = false;
  #isWanted = false;

  constructor(
    name: string,
    rate: RateLimit | undefined,
    before: BucketRow | undefined,
    nowMs: number,
  ) {
    this.#name = name;
    this.#rate = rate;
    const { tokens, atMs } = filled(rate, before, nowMs);
    this.#tokens = tokens;
    this.#atMs = atMs;
  }

  /** How many jobs may start now. */
  get left(): number {
    return Math.floor(this.#tokens);
  }

  spend(): void {
    this.#tokens--;
    this.#hasSpent = true;
  }

  /** Something waits for this limit alone. */
  want(): void {
    this.#isWanted = true;
  }

  /** The bucket, if something was taken out of it. */
  get spent(): BucketRow | undefined {
    if (this.#rate === undefined || !this.#hasSpent) return undefined;
    return { name: this.#name, tokens: this.#tokens, atMs: this.#atMs };
  }

  /** When it lets the next job start, if one waits for it. */
  get nextMs(): number | undefined {
    if (this.#rate === undefined || !this.#isWanted) return undefined;
    const missing = Math.max(0, 1 - this.#tokens);
    return this.#atMs + Math.ceil((missing / this.#rate.perSecond) * 1_000);
  }
}

/** By how much the clocks of processes may differ: those of one machine do by a millisecond, or by what the wall was set back. */
const apartMs = 10_000;

// It fills by the clock that is ahead: to one that is behind no time has passed, lest it fill twice. A clock that is further
// behind went back: the bucket counts as full then, a burst too much rather than nothing until the clock is there again.
function filled(
  rate: RateLimit | undefined,
  before: BucketRow | undefined,
  nowMs: number,
): { readonly tokens: number; readonly atMs: number } {
  if (rate === undefined) return { tokens: Infinity, atMs: nowMs };
  const { perSecond, burst } = rate;
  const passedMs = nowMs - (before?.atMs ?? nowMs);
  if (before === undefined || passedMs < -apartMs) return { tokens: burst, atMs: nowMs };
  const gained = (Math.max(0, passedMs) / 1_000) * perSecond;
  return { tokens: Math.min(burst, before.tokens + gained), atMs: Math.max(nowMs, before.atMs) };
}
