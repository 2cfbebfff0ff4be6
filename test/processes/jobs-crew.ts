/** Worker processes of one queue's file, which a test kills, ends and starts again. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { JobQueue } from "selvage";
import { lineOf, openLog, readLog, type LogLine } from "./jobs-log.ts";
import { declareTasks, type ProcessOptions } from "./jobs-process.ts";

const program = fileURLToPath(new URL("./jobs-process.ts", import.meta.url));
const cache = fileURLToPath(new URL("../../.cache/compiled", import.meta.url));

/** What hangs ends: nothing here takes that long by itself, on the busiest machine. */
const HANG_MS = 100_000;

/** One process of a crew. */
interface Member {
  readonly pid: number;
  readonly child: ChildProcess;
  /** Resolves once it runs jobs, or has ended. */
  readonly ready: Promise<unknown>;
  /** Resolves with how it ended: its exit code, or the signal. */
  readonly ended: Promise<number | string>;
}

/** A queue that makes jobs, processes that run them, and their log, in a folder of their own. */
export class Crew implements AsyncDisposable {
  readonly queue: JobQueue;
  readonly path: string;
  readonly logPath: string;
  readonly tasks: ReturnType<typeof declareTasks>;
  readonly #folder: string;
  readonly #options: ProcessOptions;
  readonly #log: ReturnType<typeof openLog>;
  readonly #members = new Map<number, Member>();

  /** Opens a queue, and starts so many processes. */
  static async open(count: number, options: ProcessOptions): Promise<Crew> {
    const folder = mkdtempSync(join(tmpdir(), "selvage-jobs-"));
    const { leaseMs, pollMs } = options;
    const queue = await JobQueue.open({ path: join(folder, "jobs.sqlite"), leaseMs, pollMs });
    const crew = new Crew(folder, queue, options);
    for (let started = 0; started < count; started++) crew.start();
    return crew;
  }

  private constructor(folder: string, queue: JobQueue, options: ProcessOptions) {
    this.queue = queue;
    this.path = join(folder, "jobs.sqlite");
    this.logPath = join(folder, "log");
    this.#folder = folder;
    this.#options = options;
    this.#log = openLog(this.logPath);
    this.tasks = declareTasks(queue, this.#log.fd);
  }

  /** The processes that live. */
  get pids(): readonly number[] {
    return [...this.#members.keys()];
  }

  /** Starts another process. */
  start(): Member {
    const { path, logPath } = this;
    const args = [...process.execArgv, program, path, logPath, JSON.stringify(this.#options)];
    const child = spawn(process.execPath, args, {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, NODE_COMPILE_CACHE: cache },
    });
    const pid = child.pid as number;
    const ended = once(child, "close").then(([code, signal]: unknown[]) => {
      const how = (code ?? signal) as number | string;
      this.#members.delete(pid);
      this.note({ died: pid, how: String(how), atMs: Date.now() });
      return how;
    });
    const ready = Promise.race([once(child.stdout, "data"), ended]);
    const member = { pid, child, ready, ended };
    this.#members.set(pid, member);
    return member;
  }

  /** Resolves once all processes run jobs. */
  async ready(): Promise<void> {
    await Promise.all([...this.#members.values()].map(({ ready }) => ready));
  }

  /** Ends a process: by SIGKILL whatever it does, by SIGTERM once it listens. Resolves with how it ended. */
  async end(pid: number, signal: "SIGKILL" | "SIGTERM"): Promise<number | string | undefined> {
    const member = this.#members.get(pid);
    if (member === undefined) return undefined;
    if (signal === "SIGTERM") await member.ready;
    this.note({ killing: pid, atMs: Date.now() });
    member.child.kill(signal);
    return member.ended;
  }

  /** Has a process stand still for so long. Resolves when it goes on, if it lives. */
  async freeze(pid: number, ms: number): Promise<void> {
    // From a process beside: what stands still may hold the file's lock, and then so does this one.
    const script = `kill -STOP ${pid} && sleep ${ms / 1_000}; kill -CONT ${pid}`;
    await once(spawn("sh", ["-c", script], { stdio: "ignore" }), "close");
  }

  /** Writes a line to the log. */
  note(line: LogLine): void {
    writeSync(this.#log.fd, lineOf(line));
  }

  /** Everything that was written to the log. */
  readonly log = (): readonly LogLine[] => readLog(this.logPath);

  /** Waits until something holds. @throws Error when it never does. */
  async until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    const untilMs = performance.now() + HANG_MS;
    while (!(await holds())) {
      if (performance.now() > untilMs) {
        const jobs = [
          ...(await this.queue.listJobs({ status: "pending", limit: 20 })),
          ...(await this.queue.listJobs({ status: "running", limit: 20 })),
        ].map(({ id, taskName, status, attempts }) => ({ id, taskName, status, attempts }));
        const workers = await this.queue.workers();
        throw new Error(`never: ${what}: ${JSON.stringify({ jobs, workers, pids: this.pids })}`);
      }
      await sleep(20);
    }
  }

  /** Waits until every job has ended. */
  async idle(): Promise<void> {
    await this.until("all jobs have ended", async () => {
      const { pending, running } = await this.queue.stats();
      return pending + running === 0;
    });
  }

  /** Waits until the store knows no worker of a process that has ended. */
  async buried(): Promise<void> {
    await this.until("no worker is left of a process that has ended", async () => {
      const workers = await this.queue.workers();
      return workers.every(({ label }) => this.pids.includes(Number(label.split("/").at(-1))));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.pids.map((pid) => this.end(pid, "SIGKILL")));
    await this.queue.close();
    this.#log[Symbol.dispose]();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
