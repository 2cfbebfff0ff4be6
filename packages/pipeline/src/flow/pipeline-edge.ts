/**
 * A `FabricQueue` in a memory lease between two stages of one thread: the stage before it works on while the one behind
 * it waits, and the other way round, as far as the queue has room. Items cross as the codec writes them.
 */
import { FabricQueue } from "@selvage/collections";
import {
  FabricError,
  isFabricError,
  type Codec,
  type Fabric,
  type FabricEvent,
  type MemLease,
} from "@selvage/fabric";
import { LeaseScope, RenewalManager } from "@selvage/leasekit";
import { chunkOf, failed, offsetIn, type Chunk, type Feed } from "./pipeline-chunk.ts";
import { stageError, type PipelineRun, type StageBook } from "./pipeline-run.ts";

/** How often the leases are renewed where no keeper does, in milliseconds. */
const sweepEveryMs = 5;

/** The keeper may have to wait for a processor that the stages want, too: this leaves it more than half of the TTL. */
const policy = { renewAtFraction: 0.4 } as const;

/** The queues of one run: where they are leased, and what keeps them. */
export class EdgeDesk {
  /** Resolves once there may be leases. */
  readonly ready: Promise<void> | undefined;
  readonly #run: PipelineRun;
  readonly #fabric: Fabric;
  readonly #scope: LeaseScope;
  readonly #onEvent = new Map<string, (event: FabricEvent) => void>();

  constructor(run: PipelineRun) {
    this.#run = run;
    const { options, resolved, ports } = run;
    const fabric = options.fabric ?? ports.openFabric();
    this.#fabric = fabric;
    const own = options.renewals === undefined ? new RenewalManager(fabric) : undefined;
    const renewals = options.renewals === false ? undefined : (options.renewals ?? own);
    this.#scope = new LeaseScope(renewals, { ttlMs: resolved.ttlMs, policy });
    this.#scope.join();
    // Leases are kept by a thread beside this one: there are none before it is at work.
    this.ready = renewals === undefined ? Promise.resolve() : fabric.keeper()?.ready;
    const unsubscribe = fabric.subscribe((event) => this.#onEvent.get(event.leaseId)?.(event));
    const stopSweeping = ports.timer.every(sweepEveryMs, () => {
      if (fabric.keeper() === undefined) renewals?.sweep(fabric.nowMs());
    });
    run.onClose(() => {
      stopSweeping();
      this.#scope.release();
      own?.[Symbol.dispose]();
      unsubscribe();
      if (options.fabric === undefined) fabric[Symbol.dispose]();
    });
  }

  /** Leases room for a queue, and keeps it. @throws FabricError as `acquire`. */
  lease(label: string, bytes: number, heard: (event: FabricEvent) => void): MemLease {
    const { ttlMs } = this.#run.resolved;
    const lease = this.#fabric.mem().minBytes(bytes).leaseMs(ttlMs).label(label).acquire();
    this.#onEvent.set(lease.leaseId, heard);
    this.#scope.add(lease);
    return lease;
  }
}

/** One queue. Whoever reads it pulls; what fills it runs by itself. */
export class EdgeFeed<T> implements Feed<T> {
  readonly #run: PipelineRun;
  readonly #up: Feed<T>;
  readonly #writer: StageBook;
  readonly #reader: StageBook;
  readonly #queue: FabricQueue<T>;
  // Both ends are here: offsets need not be encoded. Ring of `capacity` offsets.
  readonly #offsets: Float64Array;
  #pushed = 0;
  #popped = 0;
  // Items that wait for room.
  #held = 0;
  #isRunning = false;
  // What comes after the last item: the end, or a failure.
  #end: { readonly failure: FabricError | undefined } | undefined;
  #onItems: (() => void) | undefined;
  #onRoom: (() => void) | undefined;

  constructor(
    run: PipelineRun,
    desk: EdgeDesk,
    up: Feed<T>,
    ends: { readonly writer: StageBook; readonly reader: StageBook; readonly codec: Codec<T> },
  ) {
    this.#run = run;
    this.#up = up;
    this.#writer = ends.writer;
    this.#reader = ends.reader;
    const { capacity, stride } = run.resolved;
    const label = `${ends.writer.name} -> ${ends.reader.name}`;
    const lease = desk.lease(label, FabricQueue.bytesFor(capacity, stride), (event) =>
      this.#heard(event),
    );
    this.#queue = new FabricQueue<T>(lease, capacity, stride, ends.codec);
    this.#offsets = new Float64Array(capacity);
    run.onClose(() => {
      // What nobody has popped had reached the reader, and came to nothing.
      this.#reader.itemsIn += this.#held + this.#pushed - this.#popped;
      this.#wake();
      this.#queue[Symbol.dispose]();
    });
    run.signal.addEventListener("abort", () => this.#wake());
  }

  async pull(): Promise<Chunk<T> | undefined> {
    if (!this.#isRunning) {
      this.#isRunning = true;
      void this.#fill();
    }
    for (;;) {
      if (this.#run.isOver) return undefined;
      if (this.#pushed > this.#popped) return this.#pop();
      const end = this.#end;
      if (end !== undefined) return end.failure === undefined ? undefined : failed(end.failure);
      await new Promise<void>((resolve) => (this.#onItems = resolve));
    }
  }

  #pop(): Chunk<T> {
    const items: T[] = [];
    const offsets: number[] = [];
    const { capacity } = this.#queue;
    const waiting = this.#pushed - this.#popped;
    let failure: FabricError | undefined;
    try {
      while (items.length < waiting) {
        items.push(this.#queue.pop() as T);
        offsets.push(this.#offsets[this.#popped % capacity] as number);
        this.#popped++;
      }
    } catch (thrown) {
      const offset = this.#offsets[this.#popped % capacity];
      failure = stageError(this.#reader.name, offset, thrown);
    }
    const room = this.#onRoom;
    this.#onRoom = undefined;
    room?.();
    return chunkOf(items, offsets, failure);
  }

  async #fill(): Promise<void> {
    for (;;) {
      const pulled = this.#up.pull();
      const chunk = pulled instanceof Promise ? await pulled : pulled;
      this.#held = chunk?.items.length ?? 0;
      if (this.#run.isOver) return this.#wake();
      if (chunk === undefined) return this.#finish(undefined);
      for (let at = 0; at < chunk.items.length; at++) {
        const offset = offsetIn(chunk, at);
        // Not `if`: there is room only until somebody else of this thread has taken it.
        for (;;) {
          const refused = this.#push(chunk.items[at] as T, offset);
          if (refused === false) break;
          if (isFabricError(refused)) return this.#finish(refused);
          this.#tellItems();
          await new Promise<void>((resolve) => (this.#onRoom = resolve));
          if (this.#run.isOver) return this.#wake();
        }
      }
      this.#tellItems();
      if (chunk.failure !== undefined) return this.#finish(chunk.failure);
      const breath = this.#run.breath();
      if (breath !== undefined) await breath;
    }
  }

  // False: it is in. True: there is no room. Else why it cannot go in.
  #push(item: T, offset: number): boolean | FabricError {
    const { capacity } = this.#queue;
    try {
      // A codec might make something else of it without a word.
      if (item === undefined)
        throw new FabricError("ENCODE", "Cannot encode: undefined is no item of a queue");
      if (this.#pushed - this.#popped === capacity || !this.#queue.push(item)) return true;
    } catch (thrown) {
      return stageError(this.#writer.name, offset, thrown, "ENCODE");
    }
    this.#offsets[this.#pushed % capacity] = offset;
    this.#pushed++;
    this.#held--;
    return false;
  }

  #finish(failure: FabricError | undefined): void {
    this.#end = { failure };
    this.#tellItems();
  }

  #heard(event: FabricEvent): void {
    if (!this.#run.isOver) this.#run.tell({ type: "lease", stage: this.#reader.name, event });
    // Its ends find out by themselves, once they look.
    if (event.type !== "expired" && event.type !== "revoked") return;
    if (this.#end?.failure !== undefined || this.#run.isOver) return;
    const lost = new FabricError(
      event.type === "expired" ? "LEASE_EXPIRED" : "REVOKED",
      "The queue is gone, and what was in it",
      { label: event.label, items: this.#pushed - this.#popped },
    );
    this.#run.fail(stageError(this.#reader.name, undefined, lost));
  }

  #tellItems(): void {
    const tell = this.#onItems;
    this.#onItems = undefined;
    tell?.();
  }

  #wake(): void {
    this.#tellItems();
    this.#onRoom?.();
  }
}
