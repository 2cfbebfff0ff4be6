/** What a run's events tell, kept in bounded room: what a report is drawn from. */
import { isFabricError } from "@selvage/fabric";
import type { ExecutionEvent, LeaseEvent, SpillEvent, TaskEvent } from "../run/run-events.ts";
import { ByteSeries } from "./byte-series.ts";

/** One attempt of a task. Times are milliseconds since the Unix epoch. */
export interface RecordedAttempt {
  readonly attempt: number;
  readonly fromMs: number;
  /** Undefined while it runs. */
  toMs: number | undefined;
  /** `running`, or how it ended. An attempt that is followed by another one has `failed`. */
  outcome: string;
  error: unknown;
}

/** One lease. Times are milliseconds since the Unix epoch. */
export interface RecordedLease {
  readonly task: string;
  readonly output: string;
  readonly kind: "mem" | "block";
  readonly bytes: number;
  readonly grantedMs: number;
  /** The TTL that it was granted for, in milliseconds. */
  readonly ttlMs: number;
  /** When some of its renewals were asked for; `renewals` counts all. */
  renewedMs: number[];
  renewals: number;
  endedMs: number | undefined;
  endedAs: string | undefined;
  /** When its bytes were free again. */
  reclaimedMs: number | undefined;
  /** When what it held went to blocks: then it was released. */
  movedOutMs: number | undefined;
  /** When what it holds was back from blocks. */
  cameBackMs: number | undefined;
  /** Since when that was on blocks, if it went there in this run. */
  awaySinceMs: number | undefined;
}

const outcomes: ReadonlySet<string> = new Set(["succeeded", "failed", "cancelled", "timedOut"]);
const attemptsMax = 64;
const leasesMax = 2_048;
const renewalsMax = 64;
const bytePointsMax = 1_024;

/**
 * Collects a run's events for `runReport`. Hand `onEvent` to `Executor.run`. An event costs a look-up or two; the room is
 * bounded: 64 attempts a task and 2,048 leases are kept one by one, further ones are counted; bytes over time get coarser.
 *
 * @example
 * ```ts
 * import { Executor, RunRecorder, runReport, TaskGraph } from "selvage";
 *
 * const graph = new TaskGraph();
 * graph.addTask({ name: "only", run: () => {} });
 * const plan = graph.build();
 * const recorder = new RunRecorder();
 * const result = await Executor.run(plan, { onEvent: recorder.onEvent });
 * const html = runReport(plan, recorder, result); // writeFileSync("run.html", html)
 * ```
 */
export class RunRecorder {
  readonly #attempts = new Map<string, RecordedAttempt[]>();
  readonly #leases: RecordedLease[] = [];
  readonly #open = new Map<string, RecordedLease>();
  // The lease that an output has last had, of those that were kept.
  readonly #leaseOf = new Map<string, RecordedLease>();
  // Outputs that are on blocks only.
  readonly #away = new Map<string, { readonly sinceMs: number; readonly bytes: number }>();
  readonly #restored = new Map<string, number>();
  readonly #bytes = new ByteSeries(bytePointsMax);
  #leasesLeftOut = 0;
  #startedMs: number | undefined;
  #settledMs: number | undefined;
  #endedMs = 0;

  /** Takes an event. Bound: it can be handed on as it is. Never throws. */
  readonly onEvent = (event: ExecutionEvent): void => {
    this.#startedMs ??= event.atMs;
    this.#endedMs = Math.max(this.#endedMs, event.atMs);
    if (event.type === "task") this.#addTask(event);
    else if (event.type === "lease") this.#addLease(event);
    else if (event.type === "spill") this.#addSpill(event);
    else if (event.type === "settled") this.#settle(event.atMs);
    else if (event.type === "resume" && event.state === "restored" && event.name !== undefined)
      this.#restored.set(event.name, event.atMs);
  };

  /** When the first event came, the last outcome, and the last event. Undefined: not yet. */
  get times(): {
    readonly startedMs: number | undefined;
    readonly settledMs: number | undefined;
    readonly endedMs: number;
  } {
    return { startedMs: this.#startedMs, settledMs: this.#settledMs, endedMs: this.#endedMs };
  }

  /** The attempts of a task that were kept, in order. */
  attempts(task: string): readonly RecordedAttempt[] {
    return this.#attempts.get(task) ?? [];
  }

  /** The leases that were kept, in the order in which they were granted. */
  get leases(): readonly RecordedLease[] {
    return this.#leases;
  }

  /** Leases that were only counted. */
  get leasesLeftOut(): number {
    return this.#leasesLeftOut;
  }

  /** When a task was found to be done by an earlier run; undefined: it was not. */
  restoredMs(task: string): number | undefined {
    return this.#restored.get(task);
  }

  /** Bytes over time, of memory and of what is on blocks instead. */
  get bytes(): ByteSeries {
    return this.#bytes;
  }

  #addTask({ name, attempt, newState, error, atMs }: TaskEvent): void {
    let attempts = this.#attempts.get(name);
    if (attempts === undefined) this.#attempts.set(name, (attempts = []));
    if (newState === "running") {
      // The last place is for the last attempt.
      if (attempts.length === attemptsMax) attempts.pop();
      attempts.push({
        attempt,
        fromMs: atMs,
        toMs: undefined,
        outcome: newState,
        error: undefined,
      });
      return;
    }
    const last = attempts.at(-1);
    if (last === undefined || last.toMs !== undefined) return;
    last.toMs = atMs;
    last.outcome = outcomes.has(newState) ? newState : failureOf(error);
    last.error = error;
  }

  #addLease({ task, output, event }: LeaseEvent): void {
    const { type, leaseId, kind, bytes, atMs, expiresAtMs } = event;
    const lease = this.#open.get(leaseId);
    // A lease over blocks is room for many outputs: what is in it is told by the spills.
    const inMemory = kind === "mem" ? bytes : 0;
    if (type === "granted") {
      this.#bytes.change(atMs, { leased: inMemory });
      if (this.#leases.length === leasesMax) this.#leasesLeftOut++;
      else
        this.#open.set(
          leaseId,
          this.#keep({ task, output, kind, bytes, grantedMs: atMs, ttlMs: expiresAtMs - atMs }),
        );
    } else if (type === "reclaimed") {
      this.#bytes.change(atMs, { returning: -inMemory });
      this.#open.delete(leaseId);
      if (lease !== undefined) lease.reclaimedMs = atMs;
    } else if (type === "expired" || type === "released" || type === "revoked") {
      this.#bytes.change(atMs, { leased: -inMemory, returning: inMemory });
      if (lease === undefined) return;
      lease.endedMs = atMs;
      lease.endedAs = type;
    } else if (type === "renewed" && lease !== undefined)
      noteRenewal(lease, Math.min(atMs, expiresAtMs - lease.ttlMs));
  }

  #addSpill({ output, direction, bytes, atMs }: SpillEvent): void {
    const lease = this.#leaseOf.get(output);
    const standing = lease?.endedMs === undefined ? lease : undefined;
    const away = this.#away.get(output);
    if (direction === "out") {
      if (standing !== undefined) standing.movedOutMs = atMs;
      if (away !== undefined) return;
      this.#away.set(output, { sinceMs: atMs, bytes });
      this.#bytes.change(atMs, { spilled: bytes });
      return;
    }
    if (standing !== undefined) {
      standing.cameBackMs = atMs;
      standing.awaySinceMs = away?.sinceMs;
    }
    // What has once been on blocks goes there again without being written, or told.
    if (away === undefined) return;
    this.#away.delete(output);
    this.#bytes.change(atMs, { spilled: -away.bytes });
  }

  // What nobody came back for is given back with the blocks.
  #settle(atMs: number): void {
    this.#settledMs = atMs;
    for (const { bytes } of this.#away.values()) this.#bytes.change(atMs, { spilled: -bytes });
    this.#away.clear();
  }

  #keep(
    granted: Pick<RecordedLease, "task" | "output" | "kind" | "bytes" | "grantedMs" | "ttlMs">,
  ): RecordedLease {
    const lease: RecordedLease = {
      ...granted,
      renewedMs: [],
      renewals: 0,
      endedMs: undefined,
      endedAs: undefined,
      reclaimedMs: undefined,
      movedOutMs: undefined,
      cameBackMs: undefined,
      awaySinceMs: undefined,
    };
    this.#leases.push(lease);
    if (lease.output !== "") this.#leaseOf.set(lease.output, lease);
    return lease;
  }
}

// What follows is another attempt.
function failureOf(error: unknown): string {
  return isFabricError(error) && error.code === "TIMED_OUT" ? "timedOut" : "failed";
}

function noteRenewal(lease: RecordedLease, atMs: number): void {
  lease.renewals++;
  // Full: every second one stays.
  if (lease.renewedMs.length === renewalsMax)
    lease.renewedMs = lease.renewedMs.filter((_, index) => index % 2 === 1);
  lease.renewedMs.push(atMs);
}

/** A recorder that has heard the events. */
export function recorded(events: RunRecorder | Iterable<ExecutionEvent>): RunRecorder {
  if (events instanceof RunRecorder) return events;
  const recorder = new RunRecorder();
  for (const event of events) recorder.onEvent(event);
  return recorder;
}
