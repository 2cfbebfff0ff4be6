/** How often, and after how long, something that failed is tried again. */
import { invalidArgument, type Random } from "@selvage/fabric";

/** A retry policy. Retries come after the first attempt: `retries: 2` is three attempts. */
export interface RetryPolicy {
  readonly retries: number;
  /** Wait before the first retry, in milliseconds. */
  readonly baseMs: number;
  /** Each wait is the one before times this. */
  readonly factor: number;
  /** No wait is longer, in milliseconds. */
  readonly maxMs: number;
  /** `"full"`: a random wait between 0 and the computed one; `"none"`: the computed one. */
  readonly jitter: "full" | "none";
  /** Explicit waits in milliseconds, instead of the computed ones; the last one repeats. */
  readonly delaysMs?: readonly number[];
  /** Which failures are worth a retry. Default: all. */
  readonly retryOn?: (error: unknown) => boolean;
}

/** The default policy: no retry. With retries: from 100 ms, doubling, at most 5 s, full jitter. */
export const RETRY_DEFAULTS: RetryPolicy = Object.freeze({
  retries: 0,
  baseMs: 100,
  factor: 2,
  maxMs: 5_000,
  jitter: "full",
});

/** Fills in the defaults and checks. A number is a count of retries. @throws FabricError `INVALID_ARGUMENT`. */
export function resolveRetryPolicy(policy: number | Partial<RetryPolicy> = {}): RetryPolicy {
  const given = typeof policy === "number" ? { retries: policy } : policy;
  const resolved: RetryPolicy = { ...RETRY_DEFAULTS, ...given };
  const { retries, baseMs, factor, maxMs, jitter, delaysMs } = resolved;
  if (!Number.isSafeInteger(retries) || retries < 0)
    throw invalidArgument("retries", "a whole number from 0 up", retries);
  if (!isAtLeast(baseMs, 0)) throw invalidArgument("baseMs", "milliseconds from 0 up", baseMs);
  if (!isAtLeast(factor, 1)) throw invalidArgument("factor", "a number from 1 up", factor);
  if (!isAtLeast(maxMs, 0)) throw invalidArgument("maxMs", "milliseconds from 0 up", maxMs);
  if (jitter !== "full" && jitter !== "none")
    throw invalidArgument("jitter", '"full" or "none"', jitter);
  for (const delayMs of delaysMs ?? [])
    if (!isAtLeast(delayMs, 0))
      throw invalidArgument("delaysMs", "milliseconds from 0 up", delayMs);
  return resolved;
}

function isAtLeast(value: unknown, least: number): boolean {
  return typeof value === "number" && value >= least;
}

/**
 * How long to wait before retry number `retry` (1 is the first), in milliseconds; undefined when there is none.
 * `random` is a number from 0 to below 1; it is used with full jitter only.
 */
export function retryDelayMs(
  policy: RetryPolicy,
  retry: number,
  error: unknown,
  random: number,
): number | undefined {
  if (retry > policy.retries) return undefined;
  if (policy.retryOn !== undefined && !policy.retryOn(error)) return undefined;
  const { delaysMs } = policy;
  if (delaysMs !== undefined && delaysMs.length > 0)
    return delaysMs[Math.min(retry, delaysMs.length) - 1];
  // Finite, or a base of 0 would become no number.
  const growth = Math.min(policy.factor ** (retry - 1), Number.MAX_VALUE);
  const computedMs = Math.min(policy.baseMs * growth, policy.maxMs);
  return policy.jitter === "full" ? computedMs * random : computedMs;
}

/** A random number for such waits, not for secrets: from 0 up to, and never, 1. */
export function randomFraction(random: Random): number {
  const words = new Int32Array(1);
  random.fill(words);
  return ((words[0] as number) >>> 0) / 0x1_0000_0000;
}
