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
  readonly #nowMs: number;
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
    this.#nowMs = nowMs;
    this.#tokens = rate === undefined ? Infinity : filled(rate, before, nowMs);
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
    return { name: this.#name, tokens: this.#tokens, atMs: this.#nowMs };
  }

  /** When it lets the next job start, if one waits for it. */
  get nextMs(): number | undefined {
    if (this.#rate === undefined || !this.#isWanted) return undefined;
    const missing = Math.max(0, 1 - this.#tokens);
    return this.#nowMs + Math.ceil((missing / this.#rate.perSecond) * 1_000);
  }
}

// After a clock went back it counts as full: a burst too much, rather than nothing until the clock is there again.
function filled(
  { perSecond, burst }: RateLimit,
  before: BucketRow | undefined,
  nowMs: number,
): number {
  if (before === undefined || nowMs < before.atMs) return burst;
  const passedMs = nowMs - before.atMs;
  return Math.min(burst, before.tokens + (passedMs / 1_000) * perSecond);
}
