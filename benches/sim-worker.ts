/**
 * One side of the sim benchmark, in a process of its own: `sim-worker.ts <subject> <size> [profile]`, where the subject is
 * `machines`, `async`, `explorer` or a campaign's name. With `profile` it tells, once, where the time goes.
 */
import {
  explorerProperties,
  exploreProperty,
  runCampaign,
  simulate,
  type Scenario,
} from "@selvage/sim";
import { campaignsOf } from "../scripts/sim/campaigns.ts";
import { serveTurns } from "./children.ts";
import type { Step, Turn } from "./harness.ts";
import { profiled } from "./sim-profile.ts";

const NODES = ["a", "b", "c", "d", "e"];

/** Forty events a simulated second, as in the model that the figures of the plan were measured on. */
const PERIOD_MS = 250;

/** Each node counts what it hears, and tells the next; none of it is `async`. */
const machines: Scenario = {
  world(world) {
    for (const [index, name] of NODES.entries()) {
      const next = NODES[(index + 1) % NODES.length] as string;
      world.node(name, (node) => {
        let state = 0;
        node.listenQuietly((_from, message) => void (state += (message as { n: number }).n));
        node.quietTimer.every(PERIOD_MS, () =>
          node.send(next, { n: (state = (state * 31 + 1) & 0xffff) }),
        );
      });
    }
  },
};

/** The same, as users write it. */
const asyncCode: Scenario = {
  world(world) {
    for (const [index, name] of NODES.entries()) {
      const next = NODES[(index + 1) % NODES.length] as string;
      world.node(name, async (node) => {
        let state = 0;
        const take = (n: number): Promise<void> => Promise.resolve().then(() => void (state += n));
        const heard = async (n: number): Promise<void> => {
          await take(n);
          state &= 0xffff;
        };
        node.listen((_from, message) => void heard((message as { n: number }).n));
        for (;;) {
          await node.sleep(PERIOD_MS);
          node.send(next, { n: (state = (state * 31 + 1) & 0xffff) });
        }
      });
    }
  },
};

interface Done {
  readonly ops: number;
  /** Simulated time, in milliseconds; 0: none. */
  readonly ms: number;
  readonly checksum: number;
}

/** Times are of the processor: while others have it, nothing counts. */
async function timed(run: () => Promise<Done>): Promise<Turn> {
  const before = process.cpuUsage();
  const { ops, ms, checksum } = await run();
  const { user, system } = process.cpuUsage(before);
  const ns = (user + system) * 1_000;
  const op: Step = { ns, ops, checksum };
  return ms === 0 ? { op } : { op, simulated: { ns, ops: ms / 1_000, checksum } };
}

const low = (hash: string): number => Number.parseInt(hash.slice(0, 8), 16);

async function scenario(of: Scenario, ms: number): Promise<Done> {
  const shape = { warmUpMs: 0, chaosMs: ms, settleMs: 0 };
  const report = await simulate({ ...of, shape });
  report.assert();
  return { ops: report.events, ms, checksum: low(report.traceHash) };
}

async function campaign(name: string, seeds: number): Promise<Done> {
  const file = new URL(`../test/campaigns/${name}.campaign.ts`, import.meta.url);
  const { campaigns } = await campaignsOf(file.pathname);
  const [found] = campaigns;
  if (found === undefined) throw new RangeError(`no campaign is called ${name}`);
  const tally = await runCampaign(found, { firstSeed: "1", seeds });
  if (tally.failures.length > 0) throw new Error(tally.failures[0]?.message);
  return { ops: tally.events, ms: tally.simulatedMs, checksum: low(tally.hashes.at(-1) ?? "0") };
}

/** Random schedules of every property of the project's own. */
function explorer(schedules: number): Promise<Done> {
  let [ops, steps] = [0, 0];
  for (const property of explorerProperties) {
    const mode = { kind: "pct", seed: "1", depth: 3, schedules } as const;
    const summary = exploreProperty(property, mode);
    if (summary.violation !== undefined) throw new Error(summary.violation.message);
    ops += summary.schedules + summary.redundant;
    steps += summary.steps;
  }
  return Promise.resolve({ ops, ms: 0, checksum: steps });
}

function main([subject = "", sizeText, isProfile]: readonly string[]): void {
  const size = Number(sizeText);
  const run = (): Promise<Done> => {
    if (subject === "machines") return scenario(machines, size);
    if (subject === "async") return scenario(asyncCode, size);
    return subject === "explorer" ? explorer(size) : campaign(subject, size);
  };
  if (isProfile === undefined) serveTurns(() => timed(run));
  // The second run: the first one compiles.
  else
    void run()
      .then(() => profiled(run))
      .then((shares) => process.send?.(shares));
}

main(process.argv.slice(2));
