import { bufferMemoryProvider, type MemoryProvider } from "@selvage/fabric";
import { nodeMemoryProvider } from "@selvage/node";
import fc from "fast-check";
import { describe, it } from "vitest";
import { World, type Op } from "./fabric-model.ts";

const pick = fc.nat({ max: 1_000 });
const by = fc.nat({ max: 10 });
const tenant = fc.nat({ max: 2 });
const ttlMs = fc.integer({ min: 1, max: 400 });
const ms = fc.oneof(
  fc.constant(0),
  fc.integer({ min: 0, max: 20 }),
  fc.integer({ min: 0, max: 400 }),
);
const op = <K extends Op["op"]>(...names: K[]): fc.Arbitrary<K> => fc.constantFrom(...names);

const ops: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      op: op("acquire"),
      tenant,
      ttlMs,
      bytes: fc.integer({ min: 1, max: 3_000 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: op("acquireBlocks"),
      tenant,
      ttlMs,
      blocks: fc.integer({ min: 1, max: 6 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: op("acquireLargest"), tenant }) },
  { weight: 4, arbitrary: fc.record({ op: op("renew"), pick, ms: ttlMs, by }) },
  { weight: 6, arbitrary: fc.record({ op: op("tick", "tick", "clock"), ms }) },
  { weight: 3, arbitrary: fc.record({ op: op("revoke"), pick, ms, by }) },
  {
    weight: 20,
    arbitrary: fc.record({
      op: op("release", "write", "read", "with", "attach", "attach", "lend", "releaseInside"),
      pick,
      by,
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: op("endLoan"), pick }) },
  { weight: 3, arbitrary: fc.record({ op: op("turn", "breakDisk", "unfence") }) },
);

const kinds: [kind: string, shared: boolean, provider: MemoryProvider][] = [
  ["wasm", true, nodeMemoryProvider],
  ["shared", true, bufferMemoryProvider],
  ["plain", false, bufferMemoryProvider],
];
const subjects = kinds.flatMap(([kind, shared, provider]) =>
  [false, true].map((guard) => [kind, guard, { provider, shared, guard }] as const),
);

// One wasm fabric reserves gigabytes of address space until it is collected: so few runs of many operations.
const runs = 60;

describe.each(subjects)("a fabric on %s memory, guard: %s", (_kind, _guard, options) => {
  it("agrees with the model on every sequence of operations: A1, A2, A3, A6, L4", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(ops, { minLength: 1, maxLength: 80, size: "max" }),
        async (sequence) => {
          const world = new World(options);
          for (const one of sequence) await world.apply(one);
          await world.finish();
        },
      ),
      { numRuns: runs, seed: 0x5e1_7a6e },
    );
  });
});
