/** `selvage run FILE`: runs a plan of a module, shows it, and sums it up. */
import { writeFileSync } from "node:fs";
import { basename } from "node:path";
import {
  RunRecorder,
  runReport,
  type ExecutionEvent,
  type ExecutionPlan,
  type ExecutionResult,
  type ExecutorOptions,
  type TaskGraph,
  type TaskResult,
} from "@selvage/batch";
import { FabricError, isFabricError, toWire } from "@selvage/fabric";
import { Executor, liveView } from "@selvage/node";
import { Option, type Command } from "commander";
import { EXIT_CODES } from "./exit-codes.ts";
import { exportsNone, loadModule, type Exports } from "./load-module.ts";
import { parseCount } from "./option-values.ts";
import type { CommonOptions, Reply } from "./reply.ts";
import { JSON_OPTION, type Session } from "./session.ts";
import { listenForEnd } from "./signals.ts";
import { formatBytes, formatMs, table, type Column } from "./table.ts";

interface RunOptions extends CommonOptions {
  readonly report?: string;
  readonly teardown?: "expiry" | "eager";
  readonly ttlMs?: number;
  readonly quiet?: true;
}

/** Adds the command. */
export function addRun(program: Command, session: Session): void {
  program
    .command("run")
    .description("run a plan: a module that exports `plan` or `graph`, or has one as its default")
    .argument("<file>", "the module; it may export `options` for the executor, too")
    .option("--report <file>", "write a report of the run, one HTML page")
    .addOption(
      new Option("--teardown <how>", "how intermediate data ends").choices(["expiry", "eager"]),
    )
    .option("--ttl-ms <n>", "how long a lease of the run lasts, unless renewed", parseCount)
    .option("--quiet", "do not show the run while it goes on")
    .option(...JSON_OPTION)
    .action(session.telling((file: string, options: RunOptions) => run(file, options, session)));
}

async function run(file: string, options: RunOptions, session: Session): Promise<Reply> {
  const exported = await loadModule(file);
  const plan = await planOf(file, exported);
  const own = (exported["options"] ?? {}) as ExecutorOptions;
  const recorder = options.report === undefined ? undefined : new RunRecorder();
  using told = listenForEnd();
  using view = options.quiet ? undefined : liveView({ plan, stream: session.streams.stderr });
  const hear = (event: ExecutionEvent): void => {
    view?.onEvent(event);
    recorder?.onEvent(event);
    own.onEvent?.(event);
  };
  const result = await Executor.run(plan, {
    ...own,
    ...(options.teardown && { teardown: options.teardown }),
    ...(options.ttlMs !== undefined && { ttlMs: options.ttlMs }),
    signal:
      own.signal instanceof AbortSignal ? AbortSignal.any([own.signal, told.signal]) : told.signal,
    onEvent: hear,
  });
  if (recorder !== undefined) {
    const page = runReport(plan, recorder, result, { title: basename(file) });
    writeReport(options.report as string, page);
  }
  return replyOf(result, options.report);
}

/** The plan that a module exports; or its graph's; or what a function of one of these names gives. */
async function planOf(file: string, exported: Exports): Promise<ExecutionPlan> {
  const found = exported["plan"] ?? exported["graph"] ?? exported["default"];
  const made: unknown = typeof found === "function" ? await found() : await found;
  const { build, waves } = (made ?? {}) as Partial<TaskGraph & ExecutionPlan>;
  // By what they do: the module's packages may be another copy than this command's.
  if (typeof waves === "function") return made as ExecutionPlan;
  if (typeof build === "function") return (made as TaskGraph).build();
  const hint = "export const plan = graph.build()";
  throw exportsNone(file, "`plan`, `graph` or default that is a plan or a graph", hint);
}

function writeReport(path: string, page: string): void {
  try {
    writeFileSync(path, page);
  } catch (cause) {
    throw new FabricError("STORE_UNAVAILABLE", `Cannot write ${path}`, { path }, { cause });
  }
}

function replyOf(result: ExecutionResult, report: string | undefined): Reply {
  const { keep: _, tasks, ...figures } = result;
  const document = { ...figures, tasks: tasks.map(taskDocument), ...(report && { report }) };
  const { status, elapsedMs, teardownMs, leases, bytes } = result;
  const lines = [
    table(columns, tasks.map(rowOf), "No tasks."),
    `${status}: ${countsOf(result)} in ${formatMs(elapsedMs)}, then ${formatMs(teardownMs)} until all bytes were back`,
    `${leases.granted} leases, ${formatBytes(bytes.leased)} leased, ${formatBytes(bytes.returned)} returned`,
  ];
  if (report !== undefined) lines.push(`report: ${report}`);
  const exitCode = status === "succeeded" ? EXIT_CODES.ok : EXIT_CODES.failed;
  return { document, text: lines.join("\n"), exitCode };
}

function countsOf(result: ExecutionResult): string {
  const outcomes = ["succeeded", "failed", "skipped", "cancelled", "timedOut"] as const;
  const told = outcomes.filter((outcome) => result[outcome] > 0);
  return told.map((outcome) => `${result[outcome]} ${outcome}`).join(", ") || "no tasks";
}

const columns: readonly Column[] = [
  "TASK",
  "STATUS",
  { figure: "ATTEMPTS" },
  { figure: "TIME" },
  "WHY",
];

function elapsedOf({ startedAtMs, endedAtMs }: TaskResult): number | undefined {
  return startedAtMs === undefined || endedAtMs === undefined ? undefined : endedAtMs - startedAtMs;
}

function rowOf(task: TaskResult): readonly string[] {
  const elapsedMs = elapsedOf(task);
  const time = elapsedMs === undefined ? "-" : formatMs(elapsedMs);
  const because = task.because === undefined ? "" : `because of ${task.because}`;
  const why = task.error === undefined ? because : errorText(task.error);
  return [task.name, task.status, String(task.attempts), time, why];
}

function errorText(error: unknown): string {
  const { message } = toWire(error);
  return isFabricError(error) ? `${error.code}: ${message}` : message;
}

function taskDocument(task: TaskResult): object {
  const { name, status, attempts, retriesUsed, because, error } = task;
  const elapsedMs = elapsedOf(task) ?? null;
  const told = { name, status, attempts, retriesUsed, elapsedMs };
  if (error === undefined) return because === undefined ? told : { ...told, because };
  const { code, message } = toWire(error);
  return { ...told, ...(because !== undefined && { because }), error: { code, message } };
}
