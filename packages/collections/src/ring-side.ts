/**
 * A side of a ring with one producer and one consumer: its role, and where it is.
 *
 * Each side keeps its own position and a stale copy of the other's, and goes to shared memory only when that copy says
 * "full" or "empty" (Lamport's ring, with rtrb's cached indices). Positions are published once in {@link BATCH_MAX}
 * values, before every wait, and at the end of a turn of the event loop.
 *
 * Order S1 (items). The producer fills a slot (plain) and stores the tail (atomic); the consumer loads the tail (atomic)
 * and reads the slot (plain). A consumer that sees the tail synchronises with it, so the slot was filled before.
 * Order S2 (room). The consumer reads a slot (plain) and stores the head (atomic); the producer loads the head (atomic)
 * and fills the slot again (plain). So no slot is filled while it is read.
 * S3: only the producer's thread stores the tail, only the consumer's the head. A role is taken by one compare-exchange
 * on (thread, nonce), and taken over only from a thread that has exited.
 * S4: at most one claim is open. Its word is stored by the producer, and cleared by one compare-exchange: the producer's
 * commit or abort, or whoever gave it up for lost. So a claim is committed, or skipped and counted, never both.
 * S5: a slot begins with one double, its length plus its seal, and the seal says which lease and which of two laps it was
 * filled for. Blank bytes are no seal, and each lap fills every slot that it passes; so a slot that was not filled for
 * this lap is never taken for one that was.
 */
import {
  FabricError,
  isAttached,
  THREADS_MAX,
  type LeaseRegion,
  type MemLease,
  type SharedWords,
} from "@selvage/fabric";
import { Doorbell, settleAll, settleLater, type Flushable } from "./doorbell.ts";
import { Payload } from "./payload.ts";
import {
  baseOf,
  CLAIM,
  CLAIM_LAST,
  CLOSED,
  CONSUMER,
  damaged,
  HEAD,
  HEAD_COUNT,
  isSettled,
  ITEMS_BELL,
  notSettled,
  PRODUCER,
  RING_HEADER_BYTES,
  ringUnits,
  ROOM_BELL,
  SETTLED,
  settledMark,
  SKIPPED,
  TAIL,
  TAIL_COUNT,
  unitsOf,
  type RingShape,
} from "./ring-layout.ts";

/** Most values between two publications: 64 gained nothing over 16 (`anchors/perf.md` 2d). */
export const BATCH_MAX = 16;
/**
 * And most bytes: a publication costs some 25 ns, which longer values hide, and until then the other side may stand idle.
 * Between 16 and 64 KiB a batch no difference rose above the machine's noise (Node 24.21, 2 cores, 2026-11).
 */
const batchBytesMax = 16_384;

/** A ring in a lease, as both sides see it. */
export interface Ring {
  readonly lease: MemLease;
  readonly region: LeaseRegion;
  readonly shape: RingShape;
  /** After so long an open claim is given up for lost, in milliseconds. */
  readonly unblockAfterMs: number;
}

/** What producer and consumer share. */
abstract class Side implements Flushable {
  readonly payload: Payload;
  protected readonly lease: MemLease;
  protected readonly words: SharedWords;
  protected readonly plain: Int32Array;
  protected readonly base: number;
  /** The first slot, in units of eight bytes from the arena's beginning. */
  protected readonly start: number;
  protected readonly units: number;
  protected readonly slotUnits: number;
  protected readonly stride: number;
  protected readonly isFixed: boolean;
  protected readonly batch: number;
  readonly #seals: readonly [number, number];
  // Where this side is: the unit within the ring, and 0 or `units` for the lap.
  protected at = 0;
  protected lap = 0;
  /** Values ever, mod 2^32. */
  protected count = 0;
  /** Values since the last publication. */
  protected unpublished = 0;
  readonly #bell: Doorbell;
  readonly #site: LeaseRegion["site"];
  readonly #slot: number;
  readonly #positionAt: number;
  readonly #countAt: number;
  readonly #roleAt: number;
  // Spoils the marks where the count that was found here had none: what came of a stray write is never vouched for.
  readonly #doubt: number;
  #hasRole = false;
  // Whether this side is on its thread's list of those to settle.
  #isNoted = false;

  protected constructor(ring: Ring, isProducer: boolean) {
    const { region, shape, lease } = ring;
    this.lease = lease;
    this.words = region.memory.words;
    this.plain = region.memory.plain;
    this.base = baseOf(region);
    this.start = (region.offset + RING_HEADER_BYTES) / 8;
    this.units = ringUnits(shape);
    this.slotUnits = unitsOf(shape.stride);
    this.stride = shape.stride;
    this.isFixed = shape.kind === "slots";
    // A small ring would be full, or empty, before its batch is.
    const batch = Math.min(
      BATCH_MAX,
      shape.capacity >> 2,
      Math.floor(batchBytesMax / shape.stride),
    );
    this.batch = Math.max(1, batch);
    this.#seals = [sealOf(lease.generation, 0), sealOf(lease.generation, 1)];
    const slots = { first: (this.start + 1) * 2, words: this.slotUnits * 2 };
    this.payload = new Payload(region.memory, this.isFixed ? slots : undefined);
    this.#site = region.site;
    this.#slot = region.slot;
    this.#bell = new Doorbell(region, this.base + (isProducer ? ITEMS_BELL : ROOM_BELL));
    this.#positionAt = this.base + (isProducer ? TAIL : HEAD);
    this.#countAt = this.base + (isProducer ? TAIL_COUNT : HEAD_COUNT);
    this.#roleAt = this.base + (isProducer ? PRODUCER : CONSUMER);
    this.#takeRole(isProducer ? "producer" : "consumer");
    const position = this.#begunAt();
    this.lap = position < this.units ? 0 : this.units;
    this.at = position - this.lap;
    this.count = this.words.load(this.#countAt);
    const mark = this.words.load(this.#countAt + SETTLED);
    this.#doubt = isSettled(this.count, position, mark) ? 0 : notSettled;
  }

  /** Tells the other side what this one has done. */
  publish(): void {
    this.fold();
    if (this.unpublished === 0) return;
    this.unpublished = 0;
    this.plain[this.#countAt] = this.count | 0;
    const position = this.at + this.lap;
    this.words.store(this.#positionAt, position);
    this.plain[this.#countAt + SETTLED] = settledMark(this.count | 0, position) ^ this.#doubt;
    this.#bell.ring();
  }

  settle(): void {
    this.#isNoted = false;
    // Pinned: a check that fails would announce, in the middle of whatever operation settles this side.
    this.#site.pin(this.#slot);
    try {
      // Unlike `isLive` it allocates nothing.
      this.lease.assertLive();
      this.publish();
    } catch {
      // The bytes of a lease that has ended may be another's: they are left alone.
      this.fold();
    } finally {
      this.#site.unpin(this.#slot);
    }
  }

  /** Publishes, and holds the position that others see against this side's own. @throws FabricError `CORRUPT_RECORD`. */
  assertWhole(): void {
    this.publish();
    if (this.words.load(this.#positionAt) === this.at + this.lap) return;
    throw damaged("its head or tail is not where it was put");
  }

  /** Publishes, and lets another handle have this role. */
  leave(): void {
    this.publish();
    this.#dropRole();
  }

  #dropRole(): void {
    if (!this.#hasRole) return;
    this.#hasRole = false;
    const { pulse } = this.#site;
    this.words.compareExchangePair(this.#roleAt, pulse.thread + 1, pulse.nonce, 0, 0);
  }

  /** Brings `at`, `count` and `unpublished` up to date, where a side counts its values otherwise meanwhile. */
  protected fold(): void {}

  /** The seal of this side's lap. Not for hot paths: no 32-bit integer, so a result may be an object on the heap. */
  protected seal(): number {
    return this.lap === 0 ? this.#seals[0] : this.#seals[1];
  }

  /** Writes the header of a value of `length` bytes. */
  protected writeHeader(unit: number, length: number): void {
    const seal = this.lap === 0 ? this.#seals[0] : this.#seals[1];
    this.payload.doubles[unit] = seal + length;
  }

  /** Bytes of the value whose header stands at `unit`; -1: it is no header of this lap. */
  protected lengthAt(unit: number): number {
    const seal = this.lap === 0 ? this.#seals[0] : this.#seals[1];
    const found = (this.payload.doubles[unit] as number) - seal;
    // The language's own test for a whole number of 32 bits: a damaged header may be any double.
    const length = found | 0;
    return length === found && length >= 0 ? length : -1;
  }

  /** Sees to it that what is done now gets published. */
  protected note(): void {
    if (this.#isNoted) return;
    this.#isNoted = true;
    settleLater(this);
  }

  /** Units from `behind` on to `ahead`, one of them from shared memory. @throws FabricError `CORRUPT_RECORD`. */
  protected distance(behind: number, ahead: number): number {
    const between = ahead - behind;
    const units = between < 0 ? between + 2 * this.units : between;
    if (units > this.units) throw damaged("its head and tail are further apart than it is long");
    return units;
  }

  /** The other side's position. @throws FabricError `CORRUPT_RECORD`. */
  protected position(at: number): number {
    return this.#checked(this.words.load(this.base + at));
  }

  protected advance(units: number): void {
    this.at += units;
    if (this.at < this.units) return;
    this.at = 0;
    this.lap = this.units - this.lap;
  }

  #takeRole(name: string): void {
    this.lease.assertLive();
    const { words } = this;
    const { pulse, control } = this.#site;
    const at = this.#roleAt;
    const entry = words.load(at);
    const nonce = words.load(at + 1);
    if (entry >>> 0 > THREADS_MAX) throw damaged(`thread ${entry} is none`);
    const isFree = entry === 0 || !isAttached(control, entry - 1, nonce);
    if (!isFree || !words.compareExchangePair(at, entry, nonce, pulse.thread + 1, pulse.nonce))
      throw new FabricError(
        "CONFLICT",
        `Cannot become the queue's ${name}: it has one. Dispose of that handle first, or make the queue for many`,
        { role: name, thread: entry - 1 },
      );
    this.#hasRole = true;
  }

  // Where the last one in this role was. Where that is damaged, nobody has the role.
  #begunAt(): number {
    try {
      return this.#checked(this.words.load(this.#positionAt));
    } catch (error) {
      this.#dropRole();
      throw error;
    }
  }

  #checked(position: number): number {
    const isWithin = position >= 0 && position < 2 * this.units;
    if (isWithin && (!this.isFixed || position % this.slotUnits === 0)) return position;
    throw damaged(`position ${position} is none`);
  }
}

/** The one that pushes. */
export abstract class ProducerSide extends Side {
  /** Free units that this side knows of. There may be more: only the consumer adds to them. */
  protected free = 0;
  #claim = 0;

  /** @throws FabricError `CONFLICT`, `CORRUPT_RECORD`, the lease's. */
  constructor(ring: Ring) {
    super(ring, true);
    // A claim that is open was my predecessor's, who has exited (S3).
    skipClaim(this.words, this.base, this.words.load(this.base + CLAIM));
  }

  /**
   * Makes room for a value of `length` bytes, `stride` at most. Returns the word where its bytes go, or -1: full. Say
   * `commit` when they are there. @throws FabricError the lease's, `DISCONNECTED` (closed), `CORRUPT_RECORD`.
   */
  abstract reserve(length: number): number;

  /** Accepts the value that was reserved: it is published with its batch. */
  abstract commit(length: number): void;

  /** Lets the value that was reserved be shorter than its room. */
  abstract shorten(length: number): void;

  /** Values accepted that the consumer has not given back, as far as this side can tell. */
  get size(): number {
    this.fold();
    if (!this.isFixed) return (this.count - this.words.load(this.base + HEAD_COUNT)) | 0;
    return this.distance(this.position(HEAD), this.at + this.lap) / this.slotUnits;
  }

  /** Says that a value is being written in place: until `endClaim`, others see that it is open. Publishes first. */
  openClaim(): void {
    this.publish();
    this.#claim = (this.words.load(this.base + CLAIM_LAST) + 1) | 0 || 1;
    this.words.store(this.base + CLAIM_LAST, this.#claim);
    this.words.store(this.base + CLAIM, this.#claim);
  }

  /** Ends the claim; false if it was given up for lost meanwhile (S4). */
  endClaim(): boolean {
    return this.words.compareExchange(this.base + CLAIM, this.#claim, 0) === this.#claim;
  }

  override publish(): void {
    super.publish();
    // A plain look: the other end's close is seen with some later batch. The next value then asks for room, and hears.
    if (this.plain[this.base + CLOSED] !== 0) this.free = 0;
  }

  /** Possibly full: asks the consumer's position. Really full: publishes, for the consumer may be waiting for it. */
  protected findRoom(need: number): boolean {
    if (this.words.load(this.base + CLOSED) !== 0)
      throw new FabricError("DISCONNECTED", "Cannot push: the queue is closed", {});
    if (this.#look() >= need) return true;
    this.publish();
    return settleAll() && this.#look() >= need;
  }

  #look(): number {
    return (this.free = this.units - this.distance(this.position(HEAD), this.at + this.lap));
  }
}

/** The one that pops. */
export abstract class ConsumerSide extends Side {
  /** Bytes of the value that `next` has found. */
  length = 0;
  /** Units that this side knows to be filled. There may be more: only the producer adds to them. */
  protected filled = 0;
  // The open claim that was noticed, and when: it is given up for lost when it stays.
  #claim = 0;
  #claimMs = 0;
  readonly #unblockAfterMs: number;
  readonly #nowMs: () => number;

  /** @throws FabricError `CONFLICT`, `CORRUPT_RECORD`, the lease's. */
  constructor(ring: Ring) {
    super(ring, false);
    const { site } = ring.region;
    this.#nowMs = () => site.nowMs();
    this.#unblockAfterMs = ring.unblockAfterMs;
  }

  /**
   * Finds the next value. Returns the word where its bytes are, `length` of them, or -1: empty. Say `release` when they
   * have been read. @throws FabricError the lease's, `CORRUPT_RECORD`.
   */
  abstract next(): number;

  /** Gives the value's room back. Always true: with one consumer nobody takes a value from it. */
  abstract release(): boolean;

  /** Leaves the value where it is. */
  keep(): void {}

  /** Whether there is a value to pop. */
  hasItem(): boolean {
    return this.next() >= 0;
  }

  /** @throws FabricError `CORRUPT_RECORD`: `length`, from a header, is none that a value can have. */
  protected checkLength(length: number): void {
    if (length >= 0 && length <= this.stride) return;
    throw damaged(
      length < 0
        ? "a slot was filled for another lap"
        : `a value of ${length} bytes, where ${this.stride} are the most`,
    );
  }

  /** Values published that were not popped, as far as this side can tell. */
  get size(): number {
    this.fold();
    if (!this.isFixed) return (this.words.load(this.base + TAIL_COUNT) - this.count) | 0;
    return this.distance(this.at + this.lap, this.position(TAIL)) / this.slotUnits;
  }

  /** Possibly empty: gives back what was popped, and asks the producer's position. */
  protected findItems(): boolean {
    this.publish();
    if (this.#look() > 0 || (settleAll() && this.#look() > 0)) return true;
    // A plain look: a claim that is missed now is seen the next time.
    if (this.plain[this.base + CLAIM] !== 0) this.#unblock();
    return false;
  }

  #look(): number {
    return (this.filled = this.distance(this.at + this.lap, this.position(TAIL)));
  }

  // Gives up for lost a claim that has been open for the liveness timeout, counted from the first look at it. Only where
  // the ring is empty: else nobody waits for it.
  #unblock(): void {
    const claim = this.words.load(this.base + CLAIM);
    const nowMs = this.#nowMs();
    if (claim !== this.#claim) {
      this.#claim = claim;
      this.#claimMs = nowMs;
    } else if (nowMs - this.#claimMs >= this.#unblockAfterMs)
      skipClaim(this.words, this.base, claim);
  }
}

/** Seals are this far apart: further than any length. */
const sealStep = 2 ** 31;

// Of 2^20 for lap 0, and as many for lap 1; none is 0, and a length added to it is exact.
function sealOf(generation: number, lap: 0 | 1): number {
  const hash = Math.imul(generation, 0x9e37_79b1) >>> 12;
  return (1 + hash * 2 + lap) * sealStep;
}

/** Clears an open claim and counts it. Does nothing if it was ended meanwhile, or there is none. */
function skipClaim(words: SharedWords, base: number, claim: number): void {
  if (claim !== 0 && words.compareExchange(base + CLAIM, claim, 0) === claim)
    words.add(base + SKIPPED, 1);
}
