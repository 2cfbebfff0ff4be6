/** The command line of the main job. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import {
  Executor,
  Fabric,
  FabricError,
  isFabricError,
  liveView,
  RunRecorder,
  runReport,
  type ExecutionResult,
  type LiveView,
} from "selvage";
import { formatSeconds } from "./format.ts";
import { buildJob, exampleData, parseFailure, type Job } from "./job.ts";
import { failures, ledger, toErrorJson, toJson, worstAirports, type JobFigures } from "./report.ts";
import { drawSvg } from "./timeline-svg.ts";
import { drawText } from "./timeline-text.ts";
import { Timeline } from "./timeline.ts";

const MiB = 2 ** 20;

interface CliOptions {
  readonly json: boolean;
  readonly out: string;
  readonly rows?: number;
  readonly ttlMs: number;
  readonly teardown: "expiry" | "eager";
  readonly fail?: string;
  readonly report?: string;
  readonly input: string;
  readonly memoryMib: number;
}

/** Runs the command; gives its exit status: 0 only when every task succeeded. */
export async function runCli(argv: readonly string[], signal: AbortSignal): Promise<number> {
  try {
    return await runJob(parseOptions(argv), signal);
  } catch (thrown) {
    // Help was asked for, and is on the screen.
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return 0;
    if (!isFabricError(thrown)) throw thrown;
    process.stderr.write(`${thrown.code}: ${thrown.message}\n`);
    // By the argument itself: what the rest of them say may be what is wrong.
    if (argv.includes("--json")) writeJson(toErrorJson(thrown));
    return 2;
  }
}

/** @throws FabricError `INVALID_ARGUMENT`; CommanderError when help was asked for. */
function parseOptions(argv: readonly string[]): CliOptions {
  const program = command();
  try {
    program.parse([...argv], { from: "user" });
  } catch (thrown) {
    if (!(thrown instanceof CommanderError) || thrown.exitCode === 0) throw thrown;
    const message = thrown.message.replace(/^error: /, "");
    throw new FabricError("INVALID_ARGUMENT", message, {}, { cause: thrown });
  }
  return program.opts<CliOptions>();
}

function command(): Command {
  return (
    new Command("etl")
      .exitOverride()
      // A usage error is told once, as any other error.
      .configureOutput({ outputError() {} })
      .description(
        "Delays by airport and by route, from 3,000,000 flights: a wave ETL on leased memory",
      )
      .option("--json", "end stdout with one JSON document", false)
      .option("--out <dir>", "folder of the results", "out")
      .option(
        "--report <file>",
        "where the run's report goes, also of a run that fails; else beside the results of one that does not",
      )
      .option("--rows <n>", "only the first n flights", count)
      .option("--ttl-ms <n>", "TTL of every intermediate lease, in milliseconds", count, 2_000)
      .addOption(
        new Option(
          "--teardown <how>",
          "let leases expire, or release them as soon as the last reader ends",
        )
          .choices(["expiry", "eager"])
          .default("expiry"),
      )
      .option("--fail <task[:times]>", "make a task throw in its first attempts, or in all")
      .option("--input <file>", "parquet file of flights", exampleData().flights)
      .option("--memory-mib <n>", "memory to lease from, in MiB", count, 512)
  );
}

async function runJob(options: CliOptions, signal: AbortSignal): Promise<number> {
  const { json, input, out, rows, ttlMs, teardown, memoryMib } = options;
  const fail = options.fail === undefined ? undefined : parseFailure(options.fail);
  using fabric = Fabric.open({ memoryBytes: memoryMib * MiB, blocks: 0 });
  // Before the work: an hour's run is not to end with a report that has no place.
  if (options.report !== undefined) writeReport(options.report, "");
  const job = buildJob({ input, airports: exampleData().airports, out, rows, fail });
  const isLive = process.stdout.isTTY && !json;
  const print = (line: string): void =>
    void (json ? process.stderr : process.stdout).write(`${line}\n`);
  using view = liveView({
    plan: job.plan,
    stream: json ? process.stderr : process.stdout,
    redraw: isLive,
  });
  const timeline = new Timeline(fabric.nowMs());
  const recorder = new RunRecorder();
  const reporting = new Reporting(job, view, isLive, print);
  const result = await Executor.run(job.plan, {
    fabric,
    ttlMs,
    teardown,
    signal,
    onEvent(event) {
      timeline.add(event);
      recorder.onEvent(event);
      view.onEvent(event);
      if (event.type === "settled") reporting.settle(event.status, ttlMs);
    },
  });
  reporting.end();
  const isWhole = result.status === "succeeded";
  const title = `Wave ETL: ${job.rowsRead().toLocaleString("en")} flights`;
  if (isWhole) writeFileSync(job.timeline, drawSvg(timeline, title));
  else job.clear();
  const report = options.report ?? (isWhole ? job.report : undefined);
  if (report !== undefined) writeReport(report, runReport(job.plan, recorder, result, { title }));
  print(`\nlease ledger\n${ledger(result)}\n\ntimeline\n${drawText(timeline)}`);
  if (isWhole) print(`\n${job.database}\n${job.timeline}`);
  else print(`\n${result.status}\n${failures(result)}`);
  if (report !== undefined) print(path.resolve(report));
  if (json) writeJson(toJson(result, figures(job, isWhole)));
  return isWhole ? 0 : 1;
}

/** @throws FabricError `INVALID_ARGUMENT` where there can be no such file. */
function writeReport(file: string, html: string): void {
  try {
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, html);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new FabricError(
      "INVALID_ARGUMENT",
      `--report: expected a file that can be written, got "${file}": ${why}`,
      { argument: "--report", actual: file },
      { cause },
    );
  }
}

function writeJson(document: object): void {
  process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
}

function figures(job: Job, isWhole: boolean): JobFigures {
  return {
    waves: job.plan.waves(),
    rowsRead: job.rowsRead(),
    database: isWhole ? job.database : undefined,
    rssPeakMiB: Math.round(process.resourceUsage().maxRSS / 1024),
  };
}

/** What is shown between the last task and the last lease: the result, and a countdown while the leases lapse. */
class Reporting {
  readonly #job: Job;
  readonly #view: LiveView;
  readonly #isLive: boolean;
  readonly #print: (line: string) => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(job: Job, view: LiveView, isLive: boolean, print: (line: string) => void) {
    this.#job = job;
    this.#view = view;
    this.#isLive = isLive;
    this.#print = print;
  }

  end(): void {
    clearInterval(this.#timer);
    if (this.#isLive) process.stdout.write("\r\u001B[K");
  }

  settle(status: ExecutionResult["status"], ttlMs: number): void {
    const lapsedAtMs = Date.now() + ttlMs;
    this.#view.end();
    if (status === "succeeded")
      this.#print(`\nthe ten worst airports\n${worstAirports(this.#job.database)}\n`);
    if (!this.#isLive) return this.#print("the leases lapse by themselves");
    const draw = (): void => {
      const leftMs = Math.max(0, lapsedAtMs - Date.now());
      process.stdout.write(`\r\u001B[Kthe leases lapse by themselves: ${formatSeconds(leftMs)}`);
    };
    draw();
    this.#timer = setInterval(draw, 100);
  }
}

function count(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError("Expected a whole number above 0.");
}
