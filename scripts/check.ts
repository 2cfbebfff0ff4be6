// `npm run check`: every step, or the ones named, two at a time. One line a step as it ends; what a failed step said comes
// under its line.
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { STEPS, type Step } from "./check/steps.ts";
import { command, ROOT } from "./command.ts";

type Outcome = "passed" | "failed" | "skipped";

interface StepReport {
  readonly name: string;
  readonly outcome: Outcome;
  readonly seconds: number;
}

const STEP_MS_MAX = 600_000;
/** Steps that run at once. None asserts a time. */
const AT_ONCE = 2;
const NAME_WIDTH = Math.max(...STEPS.map(({ name }) => name.length));

/** What the step's failing commands said, or undefined when it passed. */
async function failureOf({ commands }: Step): Promise<string | undefined> {
  const failures: string[] = [];
  for (const line of commands) {
    const { code, output } = await command(line, { timeoutMs: STEP_MS_MAX });
    if (code !== 0) failures.push(`$ ${line.join(" ")}\n${output}`);
  }
  return failures.length === 0 ? undefined : failures.join("\n");
}

async function run(step: Step): Promise<StepReport> {
  const { name, needs } = step;
  const started = performance.now();
  const skipped = needs !== undefined && !existsSync(join(ROOT, needs));
  const failure = skipped ? undefined : await failureOf(step);
  const seconds = Number(((performance.now() - started) / 1000).toFixed(1));
  const outcome = skipped ? "skipped" : failure === undefined ? "passed" : "failed";
  const note = skipped ? `  there is no ${needs} yet` : "";
  process.stdout.write(`${outcome}  ${name.padEnd(NAME_WIDTH)}  ${seconds.toFixed(1)} s${note}\n`);
  if (failure !== undefined) process.stdout.write(`${failure.trimEnd()}\n\n`);
  return { name, outcome, seconds };
}

/** Runs the steps, each once the one that it comes after has ended. */
async function runAll(steps: readonly Step[]): Promise<StepReport[]> {
  const reports = new Map<string, Promise<StepReport>>();
  const waiting = steps.values();
  const worker = async (): Promise<void> => {
    for (const step of waiting) {
      const before = step.after === undefined ? undefined : reports.get(step.after);
      const report = Promise.resolve(before).then(() => run(step));
      reports.set(step.name, report);
      await report;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return Promise.all(reports.values());
}

function help(): string {
  const steps = STEPS.map(({ name, checks }) => `  ${name.padEnd(NAME_WIDTH)}  ${checks}`);
  return `npm run check -- [step ...] [--report file]\n\n${steps.join("\n")}\n`;
}

/** The steps named, in the order of the table. */
function chosen(names: readonly string[]): readonly Step[] {
  const unknown = names.filter((name) => !STEPS.some((step) => step.name === name));
  if (unknown.length > 0) throw new RangeError(`no such step: ${unknown.join(", ")}\n\n${help()}`);
  return names.length === 0 ? STEPS : STEPS.filter(({ name }) => names.includes(name));
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { report: { type: "string" }, help: { type: "boolean" } },
    allowPositionals: true,
  });
  if (values.help === true) {
    process.stdout.write(help());
    return;
  }
  const reports = await runAll(chosen(positionals));
  if (values.report !== undefined) writeFileSync(values.report, JSON.stringify({ steps: reports }));
  if (reports.some(({ outcome }) => outcome === "failed")) process.exitCode = 1;
}

try {
  await main();
} catch (error) {
  process.stderr.write(`check: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
