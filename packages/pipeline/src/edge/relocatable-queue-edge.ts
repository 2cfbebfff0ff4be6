/** A queue between two stages that goes on when its memory is lost: in a new lease, with nothing missing or twice. */
import { FabricQueue } from "@selvage/collections";
import {
  fabricOf,
  FabricError,
  invalidArgument,
  isFabricError,
  rawCodec,
  regionOf,
  type Codec,
} from "@selvage/fabric";
import { FenceEpoch, type QueueLocator } from "@selvage/fence";
import {
  EDGE_TICK_MS,
  type EdgeAttachOptions,
  type EdgeOptions,
  type EdgeStats,
  type RelocationCause,
} from "./edge-events.ts";
import {
  locatorOf,
  ReaderHome,
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
import { EdgeWaits, Turn, findRing, waitFor, type EdgeWaitOptions } from "./edge-waits.ts";
import { EdgeSender, firstOf } from "./edge-sender.ts";

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
  readonly #waits: EdgeWaits<T>;
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
      home = new ReaderHome(handoff, codec, resolveOf(fabric, options));
    } else throw invalidArgument("handoff", "a HandoffWriter or a HandoffReader", handoff);
    this.#isWriter = home.isMaker;
    const letGo = (): void => {
      [this.#pushing, this.#popping] = [undefined, undefined];
    };
    this.#mover = new EdgeMover(queue, home, this.#clock, options, letGo);
    this.#waits = new EdgeWaits(this.#mover);
    // At once: whoever makes the next ring knows what it begins with.
    this.#mover.begin(() => (home.isMaker ? this.#openSender(queue) : this.#openReceiver(queue)));
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
    const home = new ReaderHome(reader, codec, resolve);
    const tickMs = Math.min(options.tickMs ?? EDGE_TICK_MS, timeoutMs);
    const queue = await findRing(home, fabric, { timeoutMs, signal, tickMs });
    return new RelocatableQueueEdge(queue, locatorOf(queue), reader, { ...options, resolve });
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
    try {
      const sender = this.#pushing ?? this.#toPush();
      return sender !== undefined && sender.push(value);
    } catch (error) {
      if (this.#isClosed) throw error;
      this.#lapsed(error);
      return false;
    }
  }

  /** As `push`, waiting for room, and while the edge moves. False when the time was up. One at a time: others wait for it. */
  async send(value: T, options: EdgeWaitOptions = {}): Promise<boolean> {
    const before = this.#sending;
    if (before === undefined && this.push(value)) return true;
    const turn = new Turn(before, this.#clock.timer);
    const mine = waitFor(
      this.#clock,
      () => (turn.hasCome && this.push(value)) || undefined,
      options,
      (ms) => (turn.hasCome ? this.#waits.room(ms) : turn.soon(ms)),
    );
    // Whoever comes behind waits for those before as well: one that has given up lets nobody past them.
    const settled = Promise.all([before, mine.catch(() => {})]).then(() => {});
    this.#sending = settled;
    const leave = (): void => {
      if (this.#sending === settled) this.#sending = undefined;
    };
    try {
      return (await mine) ?? false;
    } finally {
      if (turn.hasCome) leave();
      else void settled.then(leave);
    }
  }

  /**
   * The next item; undefined when there is none, while the edge moves, and at the end.
   * @throws FabricError `DECODE` (the item has been taken out), `CONFLICT`, `REVOKED`, as `FabricQueue.pop`; what has ended the edge.
   */
  pop(): T | undefined {
    try {
      const receiver = this.#popping ?? this.#toPop();
      if (receiver === undefined) return undefined;
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
    try {
      const receiver = this.#popping ?? this.#toPop();
      if (receiver === undefined) return -1;
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
    return waitFor(
      this.#clock,
      () => this.pop(),
      wait,
      (ms) => this.#waits.item(ms),
      () => this.isOver,
    );
  }

  /**
   * Blocks the thread until there is an item, for up to `timeoutMs`. False when the time was up, and at once while the edge moves
   * and when the stream is over: a move takes turns of the event loop.
   */
  waitForItem(timeoutMs: number = Infinity): boolean {
    this.flush();
    return this.#waits.blockForItem(timeoutMs);
  }

  /** Blocks the thread until an item can be pushed, as `waitForItem` does. */
  waitForRoom(timeoutMs: number = Infinity): boolean {
    this.flush();
    return this.#waits.blockForRoom(timeoutMs);
  }

  /**
   * Resolves when there may be an item to pop, or the edge has moved; after 20 ms in any case: look, and ask again. For
   * whoever waits for several things. @throws FabricError as `pop`.
   */
  itemSoon(): Promise<void> {
    return this.#waits.item();
  }

  /** As `itemSoon`, when more of what was pushed may have been acknowledged. @throws FabricError as `push`. */
  acknowledgedSoon(): Promise<void> {
    return this.#waits.acknowledged();
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

  /** Number of the item that is pushed next: from where a source goes on. Looks for it where nothing was pushed here yet. */
  get nextSequence(): number {
    try {
      if (this.#pushing === undefined && this.#mover.ends.sender?.hasJoined !== true)
        this.#joined();
    } catch {
      // Whoever pushes hears of it.
    }
    return this.#mover.ends.sender?.next ?? 0;
  }

  /** Number of the oldest item pushed here that is not acknowledged, of the next one where all are. Looks at the ring. */
  get acknowledgedTo(): number {
    const { queue, ends } = this.#mover;
    const { sender } = ends;
    try {
      if (queue !== undefined && sender?.hasJoined === true) sender.takeAcknowledged();
    } catch (error) {
      this.#lapsed(error);
    }
    return sender?.oldest ?? 0;
  }

  /** With `acknowledge: "manual"`: all items up to number `sequence`, the last one that was popped, have been dealt with. */
  acknowledge(sequence: number = this.sequence): void {
    const { receiver } = this.#mover.ends;
    if (!Number.isSafeInteger(sequence) || sequence > this.sequence)
      throw invalidArgument("sequence", "the number of an item that was popped", sequence);
    try {
      receiver?.acknowledge(sequence);
      // Nobody else does any more.
      if (this.isOver) receiver?.tell();
    } catch (error) {
      // While the edge moves it is noted, and told in the ring that comes.
      if (this.#popping !== undefined) this.#lapsed(error);
    }
  }

  /** True once the stream has been closed, and everything in it was popped. */
  get isOver(): boolean {
    return this.#mover.isOver;
  }

  /**
   * With a writer: moves to a new ring. With a reader: goes to a newer ring where the record has one. Resolves when that is done. It
   * also tries again what had failed, and lets an edge whose lease was revoked be admitted again. @throws FabricError as `push`.
   */
  async relocate(): Promise<void> {
    this.#mover.forgetFailure();
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
    // Throws what has ended the edge.
    void this.#mover.queue;
    if (!this.#isSending()) return this.#mover.leave();
    const done = await waitFor(
      this.#clock,
      () => this.#isAllDone() || undefined,
      options,
      (ms) => this.#waits.acknowledged(ms),
    );
    const { sender } = this.#mover.ends;
    if (done !== true)
      throw new FabricError("TIMED_OUT", "Not everything that was pushed has been acknowledged", {
        unacknowledged: sender?.unacknowledged ?? 0,
      });
    await this.#mover.close(sender?.end ?? 0);
  }

  /** Leaves the edge at once. A ring is left as it is, for whoever takes this end over. Idempotent. */
  [Symbol.dispose](): void {
    try {
      this.#pushing?.flush();
      this.#popping?.tell();
    } catch {
      // Its ring is over, for whatever reason: nothing more can be said there.
    }
    this.#mover.leave();
  }

  #openSender(queue: FabricQueue<T>): EdgeSender<T> {
    const { generation } = this.#mover;
    const sender = new EdgeSender(
      queue,
      firstOf(queue, this.#options, generation),
      this.#options.window,
    );
    this.#mover.ends.sender = sender;
    return sender;
  }

  // The way in, where there is one now.
  #toPush(): EdgeSender<T> | undefined {
    if (this.#isClosed)
      throw new FabricError("DISCONNECTED", "Cannot push: the edge is closed", {});
    const sender = this.#joined();
    if (sender !== undefined) this.#pushing = sender;
    return sender;
  }

  #joined(): EdgeSender<T> | undefined {
    const { queue, ends } = this.#mover;
    if (queue === undefined) return undefined;
    const sender = ends.sender ?? this.#openSender(queue);
    if (sender.join()) return sender;
    // It begins beyond what is there.
    if (!this.#isWriter) queue.notes().ask("behind");
    this.#go("producer-died");
    return undefined;
  }

  // The way out, where there is one now.
  #toPop(): EdgeReceiver<T> | undefined {
    const { queue, ends } = this.#mover;
    if (queue === undefined || this.isOver) return undefined;
    const receiver = ends.receiver ?? this.#openReceiver(queue);
    if (!receiver.join()) return undefined;
    if (receiver.isBehind) {
      receiver.ask("behind");
      this.#go("consumer-died");
      return undefined;
    }
    return (this.#popping = receiver);
  }

  #openReceiver(queue: FabricQueue<T>): EdgeReceiver<T> {
    const { from, acknowledge } = this.#options;
    const own = this.#isWriter ? undefined : from;
    const receiver = new EdgeReceiver(queue, own, acknowledge === "manual", (event) =>
      this.#mover.tell(event),
    );
    this.#mover.ends.receiver = receiver;
    return receiver;
  }

  // Whether this end has a stream to end.
  #isSending(): boolean {
    const { sender } = this.#mover.ends;
    if (sender === undefined) return false;
    try {
      this.#joined();
    } catch (error) {
      const isOthers = isFabricError(error) && error.code === "CONFLICT";
      // Another pushes there, and this end never has.
      if (isOthers && sender.accepted === 0) return false;
      this.#lapsed(error);
    }
    return true;
  }

  // Says that nothing follows, once it can be said; and whether the consumer has dealt with everything.
  #isAllDone(): boolean {
    const { queue, ends } = this.#mover;
    const { sender } = ends;
    if (queue === undefined || sender === undefined) return false;
    try {
      queue.lease.assertLive();
      if (this.#joined() === undefined) return false;
      if (!sender.hasEnded) sender.endStream();
      sender.takeAcknowledged();
      return sender.isDone && !this.#mover.isDraining;
    } catch (error) {
      this.#lapsed(error);
      return false;
    }
  }

  // The ring takes nothing more, and is empty: the stream is over, or goes on in another.
  #sealed(receiver: EdgeReceiver<T>): void {
    if (!receiver.isOver) return this.#go("disconnected");
    this.#mover.popLast();
  }

  #lapsed(error: unknown): void {
    this.#mover.lapsed(error);
  }

  #go(cause: RelocationCause): void {
    void this.#mover.move(cause);
  }
}

/** Longest wait of `attach` unless told otherwise, in milliseconds. */
const attachMs = 5_000;
