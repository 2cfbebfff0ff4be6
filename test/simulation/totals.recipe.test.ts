/** The test of the recipe `docs/recipes/property-test-your-failover.md`: a bank that counts what comes again twice. */
import { fc, test as property } from "@fast-check/vitest";
import { isFabricError, type BlockLease, type Fabric } from "@selvage/fabric";
import { HandoffWriter } from "@selvage/fence";
import {
  arb,
  check,
  minimise,
  simulate,
  type FaultPlan,
  type Scenario,
  type SimNode,
} from "@selvage/sim";
import { describe, expect, it } from "vitest";
import { credits, type Credit } from "./totals.ts";

const PACE_MS = 20;

/** The program on node `shop`, and a bank on another; `isFenced`: the bank stores the number of each item with its effect. */
function shop(isFenced: boolean): Scenario {
  return {
    name: isFenced ? "fenced" : "unfenced",
    world(w) {
      const credited = new Set<number>();
      w.node("bank", (node) =>
        node.listen((from, message) => {
          const { amount, sequence } = message as { amount: number; sequence: number };
          const isNew = !credited.has(sequence);
          if (isNew || !isFenced) node.record("bank.credited", { amount });
          credited.add(sequence);
          node.send(from, sequence);
        }),
      );
      w.node("shop", async (node) => {
        const bank = remoteBank(node);
        for (;;) {
          const fabric = w.fabric(node, {
            memoryBytes: 65_536,
            blocks: 64,
            blockLeases: 8,
            blockFile: "shop",
          });
          try {
            const state = await keptBlocks(fabric, "state");
            await credits(fabric, [state, await keptBlocks(fabric, "record")], bank);
          } catch (error) {
            if (!isFabricError(error)) throw error;
          }
          fabric[Symbol.dispose]();
          await node.sleep(100);
        }
      });
    },
    invariants: [check.always("each amount is credited once", eachOnce())],
    finally: [check.eventually("bank.credited", 5_000)],
    shape: { warmUpMs: 200, chaosMs: 5_000, settleMs: 6_000 },
  };
}

/** The blocks of a label: those of the process before, where it had some. */
async function keptBlocks(fabric: Fabric, label: string): Promise<BlockLease> {
  const kept = fabric.leases().find((lease) => lease.label === label);
  if (kept?.kind === "block") return kept;
  return fabric.block().minBlocks(HandoffWriter.BLOCKS).leaseSecs(1e6).label(label).acquire();
}

/** Asks until the bank has answered. */
function remoteBank(node: SimNode): Credit {
  const answered = new Set<unknown>();
  node.listen((_from, sequence) => void answered.add(sequence));
  return async (amount, sequence) => {
    while (!answered.delete(sequence)) {
      node.send("bank", { amount, sequence });
      await node.sleep(PACE_MS);
    }
  };
}

function eachOnce(): Parameters<typeof check.always>[1] {
  const seen = new Set<unknown>();
  return ({ kind, details }) => {
    if (kind !== "bank.credited") return true;
    const { amount } = details;
    const isFirst = !seen.has(amount);
    seen.add(amount);
    return isFirst;
  };
}

const plans = arb.faultPlan({
  nodes: ["shop"],
  budget: ["crash", "pause"],
  maxFaults: 8,
  withinMs: 5_000,
});

describe("credits, with a bank that adds whatever comes", { timeout: 120_000 }, () => {
  it("is found within 2,000 seeds, and made three faults or fewer", async () => {
    const drawn = fc.sample(plans, { seed: 7, numRuns: 2_000 });
    for (const [seed, plan] of drawn.entries()) {
      const report = await simulate({ ...shop(false), seed, plan });
      if (report.property === undefined) continue;
      const least = await minimise(() => shop(false), report);
      expect(least.property).toBe("each amount is credited once");
      expect(least.plan.length).toBeLessThanOrEqual(3);
      return;
    }
    expect.unreachable("the planted bug was not found");
  });
});

describe("with a bank that stores the number with its effect", { timeout: 120_000 }, () => {
  property.prop([arb.seed(), plans], { numRuns: 40, seed: 20_261_122 })(
    "P1: each amount is credited once, whatever happens",
    async (seed, plan: FaultPlan) => {
      const report = await simulate({ ...shop(true), seed, plan });
      report.assert();
    },
  );
});
