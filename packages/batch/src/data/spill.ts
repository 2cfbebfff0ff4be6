/**
 * Moves outputs between leased memory and leased blocks. What is needed last goes first; what a task reads is brought
 * back before its body starts, and stays until the attempt has ended.
 *
 * Invariant S1: an output is in memory, on blocks, or both, from its commit until its last reader has ended.
 * Invariant S2: nobody waits for memory that nobody will give back: who waits is refused when all who could give it wait
 * as well. An attempt that has not started holds nothing while it waits.
 */
import type { BlockLease, Fabric, MemLease, Timer } from "@selvage/fabric";
import { BlockExtents, isFull } from "./block-extents.ts";
import { NeedHeap } from "./need-heap.ts";
import type { DataRef } from "./data-format.ts";
import type { PlacedOutput, ShelfEntry, ShelvedOutput } from "./shelf-entry.ts";

/**
 * Attempts on the calling thread at a time, where outputs may spill: each may have an output in its hands that has no
 * place yet. The run's admission sees to it; here they only come one after the other.
 */
export const SPILL_ATTEMPTS_MAX = 64;

/** How often memory that is on its way back is looked for, in milliseconds. */
const lookMs = 2;

/** An output was moved. */
export interface SpillTold {
  readonly task: string;
  readonly output: string;
  readonly direction: "out" | "back";
  readonly bytes: number;
}

/** The shelf and the run, as a spill needs them. */
export interface SpillHost {
  readonly fabric: Fabric;
  readonly timer: Timer;
  readonly ttlMs: number;
  /** Whether anything may be moved out. Else outputs only come back. */
  readonly isOn: boolean;
  /** @throws FabricError `CAPACITY_EXCEEDED`. */
  acquire(task: string, output: string, bytes: number): MemLease;
  /** Makes a lease an entry's own, and keeps it. */
  keep(entry: ShelfEntry, lease: MemLease): void;
  /** Gives an entry's lease back, now. */
  letGoOfLease(entry: ShelfEntry): void;
  /** Gives back what only waits for its TTL. Returns whether there was any. */
  dropGarbage(): boolean;
  /** Bytes of ended leases that are not free yet. */
  returningBytes(): number;
  holdBlocks(lease: BlockLease): () => void;
  tell(told: SpillTold): void;
}

/** The queue of attempts on other threads, and how many are past it. */
interface Gate {
  turn: Promise<unknown>;
  inside: number;
}

/** Outputs in an attempt's hands. */
export interface OpenedOutputs {
  readonly outputs: readonly ShelvedOutput[];
}

class Opened implements OpenedOutputs {
  readonly outputs: readonly ShelvedOutput[];
  readonly entries: readonly ShelfEntry[];
  readonly gate: Gate | undefined;
  isStarted = false;
  isDone = false;

  constructor(entries: readonly ShelfEntry[], gate: Gate | undefined) {
    this.entries = entries;
    this.gate = gate;
    this.outputs = entries.map(({ ref, bytes, lease }) => ({
      ref,
      bytes,
      lease: lease as MemLease,
    }));
  }
}

/** What an attempt asks for. */
export interface OpenRequest {
  readonly entries: readonly ShelfEntry[];
  /** Asked when its turn has come: is it still wanted? */
  readonly isOver: () => boolean;
  /** On other threads: how many there are. */
  readonly threads: number | undefined;
}

/** One run's traffic between memory and blocks. */
export class Spill {
  readonly #host: SpillHost;
  readonly #extents: BlockExtents;
  readonly #movable = new NeedHeap<ShelfEntry>();
  // Of attempts on other threads, no more are opened than there are threads.
  readonly #far: Gate = { turn: Promise.resolve(), inside: 0 };
  // Attempts are opened one after the other, in the order in which they came. Only one at a time looks for memory: two
  // that each hold half of what both need would wait for each other.
  #turn: Promise<unknown> = Promise.resolve();
  // How many attempts have opened outputs. Counted, not collected: a table that attempts come to and go from leaves old
  // tables behind, and what is in those, for the next full collection.
  #running = 0;
  // How many of those are at work.
  #started = 0;
  // How many of those wait for memory.
  #waiting = 0;
  // Why memory was last refused.
  #refusal: unknown;
  #changed = Promise.withResolvers<void>();
  #isClosed = false;

  constructor(host: SpillHost) {
    this.#host = host;
    const { fabric, ttlMs } = host;
    const hold = (lease: BlockLease): (() => void) => host.holdBlocks(lease);
    this.#extents = new BlockExtents({ fabric, ttlMs, label: "spill", hold });
  }

  /** True where outputs may be moved out. */
  get isOn(): boolean {
    return this.#host.isOn;
  }

  /** An output may be moved out from now on. */
  offer(entry: ShelfEntry): void {
    if (!this.#host.isOn || entry.heapAt >= 0 || !entry.isMovable) return;
    entry.refresh();
    this.#movable.push(entry);
    this.#notify();
  }

  /** An output is not to be moved any more. */
  withdraw(entry: ShelfEntry): void {
    this.#movable.remove(entry);
  }

  /** Takes outputs that are in memory into an attempt's hands. */
  take(entries: readonly ShelfEntry[], gate?: Gate): OpenedOutputs {
    for (const entry of entries) entry.users++;
    this.#running++;
    return new Opened(entries, gate);
  }

  /** As {@link take}, once its turn has come and everything is in memory. */
  open(request: OpenRequest): Promise<OpenedOutputs> {
    const { isOver, threads } = request;
    if (threads === undefined) return this.#line(request, undefined);
    const gate = this.#far;
    const entering = gate.turn.then(async () => {
      while (gate.inside >= threads && !isOver() && !this.#isClosed) await this.#changed.promise;
      gate.inside++;
    });
    gate.turn = entering;
    return entering.then(() => this.#line(request, gate));
  }

  /** The body of an attempt starts. */
  start(opened: OpenedOutputs): void {
    if (!(opened instanceof Opened) || opened.isStarted || opened.isDone) return;
    opened.isStarted = true;
    this.#started++;
  }

  /** Gives outputs out of an attempt's hands. */
  done(opened: OpenedOutputs): void {
    if (!(opened instanceof Opened) || opened.isDone) return;
    opened.isDone = true;
    this.#running--;
    if (opened.isStarted) this.#started--;
    if (opened.gate !== undefined) opened.gate.inside--;
    this.#release(opened.entries);
  }

  /**
   * Finds a place for an output that is in no lease: in memory, where what is there is needed later, or on blocks. A new
   * lease is the caller's to keep. @throws FabricError `CAPACITY_EXCEEDED` when blocks are full, too.
   */
  async place(task: string, ref: DataRef, bytes: Uint8Array, need: number): Promise<PlacedOutput> {
    const acquire = (): MemLease | undefined =>
      this.#tryAcquire(task, ref.name, Math.max(bytes.length, 1));
    let lease = acquire();
    if (lease === undefined && (this.#last()?.need ?? -1) > need && (await this.#moveOut()))
      lease = acquire();
    if (lease !== undefined) {
      lease.write(0, bytes);
      return { ref, bytes: bytes.length, lease };
    }
    const copy = await this.#write(task, ref.name, bytes);
    return { ref, bytes: bytes.length, copy };
  }

  /**
   * Makes room for an attempt that has started and needs `bytes` more. Resolves with whether it is worth trying again.
   * @throws FabricError what moving an output out throws.
   */
  async makeRoom(bytes: number): Promise<boolean> {
    if (!this.#host.isOn || bytes > this.#host.fabric.options.memoryBytes) return false;
    if (await this.#stir(bytes)) return true;
    // S2: somebody else is at work, and does not wait. Who opens counts as nobody: it holds nothing.
    if (this.#started - this.#waiting <= 1) return false;
    this.#waiting++;
    try {
      await this.#changed.promise;
    } finally {
      this.#waiting--;
    }
    return !this.#isClosed;
  }

  /** Brings an output back into memory, if it is not there. @throws FabricError as `open`. */
  async bringBack(entry: ShelfEntry): Promise<void> {
    while (entry.moving !== undefined) await entry.moving;
    if (entry.lease !== undefined) return;
    while (!(await this.#load(entry))) {
      if (await this.#stir(Math.max(entry.bytes, 1))) continue;
      if (await this.#load(entry)) return;
      throw this.#refusal;
    }
  }

  /** Gives all blocks back. */
  close(): void {
    this.#isClosed = true;
    this.#extents.close();
    this.#notify();
  }

  // Opens when those that came before have been opened.
  #line(request: OpenRequest, gate: Gate | undefined): Promise<OpenedOutputs> {
    const opening = this.#turn.then(() => this.#open(request, gate));
    this.#turn = opening.catch(() => {
      if (gate !== undefined) gate.inside--;
      this.#notify();
    });
    return opening;
  }

  async #open({ entries, isOver }: OpenRequest, gate: Gate | undefined): Promise<OpenedOutputs> {
    for (;;) {
      if (isOver() || this.#isClosed) return this.take([], gate);
      if (await this.#openAll(entries)) {
        for (const entry of entries) entry.users--;
        return this.take(entries, gate);
      }
      // Nobody is there who could give anything back: it is refused as it would be without blocks.
      if (this.#running === 0) throw this.#refusal;
      await this.#changed.promise;
    }
  }

  // Has everything in memory, or holds nothing: in S2.
  async #openAll(entries: readonly ShelfEntry[]): Promise<boolean> {
    const held: ShelfEntry[] = [];
    const hold = async (entry: ShelfEntry): Promise<boolean> => {
      for (;;) {
        while (entry.moving !== undefined) await entry.moving;
        if (entry.lease !== undefined || (await this.#load(entry))) break;
        if (await this.#stir(Math.max(entry.bytes, 1))) continue;
        // Memory may have come back between the two looks.
        if (await this.#load(entry)) break;
        return false;
      }
      entry.users++;
      held.push(entry);
      return true;
    };
    try {
      for (const entry of entries)
        if (!(await hold(entry))) {
          this.#release(held);
          return false;
        }
      return true;
    } catch (thrown) {
      this.#release(held);
      throw thrown;
    }
  }

  #release(entries: readonly ShelfEntry[]): void {
    for (const entry of entries) {
      entry.users--;
      this.offer(entry);
    }
    this.#notify();
  }

  // Reads an output back. False where memory is full.
  async #load(entry: ShelfEntry): Promise<boolean> {
    const { task, ref, copy } = entry;
    if (copy === undefined) return true; // Its lease was lost: who reads it is told by the lease.
    const lease = this.#tryAcquire(task, ref.name, Math.max(entry.bytes, 1));
    if (lease === undefined) return false;
    const load = async (): Promise<void> => {
      this.#host.keep(entry, lease);
      lease.write(0, await copy.read());
    };
    const moving = Promise.withResolvers<void>();
    entry.moving = moving.promise;
    try {
      await load();
      this.#host.tell({ task, output: ref.name, direction: "back", bytes: entry.bytes });
    } catch (thrown) {
      this.#host.letGoOfLease(entry);
      throw thrown;
    } finally {
      entry.moving = undefined;
      if (entry.isOver) this.#host.letGoOfLease(entry);
      moving.resolve();
    }
    return true;
  }

  // Does one thing that may give memory back. False where there is nothing left to do.
  async #stir(bytes: number): Promise<boolean> {
    if (this.#host.dropGarbage()) return true;
    if (this.#host.returningBytes() >= bytes) {
      await new Promise<void>((resolve) => void this.#host.timer.after(lookMs, resolve));
      return true;
    }
    if (await this.#moveOut()) return true;
    if (this.#host.returningBytes() === 0) return false;
    await new Promise<void>((resolve) => void this.#host.timer.after(lookMs, resolve));
    return true;
  }

  #tryAcquire(task: string, output: string, bytes: number): MemLease | undefined {
    try {
      return this.#host.acquire(task, output, bytes);
    } catch (thrown) {
      if (!isFull(thrown)) throw thrown;
      this.#refusal = thrown;
    }
    if (!this.#host.isOn || !this.#host.dropGarbage()) return undefined;
    try {
      return this.#host.acquire(task, output, bytes);
    } catch (thrown) {
      if (!isFull(thrown)) throw thrown;
      return undefined;
    }
  }

  // The output that is needed last, of those that can be moved.
  #last(): ShelfEntry | undefined {
    for (;;) {
      const { last } = this.#movable;
      if (last === undefined || last.isMovable) return last;
      this.#movable.remove(last);
    }
  }

  // Moves the output that is needed last out of memory. False where there is none.
  async #moveOut(): Promise<boolean> {
    const entry = this.#host.isOn ? this.#last() : undefined;
    if (entry === undefined) return false;
    this.#movable.remove(entry);
    const moving = Promise.withResolvers<void>();
    entry.moving = moving.promise;
    let isFailed = false;
    try {
      entry.copy ??= await this.#copyOut(entry);
    } catch (thrown) {
      // One whose lease has ended takes no room; who reads it is told by the lease.
      if (entry.lease?.isLive === false) return true;
      isFailed = true;
      throw thrown;
    } finally {
      entry.moving = undefined;
      moving.resolve();
      if (isFailed) this.offer(entry);
    }
    // Also of one whose last reader ended meanwhile: then there is nothing to read from blocks, either.
    this.#host.letGoOfLease(entry);
    if (entry.isOver) entry.copy?.free();
    return true;
  }

  async #copyOut(entry: ShelfEntry): Promise<PlacedOutput["copy"]> {
    const lease = entry.lease as MemLease;
    const loan = lease.lend();
    try {
      // The copy is made before the first wait.
      return await this.#write(entry.task, entry.ref.name, loan.view.subarray(0, entry.bytes));
    } finally {
      loan.end();
    }
  }

  async #write(task: string, output: string, bytes: Uint8Array): Promise<PlacedOutput["copy"]> {
    const extent = await this.#extents.write(bytes);
    this.#host.tell({ task, output, direction: "out", bytes: bytes.length });
    return {
      read: () => this.#extents.read(extent),
      free: () => this.#extents.free(extent),
    };
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}
