/**
 * The authority word of a lease: 64 bits that say everything about it, so that every transition is one
 * compare-exchange from any thread.
 *
 * ```
 *  high word                                    low word
 *  31            12 11      8 7              0  31                             0
 *  +---------------+---------+----------------+ +-------------------------------+
 *  |  generation   |  state  | deadline 39-32 | |         deadline 31-0         |
 *  +---------------+---------+----------------+ +-------------------------------+
 * ```
 *
 * The deadline counts milliseconds from the fabric's base (the moment it was opened): 40 bits, 34 years.
 * The generation counts the times the slot has been granted: 20 bits; a slot that used them up is retired.
 *
 * Invariant W1: a high word never comes back. Within one generation the state moves forward (FREE comes last) and a
 * deadline's upper bits are only raised, but for the step to WARNED, which changes the state. So a reader that finds
 * the same high word before and after reading the low word has read a pair that stood there at one moment.
 */

/** Nobody holds the slot. */
export const FREE = 0;
/** Held. */
export const ACTIVE = 1;
/** Held, and told that it will be revoked at its (shortened) deadline. */
export const WARNED = 2;
/** The deadline passed. */
export const EXPIRED = 3;
/** The holder gave it back. */
export const RELEASED = 4;
/** The lessor took it back. */
export const REVOKED = 5;

/** How a lease stands, for people and programs. */
export type LeaseState = "active" | "warned" | "expired" | "released" | "revoked";

const names: readonly (LeaseState | undefined)[] = [
  undefined,
  "active",
  "warned",
  "expired",
  "released",
  "revoked",
];

/** The largest generation; a slot that reached it takes no more leases. */
export const GENERATION_MAX = 0xf_ffff;
/** Builds the high word. `deadline` is in milliseconds from the base. */
export function packHigh(generation: number, state: number, deadline: number): number {
  // A division costs more than the rest of a renewal's arithmetic; the first 49 days need none.
  const upper = deadline < 0x1_0000_0000 ? 0 : Math.floor(deadline / 0x1_0000_0000);
  return (generation << 12) | (state << 8) | upper;
}

/** Builds the low word. */
export function packLow(deadline: number): number {
  return deadline | 0;
}

/** The generation in a high word. */
export function generationOf(high: number): number {
  return high >>> 12;
}

/** The state in a high word: one of the constants above. */
export function stateOf(high: number): number {
  return (high >>> 8) & 0xf;
}

/** The deadline of a pair, in milliseconds from the base. */
export function deadlineOf(low: number, high: number): number {
  return (high & 0xff) * 0x1_0000_0000 + (low >>> 0);
}

/** True while the holder may use the lease, as far as the state says: the deadline is another question. */
export function isLiveState(state: number): boolean {
  return state === ACTIVE || state === WARNED;
}

/** The name of a state; undefined for FREE. */
export function stateName(state: number): LeaseState | undefined {
  return names[state];
}
