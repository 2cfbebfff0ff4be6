/**
 * The outputs of a run, in their leases. An output is kept renewed while a task that reads it may still run; when the
 * last of those has ended, renewing stops and the lease expires, or is released at once.
 */
import {
  FabricError,
  invalidArgument,
  type BlockLease,
  type Fabric,
  type MemLease,
  type Timer,
} from "@selvage/fabric";
import type { Hold, RenewalManager } from "@selvage/leasekit";
import type { DataRef } from "./data-format.ts";
import type { Teardown } from "../run/execution-options.ts";
import type { KeptOutputs } from "./kept-outputs.ts";
import type { RunLedger } from "../run/run-ledger.ts";
import { CALLER, ShelfEntry, type PlacedOutput, type ShelvedOutput } from "./shelf-entry.ts";
import { Spill, type OpenedOutputs, type SpillTold } from "./spill.ts";

/** What a shelf is made of. */
export interface ShelfOptions {
  readonly fabric: Fabric;
  readonly timer: Timer;
  readonly renewals: RenewalManager | undefined;
  readonly ledger: RunLedger;
  readonly ttlMs: number;
  readonly stallMs: number;
  readonly teardown: Teardown;
  /** Outputs that outlive the run. */
  readonly keep: ReadonlySet<string>;
  /** Whether outputs may go to blocks when memory is full. */
  readonly spill: boolean;
  /** The place of a task in the plan: lower ones run earlier. */
  readonly placeOf: (task: string) => number;
  readonly onSpill: (told: SpillTold) => void;
}

/**
 * Intermediate leases are short, and the keeper may have to wait for a processor that every task wants: a renewal at
 * 40 % of the TTL leaves half of it for that.
 */
const policy = { renewAtFraction: 0.4 } as const;

/** Leases of outputs that nobody reads any more, and that stand until they expire: most that are remembered. */
const garbageMax = 4_096;

/** Most outputs in memory where the others may go to blocks: each is an entry in the keeper's book. */
const inMemoryMax = 16_384;

/** Leases outputs, keeps them, and lets them go. */
export class OutputShelf {
  readonly #options: ShelfOptions;
  readonly #outputs = new Map<string, ShelfEntry>();
  readonly #spill: Spill;
  // Holds of blocks, to count their renewals, and the renewals of all holds that have ended. Those of outputs stand in
  // their entries.
  readonly #blockHolds = new Set<Hold>();
  #renewedBefore = 0;
  // Leases that only wait for their TTL, where their bytes may be wanted sooner.
  #garbage = new Set<MemLease>();
  #inMemory = 0;

  constructor(options: ShelfOptions) {
    this.#options = options;
    this.#spill = new Spill({
      fabric: options.fabric,
      timer: options.timer,
      ttlMs: options.ttlMs,
      isOn: options.spill,
      acquire: (task, output, bytes) => this.acquire(task, output, bytes),
      keep: (entry, lease) => this.#keep(entry, lease),
      letGoOfLease: (entry) => this.#letGoOfLease(entry, true),
      dropGarbage: () => this.#dropGarbage(),
      returningBytes: () => options.ledger.returningBytes,
      holdBlocks: (lease) => this.holdBlocks(lease),
      tell: options.onSpill,
    });
  }

  /** Leases room for an output of an attempt. @throws FabricError `CAPACITY_EXCEEDED`. */
  acquire(task: string, output: string, bytes: number): MemLease {
    const { fabric, ttlMs, ledger, spill } = this.#options;
    if (spill && this.#inMemory >= inMemoryMax)
      throw new FabricError("CAPACITY_EXCEEDED", "The run has too many outputs in memory", {
        outputs: this.#inMemory,
        largestFreeBytes: 0,
      });
    const label = `${task}/${output}`;
    const lease = fabric.mem().minBytes(bytes).leaseMs(ttlMs).label(label).acquire();
    ledger.add(lease, { task, output }, fabric.nowMs());
    return lease;
  }

  /** Has a lease renewed while `thread` makes progress; {@link unhold} ends it. Undefined when nothing renews. */
  hold(lease: MemLease, thread: number): Hold | undefined {
    const { renewals, ttlMs, stallMs } = this.#options;
    return renewals?.hold(lease, { ttlMs, stallMs, thread, policy });
  }

  /** Ends a hold, once. */
  unhold(hold: Hold): void {
    hold.end();
    this.#renewedBefore += hold.renewed;
  }

  /** Counts a lease over blocks among the run's, and keeps it until the returned function is called. */
  holdBlocks(lease: BlockLease, ttlMs: number = this.#options.ttlMs): () => void {
    const { renewals, stallMs, ledger, fabric } = this.#options;
    ledger.add(lease, { task: "", output: "" }, fabric.nowMs());
    const hold = renewals?.hold(lease, { ttlMs, stallMs, policy });
    if (hold !== undefined) this.#blockHolds.add(hold);
    return () => {
      if (hold !== undefined && this.#blockHolds.delete(hold)) this.unhold(hold);
    };
  }

  /** What moves outputs between memory and blocks. */
  get spill(): Spill {
    return this.#spill;
  }

  /** Puts an output on the shelf, for the tasks that will read it. */
  put(task: string, output: PlacedOutput, consumers: readonly string[]): void {
    this.#put(task, output, consumers, false);
  }

  /** Puts a lease of the caller's on the shelf. @throws FabricError `LEASE_EXPIRED`, `REVOKED`. */
  lend(input: ShelvedOutput, consumers: readonly string[]): void {
    if (consumers.length > 0) this.#put("", input, consumers, true);
  }

  /**
   * The outputs that a task reads, in memory until {@link done}. A promise where some must come back from blocks, or
   * the task wait for memory; `isOver` is asked when its turn has come. `threads`: of a task on another thread.
   * @throws FabricError `LEASE_EXPIRED`; by rejection also `CAPACITY_EXCEEDED`, `CORRUPT_RECORD`.
   */
  open(
    task: string,
    refs: readonly DataRef[],
    isOver: () => boolean,
    threads: number | undefined,
  ): OpenedOutputs | Promise<OpenedOutputs> {
    const entries = refs.map(({ name }) => this.#get(task, name));
    // The lease of one that is on its way has no bytes in it yet.
    const isHere = entries.every(
      ({ lease, moving }) => lease !== undefined && moving === undefined,
    );
    if (isHere && !this.#options.spill) return this.#spill.take(entries);
    return this.#spill.open({ entries, isOver, threads });
  }

  /** An attempt has ended that had opened these. */
  done(opened: OpenedOutputs): void {
    this.#spill.done(opened);
  }

  /** When an output of that name will be needed first. */
  needOf(name: string, consumers: readonly string[]): number {
    const places = this.#readers(name, consumers).values();
    return [...places].reduce((first, place) => Math.min(first, place), Infinity);
  }

  /** Hands the outputs that outlive the run over: they are no longer this shelf's. */
  async handOver(kept: KeptOutputs): Promise<void> {
    for (const [name, entry] of this.#outputs) {
      if (!entry.readers.has(CALLER)) continue;
      try {
        await this.#spill.bringBack(entry);
      } catch (why) {
        kept.refuse(name, why);
        continue;
      }
      const { ref, bytes, lease, hold } = entry;
      if (lease?.isLive !== true) continue;
      this.#outputs.delete(name);
      entry.copy?.free();
      this.#options.ledger.keep(lease);
      kept.offer({ ref, bytes, lease }, hold);
    }
  }

  /** A task has ended: it reads none of `inputs` any more. */
  leave(consumer: string, inputs: readonly DataRef[]): void {
    for (const { name } of inputs) {
      const entry = this.#outputs.get(name);
      if (entry === undefined || !entry.readers.delete(consumer)) continue;
      if (entry.readers.size === 0) this.#letGo(entry);
    }
  }

  /** Lets a lease go that will not be an output: of a failed attempt, or replaced. */
  abandon(lease: MemLease): void {
    if (this.#options.teardown === "eager") lease.release();
    else this.#remember(lease);
  }

  /** Renewals of the run's leases so far. */
  get renewed(): number {
    let renewed = this.#renewedBefore;
    for (const hold of this.#blockHolds) renewed += hold.renewed;
    for (const { hold } of this.#outputs.values()) renewed += hold?.renewed ?? 0;
    return renewed;
  }

  /** Lets everything go. */
  close(): void {
    for (const entry of this.#outputs.values()) this.#letGo(entry);
    this.#spill.close();
  }

  #get(task: string, name: string): ShelfEntry {
    const entry = this.#outputs.get(name);
    if (entry !== undefined) return entry;
    throw new FabricError(
      "LEASE_EXPIRED",
      `The attempt of "${task}" does not count: its input "${name}" is gone`,
      { task },
    );
  }

  #readers(name: string, consumers: readonly string[]): Map<string | symbol, number> {
    const { keep, placeOf } = this.#options;
    const readers = new Map<string | symbol, number>();
    for (const consumer of consumers) readers.set(consumer, placeOf(consumer));
    if (keep.has(name)) readers.set(CALLER, Infinity);
    return readers;
  }

  #put(task: string, output: PlacedOutput, consumers: readonly string[], isForeign: boolean): void {
    const { ref, lease } = output;
    if (lease === undefined && output.copy === undefined)
      throw invalidArgument("output", "a lease, or blocks", ref.name);
    const readers = this.#readers(isForeign ? "" : ref.name, consumers);
    const entry = new ShelfEntry(task, output, readers, isForeign);
    if (lease !== undefined) this.#keep(entry, lease);
    // An attempt that failed between two of its outputs has left one here.
    const replaced = this.#outputs.get(ref.name);
    if (replaced !== undefined) this.#letGo(replaced);
    this.#outputs.set(ref.name, entry);
    if (readers.size === 0) this.#letGo(entry);
    else this.#spill.offer(entry);
  }

  // Has a lease renewed as the entry's.
  #keep(entry: ShelfEntry, lease: MemLease): void {
    const { renewals, ttlMs, stallMs } = this.#options;
    entry.hold = renewals?.hold(lease, { ttlMs, stallMs, policy });
    entry.lease = lease;
    this.#inMemory++;
  }

  #letGo(entry: ShelfEntry): void {
    if (entry.isOver) return;
    entry.isOver = true;
    if (this.#outputs.get(entry.ref.name) === entry) this.#outputs.delete(entry.ref.name);
    this.#spill.withdraw(entry);
    if (entry.moving === undefined) this.#letGoOfLease(entry, false);
    entry.copy?.free();
    entry.copy = undefined;
  }

  // Ends the entry's hold on its lease, and the lease itself where that is wanted at once.
  #letGoOfLease(entry: ShelfEntry, isAtOnce: boolean): void {
    const { hold, lease, isForeign } = entry;
    if (lease === undefined) return;
    if (hold !== undefined) this.unhold(hold);
    this.#inMemory--;
    entry.hold = undefined;
    entry.lease = undefined;
    if (isForeign) return;
    if (isAtOnce) lease.release();
    else this.abandon(lease);
  }

  #remember(lease: MemLease): void {
    if (!this.#options.spill) return;
    if (this.#garbage.size >= garbageMax)
      this.#garbage = new Set([...this.#garbage].filter(({ isLive }) => isLive));
    this.#garbage.add(lease);
  }

  #dropGarbage(): boolean {
    let isDropped = false;
    for (const lease of this.#garbage) isDropped = lease.release() || isDropped;
    this.#garbage.clear();
    return isDropped;
  }
}
