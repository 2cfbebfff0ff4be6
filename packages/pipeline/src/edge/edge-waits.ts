/** How an end of an edge waits for its ring, and what it says when none comes. */
import type { FabricQueue } from "@selvage/collections";
import { FabricError, invalidArgument, type AbortSignalLike } from "@selvage/fabric";
import { sleep, type EdgeFabric, type EdgeHome } from "./edge-home.ts";
import type { EdgeClock } from "./edge-mover.ts";

/** How long to wait. */
export interface EdgeWaitOptions {
  /** In milliseconds. Default: as long as it takes. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignalLike;
}

/** Longest wait for a bell before an end looks around: its ring may be over. In milliseconds. */
export const BELL_MS_MAX = 20;

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

/**
 * Blocks the thread until `look`, which waits as long as it is told, comes to something. False when the time is up, or the
 * queue is closed: another follows. Errors as `look`.
 */
export function blockOn<T>(
  queue: FabricQueue<T>,
  look: (queue: FabricQueue<T>, ms: number) => boolean,
  { nowMs }: { readonly nowMs: () => number },
  timeoutMs: number,
): boolean {
  const untilMs = nowMs() + timeoutMs;
  for (;;) {
    const leftMs = untilMs - nowMs();
    if (look(queue, Math.max(0, Math.min(leftMs, BELL_MS_MAX)))) return true;
    if (leftMs <= BELL_MS_MAX || queue.isClosed) return false;
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
