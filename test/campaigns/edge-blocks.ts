/** Blocks of a handoff record on a bad day: slow, full, or failing, now and then. */
import { FabricError, type BlockLease, type RecordBlocks } from "@selvage/fabric";
import type { SimNode } from "@selvage/sim";

/** How bad: of so many operations in 1,000. */
export interface BlockWeather {
  slowIn1000: number;
  failIn1000: number;
}

/** `blocks`, in that weather. */
export function weathered(node: SimNode, blocks: BlockLease, weather: BlockWeather): RecordBlocks {
  const { random } = node;
  const meet = async (): Promise<void> => {
    if (random.chance(weather.slowIn1000, 1_000)) await node.sleep(random.spread(5, 200));
    if (!random.chance(weather.failIn1000, 1_000)) return;
    const code = random.pick(["STORE_UNAVAILABLE", "CAPACITY_EXCEEDED"] as const);
    throw new FabricError(code, "Cannot write: a bad day", {});
  };
  const { numBlocks } = blocks;
  return {
    numBlocks,
    readInto: (index, target) => blocks.readInto(index, target),
    write: async (index, bytes) => {
      await meet();
      return blocks.write(index, bytes);
    },
    flush: async () => {
      await meet();
      return blocks.flush();
    },
  };
}
