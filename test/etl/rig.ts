/** What the tests of the main job share: folders that go away, the job as a process, the job within a test. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { DatabaseSync } from "node:sqlite";
import { Executor, Fabric, type ExecutionResult, type ExecutorOptions } from "selvage";
import { buildJob, exampleData, type Job } from "../../examples/etl/job.ts";

/** Rows of most tests: a moment's work, and most airports. */
export const ROWS = 60_000;

/** Where the whole input is. */
export const FLIGHTS: string = exampleData().flights;

const root = fileURLToPath(new URL("../..", import.meta.url));
const mainModule = "examples/etl/main.ts";
// What a child has compiled, the next one need not.
const compileCache = path.join(root, ".cache", "etl-tests");
const childMsMax = 60_000;
const childrenMax = 2;

/** A folder of one test's own. */
export class Folder implements Disposable {
  readonly path: string = mkdtempSync(path.join(tmpdir(), "selvage-etl-"));

  /** A place within. */
  at(...names: string[]): string {
    return path.join(this.path, ...names);
  }

  /** The names within, folders below included; empty when it is gone. */
  names(below = ""): string[] {
    const folder = this.at(below);
    if (!existsSync(folder)) return [];
    return (readdirSync(folder, { recursive: true }) as string[]).toSorted();
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** The parts of the JSON document that tests read. */
export interface JobDocument {
  readonly status: string;
  readonly tasks: readonly {
    readonly name: string;
    readonly status: string;
    readonly retriesUsed: number;
    readonly because?: string;
    readonly error?: { readonly code: string | null; readonly message: string };
  }[];
  readonly renewals: number;
  readonly leases: ExecutionResult["leases"];
  readonly bytes: ExecutionResult["bytes"];
  readonly rows: { readonly read: number };
  readonly output: { readonly path: string | null };
  readonly elapsedMs: number;
  readonly teardownMs: number;
  readonly error?: { readonly code: string | null; readonly message: string };
}

/** How a process ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** What it wrote to descriptor 3, where it has one. */
  readonly marks: string;
  readonly pid: number | undefined;
}

/** A process that has started. */
export interface Started {
  readonly ended: Promise<Ended>;
  kill(signal: NodeJS.Signals): void;
  /** Resolves when stdout has shown `text`, or when the process has ended. */
  shown(text: string): Promise<void>;
}

/** The command line of the job, as this lane of tests runs it. */
export function commandLine(args: readonly string[], nodeArgs: readonly string[] = []): string[] {
  const conditions = process.execArgv.filter((arg) => arg.startsWith("--conditions="));
  return [process.execPath, ...conditions, ...nodeArgs, mainModule, ...args];
}

/** Starts a program in the repository; `hasMarks` makes its descriptor 3 a pipe. It is killed after a minute. */
export function startProgram(
  [program = "", ...args]: readonly string[],
  hasMarks = false,
): Started {
  const child = spawn(program, args, {
    cwd: root,
    env: { ...process.env, NODE_COMPILE_CACHE: compileCache },
    stdio: ["ignore", "pipe", "pipe", hasMarks ? "pipe" : "ignore"],
    timeout: childMsMax,
    killSignal: "SIGKILL",
  });
  const text = { stdout: "", stderr: "", marks: "" };
  const waiting = new Set<() => void>();
  const streams = [child.stdout, child.stderr, child.stdio[3]] as const;
  for (const [at, name] of (["stdout", "stderr", "marks"] as const).entries())
    streams[at]?.on("data", (data: Buffer) => {
      text[name] += data.toString();
      for (const look of waiting) look();
    });
  let isOver = false;
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on("error", reject);
    // Not `exit`: every process that has inherited the pipes must have gone.
    child.on("close", (code, signal) => {
      isOver = true;
      for (const look of waiting) look();
      resolve({ ...text, code, signal, pid: child.pid });
    });
  });
  return {
    ended,
    kill: (signal) => void child.kill(signal),
    shown: (wanted) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (!isOver && !text.stdout.includes(wanted)) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      }),
  };
}

let running = 0;
const queue: (() => void)[] = [];

/** Does `work` when fewer than two others do: a test file's children share two cores with other files' tests. */
export async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (running === childrenMax) await new Promise<void>((resolve) => queue.push(resolve));
  else running++;
  try {
    return await work();
  } finally {
    const next = queue.shift();
    if (next === undefined) running--;
    else next();
  }
}

/** Runs the job as a process, to its end. */
export function runProcess(...args: string[]): Promise<Ended> {
  return inTurn(() => startProgram(commandLine(args)).ended);
}

/** Runs the job as a process with `--json`. */
export async function runJson(
  ...args: string[]
): Promise<Ended & { readonly document: JobDocument }> {
  const ended = await runProcess("--json", ...args);
  if (ended.stdout === "")
    throw new Error(`no document: ${ended.code ?? ended.signal}\n${ended.stderr}`);
  return { ...ended, document: JSON.parse(ended.stdout) as JobDocument };
}

/** A run within the test. */
export interface RunWithin {
  readonly out: string;
  readonly rows?: number;
  readonly memoryBytes?: number;
  readonly options?: (fabric: Fabric, job: Job) => ExecutorOptions;
  /** Looks at the fabric before it closes. */
  readonly after?: (fabric: Fabric) => void;
}

/** Runs the job's plan in this process, on a fabric of the test's own. */
export async function runWithin(run: RunWithin): Promise<{ job: Job; result: ExecutionResult }> {
  const { out, rows = ROWS, memoryBytes = 32 * 2 ** 20 } = run;
  using fabric = Fabric.open({ memoryBytes, blocks: 0 });
  const { flights: input, airports } = exampleData();
  const job = buildJob({ input, airports, out, rows });
  const result = await Executor.run(job.plan, { fabric, ...run.options?.(fabric, job) });
  run.after?.(fabric);
  return { job, result };
}

/** Every row of both tables, in order. */
export function dump(database: string): unknown[] {
  using connection = new DatabaseSync(database, { readOnly: true });
  const rows = ["airport_delays", "route_delays"].map((table) =>
    connection.prepare(`SELECT * FROM ${table} ORDER BY 1, 2`).all(),
  );
  return JSON.parse(JSON.stringify(rows)) as unknown[];
}

/** Processes whose command line holds `text`; none where the system does not tell. */
export function processesWith(text: string): string[] {
  if (!existsSync("/proc/self/cmdline")) return [];
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(text);
    } catch {
      return false; // It has ended meanwhile.
    }
  });
}
