/** Where an edge's next ring comes from: a writer makes it and publishes it, a reader finds it. */
import { FabricQueue, type QueueOptions } from "@selvage/collections";
import { FabricError, isFabricError, type Codec, type MemLease, type Timer } from "@selvage/fabric";
import type { HandoffState, Locator, QueueLocator } from "@selvage/fence";

/** What publishes an edge's ring. A `HandoffWriter` is one. */
export interface EdgeWriter {
  readonly generation: number;
  publish(locator: Locator): Promise<HandoffState>;
}

/** What says where an edge's ring is. A `HandoffReader` is one. */
export interface EdgeReader {
  readonly generation: number;
  poll(): Promise<HandoffState | undefined>;
}

/** What leads a consumer's end to its rings. A `Fabric` is one; where there is none, a port to another thread's. */
export interface EdgeFabric {
  readonly timer: Timer;
  nowMs(): number;
  leaseAt(locator: QueueLocator): MemLease | Promise<MemLease>;
}

/** Either. */
export type EdgeHandoff = EdgeWriter | EdgeReader;

/** A ring, and the generation under which it is published. */
export interface EdgeRing<T> {
  readonly queue: FabricQueue<T>;
  readonly generation: number;
}

/** The end of a stream, as the record tells it. */
export interface EdgeEnd {
  /** Number of the item that would have been next. */
  readonly endedAt: number;
}

/** What each ring of an edge is like. */
export interface EdgeShape<T> {
  readonly capacity: number;
  readonly stride: number;
  readonly codec: Codec<T>;
  readonly options: QueueOptions;
}

/** Is called with a ring before anybody may count on it. */
export type PrepareRing<T> = (queue: FabricQueue<T>, generation: number) => void;

/** Gives an edge its rings, one after the other. */
export interface EdgeHome<T> {
  readonly generation: number;
  /** Whether it makes rings, and so gives them back. */
  readonly isMaker: boolean;
  /**
   * The next ring: `prepare` is called with it, and the generation that it is to have, before anybody else is told of it, or may
   * count on it. Resolves with undefined when there is none yet: to be asked again.
   */
  next(prepare: PrepareRing<T>): Promise<EdgeRing<T> | EdgeEnd | undefined>;
  /** Says for good that the stream ends before number `endedAt`. Nothing, for whoever only reads. */
  end(queue: FabricQueue<T>, endedAt: number): Promise<void>;
}

/** Makes rings in new leases, and publishes them. */
export class WriterHome<T> implements EdgeHome<T> {
  readonly isMaker = true;
  readonly #writer: EdgeWriter;
  readonly #shape: EdgeShape<T>;
  readonly #acquire: (bytes: number) => MemLease | Promise<MemLease>;

  constructor(
    writer: EdgeWriter,
    shape: EdgeShape<T>,
    acquire: (bytes: number) => MemLease | Promise<MemLease>,
  ) {
    this.#writer = writer;
    this.#shape = shape;
    this.#acquire = acquire;
  }

  get generation(): number {
    return this.#writer.generation;
  }

  async next(prepare: PrepareRing<T>): Promise<EdgeRing<T>> {
    const { capacity, stride, codec, options } = this.#shape;
    const lease = await this.#acquire(FabricQueue.bytesFor(capacity, stride, options));
    try {
      const queue = new FabricQueue(lease, capacity, stride, codec, options);
      prepare(queue, this.#writer.generation + 1);
      const { generation } = await this.#writer.publish(locatorOf(queue));
      return { queue, generation };
    } catch (error) {
      // E5: nobody was told of it, or somebody else's ring is the one that counts.
      lease.release();
      throw error;
    }
  }

  async end({ lease }: FabricQueue<T>, endedAt: number): Promise<void> {
    const { leaseId, slot, generation } = lease;
    const nowhere = { leaseId, slot, generation, offset: endedAt, bytes: 0 };
    await this.#writer.publish({ kind: "mem", ...nowhere });
  }
}

/** Finds rings by the handoff record. */
export class ReaderHome<T> implements EdgeHome<T> {
  readonly isMaker = false;
  readonly #reader: EdgeReader;
  readonly #codec: Codec<T>;
  readonly #resolve: (locator: QueueLocator) => MemLease | Promise<MemLease>;
  #found: HandoffState | undefined;

  constructor(
    reader: EdgeReader,
    codec: Codec<T>,
    resolve: (locator: QueueLocator) => MemLease | Promise<MemLease>,
  ) {
    this.#reader = reader;
    this.#codec = codec;
    this.#resolve = resolve;
  }

  get generation(): number {
    return this.#reader.generation;
  }

  async end(): Promise<void> {}

  async next(prepare: PrepareRing<T>): Promise<EdgeRing<T> | EdgeEnd | undefined> {
    this.#found = (await this.#reader.poll()) ?? this.#found;
    const state = this.#found;
    if (state === undefined) return undefined;
    const { locator } = state;
    if (locator.kind === "mem" && locator.bytes === 0) return { endedAt: locator.offset };
    let queue: FabricQueue<T>;
    try {
      queue = FabricQueue.attach(await this.#resolve(queueLocatorOf(state)), this.#codec);
      prepare(queue, state.generation);
    } catch (error) {
      if (!isGone(error)) throw error;
      // That ring is over too: the next generation tells of another.
      this.#found = undefined;
      return undefined;
    }
    this.#found = undefined;
    return { queue, generation: state.generation };
  }
}

/** Whether an error means that a ring is over, and another can take its place. */
export function isGone(error: unknown): boolean {
  return isFabricError(error) && goneCodes.has(error.code);
}
const goneCodes: ReadonlySet<string> = new Set([
  "LEASE_EXPIRED",
  "DISCONNECTED",
  "CORRUPT_RECORD",
  "NOT_FOUND",
  "REVOKED",
]);

/** Where a queue is. */
export function locatorOf<T>({ lease, capacity, stride }: FabricQueue<T>): QueueLocator {
  const { leaseId, slot, generation } = lease;
  return { kind: "queue", leaseId, slot, generation, offset: 0, capacity, stride };
}

/** The locator of a queue. @throws FabricError `CONFLICT`: the record leads to something else. */
function queueLocatorOf({ stageId, locator }: HandoffState): QueueLocator {
  if (locator.kind === "queue") return locator;
  throw new FabricError("CONFLICT", "Cannot follow the record: it leads to no queue", {
    stageId,
    kind: locator.kind,
  });
}

/** Waits. */
export function sleep(timer: Timer, ms: number): Promise<void> {
  return new Promise((resolve) => void timer.after(ms, resolve));
}
