/** Jobs that are made again and again, by the clock on the wall. */
import { enqueue } from "./lifecycle.ts";
import type { CronRow, JobSpec } from "./job-record.ts";
import type { QueueCore } from "./queue-core.ts";
import { keepPayload, type Turn } from "./turn.ts";

/**
 * Makes the jobs of all schedules that are due. Fires that were missed are one. The schedule moves on in the same transaction, so
 * that of many workers that see it due, one fires it. Returns when the next one is due.
 */
export function fireCrons(turn: Turn, core: QueueCore): number {
  let nextMs = Infinity;
  for (const cron of turn.tx.crons()) {
    if (cron.isPaused) continue;
    const next = cron.nextMs <= turn.nowMs ? fire(turn, core, cron) : cron.nextMs;
    nextMs = Math.min(nextMs, next);
  }
  return nextMs;
}

function fire(turn: Turn, core: QueueCore, cron: CronRow): number {
  const nextMs = nextOf(turn, core, cron);
  turn.tx.putCron({ ...cron, nextMs });
  const { task, queue, spec, priority, args } = cron;
  enqueue(turn, {
    ...{ task, queue, spec, priority, args: keepPayload(turn, args) },
    ...{ dueMs: turn.nowMs, expiresMs: null, uniqueKey: null, dependsOn: [] },
    ...{ metadata: JSON.stringify({ cron: cron.name }), notes: null },
  });
  return nextMs;
}

/** A schedule whose next time this process cannot tell is asked for again by then, in milliseconds. */
const unknownMs = 60_000;

// It was tried when it was set, by another process perhaps, which knows a time zone that this one does not.
function nextOf(turn: Turn, core: QueueCore, { expression, timeZone }: CronRow): number {
  try {
    return core.ports.cronNextMs?.(expression, timeZone, turn.nowMs) ?? Infinity;
  } catch (error) {
    turn.told.push({ type: "trouble", error, atMs: turn.nowMs });
    return turn.nowMs + unknownMs;
  }
}

type Backoff = Partial<Omit<JobSpec, "timeoutMs" | "retries">>;

const specs = new WeakMap<Backoff, JobSpec>();

/** What a job is told once and for all, of a task's options: one object for all of its jobs, which a store need say but once. */
export function specOf(backoff: Backoff | undefined, timeoutMs: number, retries: number): JobSpec {
  if (backoff === undefined) return newSpec(backoff, timeoutMs, retries);
  const known = specs.get(backoff);
  if (known?.timeoutMs === timeoutMs && known.retries === retries) return known;
  const made = newSpec(backoff, timeoutMs, retries);
  specs.set(backoff, made);
  return made;
}

function newSpec(backoff: Backoff | undefined, timeoutMs: number, retries: number): JobSpec {
  const { baseMs = 1_000, factor = 2, maxMs = 300_000, jitter = "full", delaysMs } = backoff ?? {};
  return {
    timeoutMs,
    retries,
    baseMs,
    factor,
    maxMs,
    jitter,
    ...(delaysMs === undefined ? {} : { delaysMs }),
  };
}
