/** A queue between two stages that goes on when its memory is lost: in a new lease, with nothing missing or twice. */
import { FabricQueue } from "@selvage/collections";
import {
  fabricOf,
  FabricError,
  invalidArgument,
  rawCodec,
  regionOf,
  type AbortSignalLike,
  type Codec,
} from "@selvage/fabric";
import { FenceEpoch, type QueueLocator } from "@selvage/fence";
import {
  EDGE_TICK_MS,
  type EdgeAttachOptions,
  type EdgeOptions,
  type EdgeStats,
  type LostItems,
  type RelocationCause,
} from "./edge-events.ts";
import {
  locatorOf,
  ReaderHome,
  sleep,
  WriterHome,
  type EdgeFabric,
  type EdgeHandoff,
  type EdgeHome,
  type EdgeReader,
} from "./edge-home.ts";
import { EdgeMover, type EdgeClock } from "./edge-mover.ts";
import {
  acquireOf,
  checkLocator,
  checkOptions,
  isReader,
  isWriter,
  resolveOf,
} from "./edge-options.ts";
import { EdgeReceiver } from "./edge-receiver.ts";
import { BELL_MS_MAX, blockOn, nothingFound, streamIsOver } from "./edge-waits.ts";
import { EdgeSender } from "./edge-sender.ts";

/** How long to wait. */
export interface EdgeWaitOptions {
  /** In milliseconds. Default: as long as it takes. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignalLike;
}

/** While only an acknowledgement would help. */
const acknowledgeMs = 1;
/** Numbers begin anew so far apart: no generation carries as many items. */
const anewStep = 2 ** 32;

/**
 * One end of an edge, or both: a `FabricQueue` that is replaced when it is lost, without the stages noticing more than a pause.
 *
 * With a `HandoffWriter` it makes the rings: when one's lease ends (`LEASE_EXPIRED`), when it is closed or gone
 * (`DISCONNECTED`) or damaged (`CORRUPT_RECORD`), it acquires a new lease, puts into it what was pushed and not acknowledged,
 * and publishes where it is. With a `HandoffReader` it follows. `REVOKED` is thrown: call `relocate()` once you are admitted again.
 *
 * Items are numbered in the order of their acceptance. The producer keeps its own copy of each until it is acknowledged; the
 * consumer drops what it has seen. So, with both ends alive, every item arrives once, in order. A consumer that dies leaves what it
 * had not acknowledged: the next one gets that again, and a sink that stores `sequence` with its effect sees it once. A producer
 * that dies takes with it what was not in the ring; what nobody has any more is told as lost. An edge is in the memory of one
 * process: it is no replication.
 *
 * A push costs one copy more than a queue's.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fabric, FabricQueue, HandoffReader, HandoffWriter, RelocatableQueueEdge } from "selvage";
 *
 * await using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 16 });
 * const blocks = await fabric.block().minBlocks(HandoffWriter.BLOCKS).acquire();
 * const lease = fabric.mem().minBytes(FabricQueue.bytesFor(64, 256)).leaseMs(50).acquire();
 * const locator = RelocatableQueueEdge.locatorOf(new FabricQueue(lease, 64, 256));
 * const writer = new HandoffWriter(blocks, "parse");
 * await writer.publish(locator);
 *
 * using producer = new RelocatableQueueEdge(FabricQueue.attach(lease), locator, writer);
 * using consumer = await RelocatableQueueEdge.attach(fabric, new HandoffReader(blocks));
 * await producer.send(Uint8Array.of(1));
 * lease.release(); // or it runs out
 * await producer.send(Uint8Array.of(2));
 * assert.deepEqual(await consumer.popAsync(), Uint8Array.of(1));
 * assert.deepEqual(await consumer.popAsync(), Uint8Array.of(2));
 * assert.equal(consumer.generation().value, 2);
 * ```
 */
export class RelocatableQueueEdge<T = Uint8Array> implements Disposable {
  readonly #mover: EdgeMover<T>;
  readonly #clock: EdgeClock;
  readonly #options: EdgeOptions;
  readonly #isWriter: boolean;
  // While the edge moves, neither end is open.
  #pushing: EdgeSender<T> | undefined;
  #popping: EdgeReceiver<T> | undefined;
  #sending: Promise<unknown> | undefined;
  #isClosed = false;

  /**
   * An end of an edge whose ring is `queue`, published as `locator`. With a writer it is the producer's, and may be the
   * consumer's as well.
   * @throws FabricError `INVALID_ARGUMENT`, `UNSUPPORTED` (a queue for many), `CONFLICT` (`locator` is another queue's),
   * `CORRUPT_RECORD`, the lease's.
   */
  constructor(
    queue: FabricQueue<T>,
    locator: QueueLocator,
    handoff: EdgeHandoff,
    options: EdgeOptions = {},
  ) {
    if (!(queue instanceof FabricQueue)) throw invalidArgument("queue", "a FabricQueue", queue);
    checkOptions(options);
    checkLocator(queue, locator);
    const { codec, many, records } = queue.settings;
    if (many)
      throw new FabricError("UNSUPPORTED", "Cannot make an edge of a queue for many", { many });
    const { site } = regionOf(queue.lease);
    this.#clock = { timer: site.timer, nowMs: () => site.nowMs() };
    this.#options = options;
    const fabric = fabricOf(queue.lease);
    let home: EdgeHome<T>;
    if (isWriter(handoff)) {
      const { capacity, stride } = queue;
      const shape = { capacity, stride, codec, options: { records } };
      home = new WriterHome(handoff, shape, acquireOf(fabric, options));
    } else if (isReader(handoff)) {
      const isSender = (): boolean => this.#mover.ends.sender !== undefined;
      home = new ReaderHome(handoff, codec, resolveOf(fabric, options), isSender);
    } else throw invalidArgument("handoff", "a HandoffWriter or a HandoffReader", handoff);
    this.#isWriter = home.isMaker;
    this.#mover = new EdgeMover(queue, home, this.#clock, options);
    // At once: whoever makes the next ring knows what it begins with.
    if (home.isMaker) this.#openSender(queue);
  }

  /**
   * The consumer's end of the edge whose record `reader` reads: waits for a ring that stands, `timeoutMs` at most (default 5,000).
   * @throws FabricError `NOT_FOUND` (nothing was published), `DISCONNECTED` (the stream is over, all of it was acknowledged), `LEASE_EXPIRED` (what was published is over, and nothing followed),
   * as the constructor, as `HandoffReader.poll`.
   */
  static async attach<T = Uint8Array>(
    fabric: EdgeFabric,
    reader: EdgeReader,
    options: EdgeAttachOptions<T> & EdgeWaitOptions = {},
  ): Promise<RelocatableQueueEdge<T>> {
    const { codec = rawCodec as unknown as Codec<T>, timeoutMs = attachMs, signal } = options;
    const resolve = resolveOf(fabric, options);
    const home = new ReaderHome(reader, codec, resolve, () => false);
    const untilMs = fabric.nowMs() + timeoutMs;
    for (;;) {
      if (signal?.aborted === true) throw signal.reason;
      const ring = await home.next(() => {});
      if (ring !== undefined && "endedAt" in ring) throw streamIsOver(ring.endedAt);
      if (ring !== undefined)
        return new RelocatableQueueEdge(ring.queue, locatorOf(ring.queue), reader, {
          ...options,
          resolve,
        });
      if (fabric.nowMs() >= untilMs) throw nothingFound(reader.generation, timeoutMs);
      await sleep(fabric.timer, Math.min(options.tickMs ?? EDGE_TICK_MS, timeoutMs));
    }
  }

  /** Where a queue is, to be published. */
  static locatorOf<T>(queue: FabricQueue<T>): QueueLocator {
    return locatorOf(queue);
  }

  /** The generation of the handoff record that this end follows. */
  generation(): FenceEpoch {
    return FenceEpoch.of(this.#mover.generation);
  }

  /**
   * Pushes a value: true once it is accepted, and will arrive; false when there is no room, or the edge is moving.
   * @throws FabricError `CAPACITY_EXCEEDED`, `ENCODE`, `CONFLICT`, `REVOKED`, as `FabricQueue.push`; `DISCONNECTED` (closed); what
   * has ended the edge: `STALE_EPOCH` (another writer has it), or why it could not move.
   */
  push(value: T): boolean {
    const sender = this.#pushing ?? this.#toPush();
    if (sender === undefined) return false;
    try {
      return sender.push(value);
    } catch (error) {
      this.#lapsed(error);
      return false;
    }
  }

  /** As `push`, waiting for room, and while the edge moves. False when the time was up. One at a time: others wait for it. */
  async send(value: T, options: EdgeWaitOptions = {}): Promise<boolean> {
    if (this.#sending === undefined && this.push(value)) return true;
    const before = this.#sending;
    const mine = (async () => {
      await before;
      return this.#wait(
        () => this.push(value) || undefined,
        options,
        () => this.#roomSoon(),
      );
    })();
    const settled = mine.catch(() => {});
    this.#sending = settled;
    try {
      return (await mine) ?? false;
    } finally {
      if (this.#sending === settled) this.#sending = undefined;
    }
  }

  /**
   * The next item; undefined when there is none, while the edge moves, and at the end.
   * @throws FabricError `DECODE` (the item has been taken out), `CONFLICT`, `REVOKED`, as `FabricQueue.pop`; what has ended the edge.
   */
  pop(): T | undefined {
    const receiver = this.#popping ?? this.#toPop();
    if (receiver === undefined) return undefined;
    try {
      const value = receiver.pop();
      if (value === undefined && receiver.isSealed) this.#sealed(receiver);
      return value;
    } catch (error) {
      this.#lapsed(error);
      return undefined;
    }
  }

  /** As `pop`, to the front of `target`: how many bytes the item has, or -1. Allocates nothing. */
  popInto(target: Uint8Array): number {
    const receiver = this.#popping ?? this.#toPop();
    if (receiver === undefined) return -1;
    try {
      const bytes = receiver.popInto(target);
      if (bytes < 0 && receiver.isSealed) this.#sealed(receiver);
      return bytes;
    } catch (error) {
      this.#lapsed(error);
      return -1;
    }
  }

  /** As `pop`, waiting: undefined when the time was up, or the stream is over. */
  async popAsync(options: EdgeWaitOptions | number = {}): Promise<T | undefined> {
    const wait = typeof options === "number" ? { timeoutMs: options } : options;
    return this.#wait(
      () => this.pop(),
      wait,
      () => this.#itemSoon(),
      () => this.isOver,
    );
  }

  /**
   * Blocks the thread until there is an item, for up to `timeoutMs`. False when the time was up, and at once while the edge moves
   * and when the stream is over: a move takes turns of the event loop.
   */
  waitForItem(timeoutMs: number = Infinity): boolean {
    return this.#block((queue, ms) => queue.waitForItem(ms), timeoutMs);
  }

  /** Blocks the thread until an item can be pushed, as `waitForItem` does. */
  waitForRoom(timeoutMs: number = Infinity): boolean {
    return this.#block((queue, ms) => queue.waitForRoom(ms), timeoutMs);
  }

  /** Items until the stream is over. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      let value = this.pop();
      if (value === undefined) value = await this.popAsync();
      if (value === undefined) return;
      yield value;
    }
  }

  /** Number of the item that was popped last; -1 before the first. What a sink stores with its effect. */
  get sequence(): number {
    return (this.#mover.ends.receiver?.expected ?? 0) - 1;
  }

  /** Number of the item that is pushed next. From where a source goes on. */
  get nextSequence(): number {
    return this.#mover.ends.sender?.next ?? 0;
  }

  /** With `acknowledge: "manual"`: all items up to number `sequence`, the last one that was popped, have been dealt with. */
  acknowledge(sequence: number = this.sequence): void {
    const receiver = this.#popping ?? this.#toPop();
    // While the edge moves: they come again, and are dropped.
    if (receiver === undefined) return;
    if (!Number.isSafeInteger(sequence) || sequence > this.sequence)
      throw invalidArgument("sequence", "the number of an item that was popped", sequence);
    receiver.acknowledge(sequence);
  }

  /** True once the stream has been closed, and everything in it was popped. */
  get isOver(): boolean {
    return this.#mover.isOver;
  }

  /**
   * With a writer: moves to a new ring. With a reader: looks at the record, and goes to a newer ring where there is one. Resolves
   * when that is done. It also tries again what had failed, and lets an edge whose lease was revoked be admitted again.
   * @throws FabricError as `push`.
   */
  async relocate(): Promise<void> {
    this.#mover.forgetFailure();
    [this.#pushing, this.#popping] = [undefined, undefined];
    if (this.#isWriter) await this.#mover.move("asked");
    else await this.#mover.follow();
    // Throws what went wrong.
    void this.#mover.queue;
  }

  /** Publishes what was pushed, and acknowledges what was dealt with. */
  flush(): void {
    try {
      this.#pushing?.flush();
      this.#popping?.tell();
    } catch (error) {
      this.#lapsed(error);
    }
  }

  /** What this end has seen. */
  stats(): EdgeStats {
    return this.#mover.stats();
  }

  /**
   * The producer's last word: no item follows. Resolves when all are acknowledged and the record says that the stream is over,
   * and gives the memory back.
   * @throws FabricError `TIMED_OUT` (`unacknowledged` in `details`; the edge goes on until it is disposed of), what ended the edge.
   */
  async close(options: EdgeWaitOptions = {}): Promise<void> {
    await this.#sending;
    this.#isClosed = true;
    this.#pushing = undefined;
    const { ends } = this.#mover;
    const { sender } = ends;
    if (sender === undefined) return this.#mover.leave();
    this.#endStream(sender);
    const isDone = (): true | undefined => {
      void this.#mover.queue;
      return sender.unacknowledged === 0 || undefined;
    };
    const done = await this.#wait(isDone, options, () => sleep(this.#clock.timer, acknowledgeMs));
    if (done !== true)
      throw new FabricError("TIMED_OUT", "Not everything that was pushed has been acknowledged", {
        unacknowledged: sender.unacknowledged,
      });
    await this.#mover.close(sender.next);
  }

  /** Leaves the edge at once. A ring is left as it is, for whoever takes this end over. Idempotent. */
  [Symbol.dispose](): void {
    this.flush();
    [this.#pushing, this.#popping] = [undefined, undefined];
    this.#mover.leave();
  }

  #openSender(queue: FabricQueue<T>): EdgeSender<T> {
    const { from } = this.#options;
    const { generation } = this.#mover;
    if (from === "unknown" && generation === 0)
      throw invalidArgument("handoff", "a writer that has published: numbers begin anew", from);
    const first =
      from === "unknown"
        ? { number: generation * anewStep, isAnew: true }
        : from === undefined
          ? undefined
          : { number: from, isAnew: false };
    const sender = new EdgeSender(queue, first);
    this.#mover.ends.sender = sender;
    return sender;
  }

  // The way in, where there is one now.
  #toPush(): EdgeSender<T> | undefined {
    if (this.#isClosed)
      throw new FabricError("DISCONNECTED", "Cannot push: the edge is closed", {});
    const { queue, ends } = this.#mover;
    if (queue === undefined) return undefined;
    const sender = ends.sender ?? this.#openSender(queue);
    // Somebody else has pushed there, or not as much.
    if (!sender.hasJoined && !sender.isInStep && this.#isWriter) {
      this.#go("producer-died");
      return undefined;
    }
    sender.hasJoined = true;
    return (this.#pushing = sender);
  }

  // The way out, where there is one now.
  #toPop(): EdgeReceiver<T> | undefined {
    const { queue, ends } = this.#mover;
    if (queue === undefined) return undefined;
    if (ends.receiver === undefined) {
      const { from, acknowledge } = this.#options;
      const own = this.#isWriter || from === "unknown" ? undefined : from;
      const ears = {
        dropped: (count: number) => this.#mover.tell({ type: "dropped", count }),
        lost: (items: LostItems) => this.#mover.tell({ type: "lost", items }),
      };
      ends.receiver = new EdgeReceiver(queue, own, acknowledge === "manual", ears);
    }
    if (ends.receiver.isBehind) {
      ends.receiver.ask();
      this.#go("consumer-died");
      return undefined;
    }
    return (this.#popping = ends.receiver);
  }

  #endStream(sender: EdgeSender<T>): void {
    try {
      sender.end();
    } catch (error) {
      this.#lapsed(error);
    }
  }

  // The ring takes nothing more, and is empty: the stream is over, or goes on in another.
  #sealed(receiver: EdgeReceiver<T>): void {
    if (!receiver.isOver) return this.#go("disconnected");
    this.#popping = undefined;
    this.#mover.finish();
  }

  #lapsed(error: unknown): void {
    [this.#pushing, this.#popping] = [undefined, undefined];
    this.#mover.lapsed(error);
  }

  #go(cause: RelocationCause): void {
    [this.#pushing, this.#popping] = [undefined, undefined];
    void this.#mover.move(cause);
  }

  // Looks, waits for something to happen, and looks again.
  async #wait<R>(
    look: () => R | undefined,
    { timeoutMs = Infinity, signal }: EdgeWaitOptions,
    soon: (ms: number) => Promise<unknown>,
    isOver: () => boolean = () => false,
  ): Promise<R | undefined> {
    if (typeof timeoutMs !== "number" || !(timeoutMs >= 0))
      throw invalidArgument("timeoutMs", "milliseconds from 0 up", timeoutMs);
    const untilMs = this.#clock.nowMs() + timeoutMs;
    for (;;) {
      if (signal?.aborted === true) throw signal.reason;
      const found = look();
      if (found !== undefined || isOver()) return found;
      const leftMs = untilMs - this.#clock.nowMs();
      if (leftMs <= 0) return undefined;
      await soon(Math.min(leftMs, BELL_MS_MAX));
    }
  }

  #block(look: (queue: FabricQueue<T>, ms: number) => boolean, timeoutMs: number): boolean {
    const { queue } = this.#mover;
    if (queue === undefined) return false;
    this.flush();
    try {
      return blockOn(queue, look, this.#clock, timeoutMs);
    } catch (error) {
      this.#lapsed(error);
      return false;
    }
  }

  async #roomSoon(): Promise<void> {
    const { queue, ends } = this.#mover;
    if (queue === undefined) return this.#mover.moved;
    if (ends.sender?.isWindowFull === true) return sleep(this.#clock.timer, acknowledgeMs);
    await this.#rung(queue, queue.roomAsync(BELL_MS_MAX));
  }

  async #itemSoon(): Promise<void> {
    const { queue } = this.#mover;
    if (queue === undefined) return this.#mover.moved;
    await this.#rung(queue, queue.itemAsync(BELL_MS_MAX));
  }

  async #rung(queue: FabricQueue<T>, bell: Promise<unknown>): Promise<void> {
    try {
      await bell;
    } catch (error) {
      // The ring may have been left meanwhile, for another.
      if (this.#mover.queue === queue) this.#lapsed(error);
    }
  }
}

/** Longest wait of `attach` unless told otherwise, in milliseconds. */
const attachMs = 5_000;
