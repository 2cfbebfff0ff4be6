/** One transaction of a queue, and the small things that all of its steps share. */
import type { Codec, Random } from "@selvage/fabric";
import {
  eventBase,
  type JobEventBase,
  type JobQueueEvent,
  type JobQueueJobEvent,
} from "./queue-events.ts";
import type { JobRow, Payload } from "./job-record.ts";
import type { JobTx } from "./job-store.ts";

/** What the steps of one transaction work with. */
export interface Turn {
  readonly tx: JobTx;
  readonly nowMs: number;
  readonly codec: Codec<unknown>;
  /** Makes an id: version 7, so that ids of later jobs sort behind. */
  readonly nextId: () => string;
  /** What to tell once the transaction is in. */
  readonly told: JobQueueEvent[];
  /** Payloads longer than that stand in blocks. */
  readonly inlineBytesMax: number;
}

/** An event of a job without what all have. */
type Told<E> = E extends JobQueueJobEvent ? Omit<E, keyof JobEventBase> : never;

/** Notes an event of a job. */
export function tell(turn: Turn, job: JobRow, event: Told<JobQueueJobEvent>): void {
  turn.told.push({ ...event, ...eventBase(job, turn.nowMs) });
}

/** Puts bytes where they belong, in this transaction. */
export function keepPayload(turn: Turn, bytes: Uint8Array): Payload {
  if (bytes.length <= turn.inlineBytesMax) return { kind: "inline", bytes };
  const blocks = turn.tx.openBlocks(turn.nowMs);
  turn.tx.addBlock(blocks, bytes, turn.nowMs);
  turn.tx.keepBlocks(blocks);
  return { kind: "blocks", blocks };
}

/**
 * The bytes of a payload, which are the caller's: what is decoded of them may be views of them, and those are a body's to change.
 * Undefined when its blocks are gone.
 */
export function payloadBytes(tx: JobTx, payload: Payload): Uint8Array | undefined {
  return payload.kind === "inline" ? payload.bytes.slice() : tx.readBlocks(payload.blocks);
}

/**
 * Makes ids of version 7 (RFC 9562): 48 bits of milliseconds, then 12 bits that count within one, then chance. Of one maker
 * they rise, also when the clock stands or goes back.
 */
export function idMaker(random: Random): (nowMs: number) => string {
  let lastMs = 0;
  let count = 0;
  let time = "";
  // Asking for randomness costs far more than what comes: it is fetched for many ids.
  const words = new Int32Array(512);
  let used = words.length;
  return (nowMs) => {
    const ms = Math.floor(nowMs);
    if (ms > lastMs || ++count > 0xfff) {
      lastMs = Math.max(ms, lastMs + 1);
      count = 0;
      const digits = lastMs.toString(16).padStart(12, "0");
      time = `${digits.slice(0, 8)}-${digits.slice(8)}-7`;
    }
    if (used === words.length) {
      random.fill(words);
      used = 0;
    }
    const first = words[used++] as number;
    const second = words[used++] as number;
    // The variant's two bits are 10: one of 8, 9, a, b.
    const variant = "89ab"[first & 3] as string;
    const counted = hexOf(0x1000 + count);
    const high = hexOf(0x10000 + (first >>> 16));
    const middle = hexOf(0x1000 + ((first >>> 4) & 0xfff));
    const low = hexOf(0x1_0000_0000 + (second >>> 0));
    return `${time}${counted}-${variant}${middle}-${high}${low}`;
  };
}

// With a first digit too many, so that there are as many as are wanted.
function hexOf(value: number): string {
  return value.toString(16).slice(1);
}
