/**
 * Who of this thread is at a record, and who waits for news of it. All handles to one block lease live in its fabric, on one
 * thread, so taking turns here makes "look, then write" one step for all its writers; and a reader is woken by the write
 * itself. Another fabric over the same file knows nothing of this one's turns: one that was left in the middle of one, as
 * a simulated crash leaves it, keeps nobody waiting.
 *
 * Invariant T1: of one record, one read or write is under way at a time.
 */
import type { RecordBlocks } from "@selvage/fabric";

/** Blocks that say which lease they are, and of which fabric: two handles to one lease are one record. */
interface LeasedBlocks extends RecordBlocks {
  readonly leaseId?: unknown;
  readonly home?: unknown;
}

/** What tells a record from others: its lease in its fabric, or the object by which it is reached. */
export type RecordKey = object;

// By fabric, and there by lease.
const records = new WeakMap<object, Map<string, RecordKey>>();

/** The key of a record. */
export function keyOf(blocks: RecordBlocks): RecordKey {
  const { leaseId, home } = blocks as LeasedBlocks;
  if (typeof leaseId !== "string" || typeof home !== "object" || home === null) return blocks;
  const known = records.get(home) ?? new Map<string, RecordKey>();
  records.set(home, known);
  const key = known.get(leaseId) ?? {};
  known.set(leaseId, key);
  return key;
}

// Entries live while a turn is under way, or a listener is there: nothing is left of a record that nobody uses.
const turns = new Map<RecordKey, Promise<void>>();
const listeners = new Map<RecordKey, Set<() => void>>();

/** Runs `run` once whoever came before has ended, well or not. Turns have no time limit: a device that hangs, hangs. */
export async function inTurn<T>(key: RecordKey, run: () => Promise<T>): Promise<T> {
  const before = turns.get(key);
  const { promise: mine, resolve: end } = Promise.withResolvers<void>();
  turns.set(key, mine);
  try {
    await before;
    return await run();
  } finally {
    if (turns.get(key) === mine) turns.delete(key);
    end();
  }
}

/** Calls `listener` after each write to the record on this thread, until the returned function is called. */
export function onWritten(key: RecordKey, listener: () => void): () => void {
  const all = listeners.get(key) ?? new Set();
  listeners.set(key, all);
  all.add(listener);
  return () => {
    all.delete(listener);
    if (all.size === 0 && listeners.get(key) === all) listeners.delete(key);
  };
}

/** Tells the listeners of a record that it was written. */
export function tellWritten(key: RecordKey): void {
  for (const listener of listeners.get(key) ?? []) listener();
}
