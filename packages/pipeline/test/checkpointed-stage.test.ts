/* oxlint-disable vitest/no-standalone-expect -- `property.prop` is a test block */
import { test as property, fc } from "@fast-check/vitest";
import { BLOCK_BYTES, isFabricError, type RecordBlocks } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import {
  CheckpointedStage,
  type StageInput,
  type StageOutput,
} from "../src/staged/checkpointed-stage.ts";

class Crash extends Error {}

/** What a crash leaves: what the input has not been told is done, and what the output has. */
class World {
  readonly items: readonly number[];
  acknowledged = 0;
  /** Of the output: durable, by number. */
  readonly sent: number[] = [];
  #stepsLeft = Infinity;

  constructor(items: readonly number[]) {
    this.items = items;
  }

  crashAfter(steps: number): void {
    this.#stepsLeft = steps;
  }

  // Every step of the world may be the last.
  step(): void {
    if (this.#stepsLeft-- <= 0) throw new Crash();
  }

  input(): StageInput<number> {
    let next = this.acknowledged;
    const { items } = this;
    return {
      get sequence() {
        return next - 1;
      },
      popAsync: async () => {
        this.step();
        return next < items.length ? items[next++] : undefined;
      },
      acknowledge: () => {
        this.step();
        this.acknowledged = next;
      },
    };
  }

  output(): StageOutput<number> {
    const { sent } = this;
    const pending: number[] = [];
    return {
      get nextSequence() {
        return sent.length + pending.length;
      },
      send: async (value) => {
        this.step();
        pending.push(value);
        return true;
      },
      flush: () => {
        // It may be killed with some of it out already.
        for (const value of pending.splice(0)) {
          this.step();
          sent.push(value);
        }
      },
    };
  }
}

interface Sum {
  readonly sum: number;
  readonly seen: number;
}
const zero = (): Sum => ({ sum: 0, seen: 0 });
const step = ({ sum, seen }: Sum, item: number) => ({
  state: { sum: sum + item, seen: seen + 1 },
  // As many results as the item says.
  outputs: Array.from({ length: item % 3 }, (_, at) => (sum + item) * 10 + at),
});

/** Blocks that survive whatever happens to the stage. */
class RamBlocks implements RecordBlocks {
  readonly numBlocks = 8;
  readonly bytes: Uint8Array = new Uint8Array(8 * BLOCK_BYTES);

  readInto(index: number, target: Uint8Array): Promise<void> {
    target.set(this.bytes.subarray(index * BLOCK_BYTES, index * BLOCK_BYTES + target.length));
    return Promise.resolve();
  }

  write(index: number, bytes: Uint8Array): Promise<void> {
    this.bytes.set(bytes, index * BLOCK_BYTES);
    return Promise.resolve();
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }
}

const noThrees = (state: Sum, item: number) => {
  if (item === 3) throw new RangeError("no threes");
  return step(state, item);
};

function expected(items: readonly number[]): { readonly state: Sum; readonly outputs: number[] } {
  let state = zero();
  const outputs: number[] = [];
  for (const item of items) {
    const done = step(state, item);
    outputs.push(...done.outputs);
    ({ state } = done);
  }
  return { state, outputs };
}

describe("a checkpointed stage", () => {
  property.prop([
    fc.array(fc.nat({ max: 9 }), { maxLength: 12 }),
    fc.array(fc.nat({ max: 30 }), { maxLength: 8 }),
    fc.integer({ min: 1, max: 5 }),
  ])(
    "P1: wherever it is killed, each input is in the state once and each output out once",
    async (items, crashes, every) => {
      const blocks = new RamBlocks();
      const world = new World(items);
      for (const steps of [...crashes, Infinity]) {
        world.crashAfter(steps);
        const stage = await CheckpointedStage.restore(blocks, zero);
        try {
          await stage.run({ input: world.input(), output: world.output(), step, every });
        } catch (error) {
          if (!(error instanceof Crash)) throw error;
        }
        await stage.intoBlockLease();
      }
      const stage = await CheckpointedStage.restore(blocks, zero);
      const { state, outputs } = expected(items);
      expect(stage.checkpoint).toEqual({ input: items.length, output: outputs.length, state });
      expect(world.sent).toEqual(outputs);
    },
  );

  it("P2: an instance that was replaced writes nothing any more", async () => {
    const blocks = new RamBlocks();
    const world = new World([1, 2, 3]);
    const old = await CheckpointedStage.restore(blocks, zero);
    const next = await CheckpointedStage.restore(blocks, zero);
    const outcome = await old
      .run({ input: world.input(), step, every: 1 })
      .catch((error: unknown) => (isFabricError(error) ? error.code : error));
    expect(outcome).toBe("STALE_EPOCH");
    expect(world.acknowledged).toBe(0);
    await next.run({ input: world.input(), step });
    expect(next.checkpoint.state).toEqual({ sum: 6, seen: 3 });
  });

  it("P3: a checkpoint that cannot be read falls back to the one before, and says so", async () => {
    const blocks = new RamBlocks();
    const world = new World([1, 2, 3, 4]);
    let stage = await CheckpointedStage.restore(blocks, zero);
    await stage.run({ input: world.input(), output: world.output(), step, every: 2 });
    await stage.intoBlockLease();
    // The newest is in one half of the blocks or the other.
    const half = blocks.bytes.length / 2;
    const newest = Buffer.from(blocks.bytes.buffer, half).includes('"input":4') ? 1 : 0;
    blocks.bytes.fill(7, newest * half, newest * half + BLOCK_BYTES);
    stage = await CheckpointedStage.restore(blocks, zero);
    expect(stage.recovered).toEqual({ slot: newest });
    expect(stage.checkpoint.input).toBeLessThanOrEqual(4);
    world.acknowledged = stage.checkpoint.input;
    await stage.run({ input: world.input(), output: world.output(), step });
    const { state, outputs } = expected(world.items);
    expect(stage.checkpoint.state).toEqual(state);
    expect(world.sent).toEqual(outputs);
  });

  it("ends with what a step throws, and the checkpoint before stands", async () => {
    const blocks = new RamBlocks();
    const world = new World([1, 2, 3]);
    const stage = await CheckpointedStage.restore(blocks, zero);
    const run = stage.run({ input: world.input(), step: noThrees, every: 2 });
    await expect(run).rejects.toThrow("no threes");
    expect(stage.checkpoint).toMatchObject({ input: 2, state: { sum: 3, seen: 2 } });
    expect(world.acknowledged).toBe(2);
  });

  it("refuses an output that has less than the checkpoint says was sent", async () => {
    const blocks = new RamBlocks();
    const world = new World([1, 2]);
    const stage = await CheckpointedStage.restore(blocks, zero);
    await stage.run({ input: world.input(), output: world.output(), step });
    world.sent.length = 0;
    const again = await CheckpointedStage.restore(await stage.intoBlockLease(), zero);
    const run = again.run({ input: world.input(), output: world.output(), step });
    await expect(run).rejects.toMatchObject({ code: "CORRUPT_RECORD" });
  });

  it("runs once at a time", async () => {
    const stage = await CheckpointedStage.restore(new RamBlocks(), zero);
    const world = new World([1]);
    const first = stage.run({ input: world.input(), step });
    await expect(stage.run({ input: world.input(), step })).rejects.toMatchObject({
      code: "CONFLICT",
    });
    await first;
  });
});
