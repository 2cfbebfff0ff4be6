/** What happened when: waves, tasks and leases of one run, collected from its events. */
import type { ExecutionEvent, LeaseState } from "selvage";

/** A stretch of time, in milliseconds from the start of the run. `toMs` is missing while it lasts. */
export interface Span {
  readonly name: string;
  readonly fromMs: number;
  toMs: number | undefined;
}

/** One attempt of a task. */
export interface TaskSpan extends Span {
  readonly attempt: number;
  outcome: string;
}

/** One lease. */
export interface LeaseSpan extends Span {
  readonly leaseId: string;
  readonly bytes: number;
  /** When its renewals were noticed. */
  readonly renewedMs: number[];
  endedAs: LeaseState | undefined;
  /** When its bytes were free again. */
  reclaimedMs: number | undefined;
}

/** The timeline of a run, drawn by `timeline-svg.ts` and `timeline-text.ts`. */
export class Timeline {
  readonly waves: Span[] = [];
  readonly tasks: TaskSpan[] = [];
  readonly leases: LeaseSpan[] = [];
  settledMs: number | undefined;
  /** The last moment of the run. */
  endMs = 0;
  readonly #startMs: number;

  constructor(startMs: number) {
    this.#startMs = startMs;
  }

  /** Takes an event of the run. */
  add(event: ExecutionEvent): void {
    const ms = Math.max(0, event.atMs - this.#startMs);
    this.endMs = Math.max(this.endMs, ms);
    switch (event.type) {
      case "wave":
        if (event.state === "started")
          this.waves.push({ name: `wave ${event.index + 1}`, fromMs: ms, toMs: undefined });
        else close(this.waves.at(-1), ms);
        break;
      case "task":
        this.#addTask(event, ms);
        break;
      case "lease":
        this.#addLease(event, ms);
        break;
      case "settled":
        this.settledMs = ms;
        break;
      case "progress":
      case "log":
      case "spill":
      case "resume":
        break;
    }
  }

  #addTask(event: Extract<ExecutionEvent, { type: "task" }>, ms: number): void {
    const { name, attempt, newState } = event;
    if (newState === "running") {
      this.tasks.push({ name, attempt, fromMs: ms, toMs: undefined, outcome: "running" });
      return;
    }
    const open = this.tasks.findLast((span) => span.name === name && span.toMs === undefined);
    if (open === undefined) return;
    open.toMs = ms;
    open.outcome = newState === "waiting" ? "failed" : newState;
  }

  #addLease({ event, task, output }: Extract<ExecutionEvent, { type: "lease" }>, ms: number): void {
    const { leaseId, bytes, type } = event;
    const lease = this.leases.find((span) => span.leaseId === leaseId);
    if (lease === undefined) {
      const name = `${task}/${output}`;
      const rest = { renewedMs: [], endedAs: undefined, reclaimedMs: undefined };
      this.leases.push({ leaseId, name, bytes, fromMs: ms, toMs: undefined, ...rest });
    } else if (type === "renewed") lease.renewedMs.push(ms);
    else if (type === "reclaimed") lease.reclaimedMs = ms;
    else if (type === "expired" || type === "released" || type === "revoked") {
      lease.toMs = ms;
      lease.endedAs = type;
    }
  }
}

function close(span: Span | undefined, ms: number): void {
  if (span !== undefined) span.toMs = ms;
}
