/** What three worker processes on one queue's file have to keep, each kept by a scene of its own. */
import { setTimeout as sleep } from "node:timers/promises";
import type { QueuedJob } from "selvage";
import { expect } from "vitest";
import { checkEnded } from "./jobs-checks.ts";
import { Crew } from "./jobs-crew.ts";
import type { BeganLine, LogLine, Made, ToldLine } from "./jobs-log.ts";
import { CAP, HANDED_BACK_EXIT, RATE } from "./jobs-process.ts";

const WORKERS = 3;
const LONG_MS = 3_600_000;

async function crewOf(leaseMs: number, drainMs = 100): Promise<Crew> {
  const crew = await Crew.open(WORKERS, { leaseMs, pollMs: 200, drainMs });
  await crew.ready();
  return crew;
}

/** Waits until the body of a job's attempt has begun. */
async function began(crew: Crew, job: string, attempt = 1): Promise<BeganLine> {
  let found: BeganLine | undefined;
  await crew.until(`attempt ${attempt} of ${job} has begun`, () => {
    found = crew
      .log()
      .find(
        (line): line is BeganLine =>
          "began" in line && line.began === job && line.attempt === attempt,
      );
    return found !== undefined;
  });
  return found as BeganLine;
}

function told(crew: Crew, type: string): readonly ToldLine[] {
  return crew.log().filter((line): line is ToldLine => "told" in line && line.told === type);
}

/** Waits until nothing happens any more, and holds what there is. Resolves with how many jobs have completed. */
async function atRest(crew: Crew, jobs: readonly QueuedJob[]): Promise<number> {
  await crew.idle();
  await crew.buried();
  const { complete } = await checkEnded(crew, new Set(jobs.map(({ id }) => id)));
  return complete;
}

/** How soon a killed process's job ran again, in milliseconds by the store's own times. */
export interface Reruns {
  readonly leaseMs: number;
  readonly pollMs: number;
  /** From the last sign of life to the loss: the soonest. */
  readonly soonestMs: number;
  /** From the SIGKILL to the next start: the latest. */
  readonly latestMs: number;
}

/** Kills the process that runs a job, so many times, and sees when another one has it. */
export async function rerunsAfterKills(kills: number): Promise<Reruns> {
  const leaseMs = 1_000;
  await using crew = await crewOf(leaseMs);
  const jobs: QueuedJob<Made>[] = [];
  let [soonestMs, latestMs] = [Infinity, 0];
  for (let kill = 0; kill < kills; kill++) {
    const job = await crew.tasks.waits.enqueue([LONG_MS, 0]);
    jobs.push(job);
    const { pid } = await began(crew, job.id);
    const killedMs = Date.now();
    await crew.end(pid, "SIGKILL");
    const worker = (await crew.queue.workers()).find(({ label }) => label.endsWith(`/${pid}`));
    await job.result({ timeoutMs: 60_000 });
    expect([job.attempts, job.errors.length]).toEqual([2, 1]);
    const [lost] = job.errors;
    expect(lost?.code).toBe("LEASE_EXPIRED");
    // Unless it was given up before it was looked for, on a machine that stood still meanwhile.
    if (worker !== undefined)
      soonestMs = Math.min(soonestMs, (lost?.failedAt ?? 0) - worker.beatMs);
    const next = told(crew, "started").find((line) => line.jobId === job.id && line.attempt === 2);
    latestMs = Math.max(latestMs, (next?.atMs ?? Infinity) - killedMs);
    crew.start();
    await crew.ready();
  }
  await atRest(crew, jobs);
  return { leaseMs, pollMs: 200, soonestMs, latestMs };
}

/** A process whose loop is blocked for `ms` by work that says that it advances: nobody takes it away. */
export async function blockedFor(ms: number, leaseMs: number): Promise<number> {
  await using crew = await crewOf(leaseMs);
  const busy = await crew.tasks.busy.enqueue([ms, false]);
  const { pid } = await began(crew, busy.id);
  const others = await crew.tasks.plain.enqueueMany(Array.from({ length: 12 }, () => [10]));
  for (const other of others) await other.result({ timeoutMs: 60_000 });
  // What ran meanwhile ran elsewhere: the loop was blocked indeed.
  expect((await busy.refresh())?.status).toBe("running");
  expect(await busy.result({ timeoutMs: ms + 60_000 })).toMatchObject({ epoch: 1, attempt: 1 });
  expect([busy.attempts, busy.errors]).toEqual([1, []]);
  const ofIt = told(crew, "worker-started").find((line) => line.pid === pid);
  expect(told(crew, "worker-lost").map((line) => line.worker)).not.toContain(ofIt?.worker);
  return await atRest(crew, [busy, ...others]);
}

/** A process whose loop is blocked without a sign: its job is another one's, and what it then says is refused. */
export async function silentFor(ms: number, leaseMs: number): Promise<number> {
  await using crew = await crewOf(leaseMs);
  const job = await crew.tasks.busy.enqueue([ms, true]);
  const { pid } = await began(crew, job.id);
  expect(await job.result({ timeoutMs: 60_000 })).toMatchObject({ attempt: 2, epoch: 3 });
  expect(job.errors).toMatchObject([{ attempt: 1, code: "LEASE_EXPIRED" }]);
  const next = await began(crew, job.id, 2);
  expect(next.pid).not.toBe(pid);
  // It comes back, under another name.
  await crew.until("it begins anew", () => {
    const names = told(crew, "worker-started").filter((line) => line.pid === pid);
    return names.length === 2;
  });
  return await atRest(crew, [job]);
}

/** SIGTERM of a process that has what ends in time, and of one that has what does not. */
export async function toldToEnd(): Promise<number> {
  await using crew = await crewOf(2_000, 1_500);
  const brief = await crew.tasks.waits.enqueue([300, 300]);
  const drained = await crew.end((await began(crew, brief.id)).pid, "SIGTERM");
  expect(drained).toBe(0);
  expect((await brief.refresh())?.status).toBe("complete");
  const long = await crew.tasks.waits.enqueue([LONG_MS, 0]);
  const handedBack = await crew.end((await began(crew, long.id)).pid, "SIGTERM");
  expect(handedBack).toBe(HANDED_BACK_EXIT);
  // Another one does it, at once; no retry was spent.
  expect(await long.result({ timeoutMs: 60_000 })).toMatchObject({ attempt: 2 });
  expect([brief.attempts, brief.errors, long.errors]).toEqual([1, [], []]);
  expect(told(crew, "worker-lost")).toEqual([]);
  return await atRest(crew, [brief, long]);
}

/** Most bodies of a task at a time, by the order of the log; those of a process end with it. */
function mostAtOnce(lines: readonly LogLine[], task: string): number {
  const open = new Map<string, number>();
  let most = 0;
  for (const line of lines) {
    if ("began" in line && line.task === task) open.set(`${line.began} ${line.epoch}`, line.pid);
    if ("over" in line && line.task === task) open.delete(`${line.over} ${line.epoch}`);
    if ("died" in line) for (const [key, pid] of open) if (pid === line.died) open.delete(key);
    most = Math.max(most, open.size);
  }
  return most;
}

const many = (count: number) => Array.from({ length: count }, () => [40] as [number]);

/** Limits of a task and of a queue, and a rate, while one of three processes is killed. */
export async function limitsHeld(): Promise<number> {
  await using crew = await crewOf(1_000);
  const { capped, narrow, rated } = crew.tasks;
  await crew.queue.limit("narrow", { maxConcurrent: 3 });
  const [ofTask, ofQueue, ofRate] = await Promise.all([
    capped.enqueueMany(many(40)),
    narrow.enqueueMany(many(40)),
    rated.enqueueMany(Array.from({ length: 30 }, () => [])),
  ]);
  await sleep(300);
  const [running] = crew
    .log()
    .filter((line) => "began" in line && line.task === "capped")
    .slice(-1);
  await crew.end((running as BeganLine).pid, "SIGKILL");
  crew.start();
  const complete = await atRest(crew, [...ofTask, ...ofQueue, ...ofRate]);
  const lines = crew.log();
  expect([mostAtOnce(lines, "capped"), mostAtOnce(lines, "narrow")]).toEqual([CAP, 3]);
  const pids = new Set(
    lines.flatMap((line) => ("began" in line && line.task === "capped" ? [line.pid] : [])),
  );
  expect(pids.size).toBeGreaterThan(1);
  checkRate(told(crew, "started").filter(({ jobId }) => ofRate.some(({ id }) => id === jobId)));
  return complete;
}

// By the times of the claims' transactions, which is what a bucket goes by. Clocks of processes differ by a millisecond or two.
function checkRate(claims: readonly ToldLine[]): void {
  const startsMs = claims.map(({ atMs }) => atMs).toSorted((a, b) => a - b);
  expect(startsMs.length).toBeGreaterThanOrEqual(29);
  for (const [from, fromMs] of startsMs.entries())
    for (const [to, toMs] of startsMs.entries()) {
      if (to < from) continue;
      const allowed = RATE.burst + ((toMs - fromMs + 4) / 1_000) * RATE.perSecond;
      expect(to - from + 1).toBeLessThanOrEqual(allowed);
    }
}

/** A queue that is paused for all processes by another one. */
export async function pausedForAll(): Promise<number> {
  await using crew = await crewOf(2_000);
  const before = await crew.tasks.plain.enqueueMany(Array.from({ length: 60 }, () => [20]));
  await began(crew, before[0]?.id ?? "");
  await crew.queue.pause("default");
  await crew.until("what ran has ended", async () => (await crew.queue.stats()).running === 0);
  const begun = (): number => crew.log().filter((line) => "began" in line).length;
  const counted = begun();
  const after = await crew.tasks.plain.enqueueMany(Array.from({ length: 5 }, () => [1]));
  // Another queue's jobs go on.
  await (await crew.tasks.narrow.enqueue([600])).result({ timeoutMs: 60_000 });
  expect(begun()).toBe(counted + 1);
  expect((await crew.queue.stats({ queue: "default" })).pending).toBe(65 - counted);
  await crew.queue.resume("default");
  return await atRest(crew, [...before, ...after]);
}

/** A schedule that three processes see due: each fire is one job. */
export async function firedOnce(fires: number): Promise<number> {
  await using crew = await crewOf(2_000);
  await crew.tasks.plain.cron("* * * * * *", { name: "tick", args: [0] });
  await crew.until("it has fired", async () => (await crew.queue.listJobs()).length >= fires);
  await crew.queue.deleteCron("tick");
  await crew.idle();
  const jobs = await crew.queue.listJobs();
  const seconds = jobs.map(({ times }) => Math.floor(times.createdMs / 1_000));
  expect(new Set(seconds).size).toBe(jobs.length);
  return await atRest(crew, jobs);
}
