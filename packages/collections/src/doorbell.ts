/**
 * How threads at a ring sleep and wake, and how what a thread has not published yet gets out.
 *
 * Order D1 (no lost wake-up). A waiter loads the ring count (atomic), sets the flag (atomic), looks at the ring once more
 * (atomic load of the other side's position), then sleeps while the count is unchanged. The other side publishes
 * (atomic store), then loads the flag (atomic). Sequential consistency leaves two cases: the publisher's load comes
 * after the waiter's store, so it rings; or the waiter's look comes after the publication, so it does not sleep. Whoever
 * clears the flag raises the count afterwards: a flag that is cleared after it was set makes the sleep return at once,
 * for the count was loaded before. Were it loaded after, a ringer could clear one waiter's flag for what another takes.
 */
import type { LeaseRegion, SharedWords } from "@selvage/fabric";

const flagOffset = 0;
const countOffset = 1;

/** One condition that threads wait for: that there are items, or that there is room. */
export class Doorbell {
  readonly #words: SharedWords;
  readonly #flag: number;
  readonly #count: number;

  /** The bell whose two words begin at `at`. */
  constructor(region: LeaseRegion, at: number) {
    this.#words = region.memory.words;
    this.#flag = at + flagOffset;
    this.#count = at + countOffset;
  }

  /** Wakes whoever waits. Costs one load when nobody does. Call it after publishing. */
  ring(): void {
    if (this.#words.load(this.#flag) === 0) return;
    this.#words.store(this.#flag, 0);
    this.#words.add(this.#count, 1);
    this.#words.wake(this.#count);
  }

  /** Says that this thread is about to wait. Look once more after it, then `sleep` with what it returned. */
  announce(): number {
    const count = this.#words.load(this.#count);
    this.#words.store(this.#flag, 1);
    return count;
  }

  /** Whether it has been rung since `announce`. */
  hasRung(announced: number): boolean {
    return this.#words.load(this.#count) !== announced;
  }

  /** Blocks until rung since `announce`, `timeoutMs` at most. */
  sleep(announced: number, timeoutMs: number): void {
    this.#words.wait(this.#count, announced, timeoutMs);
  }

  /** As `sleep`, without blocking; `timer` keeps the program alive meanwhile. */
  async rest(
    announced: number,
    timeoutMs: number,
    timer: LeaseRegion["site"]["timer"],
  ): Promise<void> {
    let cancel: (() => void) | undefined;
    const timeout = new Promise<void>((resolve) => (cancel = timer.after(timeoutMs, resolve)));
    // Memory of one thread wakes nobody: there the look when the time is up is what notices.
    const rung = this.#words.waitAsync(this.#count, announced, timeoutMs).catch(() => timeout);
    await Promise.race([timeout, rung]);
    cancel?.();
  }
}

/** A side of a ring with something that it has not told the other side yet. */
export interface Flushable {
  /** Publishes everything. Does nothing when there is nothing, and never throws. */
  settle(): void;
}

// The sides of this thread that have something to publish: a thread's, so a module's.
const unsettled: (Flushable | undefined)[] = [];
// What was lent for this turn.
const lent: (Flushable | undefined)[] = [];
// How many there are. An array that is emptied by `pop` lets its room go, and takes 128 new bytes at the next `push`.
let unsettledCount = 0;
let lentCount = 0;
let isScheduled = false;

/** Sees to it that `side` is settled before this thread waits, and at the end of this turn of its event loop. */
export function settleLater(side: Flushable): void {
  unsettled[unsettledCount++] = side;
  schedule();
}

/** Sees to it that `loan` is settled at the end of this turn of the event loop, and not before. */
export function endLater(loan: Flushable): void {
  lent[lentCount++] = loan;
  schedule();
}

function schedule(): void {
  if (isScheduled) return;
  isScheduled = true;
  void Promise.resolve().then(endTurn);
}

function endTurn(): void {
  isScheduled = false;
  settleAll();
  while (lentCount > 0) {
    const loan = lent[--lentCount];
    lent[lentCount] = undefined;
    loan?.settle();
  }
}

/**
 * Publishes what any ring of this thread holds back: before every wait, or the other side may wait for it for ever; and
 * where a ring looks empty or full, for its other side may be on this thread. Returns whether there was anything.
 */
export function settleAll(): boolean {
  const isAny = unsettledCount > 0;
  // A side that settles notes itself no more, so this ends.
  while (unsettledCount > 0) {
    const side = unsettled[--unsettledCount];
    unsettled[unsettledCount] = undefined;
    side?.settle();
  }
  return isAny;
}
