/** `npm run sim`: what it runs, what it tells, and how it ends. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FAULT_KINDS, REPEATS } from "@selvage/sim";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { command, ROOT, type CommandResult } from "../../scripts/command.ts";
import { shortcomings } from "../../scripts/sim/gate.ts";
import type { Summary } from "../../scripts/sim/summary.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "selvage-sim-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function sim(...args: readonly string[]): Promise<CommandResult> {
  const main = join(ROOT, "scripts/sim/main.ts");
  const own = ["--keep", "kept", "--threads", "1", ...args];
  return command([process.execPath, "--conditions=@selvage/source", main, ...own], {
    env: { INIT_CWD: folder },
  });
}

// In the middle of its first run each node of it does `act`.
function campaignFile(name: string, act: string, how = "export const campaign ="): string {
  const text = `let runs = 0;
${how} {
  name: ${JSON.stringify(name)},
  swarm: () => ({ nodes: ["a"], kinds: ["pause"], mostFaults: 2 }),
  scenario: () => ({
    world: (w) => w.node("a", async (node) => { runs++; await node.sleep(10); ${act}; }),
    shape: { warmUpMs: 1, chaosMs: 50, settleMs: 50 },
  }),
  properties: [],
  sometimes: [],
};
`;
  writeFileSync(join(folder, `${name}.mjs`), text);
  return `${name}.mjs`;
}

describe("the command", { timeout: 120_000 }, () => {
  it("replays what is kept in a step of its own, then runs its seeds, and says what it left out", async () => {
    const file = campaignFile("broken", 'throw new Error("boom")');
    const first = await sim(file, "--seeds", "20", "--json");
    expect(first.code).toBe(1);
    const one = JSON.parse(first.stdout) as Summary;
    expect(one.failures.map(({ property, message }) => [property, message])).toContainEqual([
      "no error",
      "boom",
    ]);
    expect([one.seeds, one.seedsLeftOut, one.kept.run]).toEqual([5, 15, 0]);
    expect(Object.keys(one.faults).toSorted()).toEqual(FAULT_KINDS.toSorted());
    writeFileSync(join(folder, "kept", "a.json"), "{");
    const second = await sim(file, "--seeds", "20");
    expect(second.stdout).toContain("kept: 5 run, 5 still fail");
    expect(second.stdout).toContain(`cannot be read: ${join(folder, "kept", "a.json")}`);
    // The same seeds fail again: they are told once.
    expect(second.stdout).toContain("5 seeds from 1, 5 violations");
    expect(second.stdout).toContain("15 seeds left out");
    const replayed = /--plan (\S+)/.exec(second.stdout)?.[1] as string;
    const { stdout } = await sim(file, "--plan", replayed);
    expect(stdout).toContain(`1 seeds from`);
    expect(stdout).toContain("1 violations");
    expect(stdout).toContain("kept: 0 run");
  });

  it("tells a failure that does not come again as that", async () => {
    const file = campaignFile("once", 'if (runs === 3) throw new Error("boom")');
    const { stdout, code } = await sim(file, "--seeds", "6", "--json");
    expect(code).toBe(1);
    expect((JSON.parse(stdout) as Summary).failures).toMatchObject([{ property: REPEATS }]);
    expect(readdirSync(join(folder, "kept")).filter((name) => name.startsWith("once"))).toEqual([]);
  });

  it("audits the seeds, the plan and the campaigns that it was given, and gives their hash", async () => {
    const file = campaignFile("even", 'node.record("beat", { runs: 0 })', "export default");
    const ran = JSON.parse((await sim(file, "--seeds", "3", "--json")).stdout) as Summary;
    const { stdout } = await sim(file, "--seeds", "3", "--audit", "--json");
    const { seeds, violations, traceHash, faults } = JSON.parse(stdout) as Summary;
    expect([seeds, violations, traceHash]).toEqual([3, 0, ran.traceHash]);
    expect(faults["pause"]).toBe(ran.faults["pause"]);
    writeFileSync(join(folder, "plan.json"), "[]");
    const planned = await sim(file, "--seeds", "3", "--audit", "--json", "--plan", "plan.json");
    expect((JSON.parse(planned.stdout) as Summary).faults["pause"]).toBe(0);
    const longer = campaignFile(
      "longer",
      'await node.sleep(70); if (runs % 2) node.record("beat")',
    );
    const parted = await sim(longer, "--seeds", "1", "--audit", "--json");
    const [divergence] = (JSON.parse(parted.stdout) as Summary).failures;
    expect(divergence).toMatchObject({ property: REPEATS, campaign: "longer" });
    expect(divergence?.message).toContain("nothing more");
  });

  it("refuses in one line what it cannot run", async () => {
    const fine = campaignFile("fine", "");
    writeFileSync(join(folder, "none.mjs"), "export const x = 1;\n");
    writeFileSync(join(folder, "half.mjs"), 'export const campaign = { name: "x" };\n');
    writeFileSync(join(folder, "nul.json"), "null");
    const cases: readonly (readonly [RegExp, readonly string[]])[] = [
      [/there is no campaign falover: there are .*failover/, ["--campaign", "falover"]],
      [/no campaign falover that has mutants/, ["--mutants", "--campaign", "falover"]],
      [/gone\.mjs is not there/, ["gone.mjs"]],
      [/none\.mjs exports none of/, ["none.mjs"]],
      [/half\.mjs: the `swarm` of a campaign is not a function/, ["half.mjs"]],
      [/'--plan <file>' argument 'gone\.json' is invalid.*ENOENT/, [fine, "--plan", "gone.json"]],
      [/expected a kept failure, or a list of faults/, [fine, "--plan", "nul.json"]],
    ];
    for (const [what, args] of cases) {
      const { code, output, stdout } = await sim(...args);
      expect([code, stdout]).toEqual([1, ""]);
      expect(output).toMatch(what);
      expect(output.trimEnd().split("\n")).toHaveLength(1);
    }
  });
});

describe("the gate", () => {
  const faults = Object.fromEntries(FAULT_KINDS.map((kind) => [kind, 2_000]));
  const fine = { seeds: 2_000, sometimes: { rain: 1 }, faults, coverage: { all: 0.9 } } as const;
  const asked = { seeds: 2_000, isWhole: true, requireSometimes: false };
  const told = (part: object, how: object = {}): readonly string[] =>
    shortcomings({ ...fine, ...part } as unknown as Summary, { ...asked, ...how });

  it("fails a run in which too little went wrong, a kind of fault never struck, or too few lines ran", () => {
    expect(told({})).toEqual([]);
    expect(told({ coverage: { all: 0.84 } })).toEqual(["84.0 % of the lines ran, less than 85 %"]);
    expect(told({ faults: { ...faults, syncLie: 0 } })).toEqual([
      "a kind of fault never struck: syncLie",
    ]);
    expect(told({ faults: { crash: 19_999 } })).toEqual(["19999 faults struck, fewer than 20000"]);
    expect(told({ sometimes: { rain: 0 } })).toEqual(["never happened: rain"]);
    const few = { faults: { crash: 0 }, coverage: {} };
    expect(told(few, { isWhole: false })).toEqual([]);
    expect(told(few, { seeds: 1_999 })).toEqual([]);
  });

  it("fails a run of no seeds, and a counter at zero where that is asked for", () => {
    expect(told({ seeds: 0 }, { seeds: 1 })).toEqual(["no seed was run"]);
    const few = { seeds: 10, requireSometimes: true };
    expect(told({ sometimes: { rain: 0 } }, few)).toEqual(["never happened: rain"]);
  });
});
