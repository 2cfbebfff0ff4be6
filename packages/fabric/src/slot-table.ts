/** Slots of the lease table: which are free, and which record stands in each. Owner's thread only. */
import type { BlockLease } from "./block-lease.ts";
import type { ControlPlane } from "./control-plane.ts";
import { FabricError } from "./errors.ts";
import { GENERATION_MAX } from "./lease-word.ts";
import type { MemLease } from "./mem-lease.ts";
import type { Pool } from "./pool.ts";
import type { Tenant } from "./tenant.ts";

/** What became of an ended lease's bytes. */
export type Reclaim = "none" | "quarantined" | "wiping" | "fenced";

/** A lease of either kind. */
export type AnyLease = MemLease | BlockLease;

/**
 * What the owner knows of a granted slot, beside what the lease's handle says. A class, so that every record has one
 * shape. No field holds a number above 31 bits in the first 24 days: V8 keeps such a one in an object of its own.
 */
export class LeaseRecord {
  readonly lease: AnyLease;
  readonly tenant: Tenant;
  readonly pool: Pool<AnyLease>;
  /** The pool's number for the bytes. */
  readonly piece: number;
  /** Operations, views and loans that are inside the bytes now. */
  pins = 0;
  /** Whether another thread may hold the lease. */
  isTicketed = false;
  /** Whether `warned` has been told. */
  isWarned = false;
  /** The deadline last told to subscribers, in milliseconds from the fabric's base. */
  toldDeadline: number;
  reclaim: Reclaim = "none";
  /** The state it ended in; 0 while it stands. */
  terminal = 0;
  /** The id as text, once somebody asked for it. */
  leaseId: string | undefined = undefined;

  constructor(
    lease: AnyLease,
    tenant: Tenant,
    pool: Pool<AnyLease>,
    piece: number,
    deadline: number,
  ) {
    this.lease = lease;
    this.tenant = tenant;
    this.pool = pool;
    this.piece = piece;
    this.toldDeadline = deadline;
  }
}

/** Slots 0 to `capacity` - 1. */
export class SlotTable {
  readonly capacity: number;
  readonly #control: ControlPlane;
  readonly #records: (LeaseRecord | undefined)[] = [];
  readonly #free: number[] = [];
  // To their slots, not to the records: a map that leases come to and go from leaves old tables behind, and what is in
  // those, for the next full collection.
  readonly #byId = new Map<string, number>();
  // Slots above the high-water mark were never used: nothing of them is in resident memory.
  #highWater: number;
  #retired = 0;
  readonly #reserved: number;
  readonly #freeReserved: number[] = [];

  /** The first `reserved` slots are for leases that a block file knows by their numbers. */
  constructor(control: ControlPlane, reserved: number = 0) {
    this.#control = control;
    this.#reserved = reserved;
    this.#highWater = reserved;
    this.capacity = control.handle.slots - reserved;
    for (let slot = 0; slot < reserved; slot++) this.#records.push(undefined);
  }

  /** True for a slot of a block file's. */
  isReserved(slot: number): boolean {
    return slot < this.#reserved;
  }

  /** Gives a reserved slot, which is free, to be taken. */
  addReserved(slot: number): void {
    this.#freeReserved.push(slot);
  }

  /** Turns the order round in which reserved slots are taken: the last one added is the first one taken. */
  reverseReserved(): void {
    this.#freeReserved.reverse();
  }

  /** Takes a free reserved slot. @throws FabricError `CAPACITY_EXCEEDED`. */
  takeReserved(pool: { largestFreeBytes(tenant: Tenant): number }, tenant: Tenant): number {
    const slot = this.#freeReserved.pop();
    if (slot === undefined)
      throw new FabricError("CAPACITY_EXCEEDED", "Cannot grant: the block file's table is full", {
        blockLeases: this.#reserved,
        largestFreeBytes: pool.largestFreeBytes(tenant),
      });
    return slot;
  }

  /** Takes a free slot. @throws FabricError `CAPACITY_EXCEEDED` when the table is full, `EXHAUSTED` when used up. */
  take(pool: { largestFreeBytes(tenant: Tenant): number }, tenant: Tenant): number {
    const reused = this.#free.pop();
    if (reused !== undefined) return reused;
    if (this.#retired === this.capacity)
      throw new FabricError("EXHAUSTED", "Cannot grant: every slot has used up its generations", {
        maxLeases: this.capacity,
        generationMax: GENERATION_MAX,
      });
    if (this.#highWater === this.#reserved + this.capacity)
      throw new FabricError("CAPACITY_EXCEEDED", "Cannot grant: the lease table is full", {
        maxLeases: this.capacity,
        largestFreeBytes: pool.largestFreeBytes(tenant),
      });
    this.#records.push(undefined);
    return this.#highWater++;
  }

  /** The generation of the next lease in `slot`. */
  nextGeneration(slot: number): number {
    return this.#control.generationOf(slot) + 1;
  }

  put(record: LeaseRecord): void {
    this.#records[record.lease.slot] = record;
  }

  /** The record in `slot`, if a lease stands there or its bytes are not back yet. */
  at(slot: number): LeaseRecord | undefined {
    return this.#records[slot];
  }

  /** Gives the slot back, its bytes being free. A slot whose generations are used up is retired. */
  giveBack(record: LeaseRecord): void {
    const { slot, generation } = record.lease;
    this.#records[slot] = undefined;
    if (record.leaseId !== undefined) this.#byId.delete(record.leaseId);
    this.#control.free(slot, record.terminal);
    if (slot < this.#reserved) {
      if (generation < GENERATION_MAX) this.#freeReserved.push(slot);
    } else if (generation < GENERATION_MAX) this.#free.push(slot);
    else this.#retired++;
  }

  /** Gives an unused slot back: its grant did not come about. */
  putBack(slot: number): void {
    if (slot < this.#reserved) this.#freeReserved.push(slot);
    else this.#free.push(slot);
  }

  /** Notes the text form of a record's id. */
  name(slot: number, generation: number, leaseId: string): void {
    const record = this.#records[slot];
    if (record === undefined || record.lease.generation !== generation) return;
    if (record.leaseId !== undefined) return;
    record.leaseId = leaseId;
    this.#byId.set(leaseId, record.lease.slot);
  }

  /** The record of a lease, by its id. */
  find(leaseId: string): LeaseRecord | undefined {
    const slot = this.#byId.get(leaseId);
    return slot === undefined ? undefined : this.#records[slot];
  }

  /** Every record. */
  *records(): Generator<LeaseRecord> {
    for (const record of this.#records) if (record !== undefined) yield record;
  }
}
