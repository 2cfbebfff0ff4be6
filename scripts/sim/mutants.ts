/** Breaks each protocol rule in turn, and sees whether its campaign finds it. */
import { join } from "node:path";
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
  readonly seconds: number;
}

const MUTANT_MS_MAX = 300_000;

/** Runs each mutant's campaign on the broken source, until it is found or the seeds are used up. */
export async function runMutants(
  seeds: number,
  firstSeed: string,
): Promise<{ readonly outcomes: readonly MutantOutcome[]; readonly text: string }> {
  const outcomes: MutantOutcome[] = [];
  for (const [index, mutant] of mutants.entries()) {
    process.stderr.write(`sim: mutant ${index + 1} of ${mutants.length}: ${mutant.name}\n`);
    outcomes.push(await runMutant(mutant, seeds, firstSeed));
  }
  const width = Math.max(0, ...outcomes.map(({ name }) => name.length));
  const lines = outcomes.map(
    ({ name, killed, by, seconds, campaign }) =>
      `  ${killed ? "killed  " : "SURVIVED"}  ${name.padEnd(width)}  ${seconds.toFixed(1).padStart(6)} s  ${campaign}  ${by ?? ""}`,
  );
  const count = outcomes.filter(({ killed }) => killed).length;
  return {
    outcomes,
    text: `${lines.join("\n")}\n  ${count} of ${outcomes.length} mutants killed\n`,
  };
}

async function runMutant(mutant: Mutant, seeds: number, firstSeed: string): Promise<MutantOutcome> {
  const { name, rule, campaign } = mutant;
  const begun = performance.now();
  const { code, stdout, output } = await command(
    [
      process.execPath,
      "--conditions=@selvage/source",
      `--import=${join(ROOT, "scripts/sim/mutate-hook.mjs")}`,
      join(ROOT, "scripts/sim/main.ts"),
      ...[
        "--campaign",
        campaign,
        "--seeds",
        String(seeds),
        "--seed",
        firstSeed,
        "--first",
        "--json",
      ],
    ],
    { env: { SELVAGE_MUTANT: name }, timeoutMs: MUTANT_MS_MAX },
  );
  const seconds = (performance.now() - begun) / 1_000;
  const last = stdout.trimEnd().split("\n").at(-1) ?? "";
  if (!last.startsWith("{")) throw new Error(`mutant ${name} did not run:\n${output}`);
  const { failures } = JSON.parse(last) as { readonly failures: readonly { property: string }[] };
  const killed = code !== 0 && failures.length > 0;
  return { name, rule, campaign, killed, by: failures[0]?.property, seconds };
}
