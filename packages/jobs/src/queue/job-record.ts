/** What a job queue keeps: jobs, and what belongs to them. Plain data, as stores see it. */

/**
 * Where a job stands, as its queue works with it. The first three are one status, `pending`: which of them it is decides what
 * it waits for, so that whoever looks for work reads nothing that cannot start.
 */
export const PHASES: PhaseTable = Object.freeze({
  ...{
    ready: 0,
    delayed: 1,
    blocked: 2,
    running: 3,
    complete: 4,
    dead: 5,
    cancelled: 6,
    failed: 7,
  },
} as const);

/** What the phases mean. */
export interface PhaseTable {
  /** It can start. */
  readonly ready: 0;
  /** It waits for its time. */
  readonly delayed: 1;
  /** It waits for jobs that it depends on. */
  readonly blocked: 2;
  /** A worker has claimed it. */
  readonly running: 3;
  readonly complete: 4;
  /** Failed for good; it can be replayed. */
  readonly dead: 5;
  readonly cancelled: 6;
  /** Failed for good, and its dead letter was purged: it cannot be replayed. */
  readonly failed: 7;
}

/** One of {@link PHASES}. */
export type Phase = PhaseTable[keyof PhaseTable];

/** Where a job stands, as its users see it. */
export type JobStatus = "pending" | "running" | "complete" | "failed" | "dead" | "cancelled";

/** The statuses, in the order of a job's life. */
export const JOB_STATUSES: readonly JobStatus[] = Object.freeze([
  ...(["pending", "running", "complete", "failed", "dead", "cancelled"] as const),
]);

const statuses: readonly JobStatus[] = [
  ...(["pending", "pending", "pending", "running"] as const),
  ...(["complete", "dead", "cancelled", "failed"] as const),
];

/** The status that a phase is. */
export function statusOf(phase: Phase): JobStatus {
  return statuses[phase] as JobStatus;
}

/** The phases that are a status. */
export function phasesOf(status: JobStatus): readonly Phase[] {
  return Object.values(PHASES).filter((phase) => statuses[phase] === status);
}

/** True for a job that nothing more happens to by itself. */
export function isEnd(phase: Phase): boolean {
  return phase > PHASES.running;
}

/** Arguments or a result: in the job's own record, or in blocks where they are long. */
export type Payload =
  | { readonly kind: "inline"; readonly bytes: Uint8Array }
  | { readonly kind: "blocks"; readonly blocks: number };

/** One argument that is made of the results of other jobs, in the order of `jobs`. */
export interface InputSpec {
  /** Which argument, from 0. */
  readonly index: number;
  /** Ids of the jobs, each one that the job depends on. */
  readonly jobs: readonly string[];
  /** `"value"`: the one job's result; `"list"`: all of them; else the name of a combiner. */
  readonly combine: string;
}

/** What the job's children are to be made like, of a job whose work is to fan out. */
export interface FanSpec {
  /** The task that gets one item each. */
  readonly task: string;
  /** The job whose result is the list of items. */
  readonly items: string;
}

/** What a job is told once and for all. */
export interface JobSpec {
  readonly timeoutMs: number;
  /** Retries after the first attempt; a replay gives them anew. */
  readonly retries: number;
  /** How the waits before retries grow: see `RetryPolicy` of leasekit. */
  readonly baseMs: number;
  readonly factor: number;
  readonly maxMs: number;
  readonly jitter: "full" | "none";
  readonly delaysMs?: readonly number[];
  readonly inputs?: readonly InputSpec[];
  readonly fan?: FanSpec;
  /** Which item of its fan the job is, from 0. */
  readonly item?: number;
}

/** A job in its store. The store gives `seq`, a number that rises with every job; what changes is saved as a whole. */
export interface JobRow {
  readonly seq: number;
  readonly id: string;
  readonly task: string;
  readonly queue: string;
  readonly priority: number;
  readonly createdMs: number;
  readonly spec: JobSpec;
  readonly args: Payload;
  readonly metadata: string | null;
  /** JSON of an object. */
  readonly notes: string | null;
  readonly uniqueKey: string | null;
  /** Unstarted by then, it is cancelled. */
  readonly expiresMs: number | null;
  phase: Phase;
  dueMs: number;
  /** How many jobs it waits for. */
  blockers: number;
  /** Attempts begun. */
  attempts: number;
  /** Retries that are left. */
  retriesLeft: number;
  /** Rises with every claim, and with every loss of one: what carries another epoch is refused. */
  epoch: number;
  /** The worker that has a body of it: also of one that has ended, while its body could not be stopped. */
  owner: string | null;
  /** Someone asked for its cancellation while it ran. */
  isCancelling: boolean;
  /** 0 to 100. */
  progress: number;
  startedMs: number | null;
  endedMs: number | null;
  /** Why it was cancelled or died. */
  because: string | null;
  /** The job whose end cancelled it: a replay of that one revives it. */
  root: string | null;
  result: Payload | null;
}

/** A job before its store gave it a number. */
export type JobDraft = Omit<JobRow, "seq">;

/** One failed attempt. */
export interface AttemptFailure {
  /** From 1. */
  readonly attempt: number;
  /** What it said: the message of what was thrown. */
  readonly error: string;
  /** Milliseconds since the Unix epoch. */
  readonly failedAt: number;
  /** The error's name, its code where it has one, and its stack. */
  readonly name: string;
  readonly code: string | null;
  readonly stack: string | null;
}

/** A process, or a part of one, that claims jobs. It is alive while `beats` rises. */
export interface WorkerRow {
  readonly id: string;
  /** Who it is, for people: a process id, a host. */
  readonly label: string;
  readonly queues: readonly string[];
  readonly startedMs: number;
  /** Its TTL: silent for so long, it is given up. */
  readonly leaseMs: number;
  readonly beats: number;
  /** When it last said that it is alive, by the clock of its host. */
  readonly beatMs: number;
}

/** A named queue, once something was set on it. */
export interface QueueRow {
  readonly name: string;
  readonly isPaused: boolean;
  readonly maxConcurrent: number | null;
  /** Tokens a second; null is no limit. */
  readonly ratePerSecond: number | null;
  /** How many may start at once after a pause. */
  readonly rateBurst: number | null;
}

/** What is left of a rate limit. */
export interface BucketRow {
  readonly name: string;
  readonly tokens: number;
  readonly atMs: number;
}

/** A job that is made again and again. */
export interface CronRow {
  readonly name: string;
  readonly task: string;
  readonly queue: string;
  readonly expression: string;
  readonly timeZone: string;
  readonly args: Uint8Array;
  /** What its jobs are told, and their priority: as whoever set it declared the task. */
  readonly spec: JobSpec;
  readonly priority: number;
  readonly nextMs: number;
  readonly isPaused: boolean;
}

/** How many jobs a queue has of each status. */
export interface StatusCount {
  readonly queue: string;
  readonly status: JobStatus;
  readonly count: number;
}
