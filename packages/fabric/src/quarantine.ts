/**
 * Bytes of ended leases on their way back. They wait until nobody can be inside them, are zeroed, and are free.
 *
 * A lease waits for its pins (operations, views and loans of the owner's thread, or taken by it for another) and, if
 * it was ever ticketed, for every attached thread to announce (`thread-registry.ts`, Q2). A live thread that stays
 * silent for `fenceAfterMs` fences the bytes; its announcement or exit lifts that. A failed wipe fences them until
 * `unfence`.
 */
import type { ControlPlane } from "./control-plane.ts";
import type { LeaseRecord } from "./slot-table.ts";
import { isQuiescentSince, raiseReclaimEpoch } from "./thread-registry.ts";

/** What the quarantine tells its owner. */
export interface QuarantineEffects {
  /** The bytes are zero and may be leased again. */
  freed(record: LeaseRecord): void;
  fenced(record: LeaseRecord, why: "silent-thread" | "failed-wipe", cause?: unknown): void;
  unfenced(record: LeaseRecord): void;
  /** Asks idle threads to announce. */
  nudge(): void;
}

/** Since when, and until which reclaim epoch, a record waits. */
interface Wait {
  readonly sinceMs: number;
  readonly forEpoch: number;
}

/** The quarantine of one fabric. */
export class Quarantine {
  readonly #control: ControlPlane;
  readonly #effects: QuarantineEffects;
  readonly #fenceAfterMs: number;
  readonly #waiting = new Map<LeaseRecord, Wait>();
  #wiping = 0;

  constructor(control: ControlPlane, fenceAfterMs: number, effects: QuarantineEffects) {
    this.#control = control;
    this.#fenceAfterMs = fenceAfterMs;
    this.#effects = effects;
  }

  /** Leases whose bytes are on their way back. */
  get size(): number {
    return this.#waiting.size + this.#wiping;
  }

  /** Takes the bytes of a lease that has just ended; frees them at once where nobody can be inside them. */
  admit(record: LeaseRecord): void {
    record.reclaim = "quarantined";
    // Never ticketed and not pinned: the common case, which needs no wait and so allocates none.
    if (!record.isTicketed && record.pins === 0) return this.#wipe(record);
    const forEpoch = record.isTicketed ? raiseReclaimEpoch(this.#control) : 0;
    if (this.#isQuiet(record, forEpoch)) return this.#wipe(record);
    this.#waiting.set(record, { sinceMs: this.#control.nowMs(), forEpoch });
    if (record.isTicketed) this.#effects.nudge();
  }

  /** Frees what nobody can be inside any more, and fences what waits for a silent thread. */
  sweep(nowMs: number): void {
    let nudge = false;
    for (const [record, { sinceMs, forEpoch }] of this.#waiting) {
      if (this.#isQuiet(record, forEpoch)) {
        this.#waiting.delete(record);
        if (record.reclaim === "fenced") this.#effects.unfenced(record);
        this.#wipe(record);
        continue;
      }
      // A pin is the owner's own doing, or an engine's for a running attempt: only a silent thread fences.
      if (record.pins > 0) continue;
      nudge = true;
      if (record.reclaim === "quarantined" && nowMs - sinceMs >= this.#fenceAfterMs) {
        record.reclaim = "fenced";
        this.#effects.fenced(record, "silent-thread");
      }
    }
    if (nudge) this.#effects.nudge();
  }

  /** Tries a failed wipe again. False if the record is not fenced, or waits for a thread. */
  retry(record: LeaseRecord): boolean {
    if (record.reclaim !== "fenced" || this.#waiting.has(record)) return false;
    this.#effects.unfenced(record);
    this.#wipe(record);
    return true;
  }

  #isQuiet(record: LeaseRecord, forEpoch: number): boolean {
    if (record.pins > 0) return false;
    return !record.isTicketed || isQuiescentSince(this.#control, forEpoch);
  }

  #wipe(record: LeaseRecord): void {
    record.reclaim = "wiping";
    const { bytes, slot } = record.lease;
    try {
      const wiping = record.pool.wipe(record.tenant, record.piece, bytes, slot);
      if (wiping === undefined) return this.#effects.freed(record);
      this.#wiping++;
      wiping.then(
        () => {
          this.#wiping--;
          this.#effects.freed(record);
        },
        (thrown: unknown) => {
          this.#wiping--;
          this.#fence(record, thrown);
        },
      );
    } catch (thrown) {
      this.#fence(record, thrown);
    }
  }

  #fence(record: LeaseRecord, cause: unknown): void {
    record.reclaim = "fenced";
    this.#effects.fenced(record, "failed-wipe", cause);
  }
}
