/**
 * The control memory of a fabric: one shared memory beside the arenas, with the clock, the threads and the lease
 * table. Every figure is in 32-bit words; each part that one thread writes stands on a cache line of its own.
 *
 * ```
 *  word     0  clock, low and high: milliseconds from the base, a 64-bit pair   (anyone raises it)
 *          16  reclaim epoch: one more for each teardown that must wait          (owner)
 *          32  attention: head of the stack of slots the owner must look at      (anyone pushes, owner takes all)
 *          48  stop: 1 once the fabric is closed                                 (owner)
 *          64  threads: THREADS_MAX entries of 16 words
 *               +0 nonce of the thread, 0 = free   +1 reclaim epoch it last announced   +2 clock at its last progress
 *  SLOTS_AT    lease slots of 16 words
 *               +0,1 authority word (`lease-word.ts`)   +2..5 lease id   +6 link of the attention stack, slot + 1
 *               +7 how the previous generation ended
 * ```
 *
 * One slot fills one cache line, so that two leases never share one.
 */

/** Low word of the clock pair. */
export const CLOCK_AT = 0;
/** The reclaim epoch. */
export const RECLAIM_EPOCH_AT = 16;
/** Head of the attention stack: slot + 1, 0 = empty. */
export const ATTENTION_AT = 32;
/** Set to 1 when the fabric closes. */
export const STOP_AT = 48;
/** First thread entry. */
const THREADS_AT = 64;
/** How many threads can attach to one fabric at a time, its owner's entry 0 among them. */
export const THREADS_MAX = 256;
/** Words of one thread entry, and of one slot: a cache line. */
const LINE_WORDS = 16;
/** First lease slot. */
const SLOTS_AT: number = THREADS_AT + THREADS_MAX * LINE_WORDS;

/** Offsets inside a thread entry. */
export const THREAD_NONCE = 0;
export const THREAD_ANNOUNCED = 1;
export const THREAD_PROGRESS = 2;

/** Offsets inside a slot. */
export const SLOT_ID = 2;
export const SLOT_LINK = 6;
export const SLOT_PREVIOUS_END = 7;

/** Word index of a slot's authority pair; always even. */
export function slotAt(slot: number): number {
  return SLOTS_AT + slot * LINE_WORDS;
}

/** Word index of a thread's entry. */
export function threadAt(thread: number): number {
  return THREADS_AT + thread * LINE_WORDS;
}

/** Bytes of a control memory for `slots` leases. */
export function controlBytes(slots: number): number {
  return slotAt(slots) * 4;
}
