import { describe, expect, it } from "vitest";
import { recordsAt, untoldFlips, used } from "../../packages/fabric/test/block-flips.ts";
import { killRounds } from "../../packages/node/test/block-file-rounds.ts";

describe("a block file, for long", () => {
  it("J1: is taken up after 200 kills, with nothing lost that was acknowledged", async () => {
    const seen = await killRounds(200);
    console.log(`200 kills: ${JSON.stringify(seen)}`);
    expect(seen.standing).toBeGreaterThan(200);
    expect(seen.released).toBeGreaterThan(20);
  });

  it("J3: tells of every single bit that flips in its superblocks, and in two of its records", async () => {
    const { untold, told } = untoldFlips(await used(), 1);
    expect(untold).toEqual([]);
    expect(told).toBe((recordsAt + 4 * 512) * 8);
  });
});
