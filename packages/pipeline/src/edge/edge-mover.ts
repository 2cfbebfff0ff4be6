/**
 * Moves an edge from ring to ring. One move at a time: from its beginning until the next ring is there, neither end has one.
 *
 * Invariant E5: whoever publishes the next generation has the edge. A writer that finds another's generation there is over,
 * and gives back the memory that it had taken.
 * Invariant E6: a move ends: in a new ring, or in an error that every call then throws.
 */
import type { FabricQueue, RingAsking } from "@selvage/collections";
import { FabricError, isFabricError, type Timer } from "@selvage/fabric";
import { resolveRetryPolicy, retryDelayMs, type RetryPolicy } from "@selvage/leasekit";
import {
  EDGE_RETRIES,
  EDGE_TICK_MS,
  type EdgeEvent,
  type EdgeOptions,
  type EdgeStats,
  type RelocationCause,
} from "./edge-events.ts";
import { isGone, sleep, type EdgeEnd, type EdgeHome, type EdgeRing } from "./edge-home.ts";
import type { EdgeReceiver } from "./edge-receiver.ts";
import type { EdgeSender } from "./edge-sender.ts";

/** The ends of an edge that are here. */
export interface EdgeEnds<T> {
  sender: EdgeSender<T> | undefined;
  receiver: EdgeReceiver<T> | undefined;
}

/** What moves need of their host. */
export interface EdgeClock {
  readonly timer: Timer;
  nowMs(): number;
}

/** The state of one edge. */
export class EdgeMover<T> {
  readonly ends: EdgeEnds<T> = { sender: undefined, receiver: undefined };
  readonly clock: EdgeClock;
  readonly tickMs: number;
  readonly #home: EdgeHome<T>;
  readonly #options: EdgeOptions;
  readonly #retry: RetryPolicy;
  readonly #stopLooking: () => void;
  // Called whenever this end leaves a ring, so that nobody goes on there.
  readonly #onLeft: () => void;
  #queue: FabricQueue<T> | undefined;
  #generation: number;
  // The ring before, while the consumer has yet to take from it what a producer before this one put there.
  #draining: FabricQueue<T> | undefined;
  #moving: Promise<void> | undefined;
  readonly #waiting = new Set<() => void>();
  #failure: FabricError | undefined;
  #isLeft = false;
  #isOver = false;
  #rebinds = 0;
  readonly #relocations = new Map<RelocationCause, number>();
  #stallMsMax = 0;
  #stallMsLast = 0;

  constructor(
    queue: FabricQueue<T> | undefined,
    home: EdgeHome<T>,
    clock: EdgeClock,
    options: EdgeOptions,
    letGo: () => void,
  ) {
    this.#onLeft = letGo;
    this.#queue = queue;
    this.#home = home;
    this.#generation = home.generation;
    this.clock = clock;
    this.#options = options;
    this.tickMs = options.tickMs ?? EDGE_TICK_MS;
    const { retry = {} } = options;
    this.#retry = resolveRetryPolicy(
      typeof retry === "number"
        ? { ...EDGE_RETRIES, retries: retry }
        : { ...EDGE_RETRIES, ...retry },
    );
    this.#stopLooking = clock.timer.every(this.tickMs, () => this.#look());
    if (queue !== undefined) this.#keep(queue);
  }

  /** Opens an end. Should that throw, nobody has the edge: it must not go on looking after its ring, and make others. */
  begin(open: () => unknown): void {
    try {
      open();
    } catch (error) {
      this.leave();
      throw error;
    }
  }

  /** The ring; undefined while the edge moves, and when the stream is over. @throws what has ended the edge. */
  get queue(): FabricQueue<T> | undefined {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#isLeft && !this.#isOver)
      throw new FabricError("DISCONNECTED", "Cannot use the edge: this end has left it", {});
    return this.#queue;
  }

  /** Resolves when the move that is under way has ended, well or not. */
  get moved(): Promise<void> {
    return this.#moving ?? Promise.resolve();
  }

  /** Whether the consumer has yet to leave a ring that only it has. */
  get isDraining(): boolean {
    return this.#draining !== undefined;
  }

  /** Whether the stream has ended, and everything in it was popped here. */
  get isOver(): boolean {
    return this.#isOver;
  }

  get generation(): number {
    return Math.max(this.#generation, this.#home.generation);
  }

  /** Takes an error of a ring's for the reason to move, or throws it. */
  lapsed(error: unknown): void {
    const cause = isFabricError(error) ? causes[error.code] : undefined;
    if (cause === undefined) throw error;
    // The producer may not have seen it.
    if (cause === "corrupt") this.#ask("corrupt");
    void this.move(cause);
  }

  /** Moves to the next ring. Never rejects: what goes wrong is thrown by every call from then on. */
  move(cause: RelocationCause): Promise<void> {
    this.#moving ??= this.#move(cause).finally(() => {
      this.#moving = undefined;
      for (const wake of this.#waiting) wake();
    });
    return this.#moving;
  }

  /** Resolves as {@link moved}, after `ms` in any case: where no ring follows, a move has no end. */
  movedWithin(ms: number): Promise<void> {
    if (this.#moving === undefined) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        cancel();
        this.#waiting.delete(wake);
        resolve();
      };
      const cancel = this.clock.timer.after(ms, wake);
      this.#waiting.add(wake);
    });
  }

  /** Moves to the next ring if there is one already. @throws what finding it threw. */
  async follow(): Promise<void> {
    if (this.#moving !== undefined) return this.#moving;
    const ring = await this.#home.next((queue, generation) =>
      this.ends.sender?.bind(queue, generation),
    );
    if (ring === undefined) return;
    // Another call may have been quicker.
    if (this.#moving !== undefined || this.#isLeft) {
      if ("queue" in ring) leave(ring.queue);
      return;
    }
    if ("endedAt" in ring) this.#end(ring);
    else this.#adopt(ring);
  }

  /**
   * This end has popped the last item. It stays until the record says that the stream is over: what it has acknowledged may go
   * with its ring before the producer hears of it.
   */
  popLast(): void {
    this.#isOver = true;
  }

  /** Says for good that nothing follows number `endedAt`, and gives the ring's memory back. */
  async close(endedAt: number): Promise<void> {
    await this.moved;
    const { queue } = this;
    if (queue !== undefined) await this.#home.end(queue, endedAt);
    this.#isOver = true;
    if (this.#draining !== undefined) this.#endDrain(this.#draining);
    this.leave();
    if (this.#home.isMaker) queue?.lease.release();
  }

  /** Tries again what had failed. */
  forgetFailure(): void {
    if (this.#failure?.code !== "STALE_EPOCH") this.#failure = undefined;
  }

  stats(): EdgeStats {
    const { sender, receiver } = this.ends;
    return {
      generation: this.generation,
      rebinds: this.#rebinds,
      relocations: Object.fromEntries(this.#relocations),
      accepted: sender?.accepted ?? 0,
      delivered: receiver?.delivered ?? 0,
      unacknowledged: sender?.unacknowledged ?? 0,
      replayed: sender?.replayed ?? 0,
      dropped: receiver?.dropped ?? 0,
      lost: receiver?.hasUnknownLoss === true ? "unknown" : (receiver?.lost ?? 0),
      stallMsMax: this.#stallMsMax,
      stallMsLast: this.#stallMsLast,
    };
  }

  /** Leaves the ring as it is. Idempotent. */
  leave(): void {
    if (this.#isLeft) return;
    this.#isLeft = true;
    this.#stopLooking();
    const queue = this.#queue;
    this.#queue = undefined;
    this.#onLeft();
    if (this.#draining !== undefined) leave(this.#draining);
    if (queue === undefined) return;
    if (this.#home.isMaker) this.#options.renewals?.unregister(queue.lease.leaseId);
    leave(queue);
  }

  tell(event: EdgeEvent): void {
    try {
      this.#options.onEvent?.(event);
    } catch {
      // Whoever listens must not stop a move half-way.
    }
  }

  async #move(cause: RelocationCause): Promise<void> {
    const begunMs = this.clock.nowMs();
    const old = this.#queue;
    this.#queue = undefined;
    this.#onLeft();
    this.#failure = undefined;
    this.tell({ type: "relocating", cause, generation: this.generation });
    const { sender } = this.ends;
    const isNeeded = this.#home.isMaker && sender?.seal() === true;
    const replayedBefore = sender?.replayed ?? 0;
    const ring = await this.#next();
    if (old !== undefined && isNeeded && ring !== undefined) this.#drain(old);
    else if (old !== undefined) this.#letGo(old);
    if (ring === undefined) return;
    if ("endedAt" in ring) return this.#end(ring);
    this.#stallMsLast = this.clock.nowMs() - begunMs;
    this.#stallMsMax = Math.max(this.#stallMsMax, this.#stallMsLast);
    this.#relocations.set(cause, (this.#relocations.get(cause) ?? 0) + 1);
    this.#adopt(ring);
    this.tell({
      type: "relocated",
      cause,
      generation: ring.generation,
      stallMs: this.#stallMsLast,
      replayed: (sender?.replayed ?? 0) - replayedBefore,
    });
  }

  // The next ring; undefined when the edge is over, or was left.
  async #next(): Promise<EdgeRing<T> | EdgeEnd | undefined> {
    const { timer } = this.clock;
    let failures = 0;
    for (let looks = 0; !this.#isLeft; looks++) {
      try {
        const ring = await this.#home.next((queue, generation) =>
          this.ends.sender?.bind(queue, generation),
        );
        if (ring !== undefined && this.#isLeft && "queue" in ring) {
          leave(ring.queue);
          if (this.#home.isMaker) ring.queue.lease.release();
          return undefined;
        }
        if (ring !== undefined) return ring;
        await sleep(timer, Math.min(2 ** Math.min(looks, 10), this.tickMs));
      } catch (error) {
        const delayMs = isFinal(error)
          ? undefined
          : retryDelayMs(this.#retry, ++failures, error, 1);
        if (delayMs === undefined) return this.#fail(error);
        this.tell({ type: "retrying", error, attempt: failures });
        await sleep(timer, delayMs);
      }
    }
    return undefined;
  }

  #adopt(ring: EdgeRing<T>): void {
    const before = this.#queue;
    if (before !== undefined) this.#letGo(before);
    this.#onLeft();
    this.#queue = ring.queue;
    this.#generation = ring.generation;
    this.#rebinds++;
    this.#keep(ring.queue);
    try {
      this.ends.receiver?.bind(ring.queue);
      // At once: a ring may not stand for long, and its producer waits for what has been dealt with.
      this.#hearAndTell();
    } catch (error) {
      // Over already, or not free yet: the next look at it says so.
      if (!isGone(error) && !(isFabricError(error) && error.code === "CONFLICT")) this.#fail(error);
    }
  }

  #end({ endedAt }: EdgeEnd): void {
    this.ends.receiver?.endAt(endedAt);
    this.#isOver = true;
    this.leave();
  }

  #keep({ lease }: FabricQueue<T>): void {
    if (!this.#home.isMaker) return;
    try {
      this.#options.renewals?.register(lease.leaseId, lease.expiresAtMs);
    } catch {
      // Over already: the next look at it moves on.
    }
  }

  #letGo(queue: FabricQueue<T>): void {
    leave(queue);
    if (!this.#home.isMaker) return;
    this.#options.renewals?.unregister(queue.lease.leaseId);
    queue.lease.release();
  }

  // A ring that holds what only it has stays until the consumer has left it, or its lease has run out.
  #drain(queue: FabricQueue<T>): void {
    const before = this.#draining;
    if (before !== undefined) this.#letGo(before);
    this.#options.renewals?.unregister(queue.lease.leaseId);
    this.#draining = queue;
  }

  #endDrain(queue: FabricQueue<T>): void {
    this.#draining = undefined;
    this.#letGo(queue);
  }

  #fail(error: unknown): undefined {
    if (this.#draining !== undefined) this.#endDrain(this.#draining);
    const { sender } = this.ends;
    const { code, details } = isFabricError(error)
      ? error
      : { code: "STORE_UNAVAILABLE" as const, details: {} };
    const items =
      sender === undefined || sender.unacknowledged === 0
        ? {}
        : { unacknowledgedFrom: sender.oldest, unacknowledgedTo: sender.next };
    const what = "The edge is over: it cannot move on";
    this.#failure = new FabricError(code, what, { ...details, ...items }, { cause: error });
    this.tell({ type: "failed", error: this.#failure });
    return undefined;
  }

  #ask(why: RingAsking): void {
    try {
      this.ends.receiver?.ask(why);
    } catch {
      // Gone meanwhile: then the producer sees that by itself.
    }
  }

  // What nobody would notice while nobody calls.
  #look(): void {
    const queue = this.#queue;
    if (queue === undefined || this.#moving !== undefined || this.#failure !== undefined) return;
    try {
      this.#lookAt(queue);
    } catch (error) {
      const code = isFabricError(error) ? error.code : undefined;
      if (code !== undefined && causes[code] !== undefined) this.lapsed(error);
      // Whoever calls is told. But another may have been admitted again.
      else if (code === "REVOKED" && !this.#home.isMaker) void this.follow().catch(() => {});
    }
  }

  #lookAt(queue: FabricQueue<T>): void {
    const { sender } = this.ends;
    const draining = this.#draining;
    queue.assertWhole();
    if (draining !== undefined && (sender?.isRead !== false || isDrained(draining)))
      this.#endDrain(draining);
    if (sender !== undefined) {
      const { asked } = sender;
      if (asked !== undefined && this.#home.isMaker)
        return void this.move(asked === "behind" ? "consumer-died" : "corrupt");
      sender.assertWhole();
      if (sender.hasJoined) {
        sender.takeAcknowledged();
        sender.catchUp();
      }
      if (sender.isWorn && this.#home.isMaker) return void this.move("renumbered");
    }
    this.#hearAndTell();
  }

  #hearAndTell(): void {
    const { receiver } = this.ends;
    // What comes again, so that nothing stands in its producer's way.
    if (this.#isOver && receiver?.join() === true) receiver.pop();
    receiver?.look();
  }
}

const causes: Readonly<Record<string, RelocationCause | undefined>> = {
  LEASE_EXPIRED: "lease-expired",
  DISCONNECTED: "disconnected",
  CORRUPT_RECORD: "corrupt",
};

// Whether everything in a ring has been dealt with, or is gone.
function isDrained<T>(queue: FabricQueue<T>): boolean {
  if (!queue.lease.isLive) return true;
  try {
    const notes = queue.notes();
    return notes.acknowledged >= notes.published;
  } catch {
    // Somebody may be publishing.
    return false;
  }
}

// What no other try would change.
function isFinal(error: unknown): boolean {
  return isFabricError(error) && finalCodes.has(error.code);
}
const finalCodes: ReadonlySet<string> = new Set([
  "STALE_EPOCH",
  "CONFLICT",
  "REVOKED",
  "INVALID_ARGUMENT",
  "CORRUPT_RECORD",
  "DECODE",
  "UNSUPPORTED",
  "EXHAUSTED",
]);

function leave<T>(queue: FabricQueue<T>): void {
  try {
    queue[Symbol.dispose]();
  } catch {
    // Its lease is over, and with it the ring.
  }
}
