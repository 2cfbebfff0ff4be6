/** How an end of an edge waits for its ring, and what it says when none comes. */
import type { FabricQueue } from "@selvage/collections";
import { FabricError } from "@selvage/fabric";

/** Longest wait for a bell before an end looks around: its ring may be over. In milliseconds. */
export const BELL_MS_MAX = 20;

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

/** The error for whoever comes when nothing follows. */
export function streamIsOver(endedAt: number): FabricError {
  return new FabricError("DISCONNECTED", "Cannot attach: the stream is over", { endedAt });
}

/** The error for whoever found no ring. */
export function nothingFound(generation: number, timeoutMs: number): FabricError {
  return generation === 0
    ? new FabricError("NOT_FOUND", "Cannot attach: no ring has been published", { timeoutMs })
    : new FabricError("LEASE_EXPIRED", "Cannot attach: the ring that was published is over", {
        generation,
        timeoutMs,
      });
}
