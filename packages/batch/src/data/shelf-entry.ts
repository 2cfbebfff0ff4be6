/** An output on a run's shelf: in memory, on blocks, or in both. */
import type { MemLease } from "@selvage/fabric";
import type { Hold } from "@selvage/leasekit";
import type { DataRef } from "./data-format.ts";

/** A committed output in memory, as those who read it reach it. */
export interface ShelvedOutput {
  readonly ref: DataRef;
  readonly lease: MemLease;
  /** How many of its bytes count. */
  readonly bytes: number;
}

/** The same bytes on blocks. */
export interface BlockCopy {
  /** @throws FabricError `CORRUPT_RECORD`, `LEASE_EXPIRED`, `STORE_UNAVAILABLE`. */
  read(): Promise<Uint8Array>;
  /** Called when nobody reads the output any more. */
  free(): void;
}

/** A committed output, wherever it is: in a lease, on blocks, or both. */
export interface PlacedOutput {
  readonly ref: DataRef;
  readonly bytes: number;
  readonly lease?: MemLease | undefined;
  readonly copy?: BlockCopy | undefined;
}

/** Reads an output after the run: the caller. */
export const CALLER: unique symbol = Symbol("caller");

/** An entry of the shelf. */
export class ShelfEntry {
  /** Who made it. */
  readonly task: string;
  readonly ref: DataRef;
  readonly bytes: number;
  /** Who may still read it, each with its place in the plan. */
  readonly readers: Map<string | symbol, number>;
  /** True for a lease of the caller's: it is kept while it is read, and never released nor moved here. */
  readonly isForeign: boolean;
  lease: MemLease | undefined;
  /** Keeps the lease, while there is one and leases are kept. */
  hold: Hold | undefined;
  copy: BlockCopy | undefined;
  /** Attempts that have it in their hands. */
  users = 0;
  /** When it is needed next, as far as was looked: {@link refresh}. */
  need: number = Infinity;
  /** Its place among those that may be moved out; -1: it is not there. */
  heapAt = -1;
  /** Set while it is on its way out or back. */
  moving: Promise<void> | undefined;
  /** Nobody reads it any more. */
  isOver = false;

  constructor(
    task: string,
    { ref, bytes, lease, copy }: PlacedOutput,
    readers: Map<string | symbol, number>,
    isForeign: boolean,
  ) {
    this.task = task;
    this.ref = ref;
    this.bytes = bytes;
    this.lease = lease;
    this.copy = copy;
    this.readers = readers;
    this.isForeign = isForeign;
  }

  /** Looks who needs it next. Costs its readers. */
  refresh(): void {
    // Not by a spread: an output may have more readers than a call has arguments.
    this.need = Infinity;
    for (const place of this.readers.values()) this.need = Math.min(this.need, place);
  }

  /** True if it can be moved out of memory now. */
  get isMovable(): boolean {
    const isFree = this.users === 0 && this.moving === undefined && !this.isForeign;
    return isFree && !this.isOver && this.lease !== undefined;
  }
}
