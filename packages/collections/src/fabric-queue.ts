/** A bounded queue in a memory lease: values go from thread to thread by way of shared memory, without messages. */
import {
  FabricError,
  invalidArgument,
  rawCodec,
  regionOf,
  type Codec,
  type LeaseRegion,
  type MemLease,
} from "@selvage/fabric";
import { Doorbell, endLater, type Flushable } from "./doorbell.ts";
import { ManyConsumer, ManyProducer } from "./many-ring.ts";
import { RingNotes } from "./ring-notes.ts";
import {
  baseOf,
  checkBytes,
  CLOSED,
  formRing,
  ITEMS_BELL,
  LOST,
  ringBytes,
  ROOM_BELL,
  SKIPPED,
} from "./ring-layout.ts";
import {
  claimIsOpen,
  findQueue,
  shapeOf,
  unblockAfterMsOf,
  type AttachOptions,
  type QueueOptions,
  type QueueSettings,
  type QueueStats,
  type QueueTicket,
} from "./queue-options.ts";
import { checkBatch, checkMax, popSome, pushAll } from "./queue-batch.ts";
import { block, rest, waitForRoom, type Pending } from "./queue-wait.ts";
import { RecordConsumer, RecordProducer } from "./record-ring.ts";
import type { Ring } from "./ring-side.ts";
import { SlotConsumer, SlotProducer } from "./slot-ring.ts";
import { assertRing, ValuePort, type PopSide, type PushSide } from "./value-port.ts";

const producers = { slots: SlotProducer, records: RecordProducer, many: ManyProducer };
const consumers = { slots: SlotConsumer, records: RecordConsumer, many: ManyConsumer };

/**
 * A bounded first-in, first-out queue in the bytes of one memory lease.
 *
 * One thread pushes and one pops, unless made with `many: true`; both may be the same. What was pushed is *accepted*
 * at once and *published* with its batch: after 16 values, at `flush()`, at the end of this turn of the event loop, and
 * before this thread waits for any queue. Only what is published survives the producer's death. Every operation checks
 * the lease: once it has ended, both ends get `LEASE_EXPIRED` (or `REVOKED`).
 *
 * `push` and `popInto`, claims and peeks allocate nothing. Between two threads a value of 64 bytes takes 40 to 90 ns:
 * `npm run bench -- queue` says what it takes on your machine.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fabric, FabricQueue } from "selvage";
 *
 * using fabric = Fabric.open({ memoryBytes: 1 << 20 });
 * const lease = fabric.mem().minBytes(FabricQueue.bytesFor(100, 64)).acquire();
 * const queue = new FabricQueue(lease, 100, 64);
 * assert.equal(queue.push(Uint8Array.of(1, 2, 3)), true);
 * assert.deepEqual([...queue.pop()!], [1, 2, 3]);
 * assert.equal(queue.pop(), undefined);
 * ```
 */
export class FabricQueue<T = Uint8Array> implements Disposable {
  /** The lease that it lives in. */
  readonly lease: MemLease;
  /** How many values of `stride` bytes fit, at least. */
  readonly capacity: number;
  /** The longest value, in bytes. */
  readonly stride: number;
  readonly #ring: Ring;
  readonly #region: LeaseRegion;
  readonly #values: ValuePort<T>;
  readonly #items: Doorbell;
  readonly #room: Doorbell;
  #producer: PushSide | undefined;
  #consumer: PopSide | undefined;
  // The same, where the short way may be tried: values are bytes, and nothing is claimed or peeked at.
  #quickProducer: SlotProducer | RecordProducer | undefined;
  #quickConsumer: SlotConsumer | RecordConsumer | undefined;
  #claimed: Uint8Array | undefined;
  #peeked: Uint8Array | undefined;
  // Ends what was peeked at, once a turn at most.
  readonly #loan: Flushable = {
    settle: () => {
      this.#isLoanNoted = false;
      this.#endPeek();
    },
  };
  #isLoanNoted = false;
  #isLeft = false;

  /**
   * Makes a queue in a lease's blank bytes, or joins the same one that is there already. Values are bytes unless a codec
   * says otherwise; every thread must use the same.
   * @throws FabricError `INVALID_ARGUMENT`, `CAPACITY_EXCEEDED` (the lease has fewer than `bytesFor(...)` bytes, or the
   * codec's values are longer than `stride`), `CONFLICT` (the lease holds something else), the lease's.
   */
  constructor(
    lease: MemLease,
    capacity: number,
    stride: number,
    codec?: Codec<T>,
    options: QueueOptions = {},
  ) {
    const region = regionOf(lease);
    lease.assertLive();
    const shape = shapeOf(capacity, stride, options);
    checkBytes(region, shape);
    this.lease = lease;
    this.capacity = capacity;
    this.stride = stride;
    this.#region = region;
    this.#ring = { lease, region, shape, unblockAfterMs: unblockAfterMsOf(options) };
    this.#values = new ValuePort(codec ?? (rawCodec as unknown as Codec<T>), region, shape);
    // Last: a call that is refused leaves nothing behind.
    formRing(region, shape);
    this.#items = new Doorbell(region, baseOf(region) + ITEMS_BELL);
    this.#room = new Doorbell(region, baseOf(region) + ROOM_BELL);
  }

  /** Bytes of memory that a queue takes. @throws FabricError `INVALID_ARGUMENT`. */
  static bytesFor(capacity: number, stride: number, options: QueueOptions = {}): number {
    return ringBytes(shapeOf(capacity, stride, options));
  }

  /**
   * Joins the queue that a lease holds, or that a ticket leads to, on any thread. A ticket takes `options.attachMem`,
   * this thread's way to memory (`fabric.attachMem`); the `FabricQueue` of `@selvage/node` and `selvage` has one.
   * @throws FabricError `INVALID_ARGUMENT`, `CORRUPT_RECORD` (no queue is there), what attaching throws.
   */
  static attach<T = Uint8Array>(
    place: QueueTicket | MemLease,
    codec?: Codec<T>,
    options: AttachOptions = {},
  ): FabricQueue<T> {
    const { lease, capacity, stride, settings } = findQueue(place, options);
    return new FabricQueue<T>(lease, capacity, stride, codec, settings);
  }

  /** What it was made with, beside its size. */
  get settings(): QueueSettings<T> {
    const { kind } = this.#ring.shape;
    return { codec: this.#values.codec, many: kind === "many", records: kind === "records" };
  }

  /** What the two ends tell each other beside the values. For engines that keep a stream going over several queues. */
  notes(): RingNotes {
    return new RingNotes(this.#ring);
  }

  /** Becomes the producer or the consumer now. @throws FabricError `CONFLICT` (another handle is), as `push`. */
  take(role: "producer" | "consumer"): void {
    if (role === "producer") this.#producer ??= this.#becomeProducer();
    else this.#consumer ??= this.#becomeConsumer();
  }

  /** Publishes, and finds a stray write that neither end would stumble over. Microseconds. @throws FabricError `CORRUPT_RECORD`. */
  assertWhole(): void {
    this.lease.assertLive();
    assertRing(this.#region, this.#ring.shape, [this.#producer, this.#consumer]);
  }

  /** Plain data by which another thread attaches, with `FabricQueue.attach(ticket)`. */
  ticket(): QueueTicket {
    return { kind: "queue", version: 1, lease: this.lease.ticket() };
  }

  /**
   * Pushes a value: true once it is accepted, false when the queue is full.
   * @throws FabricError `CAPACITY_EXCEEDED` (longer than `stride`), `ENCODE`, `DISCONNECTED` (closed; noticed a batch
   * later at most), `CONFLICT` (another handle is the producer, or a claim is open), `CORRUPT_RECORD`, the lease's.
   */
  push(value: T): boolean {
    if (this.#quickProducer?.pushAgain(value as Uint8Array) === true) return true;
    const side = this.#producer ?? this.#becomeProducer();
    if (this.#claimed !== undefined) throw claimIsOpen();
    return this.#values.push(side, value);
  }

  /** As `push`, of a value's bytes as the queue's codec writes them. Bytes of another length than a fixed codec's cannot be popped. */
  pushBytes(bytes: Uint8Array): boolean {
    if (this.#quickProducer?.pushAgain(bytes) === true) return true;
    const side = this.#producer ?? this.#becomeProducer();
    if (this.#claimed !== undefined) throw claimIsOpen();
    return this.#values.pushBytes(side, bytes);
  }

  /**
   * Pushes values in order until the queue is full, and publishes them. Returns how many. Errors as `push`, for the first
   * value or when the lease ends; before a later value that cannot be pushed the batch ends, and the next call throws.
   */
  pushBatch(values: readonly T[]): number {
    checkBatch(values);
    const side = this.#producer ?? this.#becomeProducer();
    if (this.#claimed !== undefined) throw claimIsOpen();
    return pushAll(this.#values, side, this.lease, values);
  }

  /** Publishes what was pushed, and gives back the room of what was popped. */
  flush(): void {
    this.lease.assertLive();
    this.#producer?.publish();
    this.#consumer?.publish();
  }

  /**
   * Pops the oldest value; undefined when there is none. Bytes come in an array of their own (`popInto` allocates none).
   * @throws FabricError `DECODE` (the value has been taken out), `CONFLICT` (another handle is the consumer), `CORRUPT_RECORD`, the lease's.
   */
  pop(): T | undefined {
    const side = this.#consumer ?? this.#becomeConsumer();
    if (this.#values.isPeeked) this.#unpeek(side);
    return this.#values.pop(side);
  }

  /**
   * Pops the oldest value's bytes to the front of `target`, as the codec wrote them. Returns how many, or -1 when there
   * is none. Allocates nothing.
   * @throws FabricError `CAPACITY_EXCEEDED` (`target` is too short: the value stays), otherwise as `pop`.
   */
  popInto(target: Uint8Array): number {
    if (this.#quickConsumer !== undefined) {
      const bytes = this.#quickConsumer.popAgain(target);
      if (bytes >= 0) return bytes;
    }
    const side = this.#consumer ?? this.#becomeConsumer();
    if (this.#values.isPeeked) this.#unpeek(side);
    return this.#values.popInto(side, target);
  }

  /** Pops up to `max` values, oldest first. Errors as `pop`, for the first; a later one that cannot be popped ends the batch. */
  popBatch(max: number): T[] {
    checkMax(max);
    const side = this.#consumer ?? this.#becomeConsumer();
    if (this.#values.isPeeked) this.#unpeek(side);
    return popSome(this.#values, side, this.lease, max);
  }

  /**
   * Claims room for a value and lends its bytes, `stride` of them, to be filled in place: no copy is made (with `many`,
   * one). Undefined when full. Say `commit` or `abort`; until then nothing else is pushed here, and the lease's bytes
   * are not reclaimed. The view is for as long: writing to it later writes to whatever is there then. A claim that stays
   * open for `unblockAfterMs` may be given up by whoever waits for it. Errors as `push`.
   */
  claim(): Uint8Array | undefined {
    const side = this.#producer ?? this.#becomeProducer();
    if (this.#claimed !== undefined) throw claimIsOpen();
    this.#claimed = this.#values.claim(side);
    if (this.#claimed === undefined) return undefined;
    this.#quickProducer = undefined;
    this.#region.site.pin(this.#region.slot);
    return this.#claimed;
  }

  /**
   * Pushes what was claimed, its first `length` bytes.
   * @throws FabricError `STALE_EPOCH`: the claim had been given up; nothing was pushed. `INVALID_ARGUMENT` (no claim is
   * open, or `length` is beyond it; such a claim stays open), `DISCONNECTED` (closed meanwhile), the lease's.
   */
  commit(length: number = this.stride): void {
    const claimed = this.#openClaim();
    if (!Number.isInteger(length) || length < 0 || length > claimed.length)
      throw invalidArgument("length", `bytes from 0 to ${claimed.length}`, length);
    this.#endClaim();
    try {
      this.lease.assertLive();
      if (this.#values.commit(this.#producer as PushSide, claimed, length)) return;
    } finally {
      this.#values.forget(claimed);
    }
    throw new FabricError(
      "STALE_EPOCH",
      "Cannot commit: the claim was open for too long, and has been given up",
      { unblockAfterMs: this.#ring.unblockAfterMs },
    );
  }

  /** Gives the claimed room back unused. @throws FabricError `INVALID_ARGUMENT` (no claim is open). */
  abort(): void {
    const claimed = this.#openClaim();
    this.#endClaim();
    if (this.lease.isLive) this.#values.abort(this.#producer as PushSide);
    this.#values.forget(claimed);
  }

  /**
   * The oldest value's bytes where they are, without a copy; undefined when there is none. For reading, until
   * `consume`, the next pop, or the next `await`, whichever comes first; until then the lease's bytes are not reclaimed.
   * With `many` the value is this handle's from then on: left unconsumed when the handle goes, it counts as lost.
   * Errors as `pop`.
   */
  peek(): Uint8Array | undefined {
    const side = this.#consumer ?? this.#becomeConsumer();
    this.lease.assertLive();
    if (this.#peeked !== undefined) return this.#peeked;
    this.#peeked = this.#values.peek(side);
    if (this.#peeked === undefined) return undefined;
    this.#quickConsumer = undefined;
    this.#region.site.pin(this.#region.slot);
    if (!this.#isLoanNoted) {
      this.#isLoanNoted = true;
      endLater(this.#loan);
    }
    return this.#peeked;
  }

  /** Removes the value that was peeked at. True. @throws FabricError `INVALID_ARGUMENT` (nothing was, since the last pop). */
  consume(): boolean {
    if (!this.#values.isPeeked)
      throw invalidArgument("consume", "a value that was peeked at", undefined);
    this.lease.assertLive();
    if (this.#peeked !== undefined) this.#endPeek();
    const isTaken = this.#values.consume(this.#consumer as PopSide);
    this.#mayBeQuick();
    return isTaken;
  }

  /**
   * Values accepted and not popped, at some moment: another thread may change it at any time. On the producer's thread
   * it never grows by itself, on the consumer's it never shrinks. With `many`, claims count and what was peeked at
   * does not. With `records` it is off by some from when a thread dies in the middle of publishing.
   */
  get size(): number {
    this.lease.assertLive();
    // Where both ends are here, what is not published yet counts too.
    if (this.#producer !== undefined) this.#consumer?.publish();
    const side = this.#producer ?? this.#consumer;
    return side === undefined ? this.#values.sizeOf(this.#ring) : side.size;
  }

  /** True once any end has closed the queue. What was published before can still be popped. */
  get isClosed(): boolean {
    this.lease.assertLive();
    return this.#load(CLOSED) !== 0;
  }

  /** What the queue can say of itself. */
  stats(): QueueStats {
    const { capacity, size, isClosed } = this;
    return { capacity, size, skipped: this.#load(SKIPPED), lost: this.#load(LOST), isClosed };
  }

  /**
   * Pushes, waiting for room for up to `timeoutMs`. Blocks the thread: it spins for some microseconds, then sleeps.
   * False when the time was up. Errors as `push`; `UNSUPPORTED` where no other thread can make room (`shared: false`).
   */
  pushWait(value: T, timeoutMs: number = Infinity): boolean {
    return block(this.#forRoom(() => this.push(value), timeoutMs)) ?? false;
  }

  /** Pops, waiting for up to `timeoutMs`: undefined when the time was up, or the queue is closed and empty. */
  popWait(timeoutMs: number = Infinity): T | undefined {
    return block(this.#forItem(() => this.pop(), timeoutMs));
  }

  /** Waits until there is a value to pop, as `popWait` does, and leaves it there: for `popInto` and `peek`. */
  waitForItem(timeoutMs: number = Infinity): boolean {
    return block(this.#forItem(() => this.#hasItem() || undefined, timeoutMs)) ?? false;
  }

  /** Waits until a value can be pushed, as `pushWait` does, and pushes none. */
  waitForRoom(timeoutMs: number = Infinity): boolean {
    return block(this.#forRoom(() => this.#hasRoom(), timeoutMs)) ?? false;
  }

  /** As `waitForRoom`, without blocking the thread. */
  async roomAsync(timeoutMs: number = Infinity): Promise<boolean> {
    return (await rest(this.#forRoom(() => this.#hasRoom(), timeoutMs))) ?? false;
  }

  /** As `waitForItem`, without blocking the thread. */
  async itemAsync(timeoutMs: number = Infinity): Promise<boolean> {
    return (await rest(this.#forItem(() => this.#hasItem() || undefined, timeoutMs))) ?? false;
  }

  /** As `pushWait`, without blocking the thread. */
  async pushAsync(value: T, timeoutMs: number = Infinity): Promise<boolean> {
    return (await rest(this.#forRoom(() => this.push(value), timeoutMs))) ?? false;
  }

  /** As `popWait`, without blocking the thread. */
  async popAsync(timeoutMs: number = Infinity): Promise<T | undefined> {
    return rest(this.#forItem(() => this.pop(), timeoutMs));
  }

  /** Pops until the queue is closed and empty. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      let value = this.pop();
      // Not `??`: null is a value.
      if (value === undefined) value = await this.popAsync();
      if (value === undefined) return;
      yield value;
    }
  }

  /** Closes the queue for every end: nothing more is accepted; what was published can still be popped. Idempotent. */
  close(): void {
    if (!this.lease.isLive) return;
    this.flush();
    this.#region.memory.words.store(baseOf(this.#region) + CLOSED, 1);
    // So that this handle's own next push hears of it.
    this.#producer?.publish();
    this.#items.ring();
    this.#room.ring();
  }

  /** Publishes, and leaves the queue: another handle may push or pop in this one's place. Idempotent. */
  [Symbol.dispose](): void {
    if (this.#isLeft) return;
    this.#isLeft = true;
    if (this.#claimed !== undefined) this.abort();
    if (this.#consumer !== undefined) this.#unpeek(this.#consumer);
    if (this.lease.isLive) for (const side of [this.#producer, this.#consumer]) side?.leave();
    [this.#producer, this.#consumer] = [undefined, undefined];
    this.#mayBeQuick();
  }

  #becomeProducer(): PushSide {
    this.#checkHeld();
    this.#producer = new producers[this.#ring.shape.kind](this.#ring);
    this.#mayBeQuick();
    return this.#producer;
  }

  #becomeConsumer(): PopSide {
    this.#checkHeld();
    this.#consumer = new consumers[this.#ring.shape.kind](this.#ring);
    this.#mayBeQuick();
    return this.#consumer;
  }

  #mayBeQuick(): void {
    const { isRaw, isPeeked } = this.#values;
    const [producer, consumer] = [this.#producer, this.#consumer];
    const mayPush = isRaw && this.#claimed === undefined && !(producer instanceof ManyProducer);
    const mayPop = !isPeeked && !(consumer instanceof ManyConsumer);
    this.#quickProducer = mayPush ? (producer as SlotProducer | RecordProducer) : undefined;
    this.#quickConsumer = mayPop ? (consumer as SlotConsumer | RecordConsumer) : undefined;
  }

  #forRoom(isDone: () => boolean, timeoutMs: number): Pending<true> {
    return waitForRoom(this.#ring, this.#room, timeoutMs, isDone);
  }

  #forItem<R>(attempt: () => R | undefined, timeoutMs: number): Pending<R> {
    const isOver = (): boolean => this.isClosed && !this.#values.isHeldBack(this.#ring);
    return { ring: this.#ring, bell: this.#items, timeoutMs, attempt, isOver };
  }

  #hasItem(): boolean {
    const side = this.#consumer ?? this.#becomeConsumer();
    return this.#values.isPeeked || side.hasItem();
  }

  #hasRoom(): boolean {
    return this.#values.hasRoom(this.#producer ?? this.#becomeProducer());
  }

  #checkHeld(): void {
    if (this.#isLeft)
      throw new FabricError("DISCONNECTED", "Cannot use the queue: this handle has left it", {});
  }

  #openClaim(): Uint8Array {
    if (this.#claimed === undefined) throw invalidArgument("claim", "an open claim", undefined);
    return this.#claimed;
  }

  #endClaim(): void {
    this.#claimed = undefined;
    this.#region.site.unpin(this.#region.slot);
    this.#mayBeQuick();
  }

  #endPeek(): void {
    if (this.#peeked === undefined) return;
    this.#values.forget(this.#peeked);
    this.#peeked = undefined;
    this.#region.site.unpin(this.#region.slot);
  }

  #unpeek(side: PopSide): void {
    this.#endPeek();
    this.#values.unpeek(side);
    this.#mayBeQuick();
  }

  #load(at: number): number {
    return this.#region.memory.words.load(baseOf(this.#region) + at);
  }
}
