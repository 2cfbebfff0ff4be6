/** A process of its own, for what a test runner's would disturb: address space limits and resident memory. */
import { isFabricError, type ArenaMemory } from "@selvage/fabric";
import { nodeMemoryProvider } from "@selvage/node";

const GIB = 2 ** 30;
const residentMiB = (): number => Math.round(process.memoryUsage.rss() / 2 ** 20);

const modes: Record<string, () => unknown> = {
  /** Reserves until the host refuses; tells what came, and that each memory can be used at both ends. */
  exhaust() {
    const memories: ArenaMemory[] = [];
    for (let count = 0; count < 64; count++) {
      try {
        memories.push(nodeMemoryProvider.reserve(GIB, { shared: true }));
      } catch (thrown) {
        if (!isFabricError(thrown)) throw thrown;
        const { code, details } = thrown;
        return { kinds: memories.map(use), error: { code, details } };
      }
    }
    return { kinds: memories.map(use), error: null };
  },
  /** Reserves 1 GiB of each kind and touches none. */
  resident() {
    const before = residentMiB();
    const wasm = nodeMemoryProvider.reserve(GIB, { shared: true });
    // More than WebAssembly has, so of kind "shared".
    const shared = nodeMemoryProvider.reserve(4 * GIB + 8, { shared: true });
    const plain = nodeMemoryProvider.reserve(GIB, { shared: false });
    const kinds = [wasm, shared, plain].map(({ kind }) => kind);
    return { kinds, grownMiB: residentMiB() - before };
  },
};

function use(memory: ArenaMemory): string {
  const last = memory.plain.length - 2;
  memory.fill(0, 7, 8);
  memory.copyWithin(last * 4, 0, 8);
  const replaced = memory.words.compareExchangePair(last, 0x0707_0707, 0x0707_0707, 1, 2);
  return replaced && memory.words.load(last + 1) === 2 ? memory.kind : `${memory.kind}, broken`;
}

console.log(JSON.stringify(modes[process.argv[2] ?? ""]?.()));
