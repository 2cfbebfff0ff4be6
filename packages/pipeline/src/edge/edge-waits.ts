/** How an end of an edge waits for its ring, and what it says when none comes. */
import type { FabricQueue } from "@selvage/collections";
import { FabricError, invalidArgument, type AbortSignalLike, type Timer } from "@selvage/fabric";
import { sleep, type EdgeFabric, type EdgeHome } from "./edge-home.ts";
import type { EdgeClock, EdgeMover } from "./edge-mover.ts";

/** How long to wait. */
export interface EdgeWaitOptions {
  /** In milliseconds. Default: as long as it takes. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignalLike;
}

/** Longest wait for a bell before an end looks around: its ring may be over. In milliseconds. */
const BELL_MS_MAX = 20;

/**
 * Looks, waits for something to happen, and looks again. Undefined when the time is up, or `isOver`.
 * @throws FabricError `INVALID_ARGUMENT`; the signal's reason; what `look` throws.
 */
export async function waitFor<R>(
  clock: EdgeClock,
  look: () => R | undefined,
  { timeoutMs = Infinity, signal }: EdgeWaitOptions,
  soon: (ms: number) => Promise<unknown>,
  isOver: () => boolean = () => false,
): Promise<R | undefined> {
  if (typeof timeoutMs !== "number" || !(timeoutMs >= 0))
    throw invalidArgument("timeoutMs", "milliseconds from 0 up", timeoutMs);
  const untilMs = clock.nowMs() + timeoutMs;
  for (;;) {
    if (signal?.aborted === true) throw signal.reason;
    const found = look();
    if (found !== undefined || isOver()) return found;
    const leftMs = untilMs - clock.nowMs();
    if (leftMs <= 0) return undefined;
    await soon(Math.min(leftMs, BELL_MS_MAX));
  }
}

/** Whoever waits behind another one's call. */
export class Turn {
  readonly #timer: Timer;
  #hasCome = false;
  #wake: () => void = () => {};

  constructor(before: Promise<unknown> | undefined, timer: Timer) {
    this.#timer = timer;
    this.#hasCome = before === undefined;
    void before?.then(() => {
      this.#hasCome = true;
      this.#wake();
    });
  }

  get hasCome(): boolean {
    return this.#hasCome;
  }

  /** Resolves when it has come, after `ms` in any case. */
  soon(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#timer.after(ms, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
  }
}

/** How an edge waits for what its other end does. */
export class EdgeWaits<T> {
  readonly #mover: EdgeMover<T>;

  constructor(mover: EdgeMover<T>) {
    this.#mover = mover;
  }

  /** Resolves when there may be an item, after `ms` in any case. @throws FabricError as `EdgeMover.lapsed`. */
  async item(ms: number = BELL_MS_MAX): Promise<void> {
    const { queue } = this.#mover;
    if (queue === undefined) return this.#mover.movedWithin(ms);
    await this.#rung(queue, queue.itemAsync(ms));
  }

  /** Resolves when there may be room: in the ring, or in the window. Otherwise as `item`. */
  async room(ms: number = BELL_MS_MAX): Promise<void> {
    const { queue, ends } = this.#mover;
    if (queue === undefined) return this.#mover.movedWithin(ms);
    if (ends.sender?.isWindowFull === true) return this.acknowledged(ms);
    await this.#rung(queue, queue.roomAsync(ms));
  }

  /** Resolves when more may have been acknowledged. Otherwise as `item`. */
  async acknowledged(ms: number = BELL_MS_MAX): Promise<void> {
    const { queue, ends, tickMs, clock } = this.#mover;
    if (queue === undefined) return this.#mover.movedWithin(ms);
    // What else may change is seen at a tick.
    const bellMs = Math.min(ms, tickMs);
    const { sender } = ends;
    // One that has not joined takes no acknowledgements: the bell would ring again and again.
    const isHearing = sender?.hasJoined === true;
    await this.#rung(
      queue,
      isHearing ? sender.acknowledgedAsync(bellMs) : sleep(clock.timer, bellMs),
    );
  }

  /**
   * Blocks the thread until there is an item. False when the time is up, and at once where the ring is closed: another follows.
   * @throws FabricError as `EdgeMover.lapsed`.
   */
  blockForItem(timeoutMs: number): boolean {
    return this.#block((queue, ms) => queue.waitForItem(ms), timeoutMs);
  }

  /** Blocks the thread until there is room, as `blockForItem`. */
  blockForRoom(timeoutMs: number): boolean {
    return this.#block((queue, ms) => {
      const { sender } = this.#mover.ends;
      if (sender?.isWindowFull === true && !sender.takeAcknowledged())
        return sender.waitForAcknowledged(ms) && sender.takeAcknowledged();
      return queue.waitForRoom(ms);
    }, timeoutMs);
  }

  #block(look: (queue: FabricQueue<T>, ms: number) => boolean, timeoutMs: number): boolean {
    const { queue, clock } = this.#mover;
    if (queue === undefined) return false;
    try {
      const untilMs = clock.nowMs() + timeoutMs;
      for (;;) {
        const leftMs = untilMs - clock.nowMs();
        if (look(queue, Math.max(0, Math.min(leftMs, BELL_MS_MAX)))) return true;
        if (leftMs <= BELL_MS_MAX || queue.isClosed) return false;
      }
    } catch (error) {
      this.#mover.lapsed(error);
      return false;
    }
  }

  async #rung(queue: FabricQueue<T>, bell: Promise<unknown>): Promise<void> {
    try {
      await bell;
    } catch (error) {
      // The ring may have been left meanwhile, for another.
      if (this.#mover.queue === queue) this.#mover.lapsed(error);
    }
  }
}

/** The ring that stands, waiting for it. @throws FabricError `NOT_FOUND`, `DISCONNECTED`, `LEASE_EXPIRED`, as `home.next`; the signal's reason. */
export async function findRing<T>(
  home: EdgeHome<T>,
  fabric: EdgeFabric,
  wait: {
    readonly timeoutMs: number;
    readonly tickMs: number;
    readonly signal: AbortSignalLike | undefined;
  },
): Promise<FabricQueue<T>> {
  const { timeoutMs, tickMs, signal } = wait;
  const untilMs = fabric.nowMs() + timeoutMs;
  for (;;) {
    if (signal?.aborted === true) throw signal.reason;
    const ring = await home.next(() => {});
    if (ring !== undefined && "endedAt" in ring) throw streamIsOver(ring.endedAt);
    if (ring !== undefined) return ring.queue;
    if (fabric.nowMs() >= untilMs) throw nothingFound(home.generation, timeoutMs);
    await sleep(fabric.timer, tickMs);
  }
}

/** The error for whoever comes when nothing follows. */
function streamIsOver(endedAt: number): FabricError {
  return new FabricError("DISCONNECTED", "Cannot attach: the stream is over", { endedAt });
}

/** The error for whoever found no ring. */
function nothingFound(generation: number, timeoutMs: number): FabricError {
  return generation === 0
    ? new FabricError("NOT_FOUND", "Cannot attach: no ring has been published", { timeoutMs })
    : new FabricError("LEASE_EXPIRED", "Cannot attach: the ring that was published is over", {
        generation,
        timeoutMs,
      });
}
