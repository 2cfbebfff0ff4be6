/** Slots of the lease table: which are free, and which record stands in each. Owner's thread only. */
import type { BlockLease } from "./block-lease.ts";
import type { ControlPlane } from "./control-plane.ts";
import { FabricError } from "./errors.ts";
import { GENERATION_MAX } from "./lease-word.ts";
import type { MemLease } from "./mem-lease.ts";
import type { Piece, Pool } from "./pool.ts";
import type { Tenant } from "./tenant.ts";

/** What became of an ended lease's bytes. */
export type Reclaim = "none" | "quarantined" | "wiping" | "fenced";

/** What the owner knows of a granted slot. */
export interface LeaseRecord<P extends Piece = Piece> {
  readonly slot: number;
  readonly generation: number;
  readonly lease: MemLease | BlockLease;
  readonly tenant: Tenant;
  readonly pool: Pool<P>;
  readonly piece: P;
  /** Operations, views and loans that are inside the bytes now. */
  pins: number;
  /** Whether another thread may hold the lease. */
  isTicketed: boolean;
  /** The deadline last told to subscribers. */
  toldExpiresAtMs: number;
  /** Whether `warned` has been told. */
  isWarned: boolean;
  reclaim: Reclaim;
  /** The state it ended in; 0 while it stands. */
  terminal: number;
  /** Since when, and until which reclaim epoch, a quarantined lease waits. */
  waitsSinceMs: number;
  waitsForEpoch: number;
  /** The id as text, once somebody asked for it. */
  leaseId: string | undefined;
}

/** Slots 0 to `capacity` - 1. */
export class SlotTable {
  readonly capacity: number;
  readonly #control: ControlPlane;
  readonly #records: (LeaseRecord | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #byId = new Map<string, LeaseRecord>();
  // Slots above the high-water mark were never used: nothing of them is in resident memory.
  #highWater = 0;

  constructor(control: ControlPlane) {
    this.#control = control;
    this.capacity = control.handle.slots;
  }

  /** Takes a free slot. @throws FabricError `CAPACITY_EXCEEDED` when the table is full. */
  take(): number {
    const reused = this.#free.pop();
    if (reused !== undefined) return reused;
    if (this.#highWater === this.capacity)
      throw new FabricError("CAPACITY_EXCEEDED", "Cannot grant: the lease table is full", {
        maxLeases: this.capacity,
      });
    this.#records.push(undefined);
    return this.#highWater++;
  }

  /** The generation of the next lease in `slot`. */
  nextGeneration(slot: number): number {
    return this.#control.moment(slot).generation + 1;
  }

  put(record: LeaseRecord): void {
    this.#records[record.slot] = record;
  }

  /** The record in `slot`, if a lease stands there or its bytes are not back yet. */
  at(slot: number): LeaseRecord | undefined {
    return this.#records[slot];
  }

  /** Gives the slot back, its bytes being free. A slot whose generations are used up is retired. */
  giveBack(record: LeaseRecord): void {
    const { slot } = record;
    this.#records[slot] = undefined;
    if (record.leaseId !== undefined) this.#byId.delete(record.leaseId);
    this.#control.free(slot, record.terminal);
    if (record.generation < GENERATION_MAX) this.#free.push(slot);
  }

  /** Gives an unused slot back: its grant did not come about. */
  putBack(slot: number): void {
    this.#free.push(slot);
  }

  /** Notes the text form of a record's id. */
  name(slot: number, generation: number, leaseId: string): void {
    const record = this.#records[slot];
    if (record === undefined || record.generation !== generation || record.leaseId !== undefined)
      return;
    record.leaseId = leaseId;
    this.#byId.set(leaseId, record);
  }

  /** The record of a lease, by its id. */
  find(leaseId: string): LeaseRecord | undefined {
    return this.#byId.get(leaseId);
  }

  /** Every record. */
  *records(): Generator<LeaseRecord> {
    for (const record of this.#records) if (record !== undefined) yield record;
  }
}
