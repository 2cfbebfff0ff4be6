/** Breaks each protocol rule in turn, and sees whether its campaign finds it. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { FabricError } from "@selvage/fabric";
import { mutants, type Mutant } from "../../test/campaigns/mutants.ts";
import { command, ROOT } from "../command.ts";

/** What became of one mutant. */
export interface MutantOutcome {
  readonly name: string;
  readonly rule: string;
  readonly campaign: string;
  readonly killed: boolean;
  /** The property that found it. */
  readonly by: string | undefined;
  /** Seeds that were run, the one that found it included. */
  readonly seeds: number;
  /** Of the runs alone: starting the process takes about one more. */
  readonly seconds: number;
}

/** Which mutants are run, and how. */
export interface MutantsRun {
  /** Most seeds that each gets. */
  readonly seeds: number;
  readonly seed: string;
  /** Only those of this campaign. */
  readonly campaign?: string;
  /** How many at a time, each in a process of its own. */
  readonly threads: number;
  /** Where a table of what came of it goes, in Markdown. */
  readonly table?: string;
}

const MUTANT_MS_MAX = 900_000;

/**
 * Runs each mutant's campaign on the broken source, until it is found or the seeds are used up.
 * @throws FabricError `NOT_FOUND`: no mutant is of that campaign.
 */
export async function runMutants(
  run: MutantsRun,
): Promise<{ readonly outcomes: readonly MutantOutcome[]; readonly text: string }> {
  const { campaign, threads, table } = run;
  const all = mutants.filter((one) => campaign === undefined || one.campaign === campaign);
  if (all.length === 0)
    throw new FabricError("NOT_FOUND", `there is no campaign ${campaign} that has mutants`);
  const outcomes: MutantOutcome[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let at = next++; at < all.length; at = next++) {
      const mutant = all[at] as Mutant;
      const outcome = await runMutant(mutant, run);
      outcomes[at] = outcome;
      const what = outcome.killed ? `killed by seed ${outcome.seeds}` : "SURVIVED";
      process.stderr.write(`sim: ${at + 1} of ${all.length}: ${mutant.name}: ${what}\n`);
    }
  };
  await Promise.all(Array.from({ length: threads }, work));
  if (table !== undefined) writeFileSync(table, markdown(outcomes, run));
  const width = Math.max(0, ...outcomes.map(({ name }) => name.length));
  const lines = outcomes.map(
    ({ name, killed, by, seconds, seeds, campaign: of }) =>
      `  ${killed ? "killed  " : "SURVIVED"}  ${name.padEnd(width)}  ${seconds.toFixed(1).padStart(6)} s  ${String(seeds).padStart(5)}  ${of}  ${by ?? ""}`,
  );
  return { outcomes, text: `${lines.join("\n")}\n  ${countOf(outcomes)}\n` };
}

function countOf(outcomes: readonly MutantOutcome[]): string {
  return `${outcomes.filter(({ killed }) => killed).length} of ${outcomes.length} mutants killed`;
}

async function runMutant(mutant: Mutant, { seeds, seed }: MutantsRun): Promise<MutantOutcome> {
  const { name, rule, campaign } = mutant;
  const { stdout, output } = await command(
    [
      process.execPath,
      "--conditions=@selvage/source",
      `--import=${join(ROOT, "scripts/sim/mutate-hook.mjs")}`,
      join(ROOT, "scripts/sim/mutant-run.ts"),
      ...[campaign, String(seeds), seed],
    ],
    { env: { SELVAGE_MUTANT: `${campaign}: ${name}` }, timeoutMs: MUTANT_MS_MAX },
  );
  const last = stdout.trimEnd().split("\n").at(-1) ?? "";
  if (last.startsWith("{")) {
    const told = JSON.parse(last) as { by?: string; seeds: number; seconds: number };
    const killed = told.by !== undefined;
    return { name, rule, campaign, killed, by: told.by, seeds: told.seeds, seconds: told.seconds };
  }
  if (!output.includes("SIGKILL")) throw new Error(`mutant ${name} did not run:\n${output}`);
  const [by, seconds] = [`no end within ${MUTANT_MS_MAX / 1_000} s`, MUTANT_MS_MAX / 1_000];
  return { name, rule, campaign, killed: false, by, seeds, seconds };
}

function markdown(outcomes: readonly MutantOutcome[], { seeds, seed }: MutantsRun): string {
  const rows = outcomes.map(
    ({ name, rule, campaign, killed, by = "", seeds: ran, seconds }) =>
      `| ${[rule, name, campaign, killed ? `${seconds.toFixed(1)} s` : "SURVIVED", String(ran), by].map(cell).join(" | ")} |`,
  );
  return `# Mutants

Each protocol rule, broken in turn, and what found it: \`test/campaigns/mutants.ts\` has the broken texts, and this table
is written by

\`\`\`sh
npm run sim -- --mutants --seeds ${seeds} --seed ${seed} --table docs/mutants.md
\`\`\`

The time is that of the runs until the first violation, on one of two processes; \`seeds\` is how many of the campaign's own
there were until then. The gate's 2,000 seeds are 400 of each campaign of nodes, and 2,000 of \`interleavings\`; the soak
has fifty times as many. ${countOf(outcomes)}.

| rule | broken | campaign | killed in | seeds | by |
| ---- | ------ | -------- | --------- | ----- | -- |
${rows.join("\n")}
`;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}
