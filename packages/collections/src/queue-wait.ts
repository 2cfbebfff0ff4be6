/** How a thread waits for a queue: it looks, spins, then sleeps until rung, and looks around now and then. */
import { invalidArgument, type LeaseRegion } from "@selvage/fabric";
import { settleAll, type Doorbell } from "./doorbell.ts";
import type { Ring } from "./ring-side.ts";

/** Looks before a thread goes to sleep: some 2 us, a fraction of what waking it costs (`anchors/perf.md` 2a). */
const spinsMax = 200;
/** A sleeper looks around so often, in milliseconds: its lease may have ended, and it announces itself. */
const sleepMsMax = 20;

/** What is waited for. */
export interface Pending<R> {
  readonly ring: Ring;
  readonly bell: Doorbell;
  readonly timeoutMs: number;
  /** One look: undefined when there is nothing yet. */
  readonly attempt: () => R | undefined;
  /** Whether nothing more can come. */
  readonly isOver: () => boolean;
}

/** Until `isDone`. A closed queue ends a wait for room by itself: `push` throws. */
export function waitForRoom(
  ring: Ring,
  bell: Doorbell,
  timeoutMs: number,
  isDone: () => boolean,
): Pending<true> {
  return { ring, bell, timeoutMs, attempt: () => isDone() || undefined, isOver: () => false };
}

/** Waits, blocking the thread: undefined when the time was up, or nothing more comes. Errors as `attempt`. */
export function block<R>(pending: Pending<R>): R | undefined {
  const wait = new Wait(pending);
  for (let spins = 0; spins < spinsMax; spins++) {
    const result = pending.attempt();
    if (result !== undefined) return result;
  }
  for (;;) {
    const { result, announced, sleepMs } = look(pending, wait);
    if (result !== undefined || sleepMs <= 0) return result;
    pending.bell.sleep(announced, sleepMs);
    wait.slept(pending.bell.hasRung(announced) ? 0 : sleepMs);
  }
}

/** As `block`, without blocking: the program stays alive meanwhile. */
export async function rest<R>(pending: Pending<R>): Promise<R | undefined> {
  const wait = new Wait(pending);
  for (;;) {
    const { result, announced, sleepMs } = look(pending, wait);
    if (result !== undefined || sleepMs <= 0) return result;
    await pending.bell.rest(announced, sleepMs, pending.ring.region.site.timer);
    wait.slept(pending.bell.hasRung(announced) ? 0 : sleepMs);
  }
}

interface Look<R> {
  readonly result: R | undefined;
  readonly announced: number;
  /** How long to sleep; 0: the wait is over. */
  readonly sleepMs: number;
}

function look<R>({ ring, bell, attempt, isOver }: Pending<R>, wait: Wait): Look<R> {
  settleAll();
  // The bell writes, and this thread has announced since it last asked.
  ring.lease.assertLive();
  const announced = bell.announce();
  // Before the look: over, and then empty, means that nothing more comes.
  const wasOver = isOver();
  const result = attempt();
  const sleepMs = wasOver ? 0 : Math.min(wait.leftMs(), sleepMsMax);
  return { result, announced, sleepMs };
}

/** One wait's time. */
class Wait {
  readonly #timeoutMs: number;
  readonly #site: LeaseRegion["site"];
  readonly #startMs: number;
  #sleptMs = 0;

  constructor({ timeoutMs, ring }: Pick<Pending<unknown>, "timeoutMs" | "ring">) {
    if (typeof timeoutMs !== "number" || !(timeoutMs >= 0))
      throw invalidArgument("timeoutMs", "milliseconds from 0 up", timeoutMs);
    this.#timeoutMs = timeoutMs;
    this.#site = ring.region.site;
    this.#startMs = this.#site.nowMs();
  }

  leftMs(): number {
    const passedMs = this.#site.nowMs() - this.#startMs;
    // Where time is ticked by hand it may stand still: then what was slept through counts too.
    const { manual } = this.#site.control.handle;
    return this.#timeoutMs - (manual ? Math.max(passedMs, this.#sleptMs) : passedMs);
  }

  /** Notes a sleep that nobody ended, and announces this thread: it is inside no operation. */
  slept(ms: number): void {
    this.#sleptMs += ms;
    this.#site.pulse.announce();
  }
}
