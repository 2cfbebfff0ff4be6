/** A source of any length goes through in bounded memory. */
import { expect, it } from "vitest";
import { Fabric, Pipeline, numberCodec } from "selvage";

const ITEMS = 100_000_000;
const MiB = 1 << 20;

it.each([
  ["fused", ITEMS],
  ["queue", ITEMS],
] as const)(
  "Pipeline with %s edges takes 10^8 items through a queue of 1 MiB, or none, in the same memory",
  async (edges, count) => {
    await using fabric = Fabric.open({ memoryBytes: 16 * MiB });
    // Slots of 16 bytes: a header and a number.
    const capacity = 65_536 - 64;
    let sum = 0;
    let next = 0;
    const residentMiB: number[] = [];
    const result = await Pipeline.fromSource(() => (next < count ? next++ : undefined))
      .map((n) => n & 1)
      .sink((n, offset) => {
        sum += n;
        if (offset % (count / 20) === 0) residentMiB.push(process.memoryUsage().rss / MiB);
      })
      .run({ edges, fabric, capacity, stride: 8, codec: numberCodec });
    expect(result.status).toBe("succeeded");
    expect([result.itemsOut, sum]).toEqual([count, count / 2]);
    const [least, most] = [Math.min(...residentMiB.slice(2)), Math.max(...residentMiB)];
    process.stdout.write(
      `pipeline, ${edges}: ${count} items, resident ${least.toFixed(0)} to ${most.toFixed(0)} MiB\n`,
    );
    expect(most - least).toBeLessThan(150);
  },
);
