import { readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { cli, documentOf, folderOfOwn } from "./rig.ts";

const own = folderOfOwn();

/** A module with a campaign whose one node does `act` in the middle of each run. */
function campaign(name: string, act: string): string {
  return own(
    `${name}.ts`,
    `import { sometimes, type Campaign } from "@selvage/sim";
export const campaign: Campaign = {
  name: ${JSON.stringify(name)},
  swarm: () => ({ nodes: ["a"], kinds: ["pause"], mostFaults: 2 }),
  scenario: () => ({
    world: (w) => void w.node("a", async (node) => { await node.sleep(10); sometimes("ran"); ${act}; }),
    shape: { warmUpMs: 1, chaosMs: 50, settleMs: 50 },
  }),
  properties: ["X1: it beats"],
  sometimes: ["ran", "rained"],
};
`,
  );
}

interface Summary {
  readonly seeds: number;
  readonly violations: number;
  readonly sometimes: Readonly<Record<string, number>>;
  readonly failures: readonly { readonly message: string; readonly replay: string }[];
}

const few = ["--seeds", "6", "--threads", "2"];

describe("selvage sim", () => {
  it("runs a module's campaign over its seeds on threads, and sums it up", async () => {
    const file = campaign("beats", 'node.record("beat")');
    const { code, stdout, stderr } = await cli("sim", file, ...few);
    expect(code).toBe(0);
    expect(stdout).toContain("6 seeds from 1, 0 violations");
    expect(stdout).toContain("\n    X1: it beats\n");
    expect(stderr).toContain("sim: 6 of 6 seeds\n");
    const document = documentOf(await cli("sim", file, ...few, "--audit", "--json")) as Summary;
    expect(document).toMatchObject({ seeds: 6, violations: 0 });
    expect(document.sometimes["ran"]).toBe(12 / 2);
  });

  it("ends in 1 when something was violated, keeps it, and says what replays it", async () => {
    const file = campaign("breaks", 'throw new Error("boom")');
    const keep = own("kept");
    const ended = await cli("sim", file, ...few, "--json", "--keep", keep);
    expect(ended.code).toBe(1);
    const { failures } = documentOf(ended) as Summary;
    expect(failures[0]?.message).toBe("boom");
    const kept = readdirSync(keep);
    expect(kept.length).toBeGreaterThan(0);
    const words = failures[0]?.replay.split(" ") as string[];
    expect(words.slice(0, 3)).toEqual(["selvage", "sim", file]);
    const { code, stdout } = await cli(...words.slice(1), "--keep", keep);
    expect(code).toBe(1);
    expect(stdout).toContain("1 seeds from");
    expect(stdout).toContain("FAILED boom");
  });

  it("fails for a counter that stayed at zero where that is asked for", async () => {
    const file = campaign("dry", "");
    const { code, stdout } = await cli("sim", file, "--seeds", "2", "--require-sometimes");
    expect(code).toBe(1);
    expect(stdout).toContain("FAILED never happened: rained");
  });

  it.each([
    [1, /NOT_FOUND: .*gone\.ts is not there/, [own("gone.ts")]],
    [1, /INVALID_ARGUMENT: .*none\.ts exports none of/, [own("none.ts", "export {};\n")]],
    [1, /NOT_FOUND: there is no campaign y: there are x/, [campaign("x", ""), "--campaign", "y"]],
    [1, /^selvage: NOT_FOUND: ENOENT.*gone.json/, ["x.ts", "--plan", "gone.json"]],
    [2, /whole number of up to 64 bits/, ["x.ts", "--seed", "-1"]],
  ])("ends in %i with %s", async (code, what, args) => {
    const ended = await cli("sim", ...args);
    expect([ended.code, ended.stdout]).toEqual([code, ""]);
    expect(ended.stderr).toMatch(what);
  });
});
