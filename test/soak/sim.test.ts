import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { command } from "../../scripts/command.ts";

const main = fileURLToPath(new URL("../../scripts/sim/main.ts", import.meta.url));
const HOURS = 3_600_000;

interface Summary {
  readonly seeds: number;
  readonly violations: number;
  readonly failures: readonly unknown[];
  readonly sometimes: Readonly<Record<string, number>>;
  readonly simulatedHours: number;
  readonly traceHash: string;
}

/** The campaigns' document, as a Node of some kind makes it. */
async function simulated(
  node: readonly [string, ...string[]],
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Summary> {
  const { stdout, output } = await command([...node, main, ...args, "--json"], {
    env,
    timeoutMs: 6 * HOURS,
  });
  const last = stdout.trimEnd().split("\n").at(-1) ?? "";
  if (!last.startsWith("{")) throw new Error(output);
  return JSON.parse(last) as Summary;
}

const own = [process.execPath, "--conditions=@selvage/source"] as const;

it("holds every property over 100,000 seeds", { timeout: 6 * HOURS }, async () => {
  const seeds = 100_000;
  const first = String(Date.now() % 2 ** 31);
  const began = performance.now();
  const summary = await simulated(own, ["--seeds", String(seeds), "--seed", first]);
  const perSecond = seeds / ((performance.now() - began) / 1_000);
  console.log(
    `${seeds} seeds from ${first}, ${summary.simulatedHours.toFixed(0)} simulated hours, ${perSecond.toFixed(1)} seeds a second`,
  );
  expect(summary.failures).toEqual([]);
  for (const [name, count] of Object.entries(summary.sometimes))
    expect(count, name).toBeGreaterThanOrEqual(100);
});

it("T2: finds every mutant within 300 seeds", { timeout: 6 * HOURS }, async () => {
  const { code, output } = await command([...own, main, "--mutants", "--seeds", "300"], {
    timeoutMs: 6 * HOURS,
  });
  console.log(output);
  expect(code, output).toBe(0);
});

it("T1: gives the same traces on other Nodes, from dist, and in other time zones", async () => {
  const args = ["--seeds", "50", "--seed", "20261122"];
  const { traceHash } = await simulated(own, args);
  const zones = ["Pacific/Kiritimati", "America/St_Johns"];
  for (const TZ of zones)
    expect((await simulated(own, args, { TZ })).traceHash, TZ).toBe(traceHash);
  expect((await command([process.execPath, "scripts/build.ts"])).code).toBe(0);
  for (const version of ["22", "24", "26"]) {
    const node = ["npx", "--yes", `--package=node@${version}`, "--", "node"] as const;
    expect((await simulated(node, args)).traceHash, `Node ${version}`).toBe(traceHash);
  }
});
