/**
 * Leases that want renewing, in shared memory, so that a thread beside the holder's (the keeper) renews them while
 * the holder works. Any thread may sweep, several at once: renewing is idempotent, the authority word decides.
 *
 * ```
 *  word  0       high-water mark: entries ever used
 *  word 16 + 16i entry i
 *        +0  version * 8 + state       +1 due, low word of clock: one 64-bit pair
 *        +2  slot                      +3 generation                      +4 thread of the holder
 *        +5  TTL in ms                 +6 ms from a renewal to the next   +7 stall limit in ms
 *        +8  renewals done, of every registration that the entry has served
 * ```
 *
 * The owner's thread adds and removes; sweepers move a state from ARMED only.
 * Invariant D1: fields +2 to +7 change only while the state is not ARMED, and every change raises the version. A
 * sweeper that finds the same word 0 before and after reading them has read one registration; what it concludes, the
 * next due moment too, it writes by compare-exchange on that word, so it never moves another registration's entry.
 *
 * A hold ends one TTL after its last renewal: at due + TTL - (ms from a renewal to the next).
 * Instants are low words of the fabric's clock, compared by their difference: spans up to 2^31 ms.
 */
import {
  assert,
  AtomicsWords,
  FabricError,
  OWNER_THREAD,
  progressOf,
  type ControlPlane,
  type SharedWords,
} from "@selvage/fabric";

const entryWords = 16;
const firstEntry = 16;
const entriesMax = 65_536;
const entriesAtFirst = 64;
/** The longest TTL that an entry has, in milliseconds: 12 days. */
export const DESK_TTL_MAX_MS: number = 2 ** 30;

const free = 0;
const armed = 1;
const ended = 2;
const lapsed = 3;

/** One registration. */
export interface DeskEntry {
  readonly slot: number;
  readonly generation: number;
  /** Whose progress keeps it: the owner's thread is 0. */
  readonly thread: number;
  /** At most {@link DESK_TTL_MAX_MS}. */
  readonly ttlMs: number;
  /** From one renewal to the next. */
  readonly renewAfterMs: number;
  /** How long the holder may be silent. */
  readonly stallMs: number;
  /** When the first renewal is due, in milliseconds since the Unix epoch. */
  readonly dueAtMs: number;
}

/** How an entry stands. `"ended"`: the lease is over. `"lapsed"`: its holder was silent for too long. */
export type DeskState = "armed" | "ended" | "lapsed" | "free";

/** What one entry has seen. */
export interface DeskReading {
  readonly state: DeskState;
  /** By every registration that the entry has served: what counts is the difference between two readings. */
  readonly renewed: number;
  /** Milliseconds until it is due; negative once it is. */
  readonly dueInMs: number;
}

const stateNames: readonly DeskState[] = ["free", "armed", "ended", "lapsed"];

/** The desk, as one thread sees it. */
export class RenewalDesk {
  #buffer: SharedArrayBuffer;
  #words: SharedWords;
  // The owner's own list of entries given back.
  readonly #freed: number[] = [];

  /**
   * A new desk, or another thread's. A new one is small, and grows while no other thread has it: most desks are never
   * shared, and 4 MiB for each is what an allocator may have to zero.
   */
  constructor(buffer: SharedArrayBuffer = memoryFor(entriesAtFirst)) {
    this.#buffer = buffer;
    this.#words = new AtomicsWords(new Int32Array(buffer));
  }

  /** The memory itself, to hand to the keeper: 4 MiB, at its full size from now on, so that it does not move any more. */
  share(): SharedArrayBuffer {
    this.#growTo(entriesMax);
    return this.#buffer;
  }

  /** True when there is no entry left. Owner only. */
  get isFull(): boolean {
    return this.#freed.length === 0 && this.#words.load(0) === entriesMax;
  }

  /** Adds a registration; returns its entry. Owner only. @throws FabricError `CAPACITY_EXCEEDED`. */
  add(control: ControlPlane, entry: DeskEntry): number {
    assert(entry.ttlMs <= DESK_TTL_MAX_MS, "a desk entry's TTL is 12 days at most", entry.ttlMs);
    const index = this.#freed.pop() ?? this.#words.load(0);
    if (index === entriesMax)
      throw new FabricError("CAPACITY_EXCEEDED", "Cannot keep another lease: the desk is full", {
        entriesMax,
      });
    if (entryAt(index) * 4 === this.#buffer.byteLength)
      this.#growTo(Math.min(entriesMax, index * 4));
    const words = this.#words;
    const at = entryAt(index);
    const { baseMs } = control.handle;
    words.store(at + 1, lowWord(entry.dueAtMs - baseMs));
    words.store(at + 2, entry.slot);
    words.store(at + 3, entry.generation);
    words.store(at + 4, entry.thread);
    words.store(at + 5, Math.ceil(entry.ttlMs));
    words.store(at + 6, Math.max(1, Math.floor(entry.renewAfterMs)));
    words.store(at + 7, Math.ceil(Math.min(entry.stallMs, DESK_TTL_MAX_MS)));
    // Order D2: the fields come before the state; who sees ARMED with this version sees them (D1).
    words.store(at, nextVersion(words.load(at)) | armed);
    if (index === words.load(0)) words.store(0, index + 1);
    return index;
  }

  /** Ends a registration. Owner only. */
  remove(index: number): void {
    const at = entryAt(index);
    this.#words.store(at, nextVersion(this.#words.load(at)) | free);
    this.#freed.push(index);
  }

  /** How an entry stands now. */
  read(control: ControlPlane, index: number, nowMs: number): DeskReading {
    const words = this.#words;
    const at = entryAt(index);
    const clock = lowWord(nowMs - control.handle.baseMs);
    return {
      state: stateNames[words.load(at) & 7] ?? "free",
      renewed: words.load(at + 8),
      dueInMs: (words.load(at + 1) - clock) | 0,
    };
  }

  /**
   * Renews what is due and whose holder makes progress. `ownerIsHere`: the caller is the owner, at work now, whatever
   * its stamp says. Costs two loads an entry that is not due.
   */
  sweep(control: ControlPlane, nowMs: number, ownerIsHere = false): void {
    const clock = lowWord(Math.floor(nowMs) - control.handle.baseMs);
    const count = this.#words.load(0);
    for (let index = 0; index < count; index++)
      this.#visit(control, index, nowMs, clock, ownerIsHere);
  }

  #growTo(entries: number): void {
    if (entryAt(entries) * 4 <= this.#buffer.byteLength) return;
    const buffer = memoryFor(entries);
    const words = new Int32Array(buffer);
    words.set(new Int32Array(this.#buffer));
    this.#buffer = buffer;
    this.#words = new AtomicsWords(words);
  }

  #visit(
    control: ControlPlane,
    index: number,
    nowMs: number,
    clock: number,
    ownerIsHere: boolean,
  ): void {
    const words = this.#words;
    const at = entryAt(index);
    const seen = words.load(at);
    const dueAt = words.load(at + 1);
    if ((seen & 7) !== armed || ((clock - dueAt) | 0) < 0) return;
    const slot = words.load(at + 2);
    const generation = words.load(at + 3);
    const thread = words.load(at + 4);
    const ttlMs = words.load(at + 5);
    const renewAfterMs = words.load(at + 6);
    const stallMs = words.load(at + 7);
    if (words.load(at) !== seen) return;
    const endsAt = dueAt + ttlMs - renewAfterMs;
    const isHere = ownerIsHere && thread === OWNER_THREAD;
    const silentMs = (clock - progressOf(control, thread)) | 0;
    if (!isHere && silentMs >= stallMs) {
      // The lease itself may be kept by another holder; this one's hold on it ends at its own TTL.
      if (((clock - endsAt) | 0) >= 0) words.compareExchange(at, seen, (seen & ~7) | lapsed);
      return;
    }
    // A holder that was silent past its hold's end does not get it back by waking up.
    if (((clock - endsAt) | 0) >= 0 && !isHere) {
      words.compareExchange(at, seen, (seen & ~7) | lapsed);
      return;
    }
    const outcome = control.renew(slot, generation, nowMs, Math.floor(nowMs) + ttlMs);
    if (outcome === "renewed") {
      // Refused when another sweeper was faster, and counted it, or when the owner has removed the registration.
      const next = (clock + renewAfterMs) | 0;
      if (words.compareExchangePair(at, seen, dueAt, seen, next)) words.add(at + 8, 1);
      return;
    }
    words.compareExchange(at, seen, (seen & ~7) | ended);
  }
}

function memoryFor(entries: number): SharedArrayBuffer {
  return new SharedArrayBuffer(entryAt(entries) * 4);
}

function entryAt(index: number): number {
  return firstEntry + index * entryWords;
}

function nextVersion(word: number): number {
  return ((word >> 3) + 1) << 3;
}

function lowWord(ms: number): number {
  // Not `| 0` on the float itself only: beyond 2^53 nothing is exact, and below it the low 32 bits are what `| 0` gives.
  return Math.floor(ms) | 0;
}
