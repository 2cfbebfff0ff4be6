/** The consumer's end of an edge between two processes: what it has dealt with is on its own blocks. */
import {
  FabricError,
  invalidArgument,
  rawCodec,
  type BlockLease,
  type Codec,
  type Fabric,
} from "@selvage/fabric";
import { FencedRecord, HandoffReader } from "@selvage/fence";
import type { RetryPolicy } from "@selvage/leasekit";
import { BatchSlots, type EdgeBatch } from "./block-edge-batches.ts";
import {
  ACK_KIND,
  BLOCK_EDGE_LEASE_MS,
  BLOCK_EDGE_POLL_MS,
  decodeAck,
  encodeAck,
  isAway,
  labelsOf,
  leaseOf,
  Peer,
  persist,
  persistPolicy,
  type BlockEdgeAck,
  type BlockEdgeOptions,
} from "./block-edge-peer.ts";
import type { LostItems } from "../edge/edge-events.ts";
import { sleep } from "../edge/edge-home.ts";
import type { EdgeWaitOptions } from "../edge/edge-waits.ts";

/** How a consumer's end behaves. */
export interface BlockConsumerOptions<T> extends BlockEdgeOptions<T> {
  /** Number of the first item that was not dealt with, where the sink knows better than this file. */
  readonly from?: number;
  /** Blocks of a batch, as the producer's. Default 8. */
  readonly slotBlocks?: number;
  /** Is told of items that nobody has any more. */
  readonly onLost?: (items: LostItems) => void;
}

/** Blocks of the record of what was dealt with. */
const ACK_BLOCKS = 4;

interface Source {
  readonly leaseId: string;
  readonly slots: BatchSlots;
}

/**
 * Receives what a `BlockEdgeProducer` in another process sends, in order. Each item has a number, and `acknowledge` makes durable
 * that all up to one have been dealt with; after a crash, what was not comes again. A sink that stores `sequence` with its
 * effect sees each once.
 */
export class BlockEdgeConsumer<T = Uint8Array> implements AsyncDisposable {
  readonly #fabric: Fabric;
  readonly #name: string;
  readonly #codec: Codec<T>;
  readonly #peer: Peer;
  readonly #options: BlockConsumerOptions<T>;
  readonly #retry: RetryPolicy;
  readonly #lease: BlockLease;
  readonly #record: FencedRecord<BlockLease>;
  readonly #stopRenewing: () => void;
  #ack: BlockEdgeAck;
  #source: Source | undefined;
  #batch: number;
  #held: EdgeBatch | undefined;
  // Of the held batch: how many of its items were given.
  #given = 0;
  #expected: number;
  #isOver = false;
  #isLeft = false;
  #looks = 0;
  #dropped = 0;

  private constructor(
    fabric: Fabric,
    name: string,
    options: BlockConsumerOptions<T>,
    lease: BlockLease,
    record: FencedRecord<BlockLease>,
    ack: BlockEdgeAck | undefined,
  ) {
    this.#fabric = fabric;
    this.#name = name;
    this.#options = options;
    this.#codec = options.codec ?? (rawCodec as unknown as Codec<T>);
    this.#peer = new Peer(options.peer);
    this.#retry = persistPolicy(options.retry);
    this.#lease = lease;
    this.#record = record;
    this.#ack = ack ?? { next: 0, leaseId: "", batch: 0, hasEnded: false };
    this.#expected = options.from ?? this.#ack.next;
    this.#batch = this.#ack.batch;
    this.#isOver = this.#ack.hasEnded;
    const { leaseMs = BLOCK_EDGE_LEASE_MS } = options;
    this.#stopRenewing = fabric.timer.every(leaseMs / 3, () => {
      void lease.renew(leaseMs).catch(() => {});
    });
  }

  /**
   * Takes up the edge `name`. The fabric's blocks are in a file of this process's own.
   * @throws FabricError `INVALID_ARGUMENT`, `CAPACITY_EXCEEDED`, `STORE_UNAVAILABLE`, `CORRUPT_RECORD`.
   */
  static async open<T = Uint8Array>(
    fabric: Fabric,
    name: string,
    options: BlockConsumerOptions<T>,
  ): Promise<BlockEdgeConsumer<T>> {
    if (typeof options?.peer !== "function")
      throw invalidArgument("options.peer", "what opens the other process's fabric", options?.peer);
    const { leaseMs = BLOCK_EDGE_LEASE_MS } = options;
    const { acks } = labelsOf(name);
    const lease =
      leaseOf(fabric, acks) ??
      (await fabric.block().minBlocks(ACK_BLOCKS).leaseMs(leaseMs).label(acks).acquire());
    await lease.renew(leaseMs);
    const record = new FencedRecord(lease, ACK_KIND);
    const { state } = await record.read();
    const ack = state === undefined ? undefined : decodeAck(state);
    return new BlockEdgeConsumer(fabric, name, options, lease, record, ack);
  }

  /** Number of the item that was popped last; one less than the first to come before that. */
  get sequence(): number {
    return this.#expected - 1;
  }

  /** True once the stream has ended, and everything in it was popped. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** What this end has seen. */
  stats(): { readonly next: number; readonly acknowledged: number; readonly dropped: number } {
    return { next: this.#expected, acknowledged: this.#ack.next, dropped: this.#dropped };
  }

  /** The next item; undefined when the time was up, or the stream is over. @throws FabricError `DECODE`, what reading threw. */
  async popAsync({ timeoutMs = Infinity, signal }: EdgeWaitOptions = {}): Promise<T | undefined> {
    const untilMs = this.#fabric.nowMs() + timeoutMs;
    for (;;) {
      if (signal?.aborted === true) throw signal.reason;
      const item = this.#take();
      if (item !== undefined) return this.#codec.decode(item);
      if (this.#isOver) {
        // Whoever has acknowledged all items has nothing more to say.
        if (this.#ack.next === this.#expected) await this.acknowledge();
        return undefined;
      }
      if (await this.#look()) continue;
      if (this.#fabric.nowMs() >= untilMs) return undefined;
      await sleep(this.#fabric.timer, this.#options.pollMs ?? BLOCK_EDGE_POLL_MS);
    }
  }

  /** Items until the stream is over. Whoever wants them only once acknowledges them. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      const value = await this.popAsync();
      if (value === undefined) return;
      yield value;
    }
  }

  /**
   * Makes durable that everything that was popped has been dealt with. Two blocks are read and one is written.
   * @throws FabricError `STALE_EPOCH` (another consumer has taken this edge over), `LEASE_EXPIRED`, `REVOKED` (what was dealt with
   * is not known any more: open it anew, with `from`), `STORE_UNAVAILABLE`, as `FencedRecord.write`.
   */
  async acknowledge(): Promise<void> {
    const hasEnded = this.#isOver;
    // What was made durable has gone with its lease: the producer waits for it for ever.
    this.#lease.ticket();
    if (this.#ack.next === this.#expected && this.#ack.hasEnded === hasEnded) return;
    const leaseId = this.#source?.leaseId ?? this.#ack.leaseId;
    const ack = { next: this.#expected, leaseId, batch: this.#batch, hasEnded };
    const write = (): Promise<number> => this.#record.write(encodeAck(ack));
    await persist(this.#fabric.timer, this.#retry, write, () => this.#isLeft);
    this.#ack = ack;
  }

  /** Leaves the edge as it is on the disk. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isLeft = true;
    this.#stopRenewing();
    await this.#peer.forget();
  }

  // The next item of the batch that is here.
  #take(): Uint8Array | undefined {
    const held = this.#held;
    if (held === undefined) return undefined;
    while (this.#given < held.items.length) {
      const item = held.items[this.#given] as Uint8Array;
      const number = held.first + this.#given++;
      const isDone = this.#given === held.items.length;
      if (number < this.#expected) this.#dropped++;
      else {
        if (number > this.#expected) this.#options.onLost?.({ from: this.#expected, to: number });
        this.#expected = number + 1;
        if (isDone) this.#finish(held);
        return item;
      }
    }
    this.#finish(held);
    return undefined;
  }

  #finish({ isLast }: EdgeBatch): void {
    this.#held = undefined;
    this.#given = 0;
    this.#batch++;
    if (isLast) this.#isOver = true;
  }

  // Looks for the next batch. True when something has changed.
  async #look(): Promise<boolean> {
    try {
      // Now and then, whether the producer has moved.
      const isDue = ++this.#looks % 64 === 0 || this.#source === undefined;
      if (isDue) await this.#connect();
      if (this.#source === undefined) return false;
      this.#held = await this.#next(this.#source, isDue);
      if (this.#held !== undefined) this.#looks = 0;
      return this.#held !== undefined;
    } catch (error) {
      if (!isAway(error)) throw error;
      this.#source = undefined;
      await this.#peer.forget();
      return false;
    }
  }

  // The batch that comes next. A power cut may have taken the one before it once it was read, before it was durable: its
  // producer then writes it anew, with what it has by now.
  async #next({ slots }: Source, isDue: boolean): Promise<EdgeBatch | undefined> {
    let found = await slots.read(this.#batch);
    if (found === undefined && !isDue) return undefined;
    // An acknowledgement that was not durable may have been read, too: then what follows stands where this one's batch stood.
    const at = found === undefined ? await this.#beginsAt(slots) : 0;
    if (at > this.#batch) {
      this.#batch = at;
      found = await slots.read(at);
    }
    while (this.#batch > 0 && (found === undefined || found.first > this.#expected)) {
      const before = await slots.read(this.#batch - 1);
      if (before === undefined || (endOf(before) <= this.#expected && !before.isLast)) break;
      this.#batch--;
      found = before;
    }
    return found;
  }

  // In a lease that was not read before. Its first batches may be gone: what they had was acknowledged in the lease before.
  async #beginsAt(slots: BatchSlots): Promise<number> {
    const batches = await slots.all();
    const next = batches.find((batch) => endOf(batch) > this.#expected || batch.isLast);
    return next?.batch ?? (batches.at(-1)?.batch ?? -1) + 1;
  }

  async #connect(): Promise<void> {
    const handoff = await this.#peer.lease(labelsOf(this.#name).handoff);
    const state = handoff && (await new HandoffReader(handoff).poll());
    if (state === undefined || handoff === undefined) return;
    const { locator } = state;
    if (locator.kind !== "block")
      throw new FabricError("CONFLICT", "Cannot follow the record: it leads to no blocks", {
        edge: this.#name,
        kind: locator.kind,
      });
    if (locator.leaseId === this.#source?.leaseId) return;
    const lease = await this.#peer.attach(handoff, locator);
    const isKnown = this.#source === undefined && locator.leaseId === this.#ack.leaseId;
    const slots = new BatchSlots(lease, this.#options.slotBlocks ?? 8);
    const batch = isKnown ? this.#ack.batch : await this.#beginsAt(slots);
    this.#batch = batch;
    this.#held = undefined;
    this.#given = 0;
    this.#source = { leaseId: locator.leaseId, slots };
  }
}

// Number of the first item behind a batch.
function endOf({ first, items }: EdgeBatch): number {
  return first + items.length;
}
