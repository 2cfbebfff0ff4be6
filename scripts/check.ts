// `npm run check`: every step, or the ones named. One line a step; what a failed step said comes under its line.
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
  const reports: StepReport[] = [];
  for (const step of chosen(positionals)) reports.push(await run(step));
  if (values.report !== undefined) writeFileSync(values.report, JSON.stringify({ steps: reports }));
  if (reports.some(({ outcome }) => outcome === "failed")) process.exitCode = 1;
}

try {
  await main();
} catch (error) {
  process.stderr.write(`check: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
