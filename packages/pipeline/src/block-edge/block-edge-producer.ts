/** The producer's end of an edge between two processes: data and handoff record are on its own blocks. */
import {
  FabricError,
  invalidArgument,
  rawCodec,
  type BlockLease,
  type Codec,
  type Fabric,
} from "@selvage/fabric";
import { FencedRecordReader, HandoffReader, HandoffWriter } from "@selvage/fence";
import type { RetryPolicy } from "@selvage/leasekit";
import {
  ACK_KIND,
  BLOCK_EDGE_LEASE_MS,
  BLOCK_EDGE_POLL_MS,
  decodeAck,
  isAway,
  isLost,
  labelsOf,
  leaseOf,
  Peer,
  persist,
  persistPolicy,
  type BlockEdgeAck,
  type BlockEdgeOptions,
} from "./block-edge-peer.ts";
import { BatchSlots, itemBytes, slotRoom, type EdgeBatch } from "./block-edge-batches.ts";
import { sleep } from "../edge/edge-home.ts";
import { waitFor, type EdgeWaitOptions } from "../edge/edge-waits.ts";

/** How a producer's end behaves. */
export interface BlockProducerOptions<T> extends BlockEdgeOptions<T> {
  /** Batches that wait for the consumer at most. Default 64. */
  readonly slots?: number;
  /** Blocks of 512 bytes that a batch has. Default 8. */
  readonly slotBlocks?: number;
  /** How long an accepted item waits for others, before its batch is written. In milliseconds, default 2. */
  readonly lingerMs?: number;
  /** Number of the next item, where neither this file nor the consumer's can tell. */
  readonly from?: number;
}

// Somebody who waits for room.
interface Waiting {
  wake: (() => void) | undefined;
}

/**
 * Sends items to another process through a block file, and goes on where it was after either process was killed. Its source
 * begins at `nextSequence`, and a crash takes nothing that was durable: `flush()` says when that is.
 */
export class BlockEdgeProducer<T = Uint8Array> implements AsyncDisposable {
  readonly #fabric: Fabric;
  readonly #name: string;
  readonly #codec: Codec<T>;
  readonly #peer: Peer;
  readonly #options: Required<
    Pick<BlockProducerOptions<T>, "leaseMs" | "pollMs" | "slots" | "slotBlocks" | "lingerMs">
  >;
  readonly #retry: RetryPolicy;
  readonly #stop: () => void;
  #writer: HandoffWriter;
  #handoff: BlockLease;
  #data: BlockLease;
  #slots: BatchSlots;
  // Durable, and not dealt with.
  #unacknowledged: EdgeBatch[] = [];
  #batch = 0;
  #next = 0;
  // Accepted, and not durable.
  #items: Uint8Array[] = [];
  #bytes = 0;
  // For room, in the order of asking.
  #line: Waiting[] = [];
  #isFlushing = false;
  #ack: BlockEdgeAck | undefined;
  #work: Promise<void> = Promise.resolve();
  #hearing: Promise<void> | undefined;
  #failure: Error | undefined;
  #cancelLinger: (() => void) | undefined;
  #isClosed = false;
  #isLeft = false;
  // The last batch, once the stream was ended.
  #end: Promise<void> | undefined;
  #isEnded = false;
  #relocations = 0;

  private constructor(
    fabric: Fabric,
    name: string,
    options: BlockProducerOptions<T>,
    leases: { readonly handoff: BlockLease; readonly data: BlockLease },
    writer: HandoffWriter,
  ) {
    this.#fabric = fabric;
    this.#name = name;
    this.#codec = options.codec ?? (rawCodec as unknown as Codec<T>);
    this.#peer = new Peer(options.peer);
    this.#options = { ...defaults, ...defined(options) };
    this.#retry = persistPolicy(options.retry);
    this.#writer = writer;
    this.#handoff = leases.handoff;
    this.#data = leases.data;
    this.#slots = new BatchSlots(leases.data, this.#options.slotBlocks);
    const { leaseMs } = this.#options;
    const stopRenewing = fabric.timer.every(leaseMs / 3, () => {
      for (const lease of [this.#handoff, this.#data])
        lease.renew(leaseMs).catch((error: unknown) => {
          // This store takes nothing any more: the leases would end, and nobody hear why.
          if (isLost(error)) this.#fail(error);
        });
    });
    const unsubscribe = fabric.subscribe(({ type, leaseId }) => {
      const isOurs = leaseId === this.#data.leaseId || leaseId === this.#handoff.leaseId;
      if (!endings.has(type) || !isOurs || this.#isLeft) return;
      // Nobody may write for a long time, and the consumer waits for what was there.
      void this.#inTurn(() => this.#recover()).catch(() => {});
    });
    this.#stop = () => {
      stopRenewing();
      unsubscribe();
    };
  }

  /**
   * Takes up the edge `name` on the fabric's blocks, or makes it. The fabric's blocks are in a file.
   * @throws FabricError `INVALID_ARGUMENT`, `CAPACITY_EXCEEDED`, `STORE_UNAVAILABLE`; `NOT_FOUND`: what was sent is lost with its
   * lease, and neither the consumer nor `from` says where to go on.
   */
  static async open<T = Uint8Array>(
    fabric: Fabric,
    name: string,
    options: BlockProducerOptions<T>,
  ): Promise<BlockEdgeProducer<T>> {
    if (typeof options?.peer !== "function")
      throw invalidArgument("options.peer", "what opens the other process's fabric", options?.peer);
    const { leaseMs, slots, slotBlocks } = { ...defaults, ...defined(options) };
    const labels = labelsOf(name);
    const handoff =
      leaseOf(fabric, labels.handoff) ??
      (await acquire(fabric, labels.handoff, HandoffWriter.BLOCKS, leaseMs));
    const writer = await HandoffWriter.open(handoff, name);
    const found = leaseOf(fabric, labels.data);
    const data = found ?? (await acquire(fabric, labels.data, slots * slotBlocks, leaseMs));
    for (const lease of [handoff, data]) await lease.renew(leaseMs);
    const edge = new BlockEdgeProducer(fabric, name, options, { handoff, data }, writer);
    await edge.#takeUp(found !== undefined, options.from);
    return edge;
  }

  /** Number of the next item: where the source goes on. */
  get nextSequence(): number {
    return this.#next + this.#items.length;
  }

  /** Generation of the handoff record. */
  get generation(): number {
    return this.#writer.generation;
  }

  /** What this end has seen. */
  stats(): { readonly next: number; readonly acknowledged: number; readonly relocations: number } {
    const { next: acknowledged = 0 } = this.#ack ?? {};
    return { next: this.nextSequence, acknowledged, relocations: this.#relocations };
  }

  /**
   * Accepts an item; it is written with others. Waits while the consumer is as far behind as there are slots. False when the
   * time was up: then it was not accepted. Several at a time are accepted in the order of their calls.
   * @throws FabricError `CAPACITY_EXCEEDED` (longer than a batch), `ENCODE`, `DISCONNECTED` (closed), what writing threw; the
   * signal's reason.
   */
  async send(value: T, wait: EdgeWaitOptions = {}): Promise<boolean> {
    this.#assertOpen();
    const item = this.#codec.encode(value).slice();
    const room = slotRoom(this.#options.slotBlocks);
    if (itemBytes(item) > room)
      throw new FabricError("CAPACITY_EXCEEDED", "Cannot send: the item is longer than a batch", {
        bytes: item.length,
        bytesMax: room - itemBytes(new Uint8Array()),
      });
    if (this.#line.length === 0 && this.#accept(item)) return true;
    const place: Waiting = { wake: undefined };
    this.#line.push(place);
    try {
      const look = (): true | undefined => {
        this.#assertOpen();
        if (this.#line[0] !== place) return undefined;
        if (this.#accept(item)) return true;
        this.#flushSoon();
        return undefined;
      };
      return (await waitFor(this.#fabric, look, wait, (ms) => this.#woken(place, ms))) ?? false;
    } finally {
      this.#line = this.#line.filter((other) => other !== place);
      this.#line[0]?.wake?.();
    }
  }

  /** Resolves once everything that was accepted is durable. Errors as `send`. */
  flush(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#items.length > 0) await this.#commit();
    });
  }

  /**
   * Ends the stream. Resolves when the consumer has dealt with all of it, and gives the blocks back.
   * @throws FabricError `TIMED_OUT`, as `send`.
   */
  async close(wait: EdgeWaitOptions = {}): Promise<void> {
    if (this.#isEnded) return;
    if (this.#isLeft) throw left("close");
    this.#isClosed = true;
    if (this.#end === undefined) {
      this.#end = this.#inTurn(() => this.#commit(true));
      this.#end.catch(() => {});
      this.#wakeAll();
    }
    let isWritten = false;
    void this.#end.then(
      () => (isWritten = true),
      () => {},
    );
    const look = (): true | undefined => {
      if (this.#failure !== undefined) throw this.#failure;
      const { next = 0, hasEnded = false } = this.#ack ?? {};
      return (isWritten && hasEnded && next >= this.#next) || undefined;
    };
    const isDone = await waitFor(this.#fabric, look, wait, async (ms) => {
      await sleep(this.#fabric.timer, Math.min(ms, this.#options.pollMs));
      await this.#hear();
    });
    if (isDone === undefined)
      throw new FabricError("TIMED_OUT", "Not everything that was sent has been acknowledged", {
        next: this.nextSequence,
        acknowledged: this.#acknowledged,
      });
    this.#isEnded = true;
    await this[Symbol.asyncDispose]();
    for (const lease of [this.#data, this.#handoff]) {
      lease.release();
      await lease.settle();
    }
  }

  /** Leaves the edge as it is on the disk. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#isLeft = true;
    this.#cancelLinger?.();
    this.#wakeAll();
    this.#stop();
    await this.#work;
    await this.#hearing;
    await this.#peer.forget();
  }

  // Where to go on, by what is on the disk, or by what the consumer says.
  async #takeUp(wasThere: boolean, from: number | undefined): Promise<void> {
    const isFirst = this.#writer.generation === 0;
    const batches = wasThere ? await this.#slots.all() : [];
    const last = batches.at(-1);
    await this.#hear();
    if (last !== undefined) {
      const { next = 0, leaseId, batch = 0 } = this.#ack ?? {};
      // What the consumer has dealt with may have been read before it was durable, and be gone by a power cut.
      this.#batch = Math.max(last.batch + 1, leaseId === this.#data.leaseId ? batch : 0);
      this.#next = Math.max(last.first + last.items.length, next);
      this.#unacknowledged = batches.filter(
        ({ first, items }) => first + items.length > this.#acknowledged,
      );
    } else {
      const next = this.#ack?.next ?? from ?? (isFirst || wasThere ? 0 : undefined);
      if (next === undefined)
        throw new FabricError(
          "NOT_FOUND",
          "Cannot go on: what was sent is lost, and nobody says how far it was dealt with",
          {
            edge: this.#name,
          },
        );
      this.#next = next;
    }
    // Whoever made this lease may have died before it told of it.
    const { locator } = (await new HandoffReader(this.#handoff).poll()) ?? {};
    if (locator?.leaseId !== this.#data.leaseId || locator.generation !== this.#data.generation)
      await this.#publish();
  }

  get #acknowledged(): number {
    return this.#ack?.next ?? 0;
  }

  async #publish(): Promise<void> {
    if (isOver(this.#handoff)) {
      const { handoff } = labelsOf(this.#name);
      const { leaseMs } = this.#options;
      this.#handoff = await acquire(this.#fabric, handoff, HandoffWriter.BLOCKS, leaseMs);
      this.#writer = await HandoffWriter.open(this.#handoff, this.#name);
    }
    const { leaseId, slot, generation, numBlocks } = this.#data;
    const locator = { kind: "block", leaseId, slot, generation, firstBlock: 0, numBlocks } as const;
    await this.#persist(() => this.#writer.publish(locator));
  }

  #persist<R>(write: () => Promise<R>): Promise<R> {
    return persist(this.#fabric.timer, this.#retry, write, () => this.#isLeft);
  }

  #assertOpen(): void {
    if (this.#isClosed)
      throw new FabricError("DISCONNECTED", "Cannot send: the edge is closed", {});
    if (this.#failure !== undefined) throw this.#failure;
  }

  // Takes an item into the batch to come, if it has room.
  #accept(item: Uint8Array): boolean {
    if (this.#bytes + itemBytes(item) > slotRoom(this.#options.slotBlocks)) return false;
    this.#items.push(item);
    this.#bytes += itemBytes(item);
    this.#cancelLinger ??= this.#fabric.timer.after(this.#options.lingerMs, () => {
      this.#cancelLinger = undefined;
      this.#flushSoon();
    });
    return true;
  }

  // Once at a time, whoever asks: while the consumer is behind, they do so again and again.
  #flushSoon(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    void this.flush()
      .catch(() => {})
      .finally(() => {
        this.#isFlushing = false;
        // What came while the last batch was being written has lingered already.
        const isWaiting = this.#items.length > 0 && this.#cancelLinger === undefined;
        if (isWaiting && this.#failure === undefined && !this.#isLeft) this.#flushSoon();
      });
  }

  // Until there may be room for whoever is first in line.
  #woken(place: Waiting, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#fabric.timer.after(ms, resolve);
      place.wake = () => {
        cancel();
        resolve();
      };
    });
  }

  #wakeAll(): void {
    for (const { wake } of this.#line) wake?.();
  }

  #inTurn(run: () => Promise<void>): Promise<void> {
    const mine = this.#work.then(async () => {
      if (this.#failure !== undefined) throw this.#failure;
      await run();
    });
    this.#work = mine.catch((error: unknown) => this.#fail(error));
    return mine;
  }

  #fail(error: unknown): void {
    this.#failure ??=
      error instanceof Error ? error : new Error("writing failed", { cause: error });
    this.#wakeAll();
  }

  async #commit(isLast: boolean = false): Promise<void> {
    await this.#waitForRoom();
    const items = this.#items;
    this.#items = [];
    this.#bytes = 0;
    this.#cancelLinger?.();
    this.#cancelLinger = undefined;
    const batch = { batch: this.#batch++, first: this.#next, items, isLast };
    this.#next += items.length;
    this.#unacknowledged.push(batch);
    this.#line[0]?.wake?.();
    try {
      await this.#persist(() => this.#slots.write(batch));
    } catch (error) {
      if (!isLeaseOver(error)) throw error;
      await this.#relocate();
    }
  }

  // Where the data's lease has ended before its items were dealt with, or that of the record that leads to them.
  async #recover(): Promise<void> {
    if (this.#isLeft) return;
    if (!isOver(this.#data)) {
      if (isOver(this.#handoff)) await this.#publish();
    } else if (this.#unacknowledged.length > 0) await this.#relocate();
  }

  // The data's lease is over: all that is not acknowledged goes into a new one.
  async #relocate(): Promise<void> {
    const { slots, slotBlocks, leaseMs } = this.#options;
    await this.#hear();
    const { data } = labelsOf(this.#name);
    this.#data = await acquire(this.#fabric, data, slots * slotBlocks, leaseMs);
    this.#slots = new BatchSlots(this.#data, slotBlocks);
    this.#unacknowledged = this.#unacknowledged.map((batch, index) => ({ ...batch, batch: index }));
    this.#batch = this.#unacknowledged.length;
    this.#relocations++;
    for (const batch of this.#unacknowledged) await this.#persist(() => this.#slots.write(batch));
    await this.#publish();
  }

  // Until a batch that was dealt with leaves its slot.
  async #waitForRoom(): Promise<void> {
    while (this.#unacknowledged.length >= this.#slots.count) {
      await this.#hear();
      if (this.#unacknowledged.length < this.#slots.count) break;
      if (this.#isLeft) throw left("write");
      await this.#recover();
      await sleep(this.#fabric.timer, this.#options.pollMs);
    }
  }

  // One look at a time: two would close what the other reads.
  #hear(): Promise<void> {
    this.#hearing ??= this.#look().finally(() => (this.#hearing = undefined));
    return this.#hearing;
  }

  // What the consumer has dealt with.
  async #look(): Promise<void> {
    try {
      const lease = await this.#peer.lease(labelsOf(this.#name).acks);
      if (lease === undefined) return;
      const { state } = await new FencedRecordReader(lease, ACK_KIND).read();
      if (state === undefined) return;
      this.#ack = decodeAck(state);
      this.#unacknowledged = this.#unacknowledged.filter(
        ({ first, items, isLast }) =>
          first + items.length > this.#acknowledged || (isLast && this.#ack?.hasEnded !== true),
      );
    } catch (error) {
      if (!isAway(error)) throw error;
      await this.#peer.forget();
    }
  }
}

const defaults = {
  leaseMs: BLOCK_EDGE_LEASE_MS,
  pollMs: BLOCK_EDGE_POLL_MS,
  slots: 64,
  slotBlocks: 8,
  lingerMs: 2,
} as const;

function defined<O extends object>(options: O): O {
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as O;
}

function left(what: string): FabricError {
  return new FabricError("DISCONNECTED", `Cannot ${what}: this end has left the edge`, {});
}

function acquire(
  fabric: Fabric,
  label: string,
  blocks: number,
  leaseMs: number,
): Promise<BlockLease> {
  return fabric.block().minBlocks(blocks).leaseMs(leaseMs).label(label).acquire();
}

const endings: ReadonlySet<string> = new Set(["expired", "released", "revoked"]);

/** Whether a lease has ended in a way that another may take its place. @throws FabricError `REVOKED`. */
function isOver(lease: BlockLease): boolean {
  try {
    lease.ticket();
    return false;
  } catch (error) {
    if (isLeaseOver(error)) return true;
    throw error;
  }
}

function isLeaseOver(error: unknown): boolean {
  return (error as { code?: unknown }).code === "LEASE_EXPIRED";
}
